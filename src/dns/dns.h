/* dns: answers to questions about names, validated by DNSSEC where there is an anchor for it.
 *
 * One thread of its own runs libunbound's event interface; that library is met in this folder
 * alone. A query is the caller's memory; dns_ask hands it over, done() on dns's thread hands it
 * back, exactly once, never from inside dns_ask. Every query ends: after dns_conf.query_ms at the
 * latest, with DNS_TEMP. Answers are cached in bounded memory; equal questions at the same time are
 * asked once.
 *
 * FIVE ENDS, never mixed: there are records; the name is there and has none of this type; there is
 * no such name (both for good); no answer was to be had (servers that fail, refuse or keep silent);
 * an answer that is signed wrongly. The last two are temporary: nothing is known about the name.
 *
 * NAMES are text in lower case without the final dot; the root is empty. Bytes that a host name
 * cannot hold are written \DDD, so that no name from outside holds a space or a control character;
 * dns_is_host tells whether a name could be a host's.
 *
 * SECURE means that the whole answer, each alias on the way and the absence of what is not there,
 * has been validated from the anchor down. Resolvers of this machine may strip signatures. When the
 * anchor is the system's, dns asks the root for its keys first; when that cannot be validated it
 * says so in the log, answers without validation (nothing is secure then) and tries again each
 * minute until it can. From then on, and always when the operator has named the anchor, an answer
 * that cannot be validated is DNS_BOGUS.
 *
 * Nothing here reads files but dns_conf_read, which is called before the sandbox closes.
 */
#ifndef DNS_DNS_H
#define DNS_DNS_H

#include "base/arena.h"
#include "base/ctx.h"
#include "base/list.h"
#include "net/net.h"

enum dns_type {                  /* as on the wire [RFC1035 3.2.2] [RFC6698 2.1] */
                DNS_NOTHING = 0, /* asks nobody; done() comes with DNS_NODATA: for who must answer
                                    from there */
                DNS_A = 1,
                DNS_CNAME = 5,
                DNS_PTR = 12,
                DNS_MX = 15,
                DNS_TXT = 16,
                DNS_AAAA = 28,
                DNS_SRV = 33,    /* [RFC2782] */
                DNS_DNSKEY = 48, /* answered without records */
                DNS_TLSA = 52
};

enum dns_result { DNS_OK, DNS_NODATA, DNS_NXDOMAIN, DNS_TEMP, DNS_BOGUS };
const char *dns_result_name(enum dns_result result); /* "ok", "nodata", "nxdomain", ... */
const char *dns_type_name(enum dns_type type);       /* "A", "MX"; "?" for others */

enum {
    DNS_NAME_MAX = 253,    /* bytes of a name that may be asked for [RFC1035 2.3.4] */
    DNS_RECORDS_MAX = 500, /* of an answer; what comes after is left out */
    DNS_WHY = 160
};

struct dns_record {
    struct in6_addr address;           /* A (as ::ffff:a.b.c.d) and AAAA */
    uint16_t preference;               /* MX; SRV: priority */
    uint16_t weight, port;             /* SRV */
    struct str name;                   /* MX, CNAME, PTR; SRV: the target */
    struct str data;                   /* TXT: its strings joined; TLSA: the association data */
    uint8_t usage, selector, matching; /* TLSA */
};

struct dns_query {
    /* The caller's, set before dns_ask; the rest is zeroed. */
    void (*done)(struct dns_query *q); /* on dns's thread: must not block. May free the query */
    struct str name;                   /* ASCII, at most DNS_NAME_MAX bytes; stays until done() */
    enum dns_type type;

    /* The answer. */
    enum dns_result result;
    bool is_secure;
    uint32_t ttl;         /* seconds for which it holds; 0 when it is DNS_TEMP or DNS_BOGUS */
    struct str canonical; /* the name at the end of all aliases; the one asked for when none */
    const struct dns_record *records; /* n_records > 0 exactly with DNS_OK (but DNS_DNSKEY) */
    size_t n_records;
    char why[DNS_WHY]; /* DNS_TEMP and DNS_BOGUS: the cause, printable ASCII */

    struct arena arena; /* holds the answer; dns_query_fini frees it */
    struct list link;   /* dns's, as the next */
    uint64_t since;
};
void dns_query_fini(struct dns_query *q);

struct dns;

/* RC_OK: done() will come. Otherwise it will not: RC_LIMIT, too many queries wait already;
 * RC_SYNTAX, the name is longer than names are, or has empty or too long labels; RC_TEMP, dns is
 * being freed. Any thread. */
enum rc dns_ask(struct dns *dns, struct dns_query *q);

bool dns_is_host(struct str name); /* letters, digits, hyphens within labels, underscores */

/* --- the process ------------------------------------------------------------------------------ */

struct dns_conf {
    const struct net_addr *resolvers; /* at least one: these are asked, each for all */
    size_t n_resolvers;
    struct str anchors; /* DS or DNSKEY records in text; empty: nothing is validated */
    bool must_validate; /* the operator named the anchors */
    size_t cache_bytes; /* 0: 16 MB; about twice as much is in use when it is full */
    uint32_t queries;   /* under way at once; 0: 1,000 */
    uint32_t waiting;   /* beyond these, until they can be; 0: 20,000 */
    uint64_t query_ms;  /* 0: 20,000 */
};

/* Fills resolvers and anchors, in the arena, from the configuration: texts "address" or
 * "address:port" ("[v6]:port"), none: those of /etc/resolv.conf, without any there: this machine;
 * the anchor's file, NULL: the system's, if there is one; "none": no validation. On failure `why`
 * names the file or the text: RC_SYNTAX, RC_NOTFOUND, RC_DENIED, RC_LIMIT. */
enum rc dns_conf_read(const struct str *resolvers, size_t n, const char *trust_anchor,
                      struct arena *arena, struct dns_conf *out, char why[256]);

/* Copies what it needs of conf. RC_SYNTAX for anchors that are none, with the cause in `why`. */
enum rc dns_new(const struct ctx *ctx, const struct dns_conf *conf, struct dns **out,
                char why[256]);
/* Queries under way end with DNS_TEMP, and dns_ask answers RC_TEMP from now on: for who must see
 * others end before dns_free. Waits for dns's thread. */
void dns_stop(struct dns *dns);
void dns_free(struct dns **dns); /* stops; nobody calls dns_ask any more */

/* Other resolvers, anchors and limits from now on, with an empty cache; queries under way are
 * finished by the old ones. On failure nothing has changed. Waits for dns's thread: not from it. */
enum rc dns_reload(struct dns *dns, const struct dns_conf *conf, char why[256]);

/* --- for tests: a table in the place of a network ----------------------------------------------
 */

/* Answers come from a text of lines, on the same thread and under the same limits:
 *
 *     [!]NAME TYPE DATA      ! makes the answer secure, when all of its lines are
 *     mail.example A 192.0.2.1
 *     example MX 10 mail.example         (MX 0 . is null MX)
 *     example TXT v=spf1 -all            (the rest of the line)
 *     alias.example CNAME mail.example   (followed, up to eight times)
 *     _25._tcp.mail.example TLSA 3 1 1 0a1b...
 *     _imaps._tcp.example SRV 0 1 993 mail.example     (0 0 0 . is "not here")
 *     gone.example MX NODATA             NODATA, NXDOMAIN, SERVFAIL, BOGUS or SILENCE (never an
 *                                        answer) in the place of data; the type may be *
 *
 *     !example ZONE                      names at and below it that have no line are absent
 * securely
 *
 * A name without a line is NXDOMAIN, one without a line of the type NODATA. "#" begins a comment.
 * The time to live is 300. RC_SYNTAX with the line in `why`. */
enum rc dns_fixed_new(const struct ctx *ctx, const struct dns_conf *conf, struct str table,
                      struct dns **out, char why[256]);
enum rc dns_fixed_set(struct dns *dns, struct str table, char why[256]); /* from now on */

#endif
