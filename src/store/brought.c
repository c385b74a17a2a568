/* What is known of messages that were brought from elsewhere: what they were there, so that nothing
 * is brought twice, and which unique-id POP3 told of them, so that no client collects them again.
 *
 * `p` source8 modseq8: format1 n2 origin16... - one row for what one change has brought.
 * `l` mailbox4 uid4: format1 n2, then n times uid4 length1 bytes - the same, under the first UID;
 * UIDs of one change follow one another, so the row of a UID is at most STORE_APPENDS before it.
 *
 * Invariants:
 *   1. A message and its origin come in one commit: who is stopped between two messages, at
 *      whatever moment, finds noted exactly what is there.
 *   2. A row of `l` goes when the last of its messages has gone, with maintenance; until then it
 *      holds ids of UIDs that are never given again. STORE_HAS_UIDL in a message's row says that
 *      there is one. */
#include "store/store_int.h"

#include <string.h>

enum { HEAD = 3, UIDL_MORE = 5, ORIGIN_PAGES = 64 };

static bool is_uidl(struct str s) /* [RFC1939 7] */
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] < 0x21 || s.p[i] > 0x7e)
            return false;
    return s.n <= STORE_UIDL_MAX;
}

enum rc brought_check(const struct store_append *append, uint64_t source)
{
    bool is_sane =
        (append->origin.n == 0 || (append->origin.n == STORE_ORIGIN && append->source == source)) &&
        is_uidl(append->uidl);
    return is_sane ? RC_OK : RC_PERM;
}

static void begin(struct packer *w, void *mem, size_t size)
{
    pack_init(w, mem, size);
    pack_u8(w, RECORD_FORMAT);
    pack_u16(w, 0);
}

static void count_one(struct packer *w, unsigned char *mem)
{
    put_u16(mem + 1, (uint16_t)(get_u16(mem + 1) + 1));
}

static enum rc put_origins(struct change *c, struct arena *arena,
                           const struct store_append *appends, size_t n)
{
    size_t size = HEAD + n * STORE_ORIGIN;
    struct packer w = {0};
    unsigned char *mem = NULL;
    for (size_t i = 0; i < n; i++) {
        if (!appends[i].origin.n)
            continue;
        if (!mem) {
            mem = arena_alloc(arena, size);
            if (!mem)
                return RC_LIMIT;
            begin(&w, mem, size);
        }
        pack_bytes(&w, appends[i].origin);
        count_one(&w, mem);
    }
    if (mem)
        change_put(c, key_origins(appends[0].source, c->modseq), pack_done(&w));
    return RC_OK;
}

static enum rc put_uidls(struct change *c, struct arena *arena, const struct store_append *appends,
                         size_t n, struct place first)
{
    size_t size = HEAD + n * (UIDL_MORE + STORE_UIDL_MAX);
    struct packer w = {0};
    unsigned char *mem = NULL;
    struct key key = {0};
    for (size_t i = 0; i < n; i++) {
        struct str id = appends[i].uidl;
        if (!id.n)
            continue;
        if (!mem) {
            mem = arena_alloc(arena, size);
            if (!mem)
                return RC_LIMIT;
            begin(&w, mem, size);
            key = key_uidls(first.mailbox, first.uid + (uint32_t)i);
        }
        pack_u32(&w, first.uid + (uint32_t)i);
        pack_u8(&w, (uint8_t)id.n);
        pack_bytes(&w, id);
        count_one(&w, mem);
    }
    if (mem)
        change_put(c, key, pack_done(&w));
    return RC_OK;
}

enum rc brought_put(struct change *c, struct arena *arena, const struct store_append *appends,
                    size_t n, struct place first)
{
    TRY(put_origins(c, arena, appends, n));
    return put_uidls(c, arena, appends, n, first);
}

/* --- origins ---------------------------------------------------------------------------------- */

static enum rc take_origins(struct str value, char *to, size_t *n)
{
    struct unpacker r;
    unpack_init(&r, value);
    unsigned format = unpack_u8(&r);
    size_t count = unpack_u16(&r);
    struct str all = unpack_bytes(&r, count * STORE_ORIGIN);
    if (format != RECORD_FORMAT || unpack_done(&r) != RC_OK)
        return RC_CORRUPT;
    memcpy(to + *n * STORE_ORIGIN, all.p, all.n);
    *n += count;
    return RC_OK;
}

enum rc store_origins(struct store_account *a, uint64_t source, uint64_t *at, struct arena *arena,
                      const char **out, size_t *out_n)
{
    struct key from = key_origins(source, *at), to = key_after(key_str(&from), 9);
    struct kv_range range = {.from = key_str(&from), .to = key_str(&to)};
    struct kv_page page;
    *out_n = 0;
    TRY(kv_scan(a->store->kv, account_part(a->id), range, ORIGIN_PAGES, 0, arena, &page));
    size_t bytes = 0;
    for (size_t i = 0; i < page.n; i++)
        bytes += page.rows[i].value.n;
    char *mem = arena_alloc(arena, bytes + 1);
    if (!mem)
        return RC_LIMIT;
    for (size_t i = 0; i < page.n; i++) {
        if (page.rows[i].key.n != 17)
            return RC_CORRUPT;
        TRY(take_origins(page.rows[i].value, mem, out_n));
        *at = get_u64(page.rows[i].key.p + 9) + 1;
    }
    *out = mem;
    return RC_OK;
}

struct forgetting {
    struct attempt attempt;
    struct store_op *op;
    uint64_t source;
};

static enum rc run_forget(struct attempt *attempt)
{
    struct forgetting *p = CONTAINER(attempt, struct forgetting, attempt);
    struct change *c = change_quiet(attempt->account, p->op);
    struct key from = key_origins(p->source, 0);
    change_trim(c, from, key_after(key_str(&from), 9));
    return change_commit(c);
}

enum rc store_origins_forget(struct store_account *account, uint64_t source, unsigned flags,
                             struct store_op *op)
{
    struct forgetting p = {.attempt = {.run = run_forget, .account = account, .flags = flags},
                           .op = op,
                           .source = source};
    return attempt_run(&p.attempt);
}

/* --- unique-ids ------------------------------------------------------------------------------- */

/* Those of a row from a UID on. */
static enum rc take_uidls(struct str value, uint32_t from, struct arena *arena,
                          struct store_uidl **out, size_t *out_n)
{
    struct unpacker r;
    unpack_init(&r, value);
    unsigned format = unpack_u8(&r);
    size_t n = unpack_u16(&r);
    *out_n = 0;
    if (format != RECORD_FORMAT || n > r.n / UIDL_MORE)
        return RC_CORRUPT;
    *out = arena_alloc(arena, n * sizeof **out + 1);
    if (!*out)
        return RC_LIMIT;
    for (size_t i = 0; i < n; i++) {
        struct store_uidl u = {.uid = unpack_u32(&r)};
        u.id = unpack_bytes(&r, unpack_u8(&r));
        if (u.uid >= from)
            (*out)[(*out_n)++] = u;
    }
    return unpack_done(&r);
}

enum rc store_uidls(struct store_account *a, uint32_t mailbox, uint32_t uid, unsigned flags,
                    struct arena *arena, struct store_uidl **out, size_t *out_n)
{
    enum { PAGE = 2 };
    struct key from = key_uidls(mailbox, uid > STORE_APPENDS ? uid - STORE_APPENDS : 0);
    struct key first = key_of('l', mailbox, NULL, 0), to = key_after(key_str(&first), first.n);
    struct kv_range range = {.from = key_str(&from), .to = key_str(&to)};
    struct kv_page page = {.has_more = true};
    *out_n = 0;
    while (!*out_n && page.has_more) {
        TRY(kv_scan(a->store->kv, account_part(a->id), range, PAGE, flags & KV_CACHED, arena,
                    &page));
        for (size_t i = 0; i < page.n && !*out_n; i++)
            TRY(take_uidls(page.rows[i].value, uid, arena, out, out_n));
        if (page.n)
            range.after = page.rows[page.n - 1].key;
    }
    return RC_OK;
}

bool uidls_are_over(struct store_account *a, struct kv_row row)
{
    struct store_root *root;
    struct store_uidl *all = NULL;
    struct arena arena = {0};
    size_t n = 0, left = 0;
    if (row.key.n != 9)
        return false;
    enum rc rc = store_mailbox_open(a, get_u32(row.key.p + 1), 0, &root);
    if (rc != RC_OK)
        return rc == RC_NOTFOUND;
    rc = take_uidls(row.value, 0, &arena, &all, &n);
    for (size_t i = 0; rc == RC_OK && i < n; i++) {
        size_t at = store_root_find(root, all[i].uid);
        left += at < store_root_count(root) && store_root_at(root, at)->uid == all[i].uid;
    }
    arena_fini(&arena);
    store_root_release(&root);
    return rc == RC_OK && left == 0;
}
