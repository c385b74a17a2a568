/* Fuzz target: the text of a message, folding, looking. The input is a message. Aborts when the
 * text depends on the window that the message is seen through or on the room there is, is no UTF-8,
 * is not folded, or when a piece of it is not found in it. */
#include "base/utf8.h"
#include "fuzz/charsets.h"
#include "fuzz/fuzz.h"
#include "mime/text.h"

static void read_text(const struct mime_tree *tree, const struct mime_charsets *charsets,
                      struct str m, size_t window, struct buf *all)
{
    struct mime_text t;
    struct buf out;
    enum rc rc = RC_OK;
    uint64_t at = 0;
    mime_text_init(&t, tree, charsets, MIME_TEXT_ALL);
    buf_init(&out, 60 + window);
    while (rc != RC_EOF) {
        size_t n = window > t.wanted ? window : t.wanted;
        rc = mime_text_next(&t, str_head(str_skip(m, at), n), at, &out);
        FUZZ_DEMAND(t.offset >= at);
        FUZZ_DEMAND(rc == RC_EOF || t.offset > at || buf_len(&out) > 0 || t.wanted > n);
        at = t.offset;
        buf_put(all, buf_str(&out));
        buf_clear(&out);
    }
    mime_text_fini(&t);
    buf_fini(&out);
}

static void check_found(struct str text, struct str needle, size_t step)
{
    struct mime_match m;
    bool is_found = false;
    if (mime_match_begin(&m, needle) != RC_OK)
        return;
    for (; text.n; text = str_skip(text, step))
        is_found = mime_match(&m, str_head(text, step));
    FUZZ_DEMAND(is_found || needle.n == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str m = str_from(data, size);
    const struct mime_charsets *charsets = charsets_made();
    struct mime_tree tree;
    struct buf whole, cut, again;
    size_t seed = size ? data[size / 2] : 0;
    mime_parse(m, NULL, &tree);
    buf_init(&whole, size * 40 + 100000);
    buf_init(&cut, size * 40 + 100000);
    buf_init(&again, size * 80 + 100000);
    read_text(&tree, charsets, m, size * 40 + 1000, &whole);
    read_text(&tree, charsets, m, seed + 1, &cut);
    struct str text = buf_str(&whole);
    FUZZ_DEMAND(!whole.over && str_eq(text, buf_str(&cut)));
    FUZZ_DEMAND(utf8_is_valid(text));
    if (utf8_is_ascii(text)) /* what has been decomposed may have a title case of its own */
        FUZZ_DEMAND(mime_fold(text, &again) == RC_OK && str_eq(text, buf_str(&again)));
    check_found(text, str_sub(text, text.n / 3, seed), seed % 7 + 1);
    buf_clear(&again);
    FUZZ_DEMAND(mime_fold(m, &again) == RC_OK);
    buf_fini(&whole);
    buf_fini(&cut);
    buf_fini(&again);
    mime_tree_fini(&tree);
    return 0;
}
