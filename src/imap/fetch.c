/* FETCH and UID FETCH [RFC3501 6.4.5, 6.4.8] [RFC9051 6.4.5, 6.4.9] [RFC3516]: the messages of a
 * set, in pages.
 *
 * A page goes through stages: which messages; \Seen set on those that need it, durably and in one
 * change; their summaries and threads read together; then each message item by item into the
 * output. Every stage can be left and entered again: when the output is full, when something is not
 * in memory, while a change commits.
 *
 * Invariants: the view does not move while the command runs, so indices stay what they are. What is
 * held while the peer takes nothing is a page of summaries and of one message. A message that
 * cannot be read is left out and the command ends with NO, the others are answered; when a body
 * turns out to be damaged in the midst of a literal, the connection ends, so that no client takes a
 * part for the whole. */
#include "imap/fetch_int.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

static enum net_step put_rows(struct conn *c, struct imap_session *s, struct imap_fetch *f);

/* The first failure is the answer: RC_PERM is an encoding that nobody knows [RFC3516 4.3]
 * [RFC9051 7.5.2]. */
static void fail(struct conn *c, struct imap_session *s, struct imap_fetch *f, enum rc rc)
{
    struct log_line l;
    if (f->answer != IMAP_DONE)
        return;
    f->answer = rc == RC_PERM       ? IMAP_UNKNOWN_CTE
                : rc == RC_NOTFOUND ? IMAP_EXPUNGED
                : rc == RC_DENIED   ? IMAP_CANNOT
                                    : imap_text_of_rc(rc);
    if (rc == RC_PERM)
        return;
    net_log(c, &l, LOG_WARNING, "fetch-failed");
    log_u64(&l, "account", store_account_id(s->account));
    if (f->row)
        log_u64(&l, "email", f->row->email);
    log_text(&l, "cause", rc_name(rc));
    log_end(&l);
}

/* --- the stage before the last: summaries ----------------------------------------------------- */

static enum net_step start_rows(struct conn *c, struct imap_session *s, struct imap_fetch *f)
{
    f->nth = 0;
    f->item = 0;
    f->stage = put_rows;
    return NET_READ;
}

/* Goes back to the messages behind the n first ones of the page. */
static void shorten(struct imap_fetch *f, size_t n)
{
    f->index = f->indices[n];
    while (f->span && f->spans.at[f->span - 1].to > f->index)
        f->span--;
    f->n = n;
}

static enum net_step choose_page(struct conn *c, struct imap_session *s, struct imap_fetch *f);

/* The page is chosen anew, with half of its messages. */
static enum net_step take_half(struct imap_fetch *f)
{
    f->most = f->n / 2;
    shorten(f, 0);
    f->stage = choose_page;
    if (f->is_downwards)
        f->window = f->spans.n = f->span = 0;
    return NET_READ;
}

/* Of a page together: a message alone would cost ten times as much. Those that cannot be read are
 * missing, as every other item: there may be no command that could end here. */
static enum net_step read_threads(struct conn *c, struct imap_session *s, struct imap_fetch *f)
{
    enum rc rc = store_reader_threads(s->view.reader, f->indices, f->n, imap_flags(c), f->threads);
    if (rc == RC_AGAIN && !net_can_block(c))
        return NET_SHORT;
    if (rc != RC_OK) {
        memset(f->threads, 0, f->n * sizeof *f->threads);
        fail(c, s, f, rc == RC_AGAIN ? RC_TEMP : rc);
    }
    return start_rows(c, s, f);
}

static enum net_step after_summaries(struct conn *c, struct imap_session *s, struct imap_fetch *f)
{
    if (!f->program.needs_thread)
        return start_rows(c, s, f);
    f->stage = read_threads;
    return NET_READ;
}

static enum net_step read_summaries(struct conn *c, struct imap_session *s, struct imap_fetch *f)
{
    arena_fini(&f->texts);
    f->texts.cap = IMAP_FETCH_TEXTS;
    enum rc rc =
        store_summaries(s->account, f->emails, f->n, imap_flags(c), &f->texts, f->summaries);
    if (rc == RC_AGAIN && !net_can_block(c))
        return NET_SHORT;
    if (rc == RC_LIMIT && f->n > 1 && f->is_downwards)
        return take_half(f);
    if (rc == RC_LIMIT && f->n > 1) {
        shorten(f, f->n / 2);
        f->most = f->n; /* of the pages to come, which are likely to be as long */
        return NET_READ;
    }
    for (size_t i = 0; rc != RC_OK && i < f->n; i++)
        f->summaries[i] = (struct str){0}; /* they are made anew */
    return after_summaries(c, s, f);
}

static enum net_step after_seen(struct conn *c, struct imap_session *s, struct imap_fetch *f)
{
    if (!f->program.needs_summary)
        return after_summaries(c, s, f);
    f->stage = read_summaries;
    return NET_READ;
}

/* --- \Seen ------------------------------------------------------------------------------------ */

/* Mail can be read although nothing can be written; the client is told at the end. */
static enum net_step go_without(struct conn *c, struct imap_session *s, struct imap_fetch *f,
                                enum rc rc)
{
    f->n_unseen = 0;
    fail(c, s, f, rc);
    return after_seen(c, s, f);
}

static enum net_step set_seen(struct conn *c, struct imap_session *s, struct imap_fetch *f);

/* The flags that are told are those of the newest state, which has the change. */
static enum net_step look_at_newest(struct conn *c, struct imap_session *s, struct imap_fetch *f)
{
    enum rc rc = imap_newest(c, s, &f->newest);
    if (rc == RC_AGAIN && !net_can_block(c))
        return NET_SHORT;
    return rc == RC_OK ? after_seen(c, s, f) : go_without(c, s, f, rc);
}

/* Without room for more of them the client hears of some changes twice. */
static void keep_modseq(struct imap_session *s, struct imap_fetch *f)
{
    if (f->n_modseqs == f->modseqs_size) {
        uint64_t *more = arena_alloc(&s->arena, 2 * f->modseqs_size * sizeof *more);
        if (!more)
            return;
        memcpy(more, f->modseqs, f->n_modseqs * sizeof *more);
        f->modseqs = more;
        f->modseqs_size *= 2;
    }
    f->modseqs[f->n_modseqs++] = f->change.op.modseq;
}

static enum net_step seen_is_set(struct conn *c, struct imap_session *s, struct imap_fetch *f)
{
    enum rc rc = f->change.op.rc;
    if (imap_op_again(&f->change)) {
        f->stage = set_seen;
        return NET_READ;
    }
    if (rc != RC_OK)
        return go_without(c, s, f, rc);
    if (f->change.op.changed)
        keep_modseq(s, f);
    f->stage = look_at_newest;
    return NET_READ;
}

/* [RFC3501 6.4.5] [RFC9051 6.4.5]: before the answer, so that what the client is told of is
 * durable. */
static enum net_step set_seen(struct conn *c, struct imap_session *s, struct imap_fetch *f)
{
    struct store_flag_change change = {.mailbox = s->view.mailbox,
                                       .uids = f->unseen,
                                       .n_uids = f->n_unseen,
                                       .how = STORE_FLAGS_ADD,
                                       .flags = STORE_SEEN,
                                       .unchanged_since = UINT64_MAX};
    enum rc rc =
        store_change_flags(s->account, &change, imap_flags(c), imap_op_begin(&f->change, s));
    bool is_too_much = rc == RC_LIMIT && f->n > 1; /* in all copies of the messages */
    if ((is_too_much || rc == RC_AGAIN) && !net_can_block(c))
        return NET_SHORT;
    if (is_too_much)
        return take_half(f);
    if (rc != RC_OK)
        return go_without(c, s, f, rc);
    f->stage = seen_is_set;
    return NET_WAIT;
}

static bool is_own_change(struct imap_session *s, const struct store_row *old,
                          const struct store_row *now)
{
    const struct imap_fetch *f = s->job;
    size_t from = 0, to = f->n_modseqs;
    while (from < to) {
        size_t mid = from + (to - from) / 2;
        if (f->modseqs[mid] < now->modseq)
            from = mid + 1;
        else
            to = mid;
    }
    return from < f->n_modseqs && f->modseqs[from] == now->modseq;
}

/* --- pages ------------------------------------------------------------------------------------ */

static enum net_step end(struct conn *c, struct imap_session *s, struct imap_fetch *f)
{
    imap_fetch_log_previews(c, s, f);
    if (f->is_arrival) {
        f->is_done = true;
        return NET_READ;
    }
    s->told = f->is_downwards ? &f->all : &f->spans;
    s->expects = is_own_change; /* what else has happened to them is told */
    return imap_finish(c, s, f->answer);
}

static void add_row(struct imap_session *s, struct imap_fetch *f, bool sets_seen)
{
    const struct store_row *row = store_root_at(s->view.root, f->index);
    if (sets_seen && !(row->flags & STORE_SEEN))
        f->unseen[f->n_unseen++] = row->uid;
    if (f->emails)
        f->emails[f->n] = row->email;
    f->indices[f->n++] = (uint32_t)f->index++;
}

/* [RFC7162 3.1.4.1] */
static void skip_unchanged(struct imap_session *s, struct imap_fetch *f, size_t to)
{
    if (f->program.has_since)
        f->index = store_root_changed(s->view.root, f->index, to, f->program.since, NULL);
}

/* The next messages below those before, a page at most. False: that was all. */
static bool go_down(struct imap_fetch *f)
{
    f->n_left -= f->window;
    f->window = f->n_left < f->most ? f->n_left : f->most;
    if (!f->window)
        return false;
    struct imap_partial part = {.from = (uint32_t)(f->n_left - f->window) + 1,
                                .to = (uint32_t)f->n_left};
    memcpy(f->spans.at, f->all.at, f->all.n * sizeof *f->all.at);
    f->spans.n = f->all.n;
    f->spans.total = f->all.total;
    imap_spans_cut(&f->spans, &part);
    f->span = f->index = 0;
    return true;
}

static void add_rows(struct imap_session *s, struct imap_fetch *f)
{
    bool sets_seen = f->program.sets_seen && !s->view.is_read_only;
    for (; f->span < f->spans.n && f->n < f->most; f->span++) {
        const struct imap_span *span = &f->spans.at[f->span];
        if (f->index < span->from)
            f->index = span->from;
        skip_unchanged(s, f, span->to);
        while (f->index < span->to && f->n < f->most) {
            add_row(s, f, sets_seen);
            skip_unchanged(s, f, span->to);
        }
        if (f->index < span->to)
            break;
    }
}

static enum net_step choose_page(struct conn *c, struct imap_session *s, struct imap_fetch *f)
{
    store_root_release(&f->newest);
    f->n = f->n_unseen = 0;
    f->change.tries = 0;
    do
        add_rows(s, f);
    while (!f->n && f->is_downwards && go_down(f));
    if (!f->n)
        return end(c, s, f);
    if (!f->n_unseen)
        return after_seen(c, s, f);
    f->stage = set_seen;
    return NET_READ;
}

/* --- messages --------------------------------------------------------------------------------- */

static bool is_unseen(const struct imap_fetch *f, uint32_t uid)
{
    size_t at = imap_uid_find(f->unseen, f->n_unseen, uid);
    return at < f->n_unseen && f->unseen[at] == uid;
}

/* The newest row of a message that has been changed; NULL: somebody has expunged it. */
static const struct store_row *changed_row(const struct imap_fetch *f, uint32_t uid)
{
    if (!f->newest || !is_unseen(f, uid))
        return NULL;
    size_t index = store_root_find(f->newest, uid);
    if (index == store_root_count(f->newest))
        return NULL;
    const struct store_row *row = store_root_at(f->newest, index);
    return row->uid == uid ? row : NULL;
}

static void begin_row(struct imap_session *s, struct imap_fetch *f)
{
    f->at = f->is_downwards ? f->n - 1 - f->nth : f->nth;
    f->row = store_root_at(s->view.root, f->indices[f->at]);
    const struct store_row *row = f->n_unseen ? changed_row(f, f->row->uid) : NULL;
    f->is_changed = row != NULL;
    if (row)
        f->row = row;
    f->has_begun = false;
    f->envelope = f->structure = f->summary = f->preview = (struct str){0};
    if (!f->program.needs_summary)
        return;
    struct str summary = f->summaries[f->at], ids;
    bool has_preview = f->program.has_preview;
    if (!mime_summary_read(summary, &f->envelope, &f->structure))
        f->envelope = f->structure = (struct str){0};
    f->is_kept = f->envelope.p && mime_summary_thread(summary, &ids);
    if (has_preview && f->is_kept)
        f->summary = summary;
    if (has_preview && !mime_summary_preview(summary, &f->preview))
        f->preview = (struct str){0};
    if (s->enabled & IMAP_EN_REV2 && mime_structure_has_rev2(f->structure)) /* made anew */
        f->envelope = f->structure = (struct str){0};
    f->body.keeps = !f->envelope.p || (has_preview && !f->summary.p);
}

static void end_row(struct conn *c, struct imap_session *s, struct imap_fetch *f)
{
    if (f->is_changed || f->is_arrival) {
        enum rc rc = imap_fetch_put_unasked(c, s, f);
        if (rc != RC_OK)
            fail(c, s, f, rc);
    }
    if (f->has_begun)
        buf_put(net_out(c), STR(")\r\n"));
    imap_body_close(&f->body);
    s->has_progress = true;
    f->row = NULL;
    f->item = 0;
    f->nth++;
}

/* On a worker nothing is missing: it has done much, and others come first. */
static enum net_step come_back(struct conn *c)
{
    return net_can_block(c) ? NET_MORE : NET_SHORT;
}

static enum net_step go_on_with_item(struct conn *c, struct imap_session *s, struct imap_fetch *f)
{
    enum rc rc = imap_fetch_put_page(c, f);
    s->has_progress = true;
    if (rc == RC_OK)
        return net_out_is_full(c) ? NET_MORE : NET_READ;
    if (rc == RC_EOF) {
        f->stream = IMAP_FETCH_NO_STREAM;
        f->item++;
        return NET_READ;
    }
    if (rc == RC_AGAIN)
        return come_back(c);
    fail(c, s, f, rc);
    if (rc == RC_CORRUPT)
        imap_damage_note(s->imap, store_account_id(s->account), f->row->email);
    s->end = "unreadable";
    return NET_CLOSE;
}

static enum net_step put_item(struct conn *c, struct imap_session *s, struct imap_fetch *f)
{
    if (f->stream != IMAP_FETCH_NO_STREAM)
        return go_on_with_item(c, s, f);
    enum rc rc = imap_fetch_put(c, s, f, &f->program.items[f->item]);
    if (rc == RC_AGAIN)
        return come_back(c);
    if (rc != RC_OK)
        fail(c, s, f, rc);
    if (f->stream == IMAP_FETCH_NO_STREAM)
        f->item++;
    return NET_READ;
}

static enum net_step put_rows(struct conn *c, struct imap_session *s, struct imap_fetch *f)
{
    while (f->nth < f->n) {
        if (!f->row)
            begin_row(s, f);
        while (f->item < f->program.n) {
            if (net_out_is_full(c))
                return NET_MORE;
            enum net_step next = put_item(c, s, f);
            if (next != NET_READ)
                return next;
        }
        end_row(c, s, f);
    }
    f->stage = choose_page;
    return NET_READ;
}

/* --- the command ------------------------------------------------------------------------------ */

static enum net_step go_on(struct conn *c, struct imap_session *s)
{
    struct imap_fetch *f = s->job;
    enum net_step next = NET_READ;
    f->body.work = 0;
    while (next == NET_READ && s->go_on == go_on)
        next = f->stage(c, s, f);
    return next;
}

static void release(struct imap_fetch *f)
{
    imap_body_fini(&f->body);
    arena_fini(&f->texts);
    store_root_release(&f->newest);
}

static void free_job(struct imap_session *s)
{
    release(s->job);
}

/* Memory for a page; no more than there are messages. */
static bool make_room(struct imap_session *s, struct imap_fetch *f)
{
    size_t most = f->spans.total < IMAP_FETCH_ROWS ? f->spans.total : IMAP_FETCH_ROWS;
    bool is_good = (f->indices = arena_alloc(&s->arena, most * sizeof *f->indices + 1));
    if (f->program.needs_summary) {
        f->emails = arena_alloc(&s->arena, most * sizeof *f->emails + 1);
        f->summaries = arena_alloc(&s->arena, most * sizeof *f->summaries + 1);
        is_good = is_good && f->emails && f->summaries;
    }
    if (f->program.needs_thread) {
        f->threads = arena_alloc(&s->arena, most * sizeof *f->threads + 1);
        is_good = is_good && f->threads;
    }
    if (f->program.sets_seen) {
        f->unseen = arena_alloc(&s->arena, most * sizeof *f->unseen + 1);
        f->modseqs_size = f->spans.total / IMAP_FETCH_SUMMARIES + 1;
        f->modseqs = arena_alloc(&s->arena, f->modseqs_size * sizeof *f->modseqs);
        is_good = is_good && f->unseen && f->modseqs;
    }
    return is_good;
}

/* How many of a span have changed; no more than `most`, and then *out_at is behind the last one. */
static size_t count_changed(struct imap_session *s, const struct imap_fetch *f,
                            const struct imap_span *span, size_t most, size_t *out_at)
{
    size_t n = 0;
    *out_at = span->from;
    while (n < most && (*out_at = store_root_changed(s->view.root, *out_at, span->to,
                                                     f->program.since, NULL)) < span->to) {
        n++;
        ++*out_at;
    }
    return n;
}

/* How many of the messages are the highest ones that may be told; those that have not changed do
 * not count. */
static size_t count_allowed(struct imap_session *s, const struct imap_fetch *f)
{
    size_t most = imap_limit_of(s), n = 0, total = f->spans.total, passed = 0, at;
    if (!f->program.has_since)
        return total < most ? total : most;
    for (size_t i = 0; i < f->spans.n; i++)
        n += count_changed(s, f, &f->spans.at[i], SIZE_MAX, &at);
    for (size_t i = 0; n > most; i++) {
        const struct imap_span *span = &f->spans.at[i];
        n -= count_changed(s, f, span, n - most, &at);
        total = f->spans.total - passed - (at - span->from);
        passed += span->to - span->from;
    }
    return total;
}

/* [RFC9738 3.1]: from the highest one downwards. */
static enum net_step limit(struct conn *c, struct imap_session *s, struct imap_fetch *f)
{
    if (!net_can_block(c))
        return NET_SHORT;
    f->stage = choose_page;
    size_t allowed = count_allowed(s, f);
    if (allowed == f->spans.total)
        return NET_READ;
    imap_limit_cut(s, s->view.root, allowed, &f->spans);
    f->all = f->spans;
    f->spans = (struct imap_spans){.at = arena_alloc(&s->arena, f->all.n * sizeof *f->all.at + 1)};
    if (!f->spans.at)
        return imap_finish_rc(c, s, RC_LIMIT);
    f->is_downwards = true;
    f->n_left = allowed;
    return NET_READ;
}

static imap_fetch_stage begin_rows(struct imap_session *s, const struct imap_fetch *f)
{
    return f->spans.total > imap_limit_of(s) ? limit : choose_page;
}

/* Before the messages, so that it is clear what their numbers mean [RFC7162 3.2.6]. */
static enum net_step put_vanished(struct conn *c, struct imap_session *s, struct imap_fetch *f)
{
    enum net_step next = imap_vanished_put(c, s, &f->vanished);
    if (next == NET_READ)
        f->stage = begin_rows(s, f);
    return next;
}

static enum net_step look_back(struct conn *c, struct imap_session *s, struct imap_fetch *f)
{
    enum rc rc = imap_vanished_begin(c, s, &f->vanished, &f->set, 0, f->program.since);
    if (rc == RC_AGAIN && !net_can_block(c))
        return NET_SHORT;
    if (rc != RC_OK)
        return imap_finish_rc(c, s, rc);
    f->stage = put_vanished;
    return NET_READ;
}

/* [RFC7162 3.2.3, 3.2.6] */
static bool is_allowed(struct imap_session *s, struct imap_parse *p,
                       const struct imap_fetch_program *program)
{
    if (program->has_partial && !s->is_uid) /* [RFC9394 3.3] */
        return imap_fail(p, "UID before a FETCH with PARTIAL");
    if (!program->has_vanished)
        return true;
    if (!s->is_uid)
        return imap_fail(p, "UID before a FETCH with VANISHED");
    if (!program->has_since)
        return imap_fail(p, "CHANGEDSINCE with VANISHED");
    return s->enabled & IMAP_EN_QRESYNC || imap_fail(p, "ENABLE QRESYNC first");
}

static void prepare(struct imap_fetch *f)
{
    bool reads = f->program.needs_summary || f->program.needs_thread;
    f->most = reads ? IMAP_FETCH_SUMMARIES : IMAP_FETCH_ROWS;
    f->answer = IMAP_DONE;
}

enum net_step imap_fetch(struct conn *c, struct imap_session *s, struct imap_parse *p)
{
    struct imap_fetch *f = arena_zero(&s->arena, sizeof *f);
    bool is_uidonly = s->enabled & IMAP_EN_UIDONLY;
    if (!f || !imap_take_set(p, &f->set) || !imap_take_sp(p) ||
        !imap_take_fetch(p, s->is_uid && !is_uidonly, &f->program) ||
        !is_allowed(s, p, &f->program))
        return imap_finish_syntax(c, s, p);
    enum rc rc = imap_set_resolve(&f->set, s->view.root, s->is_uid, &s->arena, &f->spans);
    if (rc == RC_NOTFOUND)
        return imap_finish(c, s, IMAP_NO_MESSAGE);
    if (rc != RC_OK || !make_room(s, f))
        return imap_finish_rc(c, s, RC_LIMIT);
    enum imap_text text =
        f->program.has_partial ? imap_limit_partial(s, &f->program.partial) : IMAP_DONE;
    if (text != IMAP_DONE)
        return imap_finish(c, s, text);
    if (f->program.has_partial) /* and of them what has changed [RFC9394 3.4] */
        imap_spans_cut(&f->spans, &f->program.partial);
    if (f->program.has_modseq)
        imap_enable_condstore(c, s); /* [RFC7162 3.1] */
    f->is_uidonly = is_uidonly;
    prepare(f);
    f->stage = f->program.has_vanished ? look_back : begin_rows(s, f);
    s->job = f;
    s->job_fini = free_job;
    s->go_on = go_on;
    return go_on(c, s);
}

/* --- without a command ------------------------------------------------------------------------ */

struct imap_fetch *imap_fetch_arrival_begin(struct imap_session *s,
                                            const struct imap_fetch_program *program,
                                            const struct imap_spans *spans)
{
    struct imap_fetch *f = mem_zero(sizeof *f); /* it may outlast the arena, when a session ends */
    f->program = *program;
    f->spans = *spans;
    f->is_uidonly = s->enabled & IMAP_EN_UIDONLY;
    f->is_arrival = true;
    prepare(f);
    f->stage = choose_page;
    if (!make_room(s, f))
        imap_fetch_arrival_end(&f);
    return f;
}

enum net_step imap_fetch_arrival(struct conn *c, struct imap_session *s, struct imap_fetch *f)
{
    enum net_step next = NET_READ;
    f->body.work = 0;
    while (next == NET_READ && !f->is_done)
        next = f->stage(c, s, f);
    return next;
}

void imap_fetch_arrival_end(struct imap_fetch **f)
{
    if (*f)
        release(*f);
    free(*f);
    *f = NULL;
}
