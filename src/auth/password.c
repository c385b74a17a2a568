/* What is stored of a password, and how one that comes is compared with it: Argon2id of its
 * SASLprep form, so that all spellings of it that clients send are one, and for SCRAM keys of its
 * forms [RFC5802 2.2, 3] (docs/decisions/0190-one-spelling-of-names-and-passwords.md). The salt of
 * these keys is made from the name by the store's secret: for a name that is not there it looks the
 * same, today and tomorrow.
 *
 * Never keeps a password: its forms are wiped before each function returns. */
#include "auth/auth_int.h"

#include "mime/precis.h"

#include <string.h>

/* Wipe it. */
static enum rc prepare(enum mime_form form, struct str password, struct buf *out)
{
    *out = (struct buf){.cap = AUTH_PASSWORD_MAX};
    return mime_prepare(form, password, AUTH_PASSWORD_MAX, out);
}

enum rc auth_password_hash(struct auth *auth, struct str password, char out[CRYPTO_PASSWORD_MAX])
{
    const struct auth_conf *conf = &auth->conf;
    struct buf form;
    counter_add(auth->ctx->counters, COUNTER_PASSWORD_HASHES, 1);
    enum rc rc = prepare(MIME_SASLPREP, password, &form);
    if (rc == RC_OK)
        rc = crypto_password_hash(buf_str(&form), conf->hash_ops, conf->hash_memory, out);
    buf_wipe(&form);
    return rc;
}

enum rc auth_password_verify(struct auth *auth, const struct credential *c, struct str password)
{
    struct buf form = {0};
    counter_add(auth->ctx->counters, COUNTER_PASSWORD_HASHES, 1);
    if (!c->is_prepared)
        return crypto_password_verify(c->hash, password);
    enum rc rc = prepare(MIME_SASLPREP, password, &form);
    if (rc == RC_OK)
        rc = crypto_password_verify(c->hash, buf_str(&form));
    buf_wipe(&form);
    return rc;
}

/* --- SCRAM ------------------------------------------------------------------------------------ */

enum rc auth_scram_salt(struct auth *auth, struct str name, unsigned flags,
                        unsigned char out[SCRAM_SALT])
{
    static const char what[] = "scram salt ";
    unsigned char secret[AUTH_SECRET], digest[CRYPTO_SHA256];
    char text[sizeof what + AUTH_ADDRESS_MAX];
    size_t n = name.n < AUTH_ADDRESS_MAX ? name.n : AUTH_ADDRESS_MAX;
    TRY(auth_secret(auth, flags, secret));
    memcpy(text, what, sizeof what);
    if (n)
        memcpy(text + sizeof what, name.p, n);
    crypto_hmac_sha256(str_from(secret, sizeof secret), str_from(text, sizeof what + n), digest);
    memcpy(out, digest, SCRAM_SALT);
    crypto_wipe(secret, sizeof secret);
    return RC_OK;
}

enum rc auth_scram_keys(enum crypto_hash hash, struct str form, struct str salt,
                        uint32_t iterations, struct scram_keys *out)
{
    unsigned char salted[CRYPTO_HASH_MAX], client[CRYPTO_HASH_MAX];
    size_t n = crypto_hash_size(hash);
    struct str key = str_from(salted, n);
    enum rc rc = crypto_pbkdf2(hash, form, salt, iterations, salted);
    if (rc == RC_OK)
        rc = crypto_hmac(hash, key, STR("Client Key"), client);
    if (rc == RC_OK)
        rc = crypto_digest(hash, str_from(client, n), out->stored);
    if (rc == RC_OK)
        rc = crypto_hmac(hash, key, STR("Server Key"), out->server);
    crypto_wipe(salted, sizeof salted);
    crypto_wipe(client, sizeof client);
    return rc;
}

static enum rc make_form(struct str form, struct scram_record *out)
{
    unsigned at = out->n_forms++;
    struct str salt = str_from(out->salt, SCRAM_SALT);
    for (unsigned hash = CRYPTO_SHA_1; hash <= SCRAM_HASHES; hash++)
        TRY(auth_scram_keys(hash, form, salt, out->iterations, &out->keys[hash - 1][at]));
    return RC_OK;
}

enum rc auth_scram_make(struct auth *auth, struct str name, struct str password,
                        struct scram_record *out)
{
    struct buf saslprep, opaque;
    *out = (struct scram_record){0};
    if (auth->conf.scram == AUTH_SCRAM_OFF)
        return RC_OK;
    out->iterations = auth->conf.scram_iterations;
    TRY(auth_scram_salt(auth, name, 0, out->salt));
    enum rc rc = prepare(MIME_SASLPREP, password, &saslprep);
    enum rc also = prepare(MIME_OPAQUE, password, &opaque);
    rc = rc == RC_OK ? also : rc;
    if (rc == RC_OK)
        rc = make_form(buf_str(&saslprep), out);
    if (rc == RC_OK && !str_eq(buf_str(&saslprep), buf_str(&opaque)))
        rc = make_form(buf_str(&opaque), out);
    buf_wipe(&saslprep);
    buf_wipe(&opaque);
    return rc;
}

bool auth_scram_wants(const struct auth *auth, const struct scram_record *has)
{
    return auth->conf.scram != AUTH_SCRAM_OFF && has->iterations != auth->conf.scram_iterations;
}
