"""A Penfold at a place of a network of a test's own: it takes mail on port 25 of that place, finds others by DNS, and has a certificate
by an authority of the test."""
import os
import re
import time

from harness import clients, host, imap, wire

# What waits is tried again at once; how long it would really be is tested in src/relay.
QUICK = 'relay { retry_first = 1s retry_max = 2s retry_greylisted = 1s }'
SECONDS = 120


def wait_until(what, why, seconds=SECONDS):
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, why() if callable(why) else why
        time.sleep(0.05)
    return found


class Mailhost(host.Host):
    """`with Mailhost(place, folder, 'near.example', zones, authority) as one:` its name is mx.near.example; see names(). For users that
    write to each other: alice, bob."""

    def __init__(self, place, folder, domain, zones, authority, names=(), settings='', **options):
        self.place = place
        with place.inside():
            super().__init__(folder, domain=domain, hostname=f'mx.{domain}', settings=f'{zones.settings()}\n{QUICK}\n'
                             f'tls {{ ca_file = "{authority.ca}" }}\n{settings}', **options)
        self.listen_on_25()
        tls = os.path.join(self.folder, 'tls')
        authority.certify(self.certificate(), os.path.join(tls, 'key.pem'), self.hostname, *names)

    def names(self):
        """What its domain publishes."""
        addresses = [f'{"AAAA" if ":" in address else "A"} {address}' for address in self.place.addresses]
        return {self.domain: [f'MX 10 {self.hostname}.'], self.hostname: addresses}

    def listen_on_25(self):
        with open(self.conf, encoding='utf-8') as f:
            text = f.read()
        text, count = re.subn(r'(smtp +=) \{', r'\1 {"0.0.0.0:25", "[::]:25", ', text)
        assert count == 1, text
        with open(self.conf, 'w', encoding='utf-8') as f:
            f.write(text)

    def take(self, domain, user='carol'):
        """Mail for one more domain."""
        self.run('domain', 'add', domain)
        self.run('account', 'add', f'{user}@{domain}', '--password-stdin', stdin='a long password\n')

    def start(self):
        with self.place.inside():
            return super().start()

    # --- mail ----------------------------------------------------------------------------------------------------

    def submit(self, subject, *to, user='alice', headers=()):
        """A user's mail program hands a message in."""
        more = [word for header in headers for word in ('--add-header', header)]
        with self.place.inside():
            status, dialog = clients.swaks(self, 'submission', '--header', f'Subject: {subject}', *more, '--body', f'This is {subject}.',
                                           auth='PLAIN', login=(self.address(user), self.passwords[user]), sender=self.address(user),
                                           to=','.join(to))
        assert status == 0, dialog

    def collect(self, user, service='pop3'):
        """All messages of INBOX, by POP3 or by IMAP."""
        with self.place.inside():
            if service == 'pop3':
                return wire.messages(self, user)
            return [message.data for message in imap.holds_all(self, user).get('INBOX', [])]

    def wait_for(self, user, text, service='pop3', seconds=SECONDS):
        """The one message in INBOX with the text in it, once it is there."""
        found = wait_until(lambda: [m for m in self.collect(user, service) if text.encode() in m],
                           lambda: f'{user} has no message with {text!r}; {self.hostname}:\n{self.log_tail()}', seconds)
        assert len(found) == 1, found
        return found[0]

    def events(self, name, **wanted):
        """The fields of each line of the log with that event and these values."""
        found = []
        for line in self.log_text().splitlines():
            fields = {key: value.strip('"') for key, value in re.findall(r'(\w+)=("(?:[^"\\]|\\.)*"|\S*)', line)}
            if fields.get('event') == name and all(fields.get(key) == value for key, value in wanted.items()):
                found.append(fields)
        return found

    def wait_for_event(self, name, seconds=SECONDS, **wanted):
        """The first one."""
        return wait_until(lambda: self.events(name, **wanted), lambda: f'no event {name} {wanted}:\n{self.log_tail()}', seconds)[0]
