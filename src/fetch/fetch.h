/* fetch: mail from accounts elsewhere - the client's side of POP3 [RFC1939] and IMAP [RFC3501]
 * [RFC9051] on net's outgoing connections.
 *
 * A session is one connection to one account. It logs in, says what is there, and fetches what its
 * owner wants; the owner takes the bytes as they come, says when they are safe, and only then lets
 * them be deleted elsewhere. Nothing here knows where the mail goes.
 *
 * Everything that comes is hostile: lines, counts, numbers, sizes and times are bounded
 * (fetch_limits), bodies are handed on in pieces, and what a host does wrong ends the session with
 * one cause in words that are safe to show.
 *
 * A password is said in TLS only, or in clear to this machine itself where that was asked for. TLS
 * must show a certificate for the host's name.
 *
 * THREADS. The owner is called by one thread at a time, but over() on the connection's loop; where
 * it says so it may block. Any thread may call fetch_open, fetch_resume and fetch_stop.
 */
#ifndef FETCH_FETCH_H
#define FETCH_FETCH_H

#include "net/net.h"

struct dns;
struct fetch_session;

enum fetch_protocol { FETCH_POP3, FETCH_IMAP }; /* stored: the numbers stay, as the next ones */
enum fetch_tls { FETCH_TLS_IMPLICIT, FETCH_TLS_STARTTLS, FETCH_TLS_NONE };

uint16_t fetch_port(enum fetch_protocol protocol, enum fetch_tls tls); /* the usual one */

enum {
    FETCH_ADDRESSES = 8,
    FETCH_TEXT = 200,    /* bytes of a cause */
    FETCH_NAME_MAX = 255 /* bytes of a folder's name */
};

struct fetch_place {
    enum fetch_protocol protocol;
    enum fetch_tls tls;
    struct str host; /* a name, or an address */
    uint16_t port;
    struct str login, password;
};

struct fetch_limits {       /* 0: the default */
    uint64_t connect_ms;    /* 30,000 */
    uint64_t command_ms;    /* until an answer is whole; of a message a second for each KB more:
                               60,000 */
    uint64_t message_bytes; /* larger ones are not fetched: 50 MB */
    uint32_t messages;      /* in one mailbox elsewhere: 100,000 */
    uint32_t folders;       /* of an account elsewhere that are looked at: 1,000 */
    uint64_t idle_ms;       /* after which one that stays looks at all folders: 25 minutes */
    bool idles; /* IMAP: stays and is told of new mail, where that is offered [RFC2177] */
};

struct fetch_folder { /* IMAP */
    struct str name;  /* in UTF-8, levels with '/'; "INBOX" in capitals */
    struct str raw;   /* as it is called there */
    struct str use;   /* "\Sent", "\Junk", ... [RFC6154]; empty: none */
    uint32_t uidvalidity;
};

struct fetch_item {
    uint32_t number; /* POP3: of this session; IMAP: the UID */
    struct str uidl; /* POP3 */
    bool is_twin;   /* POP3: another message bears the same UIDL: one of them may never have come */
    uint64_t size;  /* as the host says; 0: it does not */
    uint64_t date;  /* IMAP: internal date, ns since 1970; 0: unknown */
    uint32_t flags; /* IMAP: enum fetch_flag */
};
enum fetch_flag { /* as the store's */
                  FETCH_SEEN = 1,
                  FETCH_ANSWERED = 2,
                  FETCH_FLAGGED = 4,
                  FETCH_DELETED = 8,
                  FETCH_DRAFT = 16
};

enum fetch_want { FETCH_LEAVE, FETCH_TAKE, FETCH_DELETE };

struct fetch_end {
    /* RC_OK: all that was wanted has been fetched. RC_DENIED: the login was refused for good.
     * RC_PERM: this host is of no use as it is. RC_TEMP: all else. RC_LIMIT, RC_FULL, ...: what the
     * owner has said. */
    enum rc rc;
    char text[FETCH_TEXT + 1]; /* the cause, with the host's words; printable */
    bool is_connected;
};

/* All but over() may block. What is not RC_OK ends the session with that. */
struct fetch_owner {
    /* IMAP: which folders are to be looked at; wants is all false at first. */
    enum rc (*folders)(struct fetch_owner *o, const struct fetch_folder *folders, size_t n,
                       bool *wants);
    /* IMAP: a folder is open. *from: the first UID that the owner wants to hear of. */
    enum rc (*folder)(struct fetch_owner *o, const struct fetch_folder *folder, uint32_t *out_from);
    /* What is to become of messages, in order of their numbers; all are FETCH_LEAVE at first. */
    enum rc (*want)(struct fetch_owner *o, const struct fetch_item *items, size_t n,
                    enum fetch_want *out);
    /* A message: begin, its bytes with CRLF at the ends of lines, end. RC_AGAIN from end: it has
     * been taken, and no more is wanted until fetch_resume. drop: what was begun does not come
     * whole. */
    enum rc (*begin)(struct fetch_owner *o, const struct fetch_item *item);
    enum rc (*bytes)(struct fetch_owner *o, struct str bytes);
    enum rc (*end)(struct fetch_owner *o, const struct fetch_item *item);
    void (*drop)(struct fetch_owner *o);
    /* All of this mailbox has been fetched. RC_AGAIN: not all of it is safe yet, until
     * fetch_resume; then it is called again. */
    enum rc (*flush)(struct fetch_owner *o);
    /* Of one that was fetched and flushed: whether it may be deleted there now. */
    bool (*may_delete)(struct fetch_owner *o, const struct fetch_item *item);
    /* The host has taken all deletions of this mailbox. */
    enum rc (*deleted)(struct fetch_owner *o);
    /* IMAP: all folders were looked at, and the session waits to be told of new mail. */
    enum rc (*idle)(struct fetch_owner *o);
    /* The last call, exactly once: on the loop, must not block. The session is gone behind it. */
    void (*over)(struct fetch_owner *o, const struct fetch_end *end);
};

struct fetch_house { /* outlives all sessions */
    const struct ctx *ctx;
    struct net *net;
    struct net_tls_client *tls;
};

/* Addresses of a host. `avoid`: where a name may not lead. RC_NOTFOUND: it has none; RC_TEMP;
 * RC_DENIED: it leads to what is avoided. The cause is in `why`. Blocks, up to 20 s for each kind
 * of address; dns NULL: only what is an address itself. */
enum rc fetch_resolve(struct dns *dns, struct str host, uint16_t port, const struct net_cidr *avoid,
                      size_t n_avoid, struct net_addr out[FETCH_ADDRESSES], size_t *out_n,
                      char why[FETCH_TEXT + 1]);

/* RC_OK: over() will come. Otherwise it will not: RC_LIMIT: too many connections; RC_TEMP. The
 * place and what it points to are copied. */
enum rc fetch_open(const struct fetch_house *house, const struct fetch_place *place,
                   const struct net_addr *addresses, size_t n, const struct fetch_limits *limits,
                   struct fetch_owner *owner, struct fetch_session **out);
/* Ends a wait that began with RC_AGAIN, once for each. Before over(). */
void fetch_resume(struct fetch_session *session);
/* Ends the session soon; one that idles looks at all folders first when is_again. Before over(). */
void fetch_stop(struct fetch_session *session);
void fetch_again(struct fetch_session *session);

#endif
