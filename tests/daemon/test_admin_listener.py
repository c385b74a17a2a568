"""/metrics and /healthz: what Prometheus and a load balancer read."""
import re
import socket
import subprocess

from harness import wire

NAME = r'[a-zA-Z_:][a-zA-Z0-9_:]*'
LABELS = r'\{(?:[a-zA-Z_]\w*="(?:[^"\\\n]|\\.)*",?)+\}'
SAMPLE = re.compile(rf'({NAME})({LABELS})? (-?[0-9.]+(?:e[-+]?[0-9]+)?|NaN|[+-]Inf)')
UNITS = ('_total', '_bytes', '_seconds', '_items', '_connections', '_sessions', '_transactions', '_info', '_readonly', '_held', '_stalled', '_operations', '_recipients', '_destinations', '_questions',
         '_messages')


def check_metrics(text):
    """The rules of the text format 0.0.4, as promtool has them; {name or name{labels}: value}."""
    assert text.endswith('\n') and '\r' not in text
    types, helps, samples, group = {}, {}, {}, None
    for line in text[:-1].split('\n'):
        if line.startswith('# HELP '):
            _, _, name, text_of = line.split(' ', 3)
            assert name not in helps and text_of
            helps[name] = group = name
        elif line.startswith('# TYPE '):
            _, _, name, kind = line.split(' ')
            assert name == group and name not in types and kind in ('counter', 'gauge', 'histogram')
            types[name] = kind
        else:
            match = SAMPLE.fullmatch(line)
            assert match, line
            name, labels, value = match[1], match[2] or '', float(match[3])
            base = re.sub('_(bucket|sum|count)$', '', name) if types[group] == 'histogram' else name
            assert base == group, f'{line} stands among {group}'
            assert name.startswith('penfold_') and base.endswith(UNITS), name
            assert (types[group] == 'counter') == name.endswith('_total'), name
            assert name + labels not in samples and value >= 0
            samples[name + labels] = value
    for name, kind in types.items():
        if kind == 'histogram':
            check_histogram(name, samples)
    assert set(types) == set(helps)
    return samples


def check_histogram(name, samples):
    bounds = [(float(m[1]), value) for key, value in samples.items()
              if (m := re.fullmatch(rf'{name}_bucket\{{le="(.*)"\}}', key))]
    assert len(bounds) > 5 and bounds == sorted(bounds) and bounds[-1][0] == float('inf')
    assert [v for _, v in bounds] == sorted(v for _, v in bounds)
    assert bounds[-1][1] == samples[f'{name}_count'] and f'{name}_sum' in samples


def get(host, path, *options):
    done = subprocess.run(['curl', '-sS', '-i', '--max-time', '30', *options, f'http://127.0.0.1:{host.port("admin")}{path}'],
                          stdout=subprocess.PIPE, check=True, timeout=60)
    head, body = done.stdout.decode().split('\r\n\r\n', 1)
    return int(head.split()[1]), head, body


def metrics(host):
    status, head, body = get(host, '/metrics')
    assert status == 200 and 'Content-Type: text/plain; version=0.0.4' in head
    return check_metrics(body)


def test_metrics(make_host):
    host = make_host()
    before = metrics(host)
    with wire.smtp(host), wire.Wire(host.port('pop3')) as reader:
        reader.line()
        now = metrics(host)
        assert now['penfold_service_connections{service="smtp"}'] == 1
        assert now['penfold_service_connections{service="pop3"}'] == 1
        assert now['penfold_service_connections{service="admin"}'] == 1
        assert now['penfold_open_connections'] == 3
    for n in range(5):
        wire.deliver(host, b'Subject: x\r\n\r\n%d\r\n' % n, 'alice')
    after = metrics(host)
    assert after['penfold_smtp_messages_total'] == before['penfold_smtp_messages_total'] + 5
    assert after['penfold_commit_group_seconds_count'] > before['penfold_commit_group_seconds_count']
    assert after['penfold_commit_group_seconds_sum'] > 0
    assert after['penfold_memory_bytes'] > 1 << 20
    assert after['penfold_store_free_bytes'] > 0 and after['penfold_queue_items'] == 0
    stat = host.run('stat')
    for name in ('penfold_smtp_messages_total', 'penfold_logins_total', 'penfold_queue_items'):
        assert name in stat and name in after


def test_healthz_and_what_is_not_there(make_host):
    host = make_host()
    assert get(host, '/healthz')[::2] == (200, 'ok\n')
    assert get(host, '/healthz', '-I')[::2] == (200, '')
    assert get(host, '/')[0] == 404
    status, head, _ = get(host, '/healthz', '-d', 'x=1')
    assert status == 405 and 'Allow: GET, HEAD' in head


def test_a_disk_that_is_too_full(make_host):
    host = make_host(settings='store { reserve = 500T }', serve=False, users=())
    host.expect_alarm = True
    host.start()
    status, _, body = get(host, '/healthz')
    assert status == 503 and body.startswith('disk-full: ')


def test_many_requests_on_one_connection(make_host):
    host = make_host()
    done = subprocess.run(['curl', '-sS', '--max-time', '60', '-w', '%{num_connects}\n',
                           *[f'http://127.0.0.1:{host.port("admin")}/healthz'] * 50],
                          stdout=subprocess.PIPE, check=True, timeout=90)
    assert done.stdout.decode() == 'ok\n1\n' + 'ok\n0\n' * 49


def test_smuggling_and_garbage_close_the_connection(make_host):
    host = make_host()
    for bad in (b'GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
                b'GET /healthz HTTP/1.1\r\nHost : a\r\n\r\n', b'GET /healthz HTTP/1.1\nHost: a\n\n', b'\0' * 100,
                b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03' + b'x' * 200 + b'\r\n'):
        with socket.create_connection(('127.0.0.1', host.port('admin')), timeout=30) as s:
            s.sendall(bad + b'GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n')
            answer = b''
            while more := s.recv(65536):
                answer += more
        assert answer.startswith(b'HTTP/1.1 400 ') and answer.count(b'HTTP/1.1 ') == 1
    with socket.create_connection(('127.0.0.1', host.port('admin')), timeout=60) as s:
        s.sendall(b'GET /healthz HT')  # and never the rest
        assert s.recv(100).startswith(b'HTTP/1.1 408 ')
    assert get(host, '/healthz')[0] == 200
