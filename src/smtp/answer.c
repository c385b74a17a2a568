/* Replies as a client reads them [RFC5321 4.2] [RFC2034 4], and words made harmless.
 *
 * The reader holds no bytes but the words it keeps: lines are views into the input, and what has
 * been read adds to a count alone, so a host that never ends its reply costs nothing and comes to
 * its end at a number. What the words are is nobody's secret channel: they end up in logs, queue
 * listings and reports, so they are cleaned here, once. */
#include "smtp/smtp.h"

#include "base/utf8.h"

#include <string.h>

/* --- words */

/* Characters that are not seen, end a line, or turn the direction of what follows. */
static bool is_harmful(uint32_t point)
{
    return point < 0x20 || (point >= 0x7f && point < 0xa0) || point == 0x61c || point == 0xfeff ||
           (point >= 0x200b && point <= 0x200f) || (point >= 0x2028 && point <= 0x202e) ||
           (point >= 0x2060 && point <= 0x206f);
}

/* Takes the next character off *s as it may be shown; of what may not, each byte. */
static struct str clean_next(struct str *s)
{
    struct str rest = *s;
    size_t n = utf8_length(*s);
    bool is_whole = n > 0 && n != SIZE_MAX;
    struct str one = str_head(*s, is_whole ? n : 1);
    if (s->p[0] == '\t')
        one = STR(" ");
    else if (!is_whole || is_harmful(utf8_take(&rest)))
        one = STR("?");
    *s = str_skip(*s, one.n);
    return one;
}

void smtp_clean_put(struct buf *out, struct str text)
{
    while (text.n > 0)
        if (buf_add(out, clean_next(&text)) != RC_OK)
            return;
}

static void keep_words(struct smtp_answer *a, struct str words)
{
    words = str_trim(words);
    if (a->n > 0 && words.n > 0 && a->n < SMTP_ANSWER_TEXT)
        a->text[a->n++] = ' ';
    while (words.n > 0) {
        struct str one = clean_next(&words);
        if (a->n + one.n > SMTP_ANSWER_TEXT)
            break;
        memcpy(a->text + a->n, one.p, one.n);
        a->n += one.n;
    }
    a->text[a->n] = '\0';
}

/* --- codes */

const char *smtp_status_of(unsigned code)
{
    static const struct {
        unsigned code;
        const char *status;
    } rows[] = {
        {421, "4.3.2"}, {450, "4.2.0"}, {451, "4.3.0"},  {452, "4.3.1"}, {454, "4.7.0"},
        {500, "5.5.2"}, {501, "5.5.4"}, {502, "5.5.1"},  {503, "5.5.1"}, {504, "5.5.4"},
        {521, "5.3.2"}, {530, "5.7.0"}, {535, "5.7.8"},  {551, "5.1.6"}, {552, "5.2.2"},
        {553, "5.1.3"}, {555, "5.5.4"}, {556, "5.1.10"}, /* [RFC7504 2] [RFC7504 3] */
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].code == code)
            return rows[i].status;
    return code >= 500 ? "5.0.0" : code >= 400 ? "4.0.0" : "2.0.0";
}

/* How many of up to three digits stand at s[i]. */
static size_t digits_at(struct str s, size_t i)
{
    size_t n = 0;
    while (n < 3 && i + n < s.n && ascii_is_digit(s.p[i + n]))
        n++;
    return n;
}

/* status-code = class "." subject "." detail, with the class of the code [RFC2034 4]. Its length
 * at the beginning of the words, or 0. */
static size_t status_at(struct str words, unsigned code)
{
    size_t n = 2, digits;
    if (words.n < 5 || words.p[0] != (char)('0' + code / 100) || words.p[1] != '.')
        return 0;
    digits = digits_at(words, n);
    n += digits;
    if (digits == 0 || n >= words.n || words.p[n] != '.')
        return 0;
    digits = digits_at(words, ++n);
    n += digits;
    if (digits == 0 || (n < words.n && words.p[n] != ' '))
        return 0;
    return n;
}

static void take_words(struct smtp_answer *a, struct str words)
{
    size_t n = status_at(words, a->code);
    if (n > 0 && !a->has_status) {
        memcpy(a->status, words.p, n);
        a->status[n] = '\0';
        a->has_status = true;
    }
    keep_words(a, str_skip(words, n));
}

/* Three digits of which the first is 2 to 5, or 0 [RFC5321 4.2.1]. */
static unsigned code_of(struct str line)
{
    if (digits_at(line, 0) < 3 || line.p[0] < '2' || line.p[0] > '5')
        return 0;
    if (line.n > 3 && line.p[3] != ' ' && line.p[3] != '-')
        return 0;
    return (unsigned)(line.p[0] - '0') * 100 + (unsigned)(line.p[1] - '0') * 10 +
           (unsigned)(line.p[2] - '0');
}

/* --- replies */

static enum rc refuse(struct smtp_answer *a, struct str shown, enum rc rc)
{
    *a = (struct smtp_answer){.total = a->total};
    keep_words(a, str_head(shown, SMTP_ANSWER_TEXT));
    return rc;
}

static enum rc take_line(struct smtp_answer *a, struct str line, struct str *out_words)
{
    unsigned code = code_of(line);
    if (code == 0 || (a->code != 0 && code / 100 != a->code / 100u))
        return refuse(a, line, RC_SYNTAX);
    a->code = (uint16_t)code;
    *out_words = str_skip(line, 4);
    take_words(a, *out_words);
    if (line.n > 3 && line.p[3] == '-')
        return RC_OK;
    if (!a->has_status)
        strcpy(a->status, smtp_status_of(code));
    a->is_whole = true;
    return RC_EOF;
}

enum rc smtp_answer_next(struct smtp_answer *a, struct str *in, struct str *out_words)
{
    struct str window = str_head(*in, SMTP_ANSWER_LINE_MAX);
    ptrdiff_t end = str_find_byte(window, '\n');
    if (a->is_whole)
        *a = (struct smtp_answer){0};
    if (end < 0)
        return window.n < SMTP_ANSWER_LINE_MAX ? RC_AGAIN : refuse(a, window, RC_LIMIT);
    struct str line = str_head(*in, (size_t)end);
    a->total += line.n + 1;
    if (a->total > SMTP_ANSWER_TOTAL_MAX)
        return refuse(a, line, RC_LIMIT);
    if (str_ends(line, STR("\r")))
        line.n--;
    *in = str_skip(*in, (size_t)end + 1);
    return take_line(a, line, out_words);
}
