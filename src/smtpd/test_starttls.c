/* STARTTLS: what is forgotten, what is offered afterwards, and that nothing slips from the clear
 * text into TLS [RFC3207]. */
#include "smtpd/fixture.h"

#include "crypto/crypto.h"

#include <openssl/ssl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static const struct str backup[] = {STR_INIT("backup.test")};

static void start(struct fixture *f)
{
    struct smtpd_conf conf = {.may_send = true, .relay_domains = backup, .n_relay_domains = 1};
    const struct str names[] = {STR("mx.example.test")};
    struct buf cert, key;
    char why[256];
    fixture_start(f, &conf);
    buf_init(&cert, 8192);
    buf_init(&key, 8192);
    assert_rc(crypto_selfsign(names, 1, 30, &cert, &key), RC_OK);
    assert_rc(net_tls_new(buf_str(&cert), buf_str(&key), NULL, &f->listeners[SMTPD_MX].tls, why),
              RC_OK);
    buf_fini(&cert);
    buf_fini(&key);
}

static void stop(struct fixture *f)
{
    fixture_stop(f);
    net_tls_free(&f->listeners[SMTPD_MX].tls);
}

static int connect_and_ask(struct fixture *f)
{
    int fd = fixture_connect(f);
    say(fd, STR("EHLO client.test\r\n"));
    hear(fd, "220 *\r\n250-mx.example.test\r\n250-SIZE "
             "*\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-BINARYMIME\r\n250-CHUNKING\r\n250-"
             "SMTPUTF8\r\n250-LIMITS *\r\n250-DSN\r\n"
             "250-ENHANCEDSTATUSCODES\r\n250-STARTTLS\r\n250 HELP\r\n");
    return fd;
}

struct secure {
    SSL_CTX *ctx;
    SSL *ssl;
    int fd;
};

static void secure_begin(struct secure *c, int fd)
{
    struct timeval patience = {20, 0};
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), 0);
    c->fd = fd;
    c->ctx = SSL_CTX_new(TLS_client_method());
    c->ssl = SSL_new(c->ctx);
    assert_int_equal(SSL_set_fd(c->ssl, fd), 1);
    assert_int_equal(SSL_connect(c->ssl), 1);
}

static void secure_end(struct secure *c)
{
    SSL_free(c->ssl);
    SSL_CTX_free(c->ctx);
    close(c->fd);
}

static void secure_say(struct secure *c, struct str text)
{
    assert_int_equal(SSL_write(c->ssl, text.p, (int)text.n), text.n);
}

static void secure_hear(struct secure *c, const char *pattern)
{
    char got[4096];
    size_t n = 0, lines = 0;
    for (const char *p = pattern; *p; p++)
        lines += *p == '\n';
    while (lines > 0) {
        assert_true(n + 1 < sizeof got && SSL_read(c->ssl, got + n, 1) == 1);
        lines -= got[n++] == '\n';
    }
    got[n] = '\0';
    if (!hear_matches(got, pattern))
        fail_msg("heard:\n%s\ninstead of:\n%s", got, pattern);
}

static void a_message_over_tls(void **state)
{
    struct fixture f;
    struct secure c;
    struct buf b;
    start(&f);
    int fd = connect_and_ask(&f);
    say(fd, STR("MAIL FROM:<early@elsewhere.test>\r\nSTARTTLS now\r\nSTARTTLS\r\n"));
    hear(fd, "250 *\r\n501 5.5.4 *\r\n220 2.0.0 *\r\n");
    secure_begin(&c, fd);
    secure_say(&c, STR("RCPT TO:<alice@example.test>\r\nEHLO client.test\r\nSTARTTLS\r\n"));
    secure_hear(&c, "503 5.5.1 send EHLO first\r\n" /* all is forgotten [RFC3207 4.2] */
                    "250-mx.example.test\r\n250-SIZE "
                    "*\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-BINARYMIME\r\n250-CHUNKING\r\n250-"
                    "SMTPUTF8\r\n250-LIMITS *\r\n250-DSN\r\n"
                    "250-ENHANCEDSTATUSCODES\r\n250-REQUIRETLS\r\n250 HELP\r\n503 5.5.1 TLS *\r\n");
    secure_say(&c,
               STR("MAIL FROM:<>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\nx\r\n.\r\nQUIT\r\n"));
    secure_hear(&c, "250 *\r\n250 *\r\n354 *\r\n250 2.0.0 message *\r\n221 *\r\n");
    secure_end(&c);
    buf_init(&b, 4096);
    fixture_read(&f, f.alice, 0, &b);
    assert_true(str_find(buf_str(&b), STR("by mx.example.test with ESMTPS (TLSv1.3 ")) >
                0); /* [RFC3848] */
    buf_fini(&b);
    stop(&f);
}

/* What MAIL says counts, and not what the header does [RFC8689 4.1]. */
static void requiretls_is_written_down(void **state)
{
    struct fixture f;
    struct secure c;
    struct arena arena = {0};
    struct queue_entry entry;
    start(&f);
    int fd = connect_and_ask(&f);
    say(fd, STR("STARTTLS\r\n"));
    hear(fd, "220 2.0.0 *\r\n");
    secure_begin(&c, fd);
    secure_say(&c, STR("EHLO client.test\r\nMAIL FROM:<a@sender.test> REQUIRETLS\r\n"
                       "RCPT TO:<x@backup.test>\r\nDATA\r\nTLS-Required: No\r\n\r\nx\r\n.\r\n"
                       "QUIT\r\n"));
    secure_hear(&c, "250-*\r\n250-*\r\n250-*\r\n250-*\r\n250-*\r\n250-*\r\n250-*\r\n250-*\r\n"
                    "250-*\r\n250-*\r\n250-REQUIRETLS\r\n250 HELP\r\n250 *\r\n250 *\r\n354 *\r\n"
                    "250 2.0.0 message *\r\n221 *\r\n");
    secure_end(&c);
    fixture_queued(&f, &arena, &entry);
    assert_int_equal(entry.item.flags, QUEUE_REQUIRETLS);
    arena_fini(&arena);
    stop(&f);
}

static void what_comes_with_starttls_ends_the_connection(void **state)
{
    struct fixture f;
    start(&f);
    int fd = connect_and_ask(&f);
    say(fd, STR("STARTTLS\r\nMAIL FROM:<injected@elsewhere.test>\r\n"));
    char rest[256];
    ssize_t n;
    size_t all = 0;
    while ((n = recv(fd, rest + all, sizeof rest - all, 0)) > 0)
        all += (size_t)n;
    assert_int_equal(str_find(str_from(rest, all), STR("250 ")), -1);
    close(fd);
    stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_over_tls),
        cmocka_unit_test(requiretls_is_written_down),
        cmocka_unit_test(what_comes_with_starttls_ends_the_connection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
