/* Blocks of logins, kept over restarts: whoever guesses gains nothing from making the server start
 * anew. Counts and delays are in memory alone.
 *
 * A row for each block in a partition of its own of class X, written lazily when the block begins;
 * see docs/internals/directory.md. A row that is lost ends its block with the next restart and does
 * nothing else. Rows whose block is over or was removed go at the start, after a removal, and when
 * SWEEP more have been written. */
#include "auth/auth_int.h"

#include <string.h>

enum { FORMAT = 1, SWEEP = 1000, PER_TXN = 1000, IP = 16 };

#define BLOCKS_PARTITION (UINT64_C(1) << 61)

static const struct kv_part part = {KV_CACHE, BLOCKS_PARTITION};

/* --- rows ------------------------------------------------------------------------------------- */

struct block_key {
    unsigned char b[1 + AUTH_ADDRESS_MAX];
    size_t n;
};

static void pack_key(int scope, struct str key, struct block_key *out)
{
    struct packer w;
    struct net_cidr net;
    pack_init(&w, out->b, sizeof out->b);
    pack_u8(&w, (uint8_t)scope);
    if (scope == GUARD_ACCOUNT) {
        pack_bytes(&w, str_head(key, AUTH_ADDRESS_MAX));
    } else {
        memcpy(&net, key.p, sizeof net);
        pack_bytes(&w, str_from(&net.net, IP));
        pack_u8(&w, (uint8_t)net.bits);
    }
    out->n = w.n;
}

/* RC_CORRUPT: not one of ours. The key is that of the guard's table. */
static enum rc unpack_key(struct str row, int *out_scope, struct net_cidr *net, struct str *out_key)
{
    if (row.n < 2 || (unsigned char)row.p[0] >= GUARD_SCOPES)
        return RC_CORRUPT;
    *out_scope = row.p[0];
    *out_key = str_skip(row, 1);
    if (*out_scope == GUARD_ACCOUNT)
        return RC_OK;
    if (out_key->n != IP + 1)
        return RC_CORRUPT;
    memset(net, 0, sizeof *net); /* its bytes are the key */
    memcpy(&net->net, out_key->p, IP);
    net->bits = (unsigned char)out_key->p[IP];
    *out_key = str_from(net, sizeof *net);
    return net->bits <= 128 ? RC_OK : RC_CORRUPT;
}

/* --- all of them ------------------------------------------------------------------------------ */

/* What is done with them. */
struct visit {
    bool restores;              /* to the guard */
    bool all;                   /* forgotten are all, */
    struct str name;            /* those of a name, */
    const struct net_cidr *net; /* or those that overlap a network */
};

static bool is_meant(const struct visit *v, int scope, struct str key, const struct net_cidr *net)
{
    if (scope == GUARD_ACCOUNT)
        return v->all || (v->name.n && str_eq(key, v->name));
    return v->all || (v->net && auth_nets_overlap(net, v->net));
}

/* False: the row goes. Other nodes may have blocks that are not known here, so only time and the
 * administrator say that one is over. */
static bool visit_row(struct auth *auth, const struct kv_row *row, const struct visit *v)
{
    struct net_cidr net;
    struct str key;
    int scope;
    uint64_t wall = clock_wall(auth->ctx->clock);
    if (unpack_key(row->key, &scope, &net, &key) != RC_OK || row->value.n < 10 ||
        row->value.p[0] != FORMAT || is_meant(v, scope, key, &net))
        return false;
    uint64_t until = get_u64(row->value.p + 1);
    const struct guard_block block = {.left_ns = until > wall ? until - wall : 0,
                                      .n = (unsigned char)row->value.p[9]};
    if (v->restores && block.left_ns)
        auth_guard_restore(&auth->guard, scope, key, &block, clock_mono(auth->ctx->clock));
    return block.left_ns;
}

static enum rc drop_rows(struct auth *auth, struct kv_txn **txn)
{
    struct kv_txn *it = *txn;
    *txn = NULL;
    if (it && kv_txn_rows(it))
        return kv_commit_lazy_wait(auth->kv, it, NULL);
    if (it)
        kv_txn_free(&it);
    return RC_OK;
}

static enum rc go_through(struct auth *auth, const struct visit *visit)
{
    struct kv_walk walk;
    struct kv_row row;
    struct kv_txn *txn = NULL;
    enum rc rc;
    kv_walk_begin(&walk, auth->kv, part, (struct kv_range){0}, 0);
    while ((rc = kv_walk_next(&walk, &row)) == RC_OK) {
        if (visit_row(auth, &row, visit))
            continue;
        txn = txn ? txn : kv_txn_new(part);
        rc = kv_txn_delete(txn, row.key);
        if (rc == RC_OK && kv_txn_rows(txn) >= PER_TXN)
            rc = drop_rows(auth, &txn);
        if (rc != RC_OK)
            break;
    }
    kv_walk_end(&walk);
    enum rc dropped = drop_rows(auth, &txn);
    return rc == RC_EOF ? dropped : rc;
}

static void warn(struct auth *auth, enum rc rc)
{
    if (rc != RC_OK)
        log_event(auth->ctx->log, LOG_WARNING, "blocks-not-kept", "cause", rc_name(rc), NULL);
}

void auth_blocks_write(struct auth *auth, int scope, struct str key,
                       const struct guard_block *block)
{
    unsigned char value[10] = {FORMAT};
    struct block_key row;
    pack_key(scope, key, &row);
    put_u64(value + 1, clock_wall(auth->ctx->clock) + block->left_ns);
    value[9] = (unsigned char)block->n;
    auth_cache_row(auth, part.id, str_from(row.b, row.n), str_from(value, sizeof value), false);
    if (atomic_fetch_add(&auth->blocks_written, 1) + 1 >= SWEEP)
        auth_warden_wake(auth); /* who may wait for a disk */
}

void auth_blocks_read(struct auth *auth)
{
    warn(auth, go_through(auth, &(struct visit){.restores = true}));
}

void auth_blocks_tidy(struct auth *auth)
{
    if (atomic_load(&auth->blocks_written) < SWEEP)
        return;
    atomic_store(&auth->blocks_written, 0);
    warn(auth, go_through(auth, &(struct visit){.all = false}));
}

void auth_blocks_forget(struct auth *auth, struct str name, const struct net_cidr *net, bool all)
{
    const struct visit visit = {.all = all, .name = name, .net = net};
    auth_place_wait(auth); /* those that are being written */
    warn(auth, go_through(auth, &visit));
}
