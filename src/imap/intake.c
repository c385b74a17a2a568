/* The bytes of an appended message on their way in: into a blob, and past the MIME parser, so that
 * ENVELOPE, BODYSTRUCTURE and the thread are known when the last one has come.
 *
 * Invariants: nothing of a message is changed. In memory there are at most KV_BLOB_SMALL bytes of
 * it, HEAD_MAX of its header, and what the parser keeps; the first two are taken from the budget
 * as they come and given back when the command ends. Whoever gets a finished blob gives it
 * back; one that is not finished is aborted by imap_intake_end. */
#include "imap/imap_int.h"

#include "base/utf8.h"
#include "mime/summary.h"

#include <string.h>

enum {
    HEAD_MAX = 64 << 10,    /* bytes of the header that are looked at for the thread */
    CHARGE_STEP = 16 << 10, /* the budget is asked for so much at once */
    SMALL_MAX = 32 << 20    /* finished messages in memory, of one command */
};

static uint64_t at_most(uint64_t value, uint64_t limit)
{
    return value < limit ? value : limit;
}

static bool charge(struct imap_session *s, struct imap_intake *in, uint64_t need)
{
    need += in->held;
    if (need <= in->charged)
        return true;
    uint64_t n = (need - in->charged + CHARGE_STEP - 1) / CHARGE_STEP * CHARGE_STEP;
    if (s->imap->conf.memory && !budget_take(s->imap->conf.memory, n))
        return false;
    in->charged += n;
    counter_add(s->imap->ctx->counters, COUNTER_MEMORY_IN_FLIGHT, n);
    return true;
}

static void stop(struct imap_intake *in)
{
    if (in->is_parsing)
        mime_fini(&in->parser);
    in->is_parsing = false;
    if (in->blob)
        kv_blob_abort(&in->blob);
    buf_fini(&in->head);
}

void imap_intake_end(struct imap_session *s, struct imap_intake *in)
{
    stop(in);
    if (s->imap->conf.memory)
        budget_give(s->imap->conf.memory, in->charged);
    counter_sub(s->imap->ctx->counters, COUNTER_MEMORY_IN_FLIGHT, in->charged);
    in->charged = in->held = 0;
}

enum imap_text imap_intake_begin(struct imap_session *s, struct imap_intake *in,
                                 const struct imap_literal *literal)
{
    struct kv_part part = {KV_ACCOUNT, store_account_id(s->account)};
    /* A small one is refused by its commit just as early. */
    enum rc rc = literal->n > KV_BLOB_SMALL ? kv_room(s->imap->conf.kv, literal->n) : RC_OK;
    if (rc != RC_OK)
        return imap_text_of_rc(rc);
    if (in->held > SMALL_MAX)
        return IMAP_LIMIT;
    if (!charge(s, in, 1))
        return IMAP_NOT_NOW;
    in->left = literal->n;
    in->is_binary = literal->is_binary;
    in->is_head_whole = in->is_line_begun = in->is_header_over = false;
    memcpy(in->end, "\r\n", sizeof in->end);
    buf_init(&in->head, HEAD_MAX);
    in->blob = kv_blob_new(s->imap->conf.kv, part, 0, 0);
    mime_init(&in->parser, NULL);
    mime_keep(&in->parser);
    in->is_parsing = true;
    return IMAP_DONE;
}

bool imap_intake_may_wait(const struct imap_intake *in, size_t more)
{
    return in->blob && kv_blob_size(in->blob) + more > KV_BLOB_SMALL;
}

/* Keeps the header, with the empty line that ends it. */
static void keep_head(struct imap_intake *in, struct str piece)
{
    if (in->is_head_whole)
        return;
    size_t before = buf_len(&in->head), from = before > 3 ? before - 3 : 0;
    buf_put(&in->head, str_head(piece, HEAD_MAX - before));
    struct str head = buf_str(&in->head);
    ptrdiff_t end = str_find(str_skip(head, from), STR("\r\n\r\n"));
    if (str_starts(head, STR("\r\n")))
        buf_truncate(&in->head, 2);
    else if (end >= 0)
        buf_truncate(&in->head, from + (size_t)end + 4);
    in->is_head_whole = end >= 0 || buf_len(&in->head) == HEAD_MAX || str_starts(head, STR("\r\n"));
}

/* Whether there is a byte above 127 in what the piece has of the message's header. */
static bool has_8bit_header(struct imap_intake *in, struct str piece)
{
    while (piece.n && !in->is_header_over) {
        ptrdiff_t lf = str_find_byte(piece, '\n');
        struct str line = lf < 0 ? piece : str_head(piece, (size_t)lf);
        if (!utf8_is_ascii(line))
            return true;
        in->is_line_begun |= line.n && !str_eq(line, STR("\r"));
        in->is_header_over = lf >= 0 && !in->is_line_begun;
        in->is_line_begun &= lf < 0;
        piece = str_skip(piece, lf < 0 ? piece.n : (size_t)lf + 1);
    }
    return false;
}

enum imap_text imap_intake_take(struct imap_session *s, struct imap_intake *in, struct str piece)
{
    uint64_t size = kv_blob_size(in->blob) + piece.n;
    if (!piece.n)
        return IMAP_DONE;
    if (!in->is_binary && memchr(piece.p, 0, piece.n)) /* [RFC3516 4.4] */
        return IMAP_NUL;
    bool is_any = s->imap->conf.takes_8bit_headers || imap_has_utf8(s);
    if (!is_any && has_8bit_header(in, piece)) /* [RFC9755 4] */
        return IMAP_HEADER_8BIT;
    keep_head(in, piece);
    if (!charge(s, in, at_most(size, KV_BLOB_SMALL) + buf_len(&in->head)))
        return IMAP_NOT_NOW;
    mime_feed(&in->parser, piece);
    if (piece.n > 1)
        in->end[0] = piece.p[piece.n - 2];
    else
        in->end[0] = in->end[1];
    in->end[1] = piece.p[piece.n - 1];
    in->left -= piece.n;
    enum rc rc = kv_blob_write(in->blob, piece);
    return rc == RC_OK ? IMAP_DONE : imap_text_of_rc(rc);
}

/* --- the end of a message --------------------------------------------------------------------- */

/* Without one it is made when it is asked for. */
static struct str make_summary(struct imap_session *s, struct imap_intake *in)
{
    struct mime_tree tree;
    struct buf text = {.cap = STORE_SUMMARY_MAX};
    struct str summary = {0};
    mime_finish(&in->parser, &tree);
    if (mime_summary(&tree, &text) == RC_OK && charge(s, in, KV_BLOB_SMALL + buf_len(&text))) {
        summary = arena_dup(&s->arena, buf_str(&text));
        in->held += summary.n;
    }
    mime_tree_fini(&tree);
    buf_fini(&text);
    return summary;
}

static void read_thread(struct imap_session *s, struct imap_intake *in, struct store_append *out)
{
    struct mime_thread thread = {0};
    struct mime_field field;
    struct str rest = buf_str(&in->head);
    while (mime_header_next(&rest, &field))
        mime_thread_take(&thread, &field);
    struct str *references = arena_alloc(&s->arena, MIME_THREAD_IDS * sizeof *references);
    out->message_id = mime_thread_id(&thread, &s->arena);
    out->references = references;
    if (references)
        out->n_references = mime_thread_references(&thread, &s->arena, references);
}

enum imap_text imap_intake_finish(struct imap_session *s, struct imap_intake *in,
                                  struct store_append *out)
{
    out->size = kv_blob_size(in->blob);
    in->held += at_most(out->size, KV_BLOB_SMALL);
    out->summary = make_summary(s, in);
    read_thread(s, in, out);
    if (memcmp(in->end, "\r\n", sizeof in->end) != 0)
        out->flags |= STORE_UNENDED;
    enum rc rc = kv_blob_finish(&in->blob, &out->blob);
    stop(in);
    return rc == RC_OK ? IMAP_DONE : imap_text_of_rc(rc);
}
