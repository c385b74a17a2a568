/* SORT and UID SORT, THREAD and UID THREAD [RFC5256 3], with what RETURN names [RFC5267 3.1].
 *
 * 1. The search, as SEARCH has it.
 * 2. What the hits are sorted by: columns that are in memory; what is not there is learned from
 *    summaries, on the heavy lane and in turns. All of the mailbox when much of it is asked for,
 *    so that the next command finds it; otherwise the hits alone, for this command.
 * 3. Numbers into order, or into trees, on the heavy lane, in one go.
 *
 * Invariants: what a command holds is counted (imap_columns_hold); a message that cannot be read
 * stands first, and the command ends with NO. */
#include "imap/context_int.h"

#include "base/clock.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum { FEW = 1000, HOLD = 1 << 20 }; /* rows put into order on a loop; bytes held at once */

struct known {
    struct imap_column *column;
    struct imap_column_maker maker;
};

struct sort {
    struct imap_search search;
    struct imap_answer answer;
    struct imap_sort_order order;
    bool is_thread;
    enum imap_thread_kind kind;
    struct imap_sort_values values;
    struct known known[IMAP_SORT_FIELDS];
    bool is_shared; /* what is learned is for others too */
    bool is_over_limit;
    size_t held;
    uint32_t *hits; /* in the order of the mailbox, then in that which is asked for */
    size_t n;
    struct imap_threads threads;
    size_t told;
    uint32_t closed; /* parentheses of the step at hand */
    bool is_closed;  /* the last byte is one */
};

static void free_job(struct imap_session *s)
{
    struct sort *k = s->job;
    imap_search_fini(s, &k->search);
    imap_answer_fini(&k->answer);
    imap_sort_values_fini(&k->values);
    for (size_t i = 0; i < IMAP_SORT_FIELDS; i++) {
        imap_column_release(&s->imap->columns, &k->known[i].column);
        imap_column_maker_fini(&k->known[i].maker);
    }
    imap_columns_let(&s->imap->columns, k->held);
    free(k->hits);
    free(k->threads.steps);
}

static bool hold(struct imap_session *s, struct sort *k, size_t bytes)
{
    if (!imap_columns_hold(&s->imap->columns, bytes))
        return false;
    k->held += bytes;
    return true;
}

static bool is_wanted(const struct sort *k, size_t i)
{
    return k->values.fields >> i & 1;
}

/* --- trees on their way to the client --------------------------------------------------------- */

static bool put_closes(struct sort *k, struct conn *c, uint32_t n)
{
    for (; k->closed < n; k->closed++) {
        if (net_out_is_full(c))
            return false;
        buf_put(net_out(c), STR(")"));
        k->is_closed = true;
    }
    k->closed = 0;
    return true;
}

/* "(1 2 (3)(4 5))((6)(7))": a space between numbers, and before the first of several lists
 * [RFC5256 4, 5]. */
static enum net_step put_threads(struct conn *c, struct imap_session *s)
{
    struct sort *k = s->job;
    struct buf *out = net_out(c);
    for (; k->told < k->threads.n; k->told++) {
        const struct imap_thread_step *step = &k->threads.steps[k->told];
        if (net_out_is_full(c) || !put_closes(k, c, step->closes))
            return NET_MORE;
        size_t index = k->hits[step->at];
        buf_put(out, k->is_closed ? STR("") : STR(" "));
        buf_put(out, str_head(STR("(("), step->opens));
        imap_put_u64(out, s->is_uid ? store_root_at(s->view.root, index)->uid : index + 1);
        k->is_closed = false;
    }
    if (!put_closes(k, c, k->threads.closes))
        return NET_MORE;
    buf_put(out, STR("\r\n"));
    return imap_finish(c, s, k->search.answer);
}

/* --- order ------------------------------------------------------------------------------------ */

/* Where in a column the hit is; false: it is not there. */
static bool find_in(const struct imap_column *column, uint32_t uid, size_t *at, struct str *out,
                    size_t *out_place)
{
    bool is_there = imap_column_find(column, uid, at, out);
    *out_place = is_there ? *at - 1 : 0;
    return is_there;
}

static uint64_t key_of(const struct sort *k, const struct store_row *row, unsigned field,
                       size_t *at)
{
    struct str value = {0};
    size_t place;
    if (field == IMAP_SORT_ARRIVAL) /* as INTERNALDATE is told */
        return row->received / NS_PER_SEC;
    if (field == IMAP_SORT_SIZE)
        return row->size;
    const struct imap_column *column = k->known[field - IMAP_SEARCH_FIELDS].column;
    bool is_there = find_in(column, row->uid, at, &value, &place);
    if (field == IMAP_SORT_DATE)
        return imap_sort_date(row, value);
    return is_there ? column->ranks[place] : 0;
}

/* From the last criterion to the first; what is equal stays in the order of the mailbox
 * [RFC5256 3]. */
static void sort_hits(struct imap_session *s, struct sort *k)
{
    const struct store_root *root = s->view.root;
    struct imap_sort_pair *pairs = mem_alloc((k->n + 1) * sizeof *pairs);
    struct imap_sort_pair *room = mem_alloc((k->n + 1) * sizeof *room);
    uint64_t *keys = mem_alloc((k->n + 1) * sizeof *keys);
    uint32_t *hits = mem_alloc((k->n + 1) * sizeof *hits);
    for (size_t i = 0; i < k->n; i++)
        pairs[i].at = (uint32_t)i;
    for (size_t c = k->order.n; c-- > 0;) {
        size_t at = 0;
        unsigned field = k->order.criteria[c].field;
        bool is_relevancy = field == IMAP_SORT_RELEVANCY;
        for (size_t i = 0; i < k->n; i++)
            keys[i] = is_relevancy
                          ? 100U - k->search.scores[k->hits[i]] /* the best first [RFC6203 6] */
                          : key_of(k, store_root_at(root, k->hits[i]), field, &at);
        uint64_t turn = k->order.criteria[c].is_reverse ? UINT64_MAX : 0;
        for (size_t i = 0; i < k->n; i++)
            pairs[i].key = keys[pairs[i].at] ^ turn;
        imap_sort_pairs(pairs, room, k->n);
    }
    for (size_t i = 0; i < k->n; i++)
        hits[i] = k->hits[pairs[i].at];
    free(k->hits);
    k->hits = hits;
    free(pairs);
    free(room);
    free(keys);
}

static void read_rows(struct imap_session *s, const struct sort *k, struct imap_thread_row *rows)
{
    const struct known *dates = &k->known[IMAP_SORT_DATE - IMAP_SEARCH_FIELDS];
    const struct known *subjects = &k->known[IMAP_SORT_SUBJECT - IMAP_SEARCH_FIELDS];
    const struct known *replies = &k->known[IMAP_SORT_REPLY - IMAP_SEARCH_FIELDS];
    const struct known *ids = &k->known[IMAP_SORT_IDS - IMAP_SEARCH_FIELDS];
    size_t at[4] = {0}, place;
    for (size_t i = 0; i < k->n; i++) {
        const struct store_row *row = store_root_at(s->view.root, k->hits[i]);
        struct str date = {0}, value;
        rows[i] = (struct imap_thread_row){0};
        find_in(dates->column, row->uid, &at[0], &date, &place);
        rows[i].date = imap_sort_date(row, date);
        if (find_in(subjects->column, row->uid, &at[1], &value, &place)) {
            rows[i].subject = subjects->column->ranks[place];
            rows[i].has_subject = value.n > 0;
        }
        if (find_in(replies->column, row->uid, &at[2], &value, &place))
            rows[i].is_reply = value.n > 0;
        if (find_in(ids->column, row->uid, &at[3], &value, &place)) {
            rows[i].ids = value.p;
            rows[i].n_ids = value.n / sizeof(uint64_t);
        }
    }
}

/* With what each hit was sorted by, as far as that may be kept. */
static void keep_context(struct conn *c, struct imap_session *s, const struct sort *k)
{
    if (k->order.has_relevancy) {
        imap_context_refuse(c, s, STR("an order by relevancy is not kept"));
        return;
    }
    struct imap_context *context =
        imap_context_new(c, s, &k->search.program, &k->order, &k->answer.want);
    size_t at[IMAP_SORT_FIELDS] = {0}, place;
    struct buf key = {.cap = IMAP_CONTEXT_BYTES};
    for (size_t i = 0; context && i < k->n && context->sorted.bytes <= IMAP_CONTEXT_BYTES; i++) {
        const struct store_row *row = store_root_at(s->view.root, k->hits[i]);
        struct str values[IMAP_SORT_FIELDS] = {{0}};
        for (size_t f = 0; f < IMAP_SORT_FIELDS; f++)
            if (is_wanted(k, f))
                find_in(k->known[f].column, row->uid, &at[f], &values[f], &place);
        buf_clear(&key);
        imap_sort_key(&k->order, row, values, &key);
        imap_sorted_add(&context->sorted, row->uid, buf_str(&key));
    }
    buf_fini(&key);
    if (context)
        imap_context_keep(c, s, context, k->search.hits, k->search.count);
}

struct room {
    struct imap_thread_room room;
    struct imap_session *session;
};

static bool take_room(struct imap_thread_room *room, size_t bytes)
{
    struct imap_session *s = CONTAINER(room, struct room, room)->session;
    return hold(s, s->job, bytes);
}

static enum net_step answer_threads(struct conn *c, struct imap_session *s)
{
    struct sort *k = s->job;
    struct room room = {{take_room}, s};
    struct imap_thread_row *rows = mem_alloc((k->n + 1) * sizeof *rows);
    read_rows(s, k, rows);
    bool is_made = imap_threads_make(k->kind, rows, k->n, &room.room, &k->threads);
    free(rows);
    if (!is_made)
        return imap_finish(c, s, IMAP_LIMIT);
    buf_put(net_out(c), STR("* THREAD"));
    s->go_on = put_threads;
    return put_threads(c, s);
}

static enum net_step answer(struct conn *c, struct imap_session *s)
{
    struct sort *k = s->job;
    if (k->is_thread)
        return answer_threads(c, s);
    sort_hits(s, k);
    if (k->answer.want.is_update && k->search.answer == IMAP_DONE)
        keep_context(c, s, k);
    k->answer.verb = "SORT";
    k->answer.scores = k->search.scores;
    k->answer.order = k->hits;
    k->answer.n = k->n;
    k->answer.count = k->search.count;
    return imap_answer(c, s, &k->answer);
}

/* --- what is not in memory -------------------------------------------------------------------- */

static size_t bytes_of(const struct sort *k)
{
    size_t bytes = 0;
    for (size_t i = 0; i < IMAP_SORT_FIELDS; i++)
        bytes += k->known[i].maker.text_n + k->known[i].maker.n * 12;
    return bytes;
}

static void add_values(struct imap_session *s, struct sort *k, uint32_t uid)
{
    for (size_t i = 0; i < IMAP_SORT_FIELDS; i++) {
        struct imap_column_maker *m = &k->known[i].maker;
        if (!is_wanted(k, i) || uid <= m->after)
            continue;
        if (k->values.text[i].over)
            buf_clear(&k->values.text[i]);
        imap_column_add(m, uid, buf_str(&k->values.text[i]));
        k->is_over_limit = k->is_over_limit || m->is_off;
    }
    /* Twice: for the column that comes of it. */
    if (bytes_of(k) * 2 > k->held && !hold(s, k, HOLD))
        k->is_over_limit = true;
    k->search.is_over = k->is_over_limit;
}

static enum rc learn(struct conn *c, struct imap_session *s, struct imap_search *search,
                     uint64_t until)
{
    struct sort *k = s->job;
    struct str summary = {0};
    enum rc rc = imap_search_summary_of(c, s, search, until, &summary);
    if (rc == RC_AGAIN)
        return rc;
    k->is_shared = k->is_shared && rc == RC_OK;
    imap_sort_values_read(&k->values, rc == RC_OK ? summary : (struct str){0});
    add_values(s, k, store_root_at(s->view.root, imap_search_index(search))->uid);
    return rc;
}

static struct imap_column_key key_for(struct imap_session *s, size_t i)
{
    return (struct imap_column_key){store_account_id(s->account), s->view.mailbox,
                                    store_root_mailbox(s->view.root)->uidvalidity,
                                    (unsigned)i + IMAP_SEARCH_FIELDS};
}

static enum net_step learned(struct conn *c, struct imap_session *s)
{
    struct sort *k = s->job;
    if (k->is_over_limit)
        return imap_answer_fail(c, s, &k->answer.want, IMAP_LIMIT);
    for (size_t i = 0; i < IMAP_SORT_FIELDS; i++) {
        struct known *known = &k->known[i];
        if (!is_wanted(k, i) || !known->maker.n)
            continue;
        struct imap_column_key key = key_for(s, i);
        struct imap_column *made =
            imap_column_made(&s->imap->columns, &key, known->column, &known->maker, k->is_shared);
        imap_column_release(&s->imap->columns, &known->column);
        imap_column_maker_fini(&known->maker);
        known->column = made;
    }
    return answer(c, s);
}

/* --- what is in memory ------------------------------------------------------------------------ */

static uint32_t last_of(const struct imap_column *column)
{
    return column && column->n ? column->uids[column->n - 1] : 0;
}

/* Hits behind the column's end; SIZE_MAX: one is missing before it, which another session knows to
 * be gone. */
static size_t count_missing(struct imap_session *s, const struct sort *k,
                            const struct imap_column *column)
{
    size_t at = 0, n = 0;
    uint32_t last = last_of(column);
    struct str value;
    for (size_t i = 0; i < k->n; i++) {
        uint32_t uid = store_root_at(s->view.root, k->hits[i])->uid;
        if (uid > last)
            n++;
        else if (!imap_column_find(column, uid, &at, &value))
            return SIZE_MAX;
    }
    return n;
}

/* Takes the columns. Hits that are not in all of them. */
static size_t take_columns(struct imap_session *s, struct sort *k)
{
    size_t most = 0;
    for (size_t i = 0; i < IMAP_SORT_FIELDS; i++) {
        if (!is_wanted(k, i))
            continue;
        struct imap_column_key key = key_for(s, i);
        struct imap_column *column = imap_column_take(&s->imap->columns, &key);
        size_t missing = count_missing(s, k, column);
        if (missing == SIZE_MAX || (column && column->n > 2 * k->search.count + 1000)) {
            imap_column_release(&s->imap->columns, &column);
            missing = k->n;
        }
        k->known[i].column = column;
        k->known[i].maker =
            (struct imap_column_maker){.max = SIZE_MAX / 2, .after = last_of(column)};
        most = missing > most ? missing : most;
    }
    return most;
}

/* From this row on all are learned, or only the hits; the rest is known. */
static void choose(struct imap_session *s, struct sort *k, size_t missing)
{
    uint32_t after = UINT32_MAX;
    for (size_t i = 0; i < IMAP_SORT_FIELDS; i++)
        if (is_wanted(k, i) && k->known[i].maker.after < after)
            after = k->known[i].maker.after;
    size_t from = store_root_find(s->view.root, after + 1), all = k->search.count - from;
    k->is_shared = after > 0 || missing >= all / 4;
    memset(k->search.maybe, 0, (k->search.count / 64 + 1) * sizeof *k->search.maybe);
    for (size_t i = from; k->is_shared && i < k->search.count; i++)
        k->search.maybe[i / 64] |= UINT64_C(1) << (i % 64);
    for (size_t i = 0; !k->is_shared && i < k->n; i++)
        if (k->hits[i] >= from)
            k->search.maybe[k->hits[i] / 64] |= UINT64_C(1) << (k->hits[i] % 64);
}

static enum net_step found(struct conn *c, struct imap_session *s)
{
    struct sort *k = s->job;
    struct imap_search *search = &k->search;
    size_t n = 0, at;
    if (search->count > FEW && !net_can_block(c)) {
        s->go_on = found;
        return NET_HEAVY;
    }
    for (at = 0; (at = imap_search_next_bit(search->hits, at, search->count)) < search->count; at++)
        n++;
    /* Bytes of each, at most, while there is an order or trees made. */
    size_t each = k->is_thread ? IMAP_THREAD_NODE + 64 : 64;
    if (!hold(s, k, HOLD + n * each))
        return imap_answer_fail(c, s, &k->answer.want, IMAP_LIMIT);
    k->hits = mem_alloc((n + 1) * sizeof *k->hits);
    for (at = 0; (at = imap_search_next_bit(search->hits, at, search->count)) < search->count; at++)
        k->hits[k->n++] = (uint32_t)at;
    k->values.charsets = s->imap->conf.charsets;
    k->values.hash_key = s->imap->columns.hash_key;
    size_t missing = take_columns(s, k);
    if (!missing)
        return answer(c, s);
    choose(s, k, missing);
    search->needs_summaries = true;
    search->needs_ids = is_wanted(k, IMAP_SORT_IDS - IMAP_SEARCH_FIELDS);
    return imap_search_over(c, s, learn, learned);
}

/* --- the commands ----------------------------------------------------------------------------- */

static void want(struct sort *k, unsigned field)
{
    k->values.fields |= 1u << (field - IMAP_SEARCH_FIELDS);
}

static bool take_algorithm(struct imap_parse *p, struct sort *k)
{
    static const struct {
        struct str name;
        enum imap_thread_kind kind;
    } algorithms[] = {{STR_INIT("ORDEREDSUBJECT"), IMAP_THREAD_ORDEREDSUBJECT},
                      {STR_INIT("REFERENCES"), IMAP_THREAD_REFERENCES},
                      {STR_INIT("REFS"), IMAP_THREAD_REFS}};
    k->is_thread = true;
    want(k, IMAP_SORT_DATE);
    for (size_t i = 0; i < sizeof algorithms / sizeof *algorithms; i++) {
        if (!imap_take_word(p, algorithms[i].name))
            continue;
        k->kind = algorithms[i].kind;
        if (k->kind != IMAP_THREAD_REFS)
            want(k, IMAP_SORT_SUBJECT);
        if (k->kind == IMAP_THREAD_REFERENCES)
            want(k, IMAP_SORT_REPLY);
        if (k->kind != IMAP_THREAD_ORDEREDSUBJECT)
            want(k, IMAP_SORT_IDS);
        return imap_take_sp(p);
    }
    return imap_fail(p, "ORDEREDSUBJECT, REFERENCES or REFS");
}

static enum net_step run(struct conn *c, struct imap_session *s, struct imap_parse *p,
                         struct sort *k)
{
    if (!imap_take_sort_search(p, &k->search.program))
        return imap_finish_syntax(c, s, p);
    k->search.program.wants_scores = k->order.has_relevancy;
    if (!imap_return_fits(p, &k->answer.want, &k->search.program))
        return imap_finish_syntax(c, s, p);
    s->job = k;
    s->job_fini = free_job;
    k->search.needs_all = true;
    enum imap_text text = imap_search_begin(s, &k->search, found);
    return text == IMAP_DONE ? s->go_on(c, s) : imap_answer_fail(c, s, &k->answer.want, text);
}

enum net_step imap_sort(struct conn *c, struct imap_session *s, struct imap_parse *p)
{
    struct sort *k = arena_zero(&s->arena, sizeof *k);
    if (!k || !imap_take_return(p, &k->answer.want) || !imap_take_sort_order(p, &k->order))
        return imap_finish_syntax(c, s, p);
    if (k->answer.want.is_update && imap_context_is_known(s))
        return imap_finish(c, s, IMAP_TAG_USED); /* [RFC5267 4.3] */
    k->values.fields = k->order.fields;
    return run(c, s, p, k);
}

enum net_step imap_thread(struct conn *c, struct imap_session *s, struct imap_parse *p)
{
    struct sort *k = arena_zero(&s->arena, sizeof *k);
    if (!k || !take_algorithm(p, k))
        return imap_finish_syntax(c, s, p);
    return run(c, s, p, k);
}
