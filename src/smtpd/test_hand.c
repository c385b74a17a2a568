/* A message at whose header the server has crashed twice is not parsed a third time. */
#include "smtpd/fixture.h"

enum { HOPS = 101 }; /* one more than a message may have: told by whoever parses it */

static void send_it(int fd, const char *answer)
{
    say(fd, STR("MAIL FROM:<a@b.test>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n"));
    hear_reply(fd, "250");
    hear_reply(fd, "250");
    hear_reply(fd, "354");
    for (int i = 0; i < HOPS; i++)
        say(fd, STR("Received: by a.test\r\n"));
    say(fd, STR("\r\nbody\r\n.\r\n"));
    hear_reply(fd, answer);
}

static void crash_at_it(struct hand *hand)
{
    struct buf header;
    buf_init(&header, 4096);
    for (int i = 0; i < HOPS; i++)
        buf_put(&header, STR("Received: by a.test\r\n"));
    assert_int_not_equal(hand_take(hand, hand_key(hand, STR("a@b.test"), buf_str(&header))), 0);
    hand_settle(hand, true);
    buf_fini(&header);
}

static void a_message_that_crashed_the_server_twice_is_not_parsed(void **state)
{
    struct fixture f;
    struct hand *hand = hand_new();
    struct smtpd_conf conf = {.hand = hand};
    fixture_start(&f, &conf);
    int fd = fixture_greeted(&f);
    send_it(fd, "554");
    crash_at_it(hand);
    send_it(fd, "554"); /* once may be somebody else's fault */
    crash_at_it(hand);
    send_it(fd, "250");
    fixture_await(&f, f.alice, 1);
    say(fd, STR("MAIL FROM:<c@d.test>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n"));
    hear_reply(fd, "250");
    hear_reply(fd, "250");
    hear_reply(fd, "354");
    say(fd, STR("Subject: another one\r\n\r\nbody\r\n.\r\n"));
    hear_reply(fd, "250");
    say(fd, STR("QUIT\r\n"));
    hear_reply(fd, "221");
    hear_end(fd);
    fixture_stop(&f);
    assert_int_equal(hand_settle(hand, true), 0);
    hand_free(&hand);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_that_crashed_the_server_twice_is_not_parsed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
