/* pop3: serves the INBOX over POP3 [RFC1939], with CAPA and response codes [RFC2449], STLS
 * [RFC2595], the codes SYS and AUTH [RFC3206], SASL [RFC5034], UTF8 and LANG [RFC6856].
 *
 * A listener has `proto` = &pop3_proto and `app` = a struct pop3; POP3S is the same with is_tls.
 *
 * What a session promises its client: it sees the INBOX as it was at login, and what others expunge
 * meanwhile can still be retrieved; what it deleted goes at QUIT alone, after which +OK means that
 * it is durably gone; without QUIT nothing is deleted. One session an account: a second login is
 * told IN-USE; deliveries and IMAP never wait for it.
 *
 * The account's policy (struct auth_settings) may add to what QUIT does: what RETR has sent whole
 * is deleted too, or noted and deleted some days later (store_collected_expire).
 *
 * UIDL is what came with a message that was brought from elsewhere, so that nothing is collected
 * again; otherwise the mailbox's UIDVALIDITY and the message's UID, eight hexadecimal digits each.
 * Never two messages with the same one, never another one for the same message, whatever happens
 * between sessions, a restore from a backup included.
 *
 * Passwords are taken in TLS only, or on loopback when plaintext_on_loopback says so.
 */
#ifndef POP3_POP3_H
#define POP3_POP3_H

#include "auth/auth.h"
#include "net/net.h"
#include "store/store.h"

struct pop3;

struct pop3_conf { /* 0: the default */
    struct store *store;
    struct auth *auth;
    const char *hostname;       /* for the greeting; NULL: left out */
    bool plaintext_on_loopback; /* USER and PASS without TLS from 127.0.0.0/8 and ::1 */
    uint64_t login_ms;          /* from the connection to a successful login: 180,000 */
    uint64_t idle_ms;           /* without a command, after login: 600,000 [RFC1939 3] */
    uint32_t login_failures;    /* after so many the connection is closed: 5 */
    uint32_t errors;            /* the same for commands that are none: 20 */
    uint32_t
        login_delay_s;   /* between two logins to an account [RFC2449 6.5]; 0: none is asked for */
    const char *version; /* told in CAPA; NULL: not told */
};

/* The context, store, auth and the host's name stay until pop3_free, which comes after net_free. */
struct pop3 *pop3_new(const struct ctx *ctx, const struct pop3_conf *conf);
void pop3_free(struct pop3 **pop3);

extern const struct net_proto pop3_proto;

#endif
