/* Hashes of passwords that other programs have made: read with all that could make them cost too
 * much, and verified, by libxcrypt (crypt(3)'s forms), libcrypto (PBKDF2, salted digests) and, for
 * Argon2id, libsodium's own form. The only file that knows libxcrypt.
 *
 * Invariants: what is taken has a salt, and its rounds and memory are bounded, so that verifying
 * takes a second at most whatever a stored text says; what would never match is refused when it is
 * read and not years later. A table at the end has the schemes.
 */
#include "crypto/crypto_int.h"

#include "base/base64.h"

#include <crypt.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

enum {
    SHA_ROUNDS = 1000000,    /* SHA-crypt: half a second */
    BCRYPT_COST = 14,        /* 2^14: a second */
    PBKDF2_ROUNDS = 2000000, /* half a second */
    ARGON_KB = 256 << 10,
    ARGON_PASSES = 10,
    SALT_MAX = 64, /* bytes of a salted digest's salt */
    DIGEST_MAX = 64
};

struct scheme {
    const char *name;   /* between braces; Dovecot's names */
    const char *prefix; /* what its text begins with; "": there is nothing to tell it by */
    enum rc (*check)(const struct scheme *s, struct str text);
    enum rc (*verify)(const struct scheme *s, struct str text, struct str password);
    size_t n;           /* characters of the hash, bytes of the digest */
    const char *digest; /* as libcrypto calls it */
};

/* --- crypt(3) --------------------------------------------------------------------------------- */

static bool is_crypt_text(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool is_letter = (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
        if (!is_letter && !(c >= '.' && c <= '9')) /* "./0-9" */
            return false;
    }
    return true;
}

/* "$id$[rounds=N$]salt$hash" */
static enum rc check_crypt(const struct scheme *s, struct str text)
{
    struct str rest = str_skip(text, strlen(s->prefix)), part, salt;
    uint64_t rounds;
    if (str_starts(rest, STR("rounds="))) {
        if (s->digest || !str_cut(&rest, '$', &part) || /* MD5-crypt has none */
            str_to_u64(str_skip(part, 7), &rounds) != RC_OK)
            return RC_SYNTAX;
        if (rounds > SHA_ROUNDS)
            return RC_LIMIT;
    }
    if (!str_cut(&rest, '$', &salt) || str_is_null(rest))
        return RC_SYNTAX;
    return salt.n && salt.n <= 16 && is_crypt_text(salt) && rest.n == s->n && is_crypt_text(rest)
               ? RC_OK
               : RC_SYNTAX;
}

/* "$2y$NN$" and 53 characters */
static enum rc check_bcrypt(const struct scheme *s, struct str text)
{
    struct str rest = str_skip(text, strlen(s->prefix)), cost;
    uint64_t n;
    if (!str_cut(&rest, '$', &cost) || cost.n != 2 || str_to_u64(cost, &n) != RC_OK || n < 4)
        return RC_SYNTAX;
    if (n > BCRYPT_COST)
        return RC_LIMIT;
    return rest.n == s->n && is_crypt_text(rest) ? RC_OK : RC_SYNTAX;
}

/* "$y$jNR$salt$hash": N and R are one character each of "./0-9A-Za-z": 2^(N + 1) blocks of R + 1
 * times 128 bytes, 64 MB at most here. */
static enum rc check_yescrypt(const struct scheme *s, struct str text)
{
    struct str rest = str_skip(text, strlen(s->prefix)), params, salt;
    if (!str_cut(&rest, '$', &params) || !str_cut(&rest, '$', &salt) || str_is_null(rest) ||
        params.n < 3 || params.p[0] != 'j' || !is_crypt_text(params))
        return RC_SYNTAX;
    bool is_small = params.n == 3 && params.p[1] <= 'B' && params.p[2] <= 'T';
    if (!is_small)
        return RC_LIMIT;
    return salt.n && salt.n <= 86 && is_crypt_text(salt) && rest.n == s->n && is_crypt_text(rest)
               ? RC_OK
               : RC_SYNTAX;
}

static enum rc verify_crypt(const struct scheme *s, struct str text, struct str password)
{
    char setting[CRYPTO_FOREIGN_MAX + 1], phrase[CRYPT_MAX_PASSPHRASE_SIZE];
    if (text.n >= sizeof setting)
        return RC_CORRUPT;
    if (password.n >= sizeof phrase)
        return RC_DENIED;
    memcpy(setting, text.p, text.n);
    setting[text.n] = '\0';
    if (password.n)
        memcpy(phrase, password.p, password.n);
    phrase[password.n] = '\0';
    struct crypt_data *data = calloc(1, sizeof *data);
    const char *got = data ? crypt_rn(phrase, setting, data, sizeof *data) : NULL;
    enum rc rc = !data ? RC_TEMP : got && crypto_is_equal(str_of(got), text) ? RC_OK : RC_DENIED;
    if (data)
        crypto_wipe(data, sizeof *data);
    free(data);
    crypto_wipe(phrase, sizeof phrase);
    return rc;
}

/* --- salted digests: base 64 of digest and salt ----------------------------------------------- */

static enum rc decode_salted(const struct scheme *s, struct str text, struct buf *out)
{
    *out = (struct buf){.cap = DIGEST_MAX + SALT_MAX + 4};
    if (base64_decode(out, str_skip(text, strlen(s->name) + 2)) != RC_OK)
        return RC_SYNTAX;
    size_t n = buf_len(out);
    return n > s->n && n - s->n <= SALT_MAX ? RC_OK : RC_SYNTAX;
}

static enum rc check_salted(const struct scheme *s, struct str text)
{
    struct buf bytes;
    enum rc rc = decode_salted(s, text, &bytes);
    buf_fini(&bytes);
    return rc;
}

static enum rc verify_salted(const struct scheme *s, struct str text, struct str password)
{
    unsigned char got[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    struct buf bytes;
    enum rc rc = decode_salted(s, text, &bytes) == RC_OK ? RC_OK : RC_CORRUPT;
    EVP_MD_CTX *ctx = rc == RC_OK ? EVP_MD_CTX_new() : NULL;
    if (ctx) {
        struct str salt = str_skip(buf_str(&bytes), s->n);
        bool is_done = EVP_DigestInit_ex(ctx, EVP_get_digestbyname(s->digest), NULL) == 1 &&
                       EVP_DigestUpdate(ctx, password.p, password.n) == 1 &&
                       EVP_DigestUpdate(ctx, salt.p, salt.n) == 1 &&
                       EVP_DigestFinal_ex(ctx, got, &n) == 1;
        bool is_equal =
            is_done && crypto_is_equal(str_from(got, n), str_head(buf_str(&bytes), s->n));
        rc = !is_done ? RC_TEMP : is_equal ? RC_OK : RC_DENIED;
    } else if (rc == RC_OK) {
        rc = RC_TEMP;
    }
    EVP_MD_CTX_free(ctx);
    buf_fini(&bytes);
    return rc;
}

/* --- PBKDF2 ----------------------------------------------------------------------------------- */

struct derived {
    struct str salt;
    uint64_t rounds;
    unsigned char bytes[DIGEST_MAX];
};

static int hex_value(char c)
{
    c = ascii_lower(c);
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool take_hex(struct str text, unsigned char *to, size_t n)
{
    for (size_t i = 0; i < n && text.n == 2 * n; i++) {
        int high = hex_value(text.p[2 * i]), low = hex_value(text.p[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        to[i] = (unsigned char)(high * 16 + low);
    }
    return text.n == 2 * n;
}

static bool take_base64(struct str text, unsigned char *to, size_t n)
{
    struct buf bytes = {.cap = DIGEST_MAX + 4};
    bool is_right = base64_decode(&bytes, text) == RC_OK && buf_len(&bytes) == n;
    if (is_right)
        memcpy(to, buf_str(&bytes).p, n);
    buf_fini(&bytes);
    return is_right;
}

/* Dovecot's "{PBKDF2}$1$salt$rounds$hex", Django's "pbkdf2_sha256$rounds$salt$base64". */
static enum rc read_derived(const struct scheme *s, struct str text, struct derived *out)
{
    bool is_dovecot = s->prefix[0] == '{';
    struct str rest = str_skip(text, strlen(s->prefix)), first, second;
    if (!str_cut(&rest, '$', &first) || !str_cut(&rest, '$', &second) || str_is_null(rest))
        return RC_SYNTAX;
    out->salt = is_dovecot ? first : second;
    if (str_to_u64(is_dovecot ? second : first, &out->rounds) != RC_OK || !out->rounds ||
        !out->salt.n || out->salt.n > SALT_MAX)
        return RC_SYNTAX;
    if (out->rounds > PBKDF2_ROUNDS)
        return RC_LIMIT;
    bool is_right =
        is_dovecot ? take_hex(rest, out->bytes, s->n) : take_base64(rest, out->bytes, s->n);
    return is_right ? RC_OK : RC_SYNTAX;
}

static enum rc check_derived(const struct scheme *s, struct str text)
{
    struct derived d;
    return read_derived(s, text, &d);
}

static enum rc verify_derived(const struct scheme *s, struct str text, struct str password)
{
    struct derived d;
    unsigned char got[DIGEST_MAX];
    if (read_derived(s, text, &d) != RC_OK)
        return RC_CORRUPT;
    if (PKCS5_PBKDF2_HMAC(password.p ? password.p : "", (int)password.n,
                          (const unsigned char *)d.salt.p, (int)d.salt.n, (int)d.rounds,
                          EVP_get_digestbyname(s->digest), (int)s->n, got) != 1)
        return RC_TEMP;
    return crypto_is_equal(str_from(got, s->n), str_from(d.bytes, s->n)) ? RC_OK : RC_DENIED;
}

/* --- Argon2id: our own form, with parameters of others ---------------------------------------- */

/* "$argon2id$v=19$m=65536,t=3,p=1$salt$hash" */
static enum rc check_argon(const struct scheme *s, struct str text)
{
    struct str rest = str_skip(text, strlen(s->prefix)), part, number;
    static const struct {
        struct str name;
        uint64_t most;
    } params[] = {{STR_INIT("m="), ARGON_KB}, {STR_INIT("t="), ARGON_PASSES}, {STR_INIT("p="), 1}};
    uint64_t value;
    if (text.n >= CRYPTO_PASSWORD_MAX || !str_cut(&rest, '$', &part) ||
        !str_cut(&rest, '$', &part) || str_is_null(rest))
        return RC_SYNTAX;
    for (size_t i = 0; i < 3; i++) {
        if (!str_cut(&part, ',', &number) || !str_starts(number, params[i].name) ||
            str_to_u64(str_skip(number, 2), &value) != RC_OK || !value)
            return RC_SYNTAX;
        if (value > params[i].most)
            return RC_LIMIT;
    }
    return RC_OK;
}

/* --- the table -------------------------------------------------------------------------------- */

/* Several forms may have one name; a text without a name is told by its prefix. */
static const struct scheme schemes[] = {
    {"ARGON2ID", "$argon2id$", check_argon, NULL, 0, NULL},
    {"SHA512-CRYPT", "$6$", check_crypt, verify_crypt, 86, NULL},
    {"SHA256-CRYPT", "$5$", check_crypt, verify_crypt, 43, NULL},
    {"BLF-CRYPT", "$2y$", check_bcrypt, verify_crypt, 53, NULL},
    {"BLF-CRYPT", "$2b$", check_bcrypt, verify_crypt, 53, NULL},
    {"BLF-CRYPT", "$2a$", check_bcrypt, verify_crypt, 53, NULL},
    {"CRYPT", "$y$", check_yescrypt, verify_crypt, 43, NULL},
    {"MD5-CRYPT", "$1$", check_crypt, verify_crypt, 22, "MD5"},
    {"SSHA512", "{SSHA512}", check_salted, verify_salted, 64, "SHA512"},
    {"SSHA256", "{SSHA256}", check_salted, verify_salted, 32, "SHA256"},
    {"SSHA", "{SSHA}", check_salted, verify_salted, 20, "SHA1"},
    {"PBKDF2", "{PBKDF2}$1$", check_derived, verify_derived, 20, "SHA1"},
    {"PBKDF2-SHA256", "pbkdf2_sha256$", check_derived, verify_derived, 32, "SHA256"},
};
enum { SCHEMES = sizeof schemes / sizeof *schemes };

static const struct scheme *by_prefix(struct str text)
{
    for (size_t i = 0; i < SCHEMES; i++)
        if (str_starts(text, str_of(schemes[i].prefix)))
            return &schemes[i];
    return NULL;
}

static bool is_named(struct str name)
{
    for (size_t i = 0; i < SCHEMES; i++)
        if (str_ieq(name, str_of(schemes[i].name)))
            return true;
    return false;
}

static bool append(char out[CRYPTO_FOREIGN_MAX], size_t *n, struct str text, bool is_name)
{
    if (text.n >= CRYPTO_FOREIGN_MAX - *n)
        return false;
    for (size_t i = 0; i < text.n; i++)
        out[(*n)++] = is_name ? ascii_upper(text.p[i]) : text.p[i];
    out[*n] = '\0';
    return true;
}

/* Into the form that is stored: without a name where the text tells its scheme, otherwise with the
 * name in capitals. */
static enum rc normalise(struct str text, char out[CRYPTO_FOREIGN_MAX])
{
    struct str name = {0}, rest = text;
    size_t n = 0;
    if (str_starts(text, STR("{"))) {
        rest = str_skip(text, 1);
        str_cut(&rest, '}', &name);
        if (str_is_null(rest) || !name.n)
            return RC_SYNTAX;
        if (!is_named(name))
            return RC_NOTFOUND;
    }
    bool tells = str_starts(rest, STR("$")) || str_starts(rest, STR("pbkdf2_"));
    if (str_ieq(name, STR("PBKDF2"))) /* its "$1$" is not that of MD5-crypt */
        tells = false;
    bool fits = true;
    if (name.n && !tells)
        fits = append(out, &n, STR("{"), false) && append(out, &n, name, true) &&
               append(out, &n, STR("}"), false);
    return fits && append(out, &n, rest, false) ? RC_OK : RC_SYNTAX;
}

enum rc crypto_foreign_read(struct str text, char out[CRYPTO_FOREIGN_MAX])
{
    if (str_find_byte(text, '\0') >= 0 || text.n == 0)
        return RC_SYNTAX;
    TRY(normalise(text, out));
    const struct scheme *s = by_prefix(str_of(out));
    return s ? s->check(s, str_of(out)) : RC_NOTFOUND;
}

bool crypto_is_foreign(struct str hash)
{
    return !str_starts(hash, STR("$argon2id$"));
}

enum rc foreign_verify(struct str hash, struct str password)
{
    const struct scheme *s = by_prefix(hash);
    if (!s || !s->verify || s->check(s, hash) != RC_OK)
        return RC_CORRUPT;
    /* crypt(3) ends at a NUL, and HMAC pads its key with them: none of these had one. */
    return str_find_byte(password, '\0') >= 0 ? RC_DENIED : s->verify(s, hash, password);
}
