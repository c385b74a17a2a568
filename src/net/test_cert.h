/* Certificates for tests: an authority and what it signs, good and bad. Not part of any library. */
#ifndef NET_TEST_CERT_H
#define NET_TEST_CERT_H

#include "base/test.h"

#include "base/buf.h"

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>

enum { CERT_SOON = 3600, CERT_LONG_AGO = -7200 };

struct cert {
    X509 *x509;
    EVP_PKEY *key;
};

static inline void cert_extend(X509 *x, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    assert_non_null(e);
    assert_int_equal(X509_add_ext(x, e, -1), 1);
    X509_EXTENSION_free(e);
}

/* Signed by `by`, or by itself. `names`: "DNS:mx.example.test", or NULL for an authority. `ends`:
 * seconds from now. */
static inline struct cert cert_make(const char *names, const struct cert *by, long ends)
{
    struct cert c = {X509_new(), EVP_EC_gen("P-256")};
    X509 *issuer = by ? by->x509 : c.x509;
    X509_NAME *subject = X509_get_subject_name(c.x509);
    static _Atomic int serial = 1;
    char name[40];
    int number = serial++;
    X509_set_version(c.x509, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(c.x509), number);
    snprintf(name, sizeof name, "%s %d", names ? "host" : "authority", number);
    assert_int_equal(X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC,
                                                (const unsigned char *)name, -1, -1, 0),
                     1);
    assert_int_equal(X509_set_issuer_name(c.x509, X509_get_subject_name(issuer)), 1);
    assert_non_null(X509_gmtime_adj(X509_getm_notBefore(c.x509), -86400));
    assert_non_null(X509_gmtime_adj(X509_getm_notAfter(c.x509), ends));
    assert_int_equal(X509_set_pubkey(c.x509, c.key), 1);
    cert_extend(c.x509, issuer, NID_basic_constraints, names ? "CA:FALSE" : "critical,CA:TRUE");
    cert_extend(c.x509, issuer, NID_subject_key_identifier, "hash");
    if (names)
        cert_extend(c.x509, issuer, NID_subject_alt_name, names);
    assert_true(X509_sign(c.x509, by ? by->key : c.key, EVP_sha256()) > 0);
    return c;
}

static inline void cert_free(struct cert *c)
{
    X509_free(c->x509);
    EVP_PKEY_free(c->key);
    *c = (struct cert){NULL, NULL};
}

static inline void cert_take(BIO *from, struct buf *out)
{
    char *p;
    long n = BIO_get_mem_data(from, &p);
    assert_rc(buf_add(out, str_from(p, (size_t)n)), RC_OK);
    BIO_free(from);
}

/* Appends. */
static inline void cert_pem(const struct cert *c, struct buf *out)
{
    BIO *bio = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_X509(bio, c->x509), 1);
    cert_take(bio, out);
}

static inline void cert_key_pem(const struct cert *c, struct buf *out)
{
    BIO *bio = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_PrivateKey(bio, c->key, NULL, NULL, 0, NULL, NULL), 1);
    cert_take(bio, out);
}

/* What a TLSA record says of it with matching type 1, of the whole certificate (selector 0) or of
 * its key (1) [RFC6698 2.1]. */
static inline void cert_tlsa(const struct cert *c, int selector, unsigned char out[32])
{
    unsigned char *der = NULL;
    int n =
        selector ? i2d_X509_PUBKEY(X509_get_X509_PUBKEY(c->x509), &der) : i2d_X509(c->x509, &der);
    assert_true(n > 0);
    assert_int_equal(EVP_Digest(der, (size_t)n, out, NULL, EVP_sha256(), NULL), 1);
    OPENSSL_free(der);
}

#endif
