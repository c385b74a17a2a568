/* What can be wrong with a plug-in is said, and is no crash. */
#include "kv/kv.h"

#include "base/test.h"

static const struct ctx ctx = {.clock = &clock_system};

static void one_that_is_not_there_is_not_found(void **state)
{
    struct kv_rados_conf conf = {.plugin = "/nonexistent/penfold-rados.so"};
    struct kv *kv = (struct kv *)&conf;
    assert_rc(kv_rados_open(&ctx, &conf, &kv), RC_NOTFOUND);
    assert_null(kv);
}

static void another_library_is_refused(void **state)
{
    struct kv_rados_conf conf = {.plugin = "libc.so.6"};
    struct kv *kv = NULL;
    assert_rc(kv_rados_open(&ctx, &conf, &kv), RC_PERM);
    assert_null(kv);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_that_is_not_there_is_not_found),
        cmocka_unit_test(another_library_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
