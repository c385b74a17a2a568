/* Lists of tag=value [RFC6376 3.2]: key records and signatures are such. */
#include "mailauth/mailauth_int.h"

static bool is_name(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!ascii_is_alpha(s.p[i]) && (i == 0 || (!ascii_is_digit(s.p[i]) && s.p[i] != '_')))
            return false;
    return s.n > 0;
}

/* VALCHAR and white space between. */
static bool is_value(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (!ascii_is_print(c) && c != '\t' && c != '\r' && c != '\n')
            return false;
    }
    return true;
}

enum rc mailauth_tag_next(struct str *rest, struct str *out_name, struct str *out_value)
{
    struct str tag;
    if (!str_cut(rest, ';', &tag))
        return RC_EOF;
    tag = str_trim(tag);
    if (tag.n == 0 && str_is_null(*rest))
        return RC_EOF; /* behind the last semicolon */
    ptrdiff_t at = str_find_byte(tag, '=');
    if (at < 0)
        return RC_SYNTAX;
    *out_name = str_trim(str_head(tag, (size_t)at));
    *out_value = str_trim(str_skip(tag, (size_t)at + 1));
    return is_name(*out_name) && is_value(*out_value) ? RC_OK : RC_SYNTAX;
}
