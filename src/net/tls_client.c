/* TLS towards other hosts: what is offered, and by what the other side is known.
 *
 * Two contexts: one for those who want no proof, which takes any certificate unseen, and offers old
 * suites too, because the other choice is no encryption at all [RFC7435 3]; and one for those who
 * want proof, which verifies. Verification is OpenSSL's own, by names [RFC6125], and by TLSA
 * records [RFC7672]; a certificate that does not prove enough ends the handshake.
 *
 * Of TLSA records only the usages 2 (DANE-TA) and 3 (DANE-EE) count: the others are undefined for
 * mail [RFC7672 3.1.3]. With usage 3 neither names nor dates matter [RFC7672 3.1.1]. */
#include "net/tls_int.h"

#include "base/mem.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CIPHERS                                                                                    \
    "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:DHE+CHACHA20:ECDHE+AES:DHE+AES:RSA+AES:!aNULL:!SHA1"
#define CIPHERS_ANY "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:DHE+CHACHA20:ECDHE+AES:DHE+AES:RSA+AES"

enum { NAME_MAX_TEXT = 256, DANE_TA = 2, DANE_EE = 3 };

struct net_tls_client {
    pthread_mutex_t mutex; /* of named */
    SSL_CTX *any, *named;  /* named: DANE as well */
    BIO_METHOD *socket;
};

/* --- contexts */

static int take_unseen(X509_STORE_CTX *store, void *arg)
{
    return 1;
}

static bool configure(SSL_CTX *ctx, bool is_any)
{
    char groups[] = "X25519:P-256:P-384"; /* OpenSSL casts const away */
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_IGNORE_UNEXPECTED_EOF |
                                 SSL_OP_NO_COMPRESSION | SSL_OP_CLEANSE_PLAINTEXT);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                              SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_NO_AUTO_CHAIN);
    SSL_CTX_set_read_ahead(ctx, 1);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_verify(ctx, is_any ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
    if (is_any) {
        SSL_CTX_set_options(ctx, SSL_OP_LEGACY_SERVER_CONNECT);
        SSL_CTX_set_security_level(ctx, 1);
        SSL_CTX_set_cert_verify_callback(ctx, take_unseen, NULL);
    } else if (SSL_CTX_dane_enable(ctx) != 1) {
        return false;
    }
    return SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) == 1 &&
           SSL_CTX_set_cipher_list(ctx, is_any ? CIPHERS_ANY : CIPHERS) == 1 &&
           SSL_CTX_set1_groups_list(ctx, groups) == 1;
}

/* The same authority may stand twice in a file that was put together from several. */
static bool is_twice(void)
{
    unsigned long error = ERR_peek_last_error();
    return ERR_GET_LIB(error) == ERR_LIB_X509 &&
           ERR_GET_REASON(error) == X509_R_CERT_ALREADY_IN_HASH_TABLE;
}

bool tls_store_add(X509_STORE *store, struct str pem)
{
    BIO *bio = BIO_new_mem_buf(pem.p, (int)pem.n);
    X509 *cert = NULL;
    size_t n = 0;
    bool is_good = bio;
    while (is_good && (cert = PEM_read_bio_X509(bio, NULL, NULL, NULL))) {
        is_good = X509_STORE_add_cert(store, cert) == 1 || is_twice();
        ERR_clear_error();
        X509_free(cert);
        n++;
    }
    BIO_free(bio);
    if (is_good && n == 0)
        ERR_clear_error(); /* the end of the text is no cause of anything */
    return is_good && n > 0;
}

static SSL_CTX *context_new(bool is_any, struct str ca_pem)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    bool is_good = ctx && configure(ctx, is_any) &&
                   (str_is_null(ca_pem) || tls_store_add(SSL_CTX_get_cert_store(ctx), ca_pem));
    if (!is_good) {
        SSL_CTX_free(ctx);
        return NULL;
    }
    ERR_clear_error();
    return ctx;
}

enum rc net_tls_client_renew(struct net_tls_client *tls, struct str ca_pem, char why[256])
{
    ERR_clear_error();
    SSL_CTX *ctx = context_new(false, ca_pem);
    if (!ctx) {
        snprintf(why, 256, "authorities: %s",
                 ERR_peek_last_error() ? tls_cause() : "no certificate in it");
        ERR_clear_error();
        return RC_SYNTAX;
    }
    pthread_mutex_lock(&tls->mutex);
    SSL_CTX *old = tls->named;
    tls->named = ctx;
    pthread_mutex_unlock(&tls->mutex);
    SSL_CTX_free(old); /* those that began with it hold references */
    return RC_OK;
}

enum rc net_tls_client_new(struct str ca_pem, struct net_tls_client **out, char why[256])
{
    struct net_tls_client *tls = mem_zero(sizeof *tls);
    pthread_mutex_init(&tls->mutex, NULL);
    tls->socket = tls_socket_method();
    tls->any = context_new(true, (struct str){NULL, 0});
    if (!tls->any)
        abort(); /* memory */
    enum rc rc = net_tls_client_renew(tls, ca_pem, why);
    if (rc != RC_OK)
        net_tls_client_free(&tls);
    *out = tls;
    return rc;
}

void net_tls_client_free(struct net_tls_client **tls)
{
    struct net_tls_client *t = *tls;
    if (!t)
        return;
    SSL_CTX_free(t->any);
    SSL_CTX_free(t->named);
    BIO_meth_free(t->socket);
    pthread_mutex_destroy(&t->mutex);
    free(t);
    *tls = NULL;
}

/* --- what one connection wants */

static enum rc copy_name(struct str name, char out[NAME_MAX_TEXT])
{
    if (name.n >= NAME_MAX_TEXT || memchr(name.n ? name.p : "", 0, name.n))
        return RC_SYNTAX;
    memcpy(out, name.n ? name.p : "", name.n);
    out[name.n] = 0;
    return RC_OK;
}

static bool is_address(const char *name)
{
    unsigned char to[sizeof(struct in6_addr)];
    return inet_pton(AF_INET, name, to) == 1 || inet_pton(AF_INET6, name, to) == 1;
}

static enum rc want_names(SSL *ssl, const struct net_tls_want *want)
{
    char name[NAME_MAX_TEXT];
    for (size_t i = 0; i < want->n_names; i++) {
        TRY(copy_name(want->names[i], name));
        if (name[0] && SSL_add1_host(ssl, name) != 1)
            return RC_SYNTAX;
    }
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return RC_OK;
}

/* RC_NOTFOUND: of the records that there are none says anything here. */
static enum rc want_records(SSL *ssl, const struct net_tls_want *want, const char *name)
{
    size_t usable = 0;
    if (SSL_dane_enable(ssl, name) != 1)
        return RC_SYNTAX;
    SSL_dane_set_flags(ssl, DANE_FLAG_NO_DANE_EE_NAMECHECKS);
    for (size_t i = 0; i < want->n_tlsa && i < NET_TLSA_MAX; i++) {
        const struct net_tlsa *r = &want->tlsa[i];
        if (r->usage != DANE_TA && r->usage != DANE_EE)
            continue;
        usable += SSL_dane_tlsa_add(ssl, r->usage, r->selector, r->matching,
                                    (const unsigned char *)r->data.p, r->data.n) > 0;
    }
    ERR_clear_error(); /* what cannot be used is passed over */
    return usable ? RC_OK : RC_NOTFOUND;
}

static enum rc apply(SSL *ssl, const struct net_tls_want *want)
{
    char name[NAME_MAX_TEXT];
    TRY(copy_name(want->name, name));
    if (want->n_names > NET_TLS_NAMES)
        return RC_SYNTAX;
    bool has_sni = name[0] && !is_address(name);
    if (has_sni && SSL_set_tlsext_host_name(ssl, name) != 1)
        return RC_SYNTAX;
    if (want->level == NET_TLS_ANY)
        return RC_OK;
    if (!name[0]) /* without a name any certificate of any authority would do */
        return RC_SYNTAX;
    if (want->level == NET_TLS_DANE)
        TRY(want_records(ssl, want, name));
    else if (SSL_set1_host(ssl, name) != 1)
        return RC_SYNTAX;
    return want_names(ssl, want);
}

enum rc tls_client_open(struct net_tls_client *client, int fd, const struct net_tls_want *want,
                        struct tls **out)
{
    ERR_clear_error();
    pthread_mutex_lock(&client->mutex);
    SSL *ssl = SSL_new(want->level == NET_TLS_ANY ? client->any : client->named);
    pthread_mutex_unlock(&client->mutex);
    struct tls *t = ssl ? tls_make(ssl, client->socket, fd) : NULL;
    if (!t)
        return RC_TEMP;
    enum rc rc = apply(ssl, want);
    ERR_clear_error();
    if (rc != RC_OK) {
        tls_free(&t);
        return rc;
    }
    SSL_set_connect_state(ssl);
    t->level = (uint8_t)want->level;
    *out = t;
    return RC_OK;
}

/* --- what has come of it */

static enum net_certificate_fault fault_of(long error)
{
    switch (error) {
    case X509_V_OK:
        return NET_CERTIFICATE_FINE;
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        return NET_CERTIFICATE_NAME;
    case X509_V_ERR_CERT_HAS_EXPIRED:
    case X509_V_ERR_CERT_NOT_YET_VALID:
        return NET_CERTIFICATE_EXPIRED;
    case X509_V_ERR_DANE_NO_MATCH:
        return NET_CERTIFICATE_TLSA;
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_CERT_UNTRUSTED:
        return NET_CERTIFICATE_UNTRUSTED;
    default:
        return NET_CERTIFICATE_BAD;
    }
}

void tls_client_explain(struct tls *t, const char *cause, struct net_error *out)
{
    static const char *const words[] = {
        [NET_CERTIFICATE_UNTRUSTED] = "its certificate is from an authority that is not known",
        [NET_CERTIFICATE_EXPIRED] = "its certificate is out of date",
        [NET_CERTIFICATE_NAME] = "its certificate is for other hosts",
        [NET_CERTIFICATE_TLSA] = "its certificate does not match the TLSA records",
        [NET_CERTIFICATE_BAD] = "its certificate cannot be accepted",
    };
    long error = SSL_get_verify_result(t->ssl);
    if (out->failure != NET_FAILED_NOT)
        return;
    if (t->level == NET_TLS_ANY || error == X509_V_OK) {
        out->failure = NET_FAILED_TLS;
        snprintf(out->text, sizeof out->text, "%s", cause ? cause : "the connection ended");
        return;
    }
    out->failure = NET_FAILED_CERTIFICATE;
    out->certificate = fault_of(error);
    snprintf(out->text, sizeof out->text, "%s (%s)", words[out->certificate],
             X509_verify_cert_error_string(error));
}

enum net_tls_proof tls_client_proof(struct tls *t)
{
    uint8_t usage = 0;
    if (t->level == NET_TLS_ANY || SSL_get_verify_result(t->ssl) != X509_V_OK)
        return NET_PROOF_NONE;
    if (t->level == NET_TLS_NAMED)
        return NET_PROOF_NAMED;
    if (SSL_get0_dane_authority(t->ssl, NULL, NULL) < 0 ||
        SSL_get0_dane_tlsa(t->ssl, &usage, NULL, NULL, NULL, NULL) < 0)
        return NET_PROOF_NONE;
    return usage == DANE_EE ? NET_PROOF_DANE_EE : NET_PROOF_DANE_TA;
}
