/* Signs what leaves: finds the keys of the domain that a message is from, reads the message, lets
 * the signing process sign (mailauth has the form of it, the directory the sealed keys).
 *
 * Only what one of our users has handed in and what this server has written itself is signed: with
 * anything else we would vouch for a From that somebody elsewhere has put there. */
#include "deliver/sign.h"

#include "base/list.h"
#include "base/mem.h"
#include "mailauth/mailauth.h"

#include <stdlib.h>

enum { PIECE = 64 << 10 };

struct signing {
    struct mailauth_source source;
    struct mailauth_keys keys;
    struct mailauth_hand hand;
    const struct deliver_signer *signer;
    struct str hostname;
    struct kv_blob_in *in;
    uint64_t offset;
    char *piece;
};

static enum rc next_piece(struct mailauth_source *source, struct str *out)
{
    struct signing *s = CONTAINER(source, struct signing, source);
    size_t n;
    TRY(kv_blob_read(s->in, s->offset, s->piece, PIECE, 0, &n));
    s->offset += n;
    *out = str_from(s->piece, n);
    return n ? RC_OK : RC_EOF;
}

/* --- whose keys ------------------------------------------------------------------------------- */

static enum rc take_keys(struct signing *s, struct str domain, struct arena *arena,
                         struct mailauth_key *out, size_t *out_n)
{
    struct auth_key *keys;
    size_t n;
    TRY(auth_keys_signing(s->signer->auth, domain, 0, arena, &keys, &n));
    for (size_t i = 0; i < n && *out_n < MAILAUTH_KEYS_MAX; i++)
        out[(*out_n)++] =
            (struct mailauth_key){.domain = domain,
                                  .selector = keys[i].selector,
                                  .algorithm = (enum crypto_algorithm)keys[i].algorithm,
                                  .sealed = keys[i].sealed};
    return RC_OK;
}

/* A domain may sign for those below it [RFC6376 3.5]; we do that for our own name alone. */
static enum rc find_keys(struct mailauth_keys *keys, struct str domain, struct arena *arena,
                         struct mailauth_key *out, size_t *out_n)
{
    struct signing *s = CONTAINER(keys, struct signing, keys);
    bool is_host = str_ieq(domain, s->hostname);
    char *lower = arena_alloc(arena, domain.n + 1);
    *out_n = 0;
    for (size_t i = 0; i < domain.n; i++)
        lower[i] = ascii_lower(domain.p[i]);
    domain = str_from(lower, domain.n);
    enum rc rc = take_keys(s, domain, arena, out, out_n);
    while (rc == RC_NOTFOUND && is_host) {
        ptrdiff_t dot = str_find_byte(domain, '.');
        domain = str_skip(domain, dot < 0 ? domain.n : (size_t)dot + 1);
        if (str_find_byte(domain, '.') < 0)
            break;
        rc = take_keys(s, domain, arena, out, out_n);
    }
    return rc == RC_NOTFOUND ? RC_OK : rc;
}

static enum rc sign(struct mailauth_hand *hand, const struct mailauth_key *key,
                    const unsigned char digest[CRYPTO_SHA256], unsigned char *out, size_t *n)
{
    struct signing *s = CONTAINER(hand, struct signing, hand);
    enum rc rc = crypto_sealed_sign(s->signer->client, key->algorithm, key->sealed, digest, out, n);
    if (rc == RC_OK) {
        counter_add(s->signer->ctx->counters, COUNTER_DKIM_SIGNATURES, 1);
        return RC_OK;
    }
    counter_add(s->signer->ctx->counters, COUNTER_DKIM_FAILURES, 1);
    return rc;
}

/* --- a message -------------------------------------------------------------------------------- */

static enum rc sign_blob(struct signing *s, const struct queue_item *item, struct buf *out)
{
    const struct mailauth_signing signing = {&s->source, &s->keys, &s->hand,
                                             clock_wall(s->signer->ctx->clock) / NS_PER_SEC};
    TRY(kv_blob_open(s->signer->kv, item->blob, 0, &s->in));
    s->piece = mem_alloc(PIECE);
    enum rc rc = mailauth_sign(&signing, out);
    free(s->piece);
    kv_blob_close(&s->in);
    return rc;
}

static void say_not_signed(const struct deliver_signer *signer, const struct queue_item *item,
                           enum rc rc)
{
    struct log_line l;
    log_begin(&l, signer->ctx->log, LOG_WARNING, "not-signed");
    log_str(&l, "message", item->log_id);
    log_text(&l, "cause", rc_name(rc));
    log_end(&l);
}

enum rc deliver_sign(const struct deliver_signer *signer, const struct queue_item *item,
                     struct str hostname, struct buf *out)
{
    struct signing s = {.source.next = next_piece,
                        .keys.find = find_keys,
                        .hand.sign = sign,
                        .signer = signer,
                        .hostname = hostname};
    if (!signer->client || !(item->flags & (QUEUE_SUBMITTED | QUEUE_IS_REPORT)))
        return RC_OK;
    enum rc rc = sign_blob(&s, item, out);
    switch (rc) {
    case RC_OK:
    case RC_TEMP:
    case RC_CORRUPT:
        return rc;
    case RC_SYNTAX: /* of From, or more fields than can be signed: never */
    case RC_LIMIT:
        say_not_signed(signer, item, rc);
        return RC_OK;
    default:
        return RC_TEMP;
    }
}
