/* conf, inside: the keys and their kinds of values; what is wrong with a file, gathered before it
 * is told. */
#ifndef CONF_CONF_INT_H
#define CONF_CONF_INT_H

#include "conf/conf.h"

#include <stdarg.h>

/* --- keys.c ----------------------------------------------------------------------------------- */

/* ADDRESSES and NETWORKS are lists: "127.0.0.1:25", "[::]:25"; "127.0.0.0/8", "::1", as are NAMES
 * of hosts, USERS, WORDLISTs of anything, ALGORITHMS that sign tokens, and IPS, addresses without a
 * port. PLACES are addresses, or paths: whatever has a
 * slash. A HOST is a name or an address, with a port or without, or a path. RATES are limits of
 * what is sent, such as "100/h,500/d,300r/h". */
enum kind {
    TEXT,
    RATES,
    NAME,
    PATH,
    HOST,
    SIZE,
    TIME,
    NUMBER,
    ADDRESSES,
    PLACES,
    NETWORKS,
    NAMES,
    USERS,
    WORDLIST,
    ALGORITHMS,
    IPS,
    CHOICE,
    PLAINTEXT
};

struct key {
    const char *section; /* NULL: top level */
    const char *name;
    enum kind kind;
    size_t offset;          /* in struct conf, or struct conf_route */
    const char *fallback;   /* as text; the entries of a list between commas */
    uint64_t least, most;   /* of a number, a size or a time; most 0: no limit */
    const char *choices[4]; /* of a CHOICE; of a PATH: words that are none */
};

enum { CONF_KEYS_MAX = 160, CONF_SECTIONS_MAX = 16 };
extern const struct key conf_keys[];       /* by section */
extern const struct key conf_route_keys[]; /* of relay { route "DOMAIN" { } } */
extern const char *const conf_sections[];
extern const size_t conf_n_keys, conf_n_route_keys, conf_n_sections;

/* --- value.c ---------------------------------------------------------------------------------- */

bool conf_key_is_list(const struct key *key);
/* The index of a text among the key's choices; -1: it is none of them. */
int conf_key_choice(const struct key *key, const char *text);
/* Of a size, a time or a number. RC_SYNTAX: it is none; RC_LIMIT: beyond the key's limits. */
enum rc conf_key_amount(const struct key *key, const char *text, uint64_t *out);
/* Whether a value is none for the key, and what was expected then. */
bool conf_key_refuses(const struct key *key, const char *value, char expected[128]);

/* --- faults.c --------------------------------------------------------------------------------- */

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
