/* Logins: what can be answered at once is; for the rest a copy of what the peer gave waits for its
 * turn on the hash lane, the directory is read there, and one hash is computed.
 *
 * Invariants: every login that gets as far as the hash computes exactly one, with the same
 * parameters, whether the name is there, disabled or not, so that time tells nothing; its result is
 * RC_OK, RC_DENIED or RC_TEMP and nothing else; the password's copy is wiped before done() runs; at
 * most auth_conf.logins copies exist; for each that waits for its turn there is one place in the
 * lane, and not the same one for certain. A block is looked for when a login comes and again before
 * its hash, so that many at once do not slip past it. Never logs a password.
 */
#include "auth/auth_int.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum { WORD_MAX = 64 }; /* of peer and session in the log */

struct place { /* in the lane */
    struct task_job task;
    struct auth *auth;
};

/* Who wants to log in, taken apart. The views point into `address` or `spelling`: do not copy. */
struct who {
    struct str name; /* in one spelling: that of an address, or else what came, in lower case */
    bool is_address, is_trusted;
    struct peer peer;
    struct address address;
    char spelling[AUTH_ADDRESS_MAX];
};

struct job {
    struct turn turn;
    struct auth *auth;
    struct auth_login *login;
    struct who who;
    char *password; /* a slot of auth->secrets */
    size_t n_name, n_password, n_peer, n_session;
    bool is_too_long; /* name or password: it can only be wrong, but takes the same time */
    char name[AUTH_ADDRESS_MAX];
    char peer[WORD_MAX];
    char session[WORD_MAX];
};

static size_t copy(char *to, size_t max, struct str s)
{
    size_t n = s.n < max ? s.n : max;
    if (n)
        memcpy(to, s.p, n);
    return n;
}

/* --- who -------------------------------------------------------------------------------------- */

static bool is_trusted(struct auth *auth, const struct peer *peer)
{
    bool is_in = !peer->is_network;
    pthread_rwlock_rdlock(&auth->trusted_lock);
    for (size_t i = 0; i < auth->n_trusted && !is_in; i++)
        is_in = net_cidr_has(&auth->trusted[i], &peer->addr);
    pthread_rwlock_unlock(&auth->trusted_lock);
    return is_in;
}

static void who_init(struct who *who, struct auth *auth, struct str name, struct str peer)
{
    auth_peer_parse(peer, &who->peer);
    who->is_trusted = is_trusted(auth, &who->peer);
    who->is_address = auth_address_parse(name, &who->address) == RC_OK;
    if (who->is_address) {
        who->name = who->address.whole;
        return;
    }
    size_t n = copy(who->spelling, sizeof who->spelling, name);
    for (size_t i = 0; i < n; i++)
        who->spelling[i] = ascii_lower(who->spelling[i]);
    who->name = str_from(who->spelling, n);
}

/* --- the answer ------------------------------------------------------------------------------- */

/* The result and, for the log, why. */
struct verdict {
    enum rc rc;
    struct verified facts; /* with RC_OK */
    const char *cause;
    bool is_cached, is_blocked;
};

static const char *event_of(const struct verdict *v)
{
    if (v->rc == RC_OK)
        return "login";
    return v->is_blocked ? "login-refused" : "login-failed";
}

/* As the protocol gave them, or as the job copied them. */
struct told {
    const char *protocol;
    struct str name, peer, session;
};

static void begin_line(struct log_line *l, struct auth *auth, enum log_level level,
                       const char *event, const struct told *t)
{
    log_begin(l, auth->ctx->log, level, event);
    log_str(l, "session", t->session);
    log_str(l, "peer", t->peer);
    log_text(l, "protocol", t->protocol);
    log_str(l, "address", t->name);
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
    if (v->is_cached)
        log_text(&l, "cached", "yes");
    log_end(&l);
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

static void fill_in(struct auth_login *login, const struct verdict *v)
{
    bool is_ok = v->rc == RC_OK;
    login->rc = v->rc;
    login->is_blocked = v->is_blocked;
    login->account = is_ok ? v->facts.account : 0;
    login->settings = is_ok ? v->facts.settings : (struct auth_settings){0};
    if (is_ok)
        memcpy(login->credential, v->facts.credential, sizeof login->credential);
}

/* --- at once ---------------------------------------------------------------------------------- */

static struct verified_question question_of(struct auth *auth, const struct who *who,
                                            struct str password)
{
    return (struct verified_question){.name = who->name,
                                      .password = password,
                                      .place = auth_peer_net(&who->peer, REACH_NETWORK),
                                      .now = clock_mono(auth->ctx->clock)};
}

/* Something in the partition has changed since: perhaps not this account. */
static bool is_still_true(struct auth *auth, const struct who *who, struct verified *facts)
{
    struct arena arena = {0};
    struct credential now;
    enum rc rc = auth_credential_read(auth, who->name, KV_CACHED, &arena, &now);
    bool is_same = rc == RC_OK && now.is_usable && now.facts.account == facts->account &&
                   memcmp(now.facts.credential, facts->credential, VERIFIED_CREDENTIAL) == 0;
    arena_fini(&arena);
    if (is_same)
        *facts = now.facts;
    else if (rc == RC_OK)
        auth_verified_drop(&auth->verified, who->name);
    return is_same;
}

static bool is_verified(struct auth *auth, const struct who *who, struct str password,
                        struct verdict *v)
{
    struct verified_question q = question_of(auth, who, password);
    struct verified facts;
    uint64_t latest = UINT64_MAX;
    if (who->is_address)
        latest = atomic_load(&auth->cache.versions[auth_domain_part(who->address.domain).id]);
    if (!auth_verified_find(&auth->verified, &q, &facts) || !who->is_address)
        return false;
    if (facts.version < latest && !is_still_true(auth, who, &facts))
        return false;
    auth_verified_renew(&auth->verified, &q, &facts);
    *v = (struct verdict){.rc = RC_OK, .facts = facts, .is_cached = true};
    return true;
}

/* Whether the account has logged in from there lately; false where that cannot be told. RC_AGAIN
 * (KV_CACHED), RC_OK. As many rows are read for a name that is not there. */
static enum rc is_at_home(struct auth *auth, const struct who *who, unsigned flags, bool *out)
{
    struct lookup found = {0};
    struct net_cidr place = auth_peer_net(&who->peer, REACH_NETWORK);
    bool is_known = false;
    *out = false;
    enum rc rc =
        who->is_address ? auth_lookup_address(auth, &who->address, flags, &found) : RC_NOTFOUND;
    if (rc == RC_AGAIN)
        return RC_AGAIN;
    uint64_t account = rc == RC_OK ? found.address.account : 0;
    if (auth_place_is_known(auth, account, &place, flags, &is_known) == RC_AGAIN)
        return RC_AGAIN;
    *out = is_known && account;
    return RC_OK;
}

static enum turn_class class_of(struct auth *auth, const struct who *who)
{
    bool is_owner = who->is_trusted;
    if (!is_owner && is_at_home(auth, who, KV_CACHED, &is_owner) != RC_OK)
        is_owner = false;
    return is_owner ? TURN_OWNER : TURN_STRANGER;
}

/* RC_OK: nothing stands against it. RC_DENIED: blocked. RC_AGAIN: to be seen where disks may be
 * waited for. */
static enum rc may_try(struct auth *auth, const struct who *who, unsigned flags,
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
    TRY(is_at_home(auth, who, flags, &is_known));
    return is_known ? RC_OK : RC_DENIED;
}

static struct verdict refusal(const char *cause)
{
    return (struct verdict){.rc = RC_TEMP, .cause = cause, .is_blocked = true};
}

static bool answer_at_once(struct auth *auth, const struct who *who, struct str password,
                           struct verdict *v)
{
    const char *cause;
    if (is_verified(auth, who, password, v))
        return true;
    if (may_try(auth, who, KV_CACHED, &cause) != RC_DENIED)
        return false;
    *v = refusal(cause);
    return true;
}

static bool login_at_once(struct auth *auth, struct auth_login *login, const struct who *who)
{
    struct told told = {login->protocol, login->name, login->peer, login->session};
    struct verdict v;
    if (!answer_at_once(auth, who, login->password, &v))
        return false;
    count(auth, &v);
    tell_operator(auth, &told, &v);
    fill_in(login, &v);
    return true;
}

bool auth_login_now(struct auth *auth, struct auth_login *login)
{
    struct who who;
    who_init(&who, auth, login->name, login->peer);
    return login_at_once(auth, login, &who);
}

/* --- on the lane ------------------------------------------------------------------------------ */

static struct told told_of(const struct job *job)
{
    return (struct told){job->login->protocol, str_from(job->name, job->n_name),
                         str_from(job->peer, job->n_peer), str_from(job->session, job->n_session)};
}

static void log_blocks(struct job *job, const struct guard_answer *answer)
{
    struct told told = told_of(job);
    for (int i = 0; i < GUARD_SCOPES; i++) {
        char text[AUTH_NET_TEXT];
        struct str what = job->who.name;
        struct log_line l;
        if (!(answer->blocked & 1U << i))
            continue;
        if (i != GUARD_ACCOUNT) {
            enum reach reach = i == GUARD_ADDRESS ? REACH_ADDRESS : REACH_NETWORK;
            struct net_cidr net = auth_peer_net(&job->who.peer, reach);
            what = auth_net_text(&net, text);
        }
        begin_line(&l, job->auth, LOG_WARNING, "login-blocked", &told);
        log_text(&l, "scope", auth_guard_scope(i));
        log_str(&l, "blocked", what);
        log_u64(&l, "seconds", answer->block_ns[i] / NS_PER_SEC);
        log_text(&l, "cause", "too many wrong passwords");
        log_end(&l);
        counter_add(job->auth->ctx->counters, COUNTER_LOGIN_BLOCKS, 1);
    }
}

/* Counts a wrong password; how long its refusal is held back. */
static uint64_t count_failure(struct job *job)
{
    struct auth *auth = job->auth;
    struct str password = str_from(job->password, job->n_password);
    struct guard_attempt attempt = {.name = job->who.name,
                                    .peer = &job->who.peer,
                                    .pair = auth_guard_pair(&auth->guard, job->who.name, password),
                                    .now = clock_mono(auth->ctx->clock)};
    struct guard_answer answer;
    if (job->who.is_trusted)
        return 0;
    auth_guard_failed(&auth->guard, &attempt, &answer);
    log_blocks(job, &answer);
    return answer.delay_ns / NS_PER_MS;
}

static void remember(struct job *job, const struct verified *facts)
{
    struct auth *auth = job->auth;
    struct verified_question q =
        question_of(auth, &job->who, str_from(job->password, job->n_password));
    auth_verified_put(&auth->verified, &q, facts);
    if (!job->who.is_trusted)
        auth_place_note(auth, facts->account, &q.place);
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

static void tell_later(struct auth *auth, struct auth_login *login, uint64_t ms)
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

static void job_free(struct job *job)
{
    auth_secrets_give(&job->auth->secrets, job->password);
    crypto_wipe(job, sizeof *job);
    free(job);
}

/* Tells the caller; nothing of the job is touched by anybody afterwards. */
static void job_finish(struct job *job, const struct verdict *v)
{
    struct auth_login *login = job->login;
    struct auth *auth = job->auth;
    struct told told = told_of(job);
    uint64_t delay_ms = v->rc == RC_DENIED ? count_failure(job) : 0;
    if (v->rc == RC_OK && !v->is_cached)
        remember(job, &v->facts);
    count(auth, v);
    tell_operator(auth, &told, v);
    fill_in(login, v);
    job_free(job);
    budget_give(&auth->logins, 1);
    /* The last: auth may be closed once all of these have run. */
    tell_later(auth, login, delay_ms);
}

static struct verdict failure(enum rc rc)
{
    return (struct verdict){.rc = RC_TEMP, .cause = rc_name(rc)};
}

static struct verdict verify(struct job *job)
{
    struct auth *auth = job->auth;
    struct arena arena = {0};
    struct credential c;
    enum rc rc = auth_credential_read(auth, str_from(job->name, job->n_name), 0, &arena, &c);
    struct verdict v = failure(rc);
    if (rc == RC_OK) {
        counter_add(auth->ctx->counters, COUNTER_PASSWORD_HASHES, 1);
        rc = crypto_password_verify(c.hash, str_from(job->password, job->n_password));
        bool is_right = rc == RC_OK && c.is_usable && !job->is_too_long;
        v = (struct verdict){
            .rc = is_right ? RC_OK : RC_DENIED, .facts = c.facts, .cause = c.cause};
        if (rc != RC_OK && rc != RC_DENIED)
            v = failure(rc);
    }
    arena_fini(&arena);
    return v;
}

/* A client that opens many connections at once costs one hash, not one for each. */
static struct verdict decide(struct job *job)
{
    const char *cause;
    struct verdict v;
    if (!job->is_too_long &&
        is_verified(job->auth, &job->who, str_from(job->password, job->n_password), &v))
        return v;
    return may_try(job->auth, &job->who, 0, &cause) == RC_OK ? verify(job) : refusal(cause);
}

static void place_run(struct task_job *task)
{
    struct place *place = CONTAINER(task, struct place, task);
    struct turn *turn = auth_turns_next(&place->auth->turns);
    free(place);
    if (!turn)
        return;
    struct job *job = CONTAINER(turn, struct job, turn);
    struct verdict v = decide(job);
    job_finish(job, &v);
}

/* --- to the lane ------------------------------------------------------------------------------ */

/* NULL: no room for its password. */
static struct job *job_new(struct auth *auth, struct auth_login *login)
{
    char *password = auth_secrets_take(&auth->secrets);
    if (!password)
        return NULL;
    struct job *job = mem_zero(sizeof *job);
    job->auth = auth;
    job->login = login;
    job->password = password;
    job->is_too_long = login->name.n > sizeof job->name || login->password.n > AUTH_PASSWORD_MAX;
    job->n_name = copy(job->name, sizeof job->name, login->name);
    job->n_password = copy(job->password, AUTH_PASSWORD_MAX, login->password);
    job->n_peer = copy(job->peer, sizeof job->peer, login->peer);
    job->n_session = copy(job->session, sizeof job->session, login->session);
    who_init(&job->who, auth, login->name, login->peer);
    return job;
}

static void put_off(struct auth *auth, struct auth_login *login)
{
    struct verdict v = failure(RC_TEMP);
    counter_add(auth->ctx->counters, COUNTER_LOGINS_SHED, 1);
    fill_in(login, &v);
    login->done(login);
}

/* As many wait as may: this one is put off, or the one whose place it gets. */
static void put_one_off(struct auth *auth, struct auth_login *login)
{
    struct auth_login *loser = login;
    struct job *job = job_new(auth, login);
    if (job) {
        struct turn *out =
            auth_turns_replace(&auth->turns, &job->turn, &job->who.peer, class_of(auth, &job->who));
        job = out ? CONTAINER(out, struct job, turn) : job;
        loser = job->login;
        job_free(job);
    }
    put_off(auth, loser);
}

static void wait_for_turn(struct auth *auth, struct auth_login *login)
{
    if (!budget_take(&auth->logins, 1)) {
        put_one_off(auth, login);
        return;
    }
    struct job *job = job_new(auth, login);
    if (!job) {
        budget_give(&auth->logins, 1);
        put_off(auth, login);
        return;
    }
    struct task_lane *lane = auth->conf.hash_lane;
    struct place *place = mem_zero(sizeof *place);
    *place = (struct place){.task.run = place_run, .auth = auth};
    auth_turns_add(&auth->turns, &job->turn, &job->who.peer,
                   class_of(auth, &job->who)); /* the lane's from here on */
    if (lane && task_lane_post(lane, &place->task) == RC_OK)
        return;
    free(place);
    struct turn *turn = auth_turns_next(&auth->turns);
    struct verdict busy = {.rc = RC_TEMP, .cause = "busy"};
    if (turn)
        job_finish(CONTAINER(turn, struct job, turn), &busy);
}

void auth_login(struct auth *auth, struct auth_login *login)
{
    if (auth_login_now(auth, login))
        login->done(login);
    else
        wait_for_turn(auth, login);
}

/* --- what an administrator sees of it --------------------------------------------------------- */

void auth_hurry(struct auth *auth)
{
    if (auth->timers)
        task_timers_hurry(auth->timers);
}

enum rc auth_blocked_list(struct auth *auth, struct arena *arena, struct auth_blocked **out,
                          size_t *out_n)
{
    return auth_guard_list(&auth->guard, clock_mono(auth->ctx->clock), arena, out, out_n);
}

enum rc auth_blocked_remove(struct auth *auth, struct str what, size_t *out_n)
{
    struct address address;
    struct net_cidr net;
    uint64_t now = clock_mono(auth->ctx->clock);
    if (str_is_null(what))
        *out_n = auth_guard_remove(&auth->guard, what, NULL, true, now);
    else if (auth_address_parse(what, &address) == RC_OK)
        *out_n = auth_guard_remove(&auth->guard, address.whole, NULL, false, now);
    else if (net_cidr_parse(what, &net) == RC_OK)
        *out_n = auth_guard_remove(&auth->guard, (struct str){0}, &net, false, now);
    else
        return RC_SYNTAX;
    return *out_n || str_is_null(what) ? RC_OK : RC_NOTFOUND;
}
