/* Trees of messages for THREAD [RFC5256 3]. Pure.
 *
 * Nodes: the messages first, in the order of the mailbox; then the dummies. A node has a parent or
 * none; links are made one after the other as the RFC says, for later ones depend on earlier ones.
 * Whatever messages claim, the work is bounded: a link whose check for a loop is not over after
 * STEPS steps, of all links together, is not made. And so is the memory: of all that follows, what
 * a node needs is IMAP_THREAD_NODE, and for more dummies than the caller has room there is no
 * answer.
 */
#include "imap/sort_int.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

static const uint32_t none = UINT32_MAX;
enum { STEPS = 10 << 20 };

struct child {
    uint32_t node, parent; /* none: below the root */
    uint64_t date;
    uint32_t at; /* of the message that counts, for those of one date */
};

struct trees {
    enum imap_thread_kind kind;
    const struct imap_thread_row *rows;
    uint32_t n, n_nodes; /* messages; with the dummies */
    size_t size;         /* of the four that follow */
    uint32_t *parent, *n_children;
    uint64_t *ids;    /* 0: none, or another node has it */
    uint8_t *is_gone; /* dummies that are no more */
    uint32_t *slots;  /* nodes by their ids */
    size_t n_slots;
    size_t steps;
    struct imap_thread_room *room;
    bool is_over; /* there was none */
};

static bool is_dummy(const struct trees *t, uint32_t node)
{
    return node >= t->n;
}

static void set_size(struct trees *t, size_t size)
{
    t->parent = mem_grow(t->parent, size * sizeof *t->parent);
    t->n_children = mem_grow(t->n_children, size * sizeof *t->n_children);
    t->ids = mem_grow(t->ids, size * sizeof *t->ids);
    t->is_gone = mem_grow(t->is_gone, size);
    t->size = size;
}

/* `none`: there is no room. */
static uint32_t new_node(struct trees *t, uint64_t id)
{
    size_t more = t->size / 4 + 16;
    if (t->n_nodes == t->size) {
        t->is_over = t->is_over || !t->room->take(t->room, more * IMAP_THREAD_NODE);
        if (t->is_over)
            return none;
        set_size(t, t->size + more);
    }
    t->parent[t->n_nodes] = none;
    t->n_children[t->n_nodes] = 0;
    t->ids[t->n_nodes] = id;
    t->is_gone[t->n_nodes] = 0;
    return t->n_nodes++;
}

/* --- ids -------------------------------------------------------------------------------------- */

static uint64_t id_at(const struct imap_thread_row *row, size_t i)
{
    uint64_t id;
    memcpy(&id, row->ids + i * sizeof id, sizeof id);
    return id;
}

/* The slot of an id, whether or not it is there. */
static size_t slot_of(const struct trees *t, uint64_t id)
{
    size_t slot = (size_t)id & (t->n_slots - 1);
    while (t->slots[slot] != none && t->ids[t->slots[slot]] != id)
        slot = (slot + 1) & (t->n_slots - 1);
    return slot;
}

/* Slots for twice as many nodes as there can be now. */
static void make_slots(struct trees *t)
{
    for (t->n_slots = 16; t->n_slots < 2 * t->size;)
        t->n_slots *= 2;
    t->slots = mem_grow(t->slots, t->n_slots * sizeof *t->slots);
    memset(t->slots, 0xff, t->n_slots * sizeof *t->slots);
    for (uint32_t i = 0; i < t->n_nodes; i++) {
        size_t slot = t->ids[i] ? slot_of(t, t->ids[i]) : 0;
        if (t->ids[i] && t->slots[slot] == none)
            t->slots[slot] = i;
        else
            t->ids[i] = 0; /* of messages with one id only the first has it [RFC5256 3] */
    }
}

static uint32_t node_of(struct trees *t, uint64_t id)
{
    size_t slot = slot_of(t, id);
    if (t->slots[slot] != none)
        return t->slots[slot];
    uint32_t node = new_node(t, id);
    if (node == none)
        return none;
    t->slots[slot] = node;
    if (2 * t->size > t->n_slots)
        make_slots(t);
    return node;
}

/* --- links ------------------------------------------------------------------------------------ */

static bool makes_loop(struct trees *t, uint32_t parent, uint32_t child)
{
    if (parent == child)
        return true;
    if (!t->n_children[child])
        return false;
    for (uint32_t at = parent; at != none; at = t->parent[at]) {
        if (at == child || t->steps == 0)
            return true;
        t->steps--;
    }
    return false;
}

static void unlink_node(struct trees *t, uint32_t child)
{
    if (t->parent[child] != none)
        t->n_children[t->parent[child]]--;
    t->parent[child] = none;
}

static void link_node(struct trees *t, uint32_t parent, uint32_t child)
{
    t->parent[child] = parent;
    t->n_children[parent]++;
}

/* Steps 1.A and 1.B for one message. */
static void link_message(struct trees *t, uint32_t i)
{
    const struct imap_thread_row *row = &t->rows[i];
    uint32_t before = none;
    for (size_t k = 1; k < row->n_ids; k++) {
        uint64_t id = id_at(row, k);
        uint32_t node = id ? node_of(t, id) : before;
        if (t->is_over)
            return;
        if (before != none && t->parent[node] == none && !makes_loop(t, before, node))
            link_node(t, before, node);
        before = node;
    }
    unlink_node(t, i);
    if (before != none && !makes_loop(t, before, i))
        link_node(t, before, i);
}

/* --- pruning ---------------------------------------------------------------------------------- */

/* The node that takes the children of a dummy when it goes: the next one above that is a message,
 * or the dummy on top. What has been found is kept in `above`. */
static uint32_t keeper_of(struct trees *t, uint32_t dummy, uint32_t *above)
{
    uint32_t top = dummy;
    while (is_dummy(t, top) && above[top] == none && t->parent[top] != none)
        top = t->parent[top];
    if (is_dummy(t, top) && above[top] != none)
        top = above[top];
    for (uint32_t at = dummy; is_dummy(t, at) && above[at] == none && at != top;) {
        above[at] = top;
        at = t->parent[at];
    }
    return top;
}

/* Step 3. */
static void prune(struct trees *t)
{
    uint32_t *above = mem_alloc((t->n_nodes + 1) * sizeof *above);
    memset(above, 0xff, t->n_nodes * sizeof *above);
    for (uint32_t i = 0; i < t->n; i++)
        if (t->parent[i] != none && is_dummy(t, t->parent[i]))
            above[i] = keeper_of(t, t->parent[i], above);
    for (uint32_t i = 0; i < t->n; i++)
        t->parent[i] = above[i] != none ? above[i] : t->parent[i];
    memset(t->n_children, 0, t->n_nodes * sizeof *t->n_children);
    for (uint32_t i = 0; i < t->n; i++)
        if (t->parent[i] != none)
            t->n_children[t->parent[i]]++;
    for (uint32_t i = 0; i < t->n; i++) /* one child takes the place of its dummy */
        if (t->parent[i] != none && is_dummy(t, t->parent[i]) && t->n_children[t->parent[i]] == 1)
            unlink_node(t, i);
    for (uint32_t i = t->n; i < t->n_nodes; i++) {
        t->is_gone[i] = !t->n_children[i];
        t->parent[i] = none;
    }
    free(above);
}

/* --- siblings in order ------------------------------------------------------------------------ */

/* By parent, the root's last, and then by date; those of one date as in the mailbox. */
static void sort_children(struct trees *t, struct child *children, size_t n)
{
    struct imap_sort_pair *pairs = mem_alloc((n + 1) * sizeof *pairs);
    struct imap_sort_pair *room = mem_alloc((n + 1) * sizeof *room);
    struct child *sorted = mem_alloc((n + 1) * sizeof *sorted);
    for (unsigned pass = 0; pass < 3; pass++) {
        for (size_t i = 0; i < n; i++) {
            pairs[i].at = pass ? pairs[i].at : (uint32_t)i;
            const struct child *child = &children[pairs[i].at];
            pairs[i].key = pass == 0 ? child->at : pass == 1 ? child->date : child->parent;
        }
        imap_sort_pairs(pairs, room, n);
    }
    for (size_t i = 0; i < n; i++)
        sorted[i] = children[pairs[i].at];
    memcpy(children, sorted, n * sizeof *sorted);
    free(pairs);
    free(room);
    free(sorted);
}

/* The first child of each dummy; of others none. */
static uint32_t *first_children(const struct trees *t)
{
    uint32_t *first = mem_alloc((t->n_nodes + 1) * sizeof *first);
    memset(first, 0xff, t->n_nodes * sizeof *first);
    for (uint32_t i = 0; i < t->n; i++) {
        uint32_t p = t->parent[i];
        if (p != none && is_dummy(t, p) &&
            (first[p] == none || t->rows[i].date < t->rows[first[p]].date))
            first[p] = i;
    }
    return first;
}

/* What a node is sorted by: of a dummy its first child [RFC5256 3]. */
static struct child child_of(const struct trees *t, const uint32_t *first, uint32_t node)
{
    uint32_t at = is_dummy(t, node) ? first[node] : node;
    return (struct child){node, t->parent[node], t->rows[at].date, at};
}

/* All nodes that are there; in the array at the end those below the root, from *out_roots on. */
static struct child *all_children(struct trees *t, size_t *out_n, size_t *out_roots)
{
    uint32_t *first = first_children(t);
    struct child *children = mem_alloc((t->n_nodes + 1) * sizeof *children);
    size_t n = 0;
    for (uint32_t i = 0; i < t->n_nodes; i++)
        if (!is_dummy(t, i) || !t->is_gone[i])
            children[n++] = child_of(t, first, i);
    sort_children(t, children, n);
    free(first);
    *out_n = *out_roots = n;
    while (*out_roots && children[*out_roots - 1].parent == none)
        --*out_roots;
    return children;
}

/* --- subjects --------------------------------------------------------------------------------- */

static bool is_reply(const struct trees *t, uint32_t node)
{
    return !is_dummy(t, node) && t->rows[node].is_reply;
}

/* Step 5.B for one thread. */
static bool takes_place(const struct trees *t, uint32_t here, uint32_t node)
{
    return here == none ||
           (!is_dummy(t, here) && (is_dummy(t, node) || (is_reply(t, here) && !is_reply(t, node))));
}

static void move_children(struct trees *t, const struct child *children, size_t n, uint32_t from,
                          uint32_t to)
{
    size_t low = 0, high = n; /* they lie side by side */
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (children[mid].parent < from)
            low = mid + 1;
        else
            high = mid;
    }
    for (; low < n && children[low].parent == from; low++) {
        unlink_node(t, children[low].node);
        link_node(t, to, children[low].node);
    }
    t->is_gone[from] = 1;
}

/* Step 5.C for one thread. Returns what stands in the table then. */
static uint32_t merge_threads(struct trees *t, const struct child *children, size_t n,
                              uint32_t here, uint32_t node)
{
    if (is_dummy(t, here) && is_dummy(t, node)) {
        move_children(t, children, n, node, here);
    } else if (is_dummy(t, here) || (is_reply(t, node) && !is_reply(t, here))) {
        link_node(t, here, node);
    } else {
        uint32_t both = new_node(t, 0);
        if (both == none)
            return here;
        link_node(t, both, here);
        link_node(t, both, node);
        return both;
    }
    return here;
}

/* Step 5; the threads come in the order of step 4. */
static void merge_subjects(struct trees *t)
{
    size_t n, roots;
    struct child *children = all_children(t, &n, &roots);
    uint32_t most = 0;
    for (uint32_t i = 0; i < t->n; i++)
        most = t->rows[i].subject > most ? t->rows[i].subject : most;
    uint32_t *table = mem_alloc(((size_t)most + 1) * sizeof *table);
    memset(table, 0xff, ((size_t)most + 1) * sizeof *table);
    for (size_t i = roots; i < n; i++) {
        const struct imap_thread_row *row = &t->rows[children[i].at];
        if (row->has_subject && takes_place(t, table[row->subject], children[i].node))
            table[row->subject] = children[i].node;
    }
    for (size_t i = roots; i < n; i++) {
        const struct imap_thread_row *row = &t->rows[children[i].at];
        uint32_t node = children[i].node;
        if (!row->has_subject || table[row->subject] == node || t->parent[node] != none)
            continue;
        table[row->subject] = merge_threads(t, children, roots, table[row->subject], node);
    }
    free(table);
    free(children);
}

/* --- REFS ------------------------------------------------------------------------------------- */

/* Threads in the order of their newest messages. */
static void date_threads(struct trees *t, struct child *roots, size_t n)
{
    uint32_t *root = mem_alloc((t->n_nodes + 1) * sizeof *root);
    uint64_t *newest = mem_zero((t->n_nodes + 1) * sizeof *newest);
    memset(root, 0xff, t->n_nodes * sizeof *root);
    for (uint32_t i = 0; i < t->n; i++) {
        uint32_t top = i;
        while (root[top] == none && t->parent[top] != none)
            top = t->parent[top];
        top = root[top] != none ? root[top] : top;
        for (uint32_t at = i; at != top && root[at] == none; at = t->parent[at])
            root[at] = top;
        newest[top] = t->rows[i].date > newest[top] ? t->rows[i].date : newest[top];
    }
    for (size_t i = 0; i < n; i++)
        roots[i].date = newest[roots[i].node];
    sort_children(t, roots, n);
    free(root);
    free(newest);
}

/* --- the answer ------------------------------------------------------------------------------- */

/* Goes through the trees from above, with no more memory than where each node's children begin:
 * `place` is where a node stands among its siblings. */
static void write_steps(struct trees *t, const struct child *children, size_t n, size_t roots,
                        struct imap_threads *out)
{
    size_t *place = mem_alloc((t->n_nodes + 1) * sizeof *place);
    size_t *first = mem_alloc((t->n_nodes + 1) * sizeof *first);
    for (size_t i = n; i-- > 0;) {
        place[children[i].node] = i;
        if (children[i].parent != none)
            first[children[i].parent] = i;
    }
    uint32_t closes = 0, opens = 0;
    for (size_t at = roots; at < n;) {
        uint32_t node = children[at].node, parent = children[at].parent;
        opens += parent == none || t->n_children[parent] > 1;
        if (!is_dummy(t, node)) {
            out->steps[out->n++] = (struct imap_thread_step){
                .at = node, .closes = closes & 0x3fffffff, .opens = opens & 3};
            closes = opens = 0;
        }
        if (t->n_children[node]) {
            at = first[node];
            continue;
        }
        for (;; node = parent, at = place[node]) { /* up, until there is a next one */
            parent = children[at].parent;
            closes += parent == none || t->n_children[parent] > 1;
            size_t end = parent == none ? n : first[parent] + t->n_children[parent];
            if (++at < end || parent == none)
                break;
        }
    }
    out->closes = closes;
    free(place);
    free(first);
}

/* --- ORDEREDSUBJECT --------------------------------------------------------------------------- */

/* The first message of a subject, by date, is the parent of all others. */
static void link_subjects(struct trees *t)
{
    struct child *children = mem_alloc(((size_t)t->n + 1) * sizeof *children);
    for (uint32_t i = 0; i < t->n; i++)
        children[i] = (struct child){i, t->rows[i].subject, t->rows[i].date, i};
    sort_children(t, children, t->n);
    for (uint32_t i = 1, head = 0; i < t->n; i++) {
        if (children[i].parent != children[head].parent)
            head = i;
        else
            link_node(t, children[head].node, children[i].node);
    }
    free(children);
}

static void make(struct trees *t, struct imap_threads *out)
{
    size_t n, roots;
    if (t->kind == IMAP_THREAD_ORDEREDSUBJECT) {
        link_subjects(t);
    } else {
        make_slots(t);
        for (uint32_t i = 0; i < t->n && !t->is_over; i++)
            link_message(t, i);
        prune(t);
    }
    if (t->kind == IMAP_THREAD_REFERENCES && !t->is_over)
        merge_subjects(t);
    if (t->is_over)
        return;
    struct child *children = all_children(t, &n, &roots);
    if (t->kind == IMAP_THREAD_REFS)
        date_threads(t, children + roots, n - roots);
    write_steps(t, children, n, roots, out);
    free(children);
}

bool imap_threads_make(enum imap_thread_kind kind, const struct imap_thread_row *rows, size_t n,
                       struct imap_thread_room *room, struct imap_threads *out)
{
    struct trees t = {.kind = kind, .rows = rows, .steps = STEPS, .room = room};
    *out = (struct imap_threads){.steps = mem_alloc((n + 1) * sizeof *out->steps)};
    if (!n)
        return true;
    set_size(&t, n);
    for (size_t i = 0; i < n; i++)
        new_node(&t, rows[i].n_ids ? id_at(&rows[i], 0) : 0);
    t.n = (uint32_t)n;
    make(&t, out);
    free(t.parent);
    free(t.n_children);
    free(t.ids);
    free(t.is_gone);
    free(t.slots);
    return !t.is_over;
}
