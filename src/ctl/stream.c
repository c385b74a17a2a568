/* Import and export where the store is: a request that begins a stream of frames, and who is behind
 * it. The same in a running server (a session of the control socket) and in a process that has
 * opened a store at rest (moving.c). */
#include "ctl/ctl_int.h"

#include "base/mem.h"
#include "transfer/transfer.h"

#include <stdlib.h>

enum { OUT_MAX = 1 << 20 }; /* a portion, and a frame more */

struct ctl_stream {
    struct transfer_feed *into; /* or */
    struct transfer_pull *from;
    struct buf out; /* of `from` */
    enum rc end;    /* of `from`: RC_OK while there is more */
};

bool ctl_is_stream(const struct admin_request *request)
{
    return request->n_words && (str_eq(request->words[0], STR("transfer-into")) ||
                                str_eq(request->words[0], STR("transfer-from")));
}

static enum rc find_account(struct admin *admin, struct str address, uint64_t *out)
{
    struct arena arena = {0};
    struct auth_account account;
    enum rc rc = auth_account_show(admin->auth, address, &arena, &account);
    if (rc == RC_OK)
        *out = account.id;
    arena_fini(&arena);
    return rc == RC_SYNTAX ? RC_NOTFOUND : rc;
}

static struct transfer_feed *begin_into(struct admin *admin, const struct admin_request *r)
{
    struct transfer_into into = {.kv = admin->kv, .store = admin->store, .ctx = &admin->ctx};
    if (r->n_words != 4 || !r->words[2].n ||
        str_to_u64(r->words[3], &into.limits.message_size) != RC_OK)
        return transfer_feed_refuse(RC_SYNTAX);
    enum rc rc = find_account(admin, r->words[1], &into.account);
    into.name = r->words[2];
    return rc == RC_OK ? transfer_feed_new(&into) : transfer_feed_refuse(rc);
}

static void begin_from(struct ctl_stream *s, struct admin *admin, const struct admin_request *r)
{
    uint64_t account = 0;
    enum rc rc = r->n_words == 2 ? find_account(admin, r->words[1], &account) : RC_SYNTAX;
    if (rc == RC_OK)
        rc = transfer_pull_open(admin->store, account, &s->from);
    transfer_put_ready(&s->out, rc);
    s->end = rc;
}

struct ctl_stream *ctl_stream_new(struct admin *admin, const struct admin_request *request)
{
    struct ctl_stream *s = mem_zero(sizeof *s);
    buf_init(&s->out, OUT_MAX);
    if (str_eq(request->words[0], STR("transfer-into")))
        s->into = begin_into(admin, request);
    else
        begin_from(s, admin, request);
    return s;
}

struct buf *ctl_stream_out(struct ctl_stream *s)
{
    return s->into ? transfer_feed_answers(s->into) : &s->out;
}

enum rc ctl_stream_step(struct ctl_stream *s, struct str in, size_t *out_used)
{
    *out_used = 0;
    if (!s->into) {
        if (s->end == RC_OK)
            s->end = transfer_pull_more(s->from, &s->out);
        return s->end;
    }
    TRY(transfer_feed_take(s->into, in, out_used));
    return *out_used ? RC_OK : RC_AGAIN;
}

void ctl_stream_free(struct ctl_stream **stream)
{
    struct ctl_stream *s = *stream;
    if (!s)
        return;
    transfer_feed_free(&s->into);
    transfer_pull_close(&s->from);
    buf_fini(&s->out);
    free(s);
    *stream = NULL;
}
