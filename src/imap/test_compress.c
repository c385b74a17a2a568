/* COMPRESS [RFC4978]: beginning, end, what is refused, and that all the rest of a session is the
 * same behind it. */
#include "imap/test_home.h"

#include <string.h>
#include <zlib.h>

struct peer {
    int fd;
    z_stream in, out;
    struct buf text; /* has come, expanded */
    size_t most;     /* bytes that are read at once */
};

static void peer_begin(struct peer *p, int fd)
{
    *p = (struct peer){.fd = fd, .text.cap = 4 << 20, .most = 4096};
    assert_int_equal(inflateInit2(&p->in, -15), Z_OK);
    assert_int_equal(deflateInit2(&p->out, 6, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY), Z_OK);
}

static void peer_end(struct peer *p)
{
    inflateEnd(&p->in);
    deflateEnd(&p->out);
    buf_fini(&p->text);
}

static void say(struct peer *p, struct str text, int flush, size_t at_once)
{
    char packed[4096];
    p->out.next_in = (Bytef *)(uintptr_t)text.p;
    p->out.avail_in = (uInt)text.n;
    p->out.next_out = (Bytef *)packed;
    p->out.avail_out = sizeof packed;
    deflate(&p->out, flush);
    size_t n = sizeof packed - p->out.avail_out;
    assert_true(n < sizeof packed);
    for (size_t at = 0; at < n; at += at_once)
        client_send(p->fd, str_sub(str_from(packed, n), at, at_once));
}

/* Reads what is there; false at the end of the connection or of the stream. */
static bool hear_more(struct peer *p)
{
    char packed[4096];
    ssize_t got = recv(p->fd, packed, p->most, 0);
    if (got <= 0)
        return false;
    p->in.next_in = (Bytef *)packed;
    p->in.avail_in = (uInt)got;
    int result;
    do {
        char *to = buf_reserve(&p->text, 1 << 16);
        p->in.next_out = (Bytef *)to;
        p->in.avail_out = 1 << 16;
        result = inflate(&p->in, Z_SYNC_FLUSH);
        buf_commit(&p->text, (1 << 16) - p->in.avail_out);
        assert_true(result == Z_OK || result == Z_STREAM_END || result == Z_BUF_ERROR);
    } while (result == Z_OK && !p->in.avail_out);
    return result != Z_STREAM_END;
}

/* All up to this text. */
static void hear(struct peer *p, const char *end)
{
    while (str_find(buf_str(&p->text), str_of(end)) < 0)
        assert_true(hear_more(p));
    buf_consume(&p->text, (size_t)str_find(buf_str(&p->text), str_of(end)) + strlen(end));
}

static int compressed(struct home *h, struct peer *p)
{
    int fd = client_select(h, "SELECT");
    client_talk(fd, "C: z compress deflate\nS: z OK what follows is compressed\n", 1 << 20);
    peer_begin(p, fd);
    return fd;
}

/* [RFC4978 3, 5] */
static void it_is_refused_when_it_cannot_be(void **state)
{
    struct home h;
    home_make(&h);
    h.limits.compressed = 1;
    home_start(&h);
    int fd = home_connect(&h);
    client_talk(fd,
                "P: * OK [CAPABILITY IMAP4rev1 \n"
                "C: a COMPRESS DEFLATE\n"
                "S: a BAD log in first\n",
                1 << 20);
    close(fd);
    fd = client_login(&h);
    client_talk(fd,
                "C: a COMPRESS\n"
                "S: a BAD expected DEFLATE\n"
                "C: b COMPRESS LZ4\n"
                "S: b BAD expected DEFLATE\n"
                "C: c COMPRESS DEFLATE 9\n"
                "S: c BAD expected the end of the command\n"
                "C: d NOOP\n" /* none of that turned it on [RFC4978 3] */
                "S: d OK NOOP completed\n",
                1 << 20);
    struct peer p;
    int other = compressed(&h, &p);
    say(&p, STR("a COMPRESS DEFLATE\r\n"), Z_SYNC_FLUSH, 1000); /* not twice */
    hear(&p, "a BAD [COMPRESSIONACTIVE] COMPRESS has been given already\r\n");
    client_talk(fd, "C: e COMPRESS DEFLATE\nP: e NO [LIMIT] \n", 1 << 20);
    client_close(h.net, other); /* its place is free then */
    peer_end(&p);
    client_talk(fd, "C: f COMPRESS DEFLATE\nP: f OK \n", 1 << 20);
    close(fd);
    home_end(&h);
}

static void fetch_all(struct peer *p, size_t at_once)
{
    say(p, STR("a FETCH 1:* BODY.PEEK[]\r\n"), Z_SYNC_FLUSH, at_once);
    for (int i = 0; i < 20; i++)
        hear(p, "Subject: one\r\n\r\nbody\r\n)\r\n");
    hear(p, "a OK FETCH completed\r\n");
}

/* [RFC4978 3] Whatever the pieces; several sessions at once, so that none gets what is another's.
 */
static void a_session_goes_on_as_before(void **state)
{
    struct home h;
    struct peer p[3];
    char append[200];
    home_make(&h);
    home_start(&h);
    home_deliver_many(&h, h.alice, STR("Subject: one\r\n\r\nbody\r\n"), 20);
    for (size_t i = 0; i < 3; i++)
        compressed(&h, &p[i]);
    for (size_t n = 1; n < 8; n++)
        fetch_all(&p[n % 3], n);
    /* No flush behind the command: it is there all the same, when its last byte is. */
    say(&p[0], STR("b NOOP\r\nc NO"), Z_FULL_FLUSH, 1);
    hear(&p[0], "b OK NOOP completed\r\n");
    say(&p[1], STR("b IDLE\r\n"), Z_PARTIAL_FLUSH, 1000);
    hear(&p[1], "+ ");
    say(&p[0], STR("OP\r\nd STORE 3 +FLAGS (\\Deleted)\r\ne EXPUNGE\r\n"), Z_SYNC_FLUSH, 3);
    hear(&p[0], "c OK NOOP completed\r\n");
    hear(&p[0], "e OK EXPUNGE completed\r\n");
    hear(&p[1], "* 3 EXPUNGE\r\n"); /* what comes by itself too */
    say(&p[1], STR("DONE\r\n"), Z_SYNC_FLUSH, 1000);
    hear(&p[1], "b OK IDLE completed\r\n");
    snprintf(append, sizeof append, "f APPEND INBOX {29}\r\n");
    say(&p[2], str_of(append), Z_SYNC_FLUSH, 1);
    hear(&p[2], "+ ");
    say(&p[2], STR("Subject: two\r\n\r\nwith a body\r\n"), Z_SYNC_FLUSH, 2);
    say(&p[2], STR("\r\n"), Z_SYNC_FLUSH, 2);
    hear(&p[2], "f OK [APPENDUID ");
    say(&p[2], STR("g LOGOUT\r\n"), Z_SYNC_FLUSH, 1000);
    hear(&p[2], "g OK LOGOUT completed\r\n");
    assert_false(hear_more(&p[2]));
    for (size_t i = 0; i < 3; i++) {
        close(p[i].fd);
        peer_end(&p[i]);
    }
    home_assert_sound(&h, h.alice);
    home_end(&h);
}

/* Compression ends with the login: behind the CRLF of the answer on this side, behind that of the
 * command on the other, whose client may go on at once [RFC8437 3]. */
static void unauthenticate_ends_it(void **state)
{
    struct home h;
    struct peer p;
    home_make(&h);
    home_start(&h);
    for (int flush = 0; flush < 2; flush++) {
        int fd = compressed(&h, &p);
        say(&p, STR("a UNAUTHENTICATE\r\n"), flush ? Z_SYNC_FLUSH : Z_FINISH, 1000);
        do
            assert_true(str_find(buf_str(&p.text), STR("\r\n")) < 0);
        while (hear_more(&p));
        hear(&p, "a OK logged out, log in again\r\n");
        assert_int_equal(buf_len(&p.text), 0);
        client_talk(fd,
                    "C: b LOGIN alice@example.test \"pass word\"\n"
                    "P: b OK [CAPABILITY \n"
                    "C: c COMPRESS DEFLATE\n"
                    "P: c OK \n",
                    1 << 20);
        peer_end(&p);
        peer_begin(&p, fd);
        say(&p, STR("d NOOP\r\n"), Z_SYNC_FLUSH, 1000);
        hear(&p, "d OK NOOP completed\r\n");
        client_close(h.net, fd);
        peer_end(&p);
    }
    home_end(&h);
}

/* Its last block may end with any bit of a byte, and its bytes may come one by one: nothing of what
 * the client flushed is taken for what follows [RFC8437 4.1]. */
static void nothing_is_left_of_it(void **state)
{
    enum { LONG = 24 };
    struct home h;
    struct peer p;
    char line[LONG + 100];
    home_make(&h);
    home_start(&h);
    int fd = client_login(&h);
    for (int i = 0; i < 2 * LONG; i++) {
        int n = i % LONG + 1;
        client_talk(fd, "C: z COMPRESS DEFLATE\nP: z OK \n", 1 << 20);
        peer_begin(&p, fd);
        p.most = 1; /* so that it stops where the stream does */
        snprintf(line, sizeof line, "%.*s UNAUTHENTICATE\r\n", n, "abcdefghijklmnopqrstuvwxyz");
        say(&p, str_of(line), Z_SYNC_FLUSH, i < LONG ? 1000 : 1);
        client_send(fd, STR("l LOGIN alice@example.test \"pass word\"\r\n"));
        while (hear_more(&p))
            continue;
        hear(&p, " OK logged out, log in again\r\n");
        client_talk(fd, "P: l OK [CAPABILITY \n", 1 << 20);
        peer_end(&p);
    }
    client_close(h.net, fd);
    home_end(&h);
}

/* What follows the command is compressed, however early it comes; what is not ends the session. */
static void what_comes_early_is_compressed(void **state)
{
    struct home h;
    struct peer p;
    home_make(&h);
    home_start(&h);
    int fd = client_login(&h);
    peer_begin(&p, fd);
    client_send(fd, STR("a COMPRESS DEFLATE\r\n"
                        "\0\x08\0\xf7\xff"
                        "b NOOP\r\n"));
    client_expect(fd, STR("a OK what follows is compressed\r\n"));
    hear(&p, "b OK NOOP completed\r\n");
    client_close(h.net, fd);
    peer_end(&p);
    fd = client_login(&h);
    client_send(fd, STR("a COMPRESS DEFLATE\r\nb NOOP\r\nc NOOP\r\n"));
    client_expect(fd, STR("a OK what follows is compressed\r\n"));
    client_expect_end(fd);
    home_end(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_refused_when_it_cannot_be),
        cmocka_unit_test(a_session_goes_on_as_before),
        cmocka_unit_test(unauthenticate_ends_it),
        cmocka_unit_test(nothing_is_left_of_it),
        cmocka_unit_test(what_comes_early_is_compressed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
