/* The bytes of a message on their way in: off the connection, into the blob, as long as nothing is
 * wrong with them.
 *
 * 1. A message, or chunk, is read to its true end whatever is wrong with it; the session stays in
 * step [RFC5321 4.1.1.4] [RFC3030 2]. Only one of more than twice the allowed size, or slower than
 * the slowest that is allowed, ends the session.
 * 2. In memory there are at most KV_BLOB_SMALL bytes of it and HEAD_MAX of its header, taken from
 * the budget before they come.
 *
 * What could touch a disk (a blob over KV_BLOB_SMALL) goes to the short lane by FLOW_BLOCK and
 * begins there where it stopped. */
#include "smtpd/smtpd_int.h"

#include <string.h>

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
    m->refused = clock_mono(s->smtpd->ctx->clock);
    m->is_head_whole = true;
    if (m->blob)
        kv_blob_abort(&m->blob);
    buf_fini(&m->head);
    smtpd_summary_end(m);
    smtpd_intake_discharge(s, m);
}

void smtpd_intake_begin(struct message *m)
{
    buf_init(&m->head, HEAD_MAX);
    memcpy(m->end, "\r\n", sizeof m->end); /* our own fields come first, and end so */
}

enum rc smtpd_intake_write(struct message *m, struct str piece)
{
    for (size_t i = piece.n > 2 ? piece.n - 2 : 0; i < piece.n; i++) {
        m->end[0] = m->end[1];
        m->end[1] = piece.p[i];
    }
    TRY(kv_blob_write(m->blob, piece));
    smtpd_summary_feed(m, piece);
    return RC_OK;
}

bool smtpd_intake_is_ended(const struct message *m)
{
    return m->end[0] == '\r' && m->end[1] == '\n';
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

/* A header that is held back goes out when it is whole; all else at once. `before`: bytes of the
 * header that were kept before this piece. */
static enum rc write_piece(struct session *s, struct message *m, struct str piece, size_t before)
{
    if (!s->role->is_submission || m->is_head_written)
        return smtpd_intake_write(m, piece);
    if (!m->is_head_whole)
        return RC_OK;
    TRY(smtpd_intake_flush(s, m));
    return smtpd_intake_write(m, str_skip(piece, buf_len(&m->head) - before));
}

enum rc smtpd_intake_flush(struct session *s, struct message *m)
{
    if (!s->role->is_submission || m->is_head_written)
        return RC_OK;
    m->is_head_written = true;
    return smtpd_submission_write(s, m, buf_str(&m->head));
}

/* The header is whole; so much of it has been stored. */
static void open_summary(struct session *s, struct message *m, size_t stored)
{
    size_t n = s->role->is_submission ? 0 : stored; /* which holds the header back */
    smtpd_summary_open(s, m, str_head(buf_str(&m->head), n));
}

void smtpd_intake_end(struct session *s, struct message *m)
{
    open_summary(s, m, buf_len(&m->head)); /* a message that is all header */
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
    uint64_t need = at_most(m->bytes, KV_BLOB_SMALL) + head + smtpd_summary_memory(m);
    if (!smtpd_intake_charge(s, m, need)) {
        smtpd_intake_refuse(s, m, SMTPD_NO_SPACE);
        return;
    }
    size_t before = buf_len(&m->head);
    keep_head(m, piece);
    if (buf_len(&m->head) == HEAD_MAX && s->role->is_submission) {
        smtpd_intake_refuse(s, m, SMTPD_HEADER_LONG); /* nobody has looked at the rest of it */
        return;
    }
    if (m->is_head_whole)
        open_summary(s, m, before);
    enum rc rc = write_piece(s, m, piece, before);
    if (rc != RC_OK)
        smtpd_intake_refuse(s, m, smtpd_reply_of_delivery(s, rc));
}

/* Whether writing so much more may wait for a disk, in a place where nothing may wait. */
static bool must_move(const struct session *s, const struct message *m, size_t more)
{
    return m->blob && kv_blob_size(m->blob) + more > KV_BLOB_SMALL && !net_can_block(s->conn);
}

/* What was in the way of this message, in its own order and not that of the pieces. */
static enum smtpd_reply reply_of_faults(unsigned faults)
{
    if (faults & SMTP_DATA_BARE_LF)
        return SMTPD_BARE_LF;
    if (faults & SMTP_DATA_BARE_CR)
        return SMTPD_BARE_CR;
    return faults & SMTP_DATA_NUL ? SMTPD_NUL : SMTPD_TEXT_LONG;
}

static void refuse_faults(struct session *s, struct message *m)
{
    if (m->data.faults != 0 && !m->is_refused)
        smtpd_intake_refuse(s, m, reply_of_faults(m->data.faults));
}

/* What to do when the input is used up and the end has not come. */
static enum flow read_on(const struct session *s, uint64_t bytes)
{
    return bytes / 2 > s->smtpd->conf.message_size ? FLOW_CLOSE : FLOW_READ;
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
        return read_on(s, m->bytes);
    refuse_faults(s, m);
    m->stage = MESSAGE_COMPLETE;
    return FLOW_NEXT;
}

/* --- chunks ----------------------------------------------------------------------------------- */

/* One of a stray chunk's pieces, or of the message's. Lines are for text: BINARYMIME has none
 * [RFC3030 3]. */
static void take_octets(struct session *s, struct message *m, struct str piece)
{
    if (m == NULL) {
        s->chunk.passed_over += piece.n;
        return;
    }
    if (!s->transaction->envelope.is_binary)
        smtp_data_check(&m->data, piece);
    take_piece(s, m, piece);
}

static void say_received(struct session *s, struct message *m)
{
    struct buf text;
    if (m->is_refused) {
        smtpd_reply_say(s, m->refusal);
        return;
    }
    buf_init(&text, 64);
    buf_putf(&text, "%llu octets so far", (unsigned long long)m->bytes);
    smtpd_reply_say_text(s, SMTPD_CHUNK_OK, buf_str(&text));
    buf_fini(&text);
}

/* The answer to a whole chunk; the last one's is the message's. */
static enum flow close_chunk(struct session *s, struct message *m)
{
    s->chunk.is_open = false;
    s->idle_commands += s->chunk.is_useless;
    s->has_moved = true;
    if (m == NULL) {
        smtpd_reply_say(s, s->chunk.refusal);
        return FLOW_NEXT;
    }
    if (s->chunk.at.is_last)
        smtp_data_check_end(&m->data);
    refuse_faults(s, m);
    m->stage = s->chunk.at.is_last ? MESSAGE_COMPLETE : MESSAGE_PAUSED;
    if (!s->chunk.at.is_last)
        say_received(s, m);
    return FLOW_NEXT;
}

static enum flow cut_chunk(struct session *s, struct message *m)
{
    if (m)
        return smtpd_message_cut(s);
    smtpd_reply_say(s, s->chunk.refusal);
    return FLOW_CLOSE;
}

enum flow smtpd_intake_chunk(struct session *s)
{
    struct message *m = s->chunk.is_stray ? NULL : s->message;
    struct str in = net_in(s->conn), rest = in, piece;
    size_t n = s->chunk.at.left < in.n ? (size_t)s->chunk.at.left : in.n;
    if (m && n > 0 && must_move(s, m, n))
        return FLOW_BLOCK;
    enum rc rc;
    while ((rc = smtp_chunk_next(&s->chunk.at, &rest, &piece)) == RC_OK)
        take_octets(s, m, piece);
    net_consume(s->conn, in.n - rest.n);
    if (rc == RC_EOF)
        return close_chunk(s, m);
    enum flow flow = read_on(s, m ? m->bytes : s->chunk.passed_over);
    return flow == FLOW_CLOSE ? cut_chunk(s, m) : flow;
}

/* --- time ------------------------------------------------------------------------------------- */

/* What is refused is read on for the client's sake, who may not listen while it sends; but not for
 * as long as a message may take that is wanted. */
enum { REFUSED_WAITS = 10 };

uint64_t smtpd_intake_patience(const struct session *s)
{
    const struct message *m = s->message;
    const struct smtpd_conf *conf = &s->smtpd->conf;
    bool is_stray = s->chunk.is_open && s->chunk.is_stray;
    uint64_t begun = is_stray ? s->chunk.begun : m->begun;
    uint64_t bytes = is_stray ? s->chunk.passed_over : m->bytes;
    uint64_t passed = (clock_mono(s->smtpd->ctx->clock) - begun) / NS_PER_MS;
    uint64_t allowed = conf->data_ms + bytes * 1000 / conf->data_rate;
    if (is_stray || m->is_refused) {
        uint64_t lost = is_stray ? 0 : (m->refused - begun) / NS_PER_MS;
        allowed = at_most(allowed, lost + REFUSED_WAITS * conf->data_ms);
    }
    return passed < allowed ? at_most(allowed - passed, conf->data_ms) : 1;
}
