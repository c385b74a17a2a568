/* Keys and values of an account's partition, as docs/internals/store.md draws them.
 *
 * Numbers are big-endian, so that keys sort by number. Every value begins with a format byte; those
 * with message content go on with a codec and a key id. Decoders believe nothing: RC_CORRUPT for
 * all that an encoder here would not have written; bytes behind what is known are left alone. */
#include "store/store_int.h"

#include <string.h>

/* --- keys ------------------------------------------------------------------------------------- */

struct str key_str(const struct key *k)
{
    return str_from(k->b, k->n);
}

struct key key_of_kind(char kind)
{
    struct key k = {.n = 1};
    k.b[0] = (unsigned char)kind;
    return k;
}

/* kind, 4 bytes of number, more bytes */
struct key key_of(char kind, uint32_t a, const void *more, size_t n)
{
    struct key k = key_of_kind(kind);
    put_u32(k.b + 1, a);
    if (n)
        memcpy(k.b + 5, more, n);
    k.n = 5 + n;
    return k;
}

static struct key key_of_u64(char kind, uint64_t a)
{
    struct key k = key_of_kind(kind);
    put_u64(k.b + 1, a);
    k.n = 9;
    return k;
}

static struct key key_of_u64_u32(char kind, uint64_t a, uint32_t b)
{
    struct key k = key_of_u64(kind, a);
    put_u32(k.b + 9, b);
    k.n = 13;
    return k;
}

static struct key key_of_u32_u32(char kind, uint32_t a, uint32_t b)
{
    unsigned char more[4];
    put_u32(more, b);
    return key_of(kind, a, more, sizeof more);
}

struct key key_hot(void)
{
    return key_of_kind('s');
}

struct key key_mailbox(uint32_t mailbox)
{
    return key_of('m', mailbox, NULL, 0);
}

struct key key_row(uint32_t mailbox, uint32_t uid)
{
    return key_of_u32_u32('u', mailbox, uid);
}

struct key key_packed(uint32_t mailbox, uint32_t uid)
{
    return key_of_u32_u32('U', mailbox, uid / RECORD_PACK);
}

struct key key_email(uint64_t email)
{
    return key_of_u64('e', email);
}

struct key key_tombstone(uint64_t modseq, uint32_t n)
{
    return key_of_u64_u32('d', modseq, n);
}

struct key key_change(uint64_t modseq, uint32_t n)
{
    return key_of_u64_u32('c', modseq, n);
}

struct key key_vanished(uint32_t mailbox, uint64_t modseq)
{
    unsigned char more[8];
    put_u64(more, modseq);
    return key_of('v', mailbox, more, sizeof more);
}

struct key key_member(uint64_t thread, uint64_t email)
{
    struct key k = key_of_u64('t', thread);
    put_u64(k.b + 9, email);
    k.n = 17;
    return k;
}

struct key key_message_id(uint64_t hash)
{
    return key_of_u64('i', hash);
}

struct key key_keyword(unsigned n)
{
    struct key k = key_of_kind('k');
    k.b[1] = (unsigned char)n;
    k.n = 2;
    return k;
}

struct key key_origins(uint64_t source, uint64_t modseq)
{
    struct key k = key_of_u64('p', source);
    put_u64(k.b + 9, modseq);
    k.n = 17;
    return k;
}

struct key key_uidls(uint32_t mailbox, uint32_t uid)
{
    return key_of_u32_u32('l', mailbox, uid);
}

struct key key_collected(uint64_t time, uint32_t mailbox, uint32_t uid)
{
    struct key k = key_of_u64('g', time);
    put_u32(k.b + 9, mailbox);
    put_u32(k.b + 13, uid);
    k.n = 17;
    return k;
}

struct key key_delivery(struct str id)
{
    struct key k = key_of_kind('z');
    memcpy(k.b + 1, id.p, id.n < 16 ? id.n : 16);
    k.n = 17;
    return k;
}

struct key key_note(struct str key)
{
    struct key k = key_of_kind('x');
    size_t n = key.n < RECORD_KEY - 1 ? key.n : RECORD_KEY - 1;
    if (n)
        memcpy(k.b + 1, key.p, n);
    k.n = 1 + n;
    return k;
}

struct key key_outbox(uint64_t seq)
{
    return key_of_u64('o', seq);
}

struct key key_subscription(struct str name, const uint64_t hash_key[2])
{
    return key_of_u64('n', str_hash(name, hash_key));
}

struct key key_after(struct str key, size_t n)
{
    struct key k = {.n = n < key.n ? n : key.n};
    memcpy(k.b, key.p, k.n);
    while (k.n && k.b[k.n - 1] == 0xff)
        k.n--;
    if (k.n)
        k.b[k.n - 1]++;
    return k;
}

/* --- the beginning of every value ------------------------------------------------------------- */

static struct packer value_begin(void *mem, size_t size)
{
    struct packer w;
    pack_init(&w, mem, size);
    pack_u8(&w, RECORD_FORMAT);
    return w;
}

static struct unpacker value_open(struct str value)
{
    struct unpacker r;
    unpack_init(&r, value);
    if (unpack_u8(&r) != RECORD_FORMAT)
        r.failed = true;
    return r;
}

static enum rc value_done(const struct unpacker *r, bool is_sane)
{
    enum rc rc = unpack_done(r);
    return rc == RC_OK && !is_sane ? RC_CORRUPT : rc;
}

static void pack_blob(struct packer *w, struct kv_blob_id blob)
{
    pack_bytes(w, str_from(blob.b, sizeof blob.b));
}

static struct kv_blob_id unpack_blob(struct unpacker *r)
{
    struct kv_blob_id blob = {{0}};
    struct str bytes = unpack_bytes(r, sizeof blob.b);
    if (bytes.n == sizeof blob.b)
        memcpy(blob.b, bytes.p, sizeof blob.b);
    return blob;
}

/* --- s, m ------------------------------------------------------------------------------------- */

struct str hot_encode(const struct hot *h, void *mem, size_t size)
{
    struct packer w = value_begin(mem, size);
    pack_u8(&w, h->is_dying);
    pack_u64(&w, h->generation);
    pack_u64(&w, h->next_modseq);
    pack_u64(&w, h->next_email);
    pack_u64(&w, h->next_thread);
    pack_u64(&w, h->next_outbox);
    pack_u32(&w, h->next_mailbox);
    pack_u64(&w, h->bytes);
    pack_u64(&w, h->messages);
    pack_u64(&w, h->quota.bytes);
    pack_u64(&w, h->quota.messages);
    pack_u64(&w, h->floor);
    pack_u64(&w, h->hash_key[0]);
    pack_u64(&w, h->hash_key[1]);
    pack_u8(&w, (uint8_t)h->quota.inherited);
    pack_u64(&w, h->quota.group);
    pack_u32(&w, h->last_uidvalidity);
    return pack_done(&w);
}

enum rc hot_decode(struct str value, struct hot *out)
{
    struct unpacker r = value_open(value);
    *out = (struct hot){0};
    out->is_dying = unpack_u8(&r) != 0;
    out->generation = unpack_u64(&r);
    out->next_modseq = unpack_u64(&r);
    out->next_email = unpack_u64(&r);
    out->next_thread = unpack_u64(&r);
    out->next_outbox = unpack_u64(&r);
    out->next_mailbox = unpack_u32(&r);
    out->bytes = unpack_u64(&r);
    out->messages = unpack_u64(&r);
    out->quota.bytes = unpack_u64(&r);
    out->quota.messages = unpack_u64(&r);
    out->floor = unpack_u64(&r);
    out->hash_key[0] = unpack_u64(&r);
    out->hash_key[1] = unpack_u64(&r);
    if (r.n) { /* release 0.1.0 wrote no more */
        out->quota.inherited = unpack_u8(&r);
        out->quota.group = unpack_u64(&r);
    }
    if (r.n)
        out->last_uidvalidity = unpack_u32(&r);
    return value_done(&r, out->next_modseq && out->next_email && out->next_thread);
}

struct str mailbox_encode(const struct mailbox_record *r, void *mem, size_t size)
{
    struct packer w = value_begin(mem, size);
    pack_u64(&w, r->generation);
    pack_u32(&w, r->m.parent);
    pack_u8(&w, (uint8_t)r->m.role);
    pack_u32(&w, r->m.uidvalidity);
    pack_u32(&w, r->m.uidnext);
    pack_u64(&w, r->m.highest_modseq);
    pack_u32(&w, r->m.exists);
    pack_u32(&w, r->m.unseen);
    pack_u32(&w, r->m.first_unseen);
    pack_u64(&w, r->m.bytes);
    pack_u32(&w, r->packed);
    pack_u32(&w, r->recent);
    pack_str16(&w, r->m.name);
    pack_u16(&w, 0); /* entries of an access list */
    pack_u8(&w, (uint8_t)r->state);
    pack_u32(&w, r->removed_below);
    return pack_done(&w);
}

enum rc mailbox_decode(uint32_t id, struct str value, struct mailbox_record *out)
{
    struct unpacker r = value_open(value);
    *out = (struct mailbox_record){.m.id = id};
    out->generation = unpack_u64(&r);
    out->m.parent = unpack_u32(&r);
    unsigned role = unpack_u8(&r);
    out->m.role = (enum store_role)role;
    out->m.uidvalidity = unpack_u32(&r);
    out->m.uidnext = unpack_u32(&r);
    out->m.highest_modseq = unpack_u64(&r);
    out->m.exists = unpack_u32(&r);
    out->m.unseen = unpack_u32(&r);
    out->m.first_unseen = unpack_u32(&r);
    out->m.bytes = unpack_u64(&r);
    out->packed = unpack_u32(&r);
    out->recent = unpack_u32(&r);
    out->m.name = unpack_str16(&r);
    (void)unpack_u16(&r);
    unsigned state = MAILBOX_OPEN;
    if (r.n) { /* release 0.1.0 wrote no more */
        state = unpack_u8(&r);
        out->removed_below = unpack_u32(&r);
    }
    out->state = (enum mailbox_state)state;
    out->m.is_placeholder = state == MAILBOX_PLACEHOLDER;
    return value_done(&r, role < STORE_ROLES && state <= MAILBOX_REMOVED && out->m.uidnext &&
                              out->m.uidvalidity && out->m.name.n <= STORE_NAME_MAX);
}

/* --- u, U ------------------------------------------------------------------------------------- */

static void pack_row(struct packer *w, const struct store_row *row)
{
    pack_u32(w, row->flags);
    pack_u64(w, row->keywords);
    pack_u64(w, row->email);
    pack_u64(w, row->modseq);
    pack_u64(w, row->size);
    pack_u64(w, row->received);
    pack_u64(w, row->saved);
}

static struct store_row unpack_row(struct unpacker *r, uint32_t uid)
{
    struct store_row row = {.uid = uid};
    row.flags = unpack_u32(r);
    row.keywords = unpack_u64(r);
    row.email = unpack_u64(r);
    row.modseq = unpack_u64(r);
    row.size = unpack_u64(r);
    row.received = unpack_u64(r);
    row.saved = unpack_u64(r);
    return row;
}

struct str row_encode(const struct store_row *row, void *mem, size_t size)
{
    struct packer w = value_begin(mem, size);
    pack_row(&w, row);
    return pack_done(&w);
}

enum rc row_decode(uint32_t uid, struct str value, struct store_row *out)
{
    struct unpacker r = value_open(value);
    *out = unpack_row(&r, uid);
    return value_done(&r, uid != 0);
}

struct str packed_encode(const struct store_row *rows, size_t n, void *mem, size_t size)
{
    struct packer w = value_begin(mem, size);
    pack_u8(&w, (uint8_t)n);
    for (size_t i = 0; i < n; i++) {
        pack_u8(&w, (uint8_t)(rows[i].uid % RECORD_PACK));
        pack_row(&w, &rows[i]);
    }
    return pack_done(&w);
}

enum rc packed_decode(struct str key, struct str value, struct store_row *out, size_t *out_n)
{
    struct unpacker r = value_open(value);
    *out_n = 0;
    if (key.n != 9)
        return RC_CORRUPT;
    uint32_t base = get_u32(key.p + 5) * RECORD_PACK;
    size_t n = unpack_u8(&r);
    if (n > RECORD_PACK)
        return RC_CORRUPT;
    for (size_t i = 0; i < n; i++) {
        uint32_t low = unpack_u8(&r);
        out[i] = unpack_row(&r, base + low);
        if (low >= RECORD_PACK || (i && out[i].uid <= out[i - 1].uid))
            return RC_CORRUPT;
    }
    *out_n = n;
    return value_done(&r, true);
}

/* --- e, d ------------------------------------------------------------------------------------- */

static void pack_email(struct packer *w, const struct email *e)
{
    pack_u8(w, e->codec);
    pack_u32(w, e->key_id);
    pack_blob(w, e->blob);
    pack_u64(w, e->size);
    pack_u64(w, e->received);
    pack_u64(w, e->created);
    pack_u64(w, e->thread);
    pack_u64(w, e->message_id);
    pack_u16(w, (uint16_t)e->n_places);
    for (size_t i = 0; i < e->n_places; i++) {
        pack_u32(w, e->places[i].mailbox);
        pack_u32(w, e->places[i].uid);
    }
}

static void unpack_email(struct unpacker *r, struct email *out)
{
    out->codec = unpack_u8(r);
    out->key_id = unpack_u32(r);
    out->blob = unpack_blob(r);
    out->size = unpack_u64(r);
    out->received = unpack_u64(r);
    out->created = unpack_u64(r);
    out->thread = unpack_u64(r);
    out->message_id = unpack_u64(r);
    out->n_places = unpack_u16(r);
    if (out->n_places > RECORD_COPIES) {
        r->failed = true;
        out->n_places = 0;
    }
    for (size_t i = 0; i < out->n_places; i++) {
        out->places[i].mailbox = unpack_u32(r);
        out->places[i].uid = unpack_u32(r);
    }
}

struct str email_encode(const struct email *e, void *mem, size_t size)
{
    struct packer w = value_begin(mem, size);
    pack_email(&w, e);
    return pack_done(&w);
}

enum rc email_decode(struct str value, struct email *out)
{
    struct unpacker r = value_open(value);
    unpack_email(&r, out);
    return value_done(&r, out->n_places > 0);
}

/* Format 2: time8 mailbox4 n2, then n times last1 uid4 row email. Format 1, of release 0.1.0: time8
 * last1 mailbox4 uid4 row email. */
enum { TOMBSTONES_FORMAT = 2, TOMBSTONES_COUNT_AT = 13 };

void tombstones_begin(struct packer *w, void *mem, uint64_t time, uint32_t mailbox)
{
    pack_init(w, mem, TOMBSTONES_MAX);
    pack_u8(w, TOMBSTONES_FORMAT);
    pack_u64(w, time);
    pack_u32(w, mailbox);
    pack_u16(w, 0);
}

void tombstones_add(struct packer *w, const struct tombstone *d)
{
    unsigned char *count = w->p + TOMBSTONES_COUNT_AT;
    put_u16(count, (uint16_t)(get_u16(count) + 1));
    pack_u8(w, d->is_last);
    pack_u32(w, d->row.uid);
    pack_row(w, &d->row);
    pack_email(w, &d->record);
}

enum rc tombstones_open(struct str value, struct tombstones *out)
{
    struct unpacker *r = &out->rest;
    *out = (struct tombstones){0};
    unpack_init(r, value);
    unsigned format = unpack_u8(r);
    out->time = unpack_u64(r);
    out->is_first_format = format == RECORD_FORMAT;
    if (out->is_first_format) {
        out->n = 1;
        return unpack_done(r);
    }
    out->mailbox = unpack_u32(r);
    out->n = unpack_u16(r);
    bool is_sane = format == TOMBSTONES_FORMAT && out->n && out->n <= RECORD_TOMBSTONES;
    return value_done(r, is_sane);
}

enum rc tombstones_next(struct tombstones *d, struct tombstone *out)
{
    struct unpacker *r = &d->rest;
    if (d->n == 0)
        return RC_EOF;
    d->n--;
    out->is_last = unpack_u8(r) != 0;
    if (d->is_first_format)
        d->mailbox = unpack_u32(r);
    uint32_t uid = unpack_u32(r);
    out->row = unpack_row(r, uid);
    unpack_email(r, &out->record);
    return value_done(r, uid != 0 && out->record.n_places > 0);
}

/* --- i, z, k, n ------------------------------------------------------------------------------- */

struct str message_id_encode(const struct message_id *i, void *mem, size_t size)
{
    struct packer w = value_begin(mem, size);
    pack_u8(&w, i->codec);
    pack_u32(&w, i->key_id);
    pack_u64(&w, i->thread);
    pack_u32(&w, i->emails);
    return pack_done(&w);
}

enum rc message_id_decode(struct str value, struct message_id *out)
{
    struct unpacker r = value_open(value);
    *out = (struct message_id){.codec = unpack_u8(&r)};
    out->key_id = unpack_u32(&r);
    out->thread = unpack_u64(&r);
    out->emails = unpack_u32(&r);
    return value_done(&r, out->thread && out->emails);
}

struct str delivery_encode(uint64_t time, void *mem, size_t size)
{
    struct packer w = value_begin(mem, size);
    pack_u64(&w, time);
    return pack_done(&w);
}

enum rc delivery_decode(struct str value, uint64_t *out_time)
{
    struct unpacker r = value_open(value);
    *out_time = unpack_u64(&r);
    return value_done(&r, true);
}

struct str text_encode(struct str text, void *mem, size_t size)
{
    struct packer w = value_begin(mem, size);
    pack_str16(&w, text);
    return pack_done(&w);
}

enum rc text_decode(struct str value, struct str *out)
{
    struct unpacker r = value_open(value);
    *out = unpack_str16(&r);
    return value_done(&r, out->n > 0);
}

/* --- o ---------------------------------------------------------------------------------------- */

struct str outbox_encode(const struct outbox *o, void *mem, size_t size)
{
    struct packer w = value_begin(mem, size);
    pack_u8(&w, o->codec);
    pack_u32(&w, o->key_id);
    pack_u8(&w, (uint8_t)o->kind);
    pack_u64(&w, o->time);
    pack_u64(&w, o->account);
    pack_u32(&w, o->mailbox);
    pack_blob(&w, o->blob);
    pack_str16(&w, o->from);
    pack_u16(&w, (uint16_t)o->n_to);
    if (o->n_to > UINT16_MAX)
        w.failed = true;
    for (size_t i = 0; i < o->n_to && !w.failed; i++)
        pack_str16(&w, o->to[i]);
    return pack_done(&w);
}

enum rc outbox_decode(struct str value, struct arena *arena, struct outbox *out)
{
    struct unpacker r = value_open(value);
    *out = (struct outbox){.codec = unpack_u8(&r)};
    out->key_id = unpack_u32(&r);
    unsigned kind = unpack_u8(&r);
    out->kind = (enum outbox_kind)kind;
    out->time = unpack_u64(&r);
    out->account = unpack_u64(&r);
    out->mailbox = unpack_u32(&r);
    out->blob = unpack_blob(&r);
    out->from = unpack_str16(&r);
    size_t n = unpack_u16(&r);
    if (r.failed || n > r.n / 2 || kind < OUTBOX_REDIRECT || kind > OUTBOX_APPEND)
        return RC_CORRUPT;
    struct str *to = arena_alloc(arena, n * sizeof *to + 1);
    if (!to)
        return RC_LIMIT;
    for (size_t i = 0; i < n; i++)
        to[i] = unpack_str16(&r);
    out->to = to;
    out->n_to = n;
    return value_done(&r, true);
}
