/* trace, inside: an event's bytes, the files it is written to, how it is found again. */
#ifndef TRACE_TRACE_INT_H
#define TRACE_TRACE_INT_H

#include "base/buf.h"
#include "base/bytes.h"
#include "trace/trace.h"

/* --- event.c: an event as bytes --------------------------------------------------------------- */

/* Its bytes in `mem`; they never fail to fit: addresses are left out, texts are cut. */
struct str trace_event_pack(const struct trace_event *event, unsigned char mem[TRACE_EVENT_MAX]);
/* The texts are views into the bytes, the list of recipients is in the arena. RC_CORRUPT, RC_LIMIT.
 * What a newer one has added is passed over. */
enum rc trace_event_unpack(struct str bytes, struct arena *arena, struct trace_event *out);

/* What an event is found by. */
enum event_key { EVENT_BY_ID = 'i', EVENT_BY_MESSAGE_ID = 'm', EVENT_BY_ADDRESS = 'a' };
/* The same for all time: it is stored. Case does not count in addresses. */
uint64_t trace_event_hash(enum event_key key, struct str text);
bool trace_event_matches(const struct trace_event *event, enum event_key key, struct str text);
/* Those of a packed event. */
enum { EVENT_HASHES = 1024 };
size_t trace_event_hashes(struct str bytes, uint64_t out[EVENT_HASHES]);

/* --- file.c: partitions that are filled one after the other ----------------------------------- */

/* Two sets of files, each with its own room: what happens to one pushes nothing out of the other.
 */
enum file_set { FILES_OF_MAIL, FILES_OF_LOGINS };

struct file {
    enum file_set set;
    uint32_t start; /* s since 1970 */
    uint8_t writer;
    uint64_t bytes;
    uint32_t next; /* number of its next block */
    uint64_t version;
};
struct kv_part trace_file_part(const struct file *file);
/* All that there are, oldest first; malloc'd. */
enum rc trace_files_list(struct kv *kv, enum file_set set, struct file **out, size_t *out_n);
/* What the store has of one: zeroes of one that has not been begun. */
enum rc trace_file_read(struct kv *kv, struct file *file);
enum rc trace_file_note(struct kv *kv,
                        const struct file *file); /* in the list, before its first row */
enum rc trace_file_remove(struct kv *kv, const struct file *file); /* with all its rows */
/* Adds events, each with its length in two bytes in front, to the file: one commit, or as many as
 * it takes. RC_CONFLICT: somebody else writes to it. */
enum rc trace_file_append(struct kv *kv, struct file *file, struct str events);

/* --- index.c: the rows of a file -------------------------------------------------------------- */

enum {
    INDEX_BUCKETS = 1024,
    INDEX_BLOCK = 16 << 10, /* bytes of events in a block, but for the last one's rest */
    INDEX_BLOCKS = 128      /* of a commit; below 256 */
};
struct index; /* of one commit */
struct index *trace_index_new(uint32_t first_block);
void trace_index_free(struct index **index);
/* RC_LIMIT: it is full, and was not added. */
enum rc trace_index_add(struct index *index, struct str event);
enum rc trace_index_put(struct index *index, struct kv_txn *txn, uint64_t *out_bytes);
uint32_t trace_index_next(const struct index *index); /* number of the block behind them */

struct place { /* of an event in a file */
    uint32_t block;
    uint16_t offset;
};
/* Where a hash may be found, in the order of writing; at most `max` of the last ones. What was
 * written long before the block `from` is left out. */
struct wanted {
    uint64_t hash;
    uint32_t from;
    size_t max;
};
enum rc trace_index_find(struct kv *kv, struct kv_part part, const struct wanted *wanted,
                         struct arena *arena, struct place **out, size_t *out_n);
/* The event's bytes, in the arena. RC_NOTFOUND, RC_CORRUPT. `cache` keeps the last block: zeroes at
 * first. */
struct block_cache {
    struct kv_part part;
    uint32_t number;
    struct str bytes; /* in the arena */
};
enum rc trace_index_event(struct kv *kv, struct kv_part part, struct place at,
                          struct block_cache *cache, struct arena *arena, struct str *out);

/* --- login.c: logins, the same ones gathered -------------------------------------------------- */

/* What is to be written down of them. */
struct login_sink {
    void (*put)(struct login_sink *sink, const struct trace_event *event);
};
struct logins;                                                             /* those of late */
struct logins *logins_new(const struct ctx *ctx, struct login_sink *sink); /* which outlives it */
void logins_free(struct logins **logins);
void logins_add(struct logins *logins, const struct trace_login *login); /* any thread */
void logins_flush(struct logins *logins); /* what has gathered is written down */

/* --- find.c --- */
enum rc find_stories(struct kv *kv, const struct trace_query *query, struct arena *arena,
                     struct trace_found *out);
/* One story more, if the query is an address that has logins. */
enum rc find_logins(struct kv *kv, const struct trace_query *query, struct arena *arena,
                    struct trace_found *out);

#endif
