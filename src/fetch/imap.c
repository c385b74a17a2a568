/* An IMAP session, the client's side [RFC3501] [RFC9051] [RFC2177] [RFC4315] [RFC6154].
 *
 * Greeting, CAPABILITY, STARTTLS and CAPABILITY again, login, LIST. Then each folder that the owner
 * wants: SELECT, the messages with their sizes, each that is wanted by a FETCH of its own, many
 * sent ahead; when all of it is safe here, \Deleted and UID EXPUNGE of what may go. Last, where the
 * host offers it, IDLE in the first folder until there is news or time is over, and again from the
 * first.
 *
 * Invariants: (1) commands are answered in the order of their tags; what they bring may come before
 * the tagged answers of earlier ones, which Dovecot keeps back; (2) a message is one that was asked
 * for, and its answer must name its UID. */
#include "fetch/fetch_int.h"
#include "fetch/imap_reply.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum phase {
    GREETING,
    CAPABILITY,
    STARTTLS,
    LOGIN,
    CAPABILITY_AGAIN,
    LIST,
    SELECT,
    SCAN,
    FETCH,
    FLUSH,
    STORE,
    EXPUNGE,
    IDLE,
    LOGOUT
};
static const char *const names[] = {
    "the greeting",         "CAPABILITY", "STARTTLS",  "the login", "CAPABILITY", "LIST", "SELECT",
    "the list of messages", "a message",  "a message", "STORE",     "EXPUNGE",    "IDLE", "LOGOUT"};

enum { DELETE_AT_ONCE = 100, IDLE_MS = 25 * 60 * 1000 };

struct entry {
    uint64_t size, date;
    uint32_t uid, flags;
    uint8_t want;
    bool is_taken;
};

struct imap {
    enum phase phase;
    struct imap_reader reader;
    unsigned capabilities;
    bool has_responded;         /* to AUTHENTICATE: once */
    uint32_t tag, answered_tag; /* the last ones that were sent, and answered */
    struct arena arena;
    struct fetch_folder *folders; /* texts in the arena */
    bool *wants;
    size_t n_folders, size_folders, at;
    struct entry *entries;
    size_t n, size;
    size_t asked, answered, ahead, refused;
    size_t deleted; /* entries that were seen to */
    uint64_t got;
    struct entry *coming;    /* whose body comes just now */
    bool is_idling, is_news; /* the host has said "+" */
};

static void *imap_new(struct fetch_session *s)
{
    struct imap *p = mem_zero(sizeof *p);
    fetch_imap_reader_init(&p->reader);
    arena_init(&p->arena, 4 << 20);
    return p;
}

static void imap_free(struct fetch_session *s)
{
    struct imap *p = s->state;
    fetch_imap_reader_fini(&p->reader);
    arena_fini(&p->arena);
    free(p->folders);
    free(p->wants);
    free(p->entries);
    free(p);
}

static void enter(struct conn *c, struct fetch_session *s, enum phase phase)
{
    struct imap *p = s->state;
    p->phase = phase;
    fetch_session_wait(c, s, names[phase], 0);
}

static void put_tag(struct conn *c, struct imap *p)
{
    buf_putf(net_out(c), "a%u ", ++p->tag);
}

static enum net_step say(struct conn *c, struct fetch_session *s, enum phase phase, struct str line)
{
    put_tag(c, s->state);
    buf_put(net_out(c), line);
    buf_put(net_out(c), STR("\r\n"));
    enter(c, s, phase);
    return NET_READ;
}

static enum net_step begin(struct conn *c, struct fetch_session *s)
{
    enter(c, s, GREETING);
    return NET_READ;
}

/* What was said before counts no more [RFC3501 6.2.1]. */
static enum net_step secure(struct conn *c, struct fetch_session *s)
{
    struct imap *p = s->state;
    p->capabilities = 0;
    return say(c, s, CAPABILITY, STR("CAPABILITY"));
}

/* --- login ------------------------------------------------------------------------------------ */

static enum net_step say_login(struct conn *c, struct fetch_session *s)
{
    struct imap *p = s->state;
    struct buf line = {.cap = 4096};
    if (!fetch_session_may_say_password(c, s))
        return NET_ABORT;
    if (p->capabilities & IMAP_PLAIN)
        return say(c, s, LOGIN, STR("AUTHENTICATE PLAIN"));
    if (p->capabilities & IMAP_LOGINDISABLED)
        return fetch_session_fail(s, RC_PERM, "it offers no login that is known here");
    buf_put(&line, STR("LOGIN "));
    enum rc rc = fetch_imap_quote(&line, s->place.login);
    buf_put(&line, STR(" "));
    if (rc == RC_OK)
        rc = fetch_imap_quote(&line, s->place.password);
    if (rc == RC_OK)
        say(c, s, LOGIN, buf_str(&line));
    buf_wipe(&line);
    return rc == RC_OK ? NET_READ
                       : fetch_session_fail(s, RC_PERM, "the password cannot be said to this host");
}

static enum net_step say_response(struct conn *c, struct fetch_session *s)
{
    struct buf line = {.cap = 4096};
    enum rc rc = fetch_login_plain(&s->place, &line);
    buf_put(net_out(c), buf_str(&line));
    buf_put(net_out(c), STR("\r\n"));
    buf_wipe(&line);
    return rc == RC_OK ? NET_READ : fetch_session_fail(s, RC_PERM, "the password is too long");
}

static enum net_step after_capability(struct conn *c, struct fetch_session *s)
{
    struct imap *p = s->state;
    if (net_is_secure(c) || s->place.tls != FETCH_TLS_STARTTLS)
        return say_login(c, s);
    if (!(p->capabilities & IMAP_STARTTLS))
        return fetch_session_fail(s, RC_TEMP, "it offers no TLS (STARTTLS)");
    return say(c, s, STARTTLS, STR("STARTTLS"));
}

/* --- folders ---------------------------------------------------------------------------------- */

static enum net_step say_list(struct conn *c, struct fetch_session *s)
{
    struct imap *p = s->state;
    arena_reset(&p->arena);
    p->n_folders = 0;
    return say(c, s, LIST,
               p->capabilities & IMAP_SPECIAL_USE ? STR("LIST \"\" \"*\" RETURN (SPECIAL-USE)")
                                                  : STR("LIST \"\" \"*\""));
}

static enum net_step select_at(struct conn *c, struct fetch_session *s)
{
    struct imap *p = s->state;
    struct buf line = {.cap = 4096};
    buf_put(&line, STR("SELECT "));
    enum rc rc = fetch_imap_quote(&line, p->folders[p->at].raw);
    if (rc == RC_OK)
        say(c, s, SELECT, buf_str(&line));
    buf_fini(&line);
    p->n = p->asked = p->answered = p->deleted = 0;
    p->folders[p->at].uidvalidity = 0;
    return rc == RC_OK ? NET_READ
                       : fetch_session_fail(s, RC_TEMP, "a folder has a name that cannot be said");
}

static size_t first_wanted(const struct imap *p)
{
    size_t i = 0;
    while (i < p->n_folders && !p->wants[i])
        i++;
    return i;
}

static enum net_step say_idle(struct conn *c, struct fetch_session *s)
{
    struct imap *p = s->state;
    p->is_idling = p->is_news = false;
    say(c, s, IDLE, STR("IDLE"));
    return NET_READ;
}

/* The next folder, or what comes behind the last one. */
static enum net_step next_folder(struct conn *c, struct fetch_session *s)
{
    struct imap *p = s->state;
    while (p->at < p->n_folders && !p->wants[p->at])
        p->at++;
    if (p->at < p->n_folders)
        return select_at(c, s);
    bool stays = s->limits.idles && p->capabilities & IMAP_IDLE && first_wanted(p) < p->n_folders;
    enum rc rc = s->owner->deleted(s->owner);
    if (rc == RC_OK && stays)
        rc = s->owner->idle(s->owner);
    if (rc != RC_OK)
        return fetch_session_fail_owner(s, rc);
    if (!stays)
        return say(c, s, LOGOUT, STR("LOGOUT"));
    p->at = p->n_folders; /* one that is selected for IDLE only */
    struct buf line = {.cap = 4096};
    buf_put(&line, STR("SELECT "));
    (void)fetch_imap_quote(&line, p->folders[first_wanted(p)].raw);
    say(c, s, SELECT, buf_str(&line));
    buf_fini(&line);
    return NET_READ;
}

static enum net_step after_list(struct conn *c, struct fetch_session *s)
{
    struct imap *p = s->state;
    free(p->wants);
    p->wants = mem_zero((p->n_folders + 1) * sizeof *p->wants);
    enum rc rc = s->owner->folders(s->owner, p->folders, p->n_folders, p->wants);
    p->at = 0;
    return rc == RC_OK ? next_folder(c, s) : fetch_session_fail_owner(s, rc);
}

static enum net_step after_select(struct conn *c, struct fetch_session *s)
{
    struct imap *p = s->state;
    uint32_t from = 1;
    char line[64];
    if (p->at == p->n_folders)
        return say_idle(c, s);
    if (!p->folders[p->at].uidvalidity)
        return fetch_session_fail(s, RC_TEMP, "it names no UIDVALIDITY");
    enum rc rc = s->owner->folder(s->owner, &p->folders[p->at], &from);
    if (rc != RC_OK)
        return fetch_session_fail_owner(s, rc);
    snprintf(line, sizeof line, "UID FETCH %u:* (UID FLAGS RFC822.SIZE INTERNALDATE)", from);
    return say(c, s, SCAN, str_of(line));
}

/* --- messages --------------------------------------------------------------------------------- */

static struct fetch_item item_of(const struct entry *e)
{
    return (struct fetch_item){
        .number = e->uid, .size = e->size, .date = e->date, .flags = e->flags};
}

static int compare(const void *a, const void *b)
{
    uint32_t x = ((const struct entry *)a)->uid, y = ((const struct entry *)b)->uid;
    return x < y ? -1 : x > y;
}

static enum rc ask_owner(struct fetch_session *s)
{
    struct imap *p = s->state;
    struct fetch_item items[FETCH_PAGE];
    if (p->n)
        qsort(p->entries, p->n, sizeof *p->entries, compare);
    for (size_t at = 0; at < p->n; at += FETCH_PAGE) {
        enum fetch_want want[FETCH_PAGE] = {FETCH_LEAVE};
        size_t n = p->n - at < FETCH_PAGE ? p->n - at : FETCH_PAGE;
        for (size_t i = 0; i < n; i++)
            items[i] = item_of(&p->entries[at + i]);
        TRY(s->owner->want(s->owner, items, n, want));
        for (size_t i = 0; i < n; i++)
            p->entries[at + i].want = (uint8_t)want[i];
    }
    return RC_OK;
}

static void wait_message(struct conn *c, struct fetch_session *s)
{
    struct imap *p = s->state;
    uint64_t size = p->answered < p->n ? p->entries[p->answered].size : 0;
    fetch_session_wait(c, s, names[p->phase],
                       size < s->limits.message_bytes ? size : s->limits.message_bytes);
}

static void ask_ahead(struct conn *c, struct fetch_session *s)
{
    struct imap *p = s->state;
    bool was_empty = p->ahead == 0;
    while (p->asked < p->n && p->ahead < FETCH_WINDOW && !net_out_is_full(c)) {
        const struct entry *e = &p->entries[p->asked++];
        if (e->want != FETCH_TAKE)
            continue;
        put_tag(c, p);
        buf_putf(net_out(c), "UID FETCH %u (UID FLAGS INTERNALDATE BODY.PEEK[])\r\n", e->uid);
        p->ahead++;
    }
    if (was_empty && p->ahead)
        wait_message(c, s);
}

static struct entry *current(struct imap *p)
{
    while (p->answered < p->n && p->entries[p->answered].want != FETCH_TAKE)
        p->answered++;
    return p->answered < p->n ? &p->entries[p->answered] : NULL;
}

/* The one that was asked for and whose body begins: named by what came before the body, or else the
 * next one. */
static struct entry *expected(struct imap *p)
{
    struct buf text = {.cap = IMAP_TEXT + 8};
    struct imap_fetched f;
    struct str so_far = buf_str(&p->reader.text);
    ptrdiff_t open = str_find_byte(so_far, '(');
    struct entry key = {0}, *e = NULL;
    buf_put(&text, str_skip(so_far, open < 0 ? so_far.n : (size_t)open));
    buf_put(&text, STR(")"));
    if (fetch_imap_fetched(buf_str(&text), &f) == RC_OK && f.has_uid)
        key.uid = f.item.number;
    buf_fini(&f.body);
    buf_fini(&text);
    if (key.uid && p->n)
        e = bsearch(&key, p->entries, p->n, sizeof key, compare);
    for (size_t i = p->answered; !key.uid && !e && i < p->asked; i++)
        if (p->entries[i].want == FETCH_TAKE && !p->entries[i].is_taken)
            e = &p->entries[i];
    bool is_asked = e && (size_t)(e - p->entries) < p->asked && e->want == FETCH_TAKE;
    return is_asked && !e->is_taken ? e : NULL;
}

static enum net_step take_begin(struct fetch_session *s, uint64_t size)
{
    struct imap *p = s->state;
    struct entry *e = p->phase == FETCH && !s->is_in_message ? expected(p) : NULL;
    if (!e)
        return fetch_session_fail(s, RC_TEMP, "it sends a message that was not asked for");
    if (size > s->limits.message_bytes)
        return fetch_session_fail(s, RC_TEMP, "a message is larger than it was said to be");
    const struct fetch_item item = item_of(e);
    enum rc rc = s->owner->begin(s->owner, &item);
    p->coming = e;
    s->is_in_message = rc == RC_OK;
    return rc == RC_OK ? NET_READ : fetch_session_fail_owner(s, rc);
}

static enum net_step take_bytes(struct fetch_session *s, struct str bytes)
{
    enum rc rc = s->owner->bytes(s->owner, bytes);
    return rc == RC_OK ? NET_READ : fetch_session_fail_owner(s, rc);
}

/* The answer that the body was a part of is whole. */
static enum net_step take_end(struct fetch_session *s, const struct imap_fetched *f)
{
    struct imap *p = s->state;
    struct entry *e = p->coming;
    if (!f->has_uid || f->item.number != e->uid)
        return fetch_session_fail(s, RC_TEMP, "it sends a message that was not asked for");
    struct fetch_item item = item_of(e);
    item.flags = f->item.flags;
    item.date = f->item.date ? f->item.date : item.date;
    s->is_in_message = false;
    e->is_taken = true;
    enum rc rc = s->owner->end(s->owner, &item);
    if (rc == RC_OK)
        return NET_READ;
    return rc == RC_AGAIN ? NET_WAIT : fetch_session_fail_owner(s, rc);
}

static enum rc add_entry(struct fetch_session *s, const struct fetch_item *item)
{
    struct imap *p = s->state;
    if (p->n && item->number <= p->entries[p->n - 1].uid)
        return RC_SYNTAX; /* UIDs go back */
    if (p->n >= s->limits.messages)
        return RC_LIMIT;
    p->entries = mem_array(p->entries, &p->size, p->n + 1, sizeof *p->entries);
    p->entries[p->n++] = (struct entry){
        .uid = item->number, .size = item->size, .date = item->date, .flags = item->flags};
    return RC_OK;
}

static enum net_step fetched(struct fetch_session *s, struct str rest)
{
    struct imap *p = s->state;
    struct imap_fetched f;
    enum net_step next = NET_READ;
    enum rc rc = fetch_imap_fetched(rest, &f);
    if (rc == RC_OK && p->phase == SCAN && f.has_uid && f.has_size)
        rc = add_entry(s, &f.item);
    else if (rc == RC_OK && f.has_body && !s->is_in_message) { /* it came as a string */
        next = take_begin(s, buf_len(&f.body));
        if (next == NET_READ)
            next = take_bytes(s, buf_str(&f.body));
    }
    if (rc == RC_OK && next == NET_READ && s->is_in_message)
        next = take_end(s, &f);
    buf_fini(&f.body);
    if (rc == RC_LIMIT)
        return fetch_session_fail(s, RC_TEMP, "it has more messages than are looked at here");
    return rc == RC_OK ? next : fetch_session_fail_words(s, RC_TEMP, "no answer to FETCH: ", rest);
}

/* --- deleting --------------------------------------------------------------------------------- */

static void choose_deletions(struct fetch_session *s)
{
    struct imap *p = s->state;
    for (size_t i = 0; i < p->n; i++) {
        struct entry *e = &p->entries[i];
        const struct fetch_item item = item_of(e);
        if (e->want == FETCH_TAKE)
            e->want =
                e->is_taken && s->owner->may_delete(s->owner, &item) ? FETCH_DELETE : FETCH_LEAVE;
    }
}

/* The UIDs of the next ones; *end: the entry behind them. False: there are none. */
static bool put_deletions(struct imap *p, struct buf *out, size_t *end)
{
    size_t n = 0, i = p->deleted;
    for (; i < p->n && n < DELETE_AT_ONCE; i++)
        if (p->entries[i].want == FETCH_DELETE)
            buf_putf(out, "%s%u", n++ ? "," : "", p->entries[i].uid);
    *end = i;
    return n > 0;
}

static enum net_step delete_more(struct conn *c, struct fetch_session *s, enum phase phase)
{
    struct imap *p = s->state;
    struct buf line = {.cap = 4096};
    size_t end;
    buf_put(&line, phase == STORE ? STR("UID STORE ") : STR("UID EXPUNGE "));
    bool has_any = put_deletions(p, &line, &end);
    if (phase == STORE)
        buf_put(&line, STR(" +FLAGS.SILENT (\\Deleted)"));
    if (has_any)
        say(c, s, phase, buf_str(&line));
    buf_fini(&line);
    if (has_any)
        return NET_READ;
    p->at++;
    return next_folder(c, s);
}

/* Without UIDPLUS they are only marked: an EXPUNGE would take others' with them [RFC4315 2.1]. */
static enum net_step after_deletion(struct conn *c, struct fetch_session *s)
{
    struct imap *p = s->state;
    struct buf ignored = {.cap = 4096};
    if (p->phase == STORE && p->capabilities & IMAP_UIDPLUS)
        return delete_more(c, s, EXPUNGE);
    (void)put_deletions(p, &ignored, &p->deleted);
    buf_fini(&ignored);
    return delete_more(c, s, STORE);
}

static enum net_step go_on(struct conn *c, struct fetch_session *s)
{
    struct imap *p = s->state;
    if (p->phase == FETCH)
        ask_ahead(c, s);
    if (p->phase == FETCH && p->ahead == 0 && p->asked == p->n)
        enter(c, s, FLUSH);
    if (p->phase == FLUSH) {
        enum rc rc = s->owner->flush(s->owner);
        if (rc != RC_OK)
            return rc == RC_AGAIN ? NET_WAIT : fetch_session_fail_owner(s, rc);
        choose_deletions(s);
        return delete_more(c, s, STORE);
    }
    if (p->phase == IDLE && p->is_idling && (p->is_news || atomic_exchange(&s->is_again, false))) {
        p->is_idling = false;
        buf_put(net_out(c), STR("DONE\r\n"));
        fetch_session_wait(c, s, names[IDLE], 0);
    }
    return NET_READ;
}

/* --- answers ---------------------------------------------------------------------------------- */

static enum net_step accepted(struct conn *c, struct fetch_session *s)
{
    struct imap *p = s->state;
    switch (p->phase) {
    case CAPABILITY:
        return after_capability(c, s);
    case STARTTLS:
        return fetch_session_tls(c, s);
    case LOGIN:
        return say(c, s, CAPABILITY_AGAIN, STR("CAPABILITY"));
    case CAPABILITY_AGAIN:
        return say_list(c, s);
    case LIST:
        return after_list(c, s);
    case SELECT:
        return after_select(c, s);
    case SCAN: {
        enum rc rc = ask_owner(s);
        enter(c, s, FETCH);
        return rc == RC_OK ? NET_READ : fetch_session_fail_owner(s, rc);
    }
    case STORE:
    case EXPUNGE:
        return after_deletion(c, s);
    case IDLE:
        return say_list(c, s);
    case LOGOUT:
        return fetch_session_done(c, s, STR(""));
    default:
        return fetch_session_fail(s, RC_TEMP, "it spoke out of turn");
    }
}

static enum net_step denied(struct conn *c, struct fetch_session *s, struct str words)
{
    struct imap *p = s->state;
    char before[64];
    if (p->phase == LOGIN)
        return fetch_session_fail_words(s, fetch_imap_refusal(words),
                                        "the login was refused: ", words);
    if (p->phase == LIST && p->capabilities & IMAP_SPECIAL_USE) { /* only the plain one then */
        p->capabilities &= ~(unsigned)IMAP_SPECIAL_USE;
        return say_list(c, s);
    }
    if (p->phase == IDLE) {
        p->capabilities &= ~(unsigned)IMAP_IDLE;
        return say(c, s, LOGOUT, STR("LOGOUT"));
    }
    snprintf(before, sizeof before, "it refused %s: ", names[p->phase]);
    return fetch_session_fail_words(s, RC_TEMP, before, words);
}

/* Of a message that is gone there is no answer but this one. */
static enum net_step message_answered(struct conn *c, struct fetch_session *s, bool is_ok,
                                      struct str words)
{
    struct imap *p = s->state;
    if (s->is_in_message || !current(p) || p->ahead == 0)
        return fetch_session_fail(s, RC_TEMP, "it spoke out of turn");
    if (!is_ok && ++p->refused > FETCH_REFUSED)
        return fetch_session_fail_words(s, RC_TEMP, "it refuses messages: ", words);
    p->answered++;
    p->ahead--;
    if (p->ahead)
        wait_message(c, s);
    return NET_READ;
}

/* "a12 OK ..." */
static enum net_step tagged(struct conn *c, struct fetch_session *s, struct str tag,
                            struct str rest)
{
    struct imap *p = s->state;
    struct str word;
    uint64_t number;
    if (str_to_u64(str_skip(tag, 1), &number) != RC_OK || number != p->answered_tag + 1u ||
        number > p->tag)
        return fetch_session_fail_words(s, RC_TEMP, "an answer to nothing that was asked: ", tag);
    p->answered_tag++;
    str_cut(&rest, ' ', &word);
    bool is_ok = str_ieq(word, STR("OK"));
    if (p->phase == FETCH)
        return message_answered(c, s, is_ok, rest);
    return is_ok ? accepted(c, s) : denied(c, s, rest);
}

static void take_code(struct imap *p, struct str words)
{
    struct str code, argument;
    uint64_t number;
    if (fetch_imap_code(words, &code, &argument) != RC_OK)
        return;
    if (str_ieq(code, STR("UIDVALIDITY")) && p->phase == SELECT && p->at < p->n_folders &&
        str_to_u64(argument, &number) == RC_OK && number <= UINT32_MAX)
        p->folders[p->at].uidvalidity = (uint32_t)number;
}

static enum net_step listed(struct fetch_session *s, struct str rest)
{
    struct imap *p = s->state;
    struct fetch_folder folder;
    if (p->phase != LIST)
        return NET_READ;
    enum rc rc = fetch_imap_listed(rest, &p->arena, &folder);
    if (rc == RC_EOF || rc == RC_SYNTAX) /* what cannot be opened or named is not collected */
        return NET_READ;
    if (rc != RC_OK || p->n_folders >= s->limits.folders)
        return fetch_session_fail(s, RC_TEMP, "it has more folders than are looked at here");
    p->folders = mem_array(p->folders, &p->size_folders, p->n_folders + 1, sizeof *p->folders);
    p->folders[p->n_folders++] = folder;
    return NET_READ;
}

static enum net_step untagged(struct conn *c, struct fetch_session *s, struct str rest)
{
    struct imap *p = s->state;
    struct str all = rest, word;
    str_cut(&rest, ' ', &word);
    if (str_ieq(word, STR("BYE")) && p->phase != LOGOUT)
        return fetch_session_fail_words(s, RC_TEMP, "it said goodbye: ", rest);
    if (p->phase == GREETING) {
        if (str_ieq(word, STR("OK")))
            return say(c, s, CAPABILITY, STR("CAPABILITY"));
        return fetch_session_fail_words(s, RC_TEMP,
                                        "no IMAP: ", all); /* PREAUTH is nobody's login */
    }
    if (str_ieq(word, STR("OK")))
        take_code(p, rest);
    else if (str_ieq(word, STR("CAPABILITY")) && p->phase <= CAPABILITY_AGAIN)
        p->capabilities = fetch_imap_capabilities(rest);
    else if (str_ieq(word, STR("LIST")))
        return listed(s, rest);
    if (!word.n || !ascii_is_digit(word.p[0]))
        return NET_READ;
    str_cut(&rest, ' ', &word);
    if (str_ieq(word, STR("FETCH")))
        return fetched(s, rest);
    p->is_news |= str_ieq(word, STR("EXISTS")) && p->is_idling;
    return NET_READ;
}

static enum net_step continued(struct conn *c, struct fetch_session *s)
{
    struct imap *p = s->state;
    if (p->phase == LOGIN && p->capabilities & IMAP_PLAIN && !p->has_responded) {
        p->has_responded = true;
        return say_response(c, s);
    }
    if (p->phase != IDLE || p->is_idling)
        return fetch_session_fail(s, RC_TEMP, "it spoke out of turn");
    p->is_idling = true;
    s->doing = names[IDLE];
    net_deadline(c, s->limits.idle_ms && s->limits.idle_ms < IDLE_MS ? s->limits.idle_ms : IDLE_MS);
    return NET_READ;
}

static enum net_step answer(struct conn *c, struct fetch_session *s, struct str text)
{
    struct str rest = text, word;
    str_cut(&rest, ' ', &word);
    if (str_eq(word, STR("*")))
        return untagged(c, s, rest);
    if (str_starts(text, STR("+")))
        return continued(c, s);
    if (word.n > 1 && word.p[0] == 'a')
        return tagged(c, s, word, rest);
    return fetch_session_fail_words(s, RC_TEMP, "no IMAP: ", text);
}

static enum net_step take_part(struct conn *c, struct fetch_session *s, enum imap_part what,
                               struct str part, uint64_t size)
{
    switch (what) {
    case IMAP_ANSWER:
        return answer(c, s, part);
    case IMAP_BODY:
        return take_begin(s, size);
    case IMAP_BODY_BYTES:
        return take_bytes(s, part);
    case IMAP_BODY_END:
        break;
    }
    return NET_READ;
}

static enum net_step input(struct conn *c, struct fetch_session *s)
{
    struct imap *p = s->state;
    enum net_step next = NET_READ;
    while (next == NET_READ) {
        struct str in = net_in(c), part = {0};
        size_t before = in.n;
        enum imap_part what = IMAP_ANSWER;
        uint64_t size = 0;
        enum rc rc = fetch_imap_next(&p->reader, &in, &what, &part, &size);
        if (rc == RC_OK)
            next = take_part(c, s, what, part, size);
        net_consume(c, before - in.n);
        if (rc == RC_AGAIN)
            break;
        if (rc != RC_OK)
            return fetch_session_fail(s, RC_TEMP, "an answer without end while waiting for %s",
                                      s->doing);
    }
    return next == NET_READ ? go_on(c, s) : next;
}

/* An IDLE is renewed with a look at all folders [RFC2177 3]. */
static enum net_step late(struct conn *c, struct fetch_session *s)
{
    struct imap *p = s->state;
    if (p->phase != IDLE || !p->is_idling)
        return NET_ABORT;
    p->is_news = true;
    return go_on(c, s);
}

const struct fetch_driver fetch_imap = {.name = "imap",
                                        .new_ = imap_new,
                                        .free_ = imap_free,
                                        .begin = begin,
                                        .secure = secure,
                                        .input = input,
                                        .late = late};
