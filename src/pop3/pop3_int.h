/* pop3, inside: the session, what a command is, and what the files share. */
#ifndef POP3_POP3_INT_H
#define POP3_POP3_INT_H

#include "pop3/pop3.h"

#include "auth/session.h"
#include "base/map.h"

#include <pthread.h>

enum {
    /* "AUTH PLAIN " and a response in base 64, the longest there is; at least 255 [RFC2449 4] */
    POP3_LINE_MAX = 32 + (AUTH_TOKEN_RESPONSE_MAX + 2) / 3 * 4 + 2,
    POP3_INPUT_MAX = 16 << 10,
    POP3_OUTPUT_HIGH = 32 << 10,
    POP3_PAGE = 16 << 10 /* bytes of a message read at once */
};

/* --- delay.c: when each account logged in last ------------------------------------------------ */

struct pop3_delays {
    pthread_mutex_t mutex;
    struct map by_account;
    struct list by_time;
};
void pop3_delays_init(struct pop3_delays *d);
void pop3_delays_fini(struct pop3_delays *d);
/* True: the login counts from now on, by this monotonic clock. Any thread. */
bool pop3_delays_may_log_in(struct pop3_delays *d, uint64_t account, uint64_t now,
                            uint64_t delay_ns);

struct pop3 {
    const struct ctx *ctx;
    struct pop3_conf conf; /* with the defaults filled in */
    struct pop3_delays delays;
};

/* --- text.c: what is said --------------------------------------------------------------------- */

enum pop3_text {
    POP3_READY,
    POP3_CAPABILITIES,
    POP3_MECHANISMS,
    POP3_LANGUAGES,
    POP3_SEND_PASS,
    POP3_BEGIN_TLS,
    POP3_UTF8_ON,
    POP3_SUMMARY,
    POP3_COUNT,
    POP3_NUMBERS,
    POP3_OCTETS,
    POP3_TOP_FOLLOWS,
    POP3_MARKED,
    POP3_NOTHING_DONE,
    POP3_GOODBYE,
    POP3_GOODBYE_LEFT,
    POP3_LANGUAGE_SET,
    POP3_NO_COMMAND, /* from here on: refusals */
    POP3_LOGIN_FIRST,
    POP3_LOGGED_IN,
    POP3_USE_STLS,
    POP3_TLS_ONLY,
    POP3_ARGUMENT_MISSING,
    POP3_TOO_MANY_ARGUMENTS,
    POP3_BARE,
    POP3_TOO_LONG,
    POP3_TOO_MANY_ERRORS,
    POP3_NAME_TOO_LONG,
    POP3_NOT_UTF8,
    POP3_USER_FIRST,
    POP3_TLS_ACTIVE,
    POP3_NO_TLS,
    POP3_NO_TLS_AFTER_UTF8,
    POP3_INJECTION,
    POP3_NO_MECHANISM,
    POP3_NOT_BASE64,
    POP3_NOT_A_RESPONSE,
    POP3_CANCELLED,
    POP3_OTHER_IDENTITY,
    POP3_NO_LANGUAGE,
    POP3_LINES_NOT_A_NUMBER,
    POP3_NOT_A_NUMBER,
    POP3_NO_MESSAGE,
    POP3_IN_USE,
    POP3_TOO_MANY_SESSIONS,
    POP3_TOO_SOON,
    POP3_DENIED,
    POP3_BUSY,
    POP3_AGAIN,
    POP3_NOT_NOW,
    POP3_FULL,
    POP3_CANNOT,
    POP3_INTERNAL,
    POP3_DAMAGED,
    POP3_NOT_REMOVED,
    POP3_SHUTTING_DOWN,
    POP3_KICKED,
    POP3_LOGIN_OVER,
    POP3_TEXTS
};
enum { POP3_COLUMNS = 2 }; /* languages with texts of their own */

struct pop3_language {
    struct str tag, name;
    unsigned column;
};
const struct pop3_language *pop3_language_at(size_t i); /* NULL: no more */
/* The one that fits a basic language range best; NULL: none. */
const struct pop3_language *pop3_language_find(struct str range);
struct str pop3_text_code(enum pop3_text text); /* "[CODE] ", or absent */
struct str pop3_text_line(enum pop3_text text, unsigned column);
enum pop3_text pop3_text_of_rc(enum rc rc);

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
    struct store_reader *reader;   /* NULL until the login is complete */
    const struct store_root *root; /* the reader's */
    bool is_locked;
    uint32_t mailbox;
    size_t n, n_deleted;
    uint64_t bytes, bytes_deleted;
    unsigned char *deleted;   /* a bit for each message; NULL: none */
    unsigned char *collected; /* the same, where the policy asks; NULL: none */
    uint32_t *uids;           /* what QUIT expunges; NULL before */
    size_t n_uids, uids_at;
    uint32_t *noted; /* what QUIT notes as collected; NULL before */
    size_t n_noted, noted_at;
    unsigned n_conflicts; /* of the batch under way */
    struct store_op op;
    size_t retrieved;         /* for the log */
    uint64_t bytes_retrieved; /* for the log */
    struct arena uidl_arena;  /* unique-ids that came with messages: those around the last one */
    struct store_uidl *uidls;
    size_t n_uidls;
};

/* The message being sent. */
struct pop3_reading {
    struct store_message *message; /* NULL: none */
    size_t index;
    uint64_t size, at;
    bool is_start; /* the next byte begins a line */
    bool is_crlf;  /* what was sent ends with CRLF */
    bool is_cr;    /* ... with CR */
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
    bool is_utf8;      /* UTF8 was taken */
    bool is_sasl;      /* the next line belongs to `auth` */
    unsigned column;   /* of the texts: the language */
    uint32_t errors, failures;
    char *name; /* of USER; NULL: none yet */
    struct auth_exchange auth;
    struct auth_session *entry; /* among those who are logged in */
    struct pop3_drop drop;
    struct pop3_reading reading;
    size_t cursor;   /* of LIST and UIDL */
    const char *end; /* for the log: how the session ended */
};

/* Writes the log line and gives the maildrop back; once more is harmless. */
void pop3_session_end(struct conn *c, struct pop3_session *s);

/* --- commands: each answers NET_READ when it is done ------------------------------------------ */

struct pop3_capability {
    const char *name; /* the line's beginning; NULL: what every POP3 server has */
    void (*put)(struct conn *c, const struct pop3_session *s,
                struct buf *out); /* the rest; or NULL */
};
struct pop3_command {
    const char *verb;
    unsigned states;
    unsigned flags;
    uint8_t args_min, args_max;
    enum net_step (*run)(struct conn *c, struct pop3_session *s, const struct pop3_args *args);
    struct pop3_capability capability;
    const char *rfc;
};
enum {
    POP3_SECURE = 1, /* in TLS, or where plaintext is allowed; the capability shows only there */
    POP3_CLEAR = 2,  /* the capability shows only where TLS could be started */
    POP3_RAW = 4     /* the rest of the line is one argument */
};

/* Looks the line's verb up, checks state, TLS and the number of arguments, and runs it. */
enum net_step pop3_command_run(struct conn *c, struct pop3_session *s, struct str line);

enum net_step pop3_auth(struct conn *c, struct pop3_session *s, const struct pop3_args *a);
enum net_step pop3_capa(struct conn *c, struct pop3_session *s, const struct pop3_args *a);
enum net_step pop3_dele(struct conn *c, struct pop3_session *s, const struct pop3_args *a);
enum net_step pop3_lang(struct conn *c, struct pop3_session *s, const struct pop3_args *a);
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
enum net_step pop3_utf8(struct conn *c, struct pop3_session *s, const struct pop3_args *a);

/* A line while s->is_sasl, and what is no line then. */
enum net_step pop3_auth_response(struct conn *c, struct pop3_session *s, struct str line);
enum net_step pop3_auth_abort(struct conn *c, struct pop3_session *s, enum pop3_text text);
struct auth_channel pop3_channel(struct conn *c, const struct pop3_session *s);
/* The session's exchange, as new. */
struct auth_exchange *pop3_login_begin(struct conn *c, struct pop3_session *s);
/* What comes after a step of it; when it is decided, the maildrop is opened. */
enum net_step pop3_login_follow(struct conn *c, struct pop3_session *s, enum auth_next next,
                                struct str challenge);

/* --- policy.c --------------------------------------------------------------------------------- */

/* EXPIRE's arguments. */
void pop3_policy_expire(struct conn *c, const struct pop3_session *s, struct buf *out);
/* RETR has sent the message under way whole. */
void pop3_policy_collected(struct pop3_session *s);
/* What QUIT has to do: drop.uids and drop.noted. */
void pop3_policy_at_quit(struct pop3_session *s);

/* --- reply.c ---------------------------------------------------------------------------------- */

/* Answers for the command under way. Each '#' of the text takes one of the numbers. */
enum net_step pop3_ok(struct conn *c, enum pop3_text text, const uint64_t *numbers);
enum net_step pop3_err(struct conn *c, enum pop3_text text);
/* The same for what is no command: closes when there were too many. */
enum net_step pop3_bad(struct conn *c, struct pop3_session *s, enum pop3_text text);
/* Says what the result means to a client. */
enum net_step pop3_err_rc(struct conn *c, enum rc rc);
/* start, the text with its numbers (at most two), CRLF. */
void pop3_put_line(struct buf *out, struct str start, struct str text, const uint64_t *numbers);
char *pop3_put_u64(char *to, uint64_t n); /* up to 20 bytes; the end */

/* --- drop.c ----------------------------------------------------------------------------------- */

/* RC_AGAIN: on a worker. RC_CONFLICT: another session has it. On anything but RC_OK and RC_AGAIN
 * nothing stays open. */
enum rc pop3_drop_open(struct conn *c, struct pop3_session *s, uint64_t account);
void pop3_drop_close(struct pop3_drop *drop);
bool pop3_drop_is_deleted(const struct pop3_drop *drop, size_t index);
uint64_t pop3_drop_size(const struct pop3_drop *drop, size_t index); /* as RETR sends it */
/* The index that a message number means; RC_SYNTAX, RC_NOTFOUND (none, or deleted). */
enum rc pop3_drop_find(const struct pop3_drop *drop, struct str number, size_t *out_index);
/* The unique-id that came with a message; as store_uidls. RC_CORRUPT: it is not there. Valid until
 * the next call. */
enum rc pop3_drop_uidl(struct pop3_drop *drop, uint32_t uid, unsigned flags, struct str *out);

void pop3_reading_close(struct pop3_reading *reading);

/* The flags for the store: on a worker it may wait. */
unsigned pop3_flags(struct conn *c);

#endif
