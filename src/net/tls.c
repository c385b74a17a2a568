/* TLS: contexts (certificates, tickets) and the layer of one connection. SSL objects are met here
 * only.
 *
 * A connection's SSL reads and writes its socket through a BIO of our own, which knows when a read
 * has emptied the socket (so that the loop need not try again) and never raises SIGPIPE. The
 * handshake runs on a worker because signing may wait for another process; data are coded on the
 * loop.
 *
 * Offered: TLS 1.2 and 1.3 with AEAD suites and ephemeral X25519 or P-256 [RFC9325 4.2];
 * no renegotiation, no compression, no early data. Sessions are resumed by tickets alone (RFC
 * 5077), where the listener gives any. docs/decisions/0062-cost-of-a-handshake.md has the reasons
 * for the order of the suites and for the options below. */
#include "net/tls_int.h"

#include "base/clock.h"
#include "base/mem.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define GROUPS      "X25519:P-256"
#define CIPHERS_1_2 "ECDHE+AESGCM:ECDHE+CHACHA20" /* [RFC3501 11.1] [RFC9051 11.1] */
#define CIPHERS_1_3                                                                                \
    "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256" /* RFC 8446, 9.1  \
                                                                                  */

struct net_tls {
    pthread_mutex_t mutex; /* of context */
    SSL_CTX *context;
    BIO_METHOD *socket;
    struct tls_tickets *tickets;
    struct tls_remote *remote;           /* what a key needs that is in another process */
    struct tls_authorities *authorities; /* of clients' certificates; NULL: nobody is asked */
};

/* --- the socket as a BIO */

static int socket_read(BIO *bio, char *to, int n)
{
    struct tls *t = BIO_get_data(bio);
    ssize_t got;
    do
        got = recv(t->fd, to, (size_t)n, 0);
    while (got < 0 && errno == EINTR);
    t->is_drained = got < n;
    t->is_eof = got == 0;
    BIO_clear_retry_flags(bio);
    if (got < 0 && errno == EAGAIN)
        BIO_set_retry_read(bio);
    else if (got < 0)
        t->error = errno;
    return (int)got;
}

static int socket_write(BIO *bio, const char *from, int n)
{
    struct tls *t = BIO_get_data(bio);
    ssize_t done;
    do
        done = send(t->fd, from, (size_t)n, t->send_flags);
    while (done < 0 && errno == EINTR);
    BIO_clear_retry_flags(bio);
    if (done < 0 && errno == EAGAIN)
        BIO_set_retry_write(bio);
    else if (done < 0)
        t->error = errno;
    return (int)done;
}

static long socket_ctrl(BIO *bio, int what, long n, void *p)
{
    struct tls *t = BIO_get_data(bio);
    if (what == BIO_CTRL_EOF)
        return t->is_eof;
    return what == BIO_CTRL_FLUSH;
}

BIO_METHOD *tls_socket_method(void)
{
    BIO_METHOD *m = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "penfold socket");
    if (!m || !BIO_meth_set_read(m, socket_read) || !BIO_meth_set_write(m, socket_write) ||
        !BIO_meth_set_ctrl(m, socket_ctrl))
        abort(); /* memory */
    return m;
}

/* --- contexts */

const char *tls_cause(void)
{
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());
    return reason ? reason : "the connection ended";
}

/* The leaf, then the others of the chain. The caller has cleared the error queue. */
static bool use_chain(SSL_CTX *ctx, struct str pem)
{
    BIO *bio = BIO_new_mem_buf(pem.p, (int)pem.n);
    X509 *cert = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
    bool is_good = cert && SSL_CTX_use_certificate(ctx, cert) == 1;
    X509_free(cert);
    while (is_good && (cert = PEM_read_bio_X509(bio, NULL, NULL, NULL))) {
        if (SSL_CTX_add0_chain_cert(ctx, cert) != 1) {
            X509_free(cert);
            is_good = false;
        }
    }
    /* The end of a PEM text is told as an error. */
    if (is_good && ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE)
        ERR_clear_error();
    BIO_free(bio);
    return is_good && ERR_peek_error() == 0;
}

/* Without it OpenSSL would ask for the password of an encrypted key on the terminal. */
static int no_password(char *to, int n, int is_writing, void *arg)
{
    return -1;
}

static bool use_key(SSL_CTX *ctx, struct tls_remote *remote, struct str pem,
                    struct net_signer *signer)
{
    EVP_PKEY *key = NULL;
    if (str_is_null(pem)) {
        key = signer ? tls_remote_key(remote, SSL_CTX_get0_certificate(ctx), signer) : NULL;
    } else {
        BIO *bio = BIO_new_mem_buf(pem.p, (int)pem.n);
        key = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL) : NULL;
        BIO_free(bio);
    }
    bool is_good = key && SSL_CTX_use_PrivateKey(ctx, key) == 1;
    EVP_PKEY_free(key);
    return is_good && SSL_CTX_check_private_key(ctx) == 1;
}

static bool configure(SSL_CTX *ctx, struct tls_tickets *tickets)
{
    static const unsigned char id[] = "penfold";
    char groups[] = GROUPS; /* OpenSSL casts const away */
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_IGNORE_UNEXPECTED_EOF |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA |
                                 SSL_OP_NO_COMPRESSION | SSL_OP_CLEANSE_PLAINTEXT);
    /* The chain is what the file says: otherwise a leaf alone has its issuers looked for, at every
     * handshake. */
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                              SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_NO_AUTO_CHAIN);
    SSL_CTX_set_read_ahead(ctx, 1);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    return SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) == 1 &&
           SSL_CTX_set_cipher_list(ctx, CIPHERS_1_2) == 1 &&
           SSL_CTX_set_ciphersuites(ctx, CIPHERS_1_3) == 1 &&
           SSL_CTX_set1_groups_list(ctx, groups) == 1 && SSL_CTX_set_num_tickets(ctx, 1) == 1 &&
           SSL_CTX_set_session_id_context(ctx, id, sizeof id - 1) == 1 &&
           tls_tickets_use(tickets, ctx);
}

enum rc net_tls_renew(struct net_tls *tls, struct str chain_pem, struct str key_pem,
                      struct net_signer *signer, char why[256])
{
    const char *what = NULL;
    ERR_clear_error();
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    if (!ctx || !configure(ctx, tls->tickets))
        what = "TLS";
    else if (!use_chain(ctx, chain_pem))
        what = "certificate";
    else if (!use_key(ctx, tls->remote, key_pem, signer))
        what = "private key";
    else if (tls->authorities && !tls_authorities_use(tls->authorities, ctx))
        what = "TLS";
    if (what) {
        bool is_ours = !ctx || strcmp(what, "TLS") == 0;
        snprintf(why, 256, "%s: %s", what, ERR_peek_last_error() ? tls_cause() : "not usable");
        SSL_CTX_free(ctx);
        ERR_clear_error();
        return is_ours ? RC_PERM : RC_SYNTAX;
    }
    pthread_mutex_lock(&tls->mutex);
    SSL_CTX *old = tls->context;
    tls->context = ctx;
    pthread_mutex_unlock(&tls->mutex);
    SSL_CTX_free(old); /* those that began with it hold references */
    return RC_OK;
}

enum rc net_tls_new(struct str chain_pem, struct str key_pem, struct net_signer *signer,
                    struct net_tls **out, char why[256])
{
    struct net_tls *tls = mem_zero(sizeof *tls);
    pthread_mutex_init(&tls->mutex, NULL);
    tls->socket = tls_socket_method();
    tls->tickets = tls_tickets_new(&clock_system);
    tls->remote = tls_remote_new();
    enum rc rc = net_tls_renew(tls, chain_pem, key_pem, signer, why);
    if (rc != RC_OK)
        net_tls_free(&tls);
    *out = tls;
    return rc;
}

enum rc net_tls_ask(struct net_tls *tls, struct str ca_pem, char why[256])
{
    ERR_clear_error();
    tls_authorities_free(&tls->authorities);
    tls->authorities = tls_authorities_new(ca_pem);
    if (tls->authorities && tls_authorities_use(tls->authorities, tls->context))
        return RC_OK;
    snprintf(why, 256, "authorities of clients: %s",
             ERR_peek_last_error() ? tls_cause() : "no certificate in it");
    ERR_clear_error();
    return RC_SYNTAX;
}

void net_tls_free(struct net_tls **tls)
{
    struct net_tls *t = *tls;
    if (!t)
        return;
    SSL_CTX_free(t->context);
    BIO_meth_free(t->socket);
    tls_tickets_free(&t->tickets);
    tls_remote_free(&t->remote);
    tls_authorities_free(&t->authorities);
    pthread_mutex_destroy(&t->mutex);
    free(t);
    *tls = NULL;
}

/* --- one connection */

struct tls *tls_make(SSL *ssl, BIO_METHOD *socket, int fd)
{
    struct tls *t = mem_zero(sizeof *t);
    t->fd = fd;
    t->send_flags = MSG_NOSIGNAL;
    t->ssl = ssl;
    BIO *bio = BIO_new(socket);
    if (!t->ssl || !bio) {
        BIO_free(bio);
        tls_free(&t);
        return NULL;
    }
    BIO_set_data(bio, t);
    BIO_set_init(bio, 1);
    SSL_set_bio(t->ssl, bio, bio);
    return t;
}

struct tls *tls_new(struct net_tls *context, struct conn *c)
{
    pthread_mutex_lock(&context->mutex);
    SSL *ssl = SSL_new(context->context);
    pthread_mutex_unlock(&context->mutex);
    struct tls *t = tls_make(ssl, context->socket, c->fd);
    if (!t)
        return NULL;
    SSL_set_accept_state(t->ssl);
    if (c->conf->no_tickets) {
        SSL_set_options(t->ssl, SSL_OP_NO_TICKET); /* TLS 1.2 */
        SSL_set_num_tickets(t->ssl, 0);
    }
    t->is_asking = c->conf->asks_certificate && context->authorities;
    if (t->is_asking && !tls_authorities_ask(context->authorities, t->ssl))
        tls_free(&t);
    return t;
}

void tls_free(struct tls **t)
{
    if (!*t)
        return;
    SSL_free((*t)->ssl);
    free(*t);
    *t = NULL;
}

/* A full handshake signs in its first flight; what follows that flight is a few microseconds of
 * hashing and, in TLS 1.2, one key exchange. A hello that was asked for again is not past it. A
 * client has verified all when it has sent its last message. */
static bool has_signed(struct tls *t)
{
    OSSL_HANDSHAKE_STATE state = SSL_get_state(t->ssl);
    return state == TLS_ST_EARLY_DATA || state == TLS_ST_SW_SRVR_DONE ||
           state == TLS_ST_SW_FINISHED || state == TLS_ST_CW_FINISHED;
}

/* All that the server writes after the client's end of a TLS 1.3 handshake is the ticket
 * [RFC8446 4.6.1]. */
static bool writes_ticket(struct tls *t)
{
    return SSL_version(t->ssl) == TLS1_3_VERSION && has_signed(t);
}

enum handshake tls_handshake(struct tls *t, const char **out_cause)
{
    /* The ticket goes in one packet with the greeting or answer that follows. */
    t->send_flags = writes_ticket(t) ? MSG_NOSIGNAL | MSG_MORE : MSG_NOSIGNAL;
    ERR_clear_error();
    int result = SSL_do_handshake(t->ssl);
    t->send_flags = MSG_NOSIGNAL;
    if (result == 1)
        return HANDSHAKE_DONE;
    int error = SSL_get_error(t->ssl, result);
    if (error == SSL_ERROR_WANT_READ)
        return HANDSHAKE_WANTS_READ;
    if (error == SSL_ERROR_WANT_WRITE)
        return HANDSHAKE_WANTS_WRITE;
    *out_cause = tls_cause();
    t->has_failed = true;
    ERR_clear_error();
    return HANDSHAKE_FAILED;
}

/* A client's certificate is yet to be verified, with whatever keys its chain has. */
bool tls_is_light(struct tls *t)
{
    return has_signed(t) && !t->is_asking;
}

/* What a call that did not succeed means. */
static enum rc rc_of(struct tls *t, int result)
{
    int error = SSL_get_error(t->ssl, result);
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE)
        return RC_AGAIN;
    if (error == SSL_ERROR_ZERO_RETURN)
        return RC_EOF;
    t->has_failed = true;
    ERR_clear_error();
    return RC_CORRUPT;
}

enum rc tls_read(struct tls *t, char *to, size_t n, size_t *out_n)
{
    ERR_clear_error();
    int result = SSL_read_ex(t->ssl, to, n, out_n);
    return result == 1 ? RC_OK : rc_of(t, result);
}

enum rc tls_write(struct tls *t, struct str s, size_t *out_n)
{
    ERR_clear_error();
    int result = SSL_write_ex(t->ssl, s.p, s.n, out_n);
    return result == 1 ? RC_OK : rc_of(t, result);
}

void tls_read_begin(struct tls *t)
{
    t->is_drained = false;
}

bool tls_is_drained(struct tls *t)
{
    return t->is_drained && !SSL_has_pending(t->ssl);
}

void tls_end_follows(struct tls *t)
{
    t->send_flags = MSG_NOSIGNAL | MSG_MORE;
}

void tls_bye(struct tls *t)
{
    if (t->has_failed)
        return; /* OpenSSL forbids it */
    ERR_clear_error();
    if (SSL_shutdown(t->ssl) < 0)
        ERR_clear_error(); /* the peer is gone or takes nothing: it goes without */
}

int tls_errno(struct tls *t)
{
    return t->error;
}

struct str tls_text(struct tls *t)
{
    if (!t->text[0])
        snprintf(t->text, sizeof t->text, "%s %s", SSL_get_version(t->ssl),
                 SSL_get_cipher_name(t->ssl));
    return str_of(t->text);
}
