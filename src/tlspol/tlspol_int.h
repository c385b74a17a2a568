/* Private to tlspol/.
 *
 *   tlspol.c   the thread: what comes in, policies in memory    parse.c  TXT record and policy
 * (pure) check.c    one look at a domain: TXT, addresses, HTTPS      fetch.c  HTTPS   keep.c
 * policies in the store                            count.c  figures for TLS-RPT
 *
 * All but what is marked (mutex) belongs to tlspol's thread. */
#ifndef TLSPOL_TLSPOL_INT_H
#define TLSPOL_TLSPOL_INT_H

#include "base/buf.h"
#include "base/map.h"
#include "dns/dns.h"
#include "tlspol/tlspol.h"

enum {
    CHECK_AGAIN_S = 600, /* the TXT record of a domain is looked at no more often */
    FETCH_AGAIN_S = 300, /* after a failed fetch [RFC8461 3.3] */
    RENEW_S = 86400,     /* a policy is fetched anew after a day [RFC8461 3.3] */
    WAITING_MAX = 2000
};

struct job { /* something that comes in from another thread */
    void (*run)(struct tlspol *t, struct job *job);
    struct list link;
};

struct lookup {
    struct dns_query q;
    struct job job;
    struct check *check;
    char name[DNS_NAME_MAX + 2];
};

/* One look at a domain, on its way. */
struct check {
    struct tlspol *tlspol;
    struct entry *entry;
    struct lookup txt, address[2];
    unsigned pending;
    char id[TLSPOL_ID_MAX + 1];
};

/* A domain, in memory. */
struct entry {
    struct map_node node;
    struct list lru;
    struct list waiting; /* queries */
    struct check *check; /* NULL: none under way */
    char *text;          /* of its policy; NULL: none */
    size_t text_n;
    uint64_t fetched, expires; /* wall clock, seconds */
    uint64_t checked, no_fetch_before;
    enum tlspol_gap gap;
    char *why; /* of the gap; NULL: there is none */
    char id[TLSPOL_ID_MAX + 1];
    char failed_id[TLSPOL_ID_MAX + 1];
    size_t name_n;
    char name[];
};

struct fetcher; /* fetch.c: https */

struct tlspol {
    const struct ctx *ctx;
    struct kv *kv;
    struct dns *dns;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t flushed;
    struct list jobs;         /* (mutex) */
    size_t n_asked;           /* (mutex) queries that are not answered */
    bool ending;              /* (mutex) */
    struct tlspol_conf next;  /* (mutex) from tlspol_reload; ca_pem is ours */
    bool has_next;            /* (mutex) */
    uint64_t flushes, wanted; /* (mutex) */

    struct tlspol_conf conf; /* ca_pem is ours */
    struct fetcher *fetcher;
    struct map entries;
    struct list lru; /* least lately used first */
    uint64_t key[2];
    size_t n_checks; /* under way, DNS included */
    uint64_t bytes;  /* of policies in memory */
    bool is_over;
    uint64_t sweep_at, flush_at; /* mono */
    char sweep_after[DNS_NAME_MAX + 2];
    size_t sweep_after_n;
    struct counts *counts; /* count.c */
};

uint64_t tlspol_now(const struct tlspol *t);         /* wall clock, seconds */
void tlspol_post(struct tlspol *t, struct job *job); /* any thread */

/* --- tlspol.c: entries -------------------------------------------------------------------------
 */

struct entry *entry_get(struct tlspol *t, struct str domain); /* from the store when new */
void entry_policy(struct tlspol *t, struct entry *e, struct str text, const char *id,
                  uint64_t fetched, uint64_t expires);
void entry_gap(struct entry *e, enum tlspol_gap gap, const char *why);
void entry_checked(struct tlspol *t, struct entry *e); /* its check is over: answers who waits */

/* --- check.c -----------------------------------------------------------------------------------
 */

void check_start(struct tlspol *t, struct entry *e);
void check_fetched(struct check *c, enum tlspol_result result, struct str text, const char *why);
void check_drop(struct check *c); /* at the end; nothing of it may be on its way */

/* --- fetch.c -----------------------------------------------------------------------------------
 */

enum rc fetcher_new(struct tlspol *t, struct fetcher **out, char why[256]);
void fetcher_free(struct fetcher **f); /* checks whose fetch is under way are dropped */
void fetcher_add(struct fetcher *f, struct check *c);
void fetcher_run(struct fetcher *f, int ms); /* waits so long for the network, or a wake */
void fetcher_wake(struct fetcher *f);        /* any thread */

/* --- keep.c ------------------------------------------------------------------------------------
 */

struct kept {
    struct str domain, id, text;
    uint64_t fetched, expires;
};
enum rc keep_read(struct kv *kv, struct str domain, struct arena *arena, struct kept *out);
enum rc keep_write(struct kv *kv, const struct kept *k);
enum rc keep_delete(struct kv *kv, struct str domain);
/* The first one behind `after`; RC_EOF: no more. */
enum rc keep_next(struct kv *kv, struct str after, struct arena *arena, struct kept *out);

/* --- count.c -----------------------------------------------------------------------------------
 */

struct counts *counts_new(void);
void counts_free(struct counts **c);
void counts_add(struct counts *c, uint32_t day, const struct tlspol_event *event); /* any thread */
/* Writes what has been added since; what cannot be written stays for the next time. */
void counts_write(struct counts *c, struct tlspol *t);

extern const struct kv_part tlspol_policies_part, tlspol_counts_part;

#endif
