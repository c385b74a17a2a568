/* An answer's bytes to records. Pure: what is not of the form makes the answer DNS_TEMP, since
 * nothing is known then. The library has checked the packet before; nothing here relies on it.
 *
 * Aliases are followed within the answer in whatever order it has them [RFC1035 3.6.2]; records of
 * other names and types are skipped. */
#include "dns/dns_int.h"

#include "base/bytes.h"

#include <string.h>

enum { HEADER = 12, ALIASES_MAX = 16, TTL_MAX = 7 * 86400, CLASS_IN = 1 };

struct reader {
    struct str packet;
    size_t at;
    unsigned left; /* records */
};

struct raw {
    char name[NAME_TEXT];
    size_t name_n;
    uint16_t type, class;
    uint32_t ttl;
    size_t from, n; /* rdata */
};

static enum rc skip_questions(struct reader *r, unsigned n)
{
    char name[NAME_TEXT];
    size_t name_n;
    for (; n; n--) {
        TRY(name_read(r->packet, &r->at, name, &name_n));
        r->at += 4;
    }
    return r->at <= r->packet.n ? RC_OK : RC_SYNTAX;
}

static enum rc next_record(struct reader *r, struct raw *out)
{
    if (r->left == 0)
        return RC_EOF;
    r->left--;
    TRY(name_read(r->packet, &r->at, out->name, &out->name_n));
    if (r->packet.n - r->at < 10)
        return RC_SYNTAX;
    const char *p = r->packet.p + r->at;
    out->type = get_u16(p);
    out->class = get_u16(p + 2);
    out->ttl = get_u32(p + 4) > INT32_MAX ? 0 : get_u32(p + 4); /* [RFC2181 8] */
    out->n = get_u16(p + 8);
    out->from = r->at + 10;
    if (out->n > r->packet.n - out->from)
        return RC_SYNTAX;
    r->at = out->from + out->n;
    return RC_OK;
}

static enum rc rdata_name(struct str packet, const struct raw *raw, size_t skip,
                          struct arena *arena, struct str *out)
{
    char name[NAME_TEXT];
    size_t n, at = raw->from + skip;
    if (raw->n < skip + 1)
        return RC_SYNTAX;
    TRY(name_read(packet, &at, name, &n));
    if (at > raw->from + raw->n)
        return RC_SYNTAX;
    *out = arena_dup(arena, str_from(name, n));
    return str_is_null(*out) ? RC_LIMIT : RC_OK;
}

/* The strings of a TXT record without anything between them [RFC7208 3.3]. */
static enum rc rdata_text(struct str rdata, struct arena *arena, struct str *out)
{
    char *text = arena_alloc(arena, rdata.n + 1);
    size_t n = 0;
    if (!text)
        return RC_LIMIT;
    while (rdata.n > 0) {
        size_t part = (unsigned char)rdata.p[0];
        if (part + 1 > rdata.n)
            return RC_SYNTAX;
        memcpy(text + n, rdata.p + 1, part);
        n += part;
        rdata = str_skip(rdata, part + 1);
    }
    text[n] = '\0';
    *out = str_from(text, n);
    return RC_OK;
}

static enum rc rdata_tlsa(struct str rdata, struct arena *arena, struct dns_record *out)
{
    if (rdata.n < 3) /* [RFC6698 2.1] */
        return RC_SYNTAX;
    out->usage = (uint8_t)rdata.p[0];
    out->selector = (uint8_t)rdata.p[1];
    out->matching = (uint8_t)rdata.p[2];
    out->data = arena_dup(arena, str_skip(rdata, 3));
    return str_is_null(out->data) ? RC_LIMIT : RC_OK;
}

static enum rc rdata_srv(struct str packet, const struct raw *raw, struct arena *arena,
                         struct dns_record *out)
{
    enum { NUMBERS = 6 };
    const char *p = packet.p + raw->from;
    if (raw->n < NUMBERS + 1)
        return RC_SYNTAX;
    out->preference = get_u16(p);
    out->weight = get_u16(p + 2);
    out->port = get_u16(p + 4);
    return rdata_name(packet, raw, NUMBERS, arena, &out->name);
}

static enum rc fill(struct str packet, const struct raw *raw, struct arena *arena,
                    struct dns_record *out)
{
    struct str rdata = str_sub(packet, raw->from, raw->n);
    switch (raw->type) {
    case DNS_A:
        if (rdata.n != 4)
            return RC_SYNTAX;
        out->address = (struct in6_addr){.s6_addr = {[10] = 0xff, [11] = 0xff}};
        memcpy(out->address.s6_addr + 12, rdata.p, 4);
        return RC_OK;
    case DNS_AAAA:
        if (rdata.n != 16)
            return RC_SYNTAX;
        memcpy(out->address.s6_addr, rdata.p, 16);
        return RC_OK;
    case DNS_MX:
        if (rdata.n < 3)
            return RC_SYNTAX;
        out->preference = get_u16(rdata.p);
        return rdata_name(packet, raw, 2, arena, &out->name);
    case DNS_CNAME:
    case DNS_PTR:
        return rdata_name(packet, raw, 0, arena, &out->name);
    case DNS_SRV:
        return rdata_srv(packet, raw, arena, out);
    case DNS_TXT:
        return rdata_text(rdata, arena, &out->data);
    case DNS_TLSA:
        return rdata_tlsa(rdata, arena, out);
    default:
        return RC_OK;
    }
}

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* One step along the aliases: the one that the name has in the answer. RC_EOF: none. */
static enum rc follow(struct str packet, struct reader answers, struct dns_query *q)
{
    struct raw raw;
    enum rc rc;
    while ((rc = next_record(&answers, &raw)) == RC_OK) {
        if (raw.type != DNS_CNAME || raw.class != CLASS_IN ||
            !str_ieq(str_from(raw.name, raw.name_n), q->canonical))
            continue;
        q->ttl = least(q->ttl, raw.ttl);
        return rdata_name(packet, &raw, 0, &q->arena, &q->canonical);
    }
    return rc;
}

static enum rc collect(struct str packet, struct reader answers, struct dns_query *q)
{
    struct dns_record *records = NULL;
    struct raw raw;
    enum rc rc;
    while ((rc = next_record(&answers, &raw)) == RC_OK && q->n_records < DNS_RECORDS_MAX) {
        if (raw.type != q->type || raw.class != CLASS_IN ||
            !str_ieq(str_from(raw.name, raw.name_n), q->canonical))
            continue;
        if (!records)
            records = arena_zero(&q->arena, DNS_RECORDS_MAX * sizeof *records);
        if (!records)
            return RC_LIMIT;
        TRY(fill(packet, &raw, &q->arena, &records[q->n_records]));
        q->n_records++;
        q->ttl = least(q->ttl, raw.ttl);
    }
    q->records = records;
    return rc == RC_EOF ? RC_OK : rc;
}

/* How long an absence holds: what the zone's SOA says [RFC2308 5]. */
static uint32_t absent_ttl(struct reader r, unsigned n_authority)
{
    enum { SOA = 6, NUMBERS = 20, NONE = 60 };
    struct raw raw;
    while (next_record(&r, &raw) == RC_OK)
        ;
    r.left = n_authority;
    while (next_record(&r, &raw) == RC_OK)
        if (raw.type == SOA && raw.n >= NUMBERS)
            return least(raw.ttl, get_u32(r.packet.p + raw.from + raw.n - 4));
    return NONE;
}

int wire_rcode(struct str packet)
{
    return packet.n < HEADER ? 0 : (unsigned char)packet.p[3] & 0xf;
}

static enum rc parse(struct str packet, struct dns_query *q)
{
    if (packet.n < HEADER)
        return RC_SYNTAX;
    struct reader r = {packet, HEADER, 0};
    int rcode = wire_rcode(packet);
    TRY(skip_questions(&r, get_u16(packet.p + 4)));
    r.left = get_u16(packet.p + 6);
    q->ttl = TTL_MAX;
    enum rc rc = RC_OK;
    for (unsigned i = 0; rc == RC_OK; i++) {
        if (i > ALIASES_MAX || q->type == DNS_CNAME)
            break;
        rc = follow(packet, r, q);
    }
    if (rc != RC_OK && rc != RC_EOF)
        return rc;
    TRY(collect(packet, r, q));
    q->result = q->n_records ? DNS_OK : rcode == 3 ? DNS_NXDOMAIN : DNS_NODATA;
    if (q->n_records == 0)
        q->ttl = least(q->ttl, absent_ttl(r, get_u16(packet.p + 8)));
    return RC_OK;
}

void wire_answer(struct str packet, struct dns_query *q)
{
    q->n_records = 0;
    enum rc rc = parse(packet, q);
    if (rc == RC_OK)
        return;
    q->is_secure = false;
    query_fail(q, DNS_TEMP, rc == RC_LIMIT ? "the answer is too large" : "the answer is malformed");
}
