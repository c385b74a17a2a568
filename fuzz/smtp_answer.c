/* Fuzz target: what a host answers. The first byte says how the input is cut. Aborts when a reply,
 * its words or what EHLO offers depend on the cut, when words hold what must not reach a log, or
 * when the reader asks for more than its bounds. */
#include "base/buf.h"
#include "base/utf8.h"
#include "fuzz/cut.h"
#include "smtp/smtp.h"

#include <string.h>

static void demand_harmless(const struct smtp_answer *a)
{
    FUZZ_DEMAND(a->n <= SMTP_ANSWER_TEXT && strlen(a->text) == a->n);
    FUZZ_DEMAND(utf8_is_valid(str_from(a->text, a->n)));
    for (size_t i = 0; i < a->n; i++)
        FUZZ_DEMAND((unsigned char)a->text[i] >= ' ' && a->text[i] != 0x7f);
    FUZZ_DEMAND(strlen(a->status) < SMTP_STATUS_TEXT);
}

static void run(struct str in, size_t step, struct buf *story)
{
    struct smtp_answer a = {0};
    struct smtp_hello h = {0};
    struct str words;
    enum rc rc = RC_AGAIN;
    size_t at = 0, here = 0;
    while (here < in.n && rc != RC_SYNTAX && rc != RC_LIMIT) {
        here = in.n - here < step ? in.n : here + step;
        struct str unread = str_sub(in, at, here - at);
        do {
            rc = smtp_answer_next(&a, &unread, &words);
            demand_harmless(&a);
            if (rc == RC_OK || rc == RC_EOF)
                smtp_hello_take(&h, words);
            if (rc == RC_EOF) {
                FUZZ_DEMAND(a.code >= 200 && a.code <= 599);
                buf_putf(story, "%u %s %s\n", a.code, a.status, a.text);
            }
        } while (rc == RC_OK || rc == RC_EOF);
        FUZZ_DEMAND(rc != RC_AGAIN || unread.n < SMTP_ANSWER_LINE_MAX);
        at = here - unread.n;
    }
    buf_putf(story, "%s %s %x %llu %u\n", rc_name(rc), a.text, h.offers, (unsigned long long)h.size,
             h.rcptmax);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size <= 40 << 10)
        fuzz_cut(data, size, 4 << 20, run);
    return 0;
}
