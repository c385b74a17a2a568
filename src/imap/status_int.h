/* STATUS, inside: its items, and one line of it for other commands. */
#ifndef IMAP_STATUS_INT_H
#define IMAP_STATUS_INT_H

#include "imap/imap_int.h"

enum imap_status_item {
    IMAP_STATUS_MESSAGES,
    IMAP_STATUS_RECENT,
    IMAP_STATUS_UIDNEXT,
    IMAP_STATUS_UIDVALIDITY,
    IMAP_STATUS_UNSEEN,
    IMAP_STATUS_APPENDLIMIT,
    IMAP_STATUS_HIGHESTMODSEQ,
    IMAP_STATUS_SIZE,
    IMAP_STATUS_MAILBOXID,
    IMAP_STATUS_DELETED,
    IMAP_STATUS_ITEMS
};
/* "(MESSAGES UNSEEN)"; *out, a bit for each, is for imap_put_status. */
bool imap_take_status_items(struct imap_parse *p, unsigned *out);
/* What asking for them turns on. */
void imap_status_enable(struct conn *c, struct imap_session *s, unsigned wanted);
/* What is told of a mailbox. RC_NOTFOUND; RC_AGAIN: on a worker. */
struct imap_numbers {
    struct store_mailbox mailbox;
    size_t deleted; /* where it is wanted */
};
enum rc imap_status_look(struct conn *c, struct imap_session *s, uint32_t mailbox, unsigned wanted,
                         struct imap_numbers *out);
/* "* STATUS path (MESSAGES 1 UNSEEN 0)" */
void imap_put_status(const struct imap_session *s, struct buf *out, struct str path,
                     const struct imap_numbers *numbers, unsigned wanted);

#endif
