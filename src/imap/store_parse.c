/* The arguments of STORE [RFC3501 6.4.6, 9] [RFC9051 6.4.6, 9], with UNCHANGEDSINCE
 * [RFC7162 3.1.3, 7]. Pure. */
#include "imap/arguments_int.h"

static const struct {
    struct str word;
    enum store_flag_how how;
    bool is_silent;
} items[] = {
    {STR_INIT("FLAGS"), STORE_FLAGS_SET, false},
    {STR_INIT("FLAGS.SILENT"), STORE_FLAGS_SET, true},
    {STR_INIT("+FLAGS"), STORE_FLAGS_ADD, false},
    {STR_INIT("+FLAGS.SILENT"), STORE_FLAGS_ADD, true},
    {STR_INIT("-FLAGS"), STORE_FLAGS_REMOVE, false},
    {STR_INIT("-FLAGS.SILENT"), STORE_FLAGS_REMOVE, true},
};

static bool take_item(struct imap_parse *p, struct imap_storing *k)
{
    struct str word;
    if (!imap_take_atom(p, &word))
        return false;
    for (size_t i = 0; i < sizeof items / sizeof *items; i++)
        if (str_ieq(word, items[i].word)) {
            k->how = items[i].how;
            k->is_silent = items[i].is_silent;
            return true;
        }
    return imap_fail(p, "FLAGS, +FLAGS or -FLAGS, perhaps with .SILENT");
}

/* store-modifier [RFC7162 7] */
static bool take_modifiers(struct imap_parse *p, struct imap_storing *k)
{
    k->since = UINT64_MAX;
    if (!imap_take_byte(p, '('))
        return true;
    k->is_conditional = true;
    if (!imap_take_word(p, STR("UNCHANGEDSINCE")) || !imap_take_sp(p))
        return imap_fail(p, "UNCHANGEDSINCE");
    return imap_take_modseq(p, &k->since) &&
           ((imap_take_byte(p, ')') && imap_take_sp(p)) || imap_fail(p, "the end of modifiers"));
}

bool imap_take_storing(struct imap_parse *p, struct imap_storing *k)
{
    *k = (struct imap_storing){0};
    return imap_take_set(p, &k->set) && imap_take_sp(p) && take_modifiers(p, k) &&
           take_item(p, k) && imap_take_sp(p) && imap_take_flags(p, false, &k->flags) &&
           imap_take_end(p);
}
