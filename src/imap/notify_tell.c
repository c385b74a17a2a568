/* Telling what NOTIFY has asked for [RFC5465 5]: the selected mailbox, then names, then STATUS of
 * others.
 *
 * Stages, each of which can be left and entered again when the output is full. While a client takes
 * nothing, one page of news is held, and what changes meanwhile comes to one line for each mailbox;
 * changes of names beyond what the store keeps end the notifying with NOTIFICATIONOVERFLOW
 * [RFC5465 5.8]. */
#include "imap/news_int.h"
#include "imap/notify_int.h"
#include "imap/status_int.h"

#include "imap/list_int.h"

enum stage {
    BEGIN,
    SELECTED,
    ARRIVALS,
    HIGHEST,
    LOOK_AT_NAMES,
    NAMES,
    LOOK_AT_MAILBOXES,
    MAILBOXES
};

static bool is_own(const struct imap_notify *n, uint64_t modseq)
{
    for (size_t i = 0; i < IMAP_NOTIFY_OWN; i++)
        if (n->own[i] == modseq)
            return true;
    return false;
}

static enum net_step overflow(struct conn *c, struct imap_session *s)
{
    buf_put(net_out(c), STR("* OK [NOTIFICATIONOVERFLOW] too much has changed, ask again\r\n"));
    imap_notify_end(s);
    s->news = IMAP_NEWS_NONE;
    return NET_READ;
}

/* What has to be known of a change cannot be: nothing is passed over in silence. */
static enum net_step give_up(struct conn *c, struct imap_session *s, enum rc rc)
{
    return rc == RC_AGAIN && !net_can_block(c) ? NET_SHORT : overflow(c, s);
}

static enum net_step go_to(struct imap_notify *n, enum stage stage)
{
    n->stage = stage;
    n->i = 0;
    return NET_READ;
}

/* --- the selected mailbox --------------------------------------------------------------------- */

/* [RFC5465 6.1.2]: IDLE is a command at which numbers may move. */
static enum net_step tell_selected(struct conn *c, struct imap_session *s, struct imap_notify *n)
{
    enum net_step next = NET_READ;
    if (s->state == IMAP_SELECTED && s->news != IMAP_NEWS_NONE)
        next = imap_view_tell(c, s, !n->program.is_delayed || s->is_idling);
    return next == NET_READ ? go_to(n, ARRIVALS) : next;
}

static bool is_mine(const struct imap_session *s, const struct imap_notify *n, uint32_t uid)
{
    for (size_t i = 0; i < IMAP_NOTIFY_OWN; i++) {
        const struct imap_notify_mine *m = &n->mine[i];
        if (m->uidvalidity == s->view.uidvalidity && uid >= m->uid && uid - m->uid < m->n)
            return true;
    }
    return false;
}

/* Ranges of messages that have not been told of, but for those that the client has put there itself
 * [RFC5465 5.2]. False: there is no room. */
static bool choose_arrivals(struct imap_session *s, struct imap_notify *n, size_t from,
                            struct imap_spans *out)
{
    size_t to = store_root_count(s->view.root);
    *out = (struct imap_spans){
        .at = arena_alloc(&s->arena, (2 * IMAP_NOTIFY_OWN + 2) * sizeof *out->at)};
    bool is_in = false;
    for (; out->at && from < to; from++) {
        bool was_in = is_in;
        is_in = !is_mine(s, n, store_root_at(s->view.root, from)->uid);
        if (is_in && !was_in)
            out->at[out->n++] = (struct imap_span){from, from};
        if (is_in)
            out->at[out->n - 1].to = from + 1;
        out->total += is_in;
    }
    return out->at;
}

static enum net_step tell_arrivals(struct conn *c, struct imap_session *s, struct imap_notify *n)
{
    const struct imap_fetch_program *program = &n->program.arrival;
    if (n->fetch) {
        enum net_step next = imap_fetch_arrival(c, s, n->fetch);
        if (next == NET_READ)
            imap_fetch_arrival_end(&n->fetch);
        return next;
    }
    if (s->state != IMAP_SELECTED || s->news == IMAP_NEWS_NONE)
        return go_to(n, HIGHEST);
    size_t from = store_root_find(s->view.root, n->next_uid);
    size_t count = store_root_count(s->view.root);
    struct imap_spans spans;
    if (from == count)
        return go_to(n, HIGHEST);
    n->next_uid = store_root_at(s->view.root, count - 1)->uid + 1;
    if (!program->n)
        return go_to(n, HIGHEST);
    if (!choose_arrivals(s, n, from, &spans))
        return overflow(c, s);
    n->fetch = spans.n ? imap_fetch_arrival_begin(s, program, &spans) : NULL;
    return spans.n && !n->fetch ? overflow(c, s) : NET_READ;
}

/* As at the end of a command [RFC7162 3.2.7, 3.2.9]: VANISHED does not tell it. Where something is
 * kept back it is what it was. */
static enum net_step tell_highest(struct conn *c, struct imap_session *s, struct imap_notify *n)
{
    bool is_whole = s->state == IMAP_SELECTED && !s->view.is_behind && !s->view.is_untold;
    if (is_whole && s->enabled & IMAP_EN_QRESYNC && s->tells_modseq)
        imap_put_highest_modseq(s, net_out(c));
    s->tells_modseq = false;
    return go_to(n, LOOK_AT_NAMES);
}

static void forget_page(struct imap_session *s)
{
    arena_fini(&s->arena);
    s->keywords = NULL;
}

/* --- names ------------------------------------------------------------------------------------ */

static enum net_step look_at_names(struct conn *c, struct imap_session *s, struct imap_notify *n)
{
    if (!n->watches_names)
        return go_to(n, LOOK_AT_MAILBOXES);
    if (net_out_is_full(c))
        return NET_MORE;
    enum rc rc = store_names_news(s->account, &n->names_at, &s->arena, &n->names, &n->n);
    if (rc != RC_OK)
        return give_up(c, s, rc);
    return go_to(n, n->n ? NAMES : LOOK_AT_MAILBOXES);
}

/* All that LIST would tell of it [RFC5465 5.4, 5.5]. */
static void put_name(struct imap_session *s, struct buf *out, const struct store_name_news *news)
{
    struct store_mailbox mailbox = {.role = news->role};
    struct imap_list_entry e = {.path = news->path,
                                .mailbox = news->is_there ? &mailbox : NULL,
                                .has_children = news->has_children,
                                .is_subscribed = news->is_subscription && news->is_subscribed};
    imap_put_list_entry(s, out, &e, news->old);
}

/* What was renamed is told to who watches the one name or the other. */
static enum rc name_events(struct conn *c, struct imap_session *s, const struct imap_notify *n,
                           const struct store_name_news *news, unsigned *out)
{
    struct str paths[] = {news->path, news->old};
    *out = 0;
    for (size_t i = 0; i < 2 && paths[i].p; i++) {
        struct imap_filter_place place = {.path = paths[i], .role = news->role};
        TRY(imap_notify_subscribed(c, s, paths[i], &place.is_subscribed));
        /* One that was in the set until now is told to have left it [RFC5465 6.4]. */
        place.is_subscribed = place.is_subscribed || news->is_subscription;
        *out |= imap_notify_events(&n->program, &place);
    }
    *out &= news->is_subscription ? IMAP_NOTIFY_SUBSCRIPTION : IMAP_NOTIFY_NAME;
    return RC_OK;
}

static enum net_step tell_names(struct conn *c, struct imap_session *s, struct imap_notify *n)
{
    for (; n->i < n->n; n->i++) {
        const struct store_name_news *news = &n->names[n->i];
        unsigned events;
        if (net_out_is_full(c))
            return NET_MORE;
        enum rc rc = name_events(c, s, n, news, &events);
        if (rc != RC_OK)
            return give_up(c, s, rc);
        if (events && !is_own(n, news->modseq)) /* [RFC5465 5] */
            put_name(s, net_out(c), news);
    }
    forget_page(s);
    return go_to(n, LOOK_AT_NAMES);
}

/* --- other mailboxes -------------------------------------------------------------------------- */

enum rc imap_notify_subscribed(struct conn *c, struct imap_session *s, struct str path, bool *out)
{
    const struct imap_notify_program *program = &s->notify->program;
    *out = false;
    for (size_t i = 0; i < program->n_groups; i++)
        if (program->groups[i].filter.kind == IMAP_FILTER_SUBSCRIBED)
            return store_is_subscribed(s->account, path, imap_flags(c), out);
    return RC_OK;
}

/* [RFC5465 5.1, 5.2, 5.3] */
unsigned imap_notify_items(const struct imap_session *s, unsigned events)
{
    unsigned items = 1U << IMAP_STATUS_UIDVALIDITY;
    if (events & (IMAP_NOTIFY_NEW | IMAP_NOTIFY_EXPUNGE))
        items |= 1U << IMAP_STATUS_MESSAGES | 1U << IMAP_STATUS_UIDNEXT;
    if (events & IMAP_NOTIFY_FLAGS)
        items |= 1U << IMAP_STATUS_UNSEEN;
    if (s->enabled & IMAP_EN_CONDSTORE)
        items |= 1U << IMAP_STATUS_HIGHESTMODSEQ;
    return items;
}

/* Which of the events have happened. Flags of which nothing could be told are no news
 * [RFC5465 5.1]. */
static unsigned what_happened(const struct imap_session *s, const struct store_news *news,
                              unsigned events)
{
    bool has_flags = s->enabled & IMAP_EN_CONDSTORE || news->has_unseen;
    if (!news->has_counts)
        events &= has_flags ? IMAP_NOTIFY_FLAGS : 0;
    return events & IMAP_NOTIFY_MESSAGES;
}

static enum net_step look_at_mailboxes(struct conn *c, struct imap_session *s,
                                       struct imap_notify *n)
{
    if (net_out_is_full(c))
        return NET_MORE;
    if (imap_notify_has_others(&n->program)) {
        enum rc rc = store_news(s->account, n->since, &n->at, &s->arena, &n->news, &n->n);
        if (rc != RC_OK)
            return give_up(c, s, rc);
        if (n->n)
            return go_to(n, MAILBOXES);
    }
    n->since = n->at;
    n->told = 0;
    return go_to(n, BEGIN);
}

static enum net_step tell_mailboxes(struct conn *c, struct imap_session *s, struct imap_notify *n)
{
    for (; n->i < n->n; n->i++) {
        const struct store_news *news = &n->news[n->i];
        struct imap_numbers numbers = {.mailbox = news->mailbox};
        struct imap_filter_place place = {.path = news->path, .role = news->mailbox.role};
        if (net_out_is_full(c))
            return NET_MORE;
        if (news->modseq <= n->told && n->left && news->mailbox.id != n->left)
            continue;
        if (news->mailbox.id == s->view.mailbox || (news->is_alone && is_own(n, news->modseq)))
            continue;
        enum rc rc = imap_notify_subscribed(c, s, news->path, &place.is_subscribed);
        if (rc != RC_OK)
            return give_up(c, s, rc);
        unsigned events = what_happened(s, news, imap_notify_events(&n->program, &place));
        if (events)
            imap_put_status(s, net_out(c), news->path, &numbers, imap_notify_items(s, events));
    }
    forget_page(s);
    return go_to(n, LOOK_AT_MAILBOXES);
}

/* --- all of it -------------------------------------------------------------------------------- */

enum net_step imap_notify_tell(struct conn *c, struct imap_session *s)
{
    static enum net_step (*const stages[])(struct conn * c, struct imap_session * s,
                                           struct imap_notify * n) = {
        [SELECTED] = tell_selected,   [ARRIVALS] = tell_arrivals,
        [HIGHEST] = tell_highest,     [LOOK_AT_NAMES] = look_at_names,
        [NAMES] = tell_names,         [LOOK_AT_MAILBOXES] = look_at_mailboxes,
        [MAILBOXES] = tell_mailboxes,
    };
    struct imap_notify *n = s->notify;
    enum net_step next = NET_READ;
    if (n->stage == BEGIN) {
        s->has_news = false; /* what comes now comes with another wake */
        go_to(n, SELECTED);
    }
    /* The notifying may end here. */
    while (next == NET_READ && s->notify && n->stage != BEGIN)
        next = stages[n->stage](c, s, n);
    return next;
}
