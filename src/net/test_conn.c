/* Connections: an echo protocol over socket pairs and real listeners, hand-overs, hang-ups, limits.
 */
#include "net/test_echo.h"

static void lines_come_back(void **state)
{
    struct fixture f = {0};
    start(&f, (struct net_limits){0});
    int a = dial(f.port), b = pair_to(&f);
    hear(a, "hello\n");
    hear(b, "hello\n");
    say(a, "one\ntwo\nthr");
    hear(a, "one\ntwo\n");
    say(a, "ee\nlocal\n");
    char want[64];
    snprintf(want, sizeof want, "three\nloopback port %d\n", f.port);
    hear(a, want);
    say(b, "x\nquit\n");
    hear(b, "x\nbye\n");
    hear_end(b);
    say(a, "abort\n");
    hear_end(a);
    stop(&f);
}

static void a_half_closed_peer_gets_its_answers(void **state)
{
    struct fixture f = {0};
    start(&f, (struct net_limits){0});
    int a = dial(f.port);
    say(a, "one\nwait\ntwo\nshort\nthree\n");
    shutdown(a, SHUT_WR);
    hear(a, "hello\none\nresumed\ntwo\nw:three\n");
    hear_end(a);
    stop(&f);
}

static void workers_and_waits(void **state)
{
    struct fixture f = {0};
    start(&f, (struct net_limits){0});
    int a = dial(f.port);
    hear(a, "hello\n");
    for (int i = 0; i < 50; i++) {
        say(a, "short\na\nheavy\nb\nwait\nearly\n");
        hear(a, "w:a\nw:b\nresumed\nresumed\n");
        say(a, "c\n");
        hear(a, "c\n");
    }
    close(a);
    stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_come_back),
        cmocka_unit_test(a_half_closed_peer_gets_its_answers),
        cmocka_unit_test(workers_and_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
