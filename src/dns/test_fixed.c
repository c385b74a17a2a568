/* The table: what a test above dns/ can rely on; and what holds for every query: exactly one end,
 * bounded in time and number. */
#include "dns/dns.h"

#include "base/mem.h"
#include "base/test.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>

struct waiting {
    struct dns_query q;
    sem_t done;
};

static void on_done(struct dns_query *q)
{
    sem_post(&CONTAINER(q, struct waiting, q)->done);
}

static struct dns *table(const char *text, const struct dns_conf *conf)
{
    static const struct ctx ctx = {.clock = &clock_system};
    struct dns *dns;
    char why[256];
    assert_rc(dns_fixed_new(&ctx, conf, str_of(text), &dns, why), RC_OK);
    return dns;
}

static struct waiting *ask(struct dns *dns, const char *name, enum dns_type type)
{
    struct waiting *w = mem_zero(sizeof *w);
    sem_init(&w->done, 0, 0);
    w->q = (struct dns_query){.done = on_done, .name = str_of(name), .type = type};
    assert_rc(dns_ask(dns, &w->q), RC_OK);
    sem_wait(&w->done);
    return w;
}

static void end(struct waiting *w)
{
    sem_destroy(&w->done);
    dns_query_fini(&w->q);
    free(w);
}

static const char rows[] = "# a comment\n"
                           "!example ZONE\n"
                           "!example MX 20 b.example\n"
                           "!example MX 10 A.example.\n"
                           "!a.example A 192.0.2.1\n"
                           "!a.example AAAA 2001:db8::1\n"
                           "b.example A 192.0.2.2\n"
                           "!alias.example CNAME b.example\n"
                           "!safe.example CNAME a.example\n"
                           "one.example CNAME two.example\n"
                           "two.example CNAME one.example\n"
                           "!example TXT v=spf1 -all\n"
                           "!_25._tcp.a.example TLSA 3 1 1 0aFF\n"
                           "bad.example * SERVFAIL\n"
                           "forged.example MX BOGUS\n"
                           "null.example MX 0 .\n"
                           "_imaps._tcp.example SRV 5 1 993 a.example\n"
                           "_pop3._tcp.example SRV 0 0 0 .\n"
                           "none.example MX NXDOMAIN\n"
                           "mute.example * SILENCE\n";

static void test_records(void **state)
{
    struct dns_conf conf = {0};
    struct dns *dns = table(rows, &conf);
    struct waiting *w = ask(dns, "EXAMPLE", DNS_MX);
    assert_int_equal(w->q.result, DNS_OK);
    assert_true(w->q.is_secure);
    assert_int_equal(w->q.ttl, 300);
    assert_int_equal(w->q.n_records, 2);
    assert_int_equal(w->q.records[0].preference, 20);
    assert_str(w->q.records[1].name, "a.example");
    end(w);
    w = ask(dns, "a.example", DNS_AAAA);
    char text[INET6_ADDRSTRLEN];
    assert_string_equal(inet_ntop(AF_INET6, &w->q.records[0].address, text, sizeof text),
                        "2001:db8::1");
    end(w);
    w = ask(dns, "_25._tcp.a.example.", DNS_TLSA);
    assert_int_equal(w->q.records[0].usage, 3);
    assert_str(w->q.records[0].data, "\x0a\xff");
    end(w);
    w = ask(dns, "example", DNS_TXT);
    assert_str(w->q.records[0].data, "v=spf1 -all");
    end(w);
    w = ask(dns, "null.example", DNS_MX);
    assert_str(w->q.records[0].name, "");
    end(w);
    w = ask(dns, "_imaps._tcp.example", DNS_SRV); /* [RFC2782] */
    assert_int_equal(w->q.records[0].preference, 5);
    assert_int_equal(w->q.records[0].weight, 1);
    assert_int_equal(w->q.records[0].port, 993);
    assert_str(w->q.records[0].name, "a.example");
    end(w);
    w = ask(dns, "_pop3._tcp.example", DNS_SRV);
    assert_str(w->q.records[0].name, "");
    end(w);
    dns_free(&dns);
}

static void test_aliases(void **state)
{
    struct dns_conf conf = {0};
    struct dns *dns = table(rows, &conf);
    struct waiting *w = ask(dns, "alias.example", DNS_A);
    assert_int_equal(w->q.result, DNS_OK);
    assert_false(w->q.is_secure); /* the last step is not */
    assert_str(w->q.canonical, "b.example");
    end(w);
    w = ask(dns, "safe.example", DNS_A);
    assert_true(w->q.is_secure);
    end(w);
    w = ask(dns, "alias.example", DNS_CNAME);
    assert_true(w->q.is_secure);
    assert_str(w->q.records[0].name, "b.example");
    end(w);
    w = ask(dns, "one.example", DNS_A);
    assert_int_equal(w->q.result, DNS_TEMP);
    end(w);
    dns_free(&dns);
}

static void test_five_ends(void **state)
{
    static const struct {
        const char *name;
        enum dns_type type;
        enum dns_result result;
        bool is_secure;
    } cases[] = {
        {"a.example", DNS_A, DNS_OK, true},        {"b.example", DNS_A, DNS_OK, false},
        {"b.example", DNS_MX, DNS_NODATA, true},   {"no.example", DNS_MX, DNS_NXDOMAIN, true},
        {"no.other", DNS_MX, DNS_NXDOMAIN, false}, {"none.example", DNS_MX, DNS_NXDOMAIN, false},
        {"bad.example", DNS_MX, DNS_TEMP, false},  {"forged.example", DNS_MX, DNS_BOGUS, false}};
    struct dns_conf conf = {0};
    struct dns *dns = table(rows, &conf);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct waiting *w = ask(dns, cases[i].name, cases[i].type);
        assert_string_equal(dns_result_name(w->q.result), dns_result_name(cases[i].result));
        assert_int_equal(w->q.is_secure, cases[i].is_secure);
        assert_int_equal(w->q.why[0] != 0, w->q.result >= DNS_TEMP);
        end(w);
    }
    dns_free(&dns);
}

static void test_silence_ends(void **state)
{
    struct dns_conf conf = {.query_ms = 50};
    struct dns *dns = table(rows, &conf);
    struct waiting *w = ask(dns, "mute.example", DNS_A);
    assert_int_equal(w->q.result, DNS_TEMP);
    assert_string_equal(w->q.why, "the name servers did not answer in time");
    end(w);
    dns_free(&dns);
}

static void test_bounded(void **state)
{
    struct dns_conf conf = {.queries = 1, .waiting = 1};
    struct dns *dns = table(rows, &conf);
    struct waiting w[2] = {0}, more = {0};
    for (int i = 0; i < 2; i++) {
        sem_init(&w[i].done, 0, 0);
        w[i].q = (struct dns_query){.done = on_done, .name = STR("mute.example"), .type = DNS_A};
        assert_rc(dns_ask(dns, &w[i].q), RC_OK);
    }
    more.q = w[0].q;
    more.q.name = STR("a.example");
    assert_rc(dns_ask(dns, &more.q), RC_LIMIT);
    dns_stop(dns); /* those under way are given back */
    for (int i = 0; i < 2; i++) {
        sem_wait(&w[i].done);
        assert_int_equal(w[i].q.result, DNS_TEMP);
        sem_destroy(&w[i].done);
        dns_query_fini(&w[i].q);
    }
    assert_rc(dns_ask(dns, &more.q), RC_TEMP);
    dns_free(&dns);
}

/* Who comes when all places are taken has a turn, and an end. */
static void test_turns(void **state)
{
    enum { N = 200 };
    struct dns_conf conf = {.queries = 1};
    struct dns *dns = table(rows, &conf);
    struct waiting *w = mem_zero(N * sizeof *w);
    for (int i = 0; i < N; i++) {
        sem_init(&w[i].done, 0, 0);
        w[i].q = (struct dns_query){.done = on_done, .name = STR("a.example"), .type = DNS_A};
        assert_rc(dns_ask(dns, &w[i].q), RC_OK);
    }
    for (int i = 0; i < N; i++) {
        sem_wait(&w[i].done);
        assert_int_equal(w[i].q.result, DNS_OK);
        sem_destroy(&w[i].done);
        dns_query_fini(&w[i].q);
    }
    free(w);
    dns_free(&dns);
}

static void test_a_turn_that_never_comes(void **state)
{
    struct dns_conf conf = {.queries = 1, .query_ms = 300};
    struct dns *dns = table(rows, &conf);
    struct waiting w[40] = {0}, nothing = {0};
    for (int i = 0; i < 40; i++) {
        sem_init(&w[i].done, 0, 0);
        w[i].q = (struct dns_query){.done = on_done, .name = STR("mute.example"), .type = DNS_A};
        assert_rc(dns_ask(dns, &w[i].q), RC_OK);
    }
    sem_init(&nothing.done, 0, 0);
    nothing.q = (struct dns_query){.done = on_done, .name = STR(""), .type = DNS_NOTHING};
    assert_rc(dns_ask(dns, &nothing.q), RC_OK);
    sem_wait(&nothing.done);
    assert_int_equal(nothing.q.result, DNS_NODATA);
    dns_query_fini(&nothing.q);
    for (int i = 0; i < 40; i++) {
        sem_wait(&w[i].done);
        assert_int_equal(w[i].q.result, DNS_TEMP);
        dns_query_fini(&w[i].q);
    }
    assert_string_equal(w[39].q.why, "too many questions are under way");
    dns_free(&dns);
}

static void test_names(void **state)
{
    struct dns_conf conf = {0};
    struct dns *dns = table(rows, &conf);
    char label[66], name[300];
    memset(label, 'a', 64);
    label[64] = 0;
    memset(name, 'b', sizeof name);
    for (int i = 20; i < 290; i += 20)
        name[i] = '.';
    struct str bad[] = {STR("a..b"), STR(".a"),       STR("a b"),    STR("a\0b"),
                        STR("a\\b"), STR("\xc3\xa4"), str_of(label), str_from(name, 260)};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct dns_query q = {.done = on_done, .name = bad[i], .type = DNS_A};
        assert_rc(dns_ask(dns, &q), RC_SYNTAX);
    }
    assert_true(dns_is_host(STR("mx-1.example.org")));
    assert_false(dns_is_host(STR("")));
    assert_false(dns_is_host(STR("-a.example")));
    assert_false(dns_is_host(STR("a\\032b.example")));
    dns_free(&dns);
}

static void test_other_table(void **state)
{
    struct dns_conf conf = {0};
    struct dns *dns = table("", &conf);
    char why[256];
    struct waiting *w = ask(dns, "a.example", DNS_A);
    assert_int_equal(w->q.result, DNS_NXDOMAIN);
    end(w);
    assert_rc(dns_fixed_set(dns, STR("a.example A 192.0.2.7"), why), RC_OK);
    w = ask(dns, "a.example", DNS_A);
    assert_int_equal(w->q.result, DNS_OK);
    end(w);
    assert_rc(dns_fixed_set(dns, STR("a.example A 192.0.2"), why), RC_SYNTAX);
    assert_non_null(strstr(why, "a.example A 192.0.2"));
    assert_rc(dns_fixed_set(dns, STR("a.example X y"), why), RC_SYNTAX);
    assert_rc(dns_fixed_set(dns, STR("a.example TLSA 3 1 1 0g"), why), RC_SYNTAX);
    dns_free(&dns);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_records),
        cmocka_unit_test(test_aliases),
        cmocka_unit_test(test_five_ends),
        cmocka_unit_test(test_silence_ends),
        cmocka_unit_test(test_bounded),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_other_table),
        cmocka_unit_test(test_turns),
        cmocka_unit_test(test_a_turn_that_never_comes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
