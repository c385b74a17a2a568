/* Counters: one atomic number for each row of counter.def, kept in a struct that the context hands
 * around. */
#ifndef BASE_COUNTER_H
#define BASE_COUNTER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum counter {
#define COUNTER(id, name, help) COUNTER_##id,
#define GAUGE(id, name, help)   COUNTER_##id,
#include "base/counter.def"
#undef COUNTER
#undef GAUGE
    COUNTER_COUNT
};

/* Distributions: how many values fell into each bucket. Bucket i holds those up to first << i, the
 * last one all that are larger. */
enum histogram {
#define HISTOGRAM(id, name, help, first, scale) HISTOGRAM_##id,
#include "base/histogram.def"
#undef HISTOGRAM
    HISTOGRAM_COUNT
};
enum { HISTOGRAM_BUCKETS = 17 };

struct counters {
    _Atomic uint64_t value[COUNTER_COUNT];
    struct {
        _Atomic uint64_t bucket[HISTOGRAM_BUCKETS], sum;
    } histogram[HISTOGRAM_COUNT];
};

void counter_add(struct counters *c, enum counter which, uint64_t n); /* c may be NULL */
void counter_sub(struct counters *c, enum counter which, uint64_t n);
void counter_set(struct counters *c, enum counter which, uint64_t n);
uint64_t counter_get(struct counters *c, enum counter which);

void histogram_add(struct counters *c, enum histogram which, uint64_t value); /* c may be NULL */

struct histogram_info {
    const char *name, *help;
    uint64_t first; /* upper bound of the first bucket, in the unit that is added */
    uint64_t
        scale; /* what of that unit makes one of the name's: 1,000,000,000 for ns and seconds */
};
const struct histogram_info *histogram_info(enum histogram which);

struct counter_info {
    const char *name, *help;
    bool is_gauge;
};
const struct counter_info *counter_info(enum counter which);

#endif
