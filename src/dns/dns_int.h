/* Private to dns/: what the files here share.
 *
 *   dns.c      the thread, queries under way, their time    unbound.c  libunbound and its events
 *   wire.c     an answer's bytes to records (pure)          fixed.c    a table in its place
 *   conf.c     resolv.conf and anchors                      name.c     names as text
 *
 * All but what is marked (mutex) belongs to dns's thread. */
#ifndef DNS_DNS_INT_H
#define DNS_DNS_INT_H

#include "dns/dns.h"

#include <event2/event.h>

enum { NAME_TEXT = 4 * 255 + 1, ARENA_MAX = 512 * 1024 };

/* One query on its way: outlives the caller's when that has run out of time. */
struct ask {
    struct dns *dns;
    struct dns_query *query; /* NULL: answered already, the library still works on it */
    struct resolver *resolver;
    uint64_t deadline; /* mono */
    struct list link;
};

/* --- name.c ----------------------------------------------------------------------------------- */

/* A name of a packet, from *at on, as text into out (at least NAME_TEXT bytes). *at moves behind
 * it. RC_SYNTAX. */
enum rc name_read(struct str packet, size_t *at, char *out, size_t *out_n);
/* Lower case, without the final dot, NUL-terminated. RC_SYNTAX for what no question can hold. */
enum rc name_clean(struct str name, char out[DNS_NAME_MAX + 2], size_t *out_n);

/* --- wire.c ----------------------------------------------------------------------------------- */

/* Fills result, ttl, canonical and records of q from an answer's bytes; is_secure and why stay. */
void wire_answer(struct str packet, struct dns_query *q);
int wire_rcode(struct str packet); /* 0 of one that is too short to say */

/* --- unbound.c -------------------------------------------------------------------------------- */

struct resolver;
enum rc resolver_new(struct event_base *base, const struct dns_conf *conf, bool validates,
                     struct resolver **out, char why[256]);
void resolver_free(struct resolver **r); /* callbacks that are still due never come */
size_t resolver_pending(const struct resolver *r);
/* ask_answered comes once, perhaps before this returns. False: it will not. */
bool resolver_ask(struct resolver *r, const char *name, struct ask *ask);

/* What the library said. */
struct answer {
    int rcode;
    bool is_secure, is_bogus;
    struct str packet;
    const char *why; /* may be NULL */
};
void ask_answered(struct ask *ask, const struct answer *answer); /* dns.c */

/* --- fixed.c ---------------------------------------------------------------------------------- */

struct table;
enum rc table_new(struct str text, struct table **out, char why[256]);
void table_free(struct table **t);
bool table_answer(const struct table *t, struct dns_query *q); /* false: never an answer */

void query_fail(struct dns_query *q, enum dns_result result, const char *why); /* dns.c */

#endif
