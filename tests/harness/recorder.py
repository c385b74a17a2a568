"""A relay between a client and a host's IMAP port that notes what is said, also when it is compressed. Not for TLS."""
import contextlib
import re
import socket
import threading
import zlib


class Recorder:
    """`with Recorder(host) as through:` is a host for clients whose port 'imap' is the relay's. lines: [('C1' or 'S1', bytes)]."""

    def __init__(self, host):
        self.host, self.lines, self.deflated, self.sockets = host, [], set(), []
        self.lock = threading.Lock()
        self.listener = socket.create_server(('127.0.0.1', 0))

    def __getattr__(self, name):
        return getattr(self.host, name)

    def __enter__(self):
        threading.Thread(target=self.accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        for one in (self.listener, *self.sockets):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def port(self, service):
        return self.listener.getsockname()[1] if service == 'imap' else self.host.port(service)

    def accept(self):
        for number in range(1, 1000):
            try:
                near = self.listener.accept()[0]
                far = socket.create_connection(('127.0.0.1', self.host.port('imap')))
            except OSError:
                return
            self.sockets += [near, far]
            for who, source, sink in ((f'C{number}', near, far), (f'S{number}', far, near)):
                threading.Thread(target=self.relay, args=(who, source, sink), daemon=True).start()

    def relay(self, who, source, sink):
        rest, inflate = b'', None
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if not inflate and who[1:] in self.deflated:
                    inflate = zlib.decompressobj(-15)
                *lines, rest = (rest + (inflate.decompress(data) if inflate else data)).split(b'\r\n')
                with self.lock:
                    self.lines += [(who, line) for line in lines]
                    if any(b' OK what follows is compressed' in line for line in lines):
                        self.deflated.add(who[1:])  # no client says more before it has read this
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def said(self, pattern):
        """Whether a line of the client matches, from its tag on."""
        with self.lock:
            return any(who[0] == 'C' and re.search(pattern.encode(), line, re.I) for who, line in self.lines)

    def refusals(self):
        """Answers that are BAD."""
        with self.lock:
            return [line for who, line in self.lines if who[0] == 'S' and re.match(rb'\S+ BAD ', line)]
