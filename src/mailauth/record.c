/* DKIM key records in DNS [RFC6376 3.6.1] [RFC8463 4]. */
#include "mailauth/mailauth_int.h"

#include "base/base64.h"

enum { ED25519_KEY = 32, TAGS_MAX = 32 };

enum rc mailauth_record_write(enum crypto_algorithm algorithm, struct str public_key,
                              struct buf *out)
{
    size_t before = buf_len(out);
    enum rc rc =
        buf_printf(out, "v=DKIM1; k=%s; p=", algorithm == CRYPTO_ED25519 ? "ed25519" : "rsa");
    if (rc == RC_OK)
        rc = base64_encode(out, public_key);
    if (rc != RC_OK)
        buf_truncate(out, before);
    return rc;
}

/* --- reading ---------------------------------------------------------------------------------- */

/* Whether a list with colons between has one of two words. */
static bool has_word(struct str list, struct str one, struct str other)
{
    struct str word;
    while (str_cut(&list, ':', &word)) {
        word = str_trim(word);
        if (str_ieq(word, one) || str_ieq(word, other))
            return true;
    }
    return false;
}

static enum rc take_version(struct mailauth_record *r, struct str value)
{
    return str_eq(value, STR("DKIM1")) ? RC_OK : RC_SYNTAX;
}

static enum rc take_hashes(struct mailauth_record *r, struct str value)
{
    return has_word(value, STR("sha256"), STR("sha256")) ? RC_OK : RC_SYNTAX;
}

static enum rc take_kind(struct mailauth_record *r, struct str value)
{
    r->algorithm = str_ieq(value, STR("ed25519")) ? CRYPTO_ED25519 : CRYPTO_RSA_SHA256;
    return r->algorithm == CRYPTO_ED25519 || str_ieq(value, STR("rsa")) ? RC_OK : RC_SYNTAX;
}

static enum rc take_services(struct mailauth_record *r, struct str value)
{
    return has_word(value, STR("*"), STR("email")) ? RC_OK : RC_SYNTAX;
}

static enum rc take_flags(struct mailauth_record *r, struct str value)
{
    r->is_testing = has_word(value, STR("y"), STR("y"));
    r->is_strict = has_word(value, STR("s"), STR("s"));
    return RC_OK;
}

/* White space may stand anywhere in base 64 [RFC6376 3.2]. */
static enum rc take_key(struct mailauth_record *r, struct str value)
{
    struct buf text;
    buf_init(&text, MAILAUTH_RECORD_MAX);
    for (size_t i = 0; i < value.n; i++)
        if (value.p[i] != ' ' && value.p[i] != '\t' && value.p[i] != '\r' && value.p[i] != '\n')
            buf_put(&text, str_sub(value, i, 1));
    enum rc rc = base64_decode(&r->public_key, buf_str(&text));
    buf_fini(&text);
    return rc;
}

static const struct {
    char name;
    enum rc (*take)(struct mailauth_record *r, struct str value);
} tags[] = {{'v', take_version},  {'h', take_hashes}, {'k', take_kind},
            {'s', take_services}, {'t', take_flags},  {'p', take_key}};
enum { N_TAGS = sizeof tags / sizeof *tags, TAG_KEY = N_TAGS - 1 };

/* A tag twice, or v= elsewhere than first, is no record [RFC6376 3.2] [RFC6376 3.6.1]. */
static enum rc take_tag(struct mailauth_record *r, struct str name, struct str value,
                        unsigned *seen, size_t n)
{
    for (size_t i = 0; name.n == 1 && i < N_TAGS; i++) {
        if (name.p[0] != tags[i].name)
            continue;
        if (*seen & 1U << i || (i == 0 && n > 0))
            return RC_SYNTAX;
        *seen |= 1U << i;
        return tags[i].take(r, value);
    }
    return RC_OK; /* what is not known is left out of account */
}

enum rc mailauth_record_read(struct str text, struct mailauth_record *out)
{
    struct str name, value;
    unsigned seen = 0;
    enum rc rc = RC_OK;
    *out = (struct mailauth_record){.algorithm = CRYPTO_RSA_SHA256};
    buf_init(&out->public_key, MAILAUTH_RECORD_MAX);
    if (text.n > MAILAUTH_RECORD_MAX)
        return RC_LIMIT;
    for (size_t n = 0; rc == RC_OK && n <= TAGS_MAX; n++) {
        rc = mailauth_tag_next(&text, &name, &value);
        if (rc == RC_OK)
            rc = n < TAGS_MAX ? take_tag(out, name, value, &seen, n) : RC_LIMIT;
    }
    if (rc != RC_EOF)
        return rc;
    if (!(seen & 1U << TAG_KEY))
        return RC_SYNTAX;
    size_t n = buf_len(&out->public_key);
    return n && out->algorithm == CRYPTO_ED25519 && n != ED25519_KEY ? RC_SYNTAX : RC_OK;
}

void mailauth_record_fini(struct mailauth_record *record)
{
    buf_fini(&record->public_key);
}
