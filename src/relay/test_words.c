/* What is told of the TLS of a try. */
#include "base/test.h"

#include "relay/relay_int.h"

#include <stdio.h>
#include <string.h>

static const struct {
    struct relay_target target;
    struct relay_facts facts;
    bool requires_tls;
    const char *words;
} rows[] = {
    {.words = ""},
    {.facts = {.is_connected = true}, .words = "no TLS: it is not offered"},
    {.target = {.tls = RELAY_TLS_NEVER},
     .facts = {.is_connected = true},
     .words = "no TLS: it is not wanted"},
    {.target = {.policy = RELAY_BY_DANE, .must_tls = true, .has_dane = true, .n_tlsa = 1},
     .facts = {.is_connected = true},
     .words = "no TLS: it is not offered, and dane asks for it"},
    {.target = {.policy = RELAY_BY_STS, .must_tls = true},
     .facts = {.is_connected = true,
               .has_starttls = true,
               .handshake = {.failure = NET_FAILED_CERTIFICATE, .text = "it has expired"}},
     .words = "no TLS, and mta-sts asks for it"},
    {.facts = {.is_connected = true,
               .has_starttls = true,
               .handshake = {.failure = NET_FAILED_TLS, .text = "no version in common"}},
     .words = "no TLS: no version in common"},
    {.facts = {.is_connected = true, .is_secure = true, .tls = "TLSv1.3 X"},
     .words = "TLSv1.3 X, opportunistic, not verified"},
    {.facts = {.is_connected = true,
               .is_secure = true,
               .tls = "TLSv1.3 X",
               .handshake = {.failure = NET_FAILED_CERTIFICATE, .text = "for other names"}},
     .words = "TLSv1.3 X, opportunistic, not verified: for other names"},
    {.target = {.policy = RELAY_BY_DANE, .has_dane = true, .must_tls = true},
     .facts = {.is_connected = true, .is_secure = true, .tls = "TLSv1.3 X"},
     .words = "TLSv1.3 X, opportunistic, not verified: no TLSA record can be used"},
    {.target = {.policy = RELAY_BY_DANE, .has_dane = true, .must_tls = true, .n_tlsa = 1},
     .facts =
         {.is_connected = true, .is_secure = true, .tls = "TLSv1.3 X", .proof = NET_PROOF_DANE_TA},
     .words = "TLSv1.3 X, verified by dane (TA)"},
    {.target = {.policy = RELAY_BY_STS, .must_tls = true},
     .facts =
         {.is_connected = true, .is_secure = true, .tls = "TLSv1.2 Y", .proof = NET_PROOF_NAMED},
     .requires_tls = true,
     .words = "TLSv1.2 Y, verified by mta-sts, as REQUIRETLS asks"},
    {.target = {.policy = RELAY_BY_ROUTE, .must_tls = true},
     .facts =
         {.is_connected = true, .is_secure = true, .tls = "TLSv1.3 X", .proof = NET_PROOF_NAMED},
     .words = "TLSv1.3 X, verified by the route"},
    {.target = {.policy = RELAY_BY_NONE},
     .facts =
         {.is_connected = true, .is_secure = true, .tls = "TLSv1.3 X", .proof = NET_PROOF_NAMED},
     .words = "TLSv1.3 X, verified by its name"},
};

static void each_way_has_its_words(void **state)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char words[RELAY_TLS_TEXT];
        relay_tls_words(&rows[i].target, &rows[i].facts, rows[i].requires_tls, words);
        assert_string_equal(words, rows[i].words);
    }
    (void)state;
}

/* Whatever stands in a certificate. */
static void they_have_an_end(void **state)
{
    char words[RELAY_TLS_TEXT];
    struct relay_facts facts = {.is_connected = true, .is_secure = true, .tls = "TLSv1.3 X"};
    const struct relay_target target = {.tls = RELAY_TLS_OPPORTUNISTIC};
    facts.handshake.failure = NET_FAILED_CERTIFICATE;
    memset(facts.handshake.text, 'x', sizeof facts.handshake.text - 1);
    relay_tls_words(&target, &facts, false, words);
    assert_true(strlen(words) < sizeof words && strlen(words) > 200);
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_way_has_its_words),
        cmocka_unit_test(they_have_an_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
