/* The command line: finds the command, asks for a password where one is wanted, lets the running
 * server or this process carry it out, prints the answer. */
#include "ctl/ctl_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static const char usage_head[] =
    "usage: penfold COMMAND [-c FILE] [--json] ...\n\n"
    "  init DIR --domain NAME [--hostname H] [--port-base N] [--bind ADDR] [--user U]\n"
    "      makes a mail host in DIR\n"
    "  serve [-c FILE]\n"
    "      runs the server in the foreground\n"
    "  check [-c FILE] [--show]\n"
    "      says what is wrong with the configuration; --show prints what is in force\n";

static void print_usage(FILE *to)
{
    size_t n;
    const struct admin_command *commands = admin_commands(&n);
    fputs(usage_head, to);
    for (size_t i = 0; i < n; i++)
        fprintf(to, "  %s%s%s%s%s\n      %s\n", commands[i].object, commands[i].verb[0] ? " " : "",
                commands[i].verb, commands[i].usage[0] ? " " : "", commands[i].usage,
                commands[i].help);
    fputs("\nThe configuration is FILE, or $PENFOLD_CONF, or /etc/penfold/penfold.conf.\n"
          "Exit status: 0 done, 1 could not be done, 2 wrong usage.\n",
          to);
}

const char *ctl_conf_path(int argc, char **argv)
{
    for (int i = 1; i + 1 < argc; i++)
        if (strcmp(argv[i], "-c") == 0)
            return argv[i + 1];
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

/* --- a running server
 * -----------------------------------------------------------------------------------------------------
 */

/* The current folder is the data folder. RC_NOTFOUND: no server is listening. */
static enum rc connect_server(int *out_fd)
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
        ssize_t n = recv(fd, at, 64 << 10, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n == 0 ? RC_OK : rc_from_errno(errno);
        buf_commit(in, (size_t)n);
    }
}

static enum rc ask_server(int fd, const struct admin_request *request, struct admin_answer *answer)
{
    struct buf out, in;
    buf_init(&out, CTL_REQUEST_MAX + 4);
    buf_init(&in, CTL_ANSWER_MAX + (128 << 10));
    enum rc rc = ctl_request_pack(request, &out);
    if (rc == RC_OK)
        rc = send_all(fd, buf_str(&out));
    if (out.mem)
        explicit_bzero(out.mem, out.size);
    if (rc == RC_OK)
        rc = receive_all(fd, &in);
    if (rc == RC_OK)
        rc = ctl_answer_unpack(buf_str(&in), answer);
    buf_fini(&out);
    buf_fini(&in);
    return rc == RC_AGAIN ? RC_TEMP : rc; /* cut off: the server ended */
}

/* --- one command
 * -------------------------------------------------------------------------------------------------------------
 */

struct line {
    struct str words[ADMIN_WORDS];
    size_t n;
    bool is_json, from_stdin, is_help;
};

static enum rc read_line(int argc, char **argv, struct line *out)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "-c") == 0 && i + 1 < argc)
            i++;
        else if (strcmp(argv[i], "--json") == 0)
            out->is_json = true;
        else if (strcmp(argv[i], "--password-stdin") == 0)
            out->from_stdin = true;
        else if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            out->is_help = true;
        else if (out->n < ADMIN_WORDS)
            out->words[out->n++] = str_of(argv[i]);
        else
            return RC_LIMIT;
    }
    return RC_OK;
}

static enum rc carry_out(const struct conf *conf, const struct admin_request *request,
                         struct admin_answer *answer)
{
    int fd = -1;
    TRY(ctl_enter_data(conf));
    enum rc rc = connect_server(&fd);
    if (rc == RC_OK) {
        rc = ask_server(fd, request, answer);
        close(fd);
        if (rc != RC_OK)
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
        fprintf(stderr, "penfold: %s: cannot be opened: %s\n", conf->data, rc_name(rc));
    return rc;
}

static int tell(const struct line *line, struct admin_answer *answer)
{
    if (line->is_json)
        ctl_print_json(answer);
    else
        ctl_print_table(answer);
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
    if (command->wants_password) {
        if (ctl_read_password(line->from_stdin, password, sizeof password) != RC_OK)
            return CTL_FAILED;
        request.password = str_of(password);
        const char *weak = ctl_weak_password(request.password);
        if (weak)
            fprintf(stderr, "penfold: warning: this password is weak: %s\n", weak);
    }
    int status = carry_out(conf, &request, &answer) == RC_OK ? tell(line, &answer) : CTL_FAILED;
    explicit_bzero(password, sizeof password);
    admin_answer_fini(&answer);
    return status;
}

static int check(int argc, char **argv, const struct conf *conf)
{
    struct buf text;
    for (int i = 2; i < argc; i++) {
        if (strcmp(argv[i], "--show") != 0)
            continue;
        buf_init(&text, 1 << 20);
        conf_show(conf, &text);
        printf("%.*s", STR_ARG(buf_str(&text)));
        buf_fini(&text);
    }
    return CTL_DONE;
}

int ctl_main(int argc, char **argv)
{
    struct line line = {0};
    if (argc < 2 || read_line(argc, argv, &line) != RC_OK || (line.n == 0 && !line.is_help)) {
        print_usage(stderr);
        return CTL_USAGE;
    }
    if (line.is_help || str_eq(line.words[0], STR("help"))) {
        print_usage(stdout);
        return CTL_DONE;
    }
    if (str_eq(line.words[0], STR("init")))
        return ctl_init(argc, argv);
    bool is_check = str_eq(line.words[0], STR("check"));
    const struct admin_command *command = admin_find(line.words, line.n);
    if (!command && !is_check) {
        fprintf(stderr, "penfold: %.*s: no such command; see penfold --help\n",
                STR_ARG(line.words[0]));
        return CTL_USAGE;
    }
    struct conf *conf = ctl_conf(ctl_conf_path(argc, argv));
    if (!conf)
        return CTL_FAILED;
    int status = is_check ? check(argc, argv, conf) : run(&line, command, conf);
    conf_free(&conf);
    return status;
}
