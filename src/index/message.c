/* A message's text into columns: what TEXT looks at, the values that HEADER looks at where those
 * are others, and the fields of the envelope.
 *
 * A message is read through one window; one that fits is read once. Between two looks at `stop`
 * there is one window at most. A message that cannot be read, now or ever, becomes "maybe". */
#include "index/block_int.h"

#include "base/mem.h"
#include "mime/fields.h"
#include "mime/summary.h"
#include "mime/text.h"

#include <stdlib.h>

enum {
    WINDOW = 256 << 10,
    FEED = 64 << 10,
    HEADER = 256 << 10, /* what HEADER looks at, at most */
    FOLDED = 64 << 10   /* text pulled at once */
};

struct source {
    const struct index_conf *conf;
    struct store_message *message;
    const atomic_bool *stop;
    struct index_columns *columns;
    uint64_t size, at; /* of the message; where the window begins */
    size_t n, room;
    char *window;
    struct mime_tree tree;
};

/* At least n bytes from `at`, or up to the end, in the window. */
static enum rc look(struct source *s, uint64_t at, size_t n)
{
    n = n < s->size - at ? n : (size_t)(s->size - at);
    if (at >= s->at && at + n <= s->at + s->n)
        return RC_OK;
    if (atomic_load(s->stop))
        return RC_EOF;
    if (s->room < n) {
        free(s->window);
        s->window = mem_alloc(n);
        s->room = n;
    }
    s->at = at;
    s->n = 0;
    TRY(store_message_read(s->message, at, s->window, n, 0, &s->n));
    return s->n == n ? RC_OK : RC_CORRUPT;
}

static struct str seen(const struct source *s, uint64_t at)
{
    return str_skip(str_from(s->window, s->n), (size_t)(at - s->at));
}

static enum rc parse(struct source *s, bool keeps)
{
    struct mime_parser parser;
    enum rc rc = RC_OK;
    mime_init(&parser, NULL);
    if (keeps)
        mime_keep(&parser);
    for (uint64_t at = 0; rc == RC_OK && at < s->size;) {
        rc = look(s, at, s->size <= WINDOW ? (size_t)s->size : FEED);
        if (rc != RC_OK)
            break;
        struct str bytes = seen(s, at);
        mime_feed(&parser, bytes);
        at += bytes.n;
    }
    mime_finish(&parser, &s->tree);
    mime_fini(&parser);
    return rc;
}

/* --- what there is to mark -------------------------------------------------------------------- */

static enum rc mark_text(struct source *s)
{
    struct mime_text text;
    struct buf folded = {.cap = FOLDED};
    bool is_stopped = false;
    enum rc rc = RC_OK;
    mime_text_init(&text, &s->tree, s->conf->charsets, MIME_TEXT_ALL);
    while (rc == RC_OK) {
        buf_clear(&folded);
        rc = mime_text_next(&text, str_from(s->window, s->n), s->at, &folded);
        index_columns_text(s->columns, buf_str(&folded));
        if (rc == RC_EOF || s->columns->is_too_long)
            break;
        if (rc == RC_AGAIN)
            rc = look(s, text.offset, text.wanted > FEED ? text.wanted : FEED);
        is_stopped = rc == RC_EOF;
    }
    mime_text_fini(&text);
    buf_fini(&folded);
    return is_stopped || (rc != RC_EOF && !s->columns->is_too_long) ? rc : RC_OK;
}

/* Where the fields end, from the first byte on. */
static size_t fields_end(struct str bytes)
{
    struct mime_field field;
    struct str rest = bytes;
    while (mime_header_next(&rest, &field))
        ;
    return bytes.n - rest.n;
}

static enum rc mark_values(struct source *s, struct str bytes)
{
    struct mime_field field;
    struct buf value = {0};
    enum rc rc = RC_OK;
    while (rc == RC_OK && mime_header_next(&bytes, &field)) {
        buf_clear(&value);
        value.cap = field.value.n * 48 + 1000;
        rc = mime_text_of_value(field.value, s->conf->charsets, &value);
        index_columns_field(s->columns, INDEX_TEXT);
        index_columns_text(s->columns, buf_str(&value));
    }
    buf_fini(&value);
    return rc;
}

/* The parser and HEADER see the same fields in nearly all messages; where they do not, what HEADER
 * sees is marked too. */
static enum rc mark_header(struct source *s)
{
    const struct mime_part *top = &s->tree.parts[0];
    if (!s->tree.n_parts)
        return RC_CORRUPT;
    TRY(look(s, 0, HEADER));
    struct str bytes = str_head(seen(s, 0), HEADER);
    uint64_t body = top->body_begin < bytes.n ? top->body_begin : bytes.n;
    size_t end = fields_end(bytes);
    if (top->header_begin == 0 && end <= body && fields_end(str_head(bytes, (size_t)body)) == end)
        return RC_OK;
    return mark_values(s, bytes);
}

static enum rc mark_fields(struct source *s, struct str summary)
{
    static const enum index_field fields[MIME_IN_FIELDS] = {
        [MIME_IN_SUBJECT] = INDEX_SUBJECT, [MIME_IN_FROM] = INDEX_FROM, [MIME_IN_TO] = INDEX_TO,
        [MIME_IN_CC] = INDEX_CC,           [MIME_IN_BCC] = INDEX_BCC,
    };
    struct buf values[MIME_IN_FIELDS], made = {.cap = MIME_SUMMARY_MAX};
    struct str envelope, structure;
    enum rc rc = RC_OK;
    for (unsigned i = 0; i < MIME_IN_FIELDS; i++)
        buf_init(&values[i], MIME_SUMMARY_MAX * 12);
    if (!mime_summary_read(summary, &envelope, &structure)) {
        rc = mime_summary(&s->tree, &made);
        if (rc == RC_OK && !mime_summary_read(buf_str(&made), &envelope, &structure))
            rc = RC_CORRUPT;
    }
    if (rc == RC_OK)
        rc = mime_fields_read(envelope, s->conf->charsets, values);
    for (unsigned i = 0; rc == RC_OK && i < MIME_IN_FIELDS; i++) {
        index_columns_field(s->columns, fields[i]);
        index_columns_text(s->columns, buf_str(&values[i]));
    }
    for (unsigned i = 0; i < MIME_IN_FIELDS; i++)
        buf_fini(&values[i]);
    buf_fini(&made);
    return rc;
}

static enum rc mark_all(struct source *s, struct str summary)
{
    TRY(mark_text(s));
    TRY(mark_header(s));
    return mark_fields(s, summary);
}

enum rc index_message_add(const struct index_conf *conf, struct store_message *message,
                          struct str summary, const atomic_bool *stop, struct index_columns *c)
{
    struct source s = {.conf = conf,
                       .message = message,
                       .stop = stop,
                       .columns = c,
                       .size = store_message_size(message)};
    struct str envelope, structure;
    enum rc rc = parse(&s, !mime_summary_read(summary, &envelope, &structure));
    if (rc == RC_OK)
        rc = mark_all(&s, summary);
    mime_tree_fini(&s.tree);
    free(s.window);
    return rc;
}
