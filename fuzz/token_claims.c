/* Fuzz target: what an issuer writes - claims, the header of a token, keys, the discovery document
 * - each read from the same bytes. Aborts when claims were taken that cannot hold, or when an
 * address of keys could lead elsewhere than it says. */
#include "fuzz/fuzz.h"
#include "token/token_int.h"

enum { NOW = 1800000000 };

static void demand_claims(struct str text)
{
    static const struct str audience = STR_INIT("mail");
    const struct token_conf conf = {.issuer = STR("https://login.test"),
                                    .audiences = &audience,
                                    .n_audiences = 1,
                                    .claim = STR("email"),
                                    .leeway_s = 60};
    struct token_claims claims;
    const char *cause;
    enum rc rc = token_claims_read(text, &conf, NOW, &claims, &cause);
    FUZZ_DEMAND((rc == RC_OK) == !cause);
    if (rc != RC_OK)
        return;
    FUZZ_DEMAND(claims.address_n > 0 && claims.address_n <= TOKEN_ADDRESS_MAX);
    FUZZ_DEMAND(claims.expires > NOW);
    FUZZ_DEMAND(str_find(text, STR("login.test")) >= 0 || str_find_byte(text, '\\') >= 0);
}

static void demand_url(const struct url *url)
{
    FUZZ_DEMAND(url->host[0] && url->port);
    FUZZ_DEMAND(!url->is_plain || url->is_address);
    for (const char *p = url->text; *p; p++)
        FUZZ_DEMAND(*p > ' ' && *p <= '~' && *p != '@');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = str_from(data, size);
    struct jws_head head;
    struct keys *keys = NULL;
    struct url url;
    const char *cause;
    demand_claims(text);
    if (jws_head_read(text, 1U << TOKEN_ES256, &head, &cause) == RC_OK)
        FUZZ_DEMAND(head.algorithm == TOKEN_ES256);
    if (size <= TOKEN_KEYS_TEXT && keys_parse(text, &keys) == RC_OK) {
        FUZZ_DEMAND(keys_count(keys) > 0 && keys_count(keys) <= KEYS_MAX);
        keys_free(&keys);
    }
    if (discovery_read(text, STR("https://login.test"), &url) == RC_OK)
        demand_url(&url);
    if (url_parse(text, &url) == RC_OK)
        demand_url(&url);
    return 0;
}
