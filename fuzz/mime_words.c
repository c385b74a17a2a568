/* Fuzz target: charsets and encoded words. The input's first byte chooses a charset, the rest is
 * text in it, a header value and an extended value. Aborts when what comes out is no UTF-8, or
 * depends on how the text was cut. */
#include "base/utf8.h"
#include "fuzz/charsets.h"
#include "fuzz/fuzz.h"
#include "mime/charset.h"

static const char *const names[] = {
    "utf-8",  "iso-8859-1", "koi8-r", "windows-1255", "windows-1258", "gb18030",
    "big5",   "shift_jis",  "euc-jp", "euc-kr",       "iso-2022-jp",  "utf-7",
    "utf-16", "utf-16le",   "utf-32", "unknown",
};

static void convert(const struct mime_charsets *charsets, struct str name, struct str in,
                    size_t step, struct buf *all)
{
    struct mime_converter c;
    struct buf out;
    buf_init(&out, 100 + step);
    (void)(mime_convert_begin(&c, charsets, name) == RC_OK);
    while (in.n) {
        struct str piece = str_head(in, step);
        in = str_skip(in, step);
        size_t before = piece.n + 1;
        while (mime_convert(&c, &piece, &out) == RC_AGAIN) {
            FUZZ_DEMAND(piece.n < before || buf_len(&out) > 0);
            before = piece.n;
            buf_put(all, buf_str(&out));
            buf_clear(&out);
        }
    }
    buf_put(all, buf_str(&out));
    buf_clear(&out);
    FUZZ_DEMAND(mime_convert_end(&c, &out) == RC_OK);
    buf_put(all, buf_str(&out));
    buf_fini(&out);
    mime_convert_fini(&c);
}

static void check_cut(const struct mime_charsets *charsets, struct str name, struct str in)
{
    struct buf whole, cut;
    size_t step = in.n ? (unsigned char)in.p[in.n / 2] % 13 + 1 : 1;
    buf_init(&whole, in.n * 10 + 100);
    buf_init(&cut, in.n * 10 + 100);
    convert(charsets, name, in, in.n + 1, &whole);
    convert(charsets, name, in, step, &cut);
    FUZZ_DEMAND(!whole.over && utf8_is_valid(buf_str(&whole)));
    FUZZ_DEMAND(str_eq(buf_str(&whole), buf_str(&cut)));
    buf_fini(&whole);
    buf_fini(&cut);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str in = str_from(data, size);
    const struct mime_charsets *charsets = charsets_made();
    struct buf out;
    if (in.n == 0)
        return 0;
    unsigned char choice = (unsigned char)in.p[0];
    in = str_skip(in, 1);
    check_cut(charsets, str_of(names[choice % (sizeof names / sizeof names[0])]), in);
    buf_init(&out, in.n * 10 + 200);
    FUZZ_DEMAND(mime_words_decode(in, charsets, &out) == RC_OK);
    FUZZ_DEMAND(utf8_is_valid(buf_str(&out)));
    buf_clear(&out);
    enum rc rc = mime_extended_decode(in, charsets, &out);
    FUZZ_DEMAND(rc == RC_OK ? utf8_is_valid(buf_str(&out)) : rc == RC_SYNTAX && buf_len(&out) == 0);
    buf_fini(&out);
    return 0;
}
