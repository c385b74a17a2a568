/* The frame of a session: what one step leaves to the next, counts, time, and what is wiped. */
#include "imap/test_home.h"

#include <string.h>

static void make(struct home *h)
{
    home_make(h);
    home_start(h);
}

/* --- before the login ------------------------------------------------------------------------- */

/* The command is freed with its literals before the answer has gone: nothing writes there then. */
static void a_response_with_literals_is_no_response(void **state)
{
    struct home h;
    make(&h);
    int fd = home_connect(&h);
    client_talk(fd,
                "P: * OK \n"
                "C: a AUTHENTICATE PLAIN {10+}\n"
                "C: 12345678\n"
                "C: \n"
                "S: a BAD the response is not base 64\n"
                "C: b LOGIN {18+}\n"
                "C: alice@example.test {9+}\n"
                "C: pass word\n"
                "P: b OK \n",
                1 << 20);
    close(fd);
    home_end(&h);
}

/* What comes behind a LOGIN in the same piece of input has the memory of those who are logged in.
 */
static void commands_behind_a_login_have_their_memory(void **state)
{
    struct home h;
    struct buf text = {.cap = 1 << 20};
    make(&h);
    for (int i = 0; i < 2; i++) { /* the second time the password is known */
        int fd = home_connect(&h);
        buf_clear(&text);
        buf_put(&text, STR("a LOGIN alice@example.test \"pass word\"\r\nb SELECT INBOX\r\n"
                           "c SEARCH TEXT x\r\nd UID SEARCH UID 1"));
        for (int k = 0; k < 5000; k++)
            buf_put(&text, STR(",1"));
        buf_put(&text, STR("\r\n"));
        client_send(fd, buf_str(&text));
        client_talk(fd,
                    "P: * OK \nP: a OK \nP: * FLAGS \nP: * OK [PERM\nS: * 0 EXISTS\n"
                    "S: * 0 RECENT\nP: * OK [UIDV\nP: * OK [UIDN\nP: * OK [MAILBOXID (F\nP: b OK \n"
                    "S: * SEARCH\nS: c OK SEARCH completed\n"
                    "S: * SEARCH\nS: d OK UID SEARCH completed\n",
                    1 << 20);
        close(fd);
    }
    buf_fini(&text);
    home_end(&h);
}

/* --- errors ----------------------------------------------------------------------------------- */

/* Twenty commands in a row that are none end a connection; as many in weeks do not. */
static void errors_are_forgotten(void **state)
{
    struct home h;
    make(&h);
    int fd = client_login(&h);
    for (int i = 0; i < 50; i++)
        client_talk(fd,
                    "C: a XYZZY\n"
                    "S: a BAD there is no such command\n"
                    "C: b NOOP\n"
                    "S: b OK NOOP completed\n",
                    1 << 20);
    for (int i = 0; i < 20; i++)
        client_talk(fd, "C: a XYZZY\nS: a BAD there is no such command\n", 1 << 20);
    client_expect_line(fd, STR("* BYE too many commands"));
    client_expect_end(fd);
    fd = home_connect(&h);
    client_expect_line(fd, STR("* OK"));
    for (int i = 0; i < 20; i++) /* before the login they count, whatever lies between */
        client_talk(fd, "C: b NOOP\nS: b OK NOOP completed\nC: a X\nP: a BAD \n", 1 << 20);
    client_expect_line(fd, STR("* BYE too many commands"));
    client_expect_end(fd);
    home_end(&h);
}

static size_t count_in_log(struct home *h, const char *text)
{
    char line[4096];
    size_t n = 0;
    rewind(h->log_file);
    while (fgets(line, sizeof line, h->log_file))
        n += strstr(line, text) != NULL;
    return n;
}

/* Nobody fills the log with what he says of himself. */
static void clients_are_logged_once(void **state)
{
    struct home h;
    make(&h);
    int fd = home_connect(&h);
    client_expect_line(fd, STR("* OK"));
    for (int i = 0; i < 100; i++)
        client_talk(fd, "C: a ID (\"name\" \"x\")\nP: * ID (\nS: a OK ID completed\n", 1 << 20);
    client_close(h.net, fd);
    log_flush(h.ctx.log);
    assert_int_equal(count_in_log(&h, "event=client"), 1);
    home_end(&h);
}

/* [RFC8437 3]: nothing of an account is left for the next one, and each has its line in the log. */
static void accounts_follow_one_another(void **state)
{
    struct home h;
    make(&h);
    home_deliver(&h, h.alice, "Subject: hers\r\n\r\nx\r\n");
    int fd = client_select(&h, "SELECT");
    client_talk(fd,
                "C: a UNAUTHENTICATE\n"
                "P: a OK \n"
                "C: b FETCH 1 BODY[]\n"
                "S: b BAD log in first\n"
                "C: c LOGIN bob@example.test \"pass word\"\n"
                "P: c OK \n"
                "C: d FETCH 1 BODY[]\n"
                "S: d BAD select a mailbox first\n"
                "C: e STATUS INBOX (MESSAGES)\n"
                "S: * STATUS INBOX (MESSAGES 0)\n"
                "S: e OK STATUS completed\n",
                1 << 20);
    client_close(h.net, fd);
    log_flush(h.ctx.log);
    assert_int_equal(count_in_log(&h, "event=imap-session"), 2);
    assert_int_equal(count_in_log(&h, "end=unauthenticate"), 1);
    home_end(&h);
}

/* Blanks behind the last argument and empty lines between commands, which some clients send. Blanks
 * within are errors [RFC3501 9] [RFC9051 9], and a literal is taken as it is. */
static void blanks_that_mean_nothing_are_passed_over(void **state)
{
    struct home h;
    make(&h);
    int fd = client_login(&h);
    for (size_t at_once = 1 << 20; at_once; at_once = at_once > 1)
        client_talk(fd,
                    "C: a CREATE Shelf   \n"
                    "P: a OK \n"
                    "C: b STATUS Shelf (MESSAGES) \n"
                    "S: * STATUS Shelf (MESSAGES 0)\n"
                    "S: b OK STATUS completed\n"
                    "C: c DELETE {6+}\n"
                    "C: Shelf \n"
                    "S: c NO [NONEXISTENT] there is no such mailbox\n"
                    "C: \n"
                    "C: \n"
                    "C: d APPEND Shelf {1}\n"
                    "S: + go on\n"
                    "C: x\n"
                    "P: d OK [APPENDUID \n"
                    "C: \n"
                    "C: e STATUS  Shelf (MESSAGES)\n"
                    "P: e BAD \n"
                    "C: f DELETE Shelf \n"
                    "P: f OK \n",
                    at_once);
    struct buf lines = {.cap = 1 << 20};
    for (int i = 0; i < 100000; i++)
        buf_put(&lines, STR("\r\n"));
    client_send(fd, buf_str(&lines));
    buf_fini(&lines);
    client_talk(fd, "C: g NOOP\nS: g OK NOOP completed\n", 1 << 20);
    close(fd);
    home_end(&h);
}

/* [RFC9586 3.2]: and who reads the log learns how to go on without it. */
static void uidonly_can_be_withheld(void **state)
{
    struct home h;
    make(&h);
    int fd = client_select(&h, "SELECT");
    client_talk(fd, "C: a UNSELECT\nP: a OK\nC: b ENABLE UIDONLY\nS: * ENABLED UIDONLY\nP: b OK \n",
                1 << 20);
    char line[CLIENT_LINE];
    client_send(fd, STR("b SELECT INBOX\r\n"));
    while (!str_starts(client_line(fd, line, sizeof line), STR("b OK ")))
        ;
    for (int i = 0; i < 5; i++)
        client_talk(fd, "C: c FETCH 1 UID\nP: c BAD [UIDREQUIRED] \n", 1 << 20);
    client_close(h.net, fd);
    log_flush(h.ctx.log);
    assert_int_equal(count_in_log(&h, "event=uid-required"), 1);
    home_end(&h);
    home_make(&h);
    h.conf.withholds_uidonly = true;
    home_start(&h);
    fd = home_connect(&h);
    client_expect_line(fd, STR("* OK"));
    client_send(fd, STR("a LOGIN alice@example.test \"pass word\"\r\n"));
    client_line(fd, line, sizeof line);
    assert_null(strstr(line, "UIDONLY"));
    client_talk(fd, "C: b ENABLE UIDONLY\nS: * ENABLED\nP: b OK \n", 1 << 20);
    close(fd);
    home_end(&h);
}

/* --- many mailboxes --------------------------------------------------------------------------- */

/* Quickly, however many there are: nothing is read for it [RFC3501 6.3.8] [RFC9051 6.3.9]. */
static void many_mailboxes_are_listed_from_memory(void **state)
{
    struct kv_mem_stats before, after;
    struct home h;
    char create[100];
    make(&h);
    int fd = client_login(&h);
    for (int i = 0; i < 1100; i++) {
        snprintf(create, sizeof create, "C: a CREATE m%d/below\nP: a OK [MAILBOXID (F\n", i);
        client_talk(fd, create, 1 << 20);
    }
    kv_mem_stats(h.kv, &before);
    client_talk(fd,
                "C: b LIST \"\" \"m107%/%\"\n"
                "S: * LIST (\\HasNoChildren) \"/\" m107/below\n"
                "S: * LIST (\\HasNoChildren) \"/\" m1070/below\n"
                "S: * LIST (\\HasNoChildren) \"/\" m1071/below\n"
                "S: * LIST (\\HasNoChildren) \"/\" m1072/below\n"
                "S: * LIST (\\HasNoChildren) \"/\" m1073/below\n"
                "S: * LIST (\\HasNoChildren) \"/\" m1074/below\n"
                "S: * LIST (\\HasNoChildren) \"/\" m1075/below\n"
                "S: * LIST (\\HasNoChildren) \"/\" m1076/below\n"
                "S: * LIST (\\HasNoChildren) \"/\" m1077/below\n"
                "S: * LIST (\\HasNoChildren) \"/\" m1078/below\n"
                "S: * LIST (\\HasNoChildren) \"/\" m1079/below\n"
                "S: b OK LIST completed\n",
                1 << 20);
    kv_mem_stats(h.kv, &after);
    assert_int_equal(after.keys_read, before.keys_read);
    assert_int_equal(after.rows_scanned, before.rows_scanned);
    client_talk(fd,
                "C: c SUBSCRIBE m1099/below\n"
                "S: c OK SUBSCRIBE completed\n"
                "C: d LSUB \"\" m%\n"
                "S: * LSUB (\\Noselect) \"/\" m1099\n"
                "S: d OK LSUB completed\n",
                1 << 20);
    close(fd);
    home_end(&h);
}

/* --- time ------------------------------------------------------------------------------------- */

static uint64_t fast_mono(const struct clock *c)
{
    return clock_mono(&clock_system) * 1000;
}

static uint64_t fast_wall(const struct clock *c)
{
    return clock_wall(&clock_system);
}

/* Whose password has changed is sent away, also when a disk has to be asked for that. */
static void idling_ends_with_the_login(void **state)
{
    static const struct clock fast = {fast_mono, fast_wall};
    struct home h;
    home_make(&h);
    struct ctx fast_ctx = h.ctx; /* ten seconds are ten milliseconds */
    fast_ctx.clock = &fast;
    h.conf.keepalive_ms = 50;
    h.conf.idle_ms = 100000;
    home_start(&h);
    struct imap *slow = h.imap;
    h.imap = imap_new(&fast_ctx, &h.conf);
    h.listener.app = h.imap;
    int fd = client_login(&h);
    client_talk(fd, "C: a IDLE\nS: + idling\nS: * OK still here\n", 1 << 20);
    assert_rc(auth_account_passwd(h.auth, STR("alice@example.test"), STR("another word")), RC_OK);
    kv_mem_cold(h.kv, true);
    char line[CLIENT_LINE];
    while (str_starts(client_line(fd, line, sizeof line), STR("* OK still here")))
        ;
    assert_true(str_starts(str_of(line), STR("* BYE [AUTHENTICATIONFAILED]")));
    client_expect_end(fd);
    kv_mem_cold(h.kv, false);
    imap_free(&slow);
    home_end(&h);
}

/* Half an hour without a command, whatever is not configured [RFC3501 5.4] [RFC9051 5.4]. */
static void half_an_hour_is_waited(void **state)
{
    struct home h;
    home_make(&h);
    home_start(&h);
    assert_true(h.imap->conf.idle_ms >= UINT64_C(30) * 60 * 1000);
    home_end(&h);
}

/* The time starts anew with each command, whichever it is and however it ends [RFC3501 5.4]
 * [RFC9051 5.4]. */
static void each_command_is_a_sign_of_life(void **state)
{
    static const char *const commands[] = {
        "C: a NOOP\nP: a OK\n",
        "C: a XYZZY\nP: a BAD\n",
        "C: a SELECT Nowhere\nP: a NO\n",
        "C: a IDLE\nP: + \nC: DONE\nP: a OK\n",
        "C: a STATUS INBOX (MESSAGES)\nP: * STATUS\nP: a OK\n",
    };
    struct home h;
    home_make(&h);
    h.conf.idle_ms = 6600; /* longer than any of the pauses, and shorter than all of them */
    home_start(&h);
    int fd = client_login(&h);
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        usleep(1500 * 1000);
        client_talk(fd, commands[i], 1 << 20);
    }
    client_close(h.net, fd);
    home_end(&h);
}

/* Nobody is left without a word, also who does not finish what he began [RFC3501 3.4]
 * [RFC9051 3.4]. */
static void who_says_nothing_is_told(void **state)
{
    static const char *const beginnings[] = {
        "C: a NOOP\nS: a OK NOOP completed\n",
        "C: a APPEND INBOX {5}\nS: + go on\n",
        "C: a LIST {5}\nS: + go on\n",
    };
    struct home h;
    home_make(&h);
    h.conf.idle_ms = 100;
    home_start(&h);
    for (size_t i = 0; i < sizeof beginnings / sizeof *beginnings; i++) {
        int fd = client_login(&h);
        client_talk(fd, beginnings[i], 1 << 20);
        client_expect_line(fd, STR("* BYE nothing has been said for too long"));
        client_expect_end(fd);
    }
    home_end(&h);
    home_make(&h);
    h.conf.login_ms = 100;
    home_start(&h);
    int fd = home_connect(&h);
    client_talk(fd, "P: * OK\nC: a AUTHENTICATE PLAIN\nS: + \nP: * BYE nothing has been said\n",
                1 << 20);
    client_expect_end(fd);
    home_end(&h);
}

/* A shutdown waits for the rest of a command, but not until it cuts off without a word. */
static void who_is_in_the_midst_is_told_of_a_shutdown(void **state)
{
    struct home h;
    home_make(&h);
    h.limits.drain_ms = 600 * 1000;
    home_start(&h);
    int append = client_login(&h), sasl = home_connect(&h), whole = client_login(&h);
    client_talk(append, "C: a APPEND INBOX {5}\nS: + go on\n", 1 << 20);
    client_talk(whole, "C: a APPEND INBOX {5}\nS: + go on\n", 1 << 20);
    client_talk(sasl, "P: * OK\nC: a AUTHENTICATE PLAIN\nS: + \n", 1 << 20);
    net_drain(h.net);
    client_talk(whole, "C: hello\nP: a OK [APPENDUID\nP: * BYE the server is shutting down\n",
                1 << 20);
    client_talk(append, "P: * BYE the server is shutting down\n", 1 << 20);
    client_talk(sasl, "P: * BYE the server is shutting down\n", 1 << 20);
    client_expect_end(append);
    client_expect_end(sasl);
    client_expect_end(whole);
    home_end(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_response_with_literals_is_no_response),
        cmocka_unit_test(commands_behind_a_login_have_their_memory),
        cmocka_unit_test(errors_are_forgotten),
        cmocka_unit_test(clients_are_logged_once),
        cmocka_unit_test(accounts_follow_one_another),
        cmocka_unit_test(blanks_that_mean_nothing_are_passed_over),
        cmocka_unit_test(uidonly_can_be_withheld),
        cmocka_unit_test(many_mailboxes_are_listed_from_memory),
        cmocka_unit_test(idling_ends_with_the_login),
        cmocka_unit_test(half_an_hour_is_waited),
        cmocka_unit_test(each_command_is_a_sign_of_life),
        cmocka_unit_test(who_says_nothing_is_told),
        cmocka_unit_test(who_is_in_the_midst_is_told_of_a_shutdown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
