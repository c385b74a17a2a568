/* STATUS [RFC3501 6.3.10] [RFC9051 6.3.11]: answered from the mailbox's record, whatever its size;
 * but for DELETED [RFC9051 6.3.11], which nobody counts before he is asked. */
#include "imap/imap_int.h"
#include "imap/status_int.h"

static const struct str items[IMAP_STATUS_ITEMS] = {
    [IMAP_STATUS_MESSAGES] = STR_INIT("MESSAGES"),
    [IMAP_STATUS_RECENT] = STR_INIT("RECENT"),
    [IMAP_STATUS_UIDNEXT] = STR_INIT("UIDNEXT"),
    [IMAP_STATUS_UIDVALIDITY] = STR_INIT("UIDVALIDITY"),
    [IMAP_STATUS_UNSEEN] = STR_INIT("UNSEEN"),
    [IMAP_STATUS_APPENDLIMIT] = STR_INIT("APPENDLIMIT"),     /* [RFC7889 3] */
    [IMAP_STATUS_HIGHESTMODSEQ] = STR_INIT("HIGHESTMODSEQ"), /* [RFC7162 3.1.7] */
    [IMAP_STATUS_SIZE] = STR_INIT("SIZE"),                   /* [RFC8438 3] */
    [IMAP_STATUS_MAILBOXID] = STR_INIT("MAILBOXID"),         /* [RFC8474 4.3] */
    [IMAP_STATUS_DELETED] = STR_INIT("DELETED"),             /* [RFC9051 6.3.11] */
};

static uint64_t value_of(const struct imap_session *s, const struct imap_numbers *numbers,
                         enum imap_status_item item)
{
    const struct store_mailbox *m = &numbers->mailbox;
    switch (item) {
    case IMAP_STATUS_MESSAGES:
        return m->exists;
    case IMAP_STATUS_UIDNEXT:
        return m->uidnext;
    case IMAP_STATUS_UIDVALIDITY:
        return m->uidvalidity;
    case IMAP_STATUS_UNSEEN:
        return m->unseen;
    case IMAP_STATUS_APPENDLIMIT:
        return s->imap->conf.message_size;
    case IMAP_STATUS_HIGHESTMODSEQ:
        return m->highest_modseq;
    case IMAP_STATUS_SIZE: /* what quota counts, and the sum of RFC822.SIZE */
        return m->bytes;
    case IMAP_STATUS_DELETED:
        return numbers->deleted;
    case IMAP_STATUS_MAILBOXID: /* is no number */
    case IMAP_STATUS_RECENT:    /* never set */
    case IMAP_STATUS_ITEMS:
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
        while (i < IMAP_STATUS_ITEMS && !imap_take_word(p, items[i]))
            i++;
        if (i == IMAP_STATUS_ITEMS)
            return imap_fail(p, "a status item that is known here");
        *out |= 1U << i;
    } while (imap_take_byte(p, ' '));
    return imap_take_byte(p, ')') || imap_fail(p, "the end of the list of status items");
}

void imap_status_enable(struct conn *c, struct imap_session *s, unsigned wanted)
{
    if (wanted & 1U << IMAP_STATUS_HIGHESTMODSEQ)
        imap_enable_condstore(c, s); /* [RFC7162 3.1] */
}

static size_t count_deleted(const struct store_root *root)
{
    size_t deleted = 0, n;
    for (size_t i = 0; i < store_root_count(root); i += n) {
        const struct store_row *rows = store_root_rows(root, i, &n);
        for (size_t r = 0; r < n; r++)
            deleted += (rows[r].flags & STORE_DELETED) != 0;
    }
    return deleted;
}

enum rc imap_status_look(struct conn *c, struct imap_session *s, uint32_t mailbox, unsigned wanted,
                         struct imap_numbers *out)
{
    struct store_root *root;
    *out = (struct imap_numbers){0};
    TRY(store_mailbox_get(s->account, mailbox, &s->arena, &out->mailbox));
    if (!(wanted & 1U << IMAP_STATUS_DELETED) || out->mailbox.is_placeholder)
        return RC_OK;
    if (out->mailbox.exists > IMAP_LOOK_MAX && !net_can_block(c))
        return RC_AGAIN;
    TRY(store_mailbox_open(s->account, mailbox, imap_flags(c), &root));
    out->mailbox = *store_root_mailbox(root); /* all of one moment; its name is not looked at */
    out->deleted = count_deleted(root);
    store_root_release(&root);
    return RC_OK;
}

void imap_put_status(const struct imap_session *s, struct buf *out, struct str path,
                     const struct imap_numbers *numbers, unsigned wanted)
{
    buf_put(out, STR("* STATUS "));
    imap_put_name(s, out, path);
    for (unsigned i = 0, n = 0; i < IMAP_STATUS_ITEMS; i++) {
        if (!(wanted & 1U << i))
            continue;
        buf_put(out, n++ ? STR(" ") : STR(" ("));
        if (i == IMAP_STATUS_MAILBOXID) {
            imap_put_mailbox_id(out, &numbers->mailbox);
            continue;
        }
        buf_put(out, items[i]);
        buf_put(out, STR(" "));
        imap_put_u64(out, value_of(s, numbers, i));
    }
    buf_put(out, STR(")\r\n"));
}

struct status {
    struct store_path path;
    unsigned wanted;
};

static enum net_step look(struct conn *c, struct imap_session *s)
{
    const struct status *k = s->job;
    struct imap_numbers numbers;
    uint32_t id;
    enum rc rc = store_mailbox_find(s->account, k->path, &id);
    if (rc == RC_OK)
        rc = imap_status_look(c, s, id, k->wanted, &numbers);
    if (rc == RC_AGAIN && !net_can_block(c))
        return NET_SHORT;
    if (rc == RC_NOTFOUND || rc == RC_SYNTAX)
        return imap_finish(c, s, IMAP_NO_MAILBOX);
    if (rc != RC_OK)
        return imap_finish_rc(c, s, rc);
    if (numbers.mailbox.is_placeholder)
        return imap_finish(c, s, IMAP_NOT_SELECTABLE);
    imap_put_status(s, net_out(c), imap_join_path(&s->arena, k->path), &numbers, k->wanted);
    return imap_finish(c, s, IMAP_DONE);
}

enum net_step imap_status_(struct conn *c, struct imap_session *s, struct imap_parse *p)
{
    struct status *k = arena_zero(&s->arena, sizeof *k);
    if (!k || !imap_take_mailbox(p, &k->path) || !imap_take_sp(p) ||
        !imap_take_status_items(p, &k->wanted) || !imap_take_end(p))
        return imap_finish_syntax(c, s, p);
    imap_status_enable(c, s, k->wanted);
    s->job = k;
    s->go_on = look;
    return look(c, s);
}
