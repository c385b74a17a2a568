/* Fuzz target: the arguments of FETCH; an odd first byte means UID FETCH. Aborts when a program
 * goes over a limit, when UID FETCH has no item for UID, or when the words that an item is answered
 * with mean another item. */
#include "fuzz/fuzz.h"
#include "imap/fetch_int.h"

#include <string.h>

static void check_same(const struct imap_fetch_item *a, const struct imap_fetch_item *b)
{
    FUZZ_DEMAND(a->kind == b->kind && a->section == b->section && a->is_not == b->is_not);
    FUZZ_DEMAND(a->n_path == b->n_path && a->n_names == b->n_names);
    FUZZ_DEMAND(!a->n_path || !memcmp(a->path, b->path, a->n_path * sizeof *a->path));
    for (size_t i = 0; i < a->n_names; i++)
        FUZZ_DEMAND(str_eq(a->names[i], b->names[i]));
    FUZZ_DEMAND(str_eq(a->label, b->label));
}

/* What the client reads before the value is the item that it asked for. */
static void check_label(const struct imap_fetch_item *item)
{
    struct arena arena;
    struct imap_fetch_program again;
    FUZZ_DEMAND(str_ends(item->label, STR(" ")) && item->label.n <= IMAP_FETCH_LABEL);
    if (item->most) {
        FUZZ_DEMAND(item->label.p[item->label.n - 2] == '>');
        return;
    }
    arena_init(&arena, 1 << 20);
    struct imap_parse p = {.rest = str_head(item->label, item->label.n - 1), .arena = &arena};
    bool is_plain = str_starts(item->label, STR("RFC822"));
    FUZZ_DEMAND(imap_take_fetch(&p, false, &again) && again.n == 1);
    FUZZ_DEMAND(is_plain || item->kind != IMAP_FETCH_SIZE);
    check_same(item, &again.items[0]);
    arena_fini(&arena);
}

static void check_path(const struct imap_fetch_item *item)
{
    FUZZ_DEMAND(item->n_path <= IMAP_FETCH_PATH);
    for (size_t i = 0; i < item->n_path; i++)
        FUZZ_DEMAND(item->path[i] > 0);
}

static void check(const struct imap_fetch_program *program, bool is_uid)
{
    bool has_uid = false;
    size_t names = 0;
    FUZZ_DEMAND(program->n > 0 && program->n <= IMAP_FETCH_ITEMS);
    for (size_t i = 0; i < program->n; i++) {
        has_uid = has_uid || program->items[i].kind == IMAP_FETCH_UID;
        names += program->items[i].n_names;
        check_path(&program->items[i]);
        check_label(&program->items[i]);
    }
    FUZZ_DEMAND(names <= IMAP_FETCH_NAMES);
    FUZZ_DEMAND(has_uid || !is_uid);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;
    struct imap_set set;
    struct imap_fetch_program program;
    if (!size)
        return 0;
    bool is_uid = data[0] & 1;
    arena_init(&arena, 64 << 20);
    struct imap_parse p = {.rest = str_from(data + 1, size - 1), .arena = &arena};
    bool is_good =
        imap_take_set(&p, &set) && imap_take_sp(&p) && imap_take_fetch(&p, is_uid, &program);
    if (is_good)
        check(&program, is_uid);
    else
        FUZZ_DEMAND(p.error);
    arena_fini(&arena);
    return 0;
}
