/* What the two ends of one TLS connection know and nobody between them does: the bytes that a login
 * is bound to.
 *
 * Invariant: nothing comes out of a handshake whose master secret another connection could have as
 * well: TLS 1.3, or TLS 1.2 with the extended master secret [RFC7627]. There is no renegotiation
 * (tls.c), so the handshake there was is the one that counts. */
#include "net/tls_int.h"

#include <openssl/err.h>

#define LABEL "EXPORTER-Channel-Binding" /* [RFC9266 2] */

static bool is_of_its_own(SSL *ssl)
{
    return SSL_version(ssl) >= TLS1_3_VERSION || SSL_get_extms_support(ssl) == 1;
}

static size_t export(SSL *ssl, unsigned char to[NET_BINDING_MAX])
{
    enum { SIZE = 32 }; /* [RFC9266 2] */
    /* A context of no bytes, which to TLS 1.2 is not the same as none [RFC9266 2]. */
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

enum rc tls_binding(struct tls *t, enum net_binding type, struct buf *out)
{
    unsigned char bytes[NET_BINDING_MAX];
    size_t n = 0;
    if (!is_of_its_own(t->ssl))
        return RC_NOTFOUND;
    if (type == NET_BINDING_EXPORTER)
        n = export(t->ssl, bytes);
    else if (SSL_version(t->ssl) < TLS1_3_VERSION) /* [RFC9266 3] */
        n = first_finished(t->ssl, bytes);
    return n ? buf_add(out, str_from((const char *)bytes, n)) : RC_NOTFOUND;
}
