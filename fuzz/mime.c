/* Fuzz target: the MIME parser and the readers of header fields. The input is a message. Aborts
 * when a tree breaks a rule of mime/test_tree.h, depends on how the message was cut, or when a
 * reader gives bytes that are not its input's. */
#include "fuzz/fuzz.h"
#include "mime/test_tree.h"

static const struct mime_limits narrow = {
    .depth = 3, .parts = 5, .header_fields = 6, .header_size = 200, .field_size = 40};

static void check_tree(struct str m, const struct mime_limits *limits)
{
    struct mime_tree whole, cut;
    mime_parse(m, limits, &whole);
    FUZZ_DEMAND(!tree_fault(&whole, m, limits));
    /* The input decides where it is cut, so that a failure can be repeated. */
    size_t first = m.n ? (unsigned char)m.p[m.n / 2] : 0;
    size_t sizes[] = {1, first % 31 + 2};
    for (size_t i = 0; i < 2; i++) {
        parse_cut(m, limits, i * first, sizes[i], &cut);
        FUZZ_DEMAND(tree_is_same(&whole, &cut));
        mime_tree_fini(&cut);
    }
    mime_tree_fini(&whole);
}

static void demand_within(struct str s, struct str all)
{
    FUZZ_DEMAND(s.n == 0 || (s.p >= all.p && s.p + s.n <= all.p + all.n));
}

static void check_params(struct str params, struct str value, struct buf *out)
{
    struct mime_param param;
    demand_within(params, value);
    while (mime_param_next(&params, &param)) {
        demand_within(param.name, value);
        demand_within(param.value, value);
        FUZZ_DEMAND(param.name.n > 0);
        buf_clear(out);
        if (mime_unquote(&param, out) == RC_OK)
            FUZZ_DEMAND(buf_len(out) <= param.value.n);
    }
}

static void check_value(struct str value, struct buf *out)
{
    struct mime_type type;
    struct str word, params, rest = value;
    if (mime_type_read(value, &type) == RC_OK) {
        demand_within(type.type, value);
        demand_within(type.subtype, value);
        check_params(type.params, value, out);
    }
    if (mime_word_read(value, &word, &params) == RC_OK) {
        demand_within(word, value);
        check_params(params, value, out);
    }
    while (mime_msgid_next(&rest, out)) {
        FUZZ_DEMAND(buf_len(out) > 0 && buf_len(out) <= value.n);
        FUZZ_DEMAND(str_find_byte(buf_str(out), ' ') < 0 && str_find_byte(buf_str(out), '<') < 0);
        demand_within(rest, value);
    }
    FUZZ_DEMAND(rest.n == 0);
    buf_clear(out);
    if (mime_unfold(value, out) == RC_OK)
        FUZZ_DEMAND(str_find_byte(buf_str(out), '\n') < 0 && buf_len(out) <= value.n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str m = str_from(data, size), rest = m;
    struct mime_field field;
    struct buf out;
    check_tree(m, &mime_limits_default);
    check_tree(m, &narrow);
    buf_init(&out, 60);
    while (mime_header_next(&rest, &field)) {
        demand_within(field.name, field.whole);
        demand_within(field.value, field.whole);
        demand_within(field.whole, m);
        check_value(field.value, &out);
    }
    buf_fini(&out);
    return 0;
}
