/* Commands on a store at rest: this process opens it itself, under its lock. */
#include "ctl/ctl_int.h"

#include "migrate/migrate.h"
#include "trace/trace.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static enum rc complain(const char *what, const char *why)
{
    fprintf(stderr, "penfold: %s: %s\n", what, why);
    return RC_PERM;
}

enum rc ctl_enter_data(const struct conf *conf)
{
    struct stat st;
    if (chdir(conf->data) != 0 || stat(".", &st) != 0)
        return complain(conf->data, strerror(errno));
    if (geteuid() != 0 || st.st_uid == 0)
        return RC_OK;
    /* What root writes there the server could not read. */
    if (setgroups(0, NULL) != 0 || setgid(st.st_gid) != 0 || setuid(st.st_uid) != 0)
        return complain(conf->data, strerror(errno));
    return RC_OK;
}

struct house {
    struct ctx ctx;
    struct counters counters;
    struct log *log;
    struct task_lane *lane;
    struct admin admin;
};

/* What is carried into it later would take the place of what is done to it now. */
static enum rc check_whole(struct house *h, const struct conf *conf)
{
    struct migrate_status status;
    TRY(migrate_look(h->admin.kv, &status));
    if (status.state != MIGRATE_COPYING)
        return RC_OK;
    fprintf(stderr,
            "penfold: %s: its store is half a copy of %s: run penfold migrate again from there\n",
            conf->data, status.source);
    return RC_DENIED;
}

static enum rc open_house(struct house *h, const struct conf *conf)
{
    struct store_conf store = {.undelete_ns = conf->store.undelete * NS_PER_SEC};
    struct auth_conf auth = {.hash_lane = h->lane,
                             .hash_ops = (uint32_t)conf->auth.hash_ops,
                             .hash_memory = conf->auth.hash_memory,
                             .scram = auth_scram_of(conf->auth.scram),
                             .scram_iterations = (uint32_t)conf->auth.scram_iterations};
    enum rc rc = ctl_engine_open(&h->ctx, conf, &h->admin.kv);
    if (rc == RC_NOTFOUND) /* the engine or its pool, and not what the command names */
        return RC_PERM;
    TRY(rc);
    TRY(check_whole(h, conf));
    TRY(store_open(&h->ctx, h->admin.kv, &store, &h->admin.store));
    TRY(auth_open(&h->ctx, h->admin.kv, &auth, &h->admin.auth));
    TRY(admin_seal_open(&h->admin));
    TRY(ctl_trace_open(&h->ctx, conf, h->admin.kv, &h->admin.trace));
    return queue_open(&h->ctx, h->admin.kv, &h->admin.queue);
}

static void close_house(struct house *h)
{
    trace_close(&h->admin.trace);
    if (h->admin.queue)
        queue_close(&h->admin.queue);
    if (h->admin.auth)
        auth_close(&h->admin.auth);
    if (h->admin.store)
        store_close(&h->admin.store);
    if (h->admin.kv)
        kv_close(&h->admin.kv);
    admin_fini(&h->admin);
    task_lane_free(&h->lane);
    log_free(&h->log);
}

struct one_request {
    const struct admin_request *request;
    struct admin_answer *answer;
};

static void run_request(struct admin *admin, void *arg)
{
    const struct one_request *r = arg;
    admin_run(admin, r->request, r->answer);
}

enum rc ctl_offline(const struct conf *conf, const struct admin_request *request,
                    struct admin_answer *answer)
{
    struct one_request r = {request, answer};
    return ctl_offline_do(conf, run_request, &r);
}

enum rc ctl_offline_do(const struct conf *conf, void (*run)(struct admin *admin, void *arg),
                       void *arg)
{
    struct house h = {0};
    admin_init(&h.admin);
    h.log = log_new(STDERR_FILENO, LOG_WARNING, &clock_system);
    h.ctx = (struct ctx){h.log, &h.counters, &clock_system};
    h.lane = task_lane_new("hash", 1, 16);
    enum rc rc = open_house(&h, conf);
    if (rc == RC_OK) {
        h.admin.ctx = h.ctx;
        h.admin.keep_removed_ns = conf->store.keep_removed * NS_PER_SEC;
        h.admin.collections = (uint32_t)conf->collect.accounts;
        run(&h.admin, arg);
    }
    close_house(&h);
    return rc;
}
