/* What rows tell: flags, keywords, sizes, received dates, sets. Pure.
 *
 * Each key becomes one bit a row, for many rows at once; AND, OR and NOT are those of words. What a
 * row does not tell is "may be": truth has three values, as two sets of bits. */
#include "imap/search_int.h"

#include <string.h>

enum { WORDS = IMAP_SEARCH_ROWS / 64 };

typedef bool (*row_test)(const struct imap_search_key *key, const struct store_row *row);

static inline bool has_flags(const struct imap_search_key *key, const struct store_row *row)
{
    return (row->flags & key->mask) == key->value;
}

static inline bool has_keyword(const struct imap_search_key *key, const struct store_row *row)
{
    return ((row->keywords & key->keyword) != 0) == (key->value != 0);
}

static inline bool has_size(const struct imap_search_key *key, const struct store_row *row)
{
    return row->size >= key->from && row->size <= key->last;
}

static inline bool was_received(const struct imap_search_key *key, const struct store_row *row)
{
    return row->received >= key->from && row->received <= key->last;
}

static inline bool was_saved(const struct imap_search_key *key, const struct store_row *row)
{
    return row->saved >= key->from && row->saved <= key->last;
}

static inline bool is_email(const struct imap_search_key *key, const struct store_row *row)
{
    return row->email >= key->from && row->email <= key->last;
}

static inline bool is_of_thread(const struct imap_search_key *key, const struct store_row *row)
{
    size_t from = 0, to = key->n_emails;
    while (from < to) {
        size_t mid = from + (to - from) / 2;
        if (key->emails[mid] < row->email)
            from = mid + 1;
        else
            to = mid;
    }
    return from < key->n_emails && key->emails[from] == row->email;
}

static inline bool is_of_uids(const struct imap_search_key *key, const struct store_row *row)
{
    size_t from = 0, to = key->n_uids;
    while (from < to) {
        size_t mid = from + (to - from) / 2;
        if (key->uids[mid].to < row->uid)
            from = mid + 1;
        else
            to = mid;
    }
    return from < key->n_uids && key->uids[from].from <= row->uid;
}

static inline bool has_modseq(const struct imap_search_key *key, const struct store_row *row)
{
    return row->modseq >= key->from;
}

/* Inlined with each test, so that no row costs a call. */
static inline __attribute__((always_inline)) void test_all(const struct imap_search_key *key,
                                                           const struct store_row *rows, size_t n,
                                                           row_test test, uint64_t out[WORDS])
{
    for (size_t w = 0; w < WORDS; w++) {
        size_t from = w * 64, here = n > from ? n - from : 0;
        uint64_t bits = 0;
        for (size_t i = 0; i < here && i < 64; i++)
            bits |= (uint64_t)test(key, &rows[from + i]) << i;
        out[w] = bits;
    }
}

/* --- sets ------------------------------------------------------------------------------------- */

static void set_range(uint64_t out[WORDS], size_t from, size_t to)
{
    while (from < to) {
        size_t bit = from % 64, n = 64 - bit < to - from ? 64 - bit : to - from;
        out[from / 64] |= (n == 64 ? UINT64_MAX : (UINT64_C(1) << n) - 1) << bit;
        from += n;
    }
}

static void test_set(const struct imap_search_key *key, size_t n, size_t index, uint64_t out[WORDS])
{
    const struct imap_spans *spans = &key->spans;
    memset(out, 0, WORDS * sizeof *out);
    for (size_t at = imap_spans_find(spans, index); at < spans->n && spans->at[at].from < index + n;
         at++) {
        size_t from = spans->at[at].from > index ? spans->at[at].from - index : 0;
        size_t to = spans->at[at].to - index;
        set_range(out, from, to < n ? to : n);
    }
}

/* --- many rows -------------------------------------------------------------------------------- */

static void all_rows(size_t n, uint64_t out[WORDS])
{
    memset(out, 0, WORDS * sizeof *out);
    set_range(out, 0, n);
}

/* What the index says, if it was asked. */
static void test_may(const struct imap_search_key *key, size_t n, size_t index, uint64_t out[WORDS])
{
    all_rows(n, out);
    for (size_t w = 0; key->may && w * 64 < n; w++) {
        size_t at = index + w * 64, shift = at % 64;
        uint64_t bits = key->may[at / 64] >> shift;
        if (shift)
            bits |= key->may[at / 64 + 1] << (64 - shift); /* there is one word more */
        out[w] &= bits;
    }
}

static void eval(const struct imap_search_key *key, const struct store_row *rows, size_t n,
                 size_t index, struct imap_search_bits *out);

/* ALL_OF, ANY_OF */
static void combine(const struct imap_search_key *key, const struct store_row *rows, size_t n,
                    size_t index, struct imap_search_bits *out)
{
    struct imap_search_bits one;
    bool is_all = key->kind == IMAP_SEARCH_ALL_OF;
    all_rows(is_all ? n : 0, out->yes);
    memcpy(out->may, out->yes, sizeof out->may);
    for (const struct imap_search_key *k = key->first; k; k = k->next) {
        eval(k, rows, n, index, &one);
        uint64_t left = 0;
        for (size_t w = 0; w < WORDS; w++) {
            out->yes[w] = is_all ? out->yes[w] & one.yes[w] : out->yes[w] | one.yes[w];
            out->may[w] = is_all ? out->may[w] & one.may[w] : out->may[w] | one.may[w];
            left |= out->may[w];
        }
        if (is_all && !left)
            return;
    }
}

static void negate(const struct imap_search_key *key, const struct store_row *rows, size_t n,
                   size_t index, struct imap_search_bits *out)
{
    struct imap_search_bits one;
    uint64_t all[WORDS];
    all_rows(n, all);
    eval(key->first, rows, n, index, &one);
    for (size_t w = 0; w < WORDS; w++) {
        out->yes[w] = all[w] & ~one.may[w];
        out->may[w] = all[w] & ~one.yes[w];
    }
}

static void eval(const struct imap_search_key *key, const struct store_row *rows, size_t n,
                 size_t index, struct imap_search_bits *out)
{
    switch (key->kind) {
    case IMAP_SEARCH_ALL_OF:
    case IMAP_SEARCH_ANY_OF:
        combine(key, rows, n, index, out);
        return;
    case IMAP_SEARCH_NOT:
        negate(key, rows, n, index, out);
        return;
    case IMAP_SEARCH_FLAGS:
        test_all(key, rows, n, has_flags, out->yes);
        break;
    case IMAP_SEARCH_KEYWORD:
        test_all(key, rows, n, has_keyword, out->yes);
        break;
    case IMAP_SEARCH_SIZE:
        test_all(key, rows, n, has_size, out->yes);
        break;
    case IMAP_SEARCH_RECEIVED:
        test_all(key, rows, n, was_received, out->yes);
        break;
    case IMAP_SEARCH_SAVED:
        test_all(key, rows, n, was_saved, out->yes);
        break;
    case IMAP_SEARCH_EMAIL:
        test_all(key, rows, n, is_email, out->yes);
        break;
    case IMAP_SEARCH_THREAD:
        test_all(key, rows, n, is_of_thread, out->yes);
        break;
    case IMAP_SEARCH_UIDS:
        test_all(key, rows, n, is_of_uids, out->yes);
        break;
    case IMAP_SEARCH_MODSEQ:
        test_all(key, rows, n, has_modseq, out->yes);
        break;
    case IMAP_SEARCH_SET:
        test_set(key, n, index, out->yes);
        break;
    case IMAP_SEARCH_SENT:
    case IMAP_SEARCH_ENVELOPE:
    case IMAP_SEARCH_HEADER:
    case IMAP_SEARCH_BODY:
    case IMAP_SEARCH_TEXT:
        all_rows(0, out->yes);
        test_may(key, n, index, out->may);
        return;
    }
    memcpy(out->may, out->yes, sizeof out->may);
}

void imap_search_rows(const struct imap_search_key *all, const struct store_row *rows, size_t n,
                      size_t index, struct imap_search_bits *out)
{
    eval(all, rows, n, index, out);
}

/* --- one row ---------------------------------------------------------------------------------- */

static enum imap_search_answer answer_of(bool is_hit)
{
    return is_hit ? IMAP_SEARCH_YES : IMAP_SEARCH_NO;
}

static enum imap_search_answer combine_one(const struct imap_search_key *key,
                                           const struct store_row *row, size_t index)
{
    bool is_all = key->kind == IMAP_SEARCH_ALL_OF;
    enum imap_search_answer decides = is_all ? IMAP_SEARCH_NO : IMAP_SEARCH_YES;
    enum imap_search_answer all = is_all ? IMAP_SEARCH_YES : IMAP_SEARCH_NO;
    for (const struct imap_search_key *k = key->first; k && all != decides; k = k->next) {
        enum imap_search_answer one = imap_search_row(k, row, index);
        if (one == decides || one == IMAP_SEARCH_UNKNOWN)
            all = one;
    }
    return all;
}

enum imap_search_answer imap_search_row(const struct imap_search_key *key,
                                        const struct store_row *row, size_t index)
{
    enum imap_search_answer below;
    switch (key->kind) {
    case IMAP_SEARCH_ALL_OF:
    case IMAP_SEARCH_ANY_OF:
        return combine_one(key, row, index);
    case IMAP_SEARCH_NOT:
        below = imap_search_row(key->first, row, index);
        return below == IMAP_SEARCH_UNKNOWN ? below : answer_of(below == IMAP_SEARCH_NO);
    case IMAP_SEARCH_FLAGS:
        return answer_of(has_flags(key, row));
    case IMAP_SEARCH_KEYWORD:
        return answer_of(has_keyword(key, row));
    case IMAP_SEARCH_SIZE:
        return answer_of(has_size(key, row));
    case IMAP_SEARCH_RECEIVED:
        return answer_of(was_received(key, row));
    case IMAP_SEARCH_SAVED:
        return answer_of(was_saved(key, row));
    case IMAP_SEARCH_EMAIL:
        return answer_of(is_email(key, row));
    case IMAP_SEARCH_THREAD:
        return answer_of(is_of_thread(key, row));
    case IMAP_SEARCH_UIDS:
        return answer_of(is_of_uids(key, row));
    case IMAP_SEARCH_MODSEQ:
        return answer_of(has_modseq(key, row));
    case IMAP_SEARCH_SET:
        return answer_of(imap_spans_have(&key->spans, index));
    case IMAP_SEARCH_SENT:
    case IMAP_SEARCH_ENVELOPE:
    case IMAP_SEARCH_HEADER:
    case IMAP_SEARCH_BODY:
    case IMAP_SEARCH_TEXT:
        return key->answer;
    }
    return IMAP_SEARCH_NO;
}

/* --- two rows of one message ------------------------------------------------------------------ */

bool imap_search_differs(const struct imap_search_key *key, const struct store_row *before,
                         const struct store_row *row)
{
    for (; key; key = key->next) {
        bool is_row = key->kind > IMAP_SEARCH_NOT && key->kind < IMAP_SEARCH_SENT &&
                      key->kind != IMAP_SEARCH_SET;
        if (is_row && imap_search_row(key, before, 0) != imap_search_row(key, row, 0))
            return true;
        if (imap_search_differs(key->first, before, row))
            return true;
    }
    return false;
}
