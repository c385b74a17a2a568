/* The link to the cluster: the only file of Penfold that knows librados is link.c.
 *
 * A call is one operation on one object, made of parts that happen together or not at all. It is
 * built, sent, and answered once: by `done` on a thread of the link, or by waiting. Names, keys and
 * bytes are copied when they are added, so the caller's memory is free at once.
 *
 * OUTCOMES. What a call came to is one of link_result. LINK_UNKNOWN is a state of its own: a write
 * that was answered so may have happened, may happen later, or never. Who gets it reads back.
 *
 * DEADLINES are the link's own: librados waits for ever, and is left to. A call that is answered
 * LINK_UNKNOWN because its time was over goes on in librados, and nobody hears of its end.
 *
 * BACK-PRESSURE. At most conf.in_flight calls and 64 MB are in librados at a time, which is below
 * the bounds where librados itself would block its caller; what is sent beyond waits in the link.
 * So sending never blocks. How much may wait is the sender's business.
 */
#ifndef RADOS_LINK_H
#define RADOS_LINK_H

#include "kv/kv.h"

struct link;

/* Connects and finds the pools. RC_NOTFOUND, RC_DENIED, RC_TEMP: logged. */
enum rc link_open(const struct ctx *ctx, const struct kv_rados_conf *conf, struct link **out);
/* Waits for the end of all that is in librados, also of what has been given up; nothing is sent any
 * more. */
void link_close(struct link **link);

enum link_pool { LINK_INDEX, LINK_BODY };

/* What pieces of an object have to be multiples of, all but the last one; 1: anything will do. */
uint64_t link_alignment(struct link *link, enum link_pool pool);

enum link_result {
    LINK_OK,
    LINK_REFUSED, /* a guard did not hold */
    LINK_MISSING, /* there is no such object (or attribute) */
    LINK_EXISTS,  /* link_write_create: there is one already */
    LINK_FULL,    /* no space in the pool; nothing was changed */
    LINK_FENCED,  /* this client has been shut out of the cluster; what it had sent is unknown */
    LINK_UNKNOWN, /* no answer in time */
    LINK_FAILED   /* anything else: logged; for a write nothing was changed */
};
/* What to tell a reader: MISSING is RC_NOTFOUND, REFUSED RC_CONFLICT, FULL RC_FULL, else RC_TEMP.
 */
enum rc link_rc(enum link_result result);
const char *link_result_name(enum link_result result);

/* Calls each() with the name of each object of the store, in no order. It goes through the whole
 * pool, so it is for checks only; waits for as long as that takes. */
enum rc link_each_object(struct link *link, enum link_pool pool,
                         enum rc (*each)(void *arg, struct str name), void *arg);
/* The bytes of all disks of the cluster together, and those of them that are free, which all copies
 * have to share. RC_NOTFOUND: it does not tell. May wait some seconds. */
enum rc link_space(struct link *link, uint64_t *out_all, uint64_t *out_free);

struct link_call;
typedef void link_done(struct link_call *call, enum link_result result, void *arg);

/* A new call on an object; free it after its answer. */
struct link_call *link_call_new(struct link *link, enum link_pool pool, const char *object);
void link_call_free(struct link_call **call);
size_t link_call_bytes(const struct link_call *call); /* of what was added */

/* Sends a call that writes. It answers LINK_UNKNOWN after `ms` (0: never). `done` may free the
 * call, must not block, and must not wait for another one. */
void link_write(struct link_call *call, uint32_t ms, link_done *done, void *arg);
enum link_result link_write_wait(struct link_call *call, uint32_t ms);
/* The same for a call that reads. */
void link_read(struct link_call *call, uint32_t ms, link_done *done, void *arg);
enum link_result link_read_wait(struct link_call *call, uint32_t ms);

/* --- guards, of both kinds of calls: the call is answered LINK_REFUSED when one does not hold - */

/* The omap row has this value; "" also holds when there is no such row. LINK_MISSING when there is
 * no such object. */
void link_guard_row(struct link_call *call, struct str key, struct str value);
/* The omap row has a smaller value, or there is no such row. RADOS compares signed characters: both
 * values should be ASCII. */
void link_guard_row_below(struct link_call *call, struct str key, struct str value);
void link_guard_attr(struct link_call *call, const char *name, struct str value);

/* --- parts of a write: whatever the order of these calls, guards are looked at first, then ranges
 * are removed, then rows, then rows are set; then attributes; then bytes ------------------------
 */

void link_write_create(struct link_call *call);        /* LINK_EXISTS when the object is there */
void link_write_assert_exists(struct link_call *call); /* LINK_MISSING when it is not */
void link_write_range_remove(struct link_call *call, struct str from, struct str to); /* omap */
void link_write_row_remove(struct link_call *call, struct str key);
void link_write_row(struct link_call *call, struct str key, struct str value);
void link_write_attr_remove(struct link_call *call, const char *name);
void link_write_attr(struct link_call *call, const char *name, struct str value);
void link_write_bytes(struct link_call *call, struct str bytes); /* becomes all of the object */
/* At an offset, which is no more than what is there; the object is made when it is not there. */
void link_write_piece(struct link_call *call, uint64_t offset, struct str bytes);
void link_write_remove(struct link_call *call); /* the object */

/* --- parts of a read; one of each kind ------------------------------------------------------- */

/* Omap rows behind `after` (absent: from the first), at most `max`; the cluster gives at most
 * 1,024 at once whatever is asked. `after` must not hold NUL. */
void link_read_rows(struct link_call *call, struct str after, uint64_t max);
/* Those of these keys that are there, in key order. */
void link_read_row(struct link_call *call, struct str key); /* again for each key */
void link_read_attrs(struct link_call *call);
void link_read_bytes(struct link_call *call, uint64_t offset, size_t n);

/* What a read got, after LINK_OK, valid until the call is freed. The iterators give false at the
 * end. */
bool link_got_row(struct link_call *call, struct str *out_key, struct str *out_value);
bool link_got_key(struct link_call *call, struct str *out_key, struct str *out_value);
bool link_got_attr(struct link_call *call, struct str *out_name, struct str *out_value);
bool link_got_more(const struct link_call *call); /* behind the rows of link_read_rows */
struct str link_got_bytes(const struct link_call *call);

#endif
