/* One try to collect: opens the password, finds the host, and is the owner of the session.
 *
 * POP3: what is in is known by the digests of UIDLs, one note each. A UIDL that is not listed any
 * more is remembered for 30 days, since a host that once lists nothing would otherwise bring
 * everything a second time. */
#include "collect/collect_int.h"

#include "base/bytes.h"
#include "base/random.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DAY_NS    (86400 * NS_PER_SEC)
#define FORGET_NS (30 * DAY_NS)

static struct job *job_of(struct fetch_owner *o)
{
    return CONTAINER(o, struct job, owner);
}

/* --- what is wanted --------------------------------------------------------------------------- */

static void note_listed(struct job *job, const unsigned char *key)
{
    job->listed = mem_array(job->listed, &job->size_listed, job->n_listed + 1, sizeof *job->listed);
    memcpy(job->listed[job->n_listed++], key + 6, 16);
}

static enum fetch_want decide(struct job *job, const struct fetch_item *item, struct str value)
{
    const struct remote *r = &job->remote;
    struct uidl_note in = {0};
    if (str_is_null(value)) {
        if (item->number < job->folder.from) /* IMAP: "n:*" tells of the last one in any case */
            return FETCH_LEAVE;
        if (item->size <= job->set.message_bytes)
            return FETCH_TAKE;
        job->n_left++;
        return FETCH_LEAVE;
    }
    bool is_in = collect_note_read(value, &in) == RC_OK && in.what == NOTE_IN;
    bool is_sure = is_in && !item->is_twin; /* else it may be the other one that is in */
    job->n_left += !is_sure;
    bool is_old = r->after == REMOTE_DELETE ||
                  (r->after == REMOTE_DAYS && job->began >= in.time + r->days * DAY_NS);
    return is_sure && is_old ? FETCH_DELETE : FETCH_LEAVE;
}

static void note_uid(struct job *job, const struct fetch_item *item, enum fetch_want want,
                     bool is_new)
{
    struct folder *f = &job->folder;
    f->highest = item->number > f->highest ? item->number : f->highest;
    f->n_wanted += want == FETCH_TAKE;
    if (is_new && want == FETCH_LEAVE && !f->first_left && item->number >= f->from)
        f->first_left = item->number;
}

static enum rc want(struct fetch_owner *o, const struct fetch_item *items, size_t n,
                    enum fetch_want *out)
{
    struct job *job = job_of(o);
    struct arena arena = {0};
    unsigned char(*keys)[REMOTE_NOTE_KEY] = arena_alloc(&arena, n * sizeof *keys);
    struct str *texts = arena_alloc(&arena, n * sizeof *texts);
    struct str *values = arena_alloc(&arena, n * sizeof *values);
    for (size_t i = 0; i < n; i++) {
        char uidl[FOLDERS_UIDL];
        texts[i] = remote_note_key(job->remote.id, 'u', collect_folders_uidl(job, &items[i], uidl),
                                   keys[i]);
        note_listed(job, keys[i]);
    }
    enum rc rc = store_notes_get(job->account, texts, n, &arena, values);
    for (size_t i = 0; rc == RC_OK && i < n; i++) {
        out[i] = decide(job, &items[i], values[i]);
        note_uid(job, &items[i], out[i], str_is_null(values[i]));
    }
    arena_fini(&arena);
    return rc;
}

static enum rc begin(struct fetch_owner *o, const struct fetch_item *item)
{
    return collect_take_begin(job_of(o), item);
}

static enum rc bytes(struct fetch_owner *o, struct str piece)
{
    return collect_take_bytes(job_of(o), piece);
}

static enum rc end(struct fetch_owner *o, const struct fetch_item *item)
{
    job_of(o)->folder.n_ended++;
    return collect_take_end(job_of(o), item);
}

static void drop(struct fetch_owner *o)
{
    collect_take_drop(job_of(o));
}

static enum rc flush(struct fetch_owner *o)
{
    struct job *job = job_of(o);
    pthread_mutex_lock(&job->mutex);
    enum rc rc = job->rc;
    if (rc == RC_OK && job->under_way) {
        job->is_waiting = job->is_flushing = true;
        rc = RC_AGAIN;
    }
    pthread_mutex_unlock(&job->mutex);
    return rc;
}

static bool may_delete(struct fetch_owner *o, const struct fetch_item *item)
{
    struct job *job = job_of(o);
    bool at_once = job->remote.after == REMOTE_DELETE ||
                   (job->remote.after == REMOTE_DAYS && job->remote.days == 0);
    return at_once && !item->is_twin && !collect_take_was_refused(job, item->number);
}

/* --- what is not listed any more -------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
    return memcmp(a, b, 16);
}

/* What is to be noted about one row; false: nothing. */
static bool review(struct job *job, struct kv_row row, struct store_note *out,
                   unsigned char value[NOTE_UIDL])
{
    struct uidl_note in;
    if (row.key.n != REMOTE_NOTE_KEY || collect_note_read(row.value, &in) != RC_OK)
        return false;
    bool is_listed =
        job->n_listed && bsearch(row.key.p + 6, job->listed, job->n_listed, 16, compare);
    *out = (struct store_note){.key = row.key};
    if (is_listed ? in.missing == 0 : in.missing && job->began < in.missing + FORGET_NS)
        return false;
    if (is_listed || !in.missing) {
        in.missing = is_listed ? 0 : job->began;
        out->value = collect_note_pack(&in, value);
    }
    return true;
}

static enum rc review_page(struct job *job, const struct kv_page *page, struct arena *arena)
{
    struct store_note *notes = arena_alloc(arena, (page->n + 1) * sizeof *notes);
    unsigned char(*values)[NOTE_UIDL] = arena_alloc(arena, (page->n + 1) * sizeof *values);
    size_t n = 0;
    for (size_t i = 0; i < page->n && n < STORE_NOTES; i++)
        n += review(job, page->rows[i], &notes[n], values[n]);
    return n ? collect_notes_put(job, notes, n) : RC_OK;
}

static enum rc review_notes(struct job *job)
{
    unsigned char prefix[REMOTE_NOTE_KEY], last[STORE_NOTE_KEY];
    struct str after = {0};
    enum rc rc = RC_OK;
    bool has_more = true;
    if (job->n_listed)
        qsort(job->listed, job->n_listed, sizeof *job->listed, compare);
    while (rc == RC_OK && has_more) {
        struct arena arena = {0};
        struct kv_page page = {0};
        rc = store_notes_list(job->account, remote_note_prefix(job->remote.id, 'u', prefix), after,
                              &arena, &page);
        if (rc == RC_OK)
            rc = review_page(job, &page, &arena);
        has_more = page.has_more && page.n;
        if (has_more) {
            struct str key = page.rows[page.n - 1].key;
            memcpy(last, key.p, key.n);
            after = str_from(last, key.n);
        }
        arena_fini(&arena);
    }
    return rc;
}

/* The host has said goodbye: what was deleted is gone there. */
static enum rc deleted(struct fetch_owner *o)
{
    struct job *job = job_of(o);
    TRY(collect_folders_finish(job));
    return review_notes(job);
}

static enum rc folders(struct fetch_owner *o, const struct fetch_folder *all, size_t n, bool *wants)
{
    return collect_folders_choose(job_of(o), all, n, wants);
}

static enum rc folder(struct fetch_owner *o, const struct fetch_folder *one, uint32_t *out_from)
{
    return collect_folders_open(job_of(o), one, out_from);
}

/* --- the end ---------------------------------------------------------------------------------- */

static const char *words_of(enum rc rc)
{
    switch (rc) {
    case RC_LIMIT:
        return "the mailbox here is full";
    case RC_FULL:
        return "there is no room left here";
    case RC_NOTFOUND:
        return "there is no such account or mailbox here any more";
    case RC_CORRUPT:
        return "what is stored here is damaged: see the server's log";
    default:
        return "the store here does not work just now";
    }
}

/* Between the interval and the longest one, doubled with each failure, give or take a tenth. */
static uint64_t next_due(struct job *job, uint64_t now)
{
    const struct collect_settings *set = &job->set;
    uint64_t ms = job->remote.interval_s ? job->remote.interval_s * 1000 : set->interval_ms;
    uint64_t most = ms > set->retry_max_ms ? ms : set->retry_max_ms;
    for (uint32_t i = 1; i < job->state.failures && ms < most; i++)
        ms *= 2;
    ms = ms < most ? ms : most;
    uint64_t tenth = ms / 10 + 1;
    return now + (ms - tenth + random_u64() % (2 * tenth)) * NS_PER_MS;
}

static void settle(struct job *job, enum rc rc, const char *text)
{
    struct remote_state *s = &job->state;
    uint64_t now = collect_now(job->collect);
    s->tried = now;
    s->credentials = job->remote.credentials;
    s->asked = job->remote.asked;
    s->messages += job->n_taken;
    if (rc == RC_AGAIN) { /* stopped by us: neither well nor failed */
        s->due = now;
        return;
    }
    s->left = job->n_left;
    snprintf(job->text, sizeof job->text, "%s", text);
    s->text = str_of(job->text);
    if (rc == RC_OK) {
        s->condition = REMOTE_WELL;
        s->succeeded = now;
        s->failing_since = s->failures = 0;
    } else {
        s->condition = rc == RC_DENIED ? REMOTE_STOPPED : REMOTE_FAILING;
        s->failing_since = s->failing_since ? s->failing_since : now;
        s->failures++;
    }
    s->due = next_due(job, now);
}

static void log_end_of(struct job *job, enum rc rc)
{
    struct log_line l;
    log_begin(&l, job->collect->ctx->log, rc == RC_OK || rc == RC_AGAIN ? LOG_INFO : LOG_WARNING,
              rc == RC_OK || rc == RC_AGAIN ? "collect-done" : "collect-failed");
    log_u64(&l, "collection", job->remote.id);
    log_str(&l, "owner", job->remote.owner);
    log_str(&l, "host", job->remote.host);
    log_u64(&l, "messages", job->n_taken);
    if (job->n_left)
        log_u64(&l, "left", job->n_left);
    if (rc != RC_OK) {
        log_text(&l, "result", rc_name(rc));
        log_text(&l, "cause", job->text);
    }
    log_end(&l);
}

/* What there was is in, and the session waits for more: as much as a try that has ended well. */
static enum rc idle(struct fetch_owner *o)
{
    struct job *job = job_of(o);
    settle(job, RC_OK, "");
    log_end_of(job, RC_OK);
    pthread_mutex_lock(&job->mutex);
    job->n_taken = 0;
    pthread_mutex_unlock(&job->mutex);
    job->n_left = job->n_listed = job->n_refused = 0;
    job->began = collect_now(job->collect);
    return remote_state_put(job->collect->conf.kv, job->remote.account, job->remote.id,
                            &job->state);
}

void collect_try_free(struct job *job)
{
    collect_take_drop(job);
    if (job->account)
        store_account_close(&job->account);
    free(job->listed);
    free(job->refused);
    job->listed = NULL;
    job->refused = NULL;
    job->n_listed = job->size_listed = job->n_refused = job->size_refused = 0;
}

/* A failure of a delivery counts before what the session has made of it. */
static void finish(struct task_job *task)
{
    struct job *job = CONTAINER(task, struct job, finish);
    struct collect *c = job->collect;
    enum rc rc = job->rc != RC_OK ? job->rc : job->end.rc;
    bool is_ours = job->rc != RC_OK || (rc != RC_OK && !job->end.text[0]);
    if (is_ours && (rc == RC_DENIED || rc == RC_AGAIN))
        rc = RC_TEMP;
    settle(job, rc, rc == RC_OK ? "" : is_ours ? words_of(rc) : job->end.text);
    log_end_of(job, rc);
    if (job->state.condition == REMOTE_STOPPED ||
        (job->state.failing_since &&
         job->state.tried - job->state.failing_since >= job->set.tell_ms * NS_PER_MS))
        (void)collect_tell_owner(job); /* it is logged, and comes again */
    if (remote_state_put(c->conf.kv, job->remote.account, job->remote.id, &job->state) != RC_OK)
        log_event(c->ctx->log, LOG_WARNING, "collect-not-noted", "host", job->text, NULL);
    collect_try_free(job);
    collect_job_done(job);
}

static void over(struct fetch_owner *o, const struct fetch_end *end)
{
    struct job *job = job_of(o);
    pthread_mutex_lock(&job->mutex);
    job->end = *end;
    job->is_over = true;
    bool is_last = job->under_way == 0;
    pthread_mutex_unlock(&job->mutex);
    if (is_last)
        (void)task_lane_post(job->collect->lane, &job->finish);
}

/* --- the beginning ---------------------------------------------------------------------------- */

static void fail(struct job *job, enum rc rc, const char *text)
{
    job->end.rc = rc;
    snprintf(job->end.text, sizeof job->end.text, "%s", text);
    finish(&job->finish);
}

/* What tells this collection's Received fields from all others. */
static enum rc make_token(struct job *job)
{
    static const char digits[] = "0123456789abcdef";
    unsigned char secret[AUTH_SECRET], whom[12], digest[CRYPTO_SHA256];
    TRY(auth_secret(job->collect->conf.auth, 0, secret));
    put_u64(whom, job->remote.account);
    put_u32(whom + 8, job->remote.id);
    crypto_hmac_sha256(str_from(secret, sizeof secret), str_from(whom, sizeof whom), digest);
    for (size_t i = 0; i < 8; i++) {
        job->token[2 * i] = digits[digest[i] >> 4];
        job->token[2 * i + 1] = digits[digest[i] & 15];
    }
    crypto_wipe(secret, sizeof secret);
    return RC_OK;
}

static enum rc open_session(struct job *job, struct str password, char why[FETCH_TEXT + 1])
{
    struct collect *c = job->collect;
    const struct collect_settings *set = &job->set;
    const struct remote *r = &job->remote;
    struct net_addr addresses[FETCH_ADDRESSES];
    size_t n;
    const struct fetch_place place = {.protocol = r->protocol,
                                      .tls = r->tls,
                                      .host = r->host,
                                      .port = r->port,
                                      .login = r->login,
                                      .password = password};
    uint64_t interval = r->interval_s ? r->interval_s * 1000 : set->interval_ms;
    const struct fetch_limits limits = {.idle_ms = interval,
                                        .connect_ms = set->connect_ms,
                                        .command_ms = set->command_ms,
                                        .message_bytes = set->message_bytes,
                                        .messages = set->messages,
                                        .idles = collect_may_idle(job)};
    enum rc rc = fetch_resolve(c->conf.dns, r->host, r->port, c->conf.avoid, c->conf.n_avoid,
                               addresses, &n, why);
    if (rc != RC_OK)
        return RC_TEMP;
    pthread_mutex_lock(&job->mutex); /* over() may come before it returns, and waits */
    rc = fetch_open(&c->house, &place, addresses, n, &limits, &job->owner, &job->session);
    pthread_mutex_unlock(&job->mutex);
    if (rc != RC_OK)
        snprintf(why, FETCH_TEXT + 1, "too many connections are open here");
    return rc == RC_OK ? RC_OK : RC_TEMP;
}

static void reset(struct job *job)
{
    job->owner = (struct fetch_owner){.folders = folders,
                                      .folder = folder,
                                      .idle = idle,
                                      .want = want,
                                      .begin = begin,
                                      .bytes = bytes,
                                      .end = end,
                                      .drop = drop,
                                      .flush = flush,
                                      .may_delete = may_delete,
                                      .deleted = deleted,
                                      .over = over};
    job->session = NULL;
    job->end = (struct fetch_end){0};
    job->finish.run = finish;
    job->under_way = job->under_way_bytes = job->n_taken = job->n_left = 0;
    job->is_waiting = job->is_flushing = job->is_over = false;
    job->rc = RC_OK;
    job->mailbox = 0;
    job->folder = (struct folder){0};
    job->began = collect_now(job->collect);
}

/* What is fetched for an account that was removed would go with it. */
static enum rc check_owner(struct job *job)
{
    struct arena arena = {0};
    struct auth_account account;
    enum rc rc = auth_account_show(job->collect->conf.auth, job->remote.owner, &arena, &account);
    if (rc == RC_OK && account.id != job->remote.account)
        rc = RC_NOTFOUND;
    arena_fini(&arena);
    return rc;
}

void collect_try_start(struct task_job *task)
{
    struct job *job = CONTAINER(task, struct job, start);
    struct collect *c = job->collect;
    char password[REMOTE_PASSWORD_MAX], why[FETCH_TEXT + 1] = "";
    size_t n = sizeof password;
    reset(job);
    enum rc rc = check_owner(job);
    if (rc == RC_OK)
        rc = make_token(job);
    if (rc == RC_OK)
        rc = store_account_open(c->conf.store, job->remote.account, 0, &job->account);
    if (rc != RC_OK) {
        fail(job, RC_TEMP, words_of(rc));
        return;
    }
    rc = c->conf.signer ? remote_unseal(c->conf.signer, &job->remote, password, &n) : RC_TEMP;
    if (rc != RC_OK) {
        fail(job, rc == RC_DENIED ? RC_DENIED : RC_TEMP,
             rc == RC_DENIED ? "its password is sealed for another store: set it anew"
                             : "its password cannot be opened just now");
        return;
    }
    rc = open_session(job, str_from(password, n), why);
    crypto_wipe(password, sizeof password);
    if (rc != RC_OK)
        fail(job, rc, why);
}
