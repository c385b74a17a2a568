/* How many messages one command processes at most [RFC9738]: the newest ones, and the answer tells
 * which was the last one of them.
 *
 * FETCH, SEARCH, STORE, MOVE and UID EXPUNGE do as much as they may, from the highest UID
 * downwards; what only makes sense as a whole - COPY, APPEND, SORT, THREAD, a range of PARTIAL that
 * is larger - is refused and nothing is done. EXPUNGE, CLOSE, STATUS and what SELECT tells of the
 * past have no limit. What a search passes over because of a set that all hits are in, and what
 * CHANGEDSINCE passes over, is not processed and does not count. */
#include "imap/search_int.h"

size_t imap_limit_of(const struct imap_session *s)
{
    const struct imap_conf *conf = &s->imap->conf;
    return conf->limits_saving_only ? SIZE_MAX : conf->message_limit;
}

size_t imap_limit_of_saving(const struct imap_session *s)
{
    return s->imap->conf.message_limit;
}

/* One of the two [RFC9738 3]. */
void imap_put_limit_capability(const struct imap_session *s, struct buf *out)
{
    const struct imap_conf *conf = &s->imap->conf;
    buf_put(out, conf->limits_saving_only ? STR(" SAVELIMIT=") : STR(" MESSAGELIMIT="));
    imap_put_u64(out, conf->message_limit);
}

void imap_limit_cut(struct imap_session *s, const struct store_root *root, size_t keep,
                    struct imap_spans *spans)
{
    struct imap_partial part = {.from = 1, .to = (uint32_t)keep, .is_from_the_end = true};
    imap_spans_cut(spans, &part);
    s->limited.most = imap_limit_of_saving(s);
    s->limited.lowest = spans->n ? store_root_at(root, spans->at[0].from)->uid : 0;
}

enum imap_text imap_limit_refuse(struct imap_session *s, size_t most)
{
    s->limited.most = most;
    s->limited.lowest = 0;
    return IMAP_MESSAGE_LIMIT;
}

enum imap_text imap_limit_partial(struct imap_session *s, const struct imap_partial *p)
{
    size_t most = imap_limit_of(s);
    return p->to - p->from < most ? IMAP_DONE : imap_limit_refuse(s, most);
}

/* In the tagged answer, where no other code is; otherwise by itself [RFC9738 3.1]. */
void imap_limit_tell(struct conn *c, struct imap_session *s)
{
    enum imap_text text = s->answer;
    struct buf code = {.cap = 100};
    if (!s->limited.most || imap_text_status(text) == IMAP_BAD)
        return;
    buf_put(&code, STR("[MESSAGELIMIT "));
    imap_put_u64(&code, s->limited.most);
    if (s->limited.lowest) {
        buf_put(&code, STR(" "));
        imap_put_u64(&code, s->limited.lowest);
    }
    buf_put(&code, STR("] "));
    bool has_other = s->code.p || imap_text_code(text).p;
    bool is_tagged = imap_text_status(text) == IMAP_OK || text == IMAP_MESSAGE_LIMIT;
    struct str kept = {0};
    if (is_tagged && !has_other)
        kept = s->code = arena_dup(&s->arena, buf_str(&code));
    if (!kept.p) {
        buf_put(net_out(c), STR("* NO "));
        buf_put(net_out(c), buf_str(&code));
        buf_put(net_out(c), imap_text_line(IMAP_MESSAGE_LIMIT));
        buf_put(net_out(c), STR("\r\n"));
    }
    buf_fini(&code);
}

/* --- SEARCH ----------------------------------------------------------------------------------- */

/* The messages that sets leave which all hits are in. */
static bool find_searched(const struct imap_search_program *program, size_t count,
                          struct arena *arena, struct imap_spans *out)
{
    struct imap_span *all = arena_alloc(arena, sizeof *all);
    if (!all)
        return false;
    *all = (struct imap_span){0, count};
    *out = (struct imap_spans){.at = all, .n = 1, .total = count};
    for (const struct imap_search_key *key = program->all->first; key; key = key->next)
        if (key->kind == IMAP_SEARCH_SET && !imap_spans_meet(out, &key->spans, arena, out))
            return false;
    return true;
}

enum imap_text imap_limit_search(struct imap_session *s, struct imap_search *k)
{
    struct imap_search_program *program = &k->program;
    size_t most = imap_limit_of(s);
    struct imap_spans spans;
    if (k->count <= most)
        return IMAP_DONE;
    if (!find_searched(program, k->count, &s->arena, &spans))
        return IMAP_LIMIT;
    if (spans.total <= most)
        return IMAP_DONE;
    if (k->needs_all) /* [RFC9738 3.3] */
        return imap_limit_refuse(s, most);
    struct imap_search_key *key = arena_zero(&s->arena, sizeof *key);
    if (!key)
        return IMAP_LIMIT;
    imap_limit_cut(s, s->view.root, most, &spans);
    key->kind = IMAP_SEARCH_SET;
    key->spans = spans;
    key->next = program->all->first;
    program->all->first = key;
    return IMAP_DONE;
}
