'use strict';
// imapflow with qresync, driven by test_imap_libraries.py: MODULES HOST PORT TLS USER CERTIFICATE, the password on standard input. It
// keeps a copy of a mailbox, goes away, comes back with what it knew, and must have exactly what is there.
const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');

const [modules, host, port, tls, user, certificate] = process.argv.slice(2);
const { ImapFlow } = require(path.join(modules, 'imapflow'));
const pass = fs.readFileSync(0, 'utf8').trim();

function connection(more) {
    return new ImapFlow({
        host, port: Number(port), secure: tls === 'imaps', doSTARTTLS: tls === 'starttls' ? true : tls === 'plain' ? false : undefined,
        auth: { user, pass }, tls: { ca: fs.readFileSync(certificate), checkServerIdentity: () => undefined }, logger: false, ...more,
    });
}

// The copy: UIDs with their flags, and up to where it is known.
const copy = { messages: new Map(), uidValidity: null, modseq: null };

function word(flags) {
    return [...flags].sort().join(' ');
}

async function visit(whileThere) {
    const client = connection({ qresync: true });
    let last = Date.now();
    client.on('flags', (event) => { last = Date.now(); if (event.uid) copy.messages.set(event.uid, word(event.flags)); });
    client.on('expunge', (event) => { last = Date.now(); assert.equal(event.vanished, true); copy.messages.delete(event.uid); });
    client.on('exists', () => { last = Date.now(); });
    await client.connect();
    assert.ok(client.enabled.has('QRESYNC'));
    const known = copy.modseq ? { changedSince: copy.modseq, uidValidity: copy.uidValidity } : {};
    const box = await client.mailboxOpen('INBOX', known);
    assert.equal(Boolean(box.qresync), Boolean(copy.modseq));
    if (!copy.modseq) {
        for await (const row of client.fetch('1:*', { uid: true, flags: true })) copy.messages.set(row.uid, word(row.flags));
    }
    if (whileThere) await whileThere(client);
    copy.uidValidity = box.uidValidity;
    copy.modseq = box.highestModseq;
    if (whileThere) {
        // What is told while the mailbox is open comes with IDLE, and with what FETCH finds changed since.
        client.idle();
        for (let tries = 0; tries < 300 && (Date.now() - last < 300 || tries < 3); tries += 1) await new Promise((resolve) => setTimeout(resolve, 100));
        for await (const row of client.fetch('1:*', { uid: true, flags: true }, { changedSince: copy.modseq })) {
            copy.messages.set(row.uid, word(row.flags));
            copy.modseq = row.modseq > copy.modseq ? row.modseq : copy.modseq;
        }
    }
    await client.logout();
}

async function truth(client) {
    const found = new Map();
    for await (const row of client.fetch('1:*', { uid: true, flags: true })) found.set(row.uid, word(row.flags));
    return [...found].sort((a, b) => a[0] - b[0]);
}

async function main() {
    const other = connection();
    await other.connect();
    for (let n = 0; n < 20; n += 1) await other.append('INBOX', Buffer.from(`Subject: ${n}\r\n\r\n${n}\r\n`), n % 3 ? ['\\Seen'] : []);
    await other.mailboxOpen('INBOX');
    const same = async () => assert.deepEqual([...copy.messages].sort((a, b) => a[0] - b[0]), await truth(other));
    await visit();
    await same();

    // While it is away.
    await other.messageFlagsAdd('1:5', ['\\Flagged'], { uid: true });
    await other.messageFlagsRemove('2', ['\\Seen'], { uid: true });
    await other.messageDelete('7:9', { uid: true });
    await other.messageFlagsAdd('9:12', ['$Work'], { uid: true });
    await other.append('INBOX', Buffer.from('Subject: new\r\n\r\nx\r\n'), ['\\Draft']);
    await visit();
    await same();

    // Nothing has happened.
    await visit();
    await same();

    // While it is there, and between.
    await other.messageDelete('1,20', { uid: true });
    await visit(async () => {
        await other.messageDelete('3,15:16', { uid: true });
        await other.messageFlagsSet('4', ['\\Answered'], { uid: true });
        await other.append('INBOX', Buffer.from('Subject: newer\r\n\r\nx\r\n'));
    });
    await same();

    // Everything goes.
    await other.messageDelete('1:*', { uid: true });
    await visit();
    await same();
    assert.equal(copy.messages.size, 0);
    await other.logout();
    console.log('done');
}

main().catch((error) => {
    console.error(error, error.response ? JSON.stringify(error.response.attributes ?? error.response) : '');
    process.exit(1);
});
