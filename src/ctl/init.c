/* `penfold init`: makes a mail host in a folder - configuration, certificate, data folder, first
 * domain.
 *
 * It stops at the first thing that is there already and never overwrites. The configuration is
 * written last but one, so that a host that was half made is not taken for a whole one; the domain,
 * which needs the configuration, comes last.
 */
#include "ctl/ctl_int.h"

#include "crypto/crypto.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { PATH_SIZE = 4096, CERTIFICATE_DAYS = 3650, NAMES = 6 };

struct plan {
    const char *dir, *domain, *hostname, *bind, *user;
    uint64_t port_base;
    bool has_port_base;
    uid_t uid;
    gid_t gid;
};

static enum rc fail(const char *what, const char *why)
{
    fprintf(stderr, "penfold: %s: %s\n", what, why);
    return RC_PERM;
}

static enum rc read_options(int argc, char **argv, struct plan *plan)
{
    const char *port = NULL;
    const struct {
        const char *name;
        const char **value;
    } options[] = {
        {"--domain", &plan->domain}, {"--hostname", &plan->hostname}, {"--bind", &plan->bind},
        {"--user", &plan->user},     {"--port-base", &port},
    };
    for (int i = 2; i < argc; i++) {
        size_t k = 0;
        while (k < sizeof options / sizeof *options && strcmp(argv[i], options[k].name) != 0)
            k++;
        if (k < sizeof options / sizeof *options && i + 1 < argc)
            *options[k].value = argv[++i];
        else if (argv[i][0] != '-' && !plan->dir)
            plan->dir = argv[i];
        else
            return fail(argv[i], "not understood; see penfold --help");
    }
    if (!plan->dir || !plan->domain)
        return fail("init", "a folder and --domain are needed; see penfold --help");
    plan->has_port_base = port != NULL;
    if (port && (str_to_u64(str_of(port), &plan->port_base) != RC_OK || plan->port_base > 60000))
        return fail(port, "expected a number up to 60000 for --port-base");
    return RC_OK;
}

/* --- who the data belongs to
 * ------------------------------------------------------------------------------------------------
 */

static enum rc make_user(const char *name)
{
    const char *const words[] = {"useradd",      "--system",
                                 "--user-group", "--no-create-home",
                                 "--home-dir",   "/nonexistent",
                                 "--shell",      "/usr/sbin/nologin",
                                 name,           NULL};
    char *argv[sizeof words /
               sizeof *words]; /* the type that posix_spawn wants; it changes none of them */
    memcpy(argv, words, sizeof words);
    pid_t pid;
    int status = 1;
    int error = posix_spawnp(&pid, "useradd", NULL, NULL, argv, environ);
    if (error == 0)
        waitpid(pid, &status, 0);
    if (error || status != 0)
        return fail(name, "this system user does not exist and useradd could not make it; make it, "
                          "or use --user");
    return RC_OK;
}

static enum rc choose_user(struct plan *plan)
{
    plan->uid = geteuid();
    plan->gid = getegid();
    if (plan->uid != 0)
        return RC_OK;
    if (!getpwnam(plan->user))
        TRY(make_user(plan->user));
    const struct passwd *user = getpwnam(plan->user);
    if (!user)
        return fail(plan->user, "there is no such user");
    plan->uid = user->pw_uid;
    plan->gid = user->pw_gid;
    return RC_OK;
}

/* --- files
 * ---------------------------------------------------------------------------------------------------------------------
 */

static const char *path_of(const struct plan *plan, const char *name, char to[PATH_SIZE])
{
    snprintf(to, PATH_SIZE, "%s/%s", plan->dir, name);
    return to;
}

static enum rc make_folder(const char *path, mode_t mode)
{
    if (mkdir(path, mode) == 0)
        return RC_OK;
    return errno == EEXIST ? RC_OK : fail(path, strerror(errno));
}

static enum rc write_file(const char *path, mode_t mode, struct str text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (fd < 0)
        return fail(path, errno == EEXIST ? "it exists already: this folder holds a mail host"
                                          : strerror(errno));
    bool ok = write(fd, text.p, text.n) == (ssize_t)text.n && fsync(fd) == 0;
    int error = errno;
    close(fd);
    return ok ? RC_OK : fail(path, strerror(error));
}

static enum rc make_folders(const struct plan *plan)
{
    char path[PATH_SIZE];
    TRY(make_folder(plan->dir, 0755));
    if (access(path_of(plan, "penfold.conf", path), F_OK) == 0)
        return fail(path, "it exists already: this folder holds a mail host");
    TRY(make_folder(path_of(plan, "tls", path), 0755));
    TRY(make_folder(path_of(plan, "data", path), 0700));
    if (geteuid() == 0 && chown(path, plan->uid, plan->gid) != 0)
        return fail(path, strerror(errno));
    return RC_OK;
}

/* For the host name and the names that clients try by themselves. */
static enum rc make_certificate(const struct plan *plan)
{
    static const char *const prefixes[NAMES - 1] = {"smtp.", "imap.", "pop3.", "mail.",
                                                    "autoconfig."};
    char text[NAMES][300], path[PATH_SIZE];
    struct str names[NAMES];
    size_t n = 0;
    snprintf(text[n], sizeof text[n], "%s", plan->hostname);
    names[n] = str_of(text[n]);
    n++;
    for (size_t i = 0; i < NAMES - 1; i++) {
        snprintf(text[n], sizeof text[n], "%s%s", prefixes[i], plan->domain);
        if (strcmp(text[n], plan->hostname) == 0)
            continue;
        names[n] = str_of(text[n]);
        n++;
    }
    struct buf certificate, key;
    buf_init(&certificate, 64 << 10);
    buf_init(&key, 64 << 10);
    enum rc rc = crypto_selfsign(names, n, CERTIFICATE_DAYS, &certificate, &key);
    if (rc != RC_OK)
        rc = fail("certificate", rc_name(rc));
    if (rc == RC_OK)
        rc = write_file(path_of(plan, "tls/key.pem", path), 0600, buf_str(&key));
    if (rc == RC_OK)
        rc = write_file(path_of(plan, "tls/certificate.pem", path), 0644, buf_str(&certificate));
    if (key.mem)
        explicit_bzero(key.mem, key.size);
    buf_fini(&certificate);
    buf_fini(&key);
    return rc;
}

static void put_listener(const struct plan *plan, struct buf *b, const char *name, unsigned port)
{
    unsigned at = port + (unsigned)plan->port_base;
    const char *v6 = plan->bind && strchr(plan->bind, ':') ? "]" : "";
    buf_putf(b, "    %-6s = {", name);
    if (plan->bind)
        buf_putf(b, "\"%s%s%s:%u\"", *v6 ? "[" : "", plan->bind, v6, at);
    else if (plan->has_port_base)
        buf_putf(b, "\"127.0.0.1:%u\", \"[::1]:%u\"", at, at);
    else
        buf_putf(b, "\"0.0.0.0:%u\", \"[::]:%u\"", at, at);
    buf_put(b, STR("}\n"));
}

static enum rc write_conf(const struct plan *plan)
{
    char path[PATH_SIZE];
    struct buf b;
    buf_init(&b, 64 << 10);
    buf_putf(&b,
             "# Penfold's configuration. Every key has a default; penfold check --show prints what "
             "is in force.\n\n"
             "hostname = \"%s\"\ndata     = \"data\"\nuser     = \"%s\"\n\n"
             "tls {\n    certificate = \"tls/certificate.pem\"\n    key         = "
             "\"tls/key.pem\"\n}\n\nlisten {\n",
             plan->hostname, plan->user);
    put_listener(plan, &b, "smtp", 25);
    put_listener(plan, &b, "pop3", 110);
    put_listener(plan, &b, "pop3s", 995);
    buf_put(&b, STR("}\n"));
    if (plan->has_port_base)
        buf_put(&b, STR("\n# For trying it out: passwords without TLS, from this machine only.\n"
                        "auth { plaintext = \"loopback\" }\n"));
    enum rc rc = b.over ? fail(plan->hostname, "too long")
                        : write_file(path_of(plan, "penfold.conf", path), 0644, buf_str(&b));
    buf_fini(&b);
    return rc;
}

static enum rc add_domain(const struct plan *plan)
{
    char path[PATH_SIZE];
    const struct str words[] = {STR("domain"), STR("add"), str_of(plan->domain)};
    struct admin_request request = {.words = words, .n_words = 3};
    struct admin_answer answer = {0};
    struct conf *conf = ctl_conf(path_of(plan, "penfold.conf", path));
    if (!conf)
        return RC_PERM;
    enum rc rc = ctl_enter_data(conf);
    if (rc == RC_OK) {
        rc = ctl_offline(conf, &request, &answer);
        if (rc != RC_OK)
            rc = fail(conf->data, rc_name(rc));
    }
    if (rc == RC_OK && answer.rc != RC_OK)
        rc = fail("domain", answer.error.p);
    admin_answer_fini(&answer);
    conf_free(&conf);
    return rc;
}

int ctl_init(int argc, char **argv)
{
    char hostname[300];
    struct plan plan = {.user = "penfold"};
    if (read_options(argc, argv, &plan) != RC_OK)
        return CTL_USAGE;
    if (!plan.hostname) {
        snprintf(hostname, sizeof hostname, "mail.%s", plan.domain);
        plan.hostname = hostname;
    }
    enum rc rc = choose_user(&plan);
    if (rc == RC_OK)
        rc = make_folders(&plan);
    if (rc == RC_OK)
        rc = make_certificate(&plan);
    if (rc == RC_OK)
        rc = write_conf(&plan);
    if (rc == RC_OK)
        rc = add_domain(&plan);
    if (rc != RC_OK)
        return CTL_FAILED;
    printf("%s is ready for %s.\nNext: penfold account add NAME@%s -c %s/penfold.conf, then "
           "penfold serve -c %s/penfold.conf\n",
           plan.dir, plan.domain, plan.domain, plan.dir, plan.dir);
    return CTL_DONE;
}
