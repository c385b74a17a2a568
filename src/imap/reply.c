/* Answers: how a command ends, and strings as the client reads them [RFC3501 4.3, 7]
 * [RFC9051 4.3, 7]. */
#include "imap/imap_int.h"
#include "imap/news_int.h"

#include "base/utf8.h"

#include <string.h>

void imap_put_u64(struct buf *out, uint64_t n)
{
    if (buf_add_u64(out, n) != RC_OK)
        out->over = true;
}

void imap_put_mailbox_id(struct buf *out, const struct store_mailbox *mailbox)
{
    buf_put(out, STR("MAILBOXID (F"));
    imap_put_u64(out, mailbox->uidvalidity);
    buf_put(out, STR(")"));
}

/* What is written at once stays far below the output's cap. */
void imap_put_page(struct conn *c, struct str *rest)
{
    enum { PIECE = 16 << 10 };
    while (rest->n && !net_out_is_full(c)) {
        struct str piece = str_head(*rest, PIECE);
        buf_put(net_out(c), piece);
        *rest = str_skip(*rest, piece.n);
    }
}

/* A tag with a ']' cannot stand in a response code [RFC9585 4]; one never has a quote. */
static void put_progress_tag(const struct imap_session *s, struct buf *out)
{
    bool is_usable = s->tag_n && !memchr(s->tag, ']', s->tag_n);
    buf_put(out, is_usable ? STR("\"") : STR("NIL"));
    buf_put(out, is_usable ? str_from(s->tag, s->tag_n) : STR(""));
    buf_put(out, is_usable ? STR("\"") : STR(""));
}

/* The goal is more than what is done, or not known [RFC9585 4]. */
void imap_put_progress(struct conn *c, const struct imap_session *s, size_t done, size_t goal)
{
    struct buf *out = net_out(c);
    buf_put(out, STR("* OK [INPROGRESS ("));
    put_progress_tag(s, out);
    buf_put(out, STR(" "));
    imap_put_u64(out, done);
    buf_put(out, STR(" "));
    if (goal > done)
        imap_put_u64(out, goal);
    else
        buf_put(out, STR("NIL"));
    buf_put(out, STR(")] still working\r\n"));
}

/* --- strings ---------------------------------------------------------------------------------- */

enum { QUOTED_MAX = 1000 };

static bool is_quotable(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] >= 0x80 || strchr("\r\n", s.p[i])) /* and NUL */
            return false;
    return s.n <= QUOTED_MAX;
}

static void put_quoted(struct buf *out, struct str s)
{
    buf_put(out, STR("\""));
    while (s.n) {
        size_t n = 0;
        while (n < s.n && s.p[n] != '"' && s.p[n] != '\\')
            n++;
        buf_put(out, str_head(s, n));
        if (n < s.n) {
            buf_put(out, STR("\\"));
            buf_put(out, str_sub(s, n++, 1));
        }
        s = str_skip(s, n);
    }
    buf_put(out, STR("\""));
}

void imap_put_nstring(struct buf *out, struct str s)
{
    if (!s.p) {
        buf_put(out, STR("NIL"));
    } else if (is_quotable(s)) {
        put_quoted(out, s);
    } else {
        buf_put(out, STR("{"));
        imap_put_u64(out, s.n);
        buf_put(out, STR("}\r\n"));
        buf_put(out, s);
    }
}

void imap_put_utf8(struct buf *out, struct str s)
{
    if (utf8_is_ascii(s) || !utf8_is_valid(s) || s.n > QUOTED_MAX || str_find_byte(s, '\n') >= 0 ||
        str_find_byte(s, '\r') >= 0 || str_find_byte(s, 0) >= 0)
        imap_put_astring(out, s);
    else
        put_quoted(out, s);
}

static bool is_atom(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] <= 0x20 || (unsigned char)s.p[i] >= 0x7f ||
            strchr("(){%*\"\\", s.p[i]))
            return false;
    return s.n && !str_ieq(s, STR("NIL"));
}

void imap_put_astring(struct buf *out, struct str s)
{
    if (is_atom(s))
        buf_put(out, s);
    else
        imap_put_nstring(out, s.p ? s : STR(""));
}

/* --- how a command ends ----------------------------------------------------------------------- */

void imap_command_end(struct imap_session *s)
{
    if (s->job_fini)
        s->job_fini(s);
    imap_contexts_rest(s);
    imap_notify_rest(s);
    bool is_secret = s->command && s->command->flags & IMAP_SECRET;
    imap_gather_reset(&s->gather, is_secret || s->state == IMAP_NOT_AUTHENTICATED);
    arena_fini(&s->arena);
    s->job = NULL;
    s->job_fini = NULL;
    s->go_on = NULL;
    s->command = NULL;
    s->keywords = NULL;
    s->told = NULL;
    s->expects = NULL;
    s->error = NULL;
    s->code = (struct str){0};
    s->limited = (struct imap_limited){0};
    s->is_uid = s->keeps_numbers = s->tells_modseq = s->has_changed = false;
}

static void put_words(struct imap_session *s, struct buf *out)
{
    if (s->answer == IMAP_DONE) {
        bool was_uid = s->is_uid && s->command->flags & (IMAP_UID | IMAP_ONLY_UID);
        buf_put(out, was_uid ? STR("UID ") : STR(""));
        buf_put(out, str_of(s->command->verb));
        buf_put(out, STR(" "));
    }
    buf_put(out, imap_text_line(s->answer));
    if (s->answer == IMAP_SYNTAX) {
        buf_put(out, STR(" "));
        buf_put(out, str_of(s->error));
    }
}

static void begin_answer(struct conn *c, struct imap_session *s)
{
    static const struct str status[] = {STR_INIT(" OK "), STR_INIT(" NO "), STR_INIT(" BAD ")};
    struct buf *out = net_out(c);
    buf_put(out, str_from(s->tag, s->tag_n));
    buf_put(out, status[imap_text_status(s->answer)]);
    if (!s->code.p)
        s->code = imap_text_code(s->answer);
}

/* BAD again and again is no mail program. */
enum net_step imap_count_error(struct conn *c, struct imap_session *s)
{
    if (++s->errors < s->imap->conf.errors)
        return NET_READ;
    s->end = "errors";
    imap_bye(c, (struct str){0}, STR("too many commands that are none"));
    return NET_CLOSE;
}

/* [RFC7162 3.2.7, 3.2.9]: and when what is gone is kept back, so that a client that is cut off does
 * not miss it [RFC7162 3.2]. In the tagged answer where that has no code of its own. */
static void tell_modseq(struct conn *c, struct imap_session *s)
{
    bool is_behind = s->state == IMAP_SELECTED && s->view.is_behind;
    if (s->state != IMAP_SELECTED || !(s->enabled & IMAP_EN_QRESYNC) ||
        !(s->tells_modseq || is_behind))
        return;
    if (s->code.p || s->answer != IMAP_DONE) {
        imap_put_highest_modseq(s, net_out(c));
        return;
    }
    struct buf code = {.cap = 64};
    buf_put(&code, STR("[HIGHESTMODSEQ "));
    imap_put_u64(&code, s->view.modseq);
    buf_put(&code, STR("] "));
    s->code = arena_dup(&s->arena, buf_str(&code));
    buf_fini(&code);
}

/* The code may be long: COPYUID names every message. */
static enum net_step finish_line(struct conn *c, struct imap_session *s)
{
    imap_put_page(c, &s->code);
    if (s->code.n)
        return NET_MORE;
    put_words(s, net_out(c));
    buf_put(net_out(c), STR("\r\n"));
    bool is_bad = imap_text_status(s->answer) == IMAP_BAD;
    imap_command_end(s);
    if (s->is_logout && s->bye) /* [RFC3501 3.4] [RFC9051 3.4] */
        imap_bye(c, (struct str){0}, str_of(s->bye));
    if (s->is_logout)
        return NET_CLOSE;
    if (is_bad)
        return imap_count_error(c, s);
    if (s->state != IMAP_NOT_AUTHENTICATED) /* a mail program that errs now and then, for weeks */
        s->errors = 0;
    return NET_READ;
}

static enum net_step finish(struct conn *c, struct imap_session *s)
{
    unsigned flags = s->command ? s->command->flags : IMAP_NO_NEWS;
    if (s->state == IMAP_SELECTED && !(flags & IMAP_NO_NEWS) && imap_has_news(s)) {
        bool is_expunge_ok = (s->is_uid && !s->keeps_numbers) || !(flags & IMAP_NO_EXPUNGE);
        enum net_step next = imap_view_tell(c, s, is_expunge_ok);
        if (next != NET_READ)
            return next;
        tell_modseq(c, s);
    }
    imap_limit_tell(c, s);
    begin_answer(c, s);
    s->go_on = finish_line;
    return finish_line(c, s);
}

enum net_step imap_finish_code(struct conn *c, struct imap_session *s, enum imap_text text,
                               struct str code)
{
    imap_view_leave(s);
    s->answer = text;
    s->code = code;
    s->go_on = finish;
    return finish(c, s);
}

enum net_step imap_finish(struct conn *c, struct imap_session *s, enum imap_text text)
{
    return imap_finish_code(c, s, text, (struct str){0});
}

enum net_step imap_finish_rc(struct conn *c, struct imap_session *s, enum rc rc)
{
    return imap_finish(c, s, imap_text_of_rc(rc));
}

/* [RFC3501 2.2.2] [RFC9051 2.2.2] */
enum net_step imap_finish_syntax(struct conn *c, struct imap_session *s, const struct imap_parse *p)
{
    s->error = p->error ? p->error : "something else";
    return imap_finish(c, s, p->is_limit ? IMAP_TOO_LONG_COMMAND : IMAP_SYNTAX);
}

enum net_step imap_bad_line(struct conn *c, struct imap_session *s, enum imap_text text)
{
    struct buf *out = net_out(c);
    struct str code = imap_text_code(text);
    buf_put(out, STR("* BAD "));
    buf_put(out, code.p ? code : STR(""));
    buf_put(out, imap_text_line(text));
    buf_put(out, STR("\r\n"));
    return imap_count_error(c, s);
}

void imap_continue(struct conn *c, struct str text)
{
    buf_put(net_out(c), STR("+ "));
    buf_put(net_out(c), text);
    buf_put(net_out(c), STR("\r\n"));
}

/* [RFC3501 7.1.5] [RFC9051 7.1.5] */
void imap_bye(struct conn *c, struct str code, struct str text)
{
    struct buf *out = net_out(c);
    buf_put(out, STR("* BYE "));
    buf_put(out, code.p ? code : STR(""));
    buf_put(out, text);
    buf_put(out, STR("\r\n"));
}
