/* What is wrong with a configuration file: all of it, not only the first thing.
 *
 * The library behind conf.c goes on after a value that is refused, but stops at a key that it does
 * not know. Such a key is blanked here, with what it is set to, and the text is parsed again. A
 * text whose form is broken (a brace that is missing) is not mended: what would follow from a guess
 * is nobody's mistake.
 */
#include "conf/conf_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char unknown[] = "no such option '";

void conf_faults_add(struct conf_faults *f, int line, const char *format, va_list ap)
{
    if (f->n == CONF_FAULTS)
        return;
    struct conf_fault *fault = &f->fault[f->n++];
    fault->line = line;
    vsnprintf(fault->text, sizeof fault->text, format, ap);
}

void conf_faults_clear(struct conf_faults *f)
{
    f->n = f->n_kept;
}

/* --- comments --------------------------------------------------------------------------------- */

/* Where the comment that begins here ends; `at` itself when none does. A // within a word is none.
 */
static char *comment_end(char *text, char *at)
{
    bool is_line = *at == '#' || (at[0] == '/' && at[1] == '/' &&
                                  (at == text || strchr(" \t\r\n{}()=,", at[-1])));
    if (is_line)
        return at + strcspn(at, "\n");
    if (at[0] != '/' || at[1] != '*')
        return at;
    char *end = strstr(at + 2, "*/");
    return end ? end + 2 : at + strlen(at);
}

static void blank(char *from, const char *to)
{
    for (; from < to; from++)
        *from = *from == '\n' ? '\n' : ' ';
}

void conf_blank_comments(char *text)
{
    char quote = '\0';
    for (char *at = text; *at; at++) {
        if (quote) {
            if (*at == '\\' && at[1])
                at++;
            else if (*at == quote)
                quote = '\0';
            continue;
        }
        char *end = comment_end(text, at);
        blank(at, end);
        at = end;
        if (!*at)
            return;
        if (*at == '"' || *at == '\'')
            quote = *at;
    }
}

/* --- unknown keys ----------------------------------------------------------------------------- */

static char *skip_space(char *at)
{
    return at + strspn(at, " \t\r\n");
}

static char *skip_quoted(char *at)
{
    char quote = *at++;
    while (*at && *at != quote)
        at += at[0] == '\\' && at[1] ? 2 : 1;
    return *at ? at + 1 : at;
}

/* From a brace to behind the one that closes it. */
static char *skip_braces(char *at)
{
    size_t depth = 0;
    do {
        if (*at == '"' || *at == '\'') {
            at = skip_quoted(at);
            continue;
        }
        depth += *at == '{';
        depth -= *at == '}';
        at++;
    } while (*at && depth);
    return at;
}

static char *skip_value(char *at)
{
    if (*at == '{')
        return skip_braces(at);
    if (*at == '"' || *at == '\'')
        return skip_quoted(at);
    return at + strcspn(at, " \t\r\n{}()=,\"'");
}

/* key = value, key = {list}, key += ..., section { }, section title { } */
static char *skip_statement(char *at)
{
    char *next = skip_space(at);
    if (next[0] == '=' || (next[0] == '+' && next[1] == '='))
        return skip_value(skip_space(next + (next[0] == '=' ? 1 : 2)));
    if (*next == '"' || *next == '\'')
        next = skip_space(skip_quoted(next));
    return *next == '{' ? skip_braces(next) : at;
}

static bool is_of_name(char c)
{
    return c && !strchr(" \t\r\n{}()=,\"'+", c);
}

/* The name as a word of its own in line `line` or before: the library counts a line too much when
 * the end of one follows the name. */
static char *find_name(char *text, int line, const char *name, size_t n)
{
    char *found = NULL, *at = text;
    for (int now = 1; *at && now <= line;) {
        bool is_start = at == text || !is_of_name(at[-1]);
        if (is_start && strncmp(at, name, n) == 0 && !is_of_name(at[n]))
            found = at;
        if (*at == '"' || *at == '\'') {
            for (char *end = skip_quoted(at); at < end; at++)
                now += *at == '\n';
            continue;
        }
        now += *at++ == '\n';
    }
    return found;
}

bool conf_faults_take_unknown(struct conf_faults *f, char *text)
{
    if (f->n <= f->n_kept || f->n_kept + 1 >= CONF_FAULTS)
        return false;
    struct conf_fault last = f->fault[f->n - 1];
    if (strncmp(last.text, unknown, sizeof unknown - 1) != 0)
        return false;
    const char *name = last.text + sizeof unknown - 1;
    const char *end = strrchr(name, '\'');
    char *at = end && end > name ? find_name(text, last.line, name, (size_t)(end - name)) : NULL;
    if (!at)
        return false;
    blank(at, skip_statement(at + (end - name)));
    f->fault[f->n_kept++] = last;
    f->n = f->n_kept;
    return true;
}

/* --- telling ---------------------------------------------------------------------------------- */

static int by_line(const void *a, const void *b)
{
    const struct conf_fault *x = a, *y = b;
    return (x->line > y->line) - (x->line < y->line);
}

void conf_faults_tell(struct conf_faults *f, const char *path, struct buf *why)
{
    qsort(f->fault, f->n, sizeof *f->fault, by_line);
    for (size_t i = 0; i < f->n; i++) {
        if (f->fault[i].line)
            buf_putf(why, "%s:%d: %s\n", path, f->fault[i].line, f->fault[i].text);
        else
            buf_putf(why, "%s: %s\n", path, f->fault[i].text);
    }
}
