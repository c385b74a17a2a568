/* TLS of our own connections, against the echo server of the same process: every level, with
 * certificates and TLSA records that are right and wrong [RFC7672]. */
#include "net/net_int.h"
#include "net/test_caller.h"
#include "net/test_cert.h"

#include <openssl/ssl.h>

#define HOST "mx.example.test"

struct world {
    struct fixture f;
    struct cert authority, other_authority;
    struct net_tls_client *client;
};

static struct net_tls *server_tls(const struct cert *leaf, const struct cert *issuer)
{
    struct buf chain = {.cap = 8192}, key = {.cap = 8192};
    struct net_tls *tls;
    char why[256] = "";
    cert_pem(leaf, &chain);
    if (issuer)
        cert_pem(issuer, &chain);
    cert_key_pem(leaf, &key);
    enum rc rc = net_tls_new(buf_str(&chain), buf_str(&key), NULL, &tls, why);
    assert_string_equal(why, "");
    assert_rc(rc, RC_OK);
    buf_fini(&chain);
    buf_fini(&key);
    return tls;
}

/* A server with this certificate, and a client that knows the authority. */
static void world_begin(struct world *w, const struct cert *leaf, bool has_issuer)
{
    struct buf ca = {.cap = 16384};
    char why[256] = "";
    cert_pem(&w->authority, &ca);
    assert_rc(net_tls_client_new(buf_str(&ca), &w->client, why), RC_OK);
    buf_fini(&ca);
    w->f.listener.tls = server_tls(leaf, has_issuer ? &w->authority : NULL);
    start(&w->f, (struct net_limits){0});
}

static void world_end(struct world *w)
{
    stop(&w->f);
    net_tls_free(&w->f.listener.tls);
    net_tls_client_free(&w->client);
}

/* By STARTTLS; true when the other side was taken for what was wanted. */
static bool succeeds(struct world *w, struct call *call, struct net_tls_want want)
{
    *call = (struct call){.say = "tls\n", .then = "two\nquit\n", .want = want};
    call_to(w->f.net, (struct net_dial){.to = here(w->f.port), .tls = w->client}, call);
    call_wait(call);
    if (!(call->events & NET_EV_TLS))
        return false;
    assert_string_equal(call->heard, "hello\ngo ahead\ntwo\nbye\n");
    assert_string_equal(call->text, "TLSv1.3 TLS_AES_128_GCM_SHA256");
    assert_int_equal(call->error.failure, NET_FAILED_NOT);
    return true;
}

static const struct net_tls_want any = {.level = NET_TLS_ANY, .name = STR_INIT(HOST)};
static const struct net_tls_want named = {.level = NET_TLS_NAMED, .name = STR_INIT(HOST)};

static void expect_fault(struct world *w, struct net_tls_want want,
                         enum net_certificate_fault fault)
{
    struct call call;
    assert_false(succeeds(w, &call, want));
    assert_int_equal(call.error.failure, NET_FAILED_CERTIFICATE);
    assert_int_equal(call.error.certificate, fault);
    assert_true(call.error.text[0]);
    assert_rc(call.expect, RC_OK);
}

/* One certificate of the server, and what each level says of it. */
static void judge(struct world *w, const struct cert *leaf, bool has_issuer,
                  enum net_certificate_fault fault)
{
    struct call call;
    world_begin(w, leaf, has_issuer);
    assert_true(succeeds(w, &call, any)); /* [RFC7435 3] */
    assert_int_equal(call.proof, NET_PROOF_NONE);
    if (fault == NET_CERTIFICATE_FINE) {
        assert_true(succeeds(w, &call, named));
        assert_int_equal(call.proof, NET_PROOF_NAMED);
    } else {
        expect_fault(w, named, fault);
        assert_true(counter_get(&w->f.counters, COUNTER_DIAL_TLS_FAILURES) > 0);
    }
    world_end(w);
}

static void certificates_are_judged(void **state)
{
    struct world w = {.authority = cert_make(NULL, NULL, CERT_SOON),
                      .other_authority = cert_make(NULL, NULL, CERT_SOON)};
    const struct {
        const char *names;
        const struct cert *by;
        long ends;
        enum net_certificate_fault fault;
    } rows[] = {
        {"DNS:" HOST, &w.authority, CERT_SOON, NET_CERTIFICATE_FINE},
        {"DNS:*.example.test", &w.authority, CERT_SOON, NET_CERTIFICATE_FINE},
        {"DNS:m*.example.test", &w.authority, CERT_SOON,
         NET_CERTIFICATE_NAME}, /* [RFC6125 6.4.3] */
        {"DNS:other.test", &w.authority, CERT_SOON, NET_CERTIFICATE_NAME},
        {"DNS:" HOST, &w.authority, CERT_LONG_AGO, NET_CERTIFICATE_EXPIRED},
        {"DNS:" HOST, &w.other_authority, CERT_SOON, NET_CERTIFICATE_UNTRUSTED},
        {"DNS:" HOST, NULL, CERT_SOON, NET_CERTIFICATE_UNTRUSTED},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct cert leaf = cert_make(rows[i].names, rows[i].by, rows[i].ends);
        judge(&w, &leaf, false, rows[i].fault);
        cert_free(&leaf);
    }
    cert_free(&w.authority);
    cert_free(&w.other_authority);
}

static void other_names_count(void **state)
{
    struct world w = {.authority = cert_make(NULL, NULL, CERT_SOON)};
    struct cert leaf = cert_make("DNS:example.test", &w.authority, CERT_SOON);
    struct call call;
    const struct str names[] = {STR("wrong.test"), STR("example.test")};
    struct net_tls_want want = named;
    world_begin(&w, &leaf, false);
    expect_fault(&w, want, NET_CERTIFICATE_NAME);
    want.names = names;
    want.n_names = 2;
    assert_true(succeeds(&w, &call, want));
    want.name = STR(""); /* would let everybody through */
    assert_false(succeeds(&w, &call, want));
    assert_rc(call.expect, RC_SYNTAX);
    want.name = str_from("a\0b", 3);
    assert_false(succeeds(&w, &call, want));
    assert_rc(call.expect, RC_SYNTAX);
    world_end(&w);
    cert_free(&leaf);
    cert_free(&w.authority);
}

/* --- DANE */

static struct net_tls_want dane(const struct net_tlsa *records, size_t n)
{
    return (struct net_tls_want){
        .level = NET_TLS_DANE, .name = STR(HOST), .tlsa = records, .n_tlsa = n};
}

/* DANE-EE: the key or the certificate alone, whatever its names and dates [RFC7672 3.1.1]. */
static void dane_ee(void **state)
{
    struct world w = {.authority = cert_make(NULL, NULL, CERT_SOON)};
    struct cert leaf = cert_make("DNS:other.test", NULL, CERT_LONG_AGO);
    struct cert stranger = cert_make("DNS:" HOST, &w.authority, CERT_SOON);
    unsigned char key[32], whole[32], wrong[32];
    struct call call;
    cert_tlsa(&leaf, 1, key);
    cert_tlsa(&leaf, 0, whole);
    cert_tlsa(&stranger, 1, wrong);
    const struct net_tlsa records[] = {{3, 1, 1, str_from(wrong, 32)},
                                       {3, 1, 1, str_from(key, 32)},
                                       {3, 0, 1, str_from(whole, 32)}};
    world_begin(&w, &leaf, false);
    assert_true(succeeds(&w, &call, dane(records + 1, 1)));
    assert_int_equal(call.proof, NET_PROOF_DANE_EE);
    assert_true(succeeds(&w, &call, dane(records + 2, 1)));
    assert_true(succeeds(&w, &call, dane(records, 2))); /* one of them, while keys are changed */
    assert_int_equal(call.proof, NET_PROOF_DANE_EE);
    expect_fault(&w, dane(records, 1), NET_CERTIFICATE_TLSA);
    world_end(&w);
    /* A certificate that the authorities vouch for counts for nothing. */
    world_begin(&w, &stranger, false);
    expect_fault(&w, dane(records + 1, 1), NET_CERTIFICATE_TLSA);
    world_end(&w);
    cert_free(&leaf);
    cert_free(&stranger);
    cert_free(&w.authority);
}

/* DANE-TA: an authority of the domain's own, and one of the names [RFC7672 3.1.2]
 * [RFC7672 3.2.2]. */
static void dane_ta(void **state)
{
    struct world w = {.authority = cert_make(NULL, NULL, CERT_SOON),
                      .other_authority = cert_make(NULL, NULL, CERT_SOON)};
    struct cert leaf = cert_make("DNS:" HOST, &w.authority, CERT_SOON);
    struct cert other = cert_make("DNS:example.test", &w.authority, CERT_SOON);
    struct cert old = cert_make("DNS:" HOST, &w.authority, CERT_LONG_AGO);
    const struct str names[] = {STR("example.test")};
    unsigned char right[32], wrong[32];
    struct call call;
    cert_tlsa(&w.authority, 0, right);
    cert_tlsa(&w.other_authority, 0, wrong);
    const struct net_tlsa records[] = {{2, 0, 1, str_from(right, 32)},
                                       {2, 0, 1, str_from(wrong, 32)}};
    world_begin(&w, &leaf, true);
    assert_true(succeeds(&w, &call, dane(records, 1)));
    assert_int_equal(call.proof, NET_PROOF_DANE_TA);
    assert_false(succeeds(&w, &call, dane(records + 1, 1)));
    assert_int_equal(call.error.failure, NET_FAILED_CERTIFICATE);
    world_end(&w);
    world_begin(&w, &other, true);
    struct net_tls_want want = dane(records, 1);
    expect_fault(&w, want, NET_CERTIFICATE_NAME);
    want.names = names;
    want.n_names = 1;
    assert_true(succeeds(&w, &call, want));
    world_end(&w);
    world_begin(&w, &old, true);
    expect_fault(&w, dane(records, 1), NET_CERTIFICATE_EXPIRED);
    world_end(&w);
    cert_free(&leaf);
    cert_free(&other);
    cert_free(&old);
    cert_free(&w.authority);
    cert_free(&w.other_authority);
}

/* [RFC7672 2.1] [RFC7672 3.1.3] */
static void records_that_say_nothing(void **state)
{
    struct world w = {.authority = cert_make(NULL, NULL, CERT_SOON)};
    struct cert leaf = cert_make("DNS:" HOST, &w.authority, CERT_SOON);
    unsigned char key[32];
    struct call call;
    cert_tlsa(&leaf, 1, key);
    const struct net_tlsa records[] = {{1, 1, 1, str_from(key, 32)}, /* PKIX-EE */
                                       {0, 0, 1, str_from(key, 32)},
                                       {3, 7, 1, str_from(key, 32)},
                                       {3, 1, 9, str_from(key, 32)},
                                       {3, 1, 1, str_from(key, 31)},
                                       {3, 1, 1, {NULL, 0}},
                                       {255, 255, 255, str_from(key, 32)},
                                       {3, 0, 0, STR_INIT("not a certificate")}};
    const size_t n = sizeof records / sizeof *records;
    world_begin(&w, &leaf, false);
    assert_false(succeeds(&w, &call, dane(records, n)));
    assert_rc(call.expect, RC_NOTFOUND);
    assert_false(succeeds(&w, &call, dane(NULL, 0)));
    assert_rc(call.expect, RC_NOTFOUND);
    struct net_tlsa many[40];
    for (size_t i = 0; i < 40; i++)
        many[i] = records[0];
    many[39] = (struct net_tlsa){3, 1, 1, str_from(key, 32)}; /* beyond NET_TLSA_MAX */
    assert_false(succeeds(&w, &call, dane(many, 40)));
    assert_true(succeeds(&w, &call, dane(many + 8, 32)));
    world_end(&w);
    cert_free(&leaf);
    cert_free(&w.authority);
}

/* --- from the first byte, old versions, what is no TLS */

static void secure_from_the_start(void **state)
{
    struct world w = {.authority = cert_make(NULL, NULL, CERT_SOON), .f.listener.is_tls = true};
    struct cert leaf = cert_make("DNS:" HOST, &w.authority, CERT_SOON);
    struct call call = {.say = "one\nquit\n"}, wrong = {.say = "one\n"};
    const struct net_tls_want other = {.level = NET_TLS_NAMED, .name = STR("other.test")};
    world_begin(&w, &leaf, false);
    struct net_dial dial = {.to = here(w.f.port), .tls = w.client, .secure = &named};
    call_to(w.f.net, dial, &call);
    call_wait(&call);
    assert_string_equal(call.heard, "hello secure\none\nbye\n");
    assert_true(call.events & NET_EV_SECURE);
    assert_false(call.events & NET_EV_TLS);
    assert_int_equal(call.proof, NET_PROOF_NAMED);
    dial.secure = &other;
    call_to(w.f.net, dial, &wrong);
    call_wait(&wrong);
    assert_int_equal(wrong.opened, 0);
    assert_int_equal(wrong.error.certificate, NET_CERTIFICATE_NAME);
    struct net_tls_want none = dane(NULL, 0);
    dial.secure = &none;
    dial.proto = &caller;
    assert_rc(net_dial(w.f.net, &dial), RC_NOTFOUND);
    for (int i = 0; net_dials(w.f.net) > 0 && i < 60000; i++)
        usleep(1000); /* counted until a moment after close() */
    assert_int_equal(net_dials(w.f.net), 0);
    world_end(&w);
    assert_int_equal(counter_get(&w.f.counters, COUNTER_DIAL_HANDSHAKES), 1);
    assert_int_equal(counter_get(&w.f.counters, COUNTER_DIALS_FAILED), 1);
    cert_free(&leaf);
    cert_free(&w.authority);
}

/* A server that answers STARTTLS and then says anything but TLS, or nothing. */
static void what_is_no_tls_fails(void **state)
{
    static const struct {
        const char *answer, *then;
    } rows[] = {
        {"go ahead\n", "220 what?\r\n\r\n\r\n\r\n\r\n\r\n"},
        {"go ahead\ninjected\n", ""}, /* [RFC3207 4.2] */
        {"go ahead\n", ""},
        {"go ahead\n", "\x15\x03\x03\x00\x02\x02\x28"}, /* an alert */
    };
    struct world w = {.authority = cert_make(NULL, NULL, CERT_SOON)};
    struct cert leaf = cert_make("DNS:" HOST, &w.authority, CERT_SOON);
    int port, fd = listen_on(AF_INET, "127.0.0.1", &port);
    world_begin(&w, &leaf, false);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct call call = {.say = "tls\n", .then = "two\n", .want = any};
        struct net_dial dial = {.to = here(port), .tls = w.client, .handshake_ms = 300};
        char byte;
        call_to(w.f.net, dial, &call);
        int peer = accept(fd, NULL, NULL);
        hear(peer, "tls\n");
        say(peer, rows[i].answer);
        if (rows[i].then[0]) {
            assert_int_equal(recv(peer, &byte, 1, 0), 1);
            send(peer, rows[i].then, strlen(rows[i].then) + 1, MSG_NOSIGNAL);
        }
        call_wait(&call);
        assert_int_equal(call.error.failure, NET_FAILED_TLS);
        assert_true(call.error.text[0]);
        assert_false(call.events & NET_EV_TLS);
        close(peer);
    }
    world_end(&w);
    close(fd);
    cert_free(&leaf);
    cert_free(&w.authority);
}

static void handshakes_are_bounded(void **state)
{
    struct world w = {.authority = cert_make(NULL, NULL, CERT_SOON)};
    struct cert leaf = cert_make("DNS:" HOST, &w.authority, CERT_SOON);
    int port, fd = listen_on(AF_INET, "127.0.0.1", &port), peers[2];
    world_begin(&w, &leaf, false);
    net_limit(w.f.net, &(struct net_limits){.dial_handshakes = 2});
    struct call stuck[2], call = {.say = "tls\n", .then = "quit\n", .want = any};
    for (int i = 0; i < 2; i++) {
        char byte;
        stuck[i] = call;
        call_to(w.f.net, (struct net_dial){.to = here(port), .tls = w.client}, &stuck[i]);
        peers[i] = accept(fd, NULL, NULL);
        say(peers[i], "go ahead\n");
        hear(peers[i], "tls\n");
        assert_int_equal(recv(peers[i], &byte, 1, 0), 1); /* it has begun */
    }
    call_to(w.f.net, (struct net_dial){.to = here(w.f.port), .tls = w.client}, &call);
    while (counter_get(&w.f.counters, COUNTER_TLS_DELAYED) == 0)
        usleep(1000);
    assert_false(call.closed);
    close(peers[0]);
    call_wait(&call);
    assert_true(call.events & NET_EV_TLS);
    close(peers[1]);
    call_wait(&stuck[0]);
    call_wait(&stuck[1]);
    world_end(&w);
    close(fd);
    cert_free(&leaf);
    cert_free(&w.authority);
}

static void authorities_are_checked(void **state)
{
    struct world w = {.authority = cert_make(NULL, NULL, CERT_SOON),
                      .other_authority = cert_make(NULL, NULL, CERT_SOON)};
    struct cert leaf = cert_make("DNS:" HOST, &w.other_authority, CERT_SOON);
    struct net_tls_client *tls = NULL;
    struct buf ca = {.cap = 16384};
    struct call call;
    char why[256] = "";
    assert_rc(net_tls_client_new(STR("nothing\n"), &tls, why), RC_SYNTAX);
    assert_null(tls);
    assert_string_equal(why, "authorities: no certificate in it");
    assert_rc(net_tls_client_new((struct str){NULL, 0}, &tls, why), RC_OK);
    net_tls_client_free(&tls);
    world_begin(&w, &leaf, false);
    expect_fault(&w, named, NET_CERTIFICATE_UNTRUSTED);
    assert_rc(net_tls_client_renew(w.client, STR("nothing\n"), why), RC_SYNTAX);
    expect_fault(&w, named, NET_CERTIFICATE_UNTRUSTED);
    cert_pem(&w.authority, &ca);
    cert_pem(&w.other_authority, &ca);
    cert_pem(&w.authority, &ca); /* twice, as in files that were put together */
    assert_rc(net_tls_client_renew(w.client, buf_str(&ca), why), RC_OK);
    assert_true(succeeds(&w, &call, named));
    buf_fini(&ca);
    world_end(&w);
    cert_free(&leaf);
    cert_free(&w.authority);
    cert_free(&w.other_authority);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(certificates_are_judged),
        cmocka_unit_test(other_names_count),
        cmocka_unit_test(dane_ee),
        cmocka_unit_test(dane_ta),
        cmocka_unit_test(records_that_say_nothing),
        cmocka_unit_test(secure_from_the_start),
        cmocka_unit_test(what_is_no_tls_fails),
        cmocka_unit_test(handshakes_are_bounded),
        cmocka_unit_test(authorities_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
