/* `penfold import passwd`: hands the lines of a file to whoever has the store, some at a time, and
 * tells what became of them. The lines are understood there (admin/passwd.c); here they are only
 * bounded. The file is opened by who runs the command, before the data's owner is become. */
#include "ctl/ctl_int.h"

#include "crypto/crypto.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { AT_ONCE = 64, BATCH = 24 << 10, LINE = 4 << 10 };
enum { MADE, REPLACED, THERE, PASSED, FAILED, OUTCOMES };
static const char *const outcomes[OUTCOMES] = {"made", "replaced", "there", "passed", "failed"};

struct passwd_import {
    const struct conf *conf;
    struct str file, domain;
    bool replaces, is_dry, is_json;
    FILE *in;
    uint64_t first, line; /* of the lines in hand the first one; the last one that was read */
    struct buf lines;
    uint64_t n[OUTCOMES];
};

/* --- what became of them ---------------------------------------------------------------------- */

static void complain(struct passwd_import *im, struct str line, struct str address,
                     struct str reason)
{
    fprintf(stderr, "penfold: %.*s:%.*s: ", STR_ARG(im->file), STR_ARG(line));
    ctl_put_text(address, stderr);
    fprintf(stderr, "%s%.*s\n", address.n ? ": " : "", STR_ARG(reason));
}

static void take_answer(struct passwd_import *im, const struct admin_answer *a)
{
    for (size_t i = 0; i + 4 <= a->n_cells && a->n_columns == 4; i += 4) {
        size_t k = 0;
        while (k < OUTCOMES && !str_eq(a->cells[i + 2], str_of(outcomes[k])))
            k++;
        if (k < OUTCOMES)
            im->n[k]++;
        if (a->cells[i + 3].n)
            complain(im, a->cells[i], a->cells[i + 1], a->cells[i + 3]);
    }
}

static enum rc hand_over(struct passwd_import *im)
{
    char number[24];
    struct str words[5] = {STR("import-passwd"), {0}, im->domain};
    struct admin_request request = {.words = words, .n_words = 3, .password = buf_str(&im->lines)};
    struct admin_answer answer = {0};
    if (!buf_len(&im->lines))
        return RC_OK;
    snprintf(number, sizeof number, "%llu", (unsigned long long)im->first);
    words[1] = str_of(number);
    if (im->replaces)
        words[request.n_words++] = STR("--replace");
    if (im->is_dry)
        words[request.n_words++] = STR("--dry-run");
    enum rc rc = ctl_carry_out_here(im->conf, &request, &answer);
    if (rc == RC_OK && answer.rc != RC_OK)
        fprintf(stderr, "penfold: %.*s\n", STR_ARG(answer.error));
    if (rc == RC_OK)
        rc = answer.rc;
    if (rc == RC_OK)
        take_answer(im, &answer);
    admin_answer_fini(&answer);
    crypto_wipe((void *)(uintptr_t)buf_str(&im->lines).p, buf_len(&im->lines));
    buf_clear(&im->lines);
    im->first = im->line + 1;
    return rc;
}

/* --- the file --------------------------------------------------------------------------------- */

/* The rest of a line that did not fit. */
static void skip_line(FILE *in)
{
    int c;
    while ((c = getc(in)) != EOF && c != '\n')
        ;
}

static enum rc add_line(struct passwd_import *im, char *text)
{
    struct str line = str_of(text);
    bool is_whole = line.n && line.p[line.n - 1] == '\n';
    char number[24];
    im->line++;
    if (!is_whole && line.n == LINE - 1) {
        skip_line(im->in);
        snprintf(number, sizeof number, "%llu", (unsigned long long)im->line);
        complain(im, str_of(number), STR(""), STR("the line is too long"));
        im->n[FAILED]++;
        line = STR("\n"); /* so that the next ones keep their numbers */
        is_whole = true;
    }
    enum rc rc = buf_add(&im->lines, line);
    if (rc == RC_OK && !is_whole)
        rc = buf_add(&im->lines, STR("\n"));
    if (rc == RC_OK &&
        (im->line - im->first + 1 >= AT_ONCE || buf_len(&im->lines) > BATCH - LINE - 1))
        rc = hand_over(im);
    return rc;
}

static enum rc read_all(struct passwd_import *im)
{
    char line[LINE];
    enum rc rc = RC_OK;
    while (rc == RC_OK && fgets(line, sizeof line, im->in))
        rc = add_line(im, line);
    crypto_wipe(line, sizeof line);
    if (rc == RC_OK && ferror(im->in)) {
        fprintf(stderr, "penfold: %.*s: %s\n", STR_ARG(im->file), strerror(errno));
        rc = RC_TEMP;
    }
    return rc == RC_OK ? hand_over(im) : rc;
}

/* --- the command ------------------------------------------------------------------------------ */

static void report(const struct passwd_import *im)
{
    if (im->is_json) {
        printf("[\n  {\n");
        for (size_t i = 0; i < OUTCOMES; i++)
            printf("    \"%s\": %llu%s\n", outcomes[i], (unsigned long long)im->n[i],
                   i + 1 < OUTCOMES ? "," : "");
        printf("  }\n]\n");
        return;
    }
    printf("%s%llu made, %llu replaced, %llu there already, %llu passed over, %llu failed\n",
           im->is_dry ? "nothing is changed; it would be: " : "", (unsigned long long)im->n[MADE],
           (unsigned long long)im->n[REPLACED], (unsigned long long)im->n[THERE],
           (unsigned long long)im->n[PASSED], (unsigned long long)im->n[FAILED]);
}

static bool read_words(struct passwd_import *im, const struct str *words, size_t n)
{
    size_t n_args = 0;
    for (size_t i = 0; i < n; i++) {
        if (str_eq(words[i], STR("--replace")))
            im->replaces = true;
        else if (str_eq(words[i], STR("--dry-run")))
            im->is_dry = true;
        else if (str_starts(words[i], STR("--")) || n_args == 2)
            return false;
        else if (n_args++ == 0)
            im->file = words[i];
        else
            im->domain = words[i];
    }
    return n_args > 0 && im->file.n && im->domain.n;
}

int ctl_import_passwd(const struct conf *conf, const struct str *words, size_t n, bool is_json)
{
    struct passwd_import im = {
        .conf = conf, .domain = STR("-"), .first = 1, .is_json = is_json, .lines = {.cap = BATCH}};
    if (!read_words(&im, words, n)) {
        fprintf(stderr, "penfold: usage: penfold import " CTL_IMPORT_PASSWD_USAGE "\n");
        return CTL_USAGE;
    }
    bool is_stdin = str_eq(im.file, STR("-"));
    im.in = is_stdin ? stdin : fopen(im.file.p, "re");
    if (!im.in) {
        fprintf(stderr, "penfold: %.*s: %s\n", STR_ARG(im.file), strerror(errno));
        return CTL_FAILED;
    }
    enum rc rc = ctl_enter_data(conf);
    if (rc == RC_OK)
        rc = read_all(&im);
    buf_wipe(&im.lines);
    if (!is_stdin)
        fclose(im.in);
    report(&im);
    return rc == RC_OK && !im.n[FAILED] ? CTL_DONE : CTL_FAILED;
}
