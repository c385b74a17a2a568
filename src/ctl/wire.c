/* Requests and answers as frames. Both ends are Penfold and may be of different versions: a frame
 * starts with a format byte. */
#include "ctl/ctl_int.h"

#include "base/mem.h"

#include <string.h>

enum { FORMAT = 1, HEAD = 4 };

static void put_number(struct buf *out, uint32_t n)
{
    char bytes[4];
    put_u32(bytes, n);
    buf_put(out, str_from(bytes, 4));
}

static void put_text(struct buf *out, struct str s)
{
    put_number(out, str_is_null(s) ? UINT32_MAX : (uint32_t)s.n);
    buf_put(out, s);
}

static enum rc finish(struct buf *out)
{
    if (out->over)
        return RC_LIMIT;
    put_u32(out->mem + out->from, (uint32_t)(buf_len(out) - HEAD));
    return RC_OK;
}

static void begin(struct buf *out)
{
    put_number(out, 0);
    buf_put(out, str_from(&(char){FORMAT}, 1));
}

static struct str take_text(struct unpacker *r)
{
    uint32_t n = unpack_u32(r);
    return n == UINT32_MAX ? (struct str){0} : unpack_bytes(r, n);
}

/* The frame's inside, when all of it is there. */
static enum rc open_frame(struct str input, size_t max, struct unpacker *out)
{
    if (input.n < HEAD)
        return RC_AGAIN;
    size_t n = get_u32(input.p);
    if (n > max)
        return RC_LIMIT;
    if (input.n - HEAD < n)
        return RC_AGAIN;
    unpack_init(out, str_sub(input, HEAD, n));
    return unpack_u8(out) == FORMAT ? RC_OK : RC_CORRUPT;
}

enum rc ctl_request_pack(const struct admin_request *request, struct buf *out)
{
    begin(out);
    put_number(out, (uint32_t)request->n_words);
    for (size_t i = 0; i < request->n_words; i++)
        put_text(out, request->words[i]);
    put_text(out, request->password);
    return finish(out);
}

enum rc ctl_request_unpack(struct str input, struct arena *arena, struct admin_request *out)
{
    struct unpacker r;
    TRY(open_frame(input, CTL_REQUEST_MAX, &r));
    size_t n = unpack_u32(&r);
    if (n == 0 || n > ADMIN_WORDS)
        return RC_LIMIT;
    struct str *words = arena_zero(arena, n * sizeof *words);
    for (size_t i = 0; i < n; i++)
        words[i] = take_text(&r);
    *out = (struct admin_request){.words = words, .n_words = n, .password = take_text(&r)};
    return unpack_done(&r);
}

enum rc ctl_answer_pack(const struct admin_answer *answer, struct buf *out)
{
    begin(out);
    put_number(out, (uint32_t)answer->rc);
    put_text(out, answer->error);
    put_number(out, (uint32_t)answer->n_columns);
    for (size_t i = 0; i < answer->n_columns; i++)
        put_text(out, answer->columns[i]);
    put_number(out, (uint32_t)answer->n_cells);
    for (size_t i = 0; i < answer->n_cells; i++)
        put_text(out, answer->cells[i]);
    return finish(out);
}

enum rc ctl_answer_unpack(struct str input, struct admin_answer *out)
{
    struct unpacker r;
    *out = (struct admin_answer){0};
    TRY(open_frame(input, CTL_ANSWER_MAX, &r));
    uint32_t rc = unpack_u32(&r);
    out->rc = rc < RC_COUNT ? (enum rc)rc : RC_CORRUPT;
    out->error = arena_dup(&out->arena, take_text(&r));
    out->n_columns = unpack_u32(&r);
    if (out->n_columns > ADMIN_COLUMNS)
        return RC_CORRUPT;
    for (size_t i = 0; i < out->n_columns; i++)
        out->columns[i] = arena_dup(&out->arena, take_text(&r));
    out->n_cells = unpack_u32(&r);
    if (out->n_cells > r.n) /* each takes four bytes at least */
        return RC_CORRUPT;
    out->cells = arena_zero(&out->arena, (out->n_cells + 1) * sizeof *out->cells);
    for (size_t i = 0; i < out->n_cells; i++)
        out->cells[i] = arena_dup(&out->arena, take_text(&r));
    return unpack_done(&r);
}
