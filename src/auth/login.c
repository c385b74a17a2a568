/* Logins: a copy of what the peer gave waits for its turn on the hash lane, the directory is read
 * there, and one hash is computed.
 *
 * Invariants: every login that gets as far as the lane computes exactly one hash with the same
 * parameters, whether the name is there, disabled or not, so that time tells nothing; its result is
 * RC_OK, RC_DENIED or RC_TEMP and nothing else; the password's copy is wiped before done() runs; at
 * most auth_conf.logins copies exist; for each that waits for its turn there is one place in the
 * lane, and not the same one for certain. Never logs a password.
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

struct job {
    struct turn turn;
    struct auth *auth;
    struct auth_login *login;
    size_t n_name, n_password, n_peer, n_session;
    bool is_too_long; /* name or password: it can only be wrong, but takes the same time */
    char name[AUTH_ADDRESS_MAX];
    char password[AUTH_PASSWORD_MAX];
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

/* The result and, for the log, why. */
struct verdict {
    enum rc rc;
    uint64_t account;
    struct auth_settings settings;
    const char *cause;
};

static void job_log(struct job *job, const struct verdict *v)
{
    bool is_ok = v->rc == RC_OK;
    struct log_line l;
    log_begin(&l, job->auth->ctx->log, is_ok ? LOG_INFO : LOG_WARNING,
              is_ok ? "login" : "login-failed");
    log_str(&l, "session", str_from(job->session, job->n_session));
    log_str(&l, "peer", str_from(job->peer, job->n_peer));
    log_text(&l, "protocol", job->login->protocol);
    log_str(&l, "address", str_from(job->name, job->n_name));
    if (is_ok)
        log_u64(&l, "account", v->account);
    else
        log_text(&l, "cause", v->cause);
    log_end(&l);
}

/* Tells the caller; nothing of the job is touched by anybody afterwards. */
static void job_finish(struct job *job, struct verdict v)
{
    struct auth_login *login = job->login;
    struct auth *auth = job->auth;
    counter_add(auth->ctx->counters, v.rc == RC_OK ? COUNTER_LOGINS : COUNTER_LOGINS_FAILED, 1);
    job_log(job, &v);
    login->rc = v.rc;
    login->account = v.account;
    login->settings = v.settings;
    crypto_wipe(job, sizeof *job);
    free(job);
    budget_give(&auth->logins, 1);
    login->done(login); /* the last: auth may be closed once all of these have run */
}

/* Reads account and hash; where there is none the decoy, by as many reads. */
static enum rc read_secret(struct job *job, struct arena *arena, struct str *out_hash,
                           struct verdict *v)
{
    struct address a;
    struct lookup found = {0};
    struct key key;
    struct str value;
    struct secret_record secret;
    enum rc rc = auth_address_parse(str_from(job->name, job->n_name), &a);
    if (rc == RC_OK)
        rc = auth_lookup_address(job->auth, &a, 0, &found);
    if (rc == RC_TEMP || rc == RC_CORRUPT)
        return rc;
    bool is_known = rc == RC_OK;
    auth_key_secret(&key, is_known ? found.address.account : 0, 0);
    struct str names[1] = {auth_key_str(&key)};
    struct kv_part part = auth_domain_part(rc == RC_SYNTAX ? STR("") : a.domain);
    TRY(kv_get(job->auth->kv, part, names, 1, 0, arena, &value, NULL));
    *out_hash = str_of(job->auth->decoy);
    if (!is_known) {
        v->cause = "unknown";
    } else if (found.address.is_disabled) {
        v->cause = "disabled";
    } else if (str_is_null(value)) {
        v->cause = "no-password";
    } else {
        TRY(auth_secret_unpack(value, &secret));
        *out_hash = secret.hash;
        v->account = found.address.account;
        v->cause = "password";
    }
    return RC_OK;
}

static struct verdict decide(struct job *job)
{
    struct verdict v = {.rc = RC_DENIED};
    struct arena arena = {0};
    struct str hash;
    enum rc rc = read_secret(job, &arena, &hash, &v);
    if (rc != RC_OK) {
        v = (struct verdict){.rc = RC_TEMP, .cause = rc_name(rc)};
        goto out;
    }
    counter_add(job->auth->ctx->counters, COUNTER_PASSWORD_HASHES, 1);
    rc = crypto_password_verify(hash, str_from(job->password, job->n_password));
    if (rc == RC_OK && v.account && !job->is_too_long)
        v.rc = RC_OK;
    else if (rc != RC_OK && rc != RC_DENIED)
        v = (struct verdict){.rc = RC_TEMP, .cause = rc_name(rc)};
    if (v.rc != RC_OK)
        v.account = 0;
out:
    arena_fini(&arena);
    return v;
}

static void place_run(struct task_job *task)
{
    struct place *place = CONTAINER(task, struct place, task);
    struct turn *turn = auth_turns_next(&place->auth->turns);
    free(place);
    if (!turn)
        return;
    struct job *job = CONTAINER(turn, struct job, turn);
    job_finish(job, decide(job));
}

static struct job *job_new(struct auth *auth, struct auth_login *login)
{
    struct job *job = mem_zero(sizeof *job);
    job->auth = auth;
    job->login = login;
    job->is_too_long = login->name.n > sizeof job->name || login->password.n > sizeof job->password;
    job->n_name = copy(job->name, sizeof job->name, login->name);
    job->n_password = copy(job->password, sizeof job->password, login->password);
    job->n_peer = copy(job->peer, sizeof job->peer, login->peer);
    job->n_session = copy(job->session, sizeof job->session, login->session);
    return job;
}

/* As many wait as may: this one is put off, or the one whose place it gets. */
static void put_one_off(struct auth *auth, struct auth_login *login)
{
    struct job *job = job_new(auth, login);
    struct turn *out = auth_turns_replace(&auth->turns, &job->turn, login->peer);
    struct job *loser = out ? CONTAINER(out, struct job, turn) : job;
    struct auth_login *put_off = loser->login;
    crypto_wipe(loser, sizeof *loser);
    free(loser);
    counter_add(auth->ctx->counters, COUNTER_LOGINS_SHED, 1);
    put_off->rc = RC_TEMP;
    put_off->done(put_off);
}

void auth_login(struct auth *auth, struct auth_login *login)
{
    if (!budget_take(&auth->logins, 1)) {
        put_one_off(auth, login);
        return;
    }
    struct task_lane *lane = auth->conf.hash_lane;
    struct place *place = mem_zero(sizeof *place);
    *place = (struct place){.task.run = place_run, .auth = auth};
    struct job *job = job_new(auth, login);
    auth_turns_add(&auth->turns, &job->turn, login->peer); /* the lane's from here on */
    if (lane && task_lane_post(lane, &place->task) == RC_OK)
        return;
    free(place);
    struct turn *turn = auth_turns_next(&auth->turns);
    if (turn)
        job_finish(CONTAINER(turn, struct job, turn),
                   (struct verdict){.rc = RC_TEMP, .cause = "busy"});
}
