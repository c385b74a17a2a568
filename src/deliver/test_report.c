/* Reports as they go out, word for word: tests/reports has a file for each case (after a change of
 * words that is meant, PENFOLD_WRITE_REPORTS=1 writes them anew). And that nothing that another
 * host says changes what a report is. */
#include "deliver/report.h"

#include "base/mem.h"
#include "base/test.h"
#include "base/utf8.h"
#include "mime/mime.h"

#include <stdio.h>
#include <stdlib.h>

struct kept {
    struct report_sink sink;
    struct buf bytes;
};

static enum rc keep(struct report_sink *sink, struct str bytes)
{
    return buf_add(&CONTAINER(sink, struct kept, sink)->bytes, bytes);
}

static void write_report(const struct report *r, struct kept *k)
{
    k->sink.write = keep;
    buf_init(&k->bytes, 16 << 20);
    assert_rc(report_write(r, &k->sink), RC_OK);
}

#define ORIGINAL_HEADER                                                                            \
    "Return-Path: <alice@example.org>\r\n"                                                         \
    "Received: from client.invalid (authenticated)\r\n"                                            \
    "\tby mail.example.org with ESMTPSA (TLSv1.3)\r\n"                                             \
    "\tid 0011223344556677;\r\n"                                                                   \
    "\tSat, 21 Nov 2026 10:00:00 +0000\r\n"                                                        \
    "Date: Sat, 21 Nov 2026 11:00:00 +0100\r\n"                                                    \
    "From: Alice <alice@example.org>\r\n"                                                          \
    "To: Bob <bob@elsewhere.test>\r\n"                                                             \
    "Subject: Lunch on Monday\r\n"                                                                 \
    "Message-ID: <lunch@example.org>\r\n"                                                          \
    "\r\n"

enum { DAY = 86400 };
#define AT(seconds) ((UINT64_C(1795255200) + (seconds)) * NS_PER_SEC) /* 21 Nov 2026 10:00:00 */

static struct report report_for(const struct report_recipient *recipients, size_t n)
{
    return (struct report){
        .kind = REPORT_FAILED,
        .hostname = STR("mail.example.org"),
        .from = STR("example.org"),
        .to = STR("alice@example.org"),
        .id = STR("8f14e45fceea167a5a36dedd4bea2543"),
        .date = AT(2),
        .log_id = STR("0011223344556677"),
        .arrived = AT(0),
        .size = 2048,
        .recipients = recipients,
        .n_recipients = n,
        .original = STR(ORIGINAL_HEADER),
    };
}

/* --- the files -------------------------------------------------------------------------------- */

static void path_of(const char *name, char path[4096])
{
    const char *source = getenv("PENFOLD_SOURCE");
    if (!source)
        fail_msg("PENFOLD_SOURCE is not set: run the tests with meson test");
    assert_true(snprintf(path, 4096, "%s/tests/reports/%s.eml", source, name) < 4096);
}

static struct str read_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        fail_msg("%s: cannot be opened", path);
    assert_int_equal(fseek(f, 0, SEEK_END), 0);
    size_t n = (size_t)ftell(f);
    rewind(f);
    char *p = mem_alloc(n + 1);
    assert_int_equal(fread(p, 1, n, f), n);
    fclose(f);
    return str_from(p, n);
}

static void write_file(const char *path, struct str s)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(s.p, 1, s.n, f), s.n);
    assert_int_equal(fclose(f), 0);
}

/* That the report is the file; what it tells programs goes to *out, in the arena. */
static void check_file(const char *name, const struct report *r, struct arena *arena,
                       struct report_facts *out)
{
    char path[4096];
    struct kept k;
    path_of(name, path);
    write_report(r, &k);
    if (getenv("PENFOLD_WRITE_REPORTS"))
        write_file(path, buf_str(&k.bytes));
    struct str file = read_file(path), got = buf_str(&k.bytes);
    if (!str_eq(file, got))
        fail_msg("%s is not what is written now:\n%.*s", path, STR_ARG(got));
    assert_rc(report_read(arena_dup(arena, got), arena, out), RC_OK);
    assert_str(out->reporter, "mail.example.org");
    buf_fini(&k.bytes);
    free((void *)(uintptr_t)file.p);
}

static void user_unknown(void **state)
{
    const struct report_recipient bob = {
        .address = STR("bob@elsewhere.test"),
        .orcpt = STR("rfc822;Bob+2Bx@elsewhere.test"),
        .tried = AT(2),
        .outcome = {.verdict = DELIVER_FAILED,
                    .stage = DELIVER_AT_RCPT,
                    .code = 550,
                    .status = STR("5.1.1"),
                    .host = STR("mx1.elsewhere.test[192.0.2.7]"),
                    .text = STR("<bob@elsewhere.test>: Recipient address rejected: User unknown in "
                                "virtual mailbox table")},
    };
    struct arena arena = {0};
    struct report_facts facts;
    struct report r = report_for(&bob, 1);
    r.envid = STR("QQ+2B314159");
    check_file("user-unknown", &r, &arena, &facts);
    assert_int_equal(facts.n_recipients, 1);
    assert_str(facts.envid, "QQ+314159"); /* [RFC3461 6.3] (a), [RFC3464 2.2.1] */
    assert_str(facts.recipients[0].action, "failed");
    assert_str(facts.recipients[0].status, "5.1.1");
    assert_str(facts.recipients[0].final, "bob@elsewhere.test");      /* [RFC3461 6.3] (e) */
    assert_str(facts.recipients[0].original, "Bob+x@elsewhere.test"); /* [RFC3461 6.3] (d) */
    assert_str(facts.recipients[0].remote, "mx1.elsewhere.test");     /* [RFC3461 6.3] (h) */
    assert_true(str_starts(facts.recipients[0].diagnostic, STR("550 5.1.1 <bob@")));
    arena_fini(&arena);
}

static void host_unreachable(void **state)
{
    const struct report_recipient bob = {
        .address = STR("bob@elsewhere.test"),
        .tried = AT(5 * DAY - 3000),
        .is_expired = true,
        .outcome = {.verdict = DELIVER_DEFERRED,
                    .stage = DELIVER_AT_CONNECT,
                    .status = STR("4.4.1"),
                    .host = STR("mx1.elsewhere.test[192.0.2.7]"),
                    .text = STR("connection refused")},
    };
    struct arena arena = {0};
    struct report_facts facts;
    struct report r = report_for(&bob, 1);
    r.date = AT(5 * DAY);
    check_file("host-unreachable", &r, &arena, &facts);
    assert_str(facts.recipients[0].action, "failed");
    assert_str(facts.recipients[0].status, "4.4.1");
    assert_int_equal(facts.envid.n, 0);
    assert_int_equal(facts.recipients[0].original.n, 0); /* [RFC3461 6.3] (d) */
    arena_fini(&arena);
}

static void too_large(void **state)
{
    const struct report_recipient bob = {
        .address = STR("bob@elsewhere.test"),
        .tried = AT(2),
        .outcome = {.verdict = DELIVER_FAILED,
                    .stage = DELIVER_AT_MAIL,
                    .code = 552,
                    .status = STR("5.3.4"),
                    .host = STR("mx1.elsewhere.test[2001:db8::7]"),
                    .text = STR("Message size exceeds fixed limit")},
    };
    struct arena arena = {0};
    struct report_facts facts;
    struct report r = report_for(&bob, 1);
    r.size = 27 << 20;
    check_file("message-too-large", &r, &arena, &facts);
    assert_str(facts.recipients[0].status, "5.3.4");
    arena_fini(&arena);
}

static void a_delay(void **state)
{
    const struct report_recipient bob = {
        .address = STR("bob@elsewhere.test"),
        .tried = AT(14400),
        .outcome = {.verdict = DELIVER_DEFERRED,
                    .stage = DELIVER_AT_RCPT,
                    .code = 450,
                    .status = STR("4.2.0"),
                    .host = STR("mx1.elsewhere.test[192.0.2.7]"),
                    .text = STR("Greylisted, see http://postgrey.example/")},
    };
    struct arena arena = {0};
    struct report_facts facts;
    struct report r = report_for(&bob, 1);
    r.kind = REPORT_DELAYED;
    r.date = AT(14400);
    r.retry_until = AT(5 * DAY);
    r.original = STR(ORIGINAL_HEADER "the body stays here\r\n");
    r.is_whole = true;
    check_file("delayed", &r, &arena, &facts);
    assert_str(facts.recipients[0].action, "delayed"); /* [RFC3464 2.3.3] */
    arena_fini(&arena);
}

static void successes(void **state)
{
    const struct report_recipient all[] = {
        {.address = STR("bob@example.org"), .outcome = {.verdict = DELIVER_DELIVERED}},
        {.address = STR("carol@elsewhere.test"),
         .outcome = {.verdict = DELIVER_HANDED,
                     .code = 250,
                     .host = STR("mx1.elsewhere.test"),
                     .text = STR("queued as 4711")}},
        {.address = STR("team@example.org"), .outcome = {.verdict = DELIVER_EXPANDED}},
    };
    struct arena arena = {0};
    struct report_facts facts;
    struct report r = report_for(all, 3);
    r.kind = REPORT_SUCCESS;
    check_file("success", &r, &arena, &facts);
    assert_int_equal(facts.n_recipients, 3);
    assert_str(facts.recipients[0].action, "delivered");
    assert_str(facts.recipients[0].status, "2.1.5");
    assert_str(facts.recipients[1].action, "relayed");
    assert_str(facts.recipients[2].action, "expanded"); /* [RFC3464 2.3.3] */
    arena_fini(&arena);
}

/* [RFC6533 4.5]: the sender's host may not know SMTPUTF8, so all is in ASCII. */
static void addresses_outside_ascii(void **state)
{
    const struct report_recipient all[] = {
        {.address = STR("j\xc3\xb6rg@elsewhere.test"),
         .orcpt = STR("utf-8;j\\x{F6}rg@elsewhere.test"),
         .outcome = {.verdict = DELIVER_FAILED,
                     .stage = DELIVER_AT_MAIL,
                     .status = STR("5.6.7"),
                     .host = STR("mx1.elsewhere.test")}},
        {.address = STR("bob@elsewhere.test"),
         .outcome = {.verdict = DELIVER_FAILED, .stage = DELIVER_AT_RCPT, .code = 550}},
    };
    struct arena arena = {0};
    struct report_facts facts;
    struct report r = report_for(all, 2);
    r.original = STR("Subject: Gr\xc3\xbc\xc3\x9f"
                     "e\r\nMessage-ID: <a@b>\r\n\r\nHallo, J\xc3\xb6rg\r\n");
    r.is_whole = true;
    check_file("utf8", &r, &arena, &facts);
    assert_str(facts.recipients[0].final, "j\xc3\xb6rg@elsewhere.test");
    assert_str(facts.recipients[0].original, "j\xc3\xb6rg@elsewhere.test"); /* [RFC6533 3] */
    assert_str(facts.recipients[1].status, "5.0.0");                        /* [RFC3461 6.3] (g) */
    struct kept k;
    write_report(&r, &k);
    assert_true(utf8_is_ascii(buf_str(&k.bytes)));
    buf_fini(&k.bytes);
    assert_false(report_is_utf8(&r));
    r.to = STR("\xc3\xa4@example.org");
    assert_true(report_is_utf8(&r));
    write_report(&r, &k);
    assert_true(str_find(buf_str(&k.bytes), STR("Content-Transfer-Encoding: 8bit\r\n\r\n")) > 0);
    buf_fini(&k.bytes);
    arena_fini(&arena);
}

/* --- the words -------------------------------------------------------------------------------- */

static void check_lead(const struct deliver_outcome *o, bool is_expired, const char *expected)
{
    const struct report_recipient bob = {
        .address = STR("bob@elsewhere.test"), .outcome = *o, .is_expired = is_expired};
    struct report r = report_for(&bob, 1);
    struct buf text;
    r.date = AT(5 * DAY);
    buf_init(&text, 4096);
    report_put_lead(&r, &text);
    assert_true(buf_add_byte(&text, '\0') == RC_OK);
    if (!strstr(text.mem, expected))
        fail_msg("%s\nhas not: %s", text.mem, expected);
    buf_fini(&text);
}

static void every_cause_has_its_words(void **state)
{
    static const struct {
        const char *status;
        uint16_t code;
        enum deliver_stage at;
        bool is_expired;
        const char *words;
    } rows[] = {
        {"5.1.1", 550, DELIVER_AT_RCPT, false,
         "reach bob@elsewhere.test: there is no such mailbox."},
        {"5.1.2", 0, DELIVER_AT_LOOKUP, false, "no such domain as elsewhere.test."},
        {"5.1.10", 0, DELIVER_AT_LOOKUP, false,
         "elsewhere.test takes no mail at all"}, /* [RFC7505 4.2] */
        {"4.2.2", 0, DELIVER_AT_MAILBOX, true, "the mailbox was full for 5 days, and it is not"},
        {"5.2.2", 552, DELIVER_AT_RCPT, false, "the mailbox is full. Send it again later"},
        {"5.2.1", 550, DELIVER_AT_RCPT, false, "closed"},
        {"5.3.4", 552, DELIVER_AT_MAIL, false, "too large for its mail server (it has 2 KB)"},
        {"4.4.1", 0, DELIVER_AT_CONNECT, true, "could not be reached for 5 days"},
        {NULL, 0, DELIVER_AT_CONNECT, true, "could not be reached for 5 days"},
        {"4.4.3", 0, DELIVER_AT_LOOKUP, true, "found out where mail for elsewhere.test goes"},
        {"5.4.6", 554, DELIVER_AT_DATA, false, "round in circles"},
        {"4.7.5", 0, DELIVER_AT_TLS, true, "no secure connection"},
        {"5.7.10", 0, DELIVER_AT_TLS, false, "no secure connection"},
        {"5.7.30", 0, DELIVER_AT_MAIL, false, "REQUIRETLS"},
        {"5.6.3", 0, DELIVER_AT_MAIL, false, "takes only plain text"},
        {"5.6.7", 0, DELIVER_AT_MAIL, false, "other letters than a to z"},
        {"5.7.1", 554, DELIVER_AT_DATA, false, "refuses the message. The words of that server"},
        {"5.7.8", 535, DELIVER_AT_LOGIN, false, "refuses our login"},
        {"5.7.25", 550, DELIVER_AT_RCPT, false, "network address of ours"},
        {NULL, 550, DELIVER_AT_RCPT, false, "no such mailbox"},
        {NULL, 550, DELIVER_AT_DATA, false, "refuses the message"},
        {NULL, 552, DELIVER_AT_DATA, false, "too large"},
        {NULL, 599, DELIVER_AT_DATA, false, "did not take the message"},
        {"9.9.9", 599, DELIVER_AT_DATA, false, "did not take the message"},
        {"x", 0, DELIVER_AT_NOTHING, false, "did not take the message"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct deliver_outcome o = {.verdict = DELIVER_FAILED,
                                          .status = str_of(rows[i].status),
                                          .code = rows[i].code,
                                          .stage = rows[i].at};
        check_lead(&o, rows[i].is_expired, rows[i].words);
    }
}

/* --- hostile words ---------------------------------------------------------------------------- */

/* The report has its three parts, as many recipients as were put in, and no line that a person's
 * program might not show as text. */
static void check_sound(const struct report *r)
{
    struct kept k;
    struct mime_tree tree;
    struct arena arena = {0};
    struct report_facts facts;
    write_report(r, &k);
    struct str bytes = buf_str(&k.bytes);
    mime_parse(bytes, NULL, &tree);
    assert_int_equal(tree.flags & ~MIME_NO_BLANK, 0); /* of an original without a header */
    uint32_t part = tree.parts[0].first_child, last = MIME_NONE;
    for (int i = 0; i < 3; i++, part = tree.parts[part].next)
        assert_int_not_equal(last = part, MIME_NONE);
    assert_int_equal(part, MIME_NONE);
    assert_rc(report_read(bytes, &arena, &facts), RC_OK);
    assert_int_equal(facts.n_recipients, r->n_recipients);
    for (size_t i = 0; i < facts.n_recipients; i++)
        assert_str(facts.recipients[i].action, "failed");
    struct str rest = str_head(bytes, tree.parts[last].body_begin), line;
    while (str_cut(&rest, '\n', &line))
        assert_true(line.n <= REPORT_LINE_MAX + 1);
    mime_tree_fini(&tree);
    arena_fini(&arena);
    buf_fini(&k.bytes);
}

static void hostile_words_are_harmless(void **state)
{
    enum { MEGABYTE = 1 << 20 };
    char *long_text = mem_alloc(MEGABYTE);
    memset(long_text, 'x', MEGABYTE);
    const struct str words[] = {
        STR("\r\n.\r\n\r\n--=_report-8f14e45fceea167a5a36dedd4bea2543\r\nContent-Type: "
            "text/html\r\n"
            "\r\n<script>\r\n--=_report-8f14e45fceea167a5a36dedd4bea2543--\r\n"),
        STR("ok\r\n\r\nFinal-Recipient: rfc822;eve@evil.test\r\nAction: delivered\r\n"),
        STR("\x1b[2J\x1b]0;evil\x07\0\x7f\x80\xff\xc2\x85\xe2\x80\xae"),
        str_from(long_text, MEGABYTE),
    };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        const struct report_recipient bob[2] = {
            {.address = STR("bob@elsewhere.test"),
             .outcome = {.verdict = DELIVER_FAILED,
                         .stage = DELIVER_AT_RCPT,
                         .code = 550,
                         .status = STR("5.1.1"),
                         .text = words[i]}},
            {.address = words[i],
             .orcpt = words[i],
             .outcome = {.verdict = DELIVER_FAILED,
                         .code = 999,
                         .status = words[i],
                         .host = words[i],
                         .text = words[i]}},
        };
        struct report r = report_for(bob, 1);
        check_sound(&r);
        r = report_for(bob, 2);
        r.envid = r.log_id = r.original = words[i];
        check_sound(&r);
        r.is_whole = true;
        check_sound(&r);
    }
    free(long_text);
}

static struct str file_part(struct str bytes, unsigned n, const char **out_type)
{
    struct mime_tree tree;
    mime_parse(bytes, NULL, &tree);
    uint32_t part = tree.parts[0].first_child;
    for (unsigned i = 0; i < n; i++)
        part = tree.parts[part].next;
    struct str subtype = mime_view(bytes, 0, tree.parts[part].subtype);
    *out_type = str_eq(subtype, STR("rfc822"))           ? "rfc822"
                : str_eq(subtype, STR("rfc822-headers")) ? "rfc822-headers"
                                                         : "other";
    struct str body = str_sub(bytes, tree.parts[part].body_begin,
                              tree.parts[part].body_end - tree.parts[part].body_begin);
    mime_tree_fini(&tree);
    return body;
}

static void what_is_sent_back(void **state)
{
    const struct report_recipient bob = {.address = STR("bob@elsewhere.test"),
                                         .outcome = {.verdict = DELIVER_FAILED}};
    struct report r = report_for(&bob, 1);
    struct kept k;
    const char *type;
    r.original = STR("Subject: x\r\n\r\nbody\r\n");
    r.is_whole = true;
    write_report(&r, &k);
    assert_str(file_part(buf_str(&k.bytes), 2, &type), "Subject: x\r\n\r\nbody\r\n");
    assert_string_equal(type, "rfc822");
    buf_fini(&k.bytes);
    r.is_whole = false; /* the body is never sent then */
    write_report(&r, &k);
    assert_str(file_part(buf_str(&k.bytes), 2, &type), "Subject: x\r\n");
    assert_string_equal(type, "rfc822-headers");
    buf_fini(&k.bytes);
    r.is_whole = true; /* not all hosts pass on such lines */
    r.original = STR("Subject: x\r\n\r\nbo\ndy\r\n");
    write_report(&r, &k);
    assert_str(file_part(buf_str(&k.bytes), 2, &type), "Subject: x\r\n");
    buf_fini(&k.bytes);
}

/* [RFC4865 5.1.2] */
static void what_was_held_says_so(void **state)
{
    const struct report_recipient bob = {.address = STR("bob@elsewhere.test"),
                                         .outcome = {.verdict = DELIVER_FAILED}};
    struct report r = report_for(&bob, 1);
    struct kept k;
    write_report(&r, &k);
    assert_true(str_find(buf_str(&k.bytes), STR("Future-Release-Request")) < 0);
    buf_fini(&k.bytes);
    r.hold = STR("until;2026-11-21T09:00:00Z");
    write_report(&r, &k);
    assert_true(str_find(buf_str(&k.bytes),
                         STR("\r\nArrival-Date: Sat, 21 Nov 2026 10:00:00 +0000\r\n"
                             "Future-Release-Request: until;2026-11-21T09:00:00Z\r\n")) > 0);
    buf_fini(&k.bytes);
}

static void fields_are_what_they_must_be(void **state)
{
    struct report_recipient bob = {
        .address = STR("Bob@elsewhere.test"),
        .outcome = {
            .verdict = DELIVER_FAILED, .code = 550, .status = STR("5.01.1"), .text = STR("no")}};
    struct report r = report_for(&bob, 1);
    struct kept k;
    write_report(&r,
                 &k); /* no zero in front [RFC3464 2.3.4], the case of letters [RFC3464 2.3.2] */
    assert_true(str_find(buf_str(&k.bytes), STR("\r\nStatus: 5.0.0\r\n")) > 0);
    assert_true(str_find(buf_str(&k.bytes), STR("Final-Recipient: rfc822; Bob@elsewhere.test")) >
                0);
    assert_true(str_find(buf_str(&k.bytes), STR("Original-Recipient")) < 0); /* [RFC3461 6.3] (d) */
    assert_true(str_find(buf_str(&k.bytes), STR("Will-Retry-Until")) < 0);   /* [RFC3464 2.3.9] */
    assert_true(str_find(buf_str(&k.bytes), STR("Last-Attempt-Date")) < 0);  /* [RFC3464 2.3.7] */
    assert_true(str_find(buf_str(&k.bytes), STR("Remote-MTA")) < 0);         /* [RFC3464 2.3.5] */
    buf_fini(&k.bytes);
    r.hostname = STR("myhost"); /* is in no DNS [RFC3461 6.3] (b) */
    bob.outcome.code = 0;
    write_report(&r, &k);
    assert_true(str_find(buf_str(&k.bytes), STR("Reporting-MTA: x-local-hostname; myhost")) > 0);
    assert_true(str_find(buf_str(&k.bytes), STR("Diagnostic-Code: x-penfold; no\r\n")) > 0);
    buf_fini(&k.bytes);
}

static void only_reports_are_read(void **state)
{
    struct arena arena = {0};
    struct report_facts facts;
    assert_rc(report_read(STR(""), &arena, &facts), RC_NOTFOUND);
    assert_rc(report_read(STR("Subject: x\r\n\r\nAction: failed\r\n"), &arena, &facts),
              RC_NOTFOUND);
    assert_rc(report_read(STR("Content-Type: multipart/report; boundary=b\r\n\r\n--b\r\n\r\nx\r\n"
                              "--b\r\nContent-Type: message/delivery-status\r\n\r\n"
                              "Reporting-MTA: dns; x\r\n\r\n--b--\r\n"),
                          &arena, &facts),
              RC_NOTFOUND);
    assert_rc(report_read(STR("Content-Type: multipart/report; boundary=b\n\n--b\n\nx\n"
                              "--b\nContent-Type: message/delivery-status\n\n"
                              "Reporting-MTA: x\n\n\nFinal-Recipient: RFC822;\n a@b\n"
                              "nonsense\nSTATUS: 5.0.0 (said so)\n--b--\n"),
                          &arena, &facts),
              RC_OK);
    assert_str(facts.reporter, "x");
    assert_str(facts.recipients[0].final, "a@b");
    arena_fini(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(user_unknown),
        cmocka_unit_test(host_unreachable),
        cmocka_unit_test(too_large),
        cmocka_unit_test(a_delay),
        cmocka_unit_test(successes),
        cmocka_unit_test(addresses_outside_ascii),
        cmocka_unit_test(every_cause_has_its_words),
        cmocka_unit_test(hostile_words_are_harmless),
        cmocka_unit_test(what_is_sent_back),
        cmocka_unit_test(what_was_held_says_so),
        cmocka_unit_test(fields_are_what_they_must_be),
        cmocka_unit_test(only_reports_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
