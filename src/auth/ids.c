/* Account ids: given once each, listed in G until what belongs to them is gone. Does not know what
 * an id is used for. */
#include "auth/auth_int.h"

struct id_edit {
    struct edit edit;
    uint64_t id;
};

static const struct key next_id = {{'i'}, 1};

static enum rc make_reserved(struct edit *e, struct kv_txn *txn)
{
    struct id_edit *i = CONTAINER(e, struct id_edit, edit);
    struct str value;
    struct record r;
    struct key key;
    i->id = 1;
    TRY(auth_edit_get(e, &next_id, 1, &value));
    if (!str_is_null(value))
        TRY(auth_number_unpack(value, &i->id));
    auth_key_account(&key, i->id);
    auth_number_pack(clock_wall(e->auth->ctx->clock), &r);
    TRY(kv_txn_put(txn, auth_key_str(&key), auth_record_str(&r)));
    auth_number_pack(i->id + 1, &r);
    return kv_txn_put(txn, auth_key_str(&next_id), auth_record_str(&r));
}

enum rc auth_account_reserve(struct auth *auth, uint64_t *out_id)
{
    struct id_edit i = {.edit = {.make = make_reserved, .auth = auth, .part = auth_global_part}};
    TRY(auth_edit_run(&i.edit));
    *out_id = i.id;
    return RC_OK;
}

static enum rc make_released(struct edit *e, struct kv_txn *txn)
{
    struct id_edit *i = CONTAINER(e, struct id_edit, edit);
    struct str value;
    struct key key;
    auth_key_account(&key, i->id);
    TRY(auth_edit_get(e, &key, 1, &value));
    return kv_txn_delete(txn, auth_key_str(&key));
}

enum rc auth_account_release(struct auth *auth, uint64_t id)
{
    struct id_edit i = {.edit = {.make = make_released, .auth = auth, .part = auth_global_part},
                        .id = id};
    return auth_edit_run(&i.edit);
}

enum rc auth_account_ids(struct auth *auth, uint64_t after, uint64_t *out_ids, size_t max,
                         size_t *out_n)
{
    struct arena arena = {0};
    struct kv_page page;
    struct key from;
    *out_n = 0;
    if (after == UINT64_MAX || !max)
        return RC_OK;
    auth_key_account(&from, after + 1);
    struct kv_range range = {.from = auth_key_str(&from), .to = STR("b")};
    size_t rows = max < KV_PAGE_ROWS ? max : KV_PAGE_ROWS;
    enum rc rc = kv_scan(auth->kv, auth_global_part, range, rows, 0, &arena, &page);
    for (size_t i = 0; rc == RC_OK && i < page.n; i++) {
        if (page.rows[i].key.n == from.n)
            out_ids[(*out_n)++] = get_u64(page.rows[i].key.p + 1);
        else
            rc = RC_CORRUPT;
    }
    arena_fini(&arena);
    return rc;
}
