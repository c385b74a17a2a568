/* BDAT: the argument of the command, and the octets that follow its line [RFC3030 2].
 *
 * The number alone says where a chunk ends; nothing in its octets does. So a number that cannot be
 * read leaves nobody who could say where the next command begins. */
#include "smtp/smtp.h"

enum rc smtp_chunk_parse(struct str args, struct smtp_chunk *out)
{
    struct str size, marker;
    smtp_line_split(args, &size, &marker);
    *out = (struct smtp_chunk){0};
    if (str_to_u64(size, &out->left) != RC_OK)
        return RC_LIMIT;
    out->is_last = str_ieq(marker, STR("LAST"));
    return out->is_last || marker.n == 0 ? RC_OK : RC_SYNTAX;
}

enum rc smtp_chunk_next(struct smtp_chunk *c, struct str *in, struct str *out_piece)
{
    if (c->left == 0)
        return RC_EOF;
    if (in->n == 0)
        return RC_AGAIN;
    *out_piece = str_head(*in, c->left < in->n ? (size_t)c->left : in->n);
    *in = str_skip(*in, out_piece->n);
    c->left -= out_piece->n;
    return RC_OK;
}
