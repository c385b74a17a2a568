/* The supervisor: binds, opens, starts, starts again.
 *
 * Invariants: (1) listening sockets and the folder's lock are held from the start to the end,
 * whatever happens to the server, so a client that connects meanwhile waits and is served; (2) at
 * most one server and one signer run; (3) a server that ends without being asked is started again,
 * at once the first time, with growing pauses when it does not stay; (4) it has no threads of its
 * own, so it can fork.
 */
#include "daemon/daemon_int.h"

#include "crypto/crypto.h"
#include "ctl/ctl.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { STEADY_SECONDS = 5, FIRST_PAUSE_MS = 100, LAST_PAUSE_MS = 1000, STOP_MS = 60000 };

/* A process that is to run for as long as the supervisor does. */
struct child {
    const char *name;
    pid_t pid;         /* 0: none */
    uint64_t started;  /* monotonic */
    uint64_t start_at; /* when it is to be started again; 0: not now */
    uint64_t pause_ms; /* before the next start, when it does not stay */
};

struct supervisor {
    char *conf_path;
    struct conf *conf;
    struct sockets sockets;
    struct str chain_pem;
    uid_t uid;
    gid_t gid;
    int lock_fd, signal_fd;
    int signer_fds[2]; /* [0] the server's end, [1] the signer's: kept here, so either can be
                          started again */
    int ready_fd;      /* where the running server says that it is ready; -1 */
    struct child server, signer;
    bool is_stopping, is_reloading, was_ready;
    uint64_t restarts; /* of the server */
};

/* One line, now: a log with its thread would not survive a fork. */
static void say(enum log_level level, const char *event, const char *key, const char *value)
{
    struct log *log = log_new(STDERR_FILENO, LOG_DEBUG, &clock_system);
    log_event(log, level, event, key, value, NULL);
    log_free(&log);
}

static void say_pid(const char *event, pid_t pid)
{
    char text[24];
    snprintf(text, sizeof text, "%d", (int)pid);
    say(LOG_INFO, event, "pid", text);
}

static enum rc complain(const char *what, const char *why)
{
    fprintf(stderr, "penfold: %s: %s\n", what, why);
    return RC_PERM;
}

/* [systemd] sd_notify's protocol: a datagram to the socket that the environment names. */
static void notify(const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    if (!path || strlen(path) >= sizeof to.sun_path)
        return;
    strcpy(to.sun_path, path);
    socklen_t n = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
    if (to.sun_path[0] == '@')
        to.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&to,
           n); /* nobody there: nothing to tell */
    close(fd);
}

/* --- starting children
 * -------------------------------------------------------------------------------------------------------
 */

static void become_child(const struct supervisor *s, int death_signal)
{
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL); /* the server waits for what it wants */
    prctl(PR_SET_PDEATHSIG, death_signal);
    close(s->signal_fd);
}

static int signer_main(const struct supervisor *s)
{
    struct str key;
    const char *why;
    become_child(s, SIGKILL);
    if (file_read(s->conf->tls.key, &key) != RC_OK) {
        say(LOG_ERROR, "key-unreadable", "file", s->conf->tls.key);
        return 1;
    }
    struct sockets sockets = s->sockets;
    sockets_close(&sockets);
    struct crypto_signer *signer = NULL;
    enum rc rc = crypto_signer_new(key, &signer);
    explicit_bzero((void *)(uintptr_t)key.p, key.n);
    if (rc == RC_OK)
        rc = sandbox_become(s->uid, s->gid);
    prctl(PR_SET_DUMPABLE, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (rc == RC_OK)
        rc = sandbox_enter(SANDBOX_SIGNER, &why);
    if (rc != RC_OK) {
        say(LOG_ERROR, "signer-failed", "file", s->conf->tls.key);
        return 1;
    }
    return crypto_signer_serve(signer, s->signer_fds[1]) == RC_OK ? 0 : 1;
}

static bool has_key(const struct supervisor *s)
{
    return s->chain_pem.n && s->conf->tls.key[0];
}

static pid_t child_fork(struct child *c)
{
    c->started = clock_mono(&clock_system);
    c->start_at = 0;
    c->pid = fork();
    if (c->pid < 0) {
        say(LOG_ERROR, "fork-failed", "cause", strerror(errno));
        c->pid = 0;
        c->start_at = c->started + LAST_PAUSE_MS * NS_PER_MS;
        return -1;
    }
    return c->pid;
}

/* At once when it ran for a while or was told to end, else after a pause that doubles. */
static void child_plan_restart(struct child *c, bool at_once)
{
    uint64_t now = clock_mono(&clock_system);
    if (at_once || now - c->started > STEADY_SECONDS * NS_PER_SEC)
        c->pause_ms = 0;
    c->start_at = now + c->pause_ms * NS_PER_MS;
    c->pause_ms = c->pause_ms ? c->pause_ms * 2 : FIRST_PAUSE_MS;
    if (c->pause_ms > LAST_PAUSE_MS)
        c->pause_ms = LAST_PAUSE_MS;
}

static void start_signer(struct supervisor *s)
{
    s->signer.start_at = 0;
    if (has_key(s) && child_fork(&s->signer) == 0)
        _exit(signer_main(s));
}

static int server_main(const struct supervisor *s, int ready_fd)
{
    become_child(s, SIGTERM);
    close(s->signer_fds[1]);
    struct server_start start = {.conf = s->conf,
                                 .sockets = &s->sockets,
                                 .chain_pem = s->chain_pem,
                                 .signer_fd = s->signer_fds[0],
                                 .ready_fd = ready_fd,
                                 .uid = s->uid,
                                 .gid = s->gid,
                                 .restarts = s->restarts};
    return server_run(&start);
}

static void start_server(struct supervisor *s)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) != 0) {
        say(LOG_ERROR, "server-failed", "cause", strerror(errno));
        return;
    }
    pid_t pid = child_fork(&s->server);
    if (pid == 0) {
        close(fds[0]);
        _exit(server_main(s, fds[1]));
    }
    close(fds[1]);
    s->ready_fd = fds[0];
    if (pid > 0)
        say_pid("server-started", pid);
}

/* --- what happens
 * -----------------------------------------------------------------------------------------------------------------
 */

static void on_ready(struct supervisor *s)
{
    char byte;
    if (read(s->ready_fd, &byte, 1) == 1) {
        say(LOG_INFO, "ready", "hostname", s->conf->hostname);
        s->was_ready = true;
        notify("READY=1");
    }
    close(s->ready_fd);
    s->ready_fd = -1;
}

static void say_end(const struct child *c, int status)
{
    char text[64];
    snprintf(text, sizeof text, WIFSIGNALED(status) ? "%s: signal %d" : "%s: exit status %d",
             c->name, WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    say(LOG_ERROR, "process-ended", "how", text);
}

static void on_server_end(struct supervisor *s, int status)
{
    /* One that never became ready at the first start has a cause that a second start does not mend.
     */
    bool is_hopeless = !s->was_ready && s->restarts == 0;
    s->server.pid = 0;
    if (s->ready_fd >= 0)
        close(s->ready_fd);
    s->ready_fd = -1;
    if (s->is_stopping)
        return;
    if (!s->is_reloading) {
        say_end(&s->server, status);
        s->is_stopping = is_hopeless;
        s->restarts++;
    }
    child_plan_restart(&s->server, s->is_reloading);
    s->is_reloading = false;
}

static void on_signer_end(struct supervisor *s, int status)
{
    s->signer.pid = 0;
    if (s->is_stopping)
        return;
    bool was_asked = WIFSIGNALED(status) && s->is_reloading;
    if (!was_asked)
        say_end(&s->signer, status);
    child_plan_restart(&s->signer, was_asked);
}

static void reap(struct supervisor *s)
{
    int status;
    for (pid_t pid = waitpid(-1, &status, WNOHANG); pid > 0; pid = waitpid(-1, &status, WNOHANG)) {
        if (pid == s->signer.pid)
            on_signer_end(s, status);
        else if (pid == s->server.pid)
            on_server_end(s, status);
    }
}

static enum rc read_chain(const struct conf *conf, struct str *out)
{
    *out = (struct str){0};
    if (!conf->tls.certificate[0])
        return RC_OK;
    enum rc rc = file_read(conf->tls.certificate, out);
    return rc == RC_OK ? rc : complain(conf->tls.certificate, strerror(errno));
}

/* Server and signer are started anew with what the files say now; the listeners stay as they are.
 */
static void reload(struct supervisor *s)
{
    struct str chain;
    struct conf *conf = ctl_conf(s->conf_path);
    if (!conf || read_chain(conf, &chain) != RC_OK) {
        say(LOG_ERROR, "reload-refused", "file", s->conf_path);
        conf_free(&conf);
        return;
    }
    say(LOG_INFO, "reloading", "file", s->conf_path);
    conf_free(&s->conf);
    free((void *)(uintptr_t)s->chain_pem.p);
    s->conf = conf;
    s->chain_pem = chain;
    s->is_reloading = true;
    if (s->signer.pid)
        kill(s->signer.pid, SIGKILL);
    else
        start_signer(s);
    if (s->server.pid)
        kill(s->server.pid, SIGTERM);
}

static void on_signal(struct supervisor *s)
{
    struct signalfd_siginfo info;
    if (read(s->signal_fd, &info, sizeof info) != sizeof info)
        return;
    if (info.ssi_signo == SIGCHLD) {
        reap(s);
    } else if (info.ssi_signo == SIGHUP) {
        reload(s);
    } else if (!s->is_stopping) {
        s->is_stopping = true;
        notify("STOPPING=1");
        if (s->server.pid)
            kill(s->server.pid, SIGTERM);
    }
}

static void start_what_is_due(struct supervisor *s)
{
    uint64_t now = clock_mono(&clock_system);
    if (s->signer.start_at && s->signer.start_at <= now)
        start_signer(s);
    if (s->server.start_at && s->server.start_at <= now)
        start_server(s);
}

/* Milliseconds that poll may wait: for ever, or until something is due. */
static int time_to_wait(const struct supervisor *s)
{
    uint64_t now = clock_mono(&clock_system), first = 0;
    const uint64_t due[] = {s->signer.start_at, s->server.start_at,
                            s->is_stopping ? now + NS_PER_SEC : 0};
    for (size_t i = 0; i < sizeof due / sizeof *due; i++)
        if (due[i] && (!first || due[i] < first))
            first = due[i];
    if (!first)
        return -1;
    return first <= now ? 0 : (int)((first - now) / NS_PER_MS) + 1;
}

static void run_until_stopped(struct supervisor *s)
{
    uint64_t asked = 0;
    while (!s->is_stopping || s->server.pid) {
        struct pollfd fds[] = {{.fd = s->signal_fd, .events = POLLIN},
                               {.fd = s->ready_fd, .events = POLLIN}};
        poll(fds, 2, time_to_wait(s));
        if (fds[1].revents)
            on_ready(s);
        if (fds[0].revents)
            on_signal(s);
        if (!s->is_stopping) {
            start_what_is_due(s);
            continue;
        }
        uint64_t now = clock_mono(&clock_system);
        if (!asked)
            asked = now;
        if (s->server.pid && now - asked > STOP_MS * NS_PER_MS) {
            say_pid("server-killed", s->server.pid);
            kill(s->server.pid, SIGKILL);
            asked = now;
        }
    }
}

/* --- the beginning
 * ---------------------------------------------------------------------------------------------------------------------
 */

static enum rc find_user(struct supervisor *s)
{
    s->uid = geteuid();
    s->gid = getegid();
    if (s->uid != 0)
        return RC_OK;
    const struct passwd *user = getpwnam(s->conf->user);
    if (!user) {
        fprintf(stderr, "penfold: user \"%s\": there is no such user; name one in %s\n",
                s->conf->user, s->conf_path);
        return RC_NOTFOUND;
    }
    s->uid = user->pw_uid;
    s->gid = user->pw_gid;
    return RC_OK;
}

static enum rc enter_data(struct supervisor *s)
{
    if (chdir(s->conf->data) != 0)
        return complain(s->conf->data, strerror(errno));
    s->lock_fd = open("serve.lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (s->lock_fd < 0)
        return complain("serve.lock", strerror(errno));
    if (flock(s->lock_fd, LOCK_EX | LOCK_NB) != 0)
        return complain(s->conf->data, "another penfold serve is running on this folder");
    return RC_OK;
}

static enum rc prepare(struct supervisor *s)
{
    char why[256];
    sigset_t wanted;
    TRY(find_user(s));
    TRY(read_chain(s->conf, &s->chain_pem));
    TRY(enter_data(s));
    if (sockets_open(s->conf, s->uid, &s->sockets, why) != RC_OK)
        return complain("listen", why);
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, s->signer_fds) != 0)
        return complain("signer", strerror(errno));
    sigemptyset(&wanted);
    sigaddset(&wanted, SIGCHLD);
    sigaddset(&wanted, SIGTERM);
    sigaddset(&wanted, SIGINT);
    sigaddset(&wanted, SIGHUP);
    sigprocmask(SIG_BLOCK, &wanted, NULL);
    s->signal_fd = signalfd(-1, &wanted, SFD_CLOEXEC);
    return s->signal_fd < 0 ? complain("signals", strerror(errno)) : RC_OK;
}

int supervisor_run(const char *conf_path)
{
    struct supervisor s = {.lock_fd = -1,
                           .signal_fd = -1,
                           .signer_fds = {-1, -1},
                           .ready_fd = -1,
                           .server.name = "server",
                           .signer.name = "signer"};
    s.conf_path = realpath(conf_path, NULL); /* the current folder will be another one */
    if (!s.conf_path) {
        (void)complain(conf_path, strerror(errno));
        return CTL_FAILED;
    }
    s.conf = ctl_conf(s.conf_path);
    int status = CTL_FAILED;
    if (s.conf && prepare(&s) == RC_OK) {
        signal(SIGPIPE, SIG_IGN);
        start_signer(&s);
        start_server(&s);
        run_until_stopped(&s);
        status = s.was_ready ? CTL_DONE : CTL_FAILED;
        if (s.signer.pid)
            kill(s.signer.pid, SIGKILL);
        unlink(CTL_SOCKET);
    }
    sockets_close(&s.sockets);
    conf_free(&s.conf);
    free(s.conf_path);
    return status;
}
