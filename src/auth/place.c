/* Where an account has logged in from lately, so that a block of its name or of its address does
 * not shut its owner out: networks as digests under a key of their own row, in the account's cache
 * partition, see docs/internals/directory.md.
 *
 * Invariants: a row has at most PLACES networks, the one not seen for longest gives way; a place
 * that was not seen for DAYS is none; a row is written at most once a day for each place, lazily.
 * Losing a row costs its owner the exemption until the next login and nothing else.
 */
#include "auth/auth_int.h"

#include "base/mem.h"
#include "base/random.h"

#include <stdlib.h>
#include <string.h>

enum { FORMAT = 1, PLACES = 40, DAYS = 60, SALT = 16 };

#define DAY_NS (86400 * NS_PER_SEC)

struct place_row {
    unsigned char salt[SALT];
    struct {
        uint64_t digest;
        uint32_t day;
    } item[PLACES];
    size_t n;
    uint32_t mail_day; /* the owner was told so often of new places on that day */
    uint8_t mails;
};

static struct kv_part part_of(uint64_t account)
{
    return (struct kv_part){KV_CACHE, account};
}

static const struct str row_key = STR_INIT("p");

/* A row that cannot be read is as good as none. */
static void unpack(struct str value, struct place_row *out)
{
    struct unpacker r;
    *out = (struct place_row){0};
    random_bytes(out->salt, SALT);
    unpack_init(&r, value);
    if (str_is_null(value) || unpack_u8(&r) != FORMAT)
        return;
    struct str salt = unpack_bytes(&r, SALT);
    size_t n = unpack_u8(&r);
    for (size_t i = 0; i < n && i < PLACES && !r.failed; i++) {
        out->item[i].digest = unpack_u64(&r);
        out->item[i].day = unpack_u32(&r);
    }
    if (r.failed)
        return;
    if (r.n && n <= PLACES) { /* what rows of before do not have */
        out->mail_day = unpack_u32(&r);
        out->mails = unpack_u8(&r);
    }
    out->n = n < PLACES ? n : PLACES;
    memcpy(out->salt, salt.p, SALT);
}

static void pack(const struct place_row *row, struct record *out)
{
    struct packer w;
    pack_init(&w, out->b, sizeof out->b);
    pack_u8(&w, FORMAT);
    pack_bytes(&w, str_from(row->salt, SALT));
    pack_u8(&w, (uint8_t)row->n);
    for (size_t i = 0; i < row->n; i++) {
        pack_u64(&w, row->item[i].digest);
        pack_u32(&w, row->item[i].day);
    }
    pack_u32(&w, row->mail_day);
    pack_u8(&w, row->mails);
    out->n = w.n;
}

static uint64_t digest_of(const struct place_row *row, const struct net_cidr *net)
{
    unsigned char digest[CRYPTO_SHA256], text[17];
    memcpy(text, net->net.s6_addr, 16);
    text[16] = (unsigned char)net->bits;
    crypto_hmac_sha256(str_from(row->salt, SALT), str_from(text, sizeof text), digest);
    return get_u64(digest);
}

static uint32_t today(struct auth *auth)
{
    return (uint32_t)(clock_wall(auth->ctx->clock) / DAY_NS);
}

static enum rc read_row(struct auth *auth, uint64_t account, unsigned flags, struct place_row *out)
{
    struct arena arena = {0};
    struct str value;
    enum rc rc = kv_get(auth->kv, part_of(account), &row_key, 1, flags, &arena, &value, NULL);
    if (rc == RC_OK)
        unpack(value, out);
    arena_fini(&arena);
    return rc;
}

static size_t find(const struct place_row *row, uint64_t digest)
{
    size_t i = 0;
    while (i < row->n && row->item[i].digest != digest)
        i++;
    return i;
}

enum rc auth_place_is_known(struct auth *auth, uint64_t account, const struct net_cidr *net,
                            unsigned flags, bool *out)
{
    struct place_row row;
    TRY(read_row(auth, account, flags, &row));
    size_t i = find(&row, digest_of(&row, net));
    *out = i < row.n && row.item[i].day + DAYS >= today(auth);
    return RC_OK;
}

struct note {
    struct kv_op op;
    struct auth *auth;
};

static void warn(struct auth *auth, enum rc rc)
{
    if (rc != RC_OK)
        log_event(auth->ctx->log, LOG_WARNING, "place-not-kept", "cause", rc_name(rc), NULL);
}

void auth_note_begin(struct auth *auth)
{
    pthread_mutex_lock(&auth->notes_mutex);
    auth->notes++;
    pthread_mutex_unlock(&auth->notes_mutex);
}

void auth_note_end(struct auth *auth)
{
    pthread_mutex_lock(&auth->notes_mutex);
    auth->notes--;
    pthread_cond_signal(&auth->notes_done);
    pthread_mutex_unlock(&auth->notes_mutex);
}

static void noted(struct kv_op *op)
{
    struct note *note = CONTAINER(op, struct note, op);
    struct auth *auth = note->auth;
    enum rc rc = op->rc;
    free(note);
    warn(auth, rc);
    auth_note_end(auth);
}

void auth_cache_row(struct auth *auth, uint64_t account, struct str key, struct str value,
                    bool is_waited)
{
    struct kv_txn *txn = kv_txn_new(part_of(account));
    enum rc rc = kv_txn_put(txn, key, value);
    if (rc != RC_OK) {
        kv_txn_free(&txn);
        return;
    }
    if (is_waited) {
        warn(auth, kv_commit_lazy_wait(auth->kv, txn, NULL));
        return;
    }
    struct note *note = mem_zero(sizeof *note);
    note->auth = auth;
    note->op.done = noted;
    auth_note_begin(auth);
    rc = kv_commit(auth->kv, txn, KV_LAZY, &note->op);
    if (rc == RC_OK)
        return;
    note->op.rc = rc; /* done() will not come */
    noted(&note->op);
}

enum rc auth_place_is_noted(struct auth *auth, uint64_t account, const struct net_cidr *net,
                            unsigned flags, bool *out)
{
    struct place_row row;
    TRY(read_row(auth, account, flags, &row));
    size_t i = find(&row, digest_of(&row, net));
    *out = i < row.n && row.item[i].day == today(auth);
    return RC_OK;
}

enum rc auth_place_look(struct auth *auth, uint64_t account, const struct net_cidr *net,
                        struct place_state *out)
{
    struct place_row row;
    TRY(read_row(auth, account, 0, &row));
    size_t i = find(&row, digest_of(&row, net));
    *out = (struct place_state){.is_known = i < row.n && row.item[i].day + DAYS >= today(auth),
                                .is_first = row.n == 0,
                                .mails = row.mail_day == today(auth) ? row.mails : 0};
    return RC_OK;
}

static void count_mail(struct place_row *row, uint32_t day)
{
    row->mails = row->mail_day == day ? row->mails : 0;
    row->mail_day = day;
    row->mails += row->mails < UINT8_MAX;
}

void auth_place_note(struct auth *auth, uint64_t account, const struct net_cidr *net,
                     bool owner_was_told)
{
    struct place_row row;
    uint32_t day = today(auth);
    if (read_row(auth, account, 0, &row) != RC_OK)
        return;
    uint64_t digest = digest_of(&row, net);
    size_t at = find(&row, digest);
    bool is_new = at == row.n;
    if (at < row.n && row.item[at].day == day && !owner_was_told)
        return;
    if (owner_was_told)
        count_mail(&row, day);
    if (at == row.n && row.n < PLACES)
        row.n++;
    if (at == PLACES) {
        at = 0;
        for (size_t i = 1; i < PLACES; i++)
            at = row.item[i].day < row.item[at].day ? i : at;
    }
    row.item[at].digest = digest;
    row.item[at].day = day;
    struct record r;
    pack(&row, &r);
    auth_cache_row(auth, account, row_key, auth_record_str(&r), is_new || owner_was_told);
}

void auth_place_wait(struct auth *auth)
{
    pthread_mutex_lock(&auth->notes_mutex);
    while (auth->notes)
        pthread_cond_wait(&auth->notes_done, &auth->notes_mutex);
    pthread_mutex_unlock(&auth->notes_mutex);
}
