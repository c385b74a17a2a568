/* The control socket's sessions: one request, one answer, then the connection closes. Who may
 * connect is decided by the data folder's permissions. Requests run on a worker lane: short for the
 * directory, heavy for what may take long (admin's table says which).
 *
 * Import and export go on after the request: frames of src/transfer, one way or the other, until
 * one side closes (stream.c).
 */
#include "ctl/ctl_int.h"

#include "base/mem.h"
#include "task/task.h"

#include <stdlib.h>

enum { REQUEST_MS = 10000, ANSWER_MS = 60000, STREAM_MS = 3600000, PAGE = 32 << 10 };

struct session {
    struct buf answer; /* what is still to be sent */
    bool has_answer;
    struct ctl_stream *stream; /* NULL: the request was no such one */
    bool is_over;              /* the stream: what it had to say is still to be sent */
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

/* --- import and export ------------------------------------------------------------------------ */

static bool send_out(struct conn *c, struct buf *from)
{
    while (buf_len(from) && !net_out_is_full(c)) {
        struct str page = str_head(buf_str(from), PAGE);
        if (buf_add(net_out(c), page) != RC_OK)
            break;
        buf_consume(from, page.n);
    }
    return buf_len(from) == 0;
}

/* What takes long is done in pieces, each on the lane for that, so that others have their turn. */
static enum net_step go_on(struct conn *c, struct session *s, unsigned events)
{
    size_t used = 0;
    if (events & (NET_EV_TIMEOUT | NET_EV_KICK | NET_EV_DRAIN))
        return NET_ABORT;
    net_deadline(c, STREAM_MS);
    if (!send_out(c, ctl_stream_out(s->stream)))
        return NET_MORE;
    if (s->is_over)
        return NET_CLOSE;
    if (!net_can_block(c))
        return NET_HEAVY;
    enum rc rc = ctl_stream_step(s->stream, net_in(c), &used);
    net_consume(c, used);
    s->is_over = rc != RC_OK && rc != RC_AGAIN;
    if (rc == RC_AGAIN && !buf_len(ctl_stream_out(s->stream)))
        return net_is_eof(c) ? NET_CLOSE : NET_READ;
    return send_out(c, ctl_stream_out(s->stream)) && s->is_over ? NET_CLOSE : NET_MORE;
}

static enum net_step begin_stream(struct conn *c, struct session *s,
                                  const struct admin_request *request, size_t frame)
{
    struct log_line l;
    if (!net_can_block(c))
        return NET_HEAVY;
    net_log(c, &l, LOG_INFO, "command");
    log_str(&l, "object", request->words[0]);
    log_str(&l, "name", request->n_words > 1 ? request->words[1] : STR(""));
    log_end(&l);
    s->stream = ctl_stream_new(net_app(c), request);
    net_consume(c, frame);
    net_deadline(c, STREAM_MS);
    return NET_MORE;
}

struct leaving {
    struct task_job job;
    struct ctl_stream *stream;
};

static void leave(struct task_job *job)
{
    struct leaving *l = CONTAINER(job, struct leaving, job);
    ctl_stream_free(&l->stream);
    free(l);
}

/* It may wait for commits, which a loop does not. */
static void end_stream(struct admin *admin, struct ctl_stream *stream)
{
    struct leaving *l = mem_alloc(sizeof *l);
    *l = (struct leaving){.job.run = leave, .stream = stream};
    if (!admin->lane || task_lane_post(admin->lane, &l->job) != RC_OK)
        leave(&l->job);
}

static enum net_step step(struct conn *c, unsigned events)
{
    struct session *s = net_session(c);
    if (s->stream)
        return go_on(c, s, events);
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
    if (rc == RC_OK && ctl_is_stream(&request))
        next = begin_stream(c, s, &request, 4 + get_u32(in.p));
    else if (rc == RC_OK)
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
    if (s->stream)
        end_stream(net_app(c), s->stream);
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
