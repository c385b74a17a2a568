/* Operations on the store as a whole: counters, checking, keeping it small. */
#include "admin/admin_int.h"

#include "base/mem.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void admin_stat(struct admin *admin, const struct admin_call *c, struct admin_answer *a)
{
    static const char *const columns[] = {"figure", "value"};
    answer_columns(a, columns, 2);
    for (int i = 0; i < COUNTER_COUNT; i++) {
        answer_text(a, counter_info((enum counter)i)->name);
        answer_u64(a, counter_get(admin->ctx.counters, (enum counter)i));
    }
}

/* --- accounts --------------------------------------------------------------------------------- */

struct ids {
    uint64_t *id;
    size_t n, max;
};

static void ids_add(struct ids *ids, uint64_t id)
{
    if (ids->n == ids->max) {
        ids->max = ids->max ? ids->max * 2 : 256;
        ids->id = mem_grow(ids->id, ids->max * sizeof *ids->id);
    }
    ids->id[ids->n++] = id;
}

static enum rc ids_of_domain(struct admin *admin, struct str domain, struct ids *ids)
{
    char after[AUTH_ADDRESS_MAX + 1];
    struct str last = {0};
    struct auth_account *accounts;
    size_t n = 0;
    do {
        struct arena arena = {0};
        enum rc rc = auth_account_list(admin->auth, domain, last, &arena, &accounts, &n);
        for (size_t i = 0; rc == RC_OK && i < n; i++)
            ids_add(ids, accounts[i].id);
        if (rc == RC_OK && n) {
            memcpy(after, accounts[n - 1].address.p, accounts[n - 1].address.n);
            last = str_from(after, accounts[n - 1].address.n);
        }
        arena_fini(&arena);
        if (rc != RC_OK)
            return rc == RC_NOTFOUND ? RC_OK : rc; /* the domain has been removed meanwhile */
    } while (n == AUTH_LIST_MAX);
    return RC_OK;
}

enum rc accounts_of_domain(struct admin *admin, struct str domain, uint64_t **out_ids,
                           size_t *out_n)
{
    struct ids ids = {0};
    enum rc rc = ids_of_domain(admin, domain, &ids);
    *out_ids = ids.id;
    *out_n = ids.n;
    if (rc != RC_OK)
        ids_free(out_ids);
    return rc;
}

void ids_free(uint64_t **ids)
{
    free(*ids);
    *ids = NULL;
}

static enum rc ids_of_removed(struct admin *admin, struct ids *ids)
{
    struct arena arena = {0};
    struct auth_account *accounts;
    size_t n = 0;
    enum rc rc = auth_removed_list(admin->auth, (struct str){0}, &arena, &accounts, &n);
    for (size_t i = 0; rc == RC_OK && i < n; i++)
        ids_add(ids, accounts[i].id);
    arena_fini(&arena);
    return rc;
}

static int compare_ids(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

enum rc addressed_accounts(struct admin *admin, uint64_t **out_ids, size_t *out_n)
{
    struct arena arena = {0};
    struct auth_domain *domains;
    struct ids ids = {0};
    size_t n = 0;
    enum rc rc = auth_domain_list(admin->auth, &arena, &domains, &n);
    for (size_t i = 0; rc == RC_OK && i < n; i++)
        rc = ids_of_domain(admin, domains[i].name, &ids);
    if (rc == RC_OK)
        rc = ids_of_removed(admin, &ids);
    arena_fini(&arena);
    if (rc != RC_OK) {
        free(ids.id);
        return rc;
    }
    if (ids.n)
        qsort(ids.id, ids.n, sizeof *ids.id, compare_ids);
    *out_ids = ids.id;
    *out_n = ids.n;
    return RC_OK;
}

bool is_addressed(const uint64_t *ids, size_t n, uint64_t id)
{
    return n && bsearch(&id, ids, n, sizeof *ids, compare_ids) != NULL;
}

/* What each_account calls for each id there is, until it fails or *stop. */
struct visit {
    struct admin *admin;
    const uint64_t *addressed;
    size_t n_addressed;
    const _Atomic bool *stop; /* NULL: to the end */
    enum rc (*account)(struct visit *visit, uint64_t id, bool is_addressed);
};

static enum rc each_account(struct visit *v)
{
    uint64_t ids[256], after = 0;
    size_t n = 0;
    do {
        TRY(auth_account_ids(v->admin->auth, after, ids, 256, &n));
        for (size_t i = 0; i < n; i++) {
            if (v->stop && atomic_load(v->stop))
                return RC_OK;
            TRY(v->account(v, ids[i], is_addressed(v->addressed, v->n_addressed, ids[i])));
        }
        if (n)
            after = ids[n - 1];
    } while (n == 256);
    return RC_OK;
}

/* --- fsck ------------------------------------------------------------------------------------- */

enum { FAULTS_SHOWN = 10000, MEND = 0 /* the flag */ };

struct checking {
    struct visit visit;
    struct kv_fsck kv;
    struct auth_fsck directory;
    struct store_fsck store;
    struct queue_fsck queue;
    struct admin_answer *answer;
};

static uint64_t faults_of(const struct checking *k)
{
    return k->kv.faults + k->directory.faults + k->store.faults + k->queue.faults;
}

static void show_fault(struct checking *k, const char *line)
{
    if (faults_of(k) > FAULTS_SHOWN)
        return; /* they are counted */
    answer_text(k->answer, "fault");
    answer_text(k->answer, line);
}

static void report_kv(struct kv_fsck *fsck, const char *line)
{
    show_fault(CONTAINER(fsck, struct checking, kv), line);
}

static void report_directory(struct auth_fsck *fsck, const char *line)
{
    show_fault(CONTAINER(fsck, struct checking, directory), line);
}

static void report_store(struct store_fsck *fsck, const char *line)
{
    show_fault(CONTAINER(fsck, struct checking, store), line);
}

static void report_queue(struct queue_fsck *fsck, const char *line)
{
    show_fault(CONTAINER(fsck, struct checking, queue), line);
}

static void see_reference(struct kv_fsck *fsck, struct kv_part part, const struct kv_blob_id *blob,
                          uint64_t count)
{
    queue_fsck_reference(&CONTAINER(fsck, struct checking, kv)->queue, part, blob, count);
}

static enum rc check_account(struct visit *v, uint64_t id, bool addressed)
{
    struct checking *k = CONTAINER(v, struct checking, visit);
    enum rc rc = store_fsck(v->admin->store, id, &k->store);
    if (rc == RC_NOTFOUND && addressed) {
        char line[96];
        snprintf(line, sizeof line, "account %llu: it has an address and no mailboxes",
                 (unsigned long long)id);
        k->store.faults++;
        report_store(&k->store, line);
    }
    /* Its faults are reported, or it is one whose making or removal was cut short. */
    return rc == RC_CORRUPT || rc == RC_NOTFOUND ? RC_OK : rc;
}

static enum rc check_accounts(struct admin *admin, struct checking *k)
{
    uint64_t *ids;
    k->visit = (struct visit){.admin = admin, .account = check_account};
    TRY(addressed_accounts(admin, &ids, &k->visit.n_addressed));
    k->visit.addressed = ids;
    enum rc rc = each_account(&k->visit);
    free(ids);
    return rc;
}

void admin_fsck(struct admin *admin, const struct admin_call *c, struct admin_answer *a)
{
    static const char *const columns[] = {"what", "value"};
    struct checking k = {.kv = {.report = report_kv, .reference = see_reference},
                         .directory.report = report_directory,
                         .store.report = report_store,
                         .queue = {.report = report_queue, .mends = c->flags[MEND]},
                         .answer = a};
    answer_columns(a, columns, 2);
    enum rc rc = kv_fsck(admin->kv, &k.kv);
    if (rc == RC_OK || rc == RC_CORRUPT)
        rc = auth_fsck(admin->auth, &k.directory);
    if (rc == RC_OK || rc == RC_CORRUPT)
        rc = check_accounts(admin, &k);
    if (rc == RC_OK)
        rc = queue_fsck(admin->queue, &k.queue);
    rc = rc == RC_CORRUPT ? RC_OK : rc; /* its faults are reported */
    queue_fsck_fini(&k.queue);
    uint64_t faults = faults_of(&k), left = faults - k.queue.mended;
    const struct {
        const char *what;
        uint64_t value;
    } figures[] = {{"rows", k.kv.rows},
                   {"blobs", k.kv.blobs},
                   {"bytes", k.kv.bytes},
                   {"accounts", k.directory.accounts},
                   {"messages", k.store.messages},
                   {"queued", k.queue.items},
                   {"faults", faults},
                   {"mended", k.queue.mended}};
    struct log_line l;
    log_begin(&l, admin->ctx.log, LOG_INFO, "checked");
    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++) {
        answer_text(a, figures[i].what);
        answer_u64(a, figures[i].value);
        log_u64(&l, figures[i].what, figures[i].value);
    }
    log_end(&l);
    if (left)
        answer_fail(a, RC_CORRUPT, "fsck: %llu faults found", (unsigned long long)left);
    answer_rc(a, rc, STR("fsck"));
}

/* --- keeping the store small ------------------------------------------------------------------ */

static void log_failure(struct admin *admin, uint64_t id, enum rc rc)
{
    struct log_line l;
    log_begin(&l, admin->ctx.log, LOG_WARNING, "maintenance-failed");
    log_u64(&l, "account", id);
    log_text(&l, "cause", rc_name(rc));
    log_end(&l);
}

/* Numbers without an address: their making was cut short, or their removal is past undoing. */
static enum rc sweep_account(struct visit *v, uint64_t id, bool addressed)
{
    if (addressed)
        return RC_OK;
    enum rc rc = account_destroy(v->admin, id);
    if (rc != RC_OK)
        log_failure(v->admin, id, rc);
    return RC_OK;
}

static enum rc sweep(struct admin *admin, const _Atomic bool *stop)
{
    struct visit v = {.admin = admin, .stop = stop, .account = sweep_account};
    uint64_t *ids = NULL;
    pthread_mutex_lock(&admin->accounts);
    enum rc rc = addressed_accounts(admin, &ids, &v.n_addressed);
    v.addressed = ids;
    if (rc == RC_OK)
        rc = each_account(&v);
    pthread_mutex_unlock(&admin->accounts);
    free(ids);
    return rc;
}

static enum rc maintain_account(struct visit *v, uint64_t id, bool addressed)
{
    struct store_account *account;
    bool has_more = true;
    enum rc rc = store_account_open(v->admin->store, id, 0, &account);
    if (rc == RC_OK) {
        while (rc == RC_OK && has_more && !atomic_load(v->stop))
            rc = store_maintain(account, &has_more);
        store_account_close(&account);
    }
    if (rc != RC_OK && rc != RC_NOTFOUND) /* removed meanwhile */
        log_failure(v->admin, id, rc);
    return RC_OK;
}

void admin_tidy(struct admin *admin, const _Atomic bool *stop)
{
    enum { ACCOUNTS = 64 };
    struct visit v = {.admin = admin, .stop = stop};
    uint64_t ids[ACCOUNTS];
    size_t n = store_untidy(admin->store, ids, ACCOUNTS);
    for (size_t i = 0; i < n && !atomic_load(stop); i++)
        (void)maintain_account(&v, ids[i], true);
}

void admin_maintain(struct admin *admin, const _Atomic bool *stop)
{
    struct visit v = {.admin = admin, .stop = stop, .account = maintain_account};
    uint64_t now = clock_wall(admin->ctx.clock), keep = admin->keep_removed_ns;
    enum rc rc = auth_removed_purge(admin->auth, now > keep ? now - keep : 0, 0);
    if (rc == RC_OK)
        rc = sweep(admin, stop);
    if (rc == RC_OK)
        rc = each_account(&v);
    if (rc == RC_OK)
        rc = admin_expire_collected(admin, stop);
    if (rc != RC_OK)
        log_event(admin->ctx.log, LOG_WARNING, "maintenance-failed", "cause", rc_name(rc), NULL);
}
