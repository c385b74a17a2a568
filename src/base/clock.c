/* Time: the system's clocks, a fixed one for tests, and dates as text in UTC. */
#include "base/clock.h"

#include <stdio.h>
#include <time.h>

static uint64_t read_clock(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (uint64_t)t.tv_sec * NS_PER_SEC + (uint64_t)t.tv_nsec;
}

static uint64_t system_mono(const struct clock *c)
{
    return read_clock(CLOCK_MONOTONIC);
}

static uint64_t system_wall(const struct clock *c)
{
    return read_clock(CLOCK_REALTIME);
}

const struct clock clock_system = {system_mono, system_wall};

uint64_t clock_mono(const struct clock *c)
{
    return c->mono(c);
}

uint64_t clock_wall(const struct clock *c)
{
    return c->wall(c);
}

/* The clock is the first member, so its address is the fixed clock's. */
static uint64_t fixed_mono(const struct clock *c)
{
    return ((const struct clock_fixed *)(const void *)c)->mono;
}

static uint64_t fixed_wall(const struct clock *c)
{
    return ((const struct clock_fixed *)(const void *)c)->wall;
}

void clock_fixed_init(struct clock_fixed *f, uint64_t mono, uint64_t wall)
{
    *f = (struct clock_fixed){{fixed_mono, fixed_wall}, mono, wall};
}

static struct tm broken_down(uint64_t wall)
{
    time_t seconds = (time_t)(wall / NS_PER_SEC);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    return tm;
}

void clock_rfc3339(char *out, uint64_t wall)
{
    struct tm tm = broken_down(wall);
    snprintf(out, CLOCK_TEXT, "%04d-%02d-%02dT%02d:%02d:%02d.%03uZ", tm.tm_year + 1900,
             tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
             (unsigned)(wall / NS_PER_MS % 1000));
}

void clock_rfc5322(char *out, uint64_t wall)
{
    /* strftime would follow the locale; the names are fixed [RFC5322 3.3]. */
    static const char days[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                       "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    struct tm tm = broken_down(wall);
    snprintf(out, CLOCK_TEXT, "%s, %02d %s %04d %02d:%02d:%02d +0000", days[tm.tm_wday], tm.tm_mday,
             months[tm.tm_mon], tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
}
