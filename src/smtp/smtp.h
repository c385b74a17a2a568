/* smtp: the grammar and framing of SMTP as pure functions over bytes [RFC5321].
 *
 * Both sides of the protocol use these pieces: what a line is, what a path is, how a reply is
 * written, how a message's bytes come out of DATA. Nothing here does I/O, keeps mail or knows a
 * mailbox. Everything that reads takes its input by a cursor (struct str *) that it moves beyond
 * what it has used, and can stop and go on at every byte.
 *
 * LINE ENDS ARE STRICT. Only CRLF ends a line and only CRLF.CRLF ends a message [RFC5321 2.3.8]
 * [RFC5321 4.1.1.4]. Where two servers disagree about that, one message can be made to look like
 * two; a bare CR or LF is therefore told to the caller, who refuses what it is part of, and never
 * ends anything.
 */
#ifndef SMTP_SMTP_H
#define SMTP_SMTP_H

#include "base/buf.h"

/* --- limits of the protocol [RFC5321 4.5.3.1] ------------------------------------------------- */

enum {
    SMTP_LOCAL_MAX =
        64, /* octets of a local part that everybody takes; longer ones are read as well */
    SMTP_DOMAIN_MAX = 255, /* of a domain; longer ones are refused */
    SMTP_PATH_MAX =
        512, /* of a path with its brackets and source route: twice what the RFC asks for */
    SMTP_LINE_MAX = 512,  /* of a command with its CRLF, before extensions add to it */
    SMTP_ENVID_MAX = 100, /* of ENVID's value [RFC3461 4.4] */
    SMTP_ORCPT_MAX = 500  /* of ORCPT's value [RFC3461 4.2] */
};

/* --- command lines ---------------------------------------------------------------------------- */

struct smtp_lines {
    size_t max;       /* bytes of a line with its CRLF */
    bool is_skipping; /* the rest of a faulty line is still to come */
};

/* Takes the next line off *in.
 * RC_OK: *out_line is the line without its CRLF, a view into the input.
 * RC_AGAIN: no whole line yet; give what is left in *in again, with more behind it.
 * RC_LIMIT: a line that is too long. RC_SYNTAX: a line with a NUL, a bare CR or a bare LF. Each is
 * told once, as soon as it shows; what follows up to the next CRLF belongs to the faulty line and
 * is passed over by later calls. */
enum rc smtp_line_next(struct smtp_lines *l, struct str *in, struct str *out_line);

/* The first word of a line, and what stands behind it without white space at both ends. */
void smtp_line_split(struct str line, struct str *out_verb, struct str *out_args);

/* --- paths and parameters --------------------------------------------------------------------- */

struct smtp_path {
    struct str local; /* as it stands, a quoted string with its quotes; empty in the null path <> */
    struct str domain; /* name or address literal; absent in <> and <postmaster> */
    bool is_utf8;      /* something in the path is outside ASCII */
};

/* Takes "FROM:" or "TO:" off *args, without regard to case, and the spaces that some clients put
 * behind it. */
bool smtp_keyword_take(struct str *args, struct str keyword);

/* Takes "<path>" off *args. A source route is passed over [RFC5321 4.1.1.3]. RC_SYNTAX: it is not a
 * path; a local part without a domain is none, unless it is "postmaster" [RFC5321 4.1.1.3].
 * RC_LIMIT: too long. Outside ASCII there may be UTF-8, and in the domain U-labels [RFC6531 3.3];
 * whether the client has asked for that is the caller's question (is_utf8). */
enum rc smtp_path_take(struct str *args, struct smtp_path *out);

/* Appends the address in its plainest form: the local part without quotes or backslashes that it
 * does not need, since the two forms mean the same mailbox [RFC5321 4.1.2]. Nothing for the null
 * path. RC_LIMIT. */
enum rc smtp_path_write(const struct smtp_path *path, struct buf *out);

/* Appends the domain as DNS knows it, that is in ASCII: A-labels for U-labels [RFC5890 2.3.2.1];
 * ASCII as it is. RC_SYNTAX: it is no domain name; RC_LIMIT; RC_TEMP: no memory. */
enum rc smtp_domain_ascii(struct str domain, struct buf *out);

struct smtp_param {
    struct str name;
    struct str value; /* absent without '=' */
};
/* Takes the next parameter off *args [RFC5321 4.1.2]. RC_EOF: there is none; RC_SYNTAX. */
enum rc smtp_param_next(struct str *args, struct smtp_param *out);

/* One or more of the characters of an atom in ASCII [RFC5322 3.2.3]. */
bool smtp_is_atom(struct str s);
/* A domain name in ASCII. Underscores are taken as well: they are not allowed, and common. */
bool smtp_is_domain(struct str s);
/* "[192.0.2.1]", "[IPv6:2001:db8::1]", "[tag:content]" [RFC5321 4.1.3]. */
bool smtp_is_literal(struct str s);

/* --- what the sender wishes to be told [RFC3461] ---------------------------------------------- */

enum smtp_ret { SMTP_RET_NONE, SMTP_RET_FULL, SMTP_RET_HDRS };
enum smtp_notify { /* bits; 0: NOTIFY was not given */
                   SMTP_NOTIFY_NEVER = 1,
                   SMTP_NOTIFY_SUCCESS = 2,
                   SMTP_NOTIFY_FAILURE = 4,
                   SMTP_NOTIFY_DELAY = 8
};

/* All: RC_SYNTAX for what is not a value of that parameter, RC_LIMIT for one that is too long. */
enum rc smtp_ret_parse(struct str value, enum smtp_ret *out);
enum rc smtp_envid_check(struct str value);
enum rc smtp_notify_parse(struct str value, unsigned *out);
/* is_utf8: the transaction has SMTPUTF8, so that an address of type utf-8 may be UTF-8
 * [RFC6533 3]. */
enum rc smtp_orcpt_check(struct str value, bool is_utf8);

/* HOLDFOR and HOLDUNTIL [RFC4865 3]: seconds, and seconds since 1970. RC_SYNTAX. */
enum rc smtp_holdfor_parse(struct str value, uint64_t *out_seconds);
enum rc smtp_holduntil_parse(struct str value, uint64_t *out_seconds);

/* Appends what xtext stands for [RFC3461 4]. RC_SYNTAX, RC_LIMIT. */
enum rc smtp_xtext_decode(struct str s, struct buf *out);

/* Appends the address that the value of an ORCPT of type utf-8 stands for [RFC6533 3]. RC_SYNTAX,
 * RC_LIMIT. */
enum rc smtp_unitext_decode(struct str s, struct buf *out);
/* Appends what is outside ASCII in that encoding, and all else as it is. RC_LIMIT. */
enum rc smtp_unitext_put(struct buf *out, struct str s);

/* --- replies ---------------------------------------------------------------------------------- */

/* Appends a reply [RFC5321 4.2]. `status` is the enhanced status code [RFC2034 4], or "" for none.
 * The text may have several lines, each but the last ended by '\n'; each gets the code and the
 * status. It must be printable. buf.over tells when it did not fit. */
void smtp_reply_put(struct buf *out, unsigned code, const char *status, struct str text);

/* --- the bytes of a message ------------------------------------------------------------------- */

enum smtp_data_fault { /* bits */
                       SMTP_DATA_BARE_CR = 1,
                       SMTP_DATA_BARE_LF = 2,
                       SMTP_DATA_NUL = 4,
                       SMTP_DATA_LONG = 8 /* a line is longer than line_max */
};

/* Reads what comes after "354" up to CRLF.CRLF, takes out the dots that were put in
 * [RFC5321 4.5.2], and finds what must not be there. One of zeroes is at the beginning of a message
 * and has no limit for lines. */
struct smtp_data {
    size_t line_max; /* bytes of a line with its CRLF; 0: any */
    size_t line;     /* bytes of the line at hand */
    unsigned faults; /* what was found so far, bits of enum smtp_data_fault */
    unsigned state;  /* private */
};

/* Takes bytes off *in. RC_OK: *out_piece is the next piece of the message, a view into the input,
 * as long as it can be. RC_AGAIN: all input has been used. RC_EOF: the message is complete; *in
 * begins behind it. The message itself, that is all pieces together, is meaningful only when there
 * were no faults. */
enum rc smtp_data_next(struct smtp_data *d, struct str *in, struct str *out_piece);

/* The same search for faults in text that comes otherwise framed, piece by piece; no dot means
 * anything. At the end a CR that nothing followed is found, too. */
void smtp_data_check(struct smtp_data *d, struct str piece);
void smtp_data_check_end(struct smtp_data *d);

/* --- chunks [RFC3030 2] ----------------------------------------------------------------------- */

struct smtp_chunk {
    uint64_t left; /* octets that are still to come */
    bool is_last;
};

/* Reads the argument of BDAT. RC_SYNTAX: what stands behind the size is not LAST; the octets come
 * nevertheless. RC_LIMIT: no size that can be counted to; where the next command begins is not
 * known. */
enum rc smtp_chunk_parse(struct str args, struct smtp_chunk *out);

/* Takes octets of the chunk off *in. RC_OK: *out_piece is a view into the input; RC_AGAIN: all
 * input has been used; RC_EOF: the chunk is complete, *in begins behind it. */
enum rc smtp_chunk_next(struct smtp_chunk *c, struct str *in, struct str *out_piece);

/* --- the client's side: replies --------------------------------------------------------------- */

/* What another host answers is as hostile as what a client sends: lines and their number are
 * bounded, and only harmless text is kept. */
enum {
    SMTP_ANSWER_LINE_MAX = 2048,   /* bytes of one line; four times what is allowed */
    SMTP_ANSWER_TOTAL_MAX = 32768, /* of all lines of one reply */
    SMTP_ANSWER_TEXT = 500,        /* kept of the words */
    SMTP_STATUS_TEXT = 12          /* "5.123.456" and a NUL */
};

/* Reads one reply after the other; zeroed at the beginning of a connection. */
struct smtp_answer {
    uint16_t code;
    bool has_status;                 /* the host has said it [RFC2034 4] */
    char status[SMTP_STATUS_TEXT];   /* or else made from the code */
    char text[SMTP_ANSWER_TEXT + 1]; /* the words of all lines with a space between them, without
                                        codes; printable ASCII and UTF-8, anything else is '?' */
    size_t n;                        /* of text */
    size_t total;                    /* private, as all below */
    bool is_whole, is_cut;
};

/* Takes the next line off *in. RC_OK: it is one of several; *out_words is what stands behind its
 * code, a view into the input, as it came. RC_EOF: the same, and with it the reply is whole; it
 * stays until the next call begins another one. RC_AGAIN: no whole line yet; give what is left in
 * *in again, with more behind it. RC_SYNTAX: no reply [RFC5321 4.2]; RC_LIMIT: a line or a reply
 * that is too long: text holds the beginning of what came, and nothing can be read after it. A line
 * may end with LF alone: nothing hangs on it, and some hosts do that. */
enum rc smtp_answer_next(struct smtp_answer *a, struct str *in, struct str *out_words);

/* The status that says no more than the code does [RFC3463 3.1]. */
const char *smtp_status_of(unsigned code);

/* Appends the text so that it can stand in a log or a report: controls, what could turn the
 * direction of a line, and bytes that are not UTF-8 become '?'. Ends before what does not fit. */
void smtp_clean_put(struct buf *out, struct str text);

/* What EHLO offers. */
enum smtp_offer { /* bits */
                  SMTP_HAS_PIPELINING = 1,
                  SMTP_HAS_SIZE = 2,
                  SMTP_HAS_8BITMIME = 4,
                  SMTP_HAS_CHUNKING = 8,
                  SMTP_HAS_BINARYMIME = 16,
                  SMTP_HAS_SMTPUTF8 = 32,
                  SMTP_HAS_DSN = 64,
                  SMTP_HAS_STARTTLS = 128,
                  SMTP_HAS_REQUIRETLS = 256,
                  SMTP_HAS_AUTH_PLAIN = 512,
                  SMTP_HAS_AUTH_LOGIN = 1024,
                  SMTP_HAS_STATUS = 2048
};
struct smtp_hello {
    unsigned offers;
    uint64_t size; /* most bytes of a message; 0: not said, or without bound [RFC1870 4] */
    uint32_t mailmax, rcptmax, rcptdomainmax; /* [RFC9422 4]; 0: not said */
};
/* One line of the answer to EHLO but the first. What is not known or not well-formed is passed
 * over. */
void smtp_hello_take(struct smtp_hello *h, struct str words);

/* --- the client's side: commands -------------------------------------------------------------- */

enum smtp_body { SMTP_BODY_NONE, SMTP_BODY_8BIT, SMTP_BODY_BINARY };

/* What stands in MAIL and RCPT; what is 0, false or empty is left out. Values are as a client gave
 * them, that is encoded already. */
struct smtp_mail {
    struct str sender; /* plain form; empty: the null path */
    bool has_size;
    uint64_t size;
    enum smtp_body body;
    bool is_utf8, requires_tls;
    enum smtp_ret ret;
    struct str envid;
};
struct smtp_rcpt {
    struct str address; /* plain form */
    unsigned notify;    /* bits of enum smtp_notify */
    struct str orcpt;
};
/* Append a whole line, or nothing: RC_SYNTAX when a part could not stand in a line, RC_LIMIT over
 * the cap. */
enum rc smtp_mail_put(struct buf *out, const struct smtp_mail *mail);
enum rc smtp_rcpt_put(struct buf *out, const struct smtp_rcpt *rcpt);
enum rc smtp_bdat_put(struct buf *out, uint64_t size, bool is_last);

/* Appends text as xtext [RFC3461 4]. */
enum rc smtp_xtext_put(struct buf *out, struct str text);

/* Puts in the dots that DATA wants [RFC5321 4.5.2]. One of zeroes is at the beginning of a message.
 */
struct smtp_stuff {
    unsigned state;  /* private */
    unsigned faults; /* bits of enum smtp_data_fault: a bare CR or LF, with which it must not be
                        sent: others could find an end of the message there */
};
/* Takes bytes off *in. RC_OK: *out_piece is the next piece to send, mostly a view into the input;
 * RC_AGAIN: all input has been used. */
enum rc smtp_stuff_next(struct smtp_stuff *s, struct str *in, struct str *out_piece);
/* What ends the message: with a CRLF of its own when the text has none at its end. */
struct str smtp_stuff_end(struct smtp_stuff *s);

#endif
