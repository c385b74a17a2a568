/* Operations on the queue: what is in it, held and released. */
#include "admin/admin_int.h"

enum { LIST_DEFAULT = 1000, LIST_MOST = 100000, PAGE = 256 };

/* What each_item calls for each id there is, until it fails or says that it is enough. */
struct look {
    struct admin *admin;
    struct admin_answer *answer;
    uint64_t limit, n;
    enum rc (*item)(struct look *look, struct queue_id id);
};

static enum rc each_item(struct look *k)
{
    for (unsigned shard = 0; shard < QUEUE_SHARDS; shard++) {
        struct queue_id ids[PAGE], after;
        size_t n = 0;
        do {
            TRY(queue_list(k->admin->queue, shard, n ? &after : NULL, ids, PAGE, &n));
            for (size_t i = 0; i < n && k->n < k->limit; i++)
                TRY(k->item(k, ids[i]));
            if (n)
                after = ids[n - 1];
        } while (n == PAGE && k->n < k->limit);
    }
    return RC_OK;
}

static enum rc list_item(struct look *k, struct queue_id id)
{
    struct arena arena = {0};
    struct queue_entry entry;
    char text[QUEUE_ID_TEXT];
    enum rc rc = queue_load(k->admin->queue, id, 0, &arena, &entry);
    if (rc == RC_OK) {
        queue_id_text(id, text);
        answer_text(k->answer, text);
        answer_text(k->answer, entry.status.state == QUEUE_HELD ? "held" : "waiting");
        answer_time(k->answer, entry.item.received);
        answer_u64(k->answer, entry.item.size);
        answer_cell(k->answer, entry.item.sender.p ? entry.item.sender : STR(""));
        answer_u64(k->answer, entry.item.n_recipients);
        answer_text(k->answer, entry.rc == RC_OK ? entry.status.cause : rc_name(entry.rc));
        k->n++;
    }
    arena_fini(&arena);
    return rc == RC_NOTFOUND ? RC_OK : rc; /* delivered meanwhile */
}

void admin_queue_list(struct admin *admin, const struct admin_call *c, struct admin_answer *a)
{
    static const char *const columns[] = {"id",     "state",      "received", "size",
                                          "sender", "recipients", "cause"};
    struct look k = {.admin = admin, .answer = a, .limit = LIST_DEFAULT, .item = list_item};
    bool has_limit = !str_is_null(c->options[0]);
    if (has_limit && (str_to_u64(c->options[0], &k.limit) != RC_OK || k.limit > LIST_MOST)) {
        answer_fail(a, RC_SYNTAX, "%.*s: expected a number up to %d for --limit",
                    STR_ARG(c->options[0]), LIST_MOST);
        return;
    }
    answer_columns(a, columns, 7);
    answer_rc(a, each_item(&k), STR("queue"));
}

/* --- one item, or all ------------------------------------------------------------------------- */

static enum rc hold_item(struct look *k, struct queue_id id)
{
    enum rc rc = queue_hold(k->admin->queue, id, "held by an administrator");
    k->n += rc == RC_OK;
    return rc == RC_NOTFOUND ? RC_OK : rc;
}

static enum rc release_item(struct look *k, struct queue_id id)
{
    enum rc rc = queue_release(k->admin->queue, id);
    k->n += rc == RC_OK;
    return rc == RC_NOTFOUND || rc == RC_CONFLICT ? RC_OK : rc; /* gone, or not held */
}

static void do_all(struct admin *admin, struct admin_answer *a,
                   enum rc (*item)(struct look *look, struct queue_id id))
{
    static const char *const columns[] = {"items"};
    struct look k = {.admin = admin, .answer = a, .limit = UINT64_MAX, .item = item};
    answer_rc(a, each_item(&k), STR("queue"));
    answer_columns(a, columns, 1);
    answer_u64(a, k.n);
}

static void do_one(struct admin *admin, struct str text, struct admin_answer *a, bool holds)
{
    struct queue_id id;
    enum rc rc = queue_id_parse(text, &id);
    if (rc == RC_SYNTAX) {
        answer_fail(a, RC_PERM, "%.*s: expected an id as queue list shows it", STR_ARG(text));
        return;
    }
    rc = holds ? queue_hold(admin->queue, id, "held by an administrator")
               : queue_release(admin->queue, id);
    if (rc == RC_NOTFOUND)
        answer_fail(a, rc, "%.*s: there is no such message in the queue", STR_ARG(text));
    else if (rc == RC_CONFLICT)
        answer_fail(a, rc, "%.*s: it is not held", STR_ARG(text));
    answer_rc(a, rc, text);
}

static void one_or_all(struct admin *admin, const struct admin_call *c, struct admin_answer *a,
                       bool holds)
{
    if (c->flags[0] == (c->n_args == 1))
        answer_fail(a, RC_SYNTAX, "queue: an id, or --all");
    else if (c->flags[0])
        do_all(admin, a, holds ? hold_item : release_item);
    else
        do_one(admin, c->args[0], a, holds);
}

void admin_queue_hold(struct admin *admin, const struct admin_call *c, struct admin_answer *a)
{
    one_or_all(admin, c, a, true);
}

void admin_queue_release(struct admin *admin, const struct admin_call *c, struct admin_answer *a)
{
    one_or_all(admin, c, a, false);
}
