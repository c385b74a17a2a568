/* What is kept and what goes: packing, tombstones, the change log, restores, destruction, memory;
 * and that fsck sees damage. */
#include "store/fixture.h"

#include "base/mem.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define DAY (86400 * NS_PER_SEC)

static size_t count_rows(struct fixture *f, uint64_t id, char kind)
{
    struct arena arena;
    struct key from = key_of_kind(kind), to = key_after(key_str(&from), 1);
    struct kv_range range = {.from = key_str(&from), .to = key_str(&to)};
    struct kv_page page;
    size_t n = 0;
    arena_init(&arena, 0);
    do {
        assert_rc(kv_scan(f->kv, account_part(id), range, 0, 0, &arena, &page), RC_OK);
        n += page.n;
        if (page.n)
            range.after = page.rows[page.n - 1].key;
    } while (page.has_more);
    arena_fini(&arena);
    return n;
}

static void rows_are_packed(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    fixture_append_many(f, a, 1000);
    uint64_t untidy[4];
    assert_int_equal(store_untidy(f->store, untidy, 4), 1);
    assert_int_equal(untidy[0], 1);
    fixture_maintain(a);
    assert_int_equal(store_untidy(f->store, untidy, 4), 0);
    assert_int_equal(count_rows(f, 1, 'u'), 1000 - 639); /* UIDs 1 to 639 are groups 0 to 4 */
    assert_int_equal(count_rows(f, 1, 'U'), 5);
    uint32_t uids[] = {1, 100, 130, 640, 999};
    for (int i = 0; i < 5; i++)
        assert_rc(fixture_flag(a, 1, uids[i], STORE_FLAGS_ADD, STORE_FLAGGED), RC_OK);
    uint32_t gone[] = {2, 131, 641};
    assert_rc(fixture_expunge(a, 1, gone, 3, NULL), RC_OK);
    fixture_assert_sound(f, 1);
    for (int round = 0; round < 2; round++) {
        struct store_root *root = NULL;
        fixture_close(f, &a);
        fixture_reopen(f);
        a = fixture_open(f, 1);
        assert_rc(store_mailbox_open(a, 1, 0, &root), RC_OK);
        assert_int_equal(store_root_count(root), round ? 1597 : 997);
        for (int i = 0; i < 5; i++) {
            const struct store_row *row = store_root_at(root, store_root_find(root, uids[i]));
            assert_int_equal(row->uid, uids[i]);
            assert_int_equal(row->flags, STORE_FLAGGED);
        }
        for (int i = 0; i < 3; i++)
            assert_int_not_equal(store_root_at(root, store_root_find(root, gone[i]))->uid, gone[i]);
        store_root_release(&root);
        if (round == 0) {
            fixture_append_many(f, a, 600);
            fixture_maintain(a);
            assert_true(count_rows(f, 1, 'u') < 512);
        }
    }
    fixture_close(f, &a);
    fixture_assert_sound(f, 1);
}

static void a_packed_group_that_is_empty_goes(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    uint32_t uids[STORE_BATCH];
    fixture_append_many(f, a, 1000);
    fixture_maintain(a);
    for (uint32_t i = 0; i < 600; i++)
        uids[i] = i + 1;
    assert_rc(fixture_expunge(a, 1, uids, 600, NULL), RC_OK);
    fixture_assert_sound(f, 1);
    fixture_maintain(a);
    assert_int_equal(count_rows(f, 1, 'U'), 1);
    fixture_close(f, &a);
    fixture_reopen(f);
    a = fixture_open(f, 1);
    struct store_root *root;
    assert_rc(store_mailbox_open(a, 1, 0, &root), RC_OK);
    assert_int_equal(store_root_count(root), 400);
    assert_int_equal(store_root_at(root, 0)->uid, 601);
    store_root_release(&root);
    fixture_close(f, &a);
    fixture_assert_sound(f, 1);
}

/* STORE_UNENDED is nobody's to set or to take, and counted wherever the rows come from. */
static void how_a_message_ends_stays_known(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    struct store_append unended = {.flags = STORE_UNENDED};
    uint32_t gone = 2;
    for (int i = 0; i < 3; i++)
        assert_rc(fixture_append(f, a, STR("x"), &unended, NULL), RC_OK);
    assert_rc(fixture_flag(a, 1, 1, STORE_FLAGS_SET, STORE_SEEN), RC_OK);
    assert_rc(fixture_flag(a, 1, 3, STORE_FLAGS_REMOVE, STORE_UNENDED | 31), RC_OK);
    assert_rc(fixture_expunge(a, 1, &gone, 1, NULL), RC_OK);
    fixture_append_many(f, a, 1000);
    assert_rc(fixture_flag(a, 1, 4, STORE_FLAGS_ADD, STORE_UNENDED | STORE_DRAFT), RC_OK);
    for (int round = 0; round < 3; round++) {
        struct store_root *root = NULL;
        assert_rc(store_mailbox_open(a, 1, 0, &root), RC_OK);
        assert_int_equal(store_root_unended(root), 2);
        assert_int_equal(store_root_at(root, 0)->flags, STORE_SEEN | STORE_UNENDED);
        assert_int_equal(store_root_at(root, 1)->flags, STORE_UNENDED);
        assert_int_equal(store_root_at(root, 2)->flags, STORE_DRAFT);
        store_root_release(&root);
        if (round == 0)
            fixture_maintain(a);
        fixture_close(f, &a);
        fixture_reopen(f);
        a = fixture_open(f, 1);
    }
    assert_true(count_rows(f, 1, 'U') > 0);
    fixture_close(f, &a);
    fixture_assert_sound(f, 1);
}

static void a_tombstone_keeps_the_body(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    struct store_op op;
    struct store_append how = {.message_id = STR("m@x")};
    struct store_message *m = NULL;
    struct kv_blob_in *in = NULL;
    struct email e;
    struct attempt t = {.account = a};
    uint32_t uid = 1;
    char text[8];
    size_t got;
    assert_rc(fixture_append(f, a, STR("body"), &how, &op), RC_OK);
    arena_init(&t.arena, 0);
    assert_rc(head_email(&t, op.email, &e), RC_OK);
    arena_fini(&t.arena);
    assert_rc(store_message_open(a, op.email, 0, &m), RC_OK);
    assert_rc(fixture_expunge(a, 1, &uid, 1, NULL), RC_OK);
    assert_rc(store_message_read(m, 0, text, sizeof text, 0, &got), RC_OK);
    assert_int_equal(got, 4);
    store_message_close(&m);
    assert_rc(store_message_open(a, op.email, 0, &m), RC_NOTFOUND);
    fixture_assert_sound(f, 1);
    f->clock.wall += 6 * DAY;
    fixture_maintain(a);
    assert_int_equal(count_rows(f, 1, 'd'), 1);
    assert_int_equal(count_rows(f, 1, 'i'), 1);
    assert_rc(kv_blob_open(f->kv, e.blob, 0, &in), RC_OK);
    kv_blob_close(&in);
    f->clock.wall += 2 * DAY;
    fixture_maintain(a);
    assert_int_equal(count_rows(f, 1, 'd'), 0);
    assert_int_equal(count_rows(f, 1, 'i'), 0);
    assert_rc(kv_blob_open(f->kv, e.blob, 0, &in), RC_NOTFOUND);
    fixture_close(f, &a);
    fixture_assert_sound(f, 1);
}

/* More tombstones than one transaction trims, of messages that share one message id. */
static uint64_t bytes_in(const char *dir)
{
    uint64_t n = 0;
    DIR *d = opendir(dir);
    assert_non_null(d);
    for (struct dirent *entry; (entry = readdir(d));) {
        struct stat st;
        if (fstatat(dirfd(d), entry->d_name, &st, 0) == 0 && S_ISREG(st.st_mode))
            n += (uint64_t)st.st_size;
    }
    closedir(d);
    return n;
}

/* Nothing is kept: what is deleted is gone from the disk with the next maintenance, but for the
 * segment that is being written to. */
static void deleted_mail_gives_its_space_back(void **state)
{
    enum { MESSAGES = 40, SIZE = 60000, SEGMENT = 256 << 10 };
    struct fixture *f = *state;
    char dir[120], *text = mem_zero(SIZE);
    uint32_t uids[MESSAGES];
    memset(text, 'x', SIZE);
    f->conf.undelete_ns = UINT64_MAX;
    fixture_reopen_store(f);
    struct store_account *a = fixture_account(f, 1);
    for (uint32_t i = 0; i < MESSAGES; i++) {
        uids[i] = i + 1;
        assert_rc(fixture_append(f, a, str_from(text, SIZE), NULL, NULL), RC_OK);
    }
    snprintf(dir, sizeof dir, "%s/seg", f->dir);
    assert_true(bytes_in(dir) >= MESSAGES * SIZE);
    assert_rc(fixture_expunge(a, 1, uids, MESSAGES, NULL), RC_OK);
    fixture_maintain(a);
    assert_int_equal(count_rows(f, 1, 'd'), 0);
    assert_rc(kv_local_clean(f->kv), RC_OK);
    assert_true(bytes_in(dir) <= SEGMENT);
    fixture_close(f, &a);
    fixture_assert_sound(f, 1);
    free(text);
}

static void many_tombstones_are_trimmed(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    struct store_append how = {.message_id = STR("same@x")};
    uint32_t uids[700];
    for (uint32_t i = 0; i < 700; i++) {
        uids[i] = i + 1;
        assert_rc(fixture_append(f, a, STR("x"), &how, NULL), RC_OK);
    }
    assert_rc(fixture_expunge(a, 1, uids, 699, NULL), RC_OK);
    f->clock.wall += 8 * DAY;
    fixture_maintain(a);
    assert_int_equal(count_rows(f, 1, 'd'), 0);
    assert_int_equal(count_rows(f, 1, 'i'), 1);
    fixture_close(f, &a);
    fixture_assert_sound(f, 1);
}

static void what_vanished_is_known_for_a_time(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    struct store_op op;
    struct arena arena;
    uint32_t first[] = {2, 3}, second = 1, *uids;
    size_t n;
    arena_init(&arena, 0);
    fixture_append_many(f, a, 3);
    assert_rc(fixture_append(f, a, STR("x"), NULL, &op), RC_OK);
    uint64_t start = op.modseq;
    assert_rc(fixture_expunge(a, 1, first, 2, &op), RC_OK);
    uint64_t middle = op.modseq;
    assert_rc(fixture_expunge(a, 1, &second, 1, &op), RC_OK);
    assert_rc(store_vanished(a, 1, start, &arena, &uids, &n), RC_OK);
    assert_int_equal(n, 3);
    assert_int_equal(uids[0], 1);
    assert_int_equal(uids[2], 3);
    assert_rc(store_vanished(a, 1, middle, &arena, &uids, &n), RC_OK);
    assert_int_equal(n, 1);
    assert_int_equal(uids[0], 1);
    assert_rc(store_vanished(a, 1, op.modseq, &arena, &uids, &n), RC_OK);
    assert_int_equal(n, 0);
    assert_rc(store_vanished(a, 2, start, &arena, &uids, &n), RC_OK);
    assert_int_equal(n, 0);
    assert_int_equal(count_rows(f, 1, 'c'), 6);
    f->clock.wall += 31 * DAY;
    assert_rc(fixture_append(f, a, STR("x"), NULL, &op), RC_OK);
    fixture_maintain(a);
    assert_int_equal(count_rows(f, 1, 'c'), 1);
    assert_int_equal(count_rows(f, 1, 'v'), 0);
    assert_rc(store_vanished(a, 1, middle, &arena, &uids, &n), RC_NOTFOUND);
    assert_rc(store_vanished(a, 1, op.modseq, &arena, &uids, &n), RC_OK);
    arena_fini(&arena);
    fixture_close(f, &a);
    fixture_assert_sound(f, 1);
}

/* --- restores --------------------------------------------------------------------------------- */

static void numbers_jump_after_a_restore(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    struct store_op before, after, again;
    struct arena arena;
    uint32_t *uids;
    size_t n;
    arena_init(&arena, 0);
    assert_rc(fixture_append(f, a, STR("x"), NULL, &before), RC_OK);
    fixture_close(f, &a);
    store_close(&f->store);
    kv_mem_restored(f->kv);
    for (int round = 0; round < 3; round++) { /* once, however often it is opened */
        assert_rc(store_open(&f->ctx, f->kv, &f->conf, &f->store), RC_OK);
        a = fixture_open(f, 1);
        for (uint32_t id = 1; id <= 6; id++)
            assert_int_equal(fixture_mailbox(a, id).uidnext, (id == 1 ? 2 : 1) + STORE_JUMP);
        fixture_close(f, &a);
        store_close(&f->store);
    }
    assert_rc(store_open(&f->ctx, f->kv, &f->conf, &f->store), RC_OK);
    a = fixture_open(f, 1);
    assert_rc(store_vanished(a, 1, before.modseq, &arena, &uids, &n), RC_NOTFOUND);
    assert_rc(store_vanished(a, 1, before.modseq + STORE_JUMP, &arena, &uids, &n), RC_OK);
    assert_rc(fixture_append(f, a, STR("y"), NULL, &after), RC_OK);
    assert_int_equal(after.uid, 2 + STORE_JUMP);
    assert_int_equal(after.modseq, before.modseq + 1 + STORE_JUMP);
    assert_int_equal(after.email, before.email + 1 + STORE_JUMP);
    assert_int_equal(after.uidvalidity, before.uidvalidity);
    assert_rc(fixture_append(f, a, STR("z"), NULL, &again), RC_OK);
    assert_int_equal(again.uid, 3 + STORE_JUMP);
    fixture_assert_body(a, before.email, STR("x"));
    arena_fini(&arena);
    fixture_close(f, &a);
    fixture_assert_sound(f, 1);
}

/* --- the whole account ------------------------------------------------------------------------ */

static void a_destroyed_account_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1), *b = fixture_account(f, 2);
    uint32_t uids[] = {1, 2, 3};
    fixture_append_many(f, a, 5);
    fixture_append_many(f, b, 2);
    assert_rc(fixture_expunge(a, 1, uids, 3, NULL), RC_OK);
    assert_rc(store_account_destroy(f->store, 1), RC_CONFLICT);
    fixture_close(f, &a);
    assert_rc(store_account_destroy(f->store, 3), RC_NOTFOUND);
    assert_rc(store_account_destroy(f->store, 1), RC_OK);
    assert_rc(store_account_destroy(f->store, 1), RC_NOTFOUND);
    assert_rc(store_account_open(f->store, 1, 0, &a), RC_NOTFOUND);
    for (const char *kind = "smuUedctviz"; *kind; kind++)
        assert_int_equal(count_rows(f, 1, *kind), 0);
    struct kv_fsck fsck = {.report = NULL};
    assert_rc(kv_fsck(f->kv, &fsck), RC_OK);
    assert_int_equal(fsck.blobs, 2);
    assert_rc(store_account_create(f->store, 1, (struct store_quota){0}), RC_OK);
    fixture_close(f, &b);
}

/* A crash in the middle: it cannot be opened, and destroying it again goes on. */
static void a_half_destroyed_account_is_no_account(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    unsigned char mem[RECORD_VALUE];
    fixture_append_many(f, a, 5);
    struct hot hot = a->published.hot;
    fixture_close(f, &a);
    fixture_reopen_store(f);
    hot.is_dying = true;
    struct kv_txn *txn = kv_txn_new(account_part(1));
    struct key key = key_hot(), email = key_email(2);
    struct arena arena;
    struct str name = key_str(&email), value;
    struct email e;
    arena_init(&arena, 0);
    assert_rc(kv_get(f->kv, account_part(1), &name, 1, 0, &arena, &value, NULL), RC_OK);
    assert_rc(email_decode(value, &e), RC_OK);
    arena_fini(&arena);
    assert_rc(kv_txn_put(txn, key_str(&key), hot_encode(&hot, mem, sizeof mem)), RC_OK);
    assert_rc(kv_txn_delete(txn, name), RC_OK);
    assert_rc(kv_txn_drop(txn, e.blob), RC_OK);
    assert_rc(kv_commit_wait(f->kv, txn, NULL), RC_OK);
    assert_rc(store_account_open(f->store, 1, 0, &a), RC_NOTFOUND);
    assert_rc(store_account_destroy(f->store, 1), RC_OK);
    struct kv_fsck fsck = {.report = NULL};
    assert_rc(kv_fsck(f->kv, &fsck), RC_OK);
    assert_int_equal(fsck.blobs, 0);
}

static void accounts_stay_in_memory_within_the_budget(void **state)
{
    struct fixture *f = *state;
    struct store_account *a;
    f->conf.memory_bytes = 16 * sizeof(struct store_account);
    fixture_reopen_store(f);
    for (uint64_t id = 1; id <= 40; id++) {
        a = fixture_account(f, id);
        fixture_append_many(f, a, 2);
        fixture_assert_rows(a, 1, "1: 2:");
        fixture_close(f, &a);
    }
    assert_true(f->store->idle_bytes <= f->conf.memory_bytes);
    assert_true(f->store->accounts.count < 20);
    assert_rc(store_account_open(f->store, 1, KV_CACHED, &a), RC_AGAIN);
    assert_rc(store_account_open(f->store, 40, KV_CACHED, &a), RC_OK);
    store_account_close(&a);
    for (uint64_t id = 1; id <= 40; id++) {
        a = fixture_open(f, id);
        fixture_assert_rows(a, 1, "1: 2:");
        fixture_close(f, &a);
    }
}

/* --- fsck sees damage ------------------------------------------------------------------------- */

struct collected {
    struct store_fsck fsck;
    char text[4096];
    size_t n;
};

static void collect(struct store_fsck *fsck, const char *line)
{
    struct collected *c = CONTAINER(fsck, struct collected, fsck);
    c->n += (size_t)snprintf(c->text + c->n, sizeof c->text - c->n, "%s\n", line);
    if (c->n > sizeof c->text)
        c->n = sizeof c->text;
}

struct damage {
    const char *what; /* part of a line that must be there */
    void (*make)(struct fixture *f, struct kv_txn *txn, const struct store_account *a);
};

static void put(struct kv_txn *txn, struct key key, struct str value)
{
    assert_rc(kv_txn_put(txn, key_str(&key), value), RC_OK);
}

static void delete_key(struct kv_txn *txn, struct key key)
{
    assert_rc(kv_txn_delete(txn, key_str(&key)), RC_OK);
}

static unsigned char mem[RECORD_VALUE];

static void wrong_sum(struct fixture *f, struct kv_txn *txn, const struct store_account *a)
{
    struct hot hot = a->published.hot;
    hot.bytes++;
    put(txn, key_hot(), hot_encode(&hot, mem, sizeof mem));
}

static void wrong_count(struct fixture *f, struct kv_txn *txn, const struct store_account *a)
{
    struct mailbox_record m = a->mailboxes[0]->published;
    m.m.unseen--;
    put(txn, key_mailbox(1), mailbox_encode(&m, mem, sizeof mem));
}

static void lost_row(struct fixture *f, struct kv_txn *txn, const struct store_account *a)
{
    delete_key(txn, key_row(1, 2));
}

static void lost_email(struct fixture *f, struct kv_txn *txn, const struct store_account *a)
{
    delete_key(txn, key_email(2));
}

static void damaged_row(struct fixture *f, struct kv_txn *txn, const struct store_account *a)
{
    put(txn, key_row(1, 2), STR("\1\2\3"));
}

static void future_uid(struct fixture *f, struct kv_txn *txn, const struct store_account *a)
{
    struct mailbox_record m = a->mailboxes[0]->published;
    m.m.uidnext = 2;
    put(txn, key_mailbox(1), mailbox_encode(&m, mem, sizeof mem));
}

static void lost_member(struct fixture *f, struct kv_txn *txn, const struct store_account *a)
{
    delete_key(txn, key_member(2, 2));
}

static void extra_member(struct fixture *f, struct kv_txn *txn, const struct store_account *a)
{
    put(txn, key_member(2, 99), STR("\1"));
}

static void wrong_message_id(struct fixture *f, struct kv_txn *txn, const struct store_account *a)
{
    struct message_id i = {.thread = 1, .emails = 9};
    put(txn, key_message_id(str_hash(STR("m@x"), a->published.hot.hash_key)),
        message_id_encode(&i, mem, sizeof mem));
}

static void lost_body(struct fixture *f, struct kv_txn *txn, const struct store_account *a)
{
    struct email e = {.blob = {{9}}, .size = 1, .thread = 2, .n_places = 1, .places = {{1, 2}}};
    put(txn, key_email(2), email_encode(&e, mem, sizeof mem));
}

static void damaged_mailbox(struct fixture *f, struct kv_txn *txn, const struct store_account *a)
{
    put(txn, key_mailbox(3), STR("\7"));
}

static const struct damage damages[] = {
    {"the size is 4, counted 3", wrong_sum},
    {"mailbox 1: the number of unseen messages is 2, counted 3", wrong_count},
    {"message 2: mailbox 1 does not have it as UID 2", lost_row},
    {"mailbox 1: UID 2: message 2 does not name it", lost_email},
    {"mailbox 1: a row is damaged", damaged_row},
    {"mailbox 1: UID 3: is still to be given", future_uid},
    {"message 2: its thread does not have it", lost_member},
    {"a thread has a member that is not there", extra_member},
    {"a message id counts 9 messages, there are 1", wrong_message_id},
    {"message 2: its body cannot be opened: notfound", lost_body},
    {"is damaged", damaged_mailbox},
};

static void fsck_sees_damage(void **state)
{
    struct fixture *f = *state;
    struct store_append how = {.message_id = STR("m@x")};
    for (size_t i = 0; i < sizeof damages / sizeof damages[0]; i++) {
        uint64_t id = 100 + i;
        struct collected c = {.fsck.report = collect};
        struct store_account *a = fixture_account(f, id);
        assert_rc(fixture_append(f, a, STR("x"), &how, NULL), RC_OK);
        fixture_append_many(f, a, 2);
        fixture_assert_sound(f, id);
        struct kv_txn *txn = kv_txn_new(account_part(id));
        damages[i].make(f, txn, a);
        fixture_close(f, &a);
        fixture_reopen_store(f);
        assert_rc(kv_commit_wait(f->kv, txn, NULL), RC_OK);
        assert_rc(store_fsck(f->store, id, &c.fsck), RC_CORRUPT);
        assert_true(c.fsck.faults > 0);
        if (!strstr(c.text, damages[i].what))
            fail_msg("not reported: %s; but:\n%s", damages[i].what, c.text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BOTH(rows_are_packed),
        ON_MEM(a_packed_group_that_is_empty_goes),
        ON_BOTH(how_a_message_ends_stays_known),
        ON_BOTH(a_tombstone_keeps_the_body),
        ON_LOCAL(deleted_mail_gives_its_space_back),
        ON_MEM(many_tombstones_are_trimmed),
        ON_BOTH(what_vanished_is_known_for_a_time),
        ON_MEM(numbers_jump_after_a_restore),
        ON_BOTH(a_destroyed_account_leaves_nothing),
        ON_MEM(a_half_destroyed_account_is_no_account),
        ON_MEM(accounts_stay_in_memory_within_the_budget),
        ON_MEM(fsck_sees_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
