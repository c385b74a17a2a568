/* transfer, inside. */
#ifndef TRANSFER_TRANSFER_INT_H
#define TRANSFER_TRANSFER_INT_H

#include "transfer/transfer.h"

/* --- sink.c: what all sinks have in common ---------------------------------------------------- */

struct transfer_sink_calls {
    enum rc (*folder)(struct transfer_sink *sink, const struct transfer_folder *folder,
                      unsigned *out_n);
    bool (*has)(const struct transfer_sink *sink, struct str origin); /* NULL: never */
    enum rc (*begin)(struct transfer_sink *sink, unsigned folder,
                     const struct transfer_message *message);
    enum rc (*bytes)(struct transfer_sink *sink, struct str bytes);
    /* `why`: absent, or why it has no end. */
    enum rc (*end)(struct transfer_sink *sink, struct str why);
    enum rc (*finish)(struct transfer_sink *sink);
    /* NULL: the sink's watch is told. */
    enum rc (*tell)(struct transfer_sink *sink, struct str label, bool is_refused, struct str why);
    void (*free)(struct transfer_sink *sink);
};

struct transfer_sink {
    const struct transfer_sink_calls *calls;
    struct transfer_watch *watch;
    struct transfer_counts counts;
};

/* Tells the watch, and counts what is lost. */
void sink_tell(struct transfer_sink *sink, struct str label, bool is_refused, struct str why);
void sink_moved(struct transfer_sink *sink);

/* --- seen.c: a set of digests ----------------------------------------------------------------- */

struct seen {
    unsigned char (*slots)[TRANSFER_ORIGIN]; /* of zeroes: nobody's */
    size_t n, size;
};
void seen_add(struct seen *s, const void *digest);
bool seen_has(const struct seen *s, const void *digest);
/* The next one, from *at on, which moves; false: there are no more. */
bool seen_next(const struct seen *s, size_t *at, unsigned char out[TRANSFER_ORIGIN]);
void seen_fini(struct seen *s);

/* --- account.c -------------------------------------------------------------------------------- */

const struct seen *account_sink_seen(const struct transfer_sink *sink); /* one of an account */

/* --- names.c ---------------------------------------------------------------------------------- */

/* The levels of a name with '/', views into it. Why it cannot be a mailbox's, or NULL. */
const char *split_name(struct str name, struct str levels[STORE_LEVELS], size_t *out_n);

/* --- batch.c: messages on their way into one mailbox ------------------------------------------ */

/* Waits for one change. */
struct landing {
    struct store_op op; /* first */
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    bool is_done;
};
enum rc landing_wait(struct landing *l, enum rc queued);
void landing_begin(struct landing *l);

struct batch {
    struct landing landing;
    struct arena arena; /* of all that the appends point to */
    struct store_append *appends;
    struct str *labels;
    size_t n, max;
    uint64_t bytes; /* of those that are in memory: larger ones are on the disk */
    uint64_t total;
    enum rc queued; /* what queuing it answered */
};

void batch_init(struct batch *b, size_t max);
void batch_fini(struct batch *b, struct kv *kv);
void batch_clear(struct batch *b, struct kv *kv); /* gives the blobs back */
/* A copy of what is in `append`, which has the blob; the rest of it is in the batch's arena. */
void batch_add(struct batch *b, const struct store_append *append, struct str label);
/* Queues it; batch_end waits for what comes of it. */
void batch_begin(struct batch *b, struct store_account *account);
/* Those that were refused are told to `refused`, with the result; RC_OK when the others are there
 * for good. RC_TEMP, RC_FULL, RC_CORRUPT: none may be. */
struct batch_watch {
    void (*refused)(struct batch_watch *watch, const struct batch *b, size_t i, enum rc rc);
};
enum rc batch_end(struct batch *b, struct store_account *account, struct kv *kv,
                  struct batch_watch *watch);

#endif
