/* Fuzz target: trees of messages. The input is ids, dates and subjects of a few messages. Aborts
 * when a message is not told exactly once, or parentheses do not match. */
#include "fuzz/fuzz.h"
#include "imap/sort_int.h"

#include <stdlib.h>
#include <string.h>

enum { ROWS = 64, IDS = 6, EACH = IDS + 2 };

static void demand_whole(const struct imap_threads *t, size_t n)
{
    bool is_told[ROWS] = {false};
    uint64_t depth = 0;
    FUZZ_DEMAND(t->n == n);
    for (size_t i = 0; i < n; i++) {
        const struct imap_thread_step *step = &t->steps[i];
        FUZZ_DEMAND(step->at < n && !is_told[step->at]);
        is_told[step->at] = true;
        FUZZ_DEMAND(step->closes <= depth && step->opens <= 2);
        depth = depth - step->closes + step->opens;
        FUZZ_DEMAND(depth > 0);
    }
    FUZZ_DEMAND(t->closes == depth);
}

struct counted {
    struct imap_thread_room room;
    size_t left; /* times */
};

static bool take(struct imap_thread_room *room, size_t bytes)
{
    struct counted *c = CONTAINER(room, struct counted, room);
    return c->left && c->left--;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct imap_thread_row rows[ROWS];
    static uint64_t ids[ROWS][IDS];
    size_t n = size / EACH < ROWS ? size / EACH : ROWS;
    for (size_t i = 0; i < n; i++) {
        const uint8_t *of = data + i * EACH;
        for (size_t k = 0; k < IDS; k++)
            ids[i][k] = of[k] % 48 + (k > 0);
        rows[i] = (struct imap_thread_row){.date = of[IDS] % 16,
                                           .subject = of[IDS + 1] % 8,
                                           .has_subject = of[IDS + 1] % 8 != 0,
                                           .is_reply = of[IDS + 1] & 8,
                                           .ids = (const char *)ids[i],
                                           .n_ids = of[IDS] / 16 % (IDS + 1)};
    }
    for (int kind = IMAP_THREAD_ORDEREDSUBJECT; kind <= IMAP_THREAD_REFS; kind++) {
        struct imap_threads threads;
        struct counted c = {{take}, size % 3}; /* so that there may be no room */
        if (imap_threads_make((enum imap_thread_kind)kind, rows, n, &c.room, &threads))
            demand_whole(&threads, n);
        else
            FUZZ_DEMAND(!c.left);
        free(threads.steps);
    }
    return 0;
}
