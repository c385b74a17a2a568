/* The table of administrative operations, and what they build their answers with. */
#include "admin/admin_int.h"

#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct admin_command commands[] = {
    {"domain", "add", "NAME", "takes mail for a domain from now on", false, admin_domain_add},
    {"domain", "list", "", "lists the domains", false, admin_domain_list},
    {"domain", "remove", "NAME", "no longer takes mail for a domain that has no accounts", false,
     admin_domain_remove},
    {"account", "add", "ADDRESS [--quota SIZE] [--password-stdin]", "makes an account", true,
     admin_account_add},
    {"account", "list", "[DOMAIN]", "lists the accounts", false, admin_account_list},
    {"account", "show", "ADDRESS", "shows an account and its use", false, admin_account_show},
    {"account", "set", "ADDRESS [--quota SIZE] [--enabled yes|no]", "changes an account", false,
     admin_account_set},
    {"account", "passwd", "ADDRESS [--password-stdin]", "sets an account's password", true,
     admin_account_passwd},
    {"account", "remove", "ADDRESS", "removes an account and all its mail", false,
     admin_account_remove},
    {"stat", "", "", "shows the counters of the running server", false, admin_stat},
    {"fsck", "", "", "compares all that is stored with its checksums, counters and references",
     false, admin_fsck},
};

const struct admin_command *admin_commands(size_t *out_n)
{
    *out_n = sizeof commands / sizeof *commands;
    return commands;
}

const struct admin_command *admin_find(const struct str *words, size_t n_words)
{
    for (size_t i = 0; n_words && i < sizeof commands / sizeof *commands; i++) {
        if (!str_eq(words[0], str_of(commands[i].object)))
            continue;
        if (!commands[i].verb[0] || (n_words > 1 && str_eq(words[1], str_of(commands[i].verb))))
            return &commands[i];
    }
    return NULL;
}

void admin_run(struct admin *admin, const struct admin_request *request,
               struct admin_answer *answer)
{
    *answer = (struct admin_answer){0};
    const struct admin_command *command = admin_find(request->words, request->n_words);
    if (!command)
        answer_fail(answer, RC_SYNTAX, "unknown command: see penfold --help");
    else if (command->wants_password && str_is_null(request->password))
        answer_fail(answer, RC_SYNTAX, "%s %s: a password is needed", command->object,
                    command->verb);
    else
        command->run(admin, request, answer);
}

void admin_answer_fini(struct admin_answer *answer)
{
    arena_fini(&answer->arena);
    *answer = (struct admin_answer){0};
}

void answer_columns(struct admin_answer *a, const char *const *names, size_t n)
{
    for (size_t i = 0; i < n && i < ADMIN_COLUMNS; i++)
        a->columns[a->n_columns++] = str_of(names[i]);
}

void answer_cell(struct admin_answer *a, struct str value)
{
    if (a->n_cells == a->max_cells) {
        size_t max = a->max_cells ? a->max_cells * 2 : 64;
        struct str *cells = arena_alloc(&a->arena, max * sizeof *cells);
        if (a->n_cells)
            memcpy(cells, a->cells, a->n_cells * sizeof *cells);
        a->cells = cells;
        a->max_cells = max;
    }
    a->cells[a->n_cells++] = arena_dup(&a->arena, value);
}

void answer_text(struct admin_answer *a, const char *value)
{
    answer_cell(a, str_of(value));
}

void answer_u64(struct admin_answer *a, uint64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%llu", (unsigned long long)value);
    answer_text(a, text);
}

void answer_time(struct admin_answer *a, uint64_t wall)
{
    char text[CLOCK_TEXT];
    clock_rfc3339(text, wall);
    answer_text(a, text);
}

void answer_fail(struct admin_answer *a, enum rc rc, const char *format, ...)
{
    char text[512];
    va_list ap;
    if (a->rc != RC_OK)
        return;
    va_start(ap, format);
    vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    a->rc = rc;
    a->error = arena_dup(&a->arena, str_of(text));
}

static const char *const sentences[RC_COUNT] = {
    [RC_LIMIT] = "over a limit",
    [RC_SYNTAX] = "not a valid name or address",
    [RC_NOTFOUND] = "there is no such domain or address",
    [RC_EXISTS] = "there is one already",
    [RC_CONFLICT] = "in use, try again later",
    [RC_DENIED] = "not allowed",
    [RC_TEMP] = "the store cannot be written now; see the server's log",
    [RC_FULL] = "no space left on the disk",
    [RC_CORRUPT] = "stored data is damaged: run penfold fsck",
};

void answer_rc(struct admin_answer *a, enum rc rc, struct str what)
{
    if (rc == RC_OK)
        return;
    const char *sentence = sentences[rc] ? sentences[rc] : rc_name(rc);
    answer_fail(a, rc == RC_SYNTAX ? RC_PERM : rc, "%.*s: %s", STR_ARG(what), sentence);
}

bool want_words(const struct admin_request *r, struct admin_answer *a, size_t n)
{
    const struct admin_command *command = admin_find(r->words, r->n_words);
    if (r->n_words >= n)
        return true;
    answer_fail(a, RC_SYNTAX, "usage: penfold %s %s %s", command->object, command->verb,
                command->usage);
    return false;
}

struct str option(const struct admin_request *r, const char *name)
{
    for (size_t i = 0; i + 1 < r->n_words; i++)
        if (str_eq(r->words[i], str_of(name)))
            return r->words[i + 1];
    return (struct str){0};
}

bool known_options(const struct admin_request *r, struct admin_answer *a, const char *const *known)
{
    for (size_t i = 0; i < r->n_words; i++) {
        if (!str_starts(r->words[i], STR("--")))
            continue;
        size_t k = 0;
        while (known[k] && !str_eq(r->words[i], str_of(known[k])))
            k++;
        if (!known[k] || i + 1 == r->n_words) {
            answer_fail(a, RC_SYNTAX, "%.*s: %s", STR_ARG(r->words[i]),
                        known[k] ? "needs a value" : "unknown option");
            return false;
        }
        i++;
    }
    return true;
}

bool parse_size(struct str s, uint64_t *out)
{
    static const char suffixes[] = "kmgt";
    unsigned shift = 0;
    const char *at = s.n ? memchr(suffixes, ascii_lower(s.p[s.n - 1]), 4) : NULL;
    if (at) {
        shift = 10 * (unsigned)(at - suffixes + 1);
        s.n--;
    }
    return str_to_u64(s, out) == RC_OK && *out <= UINT64_MAX >> shift && (*out <<= shift, true);
}
