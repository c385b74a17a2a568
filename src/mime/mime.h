/* MIME: what a message is made of, as offsets into its bytes.
 *
 * A push parser is fed a message in pieces of any size and gives a tree of parts [RFC2045]
 * [RFC2046]; pure functions read header blocks and field values [RFC5322] [RFC2183]. Nothing here
 * does I/O, and the tree holds no bytes of the message.
 *
 * No message is refused: what cannot be understood is text, what goes over a limit is an opaque
 * body, and a flag of the tree says so. The tree is the same however the message was cut into
 * pieces.
 *
 * Lines end with LF, whether or not CR stands before it; CR alone ends nothing. Sizes and offsets
 * are bytes from the beginning of the message as it is stored; indices of parts are uint32_t.
 *
 * Other headers of this folder, one an idea: section.h (which bytes BODY[1.2.MIME] is), summary.h
 * (ENVELOPE and BODYSTRUCTURE), fields.h (an ENVELOPE taken apart), decode.h (transfer encodings
 * undone), charset.h (charsets, encoded words), text.h (folded text for SEARCH), terms.h (its
 * words), preview.h and html.h (the beginning of a text as a line).
 *
 * Caveats: the functions in this header give RFC 2047 words and RFC 2231 parameters as they stand.
 * A multipart or message in base64 or quoted-printable, which is forbidden [RFC2045 6.4], is not
 * decoded: such a multipart is read as if it were not encoded, such a message is opaque. */
#ifndef MIME_MIME_H
#define MIME_MIME_H

#include "base/arena.h"
#include "base/buf.h"

/* ---- The tree ---- */

#define MIME_NONE UINT32_MAX /* no such part */

/* Hard limits. Depth 0 is the message itself. A header block ends before the line that would break
 * one of its limits; what follows is the body of an opaque part. */
struct mime_limits {
    uint32_t depth;         /* of the deepest part */
    uint32_t parts;         /* at least 1 */
    uint32_t header_fields; /* in one header block */
    uint32_t header_size;   /* of one header block */
    uint32_t field_size;    /* of a Content-Type or Content-Transfer-Encoding field */
    uint32_t kept;          /* of the fields kept for mime_summary, all parts together */
};

/* Sane for mail of strangers: 50, 1000, 1000, 256 KB, 16 KB, 256 KB. */
extern const struct mime_limits mime_limits_default;

enum mime_flags {
    /* A limit was reached; the part where it happened, or what follows, is opaque. */
    MIME_OVER_DEPTH = 1 << 0,
    MIME_OVER_PARTS = 1 << 1, /* nothing behind the last part was looked at */
    MIME_OVER_FIELDS = 1 << 2,
    MIME_OVER_HEADER = 1 << 3,
    MIME_OVER_FIELD = 1 << 4,
    MIME_OVER_BOUNDARY = 1 << 5, /* longer than MIME_BOUNDARY_MAX */
    MIME_OVER_KEPT = 1 << 6,     /* fields were left out of those kept; nothing is opaque for it */
    MIME_OVER_ANY = (1 << 7) - 1,
    /* The message is not as it should be. */
    MIME_NO_BLANK = 1 << 8,    /* a header block ended without an empty line */
    MIME_NO_CLOSE = 1 << 9,    /* a multipart has no close delimiter */
    MIME_NO_BOUNDARY = 1 << 10 /* a multipart names no boundary: it is opaque */
};

/* [RFC2046 5.1.1] allows 70; more is tolerated. */
enum { MIME_BOUNDARY_MAX = 240 };

/* Bytes of the message; n == 0 where there are none. See mime_view. */
struct mime_slice {
    uint64_t begin;
    uint32_t n;
};

enum mime_kind {
    MIME_LEAF,      /* no parts below */
    MIME_MULTIPART, /* its parts are below, perhaps none */
    MIME_MESSAGE    /* message/rfc822 or message/global: exactly one part below, whose header begins
                       where the body of this one does */
};

struct mime_part {
    uint64_t header_begin;
    uint64_t body_begin; /* end of the header block, which includes its empty line */
    uint64_t body_end; /* without the line end that belongs to the next delimiter [RFC2046 5.1.1] */
    uint64_t header_lines, body_lines; /* line ends in the two */

    uint32_t parent, first_child, next; /* MIME_NONE: there is none */
    uint32_t n_fields;                  /* fields in the header block */
    uint16_t depth;
    uint8_t kind;   /* enum mime_kind */
    bool is_opaque; /* a limit, a forbidden encoding or a missing boundary kept the parser out */

    /* As they stand, not unquoted. Without a Content-Type that can be read, type and subtype are
     * empty: the part is text/plain, or message/rfc822 below a multipart/digest [RFC2046 5.1.5]. */
    struct mime_slice type, subtype, boundary, encoding;

    uint32_t kept_begin, kept_n; /* its fields in the tree's kept ones */
};

struct mime_tree {
    struct mime_part *parts; /* in the order of the message; [0] is the message itself */
    uint32_t n_parts;        /* at least 1 */
    uint32_t flags;          /* enum mime_flags */
    uint32_t n_received;     /* Received fields of the message's own header: loop detection */
    uint64_t size, lines;    /* of the message */
    uint64_t bare_lf;        /* how many of the lines end without CR */
    struct buf kept;         /* see mime_keep; empty otherwise */
};

void mime_tree_fini(struct mime_tree *t);

/* The bytes of a slice, out of bytes that begin at offset `at` of the message (0: the whole
 * message). Empty when they are not all there. */
struct str mime_view(struct str bytes, uint64_t at, struct mime_slice s);

/* ---- The parser ---- */

enum { MIME_HEAD = 256 }; /* what a line is shows in so many bytes */

struct mime_level; /* an open multipart */

/* Everything in here is private to the parser. Its memory is bounded by the limits. */
struct mime_parser {
    struct mime_limits limits;
    struct mime_tree tree;
    size_t parts_capacity;
    uint32_t current; /* the innermost open part */

    struct mime_level *levels; /* open multiparts that can still go on, outermost first */
    size_t n_levels, levels_capacity;
    struct buf boundaries; /* their boundaries */

    uint64_t offset;     /* of the next byte fed */
    uint64_t line_begin; /* of the line at hand */
    uint8_t state;       /* what the line at hand is part of */
    uint8_t line_end;    /* length of the line end before the line at hand: 0, 1 or 2 */
    bool in_rest;        /* the beginning of the line at hand has been dealt with */
    bool last_is_cr;     /* the last byte fed, when in_rest */
    bool is_stopped;     /* over the number of parts: only lines are counted */

    uint8_t field;         /* the open header field */
    uint64_t field_line;   /* where it begins */
    uint64_t value_begin;  /* where its value does */
    uint64_t n_value;      /* bytes of the value, and of them those before the line at hand */
    uint64_t n_value_done; /* (counted only when the parser reads that field) */
    struct buf value;      /* as many of them as field_size allows */

    bool keeps;        /* see mime_keep */
    bool is_kept;      /* the open field is */
    size_t kept_field; /* where it begins in tree.kept */
    size_t kept_line;  /* where the line at hand does */

    /* What the header at hand says of the body. */
    uint8_t body_kind; /* enum mime_kind */
    bool is_digest, is_encoded;
    size_t n_boundary;
    char boundary[MIME_BOUNDARY_MAX];

    size_t n_head;
    char head[MIME_HEAD]; /* a line's beginning that came in pieces */
};

void mime_init(struct mime_parser *p, const struct mime_limits *limits); /* NULL: the default */
/* After mime_init: the fields that mime_summary reads are kept with the tree, so that a message of
 * any size is looked at once. */
void mime_keep(struct mime_parser *p);
void mime_fini(struct mime_parser *p); /* at any time; also after mime_finish */
void mime_feed(struct mime_parser *p, struct str bytes);
/* The end of the message. The tree is the caller's, to be ended with mime_tree_fini; the parser can
 * only be ended or begun anew. */
void mime_finish(struct mime_parser *p, struct mime_tree *out);

/* While feeding: whether the end of the message's own header has been seen, and how many Received
 * fields have. */
bool mime_is_header_done(const struct mime_parser *p);
uint32_t mime_received(const struct mime_parser *p);

/* A whole message at once. */
void mime_parse(struct str message, const struct mime_limits *limits, struct mime_tree *out);

/* ---- Header blocks ---- */

struct mime_field {
    struct str name;  /* without the colon and white space before it */
    struct str value; /* all after the colon with its folds, without the last line end */
    struct str whole; /* the lines of the field, with the last line end */
};

/* Takes the next field of a header block off *rest. False at the end of the block: at an empty
 * line, at a line that is no field, or when *rest is empty. An mbox line ("From ") at the very
 * beginning of the block is passed over, so *rest must begin with the block. Views into *rest. */
bool mime_header_next(struct str *rest, struct mime_field *out);

/* The value of the first field of that name (case is ignored); false when there is none. */
bool mime_header_find(struct str header, struct str name, struct str *out_value);

/* Appends the value without its folds [RFC5322 2.2.3] and without white space at both ends.
 * RC_LIMIT: it does not fit, and out is as it was. */
enum rc mime_unfold(struct str value, struct buf *out);

/* ---- Field values ---- */

struct mime_type {
    struct str type, subtype;
    struct str params; /* for mime_param_next */
};

/* A Content-Type value [RFC2045 5.1]. RC_SYNTAX: no type and subtype; the RFC wants it taken as
 * text/plain then [RFC2045 5.2]. */
enum rc mime_type_read(struct str value, struct mime_type *out);

/* The first word of a value such as Content-Transfer-Encoding or Content-Disposition [RFC2183 2],
 * and its parameters. RC_SYNTAX: there is none. */
enum rc mime_word_read(struct str value, struct str *out_word, struct str *out_params);

struct mime_param {
    struct str name;
    struct str value; /* without the quotes around it; see mime_unquote */
    bool is_quoted;
};

/* Takes the next parameter off *params; what is not of the form name=value is passed over. False at
 * the end. */
bool mime_param_next(struct str *params, struct mime_param *out);

/* Appends the parameter's value as it is meant: without backslashes and folds. RC_LIMIT as above.
 */
enum rc mime_unquote(const struct mime_param *param, struct buf *out);

/* Takes the next address off the value of From, Sender, To or the like and puts it into out, which
 * is cleared first: the addr-spec as it stands, without white space and comments around its parts;
 * in display names and groups only the addresses count. RC_EOF: there are no more. RC_SYNTAX: what
 * stands there is no address, or could be read as two different ones; RC_LIMIT: it does not fit.
 * After an error the rest means nothing. */
enum rc mime_address_next(struct str *rest, struct buf *out);

/* Takes the next msg-id of a Message-ID, In-Reply-To or References value off *rest, passing over
 * anything else, and puts it into id without angle brackets and white space; id is cleared first.
 * Ids that do not fit under the cap of id are passed over. A value without brackets that is one
 * single word with an '@' counts as an id. False at the end. */
bool mime_msgid_next(struct str *rest, struct buf *id);

/* What the header says of threads, zeroed to begin with: the values of the first such fields. */
struct mime_thread {
    struct str message_id, in_reply_to, references;
};
/* One field after the other of a header. Whether it is one of them. */
bool mime_thread_take(struct mime_thread *t, const struct mime_field *field);
/* The message's own id, in the arena; absent when there is none. */
struct str mime_thread_id(const struct mime_thread *t, struct arena *arena);
/* The ids of References, then In-Reply-To, in the arena: the last ones, the nearest last. */
enum { MIME_THREAD_IDS = 16 };
size_t mime_thread_references(const struct mime_thread *t, struct arena *arena,
                              struct str out[MIME_THREAD_IDS]);

#endif
