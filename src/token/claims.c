/* What the JSON of an issuer says: the claims of a token whose signature is good [RFC7519 4.1], and
 * the discovery document. Pure.
 *
 * Numbers of seconds may have a fraction [RFC7519 2]; what is no number, negative or beyond any
 * calendar is a claim that does not hold. Members that come twice make the whole malformed
 * [RFC7519 4]. */
#include "token/token_int.h"

#include <jansson.h>
#include <string.h>

#define YEAR_10000 253402300800.0 /* in seconds */

static json_t *load(struct str text)
{
    return text.n ? json_loadb(text.p, text.n, JSON_REJECT_DUPLICATES, NULL) : NULL;
}

/* Absent: it is no string. */
static struct str string_of(const json_t *value)
{
    if (!json_is_string(value))
        return (struct str){0};
    return str_from(json_string_value(value), json_string_length(value));
}

static bool is_issuer(const json_t *claims, struct str issuer)
{
    struct str iss = string_of(json_object_get(claims, "iss"));
    return issuer.n && str_eq(iss, issuer);
}

static bool is_ours(struct str audience, const struct token_conf *conf)
{
    for (size_t i = 0; i < conf->n_audiences; i++)
        if (audience.n && str_eq(audience, conf->audiences[i]))
            return true;
    return false;
}

/* A string, or an array of them [RFC7519 4.1.3]. */
static bool is_for_us(const json_t *claims, const struct token_conf *conf)
{
    const json_t *aud = json_object_get(claims, "aud");
    for (size_t i = 0; i < json_array_size(aud); i++)
        if (is_ours(string_of(json_array_get(aud, i)), conf))
            return true;
    return is_ours(string_of(aud), conf);
}

static bool has_time(const json_t *claims, const char *name, double *out)
{
    const json_t *value = json_object_get(claims, name);
    *out = json_number_value(value);
    return json_is_number(value) && *out >= 0 && *out < YEAR_10000;
}

/* exp must be there, the others may [RFC7519 4.1.4] [RFC7519 4.1.5] [RFC7519 4.1.6]. */
static const char *fault_of_times(const json_t *claims, double now, double leeway, double *out_exp)
{
    double at;
    if (!has_time(claims, "exp", out_exp) || now >= *out_exp + leeway)
        return "expired";
    if (json_object_get(claims, "nbf") && (!has_time(claims, "nbf", &at) || now + leeway < at))
        return "not-yet-valid";
    if (json_object_get(claims, "iat") && (!has_time(claims, "iat", &at) || now + leeway < at))
        return "not-yet-valid";
    return NULL;
}

/* Whoever could put any address into an account at the issuer must not be taken for its owner. Some
 * issuers write the truth as a string. */
static bool is_verified(const json_t *claims, struct str claim)
{
    const json_t *verified = json_object_get(claims, "email_verified");
    return !str_eq(claim, STR("email")) || !verified || json_is_true(verified) ||
           str_eq(string_of(verified), STR("true"));
}

static const char *fault_of_address(const json_t *claims, struct str claim,
                                    struct token_claims *out)
{
    const json_t *value = json_object_getn(claims, claim.p, claim.n);
    struct str address = string_of(value);
    if (!address.n || address.n > TOKEN_ADDRESS_MAX || str_find_byte(address, '\0') >= 0)
        return "no-address";
    if (!is_verified(claims, claim))
        return "unverified-address";
    memcpy(out->address, address.p, address.n);
    out->address_n = address.n;
    return NULL;
}

static const char *fault_of(const json_t *claims, const struct token_conf *conf, uint64_t now,
                            struct token_claims *out)
{
    double expires;
    if (!json_is_object(claims))
        return "not-json";
    if (!is_issuer(claims, conf->issuer))
        return "issuer";
    if (!is_for_us(claims, conf))
        return "audience";
    const char *fault = fault_of_times(claims, (double)now, conf->leeway_s, &expires);
    if (!fault)
        fault = fault_of_address(claims, conf->claim, out);
    if (!fault)
        out->expires = (uint64_t)expires + conf->leeway_s;
    return fault;
}

enum rc token_claims_read(struct str json, const struct token_conf *conf, uint64_t now,
                          struct token_claims *out, const char **out_cause)
{
    json_t *claims = load(json);
    *out = (struct token_claims){.address_n = 0};
    *out_cause = fault_of(claims, conf, now, out);
    json_decref(claims);
    return *out_cause ? RC_DENIED : RC_OK;
}

enum rc discovery_read(struct str json, struct str issuer, struct url *out)
{
    json_t *document = load(json);
    enum rc rc = RC_SYNTAX;
    if (json_is_object(document))
        rc = str_eq(string_of(json_object_get(document, "issuer")), issuer) ? RC_OK : RC_DENIED;
    if (rc == RC_OK)
        rc = url_parse(string_of(json_object_get(document, "jwks_uri")), out);
    json_decref(document);
    return rc;
}
