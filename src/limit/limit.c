/* Counters of sliding windows.
 *
 * A window of length W is two numbers: what was counted since its beginning, and what was counted
 * in the W before. Of the older number the part counts that still lies within the last W, as if it
 * had been spread evenly.
 *
 * Invariants: (1) an entry is in the map and in the list, the most recently used first; (2) one
 * that is not saved is never dropped while its commit is under way; (3) nothing waits with the
 * mutex held. */
#include "limit/limit.h"

#include "base/bytes.h"
#include "base/map.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum { FORMAT = 1, ENTRIES = 20000, SAVE_MS = 10000, RECORD = 1 + LIMIT_KINDS * 16, TENTH = 10 };

#define HOUR_NS (3600 * NS_PER_SEC)
#define DAY_NS  (86400 * NS_PER_SEC)

struct window {
    uint64_t begun; /* wall clock */
    uint32_t now, before;
};

struct entry {
    struct map_node node;
    struct list link;
    uint64_t id, saved; /* wall clock of the last save */
    bool is_dirty, is_saving;
    struct window window[LIMIT_KINDS];
};

struct limit {
    const struct ctx *ctx;
    struct kv *kv;
    pthread_mutex_t mutex;
    pthread_cond_t idle;
    struct map map;
    struct list entries;
    size_t n, max, saving;
    uint64_t save_ns;
};

static const struct str row_key = STR_INIT("s");

static uint64_t length_of(size_t what)
{
    return what == LIMIT_MESSAGES_HOUR || what == LIMIT_RECIPIENTS_HOUR ? HOUR_NS : DAY_NS;
}

static struct kv_part part_of(uint64_t id)
{
    return (struct kv_part){KV_CACHE, id};
}

/* Accounts are numbered from 1, so a domain's hash has a bit that none of them has. */
uint64_t limit_domain(struct str domain)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325); /* FNV-1a: it is stored, so it never changes */
    for (size_t i = 0; i < domain.n; i++)
        hash = (hash ^ (unsigned char)domain.p[i]) * UINT64_C(0x100000001b3);
    return hash | UINT64_C(1) << 63;
}

static enum rc parse_one(struct str text, struct limit_rates *out)
{
    struct str number;
    uint64_t most;
    if (!str_cut(&text, '/', &number) || text.n != 1 || number.n == 0)
        return RC_SYNTAX;
    bool is_recipients = number.p[number.n - 1] == 'r', is_day = text.p[0] == 'd';
    number.n -= is_recipients;
    if ((!is_day && text.p[0] != 'h') || str_to_u64(number, &most) != RC_OK || most == 0 ||
        most > UINT32_MAX)
        return RC_SYNTAX;
    out->most[2 * is_recipients + is_day] = (uint32_t)most;
    return RC_OK;
}

enum rc limit_rates_parse(struct str text, struct limit_rates *out)
{
    struct str one;
    *out = (struct limit_rates){{0}};
    if (str_eq(text, STR("none")))
        return RC_OK;
    while (str_cut(&text, ',', &one))
        TRY(parse_one(one, out));
    return limit_is_none(out) ? RC_SYNTAX : RC_OK;
}

bool limit_is_none(const struct limit_rates *rates)
{
    for (size_t i = 0; i < LIMIT_KINDS; i++)
        if (rates->most[i])
            return false;
    return true;
}

struct limit_rates limit_ramp(const struct limit_rates *rates, uint64_t age, uint64_t ramp)
{
    struct limit_rates r = *rates;
    for (size_t i = 0; i < LIMIT_KINDS && age < ramp; i++) {
        uint64_t least = (rates->most[i] + TENTH - 1) / TENTH;
        uint64_t grown = (uint64_t)((double)rates->most[i] * (double)age / (double)ramp);
        r.most[i] = (uint32_t)(grown > least ? grown : least);
    }
    return r;
}

/* --- a window --------------------------------------------------------------------------------- */

static void roll(struct window *w, uint64_t now, uint64_t length)
{
    if (now < w->begun) /* the clock was set back */
        w->begun = now;
    uint64_t passed = (now - w->begun) / length;
    if (passed == 0)
        return;
    w->before = passed == 1 ? w->now : 0;
    w->now = 0;
    w->begun = passed > 1 || !w->begun ? now : w->begun + length;
}

static double count_of(const struct window *w, uint64_t now, uint64_t length)
{
    double left = 1.0 - (double)(now - w->begun) / (double)length;
    return (double)w->before * left + (double)w->now;
}

/* Seconds until n more are within `most`. */
static uint64_t wait_of(const struct window *w, uint64_t now, uint64_t length, double n,
                        double most)
{
    double l = (double)length, elapsed = (double)(now - w->begun), at = l;
    double room = most - n;
    if (room < 0)
        return length / NS_PER_SEC; /* never; but tomorrow the limit may be another one */
    if ((double)w->now <= room)
        at = l * (1.0 - (room - (double)w->now) / (double)w->before) - elapsed;
    else
        at = l - elapsed + l * (1.0 - room / (double)w->now);
    return at > 0 ? (uint64_t)(at / (double)NS_PER_SEC) + 1 : 1;
}

/* --- entries ---------------------------------------------------------------------------------- */

static uint64_t hash_of(uint64_t id)
{
    return id * UINT64_C(0x9e3779b97f4a7c15);
}

static struct entry *find(struct limit *l, uint64_t id)
{
    for (struct map_node *node = map_find(&l->map, hash_of(id)); node; node = map_next(node)) {
        struct entry *e = CONTAINER(node, struct entry, node);
        if (e->id != id)
            continue;
        list_remove(&e->link);
        list_add_head(&l->entries, &e->link);
        return e;
    }
    return NULL;
}

static void unpack(struct str value, struct entry *e)
{
    struct unpacker r;
    unpack_init(&r, value);
    if (str_is_null(value) || unpack_u8(&r) != FORMAT)
        return;
    for (size_t i = 0; i < LIMIT_KINDS; i++) {
        e->window[i].begun = unpack_u64(&r);
        e->window[i].now = unpack_u32(&r);
        e->window[i].before = unpack_u32(&r);
    }
    if (r.failed)
        memset(e->window, 0, sizeof e->window);
}

struct save {
    struct kv_op op;
    struct limit *limit;
    uint64_t id;
};

static void saved(struct kv_op *op)
{
    struct save *save = CONTAINER(op, struct save, op);
    struct limit *l = save->limit;
    pthread_mutex_lock(&l->mutex);
    struct entry *e = find(l, save->id);
    if (e) {
        e->is_saving = false;
        e->is_dirty |= op->rc != RC_OK;
    }
    l->saving--;
    pthread_cond_broadcast(&l->idle);
    pthread_mutex_unlock(&l->mutex);
    free(save);
}

/* With the mutex held. What cannot be saved stays in memory and is tried again. */
static void save(struct limit *l, struct entry *e, uint64_t now)
{
    unsigned char bytes[RECORD];
    struct packer w;
    if (e->is_saving || !e->is_dirty)
        return;
    pack_init(&w, bytes, sizeof bytes);
    pack_u8(&w, FORMAT);
    for (size_t i = 0; i < LIMIT_KINDS; i++) {
        pack_u64(&w, e->window[i].begun);
        pack_u32(&w, e->window[i].now);
        pack_u32(&w, e->window[i].before);
    }
    struct kv_txn *txn = kv_txn_new(part_of(e->id));
    struct save *s = mem_zero(sizeof *s);
    s->op.done = saved;
    s->limit = l;
    s->id = e->id;
    e->saved = now;
    if (kv_txn_put(txn, row_key, pack_done(&w)) != RC_OK) {
        kv_txn_free(&txn);
        free(s);
        return;
    }
    if (kv_commit(l->kv, txn, KV_LAZY, &s->op) != RC_OK) {
        free(s);
        return;
    }
    e->is_dirty = false;
    e->is_saving = true;
    l->saving++;
}

/* The ones used longest ago, but for those that would lose what they know. */
static void make_room(struct limit *l)
{
    uint64_t now = clock_wall(l->ctx->clock);
    for (size_t tries = 0; l->n >= l->max && tries < 8; tries++) {
        struct entry *e = CONTAINER(l->entries.prev, struct entry, link);
        save(l, e, now);
        if (e->is_saving) { /* others first; this one is clean when it comes round again */
            list_remove(&e->link);
            list_add_head(&l->entries, &e->link);
            continue;
        }
        list_remove(&e->link);
        map_remove(&l->map, &e->node);
        free(e);
        l->n--;
    }
}

/* Reads a subject that is not in memory; without the mutex. */
static enum rc load(struct limit *l, uint64_t id, unsigned flags)
{
    struct arena arena = {0};
    struct str value;
    enum rc rc = kv_get(l->kv, part_of(id), &row_key, 1, flags, &arena, &value, NULL);
    if (rc == RC_OK) {
        struct entry *e = mem_zero(sizeof *e);
        e->id = id;
        unpack(value, e);
        pthread_mutex_lock(&l->mutex);
        if (find(l, id)) {
            free(e); /* somebody else was faster */
        } else {
            make_room(l);
            map_add(&l->map, &e->node, hash_of(id));
            list_add_head(&l->entries, &e->link);
            l->n++;
        }
        pthread_mutex_unlock(&l->mutex);
    }
    arena_fini(&arena);
    return rc == RC_CORRUPT ? RC_TEMP : rc;
}

/* All of them in memory, with the mutex held on RC_OK. */
static enum rc take_all(struct limit *l, const struct limit_wish *wish, unsigned flags,
                        struct entry *out[LIMIT_SUBJECTS])
{
    if (wish->n > LIMIT_SUBJECTS)
        return RC_LIMIT;
    for (unsigned tries = 0; tries < 3; tries++) {
        size_t found = 0;
        pthread_mutex_lock(&l->mutex);
        while (found < wish->n && (out[found] = find(l, wish->subjects[found].id)))
            found++;
        if (found == wish->n)
            return RC_OK;
        pthread_mutex_unlock(&l->mutex);
        TRY(load(l, wish->subjects[found].id, flags));
    }
    return RC_TEMP;
}

/* --- asking ----------------------------------------------------------------------------------- */

static uint32_t amount_of(const struct limit_wish *wish, size_t what)
{
    return what <= LIMIT_MESSAGES_DAY ? wish->messages : wish->recipients;
}

static enum rc check(const struct limit_subject *s, struct entry *e, const struct limit_wish *wish,
                     uint64_t now, struct limit_answer *out)
{
    enum rc rc = RC_OK;
    for (size_t i = 0; i < LIMIT_KINDS; i++) {
        uint64_t length = length_of(i);
        double n = amount_of(wish, i), most = s->rates.most[i];
        roll(&e->window[i], now, length);
        if (most <= 0 || n <= 0 || count_of(&e->window[i], now, length) + n <= most)
            continue;
        uint64_t wait = wait_of(&e->window[i], now, length, n, most);
        if (rc == RC_OK || wait > out->wait_s) {
            out->what = (enum limit_what)i;
            out->wait_s = wait;
        }
        rc = RC_LIMIT;
    }
    return rc;
}

static void add(struct limit *l, struct entry *e, const struct limit_wish *wish, uint64_t now)
{
    for (size_t i = 0; i < LIMIT_KINDS; i++)
        e->window[i].now += amount_of(wish, i);
    e->is_dirty = true;
    if (now < e->saved || now - e->saved >= l->save_ns)
        save(l, e, now);
}

static enum rc decide(struct limit *l, const struct limit_wish *wish, unsigned flags,
                      struct limit_answer *out, bool counts)
{
    struct entry *entries[LIMIT_SUBJECTS];
    uint64_t now = clock_wall(l->ctx->clock);
    TRY(take_all(l, wish, flags, entries));
    enum rc rc = RC_OK;
    for (size_t i = 0; rc == RC_OK && i < wish->n; i++) {
        *out = (struct limit_answer){.subject = i};
        rc = check(&wish->subjects[i], entries[i], wish, now, out);
    }
    for (size_t i = 0; rc == RC_OK && counts && i < wish->n; i++)
        add(l, entries[i], wish, now);
    pthread_mutex_unlock(&l->mutex);
    return rc;
}

enum rc limit_ask(struct limit *limit, const struct limit_wish *wish, unsigned flags,
                  struct limit_answer *out)
{
    return decide(limit, wish, flags, out, false);
}

enum rc limit_take(struct limit *limit, const struct limit_wish *wish, unsigned flags,
                   struct limit_answer *out)
{
    return decide(limit, wish, flags, out, true);
}

void limit_give(struct limit *limit, const struct limit_wish *wish)
{
    pthread_mutex_lock(&limit->mutex);
    for (size_t k = 0; k < wish->n; k++) {
        struct entry *e = find(limit, wish->subjects[k].id);
        for (size_t i = 0; e && i < LIMIT_KINDS; i++) {
            uint32_t n = amount_of(wish, i);
            e->window[i].now -= n < e->window[i].now ? n : e->window[i].now;
        }
    }
    pthread_mutex_unlock(&limit->mutex);
}

enum rc limit_show(struct limit *limit, uint64_t id, uint32_t out[LIMIT_KINDS])
{
    const struct limit_subject subject = {.id = id};
    const struct limit_wish wish = {.subjects = &subject, .n = 1};
    struct entry *entries[LIMIT_SUBJECTS];
    uint64_t now = clock_wall(limit->ctx->clock);
    TRY(take_all(limit, &wish, 0, entries));
    for (size_t i = 0; i < LIMIT_KINDS; i++) {
        roll(&entries[0]->window[i], now, length_of(i));
        out[i] = (uint32_t)count_of(&entries[0]->window[i], now, length_of(i));
    }
    pthread_mutex_unlock(&limit->mutex);
    return RC_OK;
}

/* --- the process ------------------------------------------------------------------------------ */

struct limit *limit_open(const struct ctx *ctx, struct kv *kv, const struct limit_conf *conf)
{
    struct limit *l = mem_zero(sizeof *l);
    l->ctx = ctx;
    l->kv = kv;
    l->max = conf->entries ? conf->entries : ENTRIES;
    l->save_ns = (conf->save_ms ? conf->save_ms : SAVE_MS) * NS_PER_MS;
    pthread_mutex_init(&l->mutex, NULL);
    pthread_cond_init(&l->idle, NULL);
    map_init(&l->map);
    list_init(&l->entries);
    return l;
}

void limit_close(struct limit **limit)
{
    struct limit *l = *limit;
    *limit = NULL;
    if (!l)
        return;
    pthread_mutex_lock(&l->mutex);
    while (l->saving)
        pthread_cond_wait(&l->idle, &l->mutex);
    LIST_EACH_SAFE (&l->entries, it)
        save(l, CONTAINER(it, struct entry, link), clock_wall(l->ctx->clock));
    while (l->saving)
        pthread_cond_wait(&l->idle, &l->mutex);
    pthread_mutex_unlock(&l->mutex);
    map_fini(&l->map);
    LIST_EACH_SAFE (&l->entries, it)
        free(CONTAINER(it, struct entry, link));
    pthread_cond_destroy(&l->idle);
    pthread_mutex_destroy(&l->mutex);
    free(l);
}
