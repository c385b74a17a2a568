# Verifies every signature of each file with Mail::DKIM: prints "FILE RESULT RESULT".
# dkimverify.pl RECORDS FILE...; RECORDS has lines of "SELECTOR RECORD".
use strict;
use warnings;
use Mail::DKIM::Verifier;
use Mail::DKIM::DNS;
use Net::DNS;

my ($records, @files) = @ARGV;
my %record;
open(my $in, '<', $records) or die "$records: $!";
while (<$in>) {
    chomp;
    my ($selector, $text) = split / /, $_, 2;
    $record{$selector} = $text;
}
close $in;

no warnings 'redefine';
*Mail::DKIM::DNS::query = sub {
    my ($name, $type) = @_;
    my ($selector) = $name =~ /^([^.]+)\._domainkey\./ or return;
    my $text = $record{$selector} // return;
    my @parts = unpack '(A255)*', $text;
    return Net::DNS::RR->new(name => $name, type => 'TXT', txtdata => \@parts);
};

for my $file (@files) {
    my $verifier = Mail::DKIM::Verifier->new;
    open(my $message, '<:raw', $file) or die "$file: $!";
    while (read $message, my $piece, 65536) {
        $verifier->PRINT($piece);
    }
    $verifier->CLOSE;
    print join(' ', $file, map { $_->result } $verifier->signatures), "\n";
}
