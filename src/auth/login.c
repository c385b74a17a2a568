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
#include "auth/login_int.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum { WORD_MAX = 64 }; /* of peer and session in the log */

struct place { /* in the lane */
    struct task_job task;
    struct auth *auth;
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

static enum turn_class class_of(struct auth *auth, const struct who *who)
{
    bool is_owner = who->is_trusted;
    if (!is_owner && auth_is_at_home(auth, who, KV_CACHED, &is_owner) != RC_OK)
        is_owner = false;
    return is_owner ? TURN_OWNER : TURN_STRANGER;
}

static bool answer_at_once(struct auth *auth, const struct who *who, struct str password,
                           struct verdict *v)
{
    const char *cause;
    if (is_verified(auth, who, password, v))
        return true;
    if (auth_may_try(auth, who, KV_CACHED, &cause) != RC_DENIED)
        return false;
    *v = auth_verdict_blocked(cause);
    return true;
}

static bool login_at_once(struct auth *auth, struct auth_login *login, const struct who *who)
{
    struct told told = {login->protocol, login->name,      login->peer,
                        login->session,  login->mechanism, 0};
    struct verdict v;
    if (!answer_at_once(auth, who, login->password, &v))
        return false;
    auth_conclude(auth, &told, &v, login);
    return true;
}

bool auth_login_now(struct auth *auth, struct auth_login *login)
{
    struct who who;
    auth_who_init(&who, auth, login->name, login->peer);
    return login_at_once(auth, login, &who);
}

/* --- on the lane ------------------------------------------------------------------------------ */

static struct told told_of(const struct job *job)
{
    return (struct told){job->login->protocol,
                         str_from(job->name, job->n_name),
                         str_from(job->peer, job->n_peer),
                         str_from(job->session, job->n_session),
                         job->login->mechanism,
                         0};
}

/* Of app passwords, which cost no slow hash, only the use is noted. */
static void remember(struct job *job, const struct verdict *v)
{
    struct auth *auth = job->auth;
    struct verified_question q =
        question_of(auth, &job->who, str_from(job->password, job->n_password));
    if (v->app.number)
        auth_app_note(auth, v->facts.account, &v->app, job->login->protocol,
                      str_from(job->peer, job->n_peer));
    else
        auth_verified_put(&auth->verified, &q, &v->facts);
    if (job->who.is_trusted)
        return;
    struct told told = told_of(job);
    if (v->address[0]) /* of an app password: the account's */
        told.name = str_of(v->address);
    else
        told.name = job->who.name;
    auth_place_arrive(auth, &job->who, &told, v->facts.account);
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
    struct str password = str_from(job->password, job->n_password);
    if (v->rc == RC_DENIED)
        told.delay_ms = auth_count_failure(auth, &job->who, &told, password);
    if (v->rc == RC_OK && !v->is_cached)
        remember(job, v);
    auth_conclude(auth, &told, v, login);
    job_free(job);
    budget_give(&auth->logins, 1);
    /* The last: auth may be closed once all of these have run. */
    auth_tell_later(auth, login, told.delay_ms);
}

static struct verdict verify_slowly(struct job *job, const struct credential *c)
{
    struct auth *auth = job->auth;
    struct str password = str_from(job->password, job->n_password);
    enum rc rc = auth_password_verify(auth, c, password);
    /* A hash from elsewhere may be a fast one: what is wrong takes the time of ours as well. */
    if (rc == RC_DENIED && crypto_is_foreign(c->hash))
        (void)crypto_password_verify(str_of(auth->decoy), password);
    if (rc != RC_OK && rc != RC_DENIED)
        return auth_verdict_failure(rc);
    bool is_right = rc == RC_OK && c->is_usable && !job->is_too_long;
    if (is_right && (crypto_is_foreign(c->hash) || auth_scram_wants(auth, &c->scram)))
        auth_rehash(auth, job->who.name, c->hash, password);
    return (struct verdict){
        .rc = is_right ? RC_OK : RC_DENIED, .facts = c->facts, .cause = c->cause};
}

/* An app password needs no slow hash; what is none, or none that may be used here and now, goes on
 * to it. */
static struct verdict verify(struct job *job)
{
    struct auth *auth = job->auth;
    struct arena arena = {0};
    struct credential c;
    const struct app_attempt attempt = {.password = str_from(job->password, job->n_password),
                                        .protocol = job->login->protocol,
                                        .peer = &job->who.peer};
    struct verdict v;
    enum rc rc = auth_credential_read(auth, str_from(job->name, job->n_name), 0, &arena, &c);
    if (rc == RC_OK)
        rc = auth_app_match(auth, &c, &attempt);
    if (rc == RC_OK && !job->is_too_long)
        v = (struct verdict){.rc = RC_OK, .facts = c.facts, .app = c.app};
    else if (rc == RC_OK || rc == RC_DENIED)
        v = verify_slowly(job, &c);
    else
        v = auth_verdict_failure(rc);
    if (v.rc == RC_OK && c.address.n)
        memcpy(v.address, c.address.p, c.address.n); /* shorter than the name was */
    crypto_wipe(&c.scram, sizeof c.scram);
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
    return auth_may_try(job->auth, &job->who, 0, &cause) == RC_OK ? verify(job)
                                                                  : auth_verdict_blocked(cause);
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
    auth_who_init(&job->who, auth, login->name, login->peer);
    return job;
}

static void put_off(struct auth *auth, struct auth_login *login)
{
    counter_add(auth->ctx->counters, COUNTER_LOGINS_SHED, 1);
    login->rc = RC_TEMP;
    login->is_blocked = false;
    login->account = 0;
    login->settings = (struct auth_settings){0};
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

enum rc auth_blocked_list(struct auth *auth, struct str what, struct arena *arena,
                          struct auth_blocked **out, size_t *out_n)
{
    struct address address;
    struct net_cidr net;
    struct str name = {0};
    bool is_net = false;
    if (what.n && auth_address_parse(what, &address) == RC_OK)
        name = address.whole;
    else if (what.n && !(is_net = net_cidr_parse(what, &net) == RC_OK))
        return RC_SYNTAX;
    return auth_guard_list(&auth->guard, name, is_net ? &net : NULL, clock_mono(auth->ctx->clock),
                           arena, out, out_n);
}

enum rc auth_blocked_remove(struct auth *auth, struct str what, size_t *out_n)
{
    struct address address;
    struct net_cidr net;
    struct str name = {0};
    bool is_net = false, all = str_is_null(what);
    if (!all && auth_address_parse(what, &address) == RC_OK)
        name = address.whole;
    else if (!all && !(is_net = net_cidr_parse(what, &net) == RC_OK))
        return RC_SYNTAX;
    const struct net_cidr *within = is_net ? &net : NULL;
    *out_n = auth_guard_remove(&auth->guard, name, within, all, clock_mono(auth->ctx->clock));
    auth_blocks_forget(auth, name, within, all); /* it stays away after a restart */
    return *out_n || all ? RC_OK : RC_NOTFOUND;
}
