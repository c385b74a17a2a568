/* Time, as something that is handed in: tests pin it. All times are nanoseconds. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

#define NS_PER_MS  UINT64_C(1000000)
#define NS_PER_SEC UINT64_C(1000000000)

struct clock {
    uint64_t (*mono)(const struct clock *); /* never goes back; for timeouts */
    uint64_t (*wall)(const struct clock *); /* since 1970, UTC; for dates */
};

uint64_t clock_mono(const struct clock *c);
uint64_t clock_wall(const struct clock *c);

extern const struct clock clock_system;

/* A clock that stands where the test puts it; pass &fixed.clock. */
struct clock_fixed {
    struct clock clock;
    uint64_t mono, wall;
};
void clock_fixed_init(struct clock_fixed *f, uint64_t mono, uint64_t wall);

/* A date for people and headers. `out` holds at least CLOCK_TEXT bytes and gets a NUL. */
enum { CLOCK_TEXT = 40 };
void clock_rfc3339(char *out, uint64_t wall); /* 2026-11-21T10:00:00.123Z, for logs */
void clock_rfc5322(char *out, uint64_t wall); /* Sat, 21 Nov 2026 10:00:00 +0000 [RFC5322 3.3] */

#endif
