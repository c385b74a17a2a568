/* The store's own secret: one row of the list, made by whoever asks first. It never changes, since
 * addresses that were made with it come back weeks later. */
#include "auth/auth_int.h"

#include "base/random.h"

#include <string.h>

static const struct key secret_key = {{'s'}, 1};

struct secret_edit {
    struct edit edit;
    struct str row; /* in the edit's arena */
    unsigned char made[1 + AUTH_SECRET];
};

static enum rc read_row(struct str row, unsigned char out[AUTH_SECRET])
{
    struct unpacker r;
    unpack_init(&r, row);
    uint8_t format = unpack_u8(&r);
    struct str bytes = unpack_bytes(&r, AUTH_SECRET);
    if (format != 1 || unpack_done(&r) != RC_OK)
        return RC_CORRUPT;
    memcpy(out, bytes.p, AUTH_SECRET);
    return RC_OK;
}

static enum rc make(struct edit *e, struct kv_txn *txn)
{
    struct secret_edit *x = CONTAINER(e, struct secret_edit, edit);
    TRY(auth_edit_get(e, &secret_key, 1, &x->row));
    if (!str_is_null(x->row))
        return RC_EXISTS; /* somebody else was faster */
    x->made[0] = 1;
    random_bytes(x->made + 1, AUTH_SECRET);
    return kv_txn_put(txn, auth_key_str(&secret_key), str_from(x->made, sizeof x->made));
}

static enum rc load(struct auth *auth, unsigned flags, unsigned char out[AUTH_SECRET])
{
    struct arena arena = {0};
    struct str key = auth_key_str(&secret_key), row;
    enum rc rc = kv_get(auth->kv, auth_global_part, &key, 1, flags, &arena, &row, NULL);
    if (rc == RC_OK)
        rc = str_is_null(row) ? RC_NOTFOUND : read_row(row, out);
    arena_fini(&arena);
    return rc;
}

static enum rc find_or_make(struct auth *auth, unsigned flags, unsigned char out[AUTH_SECRET])
{
    struct secret_edit x = {.edit = {.make = make, .auth = auth, .part = auth_global_part}};
    enum rc rc = load(auth, flags, out);
    if (rc != RC_NOTFOUND)
        return rc;
    if (flags & KV_CACHED)
        return RC_AGAIN; /* making it waits for the disk */
    rc = auth_edit_run(&x.edit);
    return rc == RC_OK || rc == RC_EXISTS ? load(auth, 0, out) : rc;
}

enum rc auth_secret(struct auth *auth, unsigned flags, unsigned char out[AUTH_SECRET])
{
    unsigned char found[AUTH_SECRET];
    pthread_mutex_lock(&auth->secret_mutex);
    bool has = auth->has_secret;
    if (has)
        memcpy(out, auth->secret, AUTH_SECRET);
    pthread_mutex_unlock(&auth->secret_mutex);
    if (has)
        return RC_OK;
    TRY(find_or_make(auth, flags, found));
    pthread_mutex_lock(&auth->secret_mutex);
    memcpy(auth->secret, found, AUTH_SECRET);
    auth->has_secret = true;
    pthread_mutex_unlock(&auth->secret_mutex);
    memcpy(out, found, AUTH_SECRET);
    crypto_wipe(found, sizeof found);
    return RC_OK;
}
