/* auth, inside: addresses taken apart, the records of the directory, the cache, and how the
 * directory is changed. */
#ifndef AUTH_AUTH_INT_H
#define AUTH_AUTH_INT_H

#include "auth/app.h"

#include "base/budget.h"
#include "base/buf.h"
#include "base/bytes.h"
#include "base/map.h"
#include "crypto/crypto.h"
#include "net/net.h"
#include "trace/trace.h"

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
void auth_keys_of_domain(struct str domain, struct key *from, struct key *to);
void auth_key_secret(struct key *key, uint64_t account, uint32_t number);     /* D: c */
void auth_key_removed(struct key *key, struct str address, uint64_t account); /* D: r */
void auth_key_account(struct key *key, uint64_t account);                     /* G: a */

struct domain_record {
    uint64_t created;
    uint64_t accounts;
    uint64_t postmaster; /* who gets its mail while no account has that name; 0: no account */
    uint64_t aliases;
    uint64_t removed; /* accounts that can be restored */
    struct auth_settings settings;
    char delimiter;       /* before the detail of an address; 0: none */
    struct str catch_all; /* an address; empty: none */
    uint8_t signing;      /* bits 1 << algorithm */
    struct auth_limits limits, all_limits;
};
struct address_record { /* of an account or an alias */
    bool is_alias;
    uint64_t created;
    /* an account's */
    uint64_t account;
    bool is_disabled, is_suspended;
    struct auth_settings settings;
    struct auth_limits limits;
    struct str reason; /* for the state, the operator's words */
    /* an alias's; of an account, where its mail goes on to */
    struct str *targets; /* addresses, in lower case */
    size_t n_targets;
    bool keeps_copy; /* an account with targets */
};
struct removed_record {
    uint64_t account, removed;
    struct str address, row; /* the value that its address had */
};
/* What SCRAM keeps of a password, of both hashes and in up to two of its forms [RFC5802 3]. */
enum { SCRAM_SALT = 16, SCRAM_HASHES = 2, SCRAM_FORMS = 2 };
struct scram_keys {
    unsigned char stored[CRYPTO_HASH_MAX], server[CRYPTO_HASH_MAX];
};
struct scram_record {
    uint32_t iterations; /* 0: there are no keys */
    unsigned char salt[SCRAM_SALT];
    unsigned n_forms;                                  /* 1: all forms are the same */
    struct scram_keys keys[SCRAM_HASHES][SCRAM_FORMS]; /* by enum crypto_hash - 1 */
};
struct secret_record {
    uint64_t created; /* tells one password of an account from the next: it always grows */
    struct str hash;  /* ours, or one that came from elsewhere */
    bool is_prepared; /* the hash is that of the password's SASLprep form; no: as it came */
    struct scram_record scram;
};
enum { APP_DIGEST = CRYPTO_SHA256 };
struct app_record {
    uint32_t number; /* of the credential, from 1 on */
    uint64_t created, expires;
    unsigned protocols;
    bool has_net;
    struct net_cidr net;
    struct str label; /* in lower case */
    unsigned char digest[APP_DIGEST];
    struct scram_record scram;
};
/* Unpacking: RC_CORRUPT, also for a format that a later release wrote. Views point into `value`. */
struct record {
    unsigned char b[512];
    size_t n;
};
struct str auth_record_str(const struct record *r);
void auth_domain_pack(const struct domain_record *d, struct record *out);
enum rc auth_domain_unpack(struct str value, struct domain_record *out);
enum rc auth_address_pack(const struct address_record *a, struct arena *arena, struct str *out);
enum rc auth_address_unpack(struct str value, struct arena *arena, struct address_record *out);
enum rc auth_removed_pack(const struct removed_record *d, struct arena *arena, struct str *out);
enum rc auth_removed_unpack(const struct kv_row *row, struct removed_record *out);
void auth_app_pack(const struct app_record *a, struct record *out);
/* RC_NOTFOUND: a credential, but not an app password. */
enum rc auth_app_unpack(const struct kv_row *row, struct app_record *out);
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

/* Where an address leads, and what that was read from: an answer holds until one of these
 * partitions changes. */
enum { ANSWER_PARTS = 4 };
struct answer {
    enum rc rc;
    bool is_exact;    /* the address itself has a row: not by a detail or a catch-all */
    size_t detail_at; /* in the local part, behind the delimiter; 0: none */
    uint64_t *accounts;
    size_t n;
    struct str *outside; /* an answer that has some is not kept in the cache */
    size_t n_outside;
    bool is_forwarded; /* by an account: who gets it may not send for the address */
    size_t n_parts;    /* more than ANSWER_PARTS: not to be kept */
    uint64_t parts[ANSWER_PARTS], versions[ANSWER_PARTS];
};
/* False: not there, or it holds no longer. The accounts are copied to the arena (RC_LIMIT in
 * out->rc when that is full). */
bool auth_cache_find(struct cache *c, const struct address *a, struct arena *arena,
                     struct answer *out);
void auth_cache_put(struct cache *c, const struct address *a, const struct answer *answer);

/* --- peer.c: where a login comes from --------------------------------------------------------- */

struct peer {
    struct net_addr addr;
    bool is_network; /* false: a process of this machine, by a Unix socket */
};
void auth_peer_parse(struct str text, struct peer *out);

enum reach {
    REACH_ADDRESS, /* an IPv4 address, an IPv6 /64: one household or host */
    REACH_NETWORK  /* an IPv4 /24, an IPv6 /48 */
};
struct net_cidr auth_peer_net(const struct peer *peer, enum reach reach);

enum { AUTH_NET_TEXT = 64 };
struct str auth_net_text(const struct net_cidr *net, char out[AUTH_NET_TEXT]); /* "192.0.2.0/24" */
bool auth_nets_overlap(const struct net_cidr *a, const struct net_cidr *b);

/* --- turns.c: whose login is next ------------------------------------------------------------- */

enum turn_class {
    TURN_STRANGER,
    TURN_OWNER, /* from a place where the account has been before, or a trusted network */
    TURN_CLASSES
};
struct turn {
    struct list link;
};
struct turns {
    pthread_mutex_t mutex;
    struct list networks[TURN_CLASSES];
    unsigned n_turns; /* taken so far */
};
void auth_turns_init(struct turns *t);
void auth_turns_fini(struct turns *t); /* nothing waits */
void auth_turns_add(struct turns *t, struct turn *turn, const struct peer *peer,
                    enum turn_class class);
/* Adds it in the place of the newest one of the network that has the most, which is given back;
 * NULL: this one's has as many, and it is not added. */
struct turn *auth_turns_replace(struct turns *t, struct turn *turn, const struct peer *peer,
                                enum turn_class class);
struct turn *auth_turns_next(struct turns *t); /* NULL: nobody waits */

/* --- secrets.c: the memory of passwords ------------------------------------------------------- */

struct slot;
struct secrets {
    pthread_mutex_t mutex;
    struct slot *slots, *free;
    size_t size;
    bool is_locked;
};
void auth_secrets_init(struct secrets *s, size_t n);
void auth_secrets_fini(struct secrets *s);
char *auth_secrets_take(struct secrets *s); /* AUTH_PASSWORD_MAX bytes; NULL: all are taken */
void auth_secrets_give(struct secrets *s, char *bytes);

/* --- verified.c: credentials that were right lately ------------------------------------------- */

enum { VERIFIED_CREDENTIAL = AUTH_CREDENTIAL };
struct verified { /* what is known of an account while its partition has this version */
    uint64_t account, version;
    struct auth_settings settings;
    unsigned char credential[VERIFIED_CREDENTIAL]; /* which password it has */
};
struct verified_cache {
    pthread_mutex_t mutex;
    struct map map;
    struct list entries;
    size_t n, max;
    unsigned char key[32];
    uint64_t hash_key[2];
};
struct verified_question {
    struct str name; /* an address's whole */
    struct str password;
    struct net_cidr place;
    uint64_t now; /* monotonic */
};
void auth_verified_init(struct verified_cache *c, size_t max);
void auth_verified_fini(struct verified_cache *c);
/* Names a password by what tells it from the others of its account. */
void auth_verified_credential(const struct verified_cache *c, struct str mark,
                              unsigned char out[VERIFIED_CREDENTIAL]);
/* True: the password was right when the partition had out->version. */
bool auth_verified_find(struct verified_cache *c, const struct verified_question *q,
                        struct verified *out);
/* It was used, and the facts were read anew. */
void auth_verified_renew(struct verified_cache *c, const struct verified_question *q,
                         const struct verified *facts);
void auth_verified_drop(struct verified_cache *c, struct str name);
void auth_verified_put(struct verified_cache *c, const struct verified_question *q,
                       const struct verified *facts);

/* --- guard.c: wrong passwords, counted -------------------------------------------------------- */

enum { GUARD_ACCOUNT, GUARD_ADDRESS, GUARD_NETWORK, GUARD_SCOPES };

struct guard_conf {
    uint32_t failures[GUARD_SCOPES]; /* that are a block when they come in one period */
    uint64_t period_ns, delay_max_ns;
    size_t entries; /* of each scope */
};
struct guard_table {
    struct map map;
    struct list suspects;
    size_t n;
};
struct guard {
    pthread_mutex_t mutex;
    struct guard_conf conf;
    struct guard_table tables[GUARD_SCOPES];
    uint64_t key[2];
};
void auth_guard_init(struct guard *g, const struct guard_conf *conf);
void auth_guard_fini(struct guard *g);
void auth_guard_configure(struct guard *g, const struct guard_conf *conf); /* entries stay */

struct guard_attempt {
    struct str name; /* in one spelling */
    const struct peer *peer;
    uint64_t pair; /* auth_guard_pair */
    uint64_t now;  /* monotonic */
};
struct guard_answer {
    uint64_t delay_ns;               /* before the refusal is told */
    unsigned blocked;                /* blocks that begin now: bits 1 << scope */
    uint64_t block_ns[GUARD_SCOPES]; /* how long they last */
    unsigned n_blocks[GUARD_SCOPES]; /* the how many-th they are */
};
/* The blocks that stand against an attempt: bits 1 << scope. */
unsigned auth_guard_check(struct guard *g, struct str name, const struct peer *peer, uint64_t now);
void auth_guard_failed(struct guard *g, const struct guard_attempt *a, struct guard_answer *out);
/* Names a name with a password, for guard_attempt. */
uint64_t auth_guard_pair(const struct guard *g, struct str name, struct str password);
const char *auth_guard_scope(int scope); /* "address" */
/* Those of this name, of what overlaps this network, or (neither) all. */
enum rc auth_guard_list(struct guard *g, struct str name, const struct net_cidr *net, uint64_t now,
                        struct arena *arena, struct auth_blocked **out, size_t *out_n);
/* Forgets this name (absent: none), what overlaps this network (NULL: none), or all; gives how many
 * blocks went. */
size_t auth_guard_remove(struct guard *g, struct str name, const struct net_cidr *net, bool all,
                         uint64_t now);

struct guard_block {
    uint64_t left_ns;
    unsigned n; /* one after the other */
};
/* A block of before; false: it is over by now, or too many are known. */
bool auth_guard_restore(struct guard *g, int scope, struct str key, const struct guard_block *block,
                        uint64_t now);
/* The key in a scope's table. */
struct str auth_guard_key(int scope, struct str name, const struct net_cidr *net);

/* --- blocks.c: blocks, kept over restarts -----------------------------------------------------
 */

void auth_blocks_write(struct auth *auth, int scope, struct str key,
                       const struct guard_block *block);
void auth_blocks_read(struct auth *auth); /* at the start; blocks, as the others */
void auth_blocks_tidy(struct auth *auth); /* when many have been written: what is over goes */
/* Of a name (absent: none), of what overlaps a network (NULL: none), or all; and what is over. */
void auth_blocks_forget(struct auth *auth, struct str name, const struct net_cidr *net, bool all);

/* --- place.c: where an account has logged in from --------------------------------------------- */

/* RC_AGAIN (KV_CACHED), RC_TEMP, RC_CORRUPT. */
enum rc auth_place_is_known(struct auth *auth, uint64_t account, const struct net_cidr *net,
                            unsigned flags, bool *out);
/* Whether it has been noted today: then there is nothing to do. The same errors. */
enum rc auth_place_is_noted(struct auth *auth, uint64_t account, const struct net_cidr *net,
                            unsigned flags, bool *out);
struct place_state {
    bool is_known;
    bool is_first;  /* nothing is known of the account: it has never logged in, or from trusted
                       networks alone */
    unsigned mails; /* that its owner got today about new places */
};
/* Blocks. RC_TEMP, RC_CORRUPT. */
enum rc auth_place_look(struct auth *auth, uint64_t account, const struct net_cidr *net,
                        struct place_state *out);
void auth_place_note(struct auth *auth, uint64_t account, const struct net_cidr *net,
                     bool owner_was_told); /* blocks */
/* Writes a row of the account's cache partition, lazily; waited for or not. */
void auth_cache_row(struct auth *auth, uint64_t account, struct str key, struct str value,
                    bool is_waited);
/* Work that is done behind a login's back. */
void auth_note_begin(struct auth *auth);
void auth_note_end(struct auth *auth);
void auth_place_wait(struct auth *auth); /* until all of that is done */

/* --- arrival.c: logins from a new place --------------------------------------------------------
 */

enum place_news { PLACE_NEWS_MAIL, PLACE_NEWS_LOG, PLACE_NEWS_OFF }; /* as AUTH_PLACES_... */
struct auth_listener;
struct arrivals {
    pthread_mutex_t mutex;
    struct list pending; /* their owners are being told */
    size_t n;
    pthread_rwlock_t lock; /* of the listener */
    struct auth_listener *listener;
    _Atomic unsigned news, most_mails;
};
void auth_arrivals_init(struct arrivals *a);
void auth_arrivals_fini(struct arrivals *a); /* none is pending */

/* --- session.c: who is logged in; warden.c: whether that is still so ----------------------------
 */

struct sessions {
    pthread_mutex_t mutex;
    struct list entries; /* and marks of those who go through them, see session_int.h */
    struct map holders;  /* accounts with sessions */
    uint64_t serial;
    _Atomic uint32_t most; /* of one account */
};
void auth_sessions_init(struct sessions *s, uint32_t most);
void auth_sessions_fini(struct sessions *s); /* there is none left */

struct warden {
    pthread_mutex_t mutex; /* of the rest */
    pthread_cond_t woken;
    bool is_wanted, is_started;
    _Atomic bool is_ending;
    pthread_t thread;
};
void auth_warden_init(struct auth *auth);
void auth_warden_start(struct auth *auth);
void auth_warden_fini(struct auth *auth);
void auth_warden_wake(struct auth *auth); /* something has changed; any thread, never blocks */
/* Of a partition of domains, as far as it is known here. */
uint64_t auth_part_version(struct auth *auth, uint64_t part);

/* --- the whole -------------------------------------------------------------------------------- */

struct watch {
    struct kv_watch kv;
    struct auth *auth;
};

struct auth {
    const struct ctx *ctx;
    struct kv *kv;
    struct auth_conf conf;      /* with the defaults filled in */
    struct auth_bearer *bearer; /* NULL: no tokens */
    struct cache cache;
    struct budget logins, delayed;
    struct turns turns;
    struct secrets secrets;
    struct verified_cache verified;
    struct guard guard;
    _Atomic unsigned blocks_written;
    struct arrivals arrivals;
    struct sessions sessions;
    struct warden warden;
    struct task_timers *timers; /* NULL without a lane */
    pthread_rwlock_t trusted_lock;
    struct net_cidr *trusted; /* a copy */
    size_t n_trusted;
    pthread_mutex_t notes_mutex;
    pthread_cond_t notes_done;
    size_t notes; /* auth_note_begin without end */
    pthread_mutex_t secret_mutex;
    bool has_secret;
    unsigned char secret[AUTH_SECRET];
    pthread_mutex_t domains; /* adding and removing, which are two changes each */
    pthread_mutex_t admin;   /* one change of the directory at a time in this process */
    /* A hash that no password has: what unknown names are verified against. */
    char decoy[CRYPTO_PASSWORD_MAX];
    struct scram_keys scram_decoy; /* and proofs */
    struct watch watches[PARTITIONS];
};

/* --- lookup.c --------------------------------------------------------------------------------- */

struct lookup {
    struct domain_record domain;
    struct address_record address; /* when the result is RC_OK */
    uint64_t version;              /* of the partition */
};
/* What is stored, not what is cached; views point into the arena. RC_DENIED: no such domain.
 * RC_NOTFOUND: no such address; the domain is filled in. */
enum rc auth_lookup_row(struct auth *auth, const struct address *a, unsigned flags,
                        struct arena *arena, struct lookup *out);
/* The same for accounts only, and without what would be a view: reason, catch-all. */
enum rc auth_lookup_address(struct auth *auth, const struct address *a, unsigned flags,
                            struct lookup *out);
/* Whom the name of a login means: the account of that address; or, when nobody has the address,
 * that of the address without its detail, which is the label of an app password then. The label
 * (absent: none) points into `a`. As auth_lookup_address. */
enum rc auth_lookup_login(struct auth *auth, const struct address *a, unsigned flags,
                          struct lookup *out, struct str *out_label);
/* The account's own settings, else the domain's, else the defaults. */
struct auth_settings auth_lookup_settings(const struct lookup *found);
/* Whether mail to the address was ever an account's that can still be restored. */
enum rc auth_lookup_removed(struct auth *auth, const struct address *a, unsigned flags,
                            struct answer *answer);
/* The answer is that of partition `part` at `version`, too. */
void auth_answer_depend(struct answer *answer, struct kv_part part, uint64_t version);

struct auth_account auth_account_of(const struct address_record *row, struct str address);

/* --- signing.c -------------------------------------------------------------------------------- */

enum rc auth_keys_forget(struct kv_txn *txn, struct str domain); /* with the domain */
enum rc auth_keys_check(struct str value);                       /* RC_CORRUPT: not a record */

/* --- alias.c ---------------------------------------------------------------------------------- */

/* The plain forms of addresses, in the arena. RC_SYNTAX: of *out_bad. */
enum rc auth_targets_read(struct arena *arena, const struct str *texts, size_t n, struct str **out,
                          size_t *out_bad);
/* Whether mail for `whole` may go on to each of them; with auth->domains held. About *out_bad:
 * RC_PERM: nobody has it; RC_CONFLICT: it leads back; RC_LIMIT: nested too deep. */
enum rc auth_targets_check(struct auth *auth, struct str whole, const struct str *targets, size_t n,
                           size_t *out_bad);

/* --- resolve.c -------------------------------------------------------------------------------- */

/* Whether `from` leads to the address `to` by aliases; RC_OK or RC_NOTFOUND. RC_DENIED: `from` is
 * elsewhere. RC_LIMIT: too many steps. */
enum rc auth_resolve_meets(struct auth *auth, const struct address *from, struct str to,
                           bool *out_exists);

/* --- credential.c ----------------------------------------------------------------------------- */

/* The app password that a login was made with. */
struct app_use {
    uint32_t number;  /* of its row; 0: it was none */
    uint64_t created; /* tells it from another one of that number */
    uint64_t expires; /* ns since 1970; 0: never */
    char label[AUTH_APP_LABEL_MAX + 1];
};
struct credential {
    struct str hash;  /* to verify against: the account's or the decoy; in the arena or auth's */
    bool is_prepared; /* as in secret_record */
    struct scram_record scram; /* the account's; without keys when there are none */
    struct verified facts;
    struct kv_part part; /* where the account's credentials are */
    struct str label;    /* the name was that of this app password; absent: the account's */
    struct str address;  /* with a label: the account's; both in the arena */
    struct app_use app;  /* after auth_app_match */
    bool is_open;        /* there is such an account, and it may log in */
    bool is_usable;      /* the right password is a login: never with a label */
    const char *cause;   /* for the log, when it is none */
};
/* RC_OK whether or not there is such a name; RC_AGAIN (KV_CACHED), RC_TEMP, RC_CORRUPT. */
enum rc auth_credential_read(struct auth *auth, struct str name, unsigned flags,
                             struct arena *arena, struct credential *out);
/* What auth_login_holds knows a login by a token by. Expires: ns since 1970; 0: never. */
void auth_token_credential(uint64_t expires, unsigned char out[AUTH_CREDENTIAL]);

/* --- app.c, app_login.c: app passwords ---------------------------------------------------------
 */

/* The rows of an account's app passwords. */
struct app_keys {
    struct key from, to;
};
struct kv_range auth_app_range(struct app_keys *keys, uint64_t account);
/* What is stored of an app password, and compared: it is random and longer than any search, so that
 * it needs no salt and no slow hash. */
void auth_app_digest(uint64_t account, struct str password, unsigned char out[APP_DIGEST]);
bool auth_app_label_is(struct str label, struct str text); /* without regard to case */

struct app_attempt {
    struct str password;
    const char *protocol;
    const struct peer *peer;
};
/* Whether a password is one of the account's app passwords: of the one that the name has named, or
 * of all, and as much is computed in either case. RC_OK: the facts are those of a login with it.
 * RC_DENIED: it is not, or is not usable here and now: then c->cause says why. */
enum rc auth_app_match(struct auth *auth, struct credential *c, const struct app_attempt *attempt);
/* For SCRAM: the keys and facts of the app password that the name has named, when it may be used
 * here and now, in the place of the account's. RC_OK whether or not; RC_AGAIN (KV_CACHED)... */
enum rc auth_app_scram(struct auth *auth, struct credential *c, const struct app_attempt *attempt,
                       unsigned flags);
/* Whether credential `number` is still what it was. RC_OK, RC_DENIED; RC_AGAIN (KV_CACHED)... */
enum rc auth_app_holds(struct auth *auth, const struct credential *now,
                       const unsigned char credential[AUTH_CREDENTIAL], unsigned flags);
const char *auth_protocol_name(unsigned bit); /* "imap"; "": none */
enum rc auth_app_used(struct auth *auth, uint64_t account, const struct app_record *r,
                      struct arena *arena, struct auth_app *out);
/* Notes a use, when the last note is not of the same place and some minutes old. Blocks. */
void auth_app_note(struct auth *auth, uint64_t account, const struct app_use *app,
                   const char *protocol, struct str peer);
/* What the program calls itself that is logged in with a credential (number 0: no app password) is
 * kept with its last use. Does not block. */
struct app_user {
    struct kv_part part; /* of the credential */
    uint64_t account;
    uint32_t number;
    const char *protocol;
    struct str peer;
};
void auth_app_client(struct auth *auth, const struct app_user *user, struct str client);

/* --- rehash.c --------------------------------------------------------------------------------- */

/* Lets the password, which was right for this hash, have one of ours, and the keys for SCRAM that
 * the configuration wants; behind the caller's back. */
void auth_rehash(struct auth *auth, struct str name, struct str hash, struct str password);

/* --- password.c: what is stored of a password, and comparing with it -------------------------- */

enum rc auth_password_hash(struct auth *auth, struct str password, char out[CRYPTO_PASSWORD_MAX]);
/* RC_OK, RC_DENIED; RC_CORRUPT, RC_TEMP. One hash in each case. */
enum rc auth_password_verify(struct auth *auth, const struct credential *c, struct str password);
/* The salt of a name, in one spelling, whether it is there or not. RC_AGAIN (KV_CACHED), RC_TEMP.
 */
enum rc auth_scram_salt(struct auth *auth, struct str name, unsigned flags,
                        unsigned char out[SCRAM_SALT]);
/* [RFC5802 3], of a password in the form that the client will use. */
enum rc auth_scram_keys(enum crypto_hash hash, struct str form, struct str salt,
                        uint32_t iterations, struct scram_keys *out);
/* Keys for SCRAM as the configuration has them, perhaps none. Takes as long as their iterations. */
enum rc auth_scram_make(struct auth *auth, struct str name, struct str password,
                        struct scram_record *out);
/* Whether an account has other keys than the configuration wants. */
bool auth_scram_wants(const struct auth *auth, const struct scram_record *has);

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
/* Where an address lies: its partition, and the rows of its domain and of itself. */
struct auth_place {
    struct address address;
    struct kv_part part;
    struct key domain_key, address_key;
};
enum rc auth_place_of(struct str text, struct auth_place *out); /* RC_SYNTAX: no plain address */
enum rc auth_edit_get(struct edit *e, const struct key *keys, size_t n, struct str *out_values);
enum rc auth_edit_scan(struct edit *e, struct kv_range range, size_t max, struct kv_page *out_page);
/* RC_NOTFOUND: no such domain. */
enum rc auth_edit_domain(struct edit *e, const struct key *key, struct domain_record *out);
/* RC_NOTFOUND: no such address, or it is an alias. */
enum rc auth_edit_account(struct edit *e, const struct key *key, struct address_record *out);
enum rc auth_edit_put_domain(struct edit *e, struct kv_txn *txn, const struct key *key,
                             const struct domain_record *domain);
enum rc auth_edit_put_address(struct edit *e, struct kv_txn *txn, const struct key *key,
                              const struct address_record *address);
/* Of a domain's accounts besides one the first in order of name; 0: none. */
enum rc auth_edit_next_postmaster(struct edit *e, struct str domain, uint64_t besides,
                                  uint64_t *out_account);
enum rc auth_edit_run(struct edit *e); /* blocks; RC_TEMP when others were faster too often */

#endif
