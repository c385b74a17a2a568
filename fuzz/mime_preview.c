/* Fuzz target: the preview of a message. Aborts when it is too long, is no line of UTF-8, or is not
 * what its summary gives back. */
#include "base/utf8.h"
#include "fuzz/charsets.h"
#include "fuzz/fuzz.h"
#include "mime/preview.h"
#include "mime/summary.h"

static void check(struct str preview)
{
    size_t n = 0;
    FUZZ_DEMAND(utf8_is_valid(preview));
    FUZZ_DEMAND(!str_starts(preview, STR(" ")) && !str_ends(preview, STR(" ")));
    for (struct str rest = preview; rest.n; n++) {
        uint32_t c = utf8_take(&rest);
        FUZZ_DEMAND(c >= 0x20 && !(c >= 0x7f && c < 0xa0));
    }
    FUZZ_DEMAND(n <= MIME_PREVIEW_CHARACTERS);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str m = str_from(data, size), found;
    struct mime_tree tree;
    struct buf out, summary, with;
    mime_parse(m, NULL, &tree);
    buf_init(&out, MIME_PREVIEW_MAX);
    buf_init(&summary, MIME_SUMMARY_MAX);
    buf_init(&with, MIME_SUMMARY_MAX);
    mime_preview(&tree, m, charsets_made(), &out);
    FUZZ_DEMAND(!out.over);
    check(buf_str(&out));
    if (mime_summary_of(m, &summary) == RC_OK &&
        mime_summary_with_preview(buf_str(&summary), buf_str(&out), &with) == RC_OK)
        FUZZ_DEMAND(mime_summary_preview(buf_str(&with), &found) && str_eq(found, buf_str(&out)));
    if (mime_summary_with_preview(m, buf_str(&out), &with) == RC_OK) /* whatever is stored */
        FUZZ_DEMAND(!with.over);
    buf_fini(&out);
    buf_fini(&summary);
    buf_fini(&with);
    mime_tree_fini(&tree);
    return 0;
}
