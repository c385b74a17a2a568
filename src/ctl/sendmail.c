/* `penfold sendmail`, and the program under the names sendmail, mailq and newaliases: what cron,
 * at, mail(1) and scripts call to send mail.
 *
 * Any user may call it. It reads no configuration that it may not read: the server is found by the
 * path of its socket, and says itself what the host is called and who may name which sender. There
 * is no folder of its own: when no server answers nothing has been taken, and the exit status says
 * so (75, try again later), which is what callers of sendmail know how to handle.
 *
 * Exit statuses are those of sysexits.h. */
#include "ctl/ctl_int.h"

#include "base/mem.h"

#include <errno.h>
#include <poll.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sysexits.h>
#include <unistd.h>

enum { LINE_BYTES = 4096, REPLY_S = 600 };

static int fail(int status, const char *what, const char *why)
{
    fprintf(stderr, "sendmail: %s%s%s\n", what, why[0] ? ": " : "", why);
    return status;
}

void sendmail_add_recipient(struct sendmail *m, struct str address)
{
    for (size_t i = 0; i < m->n_recipients; i++)
        if (str_eq(str_of(m->recipients[i]), address))
            return;
    m->recipients = mem_grow(m->recipients, (m->n_recipients + 1) * sizeof *m->recipients);
    m->recipients[m->n_recipients++] = mem_dup(address.p, address.n);
}

/* --- options ---------------------------------------------------------------------------------- */

enum mode { DELIVER, VERIFY, SPEAK_SMTP, PRINT_QUEUE, FLUSH_QUEUE, DO_NOTHING };

struct options {
    enum mode mode;
    bool ignores_dots;
    const char *sender, *notify, *ret, *envid, *conf;
    const char *flush[2]; /* words for penfold queue retry */
};

/* Letters that take a value, in the same word or the next. */
static const char with_value[] = "fFrNRVBOCXLohpqdADe";

static int take_mode(struct options *o, const char *value)
{
    switch (value[0]) {
    case 'm':
        return EX_OK;
    case 's':
        o->mode = SPEAK_SMTP;
        return EX_OK;
    case 'p':
        o->mode = PRINT_QUEUE;
        return EX_OK;
    case 'i':
        o->mode = DO_NOTHING;
        return EX_OK;
    case 'v':
        o->mode = VERIFY;
        return EX_OK;
    default:
        return fail(EX_USAGE, "-b",
                    "only -bm, -bs, -bp, -bv and -bi are known; the server is penfold "
                    "serve");
    }
}

/* "-q" tries all that waits, "-qI", "-qR" and "-qS" the message, the domain or the sender that
 * follows; "-q30m" asks for a server, which there is. */
static void take_queue(struct options *o, const char *value)
{
    static const char *const filters[] = {['I'] = "", ['R'] = "--domain", ['S'] = "--sender"};
    bool is_filter = value[0] && strchr("IRS", value[0]) && value[1];
    o->mode = !value[0] || is_filter ? FLUSH_QUEUE : DO_NOTHING;
    o->flush[0] = is_filter ? filters[(unsigned char)value[0]] : "--all";
    o->flush[1] = is_filter ? value + 1 : "";
}

static int take_return(struct options *o, const char *value)
{
    o->ret = strcasecmp(value, "hdrs") == 0 ? "HDRS" : strcasecmp(value, "full") == 0 ? "FULL" : 0;
    return o->ret ? EX_OK : fail(EX_USAGE, "-R", "expected hdrs or full");
}

static int take_option(struct sendmail *m, struct options *o, char letter, const char *value)
{
    const char *ignored = "BOXLhpdADvUmGnsecx";
    switch (letter) {
    case 't':
        m->takes_header = true;
        return EX_OK;
    case 'i':
        o->ignores_dots = true;
        return EX_OK;
    case 'o':
        o->ignores_dots |= value[0] == 'i';
        return EX_OK;
    case 'f':
        o->sender = value;
        return EX_OK;
    case 'F':
        snprintf(m->full_name, sizeof m->full_name, "%s", value);
        return EX_OK;
    case 'b':
        return take_mode(o, value);
    case 'N':
        o->notify = value;
        return EX_OK;
    case 'R':
        return take_return(o, value);
    case 'V':
        o->envid = value;
        return EX_OK;
    case 'C':
        o->conf = value;
        return EX_OK;
    case 'q':
        take_queue(o, value);
        return EX_OK;
    case 'I': /* as -bi */
        o->mode = DO_NOTHING;
        return EX_OK;
    default:
        return strchr(ignored, letter) ? EX_OK
                                       : fail(EX_USAGE, "unknown option", (char[]){letter, 0});
    }
}

/* A word such as "-ti" or "-fNAME": letters without a value, then perhaps one with it. */
static int take_word(struct sendmail *m, struct options *o, char **argv, int *i)
{
    for (const char *c = argv[*i] + 1; *c; c++) {
        bool wants = strchr(with_value, *c) || *c == 'b';
        bool may_be_alone = strchr("qdoe", *c); /* "-q", "-o" need nothing */
        const char *value = c + 1;
        if (wants && !*value && !may_be_alone) {
            if (!argv[*i + 1])
                return fail(EX_USAGE, argv[*i], "needs a value");
            value = argv[++*i];
        }
        char letter = *c == 'r' ? 'f' : *c;
        int status = take_option(m, o, letter, wants ? value : "");
        if (status != EX_OK || wants)
            return status;
    }
    return EX_OK;
}

static int read_options(struct sendmail *m, struct options *o, int argc, char **argv)
{
    bool is_over = false;
    for (int i = 1; i < argc; i++) {
        if (!is_over && strcmp(argv[i], "--") == 0) {
            is_over = true;
        } else if (!is_over && argv[i][0] == '-' && argv[i][1]) {
            int status = take_word(m, o, argv, &i);
            if (status != EX_OK)
                return status;
        } else {
            m->words = mem_grow(m->words, (m->n_words + 1) * sizeof *m->words);
            m->words[m->n_words++] = argv[i];
        }
    }
    return EX_OK;
}

/* --- the conversation ------------------------------------------------------------------------- */

struct server {
    int fd;
    FILE *in;
    char line[LINE_BYTES]; /* the last of the last reply */
};

/* Where the configuration has it, when this user may read that; else where it is by default. */
static void find_socket(const struct options *o, char *to, size_t size)
{
    const char *path = o->conf ? o->conf : getenv("PENFOLD_CONF");
    struct conf *conf = NULL;
    struct buf why;
    snprintf(to, size, "%s", CTL_SENDMAIL);
    if (!path || !path[0])
        path = "/etc/penfold/penfold.conf";
    if (access(path, R_OK) != 0)
        return;
    char *real = realpath(path, NULL);
    buf_init(&why, 64 << 10);
    if (real && conf_load(real, &conf, &why) == RC_OK && conf->listen.sendmail.n)
        snprintf(to, size, "%s", conf->listen.sendmail.item[0]);
    conf_free(&conf);
    buf_fini(&why);
    free(real);
}

static int connect_to(const struct options *o, struct server *s)
{
    char path[512];
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    find_socket(o, path, sizeof path);
    if (strlen(path) >= sizeof to.sun_path)
        return fail(EX_CONFIG, path, "too long for a socket");
    memcpy(to.sun_path, path, strlen(path));
    s->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const struct timeval patience = {.tv_sec = REPLY_S};
    if (s->fd < 0 || setsockopt(s->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) != 0)
        return fail(EX_OSERR, "socket", strerror(errno));
    if (connect(s->fd, (struct sockaddr *)&to, sizeof to) != 0) {
        fprintf(stderr,
                "sendmail: %s: %s: the mail server does not run, or has no listen { sendmail }; "
                "nothing was sent\n",
                path, strerror(errno));
        return EX_TEMPFAIL;
    }
    s->in = fdopen(s->fd, "r");
    return s->in ? EX_OK : fail(EX_OSERR, "socket", strerror(errno));
}

/* The code of a reply; 0: the server is gone. */
static int hear(struct server *s)
{
    do {
        if (!fgets(s->line, sizeof s->line, s->in))
            return 0;
        s->line[strcspn(s->line, "\r\n")] = '\0';
    } while (strlen(s->line) > 3 && s->line[3] == '-');
    return atoi(s->line);
}

static bool send_all(struct server *s, struct str bytes)
{
    while (bytes.n) {
        ssize_t n = send(s->fd, bytes.p, bytes.n, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        bytes = str_skip(bytes, (size_t)n);
    }
    return true;
}

static int ask(struct server *s, const struct buf *command)
{
    return send_all(s, buf_str(command)) ? hear(s) : 0;
}

static int status_of(struct server *s, int code, const char *what)
{
    if (code == 0)
        return fail(EX_TEMPFAIL, "the mail server has ended the conversation", "");
    if (code < 400)
        return EX_OK;
    if (code < 500)
        return fail(EX_TEMPFAIL, what, s->line);
    bool is_nobody = strstr(s->line, " 5.1.") != NULL;
    return fail(is_nobody ? EX_NOUSER : code == 554 ? EX_DATAERR : EX_UNAVAILABLE, what, s->line);
}

static bool is_ascii(const char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s >= 0x80 || (unsigned char)*s < ' ')
            return false;
    return true;
}

static void put_xtext(struct buf *out, const char *text)
{
    for (; *text; text++) {
        bool is_plain = *text > ' ' && *text < 0x7f && *text != '+' && *text != '=';
        buf_putf(out, is_plain ? "%c" : "+%02X", (unsigned char)*text);
    }
}

static int say_mail(struct server *s, const struct sendmail *m, const struct options *o)
{
    struct buf b;
    bool is_utf8 = !m->is_null_sender && !is_ascii(m->from.p);
    for (size_t i = 0; i < m->n_recipients; i++)
        is_utf8 |= !is_ascii(m->recipients[i]);
    buf_init(&b, LINE_BYTES);
    buf_putf(&b, "MAIL FROM:<%s> BODY=8BITMIME", m->is_null_sender ? "" : m->from.p);
    if (is_utf8)
        buf_put(&b, STR(" SMTPUTF8"));
    if (o->ret)
        buf_putf(&b, " RET=%s", o->ret);
    if (o->envid) {
        buf_put(&b, STR(" ENVID="));
        put_xtext(&b, o->envid);
    }
    buf_put(&b, STR("\r\n"));
    int status = b.over ? EX_USAGE : status_of(s, ask(s, &b), m->from.p);
    buf_fini(&b);
    return status;
}

/* One that is refused for good is told, and does not keep the others from theirs; *out_refused is
 * its status. */
static int say_recipients(struct server *s, const struct sendmail *m, const struct options *o,
                          int *out_refused)
{
    size_t taken = 0;
    *out_refused = EX_OK;
    for (size_t i = 0; i < m->n_recipients; i++) {
        struct buf b;
        buf_init(&b, LINE_BYTES);
        buf_putf(&b, "RCPT TO:<%s>", m->recipients[i]);
        if (o->notify)
            buf_putf(&b, " NOTIFY=%s", o->notify);
        buf_put(&b, STR("\r\n"));
        int code = b.over ? 0 : ask(s, &b);
        buf_fini(&b);
        int status = status_of(s, code, m->recipients[i]);
        if (status == EX_TEMPFAIL)
            return status; /* nothing is sent, so that another try sends nothing twice */
        if (status == EX_OK && o->mode == VERIFY)
            printf("%s... deliverable\n", m->recipients[i]);
        taken += status == EX_OK;
        *out_refused = status == EX_OK ? *out_refused : status;
    }
    return taken ? EX_OK : *out_refused;
}

static int say_message(struct server *s, struct str text)
{
    struct buf b;
    buf_init(&b, 64);
    buf_putf(&b, "BDAT %zu LAST\r\n", text.n);
    bool is_sent = send_all(s, buf_str(&b)) && send_all(s, text);
    buf_fini(&b);
    return status_of(s, is_sent ? hear(s) : 0, "the message");
}

/* What an option or the header has said is a line of ours now: it must not bring another one. */
static bool is_one_line(const char *text)
{
    for (; text && *text; text++)
        if ((unsigned char)*text < ' ' || *text == 0x7f)
            return false;
    return true;
}

static int check_words(const struct sendmail *m, const struct options *o)
{
    bool is_good = is_one_line(m->from.p) && is_one_line(o->notify);
    for (size_t i = 0; i < m->n_recipients; i++)
        is_good = is_good && is_one_line(m->recipients[i]);
    return is_good ? EX_OK
                   : fail(EX_USAGE, "control characters", "an address or option has some in it");
}

/* --- who sends -------------------------------------------------------------------------------- */

static void set_names(struct sendmail *m, const struct options *o, const char *greeting)
{
    const struct passwd *user = getpwuid(getuid());
    const char *name = getenv("NAME");
    struct str rest = str_of(greeting), word = STR("localhost");
    char text[1024];
    str_cut(&rest, ' ', &word); /* "220 mail.example.org ESMTP" */
    if (!str_cut(&rest, ' ', &word) || word.n == 0)
        word = STR("localhost");
    m->host = arena_dup(&m->arena, word);
    snprintf(text, sizeof text, "uid%u", (unsigned)getuid());
    if (user)
        snprintf(text, sizeof text, "%s", user->pw_name);
    struct str sender = sendmail_path(o->sender ? str_of(o->sender) : (struct str){0});
    m->is_null_sender = o->sender && sender.n == 0;
    if (sender.n)
        snprintf(text, sizeof text, "%.*s", STR_ARG(sender));
    size_t n = strlen(text);
    if (!strchr(text, '@'))
        snprintf(text + n, sizeof text - n, "@%.*s", STR_ARG(m->host));
    m->from = arena_dup(&m->arena, str_of(text));
    if (!m->full_name[0] && name)
        snprintf(m->full_name, sizeof m->full_name, "%s", name);
    if (user && !m->full_name[0])
        snprintf(m->full_name, sizeof m->full_name, "%.*s", (int)strcspn(user->pw_gecos, ","),
                 user->pw_gecos);
}

/* Words may hold several, with commas between. */
static void add_words(struct sendmail *m)
{
    for (size_t i = 0; i < m->n_words; i++) {
        struct str rest = str_of(m->words[i]), one;
        while (str_cut(&rest, ',', &one)) {
            struct buf b;
            one = sendmail_path(one);
            buf_init(&b, LINE_BYTES);
            sendmail_qualify(&b, one, m->host);
            if (one.n)
                sendmail_add_recipient(m, buf_str(&b));
            buf_fini(&b);
        }
    }
}

static int hand_over(struct sendmail *m, const struct options *o, struct server *s, struct str text)
{
    struct buf message, hello = {.cap = 64};
    int refused = EX_OK, status = status_of(s, hear(s), "the mail server");
    if (status != EX_OK)
        return status;
    set_names(m, o, s->line);
    enum rc rc = sendmail_prepare(m, text, &message);
    add_words(m);
    buf_put(&hello, STR("EHLO localhost\r\n"));
    if (rc != RC_OK)
        status = fail(EX_DATAERR, "the header", "its addresses cannot be read");
    else if (m->n_recipients == 0)
        status = fail(EX_USAGE, "no recipients", "name some, or -t and To, Cc or Bcc");
    if (status == EX_OK)
        status = check_words(m, o);
    if (status == EX_OK)
        status = status_of(s, ask(s, &hello), "the mail server");
    if (status == EX_OK)
        status = say_mail(s, m, o);
    if (status == EX_OK)
        status = say_recipients(s, m, o, &refused);
    if (status == EX_OK && o->mode == DELIVER)
        status = say_message(s, buf_str(&message));
    buf_fini(&hello);
    buf_fini(&message);
    return status == EX_OK ? refused : status;
}

static int deliver(struct sendmail *m, const struct options *o)
{
    struct server s = {.fd = -1};
    struct buf text;
    int status = EX_OSERR;
    enum rc rc = RC_OK;
    buf_init(&text, 0);
    if (o->mode == DELIVER)
        rc = sendmail_read(stdin, !o->ignores_dots, &text);
    if (rc != RC_OK)
        status = fail(EX_IOERR, "standard input", rc == RC_LIMIT ? "too long" : strerror(errno));
    else
        status = connect_to(o, &s);
    if (status == EX_OK)
        status = hand_over(m, o, &s, buf_str(&text));
    buf_fini(&text);
    if (s.in)
        fclose(s.in);
    else if (s.fd >= 0)
        close(s.fd);
    return status;
}

/* -bs: what is said on standard input the server hears, and the other way round. */
static int pump(const struct options *o)
{
    struct server s = {.fd = -1};
    char bytes[LINE_BYTES];
    int status = connect_to(o, &s);
    struct pollfd p[2] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = s.fd, .events = POLLIN}};
    while (status == EX_OK && poll(p, 2, -1) > 0) {
        ssize_t n = 0;
        if (p[0].revents) {
            n = read(STDIN_FILENO, bytes, sizeof bytes);
            if (n > 0 && !send_all(&s, str_from(bytes, (size_t)n)))
                status = EX_TEMPFAIL;
            if (n <= 0) {
                shutdown(s.fd, SHUT_WR);
                p[0].fd = -1;
            }
        }
        if (p[1].revents && (n = read(s.fd, bytes, sizeof bytes)) <= 0)
            break;
        if (p[1].revents && write(STDOUT_FILENO, bytes, (size_t)n) != n)
            status = EX_IOERR;
    }
    if (s.in)
        fclose(s.in);
    return status;
}

/* penfold queue VERB, with the words and the configuration that there are. */
static int ask_queue(const struct options *o, const char *verb)
{
    const char *const wanted[] = {
        "penfold", "queue", verb, o->flush[0], o->flush[1], o->conf ? "-c" : NULL, o->conf};
    char *words[sizeof wanted / sizeof *wanted + 1];
    int n = 0;
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        if (wanted[i] && wanted[i][0])
            words[n++] = (char *)(uintptr_t)wanted[i];
    words[n] = NULL;
    return ctl_main(n, words, NULL) == CTL_DONE ? EX_OK : EX_UNAVAILABLE;
}

bool ctl_is_sendmail(int argc, char **argv)
{
    const char *slash = argc ? strrchr(argv[0], '/') : NULL;
    const char *name = slash ? slash + 1 : argc ? argv[0] : "";
    return strcmp(name, "sendmail") == 0 || strcmp(name, "mailq") == 0 ||
           strcmp(name, "newaliases") == 0 ||
           (argc > 1 && strcmp(argv[1], "sendmail") == 0 &&
            !(argc > 2 && strcmp(argv[2], "--help") == 0));
}

int ctl_sendmail(int argc, char **argv)
{
    struct sendmail m = {0};
    struct options o = {0};
    const char *slash = strrchr(argv[0], '/');
    const char *name = slash ? slash + 1 : argv[0];
    if (argc > 1 && strcmp(argv[1], "sendmail") == 0 && argc--)
        argv++;
    int status = read_options(&m, &o, argc, argv);
    if (strcmp(name, "mailq") == 0)
        o.mode = PRINT_QUEUE;
    if (strcmp(name, "newaliases") == 0)
        o.mode = DO_NOTHING;
    if (status == EX_OK && (o.mode == DELIVER || o.mode == VERIFY))
        status = deliver(&m, &o);
    else if (status == EX_OK && o.mode == SPEAK_SMTP)
        status = pump(&o);
    else if (status == EX_OK && o.mode == PRINT_QUEUE)
        status = ask_queue(&o, "list");
    else if (status == EX_OK && o.mode == FLUSH_QUEUE)
        status = ask_queue(&o, "retry");
    for (size_t i = 0; i < m.n_recipients; i++)
        free(m.recipients[i]);
    free(m.recipients);
    free(m.words);
    arena_fini(&m.arena);
    return status;
}
