/* Which policy wins: every combination of route, DANE, MTA-STS and the sender's wish is decided,
 * the telling ones are written out, and for all of them hold the rules of policy.c. */
#include "relay/where_int.h"

#include "base/test.h"

struct row {
    struct policy_facts facts;
    struct policy expected;
};

#define OPPORTUNISTIC RELAY_TLS_OPPORTUNISTIC

static const struct row rows[] = {
    /* nothing is published */
    {{.dane = DANE_NONE}, {.tls = OPPORTUNISTIC}},
    {{.is_secure_mx = true}, {.is_trusted = true}},
    /* the operator's word */
    {{.route = RELAY_TLS_NEVER, .has_route = true, .dane = DANE_USABLE, .sts = TLSPOL_ENFORCE},
     {.tls = RELAY_TLS_NEVER, .is_trusted = true, .kind = RELAY_BY_ROUTE}},
    {{.route = RELAY_TLS_VERIFY, .has_route = true, .dane = DANE_FAILED},
     {.tls = RELAY_TLS_VERIFY, .must_tls = true, .is_trusted = true, .kind = RELAY_BY_ROUTE}},
    {{.route = RELAY_TLS_IMPLICIT, .has_route = true},
     {.tls = RELAY_TLS_IMPLICIT, .must_tls = true, .is_trusted = true, .kind = RELAY_BY_ROUTE}},
    /* DANE [RFC7672 2.2]; it comes before MTA-STS [RFC8461 2] */
    {{.dane = DANE_USABLE, .is_secure_mx = true},
     {.has_dane = true, .must_tls = true, .is_trusted = true, .kind = RELAY_BY_DANE}},
    {{.dane = DANE_USABLE}, {.has_dane = true, .must_tls = true, .kind = RELAY_BY_DANE}},
    {{.dane = DANE_USABLE, .sts = TLSPOL_ENFORCE, .is_secure_mx = true},
     {.has_dane = true, .must_tls = true, .is_trusted = true, .kind = RELAY_BY_DANE}},
    {{.dane = DANE_UNUSABLE}, {.has_dane = true, .must_tls = true, .kind = RELAY_BY_DANE}},
    {{.dane = DANE_FAILED}, {POLICY_SKIP_DANE, .must_tls = true, .kind = RELAY_BY_DANE}},
    {{.dane = DANE_FAILED, .sts = TLSPOL_ENFORCE, .sts_matches = true},
     {POLICY_SKIP_DANE, .must_tls = true, .kind = RELAY_BY_DANE}},
    /* MTA-STS [RFC8461 5] */
    {{.sts = TLSPOL_ENFORCE, .sts_matches = true},
     {.tls = RELAY_TLS_VERIFY, .must_tls = true, .is_trusted = true, .kind = RELAY_BY_STS}},
    {{.sts = TLSPOL_ENFORCE}, {POLICY_SKIP_STS, .must_tls = true, .kind = RELAY_BY_STS}},
    {{.sts = TLSPOL_ENFORCE, .sts_matches = true, .dane = DANE_UNUSABLE},
     {.tls = RELAY_TLS_VERIFY, .must_tls = true, .is_trusted = true, .kind = RELAY_BY_STS}},
    {{.sts = TLSPOL_TESTING, .sts_matches = true}, {.tries_proof = true, .kind = RELAY_BY_STS}},
    {{.sts = TLSPOL_TESTING}, {.tries_proof = true, .kind = RELAY_BY_STS}},
    {{.sts = TLSPOL_TESTING, .dane = DANE_UNUSABLE},
     {.has_dane = true, .must_tls = true, .kind = RELAY_BY_DANE}},
    /* REQUIRETLS [RFC8689 4.2.1] */
    {{.tls = QUEUE_TLS_REQUIRED}, {POLICY_SKIP_REQUIRETLS, .must_tls = true}},
    {{.tls = QUEUE_TLS_REQUIRED, .is_secure_mx = true},
     {.tls = RELAY_TLS_VERIFY, .must_tls = true, .is_trusted = true}},
    {{.tls = QUEUE_TLS_REQUIRED, .is_secure_mx = true, .dane = DANE_USABLE},
     {.has_dane = true, .must_tls = true, .is_trusted = true, .kind = RELAY_BY_DANE}},
    {{.tls = QUEUE_TLS_REQUIRED, .is_secure_mx = true, .dane = DANE_UNUSABLE},
     {.tls = RELAY_TLS_VERIFY, .must_tls = true, .is_trusted = true, .kind = RELAY_BY_DANE}},
    {{.tls = QUEUE_TLS_REQUIRED, .dane = DANE_USABLE},
     {POLICY_SKIP_REQUIRETLS, .must_tls = true, .kind = RELAY_BY_DANE}},
    {{.tls = QUEUE_TLS_REQUIRED, .sts = TLSPOL_ENFORCE, .sts_matches = true},
     {.tls = RELAY_TLS_VERIFY, .must_tls = true, .is_trusted = true, .kind = RELAY_BY_STS}},
    {{.tls = QUEUE_TLS_REQUIRED, .sts = TLSPOL_TESTING, .sts_matches = true},
     {POLICY_SKIP_REQUIRETLS, .must_tls = true, .kind = RELAY_BY_STS}},
    {{.tls = QUEUE_TLS_REQUIRED, .route = RELAY_TLS_NEVER, .has_route = true},
     {POLICY_SKIP_REQUIRETLS, .must_tls = true, .kind = RELAY_BY_ROUTE}},
    /* reports about such messages [RFC8689 5] */
    {{.tls = QUEUE_TLS_WANTED}, {.tls = OPPORTUNISTIC}},
    {{.tls = QUEUE_TLS_WANTED, .is_secure_mx = true}, {.is_trusted = true, .tries_proof = true}},
    {{.tls = QUEUE_TLS_WANTED, .is_secure_mx = true, .dane = DANE_USABLE},
     {.has_dane = true, .must_tls = true, .is_trusted = true, .kind = RELAY_BY_DANE}},
    {{.tls = QUEUE_TLS_WANTED, .is_secure_mx = true, .dane = DANE_UNUSABLE},
     {.has_dane = true, .must_tls = true, .is_trusted = true, .kind = RELAY_BY_DANE}},
    /* "TLS-Required: No": without what the domain asks for [RFC8689 4.2.2] */
    {{.tls = QUEUE_TLS_IF_POSSIBLE, .dane = DANE_USABLE}, {.kind = RELAY_BY_SENDER}},
    {{.tls = QUEUE_TLS_IF_POSSIBLE, .dane = DANE_FAILED, .is_secure_mx = true},
     {.is_trusted = true, .kind = RELAY_BY_SENDER}},
    {{.tls = QUEUE_TLS_IF_POSSIBLE, .sts = TLSPOL_ENFORCE}, {.kind = RELAY_BY_SENDER}},
    {{.tls = QUEUE_TLS_IF_POSSIBLE, .route = RELAY_TLS_VERIFY, .has_route = true},
     {.tls = RELAY_TLS_VERIFY, .must_tls = true, .is_trusted = true, .kind = RELAY_BY_ROUTE}},
};

static void test_rows(void **state)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct policy p = relay_policy(&rows[i].facts), e = rows[i].expected;
        print_message("row %zu\n", i);
        assert_int_equal(p.verdict, e.verdict);
        assert_int_equal(p.tls, e.tls);
        assert_int_equal(p.has_dane, e.has_dane);
        assert_int_equal(p.must_tls, e.must_tls);
        assert_int_equal(p.is_trusted, e.is_trusted);
        assert_int_equal(p.tries_proof, e.tries_proof);
        assert_int_equal(p.requires_tls,
                         rows[i].facts.tls == QUEUE_TLS_REQUIRED && p.verdict == POLICY_GO);
        assert_int_equal(p.kind, e.kind);
    }
}

static void check_rules(const struct policy_facts *f)
{
    struct policy p = relay_policy(f);
    bool verifies = p.tls == RELAY_TLS_VERIFY || p.tls == RELAY_TLS_IMPLICIT;
    if (p.verdict != POLICY_GO)
        return;
    if (f->route != OPPORTUNISTIC) /* the operator's word stands */
        assert_int_equal(p.tls, f->route);
    if (f->tls == QUEUE_TLS_IF_POSSIBLE) {
        assert_true(p.must_tls == (f->route == RELAY_TLS_VERIFY || f->route == RELAY_TLS_IMPLICIT));
        assert_false(p.has_dane || p.tries_proof || p.requires_tls);
        return;
    }
    if (f->route == OPPORTUNISTIC && f->dane == DANE_USABLE)
        assert_true(p.has_dane && p.must_tls);
    if (f->route == OPPORTUNISTIC && f->dane == DANE_UNUSABLE)
        assert_true(p.must_tls);
    if (f->route == OPPORTUNISTIC && f->sts == TLSPOL_ENFORCE)
        assert_true(p.must_tls && (verifies || p.has_dane));
    if (f->tls == QUEUE_TLS_REQUIRED)
        assert_true(p.must_tls && p.is_trusted && p.requires_tls && (verifies || p.has_dane));
    assert_true(f->route != OPPORTUNISTIC || f->dane != DANE_FAILED);
    assert_false(p.tries_proof && p.must_tls);
}

static void test_rules_hold_everywhere(void **state)
{
    for (unsigned i = 0; i < 4 * 2 * 2 * 4 * 3 * 2 * 4; i++) {
        struct policy_facts f = {.route = (enum relay_tls)(i % 4),
                                 .has_route = i / 4 % 2,
                                 .is_secure_mx = i / 8 % 2,
                                 .dane = (enum where_dane)(i / 16 % 4),
                                 .sts = (enum tlspol_mode)(i / 64 % 3),
                                 .sts_matches = i / 192 % 2,
                                 .tls = (enum queue_tls)(i / 384 % 4)};
        check_rules(&f);
    }
}

static void test_usable_records(void **state)
{
    static const char data[64];
    static const struct {
        uint8_t usage, selector, matching;
        size_t n;
        bool is_usable;
    } cases[] = {{3, 1, 1, 32, true},  {2, 0, 2, 64, true},  {3, 0, 0, 1, true},
                 {0, 1, 1, 32, false}, {1, 1, 1, 32, false}, /* [RFC7672 3.1.3] */
                 {4, 1, 1, 32, false}, {3, 2, 1, 32, false}, {3, 1, 3, 32, false},
                 {3, 1, 1, 31, false}, {3, 1, 2, 32, false}, {3, 1, 0, 0, false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct dns_record r = {.usage = cases[i].usage,
                               .selector = cases[i].selector,
                               .matching = cases[i].matching,
                               .data = {data, cases[i].n}};
        assert_int_equal(dane_is_usable(&r), cases[i].is_usable);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_rules_hold_everywhere),
        cmocka_unit_test(test_usable_records),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
