/* Accounts elsewhere that mail is collected from. What is changed here is seen by the server that
 * collects; without one it holds from its start on. */
#include "admin/admin_int.h"

#include "fetch/fetch.h"
#include "remote/remote.h"

#include <stdio.h>
#include <string.h>

enum { TLS, AFTER, EVERY, FOLDERS }; /* options of `collect add` */
enum { EVERY_LEAST = 60, DAYS_MAX = 3650 };

static const char *const protocols[] = {[FETCH_POP3] = "pop3", [FETCH_IMAP] = "imap"};
static const char *const tls_words[] = {[FETCH_TLS_IMPLICIT] = "implicit",
                                        [FETCH_TLS_STARTTLS] = "starttls",
                                        [FETCH_TLS_NONE] = "none"};
static const char *const conditions[] = {[REMOTE_NEW] = "new",
                                         [REMOTE_WELL] = "well",
                                         [REMOTE_FAILING] = "failing",
                                         [REMOTE_STOPPED] = "stopped"};

/* The number of a word among these; n: none. */
static size_t word_of(struct str text, const char *const *words, size_t n)
{
    size_t i = 0;
    while (i < n && !str_eq(text, str_of(words[i])))
        i++;
    return i;
}

static bool find_owner(struct admin *admin, struct str address, struct admin_answer *a,
                       struct auth_account *out)
{
    enum rc rc = auth_account_show(admin->auth, address, &a->arena, out);
    answer_rc(a, rc, address);
    return rc == RC_OK;
}

/* --- what is to be added ---------------------------------------------------------------------- */

/* "pop.example.org", "192.0.2.1:1110", "[2001:db8::1]:995" */
static bool read_host(struct str text, struct remote *r, struct admin_answer *a)
{
    ptrdiff_t colon = str_rfind_byte(text, ':'), bracket = str_rfind_byte(text, ']');
    struct str host = text;
    struct net_addr ip;
    uint64_t port = fetch_port(r->protocol, r->tls);
    bool has_port = colon > bracket && str_find_byte(text, ':') == colon;
    has_port |= bracket >= 0 && colon == bracket + 1;
    if (has_port) {
        host = str_head(text, (size_t)colon);
        if (str_to_u64(str_skip(text, (size_t)colon + 1), &port) != RC_OK)
            port = 0;
    }
    if (host.n > 2 && host.p[0] == '[')
        host = str_sub(host, 1, host.n - 2);
    char *lower = arena_alloc(&a->arena, host.n + 1);
    for (size_t i = 0; i < host.n; i++)
        lower[i] = ascii_lower(host.p[i]);
    r->host = str_from(lower, host.n);
    r->port = (uint16_t)port;
    bool is_ip = net_ip_parse(r->host, 1, &ip) == RC_OK;
    bool is_name = str_find_byte(r->host, '.') > 0 || str_eq(r->host, STR("localhost"));
    for (size_t i = 0; i < host.n; i++)
        is_name = is_name && (ascii_is_alpha(lower[i]) || ascii_is_digit(lower[i]) ||
                              lower[i] == '-' || lower[i] == '.');
    if (port && port <= UINT16_MAX && host.n <= REMOTE_HOST_MAX && (is_ip || is_name))
        return true;
    answer_fail(a, RC_SYNTAX, "%.*s: expected HOST or HOST:PORT", STR_ARG(text));
    return false;
}

static bool read_after(struct str text, struct remote *r, struct admin_answer *a)
{
    uint64_t days;
    r->after = REMOTE_KEEP;
    if (str_is_null(text) || str_eq(text, STR("keep")))
        return true;
    r->after = REMOTE_DELETE;
    if (str_eq(text, STR("delete")))
        return true;
    r->after = REMOTE_DAYS;
    if (str_to_u64(text, &days) == RC_OK && days > 0 && days <= DAYS_MAX) {
        r->days = (uint32_t)days;
        return true;
    }
    answer_fail(a, RC_SYNTAX, "--after %.*s: expected keep, delete, or a number of days",
                STR_ARG(text));
    return false;
}

static bool read_options(const struct admin_call *c, struct remote *r, struct admin_answer *a)
{
    const struct str *o = c->options;
    uint64_t ns = 0;
    size_t protocol = word_of(c->args[1], protocols, 2);
    size_t tls = str_is_null(o[TLS]) ? FETCH_TLS_IMPLICIT : word_of(o[TLS], tls_words, 3);
    if (protocol == 2)
        answer_fail(a, RC_SYNTAX, "%.*s: expected pop3 or imap", STR_ARG(c->args[1]));
    else if (tls == 3)
        answer_fail(a, RC_SYNTAX, "--tls %.*s: expected implicit, starttls or none",
                    STR_ARG(o[TLS]));
    else if (!str_is_null(o[EVERY]) && (!parse_age(o[EVERY], &ns) || ns < EVERY_LEAST * NS_PER_SEC))
        answer_fail(a, RC_SYNTAX, "--every %.*s: expected a minute or more, such as 10m",
                    STR_ARG(o[EVERY]));
    else if (!str_is_null(o[FOLDERS]) && (protocol == FETCH_POP3 || o[FOLDERS].n > REMOTE_MAP_MAX))
        answer_fail(a, RC_SYNTAX, "--folders: of imap only, %d bytes at most", REMOTE_MAP_MAX);
    else if (c->args[3].n > REMOTE_LOGIN_MAX || c->args[3].n == 0)
        answer_fail(a, RC_SYNTAX, "the login has 1 to %d bytes", REMOTE_LOGIN_MAX);
    else if (str_find_byte(c->args[3], '\r') >= 0 || str_find_byte(c->args[3], '\n') >= 0 ||
             str_find_byte(c->args[3], '\0') >= 0)
        answer_fail(a, RC_SYNTAX, "the login: expected one line of text");
    if (a->rc != RC_OK)
        return false;
    r->protocol = (uint8_t)protocol;
    r->tls = (uint8_t)tls;
    r->interval_s = ns / NS_PER_SEC;
    r->folders = o[FOLDERS];
    r->login = c->args[3];
    return read_after(o[AFTER], r, a) && read_host(c->args[2], r, a);
}

static bool seal_password(struct admin *admin, const struct remote *r, struct str password,
                          struct buf *sealed, struct admin_answer *a)
{
    for (size_t i = 0; i < password.n; i++)
        if (password.p[i] == '\r' || password.p[i] == '\n' || password.p[i] == '\0')
            answer_fail(a, RC_SYNTAX, "the password is one line of text");
    if (!atomic_load(&admin->has_seal))
        answer_fail(a, RC_PERM,
                    "there is nothing to seal its password with: see penfold dkim setup --help");
    else if (remote_seal(r, password, admin->seal, sealed) != RC_OK)
        answer_fail(a, RC_SYNTAX, "the password has at most %d bytes", REMOTE_PASSWORD_MAX);
    return a->rc == RC_OK;
}

void admin_collect_add(struct admin *admin, const struct admin_call *c, struct admin_answer *a)
{
    static const char *const names[] = {"id"};
    struct auth_account owner;
    struct remote r = {.created = clock_wall(admin->ctx.clock)};
    struct buf sealed = {.cap = CRYPTO_SEALED_MAX};
    uint32_t id = 0;
    if (!read_options(c, &r, a) || !find_owner(admin, c->args[0], a, &owner))
        return;
    r.account = owner.id;
    r.owner = owner.address;
    if (seal_password(admin, &r, c->password, &sealed, a)) {
        r.sealed = buf_str(&sealed);
        uint32_t most = atomic_load(&admin->collections);
        enum rc rc = remote_add(admin->kv, &r, most, &id);
        if (rc == RC_LIMIT)
            answer_fail(a, RC_PERM, "%.*s: it collects from %u accounts already, which is the most",
                        STR_ARG(c->args[0]), most);
        answer_rc(a, rc, c->args[0]);
    }
    buf_fini(&sealed);
    if (a->rc != RC_OK)
        return;
    answer_columns(a, names, 1);
    answer_u64(a, id);
}

/* --- the others ------------------------------------------------------------------------------- */

static void answer_maybe_time(struct admin_answer *a, uint64_t wall)
{
    if (wall)
        answer_time(a, wall);
    else
        answer_text(a, "");
}

static void answer_one(struct admin *admin, const struct remote *r, struct admin_answer *a)
{
    struct remote_state s;
    char text[80];
    enum rc rc = remote_state_get(admin->kv, r->account, r->id, &a->arena, &s);
    answer_rc(a, rc, r->owner);
    answer_cell(a, r->owner);
    answer_u64(a, r->id);
    answer_text(a, r->protocol <= FETCH_IMAP ? protocols[r->protocol] : "?");
    answer_cell(a, r->host);
    answer_u64(a, r->port);
    answer_text(a, r->tls <= FETCH_TLS_NONE ? tls_words[r->tls] : "?");
    answer_cell(a, r->login);
    snprintf(text, sizeof text, "%u", r->days);
    answer_text(a, r->after == REMOTE_KEEP ? "keep" : r->after == REMOTE_DELETE ? "delete" : text);
    snprintf(text, sizeof text, "%llus", (unsigned long long)r->interval_s);
    answer_text(a, r->interval_s ? text : "");
    answer_cell(a, r->folders);
    bool is_fresh = s.condition == REMOTE_STOPPED && s.credentials != r->credentials;
    answer_text(a, is_fresh || s.condition > REMOTE_STOPPED ? "new" : conditions[s.condition]);
    answer_u64(a, s.messages);
    answer_u64(a, s.left);
    answer_maybe_time(a, s.tried);
    answer_maybe_time(a, s.succeeded);
    answer_maybe_time(a, s.condition == REMOTE_STOPPED && !is_fresh ? 0 : s.due);
    answer_cell(a, s.text);
}

void admin_collect_list(struct admin *admin, const struct admin_call *c, struct admin_answer *a)
{
    static const char *const names[] = {
        "owner",   "id",    "protocol", "host", "port",  "tls",       "login", "after", "every",
        "folders", "state", "messages", "left", "tried", "succeeded", "due",   "error"};
    struct auth_account owner = {0};
    struct remote *all;
    size_t n;
    if (c->n_args && !find_owner(admin, c->args[0], a, &owner))
        return;
    enum rc rc = remote_list(admin->kv, owner.id, &a->arena, &all, &n);
    answer_rc(a, rc, STR("collect list"));
    if (rc != RC_OK)
        return;
    answer_columns(a, names, sizeof names / sizeof *names);
    for (size_t i = 0; i < n; i++)
        answer_one(admin, &all[i], a);
}

/* Those that the arguments name: ADDRESS, or ADDRESS and ID. */
static bool find_meant(struct admin *admin, const struct admin_call *c, struct admin_answer *a,
                       struct remote **out, size_t *out_n)
{
    struct auth_account owner;
    uint64_t id = 0;
    if (!find_owner(admin, c->args[0], a, &owner))
        return false;
    if (c->n_args > 1 && (str_to_u64(c->args[1], &id) != RC_OK || !id || id > UINT32_MAX)) {
        answer_fail(a, RC_SYNTAX, "%.*s: expected a number that collect list shows",
                    STR_ARG(c->args[1]));
        return false;
    }
    enum rc rc;
    if (id) {
        *out = arena_alloc(&a->arena, sizeof **out);
        rc = remote_get(admin->kv, owner.id, (uint32_t)id, &a->arena, *out);
        *out_n = 1;
    } else {
        rc = remote_list(admin->kv, owner.id, &a->arena, out, out_n);
    }
    if (rc == RC_NOTFOUND)
        answer_fail(a, rc, "%.*s: it collects from no account with this number",
                    STR_ARG(c->args[1]));
    answer_rc(a, rc, c->args[0]);
    return rc == RC_OK;
}

void admin_collect_run(struct admin *admin, const struct admin_call *c, struct admin_answer *a)
{
    struct remote *all;
    size_t n;
    if (!find_meant(admin, c, a, &all, &n))
        return;
    if (n == 0)
        answer_fail(a, RC_NOTFOUND, "%.*s: it collects from no account", STR_ARG(c->args[0]));
    for (size_t i = 0; a->rc == RC_OK && i < n; i++)
        answer_rc(a, remote_ask(admin->kv, all[i].account, all[i].id, clock_wall(admin->ctx.clock)),
                  c->args[0]);
}

void admin_collect_passwd(struct admin *admin, const struct admin_call *c, struct admin_answer *a)
{
    struct buf sealed = {.cap = CRYPTO_SEALED_MAX};
    struct remote *r;
    size_t n;
    if (!find_meant(admin, c, a, &r, &n))
        return;
    if (seal_password(admin, r, c->password, &sealed, a))
        answer_rc(a, remote_reseal(admin->kv, r->account, r->id, buf_str(&sealed)), c->args[1]);
    buf_fini(&sealed);
}

void admin_collect_remove(struct admin *admin, const struct admin_call *c, struct admin_answer *a)
{
    struct remote *r;
    size_t n;
    if (find_meant(admin, c, a, &r, &n))
        answer_rc(a, remote_remove(admin->kv, admin->store, r->account, r->id), c->args[1]);
}
