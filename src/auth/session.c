/* The sessions that are logged in: a list in the order of their logins, and a count for each
 * account.
 *
 * Invariants: an entry is in the list from open to close, and all in it but `moved` and `ending`
 * changes only with the mutex held; its views are of its connection, which is there for longer.
 * Whoever goes through the list marks its place with a node of its own when it lets go of the
 * mutex, so that any number of entries may come and go meanwhile; entries are added at the end
 * alone. NET_EV_KICK is posted with the mutex held, while the entry is there.
 */
#include "auth/session_int.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum { AT_ONCE = 128 }; /* entries that are looked at without letting others in */

struct holder { /* an account that is logged in */
    struct map_node node;
    uint64_t account;
    uint32_t n;
};

void auth_sessions_init(struct sessions *s, uint32_t most)
{
    *s = (struct sessions){0};
    pthread_mutex_init(&s->mutex, NULL);
    list_init(&s->entries);
    map_init(&s->holders);
    atomic_init(&s->most, most);
}

void auth_sessions_fini(struct sessions *s)
{
    map_fini(&s->holders);
    pthread_mutex_destroy(&s->mutex);
}

/* --- the count -------------------------------------------------------------------------------- */

static struct holder *find_holder(struct sessions *s, uint64_t account, uint64_t hash)
{
    for (struct map_node *node = map_find(&s->holders, hash); node; node = map_next(node)) {
        struct holder *h = CONTAINER(node, struct holder, node);
        if (h->account == account)
            return h;
    }
    return NULL;
}

/* NULL: it has as many as it may. */
static struct holder *take_place(struct sessions *s, uint64_t account)
{
    uint64_t hash = map_hash_u64(account);
    struct holder *h = find_holder(s, account, hash);
    if (h && h->n >= atomic_load(&s->most))
        return NULL;
    if (!h) {
        h = mem_zero(sizeof *h);
        h->account = account;
        map_add(&s->holders, &h->node, hash);
    }
    h->n++;
    return h;
}

static void give_place(struct sessions *s, struct holder *h)
{
    if (--h->n)
        return;
    map_remove(&s->holders, &h->node);
    free(h);
}

/* --- an entry's life -------------------------------------------------------------------------- */

static uint32_t seconds_now(const struct auth *auth)
{
    return (uint32_t)(clock_mono(auth->ctx->clock) / NS_PER_SEC);
}

static struct auth_session *entry_new(struct auth *auth, struct conn *c,
                                      const struct auth_login *login)
{
    struct address address;
    bool is_address = auth_address_parse(login->name, &address) == RC_OK;
    struct str whole = is_address ? address.whole : login->name;
    struct auth_session *e = mem_zero(sizeof *e + whole.n);
    e->place.kind = PLACE_ENTRY;
    e->auth = auth;
    e->net = net_of(c);
    e->handle = net_handle(c);
    e->protocol = login->protocol;
    e->id = str_of(net_id(c));
    e->peer = net_peer_text(c);
    e->tls = net_tls_text(c);
    e->since = clock_wall(auth->ctx->clock);
    e->account = login->account;
    e->version = login->version;
    e->expires = login->expires;
    memcpy(e->credential, login->credential, sizeof e->credential);
    atomic_init(&e->moved, seconds_now(auth));
    e->part = auth_domain_part(is_address ? address.domain : STR("")).id;
    e->n_name = whole.n;
    memcpy(e->name, whole.p, whole.n);
    return e;
}

static void begin_line(struct log_line *l, const struct auth_session *e, const char *event)
{
    log_begin(l, e->auth->ctx->log, LOG_INFO, event);
    log_str(l, "session", e->id);
    log_str(l, "peer", e->peer);
    log_text(l, "protocol", e->protocol);
    log_str(l, "address", session_name(e));
}

static void note(const struct auth_session *e, enum trace_what what, const char *cause)
{
    trace_login(e->auth->conf.trace, &(struct trace_login){.what = what,
                                                           .address = session_name(e),
                                                           .peer = e->peer,
                                                           .session = e->id,
                                                           .protocol = e->protocol,
                                                           .cause = str_of(cause)});
}

static void refuse(struct auth_session *e)
{
    static const char cause[] = "the account has as many sessions as it may";
    struct log_line l;
    begin_line(&l, e, "session-refused");
    log_u64(&l, "account", e->account);
    log_text(&l, "cause", cause);
    log_end(&l);
    note(e, TRACE_LOGIN_REFUSED, cause);
    counter_add(e->auth->ctx->counters, COUNTER_SESSIONS_REFUSED, 1);
    free(e);
}

enum rc auth_session_open(struct auth *auth, struct conn *c, const struct auth_login *login,
                          struct auth_session **out)
{
    struct sessions *s = &auth->sessions;
    struct auth_session *e = entry_new(auth, c, login);
    *out = NULL;
    pthread_mutex_lock(&s->mutex);
    e->holder = take_place(s, e->account);
    if (e->holder) {
        e->serial = ++s->serial;
        list_add_tail(&s->entries, &e->place.link);
    }
    pthread_mutex_unlock(&s->mutex);
    if (!e->holder) {
        refuse(e);
        return RC_LIMIT;
    }
    counter_add(auth->ctx->counters, COUNTER_SESSIONS_OPEN, 1);
    /* What has changed since the login was looked at was told before the entry was there; and what
     * expires has to be waited for. */
    if (e->version < auth_part_version(auth, e->part) || e->expires)
        auth_warden_wake(auth);
    *out = e;
    return RC_OK;
}

void auth_session_close(struct auth_session **session)
{
    struct auth_session *e = *session;
    *session = NULL;
    if (!e)
        return;
    struct sessions *s = &e->auth->sessions;
    pthread_mutex_lock(&s->mutex);
    list_remove(&e->place.link);
    give_place(s, e->holder);
    pthread_mutex_unlock(&s->mutex);
    counter_sub(e->auth->ctx->counters, COUNTER_SESSIONS_OPEN, 1);
    free(e->mailbox);
    free(e->client);
    free(e);
}

void auth_session_moved(struct auth_session *e)
{
    if (e)
        atomic_store_explicit(&e->moved, seconds_now(e->auth), memory_order_relaxed);
}

static void set_text(struct auth_session *e, char **text, struct str value, size_t most)
{
    char *made = value.n ? mem_dup(value.p, value.n < most ? value.n : most) : NULL, *old;
    pthread_mutex_lock(&e->auth->sessions.mutex);
    old = *text;
    *text = made;
    pthread_mutex_unlock(&e->auth->sessions.mutex);
    free(old);
}

void auth_session_mailbox(struct auth_session *e, struct str name)
{
    if (e && (e->mailbox || name.n))
        set_text(e, &e->mailbox, name, AUTH_MAILBOX_MAX);
}

void auth_session_client(struct auth_session *e, struct str name)
{
    if (!e)
        return;
    set_text(e, &e->client, name, AUTH_CLIENT_MAX);
    const struct app_user user = {.part = {KV_DIRECTORY, e->part},
                                  .account = e->account,
                                  .number = get_u32(e->credential),
                                  .protocol = e->protocol,
                                  .peer = e->peer};
    auth_app_client(e->auth, &user, name);
}

enum auth_ending auth_session_ending(const struct auth_session *e)
{
    return e ? (enum auth_ending)atomic_load(&e->ending) : AUTH_SESSION_KICKED;
}

/* --- going through them ----------------------------------------------------------------------- */

void auth_walk_begin(struct walk *walk, struct sessions *s)
{
    *walk = (struct walk){.sessions = s, .mark.kind = PLACE_MARK};
    pthread_mutex_lock(&s->mutex);
    list_add_head(&s->entries, &walk->mark.link);
}

void auth_walk_end(struct walk *walk)
{
    list_remove(&walk->mark.link);
    pthread_mutex_unlock(&walk->sessions->mutex);
}

void auth_walk_pause(struct walk *walk)
{
    walk->n = 0;
    pthread_mutex_unlock(&walk->sessions->mutex);
}

void auth_walk_resume(struct walk *walk)
{
    pthread_mutex_lock(&walk->sessions->mutex);
}

/* The mark stands behind the entry that was given last. */
struct auth_session *auth_walk_next(struct walk *walk)
{
    struct list *head = &walk->sessions->entries, *at;
    if (++walk->n > AT_ONCE) {
        auth_walk_pause(walk);
        auth_walk_resume(walk);
    }
    for (at = walk->mark.link.next; at != head; at = at->next) {
        struct place_in_list *place = CONTAINER(at, struct place_in_list, link);
        if (place->kind != PLACE_ENTRY)
            continue;
        list_remove(&walk->mark.link);
        list_add_head(at, &walk->mark.link);
        return CONTAINER(place, struct auth_session, place);
    }
    return NULL;
}

/* Entries are never added before the mark, so what stands there is this one, or it is gone. */
bool auth_walk_is_there(struct walk *walk, const struct auth_session *e, uint64_t serial)
{
    struct list *head = &walk->sessions->entries;
    for (struct list *at = walk->mark.link.prev; at != head; at = at->prev) {
        struct place_in_list *place = CONTAINER(at, struct place_in_list, link);
        if (place->kind == PLACE_ENTRY)
            return CONTAINER(place, struct auth_session, place) == e && e->serial == serial;
    }
    return false;
}

void auth_session_end(struct auth_session *e, enum auth_ending why, const char *cause)
{
    struct log_line l;
    if (atomic_load(&e->ending) != AUTH_SESSION_STAYS)
        return;
    atomic_store(&e->ending, why);
    begin_line(&l, e, "session-ended");
    log_u64(&l, "account", e->account);
    log_text(&l, "cause", cause);
    log_end(&l);
    note(e, TRACE_SESSION_ENDED, cause);
    counter_add(e->auth->ctx->counters, COUNTER_SESSIONS_ENDED, 1);
    net_wake(e->net, e->handle, NET_EV_KICK);
}

/* --- for administrators ----------------------------------------------------------------------- */

/* Which are meant: those of an account, those that have logged in with a name, that of an id. */
struct wanted {
    struct str id;
    struct address address;
    bool is_address, is_any;
    uint64_t account; /* 0: the address is nobody's, or not any more */
};

static void read_wanted(struct auth *auth, struct str what, struct wanted *out)
{
    struct lookup found;
    *out = (struct wanted){.id = what, .is_any = str_is_null(what)};
    out->is_address = what.n && auth_address_parse(what, &out->address) == RC_OK;
    if (out->is_address && auth_lookup_address(auth, &out->address, 0, &found) == RC_OK)
        out->account = found.address.account;
}

static bool is_wanted(const struct wanted *w, const struct auth_session *e)
{
    if (w->is_any)
        return true;
    if (!w->is_address)
        return str_eq(e->id, w->id);
    return (w->account && w->account == e->account) || str_eq(session_name(e), w->address.whole);
}

static struct str keep(struct arena *arena, struct str s, bool *failed)
{
    if (!s.n)
        return (struct str){0};
    struct str copy = arena_dup(arena, s);
    *failed |= str_is_null(copy);
    return copy;
}

static enum rc describe(const struct auth_session *e, struct arena *arena,
                        struct auth_session_info *out)
{
    bool failed = false;
    uint32_t now = seconds_now(e->auth), moved = atomic_load(&e->moved);
    *out = (struct auth_session_info){.protocol = e->protocol,
                                      .account = e->account,
                                      .since = e->since,
                                      .idle_s = now > moved ? now - moved : 0,
                                      .ending = (enum auth_ending)atomic_load(&e->ending)};
    out->id = keep(arena, e->id, &failed);
    out->name = keep(arena, session_name(e), &failed);
    out->peer = keep(arena, e->peer, &failed);
    out->tls = keep(arena, e->tls, &failed);
    out->mailbox = keep(arena, e->mailbox ? str_of(e->mailbox) : (struct str){0}, &failed);
    out->client = keep(arena, e->client ? str_of(e->client) : (struct str){0}, &failed);
    return failed ? RC_LIMIT : RC_OK;
}

enum rc auth_session_list(struct auth *auth, struct str what, struct arena *arena,
                          struct auth_session_info **out, size_t *out_n)
{
    struct wanted wanted;
    struct walk walk;
    struct auth_session *e;
    struct auth_session_info *found = NULL;
    size_t n = 0, capacity = 0;
    enum rc rc = RC_OK;
    read_wanted(auth, what, &wanted);
    auth_walk_begin(&walk, &auth->sessions);
    while (rc == RC_OK && (e = auth_walk_next(&walk))) {
        if (!is_wanted(&wanted, e))
            continue;
        found = mem_array(found, &capacity, n + 1, sizeof *found);
        rc = describe(e, arena, &found[n++]);
    }
    auth_walk_end(&walk);
    *out = rc == RC_OK ? arena_alloc(arena, n * sizeof **out + 1) : NULL;
    *out_n = *out ? n : 0;
    if (*out_n)
        memcpy(*out, found, n * sizeof *found);
    free(found);
    return *out ? RC_OK : RC_LIMIT;
}

enum rc auth_session_kick(struct auth *auth, struct str what, size_t *out_n)
{
    struct wanted wanted;
    struct walk walk;
    struct auth_session *e;
    *out_n = 0;
    read_wanted(auth, what, &wanted);
    auth_walk_begin(&walk, &auth->sessions);
    while ((e = auth_walk_next(&walk))) {
        if (!is_wanted(&wanted, e))
            continue;
        auth_session_end(e, AUTH_SESSION_KICKED, "an administrator");
        ++*out_n;
    }
    auth_walk_end(&walk);
    return *out_n || wanted.is_any ? RC_OK : RC_NOTFOUND;
}
