/* Messages of the server itself to its users: plain text from the postmaster of their domain, with
 * the null sender, so that nothing ever answers [RFC3834 3.3].
 *
 * A notice goes where mail for its address goes, to the account and to where that forwards to. What
 * is put in from outside comes from auth: an address of ours, an IP address, both in ASCII. */
#include "deliver/deliver_int.h"

#include "base/random.h"

#include <stdio.h>
#include <stdlib.h>

enum { BYTES_MAX = 16 << 10 };

/* --- the bytes -------------------------------------------------------------------------------- */

static void put_text(struct buf *out, struct str text)
{
    struct str line;
    while (text.n && str_cut(&text, '\n', &line)) {
        buf_put(out, line);
        buf_put(out, STR("\r\n"));
    }
}

static void compose(const struct deliver *d, const struct notice *n, const char *id, uint64_t now,
                    struct buf *out)
{
    char date[CLOCK_TEXT];
    struct str domain = str_domain(n->to);
    clock_rfc5322(date, now);
    buf_putf(out, "Return-Path: <>\r\n"); /* [RFC5321 4.4] */
    buf_putf(out, "From: Postmaster <postmaster@%.*s>\r\n", STR_ARG(domain));
    buf_putf(out, "To: <%.*s>\r\n", STR_ARG(n->to));
    buf_putf(out, "Subject: %.*s\r\n", STR_ARG(n->subject));
    buf_putf(out, "Date: %s\r\n", date);
    buf_putf(out, "Message-ID: <%s@%.*s>\r\n", id, STR_ARG(d->conf.hostname));
    buf_put(out, STR("Auto-Submitted: auto-generated\r\n" /* [RFC3834 5] */
                     "MIME-Version: 1.0\r\n"
                     "Content-Type: text/plain; charset=us-ascii\r\n\r\n"));
    put_text(out, n->text);
}

static enum rc store_bytes(struct deliver *d, struct str bytes, struct kv_part part,
                           struct kv_blob_id *out)
{
    struct kv_blob_out *blob = kv_blob_new(d->conf.kv, part, 0, 0);
    enum rc rc = kv_blob_write(blob, bytes);
    if (rc == RC_OK)
        return kv_blob_finish(&blob, out);
    kv_blob_abort(&blob);
    return rc;
}

/* --- where it goes ---------------------------------------------------------------------------- */

/* The address may be disabled or gone by now: nobody has to be told any more. */
static enum rc find(struct deliver *d, struct str to, struct arena *arena,
                    struct queue_recipient **out, size_t *out_n)
{
    struct auth_targets targets;
    enum rc rc = auth_resolve(d->conf.auth, to, 0, arena, &targets);
    if (rc != RC_OK)
        return rc == RC_TEMP || rc == RC_FULL ? rc : RC_NOTFOUND;
    *out_n = targets.n + targets.n_outside;
    struct queue_recipient *r = *out = arena_zero(arena, *out_n * sizeof *r);
    for (size_t i = 0; i < targets.n; i++, r++) {
        r->account = targets.accounts[i];
        r->address = to;
    }
    for (size_t i = 0; i < targets.n_outside; i++, r++) {
        r->address = targets.outside[i];
        r->domain = str_domain(targets.outside[i]);
    }
    return RC_OK;
}

static void handed_over(struct deliver_op *deliver_op)
{
    struct notice_op *op = CONTAINER(deliver_op, struct notice_op, op);
    kv_blob_forget(op->deliver->conf.kv, op->blob);
    op->rc = deliver_op->rc;
    op->done(op);
}

static enum rc hand_over(struct notice_op *op, struct arena *arena, struct str to, uint64_t size,
                         uint64_t now)
{
    struct deliver *d = op->deliver;
    struct queue_recipient *recipients;
    struct deliver_message m = {.blob = op->blob,
                                .size = size,
                                .received = now,
                                .sender = STR(""),
                                .id = str_of(op->id),
                                .origin = STR("this server")};
    struct buf id;
    TRY(find(d, to, arena, &recipients, &m.n_recipients));
    m.recipients = recipients;
    buf_init(&id, 512);
    buf_putf(&id, "%s@%.*s", op->id, STR_ARG(d->conf.hostname));
    m.message_id = buf_str(&id);
    op->op.done = handed_over;
    enum rc rc = deliver_message(d, &m, 0, &op->op);
    buf_fini(&id);
    return rc;
}

enum rc notice_send(struct deliver *deliver, const struct notice *notice, struct notice_op *op)
{
    struct arena arena = {0};
    struct buf bytes;
    uint64_t now = clock_wall(deliver->ctx.clock);
    op->deliver = deliver;
    snprintf(op->id, sizeof op->id, "%016llx", (unsigned long long)random_u64());
    buf_init(&bytes, BYTES_MAX);
    compose(deliver, notice, op->id, now, &bytes);
    uint64_t size = buf_len(&bytes);
    enum rc rc = bytes.over ? RC_LIMIT
                            : store_bytes(deliver, buf_str(&bytes), (struct kv_part){KV_QUEUE, 0},
                                          &op->blob);
    buf_fini(&bytes);
    if (rc != RC_OK)
        return rc;
    rc = hand_over(op, &arena, notice->to, size, now);
    if (rc != RC_OK)
        kv_blob_forget(deliver->conf.kv, op->blob);
    arena_fini(&arena);
    return rc;
}
