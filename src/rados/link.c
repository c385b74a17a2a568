/* The link to the cluster: the one file that knows librados.
 *
 * One handle, two pools in one namespace. A call collects its parts as copies and becomes an
 * operation of librados when it is sent: there an operation is used once, and only then.
 *
 * Invariants, under the mutex:
 *   1. A call is in `waiting`, in `sent`, in `late` (answered before its end), in `broken` (not
 *      taken by librados) or in none. All but the waiting ones count in n_sent and sent_bytes until
 *      librados is done with them, however long ago their owner was answered.
 *   2. A call is answered once: by librados' completion, or before it by the watchman when its time
 *      is over. Each of them and the owner holds one reference while it may touch the call.
 *   3. n_sent and sent_bytes stay below librados' own bounds, so its calls here never block; one
 *      call is always let through.
 *
 * The handle is set up after fork: a child that inherits one hangs in its first call. */
#include "rados/link_int.h"

#include "base/buf.h"
#include "base/mem.h"

#include "task/task.h"

#include <errno.h>
#include <rados/librados.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    IN_FLIGHT = 512,
    IN_FLIGHT_MAX = 900,
    BYTES_MAX = 64 << 20,
    CONNECT_MS = 30000,
};

/* --- outcomes --------------------------------------------------------------------------------- */

const char *link_result_name(enum link_result result)
{
    static const char *const names[] = {"ok",   "refused", "missing", "exists",
                                        "full", "fenced",  "unknown", "failed"};
    return names[result];
}

enum rc link_rc(enum link_result result)
{
    static const enum rc rcs[] = {
        [LINK_OK] = RC_OK,         [LINK_REFUSED] = RC_CONFLICT, [LINK_MISSING] = RC_NOTFOUND,
        [LINK_EXISTS] = RC_EXISTS, [LINK_FULL] = RC_FULL,        [LINK_FENCED] = RC_TEMP,
        [LINK_UNKNOWN] = RC_TEMP,  [LINK_FAILED] = RC_TEMP,
    };
    return rcs[result];
}

static enum link_result result_of(struct link_call *call, int error)
{
    switch (error < 0 ? -error : 0) {
    case 0:
        return LINK_OK;
    case ECANCELED:
    case ERANGE:
    case EOVERFLOW:
        return LINK_REFUSED;
    case ENOENT:
    case ENODATA:
        return LINK_MISSING;
    case EEXIST:
        return LINK_EXISTS;
    case ENOSPC:
    case EDQUOT:
        return LINK_FULL;
    case ESHUTDOWN:
        return LINK_FENCED;
    case ETIMEDOUT:
        return LINK_UNKNOWN;
    default:
        log_event(call->to->ctx->log, LOG_ERROR, "cluster-call-failed", "object", call->object,
                  "cause", strerror(-error), NULL);
        return LINK_FAILED;
    }
}

/* --- the end of a call ------------------------------------------------------------------------ */

void link_call_let_go(struct link_call *call)
{
    if (atomic_fetch_sub(&call->refs, 1) > 1)
        return;
    if (call->write)
        rados_release_write_op(call->write);
    if (call->read)
        rados_release_read_op(call->read);
    if (call->rows)
        rados_omap_get_end(call->rows);
    if (call->keys)
        rados_omap_get_end(call->keys);
    if (call->attrs)
        rados_getxattrs_end(call->attrs);
    for (int kind = 0; kind < PART_KINDS; kind++)
        free(call->parts[kind].part);
    arena_fini(&call->arena);
    free(call->object);
    free(call->data);
    free(call);
}

void link_call_free(struct link_call **call)
{
    if (*call)
        link_call_let_go(*call);
    *call = NULL;
}

/* --- what a call is in librados --------------------------------------------------------------- */

/* The keys and values of one kind as librados wants them; in the call's arena. */
struct columns {
    const char **keys, **values;
    size_t *key_lens, *value_lens;
    size_t n;
};

static struct columns columns_of(struct link_call *call, enum part_kind kind)
{
    const struct parts *parts = &call->parts[kind];
    struct columns c = {.n = parts->n};
    c.keys = arena_alloc(&call->arena, c.n * sizeof *c.keys);
    c.values = arena_alloc(&call->arena, c.n * sizeof *c.values);
    c.key_lens = arena_alloc(&call->arena, c.n * sizeof *c.key_lens);
    c.value_lens = arena_alloc(&call->arena, c.n * sizeof *c.value_lens);
    for (size_t i = 0; i < c.n; i++) {
        c.keys[i] = parts->part[i].key.p;
        c.values[i] = parts->part[i].value.p;
        c.key_lens[i] = parts->part[i].key.n;
        c.value_lens[i] = parts->part[i].value.n;
    }
    return c;
}

/* NULL behind the last one. */
static const struct part *part_at(const struct link_call *call, enum part_kind kind, size_t i)
{
    const struct parts *parts = &call->parts[kind];
    return i < parts->n ? &parts->part[i] : NULL;
}

static void add_write_guards(struct link_call *call, rados_write_op_t op)
{
    const struct part *p;
    if (call->parts[PART_CREATE].n)
        rados_write_op_create(op, LIBRADOS_CREATE_EXCLUSIVE, NULL);
    if (call->parts[PART_ASSERT_EXISTS].n)
        rados_write_op_assert_exists(op);
    for (size_t i = 0; (p = part_at(call, PART_GUARD_ROW, i)) != NULL; i++)
        rados_write_op_omap_cmp2(op, p->key.p, LIBRADOS_CMPXATTR_OP_EQ, p->value.p, p->key.n,
                                 p->value.n, NULL);
    for (size_t i = 0; (p = part_at(call, PART_GUARD_ROW_BELOW, i)) != NULL; i++)
        rados_write_op_omap_cmp2(op, p->key.p, LIBRADOS_CMPXATTR_OP_LT, p->value.p, p->key.n,
                                 p->value.n, NULL);
    for (size_t i = 0; (p = part_at(call, PART_GUARD_ATTR, i)) != NULL; i++)
        rados_write_op_cmpxattr(op, p->key.p, LIBRADOS_CMPXATTR_OP_EQ, p->value.p, p->value.n);
}

static void build_write(struct link_call *call)
{
    const struct part *p;
    rados_write_op_t op = call->write = rados_create_write_op();
    add_write_guards(call, op);
    for (size_t i = 0; (p = part_at(call, PART_RANGE_REMOVE, i)) != NULL; i++)
        rados_write_op_omap_rm_range2(op, p->key.p, p->key.n, p->value.p, p->value.n);
    struct columns c = columns_of(call, PART_ROW_REMOVE);
    if (c.n)
        rados_write_op_omap_rm_keys2(op, c.keys, c.key_lens, c.n);
    c = columns_of(call, PART_ROW);
    if (c.n)
        rados_write_op_omap_set2(op, c.keys, c.values, c.key_lens, c.value_lens, c.n);
    for (size_t i = 0; (p = part_at(call, PART_ATTR_REMOVE, i)) != NULL; i++)
        rados_write_op_rmxattr(op, p->key.p);
    for (size_t i = 0; (p = part_at(call, PART_ATTR, i)) != NULL; i++)
        rados_write_op_setxattr(op, p->key.p, p->value.p, p->value.n);
    for (size_t i = 0; (p = part_at(call, PART_BYTES, i)) != NULL; i++)
        rados_write_op_write_full(op, p->value.p, p->value.n);
    for (size_t i = 0; (p = part_at(call, PART_PIECE, i)) != NULL; i++)
        rados_write_op_write(op, p->value.p, p->value.n, p->at);
    if (call->parts[PART_REMOVE].n)
        rados_write_op_remove(op);
}

static void build_read(struct link_call *call)
{
    const struct part *p;
    rados_read_op_t op = call->read = rados_create_read_op();
    for (size_t i = 0; (p = part_at(call, PART_GUARD_ROW, i)) != NULL; i++)
        rados_read_op_omap_cmp2(op, p->key.p, LIBRADOS_CMPXATTR_OP_EQ, p->value.p, p->key.n,
                                p->value.n, NULL);
    for (size_t i = 0; (p = part_at(call, PART_GUARD_ROW_BELOW, i)) != NULL; i++)
        rados_read_op_omap_cmp2(op, p->key.p, LIBRADOS_CMPXATTR_OP_LT, p->value.p, p->key.n,
                                p->value.n, NULL);
    for (size_t i = 0; (p = part_at(call, PART_GUARD_ATTR, i)) != NULL; i++)
        rados_read_op_cmpxattr(op, p->key.p, LIBRADOS_CMPXATTR_OP_EQ, p->value.p, p->value.n);
    for (size_t i = 0; (p = part_at(call, PART_READ_ROWS, i)) != NULL; i++)
        rados_read_op_omap_get_vals2(op, p->key.n ? p->key.p : "", "", p->n, &call->rows,
                                     &call->has_more, &call->unused_result);
    struct columns c = columns_of(call, PART_READ_ROW);
    if (c.n)
        rados_read_op_omap_get_vals_by_keys2(op, c.keys, c.n, c.key_lens, &call->keys,
                                             &call->unused_result);
    if (call->parts[PART_READ_ATTRS].n)
        rados_read_op_getxattrs(op, &call->attrs, &call->unused_result);
    for (size_t i = 0; (p = part_at(call, PART_READ_BYTES, i)) != NULL; i++) {
        call->data = mem_alloc(p->n + 1);
        rados_read_op_read(op, p->at, p->n, call->data, &call->data_n, &call->unused_result);
    }
}

/* --- sending and answering -------------------------------------------------------------------- */

/* Moves what may be sent now from `waiting` to `sent` and, by their links, to `out`. */
static void pick(struct link *link, struct list *out)
{
    struct list *it;
    while ((it = list_first(&link->waiting)) != NULL) {
        struct link_call *call = CONTAINER(it, struct link_call, link);
        bool fits = link->n_sent < link->most && call->bytes <= BYTES_MAX - link->sent_bytes;
        if (!fits && link->n_sent > 0)
            break;
        list_remove(it);
        list_add_tail(out, it);
        link->n_sent++;
        link->sent_bytes += call->bytes < BYTES_MAX ? call->bytes : BYTES_MAX;
        atomic_fetch_add(&call->refs, 2); /* librados' and this function's caller's */
    }
}

/* Without the mutex. */
static void submit_all(struct link *link, struct list *calls)
{
    struct list *it;
    while ((it = list_first(calls)) != NULL) {
        struct link_call *call = CONTAINER(it, struct link_call, link);
        pthread_mutex_lock(&link->mutex);
        list_remove(it);
        list_add_tail(&link->sent, it);
        call->begun = clock_mono(link->ctx->clock);
        pthread_mutex_unlock(&link->mutex);
        if (call->fate != KV_RADOS_LATE)
            link_submit(call);
        link_call_let_go(call);
    }
}

void link_complete(struct link_call *call, int error)
{
    struct link *link = call->to;
    struct list next;
    list_init(&next);
    pthread_mutex_lock(&link->mutex);
    list_remove(&call->link);
    link->n_sent--;
    link->sent_bytes -= call->bytes < BYTES_MAX ? call->bytes : BYTES_MAX;
    bool is_late = call->is_answered;
    call->is_answered = true;
    pick(link, &next);
    pthread_mutex_unlock(&link->mutex);
    submit_all(link, &next);
    if (!is_late)
        call->done(call, call->fate == KV_RADOS_LOST ? LINK_UNKNOWN : result_of(call, error),
                   call->arg);
    link_call_let_go(call);
}

static void completed(rados_completion_t completion, void *arg)
{
    int error = rados_aio_get_return_value(completion);
    rados_aio_release(completion);
    link_complete(arg, error);
}

/* librados does not take it: the watchman completes it. */
static void submit_failed(struct link_call *call, int error)
{
    pthread_mutex_lock(&call->to->mutex);
    call->error = error;
    list_remove(&call->link);
    list_add_tail(&call->to->broken, &call->link);
    pthread_cond_signal(&call->to->wake);
    pthread_mutex_unlock(&call->to->mutex);
}

void link_submit(struct link_call *call)
{
    rados_ioctx_t io = call->to->pools[call->pool];
    rados_completion_t completion;
    if (call->fate == KV_RADOS_NEVER || call->fate == KV_RADOS_FENCED) {
        submit_failed(call, call->fate == KV_RADOS_NEVER ? -ETIMEDOUT : -ESHUTDOWN);
        return;
    }
    rados_aio_create_completion2(call, completed, &completion);
    int error;
    if (call->is_write) {
        build_write(call);
        /* A full pool is to be an answer, not an endless wait. */
        error = rados_aio_write_op_operate(call->write, io, completion, call->object, NULL,
                                           LIBRADOS_OPERATION_FULL_TRY);
    } else {
        build_read(call);
        error = rados_aio_read_op_operate(call->read, io, completion, call->object, 0);
    }
    if (error == 0)
        return;
    rados_aio_release(completion);
    submit_failed(call, error);
}

static void send_call(struct link_call *call, uint32_t ms, link_done *done, void *arg)
{
    struct link *link = call->to;
    struct list now;
    call->done = done;
    call->arg = arg;
    call->until = ms ? clock_mono(link->ctx->clock) + ms * NS_PER_MS : 0;
    if (call->is_write && link->hooks && link->hooks->fate)
        call->fate = link->hooks->fate(link->hooks, call->object);
    if (call->fate == KV_RADOS_LATE)
        call->until = 1;
    list_init(&now);
    pthread_mutex_lock(&link->mutex);
    list_add_tail(&link->waiting, &call->link);
    pick(link, &now);
    pthread_mutex_unlock(&link->mutex);
    submit_all(link, &now);
}

void link_write(struct link_call *call, uint32_t ms, link_done *done, void *arg)
{
    call->is_write = true;
    send_call(call, ms, done, arg);
}

void link_read(struct link_call *call, uint32_t ms, link_done *done, void *arg)
{
    call->is_write = false;
    send_call(call, ms, done, arg);
}

struct waiter {
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    bool is_done;
    enum link_result result;
};

static void wake(struct link_call *call, enum link_result result, void *arg)
{
    struct waiter *w = arg;
    pthread_mutex_lock(&w->mutex);
    w->result = result;
    w->is_done = true;
    pthread_cond_signal(&w->cond);
    pthread_mutex_unlock(&w->mutex);
}

static enum link_result send_and_wait(struct link_call *call, uint32_t ms)
{
    struct waiter w = {.is_done = false};
    pthread_mutex_init(&w.mutex, NULL);
    pthread_cond_init(&w.cond, NULL);
    send_call(call, ms, wake, &w);
    pthread_mutex_lock(&w.mutex);
    while (!w.is_done)
        pthread_cond_wait(&w.cond, &w.mutex);
    pthread_mutex_unlock(&w.mutex);
    pthread_cond_destroy(&w.cond);
    pthread_mutex_destroy(&w.mutex);
    return w.result;
}

enum link_result link_write_wait(struct link_call *call, uint32_t ms)
{
    call->is_write = true;
    return send_and_wait(call, ms);
}

enum link_result link_read_wait(struct link_call *call, uint32_t ms)
{
    call->is_write = false;
    return send_and_wait(call, ms);
}

/* --- what a read got -------------------------------------------------------------------------- */

static bool next_row(rados_omap_iter_t iter, struct str *out_key, struct str *out_value)
{
    char *key = NULL;
    char *value = NULL;
    size_t key_n = 0;
    size_t value_n = 0;
    if (!iter || rados_omap_get_next2(iter, &key, &value, &key_n, &value_n) < 0 || !key)
        return false;
    *out_key = str_from(key, key_n);
    *out_value = str_from(value, value_n);
    return true;
}

bool link_got_row(struct link_call *call, struct str *out_key, struct str *out_value)
{
    return next_row(call->rows, out_key, out_value);
}

bool link_got_key(struct link_call *call, struct str *out_key, struct str *out_value)
{
    return next_row(call->keys, out_key, out_value);
}

bool link_got_attr(struct link_call *call, struct str *out_name, struct str *out_value)
{
    const char *name = NULL;
    const char *value = NULL;
    size_t n = 0;
    if (!call->attrs || rados_getxattrs_next(call->attrs, &name, &value, &n) < 0 || !name)
        return false;
    *out_name = str_of(name);
    *out_value = str_from(value, n);
    return true;
}

bool link_got_more(const struct link_call *call)
{
    return call->has_more != 0;
}

struct str link_got_bytes(const struct link_call *call)
{
    return str_from(call->data, call->data_n);
}

/* --- connecting ------------------------------------------------------------------------------- */

struct setting {
    const char *name, *value;
};

static enum rc refuse(const struct ctx *ctx, const char *step, const char *what, int error)
{
    enum rc rc = rc_from_errno(-error);
    log_event(ctx->log, LOG_ERROR, "cluster-refused", "step", step, "what", what, "cause",
              strerror(-error), NULL);
    return rc == RC_NOTFOUND || rc == RC_DENIED ? rc : error == -EPERM ? RC_DENIED : RC_TEMP;
}

static int set(rados_t cluster, const char *name, const char *value)
{
    return value ? rados_conf_set(cluster, name, value) : 0;
}

/* What this file relies on, whatever ceph.conf says: librados never gives up an operation by
 * itself, blocks later than the link holds back, and writes to no descriptor of ours. */
static int set_all(rados_t cluster, const struct kv_rados_conf *conf)
{
    char seconds[16];
    snprintf(seconds, sizeof seconds, "%u",
             (conf->connect_ms ? conf->connect_ms : CONNECT_MS) / 1000 + 1);
    const struct setting settings[] = {
        {"keyring", conf->keyring},        {"client_mount_timeout", seconds},
        {"rados_osd_op_timeout", "0"},     {"rados_mon_op_timeout", "10"},
        {"objecter_inflight_ops", "1024"}, {"objecter_inflight_op_bytes", "134217728"},
        {"log_to_stderr", "false"},        {"err_to_stderr", "false"},
    };
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        int error = set(cluster, settings[i].name, settings[i].value);
        if (error < 0)
            return error;
    }
    return 0;
}

static enum rc open_pool(struct link *link, enum link_pool pool, const char *name,
                         const struct kv_rados_conf *conf)
{
    int error = rados_ioctx_create(link->cluster, name, &link->pools[pool]);
    if (error < 0)
        return refuse(link->ctx, "pool", name, error);
    rados_ioctx_set_namespace(link->pools[pool], conf->name ? conf->name : "penfold");
    return RC_OK;
}

static enum rc connect_to(struct link *link, const struct kv_rados_conf *conf)
{
    const char *client = conf->client ? conf->client : "client.penfold";
    const char *index_pool = conf->index_pool ? conf->index_pool : "penfold";
    int error = rados_create2(&link->cluster, "ceph", client, 0);
    if (error < 0)
        return refuse(link->ctx, "client", client, error);
    error = rados_conf_read_file(link->cluster, conf->conf);
    if (error < 0)
        return refuse(link->ctx, "configuration", conf->conf ? conf->conf : "ceph.conf", error);
    error = set_all(link->cluster, conf);
    if (error < 0)
        return refuse(link->ctx, "configuration", "a setting of Penfold's", error);
    error = rados_connect(link->cluster);
    if (error < 0)
        return refuse(link->ctx, "connect", client, error);
    TRY(open_pool(link, LINK_INDEX, index_pool, conf));
    return open_pool(link, LINK_BODY, conf->body_pool ? conf->body_pool : index_pool, conf);
}

uint64_t link_alignment(struct link *link, enum link_pool pool)
{
    uint64_t alignment = 0;
    int error = rados_ioctx_pool_required_alignment2(link->pools[pool], &alignment);
    return error < 0 || alignment == 0 ? 1 : alignment;
}

enum rc link_each_object(struct link *link, enum link_pool pool,
                         enum rc (*each)(void *arg, struct str name), void *arg)
{
    rados_list_ctx_t list;
    const char *name;
    size_t n;
    int error = rados_nobjects_list_open(link->pools[pool], &list);
    if (error < 0)
        return rc_from_errno(-error);
    enum rc rc = RC_OK;
    while (rc == RC_OK && error == 0) {
        error = rados_nobjects_list_next2(list, &name, NULL, NULL, &n, NULL, NULL);
        if (error == 0)
            rc = each(arg, str_from(name, n));
    }
    rados_nobjects_list_close(list);
    return rc != RC_OK || error == -ENOENT ? rc : rc_from_errno(-error);
}

enum rc link_space(struct link *link, uint64_t *out_all, uint64_t *out_free)
{
    struct rados_cluster_stat_t stat = {0};
    int error = rados_cluster_stat(link->cluster, &stat);
    *out_all = stat.kb << 10;
    *out_free = stat.kb_avail << 10;
    return error < 0 ? rc_from_errno(-error) : stat.kb ? RC_OK : RC_NOTFOUND;
}

static void disconnect(struct link *link)
{
    for (int pool = 0; pool < 2; pool++)
        if (link->pools[pool])
            rados_ioctx_destroy(link->pools[pool]);
    if (link->cluster)
        rados_shutdown(link->cluster);
    free(link);
}

enum rc link_open(const struct ctx *ctx, const struct kv_rados_conf *conf, struct link **out)
{
    struct link *link = mem_zero(sizeof *link);
    link->ctx = ctx;
    link->most = conf->in_flight ? conf->in_flight : IN_FLIGHT;
    if (link->most > IN_FLIGHT_MAX)
        link->most = IN_FLIGHT_MAX;
    enum rc rc = connect_to(link, conf);
    if (rc != RC_OK) {
        disconnect(link);
        return rc;
    }
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&link->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_mutex_init(&link->mutex, NULL);
    list_init(&link->waiting);
    list_init(&link->sent);
    list_init(&link->late);
    list_init(&link->broken);
    list_init(&link->held);
    link->hooks = conf->hooks;
    link->watchman = task_thread("kv-watchman", link_watch, link);
    *out = link;
    return RC_OK;
}

void link_close(struct link **link)
{
    struct link *l = *link;
    if (!l)
        return;
    pthread_mutex_lock(&l->mutex);
    l->is_closing = true;
    pthread_cond_signal(&l->wake);
    pthread_mutex_unlock(&l->mutex);
    pthread_join(l->watchman, NULL);
    pthread_cond_destroy(&l->wake);
    pthread_mutex_destroy(&l->mutex);
    disconnect(l);
    *link = NULL;
}
