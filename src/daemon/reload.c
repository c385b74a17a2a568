/* HUP: another configuration for the server that runs.
 *
 * The supervisor does what needs root and the file system: it reads the file and the certificate,
 * binds what is new, starts a signer with the key as it is now, and hands all of it over. The
 * server answers; only then is it what the supervisor keeps and gives to a server that it has to
 * start again. Invariant: whatever cannot be used - a file with an error, a port that is taken, a
 * key that does not fit - changes nothing at all.
 *
 * The signer of the configuration before stays for sessions that began with it. It ends by itself
 * when the server closes the last socket to it.
 */
#include "daemon/outside.h"
#include "daemon/supervisor.h"

#include "ctl/ctl.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ANSWER_MS = 30000, CONF_TEXT_MAX = 1 << 20 };

/* What is to take the place of what the supervisor has. */
struct candidate {
    struct conf *conf;
    struct str chain_pem;
    struct sockets sockets;
    int signer_fds[2];
    struct child signer;
    struct secrets secrets;
    struct outside_files files;
    struct login_files login_files;
};

/* --- what only a restart changes -------------------------------------------------------------- */

/* Settings of the engine and of threads that are made at the start, and files that are read then.
 */
static void warn_of_restart(const struct conf *now, const struct conf *next)
{
    const struct {
        const char *what;
        bool is_same;
    } fixed[] = {
        {"data", strcmp(now->data, next->data) == 0},
        {"dkim key", strcmp(now->dkim.key, next->dkim.key) == 0},
        {"user", strcmp(now->user, next->user) == 0},
        {"store engine", strcmp(now->store.engine, next->store.engine) == 0},
        {"store memory", now->store.memory == next->store.memory},
        {"store body_memory", now->store.body_memory == next->store.body_memory},
        {"store queue", now->store.queue == next->store.queue},
        {"store reserve", now->store.reserve == next->store.reserve},
        {"store segment", now->store.segment == next->store.segment},
        {"store clean_rate", now->store.clean_rate == next->store.clean_rate},
        {"store undelete", now->store.undelete == next->store.undelete},
        {"store ceph_conf", strcmp(now->store.ceph_conf, next->store.ceph_conf) == 0},
        {"store ceph_user", strcmp(now->store.ceph_user, next->store.ceph_user) == 0},
        {"store ceph_keyring", strcmp(now->store.ceph_keyring, next->store.ceph_keyring) == 0},
        {"store pool", strcmp(now->store.pool, next->store.pool) == 0},
        {"store body_pool", strcmp(now->store.body_pool, next->store.body_pool) == 0},
        {"store name", strcmp(now->store.name, next->store.name) == 0},
        {"store plugin", strcmp(now->store.plugin, next->store.plugin) == 0},
        {"oauth issuer",
         login_files_connect(now) || !login_files_connect(next) || next->relay.connections},
        {"relay connections", !now->relay.connections == !next->relay.connections},
        {"auth hash_ops", now->auth.hash_ops == next->auth.hash_ops},
        {"auth hash_memory", now->auth.hash_memory == next->auth.hash_memory},
        {"auth scram", strcmp(now->auth.scram, next->auth.scram) == 0},
        {"auth scram_iterations", now->auth.scram_iterations == next->auth.scram_iterations},
        {"auth hash_threads", now->auth.hash_threads == next->auth.hash_threads},
    };
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
        if (!fixed[i].is_same)
            say(LOG_WARNING, "needs-restart", "setting", fixed[i].what);
}

/* --- making it -------------------------------------------------------------------------------- */

/* start_signer works on what the supervisor has, so a copy has the candidate's in its place. */
static enum rc make_signer(const struct supervisor *s, struct candidate *c)
{
    struct supervisor with = *s;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, c->signer_fds) != 0)
        return complain("signer", strerror(errno));
    with.conf = c->conf;
    with.chain_pem = c->chain_pem;
    with.signer = c->signer;
    memcpy(with.signer_fds, c->signer_fds, sizeof with.signer_fds);
    enum rc rc = start_signer(&with);
    c->signer = with.signer;
    return rc;
}

static enum rc make(const struct supervisor *s, struct candidate *c)
{
    char why[256];
    c->conf = ctl_conf(s->conf_path);
    if (!c->conf)
        return RC_SYNTAX;
    const char *path;
    TRY(read_chain(c->conf, &c->chain_pem));
    if (secrets_read(c->conf, &c->secrets, &path) != RC_OK)
        return complain(path, strerror(errno));
    if (c->conf->relay.connections && outside_files_read(c->conf, &c->files, why) != RC_OK)
        return complain("relay", why);
    if (login_files_read(c->conf, &c->login_files, why) != RC_OK)
        return complain("oauth", why);
    if (sockets_change(c->conf, &s->sockets, &c->sockets, why) != RC_OK)
        return complain("listen", why);
    return make_signer(s, c);
}

/* What it has that the supervisor has not. */
static void drop(const struct supervisor *s, struct candidate *c)
{
    if (c->signer.pid)
        kill(c->signer.pid, SIGKILL);
    close_fd(&c->signer_fds[0]);
    close_fd(&c->signer_fds[1]);
    sockets_close(&c->sockets, &s->sockets);
    free((void *)(uintptr_t)c->chain_pem.p);
    conf_free(&c->conf);
}

/* --- handing it over -------------------------------------------------------------------------- */

/* As a file, since it may be longer than a message. */
static int file_of(struct str text)
{
    int fd = memfd_create("penfold", MFD_CLOEXEC);
    while (fd >= 0 && text.n) {
        ssize_t n = write(fd, text.p, text.n);
        if (n <= 0 && errno != EINTR) {
            close_fd(&fd);
            break;
        }
        text = str_skip(text, n > 0 ? (size_t)n : 0);
    }
    if (fd >= 0)
        lseek(fd, 0, SEEK_SET);
    return fd;
}

static enum rc send_text(int socket, const char *what, const char *path, struct str text)
{
    int fd = file_of(text);
    if (fd < 0)
        return rc_from_errno(errno);
    enum rc rc = news_send(socket, fd, "%s %s", what, path);
    close(fd);
    return rc;
}

static enum rc send_all(const struct supervisor *s, const struct candidate *c)
{
    if (c->chain_pem.n) {
        TRY(news_send(s->news_fd, c->signer_fds[0], "signer"));
        TRY(send_text(s->news_fd, "certificate", "", c->chain_pem));
    }
    for (size_t i = 0; i < c->sockets.n; i++) {
        const struct socket *item = &c->sockets.item[i];
        if (!sockets_find(&s->sockets, item->service, item->address))
            TRY(news_send(s->news_fd, item->fd, "socket %s %s", service_name(item->service),
                          item->address));
    }
    for (size_t i = 0; i < c->secrets.n; i++) {
        const struct secret *secret = &c->secrets.items[i];
        TRY(send_text(s->news_fd, "password", secret->path, str_from(secret->text, secret->n)));
    }
    if (!str_is_null(c->files.resolvers)) {
        TRY(send_text(s->news_fd, "resolvers", "", c->files.resolvers));
        TRY(send_text(s->news_fd, "anchors", "", c->files.anchors));
        TRY(send_text(s->news_fd, "authorities", "", c->files.authorities));
    }
    if (!str_is_null(c->login_files.keys))
        TRY(send_text(s->news_fd, "issuer-keys", "", c->login_files.keys));
    if (!str_is_null(c->login_files.authorities))
        TRY(send_text(s->news_fd, "issuer-authorities", "", c->login_files.authorities));
    struct buf text;
    buf_init(&text, CONF_TEXT_MAX);
    conf_show(c->conf, &text);
    enum rc rc =
        text.over ? RC_LIMIT : send_text(s->news_fd, "configuration", s->conf_path, buf_str(&text));
    buf_fini(&text);
    return rc;
}

/* RC_OK, or RC_DENIED: the server has refused it. RC_TEMP: it does not answer, or it is gone. */
static enum rc hand_over(const struct supervisor *s, const struct candidate *c)
{
    struct news answer;
    struct pollfd p = {.fd = s->news_fd, .events = POLLIN};
    if (send_all(s, c) != RC_OK || kill(s->server.pid, SIGHUP) != 0)
        return RC_TEMP;
    while (poll(&p, 1, ANSWER_MS) < 0 && errno == EINTR)
        ;
    enum rc rc = news_receive(s->news_fd, &answer);
    if (rc != RC_OK) /* what has ended it, perhaps, is not what the next one should begin with */
        return rc == RC_EOF ? RC_DENIED : RC_TEMP;
    if (strcmp(answer.text, "ok") == 0)
        return RC_OK;
    (void)complain(s->conf_path, answer.text);
    return RC_DENIED;
}

static void retire(struct supervisor *s, pid_t pid)
{
    if (!pid)
        return;
    if (s->retired[RETIRED_MAX - 1])
        kill(s->retired[RETIRED_MAX - 1], SIGKILL); /* who reloads so often has no need of it */
    memmove(&s->retired[1], &s->retired[0], (RETIRED_MAX - 1) * sizeof s->retired[0]);
    s->retired[0] = pid;
}

static void adopt(struct supervisor *s, struct candidate *c)
{
    retire(s, s->signer.pid);
    close_fd(&s->signer_fds[0]);
    close_fd(&s->signer_fds[1]);
    sockets_close(&s->sockets, &c->sockets);
    free((void *)(uintptr_t)s->chain_pem.p);
    conf_free(&s->conf);
    s->conf = c->conf;
    s->chain_pem = c->chain_pem;
    s->sockets = c->sockets;
    s->signer = c->signer;
    memcpy(s->signer_fds, c->signer_fds, sizeof s->signer_fds);
}

static enum rc change(struct supervisor *s, struct candidate *c)
{
    TRY(make(s, c));
    say(LOG_INFO, "reloading", "file", s->conf_path);
    warn_of_restart(s->conf, c->conf);
    /* One that is not there, or does not listen for news yet, starts with what there is then. */
    bool is_ready = s->server.pid && s->ready_fd < 0 && !s->server.was_told;
    enum rc rc = is_ready ? hand_over(s, c) : RC_TEMP;
    if (rc == RC_DENIED)
        return rc;
    adopt(s, c);
    if (rc != RC_OK)
        restart_server(s);
    else
        say(LOG_INFO, "reloaded", "file", s->conf_path);
    return RC_OK;
}

void supervisor_reload(struct supervisor *s)
{
    struct candidate c = {.signer_fds = {-1, -1}, .signer.name = "signer"};
    notify_reloading();
    if (change(s, &c) != RC_OK) {
        say(LOG_ERROR, "reload-refused", "file", s->conf_path);
        drop(s, &c);
    }
    secrets_fini(&c.secrets);
    outside_files_fini(&c.files);
    login_files_fini(&c.login_files);
    if (s->was_ready)
        notify("READY=1");
}
