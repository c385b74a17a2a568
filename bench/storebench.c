/* The store path with the mail model: what a delivery costs from store_append down, no network.
 *
 *   storebench DIR [seconds [threads [kilobytes [accounts [summary]]]]]
 *
 * Each thread delivers in a closed loop: a blob of that size, then store_append with a Message-ID
 * and two references, waited for. Every second account has its INBOX open, as a session would.
 * Prints deliveries a second, processor time a delivery (of the whole process), latencies; reads
 * every account back and compares its count. With `summary`, each message has a summary of so many
 * bytes, and they are read back, up to STORE_SUMMARIES at once. */
#include "shared.h"
#include "store/store.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct bench {
    struct load load;
    struct kv *kv;
    struct store *store;
    struct store_account **accounts;
    unsigned n_accounts;
    struct str summary; /* absent: none */
};

struct waiting {
    struct store_op op;
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    bool is_done;
};

static void told(struct store_op *op)
{
    struct waiting *w = CONTAINER(op, struct waiting, op);
    pthread_mutex_lock(&w->mutex);
    w->is_done = true;
    pthread_cond_signal(&w->cond);
    pthread_mutex_unlock(&w->mutex);
}

static enum rc append(struct bench *b, struct store_account *a, struct kv_blob_id blob,
                      uint64_t number)
{
    char id[40], first[40], second[40];
    snprintf(id, sizeof id, "%llx@bench.test", (unsigned long long)number);
    snprintf(first, sizeof first, "%llx@elsewhere.test", (unsigned long long)number);
    snprintf(second, sizeof second, "%llx@other.test", (unsigned long long)number);
    struct str references[] = {str_of(first), str_of(second)};
    struct store_append append = {.blob = blob,
                                  .size = b->load.bytes,
                                  .received = clock_wall(&clock_system),
                                  .message_id = str_of(id),
                                  .references = references,
                                  .n_references = 2,
                                  .summary = b->summary};
    struct waiting w = {
        .op.done = told, .mutex = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};
    enum rc rc = store_append(a, &append, KV_CACHED, &w.op);
    if (rc == RC_AGAIN)
        rc = store_append(a, &append, 0, &w.op);
    if (rc != RC_OK)
        return rc;
    pthread_mutex_lock(&w.mutex);
    while (!w.is_done)
        pthread_cond_wait(&w.cond, &w.mutex);
    pthread_mutex_unlock(&w.mutex);
    return w.op.rc;
}

static enum rc deliver(struct load *load, uint64_t *seed)
{
    struct bench *b = CONTAINER(load, struct bench, load);
    struct store_account *a = b->accounts[load_random(seed) % b->n_accounts];
    struct kv_blob_id blob;
    TRY(load_blob(load, b->kv, (struct kv_part){KV_ACCOUNT, store_account_id(a)}, &blob));
    enum rc rc = append(b, a, blob, load_random(seed));
    kv_blob_forget(b->kv, blob);
    return rc;
}

static enum rc open_accounts(struct bench *b)
{
    struct store_root *root;
    b->accounts = mem_zero(b->n_accounts * sizeof(struct store_account *));
    for (unsigned i = 0; i < b->n_accounts; i++) {
        enum rc rc = store_account_create(b->store, i + 1, (struct store_quota){0});
        if (rc != RC_OK && rc != RC_EXISTS)
            return rc;
        TRY(store_account_open(b->store, i + 1, 0, &b->accounts[i]));
        if (i % 2)
            continue;
        TRY(store_mailbox_open(b->accounts[i], 1, 0, &root));
        store_root_release(&root);
    }
    return RC_OK;
}

static uint64_t own_time(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * NS_PER_SEC + (uint64_t)t.tv_nsec;
}

struct reading {
    uint64_t ids[STORE_SUMMARIES];
    struct str out[STORE_SUMMARIES];
    uint64_t found, asked;
};

static enum rc read_summaries(struct bench *b, struct store_account *a, struct reading *r)
{
    struct store_root *root = NULL;
    struct arena arena;
    enum rc rc = store_mailbox_open(a, 1, 0, &root);
    arena_init(&arena, 0);
    for (size_t from = 0, n; rc == RC_OK && from < store_root_count(root); from += n) {
        for (n = 0; n < STORE_SUMMARIES && from + n < store_root_count(root); n++)
            r->ids[n] = store_root_at(root, from + n)->email;
        arena_reset(&arena);
        rc = store_summaries(a, r->ids, n, 0, &arena, r->out);
        for (size_t i = 0; rc == RC_OK && i < n; i++)
            r->found += r->out[i].n == b->summary.n;
        r->asked += n;
    }
    arena_fini(&arena);
    store_root_release(&root);
    return rc;
}

/* Three times: the first time some of them are not in memory. */
static int time_summaries(struct bench *b)
{
    struct reading *r = mem_zero(sizeof *r);
    enum rc rc = RC_OK;
    for (int round = 0; rc == RC_OK && round < 3; round++) {
        uint64_t begun = own_time();
        r->found = r->asked = 0;
        for (unsigned i = 0; rc == RC_OK && i < b->n_accounts; i++)
            rc = read_summaries(b, b->accounts[i], r);
        uint64_t took = own_time() - begun;
        printf("summaries: %llu of %llu found, %.3f CPU-us each\n", (unsigned long long)r->found,
               (unsigned long long)r->asked, r->asked ? took / 1e3 / (double)r->asked : 0);
    }
    free(r);
    if (rc != RC_OK)
        fprintf(stderr, "storebench: cannot read summaries: %s\n", rc_name(rc));
    return rc != RC_OK;
}

/* What the accounts hold; closes them. */
static uint64_t count_messages(struct bench *b)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < b->n_accounts; i++) {
        struct store_usage usage;
        store_account_usage(b->accounts[i], &usage);
        sum += usage.messages;
        store_account_close(&b->accounts[i]);
    }
    free(b->accounts);
    return sum;
}

static int bench(struct bench *b)
{
    enum rc rc = open_accounts(b);
    if (rc != RC_OK) {
        fprintf(stderr, "storebench: cannot open the accounts: %s\n", rc_name(rc));
        return 1;
    }
    struct store_usage usage;
    uint64_t before = 0;
    for (unsigned i = 0; i < b->n_accounts; i++) {
        store_account_usage(b->accounts[i], &usage);
        before += usage.messages;
    }
    load_run(&b->load, deliver);
    if (!str_is_null(b->summary) && time_summaries(b))
        return 1;
    uint64_t added = count_messages(b) - before, done = atomic_load(&b->load.done);
    if (added != done)
        fprintf(stderr, "storebench: %llu acknowledged, %llu there\n", (unsigned long long)done,
                (unsigned long long)added);
    return added != done;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr,
                "usage: storebench DIR [seconds [threads [kilobytes [accounts [summary]]]]]\n");
        return 2;
    }
    struct counters counters = {0};
    struct log *log = log_new(2, LOG_WARNING, &clock_system);
    struct ctx ctx = {log, &counters, &clock_system};
    struct kv_local_conf conf = {.path = argv[1]};
    struct store_conf store_conf = {0};
    struct bench b = {.n_accounts = load_argument(argc, argv, 5, 100)};
    unsigned summary = load_argument(argc, argv, 6, 0);
    char *text = mem_zero(summary + 1);
    for (unsigned i = 0; i < summary; i++)
        text[i] = (char)('a' + i % 26);
    if (summary)
        b.summary = str_from(text, summary);
    load_init(&b.load, "storebench", argc, argv);
    enum rc rc = kv_local_open(&ctx, &conf, &b.kv);
    if (rc == RC_OK)
        rc = store_open(&ctx, b.kv, &store_conf, &b.store);
    int status = 1;
    if (rc != RC_OK)
        fprintf(stderr, "storebench: cannot open %s: %s\n", argv[1], rc_name(rc));
    else
        status = bench(&b);
    load_print_groups(&counters);
    store_close(&b.store);
    kv_close(&b.kv);
    log_free(&log);
    load_fini(&b.load);
    free(text);
    return status;
}
