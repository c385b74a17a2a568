/* Fuzz target: UTF-8. Aborts when the lengths of characters do not add up to what is called
 * well-formed, when a character that is cut short is not called so, or when one comes out otherwise
 * than it went in. */
#include "base/utf8.h"
#include "fuzz/fuzz.h"

static void check_character(struct str s)
{
    char again[UTF8_MAX];
    struct str rest = s;
    uint32_t character = utf8_take(&rest);
    FUZZ_DEMAND(rest.n == 0 && character <= 0x10ffff && (character >> 11) != 0xd800 >> 11);
    FUZZ_DEMAND(str_eq(str_from(again, utf8_put(again, character)), s));
    FUZZ_DEMAND(utf8_is_valid(s) && utf8_is_ascii(s) == (character < 0x80));
    for (size_t n = 1; n < s.n; n++)
        FUZZ_DEMAND(utf8_length(str_head(s, n)) == SIZE_MAX && !utf8_is_valid(str_head(s, n)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str in = str_from(data, size), s = in;
    size_t n = 0, ascii = utf8_ascii_length(in);
    FUZZ_DEMAND(ascii <= size && utf8_is_ascii(str_head(in, ascii)));
    FUZZ_DEMAND(utf8_is_ascii(in) == (ascii == size));
    while (s.n && (n = utf8_length(s)) != 0 && n != SIZE_MAX) {
        FUZZ_DEMAND(n <= s.n && n <= UTF8_MAX);
        check_character(str_head(s, n));
        s = str_skip(s, n);
    }
    FUZZ_DEMAND(utf8_is_valid(in) == (s.n == 0));
    return 0;
}
