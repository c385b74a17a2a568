/* What sinks that are files share. */
#ifndef TRANSFER_OUT_INT_H
#define TRANSFER_OUT_INT_H

#include "transfer/transfer_int.h"

#include "base/buf.h"

#include <limits.h>
#include <sys/stat.h>

/* A folder or a file that is made under another name, and gets its own when it is complete. */
struct out_target {
    struct transfer_sink *sink; /* that is told what cannot be written */
    char path[PATH_MAX], partial[PATH_MAX];
    int fd; /* of the folder, or of the file; -1: not open */
    bool is_folder, is_published;
};
/* RC_EXISTS: there is something of that name, or of the other one; what is wrong is told. */
enum rc out_open_folder(struct out_target *t, struct transfer_sink *sink, const char *path);
enum rc out_open_file(struct out_target *t, struct transfer_sink *sink, const char *path);
enum rc out_complain(struct out_target *t, const char *what, int error);
enum rc out_write(struct out_target *t, int fd, struct str bytes, const char *what);
/* Syncs it, then gives it its name. */
enum rc out_publish(struct out_target *t);
/* What is not published stays, under the other name, for a person to look at. */
void out_close(struct out_target *t);

/* CRLF becomes LF; a CR alone stays: *was_cr, at the end one is still to be put. */
void out_lf(bool *was_cr, struct str in, struct buf *out);
const char *out_role(enum store_role role); /* "\\Sent" [RFC6154 2]; NULL: none */

#endif
