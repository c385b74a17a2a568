/* What a delivery, a flag change and an expunge read and write is the same in a mailbox of 10
 * messages and of 1,000,000, whether its rows are in memory or not, packed or not. */
#include "store/fixture.h"

static void put(struct kv_txn *txn, struct key key, struct str value)
{
    assert_rc(kv_txn_put(txn, key_str(&key), value), RC_OK);
}

static struct store_row row_of(uint32_t uid)
{
    return (struct store_row){.uid = uid, .email = uid, .modseq = 1, .size = 4, .received = uid};
}

/* Rows of an account that is not open, as maintenance would have packed them. */
static void write_packed(struct fixture *f, uint64_t id, uint32_t n)
{
    static unsigned char mem[PACKED_MAX];
    struct store_row rows[RECORD_PACK];
    struct kv_txn *txn = kv_txn_new(account_part(id));
    size_t k = 0;
    for (uint32_t uid = 1; uid <= n; uid++) {
        rows[k++] = row_of(uid);
        if (uid % RECORD_PACK != RECORD_PACK - 1 && uid != n)
            continue;
        put(txn, key_packed(1, uid), packed_encode(rows, k, mem, sizeof mem));
        k = 0;
        if (kv_txn_rows(txn) == 1000) {
            assert_rc(kv_commit_wait(f->kv, txn, NULL), RC_OK);
            txn = kv_txn_new(account_part(id));
        }
    }
    assert_rc(kv_commit_wait(f->kv, txn, NULL), RC_OK);
}

static void write_email(struct fixture *f, uint64_t id, uint32_t uid)
{
    unsigned char mem[RECORD_VALUE];
    struct email e = {.size = 4, .received = uid, .created = 1, .thread = uid, .n_places = 1};
    e.places[0] = (struct place){1, uid};
    e.blob = (struct kv_blob_id){{1, 2, 3}};
    struct kv_txn *txn = kv_txn_new(account_part(id));
    put(txn, key_email(uid), email_encode(&e, mem, sizeof mem));
    put(txn, key_member(uid, uid), STR("\1"));
    assert_rc(kv_commit_wait(f->kv, txn, NULL), RC_OK);
}

static void write_numbers(struct fixture *f, uint64_t id, uint32_t n)
{
    unsigned char mem[RECORD_VALUE];
    struct store_account *a = fixture_open(f, id);
    struct mailbox_record m = a->mailboxes[0]->head;
    struct hot hot = a->head.hot;
    struct kv_txn *txn = kv_txn_new(account_part(id));
    m.m.uidnext = m.packed = n + 1;
    m.m.exists = m.m.unseen = n;
    m.m.bytes = hot.bytes = n * UINT64_C(4);
    hot.messages = n;
    hot.next_email = hot.next_thread = n + 1;
    put(txn, key_mailbox(1), mailbox_encode(&m, mem, sizeof mem));
    put(txn, key_hot(), hot_encode(&hot, mem, sizeof mem));
    fixture_close(f, &a);
    fixture_reopen_store(f);
    assert_rc(kv_commit_wait(f->kv, txn, NULL), RC_OK);
}

static void make_large(struct fixture *f, uint64_t id, uint32_t n, const uint32_t *uids, size_t k)
{
    assert_rc(store_account_create(f->store, id, (struct store_quota){0}), RC_OK);
    write_packed(f, id, n);
    write_numbers(f, id, n);
    for (size_t i = 0; i < k; i++)
        write_email(f, id, uids[i]);
}

static void make_small(struct fixture *f, uint64_t id)
{
    struct store_account *a = fixture_account(f, id);
    for (int i = 0; i < 10; i++)
        assert_rc(fixture_append(f, a, STR("1234"), NULL, NULL), RC_OK);
    fixture_close(f, &a);
    fixture_reopen_store(f);
}

/* --- what it costs ---------------------------------------------------------------------------- */

static struct kv_mem_stats since(struct fixture *f, const struct kv_mem_stats *before)
{
    struct kv_mem_stats now;
    kv_mem_stats(f->kv, &now);
    now.keys_read -= before->keys_read;
    now.keys_written -= before->keys_written;
    now.scans -= before->scans;
    now.rows_scanned -= before->rows_scanned;
    now.blobs_read -= before->blobs_read;
    now.commits -= before->commits;
    return now;
}

static struct kv_mem_stats cost_of_delivery(struct fixture *f, struct store_account *a)
{
    struct kv_mem_stats before;
    struct str reference = STR("unknown@example.test");
    struct store_append how = {.message_id = STR("this@example.test"),
                               .references = &reference,
                               .n_references = 1,
                               .delivery_id = STR("0123456789abcdef")};
    kv_mem_stats(f->kv, &before);
    assert_rc(fixture_append(f, a, STR("1234"), &how, NULL), RC_OK);
    return since(f, &before);
}

static struct kv_mem_stats cost_of_flag(struct fixture *f, struct store_account *a, uint32_t uid)
{
    struct kv_mem_stats before;
    kv_mem_stats(f->kv, &before);
    assert_rc(fixture_flag(a, 1, uid, STORE_FLAGS_ADD, STORE_SEEN), RC_OK);
    return since(f, &before);
}

static struct kv_mem_stats cost_of_expunge(struct fixture *f, struct store_account *a, uint32_t uid)
{
    struct kv_mem_stats before;
    struct store_op op;
    kv_mem_stats(f->kv, &before);
    assert_rc(fixture_expunge(a, 1, &uid, 1, &op), RC_OK);
    assert_int_equal(op.changed, 1);
    return since(f, &before);
}

static void assert_cost(struct kv_mem_stats a, struct kv_mem_stats b)
{
    assert_int_equal(a.keys_read, b.keys_read);
    assert_int_equal(a.keys_written, b.keys_written);
    assert_int_equal(a.scans, b.scans);
    assert_int_equal(a.rows_scanned, b.rows_scanned);
    assert_int_equal(a.blobs_read, b.blobs_read);
    assert_int_equal(a.commits, b.commits);
}

/* What a client that was away is told of: what came, and three that went [RFC7162 3.2.5]. */
static void assert_looking_back(struct fixture *f, struct store_account *a, uint64_t modseq,
                                size_t came)
{
    struct kv_mem_stats before;
    struct store_root *root;
    struct arena arena;
    uint32_t *uids;
    size_t n, at = 0, found = 0, looked = 0;
    assert_rc(store_mailbox_open(a, 1, 0, &root), RC_OK);
    kv_mem_stats(f->kv, &before);
    arena_init(&arena, 0);
    assert_rc(store_vanished(a, 1, modseq, &arena, &uids, &n), RC_OK);
    assert_int_equal(n, 3);
    assert_true(since(f, &before).rows_scanned <= 4);
    while ((at = store_root_changed(root, at, store_root_count(root), modseq, &looked)) <
           store_root_count(root)) {
        at++;
        found++;
    }
    assert_int_equal(found, came);
    assert_true(looked <= 4 * 256);
    arena_fini(&arena);
    store_root_release(&root);
}

static void compare(struct fixture *f, bool is_loaded)
{
    enum { LARGE = 1000000 };
    static const uint32_t uids[] = {5, 500000, LARGE - 1};
    make_small(f, 10);
    make_large(f, 11, LARGE, uids, 3);
    struct store_account *small = fixture_open(f, 10), *large = fixture_open(f, 11);
    struct store_root *root = NULL;
    if (is_loaded) {
        assert_rc(store_mailbox_open(small, 1, 0, &root), RC_OK);
        store_root_release(&root);
        assert_rc(store_mailbox_open(large, 1, 0, &root), RC_OK);
        assert_int_equal(store_root_count(root), LARGE);
        assert_int_equal(store_root_at(root, 777776)->uid, 777777);
    }
    struct kv_mem_stats delivery = cost_of_delivery(f, small), flag = cost_of_flag(f, small, 5),
                        expunge = cost_of_expunge(f, small, 5);
    print_message("delivery: %zu read, %zu written; flags: %zu, %zu; expunge: %zu, %zu\n",
                  (size_t)delivery.keys_read, (size_t)delivery.keys_written, (size_t)flag.keys_read,
                  (size_t)flag.keys_written, (size_t)expunge.keys_read,
                  (size_t)expunge.keys_written);
    assert_int_equal(delivery.commits, 1);
    assert_int_equal(delivery.scans, 0);
    assert_true(delivery.keys_written <= 8);
    assert_cost(delivery, cost_of_delivery(f, large));
    uint64_t modseq = fixture_mailbox(large, 1).highest_modseq - 1; /* before the delivery */
    for (size_t i = 0; i < 3; i++) {
        assert_cost(flag, cost_of_flag(f, large, uids[i]));
        assert_cost(expunge, cost_of_expunge(f, large, uids[i]));
    }
    assert_int_equal(fixture_mailbox(large, 1).exists, LARGE - 2);
    if (is_loaded)
        assert_looking_back(f, large, modseq, 1);
    if (is_loaded)
        assert_int_equal(store_root_count(root), LARGE);
    store_root_release(&root);
    fixture_close(f, &small);
    fixture_close(f, &large);
}

static void costs_do_not_grow_when_rows_are_in_memory(void **state)
{
    compare(*state, true);
}

static void costs_do_not_grow_when_rows_are_not_in_memory(void **state)
{
    compare(*state, false);
}

/* Opening an account reads its mailboxes and not their rows. */
static void opening_does_not_read_rows(void **state)
{
    struct fixture *f = *state;
    struct kv_mem_stats before, small, large;
    make_small(f, 10);
    make_large(f, 11, 20000, NULL, 0);
    kv_mem_stats(f->kv, &before);
    struct store_account *a = fixture_open(f, 10);
    small = since(f, &before);
    kv_mem_stats(f->kv, &before);
    struct store_account *b = fixture_open(f, 11);
    large = since(f, &before);
    assert_cost(small, large);
    fixture_close(f, &a);
    fixture_close(f, &b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_MEM(costs_do_not_grow_when_rows_are_in_memory),
        ON_MEM(costs_do_not_grow_when_rows_are_not_in_memory),
        ON_MEM(opening_does_not_read_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
