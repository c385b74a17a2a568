/* A mail transaction [RFC5321 3.3]: sender and recipients, in memory of its own that goes with it.
 */
#include "smtpd/smtpd_int.h"

#include "base/mem.h"
#include "base/random.h"

#include <stdio.h>
#include <stdlib.h>

void smtpd_transaction_begin(struct session *s, const struct envelope *envelope)
{
    struct transaction *t = mem_zero(sizeof *t);
    arena_init(&t->arena, 0); /* bounded by the number of recipients and the length of a line */
    snprintf(t->id, sizeof t->id, "%016llx", (unsigned long long)random_u64());
    t->envelope = *envelope;
    t->envelope.sender = arena_dup(&t->arena, envelope->sender);
    if (!str_is_null(envelope->envid))
        t->envelope.envid = arena_dup(&t->arena, envelope->envid);
    s->transaction = t;
}

void smtpd_transaction_end(struct session *s)
{
    struct transaction *t = s->transaction;
    if (t == NULL)
        return;
    smtpd_message_free(s);
    arena_fini(&t->arena);
    free(t->recipients);
    free(t->copies);
    free(t);
    s->transaction = NULL;
}

static bool has_account(const struct transaction *t, uint64_t account)
{
    for (size_t i = 0; i < t->n_copies; i++)
        if (t->copies[i].account == account)
            return true;
    return false;
}

bool smtpd_recipient_has(const struct recipient *r, uint64_t account)
{
    for (size_t i = 0; i < r->targets.n; i++)
        if (r->targets.accounts[i] == account)
            return true;
    return false;
}

bool smtpd_transaction_is_direct(const struct transaction *t)
{
    return t->n_copies == 1 && t->copies[0].account &&
           !(t->copies[0].wish.notify & SMTP_NOTIFY_SUCCESS);
}

/* The wishes of one address that stands for several places: the first of them tells of success, for
 * all of them [RFC3461 5.2.7.3] (c). */
static void wish(const struct recipient *r, bool is_alias, struct queue_recipient *copy)
{
    unsigned notify = r->notify;
    bool is_first = r->n == 0;
    if (is_alias && !is_first && notify & SMTP_NOTIFY_SUCCESS)
        notify = notify & ~SMTP_NOTIFY_SUCCESS ? notify & ~SMTP_NOTIFY_SUCCESS : SMTP_NOTIFY_NEVER;
    copy->address = r->address;
    copy->wish = (struct queue_wish){.notify = (uint8_t)notify, .orcpt = r->orcpt};
    copy->flags = is_alias && is_first ? QUEUE_ALIAS : 0;
}

static struct queue_recipient *add_copy(struct transaction *t, struct recipient *r, bool is_alias)
{
    struct queue_recipient *copy = &t->copies[t->n_copies++];
    *copy = (struct queue_recipient){0};
    wish(r, is_alias, copy);
    r->n++;
    return copy;
}

static void forward(struct transaction *t, struct recipient *r, struct str target, bool is_alias)
{
    struct queue_recipient *copy = add_copy(t, r, is_alias);
    copy->address = target;
    copy->domain = str_domain(target);
    copy->flags |= QUEUE_FORWARD;
    copy->wish.address = r->address; /* what reports name */
}

enum rc smtpd_transaction_add(struct session *s, const struct recipient *recipient)
{
    struct transaction *t = s->transaction;
    const struct auth_targets *targets = &recipient->targets;
    size_t n = targets->n + targets->n_outside + (recipient->domain.n > 0);
    if (n > QUEUE_RECIPIENTS - t->n_copies)
        return RC_LIMIT;
    t->recipients = mem_array(t->recipients, &t->recipients_capacity, t->n_recipients + 1,
                              sizeof *t->recipients);
    t->copies = mem_array(t->copies, &t->copies_capacity, t->n_copies + n, sizeof *t->copies);
    struct recipient *r = &t->recipients[t->n_recipients++];
    *r = *recipient;
    r->address = arena_dup(&t->arena, recipient->address);
    if (!str_is_null(recipient->orcpt))
        r->orcpt = arena_dup(&t->arena, recipient->orcpt);
    r->first = t->n_copies;
    bool is_told = recipient->notify & SMTP_NOTIFY_SUCCESS && !s->role->answers_each;
    for (size_t i = 0; i < targets->n; i++)
        if (!has_account(t, targets->accounts[i]) || (is_told && r->n == 0))
            add_copy(t, r, n > 1)->account = targets->accounts[i];
    for (size_t i = 0; i < targets->n_outside; i++)
        forward(t, r, targets->outside[i], n > 1);
    if (recipient->domain.n) {
        struct queue_recipient *copy = add_copy(t, r, false);
        copy->domain = recipient->domain;
        if (recipient->target.n) {
            copy->wish.address = r->address;
            copy->address = recipient->target;
        }
    }
    return RC_OK;
}

enum rc smtpd_lookup_write(const struct smtp_path *path, struct buf *out)
{
    struct smtp_path ascii = *path;
    struct buf domain;
    buf_init(&domain, SMTP_DOMAIN_MAX);
    enum rc rc = str_is_null(path->domain) ? RC_OK : smtp_domain_ascii(path->domain, &domain);
    if (!str_is_null(path->domain))
        ascii.domain = buf_str(&domain);
    if (rc == RC_OK)
        rc = smtp_path_write(&ascii, out);
    buf_fini(&domain);
    return rc;
}
