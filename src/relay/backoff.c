/* When to try again: pure arithmetic on times that are handed in.
 *
 * The wait grows with the age of the message, not with a count of tries: what has waited for a time
 * t waits as long again, between a first and a longest wait. So it doubles each time, a restart or
 * a destination that was not even asked changes nothing, and nothing has to be counted
 * [RFC5321 4.5.4.1]. Up to an eighth less or more of it keeps messages that failed together from
 * coming back together. */
#include "relay/schedule_int.h"

uint64_t backoff_wait(const struct backoff *b, uint64_t age, bool is_grey, uint64_t random)
{
    uint64_t wait = age;
    if (wait < b->first)
        wait = is_grey && age < b->grey ? b->grey : b->first;
    if (wait > b->most)
        wait = b->most;
    return wait - wait / 8 + random % (wait / 4 + 1);
}

uint64_t backoff_host(const struct backoff *b, unsigned failures, uint64_t random)
{
    uint64_t most = b->first * 6 < b->most ? b->first * 6 : b->most, wait = b->first;
    for (unsigned i = 1; i < failures && wait < most; i++)
        wait *= 2;
    wait = wait < most ? wait : most;
    return wait - wait / 8 + random % (wait / 4 + 1);
}
