/* Capped buffers: bytes that grow at the end and are consumed at the front, never beyond a cap that
 * the owner sets.
 *
 * The memory is malloc'd; a buffer of zeroes with a cap is valid and empty. Out of memory aborts;
 * over the cap is RC_LIMIT and leaves the buffer as it was. */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include "base/str.h"

#include <stdarg.h>

struct buf {
    char *mem;   /* owned; NULL when nothing is held */
    size_t from; /* first unread byte */
    size_t to;   /* end of the bytes */
    size_t size; /* of mem */
    size_t cap;  /* most unread bytes ever held */
    bool over;   /* a buf_put or buf_putf did not fit; stays until buf_clear or buf_fini */
};

void buf_init(struct buf *b, size_t cap);
void buf_fini(struct buf *b); /* frees the memory; the cap stays, so the buffer can be used again */
/* The same for what held a secret: all of the memory is overwritten before. */
void buf_wipe(struct buf *b);
void buf_release(
    struct buf *b); /* frees the memory when the buffer is empty: what an idle connection calls */

struct str buf_str(const struct buf *b); /* the unread bytes; valid until the next change */
size_t buf_len(const struct buf *b);
void buf_consume(struct buf *b, size_t n); /* n beyond the end empties it */
void buf_clear(struct buf *b);
void buf_truncate(struct buf *b, size_t n); /* keeps the first n unread bytes */

enum rc buf_add(struct buf *b, struct str s);
enum rc buf_add_byte(struct buf *b, char c);
enum rc buf_add_u64(struct buf *b, uint64_t n); /* in decimal */
enum rc buf_printf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
enum rc buf_vprintf(struct buf *b, const char *format, va_list ap)
    __attribute__((format(printf, 2, 0)));

/* The same for text made of many parts: nothing is returned, `over` tells at the end that a part
 * was left out. */
void buf_put(struct buf *b, struct str s);
void buf_putf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Room for n more bytes; write them there, then buf_commit. NULL when over the cap. */
char *buf_reserve(struct buf *b, size_t n);
void buf_commit(struct buf *b, size_t n);

#endif
