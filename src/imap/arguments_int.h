/* The arguments of commands, as their handlers and the fuzz targets read them. Pure: each takes
 * what stands behind the verb, as imap_take_* do. */
#ifndef IMAP_ARGUMENTS_INT_H
#define IMAP_ARGUMENTS_INT_H

#include "imap/imap_int.h"

/* What a client that opens a mailbox says of it. */
struct imap_known {
    uint32_t uidvalidity; /* 0: it does not say */
    uint64_t modseq;
    bool has_uids, has_pairs;
    struct imap_set uids;
    struct imap_set numbers, their_uids; /* ascending, as many of the one as of the other */
};
struct imap_selecting {
    bool is_condstore, is_qresync;
    struct imap_known known;
};
/* Behind the mailbox's name, to the end of SELECT: " (CONDSTORE QRESYNC (...))", or nothing. */
bool imap_take_selecting(struct imap_parse *p, struct imap_selecting *out);

struct imap_storing {
    struct imap_set set;
    bool is_conditional;
    uint64_t since; /* UINT64_MAX: whatever has happened */
    enum store_flag_how how;
    bool is_silent;
    struct imap_flags flags;
};
/* The arguments of STORE, to the end of the command. */
bool imap_take_storing(struct imap_parse *p, struct imap_storing *out);
/* Those of ENABLE: which rows of the table of extensions are named, by bit. */
bool imap_take_enabling(struct imap_parse *p, uint64_t *out_rows);
/* Those of UIDBATCHES. */
bool imap_take_batches(struct imap_parse *p, struct imap_batches *out);
/* One number or UID, '*' too, and the space behind it: what REPLACE begins with. */
bool imap_take_one(struct imap_parse *p, struct imap_set *out);

#endif
