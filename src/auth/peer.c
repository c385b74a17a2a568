/* Where a login comes from: the address that a protocol gives as text, and the networks around it.
 * A Unix socket has none: its peer is a process of this machine. */
#include "auth/auth_int.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

enum { V4_OFFSET = 96 }; /* of IPv4 in ::ffff:a.b.c.d */

void auth_peer_parse(struct str text, struct peer *out)
{
    char copy[INET6_ADDRSTRLEN] = {0};
    struct in6_addr *a = &out->addr.sa.sin6_addr;
    *out = (struct peer){.addr.sa.sin6_family = AF_INET6};
    if (text.n && text.n < sizeof copy)
        memcpy(copy, text.p, text.n);
    out->is_network = inet_pton(AF_INET6, copy, a) == 1;
    if (out->is_network || inet_pton(AF_INET, copy, a->s6_addr + 12) != 1)
        return;
    a->s6_addr[10] = a->s6_addr[11] = 0xff;
    out->is_network = true;
}

struct net_cidr auth_peer_net(const struct peer *peer, enum reach reach)
{
    static const struct {
        unsigned v4, v6;
    } bits[] = {[REACH_ADDRESS] = {32, 64}, [REACH_NETWORK] = {24, 48}};
    struct net_cidr net;
    memset(&net, 0, sizeof net); /* its bytes are a key */
    const struct in6_addr *a = &peer->addr.sa.sin6_addr;
    net.bits = IN6_IS_ADDR_V4MAPPED(a) ? V4_OFFSET + bits[reach].v4 : bits[reach].v6;
    memcpy(net.net.s6_addr, a->s6_addr, net.bits / 8);
    return net;
}

struct str auth_net_text(const struct net_cidr *net, char out[AUTH_NET_TEXT])
{
    bool is_v4 = net->bits >= V4_OFFSET && IN6_IS_ADDR_V4MAPPED(&net->net);
    char text[INET6_ADDRSTRLEN] = "";
    unsigned bits = is_v4 ? net->bits - V4_OFFSET : net->bits, whole = is_v4 ? 32 : 128;
    inet_ntop(is_v4 ? AF_INET : AF_INET6, net->net.s6_addr + (is_v4 ? 12 : 0), text, sizeof text);
    if (bits == whole)
        snprintf(out, AUTH_NET_TEXT, "%s", text);
    else
        snprintf(out, AUTH_NET_TEXT, "%s/%u", text, bits);
    return str_of(out);
}

bool auth_nets_overlap(const struct net_cidr *a, const struct net_cidr *b)
{
    const struct net_cidr *wide = a->bits < b->bits ? a : b, *narrow = wide == a ? b : a;
    struct net_addr addr = {.sa = {.sin6_family = AF_INET6, .sin6_addr = narrow->net}};
    return net_cidr_has(wide, &addr);
}
