#include "base/arena.h"
#include "base/base64.h"
#include "base/list.h"
#include "base/map.h"
#include "base/str.h"
#include "base/test.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

static void cut_gives_every_part(void **state)
{
    struct str rest = STR("a,b,"), part;
    assert_true(str_cut(&rest, ',', &part));
    assert_str(part, "a");
    assert_true(str_cut(&rest, ',', &part));
    assert_str(part, "b");
    assert_true(str_cut(&rest, ',', &part));
    assert_str(part, "");
    assert_false(str_cut(&rest, ',', &part));
}

static void comparing_ignores_nothing_but_what_it_says(void **state)
{
    assert_true(str_ieq(STR("MaIl"), STR("mail")));
    assert_false(str_eq(STR("MaIl"), STR("mail")));
    assert_false(str_ieq(STR("k"), STR("\xe2\x84\xaa"))); /* the Kelvin sign is no k */
    assert_true(str_cmp(STR("a"), STR("ab")) < 0);
    assert_true(str_istarts(STR("MAIL FROM:<>"), STR("mail from:")));
    assert_true(str_ends(STR("a.eml"), STR(".eml")));
    assert_str(str_trim(STR(" \tx y\r\n")), "x y");
    assert_int_equal(str_find(STR("a\r\n.\r\n"), STR("\r\n.\r\n")), 1);
    assert_int_equal(str_rfind_byte(STR("a@b@c"), '@'), 3);
    assert_str(str_domain(STR("\"a@b\"@c.test")), "c.test");
    assert_false(str_is_null(str_domain(STR("a@"))));
    assert_true(str_is_null(str_domain(STR("a"))));
}

static void numbers_have_bounds(void **state)
{
    uint64_t v;
    for (int c = CHAR_MIN; c <= CHAR_MAX; c++) {
        const char *digits = "0123456789abcdef",
                   *at = c ? strchr(digits, ascii_lower((char)c)) : NULL;
        assert_int_equal(ascii_hex((char)c), at ? (int)(at - digits) : -1);
    }
    assert_rc(str_to_u64(STR("18446744073709551615"), &v), RC_OK);
    assert_true(v == UINT64_MAX);
    assert_rc(str_to_u64(STR("18446744073709551616"), &v), RC_LIMIT);
    assert_rc(str_to_u64(STR(""), &v), RC_SYNTAX);
    assert_rc(str_to_u64(STR("+1"), &v), RC_SYNTAX);
    assert_rc(str_to_u64(STR("1 "), &v), RC_SYNTAX);
}

static void hash_depends_on_key_and_every_byte(void **state)
{
    const uint64_t key[2] = {0, 0}, other[2] = {1, 0};
    assert_true(str_hash(STR("abc"), key) == str_hash(STR("abc"), key));
    assert_true(str_hash(STR("abc"), key) != str_hash(STR("abc"), other));
    assert_true(str_hash(STR("abcdefgh"), key) != str_hash(STR("abcdefgi"), key));
}

static void base64_is_strict(void **state)
{
    struct buf b;
    buf_init(&b, 100);
    assert_rc(base64_encode(&b, STR("foob")), RC_OK); /* [RFC4648 10] */
    assert_str(buf_str(&b), "Zm9vYg==");
    buf_clear(&b);
    assert_rc(base64_decode(&b, STR("Zm9vYmFy")), RC_OK);
    assert_str(buf_str(&b), "foobar");
    assert_rc(base64_decode(&b, STR("Zm9=YmFy")), RC_SYNTAX);
    assert_rc(base64_decode(&b, STR("Zh==")), RC_SYNTAX); /* bits beyond the end [RFC4648 3.5] */
    assert_rc(base64_decode(&b, STR("Zm9")), RC_SYNTAX);
    buf_fini(&b);
}

static void arenas_stop_at_their_cap(void **state)
{
    struct arena a;
    arena_init(&a, 8192);
    assert_non_null(arena_alloc(&a, 8000));
    assert_null(arena_alloc(&a, 1000));
    assert_str(arena_dup(&a, STR("x")), "x");
    arena_reset(&a);
    assert_non_null(arena_alloc(&a, 8192));
    arena_fini(&a);
}

struct item {
    struct map_node node;
    struct list link;
    uint64_t key;
};

static void maps_and_lists_hold_items(void **state)
{
    struct map m;
    struct list l;
    static struct item items[1000];
    map_init(&m);
    list_init(&l);
    for (size_t i = 0; i < 1000; i++) {
        items[i].key = i;
        map_add(&m, &items[i].node, map_hash_u64(i));
        list_add_tail(&l, &items[i].link);
    }
    for (size_t i = 0; i < 1000; i += 2) {
        map_remove(&m, &items[i].node);
        list_remove(&items[i].link);
    }
    assert_int_equal(m.count, 500);
    assert_null(map_find(&m, map_hash_u64(4)));
    assert_ptr_equal(map_find(&m, map_hash_u64(5)), &items[5].node);
    size_t seen = 0, slot = 0;
    for (struct map_node *n = map_each(&m, &slot, NULL); n; n = map_each(&m, &slot, n))
        seen++;
    assert_int_equal(seen, 500);
    size_t next = 1;
    LIST_EACH (&l, it) {
        assert_int_equal(CONTAINER(it, struct item, link)->key, next);
        next += 2;
    }
    map_fini(&m);
}

static void errno_is_classified_once(void **state)
{
    assert_rc(rc_from_errno(ENOSPC), RC_FULL);
    assert_rc(rc_from_errno(EIO), RC_TEMP);
    assert_rc(rc_from_errno(ENOENT), RC_NOTFOUND);
    assert_rc(rc_from_errno(0), RC_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cut_gives_every_part),
        cmocka_unit_test(comparing_ignores_nothing_but_what_it_says),
        cmocka_unit_test(numbers_have_bounds),
        cmocka_unit_test(hash_depends_on_key_and_every_byte),
        cmocka_unit_test(base64_is_strict),
        cmocka_unit_test(arenas_stop_at_their_cap),
        cmocka_unit_test(maps_and_lists_hold_items),
        cmocka_unit_test(errno_is_classified_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
