/* admin: every administrative operation as one function, whoever asks: the control socket of a
 * running server, the command line on a store at rest, later the web. An operation takes words and
 * gives a table or an error; it knows nothing of sockets or terminals.
 */
#ifndef ADMIN_ADMIN_H
#define ADMIN_ADMIN_H

#include "auth/auth.h"
#include "queue/queue.h"
#include "store/store.h"

struct admin {
    struct ctx ctx;
    struct kv *kv;
    struct store *store;
    struct auth *auth;
    struct queue *queue;
};

enum { ADMIN_WORDS = 16, ADMIN_COLUMNS = 8 };

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

struct admin_command {
    const char *object, *verb; /* "account", "add"; verb "" when there is none ("stat") */
    const char *usage;         /* "ADDRESS [--quota SIZE]" */
    const char *help;          /* one line */
    bool wants_password;
    void (*run)(struct admin *admin, const struct admin_request *request,
                struct admin_answer *answer);
};

/* All of them; for --help and for finding one. */
const struct admin_command *admin_commands(size_t *out_n);
/* NULL when there is no such command. */
const struct admin_command *admin_find(const struct str *words, size_t n_words);

/* Runs one. Blocks. The answer is the caller's to fini in every case. */
void admin_run(struct admin *admin, const struct admin_request *request,
               struct admin_answer *answer);
void admin_answer_fini(struct admin_answer *answer);

/* One round of the work that keeps the store small: tombstones and log rows whose time is over.
 * Blocks; for a timer, hourly. Stops early when *stop becomes true. */
void admin_maintain(struct admin *admin, const _Atomic bool *stop);

#endif
