/* Recounts an account: everything that can be worked out from something else is, and compared.
 *
 * Messages come first, in order of id; then every row must be one of their places, every index row
 * must lead to one, and the sums must be what the counters say. The account is paused meanwhile, so
 * all that is read is of one state. It changes nothing. */
#include "store/store_int.h"

#include "base/buf.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

struct seen {
    uint64_t id, size, received, thread, message_id;
    size_t first_place;
    uint32_t n_places;
    bool has_member;
};

struct seen_place {
    struct place at;
    bool has_row;
};

struct seen_id {
    uint64_t hash;
    uint32_t emails;
};

struct check {
    struct store_account *account;
    struct store_fsck *fsck;
    struct seen *emails; /* by id */
    size_t n_emails, size_emails;
    struct seen_place *places;
    size_t n_places, size_places;
    struct seen_id *ids; /* by hash, from emails and tombstones */
    size_t n_ids, size_ids;
    struct seen_body {
        uint64_t email;
        struct kv_blob_id blob;
    } bodies[KV_BLOBS_AT_ONCE]; /* to be opened, together */
    size_t n_bodies;
    uint64_t rows, bytes;    /* of all mailboxes */
    struct mailbox *mailbox; /* the one being looked at */
};

static void fault(struct check *k, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void fault(struct check *k, const char *format, ...)
{
    struct buf line;
    va_list ap;
    buf_init(&line, 1024);
    buf_putf(&line, "account %llu: ", (unsigned long long)k->account->id);
    va_start(ap, format);
    if (buf_vprintf(&line, format, ap) != RC_OK)
        line.over = true;
    va_end(ap);
    buf_put(&line, str_from("", 1));
    k->fsck->faults++;
    k->fsck->report(k->fsck, buf_str(&line).p);
    buf_fini(&line);
}

static struct seen *find_email(struct check *k, uint64_t id)
{
    size_t from = 0, to = k->n_emails;
    while (from < to) {
        size_t half = from + (to - from) / 2;
        if (k->emails[half].id < id)
            from = half + 1;
        else
            to = half;
    }
    return from < k->n_emails && k->emails[from].id == id ? &k->emails[from] : NULL;
}

/* --- messages --------------------------------------------------------------------------------- */

static void see_message_id(struct check *k, uint64_t hash)
{
    if (hash == 0)
        return;
    k->ids = mem_array(k->ids, &k->size_ids, k->n_ids + 1, sizeof *k->ids);
    k->ids[k->n_ids++] = (struct seen_id){hash, 1};
}

static void check_bodies(struct check *k)
{
    struct kv_blob_id ids[KV_BLOBS_AT_ONCE];
    struct kv_blob_in *ins[KV_BLOBS_AT_ONCE];
    enum rc rcs[KV_BLOBS_AT_ONCE];
    for (size_t i = 0; i < k->n_bodies; i++)
        ids[i] = k->bodies[i].blob;
    kv_blob_open_many(k->account->store->kv, ids, k->n_bodies, 0, ins, rcs);
    for (size_t i = 0; i < k->n_bodies; i++) {
        if (rcs[i] == RC_OK)
            kv_blob_close(&ins[i]);
        else
            fault(k, "message %llu: its body cannot be opened: %s",
                  (unsigned long long)k->bodies[i].email, rc_name(rcs[i]));
    }
    k->n_bodies = 0;
}

static void check_blob(struct check *k, uint64_t email, struct kv_blob_id blob)
{
    k->bodies[k->n_bodies++] = (struct seen_body){email, blob};
    if (k->n_bodies == KV_BLOBS_AT_ONCE)
        check_bodies(k);
}

static enum rc see_email(void *arg, struct kv_row row)
{
    struct check *k = arg;
    struct email e;
    if (row.key.n != 9 || email_decode(row.value, &e) != RC_OK) {
        fault(k, "a message's record is damaged");
        return RC_OK;
    }
    uint64_t id = get_u64(row.key.p + 1);
    k->emails = mem_array(k->emails, &k->size_emails, k->n_emails + 1, sizeof *k->emails);
    k->emails[k->n_emails++] = (struct seen){.id = id,
                                             .size = e.size,
                                             .received = e.received,
                                             .thread = e.thread,
                                             .message_id = e.message_id,
                                             .first_place = k->n_places,
                                             .n_places = e.n_places};
    k->places = mem_array(k->places, &k->size_places, k->n_places + e.n_places, sizeof *k->places);
    for (size_t i = 0; i < e.n_places; i++)
        k->places[k->n_places++] = (struct seen_place){.at = e.places[i]};
    k->fsck->messages++;
    see_message_id(k, e.message_id);
    check_blob(k, id, e.blob);
    if (id >= k->account->published.hot.next_email)
        fault(k, "message %llu: its id is still to be given", (unsigned long long)id);
    return RC_OK;
}

static void check_tombstone(struct check *k, const struct tombstone *d)
{
    uint64_t email = d->row.email;
    if (!d->is_last)
        return;
    see_message_id(k, d->record.message_id);
    check_blob(k, email, d->record.blob);
    if (find_email(k, email))
        fault(k, "message %llu: it has a tombstone and is there too", (unsigned long long)email);
}

static enum rc see_tombstones(void *arg, struct kv_row row)
{
    struct check *k = arg;
    struct tombstones all;
    struct tombstone d;
    enum rc rc = row.key.n == 13 ? tombstones_open(row.value, &all) : RC_CORRUPT;
    while (rc == RC_OK && (rc = tombstones_next(&all, &d)) == RC_OK)
        check_tombstone(k, &d);
    if (rc != RC_EOF)
        fault(k, "a tombstone is damaged");
    return RC_OK;
}

/* --- rows ------------------------------------------------------------------------------------- */

static struct seen_place *find_place(struct check *k, const struct seen *e, uint32_t mailbox,
                                     uint32_t uid)
{
    for (size_t i = 0; i < e->n_places; i++) {
        struct seen_place *p = &k->places[e->first_place + i];
        if (p->at.mailbox == mailbox && p->at.uid == uid)
            return p;
    }
    return NULL;
}

static void check_row(struct check *k, const struct store_row *row)
{
    const struct mailbox_record *m = &k->mailbox->published;
    const struct seen *e = find_email(k, row->email);
    struct seen_place *place = e ? find_place(k, e, m->m.id, row->uid) : NULL;
    unsigned n = k->account->published.n_keywords;
    uint64_t known = n == STORE_KEYWORDS ? UINT64_MAX : (UINT64_C(1) << n) - 1;
    if (!place)
        fault(k, "mailbox %u: UID %u: message %llu does not name it", m->m.id, row->uid,
              (unsigned long long)row->email);
    else if (place->has_row)
        fault(k, "mailbox %u: UID %u: is there twice", m->m.id, row->uid);
    else
        place->has_row = true;
    if (e && (e->size != row->size || e->received != row->received))
        fault(k, "mailbox %u: UID %u: size or date differ from the message's", m->m.id, row->uid);
    if (e && e->n_places > 1 && !(row->flags & ROW_SHARED))
        fault(k, "mailbox %u: UID %u: does not know of its other places", m->m.id, row->uid);
    if (row->uid >= m->m.uidnext)
        fault(k, "mailbox %u: UID %u: is still to be given", m->m.id, row->uid);
    if (row->modseq > m->m.highest_modseq)
        fault(k, "mailbox %u: UID %u: modseq beyond the mailbox's", m->m.id, row->uid);
    if (row->keywords & ~known)
        fault(k, "mailbox %u: UID %u: a keyword without a name", m->m.id, row->uid);
    if (!(row->flags & STORE_SEEN) && row->uid < m->m.first_unseen && row->uid >= m->removed_below)
        fault(k, "mailbox %u: UID %u: is unseen below the hint", m->m.id, row->uid);
}

static void compare(struct check *k, const char *what, uint64_t stored, uint64_t counted)
{
    if (stored != counted && k->mailbox)
        fault(k, "mailbox %u: %s is %llu, counted %llu", k->mailbox->published.m.id, what,
              (unsigned long long)stored, (unsigned long long)counted);
    else if (stored != counted)
        fault(k, "%s is %llu, counted %llu", what, (unsigned long long)stored,
              (unsigned long long)counted);
}

struct row_check {
    struct rows_reader reader;
    struct check *check;
    uint64_t n, unseen, bytes; /* but for rows that are nobody's, for maintenance to take away */
};

static void check_rows(struct rows_reader *reader, const struct store_row *rows, size_t n)
{
    struct row_check *r = CONTAINER(reader, struct row_check, reader);
    for (size_t i = 0; i < n; i++) {
        check_row(r->check, &rows[i]);
        if (rows[i].uid < r->check->mailbox->published.removed_below)
            continue;
        r->n++;
        r->unseen += !(rows[i].flags & STORE_SEEN);
        r->bytes += rows[i].size;
    }
}

static enum rc check_mailbox(struct check *k)
{
    const struct mailbox_record *m = &k->mailbox->published;
    struct row_check r = {.reader.each = check_rows, .check = k};
    enum rc rc = rows_read(k->account, m->m.id, &r.reader);
    if (rc == RC_CORRUPT) {
        fault(k, "mailbox %u: a row is damaged", m->m.id);
        return RC_OK;
    }
    if (rc == RC_OK) {
        compare(k, "the number of messages", m->m.exists, r.n);
        compare(k, "the number of unseen messages", m->m.unseen, r.unseen);
        compare(k, "the size", m->m.bytes, r.bytes);
        if (r.reader.packed_end > m->packed)
            fault(k, "mailbox %u: UIDs below %u are packed, beyond the mark", m->m.id,
                  r.reader.packed_end);
        if (m->m.highest_modseq >= k->account->published.hot.next_modseq)
            fault(k, "mailbox %u: its modseq is still to be given", m->m.id);
    }
    k->rows += r.n;
    k->bytes += r.bytes;
    return rc;
}

/* Names and parents; what is removed has neither. */
static void check_name(struct check *k, const struct mailbox *m)
{
    const struct mailbox_record *r = &m->published;
    const struct mailbox *parent = r->m.parent ? mailbox_any(k->account, r->m.parent) : NULL;
    bool has_child = false;
    if (r->state > MAILBOX_PLACEHOLDER)
        return;
    for (size_t i = 0; i < k->account->n_mailboxes; i++) {
        const struct mailbox_record *other = &k->account->mailboxes[i]->published;
        if (other->state > MAILBOX_PLACEHOLDER)
            continue;
        has_child = has_child || other->m.parent == m->id;
        if (other->m.id > m->id && other->m.parent == r->m.parent &&
            str_eq(other->m.name, r->m.name))
            fault(k, "mailbox %u: has the name of mailbox %u", m->id, other->m.id);
    }
    if (r->m.parent && (!parent || parent->published.state > MAILBOX_PLACEHOLDER))
        fault(k, "mailbox %u: its parent %u is not there", m->id, r->m.parent);
    for (int i = 0; parent && i <= STORE_LEVELS; i++) {
        if (i == STORE_LEVELS)
            fault(k, "mailbox %u: its parents have no end", m->id);
        parent = mailbox_any(k->account, parent->published.m.parent);
    }
    if (r->m.is_placeholder && !has_child)
        fault(k, "mailbox %u: a placeholder without children", m->id);
    if (r->m.is_placeholder && r->m.exists)
        fault(k, "mailbox %u: a placeholder with messages", m->id);
}

static enum rc check_subscription(void *arg, struct kv_row row)
{
    struct check *k = arg;
    struct str name;
    struct key key;
    if (text_decode(row.value, &name) == RC_OK) {
        key = key_subscription(name, k->account->published.hot.hash_key);
        if (str_eq(key_str(&key), row.key))
            return RC_OK;
    }
    fault(k, "a subscription is damaged");
    return RC_OK;
}

static enum rc check_summaries(struct check *k)
{
    struct store_account *a = k->account;
    const struct kv_range range = {.from = STR("x"), .to = STR("y")};
    struct kv_walk walk;
    struct kv_row row;
    enum rc rc;
    kv_walk_begin(&walk, a->store->kv, (struct kv_part){KV_CACHE, a->id}, range, 0);
    while ((rc = kv_walk_next(&walk, &row)) == RC_OK)
        if (summary_check(row, a->published.hot.next_email) == RC_CORRUPT)
            fault(k, "a summary is damaged, or of a message that is still to come");
    kv_walk_end(&walk);
    return rc == RC_EOF ? RC_OK : rc;
}

/* --- indexes ---------------------------------------------------------------------------------- */

static enum rc check_member(void *arg, struct kv_row row)
{
    struct check *k = arg;
    struct seen *e = row.key.n == 17 ? find_email(k, get_u64(row.key.p + 9)) : NULL;
    if (!e || e->thread != get_u64(row.key.p + 1))
        fault(k, "a thread has a member that is not there");
    else
        e->has_member = true;
    return RC_OK;
}

static int compare_ids(const void *a, const void *b)
{
    const struct seen_id *x = a, *y = b;
    return x->hash < y->hash ? -1 : x->hash > y->hash;
}

static void count_ids(struct check *k)
{
    size_t n = 0;
    if (k->n_ids)
        qsort(k->ids, k->n_ids, sizeof *k->ids, compare_ids);
    for (size_t i = 0; i < k->n_ids; i++) {
        if (n && k->ids[n - 1].hash == k->ids[i].hash)
            k->ids[n - 1].emails++;
        else
            k->ids[n++] = k->ids[i];
    }
    k->n_ids = n;
}

static enum rc check_message_id(void *arg, struct kv_row row)
{
    struct check *k = arg;
    struct message_id i;
    if (row.key.n != 9 || message_id_decode(row.value, &i) != RC_OK) {
        fault(k, "a row of the message ids is damaged");
        return RC_OK;
    }
    struct seen_id want = {.hash = get_u64(row.key.p + 1)};
    struct seen_id *found =
        k->n_ids ? bsearch(&want, k->ids, k->n_ids, sizeof want, compare_ids) : NULL;
    if (!found || found->emails != i.emails)
        fault(k, "a message id counts %u messages, there are %u", i.emails,
              found ? found->emails : 0);
    if (found)
        found->emails = 0;
    return RC_OK;
}

static enum rc check_indexes(struct check *k)
{
    struct key members = key_of_kind('t'), ids = key_of_kind('i');
    TRY(scan_rows(k->account, key_str(&members), check_member, k, NULL));
    count_ids(k);
    TRY(scan_rows(k->account, key_str(&ids), check_message_id, k, NULL));
    for (size_t i = 0; i < k->n_ids; i++)
        if (k->ids[i].emails)
            fault(k, "a message id is not indexed");
    for (size_t i = 0; i < k->n_emails; i++) {
        const struct seen *e = &k->emails[i];
        if (!e->has_member)
            fault(k, "message %llu: its thread does not have it", (unsigned long long)e->id);
        for (size_t j = 0; j < e->n_places; j++)
            if (!k->places[e->first_place + j].has_row)
                fault(k, "message %llu: mailbox %u does not have it as UID %u",
                      (unsigned long long)e->id, k->places[e->first_place + j].at.mailbox,
                      k->places[e->first_place + j].at.uid);
    }
    return RC_OK;
}

/* --- all of it -------------------------------------------------------------------------------- */

static enum rc check_all(struct check *k)
{
    struct store_account *a = k->account;
    struct key emails = key_of_kind('e'), tombstones = key_of_kind('d');
    TRY(scan_rows(a, key_str(&emails), see_email, k, NULL));
    TRY(scan_rows(a, key_str(&tombstones), see_tombstones, k, NULL));
    check_bodies(k);
    for (size_t i = 0; i < a->n_mailboxes; i++) {
        k->mailbox = a->mailboxes[i];
        if (k->mailbox->published.state == MAILBOX_NONE)
            continue;
        TRY(check_mailbox(k));
        check_name(k, k->mailbox);
    }
    k->mailbox = NULL;
    struct key subscriptions = key_of_kind('n');
    TRY(scan_rows(a, key_str(&subscriptions), check_subscription, k, NULL));
    compare(k, "the number of messages", a->published.hot.messages, k->rows);
    compare(k, "the size", a->published.hot.bytes, k->bytes);
    TRY(check_summaries(k));
    return check_indexes(k);
}

static void pause_changes(struct store_account *a)
{
    pthread_mutex_lock(&a->mutex);
    while (a->is_paused)
        pthread_cond_wait(&a->cond, &a->mutex);
    a->is_paused = true;
    while (a->n_in_flight || a->is_reloading)
        pthread_cond_wait(&a->cond, &a->mutex);
    pthread_mutex_unlock(&a->mutex);
}

static void go_on(struct store_account *a)
{
    pthread_mutex_lock(&a->mutex);
    a->is_paused = false;
    pthread_cond_broadcast(&a->cond);
    pthread_mutex_unlock(&a->mutex);
}

enum rc store_fsck(struct store *store, uint64_t id, struct store_fsck *fsck)
{
    struct store_account *a;
    uint64_t before = fsck->faults;
    enum rc rc = store_account_open(store, id, 0, &a);
    if (rc == RC_CORRUPT) {
        struct store_account unopened = {.id = id};
        struct check k = {.account = &unopened, .fsck = fsck};
        fault(&k, "its own record, or one of a mailbox or keyword, is damaged");
    }
    if (rc != RC_OK)
        return rc;
    struct check k = {.account = a, .fsck = fsck};
    pause_changes(a);
    rc = check_all(&k);
    go_on(a);
    free(k.emails);
    free(k.places);
    free(k.ids);
    store_account_close(&a);
    return rc == RC_OK && fsck->faults != before ? RC_CORRUPT : rc;
}
