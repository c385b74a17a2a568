/* COPY, MOVE, EXPUNGE and CLOSE as clients see them, alone and beside each other. */
#include "imap/test_home.h"

#define AT_ONCE (1 << 20)

/* "<before> [COPYUID <some number> <after>". */
static void expect_copyuid(int fd, const char *before, const char *after)
{
    char mem[CLIENT_LINE];
    struct str line = client_line(fd, mem, sizeof mem), number;
    struct buf text = {.cap = 1000};
    buf_putf(&text, "%s [COPYUID ", before);
    if (!str_starts(line, buf_str(&text)))
        fail_msg("no COPYUID: %.*s", STR_ARG(line));
    struct str rest = str_skip(line, buf_len(&text));
    uint64_t uidvalidity;
    assert_true(str_cut(&rest, ' ', &number));
    assert_rc(str_to_u64(number, &uidvalidity), RC_OK);
    buf_clear(&text);
    buf_putf(&text, "%s\r\n", after);
    if (!str_eq(rest, buf_str(&text)))
        fail_msg("expected %s, got %.*s", after, STR_ARG(line));
    buf_fini(&text);
}

static struct store_mailbox mailbox(struct home *h, enum store_role role)
{
    struct store_account *account;
    struct store_mailbox m;
    struct arena arena = {0};
    uint32_t id;
    assert_rc(store_account_open(h->store, h->alice, 0, &account), RC_OK);
    assert_rc(store_mailbox_by_role(account, role, &id), RC_OK);
    assert_rc(store_mailbox_get(account, id, &arena, &m), RC_OK);
    arena_fini(&arena);
    store_account_close(&account);
    return m;
}

static void set_quota(struct home *h, uint64_t messages)
{
    struct store_account *account;
    assert_rc(store_account_open(h->store, h->alice, 0, &account), RC_OK);
    assert_rc(store_account_set_quota(account, (struct store_quota){.messages = messages}), RC_OK);
    store_account_close(&account);
}

/* --- COPY ------------------------------------------------------------------------------------- */

static void copies_keep_flags_and_tell_uids(
    void **state) /* [RFC3501 6.4.7] [RFC9051 6.4.7] [RFC4315 3] */
{
    struct home *h = *state;
    int fd = client_with_messages(h, 6);
    client_talk(fd,
                "C: a STORE 4 +FLAGS.SILENT (\\Flagged $Work)\n"
                "P: * FLAGS\n"
                "P: * OK [PERMANENTFLAGS\n"
                "S: a OK STORE completed\n"
                "C: b COPY 6,2,4:5 Archive\n",
                AT_ONCE);
    expect_copyuid(fd, "b OK", "2,4:6 1:4] COPY completed");
    client_send(fd, STR("c UID COPY 3,7:9 Archive\r\n"));
    expect_copyuid(fd, "c OK", "3 5] UID COPY completed");
    client_send(fd, STR("c UID COPY 9:* Archive\r\n")); /* which has the last one [RFC3501 6.4.8]
                                                           [RFC9051 6.4.9] */
    expect_copyuid(fd, "c OK", "6 6] UID COPY completed");
    client_talk(fd,
                "C: d UID COPY 100 Archive\n" /* none: no COPYUID [RFC4315 3] [RFC9051 7.1] */
                "P: d OK UID COPY completed\n",
                AT_ONCE);
    client_send(fd, STR("e COPY 1 inbox\r\n"));
    client_talk(fd, "S: * 7 EXISTS\n", AT_ONCE);
    expect_copyuid(fd, "e OK", "1 7] COPY completed");
    assert_int_equal(mailbox(h, STORE_ARCHIVE).exists, 6);
    client_talk(fd,
                "C: f EXAMINE Archive\n"
                "P: * OK [CLOSED] \n"
                "P: * FLAGS\nP: * OK [PERM\nS: * 6 EXISTS\nS: * 0 RECENT\n"
                "P: * OK [UNSEEN 1]\nP: * OK [UIDV\nP: * OK [UIDNEXT 7]\nP: * OK [MAILBOXID (F\nP: "
                "f OK [READ-ONLY]\n"
                "C: g FETCH 2 FLAGS\n"
                "S: * 2 FETCH (FLAGS (\\Flagged $Work))\n"
                "S: g OK FETCH completed\n"
                "C: h COPY 2 Trash\n", /* allowed: only the other one changes */
                AT_ONCE);
    expect_copyuid(fd, "h OK", "2 1] COPY completed");
    client_close(h->net, fd);
}

static void bad_copies_are_refused(void **state)
{
    struct home *h = *state;
    int fd = client_with_messages(h, 2);
    client_talk(fd,
                "C: a COPY 1 Nowhere\n" /* [RFC3501 6.4.7] [RFC9051 6.4.7] */
                "P: a NO [TRYCREATE] \n"
                "C: b MOVE 1 Nowhere/else\n"
                "P: b NO [TRYCREATE] \n"
                "C: c COPY 3 Archive\n"
                "S: c BAD there is no message of this number\n"
                "C: d COPY 1\n"
                "P: d BAD expected\n"
                "C: e UID MOVE x Archive\n"
                "P: e BAD expected\n",
                AT_ONCE);
    client_close(h->net, fd);
    fd = client_select(h, "EXAMINE");
    client_talk(fd,
                "C: a MOVE 1 Archive\n"
                "P: a NO [READ-ONLY] \n"
                "C: b EXPUNGE\n"
                "P: b NO [READ-ONLY] \n",
                AT_ONCE);
    client_close(h->net, fd);
}

/* By number nothing is copied when one of them is gone; by UID it is passed over. */
static void gone_messages_are_not_copied(void **state)
{
    struct home *h = *state;
    int fd = client_with_messages(h, 3), other = client_select(h, "SELECT");
    client_send(other, STR("a MOVE 2 Trash\r\n"));
    expect_copyuid(other, "* OK", "2 1] moved");
    client_talk(other, "S: * 2 EXPUNGE\nS: a OK MOVE completed\n", AT_ONCE);
    client_talk(fd,
                "C: a COPY 1:3 Archive\n"
                "S: * 2 EXPUNGE\n" /* it may be told, so that the next try is right */
                "P: a NO [EXPUNGEISSUED] \n",
                AT_ONCE);
    assert_int_equal(mailbox(h, STORE_ARCHIVE).exists, 0);
    client_send(fd, STR("b UID COPY 1:3 Archive\r\n"));
    expect_copyuid(fd, "b OK", "1,3 1:2] UID COPY completed");
    client_close(h->net, other);
    client_close(h->net, fd);
}

static void expect_expunges(int fd, const char *line, size_t n)
{
    struct buf lines = {.cap = 4 << 20};
    for (size_t i = 0; i < n; i++)
        buf_put(&lines, str_of(line));
    client_expect(fd, buf_str(&lines));
    buf_fini(&lines);
}

/* [RFC3501 6.4.7] [RFC9051 6.4.7, 6.4.8] */
static void large_copies_are_whole_or_nothing(void **state)
{
    struct home *h = *state;
    enum { MANY = 2 * STORE_BATCH + 10 };
    int fd = client_with_messages(h, MANY);
    set_quota(h, MANY + STORE_BATCH + 500); /* the second part has no room */
    client_talk(fd,
                "C: a COPY 1:* Archive\n"
                "P: a NO [OVERQUOTA] \n",
                AT_ONCE);
    assert_int_equal(mailbox(h, STORE_ARCHIVE).exists, 0);
    set_quota(h, 0);
    client_send(fd, STR("b COPY 1:* Archive\r\n"));
    expect_copyuid(fd, "b OK", "1:2010 1001:3010] COPY completed");
    assert_int_equal(mailbox(h, STORE_ARCHIVE).exists, MANY);
    client_send(fd, STR("c MOVE 2:* Trash\r\n"));
    expect_copyuid(fd, "* OK", "2:2010 1:2009] moved");
    expect_expunges(fd, "* 2 EXPUNGE\r\n", MANY - 1);
    client_talk(fd, "S: c OK MOVE completed\n", AT_ONCE);
    assert_int_equal(mailbox(h, STORE_INBOX).exists, 1);
    assert_int_equal(mailbox(h, STORE_TRASH).exists, MANY - 1);
    client_close(h->net, fd);
}

/* Many messages quickly: one body, STORE_APPENDS at once; then every second one goes. */
static void fill_with_gaps(struct home *h, uint32_t n)
{
    struct store_append appends[STORE_APPENDS];
    struct store_account *account;
    struct kv_blob_id blob;
    struct kv_blob_out *out = kv_blob_new(h->kv, (struct kv_part){KV_ACCOUNT, h->alice}, 0, 0);
    struct inbox_op o;
    uint32_t inbox, uids[STORE_BATCH];
    assert_rc(kv_blob_finish(&out, &blob), RC_OK);
    assert_rc(store_account_open(h->store, h->alice, 0, &account), RC_OK);
    assert_rc(store_mailbox_by_role(account, STORE_INBOX, &inbox), RC_OK);
    for (size_t i = 0; i < STORE_APPENDS; i++)
        appends[i] = (struct store_append){.blob = blob};
    for (uint32_t i = 0; i < n; i += STORE_APPENDS) {
        inbox_op_init(&o);
        assert_rc(store_append_many(account, appends, STORE_APPENDS, 0, &o.op), RC_OK);
        inbox_op_wait(&o);
    }
    for (uint32_t first = 1; first < n; first += 2 * STORE_BATCH) {
        for (uint32_t i = 0; i < STORE_BATCH; i++)
            uids[i] = first + 2 * i;
        inbox_op_init(&o);
        assert_rc(store_expunge(account, inbox, uids, STORE_BATCH, 0, &o.op), RC_OK);
        inbox_op_wait(&o);
    }
    store_account_close(&account);
    kv_blob_forget(h->kv, blob);
}

static void expect_uids(int fd, uint32_t n)
{
    struct buf set = {.cap = 1 << 20};
    for (uint32_t uid = 2; uid <= n; uid += 2)
        buf_putf(&set, uid == 2 ? "%u" : ",%u", uid);
    buf_putf(&set, " 1:%u] ", n / 2);
    client_expect(fd, buf_str(&set));
    buf_fini(&set);
}

static void pass_over(int fd, const char *text)
{
    char mem[CLIENT_LINE];
    size_t n = 0;
    client_expect(fd, str_of(text));
    do
        client_read(fd, mem + n, 1);
    while (mem[n++] != ' ');
}

/* COPYUID that is longer than a page of output, and than all that output may hold. */
static void long_codes_go_out_in_pages(void **state)
{
    struct home *h = *state;
    enum { MANY = 100 * STORE_BATCH };
    fill_with_gaps(h, MANY);
    int fd = client_select(h, "SELECT");
    client_send(fd, STR("a COPY 1:* Archive\r\n"));
    pass_over(fd, "a OK [COPYUID ");
    expect_uids(fd, MANY);
    client_expect(fd, STR("COPY completed\r\n"));
    client_send(fd, STR("b MOVE 1:* Trash\r\n"));
    pass_over(fd, "* OK [COPYUID ");
    expect_uids(fd, MANY);
    client_expect(fd, STR("moved\r\n"));
    expect_expunges(fd, "* 1 EXPUNGE\r\n", MANY / 2);
    client_talk(fd, "S: b OK MOVE completed\n", AT_ONCE);
    client_close(h->net, fd);
}

/* --- MOVE ------------------------------------------------------------------------------------- */

static void moves_tell_uids_first(void **state) /* [RFC6851 4.3] [RFC9051 6.4.8] */
{
    struct home *h = *state;
    int fd = client_with_messages(h, 4), other = client_select(h, "SELECT");
    client_send(fd, STR("a MOVE 2:3 Archive\r\n"));
    expect_copyuid(fd, "* OK", "2:3 1:2] moved");
    client_talk(fd,
                "S: * 2 EXPUNGE\n"
                "S: * 2 EXPUNGE\n"
                "S: a OK MOVE completed\n",
                AT_ONCE);
    client_talk(other,
                "C: a FETCH 1 FLAGS\n" /* no EXPUNGE here [RFC3501 7.4.1] [RFC9051 7.5.1] */
                "S: * 1 FETCH (FLAGS ())\n"
                "S: a OK FETCH completed\n"
                "C: b MOVE 2 Archive\n"
                "S: * 2 EXPUNGE\n"
                "S: * 2 EXPUNGE\n"
                "P: b NO [EXPUNGEISSUED] \n",
                AT_ONCE);
    client_send(other, STR("c UID MOVE 2:* Archive\r\n"));
    expect_copyuid(other, "* OK", "4 3] moved");
    client_talk(other,
                "S: * 2 EXPUNGE\n"
                "S: c OK UID MOVE completed\n",
                AT_ONCE);
    client_send(fd, STR("b UID MOVE 1 INBOX\r\n")); /* to where it is: a new UID */
    expect_copyuid(fd, "* OK", "1 5] moved");
    client_talk(fd,
                "S: * 1 EXPUNGE\n"
                "S: * 1 EXPUNGE\n"
                "S: * 1 EXISTS\n"
                "S: b OK UID MOVE completed\n",
                AT_ONCE);
    client_close(h->net, other);
    client_close(h->net, fd);
}

/* --- EXPUNGE ---------------------------------------------------------------------------------- */

static void deleted_messages_go(void **state) /* [RFC3501 6.4.3] [RFC9051 6.4.3] [RFC4315 2.1] */
{
    struct home *h = *state;
    int fd = client_with_messages(h, 6), other = client_select(h, "SELECT");
    client_talk(fd,
                "C: a EXPUNGE\n"
                "S: a OK EXPUNGE completed\n"
                "C: b STORE 1,3,5 +FLAGS.SILENT (\\Deleted)\n"
                "S: b OK STORE completed\n"
                "C: c UID EXPUNGE 2:3\n"
                "S: * 3 EXPUNGE\n"
                "S: c OK UID EXPUNGE completed\n"
                "C: d UID EXPUNGE 100\n"
                "S: d OK UID EXPUNGE completed\n"
                "C: e UID EXPUNGE\n"
                "P: e BAD expected\n"
                "C: f EXPUNGE 1\n"
                "P: f BAD expected the end of the command\n",
                AT_ONCE);
    client_talk(other,
                "C: a STORE 6 +FLAGS (\\Deleted)\n"
                "S: * 6 FETCH (FLAGS (\\Deleted))\n"
                "S: * 1 FETCH (FLAGS (\\Deleted))\n"
                "S: * 5 FETCH (FLAGS (\\Deleted))\n"
                "S: a OK STORE completed\n",
                AT_ONCE);
    client_talk(fd,
                "C: g EXPUNGE\n" /* what others have deleted goes too */
                "S: * 1 EXPUNGE\n"
                "S: * 3 EXPUNGE\n"
                "S: * 3 EXPUNGE\n"
                "S: g OK EXPUNGE completed\n",
                AT_ONCE);
    client_talk(other,
                "C: b SEARCH ALL\n" /* no moment for it [RFC3501 7.4.1] [RFC9051 7.5.1] */
                "S: * SEARCH 1 2 3 4 5 6\n"
                "S: b OK SEARCH completed\n"
                "C: c NOOP\n"
                "S: * 1 EXPUNGE\n"
                "S: * 2 EXPUNGE\n"
                "S: * 3 EXPUNGE\n"
                "S: * 3 EXPUNGE\n"
                "S: c OK NOOP completed\n",
                AT_ONCE);
    client_close(h->net, other);
    client_close(h->net, fd);
}

static void closing_expunges_silently(void **state) /* [RFC3501 6.4.2] [RFC9051 6.4.1] */
{
    struct home *h = *state;
    int fd = client_with_messages(h, 3);
    client_talk(fd,
                "C: a STORE 2 +FLAGS.SILENT (\\Deleted)\n"
                "S: a OK STORE completed\n",
                AT_ONCE);
    int other = client_select(h, "EXAMINE");
    client_talk(other,
                "C: a CLOSE\n"
                "S: a OK CLOSE completed\n"
                "C: b CLOSE\n"
                "S: b BAD select a mailbox first\n",
                AT_ONCE);
    assert_int_equal(mailbox(h, STORE_INBOX).exists, 3);
    client_talk(fd,
                "C: b CLOSE x\n"
                "P: b BAD expected\n"
                "C: c CLOSE\n"
                "S: c OK CLOSE completed\n"
                "C: d EXPUNGE\n"
                "S: d BAD select a mailbox first\n",
                AT_ONCE);
    assert_int_equal(mailbox(h, STORE_INBOX).exists, 2);
    client_close(h->net, other);
    client_close(h->net, fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        HOME_TEST(copies_keep_flags_and_tell_uids),
        HOME_TEST(bad_copies_are_refused),
        HOME_TEST(gone_messages_are_not_copied),
        HOME_TEST(large_copies_are_whole_or_nothing),
        HOME_TEST(long_codes_go_out_in_pages),
        HOME_TEST(moves_tell_uids_first),
        HOME_TEST(deleted_messages_go),
        HOME_TEST(closing_expunges_silently),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
