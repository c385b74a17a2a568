/* What the configuration says, as the parts of the server want to hear it: at the start, and again
 * with each reload. */
#include "daemon/server.h"

#include <string.h>

enum log_level server_log_level(const char *name)
{
    static const char *const names[] = {"debug", "info", "warning", "error"};
    for (int i = 0; i < 4; i++)
        if (strcmp(name, names[i]) == 0)
            return (enum log_level)i;
    return LOG_INFO;
}

enum rc server_trusted(struct server *s, const struct conf *c, struct trusted *out)
{
    const struct conf_list *list = &c->limits.trusted;
    for (out->n = 0; out->n < list->n; out->n++) {
        if (net_cidr_parse(str_of(list->item[out->n]), &out->net[out->n]) == RC_OK)
            continue;
        log_event(s->log, LOG_ERROR, "not-a-network", "setting", "limits.trusted", "value",
                  list->item[out->n], NULL);
        return RC_SYNTAX;
    }
    return RC_OK;
}

struct auth_guard_conf server_guard_conf(const struct conf *c, const struct trusted *trusted)
{
    bool is_off = strcmp(c->auth.new_place, "off") == 0;
    bool is_logged = strcmp(c->auth.new_place, "log") == 0;
    return (struct auth_guard_conf){.account_failures = (uint32_t)c->auth.account_failures,
                                    .address_failures = (uint32_t)c->auth.address_failures,
                                    .network_failures = (uint32_t)c->auth.network_failures,
                                    .period = c->auth.failure_time,
                                    .delay_max = c->auth.delay_max,
                                    .new_place = is_off      ? AUTH_PLACES_OFF
                                                 : is_logged ? AUTH_PLACES_LOG
                                                             : AUTH_PLACES_MAIL,
                                    .new_place_mails = (uint32_t)c->auth.new_place_mails,
                                    .account_sessions = (uint32_t)c->limits.per_account,
                                    .trusted = trusted->net,
                                    .n_trusted = trusted->n};
}

struct net_limits server_net_limits(const struct conf *c, const struct trusted *trusted)
{
    return (struct net_limits){
        .connections = (uint32_t)c->limits.connections,
        .greeting_ms = patience_ms(c, 30000),
        .per_address = (uint32_t)c->limits.per_address,
        .handshakes = (uint32_t)c->limits.handshakes,
        .handshakes_per_address = (uint32_t)c->limits.handshakes_per_address,
        .compressed = (uint32_t)c->limits.compressed,
        .old_ms = c->limits.reload_time * 1000,
        .dials = (uint32_t)(c->relay.connections * 2 + c->collect.connections),
        .trusted = trusted->net,
        .n_trusted = trusted->n,
    };
}
