/* Fuzz target: a message on its way through DATA. The first byte says how it is cut. Aborts when
 * the outcome depends on the cut, when the reader of DATA gets another message out than went in, or
 * finds an end before the end; unless faults were told, with which nothing is sent. */
#include "base/buf.h"
#include "fuzz/fuzz.h"
#include "smtp/smtp.h"

static unsigned stuff(struct str in, size_t step, struct buf *out)
{
    struct smtp_stuff s = {0};
    struct str piece;
    for (size_t at = 0; at < in.n; at += step) {
        struct str part = str_sub(in, at, step);
        while (smtp_stuff_next(&s, &part, &piece) == RC_OK)
            buf_put(out, piece);
    }
    buf_put(out, smtp_stuff_end(&s));
    return s.faults;
}

static void read_back(struct str sent, struct buf *out)
{
    struct smtp_data d = {0};
    struct str piece;
    enum rc rc;
    while ((rc = smtp_data_next(&d, &sent, &piece)) == RC_OK)
        buf_put(out, piece);
    FUZZ_DEMAND(rc == RC_EOF && sent.n == 0 && (d.faults & ~(unsigned)SMTP_DATA_NUL) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    struct str in = str_from(data + 1, size - 1);
    struct buf whole = {.cap = 2 * size + 16}, cut = {.cap = 2 * size + 16};
    struct buf back = {.cap = 2 * size + 16};
    unsigned faults = stuff(in, in.n ? in.n : 1, &whole);
    FUZZ_DEMAND(faults == stuff(in, data[0] % 16 + 1, &cut));
    FUZZ_DEMAND(!whole.over && str_eq(buf_str(&whole), buf_str(&cut)));
    if (!faults) {
        read_back(buf_str(&whole), &back);
        FUZZ_DEMAND(str_eq(str_head(buf_str(&back), in.n), in));
        struct str added = str_skip(buf_str(&back), in.n);
        FUZZ_DEMAND(str_eq(added, in.n == 0 || str_ends(in, STR("\r\n")) ? STR("") : STR("\r\n")));
    }
    buf_fini(&whole);
    buf_fini(&cut);
    buf_fini(&back);
    return 0;
}
