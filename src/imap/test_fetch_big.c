/* FETCH of much: pages of messages, pages of bodies, what is not in memory, what cannot be read. */
#include "imap/fetch_int.h"
#include "imap/test_home.h"

#include "base/base64.h"

enum { BIG = 700000, CAP = 8 << 20 };

/* A message whose part 1 is text and part 2 the same bytes in base64, NULs among them. */
static void make_big(struct buf *message, struct buf *bytes)
{
    *message = (struct buf){.cap = CAP};
    *bytes = (struct buf){.cap = CAP};
    for (unsigned i = 0; i < BIG / 3; i++) {
        unsigned char three[] = {(unsigned char)i, (unsigned char)(i >> 8), 0};
        buf_put(bytes, str_from(three, 3));
    }
    buf_put(message,
            STR("Subject: big\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n"));
    for (unsigned i = 0; i < BIG / 64; i++)
        buf_putf(message, "%08u this is one of many lines, each of which is different\r\n", i);
    buf_put(message, STR("--b\r\nContent-Transfer-Encoding: base64\r\n\r\n"));
    for (size_t at = 0; at < buf_len(bytes); at += 57) {
        assert_rc(base64_encode(message, str_sub(buf_str(bytes), at, 57)), RC_OK);
        buf_put(message, STR("\r\n"));
    }
    buf_put(message, STR("--b--\r\n"));
    assert_false(message->over || bytes->over);
}

static void expect_literal(int fd, const char *before, struct str bytes, const char *after)
{
    struct buf all = {.cap = CAP};
    buf_put(&all, str_of(before));
    buf_putf(&all, "{%zu}\r\n", bytes.n);
    buf_put(&all, bytes);
    buf_put(&all, str_of(after));
    assert_false(all.over);
    client_expect(fd, buf_str(&all));
    buf_fini(&all);
}

/* Bodies over many pages, and parts of them; the same when nothing is in memory. */
static void check_big(struct home *h, bool is_cold)
{
    struct buf message, bytes;
    make_big(&message, &bytes);
    home_deliver_many(h, h->alice, buf_str(&message), 1);
    int fd = client_select(h, "EXAMINE");
    kv_mem_cold(h->kv, is_cold);
    client_send(fd, STR("a FETCH 1 BODY[]\r\n"));
    expect_literal(fd, "* 1 FETCH (BODY[] ", buf_str(&message), ")\r\na OK FETCH completed\r\n");
    client_send(fd, STR("b FETCH 1 BODY[]<65530.200000>\r\n"));
    expect_literal(fd, "* 1 FETCH (BODY[]<65530> ", str_sub(buf_str(&message), 65530, 200000),
                   ")\r\nb OK FETCH completed\r\n");
    client_send(fd, STR("c FETCH 1 BINARY[2]\r\n"));
    expect_literal(fd, "* 1 FETCH (BINARY[2] ~", buf_str(&bytes), ")\r\nc OK FETCH completed\r\n");
    client_send(fd, STR("d FETCH 1 (BINARY[2]<100001.300000> BINARY.SIZE[2])\r\n"));
    expect_literal(fd, "* 1 FETCH (BINARY[2]<100001> ~", str_sub(buf_str(&bytes), 100001, 300000),
                   " BINARY.SIZE[2] 699999)\r\nd OK FETCH completed\r\n");
    client_send(fd, STR("e FETCH 1 BODY[HEADER]\r\n"));
    expect_literal(fd, "* 1 FETCH (BODY[HEADER] ", str_head(buf_str(&message), 59),
                   ")\r\ne OK FETCH completed\r\n");
    kv_mem_cold(h->kv, false);
    client_close(h->net, fd);
    buf_fini(&message);
    buf_fini(&bytes);
}

static void test_big(void **state)
{
    struct home h;
    for (int is_cold = 0; is_cold < 2; is_cold++) {
        home_make(&h);
        home_start(&h);
        check_big(&h, is_cold);
        home_end(&h);
    }
}

/* --- many messages ---------------------------------------------------------------------------- */

enum { MANY = 2300 };
static const char small[] = "From: A <a@example.test>\r\nSubject: one\r\n\r\nHello\r\n";

static void expect_rows(int fd, bool has_uid, const char *rest, unsigned from, unsigned to)
{
    struct buf all = {.cap = CAP};
    for (unsigned i = from; i <= to; i++) {
        buf_putf(&all, "* %u FETCH (", i);
        if (has_uid)
            buf_putf(&all, "UID %u ", i);
        buf_put(&all, str_of(rest));
    }
    assert_false(all.over);
    client_expect(fd, buf_str(&all));
    buf_fini(&all);
}

#define ENVELOPE                                                                                   \
    "(NIL \"one\" ((\"A\" NIL \"a\" \"example.test\")) ((\"A\" NIL \"a\" \"example.test\")) "      \
    "((\"A\" NIL \"a\" \"example.test\")) NIL NIL NIL NIL NIL)"

/* Summaries that are there and summaries that are made, in memory or not. */
static void test_many(void **state)
{
    struct home h;
    home_make(&h);
    home_start(&h);
    home_deliver_many(&h, h.alice, str_of(small), MANY);
    int fd = client_select(&h, "SELECT");
    client_talk(fd,
                "C: a FETCH 500:600 BODYSTRUCTURE\n"
                "P: * 500 FETCH (BODYSTRUCTURE (\n",
                1 << 20);
    for (int i = 501; i <= 600; i++)
        client_talk(fd, "P: * \n", 1 << 20);
    client_talk(fd, "S: a OK FETCH completed\n", 1 << 20);
    for (int is_cold = 0; is_cold < 2; is_cold++) {
        kv_mem_cold(h.kv, is_cold);
        client_send(fd, STR("b FETCH 2000:*,1:700,650:1500 (UID ENVELOPE FLAGS)\r\n"));
        expect_rows(fd, true, "ENVELOPE " ENVELOPE " FLAGS ())\r\n", 1, 1500);
        expect_rows(fd, true, "ENVELOPE " ENVELOPE " FLAGS ())\r\n", 2000, MANY);
        client_talk(fd, "S: b OK FETCH completed\n", 1 << 20);
    }
    kv_mem_cold(h.kv, false);
    client_close(h.net, fd);
    home_end(&h);
}

/* \Seen over several pages, each one change; told once, and to others. */
static void test_many_seen(void **state)
{
    struct home h;
    home_make(&h);
    home_start(&h);
    home_deliver_many(&h, h.alice, str_of(small), MANY);
    int fd = client_select(&h, "SELECT"), other = client_select(&h, "SELECT");
    struct kv_mem_stats before, after;
    home_flag(&h, h.alice, 7, STORE_DRAFT);
    kv_mem_stats(h.kv, &before);
    client_send(fd, STR("a FETCH 1:* BODY[TEXT]\r\n"));
    expect_rows(fd, false, "BODY[TEXT] {7}\r\nHello\r\n FLAGS (\\Seen))\r\n", 1, 6);
    expect_rows(fd, false, "BODY[TEXT] {7}\r\nHello\r\n FLAGS (\\Seen \\Draft))\r\n", 7, 7);
    expect_rows(fd, false, "BODY[TEXT] {7}\r\nHello\r\n FLAGS (\\Seen))\r\n", 8, MANY);
    client_talk(fd, "S: a OK FETCH completed\n", 1 << 20);
    kv_mem_stats(h.kv, &after);
    assert_int_equal(after.commits - before.commits, 3);
    client_talk(fd, "C: b NOOP\nS: b OK NOOP completed\n", 1 << 20);
    client_send(other, STR("c NOOP\r\n"));
    expect_rows(other, false, "FLAGS (\\Seen))\r\n", 1, 6);
    expect_rows(other, false, "FLAGS (\\Seen \\Draft))\r\n", 7, 7);
    expect_rows(other, false, "FLAGS (\\Seen))\r\n", 8, MANY);
    client_talk(other, "S: c OK NOOP completed\n", 1 << 20);
    client_close(h.net, other);
    client_close(h.net, fd);
    home_end(&h);
}

/* --- what goes wrong -------------------------------------------------------------------------- */

/* Nothing can be written: mail can be read all the same, and the client is told. */
static void test_full(void **state)
{
    struct home h;
    home_make(&h);
    home_start(&h);
    home_deliver(&h, h.alice, small);
    int fd = client_select(&h, "SELECT");
    kv_mem_fail(h.kv, RC_FULL);
    client_talk(fd,
                "C: a FETCH 1 BODY[TEXT]\n"
                "S: * 1 FETCH (BODY[TEXT] {7}\n"
                "S: Hello\n"
                "S: )\n"
                "P: a NO [UNAVAILABLE] \n"
                "C: b FETCH 1 (BODY[TEXT]<0.1> FLAGS)\n"
                "S: * 1 FETCH (BODY[TEXT]<0> {1}\n"
                "S: H FLAGS (\\Seen))\n"
                "S: b OK FETCH completed\n",
                1 << 20);
    client_close(h.net, fd);
    home_end(&h);
}

/* A body that nobody can read here: under a codec that is not known. */
static void deliver_unreadable(struct home *h)
{
    uint32_t inbox;
    struct kv_blob_id blob;
    struct inbox_op o;
    struct store_account *account = home_open(h, h->alice, &inbox);
    struct kv_blob_out *out = kv_blob_new(h->kv, (struct kv_part){KV_ACCOUNT, h->alice}, 9, 0);
    assert_rc(kv_blob_write(out, STR("?")), RC_OK);
    assert_rc(kv_blob_finish(&out, &blob), RC_OK);
    struct store_append append = {.blob = blob, .size = 1, .received = NS_PER_SEC};
    inbox_op_init(&o);
    assert_rc(store_append(account, &append, 0, &o.op), RC_OK);
    inbox_op_wait(&o);
    kv_blob_forget(h->kv, blob);
    store_account_close(&account);
}

static void test_unreadable(void **state)
{
    struct home h;
    home_make(&h);
    home_start(&h);
    home_deliver(&h, h.alice, small);
    deliver_unreadable(&h);
    home_deliver(&h, h.alice, small);
    int fd = client_select(&h, "EXAMINE");
    client_talk(fd,
                "C: a FETCH 1:* (UID BODY[TEXT] RFC822.SIZE)\n"
                "S: * 1 FETCH (UID 1 BODY[TEXT] {7}\n"
                "S: Hello\n"
                "S:  RFC822.SIZE 49)\n"
                "S: * 2 FETCH (UID 2 RFC822.SIZE 1)\n"
                "S: * 3 FETCH (UID 3 BODY[TEXT] {7}\n"
                "S: Hello\n"
                "S:  RFC822.SIZE 49)\n"
                "P: a NO [CANNOT] \n"
                "C: b FETCH 1:2 BODY[TEXT]<0.1>\n"
                "S: * 1 FETCH (BODY[TEXT]<0> {1}\n"
                "S: H)\n"
                "P: b NO [CANNOT] \n"
                "C: c FETCH 2 ENVELOPE\n"
                "P: c NO [CANNOT] \n"
                "C: d FETCH 2 INTERNALDATE\n"
                "S: * 2 FETCH (INTERNALDATE \" 1-Jan-1970 00:00:01 +0000\")\n"
                "S: d OK FETCH completed\n",
                1 << 20);
    client_close(h.net, fd);
    home_end(&h);
}

/* --- limits ----------------------------------------------------------------------------------- */

static void put_repeated(struct buf *to, const char *before, const char *word, size_t n,
                         const char *after)
{
    buf_put(to, str_of(before));
    for (size_t i = 0; i < n; i++)
        buf_put(to, str_of(word));
    buf_put(to, str_of(after));
}

static bool is_taken(const char *before, const char *word, size_t n, const char *after)
{
    struct arena arena;
    struct imap_fetch_program program;
    struct buf text = {.cap = CAP};
    arena_init(&arena, 64 << 20);
    put_repeated(&text, before, word, n, after);
    struct imap_parse p = {.rest = buf_str(&text), .arena = &arena};
    bool is_good = imap_take_fetch(&p, false, &program);
    assert_true(is_good || p.is_limit);
    arena_fini(&arena);
    buf_fini(&text);
    return is_good;
}

static void test_limits(void **state)
{
    assert_true(is_taken("(UID", " UID", IMAP_FETCH_ITEMS - 1, ")"));
    assert_false(is_taken("(UID", " UID", IMAP_FETCH_ITEMS, ")"));
    assert_true(is_taken("BODY[1", ".1", IMAP_FETCH_PATH - 1, "]"));
    assert_false(is_taken("BODY[1", ".1", IMAP_FETCH_PATH, "]"));
    assert_true(is_taken("BODY[HEADER.FIELDS (a", " a", IMAP_FETCH_NAMES - 1, ")]"));
    assert_false(is_taken("BODY[HEADER.FIELDS (a", " a", IMAP_FETCH_NAMES, ")]"));
    assert_false(is_taken("BODY[HEADER.FIELDS (", "a", IMAP_FETCH_LABEL, ")]"));
}

/* Texts that are longer than a page of output: many recipients, and header fields of all of them.
 */
static void test_long_texts(void **state)
{
    struct home h;
    struct buf message = {.cap = CAP}, summary = {.cap = CAP}, all = {.cap = CAP};
    struct str envelope, structure;
    put_repeated(&message, "To: a@example.test", ",\r\n someone.else@example.test", 5000,
                 "\r\n\r\nHello\r\n");
    assert_rc(mime_summary_of(buf_str(&message), &summary), RC_OK);
    assert_true(mime_summary_read(buf_str(&summary), &envelope, &structure));
    assert_true(envelope.n > 100 << 10);
    home_make(&h);
    home_start(&h);
    home_deliver_many(&h, h.alice, buf_str(&message), 1);
    int fd = client_select(&h, "EXAMINE");
    for (int i = 0; i < 2; i++) {
        buf_clear(&all);
        buf_put(&all, STR("* 1 FETCH (ENVELOPE "));
        buf_put(&all, envelope);
        buf_put(&all, STR(" BODYSTRUCTURE "));
        buf_put(&all, structure);
        buf_put(&all, STR(" ENVELOPE "));
        buf_put(&all, envelope);
        buf_put(&all, STR(")\r\na OK FETCH completed\r\n"));
        client_send(fd, STR("a FETCH 1 (ENVELOPE BODYSTRUCTURE ENVELOPE)\r\n"));
        client_expect(fd, buf_str(&all));
    }
    client_send(fd, STR("b FETCH 1 BODY[HEADER.FIELDS (to)]\r\n"));
    expect_literal(fd, "* 1 FETCH (BODY[HEADER.FIELDS (to)] ",
                   str_head(buf_str(&message), buf_len(&message) - 7),
                   ")\r\nb OK FETCH completed\r\n");
    client_close(h.net, fd);
    home_end(&h);
    buf_fini(&message);
    buf_fini(&summary);
    buf_fini(&all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_big),        cmocka_unit_test(test_many),
        cmocka_unit_test(test_many_seen),  cmocka_unit_test(test_full),
        cmocka_unit_test(test_unreadable), cmocka_unit_test(test_limits),
        cmocka_unit_test(test_long_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
