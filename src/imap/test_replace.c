/* REPLACE and UID REPLACE [RFC8508]: one message in another one's place, for everybody at once. */
#include "imap/test_home.h"

#include <string.h>

static void make(struct home *h)
{
    home_make(h);
    home_start(h);
    for (int i = 0; i < 4; i++)
        home_deliver(h, h->alice, "Subject: old\r\n\r\nold\r\n");
}

/* The new UID is told before the EXPUNGE [RFC8508 4.3]; nothing of flags [RFC8508 3.4]; what the
 * old one had is not inherited [RFC8508 1]. */
static void a_message_takes_the_place_of_another(void **state)
{
    struct home h;
    make(&h);
    home_flag(&h, h.alice, 2, STORE_FLAGGED | STORE_SEEN);
    int fd = client_select(&h, "SELECT"), other = client_select(&h, "SELECT");
    client_talk(other, "C: i IDLE\nP: + \n", 1 << 20);
    client_talk(fd,
                "C: a REPLACE 2 INBOX (\\Draft) \"17-Jul-1996 02:44:25 -0700\" {14}\n"
                "P: + \n"
                "C: Subject: new\n" /* and half of the line's end belongs to it */
                "C: \n"
                "P: * OK [APPENDUID \n"
                "S: * 2 EXPUNGE\n"
                "S: * 4 EXISTS\n"
                "S: a OK REPLACE completed\n"
                "C: b UID FETCH 1:* (FLAGS)\n"
                "S: * 1 FETCH (UID 1 FLAGS ())\n"
                "S: * 2 FETCH (UID 3 FLAGS ())\n"
                "S: * 3 FETCH (UID 4 FLAGS ())\n"
                "S: * 4 FETCH (UID 5 FLAGS (\\Draft))\n"
                "S: b OK UID FETCH completed\n",
                1 << 20);
    client_talk(other, "S: * 2 EXPUNGE\nS: * 4 EXISTS\nC: DONE\nP: i OK \n", 1 << 20);
    client_talk(fd,
                "C: c UID REPLACE 4 {5}\n"
                "P: + \n"
                "C: INBOX {8+}\n"
                "C: A: b\n"
                "C: \n"
                "C: \n"
                "P: * OK [APPENDUID \n"
                "S: * 3 EXPUNGE\n"
                "S: * 4 EXISTS\n"
                "S: c OK UID REPLACE completed\n"
                "C: d REPLACE * INBOX {8+}\n"
                "C: A: c\n"
                "C: \n"
                "C: \n"
                "P: * OK [APPENDUID \n"
                "S: * 4 EXPUNGE\n"
                "S: * 4 EXISTS\n"
                "S: d OK REPLACE completed\n"
                "C: e CREATE Outgoing\n"
                "P: e OK \n"
                "C: f REPLACE 4 Outgoing {8+}\n" /* into another mailbox [RFC8508 3.4] */
                "C: A: d\n"
                "C: \n"
                "C: \n"
                "P: * OK [APPENDUID \n"
                "S: * 4 EXPUNGE\n"
                "S: f OK REPLACE completed\n"
                "C: g STATUS Outgoing (MESSAGES)\n"
                "S: * STATUS Outgoing (MESSAGES 1)\n"
                "S: g OK STATUS completed\n",
                1 << 20);
    client_close(h.net, fd);
    client_close(h.net, other);
    home_assert_sound(&h, h.alice);
    home_end(&h);
}

/* Nothing is done, and the literal is not taken for commands. */
static void what_is_refused(void **state)
{
    struct home h;
    make(&h);
    int fd = client_login(&h);
    client_talk(fd,
                "C: a REPLACE 1 INBOX {8}\n" /* only with a mailbox selected [RFC8508 3.5] */
                "P: + \n"
                "C: A: b\n"
                "C: \n"
                "C: \n"
                "S: a BAD select a mailbox first\n",
                1 << 20);
    close(fd);
    fd = client_select(&h, "EXAMINE");
    client_talk(fd, "C: a UID REPLACE 1 INBOX {8}\nP: a NO [READ-ONLY] \n", 1 << 20);
    close(fd);
    fd = client_select(&h, "SELECT");
    client_talk(fd,
                "C: a REPLACE 9 INBOX {8}\n"
                "S: a BAD there is no message of this number\n"
                "C: b UID REPLACE 9 INBOX {8+}\n"
                "C: A: b\n"
                "C: \n"
                "C: \n"
                "S: b NO there is no message of this UID\n"
                "C: c REPLACE 1 Nowhere {8}\n"
                "P: c NO [TRYCREATE] \n" /* as APPEND says it [RFC8508 3.4] */
                "C: d REPLACE 1 INBOX {60000000}\n"
                "P: d NO [TOOBIG] \n"
                "C: e REPLACE 1 INBOX {8+}\n"
                "C: A: b\n"
                "C: \n"
                "C:  {8}\n" /* a second message [RFC8508 4.7] */
                "S: e BAD expected the end of the command\n"
                "C: f REPLACE 1 INBOX\n"
                "S: f BAD expected a message as a literal\n"
                "C: g REPLACE 1\n"
                "P: g BAD \n"
                "C: i REPLACE 1:2 INBOX\n"
                "S: i BAD expected one message\n"
                "C: j STATUS INBOX (MESSAGES UIDNEXT)\n"
                "S: * STATUS INBOX (MESSAGES 4 UIDNEXT 5)\n"
                "S: j OK STATUS completed\n",
                1 << 20);
    /* Expunged by somebody else: nothing is added. */
    home_expunge(&h, h.alice, 2);
    client_talk(fd,
                "C: k REPLACE 2 INBOX {8+}\n"
                "C: A: b\n"
                "C: \n"
                "C: \n"
                "S: * 2 EXPUNGE\n"
                "S: k NO [EXPUNGEISSUED] some of the messages have been expunged\n",
                1 << 20);
    client_close(h.net, fd);
    home_assert_sound(&h, h.alice);
    home_end(&h);
}

/* As UID EXPUNGE [RFC8508 4.5]: VANISHED, and HIGHESTMODSEQ in the answer [RFC7162 3.2.9]; with
 * UIDs only, no numbers [RFC9586 3.2]. */
static void with_what_else_is_enabled(void **state)
{
    struct home h;
    make(&h);
    int fd = client_login(&h);
    char line[CLIENT_LINE];
    client_talk(fd, "C: a ENABLE QRESYNC UIDONLY\nP: * ENABLED \nP: a OK \nC: b SELECT INBOX\n",
                1 << 20);
    while (!str_starts(client_line(fd, line, sizeof line), STR("b OK")))
        assert_true(line[0] == '*');
    client_talk(fd,
                "C: c REPLACE 1 INBOX {8+}\n"
                "C: A: b\n"
                "C: \n"
                "C: \n"
                "P: c BAD [UIDREQUIRED] \n"
                "C: d UID REPLACE 2 INBOX {8+}\n"
                "C: A: b\n"
                "C: \n"
                "C: \n"
                "P: * OK [APPENDUID \n"
                "S: * VANISHED 2\n"
                "S: * 4 EXISTS\n"
                "P: d OK [HIGHESTMODSEQ \n",
                1 << 20);
    client_close(h.net, fd);
    home_end(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_takes_the_place_of_another),
        cmocka_unit_test(what_is_refused),
        cmocka_unit_test(with_what_else_is_enabled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
