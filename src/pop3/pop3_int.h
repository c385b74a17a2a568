/* pop3, inside: the session, what a command is, and what the files share. */
#ifndef POP3_POP3_INT_H
#define POP3_POP3_INT_H

#include "pop3/pop3.h"

enum {
    POP3_LINE_MAX = 5 + AUTH_PASSWORD_MAX + 2, /* "PASS " password CRLF; at least 255 [RFC2449 4] */
    POP3_INPUT_MAX = 16 << 10,
    POP3_OUTPUT_HIGH = 32 << 10,
    POP3_PAGE = 16 << 10 /* bytes of a message read at once */
};

struct pop3 {
    const struct ctx *ctx;
    struct pop3_conf conf; /* with the defaults filled in */
};

/* --- parse.c: lines and arguments, pure ------------------------------------------------------- */

enum pop3_input {
    POP3_INPUT_NONE,    /* no whole line yet */
    POP3_INPUT_LINE,    /* *out_line: without its CRLF */
    POP3_INPUT_BARE,    /* a line that ended in LF alone, or had a NUL or CR within */
    POP3_INPUT_TOO_LONG /* told once; the rest of the line is passed over */
};
/* Looks at the unread input and says how much of it to consume. *is_skipping is the session's: the
 * rest of a line that was too long is still to come. */
enum pop3_input pop3_input_next(struct str in, bool *is_skipping, struct str *out_line,
                                size_t *out_used);

enum { POP3_ARGS = 2 };
struct pop3_args {
    struct str verb;
    struct str rest; /* all behind the first space; absent when there was none */
    struct str args[POP3_ARGS];
    size_t n; /* POP3_ARGS + 1: too many */
};
void pop3_args_parse(struct str line, struct pop3_args *out);

/* --- stuff.c: multi-line text, pure ----------------------------------------------------------- */

/* How many of the lines that begin in the text begin with a dot. *is_start: whether the text begins
 * a line; left as what is true behind it. */
size_t pop3_stuff_count(struct str text, bool *is_start);
/* Doubles the `dots` that were counted in place: p has room for n + dots bytes. */
void pop3_stuff(char *p, size_t n, bool is_start, size_t dots);

struct pop3_top {    /* zeroed, with lines set */
    uint64_t lines;  /* of the body, still to come */
    uint64_t n_line; /* bytes of the line under way */
    bool is_only_cr; /* which is a CR so far */
    bool is_body;
    bool is_done;
};
/* How much of the text belongs to the answer. */
size_t pop3_top_take(struct pop3_top *top, struct str text);

/* --- the session ------------------------------------------------------------------------------ */

enum pop3_state { POP3_AUTHORIZATION = 1, POP3_TRANSACTION = 2, POP3_UPDATE = 4 };

/* The INBOX as it was at login, locked. Messages have the root's index + 1. */
struct pop3_drop {
    struct store_account *account;
    struct store_root *root; /* NULL until the login is complete */
    bool is_locked;
    uint32_t mailbox;
    size_t n, n_deleted;
    uint64_t bytes, bytes_deleted;
    unsigned char *deleted; /* a bit for each message; NULL: none */
    uint32_t *uids;         /* what QUIT expunges; NULL before */
    size_t n_uids, uids_at;
    unsigned n_conflicts; /* of the batch under way */
    struct store_op op;
    size_t retrieved;         /* for the log */
    uint64_t bytes_retrieved; /* for the log */
};

/* The message being sent. */
struct pop3_reading {
    struct store_message *message; /* NULL: none */
    uint64_t email, size, at;
    bool is_start; /* the next byte begins a line */
    bool is_top;
    struct pop3_top top;
};

struct pop3_session {
    struct pop3 *pop3;
    struct net *net;
    struct net_handle handle;
    enum pop3_state state;
    /* What the next step goes on with instead of a new command; NULL: nothing. Called until it
     * clears itself and answers NET_READ, or ends the session. */
    enum net_step (*go_on)(struct conn *c, struct pop3_session *s);
    bool is_draining;  /* the server shuts down: no more commands */
    bool is_skipping;  /* the rest of a line that was too long */
    bool has_progress; /* in this step: the deadline starts anew */
    uint32_t errors, failures;
    char *name; /* of USER; NULL: none yet */
    struct auth_login login;
    struct pop3_drop drop;
    struct pop3_reading reading;
    size_t cursor;   /* of LIST and UIDL */
    const char *end; /* for the log: how the session ended */
};

/* --- commands: each answers NET_READ when it is done ------------------------------------------ */

struct pop3_command {
    const char *verb;
    unsigned states;
    unsigned flags;
    uint8_t args_min, args_max;
    enum net_step (*run)(struct conn *c, struct pop3_session *s, const struct pop3_args *args);
    const char *capability; /* CAPA's line; NULL: what every POP3 server has */
    const char *rfc;
};
enum {
    POP3_SECURE = 1, /* in TLS, or where plaintext is allowed; the capability shows only there */
    POP3_CLEAR = 2,  /* the capability shows only where TLS could be started */
    POP3_RAW = 4     /* the rest of the line is one argument */
};

/* Looks the line's verb up, checks state, TLS and the number of arguments, and runs it. */
enum net_step pop3_command_run(struct conn *c, struct pop3_session *s, struct str line);

enum net_step pop3_capa(struct conn *c, struct pop3_session *s, const struct pop3_args *a);
enum net_step pop3_dele(struct conn *c, struct pop3_session *s, const struct pop3_args *a);
enum net_step pop3_list(struct conn *c, struct pop3_session *s, const struct pop3_args *a);
enum net_step pop3_noop(struct conn *c, struct pop3_session *s, const struct pop3_args *a);
enum net_step pop3_pass(struct conn *c, struct pop3_session *s, const struct pop3_args *a);
enum net_step pop3_quit(struct conn *c, struct pop3_session *s, const struct pop3_args *a);
enum net_step pop3_retr(struct conn *c, struct pop3_session *s, const struct pop3_args *a);
enum net_step pop3_rset(struct conn *c, struct pop3_session *s, const struct pop3_args *a);
enum net_step pop3_stat(struct conn *c, struct pop3_session *s, const struct pop3_args *a);
enum net_step pop3_stls(struct conn *c, struct pop3_session *s, const struct pop3_args *a);
enum net_step pop3_top(struct conn *c, struct pop3_session *s, const struct pop3_args *a);
enum net_step pop3_uidl(struct conn *c, struct pop3_session *s, const struct pop3_args *a);
enum net_step pop3_user(struct conn *c, struct pop3_session *s, const struct pop3_args *a);

/* --- reply.c ---------------------------------------------------------------------------------- */

/* A line of text without CRLF; the answers are for the command under way. */
enum net_step pop3_ok(struct conn *c, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
enum net_step pop3_err(struct conn *c, const char *text);
/* The same for what is no command: closes when there were too many. */
enum net_step pop3_bad(struct conn *c, struct pop3_session *s, const char *text);
/* Says what the result means to a client: the one table. */
enum net_step pop3_err_rc(struct conn *c, enum rc rc);

/* --- drop.c ----------------------------------------------------------------------------------- */

/* RC_AGAIN: on a worker. RC_CONFLICT: another session has it. On anything but RC_OK and RC_AGAIN
 * nothing stays open. */
enum rc pop3_drop_open(struct conn *c, struct pop3_session *s, uint64_t account);
void pop3_drop_close(struct pop3_drop *drop);
bool pop3_drop_is_deleted(const struct pop3_drop *drop, size_t index);
/* The index that a message number means; RC_SYNTAX, RC_NOTFOUND (none, or deleted). */
enum rc pop3_drop_find(const struct pop3_drop *drop, struct str number, size_t *out_index);

void pop3_reading_close(struct pop3_reading *reading);

/* The flags for the store: on a worker it may wait. */
unsigned pop3_flags(struct conn *c);
bool pop3_can_secure(struct conn *c, const struct pop3_session *s); /* passwords may be sent */

#endif
