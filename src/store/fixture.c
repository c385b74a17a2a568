/* What the store's unit tests share. */
#include "store/fixture.h"

#include "base/buf.h"
#include "base/mem.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const struct fixture_backend fixture_mem = {"mem", true}, fixture_local = {"local", false};

static void open_kv(struct fixture *f)
{
    struct kv_local_conf conf = {
        .path = f->dir, .segment_bytes = 256 << 10, .memory_bytes = 8 << 20, .reserve_bytes = 1};
    if (f->backend->is_mem)
        f->kv = kv_mem_new(&f->ctx);
    else
        assert_rc(kv_local_open(&f->ctx, &conf, &f->kv), RC_OK);
}

int fixture_set_up(void **state)
{
    struct fixture *f = mem_zero(sizeof *f);
    const char *tmp = getenv("TMPDIR");
    f->backend = *state;
    *state = f;
    clock_fixed_init(&f->clock, 1, 1800000000 * NS_PER_SEC);
    f->ctx.clock = &f->clock.clock;
    snprintf(f->top, sizeof f->top, "%.40s/penfold-store-XXXXXX", tmp ? tmp : "/tmp");
    if (!f->backend->is_mem && !mkdtemp(f->top))
        return -1;
    snprintf(f->dir, sizeof f->dir, "%s/data", f->top);
    open_kv(f);
    assert_rc(store_open(&f->ctx, f->kv, &f->conf, &f->store), RC_OK);
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    return remove(path);
}

int fixture_tear_down(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof f->open / sizeof f->open[0]; i++)
        store_account_close(&f->open[i]);
    store_close(&f->store);
    kv_close(&f->kv);
    if (!f->backend->is_mem)
        nftw(f->top, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(f);
    return 0;
}

void fixture_reopen_store(struct fixture *f)
{
    store_close(&f->store);
    assert_rc(store_open(&f->ctx, f->kv, &f->conf, &f->store), RC_OK);
}

void fixture_reopen(struct fixture *f)
{
    store_close(&f->store);
    if (!f->backend->is_mem) {
        kv_close(&f->kv);
        open_kv(f);
    }
    assert_rc(store_open(&f->ctx, f->kv, &f->conf, &f->store), RC_OK);
}

struct store_account *fixture_open(struct fixture *f, uint64_t id)
{
    struct store_account *a = NULL;
    size_t slot = 0;
    assert_rc(store_account_open(f->store, id, 0, &a), RC_OK);
    while (f->open[slot])
        slot++;
    f->open[slot] = a;
    return a;
}

struct store_account *fixture_account(struct fixture *f, uint64_t id)
{
    assert_rc(store_account_create(f->store, id, (struct store_quota){0}), RC_OK);
    return fixture_open(f, id);
}

void fixture_close(struct fixture *f, struct store_account **a)
{
    size_t slot = 0;
    while (f->open[slot] != *a)
        slot++;
    f->open[slot] = NULL;
    store_account_close(a);
}

/* --- changes ---------------------------------------------------------------------------------- */

struct kv_blob_id fixture_blob(struct fixture *f, struct store_account *a, struct str text)
{
    struct kv_blob_id blob;
    struct kv_blob_out *out = kv_blob_new(f->kv, account_part(store_account_id(a)), 0, 0);
    assert_rc(kv_blob_write(out, text), RC_OK);
    assert_rc(kv_blob_finish(&out, &blob), RC_OK);
    return blob;
}

void fixture_forget(struct fixture *f, struct kv_blob_id blob)
{
    kv_blob_forget(f->kv, blob);
}

enum rc fixture_append(struct fixture *f, struct store_account *a, struct str text,
                       const struct store_append *how, struct store_op *out)
{
    struct store_append append = how ? *how : (struct store_append){0};
    struct waiter w;
    append.blob = fixture_blob(f, a, text);
    append.size = text.n;
    if (append.received == 0)
        append.received = clock_wall(f->ctx.clock);
    waiter_init(&w);
    enum rc rc = waiter_wait(&w, store_append(a, &append, 0, &w.op));
    fixture_forget(f, append.blob);
    if (out)
        *out = w.op;
    return rc;
}

static void append_some(struct fixture *f, struct store_account *a, uint32_t n)
{
    struct waiter *w = mem_zero(n * sizeof *w);
    struct kv_blob_id *blobs = mem_zero(n * sizeof *blobs);
    for (uint32_t i = 0; i < n; i++) {
        blobs[i] = fixture_blob(f, a, STR("x"));
        waiter_init(&w[i]);
        struct store_append append = {.blob = blobs[i], .size = 1};
        assert_rc(store_append(a, &append, 0, &w[i].op), RC_OK);
    }
    for (uint32_t i = 0; i < n; i++) {
        assert_rc(waiter_wait(&w[i], RC_OK), RC_OK);
        fixture_forget(f, blobs[i]);
    }
    free(w);
    free(blobs);
}

void fixture_append_many(struct fixture *f, struct store_account *a, uint32_t n)
{
    for (uint32_t some; n; n -= some) { /* fewer than may be under way */
        some = n < CHANGE_QUEUE / 2 ? n : CHANGE_QUEUE / 2;
        append_some(f, a, some);
    }
}

enum rc fixture_flags(struct store_account *a, const struct store_flag_change *change,
                      struct store_op *out)
{
    struct waiter w;
    waiter_init(&w);
    enum rc rc = waiter_wait(&w, store_change_flags(a, change, 0, &w.op));
    if (out)
        *out = w.op;
    return rc;
}

enum rc fixture_flag(struct store_account *a, uint32_t mailbox, uint32_t uid,
                     enum store_flag_how how, uint32_t flags)
{
    return fixture_flags(a,
                         &(struct store_flag_change){.mailbox = mailbox,
                                                     .uids = &uid,
                                                     .n_uids = 1,
                                                     .how = how,
                                                     .flags = flags,
                                                     .unchanged_since = UINT64_MAX},
                         NULL);
}

enum rc fixture_expunge(struct store_account *a, uint32_t mailbox, const uint32_t *uids, size_t n,
                        struct store_op *out)
{
    struct waiter w;
    waiter_init(&w);
    enum rc rc = waiter_wait(&w, store_expunge(a, mailbox, uids, n, 0, &w.op));
    if (out)
        *out = w.op;
    return rc;
}

enum rc fixture_copy(struct store_account *a, const struct store_copy *copy, struct store_op *out)
{
    uint32_t uids[STORE_BATCH];
    struct store_copy how = *copy;
    struct waiter w;
    if (!how.out_uids)
        how.out_uids = uids;
    waiter_init(&w);
    enum rc rc = waiter_wait(&w, store_copy(a, &how, 0, &w.op));
    if (out)
        *out = w.op;
    return rc;
}

/* Splits without a check, so that bad names get through. */
static struct store_path path_of(const char *name, struct str levels[32])
{
    struct store_path path = {levels, 0};
    for (;;) {
        size_t n = strcspn(name, "/");
        levels[path.n++] = str_from(name, n);
        if (name[n] == 0 || path.n == 32)
            return path;
        name += n + 1;
    }
}

enum rc fixture_create(struct store_account *a, const char *name, enum store_role role,
                       struct store_op *out)
{
    struct str levels[32];
    struct waiter w;
    waiter_init(&w);
    enum rc rc = waiter_wait(&w, store_mailbox_create(a, path_of(name, levels), role, 0, &w.op));
    if (out)
        *out = w.op;
    return rc;
}

enum rc fixture_rename(struct store_account *a, uint32_t id, const char *to)
{
    struct str levels[32];
    struct waiter w;
    waiter_init(&w);
    return waiter_wait(&w, store_mailbox_rename(a, id, path_of(to, levels), 0, &w.op));
}

enum rc fixture_remove(struct store_account *a, uint32_t id)
{
    struct waiter w;
    waiter_init(&w);
    return waiter_wait(&w, store_mailbox_remove(a, id, 0, &w.op));
}

uint32_t fixture_find(struct store_account *a, const char *name)
{
    struct str levels[32];
    uint32_t id;
    enum rc rc = store_mailbox_find(a, path_of(name, levels), &id);
    assert_rc(rc, id ? RC_OK : RC_NOTFOUND);
    return id;
}

void fixture_maintain(struct store_account *a)
{
    for (bool more = true; more;)
        assert_rc(store_maintain(a, &more), RC_OK);
}

/* --- looking ---------------------------------------------------------------------------------- */

void fixture_assert_body(struct store_account *a, uint64_t email, struct str text)
{
    struct store_message *m = NULL;
    char *mem = mem_alloc(text.n + 1);
    size_t got = 0;
    assert_rc(store_message_open(a, email, 0, &m), RC_OK);
    assert_int_equal(store_message_size(m), text.n);
    assert_rc(store_message_read(m, 0, mem, text.n + 1, 0, &got), RC_OK);
    assert_int_equal(got, text.n);
    assert_memory_equal(mem, text.p, text.n);
    store_message_close(&m);
    free(mem);
}

static void print_fault(struct store_fsck *fsck, const char *line)
{
    print_error("%s\n", line);
}

static void print_kv_fault(struct kv_fsck *fsck, const char *line)
{
    print_error("%s\n", line);
}

void fixture_assert_sound(struct fixture *f, uint64_t id)
{
    struct store_fsck fsck = {.report = print_fault};
    assert_rc(store_fsck(f->store, id, &fsck), RC_OK);
    assert_int_equal(fsck.faults, 0);
    struct kv_fsck kv_fsck_ = {.report = print_kv_fault};
    assert_rc(kv_fsck(f->kv, &kv_fsck_), RC_OK);
}

void fixture_assert_rows(struct store_account *a, uint32_t mailbox, const char *expected)
{
    struct store_root *root = NULL;
    struct buf text;
    buf_init(&text, 1 << 20);
    assert_rc(store_mailbox_open(a, mailbox, 0, &root), RC_OK);
    for (size_t i = 0; i < store_root_count(root); i++) {
        const struct store_row *row = store_root_at(root, i);
        buf_putf(&text, "%s%u:", i ? " " : "", row->uid);
        for (unsigned bit = 0; bit < 5; bit++)
            if (row->flags & 1u << bit)
                buf_putf(&text, "%c", "SAFDR"[bit]);
    }
    buf_put(&text, STR("\0"));
    assert_string_equal(buf_str(&text).p, expected);
    buf_fini(&text);
    store_root_release(&root);
}

struct store_mailbox fixture_mailbox(struct store_account *a, uint32_t id)
{
    struct arena arena;
    struct store_mailbox *list, found = {0};
    size_t n;
    arena_init(&arena, 0);
    assert_rc(store_mailbox_list(a, &arena, &list, &n), RC_OK);
    for (size_t i = 0; i < n; i++)
        if (list[i].id == id)
            found = list[i];
    assert_int_equal(found.id, id);
    found.name = (struct str){0};
    arena_fini(&arena);
    return found;
}
