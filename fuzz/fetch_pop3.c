/* Fuzz target: what a POP3 server answers. The first byte says how the input is cut. Aborts when
 * lines or a message depend on the cut, or when more is asked for than the bounds allow. */
#include "fetch/fetch_int.h"
#include "fuzz/cut.h"

#include <string.h>

static void look_at_line(struct str line, struct buf *story)
{
    uint32_t number = 0;
    struct str rest = {0};
    enum rc rc = fetch_pop3_listing(line, &number, &rest);
    FUZZ_DEMAND(rc != RC_OK || (number > 0 && rest.n > 0));
    buf_putf(story, "%.*s|%s %u %x %s\n", STR_ARG(line), rc_name(rc), number,
             fetch_pop3_capability(line), rc_name(fetch_pop3_refusal(line, line.n)));
}

/* Lines; one that begins with "+" is followed by a message. */
static void run(struct str in, size_t step, struct buf *story)
{
    struct fetch_dots dots = {0};
    bool is_message = false;
    size_t at = 0, here = 0;
    enum rc rc = RC_AGAIN;
    while (here < in.n && rc != RC_LIMIT) {
        here = in.n - here < step ? in.n : here + step;
        struct str unread = str_sub(in, at, here - at), part;
        do {
            rc = is_message ? fetch_dots_next(&dots, &unread, &part)
                            : fetch_line(&unread, FETCH_LINE, &part);
            if (rc == RC_OK && is_message)
                buf_put(story, part);
            if (rc == RC_OK && !is_message) {
                look_at_line(part, story);
                is_message = str_starts(part, STR("+"));
                dots = (struct fetch_dots){0};
            }
            if (rc == RC_EOF) {
                buf_put(story, STR("<end>\n"));
                is_message = false;
            }
        } while (rc == RC_OK || rc == RC_EOF);
        FUZZ_DEMAND(rc != RC_AGAIN || unread.n <= (is_message ? 1 : FETCH_LINE + 1));
        at = here - unread.n;
    }
    buf_putf(story, "%s\n", rc_name(rc));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size <= 40 << 10)
        fuzz_cut(data, size, 4 << 20, run);
    return 0;
}
