/* Fuzz target: an event of penfold trace as it is read back. The input is read as one, hashed, and
 * written again; it is also taken apart into the texts of an event. Aborts when what was written
 * does not come back, or holds what would command a terminal. */
#include "base/utf8.h"
#include "fuzz/fuzz.h"
#include "trace/trace_int.h"

#include <string.h>

static void demand_harmless(struct str text)
{
    FUZZ_DEMAND(text.n <= TRACE_TEXT_MAX && utf8_is_valid(text));
    for (size_t i = 0; i < text.n; i++)
        FUZZ_DEMAND((unsigned char)text.p[i] >= ' ' && text.p[i] != 0x7f);
}

static void write_again(const struct trace_event *e)
{
    unsigned char mem[TRACE_EVENT_MAX];
    uint64_t hashes[EVENT_HASHES];
    struct arena arena = {0};
    struct trace_event back;
    struct str bytes = trace_event_pack(e, mem);
    FUZZ_DEMAND(bytes.p && trace_event_unpack(bytes, &arena, &back) == RC_OK);
    FUZZ_DEMAND(back.what == e->what && back.time == e->time && back.size == e->size);
    FUZZ_DEMAND(back.n_to <= e->n_to && trace_event_hashes(bytes, hashes) <= EVENT_HASHES);
    demand_harmless(back.id);
    demand_harmless(back.reply);
    demand_harmless(back.host);
    demand_harmless(back.mailbox);
    for (size_t i = 0; i < back.n_to; i++)
        demand_harmless(back.to[i]);
    if (back.id.n)
        FUZZ_DEMAND(trace_event_matches(&back, EVENT_BY_ID, back.id));
    arena_fini(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str input = str_from(data, size), rest = input, part[8] = {{0}};
    uint64_t hashes[EVENT_HASHES];
    struct arena arena = {0};
    struct trace_event e;
    arena_init(&arena, 4 << 20);
    enum rc rc = trace_event_unpack(input, &arena, &e);
    FUZZ_DEMAND(rc == RC_OK || rc == RC_CORRUPT || rc == RC_LIMIT);
    FUZZ_DEMAND(trace_event_hashes(input, hashes) <= EVENT_HASHES);
    if (rc == RC_OK)
        write_again(&e);
    for (size_t i = 0; i < sizeof part / sizeof *part && str_cut(&rest, '\1', &part[i]); i++)
        continue;
    e = (struct trace_event){.what = TRACE_FAILED,
                             .time = size,
                             .id = part[0],
                             .reply = part[1],
                             .host = part[2],
                             .mailbox = part[3],
                             .sender = &part[4],
                             .to = part + 5,
                             .n_to = 3};
    write_again(&e);
    arena_fini(&arena);
    return 0;
}
