/* The supervisor's listening sockets: bound once, handed to each server that it starts. */
#include "daemon/daemon_int.h"

#include "ctl/ctl.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 4096 };

static const char *const names[] = {"smtp", "pop3", "pop3s", "control"};

const char *service_name(enum service service)
{
    return names[service];
}

static struct socket *add(struct sockets *s, int fd, enum service service, const char *address)
{
    struct socket *item = &s->item[s->n++];
    item->fd = fd;
    item->service = service;
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

/* net's addresses are IPv6 throughout; an IPv4 one is bound as what it is, so that both families
 * can have the same port. */
static int bind_address(const struct net_addr *addr, int fd)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = addr->sa.sin6_port};
    if (!IN6_IS_ADDR_V4MAPPED(&addr->sa.sin6_addr))
        return bind(fd, (const struct sockaddr *)&addr->sa, sizeof addr->sa);
    memcpy(&v4.sin_addr, addr->sa.sin6_addr.s6_addr + 12, 4);
    return bind(fd, (const struct sockaddr *)&v4, sizeof v4);
}

static enum rc open_one(struct sockets *s, enum service service, const char *address, char why[256])
{
    struct net_addr addr;
    int one = 1;
    if (net_addr_parse(str_of(address), &addr) != RC_OK) {
        snprintf(why, 256, "%s: expected an address and a port, such as 127.0.0.1:25 or [::]:25",
                 address);
        return RC_SYNTAX;
    }
    bool is_v4 = IN6_IS_ADDR_V4MAPPED(&addr.sa.sin6_addr);
    int fd = socket(is_v4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 && errno == EAFNOSUPPORT)
        return RC_OK; /* a machine without IPv6 serves what it has */
    if (fd < 0)
        return fail(fd, address, why);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (!is_v4)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
    int error = bind_address(&addr, fd);
    if (error && errno == EADDRNOTAVAIL && IN6_IS_ADDR_LOOPBACK(&addr.sa.sin6_addr)) {
        close(fd); /* IPv6 is there and switched off */
        return RC_OK;
    }
    if (error || listen(fd, BACKLOG) != 0)
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

enum rc sockets_open(const struct conf *conf, uid_t owner, struct sockets *out, char why[256])
{
    const struct {
        enum service service;
        const struct conf_list *addresses;
    } wanted[] = {
        {SERVICE_SMTP, &conf->listen.smtp},
        {SERVICE_POP3, &conf->listen.pop3},
        {SERVICE_POP3S, &conf->listen.pop3s},
    };
    enum rc rc = RC_OK;
    out->n = 0;
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        for (size_t k = 0; k < wanted[i].addresses->n && rc == RC_OK; k++)
            rc = open_one(out, wanted[i].service, wanted[i].addresses->item[k], why);
    if (rc == RC_OK)
        rc = open_control(out, owner, why);
    if (rc != RC_OK)
        sockets_close(out);
    return rc;
}

void sockets_close(struct sockets *sockets)
{
    for (size_t i = 0; i < sockets->n; i++)
        close(sockets->item[i].fd);
    sockets->n = 0;
}
