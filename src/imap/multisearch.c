/* ESEARCH: one search of many mailboxes [RFC7377].
 *
 * One after the other, each as SEARCH does it: the mailbox is visited in the place of the selected
 * one, in memory that is given back before the next one begins; so what is held does not grow with
 * the number of mailboxes. The selected mailbox is searched as the client knows it.
 *
 * Invariants: the selected mailbox is back before anything is told of it. A mailbox that goes
 * meanwhile is passed over. Message numbers mean those of each mailbox. */
#include "imap/context_int.h"
#include "imap/filter_int.h"
#include "imap/list_int.h"

enum {
    FILTERS = 100,   /* specifiers in one command */
    AT_ONCE = 8,     /* mailboxes, before others have their turn */
    ARENA = 32 << 20 /* of the search of one */
};

struct multisearch {
    struct imap_search search; /* of the mailbox at hand */
    struct imap_answer answer;
    struct imap_return want;
    struct str source; /* the program, read anew for each of them */
    struct imap_filter filters[FILTERS];
    size_t n_filters;
    unsigned kinds; /* of them, 1 << kind */
    struct str all; /* the pattern of all names */
    struct imap_list list;
    struct imap_list_tree tree;
    size_t at, done;
    struct imap_view own;
    struct arena outside; /* the command's, while a mailbox is searched */
    bool is_inside;
    bool is_cut, is_kept;
    enum imap_text text;
};

/* --- into a mailbox and out of it ------------------------------------------------------------- */

static void enter(struct imap_session *s, struct multisearch *k)
{
    k->outside = s->arena;
    s->arena = (struct arena){.cap = ARENA};
    s->keywords = NULL;
    k->is_inside = true;
}

static void leave(struct imap_session *s, struct multisearch *k)
{
    imap_search_fini(s, &k->search);
    imap_answer_fini(&k->answer);
    k->search = (struct imap_search){0};
    imap_view_leave(s);
    if (!k->is_inside)
        return;
    arena_fini(&s->arena);
    s->arena = k->outside;
    s->keywords = NULL;
    k->is_inside = false;
}

static void free_job(struct imap_session *s)
{
    leave(s, s->job);
}

/* --- one mailbox ------------------------------------------------------------------------------ */

static enum net_step next_mailbox(struct conn *c, struct imap_session *s);

static enum net_step mailbox_done(struct conn *c, struct imap_session *s)
{
    struct multisearch *k = s->job;
    if (k->answer.text != IMAP_DONE && k->text == IMAP_DONE)
        k->text = k->answer.text;
    k->is_cut = k->is_cut || s->limited.most; /* [RFC7377 2.4] */
    s->limited = (struct imap_limited){0};
    leave(s, k);
    k->at++;
    s->go_on = next_mailbox;
    return net_can_block(c) || ++k->done % AT_ONCE == 0 ? NET_MORE : NET_READ;
}

/* Only of the selected mailbox [RFC7377 2.2]. */
static void keep_context(struct conn *c, struct imap_session *s, struct multisearch *k)
{
    struct imap_context *context = imap_context_new(c, s, &k->search.program, NULL, &k->want);
    k->is_kept = true;
    if (context)
        imap_context_keep(c, s, context, k->search.hits, k->search.count);
}

static enum net_step found(struct conn *c, struct imap_session *s)
{
    struct multisearch *k = s->job;
    if (k->want.is_update && !s->view.own && k->search.answer == IMAP_DONE)
        keep_context(c, s, k);
    k->answer.bits = k->search.hits;
    k->answer.count = k->search.count;
    k->answer.scores = k->search.scores;
    return imap_answer(c, s, &k->answer);
}

static enum net_step search_here(struct conn *c, struct imap_session *s, struct str path)
{
    struct multisearch *k = s->job;
    enter(s, k);
    struct imap_parse p = {.rest = k->source,
                           .arena = &s->arena,
                           .is_utf8_only = s->enabled & IMAP_EN_UTF8,
                           .saved = s->view.own ? NULL : s->view.saved};
    k->answer = (struct imap_answer){.want = k->want, .mailbox = path, .then = mailbox_done};
    k->search = (struct imap_search){.is_open = true};
    k->search.wants_first =
        (k->want.items & ~(unsigned)IMAP_RETURN_SAVE) == IMAP_RETURN_MIN && !k->want.is_update;
    k->answer.text = IMAP_LIMIT;
    if (imap_take_search(&p, &k->search.program) &&
        imap_return_fits(&p, &k->want, &k->search.program))
        k->answer.text = imap_search_begin(s, &k->search, found);
    if (k->answer.text == IMAP_DONE)
        return NET_READ; /* go_on is set */
    return mailbox_done(c, s);
}

/* --- all of them ------------------------------------------------------------------------------ */

static enum net_step finish(struct conn *c, struct imap_session *s)
{
    struct multisearch *k = s->job;
    if (k->want.is_update && !k->is_kept)
        imap_context_refuse(c, s, STR("the selected mailbox was not searched"));
    if (k->text == IMAP_DONE && k->is_cut)
        k->text = IMAP_SEARCHED_SOME;
    return imap_finish(c, s, k->text);
}

static enum net_step next_mailbox(struct conn *c, struct imap_session *s)
{
    struct multisearch *k = s->job;
    s->go_on = next_mailbox;
    if (net_out_is_full(c))
        return NET_MORE;
    while (k->at < k->tree.n && !k->tree.at[k->at].is_wanted)
        k->at++;
    if (k->at == k->tree.n)
        return finish(c, s);
    const struct imap_list_entry *e = &k->tree.at[k->at];
    enum rc rc = RC_OK;
    if (e->mailbox->id != s->view.mailbox)
        rc = imap_view_visit(c, s, e->mailbox->id, &k->own);
    if (rc == RC_AGAIN && !net_can_block(c))
        return NET_SHORT;
    if (rc == RC_OK)
        return search_here(c, s, e->path);
    k->answer = (struct imap_answer){.text = rc == RC_NOTFOUND ? IMAP_DONE : imap_text_of_rc(rc)};
    return mailbox_done(c, s);
}

static bool is_meant(const struct multisearch *k, const struct imap_list_entry *e,
                     uint32_t selected)
{
    if (!e->mailbox || e->mailbox->is_placeholder)
        return false;
    struct imap_filter_place place = {.path = e->path,
                                      .role = e->mailbox->role,
                                      .is_subscribed = e->is_subscribed,
                                      .is_selected = e->mailbox->id == selected};
    for (size_t i = 0; i < k->n_filters; i++)
        if (imap_filter_meets(&k->filters[i], &place))
            return true;
    return false;
}

static enum net_step find_mailboxes(struct conn *c, struct imap_session *s)
{
    struct multisearch *k = s->job;
    bool needs_subscriptions = k->kinds >> IMAP_FILTER_SUBSCRIBED & 1;
    size_t n = 0;
    enum rc rc = imap_list_take_tree(c, s, &k->list, needs_subscriptions, &k->tree);
    if (rc == RC_AGAIN && !net_can_block(c))
        return NET_SHORT;
    if (rc != RC_OK)
        return imap_answer_fail(c, s, &k->want, imap_text_of_rc(rc == RC_AGAIN ? RC_TEMP : rc));
    for (size_t i = 0; i < k->tree.n; i++) {
        struct imap_list_entry *e = &k->tree.at[i];
        e->is_wanted = is_meant(k, e, s->view.mailbox);
        n += e->is_wanted;
    }
    if (n > s->imap->conf.search_mailboxes) /* [RFC7377 2.4] */
        return imap_answer_fail(c, s, &k->want, IMAP_LIMIT);
    return next_mailbox(c, s);
}

/* --- the command ------------------------------------------------------------------------------ */

/* "IN (...) " [RFC7377 4]. */
static bool take_source(struct imap_parse *p, struct multisearch *k)
{
    const unsigned kinds = ~(1u << IMAP_FILTER_SELECTED_DELAYED);
    size_t n_names = 0;
    if (!imap_take_word(p, STR("IN"))) {
        k->filters[k->n_filters++].kind = IMAP_FILTER_SELECTED;
        k->kinds = 1u << IMAP_FILTER_SELECTED;
        return true;
    }
    if (!imap_take_sp(p) || !imap_take_byte(p, '('))
        return imap_fail(p, "a list of mailboxes");
    do {
        p->is_limit = k->n_filters == FILTERS;
        if (p->is_limit)
            return imap_fail(p, "fewer specifiers of mailboxes");
        if (!imap_take_filter(p, kinds, &n_names, &k->filters[k->n_filters]))
            return false;
        k->kinds |= 1u << k->filters[k->n_filters++].kind;
    } while (imap_take_byte(p, ' '));
    return imap_take_byte(p, ')') ? imap_take_sp(p) : imap_fail(p, "the end of the list");
}

/* [RFC7377 2.2] */
static enum imap_text check(const struct imap_session *s, const struct multisearch *k)
{
    bool is_selected = s->state == IMAP_SELECTED;
    bool needs_selected = k->kinds >> IMAP_FILTER_SELECTED & 1 || k->want.is_update;
    if (needs_selected && !is_selected)
        return IMAP_SELECT_FIRST;
    if (k->want.items & IMAP_RETURN_SAVE && k->kinds != 1u << IMAP_FILTER_SELECTED)
        return IMAP_SELECTED_ONLY;
    if (k->want.is_update && imap_context_is_known(s))
        return IMAP_TAG_USED; /* [RFC5267 4.3] */
    return IMAP_DONE;
}

/* What every mailbox would be asked alike. */
static enum imap_text check_program(struct conn *c, struct imap_session *s, struct multisearch *k)
{
    struct imap_search_program *program = &k->search.program;
    if (program->has_numbers && s->enabled & IMAP_EN_UIDONLY)
        return IMAP_UID_REQUIRED; /* [RFC9586 3.5] */
    enum rc rc = imap_search_fold(program, s->imap->conf.charsets, &s->arena);
    if (rc != RC_OK)
        return rc == RC_NOTFOUND ? IMAP_BAD_CHARSET : imap_text_of_rc(rc);
    if (k->want.items & IMAP_RETURN_PARTIAL) {
        enum imap_text text = imap_limit_partial(s, &k->want.partial);
        if (text != IMAP_DONE)
            return text;
    }
    if (program->has_modseq)
        imap_enable_condstore(c, s); /* [RFC7162 3.1] */
    return IMAP_DONE;
}

enum net_step imap_esearch(struct conn *c, struct imap_session *s, struct imap_parse *p)
{
    struct multisearch *k = arena_zero(&s->arena, sizeof *k);
    if (!k || !take_source(p, k) || !imap_take_return(p, &k->want))
        return imap_finish_syntax(c, s, p);
    k->source = p->rest;
    if (!imap_take_search(p, &k->search.program) ||
        !imap_return_fits(p, &k->want, &k->search.program))
        return imap_finish_syntax(c, s, p);
    if (!k->want.is_given) /* [RFC7377 2.1] */
        k->want = (struct imap_return){.is_given = true, .items = IMAP_RETURN_ALL};
    enum imap_text text = check(s, k);
    if (text == IMAP_DONE)
        text = check_program(c, s, k);
    if (text != IMAP_DONE)
        return imap_answer_fail(c, s, &k->want, text);
    k->all = STR("*");
    k->list = (struct imap_list){.patterns = &k->all, .n_patterns = 1};
    if (k->kinds >> IMAP_FILTER_SUBSCRIBED & 1)
        k->list.returns = IMAP_LIST_SUBSCRIBED;
    k->text = IMAP_DONE;
    k->search = (struct imap_search){0};
    s->is_uid = true; /* whatever is told [RFC7377 2.1] */
    s->job = k;
    s->job_fini = free_job;
    s->go_on = find_mailboxes;
    return find_mailboxes(c, s);
}
