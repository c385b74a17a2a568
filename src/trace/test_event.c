/* An event as bytes: all that it says comes back, whatever strangers have put into it. */
#include "base/test.h"

#include "base/random.h"
#include "base/utf8.h"
#include "trace/trace_int.h"

#include <stdio.h>

static void all_of_it_comes_back(void **state)
{
    unsigned char mem[TRACE_EVENT_MAX];
    struct arena arena = {0};
    const struct str sender = STR("alice@example.org"),
                     to[] = {STR_INIT("bob@example.net"), STR_INIT("carol@example.net")};
    const struct trace_event e = {.what = TRACE_ACCEPTED,
                                  .time = 1234567890,
                                  .id = STR("0123456789abcdef"),
                                  .message_id = STR("m1@example.org"),
                                  .sender = &sender,
                                  .to = to,
                                  .n_to = 2,
                                  .peer = STR("client [192.0.2.7]"),
                                  .session = STR("s1"),
                                  .login = STR("alice@example.org"),
                                  .tls = STR("TLSv1.3"),
                                  .checks = STR("sender=own"),
                                  .size = 4096,
                                  .host = STR("mx.example.net[192.0.2.1]"),
                                  .reply = STR("250 2.0.0 ok"),
                                  .mailbox = STR("bob@example.net 17"),
                                  .due = 77,
                                  .other = STR("x")};
    struct trace_event back;
    assert_rc(trace_event_unpack(trace_event_pack(&e, mem), &arena, &back), RC_OK);
    assert_int_equal(back.what, TRACE_ACCEPTED);
    assert_int_equal(back.time, e.time);
    assert_int_equal(back.size, e.size);
    assert_int_equal(back.due, e.due);
    assert_int_equal(back.n_to, 2);
    assert_true(str_eq(back.to[1], to[1]) && str_eq(*back.sender, sender));
    assert_true(str_eq(back.id, e.id) && str_eq(back.message_id, e.message_id));
    assert_true(str_eq(back.peer, e.peer) && str_eq(back.session, e.session));
    assert_true(str_eq(back.login, e.login) && str_eq(back.tls, e.tls));
    assert_true(str_eq(back.checks, e.checks) && str_eq(back.host, e.host));
    assert_true(str_eq(back.reply, e.reply) && str_eq(back.mailbox, e.mailbox));
    assert_true(str_eq(back.other, e.other));
    arena_fini(&arena);
    (void)state;
}

static void the_null_sender_is_not_no_sender(void **state)
{
    unsigned char mem[TRACE_EVENT_MAX];
    struct arena arena = {0};
    const struct str null_sender = STR("");
    struct trace_event e = {.what = TRACE_ACCEPTED}, back;
    assert_rc(trace_event_unpack(trace_event_pack(&e, mem), &arena, &back), RC_OK);
    assert_null(back.sender);
    e.sender = &null_sender;
    assert_rc(trace_event_unpack(trace_event_pack(&e, mem), &arena, &back), RC_OK);
    assert_non_null(back.sender);
    assert_int_equal(back.sender->n, 0);
    arena_fini(&arena);
    (void)state;
}

static void hostile_words_are_harmless(void **state)
{
    unsigned char mem[TRACE_EVENT_MAX];
    struct arena arena = {0};
    struct trace_event e = {.what = TRACE_FAILED,
                            .reply = STR("550 \x1b[2Jgone\r\nevent=forged\xc2\x9b z\xc3\xa9"),
                            .host = STR("mx\xff\xfe.example")},
                       back;
    assert_rc(trace_event_unpack(trace_event_pack(&e, mem), &arena, &back), RC_OK);
    assert_str(back.reply, "550 ?[2Jgone??event=forged?? z\xc3\xa9");
    assert_str(back.host, "mx??.example");
    arena_fini(&arena);
    (void)state;
}

static void what_is_too_long_is_cut(void **state)
{
    enum { N = 1000 };
    static char many[N][64], reply[10000];
    static struct str to[N];
    unsigned char mem[TRACE_EVENT_MAX];
    struct arena arena = {0};
    struct trace_event back;
    for (int i = 0; i < N; i++) {
        snprintf(many[i], sizeof many[i], "recipient-%04d@a-rather-long-domain.example.org", i);
        to[i] = str_of(many[i]);
    }
    for (size_t i = 0; i + 2 <= sizeof reply; i += 2)
        memcpy(reply + i, "\xc3\xa9", 2);
    const struct trace_event e = {.what = TRACE_FAILED,
                                  .reply = str_from(reply + 1, sizeof reply - 1),
                                  .host = str_from(reply, sizeof reply),
                                  .id = STR("id"),
                                  .to = to,
                                  .n_to = N};
    assert_rc(trace_event_unpack(trace_event_pack(&e, mem), &arena, &back), RC_OK);
    assert_true(back.n_to > 100 && back.n_to < N);
    assert_str(back.to[0], "recipient-0000@a-rather-long-domain.example.org");
    assert_true(back.host.n <= TRACE_TEXT_MAX && utf8_is_valid(back.host));
    assert_true(back.reply.n <= TRACE_TEXT_MAX && utf8_is_ascii(back.reply));
    arena_fini(&arena);
    (void)state;
}

static void any_bytes_are_read_or_refused(void **state)
{
    unsigned char mem[TRACE_EVENT_MAX];
    const struct str to = STR("bob@example.net");
    const struct trace_event e = {
        .what = TRACE_FAILED, .id = STR("id"), .reply = STR("no"), .to = &to, .n_to = 1};
    struct str bytes = trace_event_pack(&e, mem);
    for (size_t n = 0; n < bytes.n; n++) {
        struct arena arena = {0};
        struct trace_event back;
        uint64_t hashes[EVENT_HASHES];
        enum rc rc = trace_event_unpack(str_head(bytes, n), &arena, &back);
        assert_true(rc == RC_CORRUPT || rc == RC_OK);
        assert_true(trace_event_hashes(str_head(bytes, n), hashes) <= 2);
        arena_fini(&arena);
    }
    mem[0] = 2; /* a later format */
    struct arena arena = {0};
    struct trace_event back;
    assert_rc(trace_event_unpack(bytes, &arena, &back), RC_CORRUPT);
    arena_fini(&arena);
    (void)state;
}

/* A newer writer's field is passed over; and what is stored depends on these numbers. */
static void hashes_stay_as_they_are(void **state)
{
    assert_true(trace_event_hash(EVENT_BY_ADDRESS, STR("Bob@Example.NET")) ==
                trace_event_hash(EVENT_BY_ADDRESS, STR("bob@example.net")));
    assert_true(trace_event_hash(EVENT_BY_ID, STR("A")) != trace_event_hash(EVENT_BY_ID, STR("a")));
    assert_true(trace_event_hash(EVENT_BY_ID, STR("a")) !=
                trace_event_hash(EVENT_BY_MESSAGE_ID, STR("a")));
    assert_int_equal(trace_event_hash(EVENT_BY_ID, STR("0123456789abcdef")),
                     UINT64_C(0xfdadfeeff2bca2a2));
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_of_it_comes_back),
        cmocka_unit_test(the_null_sender_is_not_no_sender),
        cmocka_unit_test(hostile_words_are_harmless),
        cmocka_unit_test(what_is_too_long_is_cut),
        cmocka_unit_test(any_bytes_are_read_or_refused),
        cmocka_unit_test(hashes_stay_as_they_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
