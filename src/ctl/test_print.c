/* What is printed of an answer, byte by byte. */
#include "ctl/ctl_int.h"

#include "base/test.h"

#include <stdio.h>
#include <unistd.h>

/* What `print` says on standard output. */
static struct str printed(void (*print)(const struct admin_answer *a),
                          const struct admin_answer *answer, char *to, size_t size)
{
    FILE *file = tmpfile();
    assert_non_null(file);
    fflush(stdout);
    int before = dup(STDOUT_FILENO);
    assert_true(before >= 0 && dup2(fileno(file), STDOUT_FILENO) >= 0);
    print(answer);
    fflush(stdout);
    assert_true(dup2(before, STDOUT_FILENO) >= 0);
    close(before);
    rewind(file);
    size_t n = fread(to, 1, size, file);
    fclose(file);
    return str_from(to, n);
}

static struct admin_answer answer_of(struct str *cells, size_t n)
{
    return (struct admin_answer){.columns = {STR("scope"), STR("blocked"), STR("failures")},
                                 .n_columns = 3,
                                 .cells = cells,
                                 .n_cells = n};
}

static void a_name_does_not_command_the_terminal(void **state)
{
    struct str cells[] = {
        STR("account"),
        STR("a\x1b[2J\x7f\r\nb"),
        STR("20"), /* ESC, DEL, another line */
        STR("account"),
        STR("\xc2\x9b"
            "1m"),
        STR("20"), /* CSI in one character */
        STR("account"),
        STR("\xff\x9b"),
        STR("20"), /* not UTF-8 */
        STR("account"),
        STR("j\xc3\xb6rg\xe2\x82\x9b"),
        STR("20"),
    };
    const struct admin_answer answer = answer_of(cells, sizeof cells / sizeof *cells);
    char text[1000];
    assert_str(printed(ctl_print_table, &answer, text, sizeof text),
               "scope    blocked                failures\n"
               "account  a\\x1b[2J\\x7f\\x0d\\x0ab  20\n"
               "account  \\xc2\\x9b1m             20\n"
               "account  \\xff\\x9b               20\n"
               "account  j\xc3\xb6rg\xe2\x82\x9b               20\n");
}

static void a_column_has_one_type(void **state)
{
    struct str cells[] = {STR("account"), STR("12345"), STR("20"),
                          STR("account"), STR("no"),    STR("21")};
    const struct admin_answer answer = answer_of(cells, sizeof cells / sizeof *cells);
    char text[1000];
    struct str json = printed(ctl_print_json, &answer, text, sizeof text);
    assert_true(str_find(json, STR("\"blocked\": \"12345\"")) > 0);
    assert_true(str_find(json, STR("\"blocked\": \"no\"")) > 0);
    assert_true(str_find(json, STR("\"failures\": 21")) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_does_not_command_the_terminal),
        cmocka_unit_test(a_column_has_one_type),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
