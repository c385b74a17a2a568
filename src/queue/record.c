/* queue's rows as bytes: see queue_int.h. Pure functions. */
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

static struct str short_enough(struct str s)
{
    return s.n <= QUEUE_TEXT_MAX ? s : STR("");
}

struct str queue_item_pack(const struct queue_item *item, unsigned char *to)
{
    struct packer w;
    size_t n_references =
        item->n_references < QUEUE_REFERENCES ? item->n_references : QUEUE_REFERENCES;
    size_t first = item->n_references - n_references; /* the nearest ones are the last */
    pack_init(&w, to, QUEUE_ITEM_MAX);
    pack_u8(&w, QUEUE_FORMAT);
    pack_u8(&w, 0);  /* codec: as is */
    pack_u32(&w, 0); /* key id: clear */
    pack_bytes(&w, str_from(item->blob.b, sizeof item->blob.b));
    pack_u64(&w, item->size);
    pack_u64(&w, item->received);
    pack_u16(&w, (uint16_t)item->n_accounts);
    pack_str16(&w, short_enough(item->sender));
    pack_str16(&w, short_enough(item->message_id));
    pack_str16(&w, short_enough(item->log_id));
    pack_u8(&w, (uint8_t)n_references);
    for (size_t i = 0; i < n_references; i++)
        pack_str16(&w, short_enough(item->references[first + i]));
    pack_u8(&w, item->ret);
    pack_u8(&w, item->flags);
    pack_str16(&w, short_enough(item->envid));
    pack_str16(&w, item->summary.n <= QUEUE_SUMMARY_MAX ? item->summary : STR(""));
    return pack_done(&w);
}

enum rc queue_item_unpack(struct str row, struct arena *arena, struct queue_item *out)
{
    struct unpacker r;
    unpack_init(&r, row);
    uint8_t format = unpack_u8(&r), codec = unpack_u8(&r);
    uint32_t key_id = unpack_u32(&r);
    struct str blob = unpack_bytes(&r, sizeof out->blob.b);
    out->size = unpack_u64(&r);
    out->received = unpack_u64(&r);
    out->n_accounts = unpack_u16(&r);
    out->sender = unpack_str16(&r);
    out->message_id = unpack_str16(&r);
    out->log_id = unpack_str16(&r);
    out->n_references = unpack_u8(&r);
    struct str *references = arena_zero(arena, (out->n_references + 1) * sizeof *references);
    if (!references || format != QUEUE_FORMAT || codec != 0 || key_id != 0)
        return references ? RC_CORRUPT : RC_LIMIT;
    for (size_t i = 0; i < out->n_references; i++)
        references[i] = unpack_str16(&r);
    out->references = references;
    out->ret = out->flags = 0;
    out->envid = (struct str){0};
    if (r.n > 0) { /* rows of release 0.1.0 end here */
        out->ret = unpack_u8(&r);
        out->flags = unpack_u8(&r);
        out->envid = unpack_str16(&r);
    }
    out->summary = r.n > 0 ? unpack_str16(&r) : (struct str){0};
    if (out->summary.n == 0)
        out->summary = (struct str){0};
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
    return is_item && (row.value.n < QUEUE_BLOB_AT + 16 || row.value.p[0] != QUEUE_FORMAT)
               ? RC_CORRUPT
               : RC_OK;
}

struct str queue_recipient_pack(uint64_t account, const struct queue_wish *wish,
                                unsigned char to[QUEUE_RECIPIENT_MAX])
{
    struct packer w;
    pack_init(&w, to, QUEUE_RECIPIENT_MAX);
    pack_u8(&w, QUEUE_FORMAT);
    pack_u8(&w, 0); /* state: waits for delivery here */
    pack_u64(&w, account);
    if (wish) {
        pack_u8(&w, wish->notify);
        pack_str16(&w, short_enough(wish->address));
        pack_str16(&w, short_enough(wish->orcpt));
    }
    return pack_done(&w);
}

enum rc queue_recipient_unpack(struct str row, uint64_t *out_account, struct queue_wish *out_wish)
{
    struct unpacker r;
    unpack_init(&r, row);
    uint8_t format = unpack_u8(&r), state = unpack_u8(&r);
    *out_account = unpack_u64(&r);
    *out_wish = (struct queue_wish){0};
    if (r.n > 0) { /* rows of release 0.1.0 end here */
        out_wish->notify = unpack_u8(&r);
        out_wish->address = unpack_str16(&r);
        out_wish->orcpt = unpack_str16(&r);
    }
    return format == QUEUE_FORMAT && state == 0 ? unpack_done(&r) : RC_CORRUPT;
}

struct str queue_status_pack(const struct queue_status *status, unsigned char to[QUEUE_STATUS_MAX])
{
    struct packer w;
    pack_init(&w, to, QUEUE_STATUS_MAX);
    pack_u8(&w, QUEUE_STATUS_FORMAT);
    pack_u8(&w, (uint8_t)status->state);
    pack_u32(&w, status->failures);
    pack_u64(&w, status->due);
    pack_str16(&w, str_of(status->cause));
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
    snprintf(out->cause, sizeof out->cause, "%.*s", STR_ARG(cause));
    return format == QUEUE_STATUS_FORMAT && state <= QUEUE_HELD ? unpack_done(&r) : RC_CORRUPT;
}
