/* mbox files as a source, between mbox.c and mbox_read.c. */
#ifndef TRANSFER_MBOX_SOURCE_INT_H
#define TRANSFER_MBOX_SOURCE_INT_H

#include "transfer/files_int.h"
#include "transfer/mbox_int.h"

struct mbox_source {
    struct transfer_mbox *mbox;
    struct transfer_sink *sink;
    struct arena arena;
    int top;
    struct mbox_file *files;
    size_t n_files, max_files;
};

bool mbox_is(int fd); /* an empty file, or one that begins as an mbox does */
enum rc mbox_pour_file(struct mbox_source *s, int fd, const struct stat *st, struct str folder,
                       unsigned n, struct str label);

#endif
