/* Which mailboxes a client means: the specifiers of NOTIFY [RFC5465 6, 8] and of ESEARCH
 * [RFC7377 2.2, 4]. Pure. */
#ifndef IMAP_FILTER_INT_H
#define IMAP_FILTER_INT_H

#include "imap/imap_int.h"

enum imap_filter_kind {
    IMAP_FILTER_SELECTED,         /* the selected mailbox, and no other */
    IMAP_FILTER_SELECTED_DELAYED, /* the same; NOTIFY only */
    IMAP_FILTER_INBOXES,          /* where mail is delivered to */
    IMAP_FILTER_PERSONAL,         /* all */
    IMAP_FILTER_SUBSCRIBED,
    IMAP_FILTER_SUBTREE,     /* of each name the mailbox, and all below it */
    IMAP_FILTER_SUBTREE_ONE, /* ... and those one level below it; ESEARCH only */
    IMAP_FILTER_MAILBOXES    /* these; '*' and '%' are letters like others [RFC5465 6.6] */
};
enum { IMAP_FILTER_NAMES = 10000 }; /* in one command */

struct imap_filter {
    enum imap_filter_kind kind;
    struct str *names; /* paths in UTF-8, by their bytes; in the arena */
    size_t n_names;
};

/* One specifier with its names; `kinds`: those that are allowed, 1 << kind. *n_names counts those
 * of the command. */
bool imap_take_filter(struct imap_parse *p, unsigned kinds, size_t *n_names,
                      struct imap_filter *out);

/* A mailbox that can be selected, as a filter sees it. */
struct imap_filter_place {
    struct str path;
    enum store_role role;
    bool is_subscribed, is_selected;
};
/* Whether the filter means it. The work is that of its levels. */
bool imap_filter_meets(const struct imap_filter *f, const struct imap_filter_place *place);

#endif
