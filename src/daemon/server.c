/* The server process: opens the store and everything that stands on it, serves until SIGTERM,
 * closes in the opposite order.
 *
 * Order matters: privileges and sandbox first, so that every thread is inside; the store before the
 * listeners, so that "ready" means ready; at the end sessions before deliveries before the store,
 * so that nothing acknowledged is still under way when it closes.
 */
#include "daemon/daemon_int.h"

#include "crypto/crypto.h"
#include "ctl/ctl.h"
#include "pop3/pop3.h"
#include "smtpd/smtpd.h"

#include "base/budget.h"
#include "base/mem.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    SHORT_THREADS = 4,
    HEAVY_THREADS = 1,
    LANE_QUEUE = 100000,
    HASH_QUEUE = 1000,
    MAINTAIN_FIRST_SECONDS = 300, /* after the start, so that one that often restarts does it too */
    MAINTAIN_SECONDS = 3600,
    SIGNERS = 16 /* kept for handshakes under way: nobody renews so often while one lasts */
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
    struct net_signer *signers[SIGNERS]; /* the newest at (n_signers - 1) % SIGNERS */
    size_t n_signers;
    struct net_tls *tls;
    struct net *net;
    struct smtpd *smtpd;
    struct pop3 *pop3;
    struct net_cidr trusted[CONF_LIST_MAX];
    size_t n_trusted;
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

/* --- the store and what stands on it ---------------------------------------------------------- */

static enum rc read_trusted(struct server *s)
{
    const struct conf_list *list = &s->start->conf->limits.trusted;
    for (size_t i = 0; i < list->n; i++) {
        if (net_cidr_parse(str_of(list->item[i]), &s->trusted[s->n_trusted++]) == RC_OK)
            continue;
        log_event(s->log, LOG_ERROR, "start-failed", "what", "limits.trusted", "cause",
                  list->item[i], NULL);
        return RC_SYNTAX;
    }
    return RC_OK;
}

static struct auth_guard_conf guard_conf(struct server *s)
{
    const struct conf *c = s->start->conf;
    return (struct auth_guard_conf){.account_failures = (uint32_t)c->auth.account_failures,
                                    .address_failures = (uint32_t)c->auth.address_failures,
                                    .network_failures = (uint32_t)c->auth.network_failures,
                                    .period = c->auth.failure_time,
                                    .delay_max = c->auth.delay_max,
                                    .trusted = s->trusted,
                                    .n_trusted = s->n_trusted};
}

static enum rc open_store(struct server *s)
{
    const struct conf *c = s->start->conf;
    struct kv_local_conf kv = {.path = ".",
                               .segment_bytes = c->store.segment,
                               .memory_bytes = c->store.memory,
                               .clean_rate = c->store.clean_rate,
                               .reserve_bytes = c->store.reserve};
    /* 0 is the store's word for its default: what is kept for no time goes with the next
     * maintenance. */
    struct store_conf store = {.undelete_ns =
                                   c->store.undelete ? c->store.undelete * NS_PER_SEC : UINT64_MAX};
    struct auth_conf auth = {.hash_lane = s->hash_lane,
                             .hash_ops = (uint32_t)c->auth.hash_ops,
                             .hash_memory = c->auth.hash_memory,
                             .guard = guard_conf(s)};
    s->admin.ctx = s->ctx;
    TRY(tell(s, "store", kv_local_open(&s->ctx, &kv, &s->admin.kv)));
    TRY(tell(s, "accounts", store_open(&s->ctx, s->admin.kv, &store, &s->admin.store)));
    TRY(tell(s, "directory", auth_open(&s->ctx, s->admin.kv, &auth, &s->admin.auth)));
    TRY(tell(s, "queue", queue_open(&s->ctx, s->admin.kv, &s->admin.queue)));
    struct deliver_conf deliver = {
        .kv = s->admin.kv, .store = s->admin.store, .queue = s->admin.queue, .lane = s->short_lane};
    return tell(s, "deliver", deliver_open(&s->ctx, &deliver, &s->deliver));
}

static void close_store(struct server *s)
{
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

static struct net_signer *add_signer(struct server *s, int fd)
{
    struct net_signer **place = &s->signers[s->n_signers++ % SIGNERS];
    net_signer_free(place);
    *place = net_signer_new(fd, 0);
    return *place;
}

static enum rc open_tls(struct server *s)
{
    char why[256];
    if (s->start->chain_pem.n == 0)
        return RC_OK;
    struct net_signer *signer = add_signer(s, s->start->signer_fd);
    enum rc rc = net_tls_new(s->start->chain_pem, (struct str){0}, signer, &s->tls, why);
    if (rc != RC_OK)
        log_event(s->log, LOG_ERROR, "certificate-refused", "file", s->start->conf->tls.certificate,
                  "cause", why, NULL);
    return rc;
}

/* limits.command_time bounds the waits that have a shorter default of their own as well. */
static uint64_t patience_ms(const struct conf *c, uint64_t usual_ms)
{
    uint64_t set_ms = c->limits.command_time * 1000;
    return set_ms < usual_ms ? set_ms : usual_ms;
}

/* One message of the supervisor; RC_AGAIN: there is none. The files are the caller's. */
static enum rc receive_news(struct server *s, int fds[2])
{
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(2 * sizeof(int))];
    } control;
    char byte;
    struct iovec in = {.iov_base = &byte, .iov_len = 1};
    struct msghdr message = {.msg_iov = &in,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof control.bytes};
    if (recvmsg(s->start->news_fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) != 1)
        return RC_AGAIN;
    const struct cmsghdr *c = CMSG_FIRSTHDR(&message);
    if (!c || c->cmsg_type != SCM_RIGHTS || c->cmsg_len != CMSG_LEN(2 * sizeof(int)))
        return RC_AGAIN;
    memcpy(fds, CMSG_DATA(c), 2 * sizeof(int));
    return RC_OK;
}

/* Sessions go on with the certificate that they began with. */
static void renew_tls(struct server *s)
{
    int fds[2];
    while (receive_news(s, fds) == RC_OK) {
        struct str chain;
        char why[256] = "cannot be read";
        struct net_signer *signer = add_signer(s, fds[0]);
        enum rc rc = file_read_open(fds[1], &chain);
        close(fds[1]);
        if (rc == RC_OK) {
            rc = s->tls ? net_tls_renew(s->tls, chain, (struct str){0}, signer, why) : RC_OK;
            free((void *)(uintptr_t)chain.p);
        }
        if (rc == RC_OK)
            log_event(s->log, LOG_INFO, "certificate-renewed", NULL);
        else
            log_event(s->log, LOG_ERROR, "certificate-refused", "cause", why, NULL);
    }
}

static enum rc open_protocols(struct server *s)
{
    const struct conf *c = s->start->conf;
    budget_init(&s->memory, c->limits.memory);
    struct smtpd_conf smtpd = {.hostname = str_of(c->hostname),
                               .message_size = c->limits.message_size,
                               .recipients = (uint32_t)c->limits.recipients,
                               .command_ms = c->limits.command_time * 1000,
                               .data_ms = c->limits.data_time * 1000,
                               .data_rate = c->limits.data_rate,
                               .over_quota_refuses = strcmp(c->limits.over_quota, "refuse") == 0,
                               .vrfy = strcmp(c->smtp.vrfy, "on") == 0,
                               .plaintext_on_loopback =
                                   c->auth.plaintext == CONF_PLAINTEXT_LOOPBACK,
                               .memory = &s->memory,
                               .kv = s->admin.kv,
                               .auth = s->admin.auth,
                               .deliver = s->deliver};
    struct pop3_conf pop3 = {.hostname = c->hostname,
                             .plaintext_on_loopback = c->auth.plaintext == CONF_PLAINTEXT_LOOPBACK,
                             .login_ms = patience_ms(c, 180000),
                             .auth = s->admin.auth,
                             .store = s->admin.store};
    s->smtpd = smtpd_new(&s->ctx, &smtpd);
    s->pop3 = pop3_new(&s->ctx, &pop3);
    return RC_OK;
}

static enum rc listen_on(struct server *s, const struct socket *socket)
{
    static const enum {
        NO_TLS,
        IN_SESSION,
        FROM_START
    } tls[SERVICES] = {
        [SERVICE_SMTP] = IN_SESSION,        [SERVICE_SUBMISSION] = IN_SESSION,
        [SERVICE_SUBMISSIONS] = FROM_START, [SERVICE_LMTP] = NO_TLS,
        [SERVICE_POP3] = IN_SESSION,        [SERVICE_POP3S] = FROM_START,
        [SERVICE_CONTROL] = NO_TLS,
    };
    const struct net_proto *submission = &smtpd_protos[SMTPD_SUBMISSION];
    const struct {
        const struct net_proto *proto;
        void *app;
    } services[SERVICES] = {
        [SERVICE_SMTP] = {&smtpd_protos[SMTPD_MX], smtpd_service(s->smtpd, SMTPD_MX)},
        [SERVICE_SUBMISSION] = {submission, smtpd_service(s->smtpd, SMTPD_SUBMISSION)},
        [SERVICE_SUBMISSIONS] = {submission, smtpd_service(s->smtpd, SMTPD_SUBMISSION)},
        [SERVICE_LMTP] = {&smtpd_protos[SMTPD_LMTP], smtpd_service(s->smtpd, SMTPD_LMTP)},
        [SERVICE_POP3] = {&pop3_proto, s->pop3},
        [SERVICE_POP3S] = {&pop3_proto, s->pop3},
        [SERVICE_CONTROL] = {&ctl_proto, &s->admin},
    };
    struct net_listener l = {.fd = socket->fd,
                             .proto = services[socket->service].proto,
                             .app = services[socket->service].app,
                             .is_tls = tls[socket->service] == FROM_START,
                             .tls = tls[socket->service] != NO_TLS ? s->tls : NULL};
    if (l.is_tls && !l.tls) {
        log_event(s->log, LOG_WARNING, "not-served", "address", socket->address, "cause",
                  "no certificate: set tls { certificate, key }", NULL);
        return RC_OK;
    }
    log_event(s->log, LOG_INFO, "listening", "service", service_name(socket->service), "address",
              socket->address, NULL);
    return net_listen(s->net, &l);
}

static enum rc open_net(struct server *s)
{
    const struct conf *c = s->start->conf;
    struct net_conf net = {
        .limits = {.connections = (uint32_t)c->limits.connections,
                   .greeting_ms = patience_ms(c, 30000),
                   .per_address = (uint32_t)c->limits.per_address,
                   .handshakes = (uint32_t)c->limits.handshakes,
                   .handshakes_per_address = (uint32_t)c->limits.handshakes_per_address,
                   .trusted = s->trusted,
                   .n_trusted = s->n_trusted},
        .short_lane = s->short_lane,
        .heavy_lane = s->heavy_lane};
    s->net = net_new(&s->ctx, &net);
    for (size_t i = 0; i < s->start->sockets->n; i++)
        TRY(tell(s, s->start->sockets->item[i].address, listen_on(s, &s->start->sockets->item[i])));
    net_start(s->net);
    return RC_OK;
}

/* Sessions first, then what could still make work for the store. */
static void close_net(struct server *s)
{
    if (s->admin.auth)
        auth_hurry(s->admin.auth);
    if (s->net)
        net_stop(s->net);
    if (s->net && net_count(s->net)) {
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
    if (s->net)
        net_free(&s->net);
    smtpd_free(&s->smtpd);
    pop3_free(&s->pop3);
    net_tls_free(&s->tls);
    for (size_t i = 0; i < SIGNERS; i++)
        net_signer_free(&s->signers[i]);
}

/* --- keeping the store small ------------------------------------------------------------------ */

static void *keeper_main(void *arg)
{
    struct server *s = arg;
    time_t wait = MAINTAIN_FIRST_SECONDS;
    pthread_mutex_lock(&s->mutex);
    while (!s->stop) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += wait;
        wait = MAINTAIN_SECONDS;
        int error = 0;
        while (!s->stop && error != ETIMEDOUT)
            error = pthread_cond_timedwait(&s->ending, &s->mutex, &until);
        pthread_mutex_unlock(&s->mutex);
        if (!s->stop)
            admin_maintain(&s->admin, &s->stop);
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

static enum log_level level_of(const char *name)
{
    static const char *const names[] = {"debug", "info", "warning", "error"};
    for (int i = 0; i < 4; i++)
        if (strcmp(name, names[i]) == 0)
            return (enum log_level)i;
    return LOG_INFO;
}

static void raise_file_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit); /* what it is then is what net counts with */
    }
}

static enum rc confine(struct server *s)
{
    const char *why;
    raise_file_limit();
    TRY(tell(s, "user", sandbox_become(s->start->uid, s->start->gid)));
    prctl(PR_SET_PDEATHSIG, SIGTERM); /* becoming another user has cleared it */
    if (getppid() != s->start->supervisor)
        return tell(s, "supervisor", RC_NOTFOUND);
    TRY(tell(s, "sandbox", sandbox_enter(SANDBOX_SERVER, &why)));
    if (why)
        log_event(s->log, LOG_WARNING, "sandbox-incomplete", "cause", why, NULL);
    return RC_OK;
}

static enum rc start(struct server *s)
{
    const struct conf *c = s->start->conf;
    TRY(confine(s));
    s->short_lane = task_lane_new("short", SHORT_THREADS, LANE_QUEUE);
    s->heavy_lane = task_lane_new("heavy", HEAVY_THREADS, LANE_QUEUE);
    s->hash_lane = task_lane_new_background("hash", (unsigned)c->auth.hash_threads, HASH_QUEUE);
    TRY(read_trusted(s));
    TRY(open_store(s));
    TRY(open_tls(s));
    TRY(open_protocols(s));
    TRY(open_net(s));
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
        renew_tls(s);
}

int server_run(const struct server_start *start_info)
{
    struct server *s = mem_zero(sizeof *s);
    s->start = start_info;
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
