/* relay's search for hosts, inside.
 *
 *   where.c    the search: MX, addresses, targets       own.c     which hosts are we ourselves
 *   dane.c     TLSA records [RFC7672]                    policy.c  what TLS a host must show (pure)
 *   report.c   what became of it, for TLS-RPT
 */
#ifndef RELAY_WHERE_INT_H
#define RELAY_WHERE_INT_H

#include "dns/dns.h"
#include "relay/relay_int.h"
#include "tlspol/tlspol.h"

#include <stdatomic.h>

enum {
    HOSTS_MAX = 16,         /* of a domain that are looked at, the best ones */
    HOST_ADDRESSES_MAX = 6, /* of each kind of a host that are tried */
    TARGETS_MAX = 40,
    TLSA_MAX = 32
};

struct finder;
struct lookup {
    struct dns_query q;
    struct finder *finder;
    char name[DNS_NAME_MAX + 2];
    bool was_asked;
};

enum { WHERE_V6, WHERE_V4, WHERE_FAMILIES };

/* --- policy.c --------------------------------------------------------------------------------- */

enum where_dane { DANE_NONE, DANE_USABLE, DANE_UNUSABLE, DANE_FAILED };

struct policy_facts {
    enum relay_tls route; /* RELAY_TLS_OPPORTUNISTIC when there is no route */
    bool has_route;       /* the host comes from the configuration */
    bool is_secure_mx;    /* the host comes from answers that DNSSEC vouches for */
    enum where_dane dane;
    enum tlspol_mode sts;
    bool sts_matches;   /* the host is one of the policy's */
    enum queue_tls tls; /* what the sender cares for */
};

enum policy_verdict {
    POLICY_GO,
    POLICY_SKIP_DANE, /* its TLSA records could not be looked up: as if it did not answer */
    POLICY_SKIP_STS,  /* MTA-STS does not name it */
    POLICY_SKIP_REQUIRETLS
};

struct policy {
    enum policy_verdict verdict;
    enum relay_tls tls;
    bool has_dane, must_tls, is_trusted, tries_proof, requires_tls;
    enum relay_policy_kind kind;
};

/* The one place where it is decided which policy wins. */
struct policy relay_policy(const struct policy_facts *facts);

/* --- a search --------------------------------------------------------------------------------- */

struct host {
    struct str name; /* as the MX record has it */
    uint16_t preference;
    uint64_t order; /* by chance, among its preference */
    uint16_t port;
    struct lookup address[WHERE_FAMILIES];
    struct lookup alias;   /* CNAME: whether an alias to insecure addresses is secure itself */
    struct lookup tlsa[2]; /* of the name at the end of its aliases; of its own */
    struct str base[2];    /* these names; absent: not asked */
    bool is_cut;           /* ourselves, or not better than ourselves */
    enum where_dane dane;
    struct str dane_base;
    struct relay_tlsa *records;
    size_t n_records;
};

struct finder {
    const struct relay_house *house;
    struct relay_where *where;
    const struct relay_route *route; /* NULL: none */
    struct lookup mx;
    struct tlspol_query sts;
    struct lookup nothing; /* for an answer from another thread */
    struct host *hosts;
    size_t n_hosts;
    bool is_mx;                     /* the hosts come from MX records */
    const struct in6_addr *avoided; /* an address that was left out, if there was one */
    bool is_secure_mx;              /* and those from secure answers; also what a route says */
    struct str expanded;            /* the domain at the end of its aliases */
    uint64_t random;
    uint64_t ttl;
    _Atomic unsigned pending;
    void (*next)(struct finder *f);
};

/* Asks; counts as pending. A name that cannot be asked for is DNS_NODATA. False: it was answered at
 * once. */
bool finder_ask(struct finder *f, struct lookup *l, struct str prefix, struct str name,
                enum dns_type type);
/* Several finder_ask between begin and end: next runs once all have been answered. */
void finder_begin(struct finder *f, void (*next)(struct finder *f));
void finder_end(struct finder *f);

bool host_has_address(const struct host *h);
bool host_is_secure(const struct host *h); /* its addresses */

/* --- dane.c ----------------------------------------------------------------------------------- */

void dane_ask(struct finder *f, struct host *h);       /* what can be asked at once */
void dane_ask_again(struct finder *f, struct host *h); /* what depends on the first answers */
void dane_decide(struct finder *f, struct host *h);    /* dane, dane_base, records */
/* Whether a record says something that this client can check [RFC7672 3.1]. */
bool dane_is_usable(const struct dns_record *r);

/* --- report.c --------------------------------------------------------------------------------- */

void relay_report_skipped(const struct relay_house *house, enum policy_verdict verdict,
                          struct str domain, struct str host);

/* --- own.c ------------------------------------------------------------------------------------ */

bool own_is(const struct relay_settings *s, struct str name, uint16_t port);
bool own_has(const struct relay_settings *s, const struct in6_addr *address, uint16_t port);

#endif
