/* Fuzz target: looking for a string in a message without taking it apart. The first byte is how
 * long the string is, then comes the string, then the message. Aborts when what is found is not
 * what is found in the message's text. */
#include "fuzz/fuzz.h"
#include "imap/search_int.h"

static const struct mime_charsets *the_charsets(void)
{
    static struct mime_charsets *charsets;
    unsigned missing;
    if (!charsets)
        mime_charsets_new(&charsets, &missing);
    return charsets;
}

static bool is_in_text(struct str message, const struct mime_tree *tree, struct str needle,
                       enum mime_text_what what)
{
    struct mime_match match;
    struct mime_text text;
    struct buf out = {.cap = 8192};
    enum rc rc;
    FUZZ_DEMAND(mime_match_begin(&match, needle) == RC_OK);
    mime_text_init(&text, tree, the_charsets(), what);
    do {
        buf_clear(&out);
        rc = mime_text_next(&text, message, 0, &out);
        FUZZ_DEMAND(rc != RC_AGAIN);
        mime_match(&match, buf_str(&out));
    } while (rc == RC_OK);
    mime_text_fini(&text);
    buf_fini(&out);
    return match.is_found;
}

static void compare(struct str needle, struct str message, struct str header, struct str body)
{
    struct mime_tree tree;
    mime_parse(message, NULL, &tree);
    for (unsigned i = 0; i < 2; i++) {
        struct imap_search_key key = {.kind = i ? IMAP_SEARCH_TEXT : IMAP_SEARCH_BODY,
                                      .text = needle};
        imap_needle_init(&key.needle, needle);
        enum imap_search_answer answer = imap_search_plainly(&key, header, body);
        bool is_in = is_in_text(message, &tree, needle, i ? MIME_TEXT_ALL : MIME_TEXT_BODY);
        FUZZ_DEMAND(answer == IMAP_SEARCH_UNKNOWN || (answer == IMAP_SEARCH_YES) == is_in);
        FUZZ_DEMAND(i || answer != IMAP_SEARCH_UNKNOWN);
    }
    mime_tree_fini(&tree);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf needle = {.cap = MIME_NEEDLE_MAX};
    struct str header, body;
    if (size < 2 || data[0] == 0 || data[0] > 20 || data[0] + 1u > size)
        return 0;
    struct str raw = str_from(data + 1, data[0]);
    struct str message = str_from(data + 1 + data[0], size - 1 - data[0]);
    if (imap_search_is_simple(raw) && mime_fold(raw, &needle) == RC_OK &&
        imap_search_is_plain(message, &header, &body))
        compare(buf_str(&needle), message, header, body);
    buf_fini(&needle);
    return 0;
}
