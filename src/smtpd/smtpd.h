/* smtpd: the server's side of SMTP [RFC5321]: receives mail for the addresses that live here.
 *
 * Protocols for net: make a struct smtpd; a listener gets smtpd_protos[role] and, as `app`, the
 * smtpd_service of that role. What a role is, which commands and extensions it has, is said by
 * tables (role.c, cmds.def, cmd_ehlo.c).
 * Sessions run on net's loops; what would wait for a disk goes to the short lane, commits are
 * waited for without a thread.
 *
 * A message goes from the loop's input into a blob, with Return-Path and Received written in front,
 * and is acknowledged when deliver says that it is durable, never before. Mail for domains that are
 * not ours is taken from those who live here, after their login; from others only for the domains
 * that the configuration names (a backup MX). All other is refused at RCPT.
 *
 * Offered: PIPELINING [RFC2920], SIZE [RFC1870], 8BITMIME [RFC6152], BINARYMIME and CHUNKING
 * [RFC3030], SMTPUTF8 [RFC6531], LIMITS [RFC9422], ENHANCEDSTATUSCODES [RFC2034], STARTTLS
 * [RFC3207], AUTH [RFC4954] and FUTURERELEASE [RFC4865] for submission, DSN [RFC3461], HELP.
 *
 * THREADS: smtpd_new and smtpd_free are for the process's start and end. In between nothing of a
 * struct smtpd changes but the budget, which is safe for threads.
 */
#ifndef SMTPD_SMTPD_H
#define SMTPD_SMTPD_H

#include "auth/auth.h"
#include "base/budget.h"
#include "deliver/deliver.h"
#include "kv/kv.h"
#include "limit/limit.h"
#include "net/net.h"
#include "task/hand.h"

struct smtpd;
struct trace;

/* A user of this machine. */
struct smtpd_user {
    uint32_t uid;
    const char *name;
    bool is_trusted; /* may name any sender */
};

/* Every number has a default when 0. */
struct smtpd_conf {
    struct str hostname; /* in the greeting, replies and Received; copied */

    uint64_t message_size; /* bytes of a message as it comes: 50 MB */
    uint32_t recipients;   /* of one message: 100; at most QUEUE_RECIPIENTS */
    uint32_t command_line; /* bytes of a command with its CRLF: 1024, twice what [RFC5321 4.5.3.1.4]
                              asks for */
    uint32_t text_line; /* bytes of a line of a message: 64 KB; [RFC5321 4.5.3.1.6] asks for 1000,
                           real mail for more */
    uint32_t hops;      /* Received fields of a message that does not loop: 100 [RFC5321 6.3] */
    uint32_t errors;    /* 5yz replies in a session, then 421: 20 */
    uint32_t idle_commands;  /* commands since the last message that did not help to send one, then
                                421: 100 */
    uint32_t login_failures; /* of a session, then 421: 5 */
    bool is_any_from;        /* submitted messages may have any From and Sender */
    bool plaintext_on_loopback; /* passwords without TLS from this machine */
    uint64_t command_ms;        /* wait for a command: 300,000 [RFC5321 4.5.3.2.7] */
    uint64_t data_ms;           /* wait for the next bytes of a message: 300,000 */
    uint64_t
        data_rate; /* bytes a second that a message must come with, once data_ms has passed: 1024 */

    bool may_send;                   /* submission takes recipients elsewhere */
    const struct str *relay_domains; /* n of them: taken from everybody; A-labels, in any case and
                                        order. The list is copied, the texts outlive the sessions */
    size_t n_relay_domains;

    struct limit *limit;                /* counts what is submitted; NULL: no limits */
    struct limit_rates send_limits;     /* of accounts that have nothing else */
    struct limit_rates success_reports; /* that other hosts may ask for, all of them together */
    uint64_t send_ramp_s;               /* until an account has all of its limit; 0: at once */
    uint64_t hold_s; /* FUTURERELEASE: how long submitted mail may be held; 0: it is not offered */
    const struct smtpd_user *users; /* n of them, by uid; outlive the sessions */
    size_t n_users;

    bool over_quota_refuses; /* 552 5.2.2 for a full mailbox, instead of 452 4.2.2 */
    bool vrfy;               /* VRFY tells who lives here */

    struct kv *kv; /* the four outlive the sessions */
    struct auth *auth;
    struct deliver *deliver;
    struct trace *trace;   /* who handed what in; NULL: nobody asks */
    struct hand *hand;     /* where messages that are parsed are noted; NULL: nowhere */
    struct budget *memory; /* for messages on their way through memory, shared with others; NULL:
                              not limited */
};

struct smtpd *smtpd_new(const struct ctx *ctx, const struct smtpd_conf *conf);
void smtpd_free(struct smtpd **smtpd); /* no session may be open */

enum smtpd_role {
    SMTPD_MX,         /* from other hosts */
    SMTPD_SUBMISSION, /* from the mail programs of those who live here [RFC6409] */
    SMTPD_LMTP,       /* from another mail system of this machine [RFC2033] */
    SMTPD_LOCAL,      /* from users and scripts of this machine, by a Unix socket */
    SMTPD_ROLES
};
extern const struct net_proto smtpd_protos[SMTPD_ROLES];

struct smtpd_service; /* a server in one of its roles */
struct smtpd_service *smtpd_service(struct smtpd *smtpd, enum smtpd_role role); /* smtpd's */

#endif
