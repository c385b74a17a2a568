/* STORE as clients see it, alone and beside each other. */
#include "imap/test_home.h"

#define AT_ONCE (1 << 20)

static void flags_are_set_added_and_removed(void **state) /* [RFC3501 6.4.6] [RFC9051 6.4.6] */
{
    struct home *h = *state;
    int fd = client_with_messages(h, 3);
    client_talk(fd,
                "C: a STORE 1:2 FLAGS (\\Seen \\Draft)\n"
                "S: * 1 FETCH (FLAGS (\\Seen \\Draft))\n"
                "S: * 2 FETCH (FLAGS (\\Seen \\Draft))\n"
                "S: a OK STORE completed\n"
                "C: b store 2,1 +flags \\Answered \\Flagged\n" /* without parentheses */
                "S: * 1 FETCH (FLAGS (\\Answered \\Flagged \\Seen \\Draft))\n"
                "S: * 2 FETCH (FLAGS (\\Answered \\Flagged \\Seen \\Draft))\n"
                "S: b OK STORE completed\n"
                "C: c STORE 1 -FLAGS (\\Seen \\Deleted)\n"
                "S: * 1 FETCH (FLAGS (\\Answered \\Flagged \\Draft))\n"
                "S: c OK STORE completed\n"
                "C: d STORE 1 -FLAGS (\\Seen)\n" /* told although nothing changes */
                "S: * 1 FETCH (FLAGS (\\Answered \\Flagged \\Draft))\n"
                "S: d OK STORE completed\n"
                "C: e STORE 1:* FLAGS ()\n"
                "S: * 1 FETCH (FLAGS ())\n"
                "S: * 2 FETCH (FLAGS ())\n"
                "S: * 3 FETCH (FLAGS ())\n"
                "S: e OK STORE completed\n"
                "C: f UID STORE 3:9 +FLAGS.SILENT (\\Deleted)\n"
                "S: f OK UID STORE completed\n"
                "C: g UID STORE 2:* +FLAGS (\\Seen)\n" /* [RFC3501 6.4.8] [RFC9051 6.4.9] */
                "S: * 2 FETCH (UID 2 FLAGS (\\Seen))\n"
                "S: * 3 FETCH (UID 3 FLAGS (\\Deleted \\Seen))\n"
                "S: g OK UID STORE completed\n"
                "C: h UID STORE 100:200 +FLAGS (\\Seen)\n"
                "S: h OK UID STORE completed\n",
                AT_ONCE);
    client_close(h->net, fd);
}

static void what_is_wrong_is_refused(void **state)
{
    struct home *h = *state;
    int fd = client_with_messages(h, 1);
    client_talk(fd,
                "C: a STORE 2 FLAGS (\\Seen)\n"
                "S: a BAD there is no message of this number\n"
                "C: b STORE 0 FLAGS (\\Seen)\n"
                "P: b BAD expected\n"
                "C: c STORE 1 FLAGS (\\Recent)\n" /* [RFC3501 2.3.2] [RFC9051 2.3.2] */
                "P: c BAD expected a flag that can be changed\n"
                "C: d STORE 1 FLAG (\\Seen)\n"
                "P: d BAD expected FLAGS\n"
                "C: e STORE 1 FLAGS (\\Seen\n"
                "P: e BAD expected\n"
                "C: f STORE 1 FLAGS (\\Seen) x\n"
                "P: f BAD expected the end of the command\n"
                "C: g STORE 1\n"
                "P: g BAD expected a space\n",
                AT_ONCE);
    int other = client_select(h, "EXAMINE");
    client_talk(other,
                "C: a STORE 1 FLAGS (\\Seen)\n" /* [RFC3501 6.3.2] [RFC9051 6.3.3] */
                "P: a NO [READ-ONLY] \n",
                AT_ONCE);
    client_close(h->net, other);
    client_close(h->net, fd);
}

/* A new keyword is announced before it is used, and keeps the case of its first use. */
static void keywords_are_kept(void **state)
{
    struct home *h = *state;
    int fd = client_with_messages(h, 2);
    client_talk(fd,
                "C: a STORE 1 +FLAGS ($Label1 Work)\n"
                "S: * FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft $Label1 Work)\n"
                "P: * OK [PERMANENTFLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft $Label1 "
                "Work \\*)]\n"
                "S: * 1 FETCH (FLAGS ($Label1 Work))\n"
                "S: a OK STORE completed\n"
                "C: b STORE 2 +FLAGS (WORK)\n"
                "S: * 2 FETCH (FLAGS (Work))\n"
                "S: b OK STORE completed\n"
                "C: c STORE 1:2 -FLAGS.SILENT (work nothing)\n"
                "S: c OK STORE completed\n"
                "C: d STORE 1:2 FLAGS ()\n"
                "S: * 1 FETCH (FLAGS ())\n"
                "S: * 2 FETCH (FLAGS ())\n"
                "S: d OK STORE completed\n",
                AT_ONCE);
    client_close(h->net, fd);
}

/* That there is no room for another one is told [RFC3501 7.1] [RFC9051 7.1]. */
static void keywords_are_limited(void **state)
{
    struct home *h = *state;
    struct buf script = {.cap = 1 << 16};
    bool may_make = true;
    int fd = client_with_messages(h, 1);
    for (int i = 0; i < STORE_KEYWORDS; i++) {
        buf_clear(&script);
        buf_putf(&script, "k STORE 1 FLAGS.SILENT (k%d)\r\n", i);
        client_send(fd, buf_str(&script));
        char line[CLIENT_LINE];
        while (client_line(fd, line, sizeof line).p[0] == '*') {
            assert_false(str_starts(str_of(line), STR("* 1 FETCH")));
            if (str_starts(str_of(line), STR("* OK [PERMANENTFLAGS")))
                may_make = str_find(str_of(line), STR(" \\*)]")) > 0;
        }
        assert_int_equal(line[2], 'O');
        assert_int_equal(may_make, i < STORE_KEYWORDS - 1);
    }
    buf_fini(&script);
    client_talk(fd,
                "C: a STORE 1 +FLAGS (one-more)\n"
                "P: a NO [LIMIT] \n"
                "C: b STORE 1 +FLAGS (K0)\n"
                "S: * 1 FETCH (FLAGS (k0 k63))\n"
                "S: b OK STORE completed\n"
                "C: c STORE 1 -FLAGS (one-more K63)\n"
                "S: * 1 FETCH (FLAGS (k0))\n"
                "S: c OK STORE completed\n",
                AT_ONCE);
    client_close(h->net, fd);
}

/* What others did is told once: in the answer where it is about the same messages, as news where it
 * is not; SILENT does not hide it. */
static void others_are_told(void **state)
{
    struct home *h = *state;
    int fd = client_with_messages(h, 3), other = client_select(h, "SELECT");
    client_talk(other,
                "C: a STORE 1:2 +FLAGS.SILENT (\\Flagged)\n"
                "S: a OK STORE completed\n",
                AT_ONCE);
    client_talk(fd,
                "C: a STORE 1 +FLAGS (\\Seen)\n"
                "S: * 1 FETCH (FLAGS (\\Flagged \\Seen))\n"
                "S: * 2 FETCH (FLAGS (\\Flagged))\n"
                "S: a OK STORE completed\n",
                AT_ONCE);
    client_talk(other,
                "C: b STORE 3 +FLAGS (\\Draft)\n"
                "S: * 3 FETCH (FLAGS (\\Draft))\n"
                "S: * 1 FETCH (FLAGS (\\Flagged \\Seen))\n"
                "S: b OK STORE completed\n",
                AT_ONCE);
    client_talk(fd,
                "C: b STORE 2:3 +FLAGS.SILENT (\\Seen)\n"
                "S: * 3 FETCH (FLAGS (\\Seen \\Draft))\n" /* not what this one could know */
                "S: b OK STORE completed\n",
                AT_ONCE);
    client_talk(other,
                "C: c STORE 2:3 FLAGS.SILENT (\\Seen)\n"
                "S: c OK STORE completed\n"
                "C: d NOOP\n"
                "S: d OK NOOP completed\n",
                AT_ONCE);
    client_close(h->net, other);
    client_close(h->net, fd);
}

/* [RFC3501 7.4.1] [RFC9051 7.5.1]: STORE is never told of an expunge; UID STORE may be. */
static void expunged_messages_are_told_later(void **state)
{
    struct home *h = *state;
    int fd = client_with_messages(h, 5), other = client_select(h, "SELECT");
    client_talk(other,
                "C: a STORE 2,4 +FLAGS.SILENT (\\Deleted)\n"
                "S: a OK STORE completed\n"
                "C: b EXPUNGE\n"
                "S: * 2 EXPUNGE\n"
                "S: * 3 EXPUNGE\n"
                "S: b OK EXPUNGE completed\n",
                AT_ONCE);
    client_talk(fd,
                "C: a STORE 1:3 +FLAGS (\\Seen)\n" /* [RFC5530 3] */
                "S: * 1 FETCH (FLAGS (\\Seen))\n"
                "S: * 3 FETCH (FLAGS (\\Seen))\n"
                "P: a NO [EXPUNGEISSUED] \n"
                "C: b STORE 5 +FLAGS (\\Seen)\n" /* numbers are what they were */
                "S: * 5 FETCH (FLAGS (\\Seen))\n"
                "S: b OK STORE completed\n"
                "C: c STORE 2:3 -FLAGS.SILENT (\\Seen)\n"
                "P: c NO [EXPUNGEISSUED] \n"
                "C: d UID STORE 2:4 +FLAGS (\\Draft)\n"
                "S: * 3 FETCH (UID 3 FLAGS (\\Draft))\n" /* before numbers move */
                "S: * 2 EXPUNGE\n"
                "S: * 3 EXPUNGE\n"
                "S: d OK UID STORE completed\n"
                "C: e STORE 3 -FLAGS (\\Seen)\n"
                "S: * 3 FETCH (FLAGS ())\n"
                "S: e OK STORE completed\n",
                AT_ONCE);
    client_close(h->net, other);
    client_close(h->net, fd);
}

/* New messages that come meanwhile are told, and are not meant. */
static void new_messages_are_told(void **state)
{
    struct home *h = *state;
    int fd = client_with_messages(h, 1);
    home_deliver(h, h->alice, "Subject: y\r\n\r\n");
    client_talk(fd,
                "C: a STORE 1:* +FLAGS (\\Seen)\n"
                "S: * 1 FETCH (FLAGS (\\Seen))\n"
                "S: * 2 EXISTS\n"
                "S: a OK STORE completed\n",
                AT_ONCE);
    client_close(h->net, fd);
}

static void expect_fetches(int fd, size_t from, size_t to, const char *flags)
{
    struct buf line = {.cap = 1000};
    for (size_t i = from; i <= to; i++) {
        buf_clear(&line);
        buf_putf(&line, "* %zu FETCH (FLAGS (%s))\r\n", i, flags);
        client_expect(fd, buf_str(&line));
    }
    buf_fini(&line);
}

/* More than a change may touch, and more than a page of output. */
static void many_messages_go_in_parts(void **state)
{
    struct home *h = *state;
    enum { MANY = 2 * STORE_BATCH + 500 };
    int fd = client_with_messages(h, MANY), other = client_select(h, "SELECT");
    client_send(fd, STR("a STORE 1:* +FLAGS (\\Seen \\Answered)\r\n"));
    expect_fetches(fd, 1, MANY, "\\Answered \\Seen");
    client_talk(fd,
                "S: a OK STORE completed\n"
                "C: b STORE 1:* -FLAGS.SILENT (\\Seen)\n"
                "S: b OK STORE completed\n",
                AT_ONCE);
    client_send(other, STR("a NOOP\r\n"));
    expect_fetches(other, 1, MANY, "\\Answered");
    client_talk(other, "S: a OK NOOP completed\n", AT_ONCE);
    client_close(h->net, other);
    client_close(h->net, fd);
}

/* Nothing is acknowledged before it is durable, and nobody sees it before. */
/* A message's flags change in all its copies; what is too much for one change goes in several. */
static void messages_with_many_copies_go_in_smaller_parts(void **state)
{
    struct home *h = *state;
    int fd = client_with_messages(h, 100);
    client_talk(fd, "C: a CREATE Copies\nP: a OK [MAILBOXID (F\n", AT_ONCE);
    for (int i = 0; i < 55; i++)
        client_talk(fd, "C: a COPY 1:* Copies\nP: a OK [COPYUID \n", AT_ONCE);
    client_talk(fd,
                "C: b STORE 1:* +FLAGS.SILENT (\\Flagged)\n"
                "S: b OK STORE completed\n"
                "C: c UID FETCH 1:* BODY[HEADER.FIELDS (Subject)]\n",
                AT_ONCE);
    for (int i = 0; i < 100; i++)
        client_talk(fd, "P: * \nP: Subject: x\nS: \nS:  FLAGS (\\Flagged \\Seen))\n", AT_ONCE);
    client_talk(fd,
                "S: c OK UID FETCH completed\n"
                "C: d SELECT Copies\n"
                "P: * OK [CLOSED] \n"
                "P: * FLAGS \nP: * OK [PERM\nS: * 5500 EXISTS\nS: * 0 RECENT\n" /* none UNSEEN */
                "P: * OK [UIDV\nP: * OK [UIDN\nP: * OK [MAILBOXID (F\nP: d OK \n"
                "C: e SEARCH UNFLAGGED\n"
                "S: * SEARCH\n"
                "S: e OK SEARCH completed\n",
                AT_ONCE);
    client_close(h->net, fd);
}

static void flags_wait_for_the_disk(void **state)
{
    struct home *h = *state;
    int fd = client_with_messages(h, 1), other = client_select(h, "SELECT");
    kv_mem_hold(h->kv, true);
    client_send(fd, STR("a STORE 1 +FLAGS (\\Seen)\r\n"));
    client_talk(other,
                "C: a NOOP\n"
                "S: a OK NOOP completed\n",
                AT_ONCE);
    char c;
    assert_true(recv(fd, &c, 1, MSG_DONTWAIT) < 0);
    kv_mem_hold(h->kv, false);
    client_talk(fd,
                "S: * 1 FETCH (FLAGS (\\Seen))\n"
                "S: a OK STORE completed\n",
                AT_ONCE);
    kv_mem_fail(h->kv, RC_FULL);
    client_talk(fd,
                "C: b STORE 1 +FLAGS (\\Draft)\n"
                "P: b NO [UNAVAILABLE] \n"
                "C: c STORE 1 +FLAGS (\\Flagged)\n"
                "S: * 1 FETCH (FLAGS (\\Flagged \\Seen))\n"
                "S: c OK STORE completed\n",
                AT_ONCE);
    client_close(h->net, other);
    client_close(h->net, fd);
}

/* With nothing in memory that could be read at once; the same answers. */
static void cold_stores_go_to_workers(void **state)
{
    struct home *h = *state;
    int fd = client_with_messages(h, 3);
    kv_mem_cold(h->kv, true);
    client_talk(fd,
                "C: a STORE 1:2 +FLAGS (\\Deleted)\n"
                "S: * 1 FETCH (FLAGS (\\Deleted))\n"
                "S: * 2 FETCH (FLAGS (\\Deleted))\n"
                "S: a OK STORE completed\n"
                "C: b EXPUNGE\n"
                "S: * 1 EXPUNGE\n"
                "S: * 1 EXPUNGE\n"
                "S: b OK EXPUNGE completed\n",
                AT_ONCE);
    kv_mem_cold(h->kv, false);
    client_close(h->net, fd);
}

/* Many messages quickly: one body, STORE_APPENDS at once. */
static void fill(struct home *h, size_t n)
{
    struct store_append appends[STORE_APPENDS];
    struct store_account *account;
    struct kv_blob_id blob;
    struct kv_blob_out *out = kv_blob_new(h->kv, (struct kv_part){KV_ACCOUNT, h->alice}, 0, 0);
    assert_rc(kv_blob_finish(&out, &blob), RC_OK);
    assert_rc(store_account_open(h->store, h->alice, 0, &account), RC_OK);
    for (size_t i = 0; i < STORE_APPENDS; i++)
        appends[i] = (struct store_append){.blob = blob};
    for (size_t i = 0; i < n; i += STORE_APPENDS) {
        struct inbox_op o;
        inbox_op_init(&o);
        assert_rc(store_append_many(account, appends, STORE_APPENDS, 0, &o.op), RC_OK);
        inbox_op_wait(&o);
    }
    store_account_close(&account);
    kv_blob_forget(h->kv, blob);
}

static struct kv_mem_stats cost_of_store(struct home *h)
{
    struct kv_mem_stats before, after;
    int fd = client_select(h, "SELECT");
    client_talk(fd, "C: a STORE 5 +FLAGS.SILENT (\\Seen)\nS: a OK STORE completed\n", AT_ONCE);
    kv_mem_stats(h->kv, &before);
    client_talk(fd,
                "C: b STORE 7 FLAGS (\\Flagged)\n"
                "S: * 7 FETCH (FLAGS (\\Flagged))\n"
                "S: b OK STORE completed\n"
                "C: c STORE 7 FLAGS.SILENT ()\n"
                "S: c OK STORE completed\n",
                AT_ONCE);
    kv_mem_stats(h->kv, &after);
    client_close(h->net, fd);
    return (struct kv_mem_stats){.keys_read = after.keys_read - before.keys_read,
                                 .keys_written = after.keys_written - before.keys_written,
                                 .rows_scanned = after.rows_scanned - before.rows_scanned,
                                 .commits = after.commits - before.commits};
}

/* A command that has looked at names before its news: those of keywords that came meanwhile are
 * told too, first as flags of the mailbox [RFC3501 7.2.6]. */
static void keywords_made_meanwhile_have_their_names(void **state)
{
    struct home *h = *state;
    enum { MESSAGES = 40000 };
    char line[CLIENT_LINE];
    fill(h, MESSAGES);
    int fd = client_select(h, "SELECT"), other = client_select(h, "SELECT");
    client_talk(other,
                "C: a STORE 1 +FLAGS.SILENT (Old)\n"
                "P: * FLAGS \n"
                "P: * OK [PERMANENTFLAGS \n"
                "S: a OK STORE completed\n",
                AT_ONCE);
    client_talk(fd,
                "C: a NOOP\n"
                "P: * FLAGS \n"
                "P: * OK [PERMANENTFLAGS \n"
                "S: * 1 FETCH (FLAGS (Old))\n"
                "S: a OK NOOP completed\n"
                "C: b FETCH 1:* FLAGS\n"
                "S: * 1 FETCH (FLAGS (Old))\n",
                AT_ONCE);
    client_talk(other,
                "C: b STORE 1 +FLAGS.SILENT (Fresh)\n"
                "P: * FLAGS \n"
                "P: * OK [PERMANENTFLAGS \n"
                "S: b OK STORE completed\n",
                AT_ONCE);
    for (unsigned i = 2; i <= MESSAGES; i++)
        client_line(fd, line, sizeof line);
    client_talk(fd,
                "S: * FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft Old Fresh)\n"
                "P: * OK [PERMANENTFLAGS \n"
                "S: * 1 FETCH (FLAGS (Old Fresh))\n"
                "S: b OK FETCH completed\n",
                AT_ONCE);
    client_close(h->net, other);
    client_close(h->net, fd);
}

/* Whatever the size of the mailbox. */
static void one_flag_costs_the_same(void **state)
{
    struct home *h = *state;
    fill(h, 1000);
    struct kv_mem_stats small = cost_of_store(h);
    fill(h, 40000);
    struct kv_mem_stats large = cost_of_store(h);
    assert_int_equal(small.commits, 2);
    assert_memory_equal(&small, &large, sizeof small);
    assert_int_equal(small.rows_scanned, 0);
    assert_int_equal(small.keys_read, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        HOME_TEST(flags_are_set_added_and_removed),
        HOME_TEST(what_is_wrong_is_refused),
        HOME_TEST(keywords_are_kept),
        HOME_TEST(keywords_made_meanwhile_have_their_names),
        HOME_TEST(keywords_are_limited),
        HOME_TEST(others_are_told),
        HOME_TEST(expunged_messages_are_told_later),
        HOME_TEST(new_messages_are_told),
        HOME_TEST(many_messages_go_in_parts),
        HOME_TEST(messages_with_many_copies_go_in_smaller_parts),
        HOME_TEST(one_flag_costs_the_same),
        HOME_TEST(flags_wait_for_the_disk),
        HOME_TEST(cold_stores_go_to_workers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
