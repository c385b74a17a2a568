/* A budget: an amount that many threads take from and give back to, never exceeded. For memory in
 * flight, open connections and the like. */
#ifndef BASE_BUDGET_H
#define BASE_BUDGET_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct budget {
    _Atomic uint64_t used;
    _Atomic uint64_t limit;
};

void budget_init(struct budget *b, uint64_t limit);
bool budget_take(struct budget *b, uint64_t n);      /* false: nothing was taken */
void budget_limit(struct budget *b, uint64_t limit); /* from now on; what is taken stays */
void budget_give(struct budget *b, uint64_t n);
uint64_t budget_used(struct budget *b);

#endif
