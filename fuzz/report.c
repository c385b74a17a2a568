/* Fuzz target: a report whose every word is somebody else's, and reading reports. The input is cut
 * at line ends into the texts that a report is made of; it is also read as if it were a report.
 * Aborts when the report has not exactly its three parts and its recipients, or holds a byte that
 * no report needs. */
#include "deliver/report.h"
#include "base/buf.h"
#include "fuzz/fuzz.h"
#include "mime/mime.h"

#include <string.h>

struct kept {
    struct report_sink sink;
    struct buf bytes;
};

static enum rc keep(struct report_sink *sink, struct str bytes)
{
    return buf_add(&((struct kept *)sink)->bytes, bytes);
}

static struct str next(struct str *rest)
{
    struct str line = {0};
    str_cut(rest, '\1', &line); /* so that a text may hold line ends */
    return line;
}

static void fill_recipient(struct report_recipient *of, struct str *rest)
{
    struct str numbers = next(rest);
    unsigned char n[4] = {0};
    if (numbers.n)
        memcpy(n, numbers.p, numbers.n < sizeof n ? numbers.n : sizeof n);
    of->is_expired = n[0] & 1;
    of->tried = n[0];
    of->outcome.verdict = n[1] % (DELIVER_FAILED + 1);
    of->outcome.stage = n[2] % (DELIVER_AT_MAILBOX + 1);
    of->outcome.code = (uint16_t)(n[3] * 4);
    of->address = next(rest);
    of->orcpt = next(rest);
    of->outcome.status = next(rest);
    of->outcome.host = next(rest);
    of->outcome.text = next(rest);
}

static void demand_parts(const struct report *r, struct str bytes)
{
    struct mime_tree tree;
    struct arena arena = {0};
    struct report_facts facts;
    mime_parse(bytes, NULL, &tree);
    unsigned n = 0;
    for (uint32_t i = tree.parts[0].first_child; i != MIME_NONE; i = tree.parts[i].next)
        n++;
    FUZZ_DEMAND(n == 3 && !(tree.flags & MIME_NO_CLOSE));
    uint64_t end = tree.parts[tree.parts[tree.parts[0].first_child].next].body_end;
    for (size_t i = 0; i < end; i++) { /* the original may hold what it likes */
        unsigned char c = (unsigned char)bytes.p[i];
        FUZZ_DEMAND(c >= ' ' || c == '\r' || c == '\n' || c == '\t');
        FUZZ_DEMAND(c != 0x7f && (c < 0x80 || report_is_utf8(r)));
    }
    mime_tree_fini(&tree);
    FUZZ_DEMAND(report_read(bytes, &arena, &facts) == RC_OK);
    FUZZ_DEMAND(facts.n_recipients == r->n_recipients);
    for (size_t i = 0; i < facts.n_recipients; i++)
        FUZZ_DEMAND(facts.recipients[i].action.n && facts.recipients[i].status.n >= 5);
    arena_fini(&arena);
}

static void compose(struct str rest, unsigned kind)
{
    struct report_recipient recipients[3] = {0};
    struct report r = {.kind = kind % 3,
                       .recipients = recipients,
                       .n_recipients = 1 + kind / 3 % 3,
                       .is_whole = kind & 64,
                       .hostname = STR("mail.example.org"),
                       .from = STR("example.org"),
                       .id = STR("0123456789abcdef"),
                       .date = NS_PER_SEC * 1000};
    struct kept k = {.sink.write = keep, .bytes.cap = 64 << 20};
    r.to = next(&rest);
    r.envid = next(&rest);
    r.log_id = next(&rest);
    for (size_t i = 0; i < r.n_recipients; i++)
        fill_recipient(&recipients[i], &rest);
    r.original = rest;
    FUZZ_DEMAND(report_write(&r, &k.sink) == RC_OK);
    demand_parts(&r, buf_str(&k.bytes));
    buf_fini(&k.bytes);
}

static void read_as_report(struct str bytes)
{
    struct arena arena = {0};
    struct report_facts facts;
    arena_init(&arena, 4 << 20);
    enum rc rc = report_read(bytes, &arena, &facts);
    FUZZ_DEMAND(rc == RC_OK || rc == RC_NOTFOUND || rc == RC_LIMIT);
    FUZZ_DEMAND(rc != RC_OK || (facts.n_recipients > 0 && facts.n_recipients <= REPORT_READ_MAX));
    for (size_t i = 0; rc == RC_OK && i < facts.n_recipients; i++)
        FUZZ_DEMAND(str_find_byte(facts.recipients[i].status, '\n') < 0);
    arena_fini(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str input = str_from(data, size);
    if (size > 0)
        compose(str_skip(input, 1), data[0]);
    read_as_report(input);
    return 0;
}
