/* FETCH as clients see it. */
#include "imap/test_home.h"

#include <time.h>

static const char plain[] = "From: A <a@example.test>\r\n"
                            "Subject: one\r\n"
                            "\r\n"
                            "Hello\r\n"
                            "there\r\n";

static void test_row(void **state)
{
    struct home h;
    home_make(&h);
    home_start(&h);
    home_deliver(&h, h.alice, plain);
    home_deliver(&h, h.alice, plain);
    int fd = client_select(&h, "SELECT");
    client_talk(fd,
                "C: a FETCH 1 (UID FLAGS INTERNALDATE RFC822.SIZE)\n"
                "S: * 1 FETCH (UID 1 FLAGS () INTERNALDATE \" 2-Jan-2001 03:04:05 +0000\" "
                "RFC822.SIZE 56)\n"
                "S: a OK FETCH completed\n"
                "C: b UID FETCH 2:* FAST\n"
                "S: * 2 FETCH (UID 2 FLAGS () INTERNALDATE \" 2-Jan-2001 03:04:05 +0000\" "
                "RFC822.SIZE 56)\n"
                "S: b OK UID FETCH completed\n"
                "C: c UID FETCH 1:* (RFC822.SIZE UID UID)\n" /* in the order asked for */
                "S: * 1 FETCH (RFC822.SIZE 56 UID 1 UID 1)\n"
                "S: * 2 FETCH (RFC822.SIZE 56 UID 2 UID 2)\n"
                "S: c OK UID FETCH completed\n"
                "C: d FETCH 3 UID\n"
                "S: d BAD there is no message of this number\n"
                "C: e UID FETCH 3 UID\n" /* the last one */
                "S: e OK UID FETCH completed\n",
                1 << 20);
    client_close(h.net, fd);
    home_end(&h);
}

static void test_summary(void **state)
{
    struct home h;
    home_make(&h);
    home_start(&h);
    home_deliver(&h, h.alice, plain);
    int fd = client_select(&h, "SELECT");
    for (int i = 0; i < 2; i++) /* made, and found */
        client_talk(
            fd,
            "C: a FETCH 1 (ENVELOPE BODY BODYSTRUCTURE)\n"
            "S: * 1 FETCH (ENVELOPE (NIL \"one\" ((\"A\" NIL \"a\" \"example.test\")) "
            "((\"A\" NIL \"a\" \"example.test\")) ((\"A\" NIL \"a\" \"example.test\")) "
            "NIL NIL NIL NIL NIL) "
            "BODY (\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 14 2) "
            "BODYSTRUCTURE (\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 14 2 "
            "NIL NIL NIL NIL))\n"
            "S: a OK FETCH completed\n",
            1 << 20);
    client_close(h.net, fd);
    home_end(&h);
}

static void test_body(void **state)
{
    struct home h;
    home_make(&h);
    home_start(&h);
    home_deliver(&h, h.alice, plain);
    int fd = client_select(&h, "SELECT");
    client_talk(fd,
                "C: a FETCH 1 BODY.PEEK[]\n"
                "S: * 1 FETCH (BODY[] {56}\n"
                "S: From: A <a@example.test>\n"
                "S: Subject: one\n"
                "S: \n"
                "S: Hello\n"
                "S: there\n"
                "S: )\n"
                "S: a OK FETCH completed\n"
                "C: b FETCH 1 (RFC822.HEADER BODY.PEEK[HEADER])\n"
                "S: * 1 FETCH (RFC822.HEADER {42}\n"
                "S: From: A <a@example.test>\n"
                "S: Subject: one\n"
                "S: \n"
                "S:  BODY[HEADER] {42}\n"
                "S: From: A <a@example.test>\n"
                "S: Subject: one\n"
                "S: \n"
                "S: )\n"
                "S: b OK FETCH completed\n"
                "C: b FETCH 1 (BODY.PEEK[HEADER.FIELDS (subject)] BODY.PEEK[1]<3.4> "
                "BODY.PEEK[2] BODY.PEEK[TEXT]<99.1>)\n"
                "S: * 1 FETCH (BODY[HEADER.FIELDS (subject)] {16}\n"
                "S: Subject: one\n"
                "S: \n"
                "S:  BODY[1]<3> {4}\n"
                "S: lo\n"
                "S:  BODY[2] NIL BODY[TEXT]<99> {0}\n"
                "S: )\n"
                "S: b OK FETCH completed\n"
                "C: c UID fetch 1 (UID RFC822.peek RFC822.TEXT.PEEK)\n"
                "S: * 1 FETCH (UID 1 RFC822 {56}\n"
                "S: From: A <a@example.test>\n"
                "S: Subject: one\n"
                "S: \n"
                "S: Hello\n"
                "S: there\n"
                "S:  RFC822.TEXT {14}\n"
                "S: Hello\n"
                "S: there\n"
                "S: )\n"
                "S: c OK UID FETCH completed\n",
                1 << 20);
    assert_int_equal(home_flags(&h, h.alice, 1), 0);
    client_talk(fd,
                "C: c FETCH 1 (RFC822 RFC822.TEXT)\n"
                "S: * 1 FETCH (RFC822 {56}\n"
                "S: From: A <a@example.test>\n"
                "S: Subject: one\n"
                "S: \n"
                "S: Hello\n"
                "S: there\n"
                "S:  RFC822.TEXT {14}\n"
                "S: Hello\n"
                "S: there\n"
                "S:  FLAGS (\\Seen))\n"
                "S: c OK FETCH completed\n",
                1 << 20);
    assert_int_equal(home_flags(&h, h.alice, 1), STORE_SEEN);
    client_close(h.net, fd);
    home_end(&h);
}

/* However many parts are asked for, the message is read and looked at once. */
static void test_read_once(void **state)
{
    struct home h;
    struct kv_mem_stats before, after;
    home_make(&h);
    home_start(&h);
    home_deliver(&h, h.alice,
                 "Content-Type: multipart/mixed; boundary=b\r\n\r\n"
                 "--b\r\n\r\none\r\n"
                 "--b\r\nContent-Transfer-Encoding: base64\r\n\r\ndHdv\r\n"
                 "--b--\r\n");
    int fd = client_select(&h, "EXAMINE");
    kv_mem_stats(h.kv, &before);
    client_talk(fd,
                "C: a FETCH 1 (BODY[1] BODY[2] BODY[2.MIME] BINARY[2] BINARY.SIZE[1] "
                "BODY[HEADER.FIELDS (subject)])\n"
                "S: * 1 FETCH (BODY[1] {3}\n"
                "S: one BODY[2] {4}\n"
                "S: dHdv BODY[2.MIME] {37}\n"
                "S: Content-Transfer-Encoding: base64\n"
                "S: \n"
                "S:  BINARY[2] {3}\n"
                "S: two BINARY.SIZE[1] 3 BODY[HEADER.FIELDS (subject)] {2}\n"
                "S: \n"
                "S: )\n"
                "S: a OK FETCH completed\n",
                1 << 20);
    kv_mem_stats(h.kv, &after);
    assert_int_equal(after.blobs_read - before.blobs_read, 1);
    client_close(h.net, fd);
    home_end(&h);
}

/* Lines of text end with CRLF in BINARY, whatever they end with in the message, and the sizes are
 * those of what is given [RFC3516 4.3] [RFC9051 7.5.2]; other bytes are as they are. */
static void lines_of_text_end_with_crlf(void **state)
{
    struct home h;
    home_make(&h);
    home_start(&h);
    home_deliver(&h, h.alice,
                 "Content-Type: multipart/mixed; boundary=b\r\n\r\n"
                 "--b\r\nContent-Transfer-Encoding: base64\r\n\r\nCmEKYg0KYwoK\r\n"
                 "--b\r\nContent-Type: TEXT/html\r\n"
                 "Content-Transfer-Encoding: quoted-printable\r\n\r\na=0Ab=0D=0Ac\r\n"
                 "--b\r\nContent-Type: application/x\r\n"
                 "Content-Transfer-Encoding: base64\r\n\r\nCmEK\r\n"
                 "--b\r\nContent-Type: text/plain\r\n\r\na\nb\r\n"
                 "--b\r\nContent-Type: text/plain; charset=utf-16\r\n"
                 "Content-Transfer-Encoding: base64\r\n\r\nAGEACg==\r\n"
                 "--b--\r\n");
    int fd = client_select(&h, "EXAMINE");
    client_send(fd, STR("a FETCH 1 (BINARY[1] BINARY.SIZE[1] BINARY[1]<4.3> BINARY[2] BINARY[3] "
                        "BINARY[4] BINARY.SIZE[4] BINARY[5])\r\n"));
    client_expect(fd, STR("* 1 FETCH (BINARY[1] {13}\r\n\r\na\r\nb\r\nc\r\n\r\n BINARY.SIZE[1] 13"
                          " BINARY[1]<4> {3}\r\n\nb\r BINARY[2] {7}\r\na\r\nb\r\nc"
                          " BINARY[3] {3}\r\n\na\n BINARY[4] {4}\r\na\r\nb BINARY.SIZE[4] 4"
                          " BINARY[5] ~{4}\r\n\0a\0\n)\r\na OK FETCH completed\r\n"));
    client_close(h.net, fd);
    home_end(&h);
}

static void test_seen(void **state)
{
    struct home h;
    home_make(&h);
    home_start(&h);
    home_deliver(&h, h.alice, plain);
    home_deliver(&h, h.alice, plain);
    int fd = client_select(&h, "SELECT");
    client_talk(fd,
                "C: a FETCH 1:2 BODY[1]<0.1>\n"
                "S: * 1 FETCH (BODY[1]<0> {1}\n"
                "S: H FLAGS (\\Seen))\n"
                "S: * 2 FETCH (BODY[1]<0> {1}\n"
                "S: H FLAGS (\\Seen))\n"
                "S: a OK FETCH completed\n"
                "C: b FETCH 1 BODY[1]<0.1>\n"
                "S: * 1 FETCH (BODY[1]<0> {1}\n"
                "S: H)\n"
                "S: b OK FETCH completed\n",
                1 << 20);
    assert_int_equal(home_flags(&h, h.alice, 2), STORE_SEEN);
    client_close(h.net, fd);
    home_end(&h);
}

/* Somebody flags meanwhile: what is told is the newest, and each change is told once. */
static void test_others(void **state)
{
    struct home h;
    home_make(&h);
    home_start(&h);
    for (int i = 0; i < 3; i++)
        home_deliver(&h, h.alice, plain);
    int fd = client_select(&h, "SELECT");
    home_flag(&h, h.alice, 1, STORE_FLAGGED);
    home_flag(&h, h.alice, 2, STORE_SEEN);
    home_flag(&h, h.alice, 3, STORE_DRAFT);
    client_talk(fd,
                "C: a FETCH 1:2 BODY[1]<0.1>\n"
                "S: * 1 FETCH (BODY[1]<0> {1}\n"
                "S: H FLAGS (\\Flagged \\Seen))\n"
                "S: * 2 FETCH (BODY[1]<0> {1}\n"
                "S: H FLAGS (\\Seen))\n"
                "S: * 2 FETCH (FLAGS (\\Seen))\n" /* not this command's change */
                "S: * 3 FETCH (FLAGS (\\Draft))\n"
                "S: a OK FETCH completed\n"
                "C: b NOOP\n"
                "S: b OK NOOP completed\n",
                1 << 20);
    home_flag(&h, h.alice, 3, STORE_SEEN); /* so nothing is left to change */
    client_talk(fd,
                "C: c UID FETCH 3 BODY[1]<0.1>\n"
                "S: * 3 FETCH (UID 3 BODY[1]<0> {1}\n"
                "S: H FLAGS (\\Seen \\Draft))\n"
                "S: * 3 FETCH (UID 3 FLAGS (\\Seen \\Draft))\n"
                "S: c OK UID FETCH completed\n"
                "C: d NOOP\n"
                "S: d OK NOOP completed\n",
                1 << 20);
    client_close(h.net, fd);
    home_end(&h);
}

/* Somebody expunges, somebody flags: the body is there, the flags are the newest ones, and each
 * change is told once. */
static void test_others_expunge(void **state)
{
    struct home h;
    home_make(&h);
    home_start(&h);
    for (int i = 0; i < 4; i++)
        home_deliver(&h, h.alice, plain);
    int fd = client_select(&h, "SELECT");
    home_expunge(&h, h.alice, 1);
    home_flag(&h, h.alice, 2, STORE_FLAGGED);
    home_flag(&h, h.alice, 3, STORE_SEEN);
    home_flag(&h, h.alice, 4, STORE_DRAFT);
    client_talk(fd,
                "C: a FETCH 1:3 BODY[1]<0.1>\n"
                "S: * 1 FETCH (BODY[1]<0> {1}\n"
                "S: H)\n"
                "S: * 2 FETCH (BODY[1]<0> {1}\n"
                "S: H FLAGS (\\Flagged \\Seen))\n"
                "S: * 3 FETCH (BODY[1]<0> {1}\n"
                "S: H FLAGS (\\Seen))\n"
                "S: * 3 FETCH (FLAGS (\\Seen))\n" /* not this command's change */
                "S: * 4 FETCH (FLAGS (\\Draft))\n"
                "S: a OK FETCH completed\n"
                "C: b FETCH 1 (FLAGS BODY.PEEK[1]<1.2>)\n"
                "S: * 1 FETCH (FLAGS () BODY[1]<1> {2}\n"
                "S: el)\n"
                "S: b OK FETCH completed\n"
                "C: c NOOP\n"
                "S: * 1 EXPUNGE\n"
                "S: c OK NOOP completed\n",
                1 << 20);
    client_close(h.net, fd);
    home_end(&h);
}

/* INTERNALDATE beside the C library's calendar, and back through the parser. */
static void test_date(void **state)
{
    struct arena arena;
    arena_init(&arena, 0);
    for (uint64_t seconds = 0; seconds < 9000000000; seconds += 86400 * 13 + 4567) {
        char wanted[40], got[IMAP_DATE_TIME + 1];
        struct tm tm;
        time_t t = (time_t)seconds;
        assert_non_null(gmtime_r(&t, &tm));
        strftime(wanted, sizeof wanted, "\"%e-%b-%Y %H:%M:%S +0000\"", &tm);
        char *end = imap_put_date_time(got, seconds * NS_PER_SEC + 999999999);
        assert_int_equal(end - got, IMAP_DATE_TIME);
        *end = '\0';
        assert_string_equal(got, wanted);
        struct imap_parse p = {.rest = str_of(got), .arena = &arena};
        uint64_t back;
        assert_true(imap_take_date_time(&p, &back));
        assert_int_equal(back / NS_PER_SEC, seconds);
    }
    arena_fini(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_date),           cmocka_unit_test(test_row),
        cmocka_unit_test(test_summary),        cmocka_unit_test(test_body),
        cmocka_unit_test(test_read_once),      cmocka_unit_test(lines_of_text_end_with_crlf),
        cmocka_unit_test(test_seen),           cmocka_unit_test(test_others),
        cmocka_unit_test(test_others_expunge),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
