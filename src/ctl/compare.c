/* A record that should be published beside what DNS has answered about it. Pure.
 *
 * What counts is what it is for, not how it is written: an MX record may have another preference, a
 * policy of the operator's may say more than ours. Whatever cannot be asked for now is neither
 * there nor missing. */
#include "ctl/ctl_int.h"

#include "mailauth/mailauth.h"
#include "tlspol/tlspol.h"

#include <string.h>

static struct str word_next(struct str *rest)
{
    struct str word = {0};
    do
        if (!str_cut(rest, ' ', &word))
            return STR("");
    while (word.n == 0);
    return word;
}

static struct str word_at(struct str text, unsigned n)
{
    struct str word = word_next(&text);
    for (; n; n--)
        word = word_next(&text);
    return word;
}

/* --- whether one will do for the other -------------------------------------------------------- */

static bool is_same(struct str ours, struct str theirs)
{
    return str_ieq(ours, theirs);
}

static bool is_same_host(struct str ours, struct str theirs) /* "10 mx.example.org." */
{
    return str_ieq(word_at(ours, 1), word_at(theirs, 1));
}

static bool is_same_service(struct str ours, struct str theirs) /* "0 1 993 mx.example.org." */
{
    return str_eq(word_at(ours, 2), word_at(theirs, 2)) &&
           str_ieq(word_at(ours, 3), word_at(theirs, 3));
}

static bool has_word(struct str text, struct str word)
{
    for (struct str one; (one = word_next(&text)).n;)
        if (str_ieq(one, word))
            return true;
    return false;
}

/* Ours is "v=spf1", who may, "-all": theirs lets the same send, and not just anybody. */
static bool lets_us_send(struct str ours, struct str theirs)
{
    struct str rest = theirs;
    bool is_bounded = has_word(theirs, STR("-all")) || has_word(theirs, STR("~all"));
    for (struct str word; (word = word_next(&rest)).n;)
        is_bounded = is_bounded || str_istarts(word, STR("redirect="));
    return is_bounded && has_word(theirs, word_at(ours, 1));
}

static bool is_same_key(struct str ours, struct str theirs)
{
    struct mailauth_record a, b;
    bool is_read = mailauth_record_read(ours, &a) == RC_OK;
    is_read = mailauth_record_read(theirs, &b) == RC_OK && is_read;
    bool is_same = is_read && a.algorithm == b.algorithm && buf_len(&a.public_key) > 0 &&
                   str_eq(buf_str(&a.public_key), buf_str(&b.public_key));
    mailauth_record_fini(&a);
    mailauth_record_fini(&b);
    return is_same;
}

/* The value of a tag of "v=X; tag=value; ..."; absent: it has none. */
static struct str tag_of(struct str text, const char *name)
{
    struct str tag, key;
    while (str_cut(&text, ';', &tag)) {
        tag = str_trim(tag);
        if (str_cut(&tag, '=', &key) && str_ieq(str_trim(key), str_of(name)))
            return str_trim(tag);
    }
    return (struct str){0};
}

static bool is_policy(struct str ours, struct str theirs) /* [RFC7489 6.3] */
{
    struct str p = tag_of(theirs, "p");
    return str_ieq(p, STR("none")) || str_ieq(p, STR("quarantine")) || str_ieq(p, STR("reject"));
}

static bool has_reader(struct str ours, struct str theirs) /* [RFC8460 3] */
{
    return tag_of(theirs, "rua").n > 0;
}

static bool is_same_id(struct str ours, struct str theirs)
{
    struct str a, b;
    return tlspol_txt_parse(ours, &a) == RC_OK && tlspol_txt_parse(theirs, &b) == RC_OK &&
           str_eq(a, b);
}

static const struct {
    enum dns_type type;
    const char *prefix; /* TXT: others are about something else */
    bool is_single;     /* a second one makes both worth nothing */
    bool (*fits)(struct str ours, struct str theirs);
} kinds[RECORD_KINDS] = {
    [RECORD_MX] = {DNS_MX, "", false, is_same_host},
    [RECORD_V4] = {DNS_A, "", false, is_same},
    [RECORD_V6] = {DNS_AAAA, "", false, is_same},
    [RECORD_SPF] = {DNS_TXT, "v=spf1", true, lets_us_send}, /* [RFC7208 4.5] */
    [RECORD_DKIM] = {DNS_TXT, "", false, is_same_key},
    [RECORD_DMARC] = {DNS_TXT, "v=DMARC1", true, is_policy}, /* [RFC7489 6.6.3] */
    [RECORD_STS] = {DNS_TXT, "v=STSv1", true, is_same_id},   /* [RFC8461 3.1] */
    [RECORD_ALIAS] = {DNS_AAAA, "", false, NULL},
    [RECORD_TLSRPT] = {DNS_TXT, "v=TLSRPTv1", true, has_reader}, /* [RFC8460 3] */
    [RECORD_TLSA] = {DNS_TLSA, "", false, is_same},
    [RECORD_SRV] = {DNS_SRV, "", false, is_same_service},
    [RECORD_PTR] = {DNS_PTR, "", false, is_same},
    [RECORD_POLICY] = {DNS_NOTHING, "", false, NULL},
};

enum dns_type record_question(enum record_kind kind, unsigned n)
{
    if (n)
        return kind == RECORD_ALIAS ? DNS_A : DNS_NOTHING;
    return kinds[kind].type;
}

/* --- what was found --------------------------------------------------------------------------- */

/* As a zone file has it. */
static void put_record(struct buf *out, enum dns_type type, const struct dns_record *r)
{
    char ip[NET_IP_TEXT];
    switch (type) {
    case DNS_A:
    case DNS_AAAA:
        net_ip_text(&r->address, ip);
        buf_put(out, str_of(ip));
        return;
    case DNS_MX:
        buf_putf(out, "%u %.*s.", r->preference, STR_ARG(r->name));
        return;
    case DNS_SRV:
        buf_putf(out, "%u %u %u %.*s.", r->preference, r->weight, r->port, STR_ARG(r->name));
        return;
    case DNS_TLSA:
        buf_putf(out, "%u %u %u ", r->usage, r->selector, r->matching);
        for (size_t i = 0; i < r->data.n; i++)
            buf_putf(out, "%02x", (unsigned char)r->data.p[i]);
        return;
    case DNS_TXT:
        buf_put(out, r->data);
        return;
    default:
        buf_putf(out, "%.*s.", STR_ARG(r->name));
    }
}

static void put_found(struct buf *found, struct str text)
{
    if (buf_len(found))
        buf_put(found, STR(" | "));
    buf_put(found, str_head(text, found->cap - buf_len(found)));
}

static void put_addresses(struct buf *found, const struct dns_query *const answer[2])
{
    for (int k = 0; k < 2; k++)
        for (size_t i = 0; i < answer[k]->n_records; i++) {
            char ip[NET_IP_TEXT];
            net_ip_text(&answer[k]->records[i].address, ip);
            put_found(found, str_of(ip));
        }
}

/* --- the records of one question -------------------------------------------------------------- */

/* Of those that are about it; the text of the first one that fits, or else of all of them, is
 * found. */
static enum published compare_records(const struct record *r, const struct dns_query *q,
                                      struct buf *found)
{
    struct buf text;
    size_t n = 0;
    bool fits = false;
    buf_init(&text, 70000);
    for (size_t i = 0; i < q->n_records && !(fits && !kinds[r->kind].is_single); i++) {
        buf_clear(&text);
        put_record(&text, q->type, &q->records[i]);
        struct str theirs = buf_str(&text);
        if (!str_istarts(theirs, str_of(kinds[r->kind].prefix)))
            continue;
        n++;
        fits = kinds[r->kind].fits(r->value, theirs);
        if (fits)
            buf_clear(found);
        if (!str_eq(theirs, r->value))
            put_found(found, theirs);
    }
    buf_fini(&text);
    if (n == 0)
        return PUBLISHED_MISSING;
    return fits && (n == 1 || !kinds[r->kind].is_single) ? PUBLISHED_OK : PUBLISHED_DIFFERENT;
}

/* --- what has to do with the host's addresses ------------------------------------------------- */

static bool is_known(const struct dns_query *const answer[2])
{
    return answer[0]->result < DNS_TEMP && answer[1]->result < DNS_TEMP;
}

static bool has_any(const struct dns_query *const answer[2])
{
    return answer[0]->n_records + answer[1]->n_records > 0;
}

static bool leads_to(const struct dns_query *const answer[2], const char *hostname)
{
    return str_ieq(answer[0]->canonical, str_of(hostname)) ||
           str_ieq(answer[1]->canonical, str_of(hostname));
}

static bool has_common(const struct dns_query *a, const struct dns_query *b)
{
    for (size_t i = 0; i < a->n_records; i++)
        for (size_t k = 0; k < b->n_records; k++)
            if (memcmp(&a->records[i].address, &b->records[k].address, 16) == 0)
                return true;
    return false;
}

/* An alias of the host, or a name with its addresses, which is as good. */
static enum published compare_alias(const struct published_facts *f, struct buf *found)
{
    if (leads_to(f->answer, f->hostname))
        return PUBLISHED_OK;
    if (!is_known(f->answer) || (has_any(f->answer) && !is_known(f->host))) {
        const struct dns_query *q = f->answer[0]->result >= DNS_TEMP   ? f->answer[0]
                                    : f->answer[1]->result >= DNS_TEMP ? f->answer[1]
                                                                       : f->host[0];
        buf_put(found, str_of(q->why));
        return PUBLISHED_UNKNOWN;
    }
    if (!has_any(f->answer))
        return PUBLISHED_MISSING;
    put_addresses(found, f->answer);
    bool is_ours = has_common(f->answer[0], f->host[0]) || has_common(f->answer[1], f->host[1]);
    return is_ours ? PUBLISHED_OK : PUBLISHED_DIFFERENT;
}

/* Of a network that others cannot reach: what they use is not known to this machine. */
static bool is_private(struct str address)
{
    static const char *const networks[] = {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16",
                                           "100.64.0.0/10", "fc00::/7"};
    struct net_addr addr;
    if (net_ip_parse(address, 0, &addr) != RC_OK)
        return false;
    for (size_t i = 0; i < sizeof networks / sizeof *networks; i++) {
        struct net_cidr cidr;
        if (net_cidr_parse(str_of(networks[i]), &cidr) == RC_OK && net_cidr_has(&cidr, &addr))
            return true;
    }
    return false;
}

/* Each address of the machine could be published, one has to be. */
static enum published compare_address(const struct record *r, const struct published_facts *f,
                                      struct buf *found)
{
    enum published p = compare_records(r, f->answer[0], found);
    if (p == PUBLISHED_OK)
        return p;
    buf_clear(found);
    if (!is_known(f->host)) {
        buf_put(found, STR("not all addresses of the host can be asked for"));
        return PUBLISHED_UNKNOWN;
    }
    put_addresses(found, f->host);
    if (f->has_own || (has_any(f->host) && is_private(r->value)))
        return PUBLISHED_UNNEEDED;
    return has_any(f->host) ? PUBLISHED_DIFFERENT : PUBLISHED_MISSING;
}

/* --- the policy of MTA-STS -------------------------------------------------------------------- */

static void put_policy(struct buf *found, const struct tlspol_policy *policy)
{
    static const char *const modes[] = {
        [TLSPOL_NONE] = "none", [TLSPOL_TESTING] = "testing", [TLSPOL_ENFORCE] = "enforce"};
    struct buf text;
    buf_init(&text, TLSPOL_TEXT_MAX);
    buf_putf(&text, "mode: %s", modes[policy->mode]);
    for (size_t i = 0; i < policy->n_mx; i++)
        buf_putf(&text, "; mx: %.*s", STR_ARG(policy->mx[i]));
    put_found(found, buf_str(&text));
    buf_fini(&text);
}

enum published policy_compare(const struct tlspol_query *q, const char *hostname, struct buf *found)
{
    static const enum published gaps[TLSPOL_GAPS] = {[TLSPOL_NO_GAP] = PUBLISHED_MISSING,
                                                     [TLSPOL_CANNOT_ASK] = PUBLISHED_UNKNOWN,
                                                     [TLSPOL_CANNOT_FETCH] = PUBLISHED_MISSING};
    char host[DNS_NAME_MAX + 1] = "";
    buf_clear(found);
    if (!q->policy.max_age) { /* which every policy has */
        put_found(found, str_of(q->why));
        return gaps[q->gap];
    }
    for (size_t i = 0; i + 1 < sizeof host && hostname[i]; i++)
        host[i] = ascii_lower(hostname[i]);
    bool is_ours = q->policy.mode != TLSPOL_NONE && tlspol_matches(&q->policy, str_of(host));
    if (!is_ours || q->policy.mode != TLSPOL_ENFORCE || q->policy.n_mx > 1)
        put_policy(found, &q->policy);
    return is_ours ? PUBLISHED_OK : PUBLISHED_DIFFERENT;
}

/* --- all -------------------------------------------------------------------------------------- */

/* A TLSA record says nothing in a zone that is not signed [RFC7672 2.2], and that there is no such
 * service is what no record means as well [RFC6186 3.4]. */
static bool is_needed(const struct record *r, const struct dns_query *q)
{
    if (r->kind == RECORD_TLSA)
        return q->is_secure;
    return r->kind != RECORD_SRV || !str_eq(word_at(r->value, 3), STR("."));
}

enum published record_compare(const struct record *r, const struct published_facts *facts,
                              struct buf *found)
{
    const struct dns_query *q = facts->answer[0];
    buf_clear(found);
    if (r->kind == RECORD_ALIAS)
        return compare_alias(facts, found);
    if (q->result >= DNS_TEMP) {
        buf_put(found, str_of(q->why));
        return PUBLISHED_UNKNOWN;
    }
    if (r->kind == RECORD_V4 || r->kind == RECORD_V6)
        return compare_address(r, facts, found);
    enum published p = compare_records(r, q, found);
    return p == PUBLISHED_MISSING && !is_needed(r, q) ? PUBLISHED_UNNEEDED : p;
}
