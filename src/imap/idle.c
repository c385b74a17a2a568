/* IDLE [RFC2177] [RFC9051 6.3.13]: what changes is told at once, until the client says DONE.
 *
 * The store's watch is there only while a session idles: it wakes the session, which then looks. An
 * idling session holds no buffers. What it does not read is not written: the output has a mark, and
 * no loop waits for it [RFC3501 5.3] [RFC9051 5.3]. */
#include "imap/imap_int.h"
#include "imap/news_int.h"

#include "base/mem.h"

static void changed(struct store_watch *watch)
{
    struct imap_session *s = CONTAINER(watch, struct imap_session, watch);
    net_wake(s->net, s->handle, NET_EV_WAKE);
}

static void stop(struct imap_session *s)
{
    if (s->is_idling)
        store_watch_remove(s->account, &s->watch);
    s->is_idling = false;
}

static uint64_t next_pause(struct imap_session *s)
{
    uint64_t pause = s->imap->conf.keepalive_ms;
    if (pause > s->idle_left_ms)
        pause = s->idle_left_ms;
    s->idle_left_ms -= pause;
    return pause;
}

enum net_step imap_idle_timeout(struct conn *c, struct imap_session *s)
{
    enum net_step next = imap_login_check(c, s);
    if (next != NET_READ)
        return next;
    if (!s->idle_left_ms) {
        s->end = "timeout";
        imap_bye(c, (struct str){0}, STR("nothing has been said for too long"));
        return NET_CLOSE;
    }
    buf_put(net_out(c), STR("* OK still here\r\n")); /* for what lies between us */
    net_deadline(c, next_pause(s));
    return NET_READ;
}

static enum net_step idle(struct conn *c, struct imap_session *s)
{
    struct str line;
    enum net_step next = NET_READ;
    if (s->is_draining) {
        s->end = "shutdown";
        imap_bye(c, (struct str){0}, STR("the server is shutting down"));
        return NET_CLOSE;
    }
    if (s->notify) /* [RFC5465 4] */
        next = imap_notify_tell(c, s);
    else if (s->state == IMAP_SELECTED && s->news == IMAP_NEWS_ALL)
        next = imap_view_tell(c, s, true);
    if (next == NET_READ) {
        arena_fini(&s->arena); /* nothing of a command is left in it */
        s->keywords = NULL;
        next = imap_read_line(c, s, &line);
    }
    if (next != NET_READ || !line.p)
        return next;
    stop(s);
    return imap_finish(c, s, str_ieq(line, STR("DONE")) ? IMAP_DONE : IMAP_DONE_EXPECTED);
}

enum net_step imap_idle(struct conn *c, struct imap_session *s, struct imap_parse *p)
{
    if (!imap_take_end(p))
        return imap_finish_syntax(c, s, p);
    imap_continue(c, STR("idling"));
    s->watch = (struct store_watch){.changed = changed};
    s->is_idling = true;
    s->job_fini = stop;
    store_watch_add(s->account, &s->watch);
    s->idle_left_ms = s->imap->conf.idle_ms;
    net_deadline(c, next_pause(s));
    s->go_on = idle;
    return idle(c, s);
}
