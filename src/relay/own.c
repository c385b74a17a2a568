/* Which hosts are we ourselves: mail that went there would come back [RFC5321 5.1]. The port
 * counts, since another server may stand on the same machine. */
#include "relay/where_int.h"

#include <string.h>

enum { SMTP = 25 };

static bool is_any(const struct in6_addr *a)
{
    return IN6_IS_ADDR_UNSPECIFIED(a) ||
           (IN6_IS_ADDR_V4MAPPED(a) && memcmp(a->s6_addr + 12, "\0\0\0", 4) == 0);
}

static bool is_loopback(const struct in6_addr *a)
{
    return IN6_IS_ADDR_LOOPBACK(a) || (IN6_IS_ADDR_V4MAPPED(a) && a->s6_addr[12] == 127);
}

bool own_has(const struct relay_settings *s, const struct in6_addr *address, uint16_t port)
{
    for (size_t i = 0; i < s->n_own; i++) {
        const struct in6_addr *own = &s->own[i].sa.sin6_addr;
        if (ntohs(s->own[i].sa.sin6_port) != port)
            continue;
        if (memcmp(own, address, sizeof *own) == 0)
            return true;
        /* Listening on all addresses; nobody else can be at "any" either. */
        if (is_any(own) && (is_loopback(address) || is_any(address)))
            return true;
    }
    return false;
}

bool own_is(const struct relay_settings *s, struct str name, uint16_t port)
{
    if (s->hostname.n == 0 || !str_ieq(name, s->hostname))
        return false;
    for (size_t i = 0; i < s->n_own; i++)
        if (ntohs(s->own[i].sa.sin6_port) == port)
            return true;
    return port == SMTP;
}
