/* Fuzz target: what an IMAP server answers. The first byte says how the input is cut. Aborts when
 * answers, what they say, or a message depend on the cut, or when a name or a value could do harm.
 */
#include "fetch/imap_reply.h"
#include "fuzz/cut.h"

#include <string.h>

static void look_at_fetch(struct str rest, struct buf *story)
{
    struct imap_fetched f;
    enum rc rc = fetch_imap_fetched(rest, &f);
    FUZZ_DEMAND(!f.has_uid || rc != RC_OK || f.item.number > 0);
    FUZZ_DEMAND(f.item.flags < 32);
    if (rc == RC_OK)
        buf_putf(story, "fetch %u %llu %llu %u %zu\n", f.item.number,
                 (unsigned long long)f.item.size, (unsigned long long)f.item.date, f.item.flags,
                 buf_len(&f.body));
    buf_fini(&f.body);
}

static void look_at_list(struct str rest, struct buf *story)
{
    struct arena arena;
    struct fetch_folder folder;
    arena_init(&arena, 1 << 20);
    if (fetch_imap_listed(rest, &arena, &folder) == RC_OK) {
        FUZZ_DEMAND(folder.name.n > 0 && folder.name.n <= FETCH_NAME_MAX);
        FUZZ_DEMAND(!memchr(folder.name.p, '\0', folder.name.n));
        for (size_t i = 0; i < folder.name.n; i++)
            FUZZ_DEMAND((unsigned char)folder.name.p[i] >= ' ' && folder.name.p[i] != 0x7f);
        buf_putf(story, "list %.*s %.*s\n", STR_ARG(folder.name), STR_ARG(folder.use));
    }
    arena_fini(&arena);
}

static void look(struct str text, struct buf *story)
{
    struct buf quoted = {.cap = 2 * IMAP_TEXT + 2};
    struct str code, argument;
    struct str rest = str_skip(text, 2);
    buf_putf(story, "%x %s", fetch_imap_capabilities(rest), rc_name(fetch_imap_refusal(rest)));
    if (fetch_imap_code(rest, &code, &argument) == RC_OK)
        buf_putf(story, " [%.*s|%.*s]", STR_ARG(code), STR_ARG(argument));
    buf_putf(story, " %s\n", rc_name(fetch_imap_quote(&quoted, text)));
    buf_fini(&quoted);
    look_at_fetch(rest, story);
    look_at_list(rest, story);
}

static void run(struct str in, size_t step, struct buf *story)
{
    struct imap_reader reader;
    size_t at = 0, here = 0;
    enum rc rc = RC_AGAIN;
    fetch_imap_reader_init(&reader);
    while (here < in.n && (rc == RC_AGAIN)) {
        here = in.n - here < step ? in.n : here + step;
        struct str unread = str_sub(in, at, here - at), part = {0};
        enum imap_part what = IMAP_ANSWER;
        uint64_t size = 0;
        while ((rc = fetch_imap_next(&reader, &unread, &what, &part, &size)) == RC_OK) {
            if (what == IMAP_ANSWER)
                look(part, story);
            else if (what == IMAP_BODY_BYTES)
                buf_put(story, part);
            else
                buf_putf(story, what == IMAP_BODY ? "<%llu>" : "</%llu>",
                         (unsigned long long)(what == IMAP_BODY ? size : 0));
        }
        FUZZ_DEMAND(rc != RC_AGAIN || unread.n == 0);
        FUZZ_DEMAND(buf_len(&reader.text) <= IMAP_TEXT);
        at = here - unread.n;
    }
    buf_putf(story, "%s\n", rc_name(rc));
    fetch_imap_reader_fini(&reader);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size <= 100 << 10)
        fuzz_cut(data, size, 8 << 20, run);
    return 0;
}
