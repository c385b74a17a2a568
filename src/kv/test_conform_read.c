/* Conformance 2: reading. One published state at a time, key order, bounds, pages, isolation. */
#include "kv/conform.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>

static void t201(void **state)
{
    struct conform *c = *state;
    const struct str keys[] = {STR("b"), STR("nothing"), STR("a"), STR("b")};
    struct str values[4];
    uint64_t version = 99;
    assert_rc(kv_get(c->kv, CONFORM_PART, keys, 4, 0, &c->arena, values, &version), RC_OK);
    assert_int_equal(version, 0);
    for (int i = 0; i < 4; i++)
        assert_null(values[i].p);
    conform_put(c, CONFORM_PART, STR("a"), STR("1"));
    conform_put(c, CONFORM_PART, STR("b"), STR("2"));
    assert_rc(kv_get(c->kv, CONFORM_PART, keys, 4, 0, &c->arena, values, &version), RC_OK);
    assert_int_equal(version, 2);
    assert_str(values[0], "2");
    assert_null(values[1].p);
    assert_str(values[2], "1");
    assert_str(values[3], "2");
    assert_rc(kv_get(c->kv, CONFORM_PART, NULL, 0, 0, &c->arena, NULL, &version), RC_OK);
    assert_int_equal(version, 2);
}

/* Keys in which an encoding could go wrong, in their order. */
static const struct str odd_keys[] = {
    STR_INIT("\0"),
    STR_INIT("\0\0"),
    STR_INIT("\0\1"),
    STR_INIT("\0\xff"),
    STR_INIT("\1"),
    STR_INIT("a"),
    STR_INIT("a\0"),
    STR_INIT("a\0\0"),
    STR_INIT("a\0\xff"),
    STR_INIT("a\1"),
    STR_INIT("a\xfe"),
    STR_INIT("a\xff"),
    STR_INIT("a\xff\0"),
    STR_INIT("a\xff\xff"),
    STR_INIT("b"),
    STR_INIT("b/../c"),
    STR_INIT("\x7f"),
    STR_INIT("\x80"),
    STR_INIT("\xfe"),
    STR_INIT("\xfe\xff\xff\xff\xff\xff\xff\xff"),
    STR_INIT("\xfe\xff\xff\xff\xff\xff\xff\xff\xff"),
};
enum { ODD_KEYS = sizeof odd_keys / sizeof *odd_keys };

static void put_odd_keys(struct conform *c, struct kv_part part)
{
    struct kv_txn *txn = kv_txn_new(part);
    for (size_t i = ODD_KEYS; i-- > 0;)
        assert_rc(kv_txn_put(txn, odd_keys[i], odd_keys[i]), RC_OK);
    assert_rc(kv_commit_wait(c->kv, txn, NULL), RC_OK);
}

static void t202(void **state)
{
    struct conform *c = *state;
    struct kv_page page;
    put_odd_keys(c, CONFORM_PART);
    assert_rc(kv_scan(c->kv, CONFORM_PART, (struct kv_range){0}, 0, 0, &c->arena, &page), RC_OK);
    assert_int_equal(page.n, ODD_KEYS);
    assert_false(page.has_more);
    assert_int_equal(page.version, 1);
    for (size_t i = 0; i < page.n; i++) {
        assert_true(str_eq(page.rows[i].key, odd_keys[i]));
        assert_true(str_eq(page.rows[i].value, odd_keys[i]));
        assert_true(str_eq(conform_get(c, CONFORM_PART, odd_keys[i]), odd_keys[i]));
    }
}

static bool is_in_range(struct str key, const struct kv_range *range)
{
    return str_cmp(key, range->from) >= 0 &&
           (str_is_null(range->to) || str_cmp(key, range->to) < 0) &&
           (str_is_null(range->after) || str_cmp(key, range->after) > 0);
}

/* One range in pages of `max_rows`, against what the sorted list says. */
static void check_range(struct conform *c, struct kv_range range, size_t max_rows)
{
    struct kv_page page;
    struct kv_range at = range;
    size_t next = 0;
    do {
        assert_rc(kv_scan(c->kv, CONFORM_PART, at, max_rows, 0, &c->arena, &page), RC_OK);
        assert_true(max_rows == 0 || page.n <= max_rows);
        for (size_t i = 0; i < page.n; i++, next++) {
            while (next < ODD_KEYS && !is_in_range(odd_keys[next], &range))
                next++;
            assert_true(next < ODD_KEYS && str_eq(page.rows[i].key, odd_keys[next]));
        }
        if (page.has_more) {
            assert_true(page.n > 0);
            at.after = page.rows[page.n - 1].key;
        }
    } while (page.has_more);
    while (next < ODD_KEYS && !is_in_range(odd_keys[next], &range))
        next++;
    assert_int_equal(next, ODD_KEYS);
}

static void t203(void **state)
{
    struct conform *c = *state;
    put_odd_keys(c, CONFORM_PART);
    put_odd_keys(c, (struct kv_part){KV_ACCOUNT, 2}); /* a neighbour that must not show */
    put_odd_keys(c, (struct kv_part){KV_ACCOUNT, 0});
    for (size_t i = 0; i <= ODD_KEYS; i++) {
        struct str first = i < ODD_KEYS ? odd_keys[i] : (struct str){0};
        for (size_t j = 0; j <= ODD_KEYS; j++) {
            struct str second = j < ODD_KEYS ? odd_keys[j] : (struct str){0};
            check_range(c, (struct kv_range){.from = first, .to = second}, 0);
            check_range(c, (struct kv_range){.after = first, .to = second}, 4);
            check_range(c, (struct kv_range){.from = first, .after = second}, 0);
        }
        arena_reset(&c->arena);
    }
    for (size_t max = 1; max <= ODD_KEYS + 1; max++)
        check_range(c, (struct kv_range){0}, max);
    check_range(c, (struct kv_range){.from = STR("a\0x"), .to = STR("zz"), .after = STR("a!")}, 3);
    check_range(c, (struct kv_range){.from = STR("a"), .to = STR("\xff\xff")}, 5);
    check_range(c, (struct kv_range){.from = STR("\xff")}, 5);
}

static void t204(void **state)
{
    struct conform *c = *state;
    struct kv_page page;
    struct kv_range range = {0};
    enum { N = 2 * KV_PAGE_ROWS + 1 };
    struct kv_txn *txn = kv_txn_new(CONFORM_PART);
    char key[16];
    for (int i = 0; i < N; i++) {
        snprintf(key, sizeof key, "%06d", i);
        assert_rc(kv_txn_put(txn, str_of(key), STR("v")), RC_OK);
    }
    assert_rc(kv_commit_wait(c->kv, txn, NULL), RC_OK);
    for (int i = 0; i < 3; i++) {
        assert_rc(kv_scan(c->kv, CONFORM_PART, range, i == 1 ? 100000 : 0, 0, &c->arena, &page),
                  RC_OK);
        assert_int_equal(page.n, i < 2 ? KV_PAGE_ROWS : 1);
        assert_int_equal(page.has_more, i < 2);
        range.after = page.rows[page.n - 1].key;
    }
    assert_str(range.after, "002048");
    /* The last page is full and there is nothing behind it. */
    range = (struct kv_range){.from = STR("001000"), .to = STR("001010")};
    assert_rc(kv_scan(c->kv, CONFORM_PART, range, 10, 0, &c->arena, &page), RC_OK);
    assert_int_equal(page.n, 10);
    assert_false(page.has_more);
    assert_rc(kv_scan(c->kv, CONFORM_PART, range, 9, 0, &c->arena, &page), RC_OK);
    assert_true(page.has_more);
}

static void t205(void **state)
{
    enum { N = 20, SIZE = KV_PAGE_BYTES / 4 };
    struct conform *c = *state;
    struct kv_page page = {.has_more = true};
    struct kv_range range = {0};
    char *value = mem_zero(SIZE);
    size_t rows = 0;
    for (int i = 0; i < N; i++)
        conform_put(c, CONFORM_PART, conform_key(c, "%02d", i), str_from(value, SIZE));
    for (; page.has_more; rows += page.n) {
        assert_rc(kv_scan(c->kv, CONFORM_PART, range, 0, KV_ONCE, &c->arena, &page), RC_OK);
        assert_in_range(page.n, 1, KV_PAGE_BYTES / SIZE + 1);
        range.after = arena_dup(&c->arena, page.rows[page.n - 1].key);
    }
    assert_int_equal(rows, N);
    free(value);
}

static void t206(void **state)
{
    static const struct kv_part parts[] = {
        {KV_ACCOUNT, 0}, {KV_ACCOUNT, 1},        {KV_ACCOUNT, 256},      {KV_ACCOUNT, UINT64_MAX},
        {KV_CACHE, 1},   {KV_QUEUE, 1},          {KV_DIRECTORY, 1},      {KV_GLOBAL, 1},
        {KV_JOBS, 1},    {KV_CACHE, 1ull << 56}, {KV_QUEUE, UINT64_MAX},
    };
    enum { N = sizeof parts / sizeof *parts };
    struct conform *c = *state;
    for (size_t i = 0; i < N; i++)
        for (size_t n = 0; n <= i; n++)
            conform_put(c, parts[i], STR("k"), conform_key(c, "%zu", i));
    if (c->backend->is_persistent)
        conform_reopen(c);
    for (size_t i = 0; i < N; i++) {
        struct kv_page page;
        assert_int_equal(conform_version(c, parts[i]), i + 1);
        assert_true(str_eq(conform_get(c, parts[i], STR("k")), conform_key(c, "%zu", i)));
        assert_rc(kv_scan(c->kv, parts[i], (struct kv_range){0}, 0, 0, &c->arena, &page), RC_OK);
        assert_int_equal(page.n, 1);
    }
    struct kv_txn *txn = kv_txn_new(parts[1]);
    assert_rc(kv_txn_trim(txn, (struct str){0}, (struct str){0}), RC_OK);
    assert_rc(kv_commit_wait(c->kv, txn, NULL), RC_OK);
    for (size_t i = 0; i < N; i++)
        assert_int_equal(conform_get(c, parts[i], STR("k")).n == 0, i == 1);
}

static void t207(void **state)
{
    struct conform *c = *state;
    struct kv_page page;
    assert_rc(kv_scan(c->kv, CONFORM_PART, (struct kv_range){0}, 0, 0, &c->arena, &page), RC_OK);
    assert_int_equal(page.n, 0);
    assert_int_equal(page.version, 0);
    assert_false(page.has_more);
    conform_put(c, CONFORM_PART, STR("k"), STR("v"));
    struct kv_range empty = {.from = STR("z"), .to = STR("a")};
    assert_rc(kv_scan(c->kv, CONFORM_PART, empty, 0, 0, &c->arena, &page), RC_OK);
    assert_int_equal(page.n, 0);
    assert_int_equal(page.version, 1);
}

static void t208(void **state)
{
    struct conform *c = *state;
    struct kv_part jobs = {KV_JOBS, 3};
    struct kv_page page;
    uint64_t epoch;
    conform_put(c, jobs, STR("k"), STR("v"));
    assert_rc(kv_lease_take(c->kv, jobs, STR("n"), STR("me"), NS_PER_SEC, &epoch), RC_OK);
    assert_rc(kv_scan(c->kv, jobs, (struct kv_range){0}, 0, 0, &c->arena, &page), RC_OK);
    assert_int_equal(page.n, 1);
    assert_no_row(c, jobs, "\xffln");
    struct kv_txn *txn = kv_txn_new(jobs);
    assert_rc(kv_txn_trim(txn, (struct str){0}, (struct str){0}), RC_OK);
    assert_rc(kv_txn_trim(txn, STR("k"), STR("\xff\xff")), RC_OK);
    assert_rc(kv_txn_trim(txn, STR("\xff"), STR("\xff\xff")), RC_OK);
    assert_rc(kv_txn_assert_lease(txn, STR("n"), epoch), RC_OK);
    assert_rc(kv_commit_wait(c->kv, txn, NULL), RC_OK);
    txn = kv_txn_new(jobs);
    assert_rc(kv_txn_assert_lease(txn, STR("n"), epoch), RC_OK);
    assert_rc(kv_commit_wait(c->kv, txn, NULL), RC_OK); /* the trim has left it */
}

static void t209(void **state)
{
    struct conform *c = *state;
    struct arena small;
    struct str value;
    struct kv_page page;
    struct str key = STR("k");
    char bytes[10000];
    memset(bytes, 'v', sizeof bytes);
    arena_init(&small, 1000);
    conform_put(c, CONFORM_PART, key, str_from(bytes, sizeof bytes));
    assert_rc(kv_get(c->kv, CONFORM_PART, &key, 1, 0, &small, &value, NULL), RC_LIMIT);
    assert_rc(kv_scan(c->kv, CONFORM_PART, (struct kv_range){0}, 0, 0, &small, &page), RC_LIMIT);
    arena_fini(&small);
}

/* Without waiting there is the right answer or none. */
static void t210(void **state)
{
    struct conform *c = *state;
    struct str key = STR("k"), value;
    struct kv_page page;
    struct kv_blob_in *in;
    struct kv_writer *writer;
    unsigned char byte = 0;
    size_t got;
    uint64_t version;
    struct kv_blob_id id = conform_blob(c, CONFORM_PART, 1, 1);
    assert_rc(conform_ref(c, CONFORM_PART, id), RC_OK);
    kv_blob_forget(c->kv, id);
    conform_put(c, CONFORM_PART, key, STR("v"));
    if (c->backend->is_persistent)
        conform_reopen(c);
    enum rc rc = kv_version(c->kv, CONFORM_PART, KV_CACHED, &version);
    assert_true(rc == RC_AGAIN || (rc == RC_OK && version == 2));
    rc = kv_get(c->kv, CONFORM_PART, &key, 1, KV_CACHED, &c->arena, &value, &version);
    assert_true(rc == RC_AGAIN || (rc == RC_OK && version == 2 && str_eq(value, STR("v"))));
    rc = kv_scan(c->kv, CONFORM_PART, (struct kv_range){0}, 0, KV_CACHED, &c->arena, &page);
    assert_true(rc == RC_AGAIN || (rc == RC_OK && page.n == 1 && page.version == 2));
    rc = kv_writer_open(c->kv, CONFORM_PART, KV_CACHED, &writer);
    assert_true(rc == RC_AGAIN || (rc == RC_OK && kv_writer_head(writer) == 2));
    kv_writer_close(&writer);
    rc = kv_blob_open(c->kv, id, KV_CACHED, &in);
    if (rc == RC_AGAIN)
        assert_rc(kv_blob_open(c->kv, id, 0, &in), RC_OK);
    else
        assert_rc(rc, RC_OK);
    rc = kv_blob_read(in, 0, &byte, 1, KV_CACHED, &got);
    assert_true(rc == RC_AGAIN || (rc == RC_OK && got == 1 && byte == conform_byte(1, 0)));
    kv_blob_close(&in);
}

static void t211(void **state)
{
    enum { LONG = KV_KEY_MAX + 1 };
    static struct str keys[KV_GET_KEYS + 1], values[KV_GET_KEYS + 1];
    struct conform *c = *state;
    struct kv_page page;
    char bytes[LONG];
    memset(bytes, 'k', LONG);
    struct str too_long = str_from(bytes, LONG), empty = STR("");
    conform_put(c, CONFORM_PART, str_from(bytes, KV_KEY_MAX), STR("v"));
    assert_rc(kv_get(c->kv, CONFORM_PART, &too_long, 1, 0, &c->arena, values, NULL), RC_PERM);
    assert_rc(kv_get(c->kv, CONFORM_PART, &empty, 1, 0, &c->arena, values, NULL), RC_PERM);
    struct kv_range bad[] = {{.from = too_long}, {.to = too_long}, {.after = too_long}};
    for (int i = 0; i < 3; i++)
        assert_rc(kv_scan(c->kv, CONFORM_PART, bad[i], 0, 0, &c->arena, &page), RC_PERM);
    struct kv_range longest = {.after = str_from(bytes, KV_KEY_MAX - 1)};
    assert_rc(kv_scan(c->kv, CONFORM_PART, longest, 0, 0, &c->arena, &page), RC_OK);
    assert_int_equal(page.n, 1);
    longest.after = page.rows[0].key;
    assert_rc(kv_scan(c->kv, CONFORM_PART, longest, 0, 0, &c->arena, &page), RC_OK);
    assert_int_equal(page.n, 0);
    longest = (struct kv_range){.after = empty};
    assert_rc(kv_scan(c->kv, CONFORM_PART, longest, 0, 0, &c->arena, &page), RC_OK);
    assert_int_equal(page.n, 1);
    for (int i = 0; i <= KV_GET_KEYS; i++)
        keys[i] = str_from(bytes, KV_KEY_MAX);
    assert_rc(kv_get(c->kv, CONFORM_PART, keys, KV_GET_KEYS + 1, 0, &c->arena, values, NULL),
              RC_LIMIT);
    assert_rc(kv_get(c->kv, CONFORM_PART, keys, KV_GET_KEYS, 0, &c->arena, values, NULL), RC_OK);
    assert_str(values[KV_GET_KEYS - 1], "v");
}

/* Rows "k00000" and on. */
static void put_many(struct conform *c, size_t n)
{
    for (size_t i = 0; i < n;) {
        struct kv_txn *txn = kv_txn_new(CONFORM_PART);
        for (size_t end = i + KV_TXN_ROWS < n ? i + KV_TXN_ROWS : n; i < end; i++)
            assert_rc(kv_txn_put(txn, conform_key(c, "k%05zu", i), STR("v")), RC_OK);
        assert_rc(kv_commit_wait(c->kv, txn, NULL), RC_OK);
    }
}

static void t212(void **state)
{
    enum { MANY = 2 * KV_PAGE_ROWS + 1 };
    struct conform *c = *state;
    struct kv_walk walk;
    struct kv_row row;
    const struct kv_range all = {0}, part = {.from = STR("k00001"), .to = STR("k02000")};
    kv_walk_begin(&walk, c->kv, CONFORM_PART, all, 0);
    assert_rc(kv_walk_next(&walk, &row), RC_EOF);
    assert_rc(kv_walk_next(&walk, &row), RC_EOF);
    kv_walk_end(&walk);
    put_many(c, MANY);
    kv_walk_begin(&walk, c->kv, CONFORM_PART, all, 0);
    for (size_t i = 0; i < MANY; i++) {
        assert_rc(kv_walk_next(&walk, &row), RC_OK);
        assert_true(str_eq(row.key, conform_key(c, "k%05zu", i)));
        assert_str(row.value, "v");
        assert_int_equal(walk.page.version, conform_version(c, CONFORM_PART));
    }
    assert_rc(kv_walk_next(&walk, &row), RC_EOF);
    kv_walk_end(&walk);
    kv_walk_begin(&walk, c->kv, CONFORM_PART, part, KV_ONCE);
    for (size_t i = 1; i < 2000; i++)
        assert_rc(kv_walk_next(&walk, &row), RC_OK);
    assert_str(row.key, "k01999");
    assert_rc(kv_walk_next(&walk, &row), RC_EOF);
    kv_walk_end(&walk);
}

const struct conform_test conform_read_tests[] = {
    {"201 several keys are read in one state, in the order asked", t201, CONFORM_ANY},
    {"202 any bytes are a key, and keys are ordered by their bytes", t202, CONFORM_ANY},
    {"203 ranges have their bounds and go on after any key", t203, CONFORM_ANY},
    {"204 a page has at most its number of rows and tells whether there are more", t204,
     CONFORM_ANY},
    {"205 a page has about its number of bytes", t205, CONFORM_ANY},
    {"206 partitions know nothing of each other", t206, CONFORM_ANY},
    {"207 an empty range has a version", t207, CONFORM_ANY},
    {"208 the store's own rows are neither read, scanned nor trimmed", t208, CONFORM_ANY},
    {"209 a full arena is a limit", t209, CONFORM_ANY},
    {"210 a read that may not wait gives the right answer or none", t210, CONFORM_ANY},
    {"211 what is asked for has its lengths and its number, too", t211, CONFORM_ANY},
    {"212 a walk gives every row of its range once, over many pages", t212, CONFORM_ANY},
    {0},
};
