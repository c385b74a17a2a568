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
    STORE_KEYWORDS = 64,           /* different keywords in one account; more: RC_LIMIT */
    STORE_KEYWORD_MAX = 64,        /* bytes of a keyword */
    STORE_NAME_MAX = 255,          /* bytes of one level of a mailbox name, UTF-8 */
    STORE_LEVELS = 20,             /* levels of a mailbox name */
    STORE_MAILBOXES = 10000,       /* mailboxes in one account; also: subscriptions */
    STORE_APPENDS = 500,           /* messages one store_append_many may add */
    STORE_SUMMARIES = 1000,        /* summaries one call may ask for */
    STORE_SUMMARY_MAX = 256 << 10, /* bytes of a summary that is kept */
    STORE_REFERENCES = 16,         /* message ids looked at to find a thread */
    STORE_ORIGIN = 16,             /* bytes of an origin */
    STORE_UIDL_MAX = 70,           /* bytes of a POP3 unique-id [RFC1939 7] */
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

/* Makes the account's partition with INBOX, Drafts, Sent, Junk, Trash and Archive [RFC6154],
 * which are subscribed. RC_EXISTS. Blocks. */
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
    STORE_ARCHIVE,
    STORE_MEMOS, /* [RFC9979 9.2] */
    STORE_SCHEDULED,
    STORE_SNOOZED,
    STORE_ROLES
};

struct store_mailbox {
    uint32_t id, parent; /* parent 0: top level */
    enum store_role role;
    struct str name; /* this level only */
    uint32_t uidvalidity, uidnext;
    uint64_t highest_modseq;
    uint32_t exists, unseen;
    uint32_t first_unseen; /* a hint: no message below this UID is unseen */
    uint64_t bytes;
    bool is_placeholder; /* there only because it has children: no messages, cannot be opened */
};

/* The name of a mailbox, level by level: UTF-8, each 1 to STORE_NAME_MAX bytes without '/' and
 * control characters, at most STORE_LEVELS of them. A first level INBOX, in any case of its
 * letters, is the INBOX [RFC3501 5.1] [RFC9051 5.1]; other names differ when a byte does. */
struct store_path {
    const struct str *levels;
    size_t n;
};

/* Published state; the array and names are in the arena, sorted by id. */
enum rc store_mailbox_list(struct store_account *account, struct arena *arena,
                           struct store_mailbox **out, size_t *out_n);
enum rc store_mailbox_by_role(struct store_account *account, enum store_role role,
                              uint32_t *out_id);
/* Placeholders are found too. RC_NOTFOUND. */
enum rc store_mailbox_find(struct store_account *account, struct store_path path, uint32_t *out_id);
/* One of the list. RC_NOTFOUND. Neither this nor the others above wait for a disk. */
enum rc store_mailbox_get(struct store_account *account, uint32_t id, struct arena *arena,
                          struct store_mailbox *out);

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
/* Another one: store_uidls has what POP3 tells of this row. A copy has not. */
enum { STORE_HAS_UIDL = 1 << 19 };

/* A change under way: the caller's memory until done() has run, exactly once, on some thread, where
 * it must not block nor call the store but with KV_CACHED. When there is nothing to change, done()
 * runs before the call returns, or when the changes under way are durable that made it so. */
struct store_op {
    void (*done)(struct store_op *op);
    enum rc rc;                /* RC_OK: durable. RC_CORRUPT: no such body. RC_TEMP,
                                  RC_FULL, RC_CONFLICT: later. */
    uint32_t mailbox;          /* of a creation */
    uint32_t uidvalidity, uid; /* of an append or a copy: the first uid given */
    uint64_t email;            /* of an append: the first one's */
    uint64_t modseq;           /* of the change */
    uint32_t changed;          /* messages that were changed or expunged; 0: modseq is 0 too */
    uint32_t left;             /* messages left alone by a change of flags: out_left */
    struct store_op *next_;    /* the store's */
};

/* A row of somebody above, in the account's partition, that is written with a change: what must be
 * known exactly when a message is there. The store does not look into it. */
enum { STORE_NOTE_KEY = 31, STORE_NOTE_VALUE = 2048, STORE_NOTES = 1000 };
struct store_note {
    struct str key;   /* 1 to STORE_NOTE_KEY bytes; the first one is its owner's letter */
    struct str value; /* up to STORE_NOTE_VALUE bytes; absent: the row goes */
    /* The change is refused with RC_EXISTS unless the row is as `before` says (absent: not there),
     * after all that is queued before it. */
    bool is_checked;
    struct str before;
};

struct store_append {
    uint32_t mailbox;       /* 0: INBOX */
    struct kv_blob_id blob; /* finished; the caller forgets it when done() has run */
    uint64_t size;          /* of the message as clients see it */
    uint64_t received;      /* internal date, ns since 1970 */
    uint32_t flags;         /* STORE_UNENDED too */
    const struct str *keywords;
    size_t n_keywords;
    bool are_keywords_extra;      /* where the account has no room for another one, none is set */
    struct str message_id;        /* without the angle brackets; may be absent */
    const struct str *references; /* message ids that this one answers, the nearest last;
                                     STORE_REFERENCES of them count */
    size_t n_references;
    struct str delivery_id; /* 16 bytes, when a repeated delivery must be recognised (7 days):
                               RC_EXISTS then; RC_CONFLICT while the first one is under way */
    struct str summary;     /* see below; absent: it is made when somebody asks for it */
    /* What it was where it was brought from, STORE_ORIGIN bytes: noted with the same change, for
     * store_origins; absent: nothing is. The source is one for all of a change. */
    struct str origin;
    uint64_t source;
    /* The unique-id that POP3 told of it elsewhere, and goes on to tell here; absent: none.
     * Printable ASCII without spaces; that no other message of the mailbox has it is the caller's
     * business. */
    struct str uidl;
    bool ignore_quota;
    /* A message that goes with the same change, which has no other append: nobody sees both or
     * none, and the quota is asked for what is left of the difference [RFC8508 3.4]. RC_PERM: it is
     * gone already, and nothing is added. 0: none. */
    uint32_t replaced_mailbox, replaced_uid;
    const struct store_note *notes; /* written with it */
    size_t n_notes;                 /* of all messages of a change at most STORE_NOTES */
};

/* The calls below queue a change. RC_OK: op->done will come. Otherwise it will not: RC_AGAIN (with
 * KV_CACHED), RC_NOTFOUND (no such mailbox), RC_LIMIT (over quota, too many messages or
 * keywords), RC_TEMP (also: too much is queued), RC_EXISTS, RC_CONFLICT, RC_PERM (UIDs out of
 * order, a delivery id or an origin of another length, a uidl that is none), RC_CORRUPT. What
 * `append` and `change` point to is needed only during the call. */
enum rc store_append(struct store_account *account, const struct store_append *append,
                     unsigned flags, struct store_op *op);

/* All of them or none [RFC3502], into one mailbox, with UIDs and email ids that follow one another
 * from op->uid and op->email on; op->changed of them. RC_PERM also: more than one mailbox, or a
 * delivery id where n > 1, or n is 0. RC_LIMIT also: n over STORE_APPENDS. */
enum rc store_append_many(struct store_account *account, const struct store_append *appends,
                          size_t n, unsigned flags, struct store_op *op);

/* Copies or moves messages: flags, keywords, internal date and thread are kept, the body is shared.
 * A message and its copies are one message with several places: their flags change together, but
 * \Deleted is each one's own. Quota counts each place. A move is one change: nobody sees both or
 * none [RFC6851 3.3]. Into the mailbox it came from is allowed. RC_LIMIT: quota, or a message would
 * have more than 64 places, those in removed mailboxes included until maintenance came by. */
struct store_copy {
    uint32_t from, to;
    const uint32_t *uids; /* sorted; those that are gone are passed over */
    size_t n_uids;        /* at most STORE_BATCH */
    bool is_move;
    uint32_t *out_uids; /* room for n_uids: those that were there, in order, op->changed of them;
                           they are op->uid, op->uid + 1, ... now. Filled when the call returns */
};
enum rc store_copy(struct store_account *account, const struct store_copy *copy, unsigned flags,
                   struct store_op *op);

/* Keywords that exclude one another [RFC9979 4, 5] are never both set: the one that is set later
 * takes the other one's place; of two that come together the first one stays. */
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
    uint32_t *out_left;       /* NULL, or room for n_uids: those left alone so, op->left of them.
                                 Filled when the call returns */
};
enum rc store_change_flags(struct store_account *account, const struct store_flag_change *change,
                           unsigned flags, struct store_op *op);

/* A flag of store_expunge: those that are not \Deleted at its turn are passed over, so that who
 * takes \Deleted away in time keeps the message. */
enum { STORE_ONLY_DELETED = 1 << 8 };
enum rc store_expunge(struct store_account *account, uint32_t mailbox, const uint32_t *uids,
                      size_t n_uids, unsigned flags, struct store_op *op);

/* --- the tree of mailboxes -------------------------------------------------------------------- */

/* Changes like the others. Names: RC_SYNTAX for one that breaks the rules of store_path.
 *
 * Makes a mailbox; parents that are missing become placeholders, and a placeholder of this name
 * becomes a mailbox. UIDVALIDITY is one that no mailbox of the account has had. RC_EXISTS;
 * RC_CONFLICT: another one has the role; RC_LIMIT: STORE_MAILBOXES. */
enum rc store_mailbox_create(struct store_account *account, struct store_path path,
                             enum store_role role, unsigned flags, struct store_op *op);
/* With all that is below it. RC_EXISTS: there is something of that name; RC_PERM: to a place below
 * itself, or INBOX, whose rename moves its messages instead [RFC3501 6.3.5] [RFC9051 6.3.6]:
 * store_mailbox_create and store_copy. A placeholder that it was the last child of goes. */
enum rc store_mailbox_rename(struct store_account *account, uint32_t id, struct store_path to,
                             unsigned flags, struct store_op *op);
/* Gone for everybody at once, whatever its size, and out of the quota; store_maintain takes its
 * messages away, with tombstones as an expunge leaves them. One that has children becomes a
 * placeholder; a placeholder whose last child goes, goes. RC_PERM: INBOX, or a placeholder.
 * [RFC3501 6.3.4] [RFC9051 6.3.5] */
enum rc store_mailbox_remove(struct store_account *account, uint32_t id, unsigned flags,
                             struct store_op *op);

/* Subscribed names are kept whether or not there is such a mailbox [RFC3501 6.3.6] [RFC9051 6.3.7].
 * The name is the whole path with '/'; INBOX in any case is INBOX. RC_LIMIT: STORE_MAILBOXES.
 * Without a change op->modseq is 0. */
enum rc store_subscribe(struct store_account *account, struct str name, bool is_on, unsigned flags,
                        struct store_op *op);
/* Published; in the arena, sorted by bytes. In memory after the first time: RC_AGAIN with KV_CACHED
 * before. */
enum rc store_subscriptions(struct store_account *account, unsigned flags, struct arena *arena,
                            struct str **out, size_t *out_n);

/* Whether this one is; as above. */
enum rc store_is_subscribed(struct store_account *account, struct str name, unsigned flags,
                            bool *out);

/* --- reading ---------------------------------------------------------------------------------- */

struct store_row {
    uint32_t uid;
    uint32_t flags;    /* enum store_flag; higher bits are the store's */
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
/* Nothing that was there at this modseq has gone since. False also when it is not known: of what
 * was before the mailbox was read into memory. */
bool store_root_has_all_since(const struct store_root *root, uint64_t modseq);
size_t store_root_unended(const struct store_root *root); /* rows with STORE_UNENDED */
const struct store_row *store_root_at(const struct store_root *root,
                                      size_t index); /* from 0, by growing UID */
/* The rows from an index on that lie side by side: at least one, unless it is beyond the end. For
 * looking at all of them at the speed of memory. */
const struct store_row *store_root_rows(const struct store_root *root, size_t index, size_t *out_n);
size_t store_root_find(const struct store_root *root,
                       uint32_t uid); /* index of the first row with this UID or a greater one */

/* Index of the first row, from `index` on and before `to`, that has changed after this modseq, or
 * came after it; `to` when there is none. Most others are passed over unseen, many at once, so that
 * the work is that of what has changed. *looked, unless NULL: rows looked at are added to it. */
size_t store_root_changed(const struct store_root *root, size_t index, size_t to, uint64_t modseq,
                          size_t *looked);

/* Index of the first row that is not \Seen; the number of rows when all are. What it has learned
 * stays with the root and those that follow, so that looking again costs nothing. */
size_t store_root_first_unseen(const struct store_root *root);

/* What differs between two roots of one mailbox, in order of UID: both stay the caller's until the
 * end. What they share is passed over unseen, so the work is that of what has changed. Rows differ
 * when their modseq, flags or keywords do. */
struct chunk;
struct store_diff {
    const struct store_root *old, *new_;
    /* The store's. */
    const struct store_row *old_rows, *new_rows; /* of the chunk that is being compared */
    size_t old_left, new_left;                   /* rows of it */
    size_t i, j;                                 /* indices of old_rows[0], new_rows[0] */
    const struct chunk *kin; /* the new chunk, when it came from the old one and both are side by
                                side; NULL otherwise */
    size_t same_i, same_j, same; /* so many rows from these indices on are known to be the same */
    size_t looked;               /* rows compared, for tests */
};
enum store_diff_kind { STORE_DIFF_END, STORE_DIFF_GONE, STORE_DIFF_CHANGED, STORE_DIFF_NEW };
void store_diff_begin(struct store_diff *diff, const struct store_root *old,
                      const struct store_root *new_);
/* *out_row: the new one; of what is gone the old one. An index that does not apply is where the row
 * would be. */
enum store_diff_kind store_diff_next(struct store_diff *diff, size_t *out_old, size_t *out_new,
                                     const struct store_row **out_row);

/* `new_` with the rows of `old` that are gone from it still at their places: what a session knows
 * that may not hear of an expunge yet [RFC3501 7.4.1] [RFC9051 7.5.1]. Its numbers
 * (store_root_mailbox) are those of `new_`. It may be another reference to new_; shares what it
 * can; released as any root. */
struct store_root *store_root_keep(const struct store_root *old, struct store_root *new_);

/* UIDs that vanished from a mailbox after `modseq`, ascending. RC_NOTFOUND when the log does not
 * reach back that far. Blocks. */
enum rc store_vanished(struct store_account *account, uint32_t mailbox, uint64_t modseq,
                       struct arena *arena, uint32_t **out_uids, size_t *out_n);
/* The account's keyword names by bit; absent where none. */
enum rc store_keywords(struct store_account *account, struct arena *arena,
                       struct str out_names[STORE_KEYWORDS]);
/* How many have names: they keep their bits, and new ones come behind them. */
unsigned store_keyword_count(struct store_account *account);

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
/* Several at once (at most STORE_AHEAD, indices ascending), for reading one after the other: what
 * has to be looked up is looked up together. NULL where one could not be opened;
 * store_reader_message tells why. Blocks. */
enum { STORE_AHEAD = 64 };
void store_reader_messages(struct store_reader *reader, const uint32_t *indices, size_t n,
                           struct store_message **out);
/* The threads of messages at these indices of the root (they ascend), one number each; 0: its
 * record is damaged. A message has the thread of an earlier one with its message id, or of the
 * nearest one that it refers to and that was there when it came; else one of its own. It keeps that
 * for good, as do its copies. One that comes before those that it answers begins a thread, and they
 * begin others. RC_AGAIN (KV_CACHED), RC_TEMP. Many are read together: best when they lie side by
 * side. */
enum rc store_reader_threads(struct store_reader *reader, const uint32_t *indices, size_t n,
                             unsigned flags, uint64_t *out);
/* The emails of a thread, ascending, in the arena: those of other mailboxes too, and those that
 * have gone from the reader's. RC_AGAIN (KV_CACHED), RC_TEMP, RC_LIMIT: the arena is full. */
enum rc store_reader_thread(struct store_reader *reader, uint64_t thread, unsigned flags,
                            struct arena *arena, uint64_t **out, size_t *out_n);
/* Goes on with a newer root of the same mailbox, also one of store_root_keep; takes a reference of
 * its own. Its rows can be opened as before, and maintenance is held back only for those of them
 * that are gone. */
void store_reader_advance(struct store_reader *reader, struct store_root *root);

/* --- summaries -------------------------------------------------------------------------------- */

/* A text for each message, made once from its bytes by those above and asked for again and again;
 * the store does not look into it. Kept apart, and some may be missing: those are made anew. They
 * go when the message does for good.
 *
 * Absent where there is none. Best when `emails` ascend and are near to one another: then one scan
 * finds them. At most STORE_SUMMARIES. RC_AGAIN (KV_CACHED), RC_LIMIT, RC_TEMP, RC_CORRUPT. */
enum rc store_summaries(struct store_account *account, const uint64_t *emails, size_t n,
                        unsigned flags, struct arena *arena, struct str *out);
/* Copies it; never waits. Longer than STORE_SUMMARY_MAX: RC_LIMIT. Others: it is not kept. */
enum rc store_summary_put(struct store_account *account, uint64_t email, struct str summary);

/* --- what is made from messages ----------------------------------------------------------------
 */

/* For what is made from all messages of an account and kept in its cache partition, such as the
 * search index: rows of that partition whose keys begin with 'i' are its own, and go with the
 * account.
 *
 * The next messages from an email id on, ascending, at most STORE_AHEAD; *out_n 0: there are no
 * more. NULL where one could not be opened; store_message_open tells why. RC_TEMP, RC_CORRUPT.
 * Blocks. */
enum rc store_emails(struct store_account *account, uint64_t from, size_t max, uint64_t *out_ids,
                     struct store_message **out, size_t *out_n);
uint64_t store_emails_end(struct store_account *account); /* all ids are below; never waits */
/* Notes, in memory alone, that all messages below this email id were seen to; 0: nobody does. */
void store_made_note(struct store_account *account, uint64_t next);
uint64_t store_made(const struct store_account *account);
/* Accounts in memory where somebody does, and so many ids or more wait; *out_waiting: of all of
 * them together. Never blocks for long. */
size_t store_made_behind(struct store *store, uint64_t lag, uint64_t *out_ids, size_t max,
                         uint64_t *out_waiting);

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

/* --- notes ------------------------------------------------------------------------------------ */

/* Notes without a message: a change like the others, but clients see nothing of it. RC_EXISTS as
 * store_note says, RC_LIMIT: more than STORE_NOTES, RC_PERM: a bad length. */
enum rc store_notes_put(struct store_account *account, const struct store_note *notes, size_t n,
                        unsigned flags, struct store_op *op);
/* The published ones. Absent values where there are none; as kv_get. */
enum rc store_notes_get(struct store_account *account, const struct str *keys, size_t n,
                        struct arena *arena, struct str *out_values);
/* Those whose keys begin so, behind the key `after` (absent: from the first), some of them: call
 * again while out->has_more. Blocks; as kv_scan. */
enum rc store_notes_list(struct store_account *account, struct str prefix, struct str after,
                         struct arena *arena, struct kv_page *out);

/* --- what was brought from elsewhere ---------------------------------------------------------- */

/* Origins that were noted for a source, some of them, in no order: call again, with *at as it was
 * left (0 at first), until *out_n is 0. Published state; STORE_ORIGIN bytes each, in the arena.
 * RC_LIMIT: the arena is full. Blocks. */
enum rc store_origins(struct store_account *account, uint64_t source, uint64_t *at,
                      struct arena *arena, const char **out, size_t *out_n);
/* All that is noted for a source is forgotten. A change like the others, but clients see nothing of
 * it. */
enum rc store_origins_forget(struct store_account *account, uint64_t source, unsigned flags,
                             struct store_op *op);
/* One who brings mail into an account at a time: who reads what origins there are and adds to them.
 * False: somebody does. Nobody else waits for it. */
bool store_bring_lock(struct store_account *account);
void store_bring_unlock(struct store_account *account);

/* Unique-ids that came with messages of a mailbox, ascending, of some UIDs from `uid` on: call
 * again from the last one's UID + 1, until *out_n is 0. Those of messages that are gone may be
 * among them. RC_AGAIN (KV_CACHED), RC_LIMIT: the arena is full. */
struct store_uidl {
    uint32_t uid;
    struct str id;
};
enum rc store_uidls(struct store_account *account, uint32_t mailbox, uint32_t uid, unsigned flags,
                    struct arena *arena, struct store_uidl **out, size_t *out_n);

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

/* What has changed, for who was told by a watch that something has. A change has a modseq, and
 * *at is how far the caller knows; it moves. Neither waits for a disk. */
uint64_t store_news_now(struct store_account *account); /* the last change that is published */

/* A mailbox that has changed since, as it is now. Renaming it is a change too. */
struct store_news {
    uint64_t modseq; /* of its last change */
    bool is_alone;   /* that one is the only change after `since` */
    bool has_counts; /* since then messages came or went, or it was made anew */
    bool has_unseen; /* ... the number of unseen ones changed */
    struct store_mailbox mailbox;
    struct str path; /* the whole name with '/' */
};
/* Mailboxes that have changed after *at, the one longest ago first; some of them: call again, until
 * *out_n is 0. `since`: what *at was at the first of these calls. The work is that of what has
 * changed. Removed mailboxes are passed over. */
enum rc store_news(struct store_account *account, uint64_t since, uint64_t *at, struct arena *arena,
                   struct store_news **out, size_t *out_n);

/* A name that was made, removed, renamed (then `old` is not absent), (un)subscribed, or is the
 * direct parent of one made or removed; and how it was right after that. */
struct store_name_news {
    uint64_t modseq;
    struct str path, old;
    bool is_there; /* as a mailbox; a placeholder is not */
    bool has_children;
    enum store_role role;
    bool is_subscription, is_subscribed;
};
/* Changes of names are kept only while somebody watches; end that before the account is closed. */
void store_names_watch(struct store_account *account);
void store_names_unwatch(struct store_account *account);
/* Those after *at in their order, some of them: call again, until *out_n is 0. RC_NOTFOUND: too
 * much has happened since *at, and is not known any more. */
enum rc store_names_news(struct store_account *account, uint64_t *at, struct arena *arena,
                         struct store_name_news **out, size_t *out_n);

/* Packs rows, drops tombstones, log rows and delivery ids whose time is over; bounded work,
 * *out_more when there is more. Blocks. */
enum rc store_maintain(struct store_account *account, bool *out_more);

/* Accounts in memory whose mailboxes have many rows to pack or have been removed, at most `max` of
 * them: for who looks every few seconds. Never blocks for long. */
size_t store_untidy(struct store *store, uint64_t *out_ids, size_t max);

/* For copies of a store, see kv.h: the store's partitions that are no account's, and those of an
 * account, with n from 0 on (false: there are no more); and the blobs of an account's row.
 * RC_CORRUPT. */
bool store_partition(size_t n, struct kv_part *out);
bool store_account_partition(uint64_t id, size_t n, struct kv_part *out);
enum rc store_row_blobs(struct kv_row row, uint32_t out_at[KV_ROW_BLOBS], size_t *out_n);

/* Compares every counter, reference and index of an account with its messages. report() gets a line
 * for each fault. RC_OK: sound; RC_CORRUPT: faults were reported. Changes of the account wait
 * meanwhile. Blocks. */
struct store_fsck {
    void (*report)(struct store_fsck *fsck, const char *line);
    uint64_t messages, faults; /* results, added to */
};
enum rc store_fsck(struct store *store, uint64_t id, struct store_fsck *fsck);

#endif
