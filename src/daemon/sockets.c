/* The supervisor's listening sockets: bound once, handed to each server that it starts. */
#include "daemon/daemon_int.h"

#include "ctl/ctl.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 4096 };

static const struct service_row {
    const char *name;
    size_t addresses; /* offset in struct conf; 0: none */
} rows[SERVICES] = {
    [SERVICE_SMTP] = {"smtp", offsetof(struct conf, listen.smtp)},
    [SERVICE_SUBMISSION] = {"submission", offsetof(struct conf, listen.submission)},
    [SERVICE_SUBMISSIONS] = {"submissions", offsetof(struct conf, listen.submissions)},
    [SERVICE_LMTP] = {"lmtp", offsetof(struct conf, listen.lmtp)},
    [SERVICE_SENDMAIL] = {"sendmail", offsetof(struct conf, listen.sendmail)},
    [SERVICE_POP3] = {"pop3", offsetof(struct conf, listen.pop3)},
    [SERVICE_POP3S] = {"pop3s", offsetof(struct conf, listen.pop3s)},
    [SERVICE_IMAP] = {"imap", offsetof(struct conf, listen.imap)},
    [SERVICE_IMAPS] = {"imaps", offsetof(struct conf, listen.imaps)},
    [SERVICE_ADMIN] = {"admin", offsetof(struct conf, listen.admin)},
    [SERVICE_CONTROL] = {"control", 0},
};

const char *service_name(enum service service)
{
    return rows[service].name;
}

bool service_find(struct str name, enum service *out)
{
    for (*out = 0; *out < SERVICES; (*out)++)
        if (str_eq(name, str_of(rows[*out].name)))
            return true;
    return false;
}

const struct conf_list *service_addresses(enum service service, const struct conf *conf)
{
    size_t at = rows[service].addresses;
    return at ? (const struct conf_list *)((const char *)conf + at) : NULL;
}

static struct socket *add(struct sockets *s, int fd, enum service service, const char *address)
{
    struct socket *item = &s->item[s->n++];
    item->fd = fd;
    item->service = service;
    item->file = 0;
    snprintf(item->address, sizeof item->address, "%s", address);
    return item;
}

static enum rc fail(int fd, const char *address, char why[256])
{
    int error = errno;
    snprintf(why, 256, "%s: %s", address, strerror(error));
    if (fd >= 0)
        close(fd);
    return rc_from_errno(error);
}

/* Removes what a server that is gone has left; never a file that is no socket, or one that somebody
 * listens on. */
static enum rc remove_stale(const struct sockaddr_un *at, char why[256])
{
    struct stat st;
    if (lstat(at->sun_path, &st) != 0)
        return errno == ENOENT ? RC_OK : fail(-1, at->sun_path, why);
    errno = EEXIST;
    if (!S_ISSOCK(st.st_mode))
        return fail(-1, at->sun_path, why);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return fail(fd, at->sun_path, why);
    bool is_dead =
        connect(fd, (const struct sockaddr *)at, sizeof *at) != 0 && errno == ECONNREFUSED;
    errno = EADDRINUSE;
    if (!is_dead)
        return fail(fd, at->sun_path, why);
    close(fd);
    return unlink(at->sun_path) == 0 ? RC_OK : fail(-1, at->sun_path, why);
}

/* Anybody on this machine may connect, as to a port of the loopback. The folder is made when its
 * parent is there, since /run is empty after a boot. */
static enum rc open_path(struct sockets *s, enum service service, const char *path, char why[256])
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    struct stat st;
    errno = ENAMETOOLONG;
    if (strlen(path) >= sizeof at.sun_path)
        return fail(-1, path, why);
    memcpy(at.sun_path, path, strlen(path));
    *strrchr(at.sun_path, '/') = '\0';
    mode_t before = umask(0022);
    if (at.sun_path[0])
        (void)mkdir(at.sun_path, 0755); /* that it is there is seen below */
    umask(0111);
    memcpy(at.sun_path, path, strlen(path));
    enum rc rc = remove_stale(&at, why);
    int fd = rc == RC_OK ? socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0) : -1;
    bool is_bound = fd >= 0 && bind(fd, (const struct sockaddr *)&at, sizeof at) == 0;
    umask(before);
    if (rc != RC_OK)
        return rc;
    if (!is_bound || listen(fd, BACKLOG) != 0 || lstat(path, &st) != 0)
        return fail(fd, path, why);
    add(s, fd, service, path)->file = st.st_ino;
    return RC_OK;
}

static enum rc open_one(struct sockets *s, enum service service, const char *address, char why[256])
{
    struct net_addr addr;
    int fd = -1;
    if (strchr(address, '/'))
        return open_path(s, service, address, why);
    if (net_addr_parse(str_of(address), &addr) != RC_OK) {
        snprintf(why, 256, "%s: expected an address and a port, such as 127.0.0.1:25 or [::]:25",
                 address);
        return RC_SYNTAX;
    }
    enum rc rc = net_bind(&addr, &fd);
    if (rc == RC_NOTFOUND)
        return RC_OK; /* a machine without IPv6 serves what it has */
    if (rc != RC_OK || listen(fd, BACKLOG) != 0)
        return fail(fd, address, why);
    add(s, fd, service, address);
    return RC_OK;
}

static enum rc open_control(struct sockets *s, uid_t owner, char why[256])
{
    struct sockaddr_un at = {.sun_family = AF_UNIX, .sun_path = CTL_SOCKET};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return fail(fd, CTL_SOCKET, why);
    unlink(CTL_SOCKET); /* of a supervisor that is gone: this one holds the folder's lock */
    mode_t before = umask(0177);
    int error = bind(fd, (const struct sockaddr *)&at, sizeof at);
    umask(before);
    if (error || (geteuid() == 0 && lchown(CTL_SOCKET, owner, (gid_t)-1) != 0) ||
        listen(fd, 64) != 0)
        return fail(fd, CTL_SOCKET, why);
    add(s, fd, SERVICE_CONTROL, CTL_SOCKET);
    return RC_OK;
}

const struct socket *sockets_find(const struct sockets *sockets, enum service service,
                                  const char *address)
{
    for (size_t i = 0; i < sockets->n; i++)
        if (sockets->item[i].service == service && strcmp(sockets->item[i].address, address) == 0)
            return &sockets->item[i];
    return NULL;
}

static enum rc open_all(const struct conf *conf, const struct sockets *now, struct sockets *out,
                        char why[256])
{
    enum rc rc = RC_OK;
    out->n = 0;
    for (enum service i = 0; i < SERVICE_CONTROL; i++) {
        const struct conf_list *addresses = service_addresses(i, conf);
        for (size_t k = 0; k < addresses->n && rc == RC_OK; k++) {
            const struct socket *same = sockets_find(now, i, addresses->item[k]);
            if (same)
                out->item[out->n++] = *same;
            else
                rc = open_one(out, i, addresses->item[k], why);
        }
    }
    return rc;
}

enum rc sockets_open(const struct conf *conf, uid_t owner, struct sockets *out, char why[256])
{
    const struct sockets none = {.n = 0};
    enum rc rc = open_all(conf, &none, out, why);
    if (rc == RC_OK)
        rc = open_control(out, owner, why);
    if (rc != RC_OK)
        sockets_close(out, NULL);
    return rc;
}

enum rc sockets_change(const struct conf *conf, const struct sockets *now, struct sockets *out,
                       char why[256])
{
    enum rc rc = open_all(conf, now, out, why);
    if (rc != RC_OK)
        sockets_close(out, now);
    else
        out->item[out->n++] = *sockets_find(now, SERVICE_CONTROL, CTL_SOCKET);
    return rc;
}

void sockets_close(struct sockets *sockets, const struct sockets *kept)
{
    struct stat st;
    for (size_t i = 0; i < sockets->n; i++) {
        const struct socket *item = &sockets->item[i];
        if (kept && sockets_find(kept, item->service, item->address))
            continue;
        if (item->file && lstat(item->address, &st) == 0 && st.st_ino == item->file)
            unlink(item->address);
        close(item->fd);
    }
    sockets->n = 0;
}
