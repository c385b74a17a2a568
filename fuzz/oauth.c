/* Fuzz target: the messages of OAUTHBEARER and XOAUTH2. Aborts when a token or a name came out that
 * could not be one. */
#include "auth/login_int.h"
#include "fuzz/fuzz.h"

static void take(struct str mechanism, struct str text)
{
    static const struct auth_channel channel = {.path = AUTH_IN_TLS};
    struct sasl s;
    struct buf challenge = {.cap = AUTH_CHALLENGE_MAX};
    FUZZ_DEMAND(sasl_begin(&s, mechanism, &channel, SASL_BEARER) == RC_OK);
    enum sasl_next next = sasl_step(&s, text, &challenge);
    FUZZ_DEMAND(next == SASL_TOKEN || next == SASL_REFUSED);
    FUZZ_DEMAND(!buf_len(&challenge));
    if (next == SASL_TOKEN) {
        FUZZ_DEMAND(s.token.n <= AUTH_TOKEN_MAX);
        for (size_t i = 0; i < s.token.n; i++)
            FUZZ_DEMAND(s.token.p[i] > ' ' && s.token.p[i] <= '~' && s.token.p[i] != ',');
        FUZZ_DEMAND(!s.token.n || str_find(text, s.token) >= 0);
        FUZZ_DEMAND(!s.name.n || sasl_check_text(s.name, AUTH_SASL_NAME_MAX) == RC_OK);
    } else {
        FUZZ_DEMAND(s.rc == RC_SYNTAX || s.rc == RC_LIMIT);
    }
    sasl_fini(&s);
    buf_fini(&challenge);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = size ? str_from(data, size) : STR("");
    take(STR("OAUTHBEARER"), text);
    take(STR("XOAUTH2"), text);
    return 0;
}
