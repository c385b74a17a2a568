/* The supervisor: binds, opens, starts, starts again.
 *
 * Invariants: (1) listening sockets and the folder's lock are held from the start to the end,
 * whatever happens to the server, so a client that connects meanwhile waits and is served; (2) at
 * most one server and one signer run; (3) a server that ends without being asked is started again,
 * at once the first time, with growing pauses when it does not stay; (4) it has no threads of its
 * own, so it can fork; (5) a configuration or certificate that is not usable never replaces one
 * that is.
 *
 * HUP is in reload.c.
 */
#include "daemon/supervisor.h"

#include "crypto/crypto.h"
#include "ctl/ctl.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    STEADY_SECONDS = 5,
    FIRST_PAUSE_MS = 100,
    LAST_PAUSE_MS = 1000,
    STOP_MS = 60000,
    SIGNER_START_MS = 10000,
    LIFE_WAIT_MS = 90000, /* longer than a server may take to stop */
    LIFE_LOOK_MS = 50
};

/* One line, now: a log with its thread would not survive a fork. */
void say(enum log_level level, const char *event, const char *key, const char *value)
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

void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

enum rc complain(const char *what, const char *why)
{
    fprintf(stderr, "penfold: %s: %s\n", what, why);
    return RC_PERM;
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
    close(s->lock_fd);
}

static int compare_ints(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

/* Closes every file but these and the first three: a signer that kept another one's socket would
 * keep it from ending. */
static void keep_files(int *kept, size_t n)
{
    int from = 3;
    qsort(kept, n, sizeof *kept, compare_ints);
    for (size_t i = 0; i < n; i++) {
        if (kept[i] > from)
            close_range((unsigned)from, (unsigned)kept[i] - 1, 0);
        from = kept[i] < from ? from : kept[i] + 1;
    }
    close_range((unsigned)from, ~0U, 0);
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
static enum rc confine_signer(const struct supervisor *s, const char *name, int ready_fd)
{
    const char *why;
    enum rc rc = sandbox_become(s->uid, s->gid);
    prctl(PR_SET_DUMPABLE, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* becoming another user has cleared it */
    if (getppid() != s->pid)
        return RC_NOTFOUND;
    prctl(PR_SET_NAME, name);
    if (rc == RC_OK)
        rc = sandbox_enter(SANDBOX_SIGNER, NULL, &why);
    if (rc == RC_OK && write(ready_fd, "r", 1) != 1)
        rc = RC_TEMP;
    if (rc != RC_OK)
        say(LOG_ERROR, "signer-failed", "cause", rc_name(rc));
    return rc;
}

static int signer_main(const struct supervisor *s, int ready_fd)
{
    struct crypto_signer *signer = NULL;
    become_child(s, SIGKILL);
    prctl(PR_SET_DUMPABLE, 0);
    int kept[] = {s->signer_fds[1], s->life_fd, ready_fd};
    keep_files(kept, sizeof kept / sizeof *kept);
    if (load_key(s, &signer) != RC_OK)
        return 1;
    if (confine_signer(s, "penfold-signer", ready_fd) != RC_OK)
        return 1;
    return crypto_signer_serve(signer, s->signer_fds[1]) == RC_OK ? 0 : 1;
}

/* Like a signer, but for the keys of mail: what it opens comes from the server, so it holds no
 * other key. */
static int dkim_main(const struct supervisor *s, int ready_fd)
{
    unsigned char secret[CRYPTO_SEAL_KEY];
    become_child(s, SIGKILL);
    prctl(PR_SET_DUMPABLE, 0);
    int kept[] = {s->dkim_fds[1], s->life_fd, ready_fd};
    keep_files(kept, sizeof kept / sizeof *kept);
    enum rc rc = ctl_seal_read(s->conf->dkim.key, secret);
    if (rc != RC_OK) {
        say(LOG_ERROR, "key-refused", "file", s->conf->dkim.key);
        return 1;
    }
    struct crypto_signer *signer = crypto_signer_new_sealed(secret);
    crypto_wipe(secret, sizeof secret);
    if (confine_signer(s, "penfold-dkim", ready_fd) != RC_OK)
        return 1;
    return crypto_signer_serve(signer, s->dkim_fds[1]) == RC_OK ? 0 : 1;
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

static enum rc start(struct supervisor *s, struct child *child,
                     int (*run)(const struct supervisor *s, int ready_fd))
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) != 0)
        return rc_from_errno(errno);
    if (child_fork(child) == 0) {
        close(fds[0]);
        _exit(run(s, fds[1]));
    }
    close(fds[1]);
    bool is_ready = child->pid && signer_is_ready(fds[0]);
    close(fds[0]);
    return is_ready ? RC_OK : RC_TEMP;
}

/* RC_OK when there is nothing to sign with. */
enum rc start_signer(struct supervisor *s)
{
    return has_key(s) ? start(s, &s->signer, signer_main) : RC_OK;
}

static enum rc start_dkim(struct supervisor *s)
{
    return s->has_seal ? start(s, &s->dkim, dkim_main) : RC_OK;
}

static int server_main(const struct supervisor *s, int ready_fd, int news_fd)
{
    become_child(s, SIGTERM);
    close(s->signer_fds[1]);
    close(s->dkim_fds[1]);
    prctl(PR_SET_NAME, "penfold-server");
    struct server_start start = {.conf = s->conf,
                                 .sockets = &s->sockets,
                                 .chain_pem = s->chain_pem,
                                 .signer_fd = has_key(s) ? s->signer_fds[0] : -1,
                                 .dkim_fd = s->has_seal ? s->dkim_fds[0] : -1,
                                 .ready_fd = ready_fd,
                                 .news_fd = news_fd,
                                 .supervisor = s->pid,
                                 .uid = s->uid,
                                 .gid = s->gid,
                                 .restarts = s->restarts,
                                 .hand = s->hand};
    memcpy(start.seal, s->seal, sizeof start.seal);
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

/* By its own fault, and not by somebody's signal. */
static bool is_crash(int status)
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGABRT, SIGILL, SIGFPE, SIGTRAP, SIGSYS};
    for (size_t i = 0; WIFSIGNALED(status) && i < sizeof signals / sizeof *signals; i++)
        if (WTERMSIG(status) == signals[i])
            return true;
    return false;
}

static void settle_hand(struct supervisor *s, int status)
{
    char text[24];
    unsigned suspects = hand_settle(s->hand, is_crash(status));
    snprintf(text, sizeof text, "%u", suspects);
    if (suspects)
        say(LOG_ERROR, "crashed-twice-at", "messages", text);
}

static void on_server_end(struct supervisor *s, int status)
{
    settle_hand(s, status);
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

static void on_signer_end(struct supervisor *s, struct child *signer, int status)
{
    signer->pid = 0;
    if (s->is_stopping)
        return;
    say_end(signer, status);
    child_plan_restart(signer, false);
}

static void reap(struct supervisor *s)
{
    int status;
    for (pid_t pid = waitpid(-1, &status, WNOHANG); pid > 0; pid = waitpid(-1, &status, WNOHANG)) {
        if (pid == s->signer.pid)
            on_signer_end(s, &s->signer, status);
        else if (pid == s->dkim.pid)
            on_signer_end(s, &s->dkim, status);
        else if (pid == s->server.pid)
            on_server_end(s, status);
        for (size_t i = 0; i < RETIRED_MAX; i++)
            if (s->retired[i] == pid)
                s->retired[i] = 0;
    }
}

enum rc read_chain(const struct conf *conf, struct str *out)
{
    *out = (struct str){0};
    if (!conf->tls.certificate[0])
        return RC_OK;
    enum rc rc = file_read(conf->tls.certificate, out);
    return rc == RC_OK ? rc : complain(conf->tls.certificate, strerror(errno));
}

void restart_server(struct supervisor *s)
{
    s->server.was_told = s->server.pid != 0;
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
        if (!s->is_stopping)
            supervisor_reload(s);
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
    if (s->dkim.start_at && s->dkim.start_at <= now) {
        s->dkim.start_at = 0;
        if (start_dkim(s) != RC_OK && !s->dkim.pid)
            child_plan_restart(&s->dkim, false);
    }
    if (s->server.start_at && s->server.start_at <= now)
        start_server(s);
}

static void feed_watchdog(struct supervisor *s)
{
    uint64_t now = clock_mono(&clock_system);
    if (!s->watchdog || s->watchdog_at > now)
        return;
    s->watchdog_at = now + s->watchdog;
    notify("WATCHDOG=1");
}

/* Milliseconds that poll may wait: for ever, or until something is due. */
static int time_to_wait(const struct supervisor *s)
{
    uint64_t now = clock_mono(&clock_system), first = 0;
    const uint64_t due[] = {s->signer.start_at, s->dkim.start_at, s->server.start_at,
                            s->watchdog_at, s->is_stopping ? now + NS_PER_SEC : 0};
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
        feed_watchdog(s);
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

/* The children of a supervisor that was killed go on for a while, to finish what they have
 * acknowledged; they hold the store and the ports, and this file's lock, which they inherited. */
static enum rc wait_for_children(struct supervisor *s)
{
    s->life_fd = open("serving", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (s->life_fd < 0 || (geteuid() == 0 && fchown(s->life_fd, s->uid, s->gid) != 0))
        return complain("serving", strerror(errno));
    const struct timespec pause = {.tv_nsec = LIFE_LOOK_MS * (long)NS_PER_MS};
    for (int waited = 0; flock(s->life_fd, LOCK_EX | LOCK_NB) != 0; waited += LIFE_LOOK_MS) {
        if (waited == 0)
            say(LOG_WARNING, "waiting", "cause", "the server of an earlier serve is still ending");
        if (waited >= LIFE_WAIT_MS)
            return complain(s->conf->data, "the server of an earlier serve has not ended");
        nanosleep(&pause, NULL);
    }
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
    return wait_for_children(s);
}

/* The file of an older host is made now, where it can be. Without one mail goes out unsigned. */
static void load_seal(struct supervisor *s)
{
    unsigned char secret[CRYPTO_SEAL_KEY];
    enum rc rc = ctl_seal_read(s->conf->dkim.key, secret);
    if (rc == RC_OK)
        crypto_seal_public(secret, s->seal);
    crypto_wipe(secret, sizeof secret);
    if (rc == RC_NOTFOUND)
        rc = ctl_seal_make(s->conf->dkim.key, s->seal);
    s->has_seal = rc == RC_OK;
    if (rc != RC_OK)
        say(LOG_WARNING, "mail-not-signed", "cause",
            rc == RC_SYNTAX ? "the file of dkim { key } is none"
                            : "the file of dkim { key } cannot be read or made: run penfold dkim "
                              "setup");
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
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, s->signer_fds) != 0 ||
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, s->dkim_fds) != 0)
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
    load_seal(s);
    if (start_dkim(s) != RC_OK && !s->dkim.start_at)
        child_plan_restart(&s->dkim, false);
    return start_signer(s);
}

/* And waits until they have: nothing of a Penfold that has ended is left running. */
static void end_signers(struct supervisor *s)
{
    for (size_t i = 0; i < RETIRED_MAX + 2; i++) {
        pid_t pid = i < RETIRED_MAX    ? s->retired[i]
                    : i == RETIRED_MAX ? s->signer.pid
                                       : s->dkim.pid;
        if (!pid)
            continue;
        kill(pid, SIGKILL);
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
            ;
    }
}

int supervisor_run(const char *conf_path)
{
    struct supervisor s = {.pid = getpid(),
                           .lock_fd = -1,
                           .life_fd = -1,
                           .signal_fd = -1,
                           .signer_fds = {-1, -1},
                           .dkim_fds = {-1, -1},
                           .ready_fd = -1,
                           .news_fd = -1,
                           .server.name = "server",
                           .signer.name = "signer",
                           .dkim.name = "dkim"};
    umask(077);
    s.conf_path = realpath(conf_path, NULL); /* the current folder will be another one */
    if (!s.conf_path) {
        (void)complain(conf_path, strerror(errno));
        return CTL_FAILED;
    }
    s.conf = ctl_conf(s.conf_path);
    int status = CTL_FAILED;
    s.hand = hand_new();
    if (s.conf && prepare(&s) == RC_OK) {
        s.watchdog = notify_watchdog();
        start_server(&s);
        run_until_stopped(&s);
        bool is_good = !s.has_failed && (s.was_ready || s.was_asked);
        status = is_good ? CTL_DONE : CTL_FAILED;
    }
    end_signers(&s);
    hand_free(&s.hand);
    if (s.sockets.n)
        unlink(CTL_SOCKET);
    sockets_close(&s.sockets, NULL);
    close_fd(&s.signer_fds[0]);
    close_fd(&s.signer_fds[1]);
    close_fd(&s.dkim_fds[0]);
    close_fd(&s.dkim_fds[1]);
    close_fd(&s.signal_fd);
    close_fd(&s.life_fd);
    close_fd(&s.lock_fd);
    free((void *)(uintptr_t)s.chain_pem.p);
    conf_free(&s.conf);
    free(s.conf_path);
    return status;
}
