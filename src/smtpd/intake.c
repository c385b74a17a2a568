/* The bytes of a message on their way in: off the connection, into the blob, as long as nothing is
 * wrong with them.
 *
 * 1. A message is read to its true end whatever is wrong with it; the session stays in step
 * [RFC5321 4.1.1.4].
 * 2. In memory there are at most KV_BLOB_SMALL bytes of it and HEAD_MAX of its header, taken from
 * the budget before they come.
 *
 * What could touch a disk (a blob over KV_BLOB_SMALL) goes to the short lane by FLOW_BLOCK and
 * begins there where it stopped. */
#include "smtpd/smtpd_int.h"

enum {
    HEAD_MAX = 64 << 10,   /* bytes of the header that are looked at */
    CHARGE_STEP = 16 << 10 /* the budget is asked for so much at once */
};

static uint64_t at_most(uint64_t value, uint64_t limit)
{
    return value < limit ? value : limit;
}

/* --- memory ----------------------------------------------------------------------------------- */

bool smtpd_intake_charge(struct session *s, struct message *m, uint64_t need)
{
    if (need <= m->charged)
        return true;
    uint64_t n = (need - m->charged + CHARGE_STEP - 1) / CHARGE_STEP * CHARGE_STEP;
    if (s->smtpd->conf.memory && !budget_take(s->smtpd->conf.memory, n))
        return false;
    m->charged += n;
    counter_add(s->smtpd->ctx->counters, COUNTER_MEMORY_IN_FLIGHT, n);
    return true;
}

void smtpd_intake_discharge(struct session *s, struct message *m)
{
    if (s->smtpd->conf.memory)
        budget_give(s->smtpd->conf.memory, m->charged);
    counter_sub(s->smtpd->ctx->counters, COUNTER_MEMORY_IN_FLIGHT, m->charged);
    m->charged = 0;
}

void smtpd_intake_refuse(struct session *s, struct message *m, enum smtpd_reply reply)
{
    m->is_refused = true;
    m->refusal = reply;
    m->is_head_whole = true;
    if (m->blob)
        kv_blob_abort(&m->blob);
    buf_fini(&m->head);
    smtpd_intake_discharge(s, m);
}

void smtpd_intake_begin(struct message *m)
{
    buf_init(&m->head, HEAD_MAX);
}

/* --- receiving -------------------------------------------------------------------------------- */

/* Keeps the header, with the empty line that ends it. */
static void keep_head(struct message *m, struct str piece)
{
    if (m->is_head_whole)
        return;
    size_t before = buf_len(&m->head), from = before > 3 ? before - 3 : 0;
    buf_put(&m->head, str_head(piece, HEAD_MAX - before));
    struct str head = buf_str(&m->head);
    ptrdiff_t end = str_find(str_skip(head, from), STR("\r\n\r\n"));
    if (end >= 0)
        buf_truncate(&m->head, from + (size_t)end + 4);
    m->is_head_whole = end >= 0 || buf_len(&m->head) == HEAD_MAX || str_starts(head, STR("\r\n"));
}

static void take_piece(struct session *s, struct message *m, struct str piece)
{
    m->bytes += piece.n;
    if (m->is_refused)
        return;
    if (m->bytes > s->smtpd->conf.message_size) {
        smtpd_intake_refuse(s, m, SMTPD_TOO_BIG); /* [RFC1870 6.3] */
        return;
    }
    uint64_t head =
        m->is_head_whole ? buf_len(&m->head) : at_most(buf_len(&m->head) + piece.n, HEAD_MAX);
    if (!smtpd_intake_charge(s, m, at_most(m->bytes, KV_BLOB_SMALL) + head)) {
        smtpd_intake_refuse(s, m, SMTPD_NO_SPACE);
        return;
    }
    keep_head(m, piece);
    enum rc rc = kv_blob_write(m->blob, piece);
    if (rc != RC_OK)
        smtpd_intake_refuse(s, m, smtpd_reply_of_delivery(rc));
}

/* Whether writing so much more may wait for a disk, in a place where nothing may wait. */
static bool must_move(const struct session *s, const struct message *m, size_t more)
{
    return m->blob && kv_blob_size(m->blob) + more > KV_BLOB_SMALL && !net_can_block(s->conn);
}

enum flow smtpd_intake_data(struct session *s, struct message *m)
{
    struct str in = net_in(s->conn), rest = in, piece;
    if (in.n > 0 && must_move(s, m, in.n))
        return FLOW_BLOCK;
    enum rc rc;
    while ((rc = smtp_data_next(&m->data, &rest, &piece)) == RC_OK)
        take_piece(s, m, piece);
    net_consume(s->conn, in.n - rest.n);
    if (rc != RC_EOF)
        return FLOW_READ;
    m->stage = MESSAGE_COMPLETE;
    return FLOW_NEXT;
}
