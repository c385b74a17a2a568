/* What a login can be bound to: both ends of a connection get the same bytes, and no other
 * connection has them; and certificates of clients. The client is OpenSSL's. */
#include "net/net_int.h"
#include "net/test_cert.h"
#include "net/test_client.h"

#include "base/clock.h"

#include <openssl/ssl.h>
#include <pthread.h>
#include <signal.h>

/* --- a server that says what it has: "tls-exporter HEX", or "none" -------------------------------
 */

static enum net_step teller_step(struct conn *c, unsigned events)
{
    struct net_binding b;
    struct buf *out = net_out(c);
    if (!(events & NET_EV_OPEN))
        return NET_CLOSE;
    enum rc rc = net_channel_binding(c, &b);
    assert_true((rc == RC_OK) == (net_binding_type(c) != NULL));
    if (rc != RC_OK) {
        assert_rc(rc, RC_NOTFOUND);
        buf_put(out, STR("none\n"));
        return NET_READ;
    }
    buf_putf(out, "%s ", b.type);
    for (size_t i = 0; i < b.n; i++)
        buf_putf(out, "%02x", b.bytes[i]);
    buf_put(out, STR("\n"));
    return NET_READ;
}

static void teller_close(struct conn *c)
{
}

static const struct net_proto teller = {
    .name = "teller",
    .session_size = 1,
    .input_max = 1024,
    .output_high = 4096,
    .busy = "busy\n",
    .step = teller_step,
    .close = teller_close,
};

struct server {
    struct counters counters;
    struct ctx ctx;
    struct task_lane *short_lane, *heavy_lane;
    struct net *net;
    struct net_listener listener;
};

static void server_start(struct server *s)
{
    struct cert cert = cert_make("DNS:mail.example.test", NULL, CERT_SOON);
    struct buf chain = {.cap = 8192}, key = {.cap = 8192};
    char why[256];
    cert_pem(&cert, &chain);
    cert_key_pem(&cert, &key);
    cert_free(&cert);
    s->ctx = (struct ctx){.clock = &clock_system, .counters = &s->counters};
    s->listener = (struct net_listener){.proto = &teller, .is_tls = true, .fd = -1};
    assert_rc(net_tls_new(buf_str(&chain), buf_str(&key), NULL, &s->listener.tls, why), RC_OK);
    s->short_lane = task_lane_new("short", 1, 100);
    s->heavy_lane = task_lane_new("heavy", 1, 100);
    struct net_conf conf = {1, {0}, s->short_lane, s->heavy_lane};
    s->net = net_new(&s->ctx, &conf);
    net_start(s->net);
    buf_fini(&chain);
    buf_fini(&key);
}

static void server_stop(struct server *s)
{
    net_stop(s->net);
    net_free(&s->net);
    task_lane_free(&s->short_lane);
    task_lane_free(&s->heavy_lane);
    net_tls_free(&s->listener.tls);
}

/* And one that says which certificate it has been shown: HEX, or "none". */
static enum net_step shower_step(struct conn *c, unsigned events)
{
    unsigned char id[NET_FINGERPRINT];
    if (!(events & NET_EV_OPEN))
        return NET_CLOSE;
    bool is_shown = net_peer_certificate(c, id);
    for (size_t i = 0; is_shown && i < sizeof id; i++)
        buf_putf(net_out(c), "%02x", id[i]);
    buf_put(net_out(c), is_shown ? STR("\n") : STR("none\n"));
    return NET_READ;
}

static const struct net_proto shower = {
    .name = "shower",
    .session_size = 1,
    .input_max = 1024,
    .output_high = 4096,
    .busy = "busy\n",
    .step = shower_step,
    .close = teller_close,
};

/* --- the client ------------------------------------------------------------------------------- */

enum { WORDS = 256 };

/* What the server has said on one connection, and what the client says to that. */
struct both {
    char server[WORDS], client[WORDS];
    bool is_resumed;
    SSL_SESSION *session;
};

/* The client's view: of TLS 1.2 the first Finished is its own, or the server's on resumption. */
static void write_own(SSL *ssl, bool has_extms, struct both *out)
{
    unsigned char bytes[64];
    bool is_1_3 = SSL_version(ssl) == TLS1_3_VERSION;
    char *to = out->client;
    size_t n = 32;
    if (is_1_3)
        assert_int_equal(SSL_export_keying_material(ssl, bytes, n, "EXPORTER-Channel-Binding", 24,
                                                    (const unsigned char *)"", 0, 1),
                         1);
    else if (SSL_session_reused(ssl))
        n = SSL_get_peer_finished(ssl, bytes, sizeof bytes);
    else
        n = SSL_get_finished(ssl, bytes, sizeof bytes);
    to += sprintf(to, "%s", !has_extms ? "none" : is_1_3 ? "tls-exporter " : "tls-unique ");
    for (size_t i = 0; has_extms && i < n; i++)
        to += sprintf(to, "%02x", bytes[i]);
    sprintf(to, "\n");
}

static void meet(struct server *s, int version, bool has_extms, SSL_SESSION *resumed,
                 struct both *out)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    assert_int_equal(SSL_CTX_set_min_proto_version(ctx, version), 1);
    assert_int_equal(SSL_CTX_set_max_proto_version(ctx, version), 1);
    SSL_CTX_set_options(ctx, has_extms ? 0 : SSL_OP_NO_EXTENDED_MASTER_SECRET);
    SSL *ssl = SSL_new(ctx);
    int fd = client_open(s->net, &s->listener);
    assert_true(!resumed || SSL_set_session(ssl, resumed) == 1);
    assert_int_equal(SSL_set_fd(ssl, fd), 1);
    assert_int_equal(SSL_connect(ssl), 1);
    size_t n = 0;
    while (!n || out->server[n - 1] != '\n')
        assert_true(n < WORDS - 1 && SSL_read(ssl, out->server + n++, 1) == 1);
    out->server[n] = '\0';
    out->is_resumed = SSL_session_reused(ssl) == 1;
    write_own(ssl, has_extms, out);
    assert_int_equal(SSL_write(ssl, "x", 1), 1);
    while (SSL_read(ssl, out->client + WORDS - 1, 1) == 1)
        ;
    out->client[WORDS - 1] = '\0';
    SSL_shutdown(ssl); /* without it OpenSSL forgets the session */
    out->session = SSL_get1_session(ssl);
    SSL_free(ssl);
    close(fd);
    SSL_CTX_free(ctx);
}

/* --- tests ------------------------------------------------------------------------------------ */

static void same_on_both_ends(int version)
{
    struct server s = {0};
    struct both first = {0}, second = {0};
    server_start(&s);
    meet(&s, version, true, NULL, &first);
    meet(&s, version, true, first.session, &second);
    assert_string_equal(first.server, first.client);
    assert_string_equal(second.server, second.client);
    assert_false(first.is_resumed);
    assert_true(second.is_resumed);
    assert_string_not_equal(first.server, second.server); /* not of the session: of a connection */
    bool is_1_3 = version == TLS1_3_VERSION;
    const char *type = is_1_3 ? "tls-exporter " : "tls-unique ";
    assert_memory_equal(first.server, type, strlen(type));
    /* [RFC9266 2] [RFC5929 3.1] */
    assert_int_equal(strspn(first.server + strlen(type), "0123456789abcdef"), is_1_3 ? 64 : 24);
    SSL_SESSION_free(first.session);
    SSL_SESSION_free(second.session);
    server_stop(&s);
}

static void both_ends_have_the_same(void **state)
{
    same_on_both_ends(TLS1_3_VERSION);
    same_on_both_ends(TLS1_2_VERSION);
}

/* Without the extended master secret somebody between could make two connections that have the same
 * [RFC7627 1] [RFC9266 2]. */
static void nothing_without_extended_master_secret(void **state)
{
    struct server s = {0};
    struct both b = {0};
    server_start(&s);
    meet(&s, TLS1_2_VERSION, false, NULL, &b);
    assert_string_equal(b.server, "none\n");
    assert_string_equal(b.server, b.client);
    SSL_SESSION_free(b.session);
    server_stop(&s);
}

static void nothing_in_clear(void **state)
{
    struct server s = {0};
    server_start(&s);
    s.listener.is_tls = false;
    int fd = client_open(s.net, &s.listener);
    client_expect(fd, STR("none\n"));
    client_send(fd, STR("x"));
    client_expect_end(fd);
    server_stop(&s);
}

/* --- certificates of clients ------------------------------------------------------------------ */

/* Shows a certificate (NULL: none) and hears what the server makes of it. */
static void show(struct server *s, int version, const struct cert *cert, SSL_SESSION **session,
                 char out[WORDS])
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    assert_int_equal(SSL_CTX_set_min_proto_version(ctx, version), 1);
    assert_int_equal(SSL_CTX_set_max_proto_version(ctx, version), 1);
    SSL *ssl = SSL_new(ctx);
    if (cert) {
        assert_int_equal(SSL_use_certificate(ssl, cert->x509), 1);
        assert_int_equal(SSL_use_PrivateKey(ssl, cert->key), 1);
    }
    assert_true(!*session || SSL_set_session(ssl, *session) == 1);
    int fd = client_open(s->net, &s->listener);
    assert_int_equal(SSL_set_fd(ssl, fd), 1);
    assert_int_equal(SSL_connect(ssl), 1);
    size_t n = 0;
    while (!n || out[n - 1] != '\n')
        assert_true(n < WORDS - 1 && SSL_read(ssl, out + n++, 1) == 1);
    out[n - 1] = '\0';
    assert_int_equal(SSL_session_reused(ssl), *session ? 1 : 0);
    assert_int_equal(SSL_write(ssl, "x", 1), 1);
    char rest;
    while (SSL_read(ssl, &rest, 1) == 1)
        ;
    SSL_shutdown(ssl);
    SSL_SESSION_free(*session);
    *session = SSL_get1_session(ssl);
    SSL_free(ssl);
    close(fd);
    SSL_CTX_free(ctx);
}

static void show_once(struct server *s, const struct cert *cert, char out[WORDS])
{
    SSL_SESSION *session = NULL;
    show(s, TLS1_3_VERSION, cert, &session, out);
    SSL_SESSION_free(session);
}

static void fingerprint(const struct cert *c, char out[WORDS])
{
    unsigned char id[NET_FINGERPRINT];
    cert_tlsa(c, 0, id);
    for (size_t i = 0; i < sizeof id; i++)
        sprintf(out + 2 * i, "%02x", id[i]);
}

static void ask(struct server *s, const struct cert *authority)
{
    struct buf pem = {.cap = 8192};
    char why[256] = "";
    cert_pem(authority, &pem);
    server_start(s);
    s->listener.proto = &shower;
    s->listener.asks_certificate = true;
    assert_rc(net_tls_ask(s->listener.tls, STR("nothing"), why), RC_SYNTAX);
    assert_string_equal(why, "authorities of clients: no certificate in it");
    assert_rc(net_tls_ask(s->listener.tls, buf_str(&pem), why), RC_OK);
    buf_fini(&pem);
}

/* In a new session and in one that is resumed. */
static void shown(struct server *s, int version, const struct cert *cert)
{
    SSL_SESSION *session = NULL;
    char expected[WORDS], said[WORDS];
    fingerprint(cert, expected);
    for (int i = 0; i < 3; i++) {
        show(s, version, cert, &session, said);
        assert_string_equal(said, expected);
    }
    SSL_SESSION_free(session);
}

static void certificates_are_known(void **state)
{
    struct server s = {0};
    struct cert authority = cert_make(NULL, NULL, CERT_SOON);
    struct cert client = cert_make("email:a@example.test", &authority, CERT_SOON);
    ask(&s, &authority);
    shown(&s, TLS1_3_VERSION, &client);
    shown(&s, TLS1_2_VERSION, &client);
    server_stop(&s);
    cert_free(&client);
    cert_free(&authority);
}

/* Nobody is turned away for it: there is a certificate or there is none. */
static void others_are_none(void **state)
{
    struct server s = {0};
    char said[WORDS];
    struct cert authority = cert_make(NULL, NULL, CERT_SOON);
    struct cert other = cert_make(NULL, NULL, CERT_SOON);
    struct cert good = cert_make("email:a@example.test", &authority, CERT_SOON);
    struct cert foreign = cert_make("email:a@example.test", &other, CERT_SOON);
    struct cert expired = cert_make("email:a@example.test", &authority, CERT_LONG_AGO);
    const struct cert *none[] = {NULL, &foreign, &expired, &other};
    ask(&s, &authority);
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        show_once(&s, none[i], said);
        assert_string_equal(said, "none");
    }
    s.listener.asks_certificate = false; /* as on port 25 */
    show_once(&s, &good, said);
    assert_string_equal(said, "none");
    server_stop(&s);
    cert_free(&good);
    cert_free(&foreign);
    cert_free(&expired);
    cert_free(&other);
    cert_free(&authority);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_ends_have_the_same),
        cmocka_unit_test(nothing_without_extended_master_secret),
        cmocka_unit_test(nothing_in_clear),
        cmocka_unit_test(certificates_are_known),
        cmocka_unit_test(others_are_none),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
