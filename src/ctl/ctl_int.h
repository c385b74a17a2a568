/* ctl, inside. */
#ifndef CTL_CTL_INT_H
#define CTL_CTL_INT_H

#include "ctl/ctl.h"

#include "base/bytes.h"

enum {
    CTL_REQUEST_MAX = 16 << 10, /* bytes of a request */
    CTL_ANSWER_MAX = 256 << 20  /* bytes of an answer: a million accounts fit */
};

/* --- wire.c: a frame is its length in 4 bytes, then the packed words or answer ---------------- */

enum rc ctl_request_pack(const struct admin_request *request, struct buf *out);
/* Words are views into `frame`, the array is in the arena. RC_AGAIN: not all is there; RC_LIMIT:
 * too long; RC_CORRUPT. */
enum rc ctl_request_unpack(struct str input, struct arena *arena, struct admin_request *out);
enum rc ctl_answer_pack(const struct admin_answer *answer, struct buf *out);
enum rc ctl_answer_unpack(struct str input, struct admin_answer *out);

/* --- print.c ---------------------------------------------------------------------------------- */

void ctl_print_table(const struct admin_answer *answer);
void ctl_print_json(const struct admin_answer *answer);

/* --- offline.c: on a store at rest ------------------------------------------------------------ */

/* Opens all that admin needs in the current folder, runs the request, closes. RC_CONFLICT: another
 * process has the store. */
enum rc ctl_offline(const struct conf *conf, const struct admin_request *request,
                    struct admin_answer *answer);
/* Makes the data folder the current one and, as root, becomes the user it belongs to. Complains on
 * standard error. */
enum rc ctl_enter_data(const struct conf *conf);

/* --- password.c ------------------------------------------------------------------------------- */

/* From standard input (one line) or the terminal (twice, unseen). Complains on standard error. Wipe
 * it with crypto_wipe. */
enum rc ctl_read_password(bool from_stdin, char *to, size_t size);
/* NULL, or why it is weak. */
const char *ctl_weak_password(struct str password);

/* --- init.c ----------------------------------------------------------------------------------- */

int ctl_init(int argc, char **argv);

#endif
