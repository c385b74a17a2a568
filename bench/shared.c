/* See shared.h. */
#include "shared.h"

#include "base/mem.h"

#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { LATENCIES = 1 << 20, PIECE = 16384 };

struct worker {
    struct load *load;
    enum rc (*deliver)(struct load *l, uint64_t *seed);
    pthread_t thread;
    uint64_t seed;
};

unsigned load_argument(int argc, char **argv, int i, unsigned fallback)
{
    uint64_t n;
    return i < argc && str_to_u64(str_of(argv[i]), &n) == RC_OK && n > 0 && n < UINT32_MAX
               ? (unsigned)n
               : fallback;
}

const char *load_folder(const char *path)
{
    struct stat st;
    if (geteuid() != 0 || stat(path, &st) != 0 || st.st_uid == 0)
        return path;
    if (chdir(path) != 0 || setgroups(0, NULL) != 0 || setgid(st.st_gid) != 0 ||
        setuid(st.st_uid) != 0)
        return NULL;
    return ".";
}

void load_init(struct load *l, const char *name, int argc, char **argv)
{
    *l = (struct load){.name = name};
    l->seconds = load_argument(argc, argv, 2, 5);
    l->threads = load_argument(argc, argv, 3, 64);
    l->bytes = (size_t)load_argument(argc, argv, 4, 20) << 10;
    l->text = mem_alloc(l->bytes);
    for (size_t i = 0; i < l->bytes; i++)
        l->text[i] = (char)('a' + i * 7 % 26);
    l->latencies = mem_zero(LATENCIES * sizeof *l->latencies);
}

void load_fini(struct load *l)
{
    free(l->text);
    free(l->latencies);
}

uint64_t load_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

enum rc load_blob(const struct load *l, struct kv *kv, struct kv_part part,
                  struct kv_blob_id *out_id)
{
    struct kv_blob_out *out = kv_blob_new(kv, part, 0, 0);
    for (size_t at = 0; at < l->bytes; at += PIECE) {
        size_t left = l->bytes - at;
        enum rc rc = kv_blob_write(out, str_from(l->text + at, left < PIECE ? left : PIECE));
        if (rc != RC_OK) {
            kv_blob_abort(&out);
            return rc;
        }
    }
    return kv_blob_finish(&out, out_id);
}

static void *work(void *arg)
{
    struct worker *w = arg;
    struct load *l = w->load;
    while (!atomic_load_explicit(&l->is_over, memory_order_relaxed)) {
        uint64_t from = clock_mono(&clock_system);
        enum rc rc = w->deliver(l, &w->seed);
        if (rc != RC_OK) {
            fprintf(stderr, "%s: a delivery failed: %s\n", l->name, rc_name(rc));
            atomic_fetch_add(&l->failed, 1);
            continue;
        }
        uint64_t n = atomic_fetch_add(&l->done, 1);
        if (n < LATENCIES)
            l->latencies[n] = (uint32_t)((clock_mono(&clock_system) - from) / 1000);
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

static void print(struct load *l, double took, uint64_t cpu)
{
    uint64_t done = atomic_load(&l->done), n = done < LATENCIES ? done : LATENCIES;
    struct rusage u;
    qsort(l->latencies, n, sizeof *l->latencies, by_size);
    getrusage(RUSAGE_SELF, &u);
    printf("%u writers, %zu KB: %.0f deliveries/s, %.1f CPU-us/delivery, p50 %.2f ms, p99 %.2f ms, "
           "failed %llu, max RSS %ld MB\n",
           l->threads, l->bytes >> 10, (double)done / took, done ? (double)cpu / (double)done : 0.0,
           n ? l->latencies[n / 2] / 1000.0 : 0.0, n ? l->latencies[n * 99 / 100] / 1000.0 : 0.0,
           (unsigned long long)atomic_load(&l->failed), u.ru_maxrss >> 10);
}

void load_run(struct load *l, enum rc (*deliver)(struct load *l, uint64_t *seed))
{
    struct worker *workers = mem_zero(l->threads * sizeof *workers);
    uint64_t cpu = cpu_us(), from = clock_mono(&clock_system);
    for (unsigned i = 0; i < l->threads; i++) {
        workers[i] =
            (struct worker){.load = l, .deliver = deliver, .seed = 0x9e3779b97f4a7c15U * (i + 1)};
        pthread_create(&workers[i].thread, NULL, work, &workers[i]);
    }
    const struct timespec pause = {l->seconds, 0};
    nanosleep(&pause, NULL);
    atomic_store(&l->is_over, true);
    for (unsigned i = 0; i < l->threads; i++)
        pthread_join(workers[i].thread, NULL);
    print(l, (double)(clock_mono(&clock_system) - from) / 1e9, cpu_us() - cpu);
    free(workers);
}

void load_print_groups(struct counters *counters)
{
    printf("deliveries in a group: %.1f\n",
           (double)counter_get(counters, COUNTER_KV_COMMITS) /
               (double)(counter_get(counters, COUNTER_KV_GROUPS) + 1));
}
