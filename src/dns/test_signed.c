/* DNSSEC against a real name server: nsd with zones that tests/dns/signed-zones makes and signs,
 * rightly and wrongly, on loopback. Left out where nsd is not there (tools/deps gets it). */
#include "dns/dns.h"

#include "base/mem.h"
#include "base/test.h"

#include <arpa/inet.h>
#include <poll.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

struct zones {
    char folder[64], anchor[4096];
    pid_t pid; /* 0: there is no nsd */
    struct net_addr addr;
};

static const struct ctx ctx = {.clock = &clock_system};

/* --- the server --------------------------------------------------------------------------------
 */

static unsigned free_port(void)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof sa;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof sa), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &n), 0);
    close(fd);
    return ntohs(sa.sin_port);
}

/* Whether it answers; -1: it has ended. */
static int is_up(struct zones *z, unsigned port)
{
    static const char question[] = "\0\1\0\0\0\1\0\0\0\0\0\0\0\0\6\0\1"; /* . SOA */
    struct sockaddr_in sa = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    char answer[512];
    int status, fd = socket(AF_INET, SOCK_DGRAM, 0), up = 0;
    struct pollfd p = {fd, POLLIN, 0};
    if (waitpid(z->pid, &status, WNOHANG) == z->pid)
        up = -1 - (WIFEXITED(status) && WEXITSTATUS(status) == 77);
    if (up == 0 && connect(fd, (struct sockaddr *)&sa, sizeof sa) == 0 &&
        send(fd, question, sizeof question - 1, 0) > 0)
        up = poll(&p, 1, 200) == 1 && recv(fd, answer, sizeof answer, 0) > 12;
    close(fd);
    return up;
}

static void zones_start(struct zones *z)
{
    char script[512], port[16], path[128];
    const char *source = getenv("PENFOLD_SOURCE");
    *z = (struct zones){.folder = "/tmp/penfold-dns-XXXXXX"};
    assert_non_null(mkdtemp(z->folder));
    snprintf(script, sizeof script, "%s/tests/dns/signed-zones", source ? source : ".");
    for (int up = -1; up != 1;) { /* anew when somebody else was faster with the port */
        snprintf(port, sizeof port, "%u", free_port());
        z->pid = fork();
        if (z->pid == 0) {
            setpgid(0, 0);
            execl("/bin/sh", "sh", script, z->folder, port, (char *)NULL);
            _exit(77);
        }
        while ((up = is_up(z, (unsigned)atoi(port))) == 0)
            usleep(50000);
        if (up == -2) {
            z->pid = 0;
            return;
        }
    }
    snprintf(path, sizeof path, "127.0.0.1:%s", port);
    assert_rc(net_addr_parse(str_of(path), &z->addr), RC_OK);
    snprintf(path, sizeof path, "%s/anchor", z->folder);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    z->anchor[fread(z->anchor, 1, sizeof z->anchor - 1, f)] = '\0';
    fclose(f);
}

static int stop(void **state)
{
    struct zones *z = *state;
    char command[128];
    if (z->pid) {
        kill(z->pid, SIGTERM);
        waitpid(z->pid, NULL, 0);
    }
    snprintf(command, sizeof command, "rm -rf %s", z->folder);
    return system(command);
}

static int start(void **state)
{
    static struct zones zones;
    zones_start(&zones);
    *state = &zones;
    return 0;
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

static void ask(struct dns *dns, struct waiting *w, const char *name, enum dns_type type)
{
    *w = (struct waiting){.q = {.done = on_done, .name = str_of(name), .type = type}};
    sem_init(&w->done, 0, 0);
    assert_rc(dns_ask(dns, &w->q), RC_OK);
    sem_wait(&w->done);
    sem_destroy(&w->done);
}

static struct dns *resolver(struct zones *z, const char *anchor, bool must_validate)
{
    struct dns *dns;
    char why[256];
    if (!z->pid)
        skip();
    struct dns_conf conf = {.resolvers = &z->addr,
                            .n_resolvers = 1,
                            .anchors = str_of(anchor),
                            .must_validate = must_validate};
    assert_rc(dns_new(&ctx, &conf, &dns, why), RC_OK);
    return dns;
}

static const struct {
    const char *name;
    enum dns_type type;
    enum dns_result result;
    bool is_secure;
    size_t n;
    const char *canonical;
} cases[] = {
    {"signed.test", DNS_MX, DNS_OK, true, 1, "signed.test"},
    {"mx.signed.test", DNS_A, DNS_OK, true, 1, "mx.signed.test"},
    {"_25._tcp.mx.signed.test", DNS_TLSA, DNS_OK, true, 1, "_25._tcp.mx.signed.test"},
    {"a.wild.signed.test", DNS_A, DNS_OK, true, 1, "a.wild.signed.test"},
    {"huge.signed.test", DNS_TXT, DNS_OK, true, 251, "huge.signed.test"},
    /* what is not there is proven, too */
    {"mx.signed.test", DNS_AAAA, DNS_NODATA, true, 0, NULL},
    {"none.signed.test", DNS_A, DNS_NXDOMAIN, true, 0, NULL},
    {"mx.nsec3.test", DNS_A, DNS_OK, true, 1, "mx.nsec3.test"},
    {"none.nsec3.test", DNS_A, DNS_NXDOMAIN, true, 0, NULL},
    /* signed wrongly, too long ago, not at all though it should be */
    {"mx.forged.test", DNS_A, DNS_BOGUS, false, 0, NULL},
    {"www.forged.test", DNS_A, DNS_OK, true, 1, "www.forged.test"},
    {"mx.expired.test", DNS_A, DNS_BOGUS, false, 0, NULL},
    {"none.expired.test", DNS_A, DNS_BOGUS, false, 0, NULL},
    {"mx.stripped.test", DNS_A, DNS_BOGUS, false, 0, NULL},
    /* not signed, which its parent says */
    {"mx.unsigned.test", DNS_A, DNS_OK, false, 1, "mx.unsigned.test"},
    {"none.unsigned.test", DNS_A, DNS_NXDOMAIN, false, 0, NULL},
    {"_25._tcp.mx.unsigned.test", DNS_TLSA, DNS_NXDOMAIN, false, 0, NULL},
    /* aliases are as good as their last step, and can be asked for themselves [RFC7672 2.1.3] */
    {"alias.signed.test", DNS_A, DNS_OK, true, 1, "mx.signed.test"},
    {"away.signed.test", DNS_A, DNS_OK, false, 1, "mx.unsigned.test"},
    {"away.signed.test", DNS_CNAME, DNS_OK, true, 1, "away.signed.test"},
    {"home.unsigned.test", DNS_A, DNS_OK, false, 1, "mx.signed.test"},
};

static void check(struct dns *dns, size_t i)
{
    struct waiting w;
    ask(dns, &w, cases[i].name, cases[i].type);
    print_message("%s %s: %s %s\n", cases[i].name, dns_type_name(cases[i].type),
                  dns_result_name(w.q.result), w.q.why);
    assert_string_equal(dns_result_name(w.q.result), dns_result_name(cases[i].result));
    assert_int_equal(w.q.is_secure, cases[i].is_secure);
    assert_int_equal(w.q.n_records, cases[i].n);
    if (cases[i].canonical)
        assert_true(str_eq(w.q.canonical, str_of(cases[i].canonical)));
    dns_query_fini(&w.q);
}

static void test_cases(void **state)
{
    struct zones *z = *state;
    struct dns *dns = resolver(z, z->anchor, true);
    for (int round = 0; round < 2; round++) /* the second one from the cache */
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
            check(dns, i);
    dns_free(&dns);
}

/* The system's anchor, and resolvers that pass signatures on: the same. */
static void test_probed(void **state)
{
    struct zones *z = *state;
    struct dns *dns = resolver(z, z->anchor, false);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check(dns, i);
    dns_free(&dns);
}

static void test_no_anchor(void **state)
{
    struct waiting w;
    struct dns *dns = resolver(*state, "", false);
    ask(dns, &w, "mx.signed.test", DNS_A);
    assert_int_equal(w.q.result, DNS_OK);
    assert_false(w.q.is_secure);
    dns_query_fini(&w.q);
    dns_free(&dns);
}

static void test_other_anchor(void **state)
{
    struct waiting w;
    struct dns *dns = resolver(*state,
                               ". IN DS 20326 8 2 "
                               "E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D\n",
                               true);
    ask(dns, &w, "mx.signed.test", DNS_A);
    assert_int_equal(w.q.result, DNS_BOGUS);
    dns_query_fini(&w.q);
    dns_free(&dns);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cases),
        cmocka_unit_test(test_probed),
        cmocka_unit_test(test_no_anchor),
        cmocka_unit_test(test_other_anchor),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
