/* NOTIFY [RFC5465]: what the client wants to be told of, whether or not a command is under way.
 *
 * A session that wants to be told has a watch on the account; what has changed is then asked of the
 * store (store_news), which finds it by modseq, so that a session keeps two numbers and not what it
 * knows of each mailbox. What it wants is an arena, bounded for each session and for all together.
 *
 * Invariants: NOTIFY is carried out whole or not at all, but that the changes of the selected
 * mailbox are told in any case; once it was used, nothing is told that was not asked for, until the
 * next login. */
#include "imap/news_int.h"
#include "imap/notify_int.h"
#include "imap/status_int.h"

#include "imap/list_int.h"

#include "base/mem.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static void changed(struct store_watch *watch)
{
    struct imap_session *s = CONTAINER(watch, struct imap_notify, watch)->session;
    net_wake(s->net, s->handle, NET_EV_WAKE);
}

/* --- its life --------------------------------------------------------------------------------- */

static void release(struct imap *imap, struct imap_notify **n)
{
    atomic_fetch_sub(&imap->notified, (*n)->size);
    arena_fini(&(*n)->arena);
    free(*n);
    *n = NULL;
}

void imap_notify_rest(struct imap_session *s)
{
    if (s->notify)
        imap_fetch_arrival_end(&s->notify->fetch);
}

void imap_notify_end(struct imap_session *s)
{
    struct imap_notify *n = s->notify;
    s->has_news = false;
    if (!n)
        return;
    store_watch_remove(s->account, &n->watch);
    if (n->watches_names)
        store_names_unwatch(s->account);
    imap_fetch_arrival_end(&n->fetch);
    release(s->imap, &s->notify);
}

void imap_notify_forget(struct imap_session *s)
{
    imap_notify_end(s);
    s->news = IMAP_NEWS_ALL;
}

/* What the one before had still to tell is told by this one; STATUS tells it in any case. */
static void take_over(struct imap_notify *n, const struct imap_notify *old)
{
    memcpy(n->own, old->own, sizeof n->own);
    memcpy(n->mine, old->mine, sizeof n->mine);
    n->n_own = old->n_own;
    n->n_mine = old->n_mine;
    if (n->watches_names && old->watches_names)
        n->names_at = old->names_at;
    if (n->program.has_status || !imap_notify_has_others(&old->program))
        return;
    n->since = n->at = old->since;
    n->told = old->told;
    n->left = old->left;
}

/* From the moment on that the watch is there, whatever changes is told. */
static void begin(struct imap_session *s, struct imap_notify **pending)
{
    struct imap_notify *n = *pending;
    unsigned selected = n->program.selected;
    *pending = NULL;
    n->session = s;
    n->watch = (struct store_watch){.changed = changed};
    n->watches_names = n->program.events & IMAP_NOTIFY_NAMES;
    if (n->watches_names)
        store_names_watch(s->account);
    store_watch_add(s->account, &n->watch);
    n->since = n->at = n->names_at = store_news_now(s->account);
    if (s->notify)
        take_over(n, s->notify);
    imap_notify_end(s);
    s->notify = n;
    s->news = !selected                      ? IMAP_NEWS_NONE
              : selected & IMAP_NOTIFY_FLAGS ? IMAP_NEWS_ALL
                                             : IMAP_NEWS_COUNTS;
    s->has_news = true;
    imap_notify_selected(s);
}

/* --- what the rest of the session says -------------------------------------------------------- */

void imap_notify_selected(struct imap_session *s)
{
    if (s->notify && s->state == IMAP_SELECTED)
        s->notify->next_uid = store_root_mailbox(s->view.root)->uidnext;
}

/* What has changed there and was not told, since SELECTED was not asked for or it had to wait, is
 * told as of any other mailbox. */
void imap_notify_left(struct imap_session *s)
{
    struct imap_notify *n = s->notify;
    uint64_t modseq = s->view.modseq;
    if (!n || !modseq || modseq >= (n->told ? n->told : n->at))
        return;
    n->left = n->told ? 0 : s->view.mailbox;
    n->told = n->told ? n->told : n->at;
    n->since = n->at = modseq < n->at ? modseq : n->at;
    s->has_news = true;
}

void imap_notify_own(struct imap_session *s, const struct store_op *op)
{
    struct imap_notify *n = s->notify;
    if (!n || op->rc != RC_OK || !op->modseq)
        return;
    n->own[n->n_own++ % IMAP_NOTIFY_OWN] = op->modseq;
    if (op->uid && op->changed)
        n->mine[n->n_mine++ % IMAP_NOTIFY_OWN] =
            (struct imap_notify_mine){op->uidvalidity, op->uid, op->changed};
}

bool imap_has_news(const struct imap_session *s)
{
    return s->news != IMAP_NEWS_NONE || s->has_changed || s->view.next;
}

/* --- between commands ------------------------------------------------------------------------- */

enum net_step imap_notify_between(struct conn *c, struct imap_session *s)
{
    enum net_step next = imap_login_check(c, s);
    if (next == NET_READ)
        next = imap_notify_tell(c, s);
    if (next != NET_READ)
        return next;
    arena_fini(&s->arena);
    s->keywords = NULL;
    s->go_on = NULL;
    return NET_READ;
}

/* --- the command ------------------------------------------------------------------------------ */

struct notifying {
    struct imap_notify *pending;
    struct imap_list_tree tree;
    size_t at;
};

static void free_job(struct imap_session *s)
{
    struct notifying *k = s->job;
    if (k->pending)
        release(s->imap, &k->pending);
}

static enum net_step fail(struct conn *c, struct imap_session *s, enum rc rc)
{
    imap_notify_forget(s);
    return imap_finish_rc(c, s, rc);
}

/* [RFC5465 3.1]: of each mailbox but the selected one whose messages are watched. */
static enum net_step put_statuses(struct conn *c, struct imap_session *s)
{
    struct notifying *k = s->job;
    for (; k->at < k->tree.n; k->at++) {
        const struct imap_list_entry *e = &k->tree.at[k->at];
        if (net_out_is_full(c))
            return NET_MORE;
        if (!e->mailbox || e->mailbox->is_placeholder || e->mailbox->id == s->view.mailbox)
            continue;
        struct imap_filter_place place = {.path = e->path, .role = e->mailbox->role};
        enum rc rc = imap_notify_subscribed(c, s, e->path, &place.is_subscribed);
        if (rc == RC_AGAIN && !net_can_block(c))
            return NET_SHORT;
        if (rc != RC_OK)
            return fail(c, s, rc);
        unsigned events = imap_notify_events(&s->notify->program, &place);
        struct imap_numbers numbers = {.mailbox = *e->mailbox};
        unsigned items = imap_notify_items(s, events);
        if (events & IMAP_NOTIFY_FLAGS) /* whether or not it is enabled */
            items |= 1U << IMAP_STATUS_HIGHESTMODSEQ;
        if (events & IMAP_NOTIFY_MESSAGES)
            imap_put_status(s, net_out(c), e->path, &numbers, items);
    }
    return imap_finish(c, s, IMAP_DONE);
}

static enum net_step list_mailboxes(struct conn *c, struct imap_session *s)
{
    static const struct str all = STR_INIT("*");
    struct notifying *k = s->job;
    struct imap_list list = {.patterns = (struct str *)(uintptr_t)&all, .n_patterns = 1};
    enum rc rc = imap_list_take_tree(c, s, &list, false, &k->tree);
    if (rc == RC_AGAIN && !net_can_block(c))
        return NET_SHORT;
    if (rc != RC_OK)
        return fail(c, s, rc);
    s->go_on = put_statuses;
    return put_statuses(c, s);
}

/* As NOOP would [RFC5465 3.1]. */
static enum net_step tell_selected(struct conn *c, struct imap_session *s)
{
    struct notifying *k = s->job;
    enum net_step next = s->state == IMAP_SELECTED ? imap_view_tell(c, s, true) : NET_READ;
    if (next != NET_READ)
        return next;
    begin(s, &k->pending);
    if (s->notify->program.arrival.has_modseq)
        imap_enable_condstore(c, s);
    if (!s->notify->program.has_status)
        return imap_finish(c, s, IMAP_DONE);
    s->go_on = list_mailboxes;
    return list_mailboxes(c, s);
}

/* Counts what it holds; false: all sessions together hold too much. */
static bool take_room(struct imap *imap, struct imap_notify *n)
{
    n->size = sizeof *n + n->arena.used;
    return atomic_fetch_add(&imap->notified, n->size) + n->size <= IMAP_NOTIFY_ALL;
}

static enum net_step set(struct conn *c, struct imap_session *s, struct notifying *k)
{
    if (k->pending->program.events & IMAP_NOTIFY_UNKNOWN)
        return imap_finish(c, s, IMAP_BAD_EVENT);
    if (!take_room(s->imap, k->pending))
        return imap_finish(c, s, IMAP_NOTIFY_TOO_MUCH);
    s->news = IMAP_NEWS_ALL; /* the one before watches until this one does */
    s->go_on = tell_selected;
    return tell_selected(c, s);
}

enum net_step imap_notify(struct conn *c, struct imap_session *s, struct imap_parse *p)
{
    struct notifying *k = arena_zero(&s->arena, sizeof *k);
    if (!k)
        return imap_finish(c, s, IMAP_TOO_LONG_COMMAND);
    s->job = k;
    s->job_fini = free_job;
    struct imap_notify *n = k->pending = mem_zero(sizeof *n);
    n->arena.cap = IMAP_NOTIFY_BYTES;
    bool is_good = imap_take_notify(p, &n->arena, s->imap->conf.notify_names, &n->program);
    if (!is_good && p->is_limit)
        return imap_finish(c, s, IMAP_NOTIFY_TOO_MUCH);
    if (!is_good)
        return imap_finish_syntax(c, s, p);
    if (!n->program.is_none)
        return set(c, s, k);
    imap_notify_end(s);
    s->news = IMAP_NEWS_NONE;
    return imap_finish(c, s, IMAP_DONE);
}
