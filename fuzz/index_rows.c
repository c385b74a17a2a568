/* Fuzz target: rows of the search index, and what texts and strings become. The first byte says
 * which: a row as it is; the payload of a head, a block or gaps, sealed here so that it is looked
 * at; an envelope; a text in pieces, of which every part must be found. */
#include "fuzz/charsets.h"
#include "fuzz/fuzz.h"
#include "index/index_int.h"
#include "mime/fields.h"

#include <string.h>

static void head_and_block(struct str payload)
{
    unsigned char row[4096], again[INDEX_BLOCK_ROW];
    struct index_key state = index_key_state(), key = index_key_block(5);
    struct index_head h;
    struct index_block b, c;
    payload = str_head(payload, sizeof row - INDEX_HEAD);
    if (payload.n)
        memcpy(row + INDEX_HEAD, payload.p, payload.n);
    struct str value = str_from(row, INDEX_HEAD + payload.n);
    index_row_seal(index_key_str(&state), row, value.n);
    (void)index_head_get(value, &h);
    index_row_seal(index_key_str(&key), row, value.n);
    if (index_block_get(index_key_str(&key), value, &b) != RC_OK)
        return;
    FUZZ_DEMAND(b.columns <= INDEX_COLUMNS && b.first <= b.last);
    FUZZ_DEMAND(b.slices * b.stride <= INDEX_ROW || b.slices == 1);
    index_block_put(&b, again);
    FUZZ_DEMAND(index_block_get(index_key_str(&key), str_from(again, sizeof again), &c) == RC_OK);
    FUZZ_DEMAND(b.first == c.first && b.last == c.last && b.emails == c.emails);
}

static void gaps(struct str payload)
{
    const struct index_block b = {.first = 1000, .last = 100000};
    struct index_gap out[INDEX_GAPS_ROW];
    size_t n;
    if (index_gaps_get(payload, &b, out, &n) != RC_OK)
        return;
    FUZZ_DEMAND(n <= INDEX_GAPS_ROW);
    for (size_t i = 0; i < n; i++)
        FUZZ_DEMAND((uint64_t)out[i].from + out[i].n <= b.last - b.first + 1);
}

static void envelope(struct str text)
{
    struct buf out[MIME_IN_FIELDS];
    for (size_t i = 0; i < MIME_IN_FIELDS; i++)
        buf_init(&out[i], 1 << 20);
    (void)mime_fields_read(text, charsets_made(), out);
    for (size_t i = 0; i < MIME_IN_FIELDS; i++)
        buf_fini(&out[i]);
}

static void grams(struct str text)
{
    uint64_t bits[INDEX_WORDS] = {0};
    struct index_probes p = {0};
    struct index_grams g = {.field = INDEX_CC};
    if (text.n < 3)
        return;
    size_t piece = (unsigned char)text.p[0] + 1u, from = (unsigned char)text.p[1],
           n = (unsigned char)text.p[2];
    text = str_skip(text, 3);
    for (size_t at = 0; at < text.n; at += piece)
        index_grams_mark(&g, str_sub(text, at, piece), bits);
    index_probes_add(&p, INDEX_CC, str_sub(text, from, n), INDEX_PROBES);
    for (size_t i = 0; i < p.n; i++)
        FUZZ_DEMAND(bits[p.bits[i] / 64] >> (p.bits[i] % 64) & 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct index_key key = index_key_block(5);
    struct str in = str_from(data, size), payload;
    struct index_block b;
    char kind = in.n ? in.p[0] : 0;
    in = str_skip(in, 1);
    switch (kind) {
    case 'r':
        (void)index_row_open(index_key_str(&key), in, &payload);
        (void)index_block_get(index_key_str(&key), in, &b);
        break;
    case 'b':
        head_and_block(in);
        break;
    case 'g':
        gaps(in);
        break;
    case 'e':
        envelope(in);
        break;
    default:
        grams(in);
    }
    return 0;
}
