/* Roots against a plain array, with old roots held and compared again later. */
#include "store/store_int.h"

#include "base/mem.h"
#include "base/test.h"

#include <stdlib.h>

struct model {
    struct store_row *rows;
    size_t n, size;
};

static uint64_t seed = 20261121;

static uint32_t pick(uint32_t n)
{
    seed = seed * 6364136223846793005U + 1442695040888963407U;
    return (uint32_t)(seed >> 33) % n;
}

static const struct store_mailbox info = {.id = 1};

static void assert_same(const struct store_root *root, const struct model *m)
{
    size_t unended = 0;
    assert_int_equal(store_root_count(root), m->n);
    for (size_t i = 0; i < m->n; i++) {
        const struct store_row *row = store_root_at(root, i);
        unended += (row->flags & STORE_UNENDED) != 0;
        assert_int_equal(row->uid, m->rows[i].uid);
        assert_int_equal(row->flags, m->rows[i].flags);
        assert_int_equal(store_root_find(root, row->uid), i);
        if (i == 0 || m->rows[i - 1].uid + 1 < row->uid)
            assert_int_equal(store_root_find(root, row->uid - 1), i);
    }
    assert_null(store_root_at(root, m->n));
    size_t n, at = 0;
    for (const struct store_row *rows; (rows = store_root_rows(root, at, &n)); at += n)
        for (size_t i = 0; i < n; i++)
            assert_ptr_equal(&rows[i], store_root_at(root, at + i));
    assert_int_equal(n, 0);
    assert_int_equal(at, m->n);
    assert_int_equal(store_root_unended(root), unended);
    uint32_t last = m->n ? m->rows[m->n - 1].uid : 0;
    assert_int_equal(store_root_find(root, last + 1), m->n);
}

static struct model copy_of(const struct model *m)
{
    struct model copy = {.n = m->n, .size = m->n};
    copy.rows = mem_dup(m->rows, m->n * sizeof *m->rows);
    return copy;
}

/* Few messages have it. */
static uint32_t mark(void)
{
    return pick(50) ? 0 : STORE_UNENDED;
}

/* A random change, to the model too. */
static size_t change(struct model *m, uint32_t *uidnext, struct row_delta *deltas)
{
    size_t n = 0, kept = 0;
    uint32_t every = 1 + pick(m->n > 20000 ? 40 : 1000);
    bool is_gone = pick(3) == 0;
    if (pick(2)) {
        for (size_t k = 1 + pick(600); k; k--) {
            struct store_row row = {.uid = *uidnext, .flags = pick(32) | mark()};
            *uidnext += 1 + (pick(10) == 0 ? pick(5) : 0);
            deltas[n++] = (struct row_delta){.mailbox = 1, .row = row};
            m->rows = mem_array(m->rows, &m->size, m->n + 1, sizeof row);
            m->rows[m->n++] = row;
        }
        return n;
    }
    for (size_t i = 0; i < m->n; i++) {
        bool is_hit = n < 2000 && pick(every) == 0;
        if (is_hit) {
            m->rows[i].flags = (m->rows[i].flags & STORE_UNENDED) | pick(32);
            deltas[n++] = (struct row_delta){1, is_gone, m->rows[i]};
        }
        if (!is_hit || !is_gone)
            m->rows[kept++] = m->rows[i];
    }
    m->n = kept;
    return n;
}

static void roots_are_what_they_were(void **state)
{
    enum { HELD = 8, STEPS = 400 };
    struct model m = {0}, held_model[HELD] = {0};
    struct store_root *root = root_new(&info, NULL, 0), *held[HELD] = {0};
    struct row_delta *deltas = mem_alloc(4000 * sizeof *deltas);
    uint32_t uidnext = 1;
    for (int i = 0; i < STEPS; i++) {
        size_t n = change(&m, &uidnext, deltas);
        struct store_root *next = root_apply(root, &info, deltas, n);
        store_root_release(&root);
        root = next;
        if (i % 10)
            continue;
        uint32_t at = pick(HELD);
        assert_same(root, &m);
        if (held[at])
            assert_same(held[at], &held_model[at]);
        store_root_release(&held[at]);
        free(held_model[at].rows);
        held[at] = root_ref(root);
        held_model[at] = copy_of(&m);
    }
    for (int i = 0; i < HELD; i++) {
        if (held[i])
            assert_same(held[i], &held_model[i]);
        store_root_release(&held[i]);
        free(held_model[i].rows);
    }
    store_root_release(&root);
    free(m.rows);
    free(deltas);
}

/* After a failed commit the head goes on from an older root: what the lost head wrote behind it is
 * in nobody's way. */
static void two_futures_of_one_root(void **state)
{
    for (size_t n = 1; n < 600; n += 17) {
        struct model m = {0}, one, two;
        struct row_delta d = {.mailbox = 1};
        for (uint32_t uid = 1; uid <= n; uid++) {
            m.rows = mem_array(m.rows, &m.size, m.n + 1, sizeof *m.rows);
            m.rows[m.n++] = (struct store_row){.uid = uid};
        }
        struct store_root *root = root_new(&info, m.rows, m.n), *a = root_ref(root),
                          *b = root_ref(root);
        one = copy_of(&m);
        two = copy_of(&m);
        for (uint32_t uid = (uint32_t)n + 1; uid < n + 300; uid++) {
            struct store_root *next;
            d.row = (struct store_row){.uid = uid, .flags = 1 | STORE_UNENDED};
            next = root_apply(a, &info, &d, 1);
            store_root_release(&a);
            a = next;
            one.rows = mem_array(one.rows, &one.size, one.n + 1, sizeof d.row);
            one.rows[one.n++] = d.row;
            d.row.flags = 2;
            next = root_apply(b, &info, &d, 1);
            store_root_release(&b);
            b = next;
            two.rows = mem_array(two.rows, &two.size, two.n + 1, sizeof d.row);
            two.rows[two.n++] = d.row;
        }
        assert_same(root, &m);
        assert_same(a, &one);
        assert_same(b, &two);
        store_root_release(&root);
        store_root_release(&a);
        store_root_release(&b);
        free(m.rows);
        free(one.rows);
        free(two.rows);
    }
}

/* A node in the middle of one root is the last one of another, which then grows. */
static void growing_where_the_end_was_cut_off(void **state)
{
    enum { N = 20000, KEEP = 16000 };
    struct store_row *rows = mem_zero(N * sizeof *rows);
    struct row_delta *deltas = mem_zero(N * sizeof *deltas);
    for (uint32_t i = 0; i < N; i++)
        rows[i].uid = i + 1;
    struct store_root *all = root_new(&info, rows, N);
    size_t n = 0;
    for (uint32_t i = KEEP; i < N; i++)
        deltas[n++] = (struct row_delta){1, true, rows[i]};
    struct store_root *cut = root_apply(all, &info, deltas, n), *next;
    for (uint32_t i = 0; i < 3000; i++) {
        struct row_delta d = {1, false, {.uid = N + 1 + i}};
        next = root_apply(cut, &info, &d, 1);
        store_root_release(&cut);
        cut = next;
    }
    struct model m = {.rows = rows, .n = N};
    assert_same(all, &m);
    assert_int_equal(store_root_count(cut), KEEP + 3000);
    assert_int_equal(store_root_at(cut, KEEP)->uid, N + 1);
    assert_int_equal(store_root_at(cut, KEEP + 2999)->uid, N + 3000);
    store_root_release(&all);
    store_root_release(&cut);
    free(rows);
    free(deltas);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(roots_are_what_they_were),
        cmocka_unit_test(two_futures_of_one_root),
        cmocka_unit_test(growing_where_the_end_was_cut_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
