/* token: whether a bearer token (a JWT [RFC7519]) is from the issuer that the operator trusts, for
 * this server, in time, and whose it is.
 *
 * The issuer's keys come from a text, or over HTTPS: from an address, or from where the issuer's
 * OpenID discovery document says. They are kept in memory, fetched anew after an hour and when a
 * token names a key that is not among them, never more often than every ten seconds; what was
 * fetched counts for a day at most while the issuer cannot be reached. Without keys nothing can be
 * told about a token, which is RC_TEMP and never RC_DENIED.
 *
 * A token's algorithm must be one that the operator allows, all of which are public-key signatures:
 * neither "none" nor an HMAC can be allowed [RFC7518 3.1]; and it must be one that the key is for.
 * Nothing of a token is ever logged.
 *
 * One thread, which runs the client of https and verifies. All calls may be made from any thread,
 * and none waits but token_stop.
 */
#ifndef TOKEN_TOKEN_H
#define TOKEN_TOKEN_H

#include "base/buf.h"
#include "base/ctx.h"
#include "base/list.h"
#include "base/str.h"

enum {
    TOKEN_MAX = 8192,            /* bytes of a token */
    TOKEN_ADDRESS_MAX = 254,     /* of the mail address in it */
    TOKEN_KEYS_TEXT = 128 << 10, /* of the issuer's documents */
    TOKEN_AUDIENCES_MAX = 32
};

/* [RFC7518 3.1] */
enum token_algorithm {
    TOKEN_RS256,
    TOKEN_RS384,
    TOKEN_RS512,
    TOKEN_PS256,
    TOKEN_PS384,
    TOKEN_PS512,
    TOKEN_ES256,
    TOKEN_ES384,
    TOKEN_ES512,
    TOKEN_ALGORITHMS
};
/* "RS256"; false: none that could be allowed. */
bool token_algorithm_find(struct str name, enum token_algorithm *out);

struct token_conf {
    struct str
        issuer; /* what "iss" is, byte for byte; empty: there is none, and no token is good */
    struct str keys_url;         /* of its JWKS; empty: as its discovery document says */
    struct str keys;             /* a JWKS: then nothing is fetched; empty: none */
    const struct str *audiences; /* "aud" is, or has, one of them */
    size_t n_audiences;          /* at most TOKEN_AUDIENCES_MAX */
    unsigned algorithms;         /* bits 1 << enum token_algorithm */
    struct str claim;            /* that names the mail address: "email" */
    uint32_t leeway_s;           /* that clocks may differ */
    uint64_t fetch_ms;           /* for one document */
    struct str ca_pem;           /* authorities for HTTPS */
};

struct token;
struct dns;

/* Copies conf. RC_SYNTAX with the cause in `why`: keys or an address that cannot be used. */
enum rc token_new(const struct ctx *ctx, const struct token_conf *conf, struct token **out,
                  char why[256]);
/* Begins to answer, and what has been asked before as well. dns outlives token_stop; NULL: only
 * addresses without names can be fetched from. */
void token_start(struct token *t, struct dns *dns);
/* Another issuer from now on. RC_SYNTAX: as token_new, and nothing has changed. */
enum rc token_reload(struct token *t, const struct token_conf *conf, char why[256]);
/* Whether there is an issuer. */
bool token_is_on(struct token *t);
/* Appends the address of its discovery document, for clients [RFC7628 3.2.2]; perhaps nothing. */
void token_discovery(struct token *t, struct buf *out);
/* What waits, and what comes, ends with RC_TEMP from now on: before sessions are drained. */
void token_hurry(struct token *t);
/* The same. Waits for the thread, and so for questions to dns
 * (dns_stop). */
void token_stop(struct token *t);
void token_free(struct token **t); /* stops; nobody asks any more */

struct token_query {
    /* The caller's, set before token_check; the rest is zeroed. */
    void (*done)(struct token_query *q); /* once, on token's thread: must not block */
    struct str text;                     /* the token; stays until done() */

    /* The answer. RC_OK; RC_DENIED: it is not good; RC_TEMP: that cannot be told now. */
    enum rc rc;
    char address[TOKEN_ADDRESS_MAX];
    size_t address_n;  /* with RC_OK, as the next */
    uint64_t expires;  /* until when it counts, leeway included: seconds since 1970 */
    const char *cause; /* otherwise: one word for the log */

    struct list link; /* token's */
};
/* RC_OK: done() will come, never from inside this call. RC_LIMIT, RC_TEMP: it will not. */
enum rc token_check(struct token *t, struct token_query *q);

/* --- pure parts, for tests and fuzzing -------------------------------------------------------- */

struct token_claims {
    char address[TOKEN_ADDRESS_MAX];
    size_t address_n;
    uint64_t expires; /* until when it counts, leeway included: seconds since 1970 */
};
/* What a token whose signature is good says, at a time in seconds. RC_DENIED with the cause:
 * "not-json", "issuer", "audience", "expired", "not-yet-valid", "no-address", "unverified-address".
 */
enum rc token_claims_read(struct str json, const struct token_conf *conf, uint64_t now,
                          struct token_claims *out, const char **out_cause);

#endif
