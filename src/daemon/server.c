/* The server process: opens the store and everything that stands on it, serves until SIGTERM,
 * closes in the opposite order.
 *
 * Order matters: privileges and sandbox first, so that every thread is inside; the store before the
 * listeners, so that "ready" means ready; at the end sessions before deliveries before the store,
 * so that nothing acknowledged is still under way when it closes.
 *
 * A reload happens in this process too: server_reload.c.
 */
#include "daemon/server.h"

#include "base/mem.h"
#include "ctl/ctl.h"
#include "migrate/migrate.h"
#include "trace/trace.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
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

static enum rc tell(struct server *s, const char *what, enum rc rc)
{
    if (rc != RC_OK)
        log_event(s->log, LOG_ERROR, "start-failed", "what", what, "cause", rc_name(rc), NULL);
    return rc;
}

/* --- the store and what stands on it ---------------------------------------------------------- */

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

/* Who this process is for those that share the store. */
static void name_node(struct server *s)
{
    const struct conf *c = s->start->conf;
    char host[64] = "";
    gethostname(host, sizeof host - 1);
    size_t n = strlen(c->data), most = sizeof s->node - sizeof host - 2;
    snprintf(s->node, sizeof s->node, "%s:%s", host, n > most ? c->data + n - most : c->data);
}

/* A store on this machine is this process's alone, by its lock: whoever has that has the leases,
 * and asks for them seldom. Nodes of a cluster are told apart by machine and data folder, which
 * stay what they are when the server starts again. */
static void lease_queue(struct server *s)
{
    const struct conf *c = s->start->conf;
    bool is_local = strcmp(c->store.engine, "rados") != 0;
    const struct queue_lease_conf lease = {.node = is_local ? "local" : s->node,
                                           .lease_ms = is_local ? QUEUE_LEASE_MOST_MS : 0,
                                           .is_shared = !is_local};
    queue_lease_run(s->admin.queue, &lease);
}

static void open_index(struct server *s)
{
    const struct conf *c = s->start->conf;
    const struct index_conf index = {.store = s->admin.store,
                                     .kv = s->admin.kv,
                                     .charsets = s->charsets,
                                     .text_max = c->store.index_text,
                                     .is_off = strcmp(c->store.index, "off") == 0};
    index_open(&s->ctx, &index, &s->admin.index);
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
                             .scram = auth_scram_of(c->auth.scram),
                             .scram_iterations = (uint32_t)c->auth.scram_iterations,
                             .guard = server_guard_conf(c, trusted)};
    s->admin.ctx = s->ctx;
    s->admin.lane = s->heavy_lane;
    s->admin.keep_removed_ns = c->store.keep_removed * NS_PER_SEC;
    s->admin.collections = (uint32_t)c->collect.accounts;
    TRY(tell(s, "store", open_kv(s)));
    TRY(tell(s, "store", admit(s)));
    TRY(tell(s, "accounts", store_open(&s->ctx, s->admin.kv, &store, &s->admin.store)));
    open_index(s);
    TRY(tell(s, "trace", ctl_trace_open(&s->ctx, c, s->admin.kv, &s->admin.trace)));
    auth.trace = s->admin.trace;
    TRY(tell(s, "directory", auth_open(&s->ctx, s->admin.kv, &auth, &s->admin.auth)));
    TRY(tell(s, "keys", open_dkim(s)));
    const struct limit_conf limit = {0};
    s->limit = limit_open(&s->ctx, s->admin.kv, &limit);
    TRY(tell(s, "queue", queue_open(&s->ctx, s->admin.kv, &s->admin.queue)));
    name_node(s);
    lease_queue(s);
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
                                   .tells_places = true,
                                   .tells_attachments =
                                       strcmp(c->imap.attachment_keywords, "on") == 0,
                                   .trace = s->admin.trace};
    return tell(s, "deliver", deliver_open(&s->ctx, &deliver, &s->deliver));
}

static void close_store(struct server *s)
{
    limit_close(&s->limit);
    if (s->admin.queue)
        queue_close(&s->admin.queue);
    if (s->admin.auth)
        auth_close(&s->admin.auth);
    trace_close(&s->admin.trace);
    index_close(&s->admin.index);
    if (s->admin.store)
        store_close(&s->admin.store);
    if (s->admin.kv)
        kv_close(&s->admin.kv);
}

/* --- the network ------------------------------------------------------------------------------ */

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
    struct net_conf net = {.limits = server_net_limits(s->start->conf, trusted),
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
    if (bearer_open(&s->bearer, &s->ctx, s->start->conf, &s->login_files, why) != RC_OK) {
        log_event(s->log, LOG_ERROR, "issuer-refused", "cause", why, NULL);
        return RC_PERM;
    }
    login_files_fini(&s->login_files);
    auth_bearer_set(s->admin.auth, &s->bearer.auth);
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
                                        .dkim = s->dkim,
                                        .token = s->bearer.token,
                                        .store = s->admin.store,
                                        .node = str_of(s->node)};
    if (!s->outside) {
        token_start(s->bearer.token, NULL);
        return RC_OK;
    }
    enum rc rc = tell(s, "relay", outside_open(s->outside, &house, s->start->conf, &s->secrets));
    s->relay = outside_relay(s->outside);
    secrets_fini(&s->secrets);
    return rc;
}

/* --- the end ---------------------------------------------------------------------------------- */

/* Sessions first, then what could still make work for the store. */
static void close_net(struct server *s)
{
    if (s->admin.auth)
        auth_hurry(s->admin.auth);
    if (s->bearer.token)
        token_hurry(s->bearer.token);
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
    token_free(&s->bearer.token);
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
    char unread[256] = "";
    unsigned missing; /* what this machine's C library does not have is read as an unknown one */
    raise_file_limit();
    users_read(&s->users);
    mime_charsets_new(&s->charsets, &missing);                    /* reads files */
    s->statm_fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC); /* for /metrics; -1: no figure */
    TRY(tell(s, "engine", ctl_engine_load(&s->ctx, s->start->conf, &needs)));
    TRY(read_for_outside(s));
    if (login_files_read(s->start->conf, &s->login_files, unread) != RC_OK) {
        log_event(s->log, LOG_ERROR, "issuer-refused", "cause", unread, NULL);
        return RC_PERM;
    }
    TRY(tell(s, "user", sandbox_become(s->start->uid, s->start->gid)));
    prctl(PR_SET_PDEATHSIG, SIGTERM); /* becoming another user has cleared it */
    if (getppid() != s->start->supervisor)
        return tell(s, "supervisor", RC_NOTFOUND);
    *out_is_afar = needs.connects;
    bool connects = needs.connects || s->outside || login_files_connect(s->start->conf);
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
    bool is_afar = false;
    TRY(confine(s, &is_afar));
    s->short_lane =
        task_lane_new("short", is_afar ? SHORT_THREADS_AFAR : SHORT_THREADS, LANE_QUEUE);
    s->heavy_lane =
        task_lane_new("heavy", is_afar ? HEAVY_THREADS_AFAR : HEAVY_THREADS, LANE_QUEUE);
    s->hash_lane = task_lane_new_background("hash", (unsigned)c->auth.hash_threads, HASH_QUEUE);
    TRY(server_trusted(s, c, &trusted));
    TRY(open_store(s, &trusted));
    TRY(open_net(s, &trusted));
    TRY(open_outside(s));
    index_start(s->admin.index);
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
        server_reload(s);
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
    s->log = log_new(STDERR_FILENO, server_log_level(start_info->conf->log_level), &clock_system);
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
