/* APPEND as clients see it. */
#include "imap/test_home.h"

#define AT_ONCE (1 << 20)

static struct home home; /* one test at a time */
static struct budget budget;

static int set_up(void **state)
{
    home_make(&home);
    budget_init(&budget, 8 << 20);
    home.conf.memory = &budget;
    home.conf.message_size = 3 << 20;
    home_start(&home);
    *state = &home;
    return 0;
}

static int tear_down(void **state)
{
    home_assert_sound(*state, home.alice);
    home_end(*state);
    return 0;
}

static uint32_t count_in(struct home *h, enum store_role role)
{
    struct store_account *account;
    struct store_mailbox m;
    struct arena arena = {0};
    uint32_t id;
    assert_rc(store_account_open(h->store, h->alice, 0, &account), RC_OK);
    assert_rc(store_mailbox_by_role(account, role, &id), RC_OK);
    assert_rc(store_mailbox_get(account, id, &arena, &m), RC_OK);
    arena_fini(&arena);
    store_account_close(&account);
    return m.exists;
}

static void send_many(int fd, char byte, size_t n)
{
    char *mem = mem_alloc(n);
    memset(mem, byte, n);
    client_send(fd, str_from(mem, n));
    free(mem);
}

/* "* OK [APPENDUID <number> <uids>] APPEND completed" */
static void expect_appenduid(int fd, const char *tag, const char *uids)
{
    char mem[CLIENT_LINE];
    struct str line = client_line(fd, mem, sizeof mem);
    struct buf text = {.cap = 1000};
    buf_putf(&text, "%s OK [APPENDUID ", tag);
    bool is_right = str_starts(line, buf_str(&text));
    buf_clear(&text);
    buf_putf(&text, " %s] APPEND completed\r\n", uids);
    if (!is_right || !str_ends(line, buf_str(&text)))
        fail_msg("expected APPENDUID %s, got %.*s", uids, STR_ARG(line));
    buf_fini(&text);
}

static void send_in(int fd, struct str text, size_t at_once)
{
    for (size_t at = 0; at < text.n; at += at_once)
        client_send(fd, str_sub(text, at, at_once));
}

/* --- one message ------------------------------------------------------------------------------ */

static void messages_come_as_they_are(void **state) /* [RFC3501 6.3.11] [RFC9051 6.3.12] */
{
    struct home *h = *state;
    static const char script[] = "a append Archive (\\Seen $Label) \"17-Jul-1996 02:44:25 -0700\" "
                                 "{22+}\r\nSubject: one\r\n\r\nbody\r\n\r\n"
                                 "b APPEND {7+}\r\nArchive {17+}\r\nSubject: two\r\n\r\nx\r\n";
    for (int round = 0; round < 3; round++) {
        kv_mem_cold(h->kv, round == 2);
        int fd = client_login(h);
        send_in(fd, str_of(script), round == 1 ? 1 : AT_ONCE);
        expect_appenduid(fd, "a", round == 0 ? "1" : round == 1 ? "3" : "5");
        expect_appenduid(fd, "b", round == 0 ? "2" : round == 1 ? "4" : "6");
        client_close(h->net, fd);
    }
    kv_mem_cold(h->kv, false);
    int fd = client_login(h);
    client_talk(fd,
                "C: c EXAMINE Archive\n"
                "P: * FLAGS\n"
                "P: * OK [PERMANENTFLAGS\n"
                "S: * 6 EXISTS\n"
                "S: * 0 RECENT\n"
                "P: * OK [UNSEEN 2]\n"
                "P: * OK [UIDVALIDITY\n"
                "P: * OK [UIDNEXT 7]\n"
                "P: * OK [MAILBOXID (F\n"
                "P: c OK\n"
                "C: d FETCH 3 (FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[])\n"
                "S: * 3 FETCH (FLAGS (\\Seen $Label) INTERNALDATE \"17-Jul-1996 09:44:25 +0000\" "
                "RFC822.SIZE 22 BODY[] {22}\n"
                "S: Subject: one\n"
                "S: \n"
                "S: body\n"
                "S: )\n"
                "S: d OK FETCH completed\n"
                "C: e FETCH 4 (FLAGS ENVELOPE BODY.PEEK[TEXT])\n"
                "S: * 4 FETCH (FLAGS () ENVELOPE (NIL \"two\" NIL NIL NIL NIL NIL NIL NIL NIL) "
                "BODY[TEXT] {1}\n"
                "S: x)\n"
                "S: e OK FETCH completed\n",
                AT_ONCE);
    client_close(h->net, fd);
    assert_int_equal(budget_used(&budget), 0);
}

/* As Thunderbird sends every message that it saves [RFC6855 4]. */
static void utf8_may_be_said_in_the_old_way(void **state)
{
    struct home *h = *state;
    int fd = client_login(h);
    client_talk(fd,
                "C: a APPEND INBOX (\\Seen) UTF8 (~{3+}\n"
                "C: abc)\n"
                "P: a BAD expected flags, a date, or the message as a literal\n"
                "C: b ENABLE UTF8=ACCEPT\nP: * ENABLED\nP: b OK\n"
                "C: c APPEND INBOX (\\Seen) \"17-Jul-1996 02:44:25 -0700\" UTF8 (~{13}\n"
                "P: + \n"
                "C: Subject: \303\274\n"
                "C: )\n",
                AT_ONCE);
    expect_appenduid(fd, "c", "1");
    client_talk(fd,
                "C: d APPEND INBOX UTF8 (~{3+}\n"
                "C: abc) (\\Draft) utf8 ({3+}\n"
                "C: def) {3+}\n"
                "C: ghi\n",
                AT_ONCE);
    expect_appenduid(fd, "d", "2:4");
    client_talk(fd,
                "C: e APPEND INBOX UTF8 (~{3+}\n"
                "C: abc\n"
                "P: e BAD expected the end of the command or another message\n"
                "C: f APPEND INBOX UTF8 (~{3+}\n"
                "C: abc {3+}\n"
                "C: def)\n"
                "P: f BAD expected\n"
                "C: g APPEND INBOX UTF8 ~{3+}\n"
                "C: abc)\n"
                "P: g BAD expected the message as a literal in parentheses\n"
                "C: h APPEND INBOX {3+}\n"
                "C: abc)\n"
                "P: h BAD expected the end of the command or another message\n"
                "C: i STATUS INBOX (MESSAGES)\n"
                "S: * STATUS INBOX (MESSAGES 4)\n"
                "P: i OK\n",
                AT_ONCE);
    client_close(h->net, fd);
}

/* The client waits for its "+" [RFC3501 7.5] [RFC9051 7.6]. */
static void literals_may_wait(void **state)
{
    struct home *h = *state;
    int fd = client_select(h, "SELECT");
    client_talk(fd,
                "C: a APPEND {5}\n"
                "P: + \n"
                "C: INBOX (\\Draft) {3}\n"
                "P: + \n"
                "C: abc {4}\n" /* [RFC3502] */
                "P: + \n"
                "C: defg\n"
                "S: * 2 EXISTS\n", /* it is the selected one: at once */
                AT_ONCE);
    expect_appenduid(fd, "a", "1:2");
    client_talk(fd,
                "C: b FETCH 1:2 (FLAGS RFC822.SIZE)\n"
                "S: * 1 FETCH (FLAGS (\\Draft) RFC822.SIZE 3)\n"
                "S: * 2 FETCH (FLAGS () RFC822.SIZE 4)\n"
                "S: b OK FETCH completed\n",
                AT_ONCE);
    client_close(h->net, fd);
}

static const struct {
    const char *command, *answer;
} refusals[] = {
    {"APPEND Nowhere {5}", "NO [TRYCREATE] "}, /* [RFC3501 6.3.11] [RFC9051 6.3.12] */
    {"APPEND INBOX/child {5}", "NO [TRYCREATE] "},
    {"APPEND INBOX {0}", "NO a message without a byte"}, /* [RFC3502 6.3.11] [RFC9051 6.3.12] */
    {"APPEND INBOX {3145729}", "NO [TOOBIG] "},          /* [RFC7889 4] */
    {"APPEND INBOX {18446744073709551615}", "NO [TOOBIG] "},
    {"APPEND INBOX {18446744073709551616}", "BAD expected"},
    {"APPEND INBOX {-1}", "BAD expected"},
    {"APPEND INBOX (\\Recent) {5}", "BAD expected a flag"},
    {"APPEND INBOX (\\Seen {5}", "BAD expected"},
    {"APPEND INBOX \"31-Feb-2000 00:00:00 +0000\" {5}", "BAD expected a date"},
    {"APPEND INBOX \"1-Feb-2000 00:00:00 +0000\" (\\Seen) {5}", "BAD expected"},
    {"APPEND INBOX x {5}", "BAD expected"},
    {"APPEND INBOX  {5}", "BAD expected"},
    {"APPEND INBOX{5}", "BAD expected"},
    {"APPEND ~{5}", "BAD expected"},
    {"APPEND INBOX", "BAD expected a message"},
    {"APPEND INBOX (\\Seen)", "BAD expected a message"},
    {"APPEND", "BAD expected"},
};

/* Before a byte of the message is asked for; and when it comes unasked, it is passed over. */
static void refusals_come_before_the_bytes(void **state)
{
    struct home *h = *state;
    struct buf line = {.cap = 1000};
    int fd = client_login(h);
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        buf_clear(&line);
        buf_putf(&line, "C: a %s\nP: a %s\n", refusals[i].command, refusals[i].answer);
        buf_put(&line, str_from("", 1));
        client_talk(fd, buf_str(&line).p, AT_ONCE);
        if (i % 8 == 7) { /* too many errors end a session */
            client_close(h->net, fd);
            fd = client_login(h);
        }
    }
    client_talk(fd,
                "C: b APPEND Nowhere {10+}\n"
                "C: x LOGOUT\n"
                "C:  {4+}\n" /* another one, refused with the first */
                "C: ab\n"
                "C: \n"
                "P: b NO [TRYCREATE] \n"
                "C: c APPEND INBOX {3}\n"
                "P: + \n"
                "C: abc x\n"
                "P: c BAD expected the end of the command\n"
                "C: d APPEND INBOX {3+}\n"
                "C: abc {0}\n" /* cancelled */
                "P: d NO a message\n"
                "C: e NOOP\n"
                "S: e OK NOOP completed\n",
                AT_ONCE);
    client_close(h->net, fd);
    assert_int_equal(count_in(h, STORE_INBOX), 0);
    buf_fini(&line);
}

static void waste_ends_the_session(void **state) /* [RFC7888 4] */
{
    struct home *h = *state;
    int fd = client_login(h);
    client_talk(fd, "C: a APPEND INBOX {99000000+}\nP: * BYE [TOOBIG] \n", AT_ONCE);
    client_expect_end(fd);
}

static void nul_needs_literal8(void **state) /* [RFC3516 4.4] */
{
    struct home *h = *state;
    int fd = client_select(h, "SELECT");
    client_send(fd, STR("a APPEND INBOX {5+}\r\na\0b\0c\r\n"));
    client_expect_line(fd, STR("a BAD a message with NUL bytes"));
    client_send(fd, STR("b APPEND INBOX ~{5+}\r\na\0b\0c\r\n"));
    client_expect(fd, STR("* 1 EXISTS\r\n"));
    expect_appenduid(fd, "b", "1");
    client_send(fd, STR("c FETCH 1 BINARY.PEEK[]\r\n"));
    client_expect(fd, STR("* 1 FETCH (BINARY[] ~{5}\r\na\0b\0c)\r\nc OK FETCH completed\r\n"));
    client_close(h->net, fd);
}

/* --- several ---------------------------------------------------------------------------------- */

static const char several[] = "a APPEND Archive (\\Seen) {5+}\r\nfirst (\\Flagged two) "
                              "\"17-Jul-1996 02:44:25 -0700\" ~{6+}\r\nsecond {5+}\r\nthird\r\n";

/* [RFC3502 6.3.11] [RFC3501 6.3.11] [RFC9051 6.3.12]: all or none, wherever the client is cut off.
 */
static void nothing_remains_of_half_a_command(void **state)
{
    struct home *h = *state;
    for (size_t n = 1; n + 1 < sizeof several - 1; n++) {
        int fd = client_login(h);
        client_send(fd, str_from(several, n));
        client_close(h->net, fd);
        assert_int_equal(budget_used(&budget), 0);
    }
    assert_int_equal(count_in(h, STORE_ARCHIVE), 0);
    int fd = client_login(h);
    send_in(fd, str_of(several), 1);
    expect_appenduid(fd, "a", "1:3");
    client_close(h->net, fd);
    assert_int_equal(count_in(h, STORE_ARCHIVE), 3);
}

static void one_that_fails_fails_all(void **state)
{
    struct home *h = *state;
    int fd = client_login(h);
    client_send(fd, STR("a APPEND INBOX {3+}\r\nabc {3+}\r\na\0c {3+}\r\nabc\r\n"));
    client_expect_line(fd, STR("a BAD a message with NUL bytes"));
    client_talk(fd,
                "C: b APPEND INBOX {3+}\n"
                "C: abc {9000000}\n"
                "P: b NO [TOOBIG] \n"
                "C: c NOOP\n"
                "S: c OK NOOP completed\n",
                AT_ONCE);
    kv_mem_fail(h->kv, RC_FULL);
    client_talk(fd,
                "C: d APPEND INBOX {3+}\n"
                "C: abc {3+}\n"
                "C: def\n"
                "P: d NO [UNAVAILABLE] \n",
                AT_ONCE);
    client_close(h->net, fd);
    assert_int_equal(count_in(h, STORE_INBOX), 0);
    assert_int_equal(budget_used(&budget), 0);
}

static void so_many_and_not_more(void **state)
{
    struct home *h = *state;
    struct buf text = {.cap = 1 << 20};
    int fd = client_login(h);
    for (int more = 0; more < 2; more++) {
        buf_clear(&text);
        buf_putf(&text, "a APPEND Archive");
        for (int i = 0; i < STORE_APPENDS + more; i++)
            buf_putf(&text, " (k%d) {1+}\r\nx", i % 3);
        buf_putf(&text, "\r\n");
        client_send(fd, buf_str(&text));
        if (more)
            client_expect_line(fd, STR("a NO [MESSAGELIMIT 500] "));
        else
            expect_appenduid(fd, "a", "1:500");
    }
    client_close(h->net, fd);
    assert_int_equal(count_in(h, STORE_ARCHIVE), STORE_APPENDS);
    buf_fini(&text);
}

/* --- limits ----------------------------------------------------------------------------------- */

/* Over KV_BLOB_SMALL, with the rest of the command at once. */
static void large_messages_go_to_workers(void **state)
{
    struct home *h = *state;
    int fd = client_select(h, "SELECT");
    client_send(fd, STR("a APPEND INBOX {1000000+}\r\n"));
    send_many(fd, 'x', 1000000);
    client_send(fd, STR(" {300000+}\r\n"));
    send_many(fd, 'y', 300000);
    client_send(fd, STR("\r\nb NOOP\r\n"));
    client_expect(fd, STR("* 2 EXISTS\r\n"));
    expect_appenduid(fd, "a", "1:2");
    client_talk(fd,
                "S: b OK NOOP completed\n"
                "C: c FETCH 1 (RFC822.SIZE BODY.PEEK[]<999998.9>)\n"
                "S: * 1 FETCH (RFC822.SIZE 1000000 BODY[]<999998> {2}\n"
                "S: xx)\n"
                "S: c OK FETCH completed\n"
                "C: d FETCH 2 RFC822.SIZE\n"
                "S: * 2 FETCH (RFC822.SIZE 300000)\n"
                "S: d OK FETCH completed\n",
                AT_ONCE);
    client_close(h->net, fd);
    assert_int_equal(budget_used(&budget), 0);
}

static void memory_is_asked_for(void **state)
{
    struct home *h = *state;
    int fd = client_login(h), other = client_login(h);
    budget_limit(&budget, 100 << 10);
    client_send(fd, STR("a APPEND INBOX {200000+}\r\n"));
    send_many(fd, 'x', 199999);
    client_send(fd, STR("x\r\n"));
    client_expect_line(fd, STR("a NO [UNAVAILABLE] "));
    client_send(fd, STR("b APPEND INBOX {200000}\r\n"));
    client_expect_line(fd, STR("+ "));
    client_send(fd, STR("\r\n")); /* no header: no copy of it */
    send_many(fd, 'x', 60000);
    while (budget_used(&budget) < 60000)
        usleep(1000);
    client_send(other, STR("a APPEND INBOX {90002+}\r\n\r\n"));
    send_many(other, 'x', 90000);
    client_send(other, STR("\r\n"));
    client_expect_line(other, STR("a NO [UNAVAILABLE] "));
    client_close(h->net, fd);
    assert_int_equal(budget_used(&budget), 0);
    client_talk(other, "C: b APPEND INBOX {3+}\nC: abc\nP: b OK [APPENDUID\n", AT_ONCE);
    client_close(h->net, other);
    assert_int_equal(count_in(h, STORE_INBOX), 1);
}

/* Before a large message comes; a small one is tried. */
static void full_disks_are_told(void **state)
{
    struct home *h = *state;
    int fd = client_login(h);
    kv_mem_shrink(h->kv, 1000000);
    client_talk(fd,
                "C: a APPEND INBOX {1000001}\n"
                "P: a NO [UNAVAILABLE] \n"
                "C: b APPEND INBOX {3}\n"
                "P: + \n"
                "C: abc\n"
                "P: b OK [APPENDUID \n",
                AT_ONCE);
    client_close(h->net, fd);
}

static void quotas_are_told_at_once(void **state)
{
    struct home *h = *state;
    struct store_account *account;
    assert_rc(store_account_open(h->store, h->alice, 0, &account), RC_OK);
    assert_rc(store_account_set_quota(account, (struct store_quota){.bytes = 1000, .messages = 2}),
              RC_OK);
    store_account_close(&account);
    int fd = client_login(h);
    client_talk(fd,
                "C: a APPEND INBOX {1001}\n"
                "P: a NO [OVERQUOTA] \n"
                "C: b APPEND INBOX {3+}\n"
                "C: abc {998}\n" /* together too much */
                "P: b NO [OVERQUOTA] \n"
                "C: c APPEND INBOX {1+}\n"
                "C: a {1+}\n"
                "C: b {1+}\n"
                "C: c\n" /* as many messages */
                "P: c NO [OVERQUOTA] \n"
                "C: d APPEND INBOX {1+}\n"
                "C: a {1+}\n"
                "C: b\n"
                "P: d OK [APPENDUID\n"
                "C: e APPEND INBOX {1}\n"
                "P: e NO [OVERQUOTA] \n",
                AT_ONCE);
    client_close(h->net, fd);
}

/* Messages that answer one another come into one thread, and the summary is there. */
static void threads_and_summaries_are_made(void **state)
{
    struct home *h = *state;
    int fd = client_select(h, "SELECT");
    client_talk(fd,
                "C: a APPEND INBOX {24+}\n"
                "C: Message-ID: <one@x>\n"
                "C: \n"
                "C: a\n"
                "S: * 1 EXISTS\n"
                "P: a OK\n",
                AT_ONCE);
    struct store_account *account;
    struct store_root *root;
    struct arena arena = {0};
    struct str summary;
    uint32_t inbox;
    assert_rc(store_account_open(h->store, h->alice, 0, &account), RC_OK);
    assert_rc(store_mailbox_by_role(account, STORE_INBOX, &inbox), RC_OK);
    assert_rc(store_mailbox_open(account, inbox, 0, &root), RC_OK);
    uint64_t email = store_root_at(root, 0)->email;
    assert_true(store_root_at(root, 0)->flags & STORE_UNENDED);
    assert_rc(store_summaries(account, &email, 1, 0, &arena, &summary), RC_OK);
    assert_true(str_find(summary, STR("<one@x>")) > 0);
    arena_fini(&arena);
    store_root_release(&root);
    store_account_close(&account);
    client_close(h->net, fd);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(messages_come_as_they_are),
        TEST(utf8_may_be_said_in_the_old_way),
        TEST(literals_may_wait),
        TEST(refusals_come_before_the_bytes),
        TEST(waste_ends_the_session),
        TEST(nul_needs_literal8),
        TEST(nothing_remains_of_half_a_command),
        TEST(one_that_fails_fails_all),
        TEST(so_many_and_not_more),
        TEST(large_messages_go_to_workers),
        TEST(memory_is_asked_for),
        TEST(full_disks_are_told),
        TEST(quotas_are_told_at_once),
        TEST(threads_and_summaries_are_made),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
