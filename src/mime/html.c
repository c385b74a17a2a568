/* HTML to text, a byte at a time: which bytes are markup is decided as browsers do it, as far as
 * that matters here.
 *
 * Invariants: every byte moves on, so the work is that of the bytes; only a name, and a reference,
 * both short, are held. There is no stack: elements are not nested, they only begin and end. What
 * never ends (a comment, a quoted value, a script) takes all that follows, as it does in a browser.
 */
#include "mime/html.h"

#include "base/utf8.h"

enum state {
    TEXT,
    REFERENCE,
    OPEN,
    NAME,
    ATTRIBUTES,
    VALUE,
    QUOTED,
    UNQUOTED,
    BANG,
    DASH,
    COMMENT,
    BOGUS,
    RAW,
    STATES
};

/* Elements whose content nobody reads. */
static const struct str raws[] = {
    STR_INIT(""),        STR_INIT("style"),    STR_INIT("script"),
    STR_INIT("title"),   STR_INIT("xmp"),      STR_INIT("template"),
    STR_INIT("noembed"), STR_INIT("noframes"), STR_INIT("iframe"),
};
enum { RAWS = sizeof raws / sizeof *raws };

/* Tags that may stand within a word. */
static const struct str inlines[] = {
    STR_INIT("a"),      STR_INIT("abbr"),   STR_INIT("acronym"), STR_INIT("b"),
    STR_INIT("bdi"),    STR_INIT("bdo"),    STR_INIT("big"),     STR_INIT("cite"),
    STR_INIT("code"),   STR_INIT("del"),    STR_INIT("dfn"),     STR_INIT("em"),
    STR_INIT("font"),   STR_INIT("i"),      STR_INIT("ins"),     STR_INIT("kbd"),
    STR_INIT("label"),  STR_INIT("mark"),   STR_INIT("nobr"),    STR_INIT("q"),
    STR_INIT("s"),      STR_INIT("samp"),   STR_INIT("small"),   STR_INIT("span"),
    STR_INIT("strike"), STR_INIT("strong"), STR_INIT("sub"),     STR_INIT("sup"),
    STR_INIT("tt"),     STR_INIT("u"),      STR_INIT("var"),     STR_INIT("wbr"),
};

void mime_html_begin(struct mime_html *h)
{
    *h = (struct mime_html){.state = TEXT};
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* --- tags ------------------------------------------------------------------------------------- */

static bool is_inline(struct str name)
{
    for (size_t i = 0; i < sizeof inlines / sizeof *inlines; i++)
        if (str_eq(name, inlines[i]))
            return true;
    return false;
}

static void end_tag(struct mime_html *h, struct buf *out)
{
    struct str name = str_from(h->name, h->n_name <= MIME_HTML_NAME ? h->n_name : 0);
    h->state = TEXT;
    if (!is_inline(name))
        buf_put(out, STR(" "));
    for (size_t i = 1; i < RAWS && !h->is_end; i++)
        if (str_eq(name, raws[i])) {
            h->raw = (uint8_t)i;
            h->n_raw = 0;
            h->state = RAW;
        }
}

/* Behind "<" or "</". */
static bool take_open(struct mime_html *h, char c, struct buf *out)
{
    if (ascii_is_alpha(c)) {
        h->n_name = 0;
        h->state = NAME;
        return false;
    }
    if (c == '/' && !h->is_end) {
        h->is_end = true;
        return true;
    }
    if (h->is_end) { /* "</>" is nothing */
        h->state = c == '>' ? TEXT : BOGUS;
        return true;
    }
    h->state = c == '!' ? BANG : c == '?' ? BOGUS : TEXT;
    if (h->state != TEXT)
        return true;
    buf_put(out, STR("<"));
    return false;
}

static bool take_name(struct mime_html *h, char c, struct buf *out)
{
    if (is_space(c) || c == '/' || c == '>') {
        h->state = ATTRIBUTES;
        return false;
    }
    if (h->n_name < MIME_HTML_NAME)
        h->name[h->n_name] = ascii_lower(c);
    if (h->n_name <= MIME_HTML_NAME)
        h->n_name++;
    return true;
}

static bool take_attributes(struct mime_html *h, char c, struct buf *out)
{
    if (c == '>')
        end_tag(h, out);
    else if (c == '=')
        h->state = VALUE;
    return true;
}

static bool take_value(struct mime_html *h, char c, struct buf *out)
{
    if (is_space(c))
        return true;
    h->quote = c;
    h->state = c == '"' || c == '\'' ? QUOTED : UNQUOTED;
    return h->state == QUOTED;
}

static bool take_quoted(struct mime_html *h, char c, struct buf *out)
{
    if (c == h->quote)
        h->state = ATTRIBUTES;
    return true;
}

static bool take_unquoted(struct mime_html *h, char c, struct buf *out)
{
    if (!is_space(c) && c != '>')
        return true;
    h->state = ATTRIBUTES;
    return false;
}

/* --- comments --------------------------------------------------------------------------------- */

static bool take_bang(struct mime_html *h, char c, struct buf *out)
{
    h->state = c == '-' ? DASH : BOGUS;
    return c == '-';
}

static bool take_dash(struct mime_html *h, char c, struct buf *out)
{
    h->dashes = 2; /* "<!-->" is one */
    h->state = c == '-' ? COMMENT : BOGUS;
    return c == '-';
}

static bool take_comment(struct mime_html *h, char c, struct buf *out)
{
    if (c == '>' && h->dashes == 2)
        h->state = TEXT;
    else if (c == '-')
        h->dashes += h->dashes < 2;
    else
        h->dashes = 0;
    return true;
}

static bool take_bogus(struct mime_html *h, char c, struct buf *out)
{
    if (c == '>')
        h->state = TEXT;
    return true;
}

/* Up to the end tag: "</style", and then no letter. '<' is only at the beginning of that. */
static bool take_raw(struct mime_html *h, char c, struct buf *out)
{
    struct str name = raws[h->raw];
    if (h->n_raw == 2 + name.n && (is_space(c) || c == '/' || c == '>')) {
        h->is_end = true;
        h->n_name = 0;
        h->state = ATTRIBUTES;
        return false;
    }
    bool is_next = (h->n_raw == 1 && c == '/') || (h->n_raw >= 2 && h->n_raw < 2 + name.n &&
                                                   ascii_lower(c) == name.p[h->n_raw - 2]);
    h->n_raw = (uint8_t)(is_next ? h->n_raw + 1 : c == '<');
    return true;
}

/* --- references ------------------------------------------------------------------------------- */

static void end_reference(struct mime_html *h, struct buf *out, bool has_end)
{
    struct str name = str_from(h->entity, h->n_entity);
    char bytes[UTF8_MAX];
    uint32_t character = mime_html_character(name);
    h->state = TEXT;
    if (character) {
        buf_put(out, str_from(bytes, utf8_put(bytes, character)));
        return;
    }
    buf_put(out, STR("&"));
    buf_put(out, name);
    buf_put(out, has_end ? STR(";") : STR(""));
}

static bool take_reference(struct mime_html *h, char c, struct buf *out)
{
    bool is_part = ascii_is_alpha(c) || ascii_is_digit(c) || (c == '#' && !h->n_entity);
    if (is_part && h->n_entity < MIME_HTML_ENTITY - 2) {
        h->entity[h->n_entity++] = c;
        return true;
    }
    end_reference(h, out, c == ';');
    return c == ';';
}

/* --- all of it -------------------------------------------------------------------------------- */

static bool take_text(struct mime_html *h, char c, struct buf *out)
{
    if (c != '<' && c != '&') {
        buf_put(out, str_from(&c, 1));
        return true;
    }
    h->is_end = false;
    h->n_entity = 0;
    h->state = c == '<' ? OPEN : REFERENCE;
    return true;
}

/* False: the byte again, in another state. */
typedef bool (*take_fn)(struct mime_html *h, char c, struct buf *out);
static const take_fn takers[STATES] = {
    [TEXT] = take_text,     [REFERENCE] = take_reference,   [OPEN] = take_open,
    [NAME] = take_name,     [ATTRIBUTES] = take_attributes, [VALUE] = take_value,
    [QUOTED] = take_quoted, [UNQUOTED] = take_unquoted,     [BANG] = take_bang,
    [DASH] = take_dash,     [COMMENT] = take_comment,       [BOGUS] = take_bogus,
    [RAW] = take_raw,
};

/* Bytes from here on in which nothing happens: most of a text, or of what is passed over. */
static size_t run_length(const struct mime_html *h, struct str s)
{
    size_t n = 0;
    if (h->state == TEXT)
        while (n < s.n && s.p[n] != '<' && s.p[n] != '&')
            n++;
    else if (h->state == RAW && !h->n_raw)
        while (n < s.n && s.p[n] != '<')
            n++;
    else if (h->state == QUOTED)
        while (n < s.n && s.p[n] != h->quote)
            n++;
    return n;
}

enum rc mime_html(struct mime_html *h, struct str piece, struct buf *out)
{
    if (out->cap - buf_len(out) < piece.n + MIME_HTML_ENTITY)
        return RC_LIMIT;
    for (size_t i = 0; i < piece.n;) {
        size_t n = run_length(h, str_skip(piece, i));
        if (h->state == TEXT)
            buf_put(out, str_sub(piece, i, n));
        i += n;
        if (i < piece.n && takers[h->state](h, piece.p[i], out))
            i++;
    }
    return RC_OK;
}

enum rc mime_html_end(struct mime_html *h, struct buf *out)
{
    if (out->cap - buf_len(out) < MIME_HTML_ENTITY)
        return RC_LIMIT;
    if (h->state == REFERENCE)
        end_reference(h, out, false);
    else if (h->state == OPEN && !h->is_end)
        buf_put(out, STR("<"));
    h->state = TEXT;
    return RC_OK;
}
