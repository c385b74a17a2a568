/* A table of answers in the place of a network, for tests of what stands above (dns.h). Read once,
 * searched from its first line to its last: tables are short. */
#include "dns/dns_int.h"

#include "base/mem.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ANY = 0, ZONE = -1, TTL = 300, ALIASES_MAX = 8, ROWS_MAX = 100000 };

struct row {
    struct str name;
    int type; /* or ANY, ZONE */
    bool is_secure, is_silent;
    enum dns_result result;
    struct dns_record record; /* DNS_OK */
};

struct table {
    struct arena arena;
    struct row *rows;
    size_t n, size;
};

static const struct {
    const char *word;
    enum dns_result result;
} ends[] = {{"NODATA", DNS_NODATA},
            {"NXDOMAIN", DNS_NXDOMAIN},
            {"SERVFAIL", DNS_TEMP},
            {"BOGUS", DNS_BOGUS},
            {"SILENCE", DNS_TEMP}};

static struct str word(struct str *rest)
{
    *rest = str_trim(*rest);
    size_t n = 0;
    while (n < rest->n && rest->p[n] != ' ' && rest->p[n] != '\t')
        n++;
    struct str w = str_head(*rest, n);
    *rest = str_trim(str_skip(*rest, n));
    return w;
}

static enum rc number(struct str *rest, uint64_t max, uint64_t *out)
{
    TRY(str_to_u64(word(rest), out));
    return *out <= max ? RC_OK : RC_SYNTAX;
}

static enum rc read_name(struct table *t, struct str text, struct str *out)
{
    char name[DNS_NAME_MAX + 2];
    size_t n;
    TRY(name_clean(text, name, &n));
    *out = arena_dup(&t->arena, str_from(name, n));
    return RC_OK;
}

static enum rc read_address(struct str text, int family, struct in6_addr *out)
{
    char copy[INET6_ADDRSTRLEN];
    if (text.n >= sizeof copy)
        return RC_SYNTAX;
    memcpy(copy, text.p, text.n);
    copy[text.n] = '\0';
    *out = (struct in6_addr){.s6_addr = {[10] = 0xff, [11] = 0xff}};
    void *to = family == AF_INET ? out->s6_addr + 12 : out->s6_addr;
    return inet_pton(family, copy, to) == 1 ? RC_OK : RC_SYNTAX;
}

static enum rc read_tlsa(struct table *t, struct str rest, struct dns_record *out)
{
    uint64_t usage, selector, matching;
    TRY(number(&rest, 255, &usage));
    TRY(number(&rest, 255, &selector));
    TRY(number(&rest, 255, &matching));
    char *data = arena_alloc(&t->arena, rest.n / 2 + 1);
    for (size_t i = 0; i + 1 < rest.n; i += 2) {
        int high = ascii_hex(rest.p[i]), low = ascii_hex(rest.p[i + 1]);
        if (high < 0 || low < 0)
            return RC_SYNTAX;
        data[i / 2] = (char)(high << 4 | low);
    }
    out->usage = (uint8_t)usage;
    out->selector = (uint8_t)selector;
    out->matching = (uint8_t)matching;
    out->data = str_from(data, rest.n / 2);
    return rest.n % 2 == 0 ? RC_OK : RC_SYNTAX;
}

static enum rc read_srv(struct table *t, struct str rest, struct dns_record *out)
{
    uint64_t priority, weight, port;
    TRY(number(&rest, UINT16_MAX, &priority));
    TRY(number(&rest, UINT16_MAX, &weight));
    TRY(number(&rest, UINT16_MAX, &port));
    out->preference = (uint16_t)priority;
    out->weight = (uint16_t)weight;
    out->port = (uint16_t)port;
    return read_name(t, rest, &out->name);
}

static enum rc read_data(struct table *t, int type, struct str rest, struct dns_record *out)
{
    uint64_t preference;
    switch (type) {
    case DNS_A:
        return read_address(rest, AF_INET, &out->address);
    case DNS_AAAA:
        return read_address(rest, AF_INET6, &out->address);
    case DNS_MX:
        TRY(number(&rest, UINT16_MAX, &preference));
        out->preference = (uint16_t)preference;
        return read_name(t, rest, &out->name);
    case DNS_CNAME:
    case DNS_PTR:
        return read_name(t, rest, &out->name);
    case DNS_SRV:
        return read_srv(t, rest, out);
    case DNS_TXT:
        out->data = arena_dup(&t->arena, rest);
        return RC_OK;
    case DNS_TLSA:
        return read_tlsa(t, rest, out);
    default:
        return RC_SYNTAX;
    }
}

static enum rc read_type(struct str text, int *out)
{
    static const enum dns_type types[] = {DNS_A,   DNS_CNAME, DNS_PTR,  DNS_MX,
                                          DNS_TXT, DNS_AAAA,  DNS_TLSA, DNS_SRV};
    *out = str_eq(text, STR("*")) ? ANY : ZONE;
    if (*out == ANY || str_eq(text, STR("ZONE")))
        return RC_OK;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (str_eq(text, str_of(dns_type_name(types[i]))))
            *out = (int)types[i];
    return *out == ZONE ? RC_SYNTAX : RC_OK;
}

static enum rc read_row(struct table *t, struct str line, struct row *row)
{
    row->is_secure = str_starts(line, STR("!"));
    line = str_skip(line, row->is_secure);
    TRY(read_name(t, word(&line), &row->name));
    TRY(read_type(word(&line), &row->type));
    if (row->type == ZONE)
        return line.n == 0 ? RC_OK : RC_SYNTAX;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (str_eq(line, str_of(ends[i].word))) {
            row->result = ends[i].result;
            row->is_silent = str_eq(line, STR("SILENCE"));
            return RC_OK;
        }
    row->result = DNS_OK;
    return read_data(t, row->type, line, &row->record);
}

enum rc table_new(struct str text, struct table **out, char why[256])
{
    struct table *t = mem_zero(sizeof *t);
    struct str line;
    enum rc rc = RC_OK;
    while (rc == RC_OK && str_cut(&text, '\n', &line)) {
        line = str_trim(line);
        if (line.n == 0 || line.p[0] == '#')
            continue;
        struct row row = {0};
        rc = t->n < ROWS_MAX ? read_row(t, line, &row) : RC_LIMIT;
        t->rows = mem_array(t->rows, &t->size, t->n + 1, sizeof *t->rows);
        t->rows[t->n++] = row;
        if (rc != RC_OK)
            snprintf(why, 256, "not a line of a DNS table: %.*s",
                     (int)(line.n < 150 ? line.n : 150), line.p);
    }
    if (rc == RC_OK)
        *out = t;
    else
        table_free(&t);
    return rc;
}

void table_free(struct table **t)
{
    if (!*t)
        return;
    arena_fini(&(*t)->arena);
    free((*t)->rows);
    free(*t);
    *t = NULL;
}

/* --- answering ---------------------------------------------------------------------------------
 */

struct found {
    bool has_name, is_silent, is_secure;
    const struct row *end; /* NODATA and the like */
    struct str alias;
    size_t n;
};

static struct found search(const struct table *t, struct str name, int type,
                           struct dns_record *records)
{
    struct found f = {.is_secure = true};
    for (size_t i = 0; i < t->n; i++) {
        const struct row *row = &t->rows[i];
        if (row->type == ZONE || !str_eq(row->name, name))
            continue;
        f.has_name = true;
        if (row->type == DNS_CNAME && row->result == DNS_OK && type != DNS_CNAME) {
            f.alias = row->record.name;
            f.is_secure = f.is_secure && row->is_secure;
        } else if (row->type == type || row->type == ANY) {
            f.is_secure = f.is_secure && row->is_secure;
            if (row->result != DNS_OK)
                f.end = row;
            else if (f.n < DNS_RECORDS_MAX)
                records[f.n++] = row->record;
        }
    }
    return f;
}

static bool is_absent_securely(const struct table *t, struct str name)
{
    for (size_t i = 0; i < t->n; i++) {
        struct str zone = t->rows[i].name;
        if (t->rows[i].type != ZONE || !t->rows[i].is_secure || !str_ends(name, zone))
            continue;
        if (name.n == zone.n || zone.n == 0 || name.p[name.n - zone.n - 1] == '.')
            return true;
    }
    return false;
}

bool table_answer(const struct table *t, struct dns_query *q)
{
    struct dns_record *records = arena_zero(&q->arena, DNS_RECORDS_MAX * sizeof *records);
    struct str name = q->canonical;
    struct found f = {0};
    bool is_secure = true;
    for (int i = 0; i <= ALIASES_MAX; i++) {
        f = search(t, name, (int)q->type, records);
        if (str_is_null(f.alias))
            break;
        is_secure = is_secure && f.is_secure;
        name = f.alias;
    }
    if (!str_is_null(f.alias)) {
        query_fail(q, DNS_TEMP, "the name servers fail");
        return true;
    }
    q->canonical = arena_dup(&q->arena, name);
    q->ttl = TTL;
    if (f.end && f.end->result >= DNS_TEMP) {
        query_fail(q, f.end->result,
                   f.end->result == DNS_BOGUS ? "the signatures do not hold"
                                              : "the name servers fail");
        return !f.end->is_silent;
    }
    bool has_row = f.end || f.n > 0;
    q->result = f.n ? DNS_OK : f.end ? f.end->result : f.has_name ? DNS_NODATA : DNS_NXDOMAIN;
    q->is_secure = is_secure && (has_row ? f.is_secure : is_absent_securely(t, name));
    q->records = records;
    q->n_records = f.n;
    return true;
}
