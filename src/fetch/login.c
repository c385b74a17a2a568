/* What is said to log in. */
#include "fetch/fetch_int.h"

#include "base/base64.h"

#include <string.h>

bool fetch_login_is_line(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (memchr("\r\n\0", s.p[i], 3))
            return false;
    return true;
}

enum rc fetch_login_plain(const struct fetch_place *place, struct buf *out)
{
    struct buf all = {.cap = 4096};
    buf_put(&all, str_from("", 1));
    buf_put(&all, place->login);
    buf_put(&all, str_from("", 1));
    buf_put(&all, place->password);
    enum rc rc = all.over ? RC_LIMIT : base64_encode(out, buf_str(&all));
    buf_wipe(&all);
    return rc;
}
