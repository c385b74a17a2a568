/* Addresses of documents: what can be asked for, and of whom. */
#include "token/token_int.h"

#include "base/test.h"

static void good_ones(void **state)
{
    static const struct {
        const char *text, *host;
        uint16_t port;
        bool is_address, is_plain;
    } rows[] = {
        {"https://login.example.org/realms/x/keys", "login.example.org", 443, false, false},
        {"HTTPS://Login.Example.ORG:8443", "login.example.org", 8443, false, false},
        {"https://login.example.org?keys=1", "login.example.org", 443, false, false},
        {"https://192.0.2.1/keys", "192.0.2.1", 443, true, false},
        {"https://[2001:db8::1]:444/keys", "2001:db8::1", 444, true, false},
        {"http://127.0.0.1:8080/keys", "127.0.0.1", 8080, true, true},
        {"http://[::1]/keys", "::1", 80, true, true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct url url;
        assert_rc(url_parse(str_of(rows[i].text), &url), RC_OK);
        assert_string_equal(url.text, rows[i].text);
        assert_string_equal(url.host, rows[i].host);
        assert_int_equal(url.port, rows[i].port);
        assert_int_equal(url.is_address, rows[i].is_address);
        assert_int_equal(url.is_plain, rows[i].is_plain);
    }
}

/* In clear only within this machine; nobody's name before the host, which could pass for it. */
static void bad_ones(void **state)
{
    static const char *const rows[] = {"",
                                       "login.example.org",
                                       "ftp://login.example.org/",
                                       "file:///etc/passwd",
                                       "http://login.example.org/keys",
                                       "http://192.0.2.1/keys",
                                       "http://localhost/keys",
                                       "https://",
                                       "https:///keys",
                                       "https://user@login.example.org/",
                                       "https://login.example.org:0/",
                                       "https://login.example.org:65536/",
                                       "https://login.example.org:/",
                                       "https://login.example.org:443x/",
                                       "https://[2001:db8::1/",
                                       "https://[2001:db8::1]443/",
                                       "https://login..example.org/",
                                       "https://login.example.org/a b",
                                       "https://login.example.org/\r\nHost: x",
                                       "https://login.example.org/#keys"};
    char longest[URL_MAX + 2];
    struct url url;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_rc(url_parse(str_of(rows[i]), &url), RC_SYNTAX);
    memset(longest, 'a', sizeof longest);
    memcpy(longest, "https://a/", 10);
    assert_rc(url_parse(str_from(longest, URL_MAX), &url), RC_OK);
    assert_rc(url_parse(str_from(longest, URL_MAX + 1), &url), RC_SYNTAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_ones),
        cmocka_unit_test(bad_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
