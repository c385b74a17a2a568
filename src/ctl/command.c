/* The command line: finds the command, asks for a password where one is wanted, lets the running
 * server or this process carry it out, prints the answer. */
#include "ctl/ctl_int.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

struct line {
    const char *conf_path;
    struct str words[ADMIN_WORDS];
    size_t n;
    bool is_json, from_stdin, is_help, is_version;
};

/* Those that are not admin's. */
static const struct {
    const char *name, *usage, *help;
} own_commands[] = {
    {"init",
     "DIR --domain NAME [--hostname H] [--port-base N] [--bind ADDR] [--user U] "
     "[--store rados [CEPH]...]",
     "makes a mail host in DIR"},
    {"serve", "", "runs the server in the foreground"},
    {"check", "[--show] [--dns]",
     "says what is wrong with the configuration; --show prints what is in force, --dns compares "
     "what domains publish"},
    {"dns", "DOMAIN", "prints every record to publish, as a zone file has them"},
    {"sendmail", "[OPTION]... [ADDRESS]...",
     "hands in the message on standard input, with the options of the sendmail command"},
    {"backup", "DIR", "copies the store and what is needed to serve it again to DIR"},
    {"restore", "DIR", "makes the data folder, which must be empty, from a backup"},
    {"dkim setup", "[--new]",
     "makes the file that the keys which sign mail are sealed for, on a host that has none; --new "
     "gives up the keys that are sealed for a lost one"},
    {"import", CTL_IMPORT_USAGE,
     "brings mail into an account, or into all of a domain; what is in already is passed over"},
    {"import passwd", "FILE [DOMAIN] [--replace] [--dry-run]",
     "makes accounts of another mail server's password file, with the passwords they have there"},
    {"export", CTL_EXPORT_USAGE,
     "writes the mail of an account, or of all of a domain, into files that others read"},
    {"migrate", "OTHER.conf [--account ADDRESS]... [--verify]",
     "carries the whole store, at rest, into that of another configuration; or compares both"},
};

static void print_command(FILE *to, const char *object, const char *verb, const char *usage,
                          const char *help)
{
    fprintf(to, "  %s%s%s%s%s\n      %s\n", object, verb[0] ? " " : "", verb, usage[0] ? " " : "",
            usage, help);
}

/* "dkim setup" is one of "dkim". */
static bool names_own(const struct line *line, struct str name)
{
    struct str word;
    str_cut(&name, ' ', &word);
    bool is_other = line->n > 1 && !str_is_null(name) && !str_eq(line->words[1], name);
    return str_eq(line->words[0], word) && !is_other;
}

/* All commands, or those that the words name: "account", or "account add". */
static void print_usage(FILE *to, const struct line *line)
{
    size_t n;
    const struct admin_command *commands = admin_commands(&n);
    const struct str any = {0}, object = line->n ? line->words[0] : any;
    const struct str verb = line->n > 1 ? line->words[1] : any;
    fputs("usage: penfold COMMAND [-c FILE] [--json] ...\n\n", to);
    for (size_t i = 0; i < sizeof own_commands / sizeof *own_commands; i++)
        if (!line->n || names_own(line, str_of(own_commands[i].name)))
            print_command(to, own_commands[i].name, "", own_commands[i].usage,
                          own_commands[i].help);
    for (size_t i = 0; i < n; i++) {
        if (commands[i].is_internal || (line->n && !str_eq(object, str_of(commands[i].object))))
            continue;
        if (line->n < 2 || !commands[i].verb[0] || str_eq(verb, str_of(commands[i].verb)))
            print_command(to, commands[i].object, commands[i].verb, commands[i].usage,
                          commands[i].help);
    }
    fputs("\nThe configuration is FILE, or $PENFOLD_CONF, or /etc/penfold/penfold.conf.\n"
          "Exit status: 0 done, 1 could not be done, 2 wrong usage.\n",
          to);
}

static bool is_command(const struct line *line)
{
    size_t n;
    const struct admin_command *commands = admin_commands(&n);
    for (size_t i = 0; i < sizeof own_commands / sizeof *own_commands; i++)
        if (str_eq(line->words[0], str_of(own_commands[i].name)))
            return true;
    for (size_t i = 0; i < n; i++)
        if (str_eq(line->words[0], str_of(commands[i].object)))
            return true;
    return false;
}

static const char *default_conf_path(void)
{
    const char *path = getenv("PENFOLD_CONF");
    return path && path[0] ? path : "/etc/penfold/penfold.conf";
}

struct conf *ctl_conf(const char *path)
{
    struct conf *conf = NULL;
    struct buf why;
    buf_init(&why, 64 << 10);
    if (conf_load(path, &conf, &why) != RC_OK) {
        struct str rest = str_trim(buf_str(&why)), line;
        while (str_cut(&rest, '\n', &line))
            fprintf(stderr, "penfold: %.*s\n", STR_ARG(line));
    }
    buf_fini(&why);
    return conf;
}

/* --- a running server ------------------------------------------------------------------------- */

/* The current folder is the data folder. RC_NOTFOUND: no server is listening. */
enum rc ctl_connect(int *out_fd)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX, .sun_path = CTL_SOCKET};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return rc_from_errno(errno);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0) {
        *out_fd = fd;
        return RC_OK;
    }
    enum rc rc = errno == ENOENT || errno == ECONNREFUSED ? RC_NOTFOUND : rc_from_errno(errno);
    close(fd);
    return rc;
}

static enum rc send_all(int fd, struct str s)
{
    while (s.n) {
        ssize_t n = send(fd, s.p, s.n, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return rc_from_errno(errno);
        s = str_skip(s, (size_t)n);
    }
    return RC_OK;
}

static enum rc receive_all(int fd, struct buf *in)
{
    for (;;) {
        char *at = buf_reserve(in, 64 << 10);
        if (!at)
            return RC_LIMIT;
        ssize_t n = read(fd, at, 64 << 10);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n == 0 ? RC_OK : rc_from_errno(errno);
        buf_commit(in, (size_t)n);
    }
}

enum rc ctl_send(int fd, const struct admin_request *request)
{
    struct buf out;
    buf_init(&out, CTL_REQUEST_MAX + 4);
    enum rc rc = ctl_request_pack(request, &out);
    if (rc == RC_OK)
        rc = send_all(fd, buf_str(&out));
    buf_wipe(&out);
    return rc;
}

static enum rc ask_server(int fd, const struct admin_request *request, struct admin_answer *answer)
{
    struct buf in;
    buf_init(&in, CTL_ANSWER_MAX + (128 << 10));
    enum rc rc = ctl_send(fd, request);
    if (rc == RC_OK)
        rc = receive_all(fd, &in);
    if (rc == RC_OK)
        rc = ctl_answer_unpack(buf_str(&in), answer);
    buf_fini(&in);
    return rc == RC_AGAIN ? RC_TEMP : rc; /* cut off: the server ended */
}

/* --- one command ------------------------------------------------------------------------------ */

static enum rc read_line(int argc, char **argv, struct line *out)
{
    const struct {
        const char *name;
        bool *is_given;
    } flags[] = {{"--json", &out->is_json},
                 {"--password-stdin", &out->from_stdin},
                 {"--help", &out->is_help},
                 {"-h", &out->is_help},
                 {"--version", &out->is_version}};
    out->conf_path = default_conf_path();
    for (int i = 1; i < argc; i++) {
        size_t k = 0;
        while (k < sizeof flags / sizeof *flags && strcmp(argv[i], flags[k].name) != 0)
            k++;
        if (k < sizeof flags / sizeof *flags) {
            *flags[k].is_given = true;
        } else if (strcmp(argv[i], "-c") == 0) {
            if (++i == argc)
                return RC_SYNTAX;
            out->conf_path = argv[i];
        } else if (out->n < ADMIN_WORDS) {
            out->words[out->n++] = str_of(argv[i]);
        } else {
            return RC_LIMIT;
        }
    }
    return RC_OK;
}

enum rc ctl_carry_out(const struct conf *conf, const struct admin_request *request,
                      struct admin_answer *answer)
{
    TRY(ctl_enter_data(conf));
    return ctl_carry_out_here(conf, request, answer);
}

enum rc ctl_carry_out_here(const struct conf *conf, const struct admin_request *request,
                           struct admin_answer *answer)
{
    int fd = -1;
    enum rc rc = ctl_connect(&fd);
    if (rc == RC_OK) {
        rc = ask_server(fd, request, answer);
        close(fd);
        if (rc == RC_LIMIT)
            fprintf(stderr, "penfold: %.*s: this is too long for the server, or its answer is\n",
                    STR_ARG(request->words[0]));
        else if (rc != RC_OK)
            fprintf(stderr, "penfold: %s/%s: the server ended before it answered\n", conf->data,
                    CTL_SOCKET);
        return rc;
    }
    if (rc == RC_NOTFOUND && str_eq(request->words[0], STR("stat"))) {
        fprintf(stderr, "penfold: stat: no server is running on %s\n", conf->data);
        return rc;
    }
    if (rc == RC_NOTFOUND)
        rc = ctl_offline(conf, request, answer);
    if (rc == RC_CONFLICT)
        fprintf(stderr, "penfold: %s: another process is using the store; try again\n", conf->data);
    else if (rc != RC_OK)
        fprintf(stderr, "penfold: %s: cannot be opened: %s\n", conf->data, admin_sentence(rc));
    return rc;
}

/* By way of a pipe, packed as the server's answers are. */
enum rc ctl_carry_out_aside(const struct conf *conf, const struct admin_request *request,
                            struct admin_answer *answer)
{
    struct buf in;
    int ends[2], status = 0;
    if (pipe2(ends, O_CLOEXEC) != 0)
        return rc_from_errno(errno);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        buf_init(&in, CTL_ANSWER_MAX + 4);
        bool is_done =
            ctl_carry_out(conf, request, answer) == RC_OK && ctl_answer_pack(answer, &in) == RC_OK;
        for (struct str s = buf_str(&in); is_done && s.n;) {
            ssize_t n = write(ends[1], s.p, s.n);
            is_done = n > 0 || errno == EINTR;
            s = str_skip(s, n > 0 ? (size_t)n : 0);
        }
        _exit(is_done ? 0 : 1);
    }
    close(ends[1]);
    buf_init(&in, CTL_ANSWER_MAX + (128 << 10));
    enum rc rc = pid > 0 ? receive_all(ends[0], &in) : RC_TEMP;
    close(ends[0]);
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (rc == RC_OK && status != 0)
        rc = RC_PERM; /* it has complained */
    if (rc == RC_OK)
        rc = ctl_answer_unpack(buf_str(&in), answer);
    buf_fini(&in);
    return rc;
}

static int tell(const struct line *line, const struct admin_answer *answer)
{
    const struct admin_command *command = admin_find(line->words, line->n);
    if (line->is_json && answer->rc != RC_SYNTAX)
        ctl_print_json(answer);
    else if (line->n && str_eq(line->words[0], STR("trace")))
        ctl_print_stories(answer);
    else if (command && command->is_bare)
        ctl_print_bare(answer);
    else
        ctl_print_table(answer);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "penfold: standard output: %s\n", strerror(errno));
        return CTL_FAILED;
    }
    if (answer->rc == RC_OK)
        return CTL_DONE;
    fprintf(stderr, "penfold: %.*s\n", STR_ARG(answer->error));
    return answer->rc == RC_SYNTAX ? CTL_USAGE : CTL_FAILED;
}

static int run(const struct line *line, const struct admin_command *command,
               const struct conf *conf)
{
    char password[AUTH_PASSWORD_MAX + 2] = "";
    struct admin_request request = {.words = line->words, .n_words = line->n};
    struct admin_answer answer = {0};
    if (admin_check(&request, &answer) != RC_OK) {
        int status = tell(line, &answer);
        admin_answer_fini(&answer);
        return status;
    }
    if (line->from_stdin && !command->wants_password) {
        fprintf(stderr, "penfold: --password-stdin: unknown option\n");
        return CTL_USAGE;
    }
    if (command->wants_password) {
        enum rc rc = ctl_read_password(line->from_stdin, password, sizeof password);
        if (rc != RC_OK)
            return rc == RC_SYNTAX ? CTL_USAGE : CTL_FAILED;
        request.password = str_of(password);
        const char *weak = ctl_weak_password(request.password);
        if (weak)
            fprintf(stderr, "penfold: warning: this password is weak: %s\n", weak);
    }
    int status = ctl_carry_out(conf, &request, &answer) == RC_OK ? tell(line, &answer) : CTL_FAILED;
    explicit_bzero(password, sizeof password);
    admin_answer_fini(&answer);
    return status;
}

static int serve(const struct line *line, int (*run_server)(const char *conf_path))
{
    if (line->n == 1)
        return run_server(line->conf_path);
    fprintf(stderr, "penfold: serve: %.*s: not understood; see penfold serve --help\n",
            STR_ARG(line->words[1]));
    return CTL_USAGE;
}

/* Those that work on files of this process's own. */
static int keep(const struct line *line, const struct conf *conf)
{
    char path[PATH_MAX];
    bool is_backup = str_eq(line->words[0], STR("backup"));
    if (line->n != 2 || str_starts(line->words[1], STR("--"))) {
        fprintf(stderr, "penfold: usage: penfold %s DIR\n", is_backup ? "backup" : "restore");
        return CTL_USAGE;
    }
    if (!realpath(line->conf_path, path))
        snprintf(path, sizeof path, "%s", line->conf_path);
    return is_backup ? ctl_backup(path, conf, line->words[1].p)
                     : ctl_restore(conf, line->words[1].p);
}

static int import(const struct line *line, const struct conf *conf)
{
    if (line->n > 1 && str_eq(line->words[1], STR("passwd")))
        return ctl_import_passwd(conf, line->words + 2, line->n - 2, line->is_json);
    return ctl_import(conf, line->words + 1, line->n - 1, line->from_stdin);
}

int ctl_main(int argc, char **argv, int (*run_server)(const char *conf_path))
{
    struct line line = {0};
    if (ctl_is_sendmail(argc, argv))
        return ctl_sendmail(argc, argv);
    enum rc rc = read_line(argc, argv, &line);
    if (line.is_version) {
        printf("penfold %s\n", PENFOLD_VERSION);
        return CTL_DONE;
    }
    if (rc == RC_OK && line.n && str_eq(line.words[0], STR("help"))) {
        line.is_help = true;
        line.n = 0;
    }
    if (rc != RC_OK || (line.n == 0 && !line.is_help)) {
        fprintf(stderr, "penfold: %s; see penfold --help\n",
                rc == RC_SYNTAX  ? "-c: needs a value"
                : rc == RC_LIMIT ? "usage: too many words"
                                 : "usage: penfold COMMAND [-c FILE] ...");
        return CTL_USAGE;
    }
    if (line.n && !is_command(&line)) {
        fprintf(stderr, "penfold: %.*s: no such command; see penfold --help\n",
                STR_ARG(line.words[0]));
        return CTL_USAGE;
    }
    if (line.is_help) {
        print_usage(stdout, &line);
        return CTL_DONE;
    }
    if (str_eq(line.words[0], STR("init")))
        return ctl_init(argc, argv);
    if (str_eq(line.words[0], STR("serve")))
        return serve(&line, run_server);
    bool is_check = str_eq(line.words[0], STR("check"));
    bool is_setup =
        line.n > 1 && str_eq(line.words[0], STR("dkim")) && str_eq(line.words[1], STR("setup"));
    bool is_dns = str_eq(line.words[0], STR("dns"));
    bool is_migrate = str_eq(line.words[0], STR("migrate"));
    bool is_import = str_eq(line.words[0], STR("import"));
    bool is_export = str_eq(line.words[0], STR("export"));
    bool is_keep = str_eq(line.words[0], STR("backup")) || str_eq(line.words[0], STR("restore"));
    const struct admin_command *command = admin_find(line.words, line.n);
    if (!command && !is_check && !is_keep && !is_migrate && !is_setup && !is_dns && !is_import &&
        !is_export) {
        fprintf(stderr, "penfold: %.*s: a command is missing or unknown; see penfold %.*s --help\n",
                STR_ARG(line.words[0]), STR_ARG(line.words[0]));
        return CTL_USAGE;
    }
    char *path = is_check || is_migrate || is_import || is_export
                     ? realpath(line.conf_path, NULL)
                     : NULL; /* to be shown and read anywhere */
    struct conf *conf = ctl_conf(path ? path : line.conf_path);
    free(path);
    if (!conf)
        return CTL_FAILED;
    int status = is_check     ? ctl_check(conf, line.words + 1, line.n - 1, line.is_json)
                 : is_keep    ? keep(&line, conf)
                 : is_dns     ? ctl_dns(conf, line.words + 1, line.n - 1, line.is_json)
                 : is_setup   ? ctl_dkim_setup(conf, line.words, line.n)
                 : is_migrate ? ctl_migrate(conf, line.words + 1, line.n - 1)
                 : is_import  ? import(&line, conf)
                 : is_export  ? ctl_export(conf, line.words + 1, line.n - 1)
                              : run(&line, command, conf);
    conf_free(&conf);
    return status;
}
