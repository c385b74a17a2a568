/* The lookup of a recipient alone: what RCPT costs the directory, without a network.
 *
 *   rcptlookup DIR [accounts [domains [seconds]]]
 *
 * Makes the accounts in an empty DIR when they are not there (the ids, the mailboxes and the
 * addresses, each as an administrator's command would, but with the cheapest hash), then looks up
 * random addresses: all of them so that most come from the store, then as many as the cache holds.
 * Prints processor time a lookup, and how long opening takes. */
#include "auth/auth.h"
#include "store/store.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

struct bench {
    struct kv *kv;
    struct store *store;
    struct auth *auth;
    unsigned accounts, domains;
};

static uint64_t next_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

static double cpu_us(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e6 +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

static double now_ms(void)
{
    return (double)clock_mono(&clock_system) / 1e6;
}

static void address_of(const struct bench *b, unsigned n, char out[64])
{
    snprintf(out, 64, "user%u@domain%u.test", n, n % b->domains);
}

static enum rc open_all(struct bench *b, const struct ctx *ctx, const char *path)
{
    const struct kv_local_conf kv = {.path = path};
    const struct store_conf store = {0};
    const struct auth_conf auth = {.hash_ops = 1, .hash_memory = 8192};
    TRY(kv_local_open(ctx, &kv, &b->kv));
    TRY(store_open(ctx, b->kv, &store, &b->store));
    return auth_open(ctx, b->kv, &auth, &b->auth);
}

static void close_all(struct bench *b)
{
    auth_close(&b->auth);
    store_close(&b->store);
    kv_close(&b->kv);
}

static enum rc make_accounts(struct bench *b)
{
    char text[64];
    for (unsigned i = 0; i < b->domains; i++) {
        snprintf(text, sizeof text, "domain%u.test", i);
        TRY(auth_domain_add(b->auth, str_of(text)));
    }
    for (unsigned i = 0; i < b->accounts; i++) {
        uint64_t id;
        address_of(b, i, text);
        TRY(auth_account_reserve(b->auth, &id));
        TRY(store_account_create(b->store, id, (struct store_quota){0}));
        TRY(auth_account_add(b->auth, id, str_of(text), STR("bench")));
    }
    return RC_OK;
}

/* Of the first `among` accounts. */
static void look_up(struct bench *b, const char *what, unsigned among, unsigned seconds)
{
    uint64_t seed = 0x9e3779b97f4a7c15U, n = 0, failed = 0;
    struct arena arena = {0};
    struct auth_targets targets;
    char text[64];
    for (unsigned i = 0; i < among; i++) { /* once each: what a running server has seen */
        address_of(b, i, text);
        failed += auth_resolve(b->auth, str_of(text), 0, &arena, &targets) != RC_OK;
        arena_reset(&arena);
    }
    double until = now_ms() + seconds * 1e3, cpu = cpu_us();
    while (now_ms() < until) {
        for (int i = 0; i < 1000; i++) {
            address_of(b, (unsigned)(next_random(&seed) % among), text);
            failed += auth_resolve(b->auth, str_of(text), 0, &arena, &targets) != RC_OK;
            arena_reset(&arena);
        }
        n += 1000;
    }
    printf("%s, %u of %u accounts: %.2f CPU-us/lookup, %llu lookups, %llu failed\n", what, among,
           b->accounts, (cpu_us() - cpu) / (double)n, (unsigned long long)n,
           (unsigned long long)failed);
    arena_fini(&arena);
}

static unsigned number_at(int argc, char **argv, int i, unsigned fallback)
{
    uint64_t n;
    return i < argc && str_to_u64(str_of(argv[i]), &n) == RC_OK && n > 0 && n < UINT32_MAX
               ? (unsigned)n
               : fallback;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: rcptlookup DIR [accounts [domains [seconds]]]\n");
        return 2;
    }
    struct counters counters = {0};
    struct log *log = log_new(2, LOG_WARNING, &clock_system);
    struct ctx ctx = {log, &counters, &clock_system};
    struct bench b = {.accounts = number_at(argc, argv, 2, 100000),
                      .domains = number_at(argc, argv, 3, 100)};
    uint64_t first;
    size_t n = 0;
    double from = now_ms();
    enum rc rc = open_all(&b, &ctx, argv[1]);
    printf("open %.1f ms\n", now_ms() - from);
    if (rc == RC_OK)
        rc = auth_account_ids(b.auth, 0, &first, 1, &n);
    if (rc == RC_OK && n == 0) {
        from = now_ms();
        rc = make_accounts(&b);
        printf("made %u accounts in %u domains: %.1f s\n", b.accounts, b.domains,
               (now_ms() - from) / 1e3);
    }
    if (rc != RC_OK) {
        fprintf(stderr, "rcptlookup: %s: %s\n", argv[1], rc_name(rc));
        return 1;
    }
    look_up(&b, "mostly from the store", b.accounts, number_at(argc, argv, 4, 5));
    look_up(&b, "from the cache", b.accounts < 5000 ? b.accounts : 5000,
            number_at(argc, argv, 4, 5));
    close_all(&b);
    log_free(&log);
    return 0;
}
