/* limit: how much somebody may do in an hour and in a day. Today: messages and recipients that an
 * account or a domain sends.
 *
 * Windows slide: what was done in the last full window counts less the longer it is ago, so that
 * nothing jumps at the full hour. Counters live in memory, bounded, and in the cache partition of
 * their subject, written lazily at most once in `save_ms` and at the end: a restart forgets
 * nothing, a crash the last seconds. Any thread may make any call.
 */
#ifndef LIMIT_LIMIT_H
#define LIMIT_LIMIT_H

#include "kv/kv.h"

struct limit;

enum limit_what {
    LIMIT_MESSAGES_HOUR,
    LIMIT_MESSAGES_DAY,
    LIMIT_RECIPIENTS_HOUR,
    LIMIT_RECIPIENTS_DAY,
    LIMIT_KINDS
};
struct limit_rates {
    uint32_t most[LIMIT_KINDS]; /* 0: no limit */
};
/* "none", or some of "100/h", "500/d", "300r/h", "2000r/d" (messages and recipients, in an hour and
 * a day) with commas between. RC_SYNTAX. */
enum rc limit_rates_parse(struct str text, struct limit_rates *out);
bool limit_is_none(const struct limit_rates *rates);
/* What holds for one who is `age` old while others have all of it after `ramp` (the same unit): a
 * tenth at first, growing evenly. */
struct limit_rates limit_ramp(const struct limit_rates *rates, uint64_t age, uint64_t ramp);

struct limit_conf {   /* 0: the default */
    size_t entries;   /* subjects in memory: 20,000 */
    uint64_t save_ms; /* 10,000 */
};
/* The context and the store outlive it. */
struct limit *limit_open(const struct ctx *ctx, struct kv *kv, const struct limit_conf *conf);
void limit_close(struct limit **limit); /* writes what is not written; blocks */

struct limit_subject {
    uint64_t id; /* an account's; of a domain limit_domain */
    struct limit_rates rates;
};
uint64_t limit_domain(struct str domain); /* lower case */

struct limit_wish {
    const struct limit_subject *subjects; /* all must allow it */
    size_t n;
    uint32_t messages, recipients;
};
enum { LIMIT_SUBJECTS = 4 };
struct limit_answer {
    size_t subject; /* who has no more */
    enum limit_what what;
    uint64_t wait_s; /* until it would do */
};
/* Whether it may be done now. RC_OK; RC_LIMIT: the answer says what is in the way; RC_AGAIN
 * (KV_CACHED), RC_TEMP. */
enum rc limit_ask(struct limit *limit, const struct limit_wish *wish, unsigned flags,
                  struct limit_answer *out);
/* The same, and with RC_OK it counts. */
enum rc limit_take(struct limit *limit, const struct limit_wish *wish, unsigned flags,
                   struct limit_answer *out);
/* What was taken came to nothing. */
void limit_give(struct limit *limit, const struct limit_wish *wish);

/* How much of each a subject has done in the running windows. Blocks; RC_TEMP. */
enum rc limit_show(struct limit *limit, uint64_t id, uint32_t out[LIMIT_KINDS]);

#endif
