/* Fuzz target: what a POP3 client sends, taken apart into lines and arguments. The first byte says
 * how it is cut. Aborts when what the session sees depends on the cut, when a line has a byte that
 * no line may have, or when an argument lies outside its line. */
#include "base/buf.h"
#include "fuzz/cut.h"
#include "pop3/pop3_int.h"

static void demand_arguments(struct str line)
{
    struct pop3_args a;
    pop3_args_parse(line, &a);
    FUZZ_DEMAND(a.n <= POP3_ARGS + 1);
    FUZZ_DEMAND(a.verb.n <= line.n && str_find_byte(a.verb, ' ') < 0);
    FUZZ_DEMAND(str_starts(line, a.verb) && str_ends(line, a.rest));
    for (size_t i = 0; i < a.n && i < POP3_ARGS; i++) {
        FUZZ_DEMAND(a.args[i].n > 0 && str_find_byte(a.args[i], ' ') < 0);
        FUZZ_DEMAND(a.args[i].p > line.p && a.args[i].p + a.args[i].n <= line.p + line.n);
    }
}

static void demand_line(struct str line)
{
    FUZZ_DEMAND(line.n + 2 <= POP3_LINE_MAX);
    FUZZ_DEMAND(str_find_byte(line, '\n') < 0 && str_find_byte(line, '\r') < 0);
    FUZZ_DEMAND(str_find_byte(line, '\0') < 0);
    demand_arguments(line);
}

/* Writes down all that the session is told. As net does, what is unread is offered again with what
 * has come since. */
static void read_cut(struct str in, size_t step, struct buf *out)
{
    bool is_skipping = false;
    size_t at = 0, here = 0;
    while (here < in.n) {
        here = in.n - here < step ? in.n : here + step;
        enum pop3_input input;
        do {
            struct str line, unread = str_sub(in, at, here - at);
            size_t used;
            input = pop3_input_next(unread, &is_skipping, &line, &used);
            FUZZ_DEMAND(used <= unread.n);
            FUZZ_DEMAND(used > 0 || input == POP3_INPUT_NONE);
            at += used;
            if (input != POP3_INPUT_NONE)
                buf_putf(out, "%d ", (int)input);
            if (input == POP3_INPUT_LINE) {
                demand_line(line);
                buf_put(out, line);
            }
        } while (input != POP3_INPUT_NONE);
        FUZZ_DEMAND(here - at < POP3_LINE_MAX); /* net would end the connection */
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_cut(data, size, 16 << 20, read_cut);
    return 0;
}
