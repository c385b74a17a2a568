/* NOTIFY [RFC5465]: what is told, to whom, when, and what is not. */
#include "imap/test_home.h"

#include "imap/notify_int.h"

#define AT_ONCE (1 << 20)
#define MAIL    "Subject: x\r\n\r\nhello\r\n"

static int set_up(void **state)
{
    struct home *h = mem_zero(sizeof *h);
    home_make(h);
    home_start(h);
    *state = h;
    return 0;
}

static int tear_down(void **state)
{
    struct home *h = *state;
    home_end(h);
    free(h);
    return 0;
}

#define EACH(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

static void talk(int fd, const char *script)
{
    client_talk(fd, script, AT_ONCE);
}

static void new_messages_come_with_what_was_asked(void **state) /* [RFC5465 5.2] */
{
    struct home *h = *state;
    int fd = client_select(h, "SELECT");
    talk(fd, "C: a NOTIFY SET (selected (MessageNew (uid preview) MessageExpunge))\n"
             "S: a OK NOTIFY completed\n");
    home_deliver(h, h->alice, MAIL);
    talk(fd, "S: * 1 EXISTS\nS: * 1 FETCH (UID 1 PREVIEW \"hello\")\n");
    home_flag(h, h->alice, 1, STORE_FLAGGED); /* FlagChange was not asked for */
    home_deliver(h, h->alice, MAIL);
    talk(fd, "S: * 2 EXISTS\nS: * 2 FETCH (UID 2 PREVIEW \"hello\")\n");
    home_expunge(h, h->alice, 1);
    talk(fd, "S: * 1 EXPUNGE\n"
             "C: b NOOP\nS: b OK NOOP completed\n"
             "C: c UID FETCH 2 (FLAGS)\nS: * 1 FETCH (UID 2 FLAGS ())\nP: c OK\n");
    /* What the client has put there itself is not told by FETCH. */
    talk(fd, "C: d APPEND INBOX {4+}\nC: a: b\nS: * 2 EXISTS\nP: d OK [APPENDUID \n"
             "C: e UID COPY 2 INBOX\nS: * 3 EXISTS\nP: e OK [COPYUID \n"
             "C: f NOOP\nS: f OK NOOP completed\n");
    home_deliver(h, h->alice, MAIL);
    talk(fd, "S: * 4 EXISTS\nS: * 4 FETCH (UID 5 PREVIEW \"hello\")\n");
    client_close(h->net, fd);
}

static void flags_are_told_with_uid(void **state) /* [RFC5465 5.1, 5.3] */
{
    struct home *h = *state;
    home_deliver_many(h, h->alice, STR(MAIL), 3);
    int fd = client_select(h, "SELECT");
    talk(fd, "C: a NOTIFY SET (SELECTED (MessageNew MessageExpunge FlagChange))\n"
             "S: a OK NOTIFY completed\n");
    home_flag(h, h->alice, 2, STORE_SEEN);
    talk(fd, "S: * 2 FETCH (UID 2 FLAGS (\\Seen))\n");
    home_deliver(h, h->alice, MAIL);
    talk(fd, "S: * 4 EXISTS\n"); /* no items were asked for */
    home_expunge(h, h->alice, 1);
    talk(fd, "S: * 1 EXPUNGE\n"
             "C: b UID STORE 3 +FLAGS (\\Deleted)\n"
             "S: * 2 FETCH (UID 3 FLAGS (\\Deleted))\nP: b OK\n"
             "C: c EXPUNGE\nS: * 2 EXPUNGE\nP: c OK\n"
             "C: d NOOP\nS: d OK NOOP completed\n");
    client_close(h->net, fd);
}

/* [RFC5465 6.1.2]: numbers stay until a command comes at which they may move. */
static void expunges_wait_for_who_wants_numbers(void **state)
{
    struct home *h = *state;
    home_deliver_many(h, h->alice, STR(MAIL), 3);
    int fd = client_select(h, "SELECT");
    talk(fd, "C: a NOTIFY SET (selected-delayed (MessageNew (UID) MessageExpunge FlagChange))\n"
             "S: a OK NOTIFY completed\n");
    home_expunge(h, h->alice, 1);
    home_flag(h, h->alice, 3, STORE_SEEN);
    talk(fd, "S: * 3 FETCH (UID 3 FLAGS (\\Seen))\n");
    home_deliver(h, h->alice, MAIL);
    talk(fd, "S: * 4 EXISTS\nS: * 4 FETCH (UID 4)\n"
             "C: b FETCH 1:4 UID\nS: * 1 FETCH (UID 1)\nS: * 2 FETCH (UID 2)\n"
             "S: * 3 FETCH (UID 3)\nS: * 4 FETCH (UID 4)\nP: b OK\n"
             "C: c NOOP\nS: * 1 EXPUNGE\nS: c OK NOOP completed\n");
    home_expunge(h, h->alice, 2);
    talk(fd, "C: d IDLE\nP: + \nS: * 1 EXPUNGE\n");
    home_deliver(h, h->alice, MAIL);
    talk(fd, "S: * 3 EXISTS\nS: * 3 FETCH (UID 5)\nC: DONE\nS: d OK IDLE completed\n");
    client_close(h->net, fd);
}

static void others_are_told_by_status(void **state) /* [RFC5465 3.1, 5.1, 5.2, 5.3] */
{
    struct home *h = *state;
    char line[CLIENT_LINE];
    int fd = client_login(h), other = client_login(h);
    talk(other, "C: a CREATE a\nP: a OK\n");
    client_send(fd, STR("a NOTIFY SET STATUS (mailboxes (a INBOX nowhere) (MessageNew "
                        "MessageExpunge FlagChange)) (subtree a (MailboxName))\r\n"));
    struct str got = client_line(fd, line, sizeof line);
    assert_true(str_starts(got, STR("* STATUS INBOX (MESSAGES 0 UIDNEXT 1 UIDVALIDITY ")));
    assert_true(str_find(got, STR(" UNSEEN 0 HIGHESTMODSEQ ")) > 0);
    talk(fd, "P: * STATUS a (MESSAGES 0 UIDNEXT 1 UIDVALIDITY \nS: a OK NOTIFY completed\n");
    talk(other, "C: b APPEND a {4+}\nC: a: b\nP: b OK\n");
    got = client_line(fd, line, sizeof line);
    assert_true(str_starts(got, STR("* STATUS a (MESSAGES 1 UIDNEXT 2 UIDVALIDITY ")));
    assert_true(str_ends(got, STR(" UNSEEN 1)\r\n")));
    talk(other, "C: c SELECT a\n");
    client_until(other, STR("c OK"));
    /* Without CONDSTORE nothing could be told of this. */
    talk(other, "C: d STORE 1 +FLAGS.SILENT (\\Flagged)\nP: d OK\n"
                "C: e STORE 1 +FLAGS.SILENT (\\Seen)\nP: e OK\n");
    got = client_line(fd, line, sizeof line);
    assert_true(str_starts(got, STR("* STATUS a (UIDVALIDITY ")));
    assert_true(str_ends(got, STR(" UNSEEN 0)\r\n")));
    talk(other, "C: f STORE 1 +FLAGS.SILENT (\\Deleted)\nP: f OK\nC: g EXPUNGE\n"
                "S: * 1 EXPUNGE\nP: g OK\n");
    talk(fd, "P: * STATUS a (MESSAGES 0 UIDNEXT 2 UIDVALIDITY \n");
    /* Its own change is no news; neither is that of a mailbox that nobody asked for. */
    talk(fd, "C: h APPEND a {4+}\nC: a: b\nP: h OK\n");
    talk(other, "C: i APPEND Sent {4+}\nC: a: b\nS: * 1 EXISTS\nP: i OK\n");
    talk(fd, "C: j NOOP\nS: j OK NOOP completed\n");
    /* The selected one is told as such, and only so: SELECTED was not asked for. */
    talk(fd, "C: k ENABLE CONDSTORE\nS: * ENABLED CONDSTORE\nP: k OK\nC: l SELECT INBOX\n");
    client_until(fd, STR("l OK"));
    home_deliver(h, h->alice, MAIL);
    talk(other, "C: m STORE 1 +FLAGS.SILENT (\\Flagged)\nP: m OK\n");
    got = client_line(fd, line, sizeof line);
    assert_true(str_starts(got, STR("* STATUS a (UIDVALIDITY ")));
    assert_true(str_find(got, STR(" UNSEEN 1 HIGHESTMODSEQ ")) > 0);
    /* What it has missed there it is told when that is one of the others again. */
    talk(fd, "C: p UNSELECT\nP: p OK\nP: * STATUS INBOX (MESSAGES 1 UIDNEXT 2 UIDVALIDITY \n");
    home_deliver(h, h->alice, MAIL);
    talk(fd, "P: * STATUS INBOX (MESSAGES 2 UIDNEXT 3 UIDVALIDITY \n");
    client_close(h->net, other);
    client_close(h->net, fd);
}

static void names_are_told(void **state) /* [RFC5465 5.4, 5.5] */
{
    struct home *h = *state;
    int fd = client_login(h), other = client_login(h);
    talk(fd, "C: a NOTIFY SET (personal (MailboxName SubscriptionChange))\n"
             "S: a OK NOTIFY completed\n");
    talk(other, "C: a CREATE a/b\nP: a OK\n");
    talk(fd, "S: * LIST (\\HasNoChildren) \"/\" a/b\n"
             "S: * LIST (\\NonExistent \\Noselect \\HasChildren) \"/\" a\n");
    talk(other, "C: b RENAME a/b \"b c\"\nP: b OK\n");
    talk(fd, "S: * LIST (\\HasNoChildren) \"/\" \"b c\" (\"OLDNAME\" (a/b))\n");
    talk(other, "C: c SUBSCRIBE \"b c\"\nP: c OK\nC: d UNSUBSCRIBE Sent\nP: d OK\n");
    talk(fd, "S: * LIST (\\HasNoChildren \\Subscribed) \"/\" \"b c\"\n"
             "S: * LIST (\\HasNoChildren \\Sent) \"/\" Sent\n");
    talk(other, "C: e DELETE \"b c\"\nP: e OK\n");
    talk(fd, "S: * LIST (\\NonExistent \\Noselect \\HasNoChildren) \"/\" \"b c\"\n");
    talk(other, "C: f APPEND INBOX {4+}\nC: a: b\nP: f OK\n");
    /* [RFC5465 5]: what the client does itself is no news to it. */
    talk(fd,
         "C: b CREATE own\nP: b OK\nC: c SUBSCRIBE own\nP: c OK\nC: d RENAME own mine\nP: d OK\n"
         "C: e DELETE mine\nP: e OK\nC: f NOOP\nS: f OK NOOP completed\n");
    client_close(h->net, other);
    client_close(h->net, fd);
}

static void only_the_names_that_were_meant(void **state) /* [RFC5465 6.4, 6.5, 6.6] */
{
    struct home *h = *state;
    int fd = client_login(h), other = client_login(h);
    talk(fd, "C: a NOTIFY SET (subtree (t \"u v\") (MailboxName)) (mailboxes \"m*\" (MailboxName)) "
             "(subscribed (MessageNew MessageExpunge))\nS: a OK NOTIFY completed\n");
    talk(other, "C: a CREATE m1\nP: a OK\nC: b CREATE t\nP: b OK\nC: c CREATE tt\nP: c OK\n"
                "C: d CREATE \"u v/w\"\nP: d OK\nC: e CREATE \"m*\"\nP: e OK\n"
                "C: f RENAME m1 t/1\nP: f OK\n"
                "C: g APPEND tt {4+}\nC: a: b\nP: g OK\n" /* not subscribed */
                "C: h SUBSCRIBE tt\nP: h OK\n"
                "C: i APPEND tt {4+}\nC: a: b\nP: i OK\n");
    talk(fd, "P: * LIST (\\HasNoChildren) \"/\" t\r\n");
    talk(fd, "S: * LIST (\\HasNoChildren) \"/\" \"u v/w\"\n"
             "S: * LIST (\\NonExistent \\Noselect \\HasChildren) \"/\" \"u v\"\n"
             "S: * LIST (\\HasNoChildren) \"/\" \"m*\"\n"
             "S: * LIST (\\HasNoChildren) \"/\" t/1 (\"OLDNAME\" (m1))\n");
    client_expect_line(fd, STR("* STATUS tt (MESSAGES "));
    client_close(h->net, other);
    client_close(h->net, fd);
}

/* [RFC5465 3.1, 5]: NONE, and SELECTED left out, is a picture that stands still. */
static void what_nobody_asked_for_is_not_told(void **state)
{
    static const char *const commands[] = {"C: a NOTIFY NONE\n",
                                           "C: a NOTIFY SET (selected NONE)\n",
                                           "C: a NOTIFY SET (personal (MailboxName))\n"};
    struct home *h = *state;
    home_deliver_many(h, h->alice, STR(MAIL), 3);
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        int fd = client_select(h, "SELECT");
        talk(fd, commands[i]);
        talk(fd, "S: a OK NOTIFY completed\n");
        home_flag(h, h->alice, 2 + (uint32_t)i, STORE_FLAGGED);
        home_deliver(h, h->alice, MAIL);
        talk(fd, "C: b NOOP\nS: b OK NOOP completed\n"
                 "C: c IDLE\nP: + \n");
        home_deliver(h, h->alice, MAIL);
        talk(fd, "C: DONE\nS: c OK IDLE completed\n"
                 "C: d FETCH * UID\n");
        client_expect_line(fd, STR("* "));
        talk(fd, "P: d OK\n");
        client_close(h->net, fd);
    }
    int fd = client_select(h, "SELECT");
    talk(fd, "C: a NOTIFY NONE\nP: a OK\n");
    home_flag(h, h->alice, 1, STORE_ANSWERED);
    home_deliver(h, h->alice, MAIL);
    /* What it changes itself it has to know of [RFC3501 7.4.1]. */
    talk(fd, "C: b STORE 2 FLAGS (\\Deleted)\nS: * 2 FETCH (FLAGS (\\Deleted))\n"
             "S: * 10 EXISTS\nP: b OK\n"
             "C: c EXPUNGE\nS: * 2 EXPUNGE\nP: c OK\n"
             "C: d FETCH 1 FLAGS\nS: * 1 FETCH (FLAGS (\\Answered))\nP: d OK\n");
    client_close(h->net, fd);
}

/* [RFC5465 3.1]: NOTIFY SET tells what there is before anything else. */
static void the_command_is_a_noop_too(void **state)
{
    struct home *h = *state;
    home_deliver_many(h, h->alice, STR(MAIL), 2);
    int fd = client_select(h, "SELECT");
    home_deliver(h, h->alice, MAIL);
    home_flag(h, h->alice, 1, STORE_SEEN);
    home_expunge(h, h->alice, 2);
    talk(fd, "C: a NOTIFY SET (selected NONE)\n"
             "S: * 1 FETCH (FLAGS (\\Seen))\nS: * 2 EXPUNGE\nS: * 2 EXISTS\n"
             "S: a OK NOTIFY completed\n");
    home_deliver(h, h->alice, MAIL);
    talk(fd, "C: b NOTIFY SET (selected (messagenew (uid) messageexpunge))\n"
             "S: * 3 EXISTS\nS: b OK NOTIFY completed\n");
    home_deliver(h, h->alice, MAIL);
    talk(fd, "S: * 4 EXISTS\nS: * 4 FETCH (UID 5)\n");
    client_close(h->net, fd);
}

static void the_grammar_is_checked(void **state) /* [RFC5465 3.1, 5, 6.1, 8] */
{
    struct home *h = *state;
    int fd = client_login(h);
    talk(fd,
         "C: a NOTIFY SET (personal (MessageNew))\nP: a BAD expected MessageNew and\n"
         "C: b NOTIFY SET (personal (MessageExpunge MailboxName))\nP: b BAD expected MessageNew\n"
         "C: c NOTIFY SET (personal (FlagChange))\nP: c BAD expected MessageNew and\n"
         "C: d NOTIFY SET (selected (MailboxName))\nP: d BAD expected events of messages\n"
         "C: e NOTIFY SET (selected NONE) (selected-delayed NONE)\nP: e BAD expected SELECTED or\n"
         "C: f NOTIFY SET (inboxes (MessageNew (uid) MessageExpunge))\nP: f BAD expected items\n"
         "C: g NOTIFY SET (selected (MessageNew (nothing) MessageExpunge))\nP: g BAD expected\n"
         "C: h NOTIFY SET\nP: h BAD expected\n"
         "C: i NOTIFY\nP: i BAD expected SET or NONE\n"
         "C: j NOTIFY NONE x\nP: j BAD expected\n"
         "C: k NOTIFY SET (everything (MailboxName))\nP: k BAD expected which mailboxes\n"
         "C: l NOTIFY SET (subtree (MailboxName))\nP: l BAD\n"
         "C: m NOTIFY SET (personal ())\nP: m BAD expected an atom\n"
         "C: n NOTIFY SET (personal (MailboxName)\nP: n BAD expected the end of the group\n"
         "C: o NOTIFY SET STATUS\nP: o BAD expected\n");
    client_close(h->net, fd);
}

static void events_that_are_not_known_are_named(void **state) /* [RFC5465 3.1] */
{
    struct home *h = *state;
    int fd = client_select(h, "SELECT");
    talk(fd, "C: a NOTIFY SET (personal (AnnotationChange MessageNew MessageExpunge))\n"
             "P: a NO [BADEVENT (MessageNew MessageExpunge FlagChange MailboxName "
             "SubscriptionChange)] \n"
             "C: b NOTIFY SET (personal (MailboxMetadataChange))\nP: b NO [BADEVENT (\n"
             "C: c NOTIFY SET (personal (ServerMetadataChange))\nP: c NO [BADEVENT (\n"
             "C: d NOTIFY SET (selected (Future (x (y)) MessageNew (uid) MessageExpunge))\n"
             "P: d NO [BADEVENT (\n");
    home_deliver(h, h->alice, MAIL); /* and all is as it was */
    talk(fd, "C: e NOOP\nS: * 1 EXISTS\nS: e OK NOOP completed\n");
    client_close(h->net, fd);
}

/* [RFC7162 3.2.10] [RFC9586 3.3]: other words for the same. */
static void who_has_enabled_more_is_told_in_its_words(void **state)
{
    struct home *h = *state;
    char line[CLIENT_LINE];
    home_deliver_many(h, h->alice, STR(MAIL), 3);
    int fd = client_login(h);
    talk(fd, "C: a ENABLE QRESYNC UIDONLY\nS: * ENABLED QRESYNC UIDONLY\nP: a OK\n"
             "C: b NOTIFY SET (selected (MessageNew (flags) MessageExpunge FlagChange)) "
             "(personal (MessageNew MessageExpunge))\nS: b OK NOTIFY completed\n");
    home_expunge(h, h->alice, 1);
    struct str got = client_line(fd, line, sizeof line);
    assert_true(str_starts(got, STR("* STATUS INBOX (MESSAGES 2 UIDNEXT 4 UIDVALIDITY ")));
    assert_true(str_find(got, STR(" HIGHESTMODSEQ ")) > 0);
    talk(fd, "C: c SELECT INBOX\n");
    client_until(fd, STR("c OK"));
    home_expunge(h, h->alice, 2);
    talk(fd, "S: * VANISHED 2\nP: * OK [HIGHESTMODSEQ \n"); /* [RFC7162 3.2.9] */
    home_deliver(h, h->alice, MAIL);
    talk(fd, "S: * 2 EXISTS\nP: * 4 UIDFETCH (FLAGS () MODSEQ (\nP: * OK [HIGHESTMODSEQ \n");
    home_flag(h, h->alice, 3, STORE_SEEN);
    client_expect_line(fd, STR("* 3 UIDFETCH (FLAGS (\\Seen) MODSEQ ("));
    client_close(h->net, fd);
    fd = client_login(h); /* nobody's command has brought it [RFC7162 3.2.4] */
    talk(fd, "C: a ENABLE QRESYNC\nS: * ENABLED QRESYNC\nP: a OK\n"
             "C: b NOTIFY SET (selected (MessageNew (flags) MessageExpunge FlagChange))\nP: b OK\n"
             "C: c SELECT INBOX\n");
    client_until(fd, STR("c OK"));
    home_deliver(h, h->alice, MAIL);
    talk(fd, "S: * 3 EXISTS\nP: * 3 FETCH (FLAGS () UID 5 MODSEQ (\n");
    client_close(h->net, fd);
}

/* The client must not take for known what it was not told [RFC7162 3.2]. */
static void untold_flags_hold_the_modseq_back(void **state)
{
    struct home *h = *state;
    char line[CLIENT_LINE], before[CLIENT_LINE];
    home_deliver_many(h, h->alice, STR(MAIL), 3);
    int fd = client_login(h);
    talk(fd, "C: a ENABLE QRESYNC\nS: * ENABLED QRESYNC\nP: a OK\nC: b SELECT INBOX\n");
    struct str got, modseq = {0};
    while (!str_starts(got = client_line(fd, line, sizeof line), STR("b OK")))
        if (str_find(got, STR("[HIGHESTMODSEQ ")) > 0)
            modseq = str_from(memcpy(before, got.p, got.n), (size_t)str_find_byte(got, ']'));
    talk(fd, "C: c NOTIFY SET (selected (MessageNew MessageExpunge))\nS: c OK NOTIFY completed\n");
    home_flag(h, h->alice, 1, STORE_SEEN);
    home_expunge(h, h->alice, 2);
    talk(fd, "S: * VANISHED 2\n"
             "C: d UID STORE 3 +FLAGS.SILENT (\\Deleted)\n");
    while (!str_starts(got = client_line(fd, line, sizeof line), STR("d OK")))
        ;
    talk(fd, "C: e EXPUNGE\nS: * VANISHED 3\n");
    got = client_line(fd, line, sizeof line);
    assert_true(str_starts(got, STR("e OK [HIGHESTMODSEQ ")));
    assert_true(
        str_eq(str_skip(str_head(got, (size_t)str_find_byte(got, ']')), 5), str_skip(modseq, 5)));
    client_close(h->net, fd);
}

static void it_ends_with_the_login(void **state) /* [RFC8437 3] */
{
    struct home *h = *state;
    int fd = client_select(h, "SELECT");
    talk(fd, "C: a NOTIFY SET (personal (MessageNew MessageExpunge MailboxName))\nP: a OK\n"
             "C: b UNAUTHENTICATE\nP: b OK\n");
    home_deliver(h, h->alice, MAIL);
    talk(fd, "C: c LOGIN alice@example.test \"pass word\"\nP: c OK\nC: d SELECT INBOX\n");
    client_until(fd, STR("d OK"));
    home_deliver(h, h->alice, MAIL);
    talk(fd, "C: e NOOP\nS: * 2 EXISTS\nS: e OK NOOP completed\n");
    client_close(h->net, fd);
}

static void connections_may_just_end(void **state)
{
    struct home *h = *state;
    for (int i = 0; i < 20; i++) {
        int fd = client_select(h, "SELECT");
        client_send(fd, STR("a NOTIFY SET STATUS (selected (MessageNew (body.peek[] preview) "
                            "MessageExpunge FlagChange)) (personal (MessageNew MessageExpunge "
                            "MailboxName SubscriptionChange))\r\n"));
        home_deliver(h, h->alice, MAIL);
        client_close(h->net, fd);
    }
    assert_int_equal(atomic_load(&h->imap->notified), 0);
}

/* In the midst of messages that nobody takes. */
static void connections_may_end_before_all_is_told(void **state)
{
    struct home *h = *state;
    struct buf message = {.cap = 4 << 20};
    buf_put(&message, STR("Subject: x\r\n\r\n"));
    while (buf_len(&message) < 3 << 20)
        buf_put(&message, STR("more than a socket holds\r\n"));
    for (int i = 0; i < 5; i++) {
        int fd = client_select(h, i ? "SELECT" : "EXAMINE");
        talk(fd, "C: a NOTIFY SET (selected (MessageNew (envelope body.peek[]) MessageExpunge))\n"
                 "P: a OK\n");
        if (i == 4)
            talk(fd, "C: b IDLE\nP: + \n");
        home_deliver_many(h, h->alice, buf_str(&message), 1);
        client_expect_line(fd, STR("* "));
        client_expect_line(fd, STR("* ")); /* the message has begun */
        client_close(h->net, fd);
    }
    buf_fini(&message);
}

/* --- bounds ----------------------------------------------------------------------------------- */

static void mailboxes_named_are_bounded(void **state) /* [RFC5465 3.1] */
{
    struct home *h = *state;
    struct buf command = {.cap = 2 << 20};
    int fd = client_select(h, "SELECT");
    for (unsigned n = 1000; n <= 1001; n++) {
        buf_put(&command, STR("a NOTIFY SET (mailboxes ("));
        for (unsigned i = 0; i < n; i++)
            buf_putf(&command, "%sm%u", i ? " " : "", i);
        buf_put(&command, STR(") (MessageNew MessageExpunge))\r\n"));
        client_send(fd, buf_str(&command));
        client_expect_line(fd, n == 1000 ? STR("a OK") : STR("a NO [NOTIFICATIONOVERFLOW] "));
        buf_clear(&command);
    }
    size_t held = atomic_load(&h->imap->notified);
    assert_in_range(held, 1, 256 << 10);
    /* 100,000 of them, by a literal: nothing is looked at. */
    buf_put(&command, STR("b NOTIFY SET (mailboxes ({1+}\r\nx"));
    for (unsigned i = 0; i < 100000; i++) {
        buf_putf(&command, " m%u", i);
        if (i % 1000 == 999) /* lines are shorter than all of that */
            buf_put(&command, STR(" {1+}\r\nx"));
    }
    buf_put(&command, STR(") (MessageNew MessageExpunge))\r\n"));
    client_send(fd, buf_str(&command));
    client_expect_line(fd, STR("b NO [NOTIFICATIONOVERFLOW] "));
    assert_int_equal(atomic_load(&h->imap->notified), held);
    home_deliver(h, h->alice, MAIL); /* what was asked before stands */
    talk(fd, "C: c NOOP\nS: c OK NOOP completed\nC: d CLOSE\nP: d OK\n"
             "C: e NOTIFY NONE\nP: e OK\n");
    assert_int_equal(atomic_load(&h->imap->notified), 0);
    buf_fini(&command);
    client_close(h->net, fd);
}

static void make_mailbox(struct store_account *account, const char *prefix, unsigned i)
{
    char name[STORE_NAME_MAX];
    struct inbox_op o;
    int n = snprintf(name, sizeof name, "%s%u", prefix, i);
    struct str level = str_from(name, (size_t)n);
    inbox_op_init(&o);
    assert_rc(store_mailbox_create(account, (struct store_path){&level, 1}, STORE_NONE, 0, &o.op),
              RC_OK);
    inbox_op_wait(&o);
}

/* Who reads nothing is not waited for, and costs what the store keeps and no more [RFC5465 5.8]. */
static void who_does_not_read_is_told_of_the_overflow(void **state)
{
    enum { N = 4000 }; /* more than the socket, the output and the store hold */
    struct home *h = *state;
    uint32_t inbox;
    char line[CLIENT_LINE];
    struct store_account *account = home_open(h, h->alice, &inbox);
    int fd = client_select(h, "SELECT");
    talk(fd, "C: a NOTIFY SET (selected (MessageNew MessageExpunge)) (personal (MailboxName))\n"
             "P: a OK\n");
    for (unsigned i = 0; i < N; i++)
        make_mailbox(
            account,
            "a mailbox with a long name, a mailbox with a long name, a mailbox with a long "
            "name, a mailbox with a long name, a mailbox with a long name, a mailbox with "
            "a long name, a mailbox with a long name ",
            i);
    size_t n = 0;
    struct str got;
    while (str_starts(got = client_line(fd, line, sizeof line), STR("* LIST ")))
        n++;
    assert_true(str_starts(got, STR("* OK [NOTIFICATIONOVERFLOW] ")));
    assert_true(n < N);
    assert_int_equal(atomic_load(&h->imap->notified), 0);
    home_deliver(h, h->alice, MAIL);
    talk(fd, "C: b NOOP\nS: b OK NOOP completed\n"); /* as after NOTIFY NONE */
    store_account_close(&account);
    client_close(h->net, fd);
}

static void all_of_many_mailboxes_can_be_watched(void **state)
{
    enum { N = 3000 };
    struct home *h = *state;
    uint32_t inbox;
    char line[CLIENT_LINE];
    struct store_account *account = home_open(h, h->alice, &inbox);
    for (unsigned i = 0; i < N; i++)
        make_mailbox(account, "m", i);
    int fd = client_login(h);
    client_send(fd, STR("a NOTIFY SET STATUS (personal (MessageNew MessageExpunge))\r\n"));
    size_t n = 0;
    while (str_starts(client_line(fd, line, sizeof line), STR("* STATUS ")))
        n++;
    assert_true(n >= N + 6);
    assert_in_range(atomic_load(&h->imap->notified), 1, 8 << 10); /* whatever there is */
    home_deliver(h, h->alice, MAIL);
    talk(fd, "P: * STATUS INBOX (MESSAGES 1 UIDNEXT 2 UIDVALIDITY \n");
    store_account_close(&account);
    client_close(h->net, fd);
}

/* --- many ------------------------------------------------------------------------------------- */

/* Each of many sessions is told of every change in the end, whatever the others do. */
static void many_sessions_change_and_are_told(void **state)
{
    enum { N = 8, EACH_ONE = 20 };
    struct home *h = *state;
    int fds[N];
    char line[CLIENT_LINE];
    for (size_t i = 0; i < N; i++) {
        fds[i] = client_select(h, "SELECT");
        talk(fds[i], "C: a NOTIFY SET (selected (MessageNew (uid) MessageExpunge FlagChange)) "
                     "(personal (MessageNew MessageExpunge FlagChange))\nP: a OK\n");
    }
    for (size_t k = 0; k < EACH_ONE; k++)
        for (size_t i = 0; i < N; i++)
            client_send(fds[i], i % 2 ? STR("b APPEND INBOX {5+}\r\na: b\n\r\n")
                                      : STR("b APPEND Sent {5+}\r\na: b\n\r\n"));
    for (size_t i = 0; i < N; i++) {
        size_t done = 0, exists = 0, sent = 0, fetched = 0;
        while (done < EACH_ONE || exists < N / 2 * EACH_ONE || sent < N / 2 * EACH_ONE) {
            struct str got = client_line(fds[i], line, sizeof line);
            unsigned number = 0;
            if (str_starts(got, STR("b OK"))) {
                done++;
            } else if (str_starts(got, STR("* STATUS Sent (MESSAGES "))) {
                number = (unsigned)strtoul(got.p + 24, NULL, 10);
                assert_true(number >= sent);
                sent = number;
            } else if (str_find(got, STR(" EXISTS")) > 0) {
                number = (unsigned)strtoul(got.p + 2, NULL, 10);
                assert_true(number > exists);
                exists = number;
            } else {
                assert_true(str_find(got, STR(" FETCH (UID ")) > 0);
                fetched++;
            }
            if (i % 2 == 0 && done == EACH_ONE && sent < N / 2 * EACH_ONE &&
                exists == N / 2 * EACH_ONE)
                break; /* the last change of Sent may have been its own */
        }
        assert_int_equal(exists, N / 2 * EACH_ONE);
        assert_in_range(fetched, 0, N / 2 * EACH_ONE - (i % 2 ? EACH_ONE : 0));
    }
    for (size_t i = 0; i < N; i++)
        client_close(h->net, fds[i]);
    home_assert_sound(h, h->alice);
}

/* What changes while one NOTIFY takes the place of another is told by the one or the other. */
static void nothing_falls_between_two(void **state) /* [RFC5465 3.1] */
{
    enum { EACH_ONE = 300 };
    static const struct str ask =
        STR_INIT("b NOTIFY SET (personal (MessageNew MessageExpunge MailboxName))\r\n");
    struct home *h = *state;
    uint32_t inbox;
    char line[CLIENT_LINE];
    struct store_account *account = home_open(h, h->alice, &inbox);
    int fd = client_login(h);
    client_send(fd, ask);
    client_expect_line(fd, STR("b OK"));
    unsigned long messages = 0, names = 0;
    for (unsigned i = 0; i < 2 * EACH_ONE; i++) {
        bool is_done = false;
        client_send(fd, ask);
        if (i < EACH_ONE)
            home_deliver(h, h->alice, MAIL);
        else
            make_mailbox(account, "m", i);
        while (!is_done || messages + names <= i) {
            struct str got = client_line(fd, line, sizeof line);
            if (str_starts(got, STR("* STATUS INBOX (MESSAGES ")))
                messages = strtoul(got.p + 25, NULL, 10);
            names += str_starts(got, STR("* LIST "));
            is_done = is_done || str_starts(got, STR("b OK"));
        }
        assert_int_equal(messages + names, i + 1);
    }
    store_account_close(&account);
    client_close(h->net, fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH(new_messages_come_with_what_was_asked),
        EACH(flags_are_told_with_uid),
        EACH(expunges_wait_for_who_wants_numbers),
        EACH(others_are_told_by_status),
        EACH(names_are_told),
        EACH(only_the_names_that_were_meant),
        EACH(what_nobody_asked_for_is_not_told),
        EACH(the_command_is_a_noop_too),
        EACH(the_grammar_is_checked),
        EACH(events_that_are_not_known_are_named),
        EACH(who_has_enabled_more_is_told_in_its_words),
        EACH(untold_flags_hold_the_modseq_back),
        EACH(it_ends_with_the_login),
        EACH(connections_may_just_end),
        EACH(connections_may_end_before_all_is_told),
        EACH(mailboxes_named_are_bounded),
        EACH(who_does_not_read_is_told_of_the_overflow),
        EACH(all_of_many_mailboxes_can_be_watched),
        EACH(many_sessions_change_and_are_told),
        EACH(nothing_falls_between_two),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
