/* What DNS answers beside what should be published: each kind of record with answers of every kind,
 * from a fixed table. */
#include "ctl/ctl_int.h"

#include "base/test.h"
#include "tlspol/tlspol.h"

#include <semaphore.h>

#define HOST "mx.here.test"

static const char table[] =
    "mx.here.test A 192.0.2.1\n"
    "mx.here.test AAAA 2001:db8::1\n"
    "good.test MX 10 mx.here.test\n"
    "other.test MX 5 mx.there.test\n"
    "other.test MX 50 MX.here.test\n"
    "wrong.test MX 10 mx.there.test\n"
    "none.test A 192.0.2.9\n"
    "busy.test * SERVFAIL\n"
    "forged.test * BOGUS\n"
    "good.test TXT v=spf1 mx -all\n"
    "good.test TXT site-verification=1\n"
    "more.test TXT v=spf1 ip4:192.0.2.0/24 mx include:x.test ~all\n"
    "wrong.test TXT v=spf1 a -all\n"
    "open.test TXT v=spf1 mx ?all\n"
    "twice.test TXT v=spf1 mx -all\n"
    "twice.test TXT v=spf1 -all\n"
    "_dmarc.good.test TXT v=DMARC1; p=quarantine; rua=mailto:postmaster@good.test\n"
    "_dmarc.other.test TXT v=DMARC1;p=reject\n"
    "_dmarc.wrong.test TXT v=DMARC1; q=reject\n"
    "k._domainkey.good.test TXT v=DKIM1;k=rsa;p=QUJD\n"
    "k._domainkey.wrong.test TXT v=DKIM1; k=rsa; p=QUJE\n"
    "k._domainkey.revoked.test TXT v=DKIM1; k=rsa; p=\n"
    "_mta-sts.good.test TXT v=STSv1; id=0123abcd;\n"
    "_mta-sts.wrong.test TXT v=STSv1; id=0123abce\n"
    "_smtp._tls.good.test TXT v=TLSRPTv1;rua=mailto:x@y.test\n"
    "!_25._tcp.good.test TLSA 3 1 1 00ff\n"
    "!_25._tcp.wrong.test TLSA 3 1 1 00fe\n"
    "!signed.test ZONE\n"
    "_imaps._tcp.good.test SRV 0 5 993 mx.here.test\n"
    "_imaps._tcp.wrong.test SRV 0 1 993 mx.there.test\n"
    "mta-sts.good.test CNAME mx.here.test\n"
    "mta-sts.same.test A 192.0.2.1\n"
    "mta-sts.wrong.test A 192.0.2.7\n"
    "mta-sts.half.test AAAA SERVFAIL\n"
    "mta-sts.half.test A 192.0.2.7\n"
    "1.2.0.192.in-addr.arpa PTR mx.here.test\n"
    "2.2.0.192.in-addr.arpa PTR pool-7.provider.test\n";

struct fixture {
    struct dns *dns;
    sem_t done;
};

struct look {
    struct dns_query q;
    sem_t *done;
};

static void on_answer(struct dns_query *q)
{
    sem_post(CONTAINER(q, struct look, q)->done);
}

static void ask(struct fixture *f, struct look *look, const char *name, enum dns_type type)
{
    *look = (struct look){.q = {.done = on_answer, .name = str_of(name), .type = type}};
    look->done = &f->done;
    assert_rc(dns_ask(f->dns, &look->q), RC_OK);
    while (sem_wait(&f->done) != 0)
        ;
}

static void begin(struct fixture *f)
{
    static const struct ctx ctx = {.clock = &clock_system};
    const struct dns_conf conf = {0};
    char why[256] = "";
    sem_init(&f->done, 0, 0);
    enum rc rc = dns_fixed_new(&ctx, &conf, str_of(table), &f->dns, why);
    assert_string_equal(why, "");
    assert_rc(rc, RC_OK);
}

static void end(struct fixture *f)
{
    dns_free(&f->dns);
    sem_destroy(&f->done);
}

static void check(struct fixture *f, const struct record *r, bool has_own, enum published expected,
                  const char *expected_found)
{
    struct look answer[2], host[2];
    struct buf found;
    buf_init(&found, PUBLISHED_FOUND);
    ask(f, &host[0], HOST, DNS_AAAA);
    ask(f, &host[1], HOST, DNS_A);
    for (unsigned i = 0; i < 2; i++)
        ask(f, &answer[i], r->name.p, record_question(r->kind, i));
    const struct published_facts facts = {.answer = {&answer[0].q, &answer[1].q},
                                          .host = {&host[0].q, &host[1].q},
                                          .hostname = HOST,
                                          .has_own = has_own};
    enum published p = record_compare(r, &facts, &found);
    print_message("%s %s: %.*s\n", record_type(r->kind), r->name.p, STR_ARG(buf_str(&found)));
    assert_int_equal(p, expected);
    assert_true(str_eq(buf_str(&found), str_of(expected_found)));
    for (int i = 0; i < 2; i++) {
        dns_query_fini(&answer[i].q);
        dns_query_fini(&host[i].q);
    }
    buf_fini(&found);
}

enum {
    OK = PUBLISHED_OK,
    MISSING = PUBLISHED_MISSING,
    DIFFERENT = PUBLISHED_DIFFERENT,
    UNKNOWN = PUBLISHED_UNKNOWN,
    UNNEEDED = PUBLISHED_UNNEEDED
};

#define MX      "10 mx.here.test."
#define SPF     "v=spf1 mx -all"
#define DMARC   "v=DMARC1; p=quarantine; rua=mailto:postmaster@good.test"
#define DKIM    "v=DKIM1; k=rsa; p=QUJD"
#define STS     "v=STSv1; id=0123abcd"
#define TLSRPT  "v=TLSRPTv1; rua=mailto:postmaster@good.test"
#define TLSA    "3 1 1 00ff"
#define SERVICE "0 1 993 mx.here.test."
#define FAIL    "the name servers fail"

struct row {
    enum record_kind kind;
    const char *name, *value;
    int expected;
    const char *found;
};

/* has_own: one of the host's addresses is this machine's. */
static void check_rows(const struct row *rows, size_t n, bool has_own)
{
    struct fixture f;
    begin(&f);
    for (size_t i = 0; i < n; i++) {
        const struct record r = {
            .kind = rows[i].kind, .name = str_of(rows[i].name), .value = str_of(rows[i].value)};
        check(&f, &r, has_own, (enum published)rows[i].expected, rows[i].found);
    }
    end(&f);
}

static void test_each_kind(void **state)
{
    static const struct row rows[] = {
        {RECORD_MX, "good.test", MX, OK, ""},
        {RECORD_MX, "other.test", MX, OK, "50 mx.here.test."},
        {RECORD_MX, "wrong.test", MX, DIFFERENT, "10 mx.there.test."},
        {RECORD_MX, "none.test", MX, MISSING, ""},    /* there is the name */
        {RECORD_MX, "nowhere.test", MX, MISSING, ""}, /* not even that */
        {RECORD_MX, "busy.test", MX, UNKNOWN, FAIL},  /* never taken for absent */
        {RECORD_MX, "forged.test", MX, UNKNOWN, "the signatures do not hold"},
        {RECORD_SPF, "good.test", SPF, OK, ""},
        {RECORD_SPF, "more.test", SPF, OK, "v=spf1 ip4:192.0.2.0/24 mx include:x.test ~all"},
        {RECORD_SPF, "wrong.test", SPF, DIFFERENT, "v=spf1 a -all"},
        {RECORD_SPF, "open.test", SPF, DIFFERENT, "v=spf1 mx ?all"},
        {RECORD_SPF, "twice.test", SPF, DIFFERENT, "v=spf1 -all"}, /* [RFC7208 4.5] */
        {RECORD_SPF, "none.test", SPF, MISSING, ""},
        {RECORD_DMARC, "_dmarc.good.test", DMARC, OK, ""},
        {RECORD_DMARC, "_dmarc.other.test", DMARC, OK, "v=DMARC1;p=reject"},
        {RECORD_DMARC, "_dmarc.wrong.test", DMARC, DIFFERENT, "v=DMARC1; q=reject"},
        {RECORD_DKIM, "k._domainkey.good.test", DKIM, OK, "v=DKIM1;k=rsa;p=QUJD"},
        {RECORD_DKIM, "k._domainkey.wrong.test", DKIM, DIFFERENT, "v=DKIM1; k=rsa; p=QUJE"},
        {RECORD_DKIM, "k._domainkey.revoked.test", DKIM, DIFFERENT, "v=DKIM1; k=rsa; p="},
        {RECORD_DKIM, "k._domainkey.none.test", DKIM, MISSING, ""},
        {RECORD_STS, "_mta-sts.good.test", STS, OK, "v=STSv1; id=0123abcd;"},
        {RECORD_STS, "_mta-sts.wrong.test", STS, DIFFERENT, "v=STSv1; id=0123abce"},
        {RECORD_TLSRPT, "_smtp._tls.good.test", TLSRPT, OK, "v=TLSRPTv1;rua=mailto:x@y.test"},
        {RECORD_TLSRPT, "_smtp._tls.none.test", TLSRPT, MISSING, ""},
        {RECORD_TLSA, "_25._tcp.good.test", TLSA, OK, ""},
        {RECORD_TLSA, "_25._tcp.wrong.test", TLSA, DIFFERENT, "3 1 1 00fe"},
        {RECORD_TLSA, "_25._tcp.unsigned.test", TLSA, UNNEEDED, ""}, /* [RFC7672 2.2] */
        {RECORD_TLSA, "_25._tcp.signed.test", TLSA, MISSING, ""},
        {RECORD_SRV, "_imaps._tcp.good.test", SERVICE, OK, "0 5 993 mx.here.test."},
        {RECORD_SRV, "_imaps._tcp.wrong.test", SERVICE, DIFFERENT, "0 1 993 mx.there.test."},
        {RECORD_SRV, "_imaps._tcp.none.test", SERVICE, MISSING, ""},
        {RECORD_SRV, "_imaps._tcp.none.test", "0 0 0 .", UNNEEDED, ""}, /* [RFC6186 3.4] */
        {RECORD_SRV, "_imaps._tcp.good.test", "0 0 0 .", DIFFERENT, "0 5 993 mx.here.test."},
        {RECORD_ALIAS, "mta-sts.good.test", HOST ".", OK, ""},
        {RECORD_ALIAS, "mta-sts.same.test", HOST ".", OK, "192.0.2.1"},
        {RECORD_ALIAS, "mta-sts.wrong.test", HOST ".", DIFFERENT, "192.0.2.7"},
        {RECORD_ALIAS, "mta-sts.none.test", HOST ".", MISSING, ""},
        {RECORD_ALIAS, "mta-sts.half.test", HOST ".", UNKNOWN, FAIL},
        {RECORD_PTR, "1.2.0.192.in-addr.arpa", HOST ".", OK, ""},
        {RECORD_PTR, "2.2.0.192.in-addr.arpa", HOST ".", DIFFERENT, "pool-7.provider.test."},
        {RECORD_PTR, "3.2.0.192.in-addr.arpa", HOST ".", MISSING, ""},
    };
    check_rows(rows, sizeof rows / sizeof *rows, true);
}

/* One address has to be published; others of the machine may be. */
static void test_addresses(void **state)
{
    static const char both[] = "2001:db8::1 | 192.0.2.1";
    static const struct row with_own[] = {
        {RECORD_V4, HOST, "192.0.2.1", OK, ""},
        {RECORD_V6, HOST, "2001:db8::1", OK, ""},
        {RECORD_V4, HOST, "192.0.2.2", UNNEEDED, both},
    };
    static const struct row without[] = {
        {RECORD_V4, HOST, "192.0.2.2", DIFFERENT, both},
        {RECORD_V4, HOST, "10.1.2.3", UNNEEDED, both}, /* behind a router */
        {RECORD_V6, HOST, "fd00::1", UNNEEDED, both},
    };
    check_rows(with_own, sizeof with_own / sizeof *with_own, true);
    check_rows(without, sizeof without / sizeof *without, false);
}

/* The policy of MTA-STS, as it was fetched or not. */
static void test_policy(void **state)
{
    static const struct {
        const char *text; /* NULL: there is none */
        enum tlspol_gap gap;
        const char *why;
        int expected;
        const char *found;
    } rows[] = {
        {"enforce\nmx: Mx.Here.test", TLSPOL_NO_GAP, "", OK, ""},
        {"testing\nmx: mx.here.test", TLSPOL_NO_GAP, "", OK, "mode: testing; mx: mx.here.test"},
        {"enforce\nmx: *.here.test\nmx: b.test", TLSPOL_NO_GAP, "", OK,
         "mode: enforce; mx: *.here.test; mx: b.test"},
        {"enforce\nmx: mx.there.test", TLSPOL_NO_GAP, "", DIFFERENT,
         "mode: enforce; mx: mx.there.test"},
        {"none", TLSPOL_NO_GAP, "", DIFFERENT, "mode: none"},
        {NULL, TLSPOL_NO_GAP, "", MISSING, ""},
        {NULL, TLSPOL_CANNOT_ASK, FAIL, UNKNOWN, FAIL}, /* never taken for absent */
        {NULL, TLSPOL_CANNOT_FETCH, "the policy host answers 404", MISSING,
         "the policy host answers 404"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[256];
        struct tlspol_query q = {.gap = rows[i].gap};
        struct buf found;
        snprintf(q.why, sizeof q.why, "%s", rows[i].why);
        snprintf(text, sizeof text, "version: STSv1\nmode: %s\nmax_age: 86400\n",
                 rows[i].text ? rows[i].text : "");
        if (rows[i].text)
            assert_rc(tlspol_parse(str_of(text), &q.arena, &q.policy), RC_OK);
        buf_init(&found, PUBLISHED_FOUND);
        assert_int_equal(policy_compare(&q, "Mx.here.test", &found), rows[i].expected);
        assert_true(str_eq(buf_str(&found), str_of(rows[i].found)));
        buf_fini(&found);
        arena_fini(&q.arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_each_kind),
                                       cmocka_unit_test(test_addresses),
                                       cmocka_unit_test(test_policy)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
