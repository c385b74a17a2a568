/* Private to the TLS files of net/. */
#ifndef NET_TLS_INT_H
#define NET_TLS_INT_H

#include "net/net_int.h"

#include <openssl/ssl.h>

struct tls {
    SSL *ssl;
    int fd;
    int send_flags;
    int error; /* errno of the socket */
    bool is_drained, is_eof, has_failed;
    bool is_asking; /* its client for a certificate */
    uint8_t level;  /* of a client: enum net_tls_level */
    char text[64];
};

BIO_METHOD *tls_socket_method(void);
struct tls *tls_make(SSL *ssl, BIO_METHOD *socket, int fd); /* takes ssl; NULL without memory */
const char *tls_cause(void); /* of the last error in OpenSSL's queue */

/* The keys that seal session tickets: random, in memory alone, new every hour; the two before still
 * open what they sealed. Shared by all loops. */
struct tls_tickets;
struct tls_tickets *tls_tickets_new(const struct clock *clock);
void tls_tickets_free(struct tls_tickets **tickets);
bool tls_tickets_use(struct tls_tickets *tickets, SSL_CTX *ctx); /* it outlives ctx */

/* Whose certificates of clients count. NULL: no certificate in the text, or one that is broken. */
struct tls_authorities;
struct tls_authorities *tls_authorities_new(struct str pem);
void tls_authorities_free(struct tls_authorities **authorities);
bool tls_authorities_use(const struct tls_authorities *authorities, SSL_CTX *ctx);
bool tls_authorities_ask(const struct tls_authorities *authorities, SSL *ssl);
/* Adds all certificates of a PEM text. False: there is none, or a broken one. */
bool tls_store_add(X509_STORE *store, struct str pem);

/* Keys whose private half is in another process. */
struct tls_remote;
struct tls_remote *tls_remote_new(void);
void tls_remote_free(struct tls_remote **remote); /* after the keys */
/* A key for this certificate that signs by asking; NULL when the certificate's key is neither EC
 * nor RSA. */
EVP_PKEY *tls_remote_key(struct tls_remote *remote, X509 *cert, struct net_signer *signer);

#endif
