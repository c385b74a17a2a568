/* Recall: who has submitted a message takes it back while it waits. What has gone on already - a
 * copy that was delivered, a host that has taken it, a try under way just now - is not called back.
 */
#include "admin/admin_int.h"

enum { PAGE = 100 };

enum rc admin_recall(struct admin *admin, uint64_t account, struct queue_id id)
{
    struct arena arena = {0};
    struct queue_entry entry;
    size_t n = 0;
    enum rc rc = queue_load(admin->queue, id, 0, &arena, &entry);
    if (rc == RC_OK && (entry.rc != RC_OK || !account || entry.item.account != account))
        rc = RC_NOTFOUND; /* nobody learns what others have sent */
    if (rc == RC_OK)
        rc = queue_act(admin->queue, QUEUE_REMOVE, "recalled", &id, 1, &n);
    if (rc == RC_OK && n)
        admin_trace_changed(admin, &entry, QUEUE_REMOVE);
    arena_fini(&arena);
    return rc == RC_OK && n == 0 ? RC_NOTFOUND : rc;
}

/* The queue's id, or that of the answer to DATA, or the Message-ID. */
static bool is_meant(const struct queue_item *item, struct str what)
{
    if (what.n > 2 && what.p[0] == '<' && str_ends(what, STR(">")))
        what = str_sub(what, 1, what.n - 2);
    return str_eq(item->log_id, what) || (what.n && str_eq(item->message_id, what));
}

static enum rc find_in(struct admin *admin, unsigned shard, uint64_t account, struct str what,
                       struct queue_id *out)
{
    struct queue_id ids[PAGE], after;
    const struct queue_id *from = NULL;
    size_t n = PAGE;
    while (n == PAGE) {
        TRY(queue_list(admin->queue, shard, from, ids, PAGE, &n));
        for (size_t i = 0; i < n; i++) {
            struct arena arena = {0};
            struct queue_entry entry;
            enum rc rc = queue_load(admin->queue, ids[i], 0, &arena, &entry);
            bool is_found = rc == RC_OK && entry.rc == RC_OK && entry.item.account == account &&
                            is_meant(&entry.item, what);
            arena_fini(&arena);
            if (is_found) {
                *out = ids[i];
                return RC_OK;
            }
        }
        if (n) {
            after = ids[n - 1];
            from = &after;
        }
    }
    return RC_NOTFOUND;
}

static enum rc find(struct admin *admin, uint64_t account, struct str what, struct queue_id *out)
{
    enum rc rc = RC_NOTFOUND;
    if (queue_id_parse(what, out) == RC_OK)
        return RC_OK;
    for (unsigned shard = 0; shard < QUEUE_SHARDS && rc == RC_NOTFOUND; shard++)
        rc = find_in(admin, shard, account, what, out);
    return rc;
}

void admin_queue_recall(struct admin *admin, const struct admin_call *c, struct admin_answer *a)
{
    struct auth_account account;
    struct queue_id id;
    enum rc rc = auth_account_show(admin->auth, c->args[0], &a->arena, &account);
    if (rc != RC_OK) {
        answer_rc(a, rc, c->args[0]);
        return;
    }
    rc = find(admin, account.id, c->args[1], &id);
    if (rc == RC_OK)
        rc = admin_recall(admin, account.id, id);
    if (rc == RC_NOTFOUND)
        answer_fail(a, rc, "%.*s: no such message of %.*s waits: it has gone, or never was",
                    STR_ARG(c->args[1]), STR_ARG(c->args[0]));
    answer_rc(a, rc, c->args[1]);
}
