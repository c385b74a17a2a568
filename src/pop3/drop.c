/* The maildrop: the account, its lock, and the INBOX as it was at login [RFC1939 4].
 *
 * Invariants: the lock is held from the login to the end of the session and given back exactly
 * once; the root never changes in between, so message numbers and sizes do not either.
 */
#include "pop3/pop3_int.h"

#include <stdlib.h>

/* RETR ends a message that does not end with CRLF with one, and what is told of its size counts it
 * [RFC1939 11]; see docs/decisions/0021. */
enum { ADDED_END = 2 };

/* RC_CONFLICT is another session's lock and nothing else [RFC2449 8.1.2]; the store says it where
 * trying again helps. */
static enum rc busy_is_temporary(enum rc rc)
{
    return rc == RC_CONFLICT ? RC_TEMP : rc;
}

static enum rc open_inbox(struct conn *c, struct pop3_session *s, uint64_t account)
{
    struct pop3_drop *d = &s->drop;
    unsigned flags = pop3_flags(c);
    if (!d->account)
        TRY(busy_is_temporary(
            store_account_open(s->pop3->conf.store, account, flags, &d->account)));
    if (!d->is_locked)
        d->is_locked = store_pop3_lock(d->account);
    if (!d->is_locked)
        return RC_CONFLICT;
    TRY(busy_is_temporary(store_mailbox_by_role(d->account, STORE_INBOX, &d->mailbox)));
    TRY(busy_is_temporary(store_reader_open(d->account, d->mailbox, flags, &d->reader)));
    d->root = store_reader_root(d->reader);
    d->n = store_root_count(d->root);
    d->bytes = store_root_mailbox(d->root)->bytes + ADDED_END * store_root_unended(d->root);
    return RC_OK;
}

enum rc pop3_drop_open(struct conn *c, struct pop3_session *s, uint64_t account)
{
    enum rc rc = open_inbox(c, s, account);
    if (rc == RC_AGAIN && !net_can_block(c))
        return rc;
    if (rc == RC_OK)
        return rc;
    pop3_drop_close(&s->drop);
    if (rc == RC_NOTFOUND) /* the directory knows it, the store does not */
        return RC_CORRUPT;
    return rc == RC_AGAIN ? RC_TEMP : rc;
}

void pop3_drop_close(struct pop3_drop *drop)
{
    store_reader_close(&drop->reader);
    if (drop->is_locked)
        store_pop3_unlock(drop->account);
    if (drop->account)
        store_account_close(&drop->account);
    free(drop->deleted);
    free(drop->collected);
    free(drop->uids);
    free(drop->noted);
    arena_fini(&drop->uidl_arena);
    *drop = (struct pop3_drop){0};
}

bool pop3_drop_is_deleted(const struct pop3_drop *drop, size_t index)
{
    return drop->deleted && drop->deleted[index / 8] & 1 << index % 8;
}

uint64_t pop3_drop_size(const struct pop3_drop *drop, size_t index)
{
    const struct store_row *row = store_root_at(drop->root, index);
    return row->size + (row->flags & STORE_UNENDED ? ADDED_END : 0);
}

enum rc pop3_drop_find(const struct pop3_drop *drop, struct str number, size_t *out_index)
{
    uint64_t n;
    enum rc rc = str_to_u64(number, &n);
    if (rc != RC_OK)
        return rc == RC_LIMIT ? RC_NOTFOUND : rc;
    if (!n || n > drop->n || pop3_drop_is_deleted(drop, (size_t)n - 1))
        return RC_NOTFOUND; /* [RFC1939 5] */
    *out_index = (size_t)n - 1;
    return RC_OK;
}

/* Those of a mailbox are asked for one after the other, so what was read with the last one most
 * often has it. */
enum rc pop3_drop_uidl(struct pop3_drop *drop, uint32_t uid, unsigned flags, struct str *out)
{
    for (unsigned tries = 0; tries < 2; tries++) {
        for (size_t from = 0, to = drop->n_uidls; from < to;) {
            size_t half = from + (to - from) / 2;
            if (drop->uidls[half].uid == uid) {
                *out = drop->uidls[half].id;
                return RC_OK;
            }
            if (drop->uidls[half].uid < uid)
                from = half + 1;
            else
                to = half;
        }
        if (tries)
            break;
        drop->n_uidls = 0;
        arena_reset(&drop->uidl_arena);
        TRY(store_uidls(drop->account, drop->mailbox, uid, flags, &drop->uidl_arena, &drop->uidls,
                        &drop->n_uidls));
    }
    return RC_CORRUPT;
}
