/* Base subjects [RFC5256 2.1, 5]: a subject without "Re:", "Fwd:", "[list]" and "(fwd)".
 *
 * The RFC repeats its steps until nothing matches; here what a step has looked at is not looked at
 * again, so that the work is that of the length: blobs that no "re:" follows are passed over
 * together. */
#include "mime/subject.h"

#include "base/str.h"

/* Tabs, continuations and runs of spaces are one space. */
static void put_spaced(struct str subject, struct buf *out)
{
    bool is_spaced = false;
    buf_clear(out);
    for (size_t i = 0; i < subject.n; i++) {
        char c = subject.p[i];
        bool is_space = c == ' ' || c == '\t' || c == '\r' || c == '\n';
        if (!is_space || !is_spaced)
            buf_put(out, is_space ? STR(" ") : str_sub(subject, i, 1));
        is_spaced = is_space;
    }
}

static struct str skip_spaces(struct str s)
{
    while (s.n && s.p[0] == ' ')
        s = str_skip(s, 1);
    return s;
}

/* subj-blob: "[" *BLOBCHAR "]" *WSP */
static bool take_blob(struct str *s)
{
    size_t n = 1;
    if (!s->n || s->p[0] != '[')
        return false;
    while (n < s->n && s->p[n] != '[' && s->p[n] != ']')
        n++;
    if (n == s->n || s->p[n] != ']')
        return false;
    *s = skip_spaces(str_skip(*s, n + 1));
    return true;
}

/* subj-refwd: ("re" / ("fw" ["d"])) *WSP [subj-blob] ":" */
static bool take_refwd(struct str *s)
{
    struct str rest;
    if (str_istarts(*s, STR("re")))
        rest = str_skip(*s, 2);
    else if (str_istarts(*s, STR("fwd")))
        rest = str_skip(*s, 3);
    else if (str_istarts(*s, STR("fw")))
        rest = str_skip(*s, 2);
    else
        return false;
    rest = skip_spaces(rest);
    take_blob(&rest);
    if (!rest.n || rest.p[0] != ':')
        return false;
    *s = str_skip(rest, 1);
    return true;
}

/* *subj-trailer, step 2 [RFC5256 2.1] */
static void drop_trailers(struct str *s, bool *is_reply)
{
    static const size_t n_fwd = 5;
    for (;;) {
        if (s->n && s->p[s->n - 1] == ' ') {
            s->n--;
        } else if (s->n >= n_fwd && str_ieq(str_skip(*s, s->n - n_fwd), STR("(fwd)"))) {
            s->n -= n_fwd;
            *is_reply = true;
        } else {
            return;
        }
    }
}

/* Leaders, and blobs that leave something behind them [RFC5256 2.1]. */
static void drop_leaders(struct str *s, bool *is_reply)
{
    for (;;) {
        *s = skip_spaces(*s);
        struct str last = *s, rest = *s;
        for (struct str at = rest; take_blob(&at); rest = at)
            last = rest;
        if (take_refwd(&rest)) {
            *is_reply = true;
            *s = rest;
        } else {
            *s = rest.n ? rest : last; /* the last blob is the base when there is nothing else */
            return;
        }
    }
}

/* Step 6 [RFC5256 2.1]. */
static bool drop_fwd(struct str *s)
{
    static const size_t n_header = 5;
    if (s->n <= n_header || !str_istarts(*s, STR("[fwd:")) || s->p[s->n - 1] != ']')
        return false;
    *s = str_sub(*s, n_header, s->n - n_header - 1);
    return true;
}

void mime_base_subject(struct str subject, struct buf *out, bool *out_is_reply)
{
    *out_is_reply = false;
    put_spaced(subject, out);
    struct str s = buf_str(out);
    for (;;) {
        drop_trailers(&s, out_is_reply);
        drop_leaders(&s, out_is_reply);
        if (!drop_fwd(&s))
            break;
        *out_is_reply = true;
    }
    size_t from = s.n ? (size_t)(s.p - buf_str(out).p) : buf_len(out);
    buf_truncate(out, from + s.n);
    buf_consume(out, from);
}
