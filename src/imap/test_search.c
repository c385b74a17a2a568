/* SEARCH: its parts, and as clients see it. The comparison with a slow model over many messages is
 * tests/clients/test_search_model.py. */
#include "imap/search_int.h"
#include "imap/test_home.h"

static struct arena arena;

static bool take(const char *text, struct imap_search_program *out, struct imap_parse *p)
{
    arena_reset(&arena);
    *p = (struct imap_parse){.rest = str_of(text), .arena = &arena};
    return imap_take_search(p, out);
}

/* --- the grammar ------------------------------------------------------------------------------ */

static const char *const good[] = {
    "ALL",
    "answered UnSeen",
    "1:*,5 uid 7,9:*",
    "*",
    "(ALL)",
    "((1) (2 ALL))",
    "NOT NOT NOT SEEN",
    "OR OR SEEN DELETED (DRAFT FLAGGED)",
    "KEYWORD $Junk UNKEYWORD x",
    "LARGER 0 SMALLER 4294967295",
    "BEFORE 1-Feb-1994 ON \"01-Feb-1994\" SINCE 31-Dec-9999 SENTBEFORE 1-Jan-0000 SENTON "
    "1-Jan-1970 "
    "SENTSINCE 29-Feb-2000",
    "FROM x TO \"\" CC \"a b\" BCC {1}\r\n) SUBJECT {0+}\r\n",
    "HEADER X-Y z BODY a] TEXT b",
    "CHARSET UTF-8 TEXT x",
    "charset \"no such one\" ALL",
    "NEW OLD RECENT",
};
static const struct {
    const char *text, *expected;
} bad[] = {
    {"", "an atom"},
    {" ALL", "an atom"},
    {"ALL ", "an atom"},
    {"ALL  SEEN", "an atom"},
    {"NOTHING", "a search key"},
    {"CHARSET", "a space"},
    {"CHARSET UTF-8", "a space"},
    {"ALL CHARSET UTF-8", "a search key"},
    {"(ALL", "a closing parenthesis"},
    {"()", "an atom"},
    {"ALL)", "the end of the command"},
    {"(ALL)(ALL)", "the end of the command"},
    {"OR SEEN", "a space"},
    {"NOT", "a space"},
    {"LARGER x", "a number below 4294967296"},
    {"LARGER 4294967296", "a number below 4294967296"},
    {"ON 30-Feb-2000", "a date such as 17-Jul-1996"},
    {"ON 1-1-2000", "a date such as 17-Jul-1996"},
    {"KEYWORD \\Seen", "an atom"},
    {"FROM", "a space"},
    {"HEADER x", "a space"},
    {"0", "a number from 1 to 4294967295"},
    {"1:", "a number from 1 to 4294967295"},
    {"UID x", "a number from 1 to 4294967295"},
    {"UID", "a space"},
};

static void keys_are_read(void **state)
{
    struct imap_search_program program;
    struct imap_parse p;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        if (!take(good[i], &program, &p))
            fail_msg("%s: expected %s", good[i], p.error);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (take(bad[i].text, &program, &p))
            fail_msg("%s was taken", bad[i].text);
        if (strcmp(p.error, bad[i].expected) != 0)
            fail_msg("%s: expected %s, not %s", bad[i].text, p.error, bad[i].expected);
        assert_false(p.is_limit);
    }
    arena_fini(&arena);
}

/* `n` times the word, then ALL. */
static bool take_many(const char *word, size_t n, bool *out_is_limit)
{
    struct buf text = {.cap = 1 << 20};
    struct imap_search_program program;
    struct imap_parse p = {.arena = &arena};
    while (n--)
        buf_put(&text, str_of(word));
    buf_put(&text, STR("ALL"));
    p.rest = buf_str(&text);
    bool is_good = imap_take_search(&p, &program);
    *out_is_limit = p.is_limit;
    buf_fini(&text);
    return is_good;
}

static void keys_are_limited(void **state)
{
    bool is_limit;
    assert_true(take_many("NOT ", IMAP_SEARCH_DEPTH - 1, &is_limit));
    assert_false(take_many("NOT ", IMAP_SEARCH_DEPTH, &is_limit));
    assert_true(is_limit);
    assert_true(take_many("1,3,5,7 ", 900, &is_limit));
    assert_false(take_many("1,2,3,4,5,6,7,8,9,1,2,3,4,5,6,7,8,9,1 ", 900, &is_limit));
    assert_true(is_limit);
    assert_false(take_many("(", 100000, &is_limit));
    assert_true(is_limit);
    assert_true(take_many("SEEN ", IMAP_SEARCH_KEYS - 2, &is_limit));
    assert_false(take_many("SEEN ", IMAP_SEARCH_KEYS - 1, &is_limit));
    assert_true(is_limit);
    assert_true(take_many("TEXT x ", IMAP_SEARCH_TEXTS, &is_limit));
    assert_false(take_many("TEXT x ", IMAP_SEARCH_TEXTS + 1, &is_limit));
    assert_true(is_limit);
    arena_fini(&arena);
}

/* --- rows ------------------------------------------------------------------------------------- */

enum { ROWS = 1000 };

/* Many at once and one alone say the same, wherever pieces begin. */
static void assert_agree(const char *text, const struct store_row *rows)
{
    static const size_t pieces[] = {1, 63, 64, 65, 200, IMAP_SEARCH_ROWS};
    struct imap_search_program program;
    struct imap_search_bits bits;
    struct imap_parse p;
    struct imap_span at[] = {{3, 5}, {60, 70}, {100, 400}, {999, 1000}};
    assert_true(take(text, &program, &p));
    for (struct imap_search_key *key = program.all->first; key; key = key->next) {
        key->spans = (struct imap_spans){.at = at, .n = 4};
        key->keyword = 1;
    }
    for (size_t i = 0; i < ROWS; i++) {
        size_t n = pieces[i % 6] < ROWS - i ? pieces[i % 6] : ROWS - i;
        imap_search_rows(program.all, rows + i, n, i, &bits);
        for (size_t k = 0; k < IMAP_SEARCH_ROWS; k++) {
            bool yes = bits.yes[k / 64] >> (k % 64) & 1, may = bits.may[k / 64] >> (k % 64) & 1;
            enum imap_search_answer one = IMAP_SEARCH_NO;
            if (k < n)
                one = imap_search_row(program.all, rows + i + k, i + k);
            assert_int_equal(yes, one == IMAP_SEARCH_YES);
            assert_int_equal(may, one != IMAP_SEARCH_NO);
        }
    }
}

static void rows_decide(void **state)
{
    static const char *const texts[] = {
        "ALL",
        "SEEN",
        "UNSEEN",
        "NEW",
        "NOT NEW",
        "OLD",
        "1",
        "NOT UID 1",
        "1 SEEN",
        "OR SEEN DELETED",
        "NOT (SEEN DELETED)",
        "KEYWORD a",
        "UNKEYWORD a",
        "LARGER 500",
        "SMALLER 500",
        "LARGER 4294967295",
        "SMALLER 0",
        "OR SMALLER 200 LARGER 700",
        "BEFORE 3-Jan-1970",
        "ON 3-Jan-1970",
        "SINCE 3-Jan-1970",
        "BEFORE 1-Jan-1970",
        "SINCE 1-Jan-1960",
        "BEFORE 31-Dec-9999",
        "ON 31-Dec-9999",
        "FROM x",
        "NOT FROM x",
        "OR FROM x SEEN",
        "NOT (FROM x SEEN)",
        "SENTON 1-Jan-2000 SEEN DRAFT",
    };
    static struct store_row rows[ROWS];
    for (size_t i = 0; i < ROWS; i++)
        rows[i] = (struct store_row){.uid = (uint32_t)i + 1,
                                     .flags = (uint32_t)(i * 7 % 32),
                                     .keywords = i % 3,
                                     .size = i,
                                     .received = i * 3600 * NS_PER_SEC};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        assert_agree(texts[i], rows);
    arena_fini(&arena);
}

/* --- looking for strings ---------------------------------------------------------------------- */

static bool find_simply(struct str needle, struct str in)
{
    for (size_t i = 0; i + needle.n <= in.n; i++) {
        size_t k = 0;
        while (k < needle.n && ascii_lower(in.p[i + k]) == needle.p[k])
            k++;
        if (k == needle.n)
            return true;
    }
    return false;
}

/* In exactly as much memory as there is text, so that a look beyond is seen. */
static void strings_are_found(void **state)
{
    static const char letters[] = "aAbB@`-z ";
    uint64_t seed = 7;
    for (unsigned i = 0; i < 20000; i++) {
        char needle[8];
        struct imap_needle n;
        seed = seed * 6364136223846793005U + 1442695040888963407U;
        size_t length = (seed >> 33) % 300, n_needle = (seed >> 50) % sizeof needle;
        char *text = mem_alloc(length + !length);
        for (size_t k = 0; k < length; k++) {
            seed = seed * 6364136223846793005U + 1442695040888963407U;
            text[k] = letters[(seed >> 40) % (sizeof letters - 1)];
        }
        for (size_t k = 0; k < n_needle; k++) {
            seed = seed * 6364136223846793005U + 1442695040888963407U;
            needle[k] = ascii_lower(letters[(seed >> 40) % (sizeof letters - 1)]);
        }
        imap_needle_init(&n, str_from(needle, n_needle));
        assert_int_equal(imap_needle_find(&n, str_from(text, length)),
                         find_simply(n.text, str_from(text, length)));
        assert_true(imap_is_ascii(str_from(text, length)));
        if (length) {
            text[seed % length] = (char)0x80;
            assert_false(imap_is_ascii(str_from(text, length)));
        }
        free(text);
    }
}

/* Text that nearly is the string at every place costs no more than a few looks at it: a thousand
 * times the length would take minutes here. */
static void strings_cost_what_they_are_long(void **state)
{
    enum { LENGTH = 4 << 20, NEEDLE = 1000 };
    struct imap_needle n;
    char needle[NEEDLE];
    char *text = mem_alloc(LENGTH);
    memset(text, 'Z', LENGTH);
    memset(needle, 'z', NEEDLE);
    needle[NEEDLE - 1] = 'e';
    imap_needle_init(&n, str_from(needle, NEEDLE));
    for (unsigned i = 0; i < 20; i++)
        assert_false(imap_needle_find(&n, str_from(text, LENGTH)));
    for (size_t i = 8; i < 20; i++) { /* wherever pieces end */
        text[4096 * i + i - 14] = 'E';
        assert_true(imap_needle_find(&n, str_from(text, LENGTH)));
        text[4096 * i + i - 14] = 'Z';
    }
    free(text);
}

/* --- days ------------------------------------------------------------------------------------- */

static void days_are_read(void **state)
{
    static const struct {
        const char *value;
        int64_t day; /* -1: none */
    } dates[] = {
        {"Thu, 1 Jan 1970 23:59:59 -1200", 0},
        {"2 Jan 1970 00:00 +0000", 1},
        {" Fri , 02 \r\n Jan 70 1:1:1 GMT (a (nested\\) one) 5)", 1},
        {"(3 Feb 2001) Sat, 03 (x) Jan (y) 1970", 2},
        {"29 Feb 2000", 11016},
        {"29 Feb 2001", -1},
        {"1 Jan 49", 28855},
        {"1 January 103", 12053},
        {"Mon Feb  7 21:52:25 1994", -1},
        {"", -1},
        {"Fri", -1},
        {"1", -1},
        {"1 Jan", -1},
        {"99999999999999999999 Jan 2000", -1},
        {"(", -1},
        {"(\\", -1},
    };
    for (size_t i = 0; i < sizeof dates / sizeof *dates; i++) {
        int64_t day = -1;
        bool is_read = imap_read_date(str_of(dates[i].value), &day);
        assert_int_equal(is_read, dates[i].day >= 0);
        assert_int_equal(day, dates[i].day);
    }
}

/* --- sessions --------------------------------------------------------------------------------- */

static const char first[] = "Date: Mon, 1 Jan 2001 23:30:00 -0500\r\n"
                            "From: \"Zo\xc3\xab Q.\" <zoe@example.org>, friends: a@b.test;\r\n"
                            "To: =?iso-8859-1?Q?J=FCrgen?= <JK@Example.COM>\r\n"
                            "Cc: undisclosed-recipients:;\r\n"
                            "Subject: =?utf-8?B?w5xiZXJyYXNjaHVuZw==?= for\r\n you\r\n"
                            "X-Empty:\r\n"
                            "X-Twice: one\r\n"
                            "X-Twice: two\r\n"
                            "Content-Type: text/plain; charset=iso-8859-1\r\n"
                            "Content-Transfer-Encoding: quoted-printable\r\n"
                            "\r\n"
                            "Gr=FC=DFe aus K=F6ln, se=\r\nparated\r\n";
static const char second[] = "From: plain@example.net\r\n"
                             "Bcc: <hidden>\r\n"
                             "Subject: Quarterly   report\r\n"
                             "\r\n"
                             "The Quick brown fox\r\njumps\r\n";
static const char third[] = "From: m@example.net\r\n"
                            "MIME-Version: 1.0\r\n"
                            "Content-Type: multipart/mixed; boundary=b\r\n"
                            "\r\n"
                            "preamble\r\n"
                            "--b\r\n"
                            "Content-Type: text/plain; charset=utf-8\r\n"
                            "Content-Transfer-Encoding: base64\r\n"
                            "X-Inner: needle\r\n"
                            "\r\n"
                            "SGlkZGVuIFRyZWFzdXJl\r\n"
                            "--b\r\n"
                            "Content-Type: application/octet-stream\r\n"
                            "\r\n"
                            "opaque\r\n"
                            "--b--\r\n";

static int select_three(struct home *h)
{
    home_make(h);
    home_start(h);
    home_deliver(h, h->alice, first);
    home_deliver(h, h->alice, second);
    home_deliver(h, h->alice, third);
    home_expunge(h, h->alice, 1);
    home_deliver(h, h->alice, first); /* 2, 3, 4 */
    return client_select(h, "SELECT");
}

static const struct {
    const char *keys, *numbers;
} searches[] = {
    {"ALL", " 1 2 3"},
    {"2:3 NOT 2", " 3"},
    {"UID 3:*", " 2 3"},
    {"UID 99", ""},
    {"UID 99:*", " 3"},
    {"FROM example.net", " 1 2"},
    {"FROM \"<ZOE@\"", " 3"},
    {"FROM {4}\r\nZO\xc3\x8b", " 3"},
    {"FROM friends", " 3"},
    {"FROM a@b.test", " 3"},
    {"TO {6}\r\n\xc3\xbcRGEN", " 3"},
    {"TO \"J\xc3\xbc\"", " 3"},
    {"TO jk@example.com", " 3"},
    {"TO \"\"", " 3"},
    {"CC undisclosed", " 3"},
    {"BCC hidden", " 1"},
    {"BCC domain", ""},
    {"SUBJECT \"for you\"", " 3"},
    {"SUBJECT \"quarterly   REPORT\"", " 1"},
    {"SUBJECT w5xi", ""},
    {"SUBJECT \"\"", " 1 3"},
    {"HEADER x-empty \"\"", " 3"},
    {"HEADER x-empty x", ""},
    {"HEADER X-TWICE two", " 3"},
    {"HEADER x-twice \"one two\"", ""},
    {"HEADER subject report", " 1"},
    {"SENTON 1-Jan-2001", " 3"}, /* its own day, not that of UTC */
    {"SENTBEFORE 2-Jan-2001", " 3"},
    {"SENTSINCE 2-Jan-2001", ""},
    {"NOT SENTSINCE 1-Jan-1990", " 1 2"},
    {"ON 2-Jan-2001", " 1 2 3"},
    {"BODY separated", " 3"},
    {"BODY \"quick BROWN\"", " 1"},
    {"BODY report", ""},
    {"TEXT report", " 1"},
    {"TEXT \"quarterly   report\"", " 1"},
    {"TEXT \"from: plain@example\"", " 1"},
    {"TEXT treasure", " 2"},
    {"BODY \"hidden t\"", " 2"},
    {"BODY needle", " 2"},
    {"BODY SGlkZGVu", ""},
    {"TEXT opaque", ""},
    {"TEXT \"\"", " 1 2 3"},
    {"BODY \"\" NOT 2", " 1 3"},
    {"OR BODY treasure FROM zoe", " 2 3"},
    {"NOT TEXT e", ""},
    {"TEXT {6}\r\nGr\xc3\xbc"
     "ss",
     ""}, /* sharp s equals itself alone [RFC5051 2] [RFC5255 4.2] */
    {"TEXT {6}\r\nGR\xc3\x9c\xc3\x9f", " 3"},
    {"CHARSET ISO-8859-1 TEXT {5}\r\nGR\xdc\xdf"
     "e",
     " 3"},
    {"CHARSET utf-8 BODY {5}\r\nk\xc3\xb6ln", " 3"},
    {"FROM m OR SEEN TEXT treasure", " 2"},
};

static void keys_find_messages(void **state)
{
    struct home h;
    int fd = select_three(&h);
    for (size_t i = 0; i < sizeof searches / sizeof *searches; i++) {
        struct buf out = {.cap = 4096};
        buf_putf(&out, "x SEARCH %s\r\n", searches[i].keys);
        client_send(fd, buf_str(&out));
        if (strchr(searches[i].keys, '{'))
            client_expect(fd, STR("+ go on\r\n"));
        buf_clear(&out);
        buf_putf(&out, "* SEARCH%s\r\nx OK SEARCH completed\r\n", searches[i].numbers);
        client_expect(fd, buf_str(&out));
        buf_fini(&out);
    }
    client_close(h.net, fd);
    home_end(&h);
}

/* --- columns ---------------------------------------------------------------------------------- */

static void columns_go_on(void **state)
{
    struct imap_columns all;
    struct imap_column_key key = {.account = 1, .mailbox = 2, .field = IMAP_SEARCH_FROM};
    struct imap_column_maker m = {.max = 1000};
    struct str text;
    size_t at = 0;
    imap_columns_init(&all, 2000);
    assert_null(imap_column_take(&all, &key));
    imap_column_add(&m, 3, STR("three"));
    imap_column_add(&m, 5, STR(""));
    imap_column_publish(&all, &key, NULL, &m);
    imap_column_maker_fini(&m);
    struct imap_column *first_one = imap_column_take(&all, &key);
    m = (struct imap_column_maker){.max = 1000};
    imap_column_add(&m, 9, STR("nine"));
    imap_column_publish(&all, &key, first_one, &m);
    imap_column_maker_fini(&m);
    struct imap_column *both = imap_column_take(&all, &key);
    assert_false(imap_column_find(first_one, 9, &at, &text)); /* whoever holds it keeps it */
    at = 0;
    assert_true(imap_column_find(both, 3, &at, &text));
    assert_str(text, "three");
    assert_false(imap_column_find(both, 4, &at, &text));
    assert_true(imap_column_find(both, 9, &at, &text));
    assert_str(text, "nine");
    assert_true(imap_column_find(both, 5, &at, &text)); /* back again */
    assert_int_equal(text.n, 0);
    key.field = IMAP_SEARCH_TO;
    assert_null(imap_column_take(&all, &key));
    imap_column_release(&all, &first_one);
    imap_column_release(&all, &both);
    imap_columns_fini(&all);
}

static void columns_are_bounded(void **state)
{
    enum { MANY = 50, MAX = 4000 };
    struct imap_columns all;
    struct imap_column_maker m;
    imap_columns_init(&all, MAX);
    for (uint32_t i = 1; i <= MANY; i++) {
        struct imap_column_key key = {.account = i};
        m = (struct imap_column_maker){.max = 500};
        imap_column_add(&m, 1, str_from((char[400]){0}, 400));
        imap_column_publish(&all, &key, NULL, &m);
        imap_column_maker_fini(&m);
        assert_true(all.bytes <= MAX);
        struct imap_column *newest = imap_column_take(&all, &key);
        assert_non_null(newest);
        imap_column_release(&all, &newest);
    }
    assert_null(imap_column_take(&all, &(struct imap_column_key){.account = 1}));
    m = (struct imap_column_maker){.max = 500};
    imap_column_add(&m, 1, str_from((char[501]){0}, 501)); /* more than one may have */
    assert_true(m.is_off);
    imap_column_maker_fini(&m);
    m = (struct imap_column_maker){.max = 500};
    imap_column_add(&m, 2, STR("x"));
    imap_column_add(&m, 2, STR("x")); /* UIDs grow */
    assert_true(m.is_off);
    imap_column_maker_fini(&m);
    imap_columns_fini(&all);
}

static void expect_search(int fd, const char *keys, const char *numbers)
{
    struct buf text = {.cap = 4096};
    buf_putf(&text, "x SEARCH %s\r\n", keys);
    client_send(fd, buf_str(&text));
    buf_clear(&text);
    buf_putf(&text, "* SEARCH%s\r\nx OK SEARCH completed\r\n", numbers);
    client_expect(fd, buf_str(&text));
    buf_fini(&text);
}

static uint64_t scans(struct home *h)
{
    struct kv_mem_stats stats;
    kv_mem_stats(h->kv, &stats);
    return stats.scans + stats.keys_read;
}

/* The second search of a field reads nothing; what is new is read, and what has gone is no hit. */
static void fields_stay_in_memory(void **state)
{
    struct home h;
    int fd = select_three(&h);
    expect_search(fd, "FROM example", " 1 2 3");
    expect_search(fd, "SENTON 1-Jan-2001", " 3");
    uint64_t before = scans(&h);
    expect_search(fd, "FROM example.net NOT FROM plain", " 2");
    expect_search(fd, "OR FROM \"zo\" SENTON 1-Jan-2001", " 3");
    assert_int_equal(scans(&h), before);
    home_expunge(&h, h.alice, 2);
    home_deliver(&h, h.alice, second);
    client_talk(fd,
                "C: n NOOP\n"
                "S: * 1 EXPUNGE\n"
                "S: * 3 EXISTS\n"
                "S: n OK NOOP completed\n",
                1 << 20);
    expect_search(fd, "FROM plain", " 3");
    assert_true(scans(&h) > before);
    before = scans(&h);
    expect_search(fd, "FROM plain", " 3");
    expect_search(fd, "NOT FROM plain", " 1 2");
    assert_int_equal(scans(&h), before);
    expect_search(fd, "FROM plain SUBJECT report", " 3"); /* one of the two fields is known */
    expect_search(fd, "SUBJECT report", " 3");
    expect_search(fd, "FROM \"\"", " 1 2 3");
    client_close(h.net, fd);
    home_end(&h);
}

/* --- long ones -------------------------------------------------------------------------------- */

/* Text that has to be decoded, a megabyte of it. */
static struct buf long_message(void)
{
    struct buf text = {.cap = 2 << 20};
    buf_put(&text, STR("From: a@b.test\r\nContent-Type: text/plain; charset=iso-8859-1\r\n"
                       "Content-Transfer-Encoding: quoted-printable\r\n\r\n"));
    while (buf_len(&text) < 1 << 20)
        buf_put(&text, STR("Gr=FC=DFe, and a line that is decoded slowly\r\n"));
    return text;
}

static uint64_t blobs_read(struct home *h)
{
    struct kv_mem_stats stats;
    kv_mem_stats(h->kv, &stats);
    return stats.blobs_read;
}

/* A message is read in pieces of 64 KB at most: what was read tells how far a search went. */
/* Larger than the window: looked through in pieces, and found wherever it is. */
static void large_messages_are_searched(void **state)
{
    struct home h;
    struct buf text = long_message();
    buf_put(&text, STR("the v=C3=A4ry last w=\r\n=F6rd\r\n"));
    home_make(&h);
    home_start(&h);
    home_deliver_many(&h, h.alice, buf_str(&text), 2);
    home_deliver(&h, h.alice, second);
    int fd = client_select(&h, "SELECT");
    expect_search(fd, "TEXT \"W\xc3\x96RD\"", " 1 2");
    expect_search(fd,
                  "BODY \"last w\" TEXT \"gr\xc3\xbc\xc3\x9f"
                  "e\" FROM b.test",
                  " 1 2");
    expect_search(fd, "NOT BODY \"last x\" NOT TEXT fox", " 1 2");
    expect_search(fd, "HEADER content-type 8859 BODY ast", " 1 2");
    expect_search(fd, "BODY content-type", "");
    client_close(h.net, fd);
    buf_fini(&text);
    home_end(&h);
}

enum { LONG = 1000, ALL_OF_IT = LONG * 16 };

static void a_search_ends_with_its_client(void **state)
{
    struct home h;
    struct buf text = long_message();
    home_make(&h);
    home_start(&h);
    home_deliver_many(&h, h.alice, buf_str(&text), LONG);
    int fd = client_select(&h, "SELECT");
    uint64_t before = blobs_read(&h);
    client_send(fd, STR("a SEARCH TEXT \"not there\"\r\n"));
    while (blobs_read(&h) == before)
        usleep(1000); /* it has begun */
    close(fd);
    while (net_count(h.net))
        usleep(1000);
    assert_true(blobs_read(&h) - before < ALL_OF_IT);
    buf_fini(&text);
    home_end(&h);
}

static void a_search_ends_with_the_server(void **state)
{
    struct home h;
    struct buf text = long_message();
    home_make(&h);
    home_start(&h);
    home_deliver_many(&h, h.alice, buf_str(&text), LONG);
    int fd = client_select(&h, "SELECT");
    uint64_t before = blobs_read(&h);
    client_send(fd, STR("a SEARCH NOT BODY \"not there\"\r\n"));
    while (blobs_read(&h) == before)
        usleep(1000);
    net_drain(h.net);
    client_expect(fd, STR("* BYE the server is shutting down\r\n"));
    client_expect_end(fd);
    assert_true(blobs_read(&h) - before < ALL_OF_IT);
    buf_fini(&text);
    home_end(&h);
}

/* While a worker searches, others are served by the same loop and find what they look for. */
static void others_are_served(void **state)
{
    struct home h;
    struct buf text = long_message();
    home_make(&h);
    home_start(&h);
    home_deliver_many(&h, h.alice, buf_str(&text), LONG);
    home_deliver(&h, h.alice, second);
    int fd = client_select(&h, "SELECT"), other = client_select(&h, "SELECT");
    uint64_t before = blobs_read(&h);
    client_send(fd, STR("a SEARCH TEXT \"not there\"\r\n"));
    while (blobs_read(&h) == before)
        usleep(1000);
    client_talk(other,
                "C: a SEARCH SEEN\n"
                "S: * SEARCH\n"
                "S: a OK SEARCH completed\n"
                "C: b SEARCH 1001 TEXT fox\n" /* behind the other one's turn on the heavy lane */
                "S: * SEARCH 1001\n"
                "S: b OK SEARCH completed\n",
                1 << 20);
    assert_true(blobs_read(&h) - before < ALL_OF_IT);
    close(fd);
    client_close(h.net, other);
    buf_fini(&text);
    home_end(&h);
}

/* More numbers than one page of output takes. */
static void a_long_answer_comes_in_pages(void **state)
{
    enum { MANY = 20000 };
    struct home h;
    struct buf expected = {.cap = 1 << 20};
    home_make(&h);
    home_start(&h);
    home_deliver_many(&h, h.alice, STR("Subject: x\r\n\r\n"), MANY);
    int fd = client_select(&h, "SELECT");
    client_send(fd, STR("a UID SEARCH ALL\r\nb SEARCH SUBJECT X NOT 1:19999\r\n"));
    buf_put(&expected, STR("* SEARCH"));
    for (int i = 1; i <= MANY; i++)
        buf_putf(&expected, " %d", i);
    buf_put(&expected, STR("\r\na OK UID SEARCH completed\r\n"
                           "* SEARCH 20000\r\nb OK SEARCH completed\r\n"));
    client_expect(fd, buf_str(&expected));
    client_close(h.net, fd);
    buf_fini(&expected);
    home_end(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_are_read),
        cmocka_unit_test(keys_are_limited),
        cmocka_unit_test(rows_decide),
        cmocka_unit_test(strings_are_found),
        cmocka_unit_test(strings_cost_what_they_are_long),
        cmocka_unit_test(days_are_read),
        cmocka_unit_test(keys_find_messages),
        cmocka_unit_test(columns_go_on),
        cmocka_unit_test(columns_are_bounded),
        cmocka_unit_test(fields_stay_in_memory),
        cmocka_unit_test(large_messages_are_searched),
        cmocka_unit_test(a_search_ends_with_its_client),
        cmocka_unit_test(a_search_ends_with_the_server),
        cmocka_unit_test(others_are_served),
        cmocka_unit_test(a_long_answer_comes_in_pages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
