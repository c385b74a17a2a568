/* A budget: a compare-and-swap loop on one atomic number. */
#include "base/budget.h"

void budget_init(struct budget *b, uint64_t limit)
{
    atomic_init(&b->used, 0);
    b->limit = limit;
}

bool budget_take(struct budget *b, uint64_t n)
{
    uint64_t used = atomic_load_explicit(&b->used, memory_order_relaxed);
    do {
        if (n > b->limit || used > b->limit - n)
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
