#include "auth/auth_int.h"

#include "base/test.h"

#include <stdio.h>
#include <unistd.h>

struct home {
    struct counters counters;
    struct ctx ctx;
    struct kv *kv;
    struct auth *auth;
    struct task_lane *lane;
    FILE *log_file;
    uint64_t alice;
};

static int set_up(void **state)
{
    static struct home home; /* one test at a time */
    struct home *h = &home;
    *h = (struct home){.ctx = {.counters = &home.counters, .clock = &clock_system}};
    h->log_file = tmpfile();
    h->ctx.log = log_new(fileno(h->log_file), LOG_DEBUG, &clock_system);
    h->kv = kv_mem_new(&h->ctx);
    h->lane = task_lane_new("hash", 2, 64);
    struct auth_conf conf = {.hash_lane = h->lane, .hash_ops = 1, .hash_memory = 8192, .logins = 8};
    assert_rc(auth_open(&h->ctx, h->kv, &conf, &h->auth), RC_OK);
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
                                    .peer = STR("192.0.2.1"),
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
        {STR("ALICE@Example.Test"), STR("pass word"), RC_OK},
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
    assert_int_equal(counter_get(&h->counters, COUNTER_LOGINS), 2);
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
    struct budget *budget = &h->auth->logins;
    assert_true(budget_take(budget, 6)); /* as if six were under way */
    for (int i = 0; i < 64; i++)
        begin(h, &w[i], STR("alice@example.test"), STR("pass word"));
    for (int i = 0; i < 64; i++) {
        finish(&w[i]);
        refused += w[i].login.rc == RC_TEMP;
        assert_true(w[i].login.rc == RC_TEMP || w[i].login.rc == RC_OK);
    }
    assert_int_equal(counter_get(&h->counters, COUNTER_LOGINS_SHED), refused);
    assert_int_equal(hashes(h), 64 - refused + 1); /* and the one of set_up */
    assert_true(budget_take(budget, 2));
    assert_rc(login(h, STR("alice@example.test"), STR("pass word")), RC_TEMP);
    budget_give(budget, 8);
    assert_int_equal(budget_used(budget), 0);
    assert_rc(login(h, STR("alice@example.test"), STR("pass word")), RC_OK);
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

static void the_log_tells_why_and_never_the_password(void **state)
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

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(one_hash_whoever_asks),
        TEST(disabled_and_changed),
        TEST(the_decoy_has_the_same_parameters),
        TEST(too_many_at_once_are_put_off),
        TEST(without_a_lane_nobody_logs_in),
        TEST(the_log_tells_why_and_never_the_password),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
