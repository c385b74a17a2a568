/* One step of making an account's index: the next messages become a block, or small blocks become a
 * large one. What is known between steps is what the rows say, so a step can be the last one at any
 * time.
 *
 * Invariants:
 *   1. One step of an account at a time (index.c sees to that): nobody else writes its rows.
 *   2. Messages are taken in order of their ids, once they are published: an id that was seen, or
 *      passed over because it was gone, never becomes another message.
 *   3. Rows that are damaged, of another format, or mostly of messages that are gone are thrown
 *      away, all of them, and made anew. */
#include "index/build_int.h"

#include "base/mem.h"

#include <stdlib.h>

enum {
    GONE = 2000,        /* messages that may be in the index though they are gone, and as many as
                           there are */
    DISTANCE = 1 << 28, /* of email ids in one block */
    TEXTS = 8 << 20     /* bytes of summaries at once */
};

struct step {
    struct index *ix;
    struct store_account *account;
    const atomic_bool *stop;
    struct index_table table;
    struct index_columns columns;
    uint64_t next; /* the id to go on with */
    bool saw_all;  /* that there were when it began */
};

/* --- throwing away ---------------------------------------------------------------------------- */

enum rc index_wipe(struct index *ix, uint64_t account, uint64_t next_block)
{
    struct index_writer w;
    struct index_head head = {.next = 1, .next_block = next_block};
    static const char kinds[] = "br";
    enum rc rc = RC_OK;
    /* Ids that were never used before, also when nobody knows which ones were. */
    if (!head.next_block)
        head.next_block = clock_wall(ix->ctx->clock);
    index_writer_begin(&w, ix->conf.kv, account);
    for (size_t i = 0; rc == RC_OK && i < sizeof kinds - 1; i++) {
        struct index_key from = index_key_kind(kinds[i]), to = index_key_after(from);
        rc = kv_txn_trim(w.txn, index_key_str(&from), index_key_str(&to));
    }
    if (rc == RC_OK)
        rc = index_writer_head(&w, &head);
    if (rc == RC_OK)
        rc = index_writer_end(&w);
    index_writer_give_up(&w);
    return rc;
}

static bool is_mostly_gone(struct step *s)
{
    struct store_usage usage;
    store_account_usage(s->account, &usage);
    return s->table.emails > 2 * usage.messages + GONE;
}

/* There is one when this is done. */
static enum rc load(struct step *s)
{
    uint64_t account = store_account_id(s->account), next_block = 0;
    enum rc rc = index_table_load(s->ix->conf.kv, account, &s->table);
    if (rc == RC_OK && (index_is_forsaken(s->ix, account) || is_mostly_gone(s)))
        rc = RC_CORRUPT;
    if (rc != RC_CORRUPT && rc != RC_NOTFOUND)
        return rc;
    if (rc == RC_CORRUPT) {
        next_block = s->table.head.next_block;
        index_log(s->ix, account, "index-renewed", rc);
    }
    TRY(index_wipe(s->ix, account, next_block));
    index_table_fini(&s->table);
    return index_table_load(s->ix->conf.kv, account, &s->table);
}

/* --- messages --------------------------------------------------------------------------------- */

struct page {
    size_t n;
    uint64_t ids[STORE_AHEAD];
    struct store_message *messages[STORE_AHEAD];
    struct str summaries[STORE_AHEAD];
    struct arena texts;
};

static void page_fini(struct page *p)
{
    for (size_t i = 0; i < p->n; i++)
        if (p->messages[i])
            store_message_close(&p->messages[i]);
    arena_fini(&p->texts);
}

/* Whether the message, or the question why it cannot be read, can be put off: what cannot be read
 * now is to be tried again, and what never can be is "maybe". */
static enum rc add_one(struct step *s, struct page *p, size_t i)
{
    enum rc rc = RC_OK;
    if (!p->messages[i])
        rc = store_message_open(s->account, p->ids[i], 0, &p->messages[i]);
    if (rc == RC_NOTFOUND) /* gone meanwhile */
        return RC_OK;
    index_columns_begin(&s->columns, p->ids[i]);
    if (rc == RC_OK)
        rc = index_message_add(&s->ix->conf, p->messages[i], p->summaries[i], s->stop, &s->columns);
    if (rc == RC_TEMP || rc == RC_EOF) {
        index_columns_drop(&s->columns); /* those before it may be written all the same */
        return rc;
    }
    index_columns_end(&s->columns, rc == RC_OK);
    return RC_OK;
}

/* Before this message comes. */
static bool is_enough(const struct step *s, uint64_t email)
{
    const struct index_columns *c = &s->columns;
    return c->n >= INDEX_BATCH || (c->n_emails && email - c->emails[0] >= DISTANCE);
}

static enum rc add_page(struct step *s, struct page *p)
{
    TRY(store_emails(s->account, s->next, STORE_AHEAD, p->ids, p->messages, &p->n));
    p->texts.cap = TEXTS;
    if (p->n && store_summaries(s->account, p->ids, p->n, 0, &p->texts, p->summaries) != RC_OK)
        for (size_t i = 0; i < p->n; i++)
            p->summaries[i] = (struct str){0}; /* they are made anew */
    for (size_t i = 0; i < p->n; i++) {
        if (is_enough(s, p->ids[i]))
            return RC_OK;
        if (atomic_load(s->stop))
            return RC_EOF;
        TRY(add_one(s, p, i));
        s->next = p->ids[i] + 1;
    }
    s->saw_all = p->n < STORE_AHEAD;
    return RC_OK;
}

static enum rc collect(struct step *s)
{
    enum rc rc = RC_OK;
    while (rc == RC_OK && !s->saw_all && !is_enough(s, s->next)) {
        struct page *p = mem_zero(sizeof *p);
        rc = add_page(s, p);
        page_fini(p);
        free(p);
    }
    index_columns_close(&s->columns);
    return rc == RC_TEMP && s->columns.n_emails ? RC_OK : rc;
}

/* --- a block of them -------------------------------------------------------------------------- */

static enum rc write_slices(struct index_writer *w, const struct index_columns *c)
{
    uint32_t stride = w->block.stride;
    unsigned char *slices = mem_alloc(64 * (size_t)stride);
    enum rc rc = RC_OK;
    for (size_t word = 0; rc == RC_OK && word < INDEX_WORDS; word++) {
        index_slices_of(c, word, stride, slices);
        for (size_t i = 0; rc == RC_OK && i < 64; i++)
            rc = index_writer_slice(w, slices + i * stride);
    }
    free(slices);
    return rc;
}

static enum rc write_gaps(struct index_writer *w, const struct index_columns *c)
{
    struct index_gap gaps[INDEX_GAPS_ROW];
    size_t at = 0, n;
    while ((n = index_gaps_of(c, &at, gaps)))
        TRY(index_writer_gaps(w, gaps, n));
    return RC_OK;
}

static enum rc write_block(struct step *s, struct index_writer *w)
{
    const struct index_columns *c = &s->columns;
    struct index_head head = s->table.head;
    if (c->n_emails) {
        w->block = (struct index_block){.id = head.next_block++,
                                        .first = c->emails[0],
                                        .last = c->emails[c->n_emails - 1],
                                        .columns = (uint32_t)c->n,
                                        .emails = (uint32_t)c->n_emails};
        index_block_shape(&w->block);
        TRY(write_slices(w, c));
        TRY(index_writer_places(w, str_from(c->places, c->n)));
        TRY(index_writer_places_end(w));
        TRY(write_gaps(w, c));
        TRY(index_writer_block(w, &w->block));
    }
    head.next = s->next;
    head.emails += c->n_emails;
    TRY(index_writer_head(w, &head));
    return index_writer_end(w);
}

static enum rc write(struct step *s)
{
    struct index_writer *w = mem_zero(sizeof *w);
    index_writer_begin(w, s->ix->conf.kv, store_account_id(s->account));
    enum rc rc = write_block(s, w);
    if (rc == RC_OK)
        index_count(s->ix, s->columns.n_emails, w->bytes);
    index_writer_give_up(w);
    free(w);
    return rc;
}

/* --- a step ----------------------------------------------------------------------------------- */

static enum rc merge(struct step *s, bool *out_more)
{
    uint64_t bytes = 0;
    enum rc rc = index_merge(s->ix->conf.kv, store_account_id(s->account), &s->table, s->stop,
                             &bytes, out_more);
    if (rc == RC_OK)
        index_count(s->ix, 0, bytes);
    if (rc == RC_CORRUPT) /* a row that cannot be read: all of them are made again */
        rc = index_wipe(s->ix, store_account_id(s->account), s->table.head.next_block + 1);
    return rc;
}

static enum rc step(struct step *s, bool *out_more)
{
    TRY(load(s));
    uint64_t end = store_emails_end(s->account);
    s->next = s->table.head.next;
    TRY(merge(s, out_more));
    if (*out_more || s->next >= end)
        return RC_OK;
    TRY(collect(s));
    if (s->saw_all && s->next < end)
        s->next = end;
    TRY(write(s));
    *out_more = true;
    return RC_OK;
}

enum rc index_step_account(struct index *ix, struct store_account *account, bool *out_more)
{
    struct step s = {.ix = ix, .account = account, .stop = &ix->stop};
    *out_more = false;
    index_columns_init(&s.columns, ix->conf.text_max);
    enum rc rc = step(&s, out_more);
    if (rc == RC_OK)
        store_made_note(account, s.next);
    index_columns_fini(&s.columns);
    index_table_fini(&s.table);
    return rc;
}
