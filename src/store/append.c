/* Putting a message into a mailbox.
 *
 * Reads: the delivery id when there is one, the message id and the references up to the first that
 * is known. Writes: s, m, u, e, t, c, and i and z when they apply. Nothing depends on how many
 * messages there are. */
#include "store/store_int.h"

struct appending {
    struct attempt attempt;
    const struct store_append *append;
    struct store_op *op;
    struct mailbox *mailbox;
    uint64_t hash;         /* of the message id; 0: none */
    struct message_id mid; /* its row, to be written */
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
    struct str id = p->append->delivery_id, value;
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

/* Room for the message, checked against all that is queued before it. */
static enum rc check_limits(const struct appending *p)
{
    const struct hot *h = &p->attempt.account->head.hot;
    if (p->mailbox->head.m.uidnext == UINT32_MAX)
        return RC_LIMIT;
    if (p->append->ignore_quota)
        return RC_OK;
    return quota_check(p->attempt.account->store, h, p->append->size);
}

static enum rc lookup(struct appending *p, uint64_t hash, struct message_id *out)
{
    struct str value;
    *out = (struct message_id){0};
    TRY(head_get(&p->attempt, key_message_id(hash), &value));
    return str_is_null(value) ? RC_NOTFOUND : message_id_decode(value, out);
}

/* The thread of a message with the same id, else of the nearest one that this one answers, else
 * none: *out_thread 0. */
static enum rc find_thread(struct appending *p, uint64_t *out_thread)
{
    struct store_account *a = p->attempt.account;
    const struct store_append *append = p->append;
    enum rc result = RC_OK;
    *out_thread = 0;
    p->hash = 0;
    p->mid = (struct message_id){0};
    if (append->message_id.n) {
        p->hash = message_id_hash(a, append->message_id);
        result = lookup(p, p->hash, &p->mid);
        *out_thread = p->mid.thread;
    }
    size_t n = append->n_references < STORE_REFERENCES ? append->n_references : STORE_REFERENCES;
    for (size_t i = 0; i < n && *out_thread == 0; i++) {
        struct str id = append->references[append->n_references - 1 - i];
        struct message_id found;
        enum rc rc = lookup(p, message_id_hash(a, id), &found);
        *out_thread = found.thread;
        if (rc != RC_OK && rc != RC_NOTFOUND) /* look on, to find all that must be read */
            result = rc;
    }
    return result == RC_NOTFOUND ? RC_OK : result;
}

static struct store_row make_row(struct change *c, const struct appending *p, uint32_t uid)
{
    const struct store_append *append = p->append;
    return (struct store_row){.uid = uid,
                              .flags = append->flags & (ROW_FLAGS | STORE_UNENDED),
                              .email = c->after.hot.next_email++,
                              .modseq = c->modseq,
                              .size = append->size,
                              .received = append->received,
                              .saved = c->time};
}

static void put_thread(struct change *c, struct appending *p, uint64_t thread, uint64_t email)
{
    unsigned char mem[64];
    change_put(c, key_member(thread, email), STR("\1"));
    if (p->hash == 0)
        return;
    p->mid.thread = thread;
    p->mid.emails++;
    change_put(c, key_message_id(p->hash), message_id_encode(&p->mid, mem, sizeof mem));
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

static void put_email(struct change *c, const struct appending *p, const struct store_row *row,
                      uint64_t thread)
{
    unsigned char mem[RECORD_VALUE];
    struct email e;
    e.codec = 0;
    e.key_id = 0;
    e.blob = p->append->blob;
    e.size = row->size;
    e.received = row->received;
    e.created = c->modseq;
    e.thread = thread;
    e.message_id = p->hash;
    e.n_places = 1;
    e.places[0] = (struct place){p->mailbox->id, row->uid};
    change_put(c, key_email(row->email), email_encode(&e, mem, sizeof mem));
    enum rc rc = kv_txn_ref(c->txn, e.blob);
    if (c->rc == RC_OK)
        c->rc = rc;
}

static enum rc queue_append(struct appending *p, uint64_t thread)
{
    const struct store_append *append = p->append;
    struct store_op *op = p->op;
    struct change *c = change_new(p->attempt.account, op);
    struct touched *t = change_touch(c, p->mailbox);
    bool is_new_thread = thread == 0;
    if (is_new_thread)
        thread = c->after.hot.next_thread++;
    struct store_row row = make_row(c, p, t->record.m.uidnext);
    enum rc rc = change_keywords(c, append->keywords, append->n_keywords, true, &row.keywords);
    if (rc != RC_OK) {
        change_free(c);
        return rc;
    }
    change_row(c, t, &row);
    put_email(c, p, &row, thread);
    put_thread(c, p, thread, row.email);
    put_delivery(c, append->delivery_id);
    t->record.m.uidnext++;
    t->record.m.exists++;
    t->record.m.unseen += !(row.flags & STORE_SEEN);
    t->record.m.bytes += row.size;
    c->after.hot.bytes += row.size;
    c->after.hot.messages++;
    change_note(c, CHANGE_EMAIL, CHANGE_CREATED, row.email);
    change_note(c, CHANGE_MAILBOX, CHANGE_UPDATED, t->record.m.id);
    change_note(c, CHANGE_THREAD, is_new_thread ? CHANGE_CREATED : CHANGE_UPDATED, thread);
    op->uidvalidity = t->record.m.uidvalidity;
    op->uid = row.uid;
    op->email = row.email;
    op->changed = 1;
    return change_commit(c);
}

static enum rc run(struct attempt *attempt)
{
    struct appending *p = CONTAINER(attempt, struct appending, attempt);
    struct store_account *a = attempt->account;
    uint32_t id = p->append->mailbox;
    p->mailbox = id ? account_mailbox(a, id) : account_role(a, STORE_INBOX);
    if (!p->mailbox)
        return RC_NOTFOUND;
    uint64_t thread;
    enum rc delivery = check_delivery(p), found = find_thread(p, &thread);
    TRY(delivery);
    TRY(check_limits(p));
    TRY(found);
    return queue_append(p, thread);
}

enum rc store_append(struct store_account *account, const struct store_append *append,
                     unsigned flags, struct store_op *op)
{
    struct appending p = {
        .attempt = {.run = run, .account = account, .flags = flags}, .append = append, .op = op};
    if (append->delivery_id.n != 0 && append->delivery_id.n != 16)
        return RC_PERM;
    return attempt_run(&p.attempt);
}
