/* Signatures: the examples of the RFCs, and what ours say. Other programs verify them in
 * tests/clients/test_dkim.py. */
#include "mailauth/mailauth_int.h"

#include "base/base64.h"
#include "base/list.h"
#include "base/test.h"

#include <stdlib.h>
#include <string.h>

static void decode(const char *text, struct buf *out)
{
    buf_init(out, 4096);
    assert_rc(base64_decode(out, str_of(text)), RC_OK);
}

static void body_hash(struct str body, size_t step, struct buf *out)
{
    struct mailauth_sign s;
    mailauth_sign_init(&s);
    mailauth_sign_feed(&s, STR("From: a@b\r\n\r\n"));
    for (; body.n; body = str_skip(body, step))
        mailauth_sign_feed(&s, str_head(body, step));
    assert_rc(mailauth_sign_finish(&s), RC_OK);
    buf_init(out, 100);
    assert_rc(base64_encode(out, str_from(s.body_hash, sizeof s.body_hash)), RC_OK);
    mailauth_sign_fini(&s);
}

static void plain_hash(struct str bytes, struct buf *out)
{
    unsigned char hash[CRYPTO_SHA256];
    crypto_sha256(bytes, hash);
    buf_init(out, 100);
    assert_rc(base64_encode(out, str_from(hash, sizeof hash)), RC_OK);
}

/* [RFC6376 3.4.4] [RFC6376 3.4.5] */
static void bodies_are_made_canonical(void **state)
{
    static const struct {
        struct str body, canonical;
    } cases[] = {
        {STR_INIT(""), STR_INIT("")},
        {STR_INIT("\r\n"), STR_INIT("")},
        {STR_INIT("\r\n \t\r\n\r\n"), STR_INIT("")},
        {STR_INIT("  "), STR_INIT("")},
        {STR_INIT(" C \r\nD \t E\r\n\r\n\r\n"), STR_INIT(" C\r\nD E\r\n")},
        {STR_INIT("text"), STR_INIT("text\r\n")},
        {STR_INIT("text \t"), STR_INIT("text\r\n")},
        {STR_INIT("text\r\n"), STR_INIT("text\r\n")},
        {STR_INIT("\r\n\r\n text"), STR_INIT("\r\n\r\n text\r\n")},
        {STR_INIT("a\rb\nc\r\r\n"), STR_INIT("a\rb\nc\r\r\n")},
        {STR_INIT("a \rb\r"), STR_INIT("a \rb\r\r\n")},
        {STR_INIT("\t\ta  b\t\r\n \r\n  c"), STR_INIT(" a b\r\n\r\n c\r\n")},
        {STR_INIT("a\r\n.\r\n..\r\n"), STR_INIT("a\r\n.\r\n..\r\n")},
        {STR_INIT("a\0b \xff\r\n"), STR_INIT("a\0b \xff\r\n")},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (size_t step = 1; step < 8; step++) {
            struct buf got, wanted;
            body_hash(cases[i].body, step, &got);
            plain_hash(cases[i].canonical, &wanted);
            assert_true(str_eq(buf_str(&got), buf_str(&wanted)));
            buf_fini(&got);
            buf_fini(&wanted);
        }
    }
    struct buf got;
    body_hash(STR(""), 1, &got);
    assert_str(buf_str(&got), "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="); /* of nothing */
    buf_fini(&got);
}

/* Line ends without number, and then something. */
static void many_empty_lines_take_no_memory(void **state)
{
    static const char lines[] = "\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n";
    struct crypto_sha256_state plain;
    unsigned char hash[CRYPTO_SHA256];
    struct mailauth_sign s;
    mailauth_sign_init(&s);
    crypto_sha256_init(&plain);
    mailauth_sign_feed(&s, STR("\r\nx"));
    crypto_sha256_add(&plain, STR("x"));
    for (int i = 0; i < 1000; i++) {
        mailauth_sign_feed(&s, str_of(lines));
        crypto_sha256_add(&plain, str_of(lines));
    }
    mailauth_sign_feed(&s, STR("y"));
    crypto_sha256_add(&plain, STR("y\r\n"));
    crypto_sha256_end(&plain, hash);
    assert_rc(mailauth_sign_finish(&s), RC_OK);
    assert_memory_equal(s.body_hash, hash, sizeof hash);
    mailauth_sign_fini(&s);
}

/* --- the message of RFC 8463, appendix A ------------------------------------------------------ */

static const char seed_public[] = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
static const char rsa_public[] =
    "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWR"
    "iGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutAC"
    "DfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3"
    "Ip3G+2kryOTIKT+l/K4w3QIDAQAB";
static const char dinner[] = "From: Joe SixPack <joe@football.example.com>\r\n"
                             "To: Suzie Q <suzie@shopping.example.net>\r\n"
                             "Subject: Is dinner ready?\r\n"
                             "Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r\n"
                             "Message-ID: <20030712040037.46341.5F8J@football.example.com>\r\n"
                             "\r\n"
                             "Hi.\r\n\r\nWe lost the game.  Are you hungry yet?\r\n\r\nJoe.\r\n";
static const struct {
    const char *name, *value;
} dinner_fields[] = {
    /* in the order of its h= */
    {"From", " Joe SixPack <joe@football.example.com>"},
    {"To", " Suzie Q <suzie@shopping.example.net>"},
    {"Subject", " Is dinner ready?"},
    {"Date", " Fri, 11 Jul 2003 21:00:37 -0700 (PDT)"},
    {"Message-ID", " <20030712040037.46341.5F8J@football.example.com>"},
};

static void the_examples_signatures_are_right(void **state)
{
    static const struct {
        enum crypto_algorithm algorithm;
        const char *public_key, *field, *signature;
    } cases[] = {
        {CRYPTO_ED25519, seed_public,
         " v=1; a=ed25519-sha256; c=relaxed/relaxed;\r\n"
         " d=football.example.com; i=@football.example.com;\r\n"
         " q=dns/txt; s=brisbane; t=1528637909; h=from : to :\r\n"
         " subject : date : message-id : from : subject : date;\r\n"
         " bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n b=",
         "/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus"
         "Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw=="},
        {CRYPTO_RSA_SHA256, rsa_public,
         " v=1; a=rsa-sha256; c=relaxed/relaxed;\r\n"
         " d=football.example.com; i=@football.example.com;\r\n"
         " q=dns/txt; s=test; t=1528637909; h=from : to : subject :\r\n"
         " date : message-id : from : subject : date;\r\n"
         " bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n b=",
         "F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3"
         "DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz"
         "dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8="},
    };
    for (size_t i = 0; i < 2; i++) {
        struct crypto_sha256_state hash;
        unsigned char digest[CRYPTO_SHA256];
        struct buf key, signature, bh;
        decode(cases[i].public_key, &key);
        decode(cases[i].signature, &signature);
        crypto_sha256_init(&hash);
        for (size_t k = 0; k < 5; k++)
            mailauth_canon_field(&hash, str_of(dinner_fields[k].name),
                                 str_of(dinner_fields[k].value), false);
        mailauth_canon_field(&hash, STR("DKIM-Signature"), str_of(cases[i].field), true);
        crypto_sha256_end(&hash, digest);
        assert_rc(
            crypto_signature_verify(cases[i].algorithm, buf_str(&key), digest, buf_str(&signature)),
            RC_OK);
        body_hash(str_of(strstr(dinner, "\r\n\r\n") + 4), 7, &bh);
        assert_str(buf_str(&bh), "2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=");
        buf_fini(&key);
        buf_fini(&signature);
        buf_fini(&bh);
    }
}

/* --- ours ------------------------------------------------------------------------------------- */

/* What it is asked to sign comes out as the signature. */
struct notary {
    struct mailauth_hand hand;
    unsigned asked;
    enum rc rc;
    unsigned char digest[CRYPTO_SHA256];
};

static enum rc note(struct mailauth_hand *hand, const struct mailauth_key *key,
                    const unsigned char digest[CRYPTO_SHA256], unsigned char *out, size_t *n)
{
    struct notary *notary = CONTAINER(hand, struct notary, hand);
    notary->asked++;
    memcpy(notary->digest, digest, CRYPTO_SHA256);
    memcpy(out, digest, CRYPTO_SHA256);
    *n = CRYPTO_SHA256;
    return notary->rc;
}

struct pieces {
    struct mailauth_source source;
    struct str rest;
    size_t step;
    enum rc end;
};

static enum rc next_piece(struct mailauth_source *source, struct str *out)
{
    struct pieces *p = CONTAINER(source, struct pieces, source);
    if (!p->rest.n)
        return p->end;
    *out = str_head(p->rest, p->step);
    p->rest = str_skip(p->rest, p->step);
    return RC_OK;
}

struct ring {
    struct mailauth_keys keys;
    size_t n;
    enum rc rc;
};

static enum rc find_keys(struct mailauth_keys *keys, struct str domain, struct arena *arena,
                         struct mailauth_key *out, size_t *out_n)
{
    struct ring *ring = CONTAINER(keys, struct ring, keys);
    static const enum crypto_algorithm algorithms[] = {CRYPTO_ED25519, CRYPTO_RSA_SHA256};
    *out_n = ring->n;
    for (size_t i = 0; i < ring->n; i++)
        out[i] = (struct mailauth_key){.domain = arena_dup(arena, domain),
                                       .selector = STR("20261121e"),
                                       .algorithm = algorithms[i]};
    return ring->rc;
}

static enum rc sign(struct str message, size_t step, size_t n_keys, struct buf *out)
{
    struct notary notary = {.hand.sign = note};
    struct pieces pieces = {{next_piece}, message, step, RC_EOF};
    struct ring ring = {{find_keys}, n_keys, RC_OK};
    const struct mailauth_signing signing = {&pieces.source, &ring.keys, &notary.hand, 1528637909};
    return mailauth_sign(&signing, out);
}

static void fields_are_folded_and_oversigned(void **state)
{
    struct buf out;
    buf_init(&out, 64 << 10);
    assert_rc(sign(str_of(dinner), 5, 1, &out), RC_OK);
    struct str text = buf_str(&out), line, rest = text;
    assert_true(str_starts(text, STR("DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;\r\n"
                                     "\td=football.example.com; s=20261121e; t=1528637909;\r\n"
                                     "\tbh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n"
                                     "\th=From:From:To:To:Cc:Subject:Subject:Date:Date:Message-ID:"
                                     "Message-ID\r\n"
                                     "\t:Reply-To:MIME-Version:Content-Type:"
                                     "Content-Transfer-Encoding;\r\n"
                                     "\tb=")));
    while (str_cut(&rest, '\n', &line) && !str_is_null(rest)) {
        assert_true(str_ends(line, STR("\r")));
        assert_in_range(line.n, 2, 79);
    }
    buf_fini(&out);
}

/* However it comes. */
static void pieces_make_no_difference(void **state)
{
    struct buf whole;
    buf_init(&whole, 64 << 10);
    assert_rc(sign(str_of(dinner), sizeof dinner, 2, &whole), RC_OK);
    for (size_t step = 1; step < 60; step++) {
        struct buf out;
        buf_init(&out, 64 << 10);
        assert_rc(sign(str_of(dinner), step, 2, &out), RC_OK);
        assert_true(str_eq(buf_str(&out), buf_str(&whole)));
        buf_fini(&out);
    }
    buf_fini(&whole);
}

static void lists_and_repeated_fields(void **state)
{
    struct buf out;
    buf_init(&out, 64 << 10);
    assert_rc(sign(STR("From: a@example.org\r\nReceived: by x\r\nTo: b@example.org\r\n"
                       "to : c@example.org\r\nList-ID: <l.example.org>\r\nResent-To: d@e\r\n\r\n"),
                   100, 1, &out),
              RC_OK);
    struct str text = buf_str(&out);
    assert_true(str_find(text, STR("h=From:From:To:To:To:Cc:")) > 0);
    assert_true(str_find(text, STR(":List-Id:List-Id:Resent-To;")) > 0);
    assert_true(str_find(text, STR("Received")) < 0);
    assert_true(str_find(text, STR("Sender")) < 0);
    buf_fini(&out);
}

static void what_cannot_be_signed(void **state)
{
    struct buf out, large;
    buf_init(&out, 64 << 10);
    buf_init(&large, 4 << 20);
    /* Nobody to sign for. */
    assert_rc(sign(STR("To: a@b\r\n\r\ntext"), 9, 1, &out), RC_SYNTAX);
    assert_rc(sign(STR("From: nobody\r\n\r\ntext"), 9, 1, &out), RC_SYNTAX);
    assert_rc(sign(STR(""), 9, 1, &out), RC_SYNTAX);
    assert_rc(sign(STR("From: a@b"), 9, 0, &out), RC_OK); /* no keys there */
    assert_int_equal(buf_len(&out), 0);
    /* A header without end, and one with too many fields. */
    buf_put(&large, STR("From: a@b\r\n"));
    for (int i = 0; i <= MAILAUTH_FIELDS_MAX; i++)
        buf_put(&large, STR("To: c@d\r\n"));
    assert_rc(sign(buf_str(&large), 1000, 1, &out), RC_LIMIT);
    while (buf_len(&large) <= MAILAUTH_HEADER_MAX)
        buf_put(&large, STR("X: 0123456789012345678901234567890123456789012345678901234567890123456"
                            "789\r\n"));
    assert_rc(sign(buf_str(&large), 100000, 1, &out), RC_LIMIT);
    assert_int_equal(buf_len(&out), 0);
    assert_false(out.over);
    buf_fini(&out);
    buf_fini(&large);
    /* No room for it. */
    buf_init(&out, 100);
    assert_rc(sign(str_of(dinner), 100, 1, &out), RC_LIMIT);
    assert_int_equal(buf_len(&out), 0);
    assert_false(out.over);
    buf_fini(&out);
}

static void failures_of_others_are_told(void **state)
{
    struct notary notary = {.hand.sign = note, .rc = RC_TEMP};
    struct pieces pieces = {{next_piece}, str_of(dinner), 100, RC_EOF};
    struct ring ring = {{find_keys}, 2, RC_OK};
    const struct mailauth_signing signing = {&pieces.source, &ring.keys, &notary.hand, 0};
    struct buf out;
    buf_init(&out, 64 << 10);
    buf_put(&out, STR("before"));
    assert_rc(mailauth_sign(&signing, &out), RC_TEMP);
    assert_int_equal(notary.asked, 1);
    pieces.rest = str_of(dinner);
    ring.rc = RC_CORRUPT;
    assert_rc(mailauth_sign(&signing, &out), RC_CORRUPT);
    pieces.rest = str_of(dinner);
    pieces.end = RC_CORRUPT;
    assert_rc(mailauth_sign(&signing, &out), RC_CORRUPT);
    assert_str(buf_str(&out), "before");
    buf_fini(&out);
}

/* A message of a domain as long as one may be. */
static void long_names_fit(void **state)
{
    char message[600] = "From: a@";
    struct buf out;
    for (int i = 0; i < 4; i++)
        strcat(message, "a23456789012345678901234567890123456789012345678901234567890123.");
    message[8 + 253] = '\0';
    strcat(message, "\r\n\r\n");
    buf_init(&out, 64 << 10);
    assert_rc(sign(str_of(message), 600, 2, &out), RC_OK);
    buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bodies_are_made_canonical),
        cmocka_unit_test(many_empty_lines_take_no_memory),
        cmocka_unit_test(the_examples_signatures_are_right),
        cmocka_unit_test(fields_are_folded_and_oversigned),
        cmocka_unit_test(pieces_make_no_difference),
        cmocka_unit_test(lists_and_repeated_fields),
        cmocka_unit_test(what_cannot_be_signed),
        cmocka_unit_test(failures_of_others_are_told),
        cmocka_unit_test(long_names_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
