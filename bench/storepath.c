/* The store path alone: how much a delivery costs from kv down, without a network or a mail model.
 *
 *   storepath DIR [seconds [threads [kilobytes [accounts]]]]
 *
 * Each thread delivers in a closed loop: one blob of that size, seven rows of 1.6 KB together, one
 * reference, one commit that is waited for. Prints deliveries a second, processor time a delivery
 * (of the whole process: also flushes, compaction, cleaning) and latencies. */
#include "shared.h"

#include "base/bytes.h"

#include <stdio.h>
#include <string.h>

enum { ROWS = 7, ROW_BYTES = 228 };

struct bench {
    struct load load;
    struct kv *kv;
    uint64_t accounts;
};

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

static enum rc deliver(struct load *load, uint64_t *seed)
{
    struct bench *b = CONTAINER(load, struct bench, load);
    struct kv_part part = {KV_ACCOUNT, 1 + load_random(seed) % b->accounts};
    struct kv_blob_id id;
    TRY(load_blob(load, b->kv, part, &id));
    struct kv_txn *txn = kv_txn_new(part);
    enum rc rc = put_rows(txn, load_random(seed));
    if (rc == RC_OK)
        rc = kv_txn_ref(txn, id);
    if (rc == RC_OK)
        rc = kv_commit_wait(b->kv, txn, NULL);
    else
        kv_txn_free(&txn);
    kv_blob_forget(b->kv, id);
    return rc;
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
    struct bench b = {.accounts = load_argument(argc, argv, 5, 2000)};
    load_init(&b.load, "storepath", argc, argv);
    uint64_t from = clock_mono(&clock_system);
    enum rc rc = kv_local_open(&ctx, &conf, &b.kv);
    if (rc != RC_OK) {
        fprintf(stderr, "storepath: cannot open %s: %s\n", argv[1], rc_name(rc));
        return 1;
    }
    printf("open %.1f ms\n", (double)(clock_mono(&clock_system) - from) / 1e6);
    load_run(&b.load, deliver);
    load_print_groups(&counters);
    kv_close(&b.kv);
    log_free(&log);
    load_fini(&b.load);
    return 0;
}
