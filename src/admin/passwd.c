/* Accounts from password files of other programs, with the hashes that they have there.
 *
 * A line is a name, a colon, a hash or `{SCHEME}text`, and what may follow behind another colon,
 * which is of no use here: user ids, homes, days. Of what cannot be taken each line says why; the
 * others are made, each in one commit of its own, so that a run that was cut short goes on when it
 * is repeated: accounts that are there are left alone. */
#include "admin/passwd.h"
#include "admin/admin_int.h"

#include <stdio.h>
#include <string.h>

/* --- one line --------------------------------------------------------------------------------- */

static enum rc fail(struct passwd_entry *e, const char *why)
{
    e->why = why;
    return RC_SYNTAX;
}

/* Locked, or never unlocked: "", "x" (it is in the shadow file), "*", "!", "!$6$...", "*LK*". */
static bool is_locked(struct str text)
{
    return !text.n || str_eq(text, STR("x")) || text.p[0] == '!' || text.p[0] == '*';
}

static bool take_plain(struct str text, struct str *out)
{
    static const struct str names[] = {STR_INIT("{PLAIN}"), STR_INIT("{CLEAR}"),
                                       STR_INIT("{CLEARTEXT}")};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (!str_ieq(str_head(text, names[i].n), names[i]))
            continue;
        *out = str_skip(text, names[i].n);
        return true;
    }
    return false;
}

static enum rc read_address(struct str name, struct str domain, struct passwd_entry *e)
{
    bool has_domain = str_find_byte(name, '@') >= 0;
    if (!has_domain && str_is_null(domain))
        return fail(e, "the name has no domain: name one behind the file");
    int n = has_domain ? snprintf(e->address, sizeof e->address, "%.*s", STR_ARG(name))
                       : snprintf(e->address, sizeof e->address, "%.*s@%.*s", STR_ARG(name),
                                  STR_ARG(domain));
    if (n < 0 || (size_t)n >= sizeof e->address)
        return fail(e, "the name is too long");
    return name.n ? RC_OK : fail(e, "there is no name before the first colon");
}

static enum rc read_secret(struct str text, struct passwd_entry *e)
{
    struct str plain;
    if (is_locked(text)) {
        e->kind = PASSWD_NONE;
        return RC_OK;
    }
    if (take_plain(text, &plain)) {
        e->kind = PASSWD_PLAIN;
        if (!plain.n || plain.n >= sizeof e->text)
            return fail(e, "the password is empty or too long");
        memcpy(e->text, plain.p, plain.n);
        e->text[plain.n] = '\0';
        return RC_OK;
    }
    e->kind = PASSWD_HASH;
    switch (crypto_foreign_read(text, e->text)) {
    case RC_OK:
        return RC_OK;
    case RC_NOTFOUND:
        return fail(e, "its scheme is none that is taken: set a password with account add");
    case RC_LIMIT:
        return fail(e, "its hash takes too many rounds or too much memory");
    default:
        return fail(e, "its hash is not well-formed");
    }
}

enum rc passwd_read(struct str line, struct str domain, struct passwd_entry *e)
{
    struct str name, text;
    *e = (struct passwd_entry){0};
    line = str_trim(line);
    if (!line.n || line.p[0] == '#')
        return RC_NOTFOUND;
    if (line.n > PASSWD_LINE_MAX)
        return fail(e, "the line is too long");
    if (str_find_byte(line, '\0') >= 0)
        return fail(e, "the line has a NUL in it");
    str_cut(&line, ':', &name);
    if (str_is_null(line))
        return fail(e, "there is no colon behind the name");
    str_cut(&line, ':', &text);
    TRY(read_address(name, domain, e));
    return read_secret(text, e);
}

/* --- many of them ----------------------------------------------------------------------------- */

enum { REPLACE, DRY_RUN }; /* flags */
enum outcome { MADE, REPLACED, THERE, PASSED, FAILED };
static const char *const outcomes[] = {[MADE] = "made",
                                       [REPLACED] = "replaced",
                                       [THERE] = "there",
                                       [PASSED] = "passed",
                                       [FAILED] = "failed"};

struct import {
    struct admin *admin;
    struct admin_answer *answer;
    struct str domain;
    bool replaces, is_dry;
    uint64_t line;
};

static void tell(struct import *im, const struct passwd_entry *e, enum outcome outcome,
                 const char *why)
{
    answer_u64(im->answer, im->line);
    answer_text(im->answer, e->address);
    answer_text(im->answer, outcomes[outcome]);
    answer_text(im->answer, why);
}

static void fail_rc(struct import *im, const struct passwd_entry *e, enum rc rc)
{
    tell(im, e, FAILED,
         rc == RC_NOTFOUND ? "its domain is none of ours: add it with penfold domain add"
                           : admin_sentence(rc));
}

static void replace(struct import *im, const struct passwd_entry *e)
{
    struct str address = str_of(e->address), text = str_of(e->text);
    enum rc rc = RC_OK;
    if (!im->is_dry)
        rc = e->kind == PASSWD_PLAIN ? auth_account_passwd(im->admin->auth, address, text)
                                     : auth_account_set_hash(im->admin->auth, address, text);
    if (rc == RC_OK)
        tell(im, e, REPLACED, "");
    else
        fail_rc(im, e, rc);
}

static void make(struct import *im, const struct passwd_entry *e)
{
    struct auth_domain domain;
    struct str address = str_of(e->address);
    enum rc rc =
        auth_domain_show(im->admin->auth, str_domain(address), &im->answer->arena, &domain);
    if (rc == RC_OK && !im->is_dry)
        rc = account_bring(im->admin, address, str_of(e->text), e->kind == PASSWD_HASH);
    if (rc == RC_OK)
        tell(im, e, MADE, "");
    else if (rc == RC_EXISTS)
        tell(im, e, FAILED, "the address is an alias's");
    else
        fail_rc(im, e, rc);
}

static void import_line(struct import *im, struct str line)
{
    struct passwd_entry e;
    struct auth_account account;
    enum rc rc = passwd_read(line, im->domain, &e);
    if (rc == RC_NOTFOUND)
        return;
    if (rc == RC_OK && e.kind == PASSWD_NONE) {
        tell(im, &e, PASSED, "it is locked or has no password");
    } else if (rc != RC_OK) {
        tell(im, &e, FAILED, e.why);
    } else {
        rc = auth_account_show(im->admin->auth, str_of(e.address), &im->answer->arena, &account);
        if (rc == RC_OK && !im->replaces)
            tell(im, &e, THERE, "");
        else if (rc == RC_OK)
            replace(im, &e);
        else if (rc == RC_NOTFOUND)
            make(im, &e);
        else
            fail_rc(im, &e, rc);
    }
    crypto_wipe(&e, sizeof e);
}

/* What ctl/import_passwd.c hands over: lines, in the place of a password, so that they are wiped;
 * the number of the first; the domain, or "-". */
void admin_import_passwd(struct admin *admin, const struct admin_call *c, struct admin_answer *a)
{
    static const char *const columns[] = {"line", "address", "outcome", "reason"};
    struct import im = {
        .admin = admin, .answer = a, .replaces = c->flags[REPLACE], .is_dry = c->flags[DRY_RUN]};
    struct str rest = c->password, line;
    if (str_to_u64(c->args[0], &im.line) != RC_OK) {
        answer_fail(a, RC_SYNTAX, "import-passwd: penfold import passwd is the command");
        return;
    }
    if (!str_eq(c->args[1], STR("-")))
        im.domain = c->args[1];
    answer_columns(a, columns, sizeof columns / sizeof *columns);
    for (; str_cut(&rest, '\n', &line); im.line++)
        import_line(&im, line);
}
