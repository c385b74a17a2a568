/* The commands as data: where each is allowed and what its answer may bring; the dispatcher, which
 * checks that, so that handlers need not; and the capabilities, made from the same table and that
 * of extension.c. */
#include "imap/imap_int.h"

#include <string.h>

enum {
    BEFORE = IMAP_NOT_AUTHENTICATED,
    AFTER = IMAP_AUTHENTICATED | IMAP_SELECTED,
    ANY = IMAP_ANY,
    OPEN = IMAP_SELECTED,
    NUMBERS = IMAP_UID | IMAP_NUMBERS
};

/* In the order of the RFC; the frequent ones first where that is the same. */
static const struct imap_command commands[] = {
    {"FETCH", OPEN, NUMBERS | IMAP_NO_EXPUNGE, imap_fetch, "BINARY",
     "[RFC3501 6.4.5] [RFC9051 6.4.5]", NULL},
    {"STORE", OPEN, NUMBERS | IMAP_NO_EXPUNGE, imap_store, NULL, "[RFC3501 6.4.6] [RFC9051 6.4.6]",
     NULL},
    {"SEARCH", OPEN, NUMBERS | IMAP_NO_EXPUNGE, imap_search, NULL,
     "[RFC3501 6.4.4] [RFC9051 6.4.4]", NULL},
    {"ESEARCH", AFTER, IMAP_NO_EXPUNGE, imap_esearch, "MULTISEARCH", "[RFC7377 2]", NULL},
    {"UIDBATCHES", OPEN, 0, imap_uidbatches, "UIDBATCHES", "[RFC10022 3.1]", NULL},
    {"SORT", OPEN, NUMBERS | IMAP_NO_EXPUNGE, imap_sort, "SORT SORT=DISPLAY ESORT", "[RFC5256 3]",
     NULL},
    {"THREAD", OPEN, NUMBERS | IMAP_NO_EXPUNGE, imap_thread,
     "THREAD=ORDEREDSUBJECT THREAD=REFERENCES THREAD=REFS", "[RFC5256 3]", NULL},
    {"CANCELUPDATE", OPEN, 0, imap_cancelupdate, "CONTEXT=SEARCH CONTEXT=SORT", "[RFC5267 4.3.5]",
     NULL},
    {"COPY", OPEN, NUMBERS, imap_copy, NULL, "[RFC3501 6.4.7] [RFC9051 6.4.7]", NULL},
    {"MOVE", OPEN, NUMBERS, imap_move, "MOVE", "[RFC6851 3.1] [RFC9051 6.4.8]", NULL},
    {"EXPUNGE", OPEN, IMAP_UID, imap_expunge, "UIDPLUS", "[RFC3501 6.4.3] [RFC9051 6.4.3]", NULL},
    {"NOOP", ANY, 0, imap_noop, NULL, "[RFC3501 6.1.2] [RFC9051 6.1.2]", NULL},
    {"IDLE", AFTER, 0, imap_idle, "IDLE", "[RFC2177 3] [RFC9051 6.3.13]", NULL},
    {"CHECK", OPEN, 0, imap_check, NULL, "[RFC3501 6.4.1]", NULL},
    {"CLOSE", OPEN, IMAP_NO_NEWS, imap_close, NULL, "[RFC3501 6.4.2] [RFC9051 6.4.1]", NULL},
    {"UNSELECT", OPEN, IMAP_NO_NEWS, imap_unselect, "UNSELECT", "[RFC3691 2]", NULL},
    {"SELECT", AFTER, IMAP_NO_NEWS, imap_select, NULL, "[RFC3501 6.3.1] [RFC9051 6.3.2]", NULL},
    {"EXAMINE", AFTER, IMAP_NO_NEWS, imap_examine, NULL, "[RFC3501 6.3.2] [RFC9051 6.3.3]", NULL},
    {"CREATE", AFTER, 0, imap_create, "CREATE-SPECIAL-USE", "[RFC3501 6.3.3] [RFC9051 6.3.4]",
     NULL},
    {"DELETE", AFTER, 0, imap_delete, NULL, "[RFC3501 6.3.4] [RFC9051 6.3.5]", NULL},
    {"RENAME", AFTER, 0, imap_rename, NULL, "[RFC3501 6.3.5] [RFC9051 6.3.6]", NULL},
    {"SUBSCRIBE", AFTER, 0, imap_subscribe, NULL, "[RFC3501 6.3.6] [RFC9051 6.3.7]", NULL},
    {"UNSUBSCRIBE", AFTER, 0, imap_unsubscribe, NULL, "[RFC3501 6.3.7] [RFC9051 6.3.8]", NULL},
    {"LIST", AFTER, 0, imap_list, "SPECIAL-USE CHILDREN LIST-EXTENDED LIST-STATUS",
     "[RFC3501 6.3.8] [RFC9051 6.3.9]", NULL},
    {"LSUB", AFTER, 0, imap_lsub, NULL, "[RFC3501 6.3.9]", NULL},
    {"APPEND", AFTER, 0, imap_append, "MULTIAPPEND", "[RFC3501 6.3.11] [RFC9051 6.3.12]",
     imap_append_literal},
    {"REPLACE", OPEN, NUMBERS, imap_replace, "REPLACE", "[RFC8508 3.5]", imap_replace_literal},
    {"STATUS", AFTER, 0, imap_status_, NULL, "[RFC3501 6.3.10] [RFC9051 6.3.11]", NULL},
    {"NOTIFY", AFTER, 0, imap_notify, "NOTIFY", "[RFC5465 3.1]", NULL},
    {"NAMESPACE", AFTER, 0, imap_namespace, "NAMESPACE", "[RFC2342 5] [RFC9051 6.3.10]", NULL},
    {"ENABLE", IMAP_AUTHENTICATED, 0, imap_enable, "ENABLE", "[RFC5161 3.1]", NULL},
    {"ID", ANY, 0, imap_id, "ID", "[RFC2971 3.1]", NULL},
    {"CAPABILITY", ANY, 0, imap_capability, NULL, "[RFC3501 6.1.1] [RFC9051 6.1.1]", NULL},
    {"LOGOUT", ANY, IMAP_NO_NEWS, imap_logout, NULL, "[RFC3501 6.1.3] [RFC9051 6.1.3]", NULL},
    {"COMPRESS", AFTER, IMAP_NO_NEWS, imap_compress, "COMPRESS=DEFLATE", "[RFC4978 3]", NULL},
    {"STARTTLS", BEFORE, IMAP_CLEAR, imap_starttls, "STARTTLS", "[RFC3501 6.2.1] [RFC9051 6.2.1]",
     NULL},
    {"AUTHENTICATE", BEFORE, IMAP_SECRET, imap_authenticate, "SASL-IR",
     "[RFC3501 6.2.2] [RFC9051 6.2.2]", NULL},
    {"LOGIN", BEFORE, IMAP_SECRET, imap_login, NULL, "[RFC3501 6.2.3] [RFC9051 6.2.3]", NULL},
    {"UNAUTHENTICATE", AFTER, IMAP_NO_NEWS, imap_unauthenticate, "UNAUTHENTICATE", "[RFC8437 3]",
     NULL},
};
enum { N_COMMANDS = sizeof commands / sizeof *commands };

/* --- capabilities ----------------------------------------------------------------------------- */

struct auth_channel imap_channel(struct conn *c, const struct imap_session *s)
{
    return auth_channel_of(c, s->imap->conf.plaintext_on_loopback);
}

bool imap_can_secure(struct conn *c, const struct imap_session *s)
{
    struct auth_channel channel = imap_channel(c, s);
    return auth_channel_is_private(&channel);
}

static bool is_offered(struct conn *c, const struct imap_session *s, const struct imap_command *k)
{
    unsigned states = s->state == IMAP_NOT_AUTHENTICATED ? BEFORE : AFTER;
    if (!k->capability || !(k->states & states))
        return false;
    return !(k->flags & IMAP_CLEAR) || net_has_tls(c);
}

static void put_auth(struct conn *c, const struct imap_session *s, struct buf *out)
{
    struct buf names = {.cap = AUTH_CHALLENGE_MAX};
    struct auth_channel channel = imap_channel(c, s);
    struct str rest, name;
    auth_mechanisms(s->imap->conf.auth, &channel, &names);
    for (rest = buf_str(&names); rest.n && str_cut(&rest, ' ', &name);) {
        buf_put(out, STR(" AUTH="));
        buf_put(out, name);
    }
    buf_fini(&names);
    if (!auth_channel_is_private(&channel))
        buf_put(out, STR(" LOGINDISABLED")); /* [RFC3501 6.2.3] [RFC9051 6.2.3] */
}

/* [RFC3501 7.2.1] [RFC9051 6.5, 7.2.2] */
void imap_put_capabilities(struct conn *c, const struct imap_session *s, struct buf *out)
{
    bool is_before = s->state == IMAP_NOT_AUTHENTICATED;
    buf_put(out, STR("IMAP4rev1"));
    for (size_t i = 0; i < N_COMMANDS; i++)
        if (is_offered(c, s, &commands[i])) {
            buf_put(out, STR(" "));
            buf_put(out, str_of(commands[i].capability));
        }
    imap_put_extensions(s, out);
    if (is_before) {
        put_auth(c, s, out);
        return;
    }
    buf_put(out, STR(" APPENDLIMIT=")); /* [RFC7889 2] */
    imap_put_u64(out, s->imap->conf.message_size);
    imap_put_limit_capability(s, out);
}

/* --- the dispatcher --------------------------------------------------------------------------- */

static const struct imap_command *find(struct str verb)
{
    for (size_t i = 0; i < N_COMMANDS; i++)
        if (str_ieq(verb, str_of(commands[i].verb)))
            return &commands[i];
    return NULL;
}

/* tag = 1*<any ASTRING-CHAR except "+">; the same may come again [RFC9051 2.2.1]. */
static bool take_tag(struct imap_session *s, struct imap_parse *p)
{
    size_t n = 0;
    while (n < p->rest.n && (unsigned char)p->rest.p[n] > 0x20 &&
           (unsigned char)p->rest.p[n] < 0x7f && !strchr("(){%*\"\\+", p->rest.p[n]))
        n++;
    if (!n || n > IMAP_TAG_MAX)
        return false;
    memcpy(s->tag, p->rest.p, n);
    s->tag_n = (uint8_t)n;
    p->rest = str_skip(p->rest, n);
    return imap_take_byte(p, ' ');
}

/* The row, with `uid` telling whether UID stands before it. */
static const struct imap_command *take_verb(struct imap_parse *p, bool *out_is_uid)
{
    struct str verb;
    *out_is_uid = imap_take_word(p, STR("UID"));
    if ((*out_is_uid && !imap_take_byte(p, ' ')) || !imap_take_atom(p, &verb))
        return NULL;
    const struct imap_command *k = find(verb);
    if (p->rest.n && !imap_take_byte(p, ' '))
        return NULL;
    if (k && *out_is_uid && !(k->flags & (IMAP_UID | IMAP_ONLY_UID)))
        return NULL;
    return k && !*out_is_uid && k->flags & IMAP_ONLY_UID ? NULL : k;
}

/* [RFC3501 3.1, 3.2] [RFC9051 3.1, 3.2] */
static enum imap_text wrong_state(const struct imap_session *s, const struct imap_command *k)
{
    if (s->state == IMAP_NOT_AUTHENTICATED)
        return IMAP_LOGIN_FIRST;
    if (k->states == IMAP_AUTHENTICATED)
        return IMAP_CLOSE_FIRST; /* [RFC5161 3.1] [RFC9051 6.3.1] */
    return k->states == IMAP_SELECTED ? IMAP_SELECT_FIRST : IMAP_LOGGED_IN_ALREADY;
}

/* Some clients enable whatever is offered. Whoever wonders why one of them does not work finds it
 * in the log, once a session. */
static enum net_step uid_required(struct conn *c, struct imap_session *s)
{
    struct log_line l;
    if (!s->has_erred_uid) {
        net_log(c, &l, LOG_INFO, "uid-required");
        log_u64(&l, "account", s->user->account);
        log_text(&l, "command", s->command->verb);
        log_text(&l, "help", "imap { uidonly = withheld }");
        log_end(&l);
    }
    s->has_erred_uid = true;
    return imap_finish(c, s, IMAP_UID_REQUIRED);
}

/* Blanks behind the last argument: there is no such thing in the grammar, and some clients send
 * them. A literal at the end is what it is. */
static struct str without_blanks(const struct imap_session *s, struct str text)
{
    while (!buf_len(&s->gather.held) && str_ends(text, STR(" ")))
        text.n--;
    return text;
}

struct imap_parse imap_parse_of(struct imap_session *s, struct str text)
{
    return (struct imap_parse){.rest = text,
                               .arena = &s->arena,
                               .is_utf8 = imap_has_utf8(s),
                               .is_utf8_only = s->enabled & IMAP_EN_UTF8,
                               .saved = s->view.saved};
}

/* What is parsed must last as long as the command: secrets are used at once and copied nowhere. */
static bool keep(struct imap_session *s, struct imap_parse *p)
{
    if (s->command->flags & IMAP_SECRET || buf_len(&s->gather.held))
        return true;
    p->rest = arena_dup(&s->arena, p->rest.p ? p->rest : STR(""));
    return p->rest.p;
}

/* What "$" means is settled when the command begins, so that what was sent before it has been
 * carried out [RFC9051 6.4.4.2]. */
enum net_step imap_command_run(struct conn *c, struct imap_session *s, struct str text)
{
    struct imap_parse p = imap_parse_of(s, without_blanks(s, text));
    bool is_uid;
    s->tag_n = 0;
    if (!take_tag(s, &p)) {
        imap_gather_reset(&s->gather, true);
        return imap_bad_line(c, s, IMAP_NO_TAG);
    }
    const struct imap_command *k = take_verb(&p, &is_uid);
    if (!k)
        return imap_finish(c, s, IMAP_NO_COMMAND);
    s->command = k;
    s->is_uid = is_uid;
    if (s->user)
        s->user->commands++;
    if (!(k->states & s->state))
        return imap_finish(c, s, wrong_state(s, k));
    if (k->flags & IMAP_NUMBERS && !is_uid && s->enabled & IMAP_EN_UIDONLY)
        return uid_required(c, s); /* [RFC9586 3.2] */
    if (!keep(s, &p))
        return imap_finish(c, s, IMAP_TOO_LONG_COMMAND);
    return k->run(c, s, &p);
}

enum imap_taken imap_command_literal(struct conn *c, struct imap_session *s, struct str text,
                                     const struct imap_literal *literal)
{
    struct imap_parse p = imap_parse_of(s, text);
    bool is_uid;
    if (!take_tag(s, &p))
        return IMAP_NOT_TAKEN;
    const struct imap_command *k = take_verb(&p, &is_uid);
    if (!k || !k->literal || !(k->states & s->state))
        return IMAP_NOT_TAKEN;
    if (k->flags & IMAP_NUMBERS && !is_uid && s->enabled & IMAP_EN_UIDONLY)
        return IMAP_NOT_TAKEN; /* said when it is whole */
    s->command = k;
    s->is_uid = is_uid;
    enum imap_taken taken = keep(s, &p) ? k->literal(c, s, &p, literal) : IMAP_NOT_TAKEN;
    if (taken == IMAP_NOT_TAKEN) {
        s->command = NULL;
        s->is_uid = false;
        arena_fini(&s->arena);
    } else if (s->user) {
        s->user->commands++;
    }
    return taken;
}
