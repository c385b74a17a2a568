/* UTF-8 [RFC3629 4], by its table of well-formed sequences. */
#include "base/utf8.h"

#include <string.h>

/* Length of a sequence by its first byte, and the range that its second byte must be in. */
static size_t sequence(unsigned char c, unsigned char *low, unsigned char *high)
{
    *low = 0x80;
    *high = 0xbf;
    if (c < 0x80)
        return 1;
    if (c < 0xc2)
        return 0;
    if (c < 0xe0)
        return 2;
    if (c < 0xf0) {
        *low = c == 0xe0 ? 0xa0 : 0x80;
        *high = c == 0xed ? 0x9f : 0xbf;
        return 3;
    }
    *low = c == 0xf0 ? 0x90 : 0x80;
    *high = c == 0xf4 ? 0x8f : 0xbf;
    return c < 0xf5 ? 4 : 0;
}

size_t utf8_length(struct str s)
{
    const unsigned char *p = (const unsigned char *)s.p;
    unsigned char low, high;
    size_t n = sequence(p[0], &low, &high);
    for (size_t i = 1; i < n; i++) {
        if (i == s.n)
            return SIZE_MAX;
        if (p[i] < low || p[i] > high)
            return 0;
        low = 0x80;
        high = 0xbf;
    }
    return n;
}

bool utf8_is_valid(struct str s)
{
    for (;;) {
        s = str_skip(s, utf8_ascii_length(s));
        if (s.n == 0)
            return true;
        size_t n = utf8_length(s);
        if (n == 0 || n == SIZE_MAX)
            return false;
        s = str_skip(s, n);
    }
}

size_t utf8_ascii_length(struct str s)
{
    size_t i = 0;
    uint64_t word;
    for (; i + sizeof word <= s.n; i += sizeof word) {
        memcpy(&word, s.p + i, sizeof word);
        if (word & 0x8080808080808080u)
            break;
    }
    while (i < s.n && (unsigned char)s.p[i] < 0x80)
        i++;
    return i;
}

bool utf8_is_ascii(struct str s)
{
    size_t i = 0;
    uint64_t word, all = 0;
    for (; i + sizeof word <= s.n; i += sizeof word) {
        memcpy(&word, s.p + i, sizeof word);
        all |= word;
    }
    for (; i < s.n; i++)
        all |= (unsigned char)s.p[i];
    return (all & 0x8080808080808080u) == 0;
}

uint32_t utf8_take(struct str *s)
{
    unsigned char low, high, first = (unsigned char)s->p[0];
    size_t n = sequence(first, &low, &high);
    uint32_t character = n == 1 ? first : first & (0xffU >> (n + 1));
    for (size_t i = 1; i < n; i++)
        character = character << 6 | ((unsigned char)s->p[i] & 0x3f);
    *s = str_skip(*s, n);
    return character;
}

size_t utf8_put(char *to, uint32_t character)
{
    static const unsigned char marks[] = {0, 0, 0xc0, 0xe0, 0xf0}; /* of the first byte, by n */
    size_t n = character < 0x80 ? 1 : character < 0x800 ? 2 : character < 0x10000 ? 3 : 4;
    for (size_t i = n; i-- > 1; character >>= 6)
        to[i] = (char)(0x80 | (character & 0x3f));
    to[0] = (char)(marks[n] | character);
    return n;
}
