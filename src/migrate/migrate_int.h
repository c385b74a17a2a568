/* migrate, inside. */
#ifndef MIGRATE_MIGRATE_INT_H
#define MIGRATE_MIGRATE_INT_H

#include "migrate/migrate.h"

#include "base/map.h"
#include "crypto/crypto.h"

/* --- record.c: what the second store knows of the migration, in a partition of its own -------- */

/* Partition G 2; the first byte of a value is its format.
 *
 *   's'            state1 generation8 source16: the first store, as it calls itself
 *   'p' class1 id8 version8 beside8 copy8 sum32: the partition was carried when the first store had
 *                  it at this version, and the copy has that version since */
extern const struct kv_part migrate_part;

struct migrate_header {
    enum migrate_state state;
    uint64_t generation; /* of the first store: after a restore its versions mean something else */
    char source[MIGRATE_SOURCE_MAX + 1];
};

struct migrate_done {
    uint64_t version;
    uint64_t beside; /* of a cache's account: some of its rows come with that one's commits */
    uint64_t copy;
    unsigned char sum[CRYPTO_SHA256];
};

/* Out of values: RC_CORRUPT. */
enum rc migrate_header_parse(struct str value, struct migrate_header *out);
enum rc migrate_done_parse(struct str value, struct migrate_done *out);
enum rc migrate_header_read(struct kv *kv, struct migrate_header *out);
enum rc migrate_header_write(struct kv *kv, const struct migrate_header *header);
enum rc migrate_done_read(struct kv *kv, struct kv_part part, struct migrate_done *out);
enum rc migrate_done_write(struct kv *kv, struct kv_part part, const struct migrate_done *done);
enum rc migrate_done_delete(struct kv *kv, struct kv_part part);
/* The next one after `part` (NULL: the first). RC_EOF. */
enum rc migrate_done_next(struct kv *kv, const struct kv_part *part, struct kv_part *out);

/* --- shared.c: blobs that several rows refer to ----------------------------------------------- */

/* A copied blob that is needed again; a row of the second store keeps it. Those that are needed
 * once have none. */
struct shared_blob {
    struct map_node node;
    struct kv_blob_id from, to;
    bool has_sum;
    unsigned char sum[CRYPTO_SHA256];
};

/* Two tables of bits say what was seen once, and what again; ids are random, so a part of one is
 * its place. Some blobs are taken for shared that are not: that costs an entry and nothing else. */
struct shared {
    unsigned char *seen, *again;
    struct map by_from;
};
void shared_init(struct shared *s);
void shared_fini(struct shared *s);
void shared_note(struct shared *s, struct kv_blob_id id);
bool shared_is(const struct shared *s, struct kv_blob_id id);
struct shared_blob *shared_find(const struct shared *s, struct kv_blob_id id);
struct shared_blob *shared_add(struct shared *s, struct kv_blob_id from, struct kv_blob_id to);

/* --- carry.c: one partition ------------------------------------------------------------------- */

struct carry {
    struct kv *from;
    struct kv *to;               /* NULL: only summed */
    struct shared *shared;       /* NULL when `to` is */
    struct migrate_watch *watch; /* may be NULL */
    struct kv_part part;
    /* Results. */
    unsigned char sum[CRYPTO_SHA256]; /* of all rows, the blobs' bytes in place of their ids */
    uint64_t rows, blobs, bytes;
};
/* RC_CORRUPT: a row or a blob cannot be read, or is not there. */
enum rc carry_run(struct carry *c);

/* The blobs of a row, by who owns the partition. */
enum rc carry_blobs(struct kv_part part, struct kv_row row, uint32_t out_at[KV_ROW_BLOBS],
                    size_t *out_n);
struct kv_blob_id carry_blob_at(struct kv_row row, uint32_t at);

/* Calls visit() for each row, in order. */
struct carry_walk {
    enum rc (*row)(struct carry_walk *walk, struct kv_row row);
};
enum rc carry_each_row(struct kv *kv, struct kv_part part, struct carry_walk *walk);

/* Removes all rows of a partition, and its references. */
enum rc carry_clear(struct kv *kv, struct kv_part part);

/* --- plan.c: what there is -------------------------------------------------------------------- */

struct plan_walk {
    enum rc (*part)(struct plan_walk *walk, struct kv_part part);
};
/* Each partition of the first store; those of an account one after the other. */
enum rc plan_each(struct migrate *m, struct plan_walk *walk);
/* Whether the first store has it. */
enum rc plan_names(struct migrate *m, struct kv_part part, bool *out_is_named);
/* RC_EXISTS: the second store has rows. Only looks where every store has some. */
enum rc plan_check_empty(struct migrate *m);

#endif
