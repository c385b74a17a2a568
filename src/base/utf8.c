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

bool utf8_is_valid(struct str s)
{
    const unsigned char *p = (const unsigned char *)s.p;
    for (size_t i = 0; i < s.n;) {
        unsigned char low, high;
        size_t n = sequence(p[i], &low, &high);
        if (n == 0 || n > s.n - i)
            return false;
        if (n > 1 && (p[i + 1] < low || p[i + 1] > high))
            return false;
        for (size_t k = 2; k < n; k++)
            if ((p[i + k] & 0xc0) != 0x80)
                return false;
        i += n;
    }
    return true;
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
