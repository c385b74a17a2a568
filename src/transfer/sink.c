/* What all sinks have in common: what is told of what became of the messages, and the forms that a
 * source must keep to. */
#include "transfer/transfer_int.h"

#include "base/bytes.h"
#include "crypto/crypto.h"

#include <stdlib.h>

void sink_tell(struct transfer_sink *s, struct str label, bool is_refused, struct str why)
{
    s->counts.refused += is_refused;
    if (s->watch && s->watch->told)
        s->watch->told(s->watch, str_head(label, TRANSFER_LABEL), is_refused, why);
}

void sink_moved(struct transfer_sink *s)
{
    if (s->watch && s->watch->moved)
        s->watch->moved(s->watch, &s->counts);
}

enum rc transfer_folder(struct transfer_sink *s, const struct transfer_folder *folder,
                        unsigned *out_n)
{
    return s->calls->folder(s, folder, out_n);
}

bool transfer_has(const struct transfer_sink *s, struct str origin)
{
    return s->calls->has && s->calls->has(s, origin);
}

enum rc transfer_begin(struct transfer_sink *s, unsigned folder,
                       const struct transfer_message *message)
{
    return s->calls->begin(s, folder, message);
}

enum rc transfer_bytes(struct transfer_sink *s, struct str bytes)
{
    return s->calls->bytes(s, bytes);
}

enum rc transfer_end(struct transfer_sink *s)
{
    return s->calls->end(s, (struct str){0});
}

enum rc transfer_give_up(struct transfer_sink *s, struct str why)
{
    return s->calls->end(s, why);
}

enum rc transfer_tell(struct transfer_sink *s, struct str label, bool is_refused, struct str why)
{
    if (s->calls->tell)
        return s->calls->tell(s, label, is_refused, why);
    sink_tell(s, label, is_refused, why);
    return RC_OK;
}

enum rc transfer_finish(struct transfer_sink *s)
{
    return s->calls->finish(s);
}

void transfer_counts(const struct transfer_sink *s, struct transfer_counts *out)
{
    *out = s->counts;
}

void transfer_sink_free(struct transfer_sink **sink)
{
    if (*sink)
        (*sink)->calls->free(*sink);
    *sink = NULL;
}

void transfer_origin(const struct str *parts, size_t n, unsigned char out[TRANSFER_ORIGIN])
{
    struct crypto_sha256_state state;
    unsigned char digest[CRYPTO_SHA256], length[8];
    crypto_sha256_init(&state);
    for (size_t i = 0; i < n; i++) {
        put_u64(length, parts[i].n);
        crypto_sha256_add(&state, str_from(length, sizeof length));
        crypto_sha256_add(&state, parts[i]);
    }
    crypto_sha256_end(&state, digest);
    __builtin_memcpy(out, digest, TRANSFER_ORIGIN);
}
