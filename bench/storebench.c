/* The store path with the mail model: what a delivery costs from store_append down, no network.
 *
 *   storebench DIR [seconds [threads [kilobytes [accounts]]]]
 *
 * Each thread delivers in a closed loop: a blob of that size, then store_append with a Message-ID
 * and two references, waited for. Every second account has its INBOX open, as a session would.
 * Prints deliveries a second, processor time a delivery (of the whole process), latencies; reads
 * every account back and compares its count. */
#include "store/store.h"

#include "base/mem.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { LATENCIES = 1 << 20 };

struct bench {
    struct kv *kv;
    struct store *store;
    struct store_account **accounts;
    unsigned n_accounts;
    atomic_bool is_over;
    _Atomic uint64_t done, failed;
    char *text;
    size_t bytes;
    uint32_t *latencies; /* in microseconds, the first LATENCIES */
};

struct writer {
    struct bench *bench;
    pthread_t thread;
    uint64_t seed;
    struct store_op op;
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    bool is_done;
};

static uint64_t next_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

static void told(struct store_op *op)
{
    struct writer *w = CONTAINER(op, struct writer, op);
    pthread_mutex_lock(&w->mutex);
    w->is_done = true;
    pthread_cond_signal(&w->cond);
    pthread_mutex_unlock(&w->mutex);
}

static enum rc append(struct writer *w, struct store_account *a, struct kv_blob_id blob)
{
    char id[40], first[40], second[40];
    uint64_t number = next_random(&w->seed);
    snprintf(id, sizeof id, "%llx@bench.test", (unsigned long long)number);
    snprintf(first, sizeof first, "%llx@elsewhere.test", (unsigned long long)number);
    snprintf(second, sizeof second, "%llx@other.test", (unsigned long long)number);
    struct str references[] = {str_of(first), str_of(second)};
    struct store_append append = {.blob = blob,
                                  .size = w->bench->bytes,
                                  .received = clock_wall(&clock_system),
                                  .message_id = str_of(id),
                                  .references = references,
                                  .n_references = 2};
    w->op = (struct store_op){.done = told};
    w->is_done = false;
    enum rc rc = store_append(a, &append, KV_CACHED, &w->op);
    if (rc == RC_AGAIN)
        rc = store_append(a, &append, 0, &w->op);
    if (rc != RC_OK)
        return rc;
    pthread_mutex_lock(&w->mutex);
    while (!w->is_done)
        pthread_cond_wait(&w->cond, &w->mutex);
    pthread_mutex_unlock(&w->mutex);
    return w->op.rc;
}

static enum rc deliver(struct writer *w)
{
    struct bench *b = w->bench;
    struct store_account *a = b->accounts[next_random(&w->seed) % b->n_accounts];
    struct kv_part part = {KV_ACCOUNT, store_account_id(a)};
    struct kv_blob_out *out = kv_blob_new(b->kv, part, 0, 0);
    struct kv_blob_id blob;
    for (size_t at = 0; at < b->bytes; at += 16384) {
        size_t left = b->bytes - at;
        enum rc rc = kv_blob_write(out, str_from(b->text + at, left < 16384 ? left : 16384));
        if (rc != RC_OK) {
            kv_blob_abort(&out);
            return rc;
        }
    }
    TRY(kv_blob_finish(&out, &blob));
    enum rc rc = append(w, a, blob);
    kv_blob_forget(b->kv, blob);
    return rc;
}

static void *write_mail(void *arg)
{
    struct writer *w = arg;
    struct bench *b = w->bench;
    while (!atomic_load_explicit(&b->is_over, memory_order_relaxed)) {
        uint64_t from = clock_mono(&clock_system);
        enum rc rc = deliver(w);
        if (rc != RC_OK) {
            fprintf(stderr, "storebench: a delivery failed: %s\n", rc_name(rc));
            atomic_fetch_add(&b->failed, 1);
            continue;
        }
        uint64_t n = atomic_fetch_add(&b->done, 1);
        if (n < LATENCIES)
            b->latencies[n] = (uint32_t)((clock_mono(&clock_system) - from) / 1000);
    }
    return NULL;
}

static uint64_t cpu_us(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (uint64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000 +
           (uint64_t)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

static int by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static void run(struct bench *b, unsigned seconds, unsigned threads)
{
    struct writer *writers = mem_zero(threads * sizeof *writers);
    uint64_t cpu = cpu_us(), from = clock_mono(&clock_system);
    for (unsigned i = 0; i < threads; i++) {
        writers[i] = (struct writer){.bench = b, .seed = 0x9e3779b97f4a7c15U * (i + 1)};
        pthread_mutex_init(&writers[i].mutex, NULL);
        pthread_cond_init(&writers[i].cond, NULL);
        pthread_create(&writers[i].thread, NULL, write_mail, &writers[i]);
    }
    struct timespec pause = {seconds, 0};
    nanosleep(&pause, NULL);
    atomic_store(&b->is_over, true);
    for (unsigned i = 0; i < threads; i++)
        pthread_join(writers[i].thread, NULL);
    double took = (double)(clock_mono(&clock_system) - from) / 1e9;
    uint64_t done = atomic_load(&b->done), n = done < LATENCIES ? done : LATENCIES;
    cpu = cpu_us() - cpu;
    qsort(b->latencies, n, sizeof *b->latencies, by_size);
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    printf("%u writers, %zu KB, %u accounts: %.0f deliveries/s, %.1f CPU-us/delivery, p50 %.2f ms, "
           "p99 %.2f ms, failed %llu, max RSS %ld MB\n",
           threads, b->bytes >> 10, b->n_accounts, (double)done / took,
           done ? (double)cpu / (double)done : 0.0, n ? b->latencies[n / 2] / 1000.0 : 0.0,
           n ? b->latencies[n * 99 / 100] / 1000.0 : 0.0,
           (unsigned long long)atomic_load(&b->failed), u.ru_maxrss >> 10);
    free(writers);
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

static unsigned number_at(int argc, char **argv, int i, unsigned fallback)
{
    uint64_t n;
    return i < argc && str_to_u64(str_of(argv[i]), &n) == RC_OK && n > 0 && n < UINT32_MAX
               ? (unsigned)n
               : fallback;
}

static int bench(struct bench *b, unsigned seconds, unsigned threads)
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
    run(b, seconds, threads);
    uint64_t added = count_messages(b) - before, done = atomic_load(&b->done);
    if (added != done)
        fprintf(stderr, "storebench: %llu acknowledged, %llu there\n", (unsigned long long)done,
                (unsigned long long)added);
    return added != done;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: storebench DIR [seconds [threads [kilobytes [accounts]]]]\n");
        return 2;
    }
    struct counters counters = {0};
    struct log *log = log_new(2, LOG_WARNING, &clock_system);
    struct ctx ctx = {log, &counters, &clock_system};
    struct kv_local_conf conf = {.path = argv[1]};
    struct store_conf store_conf = {0};
    struct bench b = {.n_accounts = number_at(argc, argv, 5, 100)};
    b.bytes = (size_t)number_at(argc, argv, 4, 20) << 10;
    b.text = mem_alloc(b.bytes);
    for (size_t i = 0; i < b.bytes; i++)
        b.text[i] = (char)('a' + i * 7 % 26);
    b.latencies = mem_zero(LATENCIES * sizeof *b.latencies);
    enum rc rc = kv_local_open(&ctx, &conf, &b.kv);
    if (rc == RC_OK)
        rc = store_open(&ctx, b.kv, &store_conf, &b.store);
    int status = 1;
    if (rc != RC_OK)
        fprintf(stderr, "storebench: cannot open %s: %s\n", argv[1], rc_name(rc));
    else
        status = bench(&b, number_at(argc, argv, 2, 5), number_at(argc, argv, 3, 64));
    printf("deliveries in a group: %.1f\n",
           (double)counter_get(&counters, COUNTER_KV_COMMITS) /
               (double)(counter_get(&counters, COUNTER_KV_GROUPS) + 1));
    store_close(&b.store);
    kv_close(&b.kv);
    log_free(&log);
    free(b.text);
    free(b.latencies);
    return status;
}
