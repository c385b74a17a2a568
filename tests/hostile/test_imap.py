"""IMAP clients that mean harm or have no manners."""
import contextlib
import random
import threading
import zlib

import pytest

from harness import imap, mails, wire

CONNECTIONS = 400
KIB = 1 << 10
MIB = 1 << 20
PLENTY = 128 * MIB  # more than what one client may cost, and a fraction of what it asks for


@pytest.fixture(scope='module')
def host(tmp_path_factory):
    from harness.host import Host
    with Host(tmp_path_factory.mktemp('imap') / 'mail', settings='limits { message_size = 1M  per_account = 1000 }') as made:
        for n in range(200):
            wire.deliver(made, mails.sized(50000), 'alice')
        yield made


def test_before_the_login_a_connection_holds_little(host):
    """Half a command each: a literal under way and the beginning of a line. Under 64 KB."""
    before, connections = host.pss(), []
    try:
        for _ in range(CONNECTIONS):
            connection = imap.Connection(host)
            connections.append(connection)
            connection.send(b'a LOGIN {4096+}\r\n' + b'x' * 4096 + b' {4096+}\r\n' + b'y' * 4096 + b' ' + b'z' * 7000)
        with imap.login(host, 'bob') as other:
            other.command('NOOP')
        assert (host.pss() - before) / CONNECTIONS < 64 * KIB
    finally:
        for connection in connections:
            connection.close()


def test_a_literal_over_the_limit_is_refused_before_its_bytes(host):
    with imap.login(host, 'alice') as connection:
        for command in ('APPEND INBOX {1048577}', 'APPEND INBOX {99999999999}', 'CREATE {2000000}'):
            answer, _ = connection.command(command, ok=False)
            assert answer.startswith((b'NO [TOOBIG]', b'BAD [TOOBIG]')), answer
        connection.command('NOOP')


def test_a_hundred_thousand_commands_at_once(host):
    with imap.login(host, 'alice') as connection:
        sender = threading.Thread(target=connection.send, args=(b''.join(b'n%d NOOP\r\n' % n for n in range(100000)),))
        sender.start()
        for n in range(100000):
            assert connection.response() == b'n%d OK NOOP completed' % n
        sender.join(60)


def test_fetch_everything_and_never_read(host):
    before, connections = host.pss(), []
    try:
        for _ in range(20):
            connection = imap.login(host, 'alice', buffer=4096)
            connections.append(connection)
            connection.command('SELECT INBOX')
            connection.send_command('FETCH 1:* (FLAGS BODY.PEEK[])')
        with imap.login(host, 'bob') as other:
            other.command('NOOP')
        assert (host.pss() - before) / len(connections) < 1024 * KIB  # of 10 MB each
        connection = connections[0]  # and it all comes when it is read
        tag, sizes = b'a%d' % connection.number, []
        answer = connection.answer(tag, lambda got: sizes.append(len(got)))
        assert answer.startswith(b'OK') and len(sizes) == 200 and min(sizes) > 50000
    finally:
        for connection in connections:
            connection.close()


def test_idle_and_never_read(host):
    """Nobody waits for a client that is told much and takes nothing [RFC3501 5.3] [RFC9051 5.3]; and it is all there when it does."""
    rounds = 40
    with imap.login(host, 'alice', buffer=4096) as idler, imap.login(host, 'alice') as other:
        idler.command('SELECT INBOX')
        tag = idler.send_command('IDLE')
        assert idler.response().startswith(b'+')
        other.command('SELECT INBOX')
        before = host.pss()
        for n in range(rounds):
            other.command(f'STORE 1:200 FLAGS.SILENT ({" ".join(f"a-keyword-that-is-long-{(n + m) % 8}" for m in range(4))})')
        assert host.pss() - before < 16 * MIB
        idler.send(b'DONE\r\n')
        found = []
        assert idler.answer(tag, found.append).startswith(b'OK')
        last = {line.split()[1]: line for line in found if b' FETCH ' in line}
        assert len(last) == 200 and all(b'a-keyword-that-is-long-%d' % ((rounds - 1) % 8) in line for line in last.values())
        other.command('STORE 1:200 FLAGS.SILENT ()')


def test_cut_in_the_middle_of_everything(host):
    for text in (b'', b'a', b'a LOGIN {5}\r\n', b'a LOGIN {5+}\r\nal', b'a AUTHENTICATE PLAIN\r\n', b'a AUTHENTICATE PLAIN\r\nAG'):
        with imap.Connection(host) as connection:
            connection.send(text)
    for text in (b'a SELECT INB', b'a IDLE\r\n', b'a APPEND INBOX {500}\r\nhalf', b'a FETCH 1:* BODY[]\r\n', b'a SELECT INBOX\r\nb IDLE\r\n'):
        with imap.login(host, 'alice') as connection:
            connection.send(text)
    with imap.login(host, 'alice') as connection:
        assert connection.command('STATUS INBOX (MESSAGES)')[1] == [b'* STATUS INBOX (MESSAGES 200)']


# --- what is small and becomes large -------------------------------------------------------------------------------------


def bombs():
    """(name, pieces of a stream that expands a thousandfold), each of several gigabytes if anybody takes it."""
    def stream(begin, piece):
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        yield packer.compress(begin)
        for _ in range(4096):
            yield packer.compress(piece)
        yield packer.flush()

    yield 'line', stream(b'a NOOP ', b'x' * MIB)
    yield 'literal', stream(b'a APPEND INBOX {4294967295}\r\n', b'x' * MIB)
    yield 'literal-not-asked-for', stream(b'a LOGIN {4294967295+}\r\n', b'\0' * MIB)
    yield 'lines', stream(b'', b'\r\n' * (MIB // 2))


def drink(connection):
    """Reads until the server closes; bytes that came."""
    total = 0
    with contextlib.suppress(OSError):
        while more := connection.socket.recv(1 << 16):
            total += len(more)
    return total


@pytest.mark.parametrize('stream', [pytest.param(stream, id=name) for name, stream in bombs()])
def test_a_stream_that_expands_a_thousandfold(host, stream):
    """The connection ends; in the meantime it costs what any other one does, and others are served."""
    with imap.login(host, 'bob') as other:
        before, peak = host.pss(), 0
        with imap.login(host, 'alice') as connection:
            connection.command('COMPRESS DEFLATE')
            reader = threading.Thread(target=drink, args=(connection,))
            reader.start()
            with contextlib.suppress(OSError):
                for number, piece in enumerate(stream):
                    connection.send(piece)
                    if number % 512 == 0:
                        other.command('NOOP')
                        peak = max(peak, host.pss())
            reader.join(300)  # whatever is sent, it is the server that closes
            assert not reader.is_alive()
        other.command('NOOP')
        assert max(peak, host.pss()) - before < PLENTY


# --- what is to be notified of ---------------------------------------------------------------------------------------------


def test_notify_on_a_hundred_thousand_mailboxes(host):
    """Refused, whichever way it comes; nothing of it stays, and the connection is as it was."""
    names = ['box%d' % n for n in range(100000)]
    before = host.pss()
    with imap.login(host, 'alice') as connection, imap.login(host, 'bob') as other:
        connection.send(f'n NOTIFY SET (mailboxes ({" ".join(names)}) (MessageNew MessageExpunge))\r\n'.encode())
        assert connection.response().startswith(b'* BAD [LIMIT]')
        for count in (2000, 100000):
            for selector in ('mailboxes', 'subtree'):
                pieces = ' '.join(f'{{{len(name)}+}}\r\n{name}' for name in names[:count])
                command = f'n NOTIFY SET ({selector} ({pieces}) (MessageNew MessageExpunge))\r\n'
                sender = threading.Thread(target=connection.send, args=(command.encode(),))
                sender.start()
                other.command('NOOP')
                answer = connection.response()
                sender.join(60)
                assert answer.startswith((b'n NO [NOTIFICATIONOVERFLOW]', b'n BAD [')), answer
                connection.command('NOOP')
    assert host.pss() - before < PLENTY


def test_notified_and_never_reading(host):
    """Forty sessions that want all there is and take nothing, while much is changed."""
    before, peak, connections = host.pss(), 0, []
    try:
        for _ in range(40):
            connection = imap.login(host, 'bob')
            connections.append(connection)
            connection.command('SELECT INBOX')
            connection.command('NOTIFY SET (selected (MessageNew (uid body.peek[]) MessageExpunge FlagChange)) '
                               '(personal (MessageNew MessageExpunge FlagChange MailboxName SubscriptionChange))')
        with imap.login(host, 'bob') as other:
            name, body = 'a mailbox nobody reads of ' * 8, b'Subject: x\r\n\r\n' + b'x' * 20000 + b'\r\n'
            for n in range(300):
                other.command(f'CREATE "{name}{n}"')
                other.send(b'a APPEND INBOX {%d+}\r\n%s\r\n' % (len(body), body))
                assert other.response().startswith(b'a OK')
                peak = max(peak, host.pss())
            for n in range(300):
                other.command(f'DELETE "{name}{n}"')
            other.command('SELECT INBOX')
            other.command('STORE 1:* +FLAGS.SILENT (\\Deleted)')
            other.command('CLOSE')
        assert max(peak, host.pss()) - before < PLENTY
    finally:
        for connection in connections:
            connection.close()


# --- what is dear to sort ------------------------------------------------------------------------------------------------


def threads_of_evil():
    """Messages: a chain, rings, one id again and again, thousands of References, and subjects that are all prefix."""
    def message(own, references, subject='x'):
        text = ' '.join(f'<{reference}@x.test>' for reference in references)
        return (f'Message-ID: <{own}@x.test>\r\nReferences: {text}\r\nSubject: {subject}\r\n\r\nx\r\n').encode()

    rng = random.Random(7)
    for n in range(3000):
        yield message(f'chain{n}', [f'chain{n - 1}'] if n else [])
    for n in range(500):
        yield message(f'ring{n}', [f'ring{(n + 250) % 500}', f'ring{(n + 1) % 500}'])
    for n in range(500):
        yield message('same', ['same', f'ring{n}'])
    for n in range(100):
        yield message(f'many{n}', [f'nobody{rng.randrange(100000)}' for _ in range(2000)])
    for n in range(100):
        yield message(f'subject{n}', [], 'Re: ' * 5000 + '[x] ' * 2000 + '(fwd)' * 2000)
    for n in range(500):
        yield message(f'all{n}', [f'all{m}' for m in range(n)])


def test_threads_and_orders_of_messages_made_for_it(host):
    batch, literals = [], []
    for text in threads_of_evil():
        batch.append(text)
        if len(batch) == 100:
            literals.append(batch)
            batch = []
    count = sum(len(one) for one in literals)
    with imap.login(host, 'bob') as connection:
        connection.command('CREATE evil')
        for batch in literals:
            connection.command(b'APPEND evil' + b''.join(b' {%d+}\r\n%s' % (len(text), text) for text in batch))
        connection.command('SELECT evil')
        before = host.pss()
        for text in ('THREAD REFERENCES', 'THREAD REFS', 'THREAD ORDEREDSUBJECT'):
            _, found = connection.command(f'{text} UTF-8 ALL')
            numbers = found[0].removeprefix(b'* THREAD ').replace(b'(', b' ').replace(b')', b' ').split()
            assert sorted(map(int, numbers)) == list(range(1, count + 1)), text
        for criteria in ('SUBJECT', 'FROM TO CC SUBJECT DATE ARRIVAL SIZE', 'REVERSE SUBJECT REVERSE DATE'):
            _, found = connection.command(f'SORT ({criteria}) UTF-8 ALL')
            assert sorted(map(int, found[0].split()[2:])) == list(range(1, count + 1)), criteria
        assert host.pss() - before < PLENTY
        connection.command('UNSELECT')
        connection.command('DELETE evil')


# --- sets and what is kept of them ---------------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def flags_by_turns(host):
    """A mailbox of bob's with 4,096 messages, of which every other one is flagged; their UIDs begin with 1."""
    with imap.login(host, 'bob') as connection:
        connection.command('CREATE turns')
        messages = b''.join(b' %s{2+}\r\n%02d' % (b'(\\Flagged) ' if n % 2 else b'', n) for n in range(64))
        connection.command(b'APPEND turns' + messages)
        connection.command('SELECT turns')
        while (count := int(connection.command('UID SEARCH RETURN (COUNT) ALL')[1][0].split()[-1])) < 4096:
            connection.command(f'COPY 1:{min(count, 64)} turns')
    yield 'turns'
    with imap.login(host, 'bob') as connection:
        connection.command('DELETE turns')


def every_other(first, last):
    return ','.join(str(uid) for uid in range(first, last, 2))


def test_a_client_that_says_it_knows_everything(host, flags_by_turns):
    """QRESYNC with the longest sets that a line may have, with UIDs that never were, and without an end of lines."""
    with imap.login(host, 'bob') as connection:
        connection.command('ENABLE QRESYNC')
        _, found = connection.command(f'SELECT {flags_by_turns}')
        uidvalidity = next(line for line in found if b'UIDVALIDITY' in line).split()[3].rstrip(b']').decode()
        before = host.pss()
        for parameters in (f'{uidvalidity} 1 {every_other(1, 12000)}', f'{uidvalidity} 1 1:4294967295',
                           f'{uidvalidity} 1 {every_other(4000000000, 4000009000)}',
                           f'{uidvalidity} 1 1:4294967295 ({every_other(1, 4096)} {every_other(1, 4096)})',
                           f'{uidvalidity} 9223372036854775807', f'4294967295 1 {every_other(1, 12000)}'):
            connection.command('UNSELECT')
            answer, found = connection.command(f'SELECT {flags_by_turns} (QRESYNC ({parameters}))')
            assert answer.startswith(b'OK') and len(found) < 4096 + 50, parameters[:60]
        connection.send_command(f'SELECT {flags_by_turns} (QRESYNC ({uidvalidity} 1 {every_other(1, 40000)}))')
        assert connection.response().startswith(b'* BAD [LIMIT]')  # a line is shorter
        tags = [connection.send_command('UID FETCH 1:4294967295 (UID) (CHANGEDSINCE 1 VANISHED)') for _ in range(20)]
        for tag in tags:
            assert connection.answer(tag, lambda got: None).startswith(b'OK')
        assert host.pss() - before < PLENTY


def test_conditions_on_every_other_message(host, flags_by_turns):
    with imap.login(host, 'bob') as connection:
        connection.command(f'SELECT {flags_by_turns}')
        before = host.pss()
        for _ in range(5):
            answer, found = connection.command(f'UID STORE {every_other(1, 4096)} (UNCHANGEDSINCE 0) +FLAGS.SILENT (\\Seen)')
            assert answer.startswith(b'OK [MODIFIED 1,3,') and b',4093,4095]' in answer, answer[:80]
        assert host.pss() - before < PLENTY


def test_thousands_of_saved_searches(host, flags_by_turns):
    """Each is as long as one can be here: 2,048 ranges, 16 KB. The next one takes its place; of many sessions all are kept or NOTSAVED."""
    save = b'b SEARCH RETURN (SAVE) FLAGGED\r\n'
    before, connections = host.pss(), []
    try:
        with imap.login(host, 'bob') as connection:
            connection.command(f'SELECT {flags_by_turns}')
            sender = threading.Thread(target=connection.send, args=(save * 5000,))
            sender.start()
            for _ in range(5000):
                assert connection.response() == b'b OK SEARCH completed'
            sender.join(300)
            assert connection.command('SEARCH RETURN (COUNT) $')[1][0].endswith(b'COUNT 2048')
            assert host.pss() - before < PLENTY
        for _ in range(CONNECTIONS):
            connection = imap.login(host, 'bob')
            connections.append(connection)
            connection.command(f'EXAMINE {flags_by_turns}')
            answer, _ = connection.command('SEARCH RETURN (SAVE) FLAGGED', ok=False)
            assert answer.startswith((b'OK', b'NO [NOTSAVED]')), answer
        assert (host.pss() - before) / CONNECTIONS < 128 * KIB
    finally:
        for connection in connections:
            connection.close()


def test_a_thousand_searches_kept_up_to_date(host):
    """So many as may be, and the others are answered once, with NOUPDATE; small in memory, also with large results [RFC5267 4.3.1]."""
    before, connections = host.pss(), []
    try:
        for _ in range(20):
            connection = imap.login(host, 'alice')
            connections.append(connection)
            connection.command('SELECT INBOX')
            kept = 0
            for n in range(500):
                for command in ('SEARCH RETURN (UPDATE) TEXT "%s"' % ('x' * 900), 'UID SORT RETURN (UPDATE) (SUBJECT FROM) UTF-8 OR ALL NOT %d' % (n % 100 + 1)):
                    refused = [got for got in connection.command(command)[1] if got.startswith(b'* NO ')]
                    assert not refused or refused[0].startswith(b'* NO [NOUPDATE "a%d"]' % connection.number)
                    kept += not refused
                if n == 40 and connection is not connections[0]:
                    break
            assert kept == 32
        assert (host.pss() - before) / len(connections) < 2048 * KIB
        tags = ' '.join('"a%d"' % n for n in range(2, 40))
        connections[0].command(f'CANCELUPDATE {tags}')
        assert not [got for got in connections[0].command('SEARCH RETURN (UPDATE) ALL')[1] if b'NOUPDATE' in got]
        connections[1].command('STORE 1:* +FLAGS.SILENT (\\Flagged)')
        connections[1].command('UNSELECT')
    finally:
        for connection in connections:
            connection.close()


def test_esearch_of_many_mailboxes(host):
    """A thousand mailboxes in one command, by clients that do not wait for the answer: others are served, and little is held [RFC7377 2.4]."""
    with imap.login(host, 'bob') as connection:
        for n in range(1000):
            connection.command(f'CREATE many/m{n}')
        connection.append('many/m7', b'Subject: rare\r\n\r\nx\r\n')
        answer, _ = connection.command('ESEARCH IN (personal) TEXT rare', ok=False)
        assert answer.startswith(b'NO [LIMIT]'), answer
        _, found = connection.command('ESEARCH IN (subtree-one many) RETURN (COUNT) TEXT rare')
        assert len(found) == 1 and b'MAILBOX many/m7 ' in found[0] and found[0].endswith(b' UID COUNT 1'), found
        before, connections = host.pss(), []
        try:
            for _ in range(20):
                other = imap.login(host, 'bob')
                connections.append(other)
                other.send(b''.join(b'e%d ESEARCH IN (subtree many) TEXT nothing\r\n' % n for n in range(50)))
            connection.command('NOOP')
            assert (host.pss() - before) / len(connections) < 1024 * KIB
            connections.pop().close()  # in the midst of it
            connection.command('ESEARCH IN (mailboxes many/m7) ALL')
        finally:
            for other in connections:
                other.close()
        names = ' '.join(f'many/m{n}' for n in range(4000))
        assert connection.command(f'ESEARCH IN (mailboxes ({names})) ALL')[0].startswith(b'OK')
        lists = ' '.join(f'mailboxes (a b c)' for n in range(101))
        assert connection.command(f'ESEARCH IN ({lists}) ALL', ok=False)[0].startswith(b'BAD [LIMIT]')
        for n in range(1000):
            connection.command(f'DELETE many/m{n}')


def test_fuzzy_searches_with_everything_in_them(host):
    """As many words as fit, in as many keys as may be, over long random words [RFC6203 8]."""
    with imap.login(host, 'bob') as connection:
        connection.append('INBOX', b'Subject: x\r\n\r\n' + b'ab' * 200000 + b'\r\n' + b'a b ' * 100000 + b'\r\n')
        connection.command('SELECT INBOX')
        words = ' '.join(f'w{n}' for n in range(150))
        keys = ' '.join(f'OR FUZZY TEXT "{words}" FUZZY BODY "{"ab" * 200} a b"' for n in range(49))
        before = host.pss()
        answer, found = connection.command(f'SEARCH RETURN (RELEVANCY COUNT) {keys}')
        assert answer.startswith(b'OK') and b' COUNT 1 RELEVANCY (' in found[0], found
        assert host.pss() - before < 16384 * KIB
        keys = ' '.join('FUZZY TEXT x' for n in range(101))
        assert connection.command(f'SEARCH {keys}', ok=False)[0].startswith(b'BAD [LIMIT]')
        keys = 'FUZZY ' * 100 + 'ALL'
        assert connection.command(f'SEARCH {keys}', ok=False)[0].startswith(b'BAD')
