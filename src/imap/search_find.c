/* Looking for a short string in ASCII text of any case, at the speed of memory. Pure.
 *
 * The two rarest bytes of the string are compared with 64 places of the text at once; only where
 * both are found is the whole string compared. A letter's case is one bit: text with that bit set
 * equals the folded letter where it is that letter. No copy of the text is made. */
#include "imap/search_int.h"

#include <string.h>

enum { VEC = 16, BLOCK = 64, PIECE = 4 << 10 };

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

/* Bytes compared. */
static size_t compare(const struct imap_needle *n, const char *p, bool *out_is_here)
{
    size_t i = 0;
    while (i < n->text.n && lower(p[i]) == n->text.p[i])
        i++;
    *out_is_here = i == n->text.n;
    return i + 1;
}

enum found { FOUND_NOT, FOUND, FOUND_TOO_SLOW };

/* At any of the places from p on. */
static enum found find_slowly(const struct imap_needle *n, const char *p, size_t places,
                              size_t *budget)
{
    char first = n->text.p[n->first], second = n->text.p[n->second];
    bool is_here;
    for (size_t i = 0; i < places; i++) {
        if (lower(p[i + n->first]) != first || lower(p[i + n->second]) != second)
            continue;
        size_t work = compare(n, p + i, &is_here);
        if (is_here)
            return FOUND;
        if (work > *budget)
            return FOUND_TOO_SLOW;
        *budget -= work;
    }
    return FOUND_NOT;
}

static enum found find_fast(const struct imap_needle *n, struct str in)
{
    char first = n->text.p[n->first], second = n->text.p[n->second];
    const vec a = all_of((unsigned char)first), b = all_of((unsigned char)second);
    const vec case_a = all_of(case_bit(first)), case_b = all_of(case_bit(second));
    size_t places = in.n - n->text.n + 1, at = 0, budget = 4 * in.n + 1000;
    /* Vectors never reach beyond the text: the last place and the needle's length do. */
    for (; at + BLOCK <= places; at += BLOCK) {
        const char *p = in.p + at + n->first, *q = in.p + at + n->second;
        vec some = {0};
        for (size_t k = 0; k < BLOCK; k += VEC)
            some |= (vec)((load(p + k) | case_a) == a) & (vec)((load(q + k) | case_b) == b);
        if (!any(some))
            continue;
        enum found found = find_slowly(n, in.p + at, BLOCK, &budget);
        if (found != FOUND_NOT)
            return found;
    }
    return find_slowly(n, in.p + at, places - at, &budget);
}

/* For text that nearly is the string again and again: folded in pieces, and looked through by the C
 * library, whose time does not depend on that. */
static bool find_steadily(const struct imap_needle *n, struct str in)
{
    char folded[PIECE + MIME_NEEDLE_MAX];
    size_t kept = 0;
    while (in.n) {
        struct str piece = str_head(in, PIECE);
        for (size_t i = 0; i < piece.n; i++)
            folded[kept + i] = lower(piece.p[i]);
        size_t all = kept + piece.n;
        if (memmem(folded, all, n->text.p, n->text.n))
            return true;
        kept = n->text.n - 1 < all ? n->text.n - 1 : all;
        memmove(folded, folded + all - kept, kept);
        in = str_skip(in, piece.n);
    }
    return false;
}

bool imap_needle_find(const struct imap_needle *n, struct str in)
{
    if (!n->text.n || in.n < n->text.n)
        return !n->text.n;
    enum found found = find_fast(n, in);
    return found == FOUND || (found == FOUND_TOO_SLOW && find_steadily(n, in));
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
