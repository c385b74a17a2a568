/* What the kills of the queue's steps are put to (test_queue_steps.py), and what looks at the queue
 * afterwards.
 *
 * queueload run DIR STEPS plain|leases: does one step after the other to the items of a queue -
 * adds them, settles tries with reports, holds, releases, retries, returns, removes; with leases
 * the queue also goes to another node and back - and prints "done STEP ID REPORT" for each that was
 * acknowledged.
 *
 * queueload check DIR: reads those lines. What step I does is a function of I and of what the steps
 * before it did, so the lines tell what the queue has to be: all that was acknowledged, and of the
 * step that was under way all or nothing. Then every row, reference and lease must fit together,
 * and a node must get each shard at once.
 *
 * A run ends with 0 when all was done, 3 when the store stopped writing, 4 when it could not be
 * opened. */
#include "queue/queue.h"

#include "base/mem.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    SLOTS = 8,
    MOST = 4, /* recipients */
    MOVE_EVERY = 20,
    MOVE_AT = 13,
    EXIT_STOPPED = 3,
    EXIT_NOT_OPENED = 4
};

/* --- the model -------------------------------------------------------------------------------- */

struct slot {
    bool is_there, is_held, is_returned, is_new; /* is_new: its id is not known */
    struct queue_id id;
    size_t n;
    struct {
        bool is_there, is_here;
        uint32_t tries;
    } to[MOST];
};

struct model {
    struct slot slots[SLOTS];
};

enum kind { ADD, SETTLE, ACT, MOVE };

struct step {
    enum kind kind;
    size_t slot, report; /* report: SLOTS: none */
    size_t n;
    bool is_here[MOST];
    enum { LEAVE, PUT_OFF, END } what[MOST];
    enum queue_action action;
};

static unsigned pick(uint64_t *seed, unsigned n)
{
    *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (unsigned)((*seed >> 33) % n);
}

static size_t free_slot(const struct model *m)
{
    size_t i = 0;
    while (i < SLOTS && m->slots[i].is_there)
        i++;
    return i;
}

static struct step plan(const struct model *m, uint64_t number)
{
    uint64_t seed = number * UINT64_C(0x9e3779b97f4a7c15);
    struct step s = {.kind = MOVE, .report = SLOTS};
    if (number % MOVE_EVERY == MOVE_AT)
        return s;
    s.slot = pick(&seed, SLOTS);
    const struct slot *at = &m->slots[s.slot];
    s.n = at->is_there ? at->n : 1 + pick(&seed, MOST);
    s.kind = !at->is_there ? ADD : pick(&seed, 2) ? SETTLE : ACT;
    s.action = (enum queue_action)pick(&seed, QUEUE_RETURN + 1);
    for (size_t k = 0; k < s.n; k++) {
        s.is_here[k] = pick(&seed, 3) == 0;
        s.what[k] = pick(&seed, 3);
        if (s.kind == SETTLE && s.what[k] == END)
            s.report = free_slot(m);
    }
    return s;
}

static void add_slot(struct slot *at, const struct queue_id *id, size_t n)
{
    *at = (struct slot){.is_there = true, .is_new = !id, .n = n};
    if (id)
        at->id = *id;
    for (size_t k = 0; k < n; k++)
        at->to[k].is_there = true;
}

static void settle_slot(struct slot *at, const struct step *s)
{
    at->is_there = false;
    for (size_t k = 0; k < at->n; k++) {
        at->to[k].tries += at->to[k].is_there && s->what[k] == PUT_OFF;
        at->to[k].is_there = at->to[k].is_there && s->what[k] != END;
        at->is_there |= at->to[k].is_there;
    }
}

static void act_on_slot(struct slot *at, enum queue_action action)
{
    at->is_held = action == QUEUE_HOLD || (at->is_held && action == QUEUE_RETRY);
    at->is_there = action != QUEUE_REMOVE;
    at->is_returned |= action == QUEUE_RETURN;
}

/* The ids are NULL where they are not known. */
static void apply(struct model *m, const struct step *s, const struct queue_id *id,
                  const struct queue_id *report)
{
    struct slot *at = &m->slots[s->slot];
    if (s->report < SLOTS) {
        add_slot(&m->slots[s->report], report, 1);
        m->slots[s->report].to[0].is_here = true;
    }
    if (s->kind == SETTLE)
        settle_slot(at, s);
    if (s->kind == ACT)
        act_on_slot(at, s->action);
    if (s->kind != ADD)
        return;
    add_slot(at, id, s->n);
    for (size_t k = 0; k < s->n; k++)
        at->to[k].is_here = s->is_here[k];
}

/* --- run -------------------------------------------------------------------------------------- */

struct work {
    struct ctx ctx;
    struct kv *kv;
    struct queue *queue;
    bool has_leases;
    unsigned moves;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
};

struct waited {
    struct queue_op op;
    struct work *work;
    bool is_done;
};

static void wake(struct queue_op *op)
{
    struct waited *w = CONTAINER(op, struct waited, op);
    pthread_mutex_lock(&w->work->mutex);
    w->is_done = true;
    pthread_cond_signal(&w->work->changed);
    pthread_mutex_unlock(&w->work->mutex);
}

static enum rc wait_for(struct waited *w)
{
    pthread_mutex_lock(&w->work->mutex);
    while (!w->is_done)
        pthread_cond_wait(&w->work->changed, &w->work->mutex);
    pthread_mutex_unlock(&w->work->mutex);
    return w->op.rc;
}

static enum rc make_blob(struct work *w, struct kv_blob_id *out)
{
    struct kv_blob_out *blob = kv_blob_new(w->kv, (struct kv_part){KV_QUEUE, 0}, 0, 0);
    enum rc rc = kv_blob_write(blob, STR("Subject: x\r\n\r\ntext\r\n"));
    if (rc == RC_OK)
        return kv_blob_finish(&blob, out);
    kv_blob_abort(&blob);
    return rc;
}

static enum rc do_add(struct work *w, const struct step *s, struct queue_id *out)
{
    static const char *const domains[] = {"a.test", "b.test", "c.test"};
    struct queue_recipient to[MOST] = {0};
    char addresses[MOST][32];
    struct queue_item item = {.sender = STR("s@here.test"), .recipients = to, .n_recipients = s->n};
    for (size_t k = 0; k < s->n; k++) {
        const char *domain = domains[(s->slot + k) % 3];
        snprintf(addresses[k], sizeof addresses[k], "u%zu@%s", k, domain);
        to[k] = (struct queue_recipient){.account = s->is_here[k] ? k + 1 : 0,
                                         .address = str_of(addresses[k]),
                                         .domain = str_of(domain)};
    }
    TRY(make_blob(w, &item.blob));
    struct waited waited = {.op.done = wake, .work = w};
    enum rc rc = queue_add(w->queue, &item, 1, &waited.op);
    rc = rc == RC_OK ? wait_for(&waited) : rc;
    kv_blob_forget(w->kv, item.blob);
    *out = item.id;
    return rc;
}

static enum rc do_settle(struct work *w, const struct model *m, const struct step *s,
                         struct queue_id *out_report)
{
    const struct slot *at = &m->slots[s->slot];
    const struct queue_recipient reader = {.account = 9, .address = STR("s@here.test")};
    struct queue_item report = {.flags = QUEUE_IS_REPORT, .recipients = &reader, .n_recipients = 1};
    struct queue_recipient states[MOST];
    struct queue_change changes[MOST];
    struct queue_settlement settlement = {.id = at->id, .changes = changes};
    for (size_t k = 0; k < at->n; k++) {
        states[k] =
            (struct queue_recipient){.tries = at->to[k].tries + 1, .due = k, .reply = STR("no")};
        if (at->to[k].is_there && s->what[k] != LEAVE)
            changes[settlement.n_changes++] =
                (struct queue_change){(uint16_t)k, s->what[k] == PUT_OFF ? &states[k] : NULL};
    }
    if (s->report < SLOTS) {
        TRY(make_blob(w, &report.blob));
        settlement.items = &report;
        settlement.n_items = 1;
    }
    enum rc rc = queue_settle_wait(w->queue, &settlement);
    if (settlement.n_items)
        kv_blob_forget(w->kv, report.blob);
    *out_report = report.id;
    return rc;
}

/* Another node has all of it, or RC_TEMP: the store writes no more. */
static enum rc become(struct work *w)
{
    const struct queue_lease_conf conf = {
        .node = w->moves % 2 ? "b" : "a", .lease_ms = 3600 * 1000, .is_shared = true};
    if (!w->has_leases)
        return RC_OK;
    queue_lease_run(w->queue, &conf);
    for (unsigned shard = 0; shard < QUEUE_SHARDS; shard++)
        while (!queue_has_shard(w->queue, shard)) {
            if (kv_state(w->kv, NULL) != KV_WRITABLE)
                return RC_TEMP;
            usleep(100);
        }
    return RC_OK;
}

static enum rc do_move(struct work *w)
{
    queue_close(&w->queue); /* gives its leases back */
    w->moves++;
    TRY(queue_open(&w->ctx, w->kv, &w->queue));
    return become(w);
}

static enum rc do_step(struct work *w, const struct model *m, const struct step *s,
                       struct queue_id *id, struct queue_id *report)
{
    size_t n;
    switch (s->kind) {
    case ADD:
        return do_add(w, s, id);
    case SETTLE:
        return do_settle(w, m, s, report);
    case ACT:
        return queue_act(w->queue, s->action, "test", &m->slots[s->slot].id, 1, &n);
    default:
        return do_move(w);
    }
}

static void say_done(uint64_t number, struct queue_id id, struct queue_id report)
{
    char line[128], a[QUEUE_ID_TEXT], b[QUEUE_ID_TEXT];
    queue_id_text(id, a);
    queue_id_text(report, b);
    int n = snprintf(line, sizeof line, "done %llu %s %s\n", (unsigned long long)number, a, b);
    if (write(STDOUT_FILENO, line, (size_t)n) != n)
        abort();
}

static enum rc do_steps(struct work *w, uint64_t steps)
{
    struct model m = {0};
    TRY(become(w));
    for (uint64_t i = 1; i <= steps; i++) {
        struct queue_id id = {{0}}, report = {{0}};
        const struct step s = plan(&m, i);
        TRY(do_step(w, &m, &s, &id, &report));
        say_done(i, id, report);
        apply(&m, &s, &id, &report);
    }
    return RC_OK;
}

static enum rc open_store(struct work *w, const char *dir)
{
    const struct kv_local_conf conf = {
        .path = dir, .segment_bytes = 64 << 10, .memory_bytes = 8 << 20};
    enum rc rc = kv_local_open(&w->ctx, &conf, &w->kv);
    if (rc == RC_OK) {
        rc = queue_open(&w->ctx, w->kv, &w->queue);
        if (rc != RC_OK)
            kv_close(&w->kv);
    }
    return rc;
}

static int run(struct work *w, const char *dir, uint64_t steps)
{
    if (open_store(w, dir) != RC_OK)
        return EXIT_NOT_OPENED;
    enum rc rc = do_steps(w, steps);
    if (w->queue)
        queue_close(&w->queue);
    kv_close(&w->kv);
    return rc == RC_OK ? 0 : EXIT_STOPPED;
}

/* --- check ------------------------------------------------------------------------------------ */

static bool is_as(const struct slot *at, const struct queue_entry *e)
{
    size_t left = 0;
    if (e->rc != RC_OK || (e->status.state == QUEUE_HELD) != at->is_held ||
        !(e->item.flags & QUEUE_RETURNED) == at->is_returned)
        return false;
    for (size_t k = 0; k < at->n; k++) {
        if (!at->to[k].is_there)
            continue;
        if (left == e->item.n_recipients)
            return false;
        const struct queue_recipient *r = &e->item.recipients[left++];
        if (r->number != k || r->tries != at->to[k].tries || !r->account == at->to[k].is_here)
            return false;
    }
    return left == e->item.n_recipients;
}

/* Whether the queue has what the model has, and nothing else. */
static bool is_state(struct work *w, struct model m)
{
    bool is_right = true;
    for (unsigned shard = 0; shard < QUEUE_SHARDS && is_right; shard++) {
        struct queue_id ids[SLOTS + 2];
        size_t n;
        is_right = queue_list(w->queue, shard, NULL, ids, SLOTS + 2, &n) == RC_OK;
        for (size_t i = 0; is_right && i < n; i++) {
            struct arena arena = {0};
            struct queue_entry e;
            struct slot *found = NULL;
            if (queue_load(w->queue, ids[i], 0, &arena, &e) != RC_OK)
                is_right = false;
            for (size_t k = 0; is_right && k < SLOTS && !found; k++) {
                struct slot *at = &m.slots[k];
                bool may_be = at->is_new || memcmp(at->id.b, ids[i].b, sizeof ids[i].b) == 0;
                if (at->is_there && may_be && is_as(at, &e))
                    found = at;
            }
            is_right = is_right && found;
            if (found)
                found->is_there = false; /* seen */
            arena_fini(&arena);
        }
    }
    for (size_t k = 0; k < SLOTS; k++)
        is_right = is_right && !m.slots[k].is_there;
    return is_right;
}

struct sums {
    struct kv_fsck kv;
    struct queue_fsck queue;
};

static void report_kv(struct kv_fsck *fsck, const char *line)
{
    fprintf(stderr, "fsck: %s\n", line);
}

static void report_queue(struct queue_fsck *fsck, const char *line)
{
    fprintf(stderr, "fsck: %s\n", line);
}

static void see(struct kv_fsck *fsck, struct kv_part part, const struct kv_blob_id *blob,
                uint64_t count)
{
    queue_fsck_reference(&CONTAINER(fsck, struct sums, kv)->queue, part, blob, count);
}

static int check_sums(struct work *w)
{
    struct sums s = {.kv = {.report = report_kv, .reference = see}, .queue.report = report_queue};
    enum rc rc = kv_fsck(w->kv, &s.kv);
    if (rc == RC_OK)
        rc = queue_fsck(w->queue, &s.queue);
    queue_fsck_fini(&s.queue);
    return rc == RC_OK ? 0 : 1;
}

/* By the name of who had it last a node has it at once. */
static int check_leases(struct work *w)
{
    for (unsigned shard = 0; shard < QUEUE_SHARDS; shard++) {
        struct kv_part part = {KV_QUEUE, shard};
        uint64_t epoch;
        if (kv_lease_take(w->kv, part, STR("queue"), STR("a"), NS_PER_SEC, &epoch) != RC_OK &&
            kv_lease_take(w->kv, part, STR("queue"), STR("b"), NS_PER_SEC, &epoch) != RC_OK) {
            fprintf(stderr, "shard %u: neither node gets it\n", shard);
            return 1;
        }
    }
    return 0;
}

static uint64_t read_done(struct model *m)
{
    unsigned long long number;
    uint64_t last = 0;
    char line[128], a[QUEUE_ID_TEXT], b[QUEUE_ID_TEXT];
    while (fgets(line, sizeof line, stdin)) {
        struct queue_id id, report;
        if (sscanf(line, "done %llu %32s %32s", &number, a, b) != 3 || number != last + 1 ||
            queue_id_parse(str_of(a), &id) != RC_OK || queue_id_parse(str_of(b), &report) != RC_OK)
            break;
        const struct step s = plan(m, number);
        apply(m, &s, &id, &report);
        last = number;
    }
    return last;
}

static int check(struct work *w, const char *dir)
{
    struct model before = {0};
    uint64_t last = read_done(&before);
    struct model after = before;
    const struct step s = plan(&before, last + 1);
    apply(&after, &s, NULL, NULL);
    if (open_store(w, dir) != RC_OK) {
        fprintf(stderr, "it cannot be opened\n");
        return 1;
    }
    int faults = check_sums(w);
    if (!is_state(w, before) && !is_state(w, after)) {
        fprintf(stderr, "after step %llu: not what was acknowledged\n", (unsigned long long)last);
        faults++;
    }
    faults += check_leases(w);
    queue_close(&w->queue);
    kv_close(&w->kv);
    return faults ? 1 : 0;
}

int main(int argc, char **argv)
{
    uint64_t steps = 0;
    struct log *log = log_new(STDERR_FILENO, LOG_WARNING, &clock_system);
    struct work w = {.ctx = {log, NULL, &clock_system},
                     .mutex = PTHREAD_MUTEX_INITIALIZER,
                     .changed = PTHREAD_COND_INITIALIZER};
    int rc = 2;
    if (argc == 5 && !strcmp(argv[1], "run") && str_to_u64(str_of(argv[3]), &steps) == RC_OK) {
        w.has_leases = !strcmp(argv[4], "leases");
        rc = run(&w, argv[2], steps);
    } else if (argc == 3 && !strcmp(argv[1], "check")) {
        rc = check(&w, argv[2]);
    } else {
        fprintf(stderr, "usage: queueload run DIR STEPS plain|leases | check DIR\n");
    }
    log_free(&log);
    return rc;
}
