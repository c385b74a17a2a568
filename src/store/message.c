/* Reading the bytes of a message.
 *
 * The body is a blob that this handle pins, so it stays readable whatever happens to the message. A
 * body under a key (or in a codec that this version does not know) is refused here: it needs its
 * session's key, and this is where that will come in. */
#include "store/store_int.h"

#include "base/mem.h"

#include <stdlib.h>

struct store_message {
    struct kv_blob_in *body;
    uint64_t size;
};

static enum rc read_email(struct store_account *a, uint64_t id, unsigned flags, struct email *out)
{
    struct arena arena;
    struct key key = key_email(id);
    struct str name = key_str(&key), value;
    arena_init(&arena, 0);
    enum rc rc = kv_get(a->store->kv, account_part(a->id), &name, 1, flags & KV_CACHED, &arena,
                        &value, NULL);
    if (rc == RC_OK)
        rc = str_is_null(value) ? RC_NOTFOUND : email_decode(value, out);
    arena_fini(&arena);
    return rc;
}

/* Takes the body over. */
static enum rc wrap(struct kv_blob_in *body, struct store_message **out)
{
    struct kv_blob_meta meta = kv_blob_meta(body);
    if (meta.codec != 0 || meta.key_id != 0) {
        kv_blob_close(&body);
        return RC_DENIED;
    }
    struct store_message *m = mem_alloc(sizeof *m);
    *m = (struct store_message){.body = body, .size = meta.size};
    *out = m;
    return RC_OK;
}

enum rc message_open_blob(struct store *s, struct kv_blob_id blob, unsigned flags,
                          struct store_message **out)
{
    struct kv_blob_in *body;
    *out = NULL;
    enum rc rc = kv_blob_open(s->kv, blob, flags & KV_CACHED, &body);
    if (rc == RC_NOTFOUND)
        rc = RC_CORRUPT; /* a message without its body */
    return rc == RC_OK ? wrap(body, out) : rc;
}

void message_open_blobs(struct store *s, const struct kv_blob_id *blobs, size_t n,
                        struct store_message **out)
{
    struct kv_blob_in *bodies[KV_BLOBS_AT_ONCE];
    enum rc rcs[KV_BLOBS_AT_ONCE];
    kv_blob_open_many(s->kv, blobs, n, 0, bodies, rcs);
    for (size_t i = 0; i < n; i++) {
        out[i] = NULL;
        if (rcs[i] == RC_OK && wrap(bodies[i], &out[i]) != RC_OK)
            out[i] = NULL; /* who asks for it alone is told why */
    }
}

enum rc store_message_open(struct store_account *account, uint64_t email, unsigned flags,
                           struct store_message **out)
{
    struct email e;
    *out = NULL;
    TRY(read_email(account, email, flags, &e));
    return message_open_blob(account->store, e.blob, flags, out);
}

uint64_t store_message_size(const struct store_message *message)
{
    return message->size;
}

enum rc store_message_read(struct store_message *message, uint64_t offset, void *to, size_t n,
                           unsigned flags, size_t *out_got)
{
    return kv_blob_read(message->body, offset, to, n, flags & KV_CACHED, out_got);
}

void store_message_close(struct store_message **message)
{
    struct store_message *m = *message;
    *message = NULL;
    if (!m)
        return;
    kv_blob_close(&m->body);
    free(m);
}
