#include "base/mem.h"
#include "base/test.h"
#include "mime/decode.h"

#include <stdlib.h>

/* Decodes in pieces of `step` bytes into a buffer with little room, collecting what comes. */
static bool decode_cut(enum mime_encoding encoding, struct str in, size_t step, struct buf *all)
{
    struct mime_decoder d;
    struct buf out;
    buf_init(&out, MIME_HELD + 3 + 5);
    mime_decode_begin(&d, encoding);
    while (in.n) {
        struct str piece = str_head(in, step);
        in = str_skip(in, step);
        while (mime_decode(&d, &piece, &out) == RC_AGAIN) {
            buf_put(all, buf_str(&out));
            buf_clear(&out);
        }
    }
    buf_put(all, buf_str(&out));
    buf_clear(&out);
    assert_rc(mime_decode_end(&d, &out), RC_OK);
    buf_put(all, buf_str(&out));
    buf_fini(&out);
    return d.is_damaged;
}

static void expect(enum mime_encoding encoding, const char *in, const char *meant, bool is_damaged)
{
    for (size_t step = 1; step < 80; step += step < 9 ? 1 : 23) {
        struct buf all;
        buf_init(&all, 100000);
        assert_int_equal(decode_cut(encoding, str_of(in), step, &all), is_damaged);
        if (!str_eq(buf_str(&all), str_of(meant)))
            fail_msg("'%s' in pieces of %zu became '%.*s'", in, step, STR_ARG(buf_str(&all)));
        buf_fini(&all);
    }
}

static void encodings_have_names(void **state) /* [RFC2045 6.1] */
{
    enum mime_encoding e;
    assert_rc(mime_encoding_read(STR(""), &e), RC_OK);
    assert_int_equal(e, MIME_IDENTITY);
    assert_rc(mime_encoding_read(STR("BASE64"), &e), RC_OK);
    assert_int_equal(e, MIME_BASE64);
    assert_rc(mime_encoding_read(STR("Quoted-Printable"), &e), RC_OK);
    assert_int_equal(e, MIME_QUOTED_PRINTABLE);
    assert_rc(mime_encoding_read(STR("x-uuencode"), &e), RC_PERM); /* [RFC2045 6.4] */
}

static void base64_is_undone(void **state) /* [RFC2045 6.8] */
{
    expect(MIME_BASE64, "", "", false);
    expect(MIME_BASE64, "Zg==", "f", false);
    expect(MIME_BASE64, "Zm8=\r\n", "fo", false);
    expect(MIME_BASE64, "Zm9v\r\nYmFy", "foobar", false);
    expect(MIME_BASE64, "Z m\t9\r\nv", "foo", false);
    expect(MIME_BASE64, "Zm9vYg==Zm9v", "foobfoo", false); /* one behind the other */
}

static void broken_base64_is_read_as_far_as_it_goes(void **state) /* [RFC2045 6.8] */
{
    expect(MIME_BASE64, "Zm9v!Ym*Fy", "foobar", true);
    expect(MIME_BASE64, "Zm9vYg", "foob", true);
    expect(MIME_BASE64, "Zm9vY", "foo", true);
    expect(MIME_BASE64, "Zm9vY=", "foo", true);
    expect(MIME_BASE64, "\xc3\xa4Zm9v", "foo", true);
}

static void quoted_printable_is_undone(void **state) /* [RFC2045 6.7] */
{
    enum mime_encoding qp = MIME_QUOTED_PRINTABLE;
    expect(qp, "a=3Db=c3=A4c",
           "a=b\xc3\xa4"
           "c",
           false);
    expect(qp, "soft=\r\nline =\r\nends=  \r\n.", "softline ends.", false);
    expect(qp, "soft=\nends", "softends", false);
    expect(qp, "padded \t \r\nline\r\n\r\n", "padded\r\nline\r\n\r\n", false);
    expect(qp, "padded \nline", "padded\nline", false);
    expect(qp, "a b  c\td", "a b  c\td", false);
    expect(qp, "end= ", "end", false);
    expect(qp, "end  ", "end", false);
    expect(qp, "cr\rhere \r there", "cr\rhere \r there", false);
}

static void broken_quoted_printable_stands_as_it_is(void **state) /* [RFC2045 6.7] */
{
    enum mime_encoding qp = MIME_QUOTED_PRINTABLE;
    expect(qp, "a=zz=", "a=zz", true);
    expect(qp, "a=4z==41", "a=4z=A", true);
    expect(qp, "= x", "= x", true);
    expect(qp, "=4", "=4", true);
    expect(qp, "=4\r\n=\rx", "=4\r\n=\rx", true);
}

static void long_runs_of_white_space_are_not_held(void **state)
{
    char in[1000];
    struct buf all;
    memset(in, ' ', sizeof in);
    memcpy(in + 900, "x", 1);
    for (size_t step = 1; step < 1000; step += 333) {
        buf_init(&all, 2000);
        decode_cut(MIME_QUOTED_PRINTABLE, str_from(in, 901), step, &all);
        assert_true(str_eq(buf_str(&all), str_from(in, 901)));
        buf_fini(&all);
    }
}

static void identity_copies(void **state)
{
    expect(MIME_IDENTITY, "a=3D \r\n\xff", "a=3D \r\n\xff", false);
}

/* What the whole alphabet means, in long input. */
static void much_base64_is_undone(void **state)
{
    enum { GROUPS = 20000 };
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *in = mem_alloc(GROUPS * 4);
    struct mime_decoder d;
    struct buf out;
    for (size_t i = 0; i < GROUPS; i++) {
        uint32_t v = (uint32_t)(i * 2654435761u) & 0xffffff;
        for (size_t k = 0; k < 4; k++)
            in[i * 4 + k] = digits[v >> (18 - 6 * k) & 63];
    }
    buf_init(&out, GROUPS * 3 + 1000);
    struct str rest = str_from(in, GROUPS * 4);
    mime_decode_begin(&d, MIME_BASE64);
    assert_rc(mime_decode(&d, &rest, &out), RC_OK);
    assert_int_equal(buf_len(&out), GROUPS * 3);
    for (size_t i = 0; i < GROUPS; i++) {
        uint32_t v = (uint32_t)(i * 2654435761u) & 0xffffff;
        const unsigned char *p = (const unsigned char *)buf_str(&out).p + i * 3;
        assert_int_equal((uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2], v);
    }
    assert_false(d.is_damaged);
    buf_fini(&out);
    free(in);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(encodings_have_names),
        cmocka_unit_test(base64_is_undone),
        cmocka_unit_test(broken_base64_is_read_as_far_as_it_goes),
        cmocka_unit_test(quoted_printable_is_undone),
        cmocka_unit_test(broken_quoted_printable_stands_as_it_is),
        cmocka_unit_test(long_runs_of_white_space_are_not_held),
        cmocka_unit_test(identity_copies),
        cmocka_unit_test(much_base64_is_undone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
