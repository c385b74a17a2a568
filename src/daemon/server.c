/* The server process: opens the store and everything that stands on it, serves until SIGTERM,
 * closes in the opposite order.
 *
 * Order matters: privileges and sandbox first, so that every thread is inside; the store before the
 * listeners, so that "ready" means ready; at the end sessions before deliveries before the store,
 * so that nothing acknowledged is still under way when it closes.
 *
 * A reload happens in this process: what the supervisor sends becomes a new generation, whose
 * listeners take the place of the old ones; no session is touched (docs/decisions/0033).
 */
#include "daemon/daemon_int.h"
#include "daemon/outside.h"

#include "base/mem.h"
#include "ctl/ctl.h"
#include "migrate/migrate.h"
#include "mime/charset.h"
#include "trace/trace.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum {
    SHORT_THREADS = 4,
    SHORT_THREADS_AFAR = 16, /* each waits for the network most of the time */
    HEAVY_THREADS = 1,
    HEAVY_THREADS_AFAR = 4, /* one part of a large body may take as long as a machine hangs */
    LANE_QUEUE = 100000,
    HASH_QUEUE = 1000,
    MAINTAIN_FIRST_SECONDS = 300, /* after the start, so that one that often restarts does it too */
    MAINTAIN_SECONDS = 3600,
    TIDY_SECONDS = 10,
    STORE_TRIES = 10, /* a second between them */
    SIGN_MS = 10000   /* for a signature of mail */
};

struct server {
    const struct server_start *start;
    struct ctx ctx;
    struct counters counters;
    struct log *log;
    struct task_lane *short_lane, *heavy_lane, *hash_lane;
    struct admin admin; /* kv, store, auth, queue */
    struct deliver *deliver;
    struct budget memory;
    struct net *net;
    struct outside *outside; /* NULL: nothing is sent to other hosts */
    struct secrets secrets;  /* until it is open */
    struct relay *relay;     /* outside's */
    struct web *web;
    struct mime_charsets *charsets;
    struct users users;
    struct limit *limit;
    struct generation_house house;
    struct generation *generation; /* what new sessions get */
    struct sockets sockets;
    struct crypto_signer_client *dkim; /* NULL: mail is not signed */
    uint64_t started;                  /* wall clock */
    int statm_fd;
    pthread_t keeper;
    pthread_mutex_t mutex;
    pthread_cond_t ending;
    _Atomic bool stop;
    bool has_keeper;
};

static enum rc tell(struct server *s, const char *what, enum rc rc)
{
    if (rc != RC_OK)
        log_event(s->log, LOG_ERROR, "start-failed", "what", what, "cause", rc_name(rc), NULL);
    return rc;
}

static enum log_level level_of(const char *name)
{
    static const char *const names[] = {"debug", "info", "warning", "error"};
    for (int i = 0; i < 4; i++)
        if (strcmp(name, names[i]) == 0)
            return (enum log_level)i;
    return LOG_INFO;
}

/* --- the store and what stands on it ---------------------------------------------------------- */

/* Networks that the limits of addresses and of logins leave alone. */
struct trusted {
    struct net_cidr net[CONF_LIST_MAX];
    size_t n;
};

static enum rc read_trusted(struct server *s, const struct conf *c, struct trusted *out)
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

static struct auth_guard_conf guard_conf(const struct conf *c, const struct trusted *trusted)
{
    return (struct auth_guard_conf){.account_failures = (uint32_t)c->auth.account_failures,
                                    .address_failures = (uint32_t)c->auth.address_failures,
                                    .network_failures = (uint32_t)c->auth.network_failures,
                                    .period = c->auth.failure_time,
                                    .delay_max = c->auth.delay_max,
                                    .trusted = trusted->net,
                                    .n_trusted = trusted->n};
}

/* A command that began without a server has the store for itself; most end in a moment. */
static enum rc open_kv(struct server *s)
{
    const struct timespec pause = {.tv_sec = 1};
    const struct conf *c = s->start->conf;
    enum rc rc = ctl_engine_open(&s->ctx, c, &s->admin.kv);
    for (int i = 1; rc == RC_CONFLICT && i < STORE_TRIES; i++) {
        log_event(s->log, LOG_WARNING, "store-in-use", "cause",
                  "another penfold command is at work on it: waiting", NULL);
        nanosleep(&pause, NULL);
        rc = ctl_engine_open(&s->ctx, c, &s->admin.kv);
    }
    return rc;
}

/* A store that is still being carried here from another one is nobody's yet. */
static enum rc admit(struct server *s)
{
    char why[MIGRATE_WHY];
    enum rc rc = migrate_admit(s->admin.kv, why);
    if (why[0])
        log_event(s->log, LOG_ERROR, "store-refused", "data", s->start->conf->data, "cause", why,
                  NULL);
    return rc;
}

/* Keys that are sealed for another file cannot be used here, and this server makes no others. */
static enum rc open_dkim(struct server *s)
{
    if (s->start->dkim_fd < 0)
        return RC_OK;
    enum rc rc = admin_seal_adopt(&s->admin, s->start->seal);
    if (rc == RC_DENIED) {
        log_event(s->log, LOG_ERROR, "mail-not-signed", "file", s->start->conf->dkim.key, "cause",
                  "the keys in the store are sealed for another file: copy that one here, or see "
                  "penfold dkim setup --help",
                  NULL);
        close(s->start->dkim_fd);
        return RC_OK;
    }
    s->dkim = crypto_signer_client_new(s->start->dkim_fd, SIGN_MS);
    return rc;
}

/* A store on this machine is this process's alone, by its lock: whoever has that has the leases,
 * and asks for them seldom. Nodes of a cluster are told apart by machine and data folder, which
 * stay what they are when the server starts again. */
static void lease_queue(struct server *s)
{
    const struct conf *c = s->start->conf;
    char host[64] = "", node[QUEUE_NODE_MAX];
    bool is_local = strcmp(c->store.engine, "rados") != 0;
    gethostname(host, sizeof host - 1);
    size_t n = strlen(c->data), most = sizeof node - sizeof host - 2;
    snprintf(node, sizeof node, "%s:%s", host, n > most ? c->data + n - most : c->data);
    const struct queue_lease_conf lease = {.node = is_local ? "local" : node,
                                           .lease_ms = is_local ? 24 * 3600 * 1000 : 0,
                                           .is_shared = !is_local};
    queue_lease_run(s->admin.queue, &lease);
}

static enum rc open_store(struct server *s, const struct trusted *trusted)
{
    const struct conf *c = s->start->conf;
    /* 0 is the store's word for its default: what is kept for no time goes with the next
     * maintenance. */
    struct store_conf store = {.undelete_ns =
                                   c->store.undelete ? c->store.undelete * NS_PER_SEC : UINT64_MAX};
    struct auth_conf auth = {.hash_lane = s->hash_lane,
                             .hash_ops = (uint32_t)c->auth.hash_ops,
                             .hash_memory = c->auth.hash_memory,
                             .guard = guard_conf(c, trusted)};
    s->admin.ctx = s->ctx;
    s->admin.keep_removed_ns = c->store.keep_removed * NS_PER_SEC;
    TRY(tell(s, "store", open_kv(s)));
    TRY(tell(s, "store", admit(s)));
    TRY(tell(s, "accounts", store_open(&s->ctx, s->admin.kv, &store, &s->admin.store)));
    TRY(tell(s, "directory", auth_open(&s->ctx, s->admin.kv, &auth, &s->admin.auth)));
    TRY(tell(s, "keys", open_dkim(s)));
    const struct limit_conf limit = {0};
    s->limit = limit_open(&s->ctx, s->admin.kv, &limit);
    TRY(tell(s, "queue", queue_open(&s->ctx, s->admin.kv, &s->admin.queue)));
    lease_queue(s);
    TRY(tell(s, "trace", ctl_trace_open(&s->ctx, c, s->admin.kv, &s->admin.trace)));
    struct deliver_conf deliver = {.kv = s->admin.kv,
                                   .store = s->admin.store,
                                   .queue = s->admin.queue,
                                   .lane = s->short_lane,
                                   .hand = s->start->hand,
                                   .auth = s->admin.auth,
                                   .hostname = str_of(c->hostname),
                                   .expire_ms = c->relay.expire * 1000,
                                   .delay_notice_ms = c->relay.delay_notice * 1000,
                                   .charsets = s->charsets,
                                   .trace = s->admin.trace};
    return tell(s, "deliver", deliver_open(&s->ctx, &deliver, &s->deliver));
}

static void close_store(struct server *s)
{
    limit_close(&s->limit);
    trace_close(&s->admin.trace);
    if (s->admin.queue)
        queue_close(&s->admin.queue);
    if (s->admin.auth)
        auth_close(&s->admin.auth);
    if (s->admin.store)
        store_close(&s->admin.store);
    if (s->admin.kv)
        kv_close(&s->admin.kv);
}

/* --- the network ------------------------------------------------------------------------------ */

static struct net_limits limits_of(const struct conf *c, const struct trusted *trusted)
{
    return (struct net_limits){
        .connections = (uint32_t)c->limits.connections,
        .greeting_ms = patience_ms(c, 30000),
        .per_address = (uint32_t)c->limits.per_address,
        .handshakes = (uint32_t)c->limits.handshakes,
        .handshakes_per_address = (uint32_t)c->limits.handshakes_per_address,
        .old_ms = c->limits.reload_time * 1000,
        .dials = (uint32_t)c->relay.connections * 2,
        .trusted = trusted->net,
        .n_trusted = trusted->n,
    };
}

static enum rc listen_to_all(struct server *s)
{
    struct net_listener listeners[SOCKETS_MAX];
    size_t n = generation_listeners(s->generation, &s->sockets, listeners);
    enum rc rc = RC_OK;
    for (size_t i = 0; i < n; i++) {
        if (rc == RC_OK)
            rc = tell(s, listeners[i].name, net_listen(s->net, &listeners[i]));
        else
            listeners[i].released(&listeners[i]);
    }
    return rc;
}

static enum rc open_net(struct server *s, const struct trusted *trusted)
{
    char why[256];
    struct net_conf net = {.limits = limits_of(s->start->conf, trusted),
                           .short_lane = s->short_lane,
                           .heavy_lane = s->heavy_lane};
    s->net = net_new(&s->ctx, &net);
    struct web_conf web = {.admin = &s->admin,
                           .net = s->net,
                           .statm_fd = s->statm_fd,
                           .started = s->started,
                           .relay = &s->relay};
    s->web = web_new(&web);
    budget_init(&s->memory, s->start->conf->limits.memory);
    s->house =
        (struct generation_house){&s->ctx,        &s->admin,   s->deliver, &s->memory, s->web,
                                  s->start->hand, s->charsets, &s->users,  s->limit};
    s->sockets = *s->start->sockets;
    if (generation_new(&s->house, s->start->conf, s->start->chain_pem, s->start->signer_fd,
                       &s->generation, why) != RC_OK) {
        log_event(s->log, LOG_ERROR, "certificate-refused", "cause", why, NULL);
        return RC_PERM;
    }
    TRY(listen_to_all(s));
    net_start(s->net);
    return RC_OK;
}

static enum rc open_outside(struct server *s)
{
    const struct outside_house house = {.kv = s->admin.kv,
                                        .queue = s->admin.queue,
                                        .deliver = s->deliver,
                                        .net = s->net,
                                        .auth = s->admin.auth,
                                        .dkim = s->dkim};
    if (!s->outside)
        return RC_OK;
    enum rc rc = tell(s, "relay", outside_open(s->outside, &house, s->start->conf, &s->secrets));
    s->relay = outside_relay(s->outside);
    secrets_fini(&s->secrets);
    return rc;
}

/* --- reload ----------------------------------------------------------------------------------- */

struct reload {
    struct sockets sockets; /* those that are new */
    struct str chain_pem;
    struct str text; /* of the configuration */
    char path[NEWS_TEXT];
    struct secrets secrets;
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
    if (str_eq(what, STR("certificate")) && !r->chain_pem.p)
        return file_read_open(news->fd, &r->chain_pem);
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
    const struct net_limits limits = limits_of(c, trusted);
    const struct auth_guard_conf guard = guard_conf(c, trusted);
    net_limit(s->net, &limits);
    auth_guard_reload(s->admin.auth, &guard);
    if (s->outside)
        outside_reload(s->outside, c, &r->secrets);
    budget_limit(&s->memory, c->limits.memory);
    log_level_set(s->log, level_of(c->log_level));
    atomic_store(&s->admin.keep_removed_ns, c->store.keep_removed * NS_PER_SEC);
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
    rc = read_trusted(s, conf, &trusted);
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

static void on_hup(struct server *s)
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

/* --- the end ---------------------------------------------------------------------------------- */

/* Sessions first, then what could still make work for the store. */
static void close_net(struct server *s)
{
    if (s->admin.auth)
        auth_hurry(s->admin.auth);
    outside_drain(s->outside);
    if (s->net)
        net_stop(s->net);
    outside_close(s->outside);
    if (s->net && (net_count(s->net) || !outside_is_closed(s->outside))) {
        /* The disk has not answered for longer than the drain may last. What is not acknowledged is
         * nobody's loss. */
        log_event(s->log, LOG_ERROR, "stopped-hard", "cause", "sessions still wait for the store",
                  NULL);
        log_flush(s->log); /* not freed: threads are still running */
        _exit(1);
    }
    deliver_close(&s->deliver);
    task_lane_free(&s->hash_lane);
    task_lane_free(&s->heavy_lane);
    task_lane_free(&s->short_lane);
}

/* After the store: its threads wake sessions, and the last one may still be in that call when the
 * session that it woke has ended. */
static void free_net(struct server *s)
{
    crypto_signer_client_free(&s->dkim);
    if (s->net)
        net_free(&s->net);
    outside_free(&s->outside);
    secrets_fini(&s->secrets);
    generation_unref(&s->generation);
    web_free(&s->web);
    mime_charsets_free(&s->charsets);
    users_fini(&s->users);
    if (s->statm_fd >= 0)
        close(s->statm_fd);
}

/* --- keeping the store small ------------------------------------------------------------------ */

/* Domains that were added before there was a seal, or by a command without a server. */
static void keep_keys(struct server *s)
{
    if (s->dkim)
        admin_keys_tend(&s->admin, &s->stop);
}

static void *keeper_main(void *arg)
{
    struct server *s = arg;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    time_t due = now.tv_sec + MAINTAIN_FIRST_SECONDS;
    keep_keys(s);
    pthread_mutex_lock(&s->mutex);
    while (!s->stop) {
        struct timespec until = {.tv_sec = now.tv_sec + TIDY_SECONDS, .tv_nsec = now.tv_nsec};
        int error = 0;
        while (!s->stop && error != ETIMEDOUT)
            error = pthread_cond_timedwait(&s->ending, &s->mutex, &until);
        pthread_mutex_unlock(&s->mutex);
        if (!s->stop && until.tv_sec >= due) {
            admin_maintain(&s->admin, &s->stop);
            keep_keys(s);
            due = until.tv_sec + MAINTAIN_SECONDS;
        } else if (!s->stop) {
            admin_tidy(&s->admin, &s->stop);
        }
        clock_gettime(CLOCK_MONOTONIC, &now);
        pthread_mutex_lock(&s->mutex);
    }
    pthread_mutex_unlock(&s->mutex);
    return NULL;
}

static void stop_keeper(struct server *s)
{
    if (!s->has_keeper)
        return;
    pthread_mutex_lock(&s->mutex);
    s->stop = true;
    pthread_cond_signal(&s->ending);
    pthread_mutex_unlock(&s->mutex);
    pthread_join(s->keeper, NULL);
}

/* --- the process ------------------------------------------------------------------------------ */

static void raise_file_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit); /* what it is then is what net counts with */
    }
}

/* What the way to other hosts needs to know of this machine. */
static enum rc read_for_outside(struct server *s)
{
    const struct conf *c = s->start->conf;
    const char *path;
    if (!c->relay.connections)
        return RC_OK;
    TRY(tell(s, "relay", outside_prepare(&s->ctx, c, &s->outside)));
    enum rc rc = secrets_read(c, &s->secrets, &path);
    if (rc != RC_OK)
        log_event(s->log, LOG_ERROR, "password-refused", "file", path, "cause", strerror(errno),
                  NULL);
    return rc;
}

/* *out_is_afar: the store is on other machines. */
static enum rc confine(struct server *s, bool *out_is_afar)
{
    const char *why;
    struct ctl_engine_needs needs;
    unsigned missing; /* what this machine's C library does not have is read as an unknown one */
    raise_file_limit();
    users_read(&s->users);
    mime_charsets_new(&s->charsets, &missing);                    /* reads files */
    s->statm_fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC); /* for /metrics; -1: no figure */
    TRY(tell(s, "engine", ctl_engine_load(&s->ctx, s->start->conf, &needs)));
    TRY(read_for_outside(s));
    TRY(tell(s, "user", sandbox_become(s->start->uid, s->start->gid)));
    prctl(PR_SET_PDEATHSIG, SIGTERM); /* becoming another user has cleared it */
    if (getppid() != s->start->supervisor)
        return tell(s, "supervisor", RC_NOTFOUND);
    *out_is_afar = needs.connects;
    bool connects = needs.connects || s->outside;
    enum sandbox_role role = connects ? SANDBOX_CONNECTING_SERVER : SANDBOX_SERVER;
    TRY(tell(s, "sandbox", sandbox_enter(role, needs.readable, &why)));
    if (why)
        log_event(s->log, LOG_WARNING, "sandbox-incomplete", "cause", why, NULL);
    return RC_OK;
}

static enum rc start(struct server *s)
{
    const struct conf *c = s->start->conf;
    struct trusted trusted;
    bool is_afar;
    TRY(confine(s, &is_afar));
    s->short_lane =
        task_lane_new("short", is_afar ? SHORT_THREADS_AFAR : SHORT_THREADS, LANE_QUEUE);
    s->heavy_lane =
        task_lane_new("heavy", is_afar ? HEAVY_THREADS_AFAR : HEAVY_THREADS, LANE_QUEUE);
    s->hash_lane = task_lane_new_background("hash", (unsigned)c->auth.hash_threads, HASH_QUEUE);
    TRY(read_trusted(s, c, &trusted));
    TRY(open_store(s, &trusted));
    TRY(open_net(s, &trusted));
    TRY(open_outside(s));
    s->keeper = task_thread("keeper", keeper_main, s);
    s->has_keeper = true;
    return RC_OK;
}

static void wait_for_term(struct server *s)
{
    sigset_t awaited;
    int signal;
    sigemptyset(&awaited);
    sigaddset(&awaited, SIGTERM);
    sigaddset(&awaited, SIGHUP);
    while (sigwait(&awaited, &signal) != 0 || signal != SIGTERM)
        on_hup(s);
}

int server_run(const struct server_start *start_info)
{
    struct server *s = mem_zero(sizeof *s);
    s->start = start_info;
    s->started = clock_wall(&clock_system);
    s->statm_fd = -1;
    admin_init(&s->admin);
    s->ctx = (struct ctx){NULL, &s->counters, &clock_system};
    pthread_mutex_init(&s->mutex, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&s->ending, &monotonic);
    pthread_condattr_destroy(&monotonic);
    counter_set(&s->counters, COUNTER_SERVER_RESTARTS, start_info->restarts);
    s->log = log_new(STDERR_FILENO, level_of(start_info->conf->log_level), &clock_system);
    s->ctx.log = s->log;
    enum rc rc = start(s);
    if (rc == RC_OK) {
        if (write(start_info->ready_fd, "r", 1) == 1)
            wait_for_term(s);
        log_event(s->log, LOG_INFO, "stopping", NULL);
    }
    stop_keeper(s);
    close_net(s);
    close_store(s);
    free_net(s);
    admin_fini(&s->admin);
    log_free(&s->log);
    pthread_cond_destroy(&s->ending);
    pthread_mutex_destroy(&s->mutex);
    free(s);
    return rc == RC_OK ? 0 : 1;
}
