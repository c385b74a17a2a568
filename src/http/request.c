/* A request's head: its first line, its fields, and what they say about the body.
 *
 * Pure. Lines are found and checked first, since everything else relies on them; then each is taken
 * apart. Nothing is repaired. [RFC9112 2.2] allows to take a bare LF for a line's end: that is not
 * done here, see http.h.
 */
#include "http/http_int.h"

static bool is_token(struct str s)
{
    static const char others[] = "!#$%&'*+-.^_`|~"; /* [RFC9110 5.6.2] */
    for (size_t i = 0; i < s.n; i++)
        if (!ascii_is_alpha(s.p[i]) && !ascii_is_digit(s.p[i]) &&
            str_find_byte(str_of(others), s.p[i]) < 0)
            return false;
    return s.n > 0;
}

static enum rc refuse(int status, int *out_status)
{
    *out_status = status;
    return RC_SYNTAX;
}

/* --- lines ------------------------------------------------------------------------------------ */

enum rc http_line_next(struct str in, size_t max, struct str *out_line)
{
    for (size_t i = 0; i < in.n; i++) {
        if (i >= max)
            return RC_LIMIT;
        if (in.p[i] == '\r' && i + 1 == in.n)
            return RC_AGAIN;
        if (in.p[i] == '\r' && in.p[i + 1] == '\n') {
            *out_line = str_head(in, i);
            return RC_OK;
        }
        if (in.p[i] == '\r' || in.p[i] == '\n' || in.p[i] == '\0')
            return RC_SYNTAX;
    }
    return in.n >= max ? RC_LIMIT : RC_AGAIN;
}

/* --- the first line [RFC9112 3] --------------------------------------------------------------- */

static bool is_host(struct str s)
{
    static const char others[] = "-._~!$&'()*+,;=%[]:"; /* [RFC3986 3.2.2], and a port */
    for (size_t i = 0; i < s.n; i++)
        if (!ascii_is_alpha(s.p[i]) && !ascii_is_digit(s.p[i]) &&
            str_find_byte(str_of(others), s.p[i]) < 0)
            return false;
    return s.n > 0;
}

static bool is_version(struct str s)
{
    return s.n == 8 && str_starts(s, STR("HTTP/")) && ascii_is_digit(s.p[5]) && s.p[6] == '.' &&
           ascii_is_digit(s.p[7]);
}

static void split_query(struct str target, struct http_request *out)
{
    ptrdiff_t mark = str_find_byte(target, '?');
    out->path = mark < 0 ? target : str_head(target, (size_t)mark);
    out->query = mark < 0 ? (struct str){0} : str_skip(target, (size_t)mark + 1);
}

/* "/path?query", or "http://host/path" as a proxy would send it, whose host counts. */
static bool take_target(struct str target, struct http_request *out)
{
    for (size_t i = 0; i < target.n; i++)
        if (!ascii_is_print(target.p[i]) || target.p[i] == ' ' || target.p[i] == '#')
            return false;
    if (str_istarts(target, STR("http://")) || str_istarts(target, STR("https://"))) {
        struct str rest = str_skip(target, (size_t)str_find(target, STR("//")) + 2);
        size_t n = 0;
        while (n < rest.n && rest.p[n] != '/' && rest.p[n] != '?')
            n++;
        out->host = str_head(rest, n);
        target = str_skip(rest, n);
        split_query(target, out);
        if (!out->path.n)
            out->path = STR("/");
        return is_host(out->host);
    }
    split_query(target, out);
    return target.n && target.p[0] == '/';
}

static enum rc take_first_line(struct str line, struct http_request *out, int *out_status)
{
    ptrdiff_t first = str_find_byte(line, ' '), last = str_rfind_byte(line, ' ');
    if (first < 0 || last <= first + 1)
        return refuse(400, out_status);
    struct str method = str_head(line, (size_t)first);
    struct str target = str_sub(line, (size_t)first + 1, (size_t)(last - first - 1));
    struct str version = str_skip(line, (size_t)last + 1);
    if (!is_token(method) || !is_version(version))
        return refuse(400, out_status);
    if (version.p[5] != '1')
        return refuse(505, out_status);
    out->is_last = version.p[7] == '0';
    out->method = str_eq(method, STR("GET"))    ? HTTP_GET
                  : str_eq(method, STR("HEAD")) ? HTTP_HEAD
                                                : HTTP_OTHER;
    if (str_eq(target, STR("*")) && str_eq(method, STR("OPTIONS"))) {
        out->path = target;
        return RC_OK;
    }
    if (str_eq(method, STR("CONNECT")))
        return refuse(501, out_status);
    return take_target(target, out) ? RC_OK : refuse(400, out_status);
}

/* --- fields [RFC9112 5] ----------------------------------------------------------------------- */

static bool is_value(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (((unsigned char)s.p[i] < ' ' && s.p[i] != '\t') || s.p[i] == 0x7f)
            return false;
    return true;
}

static enum rc take_field(struct str line, struct http_request *out, int *out_status)
{
    ptrdiff_t colon = str_find_byte(line, ':');
    if (colon < 0 || out->n_fields == HTTP_FIELDS)
        return refuse(colon < 0 ? 400 : 431, out_status);
    struct http_field *f = &out->field[out->n_fields++];
    f->name = str_head(line, (size_t)colon);
    f->value = str_trim(str_skip(line, (size_t)colon + 1));
    /* A line that begins with a space continues the one before, or says so to others: refused, as
     * is a space before the colon [RFC9112 5.1, 5.2]. Neither is a token. */
    if (!is_token(f->name) || !is_value(f->value))
        return refuse(400, out_status);
    return RC_OK;
}

static size_t count_of(const struct http_request *r, struct str name)
{
    size_t n = 0;
    for (size_t i = 0; i < r->n_fields; i++)
        n += str_ieq(r->field[i].name, name);
    return n;
}

struct str http_request_field(const struct http_request *r, struct str name)
{
    for (size_t i = 0; i < r->n_fields; i++)
        if (str_ieq(r->field[i].name, name))
            return r->field[i].value;
    return (struct str){0};
}

/* [RFC9112 3.2]: exactly one in HTTP/1.1; one within the target is the one that counts. */
static enum rc look_at_host(struct http_request *r, bool is_1_0, int *out_status)
{
    size_t n = count_of(r, STR("Host"));
    struct str host = http_request_field(r, STR("Host"));
    if (n > 1 || (n == 0 && !is_1_0) || (n == 1 && !is_host(host)))
        return refuse(400, out_status);
    if (str_is_null(r->host))
        r->host = host;
    return RC_OK;
}

static bool is_decimal(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!ascii_is_digit(s.p[i]))
            return false;
    return s.n > 0;
}

/* [RFC9112 6.3] */
static enum rc look_at_body(struct http_request *r, bool is_1_0, int *out_status)
{
    size_t lengths = count_of(r, STR("Content-Length"));
    size_t codings = count_of(r, STR("Transfer-Encoding"));
    if (lengths + codings > 1 || (codings && is_1_0))
        return refuse(400, out_status);
    if (codings) {
        if (!str_ieq(http_request_field(r, STR("Transfer-Encoding")), STR("chunked")))
            return refuse(501, out_status);
        r->framing = HTTP_CHUNKED;
    }
    if (lengths) {
        struct str value = http_request_field(r, STR("Content-Length"));
        if (!is_decimal(value) || str_to_u64(value, &r->length) != RC_OK)
            return refuse(400, out_status);
        r->framing = r->length ? HTTP_LENGTH : HTTP_NO_BODY;
    }
    struct str expect = http_request_field(r, STR("Expect"));
    if (!str_is_null(expect) && !str_ieq(expect, STR("100-continue")))
        return refuse(417, out_status); /* [RFC9110 10.1.1] */
    r->expects_continue = !str_is_null(expect) && !is_1_0 && r->framing != HTTP_NO_BODY;
    return RC_OK;
}

/* [RFC9112 9.6] */
static void look_at_connection(struct http_request *r)
{
    for (size_t i = 0; i < r->n_fields; i++) {
        struct str rest = r->field[i].value, part;
        if (!str_ieq(r->field[i].name, STR("Connection")))
            continue;
        while (str_cut(&rest, ',', &part))
            r->is_last |= str_ieq(str_trim(part), STR("close"));
    }
}

/* --- the head --------------------------------------------------------------------------------- */

static enum rc of_line(enum rc rc, bool is_first, int *out_status)
{
    if (rc == RC_LIMIT)
        return refuse(is_first ? 414 : 431, out_status);
    return rc == RC_SYNTAX ? refuse(400, out_status) : rc;
}

enum rc http_request_parse(struct str in, struct http_request *out, size_t *out_used,
                           int *out_status)
{
    struct str line, rest = in;
    *out = (struct http_request){0};
    if (str_starts(rest, STR("\r\n"))) /* behind the body of the one before [RFC9112 2.2] */
        rest = str_skip(rest, 2);
    TRY(of_line(http_line_next(rest, HTTP_LINE_MAX, &line), true, out_status));
    TRY(take_first_line(line, out, out_status));
    for (;;) {
        rest = str_skip(rest, line.n + 2);
        enum rc rc = http_line_next(rest, HTTP_LINE_MAX, &line);
        size_t n = rc == RC_OK ? line.n : rest.n - (str_ends(rest, STR("\r")) ? 1 : 0);
        if ((rc == RC_AGAIN || rc == RC_OK) && in.n - rest.n + n > HTTP_HEAD_MAX)
            rc = RC_LIMIT; /* the same however the head was cut on its way */
        TRY(of_line(rc, false, out_status));
        if (line.n == 0)
            break;
        TRY(take_field(line, out, out_status));
    }
    bool is_1_0 = out->is_last;
    TRY(look_at_host(out, is_1_0, out_status));
    TRY(look_at_body(out, is_1_0, out_status));
    look_at_connection(out);
    *out_used = in.n - rest.n + 2;
    return RC_OK;
}
