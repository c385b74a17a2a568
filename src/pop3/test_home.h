/* What the tests of sessions share: a whole server in memory (kv_mem, store, auth, net), its two
 * accounts, and a client that talks over a socket pair. Not part of any library. */
#ifndef POP3_TEST_HOME_H
#define POP3_TEST_HOME_H

#include "pop3/pop3_int.h"

#include "base/mem.h"
#include "base/test.h"
#include "net/test_client.h"
#include "store/test_inbox.h"

#include <stdio.h>

struct home {
    struct counters counters;
    struct ctx ctx;
    FILE *log_file;
    struct kv *kv;
    struct store *store;
    struct auth *auth;
    struct task_lane *hash_lane, *short_lane, *heavy_lane;
    struct net *net;
    struct net_limits limits;
    struct pop3_conf conf;
    struct pop3 *pop3;
    struct net_listener listener;
    uint64_t alice, bob;
};

static inline uint64_t home_account(struct home *h, struct str address)
{
    uint64_t id;
    assert_rc(auth_account_reserve(h->auth, &id), RC_OK);
    assert_rc(store_account_create(h->store, id, (struct store_quota){0}), RC_OK);
    assert_rc(auth_account_add(h->auth, id, address, STR("pass word")), RC_OK);
    return id;
}

/* Everything but the network: the test may still change conf and limits. */
static inline void home_make(struct home *h)
{
    *h = (struct home){0};
    h->ctx = (struct ctx){.counters = &h->counters, .clock = &clock_system};
    h->log_file = tmpfile();
    h->ctx.log = log_new(fileno(h->log_file), LOG_DEBUG, &clock_system);
    h->kv = kv_mem_new(&h->ctx);
    h->hash_lane = task_lane_new("hash", 1, 64);
    h->short_lane = task_lane_new("short", 2, 1024);
    h->heavy_lane = task_lane_new("heavy", 1, 1024);
    struct auth_conf auth_conf = {.hash_lane = h->hash_lane, .hash_ops = 1, .hash_memory = 8192};
    assert_rc(auth_open(&h->ctx, h->kv, &auth_conf, &h->auth), RC_OK);
    assert_rc(store_open(&h->ctx, h->kv, &(struct store_conf){0}, &h->store), RC_OK);
    assert_rc(auth_domain_add(h->auth, STR("example.test")), RC_OK);
    h->alice = home_account(h, STR("alice@example.test"));
    h->bob = home_account(h, STR("bob@example.test"));
    h->conf = (struct pop3_conf){.store = h->store, .auth = h->auth, .plaintext_on_loopback = true};
}

static inline void home_start(struct home *h)
{
    h->pop3 = pop3_new(&h->ctx, &h->conf);
    h->net = net_new(&h->ctx, &(struct net_conf){.loops = 2,
                                                 .limits = h->limits,
                                                 .short_lane = h->short_lane,
                                                 .heavy_lane = h->heavy_lane});
    h->listener.fd = -1;
    h->listener.proto = &pop3_proto;
    h->listener.app = h->pop3;
    net_start(h->net);
}

static inline void home_end(struct home *h)
{
    if (h->net)
        net_stop(h->net);
    task_lane_free(&h->hash_lane);
    task_lane_free(&h->short_lane);
    task_lane_free(&h->heavy_lane);
    store_close(&h->store);
    auth_close(&h->auth);
    kv_close(&h->kv); /* its threads wake sessions, and may still be at it */
    if (h->net)
        net_free(&h->net);
    if (h->pop3)
        pop3_free(&h->pop3);
    log_free(&h->ctx.log);
    fclose(h->log_file);
}

/* --- mail ------------------------------------------------------------------------------------- */

/* Puts the same message into an INBOX, `times` times. */
static inline void home_deliver_many(struct home *h, uint64_t id, struct str text, size_t times)
{
    inbox_fill(h->kv, h->store, id, text, 1, times);
}

static inline void home_deliver(struct home *h, uint64_t id, const char *text)
{
    home_deliver_many(h, id, str_of(text), 1);
}

static inline size_t home_count(struct home *h, uint64_t id)
{
    return inbox_count(h->store, id);
}

/* --- a client --------------------------------------------------------------------------------- */

enum { ANSWER_LINE = 512 }; /* [RFC1939 3] */

static inline int home_connect(struct home *h)
{
    return client_open(h->net, &h->listener);
}

#define GREETING "S: +OK Penfold POP3 ready\n"
#define LOGIN    "C: USER alice@example.test\nS: +OK send PASS\nC: PASS pass word\n"

/* A session as alice. */
static inline int client_login(struct home *h, const char *answer)
{
    int fd = home_connect(h);
    client_talk(fd, GREETING LOGIN, 1 << 20);
    client_talk(fd, answer, 1 << 20);
    return fd;
}

/* A dialogue as it is, a byte at a time, and with nothing in memory that could be read at once. */
static inline void talk(struct home *h, const char *script)
{
    for (int round = 0; round < 3; round++) {
        kv_mem_cold(h->kv, round == 2);
        int fd = home_connect(h);
        client_talk(fd, script, round == 1 ? 1 : 1 << 20);
        client_expect_end(fd);
        while (net_count(h->net))
            usleep(1000);
    }
    kv_mem_cold(h->kv, false);
}

/* --- of a test -------------------------------------------------------------------------------- */

static inline int home_set_up(void **state)
{
    static struct home home; /* one test at a time */
    home_make(&home);
    *state = &home;
    return 0;
}

static inline int home_tear_down(void **state)
{
    home_end(*state);
    return 0;
}

#endif
