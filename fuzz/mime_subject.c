/* Fuzz target: base subjects and i;unicode-casemap. Aborts when a base subject has another base
 * subject, or when what is mapped depends on case that is ASCII's. */
#include "fuzz/fuzz.h"
#include "mime/subject.h"
#include "mime/summary.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = str_from(data, size), thread;
    struct buf base = {.cap = size}, again = {.cap = size}, mapped = {.cap = size * 12 + 1};
    struct buf lower = {.cap = size}, mapped_lower = {.cap = size * 12 + 1};
    bool is_reply;
    mime_base_subject(text, &base, &is_reply);
    mime_base_subject(buf_str(&base), &again, &is_reply);
    FUZZ_DEMAND(str_eq(buf_str(&base), buf_str(&again)));
    for (size_t i = 0; i < size; i++)
        FUZZ_DEMAND(buf_add_byte(&lower, ascii_lower(text.p[i])) == RC_OK);
    enum rc rc = mime_casemap(text, &mapped);
    FUZZ_DEMAND(rc == RC_OK || (rc == RC_SYNTAX && !buf_len(&mapped)));
    FUZZ_DEMAND(mime_casemap(buf_str(&lower), &mapped_lower) == rc);
    FUZZ_DEMAND(str_eq(buf_str(&mapped), buf_str(&mapped_lower)));
    FUZZ_DEMAND(!mime_summary_thread(text, &thread) || thread.n <= size);
    buf_fini(&base);
    buf_fini(&again);
    buf_fini(&mapped);
    buf_fini(&lower);
    buf_fini(&mapped_lower);
    return 0;
}
