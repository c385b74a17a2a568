/* What a search returns: ESEARCH [RFC4731], "$" [RFC5182], PARTIAL [RFC9394], WITHIN [RFC5032], the
 * keys of SAVEDATE [RFC8514]. */
#include "imap/search_int.h"
#include "imap/test_home.h"

static struct arena arena;

/* --- the grammar ------------------------------------------------------------------------------ */

static bool take(const char *text, struct imap_return *out, struct imap_parse *p)
{
    arena_reset(&arena);
    *p = (struct imap_parse){.rest = str_of(text), .arena = &arena};
    return imap_take_return(p, out);
}

static void options_are_read(void **state) /* [RFC4466 2.6.1] [RFC9394 3.1, 4] */
{
    static const struct {
        const char *text;
        unsigned items;
    } good[] = {
        {"ALL", 0},
        {"RETURN () ALL", IMAP_RETURN_ALL},
        {"return (min Max) ALL", IMAP_RETURN_MIN | IMAP_RETURN_MAX},
        {"RETURN (COUNT ALL SAVE) ALL", IMAP_RETURN_COUNT | IMAP_RETURN_ALL | IMAP_RETURN_SAVE},
        {"RETURN (MIN MIN) ALL", IMAP_RETURN_MIN},
        {"RETURN (PARTIAL 500:400) ALL", IMAP_RETURN_PARTIAL},
    };
    static const char *const bad[] = {
        "RETURN",
        "RETURN ALL",
        "RETURN (",
        "RETURN (ALL",
        "RETURN (ALL)",
        "RETURN ( ALL) ALL",
        "RETURN (FIRST) ALL",
        "RETURN (PARTIAL) ALL",
        "RETURN (PARTIAL 1) ALL",
        "RETURN (PARTIAL 1:*) ALL",
        "RETURN (PARTIAL 0:1) ALL",
        "RETURN (PARTIAL -1:2) ALL",
        "RETURN (PARTIAL 1:-2) ALL",
        "RETURN (PARTIAL 1:2 ALL) ALL",
        "RETURN (ALL PARTIAL 1:2) ALL",
        "RETURN (PARTIAL 1:2 PARTIAL 3:4) ALL",
    };
    struct imap_return r;
    struct imap_parse p;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_true(take(good[i].text, &r, &p));
        assert_int_equal(r.items, good[i].items);
        assert_str(p.rest, "ALL");
    }
    assert_int_equal(r.partial.from, 400); /* the same as 400:500 */
    assert_int_equal(r.partial.to, 500);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (take(bad[i], &r, &p))
            fail_msg("%s was taken", bad[i]);
        assert_non_null(p.error);
    }
    arena_fini(&arena);
}

static void parts_are_counted_from_both_ends(void **state) /* [RFC9394 3.1] */
{
    static const struct {
        struct imap_partial part;
        size_t n, first, here;
    } parts[] = {
        {{1, 3, false, false}, 10, 0, 3},   {{9, 20, false, false}, 10, 8, 2},
        {{11, 20, false, false}, 10, 0, 0}, {{1, 3, true, false}, 10, 7, 3},
        {{9, 20, true, false}, 10, 0, 2},   {{11, 20, true, false}, 10, 0, 0},
        {{1, 1, true, false}, 0, 0, 0},     {{1, UINT32_MAX, true, false}, 3, 0, 3},
    };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        size_t first = 77;
        assert_int_equal(imap_partial_of(&parts[i].part, parts[i].n, &first), parts[i].here);
        assert_int_equal(first, parts[i].first);
    }
}

static void spans_are_cut(void **state) /* [RFC9394 3.3] */
{
    static const struct imap_span whole[] = {{2, 5}, {7, 8}, {10, 20}};
    for (uint32_t from = 1; from <= 16; from++)
        for (uint32_t to = from; to <= 16; to++) {
            struct imap_span at[3] = {whole[0], whole[1], whole[2]};
            struct imap_spans spans = {.at = at, .n = 3, .total = 14};
            struct imap_partial part = {.from = from, .to = to};
            size_t place = 0, seen = 0;
            imap_spans_cut(&spans, &part);
            for (size_t i = 0; i < 20; i++) {
                bool was_there = (i >= 2 && i < 5) || i == 7 || i >= 10;
                place += was_there;
                bool is_there = was_there && place >= from && place <= to;
                seen += is_there;
                assert_int_equal(imap_spans_have(&spans, i), is_there);
            }
            assert_int_equal(spans.total, seen);
        }
}

/* --- ages ------------------------------------------------------------------------------------- */

static bool is_hit(const char *text, uint64_t received, uint64_t now)
{
    struct imap_search_program program;
    struct imap_parse p = {.rest = str_of(text), .arena = &arena};
    struct str names[STORE_KEYWORDS] = {{0}};
    struct imap_search_scene scene = {.names = names, .now = now, .arena = &arena};
    struct store_row row = {.uid = 1, .received = received};
    arena_reset(&arena);
    assert_true(imap_take_search(&p, &program));
    assert_rc(imap_search_settle(program.all, &scene), RC_OK);
    return imap_search_row(program.all, &row, 0) == IMAP_SEARCH_YES;
}

/* To the second, and what is just that old is both [RFC5032 2]. */
static void ages_are_exact(void **state)
{
    const uint64_t now = 1000 * NS_PER_SEC + 5;
    assert_true(is_hit("OLDER 100", 900 * NS_PER_SEC, now));
    assert_true(is_hit("YOUNGER 100", 900 * NS_PER_SEC, now));
    assert_true(is_hit("OLDER 100", 901 * NS_PER_SEC - 1, now));
    assert_false(is_hit("OLDER 100", 901 * NS_PER_SEC, now));
    assert_true(is_hit("YOUNGER 100", 901 * NS_PER_SEC, now));
    assert_false(is_hit("YOUNGER 100", 900 * NS_PER_SEC - 1, now));
    assert_true(is_hit("YOUNGER 4294967295", 0, now));
    assert_false(is_hit("OLDER 4294967295", NS_PER_SEC, now));
    assert_true(is_hit("NOT OLDER 100", 901 * NS_PER_SEC, now));
    arena_fini(&arena);
}

/* --- sessions --------------------------------------------------------------------------------- */

/* Ten messages, of which the second and the third are gone: UIDs 1, 4 to 10. */
static int select_eight(struct home *h)
{
    home_make(h);
    home_start(h);
    home_deliver_many(h, h->alice, STR("Subject: x\r\n\r\nbody\r\n"), 10);
    home_expunge(h, h->alice, 2);
    home_expunge(h, h->alice, 3);
    home_flag(h, h->alice, 4, STORE_FLAGGED);
    home_flag(h, h->alice, 5, STORE_FLAGGED);
    home_flag(h, h->alice, 9, STORE_FLAGGED);
    return client_select(h, "SELECT");
}

static void say_to_eight(const char *script)
{
    struct home h;
    int fd = select_eight(&h);
    client_talk(fd, script, 1 << 20);
    client_close(h.net, fd);
    home_end(&h);
}

static void answers_are_what_was_asked_for(void **state)
{
    static const char *const talk =
        "C: a SEARCH RETURN () FLAGGED\n" /* [RFC4731 3.1] [RFC9051 6.4.4, 7.3.4] */
        "S: * ESEARCH (TAG \"a\") ALL 2:3,7\n"
        "S: a OK SEARCH completed\n"
        "C: b UID SEARCH RETURN (MIN MAX COUNT ALL) 1:*\n"
        "S: * ESEARCH (TAG \"b\") UID MIN 1 MAX 10 COUNT 8 ALL 1,4:10\n"
        "S: b OK UID SEARCH completed\n"
        "C: c SEARCH RETURN (ALL MIN MAX COUNT) DELETED\n"
        "S: * ESEARCH (TAG \"c\") COUNT 0\n"
        "S: c OK SEARCH completed\n"
        "C: d SEARCH RETURN (MIN) SUBJECT x\n"
        "S: * ESEARCH (TAG \"d\") MIN 1\n"
        "S: d OK SEARCH completed\n"
        "C: e SEARCH RETURN (MIN) OR FLAGGED BODY nothing\n"
        "S: * ESEARCH (TAG \"e\") MIN 2\n"
        "S: e OK SEARCH completed\n"
        "C: f SEARCH RETURN (MIN) NOT 1 BODY body\n"
        "S: * ESEARCH (TAG \"f\") MIN 2\n"
        "S: f OK SEARCH completed\n"
        "C: g SEARCH RETURN (MAX) CHARSET UTF-8 BODY body\n"
        "S: * ESEARCH (TAG \"g\") MAX 8\n"
        "S: g OK SEARCH completed\n"
        "C: h SEARCH RETURN (MIN) DELETED\n"
        "S: * ESEARCH (TAG \"h\")\n"
        "S: h OK SEARCH completed\n"
        "C: i SEARCH ALL\n"
        "S: * SEARCH 1 2 3 4 5 6 7 8\n"
        "S: i OK SEARCH completed\n"
        "C: j UID SEARCH RETURN (PARTIAL 2:3 COUNT) ALL\n" /* [RFC9394 3.1] */
        "S: * ESEARCH (TAG \"j\") UID COUNT 8 PARTIAL (2:3 4:5)\n"
        "S: j OK UID SEARCH completed\n"
        "C: k UID SEARCH RETURN (PARTIAL -1:-3) ALL\n"
        "S: * ESEARCH (TAG \"k\") UID PARTIAL (-1:-3 8:10)\n"
        "S: k OK UID SEARCH completed\n"
        "C: l SEARCH RETURN (PARTIAL 20:7) ALL\n"
        "S: * ESEARCH (TAG \"l\") PARTIAL (20:7 7:8)\n"
        "S: l OK SEARCH completed\n"
        "C: m SEARCH RETURN (PARTIAL 9:20) ALL\n"
        "S: * ESEARCH (TAG \"m\") PARTIAL (9:20 NIL)\n"
        "S: m OK SEARCH completed\n"
        "C: n SEARCH RETURN (ALL) MODSEQ 99999999\n" /* [RFC4731 3.2] */
        "P: * OK [HIGHESTMODSEQ \n"                  /* [RFC7162 3.1] */
        "S: * ESEARCH (TAG \"n\")\n"
        "S: n OK SEARCH completed\n"
        "C: o SEARCH SAVEDATESUPPORTED SAVEDSINCE 1-Jan-2020 SAVEDBEFORE 1-Jan-2999\n"
        "S: * SEARCH 1 2 3 4 5 6 7 8\n" /* [RFC8514 4.3] */
        "S: o OK SEARCH completed\n"
        "C: p SEARCH SAVEDON 2-Jan-2001\n" /* it came then, and not into this mailbox */
        "S: * SEARCH\n"
        "S: p OK SEARCH completed\n"
        "C: q SEARCH OLDER 1000000 NOT YOUNGER 1000000\n" /* [RFC5032 2] */
        "S: * SEARCH 1 2 3 4 5 6 7 8\n"
        "S: q OK SEARCH completed\n"
        "C: r SEARCH OLDER 0\n"
        "S: r BAD expected a number from 1 to 4294967295\n"
        "C: s SEARCH RETURN (ALL PARTIAL 1:2) ALL\n"
        "S: s BAD expected PARTIAL once, and without ALL\n"
        "C: t SEARCH RETURN (LAST) ALL\n"
        "S: t BAD expected a return option\n";
    say_to_eight(talk);
}

/* [RFC7162 3.1.5, 3.1.6] [RFC4731 3.2]: the highest mod-sequence is that of what is told. */
static void modseqs_are_told(void **state)
{
    struct home h;
    char line[CLIENT_LINE], old[64], number[64];
    int fd = select_eight(&h);
    client_send(fd, STR("a SEARCH MODSEQ 1\r\n"));
    client_expect_line(fd, STR("* OK [HIGHESTMODSEQ ")); /* [RFC7162 3.1] */
    struct str all = client_line(fd, line, sizeof line);
    assert_true(str_starts(all, STR("* SEARCH 1 2 3 4 5 6 7 8 (MODSEQ ")));
    assert_true(str_ends(all, STR(")\r\n")) || str_ends(all, STR(")")));
    assert_int_equal(sscanf(line, "* SEARCH 1 2 3 4 5 6 7 8 (MODSEQ %60[0-9]", number), 1);
    client_expect(fd, STR("a OK SEARCH completed\r\n"));
    client_send(fd, STR("b SEARCH RETURN (MIN) MODSEQ \"/flags/\\\\draft\" all 1\r\n"));
    client_line(fd, line, sizeof line);
    assert_int_equal(sscanf(line, "* ESEARCH (TAG \"b\") MIN 1 MODSEQ %60[0-9]", old), 1);
    assert_true(strtoull(old, NULL, 10) < strtoull(number, NULL, 10));
    client_expect(fd, STR("b OK SEARCH completed\r\n"));
    struct buf talk = {.cap = 1000};
    buf_putf(&talk,
             "C: c SEARCH MODSEQ %s\nS: * SEARCH 7 (MODSEQ %s)\nS: c OK SEARCH completed\n"
             "C: d SEARCH RETURN (MIN COUNT) MODSEQ \"/flags/x\" priv 1\n"
             "S: * ESEARCH (TAG \"d\") MIN 1 COUNT 8 MODSEQ %s\nS: d OK SEARCH completed\n"
             "C: e SEARCH RETURN (MIN MAX) MODSEQ 1 1:7\n"
             "S: * ESEARCH (TAG \"e\") MIN 1 MAX 7 MODSEQ %s\nS: e OK SEARCH completed\n"
             "C: f SEARCH MODSEQ x\nS: f BAD expected a mod-sequence\n"
             "C: g SEARCH MODSEQ \"/flags/x\" none 1\nS: g BAD expected all, priv or shared\n",
             number, number, number, number);
    buf_put(&talk, STR("\0"));
    client_talk(fd, buf_str(&talk).p, 1 << 20);
    buf_fini(&talk);
    client_close(h.net, fd);
    home_end(&h);
}

static const char saving[] =
    "C: a SEARCH $\n" /* of nothing, and no error [RFC5182 2.1] [RFC9051 6.4.4.1] */
    "S: * SEARCH\n"
    "S: a OK SEARCH completed\n"
    "C: b SEARCH RETURN (SAVE) FLAGGED\n" /* says nothing [RFC5182 1] */
    "S: b OK SEARCH completed\n"
    "C: c UID SEARCH $\n"
    "S: * SEARCH 4 5 9\n"
    "S: c OK UID SEARCH completed\n"
    "C: d UID SEARCH UID $ NOT 2\n"
    "S: * SEARCH 5 9\n"
    "S: d OK UID SEARCH completed\n"
    "C: e FETCH $ UID\n"
    "S: * 2 FETCH (UID 4)\n"
    "S: * 3 FETCH (UID 5)\n"
    "S: * 7 FETCH (UID 9)\n"
    "S: e OK FETCH completed\n"
    "C: f SEARCH RETURN (ALL) OR $ 8\n" /* does not change it [RFC5182 2.1] [RFC9051 6.4.4.1] */
    "S: * ESEARCH (TAG \"f\") ALL 2:3,7:8\n"
    "S: f OK SEARCH completed\n"
    "C: g SEARCH RETURN (SAVE) CHARSET none $\n" /* BAD would not, NO does */
    "P: g NO [BADCHARSET (\n"
    "C: h SEARCH $\n"
    "S: * SEARCH\n"
    "S: h OK SEARCH completed\n"
    "C: i UID SEARCH RETURN (SAVE MIN) FLAGGED\n" /* [RFC5182 2.4] */
    "S: * ESEARCH (TAG \"i\") UID MIN 4\n"
    "S: i OK UID SEARCH completed\n"
    "C: j SEARCH $\n"
    "S: * SEARCH 2\n"
    "S: j OK SEARCH completed\n"
    "C: k SEARCH RETURN (MAX SAVE MIN) FLAGGED\n"
    "S: * ESEARCH (TAG \"k\") MIN 2 MAX 7\n"
    "S: k OK SEARCH completed\n"
    "C: l SEARCH $\n"
    "S: * SEARCH 2 7\n"
    "S: l OK SEARCH completed\n"
    "C: m SEARCH RETURN (MAX SAVE COUNT) FLAGGED\n"
    "S: * ESEARCH (TAG \"m\") MAX 7 COUNT 3\n"
    "S: m OK SEARCH completed\n"
    "C: n SEARCH $\n"
    "S: * SEARCH 2 3 7\n"
    "S: n OK SEARCH completed\n"
    "C: o SEARCH RETURN (SAVE PARTIAL -1:-2) ALL\n" /* [RFC9394 3.2] */
    "S: * ESEARCH (TAG \"o\") PARTIAL (-1:-2 7:8)\n"
    "S: o OK SEARCH completed\n"
    "C: p SEARCH $\n"
    "S: * SEARCH 7 8\n"
    "S: p OK SEARCH completed\n"
    "C: q SEARCH RETURN (SAVE PARTIAL 7:8 MIN) ALL\n"
    "S: * ESEARCH (TAG \"q\") MIN 1 PARTIAL (7:8 7:8)\n"
    "S: q OK SEARCH completed\n"
    "C: r SEARCH $\n"
    "S: * SEARCH 1 7 8\n"
    "S: r OK SEARCH completed\n"
    "C: s SEARCH RETURN (SAVE PARTIAL 7:8 MAX MIN) 1:8\n"
    "S: * ESEARCH (TAG \"s\") MIN 1 MAX 8 PARTIAL (7:8 7:8)\n"
    "S: s OK SEARCH completed\n"
    "C: t SEARCH RETURN (SAVE PARTIAL 1:1 COUNT) FLAGGED\n"
    "S: * ESEARCH (TAG \"t\") COUNT 3 PARTIAL (1:1 2)\n"
    "S: t OK SEARCH completed\n"
    "C: u SEARCH RETURN (SAVE NOTHING) ALL\n" /* BAD changes nothing */
    "S: u BAD expected a return option\n"
    "C: v SEARCH $\n"
    "S: * SEARCH 2 3 7\n"
    "S: v OK SEARCH completed\n"
    "C: w STORE 2 +FLAGS.SILENT (\\Deleted)\n"
    "S: w OK STORE completed\n"
    "C: x EXPUNGE\n" /* it goes from the list, and the others move up */
    "S: * 2 EXPUNGE\n"
    "S: x OK EXPUNGE completed\n"
    "C: y SEARCH $\n"
    "S: * SEARCH 2 6\n"
    "S: y OK SEARCH completed\n"
    "C: z COPY $ Archive\n"
    "P: z OK [COPYUID \n"
    "C: A STORE $ +FLAGS.SILENT (\\Deleted)\n"
    "S: A OK STORE completed\n"
    "C: B UID EXPUNGE $\n"
    "S: * 2 EXPUNGE\n"
    "S: * 5 EXPUNGE\n"
    "S: B OK UID EXPUNGE completed\n"
    "C: C FETCH $ UID\n" /* nothing is left [RFC5182 2.1] [RFC9051 6.4.4.1] */
    "S: C OK FETCH completed\n"
    "C: D COPY $ Archive\n"
    "S: D OK COPY completed\n"
    "C: E SEARCH RETURN (SAVE) ALL\n"
    "S: E OK SEARCH completed\n";

static void results_are_saved(void **state)
{
    struct home h;
    int fd = select_eight(&h);
    client_talk(fd, saving, 1 << 20);
    home_deliver(&h, h.alice, "Subject: new\r\n\r\n"); /* was not found */
    client_talk(fd,
                "C: F UID SEARCH $\n"
                "S: * SEARCH 1 6 7 8 10\n"
                "S: * 6 EXISTS\n"
                "S: F OK UID SEARCH completed\n"
                "C: G UID SEARCH $\n"
                "S: * SEARCH 1 6 7 8 10\n"
                "S: G OK UID SEARCH completed\n",
                1 << 20);
    client_close(h.net, fd);
    /* SELECT begins with nothing [RFC5182 2.1] [RFC9051 6.4.4.1]. */
    fd = client_select(&h, "SELECT");
    client_talk(fd,
                "C: H SEARCH RETURN (SAVE) ALL\n"
                "S: H OK SEARCH completed\n"
                "C: I EXAMINE INBOX\n"
                "P: * OK [CLOSED] \n"
                "P: * FLAGS\n",
                1 << 20);
    char line[CLIENT_LINE];
    while (!str_starts(client_line(fd, line, sizeof line), STR("I OK")))
        assert_true(line[0] == '*');
    client_talk(fd,
                "C: J SEARCH $\n"
                "S: * SEARCH\n"
                "S: J OK SEARCH completed\n",
                1 << 20);
    assert_int_equal(h.imap->saved, 0);
    client_close(h.net, fd);
    home_end(&h);
}

/* [RFC9394 3.3, 3.4]: some of the messages, then what has changed of them. */
static void fetches_are_cut(void **state)
{
    static const char *const talk = "C: a UID FETCH 1:* (UID) (PARTIAL -1:-2)\n"
                                    "S: * 7 FETCH (UID 9)\n"
                                    "S: * 8 FETCH (UID 10)\n"
                                    "S: a OK UID FETCH completed\n"
                                    "C: b UID FETCH 2:6,9:10 FLAGS (PARTIAL 2:4)\n"
                                    "S: * 3 FETCH (UID 5 FLAGS (\\Flagged))\n"
                                    "S: * 4 FETCH (UID 6 FLAGS ())\n"
                                    "S: * 7 FETCH (UID 9 FLAGS (\\Flagged))\n"
                                    "S: b OK UID FETCH completed\n"
                                    "C: c UID FETCH 1:* UID (PARTIAL 9:12)\n"
                                    "S: c OK UID FETCH completed\n"
                                    "C: d FETCH 1:* UID (PARTIAL 1:2)\n"
                                    "S: d BAD expected UID before a FETCH with PARTIAL\n"
                                    "C: e UID FETCH 1:* UID (PARTIAL 1:2 PARTIAL 1:2)\n"
                                    "S: e BAD expected PARTIAL once\n"
                                    "C: f UID FETCH 1:* UID (PARTIAL 1)\n"
                                    "S: f BAD expected a range such as 1:100 or -1:-100\n"
                                    "C: g UID FETCH 1:* UID (PARTIAL -1:-3 CHANGEDSINCE 99999)\n"
                                    "P: * OK [HIGHESTMODSEQ \n"
                                    "S: g OK UID FETCH completed\n"
                                    "C: h UID FETCH 1:* UID (CHANGEDSINCE 1 PARTIAL 1:1)\n"
                                    "P: * 1 FETCH (UID 1 MODSEQ (\n"
                                    "S: h OK UID FETCH completed\n";
    say_to_eight(talk);
}

/* More than all sessions may hold: refused, and "$" is nothing [RFC5182 2.5] [RFC9051 6.4.4.3]. */
static void saving_is_bounded(void **state)
{
    struct home h;
    int fd = select_eight(&h);
    client_talk(fd,
                "C: a SEARCH RETURN (SAVE) 1:3\n"
                "S: a OK SEARCH completed\n",
                1 << 20);
    size_t before = h.imap->saved;
    assert_true(before > 0);
    h.imap->saved = IMAP_SAVED_ALL + 1;
    client_talk(fd,
                "C: b SEARCH RETURN (SAVE COUNT) ALL\n"
                "S: * ESEARCH (TAG \"b\") COUNT 8\n"
                "S: b NO [NOTSAVED] the result is too long to be kept\n"
                "C: c SEARCH $\n"
                "S: * SEARCH\n"
                "S: c OK SEARCH completed\n",
                1 << 20);
    assert_int_equal(h.imap->saved, IMAP_SAVED_ALL + 1 - before);
    client_close(h.net, fd);
    home_end(&h);
}

/* An answer of many ranges comes in pages, and is right across them. */
static void long_answers_come_in_pages(void **state)
{
    enum { MANY = 20001 };
    struct home h;
    struct buf expected = {.cap = 1 << 20}, keys = {.cap = 1 << 20};
    home_make(&h);
    home_start(&h);
    home_deliver_many(&h, h.alice, STR("Subject: x\r\n\r\n"), MANY);
    int fd = client_select(&h, "SELECT");
    buf_put(&keys, STR("a SEARCH RETURN (SAVE ALL) 1"));
    buf_put(&expected, STR("* ESEARCH (TAG \"a\") ALL 1"));
    for (int i = 3; i <= 9000; i += 2) {
        buf_putf(&keys, ",%d", i);
        buf_putf(&expected, ",%d", i);
    }
    buf_put(&keys, STR("\r\nb SEARCH RETURN (ALL) NOT $ 1:8999\r\nc SEARCH RETURN () ALL\r\n"
                       "d SEARCH RETURN (PARTIAL 4400:-1) ALL\r\n"
                       "e SEARCH RETURN (PARTIAL 4400:20000) NOT $\r\n"));
    buf_put(&expected, STR("\r\na OK SEARCH completed\r\n* ESEARCH (TAG \"b\") ALL 2"));
    for (int i = 4; i < 9000; i += 2)
        buf_putf(&expected, ",%d", i);
    buf_put(&expected, STR("\r\nb OK SEARCH completed\r\n* ESEARCH (TAG \"c\") ALL 1:20001\r\n"
                           "c OK SEARCH completed\r\n"
                           "d BAD expected a number from 1 to 4294967295\r\n"
                           "* ESEARCH (TAG \"e\") PARTIAL (4400:20000 "));
    for (int i = 8800; i < 9000; i += 2)
        buf_putf(&expected, "%d,", i);
    buf_put(&expected, STR("9000:20001)\r\ne OK SEARCH completed\r\n"));
    client_send(fd, buf_str(&keys));
    client_expect(fd, buf_str(&expected));
    client_close(h.net, fd);
    buf_fini(&expected);
    buf_fini(&keys);
    home_end(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_are_read),
        cmocka_unit_test(parts_are_counted_from_both_ends),
        cmocka_unit_test(spans_are_cut),
        cmocka_unit_test(ages_are_exact),
        cmocka_unit_test(answers_are_what_was_asked_for),
        cmocka_unit_test(modseqs_are_told),
        cmocka_unit_test(results_are_saved),
        cmocka_unit_test(fetches_are_cut),
        cmocka_unit_test(saving_is_bounded),
        cmocka_unit_test(long_answers_come_in_pages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
