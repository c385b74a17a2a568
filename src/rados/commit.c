/* A partition's queue. */
#include "rados/rados_int.h"

enum rc rad_commit(struct kv *kv, struct kv_op *op)
{
    return RC_TEMP;
}

void rad_commits_drain(struct rad *rad)
{
}
