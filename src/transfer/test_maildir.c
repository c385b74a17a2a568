/* Names of files, lists and folders as Dovecot and Courier write them. */
#include "transfer/maildir_int.h"

#include "base/test.h"

#include <string.h>

static void names_say_flags_and_time(void **state)
{
    struct maildir_name n;
    assert_rc(maildir_name_parse(STR("1276528487.M364837P9451.host,S=1355,W=1394:2,FRSTa"), &n),
              RC_OK);
    assert_true(str_eq(n.base, STR("1276528487.M364837P9451.host,S=1355,W=1394")));
    assert_int_equal(n.flags, STORE_FLAGGED | STORE_ANSWERED | STORE_SEEN | STORE_DELETED);
    assert_int_equal(n.letters, 1);
    assert_int_equal(n.time, 1276528487);
    assert_rc(maildir_name_parse(STR("x:2,DPz"), &n), RC_OK);
    assert_int_equal(n.flags, STORE_DRAFT);
    assert_int_equal(n.letters, 1 << 25);
    assert_true(n.is_forwarded);
    assert_int_equal(n.time, 0);
    assert_rc(maildir_name_parse(STR("x:2,S,ab"), &n), RC_OK); /* what follows is somebody's own */
    assert_int_equal(n.flags, STORE_SEEN);
    assert_int_equal(n.letters, 0);
    assert_rc(maildir_name_parse(STR("a!2,S"), &n), RC_OK);
    assert_true(str_eq(n.base, STR("a")));
    assert_rc(maildir_name_parse(STR("a:1,S"), &n), RC_OK);
    assert_true(str_eq(n.base, STR("a:1,S")));
    assert_rc(maildir_name_parse(STR(".nfs0001"), &n), RC_SYNTAX);
    assert_rc(maildir_name_parse(STR(""), &n), RC_SYNTAX);
    assert_rc(maildir_name_parse(STR(":2,S"), &n), RC_OK); /* no flags without a name */
    assert_int_equal(n.flags, 0);
}

static void uidlists_of_dovecot(void **state)
{
    struct maildir_list list = {.kind = MAILDIR_LIST_NEW};
    struct maildir_listed l;
    assert_rc(
        maildir_list_line(&list, STR("3 V1275660208 N25022 G3085f01b7f11094c501100008c4a11c1"), &l),
        RC_OK);
    assert_int_equal(list.uidvalidity, 1275660208);
    assert_rc(
        maildir_list_line(&list, STR("25006 :1276528487.M364837P9451.host,S=1355,W=1394:2,"), &l),
        RC_OK);
    assert_int_equal(l.uid, 25006);
    assert_true(str_eq(l.base, STR("1276528487.M364837P9451.host,S=1355,W=1394")));
    assert_true(str_is_null(l.uidl));
    assert_rc(maildir_list_line(&list, STR("7 PUID12-345 W12 :a b"), &l), RC_OK);
    assert_true(str_eq(l.uidl, STR("UID12-345")));
    assert_true(str_eq(l.base, STR("a b")));
    static const char *const bad[] = {"", "x", "7", "7 ", "0 :a", "7 W12", "7 :", "99999999999 :a"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_rc(maildir_list_line(&list, str_of(bad[i]), &l), RC_SYNTAX);
    assert_rc(maildir_list_line(&list, STR("7 :a\0b"), &l), RC_SYNTAX);
    list = (struct maildir_list){.kind = MAILDIR_LIST_NEW};
    assert_rc(maildir_list_line(&list, STR("1 1190000000 12"), &l), RC_OK);
    assert_rc(maildir_list_line(&list, STR("11 1190000001.x"), &l), RC_OK);
    assert_int_equal(l.uid, 11);
    assert_true(str_eq(l.base, STR("1190000001.x")));
    list = (struct maildir_list){.kind = MAILDIR_LIST_NEW};
    assert_rc(maildir_list_line(&list, STR("9 what is this"), &l), RC_SYNTAX);
    assert_rc(maildir_list_line(&list, STR("11 1190000001.x"), &l), RC_OK);
    assert_int_equal(l.uid, 0); /* nothing is believed of it */
}

static void size_lists_of_courier(void **state)
{
    struct maildir_list list = {.kind = MAILDIR_LIST_SIZES};
    struct maildir_listed l;
    assert_rc(maildir_list_line(&list, STR("/2 34 1190000000"), &l), RC_OK);
    assert_int_equal(list.uidvalidity, 1190000000);
    assert_true(str_is_null(l.base));
    assert_rc(maildir_list_line(&list, STR("1190000001.M1.host,S=12 14 33:1180000000"), &l), RC_OK);
    assert_int_equal(l.uid, 33);
    assert_int_equal(l.uidvalidity, 1180000000);
    assert_true(l.is_courier_pop3);
    assert_rc(maildir_list_line(&list, STR("a 14 0:0"), &l), RC_OK);
    assert_int_equal(l.uid, 0);
    assert_rc(maildir_list_line(&list, STR("a 14"), &l), RC_OK);
    assert_rc(maildir_list_line(&list, STR("a x 1:2"), &l), RC_SYNTAX);
    assert_rc(maildir_list_line(&list, STR("a"), &l), RC_SYNTAX);
    list = (struct maildir_list){.kind = MAILDIR_LIST_SIZES};
    assert_rc(maildir_list_line(&list, STR("/1 1190000000"), &l), RC_OK);
    assert_int_equal(list.kind, MAILDIR_LIST_SIZES_1);
    assert_int_equal(list.uidvalidity, 1190000000);
}

static void unique_ids_by_a_form(void **state)
{
    static const struct {
        const char *form, *uidl; /* NULL: it is none */
    } forms[] = {
        {"%08Xu%08Xv", "0000002a4c090f30"},
        {"%u.%v", "42.1275662128"},
        {"%f", "file"},
        {"UID%u-%v", "UID42-1275662128"},
        {"%04xu%%", "002a%"},
        {"%s", NULL},
        {"%", NULL},
        {"%8u", NULL},
        {"%0Xu", "2a"},
        {"%x0u", NULL},
        {"%021u", NULL},
    };
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        struct buf out = {.cap = 200};
        enum rc rc = maildir_uidl(str_of(forms[i].form), 42, 1275662128, STR("file"), &out);
        assert_rc(rc, forms[i].uidl ? RC_OK : RC_SYNTAX);
        if (forms[i].uidl)
            assert_true(str_eq(buf_str(&out), str_of(forms[i].uidl)));
        buf_fini(&out);
    }
}

static void folders_in_either_layout(void **state)
{
    static const struct {
        const char *file;
        char separator;
        const char *name;
    } names[] = {
        {"Lists.C", '.', "Lists/C"},
        {"Entw&APw-rfe", '.', "Entw\xc3\xbcrfe"},
        {"Lists/C.D", '/', "Lists/C.D"},
        {"Entw\xc3\xbcrfe", '.', "Entw\xc3\xbcrfe"},
        {"A&B", '.', "A&B"}, /* no modified UTF-7: it stands for itself */
        {"A&-B", '/', "A&B"},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct buf out = {.cap = 200};
        maildir_folder_name(str_of(names[i].file), names[i].separator, &out);
        assert_true(str_eq(buf_str(&out), str_of(names[i].name)));
        buf_fini(&out);
    }
}

static void keywords_have_letters(void **state)
{
    struct str keyword;
    unsigned letter;
    assert_rc(maildir_keyword_parse(STR("0 $Label1"), &letter, &keyword), RC_OK);
    assert_int_equal(letter, 0);
    assert_true(str_eq(keyword, STR("$Label1")));
    assert_rc(maildir_keyword_parse(STR("25 x"), &letter, &keyword), RC_OK);
    assert_rc(maildir_keyword_parse(STR("26 x"), &letter, &keyword), RC_SYNTAX);
    assert_rc(maildir_keyword_parse(STR("x"), &letter, &keyword), RC_SYNTAX);
    assert_rc(maildir_keyword_parse(STR("1 "), &letter, &keyword), RC_SYNTAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_say_flags_and_time), cmocka_unit_test(uidlists_of_dovecot),
        cmocka_unit_test(size_lists_of_courier),    cmocka_unit_test(unique_ids_by_a_form),
        cmocka_unit_test(folders_in_either_layout), cmocka_unit_test(keywords_have_letters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
