/* Dates of commands [RFC3501 9] [RFC9051 9]. Pure. */
#include "imap/parse_int.h"

static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

/* Days from 1970-01-01 in the proleptic Gregorian calendar. */
static int64_t day_of(int64_t year, unsigned month, unsigned day)
{
    year -= month <= 2;
    int64_t era = (year >= 0 ? year : year - 399) / 400;
    int64_t of_era = year - era * 400;
    int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static bool is_day(unsigned year, unsigned month, unsigned day)
{
    static const unsigned char days[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool is_leap = (year % 4 == 0 && year % 100) || year % 400 == 0;
    return day && day <= days[month - 1] && (month != 2 || day < 29 || is_leap);
}

static bool take_two(struct imap_parse *p, unsigned most, unsigned *out)
{
    if (p->rest.n < 2 || !ascii_is_digit(p->rest.p[0]) || !ascii_is_digit(p->rest.p[1]))
        return false;
    *out = (unsigned)(p->rest.p[0] - '0') * 10 + (unsigned)(p->rest.p[1] - '0');
    p->rest = str_skip(p->rest, 2);
    return *out <= most;
}

/* "-Jul-1996" */
static bool take_month_and_year(struct imap_parse *p, unsigned *out_month, unsigned *out_year)
{
    unsigned century, year;
    *out_month = 0;
    if (!imap_take_byte(p, '-'))
        return false;
    for (unsigned m = 0; m < 12 && !*out_month; m++)
        if (str_ieq(str_head(p->rest, 3), str_from(months + 3 * m, 3)))
            *out_month = m + 1;
    p->rest = str_skip(p->rest, 3);
    if (!*out_month || !imap_take_byte(p, '-') || !take_two(p, 99, &century) ||
        !take_two(p, 99, &year))
        return false;
    *out_year = century * 100 + year;
    return true;
}

static bool take_day(struct imap_parse *p, unsigned *out)
{
    if (p->rest.n > 1 && p->rest.p[1] == '-' && ascii_is_digit(p->rest.p[0])) {
        *out = (unsigned)(p->rest.p[0] - '0');
        p->rest = str_skip(p->rest, 1);
        return true;
    }
    return take_two(p, 31, out);
}

bool imap_take_date(struct imap_parse *p, int64_t *out_day)
{
    unsigned day, month, year;
    bool is_quoted = imap_take_byte(p, '"');
    if (!take_day(p, &day) || !take_month_and_year(p, &month, &year) || !is_day(year, month, day) ||
        (is_quoted && !imap_take_byte(p, '"')))
        return imap_fail(p, "a date such as 17-Jul-1996");
    *out_day = day_of(year, month, day);
    return true;
}

static bool take_time(struct imap_parse *p, int64_t *out_seconds)
{
    unsigned hour, minute, second, zone_hour, zone_minute;
    if (!take_two(p, 23, &hour) || !imap_take_byte(p, ':') || !take_two(p, 59, &minute) ||
        !imap_take_byte(p, ':') || !take_two(p, 60, &second) || !imap_take_byte(p, ' '))
        return false;
    bool is_west = imap_take_byte(p, '-');
    if ((!is_west && !imap_take_byte(p, '+')) || !take_two(p, 23, &zone_hour) ||
        !take_two(p, 59, &zone_minute))
        return false;
    int64_t zone = (int64_t)zone_hour * 3600 + zone_minute * 60;
    *out_seconds = (int64_t)hour * 3600 + minute * 60 + second + (is_west ? zone : -zone);
    return true;
}

bool imap_take_date_time(struct imap_parse *p, uint64_t *out_ns)
{
    unsigned day, month, year;
    int64_t seconds;
    bool is_there = imap_take_byte(p, '"');
    imap_take_byte(p, ' '); /* date-day-fixed: a space before one digit */
    is_there = is_there && take_day(p, &day) && take_month_and_year(p, &month, &year) &&
               is_day(year, month, day) && imap_take_byte(p, ' ') && take_time(p, &seconds) &&
               imap_take_byte(p, '"');
    if (!is_there)
        return imap_fail(p, "a date and time such as \"17-Jul-1996 02:44:25 -0700\"");
    const int64_t most = INT64_MAX / (int64_t)NS_PER_SEC; /* in April 2262 */
    seconds += day_of(year, month, day) * 86400;
    seconds = seconds < 0 ? 0 : seconds > most ? most : seconds; /* the nearest that can be told */
    *out_ns = (uint64_t)seconds * NS_PER_SEC;
    return true;
}

/* --- of messages ------------------------------------------------------------------------------ */

/* Skips what stands between words: anything that is none, and comments with what is in them. */
static struct str skip_to_word(struct str s)
{
    unsigned depth = 0;
    while (s.n && (depth || (!ascii_is_digit(s.p[0]) && !ascii_is_alpha(s.p[0])))) {
        depth += s.p[0] == '(';
        depth -= depth && s.p[0] == ')';
        s = str_skip(s, depth && s.p[0] == '\\' ? 2 : 1);
    }
    return s;
}

static struct str take_run(struct str *s, bool (*is_of)(char))
{
    size_t n = 0;
    *s = skip_to_word(*s);
    while (n < s->n && is_of(s->p[n]))
        n++;
    struct str run = str_head(*s, n);
    *s = str_skip(*s, n);
    return run;
}

/* [RFC5322 4.3]: two digits are of 1950 to 2049, three count from 1900. */
static unsigned whole_year(uint64_t year, size_t digits)
{
    if (digits == 2)
        return (unsigned)(year < 50 ? year + 2000 : year + 1900);
    return (unsigned)(digits == 3 ? year + 1900 : year);
}

/* Takes the day and what stands before it off *s. */
static bool read_day(struct str *s, int64_t *out_day)
{
    uint64_t day, year;
    unsigned month = 0;
    take_run(s, ascii_is_alpha); /* the day of the week */
    struct str days = take_run(s, ascii_is_digit);
    struct str name = take_run(s, ascii_is_alpha);
    struct str years = take_run(s, ascii_is_digit);
    for (unsigned m = 0; m < 12 && !month; m++)
        if (str_ieq(str_head(name, 3), str_from(months + 3 * m, 3)))
            month = m + 1;
    if (!month || days.n > 2 || years.n < 2 || years.n > 4 || str_to_u64(days, &day) != RC_OK ||
        str_to_u64(years, &year) != RC_OK)
        return false;
    unsigned whole = whole_year(year, years.n);
    if (!is_day(whole, month, (unsigned)day))
        return false;
    *out_day = day_of(whole, month, (unsigned)day);
    return true;
}

bool imap_read_date(struct str value, int64_t *out_day)
{
    return read_day(&value, out_day);
}

static bool read_clock(struct str *s, int64_t *out_seconds)
{
    uint64_t n[3] = {0};
    struct str rest = *s;
    for (unsigned i = 0; i < 3; i++) {
        struct str digits = take_run(&rest, ascii_is_digit);
        if (!digits.n || digits.n > 2 || str_to_u64(digits, &n[i]) != RC_OK)
            return false;
        struct str behind = str_trim(rest);
        if (i == 2 || (i == 1 && !str_starts(behind, STR(":"))))
            break;
        if (!str_starts(behind, STR(":")))
            return false;
        rest = str_skip(behind, 1);
    }
    if (n[0] > 23 || n[1] > 59 || n[2] > 60)
        return false;
    *s = rest;
    *out_seconds = (int64_t)(n[0] * 3600 + n[1] * 60 + n[2]);
    return true;
}

/* East of Greenwich; what is no zone is UTC [RFC5256 2.2] [RFC5322 4.3]. */
static int64_t read_zone(struct str s)
{
    static const struct {
        struct str name;
        int hours;
    } zones[] = {{STR_INIT("EST"), -5}, {STR_INIT("EDT"), -4}, {STR_INIT("CST"), -6},
                 {STR_INIT("CDT"), -5}, {STR_INIT("MST"), -7}, {STR_INIT("MDT"), -6},
                 {STR_INIT("PST"), -8}, {STR_INIT("PDT"), -7}};
    uint64_t n;
    s = str_trim(s);
    for (ptrdiff_t end; str_starts(s, STR("(")) && (end = str_find_byte(s, ')')) > 0;)
        s = str_trim(str_skip(s, (size_t)end + 1));
    if (s.n >= 5 && (s.p[0] == '+' || s.p[0] == '-') && str_to_u64(str_sub(s, 1, 4), &n) == RC_OK &&
        n % 100 < 60) {
        int64_t seconds = (int64_t)(n / 100 * 3600 + n % 100 * 60);
        return s.p[0] == '-' ? -seconds : seconds;
    }
    for (size_t i = 0; i < sizeof zones / sizeof *zones; i++)
        if (str_istarts(s, zones[i].name))
            return (int64_t)zones[i].hours * 3600;
    return 0;
}

bool imap_read_sent(struct str value, int64_t *out_seconds)
{
    int64_t day, seconds = 0, zone = 0;
    if (!read_day(&value, &day))
        return false;
    if (read_clock(&value, &seconds)) /* otherwise midnight [RFC5256 2.2] */
        zone = read_zone(value);
    *out_seconds = day * 86400 + seconds - zone;
    return true;
}

/* --- to the client ---------------------------------------------------------------------------- */

static char *put_two(char *to, unsigned n)
{
    to[0] = (char)('0' + n / 10);
    to[1] = (char)('0' + n % 10);
    return to + 2;
}

/* day_of, the other way round: the year begins in March, so that leap days come last. */
static char *put_day(char *to, uint64_t day)
{
    uint64_t z = day + 719468, era = z / 146097;
    unsigned of_era = (unsigned)(z % 146097);
    unsigned year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    unsigned of_year = of_era - (365 * year + year / 4 - year / 100);
    unsigned march = (5 * of_year + 2) / 153, of_month = of_year - (153 * march + 2) / 5 + 1;
    unsigned month = march < 10 ? march + 3 : march - 9;
    year += (unsigned)era * 400 + (month <= 2);
    to = put_two(to, of_month);
    if (of_month < 10)
        to[-2] = ' '; /* date-day-fixed [RFC3501 9] [RFC9051 9] */
    *to++ = '-';
    for (unsigned i = 0; i < 3; i++)
        *to++ = months[3 * (month - 1) + i];
    *to++ = '-';
    return put_two(put_two(to, year / 100 % 100), year % 100);
}

char *imap_put_date_time(char *to, uint64_t ns)
{
    uint64_t seconds = ns / NS_PER_SEC;
    unsigned of_day = (unsigned)(seconds % 86400);
    *to++ = '"';
    to = put_day(to, seconds / 86400);
    *to++ = ' ';
    to = put_two(to, of_day / 3600);
    *to++ = ':';
    to = put_two(to, of_day / 60 % 60);
    *to++ = ':';
    to = put_two(to, of_day % 60);
    for (const char *zone = " +0000\""; *zone; zone++)
        *to++ = *zone;
    return to;
}
