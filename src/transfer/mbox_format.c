/* Lines and fields of mbox files, as mutt, Dovecot, c-client and Thunderbird write them. Pure. */
#include "transfer/mbox_int.h"

#include <string.h>
#include <time.h>

/* --- "From " ---------------------------------------------------------------------------------- */

enum { WORDS = 12 };

static const char days[] = "SunMonTueWedThuFriSat",
                  months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

static int find_name(const char *names, size_t n, struct str word)
{
    for (size_t i = 0; i < n; i++)
        if (word.n == 3 && memcmp(names + 3 * i, word.p, 3) == 0)
            return (int)i;
    return -1;
}

static bool number(struct str word, uint64_t most, int *out)
{
    uint64_t n;
    if (word.n == 0 || word.n > 4 || str_to_u64(word, &n) != RC_OK || n > most)
        return false;
    *out = (int)n;
    return true;
}

/* "09:30" or "09:30:00" */
static bool clock_time(struct str word, struct tm *tm)
{
    struct str hour, minute;
    if (!str_cut(&word, ':', &hour) || !str_cut(&word, ':', &minute) || minute.n != 2)
        return false;
    if (!number(hour, 23, &tm->tm_hour) || !number(minute, 59, &tm->tm_min))
        return false;
    return str_is_null(word) || (word.n == 2 && number(word, 60, &tm->tm_sec));
}

static bool zone(struct str word, long *out)
{
    int n;
    if (word.n != 5 || (word.p[0] != '+' && word.p[0] != '-') ||
        !number(str_skip(word, 1), 9999, &n))
        return false;
    *out = (n / 100 * 60 + n % 100) * 60 * (word.p[0] == '-' ? -1 : 1);
    return true;
}

static bool is_zone_name(struct str word)
{
    for (size_t i = 0; i < word.n; i++)
        if (!ascii_is_alpha(word.p[i]))
            return false;
    return word.n > 0 && word.n <= 5;
}

/* Behind the time: the year, with a zone in numbers or letters before or behind it, or both. */
static bool year_and_zone(const struct str *words, size_t n, struct tm *tm, long *out_offset)
{
    bool has_year = false;
    for (size_t i = 0; i < n; i++) {
        int year;
        if (!has_year && words[i].n == 4 && number(words[i], 9999, &year) && year >= 1970) {
            tm->tm_year = year - 1900;
            has_year = true;
        } else if (!zone(words[i], out_offset) && !is_zone_name(words[i])) {
            return false;
        }
    }
    return has_year;
}

/* "Mon Jun 14 15:14:47 2010" */
static bool date(const struct str *words, size_t n, uint64_t *out)
{
    struct tm tm = {0};
    long offset = 0;
    if (n < 5 || n > 7 || find_name(days, 7, words[0]) < 0)
        return false;
    tm.tm_mon = find_name(months, 12, words[1]);
    if (tm.tm_mon < 0 || !number(words[2], 31, &tm.tm_mday) || tm.tm_mday == 0 ||
        !clock_time(words[3], &tm) || !year_and_zone(words + 4, n - 4, &tm, &offset))
        return false;
    time_t time = timegm(&tm) - offset;
    *out = time > 0 ? (uint64_t)time : 0;
    return true;
}

bool mbox_from_line(struct str line, struct str *out_sender, uint64_t *out_time)
{
    struct str words[WORDS], word;
    size_t n = 0;
    if (!str_starts(line, STR("From ")))
        return false;
    if (line.p[line.n - 1] == '\r')
        line.n--;
    line = str_skip(line, 5);
    /* A sender may have spaces, so the date is looked for from the right. */
    while (str_cut(&line, ' ', &word)) {
        if (!word.n)
            continue;
        if (n == WORDS) {
            memmove(words, words + 1, (WORDS - 1) * sizeof *words);
            n--;
        }
        words[n++] = word;
    }
    for (size_t i = 0; i < n; i++)
        if (date(words + i, n - i, out_time)) {
            *out_sender = i ? words[i - 1] : STR("");
            return true;
        }
    return false;
}

/* --- fields ----------------------------------------------------------------------------------- */

void mbox_fields_init(struct mbox_fields *f)
{
    *f = (struct mbox_fields){.length = UINT64_MAX};
}

/* RO is read; X-Status has A, F, D(eleted), T (draft). */
static void take_status(struct mbox_fields *f, struct str value, struct arena *arena)
{
    for (size_t i = 0; i < value.n; i++)
        f->flags |= value.p[i] == 'R' ? STORE_SEEN : 0;
}

static void take_x_status(struct mbox_fields *f, struct str value, struct arena *arena)
{
    for (size_t i = 0; i < value.n; i++)
        f->flags |= value.p[i] == 'A'   ? STORE_ANSWERED
                    : value.p[i] == 'F' ? STORE_FLAGGED
                    : value.p[i] == 'D' ? STORE_DELETED
                    : value.p[i] == 'T' ? STORE_DRAFT
                                        : 0;
}

static void take_keywords(struct mbox_fields *f, struct str value, struct arena *arena)
{
    size_t at = 0;
    while (at < value.n && f->n_keywords < TRANSFER_KEYWORDS) {
        size_t from = at;
        while (at < value.n && !strchr(" ,\t\r\n", value.p[at]))
            at++;
        if (at > from)
            f->keywords[f->n_keywords++] = arena_dup(
                arena, str_sub(value, from,
                               at - from > STORE_KEYWORD_MAX ? STORE_KEYWORD_MAX + 1 : at - from));
        at++;
    }
}

static void take_uidl(struct mbox_fields *f, struct str value, struct arena *arena)
{
    f->uidl = arena_dup(arena, str_head(str_trim(value), STORE_UIDL_MAX + 1));
}

static void take_length(struct mbox_fields *f, struct str value, struct arena *arena)
{
    uint64_t n;
    if (str_to_u64(str_trim(value), &n) == RC_OK)
        f->length = n;
}

static void take_internal(struct mbox_fields *f, struct str value, struct arena *arena)
{
    f->is_internal = true;
}

bool mbox_field_take(struct mbox_fields *f, struct str field, struct arena *arena)
{
    static const struct {
        const char *name;
        void (*take)(struct mbox_fields *f, struct str value, struct arena *arena);
    } fields[] = {
        {"Status", take_status},
        {"X-Status", take_x_status},
        {"X-Keywords", take_keywords},
        {"X-UIDL", take_uidl},
        {"X-UID", NULL},
        {"Content-Length", take_length},
        {"X-IMAP", take_internal},
        {"X-IMAPbase", NULL},
    };
    ptrdiff_t colon = str_find_byte(field, ':');
    for (size_t i = 0; colon >= 0 && i < sizeof fields / sizeof *fields; i++) {
        if (!str_ieq(str_head(field, (size_t)colon), str_of(fields[i].name)))
            continue;
        if (fields[i].take)
            fields[i].take(f, str_skip(field, (size_t)colon + 1), arena);
        return true;
    }
    return false;
}

static bool is_quotable(struct str line)
{
    size_t n = 0;
    while (n < line.n && line.p[n] == '>')
        n++;
    return str_starts(str_skip(line, n), STR("From "));
}

struct str mbox_unquote(struct str line)
{
    return line.n && line.p[0] == '>' && is_quotable(line) ? str_skip(line, 1) : line;
}

bool mbox_needs_quote(struct str line)
{
    return is_quotable(line);
}
