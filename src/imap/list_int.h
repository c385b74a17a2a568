/* LIST and LSUB, inside: what a client asks for, and the names that there are. */
#ifndef IMAP_LIST_INT_H
#define IMAP_LIST_INT_H

#include "imap/imap_int.h"
#include "imap/status_int.h"

/* Selection options and return options [RFC5258 3.1, 3.2] [RFC6154 2] [RFC5819 2]
 * [RFC9051 6.3.9.1, 6.3.9.2]. */
enum {
    IMAP_LIST_SUBSCRIBED = 1,
    IMAP_LIST_SPECIAL_USE = 2,
    IMAP_LIST_REMOTE = 4,
    IMAP_LIST_RECURSIVE = 8,
    IMAP_LIST_CHILDREN = 16,
    IMAP_LIST_STATUS = 32,
    IMAP_LIST_CRITERIA = IMAP_LIST_SUBSCRIBED | IMAP_LIST_SPECIAL_USE
};

enum { IMAP_PATTERNS_MAX = 100 };

struct imap_list {
    unsigned select, returns;
    unsigned status;      /* items, as imap_take_status_items has them */
    bool is_root;         /* only the separator is asked for, and the root */
    struct str *patterns; /* canonical, in UTF-8; any of them */
    size_t n_patterns;
};

/* Everything behind "LIST " or "LSUB "; in the arena. */
bool imap_take_list(struct imap_parse *p, struct imap_list *out);
bool imap_take_lsub(struct imap_parse *p, struct imap_list *out);

struct imap_list_entry {
    struct str path;
    const struct store_mailbox *mailbox; /* NULL: there is none, and no placeholder */
    bool has_children;                   /* that there are */
    bool is_subscribed;                  /* as far as that was asked for */
    bool is_wanted;                      /* it meets the selection criteria and a pattern */
    bool has_wanted_below;               /* a descendant meets the criteria */
    bool has_hidden_below;               /* ... and no pattern */
};

struct imap_list_tree {
    struct imap_list_entry *at; /* in order of their bytes, '/' before all others; INBOX first */
    size_t n;
    struct str *subscribed; /* names, by their bytes: as far as that was asked for */
    size_t n_subscribed;
};

/* The account's mailboxes, and the names that `list` asks for beside them. RC_AGAIN: on a worker.
 */
enum rc imap_list_take_tree(struct conn *c, struct imap_session *s, const struct imap_list *list,
                            bool needs_subscriptions, struct imap_list_tree *out);
struct imap_list_entry *imap_list_find(const struct imap_list_tree *tree, struct str path);
bool imap_list_matches(const struct imap_list *list, struct str path);

/* One line, without a search for what is below; `old`: the name that it had, or absent. */
void imap_put_list_entry(struct imap_session *s, struct buf *out, const struct imap_list_entry *e,
                         struct str old);
/* The special use that LIST tells, with a space before it; absent: none. */
struct str imap_special_use(const struct store_mailbox *mailbox);
/* The same the other way round, without space and backslash. STORE_INBOX: a use that no mailbox can
 * have here. */
enum store_role imap_role_of_use(struct str name);

#endif
