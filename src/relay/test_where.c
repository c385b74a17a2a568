/* Where a domain's mail goes: each row of the table is a domain, what DNS says stands below it as a
 * fixed table, what comes out is written as text. */
#include "relay/where_int.h"

#include "base/buf.h"
#include "base/bytes.h"
#include "base/test.h"

#include <arpa/inet.h>
#include <semaphore.h>
#include <stdio.h>

static const char dns_rows[] =
    /* preference, addresses */
    "plain.test MX 20 b.plain.test\n"
    "plain.test MX 10 a.plain.test\n"
    "a.plain.test A 192.0.2.1\n"
    "a.plain.test AAAA 2001:db8::1\n"
    "b.plain.test A 192.0.2.2\n"
    "many.test MX 10 many4.test\n"
    "many4.test A 192.0.2.11\n"
    "many4.test A 192.0.2.12\n"
    "many4.test AAAA 2001:db8::11\n"
    /* without MX */
    "implicit.test A 192.0.2.3\n"
    "nothing.test TXT only text\n"
    /* for good */
    "null.test MX 0 .\n"
    "null.test A 192.0.2.3\n"
    "noaddress.test MX 10 dead.noaddress.test\n"
    "notahost.test MX 10 *.notahost.test\n"
    "dead.noaddress.test TXT no address\n"
    /* temporary */
    "fails.test MX SERVFAIL\n"
    "forged.test MX BOGUS\n"
    "halffails.test MX 10 lost.halffails.test\n"
    "halffails.test MX 20 a.plain.test\n"
    "lost.halffails.test * SERVFAIL\n"
    "allfail.test MX 10 lost.halffails.test\n"
    "implicitfails.test MX NODATA\n"
    "implicitfails.test * SERVFAIL\n"
    /* aliases */
    "alias.test CNAME plain.test\n"
    "aliasmx.test MX 10 also.aliasmx.test\n"
    "also.aliasmx.test CNAME b.plain.test\n"
    "ring.test CNAME ring2.test\n"
    "ring2.test CNAME ring.test\n"
    /* ourselves */
    "backup.test MX 10 a.plain.test\n"
    "backup.test MX 20 mx.here.test\n"
    "backup.test MX 30 b.plain.test\n"
    "byaddress.test MX 10 a.plain.test\n"
    "byaddress.test MX 20 other.here.test\n"
    "byaddress.test MX 20 b.plain.test\n"
    "best.test MX 10 mx.here.test\n"
    "best.test MX 10 a.plain.test\n"
    "primarylost.test MX 10 lost.halffails.test\n"
    "primarylost.test MX 20 mx.here.test\n"
    "mx.here.test A 198.51.100.1\n"
    "other.here.test A 198.51.100.1\n"
    "localhost.test A 127.0.0.1\n"
    "xn--bcher-kva.test MX 10 a.plain.test\n"
    "relay.route.test A 203.0.113.1\n"
    "dns.route.test MX 10 b.plain.test\n"
    /* DANE */
    "!dane.test MX 10 mx.dane.test\n"
    "!mx.dane.test A 192.0.2.20\n"
    "!_25._tcp.mx.dane.test TLSA 3 1 1 "
    "0000000000000000000000000000000000000000000000000000000000000001\n"
    "!_25._tcp.mx.dane.test TLSA 3 1 2 00\n"
    "!unusable.test MX 10 mx.unusable.test\n"
    "!mx.unusable.test A 192.0.2.21\n"
    "!_25._tcp.mx.unusable.test TLSA 1 1 1 "
    "0000000000000000000000000000000000000000000000000000000000000001\n"
    "!tlsafails.test MX 10 mx.tlsafails.test\n"
    "!mx.tlsafails.test A 192.0.2.22\n"
    "_25._tcp.mx.tlsafails.test TLSA SERVFAIL\n"
    "!tlsahalf.test MX 10 mx.tlsafails.test\n"
    "!tlsahalf.test MX 20 mx.dane.test\n"
    "!unsignedhost.test MX 10 mx.unsignedhost.test\n"
    "mx.unsignedhost.test A 192.0.2.23\n"
    "_25._tcp.mx.unsignedhost.test TLSA SERVFAIL\n"
    "unsignedmx.test MX 10 mx.dane.test\n"
    "!insecuretlsa.test MX 10 mx.insecuretlsa.test\n"
    "!mx.insecuretlsa.test A 192.0.2.24\n"
    "_25._tcp.mx.insecuretlsa.test TLSA 3 1 1 "
    "0000000000000000000000000000000000000000000000000000000000000001\n"
    "!danealias.test MX 10 mx.danealias.test\n"
    "!mx.danealias.test CNAME mx.dane.test\n"
    "!second.test MX 10 mx.second.test\n"
    "!mx.second.test CNAME bare.dane.test\n"
    "!bare.dane.test A 192.0.2.25\n"
    "!dane.test ZONE\n"
    "!_25._tcp.mx.second.test TLSA 2 0 1 "
    "0000000000000000000000000000000000000000000000000000000000000001\n"
    "!leaves.test MX 10 mx.leaves.test\n"
    "!mx.leaves.test CNAME b.plain.test\n"
    "!_25._tcp.mx.leaves.test TLSA 3 1 1 "
    "0000000000000000000000000000000000000000000000000000000000000001\n"
    "!implicitdane.test A 192.0.2.26\n"
    "!implicitdane.test ZONE\n"
    "!_25._tcp.implicitdane.test TLSA 3 0 0 30\n"
    "!moved.test CNAME dane.test\n"
    "!nodane.test MX 10 mx.nodane.test\n"
    "!mx.nodane.test A 192.0.2.27\n"
    "!nodane.test ZONE\n";

struct row {
    const char *domain, *expected;
};

static const struct row rows[] = {
    /* MX by preference; IPv6 and IPv4 in turn [RFC5321 5.1] */
    {"plain.test", "a.plain.test 2001:db8::1 25 opportunistic\n"
                   "a.plain.test 192.0.2.1 25 opportunistic\n"
                   "b.plain.test 192.0.2.2 25 opportunistic\n"},
    {"PLAIN.test", "a.plain.test 2001:db8::1 25 opportunistic\n"
                   "a.plain.test 192.0.2.1 25 opportunistic\n"
                   "b.plain.test 192.0.2.2 25 opportunistic\n"},
    {"many.test", "many4.test 2001:db8::11 25 opportunistic\n"
                  "many4.test 192.0.2.12 25 opportunistic\n"
                  "many4.test 192.0.2.11 25 opportunistic\n"},
    {"implicit.test", "implicit.test 192.0.2.3 25 opportunistic\n"},
    /* for good */
    {"nothing.test", "perm 5.4.4 nothing.test has no mail server and no address"},
    {"null.test", "perm 5.1.10 null.test accepts no mail, as its null MX record says"},
    {"nosuch.test", "perm 5.1.2 there is no domain nosuch.test"},
    {"noaddress.test", "perm 5.4.4 none of the mail servers of noaddress.test has an address"},
    {"notahost.test", "perm 5.4.4 none of the mail servers of notahost.test has an address"},
    {"no_such-.test", "perm 5.1.2 \"no_such-.test\" is not a domain name"},
    {"b\xc3.test", "perm 5.1.2 \"b\xc3.test\" is not a domain name"},
    {"", "perm 5.1.2 \"\" is not a domain name"},
    /* temporary */
    {"fails.test",
     "temp 4.4.3 the mail servers of fails.test cannot be looked up: the name servers fail"},
    {"forged.test", "temp 4.4.3 what DNS says of forged.test is not signed as it must be: "
                    "the signatures do not hold"},
    {"halffails.test", "a.plain.test 2001:db8::1 25 opportunistic\n"
                       "a.plain.test 192.0.2.1 25 opportunistic\n"},
    {"allfail.test",
     "temp 4.4.3 the mail servers of allfail.test cannot be looked up: the name servers fail"},
    {"implicitfails.test", "temp 4.4.3 the mail servers of implicitfails.test cannot be looked up: "
                           "the name servers fail"},
    /* aliases */
    {"alias.test", "a.plain.test 2001:db8::1 25 opportunistic\n"
                   "a.plain.test 192.0.2.1 25 opportunistic\n"
                   "b.plain.test 192.0.2.2 25 opportunistic\n"},
    {"aliasmx.test", "also.aliasmx.test 192.0.2.2 25 opportunistic\n"},
    {"ring.test",
     "temp 4.4.3 the mail servers of ring.test cannot be looked up: the name servers fail"},
    /* ourselves: by name, by address and port, best of all */
    {"backup.test", "a.plain.test 2001:db8::1 25 opportunistic\n"
                    "a.plain.test 192.0.2.1 25 opportunistic\n"},
    {"byaddress.test", "a.plain.test 2001:db8::1 25 opportunistic\n"
                       "a.plain.test 192.0.2.1 25 opportunistic\n"},
    {"best.test",
     "perm 5.4.6 mail for best.test leads back to this server, which does not hold it"},
    {"primarylost.test",
     "temp 4.4.3 the mail servers of primarylost.test cannot be looked up: the name servers fail"},
    {"[198.51.100.1]",
     "perm 5.4.6 mail for [198.51.100.1] leads back to this server, which does not hold it"},
    /* literals [RFC5321 4.1.3] */
    {"[192.0.2.9]", "[192.0.2.9] 192.0.2.9 25 opportunistic\n"},
    {"[IPv6:2001:db8::9]", "[IPv6:2001:db8::9] 2001:db8::9 25 opportunistic\n"},
    {"[x400:nonsense]", "perm 5.1.2 \"[x400:nonsense]\" is not a domain name"},
    {"[]", "perm 5.1.2 \"[]\" is not a domain name"},
    /* IDN */
    {"b\xc3\xbc\x63her.test", "a.plain.test 2001:db8::1 25 opportunistic\n"
                              "a.plain.test 192.0.2.1 25 opportunistic\n"},
    /* routes */
    {"routed.test", "relay.route.test 203.0.113.1 2525 verify must trusted login=user\n"},
    {"fixed.test", "127.0.0.1 127.0.0.1 2025 opportunistic trusted source=127.0.0.2\n"},
    {"unix.test", "/run/lmtp - - opportunistic trusted\n"},
    {"lost.route.test", "temp 4.3.5 the route that is set for lost.route.test leads nowhere: "
                        "its host has no address"},
    {"self.route.test", "temp 4.3.5 the route that is set for self.route.test leads nowhere: "
                        "to this server itself"},
    {"clear.route.test", "mx.dane.test 192.0.2.20 25 never trusted\n"},
    {"dns.route.test", "b.plain.test 192.0.2.2 25 opportunistic source=127.0.0.3\n"},
    /* DANE [RFC7672 2.2] */
    {"dane.test", "mx.dane.test 192.0.2.20 25 opportunistic must trusted dane=1 "
                  "for=mx.dane.test,dane.test\n"},
    {"unusable.test", "mx.unusable.test 192.0.2.21 25 opportunistic must trusted dane=0 "
                      "for=mx.unusable.test,unusable.test\n"},
    {"tlsafails.test",
     "temp 4.4.3 the TLSA records of the mail servers of tlsafails.test cannot be "
     "looked up: the name servers fail"},
    {"tlsahalf.test", "mx.dane.test 192.0.2.20 25 opportunistic must trusted dane=1 "
                      "for=mx.dane.test,tlsahalf.test\n"},
    {"unsignedhost.test", "mx.unsignedhost.test 192.0.2.23 25 opportunistic trusted\n"},
    {"unsignedmx.test", "mx.dane.test 192.0.2.20 25 opportunistic must dane=1 for=mx.dane.test\n"},
    {"insecuretlsa.test", "mx.insecuretlsa.test 192.0.2.24 25 opportunistic trusted\n"},
    {"danealias.test", "mx.danealias.test 192.0.2.20 25 opportunistic must trusted dane=1 "
                       "for=mx.dane.test,danealias.test\n"},
    {"second.test", "mx.second.test 192.0.2.25 25 opportunistic must trusted dane=1 "
                    "for=mx.second.test,second.test\n"},
    {"leaves.test", "mx.leaves.test 192.0.2.2 25 opportunistic must trusted dane=1 "
                    "for=mx.leaves.test,leaves.test\n"},
    {"implicitdane.test", "implicitdane.test 192.0.2.26 25 opportunistic must trusted dane=1 "
                          "for=implicitdane.test\n"},
    {"moved.test", "mx.dane.test 192.0.2.20 25 opportunistic must trusted dane=1 "
                   "for=mx.dane.test,moved.test,dane.test\n"},
};

/* The same with REQUIRETLS [RFC8689 4.2.1]. */
static const struct row required_rows[] = {
    {"dane.test", "mx.dane.test 192.0.2.20 25 opportunistic must trusted required dane=1 "
                  "for=mx.dane.test,dane.test\n"},
    {"nodane.test", "mx.nodane.test 192.0.2.27 25 verify must trusted required\n"},
    {"unusable.test", "mx.unusable.test 192.0.2.21 25 verify must trusted required\n"},
    {"plain.test",
     "perm 5.7.10 REQUIRETLS: neither DNSSEC nor MTA-STS vouches for the mail servers of "
     "plain.test"},
    {"unsignedmx.test",
     "perm 5.7.10 REQUIRETLS: neither DNSSEC nor MTA-STS vouches for the mail servers of "
     "unsignedmx.test"},
    {"[192.0.2.9]",
     "perm 5.7.10 REQUIRETLS: neither DNSSEC nor MTA-STS vouches for the mail servers of "
     "[192.0.2.9]"},
    {"unix.test", "/run/lmtp - - verify must trusted required\n"},
    {"routed.test", "relay.route.test 203.0.113.1 2525 verify must trusted required login=user\n"},
};

/* With "TLS-Required: No" [RFC8689 4.2.2]: what the domain asks for is not even looked up. */
static const struct row optional_rows[] = {
    {"dane.test", "mx.dane.test 192.0.2.20 25 opportunistic trusted\n"},
    {"unusable.test", "mx.unusable.test 192.0.2.21 25 opportunistic trusted\n"},
    {"tlsafails.test", "mx.tlsafails.test 192.0.2.22 25 opportunistic trusted\n"},
    {"routed.test", "relay.route.test 203.0.113.1 2525 verify must trusted login=user\n"},
};

/* --- settings ----------------------------------------------------------------------------------
 */

static struct net_addr addr(const char *text)
{
    struct net_addr a;
    assert_rc(net_addr_parse(str_of(text), &a), RC_OK);
    return a;
}

static struct relay_route routes[] = {
    {.domain = STR_INIT("routed.test"),
     .host = STR_INIT("relay.route.test"),
     .port = 2525,
     .tls = RELAY_TLS_VERIFY,
     .login = STR_INIT("user"),
     .password = STR_INIT("secret")},
    {.domain = STR_INIT("fixed.test"), .host = STR_INIT("127.0.0.1"), .port = 2025},
    {.domain = STR_INIT("unix.test"), .host = STR_INIT("/run/lmtp"), .protocol = RELAY_LMTP},
    {.domain = STR_INIT("lost.route.test"), .host = STR_INIT("nosuch.route.test")},
    {.domain = STR_INIT("self.route.test"), .host = STR_INIT("mx.here.test")},
    {.domain = STR_INIT("clear.route.test"),
     .host = STR_INIT("mx.dane.test"),
     .tls = RELAY_TLS_NEVER},
    {.domain = STR_INIT("dns.route.test")},
};

struct asking {
    struct relay_where where;
    sem_t done;
};

static void on_done(struct relay_where *where)
{
    sem_post(&CONTAINER(where, struct asking, where)->done);
}

static void put_target(struct buf *out, const struct relay_target *t)
{
    static const char *const tls[] = {"opportunistic", "never", "verify", "implicit"};
    char text[INET6_ADDRSTRLEN] = "-";
    const struct in6_addr *ip = &t->addr.sa.sin6_addr;
    buf_putf(out, "%.*s ", STR_ARG(t->host));
    if (t->addr.sa.sin6_family == AF_UNIX)
        buf_putf(out, "- - ");
    else if (IN6_IS_ADDR_V4MAPPED(ip))
        buf_putf(out, "%s %u ", inet_ntop(AF_INET, ip->s6_addr + 12, text, sizeof text),
                 ntohs(t->addr.sa.sin6_port));
    else
        buf_putf(out, "%s %u ", inet_ntop(AF_INET6, ip, text, sizeof text),
                 ntohs(t->addr.sa.sin6_port));
    buf_putf(out, "%s%s%s", tls[t->tls], t->must_tls ? " must" : "",
             t->is_trusted ? " trusted" : "");
    if (t->has_source)
        buf_putf(out, " source=%s",
                 inet_ntop(AF_INET, t->source.sa.sin6_addr.s6_addr + 12, text, sizeof text));
    if (t->tries_proof)
        buf_putf(out, " tries");
    if (t->requires_tls)
        buf_putf(out, " required");
    if (t->login.n)
        buf_putf(out, " login=%.*s", STR_ARG(t->login));
    if (t->has_dane) {
        buf_putf(out, " dane=%zu for=%.*s", t->n_tlsa, STR_ARG(t->name));
        for (size_t i = 0; i < t->n_names; i++)
            buf_putf(out, ",%.*s", STR_ARG(t->names[i]));
    }
    buf_putf(out, "\n");
}

static void look(const struct relay_house *house, const struct relay_settings *s,
                 const struct row *row, enum queue_tls tls, struct buf *out)
{
    struct asking a = {
        .where = {
            .done = on_done, .domain = str_of(row->domain), .settings = s, .tls = tls, .seed = 2}};
    sem_init(&a.done, 0, 0);
    relay_where(house, &a.where);
    sem_wait(&a.done);
    buf_clear(out);
    if (a.where.outcome.rc != RC_OK)
        buf_putf(out, "%s %s %.*s", rc_name(a.where.outcome.rc), a.where.outcome.status,
                 STR_ARG(a.where.outcome.text));
    for (size_t i = 0; i < a.where.n_targets; i++)
        put_target(out, &a.where.targets[i]);
    assert_true(a.where.ttl >= 1);
    buf_put(out, str_from("", 1));
    sem_destroy(&a.done);
    arena_fini(&a.where.arena);
}

static struct dns *table(void)
{
    static const struct ctx ctx = {.clock = &clock_system};
    struct dns_conf conf = {0};
    struct dns *dns;
    char why[256] = "";
    enum rc rc = dns_fixed_new(&ctx, &conf, str_of(dns_rows), &dns, why);
    assert_string_equal(why, "");
    assert_rc(rc, RC_OK);
    return dns;
}

static void test_table(void **state)
{
    struct net_addr own[] = {addr("198.51.100.1:25"), addr("0.0.0.0:2026")};
    routes[1].source[0] = addr("127.0.0.2:0");
    routes[1].has_source[0] = true;
    routes[6].source[0] = addr("127.0.0.3:0");
    routes[6].has_source[0] = true;
    struct relay_settings s = {.hostname = STR("mx.here.test"),
                               .routes = routes,
                               .n_routes = sizeof routes / sizeof *routes,
                               .own = own,
                               .n_own = 2};
    struct dns *dns = table();
    struct relay_house house = {.dns = dns};
    struct buf out;
    buf_init(&out, 64 << 10);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        look(&house, &s, &rows[i], QUEUE_TLS_AS_USUAL, &out);
        assert_string_equal(buf_str(&out).p, rows[i].expected);
    }
    for (size_t i = 0; i < sizeof required_rows / sizeof *required_rows; i++) {
        look(&house, &s, &required_rows[i], QUEUE_TLS_REQUIRED, &out);
        assert_string_equal(buf_str(&out).p, required_rows[i].expected);
    }
    for (size_t i = 0; i < sizeof optional_rows / sizeof *optional_rows; i++) {
        look(&house, &s, &optional_rows[i], QUEUE_TLS_IF_POSSIBLE, &out);
        assert_string_equal(buf_str(&out).p, optional_rows[i].expected);
    }
    buf_fini(&out);
    dns_free(&dns);
}

/* A policy as an earlier run has kept it: class G, number 4 (docs/internals/tlspol.md). */
static void keep_policy(struct kv *kv, const char *domain, const char *text)
{
    unsigned char mem[1000];
    struct packer w;
    pack_init(&w, mem, sizeof mem);
    pack_u8(&w, 1);
    pack_u64(&w, clock_wall(&clock_system) / NS_PER_SEC);
    pack_u64(&w, clock_wall(&clock_system) / NS_PER_SEC + 86400);
    pack_str16(&w, STR("1"));
    pack_str16(&w, str_of(text));
    struct kv_txn *txn = kv_txn_new((struct kv_part){KV_GLOBAL, 4});
    assert_rc(kv_txn_put(txn, str_of(domain), pack_done(&w)), RC_OK);
    assert_rc(kv_commit_wait(kv, txn, NULL), RC_OK);
}

/* MTA-STS [RFC8461 5]: hosts that the policy does not name are passed over, the others must show
 * a certificate; DANE needs no policy; testing changes nothing but what is tried. */
static void test_mta_sts(void **state)
{
    static const struct row sts_rows[] = {
        {"plain.test", "b.plain.test 192.0.2.2 25 verify must trusted\n"},
        {"many.test", "temp 4.7.5 none of the mail servers of many.test is named by its MTA-STS "
                      "policy"},
        {"aliasmx.test", "also.aliasmx.test 192.0.2.2 25 opportunistic tries\n"},
        {"dane.test", "mx.dane.test 192.0.2.20 25 opportunistic must trusted dane=1 "
                      "for=mx.dane.test,dane.test\n"},
        {"unusable.test", "mx.unusable.test 192.0.2.21 25 verify must trusted\n"},
        {"implicit.test", "implicit.test 192.0.2.3 25 verify must trusted\n"},
        {"halffails.test", "a.plain.test 2001:db8::1 25 opportunistic\n"
                           "a.plain.test 192.0.2.1 25 opportunistic\n"},
    };
    static const char *const policies[][2] = {
        {"plain.test", "version: STSv1\nmode: enforce\nmax_age: 86400\nmx: b.plain.test\n"},
        {"many.test", "version: STSv1\nmode: enforce\nmax_age: 86400\nmx: *.many.test\n"},
        {"aliasmx.test", "version: STSv1\nmode: testing\nmax_age: 86400\nmx: x.test\n"},
        {"dane.test", "version: STSv1\nmode: enforce\nmax_age: 86400\nmx: x.test\n"},
        {"unusable.test", "version: STSv1\nmode: enforce\nmax_age: 86400\nmx: *.unusable.test\n"},
        {"implicit.test", "version: STSv1\nmode: enforce\nmax_age: 86400\nmx: implicit.test\n"},
        {"halffails.test", "version: STSv1\nmode: none\nmax_age: 86400\n"},
    };
    static const struct ctx ctx = {.clock = &clock_system};
    struct relay_settings s = {.hostname = STR("mx.here.test")};
    struct tlspol_conf conf = {0};
    struct tlspol_day day;
    struct arena arena = {0};
    struct dns *dns = table();
    struct kv *kv = kv_mem_new(&ctx);
    struct buf out;
    char why[256];
    for (size_t i = 0; i < sizeof policies / sizeof *policies; i++)
        keep_policy(kv, policies[i][0], policies[i][1]);
    buf_init(&out, 64 << 10);
    struct relay_house house = {.dns = dns};
    assert_rc(tlspol_new(&ctx, kv, dns, &conf, &house.tlspol, why), RC_OK);
    for (size_t i = 0; i < sizeof sts_rows / sizeof *sts_rows; i++) {
        look(&house, &s, &sts_rows[i], QUEUE_TLS_AS_USUAL, &out);
        assert_string_equal(buf_str(&out).p, sts_rows[i].expected);
    }
    tlspol_flush(house.tlspol); /* what was passed over is counted [RFC8460 4.3] */
    uint32_t today = (uint32_t)(clock_wall(&clock_system) / NS_PER_SEC / 86400);
    enum rc rc = tlspol_day_next(kv, today, STR("many"), &arena, &day);
    if (rc == RC_EOF) /* midnight */
        rc = tlspol_day_next(kv, today - 1, STR("many"), &arena, &day);
    assert_rc(rc, RC_OK);
    assert_str(day.domain, "many.test");
    assert_int_equal(day.bad[TLSPOL_BY_STS], 1);
    arena_fini(&arena);
    tlspol_free(&house.tlspol);
    buf_fini(&out);
    dns_free(&dns);
    kv_close(&kv);
}

/* Hosts of one preference come in every order, each about as often [RFC5321 5.1]; the best ones
 * first. */
static void test_shuffled(void **state)
{
    static const struct ctx ctx = {.clock = &clock_system};
    struct dns_conf conf = {0};
    struct relay_settings s = {0};
    struct dns *dns;
    char why[256];
    unsigned first[4] = {0};
    assert_rc(dns_fixed_new(&ctx, &conf,
                            STR("d.test MX 20 h3.test\nd.test MX 10 h0.test\nd.test MX 10 h1.test\n"
                                "d.test MX 10 h2.test\nd.test MX 15 h1.test\n"
                                "h0.test A 192.0.2.1\nh1.test A 192.0.2.2\n"
                                "h2.test A 192.0.2.3\nh3.test A 192.0.2.4\n"),
                            &dns, why),
              RC_OK);
    for (uint64_t seed = 1; seed <= 300; seed++) {
        struct relay_house house = {.dns = dns};
        struct asking a = {
            .where = {.done = on_done, .domain = STR("d.test"), .settings = &s, .seed = seed}};
        sem_init(&a.done, 0, 0);
        relay_where(&house, &a.where);
        sem_wait(&a.done);
        assert_int_equal(a.where.n_targets, 4); /* h1 once, at its better preference */
        assert_str(a.where.targets[3].host, "h3.test");
        first[a.where.targets[0].host.p[1] - '0']++;
        sem_destroy(&a.done);
        arena_fini(&a.where.arena);
    }
    for (int i = 0; i < 3; i++)
        assert_in_range(first[i], 60, 140);
    dns_free(&dns);
}

/* A domain with more hosts and addresses than are looked at. */
static void test_bounded(void **state)
{
    static const struct ctx ctx = {.clock = &clock_system};
    static char text[64 << 10];
    struct dns_conf conf = {.queries = 4}; /* fewer than it asks at once */
    struct relay_settings s = {0};
    struct dns *dns;
    char why[256];
    size_t n = 0;
    for (int i = 0; i < 100; i++) {
        n += (size_t)snprintf(text + n, sizeof text - n, "d.test MX %d h%d.test\n", i, i);
        for (int k = 0; k < 10; k++)
            n += (size_t)snprintf(text + n, sizeof text - n, "h%d.test A 192.0.2.%d\n", i, k);
    }
    assert_rc(dns_fixed_new(&ctx, &conf, str_from(text, n), &dns, why), RC_OK);
    struct relay_house house = {.dns = dns};
    struct asking a = {.where = {.done = on_done, .domain = STR("d.test"), .settings = &s}};
    sem_init(&a.done, 0, 0);
    relay_where(&house, &a.where);
    sem_wait(&a.done);
    assert_int_equal(a.where.n_targets, TARGETS_MAX);
    assert_str(a.where.targets[0].host, "h0.test");
    assert_str(a.where.targets[6].host, "h1.test");
    sem_destroy(&a.done);
    arena_fini(&a.where.arena);
    dns_free(&dns);
}

/* Who publishes an address of this machine, or of nobody, has no mail sent there; a route has. */
static void test_avoided(void **state)
{
    static const struct ctx ctx = {.clock = &clock_system};
    static const char text[] = "lo.test MX 10 a.lo.test\n"
                               "a.lo.test A 127.0.0.1\n"
                               "a.lo.test AAAA ::1\n"
                               "implicit.test A 0.0.0.0\n"
                               "mapped.test AAAA ::ffff:127.0.0.1\n"
                               "also.test MX 10 a.lo.test\n"
                               "also.test MX 20 b.also.test\n"
                               "b.also.test A 127.0.0.2\n"
                               "b.also.test A 192.0.2.1\n"
                               "halffails.test MX 10 a.lo.test\n"
                               "halffails.test MX 20 lost.test\n"
                               "lost.test * SERVFAIL\n"
                               "routed.test MX 10 nobody.test\n";
    static const struct row cases[] = {
        {"lo.test", "perm 5.4.4 lo.test names a mail server at an address that belongs to no "
                    "other host: 127.0.0.1"},
        {"implicit.test", "perm 5.4.4 implicit.test names a mail server at an address that "
                          "belongs to no other host: 0.0.0.0"},
        {"mapped.test", "perm 5.4.4 mapped.test names a mail server at an address that "
                        "belongs to no other host: 127.0.0.1"},
        {"[127.0.0.1]", "perm 5.4.4 [127.0.0.1] names a mail server at an address that "
                        "belongs to no other host: 127.0.0.1"},
        {"[IPv6:::1]", "perm 5.4.4 [IPv6:::1] names a mail server at an address that "
                       "belongs to no other host: ::1"},
        {"also.test", "b.also.test 192.0.2.1 25 opportunistic\n"},
        {"halffails.test", "temp 4.4.3 the mail servers of halffails.test cannot be looked "
                           "up: the name servers fail"},
        {"routed.test", "a.lo.test ::1 2525 opportunistic trusted\n"
                        "a.lo.test 127.0.0.1 2525 opportunistic trusted\n"},
    };
    struct relay_route route = {
        .domain = STR("routed.test"), .host = STR("a.lo.test"), .port = 2525};
    struct net_cidr avoid[3];
    assert_rc(net_cidr_parse(STR("127.0.0.0/8"), &avoid[0]), RC_OK);
    assert_rc(net_cidr_parse(STR("0.0.0.0/8"), &avoid[1]), RC_OK);
    assert_rc(net_cidr_parse(STR("::/127"), &avoid[2]), RC_OK);
    struct relay_settings s = {.avoid = avoid, .n_avoid = 3, .routes = &route, .n_routes = 1};
    struct dns_conf conf = {0};
    struct dns *dns;
    struct buf out;
    char why[256];
    assert_rc(dns_fixed_new(&ctx, &conf, str_of(text), &dns, why), RC_OK);
    struct relay_house house = {.dns = dns};
    buf_init(&out, 64 << 10);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        look(&house, &s, &cases[i], false, &out);
        assert_string_equal(buf_str(&out).p, cases[i].expected);
    }
    buf_fini(&out);
    dns_free(&dns);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_table), cmocka_unit_test(test_mta_sts),
                                       cmocka_unit_test(test_shuffled),
                                       cmocka_unit_test(test_bounded),
                                       cmocka_unit_test(test_avoided)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
