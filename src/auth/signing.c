/* The keys that sign a domain's mail: one row beside the domain's own has all of them.
 *
 * A key waits until it is published, signs, and stays published for a while after another one has
 * taken its place, so that what it has signed can still be verified [RFC6376 3.6.2]. Private halves
 * are sealed; the directory cannot open them. */
#include "auth/auth_int.h"

#include <string.h>

enum { FORMAT = 1, RECORD_MAX = 128 << 10 };

static void key_of_keys(struct key *key, struct str domain)
{
    key->b[0] = 'k';
    memcpy(key->b + 1, domain.p, domain.n);
    key->n = 1 + domain.n;
}

/* --- the record ------------------------------------------------------------------------------- */

static enum rc unpack_keys(struct str value, struct arena *arena, struct auth_key **out,
                           size_t *out_n)
{
    struct unpacker r;
    *out_n = 0;
    *out = arena_zero(arena, AUTH_KEYS_MAX * sizeof **out);
    if (!*out)
        return RC_LIMIT;
    if (str_is_null(value))
        return RC_OK;
    unpack_init(&r, value);
    if (unpack_u8(&r) != FORMAT)
        return RC_CORRUPT;
    size_t n = unpack_u8(&r);
    if (n > AUTH_KEYS_MAX)
        return RC_CORRUPT;
    for (size_t i = 0; i < n; i++) {
        struct auth_key *k = &(*out)[i];
        uint8_t algorithm = unpack_u8(&r), state = unpack_u8(&r);
        k->algorithm = algorithm;
        k->state = (enum auth_key_state)state;
        k->created = unpack_u64(&r);
        k->until = unpack_u64(&r);
        struct str seal = unpack_bytes(&r, AUTH_SEAL_ID);
        if (seal.n == AUTH_SEAL_ID)
            memcpy(k->seal, seal.p, AUTH_SEAL_ID);
        k->selector = unpack_str16(&r);
        k->public_key = unpack_str16(&r);
        k->sealed = unpack_str16(&r);
        if (state > AUTH_KEY_RETIRED || algorithm > 7)
            return RC_CORRUPT;
    }
    *out_n = n;
    return unpack_done(&r);
}

static enum rc pack_keys(const struct auth_key *keys, size_t n, struct arena *arena,
                         struct str *out)
{
    struct packer w;
    void *mem = arena_alloc(arena, RECORD_MAX);
    if (!mem)
        return RC_LIMIT;
    pack_init(&w, mem, RECORD_MAX);
    pack_u8(&w, FORMAT);
    pack_u8(&w, (uint8_t)n);
    for (size_t i = 0; i < n; i++) {
        pack_u8(&w, (uint8_t)keys[i].algorithm);
        pack_u8(&w, (uint8_t)keys[i].state);
        pack_u64(&w, keys[i].created);
        pack_u64(&w, keys[i].until);
        pack_bytes(&w, str_from(keys[i].seal, AUTH_SEAL_ID));
        pack_str16(&w, keys[i].selector);
        pack_str16(&w, keys[i].public_key);
        pack_str16(&w, keys[i].sealed);
    }
    *out = pack_done(&w);
    return str_is_null(*out) ? RC_LIMIT : RC_OK;
}

/* --- changing --------------------------------------------------------------------------------- */

struct keys_edit {
    struct edit edit;
    struct key domain, row;
    /* Changes the n keys at hand, of which there is room for AUTH_KEYS_MAX. */
    enum rc (*change)(struct keys_edit *k, struct auth_key *keys, size_t *n);
    const struct auth_key *add;
    size_t n_add;
    struct str selector;
    uint64_t time;
};

static enum rc make_keys(struct edit *e, struct kv_txn *txn)
{
    struct keys_edit *k = CONTAINER(e, struct keys_edit, edit);
    const struct key names[2] = {k->domain, k->row};
    struct str values[2], value;
    struct auth_key *keys;
    size_t n;
    TRY(auth_edit_get(e, names, 2, values));
    if (str_is_null(values[0]))
        return RC_NOTFOUND;
    TRY(unpack_keys(values[1], &e->arena, &keys, &n));
    TRY(k->change(k, keys, &n));
    if (n == 0)
        return kv_txn_delete(txn, auth_key_str(&k->row));
    TRY(pack_keys(keys, n, &e->arena, &value));
    return kv_txn_put(txn, auth_key_str(&k->row), value);
}

static enum rc run(struct auth *auth, struct str domain, struct keys_edit *k)
{
    struct domain_name d;
    if (auth_domain_parse(domain, &d) != RC_OK)
        return RC_NOTFOUND;
    auth_key_domain(&k->domain, d.name);
    key_of_keys(&k->row, d.name);
    k->edit = (struct edit){.make = make_keys, .auth = auth, .part = auth_domain_part(d.name)};
    return auth_edit_run(&k->edit);
}

static bool is_known(const struct auth_key *keys, size_t n, struct str selector)
{
    for (size_t i = 0; i < n; i++)
        if (str_ieq(keys[i].selector, selector))
            return true;
    return false;
}

static enum rc add(struct keys_edit *k, struct auth_key *keys, size_t *n)
{
    for (size_t i = 0; i < k->n_add; i++) {
        if (is_known(keys, *n, k->add[i].selector))
            return RC_EXISTS;
        if (*n == AUTH_KEYS_MAX)
            return RC_DENIED;
        keys[(*n)++] = k->add[i];
    }
    return RC_OK;
}

enum rc auth_keys_add(struct auth *auth, struct str domain, const struct auth_key *keys, size_t n)
{
    struct keys_edit k = {.change = add, .add = keys, .n_add = n};
    return run(auth, domain, &k);
}

/* A retired key is only its public half any more. */
static void retire(struct auth_key *key, uint64_t until)
{
    key->state = AUTH_KEY_RETIRED;
    key->until = until;
    key->sealed = STR("");
}

/* The last one of those that wait, which takes the others' place too; n: none waits. */
static size_t next_of(const struct auth_key *keys, size_t n, unsigned algorithm)
{
    for (size_t i = n; i-- > 0;)
        if (keys[i].state == AUTH_KEY_WAITING && keys[i].algorithm == algorithm)
            return i;
    return n;
}

static enum rc turn(struct keys_edit *k, struct auth_key *keys, size_t *n)
{
    size_t turned = 0;
    for (size_t i = 0; i < *n; i++) {
        size_t next = next_of(keys, *n, keys[i].algorithm);
        if (next < *n && next != i && keys[i].state != AUTH_KEY_RETIRED)
            retire(&keys[i], k->time);
    }
    for (size_t i = 0; i < *n; i++) {
        turned += keys[i].state == AUTH_KEY_WAITING;
        if (keys[i].state == AUTH_KEY_WAITING)
            keys[i].state = AUTH_KEY_SIGNING;
    }
    return turned ? RC_OK : RC_EXISTS;
}

enum rc auth_keys_turn(struct auth *auth, struct str domain, uint64_t until)
{
    struct keys_edit k = {.change = turn, .time = until};
    return run(auth, domain, &k);
}

static enum rc drop(struct keys_edit *k, struct auth_key *keys, size_t *n)
{
    size_t kept = 0;
    for (size_t i = 0; i < *n; i++) {
        bool goes = str_is_null(k->selector)
                        ? keys[i].state == AUTH_KEY_RETIRED && keys[i].until <= k->time
                        : str_ieq(keys[i].selector, k->selector);
        if (!goes)
            keys[kept++] = keys[i];
    }
    bool is_changed = kept != *n;
    *n = kept;
    return is_changed ? RC_OK : RC_EXISTS;
}

enum rc auth_keys_drop(struct auth *auth, struct str domain, struct str selector)
{
    struct keys_edit k = {.change = drop, .selector = selector};
    return run(auth, domain, &k);
}

enum rc auth_keys_sweep(struct auth *auth, struct str domain, uint64_t now)
{
    struct keys_edit k = {.change = drop, .time = now};
    enum rc rc = run(auth, domain, &k);
    return rc == RC_EXISTS ? RC_OK : rc;
}

enum rc auth_keys_forget(struct kv_txn *txn, struct str domain)
{
    struct key row;
    key_of_keys(&row, domain);
    return kv_txn_delete(txn, auth_key_str(&row));
}

/* --- looking ---------------------------------------------------------------------------------- */

struct keys_read {
    struct auth *auth;
    struct str domain;
    unsigned flags;
    struct arena *arena;
};

static enum rc read_keys(const struct keys_read *r, uint8_t *out_signing, struct auth_key **out,
                         size_t *out_n)
{
    struct domain_name d;
    struct domain_record record;
    struct key domain_key, row;
    struct str values[2];
    *out_n = 0;
    if (auth_domain_parse(r->domain, &d) != RC_OK)
        return RC_NOTFOUND;
    auth_key_domain(&domain_key, d.name);
    key_of_keys(&row, d.name);
    const struct str names[2] = {auth_key_str(&domain_key), auth_key_str(&row)};
    TRY(kv_get(r->auth->kv, auth_domain_part(d.name), names, 2, r->flags, r->arena, values, NULL));
    if (str_is_null(values[0]))
        return RC_NOTFOUND;
    TRY(auth_domain_unpack(values[0], &record));
    *out_signing = record.signing;
    return unpack_keys(values[1], r->arena, out, out_n);
}

enum rc auth_keys_list(struct auth *auth, struct str domain, struct arena *arena,
                       struct auth_key **out, size_t *out_n)
{
    uint8_t signing;
    struct keys_read r = {auth, domain, 0, arena};
    return read_keys(&r, &signing, out, out_n);
}

enum rc auth_keys_signing(struct auth *auth, struct str domain, unsigned flags, struct arena *arena,
                          struct auth_key **out, size_t *out_n)
{
    size_t n, kept = 0;
    uint8_t signing = 0;
    struct keys_read r = {auth, domain, flags, arena};
    *out_n = 0;
    TRY(read_keys(&r, &signing, out, &n));
    for (size_t i = 0; i < n; i++)
        if ((*out)[i].state == AUTH_KEY_SIGNING && signing & 1U << (*out)[i].algorithm)
            (*out)[kept++] = (*out)[i];
    *out_n = kept;
    return RC_OK;
}

enum rc auth_keys_check(struct str value)
{
    struct arena arena = {0};
    struct auth_key *keys;
    size_t n;
    enum rc rc = unpack_keys(value, &arena, &keys, &n);
    arena_fini(&arena);
    return rc;
}

/* --- whom they are sealed for ----------------------------------------------------------------- */

struct seal_edit {
    struct edit edit;
    struct key key;
    const unsigned char *seal;
    bool may_replace;
};

static enum rc make_seal(struct edit *e, struct kv_txn *txn)
{
    struct seal_edit *s = CONTAINER(e, struct seal_edit, edit);
    unsigned char value[1 + AUTH_SEAL] = {FORMAT};
    struct str old;
    memcpy(value + 1, s->seal, AUTH_SEAL);
    TRY(auth_edit_get(e, &s->key, 1, &old));
    if (str_eq(old, str_from(value, sizeof value)))
        return RC_EXISTS;
    if (!str_is_null(old) && !s->may_replace)
        return RC_DENIED;
    return kv_txn_put(txn, auth_key_str(&s->key), str_from(value, sizeof value));
}

enum rc auth_seal_set(struct auth *auth, const unsigned char seal[AUTH_SEAL], bool may_replace)
{
    struct seal_edit s = {.edit = {.make = make_seal, .auth = auth, .part = auth_global_part},
                          .key = {{'s'}, 1},
                          .seal = seal,
                          .may_replace = may_replace};
    enum rc rc = auth_edit_run(&s.edit);
    return rc == RC_EXISTS ? RC_OK : rc;
}

enum rc auth_seal(struct auth *auth, unsigned char out[AUTH_SEAL])
{
    struct arena arena = {0};
    struct unpacker r;
    struct str name = STR("s"), value;
    enum rc rc = kv_get(auth->kv, auth_global_part, &name, 1, 0, &arena, &value, NULL);
    if (rc == RC_OK && str_is_null(value))
        rc = RC_NOTFOUND;
    if (rc == RC_OK) {
        unpack_init(&r, value);
        uint8_t format = unpack_u8(&r);
        struct str seal = unpack_bytes(&r, AUTH_SEAL);
        rc = format == FORMAT ? unpack_done(&r) : RC_CORRUPT;
        if (rc == RC_OK)
            memcpy(out, seal.p, AUTH_SEAL);
    }
    arena_fini(&arena);
    return rc;
}
