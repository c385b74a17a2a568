/* A mail to the owner about an account elsewhere that cannot be collected from, with that host's
 * words. It is delivered with a note of the time since when that is so: so there is one mail each
 * time. */
#include "collect/collect_int.h"

#include "base/bytes.h"
#include "base/random.h"

#include <stdio.h>
#include <stdlib.h>

struct letter {
    struct deliver_op op;
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    bool is_done;
};

static void delivered(struct deliver_op *op)
{
    struct letter *l = CONTAINER(op, struct letter, op);
    pthread_mutex_lock(&l->mutex);
    l->is_done = true;
    pthread_cond_signal(&l->cond);
    pthread_mutex_unlock(&l->mutex);
}

static void write_letter(struct job *job, const char *id, struct buf *out)
{
    const struct remote *r = &job->remote;
    char now[CLOCK_TEXT], since[CLOCK_TEXT];
    struct str host = job->collect->conf.hostname;
    bool is_stopped = job->state.condition == REMOTE_STOPPED;
    clock_rfc5322(now, collect_now(job->collect));
    clock_rfc5322(since, job->state.failing_since);
    buf_putf(out, "Return-Path: <>\r\nDate: %s\r\nFrom: Mail server <postmaster@%.*s>\r\n", now,
             STR_ARG(host));
    buf_putf(out, "To: <%.*s>\r\nMessage-ID: <%s@%.*s>\r\n", STR_ARG(r->owner), id, STR_ARG(host));
    buf_putf(out, "Subject: Mail from %.*s is not collected\r\n", STR_ARG(r->host));
    buf_put(out, STR("Auto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n" /* [RFC3834 5] */
                     "Content-Type: text/plain; charset=utf-8\r\n"
                     "Content-Transfer-Encoding: 8bit\r\n\r\n"));
    buf_putf(out, "Mail of %.*s at %.*s could not be collected since\r\n%s.\r\n\r\n",
             STR_ARG(r->login), STR_ARG(r->host), since);
    buf_putf(out, "The cause:\r\n  %s\r\n\r\n", job->text);
    buf_put(out, is_stopped ? STR("It is not tried again until its password is set anew.\r\n")
                            : STR("It is tried again; nothing there is lost by that.\r\n"));
}

static enum rc hand_over(struct job *job, struct kv_blob_id blob, const char *id, uint64_t size)
{
    unsigned char key[REMOTE_NOTE_KEY], since[8];
    struct letter l = {
        .op.done = delivered, .mutex = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};
    put_u64(since, job->state.failing_since);
    const struct store_note note = {
        .key = remote_note_key(job->remote.id, 'm', str_from(since, sizeof since), key),
        .value = STR("\1"),
        .is_checked = true};
    const struct queue_recipient to = {.account = job->remote.account,
                                       .address = job->remote.owner};
    const struct deliver_message message = {.blob = blob,
                                            .size = size,
                                            .received = collect_now(job->collect),
                                            .id = str_of(id),
                                            .recipients = &to,
                                            .n_recipients = 1,
                                            .notes = &note,
                                            .n_notes = 1};
    TRY(deliver_message(job->collect->conf.deliver, &message, 0, &l.op));
    pthread_mutex_lock(&l.mutex);
    while (!l.is_done)
        pthread_cond_wait(&l.cond, &l.mutex);
    pthread_mutex_unlock(&l.mutex);
    return l.op.rc;
}

enum rc collect_tell_owner(struct job *job)
{
    struct kv *kv = job->collect->conf.kv;
    struct kv_part part = {KV_ACCOUNT, job->remote.account};
    struct buf text = {.cap = 16 << 10};
    struct kv_blob_id blob;
    char id[40];
    snprintf(id, sizeof id, "collect-%016llx", (unsigned long long)random_u64());
    write_letter(job, id, &text);
    struct kv_blob_out *out = kv_blob_new(kv, part, 0, 0);
    enum rc rc = kv_blob_write(out, buf_str(&text));
    if (rc == RC_OK)
        rc = kv_blob_finish(&out, &blob);
    else
        kv_blob_abort(&out);
    if (rc == RC_OK) {
        rc = hand_over(job, blob, id, buf_len(&text));
        kv_blob_forget(kv, blob);
    }
    buf_fini(&text);
    if (rc != RC_OK && rc != RC_EXISTS)
        log_event(job->collect->ctx->log, LOG_WARNING, "owner-not-told", "cause", rc_name(rc),
                  NULL);
    return rc;
}
