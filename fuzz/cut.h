/* For targets whose parser must not care how its input was cut. */
#ifndef FUZZ_CUT_H
#define FUZZ_CUT_H

#include "base/buf.h"
#include "fuzz/fuzz.h"

/* Has the input, which the first byte says how to cut, read whole and in pieces; what the two say
 * has to be the same. */
static inline void fuzz_cut(const uint8_t *data, size_t size, size_t cap,
                            void (*read)(struct str in, size_t step, struct buf *out))
{
    if (size < 2)
        return;
    struct str in = str_from(data + 1, size - 1);
    struct buf whole = {.cap = cap}, cut = {.cap = cap};
    read(in, in.n, &whole);
    read(in, data[0] % 64 + 1, &cut);
    FUZZ_DEMAND(!whole.over && str_eq(buf_str(&whole), buf_str(&cut)));
    buf_fini(&whole);
    buf_fini(&cut);
}

#endif
