/* smtpd, inside: the session and what its files share. */
#ifndef SMTPD_SMTPD_INT_H
#define SMTPD_SMTPD_INT_H

#include "auth/session.h"
#include "base/arena.h"
#include "mime/mime.h"
#include "smtp/smtp.h"
#include "smtpd/smtpd.h"

#include <stdatomic.h>

enum { SMTPD_INPUT = 64 << 10 }; /* bytes that net offers at once */

struct smtpd_service {
    const struct smtpd *smtpd;
    const struct role *role;
};

struct smtpd {
    const struct ctx *ctx;
    struct smtpd_conf conf; /* with its defaults filled in */
    struct smtpd_service services[SMTPD_ROLES];
};
/* One of conf->relay_domains, which smtpd_new has sorted. */
bool smtpd_is_relayed(const struct smtpd_conf *conf, struct str domain);

/* --- roles ------------------------------------------------------------------------------------ */

enum { /* bits, for the tables of commands and extensions */
       ROLE_MX = 1 << SMTPD_MX,
       ROLE_SUBMISSION = 1 << SMTPD_SUBMISSION,
       ROLE_LMTP = 1 << SMTPD_LMTP,
       ROLE_LOCAL = 1 << SMTPD_LOCAL,
       ROLE_SMTP = ROLE_MX | ROLE_SUBMISSION | ROLE_LOCAL,
       ROLE_ANY = ROLE_SMTP | ROLE_LMTP
};

struct role {
    unsigned bit;
    const char *protocol; /* in the greeting, and the beginning of Received's "with" [RFC3848] */
    const char *utf8_protocol; /* the same with SMTPUTF8 [RFC6531 4.3] */
    uint32_t line_max;         /* of a command, if that is more than the configuration has */
    bool wants_login;          /* nothing is taken before AUTH [RFC6409 4.3] */
    bool is_submission;        /* senders are checked, headers completed: submission.c */
    bool is_local;             /* the peer is a user of this machine: local.c */
    bool answers_each;         /* after a message, one reply for each recipient [RFC2033 4.2] */
    enum {
        OUTSIDE_NEVER,
        OUTSIDE_ACCEPTED, /* the domains that the configuration names */
        OUTSIDE_ANY
    } outside; /* recipients elsewhere that are taken */
};
extern const struct role smtpd_roles[SMTPD_ROLES];

enum { SMTPD_AUTH_LINE = 12288 }; /* bytes of a line of AUTH [RFC4954 4] */

/* --- replies ---------------------------------------------------------------------------------- */

enum smtpd_reply {
#define REPLY(id, code, status, text) SMTPD_##id,
#include "smtpd/replies.def"
#undef REPLY
    SMTPD_REPLIES
};

struct session;

void smtpd_reply_say(struct session *s, enum smtpd_reply reply);
void smtpd_reply_say_text(struct session *s, enum smtpd_reply reply,
                          struct str text); /* lines parted by '\n' */
/* What looking for a recipient, an exchange of AUTH, its login, and delivering came to. */
enum smtpd_reply smtpd_reply_of_lookup(enum rc rc);
enum smtpd_reply smtpd_reply_of_sasl(enum rc rc);
enum smtpd_reply smtpd_reply_of_login(enum rc rc);
enum smtpd_reply smtpd_reply_of_ending(enum auth_ending why); /* of a session, from outside */
enum smtpd_reply smtpd_reply_of_delivery(const struct session *s, enum rc rc);
/* Replies for one message are one error at most; `before`: the session's errors before them. */
void smtpd_reply_count_once(struct session *s, uint32_t before);
/* Appends "550 5.1.1 no such user"; the words of the table when there are no others. */
void smtpd_reply_put_words(enum smtpd_reply reply, struct str words, struct buf *out);
/* Adds reply="550 5.1.1" to a log line. */
void smtpd_reply_log(struct log_line *l, enum smtpd_reply reply);

/* --- a transaction: from MAIL to the answer after DATA ---------------------------------------- */

enum { SMTPD_ID_SIZE = 17 };

/* What MAIL says. */
struct envelope {
    struct str sender; /* plainest form; empty: the null path */
    uint64_t declared; /* SIZE=, 0: not said */
    bool is_8bit;      /* BODY=8BITMIME */
    bool is_binary;    /* BODY=BINARYMIME: not made of lines, only through BDAT */
    bool is_utf8;      /* SMTPUTF8: addresses and header may hold UTF-8 */
    bool requires_tls; /* REQUIRETLS: goes on by verified TLS only */
    uint64_t release;  /* FUTURERELEASE: not before, ns since 1970; 0: not asked for */
    char hold[64];     /* ... "for;3600", "until;2026-11-22T10:00:00Z" */
    enum smtp_ret ret;
    struct str envid; /* as it came, in xtext; absent: not said */
};

/* What RCPT says. */
struct recipient {
    struct str address;          /* as the sender gave it, plainest form */
    struct auth_targets targets; /* where its copies go; none: it is elsewhere */
    struct str domain;           /* elsewhere: lower case, A-labels, or a literal */
    struct str target;           /* elsewhere: where it goes instead of to the address; or absent */
    unsigned notify;             /* bits of enum smtp_notify; 0: not said */
    struct str orcpt;            /* as it came; absent: not said */
    size_t first, n;             /* those of the transaction's copies that it has brought */
};

struct transaction {
    struct arena arena;
    char id[SMTPD_ID_SIZE]; /* message= in log lines, and the id in Received */
    struct envelope envelope;
    struct recipient *recipients; /* in the order of RCPT; malloc'd, as the next */
    size_t n_recipients, recipients_capacity;
    /* Where the message goes, in the order of the recipients that brought them; each account once,
     * but for one whose success is asked for again: the second copy is never made, its report is.
     */
    struct queue_recipient *copies;
    size_t n_copies, copies_capacity;
    struct limit_subject limits[2]; /* whose sending is limited */
    size_t n_limits;
    bool is_counted; /* against them */
    bool is_vouched; /* its author has been checked, or may be believed */
    size_t n_asked;  /* RCPT commands, refused ones too */
};

/* Both copy what they are given into the transaction's memory; targets live there already. */
void smtpd_transaction_begin(struct session *s, const struct envelope *envelope);
void smtpd_transaction_end(
    struct session *s); /* forgets it, with its message; harmless without one */
/* RC_LIMIT: together they lead to more places than a message may go to. */
enum rc smtpd_transaction_add(struct session *s, const struct recipient *recipient);
/* It goes to one account alone, and nobody is told. */
bool smtpd_transaction_is_direct(const struct transaction *t);

/* Appends the address as the directory knows it: the domain in ASCII [RFC6531 3.2]. RC_SYNTAX,
 * RC_LIMIT, RC_TEMP. */
enum rc smtpd_lookup_write(const struct smtp_path *path, struct buf *out);

/* --- parameters of MAIL and RCPT -------------------------------------------------------------- */

struct parameter {
    struct str name;
    /* Puts the value where it belongs; absent without "=". SMTPD_OK, or what to say. */
    enum smtpd_reply (*take)(struct session *s, struct str value, void *into);
};
/* All that stand in args; the first reply that is not SMTPD_OK ends it. */
enum smtpd_reply smtpd_parameters_take(struct session *s, struct str args,
                                       const struct parameter *rows, size_t n_rows, void *into);

/* Whether a copy for this recipient goes to the account. */
bool smtpd_recipient_has(const struct recipient *r, uint64_t account);

/* --- a message: from DATA or the first BDAT to its answer ------------------------------------- */

enum message_stage {
    MESSAGE_RECEIVING,
    MESSAGE_PAUSED,     /* between two chunks: the next command is awaited */
    MESSAGE_COMPLETE,   /* its last byte has been read */
    MESSAGE_FINISHED,   /* the blob is whole, deliver has not taken it yet */
    MESSAGE_DELIVERING, /* deliver has it, until its last part is done */
    MESSAGE_SETTLED     /* logged and counted; nothing is held any more */
};

/* What is made of a message while it comes in; see summary.c. */
enum summary_state {
    SUMMARY_NONE, /* it is made, or will not be */
    SUMMARY_HELD, /* nothing but our own fields has been parsed */
    SUMMARY_OPEN
};

struct summary {
    enum summary_state state;
    struct mime_parser parser;
    struct hand *hand;
    struct hand_key key; /* from SUMMARY_OPEN on */
    struct buf text;     /* empty: there is none */
};

struct message {
    enum message_stage stage;
    struct smtp_data data;
    struct kv_blob_out *blob;  /* while receiving; NULL once it is refused */
    struct kv_blob_id blob_id; /* from MESSAGE_FINISHED on, ours to forget */
    struct buf head;           /* a copy of the header, up to HEAD_MAX bytes of it */
    bool is_head_whole;
    bool is_head_written; /* where it is held back until it is whole */
    bool is_unparsed;     /* the server crashed at its header twice */
    bool is_refused;
    enum smtpd_reply refusal; /* when refused */
    uint64_t bytes;           /* of the message as it came, without our fields */
    char end[2];              /* the last two that were kept */
    struct summary summary;
    uint64_t charged;        /* taken from the budget */
    uint64_t begun, refused; /* monotonic */
    struct deliver_message deliver;
    struct part *parts; /* in the transaction's arena; NULL: not handed over yet */
    size_t n_parts;
    _Atomic size_t n_pending; /* parts that are not done */
    struct net *net;          /* what the last of them resumes */
    struct net_handle handle;
};

/* What comes after a command or a part of a message. */
enum flow {
    FLOW_NEXT,  /* the next command */
    FLOW_READ,  /* more input is needed */
    FLOW_BLOCK, /* the same again where it may wait; the command has not been answered and stays in
                   the input */
    FLOW_WAIT,  /* until the session is resumed */
    FLOW_TLS,
    FLOW_CLOSE
};

/* Makes s->message; one for which there is no memory or disk is refused from the beginning. Says
 * nothing. */
void smtpd_message_open(struct session *s);
/* Takes what there is of it; at the end delivers and answers. Not while it is paused. */
enum flow smtpd_message_step(struct session *s);
/* Ends one that will never be complete: says why it is refused. */
enum flow smtpd_message_cut(struct session *s);
/* Gives up what is under way; one that is durable stays so. Frees it. */
void smtpd_message_free(struct session *s);

/* --- handover.c: to deliver, in one part or one for each recipient ---------------------------- */

/* FLOW_BLOCK, FLOW_WAIT, or FLOW_NEXT: all is done. */
enum flow smtpd_handover_step(struct session *s, struct message *m);
/* What came of it for a recipient; of RC_OK or else the first thing that failed. */
enum rc smtpd_handover_result(const struct session *s, size_t recipient);
/* Say it, or that the message is refused: once, or once for each recipient [RFC2033 4.2]. */
void smtpd_handover_answer(struct session *s);
void smtpd_handover_refuse(struct session *s, enum smtpd_reply reply);

/* --- summary.c: ENVELOPE and BODYSTRUCTURE, while the message comes in ------------------------ */

/* With our own fields, which stand in front of the message. Without this call there is none, as for
 * one that goes elsewhere only. */
void smtpd_summary_begin(struct message *m, struct str trace);
/* The header is whole; `written` is what of the message has been stored before. */
void smtpd_summary_open(struct session *s, struct message *m, struct str written);
/* Under which the message is noted as work in hand. */
struct hand_key smtpd_summary_key(const struct session *s, const struct message *m);
void smtpd_summary_feed(struct message *m, struct str bytes); /* what is stored */
void smtpd_summary_finish(struct message *m);                 /* that was all */
struct str smtpd_summary_of(const struct message *m);         /* absent: there is none */
uint64_t smtpd_summary_memory(const struct message *m);
void smtpd_summary_end(struct message *m); /* at any time */

/* --- intake.c: the bytes of a message, into its blob ------------------------------------------ */

/* A chunk whose octets are still to come [RFC3030 2]. */
struct chunk {
    bool is_open;
    bool is_useless; /* empty and not the last: allowed, but not for ever */
    bool is_stray;   /* there is no message that it could belong to */
    struct smtp_chunk at;
    enum smtpd_reply refusal; /* of a stray one */
    uint64_t passed_over;     /* octets of a stray one */
    uint64_t begun;           /* monotonic */
};

void smtpd_intake_begin(struct message *m);
/* Keeps bytes, and remembers how they end. */
enum rc smtpd_intake_write(struct message *m, struct str piece);
bool smtpd_intake_is_ended(const struct message *m); /* what was kept ends with CRLF */
/* Take what there is of a message after DATA, or of a chunk. FLOW_NEXT: it is whole; FLOW_READ,
 * FLOW_BLOCK; FLOW_CLOSE: it is far too long. */
enum flow smtpd_intake_data(struct session *s, struct message *m);
enum flow smtpd_intake_chunk(struct session *s);
/* Writes a header that is held back still: the message has ended within it. */
/* The last of its bytes has come; before anything is made of them. Again is no harm. */
void smtpd_intake_end(struct session *s, struct message *m);
enum rc smtpd_intake_flush(struct session *s, struct message *m);
/* Nothing more of the message is kept; what is still to come is passed over. */
void smtpd_intake_refuse(struct session *s, struct message *m, enum smtpd_reply reply);
/* Memory, from the budget: up to `need` bytes in all; false when there is too little. */
bool smtpd_intake_charge(struct session *s, struct message *m, uint64_t need);
void smtpd_intake_discharge(struct session *s, struct message *m);
/* The time that a message or chunk under way has left to make progress, in ms. */
uint64_t smtpd_intake_patience(const struct session *s);

/* --- submission.c: whose a message is, and what its header lacks [RFC6409] -------------------- */

/* Says the answer to MAIL, or FLOW_BLOCK; the transaction stays when the sender may be used. */
enum flow smtpd_submission_sender(struct session *s);
/* The same for a sender that may be used, if the limits allow one more message. */
enum flow smtpd_submission_limited(struct session *s);
/* Writes the header, completed. */
enum rc smtpd_submission_write(struct session *s, struct message *m, struct str header);
struct header_facts;
/* Whether its authors are the login's. RC_SYNTAX, RC_DENIED; RC_AGAIN where nothing may wait;
 * RC_TEMP and the like. Adds the Message-ID that smtpd_submission_write has made to the facts. */
enum rc smtpd_submission_check(struct session *s, struct str header, struct header_facts *facts);
enum smtpd_reply smtpd_reply_of_authors(enum rc rc);

/* --- limits.c: how much an account may send --------------------------------------------------- */

/* Whether one more message, or (not at MAIL, where there is none) this recipient of it is within
 * the limits. RC_LIMIT: it is not, and the answer has been said. RC_AGAIN, RC_TEMP. */
enum rc smtpd_limits_ask(struct session *s, struct str recipient, unsigned flags);
/* Counts the message that is complete, once. RC_LIMIT: too many came at once. RC_AGAIN, RC_TEMP. */
enum rc smtpd_limits_take(struct session *s, unsigned flags);
void smtpd_limits_give(struct session *s); /* it was not taken after all */
bool smtpd_limits_apply(const struct session *s);
/* Counts one report of success for another host's mail. RC_LIMIT: there are too many. RC_AGAIN,
 * RC_TEMP. */
enum rc smtpd_limits_report(struct session *s, unsigned flags);

/* --- header.c: the trace fields that are put in front, and what is looked for in the header --- */

void smtpd_header_write(struct session *s, struct buf *out);

struct header_facts {
    uint32_t hops;              /* Received fields */
    uint32_t own_hops;          /* those that this host wrote */
    struct str message_id;      /* absent when there is none; as the references in the arena */
    struct str delivered_to[8]; /* values of Delivered-To: where it has been */
    size_t n_delivered_to;
    struct str *references; /* References, then In-Reply-To; the nearest last */
    size_t n_references;
    bool is_tls_optional; /* TLS-Required: No */
};
void smtpd_header_read(struct str header, struct str hostname, struct arena *arena,
                       struct header_facts *out);

/* --- local.c: users of this machine ----------------------------------------------------------- */

void smtpd_local_open(struct session *s); /* who it is */
bool smtpd_local_is_trusted(const struct session *s);
/* Gives the transaction its sender, whatever MAIL said, and says the answer. */
enum flow smtpd_local_sender(struct session *s);
/* As smtpd_submission_check. */
enum rc smtpd_local_check(struct session *s, struct str header, struct header_facts *facts);
/* Where mail for NAME@HOSTNAME goes when the host's name is no domain of ours: to NAME in the
 * nearest domain above it that is, or to its postmaster. As auth_resolve. */
enum rc smtpd_local_resolve(struct session *s, struct str address, unsigned flags,
                            struct auth_targets *out);
/* "alice@mail.example.org", in the arena. */
struct str smtpd_local_address(struct session *s);

/* --- trace.c: for who asks later what became of a message ------------------------------------- */

/* What came of handing it over, for each recipient. */
void smtpd_trace_settled(struct session *s, const struct message *m);
/* A recipient was refused; absent: the sender, or the message for all its recipients. In the words
 * of the table, or others. */
void smtpd_trace_refused(struct session *s, struct str to, enum smtpd_reply reply);
void smtpd_trace_refused_saying(struct session *s, struct str to, enum smtpd_reply reply,
                                struct str words);
/* The session has ended in the middle of its message. */
void smtpd_trace_incomplete(struct session *s);
/* MAIL was refused, and there is no transaction. */
void smtpd_trace_no_sender(struct session *s, struct str sender, enum smtpd_reply reply);

/* --- sessions --------------------------------------------------------------------------------- */

enum state {                       /* bits, for the table of commands */
             STATE_START = 1,      /* no EHLO or HELO yet */
             STATE_READY = 2,      /* no transaction */
             STATE_SENDER = 4,     /* after MAIL */
             STATE_RECIPIENTS = 8, /* after at least one RCPT that was accepted */
             STATE_CHUNKS = 32,    /* after the first BDAT */
             STATE_ANY = 47,
             AFTER_LOGIN = 16 /* in a role that wants one */
};

struct session {
    struct conn *conn;
    const struct smtpd *smtpd;
    const struct role *role;
    struct exchange *exchange;                 /* of AUTH; NULL: none */
    uint64_t account;                          /* whose login it is */
    unsigned char credential[AUTH_CREDENTIAL]; /* and by which password */
    uint32_t login_failures;
    const struct smtpd_user *user; /* of this machine; NULL: not known, or not that role */
    uint32_t uid;                  /* in that role */
    struct auth_session *entry;    /* among those who are logged in */
    char *login;                   /* as whom the peer has logged in; NULL: it has not */
    char *helo;                    /* what the peer calls itself; NULL before it has */
    bool is_esmtp;                 /* by EHLO */
    bool is_draining;
    bool is_kicked; /* somebody else wants it to end: once the answer that is due is given */
    bool has_moved; /* a command was answered since the deadline was set */
    uint32_t errors, idle_commands;
    struct smtp_lines lines;
    struct transaction *transaction; /* NULL: none */
    struct message *message;         /* NULL: none; only with a transaction */
    struct chunk chunk;
};

void smtpd_session_reset(struct session *s); /* as if just connected: after STARTTLS */
void smtpd_session_log(struct session *s, struct log_line *l,
                       const char *event); /* with message= and from= */

struct command {
    struct str verb;
    unsigned roles, states;
    enum { ARG_NONE, ARG_OPTIONAL, ARG_REQUIRED } argument;
    bool is_useful;
    enum flow (*run)(struct session *s, struct str args);
    const char *rfc;
};
extern const struct command smtpd_commands[];
extern const size_t smtpd_n_commands;

/* --- cmd_auth.c: an exchange of AUTH, from the command to its answer [RFC4954] ---------------- */

bool smtpd_auth_is_offered(const struct session *s);
void smtpd_auth_put(const struct session *s, struct buf *out); /* " PLAIN LOGIN" */
enum flow smtpd_auth_step(struct session *s);                  /* with an exchange under way */
void smtpd_auth_end(struct session *s);                        /* the exchange; harmless without */
void smtpd_auth_forget(struct session *s);                     /* the login as well */

/* SMTPD_OK when a command for these states may come now; otherwise what is missing, or too much. */
enum smtpd_reply smtpd_command_order(const struct session *s, unsigned states);
/* Takes one command off the input and carries it out. */
enum flow smtpd_command_step(struct session *s);

#define CMD(verb, roles, states, argument, is_useful, handler, rfc)                                \
    enum flow smtpd_cmd_##handler(struct session *s, struct str args);
#include "smtpd/cmds.def"
#undef CMD

#endif
