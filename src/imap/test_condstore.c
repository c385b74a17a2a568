/* What clients see who know of mod-sequences [RFC7162 3.1]. In a new account the first message has
 * mod-sequence 2, and each change the next one. */
#include "imap/test_home.h"

#define AT_ONCE    (1 << 20)
#define HIGHEST(n) "S: * OK [HIGHESTMODSEQ " #n "] all is told up to here\n"

/* --- enabling --------------------------------------------------------------------------------- */

static void enable_answers_with_what_is_new(void **state) /* [RFC5161 3.1, 3.2] [RFC9051 6.3.1] */
{
    struct home *h = *state;
    int fd = client_login(h);
    client_talk(fd,
                "C: a ENABLE X-UNKNOWN MOVE\n"
                "S: * ENABLED\n"
                "S: a OK ENABLE completed\n"
                "C: b ENABLE condstore X-UNKNOWN CONDSTORE\n"
                "S: * ENABLED CONDSTORE\n"
                "S: b OK ENABLE completed\n"
                "C: c ENABLE CONDSTORE\n"
                "S: * ENABLED\n"
                "S: c OK ENABLE completed\n"
                "C: d ENABLE\n"
                "P: d BAD expected\n"
                "C: e ENABLE QRESYNC UIDONLY\n"
                "S: * ENABLED QRESYNC UIDONLY\n"
                "S: e OK ENABLE completed\n"
                "C: f UNAUTHENTICATE\n" /* [RFC8437 3] */
                "P: f OK\n"
                "C: g LOGIN alice@example.test \"pass word\"\n"
                "P: g OK\n"
                "C: h ENABLE CONDSTORE QRESYNC\n" /* [RFC7162 3.2.3] */
                "S: * ENABLED CONDSTORE QRESYNC\n"
                "S: h OK ENABLE completed\n",
                AT_ONCE);
    client_close(h->net, fd);
}

/* Each of these is one, and the first one tells HIGHESTMODSEQ [RFC7162 3.1, 3.1.2.1]. */
static void many_commands_enable(void **state)
{
    static const char *const talks[] = {
        "C: x FETCH 1 MODSEQ\n" HIGHEST(3) "S: * 1 FETCH (MODSEQ (2))\nS: x OK FETCH completed\n",
        "C: x FETCH 1 (FLAGS) (CHANGEDSINCE 2)\n" HIGHEST(3) "S: x OK FETCH completed\n",
        "C: x STORE 1 (UNCHANGEDSINCE 1) FLAGS (\\Seen)\n" HIGHEST(
            3) "S: * 1 FETCH (UID 1 FLAGS () MODSEQ (2))\nP: x OK [MODIFIED 1] \n",
        "C: x STATUS INBOX (HIGHESTMODSEQ)\n" HIGHEST(
            3) "S: * STATUS INBOX (HIGHESTMODSEQ 3)\nS: x OK STATUS completed\n",
        "C: x SEARCH MODSEQ 3\n" HIGHEST(3) "S: * SEARCH 2 (MODSEQ 3)\nS: x OK SEARCH completed\n",
        "C: w SELECT INBOX (CONDSTORE)\nP: * OK [CLOSED] \nP: * FLAGS\nP: * OK [PERM\n"
        "P: * 2 EX\nP: * 0 R\nP: * OK [UNSEEN 1]\nP: * OK [UIDV\nP: * OK [UIDN\nP: * OK [MAILBOXID "
        "(F\n" HIGHEST(3) "P: w OK [READ-WRITE]\nC: x NOOP\nS: x OK NOOP completed\n",
    };
    struct home *h = *state;
    close(client_with_messages(h, 2));
    for (size_t i = 0; i < sizeof talks / sizeof *talks; i++) {
        int fd = client_select(h, "SELECT");
        client_talk(fd, talks[i], AT_ONCE);
        client_talk(fd,
                    "C: y STORE 2 FLAGS ()\n"
                    "S: * 2 FETCH (UID 2 FLAGS () MODSEQ (3))\n" /* [RFC7162 3.2.4] */
                    "S: y OK STORE completed\n"
                    "C: z FETCH 2 (FLAGS)\n"
                    "S: * 2 FETCH (FLAGS ())\n"
                    "S: z OK FETCH completed\n",
                    AT_ONCE);
        client_close(h->net, fd);
    }
}

/* Who has not asked sees nothing of it, but that a mailbox is closed [RFC7162 3.2.11]. */
static void nobody_else_is_told(void **state)
{
    struct home *h = *state;
    int fd = client_with_messages(h, 1);
    client_talk(fd,
                "C: a STORE 1 FLAGS.SILENT (\\Seen)\n"
                "S: a OK STORE completed\n"
                "C: b SELECT INBOX\n"
                "S: * OK [CLOSED] the mailbox before\n"
                "P: * FLAGS\nP: * OK [PERM\nP: * 1 EX\nP: * 0 R\nP: * OK [UIDV\nP: * OK [UIDN\nP: "
                "* OK [MAILBOXID (F\n"
                "P: b OK [READ-WRITE]\n"
                "C: c UNSELECT\n"
                "S: c OK UNSELECT completed\n"
                "C: d EXAMINE INBOX\n"
                "P: * FLAGS\nP: * OK [PERM\nP: * 1 EX\nP: * 0 R\nP: * OK [UIDV\nP: * OK [UIDN\nP: "
                "* OK [MAILBOXID (F\n"
                "P: d OK [READ-ONLY]\n"
                "C: e SELECT nowhere\n"
                "P: * OK [CLOSED]\n"
                "P: e NO [NONEXISTENT]\n",
                AT_ONCE);
    client_close(h->net, fd);
}

/* --- FETCH ------------------------------------------------------------------------------------ */

static void fetch_tells_what_has_changed(void **state) /* [RFC7162 3.1.4.1, 3.1.4.2] */
{
    struct home *h = *state;
    int fd = client_with_messages(h, 4);
    home_flag(h, h->alice, 2, STORE_FLAGGED);
    client_talk(fd,
                "C: a UID FETCH 1:* (FLAGS) (CHANGEDSINCE 4)\n" HIGHEST(
                    5) "S: * 4 FETCH (UID 4 FLAGS () MODSEQ (5))\n"
                       "S: * 2 FETCH (UID 2 FLAGS (\\Flagged) MODSEQ (6))\n"
                       "S: a OK UID FETCH completed\n"
                       "C: b FETCH 1:* ALL (CHANGEDSINCE 5)\n"
                       "P: * 2 FETCH (FLAGS (\\Flagged) INTERNALDATE\n"
                       "S: b OK FETCH completed\n"
                       "C: c FETCH 1:3 (MODSEQ UID) (CHANGEDSINCE 3)\n"
                       "S: * 2 FETCH (MODSEQ (6) UID 2)\n"
                       "S: * 3 FETCH (MODSEQ (4) UID 3)\n"
                       "S: c OK FETCH completed\n"
                       "C: d FETCH 1:* (FLAGS) (CHANGEDSINCE 9223372036854775807)\n"
                       "S: d OK FETCH completed\n"
                       "C: e FETCH 1:* (FLAGS) (CHANGEDSINCE 9223372036854775808)\n"
                       "S: e BAD expected a mod-sequence\n"
                       "C: f FETCH 1:* (FLAGS) (CHANGED 3)\n"
                       "S: f BAD expected a modifier that is known here\n"
                       "C: g FETCH 1:* (FLAGS) (CHANGEDSINCE 3\n"
                       "S: g BAD expected the end of modifiers\n"
                       "C: h FETCH 1:* FULL (CHANGEDSINCE 3) x\n"
                       "S: h BAD expected the end of the command\n",
                AT_ONCE);
    client_close(h->net, fd);
}

/* A FETCH that sets \Seen tells all that a change tells [RFC7162 3.2.4]. */
static void fetch_tells_that_it_has_changed(void **state)
{
    struct home *h = *state;
    int fd = client_with_messages(h, 3);
    client_talk(fd,
                "C: a FETCH 1 MODSEQ\n" HIGHEST(4) "S: * 1 FETCH (MODSEQ (2))\n"
                                                   "S: a OK FETCH completed\n"
                                                   "C: b FETCH 1 BODY[TEXT]\n"
                                                   "S: * 1 FETCH (BODY[TEXT] {3}\n"
                                                   "S: x\n"
                                                   "S:  FLAGS (\\Seen) UID 1 MODSEQ (5))\n"
                                                   "S: b OK FETCH completed\n"
                                                   "C: c UID FETCH 2 (MODSEQ FLAGS BODY[TEXT])\n"
                                                   "S: * 2 FETCH (UID 2 MODSEQ (6) FLAGS (\\Seen) "
                                                   "BODY[TEXT] {3}\n"
                                                   "S: x\n"
                                                   "S: )\n"
                                                   "S: c OK UID FETCH completed\n"
                                                   "C: d FETCH 1 BODY[TEXT]\n" /* seen already */
                                                   "S: * 1 FETCH (BODY[TEXT] {3}\n"
                                                   "S: x\n"
                                                   "S: )\n"
                                                   "S: d OK FETCH completed\n",
                AT_ONCE);
    client_close(h->net, fd);
}

/* What others do has its mod-sequence too, and what changes nothing has none [RFC7162 3.1.11]. */
static void news_have_mod_sequences(void **state)
{
    struct home *h = *state;
    home_deliver_many(h, h->alice, STR("Subject: x\r\n\r\nx\r\n"), 2);
    int fd = client_select(h, "EXAMINE"), other = client_select(h, "SELECT");
    client_talk(fd, "C: a STATUS INBOX (HIGHESTMODSEQ)\n" HIGHEST(3) "P: * STATUS\nP: a OK\n",
                AT_ONCE);
    client_talk(other,
                "C: a STORE 1 +FLAGS (\\Seen)\nS: * 1 FETCH (FLAGS (\\Seen))\nP: a OK\n"
                "C: b STORE 1:2 +FLAGS (\\Seen)\nP: * 1 FETCH\nP: * 2 FETCH\nP: b OK\n",
                AT_ONCE);
    client_talk(fd,
                "C: b NOOP\n"
                "S: * 1 FETCH (UID 1 FLAGS (\\Seen) MODSEQ (4))\n"
                "S: * 2 FETCH (UID 2 FLAGS (\\Seen) MODSEQ (5))\n"
                "S: b OK NOOP completed\n",
                AT_ONCE);
    client_close(h->net, fd);
    client_close(h->net, other);
}

/* --- STORE ------------------------------------------------------------------------------------ */

static void store_leaves_alone_what_has_changed(void **state) /* [RFC7162 3.1.3] */
{
    struct home *h = *state;
    int fd = client_with_messages(h, 4);
    home_flag(h, h->alice, 2, STORE_FLAGGED);
    client_talk(fd,
                /* The client has seen 5, and 2 has 6. */
                "C: a UID STORE 1:3 (UNCHANGEDSINCE 5) FLAGS (\\Seen)\n" HIGHEST(
                    5) "S: * 1 FETCH (UID 1 FLAGS (\\Seen) MODSEQ (7))\n"
                       "S: * 2 FETCH (UID 2 FLAGS (\\Flagged) MODSEQ (6))\n"
                       "S: * 3 FETCH (UID 3 FLAGS (\\Seen) MODSEQ (7))\n"
                       "P: a OK [MODIFIED 2] \n"
                       "C: b STORE 1:4 (UNCHANGEDSINCE 5) FLAGS.SILENT (\\Seen)\n"
                       "S: * 1 FETCH (UID 1 FLAGS (\\Seen) MODSEQ (7))\n"
                       "S: * 2 FETCH (UID 2 FLAGS (\\Flagged) MODSEQ (6))\n"
                       "S: * 3 FETCH (UID 3 FLAGS (\\Seen) MODSEQ (7))\n"
                       "S: * 4 FETCH (UID 4 MODSEQ (8))\n"
                       "P: b OK [MODIFIED 1:3] \n"
                       "C: c STORE 1:4 (UNCHANGEDSINCE 8) +FLAGS.SILENT (\\Seen)\n"
                       "S: * 1 FETCH (UID 1 MODSEQ (7))\n" /* told all the same */
                       "S: * 2 FETCH (UID 2 MODSEQ (9))\n"
                       "S: * 3 FETCH (UID 3 MODSEQ (7))\n"
                       "S: * 4 FETCH (UID 4 MODSEQ (8))\n"
                       "S: c OK STORE completed\n"
                       "C: d STORE 1 (UNCHANGEDSINCE 0) +FLAGS.SILENT ($x)\n"
                       "S: * 1 FETCH (UID 1 FLAGS (\\Seen) MODSEQ (7))\n"
                       "P: d OK [MODIFIED 1] \n"
                       "C: e STORE 1 +FLAGS.SILENT (\\Draft)\n" /* SILENT tells of it */
                       "S: * 1 FETCH (UID 1 MODSEQ (10))\n"
                       "S: e OK STORE completed\n"
                       "C: f STORE 1 +FLAGS.SILENT (\\Draft)\n" /* [RFC7162 3.1.11] */
                       "S: f OK STORE completed\n"
                       "C: g STORE 4,2,3:4 (UNCHANGEDSINCE 9) FLAGS.SILENT (\\Draft)\n" /* twice */
                       "S: * 2 FETCH (UID 2 MODSEQ (11))\n"
                       "S: * 3 FETCH (UID 3 MODSEQ (11))\n"
                       "S: * 4 FETCH (UID 4 MODSEQ (11))\n"
                       "S: g OK STORE completed\n",
                AT_ONCE);
    client_close(h->net, fd);
}

/* Another flag than those of the command has changed: that is no reason [RFC7162 3.1.3, 3.1.12]. */
static void another_flag_is_no_reason(void **state)
{
    struct home *h = *state;
    int fd = client_with_messages(h, 3);
    home_flag(h, h->alice, 1, STORE_DELETED);  /* 5 */
    home_flag(h, h->alice, 2, STORE_ANSWERED); /* 6 */
    client_talk(fd,
                "C: a STORE 1:3 (UNCHANGEDSINCE 4) +FLAGS.SILENT (\\Answered)\n" HIGHEST(4)
                /* What it is now and what the client did not know. */
                "S: * 2 FETCH (UID 2 FLAGS (\\Answered) MODSEQ (6))\n"
                "S: * 3 FETCH (UID 3 MODSEQ (7))\n"
                "S: * 1 FETCH (UID 1 FLAGS (\\Answered \\Deleted) MODSEQ (8))\n"
                "P: a OK [MODIFIED 2] \n"
                /* What the client was told it knows. */
                "C: b STORE 1 (UNCHANGEDSINCE 4) +FLAGS (\\Flagged)\n"
                "S: * 1 FETCH (UID 1 FLAGS (\\Answered \\Deleted) MODSEQ (8))\n"
                "P: b OK [MODIFIED 1] \n",
                AT_ONCE);
    home_flag(h, h->alice, 1, STORE_SEEN); /* 9 */
    client_talk(fd,
                "C: c STORE 1 (UNCHANGEDSINCE 8) FLAGS (\\Flagged)\n"
                "S: * 1 FETCH (UID 1 FLAGS (\\Answered \\Deleted \\Seen) MODSEQ (9))\n"
                "P: c OK [MODIFIED 1] \n",
                AT_ONCE);
    client_close(h->net, fd);
}

/* A copy in the same mailbox has the same flags: more than one part changes it, and none fails for
 * what another one did. */
static void copies_do_not_fail_each_other(void **state)
{
    struct home *h = *state;
    int fd = client_with_messages(h, 1);
    client_talk(fd, "C: a COPY 1 INBOX\nP: * 2 EXISTS\nP: a OK [COPYUID\n", AT_ONCE);
    home_deliver_many(h, h->alice, STR("Subject: x\r\n\r\nx\r\n"), STORE_BATCH);
    client_talk(fd,
                "C: b COPY 1 INBOX\nP: * 1003 EXISTS\nP: b OK [COPYUID\n"
                "C: c UID STORE 1:* (UNCHANGEDSINCE 100000) FLAGS.SILENT (\\Seen)\n"
                "P: * OK [HIGHESTMODSEQ \n",
                AT_ONCE);
    char line[CLIENT_LINE];
    struct str end = {0};
    size_t n = 0;
    while (!str_starts(end = client_line(fd, line, sizeof line), STR("c ")))
        n += str_starts(end, STR("* ")) && str_find(end, STR("FLAGS")) < 0;
    assert_true(str_starts(end, STR("c OK UID STORE completed")));
    assert_int_equal(n, 3 + STORE_BATCH);
    client_close(h->net, fd);
}

static void what_is_gone_is_told_with_what_has_changed(void **state) /* [RFC7162 3.1.3] */
{
    struct home *h = *state;
    int fd = client_with_messages(h, 4);
    home_flag(h, h->alice, 2, STORE_FLAGGED);
    home_expunge(h, h->alice, 3);
    client_talk(fd,
                "C: a STORE 1:4 (UNCHANGEDSINCE 5) FLAGS (\\Seen)\n" HIGHEST(
                    5) "S: * 1 FETCH (UID 1 FLAGS (\\Seen) MODSEQ (8))\n"
                       "S: * 2 FETCH (UID 2 FLAGS (\\Flagged) MODSEQ (6))\n"
                       "S: * 4 FETCH (UID 4 FLAGS (\\Seen) MODSEQ (8))\n"
                       "P: a NO [MODIFIED 2] \n"
                       "C: b NOOP\n"
                       "S: * 3 EXPUNGE\n"
                       "S: b OK NOOP completed\n",
                AT_ONCE);
    client_close(h->net, fd);
}

static void what_is_wrong_is_refused(void **state) /* [RFC7162 7] */
{
    struct home *h = *state;
    int fd = client_with_messages(h, 1);
    client_talk(fd,
                "C: a STORE 1 (UNCHANGED 1) FLAGS (\\Seen)\n"
                "S: a BAD expected UNCHANGEDSINCE\n"
                "C: b STORE 1 (UNCHANGEDSINCE x) FLAGS (\\Seen)\n"
                "S: b BAD expected a mod-sequence\n"
                "C: c STORE 1 (UNCHANGEDSINCE 1 FLAGS (\\Seen)\n"
                "S: c BAD expected the end of modifiers\n"
                "C: d STORE 1 () FLAGS (\\Seen)\n"
                "S: d BAD expected UNCHANGEDSINCE\n"
                "C: e SELECT INBOX (\n"
                "S: e BAD expected CONDSTORE or QRESYNC\n"
                "C: f SELECT INBOX (CONDSTORE x)\n"
                "S: f BAD expected CONDSTORE or QRESYNC\n"
                "C: g SELECT INBOX CONDSTORE\n"
                "S: g BAD expected the end of the command\n"
                "C: h SELECT INBOX (CONDSTORE) x\n"
                "P: h BAD expected the end of\n"
                "C: i FETCH 1 (MODSEQ) ()\n"
                "S: i BAD expected a modifier that is known here\n"
                "C: j NOOP\n"
                "S: j OK NOOP completed\n",
                AT_ONCE);
    client_close(h->net, fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        HOME_TEST(enable_answers_with_what_is_new),
        HOME_TEST(many_commands_enable),
        HOME_TEST(nobody_else_is_told),
        HOME_TEST(fetch_tells_what_has_changed),
        HOME_TEST(fetch_tells_that_it_has_changed),
        HOME_TEST(news_have_mod_sequences),
        HOME_TEST(store_leaves_alone_what_has_changed),
        HOME_TEST(another_flag_is_no_reason),
        HOME_TEST(copies_do_not_fail_each_other),
        HOME_TEST(what_is_gone_is_told_with_what_has_changed),
        HOME_TEST(what_is_wrong_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
