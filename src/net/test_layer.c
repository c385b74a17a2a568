/* The end of compression: what comes behind it, and a peer that never gets there. */
#include "net/net.h"

#include "base/mem.h"
#include "base/test.h"

#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zlib.h>

struct fixture {
    sem_t is_expanding, go;
    unsigned n_empty; /* steps with nothing to look at, since then */
};

/* "compress", "expand", which waits until the test says go, and "count", which tells how often
 * others could have had their turn before it came. */
static enum net_step step(struct conn *c, unsigned events)
{
    struct fixture *f = net_app(c);
    struct str in = net_in(c);
    ptrdiff_t end = str_find_byte(in, '\n');
    if (events & (NET_EV_EOF | NET_EV_DRAIN))
        return NET_CLOSE;
    f->n_empty += (events & NET_EV_INPUT) && !in.n;
    if (end < 0)
        return NET_READ;
    struct str line = str_head(in, (size_t)end);
    net_consume(c, line.n + 1);
    if (str_eq(line, STR("compress"))) {
        assert_true(net_can_compress(c));
        return NET_COMPRESS;
    }
    if (str_eq(line, STR("count"))) {
        buf_putf(net_out(c), "%u\n", f->n_empty);
        return NET_READ;
    }
    sem_post(&f->is_expanding);
    while (sem_wait(&f->go) != 0)
        ;
    f->n_empty = 0;
    return NET_EXPAND;
}

static void close_session(struct conn *c)
{
}

/* Of what the step takes for "expand", without a flush; so many bits of the next byte are used. */
static size_t pack_words(struct buf *out)
{
    char words[] = "exxxxxxxxxxxxxxx\n";
    z_stream z = {.next_in = (Bytef *)words, .avail_in = sizeof words - 1};
    int bits;
    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, -15, 8, Z_FIXED), Z_OK);
    z.next_out = (Bytef *)buf_reserve(out, 100);
    z.avail_out = 100;
    assert_int_equal(deflate(&z, Z_PARTIAL_FLUSH), Z_OK);
    buf_commit(out, 100 - z.avail_out);
    assert_int_equal(deflatePending(&z, NULL, &bits), Z_OK);
    assert_int_equal(bits % 2, 1); /* so that no block of ten bits ends with a byte */
    deflateEnd(&z);
    return (size_t)bits;
}

/* Fixed blocks with nothing in them, ten bits each, behind a stream that has so many bits of a byte
 * already, all of them zero; then a flush [RFC1951 3.2.6]. */
static void put_empty_blocks(struct buf *out, size_t bits, size_t n)
{
    enum { BLOCK = 10, STORED = 3 };
    size_t size = (bits + BLOCK * n + STORED + 7) / 8;
    char *to = mem_zero(size);
    for (size_t at = bits + 1; at < bits + BLOCK * n; at += BLOCK)
        to[at / 8] |= (char)(1 << at % 8);
    buf_put(out, str_from(to, size));
    buf_put(out, STR("\0\0\xff\xff"));
    free(to);
}

/* Others have their turn behind each four of the eight pieces of 16 KB, before the words behind the
 * flush are met in the ninth. */
static void an_end_that_is_far_away_holds_up_nobody(void **state)
{
    static const struct net_proto proto = {.name = "layer",
                                           .input_max = 4096,
                                           .output_high = 4096,
                                           .busy = "",
                                           .step = step,
                                           .close = close_session};
    enum { BLOCKS = 110000 };
    struct fixture f = {0};
    struct net_listener as = {.proto = &proto, .app = &f};
    struct counters counters = {0};
    struct ctx ctx = {.counters = &counters, .clock = &clock_system};
    struct net *net = net_new(&ctx, &(struct net_conf){.loops = 1});
    struct buf packed = {.cap = 1 << 20};
    static const char end_and_answer[] = {3, 0, '2', '\n'};
    char got[sizeof end_and_answer];
    int fds[2];
    sem_init(&f.is_expanding, 0, 0);
    sem_init(&f.go, 0, 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    net_start(net);
    assert_rc(net_adopt(net, fds[1], &as), RC_OK);
    size_t bits = pack_words(&packed);
    assert_int_equal(write(fds[0], "compress\n", 9), 9);
    assert_int_equal(write(fds[0], buf_str(&packed).p, buf_len(&packed)), buf_len(&packed));
    while (sem_wait(&f.is_expanding) != 0)
        ;
    buf_clear(&packed);
    put_empty_blocks(&packed, bits, BLOCKS);
    buf_put(&packed, STR("count\n"));
    assert_int_equal(send(fds[0], buf_str(&packed).p, buf_len(&packed), MSG_DONTWAIT),
                     buf_len(&packed));
    sem_post(&f.go);
    for (size_t n = 0; n < sizeof got;) {
        ssize_t more = read(fds[0], got + n, sizeof got - n);
        assert_true(more > 0);
        n += (size_t)more;
    }
    assert_memory_equal(got, end_and_answer, sizeof got);

    close(fds[0]);
    net_stop(net);
    net_free(&net);
    buf_fini(&packed);
    sem_destroy(&f.is_expanding);
    sem_destroy(&f.go);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_end_that_is_far_away_holds_up_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
