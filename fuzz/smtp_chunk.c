/* Fuzz target: BDAT. The input is what the peer sends, command lines and octets; the first byte
 * says how it is cut. Aborts when a command is seen at another place, a chunk has another length,
 * or its text other faults, because of the cut. */
#include "base/buf.h"
#include "fuzz/fuzz.h"
#include "smtp/smtp.h"

enum { LINE = 64 };

struct reader {
    struct smtp_lines lines;
    struct smtp_chunk chunk;
    struct smtp_data text;
    bool is_chunk;
    uint64_t left; /* of the chunk, by counting */
    struct buf *story;
};

/* One line, or some octets; false when the input is used up. */
static bool step(struct reader *r, struct str *in)
{
    struct str piece, verb, args;
    if (r->is_chunk) {
        enum rc rc = smtp_chunk_next(&r->chunk, in, &piece);
        if (rc == RC_OK) {
            FUZZ_DEMAND(piece.n > 0 && piece.n <= r->left);
            r->left -= piece.n;
            smtp_data_check(&r->text, piece);
        } else if (rc == RC_EOF) {
            FUZZ_DEMAND(r->left == 0);
            r->is_chunk = false;
            if (r->chunk.is_last)
                smtp_data_check_end(&r->text);
            buf_putf(r->story, "faults %u\n", r->text.faults);
            if (r->chunk.is_last)
                r->text = (struct smtp_data){.line_max = 20};
        }
        return rc != RC_AGAIN;
    }
    enum rc rc = smtp_line_next(&r->lines, in, &piece);
    if (rc == RC_AGAIN)
        return false;
    buf_putf(r->story, "%s\n", rc_name(rc));
    if (rc != RC_OK)
        return true;
    smtp_line_split(piece, &verb, &args);
    if (str_ieq(verb, STR("BDAT")) && smtp_chunk_parse(args, &r->chunk) != RC_LIMIT) {
        r->is_chunk = true;
        r->left = r->chunk.left;
    }
    return true;
}

static void read_cut(struct str in, size_t cut, struct buf *story)
{
    struct reader r = {.lines.max = LINE, .text.line_max = 20, .story = story};
    struct buf pending;
    buf_init(&pending, LINE + cut);
    for (size_t i = 0; i < in.n; i += cut) {
        buf_put(&pending, str_sub(in, i, cut));
        struct str rest = buf_str(&pending);
        while (step(&r, &rest))
            continue;
        FUZZ_DEMAND(rest.n <= LINE);
        buf_consume(&pending, buf_len(&pending) - rest.n);
    }
    FUZZ_DEMAND(!pending.over && !story->over);
    buf_putf(story, "left %llu, faults %u\n", (unsigned long long)r.left, r.text.faults);
    buf_fini(&pending);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct str in = str_from(data + 1, size - 1);
    struct buf whole, cut;
    buf_init(&whole, 16 * size + 64);
    buf_init(&cut, 16 * size + 64);
    read_cut(in, in.n, &whole);
    read_cut(in, data[0] % 32 + 1, &cut);
    FUZZ_DEMAND(str_eq(buf_str(&whole), buf_str(&cut)));
    buf_fini(&whole);
    buf_fini(&cut);
    return 0;
}
