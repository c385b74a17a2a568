/* What needs Unicode's tables: i;unicode-casemap [RFC5051 2], substrings, and names and passwords
 * in one spelling (precis.h). The only file that meets libunistring.
 *
 * A character is put into title case and what comes of that decomposed, in full; nothing of it is
 * put into title case again. ASCII, which is nearly all, takes no table. Marks are not put in order
 * [RFC5051 4]. */
#include "mime/precis.h"
#include "mime/subject.h"
#include "mime/text.h"

#include "base/utf8.h"

#include <stdlib.h>
#include <string.h>
#include <unicase.h>
#include <unictype.h>
#include <uninorm.h>
#include <unistr.h>

enum { SPREAD = UC_DECOMPOSITION_MAX_LENGTH * 4 * 4, PIECE = 4 << 10 };

/* Eight letters at once: the top bit of each byte tells whether it is from 'A' to 'Z'. No byte may
 * have it set before. */
static uint64_t lower_word(uint64_t word)
{
    uint64_t from_a = word + 0x3f3f3f3f3f3f3f3fu, behind_z = word + 0x2525252525252525u;
    return word | ((from_a ^ behind_z) & 0x8080808080808080u) >> 2;
}

/* ASCII at the beginning of s, folded; returns how many bytes. */
static size_t fold_ascii(struct str s, char *to)
{
    size_t i = 0;
    uint64_t word;
    for (; i + sizeof word <= s.n; i += sizeof word) {
        memcpy(&word, s.p + i, sizeof word);
        if (word & 0x8080808080808080u)
            break;
        word = lower_word(word);
        memcpy(to + i, &word, sizeof word);
    }
    for (; i < s.n && (unsigned char)s.p[i] < 0x80; i++)
        to[i] = ascii_lower(s.p[i]);
    return i;
}

/* Hangul is in no table of decompositions that i;unicode-casemap knows. */
static int decompose(ucs4_t c, ucs4_t parts[UC_DECOMPOSITION_MAX_LENGTH])
{
    int tag;
    return c >= 0xac00 && c <= 0xd7a3 ? -1 : uc_decomposition(c, &tag, parts);
}

/* A decomposition may hold characters that can be decomposed again, at its beginning or anywhere.
 * Each character is given to `put`. */
static size_t put_decomposed(ucs4_t c, uint8_t *to, unsigned depth,
                             size_t (*put)(ucs4_t c, uint8_t *to))
{
    ucs4_t parts[UC_DECOMPOSITION_MAX_LENGTH];
    int n = decompose(c, parts);
    size_t length = 0;
    if (n <= 0 || depth == 4)
        return put(c, to);
    for (int i = 0; i < n; i++)
        length += put_decomposed(parts[i], to + length, depth + 1, put);
    return length;
}

static size_t put_as_is(ucs4_t c, uint8_t *to)
{
    int n = u8_uctomb(to, c, 8);
    return n > 0 ? (size_t)n : 0;
}

enum { NONCHARACTERS = 0xfdd0 }; /* one for each letter from 'a' on */

/* In lower case stands what i;unicode-casemap has in upper case: text that is ASCII, which is
 * nearly all, is compared as it is read. What it has in lower case ASCII, parts of a ligature and
 * the like, is no letter to it that any other letter equals: it becomes a noncharacter. */
static size_t put_folded(ucs4_t c, uint8_t *to)
{
    if (c >= 'A' && c <= 'Z')
        c |= 0x20;
    else if (c >= 'a' && c <= 'z')
        c = NONCHARACTERS + (c - 'a');
    return put_as_is(c, to);
}

/* The character that s begins with, or a byte that is none; returns its length. */
static size_t fold_one(struct str s, char *to, size_t *n)
{
    ucs4_t c;
    int length = u8_mbtoucr(&c, (const uint8_t *)s.p, s.n);
    if (length <= 0) {
        to[(*n)++] = s.p[0];
        return 1;
    }
    *n += c < 0x80 ? put_as_is((unsigned char)ascii_lower((char)c), (uint8_t *)to + *n)
                   : put_decomposed(uc_totitle(c), (uint8_t *)to + *n, 0, put_folded);
    return (size_t)length;
}

enum rc mime_fold(struct str utf8, struct buf *out)
{
    size_t before = buf_len(out);
    while (utf8.n) {
        struct str piece = str_head(utf8, PIECE);
        char *to = buf_reserve(out, piece.n);
        size_t n = to ? fold_ascii(piece, to) : 0;
        buf_commit(out, n);
        utf8 = str_skip(utf8, n);
        if (n == piece.n)
            continue;
        char folded[SPREAD];
        size_t n_folded = 0;
        utf8 = str_skip(utf8, fold_one(utf8, folded, &n_folded));
        if (buf_add(out, str_from(folded, n_folded)) != RC_OK || !to) {
            buf_truncate(out, before);
            return RC_LIMIT;
        }
    }
    return RC_OK;
}

/* ---- i;unicode-casemap ---- */

enum rc mime_casemap(struct str utf8, struct buf *out)
{
    size_t before = buf_len(out);
    enum rc rc = RC_OK;
    while (utf8.n && rc == RC_OK) {
        char mapped[SPREAD];
        ucs4_t c;
        int length = u8_mbtoucr(&c, (const uint8_t *)utf8.p, utf8.n);
        if (length <= 0) {
            rc = RC_SYNTAX;
        } else if (c < 0x80) {
            rc = buf_add_byte(out, (char)(c >= 'a' && c <= 'z' ? c - 0x20 : c));
        } else {
            size_t n = put_decomposed(uc_totitle(c), (uint8_t *)mapped, 0, put_as_is);
            rc = buf_add(out, str_from(mapped, n));
        }
        utf8 = str_skip(utf8, length > 0 ? (size_t)length : 0);
    }
    if (rc != RC_OK)
        buf_truncate(out, before);
    return rc;
}

/* ---- Net-Unicode ---- */

static bool is_for_names(ucs4_t c)
{
    bool is_control = c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x2028 || c == 0x2029;
    return !is_control && !uc_is_general_category(c, UC_UNASSIGNED);
}

bool mime_is_net_unicode(struct str utf8)
{
    const uint8_t *bytes = (const uint8_t *)utf8.p;
    bool is_good = !str_starts(utf8, STR("\xef\xbb\xbf"));
    for (size_t at = 0; is_good && at < utf8.n;) {
        ucs4_t c;
        int length = u8_mbtoucr(&c, bytes + at, utf8.n - at);
        is_good = length > 0 && is_for_names(c);
        at += length > 0 ? (size_t)length : 0;
    }
    if (!is_good || !utf8.n)
        return is_good;
    size_t n = 0;
    uint8_t *composed = u8_normalize(UNINORM_NFC, bytes, utf8.n, NULL, &n);
    is_good = composed && n == utf8.n && memcmp(composed, bytes, n) == 0;
    free(composed);
    return is_good;
}

/* ---- Names and passwords: what a form maps, character by character, then the whole ---- */

enum { PREPARED_MAX = 4096 }; /* bytes of what is looked at; more stays as it came */

/* Commonly mapped to nothing [RFC3454 B.1]; U+200B is a space there as well, which comes first. */
static bool is_nothing(ucs4_t c)
{
    static const struct {
        ucs4_t from, to;
    } table[] = {{0x00ad, 0x00ad}, {0x034f, 0x034f}, {0x1806, 0x1806}, {0x180b, 0x180d},
                 {0x200c, 0x200d}, {0x2060, 0x2060}, {0xfe00, 0xfe0f}, {0xfeff, 0xfeff}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (c >= table[i].from && c <= table[i].to)
            return true;
    return false;
}

static bool is_any_space(enum mime_form form, ucs4_t c)
{
    return uc_is_general_category(c, UC_SPACE_SEPARATOR) ||
           (form == MIME_SASLPREP && c == 0x200b); /* [RFC3454 C.1.2] */
}

/* A fullwidth or halfwidth character is the one that it is a variant of [RFC8265 3.3.1]. */
static ucs4_t widthless(ucs4_t c)
{
    ucs4_t to[UC_DECOMPOSITION_MAX_LENGTH];
    int tag = 0;
    int n = uc_decomposition(c, &tag, to);
    return n == 1 && (tag == UC_DECOMP_WIDE || tag == UC_DECOMP_NARROW) ? to[0] : c;
}

/* False: it is mapped to nothing. */
static bool map_character(enum mime_form form, ucs4_t *c)
{
    if (form == MIME_USERNAME)
        *c = widthless(*c);
    else if (is_any_space(form, *c)) /* [RFC8265 4.2.2] [RFC4013 2.1] */
        *c = ' ';
    return form != MIME_SASLPREP || !is_nothing(*c);
}

static size_t map_text(enum mime_form form, struct str text, uint8_t *to, size_t room)
{
    const uint8_t *bytes = (const uint8_t *)text.p;
    size_t n = 0;
    for (size_t at = 0; at < text.n;) {
        ucs4_t c;
        at += (size_t)u8_mbtoucr(&c, bytes + at, text.n - at); /* checked to be UTF-8 */
        if (!map_character(form, &c))
            continue;
        int length = u8_uctomb(to + n, c, (ptrdiff_t)(room - n));
        n += length > 0 ? (size_t)length : 0;
    }
    return n;
}

static uint8_t *put_in_form(enum mime_form form, const uint8_t *mapped, size_t n, size_t *out_n)
{
    if (form == MIME_USERNAME)
        return u8_tolower(mapped, n, NULL, UNINORM_NFC, NULL, out_n);
    return u8_normalize(form == MIME_OPAQUE ? UNINORM_NFC : UNINORM_NFKC, mapped, n, NULL, out_n);
}

enum rc mime_prepare(enum mime_form form, struct str text, size_t max, struct buf *out)
{
    uint8_t mapped[PREPARED_MAX];
    size_t n = 0;
    if ((utf8_is_ascii(text) && form != MIME_USERNAME) || text.n > PREPARED_MAX ||
        !utf8_is_valid(text))
        return buf_add(out, text);
    /* No mapping makes a character longer in UTF-8. */
    size_t n_mapped = map_text(form, text, mapped, sizeof mapped);
    uint8_t *made = put_in_form(form, mapped, n_mapped, &n);
    bool is_good = made && n && n <= max;
    enum rc rc = buf_add(out, is_good ? str_from(made, n) : text);
    explicit_bzero(mapped, sizeof mapped);
    if (made)
        explicit_bzero(made, n);
    free(made);
    return rc;
}

/* ---- Substrings ---- */

enum rc mime_match_begin(struct mime_match *m, struct str needle)
{
    m->needle = needle;
    mime_match_again(m);
    return needle.n <= MIME_NEEDLE_MAX ? RC_OK : RC_LIMIT;
}

void mime_match_again(struct mime_match *m)
{
    m->n_tail = 0;
    m->is_found = m->needle.n == 0;
}

static bool is_in(struct str s, struct str needle)
{
    return s.n >= needle.n && memmem(s.p, s.n, needle.p, needle.n);
}

bool mime_match(struct mime_match *m, struct str piece)
{
    if (m->is_found || piece.n == 0)
        return m->is_found;
    size_t most = m->needle.n - 1, n = piece.n < most ? piece.n : most;
    if (m->n_tail) { /* across the edge */
        memcpy(m->tail + m->n_tail, piece.p, n);
        m->is_found = is_in(str_from(m->tail, m->n_tail + n), m->needle);
    }
    m->is_found = m->is_found || is_in(piece, m->needle);
    if (m->is_found)
        return true;
    size_t kept = most - n < m->n_tail ? most - n : m->n_tail;
    memmove(m->tail, m->tail + m->n_tail - kept, kept);
    memcpy(m->tail + kept, piece.p + piece.n - n, n);
    m->n_tail = kept + n;
    return false;
}

bool mime_is_letter(uint32_t character)
{
    const uint32_t letters = UC_CATEGORY_MASK_L | UC_CATEGORY_MASK_M | UC_CATEGORY_MASK_N;
    if (character >= NONCHARACTERS && character <= NONCHARACTERS + ('z' - 'a'))
        return true;
    return uc_is_general_category_withtable(character, letters);
}
