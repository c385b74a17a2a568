/* The store: opening and closing, the table of calls, the end of writing.
 *
 * The store's own object, "store", holds its format and its generation; it is made by the first who
 * opens the namespace. Nothing on this machine is kept. */
#include "rados/rados_int.h"

#include "base/bytes.h"
#include "base/mem.h"
#include "base/random.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { STORE_ROW = 9, FOLD_THREADS = 2, LANE_QUEUE = 1 << 20, BODY_BYTES = 1 << 30 };
#define STORE_OBJECT "store"
#define STORE_KEY    STR("generation")
#define HALF_KEY     STR("restoring") /* kv_restore has begun and not ended */

/* --- what kv.h asks of the whole -------------------------------------------------------------- */

static enum kv_state rad_state(struct kv *kv, const char **out_why)
{
    struct rad *rad = rad_of(kv);
    bool is_readonly = atomic_load(&rad->is_readonly);
    *out_why = is_readonly ? rad->why : "";
    return is_readonly ? KV_READONLY : KV_WRITABLE;
}

static uint64_t rad_generation(struct kv *kv)
{
    return rad_of(kv)->generation;
}

void rad_fail_for_good(struct rad *rad, const char *what)
{
    pthread_mutex_lock(&rad->why_mutex);
    if (!atomic_load(&rad->is_readonly)) {
        snprintf(rad->why, sizeof rad->why, "%s", what);
        log_event(rad->kv.ctx->log, LOG_ERROR, "store-readonly", "cause", what, NULL);
        counter_set(rad->kv.ctx->counters, COUNTER_KV_READONLY, 1);
        atomic_store(&rad->is_readonly, true);
    }
    pthread_mutex_unlock(&rad->why_mutex);
}

void rad_step(struct rad *rad, const char *name)
{
    if (rad->conf.hooks && rad->conf.hooks->step)
        rad->conf.hooks->step(rad->conf.hooks, name);
}

/* --- opening ---------------------------------------------------------------------------------- */

static uint64_t default_body_bytes(void)
{
    uint64_t machine = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    return machine / 4 < BODY_BYTES ? machine / 4 : BODY_BYTES;
}

static void fill_in(struct kv_rados_conf *conf)
{
    struct {
        uint32_t *to, value;
    } numbers[] = {
        {&conf->threads, 4},      {&conf->read_ms, 60000},    {&conf->trust_ms, 5000},
        {&conf->head_rows, 8192}, {&conf->shard_rows, 32768},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (*numbers[i].to == 0)
            *numbers[i].to = numbers[i].value;
    if (conf->memory_bytes == 0)
        conf->memory_bytes = 256 << 20;
    if (conf->body_bytes == 0)
        conf->body_bytes = default_body_bytes();
    if (conf->queue_bytes == 0)
        conf->queue_bytes = 64 << 20;
}

static enum rc read_store(struct rad *rad)
{
    struct link_call *call = link_call_new(rad->link, LINK_INDEX, STORE_OBJECT);
    struct str key, value, generation = {0};
    link_read_row(call, STORE_KEY);
    link_read_row(call, HALF_KEY);
    enum rc rc = link_rc(link_read_wait(call, rad->conf.read_ms));
    while (rc == RC_OK && link_got_key(call, &key, &value)) {
        if (str_eq(key, STORE_KEY))
            generation = value;
        else
            rad->is_half = true;
    }
    if (rc == RC_OK && (generation.n != STORE_ROW || generation.p[0] != RAD_FORMAT))
        rc = RC_CORRUPT;
    if (rc == RC_OK)
        rad->generation = get_u64(generation.p + 1);
    link_call_free(&call);
    return rc;
}

static enum rc make_store(struct rad *rad)
{
    unsigned char row[STORE_ROW] = {RAD_FORMAT};
    struct link_call *call = link_call_new(rad->link, LINK_INDEX, STORE_OBJECT);
    put_u64(row + 1, 1);
    link_write_create(call);
    link_write_row(call, STORE_KEY, str_from(row, sizeof row));
    enum rc rc = link_rc(link_write_wait(call, rad->conf.read_ms));
    link_call_free(&call);
    return rc == RC_EXISTS ? RC_OK : rc;
}

enum rc rad_restoring_set(struct rad *rad, bool is_half, uint64_t generation)
{
    unsigned char row[STORE_ROW] = {RAD_FORMAT};
    struct link_call *call = link_call_new(rad->link, LINK_INDEX, STORE_OBJECT);
    put_u64(row + 1, generation);
    link_write_assert_exists(call);
    link_write_row(call, STORE_KEY, str_from(row, sizeof row));
    if (is_half)
        link_write_row(call, HALF_KEY, STR("\1"));
    else
        link_write_row_remove(call, HALF_KEY);
    enum rc rc = link_rc(link_write_wait(call, rad->conf.read_ms));
    link_call_free(&call);
    if (rc == RC_OK)
        rad->generation = generation;
    return rc;
}

/* Reads the store's object; makes it when there is none. */
static enum rc find_store(struct rad *rad)
{
    enum rc rc = read_store(rad);
    if (rc != RC_NOTFOUND)
        return rc;
    TRY(make_store(rad));
    return read_store(rad);
}

static enum rc set_generation(struct kv *kv, uint64_t generation)
{
    struct rad *rad = rad_of(kv);
    return atomic_load(&rad->is_readonly) ? RC_TEMP : rad_restoring_set(rad, false, generation);
}

static void fini(struct rad *rad)
{
    rad_blobs_close(rad);
    task_lane_free(&rad->folds);
    task_lane_free(&rad->lane);
    task_timers_free(&rad->timers);
    link_close(&rad->link);
    rad_parts_fini(&rad->parts);
    pthread_mutex_destroy(&rad->why_mutex);
    pthread_mutex_destroy(&rad->backup.mutex);
    map_fini(&rad->backup.touched);
    kv_fini(&rad->kv);
    free(rad);
}

static void rad_close(struct kv *kv)
{
    struct rad *rad = rad_of(kv);
    rad_blobs_end(rad);
    atomic_store(&rad->is_closing, true);
    task_timers_hurry(rad->timers);
    rad_commits_drain(rad);
    fini(rad);
}

static const struct kv_backend rad_backend = {
    .name = "rados",
    .close = rad_close,
    .state = rad_state,
    .room = rad_room,
    .generation = rad_generation,
    .generation_set = set_generation,
    .version = rad_version,
    .get = rad_get,
    .scan = rad_scan,
    .commit = rad_commit,
    .blob_new = rad_blob_new,
    .blob_write = rad_blob_write,
    .blob_finish = rad_blob_finish,
    .blob_abort = rad_blob_abort,
    .blob_forget = rad_blob_forget,
    .blob_open = rad_blob_open,
    .blob_open_many = rad_blob_open_many,
    .blob_read = rad_blob_read,
    .blob_close = rad_blob_close,
    .fsck = rad_fsck,
    .backup = rad_backup,
    .space = rad_space,
    .restore = rad_restore,
    .each_part = rad_each_part,
};

enum rc rad_open(const struct ctx *ctx, const struct kv_rados_conf *conf, struct kv **out)
{
    struct rad *rad = mem_zero(sizeof *rad);
    kv_init(&rad->kv, &rad_backend, ctx);
    rad->conf = *conf;
    fill_in(&rad->conf);
    pthread_mutex_init(&rad->why_mutex, NULL);
    pthread_mutex_init(&rad->backup.mutex, NULL);
    map_init(&rad->backup.touched);
    rad_parts_init(&rad->parts);
    random_bytes(rad->node, sizeof rad->node);
    rad->timers = task_timers_new("kv-timers");
    rad->lane = task_lane_new("kv-commit", rad->conf.threads, LANE_QUEUE);
    rad->folds = task_lane_new("kv-fold", FOLD_THREADS, LANE_QUEUE);
    enum rc rc = link_open(ctx, &rad->conf, &rad->link);
    if (rc == RC_OK)
        rc = find_store(rad);
    if (rc == RC_OK)
        rc = rad_blobs_open(rad);
    if (rc != RC_OK) {
        fini(rad);
        return rc;
    }
    if (rad->is_half)
        rad_fail_for_good(rad, "it was being restored when that was cut short: restore under "
                               "another name");
    *out = &rad->kv;
    return RC_OK;
}

__attribute__((visibility("default"))) extern const struct kv_plugin kv_plugin;
const struct kv_plugin kv_plugin = {PENFOLD_VERSION, "rados", rad_open};
