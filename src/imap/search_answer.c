/* SEARCH and UID SEARCH [RFC3501 6.4.4, 6.4.8] [RFC9051 6.4.4, 6.4.9]; what a search was asked to
 * return, and the answer: "* SEARCH" with numbers, or ESEARCH with what RETURN names [RFC4466 2.6]
 * [RFC4731 3.1] [RFC9051 7.3.4]; and what "$" means afterwards [RFC5182 2.1] [RFC9051 6.4.4.1].
 *
 * Invariants: hits are told in their order, in pages; what is held of them is the caller's bits or
 * order, and what is saved. SORT answers with the same functions. */
#include "imap/context_int.h"

#include "base/mem.h"

#include <stdlib.h>

enum { ROWS_AT_ONCE = 4096 }; /* looked at in one step */

/* --- RETURN ----------------------------------------------------------------------------------- */

static const struct {
    struct str name;
    unsigned item;
} options[] = {
    {STR_INIT("MIN"), IMAP_RETURN_MIN},
    {STR_INIT("MAX"), IMAP_RETURN_MAX},
    {STR_INIT("ALL"), IMAP_RETURN_ALL},
    {STR_INIT("COUNT"), IMAP_RETURN_COUNT},
    {STR_INIT("SAVE"), IMAP_RETURN_SAVE},
    {STR_INIT("PARTIAL"), IMAP_RETURN_PARTIAL},
    {STR_INIT("RELEVANCY"), IMAP_RETURN_RELEVANCY},
};

/* "(UID BODY[HEADER])", or nothing; there is a space before it in the examples and none in the
 * grammar [RFC5465 7, 8]. */
static bool take_arrival(struct imap_parse *p, struct imap_return *out)
{
    struct imap_fetch_program items;
    if (!str_starts(p->rest, STR(" (")) && !imap_peek_byte(p, '('))
        return true;
    imap_take_byte(p, ' ');
    out->arrival = p->rest;
    if (!imap_take_fetch_items(p, &items))
        return false;
    out->arrival.n -= p->rest.n;
    return true;
}

/* What does not say what is told: CONTEXT is a hint, and nothing comes of it [RFC5267 4.2]. */
static bool take_context(struct imap_parse *p, struct imap_return *out)
{
    bool is_update = imap_take_word(p, STR("UPDATE"));
    out->is_update = out->is_update || is_update;
    return is_update ? take_arrival(p, out) : imap_take_word(p, STR("CONTEXT"));
}

/* [RFC5267 4.4] */
static bool take_option(struct imap_parse *p, struct imap_return *out)
{
    unsigned item = 0;
    if (take_context(p, out))
        return true;
    if (p->error)
        return false;
    for (size_t i = 0; !item && i < sizeof options / sizeof *options; i++)
        if (imap_take_word(p, options[i].name))
            item = options[i].item;
    if (!item) /* [RFC4466 2.6.1] */
        return imap_fail(p, "a return option");
    const unsigned one_of = IMAP_RETURN_ALL | IMAP_RETURN_PARTIAL; /* [RFC9394 3.1] */
    if (item & one_of && out->items & one_of && (item | out->items) & IMAP_RETURN_PARTIAL)
        return imap_fail(p, "PARTIAL once, and without ALL");
    out->items |= item;
    return item != IMAP_RETURN_PARTIAL || (imap_take_sp(p) && imap_take_partial(p, &out->partial));
}

bool imap_take_return(struct imap_parse *p, struct imap_return *out)
{
    *out = (struct imap_return){0};
    out->is_given = imap_take_word(p, STR("RETURN"));
    if (!out->is_given)
        return true;
    if (!imap_take_sp(p) || !imap_take_byte(p, '('))
        return imap_fail(p, "a list of return options");
    if (imap_take_byte(p, ')')) {
        out->items = IMAP_RETURN_ALL; /* [RFC4731 3.1] [RFC9051 7.3.4] */
        return imap_take_sp(p);
    }
    do
        if (!take_option(p, out))
            return false;
    while (imap_take_byte(p, ' '));
    return imap_take_byte(p, ')') ? imap_take_sp(p) : imap_fail(p, "the end of the list");
}

bool imap_return_fits(struct imap_parse *p, const struct imap_return *want,
                      struct imap_search_program *program)
{
    program->wants_scores = program->wants_scores || want->items & IMAP_RETURN_RELEVANCY;
    return !program->wants_scores || program->is_fuzzy || imap_fail(p, "FUZZY keys with RELEVANCY");
}

/* --- hits in order ---------------------------------------------------------------------------- */

/* Where the hits end; `at` is a bit or a place in the order. */
static size_t end_of(const struct imap_answer *a)
{
    return a->bits ? a->count : a->n;
}

/* The hit at `at` or, of bits, the first one behind it. False: there are no more. */
static bool next_hit(struct imap_answer *a, size_t *out_index)
{
    if (a->bits)
        a->at = imap_search_next_bit(a->bits, a->at, a->count);
    if (a->at >= end_of(a))
        return false;
    *out_index = a->bits ? a->at : a->order[a->at];
    a->at++;
    return true;
}

/* Places `at` at the nth hit, from 0 on. */
static void go_to(struct imap_answer *a, size_t n)
{
    a->at = a->bits ? 0 : n;
    while (a->bits && a->at < a->count) {
        size_t here = (size_t)__builtin_popcountll(a->bits[a->at / 64]);
        if (here > n)
            break;
        n -= here;
        a->at += 64;
    }
    for (size_t index; a->bits && n; n--)
        next_hit(a, &index);
}

static size_t count_hits(const struct imap_answer *a)
{
    size_t n = 0;
    if (!a->bits)
        return a->n;
    for (size_t i = 0; i < a->count; i += 64) {
        uint64_t word = a->bits[i / 64];
        if (a->count - i < 64)
            word &= (UINT64_C(1) << (a->count - i)) - 1;
        n += (size_t)__builtin_popcountll(word);
    }
    return n;
}

static bool first_hit(struct imap_answer *a, size_t *out_index)
{
    go_to(a, 0);
    return next_hit(a, out_index);
}

static bool last_hit(struct imap_answer *a, size_t *out_index)
{
    if (!a->n)
        return false;
    go_to(a, a->n - 1);
    return next_hit(a, out_index);
}

static uint32_t number_of(struct imap_session *s, size_t index)
{
    return s->is_uid ? store_root_at(s->view.root, index)->uid : (uint32_t)index + 1;
}

/* --- what is saved, and the highest mod-sequence ---------------------------------------------- */

static bool is_about_all(const struct imap_answer *a)
{
    const unsigned some = IMAP_RETURN_MIN | IMAP_RETURN_MAX | IMAP_RETURN_PARTIAL;
    return a->want.items & (IMAP_RETURN_ALL | IMAP_RETURN_COUNT) || !(a->want.items & some);
}

static void mark(struct imap_answer *a, size_t index)
{
    a->marked[index / 64] |= UINT64_C(1) << (index % 64);
}

/* The hits that are told, or all [RFC5182 2.4] [RFC9394 3.2] [RFC4731 3.2]. */
static bool mark_hits(struct imap_session *s, struct imap_answer *a)
{
    size_t index, first, n = is_about_all(a) ? a->n : 0;
    if (n && a->bits)
        return true;
    a->marked = imap_search_new_bits(s, a->count);
    if (!a->marked)
        return false;
    if (a->want.items & IMAP_RETURN_MIN && first_hit(a, &index))
        mark(a, index);
    if (a->want.items & IMAP_RETURN_MAX && last_hit(a, &index))
        mark(a, index);
    if (!n && a->want.items & IMAP_RETURN_PARTIAL) {
        n = imap_partial_of(&a->want.partial, a->n, &first);
        go_to(a, first);
    } else {
        go_to(a, 0);
    }
    while (n-- && next_hit(a, &index))
        mark(a, index);
    return true;
}

static void save_run(struct imap_session *s, struct imap_answer *a, size_t from, size_t to)
{
    struct imap_saved *saved = a->saved;
    if (!(a->want.items & IMAP_RETURN_SAVE) || (saved && saved->n == IMAP_SAVED_MAX + 1))
        return;
    size_t n = saved ? saved->n : 0;
    if (n == a->saved_size) {
        a->saved_size = n ? n * 2 : 1;
        saved = mem_grow(saved, sizeof *saved + a->saved_size * sizeof *saved->at);
    }
    saved->at[n] = (struct imap_range){store_root_at(s->view.root, from)->uid,
                                       store_root_at(s->view.root, to - 1)->uid};
    saved->n = n + 1;
    a->saved = saved;
}

/* Run by run; a run that goes on beyond the step is two. */
static enum net_step look_at_marked(struct imap_session *s, struct imap_answer *a)
{
    const uint64_t *bits = a->marked ? a->marked : a->bits;
    size_t looked = 0, from;
    while ((from = imap_search_next_bit(bits, a->at, a->count)) < a->count) {
        if (looked >= ROWS_AT_ONCE)
            return NET_MORE;
        for (a->at = from; a->at < a->count && bits[a->at / 64] >> (a->at % 64) & 1; a->at++) {
            const struct store_row *row = store_root_at(s->view.root, a->at);
            a->modseq = row->modseq > a->modseq ? row->modseq : a->modseq;
            looked++;
        }
        save_run(s, a, from, a->at);
    }
    return NET_READ;
}

static void keep_saved(struct imap_session *s, struct imap_answer *a)
{
    struct imap_saved *saved = a->saved;
    a->saved = NULL;
    if (!(a->want.items & IMAP_RETURN_SAVE))
        return;
    bool is_kept = a->text == IMAP_DONE && (!saved || saved->n <= IMAP_SAVED_MAX);
    if (!is_kept) {
        free(saved);
        saved = NULL;
    }
    if (!imap_view_save(s, &saved) || (!is_kept && a->text == IMAP_DONE))
        a->text = IMAP_NOT_SAVED; /* [RFC5182 2.5] [RFC9051 6.4.4.3] */
}

/* --- the answer ------------------------------------------------------------------------------- */

static enum net_step put_numbers(struct conn *c, struct imap_session *s, struct imap_answer *a)
{
    struct buf *out = net_out(c);
    size_t index;
    while (!net_out_is_full(c)) {
        if (!next_hit(a, &index))
            return NET_READ;
        buf_put(out, STR(" "));
        imap_put_u64(out, number_of(s, index));
    }
    return NET_MORE;
}

/* A set of `left` hits; a range is a run of neighbours that go up [RFC5267 3.2]. */
static enum net_step put_set(struct conn *c, struct imap_session *s, struct imap_answer *a)
{
    struct buf *out = net_out(c);
    size_t index, looked = 0;
    while (a->left) {
        if (net_out_is_full(c) || looked > ROWS_AT_ONCE)
            return NET_MORE;
        if (a->has_first)
            buf_put(out, STR(","));
        a->has_first = true;
        if (!next_hit(a, &index))
            break;
        uint32_t from = number_of(s, index), to = from;
        for (a->left--, looked++; a->left; a->left--, looked++) {
            size_t at = a->at;
            if (next_hit(a, &index) && number_of(s, index) == to + 1) {
                to++;
                continue;
            }
            a->at = at;
            break;
        }
        imap_put_u64(out, from);
        if (to > from) {
            buf_put(out, STR(":"));
            imap_put_u64(out, to);
        }
    }
    return NET_READ;
}

static void put_one(struct imap_session *s, struct buf *out, struct str name, size_t index)
{
    buf_put(out, name);
    imap_put_u64(out, number_of(s, index));
}

static void put_partial(struct buf *out, const struct imap_partial *p)
{
    uint32_t from = p->is_turned ? p->to : p->from, to = p->is_turned ? p->from : p->to;
    buf_put(out, p->is_from_the_end ? STR(" PARTIAL (-") : STR(" PARTIAL ("));
    imap_put_u64(out, from);
    buf_put(out, p->is_from_the_end ? STR(":-") : STR(":"));
    imap_put_u64(out, to);
    buf_put(out, STR(" "));
}

/* [RFC7377 2.1] */
static void put_place(struct imap_session *s, struct buf *out, const struct imap_answer *a)
{
    buf_put(out, STR(" MAILBOX "));
    imap_put_name(s, out, a->mailbox);
    buf_put(out, STR(" UIDVALIDITY "));
    imap_put_u64(out, s->view.uidvalidity);
}

/* What is told behind the set, and what comes first. Without a hit there is no MIN, MAX and ALL
 * [RFC4731 3.1] [RFC9051 7.3.4]. */
static void begin_items(struct imap_session *s, struct buf *out, struct imap_answer *a)
{
    size_t index, first = 0;
    unsigned items = a->want.items;
    buf_put(out, STR("* ESEARCH (TAG \""));
    buf_put(out, str_from(s->tag, s->tag_n));
    buf_put(out, STR("\""));
    if (a->mailbox.p)
        put_place(s, out, a);
    buf_put(out, s->is_uid ? STR(") UID") : STR(")"));
    if (items & IMAP_RETURN_MIN && first_hit(a, &index))
        put_one(s, out, STR(" MIN "), index);
    if (items & IMAP_RETURN_MAX && last_hit(a, &index))
        put_one(s, out, STR(" MAX "), index);
    if (items & IMAP_RETURN_COUNT) {
        buf_put(out, STR(" COUNT "));
        imap_put_u64(out, a->n);
    }
    if (items & IMAP_RETURN_PARTIAL) {
        put_partial(out, &a->want.partial);
        a->left = imap_partial_of(&a->want.partial, a->n, &first);
        buf_put(out, a->left ? STR("") : STR("NIL"));
    } else if (items & IMAP_RETURN_ALL && a->n) {
        buf_put(out, STR(" ALL "));
        a->left = a->n;
    }
    a->n_scores = a->scores && items & IMAP_RETURN_PARTIAL ? a->left : a->scores ? a->n : 0;
    a->first = first;
    go_to(a, first);
}

static enum net_step end_here(struct conn *c, struct imap_session *s, const struct imap_answer *a)
{
    return a->then ? a->then(c, s) : imap_finish(c, s, a->text);
}

static enum net_step end_line(struct conn *c, struct imap_session *s)
{
    struct imap_answer *a = ((struct imap_search *)s->job)->told;
    struct buf *out = net_out(c);
    if (a->wants_modseq && a->n) { /* [RFC7162 3.1.5, 3.1.6] [RFC4731 3.2] */
        buf_put(out, a->want.is_given ? STR(" MODSEQ ") : STR(" (MODSEQ "));
        imap_put_u64(out, a->modseq);
        buf_put(out, a->want.is_given ? STR("") : STR(")"));
    }
    buf_put(out, STR("\r\n"));
    return end_here(c, s, a);
}

/* Of the hits that are told, or all, in their order [RFC6203 4, 6]. */
static enum net_step put_scores(struct conn *c, struct imap_session *s)
{
    struct imap_answer *a = ((struct imap_search *)s->job)->told;
    struct buf *out = net_out(c);
    size_t index;
    for (; a->n_scores && next_hit(a, &index); a->n_scores--) {
        if (a->has_score)
            buf_put(out, STR(" "));
        a->has_score = true;
        imap_put_u64(out, a->scores[index]);
        if (net_out_is_full(c) && a->n_scores > 1) {
            a->n_scores--;
            return NET_MORE;
        }
    }
    buf_put(out, STR(")"));
    s->go_on = end_line;
    return end_line(c, s);
}

static enum net_step end_answer(struct conn *c, struct imap_session *s)
{
    struct imap_answer *a = ((struct imap_search *)s->job)->told;
    enum net_step next = a->want.is_given ? put_set(c, s, a) : put_numbers(c, s, a);
    if (next != NET_READ)
        return next;
    if (a->want.is_given && a->want.items & IMAP_RETURN_PARTIAL)
        buf_put(net_out(c), STR(")"));
    if (!(a->want.items & IMAP_RETURN_RELEVANCY))
        return end_line(c, s);
    buf_put(net_out(c), STR(" RELEVANCY ("));
    go_to(a, a->first);
    s->go_on = put_scores;
    return put_scores(c, s);
}

static enum net_step begin_answer(struct conn *c, struct imap_session *s)
{
    struct imap_answer *a = ((struct imap_search *)s->job)->told;
    enum net_step next = NET_READ;
    if (a->wants_modseq || a->want.items & IMAP_RETURN_SAVE)
        next = look_at_marked(s, a);
    if (next != NET_READ)
        return next;
    keep_saved(s, a);
    if (a->want.is_given && a->want.items == IMAP_RETURN_SAVE) /* says nothing [RFC5182 1] */
        return end_here(c, s, a);
    if (a->mailbox.p && !a->n) /* nothing is said of a mailbox that has none [RFC7377 2.1] */
        return end_here(c, s, a);
    a->at = 0;
    if (a->want.is_given) {
        begin_items(s, net_out(c), a);
    } else { /* also when nothing was found: "* SEARCH" [RFC3501 7.2.5] */
        buf_put(net_out(c), STR("* "));
        buf_put(net_out(c), str_of(a->verb));
    }
    s->go_on = end_answer;
    return end_answer(c, s);
}

enum net_step imap_answer(struct conn *c, struct imap_session *s, struct imap_answer *a)
{
    struct imap_search *k = s->job;
    k->told = a;
    a->n = count_hits(a);
    a->text = k->answer;
    a->wants_modseq = k->program.has_modseq;
    if (a->wants_modseq)
        imap_enable_condstore(c, s); /* [RFC7162 3.1] */
    bool is_marked = true;
    if (a->wants_modseq || a->want.items & IMAP_RETURN_SAVE)
        is_marked = mark_hits(s, a);
    if (!is_marked)
        return imap_answer_fail(c, s, &a->want, IMAP_LIMIT);
    a->at = 0;
    s->go_on = begin_answer;
    return begin_answer(c, s);
}

void imap_answer_fini(struct imap_answer *a)
{
    free(a->saved);
    a->saved = NULL;
}

enum net_step imap_answer_fail(struct conn *c, struct imap_session *s, const struct imap_return *r,
                               enum imap_text text)
{
    struct imap_saved *nothing = NULL;
    if (r->items & IMAP_RETURN_SAVE && imap_text_status(text) == IMAP_NO)
        imap_view_save(s, &nothing); /* [RFC5182 2.1] [RFC9051 6.4.4.1] */
    return imap_finish(c, s, text);
}

/* --- SEARCH ----------------------------------------------------------------------------------- */

struct search {
    struct imap_search search;
    struct imap_answer answer;
};

static void free_job(struct imap_session *s)
{
    struct search *k = s->job;
    imap_search_fini(s, &k->search);
    imap_answer_fini(&k->answer);
}

static void keep_context(struct conn *c, struct imap_session *s, const struct search *k)
{
    struct imap_context *context =
        imap_context_new(c, s, &k->search.program, NULL, &k->answer.want);
    if (context)
        imap_context_keep(c, s, context, k->search.hits, k->search.count);
}

static enum net_step found(struct conn *c, struct imap_session *s)
{
    struct search *k = s->job;
    if (k->answer.want.is_update && k->search.answer == IMAP_DONE)
        keep_context(c, s, k);
    k->answer.verb = "SEARCH";
    k->answer.bits = k->search.hits;
    k->answer.count = k->search.count;
    k->answer.scores = k->search.scores;
    return imap_answer(c, s, &k->answer);
}

enum net_step imap_search(struct conn *c, struct imap_session *s, struct imap_parse *p)
{
    struct search *k = arena_zero(&s->arena, sizeof *k);
    if (!k || !imap_take_return(p, &k->answer.want) || !imap_take_search(p, &k->search.program) ||
        !imap_return_fits(p, &k->answer.want, &k->search.program))
        return imap_finish_syntax(c, s, p);
    if (!k->answer.want.is_given && s->enabled & IMAP_EN_REV2) /* [RFC9051 6.4.4] */
        k->answer.want = (struct imap_return){.is_given = true, .items = IMAP_RETURN_ALL};
    s->job = k;
    s->job_fini = free_job;
    if (k->answer.want.is_update && imap_context_is_known(s))
        return imap_finish(c, s, IMAP_TAG_USED); /* [RFC5267 4.3] */
    k->search.wants_first =
        (k->answer.want.items & ~(unsigned)IMAP_RETURN_SAVE) == IMAP_RETURN_MIN &&
        !k->answer.want.is_update;
    enum imap_text text = IMAP_DONE;
    if (k->answer.want.items & IMAP_RETURN_PARTIAL)
        text = imap_limit_partial(s, &k->answer.want.partial);
    if (text == IMAP_DONE)
        text = imap_search_begin(s, &k->search, found);
    return text == IMAP_DONE ? s->go_on(c, s) : imap_answer_fail(c, s, &k->answer.want, text);
}
