/* For the tests of net/: a protocol that calls the echo server of test_echo.h. */
#ifndef NET_TEST_CALLER_H
#define NET_TEST_CALLER_H

#include "net/test_echo.h"

/* One call: `say` is sent when the connection is open, `then` when it is in TLS. It starts TLS when
 * the server has said "go ahead". */
struct call {
    const char *say, *then;
    struct net_tls_want want;
    bool is_aborting;  /* NET_ABORT as soon as it is open */
    bool is_lane;      /* the first step wants a worker */
    uint64_t deadline; /* ms; 0: 30,000 */
    /* What has come of it, to be looked at when `closed`. */
    char heard[4096];
    size_t n;
    unsigned events; /* all that were seen */
    enum rc expect;
    enum net_tls_proof proof;
    char text[64];
    struct net_error error;
    struct net_handle handle;
    _Atomic int opened, closed;
};

static inline enum net_step caller_input(struct conn *c, struct call *call)
{
    struct str in = net_in(c);
    ptrdiff_t at = call->then ? str_find(in, STR("go ahead\n")) : -1;
    if (at >= 0)
        in = str_head(in, (size_t)at + 9);
    assert_true(call->n + in.n < sizeof call->heard);
    memcpy(call->heard + call->n, in.p, in.n);
    call->n += in.n;
    call->heard[call->n] = 0;
    net_consume(c, in.n);
    if (at < 0)
        return NET_READ;
    call->expect = net_tls_expect(c, &call->want);
    return call->expect == RC_OK ? NET_TLS : NET_ABORT;
}

static inline enum net_step caller_step(struct conn *c, unsigned events)
{
    struct call *call = net_arg(c);
    call->events |= events;
    assert_ptr_equal(net_app(c), call);
    if (events & NET_EV_OPEN) {
        call->handle = net_handle(c);
        call->opened++;
        net_deadline(c, call->deadline ? call->deadline : 30000);
        if (call->is_aborting)
            return NET_ABORT;
        if (call->is_lane && !net_can_block(c))
            return NET_SHORT;
    }
    if (((events & NET_EV_OPEN) || net_can_block(c)) && call->say)
        buf_put(net_out(c), str_of(call->say));
    if (events & (NET_EV_TLS | NET_EV_SECURE)) {
        snprintf(call->text, sizeof call->text, "%.*s", STR_ARG(net_tls_text(c)));
        call->proof = net_tls_proof(c);
    }
    if (events & NET_EV_TLS)
        buf_put(net_out(c), str_of(call->then));
    if (events & (NET_EV_TIMEOUT | NET_EV_DRAIN | NET_EV_KICK))
        return NET_CLOSE;
    return caller_input(c, call);
}

static inline void caller_close(struct conn *c)
{
    struct call *call = net_arg(c);
    call->error = *net_error(c);
    call->closed++;
}

static const struct net_proto caller = {
    .name = "caller",
    .input_max = 4096,
    .output_high = 4096,
    .step = caller_step,
    .close = caller_close,
};

static inline struct net_addr here(int port)
{
    char text[32];
    struct net_addr a;
    snprintf(text, sizeof text, "127.0.0.1:%d", port);
    assert_rc(net_addr_parse(str_of(text), &a), RC_OK);
    return a;
}

static inline void call_to(struct net *net, struct net_dial dial, struct call *call)
{
    dial.proto = &caller;
    dial.app = dial.arg = call;
    assert_rc(net_dial(net, &dial), RC_OK);
}

static inline void call_wait(struct call *call)
{
    for (int i = 0; !call->closed; i++) {
        assert_true(i < 60000);
        usleep(1000);
    }
    assert_int_equal(call->closed, 1);
}

#endif
