/* An account as a source: frames for whoever asks, a portion at a time, so that nothing is held for
 * one who takes them slowly but what he has asked for.
 *
 * Each mailbox is told of as it is when its turn comes; what comes later is not in it. What cannot
 * be read is told, and left out. */
#include "transfer/wire_int.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PORTION = 256 << 10, PATH_BYTES = STORE_LEVELS * (STORE_NAME_MAX + 1) };

struct transfer_pull {
    struct store_account *account;
    struct arena arena; /* of the lists */
    struct store_mailbox *mailboxes;
    struct str *subscriptions;
    bool *is_there; /* for each subscription: it was told with its mailbox */
    size_t n_mailboxes, n_subscriptions, at;
    struct str keywords[STORE_KEYWORDS];
    unsigned n_told; /* folders */

    /* The mailbox under way. */
    struct store_reader *reader; /* NULL: none */
    struct str name;
    size_t row, ahead_from, n_ahead;
    struct store_message *ahead[STORE_AHEAD];
    uint64_t offset; /* in the message under way; UINT64_MAX: none */
    struct arena uidl_arena;
    struct store_uidl *uidls;
    size_t n_uidls;
    bool is_over;
};

/* --- what there is ---------------------------------------------------------------------------- */

static const struct store_mailbox *mailbox_of(const struct transfer_pull *p, uint32_t id)
{
    for (size_t i = 0; i < p->n_mailboxes; i++)
        if (p->mailboxes[i].id == id)
            return &p->mailboxes[i];
    return NULL;
}

static struct str name_of(struct transfer_pull *p, const struct store_mailbox *m)
{
    const struct store_mailbox *up[STORE_LEVELS];
    struct buf text = {.cap = PATH_BYTES};
    size_t n = 0;
    if (m->role == STORE_INBOX)
        return STR("INBOX");
    for (; m && n < STORE_LEVELS; m = m->parent ? mailbox_of(p, m->parent) : NULL)
        up[n++] = m;
    while (n--) {
        buf_put(&text, up[n]->role == STORE_INBOX ? STR("INBOX") : up[n]->name);
        if (n)
            buf_put(&text, STR("/"));
    }
    struct str name = arena_dup(&p->arena, buf_str(&text));
    buf_fini(&text);
    return name;
}

static bool take_subscription(struct transfer_pull *p, struct str name)
{
    for (size_t i = 0; i < p->n_subscriptions; i++)
        if (str_eq(p->subscriptions[i], name))
            return p->is_there[i] = true;
    return false;
}

static enum rc read_lists(struct transfer_pull *p)
{
    TRY(store_mailbox_list(p->account, &p->arena, &p->mailboxes, &p->n_mailboxes));
    TRY(store_subscriptions(p->account, 0, &p->arena, &p->subscriptions, &p->n_subscriptions));
    p->is_there = arena_zero(&p->arena, p->n_subscriptions + 1);
    return store_keywords(p->account, &p->arena, p->keywords);
}

/* --- messages --------------------------------------------------------------------------------- */

static void close_ahead(struct transfer_pull *p)
{
    for (size_t i = 0; i < p->n_ahead; i++)
        if (p->ahead[i])
            store_message_close(&p->ahead[i]);
    p->n_ahead = 0;
}

static void close_mailbox(struct transfer_pull *p)
{
    close_ahead(p);
    if (p->reader)
        store_reader_close(&p->reader);
}

static struct store_message **message_of(struct transfer_pull *p)
{
    const struct store_root *root = store_reader_root(p->reader);
    if (p->row >= p->ahead_from && p->row < p->ahead_from + p->n_ahead)
        return &p->ahead[p->row - p->ahead_from];
    uint32_t indices[STORE_AHEAD];
    size_t left = store_root_count(root) - p->row;
    close_ahead(p);
    p->ahead_from = p->row;
    p->n_ahead = left < STORE_AHEAD ? left : STORE_AHEAD;
    for (size_t i = 0; i < p->n_ahead; i++)
        indices[i] = (uint32_t)(p->row + i);
    store_reader_messages(p->reader, indices, p->n_ahead, p->ahead);
    return &p->ahead[0];
}

static enum rc uidl_of(struct transfer_pull *p, const struct store_row *row, char own[20],
                       struct str *out)
{
    const struct store_mailbox *m = store_root_mailbox(store_reader_root(p->reader));
    *out = (struct str){0};
    if (m->role != STORE_INBOX)
        return RC_OK;
    snprintf(own, 20, "%08x%08x", m->uidvalidity, row->uid);
    *out = str_of(own);
    if (!(row->flags & STORE_HAS_UIDL))
        return RC_OK;
    for (unsigned tries = 0; tries < 2; tries++) {
        for (size_t i = 0; i < p->n_uidls; i++)
            if (p->uidls[i].uid == row->uid) {
                *out = p->uidls[i].id;
                return RC_OK;
            }
        arena_reset(&p->uidl_arena);
        TRY(store_uidls(p->account, m->id, row->uid, 0, &p->uidl_arena, &p->uidls, &p->n_uidls));
    }
    return RC_OK;
}

static void label_of(const struct transfer_pull *p, const struct store_row *row, struct buf *out)
{
    buf_clear(out);
    buf_putf(out, "%.*s UID %u", STR_ARG(p->name), row->uid);
}

static enum rc put_head(struct transfer_pull *p, const struct store_row *row, struct buf *out)
{
    struct str keywords[STORE_KEYWORDS];
    struct buf label = {.cap = TRANSFER_LABEL + PATH_BYTES};
    struct transfer_message m = {
        .received = row->received,
        .size = row->size,
        .flags = row->flags &
                 (STORE_SEEN | STORE_ANSWERED | STORE_FLAGGED | STORE_DELETED | STORE_DRAFT),
        .keywords = keywords,
        .uid = row->uid};
    char own[20];
    TRY(uidl_of(p, row, own, &m.uidl));
    for (size_t i = 0; i < STORE_KEYWORDS; i++)
        if (row->keywords >> i & 1 && p->keywords[i].n)
            keywords[m.n_keywords++] = p->keywords[i];
    label_of(p, row, &label);
    m.label = buf_str(&label);
    wire_put_message(out, p->n_told - 1, &m);
    buf_fini(&label);
    return RC_OK;
}

static void tell_damage(const struct transfer_pull *p, const struct store_row *row, struct buf *out)
{
    struct buf label = {.cap = TRANSFER_LABEL + PATH_BYTES};
    label_of(p, row, &label);
    wire_put_tell(out, buf_str(&label), true, STR("it is damaged: see penfold fsck"));
    buf_fini(&label);
}

/* A piece of the message under way. */
static void put_piece(struct transfer_pull *p, struct store_message *m, struct buf *out)
{
    char bytes[WIRE_BYTES];
    size_t got = 0;
    enum rc rc = store_message_read(m, p->offset, bytes, sizeof bytes, 0, &got);
    if (rc == RC_OK)
        wire_put_bytes(out, str_from(bytes, got));
    p->offset += got;
    if (rc == RC_OK && got && p->offset < store_message_size(m))
        return;
    wire_put_end(out, rc == RC_OK ? (struct str){0} : STR("it is damaged: see penfold fsck"));
    p->offset = UINT64_MAX;
    p->row++;
}

static enum rc put_messages(struct transfer_pull *p, struct buf *out)
{
    const struct store_root *root = store_reader_root(p->reader);
    while (p->row < store_root_count(root) && buf_len(out) < PORTION) {
        const struct store_row *row = store_root_at(root, p->row);
        struct store_message **m = message_of(p);
        if (!*m) {
            tell_damage(p, row, out);
            p->row++;
            continue;
        }
        if (p->offset == UINT64_MAX) {
            TRY(put_head(p, row, out));
            p->offset = 0;
        }
        put_piece(p, *m, out);
        if (p->offset == UINT64_MAX)
            store_message_close(m);
    }
    if (p->row == store_root_count(root))
        close_mailbox(p);
    return RC_OK;
}

/* --- the whole -------------------------------------------------------------------------------- */

static enum rc next_mailbox(struct transfer_pull *p, struct buf *out)
{
    const struct store_mailbox *m = &p->mailboxes[p->at++];
    if (m->is_placeholder)
        return RC_OK;
    p->name = name_of(p, m);
    enum rc rc = store_reader_open(p->account, m->id, 0, &p->reader);
    if (rc == RC_NOTFOUND) /* removed meanwhile */
        return RC_OK;
    TRY(rc);
    wire_put_folder(out, &(struct transfer_folder){.name = p->name,
                                                   .role = m->role,
                                                   .is_subscribed = take_subscription(p, p->name),
                                                   .uidvalidity = m->uidvalidity});
    p->n_told++;
    p->row = p->ahead_from = 0;
    p->offset = UINT64_MAX;
    return RC_OK;
}

static void put_rest(struct transfer_pull *p, struct buf *out)
{
    for (size_t i = 0; i < p->n_subscriptions; i++)
        if (!p->is_there[i])
            wire_put_folder(out, &(struct transfer_folder){.name = p->subscriptions[i],
                                                           .is_subscribed = true,
                                                           .is_name_alone = true});
    wire_put_finish(out);
    p->is_over = true;
}

enum rc transfer_pull_more(struct transfer_pull *p, struct buf *out)
{
    while (!p->is_over && buf_len(out) < PORTION) {
        if (p->reader)
            TRY(put_messages(p, out));
        else if (p->at < p->n_mailboxes)
            TRY(next_mailbox(p, out));
        else
            put_rest(p, out);
    }
    return p->is_over ? RC_EOF : RC_OK;
}

void transfer_put_ready(struct buf *out, enum rc rc)
{
    wire_put_ready(out, rc);
}

enum rc transfer_pull_open(struct store *store, uint64_t account, struct transfer_pull **out)
{
    struct transfer_pull *p = mem_zero(sizeof *p);
    enum rc rc = store_account_open(store, account, 0, &p->account);
    if (rc == RC_OK)
        rc = read_lists(p);
    *out = p;
    if (rc != RC_OK)
        transfer_pull_close(out);
    return rc;
}

void transfer_pull_close(struct transfer_pull **pull)
{
    struct transfer_pull *p = *pull;
    *pull = NULL;
    if (!p)
        return;
    close_mailbox(p);
    arena_fini(&p->arena);
    arena_fini(&p->uidl_arena);
    if (p->account)
        store_account_close(&p->account);
    free(p);
}
