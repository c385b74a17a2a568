/* SEARCH and UID SEARCH [RFC3501 6.4.4, 6.4.8]: a straight scan, cheapest first.
 *
 * 1. Rows decide what they can, on the loop, in pages of a tenth of a millisecond.
 * 2. What is left is decided by summaries, a thousand read at once, and then by the messages
 *    themselves, each opened at most once: on the heavy lane, a few milliseconds at a time, so that
 *    others have their turn and an end of the connection is seen.
 * 3. The answer is one line, written in pages.
 *
 * Invariants: the view does not move while the command runs, so indices stay what they are. What is
 * held is two bits a message, a page of summaries and a window of one message. A message that
 * cannot be read is no hit and the command ends with NO; one that has gone for good meanwhile is no
 * hit. */
#include "imap/search_int.h"

#include "base/clock.h"
#include "base/mem.h"

enum {
    PAGE = STORE_SUMMARIES,
    LOOK_EVERY = 32, /* messages between two looks at the clock, when summaries decide */
    TEXTS = 4 << 20  /* bytes of summaries held at once */
};

static const uint64_t page_ns = 100 * 1000, /* net calls 32 times before it looks at others */
    turn_ns = 5 * NS_PER_MS,                /* on the lane */
    life_ns = 10 * NS_PER_SEC,              /* between two signs of life */
    leaving_ns = NS_PER_SEC / 5; /* the same, when the peer may be gone: sending finds out */

/* The page of those that rows did not decide. */
struct page {
    size_t n, next; /* the message at hand is `next` */
    uint32_t indices[PAGE];
    uint64_t emails[PAGE];
    struct str summaries[PAGE];
};

struct search {
    struct imap_search_program program;
    struct imap_search_text text;
    size_t count, at;       /* rows; the first one not looked at */
    uint64_t *hits, *maybe; /* one bit a row */
    uint64_t said;          /* when the client last heard of us */
    bool is_on_lane;
    enum imap_text answer;
    unsigned stage; /* of the message at hand */
    struct page *page;
    struct arena texts; /* its summaries */
};

static uint64_t now(void)
{
    return clock_mono(&clock_system);
}

/* The first set bit from i on, or count. */
static size_t next_bit(const uint64_t *bits, size_t i, size_t count)
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

/* --- the answer ------------------------------------------------------------------------------- */

static void put_hit(struct imap_session *s, struct buf *out, size_t index)
{
    buf_put(out, STR(" "));
    imap_put_u64(out, s->is_uid ? store_root_at(s->view.root, index)->uid : index + 1);
}

static enum net_step put_hits(struct conn *c, struct imap_session *s)
{
    struct search *k = s->job;
    while ((k->at = next_bit(k->hits, k->at, k->count)) < k->count) {
        if (net_out_is_full(c))
            return NET_MORE;
        put_hit(s, net_out(c), k->at++);
    }
    buf_put(net_out(c), STR("\r\n"));
    return imap_finish(c, s, k->answer);
}

/* Also when nothing was found: "* SEARCH" [RFC3501 7.2.5]. */
static enum net_step begin_answer(struct conn *c, struct imap_session *s)
{
    struct search *k = s->job;
    buf_put(net_out(c), STR("* SEARCH"));
    k->at = 0;
    s->go_on = put_hits;
    return put_hits(c, s);
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

static enum rc open_message(struct conn *c, struct imap_session *s, struct search *k)
{
    struct store_message *message;
    if (k->text.message)
        return RC_OK;
    TRY(imap_view_message(c, s, k->page->indices[k->page->next], &message));
    imap_search_open(&k->text, &message);
    return RC_OK;
}

static enum rc answer_envelope(struct conn *c, struct imap_session *s, struct search *k,
                               uint64_t until)
{
    struct str envelope, structure;
    if (mime_summary_read(k->page->summaries[k->page->next], &envelope, &structure)) {
        imap_search_envelope(&k->text, envelope);
        return RC_OK;
    }
    struct buf made = {.cap = MIME_SUMMARY_MAX};
    enum rc rc = open_message(c, s, k);
    if (rc == RC_OK)
        rc = imap_search_summary(&k->text, until, &made);
    if (rc == RC_OK && mime_summary_read(buf_str(&made), &envelope, &structure)) {
        imap_search_envelope(&k->text, envelope);
        (void)store_summary_put(s->account, k->page->emails[k->page->next],
                                buf_str(&made)); /* or next time */
    }
    buf_fini(&made);
    return rc;
}

static enum rc answer_header(struct conn *c, struct imap_session *s, struct search *k,
                             uint64_t until)
{
    (void)until;
    TRY(open_message(c, s, k));
    return imap_search_header(&k->text);
}

static enum rc answer_body(struct conn *c, struct imap_session *s, struct search *k, uint64_t until)
{
    TRY(open_message(c, s, k));
    return imap_search_body(&k->text, until);
}

/* Stage by stage in order of cost, until one has decided. */
static enum rc decide_message(struct conn *c, struct imap_session *s, struct search *k,
                              uint64_t until)
{
    const struct {
        bool is_needed;
        enum rc (*run)(struct conn *c, struct imap_session *s, struct search *k, uint64_t until);
    } stages[] = {{k->text.fields != 0, answer_envelope},
                  {k->text.has_header, answer_header},
                  {k->text.has_body || k->text.has_text, answer_body}};
    size_t index = k->page->indices[k->page->next];
    const struct store_row *row = store_root_at(s->view.root, index);
    for (; k->stage < sizeof stages / sizeof *stages; k->stage++) {
        if (!stages[k->stage].is_needed)
            continue;
        TRY(stages[k->stage].run(c, s, k, until));
        enum imap_search_answer answer = imap_search_row(k->program.all, row, index);
        if (answer == IMAP_SEARCH_YES)
            k->hits[index / 64] |= UINT64_C(1) << (index % 64);
        if (answer != IMAP_SEARCH_UNKNOWN)
            return RC_OK;
    }
    return RC_OK;
}

/* --- pages ------------------------------------------------------------------------------------ */

static void read_summaries(struct imap_session *s, struct search *k)
{
    struct page *p = k->page;
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
static bool take_page(struct imap_session *s, struct search *k)
{
    struct page *p = k->page;
    p->n = p->next = 0;
    while (p->n < PAGE && (k->at = next_bit(k->maybe, k->at, k->count)) < k->count) {
        p->indices[p->n] = (uint32_t)k->at;
        p->emails[p->n++] = store_root_at(s->view.root, k->at++)->email;
    }
    if (p->n && k->text.fields)
        read_summaries(s, k);
    return p->n > 0;
}

static void begin_message(struct search *k)
{
    imap_search_next(&k->text);
    k->stage = 0;
}

/* Whatever happened to this one, the others are looked at. */
static void end_message(struct conn *c, struct imap_session *s, struct search *k, enum rc rc)
{
    if (rc != RC_OK && rc != RC_NOTFOUND) {
        log_failure(c, s, k->page->emails[k->page->next], rc);
        if (k->answer == IMAP_DONE)
            k->answer = imap_text_of_rc(rc);
    }
    k->page->next++;
    begin_message(k);
}

/* --- turns ------------------------------------------------------------------------------------ */

/* Only before the answer has begun. */
static void give_sign_of_life(struct conn *c, struct search *k)
{
    uint64_t pause = net_is_leaving(c) ? leaving_ns : life_ns;
    if (now() - k->said < pause)
        return;
    buf_put(net_out(c), STR("* OK still searching\r\n"));
    k->said = now();
}

static enum net_step look_closer(struct conn *c, struct imap_session *s)
{
    struct search *k = s->job;
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
    give_sign_of_life(c, k);
    s->has_progress = true;
    while (k->page->next < k->page->n || take_page(s, k)) {
        bool was_read = k->text.message;
        enum rc rc = decide_message(c, s, k, until);
        if (rc == RC_AGAIN)
            return NET_HEAVY;
        was_read = was_read || k->text.message;
        end_message(c, s, k, rc);
        bool is_time_to_look = was_read || k->page->next % LOOK_EVERY == 0;
        if (is_time_to_look && (net_pending(c) || now() >= until))
            return NET_HEAVY;
    }
    return begin_answer(c, s);
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
    struct search *k = s->job;
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
    if (n)
        return NET_MORE;
    k->at = 0;
    if (k->program.n_texts && next_bit(k->maybe, 0, k->count) < k->count) {
        s->go_on = look_closer;
        return look_closer(c, s);
    }
    return begin_answer(c, s);
}

/* --- the command ------------------------------------------------------------------------------ */

static void free_job(struct imap_session *s)
{
    struct search *k = s->job;
    imap_search_text_fini(&k->text);
    arena_fini(&k->texts);
}

static uint64_t *new_bits(struct imap_session *s, size_t count)
{
    size_t words = count / 64 + 2;
    return arena_zero(&s->arena, words * sizeof(uint64_t));
}

static enum rc begin(struct imap_session *s, struct search *k)
{
    const struct mime_charsets *charsets = s->imap->conf.charsets;
    struct arena *arena = &s->arena;
    const struct str *names = imap_keywords(s);
    TRY(names ? RC_OK : RC_LIMIT);
    TRY(imap_search_settle(k->program.all, names, s->view.root, arena));
    k->count = store_root_count(s->view.root);
    k->hits = new_bits(s, k->count);
    TRY(k->hits ? RC_OK : RC_LIMIT);
    if (!k->program.n_texts)
        return RC_OK;
    TRY(imap_search_text_init(&k->text, &k->program, charsets, arena));
    k->page = arena_zero(arena, sizeof *k->page);
    k->maybe = new_bits(s, k->count);
    k->texts.cap = TEXTS;
    begin_message(k);
    return k->page && k->maybe ? RC_OK : RC_LIMIT;
}

enum net_step imap_search(struct conn *c, struct imap_session *s, struct imap_parse *p)
{
    struct search *k = arena_zero(&s->arena, sizeof *k);
    if (!k || !imap_take_search(p, &k->program))
        return imap_finish_syntax(c, s, p);
    enum rc rc = imap_search_fold(&k->program, s->imap->conf.charsets, &s->arena);
    if (rc == RC_NOTFOUND)
        return imap_finish(c, s, IMAP_BAD_CHARSET);
    s->job = k;
    s->job_fini = free_job;
    k->answer = IMAP_DONE;
    k->said = now();
    if (rc == RC_OK)
        rc = begin(s, k);
    if (rc == RC_NOTFOUND)
        return imap_finish(c, s, IMAP_NO_MESSAGE);
    if (rc != RC_OK)
        return imap_finish_rc(c, s, rc);
    s->go_on = look_at_rows;
    return look_at_rows(c, s);
}
