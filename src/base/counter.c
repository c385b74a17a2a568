/* Counters: relaxed atomics, and the table of their names. */
#include "base/counter.h"

#include <stddef.h>

static const struct counter_info infos[COUNTER_COUNT] = {
#define COUNTER(id, name, help) [COUNTER_##id] = {name, help, false},
#define GAUGE(id, name, help)   [COUNTER_##id] = {name, help, true},
#include "base/counter.def"
#undef COUNTER
#undef GAUGE
};

void counter_add(struct counters *c, enum counter which, uint64_t n)
{
    if (c)
        atomic_fetch_add_explicit(&c->value[which], n, memory_order_relaxed);
}

void counter_sub(struct counters *c, enum counter which, uint64_t n)
{
    if (c)
        atomic_fetch_sub_explicit(&c->value[which], n, memory_order_relaxed);
}

void counter_set(struct counters *c, enum counter which, uint64_t n)
{
    if (c)
        atomic_store_explicit(&c->value[which], n, memory_order_relaxed);
}

uint64_t counter_get(struct counters *c, enum counter which)
{
    return c ? atomic_load_explicit(&c->value[which], memory_order_relaxed) : 0;
}

const struct counter_info *counter_info(enum counter which)
{
    return &infos[which];
}
