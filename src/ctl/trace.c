/* Traces: opened as the configuration says, and their stories told to a person: a line or two for
 * each event, in local time, oldest first. */
#include "ctl/ctl_int.h"

#include "trace/trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Nodes that share a store write to files of their own. */
static uint8_t writer_of(const struct conf *conf)
{
    static const uint64_t key[2] = {1, 2};
    char name[256] = "";
    if (strcmp(conf->store.engine, "local") == 0 || gethostname(name, sizeof name - 1) != 0)
        return 0;
    return (uint8_t)str_hash(str_of(name), key);
}

enum rc ctl_trace_open(const struct ctx *ctx, const struct conf *conf, struct kv *kv,
                       struct trace **out)
{
    const struct trace_conf trace = {.keep_ns = conf->trace.keep * NS_PER_SEC,
                                     .disk_bytes = conf->trace.disk,
                                     .memory_bytes = conf->trace.memory,
                                     .writer = writer_of(conf)};
    *out = NULL;
    return conf->trace.keep ? trace_open(ctx, kv, &trace, out) : RC_OK;
}

/* --- stories ---------------------------------------------------------------------------------- */

struct row {
    const struct admin_answer *answer;
    size_t first; /* of its cells */
};

static struct str cell(const struct row *r, const char *column)
{
    for (size_t c = 0; c < r->answer->n_columns; c++)
        if (str_eq(r->answer->columns[c], str_of(column)))
            return r->answer->cells[r->first + c];
    return (struct str){0};
}

static void put(const char *before, struct str text, const char *after)
{
    if (!text.n)
        return;
    fputs(before, stdout);
    ctl_put_text(text, stdout);
    fputs(after, stdout);
}

/* "2026-11-21T10:00:00.123Z" as the clock on the wall shows it. */
static void put_time(struct str text)
{
    char copy[CLOCK_TEXT], local[CLOCK_TEXT];
    struct tm tm = {0};
    snprintf(copy, sizeof copy, "%.*s", STR_ARG(text));
    if (!strptime(copy, "%Y-%m-%dT%H:%M:%S", &tm)) {
        fputs(copy, stdout);
        return;
    }
    time_t at = timegm(&tm);
    localtime_r(&at, &tm);
    strftime(local, sizeof local, "%Y-%m-%dT%H:%M:%S%z", &tm);
    fputs(local, stdout);
}

static const char indent[] = "\n                            ";

/* Who handed it in, what was looked at. */
static void put_begin(const struct row *r)
{
    put(indent, cell(r, "peer"), "");
    put(", logged in as ", cell(r, "login"), "");
    put(", ", cell(r, "tls"), "");
    put(", session ", cell(r, "session"), "");
    put(indent, cell(r, "size"), " bytes");
    put(cell(r, "size").n ? ", " : indent, cell(r, "checks"), "");
    put(indent, cell(r, "reply"), "");
}

/* Who was asked to take it, what came of that. */
static void put_try(const struct row *r)
{
    struct str host = cell(r, "host"), reply = cell(r, "reply");
    bool is_said = reply.n > 3 && ascii_is_digit(reply.p[2]) && reply.p[3] == ' '; /* "550 ..." */
    put(indent, host, "");
    put(!host.n ? indent : is_said ? " said: " : ": ", reply, "");
    put(indent, cell(r, "tls"), "");
}

/* "login-failed by imap from 192.0.2.7: password, delayed=2s times=7" */
static void put_login(const struct row *r)
{
    struct str checks = cell(r, "checks"), protocol;
    str_cut(&checks, ' ', &protocol);
    fputs("  ", stdout);
    put_time(cell(r, "time"));
    put("  ", cell(r, "event"), "");
    put(" by ", str_skip(protocol, sizeof "protocol=" - 1), "");
    put(" from ", cell(r, "peer"), "");
    put(": ", cell(r, "note"), "");
    put(", ", checks, "");
    put(", session ", cell(r, "session"), "");
    putchar('\n');
}

static void put_event(const struct row *r)
{
    struct str note = cell(r, "note"), event = cell(r, "event"), due = cell(r, "due");
    bool is_report = str_eq(event, STR("reported"));
    fputs("  ", stdout);
    put_time(cell(r, "time"));
    put("  ", event, "");
    put(" from ", cell(r, "sender"), "");
    put(is_report ? " to " : " for ", cell(r, "to"), "");
    put(is_report ? ", as message " : ": ", note, "");
    if (!str_eq(cell(r, "message"), cell(r, "story")))
        put(", about message ", cell(r, "message"), "");
    put(": ", cell(r, "mailbox"), "");
    if (cell(r, "peer").n)
        put_begin(r);
    else
        put_try(r);
    if (due.n) {
        fputs(indent, stdout);
        fputs(cell(r, "peer").n ? "held until " : "next try ", stdout);
        put_time(due);
    }
    putchar('\n');
}

static void put_title(const struct admin_answer *a, size_t first)
{
    struct row r = {a, first};
    struct str id = cell(&r, "story");
    if (str_eq(id, STR(TRACE_LOGINS))) {
        put("logins of ", cell(&r, "to"), "\n");
        return;
    }
    put("message ", id, "");
    if (!id.n)
        fputs("no message", stdout);
    for (; r.first < a->n_cells && str_eq(cell(&r, "story"), id); r.first += a->n_columns) {
        if (!cell(&r, "message_id").n || !str_eq(cell(&r, "message"), id))
            continue;
        put(" <", cell(&r, "message_id"), ">");
        break;
    }
    putchar('\n');
}

void ctl_print_stories(const struct admin_answer *a)
{
    struct str last = {0};
    for (size_t i = 0; a->n_columns && i + a->n_columns <= a->n_cells; i += a->n_columns) {
        struct row r = {a, i};
        struct str id = cell(&r, "story");
        if (i == 0 || !id.n || !str_eq(id, last)) {
            if (i)
                putchar('\n');
            put_title(a, i);
        }
        if (str_eq(id, STR(TRACE_LOGINS)))
            put_login(&r);
        else
            put_event(&r);
        last = id;
    }
}
