#include "auth/auth_int.h"

#include "base/test.h"

static void addresses_are_lowered_and_split(void **state)
{
    struct address a;
    assert_rc(auth_address_parse(STR("Alice.O'Hara+x@Mail.Example.TEST"), &a), RC_OK);
    assert_str(a.local, "alice.o'hara+x");
    assert_str(a.domain, "mail.example.test");
    assert_str(a.whole, "alice.o'hara+x@mail.example.test");
    assert_true(a.is_plain);
    assert_rc(auth_address_parse(STR("a@[192.0.2.1]"), &a), RC_OK); /* [RFC5321 4.1.3] */
    assert_str(a.domain, "[192.0.2.1]");
}

static void quotes_do_not_matter(void **state) /* [RFC5321 4.1.2] */
{
    struct address a;
    assert_rc(auth_address_parse(STR("\"Al\\ice\"@example.test"), &a), RC_OK);
    assert_str(a.whole, "alice@example.test");
    assert_true(a.is_plain);
    assert_rc(auth_address_parse(STR("\"a b@c\"@example.test"), &a), RC_OK);
    assert_str(a.local, "a b@c");
    assert_false(a.is_plain);
    assert_rc(auth_address_parse(STR("\"\\\"\"@example.test"), &a), RC_OK);
    assert_str(a.local, "\"");
}

static void what_is_not_an_address(void **state)
{
    static const char *const bad[] = {
        "",
        "@",
        "a@",
        "@b.test",
        "a",
        "a b@c.test",
        "a..b@c.test",
        ".a@c.test",
        "a.@c.test",
        "a@c..test",
        "a@.test",
        "a@test.",
        "a@b c",
        "a@b@c.test",
        "<a@b.test>",
        "\"a@b.test",
        "\"\"@b.test",
        "\"a\"b@c.test",
        "\"a\\\"@b.test",
        "a@[]",
        "a@[1",
        "\xc3\xa4@b.test",
        "a@\xc3\xa4.test",
        "a@b.test\r\n",
        "a@b\\.test",
    };
    struct address a;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_rc(auth_address_parse(str_of(bad[i]), &a), RC_SYNTAX);
    assert_rc(auth_address_parse(str_from("a\0b@c.test", 10), &a), RC_SYNTAX);
}

static void lengths_are_limited(void **state)
{
    struct address a;
    struct domain_name d;
    char text[400];
    memset(text, 'a', sizeof text);
    text[64] = '@';
    memcpy(text + 65, "b.test", 6);
    assert_rc(auth_address_parse(str_from(text, 71), &a), RC_OK);
    text[64] = 'a';
    text[65] = '@';
    assert_rc(auth_address_parse(str_from(text, 72), &a), RC_SYNTAX); /* [RFC5321 4.5.3.1.1] */
    memset(text, 'a', sizeof text);
    text[1] = '@';
    for (size_t i = 60; i < sizeof text; i += 50)
        text[i] = '.';
    assert_rc(auth_address_parse(str_from(text, 254), &a), RC_OK);
    assert_rc(auth_address_parse(str_from(text, 255), &a), RC_SYNTAX);
    assert_rc(auth_domain_parse(str_from(text + 2, 252), &d), RC_OK);
    assert_rc(auth_domain_parse(str_from(text + 2, 253), &d), RC_SYNTAX);
}

static void domain_names(void **state)
{
    static const char *const bad[] = {"",        ".",        "a.",  "-a.test",
                                      "a-.test", "a_b.test", "a b", "[::1]"};
    struct domain_name d;
    assert_rc(auth_domain_parse(STR("Xn--Abc.3.Test"), &d), RC_OK);
    assert_str(d.name, "xn--abc.3.test");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_rc(auth_domain_parse(str_of(bad[i]), &d), RC_SYNTAX);
}

/* The hash decides where stored rows are: it never changes. */
static void the_partition_of_a_domain(void **state)
{
    assert_int_equal(auth_domain_part(STR("123456789")).id,
                     0x83); /* CRC-32C's check value e3069283 */
    assert_int_equal(auth_domain_part(STR("123456789")).class, KV_DIRECTORY);
}

static void records_come_back_and_newer_ones_are_refused(void **state)
{
    struct record r;
    struct address_record a;
    struct domain_record d;
    struct arena arena = {0};
    struct str value;
    const struct address_record made = {.account = 7,
                                        .created = 8,
                                        .is_disabled = true,
                                        .reason = STR("unpaid"),
                                        .settings = {AUTH_POP3_DAYS, 14}};
    assert_rc(auth_address_pack(&made, &arena, &value), RC_OK);
    assert_rc(auth_address_unpack(value, &arena, &a), RC_OK);
    assert_true(a.account == 7 && a.created == 8 && a.is_disabled && !a.is_suspended);
    assert_true(a.settings.pop3_delete == AUTH_POP3_DAYS && a.settings.pop3_days == 14);
    assert_str(a.reason, "unpaid");
    /* Without its last two bytes, where it forwards to, and without the limits before them, it is a
     * row from before there were any. */
    assert_rc(auth_address_unpack(str_head(value, value.n - 1), &arena, &a), RC_CORRUPT);
    assert_rc(auth_address_unpack(str_head(value, value.n - 2), &arena, &a), RC_OK);
    assert_rc(auth_address_unpack(str_head(value, value.n - 3), &arena, &a), RC_OK);
    assert_rc(auth_address_unpack(str_head(value, value.n - 4), &arena, &a), RC_CORRUPT);
    struct str targets[] = {STR("a@a.test"), STR("b@b.test")};
    const struct address_record alias = {.is_alias = true, .targets = targets, .n_targets = 2};
    assert_rc(auth_address_pack(&alias, &arena, &value), RC_OK);
    assert_rc(auth_address_unpack(value, &arena, &a), RC_OK);
    assert_true(a.is_alias && a.n_targets == 2);
    assert_str(a.targets[1], "b@b.test");
    assert_rc(auth_address_unpack(str_head(value, value.n - 1), &arena, &a), RC_CORRUPT);
    assert_rc(auth_address_unpack(STR("\2\1"), &arena, &a), RC_CORRUPT);
    auth_domain_pack(&(struct domain_record){.created = 1,
                                             .accounts = 2,
                                             .postmaster = 3,
                                             .aliases = 4,
                                             .removed = 5,
                                             .delimiter = '-',
                                             .catch_all = STR("x@y")},
                     &r);
    assert_rc(auth_domain_unpack(auth_record_str(&r), &d), RC_OK);
    assert_true(d.created == 1 && d.accounts == 2 && d.postmaster == 3 && d.aliases == 4);
    assert_true(d.removed == 5 && d.delimiter == '-');
    assert_str(d.catch_all, "x@y");
    arena_fini(&arena);
}

static void credentials_with_keys(void **state)
{
    struct secret_record made = {5, STR("$argon2id$..."), true, {.iterations = 4096}}, s;
    struct record r;
    memset(made.scram.salt, 's', SCRAM_SALT);
    for (unsigned n = 1; n <= SCRAM_FORMS; n++) {
        made.scram.n_forms = n;
        memset(made.scram.keys[CRYPTO_SHA_1 - 1][n - 1].stored, 'a', 20);
        memset(made.scram.keys[CRYPTO_SHA_256 - 1][n - 1].server, 'b', 32);
        auth_secret_pack(&made, &r);
        assert_rc(auth_secret_unpack(auth_record_str(&r), &s), RC_OK);
        assert_str(s.hash, "$argon2id$...");
        assert_true(s.is_prepared && s.scram.iterations == 4096 && s.scram.n_forms == n);
        assert_memory_equal(s.scram.salt, made.scram.salt, SCRAM_SALT);
        assert_memory_equal(s.scram.keys, made.scram.keys, sizeof s.scram.keys);
        for (size_t cut = 1; cut < 22 + 104 * n; cut++)
            assert_rc(auth_secret_unpack(str_head(auth_record_str(&r), r.n - cut), &s), RC_CORRUPT);
    }
    made.scram = (struct scram_record){0};
    auth_secret_pack(&made, &r);
    assert_rc(auth_secret_unpack(auth_record_str(&r), &s), RC_OK);
    assert_true(s.is_prepared && !s.scram.iterations);
}

/* What release 0.1.0 wrote is shorter. */
static void older_records_mean_what_they_meant(void **state)
{
    struct arena arena = {0};
    struct address_record a;
    struct domain_record d;
    struct str address = STR("\1\1\0\0\0\0\0\0\0\7\0\0\0\0\0\0\0\10\1");
    struct str domain = STR("\1\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0\3");
    assert_rc(auth_address_unpack(address, &arena, &a), RC_OK);
    assert_true(a.account == 7 && a.created == 8 && a.is_disabled && !a.is_suspended);
    assert_true(!a.is_alias && a.settings.pop3_delete == AUTH_POP3_UNSET && a.reason.n == 0);
    assert_rc(auth_domain_unpack(domain, &d), RC_OK);
    assert_true(d.created == 1 && d.accounts == 2 && d.postmaster == 3 && d.delimiter == '+');
    assert_true(d.catch_all.n == 0 && d.aliases == 0 && d.removed == 0);
    struct secret_record s;
    struct str secret = STR("\1\1\0\0\0\0\0\0\0\5\0\3abc");
    assert_rc(auth_secret_unpack(secret, &s), RC_OK);
    assert_str(s.hash, "abc");
    assert_true(!s.is_prepared && !s.scram.iterations);
    arena_fini(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_are_lowered_and_split),
        cmocka_unit_test(quotes_do_not_matter),
        cmocka_unit_test(what_is_not_an_address),
        cmocka_unit_test(lengths_are_limited),
        cmocka_unit_test(domain_names),
        cmocka_unit_test(the_partition_of_a_domain),
        cmocka_unit_test(records_come_back_and_newer_ones_are_refused),
        cmocka_unit_test(credentials_with_keys),
        cmocka_unit_test(older_records_mean_what_they_meant),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
