/* Owners of accounts are told of logins from a new place, by mail.
 *
 * Invariants: each arrival of auth's is answered once, after the mail's commit or when it has
 * failed; nothing is logged as sent that is not durable; the lane does what may wait, so neither a
 * thread that computes logins nor one of the store is held up. */
#include "deliver/deliver_int.h"

#include "auth/arrival.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

struct places {
    struct auth_listener listener;
    struct deliver *deliver;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    size_t n; /* arrivals under way */
};

struct telling {
    struct task_job job;
    struct places *places;
    const struct auth_arrival *arrival;
    enum rc rc;
    struct notice_op notice;
};

/* --- words ------------------------------------------------------------------------------------ */

static const char *use_of(const char *protocol)
{
    static const struct {
        const char *protocol, *use;
    } uses[] = {{"imap", "IMAP, to read mail"},
                {"pop3", "POP3, to collect mail"},
                {"smtp", "SMTP, to send mail"}};
    for (size_t i = 0; i < sizeof uses / sizeof *uses; i++)
        if (strcmp(protocol, uses[i].protocol) == 0)
            return uses[i].use;
    return protocol;
}

static void put_words(const struct auth_arrival *a, struct buf *subject, struct buf *text)
{
    char date[CLOCK_TEXT];
    clock_rfc5322(date, a->time);
    buf_putf(subject, "New login to %.*s from %.*s", STR_ARG(a->name), STR_ARG(a->peer));
    buf_putf(text,
             "Somebody has logged in to your mailbox, with the right password, from a network\n"
             "where it was not used in the last 60 days:\n"
             "\n"
             "    mailbox: %.*s\n"
             "    when:    %s\n"
             "    how:     %s\n"
             "    from:    %.*s\n"
             "\n"
             "If that was you (another network, a trip, a new phone), there is nothing to do.\n"
             "\n"
             "If it was not you, somebody else knows your password. Change it now: that ends\n"
             "all sessions which use the old one. Then tell postmaster@%.*s.\n",
             STR_ARG(a->name), date, use_of(a->protocol), STR_ARG(a->peer),
             STR_ARG(str_domain(a->name)));
}

/* --- telling ---------------------------------------------------------------------------------- */

static void finish(struct telling *t)
{
    struct places *p = t->places;
    struct log_line l;
    bool is_told = t->rc == RC_OK;
    log_begin(&l, p->deliver->ctx.log, is_told ? LOG_INFO : LOG_WARNING,
              is_told ? "new-place-mail-sent" : "new-place-mail-not-sent");
    log_str(&l, "address", t->arrival->name);
    log_str(&l, "peer", t->arrival->peer);
    if (is_told)
        log_text(&l, "message", t->notice.id);
    else
        log_text(&l, "cause", rc_name(t->rc));
    log_end(&l);
    if (is_told)
        counter_add(p->deliver->ctx.counters, COUNTER_NEW_PLACE_MAILS, 1);
    auth_arrival_told(p->deliver->conf.auth, t->arrival, t->rc);
    free(t);
    pthread_mutex_lock(&p->mutex);
    p->n--;
    pthread_cond_signal(&p->changed);
    pthread_mutex_unlock(&p->mutex);
}

static void finish_on_lane(struct task_job *job)
{
    finish(CONTAINER(job, struct telling, job));
}

/* On a thread of the store. */
static void sent(struct notice_op *op)
{
    struct telling *t = CONTAINER(op, struct telling, notice);
    t->rc = op->rc;
    t->job.run = finish_on_lane;
    if (task_lane_post(t->places->deliver->conf.lane, &t->job) == RC_OK)
        return;
    t->rc = RC_TEMP; /* as good as not told: the place is not noted, which would have to wait */
    finish(t);
}

static void tell(struct task_job *job)
{
    struct telling *t = CONTAINER(job, struct telling, job);
    struct buf subject = {.cap = 1024}, text = {.cap = 4096};
    put_words(t->arrival, &subject, &text);
    const struct notice notice = {
        .to = t->arrival->name, .subject = buf_str(&subject), .text = buf_str(&text)};
    t->notice.done = sent;
    enum rc rc = notice_send(t->places->deliver, &notice, &t->notice);
    if (rc != RC_OK) { /* otherwise it is sent()'s already */
        t->rc = rc;
        finish(t);
    }
    buf_fini(&subject);
    buf_fini(&text);
}

static void arrived(struct auth_listener *listener, const struct auth_arrival *arrival)
{
    struct places *p = CONTAINER(listener, struct places, listener);
    struct telling *t = mem_zero(sizeof *t);
    t->places = p;
    t->arrival = arrival;
    t->job.run = tell;
    pthread_mutex_lock(&p->mutex);
    p->n++;
    pthread_mutex_unlock(&p->mutex);
    if (task_lane_post(p->deliver->conf.lane, &t->job) == RC_OK)
        return;
    t->rc = RC_TEMP;
    finish(t);
}

struct places *places_open(struct deliver *deliver)
{
    struct places *p = mem_zero(sizeof *p);
    p->deliver = deliver;
    p->listener.arrived = arrived;
    pthread_mutex_init(&p->mutex, NULL);
    pthread_cond_init(&p->changed, NULL);
    auth_listen(deliver->conf.auth, &p->listener);
    return p;
}

void places_close(struct places **places)
{
    struct places *p = *places;
    *places = NULL;
    if (!p)
        return;
    auth_listen(p->deliver->conf.auth, NULL);
    pthread_mutex_lock(&p->mutex);
    while (p->n)
        pthread_cond_wait(&p->changed, &p->mutex);
    pthread_mutex_unlock(&p->mutex);
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->mutex);
    free(p);
}
