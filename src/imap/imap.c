/* The session's frame: greeting, commands one after the other, time, shutdown, and its end.
 *
 * One step takes as many commands as are there, until the output is over its mark or one has to
 * wait. Commands are carried out strictly in order [RFC3501 5.5] [RFC9051 5.5]. The deadline starts
 * anew with each command and each page that went out, not with each byte. */
#include "imap/imap_int.h"
#include "imap/news_int.h"

#include "base/mem.h"

#include <stdlib.h>

enum { ARENA_BEFORE = 24 << 10, ARENA_AFTER = 32 << 20, LAST_WAIT_MS = 5000 };

static void or_default(uint64_t *value, uint64_t fallback)
{
    *value = *value ? *value : fallback;
}

struct imap *imap_new(const struct ctx *ctx, const struct imap_conf *conf)
{
    struct imap *imap = mem_zero(sizeof *imap);
    struct imap_conf *k = &imap->conf;
    imap->ctx = ctx;
    pthread_mutex_init(&imap->damage.mutex, NULL);
    *k = *conf;
    or_default(&k->login_ms, 180 * 1000);
    or_default(&k->idle_ms, 1800 * 1000);
    or_default(&k->keepalive_ms, 240 * 1000);
    or_default(&k->progress_ms, 10 * 1000);
    or_default(&k->message_size, 50 << 20);
    or_default(&k->search_memory, 64 << 20);
    imap_columns_init(&imap->columns, k->search_memory);
    or_default(&k->command_size, 1 << 20);
    k->message_limit = k->message_limit ? k->message_limit : 1000 * 1000;
    k->login_failures = k->login_failures ? k->login_failures : 5;
    k->errors = k->errors ? k->errors : 20;
    k->search_mailboxes = k->search_mailboxes ? k->search_mailboxes : 1000;
    k->notify_names = k->notify_names ? k->notify_names : 1000;
    k->contexts = k->contexts ? k->contexts : 32;
    return imap;
}

void imap_free(struct imap **imap)
{
    if (!*imap)
        return;
    pthread_mutex_destroy(&(*imap)->damage.mutex);
    imap_columns_fini(&(*imap)->columns);
    free(*imap);
    *imap = NULL;
}

unsigned imap_flags(struct conn *c)
{
    return net_can_block(c) ? 0 : KV_CACHED;
}

enum net_step imap_wait(struct imap_session *s)
{
    s->is_waiting = true;
    return NET_READ;
}

static size_t line_max(const struct imap_session *s)
{
    return s->state == IMAP_NOT_AUTHENTICATED ? IMAP_LINE_MAX_BEFORE : IMAP_LINE_MAX;
}

static void begin(struct conn *c, struct imap_session *s)
{
    s->imap = net_app(c);
    s->net = net_of(c);
    s->handle = net_handle(c);
    s->state = IMAP_NOT_AUTHENTICATED;
    struct buf *out = net_out(c); /* never PREAUTH [RFC9051 7.1.4] */
    buf_put(out, STR("* OK [CAPABILITY "));
    imap_put_capabilities(c, s, out);
    buf_put(out, STR("] Penfold IMAP ready\r\n"));
    net_deadline(c, s->imap->conf.login_ms);
}

/* --- commands --------------------------------------------------------------------------------- */

/* What a refused literal is answered: tagged, when it has a tag. */
static enum net_step refuse(struct conn *c, struct imap_session *s, struct imap_gathered *it)
{
    struct str tag = {0}, rest = it->text;
    str_cut(&rest, ' ', &tag);
    enum imap_text text = it->literal.is_broken ? IMAP_SYNTAX : IMAP_LITERAL_TOO_BIG;
    if (!tag.n || tag.n > IMAP_TAG_MAX)
        text = IMAP_NO_TAG;
    buf_put(net_out(c), text == IMAP_NO_TAG ? STR("*") : tag);
    buf_put(net_out(c), STR(" BAD "));
    buf_put(net_out(c), imap_text_code(text).p ? imap_text_code(text) : STR(""));
    buf_put(net_out(c), imap_text_line(text));
    buf_put(net_out(c), it->literal.is_broken ? STR(" the size of a literal\r\n") : STR("\r\n"));
    imap_gather_refuse(&s->gather, it);
    return imap_count_error(c, s);
}

static bool is_allowed(const struct imap_session *s, const struct imap_gathered *it)
{
    bool is_before = s->state == IMAP_NOT_AUTHENTICATED;
    uint64_t most = is_before ? IMAP_COMMAND_MAX_BEFORE : s->imap->conf.command_size;
    if (it->literal.is_broken || it->literal.n > most || it->text.n > most - it->literal.n)
        return false;
    return !is_before || it->literal.is_sync || it->literal.n <= IMAP_LITERAL_MINUS;
}

static enum net_step take_literal(struct conn *c, struct imap_session *s, struct imap_gathered *it)
{
    net_consume(c, it->used);
    if (imap_command_literal(c, s, it->text, &it->literal) == IMAP_TAKEN)
        return NET_READ;
    if (!is_allowed(s, it)) /* before its bytes are read */
        return refuse(c, s, it);
    s->gather.held.cap = s->state == IMAP_NOT_AUTHENTICATED
                             ? IMAP_COMMAND_MAX_BEFORE + IMAP_LINE_MAX_BEFORE
                             : s->imap->conf.command_size + IMAP_LINE_MAX;
    imap_gather_accept(&s->gather, it);
    if (it->literal.is_sync)
        imap_continue(c, STR("go on"));
    return NET_READ;
}

static enum net_step take_gathered(struct conn *c, struct imap_session *s, struct imap_gathered *it)
{
    switch (it->kind) {
    case IMAP_INPUT_NONE:
        net_consume(c, it->used);
        return imap_wait(s);
    case IMAP_INPUT_COMMAND:
        s->has_progress = true;
        net_consume(c, it->used); /* whatever waits, waits behind this command; the view stays */
        if (!it->text.n && s->state != IMAP_NOT_AUTHENTICATED)
            return NET_READ; /* as some send behind a literal of APPEND: nothing is meant by it */
        return imap_command_run(c, s, it->text);
    case IMAP_INPUT_LITERAL:
        s->has_progress = true;
        return take_literal(c, s, it);
    case IMAP_INPUT_BARE:
    case IMAP_INPUT_TOO_LONG:
        break;
    }
    net_consume(c, it->used);
    return imap_bad_line(c, s, it->kind == IMAP_INPUT_BARE ? IMAP_BARE : IMAP_TOO_LONG);
}

static enum net_step next_command(struct conn *c, struct imap_session *s)
{
    struct imap_gathered it;
    bool is_before = s->state == IMAP_NOT_AUTHENTICATED;
    enum net_step next = s->user ? imap_login_check(c, s) : NET_READ;
    if (next != NET_READ)
        return next;
    /* For each command: those behind a LOGIN come in the same step. */
    s->arena.cap = is_before ? ARENA_BEFORE : ARENA_AFTER;
    struct str in = net_in(c);
    imap_gather_next(&s->gather, in, line_max(s), &it);
    next = take_gathered(c, s, &it);
    /* Before the login any line or literal may hold a password, also one that is no command: it
     * does not stay. What the command holds of it is wiped when that is freed. */
    if (is_before)
        net_wipe(c, str_head(in, it.used));
    return next;
}

enum net_step imap_read_line(struct conn *c, struct imap_session *s, struct str *out)
{
    struct str in = net_in(c);
    ptrdiff_t lf = str_find_byte(str_head(in, line_max(s)), '\n');
    *out = (struct str){0};
    if (lf < 0 && in.n < line_max(s))
        return imap_wait(s);
    if (lf < 0) {
        imap_bye(c, (struct str){0}, imap_text_line(IMAP_TOO_LONG));
        s->end = "line";
        return NET_CLOSE;
    }
    *out = str_head(in, (size_t)lf);
    if (str_ends(*out, STR("\r")))
        out->n--;
    net_consume(c, (size_t)lf + 1);
    s->has_progress = true;
    return NET_READ;
}

/* --- steps ------------------------------------------------------------------------------------ */

static enum net_step say_goodbye(struct conn *c, struct imap_session *s)
{
    s->end = "shutdown";
    imap_bye(c, (struct str){0}, STR("the server is shutting down"));
    return NET_CLOSE;
}

/* [RFC5465 3.1] */
static enum net_step begin_news(struct conn *c, struct imap_session *s)
{
    s->go_on = imap_notify_between;
    return imap_notify_between(c, s);
}

static enum net_step run(struct conn *c, struct imap_session *s)
{
    enum net_step next = NET_READ;
    s->is_waiting = false;
    while (next == NET_READ && !s->is_waiting) {
        if (s->go_on)
            next = s->go_on(c, s);
        else if (s->is_draining)
            next = say_goodbye(c, s);
        else if (net_out_is_full(c))
            next = NET_MORE;
        else if (s->has_news)
            next = begin_news(c, s);
        else
            next = next_command(c, s);
    }
    return next;
}

/* Within an answer there is no place for words of our own; between two, and where the client is to
 * go on, nobody leaves without them [RFC3501 3.4] [RFC9051 3.4]. */
static bool is_between(const struct imap_session *s)
{
    return !s->go_on || s->is_waiting || s->is_idling;
}

static enum net_step time_out(struct conn *c, struct imap_session *s)
{
    if (s->is_draining && is_between(s))
        return say_goodbye(c, s);
    if (s->is_idling)
        return imap_idle_timeout(c, s);
    s->end = "timeout";
    if (is_between(s))
        imap_bye(c, (struct str){0},
                 STR("nothing has been said for too long")); /* [RFC3501 5.4] [RFC9051 5.4] */
    return NET_CLOSE;
}

/* Somebody else wants the session to end, whatever it does. */
static enum net_step leave(struct conn *c, struct imap_session *s)
{
    bool is_over = auth_session_ending(s->entry) == AUTH_SESSION_OVER;
    s->end = is_over ? "login" : "kicked";
    if (is_between(s) && is_over)
        imap_login_over(c);
    else if (is_between(s))
        imap_bye(c, (struct str){0}, STR("an administrator ended this session"));
    return NET_CLOSE;
}

static void start_again(struct conn *c, struct imap_session *s)
{
    /* What was said before TLS counts no longer [RFC3501 6.2.1] [RFC9051 6.2.1]. */
    imap_command_end(s);
    net_deadline(c, s->imap->conf.login_ms);
}

static enum net_step step(struct conn *c, unsigned events)
{
    struct imap_session *s = net_session(c);
    if (events & NET_EV_OPEN)
        begin(c, s);
    if (events & NET_EV_TLS)
        start_again(c, s);
    s->is_draining = s->is_draining || events & NET_EV_DRAIN;
    if (events & NET_EV_KICK)
        return leave(c, s);
    s->has_news = s->has_news || (s->notify && events & NET_EV_WAKE);
    s->has_progress = false;
    s->is_late = s->is_late || events & NET_EV_TIMEOUT;
    enum net_step next = s->is_late ? time_out(c, s) : NET_READ;
    s->is_late = next == NET_SHORT; /* it comes again, on a worker and without the event */
    if (next == NET_READ)
        next = run(c, s);
    if (s->has_progress)
        auth_session_moved(s->entry);
    if (s->has_progress && s->state != IMAP_NOT_AUTHENTICATED && !s->is_idling)
        net_deadline(c, s->imap->conf.idle_ms);
    if (s->is_draining && next == NET_READ) /* the rest of a command may be on its way */
        net_deadline(c, LAST_WAIT_MS);
    return next;
}

void imap_log_session(struct conn *c, const struct imap_session *s, const char *end)
{
    struct log_line l;
    net_log(c, &l, LOG_INFO, "imap-session");
    log_u64(&l, "account", s->user->account);
    log_u64(&l, "commands", s->user->commands);
    log_text(&l, "end", end);
    log_end(&l);
}

static void closed(struct conn *c)
{
    struct imap_session *s = net_session(c);
    imap_command_end(s);
    imap_login_end(s);
    if (s->user)
        imap_log_session(c, s, s->end ? s->end : "closed");
    imap_login_forget(s);
    free(s->client);
    s->client = NULL;
}

const struct net_proto imap_proto = {
    .name = "imap",
    .session_size = sizeof(struct imap_session),
    .input_max = IMAP_INPUT_MAX,
    .output_high = IMAP_OUTPUT_HIGH,
    .busy = "* BYE [UNAVAILABLE] too many connections, try again later\r\n",
    .step = step,
    .close = closed,
};
