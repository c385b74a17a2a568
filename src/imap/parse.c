/* The grammar of commands [RFC3501 9] [RFC9051 9], as pure functions that take one thing after the
 * other.
 *
 * Lenient only where clients are known to err and nothing can be misread: 8-bit text in quoted
 * strings when it is UTF-8. A literal stands in the command as it came, "{n}" CRLF and n bytes. */
#include "imap/parse_int.h"

#include "base/utf8.h"

#include <string.h>

bool imap_fail(struct imap_parse *p, const char *expected)
{
    if (!p->error)
        p->error = expected;
    return false;
}

static bool too_much(struct imap_parse *p)
{
    p->is_limit = true;
    return imap_fail(p, "less");
}

bool imap_peek_byte(const struct imap_parse *p, char c)
{
    return p->rest.n && p->rest.p[0] == c;
}

bool imap_take_byte(struct imap_parse *p, char c)
{
    if (!imap_peek_byte(p, c))
        return false;
    p->rest = str_skip(p->rest, 1);
    return true;
}

bool imap_take_sp(struct imap_parse *p)
{
    return imap_take_byte(p, ' ') || imap_fail(p, "a space");
}

bool imap_take_end(struct imap_parse *p)
{
    return !p->rest.n || imap_fail(p, "the end of the command");
}

/* ATOM-CHAR [RFC3501 9] [RFC9051 9], and what else belongs to the word at hand. */
static bool is_atom_char(char c, const char *more)
{
    return (unsigned char)c > 0x20 && (unsigned char)c < 0x7f &&
           (!strchr("(){%*\"\\]", c) || (*more && strchr(more, c)));
}

static struct str take_while(struct imap_parse *p, const char *more)
{
    size_t n = 0;
    while (n < p->rest.n && is_atom_char(p->rest.p[n], more))
        n++;
    struct str word = str_head(p->rest, n);
    p->rest = str_skip(p->rest, n);
    return word;
}

bool imap_take_word(struct imap_parse *p, struct str word)
{
    struct imap_parse q = *p;
    if (!str_ieq(take_while(&q, ""), word))
        return false;
    p->rest = q.rest;
    return true;
}

bool imap_take_atom(struct imap_parse *p, struct str *out)
{
    *out = take_while(p, "");
    return out->n || imap_fail(p, "an atom");
}

/* --- strings ---------------------------------------------------------------------------------- */

static struct str unescape(struct imap_parse *p, struct str quoted)
{
    struct str copy = arena_dup(p->arena, quoted);
    char *to = (char *)(uintptr_t)copy.p;
    size_t n = 0;
    if (!to)
        return copy;
    for (size_t i = 0; i < quoted.n; i++) {
        i += quoted.p[i] == '\\';
        to[n++] = quoted.p[i];
    }
    copy.n = n;
    return copy;
}

static bool take_quoted(struct imap_parse *p, struct str *out)
{
    bool is_escaped = false;
    size_t n = 1;
    for (; n < p->rest.n && p->rest.p[n] != '"'; n++) {
        if (p->rest.p[n] == '\r' || p->rest.p[n] == '\n' || !p->rest.p[n])
            return imap_fail(p, "a closing quote");
        if (p->rest.p[n] != '\\')
            continue;
        is_escaped = true;
        n++;
        if (n == p->rest.n || (p->rest.p[n] != '"' && p->rest.p[n] != '\\'))
            return imap_fail(p, "a quote or backslash behind the backslash");
    }
    if (n >= p->rest.n)
        return imap_fail(p, "a closing quote");
    *out = str_sub(p->rest, 1, n - 1);
    p->rest = str_skip(p->rest, n + 1);
    if (!utf8_is_valid(*out))
        return imap_fail(p, "a literal for what is not UTF-8");
    if (is_escaped)
        *out = unescape(p, *out);
    return out->p || too_much(p);
}

static bool take_literal(struct imap_parse *p, struct str *out)
{
    struct imap_literal literal;
    ptrdiff_t end = str_find(p->rest, STR("\r\n"));
    if (end < 0 || !imap_literal_at_end(str_head(p->rest, (size_t)end), &literal) ||
        str_rfind_byte(str_head(p->rest, (size_t)end), '{') != 0 || literal.is_broken)
        return imap_fail(p, "a literal");
    struct str bytes = str_skip(p->rest, (size_t)end + 2);
    if (literal.n > bytes.n)
        return imap_fail(p, "the bytes of a literal");
    *out = str_head(bytes, (size_t)literal.n);
    p->rest = str_skip(bytes, (size_t)literal.n);
    return !memchr(out->n ? out->p : "x", 0, out->n ? out->n : 1) ||
           imap_fail(p, "no NUL in a literal");
}

bool imap_take_string(struct imap_parse *p, struct str *out)
{
    if (imap_peek_byte(p, '"'))
        return take_quoted(p, out);
    return imap_peek_byte(p, '{') ? take_literal(p, out) : imap_fail(p, "a string");
}

static bool take_string_or(struct imap_parse *p, const char *more, const char *what,
                           struct str *out)
{
    if (imap_peek_byte(p, '"') || imap_peek_byte(p, '{'))
        return imap_take_string(p, out);
    *out = take_while(p, more);
    return out->n || imap_fail(p, what);
}

bool imap_take_astring(struct imap_parse *p, struct str *out)
{
    return take_string_or(p, "]", "an atom or a string", out);
}

bool imap_take_list_mailbox(struct imap_parse *p, struct str *out)
{
    return take_string_or(p, "]%*", "a mailbox pattern", out);
}

bool imap_take_nstring(struct imap_parse *p, struct str *out)
{
    *out = (struct str){0};
    return imap_take_word(p, STR("NIL")) || imap_take_string(p, out);
}

/* --- numbers ---------------------------------------------------------------------------------- */

static bool take_digits(struct imap_parse *p, uint32_t *out)
{
    size_t n = 0;
    uint64_t value;
    while (n < p->rest.n && ascii_is_digit(p->rest.p[n]))
        n++;
    if (str_to_u64(str_head(p->rest, n), &value) != RC_OK || value > UINT32_MAX)
        return false;
    *out = (uint32_t)value;
    p->rest = str_skip(p->rest, n);
    return true;
}

bool imap_take_number(struct imap_parse *p, uint32_t *out)
{
    return take_digits(p, out) || imap_fail(p, "a number below 4294967296");
}

bool imap_take_nz_number(struct imap_parse *p, uint32_t *out)
{
    return (take_digits(p, out) && *out) || imap_fail(p, "a number from 1 to 4294967295");
}

/* mod-sequence-valzer; where 0 is not allowed it is taken all the same, for it is clear what it
 * means [RFC7162 7]. */
bool imap_take_modseq(struct imap_parse *p, uint64_t *out)
{
    size_t n = 0;
    while (n < p->rest.n && ascii_is_digit(p->rest.p[n]))
        n++;
    if (str_to_u64(str_head(p->rest, n), out) != RC_OK || *out > INT64_MAX)
        return imap_fail(p, "a mod-sequence");
    p->rest = str_skip(p->rest, n);
    return true;
}

/* --- flags ------------------------------------------------------------------------------------ */

const struct imap_system_flag imap_system_flags[IMAP_SYSTEM_FLAGS] = {
    {STORE_ANSWERED, STR_INIT("\\Answered")}, {STORE_FLAGGED, STR_INIT("\\Flagged")},
    {STORE_DELETED, STR_INIT("\\Deleted")},   {STORE_SEEN, STR_INIT("\\Seen")},
    {STORE_DRAFT, STR_INIT("\\Draft")},
};

static bool take_flag(struct imap_parse *p, struct imap_flags *out)
{
    struct str name;
    bool is_system = imap_take_byte(p, '\\');
    if (!imap_take_atom(p, &name))
        return false;
    for (size_t i = 0; is_system && i < IMAP_SYSTEM_FLAGS; i++) {
        if (str_ieq(name, str_skip(imap_system_flags[i].name, 1))) {
            out->flags |= imap_system_flags[i].flag;
            return true;
        }
    }
    if (is_system) /* also \Recent, which is the server's alone [RFC3501 2.3.2] [RFC9051 2.3.2] */
        return imap_fail(p, "a flag that can be changed");
    for (size_t i = 0; i < out->n_keywords; i++)
        if (str_ieq(out->keywords[i], name))
            return true;
    if (out->n_keywords == STORE_KEYWORDS || name.n > STORE_KEYWORD_MAX)
        return too_much(p);
    out->keywords[out->n_keywords++] = name;
    return true;
}

bool imap_take_flags(struct imap_parse *p, bool needs_list, struct imap_flags *out)
{
    *out = (struct imap_flags){0};
    bool is_list = imap_take_byte(p, '(');
    if (!is_list && needs_list)
        return imap_fail(p, "a list of flags");
    if (is_list && imap_take_byte(p, ')'))
        return true;
    do
        if (!take_flag(p, out))
            return false;
    while (imap_take_byte(p, ' '));
    return !is_list || imap_take_byte(p, ')') || imap_fail(p, "the end of the list of flags");
}
