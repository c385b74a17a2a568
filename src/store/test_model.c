/* Random changes against a simple model: what the mailboxes are must be what the model says, at
 * every look, after every reopening, packed or not; and fsck must agree. Some commits fail. */
#include "store/fixture.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    UIDS = 4000,
    STEPS = 2400,
    BOXES = 16,
    MESSAGES = 20000,
    COPIES = 20, /* times one message is copied */
    OTHERS = 5,  /* mailboxes of each account that stay as they are */
    SHARED = ROW_FLAGS & ~STORE_DELETED
};

struct message {
    uint32_t flags; /* all its places have them */
    uint64_t keywords, email;
    unsigned n_copied;
    char text[16];
};

struct place_row {
    bool is_there, is_deleted;
    uint16_t message;
};

struct box {
    bool is_there, is_placeholder;
    uint32_t id, uidvalidity, uidnext;
    char path[128];
    struct place_row rows[UIDS];
};

struct world {
    struct fixture *f;
    struct store_account *a;
    struct box boxes[BOXES]; /* the first one is INBOX */
    struct message messages[MESSAGES];
    uint32_t n_messages;
    bool subscribed[16];
    uint64_t seed;
    uint32_t last_uidvalidity;
    struct store_root *seen; /* INBOX as a session knows it, by differences alone */
    uint32_t known[UIDS];    /* flags + 1; 0: gone */
};

static const struct str keywords[3] = {{"alpha", 5}, {"beta", 4}, {"gamma", 5}};
static const char *const paths[] = {"a", "a/x", "a/y", "a/x/p", "a/x/q", "b", "b/x", "INBOX/x"};
enum { PATHS = sizeof paths / sizeof paths[0] };

static uint32_t pick(struct world *w, uint32_t n)
{
    w->seed = w->seed * 6364136223846793005U + 1442695040888963407U;
    return (uint32_t)(w->seed >> 33) % n;
}

/* Whether the next commit shall fail, which it does then. */
static bool shall_fail(struct world *w)
{
    if (!w->f->backend->is_mem || pick(w, 40))
        return false;
    kv_mem_fail(w->f->kv, RC_FULL);
    return true;
}

/* --- the tree --------------------------------------------------------------------------------- */

static struct box *find_box(struct world *w, const char *path)
{
    for (int i = 0; i < BOXES; i++)
        if (w->boxes[i].is_there && strcmp(w->boxes[i].path, path) == 0)
            return &w->boxes[i];
    return NULL;
}

static bool is_below(const char *path, const char *top)
{
    size_t n = strlen(top);
    return strncmp(path, top, n) == 0 && path[n] == '/';
}

static bool has_below(struct world *w, const char *path)
{
    for (int i = 0; i < BOXES; i++)
        if (w->boxes[i].is_there && is_below(w->boxes[i].path, path))
            return true;
    return false;
}

static unsigned free_boxes(struct world *w)
{
    unsigned n = 0;
    for (int i = 0; i < BOXES; i++)
        n += !w->boxes[i].is_there;
    return n;
}

static struct box *add_box(struct world *w, const char *path, bool is_placeholder)
{
    struct box *b = w->boxes;
    while (b->is_there)
        b++;
    memset(b, 0, sizeof *b);
    b->is_there = true;
    b->is_placeholder = is_placeholder;
    b->uidnext = 1;
    snprintf(b->path, sizeof b->path, "%s", path);
    return b;
}

/* What the store has made must be told from what was before. */
static void learn(struct world *w, struct box *b)
{
    b->id = fixture_find(w->a, b->path);
    uint32_t uidvalidity = fixture_mailbox(w->a, b->id).uidvalidity;
    assert_true(uidvalidity > w->last_uidvalidity || b->is_placeholder);
    if (uidvalidity > w->last_uidvalidity)
        w->last_uidvalidity = uidvalidity;
    b->uidvalidity = uidvalidity;
}

static void add_parents(struct world *w, const char *path)
{
    char parent[128];
    snprintf(parent, sizeof parent, "%s", path);
    for (char *slash = strchr(parent, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        if (!find_box(w, parent))
            learn(w, add_box(w, parent, true));
        *slash = '/';
    }
}

static void drop_placeholders(struct world *w)
{
    for (int i = 0; i < BOXES; i++) {
        struct box *b = &w->boxes[i];
        if (!b->is_there || !b->is_placeholder || has_below(w, b->path))
            continue;
        b->is_there = false;
        i = -1; /* its parent may be one too */
    }
}

static void do_create(struct world *w)
{
    const char *path = paths[pick(w, PATHS)];
    struct box *b = find_box(w, path);
    if (free_boxes(w) < 5)
        return;
    if (b && !b->is_placeholder) {
        assert_rc(fixture_create(w->a, path, STORE_NONE, NULL), RC_EXISTS);
        return;
    }
    bool fails = shall_fail(w);
    assert_rc(fixture_create(w->a, path, STORE_NONE, NULL), fails ? RC_FULL : RC_OK);
    if (fails)
        return;
    add_parents(w, path);
    if (!b)
        b = add_box(w, path, false);
    b->is_placeholder = false;
    learn(w, b);
}

static struct box *pick_box(struct world *w)
{
    struct box *b;
    do
        b = &w->boxes[pick(w, BOXES)];
    while (!b->is_there);
    return b;
}

static struct box *pick_mailbox(struct world *w)
{
    struct box *b;
    do
        b = pick_box(w);
    while (b->is_placeholder);
    return b;
}

static void do_rename(struct world *w)
{
    struct box *b = pick_box(w);
    const char *to = paths[pick(w, PATHS)];
    char from[128], below[128];
    enum rc expected = b == w->boxes           ? RC_PERM
                       : find_box(w, to)       ? RC_EXISTS
                       : is_below(to, b->path) ? RC_PERM
                                               : RC_OK;
    if (free_boxes(w) < 5 || strlen(b->path) > 60)
        return;
    bool fails = expected == RC_OK && shall_fail(w);
    assert_rc(fixture_rename(w->a, b->id, to), fails ? RC_FULL : expected);
    if (fails || expected != RC_OK)
        return;
    memcpy(from, b->path, sizeof from);
    for (int i = 0; i < BOXES; i++) {
        struct box *other = &w->boxes[i];
        if (!other->is_there || !is_below(other->path, from))
            continue;
        snprintf(below, sizeof below, "%.60s%.60s", to, other->path + strlen(from));
        memcpy(other->path, below, sizeof below);
    }
    snprintf(b->path, sizeof b->path, "%s", to);
    add_parents(w, to);
    drop_placeholders(w);
}

static void do_remove(struct world *w)
{
    struct box *b = pick_box(w);
    enum rc expected = b == w->boxes || b->is_placeholder ? RC_PERM : RC_OK;
    bool fails = expected == RC_OK && shall_fail(w);
    assert_rc(fixture_remove(w->a, b->id), fails ? RC_FULL : expected);
    if (fails || expected != RC_OK)
        return;
    memset(b->rows, 0, sizeof b->rows);
    b->is_placeholder = true;
    drop_placeholders(w);
}

static void do_subscribe(struct world *w)
{
    uint32_t i = pick(w, PATHS);
    bool is_on = pick(w, 2);
    struct waiter waiter;
    waiter_init(&waiter);
    assert_rc(waiter_wait(&waiter, store_subscribe(w->a, str_of(paths[i]), is_on, 0, &waiter.op)),
              RC_OK);
    assert_int_equal(waiter.op.modseq != 0, w->subscribed[i] != is_on);
    w->subscribed[i] = is_on;
}

/* --- messages --------------------------------------------------------------------------------- */

static void make_append(struct world *w, struct box *b, struct message *m, struct store_append *how)
{
    size_t n = 1 + pick(w, sizeof m->text - 1), k = pick(w, 4);
    for (size_t i = 0; i < n; i++)
        m->text[i] = (char)('a' + pick(w, 26));
    m->text[n] = 0;
    m->n_copied = 0;
    m->flags = pick(w, 32);
    m->keywords = (1u << k) - 1;
    *how = (struct store_append){.mailbox = b->id,
                                 .flags = m->flags,
                                 .keywords = keywords,
                                 .n_keywords = k,
                                 .blob = fixture_blob(w->f, w->a, str_of(m->text)),
                                 .size = n,
                                 .received = clock_wall(w->f->ctx.clock)};
}

static void add_row(struct world *w, struct box *b, uint32_t message, bool is_deleted)
{
    b->rows[b->uidnext++] = (struct place_row){true, is_deleted, (uint16_t)message};
}

/* One or several in one change. */
static void do_append(struct world *w)
{
    enum { MOST = 8 };
    struct box *b = pick(w, 2) ? w->boxes : pick_mailbox(w); /* one that grows */
    struct store_append how[MOST];
    uint32_t n = 1 + pick(w, MOST);
    struct waiter waiter;
    if (b->uidnext + n > UIDS || w->n_messages + n > MESSAGES)
        return;
    for (uint32_t i = 0; i < n; i++)
        make_append(w, b, &w->messages[w->n_messages + i], &how[i]);
    bool fails = shall_fail(w);
    waiter_init(&waiter);
    assert_rc(waiter_wait(&waiter, store_append_many(w->a, how, n, 0, &waiter.op)),
              fails ? RC_FULL : RC_OK);
    for (uint32_t i = 0; i < n; i++)
        fixture_forget(w->f, how[i].blob);
    if (fails)
        return;
    assert_int_equal(waiter.op.uid, b->uidnext);
    assert_int_equal(waiter.op.uidvalidity, b->uidvalidity);
    for (uint32_t i = 0; i < n; i++) {
        struct message *m = &w->messages[w->n_messages];
        m->email = waiter.op.email + i;
        add_row(w, b, w->n_messages++, m->flags & STORE_DELETED);
        m->flags &= SHARED;
    }
}

/* Some UIDs, there or not, ascending. */
static size_t pick_uids(struct world *w, const struct box *b, uint32_t *uids)
{
    size_t n = 0;
    uint32_t every = 1 + pick(w, 60);
    for (uint32_t uid = 1; uid <= b->uidnext && uid < UIDS && n < STORE_BATCH; uid++)
        if (pick(w, every) == 0)
            uids[n++] = uid;
    return n;
}

static void change(const struct store_flag_change *c, uint64_t bits, uint32_t *flags,
                   uint64_t *words)
{
    switch (c->how) {
    case STORE_FLAGS_SET:
        *flags = c->flags;
        *words = bits;
        break;
    case STORE_FLAGS_ADD:
        *flags |= c->flags;
        *words |= bits;
        break;
    case STORE_FLAGS_REMOVE:
        *flags &= ~c->flags;
        *words &= ~bits;
        break;
    }
}

static void do_flags(struct world *w)
{
    static bool has_changed[MESSAGES];
    struct box *b = pick_mailbox(w);
    uint32_t uids[STORE_BATCH], changed = 0;
    struct store_flag_change c = {.mailbox = b->id,
                                  .uids = uids,
                                  .n_uids = pick_uids(w, b, uids),
                                  .how = (enum store_flag_how)pick(w, 3),
                                  .flags = pick(w, 32),
                                  .keywords = keywords,
                                  .n_keywords = pick(w, 4),
                                  .unchanged_since = UINT64_MAX};
    struct store_op op;
    memset(has_changed, 0, sizeof has_changed);
    for (size_t i = 0; i < c.n_uids; i++) {
        struct place_row *row = &b->rows[uids[i]];
        struct message *m = &w->messages[row->message];
        if (!row->is_there)
            continue;
        uint32_t before = m->flags | (row->is_deleted ? STORE_DELETED : 0), flags = before;
        uint64_t words = m->keywords;
        change(&c, (1u << c.n_keywords) - 1, &flags, &m->keywords);
        has_changed[row->message] |= ((flags ^ before) & SHARED) || words != m->keywords;
        m->flags = flags & SHARED;
        changed += has_changed[row->message] || row->is_deleted != ((flags & STORE_DELETED) != 0);
        row->is_deleted = flags & STORE_DELETED;
    }
    assert_rc(fixture_flags(w->a, &c, &op), RC_OK);
    assert_int_equal(op.changed, changed);
}

static void do_expunge(struct world *w)
{
    struct box *b = pick_mailbox(w);
    uint32_t uids[STORE_BATCH], gone = 0;
    struct store_op op;
    size_t n = pick_uids(w, b, uids) / 8;
    for (size_t i = 0; i < n; i++) {
        gone += b->rows[uids[i]].is_there;
        b->rows[uids[i]].is_there = false;
    }
    assert_rc(fixture_expunge(w->a, b->id, uids, n, &op), RC_OK);
    assert_int_equal(op.changed, gone);
}

static void do_copy(struct world *w)
{
    struct box *from = pick_mailbox(w), *to = pick_mailbox(w);
    uint32_t uids[STORE_BATCH], out[STORE_BATCH], n = 0, found = 0;
    struct store_copy copy = {.from = from->id, .to = to->id, .uids = uids, .out_uids = out};
    struct store_op op;
    size_t n_picked = pick_uids(w, from, uids) / 4;
    copy.is_move = pick(w, 2);
    for (size_t i = 0; i < n_picked; i++) {
        const struct place_row *row = &from->rows[uids[i]];
        if (copy.is_move || !row->is_there || w->messages[row->message].n_copied++ < COPIES)
            uids[n++] = uids[i];
    }
    copy.n_uids = n;
    if (to->uidnext + n > UIDS)
        return;
    for (uint32_t i = 0; i < n; i++)
        found += from->rows[uids[i]].is_there;
    bool fails = found && shall_fail(w);
    assert_rc(fixture_copy(w->a, &copy, &op), fails ? RC_FULL : RC_OK);
    if (fails)
        return;
    assert_int_equal(op.changed, found);
    assert_int_equal(op.uid, to->uidnext);
    for (uint32_t i = 0, k = 0; i < n; i++) {
        struct place_row row = from->rows[uids[i]];
        if (!row.is_there)
            continue;
        assert_int_equal(out[k++], uids[i]);
        if (copy.is_move)
            from->rows[uids[i]].is_there = false;
        add_row(w, to, row.message, row.is_deleted);
    }
}

/* --- looking ---------------------------------------------------------------------------------- */

/* What a session knows that was only ever told of differences. */
static void follow(struct world *w, struct store_root *root)
{
    struct store_diff d;
    enum store_diff_kind kind;
    const struct store_row *row;
    size_t i, j;
    if (!w->seen) {
        memset(w->known, 0, sizeof w->known);
        for (i = 0; i < store_root_count(root); i++)
            w->known[store_root_at(root, i)->uid] = store_root_at(root, i)->flags % 32 + 1;
    } else {
        store_diff_begin(&d, w->seen, root);
        while ((kind = store_diff_next(&d, &i, &j, &row)) != STORE_DIFF_END)
            w->known[row->uid] = kind == STORE_DIFF_GONE ? 0 : row->flags % 32 + 1;
    }
    store_root_release(&w->seen);
    w->seen = root_ref(root);
    for (uint32_t uid = 1; uid < w->boxes[0].uidnext; uid++) {
        const struct place_row *r = &w->boxes[0].rows[uid];
        uint32_t flags = w->messages[r->message].flags | (r->is_deleted ? STORE_DELETED : 0);
        assert_int_equal(w->known[uid], r->is_there ? flags + 1 : 0);
    }
}

static void look_at_rows(struct world *w, const struct box *b, const struct store_root *root)
{
    size_t at = 0, unseen = 0, first = SIZE_MAX;
    uint64_t bytes = 0;
    for (uint32_t uid = 1; uid < b->uidnext; uid++) {
        const struct place_row *r = &b->rows[uid];
        const struct message *m = &w->messages[r->message];
        if (!r->is_there)
            continue;
        const struct store_row *row = store_root_at(root, at);
        assert_non_null(row);
        assert_int_equal(row->uid, uid);
        assert_int_equal(row->flags & ROW_FLAGS, m->flags | (r->is_deleted ? STORE_DELETED : 0));
        assert_int_equal(row->keywords, m->keywords);
        assert_int_equal(row->email, m->email);
        assert_int_equal(row->size, strlen(m->text));
        bytes += row->size;
        unseen += !(row->flags & STORE_SEEN);
        if (!(row->flags & STORE_SEEN) && first == SIZE_MAX)
            first = at;
        if (pick(w, 50) == 0)
            fixture_assert_body(w->a, row->email, str_of(m->text));
        at++;
    }
    const struct store_mailbox *info = store_root_mailbox(root);
    assert_int_equal(store_root_count(root), at);
    assert_int_equal(store_root_first_unseen(root), first == SIZE_MAX ? at : first);
    assert_int_equal(info->exists, at);
    assert_int_equal(info->unseen, unseen);
    assert_int_equal(info->bytes, bytes);
    assert_int_equal(info->uidnext, b->uidnext);
}

static void look_at_box(struct world *w, struct box *b)
{
    struct store_root *root;
    struct store_mailbox info = fixture_mailbox(w->a, b->id);
    assert_int_equal(fixture_find(w->a, b->path), b->id);
    assert_int_equal(info.is_placeholder, b->is_placeholder);
    if (b->is_placeholder) {
        assert_rc(store_mailbox_open(w->a, b->id, 0, &root), RC_NOTFOUND);
        return;
    }
    assert_int_equal(info.uidvalidity, b->uidvalidity);
    assert_rc(store_mailbox_open(w->a, b->id, 0, &root), RC_OK);
    look_at_rows(w, b, root);
    if (b == w->boxes)
        follow(w, root);
    store_root_release(&root);
}

static void look_at_account(struct world *w)
{
    struct arena arena;
    struct store_mailbox *list;
    struct store_usage usage;
    struct str *names;
    size_t n, n_boxes = 0, n_names = 0;
    uint64_t messages = 0, bytes = 0;
    arena_init(&arena, 0);
    assert_rc(store_mailbox_list(w->a, &arena, &list, &n), RC_OK);
    for (int i = 0; i < BOXES; i++) {
        const struct box *b = &w->boxes[i];
        n_boxes += b->is_there;
        for (uint32_t uid = 1; b->is_there && uid < b->uidnext; uid++) {
            messages += b->rows[uid].is_there;
            bytes += b->rows[uid].is_there ? strlen(w->messages[b->rows[uid].message].text) : 0;
        }
    }
    assert_int_equal(n, n_boxes + OTHERS);
    store_account_usage(w->a, &usage);
    assert_int_equal(usage.messages, messages);
    assert_int_equal(usage.bytes, bytes);
    assert_rc(store_subscriptions(w->a, 0, &arena, &names, &n), RC_OK);
    for (size_t i = 0; i < PATHS; i++)
        n_names += w->subscribed[i];
    assert_int_equal(n, n_names + 6); /* an account's own */
    for (size_t i = 1; i < n; i++)
        assert_true(str_cmp(names[i - 1], names[i]) < 0);
    arena_fini(&arena);
}

static void look_at_all(struct world *w)
{
    for (int i = 0; i < BOXES; i++)
        if (w->boxes[i].is_there)
            look_at_box(w, &w->boxes[i]);
    look_at_account(w);
}

/* --- steps ------------------------------------------------------------------------------------ */

static void close_account(struct world *w)
{
    store_root_release(&w->seen);
    fixture_close(w->f, &w->a);
}

static void step(struct world *w)
{
    static const struct {
        uint32_t below;
        void (*run)(struct world *w);
    } table[] = {{40, do_append}, {55, do_flags},  {61, do_expunge}, {70, do_copy},
                 {75, do_create}, {79, do_rename}, {82, do_remove},  {85, do_subscribe}};
    uint32_t what = pick(w, 100);
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (what < table[i].below) {
            table[i].run(w);
            return;
        }
    if (what < 91)
        look_at_box(w, pick_box(w));
    else if (what < 94)
        fixture_maintain(w->a);
    else if (what < 95) {
        bool more; /* one step, so that what is under way is met by other changes */
        assert_rc(store_maintain(w->a, &more), RC_OK);
    } else if (what < 96)
        w->f->clock.wall += 86400 * NS_PER_SEC;
    else {
        close_account(w);
        if (what >= 98)
            fixture_reopen(w->f);
        w->a = fixture_open(w->f, 1);
    }
}

static void changes_are_what_the_model_says(void **state)
{
    struct fixture *f = *state;
    struct world *w = mem_zero(sizeof *w);
    w->f = f;
    w->seed = 4711;
    w->a = fixture_account(f, 1);
    learn(w, add_box(w, "INBOX", false));
    w->last_uidvalidity += OTHERS;
    int steps = f->backend->is_mem ? STEPS : STEPS / 8;
    for (int i = 0; i < steps; i++) {
        step(w);
        if (i % 100 == 99) {
            fixture_assert_sound(f, 1);
            look_at_all(w);
        }
    }
    close_account(w);
    fixture_assert_sound(f, 1);
    free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {ON_BOTH(changes_are_what_the_model_says)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
