/* SCRAM [RFC5802] [RFC7677] behind a GS2 header [RFC5801 4], as pure steps: what the messages are,
 * what may stand in them, and whether a proof is right. The record of the name comes from the
 * driver, twice: for its salt, and again when the proof has come, so that what has changed in
 * between counts.
 *
 * Invariants: nothing derives keys from a password here, a proof costs three HMACs for each of two
 * forms, whatever the record is; a proof that is right for a record that may not be used is wrong.
 * What the client could have been talked out of (channel binding) is compared before the proof. The
 * client's key leaves only in s->client_key.
 */
#include "auth/login_int.h"

#include "base/base64.h"

#include <string.h>

enum { FIRST, FINAL, END }; /* what the client's next message is */

/* "a=..." */
static bool take_attribute(struct str part, char name, struct str *out)
{
    *out = str_skip(part, 2);
    return part.n >= 2 && part.p[0] == name && part.p[1] == '=';
}

/* [RFC5802 5.1]: "," and "=" are "=2C" and "=3D". */
static enum rc take_saslname(struct str text, char out[AUTH_SASL_NAME_MAX], struct str *out_name)
{
    size_t n = 0;
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        if (c == '=') {
            bool is_comma = str_starts(str_skip(text, i), STR("=2C"));
            if (!is_comma && !str_starts(str_skip(text, i), STR("=3D")))
                return RC_SYNTAX;
            c = is_comma ? ',' : '=';
            i += 2;
        }
        if (n == AUTH_SASL_NAME_MAX)
            return RC_LIMIT;
        out[n++] = c;
    }
    *out_name = str_from(out, n);
    return sasl_check_text(*out_name, AUTH_SASL_NAME_MAX);
}

/* %x21-2B / %x2D-7E [RFC5802 7]; commas have been cut at. */
static enum rc check_nonce(struct str nonce)
{
    for (size_t i = 0; i < nonce.n; i++)
        if (nonce.p[i] < 0x21 || nonce.p[i] > 0x7e)
            return RC_SYNTAX;
    return !nonce.n ? RC_SYNTAX : nonce.n <= SCRAM_NONCE_MAX ? RC_OK : RC_LIMIT;
}

/* Attributes that are not known are passed over; none is "m", which is to be understood
 * [RFC5802 5.1]. */
static enum rc check_extensions(struct str rest)
{
    struct str part;
    while (!str_is_null(rest) && str_cut(&rest, ',', &part)) {
        bool is_letter = part.n && ((part.p[0] | 0x20) >= 'a' && (part.p[0] | 0x20) <= 'z');
        if (part.n < 3 || !is_letter || part.p[1] != '=' || part.p[0] == 'm')
            return RC_SYNTAX;
    }
    return RC_OK;
}

static enum rc add(struct scram *x, struct str text)
{
    if (text.n > sizeof x->message - x->n_message)
        return RC_LIMIT;
    memcpy(x->message + x->n_message, text.p, text.n);
    x->n_message += text.n;
    return RC_OK;
}

/* --- client-first-message --------------------------------------------------------------------- */

/* What the client thinks of channel binding [RFC5801 4] [RFC5802 6]. *out_error: that we think
 * otherwise. */
static enum rc check_flag(const struct sasl *s, struct str flag, const char **out_error)
{
    struct str type;
    bool is_named = take_attribute(flag, 'p', &type);
    if (!is_named && !str_eq(flag, STR("n")) && !str_eq(flag, STR("y")))
        return RC_SYNTAX;
    if (s->is_bound && !is_named)
        return RC_SYNTAX;
    if (!s->is_bound && is_named)
        *out_error = "channel-binding-not-supported";
    else if (is_named && !str_eq(type, str_of(s->binding.type)))
        *out_error = "unsupported-channel-binding-type";
    else if (str_eq(flag, STR("y")) && s->can_bind) /* somebody has hidden it */
        *out_error = "server-does-support-channel-binding";
    return RC_OK;
}

static enum rc take_first(struct sasl *s, struct str message)
{
    struct scram *x = &s->scram;
    struct str rest = message, flag, authorization, part, value;
    char other[AUTH_SASL_NAME_MAX];
    TRY(sasl_check_text(message, AUTH_SASL_RESPONSE_MAX));
    if (!str_cut(&rest, ',', &flag) || !str_cut(&rest, ',', &authorization) || str_is_null(rest))
        return RC_SYNTAX;
    struct str header = str_head(message, message.n - rest.n), bare = rest;
    if (header.n > sizeof x->header)
        return RC_LIMIT;
    memcpy(x->header, header.p, header.n);
    x->n_header = header.n;
    if (!str_cut(&rest, ',', &part) || !take_attribute(part, 'n', &value))
        return RC_SYNTAX;
    TRY(take_saslname(value, s->text, &s->name));
    if (!str_cut(&rest, ',', &part) || !take_attribute(part, 'r', &value))
        return RC_SYNTAX;
    TRY(check_nonce(value));
    TRY(check_extensions(rest));
    TRY(check_flag(s, flag, &s->error));
    TRY(add(x, bare));
    TRY(add(x, STR(",r=")));
    x->nonce_at = x->n_message;
    TRY(add(x, value));
    if (!authorization.n)
        return RC_OK;
    if (!take_attribute(authorization, 'a', &value))
        return RC_SYNTAX;
    if (!value.n) /* of no RFC; what GNU SASL sends when it is told that there is none */
        return RC_OK;
    TRY(take_saslname(value, other, &part));
    return str_ieq(part, s->name) ? RC_OK : RC_DENIED;
}

/* --- server-first-message --------------------------------------------------------------------- */

static enum rc put_first(struct sasl *s, const struct sasl_record *record, struct buf *challenge)
{
    struct scram *x = &s->scram;
    struct buf text = {.cap = 128};
    size_t from = x->nonce_at - 2;
    TRY(add(x, str_from(x->nonce, x->n_own)));
    x->n_nonce = x->n_message - x->nonce_at;
    buf_put(&text, STR(",s="));
    enum rc rc = base64_encode(&text, record->salt);
    buf_putf(&text, ",i=%u", record->iterations);
    if (rc == RC_OK)
        rc = add(x, buf_str(&text));
    buf_fini(&text);
    TRY(rc);
    return buf_add(challenge, str_from(x->message + from, x->n_message - from));
}

/* --- client-final-message --------------------------------------------------------------------- */

/* c=: the header again, and behind it the data of the binding. */
static bool is_same_binding(const struct sasl *s, struct str decoded)
{
    struct str header = str_from(s->scram.header, s->scram.n_header);
    struct str data = str_from(s->binding.bytes, s->is_bound ? s->binding.n : 0);
    return str_starts(decoded, header) && str_eq(str_skip(decoded, header.n), data);
}

static enum rc check_binding(struct sasl *s, struct str text)
{
    struct buf decoded = {.cap = AUTH_SASL_RESPONSE_MAX};
    enum rc rc = base64_decode(&decoded, text);
    if (rc == RC_OK && !is_same_binding(s, buf_str(&decoded)))
        s->error = "channel-bindings-dont-match";
    buf_fini(&decoded);
    return rc;
}

static enum rc take_proof(struct sasl *s, struct str text)
{
    struct buf decoded = {.cap = 2 * CRYPTO_HASH_MAX};
    enum rc rc = base64_decode(&decoded, text);
    if (rc == RC_OK && buf_len(&decoded) != crypto_hash_size(s->hash))
        rc = RC_SYNTAX;
    if (rc == RC_OK)
        memcpy(s->scram.proof, buf_str(&decoded).p, buf_len(&decoded));
    buf_fini(&decoded);
    return rc;
}

static enum rc take_final(struct sasl *s, struct str message)
{
    struct scram *x = &s->scram;
    struct str rest = message, binding, nonce, proof = {0};
    TRY(sasl_check_text(message, AUTH_SASL_RESPONSE_MAX));
    size_t at = message.n;
    while (at && message.p[at - 1] != ',')
        at--;
    if (!at || !take_attribute(str_skip(message, at), 'p', &proof))
        return RC_SYNTAX;
    rest = str_head(message, at - 1);
    struct str without_proof = rest;
    if (!str_cut(&rest, ',', &binding) || !take_attribute(binding, 'c', &binding) ||
        !str_cut(&rest, ',', &nonce) || !take_attribute(nonce, 'r', &nonce))
        return RC_SYNTAX;
    TRY(check_extensions(rest));
    if (!str_eq(nonce, str_from(x->message + x->nonce_at, x->n_nonce)))
        return RC_SYNTAX;
    TRY(take_proof(s, proof));
    TRY(check_binding(s, binding));
    TRY(add(x, STR(",")));
    return add(x, without_proof);
}

/* --- the proof -------------------------------------------------------------------------------- */

/* [RFC5802 3]. False: it is not that of these keys. */
static bool is_proof_of(const struct sasl *s, const struct scram_keys *keys,
                        unsigned char client_key[CRYPTO_HASH_MAX],
                        unsigned char server_signature[CRYPTO_HASH_MAX])
{
    const struct scram *x = &s->scram;
    unsigned char signature[CRYPTO_HASH_MAX], stored[CRYPTO_HASH_MAX];
    size_t n = crypto_hash_size(s->hash);
    struct str message = str_from(x->message, x->n_message);
    enum rc rc = crypto_hmac(s->hash, str_from(keys->stored, n), message, signature);
    for (size_t i = 0; i < n; i++)
        client_key[i] = x->proof[i] ^ signature[i];
    if (rc == RC_OK)
        rc = crypto_digest(s->hash, str_from(client_key, n), stored);
    if (rc == RC_OK)
        rc = crypto_hmac(s->hash, str_from(keys->server, n), message, server_signature);
    return rc == RC_OK && crypto_is_equal(str_from(stored, n), str_from(keys->stored, n));
}

static enum sasl_next verify(struct sasl *s, const struct sasl_record *record,
                             struct buf *challenge)
{
    unsigned char client_key[CRYPTO_HASH_MAX] = {0}, signature[CRYPTO_HASH_MAX] = {0};
    struct buf text = {.cap = 2 * CRYPTO_HASH_MAX};
    bool is_right = false;
    for (unsigned i = 0; i < SCRAM_FORMS; i++) { /* all of them, for the time it takes */
        unsigned char key[CRYPTO_HASH_MAX], of_server[CRYPTO_HASH_MAX];
        if (!is_proof_of(s, &record->keys[i], key, of_server) || !record->is_usable)
            continue;
        is_right = true;
        memcpy(client_key, key, sizeof key);
        memcpy(signature, of_server, sizeof of_server);
    }
    if (!is_right)
        return SASL_WRONG;
    s->n_client_key = crypto_hash_size(s->hash);
    memcpy(s->client_key, client_key, s->n_client_key);
    crypto_wipe(client_key, sizeof client_key);
    enum rc rc = base64_encode(&text, str_from(signature, s->n_client_key));
    if (rc == RC_OK)
        rc = buf_add(challenge, STR("v="));
    if (rc == RC_OK)
        rc = buf_add(challenge, buf_str(&text));
    buf_fini(&text);
    s->scram.next = END;
    return rc == RC_OK ? SASL_ASK : sasl_refuse(s, rc);
}

/* --- steps ------------------------------------------------------------------------------------ */

enum sasl_next scram_step(struct sasl *s, struct str response, struct buf *challenge)
{
    if (str_is_null(response))
        return sasl_ask(s, STR(""), challenge);
    if (s->scram.next == END) /* v= has been taken note of [RFC4954 4] [RFC4422 5] */
        return response.n ? sasl_refuse(s, RC_SYNTAX) : SASL_PROVEN;
    enum rc rc = s->scram.next == FIRST ? take_first(s, response) : take_final(s, response);
    if (rc != RC_OK)
        return sasl_refuse(s, rc);
    return s->error ? SASL_WRONG : SASL_RECORD;
}

enum sasl_next scram_record(struct sasl *s, const struct sasl_record *record, struct buf *challenge)
{
    if (s->scram.next == FINAL)
        return verify(s, record, challenge);
    s->scram.next = FINAL;
    s->at++;
    enum rc rc = put_first(s, record, challenge);
    return rc == RC_OK ? SASL_ASK : sasl_refuse(s, rc);
}
