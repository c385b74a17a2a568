/* COMPRESS [RFC4978]: what follows its answer is compressed, both ways, until the session or the
 * login ends. net does the work. */
#include "imap/imap_int.h"

/* The algorithm and the verb in any case of letters [RFC4978 5]. */
enum net_step imap_compress(struct conn *c, struct imap_session *s, struct imap_parse *p)
{
    if (!imap_take_word(p, STR("DEFLATE"))) {
        imap_fail(p, "DEFLATE");
        return imap_finish_syntax(c, s, p);
    }
    if (!imap_take_end(p))
        return imap_finish_syntax(c, s, p);
    if (net_is_compressed(c)) /* not turned on again [RFC4978 3] */
        return imap_finish(c, s, IMAP_COMPRESSED);
    if (!net_can_compress(c))
        return imap_finish(c, s, IMAP_LIMIT);
    imap_finish(c, s, IMAP_COMPRESS); /* tells no news, so it is whole */
    return NET_COMPRESS;
}
