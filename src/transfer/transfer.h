/* transfer: mail on its way into accounts and out of them, whatever is on the other side.
 *
 * A SOURCE (a Maildir, an mbox, an archive, an account here, a server elsewhere) tells a SINK (an
 * account here, or files) of folders and messages, one after the other:
 *
 *     transfer_folder(sink, &folder, &n);
 *     if (!transfer_has(sink, origin))
 *         transfer_begin(sink, n, &message), transfer_bytes(sink, part)..., transfer_end(sink);
 *     ...
 *     transfer_finish(sink);
 *
 * RC_OK does not mean that a message is there. What becomes of it may be known later; what the sink
 * cannot take (no room, a bad name) is refused alone: transfer_watch.told has its label and why,
 * and the source goes on. Any other result than RC_OK is the end of the sink: what was not told of
 * in a refusal may or may not be there, and the source is begun again later.
 *
 * NOTHING TWICE, NOTHING LOST. A message has an origin: TRANSFER_ORIGIN bytes that are the same
 * whenever its source is read, and no other message's there. The account notes it in the commit
 * that the message is in; transfer_has tells of all those, so a source passes over what is in.
 * Origins are counted by `name`: one for each source that may meet the same origins ("maildir",
 * "imap alice@old.example:993").
 *
 * MEMORY is bounded by struct transfer_limits, plus 32 bytes for each origin that is noted already.
 *
 * A sink is used by one thread at a time. All calls may block.
 */
#ifndef TRANSFER_TRANSFER_H
#define TRANSFER_TRANSFER_H

#include "base/ctx.h"
#include "store/store.h"

enum {
    TRANSFER_ORIGIN = STORE_ORIGIN,
    TRANSFER_LABEL = 1024,    /* bytes of a label that are kept */
    TRANSFER_KEYWORDS = 64,   /* of a message */
    TRANSFER_FOLDERS = 10000, /* of one source */
    TRANSFER_WHY = 200        /* bytes of a reason */
};

struct transfer_folder {
    struct str name; /* levels with '/' between them, UTF-8; "INBOX", in any case, is the INBOX */
    enum store_role role; /* not STORE_NONE: what is in it goes to the account's folder for that,
                             whatever the name, where there is one */
    bool is_subscribed;
    bool is_name_alone;   /* subscribed, and not there */
    uint32_t uidvalidity; /* for sinks that are files; 0: not known */
};

struct transfer_message {
    struct str label;  /* what a person finds it by: a file's name, "INBOX UID 12" */
    struct str origin; /* TRANSFER_ORIGIN bytes; absent: it is not noted */
    uint64_t received; /* internal date, ns since 1970 */
    uint64_t size;     /* bytes to come, as far as known; 0: not known */
    uint32_t flags;    /* enum store_flag */
    const struct str *keywords;
    size_t n_keywords;
    struct str uidl; /* what POP3 told of it; absent: nothing. It counts in the INBOX alone */
    uint32_t uid;    /* for sinks that are files; 0: none */
};

struct transfer_counts {
    uint64_t folders;         /* that were made */
    uint64_t messages, bytes; /* that are there for good */
    uint64_t refused;         /* messages and folders */
};

/* What is told while it works, on the thread that called. Either may be NULL. */
struct transfer_watch {
    /* `label` was refused and is not there; or it is, but not all that belongs to it. */
    void (*told)(struct transfer_watch *watch, struct str label, bool is_refused, struct str why);
    void (*moved)(struct transfer_watch *watch, const struct transfer_counts *so_far);
};

struct transfer_sink; /* opaque to sources; transfer_int.h */

/* RC_OK also when it was refused: then so is all that goes into it, each told. */
enum rc transfer_folder(struct transfer_sink *sink, const struct transfer_folder *folder,
                        unsigned *out_n);
bool transfer_has(const struct transfer_sink *sink, struct str origin);
/* The bytes are as clients see them, with CRLF at the ends of lines. */
enum rc transfer_begin(struct transfer_sink *sink, unsigned folder,
                       const struct transfer_message *message);
enum rc transfer_bytes(struct transfer_sink *sink, struct str bytes);
enum rc transfer_end(struct transfer_sink *sink);
/* Instead of transfer_end: the source could not read on. It is refused with this reason. */
enum rc transfer_give_up(struct transfer_sink *sink, struct str why);
/* What the source has to tell: of what it could not even begin with (is_refused), or of what it had
 * to leave out. */
enum rc transfer_tell(struct transfer_sink *sink, struct str label, bool is_refused,
                      struct str why);
/* All that was given is there for good, or was refused. It may be gone on with. */
enum rc transfer_finish(struct transfer_sink *sink);
void transfer_counts(const struct transfer_sink *sink, struct transfer_counts *out);
/* What has come since the last transfer_finish may be lost, or not. */
void transfer_sink_free(struct transfer_sink **sink);

/* --- an account as a sink --------------------------------------------------------------------- */

struct transfer_limits {   /* 0: the default */
    uint64_t message_size; /* of one message: 50 MB */
    uint32_t batch;        /* messages in one commit: STORE_APPENDS, which is also the most */
    uint64_t batch_bytes;  /* of them, after which a commit is begun: 4 MB; three times that may be
                              in memory */
};

struct transfer_into {
    struct kv *kv;
    struct store *store; /* `account` is one of its */
    const struct ctx *ctx;
    uint64_t account;
    struct str name; /* of the source; 1 to 512 bytes */
    struct transfer_limits limits;
    struct transfer_watch *watch; /* may be NULL */
};
/* RC_NOTFOUND: no such account; RC_CONFLICT: somebody is bringing mail into it; otherwise as the
 * store. Blocks. */
enum rc transfer_into_account(const struct transfer_into *into, struct transfer_sink **out);

/* --- a source and an account in two processes --------------------------------------------------
 */

/* The end where the account is: what comes is fed to it in pieces, of which it takes whole frames;
 * answers are to be taken away and sent after the opening and after each piece. */
struct transfer_feed;
struct buf;
struct transfer_feed *transfer_feed_new(
    const struct transfer_into *into);                  /* its watch is not used */
struct transfer_feed *transfer_feed_refuse(enum rc rc); /* one that only answers so */
struct buf *transfer_feed_answers(struct transfer_feed *feed);
/* Anything but RC_OK: send the answers, then end. */
enum rc transfer_feed_take(struct transfer_feed *feed, struct str in, size_t *out_used);
void transfer_feed_free(struct transfer_feed **feed);
enum { TRANSFER_FRAME = 40 << 10 }; /* bytes that a frame has at most */

/* The end where the source is: a sink on a connected socket, which it closes. RC_TEMP: the other
 * side has ended; otherwise what transfer_into_account answers there. */
enum rc transfer_link(int fd, struct transfer_watch *watch, struct transfer_sink **out);

/* --- sources that are files --------------------------------------------------------------------
 */

/* A Maildir (Maildir++, or folders within each other), told to a sink, without transfer_finish.
 * `uidl`: how POP3 made unique-ids there, where no list says it: text with %u (UID), %v
 * (UIDVALIDITY), %f (file name), in the form %08Xu for eight hexadecimal digits; absent: Dovecot's
 * default, "%08Xu%08Xv". RC_NOTFOUND: it is no Maildir; RC_DENIED; otherwise as the sink. */
struct transfer_maildir {
    const char *path;
    struct str uidl;
    uint64_t known; /* result: messages that were in already */
};
enum rc transfer_from_maildir(struct transfer_maildir *maildir, struct transfer_sink *sink);

/* An mbox file (mboxo, mboxrd, mboxcl, mboxcl2), which becomes `folder` (absent: INBOX), or a
 * folder of them. RC_NOTFOUND: it is neither; otherwise as above. */
struct transfer_mbox {
    const char *path;
    struct str folder;
    uint64_t known; /* result: messages that were in already */
};
enum rc transfer_from_mbox(struct transfer_mbox *mbox, struct transfer_sink *sink);

/* A unique-id as the form says, with %u and %v; appends it. RC_SYNTAX: it has something else. */
enum rc transfer_uidl(struct str form, uint32_t uid, uint32_t uidvalidity, struct buf *out);

/* What transfer_to_archive has made. As above; RC_NOTFOUND: it is none. */
struct transfer_archive {
    const char *path;
    uint64_t known; /* result: messages that were in already */
};
enum rc transfer_from_archive(struct transfer_archive *archive, struct transfer_sink *sink);

/* --- sinks that are files ----------------------------------------------------------------------
 */

/* A Maildir (Maildir++), a folder of mbox files, an archive (tar; compressed when it ends with .gz,
 * .tgz or .zst). It is made as `path`.partial, and is there under its own name when transfer_finish
 * says RC_OK. What is wrong is told. RC_EXISTS: there is something already. */
enum rc transfer_to_maildir(const char *path, struct transfer_watch *watch,
                            struct transfer_sink **out);
enum rc transfer_to_mbox(const char *path, struct transfer_watch *watch,
                         struct transfer_sink **out);
enum rc transfer_to_archive(const char *path, struct transfer_watch *watch,
                            struct transfer_sink **out);

/* --- an account as a source --------------------------------------------------------------------
 */

/* Frames for the other end of a wire, appended to `out` some at a time. RC_EOF: they were the last
 * ones. */
struct transfer_pull;
enum rc transfer_pull_open(struct store *store, uint64_t account, struct transfer_pull **out);
enum rc transfer_pull_more(struct transfer_pull *pull, struct buf *out);
void transfer_pull_close(struct transfer_pull **pull);
/* Before them, as the feed has it: ready, or why not. */
void transfer_put_ready(struct buf *out, enum rc rc);

/* The other end: gives a sink all that comes on a socket, transfer_finish included. RC_TEMP: the
 * other side has ended before. */
enum rc transfer_receive(int fd, struct transfer_sink *sink);

/* An origin from what identifies a message: any bytes. */
void transfer_origin(const struct str *parts, size_t n, unsigned char out[TRANSFER_ORIGIN]);

/* The special folder that clients commonly give this name (whole path): "Sent Items" is
 * STORE_SENT. STORE_NONE. */
enum store_role transfer_role_of_name(struct str name);
/* For a source that does not say which folder is which: each role that none of them has is given to
 * the one whose name is the commonest for it. */
void transfer_roles_by_name(struct transfer_folder *folders, size_t n);

#endif
