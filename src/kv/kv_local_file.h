/* System calls on files that go on after a signal and after a short transfer, with results as
 * codes. */
#ifndef KV_KV_LOCAL_FILE_H
#define KV_KV_LOCAL_FILE_H

#include "base/rc.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

/* All of it or an error; the entries of iov are changed. */
enum rc local_file_write(int fd, struct iovec *iov, int n, uint64_t offset);
/* All n bytes: RC_EOF when the file ends before, RC_AGAIN with is_cached when the bytes are not in
 * memory. */
enum rc local_file_readv(int fd, struct iovec *iov, int n, uint64_t offset, bool is_cached);
enum rc local_file_read(int fd, void *to, size_t n, uint64_t offset, bool is_cached);
enum rc local_file_sync(int fd); /* data, and what of the metadata is needed to find it */
enum rc local_dir_sync(int fd);
enum rc local_dir_open(int parent, const char *name, bool make,
                       int *out_fd); /* made with mode 0700 */

#endif
