/* What the server needs to reach other hosts: DNS, TLS as a client, the relay; and what of the
 * configuration they go by.
 *
 * Files are read before the sandbox closes (outside_prepare); of a later configuration the
 * supervisor reads and sends them all: passwords, resolvers, trust anchor, authorities. */
#include "daemon/outside.h"

#include "base/mem.h"
#include "collect/collect.h"
#include "deliver/sign.h"
#include "dns/dns.h"
#include "tlspol/tlspol.h"
#include "token/token.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OWN_MAX = 256, ENTRY_BYTES = 64, DRAIN_MS = 30000 };

struct outside {
    struct ctx ctx;
    struct outside_files files;
    uint64_t cache; /* and what else dns was made with */
    bool must_validate;
    struct in6_addr own[OWN_MAX]; /* addresses of this machine */
    size_t n_own;
    struct dns *dns;
    struct tlspol *tlspol;
    struct token *token; /* the server's */
    struct net_tls_client *tls;
    struct relay *relay;
    struct relay_signer signer;
    struct deliver_signer signs;
    struct collect *collect;
};

/* --- secrets ---------------------------------------------------------------------------------- */

void secrets_add(struct secrets *s, struct str path, struct str text)
{
    struct str line;
    (void)str_cut(&text, '\n', &line);
    line = str_ends(line, STR("\r")) ? str_head(line, line.n - 1) : line;
    s->items = mem_array(s->items, &s->capacity, s->n + 1, sizeof *s->items);
    s->items[s->n++] =
        (struct secret){mem_dup(path.p, path.n), line.n ? mem_dup(line.p, line.n) : NULL, line.n};
}

static struct str secrets_find(const struct secrets *s, const char *path)
{
    for (size_t i = s->n; i-- > 0;)
        if (strcmp(s->items[i].path, path) == 0)
            return str_from(s->items[i].text, s->items[i].n);
    return (struct str){0};
}

void secrets_fini(struct secrets *s)
{
    for (size_t i = 0; i < s->n; i++) {
        if (s->items[i].text)
            explicit_bzero(s->items[i].text, s->items[i].n);
        free(s->items[i].text);
        free(s->items[i].path);
    }
    free(s->items);
    *s = (struct secrets){0};
}

enum rc secrets_read(const struct conf *c, struct secrets *out, const char **out_path)
{
    for (size_t i = 0; i < c->relay.n_routes; i++) {
        const char *path = c->relay.routes[i].password_file;
        struct str text;
        *out_path = path;
        if (!path[0])
            continue;
        TRY(file_read(path, &text));
        secrets_add(out, str_of(path), text);
        explicit_bzero((void *)(uintptr_t)text.p, text.n);
        free((void *)(uintptr_t)text.p);
    }
    return RC_OK;
}

/* --- before the sandbox ----------------------------------------------------------------------- */

static void read_own(struct outside *o)
{
    struct ifaddrs *all;
    if (getifaddrs(&all) != 0)
        return;
    for (struct ifaddrs *i = all; i && o->n_own < OWN_MAX; i = i->ifa_next) {
        struct in6_addr *to = &o->own[o->n_own];
        if (!i->ifa_addr)
            continue;
        if (i->ifa_addr->sa_family == AF_INET6) {
            *to = ((struct sockaddr_in6 *)(void *)i->ifa_addr)->sin6_addr;
            o->n_own++;
        } else if (i->ifa_addr->sa_family == AF_INET) {
            memcpy(to->s6_addr, "\0\0\0\0\0\0\0\0\0\0\xff\xff", 12);
            memcpy(to->s6_addr + 12, &((struct sockaddr_in *)(void *)i->ifa_addr)->sin_addr, 4);
            o->n_own++;
        }
    }
    freeifaddrs(all);
}

/* In the arena. */
static enum rc dns_conf_of(const struct conf *c, const struct outside_files *files,
                           struct arena *arena, struct dns_conf *out, char why[256])
{
    struct str texts[CONF_LIST_MAX], rest = files->resolvers, line;
    size_t n = 0;
    while (n < CONF_LIST_MAX && str_cut(&rest, '\n', &line))
        if (line.n)
            texts[n++] = line;
    TRY(dns_conf_read(texts, n, "none", arena, out, why));
    out->anchors = files->anchors;
    out->must_validate = c->dns.trust_anchor[0] && files->anchors.n;
    out->cache_bytes = c->dns.cache;
    return RC_OK;
}

static struct tlspol_conf tlspol_conf_of(const struct conf *c, const struct outside_files *files)
{
    return (struct tlspol_conf){.ca_pem = files->authorities,
                                .fetch_ms = c->mta_sts.fetch_time * 1000,
                                .domains = (uint32_t)c->mta_sts.domains,
                                .memory_bytes = c->mta_sts.memory,
                                .age_max_s = c->mta_sts.age_max};
}

enum rc outside_prepare(const struct ctx *ctx, const struct conf *c, struct outside **out)
{
    struct outside *o = mem_zero(sizeof *o);
    o->ctx = *ctx;
    *out = o;
    char why[256] = "";
    read_own(o);
    enum rc rc = outside_files_read(c, &o->files, why);
    if (rc != RC_OK)
        log_event(ctx->log, LOG_ERROR, "relay-refused", "cause", why, NULL);
    return rc;
}

/* --- settings --------------------------------------------------------------------------------- */

static void add_own(const struct outside *o, struct relay_settings *s, struct net_addr *to,
                    const struct net_addr *listening)
{
    const struct in6_addr *a = &listening->sa.sin6_addr;
    bool is_any4 = IN6_IS_ADDR_V4MAPPED(a) && memcmp(a->s6_addr + 12, "\0\0\0", 4) == 0;
    bool is_any = is_any4 || IN6_IS_ADDR_UNSPECIFIED(a);
    to[s->n_own++] = *listening;
    for (size_t i = 0; is_any && i < o->n_own; i++)
        if (IN6_IS_ADDR_V4MAPPED(&o->own[i]) == is_any4) {
            to[s->n_own] = *listening;
            to[s->n_own++].sa.sin6_addr = o->own[i];
        }
}

/* Where this host takes mail from others: what leads there leads back. */
static void set_own(const struct outside *o, const struct conf *c, struct relay_settings *s)
{
    const struct conf_list *list = &c->listen.smtp;
    struct net_addr *to =
        arena_zero(&s->arena, (list->n * (OWN_MAX + 1) + 1) * sizeof(struct net_addr));
    s->own = to;
    for (size_t i = 0; i < list->n; i++) {
        struct net_addr listening;
        if (net_addr_parse(str_of(list->item[i]), &listening) == RC_OK)
            add_own(o, s, to, &listening);
    }
}

static void set_avoid(const struct conf *c, struct relay_settings *s)
{
    const struct conf_list *list = &c->relay.avoid;
    struct net_cidr *to = arena_zero(&s->arena, (list->n + 1) * sizeof *to);
    s->avoid = to;
    for (size_t i = 0; i < list->n; i++)
        s->n_avoid += net_cidr_parse(str_of(list->item[i]), &to[s->n_avoid]) == RC_OK;
}

/* One of each kind: [0] IPv4, [1] IPv6. */
static void set_source(const struct conf_list *list, struct net_addr source[2], bool has_source[2])
{
    for (size_t i = 0; i < list->n; i++) {
        bool is_v6 = strchr(list->item[i], ':') != NULL;
        if (net_ip_parse(str_of(list->item[i]), 0, &source[is_v6]) == RC_OK)
            has_source[is_v6] = true;
    }
}

/* "mail.example.org:587", "192.0.2.1", "[2001:db8::1]:25", "/run/lmtp" */
static void set_host(struct relay_settings *s, const char *text, struct relay_route *to)
{
    struct str host = str_of(text);
    ptrdiff_t colon = str_rfind_byte(host, ':'), bracket = str_rfind_byte(host, ']');
    uint64_t port = 0;
    bool is_path = str_find_byte(host, '/') >= 0;
    if (!is_path && colon > bracket && colon >= 0 &&
        str_to_u64(str_skip(host, (size_t)colon + 1), &port) == RC_OK)
        host = str_head(host, (size_t)colon);
    if (!is_path && host.n > 2 && host.p[0] == '[')
        host = str_sub(host, 1, host.n - 2);
    to->host = arena_dup(&s->arena, host);
    to->port = (uint16_t)port;
}

static struct str lower_case(struct arena *arena, const char *text)
{
    size_t n = strlen(text);
    char *lower = arena_alloc(arena, n + 1);
    for (size_t i = 0; i <= n; i++)
        lower[i] = ascii_lower(text[i]);
    return str_from(lower, n);
}

static enum relay_tls tls_of(const char *word)
{
    static const char *const words[] = {[RELAY_TLS_OPPORTUNISTIC] = "opportunistic",
                                        [RELAY_TLS_NEVER] = "never",
                                        [RELAY_TLS_VERIFY] = "verify",
                                        [RELAY_TLS_IMPLICIT] = "implicit"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcmp(word, words[i]) == 0)
            return (enum relay_tls)i;
    return RELAY_TLS_VERIFY; /* the strictest, for what the configuration would not let through */
}

static void set_routes(const struct conf *c, const struct secrets *secrets,
                       struct relay_settings *s)
{
    size_t n = c->relay.n_routes;
    struct relay_route *routes = arena_zero(&s->arena, (n + 1) * sizeof *routes);
    for (size_t i = 0; i < n; i++) {
        const struct conf_route *from = &c->relay.routes[i];
        struct relay_route *to = &routes[i];
        to->domain = lower_case(&s->arena, from->domain);
        set_host(s, from->host, to);
        to->protocol = strcmp(from->protocol, "lmtp") == 0 ? RELAY_LMTP : RELAY_SMTP;
        to->tls = tls_of(from->tls);
        to->login = arena_dup(&s->arena, str_of(from->login));
        if (from->password_file[0])
            to->password = arena_dup(&s->arena, secrets_find(secrets, from->password_file));
        set_source(&from->source, to->source, to->has_source);
    }
    s->routes = routes;
    s->n_routes = n;
}

static struct relay_settings *settings_of(const struct outside *o, const struct conf *c,
                                          const struct secrets *secrets)
{
    struct relay_settings *s = relay_settings_new();
    s->hostname = arena_dup(&s->arena, str_of(c->hostname));
    set_routes(c, secrets, s);
    set_source(&c->relay.source, s->source, s->has_source);
    set_own(o, c, s);
    set_avoid(c, s);
    s->retry_first_ms = c->relay.retry_first * 1000;
    s->retry_max_ms = c->relay.retry_max * 1000;
    s->retry_grey_ms = c->relay.retry_greylisted * 1000;
    s->connections = (uint32_t)c->relay.connections;
    s->per_host = (uint32_t)c->relay.per_host;
    s->per_connection = (uint32_t)c->relay.per_connection;
    s->recipients = (uint32_t)c->relay.recipients;
    s->entries =
        (uint32_t)(c->relay.memory / ENTRY_BYTES < UINT32_MAX ? c->relay.memory / ENTRY_BYTES
                                                              : UINT32_MAX);
    s->idle_ms = c->relay.idle_time * 1000;
    s->connect_ms = c->relay.connect_time * 1000;
    s->command_ms = c->relay.command_time * 1000;
    s->lookup_least_s = c->relay.lookup_least;
    return s;
}

static struct collect_settings collect_settings_of(const struct conf *c)
{
    return (struct collect_settings){.interval_ms = c->collect.interval * 1000,
                                     .retry_max_ms = c->collect.retry_max * 1000,
                                     .connections = (uint32_t)c->collect.connections,
                                     .per_account = (uint32_t)c->collect.per_account,
                                     .idle = (uint32_t)c->collect.idle,
                                     .messages = (uint32_t)c->collect.messages,
                                     .message_bytes = c->collect.message_size,
                                     .connect_ms = c->relay.connect_time * 1000,
                                     .command_ms = c->collect.command_time * 1000,
                                     .tell_ms = c->collect.tell_after * 1000};
}

static void open_collect(struct outside *o, const struct outside_house *house, const struct conf *c)
{
    struct relay_settings *avoid = relay_settings_new();
    set_avoid(c, avoid);
    const struct collect_conf conf = {.kv = house->kv,
                                      .store = house->store,
                                      .auth = house->auth,
                                      .deliver = house->deliver,
                                      .net = house->net,
                                      .tls = o->tls,
                                      .dns = o->dns,
                                      .signer = house->dkim,
                                      .hostname = str_of(c->hostname),
                                      .node = house->node,
                                      .avoid = avoid->avoid,
                                      .n_avoid = avoid->n_avoid,
                                      .settings = collect_settings_of(c)};
    collect_open(&o->ctx, &conf, &o->collect);
    relay_settings_unref(&avoid);
}

/* --- the process ------------------------------------------------------------------------------ */

static enum rc sign(struct relay_signer *signer, const struct queue_item *item, struct str hostname,
                    struct buf *out)
{
    return deliver_sign(&CONTAINER(signer, struct outside, signer)->signs, item, hostname, out);
}

static void note_dns(struct outside *o, const struct conf *c)
{
    o->cache = c->dns.cache;
    o->must_validate = c->dns.trust_anchor[0] != 0;
}

enum rc outside_open(struct outside *o, const struct outside_house *house, const struct conf *c,
                     const struct secrets *secrets)
{
    char why[256] = "";
    struct arena arena = {0};
    struct dns_conf dns;
    const struct tlspol_conf tlspol = tlspol_conf_of(c, &o->files);
    enum rc rc = dns_conf_of(c, &o->files, &arena, &dns, why);
    if (rc == RC_OK)
        rc = dns_new(&o->ctx, &dns, &o->dns, why);
    arena_fini(&arena);
    if (rc == RC_OK)
        rc = tlspol_new(&o->ctx, house->kv, o->dns, &tlspol, &o->tlspol, why);
    if (rc == RC_OK)
        rc = net_tls_client_new(o->files.authorities, &o->tls, why);
    o->token = house->token;
    token_start(o->token, o->dns);
    if (rc != RC_OK) {
        log_event(o->ctx.log, LOG_ERROR, "relay-refused", "cause", why, NULL);
        return rc;
    }
    note_dns(o, c);
    o->signer.sign = sign;
    o->signs = (struct deliver_signer){
        .ctx = &o->ctx, .kv = house->kv, .auth = house->auth, .client = house->dkim};
    const struct relay_conf relay = {.kv = house->kv,
                                     .queue = house->queue,
                                     .deliver = house->deliver,
                                     .net = house->net,
                                     .tls = o->tls,
                                     .dns = o->dns,
                                     .tlspol = o->tlspol,
                                     .signer = house->dkim ? &o->signer : NULL};
    relay_open(&o->ctx, &relay, settings_of(o, c, secrets), &o->relay);
    open_collect(o, house, c);
    return RC_OK;
}

enum rc outside_check(const struct outside *o, const struct outside_files *files, char why[256])
{
    struct net_tls_client *tls = NULL;
    if (!o || str_is_null(files->resolvers))
        return RC_OK;
    enum rc rc = net_tls_client_new(files->authorities, &tls, why);
    net_tls_client_free(&tls);
    return rc;
}

/* With an empty cache, so only when there is something new. */
static enum rc reload_dns(struct outside *o, const struct conf *c,
                          const struct outside_files *files, char why[256])
{
    struct arena arena = {0};
    struct dns_conf next;
    enum rc rc = dns_conf_of(c, files, &arena, &next, why);
    if (rc == RC_OK)
        rc = dns_reload(o->dns, &next, why);
    arena_fini(&arena);
    return rc;
}

static bool is_same_dns(const struct outside *o, const struct conf *c,
                        const struct outside_files *files)
{
    return str_eq(o->files.resolvers, files->resolvers) &&
           str_eq(o->files.anchors, files->anchors) && o->cache == c->dns.cache &&
           o->must_validate == (c->dns.trust_anchor[0] != 0);
}

static void copy(struct str *to, struct str from)
{
    free((void *)(uintptr_t)to->p);
    *to = str_is_null(from) ? from : str_from(mem_dup(from.p, from.n), from.n);
}

/* What cannot be used after all stays as it was, and the log says so. */
static void reload_files(struct outside *o, const struct conf *c, const struct outside_files *files)
{
    char why[256] = "";
    if (!is_same_dns(o, c, files)) {
        if (reload_dns(o, c, files, why) == RC_OK) {
            copy(&o->files.resolvers, files->resolvers);
            copy(&o->files.anchors, files->anchors);
            note_dns(o, c);
        } else {
            log_event(o->ctx.log, LOG_ERROR, "dns-not-reloaded", "cause", why, NULL);
        }
    }
    if (!str_eq(o->files.authorities, files->authorities)) {
        if (net_tls_client_renew(o->tls, files->authorities, why) == RC_OK)
            copy(&o->files.authorities, files->authorities);
        else
            log_event(o->ctx.log, LOG_ERROR, "authorities-not-reloaded", "cause", why, NULL);
    }
}

void outside_reload(struct outside *o, const struct conf *c, const struct secrets *secrets,
                    const struct outside_files *files)
{
    if (!str_is_null(files->resolvers))
        reload_files(o, c, files);
    const struct tlspol_conf tlspol = tlspol_conf_of(c, &o->files);
    tlspol_reload(o->tlspol, &tlspol);
    relay_set(o->relay, settings_of(o, c, secrets));
    const struct collect_settings collect = collect_settings_of(c);
    collect_set(o->collect, &collect);
}

struct relay *outside_relay(struct outside *o)
{
    return o->relay;
}

void outside_drain(struct outside *o)
{
    if (o)
        collect_drain(o->collect);
    if (o && o->relay)
        relay_drain(o->relay);
}

/* Questions end at once, so that nothing waits for them; the relay may ask until it is closed. */
void outside_close(struct outside *o)
{
    if (!o)
        return;
    if (o->dns)
        dns_stop(o->dns);
    if (o->token)
        token_stop(o->token);
    if (o->tlspol)
        tlspol_stop(o->tlspol);
    relay_close(&o->relay);
    bool is_collecting = !collect_close(&o->collect);
    if (o->relay || is_collecting)
        return; /* it has given up waiting and may still ask */
    tlspol_free(&o->tlspol);
    dns_free(&o->dns);
}

bool outside_is_closed(const struct outside *o)
{
    return !o || (!o->relay && !o->collect);
}

void outside_free(struct outside **outside)
{
    struct outside *o = *outside;
    if (!o)
        return;
    if (o->tls)
        net_tls_client_free(&o->tls);
    outside_files_fini(&o->files);
    free(o);
    *outside = NULL;
}
