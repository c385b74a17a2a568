/* migrate: carries a whole store into another one, whatever the back ends of both.
 *
 * Both are at rest; nothing of the first is changed. The unit is a partition: its rows are copied
 * as they are, in order, with the blobs they refer to, which get new ids there; then it is read
 * back and compared with the digest of what was read, and a record of that is kept in the second
 * store. What is recorded, and has not changed since in either store, is not carried again. So a
 * run that was cut short at any moment is simply begun again, and one that is made later brings
 * what has changed.
 *
 * Until all is there, the record says so, and nobody may serve the second store (migrate_admit).
 */
#ifndef MIGRATE_MIGRATE_H
#define MIGRATE_MIGRATE_H

#include "auth/auth.h"
#include "kv/kv.h"

/* What is told while it works, on the caller's thread. Units are rows and blobs. Any may be NULL.
 */
struct migrate_watch {
    void (*begin)(struct migrate_watch *watch, uint64_t accounts, uint64_t units);
    void (*moved)(struct migrate_watch *watch, uint64_t units);
    void (*account)(struct migrate_watch *watch, uint64_t id);         /* is done */
    void (*differs)(struct migrate_watch *watch, struct kv_part part); /* migrate_compare */
};

enum { MIGRATE_SOURCE_MAX = 512, MIGRATE_WHY = 640 };

struct migrate {
    struct kv *from, *to;
    struct auth *auth; /* of `from` */
    const char
        *source; /* what `from` is called: the same in each run; at most MIGRATE_SOURCE_MAX */
    const uint64_t *only; /* accounts; nothing else is carried, and it is not complete then */
    size_t n_only;        /* 0: everything */
    struct migrate_watch *watch;

    /* Results, also of what failed. */
    uint64_t partitions, kept; /* carried now; found to be there */
    uint64_t rows, blobs, bytes;
    char why[MIGRATE_WHY]; /* a sentence, when it failed; may be empty */
};

/* RC_OK: all that was asked for is there. Not carried out at all: RC_EXISTS, `to` has something in
 * it that no migration from this source brought; RC_DENIED, `from` is itself half a copy. Begun and
 * not ended: RC_CORRUPT, `from` is damaged or `to` does not give back what it got; RC_CONFLICT,
 * `from` was changed meanwhile; otherwise as kv. Blocks. */
enum rc migrate_run(struct migrate *m);

/* Reads both stores whole and tells each partition that is not the same in both. RC_OK, RC_CORRUPT:
 * some differ; otherwise as above. */
enum rc migrate_compare(struct migrate *m);

enum migrate_state { MIGRATE_NONE, MIGRATE_COPYING, MIGRATE_COMPLETE };
struct migrate_status {
    enum migrate_state state;
    char source[MIGRATE_SOURCE_MAX + 1];
};
enum rc migrate_look(struct kv *kv, struct migrate_status *out);

/* Before a store is served: RC_DENIED when it is half a copy, with a sentence. Of a whole copy the
 * record is removed: from here on it goes its own way, and nothing is carried into it any more. */
enum rc migrate_admit(struct kv *kv, char why[MIGRATE_WHY]);

#endif
