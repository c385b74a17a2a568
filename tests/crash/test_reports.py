"""kill -9 while senders are told of success: each message that was acknowledged is in the mailbox once, and is told of once."""
import collections
import os
import random
import re
import signal
import threading
import time

from harness import wire


class Sender(threading.Thread):
    """Sends message after message, asking to be told, and knows which were acknowledged."""

    def __init__(self, host, number):
        super().__init__()
        self.host, self.number, self.sent, self.acked = host, number, [], []
        self.ending = threading.Event()

    def one(self, connection, name):
        for command, wanted in ((f'MAIL FROM:<{self.host.address("alice")}> RET=HDRS', 250),
                                (f'RCPT TO:<{self.host.address("bob")}> NOTIFY=SUCCESS', 250), ('DATA', 354)):
            assert connection.command(command)[0] == wanted
        self.sent.append(name)
        connection.send(f'From: alice\r\nSubject: told\r\nMessage-ID: <{name}@test>\r\n\r\ntext\r\n.\r\n'.encode())
        if connection.reply()[0] == 250:
            self.acked.append(name)

    def run(self):
        while not self.ending.is_set():
            try:
                with wire.Wire(self.host.port('smtp')) as connection:
                    connection.reply()
                    connection.command('EHLO client.test')
                    while not self.ending.is_set():
                        self.one(connection, f'm{self.number}-{len(self.sent)}')
            except (wire.Closed, OSError):
                pass  # killed; a new one is on its way


def ids(messages, field):
    """How often each id stands in that field of the messages' own headers."""
    found = collections.Counter()
    for text in messages:
        header = text.split(b'\r\n\r\n')[0]
        found.update(i.decode() for i in re.findall(rb'(?mi)^%s: <([^@>]*)@test>' % field, header))
    return found


def test_each_success_is_told_once(make_host, is_full):
    host, chance = make_host(users=('alice', 'bob')), random.Random(5)
    senders = [Sender(host, n) for n in range(4)]
    for sender in senders:
        sender.start()
    for _ in range(60 if is_full else 8):
        before = sum(len(s.acked) for s in senders)
        deadline = time.monotonic() + 60
        while sum(len(s.acked) for s in senders) < before + chance.randrange(1, 40):
            assert time.monotonic() < deadline, 'nothing is taken any more'
            time.sleep(0.005)
        os.kill(host.server_pid(), signal.SIGKILL)
    for sender in senders:
        sender.ending.set()
        sender.join()
    acked = [name for s in senders for name in s.acked]
    deadline = time.monotonic() + 120
    while True:
        copies, reports = ids(wire.messages(host, 'bob'), b'Message-ID'), ids(wire.messages(host, 'alice'), b'In-Reply-To')
        if (copies.keys() == reports.keys() and set(acked) <= copies.keys()) or time.monotonic() > deadline:
            break
        time.sleep(0.5)
    assert set(acked) <= copies.keys() and set(acked) <= reports.keys()
    assert [i for i, n in copies.items() if n > 1] == [] and [i for i, n in reports.items() if n > 1] == []
    assert copies.keys() == reports.keys()
    print(f'{len(acked)} messages acknowledged, {len(copies)} delivered, {len(reports)} told of')
