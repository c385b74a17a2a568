/* A report about a message to its sender, a delivery status notification [RFC3461 6] [RFC3464], as
 * bytes; and reading one. Pure functions.
 *
 * A report is a multipart/report [RFC6522 3] of three parts: what happened and what to do, in plain
 * words that begin with the very first line; the same for programs; and the message that it is
 * about, or the header of it. Whatever is put in from outside, remote hosts' words above all, is
 * cut and made printable, and can be neither a field nor a delimiter. */
#ifndef DELIVER_REPORT_H
#define DELIVER_REPORT_H

#include "deliver/deliver.h"

#include "base/buf.h"

struct mime_charsets;

enum report_kind {
    REPORT_FAILED,
    REPORT_DELAYED,
    REPORT_SUCCESS /* delivered, relayed or expanded */
};

enum {
    REPORT_WORDS_MAX = 500,       /* bytes of a remote host's words */
    REPORT_ADDRESS_MAX = 600,     /* bytes of an address */
    REPORT_HEADER_MAX = 64 << 10, /* bytes of a header that is sent back */
    REPORT_LINE_MAX = 998         /* bytes of a line that needs no encoding [RFC5322 2.1.1] */
};

struct report_recipient {
    struct str address; /* as RCPT had it */
    struct str orcpt;   /* the value of ORCPT as it came; absent or empty: not said */
    struct deliver_outcome outcome;
    bool is_expired; /* failed because the time was over; the outcome is the last try's */
    uint64_t tried;  /* the last try, ns since 1970; 0: not said */
};

struct report {
    enum report_kind kind;
    struct str hostname; /* of this server [RFC3464 2.2.2] */
    struct str from;     /* the domain whose postmaster writes */
    struct str to;       /* the sender of the message */
    struct str id;     /* 16 letters and digits or more, of no other report: Message-ID, boundary */
    uint64_t date;     /* ns since 1970, as all times */
    struct str envid;  /* the value of ENVID as it came; absent or empty: not said */
    struct str log_id; /* of the message in our logs */
    uint64_t arrived;  /* when we took the message */
    struct str hold;   /* what was asked of FUTURERELEASE: "for;3600"; absent or empty: nothing */
    uint64_t size;     /* of the message, in bytes */
    uint64_t retry_until; /* REPORT_DELAYED: when we give up */
    const struct report_recipient *recipients;
    size_t n_recipients; /* at least 1 */
    /* The header of the message, or the message: is_whole. Of a header at most REPORT_HEADER_MAX
     * bytes are used. A message that cannot be sent back as it is goes with its header alone. */
    struct str original;
    bool is_whole;
    const struct mime_charsets *charsets; /* NULL: an encoded Subject is shown as it stands */
};

struct report_sink {
    enum rc (*write)(struct report_sink *sink, struct str bytes);
};

/* What the sink answers when that is not RC_OK. */
enum rc report_write(const struct report *r, struct report_sink *sink);

/* Whether the report can be sent by way of SMTPUTF8 alone: its receiver's address is outside ASCII
 * [RFC6533 4.5]. All else is encoded where it must be. */
bool report_is_utf8(const struct report *r);

/* Whether it holds bytes outside ASCII: those of an original that must not be encoded, or as above.
 */
bool report_is_8bit(const struct report *r);

/* --- words.c: plain words --------------------------------------------------------------------- */

/* Append: the Subject's value; the first lines, up to and including the empty one. */
void report_put_subject(const struct report *r, struct buf *out);
void report_put_lead(const struct report *r, struct buf *out);
/* A line or two for one of several recipients. */
void report_put_one(const struct report *r, const struct report_recipient *of, struct buf *out);

/* --- safe.c: bytes from outside made harmless ------------------------------------------------- */

/* Appends at most `max` bytes: printable ASCII as it is, well-formed UTF-8 as it is where that is
 * allowed; each control character becomes a space, anything else a question mark. */
void report_put_safe(struct buf *out, struct str s, size_t max, bool is_utf8);
/* Lines that end with CRLF, as quoted-printable [RFC2045 6.7]: no line of it begins with "--". */
enum rc report_write_qp(struct report_sink *sink, struct str s);

/* --- reading one ------------------------------------------------------------------------------ */

enum { REPORT_READ_MAX = 1000 }; /* recipients */

struct report_status { /* of one recipient; absent: not said */
    struct str action, status;
    struct str final, original; /* the addresses, without their types */
    struct str remote, diagnostic;
};

struct report_facts {
    struct str reporter; /* Reporting-MTA without its type */
    struct str envid;
    const struct report_status *recipients;
    size_t n_recipients;
};

/* What a message tells when it is a delivery status notification, in the arena. RC_NOTFOUND: it is
 * none. RC_LIMIT: the arena is full. */
enum rc report_read(struct str message, struct arena *arena, struct report_facts *out);

#endif
