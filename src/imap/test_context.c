/* Contexts: sets and lists as they are kept, and what the client is told [RFC5267 4]. */
#include "imap/context_int.h"
#include "imap/test_home.h"

#include <stdlib.h>
#include <string.h>

enum { AT_ONCE = 1 << 20 };

/* --- sets ------------------------------------------------------------------------------------- */

enum { MOST = 64 };

static struct imap_uids set_of(uint64_t bits)
{
    struct imap_uids u = {0};
    for (uint32_t i = 0; i < MOST; i++)
        if (bits >> i & 1)
            imap_uids_add(&u, i + 1, i + 1);
    return u;
}

static void assert_set(const struct imap_uids *u, uint64_t bits)
{
    size_t n = 0;
    for (uint32_t i = 0; i < MOST; i++) {
        assert_int_equal(imap_uids_have(u, i + 1), bits >> i & 1);
        n += bits >> i & 1 && (!i || !(bits >> (i - 1) & 1));
    }
    assert_int_equal(u->n, n); /* neighbours are one range */
    assert_false(imap_uids_have(u, MOST + 1));
}

static uint64_t some_bits(unsigned *seed)
{
    uint64_t bits =
        (uint64_t)rand_r(seed) << 33 ^ (uint64_t)rand_r(seed) << 11 ^ (uint64_t)rand_r(seed);
    return rand_r(seed) % 2 ? bits & bits << 7 : bits | bits >> 5;
}

static void sets_are_what_they_say(void **state)
{
    unsigned seed = 5267;
    for (int round = 0; round < 2000; round++) {
        uint64_t a = some_bits(&seed), b = some_bits(&seed);
        struct imap_uids u = set_of(a), v = set_of(b);
        assert_set(&u, a);
        imap_uids_unite(&u, &v);
        assert_set(&u, a | b);
        imap_uids_fini(&u);
        u = set_of(a);
        imap_uids_subtract(&u, &v);
        assert_set(&u, a & ~b);
        imap_uids_fini(&u);
        imap_uids_fini(&v);
    }
}

/* --- keys ------------------------------------------------------------------------------------- */

static struct str take_key(const char *order, uint32_t uid, uint64_t size, const char *subject,
                           struct buf *out)
{
    struct imap_parse p = {.rest = str_of(order)};
    struct imap_sort_order parsed;
    struct str values[IMAP_SORT_FIELDS] = {{0}};
    struct store_row row = {.uid = uid, .size = size};
    assert_true(imap_take_sort_order(&p, &parsed));
    values[IMAP_SORT_SUBJECT - IMAP_SEARCH_FIELDS] = str_of(subject);
    buf_clear(out);
    out->cap = 1000;
    imap_sort_key(&parsed, &row, values, out);
    return buf_str(out);
}

/* In each order the one comes before the other [RFC5256 3]. */
static void keys_are_in_order(void **state)
{
    static const struct {
        const char *order;
        uint32_t uid[2];
        uint64_t size[2];
        const char *subject[2];
    } pairs[] = {
        {"(SIZE) ", {9, 1}, {1, 256}, {"", ""}},
        {"(REVERSE SIZE) ", {9, 1}, {256, 1}, {"", ""}},
        {"(SIZE) ", {1, 2}, {7, 7}, {"", ""}},
        {"(REVERSE SIZE) ", {1, 2}, {7, 7}, {"", ""}}, /* ties are not turned */
        {"(SUBJECT) ", {9, 1}, {1, 1}, {"a", "ab"}},
        {"(REVERSE SUBJECT) ", {9, 1}, {1, 1}, {"ab", "a"}},
        {"(SUBJECT SIZE) ", {9, 1}, {1, 2}, {"a", "a"}},
        {"(SUBJECT REVERSE SIZE) ", {9, 1}, {2, 1}, {"a", "a"}},
        {"(REVERSE SUBJECT SIZE) ", {9, 1}, {1, 2}, {"a", "a"}},
        {"(SUBJECT SIZE) ", {9, 1}, {9, 1}, {"", "\x01"}},
    };
    struct buf a = {0}, b = {0};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        struct imap_sorted s = {0};
        struct str first =
            take_key(pairs[i].order, pairs[i].uid[0], pairs[i].size[0], pairs[i].subject[0], &a);
        struct str second =
            take_key(pairs[i].order, pairs[i].uid[1], pairs[i].size[1], pairs[i].subject[1], &b);
        imap_sorted_add(&s, 2, second);
        imap_sorted_add(&s, 1, first);
        imap_sorted_sort(&s);
        assert_int_equal(s.at[0].uid, 1);
        assert_int_equal(imap_sorted_place(&s, first), 0);
        assert_int_equal(imap_sorted_place(&s, second), 1);
        imap_sorted_fini(&s);
    }
    buf_fini(&a);
    buf_fini(&b);
}

/* --- what is told ----------------------------------------------------------------------------- */

static void changes_are_short(void **state) /* [RFC5267 3.2, 4.3.3] */
{
    struct buf out = {.cap = 1 << 20};
    struct imap_told_set t = {.out = &out, .head = STR("* X (")};
    imap_told_put(&t, 0, (struct imap_range){4, 6}, false);
    imap_told_put(&t, 0, (struct imap_range){7, 7}, false);
    imap_told_put(&t, 0, (struct imap_range){9, 9}, false);
    imap_told_end(&t);
    imap_told_put(&t, 3, (struct imap_range){4, 4}, true);
    imap_told_put(&t, 4, (struct imap_range){3, 3}, false);
    imap_told_put(&t, 9, (struct imap_range){4, 4}, true);
    imap_told_end(&t);
    imap_told_end(&t);
    assert_str(buf_str(&out), "* X (0 4:7,9)\r\n* X (3 4,3 9 4)\r\n");
    buf_clear(&out);
    for (uint32_t i = 0; i < 1001; i++)
        imap_told_put(&t, i + 5, (struct imap_range){2 * i + 1, 2 * i + 1}, !i);
    imap_told_end(&t);
    struct str rest = buf_str(&out), line;
    assert_true(str_cut(&rest, '\n', &line) && str_starts(line, STR("* X (5 1,3,5,")));
    assert_true(str_ends(line, STR(",999)\r")));
    assert_true(str_cut(&rest, '\n', &line) && str_starts(line, STR("* X (505 1001,1003,")));
    assert_true(str_cut(&rest, '\n', &line) && str_starts(line, STR("* X (1005 2001)\r")));
    assert_int_equal(rest.n, 0);
    buf_fini(&out);
}

/* --- on the wire ------------------------------------------------------------------------------ */

static void make(struct home *h)
{
    home_make(h);
    home_start(h);
    for (int i = 0; i < 5; i++)
        home_deliver(h, h->alice, "Subject: old\r\n\r\nold\r\n");
}

/* Numbers that hold: before the expunge of what goes, behind the EXISTS of what comes
 * [RFC5267 4.3.3, 4.3.4]; whatever RETURN names besides [RFC5267 4.3]. */
static void results_are_told_as_they_change(void **state)
{
    struct home h;
    make(&h);
    home_flag(&h, h.alice, 2, STORE_SEEN);
    int fd = client_select(&h, "SELECT");
    client_talk(fd,
                "C: u SEARCH RETURN (UPDATE COUNT) UNSEEN\n"
                "S: * ESEARCH (TAG \"u\") COUNT 4\n"
                "S: u OK SEARCH completed\n"
                "C: v UID SEARCH RETURN (CONTEXT UPDATE MIN) SUBJECT new\n"
                "S: * ESEARCH (TAG \"v\") UID\n"
                "S: v OK UID SEARCH completed\n"
                "C: w UID SEARCH RETURN (UPDATE) UNDELETED FLAGGED\n"
                "S: * ESEARCH (TAG \"w\") UID\n"
                "S: w OK UID SEARCH completed\n"
                "C: u UID SEARCH RETURN (UPDATE) ALL\n" /* [RFC5267 4.3] */
                "S: u BAD a search of this tag is still kept up to date\n"
                "C: a STORE 1:2 FLAGS (\\Flagged)\n" /* one becomes a result, one is unseen again */
                "S: * 1 FETCH (FLAGS (\\Flagged))\n"
                "S: * 2 FETCH (FLAGS (\\Flagged))\n"
                "S: * ESEARCH (TAG \"u\") ADDTO (0 2)\n"
                "S: * ESEARCH (TAG \"w\") UID ADDTO (0 1:2)\n"
                "S: a OK STORE completed\n",
                AT_ONCE);
    home_deliver(&h, h.alice, "Subject: New\r\n\r\nx\r\n");
    home_expunge(&h, h.alice, 1);
    home_flag(&h, h.alice, 3, STORE_SEEN);
    client_talk(fd,
                "C: b NOOP\n"
                "S: * ESEARCH (TAG \"u\") REMOVEFROM (0 1,3)\n"
                "S: * ESEARCH (TAG \"w\") UID REMOVEFROM (0 1)\n"
                "S: * 1 EXPUNGE\n"
                "S: * 2 FETCH (FLAGS (\\Seen))\n"
                "S: * 5 EXISTS\n"
                "S: * ESEARCH (TAG \"u\") ADDTO (0 5)\n"
                "S: * ESEARCH (TAG \"v\") UID ADDTO (0 6)\n"
                "S: b OK NOOP completed\n"
                "C: c CANCELUPDATE \"u\" \"nobody\" \"w\"\n" /* [RFC5267 4.3.5] */
                "S: c OK CANCELUPDATE completed\n"
                "C: u SEARCH RETURN (UPDATE ALL) DELETED\n"
                "S: * ESEARCH (TAG \"u\")\n"
                "S: u OK SEARCH completed\n"
                "C: d STORE 5 +FLAGS.SILENT (\\Deleted)\n"
                "S: * ESEARCH (TAG \"u\") ADDTO (0 5)\n"
                "S: d OK STORE completed\n"
                "C: e EXPUNGE\n"
                "S: * ESEARCH (TAG \"v\") UID REMOVEFROM (0 6)\n"
                "S: * ESEARCH (TAG \"u\") REMOVEFROM (0 5)\n"
                "S: * 5 EXPUNGE\n"
                "S: e OK EXPUNGE completed\n"
                "C: f CANCELUPDATE u\nS: f BAD expected a tag in quotes\n"
                "C: g CANCELUPDATE\nP: g BAD \n"
                "C: h CANCELUPDATE \"u\" x\nP: h BAD \n"
                "C: i UNSELECT\nS: i OK UNSELECT completed\n"
                "C: j CANCELUPDATE \"u\"\nS: j BAD select a mailbox first\n",
                AT_ONCE);
    client_close(h.net, fd);
    home_end(&h);
}

/* In IDLE at once; what is expunged waits for where it may be told. */
static void idle_tells_results(void **state)
{
    struct home h;
    make(&h);
    int fd = client_select(&h, "SELECT");
    client_talk(fd,
                "C: u UID SEARCH RETURN (UPDATE) BODY old KEYWORD $Work\n"
                "S: * ESEARCH (TAG \"u\") UID\nP: u OK\n"
                "C: v SEARCH RETURN (UPDATE) 2:4\n"
                "S: * ESEARCH (TAG \"v\")\nP: v OK\n"
                "C: w UID SEARCH RETURN (UPDATE) UID 2:3,5:*\n"
                "S: * ESEARCH (TAG \"w\") UID\nP: w OK\n"
                "C: i IDLE\nP: + \n",
                AT_ONCE);
    int other = client_select(&h, "SELECT");
    client_talk(other, "C: a STORE 2 +FLAGS.SILENT ($Work)\nP: * FLAGS\nP: * OK [PERM\nP: a OK\n",
                AT_ONCE);
    client_talk(fd,
                "P: * FLAGS\nP: * OK [PERM\n"
                "S: * 2 FETCH (FLAGS ($Work))\n"
                "S: * ESEARCH (TAG \"u\") UID ADDTO (0 2)\n",
                AT_ONCE);
    home_deliver(&h, h.alice, "Subject: New\r\n\r\nx\r\n");
    client_talk(fd, "S: * 6 EXISTS\nS: * ESEARCH (TAG \"w\") UID ADDTO (0 6)\n", AT_ONCE);
    home_expunge(&h, h.alice, 2);
    client_talk(fd,
                "S: * ESEARCH (TAG \"u\") UID REMOVEFROM (0 2)\n"
                "S: * ESEARCH (TAG \"v\") REMOVEFROM (0 2)\n"
                "S: * ESEARCH (TAG \"w\") UID REMOVEFROM (0 2)\n"
                "S: * 2 EXPUNGE\n"
                "C: DONE\nP: i OK\n",
                AT_ONCE);
    home_expunge(&h, h.alice, 3);
    client_talk(fd, "C: a FETCH 2 (UID)\nS: * 2 FETCH (UID 3)\nP: a OK\n", AT_ONCE);
    client_talk(fd,
                "C: b NOOP\n"
                "S: * ESEARCH (TAG \"v\") REMOVEFROM (0 2)\n"
                "S: * ESEARCH (TAG \"w\") UID REMOVEFROM (0 3)\n"
                "S: * 2 EXPUNGE\nP: b OK\n",
                AT_ONCE);
    client_close(h.net, fd);
    client_close(h.net, other);
    home_end(&h);
}

/* Positions in the order that was asked for [RFC5267 4.3.3, 4.3.4]. */
static void sorted_results_have_places(void **state)
{
    static const char *const subjects[] = {"b", "d", "a", "c"};
    struct home h;
    struct buf text = {.cap = 1000};
    home_make(&h);
    home_start(&h);
    for (size_t i = 0; i < 4; i++) {
        buf_clear(&text);
        buf_putf(&text, "Subject: %s\r\n\r\nx\r\n", subjects[i]);
        home_deliver_many(&h, h.alice, buf_str(&text), 1);
    }
    int fd = client_select(&h, "SELECT");
    client_talk(fd,
                "C: u UID SORT RETURN (UPDATE ALL) (SUBJECT) UTF-8 UNSEEN\n"
                "S: * ESEARCH (TAG \"u\") UID ALL 3,1,4,2\nP: u OK\n"
                "C: v SORT RETURN (UPDATE ALL) (REVERSE SUBJECT) UTF-8 UNSEEN\n"
                "S: * ESEARCH (TAG \"v\") ALL 2,4,1,3\nP: v OK\n"
                "C: a STORE 1,4 +FLAGS.SILENT (\\Seen)\n"
                "S: * ESEARCH (TAG \"u\") UID REMOVEFROM (2 1,4)\n"
                "S: * ESEARCH (TAG \"v\") REMOVEFROM (2 4,1)\n"
                "P: a OK\n"
                "C: b STORE 1 -FLAGS.SILENT (\\Seen)\n"
                "S: * ESEARCH (TAG \"u\") UID ADDTO (2 1)\n"
                "S: * ESEARCH (TAG \"v\") ADDTO (2 1)\n"
                "P: b OK\n",
                AT_ONCE);
    home_deliver(&h, h.alice, "Subject: Re: b\r\n\r\nx\r\n");
    home_deliver(&h, h.alice, "Subject: A\r\n\r\nx\r\n");
    home_deliver(&h, h.alice, "Subject: e\r\n\r\nx\r\n");
    home_expunge(&h, h.alice, 3);
    client_talk(fd,
                "C: c NOOP\n"
                "S: * ESEARCH (TAG \"u\") UID REMOVEFROM (1 3)\n"
                "S: * ESEARCH (TAG \"v\") REMOVEFROM (3 3)\n"
                "S: * 3 EXPUNGE\n"
                "S: * 6 EXISTS\n"
                "S: * ESEARCH (TAG \"u\") UID ADDTO (1 6 3 5 5 7)\n"
                "S: * ESEARCH (TAG \"v\") ADDTO (1 6 4 4:5)\n"
                "P: c OK\n"
                "C: d UID SORT RETURN (ALL) (SUBJECT) UTF-8 UNSEEN\n"
                "S: * ESEARCH (TAG \"d\") UID ALL 6,1,5,2,7\nP: d OK\n",
                AT_ONCE);
    buf_fini(&text);
    client_close(h.net, fd);
    home_end(&h);
}

/* So many and no more; the search itself is answered all the same [RFC5267 4.3.1]. What changes
 * without a change of the mailbox is not told. */
static void refusals_are_told(void **state)
{
    struct home h;
    home_make(&h);
    h.conf.contexts = 2;
    home_start(&h);
    home_deliver(&h, h.alice, "Subject: old\r\n\r\nold\r\n");
    int fd = client_select(&h, "SELECT");
    client_talk(fd,
                "C: a SEARCH RETURN (UPDATE) YOUNGER 3600\n"
                "P: * NO [NOUPDATE \"a\"] \n"
                "S: * ESEARCH (TAG \"a\")\nP: a OK\n"
                "C: b UID SEARCH RETURN (UPDATE COUNT) UID 5:*\n"
                "P: * NO [NOUPDATE \"b\"] \n"
                "S: * ESEARCH (TAG \"b\") UID COUNT 1\nP: b OK\n"
                "C: c UID SEARCH RETURN (UPDATE COUNT) UID 1:*\n"
                "S: * ESEARCH (TAG \"c\") UID COUNT 1\nP: c OK\n"
                "C: d UID SORT RETURN (UPDATE COUNT) (ARRIVAL) UTF-8 THREADID T1\n"
                "S: * ESEARCH (TAG \"d\") UID COUNT 1\nP: d OK\n"
                "C: e UID SEARCH RETURN (UPDATE COUNT) ALL\n"
                "P: * NO [NOUPDATE \"e\"] \n"
                "S: * ESEARCH (TAG \"e\") UID COUNT 1\nP: e OK\n"
                "C: f CANCELUPDATE \"d\"\nP: f OK\n"
                "C: g UID SEARCH RETURN (UPDATE COUNT) ALL\n"
                "S: * ESEARCH (TAG \"g\") UID COUNT 1\nP: g OK\n",
                AT_ONCE);
    home_expunge(&h, h.alice, 1); /* "1:*" would be the last message of all */
    client_talk(fd,
                "C: h NOOP\n"
                "P: * NO [NOUPDATE \"c\"] \n"
                "S: * ESEARCH (TAG \"g\") UID REMOVEFROM (0 1)\n"
                "S: * 1 EXPUNGE\nP: h OK\n"
                "C: i UID SEARCH RETURN (UPDATE COUNT) ALL\n"
                "S: * ESEARCH (TAG \"i\") UID COUNT 0\nP: i OK\n",
                AT_ONCE);
    client_close(h.net, fd);
    home_end(&h);
}

/* VANISHED has UIDs; numbers of results that go still come before it. */
static void other_ways_of_telling(void **state)
{
    struct home h;
    make(&h);
    int fd = client_login(&h);
    client_talk(fd,
                "C: e ENABLE QRESYNC IMAP4rev2\nP: * ENABLED \nP: e OK\n"
                "C: s SELECT INBOX\nP: * FL\nP: * OK [PERM\nS: * 5 EXISTS\n",
                AT_ONCE);
    client_until(fd, STR("s OK"));
    client_talk(fd,
                "C: u SEARCH RETURN (UPDATE) UNFLAGGED\nS: * ESEARCH (TAG \"u\")\nP: u OK\n"
                "C: v UID SEARCH RETURN (UPDATE) TEXT old UNFLAGGED\n"
                "S: * ESEARCH (TAG \"v\") UID\nP: v OK\n",
                AT_ONCE);
    home_expunge(&h, h.alice, 2);
    home_flag(&h, h.alice, 3, STORE_FLAGGED);
    client_talk(fd,
                "C: n NOOP\n"
                "S: * ESEARCH (TAG \"u\") REMOVEFROM (0 2:3)\n"
                "S: * ESEARCH (TAG \"v\") UID REMOVEFROM (0 2:3)\n"
                "S: * VANISHED 2\n"
                "P: * 2 FETCH (UID 3 FLAGS (\\Flagged) MODSEQ (\n"
                "P: n OK [HIGHESTMODSEQ\n"
                "C: o ENABLE UIDONLY\nP: o BAD\n",
                AT_ONCE);
    client_close(h.net, fd);
    home_end(&h);
}

/* What is new comes with what was asked of it, between the EXISTS and the ADDTO; what only changed
 * does not [RFC5465 7]. */
static void new_results_come_with_items(void **state)
{
    struct home h;
    make(&h);
    int fd = client_select(&h, "SELECT");
    client_talk(fd,
                "C: u SEARCH RETURN (COUNT UPDATE (UID BODY[HEADER.FIELDS (SUBJECT)])) FLAGGED\n"
                "S: * ESEARCH (TAG \"u\") COUNT 0\nP: u OK\n"
                "C: v UID SORT RETURN (UPDATE(RFC822.SIZE)) (SIZE) UTF-8 SUBJECT new\n"
                "S: * ESEARCH (TAG \"v\") UID\nP: v OK\n"
                "C: a STORE 1 +FLAGS.SILENT (\\Flagged)\n"
                "S: * ESEARCH (TAG \"u\") ADDTO (0 1)\nP: a OK\n"
                "C: b APPEND INBOX (\\Flagged) {14+}\n"
                "C: Subject: new\n"
                "C: \n"
                "S: * 6 EXISTS\n"
                "S: * 6 FETCH (UID 6 BODY[HEADER.FIELDS (SUBJECT)] {16}\n"
                "S: Subject: new\n"
                "S: \n"
                "S: )\n"
                "S: * ESEARCH (TAG \"u\") ADDTO (0 6)\n"
                "S: * 6 FETCH (RFC822.SIZE 14)\n"
                "S: * ESEARCH (TAG \"v\") UID ADDTO (1 6)\n"
                "P: b OK\n"
                "C: c FETCH 6 (FLAGS)\nS: * 6 FETCH (FLAGS (\\Flagged))\nP: c OK\n"
                "C: w SEARCH RETURN (UPDATE (NONE)) ALL\nP: w BAD\n"
                "C: w SEARCH RETURN (UPDATE ()) ALL\nP: w BAD\n"
                "C: w SEARCH RETURN (UPDATE (UID) ALL) DELETED\n"
                "S: * ESEARCH (TAG \"w\")\nP: w OK\n",
                AT_ONCE);
    client_close(h.net, fd);
    home_end(&h);
}

/* A client that goes away while it is being told. */
static void it_can_be_cut_off(void **state)
{
    struct home h;
    struct buf text = {.cap = 8 << 20};
    make(&h);
    buf_put(&text, STR("Subject: x\r\n\r\n"));
    for (int i = 0; i < 300000; i++)
        buf_put(&text, STR("much text"));
    buf_put(&text, STR("\r\n"));
    static const char *const asks[] = {
        "a UID SEARCH RETURN (UPDATE (BODY.PEEK[])) ALL\r\nb IDLE\r\n",
        "a NOTIFY SET (SELECTED (MessageNew (BODY.PEEK[]) MessageExpunge))\r\nb IDLE\r\n",
    };
    for (size_t i = 0; i < 2; i++) {
        int fd = client_select(&h, "SELECT");
        client_send(fd, str_of(asks[i]));
        char line[CLIENT_LINE];
        while (!str_starts(client_line(fd, line, sizeof line), STR("+ ")))
            continue;
        home_deliver_many(&h, h.alice, buf_str(&text), 2);
        client_expect_line(fd, STR("* "));
        client_close(h.net, fd);
    }
    buf_fini(&text);
    home_end(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sets_are_what_they_say),
        cmocka_unit_test(keys_are_in_order),
        cmocka_unit_test(changes_are_short),
        cmocka_unit_test(results_are_told_as_they_change),
        cmocka_unit_test(idle_tells_results),
        cmocka_unit_test(sorted_results_have_places),
        cmocka_unit_test(refusals_are_told),
        cmocka_unit_test(other_ways_of_telling),
        cmocka_unit_test(new_results_come_with_items),
        cmocka_unit_test(it_can_be_cut_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
