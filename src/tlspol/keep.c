/* Policies in the store: class G, number 4. Key: the domain. Value, format 1: fetched 8, expires 8
 * (seconds since 1970), the id and the policy's text, each behind its length in two bytes. */
#include "tlspol/tlspol_int.h"

#include "base/bytes.h"
#include "base/mem.h"

#include <stdlib.h>

enum { FORMAT = 1, VALUE_MAX = 1 + 8 + 8 + 2 + TLSPOL_ID_MAX + 2 + TLSPOL_TEXT_MAX };

const struct kv_part tlspol_policies_part = {KV_GLOBAL, 4};
const struct kv_part tlspol_counts_part = {KV_GLOBAL, 5};

bool tlspol_partition(size_t n, struct kv_part *out)
{
    if (n > 1)
        return false;
    *out = n == 0 ? tlspol_policies_part : tlspol_counts_part;
    return true;
}

static enum rc unpack(struct str key, struct str value, struct kept *out)
{
    struct unpacker r;
    unpack_init(&r, value);
    if (unpack_u8(&r) != FORMAT)
        return RC_CORRUPT;
    out->domain = key;
    out->fetched = unpack_u64(&r);
    out->expires = unpack_u64(&r);
    out->id = unpack_str16(&r);
    out->text = unpack_str16(&r);
    TRY(unpack_done(&r));
    return out->id.n <= TLSPOL_ID_MAX && out->text.n <= TLSPOL_TEXT_MAX ? RC_OK : RC_CORRUPT;
}

enum rc keep_read(struct kv *kv, struct str domain, struct arena *arena, struct kept *out)
{
    struct str value;
    TRY(kv_get(kv, tlspol_policies_part, &domain, 1, 0, arena, &value, NULL));
    return str_is_null(value) ? RC_NOTFOUND : unpack(domain, value, out);
}

enum rc keep_next(struct kv *kv, struct str after, struct arena *arena, struct kept *out)
{
    struct kv_page page;
    struct kv_range range = {.after = after};
    TRY(kv_scan(kv, tlspol_policies_part, range, 1, KV_ONCE, arena, &page));
    if (page.n == 0)
        return RC_EOF;
    out->domain = page.rows[0].key; /* also of a row that cannot be read */
    return unpack(page.rows[0].key, page.rows[0].value, out);
}

enum rc keep_write(struct kv *kv, const struct kept *k)
{
    struct packer w;
    void *mem = mem_alloc(VALUE_MAX);
    pack_init(&w, mem, VALUE_MAX);
    pack_u8(&w, FORMAT);
    pack_u64(&w, k->fetched);
    pack_u64(&w, k->expires);
    pack_str16(&w, k->id);
    pack_str16(&w, k->text);
    struct kv_txn *txn = kv_txn_new(tlspol_policies_part);
    enum rc rc = w.failed ? RC_LIMIT : kv_txn_put(txn, k->domain, pack_done(&w));
    free(mem);
    if (rc == RC_OK)
        return kv_commit_wait(kv, txn, NULL);
    kv_txn_free(&txn);
    return rc;
}

enum rc keep_delete(struct kv *kv, struct str domain)
{
    struct kv_txn *txn = kv_txn_new(tlspol_policies_part);
    enum rc rc = kv_txn_delete(txn, domain);
    if (rc == RC_OK)
        return kv_commit_wait(kv, txn, NULL);
    kv_txn_free(&txn);
    return rc;
}
