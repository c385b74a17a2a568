/* Going over all messages of an account, whatever mailboxes they are in: for what is made from
 * messages and kept beside them. Only published messages are met, in order of their ids, and an id
 * is never given to another message once it was published. */
#include "store/store_int.h"

#include <string.h>

/* Those of a page that can be opened, together. */
static void open_page(struct store_account *a, const struct kv_page *page, uint64_t *out_ids,
                      struct store_message **out)
{
    struct kv_blob_id blobs[STORE_AHEAD];
    struct store_message *opened[STORE_AHEAD];
    size_t which[STORE_AHEAD], n = 0;
    struct email e;
    for (size_t i = 0; i < page->n; i++) {
        out_ids[i] = get_u64(page->rows[i].key.p + 1);
        out[i] = NULL;
        if (email_decode(page->rows[i].value, &e) != RC_OK)
            continue; /* who opens it alone is told */
        blobs[n] = e.blob;
        which[n++] = i;
    }
    if (n)
        message_open_blobs(a->store, blobs, n, opened);
    for (size_t i = 0; i < n; i++)
        out[which[i]] = opened[i];
}

enum rc store_emails(struct store_account *a, uint64_t from, size_t max, uint64_t *out_ids,
                     struct store_message **out, size_t *out_n)
{
    struct key first = key_email(from), end = key_of_kind('e');
    end = key_after(key_str(&end), 1);
    struct kv_range range = {.from = key_str(&first), .to = key_str(&end)};
    struct arena arena = {0};
    struct kv_page page;
    *out_n = 0;
    max = max < STORE_AHEAD ? max : STORE_AHEAD;
    enum rc rc = kv_scan(a->store->kv, account_part(a->id), range, max, KV_ONCE, &arena, &page);
    for (size_t i = 0; rc == RC_OK && i < page.n; i++)
        if (page.rows[i].key.n != 9)
            rc = RC_CORRUPT;
    if (rc == RC_OK) {
        open_page(a, &page, out_ids, out);
        *out_n = page.n;
    }
    arena_fini(&arena);
    return rc;
}

uint64_t store_emails_end(struct store_account *a)
{
    pthread_mutex_lock(&a->mutex);
    uint64_t end = a->published.hot.next_email;
    pthread_mutex_unlock(&a->mutex);
    return end;
}

/* --- who is behind ---------------------------------------------------------------------------- */

void store_made_note(struct store_account *a, uint64_t next)
{
    atomic_store(&a->made, next);
}

uint64_t store_made(const struct store_account *a)
{
    return atomic_load(&a->made);
}

size_t store_made_behind(struct store *s, uint64_t lag, uint64_t *out_ids, size_t max,
                         uint64_t *out_waiting)
{
    size_t n = 0, slot = 0;
    *out_waiting = 0;
    pthread_mutex_lock(&s->mutex);
    struct map_node *node = NULL;
    while ((node = map_each(&s->accounts, &slot, node))) {
        struct store_account *a = CONTAINER(node, struct store_account, node);
        uint64_t made = atomic_load(&a->made);
        if (!made || a->state != ACCOUNT_READY)
            continue;
        uint64_t end = store_emails_end(a), behind = end > made ? end - made : 0;
        *out_waiting += behind;
        if (behind >= lag && n < max)
            out_ids[n++] = a->id;
    }
    pthread_mutex_unlock(&s->mutex);
    return n;
}
