/* Columns and their rows: how messages are packed, and that rows are what they say or refused. */
#include "index/block_int.h"

#include "base/mem.h"
#include "base/test.h"

#include <stdio.h>
#include <stdlib.h>

static unsigned next_random(unsigned *seed)
{
    *seed = *seed * 1103515245 + 12345;
    return *seed >> 16;
}

static char *random_text(size_t n, unsigned *seed)
{
    char *text = mem_alloc(n + 1);
    for (size_t i = 0; i < n; i++)
        text[i] = next_random(seed) % 7 ? (char)('a' + next_random(seed) % 26) : ' ';
    return text;
}

static void add(struct index_columns *c, uint64_t email, struct str text)
{
    index_columns_begin(c, email);
    for (size_t at = 0; at < text.n; at += 1000)
        index_columns_text(c, str_sub(text, at, 1000));
    index_columns_end(c, true);
}

/* The first message of a column. */
static uint64_t first_of(const struct index_columns *c, size_t column)
{
    size_t rank = 0;
    for (size_t i = 0; i < column; i++)
        rank += c->places[i] / 2;
    return c->emails[rank - (c->places[column] & 1)];
}

static bool goes_on(const struct index_columns *c, size_t column)
{
    return c->places[column] & 1;
}

static bool column_has(const struct index_columns *c, size_t column, struct str needle)
{
    struct index_probes p = {0};
    index_probes_add(&p, INDEX_TEXT, needle, INDEX_PROBES);
    const uint64_t *bits = c->bits + column * INDEX_WORDS;
    for (size_t i = 0; i < p.n; i++)
        if (!(bits[p.bits[i] / 64] >> (p.bits[i] % 64) & 1))
            return false;
    return true;
}

/* Any part of a long text is in one column as a whole, also where it was cut. */
static void a_long_text_is_cut_with_care(void **state)
{
    struct index_columns c;
    unsigned seed = 7;
    size_t n = 50000;
    char *text = random_text(n, &seed);
    index_columns_init(&c, 1 << 20);
    add(&c, 5, str_from(text, n));
    index_columns_close(&c);
    assert_true(c.n > 10);
    assert_false(goes_on(&c, 0));
    for (size_t i = 1; i < c.n; i++)
        assert_true(goes_on(&c, i) && first_of(&c, i) == 5);
    for (size_t at = 0; at + 100 < n; at += 17) {
        struct str needle = str_sub(str_from(text, n), at, 4 + next_random(&seed) % 90);
        size_t i = 0;
        while (i < c.n && !column_has(&c, i, needle))
            i++;
        assert_true(i < c.n);
    }
    free(text);
    index_columns_fini(&c);
}

static void short_messages_share_a_column(void **state)
{
    struct index_columns c;
    unsigned seed = 3;
    index_columns_init(&c, 1 << 20);
    for (uint64_t id = 10; id < 10 + 3 * INDEX_TOGETHER; id++)
        add(&c, id, STR("a few words only"));
    char *text = random_text(20000, &seed);
    add(&c, 100, str_from(text, 20000));
    add(&c, 101, STR("some more"));
    index_columns_close(&c);
    assert_int_equal(c.n_emails, 3 * INDEX_TOGETHER + 2);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(first_of(&c, i), 10 + i * INDEX_TOGETHER);
        assert_false(goes_on(&c, i));
    }
    assert_int_equal(first_of(&c, 3), 100); /* a column of its own */
    assert_false(goes_on(&c, 3));
    assert_true(goes_on(&c, c.n - 1) || first_of(&c, c.n - 1) == 101);
    free(text);
    index_columns_fini(&c);
}

static bool is_all_ones(const struct index_columns *c, size_t column)
{
    for (size_t i = 0; i < INDEX_WORDS; i++)
        if (c->bits[column * INDEX_WORDS + i] != UINT64_MAX)
            return false;
    return true;
}

/* Too long, or not to be read: "maybe", and nothing of it stays in columns of others. */
static void what_is_not_known_is_maybe(void **state)
{
    struct index_columns c;
    unsigned seed = 9;
    char *text = random_text(40000, &seed);
    index_columns_init(&c, 30000);
    add(&c, 1, STR("first"));
    add(&c, 2, str_from(text, 40000));
    add(&c, 3, STR("third"));
    index_columns_begin(&c, 4);
    index_columns_text(&c, STR("half of it"));
    index_columns_end(&c, false);
    add(&c, 5, STR("fifth"));
    index_columns_close(&c);
    assert_int_equal(c.n, 5);
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(first_of(&c, i), i + 1);
        assert_false(goes_on(&c, i));
        assert_int_equal(is_all_ones(&c, i), i == 1 || i == 3);
    }
    free(text);
    index_columns_fini(&c);
}

/* Of one that could not be read to its end nothing stays: columns have as many messages as there
 * are. */
static void what_is_dropped_was_never_there(void **state)
{
    struct index_columns c;
    unsigned seed = 9;
    size_t begun = 0;
    char *text = random_text(40000, &seed);
    index_columns_init(&c, 1 << 20);
    add(&c, 1, STR("first"));
    for (uint64_t id = 2; id < 6; id++) {
        index_columns_begin(&c, id);
        index_columns_text(&c, id % 2 ? STR("short") : str_from(text, 40000));
        index_columns_drop(&c);
    }
    add(&c, 6, STR("sixth"));
    index_columns_begin(&c, 7);
    index_columns_text(&c, STR("seventh"));
    index_columns_drop(&c);
    index_columns_close(&c);
    assert_int_equal(c.n_emails, 2);
    assert_int_equal(c.n, 2);
    for (size_t i = 0; i < c.n; i++) {
        begun += c.places[i] / 2;
        assert_false(goes_on(&c, i));
    }
    assert_int_equal(begun, 2);
    assert_true(first_of(&c, 1) == 6 && column_has(&c, 1, STR("sixth")));
    assert_false(column_has(&c, 1, STR("seventh")));
    free(text);
    index_columns_fini(&c);
}

/* More columns than a block can have come of no message, however long a text may be. */
static void no_message_is_more_than_a_block(void **state)
{
    enum { MAX = 20 };
    struct index_columns c;
    unsigned seed = 5;
    char *text = random_text(200000, &seed);
    index_columns_init(&c, UINT64_MAX);
    assert_int_equal(c.max, INDEX_COLUMNS);
    c.max = MAX;
    add(&c, 1, STR("first"));
    add(&c, 2, str_from(text, 10000));
    size_t before = c.n;
    assert_true(before > 2 && before < MAX - 2);
    for (size_t n = 1000; n < 200000; n += 1000) { /* one of them is just too long */
        struct index_columns again;
        index_columns_init(&again, UINT64_MAX);
        again.max = MAX;
        add(&again, 1, str_from(text, n));
        index_columns_close(&again);
        assert_true(again.n <= MAX);
        assert_true(again.n > 1 || n < 10000 || is_all_ones(&again, 0));
        index_columns_fini(&again);
    }
    add(&c, 3, str_from(text, 200000));
    index_columns_close(&c);
    assert_int_equal(c.n_emails, 3);
    assert_int_equal(c.n, before + 2);
    assert_true(first_of(&c, c.n - 1) == 3 && is_all_ones(&c, c.n - 1));
    free(text);
    index_columns_fini(&c);
}

static void slices_are_columns_turned(void **state)
{
    struct index_columns c;
    unsigned seed = 4;
    index_columns_init(&c, 1 << 20);
    for (uint64_t id = 1; c.n < 150; id++) {
        char *text = random_text(900, &seed);
        add(&c, id, str_from(text, 900));
        free(text);
    }
    index_columns_close(&c);
    uint32_t stride = (uint32_t)(c.n + 7) / 8;
    unsigned char *slices = mem_alloc((size_t)64 * stride);
    for (size_t word = 0; word < INDEX_WORDS; word++) {
        index_slices_of(&c, word, stride, slices);
        for (size_t s = 0; s < 64; s++)
            for (size_t k = 0; k < c.n; k++)
                assert_int_equal(slices[s * stride + k / 8] >> (k % 8) & 1,
                                 c.bits[k * INDEX_WORDS + word] >> s & 1);
    }
    free(slices);
    index_columns_fini(&c);
}

static void bits_are_joined(void **state)
{
    unsigned seed = 6;
    for (int round = 0; round < 300; round++) {
        unsigned char joined[64] = {0}, source[16];
        bool expected[512] = {0};
        size_t at = 0;
        for (int k = 0; k < 4; k++) {
            size_t n = next_random(&seed) % 120 + 1;
            for (size_t i = 0; i < sizeof source; i++)
                source[i] = (unsigned char)next_random(&seed);
            for (size_t i = 0; i < n; i++)
                expected[at + i] = source[i / 8] >> (i % 8) & 1;
            index_bits_append(joined, at, source, n);
            at += n;
        }
        for (size_t i = 0; i < 512; i++)
            assert_int_equal(joined[i / 8] >> (i % 8) & 1, expected[i]);
    }
}

static void rows_are_what_they_say(void **state)
{
    struct index_key key = index_key_row(77, INDEX_SLICES, 3), other = index_key_row(77, 's', 4);
    unsigned char row[INDEX_HEAD + 20];
    struct str payload;
    memset(row, 5, sizeof row);
    index_row_seal(index_key_str(&key), row, sizeof row);
    assert_rc(index_row_open(index_key_str(&key), str_from(row, sizeof row), &payload), RC_OK);
    assert_int_equal(payload.n, 20);
    assert_rc(index_row_open(index_key_str(&other), str_from(row, sizeof row), &payload),
              RC_CORRUPT);
    assert_rc(index_row_open(index_key_str(&key), str_from(row, sizeof row - 1), &payload),
              RC_CORRUPT);
    for (size_t i = 0; i < sizeof row; i++) {
        row[i] ^= 0x10;
        assert_rc(index_row_open(index_key_str(&key), str_from(row, sizeof row), &payload),
                  RC_CORRUPT);
        row[i] ^= 0x10;
    }
    /* Whoever seals it says so in the codec and the key's id, and sums that up. */
    row[1] = 1;
    put_u32(row + 6, crc32c(crc32c(crc32c(0, index_key_str(&key)), str_from(row, 6)),
                            str_from(row + INDEX_HEAD, 20)));
    assert_rc(index_row_open(index_key_str(&key), str_from(row, sizeof row), &payload), RC_DENIED);
}

static void blocks_and_gaps_are_checked(void **state)
{
    struct index_block b = {.id = 9,
                            .first = 100,
                            .last = 400,
                            .columns = 20,
                            .emails = 30,
                            .gap_rows = 1},
                       got;
    unsigned char row[INDEX_BLOCK_ROW], payload[80];
    struct index_key key = index_key_block(9);
    struct str value = str_from(row, sizeof row);
    index_block_put(&b, row);
    assert_rc(index_block_get(index_key_str(&key), value, &got), RC_OK);
    assert_int_equal(got.id, 9);
    assert_int_equal(got.first, 100);
    assert_int_equal(got.last, 400);
    assert_int_equal(got.stride, 3);
    assert_true(got.stride * got.slices <= INDEX_ROW && got.slices * got.stride * 2 > INDEX_ROW);
    b.columns = INDEX_COLUMNS + 1;
    index_block_put(&b, row);
    assert_rc(index_block_get(index_key_str(&key), value, &got), RC_CORRUPT);
    b.columns = 1;
    b.first = 401;
    index_block_put(&b, row);
    assert_rc(index_block_get(index_key_str(&key), value, &got), RC_CORRUPT);
    b.first = 100;
    struct index_gap gaps[] = {{5, 10}, {290, 11}}, out[INDEX_GAPS_ROW];
    size_t n = index_gaps_put(gaps, 2, payload), n_out;
    assert_rc(index_gaps_get(str_from(payload, n), &b, out, &n_out), RC_OK);
    assert_int_equal(n_out, 2);
    assert_memory_equal(out, gaps, sizeof gaps);
    gaps[1].n = 12; /* beyond the last */
    n = index_gaps_put(gaps, 2, payload);
    assert_rc(index_gaps_get(str_from(payload, n), &b, out, &n_out), RC_CORRUPT);
    assert_rc(index_gaps_get(str_from(payload, n - 1), &b, out, &n_out), RC_CORRUPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_long_text_is_cut_with_care),
        cmocka_unit_test(short_messages_share_a_column),
        cmocka_unit_test(what_is_not_known_is_maybe),
        cmocka_unit_test(what_is_dropped_was_never_there),
        cmocka_unit_test(no_message_is_more_than_a_block),
        cmocka_unit_test(slices_are_columns_turned),
        cmocka_unit_test(bits_are_joined),
        cmocka_unit_test(rows_are_what_they_say),
        cmocka_unit_test(blocks_and_gaps_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
