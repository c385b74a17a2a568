/* relay's scheduler, inside. All times are nanoseconds since 1970, handed in. */
#ifndef RELAY_SCHEDULE_INT_H
#define RELAY_SCHEDULE_INT_H

#include "relay/relay_int.h"

/* --- backoff.c -------------------------------------------------------------------------------- */

struct backoff {
    uint64_t first, most, grey; /* ns */
};

/* How long a message of that age waits; is_grey: its recipient was put off by a 4yz to RCPT. */
uint64_t backoff_wait(const struct backoff *b, uint64_t age, bool is_grey, uint64_t random);
/* How long a host is left alone after so many failures in a row, at least one. */
uint64_t backoff_host(const struct backoff *b, unsigned failures, uint64_t random);

#endif
