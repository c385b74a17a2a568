/* The supervisor: binds, opens, starts, starts again.
 *
 * Invariants: (1) listening sockets and the folder's lock are held from the start to the end,
 * whatever happens to the server, so a client that connects meanwhile waits and is served; (2) at
 * most one server and one signer run; (3) a server that ends without being asked is started again,
 * at once the first time, with growing pauses when it does not stay; (4) it has no threads of its
 * own, so it can fork; (5) a configuration or certificate that is not usable never replaces one
 * that is.
 *
 * HUP: a certificate is renewed in place - a second signer with the new key is started, the server
 * gets the certificate and the new signer's socket, the old signer stays for the handshakes that
 * began with it. Other settings need a new server, which takes over the listeners; where to listen,
 * the folder and the user change only with a restart of the whole.
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

enum {
    STEADY_SECONDS = 5,
    FIRST_PAUSE_MS = 100,
    LAST_PAUSE_MS = 1000,
    STOP_MS = 60000,
    SIGNER_START_MS = 10000,
    RETIRE_SECONDS = 60 /* longer than a handshake may last */
};

/* A process that is to run for as long as the supervisor does. */
struct child {
    const char *name;
    pid_t pid;         /* 0: none */
    uint64_t started;  /* monotonic */
    uint64_t start_at; /* when it is to be started again; 0: not now */
    uint64_t pause_ms; /* before the next start, when it does not stay */
    bool was_told;     /* its end is what we asked for */
};

struct supervisor {
    char *conf_path;
    struct conf *conf;
    struct sockets sockets;
    struct str chain_pem;
    uid_t uid;
    gid_t gid;
    pid_t pid;
    int lock_fd, signal_fd;
    int signer_fds[2]; /* [0] the server's end, [1] the signer's: kept here, so either can be
                          started again */
    int ready_fd;      /* where the running server says that it is ready; -1 */
    int news_fd;       /* where the running server is told of a new certificate; -1 */
    struct child server, signer;
    pid_t retired;      /* the signer of the certificate before; 0: none */
    uint64_t retire_at; /* when it ends */
    bool is_stopping, was_asked, was_ready, has_failed;
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

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
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

/* --- starting children ------------------------------------------------------------------------ */

/* Ends with the supervisor, also when that has ended already. */
static void become_child(const struct supervisor *s, int death_signal)
{
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL); /* the server waits for what it wants */
    prctl(PR_SET_PDEATHSIG, death_signal);
    if (getppid() != s->pid)
        _exit(1);
    close(s->signal_fd);
}

static bool has_key(const struct supervisor *s)
{
    return s->chain_pem.n && s->conf->tls.key[0];
}

/* The key of the configuration, when it is one and the certificate is its own. */
static enum rc load_key(const struct supervisor *s, struct crypto_signer **out)
{
    struct str key;
    const char *why = "not a private key";
    enum rc rc = file_read(s->conf->tls.key, &key);
    if (rc != RC_OK) {
        why = strerror(errno);
        say(LOG_ERROR, "key-refused", "file", s->conf->tls.key);
        return complain(s->conf->tls.key, why);
    }
    rc = crypto_signer_new(key, out);
    if (rc == RC_OK && !crypto_signer_fits(*out, s->chain_pem)) {
        rc = RC_PERM;
        why = "not the key of the certificate";
    }
    explicit_bzero((void *)(uintptr_t)key.p, key.n);
    free((void *)(uintptr_t)key.p);
    if (rc != RC_OK) {
        say(LOG_ERROR, "key-refused", "file", s->conf->tls.key);
        rc = complain(s->conf->tls.key, why);
    }
    return rc;
}

/* ready_fd gets a byte when it can sign. */
static int signer_main(const struct supervisor *s, int ready_fd)
{
    struct crypto_signer *signer = NULL;
    const char *why;
    become_child(s, SIGKILL);
    prctl(PR_SET_DUMPABLE, 0);
    struct sockets sockets = s->sockets;
    sockets_close(&sockets);
    const int others[] = {s->signer_fds[0], s->ready_fd, s->news_fd};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (others[i] >= 0)
            close(others[i]);
    if (load_key(s, &signer) != RC_OK)
        return 1;
    enum rc rc = sandbox_become(s->uid, s->gid);
    prctl(PR_SET_DUMPABLE, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* becoming another user has cleared it */
    if (getppid() != s->pid)
        return 1;
    prctl(PR_SET_NAME, "penfold-signer");
    if (rc == RC_OK)
        rc = sandbox_enter(SANDBOX_SIGNER, &why);
    if (rc != RC_OK || write(ready_fd, "r", 1) != 1) {
        say(LOG_ERROR, "signer-failed", "cause", rc_name(rc));
        return 1;
    }
    return crypto_signer_serve(signer, s->signer_fds[1]) == RC_OK ? 0 : 1;
}

static pid_t child_fork(struct child *c)
{
    c->started = clock_mono(&clock_system);
    c->start_at = 0;
    c->was_told = false;
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

/* Waits until the new signer can sign, or has ended because it cannot. */
static bool signer_is_ready(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    char byte;
    return poll(&p, 1, SIGNER_START_MS) == 1 && read(fd, &byte, 1) == 1;
}

/* RC_OK when there is nothing to sign with. */
static enum rc start_signer(struct supervisor *s)
{
    int fds[2];
    if (!has_key(s))
        return RC_OK;
    if (pipe2(fds, O_CLOEXEC) != 0)
        return rc_from_errno(errno);
    if (child_fork(&s->signer) == 0) {
        close(fds[0]);
        _exit(signer_main(s, fds[1]));
    }
    close(fds[1]);
    bool is_ready = s->signer.pid && signer_is_ready(fds[0]);
    close(fds[0]);
    return is_ready ? RC_OK : RC_TEMP;
}

static int server_main(const struct supervisor *s, int ready_fd, int news_fd)
{
    become_child(s, SIGTERM);
    close(s->signer_fds[1]);
    prctl(PR_SET_NAME, "penfold-server");
    struct server_start start = {.conf = s->conf,
                                 .sockets = &s->sockets,
                                 .chain_pem = s->chain_pem,
                                 .signer_fd = s->signer_fds[0],
                                 .ready_fd = ready_fd,
                                 .news_fd = news_fd,
                                 .supervisor = s->pid,
                                 .uid = s->uid,
                                 .gid = s->gid,
                                 .restarts = s->restarts};
    return server_run(&start);
}

static void start_server(struct supervisor *s)
{
    int ready[2] = {-1, -1}, news[2] = {-1, -1};
    if (pipe2(ready, O_CLOEXEC) != 0 ||
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, news) != 0) {
        say(LOG_ERROR, "server-not-started", "cause", strerror(errno));
        s->server.start_at = clock_mono(&clock_system) + LAST_PAUSE_MS * NS_PER_MS;
        close_fd(&ready[0]);
        close_fd(&ready[1]);
        return;
    }
    pid_t pid = child_fork(&s->server);
    if (pid == 0) {
        close(ready[0]);
        close(news[0]);
        _exit(server_main(s, ready[1], news[1]));
    }
    close(ready[1]);
    close(news[1]);
    s->ready_fd = ready[0];
    s->news_fd = news[0];
    if (pid > 0)
        say_pid("server-started", pid);
}

/* --- what happens ----------------------------------------------------------------------------- */

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
    char event[32], text[64];
    snprintf(event, sizeof event, "%s-ended", c->name);
    snprintf(text, sizeof text, WIFSIGNALED(status) ? "signal %d" : "exit status %d",
             WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    say(LOG_ERROR, event, "how", text);
}

static void on_server_end(struct supervisor *s, int status)
{
    /* One that never became ready at the first start has a cause that a second start does not mend.
     */
    bool is_hopeless = !s->was_ready && s->restarts == 0;
    s->server.pid = 0;
    close_fd(&s->ready_fd);
    close_fd(&s->news_fd);
    if (!s->server.was_told || status != 0) {
        say_end(&s->server, status);
        s->has_failed |= s->is_stopping || (is_hopeless && !s->server.was_told);
    }
    if (s->is_stopping)
        return;
    if (!s->server.was_told) {
        s->is_stopping = is_hopeless;
        s->restarts++;
    }
    child_plan_restart(&s->server, s->server.was_told);
}

static void on_signer_end(struct supervisor *s, int status)
{
    s->signer.pid = 0;
    if (s->is_stopping)
        return;
    say_end(&s->signer, status);
    child_plan_restart(&s->signer, false);
}

static void reap(struct supervisor *s)
{
    int status;
    for (pid_t pid = waitpid(-1, &status, WNOHANG); pid > 0; pid = waitpid(-1, &status, WNOHANG)) {
        if (pid == s->signer.pid)
            on_signer_end(s, status);
        else if (pid == s->server.pid)
            on_server_end(s, status);
        else if (pid == s->retired)
            s->retired = 0;
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

/* --- HUP -------------------------------------------------------------------------------------- */

static bool same_list(const struct conf_list *a, const struct conf_list *b)
{
    bool is_same = a->n == b->n;
    for (size_t i = 0; is_same && i < a->n; i++)
        is_same = strcmp(a->item[i], b->item[i]) == 0;
    return is_same;
}

/* What stays as it is until the whole is started anew. */
static void warn_of_restart(const struct conf *now, const struct conf *next)
{
    const struct {
        const char *what;
        bool is_same;
    } fixed[] = {{"data", strcmp(now->data, next->data) == 0},
                 {"user", strcmp(now->user, next->user) == 0}};
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
        if (!fixed[i].is_same)
            say(LOG_WARNING, "needs-restart", "setting", fixed[i].what);
    for (enum service i = 0; i < SERVICE_CONTROL; i++) {
        char what[32];
        snprintf(what, sizeof what, "listen %s", service_name(i));
        if (!same_list(service_addresses(i, now), service_addresses(i, next)))
            say(LOG_WARNING, "needs-restart", "setting", what);
    }
}

static bool same_settings(const struct conf *a, const struct conf *b)
{
    struct buf x, y;
    buf_init(&x, 1 << 20);
    buf_init(&y, 1 << 20);
    conf_show(a, &x);
    conf_show(b, &y);
    bool is_same = str_eq(buf_str(&x), buf_str(&y));
    buf_fini(&x);
    buf_fini(&y);
    return is_same;
}

/* The certificate goes as an open file, since it may be longer than a message. */
static enum rc tell_server(const struct supervisor *s)
{
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(2 * sizeof(int))];
    } control = {0};
    int fds[2] = {s->signer_fds[0], open(s->conf->tls.certificate, O_RDONLY | O_CLOEXEC)};
    if (fds[1] < 0)
        return rc_from_errno(errno);
    struct iovec byte = {.iov_base = (char[]){'c'}, .iov_len = 1};
    struct msghdr message = {.msg_iov = &byte,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof control.bytes};
    struct cmsghdr *c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof fds);
    memcpy(CMSG_DATA(c), fds, sizeof fds);
    ssize_t sent = sendmsg(s->news_fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    close(fds[1]);
    if (sent != 1)
        return RC_TEMP;
    return kill(s->server.pid, SIGHUP) == 0 ? RC_OK : RC_TEMP;
}

/* A signer for the new configuration beside the old one; *s is as before when it cannot be. */
static enum rc change_signer(struct supervisor *s, struct conf *conf, struct str chain)
{
    const struct supervisor before = *s;
    s->conf = conf;
    s->chain_pem = chain;
    s->signer = (struct child){.name = "signer"};
    enum rc rc = RC_TEMP;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, s->signer_fds) == 0) {
        rc = start_signer(s);
        if (rc != RC_OK) {
            if (s->signer.pid)
                kill(s->signer.pid, SIGKILL);
            close_fd(&s->signer_fds[0]);
            close_fd(&s->signer_fds[1]);
        }
    }
    if (rc != RC_OK) {
        *s = before;
        return rc;
    }
    struct supervisor old = before;
    close_fd(&old.signer_fds[0]);
    close_fd(&old.signer_fds[1]);
    if (s->retired)
        kill(s->retired, SIGKILL);
    s->retired = before.signer.pid;
    s->retire_at = clock_mono(&clock_system) + RETIRE_SECONDS * NS_PER_SEC;
    return RC_OK;
}

static void restart_server(struct supervisor *s)
{
    s->server.was_told = s->server.pid != 0;
    if (s->server.pid)
        kill(s->server.pid, SIGTERM);
}

static void reload(struct supervisor *s)
{
    struct str chain = {0};
    struct conf *old = s->conf, *conf = ctl_conf(s->conf_path);
    const char *old_chain = s->chain_pem.p;
    if (!conf || read_chain(conf, &chain) != RC_OK || change_signer(s, conf, chain) != RC_OK) {
        say(LOG_ERROR, "reload-refused", "file", s->conf_path);
        conf_free(&conf);
        free((void *)(uintptr_t)chain.p);
        return;
    }
    say(LOG_INFO, "reloading", "file", s->conf_path);
    warn_of_restart(old, conf);
    bool is_renewal = has_key(s) && same_settings(old, conf);
    conf_free(&old);
    free((void *)(uintptr_t)old_chain);
    /* One that has not begun to listen for news starts with what it had: it is started anew. */
    if (!is_renewal || s->ready_fd >= 0 || (s->server.pid && tell_server(s) != RC_OK))
        restart_server(s);
}

static void on_signal(struct supervisor *s)
{
    struct signalfd_siginfo info;
    if (read(s->signal_fd, &info, sizeof info) != sizeof info)
        return;
    if (info.ssi_signo == SIGCHLD) {
        reap(s);
    } else if (info.ssi_signo == SIGHUP) {
        if (!s->is_stopping)
            reload(s);
    } else if (!s->was_asked) {
        s->is_stopping = true;
        s->was_asked = true;
        notify("STOPPING=1");
        restart_server(s); /* which is not started again now */
    }
}

static void start_what_is_due(struct supervisor *s)
{
    uint64_t now = clock_mono(&clock_system);
    if (s->signer.start_at && s->signer.start_at <= now) {
        s->signer.start_at = 0;
        if (start_signer(s) != RC_OK && !s->signer.pid)
            child_plan_restart(&s->signer, false);
    }
    if (s->retired && s->retire_at <= now)
        kill(s->retired, SIGKILL);
    if (s->server.start_at && s->server.start_at <= now)
        start_server(s);
}

/* Milliseconds that poll may wait: for ever, or until something is due. */
static int time_to_wait(const struct supervisor *s)
{
    uint64_t now = clock_mono(&clock_system), first = 0;
    const uint64_t due[] = {s->signer.start_at, s->server.start_at, s->retired ? s->retire_at : 0,
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
            s->has_failed = true;
            kill(s->server.pid, SIGKILL);
            asked = now;
        }
    }
}

/* --- the beginning ---------------------------------------------------------------------------- */

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
    s->lock_fd = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (s->lock_fd < 0)
        return complain(s->conf->data, strerror(errno));
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
    signal(SIGPIPE, SIG_IGN);
    s->signal_fd = signalfd(-1, &wanted, SFD_CLOEXEC);
    if (s->signal_fd < 0)
        return complain("signals", strerror(errno));
    return start_signer(s);
}

/* And waits until they have: nothing of a Penfold that has ended is left running. */
static void end_signers(struct supervisor *s)
{
    const pid_t pids[] = {s->signer.pid, s->retired};
    for (size_t i = 0; i < 2; i++) {
        if (!pids[i])
            continue;
        kill(pids[i], SIGKILL);
        while (waitpid(pids[i], NULL, 0) < 0 && errno == EINTR)
            ;
    }
}

int supervisor_run(const char *conf_path)
{
    struct supervisor s = {.pid = getpid(),
                           .lock_fd = -1,
                           .signal_fd = -1,
                           .signer_fds = {-1, -1},
                           .ready_fd = -1,
                           .news_fd = -1,
                           .server.name = "server",
                           .signer.name = "signer"};
    umask(077);
    s.conf_path = realpath(conf_path, NULL); /* the current folder will be another one */
    if (!s.conf_path) {
        (void)complain(conf_path, strerror(errno));
        return CTL_FAILED;
    }
    s.conf = ctl_conf(s.conf_path);
    int status = CTL_FAILED;
    if (s.conf && prepare(&s) == RC_OK) {
        start_server(&s);
        run_until_stopped(&s);
        bool is_good = !s.has_failed && (s.was_ready || s.was_asked);
        status = is_good ? CTL_DONE : CTL_FAILED;
    }
    end_signers(&s);
    if (s.sockets.n)
        unlink(CTL_SOCKET);
    sockets_close(&s.sockets);
    close_fd(&s.signer_fds[0]);
    close_fd(&s.signer_fds[1]);
    close_fd(&s.signal_fd);
    close_fd(&s.lock_fd);
    free((void *)(uintptr_t)s.chain_pem.p);
    conf_free(&s.conf);
    free(s.conf_path);
    return status;
}
