/* What a password leaves behind in net's memory: nothing, once the protocol has wiped its line. */
#include "net/net_int.h"

#include "base/test.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const char secret[] = "hunter2";

static bool has_secret(const char *p, size_t n)
{
    return p && memmem(p, n, secret + 1, sizeof secret - 2); /* without its first byte */
}

/* A line "wipe ..." is wiped, "keep ..." is not; "look" is answered with whether the loop's and the
 * connection's memory still hold the secret. */
static enum net_step step(struct conn *c, unsigned events)
{
    struct str in = net_in(c);
    ptrdiff_t end = str_find_byte(in, '\n');
    if (events & (NET_EV_EOF | NET_EV_DRAIN))
        return NET_CLOSE;
    if (end < 0) {
        if (in.n)
            buf_put(net_out(c), STR("more\n"));
        return NET_READ;
    }
    struct str line = str_head(in, (size_t)end + 1);
    net_consume(c, line.n);
    if (str_starts(line, STR("wipe")))
        net_wipe(c, line);
    bool is_there = has_secret(c->loop->scratch, sizeof c->loop->scratch) ||
                    has_secret(c->in.mem, c->in.mem ? c->in.size : 0);
    if (str_eq(line, STR("look\n")))
        buf_put(net_out(c), is_there ? STR("there\n") : STR("clean\n"));
    else
        buf_put(net_out(c), STR("done\n"));
    return NET_MORE;
}

static void close_session(struct conn *c)
{
}

static void expect(int fd, const char *text)
{
    char got[16] = {0};
    size_t n = 0;
    while (n < strlen(text)) {
        ssize_t more = read(fd, got + n, strlen(text) - n);
        assert_true(more > 0);
        n += (size_t)more;
    }
    assert_string_equal(got, text);
}

static void say(int fd, const char *text, const char *answer)
{
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    expect(fd, answer);
}

static void passwords_leave_nothing(void **state)
{
    static const struct net_proto proto = {.name = "wipe",
                                           .input_max = 4096,
                                           .output_high = 4096,
                                           .busy = "",
                                           .step = step,
                                           .close = close_session};
    struct net_listener as = {.proto = &proto};
    struct counters counters = {0};
    struct ctx ctx = {.counters = &counters, .clock = &clock_system};
    struct net_conf conf = {.loops = 1};
    struct net *net = net_new(&ctx, &conf);
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    net_start(net);
    assert_rc(net_adopt(net, fds[1], &as), RC_OK);
    say(fds[0], "wipe hunter2\n", "done\n");
    say(fds[0], "look\n", "clean\n");
    say(fds[0], "wipe ", "more\n"); /* in pieces */
    say(fds[0], "hunte", "more\n");
    say(fds[0], "r2", "more\n");
    say(fds[0], "\n", "done\n");
    say(fds[0], "look\n", "clean\n");
    say(fds[0], "wipe hunter2", "more\n"); /* its end comes later */
    say(fds[0], "\n", "done\n");
    say(fds[0], "look\n", "clean\n");
    say(fds[0], "keep hunter2\n", "done\n"); /* it would be seen */
    say(fds[0], "look\n", "there\n");
    close(fds[0]);
    net_stop(net);
    net_free(&net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(passwords_leave_nothing)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
