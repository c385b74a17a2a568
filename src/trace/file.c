/* Files of events: partitions of class X, numbered by the time of their beginning and who writes
 * them. They are listed in the first partition of their set, TRACE_PARTITIONS for mail, with a row
 * `p` start4 writer1 each.
 *
 * 1. A file is listed before its first row is written and until its last one is gone, so that none
 * is forgotten.
 * 2. A file has one writer, which says with each commit what the version was: what a second one of
 * the same number writes meanwhile is never mixed with it. */
#include "trace/trace_int.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum { FORMAT = 1, LIST_KEY = 6, STATE = 13 };

/* Behind the numbers of files. */
static uint64_t first_of(enum file_set set)
{
    return TRACE_PARTITIONS | (uint64_t)set << 48;
}

static struct kv_part list_part(enum file_set set)
{
    return (struct kv_part){KV_CACHE, first_of(set)};
}

struct kv_part trace_file_part(const struct file *file)
{
    return (struct kv_part){KV_CACHE,
                            first_of(file->set) | (uint64_t)file->start << 8 | file->writer};
}

static struct str list_key(const struct file *file, unsigned char key[LIST_KEY])
{
    key[0] = 'p';
    put_u32(key + 1, file->start);
    key[5] = file->writer;
    return str_from(key, LIST_KEY);
}

/* --- the list --------------------------------------------------------------------------------- */

enum rc trace_file_read(struct kv *kv, struct file *file)
{
    struct arena arena = {0};
    struct str key = STR("s"), value;
    enum rc rc = kv_get(kv, trace_file_part(file), &key, 1, 0, &arena, &value, &file->version);
    file->bytes = 0;
    file->next = 0;
    if (rc == RC_OK && value.n >= STATE && value.p[0] == FORMAT) {
        file->bytes = get_u64(value.p + 1);
        file->next = get_u32(value.p + 9);
    }
    arena_fini(&arena);
    return rc;
}

enum rc trace_files_list(struct kv *kv, enum file_set set, struct file **out, size_t *out_n)
{
    struct kv_range range = {.from = STR("p"), .to = STR("q")};
    struct file *files = NULL;
    size_t n = 0, capacity = 0;
    struct arena arena = {0};
    struct kv_page page;
    enum rc rc;
    do {
        rc = kv_scan(kv, list_part(set), range, 0, 0, &arena, &page);
        for (size_t i = 0; rc == RC_OK && i < page.n; i++) {
            struct str key = page.rows[i].key;
            if (key.n != LIST_KEY)
                continue;
            files = mem_array(files, &capacity, n + 1, sizeof *files);
            files[n] =
                (struct file){.set = set, .start = get_u32(key.p + 1), .writer = (uint8_t)key.p[5]};
            rc = trace_file_read(kv, &files[n++]);
        }
        if (rc == RC_OK && page.has_more)
            range.after = page.rows[page.n - 1].key;
    } while (rc == RC_OK && page.has_more);
    arena_fini(&arena);
    if (rc != RC_OK) {
        free(files);
        return rc;
    }
    *out = files;
    *out_n = n;
    return RC_OK;
}

enum rc trace_file_note(struct kv *kv, const struct file *file)
{
    unsigned char key[LIST_KEY];
    struct kv_txn *txn = kv_txn_new(list_part(file->set));
    enum rc rc = kv_txn_put(txn, list_key(file, key), str_from(&(char){FORMAT}, 1));
    if (rc == RC_OK)
        return kv_commit_lazy_wait(kv, txn, NULL);
    kv_txn_free(&txn);
    return rc;
}

enum rc trace_file_remove(struct kv *kv, const struct file *file)
{
    unsigned char key[LIST_KEY];
    struct kv_txn *txn = kv_txn_new(trace_file_part(file));
    enum rc rc = kv_txn_trim(txn, (struct str){0}, (struct str){0});
    if (rc == RC_OK) {
        TRY(kv_commit_lazy_wait(kv, txn, NULL));
        txn = kv_txn_new(list_part(file->set));
        rc = kv_txn_delete(txn, list_key(file, key));
    }
    if (rc == RC_OK)
        return kv_commit_lazy_wait(kv, txn, NULL);
    kv_txn_free(&txn);
    return rc;
}

/* --- filling one ------------------------------------------------------------------------------ */

static enum rc put_state(struct kv_txn *txn, const struct file *file)
{
    unsigned char value[STATE] = {FORMAT};
    put_u64(value + 1, file->bytes);
    put_u32(value + 9, file->next);
    return kv_txn_put(txn, STR("s"), str_from(value, sizeof value));
}

static enum rc append_some(struct kv *kv, struct file *file, struct index *index)
{
    struct kv_txn *txn = kv_txn_new(trace_file_part(file));
    struct file after = *file;
    uint64_t bytes;
    kv_txn_expect(txn, file->version);
    enum rc rc = trace_index_put(index, txn, &bytes);
    after.bytes += bytes;
    after.next = trace_index_next(index);
    if (rc == RC_OK)
        rc = put_state(txn, &after);
    if (rc != RC_OK) {
        kv_txn_free(&txn);
        return rc;
    }
    TRY(kv_commit_lazy_wait(kv, txn, &after.version));
    *file = after;
    return RC_OK;
}

enum rc trace_file_append(struct kv *kv, struct file *file, struct str events)
{
    struct unpacker r;
    enum rc rc = RC_OK;
    unpack_init(&r, events);
    while (rc == RC_OK && r.n) {
        struct index *index = trace_index_new(file->next);
        for (struct unpacker ahead = r; r.n; r = ahead) {
            struct str event = unpack_str16(&ahead);
            if (ahead.failed || trace_index_add(index, event) != RC_OK)
                break;
        }
        if (trace_index_next(index) == file->next)
            rc = RC_CORRUPT; /* not events: this would go on for ever */
        else
            rc = append_some(kv, file, index);
        trace_index_free(&index);
    }
    return rc;
}
