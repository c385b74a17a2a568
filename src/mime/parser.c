/* The push parser: bytes of a message in, the tree of its parts out, in one pass.
 *
 * It works by lines. What a line is shows in its first MIME_HEAD bytes; only these are kept when a
 * line comes in pieces, beside the one header field that is being read and the boundaries of open
 * multiparts. The rest of a line is counted, or added to the open field.
 *
 * 1. The tree depends on the bytes alone, never on how they were cut.
 * 2. `current` is the innermost open part; the open parts are it and its ancestors. A level stands
 *    for each open multipart whose close delimiter has not come.
 * 3. While a header or body is open, header_lines or body_lines of the part hold the number of
 * lines before it.
 * 4. A header block never exceeds its limits: it ends before the line that would break one.
 *
 * Never looks back at bytes fed before, never fails. [RFC2045] [RFC2046 5] [RFC5322 2] */
#include "base/mem.h"
#include "mime/mime_int.h"

#include <stdlib.h>
#include <string.h>

const struct mime_limits mime_limits_default = {
    .depth = 50,
    .parts = 1000,
    .header_fields = 1000,
    .header_size = 256 * 1024,
    .field_size = 16 * 1024,
    .kept = 256 * 1024,
};

enum state {
    IN_HEADER,
    IN_BODY,
    IN_DELIMITER /* the rest of a delimiter line; a part begins behind it */
};

enum field { FIELD_NONE, FIELD_OTHER, FIELD_RECEIVED, FIELD_TYPE, FIELD_ENCODING };

struct mime_level {
    uint32_t part;
    uint32_t last_child;
    bool is_digest;
    size_t begin, n; /* its boundary, in `boundaries` */
};

/* ---- Parts ---- */

static struct mime_part *current_part(struct mime_parser *p)
{
    return &p->tree.parts[p->current];
}

/* Opens a part below the current one, its header beginning at `begin`. */
static void part_open(struct mime_parser *p, uint64_t begin, uint64_t lines)
{
    struct mime_tree *t = &p->tree;
    uint32_t i = t->n_parts++;
    t->parts = mem_array(t->parts, &p->parts_capacity, t->n_parts, sizeof *t->parts);
    uint16_t depth = p->current == MIME_NONE ? 0 : (uint16_t)(current_part(p)->depth + 1);
    t->parts[i] = (struct mime_part){.header_begin = begin,
                                     .header_lines = lines,
                                     .parent = p->current,
                                     .first_child = MIME_NONE,
                                     .next = MIME_NONE,
                                     .depth = depth,
                                     .kept_begin = (uint32_t)buf_len(&t->kept)};
    p->current = i;
    p->state = IN_HEADER;
    p->field = FIELD_NONE;
    p->is_kept = false;
    p->body_kind = MIME_LEAF;
    p->is_digest = p->is_encoded = false;
    p->n_boundary = 0;
}

/* Closes the current part and its ancestors below `until`: their bodies end at `end`, with `lines`
 * line ends before. A body never ends before it begins, nor before the parts in it do: an empty
 * line right before a delimiter belongs to both the header and the delimiter. */
static void parts_close(struct mime_parser *p, uint32_t until, uint64_t end, uint64_t lines)
{
    while (p->current != until) {
        struct mime_part *part = current_part(p);
        if (end < part->body_begin) {
            end = part->body_begin;
            lines = part->body_lines;
        }
        part->body_end = end;
        part->body_lines = lines - part->body_lines;
        p->current = part->parent;
    }
}

static void levels_cut(struct mime_parser *p, size_t n)
{
    if (n < p->n_levels)
        buf_truncate(&p->boundaries, p->levels[n].begin);
    p->n_levels = n;
}

static void part_make_opaque(struct mime_parser *p, uint32_t flag)
{
    p->tree.flags |= flag;
    current_part(p)->is_opaque = true;
}

/* ---- Bodies ---- */

static void multipart_open(struct mime_parser *p)
{
    struct mime_part *part = current_part(p);
    if (p->n_boundary == 0) {
        part_make_opaque(p, MIME_NO_BOUNDARY);
        return;
    }
    if (part->depth >= p->limits.depth) {
        part_make_opaque(p, MIME_OVER_DEPTH);
        return;
    }
    part->kind = MIME_MULTIPART;
    p->levels = mem_array(p->levels, &p->levels_capacity, p->n_levels + 1, sizeof *p->levels);
    p->levels[p->n_levels++] = (struct mime_level){.part = p->current,
                                                   .last_child = MIME_NONE,
                                                   .is_digest = p->is_digest,
                                                   .begin = buf_len(&p->boundaries),
                                                   .n = p->n_boundary};
    buf_put(&p->boundaries, str_from(p->boundary, p->n_boundary)); /* has no cap of its own */
}

static void message_open(struct mime_parser *p, uint64_t begin, uint64_t lines)
{
    struct mime_part *part = current_part(p);
    if (p->is_encoded)
        part_make_opaque(p, 0);
    else if (part->depth >= p->limits.depth)
        part_make_opaque(p, MIME_OVER_DEPTH);
    else if (p->tree.n_parts >= p->limits.parts)
        part_make_opaque(p, MIME_OVER_PARTS);
    else {
        part->kind = MIME_MESSAGE;
        part->first_child = p->tree.n_parts;
        part_open(p, begin, lines);
    }
}

static bool is_below_digest(struct mime_parser *p)
{
    const struct mime_part *part = current_part(p);
    const struct mime_level *l = p->n_levels ? &p->levels[p->n_levels - 1] : NULL;
    return l && l->is_digest && l->part == part->parent;
}

/* ---- Header fields ---- */

static enum field field_of(struct str name)
{
    if (str_ieq(name, STR("Received")))
        return FIELD_RECEIVED;
    if (str_ieq(name, STR("Content-Type")))
        return FIELD_TYPE;
    return str_ieq(name, STR("Content-Transfer-Encoding")) ? FIELD_ENCODING : FIELD_OTHER;
}

/* The open field has more bytes; one that does not fit is not kept at all. */
static void keep(struct mime_parser *p, struct str bytes)
{
    if (!p->is_kept || buf_add(&p->tree.kept, bytes) == RC_OK)
        return;
    buf_truncate(&p->tree.kept, p->kept_field);
    p->tree.flags |= MIME_OVER_KEPT;
    p->is_kept = false;
}

static struct mime_slice slice_of(const struct mime_parser *p, struct str s)
{
    uint64_t at = s.n ? (uint64_t)(s.p - buf_str(&p->value).p) : 0;
    return (struct mime_slice){s.n ? p->value_begin + at : 0, (uint32_t)s.n};
}

/* Copies the boundary as it is meant. White space cannot be its end [RFC2046 5.1.1]. */
static void boundary_read(struct mime_parser *p, const struct mime_param *param)
{
    struct buf out;
    buf_init(&out, MIME_BOUNDARY_MAX);
    if (mime_unquote(param, &out) != RC_OK) {
        part_make_opaque(p, MIME_OVER_BOUNDARY);
    } else {
        struct str b = buf_str(&out);
        while (b.n && mime_is_wsp(b.p[b.n - 1]))
            b.n--;
        if (b.n)
            memcpy(p->boundary, b.p, b.n);
        p->n_boundary = b.n;
    }
    buf_fini(&out);
}

static void type_read(struct mime_parser *p, struct mime_part *part)
{
    struct mime_type type;
    struct mime_param param;
    if (part->type.n || mime_type_read(buf_str(&p->value), &type) != RC_OK)
        return;
    part->type = slice_of(p, type.type);
    part->subtype = slice_of(p, type.subtype);
    if (str_ieq(type.type, STR("message"))) {
        if (str_ieq(type.subtype, STR("rfc822")) || str_ieq(type.subtype, STR("global")))
            p->body_kind = MIME_MESSAGE; /* [RFC2046 5.2.1] [RFC6532 3.7] */
        return;
    }
    if (!str_ieq(type.type, STR("multipart")))
        return;
    p->body_kind = MIME_MULTIPART;
    p->is_digest = str_ieq(type.subtype, STR("digest"));
    while (part->boundary.n == 0 && mime_param_next(&type.params, &param)) {
        if (str_ieq(param.name, STR("boundary"))) {
            part->boundary = slice_of(p, param.value);
            boundary_read(p, &param);
        }
    }
}

static void encoding_read(struct mime_parser *p, struct mime_part *part)
{
    struct str word, params;
    if (part->encoding.n || mime_word_read(buf_str(&p->value), &word, &params) != RC_OK)
        return;
    part->encoding = slice_of(p, word);
    p->is_encoded = str_ieq(word, STR("base64")) || str_ieq(word, STR("quoted-printable"));
}

/* The open field is complete. */
static void field_end(struct mime_parser *p)
{
    struct mime_part *part = current_part(p);
    bool fits = p->n_value <= p->limits.field_size;
    enum field field = p->field;
    p->field = FIELD_NONE;
    p->is_kept = false;
    if (field == FIELD_NONE)
        return;
    part->n_fields++;
    if (field == FIELD_RECEIVED && p->current == 0)
        p->tree.n_received++;
    else if ((field == FIELD_TYPE || field == FIELD_ENCODING) && !fits)
        part_make_opaque(p, MIME_OVER_FIELD);
    else if (field == FIELD_TYPE)
        type_read(p, part);
    else if (field == FIELD_ENCODING)
        encoding_read(p, part);
}

static void field_begin(struct mime_parser *p, struct str name, uint64_t value_begin)
{
    p->field = (uint8_t)field_of(name);
    p->field_line = p->line_begin;
    p->value_begin = value_begin;
    p->n_value = p->n_value_done = 0;
    buf_clear(&p->value);
    p->is_kept = p->keeps && mime_summary_field(name) != MIME_FIELD_OTHER;
    p->kept_field = buf_len(&p->tree.kept);
}

static void field_add(struct mime_parser *p, struct str bytes)
{
    if (p->field != FIELD_TYPE && p->field != FIELD_ENCODING)
        return;
    p->n_value += bytes.n;
    if (p->n_value <= p->limits.field_size)
        buf_put(&p->value, bytes);
}

/* ---- Headers ---- */

/* The header block ends at `end`, with `lines` line ends before. */
static void header_end(struct mime_parser *p, uint64_t end, uint64_t lines)
{
    field_end(p);
    struct mime_part *part = current_part(p);
    part->kept_n = (uint32_t)buf_len(&p->tree.kept) - part->kept_begin;
    part->body_begin = end;
    part->header_lines = lines - part->header_lines;
    part->body_lines = lines;
    p->state = IN_BODY;
    if (part->type.n == 0 && is_below_digest(p))
        p->body_kind = MIME_MESSAGE; /* [RFC2046 5.1.5] */
    if (part->is_opaque)
        return;
    if (p->body_kind == MIME_MULTIPART)
        multipart_open(p);
    else if (p->body_kind == MIME_MESSAGE)
        message_open(p, end, lines);
}

/* The line at hand is no longer header: it would break a limit. */
static void header_stop(struct mime_parser *p, uint32_t flag)
{
    part_make_opaque(p, flag);
    header_end(p, p->line_begin, p->tree.lines);
}

static bool header_is_full(struct mime_parser *p, uint64_t end)
{
    return end - current_part(p)->header_begin > p->limits.header_size;
}

/* As header_stop; the field loses what it has of this line. */
static void header_stop_full(struct mime_parser *p)
{
    if (p->field_line == p->line_begin)
        p->field = FIELD_NONE;
    p->n_value = p->n_value_done;
    buf_truncate(&p->value, p->n_value);
    buf_truncate(&p->tree.kept, p->kept_line);
    header_stop(p, MIME_OVER_HEADER);
}

/* A line in a header block. False: the block ended before it, and it still has to be dealt with. */
static bool header_line(struct mime_parser *p, struct str head)
{
    size_t name = 0, colon = 0;
    enum mime_line kind = mime_line_kind(head, &name, &colon);
    bool is_first = p->line_begin == current_part(p)->header_begin;
    bool is_header = kind == MIME_LINE_BLANK || kind == MIME_LINE_FIELD ||
                     (kind == MIME_LINE_FOLD && p->field != FIELD_NONE) ||
                     (kind == MIME_LINE_MBOX && is_first);
    if (!is_header) {
        p->tree.flags |= MIME_NO_BLANK;
        header_end(p, p->line_begin, p->tree.lines);
        return false;
    }
    if (kind != MIME_LINE_FOLD)
        field_end(p);
    p->n_value_done = p->n_value;
    p->kept_line = buf_len(&p->tree.kept);
    if (header_is_full(p, p->line_begin + head.n)) {
        header_stop_full(p);
    } else if (kind == MIME_LINE_BLANK) {
        header_end(p, p->line_begin + head.n, p->tree.lines + 1);
    } else if (kind == MIME_LINE_FIELD && current_part(p)->n_fields >= p->limits.header_fields) {
        header_stop(p, MIME_OVER_FIELDS);
    } else if (kind == MIME_LINE_FIELD) {
        field_begin(p, str_head(head, name), p->line_begin + colon + 1);
        field_add(p, str_skip(head, colon + 1));
        keep(p, head);
    } else {
        field_add(p, head);
        keep(p, head);
    }
    return true;
}

/* ---- Delimiters ---- */

/* What follows a boundary in the line: nothing but padding, perhaps after "--" [RFC2046 5.1.1]. */
static bool is_exact(struct str after)
{
    if (str_starts(after, STR("--")))
        after = str_skip(after, 2);
    return after.n == 0 || mime_is_wsp(after.p[0]) || after.p[0] == '\r' || after.p[0] == '\n';
}

/* Whether the line is a delimiter of an open multipart. Beginning with the boundary is enough
 * [RFC2046 5.1.1]; where several match, an exact one wins over a prefix, the longer prefix over the
 * shorter, and then the inner over the outer. */
static bool delimiter_find(struct mime_parser *p, struct str head, size_t *out_level,
                           bool *out_is_close)
{
    if (p->n_levels == 0 || !str_starts(head, STR("--")))
        return false;
    struct str line = str_skip(head, 2);
    size_t best = 0; /* length of the boundary */
    for (size_t i = p->n_levels; i-- > 0;) {
        struct str b = str_sub(buf_str(&p->boundaries), p->levels[i].begin, p->levels[i].n);
        struct str after = str_skip(line, b.n);
        if (!str_starts(line, b) || (!is_exact(after) && b.n <= best))
            continue;
        best = b.n;
        *out_level = i;
        *out_is_close = str_starts(after, STR("--"));
        if (is_exact(after))
            break;
    }
    return best > 0;
}

/* The line at hand is a delimiter of that level. */
static void delimiter_take(struct mime_parser *p, size_t level, bool is_close)
{
    uint64_t lines = p->tree.lines;
    while (p->state == IN_HEADER) {
        p->tree.flags |= MIME_NO_BLANK;
        header_end(p, p->line_begin, lines);
    }
    if (!is_close && p->tree.n_parts >= p->limits.parts) {
        p->tree.flags |= MIME_OVER_PARTS;
        p->is_stopped = true;
        return;
    }
    uint32_t multipart = p->levels[level].part;
    parts_close(p, multipart, p->line_begin - p->line_end, lines - (p->line_end > 0));
    if (p->n_levels > level + 1)
        p->tree.flags |= MIME_NO_CLOSE;
    if (is_close) {
        levels_cut(p, level);
        return;
    }
    levels_cut(p, level + 1);
    struct mime_level *l = &p->levels[level];
    uint32_t i = p->tree.n_parts;
    if (l->last_child == MIME_NONE)
        p->tree.parts[multipart].first_child = i;
    else
        p->tree.parts[l->last_child].next = i;
    l->last_child = i;
    part_open(p, p->line_begin, lines); /* the beginning is put right at the end of the line */
    p->state = IN_DELIMITER;
}

/* ---- Lines ---- */

/* A line's whole, or its first MIME_HEAD bytes. */
static void line_begin(struct mime_parser *p, struct str head)
{
    size_t level = 0;
    bool is_close = false;
    if (p->is_stopped)
        return;
    if (delimiter_find(p, head, &level, &is_close)) {
        delimiter_take(p, level, is_close);
        return;
    }
    while (p->state == IN_HEADER && !header_line(p, head))
        ;
}

/* More of a line. */
static void line_more(struct mime_parser *p, struct str bytes)
{
    if (p->state != IN_HEADER)
        return;
    if (header_is_full(p, p->offset + bytes.n)) {
        header_stop_full(p);
    } else {
        field_add(p, bytes);
        keep(p, bytes);
    }
}

/* The first part or the delimiter line is over: a header begins at the next byte. */
static void header_begin(struct mime_parser *p)
{
    current_part(p)->header_begin = p->offset;
    current_part(p)->header_lines = p->tree.lines;
    p->state = IN_HEADER;
}

/* The line's LF has been passed. */
static void line_end(struct mime_parser *p, bool is_crlf)
{
    p->tree.lines++;
    p->tree.bare_lf += !is_crlf;
    p->line_end = is_crlf ? 2 : 1;
    p->line_begin = p->offset;
    p->in_rest = false;
    if (p->state == IN_DELIMITER)
        header_begin(p);
}

/* ---- Feeding: each takes bytes off the front and says how many ---- */

static size_t feed_rest(struct mime_parser *p, struct str s)
{
    ptrdiff_t lf = str_find_byte(s, '\n');
    struct str piece = lf < 0 ? s : str_head(s, (size_t)lf + 1);
    line_more(p, piece);
    p->offset += piece.n;
    if (lf >= 0)
        line_end(p, lf > 0 ? s.p[lf - 1] == '\r' : p->last_is_cr);
    else
        p->last_is_cr = s.p[s.n - 1] == '\r';
    return piece.n;
}

/* Lines of a body that can be no delimiters; the fast way through most of a message. */
static size_t feed_body(struct mime_parser *p, struct str s)
{
    bool has_delimiters = p->n_levels > 0 && !p->is_stopped;
    const char *at = s.p, *end = s.p + s.n;
    while (at < end && !(*at == '-' && has_delimiters)) {
        const char *lf = memchr(at, '\n', (size_t)(end - at));
        const char *next = lf ? lf + 1 : end;
        p->offset += (uint64_t)(next - at);
        if (lf) {
            line_end(p, lf > at && lf[-1] == '\r');
        } else {
            p->in_rest = true;
            p->last_is_cr = end[-1] == '\r';
        }
        at = next;
    }
    return (size_t)(at - s.p);
}

static size_t feed_line(struct mime_parser *p, struct str s)
{
    struct str head = str_head(s, MIME_HEAD - p->n_head);
    ptrdiff_t lf = str_find_byte(head, '\n');
    if (lf >= 0)
        head.n = (size_t)lf + 1;
    size_t taken = head.n;
    bool is_enough = lf >= 0 || p->n_head + taken == MIME_HEAD;
    if (p->n_head || !is_enough) {
        memcpy(p->head + p->n_head, head.p, taken);
        p->n_head += taken;
        head = str_from(p->head, p->n_head);
    }
    if (is_enough) {
        line_begin(p, head);
        p->n_head = 0;
    }
    p->offset += taken;
    if (lf >= 0) {
        line_end(p, head.n > 1 && head.p[head.n - 2] == '\r');
    } else if (is_enough) {
        p->in_rest = true;
        p->last_is_cr = head.p[head.n - 1] == '\r';
    }
    return taken;
}

void mime_feed(struct mime_parser *p, struct str bytes)
{
    while (bytes.n) {
        size_t n = 0;
        if (p->in_rest)
            n = feed_rest(p, bytes);
        else if (p->state == IN_BODY && p->n_head == 0)
            n = feed_body(p, bytes);
        if (n == 0)
            n = feed_line(p, bytes);
        bytes = str_skip(bytes, n);
    }
}

/* ---- Lifecycle ---- */

void mime_init(struct mime_parser *p, const struct mime_limits *limits)
{
    memset(p, 0, offsetof(struct mime_parser, boundary));
    p->n_head = 0;
    p->limits = limits ? *limits : mime_limits_default;
    if (p->limits.depth > UINT16_MAX)
        p->limits.depth = UINT16_MAX;
    if (p->limits.parts == 0)
        p->limits.parts = 1;
    p->current = MIME_NONE;
    buf_init(&p->boundaries, SIZE_MAX); /* bounded by depth */
    buf_init(&p->value, p->limits.field_size);
    buf_init(&p->tree.kept, p->limits.kept);
    part_open(p, 0, 0);
}

void mime_keep(struct mime_parser *p)
{
    p->keeps = true;
}

void mime_fini(struct mime_parser *p)
{
    mime_tree_fini(&p->tree);
    free(p->levels);
    p->levels = NULL;
    buf_fini(&p->boundaries);
    buf_fini(&p->value);
}

void mime_finish(struct mime_parser *p, struct mime_tree *out)
{
    if (p->n_head)
        line_begin(p, str_from(p->head, p->n_head));
    if (p->state == IN_DELIMITER)
        header_begin(p);
    while (p->state == IN_HEADER)
        header_end(p, p->offset, p->tree.lines);
    parts_close(p, MIME_NONE, p->offset, p->tree.lines);
    if (p->n_levels && !p->is_stopped)
        p->tree.flags |= MIME_NO_CLOSE;
    p->tree.size = p->offset;
    *out = p->tree;
    p->tree = (struct mime_tree){0};
}

bool mime_is_header_done(const struct mime_parser *p)
{
    return p->tree.n_parts > 1 || p->state != IN_HEADER;
}

uint32_t mime_received(const struct mime_parser *p)
{
    return p->tree.n_received;
}
