"""The Domain Name System of a test's own: nsd, with a root and the zones `example` (signed, with a chain of trust from the root),
`plain` and `arpa` (unsigned). It answers for all of them itself, so it can be asked as if it were a resolver."""
import hashlib
import os
import signal
import socket
import struct
import subprocess
import threading
import time

from harness import network

NSD = os.path.expanduser('~/.cache/penfold/fetched/nsd/usr/sbin/nsd')
TTL = 1  # seconds: what a test changes is seen soon
CONF = '''server:
    ip-address: {address}
    username: ""
    chroot: ""
    database: ""
    zonesdir: "{folder}"
    zonelistfile: "{folder}/zone.list"
    xfrdfile: "{folder}/xfrd.state"
    xfrdir: "{folder}"
    pidfile: "{folder}/nsd.pid"
    server-count: 1
    verbosity: 1
remote-control:
    control-enable: no
'''
ZONES = {'.': 'root', 'example': 'example', 'plain': 'plain', 'arpa': 'arpa'}
SIGNED = ('.', 'example')


def run(*args, cwd):
    done = subprocess.run(args, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0, f'{" ".join(args)}: {done.stderr}'
    return done.stdout.strip()


class Zones:
    """with Zones(place, folder) as zones: zones.set({'penfold.example': ['MX 10 mx.penfold.example.'], ...})"""

    def __init__(self, place, folder):
        self.place, self.folder, self.address = place, str(folder), place.addresses[0]
        assert os.path.exists(NSD), 'no name server: run tools/deps fetch'
        os.makedirs(self.folder)
        self.keys = {zone: run('ldns-keygen', '-a', 'ECDSAP256SHA256', '-k', '-r', '/dev/urandom', zone, cwd=self.folder)
                     for zone in SIGNED}
        self.anchor = os.path.join(self.folder, f'{self.keys["."]}.ds')
        self.serial, self.records = 0, {}
        self.write()
        conf = CONF.format(folder=self.folder, address=self.address)
        for zone, file in ZONES.items():
            conf += f'zone:\n    name: "{zone}"\n    zonefile: "{file}"\n'
        with open(os.path.join(self.folder, 'nsd.conf'), 'w', encoding='ascii') as f:
            f.write(conf)
        self.log = open(os.path.join(self.folder, 'nsd.log'), 'wb')
        self.process = None
        self.start()

    def start(self):
        if self.process is None:
            with self.place.inside():
                self.process = network.spawn([NSD, '-d', '-c', os.path.join(self.folder, 'nsd.conf')], self.log)
            self.wait()

    def stop(self):
        """Nobody answers any more, until start()."""
        network.end(self.process)
        self.process = None

    def settings(self, validates=True):
        """For the configuration of a Penfold."""
        anchor = self.anchor if validates else 'none'
        return f'dns {{ resolver = {{"{self.address}:53"}} trust_anchor = "{anchor}" }}'

    # --- records -------------------------------------------------------------------------------------------------

    def set(self, records):
        """{name: ['TYPE DATA', ...]}, for names at or below `example`, `plain` and `arpa`; those of a name take the place of its old ones, and
        are answered when this returns."""
        self.replace({**self.records, **records})

    def replace(self, records):
        """The same with all of them."""
        self.records = records
        self.write()
        self.process.send_signal(signal.SIGHUP)
        self.wait()

    def write(self):
        self.serial += 1
        self.write_zone('plain', self.below('plain'))
        self.write_zone('arpa', self.below('arpa'))
        self.write_zone('example', self.below('example'))
        with open(os.path.join(self.folder, f'{self.keys["example"]}.ds'), encoding='ascii') as f:
            signer = f.read().split('DS', 1)[1].strip()
        self.write_zone('.', ['example. NS ns.example.', f'example. DS {signer}', 'plain. NS ns.example.', 'arpa. NS ns.example.', f'ns.example. A {self.address}'])

    def below(self, zone):
        return [f'{name}. {record}' for name, records in self.records.items() if f'.{name}'.endswith(f'.{zone}') for record in records]

    def write_zone(self, zone, lines):
        path = os.path.join(self.folder, ZONES[zone])
        head = [f'$TTL {TTL}', f'$ORIGIN {zone.rstrip(".")}.', f'@ SOA ns.example. hostmaster.example. {self.serial} 3600 900 604800 {TTL}',
                '@ NS ns.example.', *([f'ns.example. A {self.address}'] if zone == 'example' else [])]
        with open(path + '.plain', 'w', encoding='ascii') as f:
            f.write('\n'.join([*head, *lines]) + '\n')
        if zone in SIGNED:
            run('ldns-signzone', '-n', '-f', path + '.new', path + '.plain', self.keys[zone], cwd=self.folder)
        else:
            os.rename(path + '.plain', path + '.new')
        os.rename(path + '.new', path)

    def wait(self, seconds=60):
        """Until all zones are those of the last write."""
        until = time.monotonic() + seconds
        while any(self.serial_of(zone) != self.serial for zone in ZONES):
            assert self.process.poll() is None and time.monotonic() < until, self.log_text()
            time.sleep(0.02)

    def serial_of(self, zone):
        """What the server says it has; None when it does not say."""
        labels = b''.join(bytes([len(label)]) + label.encode() for label in zone.split('.') if label)
        with self.place.inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.settimeout(1)
            try:
                s.sendto(struct.pack('>6H', 1, 0, 1, 0, 0, 0) + labels + b'\0\0\6\0\1', (self.address, 53))
                answer = s.recv(512)
            except OSError:
                return None
        if struct.unpack('>H', answer[2:4])[0] & 15 or not struct.unpack('>H', answer[6:8])[0]:
            return None
        at = 12 + len(labels) + 5  # behind the question; the answer's name is a pointer, or the root
        at += 12 if answer[at] & 0xc0 else 11
        for _ in range(2):
            while answer[at] and not answer[at] & 0xc0:
                at += 1 + answer[at]
            at += 2 if answer[at] & 0xc0 else 1
        return struct.unpack('>I', answer[at:at + 4])[0]

    def log_text(self):
        with open(self.log.name, encoding='utf-8', errors='replace') as f:
            return f.read()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process:
            self.stop()
        self.log.close()


class Validator:
    """A resolver for who believes one: what the name server says of signed zones is marked as validated, as a resolver does that has
    looked at the signatures. `with Validator(place, zones):` it is at 127.0.0.1, port 53, of the place."""

    def __init__(self, place, zones):
        self.zones, self.is_ending = zones, False
        with place.inside():
            self.door = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.door.bind(('127.0.0.1', 53))
            self.way = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.door.settimeout(1)
        self.way.settimeout(10)
        self.way.connect((zones.address, 53))
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        while not self.is_ending:
            try:
                question, who = self.door.recvfrom(4096)
                self.way.send(question)
                while (answer := bytearray(self.way.recv(4096)))[:2] != question[:2]:
                    pass
            except OSError:
                continue
            if self.is_signed(question):
                answer[3] |= 0x20  # AD, of RFC 4035 3.2.3
            self.door.sendto(answer, who)

    @staticmethod
    def is_signed(question):
        labels, at = [], 12
        while question[at]:
            labels.append(bytes(question[at + 1:at + 1 + question[at]]).decode().lower())
            at += 1 + question[at]
        return not labels or labels[-1] in SIGNED

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.is_ending = True
        self.thread.join()
        self.door.close()
        self.way.close()


class Authority:
    """One that certifies hosts: `ca` is its own certificate, for clients."""

    def __init__(self, folder):
        self.folder = str(folder)
        os.makedirs(self.folder, exist_ok=True)
        self.ca = os.path.join(self.folder, 'ca.pem')
        run('openssl', 'req', '-x509', *self.new_key('ca.key'), '-days', '3650', '-subj', '/CN=test authority', '-out', 'ca.pem', cwd=self.folder)

    @staticmethod
    def new_key(path):
        return ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', path]

    def certify(self, certificate, key, *names):
        """Makes a key and a certificate for the names, in these files."""
        run('openssl', 'req', '-x509', *self.new_key(key), '-CA', 'ca.pem', '-CAkey', 'ca.key', '-days', '365', '-subj', f'/CN={names[0]}',
            '-addext', 'subjectAltName=' + ','.join(f'DNS:{name}' for name in names), '-addext', 'basicConstraints=critical,CA:FALSE',
            '-out', certificate, cwd=self.folder)


def tlsa(certificate):
    """A record "DANE-EE, of the public key, by SHA-256" [RFC7672 3.1.1]."""
    public = subprocess.run(['openssl', 'x509', '-in', certificate, '-noout', '-pubkey'], stdout=subprocess.PIPE, check=True).stdout
    key = subprocess.run(['openssl', 'pkey', '-pubin', '-outform', 'DER'], input=public, stdout=subprocess.PIPE, check=True).stdout
    return f'TLSA 3 1 1 {hashlib.sha256(key).hexdigest()}'
