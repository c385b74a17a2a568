/* Fuzz target: sections of a message. The first byte says how many numbers of a path follow, the
 * rest is the message. Aborts when a section does not lie in the message, when header and text are
 * not the message beside each other, when a part found has no number that leads to it, or when
 * the two selections of a header are not the whole of it. */
#include "fuzz/fuzz.h"
#include "mime/section.h"

static void check_sections(const struct mime_tree *t, const uint32_t *path, size_t n)
{
    uint64_t at[4][2];
    bool is_there[4];
    for (enum mime_section s = MIME_SECTION_WHOLE; s <= MIME_SECTION_MIME; s++) {
        is_there[s] = mime_section_find(t, path, n, s, &at[s][0], &at[s][1]) == RC_OK;
        FUZZ_DEMAND(!is_there[s] || (at[s][0] <= at[s][1] && at[s][1] <= t->size));
    }
    FUZZ_DEMAND(is_there[MIME_SECTION_HEADER] == is_there[MIME_SECTION_TEXT]);
    if (!is_there[MIME_SECTION_HEADER])
        return;
    FUZZ_DEMAND(at[MIME_SECTION_HEADER][0] == at[MIME_SECTION_WHOLE][0]);
    FUZZ_DEMAND(at[MIME_SECTION_HEADER][1] == at[MIME_SECTION_TEXT][0]);
    FUZZ_DEMAND(at[MIME_SECTION_TEXT][1] == at[MIME_SECTION_WHOLE][1]);
}

static void check_part(const struct mime_tree *t, const uint32_t *path, size_t n)
{
    uint32_t part;
    if (mime_part_find(t, path, n, &part) != RC_OK)
        return;
    FUZZ_DEMAND(part < t->n_parts);
    if (n == 0 || part == 0)
        return;
    uint32_t above, at = 0;
    FUZZ_DEMAND(mime_part_find(t, path, n - 1, &above) == RC_OK);
    FUZZ_DEMAND(above < part);
    for (uint32_t i = 1; i <= path[n - 1]; i++) {
        uint32_t sibling[64];
        for (size_t k = 0; k < n; k++)
            sibling[k] = path[k];
        sibling[n - 1] = i;
        uint32_t found;
        FUZZ_DEMAND(mime_part_find(t, sibling, n, &found) == RC_OK);
        FUZZ_DEMAND(found > at);
        at = found;
    }
    FUZZ_DEMAND(at == part);
}

static void check_select(struct str header)
{
    static const struct str names[] = {STR_INIT("a"), STR_INIT("To")};
    struct mime_field field;
    struct buf with, without;
    size_t fields = 0, cut = 0;
    struct str rest = header;
    while (mime_header_next(&rest, &field)) {
        fields += field.whole.n;
        cut += field.whole.p[field.whole.n - 1] == '\n' ? 0 : 2;
    }
    buf_init(&with, header.n + 10);
    buf_init(&without, header.n + 10);
    FUZZ_DEMAND(mime_header_select(header, names, 2, false, &with) == RC_OK);
    FUZZ_DEMAND(mime_header_select(header, names, 2, true, &without) == RC_OK);
    FUZZ_DEMAND(buf_len(&with) + buf_len(&without) == fields + cut + 4);
    buf_fini(&with);
    buf_fini(&without);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str in = str_from(data, size);
    uint32_t path[8];
    size_t n = in.n ? (unsigned char)in.p[0] % 8 : 0;
    if (in.n < n + 1)
        return 0;
    for (size_t i = 0; i < n; i++)
        path[i] = (unsigned char)in.p[1 + i] % 16;
    in = str_skip(in, n + 1);
    struct mime_tree t;
    mime_parse(in, NULL, &t);
    check_sections(&t, path, n);
    check_part(&t, path, n);
    check_select(in);
    mime_tree_fini(&t);
    return 0;
}
