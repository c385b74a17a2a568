/* The summary that is made while a message comes in is the one of what has been stored. */
#include "smtpd/fixture.h"

#include "mime/summary.h"
#include "store/test_inbox.h"

#include <unistd.h>

/* Summaries are written lazily: waits for the message's. */
static void get_summary(struct fixture *f, uint64_t account, size_t index, struct arena *arena,
                        struct str *out)
{
    struct inbox in = inbox_open(f->store, account);
    uint64_t email = store_root_at(in.root, index)->email;
    *out = (struct str){0};
    for (int i = 0; i < 10000 && str_is_null(*out); i++) {
        assert_rc(store_summaries(in.account, &email, 1, 0, arena, out), RC_OK);
        if (str_is_null(*out))
            usleep(1000);
    }
    inbox_close(&in);
}

static void assert_summary(struct fixture *f, uint64_t account, size_t index, const char *contains)
{
    struct buf stored, made;
    struct arena arena = {0};
    struct str found, envelope, structure;
    buf_init(&stored, 64 << 20);
    buf_init(&made, MIME_SUMMARY_MAX);
    fixture_await(f, account, index + 1);
    fixture_read(f, account, index, &stored);
    get_summary(f, account, index, &arena, &found);
    assert_rc(mime_summary_of(buf_str(&stored), &made), RC_OK);
    assert_true(mime_summary_read(found, &envelope, &structure));
    if (!str_eq(found, buf_str(&made)))
        fail_msg("it is %.*s %.*s", STR_ARG(envelope), STR_ARG(structure));
    assert_true(str_find(found, str_of(contains)) > 0);
    arena_fini(&arena);
    buf_fini(&stored);
    buf_fini(&made);
}

static const struct {
    struct str message;
    const char *contains;
} messages[] = {
    {STR_INIT("Subject: plain\r\n\r\ntext\r\n"), "(NIL \"plain\" NIL"},
    {STR_INIT("Subject: all header\r\n"), "(NIL \"all header\" NIL"},
    {STR_INIT("\r\nonly text\r\n"), "\"7bit\" 11 1"},
    {STR_INIT("no header at all\r\n\r\n"), "\"7bit\" 20 2"},
    {STR_INIT("From mbox\r\nSubject: hidden\r\n\r\n"), "\"7bit\" 30 3"},
    {STR_INIT(" a fold\r\nSubject: seen\r\n\r\n"), "(NIL \"seen\" NIL"},
    {STR_INIT(
         "Subject: parts\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\none\r\n"
         "--b\r\nContent-Type: image/png\r\n\r\ntwo\r\n--b--\r\n"),
     "(\"image\" \"png\""},
};

enum { N = sizeof messages / sizeof messages[0] };

static void summaries_are_made_as_messages_come(void **state)
{
    static const size_t steps[] = {10000, 7, 1};
    struct fixture f;
    size_t sent = 0;
    fixture_start(&f, NULL);
    for (size_t s = 0; s < 3; s++) {
        for (size_t i = 0; i < N; i++) {
            int fd = fixture_in_data(&f);
            say_slowly(fd, messages[i].message, steps[s]);
            say(fd, STR(".\r\n"));
            hear(fd, "250 2.0.0 *\r\n");
            assert_summary(&f, f.alice, sent++, messages[i].contains);
            close(fd);
        }
    }
    fixture_stop(&f);
}

static void summaries_pass_the_queue(void **state)
{
    struct fixture f;
    fixture_start(&f, NULL);
    int fd = fixture_greeted(&f);
    say(fd, STR("MAIL FROM:<>\r\nRCPT TO:<alice@example.test>\r\nRCPT TO:<bob@example.test>\r\n"
                "DATA\r\nSubject: to two\r\n\r\nx\r\n.\r\n"));
    hear(fd, "250 *\r\n250 *\r\n250 *\r\n354 *\r\n250 2.0.0 *\r\n");
    assert_summary(&f, f.alice, 0, "\"to two\"");
    assert_summary(&f, f.bob, 0, "\"to two\"");
    close(fd);
    fixture_stop(&f);
}

/* What submission adds and takes away is in the summary as in the message. */
static void summaries_show_what_submission_made(void **state)
{
    struct smtpd_conf conf = {.plaintext_on_loopback = true};
    struct fixture f;
    fixture_start(&f, &conf);
    fixture_role(&f, SMTPD_SUBMISSION);
    int fd = fixture_connect(&f);
    say(fd, STR("EHLO client.test\r\nAUTH PLAIN AGFsaWNlQGV4YW1wbGUudGVzdABzZWNyZXQ=\r\n"));
    hear_reply(fd, "220");
    hear_reply(fd, "250");
    hear_reply(fd, "235");
    static const char *const heads[] = {"\r\n", ""};
    for (size_t i = 0; i < 2; i++) {
        struct buf message;
        buf_init(&message, 1000);
        buf_putf(&message,
                 "MAIL FROM:<alice@example.test>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\n"
                 "From: alice@example.test\r\nBcc: secret@example.test\r\nSubject: sent\r\n"
                 "%s.\r\n",
                 heads[i]);
        say_slowly(fd, buf_str(&message), 11);
        hear(fd, "250 2.1.0 *\r\n250 2.1.5 *\r\n354 *\r\n250 2.0.0 *\r\n");
        assert_summary(&f, f.bob, i, "\"sent\" ((NIL NIL \"alice\" \"example.test\"))");
        buf_fini(&message);
    }
    close(fd);
    fixture_stop(&f);
}

/* Larger than what is held in memory: made all the same. */
static void large_messages_have_summaries(void **state)
{
    struct fixture f;
    struct buf body;
    fixture_start(&f, NULL);
    int fd = fixture_in_data(&f);
    buf_init(&body, KV_BLOB_SMALL * 2);
    buf_put(&body, STR("Subject: large\r\n\r\n"));
    while (buf_len(&body) < KV_BLOB_SMALL + 1000)
        buf_put(&body, STR("a line of text and another\r\n"));
    say(fd, buf_str(&body));
    say(fd, STR(".\r\n"));
    hear(fd, "250 2.0.0 *\r\n");
    assert_summary(&f, f.alice, 0, "\"large\"");
    buf_fini(&body);
    close(fd);
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(summaries_are_made_as_messages_come),
        cmocka_unit_test(summaries_pass_the_queue),
        cmocka_unit_test(summaries_show_what_submission_made),
        cmocka_unit_test(large_messages_have_summaries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
