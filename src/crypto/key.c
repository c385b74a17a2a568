/* Keys and certificates. This file and sealed.c know libcrypto. */
#include "crypto/crypto_int.h"

#include "base/mem.h"
#include "base/random.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { HOUR_S = 3600, DAY_S = 86400, SERIAL = 16, NAME_MAX_TEXT = 253, PSS_TRAILER = 0xbc };

struct key {
    EVP_PKEY *key;
};

/* --- looking at certificates */

static int64_t seconds_of(const ASN1_TIME *time)
{
    struct tm tm = {0};
    return ASN1_TIME_to_tm(time, &tm) == 1 ? (int64_t)timegm(&tm) : 0;
}

enum rc crypto_certificate_look(struct str chain_pem, const char *host,
                                struct crypto_certificate *out)
{
    BIO *bio = BIO_new_mem_buf(chain_pem.p, (int)chain_pem.n);
    X509 *cert = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
    BIO_free(bio);
    ERR_clear_error();
    if (!cert)
        return RC_SYNTAX;
    out->not_before = seconds_of(X509_get0_notBefore(cert));
    out->not_after = seconds_of(X509_get0_notAfter(cert));
    out->is_for_host = X509_check_host(cert, host, 0, 0, NULL) == 1;
    unsigned char *key = NULL;
    int n = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &key);
    crypto_sha256(str_from(key, n > 0 ? (size_t)n : 0), out->key_sha256);
    OPENSSL_free(key);
    X509_free(cert);
    return n > 0 ? RC_OK : RC_SYNTAX;
}

/* --- signing */

static int no_password(char *to, int n, int is_writing, void *arg)
{
    return -1; /* otherwise OpenSSL asks on the terminal */
}

enum rc key_new(struct str pem, struct key **out)
{
    BIO *bio = BIO_new_mem_buf(pem.p, (int)pem.n);
    EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL) : NULL;
    BIO_free(bio);
    ERR_clear_error();
    *out = NULL;
    int type = key ? EVP_PKEY_get_base_id(key) : EVP_PKEY_NONE;
    if (type != EVP_PKEY_EC && type != EVP_PKEY_RSA) {
        EVP_PKEY_free(key);
        return RC_SYNTAX;
    }
    *out = mem_zero(sizeof **out);
    (*out)->key = key;
    return RC_OK;
}

void key_free(struct key **key)
{
    if (!*key)
        return;
    EVP_PKEY_free((*key)->key);
    free(*key);
    *key = NULL;
}

bool key_fits(const struct key *key, struct str chain_pem)
{
    BIO *bio = BIO_new_mem_buf(chain_pem.p, (int)chain_pem.n);
    X509 *cert = bio ? PEM_read_bio_X509(bio, NULL, no_password, NULL) : NULL;
    bool fits = cert && X509_check_private_key(cert, key->key) == 1;
    X509_free(cert);
    BIO_free(bio);
    ERR_clear_error();
    return fits;
}

/* What may be signed: nothing that could be a ciphertext to open. A PSS block ends with its trailer
 * (RFC 8017, 9.1.1). */
struct scheme {
    const char *name;
    int type, padding;
};

static const struct scheme schemes[] = {
    {"ecdsa", EVP_PKEY_EC, 0},
    {"rsa-pkcs1", EVP_PKEY_RSA, RSA_PKCS1_PADDING},
    {"rsa-pss", EVP_PKEY_RSA, RSA_NO_PADDING},
};

static const struct scheme *scheme_for(EVP_PKEY *key, struct str algorithm, struct str tbs)
{
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
        const struct scheme *s = &schemes[i];
        if (!str_eq(str_of(s->name), algorithm) || s->type != EVP_PKEY_get_base_id(key))
            continue;
        size_t size = (size_t)EVP_PKEY_get_size(key);
        bool is_good = s->padding == RSA_NO_PADDING
                           ? tbs.n == size && (unsigned char)tbs.p[tbs.n - 1] == PSS_TRAILER
                       : s->padding == RSA_PKCS1_PADDING ? tbs.n > 0 && tbs.n <= size - 11
                                                         : tbs.n >= 20 && tbs.n <= 64;
        return is_good ? s : NULL;
    }
    return NULL;
}

enum rc key_sign(struct key *key, struct str algorithm, struct str tbs, unsigned char *out,
                 size_t *n)
{
    const struct scheme *scheme = scheme_for(key->key, algorithm, tbs);
    if (!scheme)
        return RC_SYNTAX;
    if (*n < (size_t)EVP_PKEY_get_size(key->key))
        return RC_LIMIT;
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key->key, NULL);
    bool is_good = ctx && EVP_PKEY_sign_init(ctx) == 1 &&
                   (!scheme->padding || EVP_PKEY_CTX_set_rsa_padding(ctx, scheme->padding) == 1) &&
                   EVP_PKEY_sign(ctx, out, n, (const unsigned char *)tbs.p, tbs.n) == 1;
    EVP_PKEY_CTX_free(ctx);
    ERR_clear_error();
    return is_good ? RC_OK : RC_SYNTAX;
}

/* --- self-signed certificates */

static bool is_name(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (!ascii_is_alpha(c) && !ascii_is_digit(c) && c != '-' && c != '.' && c != '*')
            return false; /* what has a meaning in OpenSSL's text of extensions is not here */
    }
    return s.n > 0 && s.n <= NAME_MAX_TEXT;
}

static bool add_extension(X509 *cert, int nid, const char *text)
{
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, NULL, nid, text);
    bool is_good = e && X509_add_ext(cert, e, -1) == 1;
    X509_EXTENSION_free(e);
    return is_good;
}

static bool add_names(X509 *cert, const struct str *names, size_t n)
{
    size_t size = n * (NAME_MAX_TEXT + sizeof "DNS:,"), at = 0;
    char *text = mem_zero(size);
    for (size_t i = 0; i < n; i++)
        at += (size_t)snprintf(text + at, size - at, "%sDNS:%.*s", i ? "," : "", STR_ARG(names[i]));
    bool is_good = add_extension(cert, NID_subject_alt_name, text);
    free(text);
    return is_good;
}

/* A common name holds 64 characters; a longer one is left to the alternative names. */
static bool set_subject(X509 *cert, struct str name)
{
    X509_NAME *subject = X509_get_subject_name(cert);
    struct str cn = name.n <= 64 ? name : STR("penfold");
    return X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)cn.p,
                                      (int)cn.n, -1, 0) == 1 &&
           X509_set_issuer_name(cert, subject) == 1;
}

static bool set_serial(X509 *cert)
{
    unsigned char bytes[SERIAL];
    random_bytes(bytes, sizeof bytes);
    bytes[0] = (unsigned char)((bytes[0] & 0x7f) |
                               0x40); /* positive, of full length (RFC 5280, 4.1.2.2) */
    BIGNUM *number = BN_bin2bn(bytes, sizeof bytes, NULL);
    bool is_good = number && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(cert));
    BN_free(number);
    return is_good;
}

static bool fill(X509 *cert, EVP_PKEY *key, const struct str *names, size_t n, unsigned days)
{
    return X509_set_version(cert, X509_VERSION_3) == 1 && set_serial(cert) &&
           X509_gmtime_adj(X509_getm_notBefore(cert), -HOUR_S) &&
           X509_gmtime_adj(X509_getm_notAfter(cert), (long)days * DAY_S) &&
           set_subject(cert, names[0]) && X509_set_pubkey(cert, key) == 1 &&
           add_extension(cert, NID_basic_constraints, "critical,CA:FALSE") &&
           add_extension(cert, NID_key_usage, "critical,digitalSignature") &&
           add_extension(cert, NID_ext_key_usage, "serverAuth") && add_names(cert, names, n) &&
           X509_sign(cert, key, EVP_sha256()) > 0;
}

static enum rc take_text(BIO *bio, struct buf *out)
{
    char *data;
    long n = BIO_get_mem_data(bio, &data);
    return buf_add(out, (struct str){data, (size_t)n});
}

static enum rc write_pem(X509 *cert, EVP_PKEY *key, struct buf *cert_pem, struct buf *key_pem)
{
    BIO *cert_bio = BIO_new(BIO_s_mem()), *key_bio = BIO_new(BIO_s_secmem());
    enum rc rc = RC_TEMP;
    if (cert_bio && key_bio && PEM_write_bio_X509(cert_bio, cert) == 1 &&
        PEM_write_bio_PrivateKey(key_bio, key, NULL, NULL, 0, NULL, NULL) == 1)
        rc = take_text(cert_bio, cert_pem);
    if (rc == RC_OK)
        rc = take_text(key_bio, key_pem);
    BIO_free(cert_bio);
    BIO_free(key_bio);
    return rc;
}

enum rc crypto_selfsign(const struct str *names, size_t n, unsigned days, struct buf *cert_pem,
                        struct buf *key_pem)
{
    if (n == 0)
        return RC_SYNTAX;
    for (size_t i = 0; i < n; i++)
        if (!is_name(names[i]))
            return RC_SYNTAX;
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = X509_new();
    enum rc rc = RC_TEMP;
    if (key && cert && fill(cert, key, names, n, days))
        rc = write_pem(cert, key, cert_pem, key_pem);
    X509_free(cert);
    EVP_PKEY_free(key);
    ERR_clear_error();
    return rc;
}
