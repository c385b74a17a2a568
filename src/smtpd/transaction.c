/* A mail transaction [RFC5321 3.3]: sender and recipients, in memory of its own that goes with it.
 */
#include "smtpd/smtpd_int.h"

#include "base/mem.h"
#include "base/random.h"

#include <stdio.h>
#include <stdlib.h>

void smtpd_transaction_begin(struct session *s, struct str sender)
{
    struct transaction *t = mem_zero(sizeof *t);
    arena_init(&t->arena, 0); /* bounded by the number of recipients and the length of a line */
    snprintf(t->id, sizeof t->id, "%016llx", (unsigned long long)random_u64());
    t->sender = arena_dup(&t->arena, sender);
    s->transaction = t;
}

void smtpd_transaction_end(struct session *s)
{
    struct transaction *t = s->transaction;
    if (t == NULL)
        return;
    smtpd_message_free(s);
    arena_fini(&t->arena);
    free(t->addresses);
    free(t->accounts);
    free(t);
    s->transaction = NULL;
}

void smtpd_transaction_add(struct transaction *t, struct str address, uint64_t account)
{
    size_t n = t->n_recipients++;
    t->addresses = mem_array(t->addresses, &t->addresses_capacity, n + 1, sizeof *t->addresses);
    t->accounts = mem_array(t->accounts, &t->accounts_capacity, n + 1, sizeof *t->accounts);
    t->addresses[n] = arena_dup(&t->arena, address);
    t->accounts[n] = account;
}
