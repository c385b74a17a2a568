"""A name server for tests: answers from a table, on a port of loopback, by UDP and TCP."""
import socket
import socketserver
import struct
import threading

TYPES = {'A': 1, 'NS': 2, 'CNAME': 5, 'SOA': 6, 'MX': 15, 'TXT': 16, 'AAAA': 28, 'TLSA': 52}


def wire_name(name):
    return b''.join(bytes([len(label)]) + label.encode() for label in name.rstrip('.').split('.') if label) + b'\0'


def wire_data(kind, text):
    if kind == 'A':
        return socket.inet_pton(socket.AF_INET, text)
    if kind == 'AAAA':
        return socket.inet_pton(socket.AF_INET6, text)
    if kind == 'MX':
        preference, host = text.split()
        return struct.pack('>H', int(preference)) + wire_name(host)
    if kind == 'CNAME':
        return wire_name(text)
    if kind == 'TXT':
        return bytes([len(text)]) + text.encode()
    raise ValueError(kind)


def on_one_port(udp_handler, tcp_handler):
    """A port that is free for UDP may be somebody's for TCP: then another one is looked for."""
    tries = 50
    while True:
        udp = socketserver.ThreadingUDPServer(('127.0.0.1', 0), udp_handler)
        try:
            return udp, socketserver.ThreadingTCPServer(udp.server_address, tcp_handler)
        except OSError:
            udp.server_close()
            tries -= 1
            if not tries:
                raise


class Names:
    """Names({('far.test', 'MX'): ['10 mx.far.test'], ...}): a name without a row is NXDOMAIN, `failing` are SERVFAIL."""

    def __init__(self, table):
        self.table, self.failing, self.asked = dict(table), set(), []
        outer = self

        class Udp(socketserver.BaseRequestHandler):
            def handle(self):
                data, sock = self.request
                sock.sendto(outer.answer(data), self.client_address)

        class Tcp(socketserver.BaseRequestHandler):
            def handle(self):
                size = self.request.recv(2)
                if len(size) == 2:
                    answer = outer.answer(self.request.recv(struct.unpack('>H', size)[0]))
                    self.request.sendall(struct.pack('>H', len(answer)) + answer)

        self.udp, self.tcp = on_one_port(Udp, Tcp)
        self.port = self.udp.server_address[1]
        for server in (self.udp, self.tcp):
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for server in (self.udp, self.tcp):
            server.shutdown()
            server.server_close()

    def settings(self):
        """For the configuration: this server is asked, and nothing is validated."""
        return f'dns {{ resolver = {{"127.0.0.1:{self.port}"}} trust_anchor = "none" }}'

    def answer(self, query):
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1:at + 1 + query[at]].decode().lower())
            at += 1 + query[at]
        name, kind = '.'.join(labels), struct.unpack('>H', query[at + 1:at + 3])[0]
        question = query[12:at + 5]
        self.asked.append((name, kind))
        word = next((k for k, v in TYPES.items() if v == kind), None)
        rows = [(word, text) for text in self.table.get((name, word), [])]
        if not rows and (name, 'CNAME') in self.table:
            rows = [('CNAME', self.table[(name, 'CNAME')][0])]
        code = 2 if name in self.failing else 0 if any(n == name or n.endswith('.' + name) for n, _ in self.table) else 3
        rows = [] if code else rows
        answers = b''
        for row_kind, text in rows:
            data = wire_data(row_kind, text)
            answers += b'\xc0\x0c' + struct.pack('>HHIH', TYPES[row_kind], 1, 300, len(data)) + data
        return query[:2] + struct.pack('>HHHHH', 0x8580 | code, 1, len(rows), 0, 0) + question + answers
