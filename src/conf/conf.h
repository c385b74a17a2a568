/* conf: the configuration file, read into checked structs. Every key has a default that works; an
 * unknown key or a bad value is an error that names file and line. docs/ops/configuration.md
 * describes the keys.
 */
#ifndef CONF_CONF_H
#define CONF_CONF_H

#include "base/buf.h"

#define CONF_AUTHORITIES "/etc/ssl/certs/ca-certificates.crt"

enum { CONF_LIST_MAX = 32, CONF_NAMES_MAX = 10000 };

struct conf_list {
    char **item; /* n strings: of domains up to CONF_NAMES_MAX, of all else up to CONF_LIST_MAX */
    size_t n, capacity;
};

/* relay { route "DOMAIN" { } }: how mail for a domain goes, where that is not what DNS says. */
struct conf_route {
    char *domain;                /* "*": all that have no route of their own */
    char *host;                  /* name, address or path, with a port or without; empty: by DNS */
    char *protocol;              /* "smtp", "lmtp" */
    char *tls;                   /* "opportunistic", "never", "verify", "implicit" */
    char *login, *password_file; /* both or neither */
    struct conf_list source;     /* IP addresses */
};

enum conf_plaintext { CONF_PLAINTEXT_NEVER, CONF_PLAINTEXT_LOOPBACK };

struct conf {
    char *hostname; /* what the server calls itself; default: the system's name */
    char *
        data; /* the data folder; relative: to the configuration file's folder, as all paths here */
    char *user; /* whom the server runs as when it is started by root */
    char *log_level;

    struct {
        char *engine;          /* "local", "rados" */
        uint64_t memory;       /* bytes of the engine's caches and buffers */
        uint64_t queue;        /* bytes that may wait to be committed; more is refused for now */
        uint64_t reserve;      /* free bytes on the disk below which new mail is refused for now */
        uint64_t segment;      /* bytes of a log segment */
        uint64_t clean_rate;   /* bytes a second that cleaning may copy */
        uint64_t undelete;     /* seconds that expunged messages are kept */
        uint64_t keep_removed; /* seconds that removed accounts can be restored */
        /* Of the engine "rados". */
        char *ceph_conf, *ceph_user, *ceph_keyring;
        char *pool, *body_pool; /* body_pool empty: pool */
        uint64_t body_memory;   /* bytes of bodies in memory; 0: the engine's default */
        char *name;             /* of this store in its pool */
        char *plugin;           /* empty: where it was installed */
        char *index;            /* of searches: "on" or "off" */
        uint64_t index_text;    /* bytes of a message's text that go into it at most */
    } store;
    struct {
        char *certificate, *key; /* PEM files */
        char *ca_file;           /* authorities, in PEM; empty: the system's, CONF_AUTHORITIES */
    } tls;
    struct {
        struct conf_list resolver; /* "address:port"; empty: the system's */
        char *trust_anchor;        /* a file, or "none"; empty: the system's, if any */
        uint64_t cache;            /* bytes */
    } dns;
    struct {
        uint64_t fetch_time, age_max; /* seconds: of a whole fetch; that a policy holds */
        uint64_t domains, memory;     /* in memory; bytes of their policies */
    } mta_sts;
    struct {
        struct conf_list smtp, submission, submissions, pop3, pop3s, imap, imaps,
            admin;                 /* "address:port" */
        struct conf_list lmtp;     /* the same, or the path of a Unix socket */
        struct conf_list sendmail; /* paths of Unix sockets, for users of this machine */
    } listen;
    struct {
        char *key; /* the file that keys which sign mail are sealed for */
    } dkim;
    struct {
        char *vrfy;            /* "off", "on": VRFY tells who lives here */
        char *success_reports; /* for mail from other hosts: "none", "100/h" */
    } smtp;
    struct {
        char *from;         /* "own": From and Sender belong to who submits; "any" */
        char *send_limit;   /* of accounts that have nothing else: "none", "100/h,500/d" */
        uint64_t send_ramp; /* seconds until an account has all of its limit */
        uint64_t hold_max;  /* seconds that FUTURERELEASE may ask for; 0: it is not offered */
    } submission;
    struct {
        struct conf_list trusted; /* names of users who may name any sender */
    } sendmail;
    struct {
        struct conf_list accept; /* domains that are held and passed on */
        struct conf_list source; /* IP addresses */
        struct conf_list avoid;  /* networks where DNS may not lead */
        uint64_t retry_first, retry_max, retry_greylisted, delay_notice, expire; /* seconds */
        uint64_t connections;                           /* to all hosts; 0: nothing is sent */
        uint64_t per_host;                              /* to one address */
        uint64_t per_connection;                        /* messages */
        uint64_t recipients;                            /* of a transaction */
        uint64_t memory;                                /* bytes, of recipients that are due */
        uint64_t idle_time, connect_time, command_time; /* seconds */
        uint64_t lookup_least;     /* seconds that an answer of DNS is used at least */
        struct conf_route *routes; /* n_routes, each domain once */
        size_t n_routes;
    } relay;
    struct {
        uint64_t interval, retry_max, command_time, tell_after; /* seconds */
        uint64_t connections, per_account, idle; /* connections: at once, 0: nothing is collected */
        uint64_t accounts;                       /* elsewhere, of one here */
        uint64_t messages, message_size;
    } collect;
    struct {
        char *
            append_8bit; /* headers with bytes above 127: "enabled", who has enabled UTF-8; "any" */
        char *attachment_keywords; /* "on": deliveries say whether something is attached */
        uint64_t notify_names;     /* mailboxes named in one NOTIFY */
        uint64_t message_limit;    /* messages that one command processes */
        char *message_limit_of;    /* "all" commands, or "save": COPY and APPEND */
        char *uidonly;             /* "offered", or "withheld" */
        uint64_t search_mailboxes; /* that one ESEARCH looks at */
        uint64_t contexts;         /* searches kept up to date, of a session */
    } imap;
    struct {
        uint64_t keep;         /* seconds; 0: nothing is noted */
        uint64_t disk, memory; /* bytes */
    } trace;
    struct {
        enum conf_plaintext plaintext; /* where a password may come without TLS */
        uint64_t hash_ops, hash_memory;
        uint64_t hash_threads; /* logins computed at once */
        char *scram;           /* "on", "bound" (-PLUS too), "keys" (kept, not offered), "off" */
        uint64_t scram_iterations;
        /* Wrong passwords within failure_time seconds that block, for as long or longer. */
        uint64_t account_failures, address_failures, network_failures;
        uint64_t failure_time;
        uint64_t delay_max;       /* seconds that a refusal is held back at most */
        char *new_place;          /* a login from one: "mail" to its owner, "log", "off" */
        uint64_t new_place_mails; /* a day, to one owner */
    } auth;
    struct {                        /* logins by tokens of an issuer */
        char *issuer;               /* empty: none */
        char *keys_url, *keys_file; /* one of them, or neither: as the issuer says */
        struct conf_list audience, algorithms;
        char *address_claim;
        uint64_t leeway, fetch_time; /* seconds */
        char *logout;                /* "never", or "expiry" of the token */
    } oauth;
    struct {
        uint64_t message_size; /* bytes of one message */
        uint64_t recipients;   /* of one transaction */
        uint64_t connections;  /* in total */
        uint64_t per_address;  /* from one address */
        uint64_t per_account;  /* that are logged in to one account */
        uint64_t handshakes;   /* TLS handshakes under way */
        uint64_t handshakes_per_address;
        uint64_t compressed;   /* connections that compress */
        uint64_t memory;       /* bytes of messages being received, all together */
        uint64_t command_time; /* seconds a peer may take for a command */
        uint64_t data_time;    /* seconds without a byte of a message being received */
        uint64_t data_rate;    /* bytes a second that a message comes with at least */
        uint64_t login_delay;  /* seconds between two POP3 logins to an account */
        char *over_quota;      /* "later": 452, "refuse": 552 */
        uint64_t
            reload_time; /* seconds that a session may go on with the settings before a reload */
        struct conf_list proxies; /* networks of balancers that speak the PROXY protocol */
        struct conf_list trusted; /* networks without limits, delays and blocks per address */
    } limits;
    struct conf_origin *origin; /* conf's */
};

/* RC_SYNTAX: `why` gets lines of "file:line: what is wrong", in order: every unknown key and every
 * bad value, up to the first place where the file's form is broken. RC_NOTFOUND, RC_DENIED,
 * RC_TEMP: the file cannot be read. */
enum rc conf_load(const char *path, struct conf **out, struct buf *why);
/* The same with the text of a file, such as conf_show gives; `path` is what it is called, and the
 * folder that its paths start from. */
enum rc conf_parse(struct str text, const char *path, struct conf **out, struct buf *why);
void conf_free(struct conf **conf);

/* All that is in force, in the file's own form: parsed again it gives the same. */
void conf_show(const struct conf *conf, struct buf *out);

enum { CONF_WHERE = 4200 };
/* Where a member is set: "FILE:LINE", or "FILE" when it has its default. Returns out. */
const char *conf_where(const struct conf *conf, const void *member, char out[CONF_WHERE]);

/* Labels of letters, digits and hyphens with dots between [RFC1123 2.1]. */
bool conf_is_hostname(const char *text);

#endif
