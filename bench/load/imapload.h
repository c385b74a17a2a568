/* What the files of imapload share: the load, its sessions, the commands they send.
 *
 * imapload.c      options, connections, the clock
 * imap_send.c     the commands
 * imap_read.c     responses taken out of the stream, and checked
 * imap_report.c   what is printed at the end */
#ifndef LOAD_IMAPLOAD_H
#define LOAD_IMAPLOAD_H
#include "bench.h"
#include "msggen.h"
#include "net.h"
#include <stdbool.h>
#include <sys/types.h>

enum op {
    OP_STARTTLS,
    OP_LOGIN,
    OP_COMPRESS,
    OP_ENABLE,
    OP_SELECT,
    OP_CHANGE, /* --changed messages, so that there is something to resync */
    OP_RESYNC,
    OP_SORT,
    OP_THREAD,
    OP_LEARN, /* which messages have the flag already, before the clock starts */
    OP_ENVELOPES,
    OP_BODY,
    OP_ALLBODIES,
    OP_STORE,
    OP_DELETE,
    OP_APPEND,
    OP_SEARCH,
    OP_SEARCH_TEXT,
    OP_EXPUNGE,
    OP_IDLE,
    OP_NOOP,
    OP_STATUS,
    OP_LOGOUT,
    OP_SESSION, /* connect to LOGOUT, as one */
    OP_COUNT
};

/* What FETCH responses a command has for messages of low..high. */
enum rows { ROWS_NONE, ROWS_TEXTS, ROWS_BODIES, ROWS_FLAGS };

enum phase {
    PHASE_UNOPENED,
    PHASE_GREETING,
    PHASE_STARTTLS,
    PHASE_LOGIN,
    PHASE_COMPRESS,
    PHASE_ENABLE,
    PHASE_SELECT,
    PHASE_CHANGE,
    PHASE_LEARN,
    PHASE_READY, /* waits for the others */
    PHASE_RUN,
    PHASE_HELD, /* in IDLE until all are let go */
    PHASE_LOGOUT,
    PHASE_OVER
};

struct progress { /* of the running command */
    uint32_t low, high, message, searches, found;
    uint32_t fetches, wanted; /* FETCH responses */
    bool has_exists, has_uidvalidity, has_continuation;
};

struct session {
    struct conn conn; /* first: epoll hands back a conn pointer */
    struct load *load;
    int id, user;
    enum phase phase;
    enum op op;
    unsigned tag;
    char tag_text[16];
    int tag_length;
    uint64_t sent_at, opened_at;
    size_t scanned, literal_at,
        literal_length; /* of the response being gathered; the first literal */
    unsigned n_literals;
    uint32_t exists, uidvalidity;
    uint64_t modseq;        /* before the changes */
    int changes;            /* made so far: off, on */
    unsigned char *ordered; /* a bit for each message that SORT or THREAD has named */
    struct progress seen;
    bool is_told;
    int parts_left; /* of a MULTIAPPEND */
    uint64_t seq;   /* of the message being appended */
    struct rng rng;
};

struct load {
    struct target target;
    struct cpusrc cpu;
    const char *mode, *mix, *prefix, *domain, *password, *mailbox, *size, *key, *flag;
    const char *on_held, *on_run, *then;
    int n_sessions, n_users, user_base, digits, is_verbose, timeout, multi, no_litplus, hold, ramp;
    int is_silent, is_examine, is_uid, expect, last, starttls, is_compressed, changed;
    size_t ops;
    double secs;

    struct session *sessions;
    struct msgpool pool;
    unsigned char **flagged; /* of each user: a bit for each message that has the flag */
    int only;                /* the op of this mode, -1: by weight */
    int weight[OP_COUNT], weights;
    uint64_t next_message; /* number of the next appended one */

    int next_open, opening, alive, ready, held, most_held, told;
    bool is_started;
    uint64_t started_at, cpu_at, own_cpu_at, received_at, last_at, stop_at, deadline, held_at,
        let_go_at, then_at;
    pid_t child;
    uint64_t ops_left, ops_done, errors, races, no_change, body_bytes, rows, found;
    struct hist hist[OP_COUNT], told_hist;
};

enum { MESSAGES_MAX = 1 << 20 }; /* of which is known what has been seen of them */

struct verb {
    const char *name;
    void (*send)(struct session *s); /* the command after its tag, into conn.out */
    enum rows rows;
    bool needs_messages;
};
extern const struct verb verbs[OP_COUNT];

/* imap_send.c */
void session_send(struct session *s, enum op op);     /* NOOP where the mailbox is empty */
void session_continue(struct session *s);             /* the rest, after "+" */
int flag_toggle(struct session *s, uint32_t message); /* the state it should have now */
void flag_set(struct session *s, uint32_t message);

/* imap_read.c: takes all complete responses out of conn.in. -1: the session is over. */
int session_read(struct session *s);
void session_error(struct session *s, const char *what, const char *line, size_t n);

/* imapload.c: the session's next step. -1: it is over. */
int session_greeted(struct session *s);
int session_answered(struct session *s, bool is_ok);
void session_held(struct session *s);
void session_told(struct session *s);
bool is_idle(const struct load *l);
bool is_restart(const struct load *l);

/* imap_report.c */
void load_report(struct load *l);
#endif
