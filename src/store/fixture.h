/* What the store's unit tests share: a store over each back end, with a clock that stands still,
 * and calls that wait for their result. Not part of the library. */
#ifndef STORE_FIXTURE_H
#define STORE_FIXTURE_H

#include "store/store_int.h"

#include "base/test.h"

struct fixture_backend {
    const char *name;
    bool is_mem;
};

struct fixture {
    const struct fixture_backend *backend;
    struct clock_fixed clock;
    struct ctx ctx;
    struct store_conf conf;
    struct kv *kv;
    struct store *store;
    char top[64], dir[96];          /* kv_local's */
    struct store_account *open[64]; /* closed at the end when a test has failed */
};

int fixture_set_up(void **state); /* initial state: a struct fixture_backend */
int fixture_tear_down(void **state);
void fixture_reopen_store(struct fixture *f); /* the store anew, on the same kv */
void fixture_reopen(struct fixture *f);       /* kv too, where it is on disk */

extern const struct fixture_backend fixture_mem, fixture_local;
/* A test on both back ends. */
#define ON_BOTH(test)                                                                              \
    {#test " (mem)", test, fixture_set_up, fixture_tear_down, (void *)(uintptr_t)&fixture_mem},    \
    {                                                                                              \
#test " (local)", test, fixture_set_up, fixture_tear_down,                                 \
            (void *)(uintptr_t)&fixture_local                                                      \
    }
#define ON_LOCAL(test)                                                                             \
    {                                                                                              \
#test, test, fixture_set_up, fixture_tear_down, (void *)(uintptr_t)&fixture_local          \
    }
#define ON_MEM(test)                                                                               \
    {                                                                                              \
#test, test, fixture_set_up, fixture_tear_down, (void *)(uintptr_t)&fixture_mem            \
    }

struct store_account *fixture_account(struct fixture *f, uint64_t id); /* created and opened */
struct store_account *fixture_open(struct fixture *f, uint64_t id);
void fixture_close(struct fixture *f, struct store_account **a);

struct kv_blob_id fixture_blob(struct fixture *f, struct store_account *a, struct str text);
void fixture_forget(struct fixture *f, struct kv_blob_id blob);

/* Appends this text with what else `how` says (may be NULL), and waits. */
enum rc fixture_append(struct fixture *f, struct store_account *a, struct str text,
                       const struct store_append *how, struct store_op *out);
/* n messages "x" into the INBOX, queued together, so that they share syncs. */
void fixture_append_many(struct fixture *f, struct store_account *a, uint32_t n);
enum rc fixture_flags(struct store_account *a, const struct store_flag_change *change,
                      struct store_op *out);
enum rc fixture_flag(struct store_account *a, uint32_t mailbox, uint32_t uid,
                     enum store_flag_how how, uint32_t flags);
enum rc fixture_expunge(struct store_account *a, uint32_t mailbox, const uint32_t *uids, size_t n,
                        struct store_op *out);
/* out_uids may be NULL. */
enum rc fixture_copy(struct store_account *a, const struct store_copy *copy, struct store_op *out);
/* Names as "a/b/c". */
enum rc fixture_create(struct store_account *a, const char *name, enum store_role role,
                       struct store_op *out);
enum rc fixture_rename(struct store_account *a, uint32_t id, const char *to);
enum rc fixture_remove(struct store_account *a, uint32_t id);
uint32_t fixture_find(struct store_account *a, const char *name); /* 0: none */
void fixture_maintain(struct store_account *a);                   /* until there is no more */

/* Reads a message and compares it. */
void fixture_assert_body(struct store_account *a, uint64_t email, struct str text);
void fixture_assert_sound(struct fixture *f, uint64_t id); /* fsck of the account and of kv */
/* The mailbox's flags by UID, as "1:S 2: 4:SD" would say. */
void fixture_assert_rows(struct store_account *a, uint32_t mailbox, const char *expected);
struct store_mailbox fixture_mailbox(struct store_account *a, uint32_t id);

#endif
