/* STATUS [RFC3501 6.3.10]: answered from the mailbox's record, whatever its size. */
#include "imap/imap_int.h"

enum item {
    MESSAGES,
    RECENT,
    UIDNEXT,
    UIDVALIDITY,
    UNSEEN,
    APPENDLIMIT,
    HIGHESTMODSEQ,
    SIZE,
    MAILBOXID,
    ITEMS
};

static const struct str items[ITEMS] = {
    [MESSAGES] = STR_INIT("MESSAGES"),
    [RECENT] = STR_INIT("RECENT"),
    [UIDNEXT] = STR_INIT("UIDNEXT"),
    [UIDVALIDITY] = STR_INIT("UIDVALIDITY"),
    [UNSEEN] = STR_INIT("UNSEEN"),
    [APPENDLIMIT] = STR_INIT("APPENDLIMIT"),     /* [RFC7889 3] */
    [HIGHESTMODSEQ] = STR_INIT("HIGHESTMODSEQ"), /* [RFC7162 3.1.7] */
    [SIZE] = STR_INIT("SIZE"),                   /* [RFC8438 3] */
    [MAILBOXID] = STR_INIT("MAILBOXID"),         /* [RFC8474 4.3] */
};

static uint64_t value_of(const struct imap_session *s, const struct store_mailbox *m,
                         enum item item)
{
    switch (item) {
    case MESSAGES:
        return m->exists;
    case UIDNEXT:
        return m->uidnext;
    case UIDVALIDITY:
        return m->uidvalidity;
    case UNSEEN:
        return m->unseen;
    case APPENDLIMIT:
        return s->imap->conf.message_size;
    case HIGHESTMODSEQ:
        return m->highest_modseq;
    case SIZE: /* what quota counts, and the sum of RFC822.SIZE */
        return m->bytes;
    case MAILBOXID: /* is no number */
    case RECENT:    /* never set */
    case ITEMS:
        break;
    }
    return 0;
}

bool imap_take_status_items(struct imap_parse *p, unsigned *out)
{
    *out = 0;
    if (!imap_take_byte(p, '('))
        return imap_fail(p, "a list of status items");
    do {
        unsigned i = 0;
        while (i < ITEMS && !imap_take_word(p, items[i]))
            i++;
        if (i == ITEMS)
            return imap_fail(p, "a status item that is known here");
        *out |= 1U << i;
    } while (imap_take_byte(p, ' '));
    return imap_take_byte(p, ')') || imap_fail(p, "the end of the list of status items");
}

void imap_status_enable(struct conn *c, struct imap_session *s, unsigned wanted)
{
    if (wanted & 1U << HIGHESTMODSEQ)
        imap_enable_condstore(c, s); /* [RFC7162 3.1] */
}

void imap_put_status(const struct imap_session *s, struct buf *out, struct str path,
                     const struct store_mailbox *m, unsigned wanted)
{
    buf_put(out, STR("* STATUS "));
    imap_put_name(s, out, path);
    for (unsigned i = 0, n = 0; i < ITEMS; i++) {
        if (!(wanted & 1U << i))
            continue;
        buf_put(out, n++ ? STR(" ") : STR(" ("));
        if (i == MAILBOXID) {
            imap_put_mailbox_id(out, m);
            continue;
        }
        buf_put(out, items[i]);
        buf_put(out, STR(" "));
        imap_put_u64(out, value_of(s, m, i));
    }
    buf_put(out, STR(")\r\n"));
}

enum net_step imap_status_(struct conn *c, struct imap_session *s, struct imap_parse *p)
{
    struct store_path path;
    struct store_mailbox m;
    unsigned wanted;
    uint32_t id;
    if (!imap_take_mailbox(p, &path) || !imap_take_sp(p) || !imap_take_status_items(p, &wanted) ||
        !imap_take_end(p))
        return imap_finish_syntax(c, s, p);
    imap_status_enable(c, s, wanted);
    enum rc rc = store_mailbox_find(s->account, path, &id);
    if (rc == RC_OK)
        rc = store_mailbox_get(s->account, id, &s->arena, &m);
    if (rc == RC_NOTFOUND || rc == RC_SYNTAX)
        return imap_finish(c, s, IMAP_NO_MAILBOX);
    if (rc != RC_OK)
        return imap_finish_rc(c, s, rc);
    if (m.is_placeholder)
        return imap_finish(c, s, IMAP_NOT_SELECTABLE);
    imap_put_status(s, net_out(c), imap_join_path(&s->arena, path), &m, wanted);
    return imap_finish(c, s, IMAP_DONE);
}
