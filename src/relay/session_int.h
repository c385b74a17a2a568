/* A session as its files see it: one connection to one host, and one job at a time.
 *
 *   session.c         its beginning and end, what comes in, what happens next
 *   session_hello.c   greeting, EHLO, TLS, login
 *   session_mail.c    a transaction: commands, their answers, who gets which outcome
 *   session_body.c    the message's bytes: DATA and BDAT, what must be known of them before
 *
 * Everything outside `mutex` belongs to the owner of the connection in the sense of net.h, so no
 * two threads are in these files at once for one session. */
#ifndef RELAY_SESSION_INT_H
#define RELAY_SESSION_INT_H

#include "relay/relay_int.h"

#include "kv/kv.h"
#include "smtp/smtp.h"

#include <pthread.h>

/* Which answer is waited for. */
enum wait {
    WAIT_NOTHING, /* nothing has been asked */
    WAIT_GREETING,
    WAIT_EHLO,
    WAIT_HELO,
    WAIT_STARTTLS,
    WAIT_LOGIN,    /* AUTH, all of it or its first line */
    WAIT_NAME,     /* AUTH LOGIN asks for */
    WAIT_PASSWORD, /* and then for */
    WAIT_COMMAND,  /* of a transaction: RSET, MAIL, RCPT, DATA */
    WAIT_END,      /* to the whole message */
    WAIT_COUNT
};

/* The commands of a transaction have numbers, in order. */
enum { COMMAND_RSET, COMMAND_MAIL, COMMAND_RCPT };

struct session_mail {
    uint16_t *members; /* the recipients of this transaction, by their numbers in the job */
    size_t n;
    size_t sent, answered; /* commands: the next one to be sent, to be answered */
    size_t accepted;       /* recipients */
    size_t ended;          /* LMTP: of them, those that have had their last answer */
    bool is_refused;       /* MAIL: nothing else matters */
    bool is_data_taken;    /* 354 */
};

struct session_body {
    struct kv_blob_in *blob;
    uint64_t skip, at, size; /* of the blob: what is left out at its beginning, read until now */
    struct smtp_stuff stuff;
    bool is_chunk;      /* BDAT */
    bool is_streaming;  /* on its way */
    bool is_end_sent;   /* all of it has been handed to net */
    bool wants_look;    /* it must be read before, for what is not ASCII */
    bool was_looked_at; /* and has been: */
    bool has_8bit, has_8bit_header;
};

struct relay_session {
    pthread_mutex_t mutex;
    struct relay_job *next; /* given, and not taken yet */
    bool is_dead;           /* there is no connection any more */
    bool is_closing;        /* relay_session_close */
    bool was_given;         /* a job, or its end */
    struct task_job end;    /* of one that could not be made */
    bool has_handle;
    bool is_telling; /* done() of a job runs, on this thread: it may give the next job */
    pthread_t teller;
    struct net_handle handle;

    const struct relay_house *house;
    struct relay_session_owner *owner;
    struct arena memory;
    struct relay_target target; /* its texts are in memory */
    struct net_tlsa *tlsa;
    struct str hostname;
    char *path; /* of a Unix socket */
    uint64_t command_ms, connect_ms;

    enum wait wait;
    struct smtp_answer answer;
    struct smtp_hello hello;
    struct relay_facts facts;
    struct relay_outcome failure; /* why it ends; its text is below */
    char failure_text[RELAY_TEXT_MAX + 1];
    bool has_failed;
    bool is_ready;
    bool in_clear;     /* TLS is not tried (again) */
    bool has_no_proof; /* the certificate that was tried for does not hold */
    bool needs_reset;  /* a transaction is open */
    bool was_used;     /* by an earlier job */

    struct relay_job *job;
    uint64_t job_until; /* by the monotonic clock */
    bool is_answered;   /* something of this job has been */
    uint32_t mails;     /* transactions */
    struct session_mail mail;
    struct session_body body;
};

/* --- session.c */

/* Ends the session, for a reason that its job is told; the first one counts. Returns NET_ABORT. A
 * status of class 5 is for good, all else may pass. */
enum net_step session_fail(struct relay_session *s, const struct relay_outcome *why);
enum net_step session_fail_text(struct relay_session *s, enum relay_stage stage, const char *status,
                                const char *text);
/* For the reply at hand, with words before it; never worse than temporary when is_soft. */
enum net_step session_fail_reply(struct relay_session *s, enum relay_stage stage, bool is_soft,
                                 const char *before);
enum net_step session_say_goodbye(struct conn *c); /* QUIT */
void session_wait(struct conn *c, struct relay_session *s, enum wait wait);
enum relay_stage session_stage(const struct relay_session *s);
void session_job_done(struct relay_session *s); /* the outcomes stand */
uint64_t session_now(const struct relay_session *s);

/* --- session_hello.c: what comes of an answer. NET_READ: go on. */
enum net_step session_hello_begin(struct conn *c, struct relay_session *s); /* connected, or TLS */
enum net_step session_hello_answer(struct conn *c, struct relay_session *s);
void session_tls_want(const struct relay_session *s, struct net_tls_want *out);
bool session_tls_is_needed(const struct relay_session *s);
/* The status of there being no TLS, or not the right one: for good when the messages require it. */
const char *session_tls_status(const struct relay_session *s, const char *usual);

/* --- session_mail.c */
enum net_step session_mail_answer(struct conn *c, struct relay_session *s); /* to a command */
enum net_step session_mail_end(struct conn *c, struct relay_session *s);    /* to the message */
enum net_step session_mail_more(struct conn *c, struct relay_session *s);   /* sends what it may */
/* What became of recipient i. The text is kept for the job. */
void session_outcome(struct relay_session *s, size_t i, const struct relay_outcome *o);
void session_outcome_all(struct relay_session *s, const struct relay_outcome *o); /* undecided */

/* --- session_body.c */
/* RC_OK; RC_AGAIN: on a worker, please; anything else: it cannot be read. */
enum rc session_body_open(struct conn *c, struct relay_session *s);
enum rc session_body_look(struct conn *c, struct relay_session *s);
uint64_t session_body_size(const struct relay_session *s); /* as it will be sent, without dots */
void session_body_begin(struct conn *c, struct relay_session *s);
/* Sends more: RC_OK: all of it; RC_LIMIT: the output is full; RC_AGAIN, and others as above. */
enum rc session_body_more(struct conn *c, struct relay_session *s);
void session_body_close(struct relay_session *s);

#endif
