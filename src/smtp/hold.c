/* When a message is to go on: the values of HOLDFOR and HOLDUNTIL [RFC4865 3] [RFC3339 5.6].
 *
 * What is no such value must be refused [RFC4865 4.2], so times are taken in UTC alone. A fraction
 * of a second counts as a whole one: nothing goes on too early. */
#include "smtp/smtp.h"

#include <time.h>

enum { DIGITS_MAX = 9 };

enum rc smtp_holdfor_parse(struct str value, uint64_t *out_seconds)
{
    bool is_positive = value.n > 0 && value.n <= DIGITS_MAX && value.p[0] != '0';
    return is_positive ? str_to_u64(value, out_seconds) : RC_SYNTAX;
}

/* A number of exactly n digits, and the byte behind it (0: none). */
static bool take(struct str *s, size_t n, char behind, int *out)
{
    uint64_t number;
    if (s->n < n + (behind != 0) || str_to_u64(str_head(*s, n), &number) != RC_OK ||
        (behind && ascii_upper(s->p[n]) != behind))
        return false;
    *out = (int)number;
    *s = str_skip(*s, n + (behind != 0));
    return true;
}

/* Whether it is more than nothing. */
static bool take_fraction(struct str *s)
{
    bool is_any = false;
    if (s->n < 2 || s->p[0] != '.' || !ascii_is_digit(s->p[1]))
        return false;
    size_t n = 1;
    for (; n < s->n && ascii_is_digit(s->p[n]); n++)
        is_any |= s->p[n] != '0';
    *s = str_skip(*s, n);
    return is_any;
}

static bool is_utc(struct str zone)
{
    return str_ieq(zone, STR("Z")) || str_eq(zone, STR("+00:00")) || str_eq(zone, STR("-00:00"));
}

enum rc smtp_holduntil_parse(struct str value, uint64_t *out_seconds)
{
    struct tm tm = {0};
    if (!take(&value, 4, '-', &tm.tm_year) || !take(&value, 2, '-', &tm.tm_mon) ||
        !take(&value, 2, 'T', &tm.tm_mday) || !take(&value, 2, ':', &tm.tm_hour) ||
        !take(&value, 2, ':', &tm.tm_min) || !take(&value, 2, 0, &tm.tm_sec))
        return RC_SYNTAX;
    bool has_fraction = take_fraction(&value);
    if (!is_utc(value) || tm.tm_mon < 1 || tm.tm_mon > 12 || tm.tm_mday < 1 || tm.tm_hour > 23 ||
        tm.tm_min > 59 || tm.tm_sec > 60 || tm.tm_year < 1970)
        return RC_SYNTAX;
    const struct tm day = {
        .tm_year = tm.tm_year - 1900, .tm_mon = tm.tm_mon - 1, .tm_mday = tm.tm_mday};
    struct tm whole = day, first = day;
    (void)timegm(&first);
    if (first.tm_mday != day.tm_mday || first.tm_mon != day.tm_mon) /* the 31st of June */
        return RC_SYNTAX;
    whole.tm_hour = tm.tm_hour;
    whole.tm_min = tm.tm_min;
    whole.tm_sec = tm.tm_sec;
    time_t at = timegm(&whole) + has_fraction;
    *out_seconds = at > 0 ? (uint64_t)at : 0;
    return RC_OK;
}
