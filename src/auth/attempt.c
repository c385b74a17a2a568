/* An attempt to log in, whatever the mechanism: who it is and where it comes from, whether a block
 * stands against it, what a failure counts, how long its refusal is held back, and what operators
 * see of it.
 *
 * Invariants: each attempt has one log line and one count; a name that is not there costs as many
 * rows as one that is; done() runs exactly once. Never logs a password.
 */
#include "auth/login_int.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

static bool is_trusted(struct auth *auth, const struct peer *peer)
{
    bool is_in = !peer->is_network;
    pthread_rwlock_rdlock(&auth->trusted_lock);
    for (size_t i = 0; i < auth->n_trusted && !is_in; i++)
        is_in = net_cidr_has(&auth->trusted[i], &peer->addr);
    pthread_rwlock_unlock(&auth->trusted_lock);
    return is_in;
}

void auth_who_init(struct who *who, struct auth *auth, struct str name, struct str peer)
{
    auth_peer_parse(peer, &who->peer);
    who->is_trusted = is_trusted(auth, &who->peer);
    who->is_address = auth_address_parse(name, &who->address) == RC_OK;
    if (who->is_address) {
        who->name = who->address.whole;
        return;
    }
    size_t n = name.n < sizeof who->spelling ? name.n : sizeof who->spelling;
    for (size_t i = 0; i < n; i++)
        who->spelling[i] = ascii_lower(name.p[i]);
    who->name = str_from(who->spelling, n);
}

/* --- what stands against it ------------------------------------------------------------------- */

enum rc auth_is_at_home(struct auth *auth, const struct who *who, unsigned flags, bool *out)
{
    struct lookup found = {0};
    struct str label;
    struct net_cidr place = auth_peer_net(&who->peer, REACH_NETWORK);
    bool is_known = false;
    *out = false;
    enum rc rc = who->is_address ? auth_lookup_login(auth, &who->address, flags, &found, &label)
                                 : RC_NOTFOUND;
    if (rc == RC_AGAIN)
        return RC_AGAIN;
    uint64_t account = rc == RC_OK ? found.address.account : 0;
    if (auth_place_is_known(auth, account, &place, flags, &is_known) == RC_AGAIN)
        return RC_AGAIN;
    *out = is_known && account;
    return RC_OK;
}

enum rc auth_may_try(struct auth *auth, const struct who *who, unsigned flags,
                     const char **out_cause)
{
    unsigned blocked = 0;
    bool is_known;
    if (!who->is_trusted)
        blocked =
            auth_guard_check(&auth->guard, who->name, &who->peer, clock_mono(auth->ctx->clock));
    if (!blocked)
        return RC_OK;
    *out_cause = blocked & 1U << GUARD_ADDRESS   ? "address-blocked"
                 : blocked & 1U << GUARD_NETWORK ? "network-blocked"
                                                 : "account-blocked";
    TRY(auth_is_at_home(auth, who, flags, &is_known));
    return is_known ? RC_OK : RC_DENIED;
}

struct verdict auth_verdict_blocked(const char *cause)
{
    return (struct verdict){.rc = RC_TEMP, .cause = cause, .is_blocked = true};
}

struct verdict auth_verdict_failure(enum rc rc)
{
    return (struct verdict){.rc = RC_TEMP, .cause = rc_name(rc)};
}

/* --- how it ended ----------------------------------------------------------------------------- */

static const char *event_of(const struct verdict *v)
{
    if (v->rc == RC_OK)
        return "login";
    return v->is_blocked ? "login-refused" : "login-failed";
}

static void begin_line(struct log_line *l, struct auth *auth, enum log_level level,
                       const char *event, const struct told *t)
{
    log_begin(l, auth->ctx->log, level, event);
    log_str(l, "session", t->session);
    log_str(l, "peer", t->peer);
    log_text(l, "protocol", t->protocol);
    log_str(l, "address", t->name);
    if (t->mechanism.n)
        log_str(l, "mechanism", t->mechanism);
}

static void tell_operator(struct auth *auth, const struct told *t, const struct verdict *v)
{
    bool is_ok = v->rc == RC_OK;
    struct log_line l;
    begin_line(&l, auth, is_ok ? LOG_INFO : LOG_WARNING, event_of(v), t);
    if (is_ok)
        log_u64(&l, "account", v->facts.account);
    else
        log_text(&l, "cause", v->cause);
    if (is_ok && v->app.number)
        log_text(&l, "app_password", v->app.label);
    if (v->is_cached)
        log_text(&l, "cached", "yes");
    log_end(&l);
}

void auth_note(struct auth *auth, enum trace_what what, const struct told *told, struct str name,
               struct str cause)
{
    trace_login(auth->conf.trace, &(struct trace_login){.what = what,
                                                        .address = name,
                                                        .peer = told->peer,
                                                        .session = told->session,
                                                        .protocol = told->protocol,
                                                        .cause = cause,
                                                        .delay_ms = told->delay_ms});
}

static void note(struct auth *auth, const struct told *told, const struct verdict *v)
{
    bool is_ok = v->rc == RC_OK;
    struct str cause = is_ok ? STR("") : str_of(v->cause);
    struct str name = v->address[0] ? str_of(v->address) : told->name;
    enum trace_what what = is_ok           ? TRACE_LOGIN
                           : v->is_blocked ? TRACE_LOGIN_REFUSED
                                           : TRACE_LOGIN_FAILED;
    auth_note(auth, what, told, name, cause);
}

static void count(struct auth *auth, const struct verdict *v)
{
    struct counters *c = auth->ctx->counters;
    if (v->is_cached)
        counter_add(c, COUNTER_LOGINS_CACHED, 1);
    if (v->rc == RC_OK)
        counter_add(c, COUNTER_LOGINS, 1);
    else
        counter_add(c, v->is_blocked ? COUNTER_LOGINS_BLOCKED : COUNTER_LOGINS_FAILED, 1);
}

void auth_conclude(struct auth *auth, const struct told *told, const struct verdict *v,
                   struct auth_login *login)
{
    bool is_ok = v->rc == RC_OK;
    count(auth, v);
    tell_operator(auth, told, v);
    note(auth, told, v);
    login->rc = v->rc;
    login->is_blocked = v->is_blocked;
    login->account = is_ok ? v->facts.account : 0;
    login->settings = is_ok ? v->facts.settings : (struct auth_settings){0};
    login->version = is_ok ? v->facts.version : 0;
    login->expires = is_ok ? v->app.expires : 0;
    memcpy(login->address, v->address, sizeof login->address);
    if (is_ok)
        memcpy(login->credential, v->facts.credential, sizeof login->credential);
}

static void note_block(struct auth *auth, const struct told *told, struct str name, int scope,
                       struct str what, uint64_t seconds)
{
    struct buf cause = {.cap = 400};
    buf_putf(&cause, "%s %.*s for %llu s", auth_guard_scope(scope), STR_ARG(what),
             (unsigned long long)seconds);
    auth_note(auth, TRACE_LOGIN_BLOCKED, told, name, buf_str(&cause));
    buf_fini(&cause);
}

static void log_blocks(struct auth *auth, const struct who *who, const struct told *told,
                       const struct guard_answer *answer)
{
    for (int i = 0; i < GUARD_SCOPES; i++) {
        char text[AUTH_NET_TEXT];
        struct str what = who->name;
        struct log_line l;
        if (!(answer->blocked & 1U << i))
            continue;
        struct net_cidr net =
            auth_peer_net(&who->peer, i == GUARD_ADDRESS ? REACH_ADDRESS : REACH_NETWORK);
        if (i != GUARD_ACCOUNT)
            what = auth_net_text(&net, text);
        const struct guard_block block = {answer->block_ns[i], answer->n_blocks[i]};
        auth_blocks_write(auth, i, auth_guard_key(i, who->name, &net), &block);
        begin_line(&l, auth, LOG_WARNING, "login-blocked", told);
        log_text(&l, "scope", auth_guard_scope(i));
        log_str(&l, "blocked", what);
        log_u64(&l, "seconds", answer->block_ns[i] / NS_PER_SEC);
        log_text(&l, "cause", "too many wrong passwords");
        log_end(&l);
        counter_add(auth->ctx->counters, COUNTER_LOGIN_BLOCKS, 1);
        note_block(auth, told, who->name, i, what, answer->block_ns[i] / NS_PER_SEC);
    }
}

uint64_t auth_count_failure(struct auth *auth, const struct who *who, const struct told *told,
                            struct str proof)
{
    struct guard_attempt attempt = {.name = who->name,
                                    .peer = &who->peer,
                                    .pair = auth_guard_pair(&auth->guard, who->name, proof),
                                    .now = clock_mono(auth->ctx->clock)};
    struct guard_answer answer;
    if (who->is_trusted)
        return 0;
    auth_guard_failed(&auth->guard, &attempt, &answer);
    log_blocks(auth, who, told, &answer);
    return answer.delay_ns / NS_PER_MS;
}

struct delayed {
    struct task_timer timer;
    struct auth *auth;
    struct auth_login *login;
};

static void delay_over(struct task_timer *timer)
{
    struct delayed *d = CONTAINER(timer, struct delayed, timer);
    struct auth_login *login = d->login;
    budget_give(&d->auth->delayed, 1);
    free(d);
    login->done(login);
}

void auth_tell_later(struct auth *auth, struct auth_login *login, uint64_t ms)
{
    if (!ms || !auth->timers || !budget_take(&auth->delayed, 1)) {
        login->done(login);
        return;
    }
    struct delayed *d = mem_zero(sizeof *d);
    *d = (struct delayed){.timer.run = delay_over, .auth = auth, .login = login};
    counter_add(auth->ctx->counters, COUNTER_LOGINS_DELAYED, 1);
    task_timer_set(auth->timers, &d->timer, ms);
}
