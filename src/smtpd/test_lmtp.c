/* LMTP: an answer for each recipient, in their order, each with its own result [RFC2033 4.2]. */
#include "smtpd/fixture.h"

#include <stdio.h>
#include <unistd.h>

#define ALICE  "RCPT TO:<alice@example.test>\r\n"
#define BOB    "RCPT TO:<bob@example.test>\r\n"
#define NOBODY "RCPT TO:<nobody@example.test>\r\n"
#define TEXT   "Subject: x\r\n\r\ntext\r\n"

static int greeted(struct fixture *f)
{
    int fd = fixture_connect(f);
    say(fd, STR("LHLO client.test\r\n"));
    hear_reply(fd, "220");
    hear_reply(fd, "250");
    return fd;
}

static void start(struct fixture *f)
{
    fixture_start(f, NULL);
    fixture_role(f, SMTPD_LMTP);
}

static uint64_t add_carol(struct fixture *f)
{
    uint64_t id;
    assert_rc(auth_account_reserve(f->auth, &id), RC_OK);
    assert_rc(store_account_create(f->store, id, (struct store_quota){0}), RC_OK);
    assert_rc(auth_account_add(f->auth, id, STR("carol@example.test"), STR("secret")), RC_OK);
    return id;
}

static const struct {
    const char *name, *said, *heard;
    size_t alice, bob; /* messages that have come */
} dialogs[] = {
    {"one recipient", "MAIL FROM:<a@b.test>\r\n" ALICE "DATA\r\n" TEXT ".\r\n",
     "250 2.1.0 *\r\n250 2.1.5 *\r\n354 *\r\n250 2.0.0 *\r\n", 1, 0},
    {"one that is none among them",
     "MAIL FROM:<a@b.test>\r\n" ALICE NOBODY BOB "DATA\r\n" TEXT ".\r\nNOOP\r\n",
     "250 *\r\n250 *\r\n550 5.1.1 *\r\n250 *\r\n354 *\r\n250 2.0.0 *\r\n250 2.0.0 *\r\n250 2.0.0 "
     "ok\r\n",
     1, 1},
    {"the same one twice has two answers and one copy",
     "MAIL FROM:<>\r\n" ALICE BOB ALICE "DATA\r\n" TEXT ".\r\nNOOP\r\n",
     "250 *\r\n250 *\r\n250 *\r\n250 *\r\n354 *\r\n250 2.0.0 *\r\n250 2.0.0 *\r\n250 2.0.0 *\r\n"
     "250 2.0.0 ok\r\n",
     1, 1},
    {"a chunk that is the last",
     "MAIL FROM:<>\r\n" ALICE BOB "BDAT 3\r\nx\r\nBDAT 0 LAST\r\nNOOP\r\n",
     "250 *\r\n250 *\r\n250 *\r\n250 2.0.0 3 *\r\n250 2.0.0 message *\r\n250 2.0.0 message "
     "*\r\n250 "
     "2.0.0 ok\r\n",
     1, 1},
    {"a fault is told to each", "MAIL FROM:<>\r\n" ALICE BOB "DATA\r\nx\ny\r\n.\r\nNOOP\r\n",
     "250 *\r\n250 *\r\n250 *\r\n354 *\r\n550 5.6.0 *\r\n550 5.6.0 *\r\n250 2.0.0 ok\r\n", 0, 0},
    {"nobody at all", "MAIL FROM:<>\r\n" NOBODY "DATA\r\nBDAT 1 LAST\r\nxRSET\r\n",
     "250 *\r\n550 *\r\n503 5.5.1 *\r\n503 5.5.1 *\r\n250 *\r\n", 0, 0},
};

static void each_has_an_answer(void **state)
{
    for (size_t i = 0; i < 2 * sizeof dialogs / sizeof *dialogs; i++) {
        struct fixture f;
        start(&f);
        print_message("%s\n", dialogs[i / 2].name);
        int fd = greeted(&f);
        say_slowly(fd, str_of(dialogs[i / 2].said), i % 2 ? 1 : 100000);
        hear(fd, dialogs[i / 2].heard);
        close(fd);
        /* What was answered is there: nothing is waited for. */
        assert_int_equal(fixture_count(&f, f.alice), dialogs[i / 2].alice);
        assert_int_equal(fixture_count(&f, f.bob), dialogs[i / 2].bob);
        fixture_stop(&f);
    }
}

/* Who is full, or gone, since RCPT does not take the others' copies away. */
static void each_has_its_own_result(void **state)
{
    struct fixture f;
    start(&f);
    uint64_t carol = add_carol(&f), id;
    int fd = greeted(&f);
    say(fd, STR("MAIL FROM:<>\r\n" ALICE "RCPT TO:<carol@example.test>\r\n" BOB "DATA\r\n"));
    hear(fd, "250 *\r\n250 *\r\n250 *\r\n250 *\r\n354 *\r\n");
    fixture_quota(&f, f.alice, 1);
    assert_rc(auth_account_remove(f.auth, STR("carol@example.test"), &id), RC_OK);
    assert_int_equal(id, carol);
    assert_rc(store_account_destroy(f.store, carol), RC_OK);
    say(fd, STR(TEXT ".\r\nNOOP\r\n"));
    hear(fd, "452 4.2.2 *\r\n550 5.1.1 *\r\n250 2.0.0 message *\r\n250 2.0.0 ok\r\n");
    assert_int_equal(fixture_count(&f, f.alice), 0);
    assert_int_equal(fixture_count(&f, f.bob), 1);
    close(fd);
    fixture_stop(&f);
}

/* A message that is refused is one fault of the client, however many recipients it has. */
static void many_refusals_are_one_error(void **state)
{
    struct fixture f;
    struct smtpd_conf conf = {.errors = 3};
    fixture_start(&f, &conf);
    fixture_role(&f, SMTPD_LMTP);
    int fd = greeted(&f);
    say(fd, STR("MAIL FROM:<>\r\n" ALICE BOB ALICE BOB "DATA\r\n\n\r\n.\r\nNOOP\r\n"));
    hear(fd, "250 *\r\n250 *\r\n250 *\r\n250 *\r\n250 *\r\n354 *\r\n550 *\r\n550 *\r\n550 *\r\n550 "
             "*\r\n250 2.0.0 ok\r\n");
    close(fd);
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_has_an_answer),
        cmocka_unit_test(each_has_its_own_result),
        cmocka_unit_test(many_refusals_are_one_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
