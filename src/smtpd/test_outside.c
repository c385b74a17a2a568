/* Recipients elsewhere: who may name them, and what the queue then has. */
#include "smtpd/fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const struct str backup[] = {STR_INIT("backup.test"), STR_INIT("xn--bcher-kva.test")};

static void start(struct fixture *f, enum smtpd_role role)
{
    struct smtpd_conf conf = {.plaintext_on_loopback = true,
                              .may_send = true,
                              .relay_domains = backup,
                              .n_relay_domains = 2};
    fixture_start(f, &conf);
    fixture_role(f, role);
}

static int logged_in(struct fixture *f)
{
    return fixture_logged_in(f, "client.test");
}

/* His copy leaves the queue a moment after it is in his mailbox. */
static void load_without_bob(struct fixture *f, struct arena *arena, struct queue_entry *out)
{
    do
        fixture_queued(f, arena, out);
    while (out->item.n_recipients > 2 && usleep(1000) == 0);
}

static void what_is_submitted_for_elsewhere_is_queued_with_what_is_for_here(void **state)
{
    struct fixture f;
    struct arena arena = {0};
    struct queue_entry entry;
    start(&f, SMTPD_SUBMISSION);
    int fd = logged_in(&f);
    say(fd, STR("MAIL FROM:<alice@example.test> BODY=8BITMIME RET=HDRS ENVID=e1\r\n"
                "RCPT TO:<Carol@Elsewhere.TEST> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;c@d.test\r\n"
                "RCPT TO:<bob@example.test>\r\nRCPT TO:<nobody@example.test>\r\n"
                "RCPT TO:<\"d a\"@[192.0.2.1]>\r\nDATA\r\n"));
    hear(fd,
         "250 2.1.0 *\r\n250 2.1.5 *\r\n250 2.1.5 *\r\n550 5.1.1 *\r\n250 2.1.5 *\r\n354 *\r\n");
    say(fd, STR("From: alice@example.test\r\n\r\ntext\r\n.\r\n"));
    hear(fd, "250 2.0.0 message *\r\n");
    fixture_await(&f, f.bob, 1);
    close(fd);
    load_without_bob(&f, &arena, &entry);
    const struct queue_item *item = &entry.item;
    assert_int_equal(item->n_recipients, 2);
    assert_str(item->sender, "alice@example.test");
    assert_str(item->envid, "e1");
    assert_int_equal(item->ret, SMTP_RET_HDRS);
    assert_int_equal(item->flags, QUEUE_8BIT | QUEUE_SUBMITTED);
    assert_int_equal(item->account, f.alice);
    assert_true(str_starts(item->origin, STR("submission ")));
    assert_true(str_ends(item->origin, STR(" alice@example.test")));
    const struct queue_recipient *r = item->recipients;
    assert_int_equal(r[0].account, 0);
    assert_str(r[0].address, "Carol@Elsewhere.TEST");
    assert_str(r[0].domain, "elsewhere.test");
    assert_int_equal(r[0].wish.notify, SMTP_NOTIFY_SUCCESS | SMTP_NOTIFY_DELAY);
    assert_str(r[0].wish.orcpt, "rfc822;c@d.test");
    assert_str(r[1].address, "\"d a\"@[192.0.2.1]");
    assert_str(r[1].domain, "[192.0.2.1]");
    arena_fini(&arena);
    fixture_stop(&f);
}

static void one_elsewhere_alone_is_queued(void **state)
{
    struct fixture f;
    struct arena arena = {0};
    struct queue_entry entry;
    start(&f, SMTPD_SUBMISSION);
    int fd = logged_in(&f);
    say(fd, STR("MAIL FROM:<alice@example.test> SMTPUTF8\r\n"
                "RCPT TO:<d\xc3\xb6rte@b\xc3\xbc"
                "cher.test>\r\nBDAT 29 LAST\r\nFrom: alice@example.test\r\n\r\nx"));
    hear(fd, "250 2.1.0 *\r\n250 2.1.5 *\r\n250 2.0.0 message *\r\n");
    close(fd);
    fixture_queued(&f, &arena, &entry);
    assert_int_equal(entry.item.n_recipients, 1);
    assert_str(entry.item.recipients[0].address, "d\xc3\xb6rte@b\xc3\xbc"
                                                 "cher.test");
    assert_str(entry.item.recipients[0].domain, "xn--bcher-kva.test");
    assert_int_equal(entry.item.flags, QUEUE_UTF8 | QUEUE_SUBMITTED | QUEUE_UNENDED);
    arena_fini(&arena);
    fixture_stop(&f);
}

static void without_a_login_only_the_named_domains_are_taken(void **state)
{
    static const char *const others[] = {"a@elsewhere.test",
                                         "a@sub.backup.test",
                                         "a@backup.test.elsewhere.test",
                                         "a@xbackup.test",
                                         "a@[127.0.0.1]",
                                         "\"a@backup.test\"@elsewhere.test",
                                         "a%backup.test@elsewhere.test",
                                         "@backup.test:a@elsewhere.test"};
    struct fixture f;
    struct arena arena = {0};
    struct queue_entry entry;
    start(&f, SMTPD_MX);
    int fd = fixture_greeted(&f);
    say(fd, STR("MAIL FROM:<a@sender.test>\r\n"));
    hear(fd, "250 2.1.0 *\r\n");
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        char line[200];
        snprintf(line, sizeof line, "RCPT TO:<%s>\r\n", others[i]);
        say(fd, str_of(line));
        hear(fd, "550 5.7.1 not a domain of this server; relaying denied\r\n");
    }
    say(fd, STR("RCPT TO:<anybody@BACKUP.test>\r\nRCPT TO:<x@XN--bcher-kva.test>\r\nDATA\r\n"));
    hear(fd, "250 2.1.5 *\r\n250 2.1.5 *\r\n354 *\r\n");
    say(fd, STR("Subject: x\r\n\r\ntext\r\n.\r\n"));
    hear(fd, "250 2.0.0 message *\r\n");
    close(fd);
    fixture_queued(&f, &arena, &entry);
    assert_int_equal(entry.item.n_recipients, 2);
    assert_int_equal(entry.item.account, 0);
    assert_int_equal(entry.item.flags, 0);
    assert_str(entry.item.recipients[0].address, "anybody@BACKUP.test");
    assert_str(entry.item.recipients[0].domain, "backup.test");
    assert_str(entry.item.recipients[1].domain, "xn--bcher-kva.test");
    arena_fini(&arena);
    fixture_stop(&f);
}

static void lmtp_delivers_here_alone(void **state)
{
    struct fixture f;
    start(&f, SMTPD_LMTP);
    int fd = fixture_connect(&f);
    say(fd, STR("LHLO client.test\r\nMAIL FROM:<a@sender.test>\r\nRCPT TO:<a@backup.test>\r\n"
                "RCPT TO:<a@elsewhere.test>\r\n"));
    hear_reply(fd, "220");
    hear_reply(fd, "250");
    hear(fd, "250 2.1.0 *\r\n550 5.7.1 *\r\n550 5.7.1 *\r\n");
    close(fd);
    fixture_stop(&f);
}

/* The field is looked at once, when the message is taken [RFC8689 4.1]; in the header alone, and
 * one that is not of the form says nothing [RFC8689 3]. */
static void a_sender_can_do_without_tls(void **state)
{
    static const struct {
        const char *message;
        unsigned flags;
    } rows[] = {
        {"TLS-Required: No\r\n\r\nx\r\n.\r\n", QUEUE_TLS_OPTIONAL},
        {"Subject: x\r\ntls-required:\r\n no\r\n\r\nx\r\n.\r\n", QUEUE_TLS_OPTIONAL},
        {"TLS-Required: Yes\r\n\r\nx\r\n.\r\n", 0},
        {"TLS-Required: No, never\r\n\r\nx\r\n.\r\n", 0},
        {"TLS-Required: No\r\nTLS-Required: No\r\n\r\nx\r\n.\r\n", 0},
        {"Subject: x\r\n\r\nTLS-Required: No\r\n.\r\n", 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct fixture f;
        struct arena arena = {0};
        struct queue_entry entry;
        start(&f, SMTPD_MX);
        int fd = fixture_greeted(&f);
        say(fd, STR("MAIL FROM:<a@sender.test>\r\nRCPT TO:<x@backup.test>\r\nDATA\r\n"));
        hear(fd, "250 2.1.0 *\r\n250 2.1.5 *\r\n354 *\r\n");
        say(fd, str_of(rows[i].message));
        hear(fd, "250 2.0.0 message *\r\n");
        close(fd);
        fixture_queued(&f, &arena, &entry);
        assert_int_equal(entry.item.flags, rows[i].flags);
        arena_fini(&arena);
        fixture_stop(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_submitted_for_elsewhere_is_queued_with_what_is_for_here),
        cmocka_unit_test(one_elsewhere_alone_is_queued),
        cmocka_unit_test(without_a_login_only_the_named_domains_are_taken),
        cmocka_unit_test(lmtp_delivers_here_alone),
        cmocka_unit_test(a_sender_can_do_without_tls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
