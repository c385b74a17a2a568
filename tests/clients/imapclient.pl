# Mail::IMAPClient, driven by test_imap_libraries.py: HOST PORT TLS USER CERTIFICATE, the password on standard input.
# Ends with 'done' when every step went as it says; the test looks at the account afterwards.
use strict;
use warnings;
use Mail::IMAPClient;

my ($host, $port, $tls, $user, $certificate) = @ARGV;
chomp(my $password = <STDIN>);
my $verify = [SSL_ca_file => $certificate, SSL_verify_mode => 1, SSL_verifycn_scheme => 'none'];
my $imap = Mail::IMAPClient->new(
    Server => $host, Port => $port, User => $user, Password => $password, Uid => 1, Peek => 1, Ignoresizeerrors => 0, Timeout => 60,
    ($tls eq 'imaps' ? (Ssl => $verify) : ()), ($tls eq 'starttls' ? (Starttls => $verify) : ()),
) or die "new: $@";
if ($tls eq 'compressed') { # COMPRESS=DEFLATE [RFC4978]; what follows is all compressed
    $imap->has_capability('COMPRESS=DEFLATE') && $imap->compress or die 'compress: ' . ($imap->LastError // 'not offered');
}

sub try {
    my ($what, $result) = @_;
    die "$what: " . ($imap->LastError // 'no error') . "\n" . join('', $imap->History) unless defined $result;
    return $result;
}

sub same {
    my ($what, $got, $wanted) = @_;
    die "$what: got '$got', wanted '$wanted'\n" unless $got eq $wanted;
}

sub letter {
    my ($n) = @_;
    return "From: Sender $n <sender$n\@elsewhere.test>\r\nTo: <alice\@example.test>\r\nSubject: letter $n\r\n"
        . "Date: Sat, 03 Feb 2024 10:11:12 +0100\r\nMessage-ID: <$n\@elsewhere.test>\r\nContent-Type: text/plain\r\n\r\n"
        . "This is the text of letter $n.\r\n" x ($n + 1);
}

for my $capability (qw(IMAP4rev1 UIDPLUS IDLE MOVE NAMESPACE)) {
    try("capability $capability", $imap->has_capability($capability) || undef);
}
same('separator', try('separator', $imap->separator), '/');
try('create', $imap->create('Lists/perl'));
try('subscribe', $imap->subscribe('Lists/perl'));
same('exists', try('exists', $imap->exists('Lists/perl')) ? 1 : 0, 1);
same('is_parent', $imap->is_parent('Lists') ? 1 : 0, 1);
same('subscribed', scalar(grep { $_ eq 'Lists/perl' } $imap->subscribed), 1);

# Appending gives the UIDs [RFC4315 3].
my @uids = map { try("append $_", $imap->append_string('INBOX', letter($_), $_ % 2 ? '\\Seen' : '', '03-Feb-2024 10:11:12 +0100')) } 0 .. 9;
same('uids', "@uids", '1 2 3 4 5 6 7 8 9 10');
same('message_count', try('message_count', $imap->message_count('INBOX')), 10);
same('unseen_count', try('unseen_count', $imap->unseen_count('INBOX')), 5);
try('select', $imap->select('INBOX'));
same('messages', join(' ', $imap->messages), "@uids");
same('uidnext', try('uidnext', $imap->uidnext('INBOX')), 11);

# Reading.
same('message_string', try('message_string', $imap->message_string(4)), letter(3));
same('body_string', try('body_string', $imap->body_string(1)), "This is the text of letter 0.\r\n");
same('subject', try('subject', $imap->subject(8)), 'letter 7');
same('get_header', try('get_header', $imap->get_header(8, 'Message-ID')), '<7@elsewhere.test>');
same('size', try('size', $imap->size(3)), length letter(2));
same('internaldate', try('internaldate', scalar $imap->internaldate(3)), ' 3-Feb-2024 09:11:12 +0000');
my $headers = try('parse_headers', scalar $imap->parse_headers([1 .. 10], 'Subject', 'From'));
same('parse_headers', join(',', map { $headers->{$_}{Subject}[0] } 1 .. 10), join(',', map { "letter $_" } 0 .. 9));
my $envelope = try('get_envelope', $imap->get_envelope(6));
same('envelope', $envelope->subject . ' ' . $envelope->from_addresses, 'letter 5 Sender 5 <sender5@elsewhere.test>');
my $structure = try('get_bodystructure', $imap->get_bodystructure(6));
same('bodystructure', lc($structure->bodytype . '/' . $structure->bodysubtype), 'text/plain');
my $hash = try('fetch_hash', scalar $imap->fetch_hash('FLAGS', 'RFC822.SIZE', 'INTERNALDATE'));
same('fetch_hash', join(' ', map { $hash->{$_}{'RFC822.SIZE'} } 1 .. 10), join(' ', map { length letter($_) } 0 .. 9));

# Searching.
same('seen', join(' ', $imap->seen), '2 4 6 8 10');
same('unseen', join(' ', $imap->unseen), '1 3 5 7 9');
same('search', join(' ', $imap->search('SUBJECT', 'letter 7')), '8');
same('search or', join(' ', $imap->search('OR', 'FROM', 'sender2', 'BODY', 'of letter 3')), '3 4');
same('since', join(' ', $imap->sentbefore('04-Feb-2024')), "@uids");

# Flags.
try('set_flag', $imap->set_flag('\\Flagged', [1, 2, 3]));
try('unset_flag', $imap->unset_flag('\\Flagged', [2]));
try('see', $imap->see(1));
try('deny_seeing', $imap->deny_seeing([2]));
try('store', $imap->store('3', '+FLAGS', '($Work)'));
my $flags = try('flags', scalar $imap->flags([1 .. 3]));
same('flags', join(' ', map { join('', sort @{$flags->{$_}}) } 1 .. 3), '\\Flagged\\Seen  $Work\\Flagged');

# To other mailboxes and away.
same('copy', try('copy', $imap->copy('Lists/perl', 1, 2)), '1,2');
try('move', $imap->move('Lists/perl', [9, 10]));
try('expunge', $imap->expunge);
try('delete_message', $imap->delete_message(8));
try('expunge', $imap->expunge);
same('left', join(' ', $imap->messages), '1 2 3 4 5 6 7');
try('rename', $imap->rename('Lists/perl', 'Lists/other'));
try('unsubscribe', $imap->unsubscribe('Lists/perl'));

# IDLE, while another session appends.
my $other = Mail::IMAPClient->new(
    Server => $host, Port => $port, User => $user, Password => $password, Uid => 1,
    ($tls eq 'imaps' ? (Ssl => $verify) : ()), ($tls eq 'starttls' ? (Starttls => $verify) : ()),
) or die "new: $@";
my $tag = try('idle', $imap->idle);
$other->append_string('INBOX', letter(10)) or die $other->LastError;
my @told;
for (1 .. 30) {
    @told = grep { /^\* 8 EXISTS/ } @{$imap->idle_data(2) || []};
    last if @told;
}
same('told', scalar(@told), 1);
try('done', $imap->done($tag));
$other->logout;
try('close', $imap->close);
try('logout', $imap->logout);
print "done\n";
