/* Which messages of the selected mailbox a program finds [RFC3501 6.4.4] [RFC9051 6.4.4]: a
 * straight scan, cheapest first, for SEARCH, SORT and THREAD.
 *
 * 1. Rows decide what they can, on the loop, in pages of a tenth of a millisecond; once more when
 *    the index has said which of those that are left may be hits.
 * 2. What is left is decided by summaries, a thousand read at once, and then by the messages
 *    themselves, each opened at most once: on the heavy lane, a few milliseconds at a time, so that
 *    others have their turn and an end of the connection is seen.
 *
 * Invariants: the view does not move while the command runs, so indices stay what they are. What is
 * held is two bits a message, a page of summaries and a window of one message. A message that
 * cannot be read is no hit and the command ends with NO; one that has gone for good meanwhile is no
 * hit. */
#include "imap/search_int.h"

#include "base/clock.h"
#include "base/mem.h"

#include <string.h>

enum {
    PAGE = STORE_SUMMARIES,
    AHEAD = 32,     /* messages opened together, when all of a page have to be */
    TEXTS = 1 << 20 /* bytes of summaries held at once */
};

static const uint64_t page_ns = 100 * 1000, /* net calls 32 times before it looks at others */
    turn_ns = 5 * NS_PER_MS;                /* on the lane */
/* Between two signs of life, when the peer may be gone: sending finds out. */
static const uint64_t leaving_ns = NS_PER_SEC / 5;

/* The page of those that rows did not decide. */
struct imap_search_page {
    size_t n, next; /* the message at hand is `next` */
    uint32_t indices[PAGE];
    const struct store_row *rows[PAGE];
    uint64_t emails[PAGE];
    struct str summaries[PAGE];
    size_t ahead_from, ahead_to; /* those that were opened before their turn */
    struct store_message *ahead[AHEAD];
};

static uint64_t now(void)
{
    return clock_mono(&clock_system);
}

size_t imap_search_next_bit(const uint64_t *bits, size_t i, size_t count)
{
    while (i < count) {
        uint64_t word = bits[i / 64] >> (i % 64);
        if (word) {
            i += (size_t)__builtin_ctzll(word);
            return i < count ? i : count;
        }
        i += 64 - i % 64;
    }
    return count;
}

/* --- messages --------------------------------------------------------------------------------- */

static void log_failure(struct conn *c, struct imap_session *s, uint64_t email, enum rc rc)
{
    struct log_line l;
    net_log(c, &l, LOG_WARNING, "search-failed");
    log_u64(&l, "account", store_account_id(s->account));
    log_u64(&l, "email", email);
    log_text(&l, "cause", rc_name(rc));
    log_end(&l);
}

static void close_ahead(struct imap_search_page *p)
{
    for (size_t i = 0; i < p->ahead_to - p->ahead_from; i++)
        if (p->ahead[i])
            store_message_close(&p->ahead[i]);
    p->ahead_from = p->ahead_to = 0;
}

static void open_ahead(struct imap_session *s, struct imap_search_page *p)
{
    size_t n = p->n - p->next < AHEAD ? p->n - p->next : AHEAD;
    close_ahead(p);
    store_reader_messages(s->view.reader, &p->indices[p->next], n, p->ahead);
    p->ahead_from = p->next;
    p->ahead_to = p->next + n;
}

static enum rc open_message(struct conn *c, struct imap_session *s, struct imap_search *k)
{
    struct imap_search_page *p = k->page;
    struct store_message *message = NULL;
    if (k->text.message)
        return RC_OK;
    if (!k->text.fields && !k->needs_summaries && p->next >= p->ahead_to)
        open_ahead(s, p);
    if (p->next >= p->ahead_from && p->next < p->ahead_to) {
        message = p->ahead[p->next - p->ahead_from];
        p->ahead[p->next - p->ahead_from] = NULL;
    }
    if (!message)
        TRY(imap_view_message(c, s, p->indices[p->next], &message));
    imap_search_open(&k->text, &message);
    return RC_OK;
}

size_t imap_search_index(const struct imap_search *k)
{
    return k->page->indices[k->page->next];
}

enum rc imap_search_summary_of(struct conn *c, struct imap_session *s, struct imap_search *k,
                               uint64_t until, struct str *out)
{
    struct str envelope, structure, ids;
    *out = k->page->summaries[k->page->next];
    if (mime_summary_read(*out, &envelope, &structure) &&
        (!k->needs_ids || mime_summary_thread(*out, &ids)))
        return RC_OK;
    struct buf *made = &k->made;
    *made = (struct buf){.cap = MIME_SUMMARY_MAX};
    TRY(open_message(c, s, k));
    TRY(imap_search_summary(&k->text, until, made));
    (void)store_summary_put(s->account, k->page->emails[k->page->next],
                            buf_str(made)); /* or next time */
    *out = buf_str(made);
    return RC_OK;
}

static enum rc answer_envelope(struct conn *c, struct imap_session *s, struct imap_search *k,
                               uint64_t until)
{
    struct str summary, envelope, structure;
    if (imap_search_from_columns(&k->text))
        return RC_OK;
    TRY(imap_search_summary_of(c, s, k, until, &summary));
    if (mime_summary_read(summary, &envelope, &structure))
        imap_search_envelope(&k->text, envelope);
    return RC_OK;
}

static enum rc answer_header(struct conn *c, struct imap_session *s, struct imap_search *k,
                             uint64_t until)
{
    (void)until;
    TRY(open_message(c, s, k));
    return imap_search_header(&k->text);
}

static enum rc answer_body(struct conn *c, struct imap_session *s, struct imap_search *k,
                           uint64_t until)
{
    TRY(open_message(c, s, k));
    return imap_search_body(&k->text, until);
}

/* Stage by stage in order of cost, until one has decided. */
static enum rc decide_message(struct conn *c, struct imap_session *s, struct imap_search *k,
                              uint64_t until)
{
    const struct {
        bool is_needed;
        enum rc (*run)(struct conn *c, struct imap_session *s, struct imap_search *k,
                       uint64_t until);
    } stages[] = {{k->text.fields != 0, answer_envelope},
                  {k->text.has_header, answer_header},
                  {k->text.has_body || k->text.has_text, answer_body}};
    size_t index = k->page->indices[k->page->next];
    const struct store_row *row = k->page->rows[k->page->next];
    for (; k->stage < sizeof stages / sizeof *stages; k->stage++) {
        if (!stages[k->stage].is_needed)
            continue;
        TRY(stages[k->stage].run(c, s, k, until));
        enum imap_search_answer answer = imap_search_row(k->program.all, row, index);
        if (answer == IMAP_SEARCH_YES) {
            k->hits[index / 64] |= UINT64_C(1) << (index % 64);
            if (k->scores)
                k->scores[index] = (unsigned char)imap_search_score(&k->program);
            k->is_over = k->wants_first;
        }
        if (answer != IMAP_SEARCH_UNKNOWN)
            return RC_OK;
    }
    return RC_OK;
}

/* --- columns ---------------------------------------------------------------------------------- */

static struct imap_column_key column_key(struct imap_session *s, enum imap_search_field field)
{
    return (struct imap_column_key){store_account_id(s->account), s->view.mailbox,
                                    store_root_mailbox(s->view.root)->uidvalidity, field};
}

/* Whether rows left all from `from` on undecided. */
static bool are_all_open(const struct imap_search *k, size_t from)
{
    size_t n = 0;
    for (size_t i = from; i < k->count; i = (i / 64 + 1) * 64) {
        uint64_t bits = k->maybe[i / 64] >> (i % 64);
        n += (size_t)__builtin_popcountll(bits);
    }
    return n == k->count - from;
}

/* What is known of one field; what is not will be learned when all of it comes by. */
static void begin_column(struct imap_session *s, struct imap_search *k,
                         enum imap_search_field field)
{
    struct imap_column_key key = column_key(s, field);
    struct imap_column *column = imap_column_take(&s->imap->columns, &key);
    struct imap_column_maker *m = &k->text.known[field].maker;
    if (column && column->n > 2 * k->count + 1000) /* mostly of messages that are gone */
        imap_column_release(&s->imap->columns, &column);
    k->text.known[field].column = column;
    *m = (struct imap_column_maker){.max = s->imap->columns.max / 2};
    m->after = column && column->n ? column->uids[column->n - 1] : 0;
    size_t from = m->after ? store_root_find(s->view.root, m->after + 1) : 0;
    m->is_off = from >= k->count || !are_all_open(k, from);
    if (!m->is_off && !k->is_learning)
        k->is_learning = imap_columns_begin_learning(&s->imap->columns);
    m->is_off = m->is_off || !k->is_learning;
}

static void begin_columns(struct imap_session *s, struct imap_search *k)
{
    bool is_off = false;
    for (size_t i = 0; i < k->program.n_texts; i++) {
        const struct imap_search_key *key = k->program.texts[i];
        if (key->kind == IMAP_SEARCH_ENVELOPE && !key->text.n)
            is_off = true; /* whether a field is there is not what columns know */
    }
    for (unsigned field = 0; field < IMAP_SEARCH_FIELDS; field++) {
        k->text.known[field].maker.is_off = true;
        if (!is_off && k->text.fields >> field & 1)
            begin_column(s, k, field);
    }
}

static void publish(struct imap_session *s, struct imap_search *k, enum imap_search_field field)
{
    struct imap_column_key key = column_key(s, field);
    imap_column_publish(&s->imap->columns, &key, k->text.known[field].column,
                        &k->text.known[field].maker);
}

static void end_columns(struct imap_session *s, struct imap_search *k, bool is_whole)
{
    for (unsigned field = 0; field < IMAP_SEARCH_FIELDS; field++) {
        if (is_whole)
            publish(s, k, field);
        imap_column_maker_fini(&k->text.known[field].maker);
        imap_column_release(&s->imap->columns, &k->text.known[field].column);
    }
    if (k->is_learning)
        imap_columns_end_learning(&s->imap->columns);
    k->is_learning = false;
}

static bool is_in_columns(struct imap_search_text *t, uint32_t uid)
{
    struct str text;
    for (unsigned field = 0; field < IMAP_SEARCH_FIELDS; field++) {
        if (t->fields >> field & 1 &&
            !imap_column_find(t->known[field].column, uid, &t->known[field].ahead, &text))
            return false;
    }
    return true;
}

static void stop_learning(struct imap_search_text *t)
{
    for (unsigned field = 0; field < IMAP_SEARCH_FIELDS; field++)
        t->known[field].maker.is_off = true;
}

/* --- pages ------------------------------------------------------------------------------------ */

static void read_summaries(struct imap_session *s, struct imap_search *k)
{
    struct imap_search_page *p = k->page;
    arena_reset(&k->texts);
    enum rc rc = store_summaries(s->account, p->emails, p->n, 0, &k->texts, p->summaries);
    while (rc == RC_LIMIT && p->n > 1) { /* long ones: fewer at once */
        p->n /= 2;
        k->at = p->indices[p->n];
        arena_reset(&k->texts);
        rc = store_summaries(s->account, p->emails, p->n, 0, &k->texts, p->summaries);
    }
    for (size_t i = 0; rc != RC_OK && i < p->n; i++)
        p->summaries[i] = (struct str){0}; /* they are made anew */
}

/* False: there are no more. */
static bool take_page(struct imap_session *s, struct imap_search *k)
{
    struct imap_search_page *p = k->page;
    bool is_known = true;
    close_ahead(p);
    p->n = p->next = 0;
    while (p->n < PAGE && (k->at = imap_search_next_bit(k->maybe, k->at, k->count)) < k->count) {
        const struct store_row *row = store_root_at(s->view.root, k->at);
        p->indices[p->n] = (uint32_t)k->at++;
        p->rows[p->n] = row;
        p->emails[p->n] = row->email;
        p->summaries[p->n++] = (struct str){0};
        is_known = is_known && is_in_columns(&k->text, row->uid);
    }
    if (p->n && (k->needs_summaries || (k->text.fields && !is_known)))
        read_summaries(s, k);
    return p->n > 0;
}

/* Whatever happened to this one, the others are looked at. */
static void end_message(struct conn *c, struct imap_session *s, struct imap_search *k, enum rc rc)
{
    if (rc != RC_OK && rc != RC_NOTFOUND) {
        log_failure(c, s, k->page->emails[k->page->next], rc);
        if (k->answer == IMAP_DONE)
            k->answer = imap_text_of_rc(rc);
    }
    if (rc != RC_OK)
        stop_learning(&k->text);
    imap_search_close(&k->text);
    if (k->made.cap)
        buf_fini(&k->made);
    k->page->next++;
    k->has_begun = false;
}

static void begin_message(struct imap_search *k)
{
    if (k->has_begun)
        return;
    imap_search_next(&k->text, k->page->rows[k->page->next]->uid);
    k->stage = 0;
    k->has_begun = true;
}

/* --- turns ------------------------------------------------------------------------------------ */

/* Only before the answer has begun. */
static void give_sign_of_life(struct conn *c, struct imap_session *s, struct imap_search *k)
{
    const struct imap_search_page *p = k->page;
    uint64_t pause = net_is_leaving(c) ? leaving_ns : s->imap->conf.progress_ms * NS_PER_MS;
    if (now() - k->said < pause)
        return;
    imap_put_progress(c, s, p->next < p->n ? p->indices[p->next] : k->at, k->count);
    k->said = now();
}

/* Many may search at a time, but only whose turn it is holds much memory or files. */
static enum net_step let_others(struct imap_search *k)
{
    close_ahead(k->page);
    imap_search_rest(&k->text);
    if (k->page->next == k->page->n)
        arena_fini(&k->texts);
    return NET_HEAVY;
}

static enum net_step look_closer(struct conn *c, struct imap_session *s)
{
    struct imap_search *k = s->job;
    uint64_t until = now() + turn_ns;
    if (!k->is_on_lane) {
        k->is_on_lane = true;
        return NET_HEAVY;
    }
    if (s->is_draining) {
        s->end = "shutdown";
        imap_bye(c, (struct str){0}, STR("the server is shutting down"));
        return NET_CLOSE;
    }
    give_sign_of_life(c, s, k);
    s->has_progress = true;
    while (!k->is_over && (k->page->next < k->page->n || take_page(s, k))) {
        bool was_read = k->text.message;
        begin_message(k);
        enum rc rc = k->look(c, s, k, until);
        if (rc == RC_AGAIN)
            return let_others(k);
        was_read = was_read || k->text.message;
        end_message(c, s, k, rc);
        if ((was_read || k->page->next == k->page->n) && (net_pending(c) || now() >= until))
            return let_others(k);
    }
    close_ahead(k->page);
    arena_fini(&k->texts);
    return k->looked(c, s);
}

enum net_step imap_search_over(struct conn *c, struct imap_session *s, imap_search_look look,
                               imap_step looked)
{
    struct imap_search *k = s->job;
    k->at = 0;
    k->look = look;
    k->looked = looked;
    k->is_over = false;
    k->page = k->page ? k->page : arena_zero(&s->arena, sizeof *k->page);
    k->texts.cap = TEXTS;
    if (!k->page)
        return imap_finish_rc(c, s, RC_LIMIT);
    k->page->n = k->page->next = 0;
    s->go_on = look_closer;
    return look_closer(c, s);
}

/* --- rows ------------------------------------------------------------------------------------- */

static enum net_step end_texts(struct conn *c, struct imap_session *s)
{
    struct imap_search *k = s->job;
    end_columns(s, k, !k->is_over);
    return k->found(c, s);
}

static enum net_step look_at_rows(struct conn *c, struct imap_session *s);

/* Rows are looked at once more, with what the index says. */
static enum net_step ask_index(struct conn *c, struct imap_session *s)
{
    struct imap_search *k = s->job;
    if (!k->is_on_lane || !imap_search_ask(s, k)) {
        k->is_on_lane = true;
        return NET_HEAVY;
    }
    k->count = store_root_count(s->view.root);
    memset(k->hits, 0, (k->count / 64 + 1) * sizeof *k->hits);
    memset(k->maybe, 0, (k->count / 64 + 1) * sizeof *k->maybe);
    k->at = 0;
    s->go_on = look_at_rows;
    return look_at_rows(c, s);
}

static enum net_step end_rows(struct conn *c, struct imap_session *s)
{
    struct imap_search *k = s->job;
    size_t first = imap_search_next_bit(k->hits, 0, k->count);
    if (k->wants_first && first < k->count) /* only one that comes before it is looked for */
        k->count = first + 1;
    if (!k->program.n_texts || imap_search_next_bit(k->maybe, 0, k->count) == k->count)
        return k->found(c, s);
    if (imap_search_is_asking(s, k)) {
        s->go_on = ask_index;
        return ask_index(c, s);
    }
    begin_columns(s, k);
    return imap_search_over(c, s, decide_message, end_texts);
}

/* At any offset: rows lie in pieces of any length. */
static void put_bits(uint64_t *to, size_t at, const uint64_t *bits, size_t n)
{
    for (size_t i = 0; i * 64 < n; i++) {
        size_t word = at / 64 + i, shift = at % 64;
        to[word] |= bits[i] << shift;
        if (shift)
            to[word + 1] |= bits[i] >> (64 - shift);
    }
}

static enum net_step look_at_rows(struct conn *c, struct imap_session *s)
{
    struct imap_search *k = s->job;
    struct imap_search_bits bits;
    uint64_t until = now() + page_ns;
    const struct store_row *rows;
    size_t n;
    do {
        rows = store_root_rows(s->view.root, k->at, &n);
        n = n < IMAP_SEARCH_ROWS ? n : IMAP_SEARCH_ROWS;
        imap_search_rows(k->program.all, rows, n, k->at, &bits);
        for (size_t w = 0; w < IMAP_SEARCH_ROWS / 64; w++)
            bits.may[w] &= ~bits.yes[w];
        put_bits(k->hits, k->at, bits.yes, n);
        if (k->program.n_texts)
            put_bits(k->maybe, k->at, bits.may, n);
        k->at += n;
    } while (n && now() < until);
    return n ? NET_MORE : end_rows(c, s);
}

/* --- threads ---------------------------------------------------------------------------------- */

static enum rc read_threads(struct conn *c, struct imap_session *s, struct imap_search_key *key)
{
    for (; key; key = key->next) {
        TRY(read_threads(c, s, key->first));
        if (key->kind == IMAP_SEARCH_THREAD && !key->emails && key->from <= key->last)
            TRY(store_reader_thread(s->view.reader, key->from, imap_flags(c), &s->arena,
                                    &key->emails, &key->n_emails));
    }
    return RC_OK;
}

/* The messages of a thread are read where they stand together, once for each key. */
static enum net_step look_up_threads(struct conn *c, struct imap_session *s)
{
    struct imap_search *k = s->job;
    enum rc rc = read_threads(c, s, k->program.all);
    if (rc == RC_AGAIN && !net_can_block(c))
        return NET_SHORT;
    if (rc != RC_OK) { /* nothing is found */
        k->answer = imap_text_of_rc(rc == RC_AGAIN ? RC_TEMP : rc);
        s->go_on = k->found;
        return k->found(c, s);
    }
    s->go_on = look_at_rows;
    return look_at_rows(c, s);
}

/* --- beginning and end ------------------------------------------------------------------------ */

void imap_search_fini(struct imap_session *s, struct imap_search *k)
{
    end_columns(s, k, false);
    imap_asking_fini(k->asking);
    if (k->page)
        close_ahead(k->page);
    imap_search_text_fini(&k->text);
    buf_fini(&k->made);
    arena_fini(&k->texts);
}

uint64_t *imap_search_new_bits(struct imap_session *s, size_t count)
{
    size_t words = count / 64 + 2;
    return arena_zero(&s->arena, words * sizeof(uint64_t));
}

static enum rc begin(struct imap_session *s, struct imap_search *k)
{
    const struct mime_charsets *charsets = s->imap->conf.charsets;
    struct imap_search_scene scene = {.names = imap_keywords(s),
                                      .root = s->view.root,
                                      .now = clock_wall(s->imap->ctx->clock),
                                      .is_open = k->is_open,
                                      .arena = &s->arena};
    TRY(scene.names ? RC_OK : RC_LIMIT);
    TRY(imap_search_settle(k->program.all, &scene));
    k->count = store_root_count(s->view.root);
    k->answer = imap_limit_search(s, k);
    if (k->answer != IMAP_DONE)
        return RC_OK;
    if (k->program.wants_scores) {
        k->scores = arena_alloc(&s->arena, k->count + 1);
        TRY(k->scores ? RC_OK : RC_LIMIT);
        memset(k->scores, 100, k->count + 1);
    }
    k->hits = imap_search_new_bits(s, k->count);
    k->maybe = imap_search_new_bits(s, k->count);
    return k->hits && k->maybe ? imap_search_text_init(&k->text, &k->program, charsets, &s->arena)
                               : RC_LIMIT;
}

enum imap_text imap_search_begin(struct imap_session *s, struct imap_search *k, imap_step found)
{
    if (k->program.has_numbers && s->enabled & IMAP_EN_UIDONLY)
        return IMAP_UID_REQUIRED; /* [RFC9586 3.5] */
    /* While numbers are meant none may move [RFC7162 3.2.10.2]. */
    s->keeps_numbers = k->program.has_numbers && s->enabled & IMAP_EN_QRESYNC;
    enum rc rc = imap_search_fold(&k->program, s->imap->conf.charsets, &s->arena);
    if (rc == RC_NOTFOUND)
        return IMAP_BAD_CHARSET;
    k->answer = IMAP_DONE;
    k->said = now();
    k->found = found;
    if (rc == RC_OK)
        rc = begin(s, k);
    if (rc == RC_NOTFOUND)
        return IMAP_NO_MESSAGE;
    s->go_on = k->program.n_threads ? look_up_threads : look_at_rows;
    return rc == RC_OK ? k->answer : imap_text_of_rc(rc);
}
