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
    free(t->accounts);
    free(t);
    s->transaction = NULL;
}

static bool has_account(const struct transaction *t, uint64_t account)
{
    for (size_t i = 0; i < t->n_accounts; i++)
        if (t->accounts[i] == account)
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

enum rc smtpd_transaction_add(struct transaction *t, const struct recipient *recipient)
{
    const struct auth_targets *targets = &recipient->targets;
    size_t n = targets->n + (recipient->domain.n > 0);
    if (n > QUEUE_RECIPIENTS - t->n_accounts - t->n_outside)
        return RC_LIMIT;
    t->n_outside += recipient->domain.n > 0;
    t->recipients = mem_array(t->recipients, &t->recipients_capacity, t->n_recipients + 1,
                              sizeof *t->recipients);
    struct recipient *r = &t->recipients[t->n_recipients++];
    *r = *recipient;
    r->address = arena_dup(&t->arena, recipient->address);
    if (!str_is_null(recipient->orcpt))
        r->orcpt = arena_dup(&t->arena, recipient->orcpt);
    t->accounts = mem_array(t->accounts, &t->accounts_capacity, t->n_accounts + targets->n,
                            sizeof *t->accounts);
    for (size_t i = 0; i < targets->n; i++)
        if (!has_account(t, targets->accounts[i]))
            t->accounts[t->n_accounts++] = targets->accounts[i];
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
