/* The control socket's sessions: one request, one answer, then the connection closes. Who may
 * connect is decided by the data folder's permissions. Requests run on a worker lane: short for the
 * directory, heavy for what may take long (admin's table says which).
 */
#include "ctl/ctl_int.h"

#include "base/mem.h"

enum { REQUEST_MS = 10000, ANSWER_MS = 60000, PAGE = 32 << 10 };

struct session {
    struct buf answer; /* what is still to be sent */
    bool has_answer;
};

static bool is_heavy(const struct admin_request *request)
{
    const struct admin_command *command = admin_find(request->words, request->n_words);
    return command && command->is_heavy;
}

static enum net_step run(struct conn *c, struct session *s, struct admin_request *request,
                         size_t frame)
{
    struct admin_answer answer;
    if (!net_can_block(c))
        return is_heavy(request) ? NET_HEAVY : NET_SHORT;
    admin_run(net_app(c), request, &answer);
    net_deadline(c, ANSWER_MS); /* that of the request may have passed meanwhile */
    struct log_line l;
    net_log(c, &l, LOG_INFO, "command");
    const struct admin_command *command = admin_find(request->words, request->n_words);
    const char *const names[] = {"object", command && !command->verb[0] ? "name" : "verb", "name"};
    for (size_t i = 0; i < request->n_words && i < (command && !command->verb[0] ? 2 : 3); i++)
        log_str(&l, names[i], request->words[i]);
    log_text(&l, "result", rc_name(answer.rc));
    log_end(&l);
    buf_init(&s->answer, CTL_ANSWER_MAX);
    enum rc rc = ctl_answer_pack(&answer, &s->answer);
    admin_answer_fini(&answer);
    net_consume(c, frame);
    s->has_answer = true;
    return rc == RC_OK ? NET_MORE : NET_ABORT;
}

static enum net_step send_answer(struct conn *c, struct session *s)
{
    while (buf_len(&s->answer)) {
        if (net_out_is_full(c))
            return NET_MORE;
        struct str page = str_head(buf_str(&s->answer), PAGE);
        if (buf_add(net_out(c), page) != RC_OK)
            return NET_MORE;
        buf_consume(&s->answer, page.n);
        net_deadline(c, ANSWER_MS);
    }
    return NET_CLOSE;
}

static enum net_step step(struct conn *c, unsigned events)
{
    struct session *s = net_session(c);
    if (s->has_answer)
        return events & NET_EV_TIMEOUT ? NET_ABORT : send_answer(c, s);
    if (events & (NET_EV_TIMEOUT | NET_EV_KICK))
        return NET_ABORT;
    if (events & NET_EV_OPEN)
        net_deadline(c, REQUEST_MS);
    struct arena arena = {0};
    struct admin_request request;
    enum net_step next = NET_ABORT;
    struct str in = net_in(c);
    enum rc rc = ctl_request_unpack(in, &arena, &request);
    if (rc == RC_OK)
        next = run(c, s, &request, 4 + get_u32(in.p));
    else if (rc == RC_AGAIN && !net_is_eof(c))
        next = NET_READ;
    arena_fini(&arena);
    return next;
}

static void closed(struct conn *c)
{
    struct session *s = net_session(c);
    buf_fini(&s->answer);
}

const struct net_proto ctl_proto = {
    .name = "control",
    .session_size = sizeof(struct session),
    .input_max = CTL_REQUEST_MAX + 4,
    .output_high = 256 << 10,
    .busy = "",
    .step = step,
    .close = closed,
};
