/* auth, inside: addresses taken apart, the records of the directory, the cache, and how the
 * directory is changed. */
#ifndef AUTH_AUTH_INT_H
#define AUTH_AUTH_INT_H

#include "auth/auth.h"

#include "base/budget.h"
#include "base/bytes.h"
#include "base/map.h"
#include "crypto/crypto.h"

#include <stdatomic.h>

enum { PARTITIONS = 256, LOCAL_MAX = 64, DOMAIN_MAX = 253 };

/* --- address.c -------------------------------------------------------------------------------- */

/* An address in lower case, without quotes. The views point into `text`: do not copy the struct. */
struct address {
    struct str whole, local, domain;
    bool is_plain; /* the local part is a Dot-string: only such a one can be an account's */
    char text[AUTH_ADDRESS_MAX];
};
enum rc auth_address_parse(struct str text, struct address *out); /* RC_SYNTAX */

/* A host name of at least one label, to lower case [RFC5321 2.3.5]. RC_SYNTAX. */
struct domain_name {
    struct str name; /* points into `text` */
    char text[DOMAIN_MAX];
};
enum rc auth_domain_parse(struct str text, struct domain_name *out);

/* --- record.c: keys and values, see docs/internals/directory.md ------------------------------- */

struct kv_part auth_domain_part(struct str domain);
extern const struct kv_part auth_global_part;

struct key {
    unsigned char b[KV_KEY_MAX];
    size_t n;
};
struct str auth_key_str(const struct key *key);
void auth_key_domain(struct key *key, struct str domain);                    /* D: d, G: d */
void auth_key_address(struct key *key, struct str domain, struct str local); /* D: a */
void auth_key_secret(struct key *key, uint64_t account, uint32_t number);    /* D: c */
void auth_key_account(struct key *key, uint64_t account);                    /* G: a */

struct domain_record {
    uint64_t created;
    uint64_t accounts;
    uint64_t postmaster; /* who gets its mail while no account has that name; 0: no account */
};
struct address_record {
    uint64_t account, created;
    bool is_disabled;
};
struct secret_record {
    uint64_t created;
    struct str hash;
};
/* Unpacking: RC_CORRUPT, also for a format that a later release wrote. Views point into `value`. */
struct record {
    unsigned char b[512];
    size_t n;
};
struct str auth_record_str(const struct record *r);
void auth_domain_pack(const struct domain_record *d, struct record *out);
enum rc auth_domain_unpack(struct str value, struct domain_record *out);
void auth_address_pack(const struct address_record *a, struct record *out);
enum rc auth_address_unpack(struct str value, struct address_record *out);
void auth_secret_pack(const struct secret_record *s, struct record *out);
enum rc auth_secret_unpack(struct str value, struct secret_record *out);
void auth_number_pack(uint64_t number, struct record *out); /* G: i, a, d */
enum rc auth_number_unpack(struct str value, uint64_t *out);

/* --- cache.c ---------------------------------------------------------------------------------- */

struct cache_side {
    struct list entries; /* the most recently used first */
    size_t n, max;
};

struct cache {
    pthread_mutex_t mutex;
    struct map map;
    struct cache_side found, unknown;
    uint64_t key[2];
    _Atomic uint64_t
        versions[PARTITIONS]; /* the latest that we know of; entries older do not hold */
};

void auth_cache_init(struct cache *c, size_t max);
void auth_cache_fini(struct cache *c);
/* A commit to the partition was published with this version. */
void auth_cache_seen(struct cache *c, struct kv_part part, uint64_t version);
/* False: not there, or it holds no longer. */
bool auth_cache_find(struct cache *c, const struct address *a, enum rc *out_rc,
                     uint64_t *out_account);
void auth_cache_put(struct cache *c, const struct address *a, uint64_t version, enum rc rc,
                    uint64_t account);

/* --- turns.c: whose login is next ------------------------------------------------------------- */

struct turn {
    struct list link;
};
struct turns {
    pthread_mutex_t mutex;
    struct list networks;
};
void auth_turns_init(struct turns *t);
void auth_turns_fini(struct turns *t); /* nothing waits */
void auth_turns_add(struct turns *t, struct turn *turn, struct str peer);
/* Adds it in the place of the newest one of the network that has the most, which is given back;
 * NULL: this one's has as many, and it is not added. */
struct turn *auth_turns_replace(struct turns *t, struct turn *turn, struct str peer);
struct turn *auth_turns_next(struct turns *t); /* NULL: nobody waits */

/* --- the whole -------------------------------------------------------------------------------- */

struct watch {
    struct kv_watch kv;
    struct auth *auth;
};

struct auth {
    const struct ctx *ctx;
    struct kv *kv;
    struct auth_conf conf; /* with the defaults filled in */
    struct cache cache;
    struct budget logins;
    struct turns turns;
    pthread_mutex_t domains; /* adding and removing, which are two changes each */
    pthread_mutex_t admin;   /* one change of the directory at a time in this process */
    /* A hash that no password has: what unknown names are verified against. */
    char decoy[CRYPTO_PASSWORD_MAX];
    struct watch watches[PARTITIONS];
};

/* --- lookup.c --------------------------------------------------------------------------------- */

struct lookup {
    struct domain_record domain;
    struct address_record address; /* when the result is RC_OK */
    uint64_t version;              /* of the partition */
};
/* What is stored, not what is cached. RC_DENIED: no such domain. RC_NOTFOUND: no such address. */
enum rc auth_lookup_address(struct auth *auth, const struct address *a, unsigned flags,
                            struct lookup *out);

/* --- edit.c ----------------------------------------------------------------------------------- */

/* One change of one partition: make() reads with auth_edit_get and puts into txn; when somebody
 * else was faster it is called again. It leaves at once with what is not RC_OK. */
struct edit {
    enum rc (*make)(struct edit *e, struct kv_txn *txn);
    struct auth *auth;
    struct kv_part part;
    struct arena arena; /* reset before each attempt */
    uint64_t version;   /* of what auth_edit_get saw: the commit is made on top of it */
};
enum rc auth_edit_get(struct edit *e, const struct key *keys, size_t n, struct str *out_values);
enum rc auth_edit_scan(struct edit *e, struct kv_range range, size_t max, struct kv_page *out_page);
enum rc auth_edit_run(struct edit *e); /* blocks; RC_TEMP when others were faster too often */

#endif
