/* What tests of kv_rados share. */
#include "rados/fixture.h"

#include "base/mem.h"
#include "base/random.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool fixture_is_there(void)
{
    if (getenv(FIXTURE_CEPH))
        return true;
    print_message("skipped, %s is not set\n", FIXTURE_CEPH);
    return false;
}

struct kv *fixture_open(struct fixture *f)
{
    struct kv *kv = NULL;
    assert_rc(rad_open(&f->ctx, &f->conf, &kv), RC_OK);
    return kv;
}

int fixture_set_up(void **state)
{
    struct fixture *f = mem_zero(sizeof *f);
    f->ctx.clock = &clock_system;
    snprintf(f->name, sizeof f->name, "test-%" PRIx64, random_u64());
    f->conf = (struct kv_rados_conf){.conf = getenv(FIXTURE_CEPH), .name = f->name, .trust_ms = 1};
    f->kv = fixture_open(f);
    *state = f;
    return 0;
}

int fixture_tear_down(void **state)
{
    struct fixture *f = *state;
    kv_close(&f->kv);
    arena_fini(&f->arena);
    free(f);
    return 0;
}

void fixture_reopen(struct fixture *f)
{
    kv_close(&f->kv);
    f->kv = fixture_open(f);
}

uint64_t fixture_put(struct kv *kv, struct kv_part part, struct str key, struct str value)
{
    uint64_t version = 0;
    struct kv_txn *txn = kv_txn_new(part);
    assert_rc(kv_txn_put(txn, key, value), RC_OK);
    assert_rc(kv_commit_wait(kv, txn, &version), RC_OK);
    return version;
}

void fixture_check(struct fixture *f, struct kv *kv, struct kv_part part, struct str key,
                   struct str value)
{
    struct str found = {0};
    assert_rc(kv_get(kv, part, &key, 1, 0, &f->arena, &found, NULL), RC_OK);
    assert_true(str_eq(found, value) && str_is_null(found) == str_is_null(value));
}

uint64_t fixture_version(struct kv *kv, struct kv_part part)
{
    uint64_t version = UINT64_MAX;
    assert_rc(kv_version(kv, part, 0, &version), RC_OK);
    return version;
}

size_t fixture_count(struct fixture *f, struct kv *kv, struct kv_part part)
{
    struct kv_range range = {0};
    struct kv_page page;
    size_t n = 0;
    do {
        assert_rc(kv_scan(kv, part, range, 0, 0, &f->arena, &page), RC_OK);
        n += page.n;
        if (page.n > 0)
            range.after = page.rows[page.n - 1].key;
    } while (page.has_more);
    return n;
}

void fixture_crash_at(const struct kv_rados_hooks *hooks, const char *name)
{
    struct fixture_crash *c = (struct fixture_crash *)(uintptr_t)hooks; /* its first member */
    if (strcmp(name, c->step) == 0 && atomic_fetch_sub(&c->left, 1) == 1)
        _exit(FIXTURE_CRASHED);
}
