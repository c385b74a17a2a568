/* Random bytes from the kernel. */
#ifndef BASE_RANDOM_H
#define BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

void random_bytes(void *to,
                  size_t n); /* aborts when the kernel has none: there is no safe way on */
uint64_t random_u64(void);

#endif
