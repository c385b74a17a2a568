/* Fuzz target: words of text. The input is a string to look for, a line end, and a text; the first
 * byte says how the text is cut. Aborts when words are not of the string, when what is found
 * depends on the cut, or when it is not what comparing all words with all words says.
 */
#include "fuzz/fuzz.h"
#include "mime/terms.h"

enum { WORDS = 4096 };

static char lower[4096];

static struct str in_lower_case(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        lower[i] = ascii_lower(s.p[i]);
    return str_from(lower, s.n);
}

static bool find_slowly(const struct str *terms, size_t n, struct str text)
{
    static struct str words[WORDS];
    size_t n_words = mime_terms_split(in_lower_case(text), words, WORDS);
    for (size_t i = 0; i < n; i++) {
        bool is_found = false;
        for (size_t k = 0; k < n_words && !is_found; k++)
            is_found = str_starts(words[k], terms[i]);
        if (!is_found)
            return false;
    }
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str terms[MIME_TERMS], text, wanted;
    struct mime_terms whole, cut;
    if (size < 2 || size > sizeof lower)
        return 0;
    text = str_from(data + 1, size - 1);
    if (!str_cut(&text, '\n', &wanted))
        return 0;
    size_t n = mime_terms_split(wanted, terms, MIME_TERMS), step = data[0] % 16 + 1u;
    for (size_t i = 0; i < n; i++)
        FUZZ_DEMAND(terms[i].n && terms[i].n <= MIME_TERM_MAX && terms[i].p >= wanted.p &&
                    terms[i].p + terms[i].n <= wanted.p + wanted.n);
    if (!n)
        return 0;
    mime_terms_begin(&whole, terms, n);
    mime_terms_begin(&cut, terms, n);
    mime_terms_feed(&whole, text);
    for (size_t at = 0; at < text.n; at += step)
        mime_terms_feed(&cut, str_sub(text, at, step));
    bool is_found = mime_terms_end(&whole);
    FUZZ_DEMAND(mime_terms_end(&cut) == is_found);
    FUZZ_DEMAND(mime_terms_score(&cut) == mime_terms_score(&whole));
    FUZZ_DEMAND(mime_terms_score(&whole) >= 1 && mime_terms_score(&whole) <= 100);
    FUZZ_DEMAND(is_found == find_slowly(terms, n, text));
    return 0;
}
