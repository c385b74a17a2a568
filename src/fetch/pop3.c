/* A POP3 session, the client's side [RFC1939] [RFC2449] [RFC2595] [RFC5034].
 *
 * Greeting, CAPA, STLS and CAPA again, login, UIDL and LIST, then RETR of what the owner wants:
 * many asked for ahead where PIPELINING is offered [RFC2449 6.6]. When all of it is safe here, DELE
 * of what may go, and QUIT, whose answer is waited for: only then it is deleted there [RFC1939 6].
 *
 * Invariants: (1) an answer belongs to the first message that was asked for and not answered; (2) a
 * message counts as fetched when the owner has had its end. */
#include "fetch/fetch_int.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum phase { GREETING, CAPA, STLS, AUTH, USER, PASS, UIDL, LIST, RETR, FLUSH, DELE, QUIT };

static const char *const names[] = {"the greeting", "CAPA",      "STLS", "the login",
                                    "the login",    "the login", "UIDL", "LIST",
                                    "a message",    "a message", "DELE", "QUIT"};

struct entry {
    uint64_t size;
    uint32_t number, uidl; /* where its text is */
    uint8_t n_uidl;
    uint8_t want;
    bool is_taken, is_twin;
};

struct pop3 {
    enum phase phase;
    unsigned capabilities;
    bool is_body; /* the first line of a multi-line answer has come */
    struct entry *entries;
    size_t n, size;
    struct buf texts;
    size_t asked, answered; /* entries: RETR or DELE */
    size_t ahead, refused;
    struct fetch_dots dots;
    uint64_t got; /* bytes of the message */
};

static void *pop3_new(struct fetch_session *s)
{
    struct pop3 *p = mem_zero(sizeof *p);
    buf_init(&p->texts, (size_t)s->limits.messages * FETCH_UIDL);
    return p;
}

static void pop3_free(struct fetch_session *s)
{
    struct pop3 *p = s->state;
    buf_fini(&p->texts);
    free(p->entries);
    free(p);
}

static void enter(struct conn *c, struct fetch_session *s, enum phase phase)
{
    struct pop3 *p = s->state;
    p->phase = phase;
    p->is_body = false;
    fetch_session_wait(c, s, names[phase], 0);
}

static enum net_step say(struct conn *c, struct fetch_session *s, enum phase phase, struct str line)
{
    buf_put(net_out(c), line);
    buf_put(net_out(c), STR("\r\n"));
    enter(c, s, phase);
    return NET_READ;
}

static struct fetch_item item_of(const struct pop3 *p, const struct entry *e)
{
    return (struct fetch_item){.number = e->number,
                               .uidl = str_sub(buf_str(&p->texts), e->uidl, e->n_uidl),
                               .is_twin = e->is_twin,
                               .size = e->size};
}

/* --- the beginning ---------------------------------------------------------------------------- */

static enum net_step begin(struct conn *c, struct fetch_session *s)
{
    enter(c, s, GREETING);
    return NET_READ;
}

/* What was said before counts no more [RFC2595 4]. */
static enum net_step secure(struct conn *c, struct fetch_session *s)
{
    struct pop3 *p = s->state;
    p->capabilities = 0;
    return say(c, s, CAPA, STR("CAPA"));
}

static enum net_step say_login(struct conn *c, struct fetch_session *s)
{
    struct pop3 *p = s->state;
    struct buf line = {.cap = 8192};
    if (!fetch_session_may_say_password(c, s))
        return NET_ABORT;
    bool is_plain = p->capabilities & POP3_PLAIN;
    buf_put(&line, is_plain ? STR("AUTH PLAIN ") : STR("USER "));
    enum rc rc = is_plain ? fetch_login_plain(&s->place, &line) : buf_add(&line, s->place.login);
    if (is_plain && buf_len(&line) > 250) { /* [RFC2449 4]: a line has 255 bytes */
        buf_wipe(&line);
        buf_put(&line, STR("USER "));
        buf_put(&line, s->place.login);
        is_plain = false;
    }
    if (rc == RC_OK)
        say(c, s, is_plain ? AUTH : USER, buf_str(&line));
    buf_wipe(&line);
    return rc == RC_OK ? NET_READ : fetch_session_fail(s, RC_PERM, "the password is too long");
}

static enum net_step say_pass(struct conn *c, struct fetch_session *s)
{
    buf_put(net_out(c), STR("PASS "));
    return say(c, s, PASS, s->place.password);
}

static enum net_step after_capa(struct conn *c, struct fetch_session *s)
{
    struct pop3 *p = s->state;
    if (net_is_secure(c) || s->place.tls != FETCH_TLS_STARTTLS)
        return say_login(c, s);
    if (!(p->capabilities & POP3_STLS))
        return fetch_session_fail(s, RC_TEMP, "it offers no TLS (STLS)");
    return say(c, s, STLS, STR("STLS"));
}

/* --- what is there ---------------------------------------------------------------------------- */

static enum rc add_entry(struct fetch_session *s, struct str line)
{
    struct pop3 *p = s->state;
    struct entry e = {.uidl = (uint32_t)buf_len(&p->texts)};
    struct str uidl;
    TRY(fetch_pop3_listing(line, &e.number, &uidl));
    if (uidl.n > FETCH_UIDL || (p->n && e.number <= p->entries[p->n - 1].number))
        return RC_SYNTAX;
    for (size_t i = 0; i < uidl.n; i++)
        if (!ascii_is_print(uidl.p[i]) || uidl.p[i] == ' ')
            return RC_SYNTAX;
    if (p->n >= s->limits.messages)
        return RC_LIMIT;
    e.n_uidl = (uint8_t)uidl.n;
    TRY(buf_add(&p->texts, uidl));
    p->entries = mem_array(p->entries, &p->size, p->n + 1, sizeof *p->entries);
    p->entries[p->n++] = e;
    return RC_OK;
}

/* Both lists ascend; what only this one has is nothing. */
static enum rc add_size(struct pop3 *p, struct str line)
{
    uint32_t number;
    struct str rest, word;
    uint64_t size;
    TRY(fetch_pop3_listing(line, &number, &rest));
    str_cut(&rest, ' ', &word);
    if (str_to_u64(word, &size) != RC_OK)
        return RC_SYNTAX;
    while (p->asked < p->n && p->entries[p->asked].number < number)
        p->asked++;
    if (p->asked < p->n && p->entries[p->asked].number == number)
        p->entries[p->asked].size = size;
    return RC_OK;
}

static int by_uidl(const void *a, const void *b, void *arg)
{
    const struct pop3 *p = arg;
    struct fetch_item x = item_of(p, &p->entries[*(const uint32_t *)a]);
    struct fetch_item y = item_of(p, &p->entries[*(const uint32_t *)b]);
    return str_cmp(x.uidl, y.uidl);
}

/* A host may give copies of a message the same UIDL, and a bad one any messages [RFC1939 7]. */
static void mark_twins(struct pop3 *p)
{
    uint32_t *order = mem_alloc((p->n + 1) * sizeof *order);
    for (size_t i = 0; i < p->n; i++)
        order[i] = (uint32_t)i;
    qsort_r(order, p->n, sizeof *order, by_uidl, p);
    for (size_t i = 1; i < p->n; i++)
        if (by_uidl(&order[i - 1], &order[i], p) == 0)
            p->entries[order[i - 1]].is_twin = p->entries[order[i]].is_twin = true;
    free(order);
}

static enum rc ask_owner(struct fetch_session *s)
{
    struct pop3 *p = s->state;
    struct fetch_item items[FETCH_PAGE];
    mark_twins(p);
    for (size_t at = 0; at < p->n; at += FETCH_PAGE) {
        enum fetch_want want[FETCH_PAGE] = {FETCH_LEAVE};
        size_t n = p->n - at < FETCH_PAGE ? p->n - at : FETCH_PAGE;
        for (size_t i = 0; i < n; i++)
            items[i] = item_of(p, &p->entries[at + i]);
        TRY(s->owner->want(s->owner, items, n, want));
        for (size_t i = 0; i < n; i++)
            p->entries[at + i].want = (uint8_t)want[i];
    }
    return RC_OK;
}

/* --- messages --------------------------------------------------------------------------------- */

/* How long a message may take: a second for each KB. */
static void wait_message(struct conn *c, struct fetch_session *s)
{
    struct pop3 *p = s->state;
    size_t i = p->answered;
    while (i < p->n && p->entries[i].want != FETCH_TAKE)
        i++;
    uint64_t size = i < p->n ? p->entries[i].size : 0;
    fetch_session_wait(c, s, names[p->phase],
                       size < s->limits.message_bytes ? size : s->limits.message_bytes);
}

static void ask_ahead(struct conn *c, struct fetch_session *s)
{
    struct pop3 *p = s->state;
    size_t window = p->capabilities & POP3_PIPELINING ? FETCH_WINDOW : 1;
    bool was_empty = p->ahead == 0;
    while (p->asked < p->n && p->ahead < window && !net_out_is_full(c)) {
        const struct entry *e = &p->entries[p->asked++];
        if (p->phase == RETR ? e->want != FETCH_TAKE : e->want != FETCH_DELETE)
            continue;
        buf_putf(net_out(c), p->phase == RETR ? "RETR %u\r\n" : "DELE %u\r\n", e->number);
        p->ahead++;
    }
    if (was_empty && p->ahead)
        wait_message(c, s);
}

/* The entry that the next answer is about. */
static struct entry *current(struct pop3 *p)
{
    enum fetch_want want = p->phase == RETR ? FETCH_TAKE : FETCH_DELETE;
    while (p->answered < p->n && p->entries[p->answered].want != want)
        p->answered++;
    return p->answered < p->n ? &p->entries[p->answered] : NULL;
}

static enum net_step begin_phase(struct conn *c, struct fetch_session *s, enum phase phase)
{
    struct pop3 *p = s->state;
    p->asked = p->answered = p->ahead = 0;
    enter(c, s, phase);
    return NET_READ;
}

static void end_answer(struct conn *c, struct fetch_session *s)
{
    struct pop3 *p = s->state;
    p->answered++;
    p->ahead--;
    if (p->ahead)
        wait_message(c, s);
}

static enum net_step refused(struct conn *c, struct fetch_session *s, struct str words)
{
    struct pop3 *p = s->state;
    if (++p->refused > FETCH_REFUSED)
        return fetch_session_fail_words(s, RC_TEMP, "it refuses messages: ", words);
    end_answer(c, s);
    return NET_READ;
}

static enum net_step end_message(struct conn *c, struct fetch_session *s)
{
    struct pop3 *p = s->state;
    struct entry *e = current(p);
    const struct fetch_item item = item_of(p, e);
    s->is_in_message = p->is_body = false;
    e->is_taken = true;
    end_answer(c, s);
    enum rc rc = s->owner->end(s->owner, &item);
    if (rc == RC_OK)
        return NET_READ;
    return rc == RC_AGAIN ? NET_WAIT : fetch_session_fail_owner(s, rc);
}

static enum net_step take_body(struct conn *c, struct fetch_session *s)
{
    struct pop3 *p = s->state;
    struct str in = net_in(c), piece;
    size_t before = in.n;
    enum rc rc, owner = RC_OK;
    while ((rc = fetch_dots_next(&p->dots, &in, &piece)) == RC_OK && owner == RC_OK) {
        p->got += piece.n;
        if (p->got > s->limits.message_bytes)
            return fetch_session_fail(s, RC_TEMP, "a message is larger than it was said to be");
        if (piece.n)
            owner = s->owner->bytes(s->owner, piece);
    }
    net_consume(c, before - in.n);
    if (owner != RC_OK)
        return fetch_session_fail_owner(s, owner);
    return rc == RC_EOF ? end_message(c, s) : NET_READ;
}

static enum net_step begin_message(struct fetch_session *s)
{
    struct pop3 *p = s->state;
    const struct fetch_item item = item_of(p, current(p));
    enum rc rc = s->owner->begin(s->owner, &item);
    if (rc != RC_OK)
        return fetch_session_fail_owner(s, rc);
    s->is_in_message = p->is_body = true;
    p->dots = (struct fetch_dots){0};
    p->got = 0;
    return NET_READ;
}

/* --- the end ---------------------------------------------------------------------------------- */

/* What was fetched now and may go, and what was there from an earlier time. */
static void choose_deletions(struct fetch_session *s)
{
    struct pop3 *p = s->state;
    for (size_t i = 0; i < p->n; i++) {
        struct entry *e = &p->entries[i];
        const struct fetch_item item = item_of(p, e);
        if (e->want == FETCH_TAKE)
            e->want =
                e->is_taken && s->owner->may_delete(s->owner, &item) ? FETCH_DELETE : FETCH_LEAVE;
    }
}

/* What can be said without an answer. NET_READ: nothing more. */
static enum net_step go_on(struct conn *c, struct fetch_session *s)
{
    struct pop3 *p = s->state;
    if (p->phase == RETR || p->phase == DELE)
        ask_ahead(c, s);
    if (p->phase == RETR && p->ahead == 0 && p->asked == p->n)
        begin_phase(c, s, FLUSH);
    if (p->phase == FLUSH) {
        enum rc rc = s->owner->flush(s->owner);
        if (rc != RC_OK)
            return rc == RC_AGAIN ? NET_WAIT : fetch_session_fail_owner(s, rc);
        choose_deletions(s);
        begin_phase(c, s, DELE);
        ask_ahead(c, s);
    }
    if (p->phase == DELE && p->ahead == 0 && p->asked == p->n)
        return say(c, s, QUIT, STR("QUIT"));
    return NET_READ;
}

/* --- answers ---------------------------------------------------------------------------------- */

static enum net_step after_list(struct conn *c, struct fetch_session *s)
{
    enum rc rc = ask_owner(s);
    return rc == RC_OK ? begin_phase(c, s, RETR) : fetch_session_fail_owner(s, rc);
}

/* The lines of CAPA, UIDL, LIST. */
static enum net_step listed(struct conn *c, struct fetch_session *s, struct str line)
{
    struct pop3 *p = s->state;
    enum rc rc = RC_OK;
    if (str_eq(line, STR("."))) {
        enum phase phase = p->phase;
        p->asked = 0;
        return phase == CAPA   ? after_capa(c, s)
               : phase == UIDL ? say(c, s, LIST, STR("LIST"))
                               : after_list(c, s);
    }
    if (p->phase == CAPA)
        p->capabilities |= fetch_pop3_capability(line);
    else
        rc = p->phase == UIDL ? add_entry(s, line) : add_size(p, line);
    if (rc == RC_LIMIT)
        return fetch_session_fail(s, RC_TEMP, "it has more messages than are looked at here");
    return rc == RC_OK ? NET_READ : fetch_session_fail_words(s, RC_TEMP, "not a list: ", line);
}

static enum net_step accepted(struct conn *c, struct fetch_session *s)
{
    struct pop3 *p = s->state;
    switch (p->phase) {
    case GREETING:
        return say(c, s, CAPA, STR("CAPA"));
    case STLS:
        return fetch_session_tls(c, s);
    case USER:
        return say_pass(c, s);
    case AUTH:
    case PASS:
        return say(c, s, UIDL, STR("UIDL"));
    case RETR:
        return begin_message(s);
    case DELE:
        end_answer(c, s);
        return NET_READ;
    case QUIT: {
        enum rc rc = s->owner->deleted(s->owner);
        return rc == RC_OK ? fetch_session_done(c, s, STR("")) : fetch_session_fail_owner(s, rc);
    }
    default:
        p->is_body = true;
        return NET_READ;
    }
}

static enum net_step denied(struct conn *c, struct fetch_session *s, struct str words)
{
    struct pop3 *p = s->state;
    switch (p->phase) {
    case CAPA: /* it knows no such thing */
        return after_capa(c, s);
    case LIST:
        return after_list(c, s);
    case AUTH:
    case USER:
    case PASS: {
        enum rc rc = fetch_pop3_refusal(words, p->capabilities);
        return fetch_session_fail_words(s, rc, "the login was refused: ", words);
    }
    case UIDL:
        return fetch_session_fail_words(s, RC_PERM,
                                        "it does not tell messages apart (UIDL): ", words);
    case RETR:
    case DELE:
        return refused(c, s, words);
    case QUIT: /* [RFC1939 6]: some were not removed */
        return fetch_session_fail_words(s, RC_TEMP, "not all could be deleted: ", words);
    default:
        return fetch_session_fail_words(s, RC_TEMP, "it refused: ", words);
    }
}

static enum net_step answer(struct conn *c, struct fetch_session *s, struct str line)
{
    struct pop3 *p = s->state;
    bool is_unasked = (p->phase == RETR || p->phase == DELE) && p->ahead == 0;
    if (is_unasked || p->phase == FLUSH)
        return fetch_session_fail_words(s, RC_TEMP, "it spoke out of turn: ", line);
    if (str_istarts(line, STR("+OK")))
        return accepted(c, s);
    if (str_istarts(line, STR("-ERR")))
        return denied(c, s, str_skip(line, 4));
    return fetch_session_fail_words(s, RC_TEMP, "no POP3: ", line);
}

static enum net_step input(struct conn *c, struct fetch_session *s)
{
    struct pop3 *p = s->state;
    enum net_step next = NET_READ;
    for (;;) {
        struct str in = net_in(c), line;
        size_t before = in.n;
        if (p->phase == RETR && p->is_body) {
            next = take_body(c, s);
            if (next != NET_READ || p->is_body)
                break;
            continue;
        }
        enum rc rc = fetch_line(&in, FETCH_LINE, &line);
        if (rc == RC_AGAIN)
            break;
        if (rc != RC_OK)
            return fetch_session_fail(s, RC_TEMP, "a line without end while waiting for %s",
                                      s->doing);
        next = p->is_body ? listed(c, s, line) : answer(c, s, line);
        net_consume(c, before - in.n);
        if (next != NET_READ)
            break;
    }
    return next == NET_READ ? go_on(c, s) : next;
}

static enum net_step late(struct conn *c, struct fetch_session *s)
{
    return NET_ABORT;
}

const struct fetch_driver fetch_pop3 = {.name = "pop3",
                                        .new_ = pop3_new,
                                        .free_ = pop3_free,
                                        .begin = begin,
                                        .secure = secure,
                                        .input = input,
                                        .late = late};
