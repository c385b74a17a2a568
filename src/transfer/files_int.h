/* What sources and sinks that are files share. */
#ifndef TRANSFER_FILES_INT_H
#define TRANSFER_FILES_INT_H

#include "transfer/transfer_int.h"

#include "base/buf.h"

#include <sys/stat.h>

/* --- files.c: opening what somebody else has put there -----------------------------------------
 */

/* Opens what is below a folder, level by level, and follows no symbolic link; a folder when
 * `is_folder`, else a regular file. The sentence says why not. */
enum rc open_below(int folder, const char *path, bool is_folder, int *out_fd, struct stat *out_stat,
                   const char **out_why);
const char *why_of_errno(int error);

/* Lines of a file, without their LF, each of at most LINE_MAX bytes; longer ones are passed over.
 */
enum { LIST_LINE = 4096 };
struct line_reader {
    int fd;
    struct buf in;
    bool is_eof, is_skipping;
};
void lines_open(struct line_reader *r, int fd); /* takes it */
bool lines_next(struct line_reader *r, struct str *out);
void lines_close(struct line_reader *r);

/* LF alone becomes CRLF; a CR alone stays. */
struct crlf {
    bool was_cr;
};
void crlf_put(struct crlf *c, struct str in, struct buf *out);

/* A message out of a file from where it stands, `left` bytes of it, to a sink that has begun it.
 * What cannot be read is told to the sink. */
struct pour {
    char in[64 << 10];
    struct buf out;
};
void pour_init(struct pour *p);
void pour_fini(struct pour *p);
enum rc pour_file(struct pour *p, int fd, struct transfer_sink *sink);

#endif
