/* Lines of an archive: "name=value" each. What is not known is passed over, so that a later version
 * may say more. Pure. */
#include "transfer/archive_int.h"

static const struct {
    const char *name;
    uint32_t flag;
} flags[] = {{"seen", STORE_SEEN},
             {"answered", STORE_ANSWERED},
             {"flagged", STORE_FLAGGED},
             {"deleted", STORE_DELETED},
             {"draft", STORE_DRAFT}};

static const char *const roles[STORE_ROLES] = {
    [STORE_INBOX] = "inbox", [STORE_DRAFTS] = "drafts",       [STORE_SENT] = "sent",
    [STORE_JUNK] = "junk",   [STORE_TRASH] = "trash",         [STORE_ARCHIVE] = "archive",
    [STORE_MEMOS] = "memos", [STORE_SCHEDULED] = "scheduled", [STORE_SNOOZED] = "snoozed"};

static void put_line(struct buf *out, const char *name, struct str value)
{
    buf_putf(out, "%s=", name);
    buf_put(out, value);
    buf_put(out, STR("\n"));
}

void archive_notes_of_folder(const struct transfer_folder *f, struct buf *out)
{
    put_line(out, "name", f->name);
    if (f->role < STORE_ROLES && roles[f->role])
        put_line(out, "role", str_of(roles[f->role]));
    if (f->is_subscribed)
        put_line(out, "subscribed", STR("yes"));
    if (f->is_name_alone)
        put_line(out, "there", STR("no"));
    buf_putf(out, "uidvalidity=%u\n", f->uidvalidity);
}

void archive_notes_of_message(const struct transfer_message *m, struct buf *out)
{
    buf_putf(out, "uid=%u\n", m->uid);
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (m->flags & flags[i].flag)
            put_line(out, "flag", str_of(flags[i].name));
    for (size_t i = 0; i < m->n_keywords; i++)
        put_line(out, "keyword", m->keywords[i]);
    if (m->uidl.n)
        put_line(out, "uidl", m->uidl);
}

static bool next_line(struct str *text, struct str *out_name, struct str *out_value)
{
    struct str line;
    while (str_cut(text, '\n', &line)) {
        ptrdiff_t is = str_find_byte(line, '=');
        if (is < 0)
            continue;
        *out_name = str_head(line, (size_t)is);
        *out_value = str_skip(line, (size_t)is + 1);
        return true;
    }
    return false;
}

static bool take_u32(struct str value, uint32_t *out)
{
    uint64_t n;
    if (str_to_u64(value, &n) != RC_OK || n > UINT32_MAX)
        return false;
    *out = (uint32_t)n;
    return true;
}

enum rc archive_read_folder(struct str text, struct transfer_folder *out)
{
    struct str name, value;
    *out = (struct transfer_folder){0};
    while (next_line(&text, &name, &value)) {
        if (str_eq(name, STR("name")))
            out->name = value;
        else if (str_eq(name, STR("subscribed")))
            out->is_subscribed = str_eq(value, STR("yes"));
        else if (str_eq(name, STR("there")))
            out->is_name_alone = str_eq(value, STR("no"));
        else if (str_eq(name, STR("uidvalidity")) && !take_u32(value, &out->uidvalidity))
            return RC_SYNTAX;
        for (unsigned i = 0; str_eq(name, STR("role")) && i < STORE_ROLES; i++)
            if (roles[i] && str_eq(value, str_of(roles[i])))
                out->role = (enum store_role)i;
    }
    return out->name.n ? RC_OK : RC_SYNTAX;
}

enum rc archive_read_message(struct str text, struct arena *arena, struct transfer_message *out)
{
    struct str name, value;
    struct str *keywords = arena_alloc(arena, TRANSFER_KEYWORDS * sizeof *keywords);
    if (!keywords)
        return RC_LIMIT;
    out->keywords = keywords;
    while (next_line(&text, &name, &value)) {
        if (str_eq(name, STR("uid")) && !take_u32(value, &out->uid))
            return RC_SYNTAX;
        if (str_eq(name, STR("uidl")))
            out->uidl = value;
        if (str_eq(name, STR("keyword")) && out->n_keywords < TRANSFER_KEYWORDS)
            keywords[out->n_keywords++] = value;
        for (size_t i = 0; str_eq(name, STR("flag")) && i < sizeof flags / sizeof *flags; i++)
            out->flags |= str_eq(value, str_of(flags[i].name)) ? flags[i].flag : 0;
    }
    return RC_OK;
}
