/* relay, inside: what where.c, session.c and the scheduler hand each other.
 *
 *   destination ──relay_where()──▶ targets in the order to be tried
 *   target ──relay_session_open()──▶ session ──relay_session_send(job)──▶ outcomes, one a recipient
 */
#ifndef RELAY_RELAY_INT_H
#define RELAY_RELAY_INT_H

#include "base/arena.h"
#include "queue/queue.h"
#include "relay/relay.h"

/* What where.c and session.c stand on; outlives them. */
struct dns;
struct tlspol;
struct net_tls_client;
struct relay_house {
    const struct ctx *ctx;
    struct net *net;
    struct net_tls_client *tls; /* with the authorities of the settings */
    struct kv *kv;
    struct dns *dns;
    struct tlspol *tlspol;  /* NULL: none */
    struct task_lane *lane; /* where sessions end that could not be made */
};

/* --- what became of a recipient --------------------------------------------------------------- */

/* How far it came. */
enum relay_stage {
    RELAY_AT_DNS,     /* where.c: nobody was asked to take it */
    RELAY_AT_CONNECT, /* up to here, and to RELAY_AT_LOGIN, it is a matter of the host as a whole */
    RELAY_AT_GREETING,
    RELAY_AT_HELLO,
    RELAY_AT_TLS,
    RELAY_AT_LOGIN,
    RELAY_AT_OURSELVES, /* it cannot be passed on as it is: what the host offers does not allow it
                         */
    RELAY_AT_MAIL,
    RELAY_AT_RCPT,
    RELAY_AT_DATA, /* DATA, or a chunk that is not the last */
    RELAY_AT_END   /* the answer to the whole message */
};

enum { RELAY_TEXT_MAX = 500, RELAY_STATUS = 12, RELAY_TLS_TEXT = 256 };

struct relay_outcome {
    enum rc rc; /* RC_OK: the host has taken it; RC_TEMP: later; RC_PERM: never */
    enum relay_stage stage;
    uint16_t code;             /* of the reply; 0: there was none */
    char status[RELAY_STATUS]; /* enhanced [RFC3463], made from the code where the host said none */
    struct str text; /* the reply, or the cause in words; one line, capped, nothing but printable
                        ASCII and UTF-8. In the arena of the job (of relay_where) */
    bool has_dsn;    /* RC_OK: the host reports further on [RFC3461 5.2.2] */
    bool is_secure;  /* it went through TLS */
    struct str tls;  /* which, how the host was verified, or why not: relay_tls_words. Where the
                        text is; absent: nobody was connected to */
};

/* --- where to --------------------------------------------------------------------------------- */

struct relay_tlsa { /* [RFC6698 2.1] */
    uint8_t usage, selector, matching;
    struct str data;
};

/* One address of one host. */
struct relay_target {
    struct str host;      /* lower case, A-labels; "[192.0.2.1]"; the path of a Unix socket */
    struct net_addr addr; /* with its port; of a Unix socket: family AF_UNIX */
    struct net_addr source;
    bool has_source;
    enum relay_protocol protocol;
    enum relay_tls tls;
    struct str name;         /* its certificate is for: host, or another; the name of SNI */
    const struct str *names; /* DANE: others it may be for [RFC7672 3.2.2] */
    size_t n_names;
    const struct relay_tlsa *tlsa; /* DANE [RFC7672]: at least one of them holds */
    size_t n_tlsa;
    bool has_dane;     /* with n_tlsa 0: none is usable, TLS without a check [RFC7672 2.2] */
    bool must_tls;     /* no message in the clear: has_dane, MTA-STS, requires_tls, the route */
    bool is_trusted;   /* by DNSSEC, MTA-STS or the configuration it is known that this host is the
                          domain's; what its certificate proves is worth something then */
    bool tries_proof;  /* a certificate is asked for first, as with RELAY_TLS_VERIFY; one that does
                          not hold is counted, and then it goes on as tls says: MTA-STS in testing
                          [RFC8461 5], reports about messages with REQUIRETLS */
    bool requires_tls; /* for messages with REQUIRETLS: the host must offer that too, and prove who
                          it is [RFC8689 4.2.1] */
    uint8_t policy;    /* enum relay_policy_kind: what TLS it is decided by, for TLS-RPT */
    struct str login, password;
    uint16_t preference;
};

struct relay_where {
    /* The caller's, until done() has run: exactly once, on any thread (not from inside
     * relay_where); must not block. */
    void (*done)(struct relay_where *where);
    struct str domain; /* lower case, A-labels, or an address literal with its brackets */
    const struct relay_settings *settings;
    enum queue_tls tls; /* what the senders care for: REQUIRED: only targets that such messages may
                           go to; IF_POSSIBLE: as if the domain asked for nothing */
    uint64_t seed;      /* shuffles the hosts of one preference; 0: by chance */
    /* The answer. */
    struct arena arena;           /* the caller's to arena_fini; holds what the answer points to */
    struct relay_outcome outcome; /* rc RC_OK: there are targets */
    struct relay_target *targets;
    size_t n_targets;
    uint64_t ttl; /* seconds that the answer holds; at least 1 */
    void *own;    /* where.c's */
};

/* Asks; done() will come. House and settings stay until then. (Inside this call only while dns is
 * being freed.) */
void relay_where(const struct relay_house *house, struct relay_where *where);

/* What decides which TLS a host must show (policy.c). */
enum relay_policy_kind {
    RELAY_BY_NONE,
    RELAY_BY_ROUTE,
    RELAY_BY_DANE,
    RELAY_BY_STS,
    RELAY_BY_SENDER /* who does without what the domain asks for */
};

/* --- a session with a host -------------------------------------------------------------------- */

struct relay_session;

/* One transaction, from MAIL to the answer. */
struct relay_job {
    /* The caller's, until done() has run: exactly once, on some thread (not from inside
     * relay_session_send, but see there); must not block. The session may be given the next job
     * from inside. */
    void (*done)(struct relay_job *job);
    const struct queue_item *item;             /* its blob is what is sent */
    struct str prefix;                         /* header fields that are put in front, with CRLF */
    const struct queue_recipient **recipients; /* n of them */
    struct relay_outcome *outcomes;            /* of each */
    char tls[RELAY_TLS_TEXT];                  /* the session's, of the outcomes */
    size_t n;
    struct arena *arena; /* of the words of the outcomes */
    /* The answer beside the outcomes. */
    bool is_open;  /* the session can take another one; otherwise it has ended, or ends by itself */
    bool is_stale; /* the connection had ended before anything of this job was answered: nothing was
                      tried, the outcomes say nothing */
    void *own;     /* the session's */
};

/* What a session tells apart from jobs. */
struct relay_session_owner {
    /* Its greeting, EHLO, TLS and login are through: told once, before the first job's done(). */
    void (*ready)(struct relay_session_owner *owner, struct relay_session *session);
    /* It has ended, and no job of it is under way; the pointer is dead when this returns. Told once
     * for each session, on its loop or the lane, also after relay_session_close. */
    void (*gone)(struct relay_session_owner *owner, struct relay_session *session);
};

/* What a session has come to know of its host, for logs, figures and TLS reports [RFC8460 4.3]. */
struct relay_facts {
    bool is_connected, has_starttls, is_secure;
    enum net_tls_proof proof;
    struct net_error handshake; /* that failed, also when the session went on in clear */
    struct net_error error;     /* what ended the connection */
    char tls[64];               /* "TLSv1.3 TLS_AES_256_GCM_SHA384"; empty: in clear */
};
/* For TLS-RPT (report.c): what a transaction for the domain has shown of its host. */
void relay_report_session(const struct relay_house *house, const struct relay_target *target,
                          const struct relay_facts *facts, struct str domain);
/* For people who ask what became of a message: "TLSv1.3 TLS_AES_256_GCM_SHA384, verified by dane";
 * "no TLS: it is not offered". Empty: there was no connection. */
void relay_tls_words(const struct relay_target *target, const struct relay_facts *facts,
                     bool requires_tls, char out[RELAY_TLS_TEXT]);
/* In the owner's calls and in a job's done(). */
const struct relay_facts *relay_session_facts(const struct relay_session *session);

/* Begins to connect. RC_OK: the session takes jobs at once, one at a time. When it cannot be made
 * the job's outcomes say why, with is_open false; a session that fails before it has been given a
 * job waits for one. What is needed of the target and the settings is copied. RC_LIMIT, RC_TEMP: no
 * socket, no connection. */
enum rc relay_session_open(const struct relay_house *house, const struct relay_settings *settings,
                           const struct relay_target *target, struct relay_session_owner *owner,
                           struct relay_session **out);
/* Any thread, but not after gone() has returned. A session that has ended meanwhile, or ends while
 * this runs, answers with is_stale; done() may then run inside this call. */
void relay_session_send(struct relay_session *session, struct relay_job *job);
/* QUIT, and no more jobs. A job under way ends first. */
void relay_session_close(struct relay_session *session);

#endif
