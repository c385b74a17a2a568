/* Operations on the store as a whole: counters, checking, keeping it small. */
#include "admin/admin_int.h"

#include "base/mem.h"

#include <stdatomic.h>
#include <stdlib.h>

void admin_stat(struct admin *admin, const struct admin_request *r, struct admin_answer *a)
{
    static const char *const columns[] = {"figure", "value"};
    answer_columns(a, columns, 2);
    for (int i = 0; i < COUNTER_COUNT; i++) {
        answer_text(a, counter_info((enum counter)i)->name);
        answer_u64(a, counter_get(admin->ctx.counters, (enum counter)i));
    }
}

struct kv_report {
    struct kv_fsck fsck;
    struct admin_answer *answer;
};

struct store_report {
    struct store_fsck fsck;
    struct admin_answer *answer;
};

static void report_kv(struct kv_fsck *fsck, const char *line)
{
    answer_text(CONTAINER(fsck, struct kv_report, fsck)->answer, line);
}

static void report_store(struct store_fsck *fsck, const char *line)
{
    answer_text(CONTAINER(fsck, struct store_report, fsck)->answer, line);
}

/* Calls fn for each account there is, until it fails or *stop. */
static enum rc each_account(struct admin *admin, const _Atomic bool *stop,
                            enum rc (*fn)(struct admin *, uint64_t, void *), void *arg)
{
    uint64_t ids[256], after = 0;
    size_t n = 0;
    do {
        TRY(auth_account_ids(admin->auth, after, ids, 256, &n));
        for (size_t i = 0; i < n; i++) {
            if (stop && atomic_load(stop))
                return RC_OK;
            TRY(fn(admin, ids[i], arg));
        }
        if (n)
            after = ids[n - 1];
    } while (n == 256);
    return RC_OK;
}

static enum rc check_account(struct admin *admin, uint64_t id, void *arg)
{
    struct store_report *report = arg;
    enum rc rc = store_fsck(admin->store, id, &report->fsck);
    return rc == RC_CORRUPT ? RC_OK : rc; /* its faults are reported; go on with the next */
}

void admin_fsck(struct admin *admin, const struct admin_request *r, struct admin_answer *a)
{
    static const char *const columns[] = {"fault"};
    struct kv_report kv = {.fsck.report = report_kv, .answer = a};
    struct store_report store = {.fsck.report = report_store, .answer = a};
    answer_columns(a, columns, 1);
    enum rc rc = kv_fsck(admin->kv, &kv.fsck);
    if (rc == RC_OK || rc == RC_CORRUPT)
        rc = each_account(admin, NULL, check_account, &store);
    if (rc != RC_OK) {
        answer_rc(a, rc, STR("fsck"));
        return;
    }
    struct log_line l;
    log_begin(&l, admin->ctx.log, LOG_INFO, "checked");
    log_u64(&l, "rows", kv.fsck.rows);
    log_u64(&l, "blobs", kv.fsck.blobs);
    log_u64(&l, "bytes", kv.fsck.bytes);
    log_u64(&l, "messages", store.fsck.messages);
    log_u64(&l, "faults", kv.fsck.faults + store.fsck.faults);
    log_end(&l);
    if (kv.fsck.faults + store.fsck.faults)
        answer_fail(a, RC_CORRUPT, "fsck: %llu faults found",
                    (unsigned long long)(kv.fsck.faults + store.fsck.faults));
}

static enum rc maintain_account(struct admin *admin, uint64_t id, void *arg)
{
    struct store_account *account;
    enum rc rc = store_account_open(admin->store, id, 0, &account);
    if (rc == RC_NOTFOUND)
        return RC_OK; /* removed meanwhile */
    TRY(rc);
    const _Atomic bool *stop = arg;
    bool has_more = true;
    while (rc == RC_OK && has_more && !atomic_load(stop))
        rc = store_maintain(account, &has_more);
    store_account_close(&account);
    return rc;
}

void admin_maintain(struct admin *admin, const _Atomic bool *stop)
{
    /* The address is passed on, the value is only read. */
    union {
        const _Atomic bool *in;
        void *out;
    } arg = {.in = stop};
    enum rc rc = each_account(admin, stop, maintain_account, arg.out);
    if (rc != RC_OK)
        log_event(admin->ctx.log, LOG_WARNING, "maintenance-failed", "cause", rc_name(rc), NULL);
}
