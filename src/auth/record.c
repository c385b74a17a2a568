/* The directory's keys and values, as docs/internals/directory.md has them. Numbers are big-endian;
 * a value begins with its format, and a reader takes bytes behind what it knows as added later. */
#include "auth/auth_int.h"

#include <string.h>

enum {
    FORMAT = 1,
    KIND_ACCOUNT = 1,
    KIND_ALIAS = 2,
    KIND_ARGON2ID = 1,
    KIND_APP = 2,
    KIND_FOREIGN = 3
};
enum { NO_NET = 255 }; /* in the place of a network's bits */
enum { FLAG_DISABLED = 1, FLAG_SUSPENDED = 2, FLAG_NO_COPY = 4 };

const struct kv_part auth_global_part = {KV_GLOBAL, 0};

struct kv_part auth_domain_part(struct str domain)
{
    return (struct kv_part){KV_DIRECTORY, crc32c(0, domain) % PARTITIONS};
}

bool auth_partition(size_t n, struct kv_part *out)
{
    *out = n == 0 ? auth_global_part : (struct kv_part){KV_DIRECTORY, n - 1};
    return n <= PARTITIONS;
}

struct str auth_key_str(const struct key *key)
{
    return str_from(key->b, key->n);
}

/* Names are checked to be short enough before they get here, so a key always fits. */
static void key_make(struct key *key, char prefix, struct str a)
{
    key->b[0] = (unsigned char)prefix;
    memcpy(key->b + 1, a.p, a.n);
    key->n = 1 + a.n;
}

void auth_key_domain(struct key *key, struct str domain)
{
    key_make(key, 'd', domain);
}

void auth_key_address(struct key *key, struct str domain, struct str local)
{
    key_make(key, 'a', domain);
    key->b[key->n++] = 0;
    if (local.n)
        memcpy(key->b + key->n, local.p, local.n);
    key->n += local.n;
}

/* The first key of a domain's addresses, and the first one behind them. */
void auth_keys_of_domain(struct str domain, struct key *from, struct key *to)
{
    auth_key_address(from, domain, STR(""));
    *to = *from;
    to->b[to->n - 1]++; /* the 0 behind the domain */
}

void auth_key_secret(struct key *key, uint64_t account, uint32_t number)
{
    key->b[0] = 'c';
    put_u64(key->b + 1, account);
    put_u32(key->b + 9, number);
    key->n = 13;
}

void auth_key_account(struct key *key, uint64_t account)
{
    key->b[0] = 'a';
    put_u64(key->b + 1, account);
    key->n = 9;
}

void auth_key_removed(struct key *key, struct str address, uint64_t account)
{
    key->b[0] = 'r';
    put_u32(key->b + 1, crc32c(0, address));
    put_u64(key->b + 5, account);
    key->n = 13;
}

struct str auth_record_str(const struct record *r)
{
    return str_from(r->b, r->n);
}

static void begin(struct packer *w, struct record *out)
{
    pack_init(w, out->b, sizeof out->b);
    pack_u8(w, FORMAT);
}

static enum rc open_record(struct unpacker *r, struct str value)
{
    unpack_init(r, value);
    return unpack_u8(r) == FORMAT ? RC_OK : RC_CORRUPT;
}

static void pack_settings(struct packer *w, const struct auth_settings *s)
{
    pack_u8(w, s->pop3_delete == AUTH_POP3_UNSET ? 0 : (uint8_t)(s->pop3_delete + 1));
    pack_u32(w, s->pop3_days);
}

/* What is not known here is left to the client, which deletes least. */
static void unpack_settings(struct unpacker *r, struct auth_settings *out)
{
    uint8_t how = unpack_u8(r);
    uint32_t days = unpack_u32(r);
    out->pop3_delete =
        how > 0 && how <= AUTH_POP3_UNSET ? (enum auth_pop3_delete)(how - 1) : AUTH_POP3_UNSET;
    out->pop3_days = days;
}

static void pack_limits(struct packer *w, const struct auth_limits *limits)
{
    pack_u8(w, limits->is_set);
    for (size_t i = 0; i < AUTH_LIMITS && limits->is_set; i++)
        pack_u32(w, limits->most[i]);
}

static void unpack_limits(struct unpacker *r, struct auth_limits *out)
{
    *out = (struct auth_limits){.is_set = unpack_u8(r) != 0};
    for (size_t i = 0; i < AUTH_LIMITS && out->is_set; i++)
        out->most[i] = unpack_u32(r);
}

void auth_domain_pack(const struct domain_record *d, struct record *out)
{
    struct packer w;
    begin(&w, out);
    pack_u64(&w, d->created);
    pack_u64(&w, d->accounts);
    pack_u64(&w, d->postmaster);
    pack_u64(&w, d->aliases);
    pack_u64(&w, d->removed);
    pack_settings(&w, &d->settings);
    pack_u8(&w, (uint8_t)d->delimiter);
    pack_str16(&w, d->catch_all);
    pack_u8(&w, d->signing);
    pack_limits(&w, &d->limits);
    pack_limits(&w, &d->all_limits);
    out->n = w.n;
}

enum rc auth_domain_unpack(struct str value, struct domain_record *out)
{
    struct unpacker r;
    *out = (struct domain_record){
        .settings.pop3_delete = AUTH_POP3_UNSET, .delimiter = '+', .signing = AUTH_SIGNING_ALL};
    TRY(open_record(&r, value));
    out->created = unpack_u64(&r);
    out->accounts = unpack_u64(&r);
    out->postmaster = unpack_u64(&r);
    if (r.n) { /* release 0.1.0 wrote no more */
        out->aliases = unpack_u64(&r);
        out->removed = unpack_u64(&r);
        unpack_settings(&r, &out->settings);
        out->delimiter = (char)unpack_u8(&r);
        out->catch_all = unpack_str16(&r);
    }
    if (r.n) /* before domains signed */
        out->signing = unpack_u8(&r);
    if (r.n) { /* before sending was limited */
        unpack_limits(&r, &out->limits);
        unpack_limits(&r, &out->all_limits);
    }
    return unpack_done(&r);
}

static void pack_targets(struct packer *w, const struct address_record *a)
{
    pack_u16(w, (uint16_t)a->n_targets);
    for (size_t i = 0; i < a->n_targets; i++)
        pack_str16(w, a->targets[i]);
}

static enum rc unpack_targets(struct unpacker *r, struct arena *arena, struct address_record *out)
{
    size_t n = unpack_u16(r);
    if (n > AUTH_ALIAS_MAX)
        return RC_CORRUPT;
    out->targets = arena_alloc(arena, (n + 1) * sizeof *out->targets);
    if (!out->targets)
        return RC_LIMIT;
    for (size_t i = 0; i < n; i++)
        out->targets[i] = unpack_str16(r);
    out->n_targets = n;
    return RC_OK;
}

static void pack_account(struct packer *w, const struct address_record *a)
{
    pack_u8(w, KIND_ACCOUNT);
    pack_u64(w, a->account);
    pack_u64(w, a->created);
    pack_u8(w, (uint8_t)((a->is_disabled ? FLAG_DISABLED : 0) |
                         (a->is_suspended ? FLAG_SUSPENDED : 0) |
                         (a->n_targets && !a->keeps_copy ? FLAG_NO_COPY : 0)));
    pack_settings(w, &a->settings);
    pack_str16(w, a->reason);
    pack_limits(w, &a->limits);
    pack_targets(w, a);
}

static void pack_alias(struct packer *w, const struct address_record *a)
{
    pack_u8(w, KIND_ALIAS);
    pack_u64(w, a->created);
    pack_targets(w, a);
}

enum rc auth_address_pack(const struct address_record *a, struct arena *arena, struct str *out)
{
    struct packer w;
    size_t size = 96 + a->reason.n;
    for (size_t i = 0; i < a->n_targets; i++)
        size += 2 + a->targets[i].n;
    void *mem = arena_alloc(arena, size);
    if (!mem)
        return RC_LIMIT;
    pack_init(&w, mem, size);
    pack_u8(&w, FORMAT);
    if (a->is_alias)
        pack_alias(&w, a);
    else
        pack_account(&w, a);
    *out = pack_done(&w);
    return str_is_null(*out) ? RC_LIMIT : RC_OK;
}

static enum rc unpack_account(struct unpacker *r, struct arena *arena, struct address_record *out)
{
    out->account = unpack_u64(r);
    out->created = unpack_u64(r);
    uint8_t flags = unpack_u8(r);
    out->is_disabled = flags & FLAG_DISABLED;
    out->is_suspended = flags & FLAG_SUSPENDED;
    if (r->n) { /* release 0.1.0 wrote no more */
        unpack_settings(r, &out->settings);
        out->reason = unpack_str16(r);
    }
    if (r->n) /* before sending was limited */
        unpack_limits(r, &out->limits);
    out->keeps_copy = !(flags & FLAG_NO_COPY);
    return r->n ? unpack_targets(r, arena, out) : RC_OK; /* before accounts forwarded */
}

static enum rc unpack_alias(struct unpacker *r, struct arena *arena, struct address_record *out)
{
    out->is_alias = true;
    out->created = unpack_u64(r);
    return unpack_targets(r, arena, out);
}

enum rc auth_address_unpack(struct str value, struct arena *arena, struct address_record *out)
{
    struct unpacker r;
    *out = (struct address_record){.settings.pop3_delete = AUTH_POP3_UNSET};
    TRY(open_record(&r, value));
    uint8_t kind = unpack_u8(&r);
    if (kind == KIND_ACCOUNT)
        TRY(unpack_account(&r, arena, out));
    else if (kind == KIND_ALIAS)
        TRY(unpack_alias(&r, arena, out));
    else
        return RC_CORRUPT;
    return unpack_done(&r);
}

enum rc auth_removed_pack(const struct removed_record *d, struct arena *arena, struct str *out)
{
    struct packer w;
    size_t size = 16 + d->address.n + d->row.n;
    void *mem = arena_alloc(arena, size);
    if (!mem)
        return RC_LIMIT;
    pack_init(&w, mem, size);
    pack_u8(&w, FORMAT);
    pack_u64(&w, d->removed);
    pack_str16(&w, d->address);
    pack_str16(&w, d->row);
    *out = pack_done(&w);
    return str_is_null(*out) ? RC_LIMIT : RC_OK;
}

enum rc auth_removed_unpack(const struct kv_row *row, struct removed_record *out)
{
    struct unpacker r;
    TRY(open_record(&r, row->value));
    out->removed = unpack_u64(&r);
    out->address = unpack_str16(&r);
    out->row = unpack_str16(&r);
    out->account = row->key.n == 13 ? get_u64(row->key.p + 5) : 0;
    return out->account ? unpack_done(&r) : RC_CORRUPT;
}

static void pack_scram(struct packer *w, const struct scram_record *s)
{
    pack_u32(w, s->iterations);
    if (!s->iterations)
        return;
    pack_bytes(w, str_from(s->salt, SCRAM_SALT));
    pack_u8(w, (uint8_t)s->n_forms);
    for (unsigned hash = CRYPTO_SHA_1; hash <= SCRAM_HASHES; hash++)
        for (unsigned form = 0; form < s->n_forms; form++) {
            size_t n = crypto_hash_size(hash);
            pack_bytes(w, str_from(s->keys[hash - 1][form].stored, n));
            pack_bytes(w, str_from(s->keys[hash - 1][form].server, n));
        }
}

static enum rc unpack_scram(struct unpacker *r, struct scram_record *out)
{
    out->iterations = unpack_u32(r);
    if (!out->iterations)
        return RC_OK;
    struct str salt = unpack_bytes(r, SCRAM_SALT);
    out->n_forms = unpack_u8(r);
    if (!salt.n || !out->n_forms || out->n_forms > SCRAM_FORMS)
        return RC_CORRUPT;
    memcpy(out->salt, salt.p, SCRAM_SALT);
    for (unsigned hash = CRYPTO_SHA_1; hash <= SCRAM_HASHES; hash++)
        for (unsigned form = 0; form < out->n_forms; form++) {
            struct scram_keys *keys = &out->keys[hash - 1][form];
            struct str stored = unpack_bytes(r, crypto_hash_size(hash));
            struct str server = unpack_bytes(r, crypto_hash_size(hash));
            if (!stored.n || !server.n)
                return RC_CORRUPT;
            memcpy(keys->stored, stored.p, stored.n);
            memcpy(keys->server, server.p, server.n);
        }
    return RC_OK;
}

void auth_app_pack(const struct app_record *a, struct record *out)
{
    struct packer w;
    begin(&w, out);
    pack_u8(&w, KIND_APP);
    pack_u64(&w, a->created);
    pack_u64(&w, a->expires);
    pack_u16(&w, (uint16_t)a->protocols);
    pack_u8(&w, a->has_net ? (uint8_t)a->net.bits : NO_NET);
    pack_bytes(&w, str_from(a->net.net.s6_addr, sizeof a->net.net.s6_addr));
    pack_str16(&w, a->label);
    pack_bytes(&w, str_from(a->digest, APP_DIGEST));
    pack_scram(&w, &a->scram);
    out->n = w.n;
}

enum rc auth_app_unpack(const struct kv_row *row, struct app_record *out)
{
    struct unpacker r;
    *out = (struct app_record){0};
    if (row->key.n != 13)
        return RC_CORRUPT;
    out->number = get_u32(row->key.p + 9);
    TRY(open_record(&r, row->value));
    if (unpack_u8(&r) != KIND_APP)
        return RC_NOTFOUND;
    out->created = unpack_u64(&r);
    out->expires = unpack_u64(&r);
    out->protocols = unpack_u16(&r);
    unsigned bits = unpack_u8(&r);
    struct str net = unpack_bytes(&r, sizeof out->net.net.s6_addr);
    out->label = unpack_str16(&r);
    struct str digest = unpack_bytes(&r, APP_DIGEST);
    if (r.failed || (bits > 128 && bits != NO_NET) || !out->label.n ||
        out->label.n > AUTH_APP_LABEL_MAX)
        return RC_CORRUPT;
    out->has_net = bits != NO_NET;
    out->net.bits = out->has_net ? bits : 0;
    memcpy(out->net.net.s6_addr, net.p, net.n);
    memcpy(out->digest, digest.p, digest.n);
    if (r.n) /* before there was SCRAM */
        TRY(unpack_scram(&r, &out->scram));
    return unpack_done(&r);
}

void auth_secret_pack(const struct secret_record *s, struct record *out)
{
    struct packer w;
    begin(&w, out);
    pack_u8(&w, crypto_is_foreign(s->hash) ? KIND_FOREIGN : KIND_ARGON2ID);
    pack_u64(&w, s->created);
    pack_str16(&w, s->hash);
    pack_u8(&w, s->is_prepared);
    pack_scram(&w, &s->scram);
    out->n = w.n;
}

enum rc auth_secret_unpack(struct str value, struct secret_record *out)
{
    struct unpacker r;
    *out = (struct secret_record){0};
    TRY(open_record(&r, value));
    uint8_t kind = unpack_u8(&r);
    if (kind != KIND_ARGON2ID && kind != KIND_FOREIGN)
        return RC_CORRUPT;
    out->created = unpack_u64(&r);
    out->hash = unpack_str16(&r);
    if (r.n) { /* before there was SCRAM */
        out->is_prepared = unpack_u8(&r);
        TRY(unpack_scram(&r, &out->scram));
    }
    return unpack_done(&r);
}

void auth_number_pack(uint64_t number, struct record *out)
{
    struct packer w;
    begin(&w, out);
    pack_u64(&w, number);
    out->n = w.n;
}

enum rc auth_number_unpack(struct str value, uint64_t *out)
{
    struct unpacker r;
    TRY(open_record(&r, value));
    *out = unpack_u64(&r);
    return unpack_done(&r);
}
