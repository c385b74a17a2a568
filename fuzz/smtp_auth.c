/* Fuzz target: the lines of AUTH. The first byte says how the input is cut; then comes what a
 * client sends behind "AUTH ", and its next lines. Aborts when an exchange depends on the cut, goes
 * on after its end or for longer than any mechanism does, or gives a name or password that breaks
 * what auth.h promises. */
#include "auth/login_int.h"
#include "base/utf8.h"
#include "fuzz/cut.h"
#include "smtpd/smtpd_int.h"

enum { STEPS_MAX = 4, NOTE_MAX = 64 << 10 };

struct exchange_run {
    struct sasl sasl;
    struct buf decoded, challenge, notes;
    unsigned steps;
    enum rc rc; /* RC_AGAIN: the exchange goes on */
};

static void demand_text(struct str s, size_t max)
{
    FUZZ_DEMAND(s.n > 0 && s.n <= max);
    FUZZ_DEMAND(utf8_is_valid(s) && str_find_byte(s, '\0') < 0);
}

static enum rc rc_of(const struct exchange_run *r, enum sasl_next next)
{
    if (next == SASL_REFUSED)
        return r->sasl.rc;
    if (next == SASL_RECORD || next == SASL_WRONG) /* sasl.c of this folder goes on from there */
        return RC_NOTFOUND;
    return next == SASL_ASK ? RC_AGAIN : RC_OK;
}

static enum rc begin(struct exchange_run *r, struct str line)
{
    const struct auth_channel channel = {.path = AUTH_IN_TLS};
    struct str mechanism, initial;
    smtp_line_split(line, &mechanism, &initial);
    TRY(sasl_begin(&r->sasl, mechanism, &channel, SASL_SCRAM));
    return rc_of(r, sasl_line(&r->sasl, initial, true, &r->decoded, &r->challenge));
}

static void take_line(struct exchange_run *r, enum rc read, struct str line)
{
    buf_clear(&r->challenge);
    if (read != RC_OK)
        r->rc = read;
    else if (r->steps == 0)
        r->rc = begin(r, line);
    else
        r->rc = rc_of(r, sasl_line(&r->sasl, line, false, &r->decoded, &r->challenge));
    FUZZ_DEMAND(++r->steps <= STEPS_MAX);
    buf_putf(&r->notes, "%d ", (int)r->rc);
    if (r->rc == RC_AGAIN)
        buf_put(&r->notes, buf_str(&r->challenge));
    if (r->rc != RC_OK)
        return;
    demand_text(r->sasl.name, AUTH_SASL_NAME_MAX);
    demand_text(r->sasl.password, AUTH_PASSWORD_MAX);
    buf_put(&r->notes, r->sasl.name);
    buf_put(&r->notes, r->sasl.password);
}

/* As net does, what is unread is offered again with what has come since. */
static void run(struct str in, size_t step, struct buf *out)
{
    struct exchange_run r = {.decoded.cap = SMTPD_AUTH_LINE,
                             .challenge.cap = AUTH_CHALLENGE_MAX,
                             .notes.cap = NOTE_MAX,
                             .rc = RC_AGAIN};
    struct smtp_lines lines = {.max = SMTPD_AUTH_LINE};
    size_t at = 0, here = 0;
    while (here < in.n && r.rc == RC_AGAIN) {
        here = in.n - here < step ? in.n : here + step;
        struct str unread = str_sub(in, at, here - at), line;
        enum rc read;
        while (r.rc == RC_AGAIN && (read = smtp_line_next(&lines, &unread, &line)) != RC_AGAIN)
            take_line(&r, read, line);
        at = here - unread.n;
    }
    buf_put(out, buf_str(&r.notes));
    sasl_fini(&r.sasl);
    buf_fini(&r.decoded);
    buf_fini(&r.challenge);
    buf_fini(&r.notes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_cut(data, size, NOTE_MAX, run);
    return 0;
}
