/* Every record that a domain publishes for mail to reach it, to be believed and to be read: what
 * `penfold dns` prints and `penfold check --dns` looks for. Made from the configuration, the
 * certificate and the domain's keys; nothing is asked for here.
 *
 * RFC 5321 (MX), 7208 (SPF), 6376 (DKIM), 7489 (DMARC), 8461 (MTA-STS), 8460 (TLS-RPT), 7672
 * (TLSA), 6186 and 8314 (SRV). */
#include "ctl/ctl_int.h"

#include <ifaddrs.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { TEXT_MAX = 6000, NAME_TEXT = 600 };

__attribute__((format(printf, 4, 5))) static void add(struct records *l, enum record_kind kind,
                                                      struct str name, const char *format, ...)
{
    struct buf text;
    va_list ap;
    if (l->n == RECORDS_MAX)
        return;
    buf_init(&text, TEXT_MAX);
    va_start(ap, format);
    (void)(buf_vprintf(&text, format, ap) == RC_OK); /* names and keys are short: it fits */
    va_end(ap);
    l->item[l->n++] = (struct record){.kind = kind,
                                      .name = arena_dup(&l->arena, name),
                                      .value = arena_dup(&l->arena, buf_str(&text))};
    buf_fini(&text);
}

static void note(struct records *l, const char *text)
{
    if (l->n && !l->item[l->n - 1].note)
        l->item[l->n - 1].note = text;
}

static struct str below(struct records *l, const char *prefix, const char *domain)
{
    char text[NAME_TEXT];
    snprintf(text, sizeof text, "%s.%s", prefix, domain);
    return arena_dup(&l->arena, str_of(text));
}

const char *record_type(enum record_kind kind)
{
    static const char *const types[RECORD_KINDS] = {
        [RECORD_MX] = "MX",        [RECORD_V4] = "A",        [RECORD_V6] = "AAAA",
        [RECORD_SPF] = "TXT",      [RECORD_DKIM] = "TXT",    [RECORD_DMARC] = "TXT",
        [RECORD_STS] = "TXT",      [RECORD_ALIAS] = "CNAME", [RECORD_TLSRPT] = "TXT",
        [RECORD_TLSA] = "TLSA",    [RECORD_SRV] = "SRV",     [RECORD_PTR] = "PTR",
        [RECORD_POLICY] = "policy"};
    return types[kind];
}

/* --- where the host is ------------------------------------------------------------------------ */

static bool is_v4(const struct in6_addr *a)
{
    return IN6_IS_ADDR_V4MAPPED(a);
}

/* One that others could reach. */
static bool is_public(const struct in6_addr *a)
{
    static const unsigned char any4[4] = {0};
    if (is_v4(a))
        return a->s6_addr[12] != 127 && memcmp(a->s6_addr + 12, any4, 4) != 0 &&
               !(a->s6_addr[12] == 169 && a->s6_addr[13] == 254);
    return !IN6_IS_ADDR_UNSPECIFIED(a) && !IN6_IS_ADDR_LOOPBACK(a) && !IN6_IS_ADDR_LINKLOCAL(a);
}

static void add_address(struct records *l, const char *host, const struct in6_addr *a)
{
    char text[NET_IP_TEXT];
    if (!is_public(a))
        return;
    net_ip_text(a, text);
    for (size_t i = 0; i < l->n; i++)
        if (str_eq(l->item[i].value, str_of(text)))
            return;
    add(l, is_v4(a) ? RECORD_V4 : RECORD_V6, str_of(host), "%s", text);
}

static void add_interfaces(struct records *l, const char *host, bool of_v4)
{
    struct ifaddrs *all = NULL;
    if (getifaddrs(&all) != 0)
        return;
    for (struct ifaddrs *i = all; i; i = i->ifa_next) {
        struct in6_addr a = {0};
        int family = i->ifa_addr ? i->ifa_addr->sa_family : AF_UNSPEC;
        if (family == AF_INET && of_v4) {
            a.s6_addr[10] = a.s6_addr[11] = 0xff;
            memcpy(a.s6_addr + 12, &((struct sockaddr_in *)(void *)i->ifa_addr)->sin_addr, 4);
            add_address(l, host, &a);
        } else if (family == AF_INET6 && !of_v4) {
            a = ((struct sockaddr_in6 *)(void *)i->ifa_addr)->sin6_addr;
            add_address(l, host, &a);
        }
    }
    freeifaddrs(all);
}

/* The addresses that SMTP listens on; all of this machine where it listens on all. */
static void add_host(struct records *l, const struct conf *conf)
{
    size_t before = l->n;
    for (size_t i = 0; i < conf->listen.smtp.n; i++) {
        struct net_addr addr;
        static const unsigned char any4[4] = {0};
        if (net_addr_parse(str_of(conf->listen.smtp.item[i]), &addr) != RC_OK)
            continue;
        const struct in6_addr *a = &addr.sa.sin6_addr;
        if (is_v4(a) && memcmp(a->s6_addr + 12, any4, 4) == 0)
            add_interfaces(l, conf->hostname, true);
        else if (IN6_IS_ADDR_UNSPECIFIED(a))
            add_interfaces(l, conf->hostname, false);
        else
            add_address(l, conf->hostname, a);
    }
    for (size_t i = before; i < l->n; i++)
        l->item[i].note = "an address of this machine: leave out what others cannot reach; its PTR "
                          "record should name the host";
}

/* --- who may send ----------------------------------------------------------------------------- */

static void add_sender(struct records *l, const struct conf *conf, const char *domain)
{
    add(l, RECORD_SPF, str_of(domain), "v=spf1 mx -all"); /* [RFC7208 4.6] */
    if (strcmp(conf->hostname, domain) != 0)
        add(l, RECORD_SPF, str_of(conf->hostname), "v=spf1 a -all"); /* [RFC7208 2.4]: reports */
    note(l, "for the host's own name, in reports");
}

static enum rc add_keys(struct records *l, const struct admin_answer *keys, const char *domain)
{
    enum { SELECTOR = 1, STATE = 3, RECORD = 5, COLUMNS = 6 };
    if (keys->n_cells && keys->n_columns != COLUMNS)
        return RC_SYNTAX;
    for (size_t i = 0; i + COLUMNS <= keys->n_cells; i += COLUMNS) {
        char prefix[NAME_TEXT];
        snprintf(prefix, sizeof prefix, "%.*s._domainkey", STR_ARG(keys->cells[i + SELECTOR]));
        add(l, RECORD_DKIM, below(l, prefix, domain), "%.*s", STR_ARG(keys->cells[i + RECORD]));
        if (str_eq(keys->cells[i + STATE], STR("waiting")))
            note(l, "signs after penfold dkim activate");
        else if (str_eq(keys->cells[i + STATE], STR("retired")))
            note(l, "signs no more; goes when penfold dkim list no longer shows it");
    }
    return RC_OK;
}

/* --- how it is encrypted ---------------------------------------------------------------------- */

/* The policy's id is another one exactly when its text is [RFC8461 3.1]. */
static void add_sts(struct records *l, const struct conf *conf, const char *domain)
{
    unsigned char sum[CRYPTO_SHA256];
    char text[NAME_TEXT];
    snprintf(text, sizeof text, "version: STSv1\nmode: enforce\nmx: %s\nmax_age: 604800\n",
             conf->hostname);
    l->sts_policy = arena_dup(&l->arena, str_of(text));
    crypto_sha256(l->sts_policy, sum);
    snprintf(text, sizeof text, "https://mta-sts.%s/.well-known/mta-sts.txt", domain);
    l->sts_url = arena_dup(&l->arena, str_of(text));
    add(l, RECORD_STS, below(l, "_mta-sts", domain), "v=STSv1; id=%02x%02x%02x%02x%02x%02x%02x%02x",
        sum[0], sum[1], sum[2], sum[3], sum[4], sum[5], sum[6], sum[7]);
    note(l, "together with the policy below, served with a certificate that others trust");
    add(l, RECORD_ALIAS, below(l, "mta-sts", domain), "%s.", conf->hostname);
    add(l, RECORD_TLSRPT, below(l, "_smtp._tls", domain), "v=TLSRPTv1; rua=mailto:postmaster@%s",
        domain);
}

static void add_tlsa(struct records *l, const struct conf *conf, struct str chain_pem)
{
    struct crypto_certificate c;
    char hex[2 * CRYPTO_SHA256 + 1];
    if (chain_pem.n == 0 || crypto_certificate_look(chain_pem, conf->hostname, &c) != RC_OK)
        return;
    for (size_t i = 0; i < CRYPTO_SHA256; i++)
        snprintf(hex + 2 * i, 3, "%02x", c.key_sha256[i]);
    add(l, RECORD_TLSA, below(l, "_25._tcp", conf->hostname), "3 1 1 %s",
        hex); /* [RFC7672 3.1.1] */
    note(l, "only in a zone that is signed; a new key of the certificate needs a new one first");
}

/* --- where programs find it ------------------------------------------------------------------- */

static unsigned port_of(const struct conf_list *list)
{
    for (size_t i = 0; i < list->n; i++) {
        const char *colon = strrchr(list->item[i], ':');
        uint64_t port;
        if (colon && str_to_u64(str_of(colon + 1), &port) == RC_OK)
            return (unsigned)port;
    }
    return 0;
}

/* What is not offered says so with the root [RFC6186 3.4]. */
static void add_services(struct records *l, const struct conf *conf, const char *domain)
{
    const struct {
        const char *name;
        const struct conf_list *list;
        unsigned priority; /* TLS from the start comes first [RFC8314 5.1] */
    } services[] = {
        {"_submissions._tcp", &conf->listen.submissions, 0},
        {"_submission._tcp", &conf->listen.submission, 10},
        {"_imaps._tcp", &conf->listen.imaps, 0},
        {"_imap._tcp", &conf->listen.imap, 10},
        {"_pop3s._tcp", &conf->listen.pop3s, 20},
        {"_pop3._tcp", &conf->listen.pop3, 30},
    };
    for (size_t i = 0; i < sizeof services / sizeof *services; i++) {
        unsigned port = port_of(services[i].list);
        if (port)
            add(l, RECORD_SRV, below(l, services[i].name, domain), "%u 1 %u %s.",
                services[i].priority, port, conf->hostname);
        else
            add(l, RECORD_SRV, below(l, services[i].name, domain), "0 0 0 .");
    }
    add(l, RECORD_ALIAS, below(l, "autoconfig", domain), "%s.", conf->hostname);
    add(l, RECORD_ALIAS, below(l, "autodiscover", domain), "%s.", conf->hostname);
}

enum rc ctl_records(const struct conf *conf, const char *domain, struct str chain_pem,
                    const struct admin_answer *keys, struct records *out)
{
    *out = (struct records){0};
    add(out, RECORD_MX, str_of(domain), "10 %s.", conf->hostname);
    add_host(out, conf);
    add_sender(out, conf, domain);
    TRY(add_keys(out, keys, domain));
    add(out, RECORD_DMARC, below(out, "_dmarc", domain),
        "v=DMARC1; p=quarantine; rua=mailto:postmaster@%s", domain); /* [RFC7489 6.3] */
    add_sts(out, conf, domain);
    add_tlsa(out, conf, chain_pem);
    add_services(out, conf, domain);
    return RC_OK;
}

void records_fini(struct records *records)
{
    arena_fini(&records->arena);
}
