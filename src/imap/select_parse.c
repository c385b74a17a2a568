/* The parameters of SELECT and EXAMINE [RFC4466 2.4]: CONDSTORE, and what a client that comes back
 * knows of the mailbox [RFC7162 3.1.8, 3.2.5, 7]. Pure. */
#include "imap/arguments_int.h"

/* Without '*', and ascending where it is said to be [RFC7162 3.2.5.2, 7]. *out_n: how many are in
 * it. */
static bool take_known(struct imap_parse *p, bool is_ascending, struct imap_set *out,
                       uint64_t *out_n)
{
    uint32_t last = 0;
    *out_n = 0;
    if (!imap_peek_byte(p, '$') && !imap_take_set(p, out))
        return false;
    for (size_t i = 0; i < out->n; i++) {
        struct imap_range r = out->ranges[i];
        if (r.to == UINT32_MAX || (is_ascending && r.from <= last))
            return imap_fail(p, "known UIDs, ascending and without *");
        last = r.to;
        *out_n += (uint64_t)r.to - r.from + 1;
    }
    return out->n || imap_fail(p, "known UIDs");
}

/* seq-match-data */
static bool take_pairs(struct imap_parse *p, struct imap_known *k)
{
    uint64_t n, m;
    if (!imap_take_byte(p, '(') || !take_known(p, true, &k->numbers, &n) || !imap_take_sp(p) ||
        !take_known(p, true, &k->their_uids, &m))
        return imap_fail(p, "message numbers and their UIDs");
    k->has_pairs = true;
    return (n == m && imap_take_byte(p, ')')) || imap_fail(p, "as many UIDs as message numbers");
}

static bool take_qresync(struct imap_parse *p, struct imap_known *k)
{
    uint64_t n;
    if (!imap_take_sp(p) || !imap_take_byte(p, '(') || !imap_take_nz_number(p, &k->uidvalidity) ||
        !imap_take_sp(p) || !imap_take_modseq(p, &k->modseq))
        return imap_fail(p, "UIDVALIDITY and a mod-sequence");
    bool has_more = imap_take_byte(p, ' ');
    k->has_uids = has_more && !imap_peek_byte(p, '(');
    if (k->has_uids && !take_known(p, false, &k->uids, &n))
        return false;
    if (k->has_uids)
        has_more = imap_take_byte(p, ' ');
    if (has_more && !take_pairs(p, k))
        return false;
    return imap_take_byte(p, ')') || imap_fail(p, "the end of what is known");
}

static bool take_parameter(struct imap_parse *p, struct imap_selecting *k)
{
    if (imap_take_word(p, STR("CONDSTORE"))) {
        k->is_condstore = true;
        return true;
    }
    k->is_qresync = imap_take_word(p, STR("QRESYNC"));
    return k->is_qresync ? take_qresync(p, &k->known) : imap_fail(p, "CONDSTORE or QRESYNC");
}

bool imap_take_selecting(struct imap_parse *p, struct imap_selecting *k)
{
    *k = (struct imap_selecting){0};
    if (!p->rest.n)
        return true;
    if (!imap_take_byte(p, ' ') || !imap_take_byte(p, '('))
        return imap_fail(p, "the end of the command");
    do
        if (!take_parameter(p, k))
            return false;
    while (imap_take_byte(p, ' '));
    return (imap_take_byte(p, ')') && imap_take_end(p)) || imap_fail(p, "the end of parameters");
}
