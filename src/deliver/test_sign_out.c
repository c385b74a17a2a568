/* What leaves is signed: with whose keys, and what is not. */
#include "deliver/sign.h"

#include "base/test.h"

#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

struct fixture {
    struct counters counters;
    struct ctx ctx;
    struct kv *kv;
    struct auth *auth;
    struct deliver_signer signer;
    struct crypto_signer *process;
    unsigned char seal[CRYPTO_SEAL_KEY];
    int fd;
    pthread_t thread;
    struct buf out;
};

static const struct auth_conf cheap = {.hash_ops = 1, .hash_memory = 8192, .cache_entries = 64};

static void *serve(void *arg)
{
    struct fixture *f = arg;
    assert_rc(crypto_signer_serve(f->process, f->fd), RC_OK);
    return NULL;
}

static int set_up(void **state)
{
    static struct fixture f;
    unsigned char secret[CRYPTO_SEAL_KEY];
    int fds[2];
    f = (struct fixture){.ctx = {.counters = &f.counters, .clock = &clock_system}};
    f.kv = kv_mem_new(&f.ctx);
    assert_rc(auth_open(&f.ctx, f.kv, &cheap, &f.auth), RC_OK);
    assert_rc(crypto_seal_pair(f.seal, secret), RC_OK);
    f.process = crypto_signer_new_sealed(secret);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds), 0);
    f.fd = fds[0];
    assert_int_equal(pthread_create(&f.thread, NULL, serve, &f), 0);
    f.signer =
        (struct deliver_signer){&f.ctx, f.kv, f.auth, crypto_signer_client_new(fds[1], 60000)};
    buf_init(&f.out, DELIVER_SIGNATURES_MAX);
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    crypto_signer_client_free(&f->signer.client);
    pthread_join(f->thread, NULL);
    close(f->fd);
    crypto_signer_free(&f->process);
    auth_close(&f->auth);
    kv_close(&f->kv);
    buf_fini(&f->out);
    return 0;
}

static void add_domain(struct fixture *f, const char *domain, const unsigned char *seal)
{
    struct buf public_key, sealed;
    buf_init(&public_key, 4096);
    buf_init(&sealed, 4096);
    assert_rc(auth_domain_add(f->auth, str_of(domain)), RC_OK);
    assert_rc(crypto_sealed_make(CRYPTO_ED25519, 0, seal, &public_key, &sealed), RC_OK);
    const struct auth_key key = {.selector = STR("e1"),
                                 .algorithm = CRYPTO_ED25519,
                                 .state = AUTH_KEY_SIGNING,
                                 .public_key = buf_str(&public_key),
                                 .sealed = buf_str(&sealed)};
    assert_rc(auth_keys_add(f->auth, str_of(domain), &key, 1), RC_OK);
    buf_fini(&public_key);
    buf_fini(&sealed);
}

static enum rc sign(struct fixture *f, const char *from, uint16_t flags)
{
    struct kv_blob_out *out = kv_blob_new(f->kv, (struct kv_part){KV_QUEUE, 0}, 0, 0);
    struct queue_item item = {.flags = flags, .log_id = STR("m1")};
    assert_rc(kv_blob_write(out, STR("From: <")), RC_OK);
    assert_rc(kv_blob_write(out, str_of(from)), RC_OK);
    assert_rc(kv_blob_write(out, STR(">\r\nTo: x@elsewhere.test\r\n\r\ntext\r\n")), RC_OK);
    assert_rc(kv_blob_finish(&out, &item.blob), RC_OK);
    buf_clear(&f->out);
    enum rc rc = deliver_sign(&f->signer, &item, STR("mail.example.test"), &f->out);
    kv_blob_forget(f->kv, item.blob);
    return rc;
}

static bool is_signed_by(struct fixture *f, const char *tag)
{
    return str_starts(buf_str(&f->out), STR("DKIM-Signature: ")) &&
           str_find(buf_str(&f->out), str_of(tag)) > 0 && str_ends(buf_str(&f->out), STR("\r\n"));
}

static void mail_of_our_users_is_signed(void **state)
{
    struct fixture *f = *state;
    add_domain(f, "example.test", f->seal);
    add_domain(f, "other.test", f->seal);
    assert_rc(sign(f, "alice@Example.TEST", QUEUE_SUBMITTED), RC_OK);
    assert_true(is_signed_by(f, " d=example.test;"));
    assert_rc(sign(f, "bob@other.test", QUEUE_SUBMITTED | QUEUE_8BIT), RC_OK);
    assert_true(is_signed_by(f, " d=other.test;"));
    assert_int_equal(counter_get(&f->counters, COUNTER_DKIM_SIGNATURES), 2);
}

/* [RFC6376 3.5] for the host's own name, and for it alone. */
static void the_hosts_mail_is_signed_by_the_domain_above(void **state)
{
    struct fixture *f = *state;
    add_domain(f, "example.test", f->seal);
    assert_rc(sign(f, "MAILER-DAEMON@mail.example.test", QUEUE_IS_REPORT), RC_OK);
    assert_true(is_signed_by(f, " d=example.test;"));
    assert_rc(sign(f, "root@MAIL.example.test", QUEUE_SUBMITTED), RC_OK);
    assert_true(is_signed_by(f, " d=example.test;"));
    assert_rc(sign(f, "x@www.example.test", QUEUE_SUBMITTED), RC_OK);
    assert_int_equal(buf_len(&f->out), 0);
}

static void mail_of_others_is_not_signed(void **state)
{
    struct fixture *f = *state;
    add_domain(f, "example.test", f->seal);
    assert_rc(sign(f, "alice@example.test", 0), RC_OK);
    assert_int_equal(buf_len(&f->out), 0);
    assert_rc(sign(f, "alice@example.test", QUEUE_FORWARDED), RC_OK);
    assert_int_equal(buf_len(&f->out), 0);
    assert_rc(sign(f, "x@elsewhere.test", QUEUE_SUBMITTED), RC_OK);
    assert_int_equal(buf_len(&f->out), 0);
    assert_rc(sign(f, "nobody", QUEUE_SUBMITTED), RC_OK);
    assert_int_equal(buf_len(&f->out), 0);
}

static void what_is_broken_delays_or_is_left_out(void **state)
{
    struct fixture *f = *state;
    const unsigned char strange[CRYPTO_SEAL_KEY] = {9};
    struct queue_item item = {.flags = QUEUE_SUBMITTED, .log_id = STR("m1")};
    add_domain(f, "example.test", strange);
    assert_rc(sign(f, "alice@example.test", QUEUE_SUBMITTED), RC_OK); /* nobody can open it */
    assert_int_equal(buf_len(&f->out), 0);
    assert_int_equal(counter_get(&f->counters, COUNTER_DKIM_FAILURES), 1);
    memset(&item.blob, 7, sizeof item.blob);
    assert_rc(deliver_sign(&f->signer, &item, STR("h"), &f->out), RC_TEMP); /* it is not there */
    const struct deliver_signer none = {&f->ctx, f->kv, f->auth, NULL};
    assert_rc(deliver_sign(&none, &item, STR("h"), &f->out), RC_OK);
    assert_int_equal(buf_len(&f->out), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(mail_of_our_users_is_signed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_hosts_mail_is_signed_by_the_domain_above, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(mail_of_others_is_not_signed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_broken_delays_or_is_left_out, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
