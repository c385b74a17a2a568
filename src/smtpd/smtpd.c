/* What the sessions of a server share: its configuration, with defaults where nothing was said.
 * Never changes while sessions run. */
#include "smtpd/smtpd_int.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

static uint64_t or_default(uint64_t value, uint64_t standard)
{
    return value != 0 ? value : standard;
}

static uint32_t or_default32(uint32_t value, uint32_t standard)
{
    return value != 0 ? value : standard;
}

static uint32_t at_most(uint32_t value, uint32_t limit)
{
    return value < limit ? value : limit;
}

/* Of domains, whatever their case; the order is for searching only. */
static int compare_domains(const void *a, const void *b)
{
    const struct str *x = a, *y = b;
    if (x->n != y->n)
        return x->n < y->n ? -1 : 1;
    for (size_t i = 0; i < x->n; i++) {
        int by = ascii_lower(x->p[i]) - ascii_lower(y->p[i]);
        if (by)
            return by;
    }
    return 0;
}

static const struct str *sorted_domains(const struct str *domains, size_t n)
{
    struct str *sorted = mem_zero((n + 1) * sizeof *sorted);
    if (n)
        memcpy(sorted, domains, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, compare_domains);
    return sorted;
}

bool smtpd_is_relayed(const struct smtpd_conf *conf, struct str domain)
{
    return bsearch(&domain, conf->relay_domains, conf->n_relay_domains, sizeof domain,
                   compare_domains) != NULL;
}

struct smtpd *smtpd_new(const struct ctx *ctx, const struct smtpd_conf *conf)
{
    struct smtpd *d = mem_zero(sizeof *d);
    d->ctx = ctx;
    d->conf = *conf;
    d->conf.hostname.p = mem_dup(conf->hostname.p, conf->hostname.n);
    d->conf.relay_domains = sorted_domains(conf->relay_domains, conf->n_relay_domains);
    d->conf.message_size = or_default(conf->message_size, 50 << 20);
    d->conf.recipients = at_most(or_default32(conf->recipients, 100), QUEUE_RECIPIENTS);
    /* A line must fit into what net offers at once. */
    d->conf.command_line = at_most(or_default32(conf->command_line, 1024), SMTPD_INPUT / 2);
    d->conf.text_line = or_default32(conf->text_line, 64 << 10);
    d->conf.hops = or_default32(conf->hops, 100);
    d->conf.errors = or_default32(conf->errors, 20);
    d->conf.idle_commands = or_default32(conf->idle_commands, 100);
    d->conf.login_failures = or_default32(conf->login_failures, 5);
    d->conf.command_ms = or_default(conf->command_ms, 300000);
    d->conf.data_ms = or_default(conf->data_ms, 300000);
    d->conf.data_rate = or_default(conf->data_rate, 1024);
    for (int role = 0; role < SMTPD_ROLES; role++)
        d->services[role] = (struct smtpd_service){d, &smtpd_roles[role]};
    return d;
}

struct smtpd_service *smtpd_service(struct smtpd *smtpd, enum smtpd_role role)
{
    return &smtpd->services[role];
}

void smtpd_free(struct smtpd **smtpd)
{
    if (*smtpd == NULL)
        return;
    free((void *)(uintptr_t)(*smtpd)->conf.hostname.p);
    free((void *)(uintptr_t)(*smtpd)->conf.relay_domains);
    free(*smtpd);
    *smtpd = NULL;
}
