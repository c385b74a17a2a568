/* The grammar of NOTIFY [RFC5465 8]. Pure.
 *
 * Events that are not supported are passed over with what may be their arguments, so that the
 * client hears which are and not that it made a mistake [RFC5465 3.1]. */
#include "imap/notify_int.h"

#include <stdlib.h>

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

static const struct {
    struct str name;
    enum imap_notify_filter filter;
} filters[] = {
    {STR_INIT("SELECTED"), IMAP_NOTIFY_SELECTED},
    {STR_INIT("SELECTED-DELAYED"), IMAP_NOTIFY_DELAYED},
    {STR_INIT("INBOXES"), IMAP_NOTIFY_INBOXES},
    {STR_INIT("PERSONAL"), IMAP_NOTIFY_PERSONAL},
    {STR_INIT("SUBSCRIBED"), IMAP_NOTIFY_SUBSCRIBED},
    {STR_INIT("SUBTREE"), IMAP_NOTIFY_SUBTREE},
    {STR_INIT("MAILBOXES"), IMAP_NOTIFY_MAILBOXES},
};
enum { N_FILTERS = sizeof filters / sizeof *filters };

static bool too_much(struct imap_parse *p)
{
    p->is_limit = true;
    return imap_fail(p, "less");
}

static bool is_of_selected(enum imap_notify_filter filter)
{
    return filter == IMAP_NOTIFY_SELECTED || filter == IMAP_NOTIFY_DELAYED;
}

/* --- mailboxes -------------------------------------------------------------------------------- */

struct names {
    struct arena *keep;
    size_t left; /* how many there may still be */
};

static bool take_name(struct imap_parse *p, struct names *names, struct imap_notify_group *group)
{
    struct store_path path;
    if (!imap_take_mailbox(p, &path))
        return false;
    if (!names->left--) {
        names->left = 0;
        return too_much(p);
    }
    if (!(group->n_names & (group->n_names - 1))) { /* at 0, 1, 2, 4, ... there is no room */
        size_t room = group->n_names ? group->n_names * 2 : 1;
        struct str *more = arena_alloc(names->keep, room * sizeof *more);
        if (!more)
            return too_much(p);
        for (size_t i = 0; i < group->n_names; i++)
            more[i] = group->names[i];
        group->names = more;
    }
    struct str name = imap_join_path(names->keep, path);
    group->names[group->n_names++] = name;
    return name.p || too_much(p);
}

static int by_bytes(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

/* one-or-more-mailbox */
static bool take_names(struct imap_parse *p, struct names *names, struct imap_notify_group *group)
{
    if (!imap_take_sp(p))
        return false;
    if (!imap_take_byte(p, '('))
        return take_name(p, names, group);
    do
        if (!take_name(p, names, group))
            return false;
    while (imap_take_byte(p, ' '));
    qsort(group->names, group->n_names, sizeof *group->names, by_bytes);
    return imap_take_byte(p, ')') || imap_fail(p, "the end of the list of mailboxes");
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
    if (!is_of_selected(group->filter))
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
    if (is_of_selected(group->filter) && group->events & IMAP_NOTIFY_NAMES) /* [RFC5465 6.1] */
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

static bool take_filter(struct imap_parse *p, struct names *names, struct imap_notify_group *group)
{
    struct str name;
    size_t i = 0;
    if (!imap_take_atom(p, &name))
        return imap_fail(p, "which mailboxes");
    while (i < N_FILTERS && !str_ieq(name, filters[i].name))
        i++;
    if (i == N_FILTERS)
        return imap_fail(p, "mailboxes such as SELECTED or PERSONAL");
    group->filter = filters[i].filter;
    return group->filter < IMAP_NOTIFY_SUBTREE || take_names(p, names, group);
}

static bool take_group(struct imap_parse *p, struct names *names, struct imap_notify_program *out)
{
    struct imap_notify_group group = {0};
    if (!imap_take_byte(p, '('))
        return imap_fail(p, "a group of events");
    if (!take_filter(p, names, &group) || !imap_take_sp(p) ||
        !take_events(p, names->keep, &group, out))
        return false;
    out->events |= group.events;
    if (!imap_take_byte(p, ')'))
        return imap_fail(p, "the end of the group");
    if (!is_of_selected(group.filter)) {
        out->groups[out->n_groups++] = group;
        return true;
    }
    if (out->has_selected) /* [RFC5465 6.1] */
        return imap_fail(p, "SELECTED or SELECTED-DELAYED once");
    out->has_selected = true;
    out->is_delayed = group.filter == IMAP_NOTIFY_DELAYED;
    out->selected = group.events & IMAP_NOTIFY_MESSAGES;
    return true;
}

static bool take_groups(struct imap_parse *p, struct names *names, struct imap_notify_program *out)
{
    size_t most = names->left;
    out->groups = arena_alloc(names->keep, IMAP_NOTIFY_GROUPS * sizeof *out->groups);
    if (!out->groups)
        return too_much(p);
    do {
        if (out->n_groups == IMAP_NOTIFY_GROUPS)
            return too_much(p);
        if (!take_group(p, names, out))
            return false;
    } while (imap_take_byte(p, ' '));
    out->n_names = most - names->left;
    return imap_take_end(p);
}

bool imap_take_notify(struct imap_parse *p, struct arena *keep, size_t names_max,
                      struct imap_notify_program *out)
{
    struct names names = {keep, names_max};
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
    return take_groups(p, &names, out);
}

/* --- what it means ---------------------------------------------------------------------------- */

static bool has_name(const struct imap_notify_group *group, struct str path)
{
    return bsearch(&path, group->names, group->n_names, sizeof path, by_bytes);
}

static bool is_below(const struct imap_notify_group *group, struct str path)
{
    for (size_t i = 1; i < path.n; i++)
        if (path.p[i] == '/' && has_name(group, str_head(path, i)))
            return true;
    return has_name(group, path);
}

static bool is_meant(const struct imap_notify_group *group, struct str path, bool is_inbox,
                     bool is_subscribed)
{
    switch (group->filter) {
    case IMAP_NOTIFY_INBOXES: /* [RFC5465 6.3]: where deliveries go */
        return is_inbox;
    case IMAP_NOTIFY_PERSONAL: /* all that there are */
        return true;
    case IMAP_NOTIFY_SUBSCRIBED:
        return is_subscribed;
    case IMAP_NOTIFY_SUBTREE:
        return is_below(group, path);
    case IMAP_NOTIFY_MAILBOXES:
        return has_name(group, path);
    case IMAP_NOTIFY_SELECTED:
    case IMAP_NOTIFY_DELAYED:
        break;
    }
    return false;
}

/* Several groups may mean the same mailbox [RFC5465 6]. */
unsigned imap_notify_events(const struct imap_notify_program *program, struct str path,
                            bool is_inbox, bool is_subscribed)
{
    unsigned found = 0;
    for (size_t i = 0; i < program->n_groups; i++)
        if (is_meant(&program->groups[i], path, is_inbox, is_subscribed))
            found |= program->groups[i].events;
    return found;
}
