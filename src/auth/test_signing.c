/* Keys that sign a domain's mail: added, turned, retired, gone; the seal. */
#include "auth/auth_int.h"

#include "base/test.h"

#include <stdio.h>

struct home {
    struct counters counters;
    struct ctx ctx;
    struct kv *kv;
    struct auth *auth;
    struct arena arena;
    struct auth_key *keys;
    size_t n;
};

static const struct auth_conf cheap = {.hash_ops = 1, .hash_memory = 8192, .cache_entries = 64};
static const struct str domain = STR_INIT("example.test");

static int set_up(void **state)
{
    static struct home home; /* one test at a time */
    home = (struct home){.ctx = {.counters = &home.counters, .clock = &clock_system}};
    home.kv = kv_mem_new(&home.ctx);
    assert_rc(auth_open(&home.ctx, home.kv, &cheap, &home.auth), RC_OK);
    assert_rc(auth_domain_add(home.auth, domain), RC_OK);
    *state = &home;
    return 0;
}

static int tear_down(void **state)
{
    struct home *h = *state;
    arena_fini(&h->arena);
    auth_close(&h->auth);
    kv_close(&h->kv);
    return 0;
}

static struct auth_key key(const char *selector, unsigned algorithm, enum auth_key_state state)
{
    return (struct auth_key){.selector = str_of(selector),
                             .algorithm = algorithm,
                             .state = state,
                             .created = 7,
                             .seal = "seal-id",
                             .public_key = STR("public"),
                             .sealed = STR("sealed")};
}

static void list(struct home *h)
{
    assert_rc(auth_keys_list(h->auth, domain, &h->arena, &h->keys, &h->n), RC_OK);
}

static size_t signing(struct home *h)
{
    assert_rc(auth_keys_signing(h->auth, domain, KV_CACHED, &h->arena, &h->keys, &h->n), RC_OK);
    return h->n;
}

static void keys_are_turned_with_overlap(void **state)
{
    struct home *h = *state;
    const struct auth_key first[] = {key("a-rsa", CRYPTO_RSA_SHA256, AUTH_KEY_SIGNING),
                                     key("a-ed", CRYPTO_ED25519, AUTH_KEY_SIGNING)};
    const struct auth_key second[] = {key("b-rsa", CRYPTO_RSA_SHA256, AUTH_KEY_WAITING)};
    list(h);
    assert_int_equal(h->n, 0);
    assert_rc(auth_keys_add(h->auth, STR("Example.TEST"), first, 2), RC_OK);
    assert_int_equal(signing(h), 2);
    assert_str(h->keys[0].sealed, "sealed");
    assert_memory_equal(h->keys[0].seal, "seal-id", 8);
    assert_rc(auth_keys_turn(h->auth, domain, 100), RC_EXISTS); /* none waits */
    assert_rc(auth_keys_add(h->auth, domain, second, 1), RC_OK);
    assert_rc(auth_keys_add(h->auth, domain, second, 1), RC_EXISTS);
    assert_int_equal(signing(h), 2); /* it waits */
    assert_rc(auth_keys_turn(h->auth, domain, 100), RC_OK);
    assert_int_equal(signing(h), 2);
    assert_str(h->keys[0].selector, "a-ed"); /* nothing took its place */
    assert_str(h->keys[1].selector, "b-rsa");
    list(h);
    assert_int_equal(h->n, 3);
    assert_int_equal(h->keys[0].state, AUTH_KEY_RETIRED);
    assert_int_equal(h->keys[0].until, 100);
    assert_str(h->keys[0].public_key, "public");
    assert_int_equal(h->keys[0].sealed.n, 0); /* its private half is gone */
    assert_rc(auth_keys_sweep(h->auth, domain, 99), RC_OK);
    list(h);
    assert_int_equal(h->n, 3);
    assert_rc(auth_keys_sweep(h->auth, domain, 100), RC_OK);
    list(h);
    assert_int_equal(h->n, 2);
    assert_rc(auth_keys_drop(h->auth, domain, STR("A-ED")), RC_OK);
    assert_rc(auth_keys_drop(h->auth, domain, STR("a-ed")), RC_EXISTS);
    assert_int_equal(signing(h), 1);
}

/* However many wait: a message gets one signature of a kind. */
static void one_key_of_a_kind_takes_over(void **state)
{
    struct home *h = *state;
    const struct auth_key keys[] = {key("a-rsa", CRYPTO_RSA_SHA256, AUTH_KEY_SIGNING),
                                    key("b-rsa", CRYPTO_RSA_SHA256, AUTH_KEY_WAITING),
                                    key("b-ed", CRYPTO_ED25519, AUTH_KEY_WAITING),
                                    key("c-rsa", CRYPTO_RSA_SHA256, AUTH_KEY_WAITING),
                                    key("c-ed", CRYPTO_ED25519, AUTH_KEY_WAITING)};
    assert_rc(auth_keys_add(h->auth, domain, keys, 5), RC_OK);
    assert_rc(auth_keys_turn(h->auth, domain, 100), RC_OK);
    assert_int_equal(signing(h), 2);
    assert_str(h->keys[0].selector, "c-rsa");
    assert_str(h->keys[1].selector, "c-ed");
    list(h);
    assert_int_equal(h->n, 5); /* the others are only shown for a while */
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(h->keys[i].state, AUTH_KEY_RETIRED);
        assert_int_equal(h->keys[i].sealed.n, 0);
    }
}

static void a_domain_chooses_its_signatures(void **state)
{
    struct home *h = *state;
    const struct auth_key keys[] = {key("a-rsa", CRYPTO_RSA_SHA256, AUTH_KEY_SIGNING),
                                    key("a-ed", CRYPTO_ED25519, AUTH_KEY_SIGNING)};
    struct auth_domain_change change = {.what = AUTH_SET_SIGNING, .signing = 1U << CRYPTO_ED25519};
    struct auth_domain d;
    assert_rc(auth_keys_add(h->auth, domain, keys, 2), RC_OK);
    assert_rc(auth_domain_show(h->auth, domain, &h->arena, &d), RC_OK);
    assert_int_equal(d.signing, AUTH_SIGNING_ALL);
    assert_rc(auth_domain_set(h->auth, domain, &change), RC_OK);
    assert_int_equal(signing(h), 1);
    assert_str(h->keys[0].selector, "a-ed");
    change.signing = 0;
    assert_rc(auth_domain_set(h->auth, domain, &change), RC_OK);
    assert_int_equal(signing(h), 0);
}

static void keys_go_with_their_domain(void **state)
{
    struct home *h = *state;
    const struct auth_key one = key("a", CRYPTO_RSA_SHA256, AUTH_KEY_SIGNING);
    assert_rc(auth_keys_add(h->auth, STR("other.test"), &one, 1), RC_NOTFOUND);
    assert_rc(auth_keys_signing(h->auth, STR("other.test"), 0, &h->arena, &h->keys, &h->n),
              RC_NOTFOUND);
    assert_rc(auth_keys_add(h->auth, domain, &one, 1), RC_OK);
    assert_rc(auth_domain_remove(h->auth, domain), RC_OK);
    assert_rc(auth_domain_add(h->auth, domain), RC_OK);
    assert_int_equal(signing(h), 0);
}

static void there_is_a_limit(void **state)
{
    struct home *h = *state;
    char name[16];
    for (int i = 0; i < AUTH_KEYS_MAX; i++) {
        snprintf(name, sizeof name, "key%d", i);
        const struct auth_key one = key(name, CRYPTO_RSA_SHA256, AUTH_KEY_WAITING);
        assert_rc(auth_keys_add(h->auth, domain, &one, 1), RC_OK);
    }
    const struct auth_key more = key("more", CRYPTO_RSA_SHA256, AUTH_KEY_WAITING);
    assert_rc(auth_keys_add(h->auth, domain, &more, 1), RC_DENIED);
}

static void the_store_has_one_seal(void **state)
{
    struct home *h = *state;
    const unsigned char one[AUTH_SEAL] = "one", two[AUTH_SEAL] = "two";
    unsigned char seal[AUTH_SEAL];
    assert_rc(auth_seal(h->auth, seal), RC_NOTFOUND);
    assert_rc(auth_seal_set(h->auth, one, false), RC_OK);
    assert_rc(auth_seal_set(h->auth, one, false), RC_OK);
    assert_rc(auth_seal_set(h->auth, two, false), RC_DENIED);
    assert_rc(auth_seal(h->auth, seal), RC_OK);
    assert_memory_equal(seal, one, AUTH_SEAL);
    assert_rc(auth_seal_set(h->auth, two, true), RC_OK);
    assert_rc(auth_seal(h->auth, seal), RC_OK);
    assert_memory_equal(seal, two, AUTH_SEAL);
}

/* --- fsck ------------------------------------------------------------------------------------- */

struct faults {
    struct auth_fsck fsck;
    char last[256];
};

static void keep_fault(struct auth_fsck *fsck, const char *line)
{
    struct faults *f = CONTAINER(fsck, struct faults, fsck);
    snprintf(f->last, sizeof f->last, "%s", line);
}

static void put(struct home *h, struct str name, struct str value)
{
    struct kv_txn *txn = kv_txn_new(auth_domain_part(domain));
    assert_rc(kv_txn_put(txn, name, value), RC_OK);
    assert_rc(kv_commit_wait(h->kv, txn, NULL), RC_OK);
}

static void fsck_looks_at_keys(void **state)
{
    struct home *h = *state;
    struct faults f = {.fsck.report = keep_fault};
    const struct auth_key one = key("a", CRYPTO_RSA_SHA256, AUTH_KEY_SIGNING);
    assert_rc(auth_keys_add(h->auth, domain, &one, 1), RC_OK);
    assert_rc(auth_fsck(h->auth, &f.fsck), RC_OK);
    put(h, STR("kexample.test"), STR("\1\2"));
    assert_rc(auth_fsck(h->auth, &f.fsck), RC_CORRUPT);
    assert_string_equal(f.last, "directory: example.test: the record of its keys is damaged");
    assert_rc(auth_keys_list(h->auth, domain, &h->arena, &h->keys, &h->n), RC_CORRUPT);
    put(h, STR("kexample.test"), STR("\1\0"));
    put(h, STR("kno.test"), STR("\1\0"));
    assert_rc(auth_fsck(h->auth, &f.fsck), RC_CORRUPT);
    assert_string_equal(f.last, "directory: no.test: keys of no domain");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(keys_are_turned_with_overlap, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_key_of_a_kind_takes_over, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_domain_chooses_its_signatures, set_up, tear_down),
        cmocka_unit_test_setup_teardown(keys_go_with_their_domain, set_up, tear_down),
        cmocka_unit_test_setup_teardown(there_is_a_limit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_store_has_one_seal, set_up, tear_down),
        cmocka_unit_test_setup_teardown(fsck_looks_at_keys, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
