/* A group at the cluster: sent, answered, and found out about when its answer got lost.
 *
 * It is completed only when it is known what became of it. The state tells, by the id that it has
 * of this process: a process has one operation on a head at a time. As long as the state is the one
 * that the lost operation compares with, that one may still come; then an operation that changes
 * nothing but the id is won first. */
#include "rados/commit_int.h"

enum { WRITE_MS = 20000 /* after which an answer counts as lost */ };

static void answered(struct link_call *call, enum link_result result, void *arg)
{
    struct rad_group *g = arg;
    struct rad_part *p = g->p;
    pthread_mutex_lock(&p->mutex);
    g->result = result;
    g->is_answered = true;
    rad_part_wake_locked(p);
    pthread_mutex_unlock(&p->mutex);
    rad_part_put(p);
}

/* Sends g->call; the partition is pinned until its answer. */
static void send_write(struct rad_group *g)
{
    g->is_answered = false;
    rad_part_pin(g->p);
    link_write(g->call, WRITE_MS, answered, g);
}

void group_send(struct rad_group *g)
{
    rad_step(g->p->rad, "commit");
    g->stage = STAGE_COMMIT;
    g->call = rad_change_call(&g->change);
    send_write(g);
}

static void send_read_back(struct rad_group *g)
{
    struct rad_part *p = g->p;
    rad_step(p->rad, "resolve-read");
    g->stage = STAGE_READ_BACK;
    g->call = link_call_new(p->rad->link, LINK_INDEX, p->object);
    link_read_row(g->call, RAD_STATE_KEY);
    g->is_answered = false;
    rad_part_pin(p);
    link_read(g->call, p->rad->conf.read_ms, answered, g);
}

/* Changes nothing but the id: of this one and the lost one only one can be applied. */
static void send_claim(struct rad_group *g)
{
    struct rad_part *p = g->p;
    struct rad_change claim;
    rad_step(p->rad, "resolve-claim");
    g->stage = STAGE_CLAIM;
    rad_change_init(&claim, p, NULL);
    g->claimed = claim.state;
    g->call = rad_change_call(&claim);
    rad_change_fini(&claim);
    send_write(g);
}

/* Where the last id of the same process stands in the state: RAD_RING when none does. */
static size_t find_last(const struct rad_state *state, const struct rad_id *id)
{
    size_t i = 0;
    while (i < RAD_RING && !rad_id_is_of(&state->ids[i], id))
        i++;
    return i;
}

/* No process' id has been dropped from the state to make room. */
static bool is_roomy(const struct rad_state *state)
{
    static const struct rad_id none;
    return rad_id_eq(&state->ids[RAD_RING - 1], &none);
}

/* The lost operation has been applied, and others after it. */
static void accept(struct rad_group *g)
{
    rad_backup_touch(g->p->rad, g->p->part);
    rad_part_cool(g->p);
    group_finish(g, false);
}

static void start_again(struct rad_group *g)
{
    rad_part_cool(g->p);
    group_put_back(g);
}

static void give_up(struct rad_group *g)
{
    log_event(g->p->rad->kv.ctx->log, LOG_ERROR, "commit-unknown", "object", g->p->object, "cause",
              "its answer was lost and too much has happened since", NULL);
    rad_part_cool(g->p);
    group_fail(g, RC_TEMP);
}

/* What became of the lost operation, by the state that was read. */
static void resolve(struct rad_group *g, const struct rad_state *found)
{
    const struct rad_head *head = &g->p->head;
    const struct rad_id *lost = &g->change.state.ids[0];
    size_t at = find_last(found, lost);
    bool is_ours = at < RAD_RING && rad_id_eq(&found->ids[at], lost);
    if (is_ours && at == 0)
        group_publish(g);
    else if (is_ours)
        accept(g);
    else if (head->exists && rad_id_eq(&found->ids[0], &head->state.ids[0]))
        send_claim(g);
    else if (at < RAD_RING || is_roomy(found))
        start_again(g);
    else
        give_up(g);
}

static void answer_read_back(struct rad_group *g, struct link_call *call)
{
    struct rad_state found = {0};
    struct str key;
    struct str value;
    if (g->result == LINK_MISSING && g->p->head.exists)
        give_up(g);
    else if (g->result == LINK_MISSING)
        send_claim(g);
    else if (!link_got_key(call, &key, &value) || rad_state_parse(value, &found) != RC_OK)
        give_up(g);
    else
        resolve(g, &found);
}

static void answer_claim(struct rad_group *g)
{
    if (g->result != LINK_OK) {
        send_read_back(g);
        return;
    }
    g->p->head.state = g->claimed;
    g->p->head.exists = true;
    group_put_back(g);
}

static void answer_commit(struct rad_group *g)
{
    switch (g->result) {
    case LINK_OK:
        group_publish(g);
        break;
    case LINK_REFUSED:
    case LINK_EXISTS:
    case LINK_MISSING:
        start_again(g);
        break;
    case LINK_UNKNOWN:
        send_read_back(g);
        break;
    default:
        group_fail(g, link_rc(g->result));
    }
}

/* Nothing can be said yet: after a pause the state is read again. */
static bool is_to_be_repeated(struct rad_group *g)
{
    bool is_failed =
        g->result == LINK_UNKNOWN || g->result == LINK_FAILED || g->result == LINK_FULL;
    return g->stage != STAGE_COMMIT && is_failed;
}

void group_answer(struct rad_group *g)
{
    struct link_call *call = g->call;
    if (is_to_be_repeated(g) && !g->was_paused) {
        g->was_paused = true;
        turns_pause(g->p);
        return;
    }
    g->was_paused = false;
    g->call = NULL;
    if (g->result == LINK_FENCED) {
        rad_fail_for_good(g->p->rad, "the cluster has shut this client out");
        group_fail(g, RC_TEMP);
    } else if (is_to_be_repeated(g)) {
        send_read_back(g);
    } else if (g->stage == STAGE_COMMIT) {
        answer_commit(g);
    } else if (g->stage == STAGE_READ_BACK) {
        answer_read_back(g, call);
    } else {
        answer_claim(g);
    }
    link_call_free(&call);
}
