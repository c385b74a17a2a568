/* The tree of mailboxes: finding by name, making, renaming, removing.
 *
 * Invariants:
 *   1. A mailbox names its parent by id and itself by one level, so a tree moves with one record.
 *      Within one parent no two mailboxes or placeholders have the same name, in either view.
 *   2. Whatever is a parent is there: as a mailbox or, when nobody made one, as a placeholder. A
 *      placeholder has children.
 *   3. A UIDVALIDITY is never given twice in an account, so that a name whose mailbox was removed
 *      and made again, or that another one was renamed to, does not bring back old UIDs.
 *      [RFC3501 2.3.1.1] [RFC9051 2.3.1.1]
 *   4. What is removed is out of sight, out of the quota and out of the roots in one commit that
 *      writes its record and no row; its rows are below removed_below then, and purge.c's. */
#include "store/store_int.h"

#include "base/utf8.h"

#include <string.h>

/* --- names ------------------------------------------------------------------------------------ */

static enum rc level_check(struct str level)
{
    if (level.n == 0 || level.n > STORE_NAME_MAX || !utf8_is_valid(level))
        return RC_SYNTAX;
    for (size_t i = 0; i < level.n; i++) {
        unsigned char c = (unsigned char)level.p[i];
        bool is_c1 = c == 0xc2 && i + 1 < level.n && (unsigned char)level.p[i + 1] < 0xa0;
        if (c < 0x20 || c == 0x7f || c == '/' || is_c1)
            return RC_SYNTAX;
    }
    return RC_OK;
}

enum rc path_check(struct store_path path)
{
    if (path.n == 0 || path.n > STORE_LEVELS)
        return RC_SYNTAX;
    for (size_t i = 0; i < path.n; i++)
        TRY(level_check(path.levels[i]));
    return RC_OK;
}

static const struct mailbox_record *in_view(const struct mailbox *m, bool is_head)
{
    return is_head ? &m->head : &m->published;
}

/* An account has few mailboxes, so they are looked through. */
static struct mailbox *find_child(struct store_account *a, uint32_t parent, struct str name,
                                  bool is_head)
{
    for (size_t i = 0; i < a->n_mailboxes; i++) {
        const struct mailbox_record *r = in_view(a->mailboxes[i], is_head);
        if (r->m.parent == parent && r->state <= MAILBOX_PLACEHOLDER && str_eq(r->m.name, name))
            return a->mailboxes[i];
    }
    return NULL;
}

/* INBOX in any case of its letters is the one name INBOX [RFC3501 5.1] [RFC9051 5.1]. */
static struct str level_name(struct store_path path, size_t i)
{
    return i == 0 && str_ieq(path.levels[0], STR("INBOX")) ? STR("INBOX") : path.levels[i];
}

/* How far the path is there, and what the last level of that is; NULL: nothing. */
static size_t walk(struct store_account *a, struct store_path path, bool is_head,
                   struct mailbox **out)
{
    struct mailbox *m = NULL;
    size_t i = 0;
    for (; i < path.n; i++) {
        struct mailbox *child = find_child(a, m ? m->id : 0, level_name(path, i), is_head);
        if (!child)
            break;
        m = child;
    }
    *out = m;
    return i;
}

struct mailbox *path_find_head(struct store_account *a, struct store_path path)
{
    struct mailbox *m;
    return walk(a, path, true, &m) == path.n ? m : NULL;
}

struct mailbox *path_find_published(struct store_account *a, struct str name)
{
    struct mailbox *m = NULL;
    struct str level;
    while (str_cut(&name, '/', &level))
        if (!(m = find_child(a, m ? m->id : 0, level, false)))
            return NULL;
    return m;
}

enum rc store_mailbox_find(struct store_account *a, struct store_path path, uint32_t *out_id)
{
    struct mailbox *m;
    *out_id = 0;
    pthread_mutex_lock(&a->mutex);
    if (path.n && walk(a, path, false, &m) == path.n)
        *out_id = m->id;
    pthread_mutex_unlock(&a->mutex);
    return *out_id ? RC_OK : RC_NOTFOUND;
}

bool place_is_alive(struct store_account *a, struct place place)
{
    const struct mailbox *m = account_mailbox(a, place.mailbox);
    return m && place.uid >= m->head.removed_below;
}

/* --- making ----------------------------------------------------------------------------------- */

struct treeing {
    struct attempt attempt;
    struct store_op *op;
    struct store_path path;
    enum store_role role;
    uint32_t id; /* of the mailbox that is there already */
};

static size_t count_mailboxes(const struct store_account *a)
{
    size_t n = 0;
    for (size_t i = 0; i < a->n_mailboxes; i++)
        n += a->mailboxes[i]->head.state <= MAILBOX_PLACEHOLDER;
    return n;
}

/* Seconds, as clients expect it to grow [RFC9051 2.3.1.1], but above all that were given. Release
 * 0.1.0 did not note the highest, and made mailboxes only together with their account. */
static uint32_t next_uidvalidity(struct change *c)
{
    const struct store_account *a = c->account;
    uint32_t *last = &c->after.hot.last_uidvalidity, now = (uint32_t)(c->time / NS_PER_SEC);
    for (size_t i = 0; *last == 0 && i < a->n_mailboxes; i++)
        if (*last < a->mailboxes[i]->head.m.uidvalidity)
            *last = a->mailboxes[i]->head.m.uidvalidity;
    *last = *last < now ? now : *last + 1;
    return *last;
}

/* Makes a mailbox or placeholder that was not there at all; gives its id. */
static uint32_t put_new(struct change *c, uint32_t parent, struct str name,
                        enum mailbox_state state)
{
    struct store_account *a = c->account;
    struct mailbox *m = mailbox_make(a, c->after.hot.next_mailbox++);
    struct touched *t = change_touch(c, m);
    t->record = (struct mailbox_record){.generation = kv_generation(a->store->kv),
                                        .packed = 1,
                                        .state = state,
                                        .m = {.id = m->id,
                                              .parent = parent,
                                              .name = mailbox_name(m, name),
                                              .uidnext = 1,
                                              .first_unseen = 1,
                                              .highest_modseq = c->modseq,
                                              .is_placeholder = state == MAILBOX_PLACEHOLDER}};
    t->record.m.uidvalidity = next_uidvalidity(c);
    change_note(c, CHANGE_MAILBOX, CHANGE_CREATED, m->id);
    a->needs_reaping = true; /* should this fail */
    return m->id;
}

/* Makes what is missing of the path's first n levels placeholders; gives the last one's id. */
static uint32_t put_parents(struct change *c, struct store_path path, size_t n)
{
    struct mailbox *m;
    struct store_path parents = {path.levels, n};
    size_t have = walk(c->account, parents, true, &m);
    uint32_t id = m ? m->id : 0;
    for (size_t i = have; i < n; i++)
        id = put_new(c, id, level_name(path, i), MAILBOX_PLACEHOLDER);
    return id;
}

/* A placeholder becomes a mailbox; rows that it may still have are not its own. */
static void revive(struct change *c, struct mailbox *m)
{
    struct touched *t = change_touch(c, m);
    t->record.state = MAILBOX_OPEN;
    t->record.m.is_placeholder = false;
    t->record.m.uidvalidity = next_uidvalidity(c);
    change_note(c, CHANGE_MAILBOX, CHANGE_UPDATED, m->id);
}

static enum rc run_create(struct attempt *attempt)
{
    struct treeing *p = CONTAINER(attempt, struct treeing, attempt);
    struct store_account *a = attempt->account;
    struct mailbox *m;
    size_t have = walk(a, p->path, true, &m);
    bool is_there = have == p->path.n;
    if (is_there && m->head.state == MAILBOX_OPEN)
        return RC_EXISTS;
    if (count_mailboxes(a) + (p->path.n - have) > STORE_MAILBOXES)
        return RC_LIMIT;
    if (p->role != STORE_NONE && account_role(a, p->role))
        return RC_CONFLICT;
    struct change *c = change_new(a, p->op);
    uint32_t id = is_there ? m->id : put_parents(c, p->path, p->path.n - 1);
    if (is_there)
        revive(c, m);
    else
        id = put_new(c, id, level_name(p->path, p->path.n - 1), MAILBOX_OPEN);
    struct touched *t = change_touch(c, mailbox_any(a, id));
    t->record.m.role = p->role;
    p->op->mailbox = id;
    p->op->uidvalidity = t->record.m.uidvalidity;
    p->op->changed = 0;
    return change_commit(c);
}

enum rc store_mailbox_create(struct store_account *a, struct store_path path, enum store_role role,
                             unsigned flags, struct store_op *op)
{
    struct treeing p = {.attempt = {.run = run_create, .account = a, .flags = flags},
                        .op = op,
                        .path = path,
                        .role = role};
    TRY(path_check(path));
    if (role == STORE_INBOX || (unsigned)role >= STORE_ROLES)
        return RC_PERM;
    return attempt_run(&p.attempt);
}

/* --- renaming --------------------------------------------------------------------------------- */

/* The record as this change leaves it. */
static const struct mailbox_record *record_now(const struct change *c, const struct mailbox *m)
{
    for (size_t i = 0; i < c->n_touched; i++)
        if (c->touched[i].mailbox == m)
            return &c->touched[i].record;
    return &m->head;
}

static bool has_child(const struct change *c, uint32_t id)
{
    const struct store_account *a = c->account;
    for (size_t i = 0; i < a->n_mailboxes; i++) {
        const struct mailbox_record *r = record_now(c, a->mailboxes[i]);
        if (r->m.parent == id && r->state <= MAILBOX_PLACEHOLDER)
            return true;
    }
    return false;
}

/* What it held is nobody's from now on. */
static struct touched *empty(struct change *c, struct mailbox *m)
{
    struct touched *t = change_touch(c, m);
    struct mailbox_record *r = &t->record;
    bool has_rows = r->recent > 0 || r->packed > 1;
    c->after.hot.bytes -= r->m.bytes;
    c->after.hot.messages -= r->m.exists;
    r->m.role = STORE_NONE;
    r->m.exists = r->m.unseen = 0;
    r->m.bytes = 0;
    r->m.first_unseen = r->m.uidnext;
    if (has_rows)
        r->removed_below = r->m.uidnext;
    t->is_emptied = true;
    return t;
}

static void take_away(struct change *c, struct mailbox *m)
{
    struct mailbox_record *r = &empty(c, m)->record;
    r->state = r->removed_below ? MAILBOX_REMOVED : MAILBOX_NONE;
    r->m.is_placeholder = false;
    change_note(c, CHANGE_MAILBOX, CHANGE_DESTROYED, m->id);
    c->account->needs_reaping = true;
}

/* Placeholders go with their last child: this one, and its parents as far as that holds. */
static void drop_placeholders(struct change *c, uint32_t id)
{
    while (id) {
        struct mailbox *m = mailbox_any(c->account, id);
        const struct mailbox_record *r = m ? record_now(c, m) : NULL;
        if (!r || r->state != MAILBOX_PLACEHOLDER || has_child(c, id))
            return;
        id = r->m.parent;
        take_away(c, m);
    }
}

/* Levels from `top` down to this one; 0: it is not below it. */
static size_t levels_below(struct store_account *a, const struct mailbox *m,
                           const struct mailbox *top)
{
    for (size_t n = 0; m && n <= STORE_LEVELS; n++) {
        if (m == top)
            return n + 1;
        m = mailbox_any(a, m->head.m.parent);
    }
    return 0;
}

static size_t depth_of(struct store_account *a, const struct mailbox *top)
{
    size_t depth = 1;
    for (size_t i = 0; i < a->n_mailboxes; i++) {
        const struct mailbox *m = a->mailboxes[i];
        size_t n = m->head.state <= MAILBOX_PLACEHOLDER ? levels_below(a, m, top) : 0;
        if (depth < n)
            depth = n;
    }
    return depth;
}

static enum rc check_rename(struct treeing *p, struct mailbox *m)
{
    struct store_account *a = p->attempt.account;
    struct mailbox *last;
    size_t have = walk(a, p->path, true, &last);
    if (!m || m->head.state > MAILBOX_PLACEHOLDER)
        return RC_NOTFOUND;
    if (m->head.m.role == STORE_INBOX)
        return RC_PERM;
    if (have == p->path.n)
        return RC_EXISTS;
    if (last && levels_below(a, last, m))
        return RC_PERM;
    if (p->path.n - 1 + depth_of(a, m) > STORE_LEVELS)
        return RC_LIMIT;
    return count_mailboxes(a) + p->path.n - 1 - have > STORE_MAILBOXES ? RC_LIMIT : RC_OK;
}

/* Release 0.1.0 gave the mailboxes of a new account one UIDVALIDITY, so that another name would
 * not tell them from each other. */
static bool has_uidvalidity_of_inbox(struct store_account *a, const struct mailbox *m)
{
    const struct mailbox *inbox = account_role(a, STORE_INBOX);
    return inbox && inbox->head.m.uidvalidity == m->head.m.uidvalidity;
}

static enum rc run_rename(struct attempt *attempt)
{
    struct treeing *p = CONTAINER(attempt, struct treeing, attempt);
    struct store_account *a = attempt->account;
    struct mailbox *m = mailbox_any(a, p->id);
    TRY(check_rename(p, m));
    struct change *c = change_new(a, p->op);
    uint32_t before = m->head.m.parent, parent = put_parents(c, p->path, p->path.n - 1);
    struct touched *t = change_touch(c, m);
    t->record.m.parent = parent;
    t->record.m.name = mailbox_name(m, level_name(p->path, p->path.n - 1));
    if (has_uidvalidity_of_inbox(a, m))
        t->record.m.uidvalidity = next_uidvalidity(c);
    change_note(c, CHANGE_MAILBOX, CHANGE_UPDATED, m->id);
    drop_placeholders(c, before);
    a->needs_reaping = true; /* the old name */
    p->op->mailbox = m->id;
    p->op->changed = 0;
    return change_commit(c);
}

enum rc store_mailbox_rename(struct store_account *a, uint32_t id, struct store_path to,
                             unsigned flags, struct store_op *op)
{
    struct treeing p = {.attempt = {.run = run_rename, .account = a, .flags = flags},
                        .op = op,
                        .path = to,
                        .id = id};
    TRY(path_check(to));
    return attempt_run(&p.attempt);
}

/* --- removing --------------------------------------------------------------------------------- */

static enum rc run_remove(struct attempt *attempt)
{
    struct treeing *p = CONTAINER(attempt, struct treeing, attempt);
    struct store_account *a = attempt->account;
    struct mailbox *m = mailbox_any(a, p->id);
    if (!m || m->head.state > MAILBOX_PLACEHOLDER)
        return RC_NOTFOUND;
    if (m->head.m.role == STORE_INBOX || m->head.state == MAILBOX_PLACEHOLDER)
        return RC_PERM;
    struct change *c = change_new(a, p->op);
    if (has_child(c, m->id)) {
        struct touched *t = empty(c, m);
        t->record.state = MAILBOX_PLACEHOLDER;
        t->record.m.is_placeholder = true;
        change_note(c, CHANGE_MAILBOX, CHANGE_UPDATED, m->id);
    } else {
        uint32_t parent = m->head.m.parent;
        take_away(c, m);
        drop_placeholders(c, parent);
    }
    p->op->mailbox = m->id;
    p->op->changed = 0;
    return change_commit(c);
}

enum rc store_mailbox_remove(struct store_account *a, uint32_t id, unsigned flags,
                             struct store_op *op)
{
    struct treeing p = {
        .attempt = {.run = run_remove, .account = a, .flags = flags}, .op = op, .id = id};
    return attempt_run(&p.attempt);
}
