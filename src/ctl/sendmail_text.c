/* What the sendmail command makes of a text on standard input before it hands it over: lines end
 * with CRLF, what no mail can hold becomes something that it can (NUL and CR, lines without an
 * end), addresses without a domain get this host's, From is there, and with -t the recipients are
 * read from the header. All else (Date, Message-ID, Bcc) is the server's. */
#include "ctl/ctl_int.h"

#include "mime/mime.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TEXT_MAX = 1 << 30, ADDRESS_MAX = 1024, LINE_MAX_BYTES = 60000 };

/* --- reading ---------------------------------------------------------------------------------- */

/* A line without its end; CR before LF goes. */
static void put_line(struct buf *out, const char *line, size_t n)
{
    if (n && line[n - 1] == '\n')
        n--;
    while (n && line[n - 1] == '\r')
        n--;
    for (size_t i = 0; i < n; i++) {
        if (i && i % LINE_MAX_BYTES == 0)
            buf_put(out, STR("\r\n "));
        bool is_odd = line[i] == '\r' || line[i] == '\0';
        buf_put(out, is_odd ? STR(" ") : str_from(&line[i], 1));
    }
    buf_put(out, STR("\r\n"));
}

enum rc sendmail_read(FILE *in, bool dot_ends, struct buf *out)
{
    char *line = NULL;
    size_t size = 0;
    ssize_t n;
    buf_init(out, TEXT_MAX);
    while ((n = getline(&line, &size, in)) > 0) {
        if (dot_ends && (strcmp(line, ".\n") == 0 || strcmp(line, ".\r\n") == 0))
            break;
        put_line(out, line, (size_t)n);
    }
    free(line);
    return ferror(in) ? RC_TEMP : out->over ? RC_LIMIT : RC_OK;
}

/* --- addresses -------------------------------------------------------------------------------- */

struct str sendmail_path(struct str text)
{
    ptrdiff_t open = str_find_byte(text, '<'), close = str_rfind_byte(text, '>');
    if (open >= 0 && close > open)
        text = str_sub(text, (size_t)open + 1, (size_t)(close - open - 1));
    return str_trim(text);
}

/* The end of what begins at s.p[i] with a quote or a parenthesis. */
static size_t skip_quoted(struct str s, size_t i)
{
    char close = s.p[i] == '(' ? ')' : '"';
    for (i++; i < s.n && s.p[i] != close; i++)
        i += s.p[i] == '\\';
    return i < s.n ? i : s.n - 1;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* One address of a list, perhaps with a name or a comment: "root", "Root <root>", "root (cron)". */
static void put_address(struct buf *out, struct str one, struct str host)
{
    size_t end = 0;
    bool has_domain = false, has_word = false;
    ptrdiff_t angle = -1;
    for (size_t i = 0; i < one.n; i++) {
        char c = one.p[i];
        if (c == '"' || c == '(') {
            i = skip_quoted(one, i);
            continue;
        }
        has_domain |= c == '@' || c == ':' || c == ';';
        if (c == '<')
            angle = (ptrdiff_t)i;
        if (c == '>' && angle >= 0) {
            end = i;
            break;
        }
        if (angle < 0 && !is_space(c) && (!has_word || end == i)) {
            has_word = true;
            end = i + 1;
        }
    }
    bool is_empty_path = angle >= 0 && end == (size_t)angle + 1;
    buf_put(out, str_head(one, has_domain ? one.n : end));
    if (has_domain)
        return;
    if ((has_word || angle >= 0) && end > 0 && !is_empty_path)
        buf_putf(out, "@%.*s", STR_ARG(host));
    buf_put(out, str_skip(one, end));
}

void sendmail_qualify(struct buf *out, struct str list, struct str host)
{
    size_t from = 0;
    bool in_angle = false;
    for (size_t i = 0; i <= list.n; i++) {
        char c = i < list.n ? list.p[i] : ',';
        if (i < list.n && (c == '"' || c == '(')) {
            i = skip_quoted(list, i);
            continue;
        }
        in_angle = i < list.n && (c == '<' || (in_angle && c != '>'));
        if (c != ',' || in_angle)
            continue;
        put_address(out, str_sub(list, from, i - from), host);
        if (i < list.n)
            buf_put(out, STR(","));
        from = i + 1;
    }
}

/* --- the header ------------------------------------------------------------------------------- */

static bool is_one_of(struct str name, const char *const *names)
{
    for (; *names; names++)
        if (str_ieq(name, str_of(*names)))
            return true;
    return false;
}

static const char *const recipients[] = {"To", "Cc", "Bcc", NULL};
static const char *const resent[] = {"Resent-To", "Resent-Cc", "Resent-Bcc", NULL};

/* What is sent on goes to those whom that says, and not once more to the first ones
 * [RFC5322 3.6.6]. */
static const char *const *names_of_recipients(struct str header)
{
    struct mime_field field;
    while (mime_header_next(&header, &field))
        if (is_one_of(field.name, resent))
            return resent;
    return recipients;
}

static enum rc add_recipients(struct sendmail *m, struct str value)
{
    struct buf address;
    enum rc rc;
    buf_init(&address, ADDRESS_MAX);
    while ((rc = mime_address_next(&value, &address)) == RC_OK)
        sendmail_add_recipient(m, buf_str(&address));
    buf_fini(&address);
    return rc == RC_EOF ? RC_OK : rc;
}

static enum rc put_field(struct sendmail *m, const struct mime_field *field,
                         const char *const *names, struct buf *out)
{
    static const char *const addresses[] = {
        "From",        "Sender",        "Reply-To",  "To",        "Cc",         "Bcc",
        "Resent-From", "Resent-Sender", "Resent-To", "Resent-Cc", "Resent-Bcc", NULL};
    struct buf value;
    enum rc rc = RC_OK;
    m->has_from |= str_ieq(field->name, STR("From"));
    if (!is_one_of(field->name, addresses)) {
        buf_put(out, field->whole);
        return RC_OK;
    }
    buf_init(&value, TEXT_MAX);
    sendmail_qualify(&value, field->value, m->host);
    buf_putf(out, "%.*s:", STR_ARG(field->name));
    buf_put(out, buf_str(&value));
    buf_put(out, STR("\r\n"));
    if (m->takes_header && is_one_of(field->name, names))
        rc = add_recipients(m, buf_str(&value));
    buf_fini(&value);
    return rc;
}

static void put_from(const struct sendmail *m, struct buf *out)
{
    buf_put(out, STR("From: "));
    if (m->full_name[0]) {
        buf_put(out, STR("\""));
        for (const char *c = m->full_name; *c; c++)
            if (*c != '"' && *c != '\\' && (unsigned char)*c >= ' ')
                buf_put(out, str_from(c, 1));
        buf_putf(out, "\" <%.*s>\r\n", STR_ARG(m->from));
        return;
    }
    buf_putf(out, "%.*s\r\n", STR_ARG(m->from));
}

enum rc sendmail_prepare(struct sendmail *m, struct str text, struct buf *out)
{
    struct mime_field field;
    struct str rest = text;
    struct buf header;
    enum rc rc = RC_OK;
    buf_init(out, 2 * (size_t)TEXT_MAX);
    buf_init(&header, TEXT_MAX);
    if (str_istarts(rest, STR("From ")) && !str_istarts(rest, STR("From :")))
        rest = str_skip(rest, (size_t)str_find_byte(rest, '\n') + 1); /* of a mailbox file */
    const char *const *names = names_of_recipients(rest);
    while (rc == RC_OK && mime_header_next(&rest, &field))
        rc = put_field(m, &field, names, &header);
    if (!m->has_from)
        put_from(m, out);
    buf_put(out, buf_str(&header));
    if (!str_starts(rest, STR("\r\n")))
        buf_put(out, STR("\r\n"));
    buf_put(out, rest);
    bool is_over = out->over || header.over;
    buf_fini(&header);
    return rc == RC_OK && is_over ? RC_LIMIT : rc;
}
