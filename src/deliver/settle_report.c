/* The reports of a settlement, made ready for its commit: who gets them, what of the message goes
 * back, the bytes as blobs.
 *
 * A report goes to the sender of the message and to nobody else. Where its address is one of ours
 * it goes to the mailboxes behind it; a sender here that does not exist gets none. Of mail that our
 * own users have handed in a small message goes back whole; of anything else the header alone, but
 * for who asks for more [RFC3461 4.3]. */
#include "deliver/deliver_int.h"

#include "base/random.h"
#include "smtp/smtp.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    WHOLE_MAX = 64 << 10,      /* bytes of a message that goes back whole without being asked for */
    WHOLE_ASKED_MAX = 1 << 20, /* ... with RET=FULL */
    ID_SIZE = 33
};

/* --- who gets it ------------------------------------------------------------------------------ */

/* "local@xn--..." as the directory knows it. */
static enum rc resolve(const struct settle *s, struct str address, struct str domain,
                       struct arena *arena, struct auth_targets *out)
{
    struct buf b;
    if (!s->conf->auth)
        return RC_DENIED;
    buf_init(&b, 4 * AUTH_ADDRESS_MAX);
    buf_put(&b, str_head(address, address.n - str_domain(address).n));
    buf_put(&b, domain);
    enum rc rc = auth_resolve(s->conf->auth, buf_str(&b), 0, arena, out);
    buf_fini(&b);
    return rc;
}

static void add_here(struct queue_item *report, struct str to, const struct auth_targets *targets,
                     struct arena *arena)
{
    struct queue_recipient *r = arena_zero(arena, (targets->n + targets->n_outside) * sizeof *r);
    report->recipients = r;
    report->n_recipients = targets->n + targets->n_outside;
    for (size_t i = 0; i < targets->n; i++, r++) {
        r->account = targets->accounts[i];
        r->address = to;
    }
    for (size_t i = 0; i < targets->n_outside; i++, r++) {
        r->address = targets->outside[i];
        r->domain = str_domain(targets->outside[i]);
    }
}

static void add_elsewhere(struct queue_item *report, struct str to, struct str domain,
                          struct arena *arena)
{
    struct queue_recipient *r = arena_zero(arena, sizeof *r);
    r->address = to;
    r->domain = domain;
    report->recipients = r;
    report->n_recipients = 1;
}

/* RC_NOTFOUND: nobody can be told. RC_TEMP. */
static enum rc find_reader(struct settle *s, struct str to, struct queue_item *report,
                           bool *out_is_ours)
{
    struct str domain;
    struct auth_targets targets, own = {.accounts = &s->item->account, .n = 1};
    *out_is_ours = true;
    if (forward_destination(to, &s->arena, &domain) != RC_OK)
        return RC_NOTFOUND;
    enum rc rc = resolve(s, to, domain, &s->arena, &targets);
    if (rc == RC_OK)
        add_here(report, to, &targets, &s->arena);
    else if (s->item->account && (rc == RC_CONFLICT || !s->conf->auth))
        add_here(report, to, &own, &s->arena); /* suspended: it can be read later */
    else if (rc == RC_DENIED)
        add_elsewhere(report, to, domain, &s->arena);
    else
        return rc == RC_TEMP || rc == RC_FULL ? RC_TEMP : RC_NOTFOUND;
    *out_is_ours = rc != RC_DENIED;
    return RC_OK;
}

/* Whose postmaster writes: of the sender's domain when that is ours, or else of the first
 * recipient's; or of this host. */
static struct str writer_of(struct settle *s, struct str to, bool is_ours,
                            const struct report_recipient *first)
{
    struct auth_targets targets;
    struct str domain;
    if (is_ours)
        return str_domain(to);
    if (forward_destination(first->address, &s->arena, &domain) == RC_OK &&
        resolve(s, STR("postmaster@"), domain, &s->arena, &targets) == RC_OK)
        return domain;
    return s->conf->hostname;
}

/* --- what of the message goes back ------------------------------------------------------------ */

static bool is_whole_wanted(const struct settle *s, enum report_kind kind)
{
    const struct queue_item *item = s->item;
    bool is_secret = item->flags & QUEUE_REQUIRETLS; /* whatever RET says [RFC8689 5] */
    if (kind != REPORT_FAILED || item->ret == SMTP_RET_HDRS || is_secret)
        return false;
    if (item->ret == SMTP_RET_FULL)
        return item->size <= WHOLE_ASKED_MAX;
    return item->flags & QUEUE_SUBMITTED && item->size <= WHOLE_MAX;
}

/* A body that cannot be read stops no report. RC_TEMP. */
static enum rc read_original(struct settle *s, struct report *r)
{
    struct kv_blob_in *in;
    uint64_t most = r->is_whole ? s->item->size : REPORT_HEADER_MAX;
    size_t n = s->item->size < most ? (size_t)s->item->size : (size_t)most, got = 0, at = 0;
    char *bytes = arena_alloc(&s->arena, n + 1);
    enum rc rc = kv_blob_open(s->conf->kv, s->item->blob, 0, &in);
    if (rc == RC_OK) {
        do {
            rc = kv_blob_read(in, at, bytes + at, n - at, 0, &got);
            at += got;
        } while (rc == RC_OK && got > 0 && at < n);
        kv_blob_close(&in);
    }
    if (rc == RC_TEMP)
        return rc;
    r->original = str_from(bytes, rc == RC_OK ? at : 0);
    r->is_whole = r->is_whole && rc == RC_OK && at == s->item->size;
    return RC_OK;
}

/* --- the bytes -------------------------------------------------------------------------------- */

struct blob_sink {
    struct report_sink sink;
    struct kv_blob_out *out;
};

static enum rc write_blob(struct report_sink *sink, struct str bytes)
{
    return kv_blob_write(CONTAINER(sink, struct blob_sink, sink)->out, bytes);
}

static enum rc put_blob(struct settle *s, const struct report *r, struct queue_item *report)
{
    struct blob_sink b = {.sink.write = write_blob};
    b.out = kv_blob_new(s->conf->kv, (struct kv_part){KV_QUEUE, queue_shard_of(s->item->id)}, 0, 0);
    enum rc rc = report_write(r, &b.sink);
    report->size = kv_blob_size(b.out);
    if (rc != RC_OK) {
        kv_blob_abort(&b.out);
        return rc;
    }
    return kv_blob_finish(&b.out, &report->blob);
}

static struct str new_id(struct arena *arena)
{
    char id[ID_SIZE];
    snprintf(id, sizeof id, "%016llx%016llx", (unsigned long long)random_u64(),
             (unsigned long long)random_u64());
    return arena_dup(arena, str_of(id));
}

void settle_log(const struct settle *s, enum report_kind kind, const char *event, struct str report)
{
    static const char *const kinds[] = {
        [REPORT_FAILED] = "failed", [REPORT_DELAYED] = "delayed", [REPORT_SUCCESS] = "success"};
    struct log_line l;
    log_begin(&l, s->ctx.log, LOG_INFO, event);
    log_str(&l, "message", s->item->log_id);
    if (report.n)
        log_str(&l, "report", report);
    log_text(&l, "kind", kinds[kind]);
    log_str(&l, "to", s->item->sender);
    log_u64(&l, "recipients", s->n_told[kind]);
    log_end(&l);
}

static void describe(struct settle *s, const struct report *r, struct queue_item *report)
{
    struct buf id;
    buf_init(&id, 1024);
    buf_put(&id, r->id);
    buf_put(&id, STR("@"));
    buf_put(&id, r->hostname);
    report->message_id = arena_dup(&s->arena, buf_str(&id));
    report->log_id = str_head(r->id, 16);
    report->references = &s->item->message_id;
    report->n_references = s->item->message_id.n ? 1 : 0;
    report->received = s->now;
    report->flags = (uint16_t)(QUEUE_IS_REPORT | (report_is_utf8(r) ? QUEUE_UTF8 : 0) |
                               (report_is_8bit(r) ? QUEUE_8BIT : 0));
    /* Protected as the message was, or wanted at any price as that was [RFC8689 5] [RFC8689 6]. */
    report->flags |= s->item->flags & (QUEUE_REQUIRETLS | QUEUE_TLS_OPTIONAL);
    buf_fini(&id);
}

static enum rc write_one(struct settle *s, enum report_kind kind)
{
    struct queue_item *report = &s->reports[s->n_reports];
    bool is_ours;
    struct report r = {.kind = kind,
                       .hostname = s->conf->hostname,
                       .id = new_id(&s->arena),
                       .date = s->now,
                       .envid = s->item->envid,
                       .log_id = s->item->log_id,
                       .arrived = s->item->received,
                       .hold = s->item->hold,
                       .size = s->item->size,
                       .retry_until = s->expires,
                       .recipients = s->told[kind],
                       .n_recipients = s->n_told[kind],
                       .is_whole = is_whole_wanted(s, kind),
                       .charsets = s->conf->charsets};
    *report = (struct queue_item){0};
    r.to = s->item->sender;
    if (s->item->flags & QUEUE_FORWARDED)
        TRY(forward_reader(&s->ctx, s->conf, s->item->sender, &s->arena, &r.to));
    enum rc rc = find_reader(s, r.to, report, &is_ours);
    if (rc == RC_NOTFOUND) {
        settle_log(s, kind, "report-dropped", (struct str){0});
        return RC_OK;
    }
    if (rc == RC_OK)
        rc = read_original(s, &r);
    if (rc != RC_OK)
        return rc;
    r.from = writer_of(s, r.to, is_ours, r.recipients);
    describe(s, &r, report);
    TRY(put_blob(s, &r, report));
    s->kinds[s->n_reports++] = kind;
    return RC_OK;
}

enum rc settle_write_reports(struct settle *s)
{
    for (int kind = REPORT_FAILED; kind <= REPORT_SUCCESS; kind++)
        if (s->n_told[kind])
            TRY(write_one(s, (enum report_kind)kind));
    return RC_OK;
}
