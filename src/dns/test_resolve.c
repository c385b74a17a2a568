/* dns over libunbound, against a small name server of this test's own on loopback that misbehaves
 * as its names say. Signed zones: test_signed.c. */
#include "dns/dns.h"

#include "base/bytes.h"
#include "base/mem.h"
#include "base/test.h"

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

/* --- the server --------------------------------------------------------------------------------
 */

struct server {
    int udp, tcp, stop;
    struct net_addr addr;
    pthread_t thread;
    _Atomic unsigned questions, over_tcp;
    _Atomic bool is_silent;
    sem_t asked; /* while it is silent */
};

static void put_name(struct packer *w, const char *name)
{
    struct str rest = str_of(name), label;
    while (rest.n > 0 && str_cut(&rest, '.', &label)) {
        pack_u8(w, (uint8_t)label.n);
        pack_bytes(w, label);
    }
    pack_u8(w, 0);
}

static void put_record(struct packer *w, const char *name, uint16_t type, struct str rdata)
{
    put_name(w, name);
    pack_u16(w, type);
    pack_u16(w, 1);
    pack_u32(w, 60);
    pack_u16(w, (uint16_t)rdata.n);
    pack_bytes(w, rdata);
}

static uint16_t put_mx(struct packer *w, const char *name, int n)
{
    for (int i = 0; i < n; i++) {
        unsigned char mem[64];
        char host[32];
        struct packer rdata;
        pack_init(&rdata, mem, sizeof mem);
        pack_u16(&rdata, (uint16_t)(10 + i));
        snprintf(host, sizeof host, "mx%d.example.net", i);
        put_name(&rdata, host);
        put_record(w, name, DNS_MX, pack_done(&rdata));
    }
    return (uint16_t)n;
}

static uint16_t put_text(struct packer *w, const char *name, int n)
{
    char rdata[256];
    memset(rdata, 'x', sizeof rdata);
    rdata[0] = (char)255;
    for (int i = 0; i < n; i++) {
        rdata[1] = (char)('a' + i % 26);
        rdata[2] = (char)('a' + i / 26 % 26);
        put_record(w, name, DNS_TXT, str_from(rdata, sizeof rdata));
    }
    return (uint16_t)n;
}

struct question {
    char name[256];
    uint16_t type;
    size_t end;
};

static bool read_question(const unsigned char *p, size_t n, struct question *out)
{
    size_t at = 12, used = 0;
    while (at < n && p[at]) {
        for (size_t i = 0; i < p[at]; i++)
            out->name[used++] = ascii_lower((char)p[at + 1 + i]);
        out->name[used++] = '.';
        at += 1u + p[at];
    }
    out->name[used ? used - 1 : 0] = 0;
    out->end = at + 5;
    if (out->end > n)
        return false;
    out->type = get_u16(p + at + 1);
    return true;
}

static bool is_at(const struct question *q, const char *name, uint16_t type)
{
    return strcmp(q->name, name) == 0 && q->type == type;
}

/* The answers; the counts of the header are put in afterwards. 0: silence. */
static size_t respond(const unsigned char *in, size_t n, bool is_tcp, unsigned char *out,
                      size_t size)
{
    struct question q;
    struct packer w;
    uint16_t flags = 0x8580, answers = 0;
    if (n < 12 || !read_question(in, n, &q) || strstr(q.name, "mute"))
        return 0;
    pack_init(&w, out, size);
    pack_bytes(&w, str_from(in, q.end));
    if (strstr(q.name, "fails"))
        flags |= 2;
    else if (strstr(q.name, "refuses"))
        flags |= 5;
    else if (strstr(q.name, "nowhere"))
        flags |= 3;
    else if (strstr(q.name, "cut") && !is_tcp)
        flags |= 0x200;
    else if (is_at(&q, "example.net", DNS_MX))
        answers = put_mx(&w, q.name, 3);
    else if (is_at(&q, "cut.example.net", DNS_MX))
        answers = put_mx(&w, q.name, 100);
    else if (is_at(&q, "huge-cut.example.net", DNS_TXT))
        answers = put_text(&w, q.name, 200);
    else if (is_at(&q, "strange.example.net", DNS_MX))
        put_record(&w, q.name, DNS_MX, STR("\0\5\5a b\0c\3net\0")), answers = 1;
    else if (is_at(&q, "example.net", DNS_A))
        put_record(&w, q.name, DNS_A, STR("\300\0\2\1")), answers = 1;
    else if (is_at(&q, "alias.example.net", DNS_A)) {
        put_record(&w, q.name, DNS_CNAME, STR("\7example\3net\0"));
        put_record(&w, "example.net", DNS_A, STR("\300\0\2\1"));
        answers = 2;
    }
    put_u16(out + 2, flags);
    put_u16(out + 6, answers);
    put_u32(out + 8, 0);
    return pack_done(&w).n;
}

static void serve_udp(struct server *s)
{
    unsigned char in[1500], out[1500];
    struct sockaddr_in6 from;
    socklen_t len = sizeof from;
    ssize_t n = recvfrom(s->udp, in, sizeof in, 0, (struct sockaddr *)&from, &len);
    size_t answer = n > 0 ? respond(in, (size_t)n, false, out, sizeof out) : 0;
    s->questions++;
    if (s->is_silent)
        sem_post(&s->asked);
    else if (answer)
        assert_int_equal(sendto(s->udp, out, answer, 0, (struct sockaddr *)&from, len), answer);
}

static void serve_tcp(struct server *s)
{
    static unsigned char in[2048], out[65536 + 2];
    int fd = accept(s->tcp, NULL, NULL);
    ssize_t n = recv(fd, in, 2, MSG_WAITALL);
    if (n == 2)
        n = recv(fd, in, get_u16(in) < sizeof in ? get_u16(in) : sizeof in, MSG_WAITALL);
    size_t answer = n > 12 ? respond(in, (size_t)n, true, out + 2, 65535) : 0;
    s->over_tcp++;
    put_u16(out, (uint16_t)answer);
    if (answer)
        assert_int_equal(send(fd, out, answer + 2, MSG_NOSIGNAL), answer + 2);
    close(fd);
}

static void *server_main(void *arg)
{
    struct server *s = arg;
    struct pollfd fds[3] = {{s->udp, POLLIN, 0}, {s->tcp, POLLIN, 0}, {s->stop, POLLIN, 0}};
    while (poll(fds, 3, -1) > 0 && !fds[2].revents) {
        if (fds[0].revents)
            serve_udp(s);
        if (fds[1].revents)
            serve_tcp(s);
    }
    return NULL;
}

static void server_start(struct server *s)
{
    *s = (struct server){.stop = eventfd(0, 0)};
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof sa;
    for (;;) { /* the same port for both */
        s->tcp = socket(AF_INET, SOCK_STREAM, 0);
        s->udp = socket(AF_INET, SOCK_DGRAM, 0);
        sa.sin_port = 0;
        assert_int_equal(bind(s->tcp, (struct sockaddr *)&sa, sizeof sa), 0);
        assert_int_equal(getsockname(s->tcp, (struct sockaddr *)&sa, &len), 0);
        if (bind(s->udp, (struct sockaddr *)&sa, sizeof sa) == 0)
            break;
        close(s->tcp);
        close(s->udp);
    }
    assert_int_equal(listen(s->tcp, 16), 0);
    char text[64];
    int n = snprintf(text, sizeof text, "127.0.0.1:%u", ntohs(sa.sin_port));
    assert_rc(net_addr_parse(str_from(text, (size_t)n), &s->addr), RC_OK);
    pthread_create(&s->thread, NULL, server_main, s);
}

static void server_stop(struct server *s)
{
    uint64_t one = 1;
    assert_int_equal(write(s->stop, &one, sizeof one), sizeof one);
    pthread_join(s->thread, NULL);
    close(s->udp);
    close(s->tcp);
    close(s->stop);
}

/* --- the tests ---------------------------------------------------------------------------------
 */

struct waiting {
    struct dns_query q;
    sem_t done;
};

static void on_done(struct dns_query *q)
{
    sem_post(&CONTAINER(q, struct waiting, q)->done);
}

static struct waiting *begin(struct dns *dns, const char *name, enum dns_type type)
{
    struct waiting *w = mem_zero(sizeof *w);
    sem_init(&w->done, 0, 0);
    w->q = (struct dns_query){.done = on_done, .name = str_of(name), .type = type};
    assert_rc(dns_ask(dns, &w->q), RC_OK);
    return w;
}

static struct waiting *ask(struct dns *dns, const char *name, enum dns_type type)
{
    struct waiting *w = begin(dns, name, type);
    sem_wait(&w->done);
    return w;
}

static void end(struct waiting *w)
{
    sem_destroy(&w->done);
    dns_query_fini(&w->q);
    free(w);
}

static const struct ctx ctx = {.clock = &clock_system};

static struct dns *resolver(const struct server *s, struct dns_conf conf)
{
    struct dns *dns;
    char why[256] = "";
    conf.resolvers = &s->addr;
    conf.n_resolvers = 1;
    enum rc rc = dns_new(&ctx, &conf, &dns, why);
    assert_string_equal(why, "");
    assert_rc(rc, RC_OK);
    return dns;
}

static void test_answers(void **state)
{
    struct server s;
    server_start(&s);
    struct dns *dns = resolver(&s, (struct dns_conf){0});
    struct waiting *w = ask(dns, "Example.NET", DNS_MX);
    assert_string_equal(w->q.why, "");
    assert_int_equal(w->q.n_records, 3);
    assert_str(w->q.canonical, "example.net");
    assert_false(w->q.is_secure);
    assert_in_range(w->q.ttl, 1, 60);
    end(w);
    unsigned asked = s.questions;
    w = ask(dns, "example.net", DNS_MX); /* from the cache */
    assert_int_equal(w->q.n_records, 3);
    assert_int_equal(s.questions, asked);
    end(w);
    w = ask(dns, "alias.example.net", DNS_A);
    assert_int_equal(w->q.n_records, 1);
    assert_str(w->q.canonical, "example.net");
    end(w);
    w = ask(dns, "strange.example.net", DNS_MX);
    assert_int_equal(w->q.n_records, 1);
    assert_str(w->q.records[0].name, "a\\032b\\000c.net");
    assert_false(dns_is_host(w->q.records[0].name));
    end(w);
    dns_free(&dns);
    server_stop(&s);
}

static void test_ends(void **state)
{
    static const struct {
        const char *name;
        enum dns_result result;
    } cases[] = {{"nodata.example.net", DNS_NODATA},
                 {"nowhere.example.net", DNS_NXDOMAIN},
                 {"fails.example.net", DNS_TEMP},
                 {"refuses.example.net", DNS_TEMP}};
    struct server s;
    server_start(&s);
    struct dns *dns = resolver(&s, (struct dns_conf){0});
    for (size_t i = 0; i < 3 * (sizeof cases / sizeof *cases); i++) { /* also from the cache */
        struct waiting *w = ask(dns, cases[i / 3].name, DNS_MX);
        assert_string_equal(dns_result_name(w->q.result), dns_result_name(cases[i / 3].result));
        assert_int_equal(w->q.why[0] != 0, w->q.result >= DNS_TEMP);
        end(w);
    }
    dns_free(&dns);
    server_stop(&s);
}

static void test_over_tcp(void **state)
{
    struct server s;
    server_start(&s);
    struct dns *dns = resolver(&s, (struct dns_conf){0});
    struct waiting *w = ask(dns, "cut.example.net", DNS_MX);
    assert_int_equal(w->q.n_records, 100);
    assert_int_equal(s.over_tcp, 1);
    end(w);
    w = ask(dns, "huge-cut.example.net", DNS_TXT);
    assert_int_equal(w->q.n_records, 200);
    assert_int_equal(w->q.records[199].data.n, 255);
    end(w);
    dns_free(&dns);
    server_stop(&s);
}

/* One name server that keeps silent holds up neither its own query for ever nor any other. */
static void test_silence(void **state)
{
    struct server s;
    server_start(&s);
    struct dns *dns = resolver(&s, (struct dns_conf){.query_ms = 1000});
    struct waiting *mute = begin(dns, "mute.example.net", DNS_MX);
    struct waiting *w = ask(dns, "example.net", DNS_MX);
    assert_int_equal(w->q.result, DNS_OK);
    end(w);
    sem_wait(&mute->done);
    assert_int_equal(mute->q.result, DNS_TEMP);
    end(mute);
    struct waiting *last = begin(dns, "mute2.example.net", DNS_MX);
    dns_free(&dns); /* with the library still at work on both */
    sem_wait(&last->done);
    assert_int_equal(last->q.result, DNS_TEMP);
    end(last);
    server_stop(&s);
}

static void test_many(void **state)
{
    enum { N = 900 };
    static char names[N][40];
    struct server s;
    server_start(&s);
    struct dns *dns = resolver(&s, (struct dns_conf){0});
    static struct waiting *w[N];
    for (int i = 0; i < N; i++) {
        snprintf(names[i], sizeof names[i], "n%d.nowhere.example.net", i);
        w[i] = begin(dns, names[i], DNS_A);
    }
    for (int i = 0; i < N; i++) {
        sem_wait(&w[i]->done);
        assert_string_equal(dns_result_name(w[i]->q.result), "nxdomain");
        end(w[i]);
    }
    dns_free(&dns);
    server_stop(&s);
}

static void test_reload(void **state)
{
    struct server one, two;
    char why[256];
    server_start(&one);
    server_start(&two);
    struct dns *dns = resolver(&one, (struct dns_conf){.query_ms = 1000});
    struct waiting *old = begin(dns, "mute.example.net", DNS_MX);
    struct dns_conf conf = {.resolvers = &two.addr, .n_resolvers = 1};
    assert_rc(dns_reload(dns, &conf, why), RC_OK);
    struct waiting *w = ask(dns, "example.net", DNS_MX);
    assert_int_equal(w->q.result, DNS_OK);
    assert_true(two.questions > 0);
    end(w);
    sem_wait(&old->done);
    end(old);
    conf.anchors = STR("this is no anchor\n");
    assert_rc(dns_reload(dns, &conf, why), RC_SYNTAX);
    assert_non_null(strstr(why, "DNS: "));
    w = ask(dns, "example.net", DNS_A); /* nothing has changed */
    assert_int_equal(w->q.result, DNS_OK);
    end(w);
    dns_free(&dns);
    server_stop(&one);
    server_stop(&two);
}

static const struct str anchor =
    STR_INIT(". 86400 IN DS 20326 8 2 "
             "E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D\n");

/* A resolver that strips signatures: with the system's anchor mail goes on, with the operator's
 * nothing is believed. */
static void test_stripped(void **state)
{
    struct server s;
    server_start(&s);
    struct dns *dns = resolver(&s, (struct dns_conf){.anchors = anchor});
    struct waiting *w = ask(dns, "example.net", DNS_MX);
    assert_int_equal(w->q.result, DNS_OK);
    assert_false(w->q.is_secure);
    end(w);
    dns_free(&dns);
    dns = resolver(&s, (struct dns_conf){.anchors = anchor, .must_validate = true});
    w = ask(dns, "example.net", DNS_MX);
    assert_int_equal(w->q.result, DNS_BOGUS);
    assert_true(w->q.why[0] != 0);
    end(w);
    dns_free(&dns);
    server_stop(&s);
}

/* The server stops while its first question, whether signatures come through, has no answer yet. */
static void test_end_while_probing(void **state)
{
    struct server s;
    server_start(&s);
    sem_init(&s.asked, 0, 0);
    s.is_silent = true;
    struct dns *dns = resolver(&s, (struct dns_conf){.anchors = anchor});
    struct waiting *w = begin(dns, "example.net", DNS_MX);
    sem_wait(&s.asked);
    dns_free(&dns);
    sem_wait(&w->done);
    assert_int_equal(w->q.result, DNS_TEMP);
    end(w);
    server_stop(&s);
    sem_destroy(&s.asked);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers),  cmocka_unit_test(test_ends),
        cmocka_unit_test(test_over_tcp), cmocka_unit_test(test_silence),
        cmocka_unit_test(test_many),     cmocka_unit_test(test_reload),
        cmocka_unit_test(test_stripped), cmocka_unit_test(test_end_while_probing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
