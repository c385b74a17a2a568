/* The table of administrative operations, and what they build their answers with. */
#include "admin/admin_int.h"

#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Which messages: the same for all commands of the queue. */
#define QUEUE_FILTER                                                                               \
    "[--domain D] [--sender A] [--older T] [--error TEXT] [--state waiting|deferred|held] "        \
    "[--limit N]"
#define QUEUE_OPTIONS "--domain", "--sender", "--older", "--error", "--limit", "--state"

static const struct admin_command commands[] = {
    {.object = "domain",
     .verb = "add",
     .usage = "NAME",
     .help = "takes mail for a domain from now on; prints the records of its keys",
     .min_args = 1,
     .max_args = 1,
     .is_heavy = true,
     .run = admin_domain_add},
    {.object = "domain",
     .verb = "list",
     .usage = "",
     .help = "lists the domains",
     .run = admin_domain_list},
    {.object = "domain",
     .verb = "show",
     .usage = "NAME",
     .help = "shows a domain and what holds for its accounts",
     .min_args = 1,
     .max_args = 1,
     .run = admin_domain_show},
    {.object = "domain",
     .verb = "set",
     .usage = "NAME [--quota SIZE] [--quota-messages N] [--pop3-delete HOW] [--catch-all "
              "ADDRESS|none] [--delimiter C] [--dkim both|rsa|ed25519|none] [--send-limit LIMITS] "
              "[--send-limit-all LIMITS]",
     .help = "changes what holds for all accounts of a domain that have nothing of their own",
     .min_args = 1,
     .max_args = 1,
     .options = {"--quota", "--quota-messages", "--pop3-delete", "--catch-all", "--delimiter",
                 "--dkim", "--send-limit", "--send-limit-all"},
     .is_heavy = true,
     .run = admin_domain_set},
    {.object = "domain",
     .verb = "remove",
     .usage = "NAME",
     .help = "no longer takes mail for a domain that has neither accounts nor aliases",
     .min_args = 1,
     .max_args = 1,
     .run = admin_domain_remove},
    {.object = "account",
     .verb = "add",
     .usage = "ADDRESS [--quota SIZE] [--quota-messages N] [--password-stdin]",
     .help = "makes an account",
     .min_args = 1,
     .max_args = 1,
     .options = {"--quota", "--quota-messages"},
     .wants_password = true,
     .run = admin_account_add},
    {.object = "account",
     .verb = "list",
     .usage = "[DOMAIN] [--removed]",
     .help = "lists the accounts, or the removed ones that can be restored",
     .max_args = 1,
     .flags = {"--removed"},
     .run = admin_account_list},
    {.object = "account",
     .verb = "show",
     .usage = "ADDRESS",
     .help = "shows an account and its use",
     .min_args = 1,
     .max_args = 1,
     .run = admin_account_show},
    {.object = "account",
     .verb = "set",
     .usage = "ADDRESS [--quota SIZE] [--quota-messages N] [--enabled yes|no] [--suspended yes|no] "
              "[--pop3-delete HOW] [--reason TEXT] [--send-limit LIMITS] "
              "[--forward none|ADDRESS[,ADDRESS...]] [--keep|--no-keep]",
     .help = "changes an account",
     .min_args = 1,
     .max_args = 1,
     .options = {"--quota", "--quota-messages", "--enabled", "--suspended", "--pop3-delete",
                 "--reason", "--send-limit", "--forward"},
     .flags = {"--keep", "--no-keep"},
     .run = admin_account_set},
    {.object = "account",
     .verb = "passwd",
     .usage = "ADDRESS [--password-stdin]",
     .help = "sets an account's password",
     .min_args = 1,
     .max_args = 1,
     .wants_password = true,
     .run = admin_account_passwd},
    {.object = "account",
     .verb = "rename",
     .usage = "ADDRESS NEW-ADDRESS [--no-alias]",
     .help = "gives an account another address; the old one becomes an alias",
     .min_args = 2,
     .max_args = 2,
     .flags = {"--no-alias"},
     .run = admin_account_rename},
    {.object = "account",
     .verb = "remove",
     .usage = "ADDRESS [--now]",
     .help = "removes an account; its mail is kept for a while, or goes now",
     .min_args = 1,
     .max_args = 1,
     .flags = {"--now"},
     .is_heavy = true,
     .run = admin_account_remove},
    {.object = "account",
     .verb = "restore",
     .usage = "ADDRESS [--id N]",
     .help = "undoes the last removal of an account of that address",
     .min_args = 1,
     .max_args = 1,
     .options = {"--id"},
     .run = admin_account_restore},
    {.object = "account",
     .verb = "reindex",
     .usage = "ADDRESS",
     .help = "throws an account's search index away and has it made anew in the background",
     .min_args = 1,
     .max_args = 1,
     .run = admin_account_reindex},
    {.object = "app-password",
     .verb = "add",
     .usage = "ADDRESS [--label L] [--protocols imap,pop3,smtp,sieve,web] [--expires DATE] "
              "[--from NET]",
     .help = "makes a password for one program or device, and prints it, once",
     .min_args = 1,
     .max_args = 1,
     .options = {"--label", "--protocols", "--expires", "--from"},
     .is_bare = true,
     .run = admin_app_add},
    {.object = "app-password",
     .verb = "list",
     .usage = "ADDRESS",
     .help = "lists an account's app passwords and when they were last used",
     .min_args = 1,
     .max_args = 1,
     .run = admin_app_list},
    {.object = "app-password",
     .verb = "revoke",
     .usage = "ADDRESS --label L|--all",
     .help = "takes app passwords back; what is logged in with them ends at once",
     .min_args = 1,
     .max_args = 1,
     .options = {"--label"},
     .flags = {"--all"},
     .run = admin_app_revoke},
    {.object = "alias",
     .verb = "add",
     .usage = "ADDRESS TARGET...",
     .help = "sends mail for an address to others, besides those that it has already",
     .min_args = 2,
     .max_args = AUTH_ALIAS_MAX + 1,
     .run = admin_alias_add},
    {.object = "alias",
     .verb = "list",
     .usage = "[DOMAIN|ADDRESS]",
     .help = "lists the aliases and their targets",
     .max_args = 1,
     .run = admin_alias_list},
    {.object = "alias",
     .verb = "remove",
     .usage = "ADDRESS [TARGET...]",
     .help = "removes an alias, or some of its targets",
     .min_args = 1,
     .max_args = AUTH_ALIAS_MAX + 1,
     .run = admin_alias_remove},
    {.object = "dkim",
     .verb = "list",
     .usage = "[DOMAIN]",
     .help = "lists the keys that sign mail, and their records",
     .max_args = 1,
     .run = admin_dkim_list},
    {.object = "dkim",
     .verb = "rotate",
     .usage = "DOMAIN",
     .help = "makes new keys, which sign when they are activated: publish their records first",
     .min_args = 1,
     .max_args = 1,
     .is_heavy = true,
     .run = admin_dkim_rotate},
    {.object = "dkim",
     .verb = "activate",
     .usage = "DOMAIN [--keep DAYS]",
     .help = "lets new keys sign; the old ones stay published for 7 days, then they go",
     .min_args = 1,
     .max_args = 1,
     .options = {"--keep"},
     .run = admin_dkim_activate},
    {.object = "dkim",
     .verb = "remove",
     .usage = "DOMAIN SELECTOR",
     .help = "removes a key",
     .min_args = 2,
     .max_args = 2,
     .run = admin_dkim_remove},
    {.object = "dkim-seal",
     .verb = "",
     .usage = "",
     .help = "",
     .min_args = 1,
     .max_args = 1,
     .flags = {"--new"},
     .is_internal = true,
     .run = admin_dkim_seal},
    {.object = "sessions",
     .verb = "list",
     .usage = "[ADDRESS|ID]",
     .help = "lists who is logged in now: how, from where, since when, with which client",
     .max_args = 1,
     .run = admin_sessions_list},
    {.object = "sessions",
     .verb = "kick",
     .usage = "ADDRESS|ID|--all",
     .help = "ends the sessions of an address, or one by its id, at once",
     .max_args = 1,
     .flags = {"--all"},
     .run = admin_sessions_kick},
    {.object = "blocked",
     .verb = "list",
     .usage = "[ADDRESS|NET]",
     .help = "lists what cannot log in for now after too many wrong passwords",
     .max_args = 1,
     .run = admin_blocked_list},
    {.object = "blocked",
     .verb = "remove",
     .usage = "[ADDRESS|NET]",
     .help = "lets an account, an address, a network or all try again",
     .max_args = 1,
     .run = admin_blocked_remove},
    {.object = "stat",
     .verb = "",
     .usage = "",
     .help = "shows the counters of the running server",
     .run = admin_stat},
    {.object = "queue",
     .verb = "list",
     .usage = QUEUE_FILTER,
     .help = "lists the messages that wait or are held",
     .options = {QUEUE_OPTIONS},
     .is_heavy = true,
     .run = admin_queue_list},
    {.object = "queue",
     .verb = "show",
     .usage = "ID",
     .help = "shows a message in the queue, and for each recipient what the last try came to",
     .min_args = 1,
     .max_args = 1,
     .run = admin_queue_show},
    {.object = "queue",
     .verb = "retry",
     .usage = "ID|--all|" QUEUE_FILTER,
     .help = "tries messages now, whatever they wait for",
     .max_args = 1,
     .options = {QUEUE_OPTIONS},
     .flags = {"--all"},
     .is_heavy = true,
     .run = admin_queue_retry},
    {.object = "queue",
     .verb = "hold",
     .usage = "ID|--all|" QUEUE_FILTER,
     .help = "keeps messages in the queue until they are released",
     .max_args = 1,
     .options = {QUEUE_OPTIONS},
     .flags = {"--all"},
     .is_heavy = true,
     .run = admin_queue_hold},
    {.object = "queue",
     .verb = "release",
     .usage = "ID|--all|" QUEUE_FILTER,
     .help = "lets messages go that are held",
     .max_args = 1,
     .options = {QUEUE_OPTIONS},
     .flags = {"--all"},
     .is_heavy = true,
     .run = admin_queue_release},
    {.object = "queue",
     .verb = "remove",
     .usage = "ID|--all|" QUEUE_FILTER " [--report]",
     .help = "takes messages out of the queue; with --report their senders are told",
     .max_args = 1,
     .options = {QUEUE_OPTIONS},
     .flags = {"--all", "--report"},
     .is_heavy = true,
     .run = admin_queue_remove},
    {.object = "queue",
     .verb = "recall",
     .usage = "ADDRESS ID|MESSAGE-ID",
     .help = "takes back what an account has submitted and what still waits",
     .min_args = 2,
     .max_args = 2,
     .is_heavy = true,
     .run = admin_queue_recall},
    {.object = "collect",
     .verb = "add",
     .usage = "ADDRESS pop3|imap HOST[:PORT] LOGIN [--tls implicit|starttls|none] "
              "[--after keep|delete|DAYS] [--every T] [--folders MAP] [--password-stdin]",
     .help = "collects mail from an account elsewhere into a mailbox here",
     .min_args = 4,
     .max_args = 4,
     .options = {"--tls", "--after", "--every", "--folders"},
     .wants_password = true,
     .run = admin_collect_add},
    {.object = "collect",
     .verb = "list",
     .usage = "[ADDRESS]",
     .help = "lists the accounts elsewhere that mail is collected from, and how that went",
     .max_args = 1,
     .run = admin_collect_list},
    {.object = "collect",
     .verb = "run",
     .usage = "ADDRESS [ID]",
     .help = "has the server collect now, whatever the schedule says",
     .min_args = 1,
     .max_args = 2,
     .run = admin_collect_run},
    {.object = "collect",
     .verb = "passwd",
     .usage = "ADDRESS ID [--password-stdin]",
     .help = "sets the password of an account elsewhere",
     .min_args = 2,
     .max_args = 2,
     .wants_password = true,
     .run = admin_collect_passwd},
    {.object = "collect",
     .verb = "remove",
     .usage = "ADDRESS ID",
     .help = "collects from an account elsewhere no more; what is here stays",
     .min_args = 2,
     .max_args = 2,
     .is_heavy = true,
     .run = admin_collect_remove},
    {.object = "trace",
     .verb = "",
     .usage = "MESSAGE-ID|ADDRESS|ID [--since T] [--limit N]",
     .help = "tells what became of a message, or of the latest ones from or to an address",
     .min_args = 1,
     .max_args = 1,
     .options = {"--since", "--limit"},
     .is_heavy = true,
     .run = admin_trace},
    {.object = "import-passwd",
     .verb = "",
     .usage = "",
     .help = "",
     .min_args = 2,
     .max_args = 2,
     .flags = {"--replace", "--dry-run"},
     .is_internal = true,
     .is_heavy = true,
     .run = admin_import_passwd},
    {.object = "backup-snapshot",
     .verb = "",
     .usage = "",
     .help = "",
     .is_internal = true,
     .is_heavy = true,
     .run = admin_backup_snapshot},
    {.object = "backup-restored",
     .verb = "",
     .usage = "",
     .help = "",
     .is_internal = true,
     .is_heavy = true,
     .run = admin_backup_restored},
    {.object = "fsck",
     .verb = "",
     .usage = "[--mend]",
     .help = "compares all that is stored with its checksums, counters and references; with --mend "
             "puts right what the queue has of indexes",
     .flags = {"--mend"},
     .is_heavy = true,
     .run = admin_fsck},
};

void admin_init(struct admin *admin)
{
    *admin = (struct admin){.keep_removed_ns = 30 * 86400 * NS_PER_SEC, .collections = 20};
    pthread_mutex_init(&admin->accounts, NULL);
}

void admin_fini(struct admin *admin)
{
    pthread_mutex_destroy(&admin->accounts);
}

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

/* --- from words to a call --------------------------------------------------------------------- */

static bool take_flag(struct admin_call *call, struct str name)
{
    for (size_t k = 0; k < ADMIN_OPTIONS && call->command->flags[k]; k++)
        if (str_eq(name, str_of(call->command->flags[k])))
            return call->flags[k] = true;
    return false;
}

static bool take_option(struct admin_call *call, struct str name, struct str value,
                        struct admin_answer *a)
{
    for (size_t k = 0; k < ADMIN_OPTIONS && call->command->options[k]; k++) {
        if (!str_eq(name, str_of(call->command->options[k])))
            continue;
        if (str_is_null(value))
            answer_fail(a, RC_SYNTAX, "%.*s: needs a value", STR_ARG(name));
        call->options[k] = value;
        return !str_is_null(value);
    }
    answer_fail(a, RC_SYNTAX, "%.*s: unknown option", STR_ARG(name));
    return false;
}

static bool make_call(const struct admin_request *r, struct admin_call *call,
                      struct admin_answer *a)
{
    const struct admin_command *command = admin_find(r->words, r->n_words);
    *call = (struct admin_call){.command = command, .password = r->password};
    if (!command || r->n_words > ADMIN_WORDS) {
        answer_fail(a, RC_SYNTAX, "%.*s: no such command; see penfold --help",
                    STR_ARG(r->n_words ? r->words[0] : STR("penfold")));
        return false;
    }
    for (size_t i = command->verb[0] ? 2 : 1; i < r->n_words; i++) {
        if (!str_starts(r->words[i], STR("--"))) {
            call->args[call->n_args++] = r->words[i];
            continue;
        }
        if (take_flag(call, r->words[i]))
            continue;
        struct str value = i + 1 < r->n_words ? r->words[i + 1] : (struct str){0};
        if (!take_option(call, r->words[i], value, a))
            return false;
        i++;
    }
    if (call->n_args >= command->min_args && call->n_args <= command->max_args)
        return true;
    answer_fail(a, RC_SYNTAX, "usage: penfold %s%s%s%s%s", command->object,
                command->verb[0] ? " " : "", command->verb, command->usage[0] ? " " : "",
                command->usage);
    return false;
}

enum rc admin_check(const struct admin_request *request, struct admin_answer *answer)
{
    struct admin_call call;
    *answer = (struct admin_answer){0};
    return make_call(request, &call, answer) ? RC_OK : RC_SYNTAX;
}

void admin_run(struct admin *admin, const struct admin_request *request,
               struct admin_answer *answer)
{
    struct admin_call call;
    *answer = (struct admin_answer){0};
    if (!make_call(request, &call, answer))
        return;
    if (call.command->wants_password && !request->password.n)
        answer_fail(answer, RC_SYNTAX, "%s %s: a password is needed", call.command->object,
                    call.command->verb);
    else
        call.command->run(admin, &call, answer);
}

/* --- answers ---------------------------------------------------------------------------------- */

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
    [RC_PERM] = "this cannot be done as things are; the log says why",
    [RC_FULL] = "no space left on the disk",
    [RC_CORRUPT] = "stored data is damaged: run penfold fsck",
};

const char *admin_sentence(enum rc rc)
{
    return sentences[rc] ? sentences[rc] : rc_name(rc);
}

void answer_rc(struct admin_answer *a, enum rc rc, struct str what)
{
    if (rc == RC_OK)
        return;
    answer_fail(a, rc == RC_SYNTAX ? RC_PERM : rc, "%.*s: %s", STR_ARG(what), admin_sentence(rc));
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
