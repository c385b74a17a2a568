/* Columns on their way into rows: turned, so that one bit of many columns lies side by side, and
 * joined with others. Pure. */
#include "index/block_int.h"

#include <endian.h>
#include <string.h>

/* Bit s of word c becomes bit c of word s. */
static void turn(uint64_t w[64])
{
    uint64_t mask = UINT64_C(0x00000000ffffffff);
    for (unsigned half = 32; half; half /= 2, mask ^= mask << half) {
        for (unsigned k = 0; k < 64; k = ((k | half) + 1) & ~half) {
            uint64_t swapped = ((w[k] >> half) ^ w[k | half]) & mask;
            w[k] ^= swapped << half;
            w[k | half] ^= swapped;
        }
    }
}

void index_slices_of(const struct index_columns *c, size_t word, uint32_t stride,
                     unsigned char *out)
{
    uint64_t w[64];
    for (size_t from = 0; from < c->n; from += 64) {
        size_t n = c->n - from < 64 ? c->n - from : 64;
        size_t bytes = stride - from / 8 < 8 ? stride - from / 8 : 8;
        for (size_t i = 0; i < 64; i++)
            w[i] = i < n ? c->bits[(from + i) * INDEX_WORDS + word] : 0;
        turn(w);
        for (size_t i = 0; i < 64; i++) {
            uint64_t little = htole64(w[i]);
            memcpy(out + i * stride + from / 8, &little, bytes);
        }
    }
}

void index_bits_append(unsigned char *to, size_t at, const unsigned char *bits, size_t n)
{
    unsigned shift = at % 8;
    unsigned char *p = to + at / 8;
    for (size_t i = 0; i < (n + 7) / 8; i++) {
        size_t left = n - i * 8;
        unsigned char b = left < 8 ? bits[i] & (unsigned char)((1u << left) - 1) : bits[i];
        p[i] |= (unsigned char)(b << shift);
        if (shift && left > 8 - shift)
            p[i + 1] |= (unsigned char)(b >> (8 - shift));
    }
}

size_t index_gaps_of(const struct index_columns *c, size_t *at, struct index_gap *out)
{
    size_t n = 0;
    for (; *at < c->n_emails && n < INDEX_GAPS_ROW; ++*at) {
        uint64_t before = *at ? c->emails[*at - 1] : c->emails[0] - 1;
        if (c->emails[*at] - before > 1)
            out[n++] = (struct index_gap){(uint32_t)(before + 1 - c->emails[0]),
                                          (uint32_t)(c->emails[*at] - before - 1)};
    }
    return n;
}
