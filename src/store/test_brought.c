/* What is brought from elsewhere is noted with the messages themselves, and forgotten with them. */
#include "store/fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct str origin_of(unsigned n, char mem[STORE_ORIGIN])
{
    memset(mem, 0, STORE_ORIGIN);
    put_u32(mem + 4, n);
    return str_from(mem, STORE_ORIGIN);
}

static enum rc bring(struct fixture *f, struct store_account *a, uint64_t source, unsigned from,
                     size_t n, const char *uidl)
{
    static const char body[] = "Subject: x\r\n\r\n";
    struct kv_blob_id blob = fixture_blob(f, a, str_of(body));
    struct store_append *all = calloc(n, sizeof *all);
    char(*origins)[STORE_ORIGIN] = calloc(n, STORE_ORIGIN);
    char(*ids)[80] = calloc(n, 80);
    struct waiter w;
    for (size_t i = 0; i < n; i++) {
        snprintf(ids[i], 80, "%s%u", uidl, from + (unsigned)i);
        all[i] = (struct store_append){.blob = blob,
                                       .size = sizeof body - 1,
                                       .source = source,
                                       .origin = origin_of(from + (unsigned)i, origins[i]),
                                       .uidl = uidl[0] ? str_of(ids[i]) : (struct str){0}};
    }
    waiter_init(&w);
    enum rc rc = waiter_wait(&w, store_append_many(a, all, n, 0, &w.op));
    fixture_forget(f, blob);
    free(all);
    free(origins);
    free(ids);
    return rc;
}

static size_t count_origins(struct store_account *a, uint64_t source, uint64_t *out_sum)
{
    struct arena arena = {0};
    const char *all;
    uint64_t at = 0;
    size_t n, count = 0;
    *out_sum = 0;
    do {
        assert_rc(store_origins(a, source, &at, &arena, &all, &n), RC_OK);
        for (size_t i = 0; i < n; i++)
            *out_sum += get_u32(all + i * STORE_ORIGIN + 4);
        count += n;
    } while (n);
    arena_fini(&arena);
    return count;
}

static void origins_are_kept_by_source(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    struct waiter w;
    uint64_t sum;
    assert_rc(bring(f, a, 7, 0, 500, ""), RC_OK);
    assert_rc(bring(f, a, 7, 500, 3, ""), RC_OK);
    assert_rc(bring(f, a, 8, 1000, 1, ""), RC_OK);
    assert_int_equal(count_origins(a, 7, &sum), 503);
    assert_int_equal(sum, 502 * 503 / 2);
    assert_int_equal(count_origins(a, 8, &sum), 1);
    assert_int_equal(count_origins(a, 9, &sum), 0);
    fixture_close(f, &a);
    fixture_reopen(f);
    a = fixture_open(f, 1);
    assert_int_equal(count_origins(a, 7, &sum), 503);
    waiter_init(&w);
    assert_rc(waiter_wait(&w, store_origins_forget(a, 7, 0, &w.op)), RC_OK);
    assert_int_equal(count_origins(a, 7, &sum), 0);
    assert_int_equal(count_origins(a, 8, &sum), 1);
    fixture_close(f, &a);
    fixture_assert_sound(f, 1);
}

static size_t count_uidls(struct store_account *a, uint32_t from)
{
    struct arena arena = {0};
    struct store_uidl *all;
    char text[80];
    size_t n, count = 0;
    for (;;) {
        assert_rc(store_uidls(a, 1, from, 0, &arena, &all, &n), RC_OK);
        if (!n)
            break;
        for (size_t i = 0; i < n; i++) {
            assert_true(all[i].uid >= from);
            snprintf(text, sizeof text, "id-%u", all[i].uid);
            assert_true(str_eq(all[i].id, str_of(text)));
            from = all[i].uid + 1;
        }
        count += n;
    }
    arena_fini(&arena);
    return count;
}

static void unique_ids_are_told_from_any_uid(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    assert_rc(bring(f, a, 7, 1, 500, "id-"), RC_OK);
    assert_rc(bring(f, a, 7, 501, 10, ""), RC_OK);
    assert_rc(bring(f, a, 7, 511, 500, "id-"), RC_OK);
    assert_int_equal(count_uidls(a, 0), 1000);
    assert_int_equal(count_uidls(a, 500), 501);
    assert_int_equal(count_uidls(a, 501), 500);
    assert_int_equal(count_uidls(a, 1010), 1);
    assert_int_equal(count_uidls(a, 1011), 0);
    fixture_close(f, &a);
    fixture_assert_sound(f, 1);
}

static void unique_ids_go_with_the_last_message(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    uint32_t uids[] = {1, 2, 3};
    assert_rc(bring(f, a, 7, 1, 3, "id-"), RC_OK);
    assert_rc(fixture_expunge(a, 1, uids, 2, NULL), RC_OK);
    fixture_maintain(a);
    assert_int_equal(count_uidls(a, 0), 3);
    assert_rc(fixture_expunge(a, 1, uids + 2, 1, NULL), RC_OK);
    fixture_maintain(a);
    assert_int_equal(count_uidls(a, 0), 0);
    fixture_close(f, &a);
    fixture_assert_sound(f, 1);
}

/* A client of POP3 would take two for one. */
static void a_copy_has_no_unique_id(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    struct store_root *root;
    uint32_t uid = 1, out;
    assert_rc(bring(f, a, 7, 1, 1, "id-"), RC_OK);
    assert_rc(fixture_copy(a,
                           &(struct store_copy){
                               .from = 1, .to = 1, .uids = &uid, .n_uids = 1, .out_uids = &out},
                           NULL),
              RC_OK);
    assert_rc(store_mailbox_open(a, 1, 0, &root), RC_OK);
    assert_int_equal(store_root_count(root), 2);
    assert_true(store_root_at(root, 0)->flags & STORE_HAS_UIDL);
    assert_false(store_root_at(root, 1)->flags & STORE_HAS_UIDL);
    store_root_release(&root);
    fixture_close(f, &a);
}

static void what_is_no_unique_id_is_refused(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    char text[80];
    memset(text, 'x', sizeof text);
    text[STORE_UIDL_MAX] = 0;
    assert_rc(bring(f, a, 7, 1, 1, text), RC_PERM); /* with the digit: 71 bytes */
    assert_rc(bring(f, a, 7, 1, 1, "a b"), RC_PERM);
    assert_rc(bring(f, a, 7, 1, 1, "\n"), RC_PERM);
    text[STORE_UIDL_MAX - 1] = 0;
    assert_rc(bring(f, a, 7, 1, 1, text), RC_OK);
    fixture_close(f, &a);
}

static void one_brings_at_a_time(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    assert_true(store_bring_lock(a));
    assert_false(store_bring_lock(a));
    store_bring_unlock(a);
    assert_true(store_bring_lock(a));
    store_bring_unlock(a);
    fixture_close(f, &a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BOTH(origins_are_kept_by_source),          ON_BOTH(unique_ids_are_told_from_any_uid),
        ON_BOTH(unique_ids_go_with_the_last_message), ON_MEM(a_copy_has_no_unique_id),
        ON_MEM(what_is_no_unique_id_is_refused),      ON_MEM(one_brings_at_a_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
