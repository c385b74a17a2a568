/* A large queue: made, then opened.
 *
 *   queuebench DIR fill [messages [domains [bytes]]]
 *   queuebench DIR open
 *   queuebench DIR drain
 *
 * `fill` adds so many messages (1,000,000) for one recipient each, in so many domains (10,000),
 * each with a body of so many bytes (300), through queue_add, many under way at once. DIR is a data
 * folder at rest, made when missing: also that of a server that is to be started with them.
 *
 * `open` opens such a folder as a server does, and prints how long it takes until the queue can be
 * used, until the first entry that is due has been read and its item loaded, how long a listing of
 * one domain takes, when everything has been counted, and the memory then.
 *
 * `drain` loads each item that is due and settles it as done, many under way at once. */
#include "queue/queue.h"
#include "shared.h"

#include "base/mem.h"
#include "base/random.h"

#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { UNDER_WAY = 4096 };

struct slot {
    struct queue_op op;
    struct queue_settlement settlement; /* drain */
    struct queue_change change;
    struct kv_blob_id blob;
    struct slots *slots;
    struct slot *next;
};

struct slots {
    struct kv *kv;
    sem_t free;
    pthread_mutex_t mutex;
    struct slot *first;
    struct slot all[UNDER_WAY];
    _Atomic uint64_t failed;
};

static void added(struct queue_op *op)
{
    struct slot *slot = CONTAINER(op, struct slot, op);
    struct slots *s = slot->slots;
    if (op->rc != RC_OK)
        s->failed++;
    if (!slot->settlement.n_changes)
        kv_blob_forget(s->kv, slot->blob);
    pthread_mutex_lock(&s->mutex);
    slot->next = s->first;
    s->first = slot;
    pthread_mutex_unlock(&s->mutex);
    sem_post(&s->free);
}

static struct slot *take(struct slots *s)
{
    while (sem_wait(&s->free) != 0)
        continue;
    pthread_mutex_lock(&s->mutex);
    struct slot *slot = s->first;
    s->first = slot->next;
    pthread_mutex_unlock(&s->mutex);
    return slot;
}

static void slots_init(struct slots *s, struct kv *kv)
{
    *s = (struct slots){.kv = kv};
    sem_init(&s->free, 0, UNDER_WAY);
    pthread_mutex_init(&s->mutex, NULL);
    for (size_t i = 0; i < UNDER_WAY; i++) {
        s->all[i].slots = s;
        s->all[i].next = s->first;
        s->first = &s->all[i];
    }
}

static enum rc make_blob(struct kv *kv, size_t bytes, struct kv_blob_id *out)
{
    static const char line[] =
        "Subject: one of many\r\n\r\n0123456789abcdefghijklmnopqrstuvwxyz\r\n";
    struct kv_blob_out *blob = kv_blob_new(kv, (struct kv_part){KV_QUEUE, 0}, 0, 0);
    enum rc rc = RC_OK;
    for (size_t at = 0; at < bytes && rc == RC_OK; at += sizeof line - 1) {
        size_t left = bytes - at;
        rc = kv_blob_write(blob, str_from(line, left < sizeof line - 1 ? left : sizeof line - 1));
    }
    if (rc == RC_OK)
        return kv_blob_finish(&blob, out);
    kv_blob_abort(&blob);
    return rc;
}

static enum rc add(struct queue *queue, struct slot *slot, unsigned number, unsigned domains,
                   unsigned bytes)
{
    char address[64], message_id[64];
    snprintf(address, sizeof address, "user%u@d%u.bench.test", number, number % domains);
    snprintf(message_id, sizeof message_id, "%x.%x@bench.test", number, number * 2654435761U);
    const struct queue_recipient to = {.address = str_of(address),
                                       .domain = str_of(strchr(address, '@') + 1)};
    struct queue_item item = {.blob = slot->blob,
                              .size = bytes,
                              .received = clock_wall(&clock_system),
                              .sender = STR("sender@bench.test"),
                              .message_id = str_of(message_id),
                              .log_id = STR("0123456789ab"),
                              .origin = STR("192.0.2.1"),
                              .recipients = &to,
                              .n_recipients = 1};
    slot->op = (struct queue_op){.done = added};
    enum rc rc = RC_TEMP;
    for (int i = 0; i < 10000 && rc == RC_TEMP; i++) {
        rc = queue_add(queue, &item, 1, &slot->op);
        if (rc == RC_TEMP)
            usleep(1000); /* too much is queued */
    }
    return rc;
}

static double seconds_since(uint64_t begun)
{
    return (double)(clock_mono(&clock_system) - begun) / 1e9;
}

static double cpu_seconds(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static int fill(struct kv *kv, struct queue *queue, int argc, char **argv)
{
    unsigned n = load_argument(argc, argv, 3, 1000000);
    unsigned domains = load_argument(argc, argv, 4, 10000);
    unsigned bytes = load_argument(argc, argv, 5, 300);
    struct slots *s = mem_alloc(sizeof *s);
    uint64_t begun = clock_mono(&clock_system);
    double cpu = cpu_seconds();
    enum rc rc = RC_OK;
    slots_init(s, kv);
    for (unsigned i = 0; i < n && rc == RC_OK; i++) {
        struct slot *slot = take(s);
        rc = make_blob(kv, bytes, &slot->blob);
        if (rc == RC_OK)
            rc = add(queue, slot, i, domains, bytes);
        if (rc != RC_OK)
            sem_post(&s->free);
    }
    for (int i = 0; i < UNDER_WAY; i++)
        while (sem_wait(&s->free) != 0)
            continue;
    double seconds = seconds_since(begun);
    printf("%u messages in %.1f s, %.0f a second, %.1f us of processor each; %llu failed%s%s\n", n,
           seconds, n / seconds, (cpu_seconds() - cpu) * 1e6 / n, (unsigned long long)s->failed,
           rc == RC_OK ? "" : "; ended by ", rc == RC_OK ? "" : rc_name(rc));
    bool is_good = rc == RC_OK && !s->failed;
    free(s);
    return is_good ? 0 : 1;
}

static enum rc settle(struct queue *queue, struct slots *s, const struct queue_due *entry)
{
    struct arena arena = {0};
    struct queue_entry e;
    enum rc rc = queue_load(queue, entry->id, 0, &arena, &e);
    arena_fini(&arena);
    if (rc != RC_OK)
        return rc;
    struct slot *slot = take(s);
    slot->change = (struct queue_change){.number = entry->number};
    slot->settlement =
        (struct queue_settlement){.id = entry->id, .changes = &slot->change, .n_changes = 1};
    slot->op.done = added;
    rc = queue_settle(queue, &slot->settlement, &slot->op);
    if (rc != RC_OK)
        sem_post(&s->free);
    return rc;
}

static int drain(struct kv *kv, struct queue *queue)
{
    struct queue_feed *feed = queue_feed_new(queue, QUEUE_REMOTE);
    struct queue_due_page page = {.has_more = true};
    struct arena arena = {0};
    struct slots *s = mem_alloc(sizeof *s);
    uint64_t n = 0, begun = clock_mono(&clock_system);
    double cpu = cpu_seconds();
    enum rc rc = RC_OK;
    slots_init(s, kv);
    while (rc == RC_OK && page.has_more) {
        arena_reset(&arena);
        rc = queue_feed_next(feed, clock_wall(&clock_system), 256, &arena, &page);
        for (size_t i = 0; rc == RC_OK && i < page.n; i++, n++)
            rc = settle(queue, s, &page.entries[i]);
    }
    for (int i = 0; i < UNDER_WAY; i++)
        while (sem_wait(&s->free) != 0)
            continue;
    printf("%llu messages settled in %.1f s, %.1f us of processor each; %llu failed%s%s\n",
           (unsigned long long)n, seconds_since(begun), (cpu_seconds() - cpu) * 1e6 / (double)n,
           (unsigned long long)s->failed, rc == RC_OK ? "" : "; ended by ",
           rc == RC_OK ? "" : rc_name(rc));
    bool is_good = rc == RC_OK && !s->failed;
    arena_fini(&arena);
    queue_feed_free(&feed);
    free(s);
    return is_good ? 0 : 1;
}

static void print_memory(const char *when)
{
    char line[128];
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, "VmRSS:", 6) == 0 || strncmp(line, "VmHWM:", 6) == 0)
            printf("  %s: %s", when, line);
    if (f)
        fclose(f);
}

static bool has_all(struct queue *queue)
{
    for (unsigned i = 0; i < QUEUE_SHARDS; i++)
        if (!queue_has_shard(queue, i))
            return false;
    return true;
}

/* The first entry that is due, and its item. */
static enum rc first_due(struct queue *queue, uint64_t begun)
{
    struct queue_feed *feed = queue_feed_new(queue, QUEUE_REMOTE);
    struct queue_due_page page = {0};
    struct arena arena = {0};
    struct queue_entry entry;
    enum rc rc = RC_OK;
    while (rc == RC_OK && page.n == 0) {
        rc = queue_feed_next(feed, clock_wall(&clock_system), 256, &arena, &page);
        if (rc == RC_OK && page.n == 0)
            usleep(1000);
    }
    if (rc == RC_OK)
        rc = queue_load(queue, page.entries[0].id, 0, &arena, &entry);
    printf("first entry due, and its item: %.3f s (%zu of its shard)\n", seconds_since(begun),
           page.n);
    uint64_t n = page.n;
    while (rc == RC_OK && (page.has_more || !has_all(queue))) {
        arena_reset(&arena);
        rc = queue_feed_next(feed, clock_wall(&clock_system), 256, &arena, &page);
        n += page.n;
    }
    printf("all %llu entries that are due: %.3f s\n", (unsigned long long)n, seconds_since(begun));
    arena_fini(&arena);
    queue_feed_free(&feed);
    return rc;
}

static enum rc list(struct queue *queue, const char *domain, const char *sender, size_t limit)
{
    const struct queue_filter filter = {.domain = str_of(domain), .sender = str_of(sender)};
    struct queue_cursor cursor = {0};
    size_t n = 0, calls = 0;
    uint64_t begun = clock_mono(&clock_system);
    while (!cursor.is_at_end && n < limit) {
        struct arena arena = {0};
        struct queue_found found;
        enum rc rc = queue_find(queue, &filter, &cursor, limit - n, &arena, &found);
        n += found.n;
        calls++;
        arena_fini(&arena);
        if (rc != RC_OK)
            return rc;
    }
    printf("list --domain %s --sender %s --limit %zu: %zu in %.1f ms, %zu calls\n",
           domain ? domain : "-", sender ? sender : "-", limit, n, seconds_since(begun) * 1e3,
           calls);
    return RC_OK;
}

static enum rc look(struct queue *queue, uint64_t begun)
{
    const struct queue_lease_conf lease = {.node = "local", .lease_ms = 24 * 3600 * 1000};
    queue_lease_run(queue, &lease);
    printf("queue open: %.3f s\n", seconds_since(begun));
    print_memory("open");
    enum rc rc = first_due(queue, begun);
    print_memory("read");
    for (int i = 0; i < 3 && rc == RC_OK; i++)
        rc = list(queue, "d77.bench.test", NULL, 50);
    if (rc == RC_OK)
        rc = list(queue, "nowhere.bench.test", NULL, 50);
    uint64_t n = 0, before;
    do {
        before = n;
        usleep(200000);
        n = queue_count(queue);
    } while (n != before);
    printf("all %llu counted: before %.3f s\n", (unsigned long long)n, seconds_since(begun));
    print_memory("counted");
    if (rc == RC_OK)
        rc = list(queue, "d78.bench.test", NULL, 50);
    if (rc == RC_OK)
        rc = list(queue, NULL, "nobody@bench.test", 50);
    printf("%.2f s of processor in all\n", cpu_seconds());
    return rc;
}

int main(int argc, char **argv)
{
    struct counters counters = {0};
    struct log *log = log_new(2, LOG_WARNING, &clock_system);
    const struct ctx ctx = {log, &counters, &clock_system};
    struct kv *kv;
    struct queue *queue;
    if (argc < 3) {
        fprintf(stderr, "usage: queuebench DIR fill [messages [domains [bytes]]] | open | drain\n");
        return 2;
    }
    const struct kv_local_conf conf = {.path = load_folder(argv[1])};
    if (!conf.path) {
        perror("queuebench");
        return 1;
    }
    uint64_t begun = clock_mono(&clock_system);
    enum rc rc = kv_local_open(&ctx, &conf, &kv);
    if (rc == RC_OK) {
        printf("store open: %.3f s\n", seconds_since(begun));
        rc = queue_open(&ctx, kv, &queue);
    }
    if (rc != RC_OK) {
        fprintf(stderr, "queuebench: %s: %s\n", argv[1], rc_name(rc));
        return 1;
    }
    int status = strcmp(argv[2], "fill") == 0    ? fill(kv, queue, argc, argv)
                 : strcmp(argv[2], "drain") == 0 ? drain(kv, queue)
                                                 : look(queue, begun) != RC_OK;
    queue_close(&queue);
    kv_close(&kv);
    log_free(&log);
    return status;
}
