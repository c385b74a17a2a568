/* The format of mbox files: lines that part messages, and fields that hold what a mail reader
 * knows. */
#ifndef TRANSFER_MBOX_INT_H
#define TRANSFER_MBOX_INT_H

#include "transfer/transfer_int.h"

#include "base/buf.h"

/* Whether a line (without its line end) parts messages: "From " sender date, the date as asctime
 * writes it, with or without seconds, zone before or behind the year. *out_time: seconds since
 * 1970, taken as UTC where no zone in numbers stands; *out_sender: a view. */
bool mbox_from_line(struct str line, struct str *out_sender, uint64_t *out_time);

/* What the fields of a header say, and whether they are the mail reader's own, which no message
 * keeps: Status, X-Status, X-Keywords, X-UID, X-UIDL, X-IMAP, X-IMAPbase, Content-Length. */
struct mbox_fields {
    uint32_t flags;
    bool is_internal; /* the first message of a file that c-client has made holds its notes alone */
    uint64_t length;  /* of the body; UINT64_MAX: it is not said */
    struct str keywords[TRANSFER_KEYWORDS]; /* in the arena */
    size_t n_keywords;
    struct str uidl; /* in the arena */
};
void mbox_fields_init(struct mbox_fields *f);
/* A line with its continuations, without the last line end. True: it is one of them. */
bool mbox_field_take(struct mbox_fields *f, struct str field, struct arena *arena);

/* A line of a body, as mboxrd has it: one '>' less before "From " behind any number of them. */
struct str mbox_unquote(struct str line);
bool mbox_needs_quote(struct str line); /* the other way */

#endif
