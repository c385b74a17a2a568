#include "conf/conf.h"

#include "base/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct file {
    char path[64];
};

static void write_file(struct file *f, const char *text)
{
    strcpy(f->path, "/tmp/penfold-conf-XXXXXX");
    int fd = mkstemp(f->path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

static enum rc load(const char *text, struct conf **out, char *why, size_t size)
{
    struct file f;
    struct buf b;
    buf_init(&b, size - 1);
    write_file(&f, text);
    enum rc rc = conf_load(f.path, out, &b);
    struct str s = buf_str(&b);
    memcpy(why, s.p, s.n);
    why[s.n] = '\0';
    buf_fini(&b);
    unlink(f.path);
    return rc;
}

static void an_empty_file_has_all_defaults(void **state)
{
    struct conf *conf;
    char why[1024];
    assert_rc(load("", &conf, why, sizeof why), RC_OK);
    assert_string_equal(conf->data, "/var/lib/penfold");
    assert_int_equal(conf->limits.message_size, 50 << 20);
    assert_int_equal(conf->listen.smtp.n, 2);
    assert_string_equal(conf->listen.smtp.item[1], "[::]:25");
    assert_string_equal(conf->listen.submission.item[0], "0.0.0.0:587");
    assert_string_equal(conf->listen.submissions.item[1], "[::]:465");
    assert_string_equal(conf->listen.lmtp.item[0], "/run/penfold/lmtp");
    assert_int_equal(conf->auth.plaintext, CONF_PLAINTEXT_NEVER);
    assert_true(strlen(conf->hostname) > 0);
    conf_free(&conf);
}

static void sections_merge_and_values_count(void **state)
{
    struct conf *conf;
    char why[1024];
    assert_rc(load("hostname = \"mail.example.org\"\ndata = \"data\"\n"
                   "listen { smtp = {\"127.0.0.1:2025\"} }\nlimits { message_size = 10k }\n"
                   "listen { pop3 = {\"127.0.0.1:2110\", \"[::1]:2110\"} }\n"
                   "listen { lmtp = {\"127.0.0.1:2024\", \"run/lmtp\", \"/run/lmtp\"} }\n"
                   "auth { plaintext = \"loopback\" }\nlimits { command_time = 2m }\n",
                   &conf, why, sizeof why),
              RC_OK);
    assert_string_equal(conf->data, "/tmp/data");
    assert_int_equal(conf->listen.smtp.n, 1);
    assert_int_equal(conf->listen.pop3.n, 2);
    assert_int_equal(conf->listen.lmtp.n, 3);
    assert_string_equal(conf->listen.lmtp.item[1], "/tmp/run/lmtp");
    assert_string_equal(conf->listen.lmtp.item[2], "/run/lmtp");
    assert_int_equal(conf->limits.message_size, 10240);
    assert_int_equal(conf->limits.command_time, 120);
    assert_int_equal(conf->auth.plaintext, CONF_PLAINTEXT_LOOPBACK);
    conf_free(&conf);
}

static void errors_name_the_line(void **state)
{
    static const struct {
        const char *text, *line, *what;
    } cases[] = {
        {"hostname = \"x\"\nhostnam = \"y\"\n", ":2:", "hostnam"},
        {"limits {\n message_size = lots\n}\n", ":2:", "expected a size"},
        {"limits { recipients = -1 }\n", ":1:", "expected a number"},
        {"\n\nauth { plaintext = \"always\" }\n", ":3:", "loopback"},
        {"store { undelete = soon }\n", ":1:", "expected a time"},
        {"listen { smtp = {\"a\"\n", "", ""},
        {"# one\n# two\nhostnam = 1\n", ":3:", "hostnam"},
        {"/* one\ntwo */ // three\nhostname = \"a\" # it's\nhostnam = 1\n", ":4:", "hostnam"},
        {"user = \"#1//\\\" # a\"\nhostnam = 1\n", ":2:", "hostnam"},
        {"listen {\n\n smtp = {\"127.0.0.1\"}\n}\n", ":3:", "an address and a port"},
        {"listen { smtp = {\"::1:25\"} }\n", ":1:", "an address and a port"},
        {"listen { pop3 = {\"[::1]:70000\"} }\n", ":1:", "an address and a port"},
        {"listen { lmtp = {\"lmtp\"} }\n", ":1:", "the path of a socket"},
        {"listen { submission = {\"/run/x\"} }\n", ":1:", "an address and a port"},
        {"limits { trusted = {\"10.0.0.0/33\"} }\n", ":1:", "a network"},
        {"hostname = \"mail\\r\\nx\"\n", ":1:", "a host name"},
        {"hostname = \"-x.test\"\n", ":1:", "a host name"},
        {"log = \"loud\"\n", ":1:", "\"warning\""},
        {"store { engine = \"rodas\" }\n", ":1:", "\"rados\""},
        {"auth { hash_threads = 0 }\n", ":1:", "1 to 256"},
        {"auth { hash_ops = 4294967296 }\n", ":1:", "1 to 1000"},
        {"limits { recipients = 1001 }\n", ":1:", "1 to 1000"},
        {"store { undelete = 213503d }\n", ":1:", "expected 0 to"},
        {"data = \"\"\n", ":1:", "expected something"},
        {"tls { certificate = \"c.pem\" }\n", "", "needed both"},
        {"oauth { issuer = \"https://a.test\" }\n", ":1:", "audience is needed"},
        {"oauth { keys_file = \"k\" }\n", ":1:", "without an issuer"},
        {"oauth { issuer = \"i\" audience = {\"a\"} keys_file = \"k\" keys_url = \"u\" }\n",
         ":1:", "not both"},
        {"oauth { algorithms = {\"RS256\", \"HS256\"} }\n", ":1:", "ES512"},
        {"oauth { algorithms = {\"none\"} }\n", ":1:", "ES512"},
        {"oauth { audience = {\"\"} }\n", ":1:", "expected something"},
        {"dns { resolver = {\"127.0.0.1\"} }\n", ":1:", "an address and a port"},
        {"relay { accept = {\"a b\"} }\n", ":1:", "a name"},
        {"relay { source = {\"127.0.0.1:25\"} }\n", ":1:", "an address"},
        {"relay {\n route \"x.test\" {\n host = \"a:b\" } }\n", ":3:", "a host"},
        {"relay { route \"x.test\" { host = \"-a\" } }\n", ":1:", "a host"},
        {"relay { route \"x.test\" { tls = \"on\" } }\n", ":1:", "\"verify\""},
        {"relay { route \"x.test\" { hots = \"a\" } }\n", ":1:", "hots"},
        {"relay { route \"*.test\" { host = \"a\" } }\n", "", "expected a domain"},
        {"relay { route \"*\" { host = \"a\" login = \"u\" } }\n", "", "password_file"},
        {"relay { route \"*\" { login = \"u\" password_file = \"p\" } }\n", "", "set host too"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct conf *conf = NULL;
        char why[1024];
        assert_rc(load(cases[i].text, &conf, why, sizeof why), RC_SYNTAX);
        assert_null(conf);
        assert_non_null(strstr(why, cases[i].line));
        assert_non_null(strstr(why, cases[i].what));
    }
}

static void what_is_shown_can_be_read_again(void **state)
{
    struct conf *conf, *again;
    char why[1024];
    struct buf b;
    assert_rc(load("listen { smtp = {\"127.0.0.1:2025\"} }", &conf, why, sizeof why), RC_OK);
    buf_init(&b, 65536);
    conf_show(conf, &b);
    assert_rc(buf_add_byte(&b, '\0'), RC_OK);
    assert_rc(load(buf_str(&b).p, &again, why, sizeof why), RC_OK);
    assert_int_equal(again->listen.smtp.n, 1);
    assert_int_equal(again->limits.memory, conf->limits.memory);
    assert_string_equal(again->listen.pop3.item[0], conf->listen.pop3.item[0]);
    buf_fini(&b);
    conf_free(&conf);
    conf_free(&again);
}

static void routes_are_read_and_shown(void **state)
{
    struct conf *conf = NULL, *again = NULL;
    struct buf why, one;
    buf_init(&why, 1000);
    buf_init(&one, 65536);
    assert_rc(
        conf_parse(STR("relay { route \"a.test\" { host = \"127.0.0.1:2525\" }\n"
                       "  accept = {\"backup.test\", \"two.test\"} }\n"
                       "relay { route \"*\" { host = \"smart.test:587\" tls = \"verify\"\n"
                       "                      login = \"u\" password_file = \"pw\" }\n"
                       "        route \"l.test\" { host = \"run/lmtp\" protocol = \"lmtp\" }\n"
                       "        route \"s.test\" { source = {\"192.0.2.1\", \"2001:db8::1\"} }\n"
                       "        route \"A.test\" { host = \"[::1]:2526\" }\n"
                       "        retry_first = 10s }\n"),
                   "/etc/x.conf", &conf, &why),
        RC_OK);
    conf_show(conf, &one);
    assert_rc(conf_parse(buf_str(&one), "/etc/x.conf", &again, &why), RC_OK);
    for (const struct conf *c = conf; c; c = c == conf ? again : NULL) {
        const struct conf_route *r = c->relay.routes;
        assert_int_equal(c->relay.n_routes, 4);
        assert_string_equal(r[0].domain, "A.test"); /* the later one counts */
        assert_string_equal(r[0].host, "[::1]:2526");
        assert_string_equal(r[0].tls, "opportunistic");
        assert_string_equal(r[1].host, "smart.test:587");
        assert_string_equal(r[1].tls, "verify");
        assert_string_equal(r[1].password_file, "/etc/pw");
        assert_string_equal(r[2].host, "/etc/run/lmtp");
        assert_string_equal(r[2].protocol, "lmtp");
        assert_string_equal(r[3].host, "");
        assert_int_equal(r[3].source.n, 2);
        assert_string_equal(r[3].source.item[1], "2001:db8::1");
        assert_int_equal(c->relay.accept.n, 2);
        assert_int_equal(c->relay.retry_first, 10);
        assert_int_equal(c->dns.resolver.n, 0);
    }
    conf_free(&conf);
    conf_free(&again);
    buf_fini(&why);
    buf_fini(&one);
}

/* Of domains there may be many; of what is listened to, for instance, not. */
static void long_lists_have_a_limit(void **state)
{
    for (size_t n = CONF_NAMES_MAX; n <= CONF_NAMES_MAX + 1; n++) {
        struct conf *conf = NULL;
        struct buf text, why;
        buf_init(&text, 1 << 20);
        buf_init(&why, 1000);
        buf_put(&text, STR("relay {\n accept = {"));
        for (size_t i = 0; i < n; i++)
            buf_putf(&text, "%s\"d%zu.test\"", i ? ", " : "", i);
        buf_put(&text, STR("} }\n"));
        bool fits = n == CONF_NAMES_MAX;
        assert_rc(conf_parse(buf_str(&text), "/etc/x.conf", &conf, &why), fits ? RC_OK : RC_SYNTAX);
        if (fits)
            assert_int_equal(conf->relay.accept.n, n);
        else
            assert_str(buf_str(&why), "/etc/x.conf:2: accept has more than 10000 entries\n");
        conf_free(&conf);
        buf_fini(&why);
        buf_fini(&text);
    }
    struct conf *conf = NULL;
    char text[1024] = "relay { source = {", why[1024];
    for (size_t i = 0; i <= CONF_LIST_MAX; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s\"192.0.2.%zu\"", i ? "," : "",
                 i);
    strcat(text, "} }\n");
    assert_rc(load(text, &conf, why, sizeof why), RC_SYNTAX);
    assert_non_null(strstr(why, ":1: source has more than 32 entries"));
}

static void everything_that_is_wrong_is_told_in_order(void **state)
{
    struct conf *conf = NULL;
    char why[4096];
    assert_rc(load("hostnam = \"x\"\n"
                   "limits { recipients = 0 }\n"
                   "nonsense { deep = \"}\" deeper { a = 1 } }\n"
                   "limits {\n    colour = {\"red\",\n \"}\"}\n    message_size = lots\n}\n"
                   "log = loud\nhostnam = 2\n",
                   &conf, why, sizeof why),
              RC_SYNTAX);
    struct str rest = str_of(why), line;
    static const char *const wanted[] = {
        ":1: no such option 'hostnam'", ":2: recipients",   ":3: no such option 'nonsense'",
        ":5: no such option 'colour'",  ":7: message_size", ":9: log",
        ":10: no such option 'hostnam'"};
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        assert_true(str_cut(&rest, '\n', &line));
        assert_true(str_find(line, str_of(wanted[i])) > 0);
    }
    assert_int_equal(rest.n, 0);
}

static void a_broken_form_ends_the_search(void **state)
{
    struct conf *conf = NULL;
    char why[4096];
    assert_rc(load("hostnam = 1\nlimits { recipients = 0\n", &conf, why, sizeof why), RC_SYNTAX);
    assert_non_null(strstr(why, ":1: no such option 'hostnam'"));
    assert_non_null(strstr(why, ":2: recipients"));
    assert_rc(load("data = {\n}}}\nlog = info\n", &conf, why, sizeof why), RC_SYNTAX);
    assert_rc(load("data = \"open\nlog = info\n", &conf, why, sizeof why), RC_SYNTAX);
    assert_rc(load("log = info\n", &conf, why, sizeof why), RC_OK); /* nothing is left over */
    conf_free(&conf);
}

static void a_value_has_its_place(void **state)
{
    struct conf *conf = NULL;
    struct buf b;
    char where[CONF_WHERE];
    buf_init(&b, 1000);
    assert_rc(conf_parse(STR("\n\ntls {\n  certificate = \"c\"\n  key = \"k\"\n}\nlog = info\n"),
                         "/etc/x.conf", &conf, &b),
              RC_OK);
    assert_string_equal(conf_where(conf, &conf->tls.key, where), "/etc/x.conf:5");
    assert_string_equal(conf_where(conf, &conf->log_level, where), "/etc/x.conf:7");
    assert_string_equal(conf_where(conf, &conf->data, where), "/etc/x.conf");
    assert_string_equal(conf->tls.key, "/etc/k");
    conf_free(&conf);
    assert_rc(conf_parse(STR("dns { trust_anchor = none }"), "/etc/x.conf", &conf, &b), RC_OK);
    assert_string_equal(conf->dns.trust_anchor, "none");
    conf_free(&conf);
    assert_rc(conf_parse(str_from("a\0b", 3), "x", &conf, &b), RC_SYNTAX);
    buf_fini(&b);
}

static void odd_characters_survive_being_shown(void **state)
{
    struct conf *conf = NULL, *again = NULL;
    struct buf why, one, two;
    buf_init(&why, 1000);
    buf_init(&one, 65536);
    buf_init(&two, 65536);
    assert_rc(conf_parse(STR("data = '/srv/a \"b\" ${HOME} \\\\ #c'\nuser = 'x // y'\n"
                             "tls { certificate = \"c\\\\\" key = \"k # 1\" }\n"
                             "listen { lmtp = {'/run/$x/\"y\"', '/run/\\\\'} }\n"),
                         "/etc/x.conf", &conf, &why),
              RC_OK);
    assert_string_equal(conf->data, "/srv/a \"b\" ${HOME} \\ #c");
    assert_string_equal(conf->tls.certificate, "/etc/c\\");
    assert_string_equal(conf->tls.key, "/etc/k # 1");
    conf_show(conf, &one);
    assert_rc(conf_parse(buf_str(&one), "/elsewhere", &again, &why), RC_OK);
    assert_string_equal(again->data, conf->data);
    assert_string_equal(again->user, conf->user);
    assert_string_equal(again->tls.key, conf->tls.key);
    assert_int_equal(again->listen.lmtp.n, 2);
    assert_string_equal(again->listen.lmtp.item[0], "/run/$x/\"y\"");
    assert_string_equal(again->listen.lmtp.item[1], "/run/\\");
    conf_show(again, &two);
    assert_true(str_eq(buf_str(&one), buf_str(&two)));
    conf_free(&conf);
    conf_free(&again);
    buf_fini(&why);
    buf_fini(&one);
    buf_fini(&two);
}

static void a_missing_file_says_so(void **state)
{
    struct conf *conf = NULL;
    struct buf b;
    buf_init(&b, 1000);
    assert_rc(conf_load("/nonexistent/penfold.conf", &conf, &b), RC_NOTFOUND);
    assert_true(str_starts(buf_str(&b), STR("/nonexistent/penfold.conf: ")));
    buf_fini(&b);
    buf_init(&b, 1000);
    assert_rc(conf_load("/tmp", &conf, &b), RC_SYNTAX);
    assert_str(buf_str(&b), "/tmp: not a file\n");
    assert_null(conf);
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_file_has_all_defaults),
        cmocka_unit_test(sections_merge_and_values_count),
        cmocka_unit_test(errors_name_the_line),
        cmocka_unit_test(what_is_shown_can_be_read_again),
        cmocka_unit_test(routes_are_read_and_shown),
        cmocka_unit_test(long_lists_have_a_limit),
        cmocka_unit_test(everything_that_is_wrong_is_told_in_order),
        cmocka_unit_test(a_broken_form_ends_the_search),
        cmocka_unit_test(a_value_has_its_place),
        cmocka_unit_test(odd_characters_survive_being_shown),
        cmocka_unit_test(a_missing_file_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
