/* The store path alone: how much a delivery costs from kv down, without a network or a mail model.
 *
 *   storepath DIR [seconds [threads [kilobytes [accounts]]]]
 *
 * Each thread delivers in a closed loop: one blob of that size, seven rows of 1.6 KB together, one
 * reference, one commit that is waited for. Prints deliveries a second, processor time a delivery
 * (of the whole process: also flushes, compaction, cleaning) and latencies. */
#include "kv/kv.h"

#include "base/bytes.h"
#include "base/mem.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { ROWS = 7, ROW_BYTES = 228, LATENCIES = 1 << 20 };

struct bench {
    struct kv *kv;
    _Atomic bool is_over;
    _Atomic uint64_t done, failed;
    size_t blob_bytes;
    uint64_t accounts;
    char *blob;
    uint32_t *latencies; /* in microseconds, the first LATENCIES */
};

struct writer {
    struct bench *bench;
    pthread_t thread;
    uint64_t seed;
};

static uint64_t next_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

static enum rc put_rows(struct kv_txn *txn, uint64_t number)
{
    static const char kinds[ROWS] = {'s', 'm', 'u', 'e', 'c', 't', 'i'};
    char value[ROW_BYTES];
    memset(value, 'v', sizeof value);
    for (int i = 0; i < ROWS; i++) {
        char key[9];
        size_t n = i < 2 ? 1 : sizeof key; /* two hot rows, five of the mail's own */
        key[0] = kinds[i];
        put_u64(key + 1, number);
        put_u64(value, number * 0x9e3779b97f4a7c15U);
        TRY(kv_txn_put(txn, str_from(key, n), str_from(value, sizeof value)));
    }
    return RC_OK;
}

static enum rc deliver(struct bench *b, uint64_t *seed)
{
    struct kv_part part = {KV_ACCOUNT, 1 + next_random(seed) % b->accounts};
    struct kv_blob_out *out = kv_blob_new(b->kv, part, 0, 0);
    for (size_t at = 0; at < b->blob_bytes; at += 16384) {
        size_t left = b->blob_bytes - at;
        enum rc rc = kv_blob_write(out, str_from(b->blob + at, left < 16384 ? left : 16384));
        if (rc != RC_OK) {
            kv_blob_abort(&out);
            return rc;
        }
    }
    struct kv_blob_id id;
    TRY(kv_blob_finish(&out, &id));
    struct kv_txn *txn = kv_txn_new(part);
    enum rc rc = put_rows(txn, next_random(seed));
    if (rc == RC_OK)
        rc = kv_txn_ref(txn, id);
    if (rc == RC_OK)
        rc = kv_commit_wait(b->kv, txn, NULL);
    else
        kv_txn_free(&txn);
    kv_blob_forget(b->kv, id);
    return rc;
}

static void *write_mail(void *arg)
{
    struct writer *w = arg;
    struct bench *b = w->bench;
    while (!atomic_load_explicit(&b->is_over, memory_order_relaxed)) {
        uint64_t from = clock_mono(&clock_system);
        if (deliver(b, &w->seed) != RC_OK) {
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
    printf("%u writers, %zu KB: %.0f deliveries/s, %.1f CPU-us/delivery, p50 %.2f ms, p99 %.2f ms, "
           "failed %llu, max RSS %ld MB\n",
           threads, b->blob_bytes >> 10, (double)done / took,
           done ? (double)cpu / (double)done : 0.0, n ? b->latencies[n / 2] / 1000.0 : 0.0,
           n ? b->latencies[n * 99 / 100] / 1000.0 : 0.0,
           (unsigned long long)atomic_load(&b->failed), u.ru_maxrss >> 10);
    free(writers);
}

static unsigned number_at(int argc, char **argv, int i, unsigned fallback)
{
    uint64_t n;
    return i < argc && str_to_u64(str_of(argv[i]), &n) == RC_OK && n > 0 && n < UINT32_MAX
               ? (unsigned)n
               : fallback;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: storepath DIR [seconds [threads [kilobytes [accounts]]]]\n");
        return 2;
    }
    struct counters counters = {0};
    struct log *log = log_new(2, LOG_WARNING, &clock_system);
    struct ctx ctx = {log, &counters, &clock_system};
    struct kv_local_conf conf = {.path = argv[1]};
    struct bench b = {.accounts = number_at(argc, argv, 5, 2000)};
    b.blob_bytes = (size_t)number_at(argc, argv, 4, 20) << 10;
    b.blob = mem_alloc(b.blob_bytes);
    for (size_t i = 0; i < b.blob_bytes; i++)
        b.blob[i] = (char)('a' + i * 7 % 26);
    b.latencies = mem_zero(LATENCIES * sizeof *b.latencies);
    uint64_t from = clock_mono(&clock_system);
    enum rc rc = kv_local_open(&ctx, &conf, &b.kv);
    if (rc != RC_OK) {
        fprintf(stderr, "storepath: cannot open %s: %s\n", argv[1], rc_name(rc));
        return 1;
    }
    printf("open %.1f ms\n", (double)(clock_mono(&clock_system) - from) / 1e6);
    run(&b, number_at(argc, argv, 2, 5), number_at(argc, argv, 3, 64));
    printf("deliveries in a group: %.1f\n",
           (double)counter_get(&counters, COUNTER_KV_COMMITS) /
               (double)(counter_get(&counters, COUNTER_KV_GROUPS) + 1));
    kv_close(&b.kv);
    log_free(&log);
    free(b.blob);
    free(b.latencies);
    return 0;
}
