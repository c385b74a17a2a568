/* saslbench [LOGINS]: what a SCRAM-SHA-256 login costs the server beyond TLS and the protocol's
 * lines: the CPU time of its three steps over a directory in memory. The client's part, PBKDF2, is
 * computed outside of what is counted; nothing on the server's side derives a key. */
#include "auth/login_int.h"

#include "base/base64.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const struct str address = STR_INIT("alice@example.test");

static uint64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * NS_PER_SEC + (uint64_t)t.tv_nsec;
}

static void demand(bool is_so, const char *what)
{
    if (is_so)
        return;
    fprintf(stderr, "saslbench: %s\n", what);
    exit(1);
}

static void never(struct auth_login *login)
{
    demand(false, "a login by SCRAM has waited");
}

struct client {
    unsigned char key[CRYPTO_HASH_MAX], stored[CRYPTO_HASH_MAX];
    bool has_key; /* salt and iterations stay the same */
};

static void derive(struct client *c, struct str salt, uint32_t iterations)
{
    unsigned char salted[CRYPTO_HASH_MAX];
    struct buf bytes = {.cap = 64};
    demand(base64_decode(&bytes, salt) == RC_OK, "salt");
    demand(crypto_pbkdf2(CRYPTO_SHA_256, STR("pencil"), buf_str(&bytes), iterations, salted) ==
               RC_OK,
           "PBKDF2");
    crypto_hmac_sha256(str_from(salted, 32), STR("Client Key"), c->key);
    crypto_sha256(str_from(c->key, 32), c->stored);
    c->has_key = true;
    buf_fini(&bytes);
}

/* The answer to the server's first message. */
static void prove(struct client *c, struct str challenge, struct buf *out)
{
    struct buf first = {.cap = 1024}, message = {.cap = 2048}, final = {.cap = 1024},
               proof = {.cap = 64};
    unsigned char signature[CRYPTO_SHA256];
    struct str rest, nonce, salt;
    demand(base64_decode(&first, challenge) == RC_OK, "challenge");
    rest = buf_str(&first);
    demand(str_cut(&rest, ',', &nonce) && str_cut(&rest, ',', &salt), "first message");
    if (!c->has_key)
        derive(c, str_skip(salt, 2), (uint32_t)strtoul(rest.p + 2, NULL, 10));
    buf_putf(&final, "c=biws,%.*s", STR_ARG(nonce));
    buf_putf(&message, "n=%.*s,r=abcdefghijklmnopqrstuvwx,%.*s,%.*s", STR_ARG(address),
             STR_ARG(buf_str(&first)), STR_ARG(buf_str(&final)));
    crypto_hmac_sha256(str_from(c->stored, 32), buf_str(&message), signature);
    for (size_t i = 0; i < sizeof signature; i++)
        signature[i] ^= c->key[i];
    demand(base64_encode(&proof, str_from(signature, sizeof signature)) == RC_OK, "proof");
    buf_putf(&final, ",p=%.*s", STR_ARG(buf_str(&proof)));
    buf_clear(out);
    demand(base64_encode(out, buf_str(&final)) == RC_OK, "final message");
    buf_fini(&first);
    buf_fini(&message);
    buf_fini(&final);
    buf_fini(&proof);
}

static uint64_t log_in(struct auth *auth, struct client *c, struct str first)
{
    struct buf challenge = {.cap = AUTH_CHALLENGE_MAX}, line = {.cap = 2048};
    struct auth_exchange x = {
        .auth = auth,
        .channel = {.path = AUTH_IN_TLS},
        .login = {
            .done = never, .protocol = "imap", .peer = STR("192.0.2.1"), .session = STR("s1")}};
    uint64_t begin = cpu_ns();
    demand(auth_exchange_begin(&x, STR("SCRAM-SHA-256"), first, &challenge) == AUTH_ASK,
           "first step");
    uint64_t used = cpu_ns() - begin;
    prove(c, buf_str(&challenge), &line);
    buf_clear(&challenge);
    begin = cpu_ns();
    demand(auth_exchange_line(&x, buf_str(&line), &challenge) == AUTH_ASK, "second step");
    demand(auth_exchange_line(&x, STR(""), &challenge) == AUTH_DECIDED && x.login.rc == RC_OK,
           "third step");
    auth_exchange_end(&x);
    used += cpu_ns() - begin;
    buf_fini(&challenge);
    buf_fini(&line);
    return used;
}

int main(int argc, char **argv)
{
    size_t n = argc > 1 ? strtoul(argv[1], NULL, 10) : 20000;
    struct counters counters = {0};
    struct ctx ctx = {.counters = &counters, .clock = &clock_system};
    struct client client = {0};
    struct buf first = {.cap = 256}, text = {.cap = 256};
    struct auth *auth;
    uint64_t id, used = 0;
    struct kv *kv = kv_mem_new(&ctx);
    ctx.log = log_new(2, LOG_ERROR, ctx.clock);
    const struct auth_conf conf = {.hash_ops = 1, .hash_memory = 8192};
    demand(auth_open(&ctx, kv, &conf, &auth) == RC_OK &&
               auth_domain_add(auth, STR("example.test")) == RC_OK,
           "directory");
    demand(auth_account_reserve(auth, &id) == RC_OK &&
               auth_account_add(auth, id, address, STR("pencil")) == RC_OK,
           "account");
    buf_putf(&text, "n,,n=%.*s,r=abcdefghijklmnopqrstuvwx", STR_ARG(address));
    demand(base64_encode(&first, buf_str(&text)) == RC_OK, "first message");
    for (size_t i = 0; i < n / 10; i++)
        log_in(auth, &client, buf_str(&first));
    for (size_t i = 0; i < n; i++)
        used += log_in(auth, &client, buf_str(&first));
    printf("%zu logins by SCRAM-SHA-256: %.1f us of CPU each\n", n,
           (double)used / (double)n / 1000);
    buf_fini(&first);
    buf_fini(&text);
    auth_close(&auth);
    kv_close(&kv);
    log_free(&ctx.log);
    return 0;
}
