/* Fuzz target: what comes compressed. Two connections share the machines, one a step behind the
 * other; the first byte says how the input is cut. Aborts when what comes out depends on the cuts
 * or on the other connection, or is not what zlib makes of it, or when what is packed does not come
 * back. */
#include "base/buf.h"
#include "fuzz/fuzz.h"
#include "net/net_int.h"

#include <zlib.h>

enum { MOST = 1 << 20 };

static enum rc expand(struct deflate *d, struct str *rest, size_t step, struct buf *out)
{
    char text[300];
    size_t used, n, room = step * 4 + 1;
    struct str piece = str_head(*rest, step);
    enum rc rc = deflate_expand(d, piece, &used, text, room, &n);
    *rest = str_skip(*rest, used);
    if (rc == RC_OK)
        FUZZ_DEMAND(buf_add(out, str_from(text, n)) == RC_OK);
    return rc;
}

static bool has_end(const struct deflate *d, struct str rest, const struct buf *out)
{
    return deflate_is_over(d) || (!rest.n && !deflate_has_more(d)) || buf_len(out) > MOST;
}

/* What zlib makes of all of it at once, as far as that is good. */
static void expand_plain(struct str in, struct buf *out)
{
    z_stream z = {0};
    int result = Z_OK;
    FUZZ_DEMAND(inflateInit2(&z, -15) == Z_OK);
    z.next_in = (Bytef *)(uintptr_t)in.p;
    z.avail_in = (uInt)in.n;
    while (result == Z_OK && buf_len(out) <= MOST) {
        z.next_out = (Bytef *)buf_reserve(out, 4096);
        z.avail_out = 4096;
        result = inflate(&z, Z_NO_FLUSH);
        buf_commit(out, 4096 - z.avail_out);
    }
    inflateEnd(&z);
}

static void pack_back(struct deflate_machines *m, struct str text)
{
    struct deflate *a = deflate_new(m), *b = deflate_new(m);
    struct buf packed = {.cap = 4 * MOST}, other = {.cap = 4 * MOST}, again = {.cap = 4 * MOST};
    for (size_t at = 0; at < text.n; at += text.n / 3 + 1) {
        deflate_pack(a, str_sub(text, at, text.n / 3 + 1), false, &packed);
        if (at)
            deflate_pack(b, STR("in between"), false, &other);
    }
    FUZZ_DEMAND(!packed.over);
    expand_plain(buf_str(&packed), &again);
    FUZZ_DEMAND(str_eq(buf_str(&again), text));
    deflate_free(&a);
    deflate_free(&b);
    buf_fini(&packed);
    buf_fini(&other);
    buf_fini(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct str in = str_from(data + 1, size - 1), rest[2] = {in, in};
    size_t step[2] = {data[0] % 64 + 1, 7};
    struct deflate_machines *m = deflate_machines_new();
    struct deflate *d[2] = {deflate_new(m), deflate_new(m)};
    struct buf out[2] = {{.cap = 2 * MOST}, {.cap = 2 * MOST}}, plain = {.cap = 2 * MOST};
    enum rc rc[2] = {RC_OK, RC_OK};
    bool is_done[2] = {false, false};
    while (!is_done[0] || !is_done[1])
        for (int i = 0; i < 2; i++) {
            if (is_done[i])
                continue;
            rc[i] = expand(d[i], &rest[i], step[i], &out[i]);
            is_done[i] = rc[i] != RC_OK || has_end(d[i], rest[i], &out[i]);
        }
    FUZZ_DEMAND((rc[0] == RC_OK) == (rc[1] == RC_OK) || buf_len(&out[0]) > MOST ||
                buf_len(&out[1]) > MOST);
    expand_plain(in, &plain);
    for (int i = 0; i < 2; i++) {
        size_t n = buf_len(&out[i]) < buf_len(&plain) ? buf_len(&out[i]) : buf_len(&plain);
        FUZZ_DEMAND(str_eq(str_head(buf_str(&out[i]), n), str_head(buf_str(&plain), n)));
        FUZZ_DEMAND(rc[i] != RC_OK || n == buf_len(&plain) || n > MOST);
    }
    pack_back(m, in);
    for (int i = 0; i < 2; i++) {
        deflate_free(&d[i]);
        buf_fini(&out[i]);
    }
    buf_fini(&plain);
    deflate_machines_free(&m);
    return 0;
}
