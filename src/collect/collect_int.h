/* collect, inside.
 *
 *   collect.c  which of them is tried when       try.c   one try: a session's owner
 *   take.c     one message                       tell.c  mail to the owner here
 *   folders.c  folders of IMAP
 *
 * LOCKS, taken in this order: collect.mutex for the schedule, job.mutex for what deliveries of a
 * try tell. */
#ifndef COLLECT_COLLECT_INT_H
#define COLLECT_COLLECT_INT_H

#include "collect/collect.h"
#include "fetch/fetch.h"
#include "remote/remote.h"

#include "base/mem.h"
#include "mime/mime.h"

#include <pthread.h>

enum {
    HOPS_MAX = 50,            /* Received fields; more: it goes round in a loop */
    UNDER_WAY = 256,          /* messages of a try that are not yet durable */
    UNDER_WAY_BYTES = 4 << 20 /* and their bytes, but for one that is larger */
};

struct collect {
    const struct ctx *ctx;
    struct collect_conf conf;
    struct fetch_house house;
    struct task_lane *lane; /* names, passwords, notes: what blocks and is no session's step */
    pthread_t keeper;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct list jobs; /* by account and number */
    size_t n_running, n_idle;
    bool is_stale; /* the settings in the store have changed */
    bool is_draining, is_ending;
    bool has_lease;
    uint64_t lease_until; /* monotonic: renewed by then */
    struct kv_watch watch;
};

/* What is known of a message while it is on its way into the mailbox. */
struct carrier;

/* One account elsewhere. What is not said to be otherwise is the keeper's while it does not run,
 * and the try's while it does. */
struct job {
    struct list link; /* of collect.jobs; the lock's */
    struct collect *collect;
    struct arena arena; /* remote's texts */
    struct remote remote;
    struct remote_state state;
    char text[REMOTE_TEXT_MAX + 1]; /* state.text */
    bool is_running;                /* the lock's */
    bool is_met, is_changed;        /* the lock's, of a reading; changed: while it ran */
    bool is_idling;                 /* the lock's */
    struct task_job start, finish;

    struct collect_settings set; /* of this try */
    struct fetch_owner owner;
    struct fetch_session *session; /* until is_over, under job.mutex */
    struct fetch_end end;
    struct store_account *account;
    char token[17];              /* in Received, against loops */
    uint64_t began;              /* wall clock */
    struct carrier *carrier;     /* of the message that comes just now */
    unsigned char (*listed)[16]; /* digests of the UIDLs that were told */
    size_t n_listed, size_listed;
    uint32_t *refused; /* numbers of messages that went round in a loop */
    size_t n_refused, size_refused;
    uint64_t n_left;  /* messages */
    uint32_t mailbox; /* where it goes; 0: INBOX */
    struct folder {   /* IMAP: the one that is open */
        char name[FETCH_NAME_MAX + 1];
        uint32_t uidvalidity, from;   /* nothing below `from` is wanted */
        uint32_t highest, first_left; /* UIDs that were told; that stay there. 0: none */
        size_t n_wanted, n_ended;
        bool is_open;
        bool is_anew; /* its UIDs were others once: messages are told by their bytes as well */
    } folder;

    pthread_mutex_t mutex; /* the rest */
    size_t under_way;
    uint64_t under_way_bytes;
    bool is_waiting;  /* for fetch_resume */
    bool is_flushing; /* until nothing is under way */
    bool is_over;     /* the session is */
    enum rc rc;       /* the first failure of a delivery */
    uint64_t n_taken;
};

/* --- collect.c */

void collect_job_done(struct job *job); /* the try is over; its state stands */
uint64_t collect_now(const struct collect *c);
/* Whether the session may stay to be told of new mail; counted until job_done. */
bool collect_may_idle(struct job *job);

/* --- try.c */

void collect_try_start(struct task_job *task);
void collect_try_free(struct job *job); /* what a try has left */

/* --- take.c */

enum rc collect_take_begin(struct job *job, const struct fetch_item *item);
enum rc collect_take_bytes(struct job *job, struct str bytes);
enum rc collect_take_end(struct job *job, const struct fetch_item *item);
void collect_take_drop(struct job *job);
bool collect_take_was_refused(const struct job *job, uint32_t number);
/* What is noted of a message by its UIDL. */
enum { NOTE_IN = 1, NOTE_REFUSED = 2, NOTE_UIDL = 18 };
struct uidl_note {
    uint8_t what;
    uint64_t time,
        missing; /* missing: since when it is not listed any more; 0: it was, last time */
};
struct str collect_note_pack(const struct uidl_note *note, unsigned char out[NOTE_UIDL]);
enum rc collect_note_read(struct str value, struct uidl_note *out);
/* Waits for a change of notes. */
enum rc collect_notes_put(struct job *job, const struct store_note *notes, size_t n);

/* --- folders.c */

enum rc collect_folders_choose(struct job *job, const struct fetch_folder *folders, size_t n,
                               bool *wants);
enum rc collect_folders_open(struct job *job, const struct fetch_folder *folder,
                             uint32_t *out_from);
/* All of the open one is in: what is noted so need not be listed again. */
enum rc collect_folders_finish(struct job *job);
enum { FOLDERS_UIDL = FETCH_NAME_MAX + 24 };
/* What tells a message from all others: the UIDL, or folder, UIDVALIDITY and UID. */
struct str collect_folders_uidl(const struct job *job, const struct fetch_item *item,
                                char mem[FOLDERS_UIDL]);

/* --- tell.c */

/* A mail to the owner about what goes wrong, once for each time that it began to. */
enum rc collect_tell_owner(struct job *job);

#endif
