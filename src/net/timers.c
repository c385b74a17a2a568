/* Timers of one loop: a binary heap by time. Invariant: heap[t->place] == t for each timer that is
 * set. */
#include "net/net_int.h"

#include "base/mem.h"

#include <stdlib.h>

static void put(struct timers *t, size_t place, struct net_timer *timer)
{
    t->heap[place] = timer;
    timer->place = place;
}

static void sift_up(struct timers *t, struct net_timer *timer, size_t place)
{
    while (place > 1 && t->heap[place / 2]->at > timer->at) {
        put(t, place, t->heap[place / 2]);
        place /= 2;
    }
    put(t, place, timer);
}

static void sift_down(struct timers *t, struct net_timer *timer, size_t place)
{
    for (;;) {
        size_t child = place * 2;
        if (child > t->n)
            break;
        if (child < t->n && t->heap[child + 1]->at < t->heap[child]->at)
            child++;
        if (t->heap[child]->at >= timer->at)
            break;
        put(t, place, t->heap[child]);
        place = child;
    }
    put(t, place, timer);
}

void timers_fini(struct timers *t)
{
    free(t->heap);
    *t = (struct timers){0};
}

void timers_set(struct timers *t, struct net_timer *timer, uint64_t at)
{
    timers_cancel(t, timer);
    t->heap = mem_array(t->heap, &t->size, t->n + 2, sizeof *t->heap);
    timer->at = at;
    t->n++;
    sift_up(t, timer, t->n);
}

void timers_cancel(struct timers *t, struct net_timer *timer)
{
    size_t place = timer->place;
    if (!place)
        return;
    timer->place = 0;
    struct net_timer *last = t->heap[t->n--];
    if (last == timer)
        return;
    if (place > 1 && t->heap[place / 2]->at > last->at)
        sift_up(t, last, place);
    else
        sift_down(t, last, place);
}

struct net_timer *timers_first(const struct timers *t)
{
    return t->n ? t->heap[1] : NULL;
}
