/* The lines of an exchange of AUTH as pure functions: their base 64, what is an initial response,
 * what ends the exchange [RFC4954 4]. No I/O, no session. */
#include "smtpd/smtpd_int.h"

#include "base/base64.h"

static enum rc decode(struct str text, struct buf *decoded, struct str *out)
{
    buf_clear(decoded);
    if (base64_decode(decoded, text) != RC_OK)
        return RC_CORRUPT;
    *out = buf_len(decoded) ? buf_str(decoded) : STR(""); /* empty, and there */
    return RC_OK;
}

enum rc smtpd_auth_initial(struct auth_sasl *sasl, struct str text, struct buf *decoded,
                           struct buf *challenge)
{
    struct str response = {0};
    if (str_eq(text, STR("="))) /* one that is there, and empty [RFC4954 4] */
        response = STR("");
    else if (text.n > 0)
        TRY(decode(text, decoded, &response));
    return auth_sasl_step(sasl, response, challenge);
}

enum rc smtpd_auth_response(struct auth_sasl *sasl, struct str line, struct buf *decoded,
                            struct buf *challenge)
{
    struct str response;
    if (str_eq(line, STR("*")))
        return RC_EOF;
    TRY(decode(line, decoded, &response));
    return auth_sasl_step(sasl, response, challenge);
}
