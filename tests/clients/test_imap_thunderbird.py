"""Thunderbird under Xvfb, with a profile written by hand: lists, reads, marks, searches, moves, copies, deletes, makes and renames
folders, uploads, and hears by IDLE what others do. What it looked like is kept as a picture in the build folder."""
import os
import time

import pytest

from harness import imap, mails, recorder, thunderbird, wire

pytestmark = [pytest.mark.full, pytest.mark.timeout(400)]

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SECONDS = 60


@pytest.fixture(params=['imaps', 'starttls'])
def session(request, penfold_server, new_user, tmp_path):
    """Logged in as a new user with letter 0 to letter 11 in the mailbox."""
    user = new_user()
    with imap.login(penfold_server, user) as connection:
        connection.command('CREATE Projects')
        connection.command('SUBSCRIBE Projects')
        for n in range(12):
            connection.append('INBOX', b'Message-ID: <%d@elsewhere.test>\r\n' % n + mails.sized(1500 + n * 500, name=f'letter {n}'))
    with thunderbird.Thunderbird(penfold_server, user, tmp_path, 'connect' if request.param == 'imaps' else 'starttls') as mail:
        mail.name = request.param
        mail.log_in()
        yield mail


def until(host, user, test):
    """Waits until what the account holds, {mailbox: {subject: flags}}, passes the test; what it holds."""
    end = time.monotonic() + SECONDS
    while True:
        found = {box: {m.subject: m.flags for m in held} for box, held in imap.holds_all(host, user).items()}
        if test(found):
            return found
        assert time.monotonic() < end, f'not before {SECONDS} s: {found}'
        time.sleep(0.3)


def test_a_day(penfold_server, session, tmp_path):
    host, user = penfold_server, session.user

    folders = session.run('return root.descendants.map((f) => decodeURIComponent(f.URI.split("/").pop()))')
    assert sorted(folders) == sorted(['INBOX', 'Archive', 'Drafts', 'Junk', 'Projects', 'Sent', 'Trash'])

    # Read and mark.
    session.run('await open("INBOX", 12); await read("letter 2"); pane.goDoCommand("cmd_markAsFlagged");')
    session.run('(await folder("INBOX")).addKeywordsToMessages([await read("letter 3")], "$label1");')
    until(host, user, lambda found: found['INBOX']['letter 2'] == {'\\Seen', '\\Flagged'} and '$label1' in found['INBOX']['letter 3'])
    assert 'all work and no play' in session.run('''
        await read("letter 4");
        const text = pane.document.getElementById("messageBrowser").contentWindow.getMessagePaneBrowser();
        return wait("the text", () => text.contentDocument && text.contentDocument.body && text.contentDocument.body.textContent);''')
    session.picture(os.path.join(ROOT, os.environ['PENFOLD_BUILD'], f'thunderbird-{session.name}.png'))

    # Move, copy, delete.
    session.run('''
        const to = async (subject, name, moves) => MailServices.copy.copyMessages(await folder("INBOX"), [header(subject)[1]], await folder(name),
            moves, null, msgWindow, true);
        await to("letter 5", "Projects", true);
        await to("letter 6", "Archive", false);''')
    until(host, user, lambda found: 'letter 5' in found['Projects'] and 'letter 6' in found['Archive'])
    session.run('await read("letter 7"); pane.goDoCommand("cmd_delete"); await wait("ten rows", () => pane.gDBView.rowCount === 10);')
    found = until(host, user, lambda found: 'letter 7' in found['Trash'])
    assert found['INBOX'].keys() == {f'letter {n}' for n in range(12) if n not in (5, 7)}

    # What others do arrives while it idles.
    session.run('await wait("the end of it all", () => !document.getElementById("throbber-box")?.getAttribute("busy"))')
    wire.deliver(host, mails.sized(2000, name='while idle'), user)
    with imap.login(host, user) as connection:
        connection.command('SELECT INBOX')
        uids = {m.subject: m.uid for m in imap.held(connection)}
        connection.command('SELECT INBOX')
        connection.command(f'UID STORE {uids["letter 8"]} +FLAGS (\\Seen \\Answered)')
        connection.command(f'UID STORE {uids["letter 9"]} +FLAGS (\\Deleted)')
        connection.command(f'UID EXPUNGE {uids["letter 9"]}')
    session.run('''
        await wait("the new one", () => { try { return header("while idle"); } catch (error) { return false; } });
        await wait("the flags", () => header("letter 8")[1].isRead);
        await wait("the other one gone", () => { try { header("letter 9"); return false; } catch (error) { return true; } });''')

    # SEARCH on the server.
    hits = session.run('''
        const search = Cc["@mozilla.org/messenger/searchSession;1"].createInstance(Ci.nsIMsgSearchSession);
        const term = search.createTerm();
        term.attrib = Ci.nsMsgSearchAttrib.Body;
        term.op = Ci.nsMsgSearchOp.Contains;
        term.value = Object.assign(term.value, { attrib: term.attrib, str: "0000000060 all" });
        search.appendTerm(term);
        search.addScopeTerm(Ci.nsMsgSearchScope.onlineMail, await folder("INBOX"));
        const found = [];
        await new Promise((resolve) => {
            search.registerListener({ onNewSearch() {}, onSearchHit: (hit) => found.push(hit.mime2DecodedSubject), onSearchDone: resolve });
            search.search(msgWindow);
        });
        return found.sort();''')
    assert hits == ['letter 10', 'letter 11', 'letter 8']

    # Folders; a name outside ASCII.
    session.run('''
        root.createSubfolder("Büro", msgWindow);
        (await folder("Büro")).createSubfolder("Rechnungen", msgWindow);
        (await folder("Rechnungen")).rename("Quittungen", msgWindow);
        await folder("Quittungen");''')
    until(host, user, lambda found: 'B&APw-ro/Quittungen' in found and 'B&APw-ro/Rechnungen' not in found)

    # An upload, as of a draft.
    (tmp_path / 'draft.eml').write_bytes(mails.sized(90000, name='a draft'))
    session.run('''
        const file = Cc["@mozilla.org/file/local;1"].createInstance(Ci.nsIFile);
        file.initWithPath(args[0]);
        MailServices.copy.copyFileMessage(file, await folder("Drafts"), null, true, Ci.nsMsgMessageFlags.Read, "", null, msgWindow);''',
        str(tmp_path / 'draft.eml'))
    until(host, user, lambda found: 'a draft' in found['Drafts'])

    # All bodies, for reading without a network.
    session.run('''
        const inbox = await folder("INBOX");
        await new Promise((resolve) => inbox.downloadAllForOffline({ OnStartRunningUrl() {}, OnStopRunningUrl: resolve }, msgWindow));
        await wait("all of them", () => [...inbox.messages].every((one) => one.flags & Ci.nsMsgMessageFlags.Offline));''')

    # Emptying the trash.
    session.run('(await folder("Trash")).emptyTrash(null);')
    until(host, user, lambda found: not found['Trash'])
    assert 'name=Thunderbird' in host.log_text()


CHANGES_ONLY = {'mail.server.default.use_condstore': True, 'mail.server.default.use_compress_deflate': True}


def test_it_comes_back(penfold_server, new_user, tmp_path):
    """With CONDSTORE and COMPRESS: it keeps what it knows, asks for what has changed since, and shows what is there."""
    user = new_user()
    with imap.login(penfold_server, user) as connection:
        for n in range(12):
            connection.append('INBOX', b'Message-ID: <%d@elsewhere.test>\r\n' % n + mails.sized(1500, name=f'letter {n}'))
    with recorder.Recorder(penfold_server) as through, thunderbird.Thunderbird(through, user, tmp_path, None, CHANGES_ONLY) as mail:
        mail.log_in()
        mail.run('await open("INBOX", 12); await read("letter 2");')
        until(penfold_server, user, lambda found: '\\Seen' in found['INBOX']['letter 2'])
        mail.quit()
        assert through.said(r'\w+ COMPRESS DEFLATE')
        assert not through.refusals()
    with imap.login(penfold_server, user) as connection:
        uids = {m.subject: m.uid for m in imap.held(connection)}
        connection.command('SELECT INBOX')
        connection.command(f'UID STORE {uids["letter 4"]},{uids["letter 5"]} +FLAGS (\\Seen \\Flagged)')
        connection.command(f'UID STORE {uids["letter 2"]} -FLAGS (\\Seen)')
        connection.append('INBOX', mails.sized(800, name='letter 12'))
    with recorder.Recorder(penfold_server) as through, thunderbird.Thunderbird(through, user, tmp_path, None, CHANGES_ONLY) as mail:
        mail.run("""
            server.getNewMessages(root, msgWindow, null);
            await open("INBOX", 13);
            await wait("the flags", () => header("letter 4")[1].isRead && header("letter 5")[1].isFlagged && !header("letter 2")[1].isRead);""")
        assert through.said(r'\w+ UID fetch [\d:*]+ \(FLAGS\) \(CHANGEDSINCE \d+\)')
        assert not through.refusals()
    with imap.login(penfold_server, user) as connection:
        connection.command('SELECT INBOX')
        connection.command(f'UID STORE {uids["letter 7"]} +FLAGS (\\Deleted)')
        connection.command('EXPUNGE')
    with thunderbird.Thunderbird(penfold_server, user, tmp_path, 'connect', CHANGES_ONLY) as mail:
        mail.run('server.getNewMessages(root, msgWindow, null); await open("INBOX", 12);')
