/* Records of accounts elsewhere: what is put is read again, each number is given once, a password
 * is opened for the host that it was sealed for and no other. */
#include "remote/remote.h"

#include "base/test.h"

#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

struct home {
    struct ctx ctx;
    struct kv *kv;
};

static int begin(void **state)
{
    struct home *h = test_calloc(1, sizeof *h);
    h->ctx = (struct ctx){.clock = &clock_system};
    h->kv = kv_mem_new(&h->ctx);
    *state = h;
    return 0;
}

static int end(void **state)
{
    struct home *h = *state;
    kv_close(&h->kv);
    test_free(h);
    return 0;
}

static struct remote one(uint64_t account)
{
    return (struct remote){.account = account,
                           .owner = STR("alice@example.org"),
                           .protocol = 1,
                           .tls = 1,
                           .host = STR("imap.example.net"),
                           .port = 143,
                           .login = STR("alice77"),
                           .sealed = STR("sealed"),
                           .after = REMOTE_DAYS,
                           .days = 14,
                           .interval_s = 300,
                           .folders = STR("*"),
                           .created = 5};
}

static void what_is_put_is_read_again(void **state)
{
    struct home *h = *state;
    struct arena arena = {0};
    struct remote r = one(7), *all;
    uint32_t first, second, other;
    size_t n;
    assert_rc(remote_add(h->kv, &r, 2, &first), RC_OK);
    assert_rc(remote_add(h->kv, &r, 2, &second), RC_OK);
    assert_rc(remote_add(h->kv, &r, 2, &other), RC_LIMIT);
    r.account = 8;
    assert_rc(remote_add(h->kv, &r, 2, &other), RC_OK);
    assert_true(first < second && second < other);
    assert_rc(remote_list(h->kv, 7, &arena, &all, &n), RC_OK);
    assert_int_equal(n, 2);
    assert_rc(remote_list(h->kv, 0, &arena, &all, &n), RC_OK);
    assert_int_equal(n, 3);
    assert_true(all[2].account == 8 && all[2].id == other && all[2].port == 143);
    assert_true(str_eq(all[0].host, STR("imap.example.net")) && all[0].days == 14);
    assert_true(str_eq(all[0].login, STR("alice77")) && str_eq(all[0].folders, STR("*")));
    assert_rc(remote_remove(h->kv, NULL, 7, second), RC_OK);
    assert_rc(remote_remove(h->kv, NULL, 7, second), RC_NOTFOUND);
    r.account = 7;
    assert_rc(remote_add(h->kv, &r, 2, &second), RC_OK);
    assert_true(second > other); /* no number is given twice */
    arena_fini(&arena);
}

static void states_stand_beside(void **state)
{
    struct home *h = *state;
    struct arena arena = {0};
    struct remote_state s;
    assert_rc(remote_state_get(h->kv, 7, 1, &arena, &s), RC_OK);
    assert_true(s.condition == REMOTE_NEW && s.due == 0);
    const struct remote_state put = {.condition = REMOTE_FAILING,
                                     .due = 9,
                                     .failures = 3,
                                     .messages = 12,
                                     .text = STR("cannot connect")};
    assert_rc(remote_state_put(h->kv, 7, 1, &put), RC_OK);
    assert_rc(remote_state_get(h->kv, 7, 1, &arena, &s), RC_OK);
    assert_true(s.condition == REMOTE_FAILING && s.due == 9 && s.failures == 3);
    assert_true(s.messages == 12 && str_eq(s.text, STR("cannot connect")));
    arena_fini(&arena);
}

static void asking_and_sealing_anew_change_the_row(void **state)
{
    struct home *h = *state;
    struct arena arena = {0};
    struct remote r = one(7);
    uint32_t id;
    assert_rc(remote_add(h->kv, &r, 9, &id), RC_OK);
    assert_rc(remote_ask(h->kv, 7, id, 1234), RC_OK);
    assert_rc(remote_reseal(h->kv, 7, id, STR("another")), RC_OK);
    assert_rc(remote_get(h->kv, 7, id, &arena, &r), RC_OK);
    assert_true(r.asked == 1234 && r.credentials == 1 && str_eq(r.sealed, STR("another")));
    assert_rc(remote_ask(h->kv, 7, id + 1, 1), RC_NOTFOUND);
    arena_fini(&arena);
}

static void *serve(void *arg)
{
    void **of = arg;
    assert_rc(crypto_signer_serve(of[0], *(int *)of[1]), RC_OK);
    return NULL;
}

/* Who can write to the store cannot have the password said elsewhere, to somebody else, or in
 * clear. */
static void a_password_is_for_one_host(void **state)
{
    unsigned char seal[CRYPTO_SEAL_KEY], secret[CRYPTO_SEAL_KEY];
    char password[REMOTE_PASSWORD_MAX];
    struct buf sealed = {.cap = CRYPTO_SEALED_MAX};
    int fds[2];
    pthread_t thread;
    size_t n = sizeof password;
    assert_rc(crypto_seal_pair(seal, secret), RC_OK);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds), 0);
    struct crypto_signer *signer = crypto_signer_new_sealed(secret);
    void *arg[2] = {signer, &fds[0]};
    assert_int_equal(pthread_create(&thread, NULL, serve, arg), 0);
    struct crypto_signer_client *client = crypto_signer_client_new(fds[1], 60000);
    struct remote r = one(7);
    assert_rc(remote_seal(&r, STR("open sesame"), seal, &sealed), RC_OK);
    r.sealed = buf_str(&sealed);
    assert_rc(remote_unseal(client, &r, password, &n), RC_OK);
    assert_true(str_eq(str_from(password, n), STR("open sesame")));
    struct remote others[5] = {r, r, r, r, r};
    others[0].host = STR("evil.example.net");
    others[1].port = 144;
    others[2].tls = 2;
    others[3].account = 8;
    others[4].login = STR("alice7");
    for (size_t i = 0; i < 5; i++) {
        n = sizeof password;
        assert_rc(remote_unseal(client, &others[i], password, &n), RC_DENIED);
    }
    crypto_signer_client_free(&client);
    pthread_join(thread, NULL);
    crypto_signer_free(&signer);
    close(fds[0]);
    buf_fini(&sealed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_put_is_read_again, begin, end),
        cmocka_unit_test_setup_teardown(states_stand_beside, begin, end),
        cmocka_unit_test_setup_teardown(asking_and_sealing_anew_change_the_row, begin, end),
        cmocka_unit_test(a_password_is_for_one_host),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
