/* Import and export where the store is: a request that begins a stream of frames, and who is behind
 * it. The same in a running server (a session of the control socket) and in a process that has
 * opened a store at rest (moving.c). */
#include "ctl/ctl_int.h"

#include "base/mem.h"
#include "transfer/transfer.h"

#include <stdlib.h>

struct ctl_stream {
    struct transfer_feed *into;
};

bool ctl_is_stream(const struct admin_request *request)
{
    return request->n_words && str_eq(request->words[0], STR("transfer-into"));
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

struct ctl_stream *ctl_stream_new(struct admin *admin, const struct admin_request *request)
{
    struct ctl_stream *s = mem_zero(sizeof *s);
    s->into = begin_into(admin, request);
    return s;
}

struct buf *ctl_stream_out(struct ctl_stream *s)
{
    return transfer_feed_answers(s->into);
}

enum rc ctl_stream_step(struct ctl_stream *s, struct str in, size_t *out_used)
{
    TRY(transfer_feed_take(s->into, in, out_used));
    return *out_used ? RC_OK : RC_AGAIN;
}

void ctl_stream_free(struct ctl_stream **stream)
{
    if (*stream)
        transfer_feed_free(&(*stream)->into);
    free(*stream);
    *stream = NULL;
}
