/* Numbers as bytes: big-endian writers for stored keys and values, and a checked cursor to read
 * them back. */
#ifndef BASE_BYTES_H
#define BASE_BYTES_H

#include "base/str.h"

static inline void put_u16(void *to, uint16_t v)
{
    unsigned char *p = to;
    p[0] = (unsigned char)(v >> 8);
    p[1] = (unsigned char)v;
}

static inline void put_u32(void *to, uint32_t v)
{
    v = __builtin_bswap32(v);
    __builtin_memcpy(to, &v, 4);
}

static inline void put_u64(void *to, uint64_t v)
{
    v = __builtin_bswap64(v);
    __builtin_memcpy(to, &v, 8);
}

static inline uint16_t get_u16(const void *from)
{
    const unsigned char *p = from;
    return (uint16_t)(p[0] << 8 | p[1]);
}

static inline uint32_t get_u32(const void *from)
{
    uint32_t v;
    __builtin_memcpy(&v, from, 4);
    return __builtin_bswap32(v);
}

static inline uint64_t get_u64(const void *from)
{
    uint64_t v;
    __builtin_memcpy(&v, from, 8);
    return __builtin_bswap64(v);
}

/* Writes into memory of fixed size. An overrun sets `failed` and writes nothing more; check it once
 * at the end. */
struct packer {
    unsigned char *p;
    size_t n, size;
    bool failed;
};

void pack_init(struct packer *w, void *mem, size_t size);
void pack_u8(struct packer *w, uint8_t v);
void pack_u16(struct packer *w, uint16_t v);
void pack_u32(struct packer *w, uint32_t v);
void pack_u64(struct packer *w, uint64_t v);
void pack_bytes(struct packer *w, struct str s);
void pack_str16(struct packer *w,
                struct str s); /* length in 2 bytes, then the bytes; longer than 65,535 fails */
struct str pack_done(const struct packer *w); /* what was written; absent when it failed */

/* Reads what a packer wrote, or anything else. Beyond the end: zeroes, and `failed` is set. */
struct unpacker {
    const unsigned char *p;
    size_t n;
    bool failed;
};

void unpack_init(struct unpacker *r, struct str s);
uint8_t unpack_u8(struct unpacker *r);
uint16_t unpack_u16(struct unpacker *r);
uint32_t unpack_u32(struct unpacker *r);
uint64_t unpack_u64(struct unpacker *r);
struct str unpack_bytes(struct unpacker *r, size_t n); /* a view into the source */
struct str unpack_str16(struct unpacker *r);
/* RC_CORRUPT when anything was missing, RC_OK otherwise; bytes left over are allowed (newer writers
 * append). */
enum rc unpack_done(const struct unpacker *r);

/* CRC-32C (Castagnoli), continuing from an earlier value; start with 0. Uses the processor's
 * instruction. */
uint32_t crc32c(uint32_t crc, struct str s);

#endif
