/* Counts for TLS-RPT [RFC8460]: per domain and UTC day, added up in memory, written by one
 * transaction for many domains. A row is read, added to and put back under the condition that it is
 * still what was read, so that nodes add to each other's figures.
 *
 * Rows: class G, number 5. Key: day 4, domain. Value, format 1: good 3 x 8, bad 3 x 8, number of
 * details 1, then of each: kind 1, result 1, count 4, host behind its length in two bytes. */
#include "tlspol/tlspol_int.h"

#include "base/bytes.h"
#include "base/mem.h"
#include "base/random.h"

#include <stdlib.h>
#include <string.h>

enum {
    FORMAT = 1,
    DOMAINS_MAX = 20000, /* between two writes; further ones are not counted */
    ROWS_AT_ONCE = 200,
    KINDS = 3,
    KEY_MAX = 4 + DNS_NAME_MAX + 1,
    VALUE_MAX = 1 + 2 * KINDS * 8 + 1 + TLSPOL_DETAILS * (2 + 4 + 2 + DNS_NAME_MAX)
};

struct detail {
    uint8_t kind, result;
    uint32_t count;
    char host[DNS_NAME_MAX + 1];
};

struct sum {
    struct map_node node;
    struct list link;
    uint64_t good[KINDS], bad[KINDS];
    struct detail *details;
    size_t n_details;
    size_t key_n;
    char key[KEY_MAX];
};

struct counts {
    pthread_mutex_t mutex;
    struct map sums;
    struct list list;
    uint64_t key[2];
    uint32_t dropped_before; /* the day before which rows have been dropped */
};

static const char *const names[] = {
    "success",
    "starttls-not-supported",
    "certificate-host-mismatch",
    "certificate-expired",
    "certificate-not-trusted",
    "validation-failure",
    "tlsa-invalid",
    "dnssec-invalid",
    "dane-required",
    "sts-policy-fetch-error",
    "sts-policy-invalid",
    "sts-webpki-invalid",
};

const char *tlspol_result_name(enum tlspol_result result)
{
    return names[result];
}

struct counts *counts_new(void)
{
    struct counts *c = mem_zero(sizeof *c);
    pthread_mutex_init(&c->mutex, NULL);
    map_init(&c->sums);
    list_init(&c->list);
    random_bytes(c->key, sizeof c->key);
    return c;
}

static void sum_free(struct sum *s)
{
    list_remove(&s->link);
    free(s->details);
    free(s);
}

void counts_free(struct counts **c)
{
    while (!list_is_empty(&(*c)->list))
        sum_free(CONTAINER(list_first(&(*c)->list), struct sum, link));
    map_fini(&(*c)->sums);
    pthread_mutex_destroy(&(*c)->mutex);
    free(*c);
    *c = NULL;
}

/* --- adding ------------------------------------------------------------------------------------
 */

static void sum_detail(struct sum *s, uint8_t kind, uint8_t result, struct str host, uint32_t count)
{
    host = str_head(host, DNS_NAME_MAX);
    for (size_t i = 0; i < s->n_details; i++) {
        struct detail *d = &s->details[i];
        if (d->kind == kind && d->result == result && str_eq(str_of(d->host), host)) {
            d->count += count;
            return;
        }
    }
    if (s->n_details == TLSPOL_DETAILS)
        return;
    if (!s->details)
        s->details = mem_zero(TLSPOL_DETAILS * sizeof *s->details);
    struct detail *d = &s->details[s->n_details++];
    *d = (struct detail){.kind = kind, .result = result, .count = count};
    if (host.n)
        memcpy(d->host, host.p, host.n);
}

static struct sum *find(struct counts *c, struct str key)
{
    uint64_t hash = str_hash(key, c->key);
    for (struct map_node *n = map_find(&c->sums, hash); n; n = map_next(n)) {
        struct sum *s = CONTAINER(n, struct sum, node);
        if (str_eq(str_from(s->key, s->key_n), key))
            return s;
    }
    if (c->sums.count >= DOMAINS_MAX)
        return NULL;
    struct sum *s = mem_zero(sizeof *s);
    memcpy(s->key, key.p, key.n);
    s->key_n = key.n;
    map_add(&c->sums, &s->node, hash);
    list_add_tail(&c->list, &s->link);
    return s;
}

void counts_add(struct counts *c, uint32_t day, const struct tlspol_event *e)
{
    char key[KEY_MAX];
    if (e->domain.n == 0 || e->domain.n > DNS_NAME_MAX)
        return;
    put_u32(key, day);
    memcpy(key + 4, e->domain.p, e->domain.n);
    pthread_mutex_lock(&c->mutex);
    struct sum *s = find(c, str_from(key, 4 + e->domain.n));
    if (s && e->result == TLSPOL_SUCCESS) {
        s->good[e->kind]++;
    } else if (s) {
        s->bad[e->kind]++;
        sum_detail(s, (uint8_t)e->kind, (uint8_t)e->result, e->host, 1);
    }
    pthread_mutex_unlock(&c->mutex);
}

/* --- rows --------------------------------------------------------------------------------------
 */

static struct str pack(const struct sum *s, void *mem)
{
    struct packer w;
    pack_init(&w, mem, VALUE_MAX);
    pack_u8(&w, FORMAT);
    for (int k = 0; k < KINDS; k++) {
        pack_u64(&w, s->good[k]);
        pack_u64(&w, s->bad[k]);
    }
    pack_u8(&w, (uint8_t)s->n_details);
    for (size_t i = 0; i < s->n_details; i++) {
        pack_u8(&w, s->details[i].kind);
        pack_u8(&w, s->details[i].result);
        pack_u32(&w, s->details[i].count);
        pack_str16(&w, str_of(s->details[i].host));
    }
    return pack_done(&w);
}

/* Adds a row to the sum. */
static enum rc add_row(struct sum *s, struct str value)
{
    struct unpacker r;
    unpack_init(&r, value);
    if (unpack_u8(&r) != FORMAT)
        return RC_CORRUPT;
    for (int k = 0; k < KINDS; k++) {
        s->good[k] += unpack_u64(&r);
        s->bad[k] += unpack_u64(&r);
    }
    for (unsigned n = unpack_u8(&r); n && !r.failed; n--) {
        uint8_t kind = unpack_u8(&r), result = unpack_u8(&r);
        uint32_t count = unpack_u32(&r);
        struct str host = unpack_str16(&r);
        if (kind < KINDS && result < TLSPOL_RESULTS && !r.failed)
            sum_detail(s, kind, result, host, count);
    }
    return unpack_done(&r);
}

/* Puts back what could not be written. */
static void put_back(struct counts *c, struct sum *s)
{
    pthread_mutex_lock(&c->mutex);
    struct sum *to = find(c, str_from(s->key, s->key_n));
    for (int k = 0; to && k < KINDS; k++) {
        to->good[k] += s->good[k];
        to->bad[k] += s->bad[k];
    }
    for (size_t i = 0; to && i < s->n_details; i++)
        sum_detail(to, s->details[i].kind, s->details[i].result, str_of(s->details[i].host),
                   s->details[i].count);
    pthread_mutex_unlock(&c->mutex);
}

static enum rc write_one(struct kv *kv, struct kv_txn *txn, const struct sum *s, void *mem)
{
    struct arena arena;
    struct str key = str_from(s->key, s->key_n), old;
    struct detail *details = mem_zero(TLSPOL_DETAILS * sizeof *details);
    struct sum all = *s;
    all.details = details;
    if (s->n_details)
        memcpy(details, s->details, s->n_details * sizeof *details);
    arena_init(&arena, 0);
    enum rc rc = kv_get(kv, tlspol_counts_part, &key, 1, 0, &arena, &old, NULL);
    if (rc == RC_OK && str_is_null(old))
        rc = kv_txn_assert_absent(txn, key);
    else if (rc == RC_OK)
        rc = kv_txn_assert_value(txn, key, old);
    if (rc == RC_OK && !str_is_null(old) && add_row(&all, old) != RC_OK)
        all = *s; /* a row that cannot be read is written anew */
    if (rc == RC_OK)
        rc = kv_txn_put(txn, key, pack(&all, mem));
    free(details);
    arena_fini(&arena);
    return rc;
}

/* Days that are over long since. */
static enum rc drop_old(struct counts *c, struct tlspol *t, struct kv_txn *txn)
{
    char to[4];
    uint32_t today = (uint32_t)(tlspol_now(t) / 86400);
    if (today < TLSPOL_DAYS || c->dropped_before >= today - TLSPOL_DAYS)
        return RC_OK;
    c->dropped_before = today - TLSPOL_DAYS;
    put_u32(to, c->dropped_before);
    return kv_txn_trim(txn, (struct str){0}, str_from(to, sizeof to));
}

static enum rc write_some(struct counts *c, struct tlspol *t, struct list *sums)
{
    struct kv_txn *txn = kv_txn_new(tlspol_counts_part);
    void *mem = mem_alloc(VALUE_MAX);
    enum rc rc = drop_old(c, t, txn);
    LIST_EACH (sums, it)
        rc = rc == RC_OK ? write_one(t->kv, txn, CONTAINER(it, struct sum, link), mem) : rc;
    free(mem);
    if (rc == RC_OK)
        return kv_commit_wait(t->kv, txn, NULL);
    kv_txn_free(&txn);
    return rc;
}

static size_t take_some(struct counts *c, struct list *out)
{
    size_t n = 0;
    pthread_mutex_lock(&c->mutex);
    for (; n < ROWS_AT_ONCE && !list_is_empty(&c->list); n++) {
        struct sum *s = CONTAINER(list_first(&c->list), struct sum, link);
        list_remove(&s->link);
        map_remove(&c->sums, &s->node);
        list_add_tail(out, &s->link);
    }
    pthread_mutex_unlock(&c->mutex);
    return n;
}

void counts_write(struct counts *c, struct tlspol *t)
{
    enum rc rc = RC_OK;
    struct list sums;
    list_init(&sums);
    while (rc == RC_OK && take_some(c, &sums) > 0) {
        rc = write_some(c, t, &sums);
        while (!list_is_empty(&sums)) {
            struct sum *s = CONTAINER(list_first(&sums), struct sum, link);
            if (rc != RC_OK)
                put_back(c, s);
            sum_free(s);
        }
    }
    if (rc != RC_OK && rc != RC_CONFLICT)
        log_event(t->ctx->log, LOG_WARNING, "tls-counts-not-written", "cause", rc_name(rc), NULL);
}

/* --- reading -----------------------------------------------------------------------------------
 */

enum rc tlspol_day_next(struct kv *kv, uint32_t day, struct str after, struct arena *arena,
                        struct tlspol_day *out)
{
    char from[4], to[4], last[KEY_MAX];
    struct kv_page page;
    put_u32(from, day);
    put_u32(to, day + 1);
    put_u32(last, day);
    struct kv_range range = {.from = str_from(from, 4), .to = str_from(to, 4)};
    if (after.n > DNS_NAME_MAX)
        return RC_PERM;
    if (after.n > 0) {
        memcpy(last + 4, after.p, after.n);
        range.after = str_from(last, 4 + after.n);
    }
    TRY(kv_scan(kv, tlspol_counts_part, range, 1, 0, arena, &page));
    if (page.n == 0)
        return RC_EOF;
    struct sum s = {.details = NULL};
    enum rc rc = add_row(&s, page.rows[0].value);
    struct tlspol_detail *details = arena_zero(arena, TLSPOL_DETAILS * sizeof *details);
    *out = (struct tlspol_day){.domain = str_skip(page.rows[0].key, 4), .details = details};
    for (int k = 0; k < KINDS; k++) {
        out->good[k] = s.good[k];
        out->bad[k] = s.bad[k];
    }
    for (; out->n_details < s.n_details; out->n_details++) {
        const struct detail *d = &s.details[out->n_details];
        details[out->n_details] =
            (struct tlspol_detail){(enum tlspol_kind)d->kind, (enum tlspol_result)d->result,
                                   arena_dup(arena, str_of(d->host)), d->count};
    }
    free(s.details);
    return rc;
}
