/* What a sender may wish to be told: the values of RET and ENVID [RFC3461 4.3] [RFC3461 4.4], of
 * NOTIFY and ORCPT [RFC3461 4.1] [RFC3461 4.2], and the encodings in them: xtext [RFC3461 4] and
 * unitext [RFC6533 3].
 *
 * Values are checked and kept as they came, since a relay must hand on the very same octets
 * [RFC3461 5.2.1]; decoding is for whoever writes a report. */
#include "smtp/smtp.h"

#include "base/utf8.h"

#include <string.h>

/* Upper case only, as both encodings demand. -1: not a digit. */
static int hex_value(char c)
{
    return c == ascii_upper(c) ? ascii_hex(c) : -1;
}

/* "+2B" at s[i] as an octet, or -1. */
static int hexchar_at(struct str s, size_t i)
{
    if (i + 2 >= s.n)
        return -1;
    int high = hex_value(s.p[i + 1]), low = hex_value(s.p[i + 2]);
    return high < 0 || low < 0 ? -1 : high << 4 | low;
}

enum rc smtp_xtext_decode(struct str s, struct buf *out)
{
    for (size_t i = 0; i < s.n; i++) {
        int octet = (unsigned char)s.p[i];
        if (octet <= ' ' || octet > '~' || octet == '=')
            return RC_SYNTAX;
        if (octet == '+') {
            octet = hexchar_at(s, i);
            i += 2;
        }
        if (octet < 0)
            return RC_SYNTAX;
        TRY(buf_add_byte(out, (char)octet));
    }
    return RC_OK;
}

/* Whether it is xtext for printable ASCII and spaces, which is all that a report can hold. */
static enum rc check_xtext(struct str s)
{
    struct buf text;
    buf_init(&text, s.n + 1);
    enum rc rc = smtp_xtext_decode(s, &text);
    struct str t = buf_str(&text);
    for (size_t i = 0; rc == RC_OK && i < t.n; i++)
        if (!ascii_is_print(t.p[i]) && t.p[i] != '\t')
            rc = RC_SYNTAX;
    buf_fini(&text);
    return rc;
}

enum rc smtp_ret_parse(struct str value, enum smtp_ret *out)
{
    if (str_ieq(value, STR("FULL")))
        *out = SMTP_RET_FULL;
    else if (str_ieq(value, STR("HDRS")))
        *out = SMTP_RET_HDRS;
    else
        return RC_SYNTAX;
    return RC_OK;
}

enum rc smtp_envid_check(struct str value)
{
    if (value.n > SMTP_ENVID_MAX)
        return RC_LIMIT;
    return value.n > 0 ? check_xtext(value) : RC_SYNTAX;
}

static unsigned notify_bit(struct str word)
{
    static const struct {
        struct str word;
        unsigned bit;
    } words[] = {
        {STR_INIT("NEVER"), SMTP_NOTIFY_NEVER},
        {STR_INIT("SUCCESS"), SMTP_NOTIFY_SUCCESS},
        {STR_INIT("FAILURE"), SMTP_NOTIFY_FAILURE},
        {STR_INIT("DELAY"), SMTP_NOTIFY_DELAY},
    };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (str_ieq(word, words[i].word))
            return words[i].bit;
    return 0;
}

enum rc smtp_notify_parse(struct str value, unsigned *out)
{
    struct str rest = value, word;
    *out = 0;
    while (str_cut(&rest, ',', &word)) {
        unsigned bit = notify_bit(word);
        if (bit == 0 || (*out & bit))
            return RC_SYNTAX;
        *out |= bit;
    }
    /* NEVER stands by itself [RFC3461 4.1]. */
    bool is_mixed = (*out & SMTP_NOTIFY_NEVER) && *out != SMTP_NOTIFY_NEVER;
    return *out != 0 && !is_mixed ? RC_OK : RC_SYNTAX;
}

/* "\x{E9}" at s[i]: its length, or 0. It may stand for what is not ASCII, and for the few ASCII
 * characters that cannot stand for themselves [RFC6533 3]. */
static size_t embedded_at(struct str s, size_t i)
{
    struct str rest = str_skip(s, i);
    uint32_t point = 0;
    if (!str_starts(rest, STR("\\x{")))
        return 0;
    ptrdiff_t end = str_find_byte(str_head(rest, 10), '}');
    struct str digits = str_sub(rest, 3, end < 3 ? 0 : (size_t)end - 3);
    if (digits.n < 2 || (digits.n > 2 && digits.p[0] == '0'))
        return 0;
    for (size_t k = 0; k < digits.n; k++) {
        int digit = hex_value(digits.p[k]);
        if (digit < 0)
            return 0;
        point = point << 4 | (uint32_t)digit;
    }
    bool is_plain = point > ' ' && point < 0x7f && !memchr("\\+=", (int)point, 3);
    bool is_surrogate = point >= 0xd800 && point <= 0xdfff;
    return point == 0 || is_plain || is_surrogate || point > 0x10ffff ? 0 : digits.n + 4;
}

static enum rc put_point(uint32_t point, struct buf *out)
{
    char utf8[UTF8_MAX];
    return buf_add(out, str_from(utf8, utf8_put(utf8, point)));
}

enum rc smtp_unitext_decode(struct str s, struct buf *out)
{
    if (!utf8_is_valid(s))
        return RC_SYNTAX;
    for (size_t i = 0; i < s.n; i++) {
        uint32_t point = 0;
        size_t embedded = embedded_at(s, i);
        unsigned char c = (unsigned char)s.p[i];
        if (embedded == 0 && (c <= ' ' || c == 0x7f || memchr("\\+=", c, 3)))
            return RC_SYNTAX;
        for (size_t k = i + 3; embedded > 0 && s.p[k] != '}'; k++)
            point = point << 4 | (uint32_t)hex_value(s.p[k]);
        TRY(embedded > 0 ? put_point(point, out) : buf_add_byte(out, (char)c));
        i += embedded > 0 ? embedded - 1 : 0;
    }
    return RC_OK;
}

enum rc smtp_unitext_put(struct buf *out, struct str s)
{
    if (!utf8_is_valid(s))
        return RC_SYNTAX;
    while (s.n > 0) {
        uint32_t point = utf8_take(&s);
        if (point < 0x80)
            TRY(buf_add_byte(out, (char)point));
        else
            TRY(buf_printf(out, "\\x{%X}", (unsigned)point));
    }
    return RC_OK;
}

static enum rc check_unitext(struct str s, bool is_utf8)
{
    struct buf address;
    buf_init(&address, s.n + 1);
    enum rc rc = is_utf8 || utf8_is_ascii(s) ? smtp_unitext_decode(s, &address) : RC_SYNTAX;
    buf_fini(&address);
    return rc;
}

enum rc smtp_orcpt_check(struct str value, bool is_utf8)
{
    struct str address = value, type;
    if (value.n > SMTP_ORCPT_MAX)
        return RC_LIMIT;
    if (!str_cut(&address, ';', &type) || address.n == 0 || !smtp_is_atom(type))
        return RC_SYNTAX;
    if (str_find_byte(type, '=') >= 0) /* an atom may, the value of a parameter may not */
        return RC_SYNTAX;
    /* What is called UTF-8 and is not is xtext as any other [RFC6533 3]. */
    if (str_ieq(type, STR("utf-8")) && check_unitext(address, is_utf8) == RC_OK)
        return RC_OK;
    return check_xtext(address);
}
