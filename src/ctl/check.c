/* `penfold check`: what the configuration points to.
 *
 * What the file says has been checked when it was loaded. Here everything that it names is looked
 * at, and all that is wrong is told, each with the file and line that name it; nothing is changed.
 */
#include "ctl/ctl_int.h"

#include "crypto/crypto.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { PEM_MAX = 1 << 20, SOON_DAYS = 14, DAY_S = 86400 };

struct check {
    const struct conf *conf;
    size_t faults;
    bool is_served; /* by a running server, to which addresses in use may belong */
};

/* `member` is the key that names it. */
__attribute__((format(printf, 3, 4))) static void fault(struct check *k, const void *member,
                                                        const char *format, ...)
{
    char where[CONF_WHERE];
    va_list ap;
    fprintf(stderr, "penfold: %s: ", conf_where(k->conf, member, where));
    va_start(ap, format);
    vfprintf(stderr, format, ap);
    va_end(ap);
    fputc('\n', stderr);
    k->faults++;
}

static void check_is_private(struct check *k, const void *member, const char *path)
{
    struct stat st;
    if (stat(path, &st) == 0 && st.st_mode & (S_IRWXG | S_IRWXO) & ~S_IRGRP)
        fault(k, member, "%s: others than its owner may use it: chmod 600", path);
}

/* --- certificate and key ---------------------------------------------------------------------- */

static bool read_pem(struct check *k, const void *member, const char *path, struct buf *out)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : 0;
    buf_init(out, PEM_MAX);
    for (char *at; fd >= 0 && (at = buf_reserve(out, 4096)) && (n = read(fd, at, 4096)) > 0;)
        buf_commit(out, (size_t)n);
    if (n != 0)
        fault(k, member, "%s: %s", path, n > 0 ? "too long" : strerror(errno));
    if (fd >= 0)
        close(fd);
    return n == 0;
}

static void check_certificate(struct check *k, struct str pem)
{
    struct crypto_certificate c;
    const struct conf *conf = k->conf;
    const void *member = &conf->tls.certificate;
    const char *path = conf->tls.certificate;
    int64_t now = (int64_t)(clock_wall(&clock_system) / NS_PER_SEC);
    if (crypto_certificate_look(pem, conf->hostname, &c) != RC_OK) {
        fault(k, member, "%s: not a certificate in PEM", path);
        return;
    }
    if (now < c.not_before)
        fault(k, member, "%s: not valid yet", path);
    if (now >= c.not_after)
        fault(k, member, "%s: it has expired", path);
    else if (now + SOON_DAYS * (int64_t)DAY_S >= c.not_after)
        fprintf(stderr, "penfold: warning: %s: it expires in %d days\n", path,
                (int)((c.not_after - now) / DAY_S));
    if (!c.is_for_host)
        fault(k, member, "%s: it is not for the host name %s", path, conf->hostname);
}

static void check_tls(struct check *k)
{
    const struct conf *conf = k->conf;
    struct crypto_signer *signer = NULL;
    struct buf chain, key;
    if (!conf->tls.certificate[0])
        return;
    bool has_chain = read_pem(k, &conf->tls.certificate, conf->tls.certificate, &chain);
    bool has_key = read_pem(k, &conf->tls.key, conf->tls.key, &key);
    if (has_chain)
        check_certificate(k, buf_str(&chain));
    if (has_key && crypto_signer_new(buf_str(&key), &signer) != RC_OK)
        fault(k, &conf->tls.key, "%s: not a private key", conf->tls.key);
    else if (has_key && has_chain && !crypto_signer_fits(signer, buf_str(&chain)))
        fault(k, &conf->tls.key, "%s: not the key of the certificate", conf->tls.key);
    if (has_key)
        check_is_private(k, &conf->tls.key, conf->tls.key);
    crypto_signer_free(&signer);
    buf_fini(&chain);
    buf_wipe(&key);
}

/* --- what the relay reads --------------------------------------------------------------------- */

static void check_authorities(struct check *k)
{
    const char *path = k->conf->tls.ca_file;
    struct crypto_certificate c;
    struct buf pem;
    if (!path[0])
        return;
    if (read_pem(k, &k->conf->tls.ca_file, path, &pem) &&
        crypto_certificate_look(buf_str(&pem), k->conf->hostname, &c) != RC_OK)
        fault(k, &k->conf->tls.ca_file, "%s: no certificate in PEM", path);
    buf_fini(&pem);
}

/* Without the file mail goes out all the same, unsigned: so it is no fault that it is not there. */
static void check_seal(struct check *k)
{
    const char *path = k->conf->dkim.key;
    unsigned char secret[CRYPTO_SEAL_KEY];
    enum rc rc = ctl_seal_read(path, secret);
    crypto_wipe(secret, sizeof secret);
    if (rc == RC_NOTFOUND)
        fprintf(stderr,
                "penfold: warning: %s: not there, so mail is not signed: run penfold dkim "
                "setup\n",
                path);
    else if (rc == RC_SYNTAX)
        fault(k, &k->conf->dkim.key, "%s: not a file that penfold dkim setup has made", path);
    else if (rc != RC_OK)
        fault(k, &k->conf->dkim.key, "%s: %s", path, strerror(errno));
    else
        check_is_private(k, &k->conf->dkim.key, path);
}

static void check_relay(struct check *k)
{
    const struct conf *c = k->conf;
    const char *anchor = c->dns.trust_anchor;
    if (anchor[0] && strcmp(anchor, "none") != 0 && access(anchor, R_OK) != 0)
        fault(k, &c->dns.trust_anchor, "%s: %s", anchor, strerror(errno));
    for (size_t i = 0; i < c->relay.n_routes; i++) {
        const struct conf_route *r = &c->relay.routes[i];
        if (r->password_file[0] && access(r->password_file, R_OK) != 0)
            fault(k, r, "route \"%s\": %s: %s", r->domain, r->password_file, strerror(errno));
        else if (r->password_file[0])
            check_is_private(k, r, r->password_file);
    }
    for (size_t i = 0; i < c->sendmail.trusted.n; i++)
        if (!getpwnam(c->sendmail.trusted.item[i]))
            fault(k, &c->sendmail.trusted, "trusted = \"%s\": there is no such user",
                  c->sendmail.trusted.item[i]);
    check_authorities(k);
    check_seal(k);
}

/* --- data folder and user --------------------------------------------------------------------- */

static void check_data(struct check *k)
{
    const struct conf *conf = k->conf;
    const struct passwd *user = geteuid() == 0 ? getpwnam(conf->user) : NULL;
    uid_t owner = user ? user->pw_uid : geteuid();
    struct stat st;
    if (geteuid() == 0 && !user)
        fault(k, &conf->user, "user \"%s\": there is no such user", conf->user);
    if (stat(conf->data, &st) != 0) {
        fault(k, &conf->data, "%s: %s", conf->data, strerror(errno));
        return;
    }
    if (!S_ISDIR(st.st_mode))
        fault(k, &conf->data, "%s: not a folder", conf->data);
    else if (st.st_mode & (S_IRWXG | S_IRWXO))
        fault(k, &conf->data, "%s: others than its owner may look into it: chmod 700", conf->data);
    if (st.st_uid != owner && (user || geteuid() != 0))
        fault(k, &conf->data, "%s: it belongs to uid %u and not to %s", conf->data,
              (unsigned)st.st_uid, user ? conf->user : "you");
}

static void check_store(struct check *k)
{
    const struct conf *conf = k->conf;
    char *const *const files[] = {&conf->store.ceph_conf, &conf->store.ceph_keyring,
                                  &conf->store.plugin};
    if (strcmp(conf->store.engine, "rados") != 0)
        return;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        if ((*files[i])[0] && access(*files[i], R_OK) != 0)
            fault(k, files[i], "%s: %s", *files[i], strerror(errno));
}

static bool is_served(const struct conf *conf)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    int n = snprintf(to.sun_path, sizeof to.sun_path, "%s/%s", conf->data, CTL_SOCKET);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool is_there = fd >= 0 && n < (int)sizeof to.sun_path &&
                    connect(fd, (struct sockaddr *)&to, sizeof to) == 0;
    if (fd >= 0)
        close(fd);
    return is_there;
}

/* --- addresses -------------------------------------------------------------------------------- */

static void check_path(struct check *k, const struct conf_list *list, const char *path)
{
    char folder[512];
    struct stat st;
    const char *slash = strrchr(path, '/');
    if (strlen(path) >= sizeof((struct sockaddr_un *)0)->sun_path || !slash)
        fault(k, list, "%s: too long for a socket", path);
    else if (stat(path, &st) == 0 && !S_ISSOCK(st.st_mode))
        fault(k, list, "%s: it is there and is no socket", path);
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - path) : 0, path);
    char *parent = strrchr(folder, '/'); /* serve makes the folder itself when there is a parent */
    if (parent && parent != folder && stat(folder, &st) != 0) {
        *parent = '\0';
        if (stat(folder, &st) != 0)
            fault(k, list, "%s: %s: %s", path, folder, strerror(errno));
    }
}

static void check_address(struct check *k, const struct conf_list *list, const char *address)
{
    struct net_addr addr;
    int fd;
    if (strchr(address, '/')) {
        check_path(k, list, address);
        return;
    }
    enum rc rc = net_addr_parse(str_of(address), &addr);
    if (rc == RC_OK)
        rc = net_bind(&addr, &fd);
    if (rc == RC_OK)
        close(fd);
    else if (rc != RC_NOTFOUND && !(errno == EADDRINUSE && k->is_served))
        fault(k, list, "%s: %s", address, strerror(errno));
}

static void check_listeners(struct check *k)
{
    const struct conf *c = k->conf;
    const struct conf_list *const lists[] = {
        &c->listen.smtp,     &c->listen.submission, &c->listen.submissions, &c->listen.lmtp,
        &c->listen.sendmail, &c->listen.pop3,       &c->listen.pop3s,       &c->listen.imap,
        &c->listen.imaps,    &c->listen.admin};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        for (size_t n = 0; n < lists[i]->n; n++)
            check_address(k, lists[i], lists[i]->item[n]);
}

int ctl_check(const struct conf *conf, const struct str *words, size_t n, bool is_json)
{
    struct check k = {.conf = conf, .is_served = is_served(conf)};
    bool shows = false, asks = false;
    for (size_t i = 0; i < n; i++) {
        shows |= str_eq(words[i], STR("--show"));
        asks |= str_eq(words[i], STR("--dns"));
        if (str_eq(words[i], STR("--show")) || str_eq(words[i], STR("--dns")))
            continue;
        fprintf(stderr, "penfold: check: %.*s: not understood; see penfold check --help\n",
                STR_ARG(words[i]));
        return CTL_USAGE;
    }
    if (shows) {
        struct buf text;
        buf_init(&text, PEM_MAX);
        conf_show(conf, &text);
        printf("%.*s", STR_ARG(buf_str(&text)));
        buf_fini(&text);
    }
    check_tls(&k);
    check_relay(&k);
    check_data(&k);
    check_store(&k);
    check_listeners(&k);
    /* Last, since it may become the data's owner. */
    int status = asks ? ctl_published(conf, is_json) : CTL_DONE;
    return k.faults ? CTL_FAILED : status;
}
