/* The header of the PROXY protocol, version 2, that a balancer puts before all that a client sends
 * (HAProxy's proxy-protocol.txt, section 2.2): who the client is. Pure functions over its bytes.
 *
 * Its beginning tells its length, so that not a byte behind it is read. Version 1, which is a line,
 * is refused: its end has to be looked for, and every balancer knows version 2 [decision 0200]. */
#include "net/net_int.h"

#include "base/bytes.h"

#include <string.h>

enum {
    SIGNATURE = 12,
    LOCAL = 0x20, /* version 2 and the command */
    PROXY = 0x21,
    TCP4 = 0x11,
    TCP6 = 0x21,
    IP4_SIZE = 12,
    IP6_SIZE = 36,
    TLV_CRC32C = 0x03,
    TLV_SSL = 0x20,
    TLV_SSL_VERSION = 0x21,
    TLV_SSL_CIPHER = 0x23,
    SSL_HEAD = 5, /* what was in use, in a byte; what came of the client's certificate */
    SSL_IN_USE = 0x01
};

static const unsigned char signature[SIGNATURE] = {0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d,
                                                   0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a};

enum rc proxy_size(struct str in, size_t *out_n)
{
    size_t n = in.n < SIGNATURE ? in.n : SIGNATURE;
    *out_n = PROXY_HEAD;
    if (n && memcmp(in.p, signature, n) != 0)
        return RC_SYNTAX;
    if (in.n > SIGNATURE && (unsigned char)in.p[12] != LOCAL && (unsigned char)in.p[12] != PROXY)
        return RC_SYNTAX;
    if (in.n < PROXY_HEAD)
        return RC_AGAIN;
    *out_n += get_u16(in.p + 14);
    if (*out_n > PROXY_MAX)
        return RC_LIMIT;
    return in.n < *out_n ? RC_AGAIN : RC_OK;
}

/* --- addresses -------------------------------------------------------------------------------- */

static struct net_addr ip4_of(const char *ip, const char *port)
{
    struct net_addr a = {.sa.sin6_family = AF_INET6};
    a.sa.sin6_addr.s6_addr[10] = a.sa.sin6_addr.s6_addr[11] = 0xff;
    memcpy(a.sa.sin6_addr.s6_addr + 12, ip, 4);
    memcpy(&a.sa.sin6_port, port, 2);
    return a;
}

static struct net_addr ip6_of(const char *ip, const char *port)
{
    struct net_addr a = {.sa.sin6_family = AF_INET6};
    memcpy(&a.sa.sin6_addr, ip, 16);
    memcpy(&a.sa.sin6_port, port, 2);
    return a;
}

/* Of a family that says nothing about a client on the network, the balancer's own address counts:
 * *out_is_local. Datagrams are none of ours. */
static enum rc take_addresses(unsigned family, struct str *rest, struct proxy *out)
{
    size_t n = family == TCP4 ? IP4_SIZE : family == TCP6 ? IP6_SIZE : 0;
    if (n == 0) {
        out->is_local = true;
        *rest = (struct str){0}; /* of a size that nobody has to know */
        return family == 0x00 || family == 0x31 ? RC_OK : RC_SYNTAX;
    }
    if (rest->n < n)
        return RC_SYNTAX;
    const char *p = rest->p;
    out->from = family == TCP4 ? ip4_of(p, p + 8) : ip6_of(p, p + 32);
    out->to = family == TCP4 ? ip4_of(p + 4, p + 10) : ip6_of(p + 16, p + 34);
    *rest = str_skip(*rest, n);
    return RC_OK;
}

/* --- what follows them ------------------------------------------------------------------------ */

struct tlv {
    unsigned type;
    struct str value;
};

static enum rc take_tlv(struct str *rest, struct tlv *out)
{
    if (rest->n < 3)
        return RC_SYNTAX;
    size_t n = get_u16(rest->p + 1);
    if (rest->n - 3 < n)
        return RC_SYNTAX;
    *out = (struct tlv){(unsigned char)rest->p[0], str_sub(*rest, 3, n)};
    *rest = str_skip(*rest, 3 + n);
    return RC_OK;
}

static enum rc take_ssl(struct str value, struct proxy *out)
{
    struct tlv tlv;
    if (value.n < SSL_HEAD)
        return RC_SYNTAX;
    out->is_secure = value.p[0] & SSL_IN_USE;
    for (struct str rest = str_skip(value, SSL_HEAD); rest.n;) {
        TRY(take_tlv(&rest, &tlv));
        if (tlv.type == TLV_SSL_VERSION)
            out->tls_version = tlv.value;
        else if (tlv.type == TLV_SSL_CIPHER)
            out->tls_cipher = tlv.value;
    }
    return RC_OK;
}

/* Over the whole header, with nothing in its own place. */
static bool is_intact(struct str header, struct str sum)
{
    size_t at = (size_t)(sum.p - header.p);
    uint32_t crc = crc32c(0, str_head(header, at));
    crc = crc32c(crc, str_from("\0\0\0\0", 4));
    crc = crc32c(crc, str_skip(header, at + 4));
    return sum.n == 4 && crc == get_u32(sum.p);
}

static enum rc take_tlvs(struct str header, struct str rest, struct proxy *out)
{
    struct tlv tlv;
    while (rest.n) {
        TRY(take_tlv(&rest, &tlv));
        if (tlv.type == TLV_SSL)
            TRY(take_ssl(tlv.value, out));
        if (tlv.type == TLV_CRC32C && (tlv.value.n != 4 || !is_intact(header, tlv.value)))
            return RC_SYNTAX;
    }
    return RC_OK;
}

enum rc proxy_parse(struct str in, struct proxy *out)
{
    size_t n;
    *out = (struct proxy){0};
    TRY(proxy_size(in, &n));
    struct str header = str_head(in, n), rest = str_skip(header, PROXY_HEAD);
    if ((unsigned char)header.p[12] == LOCAL) { /* what follows is to be passed over */
        out->is_local = true;
        return RC_OK;
    }
    TRY(take_addresses((unsigned char)header.p[13], &rest, out));
    return take_tlvs(header, rest, out);
}
