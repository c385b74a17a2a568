/* A budget: a compare-and-swap loop on one atomic number. */
#include "base/budget.h"

void budget_init(struct budget *b, uint64_t limit)
{
    atomic_init(&b->used, 0);
    atomic_init(&b->limit, limit);
}

void budget_limit(struct budget *b, uint64_t limit)
{
    atomic_store_explicit(&b->limit, limit, memory_order_relaxed);
}

bool budget_take(struct budget *b, uint64_t n)
{
    uint64_t used = atomic_load_explicit(&b->used, memory_order_relaxed);
    uint64_t limit = atomic_load_explicit(&b->limit, memory_order_relaxed);
    do {
        if (n > limit || used > limit - n)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&b->used, &used, used + n, memory_order_relaxed,
                                                    memory_order_relaxed));
    return true;
}

void budget_give(struct budget *b, uint64_t n)
{
    atomic_fetch_sub_explicit(&b->used, n, memory_order_relaxed);
}

uint64_t budget_used(struct budget *b)
{
    return atomic_load_explicit(&b->used, memory_order_relaxed);
}
