/* Shared inside mime/: what a line of a header block is, which fields a summary is made of, how
 * strings are written for IMAP; each in the one place that says so. */
#ifndef MIME_MIME_INT_H
#define MIME_MIME_INT_H

#include "mime/mime.h"

enum mime_line {
    MIME_LINE_BLANK, /* ends the block */
    MIME_LINE_FOLD,  /* goes on with the field before it */
    MIME_LINE_FIELD,
    MIME_LINE_MBOX, /* "From " or ">From ", which mailboxes put before a message */
    MIME_LINE_OTHER /* no header line: the empty line is missing, this is the body */
};

/* `head` is the line with its line end, or its first MIME_HEAD bytes when it is longer. For a field
 * *out_name is the length of the name and *out_colon the place of the colon. */
enum mime_line mime_line_kind(struct str head, size_t *out_name, size_t *out_colon);

static inline bool mime_is_wsp(char c)
{
    return c == ' ' || c == '\t';
}

static inline bool mime_is_space(char c)
{
    return mime_is_wsp(c) || c == '\r' || c == '\n';
}

/* ---- Summaries ---- */

/* The fields that a summary is made of; those of ENVELOPE first, in its order [RFC3501 7.4.2]
 * [RFC9051 7.5.2]. */
enum mime_summary_field {
    MIME_FIELD_DATE,
    MIME_FIELD_SUBJECT,
    MIME_FIELD_FROM,
    MIME_FIELD_SENDER,
    MIME_FIELD_REPLY_TO,
    MIME_FIELD_TO,
    MIME_FIELD_CC,
    MIME_FIELD_BCC,
    MIME_FIELD_IN_REPLY_TO,
    MIME_FIELD_MESSAGE_ID,
    MIME_FIELD_REFERENCES,
    MIME_FIELD_CONTENT_TYPE,
    MIME_FIELD_CONTENT_ID,
    MIME_FIELD_CONTENT_DESCRIPTION,
    MIME_FIELD_CONTENT_ENCODING,
    MIME_FIELD_CONTENT_MD5,
    MIME_FIELD_CONTENT_DISPOSITION,
    MIME_FIELD_CONTENT_LANGUAGE,
    MIME_FIELD_CONTENT_LOCATION,
    MIME_FIELD_OTHER /* none of them */
};

enum mime_summary_field mime_summary_field(struct str name);

/* What the kept fields of a part say. An absent value: there is no such field. */
struct mime_facts {
    struct str kept;
    struct str values[MIME_FIELD_OTHER]; /* of the first field of each name */
    uint32_t counts[MIME_FIELD_OTHER];   /* how many there are */
};

/* A summary under way. `over` of the buffer tells that something did not fit. */
struct mime_writer {
    struct buf *out;
    struct buf text;      /* a string being put together */
    uint32_t n_addresses; /* how many may still be written */
    /* As IMAP4rev2 has it [RFC9051 7.5.2]: message/global is shown as message/rfc822 is, and values
     * of parameters in UTF-8. */
    bool is_rev2;
    const struct mime_charsets *charsets; /* for IMAP4rev2 */
    struct buf decoded;
};

/* The kept fields of a part, a header block. */
struct str mime_kept_of(const struct mime_tree *t, uint32_t part);
void mime_facts_read(struct str kept, struct mime_facts *out);

/* A string as IMAP has it [RFC3501 4.3] [RFC9051 4.3]: quoted, or a literal when it has bytes that
 * cannot be quoted or is long; NUL is left out. An absent one is NIL for the second, "" for the
 * first. */
void mime_put_string(struct buf *out, struct str s);
/* A field's value without its folds; NIL when absent. */
void mime_put_value(struct mime_writer *w, struct str value);
enum mime_params {
    MIME_PARAMS_OTHER,
    MIME_PARAMS_TYPE, /* of a Content-Type */
    MIME_PARAMS_TEXT  /* the same, and a missing charset is named [RFC2046 4.1.2] */
};

/* "(name value ...)" or NIL: the parameters of a field, continuations joined [RFC2231 3]; those of
 * a Content-Type, for IMAP4rev2, as they are meant. */
void mime_put_params(struct mime_writer *w, struct str params, enum mime_params kind);
void mime_put_envelope(struct mime_writer *w, const struct mime_facts *f);
/* The message's own id, then those it refers to, each behind a space: see mime_summary_thread. */
void mime_put_thread(struct mime_writer *w, const struct mime_facts *f);
/* f: of the first part. */
void mime_put_structure(struct mime_writer *w, const struct mime_tree *t,
                        const struct mime_facts *f);

/* ---- Addresses as they are shown ---- */

enum mime_mailbox_kind {
    MIME_MAILBOX_ADDRESS,
    MIME_MAILBOX_GROUP, /* the name of a group, in `mailbox` */
    MIME_MAILBOX_GROUP_END
};

/* Absent: there is none. */
struct mime_mailbox {
    enum mime_mailbox_kind kind;
    struct str name, route, mailbox, host;
};

/* The addresses of a field. `text` is the caller's and holds the strings until the next call. */
struct mime_mailboxes {
    struct str rest;
    struct buf *text;
    bool is_in_group;
};

/* The next address, or a group's beginning or end. False at the end. Tolerant: everything that
 * stands there is shown somehow. */
bool mime_mailbox_next(struct mime_mailboxes *list, struct mime_mailbox *out);

#endif
