"""Logins from a new place: an event, and a mail to the owner, once for a place and only so many a day. Nothing is trusted here, and each
/24 of loopback is a place of its own."""
import json
import re
import threading

import pytest

from harness import imap, wire

SETTINGS = '''limits { trusted = {"127.9.0.0/24"}  per_address = 5000 }
auth { hash_memory = 1M  hash_ops = 1  new_place_mails = 2 %s }'''
SENT, NOT_SENT = 'event=new-place-mail-sent', 'event=new-place-mail-not-sent'


@pytest.fixture
def host(make_host):
    return make_host(settings=SETTINGS % '')


class From(imap.Connection):
    """An IMAP connection from another address of 127.0.0.0/8."""

    def __init__(self, host, source):
        self.cafile = self.name = None
        self.socket = wire.socket.create_connection(('127.0.0.1', host.port('imap')), 60, (source, 0))
        self.rest = b''
        self.number, self.greeting = 0, self.response()


def login(host, source, user='alice'):
    connection = From(host, source)
    connection.command(f'LOGIN {host.address(user)} {host.passwords[user]}')
    return connection


def wait_for_log(host, text, n=1):
    for _ in range(3000):
        if host.log_text().count(text) >= n:
            return
        threading.Event().wait(0.02)
    raise AssertionError(f'never in the log: {n} x {text}\n{host.log_tail()}')


def mails(connection):
    connection.command('SELECT INBOX')
    answer, found = connection.command('FETCH 1:* BODY.PEEK[]', ok=False)
    return [text.split(b'\r\n', 1)[1] for text in found if b' FETCH ' in text]


def events(host):
    """The lines of the log about all new places until now: a figure is there before the login is answered, its line soon after."""
    figures = {row['figure']: row['value'] for row in json.loads(host.run('stat', '--json'))}
    if figures['penfold_new_place_logins_total']:
        wait_for_log(host, 'event=login-new-place', figures['penfold_new_place_logins_total'])
    return [line for line in host.log_text().splitlines() if 'event=login-new-place' in line]


def test_the_owner_is_told_of_a_new_place_in_plain_words(host):
    home = login(host, '127.0.0.1')
    login(host, '127.0.0.77')  # the same /24
    assert events(host) == [], "an account's first login of all is nothing new"
    login(host, '127.9.0.1')
    assert events(host) == [], 'nor is one from a trusted network'
    login(host, '127.2.0.1')
    wait_for_log(host, SENT)
    assert len(events(host)) == 1 and 'peer=127.2.0.1' in events(host)[0] and 'protocol=imap' in events(host)[0]
    mail, = mails(home)
    head, body = mail.split(b'\r\n\r\n', 1)
    assert b'\r\nAuto-Submitted: auto-generated\r\n' in head and mail.startswith(b'Return-Path: <>\r\n')
    assert f'Subject: New login to {host.address("alice")} from 127.2.0.1'.encode() in head
    for word in (b'127.2.0.1', b'IMAP', host.address('alice').encode(), b'Change it now'):
        assert word in body
    assert re.search(rb'when: +\w{3}, \d\d? \w{3} \d{4} \d\d:\d\d:\d\d \+0000', body)
    login(host, '127.2.0.9')
    assert len(events(host)) == 1, 'by now it is known'
    assert mails(login(host, '127.0.0.1', 'bob')) == []


def test_many_connections_from_one_new_place_are_one_mail(host):
    home = login(host, '127.0.0.1')
    everybody = [threading.Thread(target=login, args=(host, f'127.3.0.{n}')) for n in range(1, 9)]
    for one in everybody:
        one.start()
    for one in everybody:
        one.join()
    wait_for_log(host, SENT)
    login(host, '127.3.0.99')
    assert len(mails(home)) == 1 and len(events(host)) == 1


def test_so_many_a_day_at_most(host):
    home = login(host, '127.0.0.1')
    for n in (4, 5):
        login(host, f'127.{n}.0.1')
        wait_for_log(host, SENT, n - 3)
    for n in (6, 7):
        login(host, f'127.{n}.0.1')
    assert [re.search(r'mail=(\S+)', line)[1] for line in events(host)] == ['to-be-sent', 'to-be-sent', 'enough-today', 'enough-today']
    assert len(mails(home)) == 2
    figures = {row['figure']: row['value'] for row in json.loads(host.run('stat', '--json'))}
    assert figures['penfold_new_place_logins_total'] == 4 and figures['penfold_new_place_mails_total'] == 2


def test_what_was_logged_as_sent_is_there_after_a_kill(host):
    login(host, '127.0.0.1')
    login(host, '127.2.0.1')
    wait_for_log(host, SENT)
    host.expect_alarm = True
    host.abandon()  # all its processes, by SIGKILL
    host.start()
    assert len(mails(login(host, '127.0.0.1'))) == 1


def test_a_mailbox_without_room_is_said_and_holds_nobody_up(host):
    login(host, '127.0.0.1')
    host.run('account', 'set', host.address('alice'), '--quota', '1')
    login(host, '127.2.0.1').command('NOOP')
    wait_for_log(host, NOT_SENT)


@pytest.mark.parametrize('how, n', [('log', 1), ('off', 0)])
def test_the_switch(make_host, how, n):
    host = make_host(settings=SETTINGS % f'new_place = "{how}"')
    home = login(host, '127.0.0.1')
    login(host, '127.2.0.1')
    assert len(events(host)) == n and mails(home) == []
    assert SENT not in host.log_text()
