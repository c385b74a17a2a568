/* ENVELOPE out of the kept fields of a message [RFC3501 7.4.2] [RFC9051 7.5.2]; what its fields are
 * called, strings for IMAP.
 *
 * Address fields that stand there more than once are read as one; of the others the first counts.
 * An address without a host or mailbox gets a name in its place, since NIL there means a group. */
#include "mime/mime_int.h"

#include <string.h>

enum { QUOTED_MAX = 1000 }; /* what is longer is a literal: clients read lines into buffers */

static const struct str names[] = {
    [MIME_FIELD_DATE] = STR_INIT("Date"),
    [MIME_FIELD_SUBJECT] = STR_INIT("Subject"),
    [MIME_FIELD_FROM] = STR_INIT("From"),
    [MIME_FIELD_SENDER] = STR_INIT("Sender"),
    [MIME_FIELD_REPLY_TO] = STR_INIT("Reply-To"),
    [MIME_FIELD_TO] = STR_INIT("To"),
    [MIME_FIELD_CC] = STR_INIT("Cc"),
    [MIME_FIELD_BCC] = STR_INIT("Bcc"),
    [MIME_FIELD_IN_REPLY_TO] = STR_INIT("In-Reply-To"),
    [MIME_FIELD_MESSAGE_ID] = STR_INIT("Message-ID"),
    [MIME_FIELD_REFERENCES] = STR_INIT("References"),
    [MIME_FIELD_CONTENT_TYPE] = STR_INIT("Content-Type"),
    [MIME_FIELD_CONTENT_ID] = STR_INIT("Content-ID"),
    [MIME_FIELD_CONTENT_DESCRIPTION] = STR_INIT("Content-Description"),
    [MIME_FIELD_CONTENT_ENCODING] = STR_INIT("Content-Transfer-Encoding"),
    [MIME_FIELD_CONTENT_MD5] = STR_INIT("Content-MD5"),
    [MIME_FIELD_CONTENT_DISPOSITION] = STR_INIT("Content-Disposition"),
    [MIME_FIELD_CONTENT_LANGUAGE] = STR_INIT("Content-Language"),
    [MIME_FIELD_CONTENT_LOCATION] = STR_INIT("Content-Location"),
};

enum mime_summary_field mime_summary_field(struct str name)
{
    for (unsigned i = 0; i < MIME_FIELD_OTHER; i++)
        if (names[i].n == name.n && str_ieq(names[i], name))
            return (enum mime_summary_field)i;
    return MIME_FIELD_OTHER;
}

/* A Content-Type that cannot be read does not count, as in the parser. */
static bool counts(enum mime_summary_field field, struct str value)
{
    struct mime_type type;
    return field != MIME_FIELD_CONTENT_TYPE || mime_type_read(value, &type) == RC_OK;
}

void mime_facts_read(struct str kept, struct mime_facts *out)
{
    struct mime_field field;
    *out = (struct mime_facts){.kept = kept};
    while (mime_header_next(&kept, &field)) {
        enum mime_summary_field i = mime_summary_field(field.name);
        if (i != MIME_FIELD_OTHER && out->counts[i]++ == 0 && counts(i, field.value))
            out->values[i] = field.value;
        else if (i == MIME_FIELD_CONTENT_TYPE && str_is_null(out->values[i]) &&
                 counts(i, field.value))
            out->values[i] = field.value;
    }
}

/* ---- Strings ---- */

static bool is_quotable(struct str s)
{
    unsigned char all = 0;
    if (s.n > QUOTED_MAX)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        all |= (unsigned char)s.p[i];
        if (s.p[i] == '\r' || s.p[i] == '\n' || s.p[i] == '\0')
            return false;
    }
    return all < 0x80; /* [RFC3501 9] [RFC9051 9] QUOTED-CHAR */
}

static void put_quoted(struct buf *out, struct str s)
{
    char *to = buf_reserve(out, s.n * 2 + 2);
    size_t n = 0;
    if (!to) {
        out->over = true;
        return;
    }
    to[n++] = '"';
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '"' || s.p[i] == '\\')
            to[n++] = '\\';
        to[n++] = s.p[i];
    }
    to[n++] = '"';
    buf_commit(out, n);
}

static void put_literal(struct buf *out, struct str s)
{
    size_t nuls = 0;
    for (size_t i = 0; i < s.n; i++)
        nuls += s.p[i] == '\0';
    buf_putf(out, "{%zu}\r\n", s.n - nuls);
    while (s.n) { /* [RFC3501 4.3] [RFC9051 4.3]: no NUL in a literal */
        size_t n = strnlen(s.p, s.n);
        buf_put(out, str_head(s, n));
        s = str_skip(s, n + 1);
    }
}

void mime_put_string(struct buf *out, struct str s)
{
    if (is_quotable(s))
        put_quoted(out, s);
    else
        put_literal(out, s);
}

static void put_nstring(struct buf *out, struct str s)
{
    if (str_is_null(s))
        buf_put(out, STR("NIL"));
    else
        mime_put_string(out, s);
}

/* Each fold, with its white space, is one space. */
void mime_put_value(struct mime_writer *w, struct str value)
{
    if (str_is_null(value)) {
        buf_put(w->out, STR("NIL"));
        return;
    }
    value = str_trim(value);
    if (value.n == 0 || !memchr(value.p, '\n', value.n)) {
        mime_put_string(w->out, value);
        return;
    }
    buf_clear(&w->text);
    while (value.n) {
        ptrdiff_t end = str_find_byte(value, '\n');
        struct str line = end < 0 ? value : str_head(value, (size_t)end);
        value = str_skip(value, line.n + 1);
        line = str_trim(line);
        if (buf_len(&w->text) && line.n)
            buf_put(&w->text, STR(" "));
        buf_put(&w->text, line);
    }
    w->out->over |= w->text.over;
    mime_put_string(w->out, buf_str(&w->text));
}

/* ---- Addresses ---- */

static void put_mailbox(struct mime_writer *w, const struct mime_mailbox *m)
{
    struct buf *out = w->out;
    struct str mailbox = m->mailbox, host = m->host;
    if (m->kind == MIME_MAILBOX_ADDRESS && mailbox.n == 0)
        mailbox = STR("MISSING_MAILBOX");
    if (m->kind == MIME_MAILBOX_ADDRESS && host.n == 0)
        host = STR("MISSING_DOMAIN");
    buf_put(out, STR("("));
    put_nstring(out, m->name);
    buf_put(out, STR(" "));
    put_nstring(out, m->route);
    buf_put(out, STR(" "));
    put_nstring(out, mailbox);
    buf_put(out, STR(" "));
    put_nstring(out, host);
    buf_put(out, STR(")"));
}

/* Returns how many were written; `before` stand there already. */
static size_t put_list(struct mime_writer *w, struct str value, size_t before)
{
    struct mime_mailboxes list = {.rest = value, .text = &w->text};
    struct mime_mailbox m = {.kind = MIME_MAILBOX_ADDRESS};
    bool is_in_group = false;
    size_t n = 0;
    while (w->n_addresses > 0 && mime_mailbox_next(&list, &m)) {
        if (before + n == 0)
            buf_put(w->out, STR("("));
        put_mailbox(w, &m);
        is_in_group = list.is_in_group;
        w->n_addresses--;
        n++;
    }
    if (is_in_group)
        put_mailbox(w, &(struct mime_mailbox){.kind = MIME_MAILBOX_GROUP_END});
    return n;
}

static void put_addresses(struct mime_writer *w, const struct mime_facts *f,
                          enum mime_summary_field field)
{
    size_t n = 0;
    if (f->counts[field] == 1) {
        n = put_list(w, f->values[field], 0);
    } else if (f->counts[field] > 1) {
        struct str rest = f->kept;
        struct mime_field at;
        while (mime_header_next(&rest, &at))
            if (mime_summary_field(at.name) == field)
                n += put_list(w, at.value, n);
    }
    buf_put(w->out, n > 0 ? STR(")") : STR("NIL"));
}

/* The n bytes at `from` of the output are those of From; they stand in where Sender or Reply-To are
 * missing or empty [RFC3501 7.4.2] [RFC9051 7.5.2]. */
static void put_or_from(struct mime_writer *w, const struct mime_facts *f,
                        enum mime_summary_field field, size_t from, size_t n)
{
    size_t before = buf_len(w->out);
    put_addresses(w, f, field);
    if (str_ends(str_skip(buf_str(w->out), before), STR(")")))
        return;
    buf_truncate(w->out, before);
    if (buf_reserve(w->out, n)) /* so that what is copied stays where it is */
        buf_put(w->out, str_sub(buf_str(w->out), from, n));
    else
        w->out->over = true;
}

void mime_put_envelope(struct mime_writer *w, const struct mime_facts *f)
{
    struct buf *out = w->out;
    buf_put(out, STR("("));
    mime_put_value(w, f->values[MIME_FIELD_DATE]);
    buf_put(out, STR(" "));
    mime_put_value(w, f->values[MIME_FIELD_SUBJECT]);
    buf_put(out, STR(" "));
    size_t from = buf_len(out);
    put_addresses(w, f, MIME_FIELD_FROM);
    size_t n = buf_len(out) - from;
    for (enum mime_summary_field i = MIME_FIELD_SENDER; i <= MIME_FIELD_BCC; i++) {
        buf_put(out, STR(" "));
        if (i <= MIME_FIELD_REPLY_TO)
            put_or_from(w, f, i, from, n);
        else
            put_addresses(w, f, i);
    }
    buf_put(out, STR(" "));
    mime_put_value(w, f->values[MIME_FIELD_IN_REPLY_TO]);
    buf_put(out, STR(" "));
    mime_put_value(w, f->values[MIME_FIELD_MESSAGE_ID]);
    buf_put(out, STR(")"));
}
