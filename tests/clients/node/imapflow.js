'use strict';
// imapflow, driven by test_imap_libraries.py: MODULES HOST PORT TLS USER CERTIFICATE, the password on standard input.
// Ends with 'done' when every step went as it says; the test looks at the account afterwards.
const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');

const [modules, host, port, tls, user, certificate] = process.argv.slice(2);
const { ImapFlow } = require(path.join(modules, 'imapflow'));
const pass = fs.readFileSync(0, 'utf8').trim();

function connection() {
    return new ImapFlow({
        host, port: Number(port), secure: tls === 'imaps', doSTARTTLS: tls === 'starttls' ? true : tls === 'plain' ? false : undefined,
        auth: { user, pass }, tls: { ca: fs.readFileSync(certificate), checkServerIdentity: () => undefined },
        logger: false, clientInfo: { name: 'penfold-test' },
    });
}

function letter(n) {
    return Buffer.from(`From: "Sender ${n}" <sender${n}@elsewhere.test>\r\nTo: <alice@example.test>\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe_${n}?=\r\n`
        + `Date: Sat, 03 Feb 2024 10:11:12 +0100\r\nMessage-ID: <${n}@elsewhere.test>\r\nMIME-Version: 1.0\r\n`
        + 'Content-Type: multipart/mixed; boundary="=b"\r\n\r\n--=b\r\nContent-Type: text/plain; charset=utf-8\r\n'
        + `Content-Transfer-Encoding: quoted-printable\r\n\r\nViele Gr=C3=BC=C3=9Fe, ${n}\r\n--=b\r\nContent-Type: image/png; name=p.png\r\n`
        + `Content-Disposition: attachment; filename=p.png\r\nContent-Transfer-Encoding: base64\r\n\r\n${picture(n).toString('base64').replace(/.{76}/g, '$&\r\n')}\r\n--=b--\r\n`);
}

function picture(n) {
    return Buffer.from(Array.from({ length: 100000 + n }, (_, i) => (i * 7 + n) % 251));
}

async function all(generator) {
    const found = [];
    for await (const one of generator) found.push(one);
    return found;
}

async function download(client, range, part) {
    const { content, meta } = await client.download(range, part, { uid: true });
    return { meta, data: Buffer.concat(await all(content)) };
}

async function main() {
    const client = connection();
    await client.connect();
    assert.equal(client.usable, true);
    assert.equal(client.secureConnection, tls !== 'plain');

    // Mailboxes; names outside ASCII.
    assert.equal((await client.mailboxCreate(['Büro', 'Zürich & Köln'])).path, 'Büro/Zürich & Köln');
    assert.equal((await client.mailboxCreate('Büro/Zürich & Köln')).created, false);
    const tree = await client.list({ statusQuery: { messages: true, unseen: true, uidNext: true } });
    const named = Object.fromEntries(tree.map((box) => [box.path, box]));
    for (const [name, use] of [['INBOX', '\\Inbox'], ['Sent', '\\Sent'], ['Drafts', '\\Drafts'], ['Trash', '\\Trash'], ['Junk', '\\Junk']]) {
        assert.equal(named[name].specialUse, use);
    }
    assert.equal(named['Büro/Zürich & Köln'].status.messages, 0);
    await client.mailboxSubscribe('Büro/Zürich & Köln');

    // Appending tells where it went [RFC4315 3].
    for (let n = 0; n < 10; n += 1) {
        const put = await client.append('INBOX', letter(n), n % 2 ? ['\\Seen', 'Work'] : [], new Date('2024-02-03T10:11:12Z'));
        assert.equal(put.uid, n + 1);
    }
    assert.deepEqual(await client.status('INBOX', { messages: true, unseen: true, uidNext: true }), { path: 'INBOX', messages: 10, unseen: 5, uidNext: 11 });

    const lock = await client.getMailboxLock('INBOX');
    try {
        assert.equal(client.mailbox.exists, 10);
        const rows = await all(client.fetch('1:*', {
            uid: true, flags: true, size: true, internalDate: true, envelope: true, bodyStructure: true, headers: ['message-id'],
        }));
        rows.forEach((row, n) => {
            assert.equal(row.uid, n + 1);
            assert.equal(row.size, letter(n).length);
            assert.equal(row.envelope.subject, `Grüße ${n}`);
            assert.deepEqual(row.envelope.from, [{ name: `Sender ${n}`, address: `sender${n}@elsewhere.test` }]);
            assert.equal(row.envelope.messageId, `<${n}@elsewhere.test>`);
            assert.deepEqual([...row.flags].sort(), n % 2 ? ['Work', '\\Seen'] : []);
            assert.equal(row.internalDate.toISOString(), '2024-02-03T10:11:12.000Z');
            assert.deepEqual(row.bodyStructure.childNodes.map((part) => part.type), ['text/plain', 'image/png']);
            assert.equal(row.bodyStructure.childNodes[1].dispositionParameters.filename, 'p.png');
            assert.equal(row.headers.toString().trim(), `Message-ID: <${n}@elsewhere.test>`);
        });
        assert.equal(rows.length, 10);

        // A part is fetched in pieces and decoded by the library; without a part, the source.
        assert.deepEqual((await download(client, '3', '2')).data, picture(2));
        assert.equal((await download(client, '3', '1')).data.toString(), 'Viele Grüße, 2');
        assert.deepEqual((await download(client, '3')).data, letter(2));
        assert.deepEqual((await client.fetchOne('4', { source: { start: 10, maxLength: 20 } }, { uid: true })).source, letter(3).subarray(10, 30));

        // Searching.
        assert.deepEqual(await client.search({ seen: true }, { uid: true }), [2, 4, 6, 8, 10]);
        assert.deepEqual(await client.search({ subject: 'grüsse 4'.replace('ss', 'ß') }, { uid: true }), [5]);
        assert.deepEqual(await client.search({ or: [{ from: 'sender2' }, { keyword: 'Work' }], sentBefore: new Date('2025-01-01') }, { uid: true }), [2, 3, 4, 6, 8, 10]);
        assert.deepEqual(await client.search({ body: 'Viele Grüße, 7' }, { uid: true }), [8]);

        // Flags; and the other session's view of them, by IDLE.
        const heard = [];
        const other = connection();
        await other.connect();
        await other.mailboxOpen('INBOX');
        other.on('flags', (event) => heard.push(`flags ${event.uid ?? event.seq}`));
        other.on('expunge', (event) => heard.push(`expunge ${event.seq ?? event.uid}`));
        other.on('exists', (event) => heard.push(`exists ${event.count}`));
        const idling = other.idle();
        await client.messageFlagsAdd('1:3', ['\\Flagged'], { uid: true });
        await client.messageFlagsRemove([2], ['\\Flagged', '\\Seen'], { uid: true });
        await client.messageFlagsSet([4], ['\\Answered'], { uid: true });
        const copied = await client.messageCopy('1:2', 'Büro/Zürich & Köln', { uid: true });
        assert.deepEqual([...copied.uidMap.entries()], [[1, 1], [2, 2]]);
        const moved = await client.messageMove('9:10', 'Büro/Zürich & Köln', { uid: true });
        assert.deepEqual([...moved.uidMap.entries()], [[9, 3], [10, 4]]);
        assert.equal(await client.messageDelete([8], { uid: true }), true);
        await client.append('INBOX', letter(10));
        const wanted = ['flags 1', 'flags 3', 'flags 4', 'expunge 8', 'exists 8'];
        for (let tries = 0; tries < 300 && !wanted.every((event) => heard.includes(event)); tries += 1) {
            await new Promise((resolve) => setTimeout(resolve, 100));
        }
        for (const event of wanted) assert.ok(heard.includes(event), `not told: ${event}; only ${heard.join(', ')}`);
        await other.logout();
        await idling;
    } finally {
        lock.release();
    }

    const renamed = await client.mailboxRename('Büro/Zürich & Köln', 'Büro/Bern');
    assert.equal(renamed.newPath, 'Büro/Bern');
    await client.mailboxCreate('Gone');
    await client.mailboxDelete('Gone');
    await client.logout();
    console.log('done');
}

main().catch((error) => {
    console.error(error, error.response ? JSON.stringify(error.response.attributes ?? error.response) : '');
    process.exit(1);
});
