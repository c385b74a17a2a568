/* Conformance 6: random transactions against a model.
 *
 * The model is the simplest thing that can be right: arrays of what each key of a small universe
 * holds and of how many references each partition has on each blob. Failures are reproducible: the
 * dice start from a fixed number. */
#include "kv/conform.h"

#include "base/mem.h"

#include <stdlib.h>

enum { PARTS = 3, FIRSTS = 4, RESTS = 10, KEYS = FIRSTS * RESTS, BLOBS = 8, ITEMS = 12 };
enum { STEPS = 1200, REOPEN_EVERY = 150, LOOK_EVERY = 20, VALUE_MAX = 600 };

/* Every first byte with every rest is a key: in order, when both are. */
static const struct str firsts[FIRSTS] = {STR_INIT("\0"), STR_INIT("k"), STR_INIT("\x80"),
                                          STR_INIT("\xfe")};
static const struct str rests[RESTS] = {
    STR_INIT(""),  STR_INIT("\0"),  STR_INIT("\0\0"), STR_INIT("\0\xff"), STR_INIT("\1"),
    STR_INIT("k"), STR_INIT("k\0"), STR_INIT("\xfe"), STR_INIT("\xff"),   STR_INIT("\xff\xff"),
};

struct model_part {
    struct kv_part part;
    uint64_t version;
    uint32_t rows[KEYS]; /* 0: absent; otherwise the number of its value */
    unsigned refs[BLOBS];
};

struct model_blob {
    struct kv_blob_id id; /* all zero: this place is free */
    size_t size;
    uint64_t seed;
    bool is_new; /* in the transaction's hands */
};

struct model {
    struct conform *c;
    uint64_t dice;
    struct str keys[KEYS];
    struct model_part parts[PARTS];
    struct model_blob blobs[BLOBS];
    uint32_t next_value;
};

/* A transaction and what the model says of it. */
struct draft {
    struct kv_txn *txn;
    struct model_part before, after;
    bool conflicts;      /* an assert on a row does not hold */
    bool is_unexpected;  /* the last version asserted is another one */
    enum rc first_fault; /* of its references and drops */
};

static size_t throw_dice(struct model *m, size_t sides)
{
    m->dice ^= m->dice << 13;
    m->dice ^= m->dice >> 7;
    m->dice ^= m->dice << 17;
    return (size_t)((m->dice >> 11) % sides);
}

/* Mostly short, some long. */
static struct str value_of(uint32_t number, char to[VALUE_MAX])
{
    size_t n = number % 50 == 0 ? VALUE_MAX : 4 + number % 20;
    for (size_t i = 0; i < n; i++)
        to[i] = (char)conform_byte(number, i);
    return str_from(to, n);
}

static void model_init(struct model *m, struct conform *c)
{
    static const struct kv_part parts[PARTS] = {{KV_ACCOUNT, 5}, {KV_ACCOUNT, 6}, {KV_QUEUE, 5}};
    *m = (struct model){.c = c, .dice = 20261121, .next_value = 1};
    for (size_t i = 0; i < KEYS; i++) {
        struct str first = firsts[i / RESTS];
        struct str rest = rests[i % RESTS];
        char key[8];
        memcpy(key, first.p, first.n);
        memcpy(key + first.n, rest.p, rest.n);
        m->keys[i] = str_from(mem_dup(key, first.n + rest.n), first.n + rest.n);
        assert_true(i == 0 || str_cmp(m->keys[i - 1], m->keys[i]) < 0);
    }
    for (size_t i = 0; i < PARTS; i++)
        m->parts[i].part = parts[i];
}

static void model_fini(struct model *m)
{
    for (size_t i = 0; i < KEYS; i++)
        free((void *)(uintptr_t)m->keys[i].p);
}

/* --- drafting --------------------------------------------------------------------------------- */

static void draft_put(struct model *m, struct draft *d)
{
    char value[VALUE_MAX];
    size_t k = throw_dice(m, KEYS);
    d->after.rows[k] = m->next_value++;
    assert_rc(kv_txn_put(d->txn, m->keys[k], value_of(d->after.rows[k], value)), RC_OK);
}

static void draft_delete(struct model *m, struct draft *d)
{
    size_t k = throw_dice(m, KEYS);
    d->after.rows[k] = 0;
    assert_rc(kv_txn_delete(d->txn, m->keys[k]), RC_OK);
}

static void draft_trim(struct model *m, struct draft *d)
{
    size_t from = throw_dice(m, KEYS + 1);
    size_t to = from + throw_dice(m, 6);
    to = to > KEYS ? KEYS : to;
    for (size_t k = from; k < to; k++)
        d->after.rows[k] = 0;
    struct str first = from < KEYS ? m->keys[from] : STR("\xfe\xff\xff\xff");
    struct str end = to < KEYS ? m->keys[to] : (struct str){0};
    assert_rc(kv_txn_trim(d->txn, first, end), RC_OK);
}

/* Mostly one that holds. */
static void draft_assert(struct model *m, struct draft *d)
{
    char value[VALUE_MAX];
    size_t k = throw_dice(m, KEYS);
    bool is_wrong = throw_dice(m, 12) == 0;
    uint32_t number = d->before.rows[k];
    if (throw_dice(m, 3) == 0) {
        kv_txn_expect(d->txn, d->before.version + is_wrong);
        d->is_unexpected = is_wrong;
        return;
    }
    if (number == 0 || is_wrong) {
        d->conflicts = d->conflicts || number != 0;
        assert_rc(kv_txn_assert_absent(d->txn, m->keys[k]), RC_OK);
    } else {
        assert_rc(kv_txn_assert_value(d->txn, m->keys[k], value_of(number, value)), RC_OK);
    }
}

static void draft_blob(struct model *m, struct draft *d)
{
    static const size_t sizes[] = {0, 10, 3000, 65536, 100000, KV_BLOB_SMALL + 5};
    size_t b = throw_dice(m, BLOBS);
    struct model_blob *blob = &m->blobs[b];
    if (blob->size == 0 && blob->seed == 0) {
        blob->seed = m->next_value++;
        blob->size = sizes[throw_dice(m, sizeof sizes / sizeof *sizes)];
        blob->id = conform_blob(m->c, d->before.part, blob->seed, blob->size);
        blob->is_new = true;
    }
    if (blob->is_new || throw_dice(m, 2) == 0) {
        assert_rc(kv_txn_ref(d->txn, blob->id), RC_OK);
        d->after.refs[b]++;
        return;
    }
    if (d->after.refs[b] == 0 && throw_dice(m, 4) != 0)
        return;
    assert_rc(kv_txn_drop(d->txn, blob->id), RC_OK);
    if (d->after.refs[b] == 0 && d->first_fault == RC_OK)
        d->first_fault = RC_CORRUPT;
    else if (d->after.refs[b] > 0)
        d->after.refs[b]--;
}

static void (*const drafters[])(struct model *, struct draft *) = {
    draft_put, draft_put, draft_put, draft_put, draft_delete, draft_trim, draft_assert, draft_blob,
};

/* --- comparing -------------------------------------------------------------------------------- */

static void check_some_keys(struct model *m, const struct model_part *p)
{
    enum { N = 5 };
    char expected[VALUE_MAX];
    size_t asked[N];
    struct str keys[N], values[N];
    uint64_t version;
    for (size_t i = 0; i < N; i++) {
        asked[i] = throw_dice(m, KEYS);
        keys[i] = m->keys[asked[i]];
    }
    assert_rc(kv_get(m->c->kv, p->part, keys, N, 0, &m->c->arena, values, &version), RC_OK);
    assert_int_equal(version, p->version);
    for (size_t i = 0; i < N; i++) {
        uint32_t number = p->rows[asked[i]];
        struct str value = number ? value_of(number, expected) : (struct str){0};
        assert_true(str_eq(values[i], value));
    }
}

static void check_all_rows(struct model *m, const struct model_part *p)
{
    char expected[VALUE_MAX];
    struct kv_page page;
    struct kv_range range = {0};
    size_t k = 0;
    do {
        size_t max = throw_dice(m, KEYS) + 1;
        assert_rc(kv_scan(m->c->kv, p->part, range, max, 0, &m->c->arena, &page), RC_OK);
        assert_int_equal(page.version, p->version);
        for (size_t i = 0; i < page.n; i++, k++) {
            while (k < KEYS && p->rows[k] == 0)
                k++;
            assert_true(k < KEYS);
            assert_true(str_eq(page.rows[i].key, m->keys[k]));
            assert_true(str_eq(page.rows[i].value, value_of(p->rows[k], expected)));
        }
        if (page.n > 0)
            range.after = page.rows[page.n - 1].key;
    } while (page.has_more);
    for (; k < KEYS; k++)
        assert_int_equal(p->rows[k], 0);
}

static void check_blob(struct model *m, const struct model_blob *blob)
{
    unsigned char bytes[1000];
    struct kv_blob_in *in;
    size_t got;
    uint64_t offset = throw_dice(m, blob->size + 1);
    assert_rc(kv_blob_open(m->c->kv, blob->id, 0, &in), RC_OK);
    assert_int_equal(kv_blob_meta(in).size, blob->size);
    assert_rc(kv_blob_read(in, offset, bytes, sizeof bytes, 0, &got), RC_OK);
    assert_true(got == sizeof bytes || offset + got == blob->size);
    for (size_t i = 0; i < got; i++)
        assert_int_equal(bytes[i], conform_byte(blob->seed, offset + i));
    kv_blob_close(&in);
}

static void check_all(struct model *m)
{
    for (size_t i = 0; i < PARTS; i++)
        check_all_rows(m, &m->parts[i]);
    for (size_t b = 0; b < BLOBS; b++)
        if (m->blobs[b].seed)
            check_blob(m, &m->blobs[b]);
    arena_reset(&m->c->arena);
}

/* Lets go of the new blobs; those that nobody refers to have to go. */
static void settle_blobs(struct model *m)
{
    for (size_t b = 0; b < BLOBS; b++) {
        struct model_blob *blob = &m->blobs[b];
        unsigned refs = 0;
        for (size_t i = 0; i < PARTS; i++)
            refs += m->parts[i].refs[b];
        if (blob->is_new)
            kv_blob_forget(m->c->kv, blob->id);
        blob->is_new = false;
        if (blob->seed && refs == 0) {
            conform_blob_wait_gone(m->c, blob->id);
            *blob = (struct model_blob){0};
        }
    }
}

static void step(struct model *m)
{
    struct model_part *p = &m->parts[throw_dice(m, PARTS)];
    struct draft d = {.before = *p, .after = *p};
    size_t n = throw_dice(m, ITEMS) + 1;
    d.txn = kv_txn_new(p->part);
    for (size_t i = 0; i < n; i++)
        drafters[throw_dice(m, sizeof drafters / sizeof *drafters)](m, &d);
    uint64_t version = 0;
    enum rc expected = d.conflicts || d.is_unexpected ? RC_CONFLICT : d.first_fault;
    assert_rc(kv_commit_wait(m->c->kv, d.txn, &version), expected);
    if (expected == RC_OK) {
        *p = d.after;
        p->version++;
        assert_int_equal(version, p->version);
    }
    settle_blobs(m);
    check_some_keys(m, p);
}

static void t601(void **state)
{
    struct model m;
    model_init(&m, *state);
    for (int i = 1; i <= STEPS; i++) {
        step(&m);
        if (i % LOOK_EVERY == 0)
            check_all(&m);
        if (i % REOPEN_EVERY == 0 && m.c->backend->is_persistent) {
            conform_reopen(m.c);
            check_all(&m);
        }
    }
    model_fini(&m);
}

const struct conform_test conform_random_tests[] = {
    {"601 random transactions do what the model says", t601, CONFORM_ANY},
    {0},
};
