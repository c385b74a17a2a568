/* The store's parts of backup and restore; what copies files is the command (ctl). */
#include "admin/admin_int.h"

/* A consistent copy within the data folder, the only place where a server may write: made of hard
 * links, so at once and without room. Who asked for it copies it elsewhere, and removes it. */
void admin_backup_snapshot(struct admin *admin, const struct admin_call *c, struct admin_answer *a)
{
    enum rc rc = kv_backup(admin->kv, ADMIN_SNAPSHOT);
    if (rc == RC_PERM || rc == RC_EXISTS)
        answer_fail(a, rc, "backup: %s",
                    rc == RC_PERM ? "this store keeps nothing" : "another one is under way");
    answer_rc(a, rc, STR("backup"));
}

/* The first thing that is done with a store that was restored: nothing of what had been on its way
 * is tried, since some of it may have arrived. */
void admin_backup_restored(struct admin *admin, const struct admin_call *c, struct admin_answer *a)
{
    answer_rc(a, queue_hold_all(admin->queue, "restored from a backup"), STR("queue"));
}
