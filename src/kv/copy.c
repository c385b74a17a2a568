/* Copies of partitions from one store to another, with their versions and under the same blob ids:
 * what a backup of a store that lies elsewhere is made of.
 *
 * A copy has the same rows and holds the same references. How many of which blob is told by the
 * rows of references of the store that is read. A back end that keeps none (kv_local) gets them
 * from here, KV_COPY_REFS: with how many there have to be, and how many there are.
 *
 * Copying a partition again makes it the same again, whatever had changed, except that references
 * are only taken: a blob may move from one partition to another between the two, and its id must
 * not come to be used again while it is being removed. kv_copy_settle gives up what is too much,
 * when all is copied. A partition must not change while it is copied, or has to be copied once
 * more: each page is of one state, no more. Nobody else uses the store that is written. */
#include "kv/kv_int.h"

#include "base/bytes.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum {
    REFS_KEY = 18,    /* 0xff, 'b', the blob's id */
    REFS_MIN = 5,     /* format 1, count4; what follows is a back end's own */
    REFS_COPY = 9,    /* here: and how many references there are, 4 bytes */
    BLOBS_MAX = 1000, /* written and not yet committed */
    BLOB_BYTES_MAX = 16 << 20,
    PIECE = 64 << 10
};

struct copying {
    struct kv *from, *to;
    struct kv_part part;
    unsigned flags;
    struct kv_txn *txn;
    struct kv_blob_id blobs[BLOBS_MAX]; /* in our hands until the transaction is committed */
    size_t n_blobs;
    uint64_t blob_bytes;
    struct arena page, other; /* of the page that is read, of what is compared with it */
};

/* --- what is written -------------------------------------------------------------------------- */

/* The last blob stays in our hands: its references may be in the next transaction. */
static enum rc flush(struct copying *c)
{
    enum rc rc = kv_commit_wait(c->to, c->txn, NULL);
    for (size_t i = 0; i + 1 < c->n_blobs; i++)
        kv_blob_forget(c->to, c->blobs[i]);
    if (c->n_blobs > 1)
        c->blobs[0] = c->blobs[c->n_blobs - 1];
    c->n_blobs = c->n_blobs > 0;
    c->blob_bytes = 0;
    c->txn = kv_txn_new(c->part);
    return rc;
}

static enum rc add(struct copying *c, enum kv_item_kind kind, struct str key, struct str value)
{
    enum rc rc = kv_txn_add(c->txn, kind, key, value);
    if (rc != RC_LIMIT)
        return rc;
    TRY(flush(c));
    return kv_txn_add(c->txn, kind, key, value);
}

static enum rc refer(struct copying *c, struct kv_blob_id id, bool is_drop)
{
    enum rc rc = is_drop ? kv_txn_drop(c->txn, id) : kv_txn_ref(c->txn, id);
    if (rc != RC_LIMIT)
        return rc;
    TRY(flush(c));
    return is_drop ? kv_txn_drop(c->txn, id) : kv_txn_ref(c->txn, id);
}

/* --- blobs ------------------------------------------------------------------------------------ */

static enum rc copy_bytes(struct kv_blob_in *in, struct kv_blob_out *out)
{
    char *piece = mem_alloc(PIECE);
    uint64_t at = 0;
    size_t got = 0;
    enum rc rc;
    do {
        rc = kv_blob_read(in, at, piece, PIECE, 0, &got);
        if (rc == RC_OK)
            rc = kv_blob_write(out, str_from(piece, got));
        at += got;
    } while (rc == RC_OK && got > 0);
    free(piece);
    return rc;
}

static bool has_blob(struct kv *kv, struct kv_blob_id id)
{
    struct kv_blob_in *in;
    enum rc rc = kv_blob_open(kv, id, 0, &in);
    if (rc == RC_OK)
        kv_blob_close(&in);
    return rc == RC_OK;
}

/* The blob is there, or is in our hands. */
static enum rc bring_blob(struct copying *c, struct kv_blob_id id)
{
    struct kv_blob_in *in;
    if (has_blob(c->to, id))
        return RC_OK;
    TRY(kv_blob_open(c->from, id, 0, &in));
    struct kv_blob_meta meta = kv_blob_meta(in);
    struct kv_blob_out *out = kv_blob_new(c->to, c->part, meta.codec, meta.key_id);
    out->id = id;
    enum rc rc = copy_bytes(in, out);
    kv_blob_close(&in);
    if (rc != RC_OK) {
        kv_blob_abort(&out);
        return rc;
    }
    TRY(kv_blob_finish(&out, &id));
    c->blobs[c->n_blobs++] = id;
    c->blob_bytes += meta.size;
    return RC_OK;
}

/* --- references ------------------------------------------------------------------------------- */

#define REFS_FROM STR("\xff\x62") /* 0xff, 'b' */

static bool is_refs(struct str key)
{
    return key.n == REFS_KEY && (unsigned char)key.p[0] == 0xff && key.p[1] == 'b';
}

/* As a row of references has it; without a row, nothing. */
struct count {
    uint32_t wanted, held;
};

static enum rc count_parse(struct str value, struct count *out)
{
    *out = (struct count){0};
    if (!value.n)
        return RC_OK;
    if (value.n < REFS_MIN || value.p[0] != 1)
        return RC_CORRUPT;
    out->wanted = get_u32(value.p + 1);
    out->held = value.n == REFS_COPY ? get_u32(value.p + REFS_MIN) : out->wanted;
    return RC_OK;
}

static enum rc count_get(struct copying *c, struct kv *kv, struct str key, struct count *out)
{
    struct str value = {0};
    arena_reset(&c->other);
    TRY(kv->backend->get(kv, c->part, &key, 1, 0, &c->other, &value, NULL));
    return count_parse(value, out);
}

static enum rc count_put(struct copying *c, struct str key, struct count count)
{
    unsigned char value[REFS_COPY] = {1};
    put_u32(value + 1, count.wanted);
    put_u32(value + REFS_MIN, count.held);
    if (!(c->flags & KV_COPY_REFS))
        return RC_OK;
    return count.held ? add(c, KV_ITEM_PUT, key, str_from(value, sizeof value))
                      : add(c, KV_ITEM_DELETE, key, (struct str){0});
}

static struct kv_blob_id id_of(struct str key)
{
    struct kv_blob_id id;
    memcpy(id.b, key.p + 2, sizeof id.b);
    return id;
}

/* At least as many references as are wanted. */
static enum rc copy_refs(struct copying *c, struct str key, struct str value)
{
    struct count count, there;
    TRY(count_parse(value, &count));
    TRY(count_get(c, c->to, key, &there));
    if (count.wanted > there.held)
        TRY(bring_blob(c, id_of(key)));
    for (; there.held < count.wanted; there.held++)
        TRY(refer(c, id_of(key), false));
    there.wanted = count.wanted;
    TRY(count_put(c, key, there));
    return c->n_blobs == BLOBS_MAX || c->blob_bytes > BLOB_BYTES_MAX ? flush(c) : RC_OK;
}

/* Of one that may be only in the copy: none are wanted then. */
static enum rc unwant_refs(struct copying *c, struct str key, struct str value)
{
    struct count count, there;
    TRY(count_parse(value, &there));
    TRY(count_get(c, c->from, key, &count));
    there.wanted = 0;
    return count.wanted ? RC_OK : count_put(c, key, there);
}

/* No more than are wanted. */
static enum rc settle_refs(struct copying *c, struct str key, struct str value)
{
    struct count there;
    TRY(count_parse(value, &there));
    if (there.held == there.wanted)
        return RC_OK;
    for (; there.held > there.wanted; there.held--)
        TRY(refer(c, id_of(key), true));
    return count_put(c, key, there);
}

/* --- a partition ------------------------------------------------------------------------------ */

static enum rc copy_row(struct copying *c, struct str key, struct str value)
{
    if (is_refs(key))
        return copy_refs(c, key, value);
    return str_starts(key, KV_RESERVED) ? RC_OK : add(c, KV_ITEM_PUT, key, value);
}

static enum rc unwant_row(struct copying *c, struct str key, struct str value)
{
    return is_refs(key) ? unwant_refs(c, key, value) : RC_OK;
}

static enum rc settle_row(struct copying *c, struct str key, struct str value)
{
    return is_refs(key) ? settle_refs(c, key, value) : RC_OK;
}

/* All rows of the partition in a store, the store's own among them. */
static enum rc each_row(struct copying *c, struct kv *kv, struct str from,
                        enum rc (*each)(struct copying *c, struct str key, struct str value))
{
    struct kv_range range = {.from = from, .to = STR("\xff\xff\xff")};
    struct kv_page page = {.has_more = true};
    char last[KV_KEY_MAX];
    enum rc rc = RC_OK;
    while (rc == RC_OK && page.has_more) {
        page = (struct kv_page){0};
        arena_reset(&c->page);
        rc = kv->backend->scan(kv, c->part, range, KV_PAGE_ROWS, 0, &c->page, &page);
        for (size_t i = 0; rc == RC_OK && i < page.n; i++)
            rc = each(c, page.rows[i].key, page.rows[i].value);
        if (page.n > 0) {
            struct str key = page.rows[page.n - 1].key;
            memcpy(last, key.p, key.n);
            range = (struct kv_range){.to = range.to, .after = str_from(last, key.n)};
        }
    }
    return rc;
}

static enum rc copy_all(struct copying *c, uint64_t version)
{
    uint64_t before;
    TRY(kv_version(c->to, c->part, 0, &before));
    if (before > 0) {
        TRY(kv_txn_trim(c->txn, (struct str){0}, (struct str){0}));
        TRY(each_row(c, c->to, REFS_FROM, unwant_row));
    }
    TRY(each_row(c, c->from, (struct str){0}, copy_row));
    c->txn->version = version;
    return flush(c);
}

static struct copying *begin(struct kv *from, struct kv *to, struct kv_part part, unsigned flags)
{
    struct copying *c = mem_zero(sizeof *c);
    c->from = from;
    c->to = to;
    c->part = part;
    c->flags = flags;
    c->txn = kv_txn_new(part);
    return c;
}

static void end(struct copying *c)
{
    for (size_t i = 0; i < c->n_blobs; i++)
        kv_blob_forget(c->to, c->blobs[i]);
    kv_txn_free(&c->txn);
    arena_fini(&c->page);
    arena_fini(&c->other);
    free(c);
}

enum rc kv_copy_part(struct kv *from, struct kv *to, struct kv_part part, unsigned flags)
{
    uint64_t version;
    TRY(kv_version(from, part, 0, &version));
    if (version == 0 && part.class != KV_CACHE) /* rows of caches may come without a commit */
        return RC_OK;
    struct copying *c = begin(from, to, part, flags);
    enum rc rc = copy_all(c, version);
    end(c);
    return rc;
}

enum rc kv_copy_settle(struct kv *to, struct kv_part part)
{
    uint64_t version;
    TRY(kv_version(to, part, 0, &version));
    struct copying *c = begin(NULL, to, part, KV_COPY_REFS);
    enum rc rc = each_row(c, to, REFS_FROM, settle_row);
    c->txn->version = version;
    if (rc == RC_OK)
        rc = flush(c);
    end(c);
    return rc;
}
