/* Contexts: searches whose results the client is told the changes of, until it selects another
 * mailbox or cancels them [RFC5267 4.3].
 *
 * A change is told in this order [RFC5267 4.3.3, 4.3.4]: what is no result any more (while its
 * number holds), what has changed in the mailbox, what has become a result (when its number is
 * known).
 *
 * Invariants: a context has its program in its own memory. What contexts hold is bounded, each and
 * all together; one that comes to hold more is dropped, and its client is told so by NOUPDATE. A
 * session without any pays for a pointer. */
#include "imap/context_int.h"

#include "base/mem.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static bool is_tag(const struct imap_context *k, struct str tag)
{
    return str_eq(str_from(k->tag, k->tag_n), tag);
}

static struct imap_context *find(const struct imap_session *s, struct str tag)
{
    const struct imap_contexts *all = s->view.contexts;
    if (!all)
        return NULL;
    LIST_EACH (&all->all, it) {
        struct imap_context *k = CONTAINER(it, struct imap_context, link);
        if (is_tag(k, tag))
            return k;
    }
    return NULL;
}

bool imap_context_is_known(const struct imap_session *s)
{
    return find(s, str_from(s->tag, s->tag_n));
}

/* --- memory ----------------------------------------------------------------------------------- */

static void free_context(struct imap_session *s, struct imap_context *k)
{
    atomic_fetch_sub(&s->imap->contexts, k->bytes);
    imap_search_text_fini(&k->text);
    imap_uids_fini(&k->hits);
    imap_uids_fini(&k->gone);
    imap_uids_fini(&k->come);
    imap_sorted_fini(&k->sorted);
    imap_sorted_fini(&k->added);
    arena_fini(&k->arena);
    free(k);
}

/* False: it holds too much. */
static bool count_bytes(struct imap_session *s, struct imap_context *k)
{
    size_t bytes = sizeof *k + k->arena.used + k->hits.size * sizeof *k->hits.at + k->sorted.bytes;
    size_t before = atomic_fetch_add(&s->imap->contexts, bytes);
    atomic_fetch_sub(&s->imap->contexts, k->bytes);
    bool has_room = bytes <= IMAP_CONTEXT_BYTES && before + bytes - k->bytes <= IMAP_CONTEXTS_ALL;
    k->bytes = bytes;
    return has_room;
}

/* [RFC5267 4.3.1] */
static void put_refusal(struct conn *c, struct str tag, struct str why)
{
    struct buf *out = net_out(c);
    buf_put(out, STR("* NO [NOUPDATE \""));
    buf_put(out, tag);
    buf_put(out, STR("\"] "));
    buf_put(out, why);
    buf_put(out, STR("\r\n"));
}

void imap_context_refuse(struct conn *c, const struct imap_session *s, struct str why)
{
    put_refusal(c, str_from(s->tag, s->tag_n), why);
}

static void take_out(struct imap_session *s, struct imap_context *k)
{
    struct imap_contexts *all = s->view.contexts;
    list_remove(&k->link);
    all->n--;
    free_context(s, k);
}

static void drop(struct conn *c, struct imap_session *s, struct imap_context *k)
{
    put_refusal(c, str_from(k->tag, k->tag_n), k->why);
    take_out(s, k);
}

void imap_contexts_rest(struct imap_session *s)
{
    if (s->view.contexts)
        imap_fetch_arrival_end(&s->view.contexts->fetch);
}

void imap_contexts_close(struct imap_session *s)
{
    struct imap_contexts *all = s->view.contexts;
    s->view.contexts = NULL;
    if (!all)
        return;
    imap_context_look_fini(all);
    while (!list_is_empty(&all->all)) {
        struct imap_context *k = CONTAINER(all->all.next, struct imap_context, link);
        list_remove(&k->link);
        free_context(s, k);
    }
    free(all);
}

/* --- making one ------------------------------------------------------------------------------- */

static int by_from(const void *a, const void *b)
{
    const struct imap_range *x = a, *y = b;
    return x->from < y->from ? -1 : x->from > y->from;
}

/* Numbers mean the messages that they meant when the command came [RFC5267 4.3]. */
static void put_spans(const struct store_root *root, struct imap_search_key *key,
                      struct imap_range *uids)
{
    for (size_t i = 0; i < key->spans.n; i++)
        uids[i] = (struct imap_range){store_root_at(root, key->spans.at[i].from)->uid,
                                      store_root_at(root, key->spans.at[i].to - 1)->uid};
    key->n_uids = key->spans.n;
}

/* A set up to "*" has all that come later; false: it would have to be looked at again and again. */
static bool put_ranges(struct imap_context *k, struct imap_search_key *key, uint32_t last,
                       struct imap_range *uids)
{
    size_t n = 0;
    for (size_t i = 0; i < key->set.n; i++) {
        struct imap_range r = key->set.ranges[i];
        if (r.to == UINT32_MAX && r.from > last)
            return false;
        if (r.to == UINT32_MAX)
            k->least = r.from > k->least ? r.from : k->least;
        uids[n++] = r;
    }
    qsort(uids, n, sizeof *uids, by_from);
    key->n_uids = 0;
    for (size_t i = 0; i < n; i++) {
        struct imap_range *before = key->n_uids ? &uids[key->n_uids - 1] : NULL;
        if (!before || uids[i].from > before->to)
            uids[key->n_uids++] = uids[i];
        else if (uids[i].to > before->to)
            before->to = uids[i].to;
    }
    return true;
}

static bool fix_set(struct imap_context *k, struct imap_search_key *key,
                    const struct store_root *root)
{
    size_t count = store_root_count(root), most = key->set.n + key->spans.n;
    uint32_t last = count ? store_root_at(root, count - 1)->uid : 0;
    struct imap_range *uids = arena_alloc(&k->arena, (most + 1) * sizeof *uids);
    if (!uids)
        return false;
    if (key->is_uid || key->set.is_saved) {
        if (!put_ranges(k, key, last, uids))
            return false;
    } else {
        put_spans(root, key, uids);
    }
    key->kind = IMAP_SEARCH_UIDS;
    key->uids = uids;
    return true;
}

/* Keys that depend on anything but a message and its flags: sets mean UIDs from now on; ages are
 * not for contexts, as a message grows old without a change. */
static bool fix_keys(struct imap_context *k, struct imap_search_key *key,
                     const struct store_root *root)
{
    for (; key; key = key->next) {
        if (key->seconds || (key->kind == IMAP_SEARCH_SET && !fix_set(k, key, root)))
            return false;
        if (!fix_keys(k, key->first, root))
            return false;
    }
    return true;
}

/* The program once more, in memory of its own. RC_PERM: it is none to be kept up to date. */
static enum rc copy_program(struct imap_session *s, struct imap_context *k,
                            const struct imap_search_program *program)
{
    const struct mime_charsets *charsets = s->imap->conf.charsets;
    struct imap_parse p = {.rest = arena_dup(&k->arena, program->source),
                           .arena = &k->arena,
                           .is_utf8_only = s->enabled & IMAP_EN_UTF8,
                           .saved = s->view.saved};
    struct imap_search_scene scene = {
        .names = imap_keywords(s), .root = s->view.root, .arena = &k->arena, .is_open = true};
    if (!p.rest.p || !scene.names)
        return RC_LIMIT;
    if (!(program->is_sort ? imap_take_sort_search : imap_take_search)(&p, &k->program))
        return RC_LIMIT;
    TRY(imap_search_settle(k->program.all, &scene));
    TRY(imap_search_fold(&k->program, charsets, &k->arena));
    if (!fix_keys(k, k->program.all, s->view.root))
        return RC_PERM;
    TRY(imap_search_text_init(&k->text, &k->program, charsets, &k->arena));
    for (unsigned field = 0; field < IMAP_SEARCH_FIELDS; field++)
        k->text.known[field].maker.is_off = true;
    return RC_OK;
}

/* Nothing is marked as seen by what a client did not ask for just now. */
static enum rc copy_arrival(struct imap_context *k, struct str items)
{
    struct imap_parse p = {.rest = arena_dup(&k->arena, items), .arena = &k->arena};
    bool is_good = p.rest.p && imap_take_fetch_items(&p, &k->arrival);
    k->arrival.sets_seen = false;
    return is_good ? RC_OK : RC_LIMIT;
}

static struct imap_contexts *all_of(struct imap_session *s)
{
    if (!s->view.contexts) {
        s->view.contexts = mem_zero(sizeof *s->view.contexts);
        list_init(&s->view.contexts->all);
    }
    return s->view.contexts;
}

struct imap_context *imap_context_new(struct conn *c, struct imap_session *s,
                                      const struct imap_search_program *program,
                                      const struct imap_sort_order *order,
                                      const struct imap_return *want)
{
    if (all_of(s)->n >= s->imap->conf.contexts) {
        imap_context_refuse(c, s, STR("no more searches are kept up to date, cancel one"));
        return NULL;
    }
    if (s->limited.most) { /* [RFC9738 3] */
        imap_context_refuse(c, s, STR("only some of the messages were searched"));
        return NULL;
    }
    struct imap_context *k = mem_zero(sizeof *k);
    list_init(&k->link);
    k->arena.cap = IMAP_CONTEXT_BYTES;
    k->is_uid = s->is_uid;
    k->tag_n = s->tag_n;
    memcpy(k->tag, s->tag, s->tag_n);
    k->order = order ? *order : (struct imap_sort_order){0};
    enum rc rc = copy_program(s, k, program);
    if (rc == RC_OK && want->arrival.p)
        rc = copy_arrival(k, want->arrival);
    if (rc == RC_OK)
        return k;
    imap_context_refuse(c, s,
                        rc == RC_PERM ? STR("results change without a change of the mailbox")
                                      : STR("the search is too long to be kept up to date"));
    free_context(s, k);
    return NULL;
}

void imap_context_keep(struct conn *c, struct imap_session *s, struct imap_context *k,
                       const uint64_t *hits, size_t count)
{
    size_t at = 0;
    while (k->hits.n * sizeof *k->hits.at <= IMAP_CONTEXT_BYTES &&
           (at = imap_search_next_bit(hits, at, count)) < count) {
        uint32_t uid = store_root_at(s->view.root, at++)->uid;
        imap_uids_add(&k->hits, uid, uid);
    }
    if (count_bytes(s, k)) {
        list_add_tail(&all_of(s)->all, &k->link);
        all_of(s)->n++;
        return;
    }
    imap_context_refuse(c, s, STR("there are too many results to be kept"));
    free_context(s, k);
}

/* --- telling ---------------------------------------------------------------------------------- */

static void begin_text(struct imap_contexts *all, const struct imap_context *k, struct str what,
                       struct imap_told_set *out)
{
    struct buf head = {.cap = 200};
    buf_put(&head, STR("* ESEARCH (TAG \""));
    buf_put(&head, str_from(k->tag, k->tag_n));
    buf_put(&head, k->is_uid ? STR("\") UID ") : STR("\") "));
    buf_put(&head, what);
    buf_put(&head, STR(" ("));
    buf_clear(&all->text);
    all->text.cap = 8 * IMAP_CONTEXT_BYTES; /* of a set of a million bytes */
    arena_reset(&all->scratch);
    *out =
        (struct imap_told_set){.out = &all->text, .head = arena_dup(&all->scratch, buf_str(&head))};
    buf_fini(&head);
}

static void put_uids(struct imap_told_set *t, const struct imap_context *k,
                     const struct imap_uids *uids, const struct store_root *root)
{
    for (size_t i = 0; i < uids->n; i++) {
        uint32_t from = uids->at[i].from, n = uids->at[i].to - from + 1;
        if (!k->is_uid) /* all UIDs of the range are there */
            from = (uint32_t)store_root_find(root, from) + 1;
        imap_told_put(t, 0, (struct imap_range){from, from + n - 1}, false);
    }
    imap_told_end(t);
}

static struct imap_range number_of(const struct imap_context *k, const struct store_root *root,
                                   uint32_t uid)
{
    uint32_t n = k->is_uid ? uid : (uint32_t)store_root_find(root, uid) + 1;
    return (struct imap_range){n, n};
}

static void put_sorted_gone(struct imap_told_set *t, const struct imap_context *k,
                            const struct store_root *root)
{
    uint32_t kept = 0;
    bool is_next = false; /* to the one that went before it */
    for (size_t i = 0; i < k->sorted.n; i++) {
        uint32_t uid = k->sorted.at[i].uid;
        bool is_gone = imap_uids_have(&k->gone, uid);
        if (is_gone)
            imap_told_put(t, kept + 1, number_of(k, root, uid), !is_next);
        kept += !is_gone;
        is_next = is_gone;
    }
    imap_told_end(t);
}

static void insert_sorted(struct imap_told_set *t, struct imap_context *k,
                          const struct store_root *root)
{
    uint32_t before = 0;
    imap_sorted_sort(&k->added);
    for (size_t i = 0; i < k->added.n; i++) {
        const struct imap_sorted_hit *hit = &k->added.at[i];
        struct str key = str_from(hit->key, hit->n_key);
        uint32_t place = (uint32_t)imap_sorted_place(&k->sorted, key) + 1;
        imap_sorted_insert(&k->sorted, place - 1, hit->uid, key);
        imap_told_put(t, place, number_of(k, root, hit->uid), !i || place != before + 1);
        before = place;
    }
    imap_told_end(t);
    imap_sorted_fini(&k->added);
}

/* What is no result any more is told with the numbers that the client knows [RFC5267 4.3.4]. */
static void tell_gone(struct imap_session *s, struct imap_context *k)
{
    struct imap_contexts *all = s->view.contexts;
    struct imap_told_set t;
    begin_text(all, k, STR("REMOVEFROM"), &t);
    if (k->order.n)
        put_sorted_gone(&t, k, s->view.root);
    else
        put_uids(&t, k, &k->gone, s->view.root);
    imap_sorted_subtract(&k->sorted, &k->gone);
    imap_uids_subtract(&k->hits, &k->gone);
    imap_uids_fini(&k->gone);
    all->rest = buf_str(&all->text);
}

/* And what has become one with those that it knows by then [RFC5267 4.3.3]. */
static void tell_come(struct imap_session *s, struct imap_context *k)
{
    struct imap_contexts *all = s->view.contexts;
    struct imap_told_set t;
    begin_text(all, k, STR("ADDTO"), &t);
    if (k->order.n)
        insert_sorted(&t, k, s->view.root);
    else
        put_uids(&t, k, &k->come, s->view.root);
    imap_uids_unite(&k->hits, &k->come);
    imap_uids_fini(&k->come);
    all->rest = buf_str(&all->text);
}

/* NET_READ: all of it is on its way. */
static enum net_step put_rest(struct conn *c, struct imap_contexts *all)
{
    imap_put_page(c, &all->rest);
    if (all->rest.n)
        return NET_MORE;
    buf_fini(&all->text);
    return NET_READ;
}

static struct imap_context *behind(const struct imap_contexts *all, const struct list *link)
{
    return link->next == &all->all ? NULL : CONTAINER(link->next, struct imap_context, link);
}

enum net_step imap_contexts_tell_gone(struct conn *c, struct imap_session *s)
{
    struct imap_contexts *all = s->view.contexts;
    if (!all || all->is_looked)
        return NET_READ;
    if (!all->is_telling) {
        size_t count = store_root_count(s->view.root);
        all->next_uid = count ? store_root_at(s->view.root, count - 1)->uid + 1 : 1;
        all->at = behind(all, &all->all);
    }
    all->is_telling = true;
    for (;;) {
        struct imap_context *k = all->at;
        enum net_step next = put_rest(c, all);
        if (next == NET_READ && k)
            next = imap_context_look(c, s);
        if (next != NET_READ)
            return next;
        if (!k)
            break;
        all->at = behind(all, &k->link);
        if (k->why.p)
            drop(c, s, k);
        else if (k->gone.n)
            tell_gone(s, k);
    }
    all->is_looked = true;
    all->at = behind(all, &all->all);
    return NET_READ;
}

/* The new ones of what has come; those that only changed are told of by their flags
 * [RFC5465 7]. */
static bool find_new(struct imap_session *s, const struct imap_context *k, struct imap_spans *out)
{
    const struct imap_contexts *all = s->view.contexts;
    *out = (struct imap_spans){.at = arena_alloc(&s->arena, (k->come.n + 1) * sizeof *out->at)};
    for (size_t i = 0; out->at && i < k->come.n; i++) {
        struct imap_range r = k->come.at[i];
        r.from = r.from > all->next_uid ? r.from : all->next_uid;
        if (r.from > r.to)
            continue;
        struct imap_span span = {store_root_find(s->view.root, r.from),
                                 store_root_find(s->view.root, r.to) + 1};
        out->at[out->n++] = span;
        out->total += span.to - span.from;
    }
    return out->at;
}

/* Behind the EXISTS and before the ADDTO [RFC5465 7]. */
static enum net_step tell_new(struct conn *c, struct imap_session *s, struct imap_contexts *all)
{
    struct imap_spans spans;
    if (!all->fetch && !all->is_fetched && all->at->arrival.n && find_new(s, all->at, &spans))
        all->fetch = spans.n ? imap_fetch_arrival_begin(s, &all->at->arrival, &spans) : NULL;
    enum net_step next = all->fetch ? imap_fetch_arrival(c, s, all->fetch) : NET_READ;
    if (next != NET_READ)
        return next;
    imap_fetch_arrival_end(&all->fetch);
    all->is_fetched = true;
    return NET_READ;
}

enum net_step imap_contexts_tell_come(struct conn *c, struct imap_session *s)
{
    struct imap_contexts *all = s->view.contexts;
    if (!all || !all->is_looked || s->view.next) /* it is still being told itself */
        return NET_READ;
    for (;;) {
        enum net_step next = put_rest(c, all);
        if (next == NET_READ && all->at && all->at->come.n)
            next = tell_new(c, s, all);
        if (next != NET_READ)
            return next;
        struct imap_context *k = all->at;
        if (!k)
            break;
        if (k->come.n)
            tell_come(s, k);
        if (!count_bytes(s, k))
            k->why = STR("there are too many results to be kept"); /* said with the next change */
        all->is_fetched = false;
        all->at = behind(all, &k->link);
    }
    imap_context_look_fini(all);
    all->is_looked = all->is_telling = false;
    return NET_READ;
}

/* --- CANCELUPDATE ----------------------------------------------------------------------------- */

/* A search that is not kept up to date, or not any more, is none that could be told of
 * [RFC5267 4.3.5]. */
enum net_step imap_cancelupdate(struct conn *c, struct imap_session *s, struct imap_parse *p)
{
    struct str tags = p->rest, tag;
    for (int is_done = 0; is_done < 2; is_done++) { /* all or none */
        p->rest = tags;
        do {
            if (!imap_peek_byte(p, '"'))
                imap_fail(p, "a tag in quotes");
            if (p->error || !imap_take_string(p, &tag))
                return imap_finish_syntax(c, s, p);
            struct imap_context *k = is_done ? find(s, tag) : NULL;
            if (k)
                take_out(s, k);
        } while (imap_take_byte(p, ' '));
        if (!imap_take_end(p))
            return imap_finish_syntax(c, s, p);
    }
    return imap_finish(c, s, IMAP_DONE);
}
