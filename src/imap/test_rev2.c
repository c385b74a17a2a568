/* IMAP4rev2 beside IMAP4rev1 [RFC9051 E]: what changes with ENABLE, and nothing before it. */
#include "imap/test_home.h"

#include "mime/summary.h"

#define AT_ONCE (1 << 20)

static int begin(struct home *h, const char *const *mails)
{
    home_make(h);
    home_start(h);
    for (; *mails; mails++)
        home_deliver(h, h->alice, *mails);
    int fd = client_login(h);
    client_talk(fd, "C: e ENABLE IMAP4rev2\nS: * ENABLED IMAP4rev2\nP: e OK\n", AT_ONCE);
    return fd;
}

static void end(struct home *h, int fd)
{
    client_close(h->net, fd);
    home_assert_sound(h, h->alice);
    home_end(h);
}

static const char *const two[] = {"Subject: one\r\n\r\nx\r\n", "Subject: two\r\n\r\nxy\r\n", NULL};

/* [RFC9051 6.3.2, 6.3.3]: LIST, and neither RECENT nor UNSEEN; CLOSED before the next one. */
static void select_tells_what_rev2_has(void **state)
{
    struct home h;
    int fd = begin(&h, two);
    client_talk(fd,
                "C: a SELECT inbox\n"
                "P: * FLAGS (\n"
                "P: * OK [PERMANENTFLAGS (\n"
                "S: * 2 EXISTS\n"
                "S: * LIST () \"/\" INBOX\n"
                "P: * OK [UIDVALIDITY \n"
                "P: * OK [UIDNEXT \n"
                "P: * OK [MAILBOXID \n"
                "P: a OK [READ-WRITE]\n"
                "C: b EXAMINE Sent\n"
                "P: * OK [CLOSED]\n"
                "P: * FLAGS (\n"
                "P: * OK [PERMANENTFLAGS (\n"
                "S: * 0 EXISTS\n"
                "S: * LIST (\\Sent) \"/\" Sent\n"
                "P: * OK [UIDVALIDITY \n"
                "P: * OK [UIDNEXT \n"
                "P: * OK [MAILBOXID \n"
                "P: b OK [READ-ONLY]\n"
                "C: c SELECT nowhere\n"
                "P: * OK [CLOSED]\n"
                "P: c NO [NONEXISTENT]\n",
                AT_ONCE);
    end(&h, fd);
}

/* [RFC9051 6.3.1, 6.4.4, 6.4.9, 7.3.4]: ESEARCH also where nothing was said of it, and without a
 * hit. */
static void searches_are_answered_with_esearch(void **state)
{
    struct home h;
    int fd = begin(&h, two);
    client_talk(fd,
                "C: a SELECT INBOX\n"
                "P: * F\nP: * OK\nP: * 2 E\nP: * L\nP: * OK\nP: * OK\nP: * OK\nP: a OK\n"
                "C: b SEARCH ALL\n"
                "S: * ESEARCH (TAG \"b\") ALL 1:2\n"
                "P: b OK\n"
                "C: c UID SEARCH SUBJECT two\n"
                "S: * ESEARCH (TAG \"c\") UID ALL 2\n"
                "P: c OK\n"
                "C: d SEARCH DELETED\n"
                "S: * ESEARCH (TAG \"d\")\n"
                "P: d OK\n"
                "C: e SEARCH RETURN (COUNT) ALL\n"
                "S: * ESEARCH (TAG \"e\") COUNT 2\n"
                "P: e OK\n"
                /* Without a charset it is UTF-8, and to say so is allowed [RFC9051 6.4.4]. */
                "C: f SEARCH SUBJECT \"gr\xc3\xbc\"\n"
                "S: * ESEARCH (TAG \"f\")\n"
                "P: f OK\n"
                "C: g SEARCH CHARSET UTF-8 SUBJECT two\n"
                "S: * ESEARCH (TAG \"g\") ALL 2\n"
                "P: g OK\n"
                "C: g SEARCH CHARSET klingon SUBJECT two\n"
                "P: g NO [BADCHARSET\n",
                AT_ONCE);
    end(&h, fd);
}

/* [RFC9051 7.5.2]: what nobody asked for has the UID; also in IDLE [RFC9051 6.3.13]. */
static void news_have_uids(void **state)
{
    struct home h;
    int fd = begin(&h, two);
    client_talk(fd,
                "C: a SELECT INBOX\n"
                "P: * F\nP: * OK\nP: * 2 E\nP: * L\nP: * OK\nP: * OK\nP: * OK\nP: a OK\n",
                AT_ONCE);
    home_flag(&h, h.alice, 2, STORE_FLAGGED);
    client_talk(fd,
                "C: b NOOP\nS: * 2 FETCH (UID 2 FLAGS (\\Flagged))\nP: b OK\n"
                "C: c IDLE\nP: + \n",
                AT_ONCE);
    home_flag(&h, h.alice, 1, STORE_ANSWERED);
    client_talk(fd,
                "S: * 1 FETCH (UID 1 FLAGS (\\Answered))\n"
                "C: DONE\nP: c OK\n",
                AT_ONCE);
    end(&h, fd);
}

/* [RFC9051 6.3.11]: SIZE and DELETED, of the selected mailbox and of others, and in LIST. */
static void status_counts_what_is_deleted(void **state)
{
    struct home h;
    int fd = begin(&h, two);
    home_flag(&h, h.alice, 2, STORE_DELETED);
    client_talk(fd,
                "C: a STATUS INBOX (MESSAGES SIZE DELETED)\n"
                "S: * STATUS INBOX (MESSAGES 2 SIZE 39 DELETED 1)\n"
                "P: a OK\n"
                "C: b LIST \"\" (INBOX Sent) RETURN (STATUS (DELETED))\n"
                "S: * LIST (\\HasNoChildren) \"/\" INBOX\n"
                "S: * STATUS INBOX (DELETED 1)\n"
                "S: * LIST (\\HasNoChildren \\Sent) \"/\" Sent\n"
                "S: * STATUS Sent (DELETED 0)\n"
                "P: b OK\n",
                AT_ONCE);
    end(&h, fd);
}

/* [RFC9051 5.1, 6.3.6, 6.3.9.7, 7.3.1] */
static void names_are_utf8(void **state)
{
    static const char *const none[] = {NULL};
    struct home h;
    int fd = begin(&h, none);
    client_talk(fd,
                "C: a CREATE \"Entw\xc3\xbcrfe & mehr\"\n"
                "P: a OK\n"
                "C: b LIST \"\" Entw*\n"
                "S: * LIST (\\HasNoChildren) \"/\" \"Entw\xc3\xbcrfe & mehr\"\n"
                "P: b OK\n"
                "C: c RENAME \"Entw\xc3\xbcrfe & mehr\" neu\n"
                "S: * LIST () \"/\" neu (\"OLDNAME\" (\"Entw\xc3\xbcrfe & mehr\"))\n"
                "P: c OK\n"
                "C: d CREATE \"u\xcc\x88\"\n"
                "P: d NO [CANNOT]\n"
                "C: f RENAME neu \"u\xcc\x88\"\n"
                "P: f NO [CANNOT]\n",
                AT_ONCE);
    int other = client_login(&h); /* the one beside it has modified UTF-7 [RFC9051 A.1, 13.2.2] */
    client_talk(other,
                "C: a RENAME neu &U,BTFw-\n"
                "P: a OK\n"
                "C: b LIST \"\" &U,BTFw-\n"
                "S: * LIST (\\HasNoChildren) \"/\" &U,BTFw-\n"
                "P: b OK\n",
                AT_ONCE);
    client_talk(fd,
                "C: g LIST \"\" \"\xe5\x8f\xb0*\"\n"
                "S: * LIST (\\HasNoChildren) \"/\" \"\xe5\x8f\xb0\xe5\x8c\x97\"\n"
                "P: g OK\n",
                AT_ONCE);
    client_close(h.net, other);
    end(&h, fd);
}

/* [RFC9051 2.3.2]: allowed in SEARCH, and kept by APPEND, COPY and MOVE. */
static void keywords_of_rev2_are_kept(void **state)
{
    static const char *const none[] = {NULL};
    struct home h;
    int fd = begin(&h, none);
    client_talk(
        fd,
        "C: a APPEND INBOX ($Forwarded $MDNSent $Junk $NotJunk $Phishing) {8+}\n"
        "C: A: b\n"
        "C: \n"
        "C: \n"
        "P: a OK [APPENDUID\n"
        "C: b SELECT INBOX\n"
        "S: * FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft"
        " $Forwarded $MDNSent $Junk $NotJunk $Phishing)\n"
        "P: * OK [PERMANENTFLAGS (\n"
        "P: * 1 E\nP: * L\nP: * OK\nP: * OK\nP: * OK\nP: b OK\n"
        "C: c SEARCH KEYWORD $Phishing KEYWORD $forwarded\n"
        "S: * ESEARCH (TAG \"c\") ALL 1\n"
        "P: c OK\n"
        "C: d COPY 1 INBOX\n"
        "S: * 2 EXISTS\n"
        "P: d OK [COPYUID \n"
        "C: d FETCH 2 FLAGS\n"
        "S: * 2 FETCH (FLAGS ($Forwarded $MDNSent $Junk $NotJunk $Phishing))\n"
        "P: d OK\n"
        "C: d MOVE 1 Junk\n"
        "P: * OK [COPYUID \n"
        "S: * 1 EXPUNGE\n"
        "P: d OK\n"
        "C: f SELECT Junk\n"
        "P: * OK [CLOSED]\n"
        "P: * F\nP: * OK\nP: * 1 E\nP: * LIST (\\Junk)\nP: * OK\nP: * OK\nP: * OK\nP: f OK\n"
        "C: g FETCH 1 FLAGS\n"
        "S: * 1 FETCH (FLAGS ($Forwarded $MDNSent $Junk $NotJunk $Phishing))\n"
        "P: g OK\n",
        AT_ONCE);
    end(&h, fd);
}

/* [RFC9051 7.5.2, 9]: a message within, whatever its header may hold; IMAP4rev1 shows it as before.
 */
static void global_messages_are_shown(void **state)
{
    static const char *const mails[] = {
        "Content-Type: message/global\r\n\r\nSubject: in\r\n\r\nbody\r\n",
        "Content-Type: message/global\r\nContent-Transfer-Encoding: base64\r\n\r\nU3ViamVjdA==\r\n",
        NULL};
    struct home h;
    int fd = begin(&h, mails);
    client_talk(fd,
                "C: a SELECT INBOX\n"
                "P: * F\nP: * OK\nP: * 2 E\nP: * L\nP: * OK\nP: * OK\nP: * OK\nP: a OK\n"
                "C: b FETCH 1 (BODYSTRUCTURE)\n"
                "S: * 1 FETCH (BODYSTRUCTURE (\"message\" \"global\" NIL NIL NIL \"7bit\" 21"
                " (NIL \"in\" NIL NIL NIL NIL NIL NIL NIL NIL)"
                " (\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 6 1"
                " NIL NIL NIL NIL) 3 NIL NIL NIL NIL))\n"
                "P: b OK\n"
                "C: b FETCH 1 (BODY)\n"
                "S: * 1 FETCH (BODY (\"message\" \"global\" NIL NIL NIL \"7bit\" 21"
                " (NIL \"in\" NIL NIL NIL NIL NIL NIL NIL NIL)"
                " (\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 6 1) 3))\n"
                "P: b OK\n"
                "C: c FETCH 2 (BODY)\n"
                "S: * 2 FETCH (BODY (\"application\" \"octet-stream\" NIL NIL NIL \"base64\" 14))\n"
                "P: c OK\n",
                AT_ONCE);
    int other = client_select(&h, "SELECT");
    client_talk(other,
                "C: b FETCH 1 (BODY BODYSTRUCTURE)\n"
                "S: * 1 FETCH (BODY (\"message\" \"global\" NIL NIL NIL \"7bit\" 21)"
                " BODYSTRUCTURE (\"message\" \"global\" NIL NIL NIL \"7bit\" 21 NIL NIL NIL NIL))\n"
                "P: b OK\n",
                AT_ONCE);
    client_close(h.net, other);
    end(&h, fd);
}

/* [RFC9051 7.5.2]: what pieces of a parameter mean, in UTF-8, and under the same name; those of a
 * Content-Disposition are joined and no more. IMAP4rev1 has the form of the message. */
static void parameters_are_told_in_utf8(void **state)
{
    static const char *const mails[] = {
        "Content-Type: application/x; n*1*=%E9; n*0*=iso-8859-1'de'%C4 ; o*=utf-8''%C3%BC; p*0=a;"
        " p*1=b; q*=none\r\n"
        "Content-Disposition: attachment; filename*0*=utf-8''%C3; filename*1*=%BC\r\n\r\nx\r\n",
        NULL};
    struct home h;
    int fd = begin(&h, mails);
    client_talk(fd,
                "C: a SELECT INBOX\n"
                "P: * F\nP: * OK\nP: * 1 E\nP: * L\nP: * OK\nP: * OK\nP: * OK\nP: a OK\n"
                "C: b FETCH 1 (BODYSTRUCTURE)\n"
                "S: * 1 FETCH (BODYSTRUCTURE (\"application\" \"x\" (\"n*\" {4}\n"
                "S: \xc3\x84\xc3\xa9 \"o*\" {2}\n"
                "S: \xc3\xbc \"p\" \"ab\" \"q*\" \"none\") NIL NIL \"7bit\" 3 NIL"
                " (\"attachment\" (\"filename*\" \"utf-8''%C3%BC\")) NIL NIL))\n"
                "P: b OK\n",
                AT_ONCE);
    int other = client_select(&h, "SELECT");
    client_talk(other,
                "C: b FETCH 1 (BODYSTRUCTURE)\n"
                "S: * 1 FETCH (BODYSTRUCTURE (\"application\" \"x\""
                " (\"n*\" \"iso-8859-1'de'%C4%E9\" \"o*\" \"utf-8''%C3%BC\" \"p\" \"ab\" \"q*\""
                " \"none\") NIL NIL \"7bit\" 3 NIL"
                " (\"attachment\" (\"filename*\" \"utf-8''%C3%BC\")) NIL NIL))\n"
                "P: b OK\n",
                AT_ONCE);
    client_close(h.net, other);
    end(&h, fd);
}

static bool has_preview(struct home *h)
{
    struct inbox in = inbox_open(h->store, h->alice);
    struct arena arena = {0};
    struct str summary, preview;
    uint64_t email = store_root_at(in.root, 0)->email;
    assert_rc(store_summaries(in.account, &email, 1, 0, &arena, &summary), RC_OK);
    bool has = mime_summary_preview(summary, &preview);
    arena_fini(&arena);
    inbox_close(&in);
    return has;
}

/* What is shown to IMAP4rev2 alone takes the place of nothing. STORE comes behind what is kept. */
static void what_is_kept_of_global_messages_stays(void **state)
{
    static const char *const mails[] = {
        "Content-Type: message/global\r\n\r\nSubject: in\r\n\r\nbody\r\n", NULL};
    struct home h;
    int fd = begin(&h, mails);
    client_talk(fd,
                "C: a SELECT INBOX\n"
                "P: * F\nP: * OK\nP: * 1 E\nP: * L\nP: * OK\nP: * OK\nP: * OK\nP: a OK\n"
                "C: b FETCH 1 (BODY)\nP: * 1 FETCH (BODY (\"message\" \nP: b OK\n"
                "C: c STORE 1 +FLAGS.SILENT (a)\nP: * FLAGS\nP: * OK\nP: c OK\n"
                "C: d FETCH 1 (PREVIEW)\nP: * 1 FETCH (PREVIEW \nP: d OK\n"
                "C: e STORE 1 -FLAGS.SILENT (a)\nP: e OK\n",
                AT_ONCE);
    assert_true(has_preview(&h));
    client_talk(fd,
                "C: f FETCH 1 (BODY)\nP: * 1 FETCH (BODY (\"message\" \nP: f OK\n"
                "C: g STORE 1 +FLAGS.SILENT (a)\nP: g OK\n",
                AT_ONCE);
    assert_true(has_preview(&h));
    end(&h, fd);
}

/* [RFC3501 7.2.1] [RFC9051 6.3.1, 7.2.2, A]: told beside IMAP4rev1, the same before and after;
 * nothing is otherwise before ENABLE, and nothing stays after UNAUTHENTICATE. */
static void it_is_chosen_by_enable(void **state)
{
    struct home h;
    char before[CLIENT_LINE], after[CLIENT_LINE];
    home_make(&h);
    home_start(&h);
    home_deliver(&h, h.alice, two[0]);
    int fd = client_select(&h, "SELECT");
    client_talk(fd,
                "C: a SEARCH ALL\nS: * SEARCH 1\nP: a OK\n"
                "C: b ENABLE IMAP4rev2\n"
                "S: b BAD only while no mailbox is selected\n"
                "C: c UNSELECT\nP: c OK\n"
                "C: d CAPABILITY\n",
                AT_ONCE);
    struct str told = client_line(fd, before, sizeof before);
    assert_true(str_starts(told, STR("* CAPABILITY IMAP4rev1 ")));
    assert_true(str_find(told, STR(" IMAP4rev2 ")) > 0);
    client_talk(fd,
                "P: d OK\n"
                "C: e ENABLE IMAP4rev2\nS: * ENABLED IMAP4rev2\nP: e OK\n"
                "C: f ENABLE IMAP4rev2\nS: * ENABLED\nP: f OK\n"
                "C: g CAPABILITY\n",
                AT_ONCE);
    assert_true(str_eq(client_line(fd, after, sizeof after), told));
    client_talk(fd,
                "P: g OK\n"
                "C: h UNAUTHENTICATE\nP: h OK\n"
                "C: i LOGIN alice@example.test \"pass word\"\nP: i OK\n"
                "C: j SELECT INBOX\n"
                "P: * F\nP: * OK\nS: * 1 EXISTS\nS: * 0 RECENT\nP: * OK [UNSEEN 1]\n"
                "P: * OK [UIDV\nP: * OK [UIDN\nP: * OK [MAILBOXID\nP: j OK\n"
                "C: k SEARCH ALL\nS: * SEARCH 1\nP: k OK\n",
                AT_ONCE);
    end(&h, fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(select_tells_what_rev2_has),
        cmocka_unit_test(searches_are_answered_with_esearch),
        cmocka_unit_test(news_have_uids),
        cmocka_unit_test(status_counts_what_is_deleted),
        cmocka_unit_test(names_are_utf8),
        cmocka_unit_test(keywords_of_rev2_are_kept),
        cmocka_unit_test(global_messages_are_shown),
        cmocka_unit_test(parameters_are_told_in_utf8),
        cmocka_unit_test(what_is_kept_of_global_messages_stays),
        cmocka_unit_test(it_is_chosen_by_enable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
