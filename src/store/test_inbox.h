/* What tests of the folders above share: changes of a store that are waited for, and a look into an
 * account's INBOX. Not part of any library. */
#ifndef STORE_TEST_INBOX_H
#define STORE_TEST_INBOX_H

#include "store/store.h"

#include "base/test.h"

#include <pthread.h>

/* A change that is waited for. */
struct inbox_op {
    struct store_op op;
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    bool is_done;
};

static inline void inbox_op_done(struct store_op *op)
{
    struct inbox_op *o = CONTAINER(op, struct inbox_op, op);
    pthread_mutex_lock(&o->mutex);
    o->is_done = true;
    pthread_cond_signal(&o->cond);
    pthread_mutex_unlock(&o->mutex);
}

static inline void inbox_op_init(struct inbox_op *o)
{
    *o = (struct inbox_op){.op.done = inbox_op_done};
    pthread_mutex_init(&o->mutex, NULL);
    pthread_cond_init(&o->cond, NULL);
}

static inline enum rc inbox_op_end(struct inbox_op *o)
{
    pthread_mutex_lock(&o->mutex);
    while (!o->is_done)
        pthread_cond_wait(&o->cond, &o->mutex);
    pthread_mutex_unlock(&o->mutex);
    return o->op.rc;
}

static inline void inbox_op_wait(struct inbox_op *o)
{
    assert_rc(inbox_op_end(o), RC_OK);
}

/* An account, and its INBOX as it is. */
struct inbox {
    struct store_account *account;
    uint32_t id;
    struct store_root *root;
};

static inline struct inbox inbox_open(struct store *store, uint64_t account)
{
    struct inbox in;
    assert_rc(store_account_open(store, account, 0, &in.account), RC_OK);
    assert_rc(store_mailbox_by_role(in.account, STORE_INBOX, &in.id), RC_OK);
    assert_rc(store_mailbox_open(in.account, in.id, 0, &in.root), RC_OK);
    return in;
}

static inline void inbox_close(struct inbox *in)
{
    store_root_release(&in->root);
    store_account_close(&in->account);
}

static inline size_t inbox_count(struct store *store, uint64_t account)
{
    struct inbox in = inbox_open(store, account);
    size_t n = store_root_count(in.root);
    inbox_close(&in);
    return n;
}

/* Messages that do not end with CRLF. */
static inline size_t inbox_count_unended(struct store *store, uint64_t account)
{
    struct inbox in = inbox_open(store, account);
    size_t n = store_root_unended(in.root);
    inbox_close(&in);
    return n;
}

/* Puts the same message into an INBOX, `times` times. */
static inline void inbox_fill(struct kv *kv, struct store *store, uint64_t account, struct str text,
                              uint64_t received, size_t times)
{
    struct kv_blob_id blob;
    struct kv_blob_out *out = kv_blob_new(kv, (struct kv_part){KV_ACCOUNT, account}, 0, 0);
    assert_rc(kv_blob_write(out, text), RC_OK);
    assert_rc(kv_blob_finish(&out, &blob), RC_OK);
    struct inbox in = inbox_open(store, account);
    const struct store_append append = {.blob = blob, .size = text.n, .received = received};
    for (size_t i = 0; i < times; i++) {
        struct inbox_op o;
        inbox_op_init(&o);
        assert_rc(store_append(in.account, &append, 0, &o.op), RC_OK);
        inbox_op_wait(&o);
    }
    inbox_close(&in);
    kv_blob_forget(kv, blob);
}

static inline void inbox_expunge(struct store *store, uint64_t account, const uint32_t *uids,
                                 size_t n)
{
    struct inbox in = inbox_open(store, account);
    struct inbox_op o;
    inbox_op_init(&o);
    assert_rc(store_expunge(in.account, in.id, uids, n, 0, &o.op), RC_OK);
    inbox_op_wait(&o);
    inbox_close(&in);
}

#endif
