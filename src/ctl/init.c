/* `penfold init`: makes a mail host in a folder - configuration, certificate, data folder, first
 * domain.
 *
 * It stops at the first thing that is there already and never overwrites. The configuration is
 * written last but one, so that a host that was half made is not taken for a whole one; the domain,
 * which needs the configuration, comes last.
 */
#include "ctl/ctl_int.h"

#include "crypto/crypto.h"

#include <dirent.h>
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

enum {
    PATH_SIZE = 4096,
    CERTIFICATE_DAYS = 3650,
    NAMES = 6,
    PLAN_PATHS = 3,
    SOCKET_PATH_MAX = 100, /* of a Unix socket, with some room */
    DOMAIN_MAX = 240       /* "autoconfig." still fits in front */
};

struct plan {
    const char *dir, *domain, *hostname, *bind, *user;
    char bind_text[64], own_name[64];
    const char *engine, *ceph_conf, *ceph_user, *ceph_keyring, *pool, *body_pool, *name, *plugin;
    char *real[PLAN_PATHS]; /* whole paths of files that were named; the plan's */
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

/* The configuration may lie elsewhere than where init was called. */
static enum rc read_path(const char **path, char **real)
{
    if (!*path)
        return RC_OK;
    *real = realpath(*path, NULL);
    if (!*real)
        return fail(*path, strerror(errno));
    *path = *real;
    return RC_OK;
}

static enum rc read_store(struct plan *plan)
{
    const char *const texts[] = {plan->ceph_conf, plan->ceph_user, plan->ceph_keyring, plan->pool,
                                 plan->body_pool, plan->name,      plan->plugin};
    bool is_rados = plan->engine && strcmp(plan->engine, "rados") == 0;
    if (plan->engine && !is_rados && strcmp(plan->engine, "local") != 0)
        return fail(plan->engine, "expected local or rados for --store");
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        if (texts[i] && !is_rados)
            return fail(texts[i], "it is for a store on Ceph: --store rados");
        if (texts[i] && (!texts[i][0] || strpbrk(texts[i], "\"\\$\n")))
            return fail(texts[i], "not a name or path that the configuration can hold");
    }
    TRY(read_path(&plan->ceph_conf, &plan->real[0]));
    TRY(read_path(&plan->ceph_keyring, &plan->real[1]));
    return read_path(&plan->plugin, &plan->real[2]);
}

static enum rc read_options(int argc, char **argv, struct plan *plan)
{
    const char *port = NULL;
    const struct {
        const char *name;
        const char **value;
    } options[] = {
        {"--domain", &plan->domain},
        {"--hostname", &plan->hostname},
        {"--bind", &plan->bind},
        {"--user", &plan->user},
        {"--port-base", &port},
        {"--store", &plan->engine},
        {"--ceph-conf", &plan->ceph_conf},
        {"--ceph-user", &plan->ceph_user},
        {"--ceph-keyring", &plan->ceph_keyring},
        {"--pool", &plan->pool},
        {"--body-pool", &plan->body_pool},
        {"--store-name", &plan->name},
        {"--plugin", &plan->plugin},
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
    if (plan->hostname && !conf_is_hostname(plan->hostname))
        return fail(plan->hostname, "expected a host name for --hostname");
    if (strpbrk(plan->user, "\"\\$\n"))
        return fail(plan->user, "expected a user's name for --user");
    if (!conf_is_hostname(plan->domain) || strlen(plan->domain) > DOMAIN_MAX)
        return fail(plan->domain[0] ? plan->domain : "--domain", "expected a domain for --domain");
    return read_store(plan);
}

/* The address without port, as it stands in front of one: "127.0.0.1", "[::1]". */
static enum rc read_bind(struct plan *plan)
{
    struct net_addr unused;
    char with_port[sizeof plan->bind_text + 3];
    if (!plan->bind)
        return RC_OK;
    bool is_bare_v6 = strchr(plan->bind, ':') && plan->bind[0] != '[';
    int n =
        snprintf(plan->bind_text, sizeof plan->bind_text, is_bare_v6 ? "[%s]" : "%s", plan->bind);
    snprintf(with_port, sizeof with_port, "%s:1", plan->bind_text);
    if (n >= (int)sizeof plan->bind_text || net_addr_parse(str_of(with_port), &unused) != RC_OK)
        return fail(plan->bind, "expected an address such as 192.0.2.1 or ::1 for --bind");
    return RC_OK;
}

/* --- who the data belongs to ------------------------------------------------------------------ */

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
    if (error) /* su without - keeps a PATH that lacks it */
        error = posix_spawn(&pid, "/usr/sbin/useradd", NULL, NULL, argv, environ);
    while (error == 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (error || status != 0)
        return fail(name, "this system user does not exist and useradd could not make it; make it, "
                          "or use --user");
    return RC_OK;
}

static enum rc choose_user(struct plan *plan)
{
    plan->uid = geteuid();
    plan->gid = getegid();
    if (plan->uid != 0) {
        /* The configuration names the user that the data belongs to, whoever starts it later. */
        const struct passwd *self = getpwuid(plan->uid);
        if (!self)
            return RC_OK;
        snprintf(plan->own_name, sizeof plan->own_name, "%s", self->pw_name);
        plan->user = plan->own_name;
        return RC_OK;
    }
    if (!getpwnam(plan->user))
        TRY(make_user(plan->user));
    const struct passwd *user = getpwnam(plan->user);
    if (!user)
        return fail(plan->user, "there is no such user");
    plan->uid = user->pw_uid;
    plan->gid = user->pw_gid;
    return RC_OK;
}

/* --- files ------------------------------------------------------------------------------------ */

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

/* A folder's entries survive a power cut only when the folder itself has been synced. One that may
 * be passed and not read cannot be. */
static enum rc sync_folder(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool is_synced = fd >= 0 ? fsync(fd) == 0 : errno == EACCES;
    int error = errno;
    if (fd >= 0)
        close(fd);
    return is_synced ? RC_OK : fail(path, strerror(error));
}

static enum rc write_all(int fd, struct str text)
{
    while (text.n) {
        ssize_t n = write(fd, text.p, text.n);
        if (n < 0 && errno != EINTR)
            return rc_from_errno(errno);
        if (n > 0)
            text = str_skip(text, (size_t)n);
    }
    return fsync(fd) == 0 ? RC_OK : rc_from_errno(errno);
}

static enum rc write_file(const char *path, mode_t mode, struct str text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (fd < 0)
        return fail(path, errno == EEXIST ? "it exists already: this folder holds a mail host"
                                          : strerror(errno));
    enum rc rc = write_all(fd, text);
    int error = errno;
    close(fd);
    if (rc == RC_OK)
        return RC_OK;
    unlink(path);
    return fail(path, strerror(error));
}

static bool is_empty(const char *path)
{
    DIR *dir = opendir(path);
    size_t n = 0;
    while (dir && readdir(dir))
        n++;
    if (dir)
        closedir(dir);
    return n <= 2; /* itself and its parent */
}

static enum rc make_folders(const struct plan *plan)
{
    static const char *const files[] = {"penfold.conf", "tls/key.pem", "tls/certificate.pem",
                                        "dkim.key"};
    char path[PATH_SIZE];
    if (strlen(plan->dir) > PATH_SIZE - 64)
        return fail("init", "the folder's name is too long");
    TRY(make_folder(plan->dir, 0755));
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        if (access(path_of(plan, files[i], path), F_OK) == 0)
            return fail(path, "it exists already: this folder holds a mail host");
    if (!is_empty(path_of(plan, "data", path)))
        return fail(path, "it is not empty: this folder holds a mail host");
    TRY(make_folder(path_of(plan, "tls", path), 0755));
    TRY(make_folder(path_of(plan, "data", path), 0700));
    if (chmod(path, 0700) != 0 || (geteuid() == 0 && lchown(path, plan->uid, plan->gid) != 0))
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
        rc = fail("certificate", admin_sentence(rc));
    if (rc == RC_OK)
        rc = write_file(path_of(plan, "tls/key.pem", path), 0600, buf_str(&key));
    if (rc == RC_OK)
        rc = write_file(path_of(plan, "tls/certificate.pem", path), 0644, buf_str(&certificate));
    buf_fini(&certificate);
    buf_wipe(&key);
    return rc;
}

static void put_listener(const struct plan *plan, struct buf *b, const char *name, unsigned port)
{
    unsigned at = port + (unsigned)plan->port_base;
    buf_putf(b, "    %-11s = {", name);
    if (plan->bind)
        buf_putf(b, "\"%s:%u\"", plan->bind_text, at);
    else if (plan->has_port_base)
        buf_putf(b, "\"127.0.0.1:%u\", \"[::1]:%u\"", at, at);
    else
        buf_putf(b, "\"0.0.0.0:%u\", \"[::]:%u\"", at, at);
    buf_put(b, STR("}\n"));
}

/* A socket that users of this machine may connect to. */
static void put_sendmail(const struct plan *plan, struct buf *b)
{
    char path[PATH_SIZE];
    char *real = realpath(plan->dir, NULL);
    snprintf(path, sizeof path, "%s/sendmail", real ? real : plan->dir);
    free(real);
    if (!plan->has_port_base)
        snprintf(path, sizeof path, "%s", CTL_SENDMAIL);
    if (strlen(path) < SOCKET_PATH_MAX && !strpbrk(path, "\"\\$\n"))
        buf_putf(b, "    %-11s = {\"%s\"}\n", "sendmail", path);
}

/* Whoever can reach it hands in mail without a login, so it never listens beyond this machine. */
static void put_lmtp(const struct plan *plan, struct buf *b)
{
    unsigned at = 24 + (unsigned)plan->port_base;
    if (plan->has_port_base)
        buf_putf(b, "    %-11s = {\"127.0.0.1:%u\", \"[::1]:%u\"}\n", "lmtp", at, at);
    else
        buf_putf(b, "    %-11s = {\"/run/penfold/lmtp\"}\n", "lmtp");
}

/* Figures without a login: never beyond this machine by itself. */
static void put_admin(const struct plan *plan, struct buf *b)
{
    if (plan->has_port_base)
        buf_putf(b, "    %-11s = {\"127.0.0.1:%u\"}\n", "admin", 81 + (unsigned)plan->port_base);
    else
        buf_putf(b, "    %-11s = {\"127.0.0.1:8081\"}\n", "admin");
}

static void put_store(const struct plan *plan, struct buf *b)
{
    const struct {
        const char *key, *value;
    } keys[] = {{"ceph_conf", plan->ceph_conf},
                {"ceph_user", plan->ceph_user},
                {"ceph_keyring", plan->ceph_keyring},
                {"pool", plan->pool},
                {"body_pool", plan->body_pool},
                {"name", plan->name},
                {"plugin", plan->plugin}};
    if (!plan->engine)
        return;
    buf_putf(b, "store {\n    %-12s = \"%s\"\n", "engine", plan->engine);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (keys[i].value)
            buf_putf(b, "    %-12s = \"%s\"\n", keys[i].key, keys[i].value);
    if (strcmp(plan->engine, "rados") == 0) /* there is no disk of ours whose cache would do */
        buf_putf(b, "    %-12s = 256M\n", "memory");
    buf_put(b, STR("}\n\n"));
}

static enum rc write_conf(const struct plan *plan)
{
    char path[PATH_SIZE];
    struct buf b;
    buf_init(&b, 64 << 10);
    buf_putf(&b,
             "# Penfold's configuration. Every key has a default; penfold check --show prints what "
             "is in force.\n\n"
             "hostname = \"%s\"\ndata     = \"data\"\nuser     = \"%s\"\n\n",
             plan->hostname, plan->user);
    put_store(plan, &b);
    buf_putf(&b, "tls {\n    certificate = \"tls/certificate.pem\"\n    key         = "
                 "\"tls/key.pem\"\n}\n\nlisten {\n");
    put_listener(plan, &b, "smtp", 25);
    put_listener(plan, &b, "submission", 587);
    put_listener(plan, &b, "submissions", 465);
    put_lmtp(plan, &b);
    put_sendmail(plan, &b);
    put_listener(plan, &b, "pop3", 110);
    put_listener(plan, &b, "pop3s", 995);
    put_listener(plan, &b, "imap", 143);
    put_listener(plan, &b, "imaps", 993);
    put_admin(plan, &b);
    buf_put(&b, STR("}\n"));
    if (plan->has_port_base)
        buf_put(&b, STR("\n# For trying it out: passwords without TLS, from this machine only.\n"
                        "auth { plaintext = \"loopback\" }\n"));
    enum rc rc = b.over ? fail(plan->hostname, "too long")
                        : write_file(path_of(plan, "penfold.conf", path), 0644, buf_str(&b));
    buf_fini(&b);
    return rc;
}

/* All that was made: the files in the host's folder and tls/, and the host's folder in its parent.
 */
static enum rc sync_folders(const struct plan *plan)
{
    static const char *const names[] = {"tls", ".", ".."};
    char path[PATH_SIZE];
    enum rc rc = RC_OK;
    for (size_t i = 0; i < sizeof names / sizeof *names && rc == RC_OK; i++)
        rc = sync_folder(path_of(plan, names[i], path));
    return rc;
}

static enum rc ask(const struct conf *conf, const struct str *words, size_t n,
                   struct admin_answer *out)
{
    const struct admin_request request = {.words = words, .n_words = n};
    enum rc rc = ctl_offline(conf, &request, out);
    if (rc != RC_OK)
        return fail(conf->data, admin_sentence(rc));
    return out->rc == RC_OK ? RC_OK : fail("domain", out->error.p);
}

/* Pools of a cluster may hold what another host has under the same name. */
static enum rc check_new(const struct conf *conf)
{
    const struct str list[] = {STR("domain"), STR("list")};
    struct admin_answer answer = {0};
    enum rc rc = ask(conf, list, 2, &answer);
    if (rc == RC_OK && answer.n_cells)
        rc = fail(conf->store.name, "the pool holds a mail host of this name; --store-name gives "
                                    "another one");
    admin_answer_fini(&answer);
    return rc;
}

/* Before this process becomes the data's owner. */
static enum rc make_seal(const struct plan *plan, char hex[2 * CRYPTO_SEAL_KEY + 1])
{
    unsigned char public_half[CRYPTO_SEAL_KEY];
    char path[PATH_SIZE];
    if (ctl_seal_make(path_of(plan, "dkim.key", path), public_half) != RC_OK)
        return fail(path, strerror(errno));
    ctl_seal_text(public_half, hex);
    return RC_OK;
}

static enum rc add_domain(const struct plan *plan)
{
    char path[PATH_SIZE], hex[2 * CRYPTO_SEAL_KEY + 1];
    const struct str add[] = {STR("domain"), STR("add"), str_of(plan->domain)};
    struct admin_answer answer = {0}, sealed = {0};
    TRY(make_seal(plan, hex));
    const struct str seal[] = {STR("dkim-seal"), str_of(hex)};
    struct conf *conf = ctl_conf(path_of(plan, "penfold.conf", path));
    if (!conf)
        return RC_PERM;
    enum rc rc = ctl_enter_data(conf);
    if (rc == RC_OK)
        rc = check_new(conf);
    if (rc == RC_OK)
        rc = ask(conf, seal, 2, &sealed);
    if (rc == RC_OK)
        rc = ask(conf, add, 3, &answer);
    admin_answer_fini(&answer);
    admin_answer_fini(&sealed);
    conf_free(&conf);
    return rc;
}

static enum rc carry_out(struct plan *plan)
{
    TRY(choose_user(plan));
    TRY(make_folders(plan));
    TRY(make_certificate(plan));
    TRY(write_conf(plan));
    TRY(sync_folders(plan));
    return add_domain(plan);
}

int ctl_init(int argc, char **argv)
{
    char hostname[300];
    struct plan plan = {.user = "penfold"};
    int status = CTL_USAGE;
    if (read_options(argc, argv, &plan) == RC_OK && read_bind(&plan) == RC_OK) {
        snprintf(hostname, sizeof hostname, "mail.%s", plan.domain);
        if (!plan.hostname)
            plan.hostname = hostname;
        status = carry_out(&plan) == RC_OK ? CTL_DONE : CTL_FAILED;
    }
    for (size_t i = 0; i < PLAN_PATHS; i++)
        free(plan.real[i]);
    if (status != CTL_DONE)
        return status;
    printf("%s is ready for %s.\nNext: penfold account add NAME@%s -c %s/penfold.conf, then "
           "penfold serve -c %s/penfold.conf\n",
           plan.dir, plan.domain, plan.domain, plan.dir, plan.dir);
    return CTL_DONE;
}
