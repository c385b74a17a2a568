/* The tables of wrong passwords alone, and the memory of passwords. */
#include "auth/auth_int.h"

#include "base/test.h"

#include <stdio.h>

static const struct guard_conf small = {.failures = {20, 10, 50},
                                        .period_ns = 900 * NS_PER_SEC,
                                        .delay_max_ns = 15 * NS_PER_SEC,
                                        .entries = 16};

struct answered {
    struct guard_answer answer;
    unsigned blocked; /* before */
};

static struct answered guess(struct guard *g, const char *name, const char *from, uint64_t pair)
{
    struct peer peer;
    struct answered a;
    auth_peer_parse(str_of(from), &peer);
    struct guard_attempt attempt = {
        .name = str_of(name), .peer = &peer, .pair = pair, .now = NS_PER_SEC};
    a.blocked = auth_guard_check(g, attempt.name, &peer, attempt.now);
    auth_guard_failed(g, &attempt, &a.answer);
    return a;
}

static void delays_double_up_to_the_most(void **state)
{
    static const uint64_t seconds[] = {0, 0, 1, 2, 4, 8, 15, 15, 15};
    struct guard g;
    auth_guard_init(&g, &small);
    for (size_t i = 0; i < sizeof seconds / sizeof *seconds; i++) {
        struct answered a = guess(&g, "alice@example.test", "192.0.2.1", i + 1);
        assert_int_equal(a.answer.delay_ns, seconds[i] * NS_PER_SEC);
        assert_int_equal(a.blocked | a.answer.blocked, 0);
    }
    assert_int_equal(guess(&g, "alice@example.test", "192.0.2.1", 100).answer.blocked,
                     1U << GUARD_ADDRESS);
    auth_guard_fini(&g);
}

/* Whoever makes many entries drives out his own, not a block. */
static void a_full_table_keeps_what_is_blocked(void **state)
{
    struct guard g;
    struct peer peer;
    char name[64], from[64];
    auth_guard_init(&g, &small);
    for (int i = 0; i < 20; i++) {
        snprintf(from, sizeof from, "10.0.%d.1", i);
        guess(&g, "alice@example.test", from, (uint64_t)i + 1);
    }
    for (int i = 0; i < 10; i++)
        guess(&g, "bob@example.test", "198.51.100.1", (uint64_t)i + 1);
    for (int i = 0; i < 5000; i++) {
        snprintf(name, sizeof name, "u%d@example.test", i);
        snprintf(from, sizeof from, "10.%d.%d.1", i / 250 + 1, i % 250);
        guess(&g, name, from, 1);
    }
    auth_peer_parse(STR("203.0.113.1"), &peer);
    assert_int_equal(auth_guard_check(&g, STR("alice@example.test"), &peer, NS_PER_SEC),
                     1U << GUARD_ACCOUNT);
    auth_peer_parse(STR("198.51.100.1"), &peer);
    assert_int_equal(auth_guard_check(&g, STR("carol@example.test"), &peer, NS_PER_SEC),
                     1U << GUARD_ADDRESS);
    for (int i = 0; i < GUARD_SCOPES; i++)
        assert_true(g.tables[i].n <= small.entries);
    auth_guard_fini(&g);
}

static void networks_as_text(void **state)
{
    static const struct {
        const char *peer, *address, *network;
    } cases[] = {
        {"192.0.2.77", "192.0.2.77", "192.0.2.0/24"},
        {"2001:db8:1:2:3::4", "2001:db8:1:2::/64", "2001:db8:1::/48"},
        {"::ffff:192.0.2.77", "192.0.2.77", "192.0.2.0/24"},
    };
    char text[AUTH_NET_TEXT];
    struct peer peer;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        auth_peer_parse(str_of(cases[i].peer), &peer);
        assert_true(peer.is_network);
        struct net_cidr address = auth_peer_net(&peer, REACH_ADDRESS);
        struct net_cidr network = auth_peer_net(&peer, REACH_NETWORK);
        auth_net_text(&address, text);
        assert_string_equal(text, cases[i].address);
        auth_net_text(&network, text);
        assert_string_equal(text, cases[i].network);
        assert_true(auth_nets_overlap(&address, &network) && auth_nets_overlap(&network, &address));
    }
    auth_peer_parse(STR("local"), &peer);
    assert_false(peer.is_network);
    auth_peer_parse(STR(""), &peer);
    assert_false(peer.is_network);
}

static bool is_in_dumps(const void *p)
{
    FILE *maps = fopen("/proc/self/smaps", "r");
    char line[512];
    bool is_here = false, is_in = true;
    while (maps && fgets(line, sizeof line, maps)) {
        unsigned long from, to;
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
            is_here = from <= (uintptr_t)p && (uintptr_t)p < to;
        if (is_here && strncmp(line, "VmFlags:", 8) == 0)
            is_in = !strstr(line, " dd");
    }
    if (maps)
        fclose(maps);
    return is_in;
}

static void password_memory_is_bounded_wiped_and_not_dumped(void **state)
{
    static const char zero[AUTH_PASSWORD_MAX];
    struct secrets s;
    char *slots[3];
    auth_secrets_init(&s, 3);
    for (int i = 0; i < 3; i++) {
        slots[i] = auth_secrets_take(&s);
        assert_non_null(slots[i]);
        assert_false(is_in_dumps(slots[i]));
        memset(slots[i], 'x', AUTH_PASSWORD_MAX);
    }
    assert_null(auth_secrets_take(&s));
    auth_secrets_give(&s, slots[1]);
    assert_memory_equal(slots[1], zero, sizeof zero);
    assert_int_equal(slots[0][7], 'x');
    assert_ptr_equal(auth_secrets_take(&s), slots[1]);
    auth_secrets_fini(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(delays_double_up_to_the_most),
        cmocka_unit_test(a_full_table_keeps_what_is_blocked),
        cmocka_unit_test(networks_as_text),
        cmocka_unit_test(password_memory_is_bounded_wiped_and_not_dumped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
