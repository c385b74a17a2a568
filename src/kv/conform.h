/* The conformance suite, inside: what its files share. One suite runs against every back end.
 *
 * It looks at a store only through kv.h, so that any back end can be put to it: a row in the table
 * of test_conform.c says how to open one. What a back end may do later than a commit's completion
 * (freeing a blob, telling a watch) is waited for. After each test the store must pass kv_fsck. */
#ifndef KV_CONFORM_H
#define KV_CONFORM_H

#include "kv/kv.h"

#include "base/test.h"

#include <stdatomic.h>

struct conform;

struct conform_backend {
    const char *name;
    /* Opens the store in the folder c->dir, or makes it. */
    struct kv *(*open)(struct conform *c);
    /* What has been committed is there when the store is opened again; so kv_backup works too. */
    bool is_persistent;
    const char *needs; /* NULL, or the environment variable without which it is skipped */
    /* Where not persistent: makes the store as if restored from a backup. */
    void (*restored)(struct kv *kv);
    /* NULL, or: queued commits wait unpublished while held; the next n of them go through. */
    void (*hold)(struct kv *kv, bool hold);
    void (*step)(struct kv *kv, size_t n);
};

/* Monotonic time is real, since threads of a back end may wait by it; the date is the test's. */
struct conform_clock {
    struct clock clock;
    _Atomic uint64_t wall;
};

/* The state of each test: a new, empty store. */
struct conform {
    const struct conform_backend *backend;
    struct kv *kv;
    struct ctx ctx;
    struct conform_clock clock;
    char top[64]; /* this test's own folder, removed at the end */
    char dir[96]; /* in it, the store's */
    struct arena arena;
};

enum conform_need {
    CONFORM_ANY,
    CONFORM_PERSISTENT, /* a back end that is */
    CONFORM_HOLD        /* one that can hold its queue */
};

struct conform_test {
    const char *name;
    void (*run)(void **state);
    enum conform_need need; /* the test is run only where there is this */
};

/* Each ends with a row of zeroes. */
extern const struct conform_test conform_txn_tests[];
extern const struct conform_test conform_read_tests[];
extern const struct conform_test conform_writer_tests[];
extern const struct conform_test conform_blob_tests[];
extern const struct conform_test conform_notice_tests[];
extern const struct conform_test conform_random_tests[];
extern const struct conform_test conform_thread_tests[];

void conform_reopen(struct conform *c);  /* only where persistent */
void conform_restore(struct conform *c); /* goes on with the store as restored from a backup */

/* --- rows ------------------------------------------------------------------------------------- */

static const struct kv_part CONFORM_PART = {KV_ACCOUNT, 1};

/* Commits one row. */
uint64_t conform_put(struct conform *c, struct kv_part part, struct str key, struct str value);
struct str conform_get(struct conform *c, struct kv_part part, struct str key);
uint64_t conform_version(struct conform *c, struct kv_part part);
struct str conform_key(struct conform *c, const char *format, ...)
    __attribute__((format(printf, 2, 3))); /* in the arena */

#define assert_row(c, part, key, literal) assert_str(conform_get((c), (part), STR(key)), literal)
#define assert_no_row(c, part, key)       assert_null(conform_get((c), (part), STR(key)).p)

/* --- commits that are not waited for at once -------------------------------------------------- */

struct conform_op {
    struct kv_op op;
    struct conform_ops *ops;
    int order;        /* the how-manieth of its group it completed as; 0: not yet */
    pthread_t thread; /* that completed it */
};

struct conform_ops {
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    int completed;
};

void conform_ops_init(struct conform_ops *ops);
void conform_ops_fini(struct conform_ops *ops);
void conform_op_init(struct conform_ops *ops, struct conform_op *op);
enum rc conform_op_wait(struct conform_op *op);
bool conform_op_is_done(struct conform_op *op);
/* One row, queued by a writer; asserts that it was taken. */
void conform_queue_put(struct kv_writer *writer, struct kv_part part, struct str key,
                       struct str value, struct conform_op *op);

/* --- blobs ------------------------------------------------------------------------------------ */

/* Byte number i of every blob of this seed. */
unsigned char conform_byte(uint64_t seed, uint64_t i);
/* Writes and finishes a blob; it stays in the caller's hands. */
struct kv_blob_id conform_blob(struct conform *c, struct kv_part part, uint64_t seed, size_t size);
/* Commits one reference more, or one less. */
enum rc conform_ref(struct conform *c, struct kv_part part, struct kv_blob_id id);
enum rc conform_drop(struct conform *c, struct kv_part part, struct kv_blob_id id);
bool conform_blob_is_there(struct conform *c, struct kv_blob_id id);
/* These fail after 10 s. */
void conform_blob_wait_gone(struct conform *c, struct kv_blob_id id);
void conform_fsck_wait_blobs(struct conform *c, uint64_t blobs); /* fsck counts so many */

#endif
