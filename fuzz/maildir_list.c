/* Fuzz target: dovecot-uidlist, courierimapuiddb and courierpop3dsizelist, line by line. Aborts
 * when a line gives a message without a name, or a UID of a list that nobody here knows. */
#include "fuzz/fuzz.h"
#include "transfer/maildir_int.h"

static void check(struct str text, enum maildir_list_kind kind)
{
    struct maildir_list list = {.kind = kind};
    struct maildir_listed listed;
    struct str line;
    while (str_cut(&text, '\n', &line)) {
        if (maildir_list_line(&list, line, &listed) != RC_OK)
            continue;
        FUZZ_DEMAND(str_is_null(listed.base) || listed.base.n > 0);
        FUZZ_DEMAND(list.kind != MAILDIR_LIST_BAD || !listed.base.n);
        FUZZ_DEMAND(listed.uidl.n <= line.n && listed.base.n <= line.n);
        FUZZ_DEMAND(!listed.base.n || listed.is_courier_pop3 || listed.uid);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = str_from(data, size);
    check(text, MAILDIR_LIST_NEW);
    check(text, MAILDIR_LIST_SIZES);
    return 0;
}
