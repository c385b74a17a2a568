/* SUBSCRIBE and UNSUBSCRIBE [RFC3501 6.3.6, 6.3.7] [RFC9051 6.3.7, 6.3.8]: of any name, whether or
 * not there is such a mailbox. */
#include "imap/imap_int.h"

struct subscribing {
    struct imap_op op; /* first: imap_op_finish */
    struct str name;
    bool is_on;
};

static enum net_step subscribe(struct conn *c, struct imap_session *s)
{
    struct subscribing *k = s->job;
    return imap_op_wait(
        c, s,
        store_subscribe(s->account, k->name, k->is_on, imap_flags(c), imap_op_begin(&k->op, s)),
        imap_op_finish);
}

static enum net_step begin(struct conn *c, struct imap_session *s, struct imap_parse *p, bool is_on)
{
    struct subscribing *k = arena_zero(&s->arena, sizeof *k);
    struct store_path path;
    if (!k || !imap_take_mailbox(p, &path) || !imap_take_end(p))
        return imap_finish_syntax(c, s, p);
    k->name = imap_join_path(&s->arena, path);
    k->is_on = is_on;
    if (!k->name.p)
        return imap_finish(c, s, IMAP_LIMIT);
    s->job = k;
    s->go_on = subscribe;
    return subscribe(c, s);
}

enum net_step imap_subscribe(struct conn *c, struct imap_session *s, struct imap_parse *p)
{
    return begin(c, s, p, true);
}

enum net_step imap_unsubscribe(struct conn *c, struct imap_session *s, struct imap_parse *p)
{
    return begin(c, s, p, false);
}
