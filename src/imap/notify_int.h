/* NOTIFY, inside: what a client wants to be told of, and how far it has been told.
 *
 * notify_parse.c reads the command, pure; notify.c is the command, and what the rest of the session
 * asks; notify_tell.c tells. */
#ifndef IMAP_NOTIFY_INT_H
#define IMAP_NOTIFY_INT_H

#include "imap/fetch_int.h"
#include "imap/filter_int.h"

enum {
    IMAP_NOTIFY_TEXT = 128 << 10, /* bytes of a command */
    IMAP_NOTIFY_GROUPS = 32,      /* in one command */
    IMAP_NOTIFY_BYTES = 512 << 10,
    IMAP_NOTIFY_ALL = 64 << 20, /* of what all sessions together want */
    IMAP_NOTIFY_OWN = 16        /* changes of the session itself, the last ones */
};

enum imap_notify_event {
    IMAP_NOTIFY_NEW = 1, /* message-event: the first two only together, the third with both */
    IMAP_NOTIFY_EXPUNGE = 2,
    IMAP_NOTIFY_FLAGS = 4,
    IMAP_NOTIFY_NAME = 8,
    IMAP_NOTIFY_SUBSCRIPTION = 16,
    IMAP_NOTIFY_UNKNOWN = 32, /* there is one that is not supported */
    IMAP_NOTIFY_MESSAGES = IMAP_NOTIFY_NEW | IMAP_NOTIFY_EXPUNGE | IMAP_NOTIFY_FLAGS,
    IMAP_NOTIFY_NAMES = IMAP_NOTIFY_NAME | IMAP_NOTIFY_SUBSCRIPTION
};

struct imap_notify_group {
    struct imap_filter filter;
    unsigned events; /* enum imap_notify_event; 0: NONE */
};

struct imap_notify_program {
    bool is_none, has_status;
    bool has_selected, is_delayed;
    unsigned selected;                 /* events of the selected mailbox */
    struct imap_fetch_program arrival; /* what is told of a new message there; n == 0: nothing */
    struct imap_notify_group *groups;  /* of other mailboxes */
    size_t n_groups, n_names;
    unsigned events; /* of all of them */
};

/* Messages of others than the selected mailbox may be watched. */
static inline bool imap_notify_has_others(const struct imap_notify_program *program)
{
    return program->n_groups && program->events & IMAP_NOTIFY_MESSAGES;
}

/* Everything behind "NOTIFY ". What is to stay is in `keep`; names over `names_max` are too many:
 * p->is_limit. */
bool imap_take_notify(struct imap_parse *p, struct arena *keep, size_t names_max,
                      struct imap_notify_program *out);

/* Which events are wanted of this mailbox, or of a name that is none. */
unsigned imap_notify_events(const struct imap_notify_program *program,
                            const struct imap_filter_place *place);

struct imap_notify {
    struct imap_session *session;
    struct store_watch watch;
    bool watches_names;
    struct arena arena; /* of the program */
    struct imap_notify_program program;
    size_t size; /* counted in imap.notified */
    /* What the client knows. */
    uint64_t since, at; /* of mailboxes: all up to `since`, and up to `at` in what is being told */
    uint64_t told;      /* not 0: `since` went back for the mailbox `left` (0: for several), and of
                           others      all is known up to here */
    uint32_t left;
    uint64_t names_at;
    uint32_t next_uid; /* of the selected mailbox: FETCH has been told of those before */
    /* What the session has done itself. */
    uint64_t own[IMAP_NOTIFY_OWN]; /* modseqs */
    struct imap_notify_mine {
        uint32_t uidvalidity, uid, n;
    } mine[IMAP_NOTIFY_OWN];
    unsigned n_own, n_mine;
    /* What is being told; in the session's arena. */
    uint8_t stage;
    struct imap_fetch *fetch;
    struct store_news *news;
    struct store_name_news *names;
    size_t n, i;
};

/* Whether a name is subscribed, as far as the program asks for that. RC_AGAIN: on a worker. */
enum rc imap_notify_subscribed(struct conn *c, struct imap_session *s, struct str path, bool *out);
/* Items of STATUS for these events. */
unsigned imap_notify_items(const struct imap_session *s, unsigned events);

#endif
