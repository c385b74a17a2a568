/* Columns: the bits of messages, as many messages to a column as fit, as many columns to a message
 * as it needs. Pure but for memory.
 *
 * Invariants:
 *   1. No column has more than INDEX_FULL bits set but by the last few hundred bytes marked, so
 *      none says "maybe" to everything; a text that fills one goes on in the next.
 *   2. The last INDEX_SHARED bytes of a text before the cut are in both columns: a string of one
 *      byte more is in one of them as a whole.
 *   3. A message that fits into one column is in one; only the last column of a longer one is
 *      shared with those behind it. */
#include "index/index_int.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum {
    STEP = 256, /* bytes marked at least between two looks at how full the column is */
    BITS = 3    /* that one byte sets at most */
};

void index_columns_init(struct index_columns *c, uint64_t text_max)
{
    *c = (struct index_columns){.text_max = text_max, .max = INDEX_COLUMNS};
}

void index_columns_fini(struct index_columns *c)
{
    free(c->bits);
    free(c->places);
    free(c->emails);
    index_columns_init(c, c->text_max);
}

/* Without the instruction that not every processor has, and without a table. */
static inline uint64_t ones(uint64_t v)
{
    v -= v >> 1 & UINT64_C(0x5555555555555555);
    v = (v & UINT64_C(0x3333333333333333)) + (v >> 2 & UINT64_C(0x3333333333333333));
    return ((v + (v >> 4)) & UINT64_C(0x0f0f0f0f0f0f0f0f)) * UINT64_C(0x0101010101010101) >> 56;
}

static size_t count(const uint64_t *bits, const uint64_t *more)
{
    size_t n = 0;
    for (size_t i = 0; i < INDEX_WORDS; i++)
        n += ones(bits[i] | more[i]);
    return n;
}

/* --- closed columns --------------------------------------------------------------------------- */

static void push(struct index_columns *c, const uint64_t *bits, size_t begun, bool goes_on)
{
    c->bits = mem_array(c->bits, &c->size, c->n + 1, INDEX_WORDS * sizeof *c->bits);
    c->places = mem_array(c->places, &c->size_places, c->n + 1, 1);
    memcpy(c->bits + c->n * INDEX_WORDS, bits, INDEX_WORDS * sizeof *bits);
    c->places[c->n++] = (unsigned char)(begun * 2 + goes_on);
}

static void push_open(struct index_columns *c)
{
    if (c->n_open)
        push(c, c->open, c->n_open - c->open_goes_on, c->open_goes_on);
    c->n_open = 0;
    memset(c->open, 0, sizeof c->open);
}

void index_columns_close(struct index_columns *c)
{
    push_open(c);
}

/* --- one message ------------------------------------------------------------------------------ */

void index_columns_begin(struct index_columns *c, uint64_t email)
{
    c->email = email;
    c->is_first = true;
    c->is_too_long = false;
    c->n_text = 0;
    c->step = INDEX_FULL / BITS;
    c->begun = c->n + (c->n_open > 0);
    memset(c->piece, 0, sizeof c->piece);
    index_columns_field(c, INDEX_TEXT);
}

void index_columns_field(struct index_columns *c, enum index_field field)
{
    c->grams = (struct index_grams){.field = field};
    c->n_shared = 0;
}

static void keep_shared(struct index_columns *c, struct str text)
{
    size_t kept = INDEX_SHARED - (text.n < INDEX_SHARED ? text.n : INDEX_SHARED);
    kept = kept < c->n_shared ? kept : c->n_shared;
    memmove(c->shared, c->shared + c->n_shared - kept, kept);
    size_t n = text.n < INDEX_SHARED ? text.n : INDEX_SHARED;
    memcpy(c->shared + kept, text.p + text.n - n, n);
    c->n_shared = kept + n;
}

/* The piece is full: a column of its own, and the text goes on in the next one. */
static void cut(struct index_columns *c)
{
    push_open(c);
    push(c, c->piece, c->is_first, !c->is_first);
    c->is_first = false;
    c->is_too_long = c->n >= c->max; /* there is one more to come */
    memset(c->piece, 0, sizeof c->piece);
    c->step = INDEX_FULL / BITS;
    c->grams = (struct index_grams){.field = c->grams.field};
    index_grams_mark(&c->grams, str_from(c->shared, c->n_shared), c->piece);
}

static void look_how_full(struct index_columns *c)
{
    size_t n = count(c->piece, c->piece);
    if (n >= INDEX_FULL)
        cut(c);
    else
        c->step = (INDEX_FULL - n) / BITS > STEP ? (INDEX_FULL - n) / BITS : STEP;
}

void index_columns_text(struct index_columns *c, struct str text)
{
    c->n_text += text.n;
    c->is_too_long = c->is_too_long || c->n_text > c->text_max;
    while (text.n && !c->is_too_long) {
        struct str step = str_head(text, c->step);
        index_grams_mark(&c->grams, step, c->piece);
        keep_shared(c, step);
        text = str_skip(text, step.n);
        c->step -= step.n;
        if (!c->step)
            look_how_full(c);
    }
}

void index_columns_drop(struct index_columns *c)
{
    if (!c->is_first) /* it has columns of its own, and the one before it is closed */
        c->n = c->begun;
}

/* What there is of the message goes, and a column of ones comes. */
static void say_maybe(struct index_columns *c)
{
    push_open(c);
    c->n = c->begun;
    memset(c->piece, 0xff, sizeof c->piece);
    push(c, c->piece, 1, false);
}

/* The rest of a message, which may share a column with others. */
static void join_open(struct index_columns *c)
{
    if (c->n_open && (c->n_open == INDEX_TOGETHER || count(c->open, c->piece) > INDEX_FULL))
        push_open(c);
    if (!c->n_open)
        c->open_goes_on = !c->is_first;
    for (size_t i = 0; i < INDEX_WORDS; i++)
        c->open[i] |= c->piece[i];
    c->n_open++;
}

void index_columns_end(struct index_columns *c, bool is_known)
{
    c->emails = mem_array(c->emails, &c->size_emails, c->n_emails + 1, sizeof *c->emails);
    c->emails[c->n_emails++] = c->email;
    if (is_known && !c->is_too_long)
        join_open(c);
    else
        say_maybe(c);
}
