/* Leases, written once over any back end.
 *
 * A lease is two rows. Who holds it, and until when, is in a partition of the store's own class
 * (same number, key: class and name), so that renewing does not move the version of the partition
 * that the lease protects and fails nobody's queued commits there. The epoch is also a row of the
 * protected partition, under the store's prefix: kv_txn_assert_lease asserts its value.
 *
 * Taking writes the holder first and the epoch second; only then the taker may begin. A crash
 * between the two leaves a holder that has not begun; the next taker, or the same one, goes on from
 * there. The epoch in the protected partition only ever grows: it is replaced under an assert of
 * the smaller value that was there, so a taker that was overtaken while it slept changes nothing.
 */
#include "kv/kv_int.h"

#include "base/bytes.h"

#include <stdio.h>
#include <string.h>

enum { FORMAT = 1 };

enum { KEY_SIZE = 2 + KV_LEASE_NAME_MAX, HOLDER_SIZE = 1 + 8 + 8 + 2 + KV_LEASE_NAME_MAX };

struct holder {
    uint64_t epoch; /* 0: nobody ever */
    uint64_t until; /* by the wall clock; 0: given back */
    struct str owner;
};

struct lease {
    struct kv *kv;
    struct kv_part part;   /* that it protects */
    struct kv_part leases; /* where its holder is kept */
    struct str name, owner;
    struct arena arena;
    unsigned char holder_key[KEY_SIZE], epoch_key[KEY_SIZE];
    struct str old_value; /* of the holder's row; absent: none */
    struct holder holder; /* as read */
};

static struct str make_key(unsigned char to[KEY_SIZE], uint8_t first, uint8_t second,
                           struct str name)
{
    struct packer w;
    pack_init(&w, to, KEY_SIZE);
    pack_u8(&w, first);
    pack_u8(&w, second);
    pack_bytes(&w, name);
    return pack_done(&w);
}

static struct str epoch_key(unsigned char to[KEY_SIZE], struct str name)
{
    return make_key(to, 0xff, 'l', name);
}

static struct str epoch_value(unsigned char to[9], uint64_t epoch)
{
    to[0] = FORMAT;
    put_u64(to + 1, epoch);
    return str_from(to, 9);
}

enum rc kv_txn_assert_lease(struct kv_txn *txn, struct str name, uint64_t epoch)
{
    unsigned char key[KEY_SIZE];
    unsigned char value[9];
    if (name.n == 0 || name.n > KV_LEASE_NAME_MAX)
        return RC_PERM;
    return kv_txn_add(txn, KV_ITEM_ASSERT_VALUE, epoch_key(key, name), epoch_value(value, epoch));
}

/* --- rows ------------------------------------------------------------------------------------- */

static enum rc get(struct lease *l, struct kv_part part, struct str key, struct str *out_value)
{
    uint64_t version;
    *out_value = (struct str){0};
    return l->kv->backend->get(l->kv, part, &key, 1, 0, &l->arena, out_value, &version);
}

/* Replaces a row that is still as it was read (absent: still is). */
static enum rc replace(struct lease *l, struct kv_part part, struct str key, struct str old,
                       struct str value)
{
    struct kv_txn *txn = kv_txn_new(part);
    enum rc rc = kv_txn_add(txn, old.p ? KV_ITEM_ASSERT_VALUE : KV_ITEM_ASSERT_ABSENT, key, old);
    if (rc == RC_OK)
        rc = kv_txn_add(txn, KV_ITEM_PUT, key, value);
    if (rc != RC_OK) {
        kv_txn_free(&txn);
        return rc;
    }
    return kv_commit_wait(l->kv, txn, NULL);
}

static enum rc read_holder(struct lease *l)
{
    struct str key = make_key(l->holder_key, (uint8_t)l->part.class, 'h', l->name);
    TRY(get(l, l->leases, key, &l->old_value));
    if (!l->old_value.p)
        return RC_OK;
    struct unpacker r;
    unpack_init(&r, l->old_value);
    if (unpack_u8(&r) != FORMAT)
        return RC_CORRUPT;
    l->holder.epoch = unpack_u64(&r);
    l->holder.until = unpack_u64(&r);
    l->holder.owner = unpack_str16(&r);
    return unpack_done(&r);
}

static enum rc write_holder(struct lease *l, uint64_t epoch, uint64_t until)
{
    unsigned char value[HOLDER_SIZE];
    struct packer w;
    pack_init(&w, value, sizeof value);
    pack_u8(&w, FORMAT);
    pack_u64(&w, epoch);
    pack_u64(&w, until);
    pack_str16(&w, l->owner);
    struct str key = str_from(l->holder_key, 2 + l->name.n);
    return replace(l, l->leases, key, l->old_value, pack_done(&w));
}

/* The epoch that the protected partition knows; 0: none. */
static enum rc read_epoch(struct lease *l, struct str *out_row, uint64_t *out_epoch)
{
    struct str key = epoch_key(l->epoch_key, l->name);
    *out_epoch = 0;
    TRY(get(l, l->part, key, out_row));
    if (out_row->p && (out_row->n != 9 || out_row->p[0] != FORMAT))
        return RC_CORRUPT;
    *out_epoch = out_row->p ? get_u64(out_row->p + 1) : 0;
    return RC_OK;
}

/* The protected partition knows this epoch, and none that is larger. */
static enum rc write_epoch(struct lease *l, uint64_t epoch)
{
    unsigned char value[9];
    struct str old;
    uint64_t known;
    TRY(read_epoch(l, &old, &known));
    if (known == epoch)
        return RC_OK;
    return known > epoch ? RC_CONFLICT
                         : replace(l, l->part, str_from(l->epoch_key, 2 + l->name.n), old,
                                   epoch_value(value, epoch));
}

/* --- taking and giving ------------------------------------------------------------------------ */

static enum rc lease_init(struct lease *l, struct kv *kv, struct kv_part part, struct str name,
                          struct str owner)
{
    if (name.n == 0 || name.n > KV_LEASE_NAME_MAX || owner.n == 0 || owner.n > KV_LEASE_NAME_MAX)
        return RC_PERM;
    *l = (struct lease){.kv = kv, .part = part, .name = name, .owner = owner};
    l->leases = (struct kv_part){KV_LEASES, part.id};
    return RC_OK;
}

static enum rc take(struct lease *l, uint64_t ttl_ns, uint64_t *out_epoch)
{
    uint64_t now = clock_wall(l->kv->ctx->clock);
    TRY(read_holder(l));
    bool is_held = l->holder.until > now;
    bool is_ours = l->holder.until != 0 && str_eq(l->holder.owner, l->owner);
    if (is_held && !is_ours)
        return RC_CONFLICT;
    uint64_t epoch = l->holder.epoch + (is_ours ? 0 : 1);
    uint64_t until = ttl_ns < UINT64_MAX - now ? now + ttl_ns : UINT64_MAX;
    TRY(write_holder(l, epoch, until));
    TRY(write_epoch(l, epoch));
    *out_epoch = epoch;
    return RC_OK;
}

static enum rc look(struct lease *l, struct kv_lease_state *out)
{
    struct str row;
    uint64_t epoch;
    TRY(read_epoch(l, &row, &epoch)); /* first: a taker writes it last */
    TRY(read_holder(l));
    if (!l->old_value.p && !row.p)
        return RC_NOTFOUND;
    *out = (struct kv_lease_state){.until = l->holder.until};
    snprintf(out->owner, sizeof out->owner, "%.*s", STR_ARG(l->holder.owner));
    return epoch > l->holder.epoch ? RC_CORRUPT : RC_OK; /* no taker's epoch would be believed */
}

/* Both rows anew, the epoch larger than any that can be read. */
static enum rc reset(struct lease *l)
{
    struct str row;
    uint64_t epoch;
    unsigned char value[9];
    enum rc rc = read_holder(l);
    if (rc != RC_OK && rc != RC_CORRUPT)
        return rc;
    uint64_t held = rc == RC_OK ? l->holder.epoch : 0;
    rc = read_epoch(l, &row, &epoch);
    if (rc != RC_OK && rc != RC_CORRUPT)
        return rc;
    epoch = (epoch > held ? epoch : held) + 1;
    l->owner = STR("-");
    TRY(write_holder(l, epoch, 0));
    return replace(l, l->part, epoch_key(l->epoch_key, l->name), row, epoch_value(value, epoch));
}

enum rc kv_lease_look(struct kv *kv, struct kv_part part, struct str name,
                      struct kv_lease_state *out)
{
    struct lease l;
    TRY(lease_init(&l, kv, part, name, name));
    enum rc rc = look(&l, out);
    arena_fini(&l.arena);
    return rc;
}

enum rc kv_lease_reset(struct kv *kv, struct kv_part part, struct str name)
{
    struct lease l;
    TRY(lease_init(&l, kv, part, name, name));
    enum rc rc = reset(&l);
    arena_fini(&l.arena);
    return rc;
}

enum rc kv_lease_take(struct kv *kv, struct kv_part part, struct str name, struct str owner,
                      uint64_t ttl_ns, uint64_t *out_epoch)
{
    struct lease l;
    TRY(lease_init(&l, kv, part, name, owner));
    enum rc rc = take(&l, ttl_ns, out_epoch);
    arena_fini(&l.arena);
    return rc;
}

static enum rc give(struct lease *l)
{
    TRY(read_holder(l));
    if (l->holder.until == 0 || !str_eq(l->holder.owner, l->owner))
        return RC_CONFLICT;
    return write_holder(l, l->holder.epoch, 0);
}

enum rc kv_lease_give(struct kv *kv, struct kv_part part, struct str name, struct str owner)
{
    struct lease l;
    TRY(lease_init(&l, kv, part, name, owner));
    enum rc rc = give(&l);
    arena_fini(&l.arena);
    return rc;
}
