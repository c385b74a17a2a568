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

static const struct histogram_info histograms[HISTOGRAM_COUNT] = {
#define HISTOGRAM(id, name, help, first, scale) [HISTOGRAM_##id] = {name, help, first, scale},
#include "base/histogram.def"
#undef HISTOGRAM
};

void histogram_add(struct counters *c, enum histogram which, uint64_t value)
{
    unsigned i = 0;
    if (!c)
        return;
    while (i < HISTOGRAM_BUCKETS - 1 && value > histograms[which].first << i)
        i++;
    atomic_fetch_add_explicit(&c->histogram[which].bucket[i], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&c->histogram[which].sum, value, memory_order_relaxed);
}

const struct histogram_info *histogram_info(enum histogram which)
{
    return &histograms[which];
}

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
