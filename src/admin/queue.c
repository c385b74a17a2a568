/* Operations on the queue: what is in it, by what it is, and what is made of it: tried now, held,
 * released, removed. */
#include "admin/admin_int.h"

#include <stdio.h>

enum { LIST_DEFAULT = 1000, LIST_MOST = 100000, PAGE = QUEUE_ACT_MAX };

/* The options of all of them, as in their rows. */
enum { DOMAIN, SENDER, OLDER, ERROR, LIMIT, STATE };
enum { ALL, REPORT };

struct search {
    struct queue_filter filter;
    struct queue_cursor cursor;
    uint64_t limit, n;
    struct arena arena; /* of a page */
    struct queue_found page;
};

/* --- what is asked for ------------------------------------------------------------------------ */

bool parse_age(struct str s, uint64_t *out_ns)
{
    static const struct {
        char suffix;
        uint64_t seconds;
    } units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}, {'w', 7 * 86400}};
    uint64_t scale = 1;
    for (size_t i = 0; s.n && i < sizeof units / sizeof *units; i++) {
        if (ascii_lower(s.p[s.n - 1]) == units[i].suffix) {
            scale = units[i].seconds;
            s.n--;
            break;
        }
    }
    if (str_to_u64(s, out_ns) != RC_OK || *out_ns > UINT64_MAX / NS_PER_SEC / scale)
        return false;
    *out_ns *= scale * NS_PER_SEC;
    return true;
}

static bool read_older(const struct admin *admin, const struct admin_call *c, struct search *s,
                       struct admin_answer *a)
{
    uint64_t age, now = clock_wall(admin->ctx.clock);
    if (str_is_null(c->options[OLDER]))
        return true;
    if (!parse_age(c->options[OLDER], &age)) {
        answer_fail(a, RC_SYNTAX, "%.*s: expected a time like 90m, 12h or 3d for --older",
                    STR_ARG(c->options[OLDER]));
        return false;
    }
    s->filter.before = age < now ? now - age : 1;
    return true;
}

static bool read_state(const struct admin_call *c, struct search *s, struct admin_answer *a)
{
    static const struct {
        const char *name;
        enum queue_which which;
    } states[] = {{"waiting", QUEUE_ONLY_WAITING},
                  {"held", QUEUE_ONLY_HELD},
                  {"deferred", QUEUE_ONLY_DEFERRED}};
    if (str_is_null(c->options[STATE]))
        return true;
    for (size_t i = 0; i < sizeof states / sizeof *states; i++) {
        if (str_eq(c->options[STATE], str_of(states[i].name))) {
            s->filter.which = states[i].which;
            return true;
        }
    }
    answer_fail(a, RC_SYNTAX, "%.*s: expected waiting, held or deferred for --state",
                STR_ARG(c->options[STATE]));
    return false;
}

/* False: the answer tells what is wrong. */
static bool read_search(const struct admin *admin, const struct admin_call *c, struct search *s,
                        struct admin_answer *a)
{
    struct str limit = c->options[LIMIT];
    s->filter.domain = c->options[DOMAIN];
    s->filter.sender = c->options[SENDER];
    s->filter.error = c->options[ERROR];
    if (str_eq(s->filter.sender, STR("<>")))
        s->filter.sender = STR("");
    if (!str_is_null(limit) && (str_to_u64(limit, &s->limit) != RC_OK || s->limit > LIST_MOST)) {
        answer_fail(a, RC_SYNTAX, "%.*s: expected a number up to %d for --limit", STR_ARG(limit),
                    LIST_MOST);
        return false;
    }
    return read_older(admin, c, s, a) && read_state(c, s, a);
}

static bool has_filter(const struct admin_call *c)
{
    for (size_t i = DOMAIN; i <= STATE; i++)
        if (!str_is_null(c->options[i]) && i != LIMIT)
            return true;
    return false;
}

/* The next page, in the search's arena; none: that was all. */
static enum rc next_page(struct admin *admin, struct search *s)
{
    s->page.n = 0;
    while (s->page.n == 0 && s->n < s->limit && !s->cursor.is_at_end) {
        uint64_t left = s->limit - s->n;
        arena_reset(&s->arena);
        TRY(queue_find(admin->queue, &s->filter, &s->cursor, left < PAGE ? left : PAGE, &s->arena,
                       &s->page));
    }
    s->n += s->page.n;
    return RC_OK;
}

/* --- listing ---------------------------------------------------------------------------------- */

static const char *state_of(const struct queue_entry *e)
{
    return e->status.state == QUEUE_HELD ? "held" : queue_is_deferred(e) ? "deferred" : "waiting";
}

static void answer_recipient(struct admin_answer *a, const struct queue_recipient *r)
{
    char text[32];
    snprintf(text, sizeof text, "account %llu", (unsigned long long)r->account);
    answer_cell(a, r->address.n ? r->address : str_of(text));
}

/* Of the item, or else the words of the last host that put it off. */
static struct str cause_of(const struct queue_entry *e)
{
    if (e->rc != RC_OK)
        return str_of(rc_name(e->rc));
    if (e->status.cause[0])
        return str_of(e->status.cause);
    for (size_t i = 0; i < e->item.n_recipients; i++)
        if (e->item.recipients[i].reply.n)
            return e->item.recipients[i].reply;
    return STR("");
}

static void answer_item(struct admin_answer *a, const struct queue_entry *e)
{
    char text[QUEUE_ID_TEXT];
    queue_id_text(e->item.id, text);
    answer_text(a, text);
    answer_text(a, state_of(e));
    answer_time(a, e->item.received);
    answer_u64(a, e->item.size);
    answer_cell(a, e->item.sender.p ? e->item.sender : STR(""));
    answer_u64(a, e->item.n_recipients);
    if (e->item.n_recipients)
        answer_recipient(a, &e->item.recipients[0]);
    else
        answer_text(a, "");
    answer_cell(a, cause_of(e));
}

void admin_queue_list(struct admin *admin, const struct admin_call *c, struct admin_answer *a)
{
    static const char *const columns[] = {"id",     "state",      "received", "size",
                                          "sender", "recipients", "to",       "cause"};
    struct search s = {.limit = LIST_DEFAULT};
    enum rc rc = RC_OK;
    if (!read_search(admin, c, &s, a))
        return;
    answer_columns(a, columns, sizeof columns / sizeof *columns);
    do {
        rc = next_page(admin, &s);
        for (size_t i = 0; rc == RC_OK && i < s.page.n; i++)
            answer_item(a, &s.page.entries[i]);
    } while (rc == RC_OK && s.page.n);
    arena_fini(&s.arena);
    answer_rc(a, rc, STR("queue"));
}

/* --- one item --------------------------------------------------------------------------------- */

static bool read_id(struct str text, struct queue_id *out, struct admin_answer *a)
{
    if (queue_id_parse(text, out) == RC_OK)
        return true;
    answer_fail(a, RC_PERM, "%.*s: expected an id as queue list shows it", STR_ARG(text));
    return false;
}

static void fail_missing(struct admin_answer *a, struct str text)
{
    answer_fail(a, RC_NOTFOUND, "%.*s: there is no such message in the queue", STR_ARG(text));
}

static void answer_when(struct admin_answer *a, uint64_t wall)
{
    if (wall)
        answer_time(a, wall);
    else
        answer_text(a, "");
}

static uint64_t next_try(const struct queue_entry *e, const struct queue_recipient *r)
{
    if (e->status.state == QUEUE_HELD)
        return 0;
    if (r->account)
        return e->status.due ? e->status.due : e->item.due;
    return r->due;
}

static void answer_state(struct admin_answer *a, const struct queue_entry *e,
                         const struct queue_recipient *r)
{
    answer_recipient(a, r);
    answer_u64(a, r->account ? e->status.waits + e->status.failures : r->tries);
    answer_when(a, next_try(e, r));
    answer_when(a, r->last_tried);
    answer_cell(a, r->status.n ? r->status : STR(""));
    answer_cell(a, r->host.n ? r->host : STR(""));
    answer_cell(a, r->reply.n ? r->reply : str_of(e->status.cause));
}

void admin_queue_show(struct admin *admin, const struct admin_call *c, struct admin_answer *a)
{
    static const char *const columns[] = {
        "id",    "state",     "received", "expires",  "sender",   "message_id", "log",  "size",
        "cause", "recipient", "tries",    "next_try", "last_try", "status",     "host", "reply"};
    static const struct queue_recipient none = {.address = {"", 0}};
    struct arena arena = {0};
    struct queue_entry e;
    struct queue_id id;
    if (!read_id(c->args[0], &id, a))
        return;
    enum rc rc = queue_load(admin->queue, id, 0, &arena, &e);
    if (rc == RC_NOTFOUND)
        fail_missing(a, c->args[0]);
    answer_rc(a, rc, c->args[0]);
    if (rc == RC_OK)
        answer_columns(a, columns, sizeof columns / sizeof *columns);
    size_t n = rc == RC_OK && e.item.n_recipients == 0 ? 1 : e.item.n_recipients;
    for (size_t i = 0; rc == RC_OK && i < n; i++) {
        answer_cell(a, c->args[0]);
        answer_text(a, state_of(&e));
        answer_time(a, e.item.received);
        answer_when(a, e.item.expires);
        answer_cell(a, e.item.sender.n ? e.item.sender : STR(""));
        answer_cell(a, e.item.message_id.n ? e.item.message_id : STR(""));
        answer_cell(a, e.item.log_id.n ? e.item.log_id : STR(""));
        answer_u64(a, e.item.size);
        answer_cell(a, cause_of(&e));
        answer_state(a, &e, e.item.n_recipients ? &e.item.recipients[i] : &none);
    }
    arena_fini(&arena);
}

/* --- one item, or all that match -------------------------------------------------------------- */

struct deed {
    enum queue_action action;
    const char *refusal; /* what is said when it is not for this one */
};

/* Those of a page, one shard after the other. */
static enum rc act_on_page(struct admin *admin, const struct deed *d, const struct search *s,
                           uint64_t *n)
{
    struct queue_id ids[PAGE];
    for (size_t i = 0, k; i < s->page.n; i += k) {
        unsigned shard = queue_shard_of(s->page.entries[i].item.id);
        size_t changed;
        for (k = 0; i + k < s->page.n; k++) {
            ids[k] = s->page.entries[i + k].item.id;
            if (queue_shard_of(ids[k]) != shard)
                break;
        }
        TRY(queue_act(admin->queue, d->action, "held by an administrator", ids, k, &changed));
        *n += changed;
        for (size_t j = 0; changed && j < k; j++)
            admin_trace_changed(admin, &s->page.entries[i + j], d->action);
    }
    return RC_OK;
}

static void do_all(struct admin *admin, const struct admin_call *c, struct admin_answer *a,
                   const struct deed *d)
{
    static const char *const columns[] = {"items"};
    struct search s = {.limit = UINT64_MAX};
    uint64_t n = 0;
    enum rc rc;
    if (!read_search(admin, c, &s, a))
        return;
    do {
        rc = next_page(admin, &s);
        if (rc == RC_OK)
            rc = act_on_page(admin, d, &s, &n);
    } while (rc == RC_OK && s.page.n);
    arena_fini(&s.arena);
    answer_rc(a, rc, STR("queue"));
    answer_columns(a, columns, 1);
    answer_u64(a, n);
}

static void do_one(struct admin *admin, struct str text, struct admin_answer *a,
                   const struct deed *d)
{
    struct queue_status status;
    struct queue_entry before;
    struct arena arena = {0};
    struct queue_id id;
    size_t n = 0;
    if (!read_id(text, &id, a))
        return;
    enum rc loaded = queue_load(admin->queue, id, 0, &arena, &before);
    enum rc rc = queue_act(admin->queue, d->action, "held by an administrator", &id, 1, &n);
    if (rc == RC_OK && n == 0) {
        rc = queue_status_get(admin->queue, id, &status);
        if (rc == RC_NOTFOUND)
            fail_missing(a, text);
        else
            answer_fail(a, RC_CONFLICT, "%.*s: %s", STR_ARG(text), d->refusal);
    }
    if (rc == RC_OK && n && loaded == RC_OK)
        admin_trace_changed(admin, &before, d->action);
    arena_fini(&arena);
    answer_rc(a, rc, text);
}

static void one_or_all(struct admin *admin, const struct admin_call *c, struct admin_answer *a,
                       const struct deed *d)
{
    bool is_many = c->flags[ALL] || has_filter(c);
    if (is_many == (c->n_args == 1) || (c->n_args == 1 && !str_is_null(c->options[LIMIT])))
        answer_fail(a, RC_SYNTAX, "queue: an id, or --all, or which ones");
    else if (is_many)
        do_all(admin, c, a, d);
    else
        do_one(admin, c->args[0], a, d);
}

void admin_queue_retry(struct admin *admin, const struct admin_call *c, struct admin_answer *a)
{
    static const struct deed deed = {QUEUE_RETRY, "it is held: see penfold queue release"};
    one_or_all(admin, c, a, &deed);
}

void admin_queue_hold(struct admin *admin, const struct admin_call *c, struct admin_answer *a)
{
    static const struct deed deed = {QUEUE_HOLD, "it cannot be held"};
    one_or_all(admin, c, a, &deed);
}

void admin_queue_release(struct admin *admin, const struct admin_call *c, struct admin_answer *a)
{
    static const struct deed deed = {QUEUE_RELEASE, "it is not held"};
    one_or_all(admin, c, a, &deed);
}

void admin_queue_remove(struct admin *admin, const struct admin_call *c, struct admin_answer *a)
{
    static const struct deed removal = {QUEUE_REMOVE, "it cannot be removed"};
    static const struct deed returning = {QUEUE_RETURN, "it cannot be sent back"};
    one_or_all(admin, c, a, c->flags[REPORT] ? &returning : &removal);
}
