/* One item of one message, written into the output [RFC3501 7.4.2] [RFC9051 7.5.2] [RFC3516 4.3].
 *
 * Invariants: an item is written when its value is known to be there, or not at all; so what cannot
 * be read is missing from an answer that is well formed. Nothing is longer than a page at once:
 * what is goes on as a stream. Numbers, dates and flags are written without printf. */
#include "imap/fetch_int.h"

#include "base/utf8.h"

#include <string.h>

enum {
    BEGIN_MAX = 40, /* "* 4294967295 UIDFETCH (" */
    NUMBER_MAX = 20,
    LITERAL_MAX = NUMBER_MAX + 5, /* "~{" "}" CRLF */
    SYSTEM_FLAGS = 2 * STORE_DRAFT - 1
};

static char *put_bytes(char *to, struct str s)
{
    memcpy(to, s.p, s.n);
    return to + s.n;
}

static char *put_number(char *to, uint64_t n)
{
    char digits[NUMBER_MAX];
    size_t at = sizeof digits;
    do
        digits[--at] = (char)('0' + n % 10);
    while (n /= 10);
    return put_bytes(to, str_from(digits + at, sizeof digits - at));
}

/* Where the item's value goes, with room for it; NULL: there is none. */
static char *begin(struct imap_fetch *f, struct buf *out, struct str label, size_t room)
{
    char *to = buf_reserve(out, BEGIN_MAX + label.n + room);
    if (!to)
        return NULL;
    if (f->has_begun) {
        *to++ = ' ';
    } else {
        to = put_bytes(to, STR("* "));
        to = put_number(to, f->is_uidonly ? f->row->uid : (uint64_t)f->indices[f->at] + 1);
        to = put_bytes(to, f->is_uidonly ? STR(" UIDFETCH (") : STR(" FETCH ("));
    }
    return put_bytes(to, label);
}

static enum rc end(struct imap_fetch *f, struct buf *out, const char *to)
{
    buf_commit(out, (size_t)(to - (out->mem + out->to)));
    f->has_begun = true;
    return RC_OK;
}

static enum rc put_value(struct imap_fetch *f, struct buf *out, struct str label, struct str value)
{
    char *to = begin(f, out, label, value.n);
    return to ? end(f, out, put_bytes(to, value)) : RC_LIMIT;
}

static enum rc put_number_item(struct imap_fetch *f, struct buf *out, struct str label, uint64_t n)
{
    char *to = begin(f, out, label, NUMBER_MAX);
    return to ? end(f, out, put_number(to, n)) : RC_LIMIT;
}

/* --- what the row says ------------------------------------------------------------------------ */

static enum rc put_uid(struct conn *c, struct imap_session *s, struct imap_fetch *f,
                       const struct imap_fetch_item *item)
{
    return put_number_item(f, net_out(c), item->label, f->row->uid);
}

/* Of the message as BODY[] gives it [RFC9051 2.3.4]. */
static enum rc put_size(struct conn *c, struct imap_session *s, struct imap_fetch *f,
                        const struct imap_fetch_item *item)
{
    return put_number_item(f, net_out(c), item->label, f->row->size);
}

static enum rc put_date(struct conn *c, struct imap_session *s, struct imap_fetch *f,
                        const struct imap_fetch_item *item)
{
    char *to = begin(f, net_out(c), item->label, IMAP_DATE_TIME);
    return to ? end(f, net_out(c), imap_put_date_time(to, f->row->received)) : RC_LIMIT;
}

/* When it came into this mailbox, whatever its date is [RFC8514 3, 4.2]. */
static enum rc put_save_date(struct conn *c, struct imap_session *s, struct imap_fetch *f,
                             const struct imap_fetch_item *item)
{
    char *to = begin(f, net_out(c), item->label, IMAP_DATE_TIME);
    return to ? end(f, net_out(c), imap_put_date_time(to, f->row->saved)) : RC_LIMIT;
}

/* A message and its copies are one email [RFC8474 5.1]. */
static enum rc put_email_id(struct conn *c, struct imap_session *s, struct imap_fetch *f,
                            const struct imap_fetch_item *item)
{
    char *to = begin(f, net_out(c), item->label, NUMBER_MAX + 3);
    if (!to)
        return RC_LIMIT;
    to = put_number(put_bytes(to, STR("(M")), f->row->email);
    *to++ = ')';
    return end(f, net_out(c), to);
}

/* Of a message that has it, and its copies, always the same [RFC8474 5.2]. */
static enum rc put_thread_id(struct conn *c, struct imap_session *s, struct imap_fetch *f,
                             const struct imap_fetch_item *item)
{
    if (!f->threads[f->at])
        return RC_CORRUPT;
    char *to = begin(f, net_out(c), item->label, NUMBER_MAX + 3);
    if (!to)
        return RC_LIMIT;
    to = put_number(put_bytes(to, STR("(T")), f->threads[f->at]);
    *to++ = ')';
    return end(f, net_out(c), to);
}

/* Most messages have one of a few sets of flags. */
static struct str flags_text(struct imap_session *s, struct imap_fetch *f, uint32_t flags)
{
    struct str *text = &f->flag_texts[flags & SYSTEM_FLAGS];
    if (!text->p) {
        struct store_row row = {.flags = flags};
        struct buf made = {.cap = 256};
        imap_put_flags(s, &made, &row);
        *text = arena_dup(&s->arena, buf_str(&made));
        buf_fini(&made);
    }
    return *text;
}

static enum rc put_flags_as(struct conn *c, struct imap_session *s, struct imap_fetch *f,
                            struct str label)
{
    if (!f->row->keywords)
        return put_value(f, net_out(c), label, flags_text(s, f, f->row->flags));
    TRY(put_value(f, net_out(c), label, STR("")));
    imap_put_flags(s, net_out(c), f->row);
    return RC_OK;
}

static enum rc put_flags(struct conn *c, struct imap_session *s, struct imap_fetch *f,
                         const struct imap_fetch_item *item)
{
    return put_flags_as(c, s, f, item->label);
}

static enum rc put_modseq_as(struct imap_fetch *f, struct buf *out, struct str label)
{
    char *to = begin(f, out, label, NUMBER_MAX + 2);
    if (!to)
        return RC_LIMIT;
    *to++ = '(';
    to = put_number(to, f->row->modseq);
    *to++ = ')';
    return end(f, out, to);
}

static enum rc put_modseq(struct conn *c, struct imap_session *s, struct imap_fetch *f,
                          const struct imap_fetch_item *item)
{
    return put_modseq_as(f, net_out(c), item->label);
}

/* What no command has asked for: flags that have changed by it [RFC3501 6.4.5] [RFC9051 6.4.5], and
 * what belongs to them, as to a message that is new [RFC7162 3.2.4]. */
enum rc imap_fetch_put_unasked(struct conn *c, struct imap_session *s, struct imap_fetch *f)
{
    const struct imap_fetch_program *program = &f->program;
    bool has_all = !(s->enabled & IMAP_EN_CONDSTORE);
    if (f->is_changed && !program->has_flags)
        TRY(put_flags_as(c, s, f, STR("FLAGS ")));
    if (!has_all && !program->has_uid && !f->is_uidonly)
        TRY(put_number_item(f, net_out(c), STR("UID "), f->row->uid));
    if (!has_all && !program->has_modseq)
        TRY(put_modseq_as(f, net_out(c), STR("MODSEQ ")));
    return RC_OK;
}

/* --- what its summary says -------------------------------------------------------------------- */

/* What IMAP4rev1 does not show of it [RFC9051 7.5.2]; not kept. */
static enum rc make_rev2(const struct imap_session *s, struct imap_fetch *f)
{
    struct imap_body *b = &f->body;
    if (!f->is_kept)
        f->summary = (struct str){0};
    buf_clear(&b->summary);
    TRY(mime_summary_rev2(&b->tree, s->imap->conf.charsets, &b->summary));
    bool is_good = mime_summary_read(buf_str(&b->summary), &f->envelope, &f->structure);
    return is_good ? RC_OK : RC_CORRUPT;
}

/* Makes the summary of a message that has none, and leaves it for those who come later. */
static enum rc make_summary(struct conn *c, struct imap_session *s, struct imap_fetch *f)
{
    struct imap_body *b = &f->body;
    TRY(imap_body_open(c, s, f->indices[f->at], b));
    TRY(imap_body_parse(c, b));
    buf_init(&b->summary, MIME_SUMMARY_MAX);
    TRY(mime_summary(&b->tree, &b->summary));
    if (!mime_summary_read(buf_str(&b->summary), &f->envelope, &f->structure))
        return RC_CORRUPT;
    if (!f->is_kept) {
        f->summary = buf_str(&b->summary);
        /* Where it cannot be kept it is made anew each time. */
        (void)store_summary_put(s->account, f->row->email, f->summary);
    }
    bool is_more = s->enabled & IMAP_EN_REV2 && mime_structure_has_rev2(f->structure);
    return is_more ? make_rev2(s, f) : RC_OK;
}

static enum rc need_summary(struct conn *c, struct imap_session *s, struct imap_fetch *f)
{
    return f->envelope.p ? RC_OK : make_summary(c, s, f);
}

enum rc imap_fetch_need_summary(struct conn *c, struct imap_session *s, struct imap_fetch *f)
{
    return f->summary.p ? RC_OK : make_summary(c, s, f);
}

static enum rc put_text(struct imap_fetch *f, struct buf *out, struct str label, struct str text)
{
    if (text.n <= IMAP_FETCH_SHORT)
        return put_value(f, out, label, text);
    TRY(put_value(f, out, label, STR("")));
    f->stream = IMAP_FETCH_TEXT;
    f->text = text;
    return RC_OK;
}

static enum rc put_envelope(struct conn *c, struct imap_session *s, struct imap_fetch *f,
                            const struct imap_fetch_item *item)
{
    TRY(need_summary(c, s, f));
    return put_text(f, net_out(c), item->label, f->envelope);
}

static enum rc put_structure(struct conn *c, struct imap_session *s, struct imap_fetch *f,
                             const struct imap_fetch_item *item)
{
    TRY(need_summary(c, s, f));
    return put_text(f, net_out(c), item->label, f->structure);
}

static enum rc put_short_body(struct imap_fetch *f, struct buf *out, struct str label)
{
    size_t before = buf_len(out);
    bool had_begun = f->has_begun;
    TRY(put_value(f, out, label, STR("")));
    enum rc rc = mime_structure_to_body(f->structure, out);
    if (rc != RC_OK) {
        buf_truncate(out, before);
        f->has_begun = had_begun;
    }
    return rc;
}

static enum rc put_body(struct conn *c, struct imap_session *s, struct imap_fetch *f,
                        const struct imap_fetch_item *item)
{
    struct buf *text = &f->body.text;
    TRY(need_summary(c, s, f));
    if (f->structure.n <= IMAP_FETCH_SHORT)
        return put_short_body(f, net_out(c), item->label);
    buf_fini(text);
    buf_init(text, f->structure.n);
    TRY(mime_structure_to_body(f->structure, text));
    return put_text(f, net_out(c), item->label, buf_str(text));
}

/* Always there, but for those who are in a hurry [RFC8970 3.2, 4.1]. In UTF-8, and a literal for
 * who does not take that in quoted strings. */
static enum rc put_preview(struct conn *c, struct imap_session *s, struct imap_fetch *f,
                           const struct imap_fetch_item *item)
{
    struct buf *out = net_out(c);
    enum rc rc = imap_fetch_need_preview(c, s, f, item->is_lazy);
    if (rc == RC_NOTFOUND)
        return put_value(f, out, item->label, STR("NIL"));
    TRY(rc);
    TRY(put_value(f, out, item->label, STR("")));
    if (imap_has_utf8(s) && !utf8_is_ascii(f->preview))
        imap_put_utf8(out, f->preview);
    else
        imap_put_nstring(out, f->preview);
    return RC_OK;
}

/* --- what its bytes say ----------------------------------------------------------------------- */

static void take_partial(const struct imap_fetch_item *item, uint64_t *begin, uint64_t *n)
{
    uint64_t from = item->from < *n ? item->from : *n; /* beyond the end: nothing */
    *begin += from;
    *n -= from;
    if (item->most && item->most < *n)
        *n = item->most;
}

static enum rc put_nil(struct imap_fetch *f, struct buf *out, const struct imap_fetch_item *item)
{
    return put_value(f, out, item->label, STR("NIL"));
}

static enum rc put_literal(struct imap_fetch *f, struct buf *out, struct str label, uint64_t n,
                           bool is_binary)
{
    char *to = begin(f, out, label, LITERAL_MAX);
    if (!to)
        return RC_LIMIT;
    to = put_bytes(to, is_binary ? STR("~{") : STR("{"));
    to = put_number(to, n);
    return end(f, out, put_bytes(to, STR("}\r\n")));
}

/* A literal and the first page of its bytes, or nothing. Bytes that are no text are a literal8, and
 * only of BINARY [RFC3501 4.3.1] [RFC9051 4.3.1]. */
static enum rc put_stream(struct conn *c, struct imap_fetch *f, const struct imap_fetch_item *item,
                          enum imap_fetch_stream stream, uint64_t n)
{
    struct buf *out = net_out(c);
    size_t before = buf_len(out);
    bool had_begun = f->has_begun;
    bool is_binary = stream != IMAP_FETCH_TEXT && f->body.counted == item && f->body.has_nul;
    enum rc rc = put_literal(f, out, item->label, n, is_binary);
    f->stream = stream;
    f->left = n;
    if (rc == RC_OK)
        rc = n ? imap_fetch_put_page(c, f) : RC_EOF;
    if (rc == RC_OK)
        return RC_OK;
    f->stream = IMAP_FETCH_NO_STREAM;
    if (rc == RC_EOF)
        return RC_OK;
    buf_truncate(out, before);
    f->has_begun = had_begun;
    return rc;
}

static enum rc put_section(struct conn *c, struct imap_session *s, struct imap_fetch *f,
                           const struct imap_fetch_item *item)
{
    uint64_t to;
    TRY(imap_body_open(c, s, f->indices[f->at], &f->body));
    enum rc rc = imap_body_section(c, &f->body, item, &f->from, &to);
    if (rc == RC_NOTFOUND)
        return put_nil(f, net_out(c), item);
    TRY(rc);
    uint64_t n = to - f->from;
    take_partial(item, &f->from, &n);
    if (n > IMAP_FETCH_PAGE &&
        imap_damage_is_known(s->imap, store_account_id(s->account), f->row->email))
        return RC_CORRUPT;
    return put_stream(c, f, item, IMAP_FETCH_RANGE, n);
}

static enum rc put_fields(struct conn *c, struct imap_session *s, struct imap_fetch *f,
                          const struct imap_fetch_item *item)
{
    TRY(imap_body_open(c, s, f->indices[f->at], &f->body));
    enum rc rc = imap_body_fields(c, &f->body, item);
    if (rc == RC_NOTFOUND)
        return put_nil(f, net_out(c), item);
    TRY(rc);
    uint64_t from = 0, n = buf_len(&f->body.text);
    take_partial(item, &from, &n);
    f->text = str_sub(buf_str(&f->body.text), (size_t)from, (size_t)n);
    return put_stream(c, f, item, IMAP_FETCH_TEXT, n);
}

static enum rc put_binary(struct conn *c, struct imap_session *s, struct imap_fetch *f,
                          const struct imap_fetch_item *item)
{
    struct imap_body *b = &f->body;
    TRY(imap_body_open(c, s, f->indices[f->at], b));
    enum rc rc = imap_body_count(c, b, item);
    if (rc == RC_NOTFOUND)
        return put_nil(f, net_out(c), item);
    TRY(rc);
    uint64_t from = 0, n = b->n_decoded;
    take_partial(item, &from, &n);
    bool is_identity = b->decoder.encoding == MIME_IDENTITY && b->n_decoded == b->end - b->begin;
    f->from = b->begin + from;
    f->skip = from;
    imap_body_rewind(b);
    return put_stream(c, f, item, is_identity ? IMAP_FETCH_RANGE : IMAP_FETCH_DECODED, n);
}

static enum rc put_binary_size(struct conn *c, struct imap_session *s, struct imap_fetch *f,
                               const struct imap_fetch_item *item)
{
    TRY(imap_body_open(c, s, f->indices[f->at], &f->body));
    enum rc rc = imap_body_count(c, &f->body, item);
    if (rc != RC_NOTFOUND)
        TRY(rc);
    return put_number_item(f, net_out(c), item->label, rc == RC_OK ? f->body.n_decoded : 0);
}

/* --- pages of streams ------------------------------------------------------------------------- */

static enum rc put_page_of_text(struct imap_fetch *f, struct buf *out)
{
    struct str page = str_head(f->text, IMAP_FETCH_PAGE);
    TRY(buf_add(out, page));
    f->text = str_skip(f->text, page.n);
    return f->text.n ? RC_OK : RC_EOF;
}

static enum rc put_page_of_range(struct conn *c, struct imap_fetch *f)
{
    size_t n = f->left < IMAP_FETCH_PAGE ? (size_t)f->left : IMAP_FETCH_PAGE;
    TRY(imap_body_read(c, &f->body, f->from, n, net_out(c)));
    f->from += n;
    f->left -= n;
    return f->left ? RC_OK : RC_EOF;
}

static enum rc put_page_decoded(struct conn *c, struct imap_fetch *f)
{
    enum rc rc = imap_body_decode(c, &f->body);
    if (rc != RC_OK)
        return rc == RC_EOF ? RC_CORRUPT : rc; /* it has been counted */
    struct str page = buf_str(&f->body.text);
    uint64_t skip = f->skip < page.n ? f->skip : page.n;
    page = str_skip(page, (size_t)skip);
    page = str_head(page, f->left < page.n ? (size_t)f->left : page.n);
    TRY(buf_add(net_out(c), page));
    f->skip -= skip;
    f->left -= page.n;
    return f->left ? RC_OK : RC_EOF;
}

enum rc imap_fetch_put_page(struct conn *c, struct imap_fetch *f)
{
    switch (f->stream) {
    case IMAP_FETCH_TEXT:
        return put_page_of_text(f, net_out(c));
    case IMAP_FETCH_RANGE:
        return put_page_of_range(c, f);
    case IMAP_FETCH_DECODED:
        return put_page_decoded(c, f);
    case IMAP_FETCH_NO_STREAM:
        break;
    }
    return RC_EOF;
}

/* --- the table -------------------------------------------------------------------------------- */

enum rc imap_fetch_put(struct conn *c, struct imap_session *s, struct imap_fetch *f,
                       const struct imap_fetch_item *item)
{
    static enum rc (*const put[IMAP_FETCH_KINDS])(struct conn * c, struct imap_session * s,
                                                  struct imap_fetch * f,
                                                  const struct imap_fetch_item *item) = {
        [IMAP_FETCH_UID] = put_uid,           [IMAP_FETCH_FLAGS] = put_flags,
        [IMAP_FETCH_INTERNALDATE] = put_date, [IMAP_FETCH_SIZE] = put_size,
        [IMAP_FETCH_MODSEQ] = put_modseq,     [IMAP_FETCH_SAVEDATE] = put_save_date,
        [IMAP_FETCH_EMAILID] = put_email_id,  [IMAP_FETCH_THREADID] = put_thread_id,
        [IMAP_FETCH_ENVELOPE] = put_envelope, [IMAP_FETCH_BODYSTRUCTURE] = put_structure,
        [IMAP_FETCH_BODY] = put_body,         [IMAP_FETCH_PREVIEW] = put_preview,
        [IMAP_FETCH_SECTION] = put_section,   [IMAP_FETCH_FIELDS] = put_fields,
        [IMAP_FETCH_BINARY] = put_binary,     [IMAP_FETCH_BINARY_SIZE] = put_binary_size,
    };
    return put[item->kind](c, s, f, item);
}
