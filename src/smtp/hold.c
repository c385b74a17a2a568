/* When a message is to go on: the values of HOLDFOR and HOLDUNTIL [RFC4865 3] [RFC3339 5.6]. */
#include "smtp/smtp.h"

#include <time.h>

enum { DIGITS_MAX = 9, MINUTE_S = 60, HOUR_S = 3600 };

enum rc smtp_holdfor_parse(struct str value, uint64_t *out_seconds)
{
    return value.n > 0 && value.n <= DIGITS_MAX ? str_to_u64(value, out_seconds) : RC_SYNTAX;
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

static void skip_fraction(struct str *s)
{
    if (s->n < 2 || s->p[0] != '.' || !ascii_is_digit(s->p[1]))
        return;
    size_t n = 1;
    while (n < s->n && ascii_is_digit(s->p[n]))
        n++;
    *s = str_skip(*s, n);
}

/* "Z", "+01:00": seconds east of Greenwich. */
static bool take_zone(struct str s, int *out)
{
    int hours, minutes;
    *out = 0;
    if (s.n == 1 && ascii_upper(s.p[0]) == 'Z')
        return true;
    if (s.n != 6 || (s.p[0] != '+' && s.p[0] != '-'))
        return false;
    int sign = s.p[0] == '+' ? 1 : -1;
    s = str_skip(s, 1);
    if (!take(&s, 2, ':', &hours) || !take(&s, 2, 0, &minutes) || hours > 23 || minutes > 59)
        return false;
    *out = sign * (hours * HOUR_S + minutes * MINUTE_S);
    return true;
}

enum rc smtp_holduntil_parse(struct str value, uint64_t *out_seconds)
{
    struct tm tm = {0};
    int zone;
    if (!take(&value, 4, '-', &tm.tm_year) || !take(&value, 2, '-', &tm.tm_mon) ||
        !take(&value, 2, 'T', &tm.tm_mday) || !take(&value, 2, ':', &tm.tm_hour) ||
        !take(&value, 2, ':', &tm.tm_min) || !take(&value, 2, 0, &tm.tm_sec))
        return RC_SYNTAX;
    skip_fraction(&value);
    if (!take_zone(value, &zone) || tm.tm_mon < 1 || tm.tm_mon > 12 || tm.tm_mday < 1 ||
        tm.tm_hour > 23 || tm.tm_min > 59 || tm.tm_sec > 60 || tm.tm_year < 1970)
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
    time_t at = timegm(&whole) - zone;
    *out_seconds = at > 0 ? (uint64_t)at : 0;
    return RC_OK;
}
