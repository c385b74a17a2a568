/* Queue items by the time when they are due: a binary heap, since their waits differ. Invariant:
 * heap[w->place] == w for each that is in it. */
#include "deliver/deliver_int.h"

#include "base/mem.h"

#include <stdlib.h>

static void put(struct later *l, size_t place, struct waiting *w)
{
    l->heap[place] = w;
    w->place = place;
}

static void sift_up(struct later *l, struct waiting *w, size_t place)
{
    for (; place > 1 && l->heap[place / 2]->due > w->due; place /= 2)
        put(l, place, l->heap[place / 2]);
    put(l, place, w);
}

static void sift_down(struct later *l, struct waiting *w, size_t place)
{
    for (size_t child = place * 2; child <= l->n; child = place * 2) {
        if (child < l->n && l->heap[child + 1]->due < l->heap[child]->due)
            child++;
        if (l->heap[child]->due >= w->due)
            break;
        put(l, place, l->heap[child]);
        place = child;
    }
    put(l, place, w);
}

void later_add(struct later *l, struct waiting *w, uint64_t due)
{
    l->heap = mem_array(l->heap, &l->size, l->n + 2, sizeof(struct waiting *));
    w->due = due;
    sift_up(l, w, ++l->n);
}

void later_remove(struct later *l, struct waiting *w)
{
    size_t place = w->place;
    struct waiting *last = l->heap[l->n--];
    w->place = 0;
    if (last == w)
        return;
    if (place > 1 && l->heap[place / 2]->due > last->due)
        sift_up(l, last, place);
    else
        sift_down(l, last, place);
}

struct waiting *later_first(const struct later *l)
{
    return l->n ? l->heap[1] : NULL;
}

void later_fini(struct later *l)
{
    free(l->heap);
    *l = (struct later){0};
}
