/* Keys that an ENVELOPE decides [RFC3501 6.4.4] [RFC9051 6.4.4]: FROM, TO, CC, BCC and SUBJECT look
 * into its fields, SENTBEFORE, SENTON and SENTSINCE at its date.
 *
 * Addresses are looked at as mime/fields.h writes them. Words of RFC 2047 are decoded where there
 * are any; most values are ASCII and are looked at where they are. Pure. */
#include "imap/search_int.h"

#include <string.h>

/* A list of addresses into `value`; false: it is NIL, or no list. */
static bool put_addresses(struct imap_search_text *t, struct str *s, bool is_wanted)
{
    buf_clear(&t->value);
    return mime_addresses_take(s, t->charsets, is_wanted ? &t->value : NULL);
}

static bool take_byte(struct str *s, char c)
{
    if (!s->n || s->p[0] != c)
        return false;
    *s = str_skip(*s, 1);
    return true;
}

static bool is_plain(struct str s)
{
    return imap_is_ascii(s) && !imap_has_words(s);
}

/* --- keys ------------------------------------------------------------------------------------- */

static bool is_found(struct imap_search_key *key, struct str folded)
{
    if (key->is_fuzzy)
        return imap_search_words(key, folded);
    return folded.n && memmem(folded.p, folded.n, key->text.p, key->text.n);
}

/* In text that is decoded. */
static bool is_in(struct imap_search_text *t, struct imap_search_key *key, struct str utf8)
{
    if (!key->text.n)
        return true;
    if (key->is_fuzzy && imap_is_ascii(utf8))
        return imap_search_words(key, utf8);
    if (key->is_ascii && imap_is_ascii(utf8))
        return imap_needle_find(&key->needle, utf8);
    buf_clear(&t->folded);
    t->folded.cap = utf8.n * 12 + 1;
    if (mime_fold(utf8, &t->folded) != RC_OK)
        return false;
    return is_found(key, buf_str(&t->folded));
}

bool imap_search_value(struct imap_search_text *t, struct imap_search_key *key, struct str value)
{
    value = str_trim(value);
    if (!key->text.n)
        return true;
    if (is_plain(value) && !memchr(value.n ? value.p : "", '\n', value.n))
        return key->is_fuzzy ? imap_search_words(key, value)
                             : key->is_ascii && imap_needle_find(&key->needle, value);
    buf_clear(&t->folded);
    t->folded.cap = value.n * 48 + 1000;
    if (mime_text_of_value(value, t->charsets, &t->folded) != RC_OK)
        return false;
    return is_found(key, buf_str(&t->folded));
}

static enum imap_search_answer answer_of(bool is_hit)
{
    return is_hit ? IMAP_SEARCH_YES : IMAP_SEARCH_NO;
}

/* In text that is decoded and folded; the day of a date. */
static bool is_in_folded(struct imap_search_key *key, struct str text)
{
    uint64_t day;
    if (key->kind == IMAP_SEARCH_SENT) {
        if (text.n != sizeof day)
            return false;
        memcpy(&day, text.p, sizeof day);
        return day >= key->from && day <= key->last;
    }
    if (key->is_ascii && !key->is_fuzzy)
        return imap_needle_find(&key->needle, text);
    return is_found(key, text);
}

static bool is_of_field(const struct imap_search_key *key, enum imap_search_field field)
{
    return field == IMAP_SEARCH_DATE ? key->kind == IMAP_SEARCH_SENT
                                     : key->kind == IMAP_SEARCH_ENVELOPE && key->field == field;
}

static void answer_folded(struct imap_search_text *t, enum imap_search_field field, struct str text)
{
    for (size_t i = 0; i < t->program->n_texts; i++)
        if (is_of_field(t->program->texts[i], field))
            t->program->texts[i]->answer = answer_of(is_in_folded(t->program->texts[i], text));
}

static void learn(struct imap_search_text *t, enum imap_search_field field, struct str text)
{
    struct imap_column_maker *m = &t->known[field].maker;
    if (!m->is_off && t->uid > m->after)
        imap_column_add(m, t->uid, text);
}

static void answer_date(struct imap_search_text *t, struct str value)
{
    int64_t since_1970;
    uint64_t day;
    struct str text = {0};
    if (imap_read_date(value, &since_1970)) {
        day = imap_search_day(since_1970);
        text = str_from(&day, sizeof day);
    }
    learn(t, IMAP_SEARCH_DATE, text);
    answer_folded(t, IMAP_SEARCH_DATE, text);
}

/* NIL is learned too, and as nothing: keys that look for nothing do without columns. */
static void answer_string(struct imap_search_text *t, enum imap_search_field field,
                          struct mime_raw raw)
{
    struct str value = raw.text;
    if (raw.is_escaped) {
        buf_clear(&t->value);
        mime_raw_put(&t->value, raw);
        value = buf_str(&t->value);
    }
    if (field == IMAP_SEARCH_DATE) {
        answer_date(t, value);
        return;
    }
    if (!t->known[field].maker.is_off) {
        buf_clear(&t->folded);
        t->folded.cap = value.n * 48 + 1000;
        if (mime_text_of_value(value, t->charsets, &t->folded) == RC_OK) {
            learn(t, field, buf_str(&t->folded));
            answer_folded(t, field, buf_str(&t->folded));
            return;
        }
    }
    for (size_t i = 0; i < t->program->n_texts; i++) {
        struct imap_search_key *key = t->program->texts[i];
        if (is_of_field(key, field) && raw.text.p)
            key->answer = answer_of(imap_search_value(t, key, value));
    }
}

static void answer_addresses(struct imap_search_text *t, enum imap_search_field field)
{
    struct str value = buf_str(&t->value);
    if (!t->known[field].maker.is_off) {
        buf_clear(&t->folded);
        t->folded.cap = value.n * 12 + 1;
        if (mime_fold(value, &t->folded) == RC_OK) {
            learn(t, field, buf_str(&t->folded));
            answer_folded(t, field, buf_str(&t->folded));
            return;
        }
    }
    for (size_t i = 0; i < t->program->n_texts; i++)
        if (is_of_field(t->program->texts[i], field))
            t->program->texts[i]->answer = answer_of(is_in(t, t->program->texts[i], value));
}

bool imap_search_from_columns(struct imap_search_text *t)
{
    struct str texts[IMAP_SEARCH_FIELDS];
    for (unsigned field = 0; field < IMAP_SEARCH_FIELDS; field++)
        if (t->fields >> field & 1 &&
            !imap_column_find(t->known[field].column, t->uid, &t->known[field].at, &texts[field]))
            return false;
    for (unsigned field = 0; field < IMAP_SEARCH_FIELDS; field++)
        if (t->fields >> field & 1)
            answer_folded(t, field, texts[field]);
    return true;
}

void imap_search_envelope(struct imap_search_text *t, struct str envelope)
{
    struct mime_raw raw;
    t->value.cap = envelope.n * 16 + 1000; /* Latin letters as UTF-8, words undone */
    for (size_t i = 0; i < t->program->n_texts; i++)
        if (t->program->texts[i]->kind <= IMAP_SEARCH_ENVELOPE)
            t->program->texts[i]->answer = IMAP_SEARCH_NO; /* NIL, or damaged */
    if (!take_byte(&envelope, '('))
        return;
    for (unsigned field = 0; field < IMAP_SEARCH_FIELDS && t->fields >> field; field++) {
        bool is_wanted = t->fields >> field & 1;
        if (field && !take_byte(&envelope, ' '))
            return;
        if (field <= IMAP_SEARCH_SUBJECT) {
            if (!mime_raw_take(&envelope, &raw))
                return;
            if (is_wanted)
                answer_string(t, field, raw);
        } else if (put_addresses(t, &envelope, is_wanted)) {
            if (is_wanted)
                answer_addresses(t, field);
        } else if (is_wanted && envelope.p) { /* NIL */
            learn(t, field, STR(""));
        }
    }
}
