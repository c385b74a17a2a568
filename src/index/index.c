/* The index as a whole: its thread, and who is to be worked for.
 *
 * Which accounts are behind is what the store knows of those in memory (store_made_behind): so
 * there is no queue that could be lost or grow. The thread goes round, a few bounded steps for each
 * account; an account whose step failed is left alone until somebody searches in it again. */
#include "index/build_int.h"

#include "base/mem.h"

#include <stdlib.h>
#include <time.h>

enum {
    TEXT_MAX = 4 << 20,
    LAG = 16,      /* messages that wait for each other: searches look at them without an index */
    ACCOUNTS = 64, /* looked up at once */
    STEPS = 4,     /* for one account in a row */
    PAUSE = 2      /* seconds, when there is nothing to do */
};

void index_count(struct index *ix, uint64_t messages, uint64_t bytes)
{
    atomic_fetch_add(&ix->messages, messages);
    atomic_fetch_add(&ix->bytes, bytes);
}

void index_log(struct index *ix, uint64_t account, const char *event, enum rc rc)
{
    struct log_line l;
    log_begin(&l, ix->ctx->log, LOG_WARNING, event);
    log_u64(&l, "account", account);
    log_text(&l, "cause", rc_name(rc));
    log_end(&l);
}

/* --- steps ------------------------------------------------------------------------------------ */

static enum rc step(struct index *ix, struct store_account *account, bool *out_more)
{
    *out_more = false;
    pthread_mutex_lock(&ix->work);
    enum rc rc = index_step_account(ix, account, out_more);
    pthread_mutex_unlock(&ix->work);
    if (rc != RC_OK)
        store_made_note(account, 0);
    return rc;
}

enum rc index_step(struct index *ix, uint64_t id, bool *out_more)
{
    struct store_account *account;
    *out_more = false;
    if (ix->conf.is_off)
        return RC_DENIED;
    TRY(store_account_open(ix->conf.store, id, 0, &account));
    enum rc rc = step(ix, account, out_more);
    store_account_close(&account);
    return rc;
}

static bool is_behind(struct store_account *account)
{
    return store_emails_end(account) >= store_made(account) + LAG;
}

/* An account that is behind is met again; one that is not has its blocks joined to the end. */
static void work_for(struct index *ix, uint64_t id)
{
    struct store_account *account;
    bool more = true;
    enum rc rc = store_account_open(ix->conf.store, id, 0, &account);
    if (rc != RC_OK)
        return; /* removed meanwhile, or to be met again */
    for (unsigned i = 0; rc == RC_OK && more && (i < STEPS || !is_behind(account)); i++)
        rc = atomic_load(&ix->stop) ? RC_EOF : step(ix, account, &more);
    store_account_close(&account);
    if (rc != RC_OK && rc != RC_EOF)
        index_log(ix, id, "index-failed", rc);
}

static void pause_work(struct index *ix)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PAUSE;
    pthread_mutex_lock(&ix->mutex);
    int error = 0;
    while (!ix->is_wanted && !atomic_load(&ix->stop) && !error)
        error = pthread_cond_timedwait(&ix->wanted, &ix->mutex, &until);
    ix->is_wanted = false;
    pthread_mutex_unlock(&ix->mutex);
}

static void work(struct task_job *job)
{
    struct index *ix = CONTAINER(job, struct index, job);
    uint64_t ids[ACCOUNTS], waiting;
    while (!atomic_load(&ix->stop)) {
        size_t n = store_made_behind(ix->conf.store, LAG, ids, ACCOUNTS, &waiting);
        for (size_t i = 0; i < n && !atomic_load(&ix->stop); i++)
            work_for(ix, ids[i]);
        if (!n)
            pause_work(ix);
    }
}

static void wake(struct index *ix)
{
    pthread_mutex_lock(&ix->mutex);
    ix->is_wanted = true;
    pthread_cond_signal(&ix->wanted);
    pthread_mutex_unlock(&ix->mutex);
}

void index_want(struct index *ix, struct store_account *account)
{
    if (ix->conf.is_off || store_made(account))
        return;
    store_made_note(account, 1); /* from the first message on, or from where its rows say */
    wake(ix);
}

/* --- making it anew --------------------------------------------------------------------------- */

static enum rc renew(struct index *ix, struct store_account *account)
{
    struct index_table table;
    uint64_t id = store_account_id(account);
    pthread_mutex_lock(&ix->work);
    (void)index_table_load(ix->conf.kv, id, &table); /* whatever it is like */
    enum rc rc = index_wipe(ix, id, table.head.next_block);
    index_table_fini(&table);
    if (rc == RC_OK)
        store_made_note(account, 1);
    pthread_mutex_unlock(&ix->work);
    wake(ix);
    return rc;
}

void index_forsake(struct index *ix, struct store_account *account, enum rc cause)
{
    uint64_t id = store_account_id(account);
    index_log(ix, id, "index-damaged", cause);
    pthread_mutex_lock(&ix->mutex);
    if (ix->n_forsaken < INDEX_FORSAKEN)
        ix->forsaken[ix->n_forsaken++] = id;
    pthread_mutex_unlock(&ix->mutex);
    store_made_note(account, 1);
    wake(ix);
}

bool index_is_forsaken(struct index *ix, uint64_t account)
{
    size_t n = 0, before;
    pthread_mutex_lock(&ix->mutex);
    before = ix->n_forsaken;
    for (size_t i = 0; i < before; i++)
        if (ix->forsaken[i] != account)
            ix->forsaken[n++] = ix->forsaken[i];
    ix->n_forsaken = n;
    pthread_mutex_unlock(&ix->mutex);
    return n < before;
}

enum rc index_rebuild(struct index *ix, uint64_t id)
{
    struct store_account *account;
    if (ix->conf.is_off)
        return RC_DENIED;
    TRY(store_account_open(ix->conf.store, id, 0, &account));
    enum rc rc = renew(ix, account);
    store_account_close(&account);
    return rc;
}

/* --- figures ---------------------------------------------------------------------------------- */

void index_figures(struct index *ix, struct index_figures *out)
{
    uint64_t id;
    *out = (struct index_figures){.messages = atomic_load(&ix->messages),
                                  .bytes = atomic_load(&ix->bytes)};
    (void)store_made_behind(ix->conf.store, UINT64_MAX, &id, 1, &out->waiting);
}

enum rc index_look(struct index *ix, struct store_account *account, struct index_state *out)
{
    struct index_table table;
    *out = (struct index_state){0};
    enum rc rc = index_table_load(ix->conf.kv, store_account_id(account), &table);
    if (rc == RC_OK)
        *out = (struct index_state){true, table.head.next, table.emails, table.columns, table.n};
    index_table_fini(&table);
    return rc == RC_NOTFOUND ? RC_OK : rc;
}

/* --- beginning and end ------------------------------------------------------------------------ */

void index_open(const struct ctx *ctx, const struct index_conf *conf, struct index **out)
{
    struct index *ix = mem_zero(sizeof *ix);
    ix->ctx = ctx;
    ix->conf = *conf;
    if (!ix->conf.text_max)
        ix->conf.text_max = TEXT_MAX;
    atomic_init(&ix->stop, false);
    atomic_init(&ix->messages, 0);
    atomic_init(&ix->bytes, 0);
    pthread_mutex_init(&ix->work, NULL);
    pthread_mutex_init(&ix->mutex, NULL);
    pthread_cond_init(&ix->wanted, NULL);
    *out = ix;
}

void index_start(struct index *ix)
{
    if (ix->conf.is_off)
        return;
    ix->lane = task_lane_new_background("index", 1, 1);
    ix->job.run = work;
    if (task_lane_post(ix->lane, &ix->job) != RC_OK)
        abort(); /* its first one */
}

void index_close(struct index **index)
{
    struct index *ix = *index;
    *index = NULL;
    if (!ix)
        return;
    atomic_store(&ix->stop, true);
    wake(ix);
    if (ix->lane)
        task_lane_free(&ix->lane);
    pthread_cond_destroy(&ix->wanted);
    pthread_mutex_destroy(&ix->mutex);
    pthread_mutex_destroy(&ix->work);
    free(ix);
}
