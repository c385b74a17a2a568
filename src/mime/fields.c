/* An ENVELOPE taken apart, and what people look for in it: addresses and the subject as text.
 *
 * Most values are plain ASCII and are copied as they are; words of RFC 2047 are decoded where there
 * are any [RFC3501 6.4.4] [RFC9051 6.4.4]. What mime_summary wrote is read back here; anything else
 * is refused, and never read beyond its end. */
#include "mime/fields.h"

#include "base/utf8.h"
#include "mime/mime_int.h"
#include "mime/text.h"

#include <string.h>

/* --- taking it apart -------------------------------------------------------------------------- */

static bool take_quoted(struct str *s, struct mime_raw *out)
{
    size_t n = 1;
    for (;;) {
        const char *end = n < s->n ? memchr(s->p + n, '"', s->n - n) : NULL;
        if (!end)
            return false;
        const char *slash = memchr(s->p + n, '\\', (size_t)(end - s->p) - n);
        if (!slash) {
            n = (size_t)(end - s->p);
            break;
        }
        out->is_escaped = true;
        n = (size_t)(slash - s->p) + 2;
    }
    out->text = str_sub(*s, 1, n - 1);
    *s = str_skip(*s, n + 1);
    return true;
}

static bool take_literal(struct str *s, struct mime_raw *out)
{
    uint64_t n;
    ptrdiff_t end = str_find_byte(*s, '}');
    if (end < 1 || str_to_u64(str_sub(*s, 1, (size_t)end - 1), &n) != RC_OK)
        return false;
    struct str bytes = str_skip(*s, (size_t)end + 3);
    if (n > bytes.n)
        return false;
    out->text = str_from(bytes.p ? bytes.p : "", (size_t)n);
    *s = str_skip(bytes, (size_t)n);
    return true;
}

static bool take_byte(struct str *s, char c)
{
    if (!s->n || s->p[0] != c)
        return false;
    *s = str_skip(*s, 1);
    return true;
}

bool mime_raw_take(struct str *s, struct mime_raw *out)
{
    *out = (struct mime_raw){0};
    if (s->n && s->p[0] == '"')
        return take_quoted(s, out);
    if (s->n && s->p[0] == '{')
        return take_literal(s, out);
    bool is_nil = str_starts(*s, STR("NIL"));
    *s = str_skip(*s, 3);
    return is_nil;
}

bool mime_address_take(struct str *s, struct mime_address *out)
{
    return take_byte(s, '(') && mime_raw_take(s, &out->name) && take_byte(s, ' ') &&
           mime_raw_take(s, &out->route) && take_byte(s, ' ') && mime_raw_take(s, &out->mailbox) &&
           take_byte(s, ' ') && mime_raw_take(s, &out->host) && take_byte(s, ')');
}

void mime_raw_put(struct buf *out, struct mime_raw raw)
{
    if (!raw.is_escaped) {
        buf_put(out, raw.text);
        return;
    }
    for (size_t i = 0; i < raw.text.n; i++) {
        i += raw.text.p[i] == '\\';
        buf_put(out, str_sub(raw.text, i, 1));
    }
}

/* --- addresses -------------------------------------------------------------------------------- */

static void put_name(struct buf *out, struct mime_raw name, const struct mime_charsets *charsets)
{
    struct buf bytes = {.cap = name.text.n + 1};
    if (!name.text.n || (utf8_is_ascii(name.text) && str_find(name.text, STR("=?")) < 0)) {
        mime_raw_put(out, name);
        return;
    }
    mime_raw_put(&bytes, name);
    if (mime_words_decode(buf_str(&bytes), charsets, out) != RC_OK)
        out->over = true;
    buf_fini(&bytes);
}

static void put_address(struct buf *out, const struct mime_address *a,
                        const struct mime_charsets *charsets)
{
    bool has_name = a->name.text.p;
    if (!a->host.text.p) { /* a group begins or ends */
        mime_raw_put(out, a->mailbox);
        buf_put(out, a->mailbox.text.p ? STR(": ") : STR("; "));
        return;
    }
    if (has_name) {
        put_name(out, a->name, charsets);
        buf_put(out, STR(" <"));
    }
    if (!str_eq(a->mailbox.text, STR("MISSING_MAILBOX")))
        mime_raw_put(out, a->mailbox);
    if (!str_eq(a->host.text, STR("MISSING_DOMAIN"))) {
        buf_put(out, STR("@"));
        mime_raw_put(out, a->host);
    }
    buf_put(out, has_name ? STR(">, ") : STR(", "));
}

bool mime_addresses_take(struct str *s, const struct mime_charsets *charsets, struct buf *out)
{
    struct mime_address a;
    if (!take_byte(s, '(')) {
        bool is_nil = str_starts(*s, STR("NIL"));
        *s = is_nil ? str_skip(*s, 3) : (struct str){0};
        return false;
    }
    while (!take_byte(s, ')')) {
        if (!mime_address_take(s, &a)) {
            *s = (struct str){0};
            return false;
        }
        if (out)
            put_address(out, &a, charsets);
    }
    return true;
}

/* --- what searches look into ------------------------------------------------------------------ */

static enum rc read_subject(struct mime_raw raw, const struct mime_charsets *charsets,
                            struct buf *value, struct buf *out)
{
    mime_raw_put(value, raw);
    return raw.text.n ? mime_text_of_value(buf_str(value), charsets, out) : RC_OK;
}

static enum rc read_addresses(struct str *s, const struct mime_charsets *charsets,
                              struct buf *value, struct buf *out)
{
    bool is_list = mime_addresses_take(s, charsets, value);
    if (!s->p)
        return RC_CORRUPT;
    return is_list ? mime_fold(buf_str(value), out) : RC_OK;
}

enum rc mime_fields_read(struct str envelope, const struct mime_charsets *charsets,
                         struct buf out[MIME_IN_FIELDS])
{
    struct mime_raw date, subject;
    struct buf value = {.cap = envelope.n * 16 + 1000}; /* Latin letters as UTF-8, words undone */
    if (!take_byte(&envelope, '(') || !mime_raw_take(&envelope, &date) ||
        !take_byte(&envelope, ' ') || !mime_raw_take(&envelope, &subject))
        return RC_CORRUPT;
    enum rc rc = read_subject(subject, charsets, &value, &out[MIME_IN_SUBJECT]);
    for (unsigned field = 2; rc == RC_OK && field < 8;
         field++) { /* From, Sender, Reply-To, To... */
        bool is_wanted = field == 2 || field > 4;
        unsigned kind = field == 2 ? MIME_IN_FROM : field - 3;
        buf_clear(&value);
        if (!take_byte(&envelope, ' '))
            rc = RC_CORRUPT;
        else if (is_wanted)
            rc = read_addresses(&envelope, charsets, &value, &out[kind]);
        else
            (void)mime_addresses_take(&envelope, charsets, NULL);
    }
    if (rc == RC_OK && value.over)
        rc = RC_LIMIT;
    buf_fini(&value);
    return rc;
}
