#include "admin/passwd.h"

#include "base/test.h"

#define HASH "$1$abcdefgh$yTpYrEJJOuAsO2Aee15/D1"

static void lines(void **state)
{
    static const struct {
        const char *line, *domain, *address, *text;
        enum rc rc;
        enum passwd_kind kind;
    } cases[] = {
        {"bob@a.test:{MD5-CRYPT}" HASH, NULL, "bob@a.test", HASH, RC_OK, PASSWD_HASH},
        {"bob:" HASH, "a.test", "bob@a.test", HASH, RC_OK, PASSWD_HASH},
        {"bob@b.test:" HASH, "a.test", "bob@b.test", HASH, RC_OK, PASSWD_HASH},
        /* Dovecot's passwd-file, and /etc/shadow. */
        {"bob:{CRYPT}" HASH ":1000:1000::/home/bob::userdb_mail=maildir:~/Mail", "a.test",
         "bob@a.test", HASH, RC_OK, PASSWD_HASH},
        {"bob:" HASH ":19000:0:99999:7:::\r", "a.test", "bob@a.test", HASH, RC_OK, PASSWD_HASH},
        {"bob:{plain}open sesame", "a.test", "bob@a.test", "open sesame", RC_OK, PASSWD_PLAIN},
        {"bob:{CLEARTEXT}x:1", "a.test", "bob@a.test", "x", RC_OK, PASSWD_PLAIN},
        {"daemon:*:19000:0:99999:7:::", "a.test", "daemon@a.test", "", RC_OK, PASSWD_NONE},
        {"bob:!" HASH, "a.test", "bob@a.test", "", RC_OK, PASSWD_NONE},
        {"bob:x:1000:1000:Bob:/home/bob:/bin/sh", "a.test", "bob@a.test", "", RC_OK, PASSWD_NONE},
        {"bob::1", "a.test", "bob@a.test", "", RC_OK, PASSWD_NONE},
        {"", NULL, "", "", RC_NOTFOUND, PASSWD_HASH},
        {"  \t", NULL, "", "", RC_NOTFOUND, PASSWD_HASH},
        {"# bob:" HASH, NULL, "", "", RC_NOTFOUND, PASSWD_HASH},
        {"bob", "a.test", "", "", RC_SYNTAX, PASSWD_HASH},
        {":" HASH, "a.test", "@a.test", "", RC_SYNTAX, PASSWD_HASH},
        {"bob:" HASH, NULL, "", "", RC_SYNTAX, PASSWD_HASH},
        {"bob:secret", "a.test", "bob@a.test", "", RC_SYNTAX, PASSWD_HASH},
        {"bob:{PLAIN}", "a.test", "bob@a.test", "", RC_SYNTAX, PASSWD_PLAIN},
        {"bob:$6$rounds=999999999$a$b", "a.test", "bob@a.test", NULL, RC_SYNTAX, PASSWD_HASH},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct passwd_entry e;
        assert_rc(passwd_read(str_of(cases[i].line), str_of(cases[i].domain), &e), cases[i].rc);
        assert_int_equal(e.why != NULL, cases[i].rc == RC_SYNTAX);
        assert_string_equal(e.address, cases[i].address);
        if (cases[i].rc != RC_OK)
            continue;
        assert_int_equal(e.kind, cases[i].kind);
        assert_string_equal(e.text, cases[i].text);
    }
}

static void too_long(void **state)
{
    char text[PASSWD_LINE_MAX + 2];
    struct passwd_entry e;
    memset(text, 'a', sizeof text);
    assert_rc(passwd_read(str_from(text, PASSWD_LINE_MAX + 1), STR("a.test"), &e), RC_SYNTAX);
    text[300] = ':';
    assert_rc(passwd_read(str_from(text, 400), STR("a.test"), &e), RC_SYNTAX);
    assert_string_equal(e.why, "the name is too long");
    memcpy(text, "b:{PLAIN}", 9);
    assert_rc(passwd_read(str_from(text, 299), STR("a.test"), &e), RC_SYNTAX);
    assert_rc(passwd_read(str_from("b\0:x", 4), STR("a.test"), &e), RC_SYNTAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(lines), cmocka_unit_test(too_long)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
