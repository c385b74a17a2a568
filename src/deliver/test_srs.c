#include "deliver/srs.h"

#include "base/test.h"

static const unsigned char secret[SRS_SECRET] = "an example of thirty-two bytes..";

enum { TODAY = 20778 };

static struct buf forward(struct str sender, struct str domain)
{
    struct buf b;
    buf_init(&b, 1024);
    assert_rc(srs_forward(secret, TODAY, sender, domain, &b), RC_OK);
    return b;
}

static struct str local_of(struct str address)
{
    return str_head(address, (size_t)str_rfind_byte(address, '@'));
}

static enum rc reverse(struct str local, uint64_t day, struct buf *out)
{
    buf_init(out, 1024);
    return srs_reverse(secret, day, local, out);
}

static void a_bounce_finds_the_sender(void **state)
{
    static const char *const senders[] = {"alice@example.org", "a=b+c-d@sub.example.org", "x@y",
                                          "j\xc3\xb6rg@b\xc3\xbc.test"};
    for (size_t i = 0; i < sizeof senders / sizeof *senders; i++) {
        struct buf to = forward(str_of(senders[i]), STR("ours.test")), back;
        assert_true(str_starts(buf_str(&to), STR("SRS0=")));
        assert_true(str_ends(buf_str(&to), STR("@ours.test")));
        for (uint64_t age = 0; age <= SRS_DAYS; age++) {
            assert_rc(reverse(local_of(buf_str(&to)), TODAY + age, &back), RC_OK);
            assert_true(str_eq(buf_str(&back), str_of(senders[i])));
            buf_fini(&back);
        }
        assert_rc(reverse(local_of(buf_str(&to)), TODAY + SRS_DAYS + 1, &back), RC_EOF);
        buf_fini(&back);
        assert_rc(reverse(local_of(buf_str(&to)), TODAY - 1, &back), RC_OK);
        buf_fini(&back);
        buf_fini(&to);
    }
}

static void letters_count_without_their_case(void **state)
{
    struct buf to = forward(STR("Alice@Example.org"), STR("ours.test")), back;
    char text[256];
    struct str local = local_of(buf_str(&to));
    for (size_t i = 0; i < local.n; i++)
        text[i] = ascii_lower(local.p[i]);
    assert_rc(reverse(str_from(text, local.n), TODAY, &back), RC_OK);
    assert_str(buf_str(&back), "alice@example.org");
    buf_fini(&back);
    buf_fini(&to);
}

static void every_change_is_seen(void **state)
{
    struct buf to = forward(STR("alice@example.org"), STR("ours.test")), back;
    struct str local = local_of(buf_str(&to));
    char text[256];
    for (size_t i = 0; i < local.n; i++) {
        memcpy(text, local.p, local.n);
        text[i] = text[i] == 'x' ? 'y' : 'x';
        enum rc rc = reverse(str_from(text, local.n), TODAY, &back);
        assert_rc(rc, RC_DENIED);
        buf_fini(&back);
    }
    for (size_t n = 0; n < local.n; n++) {
        assert_rc(reverse(str_head(local, n), TODAY, &back), RC_DENIED);
        buf_fini(&back);
    }
    assert_rc(reverse(STR("SRS0=AAAAAAAA=AA=example.org=alice"), TODAY, &back), RC_DENIED);
    buf_fini(&back);
    buf_fini(&to);
}

/* The second forwarder keeps the first one's address, and so does the third. */
static void a_chain_leads_back_to_the_first_forwarder(void **state)
{
    struct buf first = forward(STR("alice@example.org"), STR("first.test")), back;
    struct buf second = forward(buf_str(&first), STR("second.test"));
    assert_true(str_starts(buf_str(&second), STR("SRS1=")));
    assert_rc(reverse(local_of(buf_str(&second)), TODAY, &back), RC_OK);
    assert_true(str_eq(buf_str(&back), buf_str(&first)));
    buf_fini(&back);
    struct buf third = forward(buf_str(&second), STR("third.test"));
    assert_rc(reverse(local_of(buf_str(&third)), TODAY, &back), RC_OK);
    assert_true(str_eq(buf_str(&back), buf_str(&first)));
    buf_fini(&back);
    buf_fini(&first);
    buf_fini(&second);
    buf_fini(&third);
}

static void what_cannot_be_inside_is_left(void **state)
{
    static const char *const senders[] = {"",        "alice",     "\"a b\"@x.test", "a@[192.0.2.1]",
                                          "@x.test", "a(b@x.test"};
    char longest[700];
    struct buf b;
    buf_init(&b, 1024);
    for (size_t i = 0; i < sizeof senders / sizeof *senders; i++)
        assert_rc(srs_forward(secret, TODAY, str_of(senders[i]), STR("ours.test"), &b), RC_SYNTAX);
    memset(longest, 'a', sizeof longest);
    memcpy(longest + sizeof longest - 7, "@x.test", 7);
    assert_rc(srs_forward(secret, TODAY, str_from(longest, sizeof longest), STR("o.test"), &b),
              RC_LIMIT);
    buf_fini(&b);
    assert_false(srs_is(STR("srs0")));
    assert_false(srs_is(STR("SRS2=x")));
    assert_false(srs_is(STR("alice")));
    assert_true(srs_is(STR("srs0+x")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bounce_finds_the_sender),
        cmocka_unit_test(letters_count_without_their_case),
        cmocka_unit_test(every_change_is_seen),
        cmocka_unit_test(a_chain_leads_back_to_the_first_forwarder),
        cmocka_unit_test(what_cannot_be_inside_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
