"""What becomes of collected mail for each policy of an account, whatever fetchmail, mpop and getmail6 are told to do themselves."""
import pytest

from harness import clients, mails, wire

CLIENTS = {'fetchmail': clients.fetchmail, 'mpop': clients.mpop, 'getmail': clients.getmail}


@pytest.fixture(params=sorted(CLIENTS))
def collect(request, penfold_server, tmp_path):
    """Collects alice's mail once; the number of messages that came."""
    def run(keep):
        return len(CLIENTS[request.param](penfold_server, 'alice', tmp_path, keep=keep))
    run.client = request.param
    yield run
    penfold_server.run('account', 'set', penfold_server.address('alice'), '--pop3-delete', 'client')


def fill(host, count=3):
    wire.messages(host, 'alice', delete=True)
    for n in range(count):
        wire.deliver(host, mails.sized(2000 + n), 'alice')


def left(host):
    with wire.login(host, 'alice') as pop3:
        pop3.send('STAT\r\n')
        return int(pop3.line().split()[1])


def set_policy(host, policy):
    host.run('account', 'set', host.address('alice'), '--pop3-delete', policy)


def expire(host):
    """What CAPA says of it [RFC2449 6.7]."""
    with wire.login(host, 'alice') as pop3:
        pop3.send('CAPA\r\n')
        assert pop3.line().startswith('+OK')
        return next(line for line in pop3.multi() if line.startswith('EXPIRE'))


def test_the_client_decides(penfold_server, collect):
    fill(penfold_server)
    set_policy(penfold_server, 'client')
    assert expire(penfold_server) == 'EXPIRE NEVER'
    assert collect(keep=True) == 3
    assert left(penfold_server) == 3
    assert collect(keep=True) == 0  # known by UIDL
    wire.deliver(penfold_server, mails.sized(3000), 'alice')
    assert collect(keep=True) == 1
    assert left(penfold_server) == 4


def test_no_keep_deletes(penfold_server, collect):
    fill(penfold_server)
    set_policy(penfold_server, 'client')
    assert collect(keep=False) == 3
    assert left(penfold_server) == 0


def test_once_collected(penfold_server, collect):
    """A client that keeps finds that the server does not. fetchmail, when it keeps, asks by TOP, which does not count."""
    fill(penfold_server)
    set_policy(penfold_server, 'once-collected')
    assert expire(penfold_server) == 'EXPIRE 0'
    assert collect(keep=True) == 3
    set_policy(penfold_server, 'client')
    assert left(penfold_server) == (3 if collect.client == 'fetchmail' else 0)


def test_once_collected_and_deleted(penfold_server, collect):
    fill(penfold_server)
    set_policy(penfold_server, 'once-collected')
    assert collect(keep=False) == 3
    set_policy(penfold_server, 'client')
    assert left(penfold_server) == 0


def test_days_after(penfold_server, collect):
    """The days are not over; those that went are the client's own deletions."""
    fill(penfold_server)
    set_policy(penfold_server, '30')
    assert expire(penfold_server) == 'EXPIRE 30'
    assert collect(keep=True) == 3
    assert left(penfold_server) == 3
    wire.deliver(penfold_server, mails.sized(3000), 'alice')
    assert collect(keep=False) >= 1
    assert left(penfold_server) <= 3
