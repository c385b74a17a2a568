/* Log lines. A ring of bytes under a mutex that is held for a copy of one line only; a thread
 * writes it out. Invariant: bytes from `tail` to `head` (counted without wrapping) are whole lines
 * not yet written. */
#include "base/log.h"

#include "base/mem.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { RING = 1 << 20, MARGIN = 16, PAUSE_NS = 2000000 };

struct log {
    pthread_mutex_t mutex;
    pthread_cond_t filled;  /* there is something to write, or the end */
    pthread_cond_t written; /* the tail has moved */
    pthread_t writer;
    const struct clock *clock;
    _Atomic enum log_level level;
    int fd;
    bool ending;
    uint64_t head, tail;
    uint64_t dropped; /* lines, since the last one that fitted */
    char ring[RING];
};

static const char *const level_names[] = {"debug", "info", "warning", "error"};

/* Writes a piece of the ring; an error of the log itself has nowhere to be told, so the bytes are
 * let go. */
static void write_all(int fd, const char *p, size_t n)
{
    while (n) {
        ssize_t done = write(fd, p, n);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return;
        p += done;
        n -= (size_t)done;
    }
}

/* Lets lines gather, so that a busy server pays one write for many lines. The mutex is held before
 * and after. */
static void pause_for_more(struct log *log)
{
    const struct timespec pause = {.tv_nsec = PAUSE_NS};
    if (log->ending)
        return;
    pthread_mutex_unlock(&log->mutex);
    nanosleep(&pause, NULL);
    pthread_mutex_lock(&log->mutex);
}

static void *writer_main(void *arg)
{
    struct log *log = arg;
    pthread_mutex_lock(&log->mutex);
    while (!log->ending || log->tail != log->head) {
        if (log->tail == log->head) {
            pthread_cond_wait(&log->filled, &log->mutex);
            pause_for_more(log);
            continue;
        }
        size_t at = log->tail % RING, n = (size_t)(log->head - log->tail);
        if (n > RING - at)
            n = RING - at;
        pthread_mutex_unlock(&log->mutex);
        write_all(log->fd, log->ring + at, n);
        pthread_mutex_lock(&log->mutex);
        log->tail += n;
        pthread_cond_broadcast(&log->written);
    }
    pthread_mutex_unlock(&log->mutex);
    return NULL;
}

struct log *log_new(int fd, enum log_level level, const struct clock *clock)
{
    struct log *log = mem_zero(sizeof *log);
    log->fd = fd;
    log->level = level;
    log->clock = clock;
    pthread_mutex_init(&log->mutex, NULL);
    pthread_cond_init(&log->filled, NULL);
    pthread_cond_init(&log->written, NULL);
    sigset_t all, before; /* signals are for the main thread */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&log->writer, NULL, writer_main, log);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error) {
        fprintf(stderr, "penfold: log thread: %s\n", strerror(error));
        abort();
    }
    return log;
}

void log_level_set(struct log *log, enum log_level level)
{
    atomic_store(&log->level, level);
}

void log_free(struct log **log)
{
    struct log *l = *log;
    if (!l)
        return;
    pthread_mutex_lock(&l->mutex);
    l->ending = true;
    pthread_cond_signal(&l->filled);
    pthread_mutex_unlock(&l->mutex);
    pthread_join(l->writer, NULL);
    pthread_cond_destroy(&l->filled);
    pthread_cond_destroy(&l->written);
    pthread_mutex_destroy(&l->mutex);
    free(l);
    *log = NULL;
}

void log_flush(struct log *log)
{
    if (!log)
        return;
    pthread_mutex_lock(&log->mutex);
    uint64_t goal = log->head;
    while (log->tail < goal)
        pthread_cond_wait(&log->written, &log->mutex);
    pthread_mutex_unlock(&log->mutex);
}

static void line_add(struct log_line *l, const char *p, size_t n)
{
    size_t space = sizeof l->text - MARGIN - l->n;
    if (n > space)
        n = space;
    memcpy(l->text + l->n, p, n);
    l->n += n;
}

static void line_key(struct log_line *l, const char *key)
{
    if (l->n)
        line_add(l, " ", 1);
    line_add(l, key, strlen(key));
    line_add(l, "=", 1);
}

void log_begin(struct log_line *l, struct log *log, enum log_level level, const char *event)
{
    l->n = 0;
    l->log = log && level >= log->level ? log : NULL;
    if (!l->log)
        return;
    char when[CLOCK_TEXT];
    clock_rfc3339(when, clock_wall(log->clock));
    log_text(l, "time", when);
    log_text(l, "level", level_names[level]);
    log_text(l, "event", event);
}

static bool is_plain(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (c <= ' ' || c > '~' || c == '"' || c == '\\' || c == '=')
            return false;
    }
    return s.n > 0;
}

void log_str(struct log_line *l, const char *key, struct str value)
{
    if (!l->log)
        return;
    line_key(l, key);
    if (is_plain(value)) {
        line_add(l, value.p, value.n);
        return;
    }
    line_add(l, "\"", 1);
    for (size_t i = 0; i < value.n && l->n < sizeof l->text - MARGIN; i++) {
        unsigned char c = (unsigned char)value.p[i];
        char hex[5];
        if (c == '"' || c == '\\') {
            line_add(l, "\\", 1);
            line_add(l, value.p + i, 1);
        } else if (c >= ' ' && c <= '~') {
            line_add(l, value.p + i, 1);
        } else {
            snprintf(hex, sizeof hex, "\\x%02x", c);
            line_add(l, hex, 4);
        }
    }
    line_add(l, "\"", 1);
}

void log_text(struct log_line *l, const char *key, const char *value)
{
    log_str(l, key, str_of(value));
}

void log_u64(struct log_line *l, const char *key, uint64_t value)
{
    if (!l->log)
        return;
    char digits[24];
    line_key(l, key);
    line_add(l, digits, (size_t)snprintf(digits, sizeof digits, "%llu", (unsigned long long)value));
}

/* Copies into the ring; the mutex is held. False when there is no room. */
static bool ring_add(struct log *log, const char *p, size_t n)
{
    if (RING - (size_t)(log->head - log->tail) < n)
        return false;
    size_t at = log->head % RING, first = n < RING - at ? n : RING - at;
    memcpy(log->ring + at, p, first);
    memcpy(log->ring, p + first, n - first);
    log->head += n;
    return true;
}

static void tell_dropped(struct log *log)
{
    char text[128], when[CLOCK_TEXT];
    clock_rfc3339(when, clock_wall(log->clock));
    int n =
        snprintf(text, sizeof text, "time=%s level=warning event=log-lines-dropped count=%llu\n",
                 when, (unsigned long long)log->dropped);
    if (ring_add(log, text, (size_t)n))
        log->dropped = 0;
}

void log_end(struct log_line *l)
{
    struct log *log = l->log;
    if (!log)
        return;
    if (l->n == sizeof l->text - MARGIN) {
        memcpy(l->text + l->n, "\" cut=yes", 9);
        l->n += 9;
    }
    l->text[l->n++] = '\n';
    pthread_mutex_lock(&log->mutex);
    bool was_empty = log->tail == log->head;
    if (log->dropped)
        tell_dropped(log);
    if (log->dropped || !ring_add(log, l->text, l->n))
        log->dropped++;
    if (was_empty)
        pthread_cond_signal(&log->filled);
    pthread_mutex_unlock(&log->mutex);
    l->log = NULL;
}

void log_event(struct log *log, enum log_level level, const char *event, ...)
{
    struct log_line l;
    va_list ap;
    log_begin(&l, log, level, event);
    va_start(ap, event);
    for (const char *key = va_arg(ap, const char *); key; key = va_arg(ap, const char *))
        log_text(&l, key, va_arg(ap, const char *));
    va_end(ap);
    log_end(&l);
}
