/* Compression of a connection: raw DEFLATE [RFC1951], in the way that RFC 4978 uses it. zlib is met
 * here only. Pure: bytes in, bytes out; io.c reads and writes them.
 *
 * The two machines, 270 KB and 40 KB, are a loop's and not a connection's: they go from one
 * connection to the next. Invariants that make it possible:
 *  1. What is packed ends with a flush, at the end of a byte; the next block needs nothing of what
 *     was before it. Whoever packs behind somebody else begins with an empty history; while nobody
 *     comes between, it goes on with its own.
 *  2. A peer refers to all that it has sent, up to 32 KB. When another connection needs the
 *     machine, that history goes to its owner and comes back with him. Only who is left in the
 *     middle of a block keeps a machine of his own, until the end of that block.
 * So an idle connection holds what its client has said lately, and no more. Nothing of one
 * connection is ever in what another one gets or sends: both machines forget all in between.
 *
 * What comes is expanded no further than there is room for, and no further than the end of what the
 * peer has flushed, so that what follows could be something else; the allowance bounds bombs. */
#include "net/net_int.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { WINDOW = -15, LEVEL = 1, MEMORY = 8, BOUNDARY = 128, PACK = 16 << 10 };

/* So much may come out of little; beyond, so many times of what went in. */
enum { FREE_MB = 256, FACTOR = 100 };

struct deflate_machines {
    z_stream in, out;
    bool has_in, has_out;
    bool is_coding;                       /* out, without looking for repetitions */
    struct deflate *in_owner, *out_owner; /* NULL: nobody's */
};

struct deflate {
    struct deflate_machines *machines;
    char *history; /* what the peer may refer to, when no machine has it */
    size_t n_history;
    z_stream *own;   /* left in the middle of a block; NULL: not */
    bool is_at_end;  /* of a block and of a byte: only the history matters */
    bool is_flushed; /* and of what the peer has flushed: an empty block says so */
    size_t n_block;  /* came out of the block at hand */
    bool has_more;   /* the machine holds output that there was no room for */
    bool is_over;    /* the peer has ended its stream */
    uint64_t came, expanded;
};

struct deflate_machines *deflate_machines_new(void)
{
    return mem_zero(sizeof(struct deflate_machines));
}

void deflate_machines_free(struct deflate_machines **machines)
{
    struct deflate_machines *m = *machines;
    if (!m)
        return;
    if (m->has_in)
        inflateEnd(&m->in);
    if (m->has_out)
        deflateEnd(&m->out);
    free(m);
    *machines = NULL;
}

/* What zlib says where only memory can be the cause. */
static void must(int result)
{
    if (result != Z_OK)
        abort();
}

struct deflate *deflate_new(struct deflate_machines *machines)
{
    struct deflate *d = mem_zero(sizeof *d);
    d->machines = machines;
    d->is_at_end = d->is_flushed = true;
    return d;
}

void deflate_free(struct deflate **deflate)
{
    struct deflate *d = *deflate;
    if (!d)
        return;
    if (d->machines->in_owner == d)
        d->machines->in_owner = NULL;
    if (d->machines->out_owner == d)
        d->machines->out_owner = NULL;
    if (d->own)
        inflateEnd(d->own);
    free(d->own);
    free(d->history);
    free(d);
    *deflate = NULL;
}

/* --- what comes ------------------------------------------------------------------------------- */

static void save_history(struct deflate *d, z_stream *from)
{
    unsigned n = 0;
    must(inflateGetDictionary(from, NULL, &n));
    d->history = mem_alloc(n + 1);
    must(inflateGetDictionary(from, (Bytef *)d->history, &n));
    d->n_history = n;
}

static void hand_over(struct deflate_machines *m)
{
    struct deflate *d = m->in_owner;
    m->in_owner = NULL;
    if (!d)
        return;
    if (d->is_at_end) {
        save_history(d, &m->in);
        return;
    }
    d->own = mem_zero(sizeof *d->own);
    must(inflateCopy(d->own, &m->in));
}

static z_stream *take_machine(struct deflate *d)
{
    struct deflate_machines *m = d->machines;
    if (d->own)
        return d->own;
    if (m->in_owner == d)
        return &m->in;
    hand_over(m);
    must(m->has_in ? inflateReset(&m->in) : inflateInit2(&m->in, WINDOW));
    m->has_in = true;
    m->in_owner = d;
    if (d->n_history)
        must(inflateSetDictionary(&m->in, (Bytef *)d->history, (uInt)d->n_history));
    free(d->history);
    d->history = NULL;
    d->n_history = 0;
    return &m->in;
}

static void drop_own(struct deflate *d)
{
    if (!d->own || !d->is_at_end)
        return;
    save_history(d, d->own);
    inflateEnd(d->own);
    free(d->own);
    d->own = NULL;
}

bool deflate_has_more(const struct deflate *d)
{
    return d->has_more;
}

bool deflate_is_over(const struct deflate *d)
{
    return d->is_over;
}

bool deflate_is_flushed(const struct deflate *d)
{
    return d->is_flushed;
}

/* To the end of a block, or as far as there is input and room. A block may end with a byte by
 * chance; what the peer flushes ends with an empty one, which always does. */
static int expand_block(struct deflate *d, z_stream *z)
{
    uInt before = z->avail_out;
    int result = inflate(z, Z_BLOCK);
    bool is_over = result == Z_STREAM_END, is_end = z->data_type & BOUNDARY;
    d->n_block += before - z->avail_out;
    d->is_at_end = is_over || (result == Z_OK && z->data_type == BOUNDARY);
    d->is_flushed = is_over || (d->is_at_end && !d->n_block);
    d->n_block = is_end ? 0 : d->n_block;
    return result;
}

enum rc deflate_expand(struct deflate *d, struct str from, size_t *out_used, char *to, size_t room,
                       size_t *out_n)
{
    z_stream *z = take_machine(d);
    int result = Z_OK;
    z->next_in = (Bytef *)(uintptr_t)from.p;
    z->avail_in = (uInt)from.n;
    z->next_out = (Bytef *)to;
    z->avail_out = (uInt)room;
    do
        result = expand_block(d, z);
    while (result == Z_OK && z->avail_in && z->avail_out && !d->is_flushed);
    d->is_over = result == Z_STREAM_END;
    d->has_more = result == Z_OK && !z->avail_out && !d->is_at_end;
    *out_used = from.n - z->avail_in;
    *out_n = room - z->avail_out;
    d->came += *out_used;
    d->expanded += *out_n;
    drop_own(d);
    if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR)
        return RC_SYNTAX;
    return d->expanded > ((uint64_t)FREE_MB << 20) + FACTOR * d->came ? RC_LIMIT : RC_OK;
}

/* --- what goes -------------------------------------------------------------------------------- */

/* Base64 of what is compressed already, half of the bytes of mail, repeats nothing, and zlib looks
 * longest for what it does not find. So it is only coded: five times as fast, and no longer. Such a
 * piece is known by its middle, in which no byte is much more frequent than 64 equally likely ones
 * are; text has its spaces, and base64 of text its favourites. */
enum { PIECE = 4 << 10, SAMPLE = 512, OFTEN = 20 };

static bool is_random(struct str piece)
{
    unsigned char counts[256] = {0};
    if (piece.n < 2 * SAMPLE)
        return false;
    struct str sample = str_sub(piece, (piece.n - SAMPLE) / 2, SAMPLE);
    for (size_t i = 0; i < sample.n; i++)
        if (++counts[(unsigned char)sample.p[i]] > OFTEN)
            return false;
    return true;
}

static z_stream *take_packer(struct deflate *d)
{
    struct deflate_machines *m = d->machines;
    if (m->out_owner == d)
        return &m->out;
    must(m->has_out ? deflateReset(&m->out)
                    : deflateInit2(&m->out, LEVEL, Z_DEFLATED, WINDOW, MEMORY, Z_DEFAULT_STRATEGY));
    m->has_out = true;
    m->out_owner = d;
    return &m->out;
}

static void pack_piece(z_stream *z, struct str piece, int flush, struct buf *out)
{
    z->next_in = (Bytef *)(uintptr_t)piece.p;
    z->avail_in = (uInt)piece.n;
    do {
        char *to = buf_reserve(out, PACK);
        if (!to) {
            out->over = true;
            return;
        }
        z->next_out = (Bytef *)to;
        z->avail_out = PACK;
        deflate(z, flush);
        buf_commit(out, PACK - z->avail_out);
    } while (!z->avail_out);
}

/* What the machine has in hand goes as it was meant. */
static void choose(struct deflate_machines *m, bool is_coding, struct buf *out)
{
    if (m->is_coding == is_coding)
        return;
    pack_piece(&m->out, (struct str){0}, Z_BLOCK, out);
    if (out->over)
        return;
    must(deflateParams(&m->out, LEVEL, is_coding ? Z_HUFFMAN_ONLY : Z_DEFAULT_STRATEGY));
    m->is_coding = is_coding;
}

void deflate_pack(struct deflate *d, struct str from, bool is_last, struct buf *out)
{
    z_stream *z = take_packer(d);
    int flush = is_last ? Z_FINISH : Z_SYNC_FLUSH;
    do {
        struct str piece = str_head(from, PIECE);
        from = str_skip(from, piece.n);
        choose(d->machines, is_random(piece), out);
        pack_piece(z, piece, from.n ? Z_NO_FLUSH : flush, out);
    } while (from.n && !out->over);
    if (is_last)
        d->machines->out_owner = NULL;
}
