/* Fuzz target: what RETR and TOP make of a message. The first byte says how it is cut into pages,
 * the second how many lines TOP is asked for. Aborts when the answer is not what the rules give
 * when they are applied a byte at a time. */
#include "base/mem.h"
#include "fuzz/fuzz.h"
#include "pop3/pop3_int.h"

#include <string.h>

/* Pages of `step` bytes, stuffed in place as retr.c does. */
static size_t answer(struct str text, size_t step, struct pop3_top *top, char *out)
{
    bool is_start = true;
    size_t n = 0;
    for (size_t at = 0; at < text.n && !(top && top->is_done); at += step) {
        struct str page = str_sub(text, at, step);
        memcpy(out + n, page.p, page.n);
        size_t took = top ? pop3_top_take(top, page) : page.n;
        FUZZ_DEMAND(took <= page.n && (took == page.n || top->is_done));
        bool before = is_start;
        size_t dots = pop3_stuff_count(str_from(out + n, took), &is_start);
        FUZZ_DEMAND(dots <= took / 2 + 1);
        pop3_stuff(out + n, took, before, dots);
        n += took + dots;
    }
    return n;
}

static size_t plain_stuffed(struct str text, char *out)
{
    size_t n = 0;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] == '.' && (i == 0 || text.p[i - 1] == '\n')) /* [RFC1939 3] */
            out[n++] = '.';
        out[n++] = text.p[i];
    }
    return n;
}

/* Where TOP ends: behind the empty line and so many lines more [RFC1939 7]. */
static size_t plain_top(struct str text, uint64_t lines)
{
    bool is_body = false;
    size_t start = 0;
    for (size_t i = 0; i < text.n; i++) {
        if (is_body && !lines)
            return i;
        if (text.p[i] != '\n')
            continue;
        struct str line = str_sub(text, start, i - start);
        if (is_body)
            lines--;
        else
            is_body = !line.n || str_eq(line, STR("\r"));
        start = i + 1;
    }
    return text.n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3)
        return 0;
    struct str text = str_from(data + 2, size - 2);
    size_t step = data[0] % 64 + 1;
    struct pop3_top top = {.lines = data[1] % 8};
    /* As much room as the real pages have: at most one byte more for every two, and one a page. */
    char *got = mem_alloc(3 * text.n + 2), *expected = mem_alloc(2 * text.n + 1);
    size_t n = answer(text, step, NULL, got);
    FUZZ_DEMAND(n == plain_stuffed(text, expected) && memcmp(got, expected, n) == 0);
    struct str head = str_head(text, plain_top(text, top.lines));
    n = answer(text, step, &top, got);
    FUZZ_DEMAND(n == plain_stuffed(head, expected) && memcmp(got, expected, n) == 0);
    free(got);
    free(expected);
    return 0;
}
