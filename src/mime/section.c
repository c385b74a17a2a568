/* Sections of a message: part numbers to parts, parts to bytes [RFC3501 6.4.5] [RFC9051 6.4.5].
 *
 * A message is a part that has the numbers of its parts to itself: the message fetched, and the one
 * in each message/rfc822 part. When it is a multipart its parts are numbered; otherwise its body is
 * part 1. Numbers of a multipart within go one level down; those of a message/rfc822 part are those
 * of the message in it. */
#include "mime/section.h"

/* The k-th child; MIME_NONE: there are fewer. */
static uint32_t child(const struct mime_tree *t, uint32_t part, uint32_t k)
{
    uint32_t c = t->parts[part].first_child;
    while (c != MIME_NONE && --k > 0)
        c = t->parts[c].next;
    return c;
}

/* Part k of the message that `part` is. */
static uint32_t part_of_message(const struct mime_tree *t, uint32_t part, uint32_t k)
{
    if (t->parts[part].kind == MIME_MULTIPART)
        return child(t, part, k);
    return k == 1 ? part : MIME_NONE;
}

static uint32_t part_of_part(const struct mime_tree *t, uint32_t part, uint32_t k)
{
    switch ((enum mime_kind)t->parts[part].kind) {
    case MIME_MULTIPART:
        return child(t, part, k);
    case MIME_MESSAGE:
        return part_of_message(t, t->parts[part].first_child, k);
    case MIME_LEAF:
        break;
    }
    return MIME_NONE;
}

enum rc mime_part_find(const struct mime_tree *t, const uint32_t *path, size_t n,
                       uint32_t *out_part)
{
    uint32_t part = 0;
    for (size_t i = 0; i < n && part != MIME_NONE; i++) {
        if (path[i] == 0)
            return RC_NOTFOUND;
        part = i == 0 ? part_of_message(t, part, path[i]) : part_of_part(t, part, path[i]);
    }
    if (part == MIME_NONE)
        return RC_NOTFOUND;
    *out_part = part;
    return RC_OK;
}

enum rc mime_section_find(const struct mime_tree *t, const uint32_t *path, size_t n,
                          enum mime_section section, uint64_t *out_begin, uint64_t *out_end)
{
    uint32_t i;
    TRY(mime_part_find(t, path, n, &i));
    const struct mime_part *part = &t->parts[i];
    bool is_within = n > 0 && (section == MIME_SECTION_HEADER || section == MIME_SECTION_TEXT);
    if ((n == 0 && section == MIME_SECTION_MIME) || (is_within && part->kind != MIME_MESSAGE))
        return RC_NOTFOUND;
    if (is_within)
        part = &t->parts[part->first_child];
    bool has_header = section != MIME_SECTION_TEXT && (section != MIME_SECTION_WHOLE || n == 0);
    bool has_body = section == MIME_SECTION_TEXT || section == MIME_SECTION_WHOLE;
    *out_begin = has_header ? part->header_begin : part->body_begin;
    *out_end = has_body ? part->body_end : part->body_begin;
    return RC_OK;
}

static bool is_named(struct str name, const struct str *names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (str_ieq(name, names[i]))
            return true;
    return false;
}

enum rc mime_header_select(struct str header, const struct str *names, size_t n, bool is_not,
                           struct buf *out)
{
    size_t before = buf_len(out);
    struct mime_field field;
    enum rc rc = RC_OK;
    while (rc == RC_OK && mime_header_next(&header, &field)) {
        if (is_named(field.name, names, n) == is_not)
            continue;
        rc = buf_add(out, field.whole);
        if (rc == RC_OK && field.whole.p[field.whole.n - 1] != '\n') /* the end of the message */
            rc = buf_add(out, STR("\r\n"));
    }
    if (rc == RC_OK)
        rc = buf_add(out, STR("\r\n"));
    if (rc != RC_OK)
        buf_truncate(out, before);
    return rc;
}
