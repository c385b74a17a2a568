/* The link's watchman: answers calls whose time is over or that librados did not take, and says
 * when the cluster has stopped answering. */
#include "rados/link_int.h"

enum {
    WATCH_MS = 250,  /* how late a deadline may be noticed */
    STALL_MS = 5000, /* without answer, after which the log says so */
    LATE_MS = 500    /* KV_RADOS_LATE */
};

static struct link_call *find_late(struct list *calls, uint64_t now)
{
    LIST_EACH (calls, it) {
        struct link_call *call = CONTAINER(it, struct link_call, link);
        if (!call->is_answered && call->until != 0 && call->until <= now)
            return call;
    }
    return NULL;
}

/* Both with the mutex, which they let go of meanwhile. */
static void answer_late(struct link *link)
{
    uint64_t now = clock_mono(link->ctx->clock);
    struct link_call *call;
    while ((call = find_late(&link->sent, now)) != NULL ||
           (call = find_late(&link->waiting, now)) != NULL) {
        call->is_answered = true;
        bool is_sent = call->begun != 0;
        list_remove(&call->link);
        if (call->fate == KV_RADOS_LATE) {
            call->until = now + LATE_MS * NS_PER_MS;
            list_add_tail(&link->held, &call->link);
        } else if (is_sent) {
            list_add_tail(&link->late, &call->link);
        }
        atomic_fetch_add(&call->refs, 1);
        pthread_mutex_unlock(&link->mutex);
        counter_add(link->ctx->counters, COUNTER_CLUSTER_UNKNOWN, 1);
        call->done(call, LINK_UNKNOWN, call->arg);
        link_call_let_go(call);
        pthread_mutex_lock(&link->mutex);
    }
}

static void answer_broken(struct link *link)
{
    struct list *it;
    while ((it = list_first(&link->broken)) != NULL) {
        struct link_call *call = CONTAINER(it, struct link_call, link);
        list_remove(it);
        pthread_mutex_unlock(&link->mutex);
        link_complete(call, call->error);
        pthread_mutex_lock(&link->mutex);
    }
}

static void send_held(struct link *link)
{
    uint64_t now = clock_mono(link->ctx->clock);
    struct list *it;
    while ((it = list_first(&link->held)) && CONTAINER(it, struct link_call, link)->until <= now) {
        list_remove(it);
        pthread_mutex_unlock(&link->mutex);
        link_submit(CONTAINER(it, struct link_call, link));
        pthread_mutex_lock(&link->mutex);
    }
}

/* Since when the oldest call has been without answer; 0: there is none. */
static uint64_t oldest(struct link *link)
{
    struct list *it = list_first(&link->late);
    it = it ? it : list_first(&link->sent);
    return it ? CONTAINER(it, struct link_call, link)->begun : 0;
}

/* One line when the cluster stops answering, one when it goes on. */
static void tell_stall(struct link *link)
{
    uint64_t now = clock_mono(link->ctx->clock);
    uint64_t since = oldest(link);
    bool is_stalled = since && now - since > STALL_MS * NS_PER_MS;
    struct log_line line;
    counter_set(link->ctx->counters, COUNTER_CLUSTER_CALLS, link->n_sent);
    if (is_stalled == (link->stalled != 0))
        return;
    counter_set(link->ctx->counters, COUNTER_CLUSTER_STALLED, is_stalled);
    log_begin(&line, link->ctx->log, is_stalled ? LOG_WARNING : LOG_INFO,
              is_stalled ? "cluster-stalled" : "cluster-goes-on");
    log_u64(&line, "operations", link->n_sent);
    if (!is_stalled)
        log_u64(&line, "seconds", (now - link->stalled) / NS_PER_SEC);
    log_end(&line);
    link->stalled = is_stalled ? since : 0;
}

void *link_watch(void *arg)
{
    struct link *link = arg;
    pthread_mutex_lock(&link->mutex);
    while (!link->is_closing || link->n_sent > 0 || !list_is_empty(&link->waiting)) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += WATCH_MS * (long)NS_PER_MS;
        until.tv_sec += until.tv_nsec / (long)NS_PER_SEC;
        until.tv_nsec %= (long)NS_PER_SEC;
        pthread_cond_timedwait(&link->wake, &link->mutex, &until);
        answer_broken(link);
        answer_late(link);
        send_held(link);
        tell_stall(link);
    }
    pthread_mutex_unlock(&link->mutex);
    return NULL;
}
