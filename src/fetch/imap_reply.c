/* Reads what an IMAP server says [RFC3501 7, 9] [RFC9051 7, 9]. */
#include "fetch/imap_reply.h"

#include "base/arena.h"
#include "base/utf7.h"
#include "base/utf8.h"

#include <string.h>
#include <time.h>

enum { LITERAL_MAX = 1 << 30 };

void fetch_imap_reader_init(struct imap_reader *r)
{
    *r = (struct imap_reader){.text.cap = IMAP_TEXT};
}

void fetch_imap_reader_fini(struct imap_reader *r)
{
    buf_fini(&r->text);
}

/* --- answers ---------------------------------------------------------------------------------- */

/* The words of a status answer may look like anything [RFC3501 7.1]. */
static bool may_have_literals(struct str text)
{
    static const char *const words[] = {"OK", "NO", "BAD", "BYE", "PREAUTH"};
    struct str word;
    str_cut(&text, ' ', &word);
    if (!str_eq(word, STR("*")))
        return false;
    str_cut(&text, ' ', &word);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (str_ieq(word, str_of(words[i])))
            return false;
    return true;
}

/* Whether the line ends with "{n}"; *out_at: where that begins. */
static enum rc literal_of(struct str text, size_t *out_at, uint64_t *out_n)
{
    ptrdiff_t open = str_rfind_byte(text, '{');
    if (!str_ends(text, STR("}")) || open < 0 || !may_have_literals(text))
        return RC_NOTFOUND;
    struct str number = str_sub(text, (size_t)open + 1, text.n - (size_t)open - 2);
    if (str_to_u64(number, out_n) != RC_OK)
        return RC_NOTFOUND;
    *out_at = (size_t)open;
    if (open > 0 && text.p[open - 1] == '~')
        (*out_at)--;
    return *out_n > LITERAL_MAX ? RC_LIMIT : RC_OK;
}

static enum rc end_line(struct imap_reader *r, enum imap_part *out_what, struct str *out,
                        uint64_t *out_size)
{
    struct str text = buf_str(&r->text);
    size_t at = 0;
    enum rc rc = literal_of(text, &at, out_size);
    if (rc == RC_NOTFOUND) {
        *out_what = IMAP_ANSWER;
        *out = text;
        r->is_whole = true;
        return RC_OK;
    }
    TRY(rc);
    r->literal = *out_size;
    r->is_body = at >= 7 && str_ieq(str_sub(text, at - 7, 7), STR("BODY[] "));
    if (r->is_body) {
        buf_truncate(&r->text, at);
        *out_what = IMAP_BODY;
        return buf_add(&r->text, STR("NIL"));
    }
    if (*out_size > IMAP_TEXT)
        return RC_LIMIT;
    TRY(buf_add(&r->text, STR("\r\n")));
    return RC_AGAIN; /* its bytes are a part of the text */
}

static enum rc take_line(struct imap_reader *r, struct str *in, enum imap_part *out_what,
                         struct str *out, uint64_t *out_size)
{
    ptrdiff_t lf = str_find_byte(*in, '\n');
    struct str part = lf < 0 ? *in : str_head(*in, (size_t)lf + 1);
    TRY(buf_add(&r->text, part));
    *in = str_skip(*in, part.n);
    if (lf < 0)
        return RC_AGAIN;
    size_t n = buf_len(&r->text) - 1;
    n -= n && buf_str(&r->text).p[n - 1] == '\r';
    buf_truncate(&r->text, n);
    return end_line(r, out_what, out, out_size);
}

enum rc fetch_imap_next(struct imap_reader *r, struct str *in, enum imap_part *out_what,
                        struct str *out, uint64_t *out_size)
{
    enum rc rc = RC_AGAIN;
    if (r->is_whole)
        buf_clear(&r->text);
    r->is_whole = false;
    while (rc == RC_AGAIN) {
        struct str part = str_head(*in, r->literal < in->n ? (size_t)r->literal : in->n);
        if (r->is_body && r->literal == 0) {
            r->is_body = false;
            *out_what = IMAP_BODY_END;
            return RC_OK;
        }
        if (in->n == 0)
            return RC_AGAIN;
        if (r->literal) {
            *in = str_skip(*in, part.n);
            r->literal -= part.n;
            *out_what = IMAP_BODY_BYTES;
            *out = part;
            if (r->is_body)
                return RC_OK;
            TRY(buf_add(&r->text, part));
            continue;
        }
        rc = take_line(r, in, out_what, out, out_size);
    }
    return rc;
}

/* --- values ----------------------------------------------------------------------------------- */

static void skip_spaces(struct str *rest)
{
    while (rest->n && rest->p[0] == ' ')
        *rest = str_skip(*rest, 1);
}

static enum rc quoted(struct str *rest, struct buf *to)
{
    for (size_t i = 1; i < rest->n; i++) {
        char c = rest->p[i];
        if (c == '"') {
            *rest = str_skip(*rest, i + 1);
            return RC_OK;
        }
        if (c == '\\' && ++i == rest->n)
            break;
        TRY(buf_add_byte(to, rest->p[i]));
    }
    return RC_SYNTAX;
}

static enum rc literal(struct str *rest, struct buf *to)
{
    ptrdiff_t close = str_find(*rest, STR("}\r\n"));
    uint64_t n;
    if (close < 0 || str_to_u64(str_sub(*rest, 1, (size_t)close - 1), &n) != RC_OK)
        return RC_SYNTAX;
    struct str behind = str_skip(*rest, (size_t)close + 3);
    if (n > behind.n)
        return RC_SYNTAX;
    *rest = str_skip(behind, (size_t)n);
    return buf_add(to, str_head(behind, (size_t)n));
}

enum rc fetch_imap_string(struct str *rest, struct buf *to, bool *out_is_nil)
{
    buf_clear(to);
    skip_spaces(rest);
    *out_is_nil = false;
    if (rest->n == 0 || rest->p[0] == ')')
        return RC_EOF;
    if (rest->p[0] == '"')
        return quoted(rest, to);
    if (rest->n > 1 && rest->p[0] == '~' && rest->p[1] == '{')
        *rest = str_skip(*rest, 1);
    if (rest->p[0] == '{')
        return literal(rest, to);
    size_t n = 0, depth = 0; /* an atom; a section in brackets may hold anything */
    while (n < rest->n &&
           (depth || (rest->p[n] != ' ' && rest->p[n] != ')' && rest->p[n] != '('))) {
        depth += rest->p[n] == '[';
        depth -= depth && rest->p[n] == ']';
        n++;
    }
    struct str atom = str_head(*rest, n);
    *rest = str_skip(*rest, n);
    *out_is_nil = str_ieq(atom, STR("NIL"));
    return n ? buf_add(to, atom) : RC_SYNTAX;
}

enum rc fetch_imap_skip(struct str *rest)
{
    struct buf ignored = {.cap = IMAP_TEXT};
    unsigned depth = 0;
    bool is_nil;
    enum rc rc = RC_OK;
    do {
        skip_spaces(rest);
        char c = rest->n ? rest->p[0] : '\0';
        if (c == '(' || (c == ')' && depth)) {
            depth += c == '(' ? 1 : -1u;
            *rest = str_skip(*rest, 1);
        } else {
            rc = fetch_imap_string(rest, &ignored, &is_nil);
        }
    } while (rc == RC_OK && depth && depth <= IMAP_DEPTH);
    buf_fini(&ignored);
    return rc == RC_OK && depth ? RC_LIMIT : rc;
}

/* --- words ------------------------------------------------------------------------------------ */

unsigned fetch_imap_capabilities(struct str words)
{
    static const struct {
        const char *name;
        unsigned bit;
    } names[] = {{"STARTTLS", IMAP_STARTTLS},
                 {"AUTH=PLAIN", IMAP_PLAIN},
                 {"LOGINDISABLED", IMAP_LOGINDISABLED},
                 {"UIDPLUS", IMAP_UIDPLUS},
                 {"IDLE", IMAP_IDLE},
                 {"SPECIAL-USE", IMAP_SPECIAL_USE},
                 {"IMAP4rev2", IMAP_UIDPLUS | IMAP_IDLE | IMAP_SPECIAL_USE}};
    struct str word;
    unsigned found = 0;
    while (str_cut(&words, ' ', &word))
        for (size_t i = 0; i < sizeof names / sizeof *names; i++)
            if (str_ieq(word, str_of(names[i].name)))
                found |= names[i].bit;
    return found;
}

enum rc fetch_imap_code(struct str words, struct str *out_code, struct str *out_argument)
{
    ptrdiff_t close = str_find_byte(words, ']');
    if (words.n == 0 || words.p[0] != '[' || close < 0)
        return RC_NOTFOUND;
    *out_argument = str_sub(words, 1, (size_t)close - 1);
    str_cut(out_argument, ' ', out_code);
    return RC_OK;
}

enum rc fetch_imap_refusal(struct str words)
{
    static const char *const passing[] = {"UNAVAILABLE", "INUSE", "SERVERBUG", "LIMIT", "ALERT"};
    struct str code, argument;
    if (fetch_imap_code(str_trim(words), &code, &argument) == RC_OK)
        for (size_t i = 0; i < sizeof passing / sizeof *passing; i++)
            if (str_ieq(code, str_of(passing[i])))
                return RC_TEMP;
    return RC_DENIED;
}

/* --- dates ------------------------------------------------------------------------------------ */

static bool digits(struct str text, size_t at, size_t n, int *out)
{
    *out = 0;
    for (size_t i = at; i < at + n; i++) {
        char c = i < text.n ? text.p[i] : '\0';
        if (c == ' ' && i == at)
            continue;
        if (!ascii_is_digit(c))
            return false;
        *out = *out * 10 + (c - '0');
    }
    return true;
}

uint64_t fetch_imap_date(struct str s)
{
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    struct tm tm = {.tm_mon = -1};
    int zone;
    if (s.n != 26 || s.p[2] != '-' || s.p[6] != '-' || s.p[11] != ' ' || s.p[20] != ' ')
        return 0;
    for (int m = 0; m < 12; m++)
        if (str_ieq(str_sub(s, 3, 3), str_from(months + 3 * m, 3)))
            tm.tm_mon = m;
    bool is_good = digits(s, 0, 2, &tm.tm_mday) && digits(s, 7, 4, &tm.tm_year) &&
                   digits(s, 12, 2, &tm.tm_hour) && digits(s, 15, 2, &tm.tm_min) &&
                   digits(s, 18, 2, &tm.tm_sec) && digits(s, 22, 4, &zone) && tm.tm_mon >= 0;
    if (!is_good || tm.tm_year < 1970)
        return 0;
    tm.tm_year -= 1900;
    int64_t at = (int64_t)timegm(&tm);
    int64_t off = (zone / 100 * 60 + zone % 100) * 60;
    at -= s.p[21] == '-' ? -off : off;
    return at > 0 ? (uint64_t)at * NS_PER_SEC : 0;
}

/* --- FETCH ------------------------------------------------------------------------------------ */

static uint32_t flag_of(struct str word)
{
    static const struct {
        const char *name;
        uint32_t flag;
    } names[] = {{"\\Seen", FETCH_SEEN},
                 {"\\Answered", FETCH_ANSWERED},
                 {"\\Flagged", FETCH_FLAGGED},
                 {"\\Deleted", FETCH_DELETED},
                 {"\\Draft", FETCH_DRAFT}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (str_ieq(word, str_of(names[i].name)))
            return names[i].flag;
    return 0;
}

/* "(\Seen $Junk)" */
static enum rc read_flags(struct str *rest, uint32_t *out, struct buf *word)
{
    bool is_nil;
    enum rc rc;
    skip_spaces(rest);
    if (rest->n == 0 || rest->p[0] != '(')
        return RC_SYNTAX;
    *rest = str_skip(*rest, 1);
    while ((rc = fetch_imap_string(rest, word, &is_nil)) == RC_OK)
        *out |= flag_of(buf_str(word));
    if (rc != RC_EOF || rest->n == 0)
        return RC_SYNTAX;
    *rest = str_skip(*rest, 1);
    return RC_OK;
}

static enum rc read_value(struct str name, struct str *rest, struct imap_fetched *out,
                          struct buf *word)
{
    uint64_t number;
    bool is_nil;
    if (str_ieq(name, STR("FLAGS")))
        return read_flags(rest, &out->item.flags, word);
    bool is_uid = str_ieq(name, STR("UID")), is_size = str_ieq(name, STR("RFC822.SIZE"));
    bool is_body = str_ieq(name, STR("BODY[]")), is_date = str_ieq(name, STR("INTERNALDATE"));
    if (!is_uid && !is_size && !is_body && !is_date)
        return fetch_imap_skip(rest);
    TRY(fetch_imap_string(rest, is_body ? &out->body : word, &is_nil));
    if (is_body)
        out->has_body = true;
    if (is_date)
        out->item.date = fetch_imap_date(buf_str(word));
    if (is_body || is_date)
        return RC_OK;
    if (str_to_u64(buf_str(word), &number) != RC_OK || (is_uid && (!number || number > UINT32_MAX)))
        return RC_SYNTAX;
    out->has_uid |= is_uid;
    out->has_size |= is_size;
    if (is_uid)
        out->item.number = (uint32_t)number;
    else
        out->item.size = number;
    return RC_OK;
}

enum rc fetch_imap_fetched(struct str rest, struct imap_fetched *out)
{
    struct buf name = {.cap = IMAP_TEXT}, word = {.cap = IMAP_TEXT};
    bool is_nil;
    *out = (struct imap_fetched){.body.cap = IMAP_TEXT};
    skip_spaces(&rest);
    enum rc rc = rest.n && rest.p[0] == '(' ? RC_OK : RC_SYNTAX;
    rest = str_skip(rest, 1);
    while (rc == RC_OK) {
        rc = fetch_imap_string(&rest, &name, &is_nil);
        if (rc == RC_OK) {
            rc = read_value(buf_str(&name), &rest, out, &word);
            rc = rc == RC_EOF ? RC_SYNTAX : rc;
        }
    }
    buf_fini(&name);
    buf_fini(&word);
    return rc == RC_EOF ? (rest.n ? RC_OK : RC_SYNTAX) : rc;
}

/* --- LIST ------------------------------------------------------------------------------------- */

/* [RFC6154 2]; *out_is_there: it can be opened. */
static enum rc read_attributes(struct str *rest, struct buf *word, struct arena *arena,
                               struct str *out_use, bool *out_is_there)
{
    static const char *const uses[] = {"\\Sent", "\\Drafts", "\\Trash", "\\Junk", "\\Archive"};
    bool is_nil;
    enum rc rc;
    *out_is_there = true;
    skip_spaces(rest);
    if (rest->n == 0 || rest->p[0] != '(')
        return RC_SYNTAX;
    *rest = str_skip(*rest, 1);
    while ((rc = fetch_imap_string(rest, word, &is_nil)) == RC_OK) {
        if (str_ieq(buf_str(word), STR("\\Noselect")) ||
            str_ieq(buf_str(word), STR("\\NonExistent")))
            *out_is_there = false;
        for (size_t i = 0; i < sizeof uses / sizeof *uses; i++)
            if (str_ieq(buf_str(word), str_of(uses[i])))
                *out_use = arena_dup(arena, str_of(uses[i]));
    }
    if (rc != RC_EOF || rest->n == 0)
        return RC_SYNTAX;
    *rest = str_skip(*rest, 1);
    return RC_OK;
}

/* In UTF-8 with '/' between levels; a '/' within a level becomes '_'. */
static enum rc name_of(struct str raw, char delimiter, struct arena *arena, struct str *out)
{
    struct buf text = {.cap = 4 * FETCH_NAME_MAX};
    enum rc rc = utf7_decode(raw, &text);
    if (rc == RC_SYNTAX) { /* IMAP4rev2 has UTF-8 */
        buf_clear(&text);
        rc = buf_add(&text, raw);
    }
    for (size_t i = text.from; rc == RC_OK && i < text.to; i++) {
        char *p = &text.mem[i];
        if (delimiter && *p == delimiter)
            *p = '/';
        else if (*p == '/' && delimiter != '/')
            *p = '_';
    }
    struct str name = buf_str(&text);
    for (size_t i = 0; rc == RC_OK && i < name.n; i++)
        if ((unsigned char)name.p[i] < ' ' || name.p[i] == 0x7f)
            rc = RC_SYNTAX;
    if (rc == RC_OK && !utf8_is_valid(name))
        rc = RC_SYNTAX;
    if (rc == RC_OK && (name.n == 0 || name.n > FETCH_NAME_MAX))
        rc = RC_SYNTAX;
    if (rc == RC_OK)
        *out = arena_dup(arena, str_ieq(name, STR("INBOX")) ? STR("INBOX") : name);
    buf_fini(&text);
    return rc;
}

enum rc fetch_imap_listed(struct str rest, struct arena *arena, struct fetch_folder *out)
{
    struct buf word = {.cap = IMAP_TEXT};
    bool is_nil, is_there = false;
    *out = (struct fetch_folder){0};
    enum rc rc = read_attributes(&rest, &word, arena, &out->use, &is_there);
    if (rc == RC_OK)
        rc = fetch_imap_string(&rest, &word, &is_nil);
    char delimiter = rc == RC_OK && !is_nil && buf_len(&word) == 1 ? buf_str(&word).p[0] : '\0';
    if (rc == RC_OK)
        rc = fetch_imap_string(&rest, &word, &is_nil);
    if (rc == RC_OK)
        rc = name_of(buf_str(&word), delimiter, arena, &out->name);
    if (rc == RC_OK) {
        out->raw = arena_dup(arena, buf_str(&word));
        rc = str_is_null(out->raw) || str_is_null(out->name) ? RC_LIMIT : RC_OK;
    }
    buf_fini(&word);
    rc = rc == RC_EOF ? RC_SYNTAX : rc;
    return rc == RC_OK && !is_there ? RC_EOF : rc;
}

enum rc fetch_imap_quote(struct buf *out, struct str text)
{
    TRY(buf_add_byte(out, '"'));
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        if (c == '\r' || c == '\n' || c == '\0' || (unsigned char)c > 0x7e)
            return RC_SYNTAX;
        if (c == '"' || c == '\\')
            TRY(buf_add_byte(out, '\\'));
        TRY(buf_add_byte(out, c));
    }
    return buf_add_byte(out, '"');
}
