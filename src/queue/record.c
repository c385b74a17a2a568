/* queue's rows as bytes: see queue_int.h. Pure functions. Whatever a row holds, reading it gives
 * RC_CORRUPT at worst. */
#include "queue/queue_int.h"

#include <stdio.h>
#include <string.h>

struct str queue_item_key(struct queue_id id, unsigned char to[QUEUE_ITEM_KEY])
{
    to[0] = 'm';
    memcpy(to + 1, id.b, sizeof id.b);
    return str_from(to, QUEUE_ITEM_KEY);
}

struct str queue_recipient_key(struct queue_id id, size_t n, unsigned char to[QUEUE_RECIPIENT_KEY])
{
    to[0] = 'r';
    memcpy(to + 1, id.b, sizeof id.b);
    put_u16(to + 17, (uint16_t)n);
    return str_from(to, QUEUE_RECIPIENT_KEY);
}

struct str queue_status_key(struct queue_id id, unsigned char to[QUEUE_ITEM_KEY])
{
    to[0] = 's';
    memcpy(to + 1, id.b, sizeof id.b);
    return str_from(to, QUEUE_ITEM_KEY);
}

struct str queue_due_key(const struct queue_due *entry, unsigned char to[QUEUE_DUE_KEY])
{
    to[0] = 'd';
    to[1] = (unsigned char)entry->kind;
    put_u64(to + 2, entry->due);
    memcpy(to + 10, entry->id.b, sizeof entry->id.b);
    put_u16(to + 26, entry->number);
    return str_from(to, QUEUE_DUE_KEY);
}

struct str queue_also_key(const unsigned char hash[3], struct queue_id id,
                          unsigned char to[QUEUE_ALSO_KEY])
{
    to[0] = 'x';
    memcpy(to + 1, hash, 3);
    memcpy(to + 4, id.b, sizeof id.b);
    return str_from(to, QUEUE_ALSO_KEY);
}

/* FNV-1a: it is stored, so it has no key; who makes collisions makes listings slower. */
void queue_domain_hash(struct str domain, unsigned char to[3])
{
    uint32_t hash = 2166136261U;
    for (size_t i = 0; i < domain.n; i++)
        hash = (hash ^ (unsigned char)ascii_lower(domain.p[i])) * 16777619U;
    hash ^= hash >> 24;
    to[0] = (unsigned char)(hash >> 16);
    to[1] = (unsigned char)(hash >> 8);
    to[2] = (unsigned char)hash;
}

static struct str short_enough(struct str s)
{
    return s.n <= QUEUE_TEXT_MAX ? s : STR("");
}

/* --- items ------------------------------------------------------------------------------------ */

static void pack_references(struct packer *w, const struct queue_item *item)
{
    size_t n = item->n_references < QUEUE_REFERENCES ? item->n_references : QUEUE_REFERENCES;
    size_t first = item->n_references - n; /* the nearest ones are the last */
    pack_u8(w, (uint8_t)n);
    for (size_t i = 0; i < n; i++)
        pack_str16(w, short_enough(item->references[first + i]));
}

static void pack_behind(struct packer *w, const struct queue_item *item, struct queue_also also)
{
    unsigned char to[QUEUE_RECIPIENT_MAX];
    pack_u64(w, item->due);
    pack_u64(w, item->expires);
    pack_u64(w, item->release);
    pack_u64(w, item->account);
    pack_u16(w, item->flags);
    pack_str16(w, short_enough(item->origin));
    pack_str16(w, str_from(also.hashes, also.n * 3));
    if (item->n_added == 1)
        pack_str16(w, queue_recipient_pack(&item->recipients[0], to));
    if (item->hold.n)
        pack_str16(w, short_enough(item->hold));
}

struct str queue_item_pack(const struct queue_item *item, struct queue_also also, unsigned char *to)
{
    struct packer w;
    pack_init(&w, to, QUEUE_ITEM_MAX);
    pack_u8(&w, QUEUE_FORMAT);
    pack_u8(&w, 0);  /* codec: as is */
    pack_u32(&w, 0); /* key id: clear */
    pack_bytes(&w, str_from(item->blob.b, sizeof item->blob.b));
    pack_u64(&w, item->size);
    pack_u64(&w, item->received);
    pack_u16(&w, (uint16_t)item->n_added);
    pack_str16(&w, short_enough(item->sender));
    pack_str16(&w, short_enough(item->message_id));
    pack_str16(&w, short_enough(item->log_id));
    pack_references(&w, item);
    pack_u8(&w, item->ret);
    pack_u8(&w, (uint8_t)item->flags);
    pack_str16(&w, short_enough(item->envid));
    pack_str16(&w, item->summary.n <= QUEUE_SUMMARY_MAX ? item->summary : STR(""));
    pack_behind(&w, item, also);
    return pack_done(&w);
}

static enum rc unpack_references(struct unpacker *r, struct arena *arena, struct queue_item *out)
{
    out->n_references = unpack_u8(r);
    struct str *references = arena_zero(arena, (out->n_references + 1) * sizeof *references);
    if (!references)
        return RC_LIMIT;
    for (size_t i = 0; i < out->n_references; i++)
        references[i] = unpack_str16(r);
    out->references = references;
    return RC_OK;
}

static enum rc unpack_one(struct unpacker *r, struct arena *arena, struct queue_item *out)
{
    struct queue_recipient *one = arena_zero(arena, sizeof *one);
    if (!one)
        return RC_LIMIT;
    out->recipients = one;
    out->n_recipients = 1;
    return queue_recipient_unpack(unpack_str16(r), one);
}

static enum rc unpack_behind(struct unpacker *r, struct arena *arena, struct queue_item *out,
                             struct queue_also *out_also)
{
    out->due = unpack_u64(r);
    out->expires = unpack_u64(r);
    out->release = unpack_u64(r);
    out->account = unpack_u64(r);
    out->flags = unpack_u16(r);
    out->origin = unpack_str16(r);
    struct str hashes = unpack_str16(r);
    *out_also = (struct queue_also){(const unsigned char *)hashes.p, hashes.n / 3};
    if (out_also->n > QUEUE_RECIPIENTS)
        return RC_CORRUPT;
    if (out->n_added == 1)
        TRY(unpack_one(r, arena, out));
    if (r->n > 0) /* only of what was held, and not before release 0.2 */
        out->hold = unpack_str16(r);
    return RC_OK;
}

enum rc queue_item_unpack(struct str row, struct arena *arena, struct queue_item *out,
                          struct queue_also *out_also)
{
    struct unpacker r;
    struct queue_id id = out->id;
    *out = (struct queue_item){.id = id};
    *out_also = (struct queue_also){0};
    unpack_init(&r, row);
    uint8_t format = unpack_u8(&r), codec = unpack_u8(&r);
    uint32_t key_id = unpack_u32(&r);
    if ((format != QUEUE_FORMAT_OLD && format != QUEUE_FORMAT) || codec != 0 || key_id != 0)
        return RC_CORRUPT;
    struct str blob = unpack_bytes(&r, sizeof out->blob.b);
    out->size = unpack_u64(&r);
    out->received = unpack_u64(&r);
    out->n_added = unpack_u16(&r);
    out->sender = unpack_str16(&r);
    out->message_id = unpack_str16(&r);
    out->log_id = unpack_str16(&r);
    TRY(unpack_references(&r, arena, out));
    if (r.n > 0) { /* rows of release 0.1.0 end here */
        out->ret = unpack_u8(&r);
        out->flags = unpack_u8(&r);
        out->envid = unpack_str16(&r);
    }
    out->summary = r.n > 0 ? unpack_str16(&r) : (struct str){0};
    if (out->summary.n == 0)
        out->summary = (struct str){0};
    out->due = out->received;
    if (format == QUEUE_FORMAT)
        TRY(unpack_behind(&r, arena, out, out_also));
    TRY(unpack_done(&r));
    memcpy(out->blob.b, blob.p, sizeof out->blob.b);
    return RC_OK;
}

bool queue_partition(size_t n, struct kv_part *out)
{
    *out = (struct kv_part){KV_QUEUE, n};
    return n < QUEUE_SHARDS;
}

enum rc queue_row_blobs(struct kv_row row, uint32_t out_at[KV_ROW_BLOBS], size_t *out_n)
{
    bool is_item = row.key.n == QUEUE_ITEM_KEY && row.key.p[0] == 'm';
    *out_n = is_item ? 1 : 0;
    out_at[0] = QUEUE_BLOB_AT;
    return is_item && (row.value.n < QUEUE_BLOB_AT + 16 || row.value.p[0] < QUEUE_FORMAT_OLD ||
                       row.value.p[0] > QUEUE_FORMAT)
               ? RC_CORRUPT
               : RC_OK;
}

/* --- recipients ------------------------------------------------------------------------------- */

/* A remote host's words reach terminals, logs and reports: only what prints, and not for ever. */
static void pack_words(struct packer *w, struct str words, size_t most)
{
    unsigned char clean[QUEUE_REPLY_MAX];
    size_t n = words.n < most ? words.n : most;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)words.p[i];
        clean[i] = ascii_is_print((char)c) ? c : '?';
    }
    pack_str16(w, str_from(clean, n));
}

static void pack_tries(struct packer *w, const struct queue_recipient *r)
{
    pack_u64(w, r->first_tried);
    pack_u64(w, r->last_tried);
    pack_u16(w, r->code);
    pack_words(w, r->status, 16);
    pack_words(w, r->host, QUEUE_REPLY_MAX);
    pack_words(w, r->reply, QUEUE_REPLY_MAX);
}

struct str queue_recipient_pack(const struct queue_recipient *r,
                                unsigned char to[QUEUE_RECIPIENT_MAX])
{
    struct packer w;
    pack_init(&w, to, QUEUE_RECIPIENT_MAX);
    pack_u8(&w, QUEUE_FORMAT);
    pack_u8(&w, 0); /* state: waits */
    pack_u64(&w, r->account);
    pack_u8(&w, r->wish.notify);
    pack_str16(&w, short_enough(r->address));
    pack_str16(&w, short_enough(r->wish.orcpt));
    pack_str16(&w, short_enough(r->domain));
    pack_u8(&w, r->flags);
    pack_u64(&w, r->due);
    pack_u32(&w, r->tries);
    bool is_led_to = r->wish.address.n && !str_eq(r->wish.address, r->address);
    if (r->tries || r->status.n || r->reply.n || is_led_to)
        pack_tries(&w, r);
    if (is_led_to)
        pack_str16(&w, short_enough(r->wish.address));
    return pack_done(&w);
}

static void unpack_state(struct unpacker *from, struct queue_recipient *out)
{
    out->domain = unpack_str16(from);
    out->flags = unpack_u8(from);
    out->due = unpack_u64(from);
    out->tries = unpack_u32(from);
    if (!out->tries && from->n == 0)
        return;
    out->first_tried = unpack_u64(from);
    out->last_tried = unpack_u64(from);
    out->code = unpack_u16(from);
    out->status = unpack_str16(from);
    out->host = unpack_str16(from);
    out->reply = unpack_str16(from);
    if (from->n > 0) /* only of what another address has led to */
        out->wish.address = unpack_str16(from);
}

enum rc queue_recipient_unpack(struct str row, struct queue_recipient *out)
{
    struct unpacker r;
    *out = (struct queue_recipient){0};
    unpack_init(&r, row);
    uint8_t format = unpack_u8(&r), state = unpack_u8(&r);
    out->account = unpack_u64(&r);
    if (r.n > 0) { /* rows of release 0.1.0 end here */
        out->wish.notify = unpack_u8(&r);
        out->address = out->wish.address = unpack_str16(&r);
        out->wish.orcpt = unpack_str16(&r);
    }
    if ((format != QUEUE_FORMAT_OLD && format != QUEUE_FORMAT) || state != 0)
        return RC_CORRUPT;
    if (format == QUEUE_FORMAT)
        unpack_state(&r, out);
    if (out->domain.n > QUEUE_TEXT_MAX) /* no index could have it */
        return RC_CORRUPT;
    return unpack_done(&r);
}

const struct queue_recipient *queue_recipient_of(const struct queue_item *item, uint16_t number)
{
    size_t from = 0, to = item->n_recipients;
    while (from < to) {
        size_t middle = (from + to) / 2;
        if (item->recipients[middle].number == number)
            return &item->recipients[middle];
        if (item->recipients[middle].number < number)
            from = middle + 1;
        else
            to = middle;
    }
    return NULL;
}

/* --- the index -------------------------------------------------------------------------------- */

struct str queue_due_pack(const struct queue_due *entry, unsigned char to[QUEUE_DUE_MAX])
{
    struct packer w;
    pack_init(&w, to, QUEUE_DUE_MAX);
    pack_u8(&w, QUEUE_DUE_FORMAT);
    pack_u8(&w, entry->tries);
    pack_str16(&w, short_enough(entry->destination));
    if (entry->tls || entry->is_pressing)
        pack_u8(&w, (uint8_t)(entry->tls | (entry->is_pressing ? QUEUE_DUE_PRESSING : 0)));
    return pack_done(&w);
}

enum rc queue_due_unpack(struct kv_row row, struct queue_due *out)
{
    struct unpacker r;
    if (row.key.n != QUEUE_DUE_KEY)
        return RC_CORRUPT;
    out->kind = row.key.p[1] == 'l' ? QUEUE_LOCAL : QUEUE_REMOTE;
    out->due = get_u64(row.key.p + 2);
    memcpy(out->id.b, row.key.p + 10, sizeof out->id.b);
    out->number = get_u16(row.key.p + 26);
    unpack_init(&r, row.value);
    uint8_t format = unpack_u8(&r);
    out->tries = unpack_u8(&r);
    out->destination = unpack_str16(&r);
    uint8_t how = r.n > 0 ? unpack_u8(&r) : QUEUE_TLS_AS_USUAL;
    uint8_t tls = how & (uint8_t)~QUEUE_DUE_PRESSING;
    out->tls = (enum queue_tls)tls;
    out->is_pressing = how & QUEUE_DUE_PRESSING;
    return format == QUEUE_DUE_FORMAT && tls <= QUEUE_TLS_IF_POSSIBLE ? unpack_done(&r)
                                                                      : RC_CORRUPT;
}

/* --- the status ------------------------------------------------------------------------------- */

struct str queue_status_pack(const struct queue_status *status, unsigned char to[QUEUE_STATUS_MAX])
{
    struct packer w;
    pack_init(&w, to, QUEUE_STATUS_MAX);
    pack_u8(&w, QUEUE_STATUS_FORMAT);
    pack_u8(&w, (uint8_t)status->state);
    pack_u32(&w, status->failures);
    pack_u64(&w, status->due);
    pack_str16(&w, str_of(status->cause));
    pack_u32(&w, status->waits);
    return pack_done(&w);
}

enum rc queue_status_unpack(struct str row, struct queue_status *out)
{
    struct unpacker r;
    *out = (struct queue_status){0};
    if (str_is_null(row))
        return RC_OK;
    unpack_init(&r, row);
    uint8_t format = unpack_u8(&r), state = unpack_u8(&r);
    out->state = state == QUEUE_WAITING ? QUEUE_WAITING : QUEUE_HELD;
    out->failures = unpack_u32(&r);
    out->due = unpack_u64(&r);
    struct str cause = unpack_str16(&r);
    out->waits = r.n > 0 ? unpack_u32(&r) : 0; /* rows of release 0.1.0 end before it */
    snprintf(out->cause, sizeof out->cause, "%.*s", STR_ARG(cause));
    return format == QUEUE_STATUS_FORMAT && state <= QUEUE_HELD ? unpack_done(&r) : RC_CORRUPT;
}
