/* Lines that part messages, fields of mail readers, and whole files in each of the formats. */
#include "transfer/mbox_int.h"

#include "base/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void lines_that_part_messages(void **state)
{
    static const struct {
        const char *line;
        uint64_t time; /* 0: it is none */
    } lines[] = {
        {"From a@b Mon Jun 14 15:14:47 2010", 1276528487},
        {"From a@b Mon Jun 14 15:14:47 2010\r", 1276528487},
        {"From MAILER-DAEMON Mon Jun  4 15:14 2010", 1275664440},
        {"From a@b  Mon Jun 14 17:14:47 2010 +0200", 1276528487},
        {"From a@b Mon Jun 14 17:14:47 +0200 2010", 1276528487},
        {"From a@b Mon Jun 14 15:14:47 UTC 2010", 1276528487},
        {"From \"a b\"@c Mon Jun 14 15:14:47 2010", 1276528487},
        {"From a b c d e f g h i j k l m Mon Jun 14 15:14:47 2010", 1276528487},
        {"From  Mon Jun 14 15:14:47 2010", 1276528487},
        {"From - Mon Jun 14 15:14:47 2010", 1276528487}, /* Thunderbird */
        {"From a@b", 0},
        {"From here it goes on", 0},
        {"from a@b Mon Jun 14 15:14:47 2010", 0},
        {"From a@b Mon Jun 34 15:14:47 2010", 0},
        {"From a@b Mon Jun 14 25:14:47 2010", 0},
        {"From a@b Mon Jun 14 15:14:47 201", 0},
        {"From a@b Mon Jun 14 15:14:47", 0},
        {"From ", 0},
        {">From a@b Mon Jun 14 15:14:47 2010", 0},
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        uint64_t time = 0;
        struct str sender;
        bool is = mbox_from_line(str_of(lines[i].line), &sender, &time);
        assert_int_equal(is, lines[i].time != 0);
        assert_int_equal(is ? time : 0, lines[i].time);
    }
}

static void fields_of_mail_readers(void **state)
{
    struct mbox_fields f;
    struct arena arena = {0};
    mbox_fields_init(&f);
    assert_true(mbox_field_take(&f, STR("Status: RO\n"), &arena));
    assert_true(mbox_field_take(&f, STR("x-status: AFDT"), &arena));
    assert_true(mbox_field_take(&f, STR("X-Keywords: $Label1  b,c\n d\n"), &arena));
    assert_true(mbox_field_take(&f, STR("X-UIDL: abc \r\n"), &arena));
    assert_true(mbox_field_take(&f, STR("X-UID: 12"), &arena));
    assert_true(mbox_field_take(&f, STR("Content-Length: 123\n"), &arena));
    assert_false(mbox_field_take(&f, STR("Subject: Status: RO"), &arena));
    assert_false(mbox_field_take(&f, STR("no field"), &arena));
    assert_int_equal(f.flags,
                     STORE_SEEN | STORE_ANSWERED | STORE_FLAGGED | STORE_DELETED | STORE_DRAFT);
    assert_int_equal(f.n_keywords, 4);
    assert_true(str_eq(f.keywords[0], STR("$Label1")));
    assert_true(str_eq(f.keywords[3], STR("d")));
    assert_true(str_eq(f.uidl, STR("abc")));
    assert_int_equal(f.length, 123);
    assert_false(f.is_internal);
    assert_true(mbox_field_take(&f, STR("X-IMAP: 1 2"), &arena));
    assert_true(f.is_internal);
    arena_fini(&arena);
}

/* --- whole files ------------------------------------------------------------------------------ */

/* A sink that writes down what it is given. */
struct notes {
    struct transfer_sink sink;
    struct buf text;
};

static enum rc note_folder(struct transfer_sink *sink, const struct transfer_folder *f,
                           unsigned *out_n)
{
    struct notes *n = CONTAINER(sink, struct notes, sink);
    *out_n = 0;
    buf_putf(&n->text, "[%.*s]", STR_ARG(f->name));
    return RC_OK;
}

static enum rc note_begin(struct transfer_sink *sink, unsigned folder,
                          const struct transfer_message *m)
{
    struct notes *n = CONTAINER(sink, struct notes, sink);
    buf_putf(&n->text, "<%x:", m->flags);
    return RC_OK;
}

static enum rc note_bytes(struct transfer_sink *sink, struct str bytes)
{
    buf_put(&CONTAINER(sink, struct notes, sink)->text, bytes);
    return RC_OK;
}

static enum rc note_end(struct transfer_sink *sink, struct str why)
{
    buf_put(&CONTAINER(sink, struct notes, sink)->text, STR(">"));
    return RC_OK;
}

static const struct transfer_sink_calls note_calls = {
    .folder = note_folder, .begin = note_begin, .bytes = note_bytes, .end = note_end};

#define FROM "From a@b Mon Jun 14 15:14:47 2010\n"

static void files_of_each_kind(void **state)
{
    static const struct {
        const char *file, *noted;
    } files[] = {
        {FROM "S: 1\n\none\n\n" FROM "S: 2\nStatus: R\n\ntwo\n\n",
         "[INBOX]<0:S: 1\r\n\r\none\r\n><1:S: 2\r\n\r\ntwo\r\n>"},
        /* quoted lines; a line without a date and one without an empty line before it part nothing
         */
        {FROM "S: 1\n\n>From x\n>>From y\n\nFrom here\nx\n" FROM "\n",
         "[INBOX]<0:S: 1\r\n\r\nFrom x\r\n>From y\r\n\r\nFrom here\r\nx\r\n"
         "From a@b Mon Jun 14 15:14:47 2010\r\n>"},
        /* a length that is true: nothing in it parts messages, nothing is unquoted */
        {FROM "S: 1\nContent-Length: 43\n\n>From\n\n" FROM "x\n\n" FROM "S: 2\n\nb\n",
         "[INBOX]<0:S: 1\r\n\r\n>From\r\n\r\nFrom a@b Mon Jun 14 15:14:47 2010\r\nx\r\n>"
         "<0:S: 2\r\n\r\nb\r\n>"},
        /* and one that is not */
        {FROM "S: 1\nContent-Length: 2\n\nlong\n\n" FROM "S: 2\nContent-Length: 99999\n\nb",
         "[INBOX]<0:S: 1\r\n\r\nlong\r\n><0:S: 2\r\n\r\nb>"},
        /* what c-client keeps in the first message is none */
        {FROM "Subject: DON'T DELETE\nX-IMAP: 1 2\n\nnotes\n\n" FROM "S: 2\n\nb\n",
         "[INBOX]<0:S: 2\r\n\r\nb\r\n>"},
        {FROM "S: 1\r\n\r\none\r\n\r\n" FROM "\nb\n",
         "[INBOX]<0:S: 1\r\n\r\none\r\n><0:\r\nb\r\n>"},
        {FROM "S: 1\n" FROM "S: 2\n", "[INBOX]<0:S: 1\r\n><0:S: 2\r\n>"},
        {"", "[INBOX]"},
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char path[] = "/tmp/penfold-mbox-XXXXXX";
        int fd = mkstemp(path);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, files[i].file, strlen(files[i].file)),
                         (ssize_t)strlen(files[i].file));
        close(fd);
        struct notes notes = {.sink = {.calls = &note_calls}, .text = {.cap = 10000}};
        struct transfer_mbox mbox = {.path = path};
        assert_rc(transfer_from_mbox(&mbox, &notes.sink), RC_OK);
        assert_rc(buf_add_byte(&notes.text, 0), RC_OK);
        assert_string_equal(buf_str(&notes.text).p, files[i].noted);
        buf_fini(&notes.text);
        unlink(path);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_that_part_messages),
        cmocka_unit_test(fields_of_mail_readers),
        cmocka_unit_test(files_of_each_kind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
