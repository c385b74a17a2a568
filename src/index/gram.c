/* Grams: what a text and a string are compared by. Pure.
 *
 * Invariants:
 *   1. Three and four bytes side by side are a gram unless one of them is a blank or a control: so
 *      how lines are folded, and what stands between words, does not matter on either side.
 *   2. A gram of four bytes sets one bit of a column, one of three bytes two: a string of three or
 *      four bytes has few grams, and must not be answered with a third of all messages.
 *   3. Which bits those are never changes within one format of rows.
 *
 * Whoever writes a text that sets all bits makes his own message "maybe" and nothing else. */
#include "index/index_int.h"

#include <string.h>

enum { BIT_SHIFT = 64 - INDEX_WIDTH_LOG };

static const uint64_t factor = UINT64_C(0x9e3779b97f4a7c15), three = UINT64_C(3) << 40,
                      four = UINT64_C(4) << 40;

static inline uint64_t mix(uint64_t gram)
{
    return gram * factor;
}

static inline unsigned first_bit(uint64_t hash)
{
    return (unsigned)(hash >> BIT_SHIFT);
}

static inline unsigned second_bit(uint64_t hash)
{
    return (unsigned)(hash >> (BIT_SHIFT - INDEX_WIDTH_LOG)) & (INDEX_WIDTH - 1);
}

static inline uint64_t salt_of(enum index_field field)
{
    return (uint64_t)field << 48;
}

/* --- texts ------------------------------------------------------------------------------------ */

static inline void set(uint64_t *bits, unsigned bit, uint64_t is_on)
{
    bits[bit / 64] |= is_on << (bit % 64);
}

void index_grams_mark(struct index_grams *g, struct str text, uint64_t *bits)
{
    const uint64_t salt3 = salt_of(g->field) | three, salt4 = salt_of(g->field) | four;
    uint32_t last = g->last, run = g->run;
    /* Without a branch for each byte: where there is no gram, a bit is "set" to nothing. */
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        last = last << 8 | c;
        run = c > ' ' ? run + 1 : 0;
        uint64_t h3 = mix((last & 0xffffff) | salt3), h4 = mix(last | salt4);
        set(bits, first_bit(h3), run >= 3);
        set(bits, second_bit(h3), run >= 3);
        set(bits, first_bit(h4), run >= 4);
    }
    g->last = last;
    g->run = run < 4 ? run : 4;
}

/* --- strings ---------------------------------------------------------------------------------- */

/* A gram of the string: the rarer its bytes are in mail, the lower its weight. */
struct candidate {
    uint64_t hash;
    unsigned weight;
    bool is_three;
};

/* Letters as they are met in text, the rarest first; others are rarer than most. */
static unsigned weight_of(unsigned char c)
{
    static const char common[] = "zqjxkvbywgfpmucldhrsnioate";
    const char *at = c < 0x80 && c ? memchr(common, c, sizeof common - 1) : NULL;
    return at ? 8 + (unsigned)(at - common) : 12;
}

static size_t grams_of(struct str part, enum index_field field, struct candidate *out)
{
    uint32_t last = 0, run = 0;
    size_t n = 0;
    unsigned w[4] = {0};
    for (size_t i = 0; i < part.n; i++) {
        unsigned char c = (unsigned char)part.p[i];
        last = last << 8 | c;
        run = c > ' ' ? run + 1 : 0;
        memmove(w, w + 1, 3 * sizeof *w);
        w[3] = weight_of(c);
        if (run >= 3)
            out[n++] = (struct candidate){mix((last & 0xffffff) | salt_of(field) | three),
                                          200 + w[1] + w[2] + w[3], true};
        if (run >= 4)
            out[n++] = (struct candidate){mix(last | salt_of(field) | four),
                                          w[0] + w[1] + w[2] + w[3], false};
    }
    return n;
}

/* Whichever part of a long string has most grams of four bytes: a part that is not longer than what
 * columns share is in one column as a whole. */
static struct str best_part(struct str needle)
{
    size_t best = 0, best_n = 0, n = 0, run = 0;
    unsigned char is_gram[INDEX_SHARED + 1] = {0}; /* of the last ones, in a ring */
    if (needle.n <= INDEX_SHARED + 1)
        return needle;
    for (size_t i = 0; i < needle.n; i++) {
        unsigned char *slot = &is_gram[i % (INDEX_SHARED + 1)];
        n -= *slot;
        run = (unsigned char)needle.p[i] > ' ' ? run + 1 : 0;
        *slot = run >= 4;
        n += *slot;
        if (n > best_n && i >= INDEX_SHARED) {
            best_n = n;
            best = i - INDEX_SHARED;
        }
    }
    return str_sub(needle, best, INDEX_SHARED + 1);
}

static void add_bit(struct index_probes *p, unsigned bit)
{
    for (size_t i = 0; i < p->n; i++)
        if (p->bits[i] == bit)
            return;
    if (p->n < INDEX_PROBES)
        p->bits[p->n++] = bit;
}

void index_probes_add(struct index_probes *p, enum index_field field, struct str needle, size_t max)
{
    struct candidate all[2 * (INDEX_SHARED + 1)];
    size_t n = grams_of(best_part(needle), field, all), most = p->n + max;
    while (n && p->n < INDEX_PROBES && p->n < most) {
        size_t best = 0;
        for (size_t i = 1; i < n; i++)
            if (all[i].weight < all[best].weight)
                best = i;
        add_bit(p, first_bit(all[best].hash));
        if (all[best].is_three)
            add_bit(p, second_bit(all[best].hash));
        all[best] = all[--n];
    }
}

void index_probes_of(struct index_probes *p, const struct index_ask *ask)
{
    size_t each = ask->n < INDEX_PROBES / 2 ? INDEX_PROBES / (ask->n + !ask->n) : 2;
    *p = (struct index_probes){0};
    for (size_t i = 0, k = 0; i < ask->n && p->n < INDEX_PROBES; i++) {
        index_probes_add(p, ask->field, ask->needles[i], each);
        while (k < p->n)
            p->of[k++] = (uint32_t)i;
    }
}

bool index_can_tell(const struct index_ask *ask)
{
    struct index_probes p;
    index_probes_of(&p, ask);
    return p.n > 0;
}
