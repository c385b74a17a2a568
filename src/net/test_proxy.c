/* The header of a balancer: what it says, and what is refused. */
#include "net/net_int.h"

#include "base/bytes.h"
#include "base/test.h"

#define SIGNATURE                   "\r\n\r\n\0\r\nQUIT\n"
#define HEAD(command, family, size) SIGNATURE command family "\0" size
#define ADDRESSES                   "\xc0\x00\x02\x07\xc6\x33\x64\x01\x30\x39\x03\xe1" /* 192.0.2.7:12345 */

static struct proxy parsed(struct str header)
{
    struct proxy p;
    assert_rc(proxy_parse(header, &p), RC_OK);
    return p;
}

static void assert_refused(struct str header, enum rc rc)
{
    struct proxy p;
    assert_rc(proxy_parse(header, &p), rc);
}

static void says_who_the_client_is(void **state)
{
    char text[PEER_TEXT];
    struct proxy p = parsed(STR(HEAD("\x21", "\x11", "\x0c") ADDRESSES));
    assert_false(p.is_local || p.is_secure);
    addr_text(&p.from, text);
    assert_string_equal(text, "192.0.2.7");
    addr_text(&p.to, text);
    assert_string_equal(text, "198.51.100.1");
    assert_int_equal(ntohs(p.from.sa.sin6_port), 12345);
    assert_int_equal(ntohs(p.to.sa.sin6_port), 993);
    p = parsed(STR(HEAD("\x21", "\x21", "\x24") "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x09"
                                                "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x0a"
                                                "\x30\x39\x00\x19"));
    addr_text(&p.from, text);
    assert_string_equal(text, "2001:db8::9");
    assert_int_equal(ntohs(p.to.sa.sin6_port), 25);
}

/* A check of the balancer's own, a client on its machine, a family that nobody knows yet. */
static void may_say_nothing_of_a_client(void **state)
{
    assert_true(parsed(STR(HEAD("\x20", "\x00", "\0"))).is_local);
    assert_true(parsed(STR(HEAD("\x20", "\x11", "\x0c") ADDRESSES)).is_local);
    assert_true(parsed(STR(HEAD("\x20", "\xff", "\x02") "??")).is_local);
    assert_true(parsed(STR(HEAD("\x21", "\x00", "\x03") "abc")).is_local);
    assert_true(parsed(STR(HEAD("\x21", "\x31", "\x01") "/")).is_local);
    assert_refused(STR(HEAD("\x21", "\x12", "\x0c") ADDRESSES), RC_SYNTAX);
    assert_refused(STR(HEAD("\x21", "\x41", "\0")), RC_SYNTAX);
}

static void tells_of_tls(void **state)
{
    struct proxy p = parsed(STR(HEAD("\x21", "\x11", "\x2f") ADDRESSES "\x02\x00\x03"
                                                                       "a.b"
                                                                       "\x20\x00\x1a\x01\0\0\0\0"
                                                                       "\x21\x00\x07TLSv1.3"
                                                                       "\x23\x00\x08SUITE-42"));
    assert_true(p.is_secure);
    assert_str(p.tls_version, "TLSv1.3");
    assert_str(p.tls_cipher, "SUITE-42");
    p = parsed(STR(HEAD("\x21", "\x11", "\x14") ADDRESSES "\x20\x00\x05\x00\0\0\0\0"));
    assert_false(p.is_secure);
    assert_refused(STR(HEAD("\x21", "\x11", "\x13") ADDRESSES "\x20\x00\x04\x01\0\0\0"), RC_SYNTAX);
    assert_refused(STR(HEAD("\x21", "\x11", "\x17") ADDRESSES "\x20\x00\x08\x01\0\0\0\0"
                                                              "\x21\x00\x01"),
                   RC_SYNTAX);
    assert_refused(STR(HEAD("\x21", "\x11", "\x0e") ADDRESSES "\x02\x00"), RC_SYNTAX);
    assert_refused(STR(HEAD("\x21", "\x11", "\x0f") ADDRESSES "\x02\x00\x01"), RC_SYNTAX);
}

static void a_checksum_has_to_be_right(void **state)
{
    char header[] = HEAD("\x21", "\x11", "\x13") ADDRESSES "\x03\x00\x04\0\0\0";
    struct str whole = str_from(header, sizeof header);
    put_u32(header + sizeof header - 4, crc32c(0, whole));
    parsed(whole);
    header[17] ^= 1;
    assert_refused(whole, RC_SYNTAX);
    assert_refused(STR(HEAD("\x21", "\x11", "\x12") ADDRESSES "\x03\x00\x03\0\0\0"), RC_SYNTAX);
}

static void its_beginning_says_how_long_it_is(void **state)
{
    struct str whole = STR(HEAD("\x21", "\x11", "\x0c") ADDRESSES "EHLO"), other;
    size_t size;
    for (size_t n = 0; n < whole.n; n++) {
        enum rc rc = proxy_size(str_head(whole, n), &size);
        assert_rc(rc, n < 28 ? RC_AGAIN : RC_OK);
        assert_int_equal(size, n < 16 ? 16 : 28);
    }
    other = STR(HEAD("\x21", "\x11", "\x0b") ADDRESSES);
    assert_refused(other, RC_SYNTAX); /* shorter than its addresses */
    assert_rc(proxy_size(STR(SIGNATURE "\x21\x11\x10\x00"), &size), RC_LIMIT);
    assert_rc(proxy_size(STR(SIGNATURE "\x21\x11\x0f\xf0"), &size), RC_AGAIN);
    assert_int_equal(size, PROXY_MAX);
    assert_rc(proxy_size(STR(SIGNATURE "\x21\x11\xff\xff"), &size), RC_LIMIT);
    assert_rc(proxy_size(STR(SIGNATURE "\x11"), &size), RC_SYNTAX); /* version 1 in binary */
    assert_rc(proxy_size(STR(SIGNATURE "\x22"), &size), RC_SYNTAX);
    assert_rc(proxy_size(STR("P"), &size), RC_SYNTAX);
    assert_rc(proxy_size(STR("\r\nX"), &size), RC_SYNTAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(says_who_the_client_is),
        cmocka_unit_test(may_say_nothing_of_a_client),
        cmocka_unit_test(tells_of_tls),
        cmocka_unit_test(a_checksum_has_to_be_right),
        cmocka_unit_test(its_beginning_says_how_long_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
