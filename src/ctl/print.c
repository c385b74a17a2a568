/* Answers for people and for programs. JSON is made by jansson, which is met in this file alone. */
#include "ctl/ctl_int.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

enum { WIDE = 8 };

static size_t width_of(const struct admin_answer *a, size_t column)
{
    size_t width = a->columns[column].n;
    for (size_t i = column; i < a->n_cells; i += a->n_columns)
        if (a->cells[i].n > width)
            width = a->cells[i].n;
    return width;
}

static void print_cell(struct str cell, size_t width, bool is_last)
{
    printf("%.*s", STR_ARG(cell));
    for (size_t i = cell.n; i < width + 2 && !is_last; i++)
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

/* Numbers as numbers, yes and no as booleans, the rest as text. */
static json_t *value_of(struct str cell)
{
    uint64_t number;
    if (str_to_u64(cell, &number) == RC_OK && number <= INT64_MAX)
        return json_integer((json_int_t)number);
    if (str_eq(cell, STR("yes")) || str_eq(cell, STR("no")))
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
            json_object_set_new(row, a->columns[c].p, value_of(a->cells[i + c]));
        json_array_append_new(rows, row);
    }
    json_dumpf(rows, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(rows);
}
