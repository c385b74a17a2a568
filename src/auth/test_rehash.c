#include "auth/auth_int.h"

#include "base/test.h"
#include "task/task.h"

#include <unistd.h>

struct home {
    struct counters counters;
    struct clock_fixed clock;
    struct ctx ctx;
    struct kv *kv;
    struct auth *auth;
    struct task_lane *lane;
    uint64_t alice;
};

static const struct str alice = STR_INIT("alice@example.test");
/* Of "pass word". */
static const struct str ssha = STR_INIT("{SSHA}oewIFZdZvn9XmijiFt3PRIG2NplzYWx0c2FsdA==");
static const struct str md5 = STR_INIT("{MD5-CRYPT}$1$abcdefgh$yTpYrEJJOuAsO2Aee15/D1");

static int set_up(void **state)
{
    static struct home home; /* one test at a time */
    struct home *h = &home;
    *h = (struct home){.ctx = {.counters = &home.counters, .clock = &home.clock.clock}};
    clock_fixed_init(&h->clock, NS_PER_SEC, NS_PER_SEC);
    h->ctx.log = log_new(STDERR_FILENO, LOG_ERROR, h->ctx.clock);
    h->kv = kv_mem_new(&h->ctx);
    h->lane = task_lane_new("hash", 2, 64);
    struct auth_conf conf = {.hash_lane = h->lane, .hash_ops = 1, .hash_memory = 8192};
    assert_rc(auth_open(&h->ctx, h->kv, &conf, &h->auth), RC_OK);
    auth_hurry(h->auth); /* nobody waits for a delay */
    assert_rc(auth_domain_add(h->auth, STR("example.test")), RC_OK);
    assert_rc(auth_account_reserve(h->auth, &h->alice), RC_OK);
    assert_rc(auth_account_add_hash(h->auth, h->alice, alice, ssha), RC_OK);
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

static void begin(struct home *h, struct waiting *w, const char *password)
{
    *w = (struct waiting){.login = {.done = done,
                                    .protocol = "imap",
                                    .name = alice,
                                    .password = str_of(password),
                                    .peer = STR("192.0.2.1"),
                                    .session = STR("s1")}};
    pthread_mutex_init(&w->mutex, NULL);
    pthread_cond_init(&w->cond, NULL);
    auth_login(h->auth, &w->login);
}

static enum rc finish(struct waiting *w)
{
    pthread_mutex_lock(&w->mutex);
    while (!w->done)
        pthread_cond_wait(&w->cond, &w->mutex);
    pthread_mutex_unlock(&w->mutex);
    return w->login.rc;
}

static enum rc login(struct home *h, const char *password, struct auth_login *out)
{
    struct waiting w;
    begin(h, &w, password);
    enum rc rc = finish(&w);
    auth_place_wait(h->auth); /* and whatever goes on behind its back */
    *out = w.login;
    return rc;
}

static bool is_ours(struct home *h)
{
    struct arena arena = {0};
    struct credential c;
    assert_rc(auth_credential_read(h->auth, alice, 0, &arena, &c), RC_OK);
    bool is = !crypto_is_foreign(c.hash);
    arena_fini(&arena);
    return is;
}

static uint64_t hashes(struct home *h)
{
    return counter_get(&h->counters, COUNTER_PASSWORD_HASHES);
}

static void the_first_right_login_makes_a_hash_of_ours(void **state)
{
    struct home *h = *state;
    struct auth_login first, again;
    assert_rc(login(h, "pass wor", &first), RC_DENIED);
    assert_false(is_ours(h));
    assert_rc(login(h, "pass word", &first), RC_OK);
    assert_int_equal(first.account, h->alice);
    assert_true(is_ours(h));
    /* The session that it was done for stays, and so does what was verified. */
    assert_rc(auth_login_holds(h->auth, alice, h->alice, first.credential, 0), RC_OK);
    uint64_t before = hashes(h);
    assert_rc(login(h, "pass word", &again), RC_OK);
    assert_int_equal(hashes(h), before);
    assert_rc(login(h, "pass wor", &again), RC_DENIED);
    /* After a restart, so to say: nothing is remembered. */
    auth_verified_drop(&h->auth->verified, alice);
    assert_rc(login(h, "pass word", &again), RC_OK);
    assert_int_equal(hashes(h), before + 2);
}

static void another_hash_is_another_password(void **state)
{
    struct home *h = *state;
    struct auth_login first, again;
    assert_rc(login(h, "pass word", &first), RC_OK);
    assert_rc(auth_account_set_hash(h->auth, alice, md5), RC_OK); /* at the same time, to the ns */
    assert_false(is_ours(h));
    assert_rc(auth_login_holds(h->auth, alice, h->alice, first.credential, 0), RC_DENIED);
    assert_rc(login(h, "pass word", &again), RC_OK);
    assert_true(is_ours(h));
    assert_rc(auth_account_passwd(h->auth, alice, STR("new")), RC_OK);
    assert_rc(login(h, "pass word", &again), RC_DENIED);
    assert_rc(login(h, "new", &again), RC_OK);
}

/* A hash that was replaced between the login and the job is left alone. */
static void a_newer_password_wins(void **state)
{
    struct home *h = *state;
    struct auth_login out;
    assert_rc(auth_account_passwd(h->auth, alice, STR("new")), RC_OK);
    auth_rehash(h->auth, alice, ssha, STR("pass word"));
    auth_place_wait(h->auth);
    assert_rc(login(h, "pass word", &out), RC_DENIED);
    assert_rc(login(h, "new", &out), RC_OK);
}

static void many_logins_at_once_make_few_hashes(void **state)
{
    struct home *h = *state;
    struct waiting w[16];
    for (int i = 0; i < 16; i++)
        begin(h, &w[i], "pass word");
    for (int i = 0; i < 16; i++)
        assert_rc(finish(&w[i]), RC_OK);
    auth_place_wait(h->auth);
    assert_true(is_ours(h));
    assert_in_range(hashes(h), 2,
                    18 + 2); /* one each at most, and one of each thread of the lane */
}

static void what_is_no_hash(void **state)
{
    struct home *h = *state;
    assert_rc(auth_account_set_hash(h->auth, alice, STR("{SHA}x")), RC_SYNTAX);
    assert_rc(auth_account_set_hash(h->auth, alice, STR("secret")), RC_SYNTAX);
    assert_rc(auth_account_set_hash(h->auth, STR("bob@example.test"), ssha), RC_NOTFOUND);
    assert_rc(auth_account_add_hash(h->auth, 7, STR("bob@elsewhere.test"), ssha), RC_NOTFOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_first_right_login_makes_a_hash_of_ours, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(another_hash_is_another_password, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_newer_password_wins, set_up, tear_down),
        cmocka_unit_test_setup_teardown(many_logins_at_once_make_few_hashes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_no_hash, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
