/* What a login can be bound to: the bytes that the two ends of one TLS connection know and nobody
 * between them does, and the certificate that a client has shown.
 *
 * Invariants: a certificate counts only when OpenSSL has found it good for a client of one of the
 * authorities; a session that is resumed was made under the same ones. Nothing comes out of a
 * handshake whose master secret another connection could have as well: TLS 1.3, or TLS 1.2 with the
 * extended master secret [RFC7627]. There is no renegotiation (tls.c), so the handshake there was
 * is the one that counts. */
#include "net/tls_int.h"

#include "base/mem.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>
#include <stdlib.h>

enum { DEPTH = 4, CHAIN_BYTES = 32 << 10 }; /* of a client's chain */

#define LABEL "EXPORTER-Channel-Binding" /* [RFC9266 2] */

const char *tls_binding_type(struct tls *t)
{
    if (SSL_version(t->ssl) == TLS1_3_VERSION)
        return "tls-exporter";
    return SSL_get_extms_support(t->ssl) == 1 ? "tls-unique" : NULL;
}

static size_t export(SSL *ssl, unsigned char to[NET_BINDING_MAX])
{
    enum { SIZE = 32 }; /* [RFC9266 2] */
    static const unsigned char context[] = "";
    ERR_clear_error();
    if (SSL_export_keying_material(ssl, to, SIZE, LABEL, sizeof LABEL - 1, context, 0, 1) == 1)
        return SIZE;
    ERR_clear_error();
    return 0;
}

/* The first Finished message of the handshake: the client's, and where a session was resumed the
 * server's [RFC5929 3.1]. */
static size_t first_finished(SSL *ssl, unsigned char to[NET_BINDING_MAX])
{
    bool is_ours = (SSL_is_server(ssl) == 1) == (SSL_session_reused(ssl) == 1);
    size_t n = is_ours ? SSL_get_finished(ssl, to, NET_BINDING_MAX)
                       : SSL_get_peer_finished(ssl, to, NET_BINDING_MAX);
    return n <= NET_BINDING_MAX ? n : 0;
}

enum rc tls_bind(struct tls *t, struct net_binding *out)
{
    bool is_exporter = SSL_version(t->ssl) == TLS1_3_VERSION;
    out->n = is_exporter ? export(t->ssl, out->bytes) : first_finished(t->ssl, out->bytes);
    return out->n ? RC_OK : RC_TEMP;
}

/* --- certificates of clients ------------------------------------------------------------------ */

struct tls_authorities {
    X509_STORE *store;
    STACK_OF(X509_NAME) * names; /* that the client is told, to choose by */
    unsigned char id[32];        /* of the text */
};

static bool collect_names(struct tls_authorities *a)
{
    const STACK_OF(X509_OBJECT) *objects = X509_STORE_get0_objects(a->store);
    a->names = sk_X509_NAME_new_null();
    for (int i = 0; a->names && i < sk_X509_OBJECT_num(objects); i++) {
        X509 *cert = X509_OBJECT_get0_X509(sk_X509_OBJECT_value(objects, i));
        X509_NAME *name = cert ? X509_NAME_dup(X509_get_subject_name(cert)) : NULL;
        if (!name || sk_X509_NAME_push(a->names, name) <= 0)
            return false;
    }
    return a->names;
}

struct tls_authorities *tls_authorities_new(struct str pem)
{
    struct tls_authorities *a = mem_zero(sizeof *a);
    a->store = X509_STORE_new();
    if (!a->store || !tls_store_add(a->store, pem) || !collect_names(a) ||
        EVP_Digest(pem.p, pem.n, a->id, NULL, EVP_sha256(), NULL) != 1)
        tls_authorities_free(&a);
    return a;
}

void tls_authorities_free(struct tls_authorities **authorities)
{
    struct tls_authorities *a = *authorities;
    if (!a)
        return;
    X509_STORE_free(a->store);
    sk_X509_NAME_pop_free(a->names, X509_NAME_free);
    free(a);
    *authorities = NULL;
}

/* Whether it was good is kept as the verification's result; the connection goes on without it. */
static int verify(X509_STORE_CTX *chain, void *arg)
{
    (void)X509_verify_cert(chain);
    ERR_clear_error();
    return 1;
}

bool tls_authorities_use(const struct tls_authorities *a, SSL_CTX *ctx)
{
    SSL_CTX_set_cert_verify_callback(ctx, verify, NULL);
    SSL_CTX_set_verify_depth(ctx, DEPTH);
    SSL_CTX_set_max_cert_list(ctx, CHAIN_BYTES);
    return SSL_CTX_set1_verify_cert_store(ctx, a->store) == 1;
}

/* With an id of their own, so that no session is taken for one of a client that was asked, or was
 * asked for something else. */
bool tls_authorities_ask(const struct tls_authorities *a, SSL *ssl)
{
    STACK_OF(X509_NAME) *names = SSL_dup_CA_list(a->names);
    SSL_set_verify(ssl, SSL_VERIFY_PEER, NULL);
    if (names)
        SSL_set_client_CA_list(ssl, names);
    return names && SSL_set_session_id_context(ssl, a->id, sizeof a->id) == 1;
}

bool tls_fingerprint(struct tls *t, unsigned char out[NET_FINGERPRINT])
{
    X509 *cert = t->is_asking ? SSL_get0_peer_certificate(t->ssl) : NULL;
    return cert && SSL_get_verify_result(t->ssl) == X509_V_OK &&
           X509_cmp_current_time(X509_get0_notAfter(cert)) > 0 &&
           X509_digest(cert, EVP_sha256(), out, NULL) == 1;
}
