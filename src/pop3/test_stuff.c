#include "pop3/pop3_int.h"

#include "base/test.h"

#include <stdlib.h>

enum { ROOM = 1 << 12 };

/* Stuffs the text in pages of `step` bytes. */
static size_t stuffed(struct str text, size_t step, char *out)
{
    bool is_start = true;
    size_t n = 0;
    for (size_t at = 0; at < text.n; at += step) {
        struct str page = str_sub(text, at, step);
        bool before = is_start;
        memcpy(out + n, page.p, page.n);
        size_t dots = pop3_stuff_count(str_from(out + n, page.n), &is_start);
        assert_true(dots <= page.n / 2 + 1);
        pop3_stuff(out + n, page.n, before, dots);
        n += page.n + dots;
    }
    return n;
}

static void check_stuff(struct str text, struct str expected)
{
    for (size_t step = 1; step < text.n + 2; step++) {
        char out[ROOM];
        size_t n = stuffed(text, step, out);
        assert_true(str_eq(str_from(out, n), expected));
    }
}

static void lines_that_begin_with_a_dot(void **state) /* [RFC1939 3] */
{
    check_stuff(STR(""), STR(""));
    check_stuff(STR("a.b\r\n.\r\n..\r\n.c\r\nd."), STR("a.b\r\n..\r\n...\r\n..c\r\nd."));
    check_stuff(STR("."), STR(".."));
    check_stuff(STR(".\r\n"), STR("..\r\n"));
    check_stuff(STR("\r\n\r\n."), STR("\r\n\r\n.."));
    check_stuff(STR("a\n.\nb"), STR("a\n..\nb"));
    check_stuff(STR("a\r.b"), STR("a\r.b"));
}

/* The reference: a byte at a time. */
static size_t plain(struct str text, char *out)
{
    size_t n = 0;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] == '.' && (!i || text.p[i - 1] == '\n'))
            out[n++] = '.';
        out[n++] = text.p[i];
    }
    return n;
}

static void any_text_in_any_pages(void **state)
{
    unsigned seed = 7;
    for (int round = 0; round < 3000; round++) {
        char text[200], expected[ROOM], out[ROOM];
        size_t n = (size_t)rand_r(&seed) % sizeof text;
        for (size_t i = 0; i < n; i++)
            text[i] = ".\n\r.ab"[rand_r(&seed) % 6];
        size_t n_expected = plain(str_from(text, n), expected);
        size_t n_out = stuffed(str_from(text, n), 1 + (size_t)rand_r(&seed) % 200, out);
        assert_int_equal(n_out, n_expected);
        assert_memory_equal(out, expected, n_out);
    }
}

static void check_top(struct str text, uint64_t lines, size_t expected)
{
    for (size_t step = 1; step < text.n + 2; step++) {
        struct pop3_top top = {.lines = lines};
        size_t taken = 0;
        for (size_t at = 0; at < text.n && !top.is_done; at += step) {
            struct str page = str_sub(text, at, step);
            size_t n = pop3_top_take(&top, page);
            assert_true(n == page.n || (n < page.n && top.is_done));
            taken += n;
        }
        assert_int_equal(taken, expected);
    }
}

static void top_ends_where_it_should(void **state) /* [RFC1939 7] */
{
    struct str mail = STR("A: b\r\n c\r\nD: e\r\n\r\none\r\n\r\nthree\r\n");
    check_top(mail, 0, 18);
    check_top(mail, 1, 23);
    check_top(mail, 2, 25);
    check_top(mail, 3, mail.n);
    check_top(mail, UINT64_MAX, mail.n);
    check_top(STR("\r\nbody\r\n"), 0, 2);
    check_top(STR("\nbody\n"), 0, 1);
    check_top(STR("A: b\r\n\rC: d\r\n\r\nbody"), 0, 15); /* CR is not an empty line */
    check_top(STR("A: b\r\nno body"), 5, 13);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_that_begin_with_a_dot),
        cmocka_unit_test(any_text_in_any_pages),
        cmocka_unit_test(top_ends_where_it_should),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
