/* What happens to a message that was collected: the account's policy, EXPIRE that tells of it
 * [RFC2449 6.7], and what QUIT has to do for it.
 *
 * Collected is what RETR has sent whole in this session; TOP does not count, nor a RETR that was
 * cut short. As with DELE, only QUIT makes it count: when the connection drops, nothing is deleted
 * and nothing is noted. */
#include "pop3/pop3_int.h"

#include "base/mem.h"

#include <stdlib.h>

void pop3_policy_expire(struct conn *c, const struct pop3_session *s, struct buf *out)
{
    const struct auth_settings *k = &s->auth.login.settings;
    if (s->state == POP3_AUTHORIZATION) {
        buf_put(out, STR(" 0 USER")); /* the least that anybody has */
        return;
    }
    switch (k->pop3_delete) {
    case AUTH_POP3_CLIENT:
    case AUTH_POP3_UNSET: /* never in a login */
        buf_put(out, STR(" NEVER"));
        break;
    case AUTH_POP3_COLLECTED:
        buf_put(out, STR(" 0"));
        break;
    case AUTH_POP3_DAYS:
        buf_putf(out, " %u", k->pop3_days);
        break;
    }
}

void pop3_policy_collected(struct pop3_session *s)
{
    struct pop3_drop *d = &s->drop;
    if (s->auth.login.settings.pop3_delete == AUTH_POP3_CLIENT)
        return;
    if (!d->collected)
        d->collected = mem_zero(d->n / 8 + 1);
    d->collected[s->reading.index / 8] |= (unsigned char)(1 << s->reading.index % 8);
}

static bool is_collected(const struct pop3_drop *d, size_t index)
{
    return d->collected && d->collected[index / 8] & 1 << index % 8;
}

void pop3_policy_at_quit(struct pop3_session *s)
{
    struct pop3_drop *d = &s->drop;
    bool goes = s->auth.login.settings.pop3_delete == AUTH_POP3_COLLECTED;
    if (!d->n_deleted && !d->collected)
        return;
    d->uids = mem_alloc(d->n * sizeof *d->uids);
    d->noted = mem_alloc(d->n * sizeof *d->noted);
    for (size_t i = 0; i < d->n; i++) {
        uint32_t uid = store_root_at(d->root, i)->uid;
        if (pop3_drop_is_deleted(d, i) || (goes && is_collected(d, i)))
            d->uids[d->n_uids++] = uid;
        else if (is_collected(d, i))
            d->noted[d->n_noted++] = uid;
    }
}
