/* Summaries: the texts of a message behind a format byte; BODY out of BODYSTRUCTURE.
 *
 * Format 2: the byte 2, three lengths of 4 bytes, ENVELOPE, BODYSTRUCTURE, the ids for threads.
 * Format 3 has a fourth text, the preview. Format 1, of release 0.1, has no third one. What is read
 * back may be damaged; nothing here trusts it. */
#include "mime/summary.h"

#include "base/bytes.h"
#include "mime/mime_int.h"

enum { FORMAT_1 = 1, FORMAT = 2, FORMAT_PREVIEW = 3 };
enum { PREFIX = 13, ADDRESSES_MAX = 10000, DEPTH_MAX = 1000 };

struct str mime_kept_of(const struct mime_tree *t, uint32_t part)
{
    const struct mime_part *p = &t->parts[part];
    return str_sub(buf_str(&t->kept), p->kept_begin, p->kept_n);
}

static enum rc put_summary(const struct mime_tree *t, bool is_rev2,
                           const struct mime_charsets *charsets, struct buf *out)
{
    size_t before = buf_len(out);
    bool was_over = out->over;
    struct mime_writer w = {
        .out = out, .n_addresses = ADDRESSES_MAX, .is_rev2 = is_rev2, .charsets = charsets};
    struct mime_facts facts;
    unsigned char prefix[PREFIX] = {FORMAT};
    buf_init(&w.text, MIME_SUMMARY_MAX);
    buf_init(&w.decoded, MIME_SUMMARY_MAX);
    mime_facts_read(mime_kept_of(t, 0), &facts);
    out->over = false;
    buf_put(out, str_from(prefix, PREFIX));
    mime_put_envelope(&w, &facts);
    size_t n_envelope = buf_len(out) - before - PREFIX;
    mime_put_structure(&w, t, &facts);
    size_t n_structure = buf_len(out) - before - PREFIX - n_envelope;
    mime_put_thread(&w, &facts);
    size_t n_thread = buf_len(out) - before - PREFIX - n_envelope - n_structure;
    bool is_whole = !out->over;
    out->over = was_over;
    buf_fini(&w.text);
    buf_fini(&w.decoded);
    if (!is_whole) {
        buf_truncate(out, before);
        return RC_LIMIT;
    }
    char *at = out->mem + out->from + before;
    put_u32(at + 1, (uint32_t)n_envelope);
    put_u32(at + 5, (uint32_t)n_structure);
    put_u32(at + 9, (uint32_t)n_thread);
    return RC_OK;
}

enum rc mime_summary(const struct mime_tree *t, struct buf *out)
{
    return put_summary(t, false, NULL, out);
}

enum rc mime_summary_rev2(const struct mime_tree *t, const struct mime_charsets *charsets,
                          struct buf *out)
{
    return put_summary(t, true, charsets, out);
}

/* Quoted, and in any case of letters, or a name that ends with '*'; where it is said of something
 * else, nothing is lost. */
bool mime_structure_has_rev2(struct str structure)
{
    static const struct str word = STR_INIT("\"global\"");
    for (size_t i = 0; i < structure.n; i++) {
        char next = i + 1 < structure.n ? structure.p[i + 1] : 0;
        if (structure.p[i] == '*' && (next == '"' || next == ' '))
            return true;
        if (structure.p[i] == '"' && str_istarts(str_skip(structure, i), word))
            return true;
    }
    return false;
}

struct texts {
    struct str envelope, structure;
    struct str thread, preview; /* absent where the format has none */
};

static struct str take_text(struct unpacker *r, size_t n, bool is_there)
{
    struct str text = unpack_bytes(r, n);
    return is_there ? str_from(text.p ? text.p : "", text.n) : (struct str){0};
}

static bool read_texts(struct str summary, struct texts *out)
{
    struct unpacker r;
    unpack_init(&r, summary);
    uint8_t format = unpack_u8(&r);
    uint32_t n_envelope = unpack_u32(&r), n_structure = unpack_u32(&r);
    uint32_t n_thread = format > FORMAT_1 ? unpack_u32(&r) : 0;
    uint32_t n_preview = format > FORMAT ? unpack_u32(&r) : 0;
    out->envelope = unpack_bytes(&r, n_envelope);
    out->structure = unpack_bytes(&r, n_structure);
    out->thread = take_text(&r, n_thread, format > FORMAT_1);
    out->preview = take_text(&r, n_preview, format > FORMAT);
    return unpack_done(&r) == RC_OK && format >= FORMAT_1 && format <= FORMAT_PREVIEW &&
           n_envelope > 0 && n_structure > 0;
}

bool mime_summary_read(struct str summary, struct str *out_envelope, struct str *out_structure)
{
    struct texts texts;
    bool is_good = read_texts(summary, &texts);
    *out_envelope = texts.envelope;
    *out_structure = texts.structure;
    return is_good;
}

bool mime_summary_thread(struct str summary, struct str *out)
{
    struct texts texts;
    bool is_good = read_texts(summary, &texts);
    *out = texts.thread;
    return is_good && out->p;
}

bool mime_summary_preview(struct str summary, struct str *out)
{
    struct texts texts;
    bool is_good = read_texts(summary, &texts);
    *out = texts.preview;
    return is_good && out->p;
}

enum rc mime_summary_with_preview(struct str summary, struct str preview, struct buf *out)
{
    struct texts t;
    unsigned char prefix[PREFIX + 4] = {FORMAT_PREVIEW};
    if (!read_texts(summary, &t) || !t.thread.p)
        return RC_CORRUPT;
    put_u32(prefix + 1, (uint32_t)t.envelope.n);
    put_u32(prefix + 5, (uint32_t)t.structure.n);
    put_u32(prefix + 9, (uint32_t)t.thread.n);
    put_u32(prefix + PREFIX, (uint32_t)preview.n);
    if (sizeof prefix + summary.n + preview.n > out->cap - buf_len(out))
        return RC_LIMIT;
    buf_put(out, str_from(prefix, sizeof prefix));
    buf_put(out, t.envelope);
    buf_put(out, t.structure);
    buf_put(out, t.thread);
    buf_put(out, preview);
    return RC_OK;
}

enum rc mime_summary_of(struct str message, struct buf *out)
{
    struct mime_parser p;
    struct mime_tree t;
    mime_init(&p, NULL);
    mime_keep(&p);
    mime_feed(&p, message);
    mime_finish(&p, &t);
    mime_fini(&p);
    enum rc rc = mime_summary(&t, out);
    mime_tree_fini(&t);
    return rc;
}

/* ---- BODY ---- */

static size_t quoted_length(struct str s)
{
    for (size_t i = 1; i < s.n; i++) {
        if (s.p[i] == '\\')
            i++;
        else if (s.p[i] == '"')
            return i + 1;
    }
    return 0;
}

static size_t literal_length(struct str s)
{
    uint64_t n;
    ptrdiff_t close = str_find_byte(str_head(s, 12), '}');
    if (close < 0 || str_to_u64(str_sub(s, 1, (size_t)close - 1), &n) != RC_OK ||
        n > s.n - (size_t)close - 1 || s.n - (size_t)close - 1 - n < 2)
        return 0;
    return (size_t)close + 3 + (size_t)n;
}

/* The length of the value that is not a list at the beginning of s; 0: there is none. */
static size_t atom_length(struct str s)
{
    size_t i = 0;
    if (s.n && s.p[0] == '"')
        return quoted_length(s);
    if (s.n && s.p[0] == '{')
        return literal_length(s);
    while (i < s.n && s.p[i] != ' ' && s.p[i] != '(' && s.p[i] != ')')
        i++;
    return i;
}

/* Takes one value off *s, a list with all that is in it; an absent view: there is none. */
static struct str take_value(struct str *s)
{
    size_t i = 0, depth = 0;
    do {
        struct str rest = str_skip(*s, i);
        bool is_mark = rest.n && (rest.p[0] == '(' || rest.p[0] == ')' || rest.p[0] == ' ');
        size_t n = is_mark ? 1 : atom_length(rest);
        if (n == 0 || (depth == 0 && is_mark && rest.p[0] != '('))
            return (struct str){0};
        if (rest.p[0] == '(')
            depth++;
        else if (rest.p[0] == ')')
            depth--;
        i += n;
    } while (depth > 0);
    struct str value = str_head(*s, i);
    *s = str_skip(*s, i);
    return value;
}

/* Copies n values, each with the space before it. */
static enum rc copy_values(struct str *s, size_t n, struct buf *out)
{
    while (n-- > 0) {
        if (s->n == 0 || s->p[0] != ' ')
            return RC_CORRUPT;
        *s = str_skip(*s, 1);
        struct str value = take_value(s);
        if (value.n == 0)
            return RC_CORRUPT;
        buf_put(out, STR(" "));
        buf_put(out, value);
    }
    return RC_OK;
}

static enum rc copy_body(struct str *s, unsigned depth, struct buf *out);

/* Behind "(": type and subtype, ... [RFC3501 9] [RFC9051 9] body-type-1part without its
 * body-ext-1part. */
static enum rc copy_leaf(struct str *s, unsigned depth, struct buf *out)
{
    struct str type = take_value(s), rest = str_skip(*s, 1), subtype = take_value(&rest);
    buf_put(out, type);
    TRY(copy_values(s, 6, out));
    if (str_ieq(type, STR("\"text\"")))
        return copy_values(s, 1, out);
    bool is_message = str_ieq(subtype, STR("\"rfc822\""));
    bool is_global = str_ieq(subtype, STR("\"global\"")) && str_starts(*s, STR(" ("));
    if (!str_ieq(type, STR("\"message\"")) || !(is_message || is_global))
        return RC_OK;
    TRY(copy_values(s, 1, out)); /* the envelope */
    if (s->n == 0 || s->p[0] != ' ')
        return RC_CORRUPT;
    *s = str_skip(*s, 1);
    buf_put(out, STR(" "));
    TRY(copy_body(s, depth + 1, out));
    return copy_values(s, 1, out);
}

/* Passes over what is left of a list, and its end. */
static enum rc skip_rest(struct str *s)
{
    while (s->n && s->p[0] == ' ') {
        *s = str_skip(*s, 1);
        if (take_value(s).n == 0)
            return RC_CORRUPT;
    }
    if (s->n == 0 || s->p[0] != ')')
        return RC_CORRUPT;
    *s = str_skip(*s, 1);
    return RC_OK;
}

/* One body; *s moves behind it. */
static enum rc copy_body(struct str *s, unsigned depth, struct buf *out)
{
    if (s->n < 2 || s->p[0] != '(' || depth > DEPTH_MAX)
        return RC_CORRUPT;
    *s = str_skip(*s, 1);
    buf_put(out, STR("("));
    if (s->p[0] != '(') {
        TRY(copy_leaf(s, depth, out));
    } else {
        while (s->n && s->p[0] == '(')
            TRY(copy_body(s, depth + 1, out));
        TRY(copy_values(s, 1, out)); /* the subtype */
    }
    buf_put(out, STR(")"));
    return skip_rest(s);
}

enum rc mime_structure_to_body(struct str structure, struct buf *out)
{
    size_t before = buf_len(out);
    bool was_over = out->over;
    out->over = false;
    enum rc rc = copy_body(&structure, 0, out);
    if (rc == RC_OK && structure.n)
        rc = RC_CORRUPT;
    if (rc == RC_OK && out->over)
        rc = RC_LIMIT;
    out->over = was_over;
    if (rc != RC_OK)
        buf_truncate(out, before);
    return rc;
}

/* ---- attachments ---- */

/* What a part is; the higher one counts. */
enum weight {
    WEIGHT_TEXT,  /* what is read, or says that it is inline */
    WEIGHT_MEDIA, /* neither, and it depends on the multipart that it is in */
    WEIGHT_ATTACHED
};

/* ("charset" "us-ascii" "name" "x.txt") */
static bool has_name(struct str list)
{
    struct str name;
    if (!list.n || list.p[0] != '(')
        return false;
    list = str_skip(list, 1);
    while ((name = take_value(&list)).n) {
        list = str_skip(list, 1);
        if (str_ieq(name, STR("\"name\"")) || str_ieq(name, STR("\"name*\"")))
            return true;
        take_value(&list);
        list = str_skip(list, list.n && list.p[0] == ' ');
    }
    return false;
}

static enum weight weigh(struct str type, struct str params, struct str disposition)
{
    bool is_text = str_ieq(type, STR("\"text\""));
    if (str_istarts(disposition, STR("(\"attachment\"")))
        return WEIGHT_ATTACHED;
    if (str_istarts(disposition, STR("(\"inline\"")))
        return WEIGHT_TEXT;
    return is_text && !has_name(params) ? WEIGHT_TEXT : WEIGHT_MEDIA;
}

/* Behind "(", without the end. The disposition is three values from the last. */
static enum rc weigh_leaf(struct str *s, enum weight *out)
{
    enum { VALUES = 14 };
    struct str values[VALUES];
    size_t n = 0;
    do {
        values[n] = take_value(s);
        if (!values[n++].n)
            return RC_CORRUPT;
    } while (n < VALUES && s->n && s->p[0] == ' ' && (*s = str_skip(*s, 1)).n);
    if (n < 11)
        return RC_CORRUPT;
    *out = weigh(values[0], values[2], values[n - 3]);
    return RC_OK;
}

static enum rc weigh_part(struct str *s, unsigned depth, enum weight *out);

static enum rc weigh_multipart(struct str *s, unsigned depth, enum weight *out)
{
    static const struct str whole[] = {STR_INIT("\"alternative\""), STR_INIT("\"related\""),
                                       STR_INIT("\"signed\""), STR_INIT("\"encrypted\""),
                                       STR_INIT("\"report\"")};
    *out = WEIGHT_TEXT;
    while (s->n && s->p[0] == '(') {
        enum weight one;
        TRY(weigh_part(s, depth + 1, &one));
        *out = one > *out ? one : *out;
    }
    *s = str_skip(*s, s->n && s->p[0] == ' ');
    struct str subtype = take_value(s);
    for (size_t i = 0; *out == WEIGHT_MEDIA && i < sizeof whole / sizeof *whole; i++)
        if (str_ieq(subtype, whole[i]))
            *out = WEIGHT_TEXT;
    *out = *out == WEIGHT_MEDIA ? WEIGHT_ATTACHED : *out;
    return subtype.n ? skip_rest(s) : RC_CORRUPT;
}

static enum rc weigh_part(struct str *s, unsigned depth, enum weight *out)
{
    if (s->n < 2 || s->p[0] != '(' || depth > DEPTH_MAX)
        return RC_CORRUPT;
    *s = str_skip(*s, 1);
    if (s->p[0] == '(')
        return weigh_multipart(s, depth, out);
    TRY(weigh_leaf(s, out));
    return skip_rest(s);
}

enum rc mime_structure_attachment(struct str structure, bool *out)
{
    enum weight weight;
    TRY(weigh_part(&structure, 0, &weight));
    *out = weight != WEIGHT_TEXT;
    return structure.n ? RC_CORRUPT : RC_OK;
}
