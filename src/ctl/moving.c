/* `penfold import` and `penfold export`: read and write mail where it is, as who runs the command;
 * who has the store is somebody else: the running server, or a process of this one's own that
 * becomes the data folder's owner. So neither needs the rights of the other.
 *
 * What is told while it works goes to standard error: each message that was left out, as it is
 * found, and how far it is, on a terminal all the time, otherwise every ten seconds. The report is
 * on standard output, a line for each account. */
#include "ctl/ctl_int.h"

#include "base/mem.h"
#include "transfer/transfer.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LINE_SECONDS = 10, TERMINAL_MS = 200 };

struct moving {
    const struct conf *conf;
    bool is_export;
    struct str kind, source, address; /* as on the command line; an export's `source` is where to */
    const struct kind *what;
    struct str uidl, folder; /* absent: not given */
    struct ctl_elsewhere elsewhere;

    /* The account under way. */
    struct transfer_watch watch;
    const char *name; /* its address */
    bool is_terminal, is_shown;
    uint64_t shown_at;
    pid_t child; /* that has the store; 0: the server has it */

    unsigned accounts, failed;
    uint64_t refused;
};

struct kind {
    const char *name, *nothing; /* what is said when the source is none of it */
    bool is_elsewhere;
    enum rc (*pour)(const struct moving *m, const char *source, struct transfer_sink *sink,
                    uint64_t *out_known);
    enum rc (*open)(const char *path, struct transfer_watch *watch, struct transfer_sink **out);
};

static void say(const char *what, const char *why)
{
    fprintf(stderr, "penfold: %s: %s\n", what, why);
}

static enum rc complain(const char *what, const char *why)
{
    say(what, why);
    return RC_PERM;
}

/* --- what is shown ---------------------------------------------------------------------------- */

static void end_line(struct moving *m)
{
    if (m->is_shown)
        fputc('\n', stderr);
    m->is_shown = false;
}

static void told(struct transfer_watch *watch, struct str label, bool is_refused, struct str why)
{
    struct moving *m = CONTAINER(watch, struct moving, watch);
    end_line(m);
    fprintf(stderr, "penfold: %s: ", m->name);
    ctl_put_text(label, stderr);
    fprintf(stderr, ": %s%.*s\n", is_refused ? "left out: " : "", STR_ARG(why));
}

static void moved(struct transfer_watch *watch, const struct transfer_counts *c)
{
    struct moving *m = CONTAINER(watch, struct moving, watch);
    uint64_t now = clock_mono(&clock_system);
    uint64_t every = m->is_terminal ? TERMINAL_MS * NS_PER_MS : LINE_SECONDS * NS_PER_SEC;
    if (now - m->shown_at < every)
        return;
    m->shown_at = now;
    fprintf(stderr, "%s%s: %llu messages, %llu MB%s", m->is_terminal ? "\r" : "", m->name,
            (unsigned long long)c->messages, (unsigned long long)(c->bytes >> 20),
            m->is_terminal ? "" : "\n");
    fflush(stderr);
    m->is_shown = m->is_terminal;
}

static void report(struct moving *m, const struct transfer_counts *c, uint64_t known)
{
    end_line(m);
    m->accounts++;
    m->refused += c->refused;
    if (m->is_export) {
        printf("%s: %llu messages in %llu folders went out, %llu were left out\n", m->name,
               (unsigned long long)c->messages, (unsigned long long)c->folders,
               (unsigned long long)c->refused);
        fflush(stdout);
        return;
    }
    printf("%s: %llu messages came in (%llu bytes), %llu were in already, %llu were left out, %llu "
           "folders were made\n",
           m->name, (unsigned long long)c->messages, (unsigned long long)c->bytes,
           (unsigned long long)known, (unsigned long long)c->refused,
           (unsigned long long)c->folders);
    fflush(stdout);
}

/* --- who has the store ------------------------------------------------------------------------ */

/* By the descriptor of the data folder: this process stays in its own, from where the source is
 * named. */
static enum rc connect_server(const struct conf *conf, int *out)
{
    int here = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    enum rc rc = chdir(conf->data) == 0 ? ctl_connect(out) : rc_from_errno(errno);
    if (here >= 0 && fchdir(here) != 0 && rc == RC_OK) {
        close(*out);
        rc = rc_from_errno(errno);
    }
    if (here >= 0)
        close(here);
    return rc;
}

struct serving {
    const struct admin_request *request;
    int fd;
};

static enum rc send_out(struct ctl_stream *stream, int fd)
{
    struct buf *out = ctl_stream_out(stream);
    while (buf_len(out)) {
        struct str s = buf_str(out);
        ssize_t n = send(fd, s.p, s.n, MSG_NOSIGNAL);
        if (n < 0 && errno != EINTR)
            return RC_TEMP;
        if (n > 0)
            buf_consume(out, (size_t)n);
    }
    return RC_OK;
}

static enum rc receive(struct buf *in, int fd)
{
    enum { READ = 256 << 10 };
    char *at = buf_reserve(in, READ);
    ssize_t n = at ? recv(fd, at, READ, 0) : -1;
    if (n < 0 && at && errno == EINTR)
        return RC_OK;
    if (n <= 0)
        return RC_EOF;
    buf_commit(in, (size_t)n);
    return RC_OK;
}

/* What a session of the server does, with a store at rest. */
static void serve(struct admin *admin, void *arg)
{
    const struct serving *v = arg;
    struct ctl_stream *stream = ctl_stream_new(admin, v->request);
    struct buf in = {.cap = 1 << 20};
    size_t used;
    enum rc rc = send_out(stream, v->fd);
    while (rc == RC_OK) {
        rc = ctl_stream_step(stream, buf_str(&in), &used);
        buf_consume(&in, used);
        enum rc sent = send_out(stream, v->fd);
        if (sent != RC_OK)
            rc = sent;
        else if (rc == RC_AGAIN)
            rc = receive(&in, v->fd);
    }
    ctl_stream_free(&stream);
    buf_fini(&in);
}

static void serve_apart(const struct conf *conf, const struct admin_request *request, int fd)
{
    struct serving v = {request, fd};
    signal(SIGINT, SIG_IGN); /* what ends the command ends this by its socket, in order */
    if (ctl_enter_data(conf) != RC_OK)
        _exit(1);
    enum rc rc = ctl_offline_do(conf, serve, &v);
    if (rc == RC_CONFLICT)
        say(conf->data, "another process is using the store; try again");
    else if (rc != RC_OK)
        say(conf->data, admin_sentence(rc));
    _exit(rc == RC_OK ? 0 : 1);
}

static enum rc open_store(struct moving *m, const struct admin_request *request, int *out)
{
    int pair[2];
    enum rc rc = connect_server(m->conf, out);
    m->child = 0;
    if (rc == RC_OK)
        return ctl_send(*out, request);
    if (rc != RC_NOTFOUND)
        return complain(m->conf->data, "its control socket cannot be reached: run this as root, or "
                                       "as the owner of the data folder");
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        return rc_from_errno(errno);
    fflush(NULL);
    m->child = fork();
    if (m->child == 0) {
        close(pair[0]);
        serve_apart(m->conf, request, pair[1]);
    }
    close(pair[1]);
    *out = pair[0];
    if (m->child > 0)
        return RC_OK;
    close(pair[0]);
    return RC_TEMP;
}

static void close_store(struct moving *m)
{
    while (m->child > 0 && waitpid(m->child, NULL, 0) < 0 && errno == EINTR)
        ;
    m->child = 0;
}

/* --- one account ------------------------------------------------------------------------------ */

static const char *why_not(enum rc rc)
{
    switch (rc) {
    case RC_NOTFOUND:
        return "there is no such account: make it first, with penfold account add";
    case RC_CONFLICT:
        return "somebody is bringing mail into it already";
    case RC_TEMP:
        return "whoever has the store has ended, or cannot write: run this again, what is in is "
               "passed over";
    case RC_FULL:
        return "no space left on the disk: run this again, what is in is passed over";
    default:
        return admin_sentence(rc);
    }
}

static enum rc pour_maildir(const struct moving *m, const char *source, struct transfer_sink *sink,
                            uint64_t *out_known)
{
    struct transfer_maildir maildir = {.path = source, .uidl = m->uidl};
    enum rc rc = transfer_from_maildir(&maildir, sink);
    *out_known = maildir.known;
    return rc;
}

static enum rc pour_mbox(const struct moving *m, const char *source, struct transfer_sink *sink,
                         uint64_t *out_known)
{
    struct transfer_mbox mbox = {.path = source, .folder = m->folder};
    enum rc rc = transfer_from_mbox(&mbox, sink);
    *out_known = mbox.known;
    return rc;
}

static enum rc pour_elsewhere(const struct moving *m, const char *source,
                              struct transfer_sink *sink, uint64_t *out_known)
{
    char why[CTL_ELSEWHERE_WHY];
    enum rc rc = ctl_pour_elsewhere(&m->elsewhere, sink, out_known, why);
    if (rc == RC_OK || !why[0])
        return rc;
    if (m->is_shown)
        fputc('\n', stderr);
    fprintf(stderr, "penfold: %s: %s%s\n", source, why,
            rc == RC_TEMP ? ": run this again, what is in is passed over" : "");
    return RC_PERM;
}

static enum rc pour_archive(const struct moving *m, const char *source, struct transfer_sink *sink,
                            uint64_t *out_known)
{
    struct transfer_archive archive = {.path = source};
    enum rc rc = transfer_from_archive(&archive, sink);
    *out_known = archive.known;
    return rc;
}

static const struct kind kinds[] = {
    {"maildir", "there is no Maildir", false, pour_maildir, transfer_to_maildir},
    {"mbox", "there is no mbox file, nor a folder of them", false, pour_mbox, transfer_to_mbox},
    {"archive", "it is no archive that penfold export has made", false, pour_archive,
     transfer_to_archive},
    {"imap", "there is no such host", true, pour_elsewhere, NULL},
    {"pop3", "there is no such host", true, pour_elsewhere, NULL},
};

static enum rc pour(struct moving *m, struct transfer_sink *sink, const char *source,
                    uint64_t *out_known)
{
    enum rc rc = m->what->pour(m, source, sink, out_known);
    if (rc == RC_NOTFOUND || rc == RC_DENIED) {
        end_line(m);
        return complain(source, rc == RC_NOTFOUND ? m->what->nothing : "it may not be read");
    }
    return rc == RC_OK ? transfer_finish(sink) : rc;
}

static enum rc import_account(struct moving *m, const char *source, struct str address)
{
    char size[24];
    snprintf(size, sizeof size, "%llu", (unsigned long long)m->conf->limits.message_size);
    struct str name = m->what->is_elsewhere ? str_of(m->elsewhere.name) : m->kind;
    const struct str words[] = {STR("transfer-into"), address, name, str_of(size)};
    const struct admin_request request = {.words = words, .n_words = 4};
    struct transfer_sink *sink = NULL;
    struct transfer_counts counts = {0};
    uint64_t known = 0;
    int fd;
    m->name = address.p;
    m->watch = (struct transfer_watch){told, moved};
    m->shown_at = clock_mono(&clock_system);
    enum rc rc = open_store(m, &request, &fd);
    if (rc != RC_OK)
        return rc;
    rc = transfer_link(fd, &m->watch, &sink);
    if (rc == RC_OK)
        rc = pour(m, sink, source, &known);
    if (sink) {
        transfer_counts(sink, &counts);
        report(m, &counts, known);
    }
    transfer_sink_free(&sink);
    close_store(m);
    if (rc != RC_OK && rc != RC_PERM)
        say(m->name, why_not(rc));
    return rc;
}

/* The target is made first, so that nothing is read in vain. */
static enum rc export_account(struct moving *m, const char *target, struct str address)
{
    const struct str words[] = {STR("transfer-from"), address};
    const struct admin_request request = {.words = words, .n_words = 2};
    struct transfer_sink *sink = NULL;
    struct transfer_counts counts = {0};
    int fd;
    m->name = address.p;
    m->watch = (struct transfer_watch){told, moved};
    m->shown_at = clock_mono(&clock_system);
    enum rc rc = m->what->open(target, &m->watch, &sink);
    if (rc != RC_OK)
        return RC_PERM;
    rc = open_store(m, &request, &fd);
    if (rc == RC_OK) {
        rc = transfer_receive(fd, sink);
        close(fd);
        close_store(m);
    }
    transfer_counts(sink, &counts);
    transfer_sink_free(&sink);
    if (rc == RC_OK)
        report(m, &counts, 0);
    end_line(m);
    if (rc != RC_OK && rc != RC_PERM)
        say(m->name, why_not(rc));
    if (rc != RC_OK)
        fprintf(stderr, "penfold: %s.partial: what was written before is there: remove it\n",
                target);
    return rc;
}

static enum rc move_account(struct moving *m, const char *path, struct str address)
{
    return m->is_export ? export_account(m, path, address) : import_account(m, path, address);
}

/* --- all of a domain -------------------------------------------------------------------------- */

/* %u, %n and %d as in Dovecot's mail_location. */
static bool fill_in(struct str pattern, struct str address, struct buf *out)
{
    struct str domain = str_domain(address);
    struct str user = str_head(address, address.n - domain.n - 1);
    for (; pattern.n; pattern = str_skip(pattern, 1)) {
        char c = pattern.n > 1 && pattern.p[0] == '%' ? pattern.p[1] : 0;
        if (c != 'u' && c != 'n' && c != 'd' && c != '%') {
            buf_put(out, str_head(pattern, 1));
            continue;
        }
        buf_put(out, c == 'u' ? address : c == 'n' ? user : c == 'd' ? domain : STR("%"));
        pattern = str_skip(pattern, 1);
    }
    buf_put(out, STR("\0"));
    return !out->over;
}

static void move_one_of_many(struct moving *m, struct str address)
{
    struct buf source = {.cap = PATH_MAX};
    if (!fill_in(m->source, address, &source))
        say(address.p, "the path of its source is too long");
    else if (!m->is_export && access(buf_str(&source).p, F_OK) != 0)
        fprintf(stderr, "penfold: %s: %s: there is nothing to bring in: passed over\n", address.p,
                buf_str(&source).p);
    else if (move_account(m, buf_str(&source).p, address) == RC_OK) {
        buf_fini(&source);
        return;
    }
    m->failed++;
    buf_fini(&source);
}

static enum rc move_domain(struct moving *m)
{
    const struct str words[] = {STR("account"), STR("list"), str_skip(m->address, 1)};
    const struct admin_request request = {.words = words, .n_words = 3};
    struct admin_answer answer = {0};
    enum rc rc = ctl_carry_out_aside(m->conf, &request, &answer);
    if (rc == RC_OK && answer.rc != RC_OK) {
        fprintf(stderr, "penfold: %.*s\n", STR_ARG(answer.error));
        rc = answer.rc;
    }
    size_t n = rc == RC_OK && answer.n_columns ? answer.n_cells / answer.n_columns : 0;
    for (size_t i = 0; i < n; i++)
        move_one_of_many(m, answer.cells[i * answer.n_columns]);
    if (rc == RC_OK)
        printf("%.*s: %zu accounts: mail of %u %s, of %u not or not all, %llu messages and folders "
               "were left out\n",
               STR_ARG(m->address), n, m->accounts, m->is_export ? "went out" : "came in",
               m->failed, (unsigned long long)m->refused);
    admin_answer_fini(&answer);
    return rc;
}

/* --- the command line ------------------------------------------------------------------------- */

static bool read_words(struct moving *m, const struct str *words, size_t n)
{
    struct str *const args[] = {&m->kind, &m->source, &m->address};
    size_t n_args = 0;
    for (size_t i = 0; i < n; i++) {
        if (!m->is_export && str_eq(words[i], STR("--uidl")) && i + 1 < n)
            m->uidl = words[++i];
        else if (!m->is_export && str_eq(words[i], STR("--folder")) && i + 1 < n)
            m->folder = words[++i];
        else if (!m->is_export && str_eq(words[i], STR("--login")) && i + 1 < n)
            m->elsewhere.login = words[++i];
        else if (!m->is_export && str_eq(words[i], STR("--tls")) && i + 1 < n)
            m->elsewhere.tls = words[++i];
        else if (str_starts(words[i], STR("--")) || n_args == 3)
            return false;
        else
            *args[n_args++] = words[i];
    }
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (str_eq(m->kind, str_of(kinds[i].name)))
            m->what = &kinds[i];
    if (n_args < 3 || !m->what || !m->source.n || !m->address.n || (m->is_export && !m->what->open))
        return false;
    m->elsewhere.conf = m->conf;
    m->elsewhere.is_imap = str_eq(m->kind, STR("imap"));
    m->elsewhere.uidl = m->uidl;
    return m->what->is_elsewhere
               ? m->address.p[0] != '@' && ctl_elsewhere_read(m->source, &m->elsewhere)
               : !m->elsewhere.login.n && !m->elsewhere.tls.n;
}

static int move(struct moving *m, const struct str *words, size_t n, bool from_stdin)
{
    char password[AUTH_PASSWORD_MAX + 2] = "";
    m->is_terminal = isatty(STDERR_FILENO) == 1;
    if (!read_words(m, words, n)) {
        fprintf(stderr, "penfold: usage: penfold %s\n",
                m->is_export ? "export " CTL_EXPORT_USAGE : "import " CTL_IMPORT_USAGE);
        return CTL_USAGE;
    }
    signal(SIGPIPE, SIG_IGN);
    if (m->what->is_elsewhere) {
        if (ctl_read_password(from_stdin, password, sizeof password) != RC_OK)
            return CTL_FAILED;
        m->elsewhere.place.password = str_of(password);
    }
    enum rc rc = m->address.p[0] == '@' ? move_domain(m) : move_account(m, m->source.p, m->address);
    explicit_bzero(password, sizeof password);
    return rc == RC_OK && !m->failed && !m->refused ? CTL_DONE : CTL_FAILED;
}

int ctl_import(const struct conf *conf, const struct str *words, size_t n, bool from_stdin)
{
    struct moving m = {.conf = conf};
    return move(&m, words, n, from_stdin);
}

int ctl_export(const struct conf *conf, const struct str *words, size_t n)
{
    struct moving m = {.conf = conf, .is_export = true};
    return move(&m, words, n, false);
}
