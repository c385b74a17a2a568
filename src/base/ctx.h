/* The context: what a module needs from the process around it. Handed to every module when it is
 * made; nothing in Penfold outside daemon/ has mutable globals, so tests pin time and count figures
 * by handing in their own. */
#ifndef BASE_CTX_H
#define BASE_CTX_H

#include "base/clock.h"
#include "base/counter.h"
#include "base/log.h"

struct ctx {
    struct log *log;           /* NULL: silence */
    struct counters *counters; /* NULL: not counted */
    const struct clock *clock; /* never NULL */
};

#endif
