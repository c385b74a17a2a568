/* tlspol: what TLS other domains ask of those who send them mail (MTA-STS), and what came of it
 * (counts for TLS-RPT).
 *
 * POLICIES [RFC8461]. A domain says by a TXT record that it has a policy, and gives it out over
 * HTTPS. What was fetched is kept durably until its max_age is over, and holds until then whatever
 * the network says: the TXT record is looked at again every ten minutes at most, a policy is
 * fetched anew when its id has changed or after a day, in the background, and a fetch that fails
 * changes nothing. Policies that nobody asks for are renewed as well. Only a domain of which
 * nothing is known makes the asker wait for a fetch; when that fails the domain counts as one
 * without.
 *
 * COUNTS [RFC8460]. What became of TLS with each host, per domain and UTC day, is added up in
 * memory and written every minute; a crash loses at most that. Several nodes add to the same rows.
 * Days older than TLSPOL_DAYS are dropped.
 *
 * One thread, which runs the client of https and may wait for the store. All calls
 * may be made from any thread, and none waits.
 */
#ifndef TLSPOL_TLSPOL_H
#define TLSPOL_TLSPOL_H

#include "base/arena.h"
#include "base/ctx.h"
#include "base/list.h"
#include "kv/kv.h"

enum {
    TLSPOL_TEXT_MAX = 32 << 10, /* bytes of a policy */
    TLSPOL_MX_MAX = 500,        /* its patterns */
    TLSPOL_ID_MAX = 32,         /* [RFC8461 3.1] */
    TLSPOL_DAYS = 7
};

/* --- policies ----------------------------------------------------------------------------------
 */

enum tlspol_mode { TLSPOL_NONE, TLSPOL_TESTING, TLSPOL_ENFORCE };

struct tlspol_policy {
    enum tlspol_mode mode;
    uint64_t max_age;     /* seconds, at most a year */
    const struct str *mx; /* patterns in lower case */
    size_t n_mx;
};

/* Pure. The patterns are kept in the arena. RC_SYNTAX, RC_LIMIT. */
enum rc tlspol_parse(struct str text, struct arena *arena, struct tlspol_policy *out);
/* Pure. One TXT record: RC_OK and its id, a view; RC_NOTFOUND: it is about something else;
 * RC_SYNTAX. */
enum rc tlspol_txt_parse(struct str record, struct str *out_id);
/* Whether one of the patterns is for the host, a name in lower case [RFC8461 4.1]. */
bool tlspol_matches(const struct tlspol_policy *policy, struct str host);

struct tlspol;
struct dns;

/* Why nothing is known of a domain, for who tells its administrator. */
enum tlspol_gap {
    TLSPOL_NO_GAP,       /* there is a policy, or none is announced */
    TLSPOL_CANNOT_ASK,   /* DNS does not say whether one is announced */
    TLSPOL_CANNOT_FETCH, /* it is announced, and cannot be had or read */
    TLSPOL_GAPS
};
enum { TLSPOL_WHY = 128 };

struct tlspol_query {
    /* The caller's, set before tlspol_ask; the rest is zeroed. */
    void (*done)(struct tlspol_query *q); /* once, on tlspol's thread: must not block */
    struct str domain;                    /* lower case, A-labels; stays until done() */
    /* The answer. */
    struct tlspol_policy policy; /* TLSPOL_NONE: nothing is asked */
    struct arena arena;          /* holds it; the caller's to arena_fini */
    enum tlspol_gap gap;         /* of the last look; what was known before may hold all the same */
    char why[TLSPOL_WHY];        /* its cause, printable ASCII; empty: none */
    struct list link;            /* tlspol's */
};
/* RC_OK: done() will come, never from inside this call. RC_LIMIT, RC_TEMP, RC_SYNTAX: it will
 * not. */
enum rc tlspol_ask(struct tlspol *t, struct tlspol_query *q);

/* --- counts ------------------------------------------------------------------------------------
 */

enum tlspol_kind { TLSPOL_BY_NONE, TLSPOL_BY_TLSA, TLSPOL_BY_STS }; /* "policy-type" */

enum tlspol_result { /* [RFC8460 4.3] */
                     TLSPOL_SUCCESS,
                     TLSPOL_STARTTLS_NOT_SUPPORTED,
                     TLSPOL_CERTIFICATE_HOST_MISMATCH,
                     TLSPOL_CERTIFICATE_EXPIRED,
                     TLSPOL_CERTIFICATE_NOT_TRUSTED,
                     TLSPOL_VALIDATION_FAILURE,
                     TLSPOL_TLSA_INVALID,
                     TLSPOL_DNSSEC_INVALID,
                     TLSPOL_DANE_REQUIRED,
                     TLSPOL_STS_POLICY_FETCH_ERROR,
                     TLSPOL_STS_POLICY_INVALID,
                     TLSPOL_STS_WEBPKI_INVALID,
                     TLSPOL_RESULTS
};
const char *tlspol_result_name(enum tlspol_result result); /* "starttls-not-supported" */

/* One session, or one try at one, with a host of a domain. Cheap. */
struct tlspol_event {
    struct str domain; /* the recipients', in A-labels */
    enum tlspol_kind kind;
    enum tlspol_result result;
    struct str host; /* the MX; empty: none was reached */
};
void tlspol_count(struct tlspol *t, const struct tlspol_event *event);

struct tlspol_detail { /* of failures */
    enum tlspol_kind kind;
    enum tlspol_result result;
    struct str host;
    uint32_t count;
};
enum { TLSPOL_DETAILS = 32 }; /* kept of a domain and day; what is beyond is in the sums only */
struct tlspol_day {
    struct str domain;
    uint64_t good[3], bad[3]; /* sessions by kind */
    const struct tlspol_detail *details;
    size_t n_details;
};
/* The counts of a day (days since 1970), domain by domain in order: the first one behind `after`.
 * What is counted by now is written first with tlspol_flush. RC_EOF: no more. Blocks. */
enum rc tlspol_day_next(struct kv *kv, uint32_t day, struct str after, struct arena *arena,
                        struct tlspol_day *out);
void tlspol_flush(struct tlspol *t); /* waits until it is written; not from tlspol's thread */

/* --- the process -------------------------------------------------------------------------------
 */

struct tlspol_conf {
    struct str ca_pem;     /* authorities for HTTPS; absent: nothing can be fetched */
    uint16_t https_port;   /* 443 */
    uint64_t fetch_ms;     /* for a whole fetch; 0: 30,000 */
    uint32_t fetches;      /* at once; 0: 100 */
    uint32_t domains;      /* in memory; 0: 10,000 */
    uint64_t memory_bytes; /* of policies in memory; 0: 16 MB */
    uint64_t age_max_s;    /* that one holds at most; 0: a year */
};

/* Copies conf. The others outlive it, dns too. */
enum rc tlspol_new(const struct ctx *ctx, struct kv *kv, struct dns *dns,
                   const struct tlspol_conf *conf, struct tlspol **out, char why[256]);
/* Queries under way are answered with what is known, counts are written, and tlspol_ask answers
 * RC_TEMP from now on. Waits for tlspol's thread, and so for questions to dns (dns_stop). */
void tlspol_stop(struct tlspol *t);
void tlspol_free(struct tlspol **t); /* stops; nobody asks any more; before dns_free */
/* Other authorities and limits for what begins from now on. */
void tlspol_reload(struct tlspol *t, const struct tlspol_conf *conf);

/* The partitions that are kept here, one a number; false: no more. */
bool tlspol_partition(size_t n, struct kv_part *out);

#endif
