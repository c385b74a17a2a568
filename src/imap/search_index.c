/* What the index knows of the keys that look at text: a bit for each message that may be a hit of
 * the key, for search_rows.c to reckon with.
 *
 * It is asked when rows have left so many messages that it is worth it, on the heavy lane, a few
 * milliseconds at a time. Without an index, or where it does not know, a key has no bits, and
 * everything is as if there were none. */
#include "imap/search_int.h"

#include "base/clock.h"
#include "base/mem.h"

#include <stdlib.h>

enum {
    WORTH_TEXT = 64,     /* messages to be opened, for which the index is asked */
    WORTH_FIELD = 256,   /* the same, when summaries or columns are enough */
    WORTH_MAKING = 1000, /* for which it is made */
    KEYS = 16            /* it is asked for */
};

static const uint64_t turn_ns = 5 * NS_PER_MS;

/* Between two turns. */
struct imap_asking {
    struct index_view *view;
    struct index_maybe maybe;
    size_t key, n_asked;
};

static enum index_field field_of(const struct imap_search_key *key)
{
    if (key->kind != IMAP_SEARCH_ENVELOPE)
        return INDEX_TEXT;
    switch (key->field) {
    case IMAP_SEARCH_SUBJECT:
        return INDEX_SUBJECT;
    case IMAP_SEARCH_FROM:
        return INDEX_FROM;
    case IMAP_SEARCH_TO:
        return INDEX_TO;
    case IMAP_SEARCH_CC:
        return INDEX_CC;
    default:
        return INDEX_BCC;
    }
}

static bool is_of_text(const struct imap_search_key *key)
{
    return key->kind == IMAP_SEARCH_HEADER || key->kind == IMAP_SEARCH_BODY ||
           key->kind == IMAP_SEARCH_TEXT;
}

static struct index_ask ask_of(const struct imap_search_key *key)
{
    if (key->is_fuzzy) /* each of them is a part of the text as it is folded */
        return (struct index_ask){field_of(key), key->words, key->n_words};
    return (struct index_ask){field_of(key), &key->text, 1};
}

static bool can_be_asked(const struct imap_search_key *key)
{
    struct index_ask ask = ask_of(key);
    return (is_of_text(key) || key->kind == IMAP_SEARCH_ENVELOPE) && index_can_tell(&ask);
}

static size_t count_bits(const uint64_t *bits, size_t n)
{
    size_t sum = 0;
    for (size_t i = 0; i < (n + 63) / 64; i++)
        sum += (size_t)__builtin_popcountll(bits[i]);
    return sum;
}

bool imap_search_is_asking(struct imap_session *s, struct imap_search *k)
{
    size_t worth = SIZE_MAX, left = count_bits(k->maybe, k->count);
    if (k->has_asked || !s->imap->conf.index)
        return false;
    for (size_t i = 0; i < k->program.n_texts; i++) {
        const struct imap_search_key *key = k->program.texts[i];
        size_t mine = is_of_text(key) ? WORTH_TEXT : WORTH_FIELD;
        if (mine < worth && can_be_asked(key))
            worth = mine;
    }
    k->left = left;
    return left >= worth;
}

void imap_asking_fini(struct imap_asking *a)
{
    if (!a)
        return;
    index_maybe_fini(&a->maybe);
    index_view_close(&a->view);
}

/* --- by row ----------------------------------------------------------------------------------- */

/* What one key may be a hit of, in this mailbox. Without room there are no bits. */
static void keep_bits(struct imap_session *s, struct imap_search *k, struct imap_search_key *key,
                      const struct index_maybe *maybe)
{
    size_t count = store_root_count(s->view.root), n;
    uint64_t *bits = imap_search_new_bits(s, count);
    for (size_t at = 0; bits && at < count; at += n) {
        const struct store_row *rows = store_root_rows(s->view.root, at, &n);
        for (size_t i = 0; i < n; i++)
            bits[(at + i) / 64] |= (uint64_t)index_may(maybe, rows[i].email) << ((at + i) % 64);
    }
    /* A field of most messages is sooner found in a column of all, which is made on the way. */
    if (bits && key->kind == IMAP_SEARCH_ENVELOPE && count_bits(bits, count) > k->left / 4)
        bits = NULL;
    key->may = bits;
}

/* RC_AGAIN: call again. */
static enum rc ask_keys(struct imap_session *s, struct imap_search *k)
{
    struct imap_asking *a = k->asking;
    uint64_t until = clock_mono(&clock_system) + turn_ns;
    for (; a->key < k->program.n_texts && a->n_asked < KEYS; a->key++) {
        struct imap_search_key *key = k->program.texts[a->key];
        struct index_ask ask = ask_of(key);
        if (!can_be_asked(key))
            continue;
        if (clock_mono(&clock_system) >= until)
            return RC_AGAIN;
        enum rc rc = index_find(a->view, &ask, until, &a->maybe);
        if (rc == RC_AGAIN)
            return rc;
        if (rc == RC_OK)
            keep_bits(s, k, key, &a->maybe);
        index_maybe_fini(&a->maybe);
        a->n_asked++;
    }
    return RC_OK;
}

static enum rc begin(struct imap_session *s, struct imap_search *k)
{
    struct index *index = s->imap->conf.index;
    k->asking = arena_zero(&s->arena, sizeof *k->asking);
    if (!k->asking)
        return RC_LIMIT;
    enum rc rc = index_view_open(index, s->account, &k->asking->view);
    if (rc == RC_NOTFOUND && k->left >= WORTH_MAKING)
        index_want(index, s->account);
    return rc;
}

bool imap_search_ask(struct imap_session *s, struct imap_search *k)
{
    if (!k->asking && begin(s, k) != RC_OK)
        k->has_asked = true;
    if (!k->has_asked && ask_keys(s, k) == RC_AGAIN)
        return false;
    k->has_asked = true;
    imap_asking_fini(k->asking);
    return true;
}
