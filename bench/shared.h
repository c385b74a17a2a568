/* What the benchmarks of the store have in common: threads that deliver in a closed loop for some
 * seconds, and what is printed of them. */
#ifndef BENCH_SHARED_H
#define BENCH_SHARED_H

#include "kv/kv.h"

#include <stdatomic.h>

struct load {
    const char *name; /* of the program, for messages */
    unsigned seconds, threads;
    size_t bytes; /* of a message */
    char *text;
    atomic_bool is_over;
    _Atomic uint64_t done, failed;
    uint32_t *latencies; /* in microseconds, of the first ones */
};

/* Arguments 2 to 4 are seconds, threads and kilobytes. */
void load_init(struct load *l, const char *name, int argc, char **argv);
void load_fini(struct load *l);
unsigned load_argument(int argc, char **argv, int i, unsigned fallback);

/* The path to open for a data folder, as its owner from now on: what root writes into a server's
 * folder the server could not read. NULL: it cannot be. */
const char *load_folder(const char *path);

/* Runs `deliver` in a closed loop on each thread, with a seed of the thread's own, and prints
 * deliveries a second, processor time a delivery (of the whole process) and latencies. */
void load_run(struct load *l, enum rc (*deliver)(struct load *l, uint64_t *seed));
void load_print_groups(struct counters *counters);

uint64_t load_random(uint64_t *seed);
/* A finished blob with the text. */
enum rc load_blob(const struct load *l, struct kv *kv, struct kv_part part,
                  struct kv_blob_id *out_id);

#endif
