/* Case folding and substrings. The only file that meets libunistring.
 *
 * A character is decomposed in full, each character of that put into upper and then into lower case
 * [RFC5051 2]; sharp s becomes "ss". ASCII, which is nearly all, takes no table. What is outside
 * ASCII and folded the same on both sides is found; marks are not put in order, since that would
 * need more than one character at a time. */
#include "mime/subject.h"
#include "mime/text.h"

#include <string.h>
#include <unicase.h>
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

/* One character of a decomposition. */
static size_t put_folded(ucs4_t c, uint8_t *to)
{
    c = uc_tolower(uc_toupper(c));
    if (c == 0xdf) {
        to[0] = to[1] = 's';
        return 2;
    }
    int n = u8_uctomb(to, c, 8);
    return n > 0 ? (size_t)n : 0;
}

/* A decomposition may hold characters that can be decomposed again, at its beginning or anywhere.
 */
static size_t fold_character(ucs4_t c, uint8_t *to, unsigned depth)
{
    ucs4_t parts[UC_DECOMPOSITION_MAX_LENGTH];
    int tag, n = c >= 0xac00 && c <= 0xd7a3 ? -1 : uc_decomposition(c, &tag, parts);
    size_t length = 0;
    if (n <= 0 || depth == 4)
        return put_folded(c, to);
    for (int i = 0; i < n; i++)
        length += parts[i] < 0x80 ? put_folded(parts[i], to + length)
                                  : fold_character(parts[i], to + length, depth + 1);
    return length;
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
    *n += fold_character(c, (uint8_t *)to + *n, 0);
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

/* In title case, which only the character itself is put into; then decomposed, and what comes of
 * that again [RFC5051 2]. */
static size_t put_decomposed(ucs4_t c, uint8_t *to, unsigned depth)
{
    ucs4_t parts[UC_DECOMPOSITION_MAX_LENGTH];
    int tag, n = c >= 0xac00 && c <= 0xd7a3 ? -1 : uc_decomposition(c, &tag, parts);
    size_t length = 0;
    if (n <= 0 || depth == 4) {
        int one = u8_uctomb(to, c, 8);
        return one > 0 ? (size_t)one : 0;
    }
    for (int i = 0; i < n; i++)
        length += put_decomposed(parts[i], to + length, depth + 1);
    return length;
}

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
            size_t n = put_decomposed(uc_totitle(c), (uint8_t *)mapped, 0);
            rc = buf_add(out, str_from(mapped, n));
        }
        utf8 = str_skip(utf8, length > 0 ? (size_t)length : 0);
    }
    if (rc != RC_OK)
        buf_truncate(out, before);
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
