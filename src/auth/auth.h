/* auth: the directory (domains, addresses, accounts, credentials) and logins.
 *
 * The directory lives in kv: one partition of class D for a domain (hash of its name), and the list
 * of accounts in class G. Domain names and local parts are compared without regard to ASCII case
 * and kept in lower case. Lookups are cached in memory; with KV_CACHED they never wait. Other
 * sources of logins (LDAP, OAuth) will stand behind the same asynchronous calls.
 */
#ifndef AUTH_AUTH_H
#define AUTH_AUTH_H

#include "kv/kv.h"
#include "task/task.h"

struct auth;

enum { AUTH_ADDRESS_MAX = 254, AUTH_PASSWORD_MAX = 1024 };

struct auth_conf {               /* 0: the default */
    struct task_lane *hash_lane; /* where passwords are hashed: one thread a hash, 64 MB each */
    uint32_t hash_ops;           /* Argon2id passes: 3 */
    uint64_t hash_memory;        /* bytes: 64 MB */
    uint64_t cache_entries;      /* addresses kept in memory: 10,000 */
};

enum rc auth_open(const struct ctx *ctx, struct kv *kv, const struct auth_conf *conf,
                  struct auth **out);
void auth_close(struct auth **auth); /* no login may be under way */

/* --- where mail for an address goes
 * --------------------------------------------------------------------------------- */

struct auth_target {
    uint64_t account;
};
/* RC_NOTFOUND: a domain of ours, but nobody there. RC_DENIED: not a domain of ours. RC_PERM: the
 * account is disabled. RC_SYNTAX: not an address. RC_AGAIN (KV_CACHED), RC_TEMP. "postmaster"
 * without a domain, and postmaster of each domain, always find somebody [RFC5321 4.5.1]: the
 * account of that name, or else the domain's first account. */
enum rc auth_resolve(struct auth *auth, struct str address, unsigned flags,
                     struct auth_target *out);

/* --- logins
 * ------------------------------------------------------------------------------------------------------------
 */

struct auth_login {
    /* The caller's: memory that stays until done() has run. */
    void (*done)(struct auth_login *login); /* exactly once, on the hash lane; must not block */
    const char *protocol;                   /* "pop3" */
    struct str name;                        /* the mail address; copied */
    struct str password;                    /* copied to memory that is wiped */
    struct str peer;                        /* the address it comes from; copied */
    /* The result: RC_OK; RC_DENIED (unknown, wrong password, disabled: no difference shows, one
     * hash is computed in each case); RC_TEMP (the store; too many logins at once). */
    enum rc rc;
    uint64_t account;
    void *private_[2];
};
void auth_login(struct auth *auth, struct auth_login *login); /* never blocks */

/* --- administration: all block
 * -------------------------------------------------------------------------------------------- */

enum rc auth_domain_add(struct auth *auth, struct str domain); /* RC_EXISTS, RC_SYNTAX */
enum rc auth_domain_remove(struct auth *auth,
                           struct str domain); /* RC_NOTFOUND; RC_CONFLICT while it has accounts */
struct auth_domain {
    struct str name;
    uint64_t accounts, created;
};
enum rc auth_domain_list(struct auth *auth, struct arena *arena, struct auth_domain **out,
                         size_t *out_n);

struct auth_account {
    uint64_t id, created; /* created: ns since 1970 */
    struct str address;
    bool is_enabled;
};
/* Reserves an id and writes address and credentials. The store's partition is made between the two
 * by `admin`: see auth_account_reserve. RC_EXISTS, RC_NOTFOUND (no such domain), RC_SYNTAX,
 * RC_LIMIT (password too long). */
enum rc auth_account_reserve(struct auth *auth, uint64_t *out_id);
enum rc auth_account_add(struct auth *auth, uint64_t id, struct str address, struct str password);
enum rc auth_account_passwd(struct auth *auth, struct str address,
                            struct str password); /* RC_NOTFOUND */
enum rc auth_account_enable(struct auth *auth, struct str address, bool enabled);
enum rc auth_account_remove(struct auth *auth, struct str address, uint64_t *out_id);
enum rc auth_account_show(struct auth *auth, struct str address, struct arena *arena,
                          struct auth_account *out);
/* In order of address within domains; `after` absent: from the beginning. At most 1,000 at once. */
enum rc auth_account_list(struct auth *auth, struct str domain, struct str after,
                          struct arena *arena, struct auth_account **out, size_t *out_n);
/* Every account id there is, for maintenance and fsck: ids greater than `after`. */
enum rc auth_account_ids(struct auth *auth, uint64_t after, uint64_t *out_ids, size_t max,
                         size_t *out_n);

#endif
