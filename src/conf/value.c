/* What kinds of values there are, and whether a text is one of them. Pure. */
#include "conf/conf_int.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

static enum rc with_suffix(const char *text, const char *suffixes, const uint64_t *factors,
                           uint64_t *out)
{
    struct str s = str_of(text);
    uint64_t factor = 1;
    const char *at = s.n ? strchr(suffixes, ascii_lower(s.p[s.n - 1])) : NULL;
    if (at) {
        factor = factors[at - suffixes];
        s.n--;
    }
    TRY(str_to_u64(s, out));
    return __builtin_mul_overflow(*out, factor, out) ? RC_LIMIT : RC_OK;
}

/* "50M", "2G", "16k", "1234": bytes, in powers of 1,024. */
static enum rc parse_size(const char *text, uint64_t *out)
{
    static const uint64_t factors[] = {1U << 10, 1U << 20, 1U << 30, UINT64_C(1) << 40};
    return with_suffix(text, "kmgt", factors, out);
}

/* "30", "30s", "5m", "2h", "7d": seconds. */
static enum rc parse_time(const char *text, uint64_t *out)
{
    static const uint64_t factors[] = {1, 60, 3600, 86400};
    return with_suffix(text, "smhd", factors, out);
}

bool conf_key_is_list(const struct key *key)
{
    return key->kind == ADDRESSES || key->kind == PLACES || key->kind == NETWORKS ||
           key->kind == NAMES || key->kind == USERS || key->kind == WORDLIST ||
           key->kind == ALGORITHMS || key->kind == IPS;
}

int conf_key_choice(const struct key *key, const char *text)
{
    for (int i = 0; i < 4 && key->choices[i]; i++)
        if (strcmp(text, key->choices[i]) == 0)
            return i;
    return -1;
}

/* The system's form of an address, IPv4 or IPv6; *out_bits is how long a prefix of it may be. */
static bool is_ip(struct str text, unsigned *out_bits)
{
    char copy[INET6_ADDRSTRLEN];
    unsigned char bytes[16];
    if (text.n >= sizeof copy)
        return false;
    memcpy(copy, text.p, text.n);
    copy[text.n] = '\0';
    bool is_v4 = inet_pton(AF_INET, copy, bytes) == 1;
    *out_bits = is_v4 ? 32 : 128;
    return is_v4 || inet_pton(AF_INET6, copy, bytes) == 1;
}

static bool is_address(const char *text)
{
    struct str s = str_of(text);
    const char *colon = strrchr(text, ':');
    uint64_t port;
    unsigned bits;
    if (!colon || str_to_u64(str_of(colon + 1), &port) != RC_OK || port == 0 || port > UINT16_MAX)
        return false;
    struct str host = str_head(s, (size_t)(colon - text));
    if (host.n < 2 || host.p[0] != '[')
        return is_ip(host, &bits) && bits == 32;
    return host.p[host.n - 1] == ']' && is_ip(str_sub(host, 1, host.n - 2), &bits) && bits == 128;
}

static bool is_network(const char *text)
{
    const char *slash = strchr(text, '/');
    uint64_t length = 0;
    unsigned bits;
    struct str host = slash ? str_head(str_of(text), (size_t)(slash - text)) : str_of(text);
    if (!is_ip(host, &bits))
        return false;
    return !slash || (str_to_u64(str_of(slash + 1), &length) == RC_OK && length <= bits);
}

bool conf_is_hostname(const char *text)
{
    struct str rest = str_of(text), label;
    size_t n = rest.n;
    if (n == 0 || n > 253)
        return false;
    while (str_cut(&rest, '.', &label)) {
        if (label.n == 0 || label.n > 63 || label.p[0] == '-' || label.p[label.n - 1] == '-')
            return false;
        for (size_t i = 0; i < label.n; i++)
            if (!ascii_is_alpha(label.p[i]) && !ascii_is_digit(label.p[i]) && label.p[i] != '-')
                return false;
    }
    return text[n - 1] != '.';
}

/* "mail.example.org", "mail.example.org:587", "192.0.2.1:25", "[::1]", "[::1]:25", "/run/lmtp". */
static bool is_host(const char *text)
{
    struct str s = str_of(text), part;
    const char *colon = strrchr(text, ':');
    char name[256];
    uint64_t port;
    unsigned bits;
    if (strchr(text, '/') || is_address(text))
        return true;
    if (s.n > 2 && text[0] == '[' && text[s.n - 1] == ']')
        return is_ip(str_sub(s, 1, s.n - 2), &bits) && bits == 128;
    part = colon ? str_head(s, (size_t)(colon - text)) : s;
    if (colon && (str_to_u64(str_of(colon + 1), &port) != RC_OK || !port || port > UINT16_MAX))
        return false;
    snprintf(name, sizeof name, "%.*s", STR_ARG(part));
    return part.n < sizeof name && conf_is_hostname(name);
}

enum rc conf_key_amount(const struct key *key, const char *text, uint64_t *out)
{
    TRY(key->kind == SIZE   ? parse_size(text, out)
        : key->kind == TIME ? parse_time(text, out)
                            : str_to_u64(str_of(text), out));
    return *out < key->least || (key->most && *out > key->most) ? RC_LIMIT : RC_OK;
}

/* "none", or some of "100/h", "500/d", "300r/h", "2000r/d" with commas between, as limit.h reads
 * them. */
static bool are_rates(const char *text)
{
    struct str rest = str_of(text), one, number;
    uint64_t most;
    bool are = rest.n > 0;
    if (strcmp(text, "none") == 0)
        return true;
    while (are && str_cut(&rest, ',', &one)) {
        are = str_cut(&one, '/', &number) && (str_eq(one, STR("h")) || str_eq(one, STR("d")));
        if (str_ends(number, STR("r")))
            number.n--;
        are = are && str_to_u64(number, &most) == RC_OK && most > 0 && most <= UINT32_MAX;
    }
    return are;
}

/* Those of RFC 7518, 3.1 that sign with a private key: anything else is no signature. */
static bool is_algorithm(struct str text)
{
    bool is_kind =
        str_starts(text, STR("RS")) || str_starts(text, STR("PS")) || str_starts(text, STR("ES"));
    struct str size = str_skip(text, 2);
    return is_kind &&
           (str_eq(size, STR("256")) || str_eq(size, STR("384")) || str_eq(size, STR("512")));
}

/* What a value was expected to be, when it is not. */
bool conf_key_refuses(const struct key *key, const char *value, char expected[128])
{
    static const char *const forms[] = {
        [TEXT] = "something",
        [RATES] = "none, or such as 100/h,500/d,300r/h",
        [NAME] = "a host name",
        [PATH] = "something",
        [HOST] = "a host, such as mail.example.org, mail.example.org:587 or [::1]:25, or a path",
        [SIZE] = "a size such as 50M",
        [TIME] = "a time such as 30s, 5m or 7d",
        [NUMBER] = "a number",
        [ADDRESSES] = "an address and a port, such as 127.0.0.1:25 or [::]:25",
        [PLACES] = "an address and a port, such as 127.0.0.1:24, or the path of a socket",
        [NETWORKS] = "a network, such as 127.0.0.0/8 or ::1",
        [NAMES] = "a name, such as example.org",
        [USERS] = "the name of a user",
        [WORDLIST] = "something",
        [ALGORITHMS] = "RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384 or ES512",
        [IPS] = "an address, such as 192.0.2.1 or 2001:db8::1",
    };
    uint64_t amount;
    unsigned bits;
    enum rc rc = RC_OK;
    switch (key->kind) {
    case HOST:
        rc = !value[0] || is_host(value) ? RC_OK : RC_SYNTAX;
        break;
    case ALGORITHMS:
        rc = is_algorithm(str_of(value)) ? RC_OK : RC_SYNTAX;
        break;
    case USERS:
    case WORDLIST:
        rc = value[0] ? RC_OK : RC_SYNTAX;
        break;
    case NAMES:
        rc = conf_is_hostname(value) ? RC_OK : RC_SYNTAX;
        break;
    case IPS:
        rc = is_ip(str_of(value), &bits) ? RC_OK : RC_SYNTAX;
        break;
    case RATES:
        rc = are_rates(value) ? RC_OK : RC_SYNTAX;
        break;
    case TEXT:
    case PATH:
        rc = key->least && !value[0] ? RC_SYNTAX : RC_OK;
        break;
    case NAME:
        rc = !value[0] || conf_is_hostname(value) ? RC_OK : RC_SYNTAX;
        break;
    case SIZE:
    case TIME:
    case NUMBER:
        rc = conf_key_amount(key, value, &amount);
        break;
    case ADDRESSES:
        rc = is_address(value) ? RC_OK : RC_SYNTAX;
        break;
    case PLACES:
        rc = strchr(value, '/') || is_address(value) ? RC_OK : RC_SYNTAX;
        break;
    case NETWORKS:
        rc = is_network(value) ? RC_OK : RC_SYNTAX;
        break;
    case CHOICE:
    case PLAINTEXT:
        expected[0] = '\0';
        for (int i = 0; i < 4 && key->choices[i]; i++)
            snprintf(expected + strlen(expected), 128 - strlen(expected), "%s\"%s\"",
                     i ? " or " : "", key->choices[i]);
        return conf_key_choice(key, value) < 0;
    }
    if (rc == RC_LIMIT)
        snprintf(expected, 128, "%llu to %llu", (unsigned long long)key->least,
                 (unsigned long long)key->most);
    else
        snprintf(expected, 128, "%s", forms[key->kind]);
    return rc != RC_OK;
}
