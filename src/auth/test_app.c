#include "auth/auth_int.h"

#include "base/test.h"
#include "task/task.h"

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
    const char *protocol;
    uint64_t alice;
    char password[AUTH_APP_PASSWORD];
};

#define DAY_NS (86400 * NS_PER_SEC)
static const struct str alice = STR_INIT("alice@example.test");

static int set_up(void **state)
{
    static struct home home; /* one test at a time */
    struct home *h = &home;
    *h = (struct home){.ctx = {.counters = &home.counters, .clock = &home.clock.clock},
                       .peer = STR("192.0.2.1"),
                       .protocol = "imap"};
    clock_fixed_init(&h->clock, NS_PER_SEC, 1000 * DAY_NS);
    h->log_file = tmpfile();
    h->ctx.log = log_new(fileno(h->log_file), LOG_DEBUG, h->ctx.clock);
    h->kv = kv_mem_new(&h->ctx);
    h->lane = task_lane_new("hash", 2, 64);
    struct auth_conf conf = {.hash_lane = h->lane, .hash_ops = 1, .hash_memory = 8192, .logins = 8};
    assert_rc(auth_open(&h->ctx, h->kv, &conf, &h->auth), RC_OK);
    auth_hurry(h->auth); /* nobody waits for a delay */
    assert_rc(auth_domain_add(h->auth, STR("example.test")), RC_OK);
    assert_rc(auth_account_reserve(h->auth, &h->alice), RC_OK);
    assert_rc(auth_account_add(h->auth, h->alice, alice, STR("pass word")), RC_OK);
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

static enum rc log_in(struct home *h, struct str name, const char *password, struct auth_login *out)
{
    struct waiting w = {.login = {.done = done,
                                  .protocol = h->protocol,
                                  .name = name,
                                  .password = str_of(password),
                                  .peer = h->peer,
                                  .session = STR("s1")}};
    pthread_mutex_init(&w.mutex, NULL);
    pthread_cond_init(&w.cond, NULL);
    auth_login(h->auth, &w.login);
    pthread_mutex_lock(&w.mutex);
    while (!w.done)
        pthread_cond_wait(&w.cond, &w.mutex);
    pthread_mutex_unlock(&w.mutex);
    auth_place_wait(h->auth); /* what is noted of it is written behind its back */
    *out = w.login;
    return w.login.rc;
}

static enum rc login(struct home *h, const char *name, const char *password)
{
    struct auth_login out;
    return log_in(h, str_of(name), password, &out);
}

static void add(struct home *h, const char *label, unsigned protocols, uint64_t expires,
                const char *net)
{
    const struct auth_app app = {.label = str_of(label),
                                 .protocols = protocols,
                                 .expires = expires,
                                 .net = net ? str_of(net) : (struct str){0}};
    assert_rc(auth_app_add(h->auth, alice, &app, h->password), RC_OK);
}

static uint64_t hashes(struct home *h)
{
    return counter_get(&h->counters, COUNTER_PASSWORD_HASHES);
}

static bool is_logged(struct home *h, const char *what)
{
    static char text[64 << 10];
    log_flush(h->ctx.log);
    ssize_t n = pread(fileno(h->log_file), text, sizeof text - 1, 0);
    assert_true(n > 0);
    text[n] = '\0';
    return strstr(text, what) != NULL;
}

static void found_by_itself_without_a_slow_hash(void **state)
{
    struct home *h = *state;
    struct auth_login out;
    add(h, "phone", AUTH_IMAP | AUTH_SMTP, 0, NULL);
    assert_int_equal(strlen(h->password), AUTH_APP_PASSWORD - 1);
    uint64_t before = hashes(h);
    assert_rc(log_in(h, STR("Alice@Example.TEST"), h->password, &out), RC_OK);
    assert_int_equal(out.account, h->alice);
    assert_string_equal(out.address, "");
    assert_int_equal(hashes(h) - before, 0);
    assert_true(is_logged(h, "app_password=phone"));
    assert_false(is_logged(h, h->password));
    /* The account's own password is what it was. */
    assert_rc(login(h, "alice@example.test", "pass word"), RC_OK);
    assert_int_equal(hashes(h) - before, 1);
}

/* What is not usable here and now is refused as what is wrong: for one slow hash, and counted once.
 */
static void refused_as_a_wrong_password_is(void **state)
{
    struct home *h = *state;
    const struct {
        unsigned protocols;
        uint64_t expires;
        const char *net, *peer, *cause;
    } cases[] = {
        {AUTH_SMTP, 0, NULL, "192.0.2.1", "cause=app-password-protocol"},
        {AUTH_IMAP, 1000 * DAY_NS, NULL, "192.0.2.1", "cause=app-password-expired"},
        {AUTH_IMAP, 0, "198.51.100.0/24", "192.0.2.1", "cause=app-password-network"},
        {AUTH_IMAP, 0, "2001:db8::/32", "local", "cause=app-password-network"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char label[8];
        snprintf(label, sizeof label, "x%zu", i);
        add(h, label, cases[i].protocols, cases[i].expires, cases[i].net);
        h->peer = str_of(cases[i].peer);
        uint64_t before = hashes(h), failed = counter_get(&h->counters, COUNTER_LOGINS_FAILED);
        assert_rc(login(h, "alice@example.test", h->password), RC_DENIED);
        assert_int_equal(hashes(h) - before, 1);
        assert_int_equal(counter_get(&h->counters, COUNTER_LOGINS_FAILED) - failed, 1);
        assert_true(is_logged(h, cases[i].cause));
    }
    h->peer = STR("198.51.100.7");
    add(h, "in", AUTH_IMAP, 1000 * DAY_NS + 1, "198.51.100.0/24");
    assert_rc(login(h, "alice@example.test", h->password), RC_OK);
}

static void a_name_with_a_label_means_one(void **state)
{
    struct home *h = *state;
    struct auth_login out;
    char phone[AUTH_APP_PASSWORD];
    add(h, "phone", AUTH_IMAP, 0, NULL);
    memcpy(phone, h->password, sizeof phone);
    add(h, "laptop", AUTH_IMAP, 0, NULL);
    assert_rc(log_in(h, STR("alice+Phone@example.test"), phone, &out), RC_OK);
    assert_int_equal(out.account, h->alice);
    assert_string_equal(out.address, "alice@example.test");
    assert_rc(auth_login_holds(h->auth, str_of(out.address), h->alice, out.credential, 0), RC_OK);
    assert_rc(login(h, "alice+laptop@example.test", phone), RC_DENIED);
    assert_rc(login(h, "alice+none@example.test", phone), RC_DENIED);
    assert_rc(login(h, "alice+@example.test", phone), RC_DENIED);
    /* Nor is it another name for the account's own password. */
    uint64_t before = hashes(h);
    assert_rc(login(h, "alice+phone@example.test", "pass word"), RC_DENIED);
    assert_int_equal(hashes(h) - before, 1);
    /* The domain's delimiter does it, too. */
    const struct auth_domain_change change = {.what = AUTH_SET_DELIMITER, .delimiter = '-'};
    assert_rc(auth_domain_set(h->auth, STR("example.test"), &change), RC_OK);
    assert_rc(login(h, "alice-phone@example.test", phone), RC_OK);
    assert_rc(login(h, "alice+phone@example.test", phone), RC_OK);
}

static void an_address_of_its_own_is_nobody_elses(void **state)
{
    struct home *h = *state;
    uint64_t id;
    size_t bad;
    struct auth_login out;
    add(h, "phone", AUTH_IMAP, 0, NULL);
    assert_rc(auth_alias_add(h->auth, STR("alice+phone@example.test"), &alice, 1, &bad), RC_OK);
    assert_rc(login(h, "alice+phone@example.test", h->password), RC_DENIED);
    assert_rc(auth_alias_remove(h->auth, STR("alice+phone@example.test"), NULL, 0, &bad), RC_OK);
    assert_rc(auth_account_reserve(h->auth, &id), RC_OK);
    assert_rc(auth_account_add(h->auth, id, STR("alice+phone@example.test"), STR("other")), RC_OK);
    assert_rc(login(h, "alice+phone@example.test", h->password), RC_DENIED);
    assert_rc(log_in(h, STR("alice+phone@example.test"), "other", &out), RC_OK);
    assert_int_equal(out.account, id);
}

static void revoked_and_expired_at_once(void **state)
{
    struct home *h = *state;
    struct auth_login phone, own, soon;
    size_t n;
    add(h, "soon", AUTH_IMAP, 1001 * DAY_NS, NULL);
    assert_rc(log_in(h, alice, h->password, &soon), RC_OK);
    assert_int_equal(soon.expires, 1001 * DAY_NS);
    add(h, "phone", AUTH_IMAP, 0, NULL);
    assert_rc(log_in(h, alice, h->password, &phone), RC_OK);
    assert_rc(log_in(h, alice, "pass word", &own), RC_OK);
    assert_rc(auth_login_holds(h->auth, alice, h->alice, phone.credential, 0), RC_OK);
    assert_rc(auth_app_revoke(h->auth, alice, STR("none"), &n), RC_EXISTS);
    assert_rc(auth_app_revoke(h->auth, alice, STR("PHONE"), &n), RC_OK);
    assert_int_equal(n, 1);
    assert_rc(login(h, "alice@example.test", h->password), RC_DENIED);
    assert_rc(auth_login_holds(h->auth, alice, h->alice, phone.credential, 0), RC_DENIED);
    assert_rc(auth_login_holds(h->auth, alice, h->alice, own.credential, 0), RC_OK);
    assert_rc(auth_login_holds(h->auth, alice, h->alice, soon.credential, 0), RC_OK);
    /* Another one in its place is another one. */
    add(h, "phone", AUTH_IMAP, 0, NULL);
    assert_rc(auth_login_holds(h->auth, alice, h->alice, phone.credential, 0), RC_DENIED);
    clock_fixed_init(&h->clock, NS_PER_SEC, 1001 * DAY_NS);
    assert_rc(auth_login_holds(h->auth, alice, h->alice, soon.credential, 0), RC_DENIED);
}

static void it_goes_where_its_account_goes(void **state)
{
    struct home *h = *state;
    const char *moved = "bob@other.test";
    uint64_t id;
    struct auth_login out;
    add(h, "phone", AUTH_IMAP, 0, NULL);
    assert_rc(auth_account_enable(h->auth, alice, false), RC_OK);
    assert_rc(login(h, "alice@example.test", h->password), RC_DENIED);
    assert_rc(auth_account_enable(h->auth, alice, true), RC_OK);
    assert_rc(log_in(h, alice, h->password, &out), RC_OK);
    assert_rc(auth_account_enable(h->auth, alice, false), RC_OK);
    assert_rc(auth_login_holds(h->auth, alice, h->alice, out.credential, 0), RC_DENIED);
    assert_rc(auth_account_enable(h->auth, alice, true), RC_OK);
    assert_rc(auth_domain_add(h->auth, STR("other.test")), RC_OK);
    assert_rc(auth_account_rename(h->auth, alice, str_of(moved), false, &id), RC_OK);
    assert_rc(login(h, "alice@example.test", h->password), RC_DENIED);
    assert_rc(login(h, moved, h->password), RC_OK);
    assert_rc(auth_account_remove(h->auth, str_of(moved), &id), RC_OK);
    assert_rc(login(h, moved, h->password), RC_DENIED);
    assert_rc(auth_account_restore(h->auth, str_of(moved), 0, &id), RC_OK);
    assert_rc(login(h, moved, h->password), RC_OK);
    /* Another password of the account leaves it alone. */
    assert_rc(auth_account_passwd(h->auth, str_of(moved), STR("new")), RC_OK);
    assert_rc(login(h, moved, h->password), RC_OK);
    assert_rc(auth_account_remove(h->auth, str_of(moved), &id), RC_OK);
    assert_rc(auth_removed_purge(h->auth, 0, id), RC_OK);
    assert_rc(auth_account_add(h->auth, id, str_of(moved), STR("new")), RC_OK);
    assert_rc(login(h, moved, h->password), RC_DENIED);
}

static void labels(void **state)
{
    struct home *h = *state;
    char password[AUTH_APP_PASSWORD];
    const struct {
        const char *label;
        unsigned protocols;
        enum rc rc;
    } cases[] = {
        {"Phone", AUTH_IMAP, RC_OK},     {"phone", AUTH_IMAP, RC_EXISTS},
        {"", AUTH_IMAP, RC_PERM},        {"my phone", AUTH_IMAP, RC_PERM},
        {"a+b", AUTH_IMAP, RC_PERM},     {"ok", 0, RC_PERM},
        {"ok", 1 << 9, RC_PERM},         {"123456789012345678901234567890123", 1, RC_LIMIT},
        {"app1", AUTH_PROTOCOLS, RC_OK},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct auth_app app = {.label = str_of(cases[i].label),
                                     .protocols = cases[i].protocols};
        assert_rc(auth_app_add(h->auth, alice, &app, password), cases[i].rc);
    }
    const struct auth_app nameless = {.protocols = AUTH_IMAP};
    struct auth_app *apps;
    struct arena arena = {0};
    size_t n;
    const struct auth_app nowhere = {.protocols = AUTH_IMAP, .net = STR("192.0.2.0/33")};
    assert_rc(auth_app_add(h->auth, alice, &nowhere, password), RC_CONFLICT);
    assert_rc(auth_app_add(h->auth, STR("bob@example.test"), &nameless, password), RC_NOTFOUND);
    for (int i = 2; i < AUTH_APPS_MAX; i++)
        assert_rc(auth_app_add(h->auth, alice, &nameless, password), RC_OK);
    assert_rc(login(h, "alice@example.test", password), RC_OK); /* the last of as many as may be */
    assert_rc(auth_app_add(h->auth, alice, &nameless, password), RC_DENIED);
    assert_rc(auth_app_list(h->auth, alice, &arena, &apps, &n), RC_OK);
    assert_int_equal(n, AUTH_APPS_MAX);
    assert_str(apps[0].label, "phone");
    assert_str(apps[1].label, "app1");
    assert_str(apps[2].label, "app2");
    assert_rc(auth_app_revoke(h->auth, alice, (struct str){0}, &n), RC_OK);
    assert_int_equal(n, AUTH_APPS_MAX);
    assert_rc(auth_app_list(h->auth, alice, &arena, &apps, &n), RC_OK);
    assert_int_equal(n, 0);
    arena_fini(&arena);
    assert_rc(login(h, "alice@example.test", "pass word"), RC_OK);
}

static void the_last_use_is_noted_now_and_then(void **state)
{
    struct home *h = *state;
    struct arena arena = {0};
    struct auth_app *apps;
    size_t n;
    const uint64_t minute = 60 * NS_PER_SEC, start = 1000 * DAY_NS;
    const struct {
        uint64_t at;
        const char *peer, *protocol;
        uint64_t noted;
    } cases[] = {
        {0, "192.0.2.1", "imap", 0},
        {minute, "192.0.2.1", "imap", 0},
        {2 * minute, "192.0.2.2", "imap", 2 * minute},
        {3 * minute, "192.0.2.2", "smtp", 3 * minute},
        {9 * minute, "192.0.2.2", "smtp", 9 * minute},
    };
    add(h, "phone", AUTH_IMAP | AUTH_SMTP, 0, NULL);
    assert_rc(auth_app_list(h->auth, alice, &arena, &apps, &n), RC_OK);
    assert_int_equal(apps[0].used.at, 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        h->peer = str_of(cases[i].peer);
        h->protocol = cases[i].protocol;
        clock_fixed_init(&h->clock, NS_PER_SEC, start + cases[i].at);
        assert_rc(login(h, "alice@example.test", h->password), RC_OK);
        assert_rc(auth_app_list(h->auth, alice, &arena, &apps, &n), RC_OK);
        assert_int_equal(apps[0].used.at, start + cases[i].noted);
        assert_true(str_eq(apps[0].used.peer, str_of(cases[i].peer)));
        assert_string_equal(apps[0].used.protocol, cases[i].protocol);
    }
    /* One that comes later has not been used, though it has the number. */
    assert_rc(auth_app_revoke(h->auth, alice, STR("phone"), &n), RC_OK);
    add(h, "phone", AUTH_IMAP, 0, NULL);
    assert_rc(auth_app_list(h->auth, alice, &arena, &apps, &n), RC_OK);
    assert_int_equal(apps[0].used.at, 0);
    arena_fini(&arena);
}

struct report {
    struct auth_fsck fsck;
    char last[256];
};

static void keep(struct auth_fsck *fsck, const char *line)
{
    snprintf(CONTAINER(fsck, struct report, fsck)->last, 256, "%s", line);
}

static void put(struct home *h, uint64_t account, uint32_t number, struct str value)
{
    struct key key;
    struct kv_txn *txn = kv_txn_new(auth_domain_part(STR("example.test")));
    uint64_t version;
    auth_key_secret(&key, account, number);
    assert_rc(kv_txn_put(txn, auth_key_str(&key), value), RC_OK);
    assert_rc(kv_commit_wait(h->kv, txn, &version), RC_OK);
}

static void fsck_knows_them(void **state)
{
    struct home *h = *state;
    struct report r = {.fsck.report = keep};
    add(h, "phone", AUTH_IMAP, 0, NULL);
    assert_rc(auth_fsck(h->auth, &r.fsck), RC_OK);
    put(h, h->alice, 2, STR("\x01\x02short"));
    assert_rc(auth_fsck(h->auth, &r.fsck), RC_CORRUPT);
    assert_non_null(strstr(r.last, "damaged"));
    /* The others work meanwhile, and it can be taken away. */
    assert_rc(login(h, "alice@example.test", h->password), RC_OK);
    size_t n;
    assert_rc(auth_app_revoke(h->auth, alice, (struct str){0}, &n), RC_OK);
    assert_rc(auth_fsck(h->auth, &r.fsck), RC_OK);
    put(h, h->alice + 7, 1, STR("\x01\x02short"));
    assert_rc(auth_fsck(h->auth, &r.fsck), RC_CORRUPT);
    assert_non_null(strstr(r.last, "an app password of no account"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(found_by_itself_without_a_slow_hash, set_up, tear_down),
        cmocka_unit_test_setup_teardown(refused_as_a_wrong_password_is, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_name_with_a_label_means_one, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_address_of_its_own_is_nobody_elses, set_up, tear_down),
        cmocka_unit_test_setup_teardown(revoked_and_expired_at_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(it_goes_where_its_account_goes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(labels, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_last_use_is_noted_now_and_then, set_up, tear_down),
        cmocka_unit_test_setup_teardown(fsck_knows_them, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
