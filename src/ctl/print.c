/* Answers for people and for programs. JSON is made by jansson, which is met in this file alone. */
#include "ctl/ctl_int.h"

#include "base/utf8.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

enum { WIDE = 8 };

/* Whether a terminal would take the byte for a command, U+0080 to U+009F included. */
static bool is_control(struct str s, size_t i)
{
    unsigned char c = (unsigned char)s.p[i], before = i ? (unsigned char)s.p[i - 1] : 0,
                  after = i + 1 < s.n ? (unsigned char)s.p[i + 1] : 0;
    if (c < 0x80)
        return c < ' ' || c == 0x7f;
    return (c == 0xc2 && after < 0xa0) || (before == 0xc2 && c < 0xa0);
}

/* What is printed of it. Names come from strangers too, who tried to log in with them: they do not
 * command the administrator's terminal, and stay in their line. */
size_t ctl_put_text(struct str s, FILE *to)
{
    size_t n = 0;
    bool is_utf8 = utf8_is_valid(s);
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        bool is_escaped = is_control(s, i) || (c >= 0x80 && !is_utf8);
        n += is_escaped ? 4 : 1;
        if (to)
            fprintf(to, is_escaped ? "\\x%02x" : "%c", c);
    }
    return n;
}

static size_t width_of(const struct admin_answer *a, size_t column)
{
    size_t width = a->columns[column].n;
    for (size_t i = column; i < a->n_cells; i += a->n_columns) {
        size_t n = ctl_put_text(a->cells[i], NULL);
        if (n > width)
            width = n;
    }
    return width;
}

static void print_cell(struct str cell, size_t width, bool is_last)
{
    for (size_t n = ctl_put_text(cell, stdout); n < width + 2 && !is_last; n++)
        putchar(' ');
    if (is_last)
        putchar('\n');
}

/* One row that is too wide for a line: a line for each column. */
static void print_lines(const struct admin_answer *a)
{
    size_t width = 0;
    for (size_t c = 0; c < a->n_columns; c++)
        width = a->columns[c].n > width ? a->columns[c].n : width;
    for (size_t c = 0; c < a->n_columns; c++) {
        print_cell(a->columns[c], width, false);
        print_cell(a->cells[c], 0, true);
    }
}

void ctl_print_table(const struct admin_answer *a)
{
    size_t widths[ADMIN_COLUMNS];
    if (a->n_columns == 0 || a->n_cells == 0)
        return;
    if (a->n_cells == a->n_columns && a->n_columns > WIDE) {
        print_lines(a);
        return;
    }
    for (size_t c = 0; c < a->n_columns; c++)
        widths[c] = width_of(a, c);
    for (size_t c = 0; c < a->n_columns; c++)
        print_cell(a->columns[c], widths[c], c + 1 == a->n_columns);
    for (size_t i = 0; i < a->n_cells; i++) {
        size_t c = i % a->n_columns;
        print_cell(a->cells[i], widths[c], c + 1 == a->n_columns);
    }
}

void ctl_print_bare(const struct admin_answer *a)
{
    for (size_t i = 0; i < a->n_cells; i++)
        print_cell(a->cells[i], 0, true);
}

/* Columns of free text, and of names that anybody may have chosen. */
static bool is_text(struct str column)
{
    static const char *const texts[] = {
        "address", "alias",  "blocked",   "catch_all", "cause",   "checks",  "client",     "domain",
        "host",    "label",  "log",       "login",     "mailbox", "message", "message_id", "note",
        "peer",    "reason", "recipient", "reply",     "sender",  "status",  "target",     "to"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (str_eq(column, str_of(texts[i])))
            return true;
    return false;
}

/* Numbers as numbers, yes and no as booleans, the rest as text: in one column the same whatever
 * somebody has written there. */
static json_t *value_of(struct str column, struct str cell)
{
    uint64_t number;
    bool may_be = !is_text(column);
    if (may_be && str_to_u64(cell, &number) == RC_OK && number <= INT64_MAX)
        return json_integer((json_int_t)number);
    if (may_be && (str_eq(cell, STR("yes")) || str_eq(cell, STR("no"))))
        return json_boolean(cell.n == 3);
    json_t *text = json_stringn(cell.p, cell.n);
    return text ? text : json_null(); /* not UTF-8 */
}

void ctl_print_json(const struct admin_answer *a)
{
    json_t *rows = json_array();
    for (size_t i = 0; a->n_columns && i + a->n_columns <= a->n_cells; i += a->n_columns) {
        json_t *row = json_object();
        for (size_t c = 0; c < a->n_columns; c++)
            json_object_set_new(row, a->columns[c].p, value_of(a->columns[c], a->cells[i + c]));
        json_array_append_new(rows, row);
    }
    json_dumpf(rows, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(rows);
}
