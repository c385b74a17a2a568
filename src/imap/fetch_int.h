/* FETCH, inside: the program that a list of items becomes, the message at hand, and the command.
 *
 * fetch_parse.c makes the program, pure; fetch.c goes over the messages in pages; fetch_items.c
 * writes one item of one message; fetch_body.c reads messages; fetch_preview.c makes PREVIEW. */
#ifndef IMAP_FETCH_INT_H
#define IMAP_FETCH_INT_H

#include "imap/imap_int.h"
#include "mime/decode.h"
#include "mime/section.h"
#include "mime/summary.h"

enum {
    IMAP_FETCH_ITEMS = 1000,      /* in one command */
    IMAP_FETCH_NAMES = 1000,      /* of header fields, in one command */
    IMAP_FETCH_PATH = 64,         /* numbers of a part; trees are not so deep */
    IMAP_FETCH_LABEL = 16 << 10,  /* bytes of an item's name in the answer */
    IMAP_FETCH_PAGE = 64 << 10,   /* of a message, read at once */
    IMAP_FETCH_HEAD = 16 << 10,   /* the same when only its header is wanted */
    IMAP_FETCH_ROWS = 1000,       /* messages looked at together */
    IMAP_FETCH_SUMMARIES = 500,   /* the same when their summaries are asked for */
    IMAP_FETCH_TEXTS = 512 << 10, /* bytes of summaries held at once */
    IMAP_FETCH_LAZY = 50,         /* previews that PREVIEW (LAZY) makes in one command */
    IMAP_FETCH_SHORT = 32 << 10   /* a text up to here goes to the output in one piece */
};

/* --- fetch_parse.c ---------------------------------------------------------------------------- */

enum imap_fetch_kind {
    IMAP_FETCH_UID,
    IMAP_FETCH_FLAGS,
    IMAP_FETCH_INTERNALDATE,
    IMAP_FETCH_SIZE,
    IMAP_FETCH_MODSEQ,
    IMAP_FETCH_SAVEDATE,
    IMAP_FETCH_EMAILID,
    IMAP_FETCH_THREADID,
    IMAP_FETCH_ENVELOPE,
    IMAP_FETCH_BODYSTRUCTURE,
    IMAP_FETCH_BODY,
    IMAP_FETCH_PREVIEW,
    IMAP_FETCH_SECTION,
    IMAP_FETCH_FIELDS,
    IMAP_FETCH_BINARY,
    IMAP_FETCH_BINARY_SIZE,
    IMAP_FETCH_KINDS
};

struct imap_fetch_item {
    enum imap_fetch_kind kind;
    enum mime_section section;
    bool is_not;          /* HEADER.FIELDS.NOT */
    bool is_lazy;         /* PREVIEW (LAZY) */
    uint32_t from, most;  /* the partial; most == 0: all of it */
    const uint32_t *path; /* of the part */
    size_t n_path;
    const struct str *names; /* of header fields */
    size_t n_names;
    struct str label; /* what stands before the value: "BODY[1.MIME]<0> " */
};

struct imap_fetch_program {
    struct imap_fetch_item *items; /* in the order of the command, in the arena */
    size_t n;
    size_t n_names;
    bool sets_seen; /* an item without PEEK is among them */
    bool has_uid, has_flags, has_modseq;
    bool needs_summary, needs_thread, has_preview;
    /* Modifiers [RFC7162 3.1.4.1, 3.2.6]. */
    bool has_since, has_vanished;
    bool has_partial; /* only these of the messages [RFC9394 3.3] */
    struct imap_partial partial;
    uint64_t since; /* only messages that have changed after it */
};

/* The items of a FETCH, to its end: a macro, an item, or a list of them, perhaps with modifiers.
 * needs_uid: an item for UID comes first when none is there [RFC3501 6.4.8] [RFC9051 6.4.9]. */
bool imap_take_fetch(struct imap_parse *p, bool needs_uid, struct imap_fetch_program *out);
/* A list of items alone, with its parentheses. */
bool imap_take_fetch_items(struct imap_parse *p, struct imap_fetch_program *out);

/* --- fetch_body.c: the message at hand -------------------------------------------------------- */

/* One message, opened when an item needs it and closed when the next one comes. What has been found
 * out is kept for the items that follow. Zeroed to begin with. */
struct imap_body {
    struct store_message *message; /* NULL: not open yet */
    uint64_t size;
    /* Bytes of the message that were read to be looked at. */
    char *window;
    uint64_t window_at;
    size_t window_n;
    /* The parser has been fed so many bytes; the tree is there at the end. */
    struct mime_parser parser;
    struct mime_tree tree;
    uint64_t fed;
    bool is_parsing, has_tree;
    bool keeps;      /* for a summary */
    struct buf text; /* what was made for the item at hand */
    struct buf summary, preview;
    uint64_t work; /* bytes looked at in this step */
    /* A decoded part: what is known of it. */
    const struct imap_fetch_item *counted; /* the item that the rest is about */
    struct mime_decoder decoder;
    uint64_t begin, end, at; /* of the encoded bytes */
    uint64_t n_decoded;
    bool has_nul, is_counted;
    bool is_text;    /* its lines end with CRLF, whatever they ended with */
    bool ends_in_cr; /* what has been decoded so far */
};

/* RC_AGAIN from any of these: on a loop, call again on a worker; on a worker, so much has been done
 * that others come first. RC_CORRUPT and the like: the message cannot be read. */
enum rc imap_body_open(struct conn *c, struct imap_session *s, size_t index, struct imap_body *b);
void imap_body_close(struct imap_body *b); /* of one message; keeps memory for the next one */
void imap_body_fini(struct imap_body *b);
/* The tree of the message, looked at once. */
enum rc imap_body_parse(struct conn *c, struct imap_body *b);
/* The beginning of the message, or all of it; until the next of these calls. */
enum rc imap_body_head(struct conn *c, struct imap_body *b, size_t most, struct str *out);
/* The bytes of the item's section; RC_NOTFOUND: there is no such part. */
enum rc imap_body_section(struct conn *c, struct imap_body *b, const struct imap_fetch_item *item,
                          uint64_t *out_begin, uint64_t *out_end);
/* The item's header fields, into `text`. */
enum rc imap_body_fields(struct conn *c, struct imap_body *b, const struct imap_fetch_item *item);
/* Appends up to n bytes from `at`, at least one. */
enum rc imap_body_read(struct conn *c, struct imap_body *b, uint64_t at, size_t n, struct buf *out);
/* Counts what the item's part is when decoded: n_decoded, has_nul. RC_NOTFOUND as above; RC_PERM:
 * its encoding is unknown. */
enum rc imap_body_count(struct conn *c, struct imap_body *b, const struct imap_fetch_item *item);
/* After imap_body_count: begins anew, so that imap_body_decode gives the decoded bytes, a page into
 * `text` with each call; RC_EOF: there are no more. */
void imap_body_rewind(struct imap_body *b);
enum rc imap_body_decode(struct conn *c, struct imap_body *b);

/* --- fetch_items.c: one item of one message --------------------------------------------------- */

enum imap_fetch_stream {
    IMAP_FETCH_NO_STREAM,
    IMAP_FETCH_TEXT,   /* what is left of `text` */
    IMAP_FETCH_RANGE,  /* bytes of the message */
    IMAP_FETCH_DECODED /* bytes of a part, decoded */
};

struct imap_fetch;
typedef enum net_step (*imap_fetch_stage)(struct conn *c, struct imap_session *s,
                                          struct imap_fetch *f);

struct imap_fetch {
    struct imap_fetch_program program;
    struct imap_set set;
    struct imap_spans spans;
    bool is_uidonly;
    bool is_arrival, is_done; /* it is not a command: see below */
    struct imap_vanished vanished;
    imap_fetch_stage stage;
    size_t span, index; /* the first message behind the page */
    /* From the highest message downwards: `spans` is one page after the other of these. */
    bool is_downwards;
    struct imap_spans all;
    size_t n_left, window; /* messages of them that are not told yet, and those in `spans` */
    enum imap_text answer;
    /* The page. */
    size_t n, most;
    uint32_t *indices;
    uint64_t *emails;
    struct str *summaries;
    uint64_t *threads; /* 0: not to be known */
    uint32_t *unseen;  /* UIDs */
    size_t n_unseen;
    struct arena texts;        /* of the summaries */
    struct imap_op change;     /* that sets \Seen */
    struct store_root *newest; /* with the change; NULL: there was none */
    uint64_t *modseqs;         /* of the changes so far */
    size_t n_modseqs, modseqs_size;
    /* The message. */
    size_t nth, at; /* of the page, and where it stands in it */
    size_t item;
    const struct store_row *row;
    bool is_kept;                            /* its summary, in the format of today */
    struct str summary;                      /* that, for a preview; absent: it is not known */
    struct str envelope, structure, preview; /* of its summary; absent: not there yet */
    size_t n_previews;                       /* made by this command */
    bool has_begun;                          /* "* n FETCH (" is written */
    bool is_changed;                         /* it was not \Seen before */
    struct imap_body body;
    /* What is left of the item at hand. */
    enum imap_fetch_stream stream;
    struct str text;
    uint64_t left, from, skip;
    struct str flag_texts[STORE_DRAFT * 2]; /* by flags, made when first needed */
};

/* Messages told without a command that asks for them now; the program stays as long. Its pages
 * are in the session's arena. NULL: that is full. NET_READ: all are told. Nothing is marked as
 * seen. */
struct imap_fetch *imap_fetch_arrival_begin(struct imap_session *s,
                                            const struct imap_fetch_program *program,
                                            const struct imap_spans *spans);
enum net_step imap_fetch_arrival(struct conn *c, struct imap_session *s, struct imap_fetch *f);
void imap_fetch_arrival_end(struct imap_fetch **f); /* also of NULL */

/* Writes the item. RC_OK: all of it, or its beginning and there is a stream. RC_AGAIN: nothing, try
 * again as in imap_body_*. Others: nothing, it cannot be had; RC_PERM: for its encoding. */
enum rc imap_fetch_put(struct conn *c, struct imap_session *s, struct imap_fetch *f,
                       const struct imap_fetch_item *item);
/* Has the summary made and kept where it is not. */
enum rc imap_fetch_need_summary(struct conn *c, struct imap_session *s, struct imap_fetch *f);
/* Has the preview made where it is not known; RC_NOTFOUND: later, for who is not in a hurry. */
enum rc imap_fetch_need_preview(struct conn *c, struct imap_session *s, struct imap_fetch *f,
                                bool is_lazy);
void imap_fetch_log_previews(struct conn *c, struct imap_session *s, const struct imap_fetch *f);
/* Writes a page of the stream. RC_EOF: that was the last one. RC_AGAIN as above. */
enum rc imap_fetch_put_page(struct conn *c, struct imap_fetch *f);
/* When no item tells them: the flags of a message that had to become \Seen, and what is told with a
 * change or with a message that is new. */
enum rc imap_fetch_put_unasked(struct conn *c, struct imap_session *s, struct imap_fetch *f);

#endif
