"""An HTTPS server of a test's own, for what domains publish there."""
import http.server
import os
import ssl
import threading


class Pages:
    """An HTTPS server at a place: {host: text} of /.well-known/mta-sts.txt."""

    def __init__(self, place, authority, texts):
        pages = self
        self.texts, self.asked = texts, []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                pages.asked.append(self.headers['Host'])
                text = pages.texts.get(self.headers['Host']) if self.path == '/.well-known/mta-sts.txt' else None
                self.send_response(200 if text else 404)
                self.send_header('Content-Type', 'text/plain')
                self.end_headers()
                self.wfile.write((text or '').encode())

            def log_message(self, *_):
                pass

        authority.certify('pages.pem', 'pages.key', *texts)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(os.path.join(authority.folder, 'pages.pem'), os.path.join(authority.folder, 'pages.key'))
        with place.inside():
            self.server = http.server.ThreadingHTTPServer((place.addresses[0], 443), Handler)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
