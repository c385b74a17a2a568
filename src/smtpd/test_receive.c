/* Messages on their way in: what is stored, when it is acknowledged, what is refused. */
#include "smtpd/fixture.h"

#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

/* Compares a stored message with what was sent, behind the fields that were put in front. */
static void assert_stored(struct fixture *f, uint64_t account, size_t index, struct str sent)
{
    struct buf b;
    buf_init(&b, 64 << 20);
    fixture_read(f, account, index, &b);
    assert_true(buf_len(&b) > sent.n);
    struct str tail = str_skip(buf_str(&b), buf_len(&b) - sent.n);
    assert_memory_equal(tail.p, sent.p, sent.n);
    buf_fini(&b);
}

static void the_trace_comes_first(void **state)
{
    struct fixture f;
    struct buf b;
    fixture_start(&f, NULL);
    int fd = fixture_in_data(&f);
    say(fd, STR("Subject: hello\r\n\r\n..stuffed\r\n.\r\n"));
    hear(fd, "250 2.0.0 message * accepted\r\n");
    buf_init(&b, 4096);
    fixture_read(&f, f.alice, 0, &b);
    struct str text = buf_str(&b);
    assert_true(str_starts(
        text,
        STR("Return-Path: <sender@elsewhere.test>\r\n" /* [RFC5321 4.4] */
            "Received: from client.test (local)\r\n\tby mx.example.test with ESMTP\r\n\tid ")));
    assert_true(str_find(text, STR(" for <alice@example.test>;\r\n\t")) > 0);
    assert_true(str_ends(text, STR(" +0000\r\nSubject: hello\r\n\r\n.stuffed\r\n")));
    buf_fini(&b);
    assert_int_equal(counter_get(&f.counters, COUNTER_SMTP_MESSAGES), 1);
    assert_int_equal(counter_get(&f.counters, COUNTER_SMTP_BYTES), 28);
    close(fd);
    fixture_stop(&f);
}

static void several_recipients_do_not_see_each_other(void **state)
{
    struct fixture f;
    struct buf b;
    fixture_start(&f, NULL);
    int fd = fixture_greeted(&f);
    say(fd, STR("MAIL FROM:<>\r\nRCPT TO:<alice@example.test>\r\nRCPT "
                "TO:<bob@example.test>\r\nRCPT TO:<Alice@example.test>\r\n"
                "DATA\r\nx\r\n.\r\nQUIT\r\n"));
    hear(fd, "250 *\r\n250 *\r\n250 *\r\n250 *\r\n354 *\r\n250 2.0.0 *\r\n221 *\r\n");
    hear_end(fd);
    fixture_await(&f, f.alice, 1);
    fixture_await(&f, f.bob, 1);
    buf_init(&b, 4096);
    fixture_read(&f, f.bob, 0, &b);
    assert_true(str_starts(buf_str(&b), STR("Return-Path: <>\r\n")));
    assert_int_equal(str_find(buf_str(&b), STR(" for ")), -1); /* [RFC5321 7.2] */
    buf_fini(&b);
    fixture_stop(&f);
}

/* Fills memory with lines of text. */
static char *text_of(size_t n)
{
    char *text = malloc(n);
    for (size_t i = 0; i < n; i++)
        text[i] = i % 64 == 62 || i == n - 2   ? '\r'
                  : i % 64 == 63 || i == n - 1 ? '\n'
                                               : (char)('a' + i / 64 % 26);
    text[n - 3] = 'z';
    return text;
}

static void send_sized(struct fixture *f, size_t n, size_t step)
{
    size_t before = fixture_count(f, f->alice);
    char *text = text_of(n);
    int fd = fixture_in_data(f);
    say_slowly(fd, str_from(text, n), step);
    say(fd, STR(".\r\nQUIT\r\n"));
    hear(fd, "250 2.0.0 message *\r\n221 *\r\n");
    hear_end(fd);
    assert_int_equal(fixture_count(f, f->alice), before + 1);
    assert_stored(f, f->alice, before, str_from(text, n));
    free(text);
}

static void messages_of_all_sizes_come_whole(void **state)
{
    struct fixture f;
    fixture_start(&f, NULL);
    send_sized(&f, 64, 1);
    send_sized(&f, 64 * 64, 64 * 64);
    send_sized(&f, 64 * 64, 7);
    send_sized(&f, KV_BLOB_SMALL - 64,
               5000); /* about where memory ends and a file begins, with our fields */
    send_sized(&f, KV_BLOB_SMALL, 100000);
    send_sized(&f, KV_BLOB_SMALL + 64, 3000);
    send_sized(&f, 3 << 20, 60000);
    fixture_stop(&f);
}

struct nasty {
    struct str bytes;
    const char *reply;
};

static const struct nasty nasties[] = {
    {STR_INIT("\n.\n"), "550 5.6.0 *bare LF*\r\n"}, /* [RFC5321 2.3.8] */
    {STR_INIT("\n.\r\n"), "550 5.6.0 *bare LF*\r\n"},
    {STR_INIT("\r\n.\n"), "550 5.6.0 *bare LF*\r\n"},
    {STR_INIT("\r.\r"), "550 5.6.0 *bare CR*\r\n"},
    {STR_INIT("\r\n.\r"), "550 5.6.0 *bare CR*\r\n"},
    {STR_INIT("\r.\r\n"), "550 5.6.0 *bare CR*\r\n"},
    {STR_INIT("\r\n.\r\r\n"), "550 5.6.0 *bare CR*\r\n"},
    {STR_INIT("\r\r\n.\r\r\n"), "550 5.6.0 *bare CR*\r\n"},
    {STR_INIT("\n\r.\n\r"), "550 5.6.0 *bare LF*\r\n"},
    {STR_INIT("\0"), "554 5.6.0 *NUL*\r\n"},
};

static void play_nasty(const struct nasty *t, size_t step)
{
    struct fixture f;
    struct buf b;
    fixture_start(&f, NULL);
    int fd = fixture_in_data(&f);
    buf_init(&b, 4096);
    buf_put(&b, STR("Subject: one\r\n\r\nfirst"));
    buf_put(&b, t->bytes);
    buf_put(
        &b,
        STR("MAIL FROM:<evil@b.test>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\nsecond\r\n.\r\n"));
    say_slowly(fd, buf_str(&b), step);
    hear(fd, t->reply);
    say(fd, STR("NOOP\r\nQUIT\r\n"));
    hear(fd, "250 2.0.0 ok\r\n221 *\r\n"); /* still in step */
    hear_end(fd);
    assert_int_equal(fixture_count(&f, f.alice), 0);
    assert_int_equal(fixture_count(&f, f.bob), 0);
    buf_fini(&b);
    fixture_stop(&f);
}

static void no_smuggled_end_makes_two_messages(void **state)
{
    for (size_t i = 0; i < sizeof nasties / sizeof *nasties; i++) {
        play_nasty(&nasties[i], 4096);
        play_nasty(&nasties[i], 1);
    }
}

static void what_is_too_big_is_read_to_its_end(void **state)
{
    struct fixture f;
    struct smtpd_conf conf = {.message_size = 100000, .text_line = 2000};
    fixture_start(&f, &conf);
    char *text = text_of(100002);
    int fd = fixture_in_data(&f);
    say(fd, str_from(text, 100002));
    say(fd, STR(".\r\n"));
    hear(fd, "552 5.3.4 *\r\n"); /* [RFC1870 6.3] */
    say(fd, STR("MAIL FROM:<>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n"));
    hear(fd, "250 *\r\n250 *\r\n354 *\r\n");
    memset(text, 'x', 1999);
    say(fd, str_from(text, 1999));
    say(fd, STR("\r\n.\r\n"));
    hear(fd, "554 5.6.0 message holds a line that is too long\r\n");
    assert_int_equal(fixture_count(&f, f.alice), 0);
    free(text);
    close(fd);
    fixture_stop(&f);
}

static void what_does_not_end_is_cut(void **state)
{
    struct fixture f;
    struct smtpd_conf conf = {.message_size = 1000};
    fixture_start(&f, &conf);
    char *text = text_of(2002);
    int fd = fixture_in_data(&f);
    say(fd, str_from(text, 2002));
    hear(fd, "552 5.3.4 *\r\n");
    hear_end(fd);
    free(text);
    fixture_stop(&f);
}

static void loops_are_cut(void **state)
{
    struct fixture f;
    struct smtpd_conf conf = {.hops = 2};
    fixture_start(&f, &conf);
    int fd = fixture_in_data(&f);
    say(fd, STR("Received: a\r\nreceived: b\r\n\r\nReceived: c\r\n.\r\n"));
    hear(fd, "250 2.0.0 *\r\n");
    say(fd, STR("MAIL FROM:<>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\nReceived: a\r\nReceived: "
                "b\r\nReceived: c\r\n.\r\n"));
    hear(fd, "250 *\r\n250 *\r\n354 *\r\n554 5.4.6 *\r\n"); /* [RFC5321 6.3] */
    assert_int_equal(fixture_count(&f, f.alice), 1);
    close(fd);
    fixture_stop(&f);
}

static void memory_in_flight_is_bounded(void **state)
{
    struct fixture f;
    fixture_start(&f, NULL);
    f.memory.limit = 48 << 10;
    char *text = text_of(100000);
    int first = fixture_in_data(&f), second = fixture_in_data(&f);
    say(first, str_from(text, 100000));
    say(first, STR(".\r\n"));
    hear(first, "452 4.3.1 *\r\n");
    say(second, STR("small\r\n.\r\n"));
    hear(second, "250 2.0.0 *\r\n");
    say(first, STR("MAIL FROM:<> SIZE=200000\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n"));
    hear(first, "250 *\r\n250 *\r\n354 *\r\n");
    assert_true(budget_used(&f.memory) <= 16 << 10); /* SIZE alone reserves nothing */
    say(first, STR("x\r\n.\r\n"));
    hear(first, "250 2.0.0 *\r\n");
    assert_int_equal(fixture_count(&f, f.alice), 2);
    free(text);
    close(first);
    close(second);
    fixture_stop(&f);
}

static void a_full_mailbox_says_so(void **state)
{
    struct fixture f;
    fixture_start(&f, NULL);
    fixture_quota(&f, f.alice, 100);
    int fd = fixture_in_data(&f);
    say(fd, STR("Subject: this is more than fits\r\n\r\n.\r\n"));
    hear(fd, "452 4.2.2 *\r\n");
    assert_int_equal(fixture_count(&f, f.alice), 0);
    /* Another recipient is no way around it. */
    say(fd, STR("MAIL FROM:<> SIZE=1000\r\nRCPT TO:<bob@example.test>\r\n"
                "RCPT TO:<alice@example.test>\r\nDATA\r\nx\r\n.\r\n"));
    hear(fd, "250 *\r\n250 2.1.5 *\r\n452 4.2.2 *\r\n354 *\r\n250 2.0.0 *\r\n");
    assert_int_equal(fixture_count(&f, f.bob), 1);
    assert_int_equal(fixture_count(&f, f.alice), 0);
    close(fd);
    fixture_stop(&f);
}

/* One full mailbox among several recipients is refused at its RCPT, the others get the message. */
static void a_full_mailbox_is_refused_by_itself(void **state)
{
    struct fixture f;
    fixture_start(&f, NULL);
    fixture_quota(&f, f.alice, 100);
    int fd = fixture_greeted(&f);
    say(fd, STR("MAIL FROM:<> SIZE=5000\r\nRCPT TO:<alice@example.test>\r\n"
                "RCPT TO:<bob@example.test>\r\nDATA\r\n"));
    hear(fd, "250 *\r\n452 4.2.2 *\r\n250 *\r\n354 *\r\n");
    say(fd, STR("Subject: x\r\n\r\n.\r\n"));
    hear(fd, "250 2.0.0 *\r\n");
    assert_int_equal(fixture_count(&f, f.alice), 0);
    assert_int_equal(fixture_count(&f, f.bob), 1);
    close(fd);
    fixture_stop(&f);
}

static bool is_silent(int fd, int ms)
{
    struct pollfd p = {fd, POLLIN, 0};
    return poll(&p, 1, ms) == 0;
}

static void nothing_is_acknowledged_before_the_commit(void **state)
{
    struct fixture f;
    fixture_start(&f, NULL);
    int fd = fixture_in_data(&f);
    kv_mem_hold(f.kv, true);
    say(fd, STR("x\r\n.\r\nNOOP\r\n"));
    assert_true(is_silent(fd, 100)); /* [RFC5321 6.1] */
    assert_int_equal(fixture_count(&f, f.alice), 0);
    kv_mem_hold(f.kv, false);
    hear(fd, "250 2.0.0 message *\r\n250 2.0.0 ok\r\n");
    assert_int_equal(fixture_count(&f, f.alice), 1);
    close(fd);
    fixture_stop(&f);
}

static void a_failed_commit_is_told(void **state)
{
    struct fixture f;
    fixture_start(&f, NULL);
    int fd = fixture_in_data(&f);
    kv_mem_fail(f.kv, RC_FULL);
    say(fd, STR("x\r\n.\r\n"));
    hear(fd, "452 4.3.1 *\r\n");
    say(fd, STR("MAIL FROM:<>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n"));
    hear(fd, "250 *\r\n250 *\r\n354 *\r\n");
    kv_mem_fail(f.kv, RC_TEMP);
    say(fd, STR("x\r\n.\r\n"));
    hear(fd, "451 4.3.0 *\r\n");
    say(fd, STR("MAIL FROM:<>\r\nNOOP\r\n")); /* it will not write again, and says so at once */
    hear(fd, "451 4.3.0 *\r\n250 *\r\n");
    assert_int_equal(fixture_count(&f, f.alice), 0);
    close(fd);
    fixture_stop(&f);
}

static void a_client_that_leaves_meanwhile_has_delivered(void **state)
{
    struct fixture f;
    fixture_start(&f, NULL);
    int fd = fixture_in_data(&f), half = fixture_in_data(&f);
    kv_mem_hold(f.kv, true);
    say(fd, STR("x\r\n.\r\n"));
    close(fd);
    say(half, STR("x\r\n"));
    close(half);
    kv_mem_hold(f.kv, false);
    fixture_await(&f, f.alice, 1);
    fixture_stop(&f);
    assert_int_equal(counter_get(&f.counters, COUNTER_SMTP_MESSAGES), 1);
}

static void cold_data_is_fetched_by_a_worker(void **state)
{
    struct fixture f;
    fixture_start(&f, NULL);
    kv_mem_cold(f.kv, true);
    int fd = fixture_greeted(&f);
    say(fd, STR("MAIL FROM:<>\r\nRCPT TO:<bob@example.test>\r\nRCPT "
                "TO:<nobody@example.test>\r\nDATA\r\nx\r\n.\r\nQUIT\r\n"));
    hear(fd, "250 *\r\n250 2.1.5 *\r\n550 5.1.1 *\r\n354 *\r\n250 2.0.0 *\r\n221 *\r\n");
    hear_end(fd);
    kv_mem_cold(f.kv, false);
    assert_int_equal(fixture_count(&f, f.bob), 1);
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_trace_comes_first),
        cmocka_unit_test(several_recipients_do_not_see_each_other),
        cmocka_unit_test(messages_of_all_sizes_come_whole),
        cmocka_unit_test(no_smuggled_end_makes_two_messages),
        cmocka_unit_test(what_is_too_big_is_read_to_its_end),
        cmocka_unit_test(what_does_not_end_is_cut),
        cmocka_unit_test(loops_are_cut),
        cmocka_unit_test(memory_in_flight_is_bounded),
        cmocka_unit_test(a_full_mailbox_says_so),
        cmocka_unit_test(a_full_mailbox_is_refused_by_itself),
        cmocka_unit_test(nothing_is_acknowledged_before_the_commit),
        cmocka_unit_test(a_failed_commit_is_told),
        cmocka_unit_test(a_client_that_leaves_meanwhile_has_delivered),
        cmocka_unit_test(cold_data_is_fetched_by_a_worker),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
