/* Bringing an account into memory: its hot record, its mailboxes and its keywords; never its rows.
 *
 * Invariants:
 *   1. What is read is of one version of the partition, which the writer then goes on from.
 *   2. The numbers have jumped before anybody sees the account, once for each generation of kv: a
 *      mailbox and the hot record each say for which generation, so a jump that was cut short goes
 *      on and does not begin again.
 *   3. Loading anew after a failure keeps the mailboxes' structs, because others point to them. */
#include "store/store_int.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum { LOAD_TRIES = 5, JUMP_ROWS = 1000 };

enum rc scan_between(struct store_account *a, struct str from, struct str to, row_fn each,
                     void *arg, uint64_t *out_version)
{
    const struct kv_range range = {.from = from, .to = to};
    struct kv_walk walk;
    struct kv_row row;
    enum rc rc;
    /* What is read stays in memory in another form. */
    kv_walk_begin(&walk, a->store->kv, account_part(a->id), range, KV_ONCE);
    do
        rc = kv_walk_next(&walk, &row);
    while (rc == RC_OK && (rc = each(arg, row)) == RC_OK);
    if (out_version && rc == RC_EOF)
        *out_version = walk.page.version;
    kv_walk_end(&walk);
    return rc == RC_EOF ? RC_OK : rc;
}

enum rc scan_rows(struct store_account *a, struct str prefix, row_fn each, void *arg,
                  uint64_t *out_version)
{
    struct key to = key_after(prefix, prefix.n);
    return scan_between(a, prefix, key_str(&to), each, arg, out_version);
}

void account_unload(struct store_account *a)
{
    mailboxes_free(a);
    subscriptions_forget(a);
    news_forget(a);
    for (size_t i = 0; i < STORE_KEYWORDS; i++)
        free((void *)(uintptr_t)a->keywords[i].p);
    kv_writer_close(&a->writer);
}

/* --- reading ---------------------------------------------------------------------------------- */

static enum rc load_hot(struct store_account *a, struct view *view, uint64_t *out_version)
{
    struct arena arena;
    arena_init(&arena, 0);
    struct key key = key_hot();
    struct str name = key_str(&key), value;
    enum rc rc =
        kv_get(a->store->kv, account_part(a->id), &name, 1, 0, &arena, &value, out_version);
    if (rc == RC_OK && str_is_null(value))
        rc = RC_NOTFOUND;
    if (rc == RC_OK)
        rc = hot_decode(value, &view->hot);
    if (rc == RC_OK && view->hot.is_dying)
        rc = RC_NOTFOUND;
    arena_fini(&arena);
    return rc;
}

struct loading {
    struct store_account *account;
    struct view view;
    size_t n_mailboxes;
};

/* Known ones are brought up to date. */
static enum rc load_mailbox(void *arg, struct kv_row row)
{
    struct loading *l = arg;
    struct mailbox_record record;
    if (row.key.n != 5)
        return RC_CORRUPT;
    TRY(mailbox_decode(get_u32(row.key.p + 1), row.value, &record));
    struct mailbox *m = mailbox_make(l->account, record.m.id);
    bool is_named = m->head.state != MAILBOX_NONE && str_eq(m->head.m.name, record.m.name);
    record.m.name = is_named ? m->head.m.name : mailbox_name(m, record.m.name);
    news_reload(l->account, m, &record, l->view.hot.next_modseq - 1);
    m->head = m->published = record;
    m->is_met = true;
    l->n_mailboxes++;
    return RC_OK;
}

/* Forgets those that a reading did not find. */
static void forget_unmet(struct store_account *a)
{
    for (size_t i = 0; i < a->n_mailboxes; i++) {
        struct mailbox *m = a->mailboxes[i];
        if (!m->is_met) {
            mailbox_drop_roots(m);
            m->head.state = m->published.state = MAILBOX_NONE;
        }
        m->is_met = false;
    }
    a->needs_reaping = true;
}

static enum rc load_keyword(void *arg, struct kv_row row)
{
    struct loading *l = arg;
    struct str name;
    TRY(text_decode(row.value, &name));
    unsigned n = row.key.n == 2 ? (unsigned char)row.key.p[1] : STORE_KEYWORDS;
    if (n != l->view.n_keywords || n >= STORE_KEYWORDS)
        return RC_CORRUPT;
    struct str *slot = &l->account->keywords[l->view.n_keywords++];
    free((void *)(uintptr_t)slot->p);
    *slot = str_from(mem_dup(name.p, name.n), name.n);
    return RC_OK;
}

static enum rc read_all(struct store_account *a)
{
    uint64_t from, to;
    struct key mailboxes = key_of_kind('m'), keywords = key_of_kind('k');
    for (int i = 0; i < LOAD_TRIES; i++) {
        struct loading l = {.account = a};
        TRY(load_hot(a, &l.view, &from));
        enum rc rc = scan_rows(a, key_str(&mailboxes), load_mailbox, &l, NULL);
        forget_unmet(a);
        TRY(rc);
        TRY(scan_rows(a, key_str(&keywords), load_keyword, &l, NULL));
        TRY(kv_version(a->store->kv, account_part(a->id), 0, &to));
        if (from != to)
            continue;
        a->head = a->published = l.view;
        a->version = to;
        return l.n_mailboxes ? RC_OK : RC_CORRUPT;
    }
    return RC_CONFLICT; /* somebody else writes here all the time */
}

/* --- the jump --------------------------------------------------------------------------------- */

static void jump_mailbox(struct mailbox_record *r, uint64_t generation, uint64_t modseq)
{
    uint32_t room = UINT32_MAX - r->m.uidnext;
    r->m.uidnext += room < STORE_JUMP ? room : STORE_JUMP;
    r->m.highest_modseq = modseq;
    r->generation = generation;
}

/* Clients may know numbers from a time that this store has lost: all numbers move beyond them, and
 * nobody is told of changes since then, for they are not known. */
static enum rc jump(struct store_account *a, uint64_t generation)
{
    struct kv_txn *txn = kv_txn_new(account_part(a->id));
    unsigned char mem[RECORD_VALUE];
    enum rc rc = RC_OK;
    struct hot hot = a->head.hot;
    hot.generation = generation;
    hot.next_modseq += STORE_JUMP;
    hot.next_email += STORE_JUMP;
    hot.next_thread += STORE_JUMP;
    hot.next_outbox += STORE_JUMP;
    hot.floor = hot.next_modseq - 1;
    for (size_t i = 0; rc == RC_OK && i < a->n_mailboxes; i++) {
        struct mailbox_record r = a->mailboxes[i]->head;
        if (r.generation == generation)
            continue;
        jump_mailbox(&r, generation, hot.floor);
        struct key key = key_mailbox(r.m.id);
        rc = kv_txn_put(txn, key_str(&key), mailbox_encode(&r, mem, sizeof mem));
        if (rc == RC_OK && kv_txn_rows(txn) == JUMP_ROWS) {
            kv_txn_expect(txn, a->version);
            rc = kv_commit_wait(a->store->kv, txn, &a->version);
            txn = kv_txn_new(account_part(a->id));
        }
    }
    struct key key = key_hot();
    if (rc == RC_OK)
        rc = kv_txn_put(txn, key_str(&key), hot_encode(&hot, mem, sizeof mem));
    if (rc != RC_OK) {
        kv_txn_free(&txn);
        return rc;
    }
    kv_txn_expect(txn, a->version);
    return kv_commit_wait(a->store->kv, txn, &a->version);
}

enum rc account_load(struct store_account *a)
{
    TRY(read_all(a));
    uint64_t generation = kv_generation(a->store->kv);
    if (a->head.hot.generation != generation) {
        TRY(jump(a, generation));
        TRY(read_all(a));
    }
    TRY(kv_writer_open(a->store->kv, account_part(a->id), 0, &a->writer));
    return kv_writer_head(a->writer) == a->version ? RC_OK : RC_CONFLICT;
}

/* The lock is not held, but is_reloading keeps changes out. */
enum rc account_reload(struct store_account *a)
{
    TRY(kv_writer_reload(a->writer, 0));
    pthread_mutex_lock(&a->mutex);
    bool is_known = kv_writer_head(a->writer) == a->version;
    for (size_t i = 0; i < a->n_mailboxes; i++) {
        struct mailbox *m = a->mailboxes[i];
        if (!is_known)
            mailbox_drop_roots(m);
        m->head = m->published;
        store_root_release(&m->head_root);
        m->head_root = root_ref(m->root);
    }
    a->head = a->published;
    a->needs_reaping = true;
    mailboxes_reap(a);
    enum rc rc = RC_OK;
    if (!is_known) { /* somebody else has written; rare enough to read under the lock */
        a->epoch++;
        subscriptions_forget(a);
        rc = read_all(a);
        if (rc == RC_OK && kv_writer_head(a->writer) != a->version)
            rc = RC_CONFLICT;
    }
    pthread_mutex_unlock(&a->mutex);
    return rc;
}
