/* Fuzz target: the arguments of NOTIFY, and a mailbox that it may mean. Aborts when what it asks
 * for breaks a rule of the RFC or a bound, when what is kept is a view into the command, or when a
 * mailbox that was named is not meant. */
#include "fuzz/fuzz.h"
#include "imap/notify_int.h"

#include <stdlib.h>

enum { NAMES = 50 };

static void check_events(unsigned events)
{
    bool has_new = events & IMAP_NOTIFY_NEW, has_gone = events & IMAP_NOTIFY_EXPUNGE;
    FUZZ_DEMAND(has_new == has_gone);
    FUZZ_DEMAND(has_new || !(events & IMAP_NOTIFY_FLAGS));
}

static size_t check_group(const struct imap_notify_program *program,
                          const struct imap_notify_group *group)
{
    check_events(group->events);
    const struct imap_filter *f = &group->filter;
    bool has_names = f->kind == IMAP_FILTER_SUBTREE || f->kind == IMAP_FILTER_MAILBOXES;
    FUZZ_DEMAND(f->kind != IMAP_FILTER_SELECTED && f->kind != IMAP_FILTER_SELECTED_DELAYED);
    FUZZ_DEMAND((f->n_names > 0) == has_names);
    for (size_t i = 0; i < f->n_names; i++) {
        FUZZ_DEMAND(i == 0 || str_cmp(f->names[i - 1], f->names[i]) <= 0);
        unsigned events =
            imap_notify_events(program, &(struct imap_filter_place){.path = f->names[i]});
        FUZZ_DEMAND((events & group->events) == group->events);
    }
    return f->n_names;
}

static void check(const struct imap_notify_program *program)
{
    size_t names = 0;
    if (program->is_none)
        return;
    FUZZ_DEMAND(program->n_groups <= IMAP_NOTIFY_GROUPS);
    FUZZ_DEMAND(program->n_groups || program->has_selected);
    for (size_t i = 0; i < program->n_groups; i++)
        names += check_group(program, &program->groups[i]);
    FUZZ_DEMAND(names == program->n_names && names <= NAMES);
    check_events(program->selected);
    FUZZ_DEMAND(!(program->selected & ~(unsigned)IMAP_NOTIFY_MESSAGES));
    FUZZ_DEMAND(!program->arrival.sets_seen && program->arrival.n <= IMAP_FETCH_ITEMS);
    FUZZ_DEMAND(!program->arrival.n || program->has_selected);
    for (size_t i = 0; i < program->arrival.n; i++)
        FUZZ_DEMAND(str_ends(program->arrival.items[i].label, STR(" ")));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena scratch, keep;
    struct imap_notify_program program;
    char *text = malloc(size + 1);
    FUZZ_DEMAND(text);
    for (size_t i = 0; i < size; i++)
        text[i] = (char)data[i];
    arena_init(&scratch, 4 << 20);
    arena_init(&keep, IMAP_NOTIFY_BYTES);
    struct imap_parse p = {.rest = str_from(text, size), .arena = &scratch};
    bool is_good = imap_take_notify(&p, &keep, NAMES, &program);
    FUZZ_DEMAND(is_good || p.error);
    arena_fini(&scratch); /* what is kept does not need it, */
    free(text);           /* nor the command */
    if (is_good)
        check(&program);
    arena_fini(&keep);
    return 0;
}
