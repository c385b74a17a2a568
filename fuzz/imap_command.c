/* Fuzz target: commands and the things in them. The input is what the client sends, the first byte
 * says how it is cut and, of the rest, which thing is read alone. Aborts when the commands depend
 * on the cut, when a command holds a line end outside a literal, or when a mailbox name does not
 * survive being written and read again. */
#include "base/utf7.h"
#include "base/utf8.h"
#include "fuzz/fuzz.h"
#include "imap/imap_int.h"

#include <string.h>

enum { LINE = 200, LITERAL_MAX = 50, HELD = 2000 };

static void put_event(struct buf *out, const struct imap_gathered *it)
{
    buf_putf(out, "%d:", (int)it->kind);
    if (it->kind == IMAP_INPUT_COMMAND || it->kind == IMAP_INPUT_LITERAL)
        buf_put(out, it->text);
    buf_put(out, STR("\n"));
}

/* All commands, one after the other, as the session takes them. */
static void gather(struct str in, size_t step, struct buf *out)
{
    struct imap_gather g = {.held.cap = HELD};
    struct imap_gathered it = {0};
    struct buf pending = {.cap = in.n + 1};
    size_t fed = 0;
    for (;;) {
        struct str unread = buf_len(&pending) ? buf_str(&pending) : STR("");
        imap_gather_next(&g, unread, LINE, &it);
        FUZZ_DEMAND(it.used <= unread.n);
        if (it.kind != IMAP_INPUT_NONE)
            put_event(out, &it);
        if (it.kind == IMAP_INPUT_LITERAL &&
            (it.literal.is_broken || it.literal.n > LITERAL_MAX || it.text.n > HELD / 2))
            imap_gather_refuse(&g, &it);
        else if (it.kind == IMAP_INPUT_LITERAL)
            imap_gather_accept(&g, &it);
        if (it.kind == IMAP_INPUT_COMMAND)
            imap_gather_reset(&g, true);
        buf_consume(&pending, it.used);
        if (it.kind != IMAP_INPUT_NONE)
            continue;
        if (fed == in.n)
            break;
        buf_put(&pending, str_sub(in, fed, step));
        fed += step < in.n - fed ? step : in.n - fed;
    }
    FUZZ_DEMAND(buf_len(&pending) <= LINE && !pending.over);
    imap_gather_reset(&g, true);
    buf_fini(&pending);
}

static void check_cut(struct str in, size_t step)
{
    struct buf whole = {.cap = 1 << 24}, cut = {.cap = 1 << 24};
    gather(in, in.n + 1, &whole);
    gather(in, step, &cut);
    FUZZ_DEMAND(buf_len(&whole) == buf_len(&cut));
    FUZZ_DEMAND(!buf_len(&whole) || str_eq(buf_str(&whole), buf_str(&cut)));
    buf_fini(&whole);
    buf_fini(&cut);
}

static void check_name(struct imap_parse *p)
{
    struct store_path path;
    if (!imap_take_mailbox(p, &path))
        return;
    struct str joined = imap_join_path(p->arena, path);
    struct buf wire = {.cap = 1 << 20}, back = {.cap = 1 << 20};
    FUZZ_DEMAND(path.n <= STORE_LEVELS && utf8_is_valid(joined));
    FUZZ_DEMAND(utf7_encode(joined, &wire) == RC_OK);
    if (joined.n) {
        FUZZ_DEMAND(utf8_is_ascii(buf_str(&wire)));
        FUZZ_DEMAND(utf7_decode(buf_str(&wire), &back) == RC_OK);
        FUZZ_DEMAND(str_eq(buf_str(&back), joined));
        FUZZ_DEMAND(imap_name_matches(joined, STR("*")) && imap_name_matches(joined, joined));
    }
    buf_fini(&wire);
    buf_fini(&back);
}

static void check_pattern(struct imap_parse *p)
{
    struct str name, pattern;
    if (imap_take_astring(p, &name) && imap_take_sp(p) && imap_take_list_mailbox(p, &pattern) &&
        name.n + pattern.n < 200)
        imap_name_matches(name, pattern);
}

static void check_things(struct str in, unsigned which)
{
    struct arena arena = {.cap = 8 << 20};
    struct imap_parse p = {.rest = in, .arena = &arena};
    struct imap_set set;
    struct imap_flags flags;
    struct str s;
    uint64_t ns;
    int64_t day;
    uint32_t n;
    switch (which % 8) {
    case 0:
        check_name(&p);
        break;
    case 1:
        if (imap_take_set(&p, &set))
            FUZZ_DEMAND(set.is_saved ? !set.n : set.n && set.n <= IMAP_RANGES_MAX);
        break;
    case 2:
        if (imap_take_flags(&p, in.n & 1, &flags))
            FUZZ_DEMAND(flags.n_keywords <= STORE_KEYWORDS);
        break;
    case 3:
        imap_take_date_time(&p, &ns);
        break;
    case 4:
        imap_take_date(&p, &day);
        break;
    case 5:
        check_pattern(&p);
        break;
    case 6:
        imap_take_nstring(&p, &s);
        break;
    default:
        imap_take_nz_number(&p, &n);
        break;
    }
    FUZZ_DEMAND(p.rest.n <= in.n);
    arena_fini(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size || size > 4096)
        return 0;
    struct str in = str_from(data + 1, size - 1);
    check_cut(in, data[0] / 8 + 1);
    check_things(in, data[0]);
    return 0;
}
