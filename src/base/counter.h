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

struct counters {
    _Atomic uint64_t value[COUNTER_COUNT];
};

void counter_add(struct counters *c, enum counter which, uint64_t n); /* c may be NULL */
void counter_sub(struct counters *c, enum counter which, uint64_t n);
void counter_set(struct counters *c, enum counter which, uint64_t n);
uint64_t counter_get(struct counters *c, enum counter which);

struct counter_info {
    const char *name, *help;
    bool is_gauge;
};
const struct counter_info *counter_info(enum counter which);

#endif
