/* What APPEND says of a message before its bytes [RFC3501 6.3.11] [RFC9051 6.3.12] [RFC3502]
 * [RFC3516 4.4]. Pure.
 *
 * "UTF8 (~{310}", of the standard before RFC 9755, is what Thunderbird sends for every message once
 * it has enabled UTF8=ACCEPT [RFC6855 4]. It says nothing about the message that would matter. */
#include "imap/parse_int.h"

/* "{310}", "{310+}", "~{310}": nothing comes behind it in its line. */
static bool take_announcement(struct imap_parse *p, struct imap_literal *out)
{
    ptrdiff_t open = str_find_byte(p->rest, '{');
    bool is_there = imap_literal_at_end(p->rest, out) && !out->is_broken;
    if (!is_there || open != (out->is_binary ? 1 : 0))
        return imap_fail(p, "flags, a date, or the message as a literal");
    p->rest = str_skip(p->rest, p->rest.n);
    return true;
}

bool imap_take_item(struct imap_parse *p, struct imap_item *out)
{
    *out = (struct imap_item){0};
    if (!imap_take_sp(p))
        return false;
    if (imap_peek_byte(p, '(') && (!imap_take_flags(p, true, &out->flags) || !imap_take_sp(p)))
        return false;
    out->has_date = imap_peek_byte(p, '"');
    if (out->has_date && (!imap_take_date_time(p, &out->received) || !imap_take_sp(p)))
        return false;
    if (p->is_utf8_only && imap_take_word(p, STR("UTF8"))) {
        if (!imap_take_sp(p) || !imap_take_byte(p, '('))
            return imap_fail(p, "the message as a literal in parentheses");
        out->is_wrapped = true;
    }
    return take_announcement(p, &out->literal);
}
