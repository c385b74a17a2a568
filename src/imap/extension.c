/* Extensions that are not commands: which are told in CAPABILITY, and which ENABLE turns on
 * [RFC5161].
 *
 * A row is there when all of its RFC is obeyed. What ENABLE has turned on is a set of bits in the
 * session, until it ends or begins anew [RFC8437 3]; whatever depends on it asks for the bit. */
#include "imap/arguments_int.h"

enum {
    BEFORE = IMAP_NOT_AUTHENTICATED,
    AFTER = IMAP_AUTHENTICATED | IMAP_SELECTED,
};

static const struct extension {
    struct str name;
    unsigned states; /* in which it is told */
    unsigned bits;   /* what ENABLE sets; 0: it needs no ENABLE, which passes over it */
} extensions[] = {
    {STR_INIT("IMAP4rev2"), BEFORE | AFTER, IMAP_EN_REV2}, /* [RFC9051 6.3.1, 7.2.2] */
    {STR_INIT("LITERAL-"), BEFORE, 0}, /* one of the two, never both [RFC7888 5] [RFC9051 4.3] */
    {STR_INIT("LITERAL+"), AFTER, 0},
    /* Commands for later; but Python's imaplib and others look at the greeting alone. */
    {STR_INIT("ENABLE"), BEFORE, 0},
    {STR_INIT("IDLE"), BEFORE, 0},
    {STR_INIT("ESEARCH"), AFTER, 0},
    {STR_INIT("SEARCHRES"), AFTER, 0},
    {STR_INIT("PARTIAL"), AFTER, 0},
    {STR_INIT("SEARCH=FUZZY"), AFTER, 0}, /* [RFC6203 3] */
    {STR_INIT("WITHIN"), AFTER, 0},
    {STR_INIT("OBJECTID"), AFTER, 0},                                  /* [RFC8474 3] */
    {STR_INIT("SAVEDATE"), AFTER, 0},                                  /* [RFC8514 4.1] */
    {STR_INIT("PREVIEW"), AFTER, 0},                                   /* [RFC8970 3] */
    {STR_INIT("STATUS=SIZE"), AFTER, 0},                               /* [RFC8438 3] */
    {STR_INIT("INPROGRESS"), AFTER, 0},                                /* [RFC9585 3] */
    {STR_INIT("I18NLEVEL=1"), AFTER, 0},                               /* [RFC5255 4.3] */
    {STR_INIT("UTF8=ACCEPT"), AFTER, IMAP_EN_UTF8},                    /* [RFC9755 3] */
    {STR_INIT("CONDSTORE"), AFTER, IMAP_EN_CONDSTORE},                 /* [RFC7162 3.1.1] */
    {STR_INIT("QRESYNC"), AFTER, IMAP_EN_CONDSTORE | IMAP_EN_QRESYNC}, /* [RFC7162 3.2.3] */
    {STR_INIT("UIDONLY"), AFTER, IMAP_EN_UIDONLY},                     /* [RFC9586 3] */
};
enum { N_EXTENSIONS = sizeof extensions / sizeof *extensions };

static bool is_withheld(const struct imap_session *s, const struct extension *e)
{
    return e->bits == IMAP_EN_UIDONLY && s->imap->conf.withholds_uidonly;
}

void imap_put_extensions(const struct imap_session *s, struct buf *out)
{
    unsigned states = s->state == IMAP_NOT_AUTHENTICATED ? BEFORE : AFTER;
    for (size_t i = 0; i < N_EXTENSIONS; i++) {
        if (!(extensions[i].states & states) || is_withheld(s, &extensions[i]))
            continue;
        buf_put(out, STR(" "));
        buf_put(out, extensions[i].name);
    }
}

/* [RFC9051 A] */
bool imap_has_utf8(const struct imap_session *s)
{
    return s->enabled & (IMAP_EN_UTF8 | IMAP_EN_REV2);
}

static size_t find(struct str name)
{
    size_t i = 0;
    while (i < N_EXTENSIONS && !(extensions[i].bits && str_ieq(name, extensions[i].name)))
        i++;
    return i;
}

/* What is unknown, or needs no ENABLE, is passed over [RFC5161 3.1] [RFC9051 6.3.1]. */
bool imap_take_enabling(struct imap_parse *p, uint64_t *out_rows)
{
    struct str name;
    *out_rows = 0;
    do {
        if (!imap_take_atom(p, &name))
            return false;
        size_t i = find(name);
        *out_rows |= i < N_EXTENSIONS ? UINT64_C(1) << i : 0;
    } while (imap_take_byte(p, ' '));
    return imap_take_end(p);
}

void imap_put_highest_modseq(const struct imap_session *s, struct buf *out)
{
    buf_put(out, STR("* OK [HIGHESTMODSEQ "));
    imap_put_u64(out, s->view.modseq);
    buf_put(out, STR("] all is told up to here\r\n"));
}

void imap_enable_condstore(struct conn *c, struct imap_session *s)
{
    if (s->enabled & IMAP_EN_CONDSTORE)
        return;
    s->enabled |= IMAP_EN_CONDSTORE;
    if (s->state == IMAP_SELECTED)
        imap_put_highest_modseq(s, net_out(c));
}

/* The answer names what this command has turned on, and nothing that was on before
 * [RFC5161 3.1, 3.2] [RFC9051 6.3.1]. */
enum net_step imap_enable(struct conn *c, struct imap_session *s, struct imap_parse *p)
{
    uint64_t rows;
    unsigned before = s->enabled;
    struct buf *out = net_out(c);
    if (!imap_take_enabling(p, &rows))
        return imap_finish_syntax(c, s, p);
    buf_put(out, STR("* ENABLED"));
    for (size_t i = 0; i < N_EXTENSIONS; i++) {
        unsigned bits = extensions[i].bits;
        if (!(rows >> i & 1) || (before & bits) == bits || is_withheld(s, &extensions[i]))
            continue;
        s->enabled |= bits;
        buf_put(out, STR(" "));
        buf_put(out, extensions[i].name);
    }
    buf_put(out, STR("\r\n"));
    return imap_finish(c, s, IMAP_DONE);
}
