"""An issuer of tokens: keys by openssl, its documents from http.server, tokens good and bad."""
import base64
import http.server
import json
import os
import subprocess
import threading
import time


def b64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b'=').decode()


def _openssl(*args, stdin=None):
    return subprocess.run(['openssl', *args], input=stdin, check=True, capture_output=True, timeout=60).stdout


class Key:
    """An RSA key of 2048 bits."""

    def __init__(self, folder, kid):
        self.kid, self.path = kid, os.path.join(str(folder), f'{kid}.pem')
        _openssl('genpkey', '-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:2048', '-out', self.path)
        modulus = _openssl('rsa', '-in', self.path, '-noout', '-modulus').decode().strip().partition('=')[2]
        self.jwk = {'kty': 'RSA', 'use': 'sig', 'alg': 'RS256', 'kid': kid, 'n': b64url(bytes.fromhex(modulus)), 'e': 'AQAB'}
        self.public = _openssl('pkey', '-in', self.path, '-pubout')

    def sign(self, data):
        return _openssl('dgst', '-sha256', '-sign', self.path, stdin=data)


class Issuer:
    """On loopback, in clear. `is_down`: answers 503."""

    def __init__(self, folder, audience='mail'):
        self.keys = [Key(folder, 'one')]
        self.shown = list(self.keys)
        self.audience, self.is_down, self.asked = audience, False, []
        issuer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                issuer.asked.append(self.path)
                body = issuer.document(self.path)
                self.send_response(503 if issuer.is_down else 200 if body else 404)
                self.send_header('Content-Type', 'application/json')
                self.end_headers()
                self.wfile.write(json.dumps(body).encode())

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        self.name = f'http://127.0.0.1:{self.server.server_address[1]}'
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def document(self, path):
        if path == '/.well-known/openid-configuration':
            return {'issuer': self.name, 'jwks_uri': f'{self.name}/keys'}
        return {'keys': [key.jwk for key in self.shown]} if path == '/keys' else None

    def settings(self, **more):
        words = {'issuer': self.name, 'audience': [self.audience], **more}
        lines = [f'{name} = ' + ('{' + ', '.join(f'"{v}"' for v in value) + '}' if isinstance(value, list) else f'"{value}"')
                 for name, value in words.items()]
        return 'oauth { ' + '\n'.join(lines) + ' }\n'

    def claims(self, address, **more):
        now = int(time.time())
        claims = {'iss': self.name, 'aud': self.audience, 'iat': now, 'exp': now + 3600, 'email': address, **more}
        return {name: value for name, value in claims.items() if value is not None}

    def token(self, address, key=None, head=None, signature=None, **more):
        """`head`: other members of the header; `signature`: of (signed bytes) in the place of the key's."""
        key = key or self.keys[0]
        header = {'alg': 'RS256', 'typ': 'JWT', 'kid': key.kid, **(head or {})}
        text = '.'.join(b64url(json.dumps(part).encode()) for part in (header, self.claims(address, **more)))
        return text + '.' + b64url((signature or key.sign)(text.encode()))
