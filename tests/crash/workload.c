/* What the fault sweep runs under faultfs, and what looks at the store afterwards.
 *
 * workload run DIR COMMITS: several threads commit to a partition each; "done PARTITION NUMBER" is
 * printed for each acknowledged commit.
 *
 * workload alone DIR COMMITS: one thread commits small blobs, each in a group of its own.
 *
 * workload check DIR: reads those lines and checks the store against the invariants of
 * docs/internals/store.md.
 *
 * Commit number i of a partition is a function of partition and i alone, and is guarded by version
 * i - 1. So the version that is found tells what every row and blob of the partition has to be. A
 * run ends with 0 when all was committed, 3 when the store stopped writing, 4 when it could not be
 * opened. */
#include "kv/kv.h"

#include "base/bytes.h"
#include "base/mem.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    CROWD = 4, /* partitions of run; the one after them is alone's */
    ALONE = CROWD,
    PARTS = CROWD + 1,
    PHASES = 2,     /* the store is closed and opened again between them */
    KEPT_BLOBS = 4, /* each commit drops the blob of the one so many before */
    COUNTERS = 5,
    TRIM_EVERY = 7,
    LARGE_EVERY = 8,
    LARGE = 300 << 10,
    RETRIES = 50,
    EXIT_STOPPED = 3,
    EXIT_NOT_OPENED = 4
};

struct work {
    struct kv *kv;
    struct kv_part part;
    uint64_t commits; /* up to this number */
    bool is_stopped;
    pthread_t thread;
};

static struct kv_part part_of(unsigned p)
{
    return (struct kv_part){p % 2 ? KV_QUEUE : KV_ACCOUNT, p + 1};
}

static uint64_t blob_size(struct kv_part part, uint64_t i)
{
    if (part.id == ALONE + 1)
        return i * 4241 % 3000;
    return i % LARGE_EVERY == 0 ? LARGE + i * 1001 : (part.id * 7919 + i * 4241) % 12000;
}

static char blob_byte(struct kv_part part, uint64_t i, uint64_t at)
{
    return (char)(part.id * 131 + i * 31 + at * 7 + at / 251);
}

static enum rc write_blob(struct kv *kv, struct kv_part part, uint64_t i, struct kv_blob_id *out)
{
    struct kv_blob_out *blob = kv_blob_new(kv, part, 0, 0);
    char bytes[8192];
    uint64_t size = blob_size(part, i);
    for (uint64_t at = 0; at < size;) {
        size_t n = 0;
        for (; n < sizeof bytes && at < size; n++, at++)
            bytes[n] = blob_byte(part, i, at);
        enum rc rc = kv_blob_write(blob, str_from(bytes, n));
        if (rc != RC_OK) {
            kv_blob_abort(&blob);
            return rc;
        }
    }
    return kv_blob_finish(&blob, out);
}

static struct str blob_key(char *to, uint64_t i)
{
    return str_from(to, (size_t)snprintf(to, 32, "b%06llu", (unsigned long long)i));
}

/* The blob that the partition's row for commit i names. */
static enum rc blob_of(struct kv *kv, struct kv_part part, uint64_t i, struct kv_blob_id *out)
{
    struct arena arena = {0};
    char key[32];
    struct str name = blob_key(key, i), value;
    enum rc rc = kv_get(kv, part, &name, 1, 0, &arena, &value, NULL);
    if (rc == RC_OK && value.n != sizeof out->b)
        rc = RC_CORRUPT;
    if (rc == RC_OK)
        memcpy(out->b, value.p, sizeof out->b);
    arena_fini(&arena);
    return rc;
}

static enum rc add_rows(struct kv_txn *txn, uint64_t i, const struct kv_blob_id *id)
{
    char key[32], value[32];
    struct str number =
        str_from(value, (size_t)snprintf(value, sizeof value, "%llu", (unsigned long long)i));
    TRY(kv_txn_put(txn, STR("s"), number));
    TRY(kv_txn_put(txn, blob_key(key, i), str_from(id->b, sizeof id->b)));
    if (i % TRIM_EVERY == 0)
        TRY(kv_txn_trim(txn, STR("c"), STR("d")));
    size_t n = (size_t)snprintf(key, sizeof key, "c%llu", (unsigned long long)(i % COUNTERS));
    return kv_txn_put(txn, str_from(key, n), number);
}

static enum rc fill(struct kv *kv, struct kv_txn *txn, struct kv_part part, uint64_t i,
                    const struct kv_blob_id *id)
{
    kv_txn_expect(txn, i - 1);
    TRY(add_rows(txn, i, id));
    TRY(kv_txn_ref(txn, *id));
    if (i <= KEPT_BLOBS)
        return RC_OK;
    struct kv_blob_id old;
    char key[32];
    TRY(blob_of(kv, part, i - KEPT_BLOBS, &old));
    TRY(kv_txn_delete(txn, blob_key(key, i - KEPT_BLOBS)));
    return kv_txn_drop(txn, old);
}

/* A commit that brings no blob, of a partition that nobody looks at. */
static enum rc commit_note(struct kv *kv, uint64_t i)
{
    struct kv_txn *txn = kv_txn_new((struct kv_part){KV_GLOBAL, PARTS + 1});
    char value[8];
    put_u64(value, i);
    enum rc rc = kv_txn_put(txn, STR("n"), str_from(value, sizeof value));
    if (rc == RC_OK)
        return kv_commit_wait(kv, txn, NULL);
    kv_txn_free(&txn);
    return rc;
}

static enum rc commit(struct kv *kv, struct kv_part part, uint64_t i)
{
    if (part.id == ALONE + 1 && i % TRIM_EVERY == 0)
        TRY(commit_note(kv, i));
    struct kv_blob_id id;
    TRY(write_blob(kv, part, i, &id));
    struct kv_txn *txn = kv_txn_new(part);
    enum rc rc = fill(kv, txn, part, i, &id);
    if (rc == RC_OK)
        rc = kv_commit_wait(kv, txn, NULL);
    else
        kv_txn_free(&txn);
    kv_blob_forget(kv, id);
    return rc;
}

/* --- run -------------------------------------------------------------------------------------- */

static void say_done(struct kv_part part, uint64_t i)
{
    char line[64];
    int n = snprintf(line, sizeof line, "done %llu %llu\n", (unsigned long long)part.id,
                     (unsigned long long)i);
    if (write(STDOUT_FILENO, line, (size_t)n) != n)
        abort();
}

static void *work_main(void *arg)
{
    struct work *w = arg;
    uint64_t version;
    if (kv_version(w->kv, w->part, 0, &version) != RC_OK) {
        w->is_stopped = true;
        return NULL;
    }
    unsigned tries = 0;
    while (version < w->commits && !w->is_stopped) {
        enum rc rc = commit(w->kv, w->part, version + 1);
        if (rc == RC_OK) {
            say_done(w->part, ++version);
            tries = 0;
        } else if (kv_state(w->kv, NULL) == KV_READONLY || ++tries == RETRIES) {
            w->is_stopped =
                true; /* what failed for now (no space) is tried again, as a sender would */
        }
    }
    return NULL;
}

static enum rc open_store(const char *dir, struct log *log, struct kv **out)
{
    struct ctx ctx = {log, NULL, &clock_system};
    struct kv_local_conf conf = {
        .path = dir, .segment_bytes = 64 << 10, .memory_bytes = 8 << 20, .clean_rate = 1 << 30};
    return kv_local_open(&ctx, &conf, out);
}

static bool run_phase(struct kv *kv, uint64_t commits, unsigned first, unsigned end)
{
    struct work works[PARTS];
    bool is_stopped = false;
    for (unsigned p = first; p < end; p++) {
        works[p] = (struct work){.kv = kv, .part = part_of(p), .commits = commits};
        pthread_create(&works[p].thread, NULL, work_main, &works[p]);
    }
    for (unsigned p = first; p < end; p++) {
        pthread_join(works[p].thread, NULL);
        is_stopped |= works[p].is_stopped;
    }
    return !is_stopped && kv_local_clean(kv) == RC_OK;
}

static int run(const char *dir, struct log *log, uint64_t commits, bool is_alone)
{
    unsigned first = is_alone ? ALONE : 0, end = is_alone ? PARTS : CROWD;
    for (unsigned phase = 1; phase <= PHASES; phase++) {
        struct kv *kv;
        if (open_store(dir, log, &kv) != RC_OK)
            return EXIT_NOT_OPENED;
        bool goes_on = run_phase(kv, commits * phase / PHASES, first, end);
        kv_close(&kv);
        if (!goes_on)
            return EXIT_STOPPED;
    }
    return 0;
}

/* --- check ------------------------------------------------------------------------------------ */

static int broken(struct kv_part part, const char *what, uint64_t i)
{
    fprintf(stderr, "partition %c %llu: %s (%llu)\n", (char)part.class, (unsigned long long)part.id,
            what, (unsigned long long)i);
    return 1;
}

static int check_blob(struct kv *kv, struct kv_part part, uint64_t i, struct str value)
{
    struct kv_blob_id id;
    struct kv_blob_in *in;
    char bytes[8192];
    if (value.n != sizeof id.b)
        return broken(part, "a row names no blob", i);
    memcpy(id.b, value.p, sizeof id.b);
    if (kv_blob_open(kv, id, 0, &in) != RC_OK)
        return broken(part, "a blob is missing", i);
    uint64_t size = blob_size(part, i), at = 0;
    int faults = kv_blob_meta(in).size != size;
    while (!faults && at < size) {
        size_t got;
        faults = kv_blob_read(in, at, bytes, sizeof bytes, 0, &got) != RC_OK || got == 0;
        for (size_t k = 0; !faults && k < got; k++)
            faults = bytes[k] != blob_byte(part, i, at + k);
        at += got;
    }
    kv_blob_close(&in);
    return faults ? broken(part, "a blob is not what was written", i) : 0;
}

/* The number that row c<slot> must hold at this version; 0: no such row. */
static uint64_t counter_at(uint64_t version, uint64_t slot)
{
    for (uint64_t i = version; i > 0; i--) {
        if (i % COUNTERS == slot)
            return i;
        if (i % TRIM_EVERY == 0)
            return 0;
    }
    return 0;
}

static int check_row(struct kv *kv, struct kv_part part, uint64_t version, struct kv_row row)
{
    uint64_t number = 0, slot = 0;
    char kind = row.key.p[0];
    if (kind == 'b') {
        uint64_t i = 0;
        if (str_to_u64(str_skip(row.key, 1), &i) != RC_OK || i > version ||
            i + KEPT_BLOBS <= version)
            return broken(part, "a row that should not be there", version);
        return check_blob(kv, part, i, row.value);
    }
    if (str_to_u64(row.value, &number) != RC_OK)
        return broken(part, "a row is not what was written", version);
    if (kind == 's')
        return number == version ? 0 : broken(part, "half a transaction", number);
    if (kind != 'c' || str_to_u64(str_skip(row.key, 1), &slot) != RC_OK ||
        number != counter_at(version, slot))
        return broken(part, "a counter is wrong", number);
    return 0;
}

static size_t rows_at(uint64_t version)
{
    size_t n = version ? 1 : 0;
    n += version < KEPT_BLOBS ? version : KEPT_BLOBS;
    for (uint64_t slot = 0; slot < COUNTERS; slot++)
        n += counter_at(version, slot) > 0;
    return n;
}

/* `cuts`: how many runs were cut short. Each may have left one commit of which nobody was told. */
static int check_part(struct kv *kv, struct kv_part part, uint64_t acknowledged, uint64_t cuts)
{
    struct arena arena = {0};
    struct kv_page page;
    if (kv_scan(kv, part, (struct kv_range){0}, 0, 0, &arena, &page) != RC_OK)
        return broken(part, "cannot be read", 0);
    int faults = 0;
    if (page.version < acknowledged)
        faults = broken(part, "an acknowledged commit is missing; found version", page.version);
    else if (page.version > acknowledged + cuts)
        faults = broken(part, "a version that nobody wrote", page.version);
    else if (page.n != rows_at(page.version))
        faults = broken(part, "wrong number of rows", page.n);
    for (size_t i = 0; i < page.n && !faults; i++)
        faults = check_row(kv, part, page.version, page.rows[i]);
    arena_fini(&arena);
    return faults;
}

static void report(struct kv_fsck *fsck, const char *line)
{
    fprintf(stderr, "fsck: %s\n", line);
}

/* All partitions, then fsck. acknowledged[p] becomes the version found. */
static int check_store(struct kv *kv, uint64_t *acknowledged, uint64_t cuts)
{
    int faults = 0;
    for (unsigned p = 0; p < PARTS; p++) {
        faults += check_part(kv, part_of(p), acknowledged[p], cuts);
        if (kv_version(kv, part_of(p), 0, &acknowledged[p]) != RC_OK)
            faults++;
    }
    struct kv_fsck fsck = {.report = report};
    if (kv_fsck(kv, &fsck) != RC_OK)
        faults++;
    if (kv_generation(kv) != 1)
        faults +=
            broken(part_of(0), "the store believes that commits are missing", kv_generation(kv));
    return faults;
}

static int write_on(struct kv *kv, uint64_t *acknowledged)
{
    for (unsigned p = 0; p < PARTS; p++)
        for (int n = 0; n < 2; n++)
            if (commit(kv, part_of(p), ++acknowledged[p]) != RC_OK)
                return broken(part_of(p), "cannot be written to any more", acknowledged[p]);
    return kv_local_clean(kv) == RC_OK ? 0 : broken(part_of(0), "cleaning fails", 0);
}

/* What the runs have printed, one after the other with a line "cut" between them. */
static uint64_t read_acknowledged(uint64_t *acknowledged)
{
    unsigned long long part, i;
    uint64_t cuts = 1;
    char line[80];
    while (fgets(line, sizeof line, stdin)) {
        cuts += strcmp(line, "cut\n") == 0;
        if (sscanf(line, "done %llu %llu", &part, &i) == 2 && part >= 1 && part <= PARTS &&
            i > acknowledged[part - 1])
            acknowledged[part - 1] = i;
    }
    return cuts;
}

static int check(const char *dir, struct log *log)
{
    uint64_t acknowledged[PARTS] = {0};
    int faults = 0;
    uint64_t cuts = read_acknowledged(acknowledged);
    for (int round = 0; round < 2 && !faults; round++) {
        struct kv *kv;
        enum rc rc = open_store(dir, log, &kv);
        if (rc != RC_OK)
            return broken(part_of(0), rc_name(rc), 0);
        faults = check_store(kv, acknowledged, cuts);
        if (!faults && round == 0)
            faults = write_on(kv, acknowledged);
        kv_close(&kv);
    }
    return faults ? 1 : 0;
}

int main(int argc, char **argv)
{
    uint64_t commits = 0;
    struct log *log = log_new(STDERR_FILENO, LOG_WARNING, &clock_system);
    int rc = 2;
    bool is_alone = argc > 1 && !strcmp(argv[1], "alone");
    if (argc == 4 && (is_alone || !strcmp(argv[1], "run")) &&
        str_to_u64(str_of(argv[3]), &commits) == RC_OK)
        rc = run(argv[2], log, commits, is_alone);
    else if (argc == 3 && !strcmp(argv[1], "check"))
        rc = check(argv[2], log);
    else
        fprintf(stderr, "usage: workload run|alone DIR COMMITS | check DIR\n");
    log_free(&log);
    return rc;
}
