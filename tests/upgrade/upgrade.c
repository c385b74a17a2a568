/* Data folders of released versions: makes one, or says what is in one.
 *
 *   upgrade make DIR    a new data folder with a bit of everything
 *   upgrade dump DIR    all that users see of it, as text; then checks it and delivers into it
 *
 * `dump` must say of every older folder what it said when that folder was made; so what it prints
 * never changes, and what later versions add is dumped by a command of its own. Time stands still,
 * so that `make` writes the same messages each time. */
#include "store/store.h"

#include "base/bytes.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MANY = 900, LARGE_BYTES = 300 << 10, ACCOUNTS = 3 };

struct world {
    struct ctx ctx;
    struct clock_fixed clock;
    struct kv *kv;
    struct store *store;
};

struct waiter {
    struct store_op op;
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    bool is_done;
};

static void must(enum rc rc, const char *what)
{
    if (rc == RC_OK)
        return;
    fprintf(stderr, "upgrade: %s: %s\n", what, rc_name(rc));
    exit(1);
}

static void told(struct store_op *op)
{
    struct waiter *w = CONTAINER(op, struct waiter, op);
    pthread_mutex_lock(&w->mutex);
    w->is_done = true;
    pthread_cond_signal(&w->cond);
    pthread_mutex_unlock(&w->mutex);
}

static void begin(struct waiter *w)
{
    *w = (struct waiter){.op.done = told};
    pthread_mutex_init(&w->mutex, NULL);
    pthread_cond_init(&w->cond, NULL);
}

static void await(struct waiter *w, enum rc queued, const char *what)
{
    must(queued, what);
    pthread_mutex_lock(&w->mutex);
    while (!w->is_done)
        pthread_cond_wait(&w->cond, &w->mutex);
    pthread_mutex_unlock(&w->mutex);
    must(w->op.rc, what);
    pthread_cond_destroy(&w->cond);
    pthread_mutex_destroy(&w->mutex);
}

/* --- making ----------------------------------------------------------------------------------- */

static struct kv_blob_id make_body(struct world *w, struct store_account *a, uint32_t number,
                                   size_t size)
{
    struct kv_blob_id blob;
    struct kv_part part = {KV_ACCOUNT, store_account_id(a)};
    struct kv_blob_out *out = kv_blob_new(w->kv, part, 0, 0);
    char *text = mem_alloc(size + 64);
    int n = snprintf(text, 64, "Subject: message %u\r\n\r\n", number);
    for (size_t i = (size_t)n; i < size; i++)
        text[i] = i % 64 == 63 ? '\n' : (char)('a' + (i / 64 + number) % 26);
    must(kv_blob_write(out, str_from(text, size)), "a body");
    must(kv_blob_finish(&out, &blob), "a body");
    free(text);
    return blob;
}

static void append(struct world *w, struct store_account *a, uint32_t number, size_t size,
                   struct store_append how)
{
    struct waiter waiter;
    char id[40], parent[40], delivery[17];
    snprintf(id, sizeof id, "%u@upgrade.test", number);
    snprintf(parent, sizeof parent, "%u@upgrade.test", number / 2);
    snprintf(delivery, sizeof delivery, "delivery-%07u", number);
    struct str reference = str_of(parent);
    how.blob = make_body(w, a, number, size);
    how.size = size;
    how.received = w->clock.wall + number;
    how.message_id = str_of(id);
    how.references = &reference;
    how.n_references = 1;
    if (number % 10 == 0)
        how.delivery_id = str_from(delivery, 16);
    begin(&waiter);
    await(&waiter, store_append(a, &how, 0, &waiter.op), "an append");
    kv_blob_forget(w->kv, how.blob);
}

static void flag(struct store_account *a, uint32_t first, uint32_t step, uint32_t last,
                 struct store_flag_change change)
{
    struct waiter waiter;
    uint32_t uids[STORE_BATCH];
    for (uint32_t uid = first; uid <= last; uid += step)
        uids[change.n_uids++] = uid;
    change.uids = uids;
    change.mailbox = 1;
    change.unchanged_since = UINT64_MAX;
    begin(&waiter);
    await(&waiter, store_change_flags(a, &change, 0, &waiter.op), "a flag change");
}

static void expunge(struct store_account *a, uint32_t first, uint32_t last)
{
    struct waiter waiter;
    uint32_t uids[STORE_BATCH];
    size_t n = 0;
    for (uint32_t uid = first; uid <= last; uid++)
        uids[n++] = uid;
    begin(&waiter);
    await(&waiter, store_expunge(a, 1, uids, n, 0, &waiter.op), "an expunge");
}

static void maintain(struct store_account *a)
{
    for (bool more = true; more;)
        must(store_maintain(a, &more), "maintenance");
}

/* Packed rows with changes on top of them, tombstones, keywords. */
static void make_first(struct world *w, struct store_account *a)
{
    struct str names[] = {STR("$Junk"), STR("$Forwarded"), STR("travel")};
    for (uint32_t i = 1; i <= MANY; i++)
        append(w, a, i, 100 + i % 50,
               (struct store_append){.flags = i % 32, .keywords = names, .n_keywords = i % 4});
    expunge(a, 10, 20);
    maintain(a);
    flag(a, 5, 50, MANY,
         (struct store_flag_change){.how = STORE_FLAGS_ADD, .flags = STORE_FLAGGED});
    flag(
        a, 6, 50, MANY,
        (struct store_flag_change){.how = STORE_FLAGS_SET, .keywords = &names[2], .n_keywords = 1});
    expunge(a, 100, 110);
    expunge(a, 880, 885);
}

/* A body of its own file, other mailboxes, a quota. */
static void make_second(struct world *w, struct store_account *a)
{
    append(w, a, 1, LARGE_BYTES, (struct store_append){.flags = STORE_SEEN});
    for (uint32_t mailbox = 1; mailbox <= 6; mailbox++)
        append(w, a, 1 + mailbox, 1000, (struct store_append){.mailbox = mailbox});
    must(store_account_set_quota(a, (struct store_quota){.bytes = 1 << 30, .messages = 5000}),
         "the quota");
}

static void make(struct world *w)
{
    void (*const steps[ACCOUNTS])(struct world *, struct store_account *) = {make_first,
                                                                             make_second, NULL};
    for (uint64_t id = 1; id <= ACCOUNTS; id++) {
        struct store_account *a;
        must(store_account_create(w->store, id, (struct store_quota){0}), "an account");
        must(store_account_open(w->store, id, 0, &a), "an account");
        if (steps[id - 1])
            steps[id - 1](w, a);
        store_account_close(&a);
    }
}

/* --- telling ---------------------------------------------------------------------------------- */

static uint32_t body_sum(struct store_account *a, uint64_t email)
{
    struct store_message *m;
    char part[4096];
    uint32_t sum = 0;
    uint64_t at = 0;
    size_t got;
    must(store_message_open(a, email, 0, &m), "a message");
    do {
        must(store_message_read(m, at, part, sizeof part, 0, &got), "a message");
        sum = crc32c(sum, str_from(part, got));
        at += got;
    } while (got == sizeof part);
    store_message_close(&m);
    return sum;
}

static void dump_row(struct store_account *a, const struct store_row *row,
                     const struct str names[STORE_KEYWORDS])
{
    static const char *const flags[] = {"seen", "answered", "flagged", "deleted", "draft"};
    printf("  uid=%u email=%llu modseq=%llu size=%llu received=%llu saved=%llu body=%08x", row->uid,
           (unsigned long long)row->email, (unsigned long long)row->modseq,
           (unsigned long long)row->size, (unsigned long long)row->received,
           (unsigned long long)row->saved, body_sum(a, row->email));
    for (unsigned i = 0; i < sizeof flags / sizeof flags[0]; i++)
        if (row->flags & 1u << i)
            printf(" %s", flags[i]);
    for (unsigned i = 0; i < STORE_KEYWORDS; i++)
        if (row->keywords >> i & 1)
            printf(" %.*s", STR_ARG(names[i]));
    putchar('\n');
}

static void dump_mailbox(struct store_account *a, const struct store_mailbox *m,
                         const struct str names[STORE_KEYWORDS])
{
    struct store_root *root;
    printf(
        " mailbox=%u parent=%u role=%d name=%.*s uidvalidity=%u uidnext=%u modseq=%llu exists=%u "
        "unseen=%u bytes=%llu\n",
        m->id, m->parent, (int)m->role, STR_ARG(m->name), m->uidvalidity, m->uidnext,
        (unsigned long long)m->highest_modseq, m->exists, m->unseen, (unsigned long long)m->bytes);
    must(store_mailbox_open(a, m->id, 0, &root), "a mailbox");
    for (size_t i = 0; i < store_root_count(root); i++)
        dump_row(a, store_root_at(root, i), names);
    store_root_release(&root);
}

static void dump_account(struct store_account *a)
{
    struct arena arena;
    struct store_mailbox *list;
    struct str names[STORE_KEYWORDS];
    struct store_usage usage;
    uint32_t *uids;
    size_t n, n_uids;
    arena_init(&arena, 0);
    store_account_usage(a, &usage);
    printf("account=%llu bytes=%llu messages=%llu quota=%llu/%llu modseq=%llu\n",
           (unsigned long long)store_account_id(a), (unsigned long long)usage.bytes,
           (unsigned long long)usage.messages, (unsigned long long)usage.quota.bytes,
           (unsigned long long)usage.quota.messages, (unsigned long long)usage.modseq);
    must(store_keywords(a, &arena, names), "the keywords");
    must(store_mailbox_list(a, &arena, &list, &n), "the mailboxes");
    for (size_t i = 0; i < n; i++)
        dump_mailbox(a, &list[i], names);
    must(store_vanished(a, 1, 1, &arena, &uids, &n_uids), "what vanished");
    printf(" vanished=");
    for (size_t i = 0; i < n_uids; i++)
        printf("%s%u", i ? "," : "", uids[i]);
    putchar('\n');
    arena_fini(&arena);
}

static void print_fault(struct store_fsck *fsck, const char *line)
{
    fprintf(stderr, "upgrade: %s\n", line);
}

/* It is not only read: it is sound, maintained, and takes new mail under the next UID. */
static void use(struct world *w, struct store_account *a)
{
    struct arena arena;
    struct store_mailbox *list;
    struct store_root *root;
    struct store_fsck fsck = {.report = print_fault};
    size_t n;
    arena_init(&arena, 0);
    must(store_mailbox_list(a, &arena, &list, &n), "the mailboxes");
    append(w, a, 5000, 100, (struct store_append){.flags = STORE_SEEN});
    maintain(a);
    must(store_fsck(w->store, store_account_id(a), &fsck), "fsck");
    must(store_mailbox_open(a, 1, 0, &root), "the mailbox");
    const struct store_row *last = store_root_at(root, store_root_count(root) - 1);
    must(last->uid == list[0].uidnext ? RC_OK : RC_CORRUPT, "the next UID");
    store_root_release(&root);
    arena_fini(&arena);
}

static void dump(struct world *w)
{
    struct store_account *a[ACCOUNTS];
    for (int i = 0; i < ACCOUNTS; i++) {
        must(store_account_open(w->store, (uint64_t)i + 1, 0, &a[i]), "an account");
        dump_account(a[i]);
    }
    for (int i = 0; i < ACCOUNTS; i++) {
        use(w, a[i]);
        store_account_close(&a[i]);
    }
}

int main(int argc, char **argv)
{
    if (argc != 3 || (strcmp(argv[1], "make") != 0 && strcmp(argv[1], "dump") != 0)) {
        fprintf(stderr, "usage: upgrade make|dump DIR\n");
        return 2;
    }
    struct world w = {0};
    struct store_conf store_conf = {0};
    struct kv_local_conf conf = {.path = argv[2], .segment_bytes = 512 << 10};
    clock_fixed_init(&w.clock, 1, 1763700000 * NS_PER_SEC);
    w.ctx = (struct ctx){.log = log_new(2, LOG_WARNING, &clock_system), .clock = &w.clock.clock};
    must(kv_local_open(&w.ctx, &conf, &w.kv), "the data folder");
    must(store_open(&w.ctx, w.kv, &store_conf, &w.store), "the store");
    if (strcmp(argv[1], "make") == 0)
        make(&w);
    else
        dump(&w);
    store_close(&w.store);
    kv_close(&w.kv);
    log_free(&w.ctx.log);
    return 0;
}
