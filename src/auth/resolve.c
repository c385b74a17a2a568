/* Where mail for an address goes: through details, aliases and catch-alls to accounts.
 *
 * An address that has a row is what that says. One that has none is tried without its detail, then
 * as postmaster or abuse of its domain, then by the domain's catch-all, unless it was an account's
 * that can still be restored.
 *
 * Nothing is lost on the way: one suspended account among several makes the whole answer "later",
 * since its copy could not be kept; disabled and unknown ones are passed over as long as there are
 * others. Each address is visited once, so a circle of aliases ends; depth and number of visits are
 * bounded, also for rows that no check has seen.
 *
 * [RFC5321 4.5.1] [RFC2142 3]: postmaster and abuse are always somebody.
 */
#include "auth/auth_int.h"

#include <string.h>

enum { DEPTH_MAX = 10, VISITS_MAX = 300, DOMAINS_TRIED = 64 };

struct walk {
    struct auth *auth;
    unsigned flags;
    bool is_any_state;  /* reach them whatever their state */
    bool is_for_sender; /* what accounts forward to does not count */
    struct arena arena; /* of what is read on the way */
    struct answer answer;
    struct str visited[VISITS_MAX];
    size_t n_visited;
    bool has_disabled, has_suspended, has_circle;
    uint64_t accounts[AUTH_TARGETS_MAX];
    struct str outside[AUTH_TARGETS_MAX];
    unsigned catch_all_depth;    /* of the address that a catch-all has led to; 0: none */
    struct domain_record domain; /* of the address that was asked for */
};

void auth_answer_depend(struct answer *answer, struct kv_part part, uint64_t version)
{
    size_t i = 0;
    while (i < answer->n_parts && i < ANSWER_PARTS && answer->parts[i] != part.id)
        i++;
    if (i == ANSWER_PARTS) {
        answer->n_parts = ANSWER_PARTS + 1;
        return;
    }
    if (i == answer->n_parts) {
        answer->parts[answer->n_parts] = part.id;
        answer->versions[answer->n_parts++] = version;
    } else if (version < answer->versions[i]) {
        answer->versions[i] = version;
    }
}

static enum rc add_account(struct walk *w, uint64_t account)
{
    for (size_t i = 0; i < w->answer.n; i++)
        if (w->accounts[i] == account)
            return RC_OK;
    if (w->answer.n == AUTH_TARGETS_MAX)
        return RC_LIMIT;
    w->accounts[w->answer.n++] = account;
    return RC_OK;
}

/* An alias leads to an address elsewhere. */
static enum rc add_outside(struct walk *w, struct str address)
{
    w->answer.n_parts = ANSWER_PARTS + 1; /* not for the cache */
    if (w->answer.n_outside == AUTH_TARGETS_MAX)
        return RC_LIMIT;
    w->outside[w->answer.n_outside++] = address;
    return RC_OK;
}

static bool is_role(const struct address *a)
{
    return str_eq(a->local, STR("postmaster")) || str_eq(a->local, STR("abuse"));
}

/* Reads the row of the address, or of the same without its detail. */
static enum rc read_row(struct walk *w, const struct address *a, struct lookup *out,
                        size_t *out_detail)
{
    struct kv_part part = auth_domain_part(a->domain);
    *out_detail = 0;
    enum rc rc = auth_lookup_row(w->auth, a, w->flags, &w->arena, out);
    if (rc == RC_OK || rc == RC_NOTFOUND || rc == RC_DENIED)
        auth_answer_depend(&w->answer, part, out->version);
    if (rc != RC_NOTFOUND || !out->domain.delimiter)
        return rc;
    ptrdiff_t at = str_find_byte(a->local, out->domain.delimiter);
    if (at < 1)
        return rc;
    struct address base = {.local = str_head(a->local, (size_t)at),
                           .domain = a->domain,
                           .whole = a->whole,
                           .is_plain = a->is_plain};
    rc = auth_lookup_row(w->auth, &base, w->flags, &w->arena, out);
    if (rc == RC_OK || rc == RC_NOTFOUND)
        auth_answer_depend(&w->answer, part, out->version);
    if (rc == RC_OK)
        *out_detail = (size_t)at + 1;
    return rc;
}

static enum rc visit(struct walk *w, const struct address *a, unsigned depth);

static enum rc visit_text(struct walk *w, struct str text, unsigned depth)
{
    struct address *a = arena_alloc(&w->arena, sizeof *a);
    if (!a)
        return RC_LIMIT;
    enum rc rc = auth_address_parse(text, a);
    return rc == RC_OK ? visit(w, a, depth) : RC_CORRUPT;
}

/* Its own mailbox has the mail where nobody else does: mail is not lost for a target that is no
 * more, or two accounts that forward to each other. */
static enum rc forward(struct walk *w, const struct address_record *r, unsigned depth)
{
    size_t before = w->answer.n + w->answer.n_outside;
    w->answer.is_forwarded = true;
    for (size_t i = 0; i < r->n_targets; i++)
        TRY(visit_text(w, r->targets[i], depth + 1));
    bool is_lost = w->answer.n + w->answer.n_outside == before && !w->has_suspended;
    return r->keeps_copy || is_lost ? add_account(w, r->account) : RC_OK;
}

static enum rc take_account(struct walk *w, const struct address_record *r, unsigned depth)
{
    if (!w->is_any_state && (r->is_disabled || r->is_suspended)) {
        w->has_disabled |= r->is_disabled;
        w->has_suspended |= !r->is_disabled;
        return RC_OK;
    }
    return r->n_targets && !w->is_for_sender ? forward(w, r, depth) : add_account(w, r->account);
}

/* Nobody has the address itself. */
static enum rc take_unknown(struct walk *w, const struct address *a, const struct lookup *found,
                            unsigned depth)
{
    if (is_role(a) && found->domain.postmaster)
        return add_account(w, found->domain.postmaster);
    if (!found->domain.catch_all.n)
        return RC_OK;
    enum rc rc = auth_lookup_removed(w->auth, a, w->flags, &w->answer);
    if (rc != RC_NOTFOUND)
        return rc;
    w->catch_all_depth = depth + 1;
    return visit_text(w, found->domain.catch_all, depth + 1);
}

static bool was_visited(struct walk *w, struct str whole)
{
    for (size_t i = 0; i < w->n_visited; i++)
        if (str_eq(w->visited[i], whole))
            return true;
    return false;
}

/* Adds what the address leads to; RC_OK also when that is nothing. */
static enum rc visit(struct walk *w, const struct address *a, unsigned depth)
{
    struct lookup found;
    size_t detail;
    if (was_visited(w, a->whole)) {
        w->has_circle = true;
        return RC_OK;
    }
    if (depth > DEPTH_MAX || w->n_visited == VISITS_MAX)
        return RC_LIMIT;
    w->visited[w->n_visited++] = a->whole;
    enum rc rc = read_row(w, a, &found, &detail);
    if (depth == 0) {
        w->domain = found.domain;
        w->answer.detail_at = detail;
        w->answer.is_exact = rc == RC_OK && !detail;
    }
    if (rc == RC_NOTFOUND)
        return take_unknown(w, a, &found, depth);
    if (rc == RC_DENIED && depth > 0 && depth == w->catch_all_depth)
        return RC_OK; /* its domain has been removed since */
    if (rc == RC_DENIED && depth > 0)
        return add_outside(w, a->whole);
    if (rc != RC_OK || !found.address.is_alias)
        return rc == RC_OK ? take_account(w, &found.address, depth) : rc;
    for (size_t i = 0; i < found.address.n_targets; i++)
        TRY(visit_text(w, found.address.targets[i], depth + 1));
    return RC_OK;
}

static enum rc walk_address(struct walk *w, const struct address *a, bool may_ask_others);

/* Postmaster of the first domain, in order of name, that has an account. */
static enum rc walk_any_postmaster(struct walk *w)
{
    struct kv_page page;
    struct kv_range all = {.from = STR("d"), .to = STR("e")};
    TRY(kv_scan(w->auth->kv, auth_global_part, all, DOMAINS_TRIED, w->flags, &w->arena, &page));
    for (size_t i = 0; i < page.n; i++) {
        struct str domain = str_skip(page.rows[i].key, 1);
        struct buf text = {.cap = 2 * AUTH_ADDRESS_MAX};
        struct address *a = arena_alloc(&w->arena, sizeof *a);
        buf_put(&text, STR("postmaster@"));
        buf_put(&text, domain);
        enum rc rc = a ? auth_address_parse(buf_str(&text), a) : RC_LIMIT;
        buf_fini(&text);
        if (rc == RC_OK)
            rc = walk_address(w, a, false);
        if (rc != RC_NOTFOUND && rc != RC_DENIED && rc != RC_SYNTAX) /* listed, never finished */
            return rc;
    }
    return RC_NOTFOUND;
}

static enum rc verdict(const struct walk *w)
{
    if (w->has_suspended)
        return RC_CONFLICT;
    if (w->answer.n + w->answer.n_outside)
        return RC_OK;
    if (w->has_disabled)
        return RC_PERM;
    return w->has_circle ? RC_CORRUPT : RC_NOTFOUND;
}

static void start(struct walk *w)
{
    w->n_visited = 0;
    w->answer = (struct answer){.accounts = w->accounts, .outside = w->outside};
    w->catch_all_depth = 0;
    w->has_disabled = w->has_suspended = w->has_circle = false;
    w->domain = (struct domain_record){0};
}

static enum rc walk_address(struct walk *w, const struct address *a, bool may_ask_others)
{
    start(w);
    enum rc rc = visit(w, a, 0);
    if (rc == RC_OK)
        rc = verdict(w);
    bool is_closed = rc == RC_NOTFOUND || rc == RC_PERM || rc == RC_CONFLICT;
    if (!is_closed || !is_role(a))
        return rc;
    w->answer.n = w->answer.n_outside = 0;
    if (w->domain.postmaster)
        return add_account(w, w->domain.postmaster);
    if (!may_ask_others)
        return rc;
    rc = walk_any_postmaster(w);
    w->answer.n_parts = ANSWER_PARTS + 1; /* more was read than is noted */
    return rc;
}

static void log_trouble(const struct walk *w, const struct address *a, enum rc rc)
{
    struct log_line l;
    if (rc != RC_LIMIT && rc != RC_CORRUPT)
        return;
    log_begin(&l, w->auth->ctx->log, LOG_ERROR, "alias-unusable");
    log_str(&l, "address", a->whole);
    log_text(&l, "cause", rc == RC_LIMIT ? "too-many-targets" : "circle-or-damage");
    log_end(&l);
}

static bool is_answer(enum rc rc)
{
    return rc == RC_OK || rc == RC_NOTFOUND || rc == RC_DENIED || rc == RC_PERM ||
           rc == RC_CONFLICT;
}

static enum rc keep(const struct walk *w, struct arena *arena, struct answer *out)
{
    *out = w->answer;
    out->accounts = arena_alloc(arena, (w->answer.n + 1) * sizeof *out->accounts);
    if (!out->accounts)
        return RC_LIMIT;
    memcpy(out->accounts, w->accounts, w->answer.n * sizeof *out->accounts);
    out->outside = arena_alloc(arena, (w->answer.n_outside + 1) * sizeof *out->outside);
    if (!out->outside)
        return RC_LIMIT;
    for (size_t i = 0; i < out->n_outside; i++) {
        out->outside[i] = arena_dup(arena, w->outside[i]);
        if (str_is_null(out->outside[i]))
            return RC_LIMIT;
    }
    return RC_OK;
}

static enum rc walk_and_keep(struct walk *w, const struct address *a, struct arena *arena,
                             struct answer *out)
{
    enum rc rc = a ? walk_address(w, a, true) : walk_any_postmaster(w);
    if (rc != RC_OK)
        w->answer.n = w->answer.n_outside = 0;
    w->answer.rc = rc;
    if (a && a->is_plain && is_answer(rc) && !w->is_any_state)
        auth_cache_put(&w->auth->cache, a, &w->answer);
    if (a)
        log_trouble(w, a, rc);
    return rc == RC_OK ? keep(w, arena, out) : rc;
}

/* `a` NULL: bare postmaster [RFC5321 4.1.1.3]. */
static enum rc find_answer(struct auth *auth, const struct address *a, unsigned flags,
                           struct arena *arena, struct answer *out)
{
    if (a && a->is_plain && auth_cache_find(&auth->cache, a, arena, out))
        return out->rc;
    struct walk w;
    w.auth = auth;
    w.flags = flags;
    w.is_any_state = w.is_for_sender = false;
    w.arena = (struct arena){0};
    start(&w);
    enum rc rc = walk_and_keep(&w, a, arena, out);
    arena_fini(&w.arena);
    return rc;
}

/* As the sender wrote it where that is not quoted: case may matter to a script. */
static struct str detail_of(struct str text, const struct address *a, size_t at)
{
    struct str local = text.p[0] == '"' ? a->local : str_head(text, a->local.n);
    return str_skip(local, at);
}

enum rc auth_resolve(struct auth *auth, struct str address, unsigned flags, struct arena *arena,
                     struct auth_targets *out)
{
    struct address a;
    struct answer answer;
    bool is_bare = str_ieq(address, STR("postmaster"));
    *out = (struct auth_targets){0};
    if (!is_bare)
        TRY(auth_address_parse(address, &a));
    TRY(find_answer(auth, is_bare ? NULL : &a, flags, arena, &answer));
    out->accounts = answer.accounts;
    out->n = answer.n;
    out->outside = answer.outside;
    out->n_outside = answer.n_outside;
    if (answer.detail_at)
        out->detail = arena_dup(arena, detail_of(address, &a, answer.detail_at));
    return answer.detail_at && str_is_null(out->detail) ? RC_LIMIT : RC_OK;
}

static bool has_account(const struct answer *answer, uint64_t account)
{
    for (size_t i = 0; i < answer->n; i++)
        if (answer->accounts[i] == account)
            return true;
    return false;
}

enum rc auth_may_send(struct auth *auth, uint64_t account, struct str address, unsigned flags)
{
    struct address a;
    struct answer answer = {0};
    struct arena arena = {0};
    if (auth_address_parse(address, &a) != RC_OK)
        return RC_DENIED;
    enum rc rc = find_answer(auth, &a, flags, &arena, &answer);
    /* The state is somebody else's among the targets, perhaps. */
    if (rc == RC_CONFLICT || rc == RC_PERM || (rc == RC_OK && answer.is_forwarded)) {
        struct walk w = {.auth = auth, .flags = flags, .is_any_state = true, .is_for_sender = true};
        start(&w);
        rc = walk_and_keep(&w, &a, &arena, &answer);
        arena_fini(&w.arena);
    }
    bool is_his = rc == RC_OK && has_account(&answer, account);
    arena_fini(&arena);
    if (rc == RC_AGAIN || rc == RC_TEMP || rc == RC_CORRUPT)
        return rc;
    return is_his ? RC_OK : RC_DENIED;
}

enum rc auth_resolve_meets(struct auth *auth, const struct address *from, struct str to,
                           bool *out_exists)
{
    struct walk w = {.auth = auth, .is_any_state = true};
    start(&w);
    enum rc rc = visit(&w, from, 0);
    *out_exists = w.answer.n || w.answer.n_outside || w.has_circle;
    if (rc == RC_OK)
        rc = was_visited(&w, to) ? RC_OK : RC_NOTFOUND;
    arena_fini(&w.arena);
    return rc;
}
