/* Fuzz target: what a DKIM signature covers. The input is a message; aborts when the signature
 * depends on how it was cut, has lines that are too long or is not as a field is. */
#include "base/list.h"
#include "fuzz/fuzz.h"
#include "mailauth/mailauth.h"

#include <string.h>

struct fuzz_source {
    struct mailauth_source source;
    struct str rest;
    size_t step;
};

static enum rc next(struct mailauth_source *source, struct str *out)
{
    struct fuzz_source *s = CONTAINER(source, struct fuzz_source, source);
    *out = str_head(s->rest, s->step);
    s->rest = str_skip(s->rest, s->step);
    return out->n ? RC_OK : RC_EOF;
}

static enum rc find(struct mailauth_keys *keys, struct str domain, struct arena *arena,
                    struct mailauth_key *out, size_t *out_n)
{
    out[0] = (struct mailauth_key){
        .domain = STR("example.org"), .selector = STR("s"), .algorithm = CRYPTO_ED25519};
    *out_n = 1;
    return RC_OK;
}

static enum rc sign(struct mailauth_hand *hand, const struct mailauth_key *key,
                    const unsigned char digest[CRYPTO_SHA256], unsigned char *out, size_t *n)
{
    memcpy(out, digest, CRYPTO_SHA256);
    *n = CRYPTO_SHA256;
    return RC_OK;
}

static enum rc run(struct str message, size_t step, struct buf *out)
{
    struct fuzz_source source = {{next}, message, step};
    struct mailauth_keys keys = {find};
    struct mailauth_hand hand = {sign};
    const struct mailauth_signing signing = {&source.source, &keys, &hand, 1};
    buf_init(out, 64 << 10);
    return mailauth_sign(&signing, out);
}

static void check_lines(struct str text)
{
    struct str line;
    FUZZ_DEMAND(str_starts(text, STR("DKIM-Signature: v=1;")) && str_ends(text, STR("\r\n")));
    for (bool is_first = true; str_cut(&text, '\n', &line) && !str_is_null(text); is_first = false)
        FUZZ_DEMAND(line.n < 80 && str_ends(line, STR("\r")) && (is_first || line.p[0] == '\t'));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str in = str_from(data, size);
    struct buf whole, cut;
    enum rc rc = run(in, size + 1, &whole);
    FUZZ_DEMAND(rc == RC_OK || rc == RC_SYNTAX || rc == RC_LIMIT);
    FUZZ_DEMAND(run(in, size ? data[size / 2] % 13 + 1 : 1, &cut) == rc);
    FUZZ_DEMAND(str_eq(buf_str(&whole), buf_str(&cut)));
    if (rc == RC_OK)
        check_lines(buf_str(&whole));
    buf_fini(&whole);
    buf_fini(&cut);
    return 0;
}
