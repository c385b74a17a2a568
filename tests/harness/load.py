"""Load with a memory: many connections hand in messages, and remember which of them the server has acknowledged."""
import hashlib
import socket
import threading
import time

from harness import wire


class Load:
    """Messages with ids of their own, from `threads` connections to the users in turn, until stop().

    acked: {id: user}; sent: ids whose final dot went out (acknowledged or not). A message is never sent twice, so an
    id in two places is the server's doing.
    """

    def __init__(self, host, users, threads=8, size=4096, per_connection=50):
        self.host, self.users, self.size, self.per_connection = host, users, size, per_connection
        self.lock = threading.Lock()
        self.acked, self.sent = {}, set()
        self.refused_connects, self.refusals = [], []
        self.ending = threading.Event()
        self.threads = [threading.Thread(target=self.work, args=(n,), daemon=True) for n in range(threads)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self.ending.set()
        for thread in self.threads:
            thread.join(60)
            assert not thread.is_alive(), 'a client hangs'

    def count(self):
        with self.lock:
            return len(self.acked)

    def wait_for(self, count, timeout=120):
        """Until so many are acknowledged."""
        end = time.monotonic() + timeout
        while self.count() < count:
            assert time.monotonic() < end, f'{self.count()} of {count} acknowledged after {timeout} s: {self.refusals[-3:]}'
            time.sleep(0.02)

    def message(self, identity):
        head = f'From: <sender@elsewhere.test>\r\nMessage-ID: <{identity}@load.test>\r\nSubject: load {identity}\r\n\r\n'
        body = (hashlib.sha256(identity.encode()).hexdigest() + '\r\n') * max(1, (self.size - len(head)) // 66)
        return (head + body).encode()

    def work(self, thread):
        number = 0
        while not self.ending.is_set():
            try:
                connection = wire.smtp(self.host, timeout=30)
            except (ConnectionRefusedError, socket.timeout) as error:
                self.refused_connects.append(f'{type(error).__name__}: {error}')
                time.sleep(0.05)
                continue
            except (wire.Closed, OSError, AssertionError):
                continue  # the process that took the connection was killed before it could say anything
            with connection:
                try:
                    for _ in range(self.per_connection):
                        if self.ending.is_set():
                            break
                        number += 1
                        self.one(connection, f'{thread}.{number}', self.users[(thread + number) % len(self.users)])
                except (wire.Closed, OSError):
                    pass

    def one(self, connection, identity, user):
        connection.send(f'MAIL FROM:<sender@elsewhere.test>\r\nRCPT TO:<{self.host.address(user)}>\r\nDATA\r\n')
        codes = [connection.reply() for _ in range(3)]
        if [code for code, _ in codes] != [250, 250, 354]:
            self.refusals.append(codes)
            raise wire.Closed('refused')
        data = wire.stuff(self.message(identity))
        with self.lock:
            self.sent.add(identity)
        connection.send(data)
        reply = connection.reply()
        if reply[0] == 250:
            with self.lock:
                self.acked[identity] = user
        else:
            self.refusals.append(reply)

    def verify(self, found):
        """`found`: {user: [message, ...]}. Every acknowledged message once, whole and in its mailbox; nothing else twice or strange."""
        seen = {}
        for user, messages in found.items():
            for message in messages:
                identity = message.split(b'Message-ID: <')[1].split(b'@')[0].decode()
                seen.setdefault(identity, []).append(user)
                assert message.endswith(self.message(identity)), f'{identity} is not what was sent'
        lost = [i for i, user in self.acked.items() if user not in seen.get(i, ())]
        twice = [i for i, users in seen.items() if len(users) > 1]
        strange = [i for i in seen if i not in self.sent]
        assert not lost, f'{len(lost)} of {len(self.acked)} acknowledged messages are lost: {sorted(lost)[:5]}'
        assert not twice, f'{len(twice)} messages are there twice: {sorted(twice)[:5]}'
        assert not strange, f'{len(strange)} messages were never sent: {sorted(strange)[:5]}'
        return len(seen)


def collect(host, users):
    return {user: wire.messages(host, user) for user in users}
