/* Fuzz target: envelope and structure. The input is a message; the same bytes are also read back as
 * a summary and as a structure. Aborts when a text is not of IMAP's grammar, depends on how the
 * message was cut, has a part that no number leads to, or cannot be made into BODY. */
#include "fuzz/charsets.h"
#include "fuzz/fuzz.h"
#include "mime/section.h"
#include "mime/summary.h"

static bool take(struct str *s, struct str what)
{
    if (!str_starts(*s, what))
        return false;
    *s = str_skip(*s, what.n);
    return true;
}

static void demand(struct str *s, struct str what)
{
    FUZZ_DEMAND(take(s, what));
}

static uint64_t demand_number(struct str *s)
{
    uint64_t n = 0;
    FUZZ_DEMAND(s->n && ascii_is_digit(s->p[0]));
    for (; s->n && ascii_is_digit(s->p[0]); *s = str_skip(*s, 1))
        n = n * 10 + (uint64_t)(s->p[0] - '0');
    return n;
}

static void demand_string(struct str *s)
{
    if (take(s, STR("{"))) {
        uint64_t n = demand_number(s);
        demand(s, STR("}\r\n"));
        FUZZ_DEMAND(n <= s->n && str_find_byte(str_head(*s, n), '\0') < 0);
        *s = str_skip(*s, n);
        return;
    }
    demand(s, STR("\""));
    while (!take(s, STR("\""))) {
        if (take(s, STR("\\")))
            FUZZ_DEMAND(s->n && (s->p[0] == '"' || s->p[0] == '\\'));
        FUZZ_DEMAND(s->n && s->p[0] > 0 && s->p[0] != '\r' && s->p[0] != '\n');
        *s = str_skip(*s, 1);
    }
}

static void demand_nstring(struct str *s)
{
    if (!take(s, STR("NIL")))
        demand_string(s);
}

static void demand_addresses(struct str *s)
{
    int depth = 0;
    if (take(s, STR("NIL")))
        return;
    demand(s, STR("("));
    do {
        demand(s, STR("("));
        demand_nstring(s);
        demand(s, STR(" "));
        demand_nstring(s);
        demand(s, STR(" "));
        bool is_end = str_starts(*s, STR("NIL"));
        demand_nstring(s);
        demand(s, STR(" "));
        bool is_group = str_starts(*s, STR("NIL"));
        demand_nstring(s);
        demand(s, STR(")"));
        FUZZ_DEMAND(is_group || !is_end);
        depth += is_group ? (is_end ? -1 : 1) : 0;
        FUZZ_DEMAND(depth == 0 || depth == 1);
    } while (!take(s, STR(")")));
    FUZZ_DEMAND(depth == 0);
}

static void demand_envelope(struct str *s)
{
    demand(s, STR("("));
    demand_nstring(s);
    demand(s, STR(" "));
    demand_nstring(s);
    for (int i = 0; i < 6; i++) {
        demand(s, STR(" "));
        demand_addresses(s);
    }
    demand(s, STR(" "));
    demand_nstring(s);
    demand(s, STR(" "));
    demand_nstring(s);
    demand(s, STR(")"));
}

static void demand_strings(struct str *s, bool is_pairs)
{
    if (take(s, STR("NIL")))
        return;
    demand(s, STR("("));
    do {
        demand_string(s);
        if (is_pairs) {
            demand(s, STR(" "));
            demand_string(s);
        }
    } while (take(s, STR(" ")));
    demand(s, STR(")"));
}

static void demand_end(struct str *s)
{
    demand(s, STR(" "));
    if (!take(s, STR("NIL"))) {
        demand(s, STR("("));
        demand_string(s);
        demand(s, STR(" "));
        demand_strings(s, true);
        demand(s, STR(")"));
    }
    demand(s, STR(" "));
    demand_strings(s, false);
    demand(s, STR(" "));
    demand_nstring(s);
    demand(s, STR(")"));
}

enum { DEEPEST = 60 };

struct path {
    uint32_t numbers[DEEPEST * 2];
    size_t n;
};

static void demand_body(struct str *s, const struct mime_tree *t, struct path *path,
                        bool is_message);

static void demand_leaf(struct str *s, const struct mime_tree *t, struct path *path)
{
    struct str all = *s;
    uint32_t part;
    FUZZ_DEMAND(mime_part_find(t, path->numbers, path->n, &part) == RC_OK);
    demand_string(s);
    demand(s, STR(" "));
    bool is_rfc822 = str_istarts(all, STR("\"message\" \"rfc822\""));
    bool is_text = str_istarts(all, STR("\"text\""));
    demand_string(s);
    demand(s, STR(" "));
    demand_strings(s, true);
    demand(s, STR(" "));
    demand_nstring(s);
    demand(s, STR(" "));
    demand_nstring(s);
    demand(s, STR(" "));
    demand_string(s);
    demand(s, STR(" "));
    FUZZ_DEMAND(demand_number(s) == t->parts[part].body_end - t->parts[part].body_begin);
    if (is_rfc822) {
        FUZZ_DEMAND(t->parts[part].kind == MIME_MESSAGE);
        demand(s, STR(" "));
        demand_envelope(s);
        demand(s, STR(" "));
        demand_body(s, t, path, true);
    }
    if (is_rfc822 || is_text) {
        demand(s, STR(" "));
        FUZZ_DEMAND(demand_number(s) == t->parts[part].body_lines);
    }
    demand(s, STR(" "));
    demand_nstring(s);
}

/* A multipart's parts, with their numbers. */
static void demand_parts(struct str *s, const struct mime_tree *t, struct path *path)
{
    static const char empty[] = "(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 0 "
                                "0 NIL NIL NIL NIL)";
    uint32_t part;
    path->numbers[path->n++] = 1;
    if (mime_part_find(t, path->numbers, path->n, &part) != RC_OK) {
        demand(s, str_of(empty));
    } else {
        for (; str_starts(*s, STR("(")); path->numbers[path->n - 1]++)
            demand_body(s, t, path, false);
        FUZZ_DEMAND(mime_part_find(t, path->numbers, path->n, &part) == RC_NOTFOUND);
    }
    path->n--;
}

static void demand_body(struct str *s, const struct mime_tree *t, struct path *path,
                        bool is_message)
{
    FUZZ_DEMAND(path->n < DEEPEST);
    demand(s, STR("("));
    if (str_starts(*s, STR("("))) {
        demand_parts(s, t, path);
        demand(s, STR(" "));
        demand_string(s);
        demand(s, STR(" "));
        demand_strings(s, true);
    } else {
        if (is_message)
            path->numbers[path->n++] = 1;
        demand_leaf(s, t, path);
        if (is_message)
            path->n--;
    }
    demand_end(s);
}

static void summarise(struct str m, size_t step, uint32_t kept, struct mime_tree *t,
                      struct buf *out)
{
    struct mime_limits limits = mime_limits_default;
    struct mime_parser p;
    limits.kept = kept;
    mime_init(&p, &limits);
    mime_keep(&p);
    for (; m.n; m = str_skip(m, step))
        mime_feed(&p, str_head(m, step));
    mime_finish(&p, t);
    mime_fini(&p);
    FUZZ_DEMAND(mime_summary(t, out) == RC_OK);
}

/* For IMAP4rev2: it can be read and shortened too, and is another one only where that is said. */
static void check_rev2(const struct mime_tree *t, struct str summary, struct str structure)
{
    struct buf out, body;
    struct str envelope, shown;
    buf_init(&out, MIME_SUMMARY_MAX);
    buf_init(&body, MIME_SUMMARY_MAX);
    FUZZ_DEMAND(mime_summary_rev2(t, charsets_made(), &out) == RC_OK);
    FUZZ_DEMAND(mime_summary_read(buf_str(&out), &envelope, &shown));
    FUZZ_DEMAND(mime_structure_to_body(shown, &body) == RC_OK);
    FUZZ_DEMAND(mime_structure_has_rev2(structure) || str_eq(buf_str(&out), summary));
    buf_fini(&out);
    buf_fini(&body);
}

static void check(struct str m, uint32_t kept)
{
    struct mime_tree t, cut_tree;
    struct buf whole, cut, body;
    struct str envelope, structure, rest;
    struct path path = {.n = 0};
    bool is_attached;
    buf_init(&whole, MIME_SUMMARY_MAX);
    buf_init(&cut, MIME_SUMMARY_MAX);
    buf_init(&body, MIME_SUMMARY_MAX);
    summarise(m, m.n + 1, kept, &t, &whole);
    summarise(m, m.n ? (unsigned char)m.p[m.n / 2] % 31 + 1 : 1, kept, &cut_tree, &cut);
    FUZZ_DEMAND(str_eq(buf_str(&whole), buf_str(&cut)));
    FUZZ_DEMAND(mime_summary_read(buf_str(&whole), &envelope, &structure));
    FUZZ_DEMAND(mime_structure_to_body(structure, &body) == RC_OK);
    FUZZ_DEMAND(mime_structure_attachment(structure, &is_attached) == RC_OK);
    FUZZ_DEMAND(buf_len(&body) < structure.n);
    demand_envelope(&envelope);
    FUZZ_DEMAND(envelope.n == 0);
    check_rev2(&t, buf_str(&whole), structure);
    rest = structure;
    demand_body(&rest, &t, &path, true);
    FUZZ_DEMAND(rest.n == 0);
    buf_fini(&whole);
    buf_fini(&cut);
    buf_fini(&body);
    mime_tree_fini(&t);
    mime_tree_fini(&cut_tree);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str m = str_from(data, size), a, b;
    struct buf out;
    check(m, 256 << 10);
    check(m, 100);
    mime_summary_read(m, &a, &b);
    buf_init(&out, size + 1);
    bool is_attached;
    enum rc rc = mime_structure_to_body(m, &out);
    enum rc read = mime_structure_attachment(m, &is_attached);
    FUZZ_DEMAND(read == RC_OK || read == RC_CORRUPT);
    FUZZ_DEMAND(rc == RC_OK || (rc == RC_CORRUPT && buf_len(&out) == 0));
    buf_fini(&out);
    return 0;
}
