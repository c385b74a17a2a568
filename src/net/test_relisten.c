/* Listeners replaced while sessions are open, limits changed, services counted. */
#include "net/test_echo.h"

static _Atomic int released;

static void count_released(const struct net_listener *listener)
{
    assert_ptr_equal(listener->proto, &echo);
    released++;
}

static void wait_for(_Atomic int *value, int wanted)
{
    for (int i = 0; i < 2000 && *value != wanted; i++)
        usleep(5000);
    assert_int_equal(*value, wanted);
}

static uint32_t open_at(struct fixture *f, const char *name)
{
    struct net_service services[NET_SERVICES];
    size_t n = net_services(f->net, services);
    for (size_t i = 0; i < n; i++)
        if (strcmp(services[i].name, name) == 0)
            return services[i].open;
    return UINT32_MAX;
}

static void sessions_outlive_their_listener(void **state)
{
    struct fixture f = {.listener.released = count_released}, other;
    released = 0;
    start(&f, (struct net_limits){0});
    other = (struct fixture){.ctx = f.ctx};
    int port, fd = listen_on(AF_INET, "127.0.0.1", &port);
    int a = dial(f.port);
    hear(a, "hello\n");
    const struct net_listener next[] = {
        {.fd = f.listener.fd, .proto = &echo, .app = &other, .name = "same"},
        {.fd = fd, .proto = &echo, .app = &other, .name = "more"},
    };
    assert_rc(net_relisten(f.net, next, 2), RC_OK);
    assert_int_equal(released, 0);
    int b = dial(f.port), c = dial(port);
    hear(b, "hello\n");
    hear(c, "hello\n");
    assert_int_equal(other.opened, 2);
    assert_int_equal(open_at(&f, "same"), 1);
    assert_int_equal(open_at(&f, "more"), 1);
    assert_int_equal(open_at(&f, "echo"), 1);
    say(a, "one\nwait\nshort\ntwo\nquit\n"); /* still with the first one's app */
    hear(a, "one\nresumed\nw:two\nbye\n");
    hear_end(a);
    wait_for(&released, 1);
    assert_int_equal(open_at(&f, "echo"), 0);
    assert_rc(net_relisten(f.net, next, 1), RC_OK); /* the second socket is listened on no longer */
    say(c, "three\n");
    hear(c, "three\n");
    close(b);
    close(c);
    stop(&f);
    close(fd);
    assert_int_equal(other.closed, 2);
}

static void sessions_of_a_replaced_listener_are_told_to_end(void **state)
{
    struct fixture f = {.listener.released = count_released};
    released = 0;
    start(&f, (struct net_limits){.old_ms = 1});
    int a = dial(f.port);
    hear(a, "hello\n");
    const struct net_listener next = {.fd = f.listener.fd, .proto = &echo, .app = &f};
    assert_rc(net_relisten(f.net, &next, 1), RC_OK);
    hear(a, "drain\n");
    hear_end(a);
    int b = dial(f.port);
    hear(b, "hello\n");
    wait_for(&released, 1);
    close(b);
    stop(&f);
}

static void limits_change(void **state)
{
    struct fixture f = {0};
    struct net_cidr home;
    start(&f, (struct net_limits){.per_address = 1});
    int a = dial(f.port), b = dial(f.port);
    hear(a, "hello\n");
    hear(b, "busy\n");
    hear_end(b);
    assert_rc(net_cidr_parse(STR("127.0.0.0/8"), &home), RC_OK);
    net_limit(f.net, &(struct net_limits){.per_address = 1, .trusted = &home, .n_trusted = 1});
    memset(&home, 0, sizeof home); /* it was copied */
    b = dial(f.port);
    hear(b, "hello\n");
    say(a, "quit\n"); /* counted when it came, taken off now */
    hear(a, "bye\n");
    hear_end(a);
    net_limit(f.net, &(struct net_limits){.connections = 1});
    int c = dial(f.port);
    hear(c, "busy\n");
    hear_end(c);
    close(b);
    stop(&f);
}

static void nothing_is_replaced_while_draining(void **state)
{
    struct fixture f = {.listener.released = count_released};
    released = 0;
    start(&f, (struct net_limits){0});
    net_drain(f.net);
    assert_rc(net_relisten(f.net, &f.listener, 1), RC_TEMP);
    assert_true(net_is_draining(f.net));
    assert_int_equal(released, 0);
    stop(&f);
    assert_int_equal(released, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sessions_outlive_their_listener),
        cmocka_unit_test(sessions_of_a_replaced_listener_are_told_to_end),
        cmocka_unit_test(limits_change),
        cmocka_unit_test(nothing_is_replaced_while_draining),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
