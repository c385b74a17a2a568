/* Who is logged in now, and ending it. Sessions are in the running server: without one there are
 * none. */
#include "admin/admin_int.h"

#include "auth/session.h"

void admin_sessions_list(struct admin *admin, const struct admin_call *c, struct admin_answer *a)
{
    static const char *const columns[] = {"id",   "address", "protocol", "peer",   "since",
                                          "idle", "tls",     "mailbox",  "client", "state"};
    struct arena arena = {0};
    struct auth_session_info *list;
    size_t n;
    answer_columns(a, columns, sizeof columns / sizeof *columns);
    struct str what = c->n_args ? c->args[0] : (struct str){0};
    enum rc rc = auth_session_list(admin->auth, what, &arena, &list, &n);
    answer_rc(a, rc, STR("sessions"));
    for (size_t i = 0; rc == RC_OK && i < n; i++) {
        const struct auth_session_info *s = &list[i];
        answer_cell(a, s->id);
        answer_cell(a, s->name);
        answer_text(a, s->protocol);
        answer_cell(a, s->peer);
        answer_time(a, s->since);
        answer_u64(a, s->idle_s);
        answer_cell(a, s->tls.n ? s->tls : STR(""));
        answer_cell(a, s->mailbox.n ? s->mailbox : STR(""));
        answer_cell(a, s->client.n ? s->client : STR(""));
        answer_text(a, s->ending == AUTH_SESSION_STAYS ? "open" : "ending");
    }
    arena_fini(&arena);
}

void admin_sessions_kick(struct admin *admin, const struct admin_call *c, struct admin_answer *a)
{
    static const char *const columns[] = {"ended"};
    struct str what = c->n_args ? c->args[0] : (struct str){0};
    size_t n;
    if (c->flags[0] == (c->n_args != 0)) {
        answer_fail(a, RC_SYNTAX, "sessions kick: give an address, an id, or --all");
        return;
    }
    enum rc rc = auth_session_kick(admin->auth, what, &n);
    if (rc == RC_NOTFOUND)
        answer_fail(a, rc, "%.*s: is not logged in; see penfold sessions list", STR_ARG(what));
    answer_rc(a, rc, STR("sessions"));
    answer_columns(a, columns, 1);
    if (rc == RC_OK)
        answer_u64(a, n);
}
