/* Columns: what envelopes of a mailbox say in one field, decoded and folded, kept in memory after a
 * search has gone through all of them, so that the next one need not.
 *
 * Invariants: what a message says never changes, and a UID of one UIDVALIDITY never means another
 * message: a column is true for ever. It is never changed once it can be found: one that goes on
 * replaces it, and whoever holds the old one keeps it. All together are bounded; the one that was
 * asked for least lately goes first. Losing one costs time and nothing else. */
#include "imap/sort_int.h"

#include "base/mem.h"
#include "base/random.h"

#include <stdlib.h>
#include <string.h>

enum { COLUMN_MAX = INT32_MAX, OVERHEAD = 128 /* of allocating */ };

void imap_columns_init(struct imap_columns *c, size_t max)
{
    pthread_mutex_init(&c->mutex, NULL);
    map_init(&c->by_key);
    list_init(&c->all);
    c->bytes = c->held = 0;
    random_bytes(c->hash_key, sizeof c->hash_key);
    c->is_learning = false;
    c->max = max;
}

static void column_free(struct imap_column *column)
{
    free(column->uids);
    free(column->ends);
    free(column->text);
    free(column->ranks);
    free(column);
}

/* The mutex is held. */
static void unref(struct imap_column *column)
{
    if (--column->refs == 0)
        column_free(column);
}

static void drop(struct imap_columns *c, struct imap_column *column)
{
    list_remove(&column->link);
    map_remove(&c->by_key, &column->node);
    c->bytes -= column->bytes;
    unref(column);
}

void imap_columns_fini(struct imap_columns *c)
{
    while (!list_is_empty(&c->all))
        drop(c, CONTAINER(c->all.next, struct imap_column, link));
    map_fini(&c->by_key);
    pthread_mutex_destroy(&c->mutex);
}

static uint64_t hash_of(const struct imap_column_key *key)
{
    return map_hash_u64(key->account * 32 + key->field) ^
           map_hash_u64((uint64_t)key->mailbox << 32 | key->uidvalidity);
}

static bool is_same(const struct imap_column_key *a, const struct imap_column_key *b)
{
    return a->account == b->account && a->mailbox == b->mailbox &&
           a->uidvalidity == b->uidvalidity && a->field == b->field;
}

static struct imap_column *find(struct imap_columns *c, const struct imap_column_key *key)
{
    struct map_node *node = map_find(&c->by_key, hash_of(key));
    while (node && !is_same(&CONTAINER(node, struct imap_column, node)->key, key))
        node = map_next(node);
    return node ? CONTAINER(node, struct imap_column, node) : NULL;
}

struct imap_column *imap_column_take(struct imap_columns *c, const struct imap_column_key *key)
{
    pthread_mutex_lock(&c->mutex);
    struct imap_column *column = find(c, key);
    if (column) {
        column->refs++;
        list_remove(&column->link); /* the newest first */
        list_add_head(&c->all, &column->link);
    }
    pthread_mutex_unlock(&c->mutex);
    return column;
}

bool imap_columns_begin_learning(struct imap_columns *c)
{
    pthread_mutex_lock(&c->mutex);
    bool is_free = !c->is_learning;
    c->is_learning = true;
    pthread_mutex_unlock(&c->mutex);
    return is_free;
}

void imap_columns_end_learning(struct imap_columns *c)
{
    pthread_mutex_lock(&c->mutex);
    c->is_learning = false;
    pthread_mutex_unlock(&c->mutex);
}

void imap_column_release(struct imap_columns *c, struct imap_column **column)
{
    if (!*column)
        return;
    pthread_mutex_lock(&c->mutex);
    unref(*column);
    pthread_mutex_unlock(&c->mutex);
    *column = NULL;
}

bool imap_column_find(const struct imap_column *column, uint32_t uid, size_t *at, struct str *out)
{
    if (!column)
        return false;
    if (*at >= column->n || column->uids[*at] != uid) /* mostly the next one */
        *at = imap_uid_find(column->uids, column->n, uid);
    if (*at >= column->n || column->uids[*at] != uid)
        return false;
    uint32_t begin = *at ? column->ends[*at - 1] : 0;
    *out = str_from(column->text + begin, column->ends[*at] - begin);
    ++*at;
    return true;
}

/* --- making them ------------------------------------------------------------------------------ */

void imap_column_add(struct imap_column_maker *m, uint32_t uid, struct str text)
{
    bool is_over = m->text_n + text.n + m->n * 8 > m->max || m->text_n + text.n > COLUMN_MAX;
    if (m->is_off || is_over || (m->n && m->uids[m->n - 1] >= uid)) {
        m->is_off = true;
        return;
    }
    m->uids = mem_array(m->uids, &m->uids_size, m->n + 1, sizeof *m->uids);
    m->ends = mem_array(m->ends, &m->ends_size, m->n + 1, sizeof *m->ends);
    m->text = mem_array(m->text, &m->text_size, m->text_n + text.n + 1, 1);
    if (text.n)
        memcpy(m->text + m->text_n, text.p, text.n);
    m->text_n += text.n;
    m->uids[m->n] = uid;
    m->ends[m->n++] = (uint32_t)m->text_n;
}

void imap_column_maker_fini(struct imap_column_maker *m)
{
    free(m->uids);
    free(m->ends);
    free(m->text);
    *m = (struct imap_column_maker){.is_off = true};
}

/* The old one's rows that are still there, and those of the maker. */
static struct imap_column *join(const struct imap_column *old, struct imap_column_maker *m)
{
    struct imap_column *column = mem_zero(sizeof *column);
    size_t n_old = old ? old->n : 0, text_old = n_old ? old->ends[n_old - 1] : 0;
    column->n = n_old + m->n;
    column->uids = mem_alloc(column->n * sizeof *column->uids);
    column->ends = mem_alloc(column->n * sizeof *column->ends);
    column->text = mem_alloc(text_old + m->text_n + 1);
    if (n_old) {
        memcpy(column->uids, old->uids, n_old * sizeof *old->uids);
        memcpy(column->ends, old->ends, n_old * sizeof *old->ends);
        memcpy(column->text, old->text, text_old);
    }
    for (size_t i = 0; i < m->n; i++) {
        column->uids[n_old + i] = m->uids[i];
        column->ends[n_old + i] = m->ends[i] + (uint32_t)text_old;
    }
    if (m->text_n)
        memcpy(column->text + text_old, m->text, m->text_n);
    column->bytes = sizeof *column + OVERHEAD + column->n * 8 + text_old + m->text_n;
    column->refs = 1;
    return column;
}

/* Takes a reference, and the place of the one before it. */
static void share(struct imap_columns *c, struct imap_column *column)
{
    pthread_mutex_lock(&c->mutex);
    struct imap_column *before = find(c, &column->key);
    if (before)
        drop(c, before);
    column->refs++;
    list_add_head(&c->all, &column->link);
    map_add(&c->by_key, &column->node, hash_of(&column->key));
    c->bytes += column->bytes;
    while (c->bytes > c->max)
        drop(c, CONTAINER(c->all.prev, struct imap_column, link));
    pthread_mutex_unlock(&c->mutex);
}

struct imap_column *imap_column_made(struct imap_columns *c, const struct imap_column_key *key,
                                     const struct imap_column *old, struct imap_column_maker *m,
                                     bool is_shared)
{
    struct imap_column *column = join(old, m);
    column->key = *key;
    if (imap_sort_is_text(key->field)) {
        imap_column_rank(column, old, old ? old->n : 0);
        column->bytes += column->n * sizeof *column->ranks;
    }
    if (is_shared && column->bytes <= c->max / 2) /* not at the cost of all others */
        share(c, column);
    return column;
}

bool imap_columns_hold(struct imap_columns *c, size_t bytes)
{
    pthread_mutex_lock(&c->mutex);
    bool has_room = bytes <= c->max * 4 && c->held <= c->max * 4 - bytes;
    if (has_room)
        c->held += bytes;
    pthread_mutex_unlock(&c->mutex);
    return has_room;
}

void imap_columns_let(struct imap_columns *c, size_t bytes)
{
    pthread_mutex_lock(&c->mutex);
    c->held -= bytes;
    pthread_mutex_unlock(&c->mutex);
}

void imap_column_publish(struct imap_columns *c, const struct imap_column_key *key,
                         const struct imap_column *old, struct imap_column_maker *m)
{
    size_t text_old = old && old->n ? old->ends[old->n - 1] : 0;
    bool follows = !old || !old->n || !m->n || old->uids[old->n - 1] < m->uids[0];
    if (m->is_off || !m->n || !follows || text_old + m->text_n > COLUMN_MAX)
        return;
    struct imap_column *column = imap_column_made(c, key, old, m, true);
    imap_column_release(c, &column);
}
