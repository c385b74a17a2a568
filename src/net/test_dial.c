/* Connections of ours, without TLS: to an echo server of the same process, and to what is none. */
#include "net/net_int.h"
#include "net/test_caller.h"

#include <errno.h>
#include <sys/un.h>

static void a_call_is_answered(void **state)
{
    struct fixture f = {0};
    start(&f, (struct net_limits){0});
    struct call call = {.say = "one\nlocal\nquit\n"};
    struct call from = {.say = "peer\nquit\n"};
    call_to(f.net, (struct net_dial){.to = here(f.port)}, &call);
    call_wait(&call);
    assert_true(str_starts(str_of(call.heard), STR("hello\none\nloopback port ")));
    assert_true(str_ends(str_of(call.heard), STR("\nbye\n")));
    assert_int_equal(call.error.failure, NET_FAILED_NOT);
    assert_int_equal(call.proof, NET_PROOF_NONE);
    struct net_dial dial = {.to = here(f.port)};
    assert_rc(net_addr_parse(STR("127.0.0.9:0"), &dial.from), RC_OK);
    call_to(f.net, dial, &from);
    call_wait(&from);
    assert_string_equal(from.heard, "hello\n127.0.0.9\nbye\n");
    stop(&f);
    assert_int_equal(counter_get(&f.counters, COUNTER_DIALS), 2);
    assert_int_equal(counter_get(&f.counters, COUNTER_DIALS_FAILED), 0);
    assert_int_equal(counter_get(&f.counters, COUNTER_DIALS_OPEN), 0);
    assert_int_equal(counter_get(&f.counters, COUNTER_CONNECTIONS), 2); /* the server's side */
}

/* The same machinery: workers, the loop that was asked for, an end of our own. */
static void a_call_is_a_connection(void **state)
{
    struct fixture f = {0};
    start(&f, (struct net_limits){0});
    struct call lane = {.say = "quit\n", .is_lane = true}, abort = {.is_aborting = true};
    struct call late = {.deadline = 50}, kicked = {.say = "one\n"};
    call_to(f.net, (struct net_dial){.to = here(f.port), .loop = 2}, &lane);
    call_to(f.net, (struct net_dial){.to = here(f.port), .loop = 1}, &abort);
    call_to(f.net, (struct net_dial){.to = here(f.port)}, &late);
    call_to(f.net, (struct net_dial){.to = here(f.port)}, &kicked);
    call_wait(&lane);
    call_wait(&abort);
    call_wait(&late);
    assert_int_equal(lane.handle.loop, 1);
    assert_int_equal(abort.handle.loop, 0);
    assert_true(late.events & NET_EV_TIMEOUT);
    for (int i = 0; !kicked.opened; i++) {
        assert_true(i < 60000);
        usleep(1000);
    }
    net_wake(f.net, kicked.handle, NET_EV_KICK);
    call_wait(&kicked);
    assert_true(kicked.events & NET_EV_KICK);
    stop(&f);
}

static void unix_sockets_are_called(void **state)
{
    struct fixture f = {0};
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    struct call call = {.say = "one\n"}, none = {0};
    char folder[] = "/tmp/penfold-dial-XXXXXX", missing[80];
    char long_path[200];
    memset(long_path, 'x', sizeof long_path);
    long_path[sizeof long_path - 1] = 0;
    assert_non_null(mkdtemp(folder));
    snprintf(un.sun_path, sizeof un.sun_path, "%s/s", folder);
    snprintf(missing, sizeof missing, "%s/none", folder);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (void *)&un, sizeof un), 0);
    assert_int_equal(listen(fd, 5), 0);
    start(&f, (struct net_limits){0});
    call_to(f.net, (struct net_dial){.path = un.sun_path}, &call);
    int peer = accept(fd, NULL, NULL);
    hear(peer, "one\n");
    say(peer, "two\n");
    close(peer);
    call_wait(&call);
    assert_string_equal(call.heard, "two\n");
    call_to(f.net, (struct net_dial){.path = missing}, &none);
    call_wait(&none);
    assert_int_equal(none.error.error, ENOENT);
    struct net_dial dial = {.path = long_path, .proto = &caller, .app = &none, .arg = &none};
    assert_rc(net_dial(f.net, &dial), RC_SYNTAX);
    stop(&f);
    close(fd);
    unlink(un.sun_path);
    rmdir(folder);
}

static int closed_port(void)
{
    int port, fd = listen_on(AF_INET, "127.0.0.1", &port);
    close(fd);
    return port;
}

static void failures_are_told(void **state)
{
    struct fixture f = {0};
    start(&f, (struct net_limits){0});
    struct call refused = {0}, source = {0}, family = {0};
    call_to(f.net, (struct net_dial){.to = here(closed_port())}, &refused);
    call_wait(&refused);
    assert_int_equal(refused.opened, 0);
    assert_int_equal(refused.error.failure, NET_FAILED_CONNECT);
    assert_int_equal(refused.error.error, ECONNREFUSED);
    assert_string_equal(refused.error.text, "Connection refused");

    struct net_dial dial = {.to = here(f.port)};
    assert_rc(net_addr_parse(STR("192.0.2.1:0"), &dial.from), RC_OK);
    call_to(f.net, dial, &source);
    call_wait(&source);
    assert_int_equal(source.error.failure, NET_FAILED_SOURCE);
    assert_int_equal(source.error.error, EADDRNOTAVAIL);

    dial = (struct net_dial){.to = here(f.port)};
    assert_rc(net_addr_parse(STR("[::1]:0"), &dial.from), RC_OK);
    call_to(f.net, dial, &family);
    call_wait(&family);
    assert_int_equal(family.error.failure, NET_FAILED_SOURCE);
    stop(&f);
    assert_int_equal(counter_get(&f.counters, COUNTER_DIALS_FAILED), 3);
    assert_int_equal(f.opened, 0);
}

/* A host that does not take the connection: its queue is full, so that its system drops ours. */
static void connecting_has_its_time(void **state)
{
    struct fixture f = {0};
    int port, fd = listen_on(AF_INET, "127.0.0.1", &port), waiting[4];
    assert_int_equal(listen(fd, 0), 0);
    start(&f, (struct net_limits){0});
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (int i = 0; i < 4; i++) {
        waiting[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        connect(waiting[i], (void *)&sa, sizeof sa);
    }
    struct call call = {0}, drained = {0};
    call_to(f.net, (struct net_dial){.to = here(port), .connect_ms = 100}, &call);
    call_wait(&call);
    assert_int_equal(call.opened, 0);
    assert_int_equal(call.error.failure, NET_FAILED_CONNECT);
    assert_string_equal(call.error.text, "no answer in time");
    call_to(f.net, (struct net_dial){.to = here(port)}, &drained);
    stop(&f); /* does not wait for it */
    assert_int_equal(drained.closed, 1);
    assert_int_equal(drained.error.failure, NET_FAILED_HERE);
    for (int i = 0; i < 4; i++)
        close(waiting[i]);
    close(fd);
}

static void calls_count_apart(void **state)
{
    struct fixture f = {0};
    int port, fd = listen_on(AF_INET, "127.0.0.1", &port);
    start(&f, (struct net_limits){.dials = 3, .connections = 1});
    struct call calls[3] = {0}, more = {0};
    for (int i = 0; i < 3; i++)
        call_to(f.net, (struct net_dial){.to = here(port)}, &calls[i]);
    struct net_dial one_more = {.to = here(port), .proto = &caller, .app = &more, .arg = &more};
    assert_rc(net_dial(f.net, &one_more), RC_LIMIT);
    assert_int_equal(net_dials(f.net), 3);
    assert_int_equal(net_count(f.net), 0);
    int accepted = dial(f.port);
    hear(accepted, "hello\n");
    say(accepted, "quit\n");
    hear(accepted, "bye\n");
    hear_end(accepted);
    for (int i = 0; i < 3; i++)
        close(accept(fd, NULL, NULL));
    for (int i = 0; i < 3; i++)
        call_wait(&calls[i]);
    assert_int_equal(net_dials(f.net), 0);
    stop(&f);
    assert_int_equal(more.closed, 0);
    close(fd);
}

/* What the other side said before it broke off is heard although ours could not be sent. */
static void last_words_are_heard(void **state)
{
    struct fixture f = {0};
    int port, fd = listen_on(AF_INET, "127.0.0.1", &port);
    start(&f, (struct net_limits){0});
    struct call call = {.say = "one\ntwo\n"};
    call_to(f.net, (struct net_dial){.to = here(port)}, &call);
    int peer = accept(fd, NULL, NULL);
    hear(peer, "one\n");
    say(peer, "go away\n");
    close(peer); /* with unread input: a reset */
    call_wait(&call);
    assert_string_equal(call.heard, "go away\n");
    stop(&f);
    close(fd);
}

static void input_without_end_is_an_error(void **state)
{
    struct fixture f = {0};
    start(&f, (struct net_limits){0});
    struct call call = {.say = "big 10\n"};
    static struct net_proto deaf;
    deaf = caller;
    deaf.step = echo_step; /* waits for a line that does not come */
    deaf.session_size = echo.session_size;
    deaf.input_max = 500;
    struct net_dial dial = {.to = here(f.port), .proto = &deaf, .app = &f, .arg = &call};
    int port, fd = listen_on(AF_INET, "127.0.0.1", &port);
    dial.to = here(port);
    assert_rc(net_dial(f.net, &dial), RC_OK);
    int peer = accept(fd, NULL, NULL);
    hear(peer, "hello\n");
    for (int i = 0; i < 600; i++)
        send(peer, "x", 1, MSG_NOSIGNAL);
    call_wait(&call);
    assert_int_equal(call.error.failure, NET_FAILED_INPUT);
    f.closed++; /* the echo's own count */
    close(peer);
    close(fd);
    stop(&f);
}

static void draining_refuses_calls(void **state)
{
    struct fixture f = {0};
    start(&f, (struct net_limits){0});
    struct call call = {0}, open = {0};
    call_to(f.net, (struct net_dial){.to = here(f.port)}, &open);
    while (!open.opened)
        usleep(1000);
    net_drain(f.net);
    struct net_dial dial = {.to = here(f.port), .proto = &caller, .app = &call, .arg = &call};
    assert_rc(net_dial(f.net, &dial), RC_TEMP);
    call_wait(&open);
    stop(&f);
    assert_int_equal(call.closed, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_call_is_answered),      cmocka_unit_test(a_call_is_a_connection),
        cmocka_unit_test(unix_sockets_are_called), cmocka_unit_test(failures_are_told),
        cmocka_unit_test(connecting_has_its_time), cmocka_unit_test(calls_count_apart),
        cmocka_unit_test(last_words_are_heard),    cmocka_unit_test(input_without_end_is_an_error),
        cmocka_unit_test(draining_refuses_calls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
