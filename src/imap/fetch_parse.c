/* The items of FETCH and its modifiers [RFC3501 6.4.5] [RFC9051 6.4.5] [RFC3516 4.2]
 * [RFC7162 3.1.4]: from the command to a program, once. Pure.
 *
 * Items are done in the order of the command, and twice what is there twice. Each carries the words
 * that stand before its value in the answers, so that nothing is composed message by message. */
#include "imap/fetch_int.h"

/* What follows a name. */
enum form { PLAIN, SECTION, BINARY, BINARY_SIZE, LAZY };

struct name {
    struct str name;
    enum form form;
    enum imap_fetch_kind kind;
    enum mime_section section;
    bool sets_seen;
};

/* "BODY[" is found before "BODY" for its bracket. */
static const struct name names[] = {
    {STR_INIT("UID"), PLAIN, IMAP_FETCH_UID, 0, false},
    {STR_INIT("FLAGS"), PLAIN, IMAP_FETCH_FLAGS, 0, false},
    {STR_INIT("INTERNALDATE"), PLAIN, IMAP_FETCH_INTERNALDATE, 0, false},
    {STR_INIT("ENVELOPE"), PLAIN, IMAP_FETCH_ENVELOPE, 0, false},
    {STR_INIT("BODYSTRUCTURE"), PLAIN, IMAP_FETCH_BODYSTRUCTURE, 0, false},
    {STR_INIT("BODY"), SECTION, IMAP_FETCH_SECTION, 0, true},
    {STR_INIT("BODY.PEEK"), SECTION, IMAP_FETCH_SECTION, 0, false},
    {STR_INIT("BODY"), PLAIN, IMAP_FETCH_BODY, 0, false},
    {STR_INIT("BINARY"), BINARY, IMAP_FETCH_BINARY, 0, true},
    {STR_INIT("BINARY.PEEK"), BINARY, IMAP_FETCH_BINARY, 0, false},
    {STR_INIT("BINARY.SIZE"), BINARY_SIZE, IMAP_FETCH_BINARY_SIZE, 0, false},
    {STR_INIT("PREVIEW"), LAZY, IMAP_FETCH_PREVIEW, 0, false},
    {STR_INIT("MODSEQ"), PLAIN, IMAP_FETCH_MODSEQ, 0, false},
    {STR_INIT("SAVEDATE"), PLAIN, IMAP_FETCH_SAVEDATE, 0, false},
    {STR_INIT("EMAILID"), PLAIN, IMAP_FETCH_EMAILID, 0, false},
    {STR_INIT("THREADID"), PLAIN, IMAP_FETCH_THREADID, 0, false},
    {STR_INIT("RFC822.SIZE"), PLAIN, IMAP_FETCH_SIZE, 0, false},
    {STR_INIT("RFC822"), PLAIN, IMAP_FETCH_SECTION, MIME_SECTION_WHOLE, true},
    {STR_INIT("RFC822.HEADER"), PLAIN, IMAP_FETCH_SECTION, MIME_SECTION_HEADER, false},
    {STR_INIT("RFC822.TEXT"), PLAIN, IMAP_FETCH_SECTION, MIME_SECTION_TEXT, true},
    /* Of the protocol before IMAP4rev1, and what Outlook still sends. */
    {STR_INIT("RFC822.PEEK"), PLAIN, IMAP_FETCH_SECTION, MIME_SECTION_WHOLE, false},
    {STR_INIT("RFC822.TEXT.PEEK"), PLAIN, IMAP_FETCH_SECTION, MIME_SECTION_TEXT, false},
};

/* The last part of a section. */
static const struct {
    struct str name;
    enum mime_section section;
    bool has_names, is_not, needs_path;
} texts[] = {
    {STR_INIT("HEADER"), MIME_SECTION_HEADER, false, false, false},
    {STR_INIT("HEADER.FIELDS"), MIME_SECTION_HEADER, true, false, false},
    {STR_INIT("HEADER.FIELDS.NOT"), MIME_SECTION_HEADER, true, true, false},
    {STR_INIT("TEXT"), MIME_SECTION_TEXT, false, false, false},
    {STR_INIT("MIME"), MIME_SECTION_MIME, false, false, true}, /* [RFC9051 6.4.5.1] */
};

static bool too_much(struct imap_parse *p, const char *expected)
{
    p->is_limit = true;
    return imap_fail(p, expected);
}

/* Letters, digits and dots: no other bytes are in the names of items and sections. */
static struct str take_name(struct imap_parse *p)
{
    size_t n = 0;
    while (n < p->rest.n &&
           (ascii_is_alpha(p->rest.p[n]) || ascii_is_digit(p->rest.p[n]) || p->rest.p[n] == '.'))
        n++;
    struct str name = str_head(p->rest, n);
    p->rest = str_skip(p->rest, n);
    return name;
}

/* --- sections --------------------------------------------------------------------------------- */

/* section-part; a dot behind it is taken too, and *out_has_more tells so. */
static bool take_path(struct imap_parse *p, struct imap_fetch_item *item, struct buf *label,
                      bool *out_has_more)
{
    uint32_t path[IMAP_FETCH_PATH];
    size_t n = 0;
    *out_has_more = false;
    while (p->rest.n && ascii_is_digit(p->rest.p[0])) {
        if (n == IMAP_FETCH_PATH)
            return too_much(p, "fewer numbers of a part");
        if (!imap_take_nz_number(p, &path[n]))
            return false;
        buf_put(label, n ? STR(".") : STR(""));
        imap_put_u64(label, path[n++]);
        *out_has_more = imap_take_byte(p, '.');
        if (!*out_has_more)
            break;
    }
    struct str copy = arena_dup(p->arena, str_from(path, n * sizeof *path));
    if (!copy.p)
        return too_much(p, "less");
    item->path = (const uint32_t *)(const void *)copy.p;
    item->n_path = n;
    return true;
}

static size_t count_names(struct str s)
{
    size_t n = 1;
    for (size_t i = 0; i < s.n; i++)
        n += s.p[i] == ' ';
    return n < IMAP_FETCH_NAMES ? n : IMAP_FETCH_NAMES;
}

/* header-list */
static bool take_fields(struct imap_parse *p, struct imap_fetch_program *out,
                        struct imap_fetch_item *item, struct buf *label)
{
    if (!imap_take_sp(p) || !imap_take_byte(p, '('))
        return imap_fail(p, "a list of header fields");
    struct str *all = arena_alloc(p->arena, count_names(p->rest) * sizeof *all);
    if (!all)
        return too_much(p, "less");
    buf_put(label, STR(" "));
    do {
        if (out->n_names++ == IMAP_FETCH_NAMES)
            return too_much(p, "fewer header fields");
        if (!imap_take_astring(p, &all[item->n_names]))
            return false;
        buf_put(label, item->n_names ? STR(" ") : STR("("));
        imap_put_astring(label, all[item->n_names++]);
    } while (imap_take_byte(p, ' '));
    buf_put(label, STR(")"));
    item->names = all;
    item->kind = IMAP_FETCH_FIELDS;
    return imap_take_byte(p, ')') || imap_fail(p, "the end of the header fields");
}

/* section-msgtext, or section-text behind a part */
static bool take_text(struct imap_parse *p, struct imap_fetch_program *out,
                      struct imap_fetch_item *item, struct buf *label)
{
    struct str name = take_name(p);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        if (!str_ieq(name, texts[i].name) || (texts[i].needs_path && !item->n_path))
            continue;
        item->section = texts[i].section;
        item->is_not = texts[i].is_not;
        buf_put(label, item->n_path ? STR(".") : STR(""));
        buf_put(label, texts[i].name);
        return !texts[i].has_names || take_fields(p, out, item, label);
    }
    return imap_fail(p, "a section");
}

static bool take_section(struct imap_parse *p, struct imap_fetch_program *out,
                         struct imap_fetch_item *item, enum form form, struct buf *label)
{
    bool has_more;
    if (!imap_take_byte(p, '['))
        return imap_fail(p, "a section in brackets");
    buf_put(label, STR("["));
    if (!take_path(p, item, label, &has_more))
        return false;
    bool can_have_text = form == SECTION && (has_more || !item->n_path);
    if (has_more || (can_have_text && !imap_peek_byte(p, ']')))
        if (!can_have_text || !take_text(p, out, item, label))
            return imap_fail(p, "a section");
    buf_put(label, STR("]"));
    return imap_take_byte(p, ']') || imap_fail(p, "the end of the section");
}

/* "<" number "." nz-number ">"; the answer has the number alone [RFC3501 7.4.2] [RFC9051 7.5.2]. */
static bool take_partial(struct imap_parse *p, struct imap_fetch_item *item, struct buf *label)
{
    if (!imap_take_byte(p, '<'))
        return true;
    if (!imap_take_number(p, &item->from) || !imap_take_byte(p, '.') ||
        !imap_take_nz_number(p, &item->most) || !imap_take_byte(p, '>'))
        return imap_fail(p, "a part such as <0.2048>");
    buf_put(label, STR("<"));
    imap_put_u64(label, item->from);
    buf_put(label, STR(">"));
    return true;
}

/* [SP "(" preview-mod *(SP preview-mod) ")"] [RFC8970 6]. Behind a lone PREVIEW a parenthesis may
 * also begin the modifiers of FETCH. */
static bool take_lazy(struct imap_parse *p, struct imap_fetch_item *item)
{
    struct imap_parse q = *p;
    if (!imap_take_byte(&q, ' ') || !imap_take_byte(&q, '(') || !imap_take_word(&q, STR("LAZY")))
        return true;
    while (imap_take_byte(&q, ' '))
        if (!imap_take_word(&q, STR("LAZY")))
            return imap_fail(p, "LAZY, which is all that PREVIEW can be");
    item->is_lazy = true;
    p->rest = q.rest;
    return imap_take_byte(p, ')') || imap_fail(p, "the end of (LAZY)");
}

/* --- items ------------------------------------------------------------------------------------ */

static const struct name *find(struct str name, bool has_bracket)
{
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (str_ieq(name, names[i].name) &&
            (names[i].form == PLAIN || names[i].form == LAZY || has_bracket))
            return &names[i];
    return NULL;
}

/* Another item; NULL: there are too many. */
static struct imap_fetch_item *add(struct imap_parse *p, struct imap_fetch_program *out,
                                   const struct name *name)
{
    if (out->n == IMAP_FETCH_ITEMS)
        return NULL;
    if (!(out->n & (out->n - 1))) { /* at 0, 1, 2, 4, ... there is no room */
        size_t room = out->n ? out->n * 2 : 1;
        struct imap_fetch_item *items = arena_alloc(p->arena, room * sizeof *items);
        if (!items)
            return NULL;
        for (size_t i = 0; i < out->n; i++)
            items[i] = out->items[i];
        out->items = items;
    }
    struct imap_fetch_item *item = &out->items[out->n++];
    *item = (struct imap_fetch_item){.kind = name->kind, .section = name->section};
    out->sets_seen = out->sets_seen || name->sets_seen;
    out->has_uid = out->has_uid || name->kind == IMAP_FETCH_UID;
    out->has_flags = out->has_flags || name->kind == IMAP_FETCH_FLAGS;
    out->has_preview = out->has_preview || name->kind == IMAP_FETCH_PREVIEW;
    out->has_modseq = out->has_modseq || name->kind == IMAP_FETCH_MODSEQ;
    out->needs_thread = out->needs_thread || name->kind == IMAP_FETCH_THREADID;
    out->needs_summary = out->needs_summary || name->kind == IMAP_FETCH_ENVELOPE ||
                         name->kind == IMAP_FETCH_BODYSTRUCTURE || name->kind == IMAP_FETCH_BODY ||
                         name->kind == IMAP_FETCH_PREVIEW;
    return item;
}

/* Answers never have ".PEEK" in them [RFC3501 7.4.2] [RFC9051 7.5.2]. */
static struct str shown(struct str name)
{
    return str_ends(name, STR(".PEEK")) ? str_head(name, name.n - STR(".PEEK").n) : name;
}

static bool take_rest(struct imap_parse *p, struct imap_fetch_program *out, const struct name *name,
                      struct imap_fetch_item *item, struct buf *label)
{
    buf_put(label, shown(name->name));
    if (name->form == LAZY && !take_lazy(p, item))
        return false;
    if (name->form != PLAIN && name->form != LAZY && !take_section(p, out, item, name->form, label))
        return false;
    if ((name->form == SECTION || name->form == BINARY) && !take_partial(p, item, label))
        return false;
    buf_put(label, STR(" "));
    if (label->over)
        return too_much(p, "fewer header fields");
    item->label = arena_dup(p->arena, buf_str(label));
    return item->label.p || too_much(p, "less");
}

static bool add_item(struct imap_parse *p, struct imap_fetch_program *out, const struct name *name)
{
    struct buf label = {.cap = IMAP_FETCH_LABEL};
    struct imap_fetch_item *item = add(p, out, name);
    if (!item)
        return too_much(p, "fewer items");
    bool is_good = take_rest(p, out, name, item, &label);
    buf_fini(&label);
    return is_good;
}

static bool take_item(struct imap_parse *p, struct imap_fetch_program *out)
{
    struct str word = take_name(p);
    const struct name *name = find(word, imap_peek_byte(p, '['));
    return name ? add_item(p, out, name) : imap_fail(p, "the name of an item");
}

/* --- the list --------------------------------------------------------------------------------- */

static const struct {
    struct str name, meaning;
} macros[] = {
    {STR_INIT("ALL"), STR_INIT("(FLAGS INTERNALDATE RFC822.SIZE ENVELOPE)")},
    {STR_INIT("FAST"), STR_INIT("(FLAGS INTERNALDATE RFC822.SIZE)")},
    {STR_INIT("FULL"), STR_INIT("(FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODY)")},
};

static bool take_items(struct imap_parse *p, struct imap_fetch_program *out)
{
    if (!imap_take_byte(p, '('))
        return take_item(p, out);
    do
        if (!take_item(p, out))
            return false;
    while (imap_take_byte(p, ' '));
    return imap_take_byte(p, ')') || imap_fail(p, "the end of the list of items");
}

/* A macro stands alone, never in a list. */
static bool take_macro_or_items(struct imap_parse *p, struct imap_fetch_program *out)
{
    for (size_t i = 0; i < sizeof macros / sizeof *macros; i++) {
        struct imap_parse q = *p;
        if (!imap_take_word(&q, macros[i].name))
            continue;
        p->rest = macros[i].meaning;
        bool is_good = take_items(p, out);
        p->rest = q.rest;
        return is_good;
    }
    return take_items(p, out);
}

bool imap_take_fetch_items(struct imap_parse *p, struct imap_fetch_program *out)
{
    *out = (struct imap_fetch_program){0};
    return imap_peek_byte(p, '(') ? take_items(p, out) : imap_fail(p, "a list of items");
}

/* --- modifiers -------------------------------------------------------------------------------- */

static bool take_since(struct imap_parse *p, struct imap_fetch_program *out)
{
    out->has_since = true;
    return imap_take_sp(p) && imap_take_modseq(p, &out->since);
}

static bool take_vanished(struct imap_parse *p, struct imap_fetch_program *out)
{
    out->has_vanished = true;
    return true;
}

static bool take_page(struct imap_parse *p, struct imap_fetch_program *out)
{
    if (out->has_partial)
        return imap_fail(p, "PARTIAL once");
    out->has_partial = true;
    return imap_take_sp(p) && imap_take_partial(p, &out->partial);
}

static const struct {
    struct str name;
    bool (*take)(struct imap_parse *p, struct imap_fetch_program *out);
} modifiers[] = {
    {STR_INIT("CHANGEDSINCE"), take_since},
    {STR_INIT("VANISHED"), take_vanished},
    {STR_INIT("PARTIAL"), take_page},
};
enum { N_MODIFIERS = sizeof modifiers / sizeof *modifiers };

/* fetch-modifiers [RFC7162 7] */
static bool take_modifiers(struct imap_parse *p, struct imap_fetch_program *out)
{
    if (!p->rest.n)
        return true;
    if (!imap_take_byte(p, ' ') || !imap_take_byte(p, '('))
        return imap_fail(p, "the end of the command");
    do {
        size_t i = 0;
        while (i < N_MODIFIERS && !imap_take_word(p, modifiers[i].name))
            i++;
        if (i == N_MODIFIERS)
            return imap_fail(p, "a modifier that is known here");
        if (!modifiers[i].take(p, out))
            return false;
    } while (imap_take_byte(p, ' '));
    if (!imap_take_byte(p, ')'))
        return imap_fail(p, "the end of modifiers");
    /* What has changed tells when [RFC7162 3.1.4.1]. */
    return !out->has_since || out->has_modseq || add_item(p, out, find(STR("MODSEQ"), false));
}

static bool take_all(struct imap_parse *p, struct imap_fetch_program *out)
{
    return take_macro_or_items(p, out) && take_modifiers(p, out) && imap_take_end(p);
}

/* The item for UID that was put first is not needed when there is another one. */
static void drop_first(struct imap_fetch_program *out)
{
    for (size_t i = 1; i < out->n; i++) {
        if (out->items[i].kind != IMAP_FETCH_UID)
            continue;
        out->items++;
        out->n--;
        return;
    }
}

bool imap_take_fetch(struct imap_parse *p, bool needs_uid, struct imap_fetch_program *out)
{
    *out = (struct imap_fetch_program){0};
    if (needs_uid && !add_item(p, out, find(STR("UID"), false)))
        return false;
    if (!take_all(p, out))
        return false;
    if (needs_uid)
        drop_first(out);
    return true;
}
