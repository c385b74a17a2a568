/* What tests of kv_rados share: a namespace of their own on a throw-away cluster. */
#ifndef RADOS_FIXTURE_H
#define RADOS_FIXTURE_H

#include "rados/rados_int.h"

#include "base/test.h"

/* Path of the cluster's ceph.conf. Where it is not set, the program says so and is skipped. */
#define FIXTURE_CEPH "PENFOLD_TEST_CEPH"

struct fixture {
    struct ctx ctx;
    char name[64];
    struct kv_rados_conf conf; /* a test may change it before it opens a store */
    struct kv *kv;             /* open at the begin of the test */
    struct arena arena;
};

/* cmocka's, for each test. */
int fixture_set_up(void **state);
int fixture_tear_down(void **state); /* closes f->kv when it is open */

struct kv *fixture_open(struct fixture *f); /* one more on the same namespace */
void fixture_reopen(struct fixture *f);

uint64_t fixture_put(struct kv *kv, struct kv_part part, struct str key, struct str value);
/* Asserts that the row is (or, absent, is not) there. */
void fixture_check(struct fixture *f, struct kv *kv, struct kv_part part, struct str key,
                   struct str value);
uint64_t fixture_version(struct kv *kv, struct kv_part part);
/* All rows of the partition, counted page after page. */
size_t fixture_count(struct fixture *f, struct kv *kv, struct kv_part part);

/* What ends a process at a step, as if it had crashed there: the hooks of a store that is opened.
 */
struct fixture_crash {
    struct kv_rados_hooks hooks; /* .step = fixture_crash_at */
    const char *step;
    _Atomic int left; /* times that it comes there */
};
void fixture_crash_at(const struct kv_rados_hooks *hooks, const char *name);
enum { FIXTURE_CRASHED = 99 }; /* how such a process ends */

#define fixture_test(function)                                                                     \
    cmocka_unit_test_setup_teardown(function, fixture_set_up, fixture_tear_down)
/* main's: 77, which tells meson that the test was skipped, without a cluster. */
#define fixture_run(tests)                                                                         \
    (fixture_is_there() ? cmocka_run_group_tests(tests, NULL, NULL) : FIXTURE_SKIPPED)
enum { FIXTURE_SKIPPED = 77 };
bool fixture_is_there(void);

#endif
