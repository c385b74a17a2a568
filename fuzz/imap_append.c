/* Fuzz target: what an IMAP client sends for APPEND, behind the verb: the name of the mailbox, what
 * is said of each message, and their bytes. The first byte says how it is cut into pieces. Aborts
 * when what the session sees depends on the cut, when a message has flags that no client can set,
 * or when a line with an announcement is understood as another one. */
#include "fuzz/cut.h"
#include "imap/imap_int.h"

enum state { AT_NAME, AT_BYTES, AT_REST, AT_REFUSED };
enum { NAME_MAX_ = 1000, LINE_MAX_ = 4096 };

struct reading {
    enum state state;
    struct imap_gather gather;
    uint64_t left;
    struct buf *out; /* all that was seen */
};

static void refuse(struct reading *r, bool is_skipping, uint64_t skip)
{
    imap_gather_reset(&r->gather, false);
    r->gather.is_skipping = is_skipping;
    r->gather.skip = is_skipping ? skip : 0;
    r->state = AT_REFUSED;
}

static void check_item(const struct imap_item *item, const struct imap_literal *literal)
{
    const uint32_t all = STORE_SEEN | STORE_ANSWERED | STORE_FLAGGED | STORE_DELETED | STORE_DRAFT;
    FUZZ_DEMAND(!(item->flags.flags & ~all) && item->flags.n_keywords <= STORE_KEYWORDS);
    for (size_t i = 0; i < item->flags.n_keywords; i++)
        FUZZ_DEMAND(item->flags.keywords[i].n > 0 &&
                    item->flags.keywords[i].n <= STORE_KEYWORD_MAX);
    FUZZ_DEMAND(item->has_date || !item->received);
    FUZZ_DEMAND(item->literal.n == literal->n && item->literal.is_sync == literal->is_sync &&
                item->literal.is_binary == literal->is_binary && !literal->is_broken);
}

static void take_line(struct reading *r, struct str text, const struct imap_literal *literal)
{
    struct arena arena;
    struct store_path path;
    struct imap_item item;
    arena_init(&arena, 1 << 20);
    struct imap_parse p = {.rest = text, .arena = &arena, .is_utf8_only = true};
    bool is_good =
        (r->state == AT_REST || imap_take_mailbox(&p, &path)) && imap_take_item(&p, &item);
    FUZZ_DEMAND(is_good == !p.error);
    if (is_good) {
        check_item(&item, literal);
        buf_putf(r->out, "message %llu %u %zu %llu\n", (unsigned long long)literal->n,
                 item.flags.flags, item.flags.n_keywords, (unsigned long long)item.received);
        imap_gather_reset(&r->gather, false);
        r->left = literal->n;
        r->state = AT_BYTES;
    } else {
        buf_putf(r->out, "refused: %s\n", p.error);
        refuse(r, !literal->is_sync && !literal->is_broken, literal->n);
    }
    arena_fini(&arena);
}

static void take_literal(struct reading *r, struct imap_gathered *it)
{
    bool is_name = r->state == AT_NAME && str_starts(it->text, STR("{")) &&
                   str_find(it->text, STR("\r\n")) < 0;
    if (is_name && !it->literal.is_broken && it->literal.n <= NAME_MAX_)
        imap_gather_accept(&r->gather, it);
    else
        take_line(r, it->text, &it->literal);
}

/* Whether something was done. */
static bool read_line(struct reading *r, struct str unread, size_t *used)
{
    struct imap_gathered it;
    imap_gather_next(&r->gather, unread, LINE_MAX_, &it);
    *used = it.used;
    switch (it.kind) {
    case IMAP_INPUT_NONE:
        return it.used > 0;
    case IMAP_INPUT_LITERAL:
        take_literal(r, &it);
        return true;
    case IMAP_INPUT_COMMAND:
        buf_putf(r->out, "end %zu\n", it.text.n);
        break;
    case IMAP_INPUT_BARE:
        buf_putf(r->out, "bare\n");
        break;
    case IMAP_INPUT_TOO_LONG:
        buf_putf(r->out, "too long\n");
        refuse(r, true, 0);
        return true;
    }
    refuse(r, false, 0);
    return true;
}

static bool read_bytes(struct reading *r, struct str unread, size_t *used)
{
    struct str piece = str_head(unread, r->left < unread.n ? (size_t)r->left : unread.n);
    buf_put(r->out, piece);
    r->left -= piece.n;
    *used = piece.n;
    if (!r->left)
        r->state = AT_REST;
    return piece.n || !r->left;
}

static bool pass_over(struct reading *r, struct str unread, size_t *used)
{
    if (r->gather.is_skipping && !imap_gather_skip(&r->gather, unread, used))
        return *used > 0;
    buf_putf(r->out, "next\n");
    r->state = AT_NAME;
    return true;
}

/* As net does, what is unread is offered again with what has come since. */
static void read_cut(struct str in, size_t step, struct buf *out)
{
    struct reading r = {.gather.held.cap = NAME_MAX_ + LINE_MAX_ + 100, .out = out};
    size_t at = 0, here = 0;
    while (here < in.n) {
        here = in.n - here < step ? in.n : here + step;
        bool is_done;
        do {
            struct str unread = str_sub(in, at, here - at);
            size_t used = 0;
            if (r.state == AT_BYTES)
                is_done = read_bytes(&r, unread, &used);
            else if (r.state == AT_REFUSED)
                is_done = pass_over(&r, unread, &used);
            else
                is_done = read_line(&r, unread, &used);
            FUZZ_DEMAND(used <= unread.n);
            at += used;
        } while (is_done);
        FUZZ_DEMAND(here - at <= LINE_MAX_ + step);
    }
    imap_gather_reset(&r.gather, false);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_cut(data, size, 64 << 20, read_cut);
    return 0;
}
