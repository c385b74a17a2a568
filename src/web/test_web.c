/* What the admin listener's routes say, on a store in memory. */
#include "web/web_int.h"

#include "base/test.h"

#include <stdio.h>
#include <stdlib.h>

struct fixture {
    struct counters counters;
    struct ctx ctx;
    struct admin admin;
    struct task_lane *lane;
    struct net *net;
    struct web *web;
};

static void start(struct fixture *f)
{
    f->ctx = (struct ctx){NULL, &f->counters, &clock_system};
    admin_init(&f->admin);
    f->admin.ctx = f->ctx;
    f->admin.kv = kv_mem_new(&f->ctx);
    f->lane = task_lane_new("short", 1, 10);
    struct net_conf conf = {.loops = 1, .short_lane = f->lane};
    f->net = net_new(&f->ctx, &conf);
    net_start(f->net);
    struct web_conf web = {
        .admin = &f->admin, .net = f->net, .statm_fd = -1, .started = NS_PER_SEC};
    f->web = web_new(&web);
}

static void stop(struct fixture *f)
{
    net_stop(f->net);
    net_free(&f->net);
    task_lane_free(&f->lane);
    web_free(&f->web);
    kv_close(&f->admin.kv);
    admin_fini(&f->admin);
}

static void get(struct fixture *f,
                void (*route)(void *, const struct http_request *, struct http_response *),
                struct http_response *out)
{
    struct http_request request = {.method = HTTP_GET};
    *out = (struct http_response){.status = 200};
    buf_init(&out->body, HTTP_RESPONSE_MAX);
    route(f->web, &request, out);
    assert_false(out->body.over);
}

static void health_names_each_cause(void **state)
{
    struct fixture f = {0};
    struct http_response r;
    start(&f);
    get(&f, web_health, &r);
    assert_int_equal(r.status, 200);
    assert_str(buf_str(&r.body), "ok\n");
    buf_fini(&r.body);
    struct kv_txn *txn = kv_txn_new((struct kv_part){KV_GLOBAL, 1});
    assert_rc(kv_txn_put(txn, STR("k"), STR("v")), RC_OK);
    kv_mem_fail(f.admin.kv, RC_TEMP);
    assert_rc(kv_commit_wait(f.admin.kv, txn, NULL), RC_TEMP);
    net_drain(f.net);
    get(&f, web_health, &r);
    assert_int_equal(r.status, 503);
    assert_true(str_starts(buf_str(&r.body), STR("store-readonly: ")));
    assert_true(str_find(buf_str(&r.body), STR("draining: ")) > 0);
    buf_fini(&r.body);
    stop(&f);
}

static void a_histogram_adds_up(void **state)
{
    struct fixture f = {0};
    struct http_response r;
    start(&f);
    histogram_add(&f.counters, HISTOGRAM_KV_GROUP_TIME, 62500);            /* the first bucket */
    histogram_add(&f.counters, HISTOGRAM_KV_GROUP_TIME, 62501);            /* the second */
    histogram_add(&f.counters, HISTOGRAM_KV_GROUP_TIME, 100 * NS_PER_SEC); /* beyond all */
    get(&f, web_metrics, &r);
    struct str text = buf_str(&r.body);
    static const char *const lines[] = {
        "penfold_commit_group_seconds_bucket{le=\"6.25e-05\"} 1\n",
        "penfold_commit_group_seconds_bucket{le=\"0.000125\"} 2\n",
        "penfold_commit_group_seconds_bucket{le=\"2.048\"} 2\n",
        "penfold_commit_group_seconds_bucket{le=\"+Inf\"} 3\n",
        "penfold_commit_group_seconds_sum 100.000125\n",
        "penfold_commit_group_seconds_count 3\n",
        "penfold_start_time_seconds 1\n",
        "# TYPE penfold_open_connections gauge\n",
        "# TYPE penfold_connections_total counter\npenfold_connections_total 0\n",
        "# TYPE penfold_index_messages_total counter\npenfold_index_messages_total 0\n",
        "# TYPE penfold_index_bytes_total counter\npenfold_index_bytes_total 0\n",
        "# TYPE penfold_index_waiting_messages gauge\npenfold_index_waiting_messages 0\n",
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        assert_true(str_find(text, str_of(lines[i])) >= 0);
    assert_true(str_find(text, STR("penfold_memory_bytes")) < 0); /* not known here */
    buf_fini(&r.body);
    stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(health_names_each_cause),
        cmocka_unit_test(a_histogram_adds_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
