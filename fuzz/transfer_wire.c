/* Fuzz target: frames of a transfer, and the notes of an archive. Aborts when a frame is taken that
 * goes beyond the input, a message of no folder, or a field that is longer than it may be. */
#include "fuzz/fuzz.h"
#include "transfer/archive_int.h"
#include "transfer/wire_int.h"

struct checks {
    struct transfer_sink sink;
    unsigned folders;
};

static enum rc folder(struct transfer_sink *sink, const struct transfer_folder *f, unsigned *out_n)
{
    FUZZ_DEMAND(f->role < STORE_ROLES);
    *out_n = ((struct checks *)sink)->folders++;
    return RC_OK;
}

static enum rc begin(struct transfer_sink *sink, unsigned n, const struct transfer_message *m)
{
    struct buf out = {.cap = 1 << 20};
    FUZZ_DEMAND(m->n_keywords <= TRANSFER_KEYWORDS);
    wire_put_message(&out, n, m);
    FUZZ_DEMAND(!out.over && buf_len(&out) <= WIRE_FRAME);
    buf_fini(&out);
    return RC_OK;
}

static enum rc bytes(struct transfer_sink *sink, struct str piece)
{
    FUZZ_DEMAND(piece.n < WIRE_FRAME);
    return RC_OK;
}

static enum rc end(struct transfer_sink *sink, struct str why)
{
    return RC_OK;
}

static enum rc finish(struct transfer_sink *sink)
{
    return RC_OK;
}

static const struct transfer_sink_calls calls = {
    .folder = folder, .begin = begin, .bytes = bytes, .end = end, .finish = finish};

static void check_frames(struct str in)
{
    struct checks c = {.sink = {.calls = &calls}};
    struct transfer_counts counts;
    struct str fields;
    size_t used;
    char kind;
    while (wire_next(in, &kind, &fields, &used) == RC_OK) {
        enum rc result;
        FUZZ_DEMAND(used <= in.n && fields.n < used);
        (void)wire_give(&c.sink, kind, fields);
        (void)wire_take_counts(fields, &counts);
        if (wire_take_rc(fields, &result) == RC_OK)
            FUZZ_DEMAND(result < RC_COUNT);
        in = str_skip(in, used);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = str_from(data, size);
    struct transfer_folder f;
    struct transfer_message m = {0};
    struct arena arena;
    arena_init(&arena, 1 << 20);
    check_frames(text);
    if (archive_read_folder(text, &f) == RC_OK)
        FUZZ_DEMAND(f.name.n > 0 && f.role < STORE_ROLES);
    (void)archive_read_message(text, &arena, &m);
    FUZZ_DEMAND(m.n_keywords <= TRANSFER_KEYWORDS);
    arena_fini(&arena);
    return 0;
}
