/* The directory's keys and values, as docs/internals/directory.md has them. Numbers are big-endian;
 * a value begins with its format, and a reader takes bytes behind what it knows as added later. */
#include "auth/auth_int.h"

#include <string.h>

enum { FORMAT = 1, KIND_ACCOUNT = 1, KIND_ARGON2ID = 1, FLAG_DISABLED = 1 };

const struct kv_part auth_global_part = {KV_GLOBAL, 0};

struct kv_part auth_domain_part(struct str domain)
{
    return (struct kv_part){KV_DIRECTORY, crc32c(0, domain) % PARTITIONS};
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

void auth_domain_pack(const struct domain_record *d, struct record *out)
{
    struct packer w;
    begin(&w, out);
    pack_u64(&w, d->created);
    pack_u64(&w, d->accounts);
    pack_u64(&w, d->postmaster);
    out->n = w.n;
}

enum rc auth_domain_unpack(struct str value, struct domain_record *out)
{
    struct unpacker r;
    TRY(open_record(&r, value));
    out->created = unpack_u64(&r);
    out->accounts = unpack_u64(&r);
    out->postmaster = unpack_u64(&r);
    return unpack_done(&r);
}

void auth_address_pack(const struct address_record *a, struct record *out)
{
    struct packer w;
    begin(&w, out);
    pack_u8(&w, KIND_ACCOUNT);
    pack_u64(&w, a->account);
    pack_u64(&w, a->created);
    pack_u8(&w, a->is_disabled ? FLAG_DISABLED : 0);
    out->n = w.n;
}

enum rc auth_address_unpack(struct str value, struct address_record *out)
{
    struct unpacker r;
    TRY(open_record(&r, value));
    if (unpack_u8(&r) != KIND_ACCOUNT)
        return RC_CORRUPT;
    out->account = unpack_u64(&r);
    out->created = unpack_u64(&r);
    out->is_disabled = unpack_u8(&r) & FLAG_DISABLED;
    return unpack_done(&r);
}

void auth_secret_pack(const struct secret_record *s, struct record *out)
{
    struct packer w;
    begin(&w, out);
    pack_u8(&w, KIND_ARGON2ID);
    pack_u64(&w, s->created);
    pack_str16(&w, s->hash);
    out->n = w.n;
}

enum rc auth_secret_unpack(struct str value, struct secret_record *out)
{
    struct unpacker r;
    TRY(open_record(&r, value));
    if (unpack_u8(&r) != KIND_ARGON2ID)
        return RC_CORRUPT;
    out->created = unpack_u64(&r);
    out->hash = unpack_str16(&r);
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
