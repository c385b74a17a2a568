/* Blobs of kv_rados, inside. Written and read (blob_write.c, blob_read.c), known while they are in
 * somebody's hands or in memory (blob_table.c), referred to by commits (blob_refs.c), looked after
 * by intents (blob_intents.c), removed (blob_clear.c), also those that a dead process left
 * (blob_sweep.c). How all of it looks on the cluster: blob_form.h.
 *
 * THE LAW. A partition that refers to a blob has a row of references for it, (count, token), among
 * its rows; the blob's main object has a tag for each such row, with the partition and the token.
 * The tag is there before the commit that makes the row, and goes after the commit that removes it.
 * The blob goes with its last tag, in one operation. Tokens are random and never used again, so
 * what comes late hits nothing that is newer.
 *
 * INTENTS. Whoever is about to make a tag, or to remove a row, has a durable intent before: (blob,
 * token), "look after this tag". What a crash leaves is found through them, never by listing the
 * pool: another process takes the intents over and removes the tags that no row stands for. A
 * process whose intents may have been taken over does not commit by the tags that it made before:
 * it has written to them within its time, by its own clock, and, since that may have stood still,
 * also since it has loaded the partition's head. Whoever judges its tags changes that head first.
 *
 * LOCKS. All of this is under blobs.mutex, which comes behind a partition's and before the link's.
 * Who waits for something here is told by blob_unlock, when the mutex is free; answers of the link
 * come on threads that hold nothing. */
#ifndef RADOS_BLOB_INT_H
#define RADOS_BLOB_INT_H

#include "rados/blob_form.h"
#include "rados/rados_int.h"

/* --- tags and blobs --------------------------------------------------------------------------- */

enum tag_state {
    TAG_WAITS, /* for its intent, or for its blob to be made */
    TAG_SENT,
    TAG_SET,
    TAG_FAILED
};

enum intent_state {
    INTENT_NONE,
    INTENT_ADDING, /* in the operation that is under way */
    INTENT_DURABLE,
    INTENT_REMOVING
};

/* A tag that this process makes, relies on or removes. */
struct tag {
    struct list link; /* of its blob */
    struct blob *blob;
    struct form_tag form;
    uint64_t term; /* of the process, when it was made */
    enum tag_state state;
    enum rc rc;      /* why it failed */
    bool is_first;   /* made together with the blob, and no commit has named it yet */
    bool is_done;    /* a row stands for it, or it is not on the cluster: only its intent is left */
    bool is_dropped; /* to be removed, once nobody uses it */
    bool is_doubted; /* nobody knows whether a row stands for it: the sweeper finds out */
    bool is_clearing;    /* being removed */
    unsigned users;      /* transactions */
    struct list waiters; /* struct ref */
    enum intent_state intent;
    bool is_intent_wanted;
    struct list intent_link; /* in intents.adds or intents.removes, or in the clerk's hands */
    struct list doubt_link;  /* in blobs.doubts */
    bool is_swept;           /* a dead process's; blobs.n_swept counts it */
};

enum make_state {
    MAKE_ELSEWHERE, /* not by this process, or long ago */
    MAKE_WAITS,     /* for its intent; its bytes are here */
    MAKE_SENT,
    MAKE_DONE,
    MAKE_FAILED,
    MAKE_STREAM /* large, being written by its writer */
};

struct blob {
    struct map_node node;
    struct list lru; /* when in nobody's hands */
    struct kv_blob_id id;
    unsigned hands;   /* readers, writers, transactions, and who has finished it */
    bool is_finished; /* and not forgotten: one of the hands */
    enum make_state make;
    enum rc make_rc;
    uint64_t chunks;    /* written of a large one, by this process */
    uint64_t term;      /* of the process, when the first one was; */
    uint64_t round;     /* rad.rounds when the last one was there */
    bool is_whole;      /* none of them has been swept before the main object was there */
    struct record head; /* valid with `main` */
    uint32_t chunk_bytes;
    unsigned char *main; /* bytes of the main object; NULL: not in memory */
    size_t main_n;
    bool is_loading;
    enum rc load_rc;
    struct list readers; /* who waits for the load; blob_read.c */
    struct list tags;
    struct clearing *clearing; /* NULL: none under way */
    struct list clear_link;    /* in blobs.clears, waiting */
    bool is_gone;              /* removed from the cluster */
    uint64_t unsure_until;     /* a write whose outcome is not known may come until then; 0: none */
};

/* --- intents ---------------------------------------------------------------------------------- */

enum { INTENTS_RESERVE = 256 };

enum {
    BEAT_MS = 10000, /* how often a process says that it lives */
    BEATS_GOOD = 4,  /* so long its intents are its own for certain, since it said so last */
    BEATS_DEAD = 6   /* after so many without a word others take them over */
};

/* The process as others see it. */
struct intents {
    _Atomic uint64_t process;
    uint64_t beat;
    uint64_t term;       /* counts the times that it had to begin anew */
    uint64_t good_until; /* nobody has taken over before that, by our clock */
    uint64_t proved;     /* nor before this one of rad.rounds */
    uint64_t next_beat;
    struct list adds, removes;
    struct list beat_waiters;                        /* struct refs */
    struct form_intent reserve[2 * INTENTS_RESERVE]; /* durable, for blobs not yet begun */
    size_t n_reserve;
    pthread_t clerk;
    pthread_cond_t wake;
    bool is_stopping, is_urgent;
};

struct blobs {
    struct rad *rad;
    uint64_t beat_ns;
    uint32_t piece_bytes, chunk_bytes;
    uint64_t cache_bytes;
    pthread_mutex_t mutex;
    pthread_cond_t changed; /* a blob was loaded, or a removal has ended */
    struct map by_id;
    struct list lru; /* oldest first */
    uint64_t lru_bytes;
    struct list wakings; /* struct waking, to be told by blob_unlock */
    struct intents intents;
    struct list clears;  /* struct blob, waiting to be removed */
    struct list retries; /* struct blob, whose removal failed */
    unsigned n_clearing;
    int held;           /* while more than 0, nothing is removed */
    struct list doubts; /* struct tag */
    bool is_doubt_new;  /* not yet judged in vain */
    pthread_t sweeper;
    pthread_cond_t sweep_wake;
    _Atomic bool is_sweep_stopping;
    unsigned n_swept; /* tags of dead processes that are being removed */

    /* Of the cluster, as the sweeper has last seen it. */
    _Atomic uint64_t all_bytes, free_bytes; /* 0: not known */
    _Atomic uint64_t full_until; /* a write was refused for want of space: none fits before that */
};

static inline struct blobs *blobs_of(struct kv *kv)
{
    return rad_of(kv)->blobs;
}

/* The references of a transaction, from its turn until it has ended; op->backend. */
struct refs {
    struct kv_part part;
    struct map by_id;      /* struct ref */
    unsigned pass;         /* of counting */
    size_t pending;        /* of them that are not ready yet; one more while the beat is awaited */
    bool is_applied;       /* the transaction may have been sent */
    struct waking *waking; /* while something is pending */
    struct list beat_link; /* in intents.beat_waiters */
};

/* What it does to one blob. */
struct ref {
    struct map_node node;
    struct list wait_link; /* of its tag's waiters */
    struct refs *refs;
    struct blob *blob; /* a hand of it */
    unsigned pass;
    struct form_refs before, now;
    bool was_taken;  /* the transaction has taken one, and perhaps given it back */
    struct tag *tag; /* one of its users; NULL: none */
    bool is_take;    /* the tag is for a first reference; otherwise the last one goes */
};

struct waking {
    struct list link;
    struct rad_part *part; /* pinned */
};

/* --- blob_table.c ----------------------------------------------------------------------------- */

void blob_lock(struct blobs *b);
void blob_unlock(struct blobs *b); /* then wakes the partitions that have waited */
/* The same where a partition's mutex is held: the clerk wakes them. */
void blob_unlock_inside(struct blobs *b);

struct blob *blob_find(struct blobs *b, struct kv_blob_id id);
struct blob *blob_enter(struct blobs *b, struct kv_blob_id id); /* made when missing; a hand more */
void blob_leave(struct blobs *b, struct blob *blob);            /* a hand less */
/* After anything changed: removes tags, or puts the blob aside, or frees it. */
void blob_settle(struct blobs *b, struct blob *blob);
void blob_set_main(struct blob *blob, unsigned char *main, size_t n); /* takes the memory */
/* With the result of each write to the blob: notes when it is not known. */
void blob_note(struct blobs *b, struct blob *blob, enum link_result result);

struct tag *tag_add(struct blob *blob, struct form_tag form);
struct tag *tag_find(struct blob *blob, uint64_t token);
void tag_changed(struct blobs *b, struct tag *tag); /* its waiters may go on */
/* Only its intent is left, if that: gives it up, and then the tag. */
void tag_done(struct blobs *b, struct tag *tag);
void tag_free(struct blobs *b, struct tag *tag);
void tag_doubt(struct blobs *b, struct tag *tag);

/* --- blob_write.c ----------------------------------------------------------------------------- */

void blob_make(struct blobs *b, struct blob *blob); /* its first tag's intent is durable */

/* --- blob_refs.c ------------------------------------------------------------------------------ */

/* A write of the tag to the blob's main object; the caller adds what it asks of that. */
struct link_call *tag_call(struct blobs *b, const struct blob *blob, struct form_tag form);
void tag_go_on(struct blobs *b, struct tag *tag); /* its intent is durable, or its blob is made */
bool ref_is_ready(const struct ref *ref);
void refs_less_pending(struct blobs *b, struct refs *refs);
/* The key of a row of references: 18 bytes. */
enum { REFS_KEY = 18 };
void refs_key(char *to, struct kv_blob_id id);

/* --- blob_intents.c --------------------------------------------------------------------------- */

enum rc intents_open(struct blobs *b); /* makes the object, starts the clerk */
void intents_stop(struct blobs *b);    /* ends the clerk */
/* Takes the object away when nothing has to be looked after any more. */
void intents_close(struct blobs *b);
void intent_want(struct blobs *b, struct tag *tag);
void intent_leave(struct blobs *b, struct tag *tag);
bool intent_take(struct blobs *b, struct form_intent *out); /* a durable one; false: none ready */
bool intents_are_good(struct blobs *b);                     /* nobody can have taken over */
void intents_hurry(struct blobs *b);

/* --- blob_clear.c ----------------------------------------------------------------------------- */

void clear_begin(struct blobs *b, struct blob *blob); /* at once, or when there is room for it */
void clear_next(struct blobs *b);

/* --- blob_sweep.c ----------------------------------------------------------------------------- */

void sweep_open(struct blobs *b);  /* starts it; it commits */
void sweep_close(struct blobs *b); /* while commits are still made */

/* --- blob.c ----------------------------------------------------------------------------------- */

void blobs_look_for_space(struct blobs *b); /* may wait */
void blobs_hold(struct blobs *b, int by);   /* while more than 0, nothing is removed */

#endif
