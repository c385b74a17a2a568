/* Fuzz target: SASL exchanges. The mechanism's name up to the first LF, then responses, each behind
 * a byte that is its length (255: absent). Aborts when a name or a password comes out that breaks
 * what auth.h promises of it, when an exchange goes on after its end, or when it takes more steps
 * than any mechanism has; and when SCRAM says something else of a name that may log in than of one
 * that may not, but for the answer to a right proof. What is right in the corpus is of the password
 * "pencil" with our nonce "server". */
#include "auth/login_int.h"
#include "base/utf8.h"
#include "fuzz/fuzz.h"

#include <string.h>

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

static void make_record(const struct sasl *s, bool is_usable, struct sasl_record *out)
{
    *out = (struct sasl_record){
        .is_usable = is_usable, .iterations = 4096, .salt = STR("0123456789abcdef")};
    static struct scram_keys keys[CRYPTO_SHA_256 + 1];
    static bool has[CRYPTO_SHA_256 + 1];
    if (!has[s->hash])
        FUZZ_DEMAND(auth_scram_keys(s->hash, STR("pencil"), out->salt, out->iterations,
                                    &keys[s->hash]) == RC_OK);
    has[s->hash] = true;
    for (size_t i = 0; i < SCRAM_FORMS; i++)
        out->keys[i] = keys[s->hash];
}

static void demand_end(struct sasl *s, enum sasl_next next, struct buf *challenge)
{
    if (next == SASL_PASSWORD) {
        demand_text(s->name, AUTH_SASL_NAME_MAX);
        demand_text(s->password, AUTH_PASSWORD_MAX);
    }
    if (next == SASL_WRONG || next == SASL_PROVEN)
        demand_text(s->name, AUTH_SASL_NAME_MAX);
    FUZZ_DEMAND(s->n_client_key == 0 || next == SASL_PROVEN || next == SASL_ASK ||
                next == SASL_REFUSED);
    if (next != SASL_ASK)
        FUZZ_DEMAND(sasl_step(s, STR("x"), challenge) == SASL_REFUSED);
}

/* All that was said; *out_is_right: a proof was. */
static void run(struct str mechanism, struct str in, bool is_usable, struct buf *said,
                bool *out_is_right)
{
    const struct auth_channel channel = {.path = AUTH_IN_TLS, .binding = "tls-exporter"};
    struct buf challenge = {.cap = AUTH_CHALLENGE_MAX};
    struct sasl s;
    *out_is_right = false;
    if (sasl_begin(&s, mechanism, &channel, SASL_SCRAM) == RC_OK) {
        enum sasl_next next = SASL_ASK;
        int answers = 0;
        memcpy(s.scram.nonce, "server", s.scram.n_own = 6);
        s.binding = (struct net_binding){.type = "tls-exporter", .bytes = "0123", .n = 4};
        while (next == SASL_ASK && in.n) {
            struct str response = next_response(&in);
            struct sasl_record record;
            answers += !str_is_null(response);
            FUZZ_DEMAND(answers <= STEPS_MAX);
            buf_clear(&challenge);
            next = sasl_step(&s, response, &challenge);
            make_record(&s, is_usable, &record);
            if (next == SASL_RECORD)
                next = sasl_record(&s, &record, &challenge);
            FUZZ_DEMAND(next == SASL_ASK || buf_len(&challenge) == 0);
            *out_is_right |= s.n_client_key > 0;
            buf_putf(said, "%d %.*s\n", (int)next, STR_ARG(buf_str(&challenge)));
        }
        demand_end(&s, next, &challenge);
    }
    sasl_fini(&s);
    buf_fini(&challenge);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str in = str_from(data, size), mechanism;
    struct buf known = {.cap = 8 << 10}, unknown = {.cap = 8 << 10};
    bool is_right, is_right_for_nobody;
    if (!str_cut(&in, '\n', &mechanism) || str_is_null(in))
        return 0;
    run(mechanism, in, true, &known, &is_right);
    run(mechanism, in, false, &unknown, &is_right_for_nobody);
    FUZZ_DEMAND(!is_right_for_nobody);
    FUZZ_DEMAND(is_right || str_eq(buf_str(&known), buf_str(&unknown)));
    buf_fini(&known);
    buf_fini(&unknown);
    return 0;
}
