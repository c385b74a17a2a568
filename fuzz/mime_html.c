/* Fuzz target: HTML to text. Aborts when the text depends on how the input was cut, is longer than
 * the input, or when bytes that were UTF-8 no longer are. */
#include "base/utf8.h"
#include "fuzz/cut.h"
#include "mime/html.h"

static void read_html(struct str in, size_t step, struct buf *out)
{
    struct mime_html h;
    bool was_utf8 = utf8_is_valid(in);
    size_t n = in.n;
    mime_html_begin(&h);
    for (; in.n; in = str_skip(in, step))
        FUZZ_DEMAND(mime_html(&h, str_head(in, step), out) == RC_OK);
    FUZZ_DEMAND(mime_html_end(&h, out) == RC_OK);
    FUZZ_DEMAND(buf_len(out) <= n);
    FUZZ_DEMAND(!was_utf8 || utf8_is_valid(buf_str(out)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_cut(data, size, 2 * size + 1000, read_html);
    return 0;
}
