/* Addresses of the issuer's documents [RFC3986]: no more of the grammar than is needed to know whom
 * to ask, and in which port. Pure. */
#include "token/token_int.h"

#include <string.h>

enum { HTTPS_PORT = 443, HTTP_PORT = 80 };

static bool is_good_text(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] <= ' ' || s.p[i] > '~' || strchr("\"<>\\^`{|}@#", s.p[i]))
            return false;
    return s.n > 0 && s.n <= URL_MAX;
}

/* "host", "host:port", "[v6]:port" [RFC3986 3.2] */
static enum rc split(struct str authority, struct str *out_host, struct str *out_port)
{
    ptrdiff_t at;
    if (str_starts(authority, STR("["))) {
        at = str_find_byte(authority, ']');
        if (at < 0)
            return RC_SYNTAX;
        *out_host = str_sub(authority, 1, (size_t)at - 1);
        *out_port = str_skip(authority, (size_t)at + 1);
    } else {
        at = str_find_byte(authority, ':');
        *out_host = at < 0 ? authority : str_head(authority, (size_t)at);
        *out_port = at < 0 ? STR("") : str_skip(authority, (size_t)at);
    }
    if (!out_port->n)
        return RC_OK;
    if (out_port->p[0] != ':')
        return RC_SYNTAX;
    *out_port = str_skip(*out_port, 1);
    return out_port->n ? RC_OK : RC_SYNTAX;
}

static enum rc take_host(struct str host, struct url *out, struct net_addr *addr)
{
    if (!host.n || host.n > DNS_NAME_MAX)
        return RC_SYNTAX;
    for (size_t i = 0; i < host.n; i++)
        out->host[i] = ascii_lower(host.p[i]);
    out->host[host.n] = '\0';
    out->is_address = net_ip_parse(host, 0, addr) == RC_OK;
    return out->is_address || dns_is_host(str_of(out->host)) ? RC_OK : RC_SYNTAX;
}

enum rc url_parse(struct str text, struct url *out)
{
    struct str host, port, rest = text;
    struct net_addr addr;
    uint64_t number;
    *out = (struct url){.port = HTTPS_PORT};
    if (!is_good_text(text))
        return RC_SYNTAX;
    if (str_istarts(text, STR("https://"))) {
        rest = str_skip(text, 8);
    } else if (str_istarts(text, STR("http://"))) {
        rest = str_skip(text, 7);
        out->is_plain = true;
        out->port = HTTP_PORT;
    } else {
        return RC_SYNTAX;
    }
    size_t n = 0;
    while (n < rest.n && rest.p[n] != '/' && rest.p[n] != '?')
        n++;
    TRY(split(str_head(rest, n), &host, &port));
    TRY(take_host(host, out, &addr));
    if (port.n) {
        if (str_to_u64(port, &number) != RC_OK || !number || number > UINT16_MAX)
            return RC_SYNTAX;
        out->port = (uint16_t)number;
    }
    if (out->is_plain && !(out->is_address && net_is_loopback(&addr)))
        return RC_SYNTAX;
    memcpy(out->text, text.p, text.n);
    return RC_OK;
}
