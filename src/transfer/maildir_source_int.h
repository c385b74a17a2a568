/* A Maildir as a source, between maildir.c and maildir_folder.c. */
#ifndef TRANSFER_MAILDIR_SOURCE_INT_H
#define TRANSFER_MAILDIR_SOURCE_INT_H

#include "transfer/files_int.h"
#include "transfer/maildir_int.h"

struct maildir_folder {
    const char *path; /* below the source; "": the source itself */
    struct str name;
    enum store_role role;
    bool is_subscribed, is_name_alone;
};

struct maildir_source {
    struct transfer_maildir *maildir;
    struct transfer_sink *sink;
    struct str form; /* of unique-ids */
    struct arena arena;
    int top;
    struct maildir_folder *folders;
    size_t n_folders, max_folders;
    bool has_dots, has_subscriptions;
    struct pour pour;
};

/* All messages of a folder, in order of their UIDs where a list has those, then by age. */
enum rc maildir_pour_folder(struct maildir_source *s, const struct maildir_folder *f, unsigned n);

#endif
