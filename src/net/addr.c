/* Addresses: one form for IPv4 and IPv6, texts, CIDR blocks. IPv4 is always ::ffff:a.b.c.d. */
#include "net/net_int.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

_Static_assert((int)NET_IP_TEXT >= INET6_ADDRSTRLEN, "an address fits");

void net_ip_text(const struct in6_addr *ip, char out[NET_IP_TEXT])
{
    if (IN6_IS_ADDR_V4MAPPED(ip))
        inet_ntop(AF_INET, ip->s6_addr + 12, out, NET_IP_TEXT);
    else
        inet_ntop(AF_INET6, ip, out, NET_IP_TEXT);
}

void addr_text(const struct net_addr *a, char out[PEER_TEXT])
{
    if (a->sa.sin6_family != AF_INET6)
        memcpy(out, "local", 6);
    else
        net_ip_text(&a->sa.sin6_addr, out);
}

/* A bare address of either kind; *out_is_v4 tells which it was written as. */
static enum rc parse_ip(struct str text, struct in6_addr *out, bool *out_is_v4)
{
    char copy[INET6_ADDRSTRLEN];
    struct in_addr v4;
    if (text.n == 0 || text.n >= sizeof copy || memchr(text.p, 0, text.n))
        return RC_SYNTAX;
    memcpy(copy, text.p, text.n);
    copy[text.n] = 0;
    *out_is_v4 = inet_pton(AF_INET, copy, &v4) == 1;
    if (*out_is_v4) {
        *out = (struct in6_addr){.s6_addr = {[10] = 0xff, [11] = 0xff}};
        memcpy(out->s6_addr + 12, &v4, 4);
        return RC_OK;
    }
    return inet_pton(AF_INET6, copy, out) == 1 ? RC_OK : RC_SYNTAX;
}

static bool has_prefix(const struct in6_addr *a, const struct in6_addr *b, unsigned bits)
{
    if (memcmp(a, b, bits / 8) != 0)
        return false;
    if (bits % 8 == 0)
        return true;
    unsigned mask = 0xffu << (8 - bits % 8) & 0xffu;
    return ((a->s6_addr[bits / 8] ^ b->s6_addr[bits / 8]) & mask) == 0;
}

enum rc net_cidr_parse(struct str text, struct net_cidr *out)
{
    struct str rest = text, ip;
    bool is_v4;
    uint64_t bits;
    if (!str_cut(&rest, '/', &ip))
        return RC_SYNTAX;
    TRY(parse_ip(ip, &out->net, &is_v4));
    if (str_is_null(rest))
        bits = is_v4 ? 32 : 128;
    else if (str_to_u64(rest, &bits) != RC_OK)
        return RC_SYNTAX;
    if (bits > (is_v4 ? 32 : 128))
        return RC_SYNTAX;
    out->bits = (unsigned)bits + (is_v4 ? 96 : 0);
    return RC_OK;
}

bool net_cidr_has(const struct net_cidr *cidr, const struct net_addr *addr)
{
    return addr->sa.sin6_family == AF_INET6 &&
           has_prefix(&cidr->net, &addr->sa.sin6_addr, cidr->bits);
}

enum rc net_ip_parse(struct str text, uint16_t port, struct net_addr *out)
{
    bool is_v4;
    *out = (struct net_addr){.sa.sin6_family = AF_INET6};
    out->sa.sin6_port = htons(port);
    return parse_ip(text, &out->sa.sin6_addr, &is_v4);
}

enum rc net_addr_parse(struct str text, struct net_addr *out)
{
    bool is_v4;
    uint64_t port;
    ptrdiff_t colon = str_rfind_byte(text, ':');
    if (colon < 0)
        return RC_SYNTAX;
    struct str ip = str_head(text, (size_t)colon);
    bool has_brackets = ip.n > 2 && ip.p[0] == '[' && ip.p[ip.n - 1] == ']';
    if (has_brackets)
        ip = str_sub(ip, 1, ip.n - 2);
    *out = (struct net_addr){.sa.sin6_family = AF_INET6};
    TRY(parse_ip(ip, &out->sa.sin6_addr, &is_v4));
    if (is_v4 == has_brackets)
        return RC_SYNTAX; /* "::1:25" could be read in two ways */
    if (str_to_u64(str_skip(text, (size_t)colon + 1), &port) != RC_OK || port > UINT16_MAX)
        return RC_SYNTAX;
    out->sa.sin6_port = htons((uint16_t)port);
    return RC_OK;
}

bool net_is_loopback(const struct net_addr *a)
{
    const struct in6_addr *ip = &a->sa.sin6_addr;
    if (a->sa.sin6_family != AF_INET6)
        return true;
    return IN6_IS_ADDR_LOOPBACK(ip) || (IN6_IS_ADDR_V4MAPPED(ip) && ip->s6_addr[12] == 127);
}

static enum rc bind_to(const struct net_addr *addr, bool is_v4, int fd)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = addr->sa.sin6_port};
    const int one = 1;
    int error;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (is_v4) {
        memcpy(&v4.sin_addr, addr->sa.sin6_addr.s6_addr + 12, 4);
        error = bind(fd, (const struct sockaddr *)&v4, sizeof v4);
    } else {
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
        error = bind(fd, (const struct sockaddr *)&addr->sa, sizeof addr->sa);
    }
    if (error && errno == EADDRNOTAVAIL && IN6_IS_ADDR_LOOPBACK(&addr->sa.sin6_addr))
        return RC_NOTFOUND; /* IPv6 is there and switched off */
    return error ? rc_from_errno(errno) : RC_OK;
}

enum rc net_bind(const struct net_addr *addr, int *out_fd)
{
    bool is_v4 = IN6_IS_ADDR_V4MAPPED(&addr->sa.sin6_addr);
    int fd = socket(is_v4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    *out_fd = fd;
    if (fd < 0)
        return errno == EAFNOSUPPORT ? RC_NOTFOUND : rc_from_errno(errno);
    enum rc rc = bind_to(addr, is_v4, fd);
    int error = errno;
    if (rc != RC_OK) {
        close(fd);
        *out_fd = -1;
    }
    errno = error;
    return rc == RC_NOTFOUND && error != EADDRNOTAVAIL ? RC_PERM : rc;
}
