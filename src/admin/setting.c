/* The values that options of accounts and domains take, from words and to words. */
#include "admin/admin_int.h"

#include "crypto/crypto.h"
#include "limit/limit.h"

#include <stdio.h>

uint64_t group_of(struct str domain)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325); /* FNV-1a: it is stored, so it never changes */
    for (size_t i = 0; i < domain.n; i++)
        hash = (hash ^ (unsigned char)ascii_lower(domain.p[i])) * UINT64_C(0x100000001b3);
    return hash ? hash : 1;
}

/* --- from words ------------------------------------------------------------------------------- */

static bool unexpected(struct admin_answer *a, const char *name, struct str value,
                       const char *expected)
{
    answer_fail(a, RC_SYNTAX, "%s %.*s: expected %s", name, STR_ARG(value), expected);
    return false;
}

static bool is_none(struct str value)
{
    return str_eq(value, STR("none")) || str_eq(value, STR("0"));
}

static bool take_limit(struct str value, struct setting *s, unsigned which, uint64_t *limit)
{
    s->has_quota |= which;
    s->quota.inherited &= ~which;
    *limit = 0;
    if (!s->is_domain && str_eq(value, STR("default"))) {
        s->quota.inherited |= which;
        return true;
    }
    return is_none(value) || parse_size(value, limit);
}

static bool take_quota(struct str value, struct setting *s, struct admin_answer *a)
{
    return take_limit(value, s, STORE_QUOTA_BYTES, &s->quota.bytes) ||
           unexpected(a, "--quota", value,
                      s->is_domain ? "a size such as 2G, or none"
                                   : "a size such as 2G, none, or default (the domain's)");
}

static bool take_messages(struct str value, struct setting *s, struct admin_answer *a)
{
    return take_limit(value, s, STORE_QUOTA_MESSAGES, &s->quota.messages) ||
           unexpected(a, "--quota-messages", value,
                      s->is_domain ? "a number, or none"
                                   : "a number, none, or default (the domain's)");
}

static bool take_pop3(struct str value, struct setting *s, struct admin_answer *a)
{
    static const struct {
        const char *word;
        enum auth_pop3_delete how;
    } words[] = {{"client", AUTH_POP3_CLIENT},
                 {"once-collected", AUTH_POP3_COLLECTED},
                 {"default", AUTH_POP3_UNSET}};
    uint64_t days;
    s->what |= AUTH_SET_POP3;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (!str_eq(value, str_of(words[i].word)))
            continue;
        s->settings = (struct auth_settings){words[i].how, 0};
        return true;
    }
    if (str_to_u64(value, &days) != RC_OK || days < 1 || days > 36500)
        return unexpected(a, "--pop3-delete", value,
                          "client, once-collected, a number of days, or default");
    s->settings = (struct auth_settings){AUTH_POP3_DAYS, (uint32_t)days};
    return true;
}

static bool take_yes(struct str value, const char *name, bool *out, struct admin_answer *a)
{
    *out = str_eq(value, STR("yes"));
    return *out || str_eq(value, STR("no")) || unexpected(a, name, value, "yes or no");
}

static bool take_enabled(struct str value, struct setting *s, struct admin_answer *a)
{
    s->what |= AUTH_SET_ENABLED;
    return take_yes(value, "--enabled", &s->is_enabled, a);
}

static bool take_suspended(struct str value, struct setting *s, struct admin_answer *a)
{
    s->what |= AUTH_SET_SUSPENDED;
    return take_yes(value, "--suspended", &s->is_suspended, a);
}

static bool take_reason(struct str value, struct setting *s, struct admin_answer *a)
{
    s->what |= AUTH_SET_REASON;
    s->reason = value;
    return true;
}

static bool take_catch_all(struct str value, struct setting *s, struct admin_answer *a)
{
    s->what |= AUTH_SET_CATCH_ALL;
    s->catch_all = str_eq(value, STR("none")) ? STR("") : value;
    return true;
}

static bool take_delimiter(struct str value, struct setting *s, struct admin_answer *a)
{
    s->what |= AUTH_SET_DELIMITER;
    s->delimiter = value.n == 1 ? value.p[0] : '\0';
    return value.n == 1 || str_eq(value, STR("none")) ||
           unexpected(a, "--delimiter", value, "one character, or none");
}

static bool take_limits(struct str value, const char *name, struct auth_limits *out,
                        struct admin_answer *a)
{
    struct limit_rates rates = {{0}};
    *out = (struct auth_limits){.is_set = !str_eq(value, STR("default"))};
    bool is_good = !out->is_set || limit_rates_parse(value, &rates) == RC_OK;
    for (size_t i = 0; i < AUTH_LIMITS; i++)
        out->most[i] = rates.most[i];
    return is_good || unexpected(a, name, value,
                                 "messages and recipients in an hour or a day, such as "
                                 "100/h,500/d,300r/h,2000r/d, or none, or default");
}

static bool take_send_limit(struct str value, struct setting *s, struct admin_answer *a)
{
    s->what |= AUTH_SET_LIMITS;
    return take_limits(value, "--send-limit", &s->limits, a);
}

static bool take_send_limit_all(struct str value, struct setting *s, struct admin_answer *a)
{
    s->what |= AUTH_SET_ALL_LIMITS;
    return take_limits(value, "--send-limit-all", &s->all_limits, a);
}

static const struct {
    const char *word;
    unsigned signing;
} signings[] = {{"both", AUTH_SIGNING_ALL},
                {"rsa", 1U << CRYPTO_RSA_SHA256},
                {"ed25519", 1U << CRYPTO_ED25519},
                {"none", 0}};

static bool take_dkim(struct str value, struct setting *s, struct admin_answer *a)
{
    s->what |= AUTH_SET_SIGNING;
    for (size_t i = 0; i < sizeof signings / sizeof *signings; i++) {
        s->signing = signings[i].signing;
        if (str_eq(value, str_of(signings[i].word)))
            return true;
    }
    return unexpected(a, "--dkim", value, "both, rsa, ed25519 or none");
}

static bool take_id(struct str value, struct setting *s, struct admin_answer *a)
{
    return (str_to_u64(value, &s->id) == RC_OK && s->id) ||
           unexpected(a, "--id", value, "the id of an account; see penfold account list --removed");
}

static const struct {
    const char *name;
    bool (*take)(struct str value, struct setting *s, struct admin_answer *a);
} options[] = {
    {"--quota", take_quota},
    {"--quota-messages", take_messages},
    {"--pop3-delete", take_pop3},
    {"--enabled", take_enabled},
    {"--suspended", take_suspended},
    {"--reason", take_reason},
    {"--catch-all", take_catch_all},
    {"--delimiter", take_delimiter},
    {"--dkim", take_dkim},
    {"--id", take_id},
    {"--send-limit", take_send_limit},
    {"--send-limit-all", take_send_limit_all},
};

static bool take(struct str name, struct str value, struct setting *s, struct admin_answer *a)
{
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        if (str_eq(name, str_of(options[i].name)))
            return options[i].take(value, s, a);
    return true;
}

bool read_settings(const struct admin_call *c, bool is_domain, struct setting *out,
                   struct admin_answer *a)
{
    *out = (struct setting){.is_domain = is_domain};
    out->quota.inherited = is_domain ? 0 : STORE_QUOTA_BYTES | STORE_QUOTA_MESSAGES;
    for (size_t i = 0; i < ADMIN_OPTIONS && c->command->options[i]; i++)
        if (!str_is_null(c->options[i]) &&
            !take(str_of(c->command->options[i]), c->options[i], out, a))
            return false;
    return true;
}

void merge_quota(const struct setting *s, struct store_quota *quota)
{
    quota->inherited = (quota->inherited & ~s->has_quota) | (s->quota.inherited & s->has_quota);
    if (s->has_quota & STORE_QUOTA_BYTES)
        quota->bytes = s->quota.bytes;
    if (s->has_quota & STORE_QUOTA_MESSAGES)
        quota->messages = s->quota.messages;
}

/* --- to words --------------------------------------------------------------------------------- */

void answer_pop3(struct admin_answer *a, const struct auth_settings *s)
{
    static const char *const words[] = {[AUTH_POP3_CLIENT] = "client",
                                        [AUTH_POP3_COLLECTED] = "once-collected",
                                        [AUTH_POP3_UNSET] = "default"};
    if (s->pop3_delete == AUTH_POP3_DAYS)
        answer_u64(a, s->pop3_days);
    else
        answer_text(a, words[s->pop3_delete]);
}

void answer_delimiter(struct admin_answer *a, char delimiter)
{
    if (delimiter)
        answer_cell(a, str_from(&delimiter, 1));
    else
        answer_text(a, "none");
}

void answer_signing(struct admin_answer *a, unsigned signing)
{
    size_t i = 0;
    while (i + 1 < sizeof signings / sizeof *signings && signings[i].signing != signing)
        i++;
    answer_text(a, signings[i].word);
}

void answer_limits(struct admin_answer *a, const struct auth_limits *limits)
{
    static const char *const units[AUTH_LIMITS] = {"/h", "/d", "r/h", "r/d"};
    char text[96] = "";
    size_t n = 0;
    for (size_t i = 0; i < AUTH_LIMITS; i++)
        if (limits->most[i])
            n += (size_t)snprintf(text + n, sizeof text - n, "%s%u%s", n ? "," : "",
                                  limits->most[i], units[i]);
    answer_text(a, !limits->is_set ? "default" : n ? text : "none");
}
