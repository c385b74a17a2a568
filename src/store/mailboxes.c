/* The mailboxes of an account in memory: structs by id, in two views each.
 *
 * Invariants, under account.mutex:
 *   1. Ids are never used for two mailboxes, so a pointer and an id mean the same one. Only what no
 *      commit made durable (MAILBOX_NONE in both views) gives its id, and its struct, to the next.
 *   2. A struct, and a name that it has had, is freed only when no change is under way, nobody
 *      observes and fsck does not look: these are all who keep pointers without the lock. Roots
 *      have the name for themselves. */
#include "store/store_int.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

static size_t find(const struct store_account *a, uint32_t id)
{
    size_t from = 0, to = a->n_mailboxes;
    while (from < to) {
        size_t half = from + (to - from) / 2;
        if (a->mailboxes[half]->id < id)
            from = half + 1;
        else
            to = half;
    }
    return from;
}

struct mailbox *mailbox_any(struct store_account *a, uint32_t id)
{
    size_t at = find(a, id);
    return at < a->n_mailboxes && a->mailboxes[at]->id == id ? a->mailboxes[at] : NULL;
}

struct mailbox *account_mailbox(struct store_account *a, uint32_t id)
{
    struct mailbox *m = mailbox_any(a, id);
    return m && m->head.state == MAILBOX_OPEN ? m : NULL;
}

struct mailbox *account_published(struct store_account *a, uint32_t id)
{
    struct mailbox *m = mailbox_any(a, id);
    return m && m->published.state == MAILBOX_OPEN ? m : NULL;
}

struct mailbox *account_role(struct store_account *a, enum store_role role)
{
    for (size_t i = 0; i < a->n_mailboxes; i++)
        if (a->mailboxes[i]->head.m.role == role && a->mailboxes[i]->head.state == MAILBOX_OPEN)
            return a->mailboxes[i];
    return NULL;
}

struct mailbox *mailbox_make(struct store_account *a, uint32_t id)
{
    size_t at = find(a, id);
    if (at < a->n_mailboxes && a->mailboxes[at]->id == id)
        return a->mailboxes[at];
    struct mailbox *m = mem_zero(sizeof *m);
    m->id = id;
    m->head = m->published = (struct mailbox_record){.m.id = id, .state = MAILBOX_NONE};
    a->mailboxes = mem_array(a->mailboxes, &a->size_mailboxes, a->n_mailboxes + 1, sizeof m);
    memmove(a->mailboxes + at + 1, a->mailboxes + at, (a->n_mailboxes - at) * sizeof m);
    a->mailboxes[at] = m;
    a->n_mailboxes++;
    return m;
}

struct str mailbox_name(struct mailbox *m, struct str name)
{
    struct mailbox_name *copy = mem_alloc(sizeof *copy + name.n + 1);
    if (name.n)
        memcpy(copy->b, name.p, name.n);
    copy->next = m->names;
    m->names = copy;
    return str_from(copy->b, name.n);
}

void mailbox_drop_roots(struct mailbox *m)
{
    store_root_release(&m->head_root);
    store_root_release(&m->root);
}

/* Frees the names but those that a view has; all when is_all. */
static void free_names(struct mailbox *m, bool is_all)
{
    struct mailbox_name **at = &m->names;
    while (*at) {
        struct mailbox_name *name = *at;
        if (!is_all && (name->b == m->head.m.name.p || name->b == m->published.m.name.p)) {
            at = &name->next;
            continue;
        }
        *at = name->next;
        free(name);
    }
}

static void mailbox_free(struct mailbox *m)
{
    mailbox_drop_roots(m);
    free_names(m, true);
    if (m->news.link.next)
        list_remove(&m->news.link);
    free(m);
}

void mailboxes_reap(struct store_account *a)
{
    size_t n = 0;
    if (!a->needs_reaping || a->n_in_flight || a->n_observers || a->is_paused)
        return;
    for (size_t i = 0; i < a->n_mailboxes; i++) {
        struct mailbox *m = a->mailboxes[i];
        if (m->head.state == MAILBOX_NONE && m->published.state == MAILBOX_NONE) {
            mailbox_free(m);
            continue;
        }
        free_names(m, false);
        a->mailboxes[n++] = m;
    }
    a->n_mailboxes = n;
    a->needs_reaping = false;
}

void mailboxes_free(struct store_account *a)
{
    for (size_t i = 0; i < a->n_mailboxes; i++)
        mailbox_free(a->mailboxes[i]);
    free(a->mailboxes);
    a->mailboxes = NULL;
    a->n_mailboxes = a->size_mailboxes = 0;
}
