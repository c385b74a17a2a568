/* Fuzz target: rows that a migration reads. Its own record, and, of whatever partition, where the
 * ids of bodies stand in a row: the first byte is the length of the key, then come key and value.
 * Aborts when an id would lie outside of its row. */
#include "fuzz/fuzz.h"
#include "migrate/migrate_int.h"

#include <string.h>

static void record(struct str value)
{
    struct migrate_header header;
    struct migrate_done done;
    if (migrate_header_parse(value, &header) == RC_OK)
        FUZZ_DEMAND(memchr(header.source, '\0', sizeof header.source) != NULL);
    (void)migrate_done_parse(value, &done);
}

static void blobs(struct kv_row row)
{
    static const enum kv_class classes[] = {KV_ACCOUNT, KV_CACHE, KV_QUEUE, KV_DIRECTORY,
                                            KV_GLOBAL};
    static const struct kv_blob_id none;
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++) {
        uint32_t at[KV_ROW_BLOBS];
        size_t n = 0;
        if (carry_blobs((struct kv_part){classes[i], 1}, row, at, &n) != RC_OK)
            continue;
        FUZZ_DEMAND(n <= KV_ROW_BLOBS);
        for (size_t k = 0; k < n; k++) {
            FUZZ_DEMAND(at[k] + sizeof none.b <= row.value.n);
            (void)carry_blob_at(row, at[k]);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = str_from(data, size);
    record(text);
    if (size < 2 || data[0] == 0 || data[0] > size - 1)
        return 0;
    blobs((struct kv_row){str_sub(text, 1, data[0]), str_skip(text, 1u + data[0])});
    return 0;
}
