/* conf, inside: what is wrong with a file, gathered before it is told. */
#ifndef CONF_CONF_INT_H
#define CONF_CONF_INT_H

#include "conf/conf.h"

#include <stdarg.h>

enum { CONF_FAULTS = 64, CONF_FAULT_TEXT = 256 };

struct conf_fault {
    int line; /* 0: none */
    char text[CONF_FAULT_TEXT];
};

/* Of one pass over a text; the first n_kept are of earlier passes. */
struct conf_faults {
    struct conf_fault fault[CONF_FAULTS];
    size_t n, n_kept;
};

void conf_faults_add(struct conf_faults *f, int line, const char *format, va_list ap)
    __attribute__((format(printf, 3, 0)));
void conf_faults_clear(struct conf_faults *f); /* but those that are kept */
/* When the last fault is an unknown key, keeps it, blanks the key and what it is set to in the
 * text, and forgets the others, so that the text can be parsed anew. */
bool conf_faults_take_unknown(struct conf_faults *f, char *text);
/* Lines of "path:line: text", by line. */
void conf_faults_tell(struct conf_faults *f, const char *path, struct buf *why);

/* Comments become spaces, lines stay. */
void conf_blank_comments(char *text);

#endif
