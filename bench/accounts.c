/* Accounts for a benchmark, faster than an administrator's command each.
 *
 *   accounts DATA DOMAIN FIRST COUNT PASSWORD
 *
 * Adds u0000@DOMAIN and those that follow to the data folder of a server that is stopped: the ids,
 * the mailboxes and the addresses as the command makes them, but with the cheapest hash. */
#include "auth/auth.h"
#include "store/store.h"

#include <stdio.h>

struct plan {
    struct auth *auth;
    struct store *store;
    struct str domain, password;
    uint64_t first, count;
};

static enum rc add(const struct plan *p, uint64_t number)
{
    char address[320];
    uint64_t id;
    snprintf(address, sizeof address, "u%04llu@%.*s", (unsigned long long)number, (int)p->domain.n,
             p->domain.p);
    TRY(auth_account_reserve(p->auth, &id));
    TRY(store_account_create(p->store, id, (struct store_quota){0}));
    return auth_account_add(p->auth, id, str_of(address), p->password);
}

static enum rc add_all(struct plan *p, const struct ctx *ctx, const char *path)
{
    const struct kv_local_conf kv_conf = {.path = path};
    const struct store_conf store_conf = {0};
    const struct auth_conf auth_conf = {.hash_ops = 1, .hash_memory = 8192};
    struct kv *kv = NULL;
    enum rc rc = kv_local_open(ctx, &kv_conf, &kv);
    if (rc == RC_OK)
        rc = store_open(ctx, kv, &store_conf, &p->store);
    if (rc == RC_OK)
        rc = auth_open(ctx, kv, &auth_conf, &p->auth);
    for (uint64_t i = 0; rc == RC_OK && i < p->count; i++)
        rc = add(p, p->first + i);
    auth_close(&p->auth);
    store_close(&p->store);
    kv_close(&kv);
    return rc;
}

int main(int argc, char **argv)
{
    struct plan p = {0};
    if (argc != 6 || str_to_u64(str_of(argv[3]), &p.first) != RC_OK ||
        str_to_u64(str_of(argv[4]), &p.count) != RC_OK) {
        fprintf(stderr, "usage: accounts DATA DOMAIN FIRST COUNT PASSWORD\n");
        return 2;
    }
    p.domain = str_of(argv[2]);
    p.password = str_of(argv[5]);
    struct counters counters = {0};
    struct log *log = log_new(2, LOG_WARNING, &clock_system);
    struct ctx ctx = {log, &counters, &clock_system};
    enum rc rc = add_all(&p, &ctx, argv[1]);
    if (rc != RC_OK)
        fprintf(stderr, "accounts: %s: %s\n", argv[1], rc_name(rc));
    log_free(&log);
    return rc == RC_OK ? 0 : 1;
}
