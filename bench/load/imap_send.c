/* The commands of imapload: one function each, and their table. */
#include "imapload.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static struct buf *out(struct session *s)
{
    return &s->conn.out;
}

/* A row of bits for each user is shared by the connections of that user. */
int flag_toggle(struct session *s, uint32_t message)
{
    unsigned char *bits = s->load->flagged[s->user];
    if (message >= MESSAGES_MAX)
        return 1;
    bits[message / 8] ^= (unsigned char)(1u << message % 8);
    return bits[message / 8] >> message % 8 & 1;
}

void flag_set(struct session *s, uint32_t message)
{
    if (message < MESSAGES_MAX)
        s->load->flagged[s->user][message / 8] |= (unsigned char)(1u << message % 8);
}

static void one_message(struct session *s)
{
    s->seen.low = s->seen.high = s->seen.message = 1 + rng_below(&s->rng, s->exists);
    s->seen.wanted = 1;
}

static void all_messages(struct session *s)
{
    s->seen.low = 1;
    s->seen.high = s->seen.wanted = s->exists;
}

static void send_starttls(struct session *s)
{
    buf_printf(out(s), "STARTTLS\r\n");
}

static void send_login(struct session *s)
{
    const struct load *l = s->load;
    buf_printf(out(s), "LOGIN %s%0*d%s%s %s\r\n", l->prefix, l->digits, l->user_base + s->user,
               l->domain ? "@" : "", l->domain ? l->domain : "", l->password);
}

static void send_select(struct session *s)
{
    buf_printf(out(s), "%s %s\r\n", s->load->is_examine ? "EXAMINE" : "SELECT", s->load->mailbox);
}

static void send_compress(struct session *s)
{
    buf_printf(out(s), "COMPRESS DEFLATE\r\n");
}

static void send_enable(struct session *s)
{
    buf_printf(out(s), "ENABLE QRESYNC\r\n");
}

/* Evenly all over the mailbox. */
static void send_change(struct session *s)
{
    uint32_t n = (uint32_t)s->load->changed;
    buf_printf(out(s), "STORE ");
    for (uint32_t i = 0; i < n; i++)
        buf_printf(out(s), "%s%u", i ? "," : "", 1 + (uint32_t)((uint64_t)s->exists * i / n));
    buf_printf(out(s), " %cFLAGS.SILENT (%s)\r\n", s->changes ? '+' : '-', s->load->flag);
}

static void send_resync(struct session *s)
{
    s->seen.low = 1;
    s->seen.high = s->exists;
    s->seen.wanted = (uint32_t)s->load->changed;
    buf_printf(out(s), "%s %s (QRESYNC (%u %" PRIu64 "))\r\n",
               s->load->is_examine ? "EXAMINE" : "SELECT", s->load->mailbox, s->uidvalidity,
               s->modseq);
}

static void send_learn(struct session *s)
{
    all_messages(s);
    buf_printf(out(s), "FETCH 1:* (FLAGS)\r\n");
}

static void send_envelopes(struct session *s)
{
    uint32_t last = (uint32_t)s->load->last;
    all_messages(s);
    if (last && s->exists > last)
        s->seen.low = s->exists - last + 1;
    s->seen.wanted = s->exists - s->seen.low + 1;
    buf_printf(out(s), "FETCH %u:* (UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODYSTRUCTURE)\r\n",
               s->seen.low);
}

static void send_body(struct session *s)
{
    one_message(s);
    buf_printf(out(s), "FETCH %u (UID RFC822.SIZE BODY.PEEK[])\r\n", s->seen.message);
}

static void send_all_bodies(struct session *s)
{
    all_messages(s);
    buf_printf(out(s), "FETCH 1:%u (UID RFC822.SIZE BODY.PEEK[])\r\n", s->exists);
}

static void send_store(struct session *s) /* always a real change of state */
{
    one_message(s);
    int is_on = flag_toggle(s, s->seen.message);
    buf_printf(out(s), "STORE %u %cFLAGS%s (%s)\r\n", s->seen.message, is_on ? '+' : '-',
               s->load->is_silent ? ".SILENT" : "", s->load->flag);
}

static void send_delete(struct session *s)
{
    one_message(s);
    buf_printf(out(s), "STORE %u +FLAGS (\\Deleted)\r\n", s->seen.message);
}

static const struct msgtmpl *next_message(struct session *s)
{
    s->seq = s->load->next_message++;
    s->parts_left--;
    return msgpool_get(&s->load->pool, s->seq, (unsigned)s->user);
}

/* With LITERAL+ the whole command at once; without, one literal after each "+". */
static void send_append(struct session *s)
{
    buf_printf(out(s), "APPEND %s", s->load->mailbox);
    s->parts_left = s->load->multi;
    do {
        const struct msgtmpl *m = next_message(s);
        buf_printf(out(s), " (\\Seen) {%zu%s}\r\n", m->len, s->load->no_litplus ? "" : "+");
        if (s->load->no_litplus)
            return;
        buf_put(out(s), m->p, m->len);
    } while (s->parts_left > 0);
    buf_put(out(s), "\r\n", 2);
}

static void send_search(struct session *s)
{
    const struct load *l = s->load;
    const char *uid = l->is_uid ? "UID " : "";
    if (l->key)
        buf_printf(out(s), "%sSEARCH %s\r\n", uid, l->key);
    else if (rng_below(&s->rng, 2))
        buf_printf(out(s), "%sSEARCH SUBJECT \"%08u\"\r\n", uid, rng_below(&s->rng, s->exists));
    else
        buf_printf(out(s), "%sSEARCH FROM \"sender%03u\"\r\n", uid, rng_below(&s->rng, 1000));
}

static void send_search_text(struct session *s)
{
    const struct load *l = s->load;
    buf_printf(out(s), "%sSEARCH %s\r\n", l->is_uid ? "UID " : "",
               l->key ? l->key : "TEXT " RARE_WORD);
}

static void in_order(struct session *s, const char *verb, const char *usual)
{
    const struct load *l = s->load;
    if (!s->ordered)
        s->ordered = malloc(MESSAGES_MAX / 8);
    if (!s->ordered)
        die("out of memory");
    memset(s->ordered, 0, MESSAGES_MAX / 8);
    buf_printf(out(s), "%s%s %s\r\n", l->is_uid ? "UID " : "", verb, l->key ? l->key : usual);
}

static void send_sort(struct session *s)
{
    in_order(s, "SORT", "(DATE) UTF-8 ALL");
}

static void send_thread(struct session *s)
{
    in_order(s, "THREAD", "REFERENCES UTF-8 ALL");
}

static void send_expunge(struct session *s)
{
    buf_printf(out(s), "EXPUNGE\r\n");
}

static void send_idle(struct session *s)
{
    buf_printf(out(s), "IDLE\r\n");
}

static void send_noop(struct session *s)
{
    buf_printf(out(s), "NOOP\r\n");
}

static void send_status(struct session *s)
{
    buf_printf(out(s), "STATUS %s (MESSAGES UIDNEXT UNSEEN)\r\n", s->load->mailbox);
}

static void send_logout(struct session *s)
{
    s->phase = PHASE_LOGOUT;
    buf_printf(out(s), "LOGOUT\r\n");
}

const struct verb verbs[OP_COUNT] = {
    [OP_STARTTLS] = {"starttls", send_starttls, ROWS_NONE, false},
    [OP_LOGIN] = {"login", send_login, ROWS_NONE, false},
    [OP_COMPRESS] = {"compress", send_compress, ROWS_NONE, false},
    [OP_ENABLE] = {"enable", send_enable, ROWS_NONE, false},
    [OP_CHANGE] = {"change", send_change, ROWS_NONE, true},
    [OP_RESYNC] = {"resync", send_resync, ROWS_FLAGS, true},
    [OP_SORT] = {"sort", send_sort, ROWS_NONE, true},
    [OP_THREAD] = {"thread", send_thread, ROWS_NONE, true},
    [OP_SELECT] = {"select", send_select, ROWS_NONE, false},
    [OP_LEARN] = {"learn", send_learn, ROWS_FLAGS, true},
    [OP_ENVELOPES] = {"envelopes", send_envelopes, ROWS_TEXTS, true},
    [OP_BODY] = {"body", send_body, ROWS_BODIES, true},
    [OP_ALLBODIES] = {"allbodies", send_all_bodies, ROWS_BODIES, true},
    [OP_STORE] = {"store", send_store, ROWS_FLAGS, true},
    [OP_DELETE] = {"delete", send_delete, ROWS_FLAGS, true},
    [OP_APPEND] = {"append", send_append, ROWS_NONE, false},
    [OP_SEARCH] = {"search-header", send_search, ROWS_NONE, false},
    [OP_SEARCH_TEXT] = {"search-text", send_search_text, ROWS_NONE, false},
    [OP_EXPUNGE] = {"expunge", send_expunge, ROWS_NONE, false},
    [OP_IDLE] = {"idle", send_idle, ROWS_NONE, false},
    [OP_NOOP] = {"noop", send_noop, ROWS_NONE, false},
    [OP_STATUS] = {"status", send_status, ROWS_NONE, false},
    [OP_LOGOUT] = {"logout", send_logout, ROWS_NONE, false},
    [OP_SESSION] = {"session", NULL, ROWS_NONE, false},
};

void session_send(struct session *s, enum op op)
{
    s->op = verbs[op].needs_messages && !s->exists ? OP_NOOP : op;
    s->tag_length = snprintf(s->tag_text, sizeof s->tag_text, "a%u ", ++s->tag % 1000000);
    buf_put(out(s), s->tag_text, (size_t)s->tag_length);
    memset(&s->seen, 0, sizeof s->seen);
    s->sent_at = now_ns();
    verbs[s->op].send(s);
}

void session_continue(struct session *s)
{
    s->seen.has_continuation = true;
    if (s->op == OP_IDLE) {
        if (is_idle(s->load))
            session_held(s);
        else
            buf_printf(out(s), "DONE\r\n");
        return;
    }
    if (s->op != OP_APPEND || !s->load->no_litplus) {
        session_error(s, "unexpected continuation", "", 0);
        return;
    }
    const struct msgtmpl *m = msgpool_get(&s->load->pool, s->seq, (unsigned)s->user);
    buf_put(out(s), m->p, m->len);
    if (s->parts_left > 0) {
        m = next_message(s);
        buf_printf(out(s), " (\\Seen) {%zu}\r\n", m->len);
    } else
        buf_put(out(s), "\r\n", 2);
}
