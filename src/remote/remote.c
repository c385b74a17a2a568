/* The rows of accounts elsewhere.
 *
 * Settings, in (J, 1): `r` account8 id4: format 1, then as pack_settings has it; `n`: format 1, the
 * last number given. States, in (J, 2): `s` account8 id4. Fields that were added later stand
 * behind, and are zeroes where they are missing. */
#include "remote/remote.h"

#include "base/bytes.h"
#include "base/mem.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { FORMAT = 1, KEY = 13, SETTINGS_MAX = 8192, STATE_MAX = 512, TRIES = 20 };

const struct kv_part remote_settings_part = {KV_JOBS, 1}, remote_states_part = {KV_JOBS, 2};
static const struct str last_key = STR_INIT("n");

bool remote_partition(size_t n, struct kv_part *out)
{
    *out = n == 0 ? remote_settings_part : remote_states_part;
    return n <= 1;
}

static struct str key_of(char kind, uint64_t account, uint32_t id, unsigned char out[KEY])
{
    out[0] = (unsigned char)kind;
    put_u64(out + 1, account);
    put_u32(out + 9, id);
    return str_from(out, KEY);
}

/* --- records ---------------------------------------------------------------------------------- */

static struct str pack_settings(const struct remote *r, void *mem)
{
    struct packer w;
    pack_init(&w, mem, SETTINGS_MAX);
    pack_u8(&w, FORMAT);
    pack_str16(&w, r->owner);
    pack_u8(&w, r->protocol);
    pack_u8(&w, r->tls);
    pack_str16(&w, r->host);
    pack_u16(&w, r->port);
    pack_str16(&w, r->login);
    pack_str16(&w, r->sealed);
    pack_u8(&w, (uint8_t)r->after);
    pack_u32(&w, r->days);
    pack_u64(&w, r->interval_s);
    pack_str16(&w, r->folders);
    pack_u64(&w, r->created);
    pack_u64(&w, r->credentials);
    pack_u64(&w, r->asked);
    return pack_done(&w);
}

static enum rc unpack_settings(struct kv_row row, struct remote *out)
{
    struct unpacker r;
    *out = (struct remote){.raw = row.value};
    if (row.key.n != KEY)
        return RC_CORRUPT;
    out->account = get_u64(row.key.p + 1);
    out->id = get_u32(row.key.p + 9);
    unpack_init(&r, row.value);
    if (unpack_u8(&r) != FORMAT)
        return RC_CORRUPT;
    out->owner = unpack_str16(&r);
    out->protocol = unpack_u8(&r);
    out->tls = unpack_u8(&r);
    out->host = unpack_str16(&r);
    out->port = unpack_u16(&r);
    out->login = unpack_str16(&r);
    out->sealed = unpack_str16(&r);
    out->after = unpack_u8(&r);
    out->days = unpack_u32(&r);
    out->interval_s = unpack_u64(&r);
    out->folders = unpack_str16(&r);
    out->created = unpack_u64(&r);
    out->credentials = unpack_u64(&r);
    out->asked = unpack_u64(&r);
    return unpack_done(&r);
}

static struct str pack_state(const struct remote_state *s, void *mem)
{
    struct packer w;
    pack_init(&w, mem, STATE_MAX);
    pack_u8(&w, FORMAT);
    pack_u8(&w, (uint8_t)s->condition);
    pack_u64(&w, s->tried);
    pack_u64(&w, s->succeeded);
    pack_u64(&w, s->due);
    pack_u64(&w, s->failing_since);
    pack_u32(&w, s->failures);
    pack_u64(&w, s->messages);
    pack_u64(&w, s->left);
    pack_u64(&w, s->credentials);
    pack_u64(&w, s->asked);
    pack_str16(&w, str_head(s->text, REMOTE_TEXT_MAX));
    return pack_done(&w);
}

static enum rc unpack_state(struct str value, struct remote_state *out)
{
    struct unpacker r;
    *out = (struct remote_state){0};
    unpack_init(&r, value);
    if (unpack_u8(&r) != FORMAT)
        return RC_CORRUPT;
    out->condition = unpack_u8(&r);
    out->tried = unpack_u64(&r);
    out->succeeded = unpack_u64(&r);
    out->due = unpack_u64(&r);
    out->failing_since = unpack_u64(&r);
    out->failures = unpack_u32(&r);
    out->messages = unpack_u64(&r);
    out->left = unpack_u64(&r);
    out->credentials = unpack_u64(&r);
    out->asked = unpack_u64(&r);
    out->text = unpack_str16(&r);
    return unpack_done(&r);
}

/* --- settings --------------------------------------------------------------------------------- */

enum rc remote_list(struct kv *kv, uint64_t account, struct arena *arena, struct remote **out,
                    size_t *out_n)
{
    unsigned char from[KEY], to[KEY];
    struct kv_range range = {.from = key_of('r', account, 0, from),
                             .to = key_of('r', account ? account + 1 : UINT64_MAX, 0, to)};
    struct kv_page page = {.has_more = true};
    struct remote *all = NULL;
    size_t n = 0, size = 0;
    enum rc rc = RC_OK;
    while (rc == RC_OK && page.has_more) {
        rc = kv_scan(kv, remote_settings_part, range, 0, 0, arena, &page);
        for (size_t i = 0; rc == RC_OK && i < page.n; i++) {
            all = mem_array(all, &size, n + 1, sizeof *all);
            rc = unpack_settings(page.rows[i], &all[n++]);
        }
        if (rc == RC_OK && page.n)
            range.after = page.rows[page.n - 1].key;
    }
    struct remote *kept = rc == RC_OK ? arena_alloc(arena, n * sizeof *all + 1) : NULL;
    if (rc == RC_OK && !kept)
        rc = RC_LIMIT;
    if (rc == RC_OK && n)
        memcpy(kept, all, n * sizeof *all);
    free(all);
    *out = kept;
    *out_n = rc == RC_OK ? n : 0;
    return rc;
}

enum rc remote_get(struct kv *kv, uint64_t account, uint32_t id, struct arena *arena,
                   struct remote *out)
{
    unsigned char mem[KEY];
    struct kv_row row = {.key = key_of('r', account, id, mem)};
    TRY(kv_get(kv, remote_settings_part, &row.key, 1, 0, arena, &row.value, NULL));
    return str_is_null(row.value) ? RC_NOTFOUND : unpack_settings(row, out);
}

static bool is_too_long(const struct remote *r)
{
    return r->host.n > REMOTE_HOST_MAX || r->login.n > REMOTE_LOGIN_MAX ||
           r->sealed.n > CRYPTO_SEALED_MAX || r->folders.n > REMOTE_MAP_MAX || r->owner.n > 320;
}

static enum rc put_last(struct kv_txn *txn, struct str before, uint32_t number)
{
    unsigned char mem[5] = {FORMAT};
    TRY(str_is_null(before) ? kv_txn_assert_absent(txn, last_key)
                            : kv_txn_assert_value(txn, last_key, before));
    put_u32(mem + 1, number);
    return kv_txn_put(txn, last_key, str_from(mem, sizeof mem));
}

static enum rc add(struct kv *kv, const struct remote *remote, size_t most, struct arena *arena,
                   uint32_t *out_id)
{
    unsigned char mem[SETTINGS_MAX], key[KEY];
    struct remote *all;
    struct str last;
    size_t n;
    TRY(remote_list(kv, remote->account, arena, &all, &n));
    if (n >= most)
        return RC_LIMIT;
    TRY(kv_get(kv, remote_settings_part, &last_key, 1, 0, arena, &last, NULL));
    if (!str_is_null(last) && (last.n != 5 || last.p[0] != FORMAT))
        return RC_CORRUPT;
    *out_id = 1 + (last.n ? get_u32(last.p + 1) : 0);
    struct kv_txn *txn = kv_txn_new(remote_settings_part);
    enum rc rc = put_last(txn, last, *out_id);
    if (rc == RC_OK)
        rc =
            kv_txn_put(txn, key_of('r', remote->account, *out_id, key), pack_settings(remote, mem));
    if (rc == RC_OK)
        return kv_commit_wait(kv, txn, NULL);
    kv_txn_free(&txn);
    return rc;
}

enum rc remote_add(struct kv *kv, const struct remote *remote, size_t most, uint32_t *out_id)
{
    enum rc rc = is_too_long(remote) ? RC_LIMIT : RC_CONFLICT;
    for (int i = 0; rc == RC_CONFLICT && i < TRIES; i++) {
        struct arena arena = {0};
        rc = add(kv, remote, most, &arena, out_id);
        arena_fini(&arena);
    }
    return rc == RC_CONFLICT ? RC_TEMP : rc;
}

/* Puts another version of a row in the place of the one that was read. */
static enum rc replace(struct kv *kv, const struct remote *old, const struct remote *now)
{
    unsigned char mem[SETTINGS_MAX], key[KEY];
    struct str k = key_of('r', old->account, old->id, key);
    struct kv_txn *txn = kv_txn_new(remote_settings_part);
    enum rc rc = kv_txn_assert_value(txn, k, old->raw);
    if (rc == RC_OK)
        rc = kv_txn_put(txn, k, pack_settings(now, mem));
    if (rc == RC_OK)
        return kv_commit_wait(kv, txn, NULL);
    kv_txn_free(&txn);
    return rc;
}

/* What is absent or 0 stays. */
static enum rc change(struct kv *kv, uint64_t account, uint32_t id, struct str sealed,
                      struct str owner, uint64_t asked)
{
    enum rc rc = RC_CONFLICT;
    for (int i = 0; rc == RC_CONFLICT && i < TRIES; i++) {
        struct arena arena = {0};
        struct remote old;
        rc = remote_get(kv, account, id, &arena, &old);
        struct remote now = old;
        if (!str_is_null(sealed)) {
            now.sealed = sealed;
            now.credentials++;
        }
        now.owner = owner.n ? owner : now.owner;
        now.asked = asked ? asked : now.asked;
        if (rc == RC_OK)
            rc = is_too_long(&now) ? RC_LIMIT : replace(kv, &old, &now);
        arena_fini(&arena);
    }
    return rc == RC_CONFLICT ? RC_TEMP : rc;
}

enum rc remote_reseal(struct kv *kv, uint64_t account, uint32_t id, struct str sealed)
{
    return change(kv, account, id, sealed, (struct str){0}, 0);
}

enum rc remote_ask(struct kv *kv, uint64_t account, uint32_t id, uint64_t now)
{
    return change(kv, account, id, (struct str){0}, (struct str){0}, now);
}

enum rc remote_rename(struct kv *kv, uint64_t account, struct str owner)
{
    struct arena arena = {0};
    struct remote *all;
    size_t n;
    enum rc rc = remote_list(kv, account, &arena, &all, &n);
    for (size_t i = 0; rc == RC_OK && i < n; i++)
        rc = change(kv, account, all[i].id, (struct str){0}, owner, 0);
    arena_fini(&arena);
    return rc;
}

/* --- removing --------------------------------------------------------------------------------- */

struct waiting {
    struct store_op op;
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    bool is_done;
};

static void noted(struct store_op *op)
{
    struct waiting *w = CONTAINER(op, struct waiting, op);
    pthread_mutex_lock(&w->mutex);
    w->is_done = true;
    pthread_cond_signal(&w->cond);
    pthread_mutex_unlock(&w->mutex);
}

static enum rc forget_page(struct store_account *a, const struct kv_page *page)
{
    struct waiting w = {
        .op.done = noted, .mutex = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};
    struct store_note notes[STORE_NOTES];
    size_t n = page->n < STORE_NOTES ? page->n : STORE_NOTES;
    for (size_t i = 0; i < n; i++)
        notes[i] = (struct store_note){.key = page->rows[i].key};
    TRY(store_notes_put(a, notes, n, 0, &w.op));
    pthread_mutex_lock(&w.mutex);
    while (!w.is_done)
        pthread_cond_wait(&w.cond, &w.mutex);
    pthread_mutex_unlock(&w.mutex);
    return w.op.rc;
}

static enum rc forget(struct store *store, uint64_t account, uint32_t id)
{
    unsigned char mem[REMOTE_NOTE_KEY];
    struct store_account *a;
    enum rc rc = store_account_open(store, account, 0, &a);
    if (rc != RC_OK)
        return rc == RC_NOTFOUND ? RC_OK : rc;
    for (;;) {
        struct arena arena = {0};
        struct kv_page page;
        rc = store_notes_list(a, remote_note_prefix(id, 0, mem), (struct str){0}, &arena, &page);
        bool is_over = rc == RC_OK && page.n == 0;
        if (rc == RC_OK && !is_over)
            rc = forget_page(a, &page);
        arena_fini(&arena);
        if (rc != RC_OK || is_over)
            break;
    }
    store_account_close(&a);
    return rc;
}

static enum rc delete_row(struct kv *kv, struct kv_part part, struct str key)
{
    struct kv_txn *txn = kv_txn_new(part);
    enum rc rc = kv_txn_delete(txn, key);
    if (rc == RC_OK)
        return kv_commit_wait(kv, txn, NULL);
    kv_txn_free(&txn);
    return rc;
}

/* The settings last: until then it can be named again. */
enum rc remote_remove(struct kv *kv, struct store *store, uint64_t account, uint32_t id)
{
    unsigned char key[KEY];
    struct arena arena = {0};
    struct remote r;
    enum rc rc = remote_get(kv, account, id, &arena, &r);
    arena_fini(&arena);
    TRY(rc);
    if (store)
        TRY(forget(store, account, id));
    TRY(delete_row(kv, remote_states_part, key_of('s', account, id, key)));
    return delete_row(kv, remote_settings_part, key_of('r', account, id, key));
}

/* --- states ----------------------------------------------------------------------------------- */

enum rc remote_state_get(struct kv *kv, uint64_t account, uint32_t id, struct arena *arena,
                         struct remote_state *out)
{
    unsigned char mem[KEY];
    struct str key = key_of('s', account, id, mem), value;
    *out = (struct remote_state){0};
    TRY(kv_get(kv, remote_states_part, &key, 1, 0, arena, &value, NULL));
    return str_is_null(value) ? RC_OK : unpack_state(value, out);
}

enum rc remote_state_put(struct kv *kv, uint64_t account, uint32_t id,
                         const struct remote_state *state)
{
    unsigned char mem[STATE_MAX], key[KEY];
    struct kv_txn *txn = kv_txn_new(remote_states_part);
    enum rc rc = kv_txn_put(txn, key_of('s', account, id, key), pack_state(state, mem));
    if (rc == RC_OK)
        return kv_commit_wait(kv, txn, NULL);
    kv_txn_free(&txn);
    return rc;
}

/* --- notes ------------------------------------------------------------------------------------ */

struct str remote_note_prefix(uint32_t id, char kind, unsigned char out[REMOTE_NOTE_KEY])
{
    out[0] = REMOTE_NOTE;
    put_u32(out + 1, id);
    out[5] = (unsigned char)kind;
    return str_from(out, kind ? 6 : 5);
}

struct str remote_note_key(uint32_t id, char kind, struct str what,
                           unsigned char out[REMOTE_NOTE_KEY])
{
    unsigned char digest[CRYPTO_SHA256];
    crypto_sha256(what, digest);
    remote_note_prefix(id, kind, out);
    memcpy(out + 6, digest, 16);
    return str_from(out, REMOTE_NOTE_KEY);
}

/* --- passwords -------------------------------------------------------------------------------- */

static void pack_whom(struct packer *w, const struct remote *r)
{
    pack_u8(w, FORMAT);
    pack_u64(w, r->account);
    pack_str16(w, r->host);
    pack_u16(w, r->port);
    pack_u8(w, r->tls);
    pack_str16(w, r->login);
}

enum rc remote_seal(const struct remote *remote, struct str password,
                    const unsigned char seal[CRYPTO_SEAL_KEY], struct buf *out)
{
    unsigned char mem[CRYPTO_WORDS_MAX];
    struct packer w;
    if (password.n > REMOTE_PASSWORD_MAX)
        return RC_LIMIT;
    pack_init(&w, mem, sizeof mem);
    pack_whom(&w, remote);
    pack_str16(&w, password);
    struct str words = pack_done(&w);
    enum rc rc = str_is_null(words) ? RC_LIMIT : crypto_words_seal(words, seal, out);
    crypto_wipe(mem, sizeof mem);
    return rc;
}

/* Whoever can write to the store cannot have a password said to a host of his: it names its own. */
enum rc remote_unseal(struct crypto_signer_client *signer, const struct remote *remote,
                      char *password, size_t *n)
{
    unsigned char mem[CRYPTO_WORDS_MAX], whom[CRYPTO_WORDS_MAX];
    size_t size = sizeof mem;
    struct packer w;
    struct unpacker r;
    pack_init(&w, whom, sizeof whom);
    pack_whom(&w, remote);
    struct str expected = pack_done(&w);
    enum rc rc = crypto_words_open(signer, remote->sealed, mem, &size);
    if (rc == RC_OK && !str_starts(str_from(mem, size), expected))
        rc = RC_DENIED;
    if (rc == RC_OK) {
        unpack_init(&r, str_skip(str_from(mem, size), expected.n));
        struct str text = unpack_str16(&r);
        rc = unpack_done(&r) != RC_OK ? RC_DENIED : text.n > *n ? RC_LIMIT : RC_OK;
        if (rc == RC_OK) {
            memcpy(password, text.n ? text.p : "", text.n);
            *n = text.n;
        }
    }
    crypto_wipe(mem, sizeof mem);
    return rc;
}
