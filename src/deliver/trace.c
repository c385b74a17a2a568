/* What became of recipients, for who asks later (trace.h): told when it is settled, not before. */
#include "deliver/deliver_int.h"

#include "trace/trace.h"

#include <stdio.h>

void deliver_trace(const struct deliver_conf *conf, struct str message, struct str to,
                   uint64_t account, const struct store_op *op)
{
    char mailbox[64];
    if (!conf->trace || op->rc != RC_OK)
        return;
    snprintf(mailbox, sizeof mailbox, "INBOX of account %llu, UID %lu", (unsigned long long)account,
             (unsigned long)op->uid);
    trace_event(conf->trace, &(struct trace_event){.what = TRACE_DELIVERED,
                                                   .id = message,
                                                   .to = &to,
                                                   .n_to = to.n > 0,
                                                   .mailbox = str_of(mailbox)});
}

void deliver_trace_held(const struct deliver_conf *conf, const struct queue_item *item,
                        const char *cause)
{
    char why[96];
    if (!item->log_id.n) /* its row cannot be read */
        return;
    snprintf(why, sizeof why, "%s; see penfold queue release", cause);
    trace_event(conf->trace, &(struct trace_event){.what = TRACE_HELD,
                                                   .id = item->log_id,
                                                   .message_id = item->message_id,
                                                   .other = str_of(why)});
}

/* rest: what is still there of it; NULL: it is gone. */
static void trace_outcome(const struct settle *s, const struct queue_recipient *r,
                          const struct deliver_outcome *o, const struct queue_recipient *rest)
{
    static const enum trace_what whats[] = {
        [DELIVER_DELIVERED] = TRACE_RELAYED, [DELIVER_RELAYED] = TRACE_RELAYED,
        [DELIVER_HANDED] = TRACE_RELAYED,    [DELIVER_EXPANDED] = TRACE_RELAYED,
        [DELIVER_DEFERRED] = TRACE_DEFERRED, [DELIVER_FAILED] = TRACE_FAILED,
    };
    bool is_expired = o->verdict == DELIVER_DEFERRED && !rest;
    bool is_forwarded = s->item->flags & QUEUE_FORWARDED;
    struct str remark = is_expired      ? STR("its time is over")
                        : o->is_untried ? STR("not tried, since the host failed a moment ago")
                                        : (struct str){0};
    struct trace_event e = {.what = is_expired ? TRACE_FAILED : whats[o->verdict],
                            .id = s->item->log_id,
                            .to = &r->address,
                            .n_to = 1,
                            .sender =
                                is_forwarded ? &s->item->sender : NULL, /* not the first one */
                            .host = o->host,
                            .tls = o->tls,
                            .due = rest ? rest->due : 0,
                            .other = remark};
    struct buf reply;
    buf_init(&reply, 2 * TRACE_TEXT_MAX);
    if (o->code)
        buf_putf(&reply, "%u ", o->code);
    buf_put(&reply, o->status);
    buf_put(&reply, o->status.n && o->text.n ? STR(" ") : STR(""));
    buf_put(&reply, str_head(o->text, TRACE_TEXT_MAX));
    e.reply = str_trim(buf_str(&reply));
    trace_event(s->conf->trace, &e);
    buf_fini(&reply);
}

static void trace_report(const struct settle *s, const struct queue_item *report)
{
    bool has_reader = report->n_recipients > 0;
    trace_event(s->conf->trace,
                &(struct trace_event){.what = TRACE_REPORTED,
                                      .id = s->item->log_id,
                                      .to = has_reader ? &report->recipients[0].address : NULL,
                                      .n_to = has_reader,
                                      .other = report->log_id});
}

void settle_trace(const struct settle *s)
{
    if (!s->conf->trace)
        return;
    const struct queue_change *change = s->changes; /* one for each that was there */
    for (size_t i = 0; i < s->n; i++) {
        const struct deliver_outcome *o = &s->outcomes[i];
        const struct queue_recipient *r = queue_recipient_of(s->item, o->number);
        bool is_told = r && r->account && o->verdict == DELIVER_DELIVERED; /* by deliver_trace */
        if (r && !is_told)
            trace_outcome(s, r, o, change->state);
        change += r != NULL;
    }
    for (size_t i = 0; i < s->n_reports; i++)
        trace_report(s, &s->reports[i]);
}
