/* Tokens of an issuer whose documents come from an HTTPS server of this test's own, named by a
 * table of DNS answers. The clock stands where the test puts it. */
#include "token/test_jwt.h"
#include "token/token_int.h"

#include "net/test_cert.h"

#include <arpa/inet.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

enum { NOW = 1800000000, TEXT = 8192 };

/* --- the world -------------------------------------------------------------------------------- */

struct moving_clock {
    struct clock clock;
    _Atomic uint64_t wall, mono;
};

static uint64_t wall_of(const struct clock *c)
{
    return ((const struct moving_clock *)(const void *)c)->wall;
}

static uint64_t mono_of(const struct clock *c)
{
    return ((const struct moving_clock *)(const void *)c)->mono;
}

struct world {
    struct moving_clock clock;
    struct ctx ctx;
    struct dns *dns;
    struct net *net;
    struct net_tls *tls;
    struct task_lane *short_lane, *heavy_lane;
    struct token *token;
    struct token_conf conf;
    cjose_jwk_t *keys[2]; /* "one", "two" */
    struct buf ca;
    char issuer[64], claims[512];
    int fd, port;
    _Atomic bool is_down;
    _Atomic int n_keys; /* that the issuer shows */
    _Atomic unsigned discoveries, fetches;
};

static void say_document(struct world *w, struct str request, struct buf *out)
{
    struct buf text = {.cap = TEXT};
    if (str_starts(request, STR("GET /.well-known/openid-configuration "))) {
        w->discoveries++;
        buf_putf(&text, "{\"issuer\":\"%s\",\"jwks_uri\":\"%s/keys\"}", w->issuer, w->issuer);
    } else {
        assert_true(str_starts(request, STR("GET /keys ")));
        w->fetches++;
        jwt_keys(w->keys, (size_t)w->n_keys, &text);
    }
    buf_putf(out, "HTTP/1.1 %s\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n",
             w->is_down ? "503 Down" : "200 OK");
    buf_put(out, buf_str(&text));
    buf_fini(&text);
}

static enum net_step step(struct conn *c, unsigned events)
{
    if (events & (NET_EV_TIMEOUT | NET_EV_DRAIN | NET_EV_KICK))
        return NET_ABORT;
    net_deadline(c, 100000);
    if (str_find(net_in(c), STR("\r\n\r\n")) < 0)
        return NET_READ;
    say_document(net_app(c), net_in(c), net_out(c));
    net_consume(c, net_in(c).n);
    return NET_CLOSE;
}

static void on_close(struct conn *c)
{
}

static const struct net_proto proto = {.name = "https",
                                       .session_size = 1,
                                       .input_max = 16384,
                                       .output_high = 65536,
                                       .busy = "",
                                       .step = step,
                                       .close = on_close};

static void make_certificate(struct world *w)
{
    struct cert authority = cert_make(NULL, NULL, CERT_SOON);
    struct cert host = cert_make("DNS:login.test", &authority, CERT_SOON);
    struct buf chain = {.cap = TEXT}, key = {.cap = TEXT};
    char why[256];
    w->ca.cap = TEXT;
    cert_pem(&authority, &w->ca);
    cert_pem(&host, &chain);
    cert_key_pem(&host, &key);
    assert_rc(net_tls_new(buf_str(&chain), buf_str(&key), NULL, &w->tls, why), RC_OK);
    cert_free(&authority);
    cert_free(&host);
    buf_fini(&chain);
    buf_fini(&key);
}

static void start_server(struct world *w)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof sa;
    w->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(w->fd, (struct sockaddr *)&sa, sizeof sa), 0);
    assert_int_equal(listen(w->fd, 16), 0);
    assert_int_equal(getsockname(w->fd, (struct sockaddr *)&sa, &n), 0);
    w->port = ntohs(sa.sin_port);
    w->short_lane = task_lane_new("short", 1, 100);
    w->heavy_lane = task_lane_new("heavy", 1, 100);
    struct net_conf conf = {.loops = 1, .short_lane = w->short_lane, .heavy_lane = w->heavy_lane};
    w->net = net_new(&w->ctx, &conf);
    struct net_listener l = {.fd = w->fd, .proto = &proto, .app = w, .is_tls = true, .tls = w->tls};
    assert_rc(net_listen(w->net, &l), RC_OK);
    net_start(w->net);
}

static void open_world(struct world *w)
{
    static const struct str audience = STR_INIT("mail");
    char why[256];
    struct dns_conf dns = {0};
    *w = (struct world){.clock = {.clock = {mono_of, wall_of}}, .n_keys = 1};
    w->clock.wall = NOW * NS_PER_SEC;
    w->clock.mono = NS_PER_SEC;
    w->ctx = (struct ctx){.clock = &w->clock.clock};
    assert_rc(dns_fixed_new(&(struct ctx){.clock = &clock_system}, &dns,
                            STR("login.test A 127.0.0.1\n"), &w->dns, why),
              RC_OK);
    w->keys[0] = jwt_key("one", false);
    w->keys[1] = jwt_key("two", true);
    make_certificate(w);
    start_server(w);
    snprintf(w->issuer, sizeof w->issuer, "https://login.test:%d", w->port);
    snprintf(w->claims, sizeof w->claims,
             "{\"iss\":\"%s\",\"aud\":\"mail\",\"exp\":%d,\"email\":\"a@example.test\"}", w->issuer,
             NOW + 1000000);
    w->conf = (struct token_conf){.issuer = str_of(w->issuer),
                                  .audiences = &audience,
                                  .n_audiences = 1,
                                  .algorithms = 1U << TOKEN_ES256 | 1U << TOKEN_RS256,
                                  .claim = STR("email"),
                                  .leeway_s = 60,
                                  .fetch_ms = 60000,
                                  .ca_pem = buf_str(&w->ca)};
}

static void start(struct world *w)
{
    char why[256] = "";
    enum rc rc = token_new(&w->ctx, &w->conf, &w->token, why);
    assert_string_equal(why, "");
    assert_rc(rc, RC_OK);
    token_start(w->token, w->dns);
}

static void close_world(struct world *w)
{
    dns_stop(w->dns);
    token_free(&w->token);
    dns_free(&w->dns);
    net_stop(w->net);
    task_lane_free(&w->short_lane);
    task_lane_free(&w->heavy_lane);
    net_free(&w->net);
    net_tls_free(&w->tls);
    close(w->fd);
    cjose_jwk_release(w->keys[0]);
    cjose_jwk_release(w->keys[1]);
    buf_fini(&w->ca);
}

static void later(struct world *w, uint64_t seconds)
{
    w->clock.wall += seconds * NS_PER_SEC;
    w->clock.mono += seconds * NS_PER_SEC;
}

struct asking {
    struct token_query q;
    sem_t done;
    char *text;
};

static void on_done(struct token_query *q)
{
    sem_post(&CONTAINER(q, struct asking, q)->done);
}

static void begin(struct world *w, struct asking *a, char *text)
{
    *a = (struct asking){.q = {.done = on_done, .text = str_of(text)}, .text = text};
    sem_init(&a->done, 0, 0);
    assert_rc(token_check(w->token, &a->q), RC_OK);
}

static enum rc end(struct asking *a, const char **out_cause)
{
    sem_wait(&a->done);
    sem_destroy(&a->done);
    free(a->text);
    *out_cause = a->q.cause ? a->q.cause : "";
    if (a->q.rc == RC_OK)
        assert_true(str_eq(str_from(a->q.address, a->q.address_n), STR("a@example.test")));
    return a->q.rc;
}

/* Of a token that one of the keys has signed. */
static void expect(struct world *w, int key, const char *kid, enum rc rc, const char *cause)
{
    struct asking a;
    const char *got;
    begin(w, &a, jwt_sign(w->keys[key], key ? "RS256" : "ES256", kid, w->claims));
    assert_rc(end(&a, &got), rc);
    assert_string_equal(got, cause);
}

/* --- tests ------------------------------------------------------------------------------------ */

static void by_discovery(void **state)
{
    struct world w;
    open_world(&w);
    start(&w);
    assert_true(token_is_on(w.token));
    for (int i = 0; i < 5; i++)
        expect(&w, 0, "one", RC_OK, "");
    expect(&w, 0, NULL, RC_OK, "");
    assert_int_equal(w.discoveries, 1);
    assert_int_equal(w.fetches, 1);
    later(&w, 2000000);
    expect(&w, 0, "one", RC_DENIED, "expired");
    close_world(&w);
}

/* Keys that the issuer has added are found, one fetch at a time and not for each token. */
static void new_keys(void **state)
{
    struct world w;
    char url[80];
    open_world(&w);
    snprintf(url, sizeof url, "%s/keys", w.issuer);
    w.conf.keys_url = str_of(url);
    start(&w);
    expect(&w, 0, "one", RC_OK, "");
    expect(&w, 1, "two", RC_DENIED, "unknown-key"); /* the keys are of just now */
    assert_int_equal(w.fetches, 1);
    later(&w, 11);
    expect(&w, 1, "two", RC_DENIED, "unknown-key");
    assert_int_equal(w.fetches, 2);
    w.n_keys = 2;
    for (int i = 0; i < 5; i++)
        expect(&w, 1, "three", RC_DENIED, "unknown-key");
    assert_int_equal(w.fetches, 2);
    later(&w, 11);
    expect(&w, 1, "two", RC_OK, "");
    expect(&w, 0, "two", RC_DENIED, "signature");
    assert_int_equal(w.fetches, 3);
    assert_int_equal(w.discoveries, 0);
    close_world(&w);
}

/* While the issuer cannot be reached nothing is wrong: known keys serve, for a day. */
static void down_and_back(void **state)
{
    struct world w;
    open_world(&w);
    w.is_down = true;
    start(&w);
    expect(&w, 0, "one", RC_TEMP, "issuer-unreachable");
    w.is_down = false;
    expect(&w, 0, "one", RC_TEMP, "issuer-unreachable"); /* not asked again at once */
    later(&w, 11);
    expect(&w, 0, "one", RC_OK, "");
    w.is_down = true;
    later(&w, 80000);
    expect(&w, 0, "one", RC_OK, "");
    later(&w, 11);
    expect(&w, 1, "two", RC_TEMP, "issuer-unreachable"); /* perhaps a new key */
    later(&w, 10000);
    expect(&w, 0, "one", RC_TEMP, "issuer-unreachable"); /* the keys are a day old */
    w.is_down = false;
    later(&w, 11);
    expect(&w, 0, "one", RC_OK, "");
    close_world(&w);
}

/* The name is gone, or the certificate is another authority's. */
static void nobody_to_ask(void **state)
{
    struct world w;
    char why[256];
    open_world(&w);
    assert_rc(dns_fixed_set(w.dns, STR("login.test A SERVFAIL\n"), why), RC_OK);
    start(&w);
    expect(&w, 0, "one", RC_TEMP, "issuer-unreachable");
    assert_rc(dns_fixed_set(w.dns, STR("login.test A 127.0.0.1\n"), why), RC_OK);
    w.conf.ca_pem = (struct str){0};
    assert_rc(token_reload(w.token, &w.conf, why), RC_OK);
    expect(&w, 0, "one", RC_TEMP, "issuer-unreachable");
    assert_int_equal(w.discoveries + w.fetches, 0);
    w.conf.ca_pem = buf_str(&w.ca);
    assert_rc(token_reload(w.token, &w.conf, why), RC_OK);
    expect(&w, 0, "one", RC_OK, "");
    close_world(&w);
}

static void keys_from_a_file(void **state)
{
    struct world w;
    struct buf text = {.cap = TEXT};
    char why[256] = "";
    open_world(&w);
    jwt_keys(w.keys, 1, &text);
    w.conf.keys = buf_str(&text);
    start(&w);
    expect(&w, 0, "one", RC_OK, "");
    later(&w, 11);
    expect(&w, 1, "two", RC_DENIED, "unknown-key");
    jwt_keys(w.keys, 2, &text);
    w.conf.keys = buf_str(&text);
    assert_rc(token_reload(w.token, &w.conf, why), RC_OK);
    expect(&w, 1, "two", RC_OK, "");
    w.conf.keys = STR("{\"keys\":[]}");
    assert_rc(token_reload(w.token, &w.conf, why), RC_SYNTAX);
    assert_string_equal(why, "the file of keys has none that can be used");
    expect(&w, 1, "two", RC_OK, "");
    assert_int_equal(w.discoveries + w.fetches, 0);
    w.conf.issuer = STR("");
    assert_rc(token_reload(w.token, &w.conf, why), RC_OK);
    assert_false(token_is_on(w.token));
    expect(&w, 1, "two", RC_DENIED, "no-issuer");
    buf_fini(&text);
    close_world(&w);
}

static void what_cannot_be_fetched(void **state)
{
    static const char *const rows[] = {"http://login.test/keys", "login.test", "ftp://x/"};
    struct world w;
    struct token *token;
    char why[256];
    open_world(&w);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct token_conf conf = w.conf;
        conf.issuer = str_of(rows[i]);
        assert_rc(token_new(&w.ctx, &conf, &token, why), RC_SYNTAX);
        assert_null(token);
        conf.issuer = w.conf.issuer;
        conf.keys_url = str_of(rows[i]);
        assert_rc(token_new(&w.ctx, &conf, &token, why), RC_SYNTAX);
    }
    close_world(&w);
}

/* Many ask before there are keys: one fetch answers all. What has been asked before the thread has
 * begun is answered then; what is under way at the end is answered as well. */
static void many_at_once(void **state)
{
    enum { N = 200 };
    static struct asking a[N];
    struct world w;
    char why[256];
    const char *cause;
    open_world(&w);
    assert_rc(token_new(&w.ctx, &w.conf, &w.token, why), RC_OK);
    for (int i = 0; i < N; i++)
        begin(&w, &a[i], jwt_sign(w.keys[0], "ES256", "one", w.claims));
    token_start(w.token, w.dns);
    for (int i = 0; i < N; i++)
        assert_rc(end(&a[i], &cause), RC_OK);
    assert_int_equal(w.fetches, 1);
    later(&w, 11);
    for (int i = 0; i < N; i++)
        begin(&w, &a[i], jwt_sign(w.keys[1], "RS256", "two", w.claims));
    dns_stop(w.dns);
    token_stop(w.token);
    for (int i = 0; i < N; i++)
        assert_true(end(&a[i], &cause) != RC_OK);
    assert_rc(token_check(w.token, &a[0].q), RC_TEMP);
    close_world(&w);
}

static void never_started(void **state)
{
    struct world w;
    struct asking a;
    char why[256];
    const char *cause;
    open_world(&w);
    assert_rc(token_new(&w.ctx, &w.conf, &w.token, why), RC_OK);
    begin(&w, &a, jwt_sign(w.keys[0], "ES256", "one", w.claims));
    token_stop(w.token);
    assert_rc(end(&a, &cause), RC_TEMP);
    close_world(&w);
}

/* A request that has not begun when another configuration comes does so all the same. */
static void reloaded_before_it_began(void **state)
{
    struct world w;
    char why[256];
    open_world(&w);
    snprintf(w.issuer, sizeof w.issuer, "http://127.0.0.1:1");
    w.conf.issuer = str_of(w.issuer);
    assert_rc(token_new(&w.ctx, &w.conf, &w.token, why), RC_OK);
    fetch_begin(w.token);
    assert_rc(token_reload(w.token, &w.conf, why), RC_OK);
    token_stop(w.token); /* takes the configuration */
    assert_true(w.token->fetch.is_under_way && w.token->fetch.is_stale);
    https_run(w.token->https, 1, 0);
    close_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_discovery),
        cmocka_unit_test(new_keys),
        cmocka_unit_test(down_and_back),
        cmocka_unit_test(nobody_to_ask),
        cmocka_unit_test(keys_from_a_file),
        cmocka_unit_test(what_cannot_be_fetched),
        cmocka_unit_test(many_at_once),
        cmocka_unit_test(never_started),
        cmocka_unit_test(reloaded_before_it_began),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
