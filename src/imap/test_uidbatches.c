/* UIDBATCHES [RFC10022], and what small extensions tell: SAVEDATE, STATUS=SIZE, OBJECTID. */
#include "imap/test_home.h"

#include <stdio.h>
#include <time.h>

#define AT_ONCE (1 << 20)

static void batches_part_a_mailbox(void **state) /* [RFC10022 3.1.2, 3.1.3, 3.1.4, 3.1.5, 3.1.6] */
{
    struct home h;
    home_make(&h);
    home_start(&h);
    int fd = client_select(&h, "SELECT");
    client_talk(fd,
                "C: a UIDBATCHES 500\n" /* of nothing */
                "S: * UIDBATCHES (TAG \"a\")\n"
                "S: a OK UIDBATCHES completed\n",
                AT_ONCE);
    home_deliver_many(&h, h.alice, STR("Subject: x\r\n\r\nx\r\n"), 1203);
    for (uint32_t uid = 1; uid <= 3; uid++)
        home_expunge(&h, h.alice, uid * 100);
    client_talk(fd,
                "C: b NOOP\nS: * 1200 EXISTS\nS: b OK NOOP completed\n"
                "C: c UIDBATCHES 500\n"
                "S: * UIDBATCHES (TAG \"c\") 1203:704,703:203,202:1\n"
                "S: c OK UIDBATCHES completed\n"
                "C: d UIDBATCHES 500 2:3\n"
                "S: * UIDBATCHES (TAG \"d\") 703:203,202:1\n"
                "S: d OK UIDBATCHES completed\n"
                "C: e UIDBATCHES 600 1:9\n"
                "S: * UIDBATCHES (TAG \"e\") 1203:604,603:1\n"
                "S: e OK UIDBATCHES completed\n"
                "C: f UIDBATCHES 1200\n"
                "S: * UIDBATCHES (TAG \"f\") 1203:1\n"
                "S: f OK UIDBATCHES completed\n"
                "C: g UIDBATCHES 4294967295 2:2\n"
                "S: * UIDBATCHES (TAG \"g\")\n"
                "S: g OK UIDBATCHES completed\n"
                "C: h UIDBATCHES 499\n" /* [RFC10022 3.1.3.2] */
                "P: h NO [TOOFEW] \n"
                "C: i UIDBATCHES 500 3:2\n"
                "P: i BAD [CLIENTBUG] \n"
                "C: j UIDBATCHES 2000 1:51\n"
                "P: j NO [TOOMANY] \n"
                "C: k UIDBATCHES 0\n"
                "P: k BAD expected a number\n"
                "C: l UIDBATCHES 500 1:*\n"
                "P: l BAD expected\n"
                "C: m UIDBATCHES 500 1:2 x\n"
                "P: m BAD expected the end\n",
                AT_ONCE);
    client_close(h.net, fd);
    home_end(&h);
}

/* [RFC10022 3.1.1, 6]: half a batch has to come or go before the same is answered again. */
static void the_same_is_not_answered_again(void **state)
{
    struct home h;
    home_make(&h);
    home_start(&h);
    home_deliver_many(&h, h.alice, STR("Subject: x\r\n\r\nx\r\n"), 600);
    int fd = client_select(&h, "SELECT");
    client_talk(fd,
                "C: a UIDBATCHES 500\n"
                "S: * UIDBATCHES (TAG \"a\") 600:101,100:1\n"
                "S: a OK UIDBATCHES completed\n"
                "C: b UIDBATCHES 500\n"
                "P: b NO [LIMIT] \n",
                AT_ONCE);
    home_deliver_many(&h, h.alice, STR("Subject: x\r\n\r\nx\r\n"), 250);
    client_talk(fd,
                "C: c NOOP\nS: * 850 EXISTS\nP: c OK\n"
                "C: d UIDBATCHES 500\n"
                "P: d NO [LIMIT] \n"
                "C: e UID STORE 1:251 +FLAGS.SILENT (\\Deleted)\n"
                "P: e OK\n",
                AT_ONCE);
    client_talk(
        fd,
        "C: f ENABLE UIDONLY\nP: f BAD\nC: g UNSELECT\nP: g OK\nC: h ENABLE UIDONLY\n"
        "S: * ENABLED UIDONLY\nP: h OK\nC: i SELECT INBOX\nP: * FLAGS\nP: * OK [PERM\n"
        "S: * 850 EXISTS\nP: * 0 R\nP: * OK [UIDV\nP: * OK [UIDN\nP: * OK [MAILBOXID (F\nP: i OK\n"
        "C: j UIDBATCHES 500\n" /* [RFC10022 3.3] */
        "S: * UIDBATCHES (TAG \"j\") 850:351,350:1\n"
        "S: j OK UIDBATCHES completed\n"
        "C: k EXPUNGE\n"
        "P: * VANISHED \n"
        "P: k OK\n"
        "C: l UIDBATCHES 500\n"
        "S: * UIDBATCHES (TAG \"l\") 850:351,350:1\n"
        "S: l OK UIDBATCHES completed\n",
        AT_ONCE);
    client_close(h.net, fd);
    home_end(&h);
}

/* [RFC8514 3, 4.2]: now, and again now when it is copied, whatever the message's date is. */
static void a_message_is_saved_when_it_comes(void **state)
{
    struct home h;
    char line[CLIENT_LINE], day[16];
    home_make(&h);
    home_start(&h);
    time_t before = time(NULL);
    home_deliver(&h, h.alice, "Subject: x\r\n\r\nx\r\n");
    int fd = client_select(&h, "SELECT");
    client_talk(fd, "C: a COPY 1 INBOX\nS: * 2 EXISTS\nP: a OK\nC: b FETCH 1:2 (SAVEDATE)\n",
                AT_ONCE);
    for (int i = 1; i <= 2; i++) {
        struct tm then;
        int n, year, hour, minute, second, date;
        struct str got = client_line(fd, line, sizeof line);
        line[got.n - 1] = 0;
        assert_int_equal(sscanf(line, "* %d FETCH (SAVEDATE \"%d-%3s-%d %d:%d:%d +0000\")", &n,
                                &date, day, &year, &hour, &minute, &second),
                         7);
        assert_int_equal(n, i);
        struct tm utc = {.tm_year = year - 1900,
                         .tm_mday = date,
                         .tm_hour = hour,
                         .tm_min = minute,
                         .tm_sec = second};
        strptime(day, "%b", &then);
        utc.tm_mon = then.tm_mon;
        assert_true(timegm(&utc) >= before && timegm(&utc) <= time(NULL));
    }
    client_talk(fd,
                "S: b OK FETCH completed\n"
                "C: c SEARCH SAVEDATESUPPORTED\nS: * SEARCH 1 2\nP: c OK\n",
                AT_ONCE);
    client_close(h.net, fd);
    home_end(&h);
}

static void status_tells_the_size(void **state) /* [RFC8438 3] */
{
    struct home h;
    home_make(&h);
    home_start(&h);
    home_deliver_many(&h, h.alice, STR("Subject: x\r\n\r\nx\r\n"), 3);
    home_expunge(&h, h.alice, 2);
    int fd = client_login(&h);
    client_talk(fd,
                "C: a STATUS INBOX (MESSAGES SIZE)\n"
                "S: * STATUS INBOX (MESSAGES 2 SIZE 34)\n"
                "S: a OK STATUS completed\n",
                AT_ONCE);
    client_close(h.net, fd);
    home_end(&h);
}

/* [RFC8474 4.1, 4.2, 4.3, 5.1, 5.2, 5.3, 6, 7]: mailboxes keep their ids when they are renamed, and
 * messages when they are copied and moved. */
static void objects_have_ids(void **state)
{
    struct home h;
    char line[CLIENT_LINE], id[64], again[64], name[64], thread[64];
    home_make(&h);
    home_start(&h);
    home_deliver_many(&h, h.alice, STR("Subject: x\r\n\r\nx\r\n"), 2);
    int fd = client_select(&h, "SELECT");
    client_send(fd, STR("a CREATE one\r\n"));
    client_line(fd, line, sizeof line);
    assert_int_equal(sscanf(line, "a OK [MAILBOXID (F%60[0-9])] ", id), 1);
    client_talk(fd, "C: b RENAME one two\nP: b OK\nC: c CREATE one\nP: c OK [MAILBOXID (F\n",
                AT_ONCE);
    client_send(fd, STR("d STATUS two (MAILBOXID)\r\n"));
    client_line(fd, line, sizeof line);
    assert_int_equal(sscanf(line, "* STATUS two (MAILBOXID (F%60[0-9]))", again), 1);
    assert_string_equal(id, again);
    client_talk(fd, "S: d OK STATUS completed\n", AT_ONCE);
    client_send(fd, STR("e STATUS one (MESSAGES MAILBOXID)\r\n"));
    client_line(fd, line, sizeof line);
    assert_int_equal(sscanf(line, "* STATUS one (MESSAGES 0 MAILBOXID (F%60[0-9]))", again), 1);
    assert_string_not_equal(id, again);
    client_talk(fd,
                "S: e OK STATUS completed\nC: f COPY 2 INBOX\nP: * 3 EXISTS\nP: f OK\n"
                "C: g FETCH 2 (EMAILID THREADID)\n",
                AT_ONCE);
    client_line(fd, line, sizeof line);
    int got = sscanf(line, "* 2 FETCH (EMAILID (%60[M0-9]) THREADID (%60[T0-9]))", name, thread);
    assert_int_equal(got, 2);
    struct buf talk = {.cap = 1000};
    buf_putf(&talk,
             "S: g OK FETCH completed\n"
             "C: h SEARCH EMAILID %s\nS: * SEARCH 2 3\nP: h OK\n"
             "C: i UID MOVE 3 two\nP: * OK [COPY\nS: * 3 EXPUNGE\nP: i OK\n"
             "C: j SELECT two\nP: * OK [CL\nP: * FL\nP: * OK [PERM\nS: * 1 EXISTS\nP: * 0 R\n"
             "P: * OK [UNSEEN\nP: * OK [UIDV\nP: * OK [UIDN\nP: * OK [MAILBOXID (F%s)] \nP: j OK\n"
             "C: k FETCH 1 (EMAILID THREADID)\nS: * 1 FETCH (EMAILID (%s) THREADID (%s))\nP: k OK\n"
             "C: l SEARCH OR EMAILID M0 THREADID %s\nS: * SEARCH\nP: l OK\n"
             "C: o SEARCH NOT EMAILID M0 THREADID %s\nS: * SEARCH 1\nP: o OK\n"
             "C: m SEARCH OR EMAILID X1 THREADID T00\nS: * SEARCH\nP: m OK\n"
             "C: n SEARCH EMAILID M1.2\nS: n BAD expected an object id\n",
             name, id, name, thread, name, thread);
    buf_put(&talk, str_from("", 1));
    client_talk(fd, buf_str(&talk).p, AT_ONCE);
    buf_fini(&talk);
    client_close(h.net, fd);
    home_end(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batches_part_a_mailbox),
        cmocka_unit_test(the_same_is_not_answered_again),
        cmocka_unit_test(a_message_is_saved_when_it_comes),
        cmocka_unit_test(status_tells_the_size),
        cmocka_unit_test(objects_have_ids),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
