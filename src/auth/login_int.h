/* auth, inside: what all ways of logging in share, and the mechanisms of SASL as pure steps. */
#ifndef AUTH_LOGIN_INT_H
#define AUTH_LOGIN_INT_H

#include "auth/auth_int.h"

/* --- attempt.c: who it is, what stands against it, how it ended ------------------------------- */

/* Who wants to log in, taken apart. The views point into `address` or `spelling`: do not copy. */
struct who {
    struct str name; /* in one spelling: that of an address, or else what came, in lower case */
    bool is_address, is_trusted;
    struct peer peer;
    struct address address;
    char spelling[AUTH_ADDRESS_MAX];
};
void auth_who_init(struct who *who, struct auth *auth, struct str name, struct str peer);

/* For the log: as the protocol gave them. */
struct told {
    const char *protocol;
    struct str name, peer, session;
    struct str mechanism; /* absent: none of SASL */
    uint64_t delay_ms;    /* its refusal is held back so long */
};
/* For who asks later, under the address `name`. */
void auth_note(struct auth *auth, enum trace_what what, const struct told *told, struct str name,
               struct str cause);

/* The result and, for the log, why. */
struct verdict {
    enum rc rc;
    struct verified facts; /* with RC_OK */
    const char *cause;
    bool is_cached, is_blocked;
    struct app_use app;                 /* with RC_OK */
    char address[AUTH_ADDRESS_MAX + 1]; /* the account's; empty: as the name has it */
};
struct verdict auth_verdict_blocked(const char *cause);
struct verdict auth_verdict_failure(enum rc rc); /* nothing could be found out */

/* Whether the account has logged in from there lately; false where that cannot be told. RC_AGAIN
 * (KV_CACHED), RC_OK. As many rows are read for a name that is not there. */
enum rc auth_is_at_home(struct auth *auth, const struct who *who, unsigned flags, bool *out);
/* RC_OK: nothing stands against it. RC_DENIED: blocked. RC_AGAIN: to be seen where disks may be
 * waited for. */
enum rc auth_may_try(struct auth *auth, const struct who *who, unsigned flags,
                     const char **out_cause);
/* Counts what was wrong: `proof` tells one from the next, so that the same again counts less;
 * absent: no two are the same. How many ms its refusal is held back. */
uint64_t auth_count_failure(struct auth *auth, const struct who *who, const struct told *told,
                            struct str proof);
/* Counters, log line and the caller's result. */
void auth_conclude(struct auth *auth, const struct told *told, const struct verdict *v,
                   struct auth_login *login);
/* A login has succeeded from where it counts whence it comes: whether that is a new place, and then
 * who is told; told->name is the account's address. Blocks. */
void auth_place_arrive(struct auth *auth, const struct who *who, const struct told *told,
                       uint64_t account);
/* done() after so many ms, or at once. */
void auth_tell_later(struct auth *auth, struct auth_login *login, uint64_t ms);

/* --- sasl.c: the table of mechanisms, and each of them as a pure step function ---------------- */

enum {
    SASL_SCRAM = 1,
    SASL_BEARER = 2
}; /* families of mechanisms that the configuration may leave out */

enum {
    SCRAM_NONCE = 24,      /* bytes of ours */
    SCRAM_NONCE_MAX = 256, /* ... of the client's */
    SCRAM_HEADER_MAX = 64 + 3 * AUTH_SASL_NAME_MAX,
    SCRAM_MESSAGE_MAX = 2 * AUTH_SASL_RESPONSE_MAX + SCRAM_NONCE_MAX + 128
};
struct scram {                   /* scram.c's */
    char nonce[2 * SCRAM_NONCE]; /* printable and without commas */
    size_t n_own;
    int next;
    char header[SCRAM_HEADER_MAX]; /* the GS2 header */
    size_t n_header;
    char message[SCRAM_MESSAGE_MAX]; /* AuthMessage [RFC5802 3], as far as it has come */
    size_t n_message, nonce_at, n_nonce;
    unsigned char proof[CRYPTO_HASH_MAX];
};

struct sasl_mechanism;
struct sasl {
    /* The result: the name lives here, the password and the token in the last response. */
    struct str name, password, token;
    enum rc rc;        /* with SASL_REFUSED */
    const char *error; /* with SASL_WRONG: a server-error to be told [RFC5802 7]; NULL: none */
    /* with SASL_PROVEN, of SCRAM: to be wiped */
    unsigned char client_key[CRYPTO_HASH_MAX];
    size_t n_client_key;
    /* From the row of the mechanism. After sasl_begin the caller sets scram.nonce, and with
     * is_bound `binding`. */
    struct str mechanism_name;
    enum crypto_hash hash;
    bool is_bound, can_bind; /* can_bind: there is a mechanism that would be */
    struct net_binding binding;
    /* the driver's: of the record that was looked up last */
    struct verified facts;
    uint64_t expires; /* of the token that it came by, when sessions end with it; 0: never */
    struct app_use app;
    char address[AUTH_ADDRESS_MAX + 1]; /* as in struct verdict */
    const char *cause;
    /* sasl.c's and scram.c's */
    const struct sasl_mechanism *mechanism; /* NULL: nothing under way */
    unsigned at;
    char text[AUTH_SASL_NAME_MAX];
    struct scram scram;
};
enum sasl_next {
    SASL_ASK, /* send the challenge, which was appended and may be empty; step with the answer */
    SASL_PASSWORD, /* name and password are there, to be verified */
    SASL_RECORD,   /* name is there: look it up and call sasl_record */
    SASL_TOKEN,    /* a token is there, to be checked, and a name, perhaps empty */
    SASL_PROVEN,   /* the client is who it says */
    SASL_WRONG,    /* it is not; over */
    SASL_REFUSED   /* over, without a name: see rc */
};
/* Of a name, whether it is there or not. */
struct sasl_record {
    bool is_usable; /* no: no proof is right */
    uint32_t iterations;
    struct str salt;
    struct scram_keys keys[SCRAM_FORMS]; /* of the mechanism's hash; perhaps the same twice */
};

/* The name in any case of letters; `families`: those that are offered. RC_NOTFOUND: no such
 * mechanism. RC_PERM: not on this channel. */
enum rc sasl_begin(struct sasl *s, struct str mechanism, const struct auth_channel *channel,
                   unsigned families);
/* The client's next response, decoded; absent when the command came without an initial one. Names
 * and passwords that come out are 1 to their maximum of bytes, UTF-8, without NUL. With
 * SASL_REFUSED: RC_SYNTAX (not a message of the mechanism), RC_LIMIT (too long), RC_DENIED
 * (somebody else's authorization identity). */
enum sasl_next sasl_step(struct sasl *s, struct str response, struct buf *challenge);
enum sasl_next sasl_record(struct sasl *s, const struct sasl_record *record,
                           struct buf *challenge); /* not SASL_RECORD, not SASL_PASSWORD */
void sasl_fini(struct sasl *s); /* wipes; also for one that never began, if it is zeroed */

/* The same for what stands on a line: base 64 into `response`, which the password then lies in:
 * for the caller to wipe. An initial line that is absent or empty is no response, "=" is an empty
 * one [RFC4954 4] [RFC4959 3] [RFC5034 4]. Also refused: RC_EOF (cancelled by "*"), RC_CORRUPT (not
 * base 64). */
enum sasl_next sasl_line(struct sasl *s, struct str line, bool is_initial, struct buf *response,
                         struct buf *challenge);
/* What is offered on a channel, with single spaces between. */
void sasl_names(const struct auth_channel *channel, unsigned families, struct buf *out);

/* For the mechanisms: a challenge, the end, and whether a text can be a name or a password. */
enum sasl_next sasl_ask(struct sasl *s, struct str text, struct buf *challenge);
enum sasl_next sasl_refuse(struct sasl *s, enum rc rc);
enum rc sasl_check_text(struct str s, size_t max);

/* With SASL_TOKEN: appends what the mechanism says of one that is not good. */
void sasl_token_error(const struct sasl *s, struct str discovery, struct buf *out);

/* --- oauth.c ---------------------------------------------------------------------------------- */

enum sasl_next oauth_bearer_step(struct sasl *s, struct str response, struct buf *challenge);
enum sasl_next oauth_x2_step(struct sasl *s, struct str response, struct buf *challenge);
void oauth_bearer_error(struct str discovery, struct buf *out);
void oauth_x2_error(struct str discovery, struct buf *out);

/* --- scram.c ---------------------------------------------------------------------------------- */

enum sasl_next scram_step(struct sasl *s, struct str response, struct buf *challenge);
enum sasl_next scram_record(struct sasl *s, const struct sasl_record *record,
                            struct buf *challenge);

#endif
