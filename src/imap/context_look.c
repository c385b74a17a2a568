/* What a change of the mailbox means for a search whose results are kept [RFC5267 4.3].
 *
 * 1. The rows that differ, and no others: keys that rows answer decide most. A message of which no
 *    such key has changed its answer is what it was, so that flags that nobody asked for cost
 *    nothing, and no text is read for them.
 * 2. Messages that are left are looked at, on the heavy lane and in turns: by their summaries, a
 *    page of them read together, then by their bytes; and for what they are sorted by.
 *
 * A message that cannot be read is no result. Too many of them at once end the context. */
#include "imap/context_int.h"

#include "base/clock.h"
#include "base/mem.h"

#include <stdlib.h>

enum { ROWS_AT_ONCE = 4096, TEXTS = 1 << 20 };

static const uint64_t turn_ns = 5 * NS_PER_MS; /* on the lane */

static bool looks_text(const struct imap_contexts *k)
{
    return k->at->text.fields || k->at->order.fields;
}

/* --- rows ------------------------------------------------------------------------------------- */

static enum net_step look_closer(struct conn *c, struct imap_session *s, struct imap_contexts *k);

static enum net_step give_up(struct imap_contexts *k, struct str why)
{
    k->at->why = why;
    k->n_items = 0;
    k->stage = NULL;
    return NET_READ;
}

static void add_item(struct imap_contexts *k, const struct store_row *row, size_t index,
                     bool is_hit)
{
    k->items = mem_array(k->items, &k->items_size, k->n_items + 1, sizeof *k->items);
    k->items[k->n_items++] = (struct imap_context_item){
        .email = row->email, .uid = row->uid, .index = (uint32_t)index, .is_hit = is_hit};
}

/* What the row tells. */
static void decide(struct imap_contexts *k, const struct store_row *row, size_t index)
{
    struct imap_context *at = k->at;
    bool was_hit = imap_uids_have(&at->hits, row->uid);
    enum imap_search_answer answer = imap_search_row(at->program.all, row, index);
    if (answer == IMAP_SEARCH_UNKNOWN)
        add_item(k, row, index, false);
    else if (answer == IMAP_SEARCH_NO && was_hit)
        imap_uids_add(&at->gone, row->uid, row->uid);
    else if (answer == IMAP_SEARCH_YES && !was_hit && at->order.n)
        add_item(k, row, index, true);
    else if (answer == IMAP_SEARCH_YES && !was_hit)
        imap_uids_add(&at->come, row->uid, row->uid);
}

static void take_change(struct imap_session *s, struct imap_contexts *k, enum store_diff_kind kind,
                        size_t old_index, size_t new_index, const struct store_row *row)
{
    struct imap_context *at = k->at;
    if (kind == STORE_DIFF_GONE && imap_uids_have(&at->hits, row->uid))
        imap_uids_add(&at->gone, row->uid, row->uid);
    if (kind == STORE_DIFF_NEW ||
        (kind == STORE_DIFF_CHANGED &&
         imap_search_differs(at->program.all, store_root_at(s->view.root, old_index), row)))
        decide(k, row, new_index);
}

static bool is_too_much(const struct imap_contexts *k)
{
    const size_t most = IMAP_CONTEXT_BYTES / sizeof *k->at->come.at;
    return k->n_items > IMAP_CONTEXT_LOOKS || k->at->come.n > most || k->at->gone.n > most ||
           k->at->added.bytes > IMAP_CONTEXT_BYTES;
}

static enum net_step look_at_rows(struct conn *c, struct imap_session *s, struct imap_contexts *k)
{
    const struct store_row *row;
    size_t old_index, new_index;
    for (size_t looked = 0; looked < ROWS_AT_ONCE; looked++) {
        enum store_diff_kind kind = store_diff_next(&k->diff, &old_index, &new_index, &row);
        if (is_too_much(k))
            return give_up(k, STR("too much has changed at once"));
        if (kind == STORE_DIFF_END) {
            k->stage = k->n_items ? look_closer : NULL;
            return NET_READ;
        }
        take_change(s, k, kind, old_index, new_index, row);
    }
    return NET_MORE;
}

/* --- messages --------------------------------------------------------------------------------- */

/* Those of the next ones; what is missing is made anew. */
static void read_page(struct imap_session *s, struct imap_contexts *k)
{
    uint64_t emails[IMAP_CONTEXT_PAGE];
    size_t n = k->n_items - k->next < IMAP_CONTEXT_PAGE ? k->n_items - k->next : IMAP_CONTEXT_PAGE;
    for (size_t i = 0; i < n; i++)
        emails[i] = k->items[k->next + i].email;
    arena_reset(&k->scratch);
    k->scratch.cap = TEXTS;
    enum rc rc = RC_NOTFOUND;
    if (looks_text(k))
        rc = store_summaries(s->account, emails, n, 0, &k->scratch, k->summaries);
    for (size_t i = 0; rc != RC_OK && i < n; i++)
        k->summaries[i] = (struct str){0};
    k->page_from = k->next;
    k->page_to = k->next + n;
}

static enum rc open_message(struct imap_session *s, struct imap_contexts *k)
{
    struct store_message *message;
    if (k->at->text.message)
        return RC_OK;
    TRY(store_message_open(s->account, k->items[k->next].email, 0, &message));
    imap_search_open(&k->at->text, &message);
    return RC_OK;
}

static enum rc summary_of(struct imap_session *s, struct imap_contexts *k, uint64_t until,
                          struct str *out)
{
    struct str envelope, structure;
    *out = k->summaries[k->next - k->page_from];
    if (mime_summary_read(*out, &envelope, &structure))
        return RC_OK;
    k->made.cap = MIME_SUMMARY_MAX;
    if (!buf_len(&k->made)) {
        TRY(open_message(s, k));
        TRY(imap_search_summary(&k->at->text, until, &k->made));
        (void)store_summary_put(s->account, k->items[k->next].email, buf_str(&k->made));
    }
    *out = buf_str(&k->made);
    return RC_OK;
}

static enum rc answer_envelope(struct imap_session *s, struct imap_contexts *k, uint64_t until)
{
    struct str summary, envelope, structure;
    TRY(summary_of(s, k, until, &summary));
    if (mime_summary_read(summary, &envelope, &structure))
        imap_search_envelope(&k->at->text, envelope);
    return RC_OK;
}

static enum rc answer_header(struct imap_session *s, struct imap_contexts *k, uint64_t until)
{
    (void)until;
    TRY(open_message(s, k));
    return imap_search_header(&k->at->text);
}

static enum rc answer_body(struct imap_session *s, struct imap_contexts *k, uint64_t until)
{
    TRY(open_message(s, k));
    return imap_search_body(&k->at->text, until);
}

/* Whether it is a result: in order of cost, until that is known. */
static enum rc search(struct imap_session *s, struct imap_contexts *k, uint64_t until,
                      bool *out_is_hit)
{
    const struct imap_search_text *t = &k->at->text;
    const struct imap_context_item *item = &k->items[k->next];
    const struct {
        bool is_needed;
        enum rc (*run)(struct imap_session *s, struct imap_contexts *k, uint64_t until);
    } steps[] = {{t->fields != 0, answer_envelope},
                 {t->has_header, answer_header},
                 {t->has_body || t->has_text, answer_body}};
    const struct store_row *row = store_root_at(s->view.next, item->index);
    enum imap_search_answer answer = item->is_hit ? IMAP_SEARCH_YES : IMAP_SEARCH_UNKNOWN;
    for (; answer == IMAP_SEARCH_UNKNOWN && k->step < sizeof steps / sizeof *steps; k->step++) {
        if (!steps[k->step].is_needed)
            continue;
        TRY(steps[k->step].run(s, k, until));
        answer = imap_search_row(k->at->program.all, row, item->index);
    }
    *out_is_hit = answer == IMAP_SEARCH_YES;
    return RC_OK;
}

/* What it is sorted by; of a message that cannot be read: nothing. */
static enum rc add_key(struct imap_session *s, struct imap_contexts *k, uint64_t until)
{
    struct imap_context *at = k->at;
    struct str values[IMAP_SORT_FIELDS], summary = {0};
    struct buf key = {.cap = IMAP_CONTEXT_BYTES};
    const struct imap_context_item *item = &k->items[k->next];
    enum rc rc = at->order.fields ? summary_of(s, k, until, &summary) : RC_OK;
    if (rc == RC_AGAIN)
        return rc;
    k->values.fields = at->order.fields;
    k->values.charsets = s->imap->conf.charsets;
    k->values.hash_key = s->imap->columns.hash_key;
    imap_sort_values_read(&k->values, rc == RC_OK ? summary : (struct str){0});
    for (size_t i = 0; i < IMAP_SORT_FIELDS; i++)
        values[i] = k->values.text[i].over ? STR("") : buf_str(&k->values.text[i]);
    imap_sort_key(&at->order, store_root_at(s->view.next, item->index), values, &key);
    imap_sorted_add(&at->added, item->uid, buf_str(&key));
    buf_fini(&key);
    return RC_OK;
}

/* RC_AGAIN: it is time for others. */
static enum rc look_at_message(struct imap_session *s, struct imap_contexts *k, uint64_t until)
{
    const struct imap_context_item *item = &k->items[k->next];
    bool is_hit = false, was_hit = imap_uids_have(&k->at->hits, item->uid);
    if (!k->has_begun) {
        imap_search_next(&k->at->text, item->uid);
        k->has_begun = true;
        k->step = 0;
    }
    enum rc rc = search(s, k, until, &is_hit);
    if (rc == RC_AGAIN)
        return rc;
    k->items[k->next].is_hit = is_hit; /* when it comes again for its key */
    if (rc == RC_OK && is_hit && !was_hit && k->at->order.n && add_key(s, k, until) == RC_AGAIN)
        return RC_AGAIN;
    if (rc == RC_OK && is_hit && !was_hit)
        imap_uids_add(&k->come, item->uid, item->uid);
    if (rc == RC_OK && !is_hit && was_hit)
        imap_uids_add(&k->gone, item->uid, item->uid);
    imap_search_close(&k->at->text);
    buf_fini(&k->made);
    k->has_begun = false;
    k->next++;
    return rc == RC_NOTFOUND || rc == RC_CORRUPT || rc == RC_DENIED ? RC_OK : rc;
}

static enum net_step end_looking(struct imap_contexts *k)
{
    imap_uids_unite(&k->at->come, &k->come);
    imap_uids_unite(&k->at->gone, &k->gone);
    imap_search_rest(&k->at->text);
    k->stage = NULL;
    return NET_READ;
}

static enum net_step look_closer(struct conn *c, struct imap_session *s, struct imap_contexts *k)
{
    if (s->is_draining) /* nobody will ask */
        k->next = k->n_items;
    if (k->next < k->n_items && !net_can_block(c))
        return NET_HEAVY;
    uint64_t until = clock_mono(&clock_system) + turn_ns;
    while (k->next < k->n_items) {
        if (k->next >= k->page_to)
            read_page(s, k);
        enum rc rc = look_at_message(s, k, until);
        if (rc != RC_OK && rc != RC_AGAIN)
            return give_up(k, STR("messages cannot be read now"));
        if (is_too_much(k))
            return give_up(k, STR("too much has changed at once"));
        if (rc == RC_AGAIN || clock_mono(&clock_system) >= until)
            return k->next < k->n_items ? NET_HEAVY : end_looking(k);
    }
    return end_looking(k);
}

/* --- one context ------------------------------------------------------------------------------ */

/* The messages of a thread may be more now. */
static enum rc read_threads(struct conn *c, struct imap_session *s, struct imap_contexts *k,
                            struct imap_search_key *key)
{
    for (; key; key = key->next) {
        TRY(read_threads(c, s, k, key->first));
        if (key->kind == IMAP_SEARCH_THREAD && key->from <= key->last)
            TRY(store_reader_thread(s->view.reader, key->from, imap_flags(c), &k->threads,
                                    &key->emails, &key->n_emails));
    }
    return RC_OK;
}

static bool is_set_over(const struct imap_session *s, const struct imap_context *k)
{
    size_t count = store_root_count(s->view.next);
    uint32_t last = count ? store_root_at(s->view.next, count - 1)->uid : 0;
    return k->least > last;
}

static enum net_step begin(struct conn *c, struct imap_session *s, struct imap_contexts *k)
{
    const struct str *names = imap_keywords(s);
    if (!names)
        return give_up(k, STR("there is no memory for it"));
    imap_search_keywords(k->at->program.all, names);
    if (k->at->program.n_threads) {
        arena_reset(&k->threads);
        enum rc rc = read_threads(c, s, k, k->at->program.all);
        if (rc == RC_AGAIN && !net_can_block(c))
            return NET_SHORT;
        if (rc != RC_OK)
            return give_up(k, STR("messages cannot be read now"));
    }
    if (is_set_over(s, k->at)) /* "5:*" is the last message, when that is before 5 */
        return give_up(k, STR("the set means other messages now"));
    imap_search_next(&k->at->text, 0);
    store_diff_begin(&k->diff, s->view.root, s->view.next);
    k->n_items = k->next = k->page_from = k->page_to = 0;
    k->has_begun = false;
    imap_uids_fini(&k->come);
    imap_uids_fini(&k->gone);
    k->stage = look_at_rows;
    return NET_READ;
}

enum net_step imap_context_look(struct conn *c, struct imap_session *s)
{
    struct imap_contexts *k = s->view.contexts;
    if (k->at->why.p)
        return NET_READ;
    if (!k->stage)
        k->stage = begin;
    while (k->stage) {
        enum net_step next = k->stage(c, s, k);
        if (next != NET_READ)
            return next;
    }
    return NET_READ;
}

void imap_context_look_fini(struct imap_contexts *k)
{
    free(k->items);
    k->items = NULL;
    k->items_size = k->n_items = 0;
    imap_uids_fini(&k->come);
    imap_uids_fini(&k->gone);
    imap_sort_values_fini(&k->values);
    buf_fini(&k->made);
    buf_fini(&k->text);
    arena_fini(&k->scratch);
    arena_fini(&k->threads);
}
