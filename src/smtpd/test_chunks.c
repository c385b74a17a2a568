/* Messages that come in chunks: stored byte for byte, refused at their borders, within limits. */
#include "smtpd/fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define ENVELOPE "MAIL FROM:<a@b.test> BODY=BINARYMIME\r\nRCPT TO:<alice@example.test>\r\n"
#define TEXT     "MAIL FROM:<a@b.test>\r\nRCPT TO:<alice@example.test>\r\n"

static void assert_tail(struct fixture *f, size_t index, struct str sent)
{
    struct buf b;
    buf_init(&b, 64 << 20);
    fixture_read(f, f->alice, index, &b);
    struct str tail = str_skip(buf_str(&b), buf_len(&b) - sent.n);
    assert_int_equal(tail.n, sent.n);
    assert_memory_equal(tail.p, sent.p, sent.n);
    buf_fini(&b);
}

static void hear_received(int fd)
{
    hear(fd, "250 2.0.0 * octets so far\r\n");
}

/* Sends `bytes` in chunks of `chunk` octets, each answer awaited; LAST by itself. */
static void send_chunks(int fd, struct str bytes, size_t chunk)
{
    for (size_t i = 0; i < bytes.n; i += chunk) {
        char command[64];
        struct str part = str_sub(bytes, i, chunk);
        snprintf(command, sizeof command, "BDAT %zu\r\n", part.n);
        say(fd, str_of(command));
        say(fd, part);
        hear_received(fd);
    }
    say(fd, STR("BDAT 0 LAST\r\n"));
}

static void every_octet_is_kept(void **state)
{
    enum { SIZE = 3 * KV_BLOB_SMALL };
    static const size_t chunks[] = {4096, 65536, 65537, KV_BLOB_SMALL, SIZE};
    struct fixture f;
    fixture_start(&f, NULL);
    char *bytes = malloc(SIZE);
    for (size_t i = 0; i < SIZE; i++)
        bytes[i] = (char)(i * 7 + i / 251); /* all octets, NUL, CR and LF among them */
    int fd = fixture_greeted(&f);
    for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++) {
        say(fd, STR(ENVELOPE)); /* [RFC3030 3] */
        hear(fd, "250 *\r\n250 *\r\n");
        send_chunks(fd, str_from(bytes, SIZE), chunks[i]);
        hear(fd, "250 2.0.0 message *\r\n");
        assert_tail(&f, i, str_from(bytes, SIZE));
    }
    free(bytes);
    close(fd);
    fixture_stop(&f);
}

static void pipelined_chunks_are_answered_in_order(void **state)
{
    struct fixture f;
    fixture_start(&f, NULL);
    int fd = fixture_greeted(&f);
    say(fd, STR(TEXT "BDAT 14\r\nSubject: x\r\n\r\nBDAT 7\r\nBDAT 7\nBDAT 2 LAST\r\n\r\nQUIT\r\n"));
    hear(fd, "250 *\r\n250 *\r\n250 2.0.0 14 *\r\n550 5.6.0 *bare LF*\r\n550 5.6.0 *\r\n221 *\r\n");
    hear_end(fd);
    fd = fixture_greeted(&f);
    say(fd,
        STR(TEXT "BDAT 14\r\nSubject: x\r\n\r\nBDAT 8\r\nBDAT 7\r\nBDAT 2 LAST\r\n\r\nQUIT\r\n"));
    hear(fd,
         "250 *\r\n250 *\r\n250 2.0.0 14 *\r\n250 2.0.0 22 *\r\n250 2.0.0 message *\r\n221 *\r\n");
    hear_end(fd);
    assert_tail(&f, 0, STR("\r\nSubject: x\r\n\r\nBDAT 7\r\n\r\n"));
    fixture_stop(&f);
}

/* A line end that is cut in two by a chunk's border is one line end. */
static void line_ends_may_be_cut(void **state)
{
    struct fixture f;
    fixture_start(&f, NULL);
    int fd = fixture_greeted(&f);
    say(fd, STR(TEXT "BDAT 2\r\na\rBDAT 3\r\n\n.\rBDAT 1 LAST\r\n\n"));
    hear(fd, "250 *\r\n250 *\r\n250 *\r\n250 *\r\n250 2.0.0 message *\r\n");
    assert_tail(&f, 0, STR("\r\na\r\n.\r\n")); /* dots mean nothing here */
    say(fd, STR(TEXT "BDAT 2\r\na\rBDAT 1 LAST\r\nb"));
    hear(fd, "250 *\r\n250 *\r\n250 *\r\n550 5.6.0 *bare CR*\r\n");
    assert_int_equal(fixture_count(&f, f.alice), 1);
    close(fd);
    fixture_stop(&f);
}

static void what_is_too_big_is_drained(void **state)
{
    struct fixture f;
    struct smtpd_conf conf = {.message_size = 1000};
    fixture_start(&f, &conf);
    int fd = fixture_greeted(&f);
    char bytes[1500];
    memset(bytes, 'x', sizeof bytes);
    say(fd, STR(TEXT "BDAT 1500 LAST\r\n"));
    say(fd, str_from(bytes, 1500));
    hear(fd, "250 *\r\n250 *\r\n552 5.3.4 *\r\n"); /* [RFC3030 2] */
    say(fd, STR(TEXT "BDAT 600\r\n"));
    say(fd, str_from(bytes, 600));
    say(fd, STR("BDAT 600\r\n"));
    say(fd, str_from(bytes, 600));
    hear(fd, "250 *\r\n250 *\r\n250 2.0.0 600 *\r\n552 5.3.4 *\r\n");
    say(fd, STR("BDAT 0 LAST\r\nNOOP\r\n"));
    hear(fd, "552 5.3.4 *\r\n250 2.0.0 ok\r\n");
    /* One whose size says that it never ends is cut when twice the limit has come. */
    say(fd, STR(TEXT "BDAT 18446744073709551615 LAST\r\n"));
    say(fd, str_from(bytes, 1500));
    say(fd, str_from(bytes, 502));
    hear(fd, "250 *\r\n250 *\r\n552 5.3.4 *\r\n");
    hear_end(fd);
    int stray = fixture_greeted(&f);
    say(stray, STR("BDAT 18446744073709551615\r\n"));
    say(stray, str_from(bytes, 1500));
    say(stray, str_from(bytes, 502));
    hear(stray, "503 5.5.1 *\r\n");
    hear_end(stray);
    assert_int_equal(fixture_count(&f, f.alice), 0);
    fixture_stop(&f);
}

static void a_chunk_that_never_comes_ends_the_session(void **state)
{
    struct fixture f;
    struct smtpd_conf conf = {.data_ms = 60};
    fixture_start(&f, &conf);
    int lying = fixture_greeted(&f), stray = fixture_greeted(&f), waiting = fixture_greeted(&f);
    say(lying, STR(TEXT "BDAT 100 LAST\r\nonly this\r\nQUIT\r\n"));
    hear(lying, "250 *\r\n250 *\r\n421 4.4.2 *\r\n");
    hear_end(lying);
    say(stray, STR("BDAT 100 LAST\r\nonly this\r\n"));
    hear(stray, "421 4.4.2 *\r\n");
    hear_end(stray);
    say(waiting, STR(TEXT "BDAT 4\r\nonly"));
    hear(waiting, "250 *\r\n250 *\r\n250 *\r\n421 4.4.2 *\r\n");
    hear_end(waiting);
    assert_int_equal(fixture_count(&f, f.alice), 0);
    fixture_stop(&f);
}

static void empty_chunks_are_not_for_ever(void **state)
{
    struct fixture f;
    struct smtpd_conf conf = {.idle_commands = 3};
    fixture_start(&f, &conf);
    int fd = fixture_greeted(&f);
    say(fd, STR(TEXT "BDAT 0\r\nBDAT 0\r\nBDAT 0\r\n"));
    hear(fd, "250 *\r\n250 *\r\n250 *\r\n250 *\r\n250 *\r\n421 4.7.0 *\r\n");
    hear_end(fd);
    fixture_stop(&f);
}

static void memory_is_taken_as_octets_come(void **state)
{
    struct fixture f;
    fixture_start(&f, NULL);
    int fd = fixture_greeted(&f);
    say(fd, STR("MAIL FROM:<> SIZE=50000000\r\nRCPT TO:<alice@example.test>\r\nBDAT 50000000 "
                "LAST\r\nx"));
    hear(fd, "250 *\r\n250 *\r\n");
    assert_true(budget_used(&f.memory) <= 64 << 10);
    f.memory.limit = 48 << 10;
    char *bytes = calloc(1, 100000);
    memset(bytes, 'x', 100000);
    int other = fixture_greeted(&f);
    say(other, STR(TEXT "BDAT 100000\r\n"));
    say(other, str_from(bytes, 100000));
    say(other, STR("BDAT 0 LAST\r\nNOOP\r\n"));
    hear(other, "250 *\r\n250 *\r\n452 4.3.1 *\r\n452 4.3.1 *\r\n250 2.0.0 ok\r\n");
    free(bytes);
    close(fd);
    close(other);
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_octet_is_kept),
        cmocka_unit_test(pipelined_chunks_are_answered_in_order),
        cmocka_unit_test(line_ends_may_be_cut),
        cmocka_unit_test(what_is_too_big_is_drained),
        cmocka_unit_test(a_chunk_that_never_comes_ends_the_session),
        cmocka_unit_test(empty_chunks_are_not_for_ever),
        cmocka_unit_test(memory_is_taken_as_octets_come),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
