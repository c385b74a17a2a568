/* Mail that an alias sends on to another host, and the bounces of it. */
#include "smtpd/fixture.h"

#include <stdio.h>
#include <unistd.h>

static void start(struct fixture *f)
{
    size_t bad;
    const struct str away[] = {STR("carol@elsewhere.test")},
                     both[] = {STR("alice@example.test"), STR("carol@elsewhere.test")};
    fixture_start(f, NULL);
    fixture_role(f, SMTPD_MX);
    assert_rc(auth_alias_add(f->auth, STR("away@example.test"), away, 1, &bad), RC_OK);
    assert_rc(auth_alias_add(f->auth, STR("both@example.test"), both, 2, &bad), RC_OK);
}

/* The one item that goes to this domain. */
static void load_for(struct fixture *f, struct str domain, struct arena *arena,
                     struct queue_item *out)
{
    size_t found = 0;
    for (unsigned shard = 0; shard < QUEUE_SHARDS; shard++) {
        struct queue_id ids[8];
        size_t n;
        assert_rc(queue_list(f->queue, shard, NULL, ids, 8, &n), RC_OK);
        for (size_t i = 0; i < n; i++) {
            struct queue_entry entry;
            if (queue_load(f->queue, ids[i], 0, arena, &entry) != RC_OK)
                continue;
            if (entry.item.n_recipients && str_eq(entry.item.recipients[0].domain, domain)) {
                *out = entry.item;
                found++;
            }
        }
    }
    assert_int_equal(found, 1);
}

static void send_to(int fd, const char *sender, const char *recipient, const char *parameters)
{
    char text[1024];
    int n = snprintf(text, sizeof text, "MAIL FROM:<%s>\r\nRCPT TO:<%s>%s\r\nDATA\r\n", sender,
                     recipient, parameters);
    say(fd, str_from(text, (size_t)n));
    hear(fd, "250 2.1.0 *\r\n250 2.1.5 *\r\n354 *\r\n");
    say(fd, STR("From: x@other.test\r\n\r\ntext\r\n.\r\n"));
    hear(fd, "250 2.0.0 message *\r\n");
}

static void a_bounce_comes_back_to_the_first_sender(void **state)
{
    struct fixture f;
    struct arena arena = {0};
    struct queue_item item;
    char sender[512];
    start(&f);
    int fd = fixture_greeted(&f);
    send_to(fd, "Dave@Other.test", "away@example.test", "");
    load_for(&f, STR("elsewhere.test"), &arena, &item);
    assert_true(item.flags & QUEUE_FORWARDED);
    assert_str(item.recipients[0].address, "carol@elsewhere.test");
    assert_str(item.recipients[0].wish.address, "away@example.test");
    assert_int_equal(item.recipients[0].wish.orcpt.n, 0); /* [RFC3461 6.3] (d) */
    assert_int_equal(item.recipients[0].flags, 0);
    assert_true(str_starts(item.sender, STR("SRS0=")));
    assert_true(str_ends(item.sender, STR("=Other.test=Dave@example.test")));
    snprintf(sender, sizeof sender, "%.*s", STR_ARG(item.sender));
    send_to(fd, "", sender, "");
    load_for(&f, STR("other.test"), &arena, &item);
    assert_int_equal(item.sender.n, 0);
    assert_str(item.recipients[0].address, "Dave@Other.test");
    close(fd);
    arena_fini(&arena);
    fixture_stop(&f);
}

static void an_alias_may_lead_here_and_elsewhere(void **state)
{
    struct fixture f;
    struct arena arena = {0};
    struct queue_item item;
    start(&f);
    int fd = fixture_greeted(&f);
    send_to(fd, "dave@other.test", "both@example.test", " NOTIFY=SUCCESS");
    fixture_await(&f, f.alice, 1);
    load_for(&f, STR("elsewhere.test"), &arena, &item);
    assert_int_equal(item.n_recipients, 1);
    assert_int_equal(item.recipients[0].wish.notify, SMTP_NOTIFY_NEVER); /* [RFC3461 5.2.7.3] (c) */
    close(fd);
    arena_fini(&arena);
    fixture_stop(&f);
}

static void our_own_senders_stay_as_they_are(void **state)
{
    struct fixture f;
    struct arena arena = {0};
    struct queue_item item;
    start(&f);
    int fd = fixture_greeted(&f);
    send_to(fd, "bob@example.test", "away@example.test", "");
    load_for(&f, STR("elsewhere.test"), &arena, &item);
    assert_str(item.sender, "bob@example.test");
    assert_true(item.flags & QUEUE_FORWARDED);
    close(fd);
    arena_fini(&arena);
    fixture_stop(&f);
}

static _Atomic bool is_settled;

static void settled(struct deliver_settle_op *op)
{
    is_settled = true;
}

static void a_report_about_forwarded_mail_goes_to_the_first_sender(void **state)
{
    struct fixture f;
    struct arena arena = {0};
    struct queue_item item;
    struct deliver_settle_op op = {0};
    start(&f);
    int fd = fixture_greeted(&f);
    send_to(fd, "dave@other.test", "away@example.test", "");
    load_for(&f, STR("elsewhere.test"), &arena, &item);
    const struct deliver_outcome failed = {.verdict = DELIVER_FAILED,
                                           .number = item.recipients[0].number,
                                           .stage = DELIVER_AT_RCPT,
                                           .code = 550,
                                           .status = STR("5.1.1")};
    op.done = settled;
    deliver_settle(f.deliver, &item, &failed, 1, &op);
    while (!is_settled)
        usleep(1000);
    assert_rc(op.rc, RC_OK);
    load_for(&f, STR("other.test"), &arena, &item);
    assert_true(item.flags & QUEUE_IS_REPORT);
    assert_str(item.recipients[0].address, "dave@other.test");
    close(fd);
    arena_fini(&arena);
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bounce_comes_back_to_the_first_sender),
        cmocka_unit_test(an_alias_may_lead_here_and_elsewhere),
        cmocka_unit_test(our_own_senders_stay_as_they_are),
        cmocka_unit_test(a_report_about_forwarded_mail_goes_to_the_first_sender),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
