/* Words of text; see terms.h. */
#include "mime/terms.h"

#include "mime/text.h"

#include "base/utf8.h"

#include <string.h>

enum kind { KIND_NONE, KIND_LETTER, KIND_WORD /* by itself */ };

static bool is_without_spaces(uint32_t c)
{
    static const struct {
        uint32_t from, to;
    } ranges[] = {
        {0x0e00, 0x0eff},   /* Thai, Lao */
        {0x1000, 0x109f},   /* Myanmar */
        {0x1780, 0x17ff},   /* Khmer */
        {0x3040, 0x30ff},   /* kana */
        {0x3400, 0x9fff},   /* Han */
        {0xf900, 0xfaff},   /* the same */
        {0x20000, 0x3ffff}, /* and more of it */
    };
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        if (c >= ranges[i].from && c <= ranges[i].to)
            return true;
    return false;
}

static enum kind kind_of(uint32_t c)
{
    if (c < 0x80)
        return ascii_is_alpha((char)c) || ascii_is_digit((char)c) ? KIND_LETTER : KIND_NONE;
    if (!mime_is_letter(c))
        return KIND_NONE;
    return is_without_spaces(c) ? KIND_WORD : KIND_LETTER;
}

/* The character that s begins with; what is none is a byte and no letter. */
static size_t look(struct str s, enum kind *out)
{
    size_t n = utf8_length(s);
    *out = KIND_NONE;
    if (!n || n > UTF8_MAX)
        return 1;
    struct str one = str_head(s, n);
    *out = kind_of(utf8_take(&one));
    return n;
}

size_t mime_terms_split(struct str folded, struct str *out, size_t most)
{
    size_t n = 0, at = 0, from = 0, length;
    for (enum kind kind; at < folded.n && n < most; at += length) {
        length = look(str_skip(folded, at), &kind);
        if (kind == KIND_LETTER)
            continue;
        if (at > from)
            out[n++] = str_sub(folded, from, at - from);
        if (kind == KIND_WORD && n < most)
            out[n++] = str_sub(folded, at, length);
        from = at + length;
    }
    if (n < most && at > from)
        out[n++] = str_sub(folded, from, at - from);
    for (size_t i = 0; i < n; i++)
        out[i] = str_head(out[i], MIME_TERM_MAX);
    return n;
}

/* --- looking ---------------------------------------------------------------------------------- */

void mime_terms_again(struct mime_terms *m)
{
    m->seen = m->whole = m->times = m->in_a_row = 0;
    m->is_phrase = false;
    m->word_n = m->tail_n = 0;
}

void mime_terms_begin(struct mime_terms *m, const struct str *terms, size_t n)
{
    *m = (struct mime_terms){.terms = terms, .n = n < MIME_TERMS ? n : MIME_TERMS};
    for (size_t i = 0; i < m->n; i++)
        m->firsts[(unsigned char)terms[i].p[0]] = true;
}

static bool is_all(const struct mime_terms *m)
{
    return m->seen == (uint32_t)((UINT64_C(1) << m->n) - 1);
}

static bool begins(const struct mime_terms *m, size_t i)
{
    struct str term = m->terms[i];
    return m->word_n >= term.n && memcmp(m->word, term.p, term.n) == 0;
}

static void end_word(struct mime_terms *m)
{
    bool is_met = false;
    if (!m->word_n)
        return;
    if (m->firsts[(unsigned char)m->word[0]]) {
        bool is_next = begins(m, m->in_a_row);
        for (size_t i = 0; i < m->n; i++) {
            if (!begins(m, i))
                continue;
            is_met = true;
            m->seen |= UINT32_C(1) << i;
            m->whole |= (uint32_t)(m->word_n == m->terms[i].n) << i;
        }
        m->in_a_row = is_next ? m->in_a_row + 1 : begins(m, 0) ? 1 : 0;
        m->is_phrase = m->is_phrase || m->in_a_row == m->n;
        m->in_a_row = m->in_a_row == m->n ? 0 : m->in_a_row;
    } else {
        m->in_a_row = 0;
    }
    m->times += is_met && m->times < UINT32_MAX;
    m->word_n = 0;
}

/* What does not fit only counts. */
static void add(struct mime_terms *m, struct str bytes)
{
    for (size_t i = 0; i < bytes.n; i++, m->word_n++)
        if (m->word_n < MIME_TERM_MAX)
            m->word[m->word_n] = bytes.p[i];
}

static void take(struct mime_terms *m, enum kind kind, struct str character)
{
    if (kind != KIND_LETTER)
        end_word(m);
    if (kind != KIND_NONE)
        add(m, character);
    if (kind == KIND_WORD)
        end_word(m);
}

static void take_ascii(struct mime_terms *m, char c)
{
    c = ascii_lower(c);
    if (ascii_is_alpha(c) || ascii_is_digit(c))
        add(m, str_from(&c, 1));
    else
        end_word(m);
}

/* A character that came in two pieces; how many bytes of the second one it takes. */
static size_t take_tail(struct mime_terms *m, struct str piece)
{
    enum kind kind;
    size_t before = m->tail_n, used = 0;
    while (m->tail_n && used < piece.n && utf8_length(str_from(m->tail, m->tail_n)) == SIZE_MAX)
        m->tail[m->tail_n++] = piece.p[used++];
    struct str tail = str_from(m->tail, m->tail_n);
    if (!tail.n || utf8_length(tail) == SIZE_MAX)
        return used;
    size_t n = look(tail, &kind);
    take(m, kind, str_head(tail, n));
    m->tail_n = 0;
    /* Of what was none, the bytes of this piece are looked at again; those before are no letters.
     */
    return n == 1 && before ? 0 : used;
}

bool mime_terms_feed(struct mime_terms *m, struct str piece)
{
    enum kind kind;
    size_t at = take_tail(m, piece);
    while (at < piece.n) {
        if ((unsigned char)piece.p[at] < 0x80) {
            take_ascii(m, piece.p[at++]);
            continue;
        }
        struct str rest = str_skip(piece, at);
        if (utf8_length(rest) == SIZE_MAX) {
            memcpy(m->tail, rest.p, rest.n);
            m->tail_n = rest.n;
            break;
        }
        size_t n = look(rest, &kind);
        take(m, kind, str_head(rest, n));
        at += n;
    }
    return is_all(m);
}

bool mime_terms_end(struct mime_terms *m)
{
    end_word(m);
    m->tail_n = 0;
    m->in_a_row = 0;
    return is_all(m);
}

unsigned mime_terms_score(const struct mime_terms *m)
{
    enum { OFTEN = 8 };
    if (!m->n || !is_all(m))
        return 1;
    uint32_t n = (uint32_t)m->n, whole = (uint32_t)__builtin_popcount(m->whole);
    uint32_t more = m->times > n ? (m->times - n) / n : 0;
    return 1 + 39 * whole / n + (m->is_phrase ? 40 : 0) +
           20 * (more < OFTEN ? more : OFTEN) / OFTEN;
}
