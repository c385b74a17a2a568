/* Clients that come back, and what is gone told by UIDs [RFC7162 3.2] [RFC9586]. In a new account
 * the first message has mod-sequence 2, and each change the next one. */
#include "imap/test_home.h"

#define AT_ONCE    (1 << 20)
#define HIGHEST(n) "S: * OK [HIGHESTMODSEQ " #n "] all is told up to here\n"
#define STATE(exists, modseq)                                                                      \
    "P: * FLAGS\nP: * OK [PERM\nS: * " #exists " EXISTS\nP: * 0 RECENT\nP: * OK [UNSEEN\n"         \
    "P: * OK [UIDVALIDITY %V]\nP: * OK [UIDNEXT\nP: * OK [MAILBOXID (F\n" HIGHEST(modseq)

static struct home *home; /* of the test at hand */

static int set_up(void **state)
{
    home_set_up(state);
    home = *state;
    return 0;
}

static void deliver(struct home *h, size_t n)
{
    home_deliver_many(h, h->alice, STR("Subject: x\r\n\r\nx\r\n"), n);
}

/* client_talk, with the INBOX's UIDVALIDITY for "%V". Nothing is held meanwhile: when an assertion
 * fails, the store has to be closed all the same. */
static void talk(int fd, const char *script)
{
    struct buf text = {.cap = 1 << 16};
    struct inbox in = inbox_open(home->store, home->alice);
    uint32_t uidvalidity = store_root_mailbox(in.root)->uidvalidity;
    inbox_close(&in);
    struct str rest = str_of(script);
    for (ptrdiff_t at; (at = str_find(rest, STR("%V"))) >= 0;
         rest = str_skip(rest, (size_t)at + 2)) {
        buf_put(&text, str_head(rest, (size_t)at));
        buf_putf(&text, "%u", uidvalidity);
    }
    buf_put(&text, rest);
    buf_put(&text, str_from("", 1));
    client_talk(fd, buf_str(&text).p, 1 << 20);
    buf_fini(&text);
}

/* A session that has enabled these. */
static int enabled(struct home *h, const char *names)
{
    struct buf text = {.cap = 200};
    int fd = client_login(h);
    buf_putf(&text, "C: e ENABLE %s\nS: * ENABLED %s\nS: e OK ENABLE completed\n", names, names);
    buf_put(&text, str_from("", 1));
    talk(fd, buf_str(&text).p);
    buf_fini(&text);
    return fd;
}

static void select_inbox(int fd)
{
    char line[CLIENT_LINE];
    client_send(fd, STR("s SELECT INBOX\r\n"));
    while (!str_starts(client_line(fd, line, sizeof line), STR("s OK")))
        assert_true(line[0] == '*');
}

/* --- coming back ------------------------------------------------------------------------------ */

/* Messages 1 to 10 came with 2 to 11; then 3 (12) and 5 (13) go, 7 is flagged (14), 11 comes (15)
 * and 9 goes (16). */
static void live(struct home *h)
{
    deliver(h, 10);
    home_expunge(h, h->alice, 3);
    home_expunge(h, h->alice, 5);
    home_flag(h, h->alice, 7, STORE_FLAGGED);
    deliver(h, 1);
    home_expunge(h, h->alice, 9);
}

static void select_tells_what_was_missed(void **state) /* [RFC7162 3.2.5, 3.2.5.1] */
{
    struct home *h = *state;
    live(h);
    int fd = enabled(h, "QRESYNC");
    talk(
        fd,
        "C: a SELECT INBOX (QRESYNC (%V 11))\n" STATE(
            8,
            16) "S: * VANISHED (EARLIER) 3,5,9\n"
                "S: * 5 FETCH (UID 7 FLAGS (\\Flagged) MODSEQ (14))\n"
                "S: * 8 FETCH (UID 11 FLAGS () MODSEQ (15))\n"
                "P: a OK [READ-WRITE]\n"
                "C: b EXAMINE INBOX (QRESYNC (%V 11 1:4,7:10))\n"
                "P: * OK [CLOSED]\n" STATE(
                    8,
                    16) "S: * VANISHED (EARLIER) 3,9\n"
                        "S: * 5 FETCH (UID 7 FLAGS (\\Flagged) MODSEQ (14))\n"
                        "P: b OK [READ-ONLY]\n"
                        "C: c SELECT INBOX (QRESYNC (%V 14 7:10,1:2))\n"
                        "P: * OK [CLOSED]\n" STATE(
                            8,
                            16) "S: * VANISHED (EARLIER) 9\n"
                                "P: c OK [READ-WRITE]\n"
                                "C: d SELECT INBOX (QRESYNC (%V 16))\n"
                                "P: * OK [CLOSED]\n" STATE(
                                    8,
                                    16) "P: d OK [READ-WRITE]\n"
                                        "C: e SELECT INBOX (QRESYNC (2 5 1:10))\n" /* another
                                                                                      UIDVALIDITY */
                                        "P: * OK [CLOSED]\n" STATE(
                                            8, 16) "P: e OK [READ-WRITE]\n"
                                                   "C: f SELECT INBOX (CONDSTORE QRESYNC (%V 14))\n"
                                                   "P: * OK [CLOSED]\n" STATE(
                                                       8, 16) "S: * VANISHED (EARLIER) 9\n"
                                                              "S: * 8 FETCH (UID 11 FLAGS () "
                                                              "MODSEQ (15))\n"
                                                              "P: f OK [READ-WRITE]\n");
    client_close(h->net, fd);
}

static void what_is_known_by_number_is_not_told(void **state) /* [RFC7162 3.2.5.2] */
{
    struct home *h = *state;
    live(h); /* 1 2 4 6 7 8 10 11 */
    int fd = enabled(h, "QRESYNC");
    talk(
        fd,
        "C: a SELECT INBOX (QRESYNC (%V 11 1:10 (1:3 1:2,4)))\n" STATE(
            8, 16) "S: * VANISHED (EARLIER) 5,9\n"
                   "S: * 5 FETCH (UID 7 FLAGS (\\Flagged) MODSEQ (14))\n"
                   "P: a OK [READ-WRITE]\n"
                   "C: b SELECT INBOX (QRESYNC (%V 14 (1,4,7 1,6,9)))\n"
                   "P: * OK [CLOSED]\n" STATE(
                       8, 16) "S: * VANISHED (EARLIER) 9\n"
                              "S: * 8 FETCH (UID 11 FLAGS () MODSEQ (15))\n"
                              "P: b OK [READ-WRITE]\n"
                              "C: c SELECT INBOX (QRESYNC (%V 14 (1:4000000000 1:4000000000)))\n"
                              "P: * OK [CLOSED]\n" STATE(
                                  8,
                                  16) "S: * VANISHED (EARLIER) 9\n"
                                      "S: * 8 FETCH (UID 11 FLAGS () MODSEQ (15))\n"
                                      "P: c OK [READ-WRITE]\n"
                                      "C: d SELECT INBOX (QRESYNC (%V 11 1:10 (7 10)))\n"
                                      "P: * OK [CLOSED]\n" STATE(
                                          8,
                                          16) "S: * 5 FETCH (UID 7 FLAGS (\\Flagged) MODSEQ (14))\n"
                                              "P: d OK [READ-WRITE]\n");
    client_close(h->net, fd);
}

static void fetch_tells_what_was_missed(void **state) /* [RFC7162 3.2.6] */
{
    struct home *h = *state;
    live(h);
    int fd = enabled(h, "QRESYNC");
    select_inbox(fd);
    talk(fd, "C: a UID FETCH 4:* (FLAGS) (CHANGEDSINCE 11 VANISHED)\n"
             "S: * VANISHED (EARLIER) 5,9\n"
             "S: * 5 FETCH (UID 7 FLAGS (\\Flagged) MODSEQ (14))\n"
             "S: * 8 FETCH (UID 11 FLAGS () MODSEQ (15))\n"
             "S: a OK UID FETCH completed\n"
             "C: b UID FETCH 1:8 (UID) (VANISHED CHANGEDSINCE 12)\n"
             "S: * VANISHED (EARLIER) 5\n"
             "S: * 5 FETCH (UID 7 MODSEQ (14))\n"
             "S: b OK UID FETCH completed\n"
             "C: c UID FETCH 1:* (FLAGS) (CHANGEDSINCE 16 VANISHED)\n"
             "S: c OK UID FETCH completed\n"
             "C: d UID FETCH 1:* (FLAGS) (VANISHED)\n"
             "P: d BAD expected CHANGEDSINCE\n"
             "C: e FETCH 1:* (FLAGS) (CHANGEDSINCE 11 VANISHED)\n"
             "P: e BAD expected UID\n");
    /* What goes while the session looks is no news of earlier times. */
    home_expunge(h, h->alice, 1); /* 17 */
    talk(fd, "C: f UID FETCH 1:5 (FLAGS) (CHANGEDSINCE 11 VANISHED)\n"
             "S: * VANISHED (EARLIER) 3,5\n"
             "S: * VANISHED 1\n"
             "S: f OK [HIGHESTMODSEQ 17] UID FETCH completed\n");
    client_close(h->net, fd);
}

static void nobody_is_told_who_has_not_enabled_it(
    void **state) /* [RFC7162 3.2.3, 3.2.5, 3.2.6] [RFC9051 6.5] */
{
    struct home *h = *state;
    deliver(h, 1);
    int fd = enabled(h, "CONDSTORE");
    talk(fd, "C: a SELECT INBOX (QRESYNC (%V 1))\n"
             "S: a BAD expected ENABLE QRESYNC first\n"
             "C: b NOOP\nS: b OK NOOP completed\n");
    select_inbox(fd);
    talk(fd, "C: c UID FETCH 1:* (FLAGS) (CHANGEDSINCE 1 VANISHED)\n"
             "S: c BAD expected ENABLE QRESYNC first\n");
    home_expunge(h, h->alice, 1);
    talk(fd, "C: d NOOP\nS: * 1 EXPUNGE\nS: d OK NOOP completed\n");
    client_close(h->net, fd);
}

static void what_is_no_knowledge_is_refused(void **state) /* [RFC7162 3.2.5, 7] */
{
    static const char *const wrong[] = {
        "(QRESYNC)",
        "(QRESYNC 1 1)",
        "(QRESYNC (1))",
        "(QRESYNC (0 1))",
        "(QRESYNC (1 x))",
        "(QRESYNC (1 1 *))",
        "(QRESYNC (1 1 1:*))",
        "(QRESYNC (1 1 $))",
        "(QRESYNC (1 1 1:5 ))",
        "(QRESYNC (1 1 1:5 1:5))",
        "(QRESYNC (1 1 1:5 (1:3 1:2)))",
        "(QRESYNC (1 1 1:5 (1:2)))",
        "(QRESYNC (1 1 1:5 (2,1 1:2)))",
        "(QRESYNC (1 1 1:5 (1:2 5,4)))",
        "(QRESYNC (1 1 1:5 (1,1 4,5)))",
        "(QRESYNC (1 1 1:5 (1:* 1:*)))",
        "(QRESYNC (1 1 1:5 (1 1) 1))",
        "(QRESYNC (1 9223372036854775808))",
    };
    struct home *h = *state;
    deliver(h, 1);
    int fd = enabled(h, "QRESYNC");
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct buf text = {.cap = 200};
        buf_putf(&text, "a SELECT INBOX %s\r\n", wrong[i]);
        client_send(fd, buf_str(&text));
        client_expect_line(fd, STR("a BAD expected"));
        talk(fd, "C: b NOOP\nS: b OK NOOP completed\n");
        buf_fini(&text);
    }
    client_close(h->net, fd);
}

/* --- what is gone ----------------------------------------------------------------------------- */

static void expunge_answers_with_vanished(void **state) /* [RFC7162 3.2.7, 3.2.9, 3.2.10] */
{
    struct home *h = *state;
    deliver(h, 9);
    int fd = enabled(h, "QRESYNC");
    select_inbox(fd);
    talk(fd, "C: a UID STORE 2:4,6 +FLAGS.SILENT (\\Deleted)\n"
             "P: * 2 FETCH (UID 2 MOD\nP: * 3 FETCH (UID 3 MOD\n"
             "P: * 4 FETCH (UID 4 MOD\nS: * 6 FETCH (UID 6 MODSEQ (11))\n"
             "S: a OK UID STORE completed\n"
             "C: b UID EXPUNGE 3\n"
             "S: * VANISHED 3\n"
             "S: b OK [HIGHESTMODSEQ 12] UID EXPUNGE completed\n"
             "C: c EXPUNGE\n"
             "S: * VANISHED 2,4,6\n"
             "S: c OK [HIGHESTMODSEQ 13] EXPUNGE completed\n"
             "C: d EXPUNGE\n"
             "S: d OK EXPUNGE completed\n"
             "C: e UID MOVE 7 Archive\n" /* [RFC6851 4.4] */
             "P: * OK [COPYUID \n"
             "S: * VANISHED 7\n"
             "S: e OK [HIGHESTMODSEQ 14] UID MOVE completed\n"
             "C: f STORE 1 +FLAGS (\\Deleted)\n"
             "S: * 1 FETCH (UID 1 FLAGS (\\Deleted) MODSEQ (15))\n"
             "S: f OK STORE completed\n"
             "C: g CLOSE\n" /* [RFC7162 3.2.8] */
             "S: g OK CLOSE completed\n");
    client_close(h->net, fd);
}

/* What the client has not heard of does not vanish for it; but it does hear how far things are. */
/* So a client that adds messages itself can note that it knows of them. */
static void what_is_new_has_its_mod_sequence(void **state) /* [RFC7162 3.2.9] */
{
    struct home *h = *state;
    deliver(h, 1);
    int fd = enabled(h, "QRESYNC");
    select_inbox(fd);
    deliver(h, 2);
    talk(fd, "C: a NOOP\n"
             "S: * 3 EXISTS\n"
             "S: a OK [HIGHESTMODSEQ 4] NOOP completed\n"
             "C: b APPEND INBOX {1+}\n"
             "C: x\n"
             "S: * 4 EXISTS\n"
             "P: * OK [HIGHESTMODSEQ 5] \n"
             "P: b OK [APPENDUID \n"
             "C: c NOOP\n"
             "S: c OK NOOP completed\n");
    client_close(h->net, fd);
}

static void vanished_names_only_what_was_told(void **state) /* [RFC7162 3.2.7, 3.2.10.2] */
{
    struct home *h = *state;
    deliver(h, 2);
    int fd = enabled(h, "QRESYNC"), other = client_login(h);
    select_inbox(fd);
    deliver(h, 1);
    home_flag(h, h->alice, 3, STORE_DELETED);
    talk(fd, "C: a EXPUNGE\nS: a OK [HIGHESTMODSEQ 6] EXPUNGE completed\n");
    deliver(h, 1); /* 4, with 7 */
    home_expunge(h, h->alice, 1);
    home_expunge(h, h->alice, 4);
    home_flag(h, h->alice, 2, STORE_SEEN);
    talk(fd, "C: b NOOP\n"
             "S: * VANISHED 1\n"
             "S: * 1 FETCH (UID 2 FLAGS (\\Seen) MODSEQ (10))\n"
             "S: b OK [HIGHESTMODSEQ 10] NOOP completed\n");
    client_close(h->net, other);
    client_close(h->net, fd);
}

/* Where what is gone may not be told, a client that is cut off must not believe that it has heard
 * all [RFC7162 3.2, 3.2.10.2]. */
static void what_is_kept_back_is_not_lost(void **state)
{
    struct home *h = *state;
    deliver(h, 4); /* 2 to 5 */
    int fd = enabled(h, "QRESYNC");
    select_inbox(fd);
    home_expunge(h, h->alice, 2); /* 6 */
    talk(fd, "C: a STORE 1 +FLAGS (\\Seen)\n"
             "S: * 1 FETCH (UID 1 FLAGS (\\Seen) MODSEQ (7))\n"
             "S: a OK [HIGHESTMODSEQ 5] STORE completed\n"
             "C: b STORE 1,4 (UNCHANGEDSINCE 6) +FLAGS (\\Seen)\n"
             "S: * 1 FETCH (UID 1 FLAGS (\\Seen) MODSEQ (7))\n"
             "S: * 4 FETCH (UID 4 FLAGS (\\Seen) MODSEQ (8))\n" HIGHEST(
                 5) "P: b OK [MODIFIED 1] \n"
                    "C: c FETCH 3 (MODSEQ)\n"
                    "S: * 3 FETCH (MODSEQ (4))\n"
                    "S: c OK [HIGHESTMODSEQ 5] FETCH completed\n"
                    "C: d UID SEARCH 1:4\n" /* it means numbers */
                    "S: * SEARCH 1 2 3 4\n"
                    "S: d OK [HIGHESTMODSEQ 5] UID SEARCH completed\n"
                    "C: e UID SEARCH UID 1:4\n"
                    "S: * SEARCH 1 2 3 4\n"
                    "S: * VANISHED 2\n"
                    "S: e OK [HIGHESTMODSEQ 8] UID SEARCH completed\n"
                    "C: f FETCH 3 (MODSEQ)\n"
                    "S: * 3 FETCH (MODSEQ (8))\n"
                    "S: f OK FETCH completed\n");
    client_close(h->net, fd);
}

static void idle_tells_what_has_vanished(void **state)
{
    struct home *h = *state;
    deliver(h, 3);
    int fd = enabled(h, "QRESYNC");
    select_inbox(fd);
    talk(fd, "C: a IDLE\nP: + \n");
    home_expunge(h, h->alice, 2);
    talk(fd, "S: * VANISHED 2\n");
    home_flag(h, h->alice, 3, STORE_SEEN);
    talk(fd, "S: * 2 FETCH (UID 3 FLAGS (\\Seen) MODSEQ (6))\n"
             "C: DONE\n"
             "S: a OK [HIGHESTMODSEQ 6] IDLE completed\n");
    client_close(h->net, fd);
}

/* --- a log that does not reach back ----------------------------------------------------------- */

/* All that is not there is told, and it is right [RFC7162 3.2.6, 5.3]. */
static void without_a_log_all_that_is_missing_is_told(void **state)
{
    struct home *h = *state;
    bool more = true;
    live(h); /* 1 2 4 6 7 8 10 11 */
    struct store_account *a;
    assert_rc(store_account_open(h->store, h->alice, 0, &a), RC_OK);
    while (more)
        assert_rc(store_maintain(a, &more), RC_OK);
    store_account_close(&a);
    deliver(h, 1); /* 12 */
    home_expunge(h, h->alice, 12);
    int fd = enabled(h, "QRESYNC");
    talk(
        fd,
        "C: a SELECT INBOX (QRESYNC (%V 14))\n" STATE(
            8,
            18) "S: * VANISHED (EARLIER) 3,5,9,12\n"
                "S: * 8 FETCH (UID 11 FLAGS () MODSEQ (15))\n"
                "P: a OK [READ-WRITE]\n"
                "C: b SELECT INBOX (QRESYNC (%V 14 2:8,20:30 (1:4 1,2,4,6)))\n"
                "P: * OK [CLOSED]\n" STATE(
                    8,
                    18) "P: b OK [READ-WRITE]\n"
                        "C: c SELECT INBOX (QRESYNC (%V 14 5:6,9,1:3))\n"
                        "P: * OK [CLOSED]\n" STATE(
                            8,
                            18) "S: * VANISHED (EARLIER) 3,5,9\n"
                                "P: c OK [READ-WRITE]\n"
                                "C: d UID FETCH 4:* (UID) (CHANGEDSINCE 15 VANISHED)\n"
                                "S: * VANISHED (EARLIER) 5,9,12\n"
                                "S: d OK UID FETCH completed\n"
                                "C: e UID FETCH 1:* (UID) (CHANGEDSINCE 17 VANISHED)\n" /* the log
                                                                                           has it */
                                "S: * VANISHED (EARLIER) 12\n"
                                "S: e OK UID FETCH completed\n");
    client_close(h->net, fd);
}

static int set_up_forgetful(void **state)
{
    *state = home = mem_zero(sizeof *home);
    home_make(home);
    store_close(&home->store);
    assert_rc(store_open(&home->ctx, home->kv, &(struct store_conf){.changes_ns = 1}, &home->store),
              RC_OK);
    home->conf.store = home->store;
    home_start(home);
    return 0;
}

/* --- only UIDs -------------------------------------------------------------------------------- */

static void no_number_is_told_or_taken(void **state) /* [RFC9586 3, 3.2, 3.3, 3.4, 3.5, 3.6] */
{
    struct home *h = *state;
    deliver(h, 5);
    home_expunge(h, h->alice, 1);
    int fd = enabled(h, "UIDONLY");
    talk(fd, "C: a SELECT INBOX\n"
             "P: * FLAGS\nP: * OK [PERM\nS: * 4 EXISTS\nS: * 0 RECENT\n"
             "P: * OK [UIDVALIDITY\nP: * OK [UIDNEXT\nP: * OK [MAILBOXID (F\nP: a OK [READ-WRITE]\n"
             "C: b FETCH 1 FLAGS\nP: b BAD [UIDREQUIRED] \n"
             "C: c STORE 1 FLAGS ()\nP: c BAD [UIDREQUIRED] \n"
             "C: d SEARCH ALL\nP: d BAD [UIDREQUIRED] \n"
             "C: e COPY 1 Archive\nP: e BAD [UIDREQUIRED] \n"
             "C: f MOVE 1 Archive\nP: f BAD [UIDREQUIRED] \n"
             "C: g UID SEARCH 1:3\nP: g BAD [UIDREQUIRED] \n"
             "C: h UID SEARCH OR UID 2 NOT ALL\n"
             "S: * SEARCH 2\n"
             "S: h OK UID SEARCH completed\n"
             "C: i UID FETCH 2:3 FLAGS\n"
             "S: * 2 UIDFETCH (FLAGS ())\n"
             "S: * 3 UIDFETCH (FLAGS ())\n"
             "S: i OK UID FETCH completed\n"
             "C: j UID FETCH 3 (FLAGS UID)\n"
             "S: * 3 UIDFETCH (FLAGS () UID 3)\n"
             "S: j OK UID FETCH completed\n"
             "C: k UID FETCH 3 BODY[TEXT]\n"
             "S: * 3 UIDFETCH (BODY[TEXT] {3}\n"
             "S: x\n"
             "S:  FLAGS (\\Seen))\n"
             "S: k OK UID FETCH completed\n"
             "C: l UID STORE 2 +FLAGS (\\Deleted)\n"
             "S: * 2 UIDFETCH (FLAGS (\\Deleted))\n"
             "S: l OK UID STORE completed\n"
             "C: m EXPUNGE\n"
             "S: * VANISHED 2\n"
             "S: m OK EXPUNGE completed\n"
             "C: n UID MOVE 3 Archive\n"
             "P: * OK [COPYUID \n"
             "S: * VANISHED 3\n"
             "S: n OK UID MOVE completed\n");
    home_flag(h, h->alice, 5, STORE_FLAGGED);
    deliver(h, 1);
    talk(fd, "C: o NOOP\n"
             "S: * 5 UIDFETCH (FLAGS (\\Flagged))\n"
             "S: * 3 EXISTS\n"
             "S: o OK NOOP completed\n");
    client_close(h->net, fd);
}

static void only_uids_with_mod_sequences(void **state) /* [RFC9586 3.7] */
{
    struct home *h = *state;
    live(h);
    int fd = enabled(h, "QRESYNC UIDONLY");
    talk(fd, "C: a SELECT INBOX (QRESYNC (%V 11 1:10 (1 1)))\n"
             "P: a BAD [UIDREQUIRED] \n"
             "C: b SELECT INBOX (QRESYNC (%V 11 1:10))\n"
             "P: * FLAGS\nP: * OK [PERM\nS: * 8 EXISTS\nS: * 0 RECENT\n"
             "P: * OK [UIDVALIDITY\nP: * OK [UIDNEXT\nP: * OK [MAILBOXID (F\n" HIGHEST(
                 16) "S: * VANISHED (EARLIER) 3,5,9\n"
                     "S: * 7 UIDFETCH (FLAGS (\\Flagged) MODSEQ (14))\n"
                     "P: b OK [READ-WRITE]\n"
                     "C: c UID STORE 7 (UNCHANGEDSINCE 3) FLAGS ()\n"
                     "S: * 7 UIDFETCH (FLAGS (\\Flagged) MODSEQ (14))\n"
                     "P: c OK [MODIFIED 7] \n"
                     "C: d UID STORE 7 FLAGS.SILENT ()\n"
                     "S: * 7 UIDFETCH (MODSEQ (17))\n"
                     "S: d OK UID STORE completed\n"
                     "C: e UID FETCH 7 BODY[TEXT]\n"
                     "S: * 7 UIDFETCH (BODY[TEXT] {3}\n"
                     "S: x\n"
                     "S:  FLAGS (\\Seen) MODSEQ (18))\n"
                     "S: e OK UID FETCH completed\n");
    client_close(h->net, fd);
}

int main(void)
{
#define EACH(test) cmocka_unit_test_setup_teardown(test, set_up, home_tear_down)
    const struct CMUnitTest tests[] = {
        EACH(select_tells_what_was_missed),
        EACH(what_is_known_by_number_is_not_told),
        EACH(fetch_tells_what_was_missed),
        EACH(nobody_is_told_who_has_not_enabled_it),
        EACH(what_is_no_knowledge_is_refused),
        EACH(expunge_answers_with_vanished),
        EACH(what_is_new_has_its_mod_sequence),
        EACH(vanished_names_only_what_was_told),
        EACH(what_is_kept_back_is_not_lost),
        EACH(idle_tells_what_has_vanished),
        cmocka_unit_test_setup_teardown(without_a_log_all_that_is_missing_is_told, set_up_forgetful,
                                        home_tear_down),
        EACH(no_number_is_told_or_taken),
        EACH(only_uids_with_mod_sequences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
