/* Addresses and domain names: from the text that a peer or an administrator gave to lower-case
 * views that can be keys.
 *
 * Only ASCII: addresses with UTF-8 [RFC6531] are not offered to peers and are refused here. A
 * domain in square brackets is well-formed [RFC5321 4.1.3] and never one of ours. Never looks
 * anything up.
 */
#include "auth/auth_int.h"

#include <string.h>

static bool is_atext(char c) /* [RFC5322 3.2.3] */
{
    return ascii_is_alpha(c) || ascii_is_digit(c) || (c && strchr("!#$%&'*+-/=?^_`{|}~", c));
}

/* Parts of characters that `is_part` takes, at most `part_max` long, with single dots between. */
static bool is_dotted(struct str s, bool (*is_part)(char c), size_t part_max)
{
    struct str part;
    if (!s.n)
        return false;
    while (str_cut(&s, '.', &part)) {
        if (!part.n || part.n > part_max)
            return false;
        for (size_t i = 0; i < part.n; i++)
            if (!is_part(part.p[i]))
                return false;
    }
    return true;
}

static bool is_label_byte(char c)
{
    return ascii_is_alpha(c) || ascii_is_digit(c) || c == '-' || c == '_';
}

static bool is_literal(struct str s)
{
    if (s.n < 3 || s.p[0] != '[' || s.p[s.n - 1] != ']')
        return false;
    for (size_t i = 1; i < s.n - 1; i++)
        if (!ascii_is_print(s.p[i]) || strchr(" []\\", s.p[i]))
            return false;
    return true;
}

/* Copies a quoted string's content [RFC5321 4.1.2] to `to`, which is large enough. */
static enum rc unquote(struct str quoted, char *to, size_t *out_n)
{
    size_t n = 0;
    if (quoted.n < 2 || quoted.p[quoted.n - 1] != '"')
        return RC_SYNTAX;
    for (size_t i = 1; i < quoted.n - 1; i++) {
        char c = quoted.p[i];
        if (c == '"' || !ascii_is_print(c))
            return RC_SYNTAX;
        if (c == '\\' && (++i == quoted.n - 1 || !ascii_is_print(c = quoted.p[i])))
            return RC_SYNTAX;
        to[n++] = c;
    }
    *out_n = n;
    return n ? RC_OK : RC_SYNTAX;
}

static size_t put_lower(char *to, struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        to[i] = ascii_lower(s.p[i]);
    return s.n;
}

enum rc auth_address_parse(struct str text, struct address *out)
{
    ptrdiff_t at = str_rfind_byte(text, '@');
    if (text.n > AUTH_ADDRESS_MAX || at < 1)
        return RC_SYNTAX;
    struct str local = str_head(text, (size_t)at), domain = str_skip(text, (size_t)at + 1);
    char unquoted[AUTH_ADDRESS_MAX];
    if (local.p[0] == '"') {
        size_t n;
        TRY(unquote(local, unquoted, &n));
        local = str_from(unquoted, n);
        out->is_plain = is_dotted(local, is_atext, LOCAL_MAX);
    } else if (is_dotted(local, is_atext, LOCAL_MAX)) {
        out->is_plain = true;
    } else {
        return RC_SYNTAX;
    }
    if (local.n > LOCAL_MAX) /* [RFC5321 4.5.3.1.1] */
        return RC_SYNTAX;
    if (!is_dotted(domain, is_label_byte, 63) && !is_literal(domain))
        return RC_SYNTAX;
    size_t n = put_lower(out->text, local);
    out->text[n] = '@';
    put_lower(out->text + n + 1, domain);
    out->whole = str_from(out->text, n + 1 + domain.n);
    out->local = str_head(out->whole, n);
    out->domain = str_skip(out->whole, n + 1);
    return RC_OK;
}

enum rc auth_domain_parse(struct str text, struct domain_name *out)
{
    /* The shortest local part and the @ must fit as well. */
    if (text.n > AUTH_ADDRESS_MAX - 2 || !is_dotted(text, is_label_byte, 63))
        return RC_SYNTAX;
    struct str rest = text, label;
    while (str_cut(&rest, '.', &label))
        if (label.p[0] == '-' || label.p[label.n - 1] == '-' || str_find_byte(label, '_') >= 0)
            return RC_SYNTAX;
    out->name = str_from(out->text, put_lower(out->text, text));
    return RC_OK;
}
