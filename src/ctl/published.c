/* `penfold check --dns`: what every domain should publish, asked for in DNS, and whether the
 * addresses of the host lead back to its name.
 *
 * The records are those that `penfold dns` prints (records.c); what makes one as good as another is
 * compare.c's to say. Questions of a domain are asked all at once, one domain after the other, so
 * the work is bounded however many domains there are. The policy of MTA-STS is fetched as it is for
 * mail to others, with less patience, and kept nowhere. */
#include "ctl/ctl_int.h"

#include "base/mem.h"
#include "tlspol/tlspol.h"

#include <semaphore.h>
#include <stdlib.h>
#include <string.h>

static const char *const columns[] = {"state", "type", "name", "value", "found"};
static const char *const states[] = {[PUBLISHED_OK] = "ok",
                                     [PUBLISHED_MISSING] = "missing",
                                     [PUBLISHED_DIFFERENT] = "different",
                                     [PUBLISHED_UNKNOWN] = "cannot be asked now",
                                     [PUBLISHED_UNNEEDED] = "not needed"};
enum { COLUMNS = 5, NAME_TEXT = 80, FETCH_MS = 10000 };

struct look { /* a question on its way */
    struct dns_query q;
    sem_t *done;
};

struct looking {
    const struct conf *conf;
    struct dns *dns;
    struct kv *kv; /* of tlspol: in memory */
    struct tlspol *tlspol;
    sem_t done;
    struct look host[2]; /* AAAA, A */
    struct admin_answer rows;
    size_t count[PUBLISHED_UNNEEDED + 1];
};

/* --- questions -------------------------------------------------------------------------------- */

static void on_answer(struct dns_query *q)
{
    sem_post(CONTAINER(q, struct look, q)->done);
}

static void ask(struct looking *l, struct look *look, struct str name, enum dns_type type)
{
    *look = (struct look){.q = {.done = on_answer, .name = name, .type = type}, .done = &l->done};
    enum rc rc = dns_ask(l->dns, &look->q);
    if (rc == RC_OK)
        return;
    look->q.result = rc == RC_SYNTAX ? DNS_NXDOMAIN : DNS_TEMP;
    snprintf(look->q.why, sizeof look->q.why, "too many questions are under way");
    sem_post(&l->done);
}

static void await(struct looking *l, size_t n)
{
    for (; n; n--)
        while (sem_wait(&l->done) != 0)
            ;
}

/* --- rows ------------------------------------------------------------------------------------- */

static void add_cell(struct admin_answer *a, struct str text)
{
    a->cells = mem_array(a->cells, &a->max_cells, a->n_cells + 1, sizeof *a->cells);
    a->cells[a->n_cells++] = arena_dup(&a->arena, text);
}

static void add_row(struct looking *l, const struct record *r, enum published p, struct str found)
{
    l->count[p]++;
    add_cell(&l->rows, str_of(states[p]));
    add_cell(&l->rows, str_of(record_type(r->kind)));
    add_cell(&l->rows, r->name);
    add_cell(&l->rows, r->value);
    add_cell(&l->rows, found);
}

static void judge(struct looking *l, const struct record *r, const struct look answer[2],
                  bool has_own)
{
    struct buf found;
    const struct published_facts facts = {.answer = {&answer[0].q, &answer[1].q},
                                          .host = {&l->host[0].q, &l->host[1].q},
                                          .hostname = l->conf->hostname,
                                          .has_own = has_own};
    buf_init(&found, PUBLISHED_FOUND);
    enum published p = record_compare(r, &facts, &found);
    add_row(l, r, p, buf_str(&found));
    buf_fini(&found);
}

/* Whether an address of this machine is one of those that are published. */
static bool has_own(const struct looking *l, const struct records *records)
{
    for (size_t i = 0; i < records->n; i++) {
        const struct record *r = &records->item[i];
        const struct dns_query *q = &l->host[r->kind == RECORD_V4].q;
        for (size_t k = 0; k < q->n_records; k++) {
            char ip[NET_IP_TEXT];
            net_ip_text(&q->records[k].address, ip);
            if ((r->kind == RECORD_V4 || r->kind == RECORD_V6) && str_eq(r->value, str_of(ip)))
                return true;
        }
    }
    return false;
}

/* What is the host's own is looked at with the first domain. */
static void look_at(struct looking *l, const struct records *records, bool is_first)
{
    struct look *looks = mem_zero(2 * RECORDS_MAX * sizeof *looks);
    size_t n = 0, chosen[RECORDS_MAX];
    for (size_t i = 0; i < records->n; i++) {
        const struct record *r = &records->item[i];
        bool is_host = str_ieq(r->name, str_of(l->conf->hostname)) || r->kind == RECORD_TLSA;
        if (!is_first && is_host)
            continue;
        ask(l, &looks[2 * n], r->name, record_question(r->kind, 0));
        ask(l, &looks[2 * n + 1], r->name, record_question(r->kind, 1));
        chosen[n++] = i;
    }
    await(l, 2 * n);
    for (size_t i = 0; i < n; i++) {
        judge(l, &records->item[chosen[i]], &looks[2 * i], has_own(l, records));
        dns_query_fini(&looks[2 * i].q);
        dns_query_fini(&looks[2 * i + 1].q);
    }
    free(looks);
}

/* --- the policy of MTA-STS -------------------------------------------------------------------- */

struct policy_look {
    struct tlspol_query q;
    sem_t *done;
};

static void on_policy(struct tlspol_query *q)
{
    sem_post(CONTAINER(q, struct policy_look, q)->done);
}

static struct str one_line(struct str lines, struct arena *arena)
{
    struct buf text;
    struct str line;
    buf_init(&text, TLSPOL_TEXT_MAX);
    while (str_cut(&lines, '\n', &line))
        if (line.n)
            buf_putf(&text, "%s%.*s", buf_len(&text) ? "; " : "", STR_ARG(line));
    struct str copy = arena_dup(arena, buf_str(&text));
    buf_fini(&text);
    return copy;
}

static void look_at_policy(struct looking *l, struct records *records, const char *domain)
{
    struct buf found;
    const struct record r = {.kind = RECORD_POLICY,
                             .name = records->sts_url,
                             .value = one_line(records->sts_policy, &records->arena)};
    struct policy_look look = {.q = {.done = on_policy, .domain = str_of(domain)},
                               .done = &l->done};
    buf_init(&found, PUBLISHED_FOUND);
    if (tlspol_ask(l->tlspol, &look.q) == RC_OK)
        await(l, 1);
    else
        look.q.gap = TLSPOL_CANNOT_ASK;
    enum published p = policy_compare(&look.q, l->conf->hostname, &found);
    add_row(l, &r, p, buf_str(&found));
    arena_fini(&look.q.arena);
    buf_fini(&found);
}

/* --- the host --------------------------------------------------------------------------------- */

/* "1.2.0.192.in-addr.arpa", "8.b.d.0.1.0.0.2.ip6.arpa" [RFC1035 3.5] [RFC3596 2.5] */
static struct str reverse_name(const struct in6_addr *a, char out[NAME_TEXT])
{
    size_t n = 0;
    if (IN6_IS_ADDR_V4MAPPED(a)) {
        n = (size_t)snprintf(out, NAME_TEXT, "%u.%u.%u.%u.in-addr.arpa", a->s6_addr[15],
                             a->s6_addr[14], a->s6_addr[13], a->s6_addr[12]);
        return str_from(out, n);
    }
    for (int i = 15; i >= 0; i--)
        n += (size_t)snprintf(out + n, NAME_TEXT - n, "%x.%x.", a->s6_addr[i] & 15,
                              a->s6_addr[i] >> 4);
    n += (size_t)snprintf(out + n, NAME_TEXT - n, "ip6.arpa");
    return str_from(out, n);
}

/* The addresses of the host's name have names that lead back to it: many servers take mail from
 * such hosts alone. */
static void look_back(struct looking *l, const struct dns_query *addresses)
{
    for (size_t i = 0; i < addresses->n_records; i++) {
        char text[NAME_TEXT], name[300];
        struct look look[2];
        struct record r = {.kind = RECORD_PTR};
        snprintf(name, sizeof name, "%s.", l->conf->hostname);
        r.name = reverse_name(&addresses->records[i].address, text);
        r.value = str_of(name);
        ask(l, &look[0], r.name, DNS_PTR);
        ask(l, &look[1], r.name, DNS_NOTHING);
        await(l, 2);
        judge(l, &r, look, false);
        dns_query_fini(&look[0].q);
        dns_query_fini(&look[1].q);
    }
}

static void look_at_host(struct looking *l)
{
    struct str name = str_of(l->conf->hostname);
    ask(l, &l->host[0], name, DNS_AAAA);
    ask(l, &l->host[1], name, DNS_A);
    await(l, 2);
}

/* --- domains ---------------------------------------------------------------------------------- */

static enum rc command(const struct conf *conf, const struct str *words, size_t n,
                       struct admin_answer *out)
{
    const struct admin_request request = {.words = words, .n_words = n};
    TRY(ctl_carry_out_here(conf, &request, out));
    if (out->rc != RC_OK)
        fprintf(stderr, "penfold: %.*s\n", STR_ARG(out->error));
    return out->rc;
}

static enum rc look_at_domain(struct looking *l, struct str domain, struct str chain, bool is_first)
{
    const struct str words[] = {STR("dkim"), STR("list"), domain};
    struct admin_answer keys = {0};
    struct records *records = mem_zero(sizeof *records);
    char name[DNS_NAME_MAX + 1];
    snprintf(name, sizeof name, "%.*s", STR_ARG(domain));
    enum rc rc = command(l->conf, words, 3, &keys);
    if (rc == RC_OK && (rc = ctl_records(l->conf, name, chain, &keys, records)) == RC_OK)
        look_at(l, records, is_first);
    if (rc == RC_OK)
        look_at_policy(l, records, name);
    records_fini(records);
    free(records);
    admin_answer_fini(&keys);
    return rc;
}

static enum rc look_at_all(struct looking *l, struct str chain)
{
    const struct str words[] = {STR("domain"), STR("list")};
    struct admin_answer domains = {0};
    enum rc rc = command(l->conf, words, 2, &domains);
    look_at_host(l);
    for (size_t i = 0; rc == RC_OK && domains.n_columns && i < domains.n_cells;
         i += domains.n_columns)
        rc = look_at_domain(l, domains.cells[i], chain, i == 0);
    if (rc == RC_OK) {
        look_back(l, &l->host[0].q);
        look_back(l, &l->host[1].q);
    }
    dns_query_fini(&l->host[0].q);
    dns_query_fini(&l->host[1].q);
    admin_answer_fini(&domains);
    return rc;
}

/* --- the command ------------------------------------------------------------------------------ */

static const struct ctx ctx = {.clock = &clock_system};

static enum rc open_dns(const struct conf *conf, struct dns **out)
{
    struct str resolvers[CONF_LIST_MAX];
    struct arena arena = {0};
    struct dns_conf dns;
    char why[256] = "";
    for (size_t i = 0; i < conf->dns.resolver.n; i++)
        resolvers[i] = str_of(conf->dns.resolver.item[i]);
    const char *anchor = conf->dns.trust_anchor[0] ? conf->dns.trust_anchor : NULL;
    enum rc rc = dns_conf_read(resolvers, conf->dns.resolver.n, anchor, &arena, &dns, why);
    if (rc == RC_OK)
        rc = dns_new(&ctx, &dns, out, why);
    if (rc != RC_OK)
        fprintf(stderr, "penfold: dns: %s\n", why);
    arena_fini(&arena);
    return rc;
}

static enum rc open_tlspol(struct looking *l)
{
    const struct conf *conf = l->conf;
    uint64_t most = conf->mta_sts.fetch_time * 1000;
    struct buf authorities;
    char why[256] = "";
    ctl_read_file(conf->tls.ca_file[0] ? conf->tls.ca_file : CONF_AUTHORITIES, &authorities);
    const struct tlspol_conf tlspol = {.ca_pem = buf_str(&authorities),
                                       .fetch_ms = most < FETCH_MS ? most : FETCH_MS};
    l->kv = kv_mem_new(&ctx);
    enum rc rc = tlspol_new(&ctx, l->kv, l->dns, &tlspol, &l->tlspol, why);
    if (rc != RC_OK)
        fprintf(stderr, "penfold: mta_sts: %s\n", why);
    buf_fini(&authorities);
    return rc;
}

static int print(struct looking *l, bool is_json)
{
    for (size_t i = 0; i < COLUMNS; i++)
        l->rows.columns[l->rows.n_columns++] = str_of(columns[i]);
    if (is_json)
        ctl_print_json(&l->rows);
    else
        ctl_print_table(&l->rows);
    if (fflush(stdout) != 0 || ferror(stdout))
        return CTL_FAILED;
    const size_t *n = l->count;
    if (n[PUBLISHED_MISSING] + n[PUBLISHED_DIFFERENT] + n[PUBLISHED_UNKNOWN] == 0)
        return CTL_DONE;
    fprintf(stderr,
            "penfold: check: DNS: %zu records are missing, %zu are different, %zu cannot be asked "
            "for now; penfold dns DOMAIN prints what to publish\n",
            n[PUBLISHED_MISSING], n[PUBLISHED_DIFFERENT], n[PUBLISHED_UNKNOWN]);
    return CTL_FAILED;
}

int ctl_published(const struct conf *conf, bool is_json)
{
    struct looking l = {.conf = conf};
    struct buf chain;
    int status = CTL_FAILED;
    if (open_dns(conf, &l.dns) != RC_OK)
        return CTL_FAILED;
    ctl_read_file(conf->tls.certificate, &chain); /* before the data's owner takes over */
    sem_init(&l.done, 0, 0);
    enum rc rc = open_tlspol(&l);
    if (rc == RC_OK && ctl_enter_data(conf) == RC_OK && look_at_all(&l, buf_str(&chain)) == RC_OK)
        status = print(&l, is_json);
    tlspol_free(&l.tlspol);
    dns_free(&l.dns);
    kv_close(&l.kv);
    sem_destroy(&l.done);
    free(l.rows.cells);
    l.rows.cells = NULL;
    arena_fini(&l.rows.arena);
    buf_fini(&chain);
    return status;
}
