/* Message identifiers, for threads [RFC5322 3.6.4].
 *
 * Old and broken writers put phrases, dates and commas between the ids, and folds into them. An id
 * is whatever stands between '<' and the next '>', without its white space. Never allocates beyond
 * the cap of the buffer it is handed. */
#include "mime/mime_int.h"
#include "mime/summary.h"

enum { ID_MAX = 998 };

/* Puts the id into `id` without white space; false when there is nothing left or it does not fit.
 */
static bool put_id(struct str raw, struct buf *id)
{
    buf_clear(id);
    for (size_t i = 0; i < raw.n; i++) {
        if (!mime_is_space(raw.p[i]) && buf_add_byte(id, raw.p[i]) != RC_OK) {
            buf_clear(id);
            return false;
        }
    }
    return buf_len(id) > 0;
}

/* A value that has no brackets at all. */
static bool take_bare(struct str *rest, struct buf *id)
{
    struct str word = str_trim(*rest);
    *rest = str_skip(*rest, rest->n);
    for (size_t i = 0; i < word.n; i++)
        if (mime_is_space(word.p[i]))
            return false;
    return str_find_byte(word, '@') > 0 && put_id(word, id);
}

bool mime_msgid_next(struct str *rest, struct buf *id)
{
    buf_clear(id);
    if (str_find_byte(*rest, '<') < 0 && str_find_byte(*rest, '>') < 0)
        return take_bare(rest, id);
    for (;;) {
        ptrdiff_t close = str_find_byte(*rest, '>');
        if (close < 0)
            break;
        struct str raw = str_head(*rest, (size_t)close);
        *rest = str_skip(*rest, (size_t)close + 1);
        ptrdiff_t open = str_rfind_byte(raw, '<');
        if (open < 0 || !put_id(str_skip(raw, (size_t)open + 1), id))
            continue;
        if (str_find_byte(*rest, '>') < 0) /* what follows the last id is not a bare one */
            *rest = str_skip(*rest, rest->n);
        return true;
    }
    *rest = str_skip(*rest, rest->n);
    return false;
}

/* ---- For REFERENCES ---- */

/* As the id would be without quoting [RFC5256 3]: both forms are the same id. */
static void put_unquoted(struct buf *out, struct str id)
{
    bool is_quoted = false;
    if (str_find_byte(id, '"') < 0) { /* nearly all */
        buf_put(out, id);
        return;
    }
    for (size_t i = 0; i < id.n; i++) {
        if (id.p[i] == '"') {
            is_quoted = !is_quoted;
            continue;
        }
        i += is_quoted && id.p[i] == '\\' && i + 1 < id.n;
        buf_put(out, str_sub(id, i, 1));
    }
}

static size_t count_ids(struct str value, struct buf *id)
{
    size_t n = 0;
    while (mime_msgid_next(&value, id))
        n++;
    return n;
}

/* [RFC5256 3]: References; without an id there the first one of In-Reply-To. */
void mime_put_thread(struct mime_writer *w, const struct mime_facts *f)
{
    struct str own = f->values[MIME_FIELD_MESSAGE_ID];
    struct str references = f->values[MIME_FIELD_REFERENCES];
    struct buf id;
    buf_init(&id, ID_MAX);
    if (mime_msgid_next(&own, &id))
        put_unquoted(w->out, buf_str(&id));
    size_t n = count_ids(references, &id);
    size_t passed = n > MIME_SUMMARY_REFERENCES ? n - MIME_SUMMARY_REFERENCES : 0;
    if (!n)
        references = f->values[MIME_FIELD_IN_REPLY_TO];
    for (size_t i = 0; i < (n ? n : 1) && mime_msgid_next(&references, &id); i++) {
        if (i < passed)
            continue;
        buf_put(w->out, STR(" "));
        put_unquoted(w->out, buf_str(&id));
    }
    buf_fini(&id);
}
