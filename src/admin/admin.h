/* admin: every administrative operation as one function, whoever asks: the control socket of a
 * running server, the command line on a store at rest, later the web. An operation takes words and
 * gives a table or an error; it knows nothing of sockets or terminals.
 */
#ifndef ADMIN_ADMIN_H
#define ADMIN_ADMIN_H

#include "auth/auth.h"
#include "index/index.h"
#include "queue/queue.h"
#include "store/store.h"

struct trace;
struct task_lane;

struct admin {
    struct ctx ctx;
    struct kv *kv;
    struct store *store;
    struct index *index; /* NULL: nobody works on it here */
    struct auth *auth;
    struct queue *queue;
    struct trace *trace; /* NULL: nothing is noted */
    /* Where what a session leaves behind that ends halfway is put in order, before the store is
     * closed; NULL: by who ends it. */
    struct task_lane *lane;
    /* How long removed accounts can be restored; admin_init: 30 days. A reload may change it. */
    _Atomic uint64_t keep_removed_ns;
    _Atomic uint32_t collections; /* accounts elsewhere that one here may collect from: 20 */
    /* What keys that sign mail are sealed with (admin_seal_open, admin_seal_adopt); without it none
     * are made. */
    unsigned char seal[AUTH_SEAL];
    _Atomic bool has_seal;
    /* admin's: accounts are made, removed, restored, renamed and swept one at a time, so that a
     * sweep does not take one that is between two places for one that is gone. */
    pthread_mutex_t accounts;
};

void admin_init(struct admin *admin); /* the rest is the caller's to set */
void admin_fini(struct admin *admin);

enum { ADMIN_WORDS = 128, ADMIN_COLUMNS = 24, ADMIN_OPTIONS = 8 };

struct admin_request {
    const struct str *words; /* "account", "add", "alice@example.org", "--quota", "2G" */
    size_t n_words;
    struct str password; /* for those that want one; absent otherwise */
};

struct admin_answer {
    struct arena arena; /* all below lives in it; admin_answer_fini frees it */
    enum rc rc;         /* RC_OK; RC_SYNTAX: wrong usage; anything else: could not be done */
    struct str error;   /* "WHAT: WHY" when not RC_OK */
    struct str columns[ADMIN_COLUMNS];
    size_t n_columns;
    struct str *cells; /* row by row */
    size_t n_cells, max_cells;
};

#define ADMIN_SNAPSHOT "snapshot" /* in the data folder: what `backup-snapshot` makes */

struct admin_call;
struct admin_command {
    const char *object, *verb;          /* "account", "add"; verb "" when there is none ("stat") */
    const char *usage;                  /* "ADDRESS [--quota SIZE]" */
    const char *help;                   /* one line */
    size_t min_args, max_args;          /* words behind object and verb that are not options */
    const char *options[ADMIN_OPTIONS]; /* "--quota", each with a value */
    const char *flags[ADMIN_OPTIONS];   /* "--all", without one */
    bool is_internal; /* part of a command of ctl's: not shown, and not for people */
    bool wants_password;
    bool is_bare;  /* people get the cells alone, a line each, for scripts to read */
    bool is_heavy; /* may take long: not for the lane of short jobs */
    void (*run)(struct admin *admin, const struct admin_call *call, struct admin_answer *answer);
};

/* All of them; for --help and for finding one. */
const struct admin_command *admin_commands(size_t *out_n);
/* NULL when there is no such command. */
const struct admin_command *admin_find(const struct str *words, size_t n_words);

/* Whether the words are a command with the arguments and options that it takes: what can be said
 * before a password is asked for. Otherwise the answer, which admin_answer_fini frees, tells what
 * is wrong (RC_SYNTAX). */
enum rc admin_check(const struct admin_request *request, struct admin_answer *answer);

/* Runs one. Blocks. The answer is the caller's to fini in every case. */
void admin_run(struct admin *admin, const struct admin_request *request,
               struct admin_answer *answer);
void admin_answer_fini(struct admin_answer *answer);

/* What a result code means to a person: "no space left on the disk". */
const char *admin_sentence(enum rc rc);

/* Takes the seal that the store has, if it has one: for commands on a store at rest. */
enum rc admin_seal_open(struct admin *admin);
/* For a server whose signer opens what was sealed so: it becomes the store's, if that has none.
 * RC_DENIED: the store has another one. */
enum rc admin_seal_adopt(struct admin *admin, const unsigned char seal[AUTH_SEAL]);
/* Takes a message back that this account has submitted and that waits in the queue. RC_NOTFOUND:
 * there is none, or it is somebody else's. Blocks. */
enum rc admin_recall(struct admin *admin, uint64_t account, struct queue_id id);
/* Makes the keys that domains should have and have not, and drops those that retired long enough
 * ago. What fails is logged. Blocks; after the start and hourly. */
void admin_keys_tend(struct admin *admin, const _Atomic bool *stop);

/* One round of the work that keeps the store small: mail of removed accounts, tombstones and log
 * rows whose time is over. What fails in one account is logged and does not keep the others from
 * it. Blocks; for a timer, hourly. Stops early when *stop becomes true. */
void admin_maintain(struct admin *admin, const _Atomic bool *stop);
/* The same for some accounts at most that have much to tidy up now, every few seconds: after many
 * deliveries a mailbox opens as fast as before. */
void admin_tidy(struct admin *admin, const _Atomic bool *stop);

#endif
