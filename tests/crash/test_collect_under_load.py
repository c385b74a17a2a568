"""Delivering to several recipients, collecting and deleting at once, through orderly restarts and kills: what was
acknowledged is collected, and once, except where the answer to a QUIT was lost."""
import os
import signal
import time

from harness.load import Collectors, Load, collect

USERS = [f'user{n}' for n in range(4)]
SETTINGS = 'store { undelete = 0s }'


def run_for_a_while(load, count):
    """Until so many more have been acknowledged and half as many collected."""
    ledger = load.ledger
    end, acked, got = time.monotonic() + 60, len(ledger.acked) + count, len(ledger.got) + count // 2
    while len(ledger.acked) < acked or len(ledger.got) < got:
        assert time.monotonic() < end, f'nothing is acknowledged any more: {load.refusals[-3:]}'
        time.sleep(0.02)


def test_collect_while_mail_comes_and_the_server_goes(make_host, is_full):
    host = make_host(users=USERS, settings=SETTINGS)
    load = Load(host, USERS, threads=4, size=300, groups=(1, 2, len(USERS)), per_connection=20)
    load.expect_refused_connects = True
    with load, Collectors(load) as collectors:
        for turn in range(12 if is_full else 4):
            run_for_a_while(load, 100)
            if turn % 2:
                os.kill(host.server_pid(), signal.SIGKILL)
            else:
                host.stop()
                host.start()
        run_for_a_while(load, 100)
        load.stop()
        collectors.wait_until_collected()
    load.verify(collect(host, USERS))
    ledger = load.ledger
    print(f'{len(ledger.acked)} acknowledged, {len(ledger.got)} collected, {len(ledger.unsure)} without an answer')
    host.stop()
    host.run('fsck')
