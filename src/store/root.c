/* Roots: the rows of one mailbox at one modseq, as a tree of three levels that roots share.
 *
 * A table names nodes, a node up to 64 chunks, a chunk up to 256 rows. All are reference counted
 * by what is above them. Rows below a root's own count never change; so:
 *
 *   1. Whoever holds a root reads only below the numbers in that root (count, n_nodes,
 *      last_chunks), never the `used` of what is shared.
 *   2. Only the account's writer makes roots from roots, under the account's lock. It may write
 *      behind `used` of a table, node or chunk when the root that it goes on from ends right
 *      there, and raises `used`; everything else is copied first. So two heads that went on from
 *      one root (after a failed commit) never write to one place.
 *   3. A new root is handed over under a lock, which makes its rows visible to who takes it.
 *
 * An append therefore costs one small allocation, and a changed row copies one chunk, one node and
 * the table: 1,000,000 rows have 62 nodes. */
#include "store/root_int.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

/* --- chunks and nodes ------------------------------------------------------------------------- */

struct chunk *chunk_new(size_t size)
{
    struct chunk *c = mem_alloc(sizeof *c + size * sizeof c->rows[0]);
    atomic_init(&c->refs, 1);
    c->used = 0;
    c->size = (uint32_t)size;
    c->origin = (struct origin){0};
    atomic_init(&c->newest, 0);
    return c;
}

struct node *node_new(size_t size)
{
    struct node *n = mem_alloc(sizeof *n + size * sizeof n->children[0]);
    atomic_init(&n->refs, 1);
    n->used = 0;
    n->size = (uint32_t)size;
    n->origin = (struct origin){0};
    atomic_init(&n->newest, 0);
    return n;
}

uint64_t root_newest(const _Atomic uint64_t *newest)
{
    return atomic_load_explicit((_Atomic uint64_t *)(uintptr_t)newest, memory_order_relaxed);
}

/* Only the writer raises it where others look; for them both values are true. */
void root_note_newest(_Atomic uint64_t *newest, uint64_t modseq)
{
    if (modseq > root_newest(newest))
        atomic_store_explicit(newest, modseq, memory_order_relaxed);
}

static bool unref(_Atomic uint32_t *refs)
{
    return atomic_fetch_sub_explicit(refs, 1, memory_order_acq_rel) == 1;
}

void root_share(_Atomic uint32_t *refs)
{
    atomic_fetch_add_explicit(refs, 1, memory_order_relaxed);
}

/* `used` is the writer's, but whoever drops the last reference is the only one left. */
static void chunk_unref(struct chunk *c)
{
    if (unref(&c->refs))
        free(c);
}

static void node_unref(struct node *n)
{
    if (!unref(&n->refs))
        return;
    for (size_t i = 0; i < n->used; i++)
        chunk_unref(n->children[i].p);
    free(n);
}

static void table_unref(struct node *t)
{
    if (!t || !unref(&t->refs))
        return;
    for (size_t i = 0; i < t->used; i++)
        node_unref(t->children[i].p);
    free(t);
}

/* --- looking ---------------------------------------------------------------------------------- */

/* The last of the n children that begins at or before this index; there is one. */
static size_t child_at(const struct child *children, size_t n, uint32_t index)
{
    size_t from = 0;
    while (n > 1) {
        size_t half = n / 2;
        if (children[from + half].start <= index) {
            from += half;
            n -= half;
        } else {
            n = half;
        }
    }
    return from;
}

/* The same for a UID; the first one when all begin later. */
static size_t child_of_uid(const struct child *children, size_t n, uint32_t uid)
{
    size_t from = 0;
    while (n > 1) {
        size_t half = n / 2;
        if (children[from + half].first_uid <= uid) {
            from += half;
            n -= half;
        } else {
            n = half;
        }
    }
    return from;
}

static size_t chunks_of(const struct store_root *r, size_t node)
{
    return node + 1 == r->n_nodes ? r->last_chunks : r->table->children[node].n;
}

/* One beyond the last row of this node, and of this chunk in it. */
static uint32_t node_end(const struct store_root *r, size_t node)
{
    return node + 1 == r->n_nodes ? r->count : r->table->children[node + 1].start;
}

static uint32_t chunk_count(const struct store_root *r, size_t node, size_t chunk)
{
    const struct child *c = ((const struct node *)r->table->children[node].p)->children;
    if (chunk + 1 < chunks_of(r, node))
        return c[chunk + 1].start - c[chunk].start;
    return node_end(r, node) - r->table->children[node].start - c[chunk].start;
}

struct span root_span(const struct store_root *r, size_t index)
{
    if (index >= r->count)
        return (struct span){0};
    size_t at = child_at(r->table->children, r->n_nodes, (uint32_t)index);
    struct node *node = r->table->children[at].p;
    uint32_t rest = (uint32_t)index - r->table->children[at].start;
    /* Comparing roots goes from node to node, most of which lie cold: a search would touch more. */
    size_t in = rest ? child_at(node->children, chunks_of(r, at), rest) : 0;
    struct chunk *chunk = node->children[in].p;
    uint32_t offset = rest - node->children[in].start;
    struct span span = {.rows = &chunk->rows[offset],
                        .n = chunk_count(r, at, in) - offset,
                        .chunk = offset ? NULL : chunk};
    if (offset == 0) {
        span.siblings = &node->children[in];
        span.n_siblings = (uint32_t)(chunks_of(r, at) - in);
    }
    if (rest == 0) {
        span.node = node;
        span.node_rows = node_end(r, at) - r->table->children[at].start;
        span.node_chunks = (uint32_t)chunks_of(r, at);
    }
    return span;
}

const struct store_row *store_root_at(const struct store_root *r, size_t index)
{
    if (index >= r->count)
        return NULL;
    size_t at = child_at(r->table->children, r->n_nodes, (uint32_t)index);
    const struct node *node = r->table->children[at].p;
    uint32_t rest = (uint32_t)index - r->table->children[at].start;
    size_t in = child_at(node->children, chunks_of(r, at), rest);
    const struct chunk *chunk = node->children[in].p;
    return &chunk->rows[rest - node->children[in].start];
}

const struct store_row *store_root_rows(const struct store_root *r, size_t index, size_t *out_n)
{
    *out_n = 0;
    if (index >= r->count)
        return NULL;
    struct span span = root_span(r, index);
    *out_n = span.n;
    return span.rows;
}

static size_t rows_find(const struct store_row *rows, size_t n, uint32_t uid)
{
    size_t from = 0, to = n;
    while (from < to) {
        size_t half = from + (to - from) / 2;
        if (rows[half].uid < uid)
            from = half + 1;
        else
            to = half;
    }
    return from;
}

size_t store_root_find(const struct store_root *r, uint32_t uid)
{
    if (r->count == 0)
        return 0;
    size_t at = child_of_uid(r->table->children, r->n_nodes, uid);
    const struct node *node = r->table->children[at].p;
    size_t in = child_of_uid(node->children, chunks_of(r, at), uid);
    const struct chunk *chunk = node->children[in].p;
    return r->table->children[at].start + node->children[in].start +
           rows_find(chunk->rows, chunk_count(r, at, in), uid);
}

/* The same for the rows of one chunk. */
static uint32_t changed_in_chunk(const struct chunk *chunk, uint32_t from, uint32_t to,
                                 uint64_t modseq, size_t *looked)
{
    uint32_t i = from;
    if (root_newest(&chunk->newest) <= modseq)
        return to;
    while (i < to && chunk->rows[i].modseq <= modseq)
        i++;
    if (looked)
        *looked += i - from + (i < to);
    return i;
}

size_t store_root_changed(const struct store_root *r, size_t index, size_t to, uint64_t modseq,
                          size_t *looked)
{
    size_t at, in, most = to < r->count ? to : r->count;
    while (index < most) {
        at = child_at(r->table->children, r->n_nodes, (uint32_t)index);
        const struct node *node = r->table->children[at].p;
        uint32_t first = r->table->children[at].start, end = node_end(r, at);
        if (root_newest(&node->newest) <= modseq) {
            index = end;
            continue;
        }
        in = child_at(node->children, chunks_of(r, at), (uint32_t)index - first);
        for (; index < end && index < most; in++) {
            const struct child *c = &node->children[in];
            uint32_t n = chunk_count(r, at, in), from = (uint32_t)index - first - c->start;
            uint32_t i = changed_in_chunk(c->p, from, n, modseq, looked);
            index += i - from;
            if (i < n)
                return index < most ? index : to;
        }
    }
    return to;
}

const struct store_row *root_row(const struct store_root *r, uint32_t uid)
{
    const struct store_row *row = store_root_at(r, store_root_find(r, uid));
    return row && row->uid == uid ? row : NULL;
}

const struct store_mailbox *store_root_mailbox(const struct store_root *root)
{
    return &root->info;
}

size_t store_root_count(const struct store_root *root)
{
    return root->count;
}

bool store_root_has_all_since(const struct store_root *root, uint64_t modseq)
{
    return modseq >= root->gone;
}

size_t store_root_unended(const struct store_root *root)
{
    return root->n_unended;
}

size_t root_bytes(const struct store_root *r)
{
    return sizeof *r + r->info.name.n +
           r->count * (sizeof(struct store_row) + sizeof(struct child) / CHUNK_ROWS);
}

/* --- appending -------------------------------------------------------------------------------- */

/* A copy of the first n children with room for one more (up to max); takes a reference on each. */
static struct node *node_copy(const struct node *old, size_t n, size_t room, bool is_table)
{
    struct node *copy = node_new(room);
    if (n)
        memcpy(copy->children, old->children, n * sizeof old->children[0]);
    copy->used = (uint32_t)n;
    if (!is_table) { /* the same rows */
        copy->origin = old->origin;
        root_note_newest(&copy->newest, root_newest(&old->newest));
    }
    for (size_t i = 0; i < n; i++)
        root_share(is_table ? &((struct node *)old->children[i].p)->refs
                            : &((struct chunk *)old->children[i].p)->refs);
    return copy;
}

/* Makes r->table one to whose end a child can be added. */
static void table_make_room(struct store_root *r)
{
    struct node *t = r->table;
    if (t && t->used == r->n_nodes && t->used < t->size)
        return;
    struct node *copy = node_copy(t, r->n_nodes, r->n_nodes < 4 ? 4 : r->n_nodes * 2, true);
    table_unref(t);
    r->table = copy;
}

/* Makes r->table the root's own, so that a child of it can be exchanged. */
static void table_make_own(struct store_root *r)
{
    struct node *copy = node_copy(r->table, r->n_nodes, r->table->size, true);
    table_unref(r->table);
    r->table = copy;
}

static void append_node(struct store_root *r, uint32_t uid)
{
    table_make_room(r);
    if (r->n_nodes)
        r->table->children[r->n_nodes - 1].n = r->last_chunks;
    struct node *node = node_new(NODE_CHUNKS);
    node->origin.made = r->info.highest_modseq;
    r->table->children[r->table->used++] =
        (struct child){.p = node, .start = r->count, .first_uid = uid};
    r->n_nodes++;
    r->last_chunks = 0;
}

/* The last node, with room behind its last chunk; a new one when the last is full. */
static struct node *node_with_room(struct store_root *r, uint32_t uid)
{
    if (r->n_nodes == 0 || r->last_chunks == NODE_CHUNKS)
        append_node(r, uid);
    struct child *last = &r->table->children[r->n_nodes - 1];
    struct node *node = last->p;
    if (node->used == r->last_chunks)
        return node;
    struct node *copy = node_copy(node, r->last_chunks, NODE_CHUNKS, false);
    table_make_own(r);
    node_unref(node);
    r->table->children[r->n_nodes - 1].p = copy;
    return copy;
}

/* Exchanges the last chunk for a copy of its n rows with more room. */
static struct chunk *chunk_grow(struct store_root *r, struct chunk *old, size_t n)
{
    size_t size = n < CHUNK_FIRST ? CHUNK_FIRST : n * 4 < CHUNK_ROWS ? n * 4 : CHUNK_ROWS;
    struct chunk *copy = chunk_new(size);
    memcpy(copy->rows, old->rows, n * sizeof old->rows[0]);
    copy->used = (uint32_t)n;
    copy->origin = old->origin; /* the same rows */
    root_note_newest(&copy->newest, root_newest(&old->newest));
    struct node *old_node = r->table->children[r->n_nodes - 1].p;
    struct node *node = node_copy(old_node, r->last_chunks, NODE_CHUNKS, false);
    table_make_own(r);
    node_unref(old_node);
    r->table->children[r->n_nodes - 1].p = node;
    chunk_unref(old);
    node->children[r->last_chunks - 1].p = copy;
    return copy;
}

static void append_row(struct store_root *r, const struct store_row *row)
{
    r->n_unended += (row->flags & STORE_UNENDED) != 0;
    if (r->n_nodes) {
        struct node *node = r->table->children[r->n_nodes - 1].p;
        struct chunk *chunk = node->children[r->last_chunks - 1].p;
        uint32_t n = chunk_count(r, r->n_nodes - 1, r->last_chunks - 1);
        if (n < CHUNK_ROWS) {
            if (chunk->used != n || chunk->used == chunk->size) {
                chunk = chunk_grow(r, chunk, n);
                node = r->table->children[r->n_nodes - 1].p;
            }
            chunk->rows[chunk->used++] = *row;
            root_note_newest(&chunk->newest, row->modseq);
            root_note_newest(&node->newest, row->modseq);
            r->count++;
            return;
        }
    }
    struct node *node = node_with_room(r, row->uid);
    struct chunk *chunk = chunk_new(r->n_nodes > 1 || r->last_chunks ? CHUNK_ROWS : CHUNK_FIRST);
    chunk->rows[chunk->used++] = *row;
    chunk->origin.made = r->info.highest_modseq;
    root_note_newest(&chunk->newest, row->modseq);
    root_note_newest(&node->newest, row->modseq);
    node->children[node->used++] =
        (struct child){.p = chunk,
                       .start = r->count - r->table->children[r->n_nodes - 1].start,
                       .first_uid = row->uid};
    r->last_chunks++;
    r->count++;
}

/* --- changing --------------------------------------------------------------------------------- */

static void note_change(struct origin *origin, uint32_t at)
{
    if (origin->changed_to == 0)
        origin->changed_from = at;
    origin->changed_to = at + 1;
}

/* Copies the chunk with its share of the deltas, of the change with this modseq; NULL when no row
 * is left. */
static struct chunk *chunk_change(const struct chunk *old, size_t n, const struct row_delta *deltas,
                                  size_t n_deltas, uint64_t modseq)
{
    struct chunk *copy = chunk_new(CHUNK_ROWS);
    copy->origin.made = modseq;
    copy->origin.came_from = old->origin.made;
    for (size_t i = 0; i < n; i++) {
        while (n_deltas && deltas->row.uid < old->rows[i].uid) {
            deltas++;
            n_deltas--;
        }
        bool is_hit = n_deltas && deltas->row.uid == old->rows[i].uid;
        if (is_hit && deltas->is_gone) {
            copy->origin.came_from = 0; /* the rows behind it have moved */
            continue;
        }
        if (is_hit)
            note_change(&copy->origin, copy->used);
        copy->rows[copy->used++] = is_hit ? deltas->row : old->rows[i];
        root_note_newest(&copy->newest, copy->rows[copy->used - 1].modseq);
    }
    if (copy->used)
        return copy;
    free(copy);
    return NULL;
}

static size_t deltas_below(const struct row_delta *deltas, size_t n, uint64_t uid)
{
    size_t k = 0;
    while (k < n && deltas[k].row.uid < uid)
        k++;
    return k;
}

static void node_add(struct node *node, struct chunk *chunk, uint32_t n, uint32_t *count)
{
    node->children[node->used++] =
        (struct child){.p = chunk, .start = *count, .first_uid = chunk->rows[0].uid};
    root_note_newest(&node->newest, root_newest(&chunk->newest));
    *count += n;
}

/* A copy of node `at` of r with the deltas, all below the next node's first UID; NULL when
 * nothing is left. */
static struct node *node_change(const struct store_root *r, size_t at,
                                const struct row_delta *deltas, size_t n_deltas, uint32_t *out_n)
{
    const struct node *old = r->table->children[at].p;
    struct node *copy = node_new(NODE_CHUNKS);
    size_t n = chunks_of(r, at);
    copy->origin.made = r->info.highest_modseq;
    copy->origin.came_from = old->origin.made;
    *out_n = 0;
    for (size_t i = 0; i < n; i++) {
        size_t mine =
            i + 1 < n ? deltas_below(deltas, n_deltas, old->children[i + 1].first_uid) : n_deltas;
        struct chunk *chunk = old->children[i].p;
        uint32_t rows = chunk_count(r, at, i);
        if (mine == 0) {
            root_share(&chunk->refs);
            node_add(copy, chunk, rows, out_n);
        } else if ((chunk = chunk_change(chunk, rows, deltas, mine, r->info.highest_modseq)) !=
                   NULL) {
            node_add(copy, chunk, chunk->used, out_n);
        }
        deltas += mine;
        n_deltas -= mine;
    }
    if (copy->used)
        return copy;
    free(copy);
    return NULL;
}

/* Exchanges r->table for one with the deltas to rows that are there. */
static void change_rows(struct store_root *r, const struct row_delta *deltas, size_t n_deltas)
{
    struct node *old = r->table, *table = node_new(old->size);
    uint32_t count = 0, last_chunks = 0;
    for (size_t i = 0; i < r->n_nodes; i++) {
        size_t mine = n_deltas;
        if (i + 1 < r->n_nodes)
            mine = deltas_below(deltas, n_deltas, old->children[i + 1].first_uid);
        struct node *node = old->children[i].p;
        uint32_t rows = node_end(r, i) - old->children[i].start;
        size_t chunks = chunks_of(r, i);
        if (mine == 0)
            root_share(&node->refs);
        else if ((node = node_change(r, i, deltas, mine, &rows)) != NULL)
            chunks = node->used;
        deltas += mine;
        n_deltas -= mine;
        if (!node)
            continue;
        struct chunk *first = node->children[0].p;
        table->children[table->used++] = (struct child){
            .p = node, .start = count, .first_uid = first->rows[0].uid, .n = (uint32_t)chunks};
        count += rows;
        last_chunks = (uint32_t)chunks;
    }
    r->table = table;
    r->n_nodes = table->used;
    r->count = count;
    r->last_chunks = last_chunks;
    table_unref(old);
}

/* --- roots ------------------------------------------------------------------------------------ */

struct store_root *root_alloc(const struct store_mailbox *info, uint64_t since,
                              uint32_t first_unseen)
{
    struct store_root *r = mem_alloc(sizeof *r + info->name.n + 1);
    memset(r, 0, sizeof *r);
    atomic_init(&r->refs, 1);
    atomic_init(&r->first_unseen, first_unseen);
    r->since = since;
    r->gone = info->highest_modseq; /* nothing is known of what was before */
    r->info = *info;
    if (info->name.n)
        memcpy(r->name, info->name.p, info->name.n);
    r->info.name.p = r->name;
    return r;
}

/* What the old root has learned, or the mailbox's hint, whichever says more. */
static uint32_t hint_after(const struct store_root *old, const struct store_mailbox *info,
                           const struct row_delta *deltas, size_t n)
{
    uint32_t hint = atomic_load_explicit(&old->first_unseen, memory_order_relaxed);
    if (hint < info->first_unseen)
        hint = info->first_unseen;
    for (size_t i = 0; i < n; i++)
        if (!deltas[i].is_gone && !(deltas[i].row.flags & STORE_SEEN) && deltas[i].row.uid < hint)
            hint = deltas[i].row.uid;
    return hint;
}

void root_add(struct store_root *r, const struct store_row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++)
        append_row(r, &rows[i]);
}

struct store_root *root_new(const struct store_mailbox *info, const struct store_row *rows,
                            size_t n)
{
    struct store_root *r = root_alloc(info, info->highest_modseq, info->first_unseen);
    root_add(r, rows, n);
    return r;
}

/* How many of the rows that go are marked; only looked up where there are any. */
static uint32_t unended_gone(const struct store_root *r, const struct row_delta *deltas, size_t n)
{
    uint32_t found = 0;
    for (size_t i = 0; i < n && r->n_unended; i++) {
        const struct store_row *row = deltas[i].is_gone ? root_row(r, deltas[i].row.uid) : NULL;
        found += row && row->flags & STORE_UNENDED;
    }
    return found;
}

/* What went before a root was read is not known; while it is read it has no modseq. */
static uint64_t gone_after(const struct store_root *old, const struct store_mailbox *info,
                           const struct row_delta *deltas, size_t n)
{
    bool is_any = old->info.highest_modseq == 0;
    for (size_t i = 0; i < n && !is_any; i++)
        is_any = deltas[i].is_gone;
    return is_any ? info->highest_modseq : old->gone;
}

struct store_root *root_apply(struct store_root *old, const struct store_mailbox *info,
                              const struct row_delta *deltas, size_t n)
{
    struct store_root *r = root_alloc(info, info->highest_modseq, hint_after(old, info, deltas, n));
    r->count = old->count;
    r->n_nodes = old->n_nodes;
    r->last_chunks = old->last_chunks;
    r->n_unended = old->n_unended - unended_gone(old, deltas, n);
    r->table = old->table;
    if (r->table)
        root_share(&r->table->refs);
    r->gone = gone_after(old, info, deltas, n);
    uint64_t end = r->count ? (uint64_t)store_root_at(r, r->count - 1)->uid + 1 : 0;
    size_t there = deltas_below(deltas, n, end);
    if (there)
        change_rows(r, deltas, there);
    for (size_t i = there; i < n; i++)
        if (!deltas[i].is_gone)
            append_row(r, &deltas[i].row);
    return r;
}

struct store_root *root_ref(struct store_root *root)
{
    if (root)
        root_share(&root->refs);
    return root;
}

void store_root_release(struct store_root **root)
{
    struct store_root *r = *root;
    *root = NULL;
    if (!r || !unref(&r->refs))
        return;
    table_unref(r->table);
    free(r);
}
