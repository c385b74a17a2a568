/* Keys whose private half is in another process: OpenSSL gets a key object with the certificate's
 * public half and a method of ours, which asks the signer.
 * docs/decisions/0002-keys-in-the-signer.md says why by methods (deprecated in OpenSSL 3, but
 * whole) and not by a provider; the warnings are silenced in this file alone.
 *
 * EC: the digest goes to the signer ("ecdsa", the answer is DER). RSA in TLS 1.2: "rsa-pkcs1", the
 * DER of the digest; in TLS 1.3 and RSA-PSS: "rsa-pss", the encoded block (RFC 8017, 9.1.1) of the
 * key's length, ready for the private operation. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "net/tls_int.h"

#include "base/mem.h"
#include "crypto/crypto.h"

#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <stdlib.h>

/* OpenSSL keeps the first slot of extra data for the application. */
enum { APP_DATA = 0, SIGNER_MS = 5000 };

struct tls_remote {
    EC_KEY_METHOD *ec;
    RSA_METHOD *rsa;
};

/* --- the signer process */

struct remote_signer {
    struct net_signer signer;
    struct crypto_signer_client *client;
    unsigned key;
};

static enum rc remote_sign(struct net_signer *s, const char *algorithm, struct str tbs,
                           unsigned char *out, size_t *n)
{
    struct remote_signer *r = CONTAINER(s, struct remote_signer, signer);
    return crypto_signer_client_sign(r->client, r->key, algorithm, tbs, out, n);
}

struct net_signer *net_signer_new(int fd, unsigned key)
{
    struct remote_signer *r = mem_zero(sizeof *r);
    r->signer.sign = remote_sign;
    r->client = crypto_signer_client_new(fd, SIGNER_MS);
    r->key = key;
    return &r->signer;
}

void net_signer_free(struct net_signer **signer)
{
    if (!*signer)
        return;
    struct remote_signer *r = CONTAINER(*signer, struct remote_signer, signer);
    crypto_signer_client_free(&r->client);
    free(r);
    *signer = NULL;
}

/* --- the methods */

static int ask(struct net_signer *signer, const char *algorithm, struct str tbs, unsigned char *out,
               size_t *n)
{
    if (signer && signer->sign(signer, algorithm, tbs, out, n) == RC_OK)
        return 1;
    ERR_raise_data(ERR_LIB_USER, ERR_R_OPERATION_FAIL, "the signer does not answer");
    return 0;
}

static int ec_sign(int type, const unsigned char *digest, int n, unsigned char *signature,
                   unsigned *out_n, const BIGNUM *kinv, const BIGNUM *r, EC_KEY *key)
{
    size_t size = (size_t)ECDSA_size(key);
    struct str tbs = {(const char *)digest, (size_t)n};
    int is_good = ask(EC_KEY_get_ex_data(key, APP_DATA), "ecdsa", tbs, signature, &size);
    *out_n = is_good ? (unsigned)size : 0;
    return is_good;
}

static int rsa_sign(int n, const unsigned char *from, unsigned char *to, RSA *key, int padding)
{
    size_t size = (size_t)RSA_size(key);
    struct str tbs = {(const char *)from, (size_t)n};
    const char *algorithm = padding == RSA_PKCS1_PADDING ? "rsa-pkcs1"
                            : padding == RSA_NO_PADDING  ? "rsa-pss"
                                                         : NULL;
    if (!algorithm || !ask(RSA_get_ex_data(key, APP_DATA), algorithm, tbs, to, &size))
        return -1;
    return (int)size;
}

static int rsa_decrypt(int n, const unsigned char *from, unsigned char *to, RSA *key, int padding)
{
    return -1; /* no suite that is offered needs it */
}

struct tls_remote *tls_remote_new(void)
{
    struct tls_remote *r = mem_zero(sizeof *r);
    r->ec = EC_KEY_METHOD_new(EC_KEY_OpenSSL());
    r->rsa = RSA_meth_dup(RSA_PKCS1_OpenSSL());
    if (!r->ec || !r->rsa || RSA_meth_set_priv_enc(r->rsa, rsa_sign) != 1 ||
        RSA_meth_set_priv_dec(r->rsa, rsa_decrypt) != 1)
        abort(); /* memory */
    EC_KEY_METHOD_set_sign(r->ec, ec_sign, NULL, NULL);
    return r;
}

void tls_remote_free(struct tls_remote **remote)
{
    if (!*remote)
        return;
    EC_KEY_METHOD_free((*remote)->ec);
    RSA_meth_free((*remote)->rsa);
    free(*remote);
    *remote = NULL;
}

static EVP_PKEY *ec_key(struct tls_remote *r, EVP_PKEY *public, struct net_signer *signer)
{
    EVP_PKEY *key = EVP_PKEY_new();
    EC_KEY *ec = EVP_PKEY_get1_EC_KEY(public);
    EC_KEY *own = ec ? EC_KEY_dup(ec) : NULL;
    EC_KEY_free(ec);
    if (key && own && EC_KEY_set_method(own, r->ec) == 1 &&
        EC_KEY_set_ex_data(own, APP_DATA, signer) == 1 && EVP_PKEY_assign_EC_KEY(key, own) == 1)
        return key;
    EC_KEY_free(own);
    EVP_PKEY_free(key);
    return NULL;
}

static EVP_PKEY *rsa_key(struct tls_remote *r, EVP_PKEY *public, struct net_signer *signer)
{
    EVP_PKEY *key = EVP_PKEY_new();
    RSA *rsa = EVP_PKEY_get1_RSA(public);
    RSA *own = rsa ? RSAPublicKey_dup(rsa) : NULL;
    RSA_free(rsa);
    if (key && own && RSA_set_method(own, r->rsa) == 1 &&
        RSA_set_ex_data(own, APP_DATA, signer) == 1 && EVP_PKEY_assign_RSA(key, own) == 1)
        return key;
    RSA_free(own);
    EVP_PKEY_free(key);
    return NULL;
}

EVP_PKEY *tls_remote_key(struct tls_remote *remote, X509 *cert, struct net_signer *signer)
{
    EVP_PKEY *public = cert ? X509_get0_pubkey(cert) : NULL;
    int type = public ? EVP_PKEY_get_base_id(public) : EVP_PKEY_NONE;
    if (type == EVP_PKEY_EC)
        return ec_key(remote, public, signer);
    if (type == EVP_PKEY_RSA)
        return rsa_key(remote, public, signer);
    return NULL;
}
