/* transfer on a wire: a source in one process, a sink in another one. Both are this program.
 *
 * Frames: length4 of what follows, kind1, fields. To the sink: F folder, M message, B bytes, E end,
 * T what the source tells, Q "finish". From it: O origins that are noted, R ready or not, T what is
 * told, C how far it came, A all is there that came before Q. */
#ifndef TRANSFER_WIRE_INT_H
#define TRANSFER_WIRE_INT_H

#include "transfer/transfer_int.h"

#include "base/buf.h"

enum {
    WIRE_BYTES = 32 << 10, /* of a message in one frame */
    WIRE_FRAME = TRANSFER_FRAME,
    WIRE_ORIGINS = 2000 /* in one frame */
};

void wire_put_folder(struct buf *out, const struct transfer_folder *f);
void wire_put_message(struct buf *out, unsigned folder, const struct transfer_message *m);
void wire_put_bytes(struct buf *out, struct str bytes); /* in as many frames as it takes */
void wire_put_end(struct buf *out, struct str why);
void wire_put_tell(struct buf *out, struct str label, bool is_refused, struct str why);
void wire_put_finish(struct buf *out);
void wire_put_origins(struct buf *out, const void *origins, size_t n);
void wire_put_ready(struct buf *out, enum rc rc);
void wire_put_counts(struct buf *out, const struct transfer_counts *c);
void wire_put_done(struct buf *out, enum rc rc);

/* The next frame of `in`: its kind and fields, views into it. RC_AGAIN: it is not all there;
 * RC_CORRUPT. */
enum rc wire_next(struct str in, char *out_kind, struct str *out_fields, size_t *out_used);

/* Gives a sink what a frame says. RC_NOTFOUND: the frame is none of those for sinks; RC_CORRUPT;
 * RC_EOF: Q; otherwise as the sink. */
enum rc wire_give(struct transfer_sink *sink, char kind, struct str fields);

enum rc wire_take_tell(struct str fields, struct str *out_label, bool *out_is_refused,
                       struct str *out_why);
enum rc wire_take_counts(struct str fields, struct transfer_counts *out);
enum rc wire_take_rc(struct str fields, enum rc *out);

#endif
