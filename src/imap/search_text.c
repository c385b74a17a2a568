/* Keys that need a message's bytes [RFC3501 6.4.4] [RFC9051 6.4.4]: HEADER, BODY, TEXT; and the
 * summary of one that has none yet.
 *
 * Invariants: a message is read through one window; one that fits is read once and parsed at most
 * once, whatever the number of keys. Nothing here stays with a long message: after `until` the
 * functions return RC_AGAIN and go on where they were.
 *
 * Most messages are ASCII, and plain text or nothing that a decoder would change in a way that
 * matters: those are looked at where they were read, by search_find.c, and never taken apart. What
 * is found and not found is the same as in the text that mime/text.h makes of them. */
#include "imap/search_int.h"

#include "base/clock.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum {
    HEAD = 16 << 10,   /* read first, when the header is wanted */
    FEED = 64 << 10,   /* parsed between two looks at the clock */
    FOLDED = 64 << 10, /* text pulled between two */
    HEADER_MAX = 256 << 10
};

/* --- the keys --------------------------------------------------------------------------------- */

bool imap_search_is_simple(struct str text)
{
    for (size_t i = 0; i < text.n; i++)
        if ((unsigned char)text.p[i] < 0x20 && text.p[i] != '\t')
            return false;
    return imap_is_ascii(text);
}

/* A string without a word is looked for as it is. */
static enum rc prepare_words(struct imap_search_key *key, struct arena *arena)
{
    struct str words[MIME_TERMS];
    key->n_words = mime_terms_split(key->text, words, MIME_TERMS);
    key->is_fuzzy = key->n_words;
    if (!key->is_fuzzy)
        return RC_OK;
    struct str *kept = arena_alloc(arena, key->n_words * sizeof *kept);
    key->terms = arena_alloc(arena, sizeof *key->terms);
    if (!kept || !key->terms)
        return RC_LIMIT;
    memcpy(kept, words, key->n_words * sizeof *kept);
    key->words = kept;
    mime_terms_begin(key->terms, kept, key->n_words);
    return RC_OK;
}

unsigned imap_search_score(const struct imap_search_program *program)
{
    unsigned n = 0, sum = 0;
    for (size_t i = 0; i < program->n_texts; i++) {
        const struct imap_search_key *key = program->texts[i];
        bool counts = key->is_fuzzy && key->answer == IMAP_SEARCH_YES;
        n += counts;
        sum += counts ? key->score : 0;
    }
    return n ? sum / n : 100; /* nothing was left to be fuzzy about */
}

bool imap_search_words(struct imap_search_key *key, struct str text)
{
    mime_terms_again(key->terms);
    mime_terms_feed(key->terms, text);
    bool is_hit = mime_terms_end(key->terms);
    key->score = is_hit ? mime_terms_score(key->terms) : 0;
    return is_hit;
}

static enum rc prepare(struct imap_search_text *t, struct imap_search_key *key, struct arena *arena)
{
    if (key->is_fuzzy)
        TRY(prepare_words(key, arena));
    imap_needle_init(&key->needle, key->text);
    key->is_ascii = imap_is_ascii(key->text);
    key->is_simple = imap_search_is_simple(key->text);
    if (key->kind == IMAP_SEARCH_SENT)
        t->fields |= 1u << IMAP_SEARCH_DATE;
    if (key->kind == IMAP_SEARCH_ENVELOPE)
        t->fields |= 1u << key->field;
    t->has_header = t->has_header || key->kind == IMAP_SEARCH_HEADER;
    t->has_body = t->has_body || key->kind == IMAP_SEARCH_BODY;
    t->has_text = t->has_text || key->kind == IMAP_SEARCH_TEXT;
    if ((key->kind != IMAP_SEARCH_BODY && key->kind != IMAP_SEARCH_TEXT) || key->is_fuzzy)
        return RC_OK;
    key->match = arena_alloc(arena, sizeof *key->match);
    return key->match ? mime_match_begin(key->match, key->text) : RC_LIMIT;
}

enum rc imap_search_text_init(struct imap_search_text *t, struct imap_search_program *program,
                              const struct mime_charsets *charsets, struct arena *arena)
{
    *t = (struct imap_search_text){.program = program, .charsets = charsets};
    for (size_t i = 0; i < program->n_texts; i++)
        TRY(prepare(t, program->texts[i], arena));
    return RC_OK;
}

void imap_search_close(struct imap_search_text *t)
{
    if (t->is_pulling)
        mime_text_fini(&t->text);
    if (t->is_parsing)
        mime_fini(&t->parser);
    if (t->has_tree)
        mime_tree_fini(&t->tree);
    if (t->message)
        store_message_close(&t->message);
    t->is_pulling = t->is_parsing = t->has_tree = t->is_all = t->keeps = false;
    t->window_n = 0;
    t->fed = 0;
}

void imap_search_text_fini(struct imap_search_text *t)
{
    imap_search_close(t);
    buf_fini(&t->value);
    buf_fini(&t->folded);
    free(t->window);
    t->window = NULL;
}

void imap_search_rest(struct imap_search_text *t)
{
    if (t->message)
        return;
    free(t->window);
    t->window = NULL;
    t->window_size = 0;
}

void imap_search_next(struct imap_search_text *t, uint32_t uid)
{
    imap_search_close(t);
    t->uid = uid;
    for (size_t i = 0; i < t->program->n_texts; i++)
        t->program->texts[i]->answer = IMAP_SEARCH_UNKNOWN;
}

void imap_search_open(struct imap_search_text *t, struct store_message **message)
{
    t->message = *message;
    *message = NULL;
    t->size = store_message_size(t->message);
}

/* --- bytes ------------------------------------------------------------------------------------ */

/* At least n bytes from `at`, or up to the end of the message, in the window. */
static enum rc look(struct imap_search_text *t, uint64_t at, size_t n, struct str *out)
{
    if (n > t->size - at)
        n = (size_t)(t->size - at);
    uint64_t end = t->window_at + t->window_n;
    if (!n) {
        *out = STR("");
        return RC_OK;
    }
    if (at < t->window_at || at + n > end || !t->window_n) {
        if (t->window_size < n) {
            free(t->window);
            t->window = mem_alloc(n);
            t->window_size = n;
        }
        t->window_n = 0;
        TRY(store_message_read(t->message, at, t->window, n, 0, &t->window_n));
        t->window_at = at;
        if (t->window_n < n)
            return RC_CORRUPT;
        end = at + n;
    }
    *out = str_from(t->window + (at - t->window_at), (size_t)(end - at));
    return RC_OK;
}

/* The whole message, when it fits. */
static enum rc look_at_all(struct imap_search_text *t, struct str *out)
{
    if (t->size > IMAP_SEARCH_WINDOW)
        return RC_LIMIT;
    return look(t, 0, (size_t)t->size, out);
}

/* Takes the fields off; what is left of `message` is the body. */
static struct str skip_header(struct str message)
{
    struct mime_field field;
    struct str rest = message;
    while (mime_header_next(&rest, &field))
        ;
    if (str_starts(rest, STR("\r\n")))
        return str_skip(rest, 2);
    return str_starts(rest, STR("\n")) ? str_skip(rest, 1) : rest;
}

/* --- headers ---------------------------------------------------------------------------------- */

static void answer_field(struct imap_search_text *t, const struct mime_field *field)
{
    for (size_t i = 0; i < t->program->n_texts; i++) {
        struct imap_search_key *key = t->program->texts[i];
        if (key->kind == IMAP_SEARCH_HEADER && key->answer == IMAP_SEARCH_NO &&
            str_ieq(key->name, field->name) && imap_search_value(t, key, field->value))
            key->answer = IMAP_SEARCH_YES;
    }
}

enum rc imap_search_header(struct imap_search_text *t)
{
    struct mime_field field;
    struct str bytes, rest;
    bool reads_all = (t->has_body || t->has_text) && t->size <= IMAP_SEARCH_WINDOW;
    size_t n = reads_all ? IMAP_SEARCH_WINDOW : HEAD;
    TRY(look(t, 0, n, &bytes));
    rest = skip_header(bytes);
    bool is_cut = !rest.n || !memchr(rest.p, '\n', rest.n);
    if (is_cut && bytes.n < t->size)
        TRY(look(t, 0, HEADER_MAX, &bytes));
    for (size_t i = 0; i < t->program->n_texts; i++)
        if (t->program->texts[i]->kind == IMAP_SEARCH_HEADER)
            t->program->texts[i]->answer = IMAP_SEARCH_NO;
    while (mime_header_next(&bytes, &field))
        answer_field(t, &field);
    return RC_OK;
}

/* --- messages that need no decoding ----------------------------------------------------------- */

static bool is_plain_charset(struct str charset)
{
    return !charset.n || str_ieq(charset, STR("us-ascii")) || str_ieq(charset, STR("utf-8")) ||
           str_istarts(charset, STR("iso-8859-")) || str_istarts(charset, STR("windows-125"));
}

static bool is_plain_type(struct str value)
{
    struct mime_type type;
    struct mime_param param;
    if (mime_type_read(value, &type) != RC_OK || !str_ieq(type.type, STR("text")))
        return false;
    while (mime_param_next(&type.params, &param))
        if (str_ieq(param.name, STR("charset")) && !is_plain_charset(param.value))
            return false;
    return true;
}

static bool is_plain_field(const struct mime_field *field)
{
    struct str word, params;
    enum mime_encoding encoding;
    if (str_ieq(field->name, STR("Content-Type")))
        return is_plain_type(field->value);
    if (!str_ieq(field->name, STR("Content-Transfer-Encoding")))
        return true;
    return mime_word_read(field->value, &word, &params) == RC_OK &&
           mime_encoding_read(word, &encoding) == RC_OK && encoding == MIME_IDENTITY;
}

static bool is_mbox_line(struct str s)
{
    return str_starts(s, STR("From ")) || str_starts(s, STR(">From "));
}

bool imap_search_is_plain(struct str message, struct str *out_header, struct str *out_body)
{
    struct mime_field field;
    struct str rest = message;
    uint32_t left = mime_limits_default.header_fields;
    if (!imap_is_ascii(message))
        return false;
    while (!is_mbox_line(rest) && mime_header_next(&rest, &field)) {
        if (!left--)
            return false;
        if (ascii_lower(field.name.p[0]) != 'c') /* no name is empty */
            continue;
        if (field.whole.n > mime_limits_default.field_size || !is_plain_field(&field))
            return false;
    }
    size_t n = str_starts(rest, STR("\r\n")) ? 2 : str_starts(rest, STR("\n"));
    *out_header = str_head(message, message.n - rest.n);
    *out_body = str_skip(rest, n);
    if (is_mbox_line(rest))
        return false;
    return !imap_has_words(*out_header);
}

/* Unfolding changes white space, names have a colon behind them: without both the header is as good
 * as its text. Otherwise its longest part without must be there. */
static enum imap_search_answer find_in_header(const struct imap_search_key *key, struct str header)
{
    struct imap_needle needle;
    struct str longest = {0};
    size_t from = 0;
    for (size_t i = 0; i <= key->text.n; i++) {
        if (i < key->text.n && !strchr(" \t:", key->text.p[i]))
            continue;
        if (i - from > longest.n)
            longest = str_sub(key->text, from, i - from);
        from = i + 1;
    }
    if (longest.n == key->text.n)
        return imap_needle_find(&key->needle, header) ? IMAP_SEARCH_YES : IMAP_SEARCH_NO;
    if (!longest.n)
        return IMAP_SEARCH_UNKNOWN;
    imap_needle_init(&needle, longest);
    return imap_needle_find(&needle, header) ? IMAP_SEARCH_UNKNOWN : IMAP_SEARCH_NO;
}

/* The words of ASCII are where they stand. */
static enum imap_search_answer find_words(const struct imap_search_key *key, struct str header,
                                          struct str body)
{
    struct mime_terms *m = key->terms;
    mime_terms_again(m);
    if (key->kind == IMAP_SEARCH_TEXT)
        mime_terms_feed(m, header);
    mime_terms_feed(m, body);
    return mime_terms_end(m) ? IMAP_SEARCH_YES : IMAP_SEARCH_NO;
}

enum imap_search_answer imap_search_plainly(const struct imap_search_key *key, struct str header,
                                            struct str body)
{
    if (key->is_fuzzy)
        return find_words(key, header, body);
    if (imap_needle_find(&key->needle, body))
        return IMAP_SEARCH_YES;
    return key->kind == IMAP_SEARCH_TEXT ? find_in_header(key, header) : IMAP_SEARCH_NO;
}

static bool is_of_body(const struct imap_search_key *key)
{
    return key->kind == IMAP_SEARCH_BODY || key->kind == IMAP_SEARCH_TEXT;
}

/* Whether every key could be answered so. */
static enum rc answer_plainly(struct imap_search_text *t, bool *out_is_done)
{
    struct str message, header, body;
    *out_is_done = false;
    for (size_t i = 0; i < t->program->n_texts; i++)
        if (is_of_body(t->program->texts[i]) && !t->program->texts[i]->is_simple &&
            !t->program->texts[i]->is_fuzzy)
            return RC_OK;
    enum rc rc = look_at_all(t, &message);
    if (rc != RC_OK)
        return rc == RC_LIMIT ? RC_OK : rc;
    if (!imap_search_is_plain(message, &header, &body))
        return RC_OK;
    *out_is_done = true;
    for (size_t i = 0; i < t->program->n_texts; i++) {
        struct imap_search_key *key = t->program->texts[i];
        if (!is_of_body(key))
            continue;
        key->answer = imap_search_plainly(key, header, body);
        if (key->is_fuzzy)
            key->score = mime_terms_score(key->terms);
        *out_is_done = *out_is_done && key->answer != IMAP_SEARCH_UNKNOWN;
    }
    return RC_OK;
}

/* --- all others ------------------------------------------------------------------------------- */

static bool is_over(uint64_t until)
{
    return clock_mono(&clock_system) >= until;
}

static enum rc parse(struct imap_search_text *t, uint64_t until)
{
    struct str bytes;
    if (t->has_tree)
        return RC_OK;
    if (!t->is_parsing) {
        mime_init(&t->parser, NULL);
        if (t->keeps)
            mime_keep(&t->parser);
        t->is_parsing = true;
    }
    while (t->fed < t->size) {
        bool is_small = t->size <= IMAP_SEARCH_WINDOW;
        TRY(look(t, is_small ? 0 : t->fed, is_small ? (size_t)t->size : FEED, &bytes));
        bytes = str_head(is_small ? str_skip(bytes, (size_t)t->fed) : bytes, FEED);
        mime_feed(&t->parser, bytes);
        t->fed += bytes.n;
        if (t->fed < t->size && is_over(until))
            return RC_AGAIN;
    }
    mime_finish(&t->parser, &t->tree);
    mime_fini(&t->parser);
    t->is_parsing = false;
    t->has_tree = true;
    return RC_OK;
}

enum rc imap_search_summary(struct imap_search_text *t, uint64_t until, struct buf *out)
{
    t->keeps = true;
    TRY(parse(t, until));
    return mime_summary(&t->tree, out);
}

/* Which keys look at the text that is pulled. */
static bool is_asked(const struct imap_search_text *t, const struct imap_search_key *key)
{
    return key->kind == (t->is_all ? IMAP_SEARCH_TEXT : IMAP_SEARCH_BODY) &&
           key->answer == IMAP_SEARCH_UNKNOWN;
}

static void match_again(struct imap_search_key *key)
{
    if (key->is_fuzzy)
        mime_terms_again(key->terms);
    else
        mime_match_again(key->match);
}

/* Whether it is there, and nothing more is to be found out. */
static bool match(const struct imap_search_text *t, struct imap_search_key *key, struct str piece)
{
    if (!key->is_fuzzy)
        return mime_match(key->match, piece);
    return mime_terms_feed(key->terms, piece) && !t->program->wants_scores;
}

static bool match_end(struct imap_search_key *key)
{
    if (!key->is_fuzzy || !mime_terms_end(key->terms))
        return false;
    key->score = mime_terms_score(key->terms);
    return true;
}

static void begin_pull(struct imap_search_text *t)
{
    mime_text_init(&t->text, &t->tree, t->charsets, t->is_all ? MIME_TEXT_ALL : MIME_TEXT_BODY);
    t->is_pulling = true;
    for (size_t i = 0; i < t->program->n_texts; i++)
        if (is_asked(t, t->program->texts[i]))
            match_again(t->program->texts[i]);
}

/* False: all that is asked has been found. */
static bool match_piece(struct imap_search_text *t)
{
    bool is_asking = false;
    for (size_t i = 0; i < t->program->n_texts; i++) {
        struct imap_search_key *key = t->program->texts[i];
        if (!is_asked(t, key))
            continue;
        if (match(t, key, buf_str(&t->folded)))
            key->answer = IMAP_SEARCH_YES;
        else
            is_asking = true;
    }
    return is_asking;
}

static void end_pull(struct imap_search_text *t)
{
    for (size_t i = 0; i < t->program->n_texts; i++)
        if (is_asked(t, t->program->texts[i]))
            t->program->texts[i]->answer =
                match_end(t->program->texts[i]) ? IMAP_SEARCH_YES : IMAP_SEARCH_NO;
    mime_text_fini(&t->text);
    t->is_pulling = false;
}

static enum rc next_window(struct imap_search_text *t)
{
    struct str bytes;
    if (t->size <= IMAP_SEARCH_WINDOW)
        return look(t, 0, (size_t)t->size, &bytes);
    size_t n = t->text.wanted > FEED ? t->text.wanted : FEED;
    return look(t, t->text.offset, n, &bytes);
}

/* One of the two texts: of the body, or of all. */
static enum rc pull(struct imap_search_text *t, uint64_t until)
{
    enum rc rc = RC_OK;
    if (!t->is_pulling)
        begin_pull(t);
    t->folded.cap = FOLDED;
    while (rc != RC_EOF) {
        buf_clear(&t->folded);
        rc = mime_text_next(&t->text, str_from(t->window, t->window_n), t->window_at, &t->folded);
        if (!match_piece(t))
            break;
        if (rc == RC_AGAIN)
            TRY(next_window(t));
        else if (rc != RC_OK && rc != RC_EOF)
            return rc;
        if (rc != RC_EOF && is_over(until))
            return RC_AGAIN;
    }
    end_pull(t);
    return RC_OK;
}

enum rc imap_search_body(struct imap_search_text *t, uint64_t until)
{
    bool is_done = false;
    if (!t->is_parsing && !t->is_pulling && !t->is_all)
        TRY(answer_plainly(t, &is_done));
    if (is_done)
        return RC_OK;
    TRY(parse(t, until));
    if (!t->is_all && t->has_body)
        TRY(pull(t, until));
    t->is_all = true;
    return t->has_text ? pull(t, until) : RC_OK;
}
