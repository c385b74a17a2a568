/* Destinations: domains with mail waiting, and their entries.
 *
 * A destination that has nothing to do stays for a while with what is known of it (where it is,
 * that it cannot be reached), so that the next message need not find out again. The ones that rest
 * longest go when there are too many. Entries come from blocks that are never given back: they are
 * bounded by the limit of entries. */
#include "relay/schedule_int.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum { BLOCK_ENTRIES = 1024 };

struct entry_block {
    struct entry_block *next;
    struct entry entries[BLOCK_ENTRIES];
};

/* --- failures --------------------------------------------------------------------------------- */

void failure_set(struct failure **failure, const struct relay_outcome *outcome)
{
    struct failure *f = *failure ? *failure : mem_zero(sizeof *f);
    struct str text = str_head(outcome->text, RELAY_TEXT_MAX);
    struct str tls = str_head(outcome->tls, RELAY_TLS_TEXT);
    if (text.n)
        memmove(f->text, text.p, text.n);
    if (tls.n)
        memmove(f->tls, tls.p, tls.n);
    f->outcome = *outcome;
    f->outcome.text = str_from(f->text, text.n);
    f->outcome.tls = str_from(f->tls, tls.n);
    *failure = f;
}

void failure_copy(struct failure **failure, const struct failure *from)
{
    failure_set(failure, &from->outcome);
    memcpy((*failure)->host, from->host, sizeof from->host);
}

/* --- entries ---------------------------------------------------------------------------------- */

static uint64_t hash_of(struct queue_id id, uint16_t number)
{
    uint64_t hash;
    memcpy(&hash, id.b, sizeof hash); /* random as it is */
    return hash + number * UINT64_C(0x9e3779b97f4a7c15);
}

struct entry *entry_find(struct schedule *s, struct queue_id id, uint16_t number)
{
    struct map_node *node = map_find(&s->entries, hash_of(id, number));
    for (; node; node = map_next(node)) {
        struct entry *e = CONTAINER(node, struct entry, node);
        if (e->number == number && memcmp(e->id.b, id.b, sizeof id.b) == 0)
            return e;
    }
    return NULL;
}

static void add_block(struct schedule *s)
{
    struct entry_block *block = mem_zero(sizeof *block);
    block->next = s->blocks;
    s->blocks = block;
    for (size_t i = 0; i < BLOCK_ENTRIES; i++)
        list_add_tail(&s->unused, &block->entries[i].link);
}

struct entry *entry_new(struct schedule *s, struct queue_id id, uint16_t number)
{
    if (list_is_empty(&s->unused))
        add_block(s);
    struct entry *e = CONTAINER(list_first(&s->unused), struct entry, link);
    list_remove(&e->link);
    e->id = id;
    e->number = number;
    e->is_under_way = e->is_again = e->was_tried = false;
    map_add(&s->entries, &e->node, hash_of(id, number));
    return e;
}

void entry_free(struct schedule *s, struct entry *e)
{
    list_remove(&e->link);
    map_remove(&s->entries, &e->node);
    list_add_head(&s->unused, &e->link);
}

/* --- destinations ----------------------------------------------------------------------------- */

struct destination *destination_get(struct schedule *s, struct str name, enum queue_tls tls)
{
    uint64_t hash = str_hash(name, s->key) + tls;
    struct map_node *node = map_find(&s->destinations, hash);
    for (; node; node = map_next(node)) {
        struct destination *known = CONTAINER(node, struct destination, node);
        if (str_eq(known->name, name) && known->tls == tls)
            return known;
    }
    struct destination *d = mem_zero(sizeof *d + name.n + 1);
    char *text = (char *)(d + 1);
    memcpy(text, name.p, name.n);
    d->name = str_from(text, name.n);
    list_init(&d->turn);
    list_init(&d->resting);
    list_init(&d->entries);
    d->where.domain = d->name;
    d->tls = tls;
    map_add(&s->destinations, &d->node, hash);
    return d;
}

void destination_wait(struct destination *d, struct list *where)
{
    list_remove(&d->turn);
    list_add_tail(where, &d->turn);
}

void destination_turn(struct schedule *s, struct destination *d)
{
    if (d->n_entries && d->state != DESTINATION_ASKING)
        destination_wait(d, &s->turns);
}

void destination_forget_answer(struct schedule *s, struct destination *d)
{
    for (size_t i = 0; i < d->n_targets; i++)
        peer_unref(s, d->peers[i]);
    free(d->peers);
    arena_fini(&d->where.arena);
    free(d->failure);
    d->peers = NULL;
    d->failure = NULL;
    d->n_targets = 0;
    d->where.targets = NULL;
    d->where.n_targets = 0;
    d->until = 0;
    d->state = DESTINATION_UNKNOWN;
}

void destination_free(struct schedule *s, struct destination *d)
{
    destination_forget_answer(s, d);
    if (!list_is_empty(&d->resting))
        s->n_resting--;
    list_remove(&d->resting);
    list_remove(&d->turn);
    map_remove(&s->destinations, &d->node);
    free(d);
}

void destination_rest(struct schedule *s, struct destination *d)
{
    bool rests = !d->n_entries && !d->n_under_way && d->state != DESTINATION_ASKING;
    if (!list_is_empty(&d->resting))
        s->n_resting--;
    list_remove(&d->resting);
    if (!rests)
        return;
    list_remove(&d->turn);
    list_add_tail(&s->resting, &d->resting);
    if (++s->n_resting > s->limits.destinations)
        destination_free(s, CONTAINER(list_first(&s->resting), struct destination, resting));
}
