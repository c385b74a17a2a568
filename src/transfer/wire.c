/* The frames between a source and a sink in two processes. Nothing that comes is believed, though
 * both sides are this program: a frame that is none ends the transfer. Pure. */
#include "transfer/wire_int.h"

#include "base/bytes.h"

enum { FIELDS_MAX = 16 << 10, IS_SUBSCRIBED = 1, IS_NAME_ALONE = 2 };

/* --- writing ---------------------------------------------------------------------------------- */

static void put_frame(struct buf *out, char kind, struct str fields)
{
    unsigned char head[5];
    put_u32(head, (uint32_t)fields.n + 1);
    head[4] = (unsigned char)kind;
    buf_put(out, str_from(head, sizeof head));
    buf_put(out, fields);
}

static void put_packed(struct buf *out, char kind, const struct packer *w)
{
    struct str fields = pack_done(w);
    if (str_is_null(fields))
        out->over = true;
    else
        put_frame(out, kind, fields);
}

void wire_put_folder(struct buf *out, const struct transfer_folder *f)
{
    unsigned char mem[FIELDS_MAX];
    struct packer w;
    pack_init(&w, mem, sizeof mem);
    pack_u8(&w, (uint8_t)f->role);
    pack_u8(&w, (uint8_t)((f->is_subscribed ? IS_SUBSCRIBED : 0) |
                          (f->is_name_alone ? IS_NAME_ALONE : 0)));
    pack_u32(&w, f->uidvalidity);
    pack_str16(&w, str_head(f->name, FIELDS_MAX - 16));
    put_packed(out, 'F', &w);
}

void wire_put_message(struct buf *out, unsigned folder, const struct transfer_message *m)
{
    unsigned char mem[FIELDS_MAX];
    struct packer w;
    size_t n = m->n_keywords < TRANSFER_KEYWORDS ? m->n_keywords : TRANSFER_KEYWORDS;
    pack_init(&w, mem, sizeof mem);
    pack_u32(&w, folder);
    pack_u64(&w, m->received);
    pack_u64(&w, m->size);
    pack_u32(&w, m->flags);
    pack_u32(&w, m->uid);
    pack_str16(&w, str_head(m->label, TRANSFER_LABEL));
    pack_str16(&w, str_head(m->origin, TRANSFER_ORIGIN + 1));
    pack_str16(&w, str_head(m->uidl, STORE_UIDL_MAX + 1)); /* one too long is told of there */
    pack_u16(&w, (uint16_t)n);
    for (size_t i = 0; i < n; i++)
        pack_str16(&w, str_head(m->keywords[i], STORE_KEYWORD_MAX + 1));
    put_packed(out, 'M', &w);
}

void wire_put_bytes(struct buf *out, struct str bytes)
{
    while (bytes.n) {
        put_frame(out, 'B', str_head(bytes, WIRE_BYTES));
        bytes = str_skip(bytes, WIRE_BYTES);
    }
}

void wire_put_end(struct buf *out, struct str why)
{
    put_frame(out, 'E', str_head(why, TRANSFER_WHY));
}

void wire_put_tell(struct buf *out, struct str label, bool is_refused, struct str why)
{
    unsigned char mem[FIELDS_MAX];
    struct packer w;
    pack_init(&w, mem, sizeof mem);
    pack_u8(&w, is_refused);
    pack_str16(&w, str_head(label, TRANSFER_LABEL));
    pack_str16(&w, str_head(why, TRANSFER_WHY));
    put_packed(out, 'T', &w);
}

void wire_put_finish(struct buf *out)
{
    put_frame(out, 'Q', STR(""));
}

void wire_put_origins(struct buf *out, const void *origins, size_t n)
{
    put_frame(out, 'O', str_from(origins, n * TRANSFER_ORIGIN));
}

static void put_rc(struct buf *out, char kind, enum rc rc)
{
    char byte = (char)rc;
    put_frame(out, kind, str_from(&byte, 1));
}

void wire_put_ready(struct buf *out, enum rc rc)
{
    put_rc(out, 'R', rc);
}

void wire_put_done(struct buf *out, enum rc rc)
{
    put_rc(out, 'A', rc);
}

void wire_put_counts(struct buf *out, const struct transfer_counts *c)
{
    unsigned char mem[32];
    struct packer w;
    pack_init(&w, mem, sizeof mem);
    pack_u64(&w, c->folders);
    pack_u64(&w, c->messages);
    pack_u64(&w, c->bytes);
    pack_u64(&w, c->refused);
    put_packed(out, 'C', &w);
}

/* --- reading ---------------------------------------------------------------------------------- */

enum rc wire_next(struct str in, char *out_kind, struct str *out_fields, size_t *out_used)
{
    if (in.n < 4)
        return RC_AGAIN;
    uint32_t n = get_u32(in.p);
    if (n == 0 || n > WIRE_FRAME - 4)
        return RC_CORRUPT;
    if (in.n - 4 < n)
        return RC_AGAIN;
    *out_kind = in.p[4];
    *out_fields = str_sub(in, 5, n - 1);
    *out_used = 4 + (size_t)n;
    return RC_OK;
}

static enum rc give_folder(struct transfer_sink *sink, struct str fields)
{
    struct transfer_folder f = {0};
    struct unpacker r;
    unsigned n;
    unpack_init(&r, fields);
    unsigned role = unpack_u8(&r), bits = unpack_u8(&r);
    f.role = (enum store_role)role;
    f.is_subscribed = bits & IS_SUBSCRIBED;
    f.is_name_alone = bits & IS_NAME_ALONE;
    f.uidvalidity = unpack_u32(&r);
    f.name = unpack_str16(&r);
    if (role >= STORE_ROLES)
        return RC_CORRUPT;
    TRY(unpack_done(&r));
    return transfer_folder(sink, &f, &n);
}

static enum rc give_message(struct transfer_sink *sink, struct str fields)
{
    struct transfer_message m = {0};
    struct str keywords[TRANSFER_KEYWORDS];
    struct unpacker r;
    unpack_init(&r, fields);
    unsigned folder = unpack_u32(&r);
    m.received = unpack_u64(&r);
    m.size = unpack_u64(&r);
    m.flags = unpack_u32(&r);
    m.uid = unpack_u32(&r);
    m.label = unpack_str16(&r);
    m.origin = unpack_str16(&r);
    m.uidl = unpack_str16(&r);
    m.n_keywords = unpack_u16(&r);
    if (m.n_keywords > TRANSFER_KEYWORDS)
        return RC_CORRUPT;
    for (size_t i = 0; i < m.n_keywords; i++)
        keywords[i] = unpack_str16(&r);
    m.keywords = keywords;
    TRY(unpack_done(&r));
    return transfer_begin(sink, folder, &m);
}

static enum rc give_tell(struct transfer_sink *sink, struct str fields)
{
    struct str label, why;
    bool is_refused;
    TRY(wire_take_tell(fields, &label, &is_refused, &why));
    return transfer_tell(sink, label, is_refused, why);
}

enum rc wire_give(struct transfer_sink *sink, char kind, struct str fields)
{
    switch (kind) {
    case 'F':
        return give_folder(sink, fields);
    case 'M':
        return give_message(sink, fields);
    case 'B':
        return transfer_bytes(sink, fields);
    case 'E':
        return fields.n ? transfer_give_up(sink, fields) : transfer_end(sink);
    case 'T':
        return give_tell(sink, fields);
    case 'Q':
        TRY(transfer_finish(sink));
        return RC_EOF;
    default:
        return RC_NOTFOUND;
    }
}

enum rc wire_take_tell(struct str fields, struct str *out_label, bool *out_is_refused,
                       struct str *out_why)
{
    struct unpacker r;
    unpack_init(&r, fields);
    *out_is_refused = unpack_u8(&r) != 0;
    *out_label = unpack_str16(&r);
    *out_why = unpack_str16(&r);
    return unpack_done(&r);
}

enum rc wire_take_counts(struct str fields, struct transfer_counts *out)
{
    struct unpacker r;
    unpack_init(&r, fields);
    out->folders = unpack_u64(&r);
    out->messages = unpack_u64(&r);
    out->bytes = unpack_u64(&r);
    out->refused = unpack_u64(&r);
    return unpack_done(&r);
}

enum rc wire_take_rc(struct str fields, enum rc *out)
{
    if (fields.n != 1 || (unsigned char)fields.p[0] >= RC_COUNT)
        return RC_CORRUPT;
    *out = (enum rc)(unsigned char)fields.p[0];
    return RC_OK;
}
