/* The message that FETCH is at: its bytes in pages, its header, its tree, its parts decoded.
 *
 * Invariants: at most one page of the message, one header block and one summary are in memory,
 * whatever its size; the message is parsed at most once, and only as far as the items need: for its
 * header no further. Each function can be called again after RC_AGAIN and goes on where it was. On
 * a loop it answers so also when it has looked at much, on a worker when at very much: others wait.
 */
#include "imap/fetch_int.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum {
    WORK_LOOP = 1 << 20,    /* bytes to look at in one step */
    WORK_WORKER = 16 << 20, /* the same on a worker */
    /* What opening a message counts for; on a worker a slow disk may have to be waited for. */
    WORK_OPEN = 8 << 10,
    WORK_OPEN_WORKER = 128 << 10,
    NAMES_AT_ONCE = 16,    /* header fields that are looked for in the time that reading takes */
    TYPE_TEXT = 4,         /* the length of a type that is text */
    ENCODING_MAX = 1 << 10 /* of a Content-Transfer-Encoding's word */
};

void imap_body_close(struct imap_body *b)
{
    if (b->message)
        store_message_close(&b->message);
    if (b->is_parsing)
        mime_fini(&b->parser);
    if (b->has_tree)
        mime_tree_fini(&b->tree);
    b->window_n = 0;
    b->fed = 0;
    b->is_parsing = b->has_tree = false;
    b->counted = NULL;
    buf_fini(&b->text);
    buf_fini(&b->summary);
    buf_fini(&b->preview);
}

void imap_body_fini(struct imap_body *b)
{
    imap_body_close(b);
    free(b->window);
    b->window = NULL;
}

/* RC_AGAIN: enough for this step. */
static enum rc note_work(struct conn *c, struct imap_body *b, size_t n)
{
    if (b->work >= (net_can_block(c) ? WORK_WORKER : WORK_LOOP))
        return RC_AGAIN;
    if (net_can_block(c) && net_pending(c) & NET_EV_KICK)
        return RC_AGAIN;
    b->work += n;
    return RC_OK;
}

enum rc imap_body_open(struct conn *c, struct imap_session *s, size_t index, struct imap_body *b)
{
    if (b->message)
        return RC_OK;
    TRY(note_work(c, b, net_can_block(c) ? WORK_OPEN_WORKER : WORK_OPEN));
    TRY(imap_view_message(c, s, index, &b->message));
    b->size = store_message_size(b->message);
    return RC_OK;
}

/* --- bytes ------------------------------------------------------------------------------------ */

static enum rc read_some(struct conn *c, struct imap_body *b, uint64_t at, void *to, size_t n)
{
    size_t got;
    TRY(store_message_read(b->message, at, to, n, imap_flags(c), &got));
    return got == n ? RC_OK : RC_CORRUPT;
}

static struct str in_window(const struct imap_body *b, uint64_t at, size_t n)
{
    if (!b->window_n || at < b->window_at || at + n > b->window_at + b->window_n)
        return (struct str){0};
    return str_from(b->window + (at - b->window_at), n);
}

/* The bytes from `at`, as many as there are up to n; a view into the window. */
static enum rc look(struct conn *c, struct imap_body *b, uint64_t at, size_t n, struct str *out)
{
    if (n > b->size - at)
        n = (size_t)(b->size - at);
    *out = in_window(b, at, n);
    if (out->p)
        return RC_OK;
    TRY(note_work(c, b, n));
    if (!b->window)
        b->window = mem_alloc(IMAP_FETCH_PAGE);
    b->window_n = 0;
    TRY(read_some(c, b, at, b->window, n));
    b->window_at = at;
    b->window_n = n;
    *out = str_from(b->window, n);
    return RC_OK;
}

enum rc imap_body_read(struct conn *c, struct imap_body *b, uint64_t at, size_t n, struct buf *out)
{
    struct str there = in_window(b, at, n);
    if (there.p)
        return buf_add(out, there);
    char *to = buf_reserve(out, n);
    if (!to)
        return RC_LIMIT;
    TRY(read_some(c, b, at, to, n));
    buf_commit(out, n);
    return RC_OK;
}

enum rc imap_body_head(struct conn *c, struct imap_body *b, size_t most, struct str *out)
{
    size_t n = b->size < most ? (size_t)b->size : most;
    if (n <= IMAP_FETCH_PAGE)
        return look(c, b, 0, n, out);
    TRY(note_work(c, b, n));
    buf_fini(&b->text);
    buf_init(&b->text, n);
    TRY(imap_body_read(c, b, 0, n, &b->text));
    *out = buf_str(&b->text);
    return RC_OK;
}

/* --- looking at it ---------------------------------------------------------------------------- */

static void begin_parsing(struct imap_body *b)
{
    if (b->is_parsing)
        return;
    mime_init(&b->parser, NULL);
    if (b->keeps)
        mime_keep(&b->parser);
    b->is_parsing = true;
    b->fed = 0;
}

static enum rc feed(struct conn *c, struct imap_body *b, size_t most)
{
    struct str page;
    TRY(look(c, b, b->fed, most, &page));
    mime_feed(&b->parser, page);
    b->fed += page.n;
    return RC_OK;
}

enum rc imap_body_parse(struct conn *c, struct imap_body *b)
{
    if (b->has_tree)
        return RC_OK;
    begin_parsing(b);
    while (b->fed < b->size)
        TRY(feed(c, b, IMAP_FETCH_PAGE));
    mime_finish(&b->parser, &b->tree);
    mime_fini(&b->parser);
    b->is_parsing = false;
    b->has_tree = true;
    return RC_OK;
}

/* Where the message's own header ends. */
static enum rc find_header(struct conn *c, struct imap_body *b, uint64_t *out_end)
{
    if (!b->has_tree) {
        begin_parsing(b);
        while (b->fed < b->size && !mime_is_header_done(&b->parser))
            TRY(feed(c, b, IMAP_FETCH_HEAD));
        if (!mime_is_header_done(&b->parser))
            TRY(imap_body_parse(c, b)); /* nothing but a header */
    }
    *out_end = b->has_tree ? b->tree.parts[0].body_begin : b->parser.tree.parts[0].body_begin;
    return RC_OK;
}

enum rc imap_body_section(struct conn *c, struct imap_body *b, const struct imap_fetch_item *item,
                          uint64_t *out_begin, uint64_t *out_end)
{
    *out_begin = 0;
    *out_end = b->size;
    if (!item->n_path && item->section == MIME_SECTION_WHOLE)
        return RC_OK;
    if (!item->n_path && item->section == MIME_SECTION_HEADER)
        return find_header(c, b, out_end);
    if (!item->n_path && item->section == MIME_SECTION_TEXT)
        return find_header(c, b, out_begin);
    TRY(imap_body_parse(c, b));
    return mime_section_find(&b->tree, item->path, item->n_path, item->section, out_begin, out_end);
}

enum rc imap_body_fields(struct conn *c, struct imap_body *b, const struct imap_fetch_item *item)
{
    uint64_t begin, end;
    struct buf header;
    TRY(imap_body_section(c, b, item, &begin, &end));
    size_t n = (size_t)(end - begin); /* limited by the parser */
    TRY(note_work(c, b, n * (1 + item->n_names / NAMES_AT_ONCE)));
    struct str there = in_window(b, begin, n);
    buf_init(&header, n);
    enum rc rc = RC_OK;
    if (!there.p && n) {
        rc = imap_body_read(c, b, begin, n, &header);
        there = buf_str(&header);
    }
    buf_fini(&b->text);
    buf_init(&b->text, n + 4);
    if (rc == RC_OK)
        rc = mime_header_select(there, item->names, item->n_names, item->is_not, &b->text);
    buf_fini(&header);
    return rc;
}

/* --- parts decoded [RFC3516] ------------------------------------------------------------------ */

/* What has parts of its own is as it stands: it may not be encoded [RFC2045 6.4]; so is the message
 * as a whole, whose header says how its parts are. */
static enum rc find_encoding(struct conn *c, struct imap_body *b,
                             const struct imap_fetch_item *item, enum mime_encoding *out)
{
    uint32_t i;
    char word[ENCODING_MAX];
    *out = MIME_IDENTITY;
    if (!item->n_path)
        return RC_OK;
    TRY(mime_part_find(&b->tree, item->path, item->n_path, &i));
    const struct mime_part *part = &b->tree.parts[i];
    if (part->kind != MIME_LEAF || !part->encoding.n)
        return RC_OK;
    struct str there = in_window(b, part->encoding.begin, part->encoding.n);
    if (there.p)
        return mime_encoding_read(there, out);
    if (part->encoding.n > sizeof word)
        return RC_PERM;
    TRY(read_some(c, b, part->encoding.begin, word, part->encoding.n));
    return mime_encoding_read(str_from(word, part->encoding.n), out);
}

/* text/plain when nothing else is said. */
static enum rc find_type(struct conn *c, struct imap_body *b, const struct imap_fetch_item *item,
                         bool *out_is_text)
{
    uint32_t i;
    char word[TYPE_TEXT];
    *out_is_text = false;
    if (!item->n_path)
        return RC_OK;
    TRY(mime_part_find(&b->tree, item->path, item->n_path, &i));
    const struct mime_part *part = &b->tree.parts[i];
    *out_is_text = part->kind == MIME_LEAF && !part->type.n;
    if (part->kind != MIME_LEAF || part->type.n != TYPE_TEXT)
        return RC_OK;
    struct str there = in_window(b, part->type.begin, TYPE_TEXT);
    if (!there.p) {
        TRY(read_some(c, b, part->type.begin, word, TYPE_TEXT));
        there = str_from(word, TYPE_TEXT);
    }
    *out_is_text = str_ieq(there, STR("text"));
    return RC_OK;
}

void imap_body_rewind(struct imap_body *b)
{
    enum mime_encoding encoding = b->decoder.encoding;
    mime_decode_begin(&b->decoder, encoding);
    b->at = b->begin;
    b->ends_in_cr = false;
}

/* Lines that end with LF alone get their CR [RFC3516 4.3] [RFC9051 7.5.2]. What is there moves up
 * from its end, so that nothing is overwritten. */
static enum rc end_lines(struct imap_body *b)
{
    size_t n = buf_len(&b->text), bare = 0;
    const char *p = buf_str(&b->text).p;
    for (size_t i = 0; i < n; i++)
        bare += p[i] == '\n' && (i ? p[i - 1] != '\r' : !b->ends_in_cr);
    bool begins_behind_cr = b->ends_in_cr;
    if (n)
        b->ends_in_cr = p[n - 1] == '\r';
    if (!bare)
        return RC_OK;
    if (!buf_reserve(&b->text, bare))
        return RC_LIMIT;
    buf_commit(&b->text, bare);
    char *mem = b->text.mem + b->text.from;
    for (size_t i = n, to = n + bare; i--;) {
        mem[--to] = mem[i];
        if (mem[i] == '\n' && (i ? mem[i - 1] != '\r' : !begins_behind_cr))
            mem[--to] = '\r';
    }
    return RC_OK;
}

static enum rc decode(struct conn *c, struct imap_body *b)
{
    struct str page;
    size_t n = IMAP_FETCH_PAGE;
    if (b->at == UINT64_MAX)
        return RC_EOF;
    if (!b->text.mem) /* half of it is for CRs */
        buf_init(&b->text, 2 * (IMAP_FETCH_PAGE + 4 * MIME_HELD));
    buf_clear(&b->text);
    if (b->at == b->end) {
        b->at = UINT64_MAX;
        return mime_decode_end(&b->decoder, &b->text);
    }
    if (n > b->end - b->at)
        n = (size_t)(b->end - b->at);
    TRY(look(c, b, b->at, n, &page));
    enum rc rc = mime_decode(&b->decoder, &page, &b->text);
    if (rc == RC_AGAIN && page.n == n)
        return RC_LIMIT; /* cannot be: there was room */
    b->at += n - page.n;
    return RC_OK;
}

enum rc imap_body_decode(struct conn *c, struct imap_body *b)
{
    TRY(decode(c, b));
    return b->is_text ? end_lines(b) : RC_OK;
}

static enum rc begin_count(struct conn *c, struct imap_body *b, const struct imap_fetch_item *item)
{
    enum mime_encoding encoding;
    TRY(imap_body_section(c, b, item, &b->begin, &b->end));
    TRY(find_encoding(c, b, item, &encoding));
    TRY(find_type(c, b, item, &b->is_text));
    mime_decode_begin(&b->decoder, encoding);
    imap_body_rewind(b);
    b->n_decoded = 0;
    b->has_nul = b->is_counted = false;
    b->counted = item;
    return RC_OK;
}

enum rc imap_body_count(struct conn *c, struct imap_body *b, const struct imap_fetch_item *item)
{
    enum rc rc;
    if (b->counted != item) {
        buf_fini(&b->text);
        TRY(begin_count(c, b, item));
    }
    while (!b->is_counted && (rc = imap_body_decode(c, b)) != RC_EOF) {
        if (rc != RC_OK)
            return rc;
        struct str page = buf_str(&b->text);
        b->n_decoded += page.n;
        b->has_nul = b->has_nul || memchr(page.p, 0, page.n);
        if (b->has_nul && b->is_text) { /* such as UTF-16: its bytes are no lines */
            b->is_text = false;
            b->n_decoded = 0;
            imap_body_rewind(b);
        }
    }
    b->is_counted = true;
    return RC_OK;
}
