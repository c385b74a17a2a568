/* App passwords of accounts: making, listing, revoking. The new password is in the answer and
 * nowhere else. */
#include "admin/admin_int.h"

#include "auth/app.h"
#include "crypto/crypto.h"

enum { LABEL, PROTOCOLS, EXPIRES, FROM }; /* the options */

enum { BY_DEFAULT = AUTH_IMAP | AUTH_POP3 | AUTH_SMTP | AUTH_SIEVE, TEXT_MAX = 256 };

/* --- what is asked for ------------------------------------------------------------------------ */

static bool read_protocols(struct str text, unsigned *out, struct admin_answer *a)
{
    struct str name;
    *out = str_is_null(text) ? BY_DEFAULT : 0;
    while (text.n && str_cut(&text, ',', &name)) {
        unsigned bit = auth_protocol_of(name);
        if (!bit) {
            answer_fail(a, RC_SYNTAX,
                        "%.*s: expected imap, pop3, smtp, sieve or web for --protocols",
                        STR_ARG(name));
            return false;
        }
        *out |= bit;
    }
    return *out != 0 || (answer_fail(a, RC_SYNTAX, "--protocols: expected some"), false);
}

static bool read_expires(struct admin *admin, struct str text, uint64_t *out,
                         struct admin_answer *a)
{
    uint64_t now = clock_wall(admin->ctx.clock), age;
    *out = 0;
    if (str_is_null(text))
        return true;
    if (parse_age(text, &age) && age < UINT64_MAX - now)
        *out = now + age;
    else if (!parse_date(text, out))
        *out = 0;
    if (*out > now)
        return true;
    answer_fail(a, RC_SYNTAX,
                "%.*s: expected a time to come, like 90d, 2027-01-31 or 2027-01-31T18:00, for "
                "--expires",
                STR_ARG(text));
    return false;
}

/* --- the operations --------------------------------------------------------------------------- */

static void tell_failure(enum rc rc, const struct admin_call *c, struct admin_answer *a)
{
    if (rc == RC_EXISTS)
        answer_fail(a, rc, "%.*s: has an app password of this label; revoke it or choose another",
                    STR_ARG(c->args[0]));
    if (rc == RC_DENIED)
        answer_fail(a, rc, "%.*s: has %d app passwords, and no more are allowed: revoke some",
                    STR_ARG(c->args[0]), AUTH_APPS_MAX);
    if (rc == RC_CONFLICT)
        answer_fail(a, RC_SYNTAX,
                    "%.*s: expected an address or a network like 192.0.2.0/24 for --from",
                    STR_ARG(c->options[FROM]));
    if (rc == RC_PERM || rc == RC_LIMIT)
        answer_fail(a, rc, "--label: expected up to %d letters, digits, '-' and '_'",
                    AUTH_APP_LABEL_MAX);
    answer_rc(a, rc, c->args[0]);
}

void admin_app_add(struct admin *admin, const struct admin_call *c, struct admin_answer *a)
{
    static const char *const columns[] = {"password"};
    char password[AUTH_APP_PASSWORD];
    struct auth_app app = {.label = c->options[LABEL], .net = c->options[FROM]};
    if (!read_protocols(c->options[PROTOCOLS], &app.protocols, a) ||
        !read_expires(admin, c->options[EXPIRES], &app.expires, a))
        return;
    enum rc rc = auth_app_add(admin->auth, c->args[0], &app, password);
    tell_failure(rc, c, a);
    if (rc != RC_OK)
        return;
    answer_columns(a, columns, 1);
    answer_text(a, password);
    crypto_wipe(password, sizeof password);
}

static void answer_time_or_none(struct admin_answer *a, uint64_t time)
{
    if (time)
        answer_time(a, time);
    else
        answer_text(a, "");
}

static void answer_app(struct admin_answer *a, const struct auth_app *app)
{
    struct buf text = {.cap = TEXT_MAX};
    auth_protocol_names(app->protocols, &text);
    answer_cell(a, app->label);
    answer_cell(a, buf_str(&text));
    answer_time(a, app->created);
    answer_time_or_none(a, app->expires);
    answer_cell(a, app->net.n ? app->net : STR(""));
    answer_time_or_none(a, app->used.at);
    answer_cell(a, app->used.peer.n ? app->used.peer : STR(""));
    answer_text(a, app->used.protocol);
    answer_cell(a, app->used.client.n ? app->used.client : STR(""));
    buf_fini(&text);
}

void admin_app_list(struct admin *admin, const struct admin_call *c, struct admin_answer *a)
{
    static const char *const columns[] = {"label", "protocols", "created",       "expires", "from",
                                          "used",  "peer",      "used_protocol", "client"};
    struct arena arena = {0};
    struct auth_app *apps;
    size_t n;
    enum rc rc = auth_app_list(admin->auth, c->args[0], &arena, &apps, &n);
    answer_rc(a, rc, c->args[0]);
    answer_columns(a, columns, sizeof columns / sizeof *columns);
    for (size_t i = 0; rc == RC_OK && i < n; i++)
        answer_app(a, &apps[i]);
    arena_fini(&arena);
}

void admin_app_revoke(struct admin *admin, const struct admin_call *c, struct admin_answer *a)
{
    struct str label = c->options[LABEL];
    size_t n;
    bool is_all = c->flags[0];
    if (is_all != str_is_null(label)) {
        answer_fail(a, RC_SYNTAX, "app-password revoke: give --label L, or --all");
        return;
    }
    enum rc rc = auth_app_revoke(admin->auth, c->args[0], label, &n);
    if (rc == RC_EXISTS)
        answer_fail(a, RC_NOTFOUND, "%.*s: has no such app password; see penfold app-password list",
                    STR_ARG(c->args[0]));
    answer_rc(a, rc, c->args[0]);
}
