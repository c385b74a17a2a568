/* Log lines: one event, one line of key=value, written by a thread of the log's own.
 *
 * A line goes into a ring and never waits: when the ring is full the line is dropped and counted,
 * and the next line that fits tells how many were lost. Values that hold spaces, quotes, '=' or
 * bytes outside printable ASCII are quoted and escaped, so nothing a peer sends can forge a line.
 * Never log passwords or message content. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/clock.h"
#include "base/str.h"

struct log;

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERROR };

/* Lines below `level` are skipped. `fd` stays the caller's. */
struct log *log_new(int fd, enum log_level level, const struct clock *clock);
void log_free(struct log **log); /* writes what is in the ring, then ends the thread */
void log_level_set(struct log *log, enum log_level level); /* any thread */
void log_flush(struct log *log); /* waits until all that was logged before has been written */

/* A line under construction; lives on the stack. `log` may be NULL: nothing happens then. */
struct log_line {
    struct log *log; /* NULL: this line is skipped */
    size_t n;
    char text[1024]; /* a longer line is cut and ends with " cut=yes" */
};

/* `event` names what happened: "ready", "delivered", "login-failed". */
void log_begin(struct log_line *l, struct log *log, enum log_level level, const char *event);
void log_str(struct log_line *l, const char *key, struct str value);
void log_text(struct log_line *l, const char *key, const char *value);
void log_u64(struct log_line *l, const char *key, uint64_t value);
void log_end(struct log_line *l);

/* The whole of a simple line: log_event(log, LOG_ERROR, "bind-failed", "address", a, "cause", c,
 * NULL). */
void log_event(struct log *log, enum log_level level, const char *event, ...)
    __attribute__((sentinel));

#endif
