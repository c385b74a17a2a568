/* store: the mail model - accounts, mailboxes, messages, flags, and the record of every change -
 * over kv.
 *
 * An account is one kv partition. Opening it loads its hot record and its mailboxes; messages are
 * loaded by mailbox, when somebody looks. All users of an account in a process share one struct
 * store_account, which owns the account's one writer: changes to an account are made in the order
 * of the calls, each is one commit (at most STORE_BATCH messages), several may be under way.
 *
 * TWO VIEWS. A change is queued against the head (what has been queued before it) and becomes
 * visible in the published view when its commit is durable: then roots move, watches are told,
 * op->done runs. Nobody but the account's writer sees the head.
 *
 * ROOTS. A struct store_root is the state of one mailbox at one modseq: immutable, reference
 * counted, cheap to hold, rows in order of UID. A session holds the root that its client knows and
 * takes a newer one when it may tell the client. Roots are released before their account is closed.
 *
 * NUMBERS. UIDs, email ids and modseqs only grow; after a restore or a loss (kv_generation) every
 * account jumps by STORE_JUMP before its first change, so that no client sees a number twice for
 * two things.
 *
 * NOTHING IS LOST AT ONCE: what is expunged leaves a tombstone that keeps the message for
 * store_conf.undelete_ns.
 *
 * Every record starts with a format byte. Records with message content (and every body) also carry
 * a codec and a key id; a body is read through store_message_*, which is where a sealed account
 * will need its session's key.
 *
 * FAILURE. When a commit fails, so do all changes queued behind it (RC_CONFLICT: try again). The
 * account then goes back to what is published, and later calls work again; what was published was
 * right all the time.
 *
 * THREADS: any. Calls with KV_CACHED never wait: RC_AGAIN means "call again from a worker without
 * it". Calls without it may block.
 */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include "kv/kv.h"

struct store;
struct store_account;

enum {
    STORE_BATCH =
        1000, /* messages one change may touch; callers split, each part has a modseq of its own */
    STORE_KEYWORDS = 64,     /* different keywords in one account; more: RC_LIMIT */
    STORE_KEYWORD_MAX = 64,  /* bytes of a keyword */
    STORE_NAME_MAX = 255,    /* bytes of one level of a mailbox name, UTF-8 */
    STORE_MAILBOXES = 10000, /* mailboxes in one account */
    STORE_REFERENCES = 16,   /* message ids looked at to find a thread */
    STORE_JUMP = 1 << 20
};

struct store_conf {        /* 0: the default */
    uint64_t memory_bytes; /* of roots and open accounts that nobody uses: 64 MB */
    uint64_t undelete_ns; /* how long expunged messages are kept: 7 days; UINT64_MAX: only until the
                             next maintenance */
    uint64_t changes_ns;  /* how long the change log reaches back: 30 days */
};

enum rc store_open(const struct ctx *ctx, struct kv *kv, const struct store_conf *conf,
                   struct store **out);
void store_close(struct store **store); /* no account may be open */

/* --- accounts --------------------------------------------------------------------------------- */

enum { STORE_QUOTA_BYTES = 1, STORE_QUOTA_MESSAGES = 2 };
struct store_quota {
    uint64_t bytes, messages; /* 0: no limit */
    unsigned inherited;       /* which of the two are the default of its group instead */
    uint64_t group;           /* 0: none; the caller's number of what shares a default */
};
struct store_usage {
    uint64_t bytes, messages;
    struct store_quota quota; /* the limits in force, whether its own or inherited */
    uint64_t modseq;          /* the highest one */
};

/* Makes the account's partition with INBOX, Drafts, Sent, Junk, Trash and Archive [RFC6154].
 * RC_EXISTS. Blocks. */
enum rc store_account_create(struct store *store, uint64_t id, struct store_quota quota);
/* Removes all its rows and references, in bounded steps; again after a crash. RC_CONFLICT while it
 * is open elsewhere. Blocks. */
enum rc store_account_destroy(struct store *store, uint64_t id);

/* RC_NOTFOUND when it was never made; RC_AGAIN with KV_CACHED when it is not in memory. */
enum rc store_account_open(struct store *store, uint64_t id, unsigned flags,
                           struct store_account **out);
void store_account_close(
    struct store_account **account); /* never blocks; it stays in memory for a while */
uint64_t store_account_id(const struct store_account *account);
void store_account_usage(struct store_account *account, struct store_usage *out);
enum rc store_account_set_quota(struct store_account *account,
                                struct store_quota quota); /* blocks */

/* Whether `size` more bytes (0: not known yet) have room now: RC_OK or RC_LIMIT. What is queued
 * counts. Never blocks. An append decides again. */
enum rc store_account_has_room(struct store_account *account, uint64_t size);

/* The default limits of a group; of what has none: no limits. They hold from the next append on, in
 * every account that inherits them; a process learns of another one's change when it opens the
 * store. Setting blocks. */
enum rc store_default_set(struct store *store, uint64_t group, struct store_quota quota);
struct store_quota store_default(struct store *store, uint64_t group);

/* The exclusive use that POP3 asks for [RFC1939 3]: deliveries and IMAP never wait for it. False:
 * somebody has it. */
bool store_pop3_lock(struct store_account *account);
void store_pop3_unlock(struct store_account *account);

/* --- mailboxes -------------------------------------------------------------------------------- */

enum store_role {
    STORE_NONE,
    STORE_INBOX,
    STORE_DRAFTS,
    STORE_SENT,
    STORE_JUNK,
    STORE_TRASH,
    STORE_ARCHIVE
};

struct store_mailbox {
    uint32_t id, parent; /* parent 0: top level */
    enum store_role role;
    struct str name; /* this level only */
    uint32_t uidvalidity, uidnext;
    uint64_t highest_modseq;
    uint32_t exists, unseen;
    uint64_t bytes;
};

/* Published state; the array and names are in the arena, sorted by id. */
enum rc store_mailbox_list(struct store_account *account, struct arena *arena,
                           struct store_mailbox **out, size_t *out_n);
enum rc store_mailbox_by_role(struct store_account *account, enum store_role role,
                              uint32_t *out_id);

/* --- changes ---------------------------------------------------------------------------------- */

enum store_flag {
    STORE_SEEN = 1,
    STORE_ANSWERED = 2,
    STORE_FLAGGED = 4,
    STORE_DELETED = 8,
    STORE_DRAFT = 16
};

/* A row's flag that no protocol shows and nothing changes: the message's bytes do not end with
 * CRLF. Who puts it into a mailbox says so. */
enum { STORE_UNENDED = 1 << 18 };

/* A change under way: the caller's memory until done() has run, exactly once, on some thread, where
 * it must not block nor call the store but with KV_CACHED. When there is nothing to change, done()
 * runs before the call returns. */
struct store_op {
    void (*done)(struct store_op *op);
    enum rc rc;                /* RC_OK: durable. RC_CORRUPT: no such body. RC_TEMP,
                                  RC_FULL, RC_CONFLICT: later. */
    uint32_t uidvalidity, uid; /* of an append: the first uid given */
    uint64_t email;            /* of an append */
    uint64_t modseq;           /* of the change */
    uint32_t changed;          /* messages that were changed or expunged; 0: modseq is 0 too */
    void *private_[8];
};

struct store_append {
    uint32_t mailbox;       /* 0: INBOX */
    struct kv_blob_id blob; /* finished; the caller forgets it when done() has run */
    uint64_t size;          /* of the message as clients see it */
    uint64_t received;      /* internal date, ns since 1970 */
    uint32_t flags;         /* STORE_UNENDED too */
    const struct str *keywords;
    size_t n_keywords;
    struct str message_id;        /* without the angle brackets; may be absent */
    const struct str *references; /* message ids that this one answers, the nearest last;
                                     STORE_REFERENCES of them count */
    size_t n_references;
    struct str delivery_id; /* 16 bytes, when a repeated delivery must be recognised (7 days):
                               RC_EXISTS then; RC_CONFLICT while the first one is under way */
    bool ignore_quota;
};

/* The calls below queue a change. RC_OK: op->done will come. Otherwise it will not: RC_AGAIN (with
 * KV_CACHED), RC_NOTFOUND (no such mailbox), RC_LIMIT (over quota, too many messages or
 * keywords), RC_TEMP (also: too much is queued), RC_EXISTS, RC_CONFLICT, RC_PERM (UIDs out of
 * order, a delivery id of another length), RC_CORRUPT. What `append` and `change` point to is
 * needed only during the call. */
enum rc store_append(struct store_account *account, const struct store_append *append,
                     unsigned flags, struct store_op *op);

enum store_flag_how { STORE_FLAGS_SET, STORE_FLAGS_ADD, STORE_FLAGS_REMOVE };
struct store_flag_change {
    uint32_t mailbox;
    const uint32_t *uids; /* sorted; those that are gone are passed over */
    size_t n_uids;
    enum store_flag_how how;
    uint32_t flags;
    const struct str *keywords;
    size_t n_keywords;
    uint64_t unchanged_since; /* UINT64_MAX: whatever happened; otherwise rows with a higher modseq
                                 are left alone [RFC7162 3.1.3] */
};
enum rc store_change_flags(struct store_account *account, const struct store_flag_change *change,
                           unsigned flags, struct store_op *op);

enum rc store_expunge(struct store_account *account, uint32_t mailbox, const uint32_t *uids,
                      size_t n_uids, unsigned flags, struct store_op *op);

/* --- reading ---------------------------------------------------------------------------------- */

struct store_row {
    uint32_t uid;
    uint32_t flags;
    uint64_t keywords; /* bit n: the account's keyword n */
    uint64_t email, modseq, size, received;
    uint64_t saved; /* when it came into this mailbox, ns since 1970 */
};

struct store_root;
enum rc store_mailbox_open(struct store_account *account, uint32_t mailbox, unsigned flags,
                           struct store_root **out);
void store_root_release(struct store_root **root);
const struct store_mailbox *store_root_mailbox(
    const struct store_root *root); /* numbers of that state */
size_t store_root_count(const struct store_root *root);
size_t store_root_unended(const struct store_root *root); /* rows with STORE_UNENDED */
const struct store_row *store_root_at(const struct store_root *root,
                                      size_t index); /* from 0, by growing UID */
size_t store_root_find(const struct store_root *root,
                       uint32_t uid); /* index of the first row with this UID or a greater one */

/* UIDs that vanished from a mailbox after `modseq`, ascending. RC_NOTFOUND when the log does not
 * reach back that far. Blocks. */
enum rc store_vanished(struct store_account *account, uint32_t mailbox, uint64_t modseq,
                       struct arena *arena, uint32_t **out_uids, size_t *out_n);
/* The account's keyword names by bit; absent where none. */
enum rc store_keywords(struct store_account *account, struct arena *arena,
                       struct str out_names[STORE_KEYWORDS]);

/* A message's bytes. Stays readable until closed, also when it is expunged meanwhile. */
struct store_message;
enum rc store_message_open(struct store_account *account, uint64_t email, unsigned flags,
                           struct store_message **out);
uint64_t store_message_size(const struct store_message *message);
enum rc store_message_read(struct store_message *message, uint64_t offset, void *to, size_t n,
                           unsigned flags, size_t *out_got);
void store_message_close(struct store_message **message);

/* A session that reads a mailbox as it was: its root is the one of the moment of opening, and every
 * message in it can be opened until the reader is closed, whoever expunges it meanwhile. Holding
 * one costs a little memory and keeps maintenance from clearing away what is expunged from then on.
 * Calls on one reader come from one thread at a time; close it before the account.
 * store_reader_open: as store_mailbox_open. */
struct store_reader;
enum rc store_reader_open(struct store_account *account, uint32_t mailbox, unsigned flags,
                          struct store_reader **out);
void store_reader_close(struct store_reader **reader);
const struct store_root *store_reader_root(const struct store_reader *reader);
/* The message at this index of the root. RC_CORRUPT: its record or its body is damaged or missing.
 */
enum rc store_reader_message(struct store_reader *reader, size_t index, unsigned flags,
                             struct store_message **out);

/* --- what a client has collected -------------------------------------------------------------- */

/* Notes that these messages (sorted, at most STORE_BATCH) were collected now, so that
 * store_collected_expire can find them; those noted before keep their first time. A change like the
 * others, but clients see nothing of it. Calls for one mailbox come one after the other (the POP3
 * lock sees to that). */
enum rc store_collected_note(struct store_account *account, uint32_t mailbox, const uint32_t *uids,
                             size_t n_uids, unsigned flags, struct store_op *op);
/* Expunges what was collected at least this long ago and is still where it was; others see that as
 * any expunge. Bounded work, *out_more when there is more; *out_expunged is added to. Blocks. */
enum rc store_collected_expire(struct store_account *account, uint64_t age_ns,
                               uint64_t *out_expunged, bool *out_more);

/* --- watching and keeping --------------------------------------------------------------------- */

/* Told after a change of the account was published; a hint, coalesced. changed() must not block and
 * may not add or remove watches. */
struct store_watch {
    void (*changed)(struct store_watch *watch);
    struct list link; /* the store's */
};
void store_watch_add(struct store_account *account, struct store_watch *watch);
void store_watch_remove(struct store_account *account,
                        struct store_watch *watch); /* no call is under way afterwards */

/* Packs rows, drops tombstones, log rows and delivery ids whose time is over; bounded work,
 * *out_more when there is more. Blocks. */
enum rc store_maintain(struct store_account *account, bool *out_more);
/* Many rows to pack, or an hour since the last time: ask after a delivery, then maintain from a
 * worker. Never blocks. */
bool store_maintain_is_due(struct store_account *account);

/* Compares every counter, reference and index of an account with its messages. report() gets a line
 * for each fault. RC_OK: sound; RC_CORRUPT: faults were reported. Changes of the account wait
 * meanwhile. Blocks. */
struct store_fsck {
    void (*report)(struct store_fsck *fsck, const char *line);
    uint64_t messages, faults; /* results, added to */
};
enum rc store_fsck(struct store *store, uint64_t id, struct store_fsck *fsck);

#endif
