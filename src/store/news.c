/* News: which mailboxes have changed, and what became of their names, for sessions that are told.
 *
 * Mailboxes that have changed since the account came into memory are in a list, the last one first,
 * each with when that was: who asks goes through those that have changed since he asked last and
 * sees no other. What he knew of them is not kept, for him or for anybody; counters are told as
 * they are now.
 *
 * Names are different: what a mailbox was called is known nowhere afterwards. So changes of names
 * are written down while somebody watches them, once for all who do.
 *
 * Invariants, under account.mutex:
 *   1. `recent` is sorted by news.at, falling; no two changes have the same modseq.
 *   2. All changes of names after `floor` are in `names`, the oldest first, and nothing before.
 * They are bounded; who comes too late is told so. */
#include "store/store_int.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum {
    MAILBOXES_AT_ONCE = 100,
    NAMES_AT_ONCE = 50,
    NAMES_BYTES = 256 << 10, /* kept, of one account */
    PATH_BYTES = STORE_LEVELS * (STORE_NAME_MAX + 1)
};

/* One change of a name; `path` and `old` follow it. */
struct named {
    struct list link;
    struct store_name_news news;
    uint32_t id, parent; /* of the mailbox; while the change is being published */
    uint8_t naming;
    size_t size;
    char b[];
};

void news_init(struct news *n)
{
    list_init(&n->recent);
    list_init(&n->names);
    list_init(&n->pending);
}

/* --- names ------------------------------------------------------------------------------------ */

static bool is_there(const struct mailbox_record *r)
{
    return r->state <= MAILBOX_PLACEHOLDER;
}

/* As it is published. Empty: it is not there. */
static struct str put_path(struct store_account *a, const struct mailbox *m, char *mem, size_t size)
{
    size_t at = size;
    for (unsigned levels = 0; m && levels < STORE_LEVELS; levels++) {
        struct str name = m->published.m.name;
        if (!is_there(&m->published) || name.n + 1 > at)
            break;
        if (at < size)
            mem[--at] = '/';
        at -= name.n;
        memcpy(mem + at, name.p, name.n);
        m = mailbox_any(a, m->published.m.parent);
    }
    return str_from(mem + at, size - at);
}

static void drop_name(struct news *n, struct named *it)
{
    list_remove(&it->link);
    n->names_bytes -= it->size;
    n->floor = it->news.modseq;
    free(it);
}

static void forget_names(struct news *n, uint64_t floor)
{
    LIST_EACH_SAFE (&n->names, it)
        drop_name(n, CONTAINER(it, struct named, link));
    n->floor = floor;
}

/* The oldest ones go, each with all of its change. */
static void keep_bounds(struct news *n)
{
    while (n->names_bytes > NAMES_BYTES ||
           (!list_is_empty(&n->names) &&
            CONTAINER(n->names.next, struct named, link)->news.modseq <= n->floor))
        drop_name(n, CONTAINER(n->names.next, struct named, link));
}

static struct named *make_name(uint64_t modseq, struct str path, struct str old)
{
    size_t size = sizeof(struct named) + path.n + old.n + 1;
    struct named *it = mem_zero(size);
    it->size = size;
    if (path.n)
        memcpy(it->b, path.p, path.n);
    if (old.n)
        memcpy(it->b + path.n, old.p, old.n);
    it->news.modseq = modseq;
    it->news.path = str_from(it->b, path.n);
    it->news.old = old.p ? str_from(it->b + path.n, old.n) : (struct str){0};
    return it;
}

static void keep_name(struct store_account *a, struct named *it)
{
    list_add_tail(&a->news.names, &it->link);
    a->news.names_bytes += it->size;
    keep_bounds(&a->news);
}

static bool has_child(const struct store_account *a, uint32_t id)
{
    for (size_t i = 0; i < a->n_mailboxes; i++) {
        const struct mailbox_record *r = &a->mailboxes[i]->published;
        if (r->m.parent == id && is_there(r))
            return true;
    }
    return false;
}

/* How the name is now. */
static void describe(struct store_account *a, struct named *it, const struct mailbox *m)
{
    struct store_name_news *n = &it->news;
    if (!m || !is_there(&m->published))
        return;
    n->is_there = m->published.state == MAILBOX_OPEN;
    n->role = m->published.m.role;
    n->has_children = has_child(a, m->id);
}

/* --- a change is published -------------------------------------------------------------------- */

enum naming { NAME_STAYS, NAME_MADE, NAME_GONE, NAME_MOVED };

/* Placeholders come and go with what is below them; nobody is told. */
static enum naming naming_of(const struct mailbox_record *old, const struct mailbox_record *now)
{
    bool was_open = old->state == MAILBOX_OPEN, is_open = now->state == MAILBOX_OPEN;
    bool has_moved = old->m.parent != now->m.parent || !str_eq(old->m.name, now->m.name);
    if (was_open != is_open)
        return is_open ? NAME_MADE : NAME_GONE;
    return is_there(old) && is_there(now) && has_moved ? NAME_MOVED : NAME_STAYS;
}

/* What things were called, while the published view still says so. */
static void note_old_names(struct store_account *a, const struct change *c)
{
    char mem[PATH_BYTES];
    for (size_t i = 0; i < c->n_touched; i++) {
        const struct touched *t = &c->touched[i];
        enum naming naming = naming_of(&t->mailbox->published, &t->record);
        if (naming == NAME_STAYS)
            continue;
        struct str old = put_path(a, t->mailbox, mem, sizeof mem);
        struct named *it = make_name(c->modseq, old, (struct str){0});
        it->id = t->mailbox->id;
        it->parent = t->record.m.parent;
        it->naming = naming;
        list_add_tail(&a->news.pending, &it->link);
    }
}

/* The direct parent is told of too, whether or not it is a mailbox [RFC5465 5.4]. */
static void note_parent(struct store_account *a, uint64_t modseq, struct str path, uint32_t parent)
{
    ptrdiff_t slash = str_rfind_byte(path, '/');
    if (slash < 0)
        return;
    struct named *it = make_name(modseq, str_head(path, (size_t)slash), (struct str){0});
    describe(a, it, mailbox_any(a, parent));
    keep_name(a, it);
}

static void note_new_name(struct store_account *a, const struct named *before)
{
    char mem[PATH_BYTES];
    const struct mailbox *m = mailbox_any(a, before->id);
    bool is_gone = before->naming == NAME_GONE, is_moved = before->naming == NAME_MOVED;
    struct str path = is_gone ? before->news.path : put_path(a, m, mem, sizeof mem);
    struct named *now =
        make_name(before->news.modseq, path, is_moved ? before->news.path : (struct str){0});
    describe(a, now, m);
    keep_name(a, now);
    if (!is_moved)
        note_parent(a, before->news.modseq, path, before->parent);
}

static void note_mailbox(struct store_account *a, struct mailbox *m,
                         const struct mailbox_record *now, uint64_t modseq)
{
    const struct store_mailbox *old = &m->published.m;
    struct mailbox_news *n = &m->news;
    if (now->m.highest_modseq == old->highest_modseq) /* nothing that clients see */
        return;
    if (now->state != m->published.state || now->m.uidvalidity != old->uidvalidity ||
        now->m.uidnext != old->uidnext || now->m.exists != old->exists)
        n->counts_at = modseq;
    if (now->m.unseen != old->unseen)
        n->unseen_at = modseq;
    n->before = n->at;
    n->at = modseq;
    if (n->link.next)
        list_remove(&n->link);
    list_add_head(&a->news.recent, &n->link);
}

void news_begin(struct store_account *a, const struct change *c)
{
    if (a->news.n_watching)
        note_old_names(a, c);
    for (size_t i = 0; i < c->n_touched; i++)
        note_mailbox(a, c->touched[i].mailbox, &c->touched[i].record, c->modseq);
}

void news_end(struct store_account *a, const struct change *c)
{
    LIST_EACH_SAFE (&a->news.pending, it) {
        struct named *before = CONTAINER(it, struct named, link);
        note_new_name(a, before);
        list_remove(it);
        free(before);
    }
    if (!a->news.n_watching || str_is_null(c->subscription))
        return;
    struct named *it = make_name(c->modseq, c->subscription, (struct str){0});
    it->news.is_subscription = true;
    it->news.is_subscribed = c->is_subscribed;
    describe(a, it, path_find_published(a, c->subscription));
    keep_name(a, it);
}

void news_reload(struct store_account *a, struct mailbox *m, const struct mailbox_record *now,
                 uint64_t modseq)
{
    if (a->state != ACCOUNT_READY)
        return; /* nobody has seen anything else yet */
    note_mailbox(a, m, now, modseq);
    if (a->news.floor < modseq)
        forget_names(&a->news, modseq);
}

void news_forget(struct store_account *a)
{
    forget_names(&a->news, 0);
}

/* --- reading ---------------------------------------------------------------------------------- */

static uint64_t now(const struct store_account *a)
{
    return a->published.hot.next_modseq - 1;
}

uint64_t store_news_now(struct store_account *a)
{
    pthread_mutex_lock(&a->mutex);
    uint64_t modseq = now(a);
    pthread_mutex_unlock(&a->mutex);
    return modseq;
}

static enum rc put_mailbox(struct store_account *a, const struct mailbox *m, uint64_t since,
                           struct arena *arena, struct store_news *out)
{
    char mem[PATH_BYTES];
    const struct mailbox_news *n = &m->news;
    *out = (struct store_news){.modseq = n->at,
                               .is_alone = n->before <= since,
                               .has_counts = n->counts_at > since,
                               .has_unseen = n->unseen_at > since,
                               .mailbox = m->published.m};
    out->path = arena_dup(arena, put_path(a, m, mem, sizeof mem));
    out->mailbox.name = out->path;
    return out->path.p ? RC_OK : RC_LIMIT;
}

static const struct mailbox *mailbox_at(struct list *it)
{
    return CONTAINER(it, struct mailbox, news.link);
}

/* The oldest one that is news, or the list's end; and how many to tell at once: all of one moment
 * together. */
static struct list *find_news(struct store_account *a, uint64_t at, size_t *out_n)
{
    struct list *end = &a->news.recent, *it = end;
    size_t n = 0;
    while (it->next != end && mailbox_at(it->next)->news.at > at) {
        it = it->next;
        n++;
    }
    struct list *last = it;
    for (*out_n = 0; *out_n < n && *out_n < MAILBOXES_AT_ONCE; ++*out_n)
        last = last->prev;
    for (; *out_n && *out_n < n && mailbox_at(last)->news.at == mailbox_at(last->next)->news.at;
         ++*out_n)
        last = last->prev;
    return it;
}

/* *out_n: how many were looked at, then told. */
static enum rc put_mailboxes(struct store_account *a, uint64_t since, uint64_t *at,
                             struct arena *arena, struct store_news **out, size_t *out_n)
{
    size_t n, told = 0;
    struct list *it = find_news(a, *at, &n);
    *out_n = 0;
    *out = arena_alloc(arena, n * sizeof **out + 1);
    if (!*out)
        return RC_LIMIT;
    for (; n; n--, it = it->prev) {
        const struct mailbox *m = mailbox_at(it);
        *at = m->news.at;
        if (m->published.state == MAILBOX_OPEN)
            TRY(put_mailbox(a, m, since, arena, &(*out)[told++]));
    }
    if (it == &a->news.recent)
        *at = now(a);
    *out_n = told;
    return RC_OK;
}

enum rc store_news(struct store_account *a, uint64_t since, uint64_t *at, struct arena *arena,
                   struct store_news **out, size_t *out_n)
{
    enum rc rc = RC_OK;
    *out_n = 0;
    pthread_mutex_lock(&a->mutex);
    while (rc == RC_OK && !*out_n && *at < now(a)) /* removed ones are no news */
        rc = put_mailboxes(a, since, at, arena, out, out_n);
    pthread_mutex_unlock(&a->mutex);
    return rc;
}

/* --- names ------------------------------------------------------------------------------------ */

void store_names_watch(struct store_account *a)
{
    pthread_mutex_lock(&a->mutex);
    if (!a->news.n_watching++)
        a->news.floor = now(a);
    pthread_mutex_unlock(&a->mutex);
}

void store_names_unwatch(struct store_account *a)
{
    pthread_mutex_lock(&a->mutex);
    if (!--a->news.n_watching)
        forget_names(&a->news, now(a));
    pthread_mutex_unlock(&a->mutex);
}

static const struct store_name_news *name_at(struct list *it)
{
    return &CONTAINER(it, struct named, link)->news;
}

static enum rc put_name(const struct store_name_news *from, struct arena *arena,
                        struct store_name_news *out)
{
    *out = *from;
    out->path = arena_dup(arena, from->path);
    if (from->old.p)
        out->old = arena_dup(arena, from->old);
    return out->path.p && (!from->old.p || out->old.p) ? RC_OK : RC_LIMIT;
}

static enum rc put_names(struct store_account *a, uint64_t *at, struct arena *arena,
                         struct store_name_news **out, size_t *out_n)
{
    struct list *end = &a->news.names, *first = end, *it;
    size_t n = 0;
    while (first->prev != end && name_at(first->prev)->modseq > *at)
        first = first->prev;
    for (it = first;
         it != end && (n < NAMES_AT_ONCE || name_at(it)->modseq == name_at(it->prev)->modseq);
         it = it->next)
        n++;
    *out = arena_alloc(arena, n * sizeof **out + 1);
    if (!*out)
        return RC_LIMIT;
    for (it = first; *out_n < n; it = it->next) {
        *at = name_at(it)->modseq;
        TRY(put_name(name_at(it), arena, &(*out)[(*out_n)++]));
    }
    if (it == end)
        *at = now(a);
    return RC_OK;
}

enum rc store_names_news(struct store_account *a, uint64_t *at, struct arena *arena,
                         struct store_name_news **out, size_t *out_n)
{
    *out_n = 0;
    pthread_mutex_lock(&a->mutex);
    enum rc rc = RC_OK;
    if (*at < a->news.floor)
        rc = RC_NOTFOUND;
    else if (*at < now(a))
        rc = put_names(a, at, arena, out, out_n);
    pthread_mutex_unlock(&a->mutex);
    return rc;
}
