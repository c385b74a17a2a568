/* Fuzz target: an answer of DNS, read for each type of record in turn (TLSA and TXT among them).
 * Aborts when a name holds a byte that could mean something elsewhere, or records and result do not
 * fit together. */
#include "fuzz/fuzz.h"

#include "dns/dns_int.h"

static void demand_name(struct str name)
{
    FUZZ_DEMAND(name.n < NAME_TEXT);
    for (size_t i = 0; i < name.n; i++)
        FUZZ_DEMAND(ascii_is_print(name.p[i]) && name.p[i] != ' ' && name.p[i] != '"');
}

static void demand_answer(const struct dns_query *q)
{
    FUZZ_DEMAND((q->result == DNS_OK) == (q->n_records > 0));
    FUZZ_DEMAND(q->n_records <= DNS_RECORDS_MAX);
    if (q->result == DNS_TEMP)
        FUZZ_DEMAND(!q->is_secure && q->ttl == 0 && q->why[0]);
    for (size_t i = 0; i < q->n_records; i++) {
        demand_name(q->records[i].name);
        FUZZ_DEMAND(q->records[i].data.n <= 65535);
    }
    demand_name(q->canonical);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum dns_type types[] = {DNS_A,   DNS_CNAME, DNS_PTR,  DNS_MX,
                                          DNS_TXT, DNS_AAAA,  DNS_TLSA, DNS_SRV};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        struct dns_query q = {.type = types[i], .is_secure = true};
        arena_init(&q.arena, ARENA_MAX);
        q.canonical = arena_dup(&q.arena, STR("a.test"));
        wire_answer(str_from(data, size), &q);
        demand_answer(&q);
        dns_query_fini(&q);
    }
    return 0;
}
