/* Fuzz target: transfer encodings undone. Aborts when what is decoded depends on how the input was
 * cut or on how much room there was, is longer than the input, or when the decoder does not move
 * on. */
#include "fuzz/fuzz.h"
#include "mime/decode.h"

static bool decode(enum mime_encoding encoding, struct str in, size_t step, size_t room,
                   struct buf *all)
{
    struct mime_decoder d;
    struct buf out;
    buf_init(&out, MIME_HELD + 3 + room);
    mime_decode_begin(&d, encoding);
    while (in.n) {
        struct str piece = str_head(in, step);
        in = str_skip(in, step);
        size_t before = piece.n + 1;
        while (mime_decode(&d, &piece, &out) == RC_AGAIN) {
            FUZZ_DEMAND(piece.n < before || buf_len(&out) > 0);
            before = piece.n;
            buf_put(all, buf_str(&out));
            buf_clear(&out);
        }
        FUZZ_DEMAND(piece.n == 0);
    }
    buf_put(all, buf_str(&out));
    buf_clear(&out);
    FUZZ_DEMAND(mime_decode_end(&d, &out) == RC_OK);
    buf_put(all, buf_str(&out));
    buf_fini(&out);
    return d.is_damaged;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str in = str_from(data, size);
    size_t seed = size ? data[size / 2] : 0;
    for (enum mime_encoding e = MIME_IDENTITY; e <= MIME_QUOTED_PRINTABLE; e++) {
        struct buf whole, cut;
        buf_init(&whole, size + 1000);
        buf_init(&cut, size + 1000);
        bool is_damaged = decode(e, in, size, size + 1, &whole);
        FUZZ_DEMAND(decode(e, in, seed % 7 + 1, seed / 7 + 1, &cut) == is_damaged);
        FUZZ_DEMAND(str_eq(buf_str(&whole), buf_str(&cut)));
        FUZZ_DEMAND(!whole.over && buf_len(&whole) <= size);
        buf_fini(&whole);
        buf_fini(&cut);
    }
    return 0;
}
