/* Fuzz target: "From " lines of mbox files, fields of mail readers, quoting. Aborts when a line
 * that parts messages does not begin as one, or a quoted line is not read as what it was. */
#include "fuzz/fuzz.h"
#include "transfer/mbox_int.h"

#include <string.h>

static void check_line(struct str line)
{
    struct str sender = {0};
    uint64_t time = 0;
    if (mbox_from_line(line, &sender, &time)) {
        FUZZ_DEMAND(str_starts(line, STR("From ")));
        FUZZ_DEMAND(sender.n < line.n && time < UINT64_C(1) << 38);
        FUZZ_DEMAND(mbox_needs_quote(line));
    }
    if (mbox_needs_quote(line)) {
        char *quoted = malloc(line.n + 1);
        quoted[0] = '>';
        memcpy(quoted + 1, line.p, line.n);
        FUZZ_DEMAND(str_eq(mbox_unquote(str_from(quoted, line.n + 1)), line));
        free(quoted);
    } else {
        FUZZ_DEMAND(str_eq(mbox_unquote(line), line));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str rest = str_from(data, size), line;
    struct mbox_fields f;
    struct arena arena;
    arena_init(&arena, 1 << 20);
    mbox_fields_init(&f);
    while (str_cut(&rest, '\n', &line)) {
        check_line(line);
        (void)mbox_field_take(&f, line, &arena);
        FUZZ_DEMAND(f.n_keywords <= TRANSFER_KEYWORDS && f.flags < 32);
        FUZZ_DEMAND(f.uidl.n <= STORE_UIDL_MAX + 1);
    }
    arena_fini(&arena);
    return 0;
}
