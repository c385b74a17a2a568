/* The reads of kv.h. */
#include "rados/rados_int.h"

enum rc rad_version(struct kv *kv, struct kv_part part, unsigned flags, uint64_t *out_version)
{
    return RC_TEMP;
}

enum rc rad_get(struct kv *kv, struct kv_part part, const struct str *keys, size_t n,
                unsigned flags, struct arena *arena, struct str *out_values, uint64_t *out_version)
{
    return RC_TEMP;
}

enum rc rad_scan(struct kv *kv, struct kv_part part, struct kv_range range, size_t max_rows,
                 unsigned flags, struct arena *arena, struct kv_page *out_page)
{
    return RC_TEMP;
}
