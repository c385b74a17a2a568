/* Backup and restore: the store as a folder of kv_local, and back.
 *
 * Snapshots of RADOS are each object's own, so a copy that is of one moment is made above them.
 * First every partition is copied while the work goes on, and those that change meanwhile again,
 * until few do; then commits wait while the last ones are copied: some milliseconds each, and never
 * longer than END_MS, hold_ms[] and one partition take; where that is not enough they wait longer
 * the next time, so that a store that never gets quiet is copied too, and only what does not fit
 * into the longest hold is given up. No blob is removed before the end, so whatever a row names is
 * still there. The moment is one for this process: another one that writes to the store meanwhile
 * has to be stopped before.
 *
 * The copy is a store of its own, which kv_local can open. The file COPIED in it, written last,
 * holds the generation that it was made in, and says that its partitions hold rows of references:
 * without it kv_restore does not touch the folder. */
#include "rados/blob_int.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define COPIED "copied-from-rados"

enum {
    FEW = 64,      /* partitions that may be copied while commits wait */
    ROUNDS = 10,   /* of copying what has changed before each hold, at most */
    WAIT_MS = 2,   /* between looks whether all commits under way have ended, */
    END_MS = 5000, /* for which they have so long */
};

/* Times that commits wait, and how long at most; the last one is as long as a bad fault of the
 * cluster, which clients live through. */
static const uint32_t hold_ms[] = {5000, 10000, 60000};
enum { HOLDS = sizeof hold_ms / sizeof *hold_ms };

struct touched {
    struct map_node node;
    struct kv_part part;
};

/* --- partitions that change ------------------------------------------------------------------- */

static void add_touched(struct map *m, struct kv_part part)
{
    uint64_t hash = kv_part_hash(part);
    struct map_node *node = map_find(m, hash);
    while (node && !kv_part_eq(CONTAINER(node, struct touched, node)->part, part))
        node = map_next(node);
    if (node)
        return;
    struct touched *t = mem_zero(sizeof *t);
    t->part = part;
    map_add(m, &t->node, hash);
}

void rad_backup_touch(struct rad *rad, struct kv_part part)
{
    struct rad_backup *k = &rad->backup;
    if (!atomic_load(&k->is_on))
        return;
    pthread_mutex_lock(&k->mutex);
    add_touched(&k->touched, part);
    pthread_mutex_unlock(&k->mutex);
}

/* Takes them all: the next changes are noted anew. */
static struct map take_touched(struct rad_backup *k)
{
    pthread_mutex_lock(&k->mutex);
    struct map mine = k->touched;
    map_init(&k->touched);
    pthread_mutex_unlock(&k->mutex);
    return mine;
}

static void free_touched(struct map *m)
{
    struct map_node *node;
    size_t slot = 0;
    while ((node = map_each(m, &slot, NULL)) != NULL) {
        map_remove(m, node);
        free(CONTAINER(node, struct touched, node));
        slot = 0;
    }
    map_fini(m);
}

static size_t count_touched(struct rad_backup *k)
{
    pthread_mutex_lock(&k->mutex);
    size_t n = k->touched.count;
    pthread_mutex_unlock(&k->mutex);
    return n;
}

/* --- copying ---------------------------------------------------------------------------------- */

struct copy {
    struct rad *rad;
    struct kv *to;
    struct map again; /* partitions that were copied more than once */
};

static enum rc copy_part(void *arg, struct kv_part part)
{
    struct copy *c = arg;
    return kv_copy_part(&c->rad->kv, c->to, part, KV_COPY_REFS);
}

static uint64_t now(const struct rad *rad)
{
    return clock_mono(rad->kv.ctx->clock);
}

/* RC_AGAIN: the time is over, and some are left. */
static enum rc copy_touched(struct copy *c, uint64_t until)
{
    struct map mine = take_touched(&c->rad->backup);
    size_t slot = 0;
    enum rc rc = RC_OK;
    for (struct map_node *node = NULL; (node = map_each(&mine, &slot, node)) != NULL;) {
        struct kv_part part = CONTAINER(node, struct touched, node)->part;
        if (rc == RC_OK && now(c->rad) >= until)
            rc = RC_AGAIN;
        if (rc == RC_AGAIN)
            rad_backup_touch(c->rad, part);
        if (rc != RC_OK)
            continue;
        rc = copy_part(c, part);
        add_touched(&c->again, part);
    }
    free_touched(&mine);
    return rc;
}

/* References of which a partition had more than it has. */
static enum rc settle(struct copy *c)
{
    size_t slot = 0;
    for (struct map_node *node = NULL; (node = map_each(&c->again, &slot, node)) != NULL;)
        TRY(kv_copy_settle(c->to, CONTAINER(node, struct touched, node)->part));
    return RC_OK;
}

/* No group is begun any more, and none is under way. RC_AGAIN: one does not end. */
static enum rc hold_commits(struct rad *rad, uint64_t until)
{
    atomic_store(&rad->is_held, true);
    while (atomic_load(&rad->n_groups) > 0 && now(rad) < until)
        nanosleep(&(struct timespec){.tv_nsec = WAIT_MS * (long)NS_PER_MS}, NULL);
    return atomic_load(&rad->n_groups) > 0 ? RC_AGAIN : RC_OK;
}

static void release_commits(struct rad *rad)
{
    atomic_store(&rad->is_held, false);
    rad_parts_wake(&rad->parts);
}

static enum rc copy_rest(struct copy *c, uint32_t ms)
{
    rad_step(c->rad, "backup-hold");
    enum rc rc = hold_commits(c->rad, now(c->rad) + END_MS * NS_PER_MS);
    if (rc == RC_OK)
        rc = copy_touched(c, now(c->rad) + ms * NS_PER_MS);
    release_commits(c->rad);
    return rc;
}

static enum rc copy_all(struct copy *c)
{
    enum rc rc = RC_AGAIN;
    TRY(rad_each_part(&c->rad->kv, copy_part, c));
    for (int i = 0; i < HOLDS && rc == RC_AGAIN; i++) {
        for (int n = 0; n < ROUNDS && count_touched(&c->rad->backup) > FEW; n++)
            TRY(copy_touched(c, UINT64_MAX));
        rc = copy_rest(c, hold_ms[i]);
    }
    TRY(rc == RC_AGAIN ? RC_TEMP : rc);
    return settle(c);
}

static enum rc write_file(int folder, const char *name, struct str text)
{
    int fd = openat(folder, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return rc_from_errno(errno);
    bool is_ok = write(fd, text.p, text.n) == (ssize_t)text.n && fsync(fd) == 0;
    enum rc rc = is_ok ? RC_OK : rc_from_errno(errno);
    close(fd);
    return rc;
}

static enum rc write_markers(struct rad *rad, const char *dir)
{
    char text[32];
    int folder = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0)
        return rc_from_errno(errno);
    int n = snprintf(text, sizeof text, "%" PRIu64 "\n", rad->generation);
    enum rc rc = write_file(folder, KV_RESTORED, STR(""));
    if (rc == RC_OK)
        rc = write_file(folder, COPIED, str_from(text, (size_t)n));
    if (rc == RC_OK && fsync(folder) != 0)
        rc = rc_from_errno(errno);
    close(folder);
    return rc;
}

static enum rc backup_to(struct rad *rad, const char *dir)
{
    struct copy c = {.rad = rad};
    struct kv_local_conf conf = {.path = dir};
    TRY(kv_local_open(rad->kv.ctx, &conf, &c.to));
    map_init(&c.again);
    blobs_hold(rad->blobs, 1);
    atomic_store(&rad->backup.is_on, true);
    enum rc rc = copy_all(&c);
    atomic_store(&rad->backup.is_on, false);
    blobs_hold(rad->blobs, -1);
    struct map rest = take_touched(&rad->backup);
    free_touched(&rest);
    free_touched(&c.again);
    kv_close(&c.to);
    return rc == RC_OK ? write_markers(rad, dir) : rc;
}

enum rc rad_backup(struct kv *kv, const char *dir)
{
    struct rad *rad = rad_of(kv);
    bool is_on = false;
    if (!atomic_compare_exchange_strong(&rad->backup.is_under_way, &is_on, true))
        return RC_CONFLICT; /* and no folder of ours is left there */
    enum rc rc = mkdir(dir, 0700) == 0 ? backup_to(rad, dir) : rc_from_errno(errno);
    atomic_store(&rad->backup.is_under_way, false);
    if (rc != RC_OK)
        log_event(kv->ctx->log, LOG_ERROR, "backup-failed", "dir", dir, "cause", rc_name(rc), NULL);
    return rc;
}

/* --- restoring -------------------------------------------------------------------------------- */

static enum rc read_marker(const char *dir, uint64_t *out_generation)
{
    char path[4096], text[32] = "";
    int n = snprintf(path, sizeof path, "%s/" COPIED, dir);
    if (n < 0 || (size_t)n >= sizeof path)
        return RC_LIMIT;
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT && access(dir, F_OK) == 0 ? RC_PERM : rc_from_errno(errno);
    ssize_t got = read(fd, text, sizeof text - 1);
    close(fd);
    return got > 0 && sscanf(text, "%" SCNu64, out_generation) == 1 ? RC_OK : RC_CORRUPT;
}

static enum rc restore_part(void *arg, struct kv_part part)
{
    struct copy *c = arg;
    return kv_copy_part(c->to, &c->rad->kv, part, 0);
}

static enum rc refuse_part(void *arg, struct kv_part part)
{
    return RC_EXISTS;
}

/* Larger than that of the copy, and than every one that a copy of the same was restored with. */
static uint64_t next_generation(const struct rad *rad, uint64_t copied)
{
    uint64_t generation = clock_wall(rad->kv.ctx->clock) / NS_PER_SEC;
    if (generation <= copied)
        generation = copied + 1;
    return generation > rad->generation ? generation : rad->generation + 1;
}

/* A store that is half restored is marked, so that nobody takes it for whole. */
enum rc rad_restore(struct kv *kv, const char *dir)
{
    struct copy c = {.rad = rad_of(kv)};
    uint64_t copied, generation;
    struct kv_local_conf conf = {.path = dir};
    TRY(read_marker(dir, &copied));
    TRY(c.rad->is_half ? RC_EXISTS : rad_each_part(kv, refuse_part, NULL));
    TRY(kv_local_open(kv->ctx, &conf, &c.to));
    generation = next_generation(c.rad, copied);
    enum rc rc = rad_restoring_set(c.rad, true, generation);
    if (rc == RC_OK)
        rc = c.to->backend->each_part(c.to, restore_part, &c);
    if (rc == RC_OK)
        rc = rad_restoring_set(c.rad, false, generation);
    kv_close(&c.to);
    return rc;
}
