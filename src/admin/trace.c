/* The stories of messages; and the part of administrators in them. */
#include "admin/admin_int.h"

#include "trace/trace.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum { LIST_DEFAULT = 50, ARENA = 256 << 20 };
enum { SINCE, LIMIT };

/* In UTC; a Z behind it is allowed. */
bool parse_date(struct str s, uint64_t *out)
{
    static const char *const forms[] = {"%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"};
    char text[32];
    if (s.n >= sizeof text)
        return false;
    snprintf(text, sizeof text, "%.*s", STR_ARG(s));
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        struct tm tm = {0};
        const char *end = strptime(text, forms[i], &tm);
        if (!end || strcmp(*end == 'Z' ? end + 1 : end, "") != 0)
            continue;
        time_t at = timegm(&tm);
        *out = at > 0 ? (uint64_t)at * NS_PER_SEC : 0;
        return at > 0;
    }
    return false;
}

/* "2026-11-22", "2026-11-22T10:00:00Z", or an age: "90m", "3d". */
static bool read_since(struct admin *admin, struct str text, uint64_t *out, struct admin_answer *a)
{
    uint64_t now = clock_wall(admin->ctx.clock), age;
    *out = 0;
    if (str_is_null(text))
        return true;
    if (parse_age(text, &age)) {
        *out = age < now ? now - age : 1;
        return true;
    }
    if (parse_date(text, out))
        return true;
    answer_fail(a, RC_SYNTAX, "%.*s: expected a time like 90m, 3d or 2026-11-22T10:00 for --since",
                STR_ARG(text));
    return false;
}

static bool read_limit(struct str text, size_t *out, struct admin_answer *a)
{
    uint64_t n;
    *out = LIST_DEFAULT;
    if (str_is_null(text))
        return true;
    if (str_to_u64(text, &n) != RC_OK || n == 0 || n > TRACE_MESSAGES) {
        answer_fail(a, RC_SYNTAX, "%.*s: expected a number up to %d for --limit", STR_ARG(text),
                    TRACE_MESSAGES);
        return false;
    }
    *out = n;
    return true;
}

static void answer_recipients(struct admin_answer *a, const struct trace_event *e)
{
    struct buf text;
    buf_init(&text, TRACE_EVENT_MAX * 2);
    for (size_t i = 0; i < e->n_to; i++) {
        buf_put(&text, i ? STR(", ") : STR(""));
        buf_put(&text, e->to[i]);
    }
    answer_cell(a, buf_len(&text) ? buf_str(&text) : STR(""));
    buf_fini(&text);
}

static void answer_some(struct admin_answer *a, struct str text)
{
    answer_cell(a, text.n ? text : STR(""));
}

static void answer_size(struct admin_answer *a, uint64_t size)
{
    if (size)
        answer_u64(a, size);
    else
        answer_text(a, "");
}

static void answer_event(struct admin_answer *a, struct str story, const struct trace_event *e)
{
    answer_some(a, story);
    answer_some(a, e->id);
    answer_time(a, e->time);
    answer_text(a, trace_what_text(e->what));
    answer_some(a, e->message_id);
    answer_cell(a, !e->sender ? STR("") : e->sender->n ? *e->sender : STR("<>"));
    answer_recipients(a, e);
    answer_some(a, e->peer);
    answer_some(a, e->session);
    answer_some(a, e->login);
    answer_some(a, e->tls);
    answer_some(a, e->checks);
    answer_size(a, e->size);
    answer_some(a, e->host);
    answer_some(a, e->reply);
    answer_some(a, e->mailbox);
    if (e->due)
        answer_time(a, e->due);
    else
        answer_text(a, "");
    answer_some(a, e->other);
}

void admin_trace(struct admin *admin, const struct admin_call *c, struct admin_answer *a)
{
    static const char *const columns[] = {
        "story", "message", "time",   "event", "message_id", "sender", "to",      "peer", "session",
        "login", "tls",     "checks", "size",  "host",       "reply",  "mailbox", "due",  "note"};
    struct trace_query query = {.what = c->args[0]};
    struct trace_found found;
    struct arena arena;
    if (!read_since(admin, c->options[SINCE], &query.since, a) ||
        !read_limit(c->options[LIMIT], &query.max_messages, a))
        return;
    if (!admin->trace) {
        answer_fail(a, RC_PERM, "trace: nothing is noted: see trace { keep } in the configuration");
        return;
    }
    arena_init(&arena, ARENA);
    enum rc rc = trace_find(admin->trace, &query, &arena, &found);
    if (rc == RC_OK && found.n == 0)
        answer_fail(a, RC_NOTFOUND, "%.*s: nothing is known of it", STR_ARG(c->args[0]));
    answer_rc(a, rc, STR("trace"));
    answer_columns(a, columns, sizeof columns / sizeof *columns);
    for (size_t i = 0; rc == RC_OK && i < found.n; i++)
        for (size_t k = 0; k < found.stories[i].n; k++)
            answer_event(a, found.stories[i].id, &found.stories[i].events[k]);
    arena_fini(&arena);
}

void admin_trace_changed(struct admin *admin, const struct queue_entry *entry,
                         enum queue_action action)
{
    static const char *const deeds[] = {[QUEUE_HOLD] = "held",
                                        [QUEUE_RELEASE] = "released",
                                        [QUEUE_RETRY] = "to be tried now",
                                        [QUEUE_REMOVE] = "taken out of the queue",
                                        [QUEUE_RETURN] = "sent back"};
    if (!entry->item.log_id.n)
        return; /* its row cannot be read */
    trace_event(admin->trace, &(struct trace_event){.what = TRACE_CHANGED,
                                                    .id = entry->item.log_id,
                                                    .message_id = entry->item.message_id,
                                                    .other = str_of(deeds[action])});
}
