/* The grammar of what stands behind MAIL and RCPT: paths, addresses, parameters [RFC5321 4.1.2]
 * [RFC5321 4.1.3], with what [RFC6531 3.3] adds: octets above ASCII are text wherever an atom or a
 * quoted string may hold text, and the whole must be UTF-8.
 *
 * A cursor over one command line, one small function for each rule of the grammar. Domains are
 * checked for form, never looked up. */
#include "smtp/smtp.h"

#include "base/utf8.h"

#include <arpa/inet.h>
#include <string.h>

static bool is_let_dig(char c)
{
    return ascii_is_alpha(c) || ascii_is_digit(c);
}

/* A part of a character outside ASCII. */
static bool is_utf8_byte(char c)
{
    return (unsigned char)c >= 0x80;
}

/* [RFC5322 3.2.3] [RFC6531 3.3] */
static bool is_atext(char c)
{
    return is_let_dig(c) || is_utf8_byte(c) ||
           (c != '\0' && strchr("!#$%&'*+-/=?^_`{|}~", c) != NULL);
}

bool smtp_is_atom(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!is_atext(s.p[i]) || is_utf8_byte(s.p[i]))
            return false;
    return s.n > 0;
}

static bool take_byte(struct str *s, char c)
{
    if (s->n == 0 || s->p[0] != c)
        return false;
    *s = str_skip(*s, 1);
    return true;
}

static bool is_label(struct str s)
{
    if (s.n == 0 || s.n > 63 || s.p[0] == '-' || s.p[s.n - 1] == '-')
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (!is_let_dig(s.p[i]) && s.p[i] != '-' && s.p[i] != '_')
            return false;
    return true;
}

bool smtp_is_domain(struct str s)
{
    if (s.n == 0 || s.n > SMTP_DOMAIN_MAX)
        return false;
    struct str rest = s, label;
    while (str_cut(&rest, '.', &label))
        if (!is_label(label))
            return false;
    return true;
}

static bool is_ip(int family, struct str s)
{
    char text[INET6_ADDRSTRLEN], address[sizeof(struct in6_addr)];
    if (s.n >= sizeof text || memchr(s.p, '\0', s.n))
        return false;
    memcpy(text, s.p, s.n);
    text[s.n] = '\0';
    return inet_pton(family, text, address) == 1;
}

/* General-address-literal = Standardized-tag ":" 1*dcontent [RFC5321 4.1.3] */
static bool is_general_literal(struct str s)
{
    ptrdiff_t colon = str_find_byte(s, ':');
    if (colon < 1 || !is_let_dig(s.p[colon - 1]) || (size_t)colon + 1 == s.n)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        bool is_tag = is_let_dig(s.p[i]) || s.p[i] == '-';
        bool is_dcontent = s.p[i] > ' ' && s.p[i] <= '~' && !strchr("[\\]", s.p[i]);
        if (i < (size_t)colon ? !is_tag : !is_dcontent)
            return false;
    }
    return true;
}

bool smtp_is_literal(struct str s)
{
    if (s.n < 3 || s.n > SMTP_DOMAIN_MAX || s.p[0] != '[' || s.p[s.n - 1] != ']')
        return false;
    struct str inner = str_sub(s, 1, s.n - 2);
    if (str_istarts(inner, STR("IPv6:")))
        return is_ip(AF_INET6, str_skip(inner, 5));
    return is_ip(AF_INET, inner) || is_general_literal(inner);
}

/* Dot-string: atoms with single dots between them. Doubled and closing dots occur in the mail of
 * some providers and are taken, since nothing hangs on them. */
static bool take_dot_string(struct str *s, struct str *out)
{
    size_t i = 0;
    while (i < s->n && (is_atext(s->p[i]) || (s->p[i] == '.' && i > 0)))
        i++;
    *out = str_head(*s, i);
    *s = str_skip(*s, i);
    return i > 0;
}

static bool take_quoted_string(struct str *s, struct str *out)
{
    for (size_t i = 1; i < s->n; i++) {
        if (s->p[i] == '"') {
            *out = str_head(*s, i + 1);
            *s = str_skip(*s, i + 1);
            return true;
        }
        if (s->p[i] == '\\')
            i++;
        if (i == s->n || (!ascii_is_print(s->p[i]) && !is_utf8_byte(s->p[i])))
            return false;
    }
    return false;
}

static bool take_literal(struct str *s, struct str *out)
{
    ptrdiff_t end = str_find_byte(*s, ']');
    *out = str_head(*s, end < 0 ? s->n : (size_t)end + 1);
    *s = str_skip(*s, out->n);
    return smtp_is_literal(*out);
}

static bool is_u_domain(struct str s)
{
    struct buf ascii;
    buf_init(&ascii, SMTP_DOMAIN_MAX);
    bool is_one = smtp_domain_ascii(s, &ascii) == RC_OK;
    buf_fini(&ascii);
    return is_one;
}

static bool is_domain_byte(char c)
{
    return is_let_dig(c) || is_utf8_byte(c) || c == '-' || c == '.' || c == '_';
}

static bool take_domain(struct str *s, struct str *out)
{
    if (s->n > 0 && s->p[0] == '[')
        return take_literal(s, out);
    size_t i = 0;
    while (i < s->n && is_domain_byte(s->p[i]))
        i++;
    *out = str_head(*s, i);
    *s = str_skip(*s, i);
    return utf8_is_ascii(*out) ? smtp_is_domain(*out) : is_u_domain(*out);
}

/* "@one,@two:" is accepted and ignored [RFC5321 4.1.1.3]. */
static bool skip_route(struct str *s)
{
    struct str hop;
    if (s->n == 0 || s->p[0] != '@')
        return true;
    do {
        if (!take_byte(s, '@') || !take_domain(s, &hop))
            return false;
    } while (take_byte(s, ','));
    return take_byte(s, ':');
}

static bool take_mailbox(struct str *s, struct smtp_path *out)
{
    bool is_quoted = s->n > 0 && s->p[0] == '"';
    if (!(is_quoted ? take_quoted_string : take_dot_string)(s, &out->local))
        return false;
    if (take_byte(s, '@'))
        return take_domain(s, &out->domain);
    return str_ieq(out->local, STR("postmaster")); /* [RFC5321 4.1.1.3] */
}

/* Well-formed, and without the control characters U+0080 to U+009F. */
static bool is_utf8_text(struct str s)
{
    for (size_t i = 0; i + 1 < s.n; i++)
        if ((unsigned char)s.p[i] == 0xc2 && (unsigned char)s.p[i + 1] < 0xa0)
            return false;
    return utf8_is_valid(s);
}

enum rc smtp_path_take(struct str *args, struct smtp_path *out)
{
    *out = (struct smtp_path){.local = STR("")};
    struct str s = *args;
    if (!take_byte(&s, '<'))
        return RC_SYNTAX;
    if (!take_byte(&s, '>')) { /* "<>" is the null reverse-path [RFC5321 4.5.5] */
        if (!skip_route(&s) || !take_mailbox(&s, out) || !take_byte(&s, '>'))
            return RC_SYNTAX;
    }
    if (s.n > 0 && s.p[0] != ' ' && s.p[0] != '\t')
        return RC_SYNTAX;
    struct str path = str_head(*args, args->n - s.n);
    if (path.n > SMTP_PATH_MAX) /* octets, however many characters they are [RFC6531 3.3] */
        return RC_LIMIT;
    out->is_utf8 = !utf8_is_ascii(path);
    if (out->is_utf8 && !is_utf8_text(path))
        return RC_SYNTAX;
    *args = s;
    return RC_OK;
}

/* Whether what a quoted string means could stand as a Dot-string. */
static bool needs_quotes(struct str content)
{
    if (content.n == 0 || content.p[0] == '.')
        return true;
    for (size_t i = 0; i < content.n; i++)
        if (!is_atext(content.p[i]) && content.p[i] != '.')
            return true;
    return false;
}

static enum rc write_quoted(struct str content, struct buf *out)
{
    TRY(buf_add_byte(out, '"'));
    for (size_t i = 0; i < content.n; i++) {
        if (content.p[i] == '"' || content.p[i] == '\\')
            TRY(buf_add_byte(out, '\\'));
        TRY(buf_add_byte(out, content.p[i]));
    }
    return buf_add_byte(out, '"');
}

static enum rc write_local(struct str local, struct buf *out)
{
    if (local.n < 2 || local.p[0] != '"')
        return buf_add(out, local);
    char content[SMTP_PATH_MAX];
    size_t n = 0;
    for (size_t i = 1; i + 1 < local.n && n < sizeof content; i++) {
        i += local.p[i] == '\\';
        content[n++] = local.p[i];
    }
    struct str s = {content, n};
    return needs_quotes(s) ? write_quoted(s, out) : buf_add(out, s);
}

enum rc smtp_path_write(const struct smtp_path *path, struct buf *out)
{
    TRY(write_local(path->local, out));
    if (str_is_null(path->domain))
        return RC_OK;
    TRY(buf_add_byte(out, '@'));
    return buf_add(out, path->domain);
}

bool smtp_keyword_take(struct str *args, struct str keyword)
{
    if (!str_istarts(*args, keyword))
        return false;
    *args = str_trim(str_skip(*args, keyword.n));
    return true;
}

/* esmtp-param = esmtp-keyword ["=" esmtp-value] */
enum rc smtp_param_next(struct str *args, struct smtp_param *out)
{
    struct str s = str_trim(*args);
    if (s.n == 0)
        return RC_EOF;
    size_t i = 0;
    while (i < s.n && ((s.p[i] > ' ' && s.p[i] <= '~') || is_utf8_byte(s.p[i])))
        i++;
    *out = (struct smtp_param){.name = str_head(s, i)};
    *args = str_skip(s, i);
    if (args->n > 0 && args->p[0] != ' ' && args->p[0] != '\t')
        return RC_SYNTAX;
    ptrdiff_t equals = str_find_byte(out->name, '=');
    if (equals >= 0) {
        out->value = str_skip(out->name, (size_t)equals + 1);
        out->name = str_head(out->name, (size_t)equals);
        if (out->value.n == 0 || str_find_byte(out->value, '=') >= 0)
            return RC_SYNTAX;
    }
    if (!utf8_is_valid(out->value)) /* [RFC6531 3.3] */
        return RC_SYNTAX;
    for (i = 0; i < out->name.n; i++)
        if (!is_let_dig(out->name.p[i]) && (out->name.p[i] != '-' || i == 0))
            return RC_SYNTAX;
    return out->name.n > 0 ? RC_OK : RC_SYNTAX;
}
