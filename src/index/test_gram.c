/* Grams: what is in a text is never denied, whatever pieces the text comes in and whatever the
 * string is. */
#include "index/index_int.h"

#include "base/test.h"

#include <stdlib.h>

static unsigned next_random(unsigned *seed)
{
    *seed = *seed * 1103515245 + 12345;
    return *seed >> 16;
}

/* Few letters, blanks, and bytes of every kind. */
static void fill(char *to, size_t n, unsigned *seed)
{
    static const char common[] = "eeeaatn  \t\r\n.";
    for (size_t i = 0; i < n; i++)
        to[i] = next_random(seed) % 8 ? common[next_random(seed) % (sizeof common - 1)]
                                      : (char)next_random(seed);
}

static bool has_all(const uint64_t *bits, const struct index_probes *p)
{
    for (size_t i = 0; i < p->n; i++)
        if (!(bits[p->bits[i] / 64] >> (p->bits[i] % 64) & 1))
            return false;
    return true;
}

static void every_part_of_a_text_is_found(void **state)
{
    unsigned seed = 1;
    char text[2000];
    for (int round = 0; round < 200; round++) {
        uint64_t bits[INDEX_WORDS] = {0};
        size_t n = next_random(&seed) % sizeof text + 1;
        struct index_grams g = {.field = round % 6};
        fill(text, n, &seed);
        for (size_t at = 0, piece; at < n; at += piece) {
            piece = next_random(&seed) % 70;
            index_grams_mark(&g, str_sub(str_from(text, n), at, piece), bits);
        }
        for (int k = 0; k < 50; k++) {
            struct index_probes p = {0};
            struct str part =
                str_sub(str_from(text, n), next_random(&seed) % n, next_random(&seed) % 100);
            index_probes_add(&p, g.field, part, INDEX_PROBES);
            assert_true(p.n <= INDEX_PROBES);
            assert_true(has_all(bits, &p));
        }
    }
}

static void what_is_not_there_is_denied(void **state)
{
    uint64_t bits[INDEX_WORDS] = {0};
    struct index_grams g = {.field = INDEX_TEXT};
    struct index_probes p = {0}, of_field = {0};
    index_grams_mark(&g, STR("the quick brown fox"), bits);
    index_probes_add(&p, INDEX_TEXT, STR("zebra"), INDEX_PROBES);
    assert_true(p.n >= 6);
    assert_false(has_all(bits, &p));
    /* What a field says is not what the text says. */
    index_probes_add(&of_field, INDEX_SUBJECT, STR("quick"), INDEX_PROBES);
    assert_false(has_all(bits, &of_field));
}

/* Line ends and blanks may differ between what is looked for and what is looked at. */
static void blanks_are_in_no_gram(void **state)
{
    static const struct str same[] = {STR_INIT("red fish"), STR_INIT("red\r\n fish"),
                                      STR_INIT("red\tfish"), STR_INIT(" red  fish\n")};
    uint64_t first[INDEX_WORDS] = {0};
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        uint64_t bits[INDEX_WORDS] = {0};
        struct index_grams g = {.field = INDEX_TEXT};
        index_grams_mark(&g, same[i], i ? bits : first);
        if (i)
            assert_memory_equal(bits, first, sizeof bits);
    }
}

static void short_strings_tell_nothing(void **state)
{
    static const struct str nothing[] = {STR_INIT(""), STR_INIT("ab"), STR_INIT("a b c d e f"),
                                         STR_INIT("\r\n\t  \r\n"), STR_INIT("to be or")};
    for (size_t i = 0; i < sizeof nothing / sizeof *nothing; i++) {
        struct index_ask ask = {INDEX_TEXT, &nothing[i], 1};
        assert_false(index_can_tell(&ask));
    }
    struct str words[] = {STR_INIT("ab"), STR_INIT("abc")};
    struct index_ask ask = {INDEX_FROM, words, 2};
    assert_true(index_can_tell(&ask));
}

/* Several strings share the bits that are looked at: none is left out. */
static void many_strings_share_the_probes(void **state)
{
    struct index_probes p = {0};
    index_probes_add(&p, INDEX_TEXT, STR("extraordinarily"), 6);
    size_t n = p.n;
    assert_true(n >= 6 && n <= 7);
    index_probes_add(&p, INDEX_TEXT, STR("penguins"), 6);
    assert_true(p.n > n);
    for (size_t k = 1; k < 30; k++) {
        struct str words[30];
        for (size_t i = 0; i < k; i++)
            words[i] = str_sub(STR("abcdefghijklmnopqrstuvwxyz0123456789"), i, 7);
        index_probes_of(&p, &(struct index_ask){INDEX_TEXT, words, k});
        assert_true(p.n >= (k < 6 ? 2 * k : 10) && p.n <= INDEX_PROBES);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_part_of_a_text_is_found),
        cmocka_unit_test(what_is_not_there_is_denied),
        cmocka_unit_test(blanks_are_in_no_gram),
        cmocka_unit_test(short_strings_tell_nothing),
        cmocka_unit_test(many_strings_share_the_probes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
