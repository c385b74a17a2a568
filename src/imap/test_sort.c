/* SORT and THREAD: their grammar, dates, limits, and as clients see them. The comparison with a
 * slow model over random mailboxes is tests/clients/test_sort_model.py. */
#include "imap/sort_int.h"
#include "imap/test_home.h"

/* --- dates ------------------------------------------------------------------------------------ */

static void sent_dates_are_read(void **state) /* [RFC5256 2.2] */
{
    static const struct {
        const char *value;
        int64_t seconds; /* -1: none */
    } dates[] = {
        {"31 Dec 2000 16:01:33 -0800", 978307293}, /* the RFC's own example */
        {"Mon, 1 Jan 2001 00:01:33 +0000", 978307293},
        {"1 Jan 2001 00:01:33 GMT", 978307293},
        {"31 Dec 2000 19:01:33 EST", 978307293},
        {"1 Jan 2001 00:01:33 Nowhere", 978307293}, /* no zone: UTC */
        {"1 Jan 2001 00:01:33", 978307293},
        {"1 Jan 2001 00:01:33 +9999", 978307293},
        {"1 Jan 2001 25:01:33 -0800", 978307200}, /* no time: midnight */
        {"1 Jan 2001", 978307200},
        {"1 Jan 2001 0:1 (comment) +0530", 978307260 - 19800},
        {"1 Jan 2001 00 : 01 : 33 +0000", 978307293},
        {"1 Jan 2001 noon", 978307200},
        {"nothing", -1},
        {"", -1},
    };
    for (size_t i = 0; i < sizeof dates / sizeof *dates; i++) {
        int64_t seconds = -1;
        assert_int_equal(imap_read_sent(str_of(dates[i].value), &seconds), dates[i].seconds >= 0);
        if (seconds != dates[i].seconds)
            fail_msg("%s: %lld", dates[i].value, (long long)seconds);
    }
    assert_true(imap_sort_time(-1) < imap_sort_time(0));
    assert_int_equal(imap_sort_time(INT64_MIN), 0);
}

/* --- numbers and ranks ------------------------------------------------------------------------ */

static void pairs_are_sorted(void **state)
{
    enum { N = 5000 };
    static struct imap_sort_pair pairs[N], room[N];
    uint64_t seed = 11;
    for (unsigned bits = 0; bits <= 64; bits += 16) {
        for (uint32_t i = 0; i < N; i++) {
            seed = seed * 6364136223846793005U + 1442695040888963407U;
            pairs[i] = (struct imap_sort_pair){bits ? seed >> (64 - bits) : 7, i};
        }
        imap_sort_pairs(pairs, room, N);
        for (uint32_t i = 1; i < N; i++)
            assert_true(pairs[i - 1].key < pairs[i].key ||
                        (pairs[i - 1].key == pairs[i].key && pairs[i - 1].at < pairs[i].at));
    }
    imap_sort_pairs(pairs, room, 0);
}

/* Ranks are those of a column made at once, in whatever pieces it grew. */
static void ranks_go_on(void **state)
{
    enum { N = 300 };
    static const char letters[] = "abcab\0\xc3\xff";
    struct imap_columns all;
    struct imap_column_key key = {.account = 1, .mailbox = 2, .field = IMAP_SORT_SUBJECT};
    struct imap_column *whole = NULL, *grown = NULL;
    struct imap_column_maker m = {.max = 1 << 20}, once = {.max = 1 << 20};
    imap_columns_init(&all, 1 << 20);
    uint64_t seed = 5;
    for (uint32_t i = 0; i < N; i++) {
        char text[12];
        seed = seed * 6364136223846793005U + 1442695040888963407U;
        size_t n = (seed >> 60) % sizeof text;
        for (size_t k = 0; k < n; k++)
            text[k] = letters[(seed >> (k * 4)) % (sizeof letters - 1)];
        imap_column_add(&m, i + 1, str_from(text, n));
        imap_column_add(&once, i + 1, str_from(text, n));
        if (i % 37 != 36 && i + 1 < N)
            continue;
        struct imap_column *next = imap_column_made(&all, &key, grown, &m, false);
        imap_column_release(&all, &grown);
        imap_column_maker_fini(&m);
        m = (struct imap_column_maker){.max = 1 << 20, .after = i + 1};
        grown = next;
    }
    whole = imap_column_made(&all, &key, NULL, &once, true);
    assert_int_equal(grown->n, N);
    for (size_t i = 0; i < N; i++)
        assert_int_equal(grown->ranks[i], whole->ranks[i]);
    struct imap_column *shared = imap_column_take(&all, &key);
    assert_ptr_equal(shared, whole);
    imap_column_release(&all, &shared);
    imap_column_release(&all, &whole);
    imap_column_release(&all, &grown);
    imap_column_maker_fini(&m);
    imap_column_maker_fini(&once);
    imap_columns_fini(&all);
}

/* --- trees ------------------------------------------------------------------------------------ */

static bool take_nothing(struct imap_thread_room *room, size_t bytes)
{
    return false;
}

static struct imap_thread_room no_room = {take_nothing};

/* Chains that are put together at their ends, again and again: each check for a loop would go all
 * of the way. */
static void hostile_chains_end(void **state)
{
    enum { N = 60000 };
    struct imap_thread_row *rows = mem_zero(N * sizeof *rows);
    uint64_t(*ids)[3] = mem_zero(N * sizeof *ids);
    struct imap_threads threads;
    for (uint64_t i = 0; i < N; i++) {
        ids[i][0] = i + 1;
        ids[i][1] = i < N / 2 ? i : N / 2;           /* a chain; then all below its end */
        ids[i][2] = i < N / 2 ? i : (i * 7) % N + 1; /* and perhaps above it */
        rows[i] = (struct imap_thread_row){
            .date = i, .ids = (const char *)ids[i], .n_ids = i == 0 ? 1 : 3};
    }
    assert_true(imap_threads_make(IMAP_THREAD_REFERENCES, rows, N, &no_room, &threads));
    assert_int_equal(threads.n, N);
    free(threads.steps);
    free(rows);
    free(ids);
}

struct counted {
    struct imap_thread_room room;
    size_t taken, most;
};

static bool take_counted(struct imap_thread_room *room, size_t bytes)
{
    struct counted *c = CONTAINER(room, struct counted, room);
    c->taken += bytes;
    return c->taken <= c->most;
}

/* What messages refer to and nobody has takes memory too, and that has an end. */
static void hostile_references_are_bounded(void **state)
{
    enum { N = 200, IDS = 1001 };
    struct imap_thread_row *rows = mem_zero(N * sizeof *rows);
    uint64_t(*ids)[IDS] = mem_zero(N * sizeof *ids);
    struct imap_threads threads;
    for (uint64_t i = 0; i < N; i++) {
        for (uint64_t k = 0; k < IDS; k++)
            ids[i][k] = i * IDS + k + 1;
        rows[i] = (struct imap_thread_row){
            .date = i, .ids = (const char *)ids[i], .n_ids = IDS, .has_subject = true};
    }
    struct counted room = {{take_counted}, 0, (size_t)N * IDS * IMAP_THREAD_NODE * 3 / 2};
    assert_true(imap_threads_make(IMAP_THREAD_REFS, rows, N, &room.room, &threads));
    assert_int_equal(threads.n, N);
    assert_true(room.taken > (size_t)N * (IDS - 1) * IMAP_THREAD_NODE);
    free(threads.steps);
    for (enum imap_thread_kind kind = IMAP_THREAD_REFERENCES; kind <= IMAP_THREAD_REFS; kind++) {
        room = (struct counted){{take_counted}, 0, 1 << 20};
        assert_false(imap_threads_make(kind, rows, N, &room.room, &threads));
        free(threads.steps);
    }
    free(rows);
    free(ids);
}

/* --- sessions --------------------------------------------------------------------------------- */

static const char *const mails[] = {
    "Message-ID: <1@x>\r\nSubject: Beta\r\nFrom: \"Zoe\" <b@x>\r\n"
    "Date: 3 Jan 2001 00:00:00 +0000\r\n\r\nlong body\r\n",
    "Message-ID: <2@x>\r\nSubject: re: beta\r\nFrom: a@x\r\nReferences: <1@x>\r\n"
    "Date: 4 Jan 2001 00:00:00 +0000\r\n\r\n",
    "Message-ID: <3@x>\r\nSubject: alpha_\r\nFrom: \"adam\" <c@x>\r\nReferences: <gone@x>\r\n"
    "Date: 2 Jan 2001 23:00:00 -0500\r\n\r\n",
    "Message-ID: <4@x>\r\nSubject: other\r\nReferences: <gone@x>\r\n"
    "Date: 2 Jan 2001 00:00:00 +0000\r\n\r\n",
    "Message-ID: <5@x>\r\nSubject: alphaB\r\nFrom: =?utf-8?q?=C3=84nne?= <d@x>\r\n"
    "References: <2@x>\r\n\r\n",
};

static int select_five(struct home *h)
{
    home_make(h);
    home_start(h);
    home_deliver(h, h->alice, mails[0]);
    home_expunge(h, h->alice, 1);
    for (size_t i = 0; i < sizeof mails / sizeof *mails; i++)
        home_deliver(h, h->alice, mails[i]);
    return client_select(h, "SELECT");
}

static const char sorting[] =
    "C: a SORT (SUBJECT) UTF-8 ALL\n" /* B stands before _ [RFC5051 2] */
    "S: * SORT 5 3 1 2 4\n"
    "S: a OK SORT completed\n"
    "C: b UID SORT (REVERSE SUBJECT DATE) US-ASCII ALL\n"
    "S: * SORT 5 2 3 4 6\n"
    "S: b OK UID SORT completed\n"
    "C: c SORT (DATE) UTF-8 ALL\n" /* 5 has none: its INTERNALDATE [RFC5256 2.2] */
    "S: * SORT 4 5 1 3 2\n"
    "S: c OK SORT completed\n"
    "C: d SORT (FROM) UTF-8 NOT 2\n" /* nothing first */
    "S: * SORT 4 1 3 5\n"
    "S: d OK SORT completed\n"
    "C: e SORT (DISPLAYFROM) UTF-8 ALL\n" /* [RFC5957 3] */
    "S: * SORT 4 2 3 5 1\n"
    "S: e OK SORT completed\n"
    "C: f SORT (REVERSE SIZE ARRIVAL) UTF-8 1:3\n"
    "S: * SORT 3 2 1\n"
    "S: f OK SORT completed\n"
    "C: g SORT (SUBJECT) UTF-8 TEXT nowhere\n"
    "S: * SORT\n"
    "S: g OK SORT completed\n"
    "C: h SORT RETURN () (SUBJECT) UTF-8 ALL\n" /* [RFC5267 3.1, 3.2] */
    "S: * ESEARCH (TAG \"h\") ALL 5,3,1:2,4\n"
    "S: h OK SORT completed\n"
    "C: i UID SORT RETURN (MIN MAX COUNT) (SUBJECT) UTF-8 ALL\n"
    "S: * ESEARCH (TAG \"i\") UID MIN 6 MAX 5 COUNT 5\n"
    "S: i OK UID SORT completed\n"
    "C: j SORT RETURN (PARTIAL -1:-2 SAVE) (SUBJECT) UTF-8 ALL\n"
    "S: * ESEARCH (TAG \"j\") PARTIAL (-1:-2 2,4)\n"
    "S: j OK SORT completed\n"
    "C: k SORT (DATE) UTF-8 $\n"
    "S: * SORT 4 2\n"
    "S: k OK SORT completed\n"
    "C: l SORT (DATE) UTF-8 MODSEQ 999999\n"
    "S: * SORT\n"
    "S: l OK SORT completed\n"
    "C: m SORT () UTF-8 ALL\n"
    "S: m BAD expected a sort criterion\n"
    "C: n SORT (SUBJECT) ALL\n"
    "S: n BAD expected a space\n"
    "C: o SORT (SUBJECT NONSENSE) UTF-8 ALL\n"
    "S: o BAD expected a sort criterion\n"
    "C: p SORT (SUBJECT) X-NONE ALL\n"
    "P: p NO [BADCHARSET (\n"
    "C: q SORT SUBJECT UTF-8 ALL\n"
    "S: q BAD expected a list of sort criteria\n";

static const char threading[] =
    "C: a THREAD REFERENCES UTF-8 ALL\n" /* [RFC5256 3] */
    "S: * THREAD ((4)(3))(1 2 5)\n"
    "S: a OK THREAD completed\n"
    "C: b UID THREAD ORDEREDSUBJECT UTF-8 ALL\n"
    "S: * THREAD (5)(6)(2 3)(4)\n"
    "S: b OK UID THREAD completed\n"
    "C: c THREAD REFS UTF-8 ALL\n"
    "S: * THREAD ((4)(3))(1 2 5)\n"
    "S: c OK THREAD completed\n"
    "C: d THREAD REFERENCES UTF-8 NOT 2\n" /* what is not searched is a dummy */
    "S: * THREAD ((4)(3))(5)(1)\n"
    "S: d OK THREAD completed\n"
    "C: e THREAD REFERENCES US-ASCII TEXT nowhere\n"
    "S: * THREAD\n"
    "S: e OK THREAD completed\n"
    "C: f THREAD NONE UTF-8 ALL\n"
    "S: f BAD expected ORDEREDSUBJECT, REFERENCES or REFS\n"
    "C: g THREAD REFERENCES ALL\n"
    "S: g BAD expected a space\n";

static void messages_are_sorted(void **state)
{
    struct home h;
    int fd = select_five(&h);
    client_talk(fd,
                "C: a SEARCH MODSEQ 999999\n" /* which is told once [RFC7162 3.1] */
                "P: * OK [HIGHESTMODSEQ \n"
                "S: * SEARCH\n"
                "S: a OK SEARCH completed\n",
                1 << 20);
    for (unsigned i = 0; i < 2; i++) { /* learned, and known */
        client_talk(fd, sorting, 1 << 20);
        client_talk(fd, threading, 1 << 20);
    }
    home_deliver(&h, h.alice, "Message-ID: <6@x>\r\nSubject: alpha9\r\nReferences: <4@x>\r\n\r\n");
    client_talk(fd, /* one more is learned */
                "C: n NOOP\n"
                "S: * 6 EXISTS\n"
                "S: n OK NOOP completed\n"
                "C: o SORT (SUBJECT) UTF-8 ALL\n"
                "S: * SORT 6 5 3 1 2 4\n"
                "S: o OK SORT completed\n"
                "C: p THREAD REFERENCES UTF-8 ALL\n"
                "S: * THREAD ((4 6)(3))(1 2 5)\n"
                "S: p OK THREAD completed\n",
                1 << 20);
    client_close(h.net, fd);
    home_end(&h);
}

/* Nothing is held for ever, and not more than is allowed. */
static void sorting_is_bounded(void **state)
{
    struct home h;
    int fd = select_five(&h);
    assert_int_equal(h.imap->columns.held, 0);
    h.imap->columns.held = h.imap->columns.max * 4;
    client_talk(fd,
                "C: a SORT (SUBJECT) UTF-8 ALL\n"
                "S: a NO [LIMIT] this is more than is allowed\n"
                "C: b THREAD REFS UTF-8 ALL\n"
                "S: b NO [LIMIT] this is more than is allowed\n",
                1 << 20);
    assert_int_equal(h.imap->columns.held, h.imap->columns.max * 4);
    h.imap->columns.held = 0;
    struct buf again = {.cap = 1000}; /* to sort by the same once more is no work */
    for (int i = 0; i < 50; i++)
        buf_put(&again, STR(" REVERSE SUBJECT"));
    client_send(fd, STR("c SORT (SUBJECT"));
    client_send(fd, buf_str(&again));
    client_send(fd, STR(") UTF-8 ALL\r\n"));
    client_expect(fd, STR("* SORT 5 3 1 2 4\r\nc OK SORT completed\r\n"));
    buf_fini(&again);
    client_close(h.net, fd);
    home_end(&h);
}

/* A chain as long as the mailbox: a thread has no limit [RFC5256 4], and comes in pages. */
static void long_threads_come_in_pages(void **state)
{
    enum { MANY = 20000 };
    struct home h;
    struct buf expected = {.cap = 1 << 20};
    home_make(&h);
    home_start(&h);
    home_deliver_many(&h, h.alice, STR("Subject: re: x\r\n\r\n"), MANY);
    int fd = client_select(&h, "SELECT");
    client_send(fd,
                STR("a THREAD ORDEREDSUBJECT UTF-8 ALL\r\nb SORT (REVERSE SUBJECT) UTF-8 ALL\r\n"));
    buf_put(&expected, STR("* THREAD (1 "));
    for (int i = 2; i <= MANY; i++)
        buf_putf(&expected, "(%d)", i);
    buf_put(&expected, STR(")\r\na OK THREAD completed\r\n* SORT"));
    for (int i = 1; i <= MANY; i++)
        buf_putf(&expected, " %d", i);
    buf_put(&expected, STR("\r\nb OK SORT completed\r\n"));
    client_expect(fd, buf_str(&expected));
    assert_int_equal(h.imap->columns.held, 0);
    client_close(h.net, fd);
    buf_fini(&expected);
    home_end(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sent_dates_are_read),
        cmocka_unit_test(pairs_are_sorted),
        cmocka_unit_test(ranks_go_on),
        cmocka_unit_test(hostile_chains_end),
        cmocka_unit_test(hostile_references_are_bounded),
        cmocka_unit_test(messages_are_sorted),
        cmocka_unit_test(sorting_is_bounded),
        cmocka_unit_test(long_threads_come_in_pages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
