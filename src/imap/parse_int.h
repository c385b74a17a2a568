/* imap, inside: what a client has sent, from bytes to commands and what stands in them. Pure, but
 * for a set, which is looked up in a mailbox as it was. */
#ifndef IMAP_PARSE_INT_H
#define IMAP_PARSE_INT_H

#include "imap/imap.h"

/* --- input.c: from bytes to commands, pure ---------------------------------------------------- */

struct imap_literal {
    uint64_t n;
    bool is_sync;   /* the client waits for a continuation request */
    bool is_binary; /* literal8 [RFC3516 4.4] */
    bool is_broken; /* something like a literal whose size is no number */
};

enum imap_input_kind {
    IMAP_INPUT_NONE,    /* more bytes are needed */
    IMAP_INPUT_COMMAND, /* text: the whole command without its last CRLF */
    IMAP_INPUT_LITERAL, /* a literal is announced: accept or refuse it, or take it over */
    IMAP_INPUT_BARE,    /* a line that ended in LF alone, or had a NUL or CR within */
    IMAP_INPUT_TOO_LONG /* told once; the rest is passed over */
};

/* A command on its way in. Zeroed to begin with. */
struct imap_gather {
    struct buf held;  /* a command with literals, as far as it is here; empty for others */
    uint64_t left;    /* of the literal that goes to `held` */
    uint64_t skip;    /* of a literal that was refused */
    bool is_skipping; /* a line (and what literals it announces) is passed over */
};
struct imap_gathered {
    enum imap_input_kind kind;
    struct str text; /* in the input, or in `held`: valid until the next call */
    size_t used;     /* of the input: consume it */
    struct imap_literal literal;
};
void imap_gather_next(struct imap_gather *g, struct str in, size_t line_max,
                      struct imap_gathered *out);
/* After IMAP_INPUT_LITERAL: its bytes will follow `text` in the command. */
void imap_gather_accept(struct imap_gather *g, const struct imap_gathered *it);
/* They will be passed over, and with them the rest of the command, if the client sends them. */
void imap_gather_refuse(struct imap_gather *g, const struct imap_gathered *it);
/* Passes over the rest of a command, as far as it is here; *used is added to. True: that is all of
 * it. For who has set `is_skipping` and `skip` himself. */
bool imap_gather_skip(struct imap_gather *g, struct str in, size_t *used);
/* Frees what is held; wipes it, when asked. */
void imap_gather_reset(struct imap_gather *g, bool is_secret);
/* Whether a line (without CRLF) ends in the announcement of a literal. */
bool imap_literal_at_end(struct str line, struct imap_literal *out);

/* --- parse.c: the grammar, pure --------------------------------------------------------------- */

/* What is left of a command. Each imap_take_* takes one thing off it, or answers false and leaves
 * `error` for BAD: "MESSAGE" is what was expected. Views are into the command, or in the arena. */
struct imap_parse {
    struct str rest;
    struct arena *arena;
    const char *error;
    bool is_limit;                  /* it was not the syntax: too much of it */
    bool is_utf8;                   /* names of mailboxes are UTF-8, and not modified UTF-7 */
    bool has_8bit;                  /* the name taken last came in bytes that are not ASCII */
    bool is_utf8_only;              /* strings are UTF-8, and say nothing else [RFC9755 3] */
    const struct imap_saved *saved; /* what "$" means; NULL: no message */
};
bool imap_fail(struct imap_parse *p, const char *expected); /* false */
bool imap_take_byte(struct imap_parse *p, char c);
bool imap_peek_byte(const struct imap_parse *p, char c);
bool imap_take_sp(struct imap_parse *p);
bool imap_take_end(struct imap_parse *p);                   /* nothing is left */
bool imap_take_word(struct imap_parse *p, struct str word); /* in any case of letters; whole */
bool imap_take_atom(struct imap_parse *p, struct str *out);
bool imap_take_astring(struct imap_parse *p, struct str *out);
bool imap_take_string(struct imap_parse *p, struct str *out);
bool imap_take_nstring(struct imap_parse *p, struct str *out); /* absent for NIL */
bool imap_take_number(struct imap_parse *p, uint32_t *out);
bool imap_take_nz_number(struct imap_parse *p, uint32_t *out);
bool imap_take_modseq(struct imap_parse *p, uint64_t *out);         /* 0 to 2^63 - 1 */
bool imap_take_list_mailbox(struct imap_parse *p, struct str *out); /* with its wildcards */
/* A mailbox name, from modified UTF-7 to UTF-8 and its levels [RFC3501 5.1.3] [RFC9051 A.1]. The
 * first level INBOX in any case is "INBOX". */
bool imap_take_mailbox(struct imap_parse *p, struct store_path *out);
/* flag-list or flags without parentheses; \Recent is an error. Keywords are views. */
struct imap_flags {
    uint32_t flags;
    struct str keywords[STORE_KEYWORDS];
    size_t n_keywords;
};
bool imap_take_flags(struct imap_parse *p, bool needs_list, struct imap_flags *out);
/* Those that a client can change, in the order in which they are told [RFC3501 2.3.2]
 * [RFC9051 2.3.2]. */
enum { IMAP_SYSTEM_FLAGS = 5 };
extern const struct imap_system_flag {
    uint32_t flag;
    struct str name; /* with its backslash */
} imap_system_flags[IMAP_SYSTEM_FLAGS];
bool imap_take_date_time(struct imap_parse *p, uint64_t *out_ns); /* "17-Jul-1996 02:44:25 -0700" */
bool imap_take_date(struct imap_parse *p, int64_t *out_day);      /* days since 1970, as written */
/* The day that a Date field names, as it is written there: whatever the time and the zone are.
 * False: it names none. [RFC5322 3.3, 4.3] */
bool imap_read_date(struct str value, int64_t *out_day);
/* When a Date field says that it was, in seconds since 1970 UTC [RFC5256 2.2]. False: there is no
 * date in it. */
bool imap_read_sent(struct str value, int64_t *out_seconds);
/* A date and time as INTERNALDATE has it, with its quotes and in UTC: so many bytes from `to` on.
 * The end of them. */
enum { IMAP_DATE_TIME = 28 };
char *imap_put_date_time(char *to, uint64_t ns);

/* What APPEND says of one message, with the space before it: flags, date, and the announcement of
 * its literal, with which the line ends [RFC3502] [RFC3516 4.4]. */
struct imap_item {
    struct imap_flags flags;
    bool has_date;
    uint64_t received; /* ns since 1970 */
    struct imap_literal literal;
    bool is_wrapped; /* a ")" comes behind it */
};
bool imap_take_item(struct imap_parse *p, struct imap_item *out);

enum { IMAP_RANGES_MAX = 16 << 10 }; /* of a sequence set */
/* A sequence set. '*' is UINT32_MAX. */
struct imap_range {
    uint32_t from, to; /* from <= to, but where one is '*' */
};
struct imap_set {
    const struct imap_range *ranges; /* in the arena, or the session's */
    size_t n;
    bool is_saved; /* "$": UIDs in any command [RFC5182 2.1] [RFC9051 6.4.4.1] */
    bool is_open;  /* numbers that are not there are passed over [RFC7377 2] */
};
/* What SEARCH RETURN (SAVE) found: UIDs, ascending. Ranges reach over UIDs that are of no message,
 * and never will be. */
struct imap_saved {
    size_t n;
    struct imap_range at[];
};
bool imap_take_set(struct imap_parse *p, struct imap_set *out);

/* The indices of a root that a set means: ascending, disjoint half-open ranges. is_uid: UIDs that
 * are not there are passed over [RFC3501 6.4.8] [RFC9051 6.4.9]. RC_NOTFOUND: a sequence number
 * that is not there. RC_LIMIT: the arena. */
struct imap_span {
    size_t from, to;
};
struct imap_spans {
    struct imap_span *at;
    size_t n;
    size_t total; /* messages in them */
};
enum rc imap_set_resolve(const struct imap_set *set, const struct store_root *root, bool is_uid,
                         struct arena *arena, struct imap_spans *out);
/* Some of many, in their order [RFC9394 3.1]. */
struct imap_partial {
    uint32_t from, to;    /* from <= to, the first is 1 */
    bool is_from_the_end; /* counted from there */
    bool is_turned;       /* it was said the other way round */
};
/* "1:100" or "-1:-100" [RFC9394 4]. */
bool imap_take_partial(struct imap_parse *p, struct imap_partial *out);
/* Which of n that is: so many from *out_first on, from 0. */
size_t imap_partial_of(const struct imap_partial *p, size_t n, size_t *out_first);
/* Leaves those of the messages. */
void imap_spans_cut(struct imap_spans *spans, const struct imap_partial *part);
/* What is in both; *out may be one of them. False: the arena is full. */
bool imap_spans_meet(const struct imap_spans *a, const struct imap_spans *b, struct arena *arena,
                     struct imap_spans *out);
/* The first span that ends behind the index; n: none does. And whether one holds it. */
size_t imap_spans_find(const struct imap_spans *spans, size_t index);
bool imap_spans_have(const struct imap_spans *spans, size_t index);
/* The place of a UID among UIDs that ascend, or where it would be. */
size_t imap_uid_find(const uint32_t *uids, size_t n, uint32_t uid);

#endif
