/* Putting messages into a mailbox: all of them or none.
 *
 * Reads: the delivery id when there is one, the message id and the references up to the first that
 * is known. Writes: s, m, u, e, t, c, and i and z when they apply. Nothing depends on how many
 * messages there are; p and l are one row each of all that is brought by one change. */
#include "store/store_int.h"

/* What the change knows of a message id: the head's row, with what is added. */
struct known_id {
    uint64_t hash;
    struct message_id row;
    bool is_given; /* a message of this change has it, so it has a thread when the next one asks */
};

struct item {
    struct known_id *id;     /* of the message itself; NULL: none */
    struct known_id *parent; /* of the nearest one that it answers in this change; NULL: none */
    uint64_t thread;         /* of the nearest one that it answers elsewhere; 0: none */
};

struct appending {
    struct attempt attempt;
    const struct store_append *appends;
    size_t n;
    struct store_op *op;
    struct mailbox *mailbox;
    struct item *items; /* in the attempt's arena, as the ids */
    struct known_id *ids;
    size_t n_ids;
};

static uint64_t message_id_hash(const struct store_account *a, struct str id)
{
    uint64_t hash = str_hash(id, a->head.hot.hash_key);
    return hash ? hash : 1;
}

/* RC_EXISTS: delivered, durable. RC_CONFLICT: on its way, and nobody may say more yet. */
static enum rc check_delivery(struct appending *p)
{
    struct store_account *a = p->attempt.account;
    struct str id = p->appends->delivery_id, value;
    if (str_is_null(id))
        return RC_OK;
    LIST_EACH (&a->in_flight, it) {
        const struct change *c = CONTAINER(it, struct change, link);
        if (c->has_delivery && str_eq(str_from(c->delivery, sizeof c->delivery), id))
            return RC_CONFLICT;
    }
    TRY(head_get(&p->attempt, key_delivery(id), &value));
    return str_is_null(value) ? RC_OK : RC_EXISTS;
}

/* All of them are looked at, to find all that must be read. */
static enum rc check_notes(struct appending *p)
{
    enum rc result = RC_OK;
    for (size_t i = 0; i < p->n; i++) {
        enum rc rc = notes_check(&p->attempt, p->appends[i].notes, p->appends[i].n_notes);
        if (rc != RC_OK && (result == RC_OK || result == RC_AGAIN))
            result = rc;
    }
    return result;
}

/* Room for the messages, checked against all that is queued before them and what this change takes
 * away. */
static enum rc check_limits(const struct appending *p, const struct hot *hot)
{
    uint64_t bytes = 0;
    size_t n = 0;
    uint64_t before = p->attempt.account->head.hot.bytes;
    for (size_t i = 0; i < p->n; i++) {
        if (p->appends[i].ignore_quota)
            continue;
        n++;
        bytes += p->appends[i].size;
    }
    if (p->n > UINT32_MAX - p->mailbox->head.m.uidnext)
        return RC_LIMIT;
    if (p->appends->replaced_uid && hot->bytes + bytes <= before)
        return RC_OK; /* no more than there was */
    return n ? quota_check(p->attempt.account->store, hot, n, bytes) : RC_OK;
}

/* --- threads ---------------------------------------------------------------------------------- */

static enum rc lookup(struct appending *p, uint64_t hash, struct message_id *out)
{
    struct str value;
    *out = (struct message_id){0};
    TRY(head_get(&p->attempt, key_message_id(hash), &value));
    return str_is_null(value) ? RC_NOTFOUND : message_id_decode(value, out);
}

static struct known_id *find_id(const struct appending *p, uint64_t hash)
{
    for (size_t i = 0; i < p->n_ids; i++)
        if (p->ids[i].hash == hash)
            return &p->ids[i];
    return NULL;
}

static enum rc find_own_id(struct appending *p, struct str message_id, struct item *item)
{
    if (message_id.n == 0)
        return RC_OK;
    uint64_t hash = message_id_hash(p->attempt.account, message_id);
    item->id = find_id(p, hash);
    if (item->id)
        return RC_OK;
    item->id = &p->ids[p->n_ids++];
    *item->id = (struct known_id){.hash = hash};
    enum rc rc = lookup(p, hash, &item->id->row);
    return rc == RC_NOTFOUND ? RC_OK : rc;
}

/* The nearest of the messages that this one answers, here or in the account. */
static enum rc find_parent(struct appending *p, const struct store_append *append,
                           struct item *item)
{
    size_t n = append->n_references < STORE_REFERENCES ? append->n_references : STORE_REFERENCES;
    enum rc result = RC_OK;
    for (size_t i = 0; i < n && item->thread == 0 && !item->parent; i++) {
        struct str id = append->references[append->n_references - 1 - i];
        uint64_t hash = message_id_hash(p->attempt.account, id);
        struct message_id found = {0};
        struct known_id *known = find_id(p, hash);
        if (known && known->is_given) {
            item->parent = known;
            break;
        }
        enum rc rc = lookup(p, hash, &found);
        item->thread = found.thread;
        if (rc != RC_OK && rc != RC_NOTFOUND) /* look on, to find all that must be read */
            result = rc;
    }
    return result;
}

/* The thread of a message with the same id, else of the nearest one that this one answers, else
 * none. */
static enum rc find_thread(struct appending *p, const struct store_append *append,
                           struct item *item)
{
    *item = (struct item){0};
    enum rc rc = find_own_id(p, append->message_id, item);
    if (!item->id || (item->id->row.thread == 0 && !item->id->is_given)) {
        enum rc parent = find_parent(p, append, item);
        if (rc == RC_OK)
            rc = parent;
    }
    if (item->id)
        item->id->is_given = true;
    return rc;
}

static enum rc find_threads(struct appending *p)
{
    enum rc result = RC_OK;
    p->items = arena_alloc(&p->attempt.arena, p->n * sizeof *p->items);
    p->ids = arena_alloc(&p->attempt.arena, p->n * sizeof *p->ids);
    p->n_ids = 0;
    for (size_t i = 0; i < p->n; i++) {
        enum rc rc = find_thread(p, &p->appends[i], &p->items[i]);
        if (rc != RC_OK)
            result = rc;
    }
    return result;
}

/* --- the change ------------------------------------------------------------------------------- */

static struct store_row make_row(struct change *c, const struct store_append *append, uint32_t uid)
{
    return (struct store_row){.uid = uid,
                              .flags = (append->flags & (ROW_FLAGS | STORE_UNENDED)) |
                                       (append->uidl.n ? STORE_HAS_UIDL : 0),
                              .email = c->after.hot.next_email++,
                              .modseq = c->modseq,
                              .size = append->size,
                              .received = append->received,
                              .saved = c->time};
}

static uint64_t put_thread(struct change *c, const struct item *item, uint64_t email)
{
    unsigned char mem[64];
    uint64_t thread = item->id && item->id->row.thread ? item->id->row.thread
                      : item->parent                   ? item->parent->row.thread
                                                       : item->thread;
    bool is_new = thread == 0;
    if (is_new)
        thread = c->after.hot.next_thread++;
    change_put(c, key_member(thread, email), STR("\1"));
    change_note(c, CHANGE_THREAD, is_new ? CHANGE_CREATED : CHANGE_UPDATED, thread);
    if (!item->id)
        return thread;
    item->id->row.thread = thread;
    item->id->row.emails++;
    change_put(c, key_message_id(item->id->hash),
               message_id_encode(&item->id->row, mem, sizeof mem));
    return thread;
}

static void put_delivery(struct change *c, struct str id)
{
    unsigned char mem[16];
    if (str_is_null(id))
        return;
    c->has_delivery = true;
    __builtin_memcpy(c->delivery, id.p, sizeof c->delivery);
    change_put(c, key_delivery(id), delivery_encode(c->time, mem, sizeof mem));
}

static void put_email(struct change *c, const struct appending *p, size_t i,
                      const struct store_row *row, uint64_t thread)
{
    unsigned char mem[RECORD_VALUE];
    struct email e;
    e.codec = 0;
    e.key_id = 0;
    e.blob = p->appends[i].blob;
    e.size = row->size;
    e.received = row->received;
    e.created = c->modseq;
    e.thread = thread;
    e.message_id = p->items[i].id ? p->items[i].id->hash : 0;
    e.n_places = 1;
    e.places[0] = (struct place){p->mailbox->id, row->uid};
    change_put(c, key_email(row->email), email_encode(&e, mem, sizeof mem));
    enum rc rc = kv_txn_ref(c->txn, e.blob);
    if (c->rc == RC_OK)
        c->rc = rc;
}

static enum rc put_message(struct change *c, struct appending *p, size_t i, struct touched *t)
{
    const struct store_append *append = &p->appends[i];
    struct store_row row = make_row(c, append, t->record.m.uidnext);
    enum rc rc = change_keywords(c, append->keywords, append->n_keywords, true, &row.keywords);
    if (rc == RC_LIMIT && append->are_keywords_extra)
        row.keywords = 0;
    else
        TRY(rc);
    change_row(c, t, &row);
    change_note(c, CHANGE_EMAIL, CHANGE_CREATED, row.email);
    uint64_t thread = put_thread(c, &p->items[i], row.email);
    put_email(c, p, i, &row, thread);
    put_delivery(c, append->delivery_id);
    notes_put(c, append->notes, append->n_notes);
    summary_put(c, row.email, append->summary);
    t->record.m.uidnext++;
    t->record.m.exists++;
    t->record.m.unseen += !(row.flags & STORE_SEEN);
    t->record.m.bytes += row.size;
    c->after.hot.bytes += row.size;
    c->after.hot.messages++;
    if (i == 0) {
        p->op->uid = row.uid;
        p->op->email = row.email;
    }
    return RC_OK;
}

static enum rc put_messages(struct appending *p, struct change *c)
{
    struct touched *t = change_touch(c, p->mailbox);
    for (size_t i = 0; i < p->n; i++)
        TRY(put_message(c, p, i, t));
    return brought_put(c, &p->attempt.arena, p->appends, p->n,
                       (struct place){p->mailbox->id, p->op->uid});
}

/* What is replaced goes first: its record of what vanished is made of the rows of the change. */
static enum rc take_replaced(struct appending *p, struct change *c)
{
    const struct store_append *append = p->appends;
    if (!append->replaced_uid)
        return RC_OK;
    TRY(expunge_within(&p->attempt, c, append->replaced_mailbox, append->replaced_uid));
    change_note(c, CHANGE_MAILBOX, CHANGE_UPDATED, append->replaced_mailbox);
    return RC_OK;
}

/* `found`: whether all is known of the threads. */
static enum rc queue_appends(struct appending *p, enum rc found)
{
    if (!p->appends->replaced_uid)
        TRY(found);
    struct change *c = change_new(p->attempt.account, p->op);
    enum rc rc = take_replaced(p, c);
    if (rc == RC_OK || rc == RC_AGAIN) /* what both miss is read together */
        rc = found == RC_OK ? rc : found;
    if (rc == RC_OK)
        rc = check_limits(p, &c->after.hot);
    if (rc == RC_OK)
        rc = put_messages(p, c);
    if (rc != RC_OK) {
        change_free(c);
        return rc;
    }
    change_note(c, CHANGE_MAILBOX, CHANGE_UPDATED, p->mailbox->id);
    p->op->uidvalidity = p->mailbox->head.m.uidvalidity;
    p->op->changed = (uint32_t)p->n;
    return change_commit(c);
}

static enum rc run(struct attempt *attempt)
{
    struct appending *p = CONTAINER(attempt, struct appending, attempt);
    struct store_account *a = attempt->account;
    uint32_t id = p->appends->mailbox;
    p->mailbox = id ? account_mailbox(a, id) : account_role(a, STORE_INBOX);
    if (!p->mailbox)
        return RC_NOTFOUND;
    enum rc delivery = check_delivery(p), notes = check_notes(p), found = find_threads(p);
    TRY(delivery);
    TRY(notes);
    return queue_appends(p, found);
}

enum rc store_append_many(struct store_account *account, const struct store_append *appends,
                          size_t n, unsigned flags, struct store_op *op)
{
    struct appending p = {.attempt = {.run = run, .account = account, .flags = flags},
                          .appends = appends,
                          .n = n,
                          .op = op};
    size_t n_notes = 0;
    if (n > STORE_APPENDS)
        return RC_LIMIT;
    for (size_t i = 0; i < n; i++)
        n_notes += appends[i].n_notes;
    if (n_notes > STORE_NOTES)
        return RC_LIMIT;
    for (size_t i = 0; i < n; i++) {
        struct str delivery = appends[i].delivery_id;
        if (appends[i].mailbox != appends[0].mailbox ||
            (delivery.n != 0 && (delivery.n != 16 || n > 1)) || (appends[i].replaced_uid && n > 1))
            return RC_PERM;
        TRY(brought_check(&appends[i], appends[0].source));
    }
    return n ? attempt_run(&p.attempt) : RC_PERM;
}

enum rc store_append(struct store_account *account, const struct store_append *append,
                     unsigned flags, struct store_op *op)
{
    return store_append_many(account, append, 1, flags, op);
}
