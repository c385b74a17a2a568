/* APPEND: messages from the client, one or several, all or none [RFC3501 6.3.11] [RFC9051 6.3.12]
 * [RFC3502] [RFC3516 4.4] [RFC4315 3] [RFC9051 7.1] [RFC7889]; and REPLACE, which is an APPEND of
 * one message that takes another one's place in the same change [RFC8508].
 *
 * The command reads its own input, since a message does not fit into a command: a line up to the
 * announcement of a literal, its bytes, the rest of the line, which may announce the next one.
 *
 * Invariants: everything that can be known from the announcement is refused before a byte of the
 * message is asked for. Nothing is in the mailbox before the one commit at the end; who hangs up
 * before it leaves nothing. After a refusal the input goes on behind the end of the command,
 * whatever of it the client sends without waiting. */
#include "imap/arguments_int.h"

#include "base/mem.h"

#include <string.h>

enum {
    PROGRESS = 1 << 20, /* so many bytes are a sign of life */
    WASTE = 2           /* times the largest message is read to be thrown away, not more */
};

struct append {
    struct imap_op op; /* first */
    struct store_path path;
    uint32_t mailbox; /* 0: not looked for yet */
    struct imap_intake in;
    struct store_append *appends; /* in the arena */
    size_t n, room;
    uint64_t bytes; /* of all of them, as announced */
    bool is_replace;
    uint32_t replaced; /* UID in the selected mailbox */
    uint64_t replaced_size;
    uint64_t unseen_progress;
    bool is_wrapped; /* the message: a ")" belongs to it */
    enum imap_text refusal;
};

static void fini(struct imap_session *s)
{
    struct append *k = s->job;
    for (size_t i = 0; i < k->n; i++)
        kv_blob_forget(s->imap->conf.kv, k->appends[i].blob);
    imap_intake_end(s, &k->in);
}

/* --- refusing --------------------------------------------------------------------------------- */

static enum net_step pass_over(struct conn *c, struct imap_session *s)
{
    const struct append *k = s->job;
    size_t used = 0;
    if (s->gather.skip / WASTE > s->imap->conf.message_size) { /* [RFC7888 4] */
        s->end = "literal";
        imap_bye(c, STR("[TOOBIG] "), imap_text_line(IMAP_TOO_BIG));
        return NET_CLOSE;
    }
    bool is_over = !s->gather.is_skipping || imap_gather_skip(&s->gather, net_in(c), &used);
    net_consume(c, used);
    return is_over ? imap_finish(c, s, k->refusal) : imap_wait(s);
}

/* `skip`: bytes of a literal that come all the same, and behind them the rest of the command. */
static enum net_step refuse(struct imap_session *s, enum imap_text text, bool is_skipping,
                            uint64_t skip)
{
    struct append *k = s->job;
    k->refusal = text;
    imap_intake_end(s, &k->in);
    imap_gather_reset(&s->gather, false);
    s->gather.is_skipping = is_skipping;
    s->gather.skip = is_skipping ? skip : 0;
    s->go_on = pass_over;
    return NET_READ;
}

static enum net_step refuse_syntax(struct imap_session *s, const struct imap_parse *p,
                                   const struct imap_literal *literal)
{
    s->error = p->error ? p->error : "less";
    return refuse(s, p->is_limit ? IMAP_TOO_LONG_COMMAND : IMAP_SYNTAX,
                  !literal->is_sync && !literal->is_broken, literal->n);
}

/* --- the end ---------------------------------------------------------------------------------- */

/* Of any mailbox: an account has none that it may not open [RFC9051 11.4]. */
static struct str appenduid(struct imap_session *s, const struct store_op *op)
{
    struct buf code = {.cap = 100};
    struct imap_uid_set set = {.text = {.cap = 100}};
    imap_uid_set_add(&set, op->uid, op->changed);
    imap_uid_set_end(&set);
    buf_put(&code, STR("[APPENDUID "));
    imap_put_u64(&code, op->uidvalidity);
    buf_put(&code, STR(" "));
    buf_put(&code, buf_str(&set.text));
    buf_put(&code, STR("] "));
    struct str kept = arena_dup(&s->arena, buf_str(&code));
    buf_fini(&set.text);
    buf_fini(&code);
    return kept;
}

static enum net_step fail(struct conn *c, struct imap_session *s, enum rc rc)
{
    const struct append *k = s->job;
    if (rc == RC_NOTFOUND) /* removed meanwhile */
        return imap_finish(c, s, IMAP_NO_MAILBOX_TRYCREATE);
    if (rc == RC_PERM && k->is_replace) /* what was to be replaced is gone */
        return imap_finish(c, s, IMAP_EXPUNGED);
    if (rc == RC_LIMIT)
        return imap_finish(c, s, imap_change_limit(s, k->n, k->bytes));
    return imap_finish_rc(c, s, rc);
}

/* The new UID comes before the EXPUNGE, which is not told before all is done [RFC8508 3.4, 4.3],
 * and whose modseq is told as that of UID EXPUNGE [RFC8508 4.5]. */
static enum net_step replaced(struct conn *c, struct imap_session *s, struct str code)
{
    buf_put(net_out(c), STR("* OK "));
    buf_put(net_out(c), code);
    buf_put(net_out(c), STR("replaced\r\n"));
    s->tells_modseq = true;
    return imap_finish(c, s, IMAP_DONE);
}

static enum net_step commit(struct conn *c, struct imap_session *s);

static enum net_step committed(struct conn *c, struct imap_session *s)
{
    struct append *k = s->job;
    const struct store_op *op = &k->op.op;
    if (imap_op_again(&k->op))
        return commit(c, s);
    if (op->rc != RC_OK)
        return fail(c, s, op->rc);
    struct str code = appenduid(s, op);
    return k->is_replace ? replaced(c, s, code) : imap_finish_code(c, s, IMAP_DONE, code);
}

static enum net_step commit(struct conn *c, struct imap_session *s)
{
    struct append *k = s->job;
    struct store_op *op = imap_op_begin(&k->op, s);
    s->go_on = commit;
    enum rc rc = store_append_many(s->account, k->appends, k->n, imap_flags(c), op);
    if (rc == RC_AGAIN && !net_can_block(c))
        return NET_SHORT;
    if (rc != RC_OK)
        return fail(c, s, rc);
    s->go_on = committed;
    return NET_WAIT;
}

/* --- messages --------------------------------------------------------------------------------- */

static bool keep_keywords(struct imap_session *s, const struct imap_flags *flags,
                          struct store_append *out)
{
    struct str *names = arena_alloc(&s->arena, flags->n_keywords * sizeof *names + 1);
    for (size_t i = 0; names && i < flags->n_keywords; i++)
        names[i] = arena_dup(&s->arena, flags->keywords[i]);
    out->keywords = names;
    out->n_keywords = flags->n_keywords;
    return names;
}

static struct store_append *add(struct imap_session *s, struct append *k)
{
    if (k->n == k->room) {
        k->room = k->room ? k->room * 4 : 1;
        struct store_append *more = arena_alloc(&s->arena, k->room * sizeof *more);
        if (!more)
            return NULL;
        if (k->n)
            memcpy(more, k->appends, k->n * sizeof *more);
        k->appends = more;
    }
    k->appends[k->n] = (struct store_append){
        .mailbox = k->mailbox, .replaced_mailbox = s->view.mailbox, .replaced_uid = k->replaced};
    return &k->appends[k->n];
}

/* Of a message that replaces another one only the difference counts [RFC8508 3.4]. */
static bool has_room(struct imap_session *s, const struct append *k, uint64_t more)
{
    struct store_usage u;
    if (!k->is_replace)
        return store_account_has_room(s->account, k->bytes + more) != RC_LIMIT;
    store_account_usage(s->account, &u);
    return !u.quota.bytes || more <= k->replaced_size ||
           u.bytes + (more - k->replaced_size) <= u.quota.bytes;
}

/* What the announcement alone can be refused for. */
static enum imap_text check(struct imap_session *s, const struct append *k,
                            const struct imap_literal *literal)
{
    if (!literal->n)
        return IMAP_EMPTY; /* [RFC3502 6.3.11] [RFC9051 6.3.12] */
    if (literal->n > s->imap->conf.message_size)
        return IMAP_TOO_BIG; /* [RFC7889 4] */
    size_t most = imap_limit_of_saving(s) < STORE_APPENDS ? imap_limit_of_saving(s) : STORE_APPENDS;
    if (k->n == most)
        return imap_limit_refuse(s, most); /* [RFC9738 3.1] */
    return has_room(s, k, literal->n) ? IMAP_DONE : IMAP_OVER_QUOTA;
}

static enum imap_text expect_message(struct imap_session *s, struct append *k,
                                     const struct imap_item *item)
{
    enum imap_text text = k->mailbox ? IMAP_DONE : imap_change_target(s, k->path, &k->mailbox);
    if (text == IMAP_DONE)
        text = check(s, k, &item->literal);
    if (text != IMAP_DONE)
        return text;
    struct store_append *append = add(s, k);
    if (!append || !keep_keywords(s, &item->flags, append))
        return IMAP_LIMIT;
    append->flags = item->flags.flags;
    /* [RFC3501 2.3.3] [RFC9051 2.3.3] */
    append->received = item->has_date ? item->received : clock_wall(s->imap->ctx->clock);
    k->bytes += item->literal.n;
    return imap_intake_begin(s, &k->in, &item->literal);
}

static enum net_step read_message(struct conn *c, struct imap_session *s);

/* `p` stands before what is said of the next message; the line has gone from the input. What comes
 * of it is in go_on. */
static enum net_step begin_message(struct conn *c, struct imap_session *s, struct imap_parse *p,
                                   const struct imap_literal *literal)
{
    struct append *k = s->job;
    struct imap_item *item = arena_alloc(&s->arena, sizeof *item);
    if (!item || !imap_take_item(p, item))
        return refuse_syntax(s, p, literal);
    enum imap_text text = expect_message(s, k, item);
    if (text != IMAP_DONE)
        return refuse(s, text, !literal->is_sync, literal->n);
    k->is_wrapped = item->is_wrapped;
    imap_gather_reset(&s->gather, false);
    if (literal->is_sync)
        imap_continue(c, STR("go on"));
    s->go_on = read_message;
    return NET_READ;
}

/* Behind a message: the end of the command, or another message. */
static enum net_step read_rest(struct conn *c, struct imap_session *s)
{
    const struct append *k = s->job;
    struct imap_gathered it;
    imap_gather_next(&s->gather, net_in(c), IMAP_LINE_MAX, &it);
    struct imap_parse p = imap_parse_of(s, it.text);
    bool is_closed = !k->is_wrapped || imap_take_byte(&p, ')');
    net_consume(c, it.used);
    switch (it.kind) {
    case IMAP_INPUT_NONE:
        return imap_wait(s);
    case IMAP_INPUT_LITERAL:
        s->has_progress = true;
        if (k->is_replace || !is_closed) { /* one message [RFC8508 4.7] */
            imap_fail(&p, "the end of the command");
            return refuse_syntax(s, &p, &it.literal);
        }
        return begin_message(c, s, &p, &it.literal);
    case IMAP_INPUT_COMMAND:
        if (is_closed && !p.rest.n)
            return commit(c, s);
        s->error = "the end of the command or another message";
        return refuse(s, IMAP_SYNTAX, false, 0);
    case IMAP_INPUT_BARE:
        return refuse(s, IMAP_BARE, s->gather.is_skipping, s->gather.skip);
    case IMAP_INPUT_TOO_LONG:
        break;
    }
    return refuse(s, IMAP_TOO_LONG, true, 0);
}

static enum net_step finish_message(struct conn *c, struct imap_session *s)
{
    struct append *k = s->job;
    if (imap_intake_may_wait(&k->in, 0) && !net_can_block(c))
        return NET_SHORT;
    enum imap_text text = imap_intake_finish(s, &k->in, &k->appends[k->n]);
    if (text != IMAP_DONE)
        return refuse(s, text, true, 0);
    k->n++;
    s->go_on = read_rest;
    return read_rest(c, s);
}

static enum net_step read_message(struct conn *c, struct imap_session *s)
{
    struct append *k = s->job;
    struct str in = net_in(c), piece = str_head(in, k->in.left < in.n ? (size_t)k->in.left : in.n);
    if (piece.n && imap_intake_may_wait(&k->in, piece.n) && !net_can_block(c))
        return NET_SHORT;
    uint64_t left = k->in.left - piece.n;
    enum imap_text text = imap_intake_take(s, &k->in, piece);
    net_consume(c, piece.n);
    k->unseen_progress += piece.n;
    if (k->unseen_progress >= PROGRESS) {
        s->has_progress = true;
        k->unseen_progress = 0;
    }
    if (text != IMAP_DONE)
        return refuse(s, text, true, left);
    if (left)
        return imap_wait(s);
    s->go_on = finish_message;
    return finish_message(c, s);
}

/* --- the command ------------------------------------------------------------------------------ */

/* Whether the literal is the name of the mailbox, to be gathered as those of other commands are. */
static bool is_name(struct str arguments)
{
    return str_starts(arguments, STR("{")) && str_find(arguments, STR("\r\n")) < 0;
}

enum imap_taken imap_append_literal(struct conn *c, struct imap_session *s, struct imap_parse *p,
                                    const struct imap_literal *literal)
{
    if (literal->is_broken || is_name(p->rest))
        return IMAP_NOT_TAKEN;
    struct append *k = arena_zero(&s->arena, sizeof *k);
    if (!k)
        return IMAP_NOT_TAKEN;
    s->job = k;
    s->job_fini = fini;
    if (imap_take_mailbox(p, &k->path))
        begin_message(c, s, p, literal);
    else
        refuse_syntax(s, p, literal);
    return IMAP_TAKEN;
}

/* It has come whole, so there is no message in it. */
enum net_step imap_append(struct conn *c, struct imap_session *s, struct imap_parse *p)
{
    struct store_path path;
    if (imap_take_mailbox(p, &path))
        imap_fail(p, "a message as a literal");
    return imap_finish_syntax(c, s, p);
}

/* --- REPLACE ---------------------------------------------------------------------------------- */

bool imap_take_one(struct imap_parse *p, struct imap_set *out)
{
    if (!imap_take_set(p, out))
        return false;
    bool is_one = !out->is_saved && out->n == 1 && out->ranges->from == out->ranges->to;
    return is_one ? imap_take_sp(p) : imap_fail(p, "one message");
}

static enum imap_text find_replaced(struct imap_session *s, struct append *k,
                                    const struct imap_set *set)
{
    struct imap_spans spans;
    if (s->view.is_read_only)
        return IMAP_READ_ONLY;
    enum rc rc = imap_set_resolve(set, s->view.root, s->is_uid, &s->arena, &spans);
    if (rc != RC_OK)
        return rc == RC_NOTFOUND ? IMAP_NO_MESSAGE : IMAP_LIMIT;
    if (!spans.total)
        return IMAP_NO_UID;
    const struct store_row *row = store_root_at(s->view.root, spans.at->from);
    k->replaced = row->uid;
    k->replaced_size = row->size;
    return IMAP_DONE;
}

static void begin_replace(struct conn *c, struct imap_session *s, struct imap_parse *p,
                          const struct imap_set *set, const struct imap_literal *literal)
{
    struct append *k = s->job;
    k->is_replace = true;
    enum imap_text text = find_replaced(s, k, set);
    if (text != IMAP_DONE)
        refuse(s, text, !literal->is_sync, literal->n);
    else if (imap_take_mailbox(p, &k->path))
        begin_message(c, s, p, literal);
    else
        refuse_syntax(s, p, literal);
}

enum imap_taken imap_replace_literal(struct conn *c, struct imap_session *s, struct imap_parse *p,
                                     const struct imap_literal *literal)
{
    struct imap_set set;
    if (literal->is_broken || !imap_take_one(p, &set) || is_name(p->rest))
        return IMAP_NOT_TAKEN;
    struct append *k = arena_zero(&s->arena, sizeof *k);
    if (!k)
        return IMAP_NOT_TAKEN;
    s->job = k;
    s->job_fini = fini;
    begin_replace(c, s, p, &set, literal);
    return IMAP_TAKEN;
}

/* As APPEND without a message, or one that is no message's number. */
enum net_step imap_replace(struct conn *c, struct imap_session *s, struct imap_parse *p)
{
    struct imap_set set;
    return imap_take_one(p, &set) ? imap_append(c, s, p) : imap_finish_syntax(c, s, p);
}
