/* Fuzz target: lines of other programs' password files, and the hashes in them. Aborts when what is
 * taken is not taken again, when a name leaves its bounds, or when something is refused without a
 * word. The first byte says whether there is a domain. */
#include "admin/passwd.h"
#include "fuzz/fuzz.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct passwd_entry e;
    char again[CRYPTO_FOREIGN_MAX];
    if (!size)
        return 0;
    struct str domain = data[0] & 1 ? STR("a.test") : (struct str){0};
    enum rc rc = passwd_read(str_from(data + 1, size - 1), domain, &e);
    FUZZ_DEMAND(rc == RC_OK || rc == RC_NOTFOUND || rc == RC_SYNTAX);
    FUZZ_DEMAND((rc == RC_SYNTAX) == (e.why != NULL));
    FUZZ_DEMAND(memchr(e.address, '\0', sizeof e.address) && memchr(e.text, '\0', sizeof e.text));
    if (rc != RC_OK)
        return 0;
    FUZZ_DEMAND(strchr(e.address, '@'));
    if (e.kind != PASSWD_HASH)
        return 0;
    FUZZ_DEMAND(crypto_foreign_read(str_of(e.text), again) == RC_OK);
    FUZZ_DEMAND(strcmp(again, e.text) == 0);
    return 0;
}
