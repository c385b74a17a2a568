/* Numbers as bytes, and CRC-32C. */
#include "base/bytes.h"

#include <string.h>

void pack_init(struct packer *w, void *mem, size_t size)
{
    *w = (struct packer){.p = mem, .size = size};
}

static unsigned char *room(struct packer *w, size_t n)
{
    if (w->failed || w->size - w->n < n) {
        w->failed = true;
        return NULL;
    }
    unsigned char *at = w->p + w->n;
    w->n += n;
    return at;
}

void pack_u8(struct packer *w, uint8_t v)
{
    unsigned char *at = room(w, 1);
    if (at)
        *at = v;
}

void pack_u16(struct packer *w, uint16_t v)
{
    unsigned char *at = room(w, 2);
    if (at)
        put_u16(at, v);
}

void pack_u32(struct packer *w, uint32_t v)
{
    unsigned char *at = room(w, 4);
    if (at)
        put_u32(at, v);
}

void pack_u64(struct packer *w, uint64_t v)
{
    unsigned char *at = room(w, 8);
    if (at)
        put_u64(at, v);
}

void pack_bytes(struct packer *w, struct str s)
{
    unsigned char *at = room(w, s.n);
    if (at && s.n)
        memcpy(at, s.p, s.n);
}

void pack_str16(struct packer *w, struct str s)
{
    if (s.n > UINT16_MAX) {
        w->failed = true;
        return;
    }
    pack_u16(w, (uint16_t)s.n);
    pack_bytes(w, s);
}

struct str pack_done(const struct packer *w)
{
    return w->failed ? (struct str){0} : str_from(w->p, w->n);
}

void unpack_init(struct unpacker *r, struct str s)
{
    *r = (struct unpacker){.p = (const unsigned char *)s.p, .n = s.n};
}

static const unsigned char *take(struct unpacker *r, size_t n)
{
    static const unsigned char zeroes[8];
    if (r->failed || r->n < n) {
        r->failed = true;
        return zeroes;
    }
    const unsigned char *at = r->p;
    r->p += n;
    r->n -= n;
    return at;
}

uint8_t unpack_u8(struct unpacker *r)
{
    return *take(r, 1);
}

uint16_t unpack_u16(struct unpacker *r)
{
    return get_u16(take(r, 2));
}

uint32_t unpack_u32(struct unpacker *r)
{
    return get_u32(take(r, 4));
}

uint64_t unpack_u64(struct unpacker *r)
{
    return get_u64(take(r, 8));
}

struct str unpack_bytes(struct unpacker *r, size_t n)
{
    if (r->failed || r->n < n) {
        r->failed = true;
        return (struct str){0};
    }
    return str_from(take(r, n), n);
}

struct str unpack_str16(struct unpacker *r)
{
    return unpack_bytes(r, unpack_u16(r));
}

enum rc unpack_done(const struct unpacker *r)
{
    return r->failed ? RC_CORRUPT : RC_OK;
}

/* One byte at a time from the polynomial, reflected: for processors without the instruction. */
static uint32_t crc_byte(uint32_t crc, unsigned char byte)
{
    crc ^= byte;
    for (int i = 0; i < 8; i++)
        crc = crc >> 1 ^ (0x82f63b78U & (0U - (crc & 1)));
    return crc;
}

static uint32_t crc_portable(uint32_t crc, const unsigned char *p, size_t n)
{
    while (n--)
        crc = crc_byte(crc, *p++);
    return crc;
}

#if defined(__x86_64__)
#define HARDWARE __attribute__((target("sse4.2,pclmul")))

HARDWARE static uint64_t crc_word(uint64_t crc, const unsigned char *p)
{
    uint64_t word;
    memcpy(&word, p, 8);
    return __builtin_ia32_crc32di(crc, word);
}

typedef long long pair __attribute__((vector_size(16)));

HARDWARE static uint64_t multiply(uint64_t a, uint64_t b)
{
    pair product = __builtin_ia32_pclmulqdq128((pair){(long long)a, 0}, (pair){(long long)b, 0}, 0);
    return (uint64_t)product[0];
}

/* The instruction has three results under way at a time: so three lanes, put together at the end. A
 * sum moves over n bytes when it is multiplied by x to the power of 8n; the instruction that
 * reduces the product multiplies by x to the power of 33 more. */
enum { LANE = 512 };
static const uint64_t over_one = 0xdd7e3b0c, over_two = 0x170076fa;

HARDWARE static uint64_t crc_lanes(uint64_t crc, const unsigned char *p)
{
    uint64_t second = 0, third = 0;
    for (size_t i = 0; i < LANE; i += 8) {
        crc = crc_word(crc, p + i);
        second = crc_word(second, p + LANE + i);
        third = crc_word(third, p + 2 * LANE + i);
    }
    return __builtin_ia32_crc32di(0, multiply(crc, over_two) ^ multiply(second, over_one)) ^ third;
}

HARDWARE static uint32_t crc_hardware(uint32_t crc, const unsigned char *p, size_t n)
{
    uint64_t wide = crc;
    for (; n >= 3 * LANE; p += 3 * LANE, n -= 3 * LANE)
        wide = crc_lanes(wide, p);
    for (; n >= 8; p += 8, n -= 8)
        wide = crc_word(wide, p);
    crc = (uint32_t)wide;
    while (n--)
        crc = __builtin_ia32_crc32qi(crc, *p++);
    return crc;
}

static bool has_hardware(void)
{
    return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul");
}
#else
static uint32_t crc_hardware(uint32_t crc, const unsigned char *p, size_t n)
{
    return crc_portable(crc, p, n);
}

static bool has_hardware(void)
{
    return false;
}
#endif

uint32_t crc32c(uint32_t crc, struct str s)
{
    const unsigned char *p = (const unsigned char *)s.p;
    crc = ~crc;
    crc = has_hardware() ? crc_hardware(crc, p, s.n) : crc_portable(crc, p, s.n);
    return ~crc;
}
