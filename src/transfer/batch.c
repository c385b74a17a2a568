/* Messages on their way into one mailbox: one commit, as far as it goes.
 *
 * Invariants: the blobs are the batch's from batch_add on, and are given back when what became of
 * all of them is known. What the store refuses as a whole (the quota, most of all) is tried again
 * in halves, so that exactly those messages are left out that do not go. */
#include "transfer/transfer_int.h"

#include "base/mem.h"

#include <stdlib.h>
#include <time.h>

enum { RETRIES = 3000, RETRY_MS = 20 }; /* a minute, when too much is queued by others */

static void landed(struct store_op *op)
{
    struct landing *l = CONTAINER(op, struct landing, op);
    pthread_mutex_lock(&l->mutex);
    l->is_done = true;
    pthread_cond_signal(&l->cond);
    pthread_mutex_unlock(&l->mutex);
}

void landing_begin(struct landing *l)
{
    *l = (struct landing){.op.done = landed};
    pthread_mutex_init(&l->mutex, NULL);
    pthread_cond_init(&l->cond, NULL);
}

enum rc landing_wait(struct landing *l, enum rc queued)
{
    pthread_mutex_lock(&l->mutex);
    while (queued == RC_OK && !l->is_done)
        pthread_cond_wait(&l->cond, &l->mutex);
    pthread_mutex_unlock(&l->mutex);
    pthread_cond_destroy(&l->cond);
    pthread_mutex_destroy(&l->mutex);
    return queued == RC_OK ? l->op.rc : queued;
}

void batch_init(struct batch *b, size_t max)
{
    *b = (struct batch){.max = max, .queued = RC_EOF};
    b->appends = mem_alloc(max * sizeof *b->appends);
    b->labels = mem_alloc(max * sizeof *b->labels);
}

void batch_clear(struct batch *b, struct kv *kv)
{
    for (size_t i = 0; i < b->n; i++)
        kv_blob_forget(kv, b->appends[i].blob);
    arena_reset(&b->arena);
    b->n = 0;
    b->bytes = b->total = 0;
    b->queued = RC_EOF;
}

void batch_fini(struct batch *b, struct kv *kv)
{
    batch_clear(b, kv);
    arena_fini(&b->arena);
    free(b->appends);
    free(b->labels);
}

static const struct str *dup_all(struct arena *arena, const struct str *all, size_t n)
{
    struct str *copy = arena_alloc(arena, n * sizeof *copy + 1);
    for (size_t i = 0; i < n; i++)
        copy[i] = arena_dup(arena, all[i]);
    return copy;
}

void batch_add(struct batch *b, const struct store_append *append, struct str label)
{
    struct store_append *to = &b->appends[b->n];
    *to = *append;
    to->keywords = dup_all(&b->arena, append->keywords, append->n_keywords);
    to->references = dup_all(&b->arena, append->references, append->n_references);
    to->message_id = arena_dup(&b->arena, append->message_id);
    to->origin = append->origin.n ? arena_dup(&b->arena, append->origin) : (struct str){0};
    to->uidl = append->uidl.n ? arena_dup(&b->arena, append->uidl) : (struct str){0};
    b->labels[b->n++] = arena_dup(&b->arena, str_head(label, TRANSFER_LABEL));
    b->bytes += append->size <= KV_BLOB_SMALL ? append->size : 0;
    b->total += append->size;
}

/* --- committing ------------------------------------------------------------------------------- */

static enum rc queue(struct batch *b, struct store_account *account, size_t from, size_t n)
{
    landing_begin(&b->landing);
    return store_append_many(account, b->appends + from, n, 0, &b->landing.op);
}

void batch_begin(struct batch *b, struct store_account *account)
{
    b->queued = queue(b, account, 0, b->n);
}

static void rest(void)
{
    const struct timespec ms = {.tv_nsec = RETRY_MS * 1000000L};
    nanosleep(&ms, NULL);
}

/* Whether the result is this message's alone, and others may be taken nevertheless. */
static bool is_of_messages(enum rc rc)
{
    return rc == RC_LIMIT || rc == RC_NOTFOUND || rc == RC_PERM;
}

/* Again, until it is decided; what the store says while others have queued too much, or after a
 * commit of somebody else has failed, passes. */
static enum rc settle(struct batch *b, struct store_account *account, struct kv *kv, size_t from,
                      size_t n)
{
    enum rc rc = RC_CONFLICT;
    for (size_t i = 0; i < RETRIES && (rc == RC_CONFLICT || rc == RC_TEMP); i++) {
        if (rc == RC_TEMP && kv_state(kv, NULL) == KV_READONLY)
            break;
        if (i)
            rest();
        rc = landing_wait(&b->landing, queue(b, account, from, n));
    }
    return rc;
}

struct part {
    size_t from, n;
};

/* Halves that are refused as a whole, until single messages are. */
static enum rc settle_parts(struct batch *b, struct store_account *account, struct kv *kv,
                            struct batch_watch *watch)
{
    enum { DEPTH = 16 }; /* 2 to the power of 16 is more than a batch has */
    struct part stack[DEPTH];
    size_t depth = 0;
    stack[depth++] = (struct part){b->n / 2, b->n - b->n / 2};
    stack[depth++] = (struct part){0, b->n / 2};
    while (depth) {
        struct part p = stack[--depth];
        enum rc rc = p.n ? settle(b, account, kv, p.from, p.n) : RC_OK;
        if (rc == RC_OK)
            continue;
        if (!is_of_messages(rc))
            return rc;
        if (p.n == 1) {
            watch->refused(watch, b, p.from, rc);
            continue;
        }
        stack[depth++] = (struct part){p.from + p.n / 2, p.n - p.n / 2};
        stack[depth++] = (struct part){p.from, p.n / 2};
    }
    return RC_OK;
}

enum rc batch_end(struct batch *b, struct store_account *account, struct kv *kv,
                  struct batch_watch *watch)
{
    enum rc rc = landing_wait(&b->landing, b->queued);
    b->queued = RC_EOF;
    if (rc == RC_CONFLICT || rc == RC_TEMP)
        rc = settle(b, account, kv, 0, b->n);
    if (rc == RC_OK || !is_of_messages(rc))
        return rc;
    if (b->n > 1)
        return settle_parts(b, account, kv, watch);
    watch->refused(watch, b, 0, rc);
    return RC_OK;
}
