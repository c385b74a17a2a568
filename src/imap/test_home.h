/* What the tests of sessions share: a whole server in memory (kv_mem, store, auth, net), its two
 * accounts, and a client that talks over a socket pair. Not part of any library. */
#ifndef IMAP_TEST_HOME_H
#define IMAP_TEST_HOME_H

#include "imap/imap_int.h"

#include "base/mem.h"
#include "base/test.h"
#include "net/test_client.h"
#include "store/test_inbox.h"

#include <stdio.h>
#include <stdlib.h>

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
    struct imap_conf conf;
    struct mime_charsets *charsets;
    struct imap *imap;
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
    unsigned missing;
    mime_charsets_new(&h->charsets, &missing);
    h->conf = (struct imap_conf){.store = h->store,
                                 .auth = h->auth,
                                 .kv = h->kv,
                                 .charsets = h->charsets,
                                 .plaintext_on_loopback = true};
}

static inline void home_start(struct home *h)
{
    h->imap = imap_new(&h->ctx, &h->conf);
    h->net = net_new(&h->ctx, &(struct net_conf){.loops = 2,
                                                 .limits = h->limits,
                                                 .short_lane = h->short_lane,
                                                 .heavy_lane = h->heavy_lane});
    h->listener.fd = -1;
    h->listener.proto = &imap_proto;
    h->listener.app = h->imap;
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
    if (h->imap)
        imap_free(&h->imap);
    mime_charsets_free(&h->charsets);
    log_free(&h->ctx.log);
    fclose(h->log_file);
}

/* --- mail ------------------------------------------------------------------------------------- */

/* Puts the same message into an INBOX, `times` times. It came on 2 January 2001, 03:04:05. */
static inline void home_deliver_many(struct home *h, uint64_t id, struct str text, size_t times)
{
    inbox_fill(h->kv, h->store, id, text, 978404645 * NS_PER_SEC, times);
}

static inline void home_deliver(struct home *h, uint64_t id, const char *text)
{
    home_deliver_many(h, id, str_of(text), 1);
}

static inline struct store_account *home_open(struct home *h, uint64_t id, uint32_t *out_inbox)
{
    struct store_account *account;
    assert_rc(store_account_open(h->store, id, 0, &account), RC_OK);
    assert_rc(store_mailbox_by_role(account, STORE_INBOX, out_inbox), RC_OK);
    return account;
}

/* What somebody else does to messages of an INBOX. */
static inline void home_flag(struct home *h, uint64_t id, uint32_t uid, uint32_t flags)
{
    struct inbox_op o;
    uint32_t inbox;
    struct store_account *account = home_open(h, id, &inbox);
    struct store_flag_change change = {.mailbox = inbox,
                                       .uids = &uid,
                                       .n_uids = 1,
                                       .how = STORE_FLAGS_ADD,
                                       .flags = flags,
                                       .unchanged_since = UINT64_MAX};
    inbox_op_init(&o);
    assert_rc(store_change_flags(account, &change, 0, &o.op), RC_OK);
    inbox_op_wait(&o);
    store_account_close(&account);
}

static inline void home_expunge(struct home *h, uint64_t id, uint32_t uid)
{
    inbox_expunge(h->store, id, &uid, 1);
}

/* The flags of a message in an INBOX as they are stored. */
static inline uint32_t home_flags(struct home *h, uint64_t id, uint32_t uid)
{
    struct inbox in = inbox_open(h->store, id);
    const struct store_row *row = store_root_at(in.root, store_root_find(in.root, uid));
    assert_int_equal(row->uid, uid);
    uint32_t flags = row->flags;
    inbox_close(&in);
    return flags;
}

static inline void home_report(struct store_fsck *fsck, const char *line)
{
    print_error("%s\n", line);
}

static inline void home_report_kv(struct kv_fsck *fsck, const char *line)
{
    print_error("%s\n", line);
}

/* Every counter, reference and index of an account is what its messages say. */
static inline void home_assert_sound(struct home *h, uint64_t id)
{
    struct store_fsck fsck = {.report = home_report};
    struct kv_fsck kv = {.report = home_report_kv};
    assert_rc(store_fsck(h->store, id, &fsck), RC_OK);
    assert_rc(kv_fsck(h->kv, &kv), RC_OK);
}

/* --- a test that is handed a home, and leaves it sound --------------------------------------- */

static inline int home_set_up(void **state)
{
    struct home *h = mem_zero(sizeof *h);
    home_make(h);
    home_start(h);
    *state = h;
    return 0;
}

static inline int home_tear_down(void **state)
{
    struct home *h = *state;
    home_assert_sound(h, h->alice);
    home_end(h);
    free(h);
    return 0;
}

#define HOME_TEST(test) cmocka_unit_test_setup_teardown(test, home_set_up, home_tear_down)

/* --- a client --------------------------------------------------------------------------------- */

static inline int home_connect(struct home *h)
{
    return client_open(h->net, &h->listener);
}

/* A session as alice. */
static inline int client_login(struct home *h)
{
    int fd = home_connect(h);
    client_talk(fd,
                "P: * OK [CAPABILITY IMAP4rev1 \n"
                "C: l LOGIN alice@example.test \"pass word\"\n"
                "P: l OK [CAPABILITY IMAP4rev1 \n",
                1 << 20);
    return fd;
}

/* The same with the INBOX selected. */
static inline int client_select(struct home *h, const char *verb)
{
    int fd = client_login(h);
    struct buf command = {.cap = 100};
    buf_putf(&command, "s %s INBOX\r\n", verb);
    client_send(fd, buf_str(&command));
    buf_fini(&command);
    client_until(fd, STR("s OK"));
    return fd;
}

static inline int client_with_messages(struct home *h, size_t n)
{
    home_deliver_many(h, h->alice, STR("Subject: x\r\n\r\nx\r\n"), n);
    return client_select(h, "SELECT");
}

#endif
