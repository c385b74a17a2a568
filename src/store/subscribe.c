/* Subscriptions: names, whether or not there are such mailboxes [RFC3501 6.3.6] [RFC9051 6.3.7].
 *
 * `n` hash8 of the name: the name. All of an account's are read once, when somebody asks, and kept
 * sorted in memory; each published change is applied to them. A reading that a change overtook is
 * made again: applying a change twice does no harm, missing one would. */
#include "store/store_int.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum { READ_TRIES = 10 };

static size_t find(const struct subscriptions *s, struct str name)
{
    size_t from = 0, to = s->n;
    while (from < to) {
        size_t half = from + (to - from) / 2;
        if (str_cmp(s->names[half], name) < 0)
            from = half + 1;
        else
            to = half;
    }
    return from;
}

static bool has(const struct subscriptions *s, size_t at, struct str name)
{
    return at < s->n && str_eq(s->names[at], name);
}

static void apply(struct subscriptions *s, struct str name, bool is_on)
{
    size_t at = find(s, name);
    if (has(s, at, name) == is_on)
        return;
    if (is_on) {
        s->names = mem_array(s->names, &s->size, s->n + 1, sizeof name);
        memmove(s->names + at + 1, s->names + at, (s->n++ - at) * sizeof name);
        s->names[at] = str_from(mem_dup(name.p, name.n), name.n);
    } else {
        free((void *)(uintptr_t)s->names[at].p);
        memmove(s->names + at, s->names + at + 1, (--s->n - at) * sizeof name);
    }
}

void subscriptions_publish(struct store_account *a, const struct change *c)
{
    a->subscriptions.epoch++;
    if (a->subscriptions.is_known)
        apply(&a->subscriptions, c->subscription, c->is_subscribed);
}

static void clear(struct subscriptions *s)
{
    for (size_t i = 0; i < s->n; i++)
        free((void *)(uintptr_t)s->names[i].p);
    free(s->names);
    *s = (struct subscriptions){.epoch = s->epoch};
}

void subscriptions_forget(struct store_account *a)
{
    clear(&a->subscriptions);
    a->subscriptions.epoch++;
}

/* --- reading ---------------------------------------------------------------------------------- */

static enum rc read_one(void *arg, struct kv_row row)
{
    struct str name;
    TRY(text_decode(row.value, &name));
    apply(arg, name, true);
    return RC_OK;
}

/* The lock is held, but not while it reads. */
static enum rc know(struct store_account *a, unsigned flags)
{
    struct key prefix = key_of_kind('n');
    for (int i = 0; i < READ_TRIES && !a->subscriptions.is_known; i++) {
        struct subscriptions found = {.is_known = true};
        unsigned epoch = a->subscriptions.epoch;
        if (flags & KV_CACHED)
            return RC_AGAIN;
        pthread_mutex_unlock(&a->mutex);
        enum rc rc = scan_rows(a, key_str(&prefix), read_one, &found, NULL);
        pthread_mutex_lock(&a->mutex);
        if (rc == RC_OK && a->subscriptions.epoch == epoch && !a->subscriptions.is_known) {
            found.epoch = epoch;
            a->subscriptions = found;
        } else {
            clear(&found);
        }
        TRY(rc);
    }
    return a->subscriptions.is_known ? RC_OK : RC_TEMP;
}

enum rc store_subscriptions(struct store_account *a, unsigned flags, struct arena *arena,
                            struct str **out, size_t *out_n)
{
    *out = NULL;
    *out_n = 0;
    pthread_mutex_lock(&a->mutex);
    enum rc rc = know(a, flags);
    size_t n = a->subscriptions.n;
    struct str *names = rc == RC_OK ? arena_alloc(arena, n * sizeof *names + 1) : NULL;
    if (rc == RC_OK && !names)
        rc = RC_LIMIT;
    for (size_t i = 0; rc == RC_OK && i < n; i++) {
        names[i] = arena_dup(arena, a->subscriptions.names[i]);
        if (str_is_null(names[i]))
            rc = RC_LIMIT;
    }
    pthread_mutex_unlock(&a->mutex);
    if (rc != RC_OK)
        return rc;
    *out = names;
    *out_n = n;
    return RC_OK;
}

enum rc store_is_subscribed(struct store_account *a, struct str name, unsigned flags, bool *out)
{
    pthread_mutex_lock(&a->mutex);
    enum rc rc = know(a, flags);
    *out = rc == RC_OK && has(&a->subscriptions, find(&a->subscriptions, name), name);
    pthread_mutex_unlock(&a->mutex);
    return rc;
}

/* --- changing --------------------------------------------------------------------------------- */

struct subscribing {
    struct attempt attempt;
    struct store_op *op;
    struct str name;
    struct store_path path;
    bool is_on;
};

/* Whether the head has this name. RC_CONFLICT: another one has its hash. */
static enum rc look(struct subscribing *p, struct key key, bool *out_is_there)
{
    struct str value, name;
    TRY(head_get(&p->attempt, key, &value));
    *out_is_there = !str_is_null(value);
    if (!*out_is_there)
        return RC_OK;
    TRY(text_decode(value, &name));
    return str_eq(name, p->name) ? RC_OK : RC_CONFLICT;
}

static enum rc run(struct attempt *attempt)
{
    struct subscribing *p = CONTAINER(attempt, struct subscribing, attempt);
    struct store_account *a = attempt->account;
    struct key key = key_subscription(p->name, a->head.hot.hash_key);
    unsigned char mem[STORE_LEVELS * (STORE_NAME_MAX + 1) + 16];
    bool is_there;
    TRY(look(p, key, &is_there));
    if (is_there == p->is_on)
        return change_nothing(a, p->op);
    if (p->is_on && a->subscriptions.n >= STORE_MAILBOXES)
        return RC_LIMIT;
    struct change *c = change_new(a, p->op);
    if (p->is_on)
        change_put(c, key, text_encode(p->name, mem, sizeof mem));
    else
        change_delete(c, key);
    c->is_subscribed = p->is_on;
    c->subscription = str_from(mem_dup(p->name.p, p->name.n), p->name.n);
    const struct mailbox *m = path_find_head(a, p->path);
    if (m)
        change_note(c, CHANGE_MAILBOX, CHANGE_UPDATED, m->id);
    p->op->changed = 0;
    return change_commit(c);
}

/* Room for the levels of a name, and for the name with INBOX as it is written. */
struct split {
    struct str levels[STORE_LEVELS];
    char name[STORE_LEVELS * (STORE_NAME_MAX + 1)];
};

static enum rc split(struct str name, struct split *out, struct store_path *out_path)
{
    size_t n = 0;
    if (name.n == 0 || name.n > sizeof out->name)
        return RC_SYNTAX;
    memcpy(out->name, name.p, name.n);
    for (size_t from = 0, i = 0; i <= name.n; i++) {
        if (i < name.n && name.p[i] != '/')
            continue;
        if (n == STORE_LEVELS)
            return RC_SYNTAX;
        out->levels[n++] = str_from(out->name + from, i - from);
        from = i + 1;
    }
    if (str_ieq(out->levels[0], STR("INBOX")))
        memcpy(out->name, "INBOX", 5);
    *out_path = (struct store_path){out->levels, n};
    return path_check(*out_path);
}

enum rc store_subscribe(struct store_account *a, struct str name, bool is_on, unsigned flags,
                        struct store_op *op)
{
    struct split s;
    struct subscribing p = {
        .attempt = {.run = run, .account = a, .flags = flags}, .op = op, .is_on = is_on};
    TRY(split(name, &s, &p.path));
    p.name = str_from(s.name, name.n);
    pthread_mutex_lock(&a->mutex);
    enum rc rc = know(a, flags); /* how many there are */
    pthread_mutex_unlock(&a->mutex);
    if (rc == RC_OK)
        rc = attempt_run(&p.attempt);
    if (rc != RC_EOF)
        return rc;
    op->done(op);
    return RC_OK;
}
