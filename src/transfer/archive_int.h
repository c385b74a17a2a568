/* What an archive says of folders and messages. */
#ifndef TRANSFER_ARCHIVE_INT_H
#define TRANSFER_ARCHIVE_INT_H

#include "transfer/out_int.h"

#define ARCHIVE_MARK "penfold-archive"

/* Lines "name=value"; pure. */
void archive_notes_of_folder(const struct transfer_folder *f, struct buf *out);
void archive_notes_of_message(const struct transfer_message *m, struct buf *out);
/* Views into the text. RC_SYNTAX. */
enum rc archive_read_folder(struct str text, struct transfer_folder *out);
/* Adds what the text says; names of keywords are in the arena. RC_SYNTAX. */
enum rc archive_read_message(struct str text, struct arena *arena, struct transfer_message *out);

#endif
