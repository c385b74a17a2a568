/* Fuzz target: SASL exchanges. The mechanism's name up to the first LF, then responses, each behind
 * a byte that is its length (255: absent). Aborts when a name or a password comes out that breaks
 * what auth.h promises of it, when an exchange goes on after its end, or when it takes more steps
 * than any mechanism has. */
#include "auth/login_int.h"
#include "base/utf8.h"
#include "fuzz/fuzz.h"

enum { ABSENT = 255, STEPS_MAX = 4 };

static struct str next_response(struct str *in)
{
    if (!in->n)
        return (struct str){0};
    size_t n = (unsigned char)in->p[0];
    struct str response = n == ABSENT ? (struct str){0} : str_sub(*in, 1, n);
    *in = str_skip(*in, 1 + response.n);
    return response;
}

static void demand_text(struct str s, size_t max)
{
    FUZZ_DEMAND(s.n > 0 && s.n <= max);
    FUZZ_DEMAND(utf8_is_valid(s) && str_find_byte(s, '\0') < 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct auth_channel channel = {AUTH_IN_TLS};
    struct str in = str_from(data, size), mechanism;
    struct buf challenge = {.cap = AUTH_CHALLENGE_MAX};
    struct sasl s;
    if (!str_cut(&in, '\n', &mechanism) || str_is_null(in))
        return 0;
    if (sasl_begin(&s, mechanism, &channel) == RC_OK) {
        enum sasl_next next = SASL_ASK;
        int answers = 0;
        while (next == SASL_ASK && in.n) {
            struct str response = next_response(&in);
            answers += !str_is_null(response);
            FUZZ_DEMAND(answers <= STEPS_MAX);
            buf_clear(&challenge);
            next = sasl_step(&s, response, &challenge);
            FUZZ_DEMAND(next == SASL_ASK || buf_len(&challenge) == 0);
        }
        if (next == SASL_PASSWORD) {
            demand_text(s.name, AUTH_SASL_NAME_MAX);
            demand_text(s.password, AUTH_PASSWORD_MAX);
        }
        if (next != SASL_ASK)
            FUZZ_DEMAND(sasl_step(&s, STR("x"), &challenge) == SASL_REFUSED);
    }
    sasl_fini(&s);
    buf_fini(&challenge);
    return 0;
}
