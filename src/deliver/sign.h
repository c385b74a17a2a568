/* deliver/sign.h: the signatures that go in front of a message when it leaves. */
#ifndef DELIVER_SIGN_H
#define DELIVER_SIGN_H

#include "auth/auth.h"
#include "crypto/crypto.h"
#include "queue/queue.h"

/* What it stands on; all of it outlives the signer. */
struct deliver_signer {
    const struct ctx *ctx;
    struct kv *kv;
    struct auth *auth;
    struct crypto_signer_client *client; /* NULL: nothing is signed */
};

enum { DELIVER_SIGNATURES_MAX = 64 << 10 }; /* bytes that are enough for them */

/* Appends the DKIM-Signature fields of an item, each with its CRLF: to be put in front of what is
 * sent, the same for all of its recipients. None for what is not ours to sign: it was not handed in
 * by one of our users and is no report, or its From is of a domain without keys. Reads the whole
 * message and asks the signing process: blocks, for a worker.
 *
 * hostname: what this host calls itself: mail from there is signed by the domain of that name, or
 * by the nearest one above it that is ours (reports, cron).
 *
 * RC_OK also when there is nothing to add. RC_TEMP: signing failed for now, try again later.
 * RC_CORRUPT: the message cannot be read. */
enum rc deliver_sign(const struct deliver_signer *signer, const struct queue_item *item,
                     struct str hostname, struct buf *out);

#endif
