/* Names of folders: what can be a mailbox's, and which are those of the special folders. Pure. */
#include "transfer/transfer_int.h"

#include "base/utf8.h"

/* What clients in common use call them; a name of more levels is nobody's. */
static const struct {
    const char *name;
    enum store_role role;
} common[] = {
    {"Drafts", STORE_DRAFTS},
    {"Draft", STORE_DRAFTS},
    {"Entw\xc3\xbcrfe", STORE_DRAFTS},
    {"Brouillons", STORE_DRAFTS},
    {"Sent", STORE_SENT},
    {"Sent Items", STORE_SENT},
    {"Sent Messages", STORE_SENT},
    {"Sent Mail", STORE_SENT},
    {"sent-mail", STORE_SENT},
    {"Gesendet", STORE_SENT},
    {"Gesendete Elemente", STORE_SENT},
    {"Gesendete Objekte", STORE_SENT},
    {"Envoy\xc3\xa9s", STORE_SENT},
    {"Junk", STORE_JUNK},
    {"Spam", STORE_JUNK},
    {"Junk E-mail", STORE_JUNK},
    {"Junk Email", STORE_JUNK},
    {"Bulk Mail", STORE_JUNK},
    {"Ind\xc3\xa9sirables", STORE_JUNK},
    {"Trash", STORE_TRASH},
    {"Deleted Items", STORE_TRASH},
    {"Deleted Messages", STORE_TRASH},
    {"Deleted", STORE_TRASH},
    {"Papierkorb", STORE_TRASH},
    {"Gel\xc3\xb6schte Elemente", STORE_TRASH},
    {"Corbeille", STORE_TRASH},
    {"Archive", STORE_ARCHIVE},
    {"Archives", STORE_ARCHIVE},
    {"Archiv", STORE_ARCHIVE},
    {"All Mail", STORE_ARCHIVE},
};

enum store_role transfer_role_of_name(struct str name)
{
    if (str_ieq(name, STR("INBOX")))
        return STORE_INBOX;
    for (size_t i = 0; i < sizeof common / sizeof *common; i++)
        if (str_ieq(name, str_of(common[i].name)))
            return common[i].role;
    return STORE_NONE;
}

static size_t rank_of_name(struct str name)
{
    size_t i = 0;
    while (i < sizeof common / sizeof *common && !str_ieq(name, str_of(common[i].name)))
        i++;
    return i;
}

/* The best one of a role that nobody has. */
static void give_role(struct transfer_folder *folders, size_t n, enum store_role role)
{
    struct transfer_folder *best = NULL;
    for (size_t i = 0; i < n; i++) {
        struct transfer_folder *f = &folders[i];
        if (f->role == role)
            return;
        if (f->role == STORE_NONE && transfer_role_of_name(f->name) == role &&
            (!best || rank_of_name(f->name) < rank_of_name(best->name)))
            best = f;
    }
    if (best)
        best->role = role;
}

void transfer_roles_by_name(struct transfer_folder *folders, size_t n)
{
    static const enum store_role roles[] = {STORE_DRAFTS, STORE_SENT, STORE_JUNK, STORE_TRASH,
                                            STORE_ARCHIVE};
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
        give_role(folders, n, roles[i]);
}

static const char *fault_of_level(struct str level)
{
    if (!level.n)
        return "a level of its name is empty";
    if (level.n > STORE_NAME_MAX)
        return "a level of its name is longer than 255 bytes";
    for (size_t i = 0; i < level.n; i++)
        if ((unsigned char)level.p[i] < ' ' || level.p[i] == 0x7f)
            return "its name has control characters";
    return NULL;
}

const char *split_name(struct str name, struct str levels[STORE_LEVELS], size_t *out_n)
{
    struct str level;
    *out_n = 0;
    if (!utf8_is_valid(name))
        return "its name is not UTF-8";
    while (str_cut(&name, '/', &level)) {
        const char *fault = fault_of_level(level);
        if (fault)
            return fault;
        if (*out_n == STORE_LEVELS)
            return "its name has more than 20 levels";
        levels[(*out_n)++] = level;
    }
    return *out_n ? NULL : "it has no name";
}
