/* imap: serves an account's mailboxes over IMAP4rev1 [RFC3501], with STARTTLS, LITERAL- and
 * LITERAL+ [RFC7888], SASL-IR [RFC4959], IDLE [RFC2177], and what the table in command.c lists.
 *
 * A listener has `proto` = &imap_proto and `app` = a struct imap; IMAPS is the same with is_tls
 * [RFC9051 11.2].
 *
 * What a session promises its client: the numbers of messages change only where the RFC allows it
 * [RFC3501 7.4.1] [RFC9051 7.5.1], and what has been expunged meanwhile can still be fetched until
 * the client has been told; a change is answered with OK when it is durable; what other sessions,
 * deliveries and POP3 change is told at the end of each command, and at once in IDLE.
 *
 * Passwords are taken in TLS only, or on loopback when plaintext_on_loopback says so.
 */
#ifndef IMAP_IMAP_H
#define IMAP_IMAP_H

#include "auth/auth.h"
#include "base/budget.h"
#include "index/index.h"
#include "mime/charset.h"
#include "net/net.h"
#include "store/store.h"

struct imap;

struct imap_conf { /* 0: the default */
    struct store *store;
    struct auth *auth;
    struct kv *kv;                        /* where bodies of APPEND go */
    const struct mime_charsets *charsets; /* for SEARCH */
    struct index *index;                  /* asked by SEARCH; NULL: there is none */
    struct budget *memory;                /* of messages on their way in; NULL: none is asked */
    bool takes_8bit_headers;              /* from clients that have not enabled UTF-8, too */
    bool plaintext_on_loopback;           /* LOGIN and PLAIN without TLS from 127.0.0.0/8 and ::1 */
    uint64_t login_ms;                    /* from the connection to a successful login: 180,000 */
    uint64_t idle_ms;          /* without a command: 1,800,000 [RFC3501 5.4] [RFC9051 5.4] */
    uint64_t keepalive_ms;     /* in IDLE, between two signs of life: 240,000 */
    uint64_t progress_ms;      /* between two words of a command that takes long: 10,000
                                  [RFC9585 4] */
    uint32_t login_failures;   /* after so many the connection is closed: 5 */
    uint32_t errors;           /* the same for commands that are none: 20 */
    uint64_t message_size;     /* of an appended message: 50 MB [RFC7889] */
    bool withholds_uidonly;    /* UIDONLY is neither told nor enabled */
    uint32_t message_limit;    /* messages that one command processes: 1,000,000
                                  [RFC9738] */
    bool limits_saving_only;   /* only COPY and APPEND have this limit */
    uint64_t search_memory;    /* of what searches keep of envelopes, in all: 64 MB */
    uint64_t command_size;     /* of any other command with its literals, after the login: 1 MB */
    uint32_t search_mailboxes; /* that one ESEARCH looks at: 1,000 [RFC7377 2.4] */
    uint32_t notify_names;     /* mailboxes named in one NOTIFY: 1,000 */
    uint32_t contexts;   /* searches that one session is told the changes of: 32 [RFC5267 4.3.1] */
    const char *version; /* told by ID; NULL: not told */
};

/* The context and all of the configuration stay until imap_free, which comes after net_free. */
struct imap *imap_new(const struct ctx *ctx, const struct imap_conf *conf);
void imap_free(struct imap **imap);

extern const struct net_proto imap_proto;

#endif
