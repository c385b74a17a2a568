/* The record of a migration in the store that it goes to. */
#include "migrate/migrate_int.h"

#include "base/bytes.h"

#include <stdio.h>
#include <string.h>

enum { FORMAT = 1, DONE_KEY = 10, VALUE_MAX = 32 + MIGRATE_SOURCE_MAX };

const struct kv_part migrate_part = {KV_GLOBAL, 2};

static enum rc put(struct kv *kv, struct str key, struct str value)
{
    struct kv_txn *txn = kv_txn_new(migrate_part);
    enum rc rc = str_is_null(value) ? kv_txn_delete(txn, key) : kv_txn_put(txn, key, value);
    if (rc == RC_OK)
        return kv_commit_wait(kv, txn, NULL);
    kv_txn_free(&txn);
    return rc;
}

/* --- the header ------------------------------------------------------------------------------- */

enum rc migrate_header_parse(struct str value, struct migrate_header *out)
{
    struct unpacker r;
    unpack_init(&r, value);
    unsigned format = unpack_u8(&r), state = unpack_u8(&r);
    *out = (struct migrate_header){.state = (enum migrate_state)state};
    out->generation = unpack_u64(&r);
    struct str source = unpack_str16(&r);
    TRY(unpack_done(&r));
    bool is_known = format == FORMAT && state >= MIGRATE_COPYING && state <= MIGRATE_COMPLETE;
    if (!is_known || source.n > MIGRATE_SOURCE_MAX)
        return RC_CORRUPT;
    snprintf(out->source, sizeof out->source, "%.*s", STR_ARG(source));
    return RC_OK;
}

enum rc migrate_header_read(struct kv *kv, struct migrate_header *out)
{
    struct arena arena = {0};
    struct str key = STR("s"), value;
    *out = (struct migrate_header){0};
    enum rc rc = kv_get(kv, migrate_part, &key, 1, 0, &arena, &value, NULL);
    if (rc == RC_OK && !str_is_null(value))
        rc = migrate_header_parse(value, out);
    arena_fini(&arena);
    return rc;
}

enum rc migrate_header_write(struct kv *kv, const struct migrate_header *header)
{
    unsigned char mem[VALUE_MAX];
    struct packer w;
    pack_init(&w, mem, sizeof mem);
    pack_u8(&w, FORMAT);
    pack_u8(&w, (uint8_t)header->state);
    pack_u64(&w, header->generation);
    pack_str16(&w, str_of(header->source));
    return put(kv, STR("s"), pack_done(&w));
}

/* --- partitions that are there ---------------------------------------------------------------- */

static struct str done_key(struct kv_part part, unsigned char to[DONE_KEY])
{
    to[0] = 'p';
    to[1] = (unsigned char)part.class;
    put_u64(to + 2, part.id);
    return str_from(to, DONE_KEY);
}

enum rc migrate_done_parse(struct str value, struct migrate_done *out)
{
    struct unpacker r;
    unpack_init(&r, value);
    unsigned format = unpack_u8(&r);
    *out = (struct migrate_done){.version = unpack_u64(&r)};
    out->beside = unpack_u64(&r);
    out->copy = unpack_u64(&r);
    struct str sum = unpack_bytes(&r, sizeof out->sum);
    TRY(format == FORMAT ? unpack_done(&r) : RC_CORRUPT);
    memcpy(out->sum, sum.p, sizeof out->sum);
    return RC_OK;
}

enum rc migrate_done_read(struct kv *kv, struct kv_part part, struct migrate_done *out)
{
    struct arena arena = {0};
    unsigned char mem[DONE_KEY];
    struct str key = done_key(part, mem), value;
    enum rc rc = kv_get(kv, migrate_part, &key, 1, 0, &arena, &value, NULL);
    if (rc == RC_OK)
        rc = str_is_null(value) ? RC_NOTFOUND : migrate_done_parse(value, out);
    arena_fini(&arena);
    return rc;
}

enum rc migrate_done_write(struct kv *kv, struct kv_part part, const struct migrate_done *done)
{
    unsigned char mem[VALUE_MAX], key[DONE_KEY];
    struct packer w;
    pack_init(&w, mem, sizeof mem);
    pack_u8(&w, FORMAT);
    pack_u64(&w, done->version);
    pack_u64(&w, done->beside);
    pack_u64(&w, done->copy);
    pack_bytes(&w, str_from(done->sum, sizeof done->sum));
    return put(kv, done_key(part, key), pack_done(&w));
}

enum rc migrate_done_delete(struct kv *kv, struct kv_part part)
{
    unsigned char key[DONE_KEY];
    return put(kv, done_key(part, key), (struct str){0});
}

enum rc migrate_done_next(struct kv *kv, const struct kv_part *part, struct kv_part *out)
{
    struct arena arena = {0};
    struct kv_page page;
    unsigned char key[DONE_KEY];
    struct kv_range range = {.from = STR("p"), .to = STR("q")};
    if (part)
        range.after = done_key(*part, key);
    enum rc rc = kv_scan(kv, migrate_part, range, 1, 0, &arena, &page);
    if (rc == RC_OK && page.n == 0)
        rc = RC_EOF;
    if (rc == RC_OK && page.rows[0].key.n != DONE_KEY)
        rc = RC_CORRUPT;
    if (rc == RC_OK)
        *out = (struct kv_part){(enum kv_class)(unsigned char)page.rows[0].key.p[1],
                                get_u64(page.rows[0].key.p + 2)};
    arena_fini(&arena);
    return rc;
}

static enum rc record_remove(struct kv *kv)
{
    struct kv_txn *txn = kv_txn_new(migrate_part);
    enum rc rc = kv_txn_trim(txn, (struct str){0}, (struct str){0});
    if (rc == RC_OK)
        return kv_commit_wait(kv, txn, NULL);
    kv_txn_free(&txn);
    return rc;
}

/* --- for others ------------------------------------------------------------------------------- */

enum rc migrate_look(struct kv *kv, struct migrate_status *out)
{
    struct migrate_header header;
    TRY(migrate_header_read(kv, &header));
    out->state = header.state;
    memcpy(out->source, header.source, sizeof out->source);
    return RC_OK;
}

enum rc migrate_admit(struct kv *kv, char why[MIGRATE_WHY])
{
    struct migrate_status status;
    why[0] = '\0';
    TRY(migrate_look(kv, &status));
    if (status.state == MIGRATE_NONE)
        return RC_OK;
    if (status.state == MIGRATE_COMPLETE)
        return record_remove(kv);
    snprintf(
        why, MIGRATE_WHY,
        "it is half a copy of %s: run penfold migrate again from there, until it says that all "
        "is carried",
        status.source);
    return RC_DENIED;
}
