/* SEARCH by words: what is found, how well it fits, and what that is asked with [RFC6203]. */
#include "imap/search_int.h"
#include "imap/test_home.h"

enum { AT_ONCE = 1 << 20 };

/* --- the grammar ------------------------------------------------------------------------------ */

static void keys_within_are_fuzzy(void **state) /* [RFC6203 3, 7] */
{
    static const char text[] = "SUBJECT a FUZZY (OR NOT FROM b (BODY c SEEN)) TEXT d FUZZY "
                               "FUZZY HEADER X e";
    struct arena arena = {0};
    struct imap_parse p = {.rest = str_of(text), .arena = &arena};
    struct imap_search_program program;
    assert_true(imap_take_search(&p, &program));
    assert_true(program.is_fuzzy);
    assert_int_equal(program.n_texts, 5);
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(program.texts[i]->is_fuzzy, i == 1 || i == 2 || i == 4);
    static const char *const bad[] = {"FUZZY", "FUZZY ", "FUZZY()", "FUZZY x", "NOT FUZZY"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        p = (struct imap_parse){.rest = str_of(bad[i]), .arena = &arena};
        assert_false(imap_take_search(&p, &program));
    }
    arena_fini(&arena);
}

/* --- on the wire ------------------------------------------------------------------------------ */

static const char *const mails[] = {
    "Subject: IMAP break\r\nFrom: Dave Cridland <dave@example.test>\r\n\r\nnothing\r\n",
    "Subject: broken IMAP\r\nX-Note: imap, when breaking\r\n\r\nAn IMAP session breaks.\r\n",
    "Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?= aus Wien\r\n\r\nnothing\r\n",
    "Subject: limap unbreak\r\nFrom: d@ve.example\r\n\r\nnothing\r\n",
    "Subject: long\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
    "Content-Transfer-Encoding: base64\r\n\r\n"
    "SU1BUCBicmVhayBhbmQgaW1hcCBicmVhawrmnKzml6UK\r\n", /* IMAP break and imap break, Han */
};

static int make(struct home *h)
{
    home_make(h);
    home_start(h);
    for (size_t i = 0; i < sizeof mails / sizeof *mails; i++)
        home_deliver(h, h->alice, mails[i]);
    return client_select(h, "SELECT");
}

/* Each word is the beginning of one, in any order; without FUZZY strings are what they are. */
static void words_are_found(void **state)
{
    struct home h;
    int fd = make(&h);
    client_talk(
        fd,
        "C: a SEARCH FUZZY SUBJECT \"imap break\"\nS: * SEARCH 1\nP: a OK\n"
        "C: b SEARCH FUZZY SUBJECT \"IMAP bro\"\nS: * SEARCH 2\nP: b OK\n"
        "C: c SEARCH SUBJECT \"imap\"\nS: * SEARCH 1 2 4\nP: c OK\n"
        "C: d SEARCH FUZZY (SUBJECT \"imap\" NOT SUBJECT \"brok\")\nS: * SEARCH 1\nP: d OK\n"
        "C: e SEARCH FUZZY TEXT \"break imap\"\nS: * SEARCH 1 2 5\nP: e OK\n"
        "C: f SEARCH FUZZY BODY \"break, imap!\"\nS: * SEARCH 2 5\nP: f OK\n"
        "C: g SEARCH BODY \"break imap\"\nS: * SEARCH\nP: g OK\n"
        "C: h SEARCH FUZZY HEADER X-Note \"BREAK imap\"\nS: * SEARCH 2\nP: h OK\n"
        "C: i SEARCH FUZZY FROM \"crid dave\"\nS: * SEARCH 1\nP: i OK\n"
        "C: j SEARCH CHARSET UTF-8 FUZZY SUBJECT {8+}\nC: gr\xc3\xbc\xc3\x9f W\n"
        "S: * SEARCH 3\nP: j OK\n"
        "C: k SEARCH CHARSET UTF-8 FUZZY BODY {6+}\nC: \xe6\x97\xa5\xe6\x9c\xac\n"
        "S: * SEARCH 5\nP: k OK\n"
        "C: l SEARCH FUZZY SUBJECT \"\"\nS: * SEARCH 1 2 3 4 5\nP: l OK\n"
        "C: m SEARCH FUZZY FROM \"@\"\nS: * SEARCH 1 4\nP: m OK\n" /* no word in it */
        "C: n SEARCH FUZZY SEEN\nS: * SEARCH\nP: n OK\n"
        "C: o UID SEARCH RETURN (COUNT) FUZZY 2:3 FUZZY LARGER 1\n"
        "S: * ESEARCH (TAG \"o\") UID COUNT 2\nP: o OK\n"
        "C: p THREAD ORDEREDSUBJECT UTF-8 FUZZY SUBJECT break\n"
        "S: * THREAD (1)\nP: p OK\n",
        AT_ONCE);
    client_close(h.net, fd);
    home_end(&h);
}

/* [RFC6203 4, 6]: in the order of what is told, the best first in a SORT. */
static void scores_are_told(void **state)
{
    struct home h;
    int fd = make(&h);
    client_talk(
        fd,
        "C: a SEARCH RETURN (RELEVANCY ALL) FUZZY TEXT \"imap break\"\n"
        "S: * ESEARCH (TAG \"a\") ALL 1:2,5 RELEVANCY (80 22 82)\nP: a OK\n"
        "C: b SORT RETURN (RELEVANCY ALL) (RELEVANCY) UTF-8 FUZZY TEXT \"imap break\"\n"
        "S: * ESEARCH (TAG \"b\") ALL 5,1:2 RELEVANCY (82 80 22)\nP: b OK\n"
        "C: c UID SORT (REVERSE RELEVANCY) UTF-8 FUZZY TEXT \"imap break\"\n"
        "S: * SORT 2 1 5\nP: c OK\n"
        "C: d SORT RETURN (PARTIAL 1:2 RELEVANCY) (RELEVANCY) UTF-8 FUZZY TEXT \"imap break\"\n"
        "S: * ESEARCH (TAG \"d\") PARTIAL (1:2 5,1) RELEVANCY (82 80)\nP: d OK\n"
        "C: e SEARCH RETURN (RELEVANCY) FUZZY SUBJECT nowhere\n"
        "S: * ESEARCH (TAG \"e\") RELEVANCY ()\nP: e OK\n"
        "C: f SEARCH RETURN (COUNT RELEVANCY) OR 3 FUZZY SUBJECT br\n"
        "S: * ESEARCH (TAG \"f\") COUNT 3 RELEVANCY (41 41 100)\nP: f OK\n"
        "C: g SEARCH RETURN (RELEVANCY ALL) TEXT imap\n"
        "S: g BAD expected FUZZY keys with RELEVANCY\n"
        "C: h SORT (RELEVANCY) UTF-8 TEXT imap\n"
        "S: h BAD expected FUZZY keys with RELEVANCY\n"
        "C: i ESEARCH IN (inboxes) RETURN (RELEVANCY ALL) FUZZY SUBJECT break\n",
        AT_ONCE);
    client_expect_line(fd, STR("* ESEARCH (TAG \"i\" MAILBOX INBOX UIDVALIDITY "));
    client_talk(fd,
                "P: i OK\n"
                "C: j SORT RETURN (UPDATE COUNT) (RELEVANCY) UTF-8 FUZZY TEXT \"imap break\"\n"
                "P: * NO [NOUPDATE \"j\"] \n"
                "S: * ESEARCH (TAG \"j\") COUNT 3\nP: j OK\n"
                "C: k UID SEARCH RETURN (UPDATE COUNT) FUZZY TEXT \"imap break\" UNSEEN\n"
                "S: * ESEARCH (TAG \"k\") UID COUNT 3\nP: k OK\n"
                "C: l STORE 2 +FLAGS.SILENT (\\Seen)\n"
                "S: * ESEARCH (TAG \"k\") UID REMOVEFROM (0 2)\nP: l OK\n",
                AT_ONCE);
    home_deliver(&h, h.alice, "Subject: breaking\r\n\r\nIMAP\r\n");
    client_talk(fd, "C: m NOOP\nS: * 6 EXISTS\nS: * ESEARCH (TAG \"k\") UID ADDTO (0 6)\nP: m OK\n",
                AT_ONCE);
    client_close(h.net, fd);
    home_end(&h);
}

/* Very long words, and many of them, as [RFC6203 8] warns. */
static void long_strings_are_looked_for(void **state)
{
    struct home h;
    int fd = make(&h);
    struct buf talk = {.cap = 1 << 20}, mail = {.cap = 1 << 20};
    buf_put(&mail, STR("Subject: x\r\n\r\n"));
    for (int i = 0; i < 100000; i++)
        buf_put(&mail, STR("ab"));
    for (int i = 0; i < 100; i++)
        buf_putf(&mail, " w%d", i);
    buf_put(&mail, STR("\r\n"));
    home_deliver_many(&h, h.alice, buf_str(&mail), 1);
    buf_put(&talk, STR("a SEARCH FUZZY BODY \""));
    for (int i = 0; i < 300; i++)
        buf_put(&talk, STR("ab"));
    buf_put(&talk, STR("\"\r\nb SEARCH FUZZY BODY \""));
    for (int i = 0; i < 100; i++)
        buf_putf(&talk, "w%d ", i);
    buf_put(&talk, STR("\"\r\n"));
    client_talk(fd, "C: n NOOP\nS: * 6 EXISTS\nP: n OK\n", AT_ONCE);
    client_send(fd, buf_str(&talk));
    client_talk(fd, "S: * SEARCH 6\nP: a OK\n", AT_ONCE);
    client_talk(fd, "S: * SEARCH 6\nP: b OK\n", AT_ONCE);
    buf_fini(&talk);
    buf_fini(&mail);
    client_close(h.net, fd);
    home_end(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_within_are_fuzzy),
        cmocka_unit_test(words_are_found),
        cmocka_unit_test(scores_are_told),
        cmocka_unit_test(long_strings_are_looked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
