/* Looking for a short string in ASCII text of any case, at the speed of memory. Pure.
 *
 * The two rarest bytes of the string are compared with 64 places of the text at once; only where
 * both are found is the whole string compared. A letter's case is one bit: text with that bit set
 * equals the folded letter where it is that letter. No copy of the text is made. */
#include "imap/search_int.h"

#include <string.h>

enum { VEC = 16, BLOCK = 64 };

typedef unsigned char vec __attribute__((vector_size(VEC)));

/* The more often a byte stands in mail, the higher. */
static unsigned commonness(char c)
{
    static const char common[] = "zqjxkvbywgfpmucldhrsnioate ";
    const char *at = memchr(common, c, sizeof common - 1);
    if (at)
        return 20 + (unsigned)(at - common);
    return ascii_is_digit(c) || strchr("-.,:=\r\n", c) ? 25 : 10;
}

static size_t rarest(struct str s, size_t but)
{
    size_t best = but == 0;
    for (size_t i = 0; i < s.n; i++)
        if (i != but && commonness(s.p[i]) < commonness(s.p[best]))
            best = i;
    return best;
}

void imap_needle_init(struct imap_needle *n, struct str text)
{
    *n = (struct imap_needle){.text = text};
    if (!text.n)
        return;
    n->first = rarest(text, SIZE_MAX);
    n->second = text.n > 1 ? rarest(text, n->first) : 0;
}

static unsigned char case_bit(char c)
{
    return ascii_is_alpha(c) ? 0x20 : 0;
}

static vec all_of(unsigned char c)
{
    vec v;
    memset(&v, c, sizeof v);
    return v;
}

static vec load(const char *p)
{
    vec v;
    memcpy(&v, p, sizeof v);
    return v;
}

static bool any(vec v)
{
    uint64_t half[2];
    memcpy(half, &v, sizeof half);
    return (half[0] | half[1]) != 0;
}

/* ascii_lower, without a call for each byte. */
static inline char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

static bool is_here(const struct imap_needle *n, const char *p)
{
    for (size_t i = 0; i < n->text.n; i++)
        if (lower(p[i]) != n->text.p[i])
            return false;
    return true;
}

/* At any of the places from p on. */
static bool find_slowly(const struct imap_needle *n, const char *p, size_t places)
{
    char first = n->text.p[n->first], second = n->text.p[n->second];
    for (size_t i = 0; i < places; i++)
        if (lower(p[i + n->first]) == first && lower(p[i + n->second]) == second &&
            is_here(n, p + i))
            return true;
    return false;
}

bool imap_needle_find(const struct imap_needle *n, struct str in)
{
    if (in.n < n->text.n)
        return false;
    if (!n->text.n)
        return true;
    char first = n->text.p[n->first], second = n->text.p[n->second];
    const vec a = all_of((unsigned char)first), b = all_of((unsigned char)second);
    const vec case_a = all_of(case_bit(first)), case_b = all_of(case_bit(second));
    size_t places = in.n - n->text.n + 1, at = 0;
    /* Vectors never reach beyond the text: the last place and the needle's length do. */
    for (; at + BLOCK <= places; at += BLOCK) {
        const char *p = in.p + at + n->first, *q = in.p + at + n->second;
        vec found = {0};
        for (size_t k = 0; k < BLOCK; k += VEC)
            found |= (vec)((load(p + k) | case_a) == a) & (vec)((load(q + k) | case_b) == b);
        if (any(found) && find_slowly(n, in.p + at, BLOCK))
            return true;
    }
    return find_slowly(n, in.p + at, places - at);
}

bool imap_has_words(struct str s)
{
    static const struct imap_needle words = {STR_INIT("=?"), 1, 0};
    return imap_needle_find(&words, s);
}

bool imap_is_ascii(struct str s)
{
    vec all = {0};
    size_t at = 0;
    unsigned char rest = 0;
    for (; at + VEC <= s.n; at += VEC)
        all |= load(s.p + at);
    for (; at < s.n; at++)
        rest |= (unsigned char)s.p[at];
    return rest < 0x80 && !any(all & all_of(0x80));
}
