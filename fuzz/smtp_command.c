/* Fuzz target: command lines, paths and parameters. The input is what the peer sends, the first
 * byte says how it is cut. Aborts when the lines depend on the cut, when a line holds what no line
 * may hold, or when an address does not survive being written and read again. */
#include "base/utf8.h"
#include "fuzz/fuzz.h"
#include "smtp/smtp.h"

#include <string.h>

enum { LINE = 80 };

static void check_line(struct str line)
{
    FUZZ_DEMAND(line.n + 2 <= LINE);
    FUZZ_DEMAND(line.n == 0 || (!memchr(line.p, '\r', line.n) && !memchr(line.p, '\n', line.n) &&
                                !memchr(line.p, '\0', line.n)));
}

/* Every line, and a mark for every fault, one after the other. */
static void read_lines(struct str in, size_t step, struct buf *out)
{
    struct smtp_lines l = {.max = LINE};
    struct buf pending;
    buf_init(&pending, LINE + step);
    for (size_t i = 0; i < in.n; i += step) {
        buf_put(&pending, str_sub(in, i, step));
        struct str rest = buf_str(&pending), line;
        enum rc rc;
        while ((rc = smtp_line_next(&l, &rest, &line)) != RC_AGAIN) {
            if (rc == RC_OK)
                check_line(line);
            buf_put(out, rc == RC_OK ? line : str_of(rc_name(rc)));
            buf_put(out, STR("\n"));
        }
        FUZZ_DEMAND(rest.n <= LINE);
        buf_consume(&pending, buf_len(&pending) - rest.n);
    }
    FUZZ_DEMAND(!pending.over);
    buf_fini(&pending);
}

/* What a path's domain looks like to DNS. */
static void check_domain(struct str domain)
{
    struct buf ascii;
    buf_init(&ascii, SMTP_DOMAIN_MAX);
    if (!str_is_null(domain)) {
        FUZZ_DEMAND(smtp_domain_ascii(domain, &ascii) == RC_OK);
        FUZZ_DEMAND(smtp_is_domain(buf_str(&ascii)) || smtp_is_literal(buf_str(&ascii)));
    }
    buf_fini(&ascii);
}

static void check_path(struct str args)
{
    struct smtp_path path, again;
    struct buf one, two;
    if (smtp_path_take(&args, &path) != RC_OK)
        return;
    buf_init(&one, 2 * SMTP_PATH_MAX);
    buf_init(&two, 2 * SMTP_PATH_MAX);
    buf_put(&one, STR("<"));
    FUZZ_DEMAND(smtp_path_write(&path, &one) == RC_OK);
    buf_put(&one, STR(">"));
    struct str plain = buf_str(&one);
    FUZZ_DEMAND(utf8_is_valid(plain) && (path.is_utf8 || utf8_is_ascii(plain)));
    for (size_t i = 0; i < plain.n; i++)
        FUZZ_DEMAND(ascii_is_print(plain.p[i]) || (unsigned char)plain.p[i] >= 0x80);
    check_domain(path.domain);
    FUZZ_DEMAND(smtp_path_take(&plain, &again) == RC_OK && plain.n == 0);
    FUZZ_DEMAND(str_eq(path.domain, again.domain));
    buf_put(&two, STR("<"));
    FUZZ_DEMAND(smtp_path_write(&again, &two) == RC_OK);
    buf_put(&two, STR(">"));
    FUZZ_DEMAND(str_eq(buf_str(&one), buf_str(&two)));
    buf_fini(&one);
    buf_fini(&two);
}

static void check_args(struct str line)
{
    struct str verb, args;
    struct smtp_param param;
    smtp_line_split(line, &verb, &args);
    if (smtp_keyword_take(&args, STR("FROM:")) || smtp_keyword_take(&args, STR("TO:")))
        check_path(args);
    if (smtp_is_domain(args) || smtp_is_literal(args))
        FUZZ_DEMAND(args.n <= SMTP_DOMAIN_MAX && str_find_byte(args, ' ') < 0);
    while (smtp_param_next(&args, &param) == RC_OK)
        FUZZ_DEMAND(param.name.n > 0 && utf8_is_ascii(param.name) && utf8_is_valid(param.value));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct str in = str_from(data + 1, size - 1), rest = in, line;
    struct buf whole, cut;
    buf_init(&whole, 8 * size + 64);
    buf_init(&cut, 8 * size + 64);
    read_lines(in, in.n, &whole);
    read_lines(in, data[0] % 32 + 1, &cut);
    FUZZ_DEMAND(!whole.over && str_eq(buf_str(&whole), buf_str(&cut)));
    buf_fini(&whole);
    buf_fini(&cut);
    struct smtp_lines l = {.max = 1024};
    enum rc rc;
    while ((rc = smtp_line_next(&l, &rest, &line)) != RC_AGAIN)
        if (rc == RC_OK)
            check_args(line);
    return 0;
}
