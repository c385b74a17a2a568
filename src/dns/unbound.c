/* libunbound, met in this file alone: a resolver is one of its contexts, driven by the event base
 * of dns's thread.
 *
 * The library is given an event base of its own kind (struct ub_event_base), whose functions call
 * libevent's core: it is linked with another build of libevent than we are, so structs of libevent
 * itself must not cross between the two. Its lists of ports, TCP buffers and caches are sized here;
 * what it has to say goes nowhere but for the errors of its setting up, since its log is one for
 * the whole process.
 */
#include "dns/dns_int.h"

#include "base/mem.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unbound-event.h>
#include <unbound.h>

enum { CLASS_IN = 1 };

struct bridge { /* what the library sees as its event base */
    struct ub_event_base base;
    struct event_base *event_base;
};

struct bridge_event {
    struct ub_event event;
    struct event *ev;
};

struct resolver {
    struct bridge bridge;
    struct ub_ctx *ctx;
    size_t pending;
};

/* --- the library's events on libevent's core ---------------------------------------------------
 */

_Static_assert(UB_EV_TIMEOUT == EV_TIMEOUT && UB_EV_READ == EV_READ && UB_EV_WRITE == EV_WRITE &&
                   UB_EV_SIGNAL == EV_SIGNAL && UB_EV_PERSIST == EV_PERSIST,
               "the library's bits are libevent's");

static struct event *native(struct ub_event *e)
{
    return CONTAINER(e, struct bridge_event, event)->ev;
}

/* The same event with other bits or another socket; it is not active. */
static void assign(struct ub_event *e, int fd, short bits)
{
    struct event *ev = native(e);
    event_assign(ev, event_get_base(ev), fd, bits, event_get_callback(ev),
                 event_get_callback_arg(ev));
}

static void bits_add(struct ub_event *e, short bits)
{
    assign(e, event_get_fd(native(e)), (short)(event_get_events(native(e)) | bits));
}

static void bits_del(struct ub_event *e, short bits)
{
    assign(e, event_get_fd(native(e)), (short)(event_get_events(native(e)) & ~bits));
}

static void fd_set_to(struct ub_event *e, int fd)
{
    assign(e, fd, event_get_events(native(e)));
}

static void event_drop(struct ub_event *e)
{
    event_free(native(e));
    free(CONTAINER(e, struct bridge_event, event));
}

static int event_start(struct ub_event *e, struct timeval *t)
{
    return event_add(native(e), t);
}

static int event_end(struct ub_event *e)
{
    return event_del(native(e));
}

static int timer_start(struct ub_event *e, struct ub_event_base *base,
                       void (*cb)(int, short, void *), void *arg, struct timeval *t)
{
    struct bridge *b = CONTAINER(base, struct bridge, base);
    event_assign(native(e), b->event_base, -1, EV_TIMEOUT, cb, arg);
    return event_add(native(e), t);
}

static int signal_start(struct ub_event *e, struct timeval *t)
{
    return -1; /* never called by the library; there are no signals on this thread */
}

static int signal_end(struct ub_event *e)
{
    return -1;
}

static void winsock_end(struct ub_event *e)
{
}

static void winsock_blocks(struct ub_event *e, int bits)
{
}

static struct ub_event_vmt event_functions = {
    bits_add,    bits_del,  fd_set_to,    event_drop, event_start, event_end,
    timer_start, event_end, signal_start, signal_end, winsock_end, winsock_blocks};

static struct ub_event *event_make(struct ub_event_base *base, int fd, short bits,
                                   void (*cb)(int, short, void *), void *arg)
{
    struct bridge *b = CONTAINER(base, struct bridge, base);
    struct bridge_event *e = mem_zero(sizeof *e);
    e->event.magic = UB_EVENT_MAGIC;
    e->event.vmt = &event_functions;
    e->ev = event_new(b->event_base, fd, bits, cb, arg);
    if (e->ev)
        return &e->event;
    free(e);
    return NULL;
}

static struct ub_event *signal_make(struct ub_event_base *base, int fd,
                                    void (*cb)(int, short, void *), void *arg)
{
    return NULL;
}

static struct ub_event *winsock_make(struct ub_event_base *base, void *wsaevent,
                                     void (*cb)(int, short, void *), void *arg)
{
    return NULL;
}

static void base_drop(struct ub_event_base *base)
{
}

static int base_run(struct ub_event_base *base)
{
    return -1; /* dns's thread runs it */
}

static int base_end(struct ub_event_base *base, struct timeval *t)
{
    return -1;
}

static struct ub_event_base_vmt base_functions = {base_drop,  base_run,    base_end,
                                                  event_make, signal_make, winsock_make};

/* --- setting up --------------------------------------------------------------------------------
 */

struct option {
    const char *name, *value;
};

static const struct option options[] = {
    {"verbosity:", "0"},
    {"use-syslog:", "no"},
    {"do-not-query-localhost:", "no"}, /* a resolver of this machine is as good as any */
    {"unblock-lan-zones:", "yes"},     /* private addresses have names in private networks */
    {"insecure-lan-zones:", "yes"},
    {"outgoing-range:", "512"}, /* sockets of questions under way */
    {"num-queries-per-thread:", "1024"},
    {"outgoing-num-tcp:", "16"}, /* 64 KB each */
    {"edns-buffer-size:", "1232"},
    {"cache-max-ttl:", "86400"},
    {"cache-max-negative-ttl:", "900"},
    {"infra-host-ttl:", "60"}, /* a resolver that was away is asked again soon */
    {"infra-keep-probing:", "yes"},
    {"trust-anchor-signaling:", "no"},
};

/* Names that the library answers by itself: what a private network does with them is decided by
 * the resolvers that were named. */
static const char *const left_to_resolvers[] = {"test.", "home.arpa."};

static int set_size(struct ub_ctx *ctx, const char *name, size_t bytes)
{
    char text[32];
    snprintf(text, sizeof text, "%zu", bytes);
    return ub_ctx_set_option(ctx, name, text);
}

static int set_options(struct ub_ctx *ctx, const struct dns_conf *conf)
{
    int error = 0;
    for (size_t i = 0; !error && i < sizeof options / sizeof *options; i++)
        error = ub_ctx_set_option(ctx, options[i].name, options[i].value);
    /* Records take the larger part; the messages refer to them. */
    size_t part = conf->cache_bytes / 8;
    error = error ? error : set_size(ctx, "rrset-cache-size:", part * 4);
    error = error ? error : set_size(ctx, "msg-cache-size:", part * 2);
    error = error ? error : set_size(ctx, "key-cache-size:", part);
    return error ? error : set_size(ctx, "neg-cache-size:", part);
}

static int set_resolvers(struct ub_ctx *ctx, const struct dns_conf *conf)
{
    int error = 0;
    for (size_t i = 0; !error && i < conf->n_resolvers; i++) {
        const struct sockaddr_in6 *sa = &conf->resolvers[i].sa;
        char address[NET_IP_TEXT], text[NET_IP_TEXT + 8];
        net_ip_text(&sa->sin6_addr, address);
        snprintf(text, sizeof text, "%s@%u", address, ntohs(sa->sin6_port));
        error = ub_ctx_set_fwd(ctx, text);
    }
    return error;
}

/* One record a line; a comment begins with ";" or "#", as in the files of libunbound and BIND. */
static int set_anchors(struct ub_ctx *ctx, struct str text)
{
    struct str line;
    int error = 0;
    while (!error && str_cut(&text, '\n', &line)) {
        ptrdiff_t comment = str_find_byte(line, ';');
        line = str_trim(comment < 0 ? line : str_head(line, (size_t)comment));
        if (line.n == 0 || line.p[0] == '#')
            continue;
        char *record = mem_dup(line.p, line.n);
        error = ub_ctx_add_ta(ctx, record);
        free(record);
    }
    return error;
}

/* The settings are looked at as a whole now and not with the first question. */
static int finish(struct ub_ctx *ctx)
{
    int error = 0;
    for (size_t i = 0; !error && i < sizeof left_to_resolvers / sizeof *left_to_resolvers; i++)
        error = ub_ctx_zone_remove(ctx, left_to_resolvers[i]);
    return error;
}

/* The library's own words are the only ones that name a bad line of an anchor. */
static int set_up(struct ub_ctx *ctx, const struct dns_conf *conf, bool validates, char why[256])
{
    char *words = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&words, &n);
    ub_ctx_debugout(ctx, f);
    int error = set_options(ctx, conf);
    error = error ? error : set_resolvers(ctx, conf);
    error = error || !validates ? error : set_anchors(ctx, conf->anchors);
    error = error ? error : finish(ctx);
    ub_ctx_debugout(ctx, NULL);
    if (f)
        fclose(f);
    if (error) {
        struct str rest = str_from(words, n), line = {0};
        str_cut(&rest, '\n', &line);
        ptrdiff_t word = str_find(line, STR("error: "));
        line = word < 0 ? line : str_skip(line, (size_t)word + 7);
        snprintf(why, 256, "DNS: %s%s%.*s", ub_strerror(error), line.n ? ": " : "", STR_ARG(line));
    }
    free(words);
    return error;
}

enum rc resolver_new(struct event_base *base, const struct dns_conf *conf, bool validates,
                     struct resolver **out, char why[256])
{
    struct resolver *r = mem_zero(sizeof *r);
    r->bridge = (struct bridge){{UB_EVENT_MAGIC, &base_functions}, base};
    r->ctx = ub_ctx_create_ub_event(&r->bridge.base);
    if (!r->ctx) {
        free(r);
        snprintf(why, 256, "DNS: libunbound cannot start");
        return RC_TEMP;
    }
    if (set_up(r->ctx, conf, validates, why) != 0) {
        resolver_free(&r);
        return RC_SYNTAX;
    }
    *out = r;
    return RC_OK;
}

void resolver_free(struct resolver **r)
{
    if (!*r)
        return;
    ub_ctx_delete((*r)->ctx);
    free(*r);
    *r = NULL;
}

size_t resolver_pending(const struct resolver *r)
{
    return r->pending;
}

/* --- asking ------------------------------------------------------------------------------------
 */

static void on_answer(void *arg, int rcode, void *packet, int n, int security, char *why,
                      int was_limited)
{
    enum { BOGUS = 1, SECURE = 2 };
    struct ask *ask = arg;
    struct answer a = {.rcode = rcode,
                       .is_secure = security == SECURE,
                       .is_bogus = security == BOGUS,
                       .packet = str_from(packet, n > 0 && packet ? (size_t)n : 0),
                       .why = why};
    ask->resolver->pending--;
    ask_answered(ask, &a);
}

bool resolver_ask(struct resolver *r, const char *name, struct ask *ask)
{
    int type = (int)ask->query->type;
    ask->resolver = r;
    r->pending++;
    if (ub_resolve_event(r->ctx, name, type, CLASS_IN, ask, on_answer, NULL) == 0)
        return true;
    r->pending--;
    return false;
}
