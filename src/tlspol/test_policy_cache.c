/* MTA-STS policies, fetched from an HTTPS server of this test's own, named by a table of DNS
 * answers, kept in a store in memory; and the counts for TLS-RPT. The clock stands where the test
 * puts it. */
#include "tlspol/tlspol.h"

#include "base/test.h"
#include "dns/dns.h"

#include <arpa/inet.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define HEAD                                                                                       \
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n"
#define POLICY "version: STSv1\r\nmode: enforce\r\nmx: *.good.test\r\nmax_age: 864000\r\n"

/* --- the world ---------------------------------------------------------------------------------
 */

struct moving_clock {
    struct clock clock;
    _Atomic uint64_t wall;
};

static uint64_t wall_of(const struct clock *c)
{
    return ((const struct moving_clock *)(const void *)c)->wall;
}

static uint64_t mono_of(const struct clock *c)
{
    return clock_mono(&clock_system);
}

struct world {
    struct moving_clock clock;
    struct ctx ctx;
    struct kv *kv;
    struct dns *dns;
    struct net *net;
    struct net_tls *tls;
    struct task_lane *short_lane, *heavy_lane;
    struct tlspol *tlspol;
    struct tlspol_conf conf;
    char folder[64], ca[8192];
    int fd;
    _Atomic(const char *) answer; /* NULL: silence */
    _Atomic unsigned requests;
    enum tlspol_gap gap; /* of the last answer */
};

static enum net_step step(struct conn *c, unsigned events)
{
    struct world *w = net_app(c);
    struct str in = net_in(c);
    const char *answer = w->answer;
    if (events & (NET_EV_TIMEOUT | NET_EV_DRAIN | NET_EV_KICK))
        return NET_ABORT;
    net_deadline(c, 100000);
    if (str_find(in, STR("\r\n\r\n")) < 0)
        return NET_READ;
    assert_true(str_starts(in, STR("GET /.well-known/mta-sts.txt HTTP/1.1\r\n")));
    net_consume(c, in.n);
    w->requests++;
    if (!answer)
        return NET_READ;
    buf_put(net_out(c), str_of(answer));
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

static struct str read_pem(struct world *w, const char *name, char *to, size_t size)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", w->folder, name);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    size_t n = fread(to, 1, size, f);
    fclose(f);
    return str_from(to, n);
}

/* An authority, and a certificate for the policy hosts of good.test and change.test. */
static void make_certificates(struct world *w)
{
    char command[2048], chain[8192], key[8192], why[256] = "";
    strcpy(w->folder, "/tmp/penfold-tlspol-XXXXXX");
    assert_non_null(mkdtemp(w->folder));
    snprintf(command, sizeof command,
             "cd %s && exec 2>/dev/null && openssl ecparam -name prime256v1 -genkey -noout -out "
             "ca.key && "
             "openssl ecparam -name prime256v1 -genkey -noout -out key.pem && "
             "openssl req -x509 -new -key ca.key -subj /CN=authority -days 30 -out ca.pem && "
             "openssl req -new -key key.pem -subj /CN=x -out req.pem && "
             "printf 'subjectAltName=DNS:mta-sts.good.test' > ext && "
             "openssl x509 -req -in req.pem -CA ca.pem -CAkey ca.key -set_serial 7 -days 30 "
             "-extfile ext -out cert.pem",
             w->folder);
    assert_int_equal(system(command), 0);
    enum rc rc = net_tls_new(read_pem(w, "cert.pem", chain, sizeof chain),
                             read_pem(w, "key.pem", key, sizeof key), NULL, &w->tls, why);
    assert_string_equal(why, "");
    assert_rc(rc, RC_OK);
    w->conf.ca_pem = read_pem(w, "ca.pem", w->ca, sizeof w->ca);
}

static void start_server(struct world *w)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof sa;
    w->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(w->fd, (struct sockaddr *)&sa, sizeof sa), 0);
    assert_int_equal(listen(w->fd, 16), 0);
    assert_int_equal(getsockname(w->fd, (struct sockaddr *)&sa, &n), 0);
    w->conf.https_port = ntohs(sa.sin_port);
    w->short_lane = task_lane_new("short", 1, 100);
    w->heavy_lane = task_lane_new("heavy", 1, 100);
    struct net_conf conf = {.loops = 1, .short_lane = w->short_lane, .heavy_lane = w->heavy_lane};
    w->net = net_new(&w->ctx, &conf);
    struct net_listener l = {.fd = w->fd, .proto = &proto, .app = w, .is_tls = true, .tls = w->tls};
    assert_rc(net_listen(w->net, &l), RC_OK);
    net_start(w->net);
}

static void start(struct world *w)
{
    char why[256];
    assert_rc(tlspol_new(&w->ctx, w->kv, w->dns, &w->conf, &w->tlspol, why), RC_OK);
}

static void dns_is(struct world *w, const char *table)
{
    char why[256] = "";
    assert_rc(dns_fixed_set(w->dns, str_of(table), why), RC_OK);
}

static void open_world(struct world *w)
{
    char why[256];
    struct dns_conf conf = {0};
    *w = (struct world){.clock = {.clock = {mono_of, wall_of}}};
    w->clock.wall = UINT64_C(1800000000) * NS_PER_SEC;
    w->ctx = (struct ctx){.clock = &w->clock.clock};
    w->kv = kv_mem_new(&w->ctx);
    assert_rc(dns_fixed_new(&w->ctx, &conf, STR(""), &w->dns, why), RC_OK);
    make_certificates(w);
    start_server(w);
    start(w);
}

static void close_world(struct world *w)
{
    char command[128];
    tlspol_free(&w->tlspol);
    dns_free(&w->dns);
    net_stop(w->net);
    task_lane_free(&w->short_lane);
    task_lane_free(&w->heavy_lane);
    net_free(&w->net);
    net_tls_free(&w->tls);
    close(w->fd);
    kv_close(&w->kv);
    snprintf(command, sizeof command, "rm -rf %s", w->folder);
    assert_int_equal(system(command), 0);
}

struct waiting {
    struct tlspol_query q;
    sem_t done;
};

static void on_done(struct tlspol_query *q)
{
    sem_post(&CONTAINER(q, struct waiting, q)->done);
}

/* What is asked of the host by the domain. */
static enum tlspol_mode ask(struct world *w, const char *domain, const char *host)
{
    struct waiting a = {.q = {.done = on_done, .domain = str_of(domain)}};
    sem_init(&a.done, 0, 0);
    assert_rc(tlspol_ask(w->tlspol, &a.q), RC_OK);
    sem_wait(&a.done);
    enum tlspol_mode mode = a.q.policy.mode;
    w->gap = a.q.gap;
    assert_int_equal(a.q.why[0] != '\0', a.q.gap != TLSPOL_NO_GAP);
    if (mode != TLSPOL_NONE)
        assert_true(tlspol_matches(&a.q.policy, str_of(host)));
    sem_destroy(&a.done);
    arena_fini(&a.q.arena);
    return mode;
}

static void later(struct world *w, uint64_t seconds)
{
    w->clock.wall += seconds * NS_PER_SEC;
}

/* Asks until the answer is this one: for what happens in the background. */
static void ask_until(struct world *w, enum tlspol_mode mode)
{
    while (ask(w, "good.test", "mx.good.test") != mode)
        usleep(10000);
}

static void wait_requests(struct world *w, unsigned n)
{
    while (w->requests < n)
        usleep(10000);
}

#define GOOD(id)                                                                                   \
    "_mta-sts.good.test TXT v=STSv1; id=" id ";\n_mta-sts.good.test TXT other\n"                   \
    "mta-sts.good.test A 127.0.0.1\n"

#define TWO_RECORDS                                                                                \
    "_mta-sts.good.test TXT v=STSv1; id=1\n_mta-sts.good.test TXT v=STSv1; id=2\n"                 \
    "mta-sts.good.test A 127.0.0.1\n"

/* --- the tests ---------------------------------------------------------------------------------
 */

static void test_fetched_and_kept(void **state)
{
    struct world w;
    open_world(&w);
    dns_is(&w, GOOD("1"));
    w.answer = HEAD POLICY;
    assert_int_equal(ask(&w, "good.test", "mx.good.test"), TLSPOL_ENFORCE);
    assert_int_equal(ask(&w, "good.test", "mx.good.test"), TLSPOL_ENFORCE);
    assert_int_equal(w.requests, 1);
    tlspol_free(&w.tlspol); /* another process, and the domain is gone: it holds [RFC8461 3.3] */
    dns_is(&w, "");
    w.answer = "HTTP/1.1 500 No\r\n\r\n";
    start(&w);
    assert_int_equal(ask(&w, "good.test", "mx.good.test"), TLSPOL_ENFORCE);
    assert_int_equal(w.requests, 1);
    later(&w, 864000 - 1);
    assert_int_equal(ask(&w, "good.test", "mx.good.test"), TLSPOL_ENFORCE);
    later(&w, 2); /* max_age */
    assert_int_equal(ask(&w, "good.test", "mx.good.test"), TLSPOL_NONE);
    close_world(&w);
}

/* What the operator says comes before what the policy does. */
static void test_age_is_bounded(void **state)
{
    struct world w;
    open_world(&w);
    tlspol_free(&w.tlspol);
    w.conf.age_max_s = 100000;
    start(&w);
    dns_is(&w, GOOD("1"));
    w.answer = HEAD POLICY; /* ten days */
    assert_int_equal(ask(&w, "good.test", "mx.good.test"), TLSPOL_ENFORCE);
    dns_is(&w, "");
    later(&w, 100000 - 1);
    assert_int_equal(ask(&w, "good.test", "mx.good.test"), TLSPOL_ENFORCE);
    later(&w, 2);
    assert_int_equal(ask(&w, "good.test", "mx.good.test"), TLSPOL_NONE);
    close_world(&w);
}

static void test_new_id(void **state)
{
    struct world w;
    open_world(&w);
    dns_is(&w, GOOD("1"));
    w.answer = HEAD POLICY;
    assert_int_equal(ask(&w, "good.test", "mx.good.test"), TLSPOL_ENFORCE);
    dns_is(&w, GOOD("2"));
    w.answer = HEAD "version: STSv1\nmode: testing\nmx: mx.good.test\nmax_age: 100000\n";
    later(&w, 60); /* not looked at again so soon */
    assert_int_equal(ask(&w, "good.test", "mx.good.test"), TLSPOL_ENFORCE);
    later(&w, 600);
    ask_until(&w, TLSPOL_TESTING);
    assert_int_equal(w.requests, 2);
    later(&w, 700); /* the same id: nothing is fetched */
    assert_int_equal(ask(&w, "good.test", "mx.good.test"), TLSPOL_TESTING);
    assert_int_equal(w.requests, 2);
    later(&w, 86400); /* but after a day */
    assert_int_equal(ask(&w, "good.test", "mx.good.test"), TLSPOL_TESTING);
    wait_requests(&w, 3);
    close_world(&w);
}

static void test_renewed_by_itself(void **state)
{
    struct world w;
    open_world(&w);
    dns_is(&w, GOOD("1"));
    w.answer = HEAD POLICY;
    assert_int_equal(ask(&w, "good.test", "mx.good.test"), TLSPOL_ENFORCE);
    tlspol_free(&w.tlspol);
    later(&w, 2 * 86400);
    start(&w); /* nobody asks */
    wait_requests(&w, 2);
    close_world(&w);
}

/* A fetch that fails leaves the policy, and one that never came leaves none. */
static void test_failures(void **state)
{
    static char large[TLSPOL_TEXT_MAX + 1024] = HEAD POLICY;
    memset(large + strlen(large), '\n', TLSPOL_TEXT_MAX);
    static char fields[3 * TLSPOL_TEXT_MAX] = "HTTP/1.1 200 OK\r\n";
    while (strlen(fields) < 2 * TLSPOL_TEXT_MAX)
        strcat(fields, "X-More: and more of them, and more of them, and more of them\r\n");
    strcat(fields, "Content-Type: text/plain\r\n\r\n" POLICY);
    const struct {
        const char *answer;
        enum tlspol_result result;
    } cases[] = {
        {"HTTP/1.1 302 Found\r\nLocation: https://mta-sts.good.test/other\r\n\r\n",
         TLSPOL_STS_POLICY_FETCH_ERROR},
        {"HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\n\r\n" POLICY,
         TLSPOL_STS_POLICY_FETCH_ERROR},
        {"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" POLICY, TLSPOL_STS_POLICY_INVALID},
        {HEAD "version: STSv9\n", TLSPOL_STS_POLICY_INVALID},
        {large, TLSPOL_STS_POLICY_FETCH_ERROR},
        {fields, TLSPOL_STS_POLICY_FETCH_ERROR},
        {"nonsense\r\n\r\n", TLSPOL_STS_POLICY_FETCH_ERROR},
        {NULL, TLSPOL_STS_POLICY_FETCH_ERROR}, /* silence: bounded in time */
    };
    struct world w;
    open_world(&w);
    tlspol_free(&w.tlspol);
    w.conf.fetch_ms = 1500;
    start(&w);
    dns_is(&w, GOOD("1"));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct arena arena = {0};
        struct tlspol_day day;
        w.answer = cases[i].answer;
        assert_int_equal(ask(&w, "good.test", "mx.good.test"), TLSPOL_NONE);
        assert_int_equal(w.gap, TLSPOL_CANNOT_FETCH);
        tlspol_flush(w.tlspol);
        uint32_t today = (uint32_t)(w.clock.wall / NS_PER_SEC / 86400);
        assert_rc(tlspol_day_next(w.kv, today, (struct str){0}, &arena, &day), RC_OK);
        assert_int_equal(day.n_details, 1);
        assert_string_equal(tlspol_result_name(day.details[0].result),
                            tlspol_result_name(cases[i].result));
        arena_fini(&arena);
        later(&w, 86400);
    }
    w.answer = HEAD POLICY;
    assert_int_equal(ask(&w, "good.test", "mx.good.test"), TLSPOL_ENFORCE);
    assert_int_equal(w.gap, TLSPOL_NO_GAP);
    unsigned n = w.requests;
    w.answer = "HTTP/1.1 500 No\r\n\r\n";
    later(&w, 86400 + 1);
    assert_int_equal(ask(&w, "good.test", "mx.good.test"), TLSPOL_ENFORCE);
    wait_requests(&w, n + 1);
    assert_int_equal(ask(&w, "good.test", "mx.good.test"), TLSPOL_ENFORCE);
    close_world(&w);
}

static void test_not_trusted(void **state)
{
    struct world w;
    struct arena arena = {0};
    struct tlspol_day day;
    open_world(&w);
    w.answer = HEAD POLICY;
    /* The certificate is for another name [RFC8461 3.3]. */
    dns_is(&w, "_mta-sts.other.test TXT v=STSv1; id=1\nmta-sts.other.test A 127.0.0.1\n");
    assert_int_equal(ask(&w, "other.test", "mx.good.test"), TLSPOL_NONE);
    assert_int_equal(w.requests, 0);
    tlspol_flush(w.tlspol);
    uint32_t today = (uint32_t)(w.clock.wall / NS_PER_SEC / 86400);
    assert_rc(tlspol_day_next(w.kv, today, (struct str){0}, &arena, &day), RC_OK);
    assert_int_equal(day.details[0].result, TLSPOL_STS_WEBPKI_INVALID);
    arena_fini(&arena);
    close_world(&w);
}

static void test_no_record(void **state)
{
    static const struct {
        const char *records;
        enum tlspol_gap gap;
    } tables[] = {
        {"_mta-sts.good.test * SERVFAIL\n", TLSPOL_CANNOT_ASK},
        {"", TLSPOL_NO_GAP},
        {"_mta-sts.good.test * BOGUS\n", TLSPOL_CANNOT_ASK},
        {TWO_RECORDS, TLSPOL_NO_GAP},
        {"_mta-sts.good.test TXT v=STSv1; id=?\nmta-sts.good.test A 127.0.0.1\n", TLSPOL_NO_GAP},
        {"_mta-sts.good.test TXT v=STSv1; id=1\n", TLSPOL_CANNOT_FETCH}};
    struct world w;
    open_world(&w);
    w.answer = HEAD POLICY;
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        dns_is(&w, tables[i].records);
        assert_int_equal(ask(&w, "good.test", "mx.good.test"), TLSPOL_NONE);
        assert_int_equal(w.gap, tables[i].gap);
        later(&w, 3600);
    }
    assert_int_equal(w.requests, 0);
    close_world(&w);
}

/* Many at once wait for one fetch. */
static void test_together(void **state)
{
    enum { N = 50 };
    struct world w;
    static struct waiting a[N];
    open_world(&w);
    dns_is(&w, GOOD("1"));
    w.answer = HEAD POLICY;
    for (int i = 0; i < N; i++) {
        a[i] = (struct waiting){.q = {.done = on_done, .domain = STR("good.test")}};
        sem_init(&a[i].done, 0, 0);
        assert_rc(tlspol_ask(w.tlspol, &a[i].q), RC_OK);
    }
    for (int i = 0; i < N; i++) {
        sem_wait(&a[i].done);
        assert_int_equal(a[i].q.policy.mode, TLSPOL_ENFORCE);
        sem_destroy(&a[i].done);
        arena_fini(&a[i].q.arena);
    }
    assert_int_equal(w.requests, 1);
    close_world(&w);
}

static void test_ends_while_fetching(void **state)
{
    struct world w;
    struct waiting a = {.q = {.done = on_done, .domain = STR("good.test")}};
    open_world(&w);
    dns_is(&w, GOOD("1"));
    sem_init(&a.done, 0, 0);
    assert_rc(tlspol_ask(w.tlspol, &a.q), RC_OK);
    wait_requests(&w, 1);
    tlspol_free(&w.tlspol);
    sem_wait(&a.done);
    assert_int_equal(a.q.policy.mode, TLSPOL_NONE);
    sem_destroy(&a.done);
    arena_fini(&a.q.arena);
    start(&w);
    close_world(&w);
}

static void test_counts(void **state)
{
    struct world w;
    struct arena arena = {0};
    struct tlspol_day day;
    open_world(&w);
    struct tlspol_event good = {.domain = STR("a.test"), .kind = TLSPOL_BY_TLSA};
    struct tlspol_event bad = {.domain = STR("a.test"),
                               .kind = TLSPOL_BY_STS,
                               .result = TLSPOL_CERTIFICATE_EXPIRED,
                               .host = STR("mx.a.test")};
    struct tlspol_event other = {.domain = STR("b.test")};
    uint32_t today = (uint32_t)(w.clock.wall / NS_PER_SEC / 86400);
    for (int round = 0; round < 2; round++) { /* the second one adds to the first one's rows */
        for (int i = 0; i < 3; i++)
            tlspol_count(w.tlspol, &good);
        tlspol_count(w.tlspol, &bad);
        tlspol_count(w.tlspol, &other);
        tlspol_flush(w.tlspol);
    }
    assert_rc(tlspol_day_next(w.kv, today, (struct str){0}, &arena, &day), RC_OK);
    assert_str(day.domain, "a.test");
    assert_int_equal(day.good[TLSPOL_BY_TLSA], 6);
    assert_int_equal(day.bad[TLSPOL_BY_STS], 2);
    assert_int_equal(day.n_details, 1);
    assert_int_equal(day.details[0].count, 2);
    assert_str(day.details[0].host, "mx.a.test");
    assert_rc(tlspol_day_next(w.kv, today, STR("a.test"), &arena, &day), RC_OK);
    assert_str(day.domain, "b.test");
    assert_int_equal(day.good[TLSPOL_BY_NONE], 2);
    assert_rc(tlspol_day_next(w.kv, today, STR("b.test"), &arena, &day), RC_EOF);
    later(&w, UINT64_C(86400) * (TLSPOL_DAYS + 1)); /* that day is dropped */
    tlspol_count(w.tlspol, &other);
    tlspol_flush(w.tlspol);
    assert_rc(tlspol_day_next(w.kv, today, (struct str){0}, &arena, &day), RC_EOF);
    arena_fini(&arena);
    close_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fetched_and_kept),
        cmocka_unit_test(test_age_is_bounded),
        cmocka_unit_test(test_new_id),
        cmocka_unit_test(test_renewed_by_itself),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_not_trusted),
        cmocka_unit_test(test_no_record),
        cmocka_unit_test(test_together),
        cmocka_unit_test(test_ends_while_fetching),
        cmocka_unit_test(test_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
