/* A generation: all that one configuration decides for sessions - the protocols' settings, the
 * certificate, who signs for it.
 *
 * Immutable once made. Each of its listeners holds it, and net holds a listener for as long as it
 * has sessions; so a reload swaps the listeners and the last session of the old configuration frees
 * what it began with. Nothing here is looked up by a session that runs.
 */
#include "daemon/daemon_int.h"

#include "ctl/ctl.h"
#include "imap/imap.h"
#include "pop3/pop3.h"
#include "smtpd/smtpd.h"

#include "base/mem.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct generation {
    const struct generation_house *house;
    struct conf *conf;
    struct smtpd *smtpd;
    struct pop3 *pop3;
    struct imap *imap;
    struct net_signer *signer;
    struct net_tls *tls; /* NULL: no certificate */
    struct smtpd_user *users;
    struct limit_rates send_limits, success_reports;
    _Atomic size_t holds;
    struct str *relay_domains; /* in conf */
    struct net_cidr proxies[CONF_LIST_MAX];
    size_t n_proxies;
};

uint64_t patience_ms(const struct conf *conf, uint64_t usual_ms)
{
    uint64_t set_ms = conf->limits.command_time * 1000;
    return set_ms < usual_ms ? set_ms : usual_ms;
}

const struct conf *generation_conf(const struct generation *g)
{
    return g->conf;
}

static enum rc open_tls(struct generation *g, struct str chain_pem, int signer_fd, char why[256])
{
    snprintf(why, 256, "the certificate has no signer");
    if (chain_pem.n == 0 || signer_fd < 0) {
        if (signer_fd >= 0)
            close(signer_fd);
        return chain_pem.n ? RC_PERM : RC_OK;
    }
    g->signer = net_signer_new(signer_fd, 0);
    return net_tls_new(chain_pem, (struct str){0}, g->signer, &g->tls, why);
}

static enum rc read_proxies(struct generation *g)
{
    const struct conf_list *list = &g->conf->limits.proxies;
    for (; g->n_proxies < list->n; g->n_proxies++)
        TRY(net_cidr_parse(str_of(list->item[g->n_proxies]), &g->proxies[g->n_proxies]));
    return RC_OK;
}

static void open_protocols(struct generation *g)
{
    const struct conf *c = g->conf;
    const struct generation_house *house = g->house;
    bool plaintext = c->auth.plaintext == CONF_PLAINTEXT_LOOPBACK;
    g->relay_domains = mem_zero((c->relay.accept.n + 1) * sizeof *g->relay_domains);
    for (size_t i = 0; i < c->relay.accept.n; i++)
        g->relay_domains[i] = str_of(c->relay.accept.item[i]);
    g->users = users_with_trust(house->users, &c->sendmail.trusted);
    struct smtpd_conf smtpd = {.hostname = str_of(c->hostname),
                               .message_size = c->limits.message_size,
                               .recipients = (uint32_t)c->limits.recipients,
                               .command_ms = c->limits.command_time * 1000,
                               .data_ms = c->limits.data_time * 1000,
                               .data_rate = c->limits.data_rate,
                               .over_quota_refuses = strcmp(c->limits.over_quota, "refuse") == 0,
                               .vrfy = strcmp(c->smtp.vrfy, "on") == 0,
                               .plaintext_on_loopback = plaintext,
                               .is_any_from = strcmp(c->submission.from, "any") == 0,
                               .limit = house->limit,
                               .send_limits = g->send_limits,
                               .success_reports = g->success_reports,
                               .send_ramp_s = c->submission.send_ramp,
                               .hold_s = c->submission.hold_max,
                               .users = g->users,
                               .n_users = house->users->n,
                               .memory = house->memory,
                               .kv = house->admin->kv,
                               .auth = house->admin->auth,
                               .deliver = house->deliver,
                               .may_send = c->relay.connections > 0,
                               .relay_domains = g->relay_domains,
                               .n_relay_domains = c->relay.connections ? c->relay.accept.n : 0,
                               .trace = house->admin->trace,
                               .hand = house->hand};
    struct pop3_conf pop3 = {.hostname = c->hostname,
                             .login_delay_s = (uint32_t)c->limits.login_delay,
                             .plaintext_on_loopback = plaintext,
                             .login_ms = patience_ms(c, 180000),
                             .auth = house->admin->auth,
                             .store = house->admin->store};
    struct imap_conf imap = {.plaintext_on_loopback = plaintext,
                             .takes_8bit_headers = strcmp(c->imap.append_8bit, "any") == 0,
                             .search_mailboxes = (uint32_t)c->imap.search_mailboxes,
                             .notify_names = (uint32_t)c->imap.notify_names,
                             .contexts = (uint32_t)c->imap.contexts,
                             .login_ms = patience_ms(c, 180000),
                             .message_size = c->limits.message_size,
                             .withholds_uidonly = strcmp(c->imap.uidonly, "withheld") == 0,
                             .message_limit = (uint32_t)c->imap.message_limit,
                             .limits_saving_only = strcmp(c->imap.message_limit_of, "save") == 0,
                             .charsets = house->charsets,
                             .memory = house->memory,
                             .version = PENFOLD_VERSION,
                             .index = house->admin->index,
                             .kv = house->admin->kv,
                             .auth = house->admin->auth,
                             .store = house->admin->store};
    g->smtpd = smtpd_new(house->ctx, &smtpd);
    g->pop3 = pop3_new(house->ctx, &pop3);
    g->imap = imap_new(house->ctx, &imap);
}

enum rc generation_new(const struct generation_house *house, struct conf *conf,
                       struct str chain_pem, int signer_fd, struct generation **out, char why[256])
{
    struct generation *g = mem_zero(sizeof *g);
    g->house = house;
    g->conf = conf;
    atomic_init(&g->holds, 1);
    enum rc rc = open_tls(g, chain_pem, signer_fd, why);
    /* The file was not taken with others than these. */
    if (rc == RC_OK)
        rc = limit_rates_parse(str_of(conf->submission.send_limit), &g->send_limits);
    if (rc == RC_OK)
        rc = limit_rates_parse(str_of(conf->smtp.success_reports), &g->success_reports);
    if (rc == RC_OK)
        rc = read_proxies(g);
    if (rc == RC_OK) {
        open_protocols(g);
        *out = g;
    } else {
        generation_unref(&g);
    }
    return rc;
}

void generation_unref(struct generation **generation)
{
    struct generation *g = *generation;
    *generation = NULL;
    if (!g || atomic_fetch_sub(&g->holds, 1) != 1)
        return;
    smtpd_free(&g->smtpd);
    free(g->users);
    free(g->relay_domains);
    pop3_free(&g->pop3);
    imap_free(&g->imap);
    net_tls_free(&g->tls);
    net_signer_free(&g->signer);
    conf_free(&g->conf);
    free(g);
}

static void released(const struct net_listener *listener)
{
    struct generation *g = listener->owner;
    generation_unref(&g);
}

/* --- listeners -------------------------------------------------------------------------------- */

static struct net_listener listener_of(struct generation *g, const struct socket *socket)
{
    static const enum {
        NO_TLS,
        IN_SESSION,
        FROM_START
    } tls[SERVICES] = {
        [SERVICE_SMTP] = IN_SESSION,        [SERVICE_SUBMISSION] = IN_SESSION,
        [SERVICE_SUBMISSIONS] = FROM_START, [SERVICE_LMTP] = NO_TLS,
        [SERVICE_SENDMAIL] = NO_TLS,        [SERVICE_POP3] = IN_SESSION,
        [SERVICE_POP3S] = FROM_START,       [SERVICE_IMAP] = IN_SESSION,
        [SERVICE_IMAPS] = FROM_START,       [SERVICE_ADMIN] = NO_TLS,
        [SERVICE_CONTROL] = NO_TLS,
    };
    const struct net_proto *submission = &smtpd_protos[SMTPD_SUBMISSION];
    const struct {
        const struct net_proto *proto;
        const void *app;
    } services[SERVICES] = {
        [SERVICE_SMTP] = {&smtpd_protos[SMTPD_MX], smtpd_service(g->smtpd, SMTPD_MX)},
        [SERVICE_SUBMISSION] = {submission, smtpd_service(g->smtpd, SMTPD_SUBMISSION)},
        [SERVICE_SUBMISSIONS] = {submission, smtpd_service(g->smtpd, SMTPD_SUBMISSION)},
        [SERVICE_LMTP] = {&smtpd_protos[SMTPD_LMTP], smtpd_service(g->smtpd, SMTPD_LMTP)},
        [SERVICE_SENDMAIL] = {&smtpd_protos[SMTPD_LOCAL], smtpd_service(g->smtpd, SMTPD_LOCAL)},
        [SERVICE_POP3] = {&pop3_proto, g->pop3},
        [SERVICE_POP3S] = {&pop3_proto, g->pop3},
        [SERVICE_IMAP] = {&imap_proto, g->imap},
        [SERVICE_IMAPS] = {&imap_proto, g->imap},
        [SERVICE_ADMIN] = {&http_proto, web_admin(g->house->web)},
        [SERVICE_CONTROL] = {&ctl_proto, g->house->admin},
    };
    bool is_ours = socket->service == SERVICE_ADMIN || socket->service == SERVICE_CONTROL;
    return (struct net_listener){.fd = socket->fd,
                                 .name = service_name(socket->service),
                                 .proto = services[socket->service].proto,
                                 .app = (void *)(uintptr_t)services[socket->service].app,
                                 .is_tls = tls[socket->service] == FROM_START,
                                 .no_tickets = socket->service == SERVICE_SMTP,
                                 .proxies = g->proxies,
                                 .n_proxies = is_ours ? 0 : g->n_proxies,
                                 .tls = tls[socket->service] != NO_TLS ? g->tls : NULL,
                                 .released = released,
                                 .owner = g};
}

size_t generation_listeners(struct generation *g, const struct sockets *sockets,
                            struct net_listener out[SOCKETS_MAX])
{
    size_t n = 0;
    for (size_t i = 0; i < sockets->n; i++) {
        const struct socket *socket = &sockets->item[i];
        struct net_listener listener = listener_of(g, socket);
        if (listener.is_tls && !listener.tls) {
            log_event(g->house->ctx->log, LOG_WARNING, "not-served", "address", socket->address,
                      "cause", "no certificate: set tls { certificate, key }", NULL);
            continue;
        }
        log_event(g->house->ctx->log, LOG_INFO, "listening", "service", listener.name, "address",
                  socket->address, NULL);
        atomic_fetch_add(&g->holds, 1);
        out[n++] = listener;
    }
    return n;
}
