/* Mailbox names between the wire, modified UTF-7 [RFC3501 5.1.3] [RFC9051 A.1], and the store,
 * UTF-8 in levels. A name that comes as UTF-8 is taken as it is: some clients send it, and nothing
 * else could be meant. Pure. */
#include "imap/imap_int.h"

#include "base/utf7.h"
#include "base/utf8.h"
#include "mime/text.h"

#include <string.h>

/* --- paths ------------------------------------------------------------------------------------ */

enum rc imap_name_decode(const struct imap_parse *p, struct str name, struct buf *out)
{
    if (!utf8_is_valid(name))
        return RC_SYNTAX;
    return p->is_utf8 || !utf8_is_ascii(name) ? buf_add(out, name) : utf7_decode(name, out);
}

static bool to_utf8(struct imap_parse *p, struct str name, struct str *out)
{
    struct buf text = {.cap = STORE_LEVELS * (STORE_NAME_MAX + 1)};
    enum rc rc = imap_name_decode(p, name, &text);
    if (rc == RC_OK)
        *out = arena_dup(p->arena, buf_len(&text) ? buf_str(&text) : STR(""));
    buf_fini(&text);
    if (rc == RC_SYNTAX)
        return imap_fail(p, "a mailbox name in modified UTF-7");
    p->is_limit = rc != RC_OK || !out->p;
    return !p->is_limit || imap_fail(p, "a shorter mailbox name");
}

bool imap_take_mailbox(struct imap_parse *p, struct store_path *out)
{
    struct str name, utf8 = {0}, level;
    if (!imap_take_astring(p, &name) || !to_utf8(p, name, &utf8))
        return false;
    p->has_8bit = !utf8_is_ascii(name);
    struct str *levels = arena_alloc(p->arena, STORE_LEVELS * sizeof *levels);
    *out = (struct store_path){.levels = levels};
    while (levels && str_cut(&utf8, '/', &level)) {
        if (out->n == STORE_LEVELS)
            levels = NULL;
        else if (level.n || utf8.p) /* one separator at the end means nothing [RFC3501 6.3.3]
                                       [RFC9051 6.3.4] */
            levels[out->n++] = level;
    }
    p->is_limit = !levels;
    if (levels && out->n && str_ieq(levels[0], STR("INBOX"))) /* [RFC3501 5.1] [RFC9051 5.1] */
        levels[0] = STR("INBOX");
    return levels || imap_fail(p, "fewer levels in the mailbox name");
}

bool imap_name_is_good(const struct imap_parse *p, struct store_path path)
{
    for (size_t i = 0; p->has_8bit && i < path.n; i++)
        if (!mime_is_net_unicode(path.levels[i]))
            return false;
    return true;
}

/* [RFC9051 13.2.2] */
void imap_put_name(const struct imap_session *s, struct buf *out, struct str path)
{
    if (imap_has_utf8(s)) {
        imap_put_utf8(out, path);
        return;
    }
    struct buf name = {.cap = STORE_LEVELS * 4 * (STORE_NAME_MAX + 1)};
    if (utf7_encode(path, &name) != RC_OK)
        out->over = true;
    imap_put_astring(out, buf_str(&name));
    buf_fini(&name);
}

struct str imap_join_path(struct arena *arena, struct store_path path)
{
    struct buf name = {.cap = STORE_LEVELS * (STORE_NAME_MAX + 1)};
    for (size_t i = 0; i < path.n; i++) {
        buf_put(&name, i ? STR("/") : STR(""));
        buf_put(&name, path.levels[i]);
    }
    struct str joined = {0};
    if (!name.over)
        joined = arena_dup(arena, buf_len(&name) ? buf_str(&name) : STR(""));
    buf_fini(&name);
    return joined;
}

/* --- patterns --------------------------------------------------------------------------------- */

struct glob { /* where to go on when what follows a wildcard does not match */
    size_t pattern, name;
    bool is_set;
};

/* Lets a wildcard take one byte more. */
static bool extend(struct glob *g, struct str name, bool stops_at_level, size_t *p, size_t *n)
{
    if (!g->is_set || g->name == name.n || (stops_at_level && name.p[g->name] == '/'))
        return false;
    *n = ++g->name;
    *p = g->pattern;
    return true;
}

static bool is_same(char a, char b, bool is_inbox)
{
    return a == b || (is_inbox && ascii_upper(a) == ascii_upper(b));
}

bool imap_name_matches(struct str name, struct str pattern)
{
    struct glob star = {0}, percent = {0};
    size_t inbox = str_eq(name, STR("INBOX")) || str_starts(name, STR("INBOX/")) ? 5 : 0;
    size_t p = 0, n = 0;
    while (p < pattern.n || n < name.n) {
        char c = p < pattern.n ? pattern.p[p] : 0;
        if (c == '*') {
            star = (struct glob){++p, n, true};
            percent.is_set = false;
        } else if (c == '%') {
            percent = (struct glob){++p, n, true};
        } else if (p < pattern.n && n < name.n && is_same(c, name.p[n], n < inbox)) {
            p++;
            n++;
        } else if (!extend(&percent, name, true, &p, &n)) {
            percent.is_set = false;
            if (!extend(&star, name, false, &p, &n))
                return false;
        }
    }
    return true;
}
