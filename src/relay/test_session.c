/* Sessions with a host that behaves: what is said, in which order, and what each recipient comes
 * to; every dialog also with the host's words byte by byte. */
#include "relay/test_peer.h"

#define MESSAGE "Subject: x\r\n\r\n.dot\r\ntext\r\n"
#define BODY    "C: Subject: x\nC: \nC: ..dot\nC: text\nC: .\n"
#define HELLO   "S: 220 mx.test\nC: EHLO us.test\n"

struct dialog {
    const char *script, *to, *story;
    struct str message;
    const char *from;
    unsigned flags;
    uint8_t ret, notify, recipient_flags;
    const char *envid, *orcpt;
    enum relay_protocol protocol;
};

static void play(const struct dialog *d, size_t at_once)
{
    struct home h;
    home_begin(&h);
    h.target.protocol = d->protocol;
    home_open(&h);
    struct str message = d->message.n ? d->message : STR(MESSAGE);
    struct letter *l = letter_new(&h, d->from ? d->from : "me@us.test", d->to, message);
    l->item.flags = (uint16_t)d->flags;
    l->item.ret = d->ret;
    l->item.envid = str_of(d->envid);
    l->recipients[0].wish.notify = d->notify;
    l->recipients[0].flags = d->recipient_flags;
    l->recipients[0].wish.orcpt = str_of(d->orcpt);
    relay_session_send(h.session, &l->job);
    int fd = home_accept(&h);
    peer_play(fd, d->script, at_once);
    letter_expect(&l, d->story);
    assert_int_equal(h.ready, 1);
    if (!h.gone)
        relay_session_close(h.session);
    home_wait_gone(&h);
    close(fd);
    home_end(&h);
}

static const struct dialog dialogs[] = {
    /* One after the other [RFC5321 3.3]. */
    {.script = HELLO "S: 250 mx.test\nC: MAIL FROM:<me@us.test>\nS: 250 ok\nC: RCPT TO:<a@b.test>\n"
                     "S: 250 ok\nC: DATA\nS: 354 go\n" BODY "S: 250 2.6.0 queued\n",
     "a@b.test",
     "ok 10 250 2.6.0 queued|open"},
    /* In groups [RFC2920 3.1], sizes [RFC1870 5]. */
    {.script = HELLO
     "S: 250-mx.test\nS: 250-PIPELINING\nS: 250 SIZE 1000\n"
     "C: MAIL FROM:<me@us.test> SIZE=26\nC: RCPT TO:<a@b.test>\nC: RCPT TO:<c@b.test>\n"
     "C: DATA\nS: 250 ok\nS: 550 5.1.1 no such user\nS: 250 ok\nS: 354 go\n" BODY "S: 250 queued\n",
     "a@b.test c@b.test",
     "perm 8 550 5.1.1 no such user|ok 10 250 2.0.0 queued|open"},
    /* Nobody is left, and the host wants the message all the same [RFC2920 3.1]. */
    {.script =
         HELLO "S: 250-mx.test\nS: 250 PIPELINING\nC: MAIL FROM:<me@us.test>\n"
               "C: RCPT TO:<a@b.test>\nC: DATA\nS: 250 ok\nS: 450 4.2.1 later\nS: 354 go\nC: .\n"
               "S: 554 nobody\n",
     "a@b.test",
     "temp 8 450 4.2.1 later|open"},
    {.script =
         HELLO "S: 250-mx.test\nS: 250 PIPELINING\nC: MAIL FROM:<me@us.test>\n"
               "C: RCPT TO:<a@b.test>\nC: DATA\nS: 550 5.7.1 not you\nS: 503 what\nS: 503 what\n",
     "a@b.test",
     "perm 7 550 5.7.1 not you|open"},
    {.script = HELLO "S: 250 mx.test\nC: MAIL FROM:<me@us.test>\nS: 451 4.3.0 later\n",
     "a@b.test c@d.test",
     "temp 7 451 4.3.0 later|temp 7 451 4.3.0 later|open"},
    {.script = HELLO "S: 250 mx.test\nC: MAIL FROM:<me@us.test>\nS: 250 ok\nC: RCPT TO:<a@b.test>\n"
                     "S: 250 ok\nC: DATA\nS: 554 5.7.1 no\n",
     "a@b.test",
     "perm 9 554 5.7.1 no|open"},
    /* Old hosts [RFC5321 3.2]. */
    {.script = HELLO
     "S: 502 what\nC: HELO us.test\nS: 250 mx.test\nC: MAIL FROM:<me@us.test>\nS: 250 ok\n"
     "C: RCPT TO:<a@b.test>\nS: 250 ok\nC: DATA\nS: 354 go\n" BODY "S: 550 spam\n",
     "a@b.test",
     "perm 10 550 5.0.0 spam|open"},
    /* Chunks, at once with the commands [RFC3030 2]; the Return-Path stays [RFC5321 4.4]. */
    {.script =
         HELLO "S: 250-mx.test\nS: 250-PIPELINING\nS: 250-8BITMIME\nS: 250 CHUNKING\n"
               "C: MAIL FROM:<me@us.test> BODY=8BITMIME\nC: RCPT TO:<a@b.test>\nC: BDAT 13 LAST\n"
               "C: X: y\nC: \nC: .\xc3\xa4\nS: 250 ok\nS: 250 ok\nS: 250 queued\n",
     "a@b.test",
     "ok 10 250 2.0.0 queued|open",
     STR_INIT("Return-Path: <me@\r\n us.test>\r\nX: y\r\n\r\n.\xc3\xa4\r\n"),
     NULL,
     QUEUE_8BIT},
    {.script =
         HELLO "S: 250-mx.test\nS: 250-PIPELINING\nS: 250 CHUNKING\nC: MAIL FROM:<me@us.test>\n"
               "C: RCPT TO:<a@b.test>\nC: BDAT 8 LAST\nC: X: y\nC: \nS: 250 ok\nS: 550 5.1.1 no\n"
               "S: 503 no recipients\n",
     "a@b.test",
     "perm 8 550 5.1.1 no|open",
     STR_INIT("X: y\r\n\r\n")},
    /* No line end at the end of the message. */
    {.script =
         HELLO "S: 250 mx.test\nC: MAIL FROM:<>\nS: 250 ok\nC: RCPT TO:<a@b.test>\nS: 251 ok\n"
               "C: DATA\nS: 354 go\nC: x\nC: .\nS: 250 queued\n",
     "a@b.test",
     "ok 10 250 2.0.0 queued|open",
     STR_INIT("x"),
     ""},
    /* Wishes for reports are handed on [RFC3461 5.2.1]. */
    {.script = HELLO
     "S: 250-mx.test\nS: 250 DSN\nC: MAIL FROM:<me@us.test> RET=HDRS ENVID=q+2B\nS: 250 ok\n"
     "C: RCPT TO:<a@b.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;old@b.test\nS: 250 ok\n"
     "C: RCPT TO:<c+d@b.test> ORCPT=rfc822;c+2Bd@b.test\nS: 250 ok\nC: DATA\nS: 354 go\n" BODY
     "S: 250 queued\n",
     "a@b.test c+d@b.test",
     "ok 10 250 2.0.0 queued|ok 10 250 2.0.0 queued|open",
     .ret = SMTP_RET_HDRS,
     .notify = SMTP_NOTIFY_SUCCESS | SMTP_NOTIFY_FAILURE,
     .envid = "q+2B",
     .orcpt = "rfc822;old@b.test"},
    /* ... but the success of an address that stood for several has been told here
     * [RFC3461 5.2.7.3]. */
    {.script = HELLO "S: 250-mx.test\nS: 250 DSN\nC: MAIL FROM:<me@us.test>\nS: 250 ok\n"
                     "C: RCPT TO:<a@b.test> NOTIFY=FAILURE ORCPT=rfc822;old@b.test\n"
                     "S: 250 ok\nC: DATA\nS: 354 go\n" BODY "S: 250 queued\n",
     "a@b.test",
     "ok 10 250 2.0.0 queued|open",
     .notify = SMTP_NOTIFY_SUCCESS | SMTP_NOTIFY_FAILURE,
     .recipient_flags = QUEUE_ALIAS,
     .orcpt = "rfc822;old@b.test"},
    /* An original recipient in UTF-8 for a host without SMTPUTF8 [RFC6533 3]. */
    {.script = HELLO "S: 250-mx.test\nS: 250 DSN\nC: MAIL FROM:<me@us.test>\nS: 250 ok\n"
                     "C: RCPT TO:<a@b.test> ORCPT=utf-8;j\\x{F6}rg@b.test\n"
                     "S: 250 ok\nC: DATA\nS: 354 go\n" BODY "S: 250 queued\n",
     "a@b.test",
     "ok 10 250 2.0.0 queued|open",
     .orcpt = "utf-8;j\xc3\xb6rg@b.test"},
    /* Outside ASCII [RFC6531 3.4]. */
    {.script = HELLO "S: 250-mx.test\nS: 250-8BITMIME\nS: 250 SMTPUTF8\n"
                     "C: MAIL FROM:<me@us.test> BODY=8BITMIME SMTPUTF8\nS: 250 ok\n"
                     "C: RCPT TO:<\xc3\xa4@b.test>\nS: 250 ok\nC: DATA\nS: 354 go\n" BODY
                     "S: 250 queued\n",
     "\xc3\xa4@b.test",
     "ok 10 250 2.0.0 queued|open",
     .flags = QUEUE_UTF8},
    /* So many recipients and no more [RFC9422 4.2], [RFC5321 4.5.3.1.10]. */
    {.script = HELLO
     "S: 250-mx.test\nS: 250 LIMITS RCPTMAX=1\nC: MAIL FROM:<me@us.test>\nS: 250 ok\n"
     "C: RCPT TO:<a@b.test>\nS: 250 ok\nC: DATA\nS: 354 go\n" BODY
     "S: 250 one\nC: MAIL FROM:<me@us.test>\nS: 250 ok\nC: RCPT TO:<c@b.test>\nS: 250 ok\n"
     "C: DATA\nS: 354 go\n" BODY "S: 250 two\n",
     "a@b.test c@b.test",
     "ok 10 250 2.0.0 one|ok 10 250 2.0.0 two|open"},
    {.script = HELLO
     "S: 250-mx.test\nS: 250 PIPELINING\nC: MAIL FROM:<me@us.test>\nC: RCPT TO:<a@b.test>\n"
     "C: RCPT TO:<c@b.test>\nC: DATA\nS: 250 ok\nS: 250 ok\nS: 452 4.5.3 too many\n"
     "S: 354 go\n" BODY "S: 250 one\nC: MAIL FROM:<me@us.test>\nC: RCPT TO:<c@b.test>\n"
     "C: DATA\nS: 250 ok\nS: 452 4.2.2 full\nS: 503 nobody\n",
     "a@b.test c@b.test",
     "ok 10 250 2.0.0 one|temp 8 452 4.2.2 full|open"},
    {.script = HELLO
     "S: 250-mx.test\nS: 250 LIMITS MAILMAX=1\nC: MAIL FROM:<me@us.test>\nS: 250 ok\n"
     "C: RCPT TO:<a@b.test>\nS: 250 ok\nC: DATA\nS: 354 go\n" BODY "S: 250 one\nC: QUIT\n",
     "a@b.test",
     "ok 10 250 2.0.0 one|closed"},
    /* An answer for each [RFC2033 4.2]. */
    {.script =
         "S: 220 lm.test\nC: LHLO us.test\nS: 250-lm.test\nS: 250-CHUNKING\nS: 250 PIPELINING\n"
         "C: MAIL FROM:<me@us.test>\nC: RCPT TO:<a@b.test>\nC: RCPT TO:<c@b.test>\n"
         "C: RCPT TO:<d@b.test>\nC: DATA\nS: 250 ok\nS: 250 ok\nS: 550 no\nS: 250 ok\nS: 354 "
         "go\n" BODY "S: 250 2.1.5 first\nS: 452 4.2.2 full\n",
     "a@b.test c@b.test d@b.test",
     "ok 10 250 2.1.5 first|perm 8 550 5.0.0 no|temp 10 452 4.2.2 full|open",
     .protocol = RELAY_LMTP},
};

static void dialogs_go_as_they_should(void **state)
{
    for (size_t i = 0; i < sizeof dialogs / sizeof *dialogs; i++) {
        print_message("dialog %zu\n", i);
        play(&dialogs[i], 4096);
        play(&dialogs[i], 1);
    }
}

/* --- what cannot be passed on as it is: known before anything is said */

static void what_is_not_offered(void **state)
{
    static const struct {
        const char *offers, *from, *to;
        struct str message;
        unsigned flags;
        const char *story;
    } rows[] = {
        {"SIZE 10", "a@b", "c@d.test", STR_INIT(MESSAGE), 0,
         "perm 6 0 5.3.4 it is larger than the host takes|open"}, /* [RFC1870 6.1] */
        {"CHUNKING", "a@b", "c@d.test", STR_INIT(MESSAGE), QUEUE_BINARY,
         "perm 6 0 5.6.3 it is binary, and the host does not offer BINARYMIME|open"},
        {"DSN", "a@b", "c@d.test", STR_INIT("X: y\r\n\r\n\xe4\r\n"), QUEUE_8BIT,
         "perm 6 0 5.6.3 it has 8-bit text, and the host does not offer 8BITMIME|open"},
        {"8BITMIME", "a@b", "c@d.test", STR_INIT("X: \xc3\xa4\r\n\r\n"), QUEUE_UTF8,
         "perm 6 0 5.6.7 it or its address is not in ASCII, and the host does not offer "
         "SMTPUTF8|open"},
        {"8BITMIME", "\xc3\xa4@b", "c@d.test", STR_INIT(MESSAGE), 0,
         "perm 6 0 5.6.7 it or its address is not in ASCII, and the host does not offer "
         "SMTPUTF8|open"},
        {"REQUIRETLS", "a@b", "c@d.test", STR_INIT(MESSAGE), QUEUE_REQUIRETLS,
         "perm 6 0 5.7.10 its sender requires TLS, and the host is not known to give it|open"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct home h;
        char script[200];
        home_begin(&h);
        home_open(&h);
        struct letter *l = letter_new(&h, rows[i].from, rows[i].to, rows[i].message);
        l->item.flags = (uint16_t)rows[i].flags;
        relay_session_send(h.session, &l->job);
        int fd = home_accept(&h);
        snprintf(script, sizeof script, HELLO "S: 250-mx.test\nS: 250 %s\n", rows[i].offers);
        peer_play(fd, script, 4096);
        letter_expect(&l, rows[i].story);
        relay_session_close(h.session);
        client_expect(fd, STR("QUIT\r\n"));
        home_wait_gone(&h);
        close(fd);
        home_end(&h);
    }
}

/* What is said of a message may be more than it needs: a look at it tells. */
static void what_is_not_needed(void **state)
{
    const struct dialog rows[] = {
        {.script =
             HELLO "S: 250 mx.test\nC: MAIL FROM:<me@us.test>\nS: 250 ok\nC: RCPT TO:<a@b.test>\n"
                   "S: 250 ok\nC: DATA\nS: 354 go\n" BODY "S: 250 queued\n",
         "a@b.test",
         "ok 10 250 2.0.0 queued|open",
         .flags = QUEUE_8BIT | QUEUE_UTF8},
        {.script = HELLO
         "S: 250-mx.test\nS: 250 8BITMIME\nC: MAIL FROM:<me@us.test> BODY=8BITMIME\n"
         "S: 250 ok\nC: RCPT TO:<a@b.test>\nS: 250 ok\nC: DATA\nS: 354 go\n" BODY "S: 250 queued\n",
         "a@b.test \xc3\xa4@b.test",
         "ok 10 250 2.0.0 queued|perm 6 0 5.6.7 it or its address is not in ASCII, and the host "
         "does not offer SMTPUTF8|open",
         .flags = QUEUE_UTF8},
        {.script =
             HELLO "S: 250 mx.test\nC: MAIL FROM:<me@us.test>\nS: 250 ok\nC: RCPT TO:<a@b.test>\n"
                   "S: 250 ok\nC: DATA\nS: 354 go\n" BODY "S: 250 queued\n",
         "a@b.test> a@b.test", /* cannot be written */
         "perm 6 0 5.1.3 the address cannot be written in SMTP|ok 10 250 2.0.0 queued|open"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        play(&rows[i], 4096);
}

/* --- one connection, several jobs */

static void connections_are_reused(void **state)
{
    struct home h;
    home_begin(&h);
    home_open(&h);
    struct letter *one = letter_new(&h, "me@us.test", "a@b.test", STR("x\r\n"));
    struct letter *two = letter_new(&h, "you@us.test", "a@b.test", STR("y\r\n"));
    struct letter *three = letter_new(&h, "you@us.test", "a@b.test", STR("z\r\n"));
    one->then = h.session;
    one->next = two;
    two->job.prefix = STR("DKIM-Signature: z\r\n");
    relay_session_send(h.session, &one->job);
    int fd = home_accept(&h);
    peer_play(fd,
              HELLO "S: 250-mx.test\nS: 250 PIPELINING\nC: MAIL FROM:<me@us.test>\n"
                    "C: RCPT TO:<a@b.test>\nC: DATA\nS: 250 ok\nS: 550 no\nS: 503 no\n"
                    /* What is open is given up first. */
                    "C: RSET\nC: MAIL FROM:<you@us.test>\nC: RCPT TO:<a@b.test>\nC: DATA\n"
                    "S: 250 reset\nS: 250 ok\nS: 250 ok\nS: 354 go\nC: DKIM-Signature: z\nC: y\n"
                    "C: .\nS: 250 queued\n",
              4096);
    letter_expect(&one, "perm 8 550 5.0.0 no|open");
    letter_expect(&two, "ok 10 250 2.0.0 queued|open");
    relay_session_send(h.session, &three->job);
    peer_play(fd, "C: MAIL FROM:<you@us.test>\nC: RCPT TO:<a@b.test>\nC: DATA\n", 4096);
    relay_session_close(h.session); /* the job ends first */
    peer_play(fd, "S: 250 ok\nS: 250 ok\nS: 354 go\nC: z\nC: .\nS: 250 queued\nC: QUIT\n", 1);
    letter_expect(&three, "ok 10 250 2.0.0 queued|closed");
    home_wait_gone(&h);
    close(fd);
    home_end(&h);
}

/* What is larger than the output takes, and not in memory. */
static void large_messages_go_by_pieces(void **state)
{
    const size_t lines = 40000;
    struct buf text = {.cap = 8 << 20};
    struct home h;
    for (size_t i = 0; i < lines; i++)
        buf_putf(&text, ".line %06zu of many that are not in memory\r\n", i);
    home_begin(&h);
    home_open(&h);
    struct letter *l = letter_new(&h, "me@us.test", "a@b.test", buf_str(&text));
    kv_mem_cold(h.kv, true);
    relay_session_send(h.session, &l->job);
    int fd = home_accept(&h);
    peer_play(fd,
              HELLO "S: 250-mx.test\nS: 250 PIPELINING\nC: MAIL FROM:<me@us.test>\n"
                    "C: RCPT TO:<a@b.test>\nC: DATA\nS: 250 ok\nS: 250 ok\nS: 354 go\n",
              4096);
    char *got = mem_alloc(buf_len(&text) + lines);
    assert_int_equal(client_read(fd, got, buf_len(&text) + lines), buf_len(&text) + lines);
    struct smtp_data d = {0};
    struct str in = str_from(got, buf_len(&text) + lines), piece, want = buf_str(&text);
    while (smtp_data_next(&d, &in, &piece) == RC_OK) {
        assert_true(str_starts(want, piece));
        want = str_skip(want, piece.n);
    }
    assert_int_equal(want.n, 0);
    peer_play(fd, "C: .\nS: 250 queued\n", 4096);
    letter_expect(&l, "ok 10 250 2.0.0 queued|open");
    relay_session_close(h.session);
    home_wait_gone(&h);
    free(got);
    close(fd);
    buf_fini(&text);
    home_end(&h);
}

/* --- logins [RFC4954 4] */

static void logins(void **state)
{
    static const struct {
        const char *script, *story;
    } rows[] = {
        {HELLO "S: 250-mx.test\nS: 250 AUTH LOGIN PLAIN\nC: AUTH PLAIN AHVzZXIAc2VjcmV0\n"
               "S: 235 2.7.0 ok\nC: MAIL FROM:<me@us.test>\nS: 550 no\n",
         "perm 7 550 5.0.0 no|open"}, /* [RFC4616 2] */
        {HELLO "S: 250-mx.test\nS: 250 AUTH LOGIN\nC: AUTH LOGIN\nS: 334 VXNlcm5hbWU6\n"
               "C: dXNlcg==\nS: 334 UGFzc3dvcmQ6\nC: c2VjcmV0\nS: 235 ok\n"
               "C: MAIL FROM:<me@us.test>\nS: 550 no\n",
         "perm 7 550 5.0.0 no|open"},
        {HELLO "S: 250-mx.test\nS: 250 AUTH PLAIN\nC: AUTH PLAIN AHVzZXIAc2VjcmV0\n"
               "S: 535 5.7.8 wrong\n",
         "temp 5 535 4.7.8 the login was refused: wrong|closed"},
        {HELLO "S: 250-mx.test\nS: 250 AUTH GSSAPI\n",
         "temp 5 0 4.7.4 it offers no login that is known here (PLAIN or LOGIN)|closed"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct home h;
        home_begin(&h);
        h.target.login = STR("user");
        h.target.password = STR("secret");
        home_open(&h);
        struct letter *l = letter_new(&h, "me@us.test", "a@b.test", STR("x\r\n"));
        relay_session_send(h.session, &l->job);
        int fd = home_accept(&h);
        peer_play(fd, rows[i].script, 1);
        letter_expect(&l, rows[i].story);
        if (!h.gone && rows[i].story[0] == 'p')
            relay_session_close(h.session);
        home_wait_gone(&h);
        close(fd);
        home_end(&h);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dialogs_go_as_they_should),   cmocka_unit_test(what_is_not_offered),
        cmocka_unit_test(what_is_not_needed),          cmocka_unit_test(connections_are_reused),
        cmocka_unit_test(large_messages_go_by_pieces), cmocka_unit_test(logins),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
