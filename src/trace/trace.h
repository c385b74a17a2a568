/* trace: what became of each message, kept for a while for who asks: who handed it in, what was
 * checked, each try to deliver it with the other host's words, the mailbox it went to, the reports
 * about it.
 *
 * An event is written down by whoever knows it, with one call that never waits: it is packed into a
 * buffer in memory, and dropped and counted when that is full. A thread writes what has gathered, a
 * few times a minute at rest and many thousands at once under load, as lazy commits. So what
 * happened in the last seconds before a crash may be missing: traces tell, nothing depends on them.
 * Never the content of a message, never a password. Words from outside become harmless when they
 * are written down: what is no printable UTF-8 becomes '?'.
 *
 * WHERE. In files: partitions of class X from TRACE_PARTITIONS on, far above the numbers of
 * accounts. A file is begun each day and when one has a sixteenth of the room; a whole file goes
 * when it is older than `keep`, or all of them have more than `disk` bytes. Class X because it is
 * the one that commits lazily; copies of a store to another engine leave it behind, backups have
 * it, fsck checks no more of it than of other caches. See index.c for the rows.
 *
 * THREADS: any. trace_event never blocks, the others may.
 */
#ifndef TRACE_TRACE_H
#define TRACE_TRACE_H

#include "kv/kv.h"

struct trace;

#define TRACE_PARTITIONS (UINT64_C(1) << 62)

enum {
    TRACE_EVENT_MAX = 8 << 10, /* bytes of an event; addresses that do not fit are left out */
    TRACE_TEXT_MAX = 500       /* of each of its texts; the rest is cut off */
};

struct trace_conf {
    uint64_t keep_ns;      /* how long; 0: 30 days */
    uint64_t disk_bytes;   /* of rows, about, before compression: 1 GB */
    uint64_t memory_bytes; /* of events that wait to be written: 4 MB */
    uint8_t writer;        /* of several nodes on one store each should have another number */
};

/* RC_OK; RC_TEMP, RC_CORRUPT. Blocks. */
enum rc trace_open(const struct ctx *ctx, struct kv *kv, const struct trace_conf *conf,
                   struct trace **out);
void trace_close(struct trace **trace); /* writes what there is; before kv is closed */

/* --- writing ---------------------------------------------------------------------------------- */

enum trace_what {
    TRACE_ACCEPTED = 1, /* a message was handed in */
    TRACE_REFUSED,      /* a sender, a recipient or a message was not taken */
    TRACE_DELIVERED,    /* it is in a mailbox here */
    TRACE_RELAYED,      /* another host has taken it */
    TRACE_DEFERRED,     /* a try that is made again */
    TRACE_FAILED,       /* for good */
    TRACE_REPORTED,     /* the sender is told */
    TRACE_CHANGED,      /* by an administrator */
    TRACE_HELD,         /* by the server itself: it waits for an administrator */
    /* Of accounts: with trace_login. */
    TRACE_LOGIN,
    TRACE_LOGIN_FAILED,
    TRACE_LOGIN_REFUSED, /* without a look at the password */
    TRACE_LOGIN_BLOCKED, /* a block has begun */
    TRACE_NEW_PLACE,
    TRACE_SESSION_ENDED, /* from outside */
    TRACE_WHATS
};
const char *trace_what_text(enum trace_what what); /* "accepted" */

/* Absent, 0 and none: not known. Texts are those of others and need not be harmless. */
struct trace_event {
    enum trace_what what;
    uint64_t time;            /* ns since 1970; 0: now */
    struct str id;            /* of log lines (message=): what makes events one story */
    struct str message_id;    /* without angle brackets */
    const struct str *sender; /* NULL: not known; the null sender is the empty one */
    const struct str *to;     /* recipients */
    size_t n_to;
    struct str peer, session, login; /* who handed it in */
    struct str tls;                  /* of that connection, or of the one to `host` */
    struct str checks;               /* "sender=own author=own hops=2" */
    uint64_t size;
    struct str host;    /* who said it: "mx.example.org[192.0.2.1]" */
    struct str reply;   /* "550 5.1.1 no such user" */
    struct str mailbox; /* "alice@example.org 17": whose, and its UID */
    uint64_t due;       /* of the next try */
    struct str other;   /* of a report its id; of a change, what was done; else a remark */
};

/* Takes note; needs nothing of the event afterwards. `trace` may be NULL: nothing is noted. */
void trace_event(struct trace *trace, const struct trace_event *event);
/* What was decided about a login or a session of an address. */
struct trace_login {
    enum trace_what what;
    struct str address, peer, session;
    const char *protocol;
    struct str cause;  /* of what is no login: "password"; or a remark */
    uint64_t delay_ms; /* the refusal was held back so long */
};
/* As trace_event. Logins have files of their own, with an eighth of the room of mail besides: they
 * push out no story of a message. Of the same decision about the same address from the same peer
 * the first is noted, and then how many came within a minute, or within an hour of logins; failures
 * are noted at up to two a second for long, so that those who guess do not push out everybody
 * else's logins either. */
void trace_login(struct trace *trace, const struct trace_login *login);
/* What was noted before is written. RC_TEMP, RC_FULL, ...: some of it is lost. */
enum rc trace_flush(struct trace *trace);

/* --- reading ---------------------------------------------------------------------------------- */

struct trace_query {
    struct str what;     /* Message-ID, with angle brackets or without; an address; an id */
    uint64_t since;      /* stories with an event from then on, ns since 1970; 0: all */
    size_t max_messages; /* the latest; at most TRACE_MESSAGES */
};
#define TRACE_LOGINS                                                                               \
    "logins" /* the id of the story of an address's logins, which is the last one */
enum { TRACE_MESSAGES = 1000, TRACE_STORY_EVENTS = 2000 };

struct trace_story {
    struct str id;
    struct trace_event *events; /* oldest first, at most TRACE_STORY_EVENTS */
    size_t n;
};
struct trace_found {
    struct trace_story *stories; /* in the arena, by their first events, oldest first */
    size_t n;
    bool has_more; /* older ones */
};
/* RC_OK, also when nothing was found; RC_LIMIT (the arena), RC_TEMP, RC_CORRUPT. */
enum rc trace_find(struct trace *trace, const struct trace_query *query, struct arena *arena,
                   struct trace_found *out);

#endif
