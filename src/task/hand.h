/* Work in hand: which messages a process is working on, in memory that outlives it, so that one at
 * which it crashes again and again can be told from the others.
 *
 * The map is made before the working process is forked and shared with it. A worker notes a message
 * for as long as it parses or delivers it. When the process has ended, its parent settles: after a
 * crash each message that was noted is counted, and one that was in hand at two crashes is a
 * suspect, to be held or taken unparsed from then on. Most of what is in hand at a crash is
 * innocent and has a count of one for ever. Any thread; never blocks. Every call takes NULL for "no
 * map".
 */
#ifndef TASK_HAND_H
#define TASK_HAND_H

#include "base/str.h"

struct hand;

struct hand_key {
    unsigned char b[16];
};

struct hand *hand_new(void); /* NULL when there is no memory for it: nothing is noted then */
void hand_free(struct hand **hand);

/* Of a message without an id of its own: the same bytes give the same key, after a restart too. */
struct hand_key hand_key(const struct hand *hand, struct str sender, struct str header);

/* 0 when all places are taken: the message is not noted. */
unsigned hand_take(struct hand *hand, struct hand_key key);
void hand_give(struct hand *hand, unsigned place); /* 0 is harmless */

bool hand_is_suspect(const struct hand *hand, struct hand_key key);
void hand_forget(struct hand *hand, struct hand_key key); /* somebody has looked into it */

/* The parent's, while no worker runs: how many suspects are new. */
unsigned hand_settle(struct hand *hand, bool was_crash);

#endif
