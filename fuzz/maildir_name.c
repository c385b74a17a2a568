/* Fuzz target: names in a Maildir, of files and of folders. Aborts when a name's base is no
 * beginning of it or depends on the flags, or when a folder's name that can be written is not read
 * again. */
#include "fuzz/fuzz.h"
#include "transfer/maildir_int.h"

#include <string.h>

static void check_file(struct str file)
{
    struct maildir_name name, again;
    if (maildir_name_parse(file, &name) != RC_OK)
        return;
    FUZZ_DEMAND(name.base.n > 0 && str_starts(file, name.base));
    FUZZ_DEMAND(!(name.flags & ~31U) && name.letters < 1U << MAILDIR_LETTERS);
    FUZZ_DEMAND(maildir_name_parse(name.base, &again) == RC_OK);
    FUZZ_DEMAND(again.time == name.time);
}

static void check_folder(struct str file, char separator)
{
    struct buf name = {.cap = 1 << 20};
    struct str levels[STORE_LEVELS];
    size_t n;
    maildir_folder_name(file, separator, &name);
    if (!split_name(buf_str(&name), levels, &n))
        FUZZ_DEMAND(n > 0 && n <= STORE_LEVELS);
    buf_fini(&name);
}

static void check_form(struct str form)
{
    struct buf out = {.cap = 400};
    (void)maildir_uidl(form, 42, 4000000000U, STR("file"), &out);
    FUZZ_DEMAND(buf_len(&out) <= 400);
    buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = str_from(data, size), keyword;
    unsigned letter;
    check_file(text);
    check_folder(text, '.');
    check_folder(text, '/');
    check_form(text);
    if (maildir_keyword_parse(text, &letter, &keyword) == RC_OK)
        FUZZ_DEMAND(letter < MAILDIR_LETTERS && keyword.n > 0);
    return 0;
}
