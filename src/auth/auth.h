/* auth: the directory (domains, accounts, aliases, credentials) and logins.
 *
 * The directory lives in kv: one partition of class D for a domain (hash of its name), and the list
 * of accounts and domains in class G; docs/internals/directory.md has the records. Domain names and
 * local parts are compared without regard to ASCII case and kept in lower case.
 *
 * Lookups are cached in memory, bounded; each cached answer, also a negative one, holds as long as
 * the version of its domain's partition: what this process changes is seen by every call that
 * begins after the change returned, what another node changes when its watch tells. With KV_CACHED
 * nothing waits.
 *
 * An account comes to be in three steps, so that a crash between them leaves nothing but an unused
 * id: auth_account_reserve, then (by the caller) the store's partition, then auth_account_add,
 * which makes it visible in one commit. It goes in the reverse order: auth_account_remove hides it,
 * auth_account_restore undoes that until auth_removed_purge has forgotten it; then the store's
 * partition, then auth_account_release.
 *
 * Other sources of logins (LDAP, OAuth) will stand behind the same asynchronous calls. Any thread
 * may make any call.
 */
#ifndef AUTH_AUTH_H
#define AUTH_AUTH_H

#include "base/buf.h"
#include "kv/kv.h"
#include "task/task.h"

struct auth;
struct net_cidr; /* net.h */
struct trace;    /* trace.h */

enum {
    AUTH_ADDRESS_MAX = 254,   /* bytes of an address [RFC5321 4.5.3.1.3] */
    AUTH_PASSWORD_MAX = 1024, /* bytes; a longer one never matches */
    AUTH_LIST_MAX = 1000,     /* accounts that one call lists */
    AUTH_TARGETS_MAX = 256,   /* accounts that one address leads to */
    AUTH_ALIAS_MAX = 100,     /* targets of one alias */
    AUTH_FORWARD_MAX = 20,    /* addresses that an account's mail goes on to */
    AUTH_REASON_MAX = 200     /* bytes of an operator's words */
};

struct auth_guard_conf { /* 0: the default */
    /* Wrong passwords within `period` seconds that block, for as long and then longer: 20, 10, 50.
     */
    uint32_t account_failures, address_failures, network_failures;
    uint64_t period;                /* 900 */
    uint64_t delay_max;             /* seconds that a refusal is held back at most: 15 */
    const struct net_cidr *trusted; /* no delay, no block; copied */
    size_t n_trusted;
    /* Logins from a new place (arrival.h), and how often a day an owner is told of them: 3. */
    enum {
        AUTH_PLACES_MAIL, /* logged, and somebody may tell the owner */
        AUTH_PLACES_LOG,
        AUTH_PLACES_OFF
    } new_place;
    uint32_t new_place_mails;
    uint32_t account_sessions; /* of one account at a time (session.h): 100 */
};

struct auth_conf { /* 0: the default */
    /* Where passwords are hashed, hash_memory for each of its threads; outlives auth. NULL: every
     * login is RC_TEMP, for programs that only administer. */
    struct task_lane *hash_lane;
    uint32_t hash_ops;      /* Argon2id passes: 3 */
    uint64_t hash_memory;   /* bytes: 64 MB */
    uint64_t cache_entries; /* addresses kept in memory: 10,000; a quarter as many unknown ones */
    uint32_t logins;        /* logins under way at most, waiting ones included: 200 */
    uint32_t delayed;       /* refusals that are held back at once: 1,000; more are told directly */
    uint64_t verified_entries; /* credentials that were right lately: 10,000 */
    uint64_t
        guard_entries; /* accounts, addresses, networks with wrong passwords, of each: 20,000 */
    struct auth_guard_conf guard;
    struct trace
        *trace; /* what is decided about logins is noted there; NULL: nowhere. Outlives auth */
    /* Keys for SCRAM beside the hash of each password: kept and SCRAM offered, kept only, neither,
     * offered also bound to the connection (-PLUS). Its iterations: 20,000. */
    enum auth_scram { AUTH_SCRAM_ON, AUTH_SCRAM_KEYS, AUTH_SCRAM_OFF, AUTH_SCRAM_BOUND } scram;
    uint32_t scram_iterations;
};

enum auth_scram auth_scram_of(const char *word); /* "on", "bound", "keys"; else off */

/* The context outlives auth. */
enum rc auth_open(const struct ctx *ctx, struct kv *kv, const struct auth_conf *conf,
                  struct auth **out);
void auth_close(struct auth **auth); /* no login may be under way */

/* --- where mail for an address goes ----------------------------------------------------------- */

struct auth_targets {
    const uint64_t *accounts;  /* each once; in the arena */
    size_t n;                  /* at most AUTH_TARGETS_MAX */
    const struct str *outside; /* addresses elsewhere that aliases lead to, each once; in the arena.
                                  Together at least one */
    size_t n_outside;          /* at most AUTH_TARGETS_MAX */
    struct str detail;         /* what stood behind the delimiter, for Sieve; absent: nothing */
};
/* RC_OK: all of these take mail. RC_NOTFOUND: a domain of ours, but nobody there. RC_DENIED: not a
 * domain of ours. RC_PERM: disabled. RC_CONFLICT: suspended, the sender shall try again. RC_SYNTAX:
 * not an address. RC_AGAIN (KV_CACHED), RC_TEMP, RC_CORRUPT; RC_LIMIT: too many targets, or the
 * arena is full. A quoted local part means the same as without its quotes [RFC5321 4.1.2].
 * "postmaster" without a domain, and postmaster of each domain, always find somebody where there is
 * an account at all [RFC5321 4.5.1]: the account of that name, or else the one that was the
 * domain's first. */
enum rc auth_resolve(struct auth *auth, struct str address, unsigned flags, struct arena *arena,
                     struct auth_targets *out);

/* Whether an account may use an address as its sender: mail to it would reach the account, whatever
 * the state of the others that it reaches. RC_OK; RC_DENIED, also for what is no address;
 * RC_AGAIN, RC_TEMP, RC_CORRUPT. */
enum rc auth_may_send(struct auth *auth, uint64_t account, struct str address, unsigned flags);

/* A random secret of the store, made when it is first asked for, the same for all nodes: what
 * proves that an address was made here (see deliver). RC_AGAIN with KV_CACHED before it was read
 * once. */
enum { AUTH_SECRET = 32 };
enum rc auth_secret(struct auth *auth, unsigned flags, unsigned char out[AUTH_SECRET]);

/* --- logins ----------------------------------------------------------------------------------- */

enum auth_pop3_delete {                      /* when POP3 deletes what a client has collected */
                        AUTH_POP3_CLIENT,    /* when the client says so */
                        AUTH_POP3_COLLECTED, /* what was retrieved whole goes at the end of the
                                                session */
                        AUTH_POP3_DAYS,      /* so many days after it was retrieved */
                        AUTH_POP3_UNSET /* as the domain has it, there: as the client says; never in
                                           a login */
};
/* What holds for an account: its own setting, else its domain's. */
struct auth_settings {
    enum auth_pop3_delete pop3_delete;
    uint32_t pop3_days; /* with AUTH_POP3_DAYS */
};

enum {
    AUTH_CREDENTIAL = 16, /* bytes that tell one password of an account from the next */
    AUTH_CLIENT_KEY = 32  /* of SCRAM, at most */
};

struct auth_login {
    /* The caller's: memory that stays until done() has run. */
    /* Exactly once, on the hash lane, or inside an auth_login (this or a later one) when the login
     * is refused for now (RC_TEMP); must not block. */
    void (*done)(struct auth_login *login);
    const char *protocol; /* "pop3" */
    struct str name;      /* the mail address; copied */
    struct str password;  /* copied to memory that is wiped */
    struct str peer;      /* the address it comes from, for the log and its turn; copied */
    struct str session;   /* the session's id, for the log; copied */
    struct str mechanism; /* static, for the log; absent: none of SASL */
    /* The result: RC_OK; RC_DENIED (unknown, wrong password, disabled: no difference shows, exactly
     * one hash is computed in each case); RC_TEMP (the store; too many logins at once; blocked). */
    enum rc rc;
    /* With RC_TEMP: after too many wrong passwords, no hash was computed; say so and end the
     * session. */
    bool is_blocked;
    uint64_t account;
    struct auth_settings settings;             /* when RC_OK */
    unsigned char credential[AUTH_CREDENTIAL]; /* when RC_OK: for auth_login_holds */
    uint64_t expires; /* when RC_OK: ns since 1970, it holds no longer then; 0: for ever */
    /* When RC_OK: the account's address, where the name was that of an app password (app.h): what
     * the session goes by from then on; otherwise empty. */
    char address[AUTH_ADDRESS_MAX + 1];
    uint64_t version; /* when RC_OK: of the directory that said so, for session.h */
    /* When RC_OK, after SCRAM: what only who knows the password can make [RFC5802 3]. Never stored;
     * the caller's to wipe, auth_exchange_end does it. */
    unsigned char client_key[AUTH_CLIENT_KEY];
    size_t n_client_key; /* 0: none */
};
/* Never blocks. Networks take turns (an IPv4 address, an IPv6 /64), so that one that guesses
 * passwords does not keep the others waiting. Writes the log line event=login, event=login-failed
 * or event=login-refused with the cause; counts.
 *
 * Wrong passwords are counted per account, per address and per network (IPv4 /24, IPv6 /48). They
 * hold the next refusals back, then they block for a time: see docs/ops/logins.md. A block never
 * meets who comes from a network where the account has logged in lately, nor trusted networks. */
void auth_login(struct auth *auth, struct auth_login *login);

/* What auth_login could answer without a hash or a disk: credentials that were verified within the
 * last 15 minutes, or a block. True: the result is there, the login is over and done() is not
 * called. False: nothing has happened, call auth_login. For a session that wants to go on in the
 * same step. */
bool auth_login_now(struct auth *auth, struct auth_login *login);

/* --- bearer tokens: who checks them is handed in ---------------------------------------------- */

enum { AUTH_TOKEN_MAX = 8192 }; /* bytes of a token */

struct auth_bearer_query {                     /* the asker's; zeroed but for: */
    void (*done)(struct auth_bearer_query *q); /* once, on any thread, never inside check() */
    struct str token;                          /* stays until done() */
    /* The answer. RC_OK; RC_DENIED: not good; RC_TEMP: that cannot be told now. */
    enum rc rc;
    char address[AUTH_ADDRESS_MAX]; /* with RC_OK: whose it is, as the next */
    size_t address_n;
    uint64_t expires;  /* ns since 1970 */
    const char *cause; /* otherwise: one word for the log, static */
};
struct auth_bearer { /* any thread; none of them waits */
    bool (*is_on)(struct auth_bearer *b);
    bool (*ends_sessions)(struct auth_bearer *b); /* with the token */
    /* RC_OK: done() will come. RC_LIMIT, RC_TEMP: it will not. */
    enum rc (*check)(struct auth_bearer *b, struct auth_bearer_query *q);
    /* Appends where clients learn of the issuer [RFC7628 3.2.2]; perhaps nothing. */
    void (*discovery)(struct auth_bearer *b, struct buf *out);
};
/* Before the first login; it outlives all of them. Without it OAUTHBEARER and XOAUTH2 are not
 * there. */
void auth_bearer_set(struct auth *auth, struct auth_bearer *bearer);

/* --- logins by SASL --------------------------------------------------------------------------- */

/* What AUTH of SMTP, AUTHENTICATE of IMAP and AUTH of POP3 have in common [RFC4422 3]: a mechanism,
 * then lines in base 64 in turn, and a login at the end. The mechanisms are pure step functions in
 * sasl.c; what they need of the directory is looked up here. Names and passwords are taken as they
 * come, see docs/decisions/0031-names-and-passwords-as-bytes.md. */
enum {
    AUTH_SASL_NAME_MAX = 255, /* bytes of either identity [RFC4616 2] */
    AUTH_SASL_RESPONSE_MAX = 2 * AUTH_SASL_NAME_MAX + 2 + AUTH_PASSWORD_MAX,
    AUTH_TOKEN_RESPONSE_MAX = AUTH_TOKEN_MAX + 1024, /* of the mechanisms with tokens */
    AUTH_CHALLENGE_MAX = 1024                        /* bytes of a challenge in base 64 */
};

/* Where an exchange takes place. sasl.c has the table of what is offered where. */
enum auth_path {
    AUTH_IN_CLEAR,
    AUTH_ON_LOOPBACK, /* ... within this machine, where the configuration allows a password */
    AUTH_IN_TLS
};
struct conn; /* net.h */
struct auth_channel {
    enum auth_path path;
    const char *binding; /* the type of the channel binding [RFC5056]; NULL: none */
    struct conn *conn;   /* whose bytes it has; NULL in tests */
};
struct auth_channel auth_channel_of(struct conn *c, bool plaintext_on_loopback);
/* Whether a readable password may be sent there. */
bool auth_channel_is_private(const struct auth_channel *channel);
/* Appends the names of the mechanisms that are offered there, with single spaces between; perhaps
 * nothing. */
void auth_mechanisms(struct auth *auth, const struct auth_channel *channel, struct buf *out);

struct sasl;
struct auth_exchange { /* the caller's storage; as long as its login */
    /* The caller's: */
    struct auth *auth;
    struct auth_channel channel;
    /* As for auth_login, without name and password; the result, with the name, is there until the
     * end. */
    struct auth_login login;
    enum rc refusal; /* with AUTH_REFUSED */
    /* auth's */
    struct sasl *sasl;
    char *name;
    struct bearer_wait *bearer; /* a token that is being checked */
    int pending;                /* what is gone on with */
    bool is_over;               /* decided, but the client has to hear why first */
};
enum auth_next {
    AUTH_ASK,     /* send the challenge, which was appended in base 64 and may be empty; the next
                     line is for auth_exchange_line */
    AUTH_SHORT,   /* auth_exchange_go_on is to be called where disks may be waited for */
    AUTH_WAIT,    /* login.done() comes once, then auth_exchange_go_on is to be called */
    AUTH_DECIDED, /* over: login has the result, as after auth_login */
    AUTH_REFUSED  /* over, without a login, see refusal: RC_NOTFOUND (no such mechanism), RC_PERM
                     (not on this channel), RC_EOF (cancelled by "*"), RC_CORRUPT (not base 64),
                     RC_SYNTAX (not a message of the mechanism), RC_LIMIT (too long), RC_DENIED
                     (somebody else's authorization identity) */
};
/* The mechanism's name in any case of letters. `line` is the initial response: absent or empty,
 * there is none; "=" is an empty one [RFC4954 4] [RFC4959 3] [RFC5034 4]. Lines are the caller's to
 * wipe, whatever comes back. */
enum auth_next auth_exchange_begin(struct auth_exchange *x, struct str mechanism, struct str line,
                                   struct buf *challenge);
enum auth_next auth_exchange_line(struct auth_exchange *x, struct str line, struct buf *challenge);
enum auth_next auth_exchange_go_on(struct auth_exchange *x, struct buf *challenge);
/* For commands that bring both, LOGIN and PASS: in place of the three. AUTH_WAIT or AUTH_DECIDED;
 * RC_LIMIT: the name is too long to be anybody's. */
enum auth_next auth_exchange_password(struct auth_exchange *x, struct str name,
                                      struct str password);
/* Wipes; also for one that is zeroed. Not between AUTH_WAIT and done(). */
void auth_exchange_end(struct auth_exchange *x);

/* --- logins that last ------------------------------------------------------------------------- */

/* For a session that lasts: whether what a login has brought is still so. RC_OK; RC_DENIED: the
 * name is the account's no longer, the account is disabled or suspended, or its password is another
 * now. RC_AGAIN (KV_CACHED), RC_TEMP, RC_CORRUPT. */
enum rc auth_login_holds(struct auth *auth, struct str name, uint64_t account,
                         const unsigned char credential[AUTH_CREDENTIAL], unsigned flags);

/* Tells all refusals that are held back, and holds back no more: before sessions are drained. */
void auth_hurry(struct auth *auth);

/* Puts other numbers and networks in force; what was counted stays. */
void auth_guard_reload(struct auth *auth, const struct auth_guard_conf *conf);

struct auth_blocked {
    const char *scope; /* "account", "address", "network" */
    struct str what;   /* "alice@example.org", "192.0.2.1", "2001:db8::/64", "192.0.2.0/24" */
    uint64_t failures; /* counted now */
    uint64_t left_ns;  /* until it expires */
};
/* The blocks in force, AUTH_LIST_MAX at most: of a mail address, of all that a network or an
 * address overlaps, or (absent) all. RC_SYNTAX: neither; RC_LIMIT when the arena is full. */
enum rc auth_blocked_list(struct auth *auth, struct str what, struct arena *arena,
                          struct auth_blocked **out, size_t *out_n);
/* Blocks. Ends blocks and forgets what was counted: of a mail address, of all that a network or an
 * address overlaps, or of all (absent). RC_SYNTAX: neither; RC_NOTFOUND: nothing was blocked there.
 */
enum rc auth_blocked_remove(struct auth *auth, struct str what, size_t *out_n);

/* How much may be sent: messages in an hour and in a day, recipients in an hour and in a day; 0: as
 * much as one likes. */
enum { AUTH_LIMITS = 4 };
struct auth_limits {
    bool is_set; /* no: as the domain has it, as the configuration has it */
    uint32_t most[AUTH_LIMITS];
};
/* What limits a login in sending. RC_DENIED: there is no such account. RC_AGAIN (KV_CACHED),
 * RC_TEMP, RC_CORRUPT. */
struct auth_sending {
    struct auth_limits account; /* its own, or else its domain's */
    struct auth_limits domain;  /* of all accounts of the domain together */
    uint64_t created;           /* of the account, ns since 1970 */
};
enum rc auth_sending(struct auth *auth, struct str name, unsigned flags, struct auth_sending *out);

/* --- administration: all block; besides what is named RC_TEMP, RC_FULL, RC_CORRUPT ------------ */

/* RC_EXISTS; RC_SYNTAX: not a host name, or longer than an address leaves room for. */
enum rc auth_domain_add(struct auth *auth, struct str domain);
enum rc auth_domain_remove(struct auth *auth, struct str domain); /* RC_NOTFOUND; RC_CONFLICT while
                                                                     it has accounts, removed ones
                                                                     too, or aliases */
struct auth_domain {
    struct str name;
    uint64_t accounts, created; /* created: ns since 1970 */
    uint64_t aliases, removed;  /* removed: accounts that can be restored */
    struct auth_settings settings;
    char delimiter;            /* between a local part and its detail; 0: none */
    struct str catch_all;      /* who gets mail for unknown addresses; empty: nobody */
    unsigned signing;          /* bits 1 << enum crypto_algorithm: which signatures its mail gets */
    struct auth_limits limits; /* of each of its accounts that has none of its own */
    struct auth_limits all_limits; /* of all of them together */
};
enum rc auth_domain_show(struct auth *auth, struct str domain, struct arena *arena,
                         struct auth_domain *out);
/* All, in order of name; in the arena (RC_LIMIT when that is capped and full). */
enum rc auth_domain_list(struct auth *auth, struct arena *arena, struct auth_domain **out,
                         size_t *out_n);

enum auth_change { /* which fields of a change count */
                   AUTH_SET_POP3 = 1,
                   AUTH_SET_ENABLED = 2,
                   AUTH_SET_SUSPENDED = 4,
                   AUTH_SET_REASON = 8,
                   AUTH_SET_DELIMITER = 16,
                   AUTH_SET_CATCH_ALL = 32,
                   AUTH_SET_SIGNING = 64,
                   AUTH_SET_LIMITS = 128,
                   AUTH_SET_ALL_LIMITS = 256
};
struct auth_domain_change {
    unsigned what;
    struct auth_settings settings;
    char delimiter;       /* one of !#$%&'*+-/=?^_`{|}~ ; 0: none */
    struct str catch_all; /* an address here that somebody has; empty: none */
    unsigned signing;     /* as in auth_domain, as the next two */
    struct auth_limits limits, all_limits;
};
/* RC_NOTFOUND: no such domain. RC_SYNTAX: delimiter. RC_PERM: nobody has the catch-all's address.
 * RC_DENIED: it is elsewhere. */
enum rc auth_domain_set(struct auth *auth, struct str domain,
                        const struct auth_domain_change *change);

struct auth_account {
    uint64_t id, created; /* created: ns since 1970 */
    struct str address;
    bool is_enabled;
    bool is_suspended;
    struct str reason;             /* of its state; may be empty */
    struct auth_settings settings; /* its own */
    struct auth_limits limits;     /* its own */
    const struct str *forward;     /* where its mail goes on to; in the arena */
    size_t n_forward;
    bool keeps_copy;  /* with n_forward: it is in the mailbox, too */
    uint64_t removed; /* when; 0: it is there */
};
/* An id that was never given before; it is in the list of ids from now on. */
enum rc auth_account_reserve(struct auth *auth, uint64_t *out_id);
/* Writes address and credentials. The local part is letters, digits and !#$%&'*+-/=?^_`{|}~ with
 * single dots between [RFC5321 4.1.2]. RC_EXISTS, RC_NOTFOUND (no such domain),
 * RC_SYNTAX (address, or an empty password), RC_LIMIT (password too long). */
enum rc auth_account_add(struct auth *auth, uint64_t id, struct str address, struct str password);
/* RC_NOTFOUND, and RC_SYNTAX and RC_LIMIT as above. */
enum rc auth_account_passwd(struct auth *auth, struct str address, struct str password);
/* The same with a password's hash that another program has made (crypto_foreign_read); the first
 * right login makes one of ours of it. RC_SYNTAX: also a hash that is not taken. */
enum rc auth_account_add_hash(struct auth *auth, uint64_t id, struct str address, struct str hash);
enum rc auth_account_set_hash(struct auth *auth, struct str address, struct str hash);
struct auth_account_change {
    unsigned what;
    bool is_enabled;   /* no: logins fail and mail is refused for good */
    bool is_suspended; /* logins fail and mail is put off */
    struct str reason; /* one line; goes when the account is enabled and not suspended */
    struct auth_settings settings;
    struct auth_limits limits;
};
/* RC_NOTFOUND, RC_SYNTAX (address or reason), RC_LIMIT (reason too long). */
enum rc auth_account_set(struct auth *auth, struct str address,
                         const struct auth_account_change *change);
enum rc auth_account_enable(struct auth *auth, struct str address, bool enabled);
/* Where an account's mail goes on to. Senders have no right to its address for that. A target here
 * that is no more is passed over; with none that is left the mailbox has the mail. */
struct auth_forward {
    bool sets_targets; /* these, in place of the ones before; no: they stay */
    const struct str *targets;
    size_t n_targets;
    bool sets_copy; /* no: as it was, which is at first to keep one */
    bool keeps_copy;
};
/* RC_NOTFOUND: no such account; RC_SYNTAX; RC_EXISTS: sets_copy of one that does not forward. About
 * a target as auth_alias_add, RC_LIMIT also with more than AUTH_FORWARD_MAX. */
enum rc auth_account_forward(struct auth *auth, struct str address,
                             const struct auth_forward *forward, size_t *out_bad);
/* The account, with its password, under another address, also in another domain; the old one
 * becomes an alias when asked. Cut short between two domains it has both addresses; the same call
 * again completes it. RC_NOTFOUND: no such account, or no such domain (*out_id 0 and not 0);
 * RC_EXISTS, RC_SYNTAX. */
enum rc auth_account_rename(struct auth *auth, struct str from, struct str to, bool keep_alias,
                            uint64_t *out_id);
/* The address goes at once, and logins with it; what belongs to the account is kept, to be
 * restored. RC_NOTFOUND, RC_SYNTAX. */
enum rc auth_account_remove(struct auth *auth, struct str address, uint64_t *out_id);
/* Undoes the last removal of an account of this address (id 0), or that of account `id`.
 * RC_NOTFOUND: there is none. RC_EXISTS: the address has been given away since. */
enum rc auth_account_restore(struct auth *auth, struct str address, uint64_t id, uint64_t *out_id);
/* Removed accounts, of one domain or (absent) of all: newest last of each address. */
enum rc auth_removed_list(struct auth *auth, struct str domain, struct arena *arena,
                          struct auth_account **out, size_t *out_n);
/* Forgets accounts that were removed before that time, or (id not 0) this one; they cannot be
 * restored any more. Their ids stay in the list until auth_account_release, which the caller calls
 * when the store's partition is gone. */
enum rc auth_removed_purge(struct auth *auth, uint64_t before, uint64_t id);
enum rc auth_account_release(struct auth *auth, uint64_t id); /* RC_OK also when not in the list */
enum rc auth_account_show(struct auth *auth, struct str address, struct arena *arena,
                          struct auth_account *out);
/* In order of local part, without removed ones; `after`, an address: only those that follow it;
 * absent: from the beginning. At most AUTH_LIST_MAX; fewer means that there are no more.
 * RC_NOTFOUND: no such domain. */
enum rc auth_account_list(struct auth *auth, struct str domain, struct str after,
                          struct arena *arena, struct auth_account **out, size_t *out_n);
struct auth_alias {
    struct str address;
    struct str *targets;
    size_t n_targets;
    uint64_t created;
};
/* Adds targets to an alias, which it makes when there is none. Each is an address here that leads
 * to somebody, or one elsewhere. RC_EXISTS: the address is an account's. RC_NOTFOUND: no such
 * domain. RC_SYNTAX. About a target, which *out_bad tells (n_targets: none of them): RC_SYNTAX;
 * RC_PERM: nobody has it; RC_CONFLICT: it leads back to the alias; RC_LIMIT: too many, or nested
 * too deep. */
enum rc auth_alias_add(struct auth *auth, struct str address, const struct str *targets,
                       size_t n_targets, size_t *out_bad);
/* Takes targets off it (those that it does not have: RC_NOTFOUND, *out_bad); with the last one, or
 * when none are named, the alias goes. */
enum rc auth_alias_remove(struct auth *auth, struct str address, const struct str *targets,
                          size_t n_targets, size_t *out_bad);
/* As auth_account_list. */
enum rc auth_alias_list(struct auth *auth, struct str domain, struct str after, struct arena *arena,
                        struct auth_alias **out, size_t *out_n);

/* --- keys that sign a domain's mail ----------------------------------------------------------- */

/* The store has one seal, the public half of what the signer processes of all its nodes open keys
 * with. Private keys are stored sealed with it and never otherwise. */
enum {
    AUTH_SEAL = 32,
    AUTH_SEAL_ID = 8,    /* bytes of a seal that tell it from another one */
    AUTH_KEYS_MAX = 16,  /* of one domain */
    AUTH_SIGNING_ALL = 6 /* auth_domain.signing: both algorithms; what holds unless it is set */
};
enum auth_key_state {                   /* stored: the numbers stay */
                      AUTH_KEY_WAITING, /* to be published before it signs */
                      AUTH_KEY_SIGNING,
                      AUTH_KEY_RETIRED /* published for what it has signed */
};
struct auth_key {
    struct str selector;
    unsigned algorithm; /* enum crypto_algorithm */
    enum auth_key_state state;
    uint64_t created, until;          /* ns since 1970; until: a retired one is published */
    unsigned char seal[AUTH_SEAL_ID]; /* whom it is sealed for */
    struct str public_key;
    struct str sealed; /* empty when retired */
};
/* Adds all or none. RC_NOTFOUND: no such domain. RC_EXISTS: a selector is in use. RC_DENIED: it
 * has AUTH_KEYS_MAX. */
enum rc auth_keys_add(struct auth *auth, struct str domain, const struct auth_key *keys, size_t n);
/* The last one that waits of each algorithm signs from now on; all others of it retire, and are
 * gone after `until`. RC_NOTFOUND; RC_EXISTS: none waits. */
enum rc auth_keys_turn(struct auth *auth, struct str domain, uint64_t until);
enum rc auth_keys_drop(struct auth *auth, struct str domain, struct str selector); /* RC_NOTFOUND;
                                                                     RC_EXISTS: nothing to drop */
/* Drops retired ones whose time is over. */
enum rc auth_keys_sweep(struct auth *auth, struct str domain, uint64_t now);
/* All, oldest first; in the arena. RC_NOTFOUND: no such domain. RC_TEMP, RC_CORRUPT, RC_LIMIT. */
enum rc auth_keys_list(struct auth *auth, struct str domain, struct arena *arena,
                       struct auth_key **out, size_t *out_n);
/* Those that sign what is sent now, as the domain's setting has it. Also RC_AGAIN (KV_CACHED). */
enum rc auth_keys_signing(struct auth *auth, struct str domain, unsigned flags, struct arena *arena,
                          struct auth_key **out, size_t *out_n);
enum rc auth_seal(struct auth *auth, unsigned char out[AUTH_SEAL]); /* RC_NOTFOUND: none yet */
/* RC_DENIED: there is another one, and it may not be replaced. */
enum rc auth_seal_set(struct auth *auth, const unsigned char seal[AUTH_SEAL], bool may_replace);

/* Every account id there is, for maintenance and fsck: ids greater than `after`, in order. Among
 * them those whose making or removal was cut short: the store may not know them. */
enum rc auth_account_ids(struct auth *auth, uint64_t after, uint64_t *out_ids, size_t max,
                         size_t *out_n);

/* For copies of a store: the directory's partitions, with n from 0 on. False: there are no more.
 * Their rows refer to no blobs. */
bool auth_partition(size_t n, struct kv_part *out);

/* Compares the directory's rows with each other. report() gets a line for each fault; changes wait
 * meanwhile. RC_OK: sound; RC_CORRUPT: faults were reported. */
struct auth_fsck {
    void (*report)(struct auth_fsck *fsck, const char *line);
    uint64_t accounts, faults; /* results, added to */
};
enum rc auth_fsck(struct auth *auth, struct auth_fsck *fsck);

#endif
