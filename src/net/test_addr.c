#include "net/net.h"

#include "base/test.h"

#include <arpa/inet.h>
#include <stdio.h>

static struct net_addr addr(const char *text)
{
    struct net_addr a;
    assert_rc(net_addr_parse(str_of(text), &a), RC_OK);
    return a;
}

static void addresses_have_one_form(void **state)
{
    struct net_addr a = addr("192.0.2.7:25");
    assert_true(IN6_IS_ADDR_V4MAPPED(&a.sa.sin6_addr));
    assert_int_equal(ntohs(a.sa.sin6_port), 25);
    a = addr("[2001:db8::1]:110");
    assert_int_equal(a.sa.sin6_addr.s6_addr[15], 1);
    assert_int_equal(ntohs(a.sa.sin6_port), 110);
    assert_int_equal(a.sa.sin6_family, AF_INET6);
}

static void bad_addresses_are_refused(void **state)
{
    static const char *const bad[] = {"",
                                      ":25",
                                      "192.0.2.7",
                                      "192.0.2.7:",
                                      "192.0.2.7:65536",
                                      "::1:25",
                                      "[192.0.2.7]:25",
                                      "[::1:25",
                                      "192.0.2.7.8:25",
                                      "[::1]25",
                                      "x:1",
                                      "192.0.2.7:-1",
                                      "[11111111111111111111111111111111111111111111111]:1"};
    struct net_addr a;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_rc(net_addr_parse(str_of(bad[i]), &a), RC_SYNTAX);
}

static void a_block_has_its_addresses(void **state)
{
    static const struct {
        const char *block, *address;
        bool is_in;
    } rows[] = {
        {"127.0.0.0/8", "127.255.0.1:1", true},
        {"127.0.0.0/8", "128.0.0.1:1", false},
        {"192.0.2.128/25", "192.0.2.200:1", true},
        {"192.0.2.128/25", "192.0.2.100:1", false},
        {"192.0.2.1", "192.0.2.1:1", true},
        {"192.0.2.1", "192.0.2.2:1", false},
        {"0.0.0.0/0", "203.0.113.9:1", true},
        {"0.0.0.0/0", "[2001:db8::1]:1", false},
        {"::/0", "[2001:db8::1]:1", true},
        {"2001:db8::/33", "[2001:db8:7fff::]:1", true},
        {"2001:db8::/33", "[2001:db8:8000::]:1", false},
        {"::1", "[::1]:1", true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct net_cidr block;
        struct net_addr a = addr(rows[i].address);
        assert_rc(net_cidr_parse(str_of(rows[i].block), &block), RC_OK);
        assert_int_equal(net_cidr_has(&block, &a), rows[i].is_in);
    }
}

static void bad_blocks_are_refused(void **state)
{
    static const char *const bad[] = {
        "", "/8", "127.0.0.0/33", "::1/129", "127.0.0.0/", "127.0.0.0/8/8", "host"};
    struct net_cidr block;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_rc(net_cidr_parse(str_of(bad[i]), &block), RC_SYNTAX);
}

static void loopback_is_known(void **state)
{
    struct net_addr local = addr("127.9.9.9:1"), six = addr("[::1]:1"), other = addr("192.0.2.1:1");
    assert_true(net_is_loopback(&local));
    assert_true(net_is_loopback(&six));
    assert_false(net_is_loopback(&other));
}

static void addresses_without_ports(void **state)
{
    static const char *const good[] = {"192.0.2.1", "::1", "2001:db8::7"};
    static const char *const bad[] = {"", "[::1]", "192.0.2.1:25", "::1%lo", "mx.test"};
    struct net_addr a;
    char text[NET_IP_TEXT];
    for (size_t i = 0; i < 3; i++) {
        assert_rc(net_ip_parse(str_of(good[i]), 53, &a), RC_OK);
        assert_int_equal(ntohs(a.sa.sin6_port), 53);
        net_ip_text(&a.sa.sin6_addr, text);
        assert_string_equal(text, good[i]);
    }
    for (size_t i = 0; i < 5; i++)
        assert_rc(net_ip_parse(str_of(bad[i]), 53, &a), RC_SYNTAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_without_ports),   cmocka_unit_test(addresses_have_one_form),
        cmocka_unit_test(bad_addresses_are_refused), cmocka_unit_test(a_block_has_its_addresses),
        cmocka_unit_test(bad_blocks_are_refused),    cmocka_unit_test(loopback_is_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
