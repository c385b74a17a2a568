/* Private to token/.
 *
 *   token.c   the thread: what is asked, what waits for keys   fetch.c  the issuer's documents
 *   jose.c    keys and signatures: libcjose                    claims.c  what a token says (pure)
 *   url.c     addresses of documents (pure)
 *
 * All but what is marked (mutex) belongs to token's thread, once it has begun. */
#ifndef TOKEN_TOKEN_INT_H
#define TOKEN_TOKEN_INT_H

#include "base/arena.h"
#include "base/buf.h"
#include "dns/dns.h"
#include "https/https.h"
#include "token/token.h"

enum { URL_MAX = 1024, KID_MAX = 255, KEYS_MAX = 64 };

/* --- url.c ------------------------------------------------------------------------------------ */

struct url {
    char text[URL_MAX + 1];
    char host[DNS_NAME_MAX + 1]; /* in lower case; of an address: without brackets */
    uint16_t port;
    bool is_address; /* the host is one: nothing to look up */
    bool is_plain;   /* http:// */
};
/* https://, or http:// with an address of this machine. RC_SYNTAX. */
enum rc url_parse(struct str text, struct url *out);

/* --- jose.c ----------------------------------------------------------------------------------- */

struct jws_head {
    enum token_algorithm algorithm;
    char kid[KID_MAX + 1]; /* empty: none */
};
/* The header of a token, before anything is verified. RC_DENIED with the cause: "malformed",
 * "algorithm", "type", "critical". */
enum rc jws_head_read(struct str token, unsigned algorithms, struct jws_head *out,
                      const char **out_cause);

struct keys;
/* Of a JWKS [RFC7517 5]: those that can be used; others are passed over. RC_SYNTAX: it is none, or
 * none of them can. */
enum rc keys_parse(struct str json, struct keys **out);
void keys_free(struct keys **keys);
size_t keys_count(const struct keys *keys);
/* Appends what was signed. RC_NOTFOUND: the key that it names is not there. RC_DENIED: no key fits,
 * or the signature is none of theirs. */
enum rc keys_verify(const struct keys *keys, struct str token, const struct jws_head *head,
                    struct buf *out_payload);

/* --- claims.c --------------------------------------------------------------------------------- */

/* The address of the keys, out of a discovery document. RC_SYNTAX: it is none; RC_DENIED: it is
 * another issuer's. */
enum rc discovery_read(struct str json, struct str issuer, struct url *out);

/* --- token.c ---------------------------------------------------------------------------------- */

struct job { /* something that comes in from another thread */
    void (*run)(struct token *t, struct job *job);
    struct list link;
};
void token_post(struct token *t, struct job *job); /* any thread */

/* A configuration, with what its views point into. */
struct rules {
    struct token_conf conf;
    struct url first;  /* where to begin: the keys, or the discovery document */
    struct keys *keys; /* given; NULL: they are fetched */
    struct arena arena;
};

/* --- fetch.c ---------------------------------------------------------------------------------- */

struct lookup {
    struct dns_query q;
    struct job job;
    struct fetch *fetch;
};
struct fetch { /* the documents of one issuer, one after the other */
    struct token *token;
    struct url url;
    bool is_under_way, is_stale; /* stale: it began with other rules */
    bool is_discovery;
    unsigned pending; /* questions to dns */
    struct lookup lookups[2];
    struct buf addresses;
    struct https_get get;
};
void fetch_begin(struct token *t);

struct token {
    const struct ctx *ctx;
    struct dns *dns;
    pthread_t thread;
    pthread_mutex_t mutex;
    struct list jobs;          /* (mutex) */
    struct list asked;         /* (mutex) queries that came in */
    size_t n_asked;            /* (mutex) that are not answered */
    bool ending;               /* (mutex) */
    bool is_on;                /* (mutex) */
    struct url discovery;      /* (mutex) of the issuer; without a text when it can have none */
    bool started, has_stopped; /* by who makes and ends it */
    struct rules *next;        /* (mutex) from token_reload */

    struct rules *rules;
    struct https *https; /* until the end */
    bool is_ending;
    struct keys *keys;           /* fetched; NULL: none */
    uint64_t fetched_s, tried_s; /* monotonic; 0: never */
    bool has_failed;             /* at the last try */
    struct list waiting;         /* queries that wait for keys */
    struct fetch fetch;
};
/* The fetch is over: keys, which are taken, or NULL and why. */
void token_fetched(struct token *t, struct keys *keys, const char *why);

#endif
