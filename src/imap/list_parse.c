/* What LIST and LSUB ask for [RFC3501 6.3.8, 6.3.9] [RFC9051 6.3.9], with the options of
 * LIST-EXTENDED [RFC5258 6], SPECIAL-USE [RFC6154 6] and LIST-STATUS [RFC5819 4]. Pure. */
#include "imap/list_int.h"
#include "imap/status_int.h"

static const struct option {
    struct str name;
    unsigned bit;
} selections[] =
    {
        {STR_INIT("SUBSCRIBED"), IMAP_LIST_SUBSCRIBED},
        {STR_INIT("SPECIAL-USE"), IMAP_LIST_SPECIAL_USE},
        {STR_INIT("REMOTE"), IMAP_LIST_REMOTE}, /* no mailbox is, so it changes nothing */
        {STR_INIT("RECURSIVEMATCH"), IMAP_LIST_RECURSIVE},
        {{0}, 0},
},
  returns[] = {
      {STR_INIT("SUBSCRIBED"), IMAP_LIST_SUBSCRIBED},
      {STR_INIT("SPECIAL-USE"), IMAP_LIST_SPECIAL_USE},
      {STR_INIT("CHILDREN"), IMAP_LIST_CHILDREN},
      {STR_INIT("STATUS"), IMAP_LIST_STATUS},
      {{0}, 0},
};

/* One option of the table; unknown ones are an error [RFC5258 3] [RFC9051 6.3.9]. */
static bool take_option(struct imap_parse *p, const struct option *table, struct imap_list *out,
                        unsigned *bits)
{
    struct str name;
    if (!imap_take_atom(p, &name))
        return false;
    while (table->bit && !str_ieq(name, table->name))
        table++;
    if (!table->bit)
        return imap_fail(p, "an option of LIST that is known here");
    *bits |= table->bit;
    return table->bit != IMAP_LIST_STATUS ||
           (imap_take_sp(p) && imap_take_status_items(p, &out->status));
}

static bool take_options(struct imap_parse *p, const struct option *table, struct imap_list *out,
                         unsigned *bits)
{
    if (!imap_take_byte(p, '('))
        return imap_fail(p, "a list of options");
    if (imap_take_byte(p, ')'))
        return true;
    do
        if (!take_option(p, table, out, bits))
            return false;
    while (imap_take_byte(p, ' '));
    return imap_take_byte(p, ')') || imap_fail(p, "the end of the list of options");
}

/* The reference goes before the pattern as it is [RFC3501 6.3.8] [RFC9051 6.3.9]; a pattern that is
 * no name in modified UTF-7 matches nothing. */
static bool add_pattern(struct imap_parse *p, struct str reference, struct str pattern,
                        struct imap_list *out)
{
    struct buf wire = {.cap = 2 * IMAP_LINE_MAX}, name = {.cap = 8192};
    struct str *to = &out->patterns[out->n_patterns];
    buf_put(&wire, reference);
    buf_put(&wire, pattern);
    *to = STR("");
    if (!wire.over && imap_name_decode(p, buf_str(&wire), &name) == RC_OK && buf_len(&name))
        *to = arena_dup(p->arena, buf_str(&name));
    buf_fini(&wire);
    buf_fini(&name);
    out->n_patterns++;
    p->is_limit = !to->p;
    return to->p || imap_fail(p, "a shorter pattern");
}

/* An empty one is passed over [RFC5258 3] [RFC9051 6.3.9]. */
static bool take_patterns(struct imap_parse *p, struct str reference, struct imap_list *out)
{
    struct str pattern;
    do {
        if (!imap_take_list_mailbox(p, &pattern))
            return false;
        p->is_limit = out->n_patterns == IMAP_PATTERNS_MAX;
        if (p->is_limit)
            return imap_fail(p, "fewer patterns");
        if (pattern.n && !add_pattern(p, reference, pattern, out))
            return false;
    } while (imap_take_byte(p, ' '));
    return imap_take_byte(p, ')') || imap_fail(p, "the end of the list of patterns");
}

static bool take_names(struct imap_parse *p, bool has_several, struct imap_list *out,
                       bool *out_is_extended)
{
    struct str reference, pattern;
    if (!imap_take_astring(p, &reference) || !imap_take_sp(p))
        return false;
    bool is_list = has_several && imap_take_byte(p, '(');
    *out_is_extended = is_list;
    out->patterns = arena_alloc(p->arena, IMAP_PATTERNS_MAX * sizeof *out->patterns);
    p->is_limit = !out->patterns;
    if (p->is_limit)
        return imap_fail(p, "less");
    if (is_list)
        return take_patterns(p, reference, out);
    if (!imap_take_list_mailbox(p, &pattern))
        return false;
    out->is_root = !pattern.n;
    return out->is_root || add_pattern(p, reference, pattern, out);
}

bool imap_take_list(struct imap_parse *p, struct imap_list *out)
{
    *out = (struct imap_list){0};
    bool has_selection = imap_peek_byte(p, '('), is_list;
    if (has_selection && (!take_options(p, selections, out, &out->select) || !imap_take_sp(p)))
        return false;
    if (!take_names(p, true, out, &is_list))
        return false;
    bool has_returns = imap_take_byte(p, ' ');
    if (has_returns && (!imap_take_word(p, STR("RETURN")) || !imap_take_sp(p)))
        return imap_fail(p, "RETURN and a list of options");
    if (has_returns && !take_options(p, returns, out, &out->returns))
        return false;
    if (out->select & IMAP_LIST_RECURSIVE && !(out->select & IMAP_LIST_CRITERIA))
        return imap_fail(
            p, "what RECURSIVEMATCH is to look for"); /* [RFC5258 3.1] [RFC9051 6.3.9.1] */
    if (has_selection || is_list || has_returns)      /* [RFC5258 3] [RFC9051 6.3.9] */
        out->is_root = false;
    out->returns |=
        out->select & IMAP_LIST_CRITERIA; /* [RFC5258 3.1] [RFC9051 6.3.9.1] [RFC6154 2] */
    return imap_take_end(p);
}

bool imap_take_lsub(struct imap_parse *p, struct imap_list *out)
{
    bool is_list;
    *out = (struct imap_list){0};
    return take_names(p, false, out, &is_list) && imap_take_end(p);
}
