/* VANISHED: what is gone, by its UIDs [RFC7162 3.2.10]. */
#include "imap/imap_int.h"

enum { RANGES = 500 }; /* in one line */

static void put_range(struct buf *out, struct imap_vanished_line *l)
{
    imap_put_u64(out, l->from);
    if (l->to > l->from) {
        buf_put(out, STR(":"));
        imap_put_u64(out, l->to);
    }
}

void imap_vanished_end(struct buf *out, struct imap_vanished_line *l)
{
    if (!l->from)
        return;
    put_range(out, l);
    buf_put(out, STR("\r\n"));
    *l = (struct imap_vanished_line){.is_earlier = l->is_earlier};
}

void imap_vanished_add(struct buf *out, struct imap_vanished_line *l, uint32_t from, uint32_t to)
{
    if (l->from && l->to + 1 == from) {
        l->to = to;
        return;
    }
    if (l->from && l->n == RANGES)
        imap_vanished_end(out, l);
    if (!l->from) {
        buf_put(out, l->is_earlier ? STR("* VANISHED (EARLIER) ") : STR("* VANISHED "));
    } else {
        put_range(out, l);
        buf_put(out, STR(","));
    }
    l->from = from;
    l->to = to;
    l->n++;
}
