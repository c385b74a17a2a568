/* The warden: a thread that looks whether logins still hold when the directory has changed or one
 * of them expires, and ends the sessions of those that do not.
 *
 * A change says only which partition it was in, so all sessions whose accounts are there are looked
 * at, each for the cost of three rows that are in memory. Changes that come meanwhile are one more
 * round. After a round it rests four times as long as that took: however fast a directory changes
 * and however many sessions there are, it takes a fifth of one processor at most. What cannot be
 * read now is looked at again.
 */
#include "auth/session_int.h"

#include "task/task.h"

#include <errno.h>
#include <string.h>
#include <time.h>

enum { REST = 4, REST_MAX_MS = 5000, AGAIN_MS = 1000 };
/* The clock may be set meanwhile: so often it is looked at while something will expire. */
enum { LOOK_MS = 60000 };
#define NEVER UINT64_MAX

uint64_t auth_part_version(struct auth *auth, uint64_t part)
{
    return atomic_load(&auth->cache.versions[part]);
}

/* --- one round -------------------------------------------------------------------------------- */

/* What of an entry is looked up while others may have the list. */
struct question {
    struct auth_session *entry;
    uint64_t serial, account, latest;
    unsigned char credential[AUTH_CREDENTIAL];
    size_t n_name;
    char name[AUTH_ADDRESS_MAX];
};

static void ask(struct auth_session *e, uint64_t latest, struct question *q)
{
    q->entry = e;
    q->serial = e->serial;
    q->account = e->account;
    q->latest = latest;
    memcpy(q->credential, e->credential, sizeof q->credential);
    q->n_name = e->n_name < sizeof q->name ? e->n_name : sizeof q->name;
    memcpy(q->name, e->name, q->n_name);
}

/* RC_OK: it was looked at. */
static enum rc look(struct auth *auth, struct walk *walk, struct auth_session *e, uint64_t latest)
{
    struct question q;
    ask(e, latest, &q);
    auth_walk_pause(walk);
    enum rc rc = auth_login_holds(auth, str_from(q.name, q.n_name), q.account, q.credential, 0);
    auth_walk_resume(walk);
    if (!auth_walk_is_there(walk, q.entry, q.serial))
        return RC_OK;
    if (rc == RC_OK)
        e->version = q.latest;
    if (rc == RC_DENIED)
        auth_session_end(e, AUTH_SESSION_OVER, "the account or its password has changed");
    return rc == RC_DENIED ? RC_OK : rc;
}

/* Whether its time is over; otherwise *ms is until then at most. */
static bool expires_soon(struct auth *auth, const struct auth_session *e, uint64_t *ms)
{
    uint64_t now = clock_wall(auth->ctx->clock);
    if (!e->expires || now >= e->expires)
        return e->expires != 0;
    uint64_t left = (e->expires - now) / NS_PER_MS + 1;
    left = left < LOOK_MS ? left : LOOK_MS;
    *ms = left < *ms ? left : *ms;
    return false;
}

/* RC_OK: all are known to hold, or are told to end. In *out_ms something expires; NEVER: nothing.
 */
static enum rc look_at_all(struct auth *auth, uint64_t *out_ms)
{
    struct walk walk;
    struct auth_session *e;
    enum rc result = RC_OK;
    *out_ms = NEVER;
    auth_blocks_tidy(auth);
    auth_walk_begin(&walk, &auth->sessions);
    while (!atomic_load(&auth->warden.is_ending) && (e = auth_walk_next(&walk))) {
        uint64_t latest = auth_part_version(auth, e->part);
        bool is_over = expires_soon(auth, e, out_ms);
        if ((e->version >= latest && !is_over) || atomic_load(&e->ending) != AUTH_SESSION_STAYS)
            continue;
        enum rc rc = look(auth, &walk, e, latest);
        result = rc == RC_OK ? result : rc;
    }
    auth_walk_end(&walk);
    return result;
}

/* --- the thread ------------------------------------------------------------------------------- */

static struct timespec in_ms(uint64_t ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    uint64_t ns = (uint64_t)until.tv_nsec + ms * NS_PER_MS;
    until.tv_sec += (time_t)(ns / NS_PER_SEC);
    until.tv_nsec = (long)(ns % NS_PER_SEC);
    return until;
}

/* The mutex is held. */
static void rest(struct warden *w, uint64_t ms)
{
    struct timespec until = in_ms(ms);
    int error = 0;
    while (!atomic_load(&w->is_ending) && error != ETIMEDOUT)
        error = pthread_cond_timedwait(&w->woken, &w->mutex, &until);
}

/* Until something has changed or expires; the mutex is held. */
static void wait_for_work(struct warden *w, uint64_t ms)
{
    struct timespec until = in_ms(ms == NEVER ? 0 : ms);
    int error = 0;
    while (!w->is_wanted && !atomic_load(&w->is_ending) && error != ETIMEDOUT)
        error = ms == NEVER ? pthread_cond_wait(&w->woken, &w->mutex)
                            : pthread_cond_timedwait(&w->woken, &w->mutex, &until);
}

static uint64_t ms_since(uint64_t begin)
{
    return (clock_mono(&clock_system) - begin) / NS_PER_MS;
}

static void *warden_main(void *arg)
{
    struct auth *auth = arg;
    struct warden *w = &auth->warden;
    uint64_t next_ms = NEVER;
    pthread_mutex_lock(&w->mutex);
    while (!atomic_load(&w->is_ending)) {
        wait_for_work(w, next_ms);
        w->is_wanted = false;
        pthread_mutex_unlock(&w->mutex);
        uint64_t begin = clock_mono(&clock_system);
        enum rc rc = look_at_all(auth, &next_ms);
        uint64_t pause = ms_since(begin) * REST;
        pthread_mutex_lock(&w->mutex);
        if (rc != RC_OK) {
            w->is_wanted = true;
            pause = pause > AGAIN_MS ? pause : AGAIN_MS;
        }
        if (pause)
            rest(w, pause < REST_MAX_MS ? pause : REST_MAX_MS);
    }
    pthread_mutex_unlock(&w->mutex);
    return NULL;
}

void auth_warden_wake(struct auth *auth)
{
    struct warden *w = &auth->warden;
    pthread_mutex_lock(&w->mutex);
    w->is_wanted = true;
    pthread_cond_broadcast(&w->woken);
    pthread_mutex_unlock(&w->mutex);
}

void auth_warden_init(struct auth *auth)
{
    struct warden *w = &auth->warden;
    pthread_condattr_t monotonic;
    pthread_mutex_init(&w->mutex, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&w->woken, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

void auth_warden_start(struct auth *auth)
{
    auth->warden.thread = task_thread("warden", warden_main, auth);
    auth->warden.is_started = true;
}

void auth_warden_fini(struct auth *auth)
{
    struct warden *w = &auth->warden;
    pthread_mutex_lock(&w->mutex);
    atomic_store(&w->is_ending, true);
    pthread_cond_broadcast(&w->woken);
    pthread_mutex_unlock(&w->mutex);
    if (w->is_started)
        pthread_join(w->thread, NULL);
    pthread_cond_destroy(&w->woken);
    pthread_mutex_destroy(&w->mutex);
}
