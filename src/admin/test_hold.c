/* The queue's commands, and what a restore does to it. */
#include "admin/admin.h"

#include "base/test.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct home {
    struct counters counters;
    struct admin admin;
    struct admin_answer answer;
};

struct added {
    struct queue_op op;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool is_done;
};

static void added(struct queue_op *op)
{
    struct added *a = CONTAINER(op, struct added, op);
    pthread_mutex_lock(&a->mutex);
    a->is_done = true;
    pthread_cond_signal(&a->changed);
    pthread_mutex_unlock(&a->mutex);
}

static void add(struct home *h, const char *sender, const struct queue_recipient *to, size_t n)
{
    struct kv_blob_out *out = kv_blob_new(h->admin.kv, (struct kv_part){KV_QUEUE, 0}, 0, 0);
    struct kv_blob_id blob;
    struct added a = {
        .op.done = added, .mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    assert_rc(kv_blob_write(out, STR("text")), RC_OK);
    assert_rc(kv_blob_finish(&out, &blob), RC_OK);
    struct queue_item item = {
        .blob = blob, .size = 4, .sender = str_of(sender), .recipients = to, .n_recipients = n};
    assert_rc(queue_add(h->admin.queue, &item, 1, &a.op), RC_OK);
    pthread_mutex_lock(&a.mutex);
    while (!a.is_done)
        pthread_cond_wait(&a.changed, &a.mutex);
    pthread_mutex_unlock(&a.mutex);
    assert_rc(a.op.rc, RC_OK);
    kv_blob_forget(h->admin.kv, blob);
}

static void add_item(struct home *h, const char *sender)
{
    const struct queue_recipient recipients[] = {{.account = 7}, {.account = 8}};
    add(h, sender, recipients, 2);
}

static void add_remote(struct home *h, const char *sender, const char *domain)
{
    char address[64];
    snprintf(address, sizeof address, "x@%s", domain);
    const struct queue_recipient r = {.address = str_of(address), .domain = str_of(domain)};
    add(h, sender, &r, 1);
}

static void expect(struct home *h, const char *line, enum rc rc)
{
    struct str words[ADMIN_WORDS], rest = str_of(line);
    size_t n = 0;
    while (n < ADMIN_WORDS && str_cut(&rest, ' ', &words[n]))
        n++;
    struct admin_request r = {.words = words, .n_words = n};
    admin_answer_fini(&h->answer);
    admin_run(&h->admin, &r, &h->answer);
    print_message("%s\n", line);
    assert_rc(h->answer.rc, rc);
}

/* How many a listing has. */
static size_t found(struct home *h, const char *line)
{
    expect(h, line, RC_OK);
    return h->answer.n_cells / h->answer.n_columns;
}

/* Of the list: how many have this in the column. */
static size_t count(struct home *h, size_t column, const char *value)
{
    size_t n = 0;
    expect(h, "queue list", RC_OK);
    for (size_t i = column; i < h->answer.n_cells; i += h->answer.n_columns)
        n += str_eq(h->answer.cells[i], str_of(value));
    return n;
}

static void one_is_held_and_released(void **state)
{
    struct home *h = *state;
    char line[80];
    add_item(h, "a@elsewhere.test");
    add_item(h, "b@elsewhere.test");
    assert_int_equal(count(h, 1, "waiting"), 2);
    assert_int_equal(count(h, 4, "b@elsewhere.test"), 1);
    assert_int_equal(count(h, 5, "2"), 2);
    snprintf(line, sizeof line, "queue hold %.*s", STR_ARG(h->answer.cells[0]));
    expect(h, line, RC_OK);
    assert_int_equal(count(h, 1, "held"), 1);
    assert_int_equal(count(h, 7, "held by an administrator"), 1);
    expect(h, "queue release --all", RC_OK);
    assert_str(h->answer.cells[0], "1"); /* the other one was not held */
    assert_int_equal(count(h, 1, "waiting"), 2);
    expect(h, "queue list --limit 1", RC_OK);
    assert_int_equal(h->answer.n_cells, h->answer.n_columns);
    memcpy(line, "queue release", sizeof "queue release");
    snprintf(line + strlen(line), sizeof line - strlen(line), " %.*s", STR_ARG(h->answer.cells[0]));
    expect(h, line, RC_CONFLICT);
    expect(h, "queue release 00000000000000000000000000000000", RC_NOTFOUND);
    expect(h, "queue hold", RC_SYNTAX);
    expect(h, "queue hold x --all", RC_SYNTAX);
    expect(h, "queue list --all", RC_SYNTAX);
}

/* By what they are: the sender, a recipient's domain, the state, the age, the cause. */
static void those_that_match_are_found(void **state)
{
    struct home *h = *state;
    char line[80];
    add_item(h, "a@elsewhere.test");
    add_item(h, "b@elsewhere.test");
    add_remote(h, "a@elsewhere.test", "far.test");
    add_remote(h, "a@elsewhere.test", "near.test");
    assert_int_equal(found(h, "queue list"), 4);
    assert_int_equal(found(h, "queue list --domain far.test"), 1);
    assert_str(h->answer.cells[6], "x@far.test");
    assert_int_equal(found(h, "queue list --domain FAR.test --limit 50"), 1);
    assert_int_equal(found(h, "queue list --domain nowhere.test"), 0);
    assert_int_equal(found(h, "queue list --sender A@elsewhere.test"), 3);
    assert_int_equal(found(h, "queue list --sender a@elsewhere.test --domain near.test"), 1);
    assert_int_equal(found(h, "queue list --older 1d"), 4); /* they say 1970 */
    expect(h, "queue list --older 99999999d", RC_SYNTAX);
    assert_int_equal(found(h, "queue list --limit 3"), 3);
    expect(h, "queue list --older soon", RC_SYNTAX);
    expect(h, "queue list --state gone", RC_SYNTAX);

    expect(h, "queue hold --domain far.test", RC_OK);
    assert_str(h->answer.cells[0], "1");
    assert_int_equal(found(h, "queue list --state held"), 1);
    assert_int_equal(found(h, "queue list --error ADMINIS"), 1);
    assert_int_equal(found(h, "queue list --state waiting"), 3);
    expect(h, "queue retry --all", RC_OK);
    assert_str(h->answer.cells[0], "3"); /* not the one that is held */
    found(h, "queue list --state held");
    snprintf(line, sizeof line, "queue show %.*s", STR_ARG(h->answer.cells[0]));
    expect(h, line, RC_OK);
    assert_int_equal(h->answer.n_cells, 16);
    assert_str(h->answer.cells[9], "x@far.test");
    expect(h, "queue show 00000000000000000000000000000000", RC_NOTFOUND);

    expect(h, "queue remove --sender a@elsewhere.test --limit 1", RC_OK);
    assert_int_equal(found(h, "queue list"), 3);
    expect(h, "queue remove --all", RC_OK);
    assert_str(h->answer.cells[0], "3");
    assert_int_equal(found(h, "queue list"), 0);
    assert_int_equal(queue_held(h->admin.queue), 0);
    expect(h, "queue remove", RC_SYNTAX);
    expect(h, "queue remove 00000000000000000000000000000000 --domain x", RC_SYNTAX);
    expect(h, "queue remove 00000000000000000000000000000000", RC_NOTFOUND);
}

static void what_was_restored_is_held(void **state)
{
    struct home *h = *state;
    for (int i = 0; i < 300; i++)
        add_item(h, "");
    expect(h, "backup-restored", RC_OK);
    assert_int_equal(count(h, 1, "held"), 300);
    assert_int_equal(count(h, 7, "restored from a backup"), 300);
    add_item(h, "new@elsewhere.test"); /* what comes later goes its way */
    assert_int_equal(count(h, 1, "waiting"), 1);
    expect(h, "queue release --all", RC_OK);
    assert_int_equal(count(h, 1, "held"), 0);
    expect(h, "backup-snapshot", RC_PERM); /* a store in memory has no files */
}

static int set_up(void **state)
{
    struct home *h = calloc(1, sizeof *h);
    struct admin *a = &h->admin;
    admin_init(a);
    a->ctx = (struct ctx){.counters = &h->counters, .clock = &clock_system};
    a->kv = kv_mem_new(&a->ctx);
    assert_rc(queue_open(&a->ctx, a->kv, &a->queue), RC_OK);
    *state = h;
    return 0;
}

static int tear_down(void **state)
{
    struct home *h = *state;
    admin_answer_fini(&h->answer);
    queue_close(&h->admin.queue);
    kv_close(&h->admin.kv);
    admin_fini(&h->admin);
    free(h);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(one_is_held_and_released, set_up, tear_down),
        cmocka_unit_test_setup_teardown(those_that_match_are_found, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_was_restored_is_held, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
