/* Exchanges as the three protocols drive them, over a directory. */
#include "auth/test_client.h"

#include <unistd.h>

struct home {
    struct counters counters;
    struct clock_fixed clock;
    struct ctx ctx;
    struct kv *kv;
    struct auth *auth;
    struct task_lane *lane;
    FILE *log_file;
    const char *peer;
    uint64_t alice;
};

static const struct str alice = STR_INIT("alice@example.test");

static void open_auth(struct home *h, enum auth_scram scram, uint32_t iterations)
{
    struct auth_conf conf = {.hash_lane = h->lane,
                             .hash_ops = 1,
                             .hash_memory = 8192,
                             .scram = scram,
                             .scram_iterations = iterations};
    assert_rc(auth_open(&h->ctx, h->kv, &conf, &h->auth), RC_OK);
    auth_hurry(h->auth); /* nobody waits for a delay */
}

static void reopen(struct home *h, enum auth_scram scram, uint32_t iterations)
{
    auth_close(&h->auth);
    open_auth(h, scram, iterations);
}

static int set_up(void **state)
{
    static struct home home; /* one test at a time */
    struct home *h = &home;
    *h = (struct home){.ctx = {.counters = &home.counters, .clock = &home.clock.clock},
                       .peer = "192.0.2.1"};
    clock_fixed_init(&h->clock, NS_PER_SEC, 1000 * 86400 * NS_PER_SEC);
    h->log_file = tmpfile();
    h->ctx.log = log_new(fileno(h->log_file), LOG_DEBUG, h->ctx.clock);
    h->kv = kv_mem_new(&h->ctx);
    h->lane = task_lane_new("hash", 2, 64);
    open_auth(h, AUTH_SCRAM_ON, 4096);
    assert_rc(auth_domain_add(h->auth, STR("example.test")), RC_OK);
    assert_rc(auth_account_reserve(h->auth, &h->alice), RC_OK);
    assert_rc(auth_account_add(h->auth, h->alice, alice, STR("pencil")), RC_OK);
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

struct session {
    struct auth_exchange auth;
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    bool is_done;
    struct test_client client;
    struct buf line, challenge;
};

static void done(struct auth_login *login)
{
    struct session *s = CONTAINER(login, struct session, auth.login);
    pthread_mutex_lock(&s->mutex);
    s->is_done = true;
    pthread_cond_signal(&s->cond);
    pthread_mutex_unlock(&s->mutex);
}

static void session_init(struct home *h, struct session *s)
{
    *s = (struct session){.auth = {.auth = h->auth,
                                   .channel = {.path = AUTH_IN_TLS},
                                   .login = {.done = done,
                                             .protocol = "imap",
                                             .peer = str_of(h->peer),
                                             .session = STR("s1")}},
                          .line = {.cap = 2048},
                          .challenge = {.cap = 2048}};
    pthread_mutex_init(&s->mutex, NULL);
    pthread_cond_init(&s->cond, NULL);
}

static void session_fini(struct home *h, struct session *s)
{
    auth_exchange_end(&s->auth);
    unsigned char zero[AUTH_CLIENT_KEY] = {0};
    assert_memory_equal(s->auth.login.client_key, zero, sizeof zero);
    auth_place_wait(h->auth);
    buf_fini(&s->line);
    buf_fini(&s->challenge);
}

/* Waits as a session does. */
static enum auth_next settle(struct session *s, enum auth_next next)
{
    while (next == AUTH_WAIT) {
        pthread_mutex_lock(&s->mutex);
        while (!s->is_done)
            pthread_cond_wait(&s->cond, &s->mutex);
        pthread_mutex_unlock(&s->mutex);
        next = auth_exchange_go_on(&s->auth, &s->challenge);
    }
    assert_int_not_equal(next, AUTH_SHORT); /* it may block here */
    return next;
}

static enum auth_next first(struct home *h, struct session *s, enum crypto_hash hash,
                            const char *name)
{
    session_init(h, s);
    test_client_first(&s->client, hash, name, &s->line);
    struct str mechanism = hash == CRYPTO_SHA_1 ? STR("SCRAM-SHA-1") : STR("scram-sha-256");
    enum auth_next next =
        settle(s, auth_exchange_begin(&s->auth, mechanism, buf_str(&s->line), &s->challenge));
    if (next == AUTH_ASK)
        test_client_take_first(&s->client, buf_str(&s->challenge));
    return next;
}

static enum auth_next final(struct session *s, struct str password)
{
    test_client_final(&s->client, password, &s->line);
    buf_clear(&s->challenge);
    return settle(s, auth_exchange_line(&s->auth, buf_str(&s->line), &s->challenge));
}

/* A login from the first line to the end. */
static enum rc scram(struct home *h, enum crypto_hash hash, const char *name, struct str password)
{
    struct session s;
    enum auth_next next = first(h, &s, hash, name);
    if (next == AUTH_ASK)
        next = final(&s, password);
    if (next == AUTH_ASK) {
        assert_true(test_client_knows(&s.client, buf_str(&s.challenge)));
        buf_clear(&s.challenge);
        next = settle(&s, auth_exchange_line(&s.auth, STR(""), &s.challenge));
        assert_int_equal(s.auth.login.rc, RC_OK);
        size_t n = crypto_hash_size(hash);
        assert_int_equal(s.auth.login.n_client_key, n);
        assert_memory_equal(s.auth.login.client_key, s.client.client_key, n);
        assert_int_equal(s.auth.login.account, h->alice);
        assert_rc(
            auth_login_holds(h->auth, s.auth.login.name, h->alice, s.auth.login.credential, 0),
            RC_OK);
    } else {
        assert_int_equal(s.auth.login.n_client_key, 0);
    }
    assert_int_equal(next, AUTH_DECIDED);
    enum rc rc = s.auth.login.rc;
    session_fini(h, &s);
    return rc;
}

static enum rc plain(struct home *h, const char *name, struct str password)
{
    struct session s;
    session_init(h, &s);
    assert_int_equal(settle(&s, auth_exchange_password(&s.auth, str_of(name), password)),
                     AUTH_DECIDED);
    enum rc rc = s.auth.login.rc;
    session_fini(h, &s);
    return rc;
}

static bool log_has(struct home *h, const char *text)
{
    static char bytes[64 << 10];
    log_flush(h->ctx.log);
    ssize_t n = pread(fileno(h->log_file), bytes, sizeof bytes - 1, 0);
    bytes[n > 0 ? n : 0] = 0;
    return strstr(bytes, text) != NULL;
}

static void logins(void **state)
{
    struct home *h = *state;
    uint64_t hashes = counter_get(&h->counters, COUNTER_PASSWORD_HASHES);
    for (unsigned hash = CRYPTO_SHA_1; hash <= CRYPTO_SHA_256; hash++) {
        assert_rc(scram(h, hash, "alice@example.test", STR("pencil")), RC_OK);
        assert_rc(scram(h, hash, "ALICE@Example.test", STR("pencil")), RC_OK);
        assert_rc(scram(h, hash, "alice@example.test", STR("pencils")), RC_DENIED);
        assert_rc(scram(h, hash, "bob@example.test", STR("pencil")), RC_DENIED);
        assert_rc(scram(h, hash, "alice", STR("pencil")), RC_DENIED);
    }
    assert_int_equal(counter_get(&h->counters, COUNTER_PASSWORD_HASHES), hashes);
    assert_int_equal(counter_get(&h->counters, COUNTER_LOGINS), 4);
    assert_int_equal(counter_get(&h->counters, COUNTER_LOGINS_FAILED), 6);
    assert_true(log_has(h, "event=login session=s1 peer=192.0.2.1 protocol=imap "
                           "address=alice@example.test mechanism=SCRAM-SHA-1 account="));
    assert_true(log_has(h, "address=bob@example.test mechanism=SCRAM-SHA-256 cause=unknown"));
    assert_true(log_has(h, "address=alice@example.test mechanism=SCRAM-SHA-256 cause=password"));
}

/* The server's first message, but for its nonce. */
static void look(struct home *h, const char *name, char out[600])
{
    struct session s;
    assert_int_equal(first(h, &s, CRYPTO_SHA_256, name), AUTH_ASK);
    assert_int_equal(strlen(s.client.nonce), strlen("clientnonce") + SCRAM_NONCE);
    snprintf(out, 600, "%s", strchr(s.client.server_first, ','));
    session_fini(h, &s);
}

/* Whoever is asked for, the answer has the same form, and is the same the next time, also when the
 * account was made, changed, disabled or removed in between. */
static void who_is_there_does_not_show(void **state)
{
    struct home *h = *state;
    char before[600], after[600];
    uint64_t id;
    look(h, "carol@example.test", before);
    assert_int_equal(strlen(before), strlen(",s=") + 24 + strlen(",i=4096"));
    look(h, "CAROL@example.test", after);
    assert_string_equal(after, before);
    assert_rc(auth_account_reserve(h->auth, &id), RC_OK);
    assert_rc(auth_account_add(h->auth, id, STR("carol@example.test"), STR("one")), RC_OK);
    look(h, "carol@example.test", after);
    assert_string_equal(after, before);
    assert_rc(auth_account_passwd(h->auth, STR("carol@example.test"), STR("two")), RC_OK);
    look(h, "carol@example.test", after);
    assert_string_equal(after, before);
    assert_rc(auth_account_enable(h->auth, STR("carol@example.test"), false), RC_OK);
    look(h, "carol@example.test", after);
    assert_string_equal(after, before);
    assert_rc(auth_account_remove(h->auth, STR("carol@example.test"), &id), RC_OK);
    look(h, "carol@example.test", after);
    assert_string_equal(after, before);
    look(h, "dave@example.test", after);
    assert_string_not_equal(after, before);
    look(h, "carol", after);
    assert_int_equal(strlen(after), strlen(before));
}

static void disabled_and_changed(void **state)
{
    struct home *h = *state;
    struct session s;
    assert_rc(auth_account_enable(h->auth, alice, false), RC_OK);
    assert_rc(scram(h, CRYPTO_SHA_256, "alice@example.test", STR("pencil")), RC_DENIED);
    assert_true(log_has(h, "mechanism=SCRAM-SHA-256 cause=disabled"));
    assert_rc(auth_account_enable(h->auth, alice, true), RC_OK);
    /* Between salt and proof: the old one is wrong, the new one is right. */
    assert_int_equal(first(h, &s, CRYPTO_SHA_256, "alice@example.test"), AUTH_ASK);
    assert_rc(auth_account_passwd(h->auth, alice, STR("new")), RC_OK);
    assert_int_equal(final(&s, STR("pencil")), AUTH_DECIDED);
    assert_rc(s.auth.login.rc, RC_DENIED);
    session_fini(h, &s);
    assert_int_equal(first(h, &s, CRYPTO_SHA_256, "alice@example.test"), AUTH_ASK);
    assert_rc(auth_account_passwd(h->auth, alice, STR("newer")), RC_OK);
    assert_int_equal(final(&s, STR("newer")), AUTH_ASK);
    assert_int_equal(settle(&s, auth_exchange_line(&s.auth, STR(""), &s.challenge)), AUTH_DECIDED);
    assert_rc(s.auth.login.rc, RC_OK);
    unsigned char credential[AUTH_CREDENTIAL];
    memcpy(credential, s.auth.login.credential, sizeof credential);
    session_fini(h, &s);
    assert_rc(auth_account_passwd(h->auth, alice, STR("newest")), RC_OK);
    assert_rc(auth_login_holds(h->auth, alice, h->alice, credential, 0), RC_DENIED);
}

/* An account from before there was SCRAM gets its keys when its password comes readable. */
static void keys_come_with_a_login(void **state)
{
    struct home *h = *state;
    reopen(h, AUTH_SCRAM_OFF, 4096);
    assert_rc(auth_account_passwd(h->auth, alice, STR("old")), RC_OK);
    assert_rc(plain(h, "alice@example.test", STR("old")), RC_OK);
    struct session s;
    session_init(h, &s);
    assert_int_equal(auth_exchange_begin(&s.auth, STR("SCRAM-SHA-256"), STR(""), &s.challenge),
                     AUTH_REFUSED);
    assert_rc(s.auth.refusal, RC_NOTFOUND);
    session_fini(h, &s);
    reopen(h, AUTH_SCRAM_ON, 4096);
    assert_rc(scram(h, CRYPTO_SHA_256, "alice@example.test", STR("old")), RC_DENIED);
    assert_true(log_has(h, "mechanism=SCRAM-SHA-256 cause=no-scram-keys"));
    assert_rc(plain(h, "alice@example.test", STR("wrong")), RC_DENIED);
    assert_rc(scram(h, CRYPTO_SHA_256, "alice@example.test", STR("wrong")), RC_DENIED);
    assert_rc(plain(h, "alice@example.test", STR("old")), RC_OK);
    assert_rc(scram(h, CRYPTO_SHA_256, "alice@example.test", STR("old")), RC_OK);
    assert_rc(scram(h, CRYPTO_SHA_1, "alice@example.test", STR("old")), RC_OK);
    reopen(h, AUTH_SCRAM_KEYS, 5000); /* other iterations, and not offered */
    session_init(h, &s);
    assert_int_equal(auth_exchange_begin(&s.auth, STR("SCRAM-SHA-256"), STR(""), &s.challenge),
                     AUTH_REFUSED);
    session_fini(h, &s);
    assert_rc(plain(h, "alice@example.test", STR("old")), RC_OK);
    reopen(h, AUTH_SCRAM_ON, 5000);
    assert_int_equal(first(h, &s, CRYPTO_SHA_256, "alice@example.test"), AUTH_ASK);
    assert_int_equal(s.client.iterations, 5000);
    session_fini(h, &s);
    assert_rc(scram(h, CRYPTO_SHA_256, "alice@example.test", STR("old")), RC_OK);
}

/* Keys are not written over those of a password that was set meanwhile. */
static void keys_are_of_their_password(void **state)
{
    struct home *h = *state;
    struct arena arena = {0};
    struct credential c;
    assert_rc(auth_credential_read(h->auth, alice, 0, &arena, &c), RC_OK);
    assert_rc(auth_account_passwd(h->auth, alice, STR("new")), RC_OK);
    reopen(h, AUTH_SCRAM_ON, 5000);
    auth_rehash(h->auth, alice, c.hash, STR("pencil"));
    auth_place_wait(h->auth);
    assert_rc(scram(h, CRYPTO_SHA_256, "alice@example.test", STR("new")), RC_OK);
    arena_fini(&arena);
}

/* [RFC8265 4.2] [RFC4013 2]: a password is one, however it is spelled and sent. */
static void spellings(void **state)
{
    struct home *h = *state;
    static const struct {
        struct str set, sent;
        bool by_scram; /* SCRAM's client has to bring it into one of its forms */
    } cases[] = {
        {STR_INIT("p\u00e4ss"), STR_INIT("p\u00e4ss"), true},
        {STR_INIT("pa\u0308ss"), STR_INIT("p\u00e4ss"), true},  /* OpaqueString, SASLprep */
        {STR_INIT("p\u00e4ss"), STR_INIT("pa\u0308ss"), false}, /* as it was typed */
        {STR_INIT("x\u00b2"), STR_INIT("x\u00b2"), true},       /* OpaqueString */
        {STR_INIT("x\u00b2"), STR_INIT("x2"), true},            /* SASLprep */
        {STR_INIT("a\u00a0b\u2026"), STR_INIT("a b\u2026"), true},
        {STR_INIT("a\u00a0b\u2026"), STR_INIT("a b..."), true},
        {STR_INIT("I\u00adX"), STR_INIT("IX"), true},
        {STR_INIT("p\xe4ss"), STR_INIT("p\xe4ss"), true}, /* not UTF-8: as it came */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_rc(auth_account_passwd(h->auth, alice, cases[i].set), RC_OK);
        assert_rc(plain(h, "alice@example.test", cases[i].sent), RC_OK);
        assert_rc(scram(h, CRYPTO_SHA_256, "alice@example.test", cases[i].sent),
                  cases[i].by_scram ? RC_OK : RC_DENIED);
        assert_rc(plain(h, "alice@example.test", STR("x3")), RC_DENIED);
        assert_int_equal(auth_blocked_remove(h->auth, (struct str){0}, &(size_t){0}), RC_OK);
    }
    /* [RFC8265 3.3]: full-width letters of the name. */
    assert_rc(auth_account_passwd(h->auth, alice, STR("pencil")), RC_OK);
    assert_rc(plain(h, "\uff21\uff4cice@example.test", STR("pencil")), RC_OK);
    assert_rc(scram(h, CRYPTO_SHA_256, "\uff21\uff4cice@example.test", STR("pencil")), RC_OK);
}

/* Wrong proofs block as wrong passwords do, for SCRAM and for PLAIN. */
static void blocks(void **state)
{
    struct home *h = *state;
    struct session s;
    h->peer = "198.51.100.7";
    assert_int_equal(first(h, &s, CRYPTO_SHA_256, "alice@example.test"), AUTH_ASK);
    for (int i = 0; i < 10; i++)
        assert_rc(scram(h, CRYPTO_SHA_256, i % 2 ? "alice@example.test" : "eve@example.test",
                        STR("guess")),
                  RC_DENIED);
    assert_rc(scram(h, CRYPTO_SHA_256, "alice@example.test", STR("pencil")), RC_TEMP);
    assert_rc(plain(h, "alice@example.test", STR("pencil")), RC_TEMP);
    /* One that has its salt from before: a right proof is not looked at. */
    assert_int_equal(final(&s, STR("pencil")), AUTH_DECIDED);
    assert_rc(s.auth.login.rc, RC_TEMP);
    assert_true(s.auth.login.is_blocked);
    session_fini(h, &s);
    assert_int_equal(counter_get(&h->counters, COUNTER_LOGINS_BLOCKED), 3);
    h->peer = "192.0.2.1"; /* the owner, elsewhere */
    assert_rc(scram(h, CRYPTO_SHA_256, "alice@example.test", STR("pencil")), RC_OK);
    /* Where the owner has logged in by SCRAM, no block meets him. */
    for (int i = 0; i < 12; i++)
        assert_rc(scram(h, CRYPTO_SHA_256, "alice@example.test", STR("guess")), RC_DENIED);
    assert_rc(scram(h, CRYPTO_SHA_256, "alice@example.test", STR("pencil")), RC_OK);
    assert_rc(scram(h, CRYPTO_SHA_256, "eve@example.test", STR("guess")), RC_TEMP);
}

/* What is refused without a look at anybody, and what ends an exchange. */
static void refusals(void **state)
{
    struct home *h = *state;
    static const struct {
        const char *mechanism, *initial, *line;
        enum rc rc;
    } cases[] = {
        {"SCRAM-SHA-512", "", NULL, RC_NOTFOUND},
        {"SCRAM-SHA-256-PLUS", "", NULL, RC_NOTFOUND}, /* nothing to bind to */
        {"SCRAM-SHA-256", "=", NULL, RC_SYNTAX},
        {"SCRAM-SHA-256", "biwsbj11c2Vy", NULL, RC_SYNTAX}, /* n,,n=user */
        {"SCRAM-SHA-256", "", "*", RC_EOF},
        {"SCRAM-SHA-256", "", "!", RC_CORRUPT},
        {"SCRAM-SHA-256", "bixhPW90aGVyLG49dXNlcixyPXg=", NULL,
         RC_DENIED},                                            /* n,a=other,n=user,r=x */
        {"SCRAM-SHA-256", "biwsbj11c2VyLHI9eA==", "*", RC_EOF}, /* n,,n=user,r=x */
        {"SCRAM-SHA-256", "biwsbj11c2VyLHI9eA==", "eA==", RC_SYNTAX},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct session s;
        session_init(h, &s);
        enum auth_next next = auth_exchange_begin(&s.auth, str_of(cases[i].mechanism),
                                                  str_of(cases[i].initial), &s.challenge);
        if (cases[i].line) {
            assert_int_equal(next, AUTH_ASK);
            next = auth_exchange_line(&s.auth, str_of(cases[i].line), &s.challenge);
        }
        assert_int_equal(next, AUTH_REFUSED);
        assert_rc(s.auth.refusal, cases[i].rc);
        session_fini(h, &s);
    }
    assert_int_equal(counter_get(&h->counters, COUNTER_LOGINS_FAILED), 0);
}

/* A client that was told that we cannot bind, where we can [RFC5802 6]. */
static void somebody_in_between(void **state)
{
    struct home *h = *state;
    struct session s;
    session_init(h, &s);
    reopen(h, AUTH_SCRAM_BOUND, 4096);
    s.auth.auth = h->auth;
    s.auth.channel.binding = "tls-exporter";
    test_encode(STR("y,,n=alice@example.test,r=x"), &s.line);
    assert_int_equal(
        auth_exchange_begin(&s.auth, STR("SCRAM-SHA-256"), buf_str(&s.line), &s.challenge),
        AUTH_ASK);
    test_encode(STR("e=server-does-support-channel-binding"), &s.line);
    assert_true(str_eq(buf_str(&s.challenge), buf_str(&s.line)));
    assert_true(log_has(h, "event=login-failed session=s1 peer=192.0.2.1 protocol=imap "
                           "address=alice@example.test mechanism=SCRAM-SHA-256 "
                           "cause=channel-binding"));
    assert_int_equal(auth_exchange_line(&s.auth, STR("*"), &s.challenge), AUTH_DECIDED);
    assert_rc(s.auth.login.rc, RC_DENIED);
    session_fini(h, &s);
    assert_int_equal(counter_get(&h->counters, COUNTER_LOGINS_FAILED), 1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

/* The name says which one; it is looked at as with a password. */
static void app_passwords(void **state)
{
    struct home *h = *state;
    char phone[AUTH_APP_PASSWORD], desk[AUTH_APP_PASSWORD], elsewhere[AUTH_APP_PASSWORD];
    const struct auth_app apps[] = {
        {.label = STR("phone"), .protocols = AUTH_IMAP},
        {.label = STR("desk"), .protocols = AUTH_SMTP},
        {.label = STR("far"), .protocols = AUTH_IMAP, .net = STR("203.0.113.0/24")}};
    char known[600], unknown[600];
    size_t n;
    assert_rc(auth_app_add(h->auth, alice, &apps[0], phone), RC_OK);
    assert_rc(auth_app_add(h->auth, alice, &apps[1], desk), RC_OK);
    assert_rc(auth_app_add(h->auth, alice, &apps[2], elsewhere), RC_OK);
    for (enum crypto_hash hash = CRYPTO_SHA_1; hash <= CRYPTO_SHA_256; hash++) {
        assert_rc(scram(h, hash, "alice+phone@example.test", str_of(phone)), RC_OK);
        assert_rc(scram(h, hash, "alice@example.test", str_of(phone)), RC_DENIED);
        assert_rc(scram(h, hash, "alice+phone@example.test", STR("pass word")), RC_DENIED);
    }
    assert_rc(scram(h, CRYPTO_SHA_256, "alice+phone@example.test", str_of(desk)), RC_DENIED);
    assert_rc(scram(h, CRYPTO_SHA_256, "alice+desk@example.test", str_of(desk)), RC_DENIED);
    assert_true(log_has(h, "cause=app-password-protocol"));
    assert_rc(scram(h, CRYPTO_SHA_256, "alice+far@example.test", str_of(elsewhere)), RC_DENIED);
    assert_true(log_has(h, "cause=app-password-network"));
    assert_true(log_has(h, "app_password=phone"));
    /* Which labels there are does not show, neither now nor by what changes. */
    look(h, "alice+phone@example.test", known);
    assert_rc(auth_app_revoke(h->auth, alice, STR("phone"), &n), RC_OK);
    look(h, "alice+phone@example.test", unknown);
    assert_string_equal(known, unknown);
    assert_rc(scram(h, CRYPTO_SHA_256, "alice+phone@example.test", str_of(phone)), RC_DENIED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(logins),
        TEST(who_is_there_does_not_show),
        TEST(app_passwords),
        TEST(disabled_and_changed),
        TEST(keys_come_with_a_login),
        TEST(keys_are_of_their_password),
        TEST(spellings),
        TEST(blocks),
        TEST(refusals),
        TEST(somebody_in_between),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
