/* MESSAGELIMIT and SAVELIMIT [RFC9738]: what one command processes, what it says of the rest, and
 * how that meets PARTIAL, SEARCHRES, CONDSTORE and QRESYNC. */
#include "imap/test_home.h"

#include <inttypes.h>

#define AT_ONCE (1 << 20)

/* Seven messages with UIDs 1 to 7, of which a command may process three. */
static int begin(struct home *h)
{
    home_make(h);
    h->conf.message_limit = 3;
    home_start(h);
    home_deliver_many(h, h->alice, STR("Subject: x\r\n\r\nx\r\n"), 7);
    return client_select(h, "SELECT");
}

static void end(struct home *h, int fd)
{
    client_close(h->net, fd);
    home_assert_sound(h, h->alice);
    home_end(h);
}

static void the_limit_is_told(void **state) /* [RFC9738 3, 5] */
{
    static const struct {
        uint32_t limit;
        bool is_saving;
        const char *has, *lacks;
    } cases[] = {{0, false, " MESSAGELIMIT=1000000", "SAVELIMIT"},
                 {1000, false, " MESSAGELIMIT=1000", "SAVELIMIT"},
                 {1000, true, " SAVELIMIT=1000", "MESSAGELIMIT"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct home h;
        char line[CLIENT_LINE];
        home_make(&h);
        h.conf.message_limit = cases[i].limit;
        h.conf.limits_saving_only = cases[i].is_saving;
        home_start(&h);
        int fd = client_login(&h);
        client_send(fd, STR("a CAPABILITY\r\n"));
        struct str got = client_line(fd, line, sizeof line);
        assert_true(str_find(got, str_of(cases[i].has)) > 0);
        assert_true(str_find(got, str_of(cases[i].lacks)) < 0);
        client_close(h.net, fd);
        home_end(&h);
    }
}

static void fetch_tells_the_highest_ones_downwards(void **state) /* [RFC9738 3.1] */
{
    struct home h;
    int fd = begin(&h);
    client_talk(fd,
                "C: a FETCH 1:* FLAGS\n"
                "S: * 7 FETCH (FLAGS ())\n"
                "S: * 6 FETCH (FLAGS ())\n"
                "S: * 5 FETCH (FLAGS ())\n"
                "S: a OK [MESSAGELIMIT 3 5] FETCH completed\n"
                "C: b UID FETCH 1,3:4,6 UID\n"
                "S: * 6 FETCH (UID 6)\n"
                "S: * 4 FETCH (UID 4)\n"
                "S: * 3 FETCH (UID 3)\n"
                "S: b OK [MESSAGELIMIT 3 3] UID FETCH completed\n"
                "C: c FETCH 2:4 UID\n" /* no more than may be */
                "S: * 2 FETCH (UID 2)\n"
                "S: * 3 FETCH (UID 3)\n"
                "S: * 4 FETCH (UID 4)\n"
                "S: c OK FETCH completed\n"
                "C: d FETCH 1:4 (UID BODY[])\n" /* which sets \Seen */
                "S: * 4 FETCH (UID 4 BODY[] {17}\nS: Subject: x\nS: \nS: x\nS:  FLAGS (\\Seen))\n"
                "S: * 3 FETCH (UID 3 BODY[] {17}\nS: Subject: x\nS: \nS: x\nS:  FLAGS (\\Seen))\n"
                "S: * 2 FETCH (UID 2 BODY[] {17}\nS: Subject: x\nS: \nS: x\nS:  FLAGS (\\Seen))\n"
                "S: d OK [MESSAGELIMIT 3 2] FETCH completed\n",
                AT_ONCE);
    assert_int_equal(home_flags(&h, h.alice, 1), 0);
    end(&h, fd);
}

/* Pages of summaries, many of them, and the last one not full. */
static void many_pages_come_downwards(void **state) /* [RFC9738 3.1] */
{
    enum { ALL = 5000, MOST = 4321 };
    struct home h;
    char line[CLIENT_LINE], expected[100];
    home_make(&h);
    h.conf.message_limit = MOST;
    home_start(&h);
    home_deliver_many(&h, h.alice, STR("Subject: x\r\n\r\nx\r\n"), ALL);
    int fd = client_select(&h, "SELECT");
    client_send(fd, STR("a UID FETCH 1:* ENVELOPE\r\n"));
    for (int uid = ALL; uid > ALL - MOST; uid--) {
        snprintf(expected, sizeof expected, "* %d FETCH (UID %d ENVELOPE (", uid, uid);
        assert_true(str_starts(client_line(fd, line, sizeof line), str_of(expected)));
    }
    client_talk(fd, "S: a OK [MESSAGELIMIT 4321 680] UID FETCH completed\n", AT_ONCE);
    end(&h, fd);
}

/* Pages that are too large for the memory they may have are chosen anew, with fewer messages; what
 * becomes \Seen on the way is told once. */
static void large_summaries_come_downwards(void **state) /* [RFC9738 3.1] */
{
    enum { ALL = 700, MOST = 601, ADDRESSES = 100 };
    struct home h;
    char line[CLIENT_LINE], expected[100];
    struct buf text = {.cap = 1 << 16};
    home_make(&h);
    h.conf.message_limit = MOST;
    home_start(&h);
    buf_put(&text, STR("Subject: x\r\nTo: "));
    for (int i = 0; i < ADDRESSES; i++)
        buf_putf(&text, "someone-%d@example.test,\r\n ", i);
    buf_put(&text, STR("last@example.test\r\n\r\nx\r\n"));
    home_deliver_many(&h, h.alice, buf_str(&text), ALL);
    buf_fini(&text);
    int fd = client_select(&h, "SELECT");
    for (int round = 0; round < 2; round++) { /* at first there are no summaries */
        client_send(fd, round ? STR("a FETCH 1:* (UID ENVELOPE RFC822.TEXT)\r\n")
                              : STR("a FETCH 1:* (UID ENVELOPE)\r\n"));
        for (int uid = ALL; uid > ALL - MOST; uid--) {
            snprintf(expected, sizeof expected, "* %d FETCH (UID %d ENVELOPE (", uid, uid);
            assert_true(str_starts(client_line(fd, line, sizeof line), str_of(expected)));
            if (round)
                client_talk(fd, "S: x\nS:  FLAGS (\\Seen))\n", AT_ONCE);
        }
        client_talk(fd, "S: a OK [MESSAGELIMIT 601 100] FETCH completed\n", AT_ONCE);
    }
    end(&h, fd);
}

/* The range says how many are asked for, whatever there is. */
static void a_partial_of_too_many_is_refused(void **state) /* [RFC9738 3.1] [RFC9394 3.3] */
{
    struct home h;
    int fd = begin(&h);
    client_talk(fd,
                "C: a UID FETCH 1:* UID (PARTIAL -1:-4)\n"
                "S: a NO [MESSAGELIMIT 3] these are more messages than one command may process\n"
                "C: b UID FETCH 1:* UID (PARTIAL 4:6)\n"
                "S: * 4 FETCH (UID 4)\n"
                "S: * 5 FETCH (UID 5)\n"
                "S: * 6 FETCH (UID 6)\n"
                "S: b OK UID FETCH completed\n"
                "C: c UID SEARCH RETURN (PARTIAL 1:4) ALL\n"
                "P: c NO [MESSAGELIMIT 3] \n"
                "C: d UID SEARCH RETURN (PARTIAL -1:-2) ALL\n"
                "S: * ESEARCH (TAG \"d\") UID PARTIAL (-1:-2 6:7)\n"
                "S: d OK [MESSAGELIMIT 3 5] UID SEARCH completed\n",
                AT_ONCE);
    end(&h, fd);
}

/* What has not changed is passed over, and does not count [RFC7162 3.1.4.1]. */
static void what_has_not_changed_does_not_count(void **state)
{
    struct home h;
    int fd = begin(&h);
    char line[CLIENT_LINE];
    uint64_t modseq;
    struct buf talk = {.cap = 4000};
    client_talk(fd, "C: a UNSELECT\nP: a OK\nC: b ENABLE QRESYNC\nP: * ENABLED\nP: b OK\n",
                AT_ONCE);
    client_send(fd, STR("c STATUS INBOX (HIGHESTMODSEQ)\r\n"));
    client_line(fd, line, sizeof line);
    assert_int_equal(sscanf(line, "* STATUS INBOX (HIGHESTMODSEQ %" SCNu64, &modseq), 1);
    client_talk(fd, "P: c OK\n", AT_ONCE);
    home_flag(&h, h.alice, 1, STORE_SEEN);
    home_flag(&h, h.alice, 3, STORE_SEEN);
    home_flag(&h, h.alice, 6, STORE_SEEN);
    home_expunge(&h, h.alice, 2);
    client_send(fd, STR("d SELECT INBOX\r\n"));
    client_until(fd, STR("d OK"));
    buf_putf(&talk,
             "C: e UID FETCH 1:* FLAGS (CHANGEDSINCE %" PRIu64 " VANISHED)\n"
             "S: * VANISHED (EARLIER) 2\n"
             "P: * 1 FETCH (UID 1 FLAGS (\\Seen) MODSEQ (\n"
             "P: * 2 FETCH (UID 3 FLAGS (\\Seen) MODSEQ (\n"
             "P: * 5 FETCH (UID 6 FLAGS (\\Seen) MODSEQ (\n"
             "S: e OK UID FETCH completed\n"
             "C: f UID STORE 5 +FLAGS.SILENT (\\Seen)\nP: * 4 FETCH (UID 5 MODSEQ (\nP: f OK\n"
             "C: g UID FETCH 1:* FLAGS (CHANGEDSINCE %" PRIu64 ")\n"
             "P: * 5 FETCH (UID 6 FLAGS (\\Seen) MODSEQ (\n"
             "P: * 4 FETCH (UID 5 FLAGS (\\Seen) MODSEQ (\n"
             "P: * 2 FETCH (UID 3 FLAGS (\\Seen) MODSEQ (\n"
             "S: g OK [MESSAGELIMIT 3 3] UID FETCH completed\n"
             "C: h UID FETCH 1,5:7 FLAGS (CHANGEDSINCE %" PRIu64 ")\n"
             "P: * 1 FETCH (UID 1 FLAGS (\\Seen) MODSEQ (\n"
             "P: * 4 FETCH (UID 5 FLAGS (\\Seen) MODSEQ (\n"
             "P: * 5 FETCH (UID 6 FLAGS (\\Seen) MODSEQ (\n"
             "S: h OK UID FETCH completed\n"
             "C: i UID FETCH 1,3,5:6 FLAGS (CHANGEDSINCE %" PRIu64 ")\n"
             "P: * 5 FETCH (UID 6 FLAGS (\\Seen) MODSEQ (\n"
             "P: * 4 FETCH (UID 5 FLAGS (\\Seen) MODSEQ (\n"
             "P: * 2 FETCH (UID 3 FLAGS (\\Seen) MODSEQ (\n"
             "S: i OK [MESSAGELIMIT 3 3] UID FETCH completed\n"
             "C: j UID STORE 7 +FLAGS.SILENT (\\Seen)\nP: * 6 FETCH (UID 7 MODSEQ (\nP: j OK\n"
             "C: k UID FETCH 1,5:7 FLAGS (CHANGEDSINCE %" PRIu64
             ")\n" /* a whole span of the set is left out */
             "P: * 6 FETCH (UID 7 FLAGS (\\Seen) MODSEQ (\n"
             "P: * 5 FETCH (UID 6 FLAGS (\\Seen) MODSEQ (\n"
             "P: * 4 FETCH (UID 5 FLAGS (\\Seen) MODSEQ (\n"
             "S: k OK [MESSAGELIMIT 3 5] UID FETCH completed\n",
             modseq, modseq, modseq, modseq, modseq);
    buf_put(&talk, str_from("", 1));
    client_talk(fd, buf_str(&talk).p, AT_ONCE);
    buf_fini(&talk);
    end(&h, fd);
}

static void search_looks_at_the_highest_ones(void **state) /* [RFC9738 3.1] */
{
    struct home h;
    int fd = begin(&h);
    home_flag(&h, h.alice, 1, STORE_FLAGGED);
    home_flag(&h, h.alice, 6, STORE_FLAGGED);
    client_talk(fd,
                "C: n NOOP\nP: * 1 FETCH\nP: * 6 FETCH\nP: n OK\n"
                "C: a UID SEARCH FLAGGED\n"
                "S: * SEARCH 6\n"
                "S: a OK [MESSAGELIMIT 3 5] UID SEARCH completed\n"
                "C: b UID SEARCH UID 1:3 FLAGGED\n" /* three are searched */
                "S: * SEARCH 1\n"
                "S: b OK UID SEARCH completed\n"
                "C: c SEARCH FLAGGED 1:2 UID 2:7\n" /* one is */
                "S: * SEARCH\n"
                "S: c OK SEARCH completed\n"
                "C: d SEARCH RETURN (COUNT MIN) 1:6 SUBJECT x\n"
                "S: * ESEARCH (TAG \"d\") MIN 4 COUNT 3\n"
                "S: d OK [MESSAGELIMIT 3 4] SEARCH completed\n"
                "C: e SEARCH NOT UID 7\n" /* what is below another key counts */
                "S: * SEARCH 5 6\n"
                "S: e OK [MESSAGELIMIT 3 5] SEARCH completed\n"
                "C: f SEARCH UID 1,3,5:6 ALL\n"
                "S: * SEARCH 3 5 6\n"
                "S: f OK [MESSAGELIMIT 3 3] SEARCH completed\n",
                AT_ONCE);
    end(&h, fd);
}

static void what_is_saved_is_cut(void **state) /* [RFC9738 3.4] [RFC5182 2.1] [RFC9051 6.4.4.1] */
{
    struct home h;
    int fd = begin(&h);
    client_talk(fd,
                "C: a UID SEARCH RETURN (SAVE) ALL\n"
                "S: a OK [MESSAGELIMIT 3 5] UID SEARCH completed\n"
                "C: b FETCH $ UID\n"
                "S: * 5 FETCH (UID 5)\n"
                "S: * 6 FETCH (UID 6)\n"
                "S: * 7 FETCH (UID 7)\n"
                "S: b OK FETCH completed\n"
                "C: c SEARCH RETURN (SAVE) UIDBEFORE 3\n"
                "S: c OK SEARCH completed\n"
                "C: d SEARCH RETURN (ALL) $\n"
                "S: * ESEARCH (TAG \"d\") ALL 1:2\n"
                "S: d OK SEARCH completed\n",
                AT_ONCE);
    end(&h, fd);
}

static void uids_after_and_before(void **state) /* [RFC9738 3.2] */
{
    struct home h;
    int fd = begin(&h);
    home_expunge(&h, h.alice, 4);
    client_talk(fd,
                "C: n NOOP\nS: * 4 EXPUNGE\nP: n OK\n"
                "C: a UID SEARCH UIDAFTER 4\nS: * SEARCH 5 6 7\nP: a OK UID\n"
                "C: b UID SEARCH uidbefore 4\nS: * SEARCH 1 2 3\nP: b OK UID\n"
                "C: c UID SEARCH UIDBEFORE 1\nS: * SEARCH\nP: c OK UID\n"
                "C: d UID SEARCH UIDAFTER 7\nS: * SEARCH\nP: d OK UID\n"
                "C: e UID SEARCH UIDAFTER 4294967295\nS: * SEARCH\nP: e OK UID\n"
                "C: f UID SEARCH UIDAFTER 2 UIDBEFORE 6\nS: * SEARCH 3 5\nP: f OK UID\n"
                "C: g UID SEARCH NOT UIDBEFORE 4294967295 UID 1\nS: * SEARCH\nP: g OK UID\n"
                "C: h SEARCH UIDAFTER *\nP: h BAD expected\n"
                "C: i SEARCH UIDBEFORE 0\nP: i BAD expected\n",
                AT_ONCE);
    end(&h, fd);
}

static void store_changes_the_highest_ones(void **state) /* [RFC9738 3.1] */
{
    struct home h;
    int fd = begin(&h);
    client_talk(fd,
                "C: a UID STORE 1:* +FLAGS (\\Seen)\n"
                "S: * 7 FETCH (UID 7 FLAGS (\\Seen))\n"
                "S: * 6 FETCH (UID 6 FLAGS (\\Seen))\n"
                "S: * 5 FETCH (UID 5 FLAGS (\\Seen))\n"
                "S: a OK [MESSAGELIMIT 3 5] UID STORE completed\n"
                "C: b STORE 1,2,4,5 FLAGS.SILENT (\\Flagged)\n"
                "S: b OK [MESSAGELIMIT 3 2] STORE completed\n",
                AT_ONCE);
    assert_int_equal(home_flags(&h, h.alice, 1), 0);
    assert_int_equal(home_flags(&h, h.alice, 2), STORE_FLAGGED);
    assert_int_equal(home_flags(&h, h.alice, 5), STORE_FLAGGED);
    assert_int_equal(home_flags(&h, h.alice, 6), STORE_SEEN);
    end(&h, fd);
}

/* The tagged answer has another code: this one comes by itself. */
static void two_codes_are_two_answers(void **state) /* [RFC9738 3.1] [RFC7162 3.1.3, 3.2.7] */
{
    struct home h;
    int fd = begin(&h);
    client_talk(fd,
                "C: a UID STORE 1:* (UNCHANGEDSINCE 1) +FLAGS (\\Deleted)\n"
                "P: * OK [HIGHESTMODSEQ \n"
                "P: * 7 FETCH (UID 7 FLAGS ()\n"
                "P: * 6 FETCH (UID 6 FLAGS ()\n"
                "P: * 5 FETCH (UID 5 FLAGS ()\n"
                "S: * NO [MESSAGELIMIT 3 5] these are more messages than one command may process\n"
                "P: a OK [MODIFIED 7,6,5] \n"
                "C: b UNSELECT\nP: b OK\nC: c ENABLE QRESYNC\nP: * ENABLED\nP: c OK\n"
                "C: d SELECT INBOX\nP: * FLAGS\nP: * OK [PERM\nS: * 7 EXISTS\nP: * 0 R\n"
                "P: * OK [UNSEEN\nP: * OK [UIDV\nP: * OK [UIDN\nP: * OK [MAILBOXID\n"
                "P: * OK [HIGHESTMODSEQ \nP: d OK\n"
                "C: e UID STORE 1:3 +FLAGS.SILENT (\\Deleted)\n"
                "P: * 1 FETCH\nP: * 2 FETCH\nP: * 3 FETCH\nP: e OK UID\n"
                "C: f UID STORE 6 +FLAGS.SILENT (\\Deleted)\nP: * 6 FETCH\nP: f OK UID\n"
                "C: g UID EXPUNGE 1:*\n"
                "S: * VANISHED 2:3,6\n"
                "P: * NO [MESSAGELIMIT 3 2] \n"
                "P: g OK [HIGHESTMODSEQ \n",
                AT_ONCE);
    end(&h, fd);
}

static void copy_is_all_or_nothing(void **state) /* [RFC9738 3.1] */
{
    struct home h;
    int fd = begin(&h);
    client_talk(fd,
                "C: a CREATE box\nP: a OK\n"
                "C: b UID COPY 1:* box\n"
                "S: b NO [MESSAGELIMIT 3 5] these are more messages than one command may process\n"
                "C: c STATUS box (MESSAGES)\nS: * STATUS box (MESSAGES 0)\nP: c OK\n"
                "C: d COPY 5:7 box\nP: d OK [COPYUID \n"
                "C: e COPY 1:4 nowhere\nP: e NO [TRYCREATE]\n",
                AT_ONCE);
    end(&h, fd);
}

static void move_moves_the_highest_ones(void **state) /* [RFC9738 3.1] */
{
    struct home h;
    int fd = begin(&h);
    client_talk(fd,
                "C: a CREATE box\nP: a OK\n"
                "C: b UID MOVE 2:* box\n"
                "P: * OK [COPYUID \n"
                "S: * 5 EXPUNGE\nS: * 5 EXPUNGE\nS: * 5 EXPUNGE\n"
                "S: b OK [MESSAGELIMIT 3 5] UID MOVE completed\n"
                "C: c UID MOVE 2:* box\n" /* the same again, until there is no code */
                "P: * OK [COPYUID \n"
                "S: * 2 EXPUNGE\nS: * 2 EXPUNGE\nS: * 2 EXPUNGE\n"
                "S: c OK UID MOVE completed\n"
                "C: d STATUS box (MESSAGES)\nS: * STATUS box (MESSAGES 6)\nP: d OK\n",
                AT_ONCE);
    end(&h, fd);
}

/* What is not \Deleted does not count; EXPUNGE, CLOSE and STATUS have no limit. */
static void expunge_has_no_limit_but_uid_expunge(void **state) /* [RFC9738 3.1] */
{
    struct home h;
    int fd = begin(&h);
    client_talk(fd,
                "C: a UID STORE 2,4,5 +FLAGS.SILENT (\\Deleted)\nP: a OK UID\n"
                "C: b UID STORE 6 +FLAGS.SILENT (\\Deleted)\nP: b OK UID\n"
                "C: c STATUS INBOX (MESSAGES UNSEEN)\n"
                "S: * STATUS INBOX (MESSAGES 7 UNSEEN 7)\nP: c OK\n"
                "C: d UID EXPUNGE 1:*\n"
                "S: * 4 EXPUNGE\nS: * 4 EXPUNGE\nS: * 4 EXPUNGE\n"
                "S: d OK [MESSAGELIMIT 3 4] UID EXPUNGE completed\n"
                "C: e UID EXPUNGE 1:*\n"
                "S: * 2 EXPUNGE\nS: e OK UID EXPUNGE completed\n",
                AT_ONCE);
    home_deliver_many(&h, h.alice, STR("Subject: x\r\n\r\nx\r\n"), 9);
    client_talk(fd, "C: f NOOP\nS: * 12 EXISTS\nP: f OK\n", AT_ONCE);
    for (uint32_t uid = 8; uid <= 16; uid++)
        home_flag(&h, h.alice, uid, STORE_DELETED);
    client_talk(fd, "C: g EXPUNGE\n", AT_ONCE);
    for (int i = 0; i < 9; i++)
        client_talk(fd, "S: * 4 EXPUNGE\n", AT_ONCE);
    client_talk(fd,
                "S: g OK EXPUNGE completed\nC: h STORE 1:3 +FLAGS.SILENT (\\Deleted)\nP: h OK\n"
                "C: i CLOSE\nS: i OK CLOSE completed\n"
                "C: j STATUS INBOX (MESSAGES)\nS: * STATUS INBOX (MESSAGES 0)\nP: j OK\n",
                AT_ONCE);
    end(&h, fd);
}

static void sort_and_thread_are_refused(void **state) /* [RFC9738 3.3] */
{
    struct home h;
    int fd = begin(&h);
    client_talk(fd,
                "C: a SORT (ARRIVAL) UTF-8 ALL\n"
                "S: a NO [MESSAGELIMIT 3] these are more messages than one command may process\n"
                "C: b THREAD REFS UTF-8 ALL\n"
                "P: b NO [MESSAGELIMIT 3] \n"
                "C: c SORT (REVERSE ARRIVAL) UTF-8 2:4\nS: * SORT 2 3 4\nP: c OK\n"
                "C: d UID THREAD REFS UTF-8 UIDAFTER 4\nP: * THREAD (\nP: d OK\n",
                AT_ONCE);
    end(&h, fd);
}

/* [RFC9738 3.1] [RFC3502 6.3.11] [RFC9051 6.3.12] */
static void an_append_of_many_is_limited(void **state)
{
    struct home h;
    int fd = begin(&h);
    client_talk(fd,
                "C: a APPEND INBOX {1+}\nC: a {1+}\nC: b {1+}\nC: c\n"
                "S: * 10 EXISTS\nP: a OK [APPENDUID \n"
                "C: b APPEND INBOX {1+}\nC: a {1+}\nC: b {1+}\nC: c {1+}\nC: d\n"
                "S: b NO [MESSAGELIMIT 3] these are more messages than one command may process\n"
                "C: c NOOP\nS: c OK NOOP completed\n",
                AT_ONCE);
    end(&h, fd);
}

static void saving_alone_may_be_limited(void **state) /* [RFC9738 3] */
{
    struct home h;
    home_make(&h);
    h.conf.message_limit = 3;
    h.conf.limits_saving_only = true;
    home_start(&h);
    home_deliver_many(&h, h.alice, STR("Subject: x\r\n\r\nx\r\n"), 4);
    int fd = client_select(&h, "SELECT");
    client_talk(fd,
                "C: a UID COPY 1:* INBOX\nP: a NO [MESSAGELIMIT 3 2] \n"
                "C: b SEARCH ALL\nS: * SEARCH 1 2 3 4\nS: b OK SEARCH completed\n"
                "C: c STORE 1:4 +FLAGS.SILENT (\\Deleted)\nS: c OK STORE completed\n"
                "C: d SORT (ARRIVAL) UTF-8 ALL\nS: * SORT 1 2 3 4\nP: d OK\n"
                "C: e UID EXPUNGE 1:4\n"
                "S: * 1 EXPUNGE\nS: * 1 EXPUNGE\nS: * 1 EXPUNGE\nS: * 1 EXPUNGE\n"
                "S: e OK UID EXPUNGE completed\n",
                AT_ONCE);
    end(&h, fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_limit_is_told),
        cmocka_unit_test(fetch_tells_the_highest_ones_downwards),
        cmocka_unit_test(many_pages_come_downwards),
        cmocka_unit_test(large_summaries_come_downwards),
        cmocka_unit_test(a_partial_of_too_many_is_refused),
        cmocka_unit_test(what_has_not_changed_does_not_count),
        cmocka_unit_test(search_looks_at_the_highest_ones),
        cmocka_unit_test(what_is_saved_is_cut),
        cmocka_unit_test(uids_after_and_before),
        cmocka_unit_test(store_changes_the_highest_ones),
        cmocka_unit_test(two_codes_are_two_answers),
        cmocka_unit_test(copy_is_all_or_nothing),
        cmocka_unit_test(move_moves_the_highest_ones),
        cmocka_unit_test(expunge_has_no_limit_but_uid_expunge),
        cmocka_unit_test(sort_and_thread_are_refused),
        cmocka_unit_test(an_append_of_many_is_limited),
        cmocka_unit_test(saving_alone_may_be_limited),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
