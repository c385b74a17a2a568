/* Fuzz target: the reader of what comes after DATA. The input is what the peer sends, the first
 * byte says how it is cut. Aborts when the outcome depends on the cut, when the end is not the
 * first CRLF.CRLF, or when a message without faults is not what the rule of dots makes of it. */
#include "base/mem.h"
#include "fuzz/fuzz.h"
#include "smtp/smtp.h"

#include <string.h>

struct outcome {
    struct buf text;
    size_t used;
    unsigned faults;
    bool is_end;
};

static void read_cut(struct str in, size_t step, struct outcome *o)
{
    struct smtp_data d = {.line_max = 100};
    buf_init(&o->text, in.n + 1);
    o->used = 0;
    o->is_end = false;
    for (size_t i = 0; i < in.n && !o->is_end; i += step) {
        struct str slice = str_sub(in, i, step), rest = slice, piece;
        enum rc rc;
        while ((rc = smtp_data_next(&d, &rest, &piece)) == RC_OK) {
            FUZZ_DEMAND(piece.n > 0 && piece.p >= slice.p &&
                        piece.p + piece.n <= slice.p + slice.n);
            buf_put(&o->text, piece);
        }
        o->used += slice.n - rest.n;
        o->is_end = rc == RC_EOF;
        FUZZ_DEMAND(o->is_end || rest.n == 0);
    }
    o->faults = d.faults;
}

/* The rule said plainly, for a message without faults that has ended: without the dot that begins a
 * line [RFC5321 4.5.2]. */
static void demand_unstuffed(struct str in, const struct outcome *o)
{
    struct str text = str_head(in, o->used - 3), got = buf_str(&o->text);
    size_t n = 0;
    for (size_t i = 0; i < text.n; i++) {
        bool is_first = i == 0 || text.p[i - 1] == '\n';
        if (text.p[i] == '.' && is_first)
            continue;
        FUZZ_DEMAND(n < got.n && got.p[n] == text.p[i]);
        n++;
    }
    FUZZ_DEMAND(n == got.n);
}

static bool has_bare(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        bool after_cr = i > 0 && s.p[i - 1] == '\r', before_lf = i + 1 < s.n && s.p[i + 1] == '\n';
        if ((s.p[i] == '\n' && !after_cr) || (s.p[i] == '\r' && !before_lf) || s.p[i] == '\0')
            return true;
    }
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct str in = str_from(data + 1, size - 1);
    struct outcome whole, cut;
    read_cut(in, in.n, &whole);
    read_cut(in, data[0] % 64 + 1, &cut);
    FUZZ_DEMAND(whole.is_end == cut.is_end && whole.used == cut.used && whole.faults == cut.faults);
    if (whole.faults == 0)
        FUZZ_DEMAND(str_eq(buf_str(&whole.text), buf_str(&cut.text)));

    char *framed = mem_alloc(in.n + 2);
    memcpy(framed, "\r\n", 2);
    memcpy(framed + 2, in.p, in.n);
    ptrdiff_t end = str_find(str_from(framed, in.n + 2), STR("\r\n.\r\n"));
    FUZZ_DEMAND(whole.is_end == (end >= 0));
    if (whole.is_end) {
        FUZZ_DEMAND(whole.used == (size_t)end + 3);
        unsigned bytes = whole.faults & ~(unsigned)SMTP_DATA_LONG;
        FUZZ_DEMAND((bytes != 0) == has_bare(str_head(in, whole.used)));
        if (bytes == 0)
            demand_unstuffed(in, &whole);
    }
    free(framed);
    buf_fini(&whole.text);
    buf_fini(&cut.text);
    return 0;
}
