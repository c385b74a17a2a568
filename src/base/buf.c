/* Capped buffers. Invariants: from <= to <= size; to - from <= cap; mem == NULL implies size == 0.
 */
#include "base/buf.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SMALLEST = 256 };

void buf_init(struct buf *b, size_t cap)
{
    *b = (struct buf){.cap = cap};
}

void buf_fini(struct buf *b)
{
    free(b->mem);
    *b = (struct buf){.cap = b->cap};
}

void buf_wipe(struct buf *b)
{
    if (b->mem)
        explicit_bzero(b->mem, b->size);
    buf_fini(b);
}

void buf_release(struct buf *b)
{
    if (b->from == b->to)
        buf_fini(b);
}

struct str buf_str(const struct buf *b)
{
    return (struct str){b->mem ? b->mem + b->from : "", b->to - b->from};
}

size_t buf_len(const struct buf *b)
{
    return b->to - b->from;
}

void buf_consume(struct buf *b, size_t n)
{
    if (n >= b->to - b->from)
        b->from = b->to = 0;
    else
        b->from += n;
}

void buf_clear(struct buf *b)
{
    b->from = b->to = 0;
    b->over = false;
}

void buf_truncate(struct buf *b, size_t n)
{
    if (n < b->to - b->from)
        b->to = b->from + n;
}

char *buf_reserve(struct buf *b, size_t n)
{
    size_t have = b->to - b->from;
    if (n > b->cap || have > b->cap - n)
        return NULL;
    if (b->size - b->to >= n && b->mem)
        return b->mem + b->to;
    if (b->from && b->size - have >= n) {
        memmove(b->mem, b->mem + b->from, have);
    } else {
        size_t size = b->size * 2 > have + n ? b->size * 2 : have + n;
        if (size < SMALLEST)
            size = SMALLEST;
        char *mem = mem_alloc(size);
        if (have)
            memcpy(mem, b->mem + b->from, have);
        free(b->mem);
        b->mem = mem;
        b->size = size;
    }
    b->from = 0;
    b->to = have;
    return b->mem + b->to;
}

void buf_commit(struct buf *b, size_t n)
{
    b->to += n;
}

enum rc buf_add(struct buf *b, struct str s)
{
    if (s.n == 0)
        return RC_OK;
    char *at = buf_reserve(b, s.n);
    if (!at)
        return RC_LIMIT;
    memcpy(at, s.p, s.n);
    buf_commit(b, s.n);
    return RC_OK;
}

enum rc buf_add_byte(struct buf *b, char c)
{
    return buf_add(b, (struct str){&c, 1});
}

enum rc buf_add_u64(struct buf *b, uint64_t n)
{
    char digits[20];
    size_t i = sizeof digits;
    do
        digits[--i] = (char)('0' + n % 10);
    while (n /= 10);
    return buf_add(b, (struct str){digits + i, sizeof digits - i});
}

enum rc buf_vprintf(struct buf *b, const char *format, va_list ap)
{
    va_list again;
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, format, ap);
    char *at = n < 0 ? NULL : buf_reserve(b, (size_t)n + 1);
    if (at) {
        vsnprintf(at, (size_t)n + 1, format, again);
        buf_commit(b, (size_t)n);
    }
    va_end(again);
    return at ? RC_OK : RC_LIMIT;
}

enum rc buf_printf(struct buf *b, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    enum rc rc = buf_vprintf(b, format, ap);
    va_end(ap);
    return rc;
}

void buf_put(struct buf *b, struct str s)
{
    if (buf_add(b, s) != RC_OK)
        b->over = true;
}

void buf_putf(struct buf *b, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    if (buf_vprintf(b, format, ap) != RC_OK)
        b->over = true;
    va_end(ap);
}
