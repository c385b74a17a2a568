/* The TLS layer of a connection. */
#include "net/net_int.h"

struct tls *tls_new(struct net_tls *context, struct conn *c)
{
    return NULL;
}

void tls_free(struct tls **t)
{
}

enum handshake tls_handshake(struct tls *t, const char **out_cause)
{
    *out_cause = "no TLS";
    return HANDSHAKE_FAILED;
}

enum rc tls_read(struct tls *t, char *to, size_t n, size_t *out_n)
{
    return RC_EOF;
}

enum rc tls_write(struct tls *t, struct str s, size_t *out_n)
{
    return RC_EOF;
}

bool tls_is_drained(struct tls *t)
{
    return true;
}

void tls_bye(struct tls *t)
{
}

struct str tls_text(struct tls *t)
{
    return (struct str){NULL, 0};
}
