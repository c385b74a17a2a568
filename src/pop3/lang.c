/* LANG and UTF8 [RFC6856].
 *
 * UTF8 is taken and remembered, and changes nothing else: names and passwords are UTF-8 in any
 * session, and messages go out as they are stored, with UTF8 or without it
 * (docs/decisions/0041-pop3-sends-mail-as-it-is.md). */
#include "pop3/pop3_int.h"

enum net_step pop3_utf8(struct conn *c, struct pop3_session *s, const struct pop3_args *a)
{
    s->is_utf8 = true;
    return pop3_ok(c, POP3_UTF8_ON, NULL);
}

static enum net_step list_languages(struct conn *c)
{
    const struct pop3_language *l;
    struct buf *out = net_out(c);
    pop3_ok(c, POP3_LANGUAGES, NULL);
    for (size_t i = 0; (l = pop3_language_at(i)); i++) {
        buf_put(out, l->tag);
        buf_put(out, STR(" "));
        buf_put(out, l->name);
        buf_put(out, STR("\r\n"));
    }
    buf_put(out, STR(".\r\n"));
    return NET_READ;
}

enum net_step pop3_lang(struct conn *c, struct pop3_session *s, const struct pop3_args *a)
{
    if (!a->n)
        return list_languages(c);
    const struct pop3_language *l = pop3_language_find(a->args[0]);
    if (!l)
        return pop3_bad(c, s, POP3_NO_LANGUAGE); /* the language stays as it was */
    s->column = l->column;
    struct buf *out = net_out(c);
    buf_put(out, STR("+OK "));
    buf_put(out, l->tag); /* the exact tag comes first [RFC6856 3.2] */
    pop3_put_line(out, STR(" "), pop3_text_line(POP3_LANGUAGE_SET, s->column), NULL);
    return NET_READ;
}
