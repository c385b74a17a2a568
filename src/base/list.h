/* Doubly linked lists whose links live in the items: no allocation, removal without knowing the
 * list. */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *next, *prev;
};

/* The struct of `type` whose `member` is at `link`. */
#define CONTAINER(link, type, member) ((type *)(void *)((char *)(link)-offsetof(type, member)))

static inline void list_init(struct list *l)
{
    l->next = l->prev = l;
}

static inline bool list_is_empty(const struct list *l)
{
    return l->next == l;
}

static inline void list_add_tail(struct list *l, struct list *item)
{
    item->prev = l->prev;
    item->next = l;
    l->prev->next = item;
    l->prev = item;
}

static inline void list_add_head(struct list *l, struct list *item)
{
    list_add_tail(l->next, item);
}

/* Takes the item out; it is its own empty list afterwards, so removing twice is harmless. */
static inline void list_remove(struct list *item)
{
    item->prev->next = item->next;
    item->next->prev = item->prev;
    list_init(item);
}

/* Moves all items of `from` to the end of `to`. */
static inline void list_splice_tail(struct list *to, struct list *from)
{
    if (list_is_empty(from))
        return;
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    list_init(from);
}

static inline struct list *list_first(struct list *l)
{
    return list_is_empty(l) ? NULL : l->next;
}

#define LIST_EACH(head, it) for (struct list *it = (head)->next; it != (head); it = it->next)
/* The current item may be removed. */
#define LIST_EACH_SAFE(head, it)                                                                   \
    for (struct list *it = (head)->next, *it##_next = it->next; it != (head);                      \
         it = it##_next, it##_next = it->next)

#endif
