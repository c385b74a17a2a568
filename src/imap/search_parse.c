/* The keys of SEARCH [RFC3501 6.4.4, 9] [RFC9051 6.4.4, 9] to a tree, pure. Limits: keys in all,
 * depth, keys that look at text. What a key is, is a row of a table. */
#include "imap/search_int.h"

#include "base/clock.h"

#include <string.h>

enum argument {
    ARG_NONE,
    ARG_KEYWORD,
    ARG_NUMBER,
    ARG_AGE,
    ARG_MODSEQ,
    ARG_OBJECT,
    ARG_DATE,
    ARG_STRING,
    ARG_FIELD, /* a header field's name and a string */
    ARG_KEY,
    ARG_FUZZY, /* a key, and all that is within it */
    ARG_TWO_KEYS,
    ARG_UIDS,
    ARG_UID
};

/* Which side of a number or a day. */
enum side { SIDE_BELOW, SIDE_AT, SIDE_FROM, SIDE_ABOVE };

struct row {
    const char *name;
    enum imap_search_kind kind;
    enum argument argument;
    uint32_t mask, value;
    enum side side;
    enum imap_search_field field;
};

#define FLAG(name, mask, value)                                                                    \
    {                                                                                              \
        name, IMAP_SEARCH_FLAGS, ARG_NONE, mask, value, SIDE_AT, 0                                 \
    }
#define DAY(name, kind, side)                                                                      \
    {                                                                                              \
        name, kind, ARG_DATE, 0, 0, side, 0                                                        \
    }
#define OF_ENVELOPE(name, field)                                                                   \
    {                                                                                              \
        name, IMAP_SEARCH_ENVELOPE, ARG_STRING, 0, 0, SIDE_AT, field                               \
    }
#define OTHER(name, kind, argument)                                                                \
    {                                                                                              \
        name, kind, argument, 0, 0, SIDE_AT, 0                                                     \
    }

/* \Recent is never set: nothing is NEW, everything is OLD. (flags & 0) is never 1. */
static const struct row rows[] = {
    FLAG("ALL", 0, 0),
    FLAG("ANSWERED", STORE_ANSWERED, STORE_ANSWERED),
    FLAG("DELETED", STORE_DELETED, STORE_DELETED),
    FLAG("DRAFT", STORE_DRAFT, STORE_DRAFT),
    FLAG("FLAGGED", STORE_FLAGGED, STORE_FLAGGED),
    FLAG("NEW", 0, 1),
    FLAG("OLD", 0, 0),
    FLAG("RECENT", 0, 1),
    FLAG("SEEN", STORE_SEEN, STORE_SEEN),
    FLAG("UNANSWERED", STORE_ANSWERED, 0),
    FLAG("UNDELETED", STORE_DELETED, 0),
    FLAG("UNDRAFT", STORE_DRAFT, 0),
    FLAG("UNFLAGGED", STORE_FLAGGED, 0),
    FLAG("UNSEEN", STORE_SEEN, 0),
    {"KEYWORD", IMAP_SEARCH_KEYWORD, ARG_KEYWORD, 0, 1, SIDE_AT, 0},
    {"UNKEYWORD", IMAP_SEARCH_KEYWORD, ARG_KEYWORD, 0, 0, SIDE_AT, 0},
    {"LARGER", IMAP_SEARCH_SIZE, ARG_NUMBER, 0, 0, SIDE_ABOVE, 0},
    {"SMALLER", IMAP_SEARCH_SIZE, ARG_NUMBER, 0, 0, SIDE_BELOW, 0},
    DAY("BEFORE", IMAP_SEARCH_RECEIVED, SIDE_BELOW),
    DAY("ON", IMAP_SEARCH_RECEIVED, SIDE_AT),
    DAY("SINCE", IMAP_SEARCH_RECEIVED, SIDE_FROM),
    /* Every mailbox here knows when a message came into it [RFC8514 4.3]. */
    DAY("SAVEDBEFORE", IMAP_SEARCH_SAVED, SIDE_BELOW),
    DAY("SAVEDON", IMAP_SEARCH_SAVED, SIDE_AT),
    DAY("SAVEDSINCE", IMAP_SEARCH_SAVED, SIDE_FROM),
    FLAG("SAVEDATESUPPORTED", 0, 0),
    {"OLDER", IMAP_SEARCH_RECEIVED, ARG_AGE, 0, 0, SIDE_BELOW, 0},
    {"YOUNGER", IMAP_SEARCH_RECEIVED, ARG_AGE, 0, 0, SIDE_FROM, 0},
    OTHER("MODSEQ", IMAP_SEARCH_MODSEQ, ARG_MODSEQ),
    OTHER("EMAILID", IMAP_SEARCH_EMAIL, ARG_OBJECT),
    OTHER("THREADID", IMAP_SEARCH_THREAD, ARG_OBJECT),
    DAY("SENTBEFORE", IMAP_SEARCH_SENT, SIDE_BELOW),
    DAY("SENTON", IMAP_SEARCH_SENT, SIDE_AT),
    DAY("SENTSINCE", IMAP_SEARCH_SENT, SIDE_FROM),
    OF_ENVELOPE("BCC", IMAP_SEARCH_BCC),
    OF_ENVELOPE("CC", IMAP_SEARCH_CC),
    OF_ENVELOPE("FROM", IMAP_SEARCH_FROM),
    OF_ENVELOPE("SUBJECT", IMAP_SEARCH_SUBJECT),
    OF_ENVELOPE("TO", IMAP_SEARCH_TO),
    OTHER("BODY", IMAP_SEARCH_BODY, ARG_STRING),
    OTHER("TEXT", IMAP_SEARCH_TEXT, ARG_STRING),
    OTHER("HEADER", IMAP_SEARCH_HEADER, ARG_FIELD),
    OTHER("NOT", IMAP_SEARCH_NOT, ARG_KEY),
    OTHER("FUZZY", IMAP_SEARCH_ALL_OF, ARG_FUZZY), /* [RFC6203 3] */
    OTHER("OR", IMAP_SEARCH_ANY_OF, ARG_TWO_KEYS),
    OTHER("UID", IMAP_SEARCH_SET, ARG_UIDS),
    {"UIDAFTER", IMAP_SEARCH_SET, ARG_UID, 0, 0, SIDE_ABOVE, 0},
    {"UIDBEFORE", IMAP_SEARCH_SET, ARG_UID, 0, 0, SIDE_BELOW, 0},
};

struct taker {
    struct imap_parse *p;
    struct imap_search_program *program;
    bool is_fuzzy;
    struct imap_search_key *texts[IMAP_SEARCH_TEXTS];
};

static bool take_key(struct taker *t, unsigned depth, struct imap_search_key **out);

static bool too_much(struct imap_parse *p)
{
    p->is_limit = true;
    return imap_fail(p, "fewer search keys");
}

static struct imap_search_key *new_key(struct taker *t, enum imap_search_kind kind)
{
    struct imap_search_program *program = t->program;
    bool is_text = kind >= IMAP_SEARCH_SENT;
    struct imap_search_key *key = NULL;
    if (program->n_keys < IMAP_SEARCH_KEYS && (!is_text || program->n_texts < IMAP_SEARCH_TEXTS))
        key = arena_zero(t->p->arena, sizeof *key);
    if (!key) {
        too_much(t->p);
        return NULL;
    }
    key->kind = kind;
    key->is_fuzzy = t->is_fuzzy && kind >= IMAP_SEARCH_ENVELOPE;
    program->n_keys++;
    if (is_text)
        t->texts[program->n_texts++] = key;
    return key;
}

/* --- arguments -------------------------------------------------------------------------------- */

static void set_side(struct imap_search_key *key, enum side side, uint64_t from, uint64_t last)
{
    const uint64_t most = UINT64_MAX;
    bool is_none = (side == SIDE_BELOW && from == 0) || (side == SIDE_ABOVE && last == most);
    key->from = side == SIDE_BELOW ? 0 : side == SIDE_ABOVE ? last + 1 : from;
    key->last = side == SIDE_BELOW ? from - 1 : side == SIDE_AT ? last : most;
    if (is_none) {
        key->from = 1;
        key->last = 0;
    }
}

uint64_t imap_search_day(int64_t since_1970)
{
    enum { YEAR_0 = 719528 };
    return (uint64_t)(since_1970 + YEAR_0);
}

/* Dates disregard time and timezone [RFC3501 6.4.4] [RFC9051 6.4.4]: received ones are days of UTC.
 */
static void set_day(struct imap_search_key *key, enum side side, int64_t day)
{
    const int64_t day_ns = 86400 * (int64_t)NS_PER_SEC, most = INT64_MAX / day_ns;
    if (key->kind == IMAP_SEARCH_SENT) {
        set_side(key, side, imap_search_day(day), imap_search_day(day));
        return;
    }
    if (day < 0 || day >= most) { /* nothing was received so early or so late */
        bool has_all = day < 0 ? side == SIDE_FROM : side == SIDE_BELOW;
        key->from = has_all ? 0 : 1;
        key->last = has_all ? UINT64_MAX : 0;
        return;
    }
    uint64_t from = (uint64_t)day * (uint64_t)day_ns;
    set_side(key, side, from, from + (uint64_t)day_ns - 1);
}

static bool take_number(struct taker *t, const struct row *row, struct imap_search_key *key)
{
    uint32_t n;
    if (!imap_take_sp(t->p) || !imap_take_number(t->p, &n))
        return false;
    set_side(key, row->side, n, n);
    return true;
}

/* OLDER and YOUNGER: what it is then is settled when it is known when now is [RFC5032 3]. */
static bool take_age(struct taker *t, const struct row *row, struct imap_search_key *key)
{
    key->value = row->side == SIDE_BELOW;
    return imap_take_sp(t->p) && imap_take_nz_number(t->p, &key->seconds);
}

/* An entry and its type tell nothing: a message has one mod-sequence [RFC7162 3.1.5]. */
static bool take_modseq(struct taker *t, struct imap_search_key *key)
{
    struct imap_parse *p = t->p;
    struct str entry;
    if (!imap_take_sp(p))
        return false;
    if (imap_peek_byte(p, '"')) {
        if (!imap_take_string(p, &entry) || !imap_take_sp(p))
            return false;
        if (!imap_take_word(p, STR("all")) && !imap_take_word(p, STR("priv")) &&
            !imap_take_word(p, STR("shared")))
            return imap_fail(p, "all, priv or shared");
        if (!imap_take_sp(p))
            return false;
    }
    key->last = UINT64_MAX;
    t->program->has_modseq = true;
    return imap_take_modseq(p, &key->from);
}

/* Ids are as FETCH tells them, in these letters [RFC8474 5.2, 6, 7]. */
static bool take_object(struct taker *t, struct imap_search_key *key)
{
    struct str id;
    if (!imap_take_sp(t->p) || !imap_take_atom(t->p, &id))
        return false;
    for (size_t i = 0; i < id.n; i++)
        if (!ascii_is_alpha(id.p[i]) && !ascii_is_digit(id.p[i]) && !strchr("_-", id.p[i]))
            return imap_fail(t->p, "an object id");
    uint64_t n;
    char letter = key->kind == IMAP_SEARCH_THREAD ? 'T' : 'M';
    struct str number = str_skip(id, 1);
    bool is_ours =
        id.p[0] == letter && number.n && number.p[0] != '0' && str_to_u64(number, &n) == RC_OK;
    key->from = is_ours ? n : 1; /* else nothing */
    key->last = is_ours ? n : 0;
    t->program->n_threads += key->kind == IMAP_SEARCH_THREAD;
    return t->program->n_threads <= IMAP_SEARCH_TEXTS || too_much(t->p);
}

static bool take_day(struct taker *t, const struct row *row, struct imap_search_key *key)
{
    int64_t day;
    if (!imap_take_sp(t->p) || !imap_take_date(t->p, &day))
        return false;
    set_day(key, row->side, day);
    return true;
}

/* All sets together have no more ranges than one may have: each is looked up before the search
 * begins. */
static bool take_set(struct taker *t, struct imap_search_key *key)
{
    if (!imap_take_set(t->p, &key->set))
        return false;
    t->program->n_ranges += key->set.n;
    size_t most = IMAP_RANGES_MAX + (key->set.is_saved ? IMAP_SAVED_MAX : 0);
    return t->program->n_ranges <= most || too_much(t->p);
}

/* [RFC9738 3.2]: above or below this one, whatever '*' is. */
static bool take_uid(struct taker *t, const struct row *row, struct imap_search_key *key)
{
    struct imap_range *range = arena_alloc(t->p->arena, sizeof *range);
    uint32_t uid;
    if (!range)
        return too_much(t->p);
    if (!imap_take_sp(t->p) || !imap_take_nz_number(t->p, &uid))
        return false;
    bool is_after = row->side == SIDE_ABOVE;
    *range =
        is_after ? (struct imap_range){uid + 1, UINT32_MAX - 1} : (struct imap_range){1, uid - 1};
    key->is_uid = true;
    key->set.ranges = range;
    key->set.n = is_after ? uid < UINT32_MAX - 1 : uid > 1;
    return true;
}

static bool take_below(struct taker *t, unsigned n, unsigned depth, struct imap_search_key *key)
{
    for (struct imap_search_key **at = &key->first; n--; at = &(*at)->next)
        if (!imap_take_sp(t->p) || !take_key(t, depth + 1, at))
            return false;
    return true;
}

/* Strings are met by words; of other keys, exact ones are the best that there are
 * [RFC6203 5]. */
static bool take_fuzzy(struct taker *t, unsigned depth, struct imap_search_key *key)
{
    bool was_fuzzy = t->is_fuzzy;
    t->is_fuzzy = t->program->is_fuzzy = true;
    bool is_good = take_below(t, 1, depth, key);
    t->is_fuzzy = was_fuzzy;
    return is_good;
}

static bool take_argument(struct taker *t, const struct row *row, unsigned depth,
                          struct imap_search_key *key)
{
    struct imap_parse *p = t->p;
    key->mask = row->mask;
    key->value = row->value;
    key->field = row->field;
    switch (row->argument) {
    case ARG_NONE:
        return true;
    case ARG_KEYWORD:
        return imap_take_sp(p) && imap_take_atom(p, &key->name);
    case ARG_NUMBER:
        return take_number(t, row, key);
    case ARG_AGE:
        return take_age(t, row, key);
    case ARG_MODSEQ:
        return take_modseq(t, key);
    case ARG_OBJECT:
        return take_object(t, key);
    case ARG_DATE:
        return take_day(t, row, key);
    case ARG_FIELD:
        if (!imap_take_sp(p) || !imap_take_astring(p, &key->name))
            return false;
        return imap_take_sp(p) && imap_take_astring(p, &key->text);
    case ARG_STRING:
        return imap_take_sp(p) && imap_take_astring(p, &key->text);
    case ARG_KEY:
        return take_below(t, 1, depth, key);
    case ARG_FUZZY:
        return take_fuzzy(t, depth, key);
    case ARG_TWO_KEYS:
        return take_below(t, 2, depth, key);
    case ARG_UIDS:
        key->is_uid = true;
        return imap_take_sp(p) && take_set(t, key);
    case ARG_UID:
        return take_uid(t, row, key);
    }
    return false;
}

/* --- keys ------------------------------------------------------------------------------------- */

/* One or more, up to what follows them. */
static bool take_keys(struct taker *t, unsigned depth, struct imap_search_key *parent)
{
    struct imap_search_key **at = &parent->first;
    do {
        if (!take_key(t, depth + 1, at))
            return false;
        at = &(*at)->next;
    } while (imap_take_byte(t->p, ' '));
    return true;
}

static bool take_list(struct taker *t, unsigned depth, struct imap_search_key **out)
{
    *out = new_key(t, IMAP_SEARCH_ALL_OF);
    return *out && take_keys(t, depth, *out) &&
           (imap_take_byte(t->p, ')') || imap_fail(t->p, "a closing parenthesis"));
}

static bool take_numbers(struct taker *t, struct imap_search_key **out)
{
    *out = new_key(t, IMAP_SEARCH_SET);
    if (!*out || !take_set(t, *out))
        return false;
    t->program->has_numbers = t->program->has_numbers || !(*out)->set.is_saved;
    return true;
}

static bool take_named(struct taker *t, unsigned depth, struct imap_search_key **out)
{
    const struct row *row = NULL;
    struct str name;
    if (!imap_take_atom(t->p, &name))
        return false;
    for (size_t i = 0; !row && i < sizeof rows / sizeof *rows; i++)
        if (str_ieq(name, str_of(rows[i].name)))
            row = &rows[i];
    if (!row)
        return imap_fail(t->p, "a search key");
    *out = new_key(t, row->kind);
    return *out && take_argument(t, row, depth, *out);
}

static bool take_key(struct taker *t, unsigned depth, struct imap_search_key **out)
{
    struct str rest = t->p->rest;
    if (depth > IMAP_SEARCH_DEPTH)
        return too_much(t->p);
    if (imap_take_byte(t->p, '('))
        return take_list(t, depth, out);
    if (rest.n && (ascii_is_digit(rest.p[0]) || rest.p[0] == '*' || rest.p[0] == '$'))
        return take_numbers(t, out);
    return take_named(t, depth, out);
}

static bool take_program(struct imap_parse *p, struct imap_search_program *out)
{
    struct taker t = {.p = p, .program = out};
    out->all = new_key(&t, IMAP_SEARCH_ALL_OF);
    if (!out->all || !take_keys(&t, 0, out->all) || !imap_take_end(p))
        return false;
    out->texts = arena_alloc(p->arena, (out->n_texts + 1) * sizeof(struct imap_search_key *));
    if (!out->texts)
        return too_much(p);
    memcpy(out->texts, t.texts, out->n_texts * sizeof *t.texts);
    return true;
}

bool imap_take_search(struct imap_parse *p, struct imap_search_program *out)
{
    *out = (struct imap_search_program){.source = p->rest};
    bool has_charset = imap_take_word(p, STR("CHARSET"));
    if (has_charset && p->is_utf8_only)
        return imap_fail(p, "no CHARSET with UTF8=ACCEPT"); /* [RFC9755 3] */
    if (has_charset &&
        (!imap_take_sp(p) || !imap_take_astring(p, &out->charset) || !imap_take_sp(p)))
        return false;
    return take_program(p, out);
}

bool imap_take_sort_search(struct imap_parse *p, struct imap_search_program *out)
{
    *out = (struct imap_search_program){.source = p->rest, .is_sort = true};
    if (!imap_take_astring(p, &out->charset) || !imap_take_sp(p))
        return false;
    if (p->is_utf8_only && !str_ieq(out->charset, STR("UTF-8")))
        return imap_fail(p, "UTF-8 with UTF8=ACCEPT"); /* [RFC9755 3] */
    return take_program(p, out);
}

/* --- before it runs --------------------------------------------------------------------------- */

/* Both to the second, and what is just so old is both [RFC5032 2]. */
static void settle_age(struct imap_search_key *key, uint64_t now)
{
    uint64_t then = now / NS_PER_SEC > key->seconds ? now / NS_PER_SEC - key->seconds : 0;
    key->from = key->value ? 0 : then * NS_PER_SEC;
    key->last = key->value ? then * NS_PER_SEC + NS_PER_SEC - 1 : UINT64_MAX;
}

static void settle_keyword(struct imap_search_key *key, const struct str *names)
{
    if (key->kind != IMAP_SEARCH_KEYWORD || !key->name.n)
        return;
    for (unsigned i = 0; i < STORE_KEYWORDS; i++)
        if (str_ieq(names[i], key->name))
            key->keyword = UINT64_C(1) << i;
}

void imap_search_keywords(struct imap_search_key *key, const struct str *names)
{
    for (; key; key = key->next) {
        settle_keyword(key, names);
        imap_search_keywords(key->first, names);
    }
}

enum rc imap_search_settle(struct imap_search_key *key, const struct imap_search_scene *scene)
{
    for (; key; key = key->next) {
        key->set.is_open = scene->is_open;
        if (key->kind == IMAP_SEARCH_SET)
            TRY(imap_set_resolve(&key->set, scene->root, key->is_uid, scene->arena, &key->spans));
        if (key->seconds)
            settle_age(key, scene->now);
        settle_keyword(key, scene->names);
        TRY(imap_search_settle(key->first, scene));
    }
    return RC_OK;
}

static enum rc fold_one(struct str *text, struct str charset, const struct mime_charsets *charsets,
                        struct arena *arena)
{
    struct buf utf8 = {.cap = MIME_NEEDLE_MAX * 8}, folded = {.cap = MIME_NEEDLE_MAX};
    enum rc rc = mime_charset_decode(charsets, charset, *text, &utf8);
    if (rc == RC_OK)
        rc = mime_fold(buf_str(&utf8), &folded);
    if (rc == RC_OK) {
        *text = buf_len(&folded) ? arena_dup(arena, buf_str(&folded)) : STR("");
        rc = text->p ? RC_OK : RC_LIMIT;
    }
    buf_fini(&utf8);
    buf_fini(&folded);
    return rc;
}

enum rc imap_search_fold(struct imap_search_program *program, const struct mime_charsets *charsets,
                         struct arena *arena)
{
    /* Without a charset strings are ASCII [RFC3501 6.4.4] [RFC9051 6.4.4]; UTF-8 is understood all
     * the same. */
    struct str charset = program->charset.p ? program->charset : STR("US-ASCII");
    if (!mime_charset_is_known(charsets, charset))
        return RC_NOTFOUND;
    for (size_t i = 0; i < program->n_texts; i++)
        TRY(fold_one(&program->texts[i]->text, charset, charsets, arena));
    return RC_OK;
}
