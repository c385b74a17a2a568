/* Sessions with hosts that misbehave, in every state: each ends soon, with one outcome that says
 * what happened and is of the right class; and TLS that is there, is not, or is broken. */
#include "net/test_cert.h"
#include "relay/test_peer.h"

#define HELLO "S: 220 mx.test\nC: EHLO us.test\nS: 250 mx.test\n"
#define MAIL  "C: MAIL FROM:<me@us.test>\nS: 250 ok\n"
#define RCPT  "C: RCPT TO:<a@b.test>\nS: 250 ok\n"
#define DATA  "C: DATA\nS: 354 go\n"
#define BODY  "C: x\nC: .\n"

static void expect_end(const char *script, const char *story, size_t at_once)
{
    struct home h;
    home_begin(&h);
    home_open(&h);
    struct letter *l = letter_new(&h, "me@us.test", "a@b.test", STR("x\r\n"));
    relay_session_send(h.session, &l->job);
    int fd = home_accept(&h);
    peer_play(fd, script, at_once);
    letter_expect(&l, story);
    home_wait_gone(&h);
    home_end(&h);
}

struct row {
    const char *script, *story;
};

static void hosts_close_at_any_time(void **state)
{
    static const struct row rows[] = {
        {"X", "temp 2 0 4.4.2 the connection ended before the answer to the greeting|closed"},
        {"S: 220 mx\nC: EHLO us.test\nX",
         "temp 3 0 4.4.2 the connection ended before the answer to EHLO|closed"},
        {HELLO "C: MAIL FROM:<me@us.test>\nX",
         "temp 7 0 4.4.2 the connection ended before the answer to MAIL|closed"},
        {HELLO MAIL "C: RCPT TO:<a@b.test>\nX",
         "temp 8 0 4.4.2 the connection ended before the answer to RCPT|closed"},
        {HELLO MAIL RCPT "C: DATA\nX",
         "temp 9 0 4.4.2 the connection ended before the answer to DATA|closed"},
        {HELLO MAIL RCPT DATA BODY "X",
         "temp 10 0 4.4.2 the connection ended before the answer to the message|closed"},
        {HELLO MAIL RCPT DATA BODY "R", "temp 10 0 4.4.2 the connection ended before the answer to "
                                        "the message: Connection reset by peer|closed"},
        {HELLO MAIL "C: RCPT TO:<a@b.test>\nS: 250-half\nX",
         "temp 8 0 4.4.2 the connection ended before the answer to RCPT|closed"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        expect_end(rows[i].script, rows[i].story, 4096);
        expect_end(rows[i].script, rows[i].story, 1);
    }
}

/* [RFC5321 3.8] */
static void farewells_at_any_time(void **state)
{
    static const struct row rows[] = {
        {"S: 421 4.3.2 busy\nX", "temp 2 421 4.3.2 busy|closed"},
        {"S: 554 5.7.1 not you\nX", "perm 2 554 5.7.1 not you|closed"},
        {"S: 521 no mail\nX", "perm 2 521 5.3.2 no mail|closed"}, /* [RFC7504 2] */
        {"S: 220 mx\nC: EHLO us.test\nS: 421 busy\nX", "temp 3 421 4.3.2 busy|closed"},
        {"S: 220 mx\nC: EHLO us.test\nS: 500 what\nC: HELO us.test\nS: 501 no\nX",
         "perm 3 501 5.5.4 no|closed"},
        {HELLO "C: MAIL FROM:<me@us.test>\nS: 421 4.7.0 too much\nX",
         "temp 7 421 4.7.0 too much|closed"},
        {HELLO MAIL "C: RCPT TO:<a@b.test>\nS: 421 bye\nX", "temp 8 421 4.3.2 bye|closed"},
        {HELLO MAIL RCPT "C: DATA\nS: 421 bye\nX", "temp 9 421 4.3.2 bye|closed"},
        {HELLO MAIL RCPT DATA BODY "S: 421 bye\nX", "temp 10 421 4.3.2 bye|closed"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        expect_end(rows[i].script, rows[i].story, 4096);
}

static void nonsense_at_any_time(void **state)
{
    static const struct row rows[] = {
        {"S: HTTP/1.1 400 Bad Request\nX",
         "temp 2 0 4.5.0 no SMTP: HTTP/1.1 400 Bad Request|closed"},
        {"S: \xff\xfe\x1b[2J\nX", "temp 2 0 4.5.0 no SMTP: ???[2J|closed"},
        {"S: 354 go\nX", "temp 2 354 4.5.0 go|closed"},
        {"S: 220-mx\nS: 554 both\nX", "temp 2 0 4.5.0 no SMTP: 554 both|closed"},
        {HELLO MAIL RCPT "C: DATA\nS: 250 what\nX",
         "temp 9 250 4.5.0 it spoke out of turn: what|closed"},
        {HELLO MAIL RCPT DATA BODY "S: 354 again\nX", "temp 10 354 4.5.0 again|open"},
        {HELLO MAIL RCPT DATA BODY "S: 1\nX", "temp 10 0 4.5.0 no SMTP: 1|closed"},
        {HELLO "C: MAIL FROM:<me@us.test>\nS: 250 ok\nS: 250 early\nX", NULL},
        {"S: 220 mx\nS: 250 early\nX", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows - 2; i++)
        expect_end(rows[i].script, rows[i].story, 4096);
    /* Answers before their questions: the words depend on when they come, the class does not. */
    for (size_t i = sizeof rows / sizeof *rows - 2; i < sizeof rows / sizeof *rows; i++) {
        struct home h;
        home_begin(&h);
        home_open(&h);
        struct letter *l = letter_new(&h, "me@us.test", "a@b.test", STR("x\r\n"));
        relay_session_send(h.session, &l->job);
        peer_play(home_accept(&h), rows[i].script, 4096);
        letter_wait(l);
        assert_rc(l->outcomes[0].rc, RC_TEMP);
        home_wait_gone(&h);
        letter_free(&l);
        home_end(&h);
    }
}

/* A line of 1 MB, a reply that never ends: a bound, and an end. */
static void answers_without_end(void **state)
{
    for (int is_line = 0; is_line < 2; is_line++) {
        struct home h;
        char got[PEER_STORY];
        home_begin(&h);
        home_open(&h);
        struct letter *l = letter_new(&h, "me@us.test", "a@b.test", STR("x\r\n"));
        relay_session_send(h.session, &l->job);
        int fd = home_accept(&h);
        for (size_t n = 0; n < 1 << 20; n += 10)
            if (send(fd, is_line ? "xxxxxxxxxx" : "220-more\r\n", 10, MSG_NOSIGNAL) < 0)
                break;
        letter_wait(l);
        letter_story(l, got);
        assert_true(str_starts(str_of(got), STR("temp 2 0 4.5.0 an answer without end: ")));
        assert_true(l->outcomes[0].text.n <= RELAY_TEXT_MAX);
        letter_free(&l);
        home_wait_gone(&h);
        close(fd);
        home_end(&h);
    }
}

/* Silence, and a byte now and then, which extends nothing. */
static void slow_hosts_have_their_time(void **state)
{
    static const struct row rows[] = {
        {"", "temp 2 0 4.4.2 no answer to the greeting in time|closed"},
        {HELLO "C: MAIL FROM:<me@us.test>\n", "temp 7 0 4.4.2 no answer to MAIL in time|closed"},
        {HELLO MAIL RCPT DATA BODY, "temp 10 0 4.4.2 no answer to the message in time|closed"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct home h;
        home_begin(&h);
        h.settings.command_ms = i == 0 ? 200 : 3000;
        home_open(&h);
        struct letter *l = letter_new(&h, "me@us.test", "a@b.test", STR("x\r\n"));
        relay_session_send(h.session, &l->job);
        int fd = home_accept(&h);
        peer_play(fd, rows[i].script, 4096);
        for (int k = 0; !l->done; k++) {
            send(fd, k < 3 ? &"250-"[k] : "x", 1, MSG_NOSIGNAL);
            usleep(20000);
        }
        letter_expect(&l, rows[i].story);
        home_wait_gone(&h);
        close(fd);
        home_end(&h);
    }
}

/* --- connections */

static void hosts_that_are_not_there(void **state)
{
    struct home h;
    home_begin(&h);
    close(h.listener);
    home_open(&h); /* fails before there is a job, and waits for one */
    while (counter_get(&h.counters, COUNTER_DIALS_FAILED) == 0)
        usleep(1000);
    struct letter *l = letter_new(&h, "me@us.test", "a@b.test c@b.test", STR("x\r\n"));
    relay_session_send(h.session, &l->job);
    letter_expect(&l, "temp 1 0 4.4.1 cannot connect: Connection refused|temp 1 0 4.4.1 cannot "
                      "connect: Connection refused|closed");
    home_wait_gone(&h);
    assert_int_equal(h.ready, 0);
    assert_int_equal(h.facts.error.failure, NET_FAILED_CONNECT);
    home_open(&h);
    while (counter_get(&h.counters, COUNTER_DIALS_OPEN) > 0)
        usleep(1000);
    relay_session_close(h.session); /* or for its end */
    home_wait_gone(&h);
    h.listener = home_listen(&h);
    home_end(&h);
}

/* One that was closed while it was idle: nothing was tried. */
static void idle_connections_go_stale(void **state)
{
    for (int is_farewell = 0; is_farewell < 2; is_farewell++) {
        struct home h;
        home_begin(&h);
        home_open(&h);
        struct letter *one = letter_new(&h, "me@us.test", "a@b.test", STR("x\r\n"));
        struct letter *two = letter_new(&h, "me@us.test", "a@b.test", STR("x\r\n"));
        relay_session_send(h.session, &one->job);
        int fd = home_accept(&h);
        peer_play(fd, HELLO MAIL RCPT DATA BODY "S: 250 queued\n", 4096);
        letter_expect(&one, "ok 10 250 2.0.0 queued|open");
        if (is_farewell) {
            relay_session_send(h.session, &two->job);
            peer_play(fd, "C: MAIL FROM:<me@us.test>\nS: 421 idle for too long\nX", 4096);
        } else {
            relay_session_send(h.session, &two->job);
            peer_play(fd, "C: MAIL FROM:<me@us.test>\nX", 4096);
        }
        letter_wait(two);
        assert_true(two->job.is_stale);
        assert_false(two->job.is_open);
        letter_free(&two);
        home_wait_gone(&h);
        home_end(&h);
    }
}

/* A host that hears enough before the end: its words count, and the connection ends. */
static void early_answers_count(void **state)
{
    struct buf text = {.cap = 40 << 20};
    struct home h;
    for (size_t i = 0; i < 600000; i++)
        buf_put(&text, STR("a line of a message that is too large for them\r\n"));
    home_begin(&h);
    home_open(&h);
    struct letter *l = letter_new(&h, "me@us.test", "a@b.test", buf_str(&text));
    relay_session_send(h.session, &l->job);
    int fd = home_accept(&h);
    peer_play(fd,
              HELLO MAIL RCPT DATA "C: a line of a message that is too large for them\n"
                                   "S: 552 5.3.4 too much\nX",
              4096);
    letter_wait(l);
    if (l->outcomes[0].code) /* the reset may have come before the words were read */
        assert_int_equal(l->outcomes[0].code, 552);
    assert_false(l->job.is_open);
    letter_free(&l);
    home_wait_gone(&h);
    buf_fini(&text);
    home_end(&h);
}

/* What could be taken for the end of the message is never sent as one. */
static void bare_line_ends_are_not_sent(void **state)
{
    struct home h;
    char got[64];
    home_begin(&h);
    home_open(&h);
    struct letter *l = letter_new(&h, "me@us.test", "a@b.test", STR("x\n.\r\ny\r\n"));
    relay_session_send(h.session, &l->job);
    int fd = home_accept(&h);
    peer_play(fd, HELLO MAIL RCPT DATA, 4096);
    letter_expect(&l, "perm 6 0 5.6.0 it has a bare CR or LF in it, with which it cannot be "
                      "sent|closed");
    size_t n = client_read(fd, got, sizeof got);
    assert_true(n == 0); /* the connection ended */
    home_wait_gone(&h);
    close(fd);
    home_end(&h);
}

/* --- TLS, with a server of net itself */

struct tls_home {
    struct home h;
    struct cert authority, leaf;
    struct net_tls *server_tls;
    struct net_listener listener;
    const char *offer; /* in the answer to EHLO in clear */
    const char *offer_in_tls;
    _Atomic unsigned quits;
    const char *starttls; /* the answer to it */
    const char *in_clear; /* the answer to MAIL then; NULL: "550 seen" */
    const char *sender;   /* NULL: somebody */
};

/* A host of a few words: greets, offers STARTTLS (unless in TLS), takes everything else. */
static enum net_step host_step(struct conn *c, unsigned events)
{
    struct tls_home *t = net_app(c);
    struct str line, in = net_in(c);
    struct smtp_lines lines = {.max = 4096};
    if (events & NET_EV_OPEN)
        buf_put(net_out(c), STR("220 mx.test\r\n"));
    while (smtp_line_next(&lines, &in, &line) == RC_OK) {
        net_consume(c, net_in(c).n - in.n);
        if (str_starts(line, STR("EHLO"))) {
            buf_putf(net_out(c), "250-mx.test\r\n250 %s\r\n",
                     net_is_secure(c) ? t->offer_in_tls : t->offer);
        } else if (str_eq(line, STR("STARTTLS"))) {
            buf_putf(net_out(c), "%s\r\n", t->starttls);
            if (t->starttls[0] == '2')
                return net_has_tls(c) ? NET_TLS : NET_CLOSE;
        } else if (str_starts(line, STR("MAIL")) && t->in_clear && !net_is_secure(c)) {
            buf_putf(net_out(c), "%s\r\n", t->in_clear);
        } else if (str_starts(line, STR("MAIL"))) {
            buf_putf(net_out(c), "550 seen%s%s\r\n", net_is_secure(c) ? " in TLS" : "",
                     str_find(line, STR("REQUIRETLS")) >= 0 ? " required" : "");
        } else {
            t->quits += str_eq(line, STR("QUIT"));
            return NET_CLOSE;
        }
        in = net_in(c);
    }
    return events & (NET_EV_EOF | NET_EV_DRAIN | NET_EV_TIMEOUT) ? NET_CLOSE : NET_READ;
}

static void host_close(struct conn *c)
{
}

static const struct net_proto host = {.name = "host",
                                      .input_max = 8192,
                                      .output_high = 8192,
                                      .busy = "",
                                      .step = host_step,
                                      .close = host_close};

static void tls_begin(struct tls_home *t, const char *names, bool has_tls)
{
    struct buf chain = {.cap = 8192}, key = {.cap = 8192}, ca = {.cap = 8192};
    char why[256];
    home_begin(&t->h);
    t->offer = "STARTTLS";
    t->offer_in_tls = "REQUIRETLS";
    t->starttls = "220 go";
    t->authority = cert_make(NULL, NULL, CERT_SOON);
    t->leaf = cert_make(names, &t->authority, CERT_SOON);
    cert_pem(&t->leaf, &chain);
    cert_key_pem(&t->leaf, &key);
    cert_pem(&t->authority, &ca);
    assert_rc(net_tls_new(buf_str(&chain), buf_str(&key), NULL, &t->server_tls, why), RC_OK);
    assert_rc(net_tls_client_new(buf_str(&ca), &t->h.house.tls, why), RC_OK);
    t->listener = (struct net_listener){
        .fd = t->h.listener, .proto = &host, .app = t, .tls = has_tls ? t->server_tls : NULL};
    struct net_listener *listeners = &t->listener;
    assert_rc(net_relisten(t->h.net, listeners, 1), RC_OK);
    buf_fini(&chain);
    buf_fini(&key);
    buf_fini(&ca);
}

static void tls_end(struct tls_home *t)
{
    struct net_tls_client *client = t->h.house.tls;
    home_end(&t->h);
    net_tls_free(&t->server_tls);
    net_tls_client_free(&client);
    cert_free(&t->leaf);
    cert_free(&t->authority);
}

static void tls_try(struct tls_home *t, unsigned flags, const char *story)
{
    struct letter *l =
        letter_new(&t->h, t->sender ? t->sender : "me@us.test", "a@b.test", STR("x\r\n"));
    l->item.flags = (uint16_t)flags;
    home_open(&t->h);
    struct relay_session *s = t->h.session;
    relay_session_send(s, &l->job);
    letter_wait(l);
    bool is_open = l->job.is_open;
    letter_expect(&l, story);
    if (is_open)
        relay_session_close(s);
    home_wait_gone(&t->h);
}

#define IN_CLEAR "perm 7 550 5.0.0 seen|open"
#define IN_TLS   "perm 7 550 5.0.0 seen in TLS|open"

static void tls_is_taken_where_it_is(void **state)
{
    struct tls_home t = {0};
    tls_begin(&t, "DNS:other.test", true);
    tls_try(&t, 0, IN_TLS);
    assert_true(t.h.facts.is_secure && t.h.facts.has_starttls);
    assert_string_equal(t.h.facts.tls, "TLSv1.3 TLS_AES_128_GCM_SHA256");
    assert_int_equal(t.h.facts.proof, NET_PROOF_NONE);
    t.h.target.tls = RELAY_TLS_NEVER;
    tls_try(&t, 0, IN_CLEAR);
    t.h.target.tls = RELAY_TLS_OPPORTUNISTIC;
    t.starttls = "454 4.7.0 not now"; /* [RFC3207 4] */
    tls_try(&t, 0, IN_CLEAR);
    t.offer = "HELP";
    tls_try(&t, 0, IN_CLEAR);
    tls_end(&t);
    tls_begin(&t, "DNS:mx.test", false); /* says 220, and closes */
    tls_try(&t, 0, IN_CLEAR);
    assert_int_equal(t.h.facts.handshake.failure, NET_FAILED_TLS);
    tls_end(&t);
}

/* A handshake that comes byte by byte, and one whose messages are never whole: a bound in time or
 * size, and an end. */
static void tls_that_never_ends(void **state)
{
    static char record[5 + 16384] = "\x16\x03\x03\x40\x00\x02\xff\xff\xff";
    for (int is_flood = 0; is_flood < 2; is_flood++) {
        struct home h;
        struct net_tls_client *tls;
        char why[256], got[PEER_STORY];
        size_t at = 0;
        home_begin(&h);
        assert_rc(net_tls_client_new((struct str){NULL, 0}, &tls, why), RC_OK);
        h.house.tls = tls;
        h.target.must_tls = true;
        h.settings.command_ms = is_flood ? 300000 : 3000;
        home_open(&h);
        struct letter *l = letter_new(&h, "me@us.test", "a@b.test", STR("x\r\n"));
        relay_session_send(h.session, &l->job);
        int fd = home_accept(&h);
        peer_play(
            fd, "S: 220 mx\nC: EHLO us.test\nS: 250-mx\nS: 250 STARTTLS\nC: STARTTLS\nS: 220 go\n",
            4096);
        while (!l->done) {
            size_t n = is_flood ? sizeof record - at : 1;
            ssize_t sent = send(fd, record + at, n, MSG_NOSIGNAL | MSG_DONTWAIT);
            at = (at + (sent > 0 ? (size_t)sent : 0)) % sizeof record;
            usleep(is_flood ? 100 : 20000);
        }
        letter_story(l, got);
        assert_true(str_starts(str_of(got), STR("temp 4 0 4.7.5 no TLS: ")));
        letter_free(&l);
        home_wait_gone(&h);
        close(fd);
        home_end(&h);
        net_tls_client_free(&tls);
    }
}

/* Where it must show something nothing is said in clear. */
static void required_tls_is_never_left_out(void **state)
{
    struct tls_home t = {0};
    tls_begin(&t, "DNS:mx.test", true);
    t.h.target.tls = RELAY_TLS_VERIFY;
    tls_try(&t, 0, IN_TLS);
    assert_int_equal(t.h.facts.proof, NET_PROOF_NAMED);
    tls_try(&t, QUEUE_REQUIRETLS, /* not in a session that was made for others */
            "perm 6 0 5.7.10 its sender requires TLS, and the host is not known to give it|open");
    t.h.target.name = STR("wanted.test");
    tls_try(&t, 0,
            "temp 4 0 4.7.5 no TLS: its certificate is for other hosts (hostname "
            "mismatch)|closed");
    assert_int_equal(t.h.facts.handshake.certificate, NET_CERTIFICATE_NAME);
    t.starttls = "454 not now";
    tls_try(&t, 0, "temp 4 454 4.7.0 TLS is required, and STARTTLS was refused: not now|closed");
    t.offer = "HELP";
    tls_try(&t, 0, "temp 4 0 4.7.4 TLS is required, and not offered|closed");
    tls_end(&t);
}

/* Messages with REQUIRETLS: all that they ask for is seen to before the first of them is sent; what
 * is missing is missing for good, and the host is told QUIT [RFC8689 4.2.1] [RFC8689 2]. */
static void requiretls_is_kept_to(void **state)
{
    struct tls_home t = {0};
    tls_begin(&t, "DNS:mx.test", true);
    t.h.target.tls = RELAY_TLS_VERIFY;
    t.h.target.must_tls = t.h.target.is_trusted = t.h.target.requires_tls = true;
    tls_try(&t, QUEUE_REQUIRETLS, "perm 7 550 5.0.0 seen in TLS required|open");
    unsigned quits = t.quits;
    t.offer_in_tls = "HELP";
    tls_try(&t, QUEUE_REQUIRETLS,
            "perm 4 0 5.7.30 TLS is required all the way, and REQUIRETLS is not offered|closed");
    for (int i = 0; t.quits == quits; i++) {
        assert_true(i < CLIENT_PATIENCE_MS);
        usleep(1000);
    }
    t.offer_in_tls = "REQUIRETLS";
    t.h.target.name = STR("wanted.test");
    tls_try(&t, QUEUE_REQUIRETLS,
            "perm 4 0 5.7.10 no TLS: its certificate is for other hosts (hostname mismatch)|"
            "closed");
    t.h.target.tls = RELAY_TLS_OPPORTUNISTIC; /* what only encrypts is not enough */
    tls_try(&t, QUEUE_REQUIRETLS,
            "perm 4 0 5.7.10 TLS is required, and the host could not be verified by it|closed");
    t.starttls = "554 never";
    tls_try(&t, QUEUE_REQUIRETLS,
            "perm 4 554 5.0.0 TLS is required, and STARTTLS was refused: never|closed");
    t.starttls = "454 not now";
    tls_try(&t, QUEUE_REQUIRETLS,
            "temp 4 454 4.7.0 TLS is required, and STARTTLS was refused: not now|closed");
    t.offer = "REQUIRETLS"; /* in clear: worth nothing */
    tls_try(&t, QUEUE_REQUIRETLS, "perm 4 0 5.7.10 TLS is required, and not offered|closed");
    tls_end(&t);
}

/* A report about such a message says REQUIRETLS where that can be kept to, and goes out without
 * where it cannot [RFC8689 5]. */
static void reports_require_tls_where_they_can(void **state)
{
    struct tls_home t = {0};
    tls_begin(&t, "DNS:mx.test", true);
    t.sender = "";
    t.h.target.tries_proof = t.h.target.is_trusted = true;
    tls_try(&t, QUEUE_REQUIRETLS, "perm 7 550 5.0.0 seen in TLS required|open");
    t.offer_in_tls = "HELP";
    tls_try(&t, QUEUE_REQUIRETLS, IN_TLS);
    t.offer_in_tls = "REQUIRETLS";
    t.h.target.name = STR("wanted.test");
    tls_try(&t, QUEUE_REQUIRETLS, IN_TLS);
    t.offer = "REQUIRETLS";
    tls_try(&t, QUEUE_REQUIRETLS, IN_CLEAR);
    tls_end(&t);
}

/* "TLS-Required: No": TLS where it works and clear text where it does not; a host that insists
 * refuses, and the message comes back [RFC8689 4.2.2]. */
static void optional_tls_is_tried(void **state)
{
    struct tls_home t = {0};
    tls_begin(&t, "DNS:other.test", true);
    tls_try(&t, QUEUE_TLS_OPTIONAL, IN_TLS);
    tls_end(&t);
    tls_begin(&t, "DNS:mx.test", false); /* says 220, and closes */
    tls_try(&t, QUEUE_TLS_OPTIONAL, IN_CLEAR);
    t.in_clear = "530 5.7.0 Must issue a STARTTLS command first"; /* [RFC3207 4] */
    tls_try(&t, QUEUE_TLS_OPTIONAL, "perm 7 530 5.7.0 Must issue a STARTTLS command first|open");
    tls_end(&t);
}

/* A certificate that is only tried for: what holds is known, what does not is no hindrance
 * [RFC8461 5]. */
static void a_proof_is_tried_for(void **state)
{
    struct tls_home t = {0};
    tls_begin(&t, "DNS:mx.test", true);
    t.h.target.tries_proof = t.h.target.is_trusted = true;
    tls_try(&t, 0, IN_TLS);
    assert_int_equal(t.h.facts.proof, NET_PROOF_NAMED);
    t.h.target.name = STR("wanted.test");
    tls_try(&t, 0, IN_TLS);
    assert_int_equal(t.h.facts.proof, NET_PROOF_NONE);
    assert_int_equal(t.h.facts.handshake.certificate, NET_CERTIFICATE_NAME);
    tls_end(&t);
}

/* [RFC7672 2.2] */
static void dane_decides(void **state)
{
    struct tls_home t = {0};
    unsigned char key[32];
    tls_begin(&t, "DNS:other.test", true);
    cert_tlsa(&t.leaf, 1, key);
    struct relay_tlsa records[] = {{3, 1, 1, str_from(key, 32)}};
    t.h.target.has_dane = true;
    t.h.target.tlsa = records;
    t.h.target.n_tlsa = 1;
    tls_try(&t, 0, IN_TLS);
    assert_int_equal(t.h.facts.proof, NET_PROOF_DANE_EE);
    records[0].usage = 1; /* cannot be used: TLS without a check */
    tls_try(&t, 0, IN_TLS);
    assert_int_equal(t.h.facts.proof, NET_PROOF_NONE);
    t.h.target.n_tlsa = 0;
    tls_try(&t, 0, IN_TLS);
    t.offer = "HELP"; /* but TLS */
    tls_try(&t, 0, "temp 4 0 4.7.4 TLS is required, and not offered|closed");
    t.offer = "STARTTLS";
    t.h.target.n_tlsa = 1;
    records[0].usage = 3;
    key[0] ^= 1;
    tls_try(&t, 0,
            "temp 4 0 4.7.5 no TLS: its certificate does not match the TLSA records (no "
            "matching DANE TLSA records)|closed");
    tls_end(&t);
}

static void passwords_are_said_in_tls(void **state)
{
    struct home h;
    home_begin(&h);
    h.target.login = STR("user");
    h.target.password = STR("secret");
    char why[256];
    struct net_tls_client *tls;
    assert_rc(net_tls_client_new((struct str){NULL, 0}, &tls, why), RC_OK);
    h.house.tls = tls;
    h.target.tls = RELAY_TLS_VERIFY;
    home_open(&h);
    struct letter *l = letter_new(&h, "me@us.test", "a@b.test", STR("x\r\n"));
    relay_session_send(h.session, &l->job);
    int fd = home_accept(&h);
    peer_play(fd, "S: 220 mx\nC: EHLO us.test\nS: 250-mx\nS: 250 AUTH PLAIN\n", 4096);
    letter_expect(&l, "temp 4 0 4.7.4 TLS is required, and not offered|closed");
    client_expect(fd, STR("QUIT\r\n")); /* [RFC5321 4.1.1.10] */
    char got[16];
    assert_int_equal(client_read(fd, got, sizeof got), 0);
    home_wait_gone(&h);
    close(fd);
    home_end(&h);
    net_tls_client_free(&tls);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hosts_close_at_any_time),
        cmocka_unit_test(farewells_at_any_time),
        cmocka_unit_test(nonsense_at_any_time),
        cmocka_unit_test(answers_without_end),
        cmocka_unit_test(slow_hosts_have_their_time),
        cmocka_unit_test(hosts_that_are_not_there),
        cmocka_unit_test(idle_connections_go_stale),
        cmocka_unit_test(early_answers_count),
        cmocka_unit_test(bare_line_ends_are_not_sent),
        cmocka_unit_test(tls_is_taken_where_it_is),
        cmocka_unit_test(tls_that_never_ends),
        cmocka_unit_test(required_tls_is_never_left_out),
        cmocka_unit_test(requiretls_is_kept_to),
        cmocka_unit_test(reports_require_tls_where_they_can),
        cmocka_unit_test(optional_tls_is_tried),
        cmocka_unit_test(a_proof_is_tried_for),
        cmocka_unit_test(dane_decides),
        cmocka_unit_test(passwords_are_said_in_tls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
