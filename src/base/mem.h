/* Memory that is there or the process ends: what all of Penfold allocates with. Over-limit is a
 * result code and is decided before allocating; running out of memory below every limit is not
 * survivable and aborts. */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include <stddef.h>

void *mem_alloc(size_t n);              /* uninitialised; free() it */
void *mem_zero(size_t n);               /* zeroed */
void *mem_grow(void *p, size_t n);      /* realloc */
void *mem_dup(const void *p, size_t n); /* a copy, with a NUL behind it that n does not count */

/* Grows an array to hold at least `need` items of `item` bytes, doubling; *capacity counts items.
 */
void *mem_array(void *p, size_t *capacity, size_t need, size_t item);

#endif
