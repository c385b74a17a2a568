/* App passwords as logins meet them: whether a password is one, whether it may be used here and
 * now, whether it still is, and when it was last used.
 *
 * Invariants: one digest is computed for each attempt, whatever the account has, and compared with
 * each of its app passwords, AUTH_APPS_MAX at most, in a time that does not depend on where they
 * differ; what is right but not usable here or now goes the same way as what is wrong, so that only
 * the log knows the difference. A credential begins with the number of its row: 0 for the account's
 * own password. Notes of use are written lazily, at most every some minutes; losing them loses
 * nothing else.
 */
#include "auth/auth_int.h"

#include <stdio.h>
#include <string.h>

enum { FORMAT = 1 };

#define NOTE_NS (5 * 60 * NS_PER_SEC)

/* --- whether it is one ------------------------------------------------------------------------ */

static void name_credential(struct auth *auth, const struct app_record *r,
                            unsigned char out[AUTH_CREDENTIAL])
{
    auth_verified_credential(&auth->verified, str_from(r->digest, APP_DIGEST), out);
    put_u32(out, r->number);
}

static bool has_expired(struct auth *auth, const struct app_record *r)
{
    return r->expires && clock_wall(auth->ctx->clock) >= r->expires;
}

/* NULL: it may be used. */
static const char *what_forbids(struct auth *auth, const struct app_record *r,
                                const struct app_attempt *attempt)
{
    if (!(r->protocols & auth_protocol_of(str_of(attempt->protocol))))
        return "app-password-protocol";
    if (has_expired(auth, r))
        return "app-password-expired";
    if (r->has_net && !(attempt->peer->is_network && net_cidr_has(&r->net, &attempt->peer->addr)))
        return "app-password-network";
    return NULL;
}

static void take_facts(struct auth *auth, const struct app_record *r, struct credential *c)
{
    name_credential(auth, r, c->facts.credential);
    c->app = (struct app_use){.number = r->number, .created = r->created, .expires = r->expires};
    memcpy(c->app.label, r->label.p, r->label.n);
}

/* Looks at all rows in any case. */
static enum rc search(const struct kv_page *page, struct str label, const unsigned char *digest,
                      struct app_record *out)
{
    enum rc result = RC_DENIED;
    for (size_t i = 0; i < page->n; i++) {
        struct app_record r;
        enum rc rc = auth_app_unpack(&page->rows[i], &r);
        if (rc != RC_OK)
            continue; /* damaged: fsck tells; the others work */
        bool is_right =
            crypto_is_equal(str_from(r.digest, APP_DIGEST), str_from(digest, APP_DIGEST));
        if (!is_right || (!str_is_null(label) && !auth_app_label_is(r.label, label)))
            continue;
        *out = r;
        result = RC_OK;
    }
    return result;
}

enum rc auth_app_match(struct auth *auth, struct credential *c, const struct app_attempt *attempt)
{
    struct arena arena = {0};
    struct app_keys keys;
    struct app_record r;
    struct kv_page page;
    unsigned char digest[APP_DIGEST];
    uint64_t account = c->is_open ? c->facts.account : 0;
    enum rc rc =
        kv_scan(auth->kv, c->part, auth_app_range(&keys, account), AUTH_APPS_MAX, 0, &arena, &page);
    if (rc == RC_OK) {
        auth_app_digest(account, attempt->password, digest);
        rc = search(&page, c->label, digest, &r);
    }
    if (rc == RC_OK) {
        const char *forbidden = what_forbids(auth, &r, attempt);
        if (forbidden) {
            c->cause = forbidden;
            c->is_usable = false; /* should the account's password ever be the same */
            rc = RC_DENIED;
        } else {
            take_facts(auth, &r, c);
        }
    }
    crypto_wipe(digest, sizeof digest);
    arena_fini(&arena);
    return rc;
}

static enum rc find_label(const struct kv_page *page, struct str label, struct app_record *out)
{
    for (size_t i = 0; i < page->n; i++)
        if (auth_app_unpack(&page->rows[i], out) == RC_OK && auth_app_label_is(out->label, label))
            return RC_OK;
    return RC_NOTFOUND;
}

enum rc auth_app_scram(struct auth *auth, struct credential *c, const struct app_attempt *attempt,
                       unsigned flags)
{
    struct arena arena = {0};
    struct app_keys keys;
    struct app_record r = {0};
    struct kv_page page;
    bool is_named = c->is_open && !str_is_null(c->label);
    struct kv_range range = auth_app_range(&keys, is_named ? c->facts.account : 0);
    enum rc rc = kv_scan(auth->kv, c->part, range, AUTH_APPS_MAX, flags, &arena, &page);
    if (rc == RC_OK && is_named && find_label(&page, c->label, &r) == RC_OK) {
        const char *forbidden = what_forbids(auth, &r, attempt);
        if (forbidden) {
            c->cause = forbidden;
        } else {
            take_facts(auth, &r, c);
            c->scram = r.scram;
            c->is_usable = true;
        }
    }
    crypto_wipe(&r.scram, sizeof r.scram);
    arena_fini(&arena);
    return rc;
}

/* --- whether it still is ---------------------------------------------------------------------- */

enum rc auth_app_holds(struct auth *auth, const struct credential *now,
                       const unsigned char credential[AUTH_CREDENTIAL], unsigned flags)
{
    struct arena arena = {0};
    struct app_record r;
    struct key key;
    unsigned char stored[AUTH_CREDENTIAL];
    struct str value;
    auth_key_secret(&key, now->facts.account, get_u32(credential));
    struct str names[1] = {auth_key_str(&key)};
    enum rc rc = kv_get(auth->kv, now->part, names, 1, flags, &arena, &value, NULL);
    if (rc == RC_OK && (!now->is_open || str_is_null(value)))
        rc = RC_DENIED;
    if (rc == RC_OK)
        rc = auth_app_unpack(&(struct kv_row){names[0], value}, &r);
    if (rc == RC_OK) {
        name_credential(auth, &r, stored);
        bool is_same = memcmp(stored, credential, AUTH_CREDENTIAL) == 0;
        rc = is_same && !has_expired(auth, &r) ? RC_OK : RC_DENIED;
    }
    arena_fini(&arena);
    return rc == RC_NOTFOUND ? RC_DENIED : rc;
}

/* --- its last use ----------------------------------------------------------------------------- */

struct use {
    uint64_t created; /* of the app password that the row is about */
    uint64_t at;
    unsigned protocol;
    struct str peer, client;
};

static struct str use_key(unsigned char key[5], uint32_t number)
{
    key[0] = 'u';
    put_u32(key + 1, number);
    return str_from(key, 5);
}

/* Nothing, where there is no row, or one that cannot be read. */
static enum rc read_use(struct auth *auth, uint64_t account, uint32_t number, unsigned flags,
                        struct arena *arena, struct use *out)
{
    unsigned char text[5];
    struct unpacker r;
    struct str value, names[1] = {use_key(text, number)};
    struct kv_part part = {KV_CACHE, account};
    *out = (struct use){0};
    TRY(kv_get(auth->kv, part, names, 1, flags, arena, &value, NULL));
    unpack_init(&r, value);
    if (str_is_null(value) || unpack_u8(&r) != FORMAT)
        return RC_OK;
    struct use found = {.created = unpack_u64(&r), .at = unpack_u64(&r)};
    found.protocol = unpack_u16(&r);
    found.peer = unpack_str16(&r);
    found.client = unpack_str16(&r);
    if (!r.failed)
        *out = found;
    return RC_OK;
}

static void write_use(struct auth *auth, uint64_t account, uint32_t number, const struct use *use)
{
    unsigned char text[5], value[32 + AUTH_APP_PEER_MAX + AUTH_APP_CLIENT_MAX];
    struct packer w;
    pack_init(&w, value, sizeof value);
    pack_u8(&w, FORMAT);
    pack_u64(&w, use->created);
    pack_u64(&w, use->at);
    pack_u16(&w, (uint16_t)use->protocol);
    pack_str16(&w, str_head(use->peer, AUTH_APP_PEER_MAX));
    pack_str16(&w, str_head(use->client, AUTH_APP_CLIENT_MAX));
    auth_cache_row(auth, account, use_key(text, number), pack_done(&w), false);
}

void auth_app_note(struct auth *auth, uint64_t account, const struct app_use *app,
                   const char *protocol, struct str peer)
{
    struct arena arena = {0};
    struct use use;
    struct use now = {.created = app->created,
                      .at = clock_wall(auth->ctx->clock),
                      .protocol = auth_protocol_of(str_of(protocol)),
                      .peer = str_head(peer, AUTH_APP_PEER_MAX)};
    enum rc rc = read_use(auth, account, app->number, 0, &arena, &use);
    bool is_known = rc == RC_OK && use.created == app->created;
    bool is_same = is_known && now.protocol == use.protocol && str_eq(now.peer, use.peer);
    if (is_known)
        now.client = use.client;
    if (!is_same || now.at - use.at >= NOTE_NS)
        write_use(auth, account, app->number, &now);
    arena_fini(&arena);
}

/* The note of the login itself may still be on its way: this one holds all that that one does. */
void auth_app_client(struct auth *auth, const struct app_user *user, struct str client)
{
    struct arena arena = {0};
    struct app_record app = {0};
    struct use use;
    struct key key;
    struct str value;
    auth_key_secret(&key, user->account, user->number);
    struct str names[1] = {auth_key_str(&key)};
    enum rc rc = user->number && client.n ? RC_OK : RC_NOTFOUND;
    if (rc == RC_OK)
        rc = kv_get(auth->kv, user->part, names, 1, KV_CACHED, &arena, &value, NULL);
    if (rc == RC_OK)
        rc = auth_app_unpack(&(struct kv_row){names[0], value}, &app);
    if (rc == RC_OK)
        rc = read_use(auth, user->account, user->number, KV_CACHED, &arena, &use);
    struct use now = {.created = app.created,
                      .at = clock_wall(auth->ctx->clock),
                      .protocol = auth_protocol_of(str_of(user->protocol)),
                      .peer = str_head(user->peer, AUTH_APP_PEER_MAX),
                      .client = str_head(client, AUTH_APP_CLIENT_MAX)};
    if (rc == RC_OK && (use.created != now.created || now.at - use.at >= NOTE_NS ||
                        !str_eq(use.client, now.client)))
        write_use(auth, user->account, user->number, &now);
    arena_fini(&arena);
}

enum rc auth_app_used(struct auth *auth, uint64_t account, const struct app_record *r,
                      struct arena *arena, struct auth_app *out)
{
    struct use use;
    TRY(read_use(auth, account, r->number, 0, arena, &use));
    if (use.created != r->created)
        use = (struct use){0};
    out->used.at = use.at;
    out->used.peer = use.peer;
    out->used.client = use.client;
    out->used.protocol = auth_protocol_name(use.protocol);
    return RC_OK;
}
