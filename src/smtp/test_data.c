/* What comes out of DATA, whole and cut at every byte. */
#include "base/test.h"
#include "smtp/smtp.h"

enum { LINE_MAX_BYTES = 80 };

struct outcome {
    char text[512];
    size_t n, used;
    unsigned faults;
    bool is_end;
};

/* Feeds one slice to the reader and adds what it gives to the outcome. */
static void feed(struct smtp_data *d, struct str in, struct outcome *o)
{
    struct str rest = in, piece;
    enum rc rc = RC_OK;
    while (!o->is_end && (rc = smtp_data_next(d, &rest, &piece)) == RC_OK) {
        assert_true(piece.n > 0 && o->n + piece.n <= sizeof o->text);
        memcpy(o->text + o->n, piece.p, piece.n);
        o->n += piece.n;
    }
    o->is_end = rc == RC_EOF || o->is_end;
    o->used += in.n - rest.n;
    o->faults = d->faults;
}

static void decode(struct str in, size_t line_max, size_t step, struct outcome *o)
{
    struct smtp_data d = {.line_max = line_max};
    memset(o, 0, sizeof *o);
    for (size_t i = 0; i < in.n && !o->is_end; i += step)
        feed(&d, str_sub(in, i, step), o);
}

static void assert_same(const struct outcome *a, const struct outcome *b)
{
    assert_int_equal(a->is_end, b->is_end);
    assert_int_equal(a->faults, b->faults);
    assert_int_equal(a->used, b->used);
    if (a->faults == 0) {
        assert_int_equal(a->n, b->n);
        assert_memory_equal(a->text, b->text, a->n);
    }
}

/* Decodes whole, then in two slices at every position, then byte by byte: always the same. */
static void decode_every_way(struct str in, struct outcome *o)
{
    struct outcome other;
    decode(in, LINE_MAX_BYTES, in.n, o);
    for (size_t cut = 1; cut < in.n; cut++) {
        struct smtp_data d = {.line_max = LINE_MAX_BYTES};
        memset(&other, 0, sizeof other);
        feed(&d, str_head(in, cut), &other);
        if (!other.is_end)
            feed(&d, str_skip(in, cut), &other);
        assert_same(o, &other);
    }
    for (size_t step = 1; step < 4; step++) {
        decode(in, LINE_MAX_BYTES, step, &other);
        assert_same(o, &other);
    }
}

static void a_message_ends_at_its_dot(void **state)
{
    struct outcome o;
    decode_every_way(STR("a\r\nb\r\n.\r\nNOOP\r\n"), &o);
    assert_true(o.is_end);
    assert_int_equal(o.faults, 0);
    assert_str(str_from(o.text, o.n),
               "a\r\nb\r\n"); /* the CRLF before the dot is the text's [RFC5321 4.1.1.4] */
    assert_int_equal(o.used, 9);

    decode_every_way(STR(".\r\n"), &o);
    assert_true(o.is_end);
    assert_int_equal(o.n, 0);

    decode_every_way(STR("a\r\n.\r"), &o);
    assert_false(o.is_end);
}

static void stuffed_dots_are_taken_out(void **state)
{
    struct outcome o;
    decode_every_way(STR("..\r\n...x\r\n.y\r\na.\r\n.b.\r\n\r\n..\r\n.\r\n"),
                     &o); /* [RFC5321 4.5.2] */
    assert_true(o.is_end);
    assert_int_equal(o.faults, 0);
    assert_str(str_from(o.text, o.n), ".\r\n..x\r\ny\r\na.\r\nb.\r\n\r\n.\r\n");
}

struct nasty {
    const char *name;
    struct str bytes;
    unsigned faults;
};

/* Forms that some server takes for the end of a message [RFC5321 2.3.8] [RFC5321 4.1.1.4]. */
static const struct nasty nasties[] = {
    {"LF.LF", {"\n.\n", 3}, SMTP_DATA_BARE_LF},
    {"LF.CRLF", {"\n.\r\n", 4}, SMTP_DATA_BARE_LF},
    {"CRLF.LF", {"\r\n.\n", 4}, SMTP_DATA_BARE_LF},
    {"CR.CR", {"\r.\r", 3}, SMTP_DATA_BARE_CR},
    {"CRLF.CR", {"\r\n.\r", 4}, SMTP_DATA_BARE_CR},
    {"CR.CRLF", {"\r.\r\n", 4}, SMTP_DATA_BARE_CR},
    {"CR.LF", {"\r.\n", 3}, SMTP_DATA_BARE_CR | SMTP_DATA_BARE_LF},
    {"LF.CR", {"\n.\r", 3}, SMTP_DATA_BARE_CR | SMTP_DATA_BARE_LF},
    {"CRCRLF.CRCRLF", {"\r\r\n.\r\r\n", 7}, SMTP_DATA_BARE_CR},
    {"CRLF.CRCRLF", {"\r\n.\r\r\n", 6}, SMTP_DATA_BARE_CR},
    {"CRLFCR.CRLF", {"\r\n\r.\r\n", 6}, SMTP_DATA_BARE_CR},
    {"LFCR.LFCR", {"\n\r.\n\r", 5}, SMTP_DATA_BARE_CR | SMTP_DATA_BARE_LF},
    {"CRLF.NULCRLF", {"\r\n.\0\r\n", 6}, SMTP_DATA_NUL},
    {"CRLFNUL.CRLF", {"\r\n\0.\r\n", 6}, SMTP_DATA_NUL},
    {"NUL", {"\0", 1}, SMTP_DATA_NUL},
};

static void a_smuggled_end_ends_nothing(void **state)
{
    static const struct str after = {"MAIL FROM:<evil@example.test>\r\nDATA\r\n", 37};
    for (size_t i = 0; i < sizeof nasties / sizeof *nasties; i++) {
        const struct nasty *t = &nasties[i];
        struct outcome o;
        struct buf b;
        buf_init(&b, 512);
        buf_put(&b, STR("first"));
        buf_put(&b, t->bytes);
        buf_put(&b, after);
        buf_put(&b, STR("second\r\n.\r\n"));
        size_t true_end = buf_len(&b);
        buf_put(&b, STR("QUIT\r\n"));
        decode_every_way(buf_str(&b), &o);
        if (!o.is_end || o.used != true_end || o.faults != t->faults)
            fail_msg("%s: end %d at %zu of %zu, faults %u", t->name, o.is_end, o.used, true_end,
                     o.faults);
        buf_fini(&b);
    }
}

/* Every string of up to seven bytes over the alphabet that matters, against the rule said plainly.
 */
static void every_short_sequence_keeps_the_rule(void **state)
{
    static const char alphabet[] = {'\r', '\n', '.', 'x', '\0'};
    for (unsigned length = 1; length <= 7; length++) {
        unsigned total = 1;
        for (unsigned i = 0; i < length; i++)
            total *= sizeof alphabet;
        for (unsigned n = 0; n < total; n++) {
            char text[7 + 2] = "\r\n"; /* the beginning of a message is the beginning of a line */
            for (unsigned i = 0, rest = n; i < length; i++, rest /= sizeof alphabet)
                text[i + 2] = alphabet[rest % sizeof alphabet];
            struct str in = {text + 2, length}, all = {text, length + 2};
            ptrdiff_t end = str_find(all, STR("\r\n.\r\n"));
            struct outcome whole, split;
            decode(in, 0, length, &whole);
            assert_int_equal(whole.is_end, end >= 0);
            if (end >= 0)
                assert_int_equal(whole.used, end + 3);
            decode(in, 0, 1, &split);
            assert_same(&whole, &split);
        }
    }
}

static void long_lines_are_told(void **state)
{
    char text[LINE_MAX_BYTES + 8];
    struct outcome o;
    memset(text, 'x', sizeof text);
    memcpy(text + LINE_MAX_BYTES - 2, "\r\n.\r\n", 5);
    decode_every_way(str_from(text, LINE_MAX_BYTES + 3), &o);
    assert_int_equal(o.faults, 0);
    text[LINE_MAX_BYTES - 2] = 'x';
    memcpy(text + LINE_MAX_BYTES - 1, "\r\n.\r\n", 5);
    decode_every_way(str_from(text, LINE_MAX_BYTES + 4), &o);
    assert_int_equal(o.faults, SMTP_DATA_LONG);
    assert_true(o.is_end);
}

static void a_piece_is_as_long_as_it_can_be(void **state)
{
    struct smtp_data d = {0};
    struct str in = STR("one\r\ntwo\r\n..three\r\nfour"), piece;
    assert_rc(smtp_data_next(&d, &in, &piece), RC_OK);
    assert_str(piece, "one\r\ntwo\r\n");
    assert_rc(smtp_data_next(&d, &in, &piece), RC_OK);
    assert_str(piece, ".three\r\nfour");
    assert_rc(smtp_data_next(&d, &in, &piece), RC_AGAIN);
    assert_int_equal(in.n, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_ends_at_its_dot),
        cmocka_unit_test(stuffed_dots_are_taken_out),
        cmocka_unit_test(a_smuggled_end_ends_nothing),
        cmocka_unit_test(every_short_sequence_keeps_the_rule),
        cmocka_unit_test(long_lines_are_told),
        cmocka_unit_test(a_piece_is_as_long_as_it_can_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
