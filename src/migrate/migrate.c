/* A migration: what is there already, what has to be carried, carrying it, and the record of it.
 *
 * The order of a partition: it is cleared, copied, read back and compared, recorded; each is
 * durable before the next. So a partition without a record, or whose versions are not the recorded
 * ones, is begun anew, and nothing else has to be known after a crash. At the end every version is
 * compared again: a store that changed meanwhile is not called carried. */
#include "migrate/migrate_int.h"

#include "store/store.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct run {
    struct plan_walk walk;
    struct migrate *m;
    struct shared shared;
    uint64_t accounts, units; /* still to be carried */
    size_t left, there;       /* partitions of them; the others */
};

static enum rc fail(struct migrate *m, enum rc rc, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static enum rc fail(struct migrate *m, enum rc rc, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    vsnprintf(m->why, sizeof m->why, format, ap);
    va_end(ap);
    return rc;
}

static enum rc fail_at(struct migrate *m, enum rc rc, struct kv_part part, const char *what)
{
    if (m->why[0])
        return rc;
    return fail(m, rc, "partition %c %llu: %s: %s", part.class, (unsigned long long)part.id, what,
                rc_name(rc));
}

/* --- what is there already -------------------------------------------------------------------- */

/* As the partition is now, in both stores. */
static enum rc versions_of(struct migrate *m, struct kv_part part, struct migrate_done *out)
{
    struct kv_part account = {KV_ACCOUNT, part.id};
    *out = (struct migrate_done){0};
    TRY(kv_version(m->from, part, 0, &out->version));
    if (part.class == KV_CACHE)
        TRY(kv_version(m->from, account, 0, &out->beside));
    return kv_version(m->to, part, 0, &out->copy);
}

/* One that was never written to needs no record. */
static enum rc is_there(struct migrate *m, struct kv_part part, bool *out)
{
    struct migrate_done now, then;
    *out = false;
    TRY(versions_of(m, part, &now));
    enum rc rc = migrate_done_read(m->to, part, &then);
    if (rc == RC_NOTFOUND) {
        *out = now.version == 0 && now.beside == 0 && now.copy == 0;
        return RC_OK;
    }
    *out = rc == RC_OK && now.version == then.version && now.beside == then.beside &&
           now.copy == then.copy;
    return rc;
}

static enum rc begin_anew(struct migrate *m, struct migrate_header *header)
{
    enum rc rc = plan_check_empty(m);
    if (rc == RC_EXISTS)
        return fail(m, rc,
                    "there is mail or an address in it already, and not from a "
                    "migration: it has to be a store of its own");
    TRY(rc);
    header->generation = kv_generation(m->from);
    snprintf(header->source, sizeof header->source, "%s", m->source);
    return RC_OK;
}

static enum rc begin(struct migrate *m)
{
    struct migrate_header header;
    struct migrate_status status;
    TRY(migrate_look(m->from, &status));
    if (status.state == MIGRATE_COPYING)
        return fail(m, RC_DENIED, "it is itself half a copy of %s", status.source);
    TRY(migrate_header_read(m->to, &header));
    if (header.state == MIGRATE_NONE)
        TRY(begin_anew(m, &header));
    if (strcmp(header.source, m->source) != 0)
        return fail(m, RC_EXISTS, "it holds what was carried from %s, not from %s", header.source,
                    m->source);
    if (header.generation != kv_generation(m->from))
        return fail(m, RC_EXISTS,
                    "%s was restored from a backup, or has lost something, since it was "
                    "carried: begin again with an empty store",
                    m->source);
    header.state = MIGRATE_COPYING;
    return migrate_header_write(m->to, &header);
}

/* --- what has to be carried ------------------------------------------------------------------- */

static enum rc plan_part(struct plan_walk *walk, struct kv_part part)
{
    struct run *r = CONTAINER(walk, struct run, walk);
    bool is_done;
    TRY(is_there(r->m, part, &is_done));
    r->left += !is_done;
    r->there += is_done;
    r->accounts += !is_done && part.class == KV_ACCOUNT;
    return RC_OK;
}

/* Blobs of all partitions are noted: one that was carried before may be shared with one that was
 * not. What is left of an attempt that was cut short goes before anything is learned of the rest.
 */
struct counting {
    struct carry_walk walk;
    struct run *run;
    struct kv_part part;
    bool is_done;
};

static enum rc count_row(struct carry_walk *walk, struct kv_row row)
{
    struct counting *k = CONTAINER(walk, struct counting, walk);
    uint32_t at[KV_ROW_BLOBS];
    size_t n;
    TRY(carry_blobs(k->part, row, at, &n));
    for (size_t i = 0; i < n; i++)
        shared_note(&k->run->shared, carry_blob_at(row, at[i]));
    if (!k->is_done)
        k->run->units += 2 * (1 + n); /* it is read back, too */
    return RC_OK;
}

static enum rc count_part(struct plan_walk *walk, struct kv_part part)
{
    struct run *r = CONTAINER(walk, struct run, walk);
    struct counting k = {.walk.row = count_row, .run = r, .part = part};
    struct migrate *m = r->m;
    TRY(is_there(m, part, &k.is_done));
    enum rc rc = k.is_done ? RC_OK : carry_clear(m->to, part);
    if (rc != RC_OK)
        return fail_at(m, rc, part, "it cannot be cleared for another attempt");
    rc = carry_each_row(m->from, part, &k.walk);
    return rc == RC_OK ? RC_OK : fail_at(m, rc, part, "it cannot be read");
}

/* --- carrying --------------------------------------------------------------------------------- */

/* Rows of a partition that is there: which blob became which, for those that others need too. */
struct learning {
    struct carry_walk walk;
    struct run *run;
    struct kv_part part;
};

static enum rc learn_row(struct carry_walk *walk, struct kv_row row)
{
    struct learning *l = CONTAINER(walk, struct learning, walk);
    struct shared *s = &l->run->shared;
    uint32_t at[KV_ROW_BLOBS];
    struct arena arena = {0};
    struct kv_row copy = {.key = row.key};
    size_t n, wanted = 0;
    TRY(carry_blobs(l->part, row, at, &n));
    for (size_t i = 0; i < n; i++) {
        struct kv_blob_id id = carry_blob_at(row, at[i]);
        if (shared_is(s, id) && !shared_find(s, id))
            at[wanted++] = at[i];
    }
    if (!wanted)
        return RC_OK;
    enum rc rc = kv_get(l->run->m->to, l->part, &row.key, 1, 0, &arena, &copy.value, NULL);
    if (rc == RC_OK && copy.value.n != row.value.n)
        rc = RC_CORRUPT;
    for (size_t i = 0; rc == RC_OK && i < wanted; i++)
        if (!shared_find(s, carry_blob_at(row, at[i])))
            shared_add(s, carry_blob_at(row, at[i]), carry_blob_at(copy, at[i]));
    arena_fini(&arena);
    return rc;
}

static void add_up(struct migrate *m, const struct carry *c)
{
    m->partitions++;
    m->rows += c->rows;
    m->blobs += c->blobs;
    m->bytes += c->bytes;
}

/* RC_CORRUPT: it does not give back what it got. */
static enum rc read_back(struct migrate *m, const struct carry *c)
{
    struct carry back = {.from = m->to, .watch = m->watch, .part = c->part};
    enum rc rc = carry_run(&back);
    if (rc == RC_OK && memcmp(back.sum, c->sum, sizeof c->sum) != 0)
        rc = RC_CORRUPT;
    return rc == RC_OK ? RC_OK : fail_at(m, rc, c->part, "the copy is not what was written");
}

static enum rc carry_one(struct run *r, struct kv_part part)
{
    struct migrate *m = r->m;
    struct migrate_done done;
    struct carry c = {
        .from = m->from, .to = m->to, .shared = &r->shared, .watch = m->watch, .part = part};
    TRY(versions_of(m, part, &done));
    enum rc rc = carry_run(&c);
    if (rc != RC_OK)
        return fail_at(m, rc, part,
                       rc == RC_CORRUPT ? "it is damaged, see penfold fsck"
                                        : "it cannot be carried");
    TRY(read_back(m, &c));
    add_up(m, &c);
    memcpy(done.sum, c.sum, sizeof done.sum);
    TRY(kv_version(m->to, part, 0, &done.copy));
    return migrate_done_write(m->to, part, &done);
}

static enum rc learn_part(struct plan_walk *walk, struct kv_part part)
{
    struct run *r = CONTAINER(walk, struct run, walk);
    struct learning l = {.walk.row = learn_row, .run = r, .part = part};
    bool is_done;
    TRY(is_there(r->m, part, &is_done));
    if (!is_done)
        return RC_OK;
    enum rc rc = carry_each_row(r->m->from, part, &l.walk);
    return rc == RC_OK ? RC_OK : fail_at(r->m, rc, part, "it cannot be read again");
}

static enum rc carry_part(struct plan_walk *walk, struct kv_part part)
{
    struct run *r = CONTAINER(walk, struct run, walk);
    struct migrate *m = r->m;
    bool is_done;
    TRY(is_there(m, part, &is_done));
    if (is_done)
        return RC_OK;
    TRY(carry_one(r, part));
    if (part.class == KV_ACCOUNT && m->watch && m->watch->account)
        m->watch->account(m->watch, part.id);
    return RC_OK;
}

/* --- the end ---------------------------------------------------------------------------------- */

/* Accounts that were carried, and removed since. */
static enum rc remove_others(struct migrate *m)
{
    struct kv_part part;
    enum rc rc = migrate_done_next(m->to, NULL, &part);
    for (; rc == RC_OK; rc = migrate_done_next(m->to, &part, &part)) {
        bool is_named;
        TRY(plan_names(m, part, &is_named));
        if (is_named)
            continue;
        TRY(carry_clear(m->to, part));
        TRY(migrate_done_delete(m->to, part));
    }
    return rc == RC_EOF ? RC_OK : rc;
}

static enum rc finish(struct run *r)
{
    struct migrate *m = r->m;
    struct migrate_header header;
    r->left = 0;
    r->walk.part = plan_part;
    TRY(plan_each(m, &r->walk));
    if (r->left)
        return fail(m, RC_CONFLICT, "%s was changed meanwhile: run it again", m->source);
    if (m->n_only)
        return RC_OK;
    TRY(kv_generation_raise(m->to, kv_generation(m->from)));
    TRY(migrate_header_read(m->to, &header));
    header.state = MIGRATE_COMPLETE;
    return migrate_header_write(m->to, &header);
}

static enum rc carry_all(struct run *r)
{
    struct migrate *m = r->m;
    r->walk.part = count_part;
    TRY(plan_each(m, &r->walk));
    if (m->watch && m->watch->begin)
        m->watch->begin(m->watch, r->accounts, r->units);
    r->walk.part = learn_part;
    if (r->there)
        TRY(plan_each(m, &r->walk));
    r->walk.part = carry_part;
    return plan_each(m, &r->walk);
}

enum rc migrate_run(struct migrate *m)
{
    struct run r = {.m = m, .walk.part = plan_part};
    enum rc rc = begin(m);
    if (rc == RC_OK)
        rc = plan_each(m, &r.walk);
    m->kept = r.there;
    if (rc == RC_OK && r.left) {
        shared_init(&r.shared);
        rc = carry_all(&r);
        shared_fini(&r.shared);
    }
    if (rc == RC_OK && !m->n_only)
        rc = remove_others(m);
    return rc == RC_OK ? finish(&r) : rc;
}

/* --- comparing -------------------------------------------------------------------------------- */

static enum rc compare_part(struct plan_walk *walk, struct kv_part part)
{
    struct run *r = CONTAINER(walk, struct run, walk);
    struct migrate *m = r->m;
    struct carry first = {.from = m->from, .watch = m->watch, .part = part};
    struct carry second = {.from = m->to, .watch = m->watch, .part = part};
    enum rc rc = carry_run(&first);
    if (rc == RC_OK)
        rc = carry_run(&second);
    if (rc != RC_OK && rc != RC_CORRUPT)
        return fail_at(m, rc, part, "it cannot be read");
    if (rc == RC_CORRUPT || memcmp(first.sum, second.sum, sizeof first.sum) != 0) {
        r->left++;
        if (m->watch && m->watch->differs)
            m->watch->differs(m->watch, part);
    }
    add_up(m, &first);
    if (part.class == KV_ACCOUNT && m->watch && m->watch->account)
        m->watch->account(m->watch, part.id);
    return RC_OK;
}

static enum rc count_all(struct plan_walk *walk, struct kv_part part)
{
    struct run *r = CONTAINER(walk, struct run, walk);
    r->accounts += part.class == KV_ACCOUNT;
    return RC_OK;
}

enum rc migrate_compare(struct migrate *m)
{
    struct run r = {.m = m, .walk.part = count_all};
    TRY(plan_each(m, &r.walk));
    if (m->watch && m->watch->begin)
        m->watch->begin(m->watch, r.accounts, 0);
    r.walk.part = compare_part;
    TRY(plan_each(m, &r.walk));
    return r.left ? fail(m, RC_CORRUPT, "%zu of %llu partitions are not the same in both", r.left,
                         (unsigned long long)m->partitions)
                  : RC_OK;
}
