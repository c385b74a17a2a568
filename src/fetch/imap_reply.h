/* fetch, inside: answers of an IMAP server [RFC3501 7] [RFC9051 7]. Pure; all that is kept is
 * bounded, the body of a message is handed on as it comes. */
#ifndef FETCH_IMAP_REPLY_H
#define FETCH_IMAP_REPLY_H

#include "base/arena.h"
#include "fetch/fetch.h"

enum {
    IMAP_TEXT = 64 << 10, /* bytes of an answer, literals and all, but for a message's body */
    IMAP_DEPTH = 64       /* of parentheses that are passed over */
};

struct imap_reader {
    struct buf text;  /* the answer, as far as it has come; a body in it is NIL */
    uint64_t literal; /* bytes of a literal that are still to come */
    bool is_body;     /* it is the body of a message */
    bool is_whole;    /* text was given, and goes with the next call */
};
void fetch_imap_reader_init(struct imap_reader *r);
void fetch_imap_reader_fini(struct imap_reader *r);

enum imap_part {
    IMAP_ANSWER,     /* a whole one, without its CRLF */
    IMAP_BODY,       /* a body begins: *out_size bytes of it follow */
    IMAP_BODY_BYTES, /* some */
    IMAP_BODY_END
};
/* The next part of what has come, which it takes off *in. RC_AGAIN: more must come; RC_LIMIT: more
 * than IMAP_TEXT; RC_SYNTAX. */
enum rc fetch_imap_next(struct imap_reader *r, struct str *in, enum imap_part *out_what,
                        struct str *out, uint64_t *out_size);

/* --- what an answer says ---------------------------------------------------------------------- */

/* The next word, quoted string, or literal of an answer; its text goes into `to`, which is cleared
 * before. RC_EOF: the end, or a closing parenthesis; RC_SYNTAX. */
enum rc fetch_imap_string(struct str *rest, struct buf *to, bool *out_is_nil);
/* Passes over one value, whatever it is. */
enum rc fetch_imap_skip(struct str *rest);

enum imap_capability {
    IMAP_STARTTLS = 1,
    IMAP_PLAIN = 2,
    IMAP_LOGINDISABLED = 4,
    IMAP_UIDPLUS = 8,
    IMAP_IDLE = 16,
    IMAP_SPECIAL_USE = 32
};
unsigned fetch_imap_capabilities(struct str words); /* behind CAPABILITY */
/* "[CODE argument] text": RC_NOTFOUND: there is no code. */
enum rc fetch_imap_code(struct str words, struct str *out_code, struct str *out_argument);
/* What a refused login means [RFC5530 3]; words behind NO. */
enum rc fetch_imap_refusal(struct str words);

/* "* 12 FETCH (...)": behind FETCH. */
struct imap_fetched {
    struct fetch_item item;
    bool has_uid, has_size, has_body;
    struct buf body; /* one that came as a string */
};
enum rc fetch_imap_fetched(struct str rest,
                           struct imap_fetched *out); /* out->body is the caller's */
/* "* LIST (...) ...": behind LIST. Texts go into the arena. RC_SYNTAX; RC_EOF: nothing that can be
 * opened; RC_LIMIT. */
enum rc fetch_imap_listed(struct str rest, struct arena *arena, struct fetch_folder *out);
/* "17-Jul-1996 02:44:25 -0700" in ns since 1970; 0: it is none. */
uint64_t fetch_imap_date(struct str text);
/* Quotes a name; RC_SYNTAX: it cannot be. */
enum rc fetch_imap_quote(struct buf *out, struct str text);

#endif
