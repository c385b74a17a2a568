/* TLS: from the first byte and by STARTTLS, with a key here and with one in the signer, against
 * OpenSSL's client. */
#include "net/net_int.h"
#include "net/test_echo.h"

#include "crypto/crypto.h"

#include <fcntl.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <signal.h>

/* --- certificates */

struct identity {
    struct buf cert, key;
};

static void identity_make(struct identity *id)
{
    const struct str names[] = {STR("mail.example.test")};
    buf_init(&id->cert, 8192);
    buf_init(&id->key, 8192);
    assert_rc(crypto_selfsign(names, 1, 30, &id->cert, &id->key), RC_OK);
}

static void identity_free(struct identity *id)
{
    buf_fini(&id->cert);
    buf_fini(&id->key);
}

/* An RSA key has no maker in crypto.h: the test makes its own. */
static void identity_make_rsa(struct identity *id)
{
    EVP_PKEY *key = EVP_RSA_gen(2048);
    X509 *cert = X509_new();
    BIO *a = BIO_new(BIO_s_mem()), *b = BIO_new(BIO_s_mem());
    char *p;
    assert_non_null(X509_gmtime_adj(X509_getm_notBefore(cert), -60));
    assert_non_null(X509_gmtime_adj(X509_getm_notAfter(cert), 3600));
    assert_int_equal(X509_set_pubkey(cert, key), 1);
    assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
    assert_int_equal(PEM_write_bio_X509(a, cert), 1);
    assert_int_equal(PEM_write_bio_PrivateKey(b, key, NULL, NULL, 0, NULL, NULL), 1);
    buf_init(&id->cert, 8192);
    buf_init(&id->key, 8192);
    long n = BIO_get_mem_data(a, &p);
    assert_rc(buf_add(&id->cert, str_from(p, (size_t)n)), RC_OK);
    n = BIO_get_mem_data(b, &p);
    assert_rc(buf_add(&id->key, str_from(p, (size_t)n)), RC_OK);
    BIO_free(a);
    BIO_free(b);
    X509_free(cert);
    EVP_PKEY_free(key);
}

static void tls_make(struct fixture *f, const struct identity *id)
{
    char why[256] = "";
    enum rc rc = net_tls_new(buf_str(&id->cert), buf_str(&id->key), NULL, &f->listener.tls, why);
    assert_string_equal(why, "");
    assert_rc(rc, RC_OK);
}

/* --- the client */

struct client {
    SSL_CTX *ctx;
    SSL *ssl;
    int fd;
};

static void client_init(struct client *c, int version)
{
    c->ctx = SSL_CTX_new(TLS_client_method());
    assert_int_equal(SSL_CTX_set_min_proto_version(c->ctx, version), 1);
    assert_int_equal(SSL_CTX_set_max_proto_version(c->ctx, version), 1);
}

static void client_connect(struct client *c, int fd, SSL_SESSION *session)
{
    c->fd = fd;
    c->ssl = SSL_new(c->ctx);
    if (session)
        assert_int_equal(SSL_set_session(c->ssl, session), 1);
    assert_int_equal(SSL_set_fd(c->ssl, fd), 1);
    assert_int_equal(SSL_connect(c->ssl), 1);
}

static void tls_say(struct client *c, const char *text)
{
    assert_int_equal(SSL_write(c->ssl, text, (int)strlen(text)), strlen(text));
}

static void tls_hear(struct client *c, const char *text)
{
    char got[4096] = {0};
    size_t n = 0, want = strlen(text);
    while (n < want) {
        int now = SSL_read(c->ssl, got + n, (int)(want - n));
        assert_true(now > 0);
        n += (size_t)now;
    }
    assert_string_equal(got, text);
}

/* The server ends it with close_notify [RFC8446 6.1]. */
static void tls_hear_end(struct client *c)
{
    char byte;
    int got = SSL_read(c->ssl, &byte, 1);
    assert_int_equal(SSL_get_error(c->ssl, got), SSL_ERROR_ZERO_RETURN);
    SSL_shutdown(c->ssl); /* without it OpenSSL forgets the session */
    SSL_free(c->ssl);
    close(c->fd);
}

/* --- tests */

/* ciphers: those of TLS 1.2 that the client has; NULL: OpenSSL's. */
static void secure_from_the_start(struct identity *id, int version, const char *ciphers,
                                  const char *text)
{
    struct fixture f = {.listener.is_tls = true};
    struct client c;
    tls_make(&f, id);
    start(&f, (struct net_limits){0});
    client_init(&c, version);
    assert_true(!ciphers || SSL_CTX_set_cipher_list(c.ctx, ciphers) == 1);
    client_connect(&c, dial(f.port), NULL);
    tls_hear(&c, "hello secure\n");
    tls_say(&c, "one\ntwo\nshort\nthree\ntext\n");
    tls_hear(&c, "one\ntwo\nw:three\n");
    tls_hear(&c, text);
    tls_say(&c, "wait\n");
    tls_hear(&c, "resumed\n");
    tls_say(&c, "quit\n");
    tls_hear(&c, "bye\n");
    tls_hear_end(&c);
    SSL_CTX_free(c.ctx);
    stop(&f);
    assert_int_equal(counter_get(&f.counters, COUNTER_TLS_HANDSHAKES), 1);
    net_tls_free(&f.listener.tls);
}

static void both_versions_work(void **state) /* [RFC9051 11.1] */
{
    struct identity id;
    identity_make(&id);
    secure_from_the_start(&id, TLS1_3_VERSION, NULL,
                          "TLSv1.3 TLS_AES_128_GCM_SHA256\n"); /* [RFC8446 9.1] */
    secure_from_the_start(&id, TLS1_2_VERSION, NULL, "TLSv1.2 ECDHE-ECDSA-AES256-GCM-SHA384\n");
    identity_free(&id);
}

/* The one suite of TLS 1.2 that every server has [RFC3501 11.1] [RFC9051 11.1]. */
static void the_common_suite_is_there(void **state)
{
    static const char suite[] = "ECDHE-RSA-AES128-GCM-SHA256";
    struct identity id;
    identity_make_rsa(&id);
    secure_from_the_start(&id, TLS1_2_VERSION, suite, "TLSv1.2 ECDHE-RSA-AES128-GCM-SHA256\n");
    identity_free(&id);
}

static void old_versions_are_refused(void **state) /* [RFC9051 11.1] */
{
    struct identity id;
    struct fixture f = {.listener.is_tls = true};
    struct client c;
    identity_make(&id);
    tls_make(&f, &id);
    start(&f, (struct net_limits){0});
    client_init(&c, TLS1_1_VERSION);
    SSL_CTX_set_cipher_list(c.ctx, "ALL:@SECLEVEL=0");
    c.fd = dial(f.port);
    c.ssl = SSL_new(c.ctx);
    assert_int_equal(SSL_set_fd(c.ssl, c.fd), 1);
    assert_int_not_equal(SSL_connect(c.ssl), 1);
    SSL_free(c.ssl);
    hear_end(c.fd);
    int noise = dial(f.port);
    say(noise, "EHLO this is not TLS\r\n\r\n\r\n");
    char alert[64];
    assert_true(recv(noise, alert, sizeof alert, 0) <= 7); /* an alert or nothing */
    close(noise);
    stop(&f);
    assert_int_equal(f.opened, 0);
    assert_int_equal(counter_get(&f.counters, COUNTER_TLS_FAILURES), 2);
    SSL_CTX_free(c.ctx);
    net_tls_free(&f.listener.tls);
    identity_free(&id);
}

static void starttls_upgrades(void **state)
{
    struct identity id;
    struct fixture f = {0};
    struct client c;
    identity_make(&id);
    tls_make(&f, &id);
    start(&f, (struct net_limits){0});
    client_init(&c, TLS1_3_VERSION);
    int fd = dial(f.port);
    hear(fd, "hello\n");
    say(fd, "one\ntls\n");
    hear(fd, "one\ngo ahead\n");
    client_connect(&c, fd, NULL);
    tls_say(&c, "two\nquit\n");
    tls_hear(&c, "two\nbye\n");
    tls_hear_end(&c);
    SSL_CTX_free(c.ctx);
    stop(&f);
    net_tls_free(&f.listener.tls);
    identity_free(&id);
}

/* Bytes behind STARTTLS, in the same packet or in one of its own before the answer, end the
 * connection: neither is the answer sent nor are the bytes obeyed [RFC3501 11.1]
 * [RFC9051 11.1]. */
static void nothing_plain_is_carried_over(void **state)
{
    struct identity id;
    struct fixture f = {0};
    identity_make(&id);
    tls_make(&f, &id);
    start(&f, (struct net_limits){0});
    int fd = dial(f.port);
    hear(fd, "hello\n");
    say(fd, "tls\ninjected\n");
    hear_end(fd);
    fd = pair_to(&f);
    hear(fd, "hello\n");
    say(fd, "stop\n"); /* the loop stands still until both packets are there */
    say(fd, "tls\n");
    say(fd, "injected\n");
    hear_end(fd);
    stop(&f);
    assert_int_equal(counter_get(&f.counters, COUNTER_TLS_FAILURES), 0);
    net_tls_free(&f.listener.tls);
    identity_free(&id);
}

static void tls_without_a_certificate_ends(void **state) /* [RFC3501 11.1] [RFC9051 11.1] */
{
    struct fixture f = {0};
    start(&f, (struct net_limits){0});
    int fd = dial(f.port);
    hear(fd, "hello\n");
    say(fd, "tls\n");
    hear_end(fd);
    stop(&f);
}

static void wait_for_handshakes(struct fixture *f, uint32_t n, uint64_t delayed)
{
    for (int i = 0; i < 10000; i++) {
        pthread_mutex_lock(&f->net->limits.mutex);
        uint32_t now = f->net->limits.handshakes;
        pthread_mutex_unlock(&f->net->limits.mutex);
        if (now == n && counter_get(&f->counters, COUNTER_TLS_DELAYED) >= delayed)
            return;
        usleep(1000);
    }
    fail_msg("not %u handshakes", n);
}

/* One that has said nothing holds no place; two that have begun hold both; the next one has its
 * turn when one of them is gone. */
static void handshakes_have_their_turn(const struct net_limits *limits)
{
    struct identity id;
    struct fixture f = {.listener.is_tls = true};
    struct client c;
    int silent[5], begun[2];
    identity_make(&id);
    tls_make(&f, &id);
    start(&f, *limits);
    for (int i = 0; i < 5; i++)
        silent[i] = dial(f.port);
    for (int i = 0; i < 2; i++) {
        begun[i] = dial(f.port);
        say(begun[i], "\x16\x03\x01");
    }
    wait_for_handshakes(&f, 2, 0);
    client_init(&c, TLS1_3_VERSION);
    c.ssl = SSL_new(c.ctx);
    c.fd = dial(f.port);
    assert_int_equal(SSL_set_fd(c.ssl, c.fd), 1);
    assert_int_equal(fcntl(c.fd, F_SETFL, O_NONBLOCK), 0);
    assert_int_equal(SSL_connect(c.ssl), -1); /* has sent its first message */
    wait_for_handshakes(&f, 2, 1);
    assert_int_equal(SSL_connect(c.ssl), -1);
    assert_int_equal(fcntl(c.fd, F_SETFL, 0), 0);
    close(begun[0]);
    assert_int_equal(SSL_connect(c.ssl), 1);
    tls_hear(&c, "hello secure\n");
    tls_say(&c, "quit\n");
    tls_hear(&c, "bye\n");
    tls_hear_end(&c);
    SSL_CTX_free(c.ctx);
    close(begun[1]);
    for (int i = 0; i < 5; i++)
        close(silent[i]);
    wait_for_handshakes(&f, 0, 1);
    stop(&f);
    net_tls_free(&f.listener.tls);
    identity_free(&id);
}

static void handshakes_are_bounded(void **state)
{
    handshakes_have_their_turn(&(struct net_limits){.handshakes = 2});
    handshakes_have_their_turn(&(struct net_limits){.handshakes_per_address = 2});
}

/* One that waits in vain is closed at its time. */
static void a_turn_that_never_comes_ends(void **state)
{
    struct identity id;
    struct fixture f = {.listener.is_tls = true};
    identity_make(&id);
    tls_make(&f, &id);
    start(&f, (struct net_limits){.handshakes = 1, .greeting_ms = 1000});
    int first = dial(f.port), second;
    say(first, "\x16\x03\x01");
    wait_for_handshakes(&f, 1, 0);
    second = dial(f.port);
    say(second, "\x16\x03\x01");
    hear_end(second);
    hear_end(first);
    stop(&f);
    net_tls_free(&f.listener.tls);
    identity_free(&id);
}

static void tickets_resume(int version)
{
    struct identity id, other;
    struct fixture f = {.listener.is_tls = true};
    struct client c;
    char why[256];
    identity_make(&id);
    identity_make(&other);
    tls_make(&f, &id);
    start(&f, (struct net_limits){0});
    client_init(&c, version);
    SSL_SESSION *session = NULL;
    for (int i = 0; i < 6; i++) {
        client_connect(&c, dial(f.port), session);
        assert_int_equal(SSL_session_reused(c.ssl), i > 0); /* on whichever loop it is */
        tls_hear(&c, "hello secure\n");
        tls_say(&c, "quit\n");
        tls_hear(&c, "bye\n");
        SSL_SESSION_free(session);
        session = SSL_get1_session(c.ssl);
        tls_hear_end(&c);
        if (i == 3) /* a new certificate forgets nothing */
            assert_rc(
                net_tls_renew(f.listener.tls, buf_str(&other.cert), buf_str(&other.key), NULL, why),
                RC_OK);
    }
    SSL_SESSION_free(session);
    SSL_CTX_free(c.ctx);
    stop(&f);
    net_tls_free(&f.listener.tls);
    identity_free(&id);
    identity_free(&other);
}

static void sessions_are_resumed(void **state)
{
    tickets_resume(TLS1_3_VERSION);
    tickets_resume(TLS1_2_VERSION);
}

/* A listener without tickets makes every session anew, though its clients could resume. */
static void no_tickets(int version)
{
    struct identity id;
    struct fixture f = {.listener.is_tls = true, .listener.no_tickets = true};
    struct client c;
    SSL_SESSION *session = NULL;
    identity_make(&id);
    tls_make(&f, &id);
    start(&f, (struct net_limits){0});
    client_init(&c, version);
    for (int i = 0; i < 3; i++) {
        client_connect(&c, dial(f.port), session);
        assert_false(SSL_session_reused(c.ssl));
        tls_hear(&c, "hello secure\n");
        tls_say(&c, "quit\n");
        tls_hear(&c, "bye\n");
        SSL_SESSION_free(session);
        session = SSL_get1_session(c.ssl);
        assert_false(SSL_SESSION_has_ticket(session));
        tls_hear_end(&c);
    }
    SSL_SESSION_free(session);
    SSL_CTX_free(c.ctx);
    stop(&f);
    net_tls_free(&f.listener.tls);
    identity_free(&id);
}

static void no_tickets_where_none_are_given(void **state)
{
    no_tickets(TLS1_3_VERSION);
    no_tickets(TLS1_2_VERSION);
}

/* The ticket waits for the next bytes of the server, not for a client that has nothing to say
 * [RFC8446 4.6.1]. */
static void a_ticket_comes_without_an_answer(void **state)
{
    struct identity id;
    struct fixture f = {0};
    struct client c;
    char byte;
    identity_make(&id);
    tls_make(&f, &id);
    start(&f, (struct net_limits){0});
    int fd = dial(f.port);
    hear(fd, "hello\n");
    say(fd, "tls\n");
    hear(fd, "go ahead\n");
    client_init(&c, TLS1_3_VERSION);
    client_connect(&c, fd, NULL);
    struct pollfd p = {fd, POLLIN, 0};
    assert_int_equal(poll(&p, 1, 30000), 1);
    SSL_set_mode(c.ssl, SSL_MODE_AUTO_RETRY);
    assert_int_equal(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK), 0);
    assert_true(SSL_read(c.ssl, &byte, 1) <= 0); /* the ticket alone */
    assert_true(SSL_SESSION_has_ticket(SSL_get0_session(c.ssl)));
    SSL_free(c.ssl);
    close(fd);
    SSL_CTX_free(c.ctx);
    stop(&f);
    net_tls_free(&f.listener.tls);
    identity_free(&id);
}

static void much_output_and_a_cut_end(void **state)
{
    struct identity id;
    struct fixture f = {.listener.is_tls = true};
    struct client c;
    identity_make(&id);
    tls_make(&f, &id);
    start(&f, (struct net_limits){0});
    client_init(&c, TLS1_3_VERSION);
    client_connect(&c, dial(f.port), NULL);
    tls_hear(&c, "hello secure\n");
    tls_say(&c, "big 5000\nend\n");
    char line[1001] = {0};
    for (int i = 5000; i > 0; i--) {
        char want[1001];
        snprintf(want, sizeof want, "%0999d\n", i);
        for (int n = 0; n < 1000;) {
            int now = SSL_read(c.ssl, line + n, 1000 - n);
            assert_true(now > 0);
            n += now;
        }
        assert_string_equal(line, want);
    }
    tls_hear(&c, "end\n");
    /* An end without close_notify is an end [SSL_OP_IGNORE_UNEXPECTED_EOF]. */
    shutdown(c.fd, SHUT_WR);
    tls_hear_end(&c);
    SSL_CTX_free(c.ctx);
    stop(&f);
    net_tls_free(&f.listener.tls);
    identity_free(&id);
}

static void bad_certificates_are_refused(void **state)
{
    struct identity id, other;
    struct net_tls *tls;
    char why[256];
    identity_make(&id);
    identity_make(&other);
    assert_rc(net_tls_new(STR("no certificate"), buf_str(&id.key), NULL, &tls, why), RC_SYNTAX);
    assert_null(tls);
    assert_true(str_starts(str_of(why), STR("certificate: ")));
    assert_rc(net_tls_new(buf_str(&id.cert), STR("no key"), NULL, &tls, why), RC_SYNTAX);
    assert_true(str_starts(str_of(why), STR("private key: ")));
    assert_rc(net_tls_new(buf_str(&id.cert), buf_str(&other.key), NULL, &tls, why), RC_SYNTAX);
    assert_rc(net_tls_new(buf_str(&id.cert), (struct str){0}, NULL, &tls, why), RC_SYNTAX);
    identity_free(&id);
    identity_free(&other);
}

/* --- keys in the signer */

struct signer {
    struct crypto_signer *signer;
    int fd;
};

static void *signer_main(void *arg)
{
    struct signer *s = arg;
    assert_rc(crypto_signer_serve(s->signer, s->fd), RC_OK);
    return NULL;
}

static void with_signer(struct identity *id, int version)
{
    struct fixture f = {.listener.is_tls = true};
    struct signer s;
    struct client c;
    int fds[2];
    char why[256];
    pthread_t thread;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds), 0);
    s.fd = fds[0];
    assert_rc(crypto_signer_new(buf_str(&id->key), &s.signer), RC_OK);
    assert_int_equal(pthread_create(&thread, NULL, signer_main, &s), 0);
    struct net_signer *signer = net_signer_new(fds[1], 0);
    assert_rc(net_tls_new(buf_str(&id->cert), (struct str){0}, signer, &f.listener.tls, why),
              RC_OK);
    start(&f, (struct net_limits){0});
    client_init(&c, version);
    for (int i = 0; i < 3; i++) {
        client_connect(&c, dial(f.port), NULL);
        tls_hear(&c, "hello secure\n");
        tls_say(&c, "quit\n");
        tls_hear(&c, "bye\n");
        tls_hear_end(&c);
    }
    SSL_CTX_free(c.ctx);
    stop(&f);
    net_tls_free(&f.listener.tls);
    net_signer_free(&signer);
    pthread_join(thread, NULL);
    crypto_signer_free(&s.signer);
    close(s.fd);
}

static void the_signer_signs(void **state)
{
    struct identity ec, rsa;
    identity_make(&ec);
    identity_make_rsa(&rsa);
    with_signer(&ec, TLS1_3_VERSION);
    with_signer(&ec, TLS1_2_VERSION);
    with_signer(&rsa, TLS1_3_VERSION);
    with_signer(&rsa, TLS1_2_VERSION);
    identity_free(&ec);
    identity_free(&rsa);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_versions_work),
        cmocka_unit_test(the_common_suite_is_there),
        cmocka_unit_test(old_versions_are_refused),
        cmocka_unit_test(starttls_upgrades),
        cmocka_unit_test(nothing_plain_is_carried_over),
        cmocka_unit_test(tls_without_a_certificate_ends),
        cmocka_unit_test(handshakes_are_bounded),
        cmocka_unit_test(a_turn_that_never_comes_ends),
        cmocka_unit_test(sessions_are_resumed),
        cmocka_unit_test(no_tickets_where_none_are_given),
        cmocka_unit_test(a_ticket_comes_without_an_answer),
        cmocka_unit_test(much_output_and_a_cut_end),
        cmocka_unit_test(bad_certificates_are_refused),
        cmocka_unit_test(the_signer_signs),
    };
    signal(SIGPIPE, SIG_IGN); /* of the client: OpenSSL writes to sockets that may be closed */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
