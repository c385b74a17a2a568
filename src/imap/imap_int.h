/* imap, inside: the session, what a command is, and what the files share. */
#ifndef IMAP_IMAP_INT_H
#define IMAP_IMAP_INT_H

#include "imap/parse_int.h"

#include "auth/session.h"

#include "base/map.h"

#include "mime/mime.h"

enum {
    IMAP_INPUT_MAX = 64 << 10,
    IMAP_OUTPUT_HIGH = 64 << 10,
    IMAP_TAG_MAX = 64,
    IMAP_LINE_MAX = 63 << 10,        /* a line with its CRLF, after the login */
    IMAP_LINE_MAX_BEFORE = 16 << 10, /* and before it */
    IMAP_LITERAL_MINUS = 4096,       /* [RFC7888 5] [RFC9051 4.3] */
    IMAP_COMMAND_MAX_BEFORE = 16 << 10,
    IMAP_SAVED_MAX = 64 << 10, /* ranges that SEARCH RETURN (SAVE) keeps */
    IMAP_SAVED_ALL = 64 << 20, /* bytes of them in all sessions together */
    IMAP_LOOK_MAX = 16 << 10   /* rows looked at on a loop; of more, a worker does */
};

enum { IMAP_DAMAGE_MAX = 64 };
struct imap_damage {
    pthread_mutex_t mutex;
    struct imap_damaged {
        uint64_t account, email;
    } at[IMAP_DAMAGE_MAX];
    size_t n; /* ever noted; the last ones are there */
};

/* What SEARCH has in memory of envelopes: see search_column.c. */
struct imap_columns {
    pthread_mutex_t mutex;
    struct map by_key;
    struct list all; /* the one used last first */
    size_t bytes, max;
    size_t held; /* by commands under way */
    uint64_t hash_key[2];
    bool is_learning; /* one search makes columns at a time: what it holds is not in `bytes` */
};
void imap_columns_init(struct imap_columns *c, size_t max);
void imap_columns_fini(struct imap_columns *c);

struct imap {
    const struct ctx *ctx;
    struct imap_conf conf; /* with the defaults filled in */
    struct imap_damage damage;
    struct imap_columns columns;
    _Atomic size_t saved;    /* bytes of what SEARCH has saved for all sessions */
    _Atomic size_t notified; /* and of what they want to be notified of */
    _Atomic size_t contexts; /* and of what is kept up to date for them */
};

struct imap_session;

/* --- text.c: what is said --------------------------------------------------------------------- */

enum imap_text {
    IMAP_DONE, /* "VERB completed" */
    IMAP_LOGGED_IN,
    IMAP_BEGIN_TLS,
    IMAP_SELECTED_READ_WRITE,
    IMAP_SELECTED_READ_ONLY,
    IMAP_UNAUTHENTICATED,
    IMAP_COMPRESS,
    IMAP_IDLE_OVER,
    IMAP_MODIFIED,
    IMAP_SEARCHED_SOME,
    IMAP_EXPUNGED, /* NO from here on */
    IMAP_NOT_SAVED,
    IMAP_AUTH_FAILED,
    IMAP_AUTH_BUSY,
    IMAP_AUTH_BLOCKED,
    IMAP_TOO_MANY_SESSIONS,
    IMAP_OTHER_IDENTITY,
    IMAP_NO_MECHANISM,
    IMAP_PRIVACY,
    IMAP_NO_TLS,
    IMAP_NO_UID,
    IMAP_NO_MAILBOX,
    IMAP_NO_MAILBOX_TRYCREATE,
    IMAP_NOT_SELECTABLE,
    IMAP_READ_ONLY,
    IMAP_ALREADY_EXISTS,
    IMAP_HAS_CHILDREN,
    IMAP_CANNOT,
    IMAP_TOO_FEW,
    IMAP_TOO_MANY,
    IMAP_TOO_OFTEN,
    IMAP_OVER_QUOTA,
    IMAP_LIMIT,
    IMAP_MESSAGE_LIMIT, /* see limit.c, which has its code */
    IMAP_TOO_BIG,
    IMAP_EMPTY,
    IMAP_HEADER_8BIT,
    IMAP_BAD_CHARSET,
    IMAP_UNKNOWN_CTE,
    IMAP_USE_ATTR,
    IMAP_BAD_EVENT,
    IMAP_NOTIFY_TOO_MUCH,
    IMAP_IN_USE,
    IMAP_NOT_NOW,
    IMAP_FULL,
    IMAP_DAMAGED,
    IMAP_INTERNAL,
    IMAP_NO_COMMAND, /* BAD from here on */
    IMAP_NO_TAG,
    IMAP_LOGIN_FIRST,
    IMAP_LOGGED_IN_ALREADY,
    IMAP_SELECT_FIRST,
    IMAP_CLOSE_FIRST,
    IMAP_UID_REQUIRED,
    IMAP_WRONG_ORDER,
    IMAP_SYNTAX, /* what the parser says */
    IMAP_NO_MESSAGE,
    IMAP_BARE,
    IMAP_NUL,
    IMAP_TOO_LONG,
    IMAP_TOO_LONG_COMMAND,
    IMAP_LITERAL_TOO_BIG,
    IMAP_INJECTION,
    IMAP_TLS_ACTIVE,
    IMAP_COMPRESSED,
    IMAP_TAG_USED,
    IMAP_SELECTED_ONLY,
    IMAP_NOT_BASE64,
    IMAP_NOT_A_RESPONSE,
    IMAP_CANCELLED,
    IMAP_DONE_EXPECTED,
    IMAP_TEXTS
};
enum imap_status { IMAP_OK, IMAP_NO, IMAP_BAD };
enum imap_status imap_text_status(enum imap_text text);
struct str imap_text_code(enum imap_text text); /* "[CODE] ", or absent */
struct str imap_text_line(enum imap_text text);
enum imap_text imap_text_of_rc(enum rc rc);

/* --- names.c: mailbox names on the wire ------------------------------------------------------- */

/* A name as the client sends it, or a pattern, to UTF-8. */
enum rc imap_name_decode(const struct imap_parse *p, struct str name, struct buf *out);
/* Whether the name taken last may be that of a new mailbox: one that came in UTF-8 has to be
 * Net-Unicode [RFC9051 5.1] [RFC9755 3]; what modified UTF-7 says is between its clients. */
bool imap_name_is_good(const struct imap_parse *p, struct store_path path);
/* A path with its '/', as astring in modified UTF-7; or in UTF-8, when the client takes that. */
void imap_put_name(const struct imap_session *s, struct buf *out, struct str path);
/* "a/b" in the arena; absent when that is full. */
struct str imap_join_path(struct arena *arena, struct store_path path);
/* Whether a name matches a pattern of LIST [RFC3501 6.3.8] [RFC9051 6.3.9]. INBOX matches in any
 * case of letters.
 */
bool imap_name_matches(struct str name, struct str pattern);

/* --- the session ------------------------------------------------------------------------------ */

enum imap_state {
    IMAP_NOT_AUTHENTICATED = 1,
    IMAP_AUTHENTICATED = 2,
    IMAP_SELECTED = 4,
    IMAP_ANY = 7
};

/* What a client has asked for: by ENABLE, or with a command that means the same. */
enum imap_enabled {
    IMAP_EN_CONDSTORE = 1,
    IMAP_EN_QRESYNC = 2, /* never without IMAP_EN_CONDSTORE */
    IMAP_EN_UTF8 = 4,
    IMAP_EN_REV2 = 8,
    IMAP_EN_UIDONLY = 16
};

/* What of the selected mailbox is told that the client has not asked for with a command. */
enum imap_news {
    IMAP_NEWS_ALL,
    IMAP_NEWS_NONE,  /* but for what a command of its own has changed */
    IMAP_NEWS_COUNTS /* messages that come and go, and no flags */
};

/* A line of UIDs that are gone, on its way out: what has begun is ended before anything else is
 * written. Zeroed to begin with. */
struct imap_vanished_line {
    bool is_earlier;   /* [RFC7162 3.2.10] */
    uint32_t from, to; /* not written yet; 0: no line has begun */
    unsigned n;        /* ranges in it */
};

/* The selected mailbox as the client knows it. A sequence number is an index in `root`, where UIDs
 * ascend, plus one [RFC3501 2.3.1.2] [RFC9051 2.3.1.2]. */
struct imap_view {
    uint32_t mailbox; /* 0: none */
    bool is_read_only;
    uint32_t uidvalidity;          /* as it was told */
    unsigned n_keywords;           /* whose names the client has been told */
    struct store_reader *reader;   /* so that what is expunged can be fetched until that is told */
    const struct store_root *root; /* the reader's */
    struct store_root *next;       /* being told; NULL: nothing is */
    struct store_diff diff;
    size_t told_gone, told_new;
    struct imap_vanished_line vanished;
    struct imap_batches { /* what UIDBATCHES was asked last, and what there was then */
        uint32_t size, from, to;
        uint32_t uidnext, count;
    } batches;
    uint64_t modseq; /* all up to here has been told */
    bool is_behind; /* `root` has messages that are gone and that the client must not hear of yet */
    struct imap_saved *saved;       /* NULL: nothing */
    bool is_untold;                 /* flags have changed that the client wants not to be told of */
    bool is_told;                   /* all but what has become a result of a context */
    struct imap_contexts *contexts; /* NULL: none */
    struct imap_view *own; /* the client's, while a command looks at another mailbox; or NULL */
};

/* What a command that goes on over several steps keeps; in the session's arena. */
typedef enum net_step (*imap_step)(struct conn *c, struct imap_session *s);

struct imap_login; /* login.c: only while a login is under way */

struct imap_session {
    struct imap *imap;
    struct net *net;
    struct net_handle handle;
    enum imap_state state;
    bool is_draining, is_logout, has_progress, is_idling;
    bool has_news;      /* a watch of NOTIFY has told that something has changed */
    bool has_changed;   /* the command has changed something */
    uint8_t news;       /* enum imap_news */
    bool has_id;        /* the client has said what it is */
    bool has_erred_uid; /* it has used a number where it had asked for none */
    bool is_waiting;    /* go_on needs more input: see imap_wait */
    bool is_late;       /* the deadline has passed and has not been dealt with yet */
    bool keeps_numbers; /* the command has numbers of messages although it came behind UID */
    bool tells_modseq;  /* the command ends with HIGHESTMODSEQ, where the client wants it */
    uint32_t errors, failures;
    unsigned enabled; /* enum imap_enabled */
    struct imap_gather gather;
    /* The command under way. */
    const struct imap_command *command;
    bool is_uid;     /* it came behind UID */
    imap_step go_on; /* what the next step goes on with; NULL: no command is under way */
    void (*job_fini)(struct imap_session *s); /* frees what the command holds beside the arena */
    void *job;
    struct arena arena;   /* until the command is done */
    struct str *keywords; /* names by bit, in the arena; NULL: not looked up yet */
    enum imap_text answer;
    struct str code;      /* of the answer, instead of its own: "[APPENDUID 1 2] " */
    const char *error;    /* of the parser */
    struct imap_limited { /* that messages were left out; limit.c's */
        size_t most;      /* so many are allowed; 0: none was left out */
        uint32_t lowest;  /* UID of the last one that was processed; 0: none was */
    } limited;
    /* Messages of the view whose flags the command tells itself: not told again with the news, but
     * where `expects`, if there is one, says that the client does not know what they are now. What
     * was told must be of the root that imap_view_begin is given. */
    const struct imap_spans *told;
    bool (*expects)(struct imap_session *s, const struct store_row *before,
                    const struct store_row *now);
    uint8_t tag_n;
    char tag[IMAP_TAG_MAX];
    /* The account. */
    struct imap_login *login;
    struct store_account *account;
    struct imap_user *user;
    struct auth_session *entry; /* among those who are logged in */
    char *client;               /* what it called itself before it logged in; NULL: nothing */
    struct imap_view view;
    struct store_watch watch;   /* while idling */
    struct imap_notify *notify; /* NULL: nothing is watched for it */
    uint64_t idle_left_ms;
    const char *end; /* for the log: how the session ended */
    const char *bye; /* what BYE says behind the answer, with is_logout; NULL: it has been said */
};

/* Who has logged in: kept to look whether that is still so (auth_login_holds). */
struct imap_user {
    uint64_t account;
    unsigned char credential[AUTH_CREDENTIAL];
    uint64_t checked;  /* monotonic */
    uint64_t commands; /* for the log */
    size_t n_name;
    char name[];
};

/* From go_on: called again when there is more input, or an event. */
enum net_step imap_wait(struct imap_session *s);
/* The line that the input begins with, without its CRLF, for a command that reads lines itself; it
 * has been consumed. NET_READ with *out absent: not there yet, imap_wait. NET_CLOSE: it was none.
 */
enum net_step imap_read_line(struct conn *c, struct imap_session *s, struct str *out);
unsigned imap_flags(struct conn *c); /* for the store: on a worker it may wait */
struct auth_channel imap_channel(struct conn *c, const struct imap_session *s);
bool imap_can_secure(struct conn *c, const struct imap_session *s); /* passwords may be sent */
/* What an account's session was and how it ended. */
void imap_log_session(struct conn *c, const struct imap_session *s, const char *end);

/* --- command.c -------------------------------------------------------------------------------- */

enum imap_taken { IMAP_NOT_TAKEN, IMAP_TAKEN };
struct imap_command {
    const char *verb;
    unsigned states;
    unsigned flags;
    /* Parses the arguments and runs; see imap_finish. */
    enum net_step (*run)(struct conn *c, struct imap_session *s, struct imap_parse *p);
    const char *capability; /* told when the command can be used; NULL: part of IMAP4rev1 */
    const char *rfc;
    /* Asked about each literal of a command that is not whole yet: APPEND takes its messages
     * itself. IMAP_TAKEN: go_on is set and will read the input. */
    enum imap_taken (*literal)(struct conn *c, struct imap_session *s, struct imap_parse *p,
                               const struct imap_literal *literal);
};
enum {
    IMAP_UID = 1,        /* may stand behind UID */
    IMAP_ONLY_UID = 2,   /* must */
    IMAP_NO_EXPUNGE = 4, /* without UID: nothing may be expunged with its answer
                            [RFC3501 7.4.1] [RFC9051 7.5.1] */
    IMAP_NO_NEWS = 8,    /* says nothing of the selected mailbox */
    IMAP_SECRET = 16,    /* its arguments are wiped */
    IMAP_CLEAR = 32,     /* only where TLS could be started */
    IMAP_NUMBERS = 64    /* without UID it is about numbers of messages: not with UIDONLY */
};
/* Words of a command, to be taken as the client means them now. */
struct imap_parse imap_parse_of(struct imap_session *s, struct str text);
enum net_step imap_command_run(struct conn *c, struct imap_session *s, struct str text);
/* IMAP_TAKEN: as above. */
enum imap_taken imap_command_literal(struct conn *c, struct imap_session *s, struct str text,
                                     const struct imap_literal *literal);
void imap_put_capabilities(struct conn *c, const struct imap_session *s, struct buf *out);

enum net_step imap_append(struct conn *c, struct imap_session *s, struct imap_parse *p);
enum net_step imap_authenticate(struct conn *c, struct imap_session *s, struct imap_parse *p);
enum net_step imap_cancelupdate(struct conn *c, struct imap_session *s, struct imap_parse *p);
enum net_step imap_capability(struct conn *c, struct imap_session *s, struct imap_parse *p);
enum net_step imap_check(struct conn *c, struct imap_session *s, struct imap_parse *p);
enum net_step imap_close(struct conn *c, struct imap_session *s, struct imap_parse *p);
enum net_step imap_compress(struct conn *c, struct imap_session *s, struct imap_parse *p);
enum net_step imap_copy(struct conn *c, struct imap_session *s, struct imap_parse *p);
enum net_step imap_create(struct conn *c, struct imap_session *s, struct imap_parse *p);
enum net_step imap_delete(struct conn *c, struct imap_session *s, struct imap_parse *p);
enum net_step imap_enable(struct conn *c, struct imap_session *s, struct imap_parse *p);
enum net_step imap_esearch(struct conn *c, struct imap_session *s, struct imap_parse *p);
enum net_step imap_examine(struct conn *c, struct imap_session *s, struct imap_parse *p);
enum net_step imap_expunge(struct conn *c, struct imap_session *s, struct imap_parse *p);
enum net_step imap_fetch(struct conn *c, struct imap_session *s, struct imap_parse *p);
enum net_step imap_id(struct conn *c, struct imap_session *s, struct imap_parse *p);
enum net_step imap_idle(struct conn *c, struct imap_session *s, struct imap_parse *p);
enum net_step imap_list(struct conn *c, struct imap_session *s, struct imap_parse *p);
enum net_step imap_login(struct conn *c, struct imap_session *s, struct imap_parse *p);
enum net_step imap_logout(struct conn *c, struct imap_session *s, struct imap_parse *p);
enum net_step imap_lsub(struct conn *c, struct imap_session *s, struct imap_parse *p);
enum net_step imap_move(struct conn *c, struct imap_session *s, struct imap_parse *p);
enum net_step imap_namespace(struct conn *c, struct imap_session *s, struct imap_parse *p);
enum net_step imap_noop(struct conn *c, struct imap_session *s, struct imap_parse *p);
enum net_step imap_notify(struct conn *c, struct imap_session *s, struct imap_parse *p);
enum net_step imap_rename(struct conn *c, struct imap_session *s, struct imap_parse *p);
enum net_step imap_replace(struct conn *c, struct imap_session *s, struct imap_parse *p);
enum net_step imap_search(struct conn *c, struct imap_session *s, struct imap_parse *p);
enum net_step imap_select(struct conn *c, struct imap_session *s, struct imap_parse *p);
enum net_step imap_sort(struct conn *c, struct imap_session *s, struct imap_parse *p);
enum net_step imap_starttls(struct conn *c, struct imap_session *s, struct imap_parse *p);
enum net_step imap_status_(struct conn *c, struct imap_session *s, struct imap_parse *p);
enum net_step imap_store(struct conn *c, struct imap_session *s, struct imap_parse *p);
enum net_step imap_subscribe(struct conn *c, struct imap_session *s, struct imap_parse *p);
enum net_step imap_thread(struct conn *c, struct imap_session *s, struct imap_parse *p);
enum net_step imap_uidbatches(struct conn *c, struct imap_session *s, struct imap_parse *p);
enum net_step imap_unauthenticate(struct conn *c, struct imap_session *s, struct imap_parse *p);
enum net_step imap_unselect(struct conn *c, struct imap_session *s, struct imap_parse *p);
enum net_step imap_unsubscribe(struct conn *c, struct imap_session *s, struct imap_parse *p);

enum imap_taken imap_append_literal(struct conn *c, struct imap_session *s, struct imap_parse *p,
                                    const struct imap_literal *literal);
enum imap_taken imap_replace_literal(struct conn *c, struct imap_session *s, struct imap_parse *p,
                                     const struct imap_literal *literal);

/* --- reply.c: answers ------------------------------------------------------------------------- */

/* A command ends with one of these: tells what is new in the selected mailbox, where that is
 * allowed, then writes the tagged line, then frees what the command held. May take several steps.
 */
enum net_step imap_finish(struct conn *c, struct imap_session *s, enum imap_text text);
/* The same with a response code: `code` is "[...] ", in the arena or static. */
enum net_step imap_finish_code(struct conn *c, struct imap_session *s, enum imap_text text,
                               struct str code);
enum net_step imap_finish_rc(struct conn *c, struct imap_session *s, enum rc rc);
/* BAD, with what the parser expected. */
enum net_step imap_finish_syntax(struct conn *c, struct imap_session *s,
                                 const struct imap_parse *p);
/* For what is no command: "* BAD text"; closes when there were too many. */
enum net_step imap_bad_line(struct conn *c, struct imap_session *s, enum imap_text text);
/* One more command that is none: NET_CLOSE, with BYE, when there were too many. */
enum net_step imap_count_error(struct conn *c, struct imap_session *s);
void imap_continue(struct conn *c, struct str text);             /* "+ text" */
void imap_bye(struct conn *c, struct str code, struct str text); /* "* BYE ..." */
/* Frees what the command under way holds; for its end and for the session's. */
void imap_command_end(struct imap_session *s);

/* "* OK [INPROGRESS ..." for the command under way, of which so much of so much is done; where
 * there is place for an untagged response. */
void imap_put_progress(struct conn *c, const struct imap_session *s, size_t done, size_t goal);
/* Takes as much off *rest as there is room for now; call again while something is left. */
void imap_put_page(struct conn *c, struct str *rest);
void imap_put_u64(struct buf *out, uint64_t n);
/* "MAILBOXID (F12)" [RFC8474 4]: a mailbox has its UIDVALIDITY for itself, and keeps it. */
void imap_put_mailbox_id(struct buf *out, const struct store_mailbox *mailbox);
/* As a quoted string, or a literal where it cannot be one; absent: NIL. */
void imap_put_nstring(struct buf *out, struct str s);
void imap_put_astring(struct buf *out, struct str s);
/* The same for a client that takes UTF-8 in quoted strings [RFC9755 3]. */
void imap_put_utf8(struct buf *out, struct str s);

/* --- list.c ----------------------------------------------------------------------------------- */

/* "* LIST (\Sent) "/" path", of a mailbox that is there, without a word about children; and where
 * `old` is not absent, the name that it had. */
void imap_put_list_line(struct imap_session *s, struct buf *out, struct str path,
                        const struct store_mailbox *mailbox, struct str old);

/* --- op.c: changes ---------------------------------------------------------------------------- */

/* A change that a command waits for; in the arena. */
struct imap_op {
    struct store_op op;
    struct imap_session *session;
    unsigned tries; /* op.c's; zero to begin with */
};
/* Before each use: its done() goes on with the session. */
struct store_op *imap_op_begin(struct imap_op *o, struct imap_session *s);
/* After the call that queued it: waits for `then`. RC_AGAIN on a loop: the step comes again on a
 * worker. Anything else ends the command. */
enum net_step imap_op_wait(struct conn *c, struct imap_session *s, enum rc queued, imap_step then);
/* Whether it failed only because a change of somebody else before it did, and is worth queueing
 * once more. Asked once for each time it was done. */
bool imap_op_again(struct imap_op *o);
/* The step of a command that is done with its change; s->job begins with a struct imap_op. */
enum net_step imap_op_finish(struct conn *c, struct imap_session *s);

/* --- login.c ---------------------------------------------------------------------------------- */

/* Now and then: whether what the login brought still holds. NET_READ; NET_SHORT; NET_CLOSE: it does
 * not, BYE was said. */
enum net_step imap_login_check(struct conn *c, struct imap_session *s);
/* Who is logged in is listed with what the client calls itself, once both are known. */
void imap_login_name_client(struct imap_session *s);
void imap_login_over(struct conn *c);           /* BYE, since the login holds no longer */
void imap_login_forget(struct imap_session *s); /* the account and who is logged in */
void imap_login_end(struct imap_session *s);    /* a login under way; wipes */

/* --- limit.c: how many messages one command processes [RFC9738] ------------------------------- */

size_t imap_limit_of(const struct imap_session *s);        /* SIZE_MAX: any number */
size_t imap_limit_of_saving(const struct imap_session *s); /* by COPY and APPEND */
void imap_put_limit_capability(const struct imap_session *s, struct buf *out);
/* Leaves the so many highest messages of the spans; the command's end tells it. */
void imap_limit_cut(struct imap_session *s, const struct store_root *root, size_t keep,
                    struct imap_spans *spans);
/* The answer to a command that is not begun, since it is about more than `most`. */
enum imap_text imap_limit_refuse(struct imap_session *s, size_t most);
/* IMAP_DONE, or the answer to a PARTIAL of so many. */
enum imap_text imap_limit_partial(struct imap_session *s, const struct imap_partial *p);
/* For a command's end: "[MESSAGELIMIT 1000 23221] ", where messages were left out. */
void imap_limit_tell(struct conn *c, struct imap_session *s);

/* --- idle.c ----------------------------------------------------------------------------------- */

/* The deadline has passed while idling: a sign of life, or NET_CLOSE. */
enum net_step imap_idle_timeout(struct conn *c, struct imap_session *s);

/* --- damage.c --------------------------------------------------------------------------------- */

/* A message was found damaged when part of it had been sent already; and whether it was. */
void imap_damage_note(struct imap *imap, uint64_t account, uint64_t email);
bool imap_damage_is_known(struct imap *imap, uint64_t account, uint64_t email);

/* --- view.c: the selected mailbox ------------------------------------------------------------- */

/* Opens; the mailbox before is closed in any case. RC_AGAIN: on a worker. RC_NOTFOUND: there
 * is none, or only a placeholder. */
enum rc imap_view_open(struct conn *c, struct imap_session *s, uint32_t mailbox, bool is_read_only);
void imap_view_close(struct imap_session *s);
/* For a command that looks at other mailboxes too: another one in the place of the selected one,
 * which is kept in `own` and comes back with imap_view_leave, at the latest with the command's end.
 * As store_reader_open. */
enum rc imap_view_visit(struct conn *c, struct imap_session *s, uint32_t mailbox,
                        struct imap_view *own);
void imap_view_leave(struct imap_session *s);
/* What "$" means from now on; NULL: no message. Takes it over, unless all sessions together hold
 * too much: false, and "$" is empty. */
bool imap_view_save(struct imap_session *s, struct imap_saved **saved);
/* Tells the client what has changed; numbers move only with is_expunge_ok. NET_READ: all is told;
 * NET_MORE, NET_SHORT: call again; NET_CLOSE: the mailbox is gone, BYE was said. */
enum net_step imap_view_tell(struct conn *c, struct imap_session *s, bool is_expunge_ok);
/* The same from this root on, which the command has looked at itself; it takes the reference. What
 * it says of the view is told by the command's end. */
void imap_view_begin(struct imap_session *s, struct store_root *newest, bool is_expunge_ok);
/* What is in the selected mailbox now; names of keywords are then as new. As store_mailbox_open. */
enum rc imap_newest(struct conn *c, struct imap_session *s, struct store_root **out);
/* A message of the view, whoever has expunged it meanwhile. As store_message_open. */
enum rc imap_view_message(struct conn *c, struct imap_session *s, size_t index,
                          struct store_message **out);
/* Names of keywords by bit, for the command under way. NULL: the arena is full. */
const struct str *imap_keywords(struct imap_session *s);
/* "(\Seen $Label)" */
void imap_put_flags(struct imap_session *s, struct buf *out, const struct store_row *row);
/* "* n FETCH (" or, with UIDONLY, "* uid UIDFETCH (" [RFC9586 3.3]. */
void imap_put_fetch_begin(struct imap_session *s, struct buf *out, size_t index, uint32_t uid);
/* "* n FETCH (FLAGS (...))", with UID for commands that have it, and what the client has enabled.
 */
void imap_put_fetch_flags(struct imap_session *s, struct buf *out, size_t index,
                          const struct store_row *row, bool has_uid);
/* The same without the flags, when the client knows them: "* n FETCH (UID 7 MODSEQ (12))". */
void imap_put_fetch_modseq(struct imap_session *s, struct buf *out, size_t index,
                           const struct store_row *row);
/* FLAGS and PERMANENTFLAGS, when the client does not know all of them. */
void imap_tell_keywords(struct conn *c, struct imap_session *s, bool always);

/* --- context.c: searches whose results are kept up to date ------------------------------------ */

struct imap_contexts;
void imap_contexts_close(struct imap_session *s); /* all of them */
void imap_contexts_rest(struct imap_session *s);  /* the session's arena goes */
/* Whether the command's tag is that of a search that is kept [RFC5267 4.3]. */
bool imap_context_is_known(const struct imap_session *s);
/* Before what has changed is told, while both roots are there; and after it, when the next one is
 * the client's. NET_READ: all is told; others: call again, on the lane that is named. */
enum net_step imap_contexts_tell_gone(struct conn *c, struct imap_session *s);
enum net_step imap_contexts_tell_come(struct conn *c, struct imap_session *s);

/* --- extension.c ------------------------------------------------------------------------------ */

/* Whether the client takes UTF-8 in quoted strings and names [RFC9755 3] [RFC9051 5.1]. */
bool imap_has_utf8(const struct imap_session *s);
void imap_put_extensions(const struct imap_session *s, struct buf *out); /* " A B" */
/* For a command that means ENABLE CONDSTORE as well [RFC7162 3.1]. */
void imap_enable_condstore(struct conn *c, struct imap_session *s);
/* "* OK [HIGHESTMODSEQ 12] ..." of the selected mailbox. */
void imap_put_highest_modseq(const struct imap_session *s, struct buf *out);

/* --- vanished.c: what is gone, by UIDs [RFC7162 3.2.10] --------------------------------------- */

/* What a client missed while it was away. Zeroed to begin with. */
struct imap_vanished {
    struct imap_range *ranges; /* UIDs that it asks about: ascending, disjoint, in the arena */
    size_t n;
    uint32_t *gone; /* ascending, in the arena */
    size_t n_gone;
    bool is_unknown; /* the log does not reach back: whatever is not there is told */
    size_t range, at;
    uint32_t next; /* UID; 0: the range has not begun */
    struct imap_vanished_line line;
};
/* Of the UIDs in `set` (NULL: any) and above this one, those that have gone from the selected
 * mailbox since. RC_AGAIN: on a worker. */
enum rc imap_vanished_begin(struct conn *c, struct imap_session *s, struct imap_vanished *v,
                            const struct imap_set *set, uint32_t above, uint64_t modseq);
/* "* VANISHED (EARLIER) ...". NET_READ: all of them; others: call again. */
enum net_step imap_vanished_put(struct conn *c, struct imap_session *s, struct imap_vanished *v);

/* UIDs that ascend: one range after the other. */
void imap_vanished_add(struct buf *out, struct imap_vanished_line *l, uint32_t from, uint32_t to);
void imap_vanished_end(struct buf *out, struct imap_vanished_line *l);

/* --- change.c: messages changed in parts, each durable before the next one -------------------- */

/* A command's job that begins with one of these (s->job) sets what is the command's and calls
 * imap_change_run. */
struct imap_change {
    /* The command's. */
    const struct store_root *root; /* stays until the end */
    struct imap_spans spans;       /* of the root: the messages */
    uint32_t with_flags;           /* only those of them that have these flags there */
    bool is_divisible;             /* RC_LIMIT: half of a part may be possible */
    /* Hands `uids` to the store, with `op`. */
    enum rc (*queue)(struct imap_session *s, unsigned flags);
    void (*part)(struct imap_session *s); /* a part is durable: look at `op`. May be NULL */
    imap_step then;                       /* all of them are, or `rc` tells why not */
    /* The part at hand, and the results. */
    const uint32_t *uids;
    size_t n_uids;
    struct imap_op op;
    enum rc rc;
    /* change.c's. */
    uint64_t said;   /* when the client last heard of us */
    size_t n_before; /* messages of the parts that are durable */
    uint32_t *room;  /* n_room UIDs, the first n_done of them changed */
    size_t n_room, n_done, most;
    size_t span, at;
    bool is_filled;
};
enum net_step imap_change_run(struct conn *c, struct imap_session *s);
/* The mailbox that messages are to go to. IMAP_DONE: *out_id; otherwise the answer. */
enum imap_text imap_change_target(struct imap_session *s, struct store_path path, uint32_t *out_id);
/* What RC_LIMIT means when so many messages were to be added: OVERQUOTA, or another limit. */
enum imap_text imap_change_limit(struct imap_session *s, uint64_t messages, uint64_t bytes);
/* How many messages of the spans are no longer in a newer root. */
size_t imap_change_gone(const struct imap_change *k, const struct store_root *newest);

/* --- intake.c: the bytes of an appended message ----------------------------------------------- */

/* Messages on their way in, one after the other. Zeroed to begin with; in what it says, IMAP_DONE
 * is "go on" and everything else the answer to the command. */
struct imap_intake {
    uint64_t left; /* bytes of the literal that have not come */
    /* intake.c's. */
    struct kv_blob_out *blob; /* NULL: none is under way */
    bool is_binary, is_parsing, is_head_whole;
    bool is_line_begun, is_header_over; /* of the message's own header */
    char end[2];                        /* its last bytes */
    struct buf head;
    struct mime_parser parser;
    uint64_t charged, held; /* memory: taken from the budget; by messages that are finished */
};
enum imap_text imap_intake_begin(struct imap_session *s, struct imap_intake *in,
                                 const struct imap_literal *literal);
/* A disk may have to be waited for before so many more bytes are taken, or for the end. */
bool imap_intake_may_wait(const struct imap_intake *in, size_t more);
enum imap_text imap_intake_take(struct imap_session *s, struct imap_intake *in, struct str piece);
/* The message is whole: its blob (to be forgotten by the caller), size and what its header says. */
enum imap_text imap_intake_finish(struct imap_session *s, struct imap_intake *in,
                                  struct store_append *out);
/* Drops the message under way, and gives back the memory of all. */
void imap_intake_end(struct imap_session *s, struct imap_intake *in);

/* UIDs as a set [RFC3501 9] [RFC9051 9], ascending; neighbours make a range. */
struct imap_uid_set {
    struct buf text;
    uint32_t from, to; /* not written yet; 0: nothing */
};
void imap_uid_set_add(struct imap_uid_set *set, uint32_t first, uint32_t n);
void imap_uid_set_end(struct imap_uid_set *set);

#endif
