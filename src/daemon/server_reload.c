/* Another configuration for the server that runs, its side: what the supervisor sends becomes a new
 * generation, whose listeners take the place of the old ones; no session is touched
 * (docs/decisions/0033). Whatever cannot be used changes nothing at all. */
#include "daemon/server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct reload {
    struct sockets sockets; /* those that are new */
    struct str chain_pem;
    struct str text; /* of the configuration */
    char path[NEWS_TEXT];
    struct secrets secrets;
    struct outside_files files;
    struct login_files login_files;
    int signer_fd;
    bool is_whole;
};

static void drop_socket(struct reload *r, size_t i)
{
    close(r->sockets.item[i].fd);
    r->sockets.item[i] = r->sockets.item[--r->sockets.n];
}

static enum rc add_socket(struct reload *r, struct str rest, int fd)
{
    struct str name;
    struct socket *item = &r->sockets.item[r->sockets.n];
    if (fd < 0 || r->sockets.n == SOCKETS_MAX || !str_cut(&rest, ' ', &name) ||
        !service_find(name, &item->service) || rest.n >= sizeof item->address)
        return RC_SYNTAX;
    memcpy(item->address, rest.p, rest.n);
    item->address[rest.n] = '\0';
    item->file = 0; /* the supervisor's to remove */
    item->fd = fd;
    r->sockets.n++;
    return RC_OK;
}

static enum rc add_secret(struct reload *r, struct str path, int fd)
{
    struct str text;
    TRY(file_read_open(fd, &text));
    secrets_add(&r->secrets, path, text);
    explicit_bzero((void *)(uintptr_t)text.p, text.n);
    free((void *)(uintptr_t)text.p);
    return RC_OK;
}

/* Texts that come once each; NULL: it is none of them. */
static struct str *text_named(struct reload *r, struct str what)
{
    const struct {
        const char *name;
        struct str *to;
    } texts[] = {
        {"certificate", &r->chain_pem},        {"authorities", &r->files.authorities},
        {"resolvers", &r->files.resolvers},    {"anchors", &r->files.anchors},
        {"issuer-keys", &r->login_files.keys}, {"issuer-authorities", &r->login_files.authorities}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (str_eq(what, str_of(texts[i].name)))
            return texts[i].to;
    return NULL;
}

/* The file is the message's until it is kept. */
static enum rc take_news(struct reload *r, struct news *news)
{
    struct str rest = str_of(news->text), what;
    enum rc rc = RC_SYNTAX;
    str_cut(&rest, ' ', &what);
    if (str_eq(what, STR("signer")) && r->signer_fd < 0) {
        r->signer_fd = news->fd;
        news->fd = -1;
        return RC_OK;
    }
    if (str_eq(what, STR("socket"))) {
        rc = add_socket(r, rest, news->fd);
        news->fd = rc == RC_OK ? -1 : news->fd;
        return rc;
    }
    if (str_eq(what, STR("password")))
        return add_secret(r, rest, news->fd);
    struct str *text = text_named(r, what);
    if (text && !text->p)
        return file_read_open(news->fd, text);
    if (str_eq(what, STR("configuration")) && !r->text.p) {
        rc = file_read_open(news->fd, &r->text);
        snprintf(r->path, sizeof r->path, "%.*s", STR_ARG(rest));
        r->is_whole = rc == RC_OK;
    }
    return rc;
}

static enum rc receive_reload(struct server *s, struct reload *r)
{
    struct news news;
    enum rc rc = RC_OK;
    while (rc == RC_OK && !r->is_whole) {
        rc = news_receive(s->start->news_fd, &news);
        if (rc == RC_OK)
            rc = take_news(r, &news);
        if (news.fd >= 0)
            close(news.fd);
    }
    return rc;
}

static void reload_fini(struct reload *r)
{
    while (r->sockets.n)
        drop_socket(r, 0);
    if (r->signer_fd >= 0)
        close(r->signer_fd);
    secrets_fini(&r->secrets);
    outside_files_fini(&r->files);
    login_files_fini(&r->login_files);
    free((void *)(uintptr_t)r->chain_pem.p);
    free((void *)(uintptr_t)r->text.p);
}

/* Out of what there is and what has come: all that the configuration names. Those with an address
 * that this machine does not have are nowhere. */
static void choose_sockets(struct server *s, struct reload *r, const struct conf *conf,
                           struct sockets *out)
{
    out->n = 0;
    for (enum service i = 0; i < SERVICE_CONTROL; i++) {
        const struct conf_list *addresses = service_addresses(i, conf);
        for (size_t k = 0; k < addresses->n; k++) {
            const struct socket *found = sockets_find(&s->sockets, i, addresses->item[k]);
            if (!found)
                found = sockets_find(&r->sockets, i, addresses->item[k]);
            if (found)
                out->item[out->n++] = *found;
        }
    }
    for (size_t i = 0; i < s->sockets.n; i++)
        if (s->sockets.item[i].service == SERVICE_CONTROL)
            out->item[out->n++] = s->sockets.item[i];
}

/* What is in force from here on. Nothing fails any more. */
static void put_in_force(struct server *s, struct reload *r, struct generation *g,
                         const struct sockets *next, const struct trusted *trusted)
{
    const struct conf *c = generation_conf(g);
    const struct net_limits limits = server_net_limits(c, trusted);
    const struct auth_guard_conf guard = server_guard_conf(c, trusted);
    net_limit(s->net, &limits);
    auth_guard_reload(s->admin.auth, &guard);
    bearer_reload(&s->bearer, &s->ctx, c, &r->login_files);
    deliver_set_times(s->deliver, c->relay.expire * 1000, c->relay.delay_notice * 1000);
    deliver_set_attachments(s->deliver, strcmp(c->imap.attachment_keywords, "on") == 0);
    if (s->outside)
        outside_reload(s->outside, c, &r->secrets, &r->files);
    budget_limit(&s->memory, c->limits.memory);
    log_level_set(s->log, server_log_level(c->log_level));
    atomic_store(&s->admin.keep_removed_ns, c->store.keep_removed * NS_PER_SEC);
    atomic_store(&s->admin.collections, (uint32_t)c->collect.accounts);
    for (size_t i = 0; i < s->sockets.n; i++) {
        const struct socket *old = &s->sockets.item[i];
        if (!sockets_find(next, old->service, old->address))
            close(old->fd);
    }
    for (size_t i = r->sockets.n; i-- > 0;)
        if (sockets_find(next, r->sockets.item[i].service, r->sockets.item[i].address))
            r->sockets.item[i] = r->sockets.item[--r->sockets.n]; /* the server's now */
    s->sockets = *next;
    generation_unref(&s->generation);
    s->generation = g;
}

static enum rc relisten(struct server *s, struct generation *g, const struct sockets *next)
{
    struct net_listener listeners[SOCKETS_MAX];
    size_t n = generation_listeners(g, next, listeners);
    enum rc rc = net_relisten(s->net, listeners, n);
    for (size_t i = 0; rc != RC_OK && i < n; i++)
        listeners[i].released(&listeners[i]);
    return rc;
}

static enum rc reload(struct server *s, struct reload *r, char why[256])
{
    struct conf *conf;
    struct generation *g;
    struct trusted trusted;
    struct sockets next;
    struct buf faults;
    buf_init(&faults, 4096);
    snprintf(why, 256, "the configuration did not arrive whole");
    enum rc rc = receive_reload(s, r);
    if (rc == RC_OK)
        rc = conf_parse(r->text, r->path, &conf, &faults);
    buf_fini(&faults);
    if (rc != RC_OK)
        return rc;
    snprintf(why, 256, "limits.trusted has what is no network");
    rc = server_trusted(s, conf, &trusted);
    if (rc == RC_OK)
        rc = outside_check(s->outside, &r->files, why);
    if (rc == RC_OK)
        rc = bearer_check(&s->ctx, conf, &r->login_files, why);
    if (rc != RC_OK) {
        conf_free(&conf);
        return rc;
    }
    choose_sockets(s, r, conf, &next);
    int signer_fd = r->signer_fd;
    r->signer_fd = -1;
    TRY(generation_new(&s->house, conf, r->chain_pem, signer_fd, &g, why));
    rc = relisten(s, g, &next);
    snprintf(why, 256, "the listeners cannot be changed now");
    if (rc == RC_OK)
        put_in_force(s, r, g, &next, &trusted);
    else
        generation_unref(&g);
    return rc;
}

void server_reload(struct server *s)
{
    char why[256];
    struct reload r = {.signer_fd = -1};
    enum rc rc = reload(s, &r, why);
    if (rc != RC_OK)
        log_event(s->log, LOG_ERROR, "reload-failed", "cause", why, NULL);
    reload_fini(&r);
    if (news_send(s->start->news_fd, -1, rc == RC_OK ? "ok" : "refused %s", why) != RC_OK)
        log_event(s->log, LOG_ERROR, "reload-not-answered", NULL);
}
