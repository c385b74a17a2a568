/* What NOTIFY has to do with the rest of the session, notify.c. */
#ifndef IMAP_NEWS_INT_H
#define IMAP_NEWS_INT_H

#include "imap/imap_int.h"

void imap_notify_end(struct imap_session *s);      /* nothing is watched any more */
void imap_notify_rest(struct imap_session *s);     /* the session's arena goes */
void imap_notify_forget(struct imap_session *s);   /* as if NOTIFY had never come */
void imap_notify_selected(struct imap_session *s); /* another mailbox is */
void imap_notify_left(struct imap_session *s); /* the selected one will be one among the others */
/* A change of the session itself, by whoever has it in hand: it is not told as news. */
void imap_notify_own(struct imap_session *s, const struct store_op *op);
bool imap_has_news(const struct imap_session *s); /* of the selected mailbox, to be told */
/* What a watch has told of, where no command is under way: goes on as s->go_on. */
enum net_step imap_notify_between(struct conn *c, struct imap_session *s);
/* The same within IDLE. NET_READ: all is told, and the arena is to be freed. */
enum net_step imap_notify_tell(struct conn *c, struct imap_session *s);

#endif
