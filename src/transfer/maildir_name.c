/* Names of files in a Maildir, and lines of what Dovecot and Courier keep beside them. Pure: text
 * in, parts out; all of it is hostile. */
#include "transfer/maildir_int.h"

#include "base/utf7.h"
#include "base/utf8.h"

#include <string.h>

enum { LEVEL_MAX = 4096 }; /* more than any system's name has */

static bool is_info(char c) /* ';' and '!': where ':' cannot be in a name */
{
    return c == ':' || c == ';' || c == '!';
}

struct str maildir_name_base(struct str file)
{
    for (size_t i = file.n; i-- > 1;)
        if (file.p[i] == ',' && file.p[i - 1] == '2' && i > 2 && is_info(file.p[i - 2]))
            return str_head(file, i - 2);
    return file;
}

static uint64_t leading_time(struct str s)
{
    uint64_t time = 0;
    size_t i = 0;
    for (; i < s.n && i < 10 && ascii_is_digit(s.p[i]); i++)
        time = time * 10 + (uint64_t)(s.p[i] - '0');
    bool is_time = i >= 8 && i < s.n && s.p[i] == '.';
    return is_time ? time : 0;
}

enum rc maildir_name_parse(struct str file, struct maildir_name *out)
{
    static const struct {
        char letter;
        uint32_t flag;
    } flags[] = {{'S', STORE_SEEN},
                 {'R', STORE_ANSWERED},
                 {'F', STORE_FLAGGED},
                 {'T', STORE_DELETED},
                 {'D', STORE_DRAFT}};
    *out = (struct maildir_name){.base = maildir_name_base(file)};
    if (!out->base.n || out->base.p[0] == '.')
        return RC_SYNTAX;
    out->time = leading_time(out->base);
    for (size_t i = out->base.n + 3; i < file.n; i++) {
        char c = file.p[i];
        for (size_t k = 0; k < sizeof flags / sizeof *flags; k++)
            out->flags |= flags[k].letter == c ? flags[k].flag : 0;
        out->is_forwarded |= c == 'P';
        if (c >= 'a' && c <= 'z')
            out->letters |= 1U << (c - 'a');
        if (c == ',') /* what else somebody has put there */
            break;
    }
    return RC_OK;
}

static bool take_u32(struct str *rest, uint32_t *out)
{
    size_t n = 0;
    uint64_t value;
    while (n < rest->n && ascii_is_digit(rest->p[n]))
        n++;
    if (n == 0 || str_to_u64(str_head(*rest, n), &value) != RC_OK || value > UINT32_MAX)
        return false;
    *out = (uint32_t)value;
    *rest = str_skip(*rest, n);
    return true;
}

static bool take_byte(struct str *rest, char c)
{
    if (!rest->n || rest->p[0] != c)
        return false;
    *rest = str_skip(*rest, 1);
    return true;
}

enum rc maildir_keyword_parse(struct str line, unsigned *out_letter, struct str *out_keyword)
{
    uint32_t number;
    if (!take_u32(&line, &number) || !take_byte(&line, ' ') || number >= MAILDIR_LETTERS || !line.n)
        return RC_SYNTAX;
    *out_letter = number;
    *out_keyword = line;
    return RC_OK;
}

/* --- lists ------------------------------------------------------------------------------------ */

/* "1 uidvalidity uidnext", or "3 V1275660208 N25022 G..." */
static enum rc uid_header(struct maildir_list *list, struct str line)
{
    uint32_t version;
    struct str word;
    if (!take_u32(&line, &version) || !take_byte(&line, ' '))
        return RC_SYNTAX;
    if (version == 1) {
        list->kind = MAILDIR_LIST_PLAIN;
        return take_u32(&line, &list->uidvalidity) ? RC_OK : RC_SYNTAX;
    }
    if (version != 3)
        return RC_SYNTAX;
    list->kind = MAILDIR_LIST_FIELDS;
    while (str_cut(&line, ' ', &word))
        if (take_byte(&word, 'V') && !take_u32(&word, &list->uidvalidity))
            return RC_SYNTAX;
    return list->uidvalidity ? RC_OK : RC_SYNTAX;
}

/* "12 P0000000c50c3b5f1 W2345 :1276528487.M1P1.host,S=1355" */
static enum rc uid_line(const struct maildir_list *list, struct str line,
                        struct maildir_listed *out)
{
    struct str field;
    if (!take_u32(&line, &out->uid) || !take_byte(&line, ' ') || !out->uid)
        return RC_SYNTAX;
    while (list->kind == MAILDIR_LIST_FIELDS && line.n && line.p[0] != ':') {
        if (!str_cut(&line, ' ', &field) || str_is_null(line))
            return RC_SYNTAX;
        if (take_byte(&field, 'P') && field.n)
            out->uidl = field;
    }
    if (list->kind == MAILDIR_LIST_FIELDS && !take_byte(&line, ':'))
        return RC_SYNTAX;
    out->base = maildir_name_base(line);
    return out->base.n ? RC_OK : RC_SYNTAX;
}

/* "/2 uidnext uidvalidity", "/1 uidvalidity", or already a message */
static bool size_header(struct maildir_list *list, struct str line)
{
    uint32_t version, next;
    list->kind = MAILDIR_LIST_SIZES_2;
    if (!take_byte(&line, '/'))
        return false;
    if (!take_u32(&line, &version) || !take_byte(&line, ' ') || !take_u32(&line, &next))
        return true;
    list->uidvalidity = next;
    list->kind = version == 1 ? MAILDIR_LIST_SIZES_1 : MAILDIR_LIST_SIZES_2;
    if (version == 2 && take_byte(&line, ' '))
        take_u32(&line, &list->uidvalidity);
    return true;
}

/* "name size uid:uidvalidity", "name size uid", "name size" */
static enum rc size_line(const struct maildir_list *list, struct str line,
                         struct maildir_listed *out)
{
    struct str name, size;
    if (!str_cut(&line, ' ', &name) || !str_cut(&line, ' ', &size) || !name.n || !size.n)
        return RC_SYNTAX;
    for (size_t i = 0; i < size.n; i++)
        if (!ascii_is_digit(size.p[i]))
            return RC_SYNTAX;
    out->base = maildir_name_base(name);
    out->is_courier_pop3 = true;
    if (line.n && !take_u32(&line, &out->uid))
        return RC_SYNTAX;
    if (take_byte(&line, ':') && !take_u32(&line, &out->uidvalidity))
        return RC_SYNTAX;
    return out->base.n ? RC_OK : RC_SYNTAX;
}

enum rc maildir_list_line(struct maildir_list *list, struct str line, struct maildir_listed *out)
{
    *out = (struct maildir_listed){0};
    if (line.n && line.p[line.n - 1] == '\r')
        line.n--;
    if (memchr(line.p ? line.p : "", 0, line.n))
        return RC_SYNTAX;
    switch (list->kind) {
    case MAILDIR_LIST_NEW:
        if (uid_header(list, line) == RC_OK)
            return RC_OK;
        list->kind = MAILDIR_LIST_BAD;
        return RC_SYNTAX;
    case MAILDIR_LIST_PLAIN:
    case MAILDIR_LIST_FIELDS:
        return uid_line(list, line, out);
    case MAILDIR_LIST_SIZES:
        return size_header(list, line) ? RC_OK : size_line(list, line, out);
    case MAILDIR_LIST_SIZES_1:
    case MAILDIR_LIST_SIZES_2:
        return size_line(list, line, out);
    default:
        return RC_OK; /* of a list that nobody here knows nothing is believed */
    }
}

/* --- unique-ids ------------------------------------------------------------------------------- */

/* What stands between '%' and the letter: "08X", "x", nothing. */
static bool put_number(struct buf *out, struct str how, uint32_t value)
{
    unsigned width = 0;
    bool is_zero = take_byte(&how, '0');
    for (; how.n && ascii_is_digit(how.p[0]) && width < 20; how = str_skip(how, 1))
        width = width * 10 + (unsigned)(how.p[0] - '0');
    if (how.n > 1 || width > 20 || (width && !is_zero))
        return false;
    if (str_eq(how, STR("X")) || str_eq(how, STR("x"))) /* Dovecot's %X has small letters */
        buf_putf(out, "%0*x", (int)width, value);
    else if (!how.n)
        buf_putf(out, "%0*u", (int)width, value);
    return !how.n || how.p[0] == 'X' || how.p[0] == 'x';
}

enum rc maildir_uidl(struct str form, uint32_t uid, uint32_t uidvalidity, struct str file,
                     struct buf *out)
{
    while (form.n) {
        if (!take_byte(&form, '%')) {
            buf_put(out, str_head(form, 1));
            form = str_skip(form, 1);
            continue;
        }
        size_t n = 0;
        while (n < form.n && (ascii_is_digit(form.p[n]) || form.p[n] == 'X' || form.p[n] == 'x'))
            n++;
        struct str how = str_head(form, n);
        char what = n < form.n ? form.p[n] : 0;
        form = str_skip(form, n + 1);
        if (what == 'f' && !n)
            buf_put(out, file);
        else if (what == '%' && !n)
            buf_put(out, STR("%"));
        else if ((what != 'u' && what != 'v') ||
                 !put_number(out, how, what == 'u' ? uid : uidvalidity))
            return RC_SYNTAX;
    }
    return RC_OK;
}

enum rc transfer_uidl(struct str form, uint32_t uid, uint32_t uidvalidity, struct buf *out)
{
    return maildir_uidl(form, uid, uidvalidity, (struct str){0}, out);
}

/* --- folders ---------------------------------------------------------------------------------- */

/* "\2e" is the dot that parts no levels, as Dovecot's listescape has it. */
static void put_level(struct buf *out, struct str level)
{
    char plain[LEVEL_MAX];
    size_t n = 0, before = buf_len(out);
    for (; level.n && n < sizeof plain; level = str_skip(level, 1)) {
        bool is_dot = str_starts(level, STR("\\2e"));
        plain[n++] = is_dot ? '.' : level.p[0];
        if (is_dot)
            level = str_skip(level, 2);
    }
    struct str text = str_from(plain, n);
    if (utf8_is_ascii(text) && utf7_decode(text, out) == RC_OK &&
        str_find_byte(str_skip(buf_str(out), before), '/') < 0)
        return;
    buf_truncate(out, before);
    buf_put(out, text);
}

void maildir_folder_name(struct str file, char separator, struct buf *out)
{
    struct str level;
    bool is_first = true;
    while (str_cut(&file, separator, &level)) {
        if (!is_first)
            buf_put(out, STR("/"));
        put_level(out, level);
        is_first = false;
    }
}
