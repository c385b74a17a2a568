/* What a message is sorted by [RFC5256 3] [RFC5957 3, 4]: out of its summary.
 *
 * Strings are decoded, prepared for i;unicode-casemap and compared byte by byte [RFC5051 2]. What
 * is no text in any charset comes behind all others, as it is [RFC5255 4.6]. Pure. */
#include "imap/sort_int.h"

#include "base/clock.h"

#include <string.h>

static bool is_wanted(const struct imap_sort_values *v, unsigned field)
{
    return v->fields >> (field - IMAP_SEARCH_FIELDS) & 1;
}

static struct buf *text_of(struct imap_sort_values *v, unsigned field)
{
    return &v->text[field - IMAP_SEARCH_FIELDS];
}

uint64_t imap_sort_time(int64_t since_1970)
{
    const int64_t year_0 = INT64_C(719528) * 86400;
    return since_1970 > -year_0 ? (uint64_t)(since_1970 + year_0) : 0;
}

static void put_mapped(struct buf *to, struct str utf8)
{
    to->cap = utf8.n * 12 + 2;
    if (mime_casemap(utf8, to) != RC_SYNTAX)
        return;
    buf_put(to, STR("\xff")); /* no character begins so: behind all that is text [RFC5255 4.6] */
    buf_put(to, utf8);
}

/* The string as it is meant, in v->value. */
static struct str plain(struct imap_sort_values *v, struct mime_raw raw)
{
    v->value.cap = raw.text.n + 1;
    buf_clear(&v->value);
    mime_raw_put(&v->value, raw);
    return buf_str(&v->value);
}

static struct str decoded(struct imap_sort_values *v, struct mime_raw raw)
{
    struct str value = plain(v, raw);
    v->work.cap = value.n * 16 + 1000;
    buf_clear(&v->work);
    if (mime_words_decode(value, v->charsets, &v->work) != RC_OK) /* [RFC5255 4.6] */
        return value;
    return buf_str(&v->work);
}

/* --- date and subject ------------------------------------------------------------------------- */

static void read_date(struct imap_sort_values *v, struct mime_raw raw)
{
    int64_t seconds;
    if (!is_wanted(v, IMAP_SORT_DATE) || !imap_read_sent(plain(v, raw), &seconds))
        return;
    uint64_t time = imap_sort_time(seconds);
    text_of(v, IMAP_SORT_DATE)->cap = sizeof time;
    buf_put(text_of(v, IMAP_SORT_DATE), str_from(&time, sizeof time));
}

static void read_subject(struct imap_sort_values *v, struct mime_raw raw)
{
    bool is_reply;
    if (!is_wanted(v, IMAP_SORT_SUBJECT) && !is_wanted(v, IMAP_SORT_REPLY))
        return;
    struct str subject = decoded(v, raw);
    v->value.cap = subject.n + v->value.cap;
    struct buf base = {.cap = subject.n + 1};
    mime_base_subject(subject, &base, &is_reply);
    if (is_wanted(v, IMAP_SORT_SUBJECT))
        put_mapped(text_of(v, IMAP_SORT_SUBJECT), buf_str(&base));
    text_of(v, IMAP_SORT_REPLY)->cap = 1;
    if (is_reply)
        buf_put(text_of(v, IMAP_SORT_REPLY), STR("r"));
    buf_fini(&base);
}

/* --- addresses -------------------------------------------------------------------------------- */

/* [RFC5957 3] */
static void put_display(struct imap_sort_values *v, const struct mime_address *a, struct buf *to)
{
    struct str name = decoded(v, a->name);
    if (a->name.text.p && name.n) {
        put_mapped(to, name);
        return;
    }
    if (!a->mailbox.text.p)
        return;
    v->work.cap = a->mailbox.text.n + a->host.text.n + 2;
    buf_clear(&v->work);
    mime_raw_put(&v->work, a->mailbox);
    if (a->host.text.p) {
        buf_put(&v->work, STR("@"));
        mime_raw_put(&v->work, a->host);
    }
    put_mapped(to, buf_str(&v->work));
}

/* Of the first address. */
static void read_address(struct imap_sort_values *v, const struct mime_address *a, unsigned field,
                         unsigned display)
{
    if (is_wanted(v, field))
        put_mapped(text_of(v, field), plain(v, a->mailbox));
    if (display && is_wanted(v, display))
        put_display(v, a, text_of(v, display));
}

/* A list of addresses off the envelope; false: it is damaged. */
static bool take_list(struct str *s, struct mime_address *out_first, bool *out_has)
{
    struct mime_address a;
    *out_has = false;
    if (str_starts(*s, STR("NIL"))) {
        *s = str_skip(*s, 3);
        return true;
    }
    if (!str_starts(*s, STR("(")))
        return false;
    for (*s = str_skip(*s, 1); !str_starts(*s, STR(")")); *out_has = true) {
        if (!mime_address_take(s, &a))
            return false;
        if (!*out_has)
            *out_first = a;
    }
    *s = str_skip(*s, 1);
    return true;
}

static void read_envelope(struct imap_sort_values *v, struct str s)
{
    static const struct {
        unsigned field, display;
    } lists[] = {{IMAP_SORT_FROM, IMAP_SORT_DISPLAYFROM},
                 {0, 0}, /* Sender, Reply-To */
                 {0, 0},
                 {IMAP_SORT_TO, IMAP_SORT_DISPLAYTO},
                 {IMAP_SORT_CC, 0}};
    struct mime_raw date, subject;
    struct mime_address a;
    bool has;
    s = str_skip(s, 1);
    if (!mime_raw_take(&s, &date))
        return;
    s = str_skip(s, 1);
    if (!mime_raw_take(&s, &subject))
        return;
    read_date(v, date);
    read_subject(v, subject);
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        s = str_skip(s, 1);
        if (!take_list(&s, &a, &has))
            return;
        if (has && lists[i].field)
            read_address(v, &a, lists[i].field, lists[i].display);
    }
}

/* --- ids -------------------------------------------------------------------------------------- */

static void read_ids(struct imap_sort_values *v, struct str ids)
{
    struct buf *to = text_of(v, IMAP_SORT_IDS);
    to->cap = (MIME_SUMMARY_REFERENCES + 1) * sizeof(uint64_t);
    for (;;) {
        ptrdiff_t space = str_find_byte(ids, ' ');
        struct str id = space < 0 ? ids : str_head(ids, (size_t)space);
        uint64_t hash = id.n ? str_hash(id, v->hash_key) : 0;
        hash += id.n && !hash;
        buf_put(to, str_from(&hash, sizeof hash));
        if (space < 0)
            return;
        ids = str_skip(ids, id.n + 1);
    }
}

void imap_sort_values_read(struct imap_sort_values *v, struct str summary)
{
    struct str envelope, structure, ids;
    for (size_t i = 0; i < IMAP_SORT_FIELDS; i++)
        buf_clear(&v->text[i]);
    if (mime_summary_read(summary, &envelope, &structure))
        read_envelope(v, envelope);
    if (is_wanted(v, IMAP_SORT_IDS) && mime_summary_thread(summary, &ids))
        read_ids(v, ids);
}

void imap_sort_values_fini(struct imap_sort_values *v)
{
    for (size_t i = 0; i < IMAP_SORT_FIELDS; i++)
        buf_fini(&v->text[i]);
    buf_fini(&v->value);
    buf_fini(&v->work);
}
