/* A reader sees the mailbox as it was, whatever others expunge and maintenance clears away. */
#include "store/fixture.h"

#include <stdio.h>
#include <string.h>

/* The body at an index of the reader's root. */
static void assert_text(struct store_reader *r, size_t index, const char *text)
{
    struct store_message *m = NULL;
    char got[64];
    size_t n;
    assert_rc(store_reader_message(r, index, 0, &m), RC_OK);
    assert_int_equal(store_message_size(m), strlen(text));
    assert_rc(store_message_read(m, 0, got, sizeof got, 0, &n), RC_OK);
    assert_int_equal(n, strlen(text));
    assert_memory_equal(got, text, n);
    store_message_close(&m);
}

static void append_numbered(struct fixture *f, struct store_account *a, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        char text[32];
        int len = snprintf(text, sizeof text, "message %u", i);
        assert_rc(fixture_append(f, a, str_from(text, (size_t)len), NULL, NULL), RC_OK);
    }
}

static void assert_numbered(struct store_reader *r, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        char text[32];
        (void)snprintf(text, sizeof text, "message %u", i);
        assert_text(r, i, text);
    }
}

static void expunged_messages_stay_readable(void **state)
{
    struct fixture *f = *state;
    struct store_reader *r = NULL;
    uint32_t uids[200];
    f->conf.undelete_ns = UINT64_MAX; /* gone with the next maintenance */
    fixture_reopen_store(f);
    struct store_account *a = fixture_account(f, 1);
    append_numbered(f, a, 200);
    assert_rc(store_reader_open(a, 1, 0, &r), RC_OK);
    for (uint32_t i = 0; i < 200; i++)
        uids[i] = i + 1;
    assert_rc(fixture_expunge(a, 1, uids, 100, NULL), RC_OK);
    fixture_maintain(a);
    assert_text(r, 3, "message 3");
    assert_rc(fixture_expunge(a, 1, uids + 100, 100, NULL), RC_OK);
    fixture_maintain(a);
    assert_numbered(r, 200);
    assert_int_equal(store_root_count(store_reader_root(r)), 200);
    store_reader_close(&r);
    fixture_assert_sound(f, 1);

    /* With the reader gone, so are they: maintenance clears away what it had to leave. */
    fixture_maintain(a);
    assert_rc(store_reader_open(a, 1, 0, &r), RC_OK);
    assert_int_equal(store_root_count(store_reader_root(r)), 0);
    store_reader_close(&r);
    struct arena arena;
    struct key from = key_of_kind('d'), to = key_after(key_str(&from), 1);
    struct kv_range range = {.from = key_str(&from), .to = key_str(&to)};
    struct kv_page page;
    arena_init(&arena, 0);
    assert_rc(kv_scan(f->kv, account_part(1), range, 0, 0, &arena, &page), RC_OK);
    assert_int_equal(page.n, 0);
    arena_fini(&arena);
    fixture_close(f, &a);
    fixture_assert_sound(f, 1);
}

static void a_later_reader_is_no_hindrance_to_earlier_graves(void **state)
{
    struct fixture *f = *state;
    struct store_reader *early = NULL, *late = NULL;
    uint32_t first = 1, second = 2;
    f->conf.undelete_ns = UINT64_MAX;
    fixture_reopen_store(f);
    struct store_account *a = fixture_account(f, 1);
    append_numbered(f, a, 3);
    assert_rc(store_reader_open(a, 1, 0, &early), RC_OK);
    assert_rc(fixture_expunge(a, 1, &first, 1, NULL), RC_OK);
    assert_rc(store_reader_open(a, 1, 0, &late), RC_OK);
    assert_rc(fixture_expunge(a, 1, &second, 1, NULL), RC_OK);
    fixture_maintain(a);
    assert_numbered(early, 3);
    store_reader_close(&early);
    fixture_maintain(a);
    assert_int_equal(store_root_count(store_reader_root(late)), 2);
    assert_text(late, 0, "message 1");
    assert_text(late, 1, "message 2");
    struct store_message *m;
    assert_rc(store_reader_message(late, 2, 0, &m), RC_NOTFOUND);
    store_reader_close(&late);
    fixture_close(f, &a);
    fixture_assert_sound(f, 1);
}

/* Also those that somebody expunges; what cannot be opened is left to be asked for alone. */
static void several_are_opened_at_once(void **state)
{
    struct fixture *f = *state;
    struct store_reader *r = NULL;
    uint32_t indices[STORE_AHEAD], uid = 6;
    struct store_message *m[STORE_AHEAD];
    f->conf.undelete_ns = UINT64_MAX;
    fixture_reopen_store(f);
    struct store_account *a = fixture_account(f, 1);
    append_numbered(f, a, 200);
    assert_rc(store_reader_open(a, 1, 0, &r), RC_OK);
    assert_rc(fixture_expunge(a, 1, &uid, 1, NULL), RC_OK);
    fixture_maintain(a);
    for (uint32_t i = 0; i < STORE_AHEAD; i++)
        indices[i] = i < 20 ? i : 3 * i;
    indices[STORE_AHEAD - 1] = 200; /* there is none */
    store_reader_messages(r, indices, STORE_AHEAD, m);
    for (uint32_t i = 0; i < STORE_AHEAD; i++) {
        char text[32], got[32];
        size_t n;
        assert_int_equal(m[i] != NULL, indices[i] < 200);
        if (!m[i])
            continue;
        (void)snprintf(text, sizeof text, "message %u", indices[i]);
        assert_rc(store_message_read(m[i], 0, got, sizeof got, 0, &n), RC_OK);
        assert_int_equal(n, strlen(text));
        assert_memory_equal(got, text, n);
        store_message_close(&m[i]);
    }
    store_reader_messages(r, indices, 0, m);
    store_reader_close(&r);
    fixture_close(f, &a);
    fixture_assert_sound(f, 1);
}

static void what_is_cold_is_said_to_be(void **state)
{
    struct fixture *f = *state;
    struct store_reader *r = NULL;
    struct store_message *m;
    struct store_account *a = fixture_account(f, 1);
    uint32_t uid = 2;
    append_numbered(f, a, 3);
    assert_rc(store_reader_open(a, 1, 0, &r), RC_OK);
    kv_mem_cold(f->kv, true);
    assert_rc(store_reader_message(r, 0, KV_CACHED, &m), RC_AGAIN);
    kv_mem_cold(f->kv, false);
    assert_text(r, 0, "message 0");
    assert_rc(fixture_expunge(a, 1, &uid, 1, NULL), RC_OK);
    kv_mem_cold(f->kv, true);
    assert_rc(store_reader_message(r, 1, KV_CACHED, &m), RC_AGAIN);
    assert_text(r, 1, "message 1");
    assert_text(r, 2, "message 2");
    kv_mem_cold(f->kv, false);
    store_reader_close(&r);
    fixture_close(f, &a);
}

static size_t count_tombstones(struct fixture *f)
{
    struct arena arena;
    struct key from = key_of_kind('d'), to = key_after(key_str(&from), 1);
    struct kv_range range = {.from = key_str(&from), .to = key_str(&to)};
    struct kv_page page;
    arena_init(&arena, 0);
    assert_rc(kv_scan(f->kv, account_part(1), range, 0, 0, &arena, &page), RC_OK);
    arena_fini(&arena);
    return page.n;
}

/* A session goes on with newer roots: what it keeps can be read, and maintenance waits for no more
 * than that. */
static void going_on_with_newer_roots(void **state)
{
    struct fixture *f = *state;
    struct store_reader *r = NULL;
    struct store_root *root, *kept;
    uint32_t uids[] = {2, 3, 5};
    f->conf.undelete_ns = UINT64_MAX;
    fixture_reopen_store(f);
    struct store_account *a = fixture_account(f, 1);
    append_numbered(f, a, 5);
    assert_rc(store_reader_open(a, 1, 0, &r), RC_OK);
    assert_text(r, 0, "message 0");
    /* UIDs 2 and 3 go, 6 comes, and the session may not say so yet. */
    assert_rc(fixture_expunge(a, 1, uids, 2, NULL), RC_OK);
    assert_rc(fixture_append(f, a, STR("message 5"), NULL, NULL), RC_OK);
    assert_rc(store_mailbox_open(a, 1, 0, &root), RC_OK);
    kept = store_root_keep(store_reader_root(r), root);
    store_reader_advance(r, kept);
    store_root_release(&kept);
    fixture_maintain(a);
    assert_int_equal(count_tombstones(f), 1);
    assert_numbered(r, 6);
    /* Another one goes; then it may. */
    assert_rc(fixture_expunge(a, 1, uids + 2, 1, NULL), RC_OK);
    store_reader_advance(r, root); /* no longer the newest */
    store_root_release(&root);
    fixture_maintain(a);
    assert_text(r, 0, "message 0");
    assert_text(r, 1, "message 3");
    assert_text(r, 2, "message 4");
    assert_text(r, 3, "message 5");
    assert_int_equal(count_tombstones(f), 1); /* the first ones are held back no more */
    assert_rc(store_mailbox_open(a, 1, 0, &root), RC_OK);
    store_reader_advance(r, root);
    store_root_release(&root);
    fixture_maintain(a);
    assert_int_equal(count_tombstones(f), 0);
    assert_text(r, 2, "message 5");
    assert_int_equal(store_root_count(store_reader_root(r)), 3);
    store_reader_close(&r);
    fixture_close(f, &a);
    fixture_assert_sound(f, 1);
}

/* Changes elsewhere in the account do not hold maintenance back for a session that is up to date.
 */
static void a_quiet_mailbox_holds_nothing_back(void **state)
{
    struct fixture *f = *state;
    struct store_reader *r = NULL;
    struct store_root *root;
    struct store_append sent = {.mailbox = 3};
    uint32_t uid = 1;
    f->conf.undelete_ns = UINT64_MAX;
    fixture_reopen_store(f);
    struct store_account *a = fixture_account(f, 1);
    append_numbered(f, a, 1);
    assert_rc(store_reader_open(a, 1, 0, &r), RC_OK);
    assert_rc(fixture_append(f, a, STR("x"), &sent, NULL), RC_OK);
    assert_rc(fixture_expunge(a, 3, &uid, 1, NULL), RC_OK);
    fixture_maintain(a);
    assert_int_equal(count_tombstones(f), 1);
    assert_rc(store_mailbox_open(a, 1, 0, &root), RC_OK);
    store_reader_advance(r, root);
    store_root_release(&root);
    fixture_maintain(a);
    assert_int_equal(count_tombstones(f), 0);
    assert_text(r, 0, "message 0");
    store_reader_close(&r);
    fixture_close(f, &a);
}

/* Whatever becomes of a message, its thread is the same; what lies side by side is read with one
 * scan. */
static void threads_are_read_together(void **state)
{
    enum { N = 100 };
    struct fixture *f = *state;
    struct store_reader *r = NULL;
    struct str first = STR("first@x");
    uint32_t indices[N], uids[] = {1, 2, 50, 51};
    uint64_t threads[N], *emails;
    struct arena arena = {0};
    size_t n;
    f->conf.undelete_ns = UINT64_MAX;
    fixture_reopen_store(f);
    struct store_account *a = fixture_account(f, 1);
    for (uint32_t i = 0; i < N; i++) {
        struct store_append how = {.message_id = i ? (struct str){0} : first};
        how.references = &first;
        how.n_references = i && i % 2 == 0;
        indices[i] = i;
        assert_rc(fixture_append(f, a, STR("x"), &how, NULL), RC_OK);
    }
    assert_rc(store_reader_open(a, 1, 0, &r), RC_OK);
    struct store_copy copy = {.from = 1, .to = 2, .uids = uids, .n_uids = 2, .is_move = true};
    assert_rc(fixture_copy(a, &copy, NULL), RC_OK);
    assert_rc(fixture_expunge(a, 1, uids + 2, 2, NULL), RC_OK);
    fixture_maintain(a);
    assert_rc(store_reader_threads(r, indices, N, 0, threads), RC_OK);
    for (uint32_t i = 0; i < N; i++) {
        assert_int_equal(threads[i] == threads[0], i % 2 == 0);
        assert_int_not_equal(threads[i], 0);
    }
    assert_rc(store_reader_thread(r, threads[0], 0, &arena, &emails, &n), RC_OK);
    assert_int_equal(n, N / 2); /* what is gone is still read */
    assert_int_equal(emails[1], store_root_at(store_reader_root(r), 2)->email);
    uint64_t others[2];
    const uint32_t apart[] = {1, 98};
    assert_rc(store_reader_threads(r, apart, 2, 0, others), RC_OK);
    assert_int_equal(others[0], threads[1]);
    assert_int_equal(others[1], threads[98]);
    store_reader_close(&r);
    fixture_maintain(a);
    assert_rc(store_reader_open(a, 1, 0, &r), RC_OK);
    assert_rc(store_reader_thread(r, threads[0], 0, &arena, &emails, &n), RC_OK);
    assert_int_equal(n, N / 2 - 1); /* what was moved is not gone */
    assert_rc(store_reader_thread(r, UINT64_MAX, 0, &arena, &emails, &n), RC_OK);
    assert_int_equal(n, 0);
    store_reader_close(&r);
    arena_fini(&arena);
    fixture_close(f, &a);
    fixture_assert_sound(f, 1);
}

/* A page of rows costs a scan or a few, and not a read for each message. */
static void threads_cost_scans(void **state)
{
    enum { N = 512 };
    struct fixture *f = *state;
    struct kv_mem_stats before, after;
    struct store_reader *r = NULL;
    uint32_t indices[N];
    uint64_t threads[N];
    struct store_account *a = fixture_account(f, 1);
    fixture_append_many(f, a, N);
    for (uint32_t i = 0; i < N; i++)
        indices[i] = i;
    assert_rc(store_reader_open(a, 1, 0, &r), RC_OK);
    kv_mem_stats(f->kv, &before);
    assert_rc(store_reader_threads(r, indices, N, KV_CACHED, threads), RC_OK);
    kv_mem_stats(f->kv, &after);
    assert_true(after.scans - before.scans <= 4);
    assert_int_equal(after.keys_read, before.keys_read);
    store_reader_close(&r);
    fixture_close(f, &a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BOTH(threads_are_read_together),
        ON_MEM(threads_cost_scans),
        ON_BOTH(expunged_messages_stay_readable),
        ON_BOTH(a_later_reader_is_no_hindrance_to_earlier_graves),
        ON_BOTH(several_are_opened_at_once),
        ON_MEM(what_is_cold_is_said_to_be),
        ON_BOTH(going_on_with_newer_roots),
        ON_MEM(a_quiet_mailbox_holds_nothing_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
