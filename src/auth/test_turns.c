#include "auth/auth_int.h"

#include "base/test.h"

#include <stdio.h>

enum { MANY = 12 };

static void check_order(struct turns *t, const struct turn *turns, const int *order, size_t n)
{
    for (size_t i = 0; i < n; i++)
        assert_ptr_equal(auth_turns_next(t), &turns[order[i]]);
    assert_null(auth_turns_next(t));
}

static void add(struct turns *t, struct turn *turn, struct str text)
{
    struct peer peer;
    auth_peer_parse(text, &peer);
    auth_turns_add(t, turn, &peer, TURN_STRANGER);
}

static struct turn *replace(struct turns *t, struct turn *turn, struct str text)
{
    struct peer peer;
    auth_peer_parse(text, &peer);
    return auth_turns_replace(t, turn, &peer, TURN_STRANGER);
}

static void networks_take_turns(void **state)
{
    const struct {
        struct str peer;
    } cases[] = {
        {STR("192.0.2.1")},     {STR("192.0.2.1")}, {STR("192.0.2.1")}, {STR("2001:db8::1")},
        {STR("2001:db8::2:7")}, {STR("192.0.2.2")}, {STR("local")},     {STR("2001:db8:0:1::1")},
    };
    static const int order[] = {0, 3, 5, 6, 7, 1, 4, 2};
    struct turns t;
    struct turn turns[MANY];
    auth_turns_init(&t);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        add(&t, &turns[i], cases[i].peer);
    check_order(&t, turns, order, sizeof order / sizeof *order);
    auth_turns_fini(&t);
}

static void the_one_with_the_most_gives_way(void **state)
{
    static const int order[] = {0, 3, 4, 1, 5};
    struct turns t;
    struct turn turns[MANY];
    auth_turns_init(&t);
    assert_null(replace(&t, &turns[0], STR("192.0.2.1")));
    for (int i = 0; i < 3; i++)
        add(&t, &turns[i], STR("192.0.2.1"));
    add(&t, &turns[3], STR("192.0.2.2"));
    assert_null(replace(&t, &turns[6], STR("192.0.2.1")));
    assert_ptr_equal(replace(&t, &turns[4], STR("192.0.2.3")), &turns[2]);
    add(&t, &turns[5], STR("192.0.2.3"));
    assert_null(replace(&t, &turns[6], STR("192.0.2.2")));
    check_order(&t, turns, order, sizeof order / sizeof *order);
    auth_turns_fini(&t);
}

static void owners_go_before_strangers(void **state)
{
    static const int order[] = {9, 10, 11};
    struct turns t;
    struct turn turns[MANY];
    struct peer home;
    char peer[32];
    auth_turns_init(&t);
    auth_peer_parse(STR("198.51.100.1"), &home);
    for (int i = 0; i < 6; i++) {
        snprintf(peer, sizeof peer, "192.0.2.%d", i);
        add(&t, &turns[i], str_of(peer));
    }
    auth_turns_add(&t, &turns[9], &home, TURN_OWNER);
    auth_turns_add(&t, &turns[10], &home, TURN_OWNER);
    /* Also where no stranger has more than one waiting. */
    assert_null(replace(&t, &turns[6], STR("203.0.113.1")));
    assert_ptr_equal(auth_turns_replace(&t, &turns[11], &home, TURN_OWNER), &turns[0]);
    add(&t, &turns[0], STR("192.0.2.0"));
    for (int i = 0; i < 3; i++)
        assert_ptr_equal(auth_turns_next(&t), &turns[order[i]]);
    auth_turns_add(&t, &turns[9], &home, TURN_OWNER);
    assert_ptr_equal(auth_turns_next(&t), &turns[1]); /* every fourth is a stranger's */
    assert_ptr_equal(auth_turns_next(&t), &turns[9]);
    for (int i = 0; i < 5; i++)
        assert_non_null(auth_turns_next(&t));
    assert_null(auth_turns_next(&t));
    auth_turns_fini(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(networks_take_turns),
        cmocka_unit_test(the_one_with_the_most_gives_way),
        cmocka_unit_test(owners_go_before_strangers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
