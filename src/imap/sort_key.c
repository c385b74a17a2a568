/* What a SORT is asked to sort by [RFC5256 3, 5], and keys: one string of bytes a message, so that
 * comparing two of them is comparing memory. Pure. */
#include "imap/sort_int.h"

#include "base/clock.h"

#include <string.h>

/* --- the list --------------------------------------------------------------------------------- */

static const struct {
    struct str name;
    unsigned field;
} criteria[IMAP_SORT_CRITERIA] = {
    {STR_INIT("ARRIVAL"), IMAP_SORT_ARRIVAL},
    {STR_INIT("CC"), IMAP_SORT_CC},
    {STR_INIT("DATE"), IMAP_SORT_DATE},
    {STR_INIT("FROM"), IMAP_SORT_FROM},
    {STR_INIT("RELEVANCY"), IMAP_SORT_RELEVANCY}, /* [RFC6203 6] */
    {STR_INIT("SIZE"), IMAP_SORT_SIZE},
    {STR_INIT("SUBJECT"), IMAP_SORT_SUBJECT},
    {STR_INIT("TO"), IMAP_SORT_TO},
    {STR_INIT("DISPLAYFROM"), IMAP_SORT_DISPLAYFROM}, /* [RFC5957 4] */
    {STR_INIT("DISPLAYTO"), IMAP_SORT_DISPLAYTO},
};

/* What is equal by a criterion is equal by it the second time. */
static void add_criterion(struct imap_sort_order *out, unsigned field, bool is_reverse)
{
    for (size_t i = 0; i < out->n; i++)
        if (out->criteria[i].field == field)
            return;
    out->criteria[out->n++] = (struct imap_sort_criterion){field, is_reverse};
    if (field < IMAP_SORT_END)
        out->fields |= 1u << (field - IMAP_SEARCH_FIELDS);
    out->has_relevancy = out->has_relevancy || field == IMAP_SORT_RELEVANCY;
}

static bool take_criterion(struct imap_parse *p, struct imap_sort_order *out)
{
    bool is_reverse = imap_take_word(p, STR("REVERSE"));
    if (is_reverse && !imap_take_sp(p))
        return false;
    for (size_t i = 0; i < IMAP_SORT_CRITERIA; i++) {
        if (!imap_take_word(p, criteria[i].name))
            continue;
        add_criterion(out, criteria[i].field, is_reverse);
        return true;
    }
    return imap_fail(p, "a sort criterion");
}

bool imap_take_sort_order(struct imap_parse *p, struct imap_sort_order *out)
{
    *out = (struct imap_sort_order){0};
    if (!imap_take_byte(p, '('))
        return imap_fail(p, "a list of sort criteria");
    do
        if (!take_criterion(p, out))
            return false;
    while (imap_take_byte(p, ' '));
    return imap_take_byte(p, ')') ? imap_take_sp(p) : imap_fail(p, "the end of the list");
}

/* --- keys ------------------------------------------------------------------------------------- */

uint64_t imap_sort_date(const struct store_row *row, struct str value)
{
    uint64_t time;
    if (value.n != sizeof time) /* [RFC5256 2.2] */
        return imap_sort_time((int64_t)(row->received / NS_PER_SEC));
    memcpy(&time, value.p, sizeof time);
    return time;
}

static void put_byte(struct buf *out, unsigned char byte)
{
    buf_put(out, str_from(&byte, 1));
}

static void put_number(struct buf *out, uint64_t n, unsigned bytes, bool is_reverse)
{
    n = is_reverse ? ~n : n;
    while (bytes--)
        put_byte(out, (unsigned char)(n >> bytes * 8));
}

/* What is shorter comes first: 0 and 0 end it, and a 0 within is 0 and 255. */
static void put_text(struct buf *out, struct str text, bool is_reverse)
{
    unsigned char turn = is_reverse ? 0xff : 0;
    for (size_t i = 0; i < text.n; i++) {
        put_byte(out, (unsigned char)text.p[i] ^ turn);
        if (!text.p[i])
            put_byte(out, 0xff ^ turn);
    }
    put_byte(out, turn);
    put_byte(out, turn);
}

static void put_criterion(struct buf *out, const struct imap_sort_criterion *c,
                          const struct store_row *row, const struct str *values)
{
    if (c->field == IMAP_SORT_ARRIVAL) /* as INTERNALDATE is told */
        put_number(out, row->received / NS_PER_SEC, 8, c->is_reverse);
    else if (c->field == IMAP_SORT_SIZE)
        put_number(out, row->size, 8, c->is_reverse);
    else if (c->field == IMAP_SORT_DATE)
        put_number(out, imap_sort_date(row, values[c->field - IMAP_SEARCH_FIELDS]), 8,
                   c->is_reverse);
    else if (c->field < IMAP_SORT_END)
        put_text(out, values[c->field - IMAP_SEARCH_FIELDS], c->is_reverse);
}

void imap_sort_key(const struct imap_sort_order *order, const struct store_row *row,
                   const struct str *values, struct buf *out)
{
    for (size_t i = 0; i < order->n; i++)
        put_criterion(out, &order->criteria[i], row, values);
    put_number(out, row->uid, 4, false); /* [RFC5256 3] */
}
