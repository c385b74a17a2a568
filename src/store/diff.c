/* Comparing roots of one mailbox.
 *
 * Roots that came from one another share nodes and chunks, and rows in what they share are the
 * same, so nothing there is looked at: what a session pays to come up to date depends on what has
 * changed and hardly on the size of the mailbox. That also holds for roots that were made here,
 * which point to the chunks of others and never write to them. */
#include "store/root_int.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

/* --- differences ------------------------------------------------------------------------------ */

void store_diff_begin(struct store_diff *d, const struct store_root *old,
                      const struct store_root *new_)
{
    *d = (struct store_diff){.old = old, .new_ = new_};
    if (old->table && old->table == new_->table)
        d->i = d->j = old->count < new_->count ? old->count : new_->count;
}

static void pass(struct store_diff *d, size_t n_old, size_t n_new)
{
    d->i += n_old;
    d->old_rows = n_old ? d->old_rows + n_old : d->old_rows; /* there may be none at all */
    d->old_left -= n_old;
    d->j += n_new;
    d->new_rows = n_new ? d->new_rows + n_new : d->new_rows;
    d->new_left -= n_new;
}

/* Rows of the chunks from here on that both nodes have side by side, but for the last of a node,
 * whose end is not written there. */
static uint32_t shared_siblings(const struct span *o, const struct span *n)
{
    const struct child *a = o->siblings, *b = n->siblings;
    uint32_t most = o->n_siblings < n->n_siblings ? o->n_siblings : n->n_siblings, i = 0;
    while (i + 1 < most && a[i].p == b[i].p &&
           a[i + 1].start - a[i].start == b[i + 1].start - b[i].start)
        i++;
    return i ? a[i].start - a[0].start : 0;
}

static bool came_from(const struct origin *new_, const struct origin *old)
{
    return old->made && (new_->came_from == old->made || new_->made == old->made);
}

/* Whether the one was copied from the other with some rows changed, and none taken away. */
static bool is_kin(const struct span *o, const struct span *n)
{
    return o->chunk && n->chunk && came_from(&n->chunk->origin, &o->chunk->origin) &&
           o->rows[0].uid == n->rows[0].uid;
}

/* Of nodes of which one came from the other: what comes before the chunks that have changed is
 * passed over, *out_rows; what comes after them is noted. False: they are no such nodes. */
static bool pass_kin_node(struct store_diff *d, const struct span *o, const struct span *n,
                          size_t *out_rows)
{
    if (!o->node || !n->node || !came_from(&n->node->origin, &o->node->origin) ||
        o->rows[0].uid != n->rows[0].uid)
        return false;
    bool is_same = n->node->origin.made == o->node->origin.made;
    uint32_t rows = o->node_rows < n->node_rows ? o->node_rows : n->node_rows;
    uint32_t from = is_same ? UINT32_MAX : n->node->origin.changed_from,
             to = is_same ? UINT32_MAX : n->node->origin.changed_to;
    uint32_t most = o->node_chunks < n->node_chunks ? o->node_chunks : n->node_chunks;
    uint32_t begin = from < most ? n->node->children[from].start : rows,
             end = to < most ? n->node->children[to].start : rows;
    d->same_i = d->i + end;
    d->same_j = d->j + end;
    d->same = rows - end;
    *out_rows = begin;
    return begin > 0;
}

/* Brings the next rows of both into view, and passes over what is the same: the same memory, or
 * known to be. */
static void pass_shared(struct store_diff *d)
{
    d->kin = NULL;
    for (;;) {
        struct span o = {0}, n = {0};
        bool is_between = d->old_left == 0 && d->new_left == 0;
        if (is_between && d->same && d->same_i == d->i && d->same_j == d->j) {
            size_t rows = d->same;
            d->same = 0;
            d->old_left = d->new_left = rows;
            pass(d, rows, rows);
        }
        if (d->old_left == 0) {
            o = root_span(d->old, d->i);
            d->old_rows = o.rows;
            d->old_left = o.n;
        }
        if (d->new_left == 0) {
            n = root_span(d->new_, d->j);
            d->new_rows = n.rows;
            d->new_left = n.n;
        }
        if (d->old_left == 0)
            return;
        size_t rows = d->old_left < d->new_left ? d->old_left : d->new_left, more;
        if (o.node && o.node == n.node) {
            rows = o.node_rows < n.node_rows ? o.node_rows : n.node_rows;
            d->old_left = d->new_left = rows; /* gone at once: both are looked for again */
        } else if (pass_kin_node(d, &o, &n, &more)) {
            rows = more;
            d->old_left = d->new_left = rows;
        } else if (d->old_rows != d->new_rows) {
            d->kin = is_kin(&o, &n) ? n.chunk : NULL;
            return;
        } else if (o.siblings && n.siblings && (more = shared_siblings(&o, &n)) != 0) {
            rows = more;
            d->old_left = d->new_left = rows;
        }
        pass(d, rows, rows);
    }
}

static bool differs(const struct store_row *a, const struct store_row *b)
{
    return a->modseq != b->modseq || a->keywords != b->keywords ||
           ((a->flags ^ b->flags) & ROW_FLAGS);
}

/* How many of the next `most` rows are known to be the same. *most becomes the number of those that
 * have to be looked at after them. */
static size_t known_same(const struct store_diff *d, size_t *most)
{
    size_t all = *most;
    if (!d->kin)
        return 0;
    const struct origin *origin = &d->kin->origin;
    size_t at = (size_t)(d->new_rows - d->kin->rows);
    if (at >= origin->changed_to)
        return all;
    if (all > origin->changed_to - at)
        *most = origin->changed_to - at;
    if (at >= origin->changed_from)
        return 0;
    return origin->changed_from - at < all ? origin->changed_from - at : all;
}

/* Passes over rows that both have and that are the same: nearly all there are in a chunk of which
 * one has changed. */
static bool pass_same(struct store_diff *d)
{
    const struct store_row *o = d->old_rows, *n = d->new_rows;
    size_t most = d->old_left < d->new_left ? d->old_left : d->new_left;
    size_t known = known_same(d, &most), i = known;
    while (i < most && o[i].uid == n[i].uid && !differs(&o[i], &n[i]))
        i++;
    if (i > known)
        d->looked += i - known;
    pass(d, i, i);
    return i > 0;
}

enum store_diff_kind store_diff_next(struct store_diff *d, size_t *out_old, size_t *out_new,
                                     const struct store_row **out_row)
{
    for (;;) {
        if (d->old_left == 0 || d->new_left == 0)
            pass_shared(d);
        if (d->old_left == 0 && d->new_left == 0)
            return STORE_DIFF_END;
        if (pass_same(d))
            continue;
        const struct store_row *o = d->old_rows, *n = d->new_rows;
        *out_old = d->i;
        *out_new = d->j;
        d->looked++;
        if (d->new_left == 0 || (d->old_left && o->uid < n->uid)) {
            pass(d, 1, 0);
            *out_row = o;
            return STORE_DIFF_GONE;
        }
        *out_row = n;
        if (d->old_left == 0 || n->uid < o->uid) {
            pass(d, 0, 1);
            return STORE_DIFF_NEW;
        }
        pass(d, 1, 1);
        return STORE_DIFF_CHANGED;
    }
}

uint64_t root_since(const struct store_root *root)
{
    return root->since;
}

/* --- the first unseen ------------------------------------------------------------------------- */

size_t store_root_first_unseen(const struct store_root *r)
{
    size_t index = store_root_find(r, atomic_load_explicit(&r->first_unseen, memory_order_relaxed));
    uint32_t known = 0;
    for (struct span s; (s = root_span(r, index)).n;) {
        uint32_t i = 0;
        while (i < s.n && s.rows[i].flags & STORE_SEEN)
            i++;
        index += i;
        known = i < s.n ? s.rows[i].uid : s.rows[i - 1].uid + 1;
        if (i < s.n)
            break;
    }
    /* What was learned is no part of the state that the root is: whoever comes first may say it. */
    if (known)
        atomic_store_explicit((_Atomic uint32_t *)(uintptr_t)&r->first_unseen, known,
                              memory_order_relaxed);
    return index;
}

/* --- keeping what is gone --------------------------------------------------------------------- */

struct building {
    struct store_root *root;
    struct node *node;   /* the last one, when chunks may be added to it */
    struct chunk *chunk; /* the last one, when rows may be added to it */
};

static void add_node(struct building *b, struct node *node, uint32_t rows, uint32_t chunks,
                     uint32_t first_uid)
{
    struct store_root *r = b->root;
    if (!r->table || r->table->used == r->table->size) {
        size_t size = r->table ? r->table->size * (size_t)2 : 4;
        struct node *table = node_new(size);
        if (r->table)
            memcpy(table->children, r->table->children, r->table->used * sizeof table->children[0]);
        table->used = r->table ? r->table->used : 0;
        free(r->table);
        r->table = table;
    }
    if (r->n_nodes)
        r->table->children[r->n_nodes - 1].n = r->last_chunks;
    r->table->children[r->table->used++] =
        (struct child){.p = node, .start = r->count, .first_uid = first_uid};
    r->n_nodes++;
    r->last_chunks = chunks;
    r->count += rows;
}

static void add_chunk(struct building *b, struct chunk *chunk, uint32_t rows, uint32_t first_uid)
{
    struct store_root *r = b->root;
    if (!b->node || b->node->used == NODE_CHUNKS) {
        b->node = node_new(NODE_CHUNKS);
        add_node(b, b->node, 0, 0, first_uid);
    }
    b->node->children[b->node->used++] =
        (struct child){.p = chunk,
                       .start = r->count - r->table->children[r->n_nodes - 1].start,
                       .first_uid = first_uid};
    root_note_newest(&b->node->newest, root_newest(&chunk->newest));
    r->last_chunks++;
    r->count += rows;
}

static void add_row(struct building *b, const struct store_row *row)
{
    if (!b->chunk || b->chunk->used == CHUNK_ROWS) {
        b->chunk = chunk_new(CHUNK_ROWS);
        add_chunk(b, b->chunk, 0, row->uid);
    }
    b->chunk->rows[b->chunk->used++] = *row;
    root_note_newest(&b->chunk->newest, row->modseq);
    root_note_newest(&b->node->newest, row->modseq);
    b->root->count++;
}

static uint32_t share_chunk(struct building *b, const struct span *s, uint32_t n)
{
    root_share(&s->chunk->refs);
    add_chunk(b, s->chunk, n, s->rows[0].uid);
    b->chunk = NULL;
    return n;
}

/* Whether a whole chunk comes before whatever is next in the other root. */
static bool is_before(const struct span *a, const struct span *b)
{
    return a->chunk && (b->n == 0 || a->rows[a->n - 1].uid < b->rows[0].uid);
}

/* Row by row to the end of one of the two, as long as both have rows; a row that both have is the
 * new one's. */
static void merge(struct building *b, const struct span *o, const struct span *n, size_t *i,
                  size_t *j)
{
    uint32_t x = 0, y = 0;
    while ((x < o->n || o->n == 0) && (y < n->n || n->n == 0) && (o->n || n->n)) {
        bool has_old = o->n && (n->n == 0 || o->rows[x].uid <= n->rows[y].uid);
        bool has_new = n->n && (o->n == 0 || n->rows[y].uid <= o->rows[x].uid);
        add_row(b, has_new ? &n->rows[y] : &o->rows[x]);
        x += has_old;
        y += has_new;
    }
    *i += x;
    *j += y;
}

/* How many rows of the old root the new one has not. UIDs only ever ascend, so all that the new one
 * has up to the last of the old ones are rows of both, and counting them needs no comparison. */
static size_t count_gone(const struct store_root *old, const struct store_root *new_)
{
    const struct store_row *last = old->count ? store_root_at(old, old->count - 1) : NULL;
    if (!last)
        return 0;
    return old->count -
           (last->uid == UINT32_MAX ? new_->count : store_root_find(new_, last->uid + 1));
}

static uint32_t count_unended_gone(const struct store_root *old, const struct store_root *new_)
{
    uint32_t found = 0;
    struct store_diff d;
    enum store_diff_kind kind;
    size_t i, j;
    const struct store_row *row;
    store_diff_begin(&d, old, new_);
    while ((kind = store_diff_next(&d, &i, &j, &row)) != STORE_DIFF_END)
        found += kind == STORE_DIFF_GONE && row->flags & STORE_UNENDED;
    return found;
}

struct store_root *store_root_keep(const struct store_root *old, struct store_root *new_)
{
    if (count_gone(old, new_) == 0)
        return root_ref(new_);
    uint32_t o_hint = atomic_load_explicit(&old->first_unseen, memory_order_relaxed),
             n_hint = atomic_load_explicit(&new_->first_unseen, memory_order_relaxed);
    struct building b = {
        .root = root_alloc(&new_->info, old->since, o_hint < n_hint ? o_hint : n_hint)};
    b.root->n_unended = new_->n_unended;
    if (old->n_unended)
        b.root->n_unended += count_unended_gone(old, new_);
    size_t i = 0, j = 0;
    while (i < old->count || j < new_->count) {
        struct span o = root_span(old, i), n = root_span(new_, j);
        uint32_t rows = 0;
        if (o.node && o.node == n.node && o.node_rows == n.node_rows) {
            root_share(&o.node->refs);
            add_node(&b, o.node, o.node_rows, o.node_chunks, o.rows[0].uid);
            rows = o.node_rows;
            b.node = NULL;
            b.chunk = NULL;
            i += rows;
            j += rows;
        } else if (o.chunk && o.chunk == n.chunk) {
            rows = share_chunk(&b, &o, o.n < n.n ? o.n : n.n);
            i += rows;
            j += rows;
        } else if (is_before(&o, &n)) {
            i += share_chunk(&b, &o, o.n);
        } else if (is_before(&n, &o)) {
            j += share_chunk(&b, &n, n.n);
        } else {
            merge(&b, &o, &n, &i, &j);
        }
    }
    return b.root;
}
