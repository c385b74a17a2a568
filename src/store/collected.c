/* What a POP3 client has collected, for accounts whose mail goes some days after that.
 *
 * `g` time8 mailbox4 uid4: format1 time8 mailbox4 n2 uid4... - one row for what one session
 * collected, up to STORE_BATCH UIDs, under the first of them; so a session of 500 messages writes
 * one row and no message's own row changes.
 *
 * Invariants:
 *   1. A UID is in one row at most, that of the first time: a client that collects its whole
 *      mailbox every few minutes neither puts off what is due nor fills the account with rows.
 *   2. Rows are in order of time, so what is due is at the front.
 *   3. A row goes after its messages have gone, in a commit of its own; a crash between repeats an
 *      expunge that finds nothing. */
#include "store/store_int.h"

#include "base/mem.h"

#include <stdlib.h>

struct collected {
    uint64_t time;
    uint32_t mailbox;
    size_t n;
    uint32_t uids[STORE_BATCH];
};

static enum rc collected_decode(struct str value, struct collected *out)
{
    struct unpacker r;
    unpack_init(&r, value);
    if (unpack_u8(&r) != RECORD_FORMAT)
        return RC_CORRUPT;
    out->time = unpack_u64(&r);
    out->mailbox = unpack_u32(&r);
    out->n = unpack_u16(&r);
    if (out->n > STORE_BATCH)
        return RC_CORRUPT;
    for (size_t i = 0; i < out->n; i++)
        out->uids[i] = unpack_u32(&r);
    return unpack_done(&r);
}

static struct str collected_encode(const struct collected *k, void *mem, size_t size)
{
    struct packer w;
    pack_init(&w, mem, size);
    pack_u8(&w, RECORD_FORMAT);
    pack_u64(&w, k->time);
    pack_u32(&w, k->mailbox);
    pack_u16(&w, (uint16_t)k->n);
    for (size_t i = 0; i < k->n; i++)
        pack_u32(&w, k->uids[i]);
    return pack_done(&w);
}

/* A page of rows from behind `after` on. */
static enum rc read_page(struct store_account *a, struct str after, size_t max, unsigned flags,
                         struct arena *arena, struct kv_page *out)
{
    struct key from = key_of_kind('g'), to = key_after(key_str(&from), 1);
    struct kv_range range = {.from = key_str(&from), .to = key_str(&to), .after = after};
    return kv_scan(a->store->kv, account_part(a->id), range, max, flags & KV_CACHED, arena, out);
}

/* --- noting ----------------------------------------------------------------------------------- */

struct noting {
    struct attempt attempt;
    struct store_op *op;
    struct collected k; /* what is new */
};

static int compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

/* Takes out what an earlier row has; both are sorted. */
static void subtract(struct collected *k, const struct collected *old)
{
    size_t n = 0;
    if (old->mailbox != k->mailbox)
        return;
    for (size_t i = 0; i < k->n; i++)
        if (!bsearch(&k->uids[i], old->uids, old->n, sizeof *old->uids, compare))
            k->uids[n++] = k->uids[i];
    k->n = n;
}

static enum rc subtract_noted(struct store_account *a, unsigned flags, struct collected *k)
{
    struct arena arena;
    struct kv_page page = {.has_more = true};
    struct str after = {0};
    struct collected old;
    enum rc rc = RC_OK;
    arena_init(&arena, 0);
    while (rc == RC_OK && page.has_more && k->n) {
        rc = read_page(a, after, 256, flags, &arena, &page);
        for (size_t i = 0; rc == RC_OK && i < page.n; i++) {
            rc = collected_decode(page.rows[i].value, &old);
            if (rc == RC_OK)
                subtract(k, &old);
        }
        if (rc == RC_OK && page.n)
            after = page.rows[page.n - 1].key;
    }
    arena_fini(&arena);
    return rc;
}

static enum rc run_note(struct attempt *attempt)
{
    struct noting *p = CONTAINER(attempt, struct noting, attempt);
    unsigned char mem[16 + 4 * STORE_BATCH];
    struct change *c = change_quiet(attempt->account, p->op);
    p->k.time = c->time;
    change_put(c, key_collected(c->time, p->k.mailbox, p->k.uids[0]),
               collected_encode(&p->k, mem, sizeof mem));
    return change_commit(c);
}

enum rc store_collected_note(struct store_account *a, uint32_t mailbox, const uint32_t *uids,
                             size_t n_uids, unsigned flags, struct store_op *op)
{
    struct noting p = {.attempt = {.run = run_note, .account = a, .flags = flags},
                       .op = op,
                       .k.mailbox = mailbox,
                       .k.n = n_uids};
    if (n_uids > STORE_BATCH)
        return RC_LIMIT;
    for (size_t i = 0; i < n_uids; i++) {
        if (i && uids[i] <= uids[i - 1])
            return RC_PERM;
        p.k.uids[i] = uids[i];
    }
    TRY(subtract_noted(a, flags, &p.k));
    op->changed = (uint32_t)p.k.n;
    if (p.k.n)
        return attempt_run(&p.attempt);
    op->rc = RC_OK;
    op->modseq = 0;
    op->done(op);
    return RC_OK;
}

/* --- expiring --------------------------------------------------------------------------------- */

struct dropping {
    struct attempt attempt;
    struct store_op *op;
    struct str key;
};

static enum rc run_drop(struct attempt *attempt)
{
    struct dropping *p = CONTAINER(attempt, struct dropping, attempt);
    struct change *c = change_quiet(attempt->account, p->op);
    enum rc rc = kv_txn_delete(c->txn, p->key);
    if (rc == RC_OK)
        return change_commit(c);
    change_free(c);
    return rc;
}

static enum rc drop_row(struct store_account *a, struct str key)
{
    struct waiter w;
    waiter_init(&w);
    struct dropping p = {.attempt = {.run = run_drop, .account = a}, .op = &w.op, .key = key};
    return waiter_wait(&w, attempt_run(&p.attempt));
}

static enum rc expunge_row(struct store_account *a, const struct collected *k, uint64_t *expunged)
{
    struct waiter w;
    waiter_init(&w);
    enum rc rc = waiter_wait(&w, store_expunge(a, k->mailbox, k->uids, k->n, 0, &w.op));
    if (rc == RC_OK)
        *expunged += w.op.changed;
    return rc == RC_NOTFOUND ? RC_OK : rc; /* the mailbox has gone */
}

enum rc store_collected_expire(struct store_account *a, uint64_t age_ns, uint64_t *out_expunged,
                               bool *out_more)
{
    struct arena arena;
    struct kv_page page;
    struct collected k;
    uint64_t now = store_now(a->store);
    *out_more = false;
    arena_init(&arena, 0);
    enum rc rc = read_page(a, (struct str){0}, 16, 0, &arena, &page);
    for (size_t i = 0; rc == RC_OK && i < page.n; i++) {
        rc = collected_decode(page.rows[i].value, &k);
        if (rc != RC_OK)
            break;
        if (k.time > now || now - k.time < age_ns)
            goto out;
        rc = expunge_row(a, &k, out_expunged);
        if (rc == RC_OK)
            rc = drop_row(a, page.rows[i].key);
    }
    *out_more = rc == RC_OK && page.has_more;
out:
    arena_fini(&arena);
    return rc;
}
