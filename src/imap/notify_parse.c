/* The grammar of NOTIFY [RFC5465 8]. Pure.
 *
 * Events that are not supported are passed over with what may be their arguments, so that the
 * client hears which are and not that it made a mistake [RFC5465 3.1]. */
#include "imap/notify_int.h"

static const struct {
    struct str name;
    unsigned event;
} events[] = {
    {STR_INIT("MessageNew"), IMAP_NOTIFY_NEW},
    {STR_INIT("MessageExpunge"), IMAP_NOTIFY_EXPUNGE},
    {STR_INIT("FlagChange"), IMAP_NOTIFY_FLAGS},
    {STR_INIT("MailboxName"), IMAP_NOTIFY_NAME},
    {STR_INIT("SubscriptionChange"), IMAP_NOTIFY_SUBSCRIPTION},
};
enum { N_EVENTS = sizeof events / sizeof *events };

enum {
    OF_SELECTED = 1 << IMAP_FILTER_SELECTED | 1 << IMAP_FILTER_SELECTED_DELAYED,
    FILTERS = OF_SELECTED | 1 << IMAP_FILTER_INBOXES | 1 << IMAP_FILTER_PERSONAL |
              1 << IMAP_FILTER_SUBSCRIBED | 1 << IMAP_FILTER_SUBTREE | 1 << IMAP_FILTER_MAILBOXES
};

static bool too_much(struct imap_parse *p)
{
    p->is_limit = true;
    return imap_fail(p, "less");
}

static bool is_of_selected(const struct imap_notify_group *group)
{
    return OF_SELECTED >> group->filter.kind & 1;
}

/* So that the names stay. */
static bool keep_names(struct imap_parse *p, struct arena *keep, struct imap_filter *filter)
{
    struct str *names = arena_alloc(keep, filter->n_names * sizeof *names + 1);
    for (size_t i = 0; names && i < filter->n_names; i++) {
        names[i] = arena_dup(keep, filter->names[i]);
        if (!names[i].p)
            return too_much(p);
    }
    filter->names = names;
    return names || too_much(p);
}

/* --- events ----------------------------------------------------------------------------------- */

/* What an event from the future may have behind it. */
static bool pass_over_list(struct imap_parse *p)
{
    size_t depth = 0, i = 0;
    if (!imap_peek_byte(p, ' ') || p->rest.n < 2 || p->rest.p[1] != '(')
        return true;
    for (i = 1; i < p->rest.n; i++) {
        depth += p->rest.p[i] == '(';
        if (p->rest.p[i] == ')' && --depth == 0)
            break;
    }
    p->rest = str_skip(p->rest, i + 1);
    return depth == 0 || imap_fail(p, "the end of a list");
}

/* The items of FETCH, so that they stay: their words are views into the text. */
static bool take_arrival(struct imap_parse *p, struct arena *keep, struct imap_fetch_program *out)
{
    struct imap_parse q = *p;
    if (!imap_take_fetch_items(p, out))
        return false;
    q.rest = arena_dup(keep, str_head(q.rest, q.rest.n - p->rest.n));
    q.arena = keep;
    /* Nothing that a client has not asked for itself is marked as seen [RFC5465 5.2]. */
    bool is_good = q.rest.p && imap_take_fetch_items(&q, out);
    out->sets_seen = false;
    return is_good || too_much(p);
}

static bool take_event(struct imap_parse *p, struct arena *keep, struct imap_notify_group *group,
                       struct imap_notify_program *out)
{
    struct str name;
    size_t i = 0;
    if (!imap_take_atom(p, &name))
        return imap_fail(p, "the name of an event");
    while (i < N_EVENTS && !str_ieq(name, events[i].name))
        i++;
    if (i == N_EVENTS) {
        group->events |= IMAP_NOTIFY_UNKNOWN;
        return pass_over_list(p);
    }
    group->events |= events[i].event;
    if (events[i].event != IMAP_NOTIFY_NEW || p->rest.n < 2 || p->rest.p[1] != '(')
        return true;
    if (!is_of_selected(group))
        return imap_fail(p, "items of FETCH for the selected mailbox alone");
    return imap_take_sp(p) && take_arrival(p, keep, &out->arrival);
}

/* [RFC5465 5]: which events go together. */
static bool is_sound(struct imap_parse *p, const struct imap_notify_group *group)
{
    bool has_new = group->events & IMAP_NOTIFY_NEW, has_gone = group->events & IMAP_NOTIFY_EXPUNGE;
    if (has_new != has_gone)
        return imap_fail(p, "MessageNew and MessageExpunge together");
    if (group->events & IMAP_NOTIFY_FLAGS && !has_new)
        return imap_fail(p, "MessageNew and MessageExpunge with FlagChange");
    if (is_of_selected(group) && group->events & IMAP_NOTIFY_NAMES) /* [RFC5465 6.1] */
        return imap_fail(p, "events of messages for the selected mailbox");
    return true;
}

static bool take_events(struct imap_parse *p, struct arena *keep, struct imap_notify_group *group,
                        struct imap_notify_program *out)
{
    if (imap_take_word(p, STR("NONE")))
        return true;
    if (!imap_take_byte(p, '('))
        return imap_fail(p, "NONE or a list of events");
    do
        if (!take_event(p, keep, group, out))
            return false;
    while (imap_take_byte(p, ' '));
    return imap_take_byte(p, ')') ? is_sound(p, group) : imap_fail(p, "the end of the events");
}

/* --- groups ----------------------------------------------------------------------------------- */

static bool take_group(struct imap_parse *p, struct arena *keep, size_t *n_names,
                       struct imap_notify_program *out)
{
    struct imap_notify_group group = {0};
    if (!imap_take_byte(p, '('))
        return imap_fail(p, "a group of events");
    if (!imap_take_filter(p, FILTERS, n_names, &group.filter) ||
        !keep_names(p, keep, &group.filter) || !imap_take_sp(p) ||
        !take_events(p, keep, &group, out))
        return false;
    out->events |= group.events;
    if (!imap_take_byte(p, ')'))
        return imap_fail(p, "the end of the group");
    if (!is_of_selected(&group)) {
        out->groups[out->n_groups++] = group;
        return true;
    }
    if (out->has_selected) /* [RFC5465 6.1] */
        return imap_fail(p, "SELECTED or SELECTED-DELAYED once");
    out->has_selected = true;
    out->is_delayed = group.filter.kind == IMAP_FILTER_SELECTED_DELAYED;
    out->selected = group.events & IMAP_NOTIFY_MESSAGES;
    return true;
}

static bool take_groups(struct imap_parse *p, struct arena *keep, size_t names_max,
                        struct imap_notify_program *out)
{
    size_t most = names_max < IMAP_FILTER_NAMES ? names_max : IMAP_FILTER_NAMES;
    size_t n_names = IMAP_FILTER_NAMES - most; /* as if there had been so many */
    out->groups = arena_alloc(keep, IMAP_NOTIFY_GROUPS * sizeof *out->groups);
    if (!out->groups)
        return too_much(p);
    do {
        if (out->n_groups == IMAP_NOTIFY_GROUPS)
            return too_much(p);
        if (!take_group(p, keep, &n_names, out))
            return false;
    } while (imap_take_byte(p, ' '));
    out->n_names = n_names - (IMAP_FILTER_NAMES - most);
    return imap_take_end(p);
}

bool imap_take_notify(struct imap_parse *p, struct arena *keep, size_t names_max,
                      struct imap_notify_program *out)
{
    *out = (struct imap_notify_program){0};
    if (imap_take_word(p, STR("NONE"))) {
        out->is_none = true;
        return imap_take_end(p);
    }
    if (!imap_take_word(p, STR("SET")))
        return imap_fail(p, "SET or NONE");
    if (p->rest.n > IMAP_NOTIFY_TEXT) /* before a mailbox is read */
        return too_much(p);
    if (!imap_take_sp(p))
        return false;
    out->has_status = imap_take_word(p, STR("STATUS"));
    if (out->has_status && !imap_take_sp(p))
        return false;
    return take_groups(p, keep, names_max, out);
}

/* --- what it means ---------------------------------------------------------------------------- */

/* Several groups may mean the same mailbox [RFC5465 6]. */
unsigned imap_notify_events(const struct imap_notify_program *program,
                            const struct imap_filter_place *place)
{
    unsigned found = 0;
    for (size_t i = 0; i < program->n_groups; i++)
        if (imap_filter_meets(&program->groups[i].filter, place))
            found |= program->groups[i].events;
    return found;
}
