/* What the tests of the queue share: a queue over a store in memory, items, and how to wait. */
#ifndef QUEUE_FIXTURE_H
#define QUEUE_FIXTURE_H

#include "queue/queue_int.h"

#include "base/test.h"

struct fixture {
    struct ctx ctx;
    struct counters counters;
    struct kv *kv;
    struct queue *queue;
};

static inline int setup(void **state)
{
    static struct fixture f;
    f = (struct fixture){.ctx = {.clock = &clock_system, .counters = &f.counters}};
    f.kv = kv_mem_new(&f.ctx);
    assert_rc(queue_open(&f.ctx, f.kv, &f.queue), RC_OK);
    *state = &f;
    return 0;
}

static inline int teardown(void **state)
{
    struct fixture *f = *state;
    queue_close(&f->queue);
    kv_close(&f->kv);
    return 0;
}

struct waited {
    struct queue_op op;
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    bool is_done;
};

static inline void wake(struct queue_op *op)
{
    struct waited *w = CONTAINER(op, struct waited, op);
    pthread_mutex_lock(&w->mutex);
    w->is_done = true;
    pthread_cond_signal(&w->cond);
    pthread_mutex_unlock(&w->mutex);
}

static inline void wait_for(struct waited *w)
{
    pthread_mutex_lock(&w->mutex);
    while (!w->is_done)
        pthread_cond_wait(&w->cond, &w->mutex);
    pthread_mutex_unlock(&w->mutex);
}

#define WAITED                                                                                     \
    {                                                                                              \
        .op.done = wake, .mutex = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER      \
    }

static inline struct kv_blob_id make_blob(struct kv *kv)
{
    struct kv_blob_id blob;
    struct kv_blob_out *out = kv_blob_new(kv, (struct kv_part){KV_QUEUE, 0}, 0, 0);
    assert_rc(kv_blob_write(out, STR("A: b\r\n\r\nc\r\n")), RC_OK);
    assert_rc(kv_blob_finish(&out, &blob), RC_OK);
    return blob;
}

static inline enum rc add_to(struct kv *kv, struct queue *queue, const struct queue_recipient *to,
                             size_t n, struct queue_id *out_id)
{
    struct queue_item item = {.blob = make_blob(kv),
                              .size = 11,
                              .received = 5,
                              .sender = STR("s@here.test"),
                              .recipients = to,
                              .n_recipients = n};
    struct waited w = WAITED;
    assert_rc(queue_add(queue, &item, 1, &w.op), RC_OK);
    wait_for(&w);
    kv_blob_forget(kv, item.blob);
    *out_id = w.op.id;
    return w.op.rc;
}

static const struct queue_recipient far = {.address = STR_INIT("x@far.test"),
                                           .domain = STR_INIT("far.test")};
static const struct queue_recipient near = {.address = STR_INIT("y@near.test"),
                                            .domain = STR_INIT("near.test")};

/* Rows of all shards whose key begins so. */
static inline size_t rows_of(struct kv *kv, char first)
{
    size_t n = 0;
    const char to = (char)(first + 1);
    for (unsigned shard = 0; shard < QUEUE_SHARDS; shard++) {
        struct arena arena = {0};
        struct kv_page page;
        const struct kv_range range = {.from = str_from(&first, 1), .to = str_from(&to, 1)};
        assert_rc(kv_scan(kv, (struct kv_part){KV_QUEUE, shard}, range, 0, 0, &arena, &page),
                  RC_OK);
        assert_false(page.has_more);
        n += page.n;
        arena_fini(&arena);
    }
    return n;
}

static inline struct queue_entry load(struct queue *queue, struct queue_id id, struct arena *arena)
{
    struct queue_entry e;
    assert_rc(queue_load(queue, id, 0, arena, &e), RC_OK);
    assert_rc(e.rc, RC_OK);
    return e;
}

#endif
