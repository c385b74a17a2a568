/* Compression: against zlib itself, with two connections that share the machines in turn, cut
 * anywhere; bombs and garbage; what an idle connection holds. */
#include "base/test.h"

#include "net/net_int.h"

#include "base/mem.h"

#include <malloc.h>
#include <string.h>
#include <zlib.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define IS_SANITIZED 1
#elif defined(__has_feature)
#define IS_SANITIZED (__has_feature(address_sanitizer) || __has_feature(thread_sanitizer))
#else
#define IS_SANITIZED 0 /* otherwise malloc is another one */
#endif

/* --- a peer, with machines of its own */

struct peer {
    z_stream in, out;
};

static void peer_init(struct peer *p)
{
    *p = (struct peer){0};
    assert_int_equal(inflateInit2(&p->in, -15), Z_OK);
    assert_int_equal(deflateInit2(&p->out, 6, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY), Z_OK);
}

static void peer_fini(struct peer *p)
{
    inflateEnd(&p->in);
    deflateEnd(&p->out);
}

static void peer_pack(struct peer *p, struct str text, int flush, struct buf *out)
{
    char *to = buf_reserve(out, text.n + 1000);
    p->out.next_in = (Bytef *)(uintptr_t)text.p;
    p->out.avail_in = (uInt)text.n;
    p->out.next_out = (Bytef *)to;
    p->out.avail_out = (uInt)(text.n + 1000);
    deflate(&p->out, flush);
    assert_true(p->out.avail_out > 0);
    buf_commit(out, text.n + 1000 - p->out.avail_out);
}

static int peer_expand(struct peer *p, struct str packed, struct buf *out)
{
    size_t room = 1 << 20;
    char *to = buf_reserve(out, room);
    p->in.next_in = (Bytef *)(uintptr_t)packed.p;
    p->in.avail_in = (uInt)packed.n;
    p->in.next_out = (Bytef *)to;
    p->in.avail_out = (uInt)room;
    int result = inflate(&p->in, Z_SYNC_FLUSH);
    buf_commit(out, room - p->in.avail_out);
    return result;
}

static void expand_all(struct deflate *d, struct str packed, size_t room, struct buf *out)
{
    size_t used, n;
    do {
        char *to = buf_reserve(out, room);
        assert_rc(deflate_expand(d, packed, &used, to, room, &n), RC_OK);
        buf_commit(out, n);
        packed = str_skip(packed, used);
    } while (packed.n || deflate_has_more(d));
}

static void line_of(int who, int n, struct buf *line)
{
    buf_clear(line);
    for (int i = 0; i < n % 40 + 1; i++)
        buf_putf(line, "%d UID FETCH %d:%d (FLAGS) connection %d\r\n", n, n * 7 + i, n * 9, who);
}

/* --- tests */

enum { CONNECTIONS = 3, LINES = 200 };

static void machines_go_from_one_to_the_next(void **state)
{
    struct deflate_machines *m = deflate_machines_new();
    struct deflate *d[CONNECTIONS];
    struct peer peers[CONNECTIONS];
    struct buf line = {.cap = 1 << 20}, packed = {.cap = 2 << 20}, text = {.cap = 4 << 20};
    for (int i = 0; i < CONNECTIONS; i++) {
        d[i] = deflate_new(m);
        peer_init(&peers[i]);
    }
    for (int n = 0; n < LINES; n++) {
        int who = n * n % CONNECTIONS; /* the same one twice, now and then */
        line_of(who, n, &line);
        buf_clear(&packed);
        buf_clear(&text);
        peer_pack(&peers[who], buf_str(&line), Z_SYNC_FLUSH, &packed);
        expand_all(d[who], buf_str(&packed), (size_t)n + 1, &text);
        assert_true(str_eq(buf_str(&text), buf_str(&line)));
        buf_clear(&packed);
        buf_clear(&text);
        deflate_pack(d[who], buf_str(&line), false, &packed);
        assert_int_equal(peer_expand(&peers[who], buf_str(&packed), &text), Z_OK);
        assert_true(str_eq(buf_str(&text), buf_str(&line)));
    }
    for (int i = 0; i < CONNECTIONS; i++) {
        deflate_free(&d[i]);
        peer_fini(&peers[i]);
    }
    deflate_machines_free(&m);
    buf_fini(&line);
    buf_fini(&packed);
    buf_fini(&text);
}

/* Two streams, a byte of each at a time: both are always in the middle of a block. */
static void nobody_loses_the_middle_of_a_block(void **state)
{
    struct deflate_machines *m = deflate_machines_new();
    struct deflate *d[2] = {deflate_new(m), deflate_new(m)};
    struct buf line[2] = {{.cap = 1 << 20}, {.cap = 1 << 20}},
               packed[2] = {{.cap = 1 << 20}, {.cap = 1 << 20}};
    struct buf text[2] = {{.cap = 1 << 20}, {.cap = 1 << 20}};
    for (int i = 0; i < 2; i++) {
        struct peer peer;
        peer_init(&peer);
        line_of(i, 39, &line[i]);
        peer_pack(&peer, buf_str(&line[i]), Z_FULL_FLUSH, &packed[i]);
        peer_fini(&peer);
    }
    size_t longer =
        buf_len(&packed[0]) > buf_len(&packed[1]) ? buf_len(&packed[0]) : buf_len(&packed[1]);
    for (size_t at = 0; at < longer; at++)
        for (int i = 0; i < 2; i++)
            if (at < buf_len(&packed[i]))
                expand_all(d[i], str_sub(buf_str(&packed[i]), at, 1), 7, &text[i]);
    for (int i = 0; i < 2; i++) {
        assert_true(str_eq(buf_str(&text[i]), buf_str(&line[i])));
        deflate_free(&d[i]);
        buf_fini(&line[i]);
        buf_fini(&packed[i]);
        buf_fini(&text[i]);
    }
    deflate_machines_free(&m);
}

/* What follows the end of a flush may be something else. */
static void input_stops_where_the_peer_has_flushed(void **state)
{
    struct deflate_machines *m = deflate_machines_new();
    struct deflate *d = deflate_new(m);
    struct peer peer;
    struct buf packed = {.cap = 1 << 20};
    char text[100];
    size_t used, n;
    peer_init(&peer);
    peer_pack(&peer, STR("one"), Z_SYNC_FLUSH, &packed);
    size_t first = buf_len(&packed);
    peer_pack(&peer, STR("two"), Z_SYNC_FLUSH, &packed);
    assert_rc(deflate_expand(d, buf_str(&packed), &used, text, sizeof text, &n), RC_OK);
    assert_int_equal(used, first);
    assert_int_equal(n, 3);
    assert_false(deflate_has_more(d));
    buf_consume(&packed, used);
    peer_pack(&peer, STR("three"), Z_FINISH, &packed);
    buf_put(&packed, STR("in clear"));
    assert_rc(deflate_expand(d, buf_str(&packed), &used, text, sizeof text, &n), RC_OK);
    assert_memory_equal(text, "two", 3);
    buf_consume(&packed, used);
    assert_rc(deflate_expand(d, buf_str(&packed), &used, text, sizeof text, &n), RC_OK);
    assert_memory_equal(text, "three", 5);
    buf_consume(&packed, used);
    assert_true(deflate_is_over(d));
    assert_true(str_eq(buf_str(&packed), STR("in clear")));
    peer_fini(&peer);
    buf_fini(&packed);
    deflate_free(&d);
    deflate_machines_free(&m);
}

/* Whatever bit of a byte the last block ends with, and wherever what comes is cut. */
static void input_stops_behind_all_of_a_flush(void **state)
{
    static const char words[] = "UNAUTHENTICATE behind a tag of any length whatever";
    struct deflate_machines *m = deflate_machines_new();
    struct buf packed = {.cap = 1 << 20};
    char text[100];
    size_t used, n, more;
    for (size_t length = 1; length < sizeof words; length++) {
        struct peer peer;
        peer_init(&peer);
        buf_clear(&packed);
        peer_pack(&peer, str_from(words, length), Z_SYNC_FLUSH, &packed);
        peer_fini(&peer);
        size_t all = buf_len(&packed);
        buf_put(&packed, STR("in clear"));
        for (size_t cut = 1; cut < all; cut++) {
            struct deflate *d = deflate_new(m);
            struct str first = str_head(buf_str(&packed), cut);
            assert_true(deflate_is_flushed(d));
            assert_rc(deflate_expand(d, first, &used, text, 100, &n), RC_OK);
            assert_int_equal(used, cut);
            assert_false(deflate_is_flushed(d));
            assert_rc(
                deflate_expand(d, str_skip(buf_str(&packed), cut), &used, text + n, 100 - n, &more),
                RC_OK);
            assert_int_equal(used, all - cut);
            assert_int_equal(n + more, length);
            assert_true(deflate_is_flushed(d));
            deflate_free(&d);
        }
    }
    buf_fini(&packed);
    deflate_machines_free(&m);
}

static void bombs_and_garbage_are_refused(void **state)
{
    struct deflate_machines *m = deflate_machines_new();
    struct deflate *d = deflate_new(m);
    struct peer peer;
    struct buf packed = {.cap = 2 << 20};
    static char zeroes[1 << 20], to[64 << 10];
    size_t used, n, all = 0;
    enum rc rc;
    peer_init(&peer);
    do {
        buf_clear(&packed);
        peer_pack(&peer, str_from(zeroes, sizeof zeroes), Z_SYNC_FLUSH, &packed);
        assert_true(buf_len(&packed) < 2000);
        do {
            rc = deflate_expand(d, buf_str(&packed), &used, to, sizeof to, &n);
            buf_consume(&packed, used);
            all += n;
        } while (rc == RC_OK && (buf_len(&packed) || deflate_has_more(d)));
    } while (rc == RC_OK);
    assert_rc(rc, RC_LIMIT);
    assert_in_range(all, 100 << 20, 1 << 30);
    deflate_free(&d);
    d = deflate_new(m);
    assert_rc(deflate_expand(d, STR("* BAD what?\r\n"), &used, to, sizeof to, &n), RC_SYNTAX);
    deflate_free(&d);
    d = deflate_new(m); /* the machine has survived it */
    buf_clear(&packed);
    peer_fini(&peer);
    peer_init(&peer);
    peer_pack(&peer, STR("good"), Z_SYNC_FLUSH, &packed);
    assert_rc(deflate_expand(d, buf_str(&packed), &used, to, sizeof to, &n), RC_OK);
    assert_memory_equal(to, "good", 4);
    deflate_free(&d);
    peer_fini(&peer);
    buf_fini(&packed);
    deflate_machines_free(&m);
}

/* A history of another connection is never referred to: a peer who has none of it reads all. */
static void each_begins_with_nothing(void **state)
{
    struct deflate_machines *m = deflate_machines_new();
    struct deflate *a = deflate_new(m), *b = deflate_new(m);
    struct buf first = {.cap = 1 << 20}, second = {.cap = 1 << 20}, again = {.cap = 1 << 20};
    struct str secret = STR("a secret of the one that the other guesses: hunter2 hunter2");
    deflate_pack(a, secret, false, &first);
    deflate_pack(b, secret, false, &second);
    assert_true(str_eq(buf_str(&first), buf_str(&second)));
    deflate_pack(b, secret, false, &again); /* its own it refers to */
    assert_true(buf_len(&again) < buf_len(&second) / 2);
    deflate_free(&a);
    deflate_free(&b);
    buf_fini(&first);
    buf_fini(&second);
    buf_fini(&again);
    deflate_machines_free(&m);
}

static void put_random(struct buf *out, size_t n, const char *alphabet, unsigned size,
                       uint64_t *seed)
{
    for (size_t i = 0; i < n; i++) {
        *seed = *seed * 6364136223846793005u + 1442695040888963407u;
        buf_put(out, str_from(alphabet + (*seed >> 40) % size, 1));
    }
}

/* Text and what looks random, of all lengths, one after the other: all comes back, what is random
 * is as short as its alphabet allows, and the text is none the longer for it. */
static void random_pieces_are_coded_alone(void **state)
{
    static const char base64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    struct deflate_machines *m = deflate_machines_new();
    struct deflate *d = deflate_new(m);
    struct peer peer;
    struct buf line = {.cap = 1 << 20}, packed = {.cap = 2 << 20}, text = {.cap = 4 << 20};
    uint64_t seed = 7;
    size_t n_random = 0, n_random_packed = 0, n_text = 0, n_text_packed = 0;
    peer_init(&peer);
    for (size_t n = 0; n < 200; n++) {
        size_t length = n * n * 37 % 30000;
        buf_clear(&line);
        buf_clear(&packed);
        buf_clear(&text);
        if (n % 2)
            put_random(&line, length, base64, 64, &seed);
        while (n % 2 == 0 && buf_len(&line) < length)
            buf_putf(&line, "%zu: a line of text, about as long as lines are\r\n", buf_len(&line));
        if (n % 8 >= 6) /* both in one */
            buf_put(&line, STR("* 1 FETCH (FLAGS (\\Seen))\r\n"));
        deflate_pack(d, buf_str(&line), false, &packed);
        assert_int_equal(peer_expand(&peer, buf_str(&packed), &text), Z_OK);
        assert_true(str_eq(buf_str(&text), buf_str(&line)));
        *(n % 2 ? &n_random : &n_text) += buf_len(&line);
        *(n % 2 ? &n_random_packed : &n_text_packed) += buf_len(&packed);
    }
    assert_true(n_random_packed < n_random * 77 / 100); /* six bits of eight are 75% */
    assert_true(n_text_packed < n_text / 5);
    deflate_free(&d);
    peer_fini(&peer);
    deflate_machines_free(&m);
    buf_fini(&line);
    buf_fini(&packed);
    buf_fini(&text);
}

static size_t memory(void)
{
    struct mallinfo2 m = mallinfo2();
    return m.uordblks + m.hblkhd;
}

static void idle_connections_hold_their_history(void **state)
{
    enum { MANY = 1000 };
    struct deflate_machines *m = deflate_machines_new();
    static struct deflate *d[MANY];
    struct buf packed = {.cap = 1 << 20}, text = {.cap = 1 << 20};
    size_t before = 0;
    for (int i = 0; i < MANY; i++) {
        struct peer peer;
        peer_init(&peer);
        buf_fini(&packed);
        buf_fini(&text);
        peer_pack(&peer, STR("1 SELECT INBOX\r\n2 UID FETCH 1:* (FLAGS)\r\n3 IDLE\r\n"),
                  Z_SYNC_FLUSH, &packed);
        peer_fini(&peer);
        d[i] = deflate_new(m);
        expand_all(d[i], buf_str(&packed), 1000, &text);
        deflate_pack(d[i], STR("1 OK\r\n"), false, &packed);
        before = before ? before : memory();
    }
    size_t each = (memory() - before) / MANY;
    if (!IS_SANITIZED)
        printf("%d idle compressed connections: %zu bytes each\n", MANY, each);
    if (!IS_SANITIZED)
        assert_in_range(each, 100, 1000);
    for (int i = 0; i < MANY; i++)
        deflate_free(&d[i]);
    buf_fini(&packed);
    buf_fini(&text);
    deflate_machines_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(machines_go_from_one_to_the_next),
        cmocka_unit_test(nobody_loses_the_middle_of_a_block),
        cmocka_unit_test(input_stops_where_the_peer_has_flushed),
        cmocka_unit_test(input_stops_behind_all_of_a_flush),
        cmocka_unit_test(bombs_and_garbage_are_refused),
        cmocka_unit_test(each_begins_with_nothing),
        cmocka_unit_test(random_pieces_are_coded_alone),
        cmocka_unit_test(idle_connections_hold_their_history),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
