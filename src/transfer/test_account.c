/* An account as a sink: what is given is there, once, whatever happens on the way; what cannot be
 * taken is told, and the rest goes on. */
#include "store/fixture.h"
#include "transfer/transfer_int.h"

#include <stdio.h>
#include <string.h>

struct told {
    struct transfer_watch watch;
    unsigned refused, noted;
    char last[1300];
};

static void told(struct transfer_watch *watch, struct str label, bool is_refused, struct str why)
{
    struct told *t = CONTAINER(watch, struct told, watch);
    t->refused += is_refused;
    t->noted += !is_refused;
    snprintf(t->last, sizeof t->last, "%.*s: %.*s", STR_ARG(label), STR_ARG(why));
}

static struct transfer_sink *open_sink(struct fixture *f, struct told *t, size_t batch)
{
    struct transfer_sink *sink;
    *t = (struct told){.watch.told = told};
    const struct transfer_into into = {
        .kv = f->kv,
        .store = f->store,
        .ctx = &f->ctx,
        .account = 1,
        .name = STR("test"),
        .limits = {.batch = (uint32_t)batch, .message_size = 1 << 20},
        .watch = &t->watch};
    assert_rc(transfer_into_account(&into, &sink), RC_OK);
    return sink;
}

static unsigned open_folder(struct transfer_sink *sink, const char *name, enum store_role role)
{
    unsigned n;
    const struct transfer_folder folder = {
        .name = str_of(name), .role = role, .is_subscribed = true};
    assert_rc(transfer_folder(sink, &folder, &n), RC_OK);
    return n;
}

/* Message number i of a source, unless it is there. */
static bool give(struct transfer_sink *sink, unsigned folder, unsigned i, size_t size)
{
    char label[32], head[64];
    unsigned char origin[TRANSFER_ORIGIN];
    const struct str keyword = STR("$Label1");
    snprintf(label, sizeof label, "message %u", i);
    struct str part = str_of(label);
    transfer_origin(&part, 1, origin);
    struct transfer_message m = {.label = str_of(label),
                                 .origin = str_from(origin, sizeof origin),
                                 .received = (1000 + i) * NS_PER_SEC,
                                 .flags = i % 2 ? STORE_SEEN : 0,
                                 .keywords = &keyword,
                                 .n_keywords = i % 3 == 0};
    if (transfer_has(sink, m.origin))
        return false;
    assert_rc(transfer_begin(sink, folder, &m), RC_OK);
    snprintf(head, sizeof head, "Message-ID: <%u@x>\r\n\r\nbody\r\n", i);
    assert_rc(transfer_bytes(sink, str_of(head)), RC_OK);
    for (size_t n = strlen(head); n < size; n += 8)
        assert_rc(transfer_bytes(sink, STR("xxxxxx\r\n")), RC_OK);
    assert_rc(transfer_end(sink), RC_OK);
    return true;
}

static struct transfer_counts counts_of(struct transfer_sink *sink)
{
    struct transfer_counts c;
    transfer_counts(sink, &c);
    return c;
}

static void what_is_given_is_there(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    struct store_root *root;
    struct told t;
    struct transfer_sink *sink = open_sink(f, &t, 0);
    unsigned inbox = open_folder(sink, "INBOX", STORE_NONE);
    unsigned lists = open_folder(sink, "Lists/C", STORE_NONE);
    unsigned sent = open_folder(sink, "Gesendet", STORE_SENT);
    for (unsigned i = 0; i < 1200; i++)
        assert_true(give(sink, i < 1100 ? inbox : i < 1150 ? lists : sent, i, 0));
    assert_rc(transfer_finish(sink), RC_OK);
    struct transfer_counts c = counts_of(sink);
    assert_int_equal(c.messages, 1200);
    assert_int_equal(c.folders, 1);
    assert_int_equal(c.refused, 0);
    transfer_sink_free(&sink);
    assert_rc(store_mailbox_open(a, 1, 0, &root), RC_OK);
    assert_int_equal(store_root_count(root), 1100);
    for (size_t i = 0; i < 1100; i++) {
        const struct store_row *row = store_root_at(root, i);
        assert_int_equal(row->received, (1000 + i) * NS_PER_SEC);
        assert_int_equal(row->flags, i % 2 ? STORE_SEEN : 0);
        assert_int_equal(row->keywords != 0, i % 3 == 0);
    }
    store_root_release(&root);
    assert_int_equal(fixture_mailbox(a, fixture_find(a, "Lists/C")).exists, 50);
    assert_int_equal(fixture_mailbox(a, fixture_find(a, "Sent")).exists, 50);
    assert_int_equal(fixture_find(a, "Gesendet"), 0);
    bool is_subscribed;
    assert_rc(store_is_subscribed(a, STR("Lists/C"), 0, &is_subscribed), RC_OK);
    assert_true(is_subscribed);
    fixture_close(f, &a);
    fixture_assert_sound(f, 1);
}

/* Stopped at whatever message, with what has not been waited for lost or not, and begun again. */
static void begun_again_it_doubles_nothing(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    enum { N = 300 };
    for (unsigned stop = 7; stop < N + 100; stop += 61) {
        struct told t;
        struct transfer_sink *sink = open_sink(f, &t, 16);
        unsigned inbox = open_folder(sink, "INBOX", STORE_NONE), given = 0;
        for (unsigned i = 0; i < N && given < stop; i++)
            given += give(sink, inbox, i, 0);
        transfer_sink_free(&sink); /* without transfer_finish */
        if (stop % 2) {
            fixture_close(f, &a);
            fixture_reopen(f);
            a = fixture_open(f, 1);
        }
    }
    struct told t;
    struct transfer_sink *sink = open_sink(f, &t, 16);
    unsigned inbox = open_folder(sink, "INBOX", STORE_NONE);
    for (unsigned i = 0; i < N; i++)
        give(sink, inbox, i, 0);
    assert_rc(transfer_finish(sink), RC_OK);
    for (unsigned i = 0; i < N; i++)
        assert_false(give(sink, inbox, i, 0));
    transfer_sink_free(&sink);
    assert_int_equal(fixture_mailbox(a, 1).exists, N);
    fixture_close(f, &a);
    fixture_assert_sound(f, 1);
}

static void over_quota_the_small_ones_come_in(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    struct told t;
    assert_rc(store_account_set_quota(a, (struct store_quota){.messages = 100}), RC_OK);
    struct transfer_sink *sink = open_sink(f, &t, 64);
    unsigned inbox = open_folder(sink, "INBOX", STORE_NONE);
    for (unsigned i = 0; i < 130; i++)
        give(sink, inbox, i, 0);
    assert_rc(transfer_finish(sink), RC_OK);
    assert_int_equal(counts_of(sink).messages, 100);
    assert_int_equal(counts_of(sink).refused, 30);
    assert_int_equal(t.refused, 30);
    assert_non_null(strstr(t.last, "quota"));
    transfer_sink_free(&sink);
    assert_int_equal(fixture_mailbox(a, 1).exists, 100);
    assert_rc(store_account_set_quota(a, (struct store_quota){0}), RC_OK);
    sink = open_sink(f, &t, 64); /* those that were refused are not noted */
    inbox = open_folder(sink, "INBOX", STORE_NONE);
    for (unsigned i = 0; i < 130; i++)
        give(sink, inbox, i, 0);
    assert_rc(transfer_finish(sink), RC_OK);
    assert_int_equal(counts_of(sink).messages, 30);
    transfer_sink_free(&sink);
    assert_int_equal(fixture_mailbox(a, 1).exists, 130);
    fixture_close(f, &a);
    fixture_assert_sound(f, 1);
}

static void one_that_cannot_be_taken_is_told(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    struct told t;
    struct transfer_sink *sink = open_sink(f, &t, 0);
    unsigned inbox = open_folder(sink, "INBOX", STORE_NONE);
    unsigned bad = open_folder(sink, "a//b", STORE_NONE);
    assert_string_equal(t.last, "a//b: a level of its name is empty");
    give(sink, bad, 1, 0);
    assert_string_equal(t.last, "message 1: its folder could not be taken");
    give(sink, inbox, 2, 2 << 20);
    assert_string_equal(t.last, "message 2: it is larger than limits { message_size } allows");
    give(sink, inbox, 3, 300 << 10); /* in a file of its own */
    struct transfer_message m = {.label = STR("empty")};
    assert_rc(transfer_begin(sink, inbox, &m), RC_OK);
    assert_rc(transfer_end(sink), RC_OK);
    assert_string_equal(t.last, "empty: it is empty");
    m.label = STR("torn");
    assert_rc(transfer_begin(sink, inbox, &m), RC_OK);
    assert_rc(transfer_bytes(sink, STR("Subject")), RC_OK);
    assert_rc(transfer_give_up(sink, STR("Input/output error")), RC_OK);
    assert_string_equal(t.last, "torn: Input/output error");
    assert_rc(transfer_finish(sink), RC_OK);
    assert_int_equal(counts_of(sink).refused, 5);
    assert_int_equal(counts_of(sink).messages, 1);
    transfer_sink_free(&sink);
    assert_int_equal(fixture_mailbox(a, 1).exists, 1);
    fixture_close(f, &a);
    fixture_assert_sound(f, 1);
}

static void give_uidl(struct transfer_sink *sink, unsigned folder, const char *uidl)
{
    const struct transfer_message m = {.label = str_of(uidl), .uidl = str_of(uidl)};
    assert_rc(transfer_begin(sink, folder, &m), RC_OK);
    assert_rc(transfer_bytes(sink, STR("Subject: x\r\n\r\n")), RC_OK);
    assert_rc(transfer_end(sink), RC_OK);
}

/* [RFC1939 7] no two of a maildrop are the same */
static void unique_ids_stay_unique(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    struct store_uidl *all;
    struct arena arena = {0};
    struct told t;
    char own[32];
    size_t n;
    snprintf(own, sizeof own, "%08x%08x", fixture_mailbox(a, 1).uidvalidity, 77);
    struct transfer_sink *sink = open_sink(f, &t, 0);
    unsigned inbox = open_folder(sink, "INBOX", STORE_NONE);
    unsigned other = open_folder(sink, "Other", STORE_NONE);
    give_uidl(sink, inbox, "0000001250c3b5f1");
    give_uidl(sink, other, "elsewhere");
    assert_int_equal(t.noted, 0);
    give_uidl(sink, inbox, "0000001250c3b5f1");
    give_uidl(sink, inbox, own);
    give_uidl(sink, inbox, "a b");
    assert_int_equal(t.noted, 3);
    assert_rc(transfer_finish(sink), RC_OK);
    transfer_sink_free(&sink);
    sink = open_sink(f, &t, 0); /* known from the store now */
    inbox = open_folder(sink, "INBOX", STORE_NONE);
    give_uidl(sink, inbox, "0000001250c3b5f1");
    assert_int_equal(t.noted, 1);
    transfer_sink_free(&sink);
    assert_rc(store_uidls(a, 1, 0, 0, &arena, &all, &n), RC_OK);
    assert_int_equal(n, 1);
    assert_int_equal(all[0].uid, 1);
    arena_fini(&arena);
    fixture_close(f, &a);
    fixture_assert_sound(f, 1);
}

static void one_at_a_time(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    struct transfer_sink *second;
    struct told t;
    struct transfer_sink *sink = open_sink(f, &t, 0);
    struct transfer_into into = {
        .kv = f->kv, .store = f->store, .ctx = &f->ctx, .account = 1, .name = STR("other")};
    assert_rc(transfer_into_account(&into, &second), RC_CONFLICT);
    into.account = 2;
    assert_rc(transfer_into_account(&into, &second), RC_NOTFOUND);
    transfer_sink_free(&sink);
    into.account = 1;
    assert_rc(transfer_into_account(&into, &second), RC_OK);
    transfer_sink_free(&second);
    fixture_close(f, &a);
}

static void keywords_over_the_limit_are_left_out(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    struct told t;
    char name[16];
    struct transfer_sink *sink = open_sink(f, &t, 0);
    unsigned inbox = open_folder(sink, "INBOX", STORE_NONE);
    for (unsigned i = 0; i < STORE_KEYWORDS + 5; i++) {
        snprintf(name, sizeof name, "k%u", i);
        const struct str keywords[] = {str_of(name), STR("bad keyword")};
        const struct transfer_message m = {
            .label = str_of(name), .keywords = keywords, .n_keywords = i ? 1 : 2};
        assert_rc(transfer_begin(sink, inbox, &m), RC_OK);
        assert_rc(transfer_bytes(sink, STR("Subject: x\r\n\r\n")), RC_OK);
        assert_rc(transfer_end(sink), RC_OK);
    }
    assert_rc(transfer_finish(sink), RC_OK);
    assert_int_equal(t.noted, 2); /* a bad one, and the limit once */
    assert_int_equal(counts_of(sink).messages, STORE_KEYWORDS + 5);
    transfer_sink_free(&sink);
    fixture_close(f, &a);
    fixture_assert_sound(f, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BOTH(what_is_given_is_there),
        ON_LOCAL(begun_again_it_doubles_nothing),
        ON_BOTH(over_quota_the_small_ones_come_in),
        ON_BOTH(one_that_cannot_be_taken_is_told),
        ON_MEM(unique_ids_stay_unique),
        ON_MEM(one_at_a_time),
        ON_MEM(keywords_over_the_limit_are_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
