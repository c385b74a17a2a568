/* What Dovecot and Courier write into a Maildir: names of files and the lists beside them. */
#ifndef TRANSFER_MAILDIR_INT_H
#define TRANSFER_MAILDIR_INT_H

#include "transfer/transfer_int.h"

#include "base/buf.h"

/* --- maildir_name.c: pure --------------------------------------------------------------------- */

enum { MAILDIR_LETTERS = 26 };

struct maildir_name {
    struct str base;   /* without the flags: what identifies the message in its folder */
    uint32_t flags;    /* enum store_flag */
    uint32_t letters;  /* bit n: keyword number n of the folder's dovecot-keywords */
    bool is_forwarded; /* P: passed on */
    uint64_t time;     /* seconds since 1970 that it begins with; 0: none */
};
/* RC_SYNTAX: a file that no message has (it begins with a dot, or is empty). */
enum rc maildir_name_parse(struct str file, struct maildir_name *out);
/* A name without what stands behind ":2,". */
struct str maildir_name_base(struct str file);

/* A line of dovecot-keywords: "0 $Label1". */
enum rc maildir_keyword_parse(struct str line, unsigned *out_letter, struct str *out_keyword);

/* A line of one of the lists of UIDs, dovecot-uidlist in its versions 1 and 3 or courierimapuiddb,
 * and of courierpop3dsizelist. `kind` begins as MAILDIR_LIST_NEW or MAILDIR_LIST_SIZES; the first
 * line makes it more exact. */
enum maildir_list_kind {
    MAILDIR_LIST_NEW,    /* of UIDs; nothing is known yet */
    MAILDIR_LIST_PLAIN,  /* UID, name */
    MAILDIR_LIST_FIELDS, /* UID, fields, ":", name */
    MAILDIR_LIST_SIZES,
    MAILDIR_LIST_SIZES_1, /* one UIDVALIDITY for all */
    MAILDIR_LIST_SIZES_2, /* one for each */
    MAILDIR_LIST_BAD      /* of a version that nobody here knows */
};
struct maildir_list {
    enum maildir_list_kind kind;
    uint32_t uidvalidity;
};
struct maildir_listed {
    struct str base;      /* absent: the line says nothing of a message */
    uint32_t uid;         /* 0: nothing */
    uint32_t uidvalidity; /* of Courier's POP3; 0: the list's */
    struct str uidl;      /* as given; absent */
    bool is_courier_pop3; /* "UID12-345", or the file's name where uid is 0 */
};
/* RC_SYNTAX: the line is none of its list. */
enum rc maildir_list_line(struct maildir_list *list, struct str line, struct maildir_listed *out);

/* A unique-id by a form; RC_SYNTAX: it has something else than %u, %v, %f and %%. */
enum rc maildir_uidl(struct str form, uint32_t uid, uint32_t uidvalidity, struct str file,
                     struct buf *out);

/* The name of a folder as levels with '/': from Maildir++ (".Lists.C", without its dot) with '.'
 * between levels, or with '/'. What cannot be decoded stands for itself. */
void maildir_folder_name(struct str file, char separator, struct buf *out);

#endif
