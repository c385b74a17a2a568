/* store, inside: records, roots, the open account and its changes.
 *
 * LOCKS, taken in this order: store.mutex (which accounts are in memory), account.mutex (all that
 * an account is), account.watch_mutex. None is held while a disk is waited for; kv_writer_commit
 * and reads with KV_CACHED are made under account.mutex.
 */
#ifndef STORE_STORE_INT_H
#define STORE_STORE_INT_H

#include "store/store.h"

#include "base/bytes.h"
#include "base/map.h"

#include <stdatomic.h>

/* --- records: record.c; drawn in docs/internals/store.md -------------------------------------- */

enum {
    RECORD_FORMAT = 1,  /* of every value, its first byte */
    RECORD_COPIES = 64, /* places one message may have */
    RECORD_PACK = 128,  /* UIDs to a packed row */
    RECORD_KEY = 32,    /* bytes of the longest key */
    RECORD_VALUE = 2048 /* bytes of the longest value that is not a list */
};

struct key {
    unsigned char b[RECORD_KEY];
    size_t n;
};

struct str key_str(const struct key *k);
struct key key_of_kind(char kind); /* where all rows of a kind begin */
struct key key_of(char kind, uint32_t a, const void *more, size_t n);
struct key key_hot(void);
struct key key_mailbox(uint32_t mailbox);
struct key key_row(uint32_t mailbox, uint32_t uid);
struct key key_packed(uint32_t mailbox, uint32_t uid); /* of the row that holds this UID */
struct key key_email(uint64_t email);
struct key key_tombstone(uint64_t modseq, uint32_t n);
struct key key_change(uint64_t modseq, uint32_t n);
struct key key_vanished(uint32_t mailbox, uint64_t modseq);
struct key key_member(uint64_t thread, uint64_t email);
struct key key_message_id(uint64_t hash);
struct key key_keyword(unsigned n);
struct key key_origins(uint64_t source, uint64_t modseq);
struct key key_uidls(uint32_t mailbox, uint32_t uid);                    /* the first of its UIDs */
struct key key_collected(uint64_t time, uint32_t mailbox, uint32_t uid); /* the first of its UIDs */
struct key key_delivery(struct str id);
struct key key_note(struct str key);
struct key key_outbox(uint64_t seq);
struct key key_subscription(struct str name, const uint64_t hash_key[2]);
struct key key_after(struct str key, size_t n); /* first key beyond all that begin with n bytes */

/* `s`: in every transaction. */
struct hot {
    bool is_dying;       /* being destroyed: nobody may open it */
    uint64_t generation; /* of kv, when the numbers last jumped */
    uint64_t next_modseq, next_email, next_thread, next_outbox;
    uint32_t next_mailbox;
    uint64_t bytes, messages; /* used */
    struct store_quota quota;
    uint64_t floor;            /* the change log knows all after this modseq */
    uint64_t hash_key[2];      /* of message ids and names */
    uint32_t last_uidvalidity; /* the highest one given; 0: not known, see tree.c */
};
struct str hot_encode(const struct hot *h, void *mem, size_t size);
enum rc hot_decode(struct str value, struct hot *out);

/* `m`. A mailbox that was removed is there until maintenance has taken its rows away; one that was
 * removed and made again, or is a placeholder, may have such rows too: all below removed_below. */
enum mailbox_state {
    MAILBOX_OPEN,
    MAILBOX_PLACEHOLDER,
    MAILBOX_REMOVED,
    MAILBOX_NONE /* in memory only: not there in this view */
};
struct mailbox_record {
    uint64_t generation;
    struct store_mailbox m; /* name: a view */
    uint32_t packed;        /* UIDs below this one may be in packed rows */
    uint32_t recent;        /* rows of their own that there are at most */
    enum mailbox_state state;
    uint32_t removed_below; /* rows below this UID are nobody's; 0: there are none */
};
struct str mailbox_encode(const struct mailbox_record *r, void *mem, size_t size);
enum rc mailbox_decode(uint32_t id, struct str value, struct mailbox_record *out);

/* Beside the flags of store.h, in rows only; bit 18 is STORE_UNENDED. */
enum {
    ROW_SHARED = 1 << 16, /* the message has other places too: its `e` says which */
    ROW_GONE = 1 << 17,   /* this row hides a packed one */
    ROW_FLAGS = STORE_SEEN | STORE_ANSWERED | STORE_FLAGGED | STORE_DELETED | STORE_DRAFT
};

/* `u` and `U` */
struct str row_encode(const struct store_row *row, void *mem, size_t size);
enum rc row_decode(uint32_t uid, struct str value, struct store_row *out);
enum { PACKED_MAX = 2 + RECORD_PACK * (1 + 52) };
struct str packed_encode(const struct store_row *rows, size_t n, void *mem, size_t size);
/* `key`: of the row. Room for RECORD_PACK rows; they come in order of UID. */
enum rc packed_decode(struct str key, struct str value, struct store_row *out, size_t *out_n);

/* `e`: also a part of a tombstone. */
struct place {
    uint32_t mailbox, uid;
};
struct email {
    uint8_t codec;
    uint32_t key_id;
    struct kv_blob_id blob;
    uint64_t size, received, created /* modseq */, thread;
    uint64_t message_id; /* hash; 0: none */
    uint32_t n_places;
    struct place places[RECORD_COPIES];
};
struct str email_encode(const struct email *e, void *mem, size_t size);
enum rc email_decode(struct str value, struct email *out);

/* `d`: messages that one change has expunged from one mailbox. */
struct tombstone {
    bool is_last; /* the message's last place: trimming this drops the body */
    struct store_row row;
    struct email record; /* as it was before */
};
enum {
    RECORD_TOMBSTONES = 128, /* in one record */
    TOMBSTONES_MAX = 15 + RECORD_TOMBSTONES * (1 + 4 + 52 + 71 + 8 * RECORD_COPIES)
};
/* mem: TOMBSTONES_MAX bytes; pack_done() when all are added. */
void tombstones_begin(struct packer *w, void *mem, uint64_t time, uint32_t mailbox);
void tombstones_add(struct packer *w, const struct tombstone *d);

struct tombstones {
    uint64_t time;    /* when they were expunged */
    uint32_t mailbox; /* known when the first was read */
    size_t n;         /* still to be read */
    struct unpacker rest;
    bool is_first_format;
};
enum rc tombstones_open(struct str value, struct tombstones *out);
enum rc tombstones_next(struct tombstones *d, struct tombstone *out); /* RC_EOF */

/* `c`, one a change: */
enum change_kind { CHANGE_EMAIL = 1, CHANGE_MAILBOX, CHANGE_THREAD, CHANGE_QUOTA };
enum change_what { CHANGE_CREATED = 1, CHANGE_UPDATED, CHANGE_DESTROYED };

/* `i` */
struct message_id {
    uint8_t codec;
    uint32_t key_id;
    uint64_t thread;
    uint32_t emails; /* with this message id, tombstones included */
};
struct str message_id_encode(const struct message_id *i, void *mem, size_t size);
enum rc message_id_decode(struct str value, struct message_id *out);

/* `z`, `k`, `n`: */
struct str delivery_encode(uint64_t time, void *mem, size_t size);
enum rc delivery_decode(struct str value, uint64_t *out_time);
struct str text_encode(struct str text, void *mem, size_t size);
enum rc text_decode(struct str value, struct str *out);

/* `o`: what a commit causes elsewhere. */
enum outbox_kind { OUTBOX_REDIRECT = 1, OUTBOX_VACATION, OUTBOX_SUBMIT, OUTBOX_APPEND };
struct outbox {
    enum outbox_kind kind;
    uint8_t codec;
    uint32_t key_id;
    uint64_t time;
    uint64_t account;       /* OUTBOX_APPEND: where to */
    uint32_t mailbox;       /* the same */
    struct kv_blob_id blob; /* referred to by this account as long as the row is there */
    struct str from;        /* reverse path */
    const struct str *to;
    size_t n_to;
};
struct str outbox_encode(const struct outbox *o, void *mem, size_t size);
enum rc outbox_decode(struct str value, struct arena *arena, struct outbox *out);

/* --- roots: root.c ---------------------------------------------------------------------------- */

struct row_delta {
    uint32_t mailbox;
    bool is_gone;
    struct store_row row; /* gone: only the UID counts */
};

/* A root of these rows (ascending), or of none. One reference. */
struct store_root *root_new(const struct store_mailbox *info, const struct store_row *rows,
                            size_t n);
/* More rows, behind those that it has: while it is being made and nobody else has it. */
void root_add(struct store_root *root, const struct store_row *rows, size_t n);
/* `old` with the deltas (ascending UIDs; those that are not there yet are greater than all that
 * are). One writer at a time for all roots that came from one root_new. */
struct store_root *root_apply(struct store_root *old, const struct store_mailbox *info,
                              const struct row_delta *deltas, size_t n);
struct store_root *root_ref(struct store_root *root);                          /* NULL stays NULL */
const struct store_row *root_row(const struct store_root *root, uint32_t uid); /* or NULL */
size_t root_bytes(const struct store_root *root);
/* A modseq at which all its rows were there that had come by then. */
uint64_t root_since(const struct store_root *root);

/* --- the store and its accounts: store.c, load.c ---------------------------------------------- */

/* --- quota.c ---------------------------------------------------------------------------------- */

extern const struct kv_part quota_defaults_part;

struct quota_defaults {
    pthread_mutex_t mutex; /* taken last */
    struct map groups;
    struct list list;
};
enum rc quota_defaults_init(struct store *s); /* fini in every case */
void quota_defaults_fini(struct store *s);
struct store_quota quota_in_force(struct store *store, const struct hot *h);
/* Whether n more messages of so many bytes together have room. RC_LIMIT. */
enum rc quota_check(struct store *store, const struct hot *h, uint64_t n, uint64_t bytes);

struct store {
    struct quota_defaults defaults;
    const struct ctx *ctx;
    struct kv *kv;
    struct store_conf conf;
    pthread_mutex_t mutex;
    pthread_cond_t changed; /* an account was loaded, or nobody uses it any more */
    struct map accounts;
    struct list idle; /* accounts that nobody uses, the one longest idle first */
    uint64_t idle_bytes;
    size_t n_used; /* accounts with users */
};

/* What news.c knows of a mailbox. */
struct mailbox_news {
    struct list link;    /* of news.recent; zeroes: never yet */
    uint64_t at, before; /* modseqs of the last two changes that clients see */
    uint64_t counts_at;  /* of the last one that brought or took messages */
    uint64_t unseen_at;  /* ... that changed how many are unseen */
};
struct news {
    struct list recent, names, pending;
    size_t names_bytes;
    unsigned n_watching; /* who is told of names */
    uint64_t floor;
};

/* Mailboxes are freed when nobody can hold a pointer to them: see mailboxes_reap. */
struct mailbox {
    uint32_t id;                           /* never changes, so it is read without the lock */
    struct mailbox_record head, published; /* their names are in `names` */
    struct store_root *head_root, *root;   /* both or none: a mailbox that nobody has opened has no
                                              rows in memory */
    bool is_loading;
    bool is_met;                /* for load.c */
    struct mailbox_name *names; /* all it has had since the last reaping */
    struct mailbox_news news;
};
struct mailbox_name {
    struct mailbox_name *next;
    char b[];
};

enum account_state { ACCOUNT_LOADING, ACCOUNT_READY, ACCOUNT_FAILED };

/* A view of the account: the head, or what is published. */
struct view {
    struct hot hot;
    unsigned n_keywords;
};

struct store_account {
    struct map_node node; /* of store.accounts */
    struct list idle;     /* of store.idle, when refs is 0 */
    struct store *store;
    uint64_t id;
    _Atomic uint32_t refs; /* users and changes under way; reaches 0 under store.mutex */
    uint64_t bytes;        /* counted in store.idle_bytes */
    enum account_state state;
    enum rc load_rc;
    atomic_bool is_locked;  /* for POP3 */
    atomic_bool is_brought; /* store_bring_lock */
    _Atomic uint64_t made;  /* see store_made_note */

    pthread_mutex_t mutex;
    pthread_cond_t cond; /* something below has changed for those who wait */
    struct kv_writer *writer;
    uint64_t version; /* of the published view */
    unsigned epoch;   /* grows when the account was loaded anew from what others wrote */
    struct view head, published;
    struct mailbox **mailboxes; /* by id; in any state */
    size_t n_mailboxes, size_mailboxes;
    bool needs_reaping;
    struct subscriptions {
        bool is_known;     /* read from disk; then kept up to date */
        unsigned epoch;    /* grows with each published change */
        struct str *names; /* owned; sorted */
        size_t n, size;
    } subscriptions;                     /* as published */
    struct str keywords[STORE_KEYWORDS]; /* owned */
    struct list in_flight;               /* struct change, oldest first */
    unsigned n_in_flight;
    struct list kept;     /* published changes that an observer may need */
    unsigned n_observers; /* who reads rows while changes go on */
    bool is_stale;        /* a commit failed: load anew before the next change */
    bool is_reloading;
    bool is_paused;                                           /* fsck looks */
    bool is_maintained;                                       /* one at a time */
    struct key swept_vanished, swept_deliveries, swept_uidls; /* how far maintenance came */
    struct list readers;                                      /* open ones */

    struct news news;

    pthread_mutex_t watch_mutex;
    struct list watches;
};

struct kv_part account_part(uint64_t id);
/* Keeps everybody out of an account that nobody uses (they wait, then RC_NOTFOUND), to destroy it.
 * RC_CONFLICT. */
enum rc store_hold(struct store *s, uint64_t id, struct store_account **out);
void store_unhold(struct store_account *a);
uint64_t store_now(const struct store *store);
void account_ref(struct store_account *a);
void account_unref(struct store_account *a);
/* Mailboxes that can be opened; NULL: none. */
struct mailbox *account_mailbox(struct store_account *a, uint32_t id);   /* of the head */
struct mailbox *account_published(struct store_account *a, uint32_t id); /* that everybody sees */
struct mailbox *account_role(struct store_account *a, enum store_role role); /* of the head */

/* mailboxes.c: the structs, whatever the state. */
struct mailbox *mailbox_any(struct store_account *a, uint32_t id);
/* Finds or adds it; a new one is MAILBOX_NONE in both views. */
struct mailbox *mailbox_make(struct store_account *a, uint32_t id);
struct str mailbox_name(struct mailbox *m, struct str name); /* a copy that lives as long as m */
/* Frees mailboxes that are in no view, and names that are no longer used, unless somebody may hold
 * a pointer to one: a change under way, an observer, fsck. */
void mailboxes_reap(struct store_account *a);
void mailbox_drop_roots(struct mailbox *m);
void mailboxes_free(struct store_account *a);

enum rc account_load(struct store_account *a);   /* all but rows; makes the writer */
enum rc account_reload(struct store_account *a); /* after a failure; nothing is in flight */
void account_unload(struct store_account *a);

/* All rows in a range, or with a prefix, page by page. each() may keep nothing. */
typedef enum rc (*row_fn)(void *arg, struct kv_row row);
enum rc scan_between(struct store_account *a, struct str from, struct str to, row_fn each,
                     void *arg, uint64_t *out_version);
enum rc scan_rows(struct store_account *a, struct str prefix, row_fn each, void *arg,
                  uint64_t *out_version);

/* A mailbox's rows as they are stored, in order of UID, some at a time, mailbox.c. */
struct rows_reader {
    void (*each)(struct rows_reader *reader, const struct store_row *rows, size_t n);
    uint32_t packed_end; /* the result: no UID from here on is packed */
    uint64_t version;    /* the result: nothing newer than this was seen */
};
enum rc rows_read(struct store_account *a, uint32_t mailbox, struct rows_reader *reader);

/* A change that clients need not know of: it has no modseq, maintain.c. */
struct change;
struct change *change_quiet(struct store_account *a, struct store_op *op);

/* Whether the head has the rows that checked notes ask for, notes.c: RC_EXISTS when it has not,
 * RC_PERM for bad lengths. And their part of a change. */
struct attempt;
enum rc notes_check(struct attempt *t, const struct store_note *notes, size_t n);
void notes_put(struct change *c, const struct store_note *notes, size_t n);

/* The change with this name's subscription was published, subscribe.c. */
void subscriptions_publish(struct store_account *a, const struct change *c);
void subscriptions_forget(struct store_account *a); /* as never read */

/* A change is being published, before and after the views move; and what a reading found, that was
 * made because somebody else has written, news.c. */
void news_init(struct news *n);
void news_begin(struct store_account *a, const struct change *c);
void news_end(struct store_account *a, const struct change *c);
void news_reload(struct store_account *a, struct mailbox *m, const struct mailbox_record *now,
                 uint64_t modseq);
void news_forget(struct store_account *a);
/* The published mailbox or placeholder of this whole name, tree.c; NULL. */
struct mailbox *path_find_published(struct store_account *a, struct str name);

/* With the change that makes or forgets the message, summary.c. One that has no room in the change
 * is left out. */
struct change;
void summary_put(struct change *c, uint64_t email, struct str summary);
void summary_delete(struct change *c, uint64_t email);
enum rc summaries_destroy(struct store *s, uint64_t account);  /* and all else there; blocks */
enum rc summary_check(struct kv_row row, uint64_t next_email); /* RC_CORRUPT */

/* Takes some rows of removed mailboxes away; bounded, *out_more when there may be more. Blocks. */
enum rc purge(struct store_account *a, bool *out_more);

/* Rows of a group of UIDs as they are: what is packed, with the rows of their own. Room for
 * RECORD_PACK. */
enum rc merge_rows(struct str packed_key, struct str packed, const struct store_row *own,
                   size_t n_own, struct store_row *out, size_t *out_n);

/* Whether a message's place is still a mailbox's row, tree.c. */
bool place_is_alive(struct store_account *a, struct place place);
/* Levels as the rules of names say. RC_SYNTAX. */
enum rc path_check(struct store_path path);
/* The mailbox or placeholder of this name in the head; NULL. */
struct mailbox *path_find_head(struct store_account *a, struct store_path path);

/* Tombstones of changes up to this modseq are of no use to any reader that is open or will be;
 * reader.c; the account's mutex is held. */
uint64_t reader_limit(struct store_account *a);
enum rc message_open_blob(struct store *s, struct kv_blob_id blob, unsigned flags,
                          struct store_message **out); /* message.c */
/* n up to KV_BLOBS_AT_ONCE; NULL where one could not be opened. Blocks. */
void message_open_blobs(struct store *s, const struct kv_blob_id *blobs, size_t n,
                        struct store_message **out);

/* --- changes: change.c ------------------------------------------------------------------------ */

enum { CHANGE_QUEUE = 1024 }; /* changes of one account under way */

struct touched {
    struct mailbox *mailbox;
    struct mailbox_record record; /* after the change */
    struct store_root *root;      /* after the change; NULL when the rows are not in memory */
    bool is_emptied;              /* all rows that there were are nobody's now */
};

struct note {
    enum change_kind kind;
    enum change_what what;
    uint64_t id;
};

struct change {
    struct kv_op op;
    struct list link; /* of account.in_flight, then of account.kept */
    struct store_account *account;
    struct store_op *user;      /* NULL: nobody is told */
    struct store_op *followers; /* change_nothing's, told with it */
    struct kv_txn *txn;
    size_t summary_bytes; /* of the summaries in it */
    enum rc rc;           /* the first failure to add to the transaction */
    uint64_t modseq, time;
    struct view after;
    bool has_delivery;
    bool is_subscribed;      /* with a subscription: whether the name comes or goes */
    struct str subscription; /* absent: the change has none; owned */
    unsigned char delivery[16];
    /* Arrays that begin with room in the change itself. */
    size_t n_touched, n_deltas, n_notes;
    size_t size_touched, size_deltas, size_notes; /* 0: still in the change itself */
    struct touched *touched;
    struct row_delta *deltas;
    struct note *notes;
    uint32_t *slots; /* delta_of's: the first n_known deltas by row, in n_slots, a power of two */
    size_t n_slots, n_known;
    struct touched first_touched[1];
    struct row_delta first_deltas[1];
    struct note first_notes[4];
};

/* The root of this mailbox after the change, as it is known by this record. */
struct store_root *change_root(const struct change *c, const struct store_mailbox *info,
                               struct store_root *old);

struct change *change_new(struct store_account *a, struct store_op *user);
void change_free(struct change *c);                                /* one that was not committed */
struct touched *change_touch(struct change *c, struct mailbox *m); /* until the next such call */
void change_put(struct change *c, struct key key, struct str value);
void change_delete(struct change *c, struct key key);
void change_trim(struct change *c, struct key from, struct key to); /* what kv_txn_trim says */
/* The end of an attempt that has nothing to change in the head: that is so for good when the head
 * is durable. RC_EOF: it is, the caller tells it; RC_OK: `user` will be told. */
enum rc change_nothing(struct store_account *a, struct store_op *user);
/* The row in memory and on disk; counters are the caller's. */
void change_row(struct change *c, struct touched *t, const struct store_row *row);
/* Its own row on disk, where it has one, is the caller's to delete: true. */
bool change_remove_row(struct change *c, struct touched *t, uint32_t uid);
void change_note(struct change *c, enum change_kind kind, enum change_what what, uint64_t id);
/* is_making: names that are new get a bit; otherwise they are passed over. RC_LIMIT. */
enum rc change_keywords(struct change *c, const struct str *names, size_t n, bool is_making,
                        uint64_t *out_bits);
uint64_t change_rivals(const struct change *c, uint64_t bits); /* that cannot be beside these */
/* Queues it: the head moves. Frees it when that is refused. RC_AGAIN: an earlier one has just
 * failed. */
enum rc change_commit(struct change *c);
/* For changes under way when rows come into memory: this mailbox's head with this change. */
void change_move_head(struct change *c, struct touched *t);

/* A change is made by trying: run() works under the account's lock and reads only what is in
 * memory. What it missed is then read without the lock, and it runs again: so nobody waits for a
 * disk while he holds an account. run() may go on after RC_AGAIN to find all that it misses. */
struct attempt {
    enum rc (*run)(struct attempt *t);
    struct store_account *account;
    unsigned flags;     /* the caller's: with KV_CACHED one try is all */
    struct arena arena; /* of one run */
    struct key *missed;
    size_t n_missed, size_missed;
    struct missed_scan {
        struct key from, to;
        size_t max_rows;
    } * missed_scans;
    size_t n_missed_scans, size_missed_scans;
    unsigned n_runs;
};
enum rc attempt_run(struct attempt *t);

/* The head, for run(). head_get: absent where there is none; the others: RC_NOTFOUND. */
enum rc head_get(struct attempt *t, struct key key, struct str *out);
enum rc head_row(struct attempt *t, struct mailbox *m, uint32_t uid, struct store_row *out);
enum rc head_email(struct attempt *t, uint64_t email, struct email *out);
/* kv_writer_scan of the account. */
enum rc head_scan(struct attempt *t, struct key from, struct key to, size_t max_rows,
                  struct kv_page *out_page);

/* What changing flags and expunging share, modify.c. */
void count_unseen(struct mailbox_record *r, uint32_t uid, uint32_t before, uint32_t after);
const struct row_delta *delta_of(struct change *c, uint32_t mailbox, uint32_t uid);
/* The end of an attempt to change so many messages; `rc`: how it went. RC_EOF: as change_nothing.
 */
enum rc change_finish(struct change *c, enum rc rc);
/* Runs it on UIDs that ascend. Its op is done when there was nothing to do. */
enum rc modify(struct attempt *t, const uint32_t *uids, size_t n, struct store_op *op);

/* Expunges one message as a part of a change that has no rows yet, expunge.c. RC_PERM: it is gone.
 */
enum rc expunge_within(struct attempt *t, struct change *c, uint32_t mailbox, uint32_t uid);

/* Many `e` at once, emails.c. Absent: ask for that one alone. */
enum rc head_emails(struct attempt *t, const uint64_t *ids, size_t n, struct str *out_values);
/* Whether one scan is the way to these, and of what; what a page of it holds. */
bool emails_are_run(const uint64_t *ids, size_t n, struct key *out_from, struct key *out_to);
void emails_pick(const struct kv_page *page, const uint64_t *ids, size_t n, struct str *out_values);

/* Ids on their way to a caller. Zeroed to begin with. */
struct emails_found {
    uint64_t *ids;
    size_t n, size;
};
void emails_found_add(struct emails_found *f, uint64_t email);
/* Ascending, into the arena; and frees them. RC_LIMIT. */
enum rc emails_found_take(struct emails_found *f, struct arena *arena, uint64_t **out,
                          size_t *out_n);
/* Adds those of a thread. */
enum rc emails_of_thread(struct store_account *a, uint64_t thread, unsigned flags,
                         struct emails_found *out);

/* The `e` of messages with several places, as a change has left them: the next of its rows may be
 * of the same message. Absent: not met yet. Records live in the arena. */
struct emails_left {
    struct map map;
};
void emails_left_init(struct emails_left *l);
void emails_left_fini(struct emails_left *l);
struct str emails_left_find(const struct emails_left *l, const struct store_row *row);
enum rc emails_left_keep(struct emails_left *l, struct arena *arena, const struct store_row *row,
                         struct str record);

/* From change_observe to change_unobserve every published change is kept in account.kept. */
void change_observe(struct store_account *a);
void change_unobserve(struct store_account *a);

/* --- brought.c: where messages came from, and what POP3 told of them there -------------------- */

enum rc brought_check(const struct store_append *append, uint64_t source); /* RC_PERM */
/* Notes those of one change, whose UIDs follow one another from `first` on. RC_LIMIT: the arena. */
enum rc brought_put(struct change *c, struct arena *arena, const struct store_append *appends,
                    size_t n, struct place first);
/* For sweep: none of a row's UIDs has a message any more. */
bool uidls_are_over(struct store_account *a, struct kv_row row);

/* A caller that waits for its change: for maintenance and commands. */
struct waiter {
    struct store_op op;
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    bool is_done;
};
void waiter_init(struct waiter *w);
enum rc waiter_wait(struct waiter *w, enum rc queued); /* what the call that queued it answered */

#endif
