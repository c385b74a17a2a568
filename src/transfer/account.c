/* An account as a sink: folders become mailboxes, messages go into them in batches, each of which
 * is one commit.
 *
 * Invariants:
 *   1. A batch is for one mailbox. Batches are committed in the order in which they were filled;
 *      up to FLYING are under way while the next one is filled, so that reading, and the disk,
 *      wait for each other as little as may be.
 *   2. `seen` has the origins of all that is in the account, by this source, and of all that was
 *      given since: what is given twice is taken once. It is not asked here: the source asks.
 *   3. Nobody else brings mail in meanwhile (store_bring_lock).
 *   4. In memory are at most (FLYING + 1) batches, a message up to KV_BLOB_SMALL, and HEAD_MAX of
 *      its header. */
#include "transfer/transfer_int.h"

#include "base/bytes.h"
#include "base/mem.h"
#include "mime/mime.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FLYING = 2, BATCHES = FLYING + 1, HEAD_MAX = 64 << 10, ARENA_MAX = 16 << 20 };

struct folder {
    uint32_t mailbox; /* 0: it was refused */
    bool is_inbox;
};

struct account_sink {
    struct transfer_sink sink; /* first */
    struct kv *kv;
    struct store *store;
    const struct ctx *ctx;
    struct store_account *account;
    struct transfer_limits limits;
    uint64_t source;
    struct seen seen, uidls;
    uint32_t inbox, inbox_validity;
    struct folder *folders;
    size_t n_folders, max_folders;
    struct str keywords[STORE_KEYWORDS]; /* names the account has, or will have; malloc'd */
    size_t n_keywords;
    bool is_keyword_told;
    struct batch batches[BATCHES];
    size_t filling, n_flying; /* the oldest flying one is n_flying before `filling` */
    struct batch_watch watch;

    /* The message under way. */
    struct arena arena;
    struct store_append append;
    struct str label;
    const struct folder *folder; /* NULL: none is under way */
    struct kv_blob_out *blob;    /* NULL: it has been refused, and is passed over */
    struct buf head;
    bool is_head_whole;
    char end[2];
};

static struct account_sink *of(struct transfer_sink *sink)
{
    return CONTAINER(sink, struct account_sink, sink);
}

/* --- batches ---------------------------------------------------------------------------------- */

static const char *why_refused(const struct account_sink *s, enum rc rc)
{
    switch (rc) {
    case RC_LIMIT:
        return store_account_has_room(s->account, 0) == RC_LIMIT
                   ? "the account's quota is used up: raise it and run this again"
                   : "it is larger than what is left of the account's quota: raise it and run this "
                     "again";
    case RC_NOTFOUND:
        return "its mailbox was removed meanwhile";
    default:
        return "the store does not take it";
    }
}

static void refused(struct batch_watch *watch, const struct batch *b, size_t i, enum rc rc)
{
    struct account_sink *s = CONTAINER(watch, struct account_sink, watch);
    s->sink.counts.messages--; /* counted with its batch */
    s->sink.counts.bytes -= b->appends[i].size;
    sink_tell(&s->sink, b->labels[i], true, str_of(why_refused(s, rc)));
}

static struct batch *batch_before(struct account_sink *s, size_t n)
{
    return &s->batches[(s->filling + BATCHES - n) % BATCHES];
}

static enum rc land_oldest(struct account_sink *s)
{
    struct batch *b = batch_before(s, s->n_flying);
    s->sink.counts.messages += b->n;
    s->sink.counts.bytes += b->total;
    enum rc rc = batch_end(b, s->account, s->kv, &s->watch);
    if (rc != RC_OK) {
        s->sink.counts.messages -= b->n;
        s->sink.counts.bytes -= b->total;
    }
    batch_clear(b, s->kv);
    s->n_flying--;
    sink_moved(&s->sink);
    return rc;
}

static enum rc launch(struct account_sink *s)
{
    if (!s->batches[s->filling].n)
        return RC_OK;
    while (s->n_flying == FLYING)
        TRY(land_oldest(s));
    batch_begin(&s->batches[s->filling], s->account);
    s->n_flying++;
    s->filling = (s->filling + 1) % BATCHES;
    return RC_OK;
}

static enum rc land_all(struct account_sink *s)
{
    TRY(launch(s));
    while (s->n_flying)
        TRY(land_oldest(s));
    return RC_OK;
}

static enum rc finish(struct transfer_sink *sink)
{
    return land_all(of(sink));
}

/* --- folders ---------------------------------------------------------------------------------- */

static enum rc make(struct account_sink *s, struct store_path path, enum store_role role,
                    uint32_t *out)
{
    struct landing l;
    landing_begin(&l);
    enum rc rc = landing_wait(&l, store_mailbox_create(s->account, path, role, 0, &l.op));
    *out = l.op.mailbox;
    s->sink.counts.folders += rc == RC_OK;
    return rc;
}

/* A placeholder becomes a mailbox when mail for it comes. */
static enum rc find(struct account_sink *s, struct store_path path, uint32_t *out)
{
    struct arena arena = {0};
    struct store_mailbox m;
    enum rc rc = store_mailbox_find(s->account, path, out);
    if (rc == RC_OK)
        rc = store_mailbox_get(s->account, *out, &arena, &m);
    if (rc == RC_OK && m.is_placeholder)
        rc = RC_NOTFOUND;
    arena_fini(&arena);
    return rc;
}

static enum rc find_or_make(struct account_sink *s, const struct transfer_folder *f,
                            struct store_path path, uint32_t *out)
{
    enum store_role role = f->role;
    if (role != STORE_NONE && store_mailbox_by_role(s->account, role, out) == RC_OK)
        return RC_OK;
    enum rc rc = find(s, path, out);
    if (rc != RC_NOTFOUND)
        return rc;
    rc = make(s, path, role, out);
    return rc == RC_CONFLICT ? make(s, path, STORE_NONE, out) : rc;
}

/* The name under which the account has it. */
static enum rc subscribe(struct account_sink *s, uint32_t id, struct str name)
{
    struct landing l;
    struct arena arena = {0};
    struct store_mailbox m = {.parent = 1};
    if (id && store_mailbox_get(s->account, id, &arena, &m) == RC_OK && m.parent == 0)
        name = m.role == STORE_INBOX ? STR("INBOX") : m.name;
    landing_begin(&l);
    enum rc rc = landing_wait(&l, store_subscribe(s->account, name, true, 0, &l.op));
    arena_fini(&arena);
    return rc;
}

static enum rc refuse_folder(struct account_sink *s, const struct transfer_folder *f,
                             const char *why)
{
    sink_tell(&s->sink, f->name, true, str_of(why));
    return RC_OK;
}

static enum rc take_folder(struct account_sink *s, const struct transfer_folder *f,
                           struct folder *out)
{
    struct str levels[STORE_LEVELS];
    struct store_path path = {.levels = levels};
    const char *fault = split_name(f->name, levels, &path.n);
    enum rc rc = RC_OK;
    if (fault)
        return refuse_folder(s, f, fault);
    if (!f->is_name_alone)
        rc = find_or_make(s, f, path, &out->mailbox);
    if (rc == RC_OK && f->is_subscribed)
        rc = subscribe(s, out->mailbox, f->name);
    if (rc == RC_LIMIT)
        return refuse_folder(s, f, "the account has as many mailboxes as it may have");
    if (rc == RC_SYNTAX)
        return refuse_folder(s, f, "no mailbox can have its name");
    out->is_inbox = out->mailbox == s->inbox;
    return rc;
}

static enum rc folder(struct transfer_sink *sink, const struct transfer_folder *f, unsigned *out_n)
{
    struct account_sink *s = of(sink);
    struct folder it = {0};
    *out_n = (unsigned)s->n_folders;
    TRY(s->n_folders < TRANSFER_FOLDERS
            ? take_folder(s, f, &it)
            : refuse_folder(s, f, "the source has more than 10000 folders"));
    s->folders = mem_array(s->folders, &s->max_folders, s->n_folders + 1, sizeof it);
    s->folders[s->n_folders++] = it;
    return RC_OK;
}

/* --- a message -------------------------------------------------------------------------------- */

static void refuse(struct account_sink *s, struct str why)
{
    if (!s->blob)
        return;
    kv_blob_abort(&s->blob);
    sink_tell(&s->sink, s->label, true, why);
}

static bool has(const struct transfer_sink *sink, struct str origin)
{
    const struct account_sink *s = (const struct account_sink *)sink; /* its first member */
    return origin.n == TRANSFER_ORIGIN && seen_has(&s->seen, origin.p);
}

const struct seen *account_sink_seen(const struct transfer_sink *sink)
{
    return &((const struct account_sink *)sink)->seen;
}

static bool knows_keyword(struct account_sink *s, struct str name)
{
    for (size_t i = 0; i < s->n_keywords; i++)
        if (str_ieq(s->keywords[i], name))
            return true;
    if (s->n_keywords == STORE_KEYWORDS)
        return false;
    s->keywords[s->n_keywords++] = str_from(mem_dup(name.p, name.n), name.n);
    return true;
}

static const char *fault_of_keyword(struct str name)
{
    if (!name.n || name.n > STORE_KEYWORD_MAX)
        return "a keyword is empty or longer than 64 bytes: left out";
    for (size_t i = 0; i < name.n; i++) /* [RFC3501 9] atom */
        if (!ascii_is_print(name.p[i]) || strchr(" (){%*\"\\]", name.p[i]))
            return "a keyword has characters that none may have: left out";
    return NULL;
}

static void take_keywords(struct account_sink *s, const struct transfer_message *m)
{
    size_t n = m->n_keywords < TRANSFER_KEYWORDS ? m->n_keywords : TRANSFER_KEYWORDS;
    struct str *names = arena_alloc(&s->arena, n * sizeof *names + 1);
    s->append.keywords = names;
    for (size_t i = 0; i < n; i++) {
        const char *fault = fault_of_keyword(m->keywords[i]);
        if (!fault && !knows_keyword(s, m->keywords[i])) {
            fault = s->is_keyword_told ? ""
                                       : "the account has 64 keywords, as many as it may have:"
                                         " others are left out from here on";
            s->is_keyword_told = true;
        }
        if (!fault)
            names[s->append.n_keywords++] = arena_dup(&s->arena, m->keywords[i]);
        else if (fault[0])
            sink_tell(&s->sink, m->label, false, str_of(fault));
    }
}

/* What this INBOX tells of a message that came without a unique-id: see docs/decisions/0011. */
static bool is_own_uidl(const struct account_sink *s, struct str id)
{
    char prefix[16];
    snprintf(prefix, sizeof prefix, "%08x", s->inbox_validity);
    bool is_hex = id.n == 16 && str_starts(id, str_of(prefix));
    for (size_t i = 8; is_hex && i < 16; i++)
        is_hex = ascii_hex(id.p[i]) >= 0 && ascii_lower(id.p[i]) == id.p[i];
    return is_hex;
}

static bool is_uidl(struct str id) /* [RFC1939 7] */
{
    for (size_t i = 0; i < id.n; i++)
        if (id.p[i] < 0x21 || id.p[i] > 0x7e)
            return false;
    return id.n > 0 && id.n <= STORE_UIDL_MAX;
}

static void take_uidl(struct account_sink *s, const struct transfer_message *m)
{
    unsigned char digest[TRANSFER_ORIGIN];
    if (!m->uidl.n || !s->folder->is_inbox)
        return;
    transfer_origin(&m->uidl, 1, digest);
    if (!is_uidl(m->uidl))
        sink_tell(&s->sink, m->label, false,
                  STR("its POP3 unique-id is not one: clients will collect it again"));
    else if (seen_has(&s->uidls, digest) || is_own_uidl(s, m->uidl))
        sink_tell(
            &s->sink, m->label, false,
            STR("another message has its POP3 unique-id already: clients will collect it again"));
    else
        s->append.uidl = arena_dup(&s->arena, m->uidl);
    if (s->append.uidl.n)
        seen_add(&s->uidls, digest);
}

static enum rc begin(struct transfer_sink *sink, unsigned n, const struct transfer_message *m)
{
    struct account_sink *s = of(sink);
    struct kv_part part = {KV_ACCOUNT, store_account_id(s->account)};
    arena_reset(&s->arena);
    if (s->folder || n >= s->n_folders || (m->origin.n && m->origin.n != TRANSFER_ORIGIN))
        return RC_PERM;
    s->folder = &s->folders[n];
    s->label = arena_dup(&s->arena, str_head(m->label, TRANSFER_LABEL));
    s->append = (struct store_append){.mailbox = s->folder->mailbox,
                                      .received = m->received,
                                      .flags = m->flags,
                                      .source = s->source,
                                      .are_keywords_extra = true};
    if (m->origin.n)
        s->append.origin = arena_dup(&s->arena, m->origin);
    buf_clear(&s->head);
    s->is_head_whole = false;
    memcpy(s->end, "\r\n", sizeof s->end);
    s->blob = kv_blob_new(s->kv, part, 0, 0);
    if (!s->folder->mailbox)
        refuse(s, STR("its folder could not be taken"));
    else if (m->size > s->limits.message_size)
        refuse(s, STR("it is larger than limits { message_size } allows"));
    else if (m->size > KV_BLOB_SMALL && store_account_has_room(s->account, m->size) == RC_LIMIT)
        refuse(s, str_of(why_refused(s, RC_LIMIT)));
    if (!s->blob)
        return RC_OK;
    take_keywords(s, m);
    take_uidl(s, m);
    return RC_OK;
}

/* Keeps the header, with the empty line that ends it. */
static void keep_head(struct account_sink *s, struct str piece)
{
    if (s->is_head_whole)
        return;
    size_t before = buf_len(&s->head), from = before > 3 ? before - 3 : 0;
    buf_put(&s->head, str_head(piece, HEAD_MAX - before));
    ptrdiff_t end = str_find(str_skip(buf_str(&s->head), from), STR("\r\n\r\n"));
    bool is_empty = str_starts(buf_str(&s->head), STR("\r\n"));
    if (is_empty)
        buf_truncate(&s->head, 2);
    else if (end >= 0)
        buf_truncate(&s->head, from + (size_t)end + 4);
    s->is_head_whole = is_empty || end >= 0 || buf_len(&s->head) == HEAD_MAX;
}

static enum rc bytes(struct transfer_sink *sink, struct str piece)
{
    struct account_sink *s = of(sink);
    if (!s->folder)
        return RC_PERM;
    if (!s->blob || !piece.n)
        return RC_OK;
    if (kv_blob_size(s->blob) + piece.n > s->limits.message_size) {
        refuse(s, STR("it is larger than limits { message_size } allows"));
        return RC_OK;
    }
    keep_head(s, piece);
    s->end[0] = piece.n > 1 ? piece.p[piece.n - 2] : s->end[1];
    s->end[1] = piece.p[piece.n - 1];
    return kv_blob_write(s->blob, piece);
}

static void read_thread(struct account_sink *s)
{
    struct mime_thread thread = {0};
    struct mime_field field;
    struct str rest = buf_str(&s->head);
    while (mime_header_next(&rest, &field))
        mime_thread_take(&thread, &field);
    struct str *references = arena_alloc(&s->arena, MIME_THREAD_IDS * sizeof *references);
    s->append.message_id = mime_thread_id(&thread, &s->arena);
    s->append.references = references;
    s->append.n_references = mime_thread_references(&thread, &s->arena, references);
}

static enum rc put_in_batch(struct account_sink *s)
{
    struct batch *b = &s->batches[s->filling];
    if (b->n && b->appends[0].mailbox != s->append.mailbox)
        TRY(launch(s));
    s->append.size = kv_blob_size(s->blob);
    read_thread(s);
    if (memcmp(s->end, "\r\n", sizeof s->end) != 0)
        s->append.flags |= STORE_UNENDED;
    TRY(kv_blob_finish(&s->blob, &s->append.blob));
    b = &s->batches[s->filling];
    batch_add(b, &s->append, s->label);
    if (s->append.origin.n)
        seen_add(&s->seen, s->append.origin.p);
    bool is_full = b->n == b->max || b->bytes >= s->limits.batch_bytes || b->arena.used > ARENA_MAX;
    return is_full ? launch(s) : RC_OK;
}

static enum rc end(struct transfer_sink *sink, struct str why)
{
    struct account_sink *s = of(sink);
    enum rc rc = RC_OK;
    if (!s->folder)
        return RC_PERM;
    if (!str_is_null(why))
        refuse(s, why);
    else if (s->blob && !kv_blob_size(s->blob))
        refuse(s, STR("it is empty"));
    if (s->blob)
        rc = put_in_batch(s);
    s->folder = NULL;
    return rc;
}

/* --- opening ---------------------------------------------------------------------------------- */

static enum rc read_origins(struct account_sink *s)
{
    struct arena arena = {0};
    uint64_t at = 0;
    const char *all;
    size_t n = 0;
    enum rc rc;
    do {
        arena_reset(&arena);
        rc = store_origins(s->account, s->source, &at, &arena, &all, &n);
        for (size_t i = 0; rc == RC_OK && i < n; i++)
            seen_add(&s->seen, all + i * TRANSFER_ORIGIN);
    } while (rc == RC_OK && n);
    arena_fini(&arena);
    return rc;
}

static enum rc read_uidls(struct account_sink *s)
{
    struct arena arena = {0};
    struct store_mailbox inbox;
    struct store_uidl *all;
    unsigned char digest[TRANSFER_ORIGIN];
    uint32_t uid = 0;
    size_t n = 0;
    enum rc rc = store_mailbox_by_role(s->account, STORE_INBOX, &s->inbox);
    if (rc == RC_OK)
        rc = store_mailbox_get(s->account, s->inbox, &arena, &inbox);
    if (rc == RC_OK)
        s->inbox_validity = inbox.uidvalidity;
    do {
        arena_reset(&arena);
        if (rc == RC_OK)
            rc = store_uidls(s->account, s->inbox, uid, 0, &arena, &all, &n);
        for (size_t i = 0; rc == RC_OK && i < n; i++) {
            transfer_origin(&all[i].id, 1, digest);
            seen_add(&s->uidls, digest);
            uid = all[i].uid + 1;
        }
    } while (rc == RC_OK && n && uid);
    arena_fini(&arena);
    return rc;
}

static enum rc read_keywords(struct account_sink *s)
{
    struct arena arena = {0};
    struct str names[STORE_KEYWORDS];
    enum rc rc = store_keywords(s->account, &arena, names);
    for (size_t i = 0; rc == RC_OK && i < STORE_KEYWORDS; i++)
        if (names[i].n)
            knows_keyword(s, names[i]);
    arena_fini(&arena);
    return rc;
}

static void free_sink(struct transfer_sink *sink)
{
    struct account_sink *s = of(sink);
    if (s->blob)
        kv_blob_abort(&s->blob);
    while (s->n_flying && land_oldest(s) != RC_EOF)
        ;
    for (size_t i = 0; i < BATCHES; i++)
        batch_fini(&s->batches[i], s->kv);
    for (size_t i = 0; i < s->n_keywords; i++)
        free((void *)(uintptr_t)s->keywords[i].p);
    seen_fini(&s->seen);
    seen_fini(&s->uidls);
    buf_fini(&s->head);
    arena_fini(&s->arena);
    free(s->folders);
    store_bring_unlock(s->account);
    store_account_close(&s->account);
    free(s);
}

static const struct transfer_sink_calls calls = {.folder = folder,
                                                 .has = has,
                                                 .begin = begin,
                                                 .bytes = bytes,
                                                 .end = end,
                                                 .finish = finish,
                                                 .free = free_sink};

static struct transfer_limits defaults(struct transfer_limits l)
{
    l.message_size = l.message_size ? l.message_size : 50 << 20;
    l.batch = l.batch && l.batch < STORE_APPENDS ? l.batch : STORE_APPENDS;
    l.batch_bytes = l.batch_bytes ? l.batch_bytes : 4 << 20;
    return l;
}

static uint64_t source_of(struct str name)
{
    unsigned char digest[TRANSFER_ORIGIN];
    transfer_origin(&name, 1, digest);
    return get_u64(digest);
}

enum rc transfer_into_account(const struct transfer_into *into, struct transfer_sink **out)
{
    struct store_account *account;
    *out = NULL;
    TRY(store_account_open(into->store, into->account, 0, &account));
    if (!store_bring_lock(account)) {
        store_account_close(&account);
        return RC_CONFLICT;
    }
    struct account_sink *s = mem_zero(sizeof *s);
    s->sink = (struct transfer_sink){.calls = &calls, .watch = into->watch};
    s->kv = into->kv;
    s->store = into->store;
    s->ctx = into->ctx;
    s->account = account;
    s->limits = defaults(into->limits);
    s->source = source_of(into->name);
    s->watch.refused = refused;
    buf_init(&s->head, HEAD_MAX);
    for (size_t i = 0; i < BATCHES; i++)
        batch_init(&s->batches[i], s->limits.batch);
    enum rc rc = read_origins(s);
    if (rc == RC_OK)
        rc = read_uidls(s);
    if (rc == RC_OK)
        rc = read_keywords(s);
    if (rc == RC_OK)
        *out = &s->sink;
    else
        free_sink(&s->sink);
    return rc;
}
