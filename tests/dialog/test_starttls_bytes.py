"""Commands that come byte by byte right behind the handshake: none of them may wait for the next one.

The worker that ends the handshake has often read the first of them; what comes while it still has the connection must be
read as well. Each round has its own timing, so there are many.
"""
import socket
import ssl

ROUNDS = 30


def send_slowly(connection, text):
    for n in range(len(text)):
        connection.send(text[n:n + 1])


def read_reply(connection):
    text = b''
    while not text.endswith(b'\r\n') or text.splitlines()[-1][3:4] == b'-':
        part = connection.recv(4096)
        assert part, text
        text += part
    return text


def test_commands_right_behind_the_handshake(penfold_server):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    for _ in range(ROUNDS):
        with socket.create_connection(('127.0.0.1', penfold_server.port('smtp')), 10) as plain:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            read_reply(plain)
            plain.sendall(b'EHLO client.test\r\n')
            read_reply(plain)
            plain.sendall(b'STARTTLS\r\n')
            read_reply(plain)
            with context.wrap_socket(plain) as secure:
                send_slowly(secure, b'MAIL FROM:<sender@elsewhere.test>\r\n')
                assert read_reply(secure).startswith(b'503 ')
                send_slowly(secure, b'QUIT\r\n')
                assert read_reply(secure).startswith(b'221 ')
