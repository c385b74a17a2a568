/* All rows of a range, page by page. A key outlives its page only as what the next one goes on
 * from, so what is held is one page, however many there are. */
#include "kv/kv.h"

#include <string.h>

void kv_walk_begin(struct kv_walk *walk, struct kv *kv, struct kv_part part, struct kv_range range,
                   unsigned flags)
{
    *walk = (struct kv_walk){
        .page.has_more = true, .kv = kv, .part = part, .range = range, .flags = flags};
}

static enum rc next_page(struct kv_walk *w)
{
    if (w->page.n > 0) {
        struct str key = w->page.rows[w->page.n - 1].key;
        memcpy(w->last, key.p, key.n);
        w->range.after = str_from(w->last, key.n);
    }
    struct kv_page page;
    w->page.n = w->at = 0;
    arena_reset(&w->arena);
    TRY(kv_scan(w->kv, w->part, w->range, 0, w->flags, &w->arena, &page));
    w->page = page;
    return RC_OK;
}

enum rc kv_walk_next(struct kv_walk *w, struct kv_row *out)
{
    while (w->at == w->page.n) {
        if (!w->page.has_more)
            return RC_EOF;
        TRY(next_page(w));
    }
    *out = w->page.rows[w->at++];
    return RC_OK;
}

void kv_walk_end(struct kv_walk *w)
{
    arena_fini(&w->arena);
}
