#include "auth/auth_int.h"

#include "base/test.h"

#include <stdio.h>
#include <unistd.h>

struct home {
    struct counters counters;
    struct clock_fixed clock;
    struct ctx ctx;
    struct kv *kv;
    struct auth *auth;
    struct task_lane *lane;
    FILE *log_file;
    struct str peer;
    uint64_t alice;
};

enum { DAY = 86400 };

static int set_up(void **state)
{
    static struct home home; /* one test at a time */
    struct home *h = &home;
    *h = (struct home){.ctx = {.counters = &home.counters, .clock = &home.clock.clock},
                       .peer = STR("192.0.2.1")};
    clock_fixed_init(&h->clock, NS_PER_SEC, 1000 * DAY * NS_PER_SEC);
    h->log_file = tmpfile();
    h->ctx.log = log_new(fileno(h->log_file), LOG_DEBUG, h->ctx.clock);
    h->kv = kv_mem_new(&h->ctx);
    h->lane = task_lane_new("hash", 2, 64);
    struct auth_conf conf = {.hash_lane = h->lane, .hash_ops = 1, .hash_memory = 8192, .logins = 8};
    assert_rc(auth_open(&h->ctx, h->kv, &conf, &h->auth), RC_OK);
    auth_hurry(h->auth); /* nobody waits for a delay */
    assert_rc(auth_domain_add(h->auth, STR("example.test")), RC_OK);
    assert_rc(auth_account_reserve(h->auth, &h->alice), RC_OK);
    assert_rc(auth_account_add(h->auth, h->alice, STR("alice@example.test"), STR("pass word")),
              RC_OK);
    *state = h;
    return 0;
}

static int tear_down(void **state)
{
    struct home *h = *state;
    task_lane_free(&h->lane);
    auth_close(&h->auth);
    kv_close(&h->kv);
    log_free(&h->ctx.log);
    fclose(h->log_file);
    return 0;
}

struct waiting {
    struct auth_login login;
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    int done;
};

static void done(struct auth_login *login)
{
    struct waiting *w = CONTAINER(login, struct waiting, login);
    pthread_mutex_lock(&w->mutex);
    w->done++;
    pthread_cond_signal(&w->cond);
    pthread_mutex_unlock(&w->mutex);
}

static void begin(struct home *h, struct waiting *w, struct str name, struct str password)
{
    *w = (struct waiting){.login = {.done = done,
                                    .protocol = "test",
                                    .name = name,
                                    .password = password,
                                    .peer = h->peer,
                                    .session = STR("s1")}};
    pthread_mutex_init(&w->mutex, NULL);
    pthread_cond_init(&w->cond, NULL);
    auth_login(h->auth, &w->login);
}

static void finish(struct waiting *w)
{
    pthread_mutex_lock(&w->mutex);
    while (!w->done)
        pthread_cond_wait(&w->cond, &w->mutex);
    pthread_mutex_unlock(&w->mutex);
    assert_int_equal(w->done, 1);
}

static enum rc login(struct home *h, struct str name, struct str password)
{
    struct waiting w;
    begin(h, &w, name, password);
    finish(&w);
    assert_int_equal(w.login.account, w.login.rc == RC_OK ? h->alice : 0);
    auth_place_wait(h->auth); /* whence it came is written behind its back */
    return w.login.rc;
}

static uint64_t hashes(struct home *h)
{
    return counter_get(&h->counters, COUNTER_PASSWORD_HASHES);
}

static void one_hash_whoever_asks(void **state)
{
    struct home *h = *state;
    char long_text[AUTH_PASSWORD_MAX + 1];
    memset(long_text, 'a', sizeof long_text);
    struct str too_long = str_from(long_text, sizeof long_text);
    const struct {
        struct str name, password;
        enum rc rc;
    } cases[] = {
        {STR("alice@example.test"), STR("pass word"), RC_OK},
        {STR("alice@example.test"), STR("pass wor"), RC_DENIED},
        {STR("alice@example.test"), STR("Pass word"), RC_DENIED},
        {STR("alice@example.test"), STR(""), RC_DENIED},
        {STR("bob@example.test"), STR("pass word"), RC_DENIED},
        {STR("alice@elsewhere.test"), STR("pass word"), RC_DENIED},
        {STR("alice"), STR("pass word"), RC_DENIED},
        {STR(""), STR(""), RC_DENIED},
        {STR("alice@example.test"), too_long, RC_DENIED},
        {too_long, STR("pass word"), RC_DENIED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint64_t before = hashes(h);
        assert_rc(login(h, cases[i].name, cases[i].password), cases[i].rc);
        assert_int_equal(hashes(h) - before, 1);
    }
    assert_int_equal(counter_get(&h->counters, COUNTER_LOGINS), 1);
    assert_int_equal(counter_get(&h->counters, COUNTER_LOGINS_FAILED), 9);
}

static void disabled_and_changed(void **state)
{
    struct home *h = *state;
    struct str alice = STR("alice@example.test");
    assert_rc(auth_account_enable(h->auth, alice, false), RC_OK);
    uint64_t before = hashes(h);
    assert_rc(login(h, alice, STR("pass word")), RC_DENIED);
    assert_int_equal(hashes(h) - before, 1);
    assert_rc(auth_account_enable(h->auth, alice, true), RC_OK);
    assert_rc(auth_account_passwd(h->auth, alice, STR("new")), RC_OK);
    assert_rc(login(h, alice, STR("pass word")), RC_DENIED);
    assert_rc(login(h, alice, STR("new")), RC_OK);
    uint64_t id;
    assert_rc(auth_account_remove(h->auth, alice, &id), RC_OK);
    assert_rc(login(h, alice, STR("new")), RC_DENIED);
}

/* Verifying the decoy has to do the same work as verifying a hash that was computed. */
static void the_decoy_has_the_same_parameters(void **state)
{
    struct home *h = *state;
    char real[CRYPTO_PASSWORD_MAX];
    assert_rc(crypto_password_hash(STR("x"), 1, 8192, real), RC_OK);
    struct str a = str_of(real), b = str_of(h->auth->decoy), part_a, part_b;
    assert_int_equal(a.n, b.n);
    for (int i = 0; i < 4; i++) { /* "", argon2id, v=19, m=8,t=1,p=1 */
        assert_true(str_cut(&a, '$', &part_a) && str_cut(&b, '$', &part_b));
        assert_true(str_eq(part_a, part_b));
    }
    assert_rc(crypto_password_verify(str_of(h->auth->decoy), STR("x")), RC_DENIED);
}

static void too_many_at_once_are_put_off(void **state)
{
    struct home *h = *state;
    struct waiting w[64];
    int refused = 0;
    h->peer = STR("local"); /* no blocks */
    struct budget *budget = &h->auth->logins;
    assert_true(budget_take(budget, 6)); /* as if six were under way */
    for (int i = 0; i < 64; i++)
        begin(h, &w[i], STR("alice@example.test"), STR("wrong"));
    for (int i = 0; i < 64; i++) {
        finish(&w[i]);
        refused += w[i].login.rc == RC_TEMP;
        assert_true(w[i].login.rc == RC_TEMP || w[i].login.rc == RC_DENIED);
    }
    assert_int_equal(counter_get(&h->counters, COUNTER_LOGINS_SHED), refused);
    assert_int_equal(hashes(h), 64 - refused + 1); /* and the one of set_up */
    assert_true(budget_take(budget, 2));
    assert_rc(login(h, STR("alice@example.test"), STR("pass word")), RC_TEMP);
    budget_give(budget, 8);
    assert_int_equal(budget_used(budget), 0);
    assert_rc(login(h, STR("alice@example.test"), STR("pass word")), RC_OK);
}

/* As a mail program does that opens all its connections when it starts. */
static void many_logins_at_once_cost_a_hash_a_thread(void **state)
{
    struct home *h = *state;
    struct waiting w[8];
    uint64_t before = hashes(h);
    for (int i = 0; i < 8; i++)
        begin(h, &w[i], STR("alice@example.test"), STR("pass word"));
    for (int i = 0; i < 8; i++) {
        finish(&w[i]);
        assert_rc(w[i].login.rc, RC_OK);
    }
    assert_in_range(hashes(h) - before, 1, 2); /* the lane has two threads */
    for (int i = 0; i < 8; i++)
        begin(h, &w[i], STR("alice@example.test"), STR("wrong"));
    for (int i = 0; i < 8; i++) {
        finish(&w[i]);
        assert_true(w[i].login.rc != RC_OK);
    }
}

static void without_a_lane_nobody_logs_in(void **state)
{
    struct home *h = *state;
    struct auth *own = h->auth;
    struct auth_conf conf = {.hash_ops = 1, .hash_memory = 8192};
    assert_rc(auth_open(&h->ctx, h->kv, &conf, &h->auth), RC_OK);
    assert_rc(login(h, STR("alice@example.test"), STR("pass word")), RC_TEMP);
    auth_close(&h->auth);
    h->auth = own;
}

static void the_log_tells_why_and_never_the_password(void **state) /* [RFC9051 11.7] */
{
    struct home *h = *state;
    char text[4096] = {0};
    assert_rc(login(h, STR("alice@example.test"), STR("pass word")), RC_OK);
    assert_rc(login(h, STR("alice@example.test"), STR("hunter2")), RC_DENIED);
    assert_rc(login(h, STR("bob@example.test"), STR("hunter2")), RC_DENIED);
    log_flush(h->ctx.log);
    assert_true(pread(fileno(h->log_file), text, sizeof text - 1, 0) > 0);
    assert_non_null(strstr(text, "event=login session=s1 peer=192.0.2.1 protocol=test"));
    assert_non_null(strstr(text, "event=login-failed"));
    assert_non_null(strstr(text, "cause=password"));
    assert_non_null(strstr(text, "cause=unknown"));
    assert_null(strstr(text, "hunter2"));
    assert_null(strstr(text, "pass word"));
}

/* --- credentials verified lately --- */

static enum rc login_from(struct home *h, const char *peer, const char *name, const char *password)
{
    h->peer = str_of(peer);
    return login(h, str_of(name), str_of(password));
}

/* How many hashes a login costs. */
static uint64_t cost_of(struct home *h, const char *peer, const char *password, enum rc expected)
{
    uint64_t before = hashes(h);
    assert_rc(login_from(h, peer, "alice@example.test", password), expected);
    return hashes(h) - before;
}

static void pass_time(struct home *h, uint64_t seconds)
{
    h->clock.mono += seconds * NS_PER_SEC;
    h->clock.wall += seconds * NS_PER_SEC;
}

static void who_comes_every_minute_costs_no_hash(void **state)
{
    struct home *h = *state;
    assert_int_equal(cost_of(h, "192.0.2.1", "pass word", RC_OK), 1);
    for (int minute = 0; minute < 30; minute++) {
        pass_time(h, 60);
        assert_int_equal(cost_of(h, "192.0.2.7", "pass word", RC_OK), 0);
    }
    assert_int_equal(counter_get(&h->counters, COUNTER_LOGINS_CACHED), 30);
    assert_int_equal(counter_get(&h->counters, COUNTER_LOGINS), 31);
    /* A wrong password never meets it and costs what it always does. */
    assert_int_equal(cost_of(h, "192.0.2.1", "pass wor", RC_DENIED), 1);
    assert_int_equal(cost_of(h, "192.0.2.1", "", RC_DENIED), 1);
    assert_int_equal(cost_of(h, "192.0.2.1", "pass word", RC_OK), 0);
    assert_int_equal(cost_of(h, "198.51.100.1", "pass word", RC_OK), 1); /* from elsewhere */
    assert_int_equal(cost_of(h, "198.51.100.9", "pass word", RC_OK), 0);
    assert_int_equal(cost_of(h, "192.0.2.1", "pass word", RC_OK), 0);
    pass_time(h, 15 * 60);
    assert_int_equal(cost_of(h, "192.0.2.1", "pass word", RC_OK), 1);
}

static void nothing_lasts_half_a_day_without_a_hash(void **state)
{
    struct home *h = *state;
    assert_int_equal(cost_of(h, "192.0.2.1", "pass word", RC_OK), 1);
    uint64_t cost = 0;
    for (int i = 0; i < 12 * 6; i++) {
        pass_time(h, 600);
        cost += cost_of(h, "192.0.2.1", "pass word", RC_OK);
    }
    assert_int_equal(cost, 1);
}

static void a_change_of_the_account_ends_it(void **state)
{
    struct home *h = *state;
    struct str alice = STR("alice@example.test");
    uint64_t id;
    assert_int_equal(cost_of(h, "192.0.2.1", "pass word", RC_OK), 1);
    /* Somebody else's change in the same domain costs her nothing. */
    assert_rc(auth_account_reserve(h->auth, &id), RC_OK);
    assert_rc(auth_account_add(h->auth, id, STR("bob@example.test"), STR("x")), RC_OK);
    assert_int_equal(cost_of(h, "192.0.2.1", "pass word", RC_OK), 0);
    assert_rc(auth_account_enable(h->auth, alice, false), RC_OK);
    assert_int_equal(cost_of(h, "192.0.2.1", "pass word", RC_DENIED), 1);
    assert_rc(auth_account_enable(h->auth, alice, true), RC_OK);
    assert_int_equal(cost_of(h, "192.0.2.1", "pass word", RC_OK), 1);
    /* The same password set anew is another credential. */
    assert_rc(auth_account_passwd(h->auth, alice, STR("pass word")), RC_OK);
    assert_int_equal(cost_of(h, "192.0.2.1", "pass word", RC_OK), 1);
    assert_rc(auth_account_remove(h->auth, alice, &id), RC_OK);
    assert_int_equal(cost_of(h, "192.0.2.1", "pass word", RC_DENIED), 1);
}

static void suspended_and_set_otherwise(void **state)
{
    struct home *h = *state;
    struct str alice = STR("alice@example.test");
    struct auth_account_change change = {.what = AUTH_SET_SUSPENDED, .is_suspended = true};
    assert_int_equal(cost_of(h, "192.0.2.1", "pass word", RC_OK), 1);
    assert_rc(auth_account_set(h->auth, alice, &change), RC_OK);
    assert_int_equal(cost_of(h, "192.0.2.1", "pass word", RC_DENIED), 1);
    change.is_suspended = false;
    assert_rc(auth_account_set(h->auth, alice, &change), RC_OK);
    assert_int_equal(cost_of(h, "192.0.2.1", "pass word", RC_OK), 1);
    /* A setting is another one at the next login, which costs nothing. */
    change = (struct auth_account_change){
        .what = AUTH_SET_POP3, .settings = {.pop3_delete = AUTH_POP3_DAYS, .pop3_days = 7}};
    assert_rc(auth_account_set(h->auth, alice, &change), RC_OK);
    struct waiting w;
    begin(h, &w, alice, STR("pass word"));
    finish(&w);
    assert_rc(w.login.rc, RC_OK);
    assert_int_equal(w.login.settings.pop3_days, 7);
    assert_int_equal(counter_get(&h->counters, COUNTER_LOGINS_CACHED), 1);
}

static void an_answer_at_once_calls_nobody(void **state)
{
    struct home *h = *state;
    struct waiting w = {.login = {.done = done,
                                  .protocol = "test",
                                  .name = STR("alice@example.test"),
                                  .password = STR("pass word"),
                                  .peer = h->peer,
                                  .session = STR("s1")}};
    assert_false(auth_login_now(h->auth, &w.login));
    assert_rc(login(h, w.login.name, w.login.password), RC_OK);
    assert_true(auth_login_now(h->auth, &w.login));
    assert_rc(w.login.rc, RC_OK);
    assert_int_equal(w.login.account, h->alice);
    assert_int_equal(w.done, 0);
}

/* --- delays and blocks --- */

/* Wrong passwords, each another one, until one is refused without a hash; how many cost one. */
static int guess(struct home *h, const char *peer, const char *name, int most)
{
    char password[32];
    for (int i = 0; i < most; i++) {
        uint64_t before = hashes(h);
        snprintf(password, sizeof password, "guess %llu", (unsigned long long)before);
        enum rc rc = login_from(h, peer, name, password);
        if (rc == RC_TEMP) {
            assert_int_equal(hashes(h), before);
            return i;
        }
        assert_rc(rc, RC_DENIED);
        assert_int_equal(hashes(h) - before, 1);
    }
    return most;
}

static bool log_has(struct home *h, const char *text)
{
    static char all[1 << 18];
    log_flush(h->ctx.log);
    ssize_t n = pread(fileno(h->log_file), all, sizeof all - 1, 0);
    all[n > 0 ? n : 0] = '\0';
    return strstr(all, text);
}

static void an_address_that_guesses_is_blocked_for_a_time(void **state) /* [RFC9051 11.7] */
{
    struct home *h = *state;
    assert_int_equal(guess(h, "192.0.2.1", "bob@example.test", 100), 10);
    assert_true(log_has(h, "event=login-blocked"));
    assert_true(log_has(h, "scope=address blocked=192.0.2.1 seconds=900"));
    assert_true(log_has(h, "event=login-refused"));
    assert_true(log_has(h, "cause=address-blocked"));
    assert_int_equal(counter_get(&h->counters, COUNTER_LOGIN_BLOCKS), 1);
    assert_int_equal(counter_get(&h->counters, COUNTER_LOGINS_BLOCKED), 1);
    /* Also with a right password, as long as nobody has logged in from there. */
    assert_rc(login_from(h, "192.0.2.1", "alice@example.test", "pass word"), RC_TEMP);
    assert_rc(login_from(h, "192.0.2.2", "alice@example.test", "pass word"), RC_OK);
    pass_time(h, 901);
    assert_int_equal(guess(h, "192.0.2.1", "carol@example.test", 100), 10);
    assert_true(log_has(h, "seconds=1800")); /* the second one lasts longer */
    pass_time(h, 901);
    assert_int_equal(guess(h, "192.0.2.1", "dave@example.test", 100), 0);
}

static void an_ipv6_address_is_its_64(void **state)
{
    struct home *h = *state;
    char peer[64], name[64];
    int tried = 0;
    for (int i = 0; i < 100; i++) {
        snprintf(peer, sizeof peer, "2001:db8::%x:1", i);
        tried += guess(h, peer, "bob@example.test", 1);
    }
    assert_int_equal(tried, 10);
    /* Other /64s of the same /48 together are a network. */
    for (int i = 1; i < 100; i++) {
        snprintf(peer, sizeof peer, "2001:db8:0:%x::1", i);
        snprintf(name, sizeof name, "u%d@example.test", i);
        tried += guess(h, peer, name, 1);
    }
    assert_int_equal(tried, 50);
    assert_int_equal(guess(h, "2001:db8:1::1", "bob@example.test", 1), 1);
}

/* Guessing from very many networks at one account: it is blocked, but not for its owner. */
static void a_block_of_an_account_does_not_meet_its_owner(void **state)
{
    struct home *h = *state;
    char peer[64];
    int tried = 0;
    assert_rc(login_from(h, "198.51.100.9", "alice@example.test", "pass word"), RC_OK);
    pass_time(h, DAY); /* what was verified is forgotten, places are not */
    for (int i = 0; i < 60; i++) {
        snprintf(peer, sizeof peer, "10.%d.0.1", i);
        tried += guess(h, peer, "alice@example.test", 1);
    }
    assert_int_equal(tried, 20);
    assert_true(log_has(h, "scope=account blocked=alice@example.test"));
    assert_rc(login_from(h, "203.0.113.1", "alice@example.test", "pass word"), RC_TEMP);
    assert_int_equal(cost_of(h, "198.51.100.200", "pass word", RC_OK), 1);
    /* Another spelling is the same account. */
    assert_rc(login_from(h, "203.0.113.1", "\"Alice\"@EXAMPLE.test", "pass word"), RC_TEMP);
    pass_time(h, 61 * DAY);
    assert_rc(login_from(h, "203.0.113.1", "alice@example.test", "pass word"), RC_OK);
    /* Where she has not been for so long she is a stranger again. */
    for (int i = 0; i < 60; i++) {
        snprintf(peer, sizeof peer, "10.%d.1.1", i);
        guess(h, peer, "alice@example.test", 1);
    }
    assert_rc(login_from(h, "198.51.100.9", "alice@example.test", "pass word"), RC_TEMP);
    assert_rc(login_from(h, "203.0.113.2", "alice@example.test", "pass word"), RC_OK);
}

/* They pass the first look together, before any of them has failed. */
static void many_at_once_do_not_slip_past_a_block(void **state)
{
    enum { MANY = 8, THREADS = 2 };
    static const char *const passwords[MANY] = {"a", "b", "c", "d", "e", "f", "g", "h"};
    struct home *h = *state;
    struct waiting w[MANY];
    assert_int_equal(guess(h, "192.0.2.1", "bob@example.test", 9), 9);
    uint64_t before = hashes(h);
    for (int i = 0; i < MANY; i++)
        begin(h, &w[i], STR("bob@example.test"), str_of(passwords[i]));
    for (int i = 0; i < MANY; i++)
        finish(&w[i]);
    assert_in_range(hashes(h) - before, 1, THREADS);
    assert_rc(w[MANY - 1].login.rc, RC_TEMP);
    assert_true(w[MANY - 1].login.is_blocked);
}

static void whoever_shares_the_owners_address_does_not_shut_him_out(void **state)
{
    struct home *h = *state;
    assert_rc(login_from(h, "192.0.2.1", "alice@example.test", "pass word"), RC_OK);
    pass_time(h, 3600);
    assert_int_equal(guess(h, "192.0.2.1", "bob@example.test", 100), 10);
    assert_int_equal(cost_of(h, "192.0.2.1", "pass word", RC_OK), 1);
    assert_int_equal(cost_of(h, "192.0.2.1", "pass word", RC_OK), 0);
    assert_rc(login_from(h, "192.0.2.1", "bob@example.test", "x"), RC_TEMP);
}

struct gate {
    struct task_job job;
    pthread_mutex_t *mutex;
    pthread_cond_t *passed;
    bool is_passed;
};

static void wait_at_gate(struct task_job *job)
{
    struct gate *g = CONTAINER(job, struct gate, job);
    pthread_mutex_t *mutex = g->mutex;
    pthread_mutex_lock(mutex);
    g->is_passed = true;
    pthread_cond_signal(g->passed);
    pthread_mutex_unlock(mutex);
}

/* Until the gate is nobody's but the caller's. */
static void see_it_passed(const struct gate *g)
{
    pthread_mutex_lock(g->mutex);
    while (!g->is_passed)
        pthread_cond_wait(g->passed, g->mutex);
    pthread_mutex_unlock(g->mutex);
}

/* As many wait as may, each from another network; who comes from a place of his takes a stranger's.
 */
static void an_owner_gets_a_turn_in_a_storm(void **state)
{
    enum { MANY = 8, THREADS = 2 };
    struct home *h = *state;
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t passed = PTHREAD_COND_INITIALIZER;
    struct gate gates[THREADS];
    struct waiting w[MANY], owner, stranger;
    char peer[MANY][32];
    int put_off = 0;
    assert_rc(login_from(h, "198.51.100.9", "alice@example.test", "pass word"), RC_OK);
    pass_time(h, DAY);
    pthread_mutex_lock(&mutex);
    for (int i = 0; i < THREADS; i++) {
        gates[i] = (struct gate){.job.run = wait_at_gate, .mutex = &mutex, .passed = &passed};
        assert_rc(task_lane_post(h->lane, &gates[i].job), RC_OK);
    }
    for (int i = 0; i < MANY; i++) {
        snprintf(peer[i], sizeof peer[i], "10.%d.0.1", i);
        h->peer = str_of(peer[i]);
        begin(h, &w[i], STR("bob@example.test"), STR("x"));
    }
    h->peer = STR("203.0.113.1");
    begin(h, &stranger, STR("alice@example.test"), STR("pass word"));
    h->peer = STR("198.51.100.77");
    begin(h, &owner, STR("alice@example.test"), STR("pass word"));
    pthread_mutex_unlock(&mutex);
    for (int i = 0; i < THREADS; i++)
        see_it_passed(&gates[i]);
    finish(&owner);
    finish(&stranger);
    assert_rc(owner.login.rc, RC_OK);
    assert_rc(stranger.login.rc, RC_TEMP);
    for (int i = 0; i < MANY; i++) {
        finish(&w[i]);
        put_off += w[i].login.rc == RC_TEMP;
    }
    assert_int_equal(put_off, 1);
    assert_int_equal(counter_get(&h->counters, COUNTER_LOGINS_SHED), 2);
}

/* A blocked name that is not there gets the same answer by the same work. */
static void a_block_does_not_tell_who_is_there(void **state)
{
    struct home *h = *state;
    char peer[64];
    const char *const names[] = {"alice@example.test", "nobody@example.test", "not an address"};
    int tried[3] = {0};
    for (int n = 0; n < 3; n++) {
        for (int i = 0; i < 60; i++) {
            snprintf(peer, sizeof peer, "10.%d.%d.1", n, i);
            tried[n] += guess(h, peer, names[n], 1);
        }
    }
    assert_int_equal(tried[0], 20);
    assert_int_equal(tried[1], 20);
    assert_int_equal(tried[2], 20);
}

/* A program that keeps an old password. */
static void the_same_wrong_password_again_hardly_counts(void **state)
{
    struct home *h = *state;
    for (int i = 0; i < 60; i++) {
        pass_time(h, 60);
        assert_int_equal(cost_of(h, "192.0.2.1", "old", RC_DENIED), 1);
    }
    assert_int_equal(counter_get(&h->counters, COUNTER_LOGIN_BLOCKS), 0);
    assert_int_equal(counter_get(&h->counters, COUNTER_LOGINS_DELAYED), 0);
}

static void trusted_networks_are_exempt(void **state)
{
    struct home *h = *state;
    struct net_cidr trusted;
    assert_rc(net_cidr_parse(STR("192.0.2.0/24"), &trusted), RC_OK);
    struct auth_guard_conf conf = {.trusted = &trusted, .n_trusted = 1, .address_failures = 3};
    auth_guard_reload(h->auth, &conf);
    assert_int_equal(guess(h, "192.0.2.1", "bob@example.test", 30), 30);
    assert_int_equal(guess(h, "local", "bob@example.test", 30), 30);
    assert_int_equal(counter_get(&h->counters, COUNTER_LOGINS_DELAYED), 0);
    assert_int_equal(guess(h, "198.51.100.1", "bob@example.test", 30), 3);
}

static void refusals_are_held_back_longer_and_longer(
    void **state) /* [RFC3501 11.2] [RFC9051 11.7] */
{
    struct home *h = *state;
    for (int i = 0; i < 9; i++)
        assert_int_equal(guess(h, "192.0.2.1", "bob@example.test", 1), 1);
    assert_int_equal(counter_get(&h->counters, COUNTER_LOGINS_DELAYED), 7); /* two are free */
    /* No more than so many at once: the rest is told directly. */
    assert_true(budget_take(&h->auth->delayed, 1000));
    assert_int_equal(guess(h, "192.0.2.1", "bob@example.test", 1), 1);
    assert_int_equal(counter_get(&h->counters, COUNTER_LOGINS_DELAYED), 7);
    budget_give(&h->auth->delayed, 1000);
    assert_int_equal(budget_used(&h->auth->delayed), 0);
}

static void a_delayed_refusal_waits(void **state)
{
    struct home *h = *state;
    struct auth *own = h->auth;
    struct waiting w[3];
    struct auth_conf conf = {.hash_lane = h->lane, .hash_ops = 1, .hash_memory = 8192};
    conf.guard.delay_max = 3600;
    assert_rc(auth_open(&h->ctx, h->kv, &conf, &h->auth), RC_OK);
    for (int i = 0; i < 2; i++) {
        begin(h, &w[i], STR("bob@example.test"), i ? STR("a") : STR("b"));
        finish(&w[i]);
    }
    struct guard_answer answer;
    struct peer peer;
    auth_peer_parse(h->peer, &peer);
    for (uint64_t pair = 1; pair < 7; pair++) {
        struct guard_attempt a = {
            .name = STR("bob@example.test"), .peer = &peer, .pair = pair, .now = h->clock.mono};
        auth_guard_failed(&h->auth->guard, &a, &answer);
    }
    begin(h, &w[2], STR("bob@example.test"), STR("c"));
    while (!counter_get(&h->counters, COUNTER_LOGINS_DELAYED))
        usleep(1000);
    pthread_mutex_lock(&w[2].mutex);
    assert_int_equal(w[2].done, 0); /* a minute and more to go */
    pthread_mutex_unlock(&w[2].mutex);
    auth_hurry(h->auth);
    finish(&w[2]);
    assert_rc(w[2].login.rc, RC_DENIED);
    auth_close(&h->auth);
    h->auth = own;
}

static void blocks_are_listed_and_removed(void **state)
{
    struct home *h = *state;
    struct arena arena = {0};
    struct auth_blocked *list;
    size_t n;
    assert_int_equal(guess(h, "192.0.2.1", "bob@example.test", 100), 10);
    assert_int_equal(guess(h, "2001:db8::1", "bob@example.test", 100), 10);
    assert_rc(auth_blocked_list(h->auth, (struct str){0}, &arena, &list, &n), RC_OK);
    assert_int_equal(n, 3);
    assert_string_equal(list[0].scope, "account");
    assert_str(list[0].what, "bob@example.test");
    assert_int_equal(list[0].failures, 20);
    assert_int_equal(list[0].left_ns, 900 * NS_PER_SEC);
    assert_str(list[1].what, "2001:db8::/64");
    assert_str(list[2].what, "192.0.2.1");
    assert_rc(auth_blocked_remove(h->auth, STR("example.test"), &n), RC_SYNTAX);
    assert_rc(auth_blocked_remove(h->auth, STR("198.51.100.0/24"), &n), RC_NOTFOUND);
    assert_rc(auth_blocked_remove(h->auth, STR("192.0.2.0/24"), &n), RC_OK);
    assert_int_equal(n, 1);
    assert_rc(auth_blocked_remove(h->auth, STR("Bob@example.test"), &n), RC_OK);
    assert_rc(auth_blocked_remove(h->auth, STR("2001:db8::7"), &n), RC_OK);
    assert_int_equal(guess(h, "192.0.2.1", "bob@example.test", 100), 10);
    assert_rc(auth_blocked_remove(h->auth, (struct str){0}, &n), RC_OK);
    assert_int_equal(n, 1);
    assert_rc(auth_blocked_list(h->auth, (struct str){0}, &arena, &list, &n), RC_OK);
    assert_int_equal(n, 0);
    arena_fini(&arena);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(one_hash_whoever_asks),
        TEST(disabled_and_changed),
        TEST(the_decoy_has_the_same_parameters),
        TEST(too_many_at_once_are_put_off),
        TEST(many_logins_at_once_cost_a_hash_a_thread),
        TEST(without_a_lane_nobody_logs_in),
        TEST(the_log_tells_why_and_never_the_password),
        TEST(who_comes_every_minute_costs_no_hash),
        TEST(nothing_lasts_half_a_day_without_a_hash),
        TEST(a_change_of_the_account_ends_it),
        TEST(suspended_and_set_otherwise),
        TEST(an_answer_at_once_calls_nobody),
        TEST(an_address_that_guesses_is_blocked_for_a_time),
        TEST(an_ipv6_address_is_its_64),
        TEST(a_block_of_an_account_does_not_meet_its_owner),
        TEST(many_at_once_do_not_slip_past_a_block),
        TEST(whoever_shares_the_owners_address_does_not_shut_him_out),
        TEST(an_owner_gets_a_turn_in_a_storm),
        TEST(a_block_does_not_tell_who_is_there),
        TEST(the_same_wrong_password_again_hardly_counts),
        TEST(trusted_networks_are_exempt),
        TEST(refusals_are_held_back_longer_and_longer),
        TEST(a_delayed_refusal_waits),
        TEST(blocks_are_listed_and_removed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
