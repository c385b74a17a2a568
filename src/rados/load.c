/* From the cluster to memory: heads, pages and single rows of shards.
 *
 * A load is one read, or a chain of them, that ends in the memory of its partition; who waits for
 * it looks there again. Nothing here waits. What a load has read counts only while the partition's
 * map still has the shard as it was when the load began, and when the shard's fence is at most the
 * epoch of the known state: otherwise a fold has been there, and the head is compared with the
 * cluster. No object, where the map says there is one, means the same. */
#include "rados/rados_int.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum {
    PAGE_ROWS = 1024, /* what the cluster gives at most */
    PAGE_COST = 160   /* of keeping a page, beside its bytes */
};

enum load_kind { LOAD_HEAD, LOAD_CHECK, LOAD_PAGE, LOAD_KEYS };

struct load {
    struct list link; /* part.loads */
    struct rad_part *p;
    enum load_kind kind;
    uint64_t stamp; /* the partition's when it began */
    uint64_t begun; /* monotonic */

    struct rad_head head; /* LOAD_HEAD: what has been read of it */
    size_t bytes;
    struct rad_key last; /* its omap key read last */

    uint64_t shard, touched;
    struct str from;  /* LOAD_PAGE, owned */
    struct str to;    /* the shard's end, owned; absent: none */
    struct str *keys; /* LOAD_KEYS, in order, owned */
    size_t n;
};

static struct str dup(struct str s)
{
    return str_is_null(s) ? s : str_from(mem_dup(s.p, s.n), s.n);
}

static void undup(struct str s)
{
    free((void *)(uintptr_t)s.p);
}

static struct load *load_new(struct rad_part *p, enum load_kind kind)
{
    struct load *l = mem_zero(sizeof *l);
    l->p = rad_part_pin(p);
    l->kind = kind;
    l->stamp = p->stamp;
    l->begun = clock_mono(p->rad->kv.ctx->clock);
    rad_head_init(&l->head);
    list_add_tail(&p->loads, &l->link);
    return l;
}

/* The last of a load, under the mutex, which it lets go of. */
static void load_end(struct load *l, enum rc rc)
{
    struct rad_part *p = l->p;
    list_remove(&l->link);
    if (rc != RC_OK) {
        p->loads_failed++;
        p->load_rc = rc;
    }
    pthread_cond_broadcast(&p->news);
    rad_part_wake_locked(p);
    pthread_mutex_unlock(&p->mutex);
    rad_part_put(p);
    rad_head_fini(&l->head);
    undup(l->from);
    undup(l->to);
    for (size_t i = 0; i < l->n; i++)
        undup(l->keys[i]);
    free(l->keys);
    free(l);
}

static void load_fail(struct load *l, struct link_call *call, enum link_result result)
{
    log_event(l->p->rad->kv.ctx->log, LOG_WARNING, "cluster-read-failed", "object", l->p->object,
              "cause", link_result_name(result), NULL);
    link_call_free(&call);
    pthread_mutex_lock(&l->p->mutex);
    load_end(l, RC_TEMP);
}

static void tell_corrupt(const struct load *l, const char *cause)
{
    char object[RAD_OBJECT];
    if (l->shard)
        rad_name_shard(object, l->p->part, l->shard);
    log_event(l->p->rad->kv.ctx->log, LOG_ERROR, "store-corrupt", "object",
              l->shard ? object : l->p->object, "cause", cause, NULL);
}

static struct load *load_of_kind(struct rad_part *p, enum load_kind kind)
{
    LIST_EACH (&p->loads, it) {
        struct load *l = CONTAINER(it, struct load, link);
        if (l->kind == kind)
            return l;
    }
    return NULL;
}

/* --- a head ----------------------------------------------------------------------------------- */

static enum rc head_trim(struct load *l, struct str key, struct str value)
{
    uint64_t number;
    struct str from;
    struct str to;
    TRY(rad_key_number(key, &number));
    TRY(rad_trim_parse(value, &from, &to));
    struct rad_trim *trim = rad_trim_new(from, to);
    trim->number = number;
    trim->stamp = l->stamp;
    list_add_tail(&l->head.trims, &trim->link);
    return RC_OK;
}

static enum rc head_shard(struct load *l, struct str key, struct str value)
{
    struct rad_shards *shards = &l->head.shards;
    struct rad_shard shard;
    TRY(rad_key_number(key, &shard.number));
    TRY(rad_shard_parse(value, &shard));
    shard.first = dup(shard.first);
    rad_shards_add(shards, &shard);
    return RC_OK;
}

static enum rc head_mark(struct load *l, struct str key, struct str value)
{
    uint64_t number;
    TRY(rad_key_number(key, &number));
    kv_rows_put(&l->head.marks, str_from(&number, sizeof number), value);
    return RC_OK;
}

static enum rc head_row(struct load *l, struct str omap_key, struct str value)
{
    struct rad_key key;
    TRY(rad_key_row_parse(omap_key, &key));
    bool is_row = value.n > 1 && value.p[0] == RAD_VALUE_ROW;
    if (!is_row && (value.n != 1 || value.p[0] != RAD_VALUE_TOMBSTONE))
        return RC_CORRUPT;
    rad_row_put(&l->head.rows, rad_key_str(&key), l->stamp, str_skip(value, 1));
    l->bytes += rad_row_weight(rad_key_str(&key), kv_rows_get(&l->head.rows, rad_key_str(&key)));
    return RC_OK;
}

static enum rc head_take(struct load *l, struct str key, struct str value)
{
    switch (key.n ? key.p[0] : 0) {
    case 'a':
        return rad_state_parse(value, &l->head.state);
    case 'd':
        return head_trim(l, key, value);
    case 'm':
        return head_shard(l, key, value);
    case 'x':
        return head_mark(l, key, value);
    case 'r':
        return head_row(l, key, value);
    default:
        return RC_CORRUPT;
    }
}

static enum rc head_take_all(struct load *l, struct link_call *call)
{
    struct str key;
    struct str value;
    l->head.exists = true;
    while (link_got_row(call, &key, &value)) {
        if (key.n > RAD_OMAP_KEY || head_take(l, key, value) != RC_OK)
            return RC_CORRUPT;
        l->last.n = key.n;
        memcpy(l->last.b, key.p, key.n);
    }
    /* Each operation on a head has an id; and the state comes first. */
    return rad_id_is_none(&l->head.state.ids[0]) ? RC_CORRUPT : RC_OK;
}

static void head_install(struct load *l)
{
    struct rad_part *p = l->p;
    uint64_t version = l->head.state.version;
    pthread_mutex_lock(&p->mutex);
    rad_part_cool(p);
    rad_head_move(&p->head, &l->head);
    rad_part_weigh(p, (ptrdiff_t)l->bytes);
    p->is_warm = true;
    p->checked = l->begun;
    p->loaded = atomic_load(&p->rad->rounds);
    bool is_news = version > p->told;
    p->told = version;
    rad_part_pin(p); /* the load's own goes with it */
    load_end(l, RC_OK);
    if (is_news)
        kv_watches_tell(&p->rad->kv, p->part, version);
    rad_part_put(p);
}

static void head_send(struct load *l, bool is_first);

static void head_read(struct link_call *call, enum link_result result, void *arg)
{
    struct load *l = arg;
    bool is_first = l->last.n == 0;
    if (result == LINK_REFUSED || (result == LINK_MISSING && !is_first)) { /* it has moved on */
        link_call_free(&call);
        head_send(l, true);
        return;
    }
    if (result != LINK_OK && result != LINK_MISSING) {
        load_fail(l, call, result);
        return;
    }
    if (result == LINK_OK && head_take_all(l, call) != RC_OK) {
        tell_corrupt(l, "a head without a state, or a row of it that is not of its form");
        link_call_free(&call);
        pthread_mutex_lock(&l->p->mutex);
        load_end(l, RC_CORRUPT);
        return;
    }
    bool has_more = result == LINK_OK && link_got_more(call);
    link_call_free(&call);
    if (has_more)
        head_send(l, false);
    else
        head_install(l);
}

static void head_send(struct load *l, bool is_first)
{
    struct rad *rad = l->p->rad;
    struct link_call *call = link_call_new(rad->link, LINK_INDEX, l->p->object);
    if (is_first) {
        rad_head_fini(&l->head);
        l->bytes = 0;
        l->last.n = 0;
    } else {
        unsigned char state[RAD_STATE];
        link_guard_row(call, RAD_STATE_KEY, rad_state_pack(state, &l->head.state));
    }
    link_read_rows(call, rad_key_str(&l->last), PAGE_ROWS);
    link_read(call, rad->conf.read_ms, head_read, l);
}

void rad_load_head(struct rad_part *p)
{
    if (load_of_kind(p, LOAD_HEAD))
        return;
    p->stamp++;
    struct load *l = load_new(p, LOAD_HEAD);
    head_send(l, true);
}

/* --- is the state still the cluster's? -------------------------------------------------------- */

static bool is_same_state(const struct rad_head *head, struct link_call *call,
                          enum link_result result)
{
    unsigned char state[RAD_STATE];
    struct str key;
    struct str value;
    if (result == LINK_MISSING)
        return !head->exists;
    return link_got_key(call, &key, &value) && head->exists &&
           str_eq(value, rad_state_pack(state, &head->state));
}

/* The head still names a shard that is not there, or that a fold has fenced of which the head does
 * not know: no order of operations can have made it so. */
static void tell_lost(const struct load *l)
{
    char object[RAD_OBJECT];
    rad_name_shard(object, l->p->part, l->shard);
    log_event(l->p->rad->kv.ctx->log, LOG_ERROR, "shard-lost", "object", object, NULL);
}

static void check_read(struct link_call *call, enum link_result result, void *arg)
{
    struct load *l = arg;
    struct rad_part *p = l->p;
    if (result != LINK_OK && result != LINK_MISSING) {
        load_fail(l, call, result);
        return;
    }
    pthread_mutex_lock(&p->mutex);
    bool is_comparable = p->is_warm && !p->group && p->stamp == l->stamp;
    bool is_same = is_comparable && is_same_state(&p->head, call, result);
    if (is_same) {
        p->checked = l->begun;
    } else if (is_comparable) {
        rad_part_cool(p);
        rad_load_head(p);
    }
    bool is_lost = is_same && l->shard;
    if (is_lost)
        tell_lost(l);
    link_call_free(&call);
    load_end(l, is_lost ? RC_CORRUPT : RC_OK);
}

static void load_check(struct rad_part *p, uint64_t suspect)
{
    if (load_of_kind(p, LOAD_HEAD) || load_of_kind(p, LOAD_CHECK))
        return;
    struct load *l = load_new(p, LOAD_CHECK);
    l->shard = suspect;
    struct link_call *call = link_call_new(p->rad->link, LINK_INDEX, p->object);
    link_read_row(call, RAD_STATE_KEY);
    link_read(call, p->rad->conf.read_ms, check_read, l);
}

void rad_load_check(struct rad_part *p)
{
    load_check(p, 0);
}

/* --- rows of a shard -------------------------------------------------------------------------- */

/* A page under construction: its size is known before it is allocated. */
struct draft {
    struct kv_row *rows; /* owned; keys are views into `keys` */
    size_t n, capacity;
    struct buf keys; /* unescaped, one behind the other */
    size_t value_bytes;
};

enum { DRAFT_KEYS = 1 << 20 };

static void draft_init(struct draft *d)
{
    *d = (struct draft){0};
    buf_init(&d->keys, DRAFT_KEYS);
}

static void draft_fini(struct draft *d)
{
    free(d->rows);
    buf_fini(&d->keys);
}

/* Until draft_page, a row's key is only its length: the buffer may still move. */
static enum rc draft_add(struct draft *d, struct str omap_key, struct str value)
{
    struct rad_key key;
    TRY(rad_key_row_parse(omap_key, &key));
    if (value.n < 2 || value.p[0] != RAD_VALUE_ROW)
        return RC_CORRUPT;
    TRY(buf_add(&d->keys, rad_key_str(&key)));
    d->rows = mem_array(d->rows, &d->capacity, d->n + 1, sizeof *d->rows);
    d->rows[d->n++] = (struct kv_row){{NULL, key.n}, str_skip(value, 1)};
    d->value_bytes += value.n - 1;
    return RC_OK;
}

static struct str put_bytes(char **at, struct str s)
{
    struct str copy = {*at, s.n};
    if (str_is_null(s))
        return s;
    if (s.n)
        memcpy(*at, s.p, s.n);
    *at += s.n;
    return copy;
}

static struct rad_page *draft_page(const struct draft *d, uint64_t shard, struct str from,
                                   struct str to)
{
    struct str keys = buf_str(&d->keys);
    struct rad_page *page;
    size_t head = sizeof *page + d->n * sizeof page->rows[0];
    size_t bytes = head + keys.n + d->value_bytes + from.n + to.n;
    page = mem_alloc(bytes);
    char *at = (char *)page + head;
    list_init(&page->lru);
    page->shard = shard;
    page->bytes = bytes + PAGE_COST;
    page->n = d->n;
    page->from = put_bytes(&at, from);
    page->to = put_bytes(&at, to);
    for (size_t i = 0; i < d->n; i++) {
        size_t n = d->rows[i].key.n;
        page->rows[i].key = put_bytes(&at, str_head(keys, n));
        page->rows[i].value = put_bytes(&at, d->rows[i].value);
        keys = str_skip(keys, n);
    }
    return page;
}

static bool is_mapped(const struct rad_head *head, uint64_t number, uint64_t touched)
{
    for (size_t i = 0; i < head->shards.n; i++)
        if (head->shards.shard[i].number == number)
            return head->shards.shard[i].touched == touched;
    return false;
}

/* What was read of a shard may be used: nothing has happened to the shard since the load began. */
static bool is_usable(const struct load *l, uint64_t fence)
{
    const struct rad_head *head = &l->p->head;
    return l->p->is_warm && fence <= head->state.epoch && is_mapped(head, l->shard, l->touched);
}

/* Reads the rows that were asked for by key: the fence, and others into the draft. */
static enum rc take_keys(struct link_call *call, struct draft *d, uint64_t *out_fence)
{
    struct str key;
    struct str value;
    struct str fence = {0};
    enum rc rc = RC_OK;
    while (rc == RC_OK && link_got_key(call, &key, &value)) {
        if (str_eq(key, RAD_STATE_KEY))
            fence = value;
        else
            rc = draft_add(d, key, value);
    }
    return rc == RC_OK ? rad_fence_parse(fence, out_fence) : rc;
}

/* A page of all that was read: up to behind its last row when there are more. */
static enum rc install_page(struct load *l, struct link_call *call, struct draft *d)
{
    struct str omap_key;
    struct str value;
    while (link_got_row(call, &omap_key, &value))
        TRY(draft_add(d, omap_key, value));
    struct rad_key end = {0};
    if (link_got_more(call) && d->n > 0) {
        size_t n = d->rows[d->n - 1].key.n;
        struct str keys = buf_str(&d->keys);
        end.n = n + 1;
        memcpy(end.b, keys.p + keys.n - n, n);
        end.b[n] = '\0';
    }
    rad_page_add(l->p, draft_page(d, l->shard, l->from, end.n ? rad_key_str(&end) : l->to));
    return RC_OK;
}

/* A page of one key each, whether or not it has a row. */
static void install_keys(struct load *l, const struct draft *found)
{
    struct str keys = buf_str(&found->keys);
    size_t next = 0;
    for (size_t i = 0; i < l->n; i++) {
        struct rad_key behind = {.n = l->keys[i].n + 1};
        memcpy(behind.b, l->keys[i].p, l->keys[i].n);
        behind.b[l->keys[i].n] = '\0';
        struct draft one;
        draft_init(&one);
        if (next < found->n && str_eq(str_head(keys, found->rows[next].key.n), l->keys[i])) {
            struct kv_row row = found->rows[next++];
            one = (struct draft){.rows = &row, .n = 1, .value_bytes = row.value.n};
            buf_init(&one.keys, DRAFT_KEYS);
            buf_put(&one.keys, l->keys[i]);
            keys = str_skip(keys, row.key.n);
            rad_page_add(l->p, draft_page(&one, l->shard, l->keys[i], rad_key_str(&behind)));
        } else {
            rad_page_add(l->p, draft_page(&one, l->shard, l->keys[i], rad_key_str(&behind)));
        }
        buf_fini(&one.keys);
    }
}

static void shard_read(struct link_call *call, enum link_result result, void *arg)
{
    struct load *l = arg;
    struct rad_part *p = l->p;
    struct draft d;
    uint64_t fence = 0;
    if (result != LINK_OK && result != LINK_MISSING) {
        load_fail(l, call, result);
        return;
    }
    draft_init(&d);
    enum rc rc = result == LINK_OK ? take_keys(call, &d, &fence) : RC_CONFLICT;
    pthread_mutex_lock(&p->mutex);
    if (rc == RC_OK && !is_usable(l, fence))
        rc = RC_CONFLICT;
    if (rc == RC_OK && l->kind == LOAD_PAGE)
        rc = install_page(l, call, &d);
    else if (rc == RC_OK)
        install_keys(l, &d);
    if (rc == RC_CONFLICT && p->is_warm)
        load_check(p, is_mapped(&p->head, l->shard, l->touched) ? l->shard : 0);
    if (rc == RC_CORRUPT)
        tell_corrupt(l, "a row of a shard that is not of its form");
    link_call_free(&call);
    draft_fini(&d);
    load_end(l, rc == RC_CONFLICT ? RC_OK : rc);
}

static struct link_call *shard_call(struct load *l, const struct rad_shard *shard)
{
    struct rad_part *p = l->p;
    char object[RAD_OBJECT];
    struct str end = rad_shard_end(&p->head.shards, shard);
    l->shard = shard->number;
    l->touched = shard->touched;
    l->to = dup(end);
    rad_name_shard(object, p->part, shard->number);
    struct link_call *call = link_call_new(p->rad->link, LINK_INDEX, object);
    link_read_row(call, RAD_STATE_KEY);
    return call;
}

static bool is_page_coming(struct rad_part *p, uint64_t shard, struct str from)
{
    LIST_EACH (&p->loads, it) {
        struct load *l = CONTAINER(it, struct load, link);
        if (l->kind == LOAD_PAGE && l->shard == shard && str_eq(l->from, from))
            return true;
    }
    return false;
}

void rad_load_page(struct rad_part *p, struct str from)
{
    const struct rad_shard *shard = rad_shard_of(&p->head.shards, from);
    struct rad_key key;
    if (!shard || is_page_coming(p, shard->number, from))
        return;
    struct load *l = load_new(p, LOAD_PAGE);
    l->from = dup(from);
    struct link_call *call = shard_call(l, shard);
    rad_key_row(&key, from);
    if (from.n)
        link_read_row(call, rad_key_str(&key));
    link_read_rows(call, rad_key_str(&key), PAGE_ROWS);
    link_read(call, p->rad->conf.read_ms, shard_read, l);
}

static int compare_keys(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

static bool is_key_coming(const struct rad_part *p, struct str key)
{
    LIST_EACH (&p->loads, it) {
        const struct load *l = CONTAINER(it, struct load, link);
        if (l->kind == LOAD_KEYS && bsearch(&key, l->keys, l->n, sizeof key, compare_keys))
            return true;
    }
    return false;
}

/* Those of the sorted keys from *i on that are in one shard. */
static void load_some_keys(struct rad_part *p, const struct str *keys, size_t n, size_t *i)
{
    const struct rad_shard *shard = rad_shard_of(&p->head.shards, keys[*i]);
    struct load *l = load_new(p, LOAD_KEYS);
    struct link_call *call = shard_call(l, shard);
    l->keys = mem_alloc((n - *i) * sizeof *l->keys);
    for (; *i < n && rad_shard_of(&p->head.shards, keys[*i]) == shard; ++*i) {
        struct rad_key key;
        if (l->n > 0 && str_eq(l->keys[l->n - 1], keys[*i]))
            continue;
        l->keys[l->n++] = dup(keys[*i]);
        rad_key_row(&key, keys[*i]);
        link_read_row(call, rad_key_str(&key));
    }
    link_read(call, p->rad->conf.read_ms, shard_read, l);
}

void rad_load_keys(struct rad_part *p, const struct str *keys, size_t n)
{
    if (p->head.shards.n == 0)
        return;
    struct str *sorted = mem_alloc(n * sizeof *sorted);
    size_t n_sorted = 0;
    for (size_t i = 0; i < n; i++)
        if (!is_key_coming(p, keys[i]))
            sorted[n_sorted++] = keys[i];
    qsort(sorted, n_sorted, sizeof *sorted, compare_keys);
    for (size_t i = 0; i < n_sorted;)
        load_some_keys(p, sorted, n_sorted, &i);
    free(sorted);
}
