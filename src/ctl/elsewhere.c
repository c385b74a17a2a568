/* `penfold import imap|pop3`: an account elsewhere as a source of transfer.h. It is one session of
 * fetch.h on a net of this process's own; the session's owner tells folders and messages to the
 * sink, on one thread at a time, while this one waits.
 *
 * A message's origin is its UIDL, with IMAP its folder, UIDVALIDITY and UID: so what is in is
 * passed over before it is fetched. Nothing is changed there, not even \Seen. */
#include "ctl/ctl_int.h"

#include "fetch/fetch.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum { LINE_LENGTH = 512, WORKERS = 2, QUEUE = 1000 };

struct pouring {
    struct fetch_owner owner;
    const struct ctl_elsewhere *from;
    struct transfer_sink *sink;
    uint64_t known, now;
    struct arena arena;
    struct str *names; /* of folders */
    unsigned *numbers;
    size_t n;
    unsigned folder; /* the one that is open */
    struct str folder_name;
    uint32_t uidvalidity;
    struct fetch_end end;
    bool is_over;
    pthread_mutex_t mutex;
    pthread_cond_t cond;
};

static struct pouring *pouring_of(struct fetch_owner *o)
{
    return CONTAINER(o, struct pouring, owner);
}

/* --- where from ------------------------------------------------------------------------------- */

bool ctl_elsewhere_read(struct str source, struct ctl_elsewhere *out)
{
    static const char *const words[] = {"implicit", "starttls", "none"};
    ptrdiff_t colon = str_rfind_byte(source, ':'), bracket = str_rfind_byte(source, ']');
    uint64_t port = 0;
    size_t tls = 0;
    while (tls < 3 && out->tls.n && !str_eq(out->tls, str_of(words[tls])))
        tls++;
    if (tls == 3 || !out->login.n)
        return false;
    out->place = (struct fetch_place){.protocol = out->is_imap ? FETCH_IMAP : FETCH_POP3,
                                      .tls = (enum fetch_tls)tls,
                                      .host = source,
                                      .login = out->login};
    port = fetch_port(out->place.protocol, out->place.tls);
    bool has_port = colon > bracket && (bracket >= 0 || str_find_byte(source, ':') == colon);
    if (has_port && str_to_u64(str_skip(source, (size_t)colon + 1), &port) != RC_OK)
        return false;
    struct str host = has_port ? str_head(source, (size_t)colon) : source;
    out->place.host = bracket > 0 ? str_sub(host, 1, (size_t)bracket - 1) : host;
    out->place.port = (uint16_t)port;
    snprintf(out->name, sizeof out->name, "%s %.*s@%.*s:%u", out->is_imap ? "imap" : "pop3",
             STR_ARG(out->login), STR_ARG(out->place.host), out->place.port);
    return port > 0 && port <= UINT16_MAX && out->place.host.n > 0;
}

/* --- folders ---------------------------------------------------------------------------------- */

static enum store_role role_of(struct str use)
{
    static const struct {
        const char *use;
        enum store_role role;
    } roles[] = {{"\\Sent", STORE_SENT},
                 {"\\Drafts", STORE_DRAFTS},
                 {"\\Trash", STORE_TRASH},
                 {"\\Junk", STORE_JUNK},
                 {"\\Archive", STORE_ARCHIVE}};
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
        if (str_eq(use, str_of(roles[i].use)))
            return roles[i].role;
    return STORE_NONE;
}

static enum rc folders(struct fetch_owner *o, const struct fetch_folder *all, size_t n, bool *wants)
{
    struct pouring *p = pouring_of(o);
    struct transfer_folder *to = arena_zero(&p->arena, (n + 1) * sizeof *to);
    p->names = arena_zero(&p->arena, (n + 1) * sizeof *p->names);
    p->numbers = arena_zero(&p->arena, (n + 1) * sizeof *p->numbers);
    p->n = n;
    for (size_t i = 0; i < n; i++) {
        p->names[i] = arena_dup(&p->arena, all[i].name);
        to[i] = (struct transfer_folder){
            .name = p->names[i], .role = role_of(all[i].use), .is_subscribed = true};
        wants[i] = true;
    }
    transfer_roles_by_name(to, n);
    for (size_t i = 0; i < n; i++)
        TRY(transfer_folder(p->sink, &to[i], &p->numbers[i]));
    return RC_OK;
}

static enum rc folder(struct fetch_owner *o, const struct fetch_folder *one, uint32_t *out_from)
{
    struct pouring *p = pouring_of(o);
    size_t i = 0;
    while (i < p->n && !str_eq(p->names[i], one->name))
        i++;
    if (i == p->n)
        return RC_NOTFOUND;
    p->folder = p->numbers[i];
    p->folder_name = p->names[i];
    p->uidvalidity = one->uidvalidity;
    *out_from = 1;
    return RC_OK;
}

/* --- messages --------------------------------------------------------------------------------- */

static void origin_of(const struct pouring *p, const struct fetch_item *item,
                      unsigned char out[TRANSFER_ORIGIN])
{
    unsigned char numbers[8] = {0};
    const struct str parts[] = {p->folder_name, str_from(numbers, sizeof numbers)};
    put_u32(numbers, p->uidvalidity);
    put_u32(numbers + 4, item->number);
    transfer_origin(p->from->is_imap ? parts : &item->uidl, p->from->is_imap ? 2 : 1, out);
}

static enum rc want(struct fetch_owner *o, const struct fetch_item *items, size_t n,
                    enum fetch_want *out)
{
    struct pouring *p = pouring_of(o);
    for (size_t i = 0; i < n; i++) {
        unsigned char origin[TRANSFER_ORIGIN];
        origin_of(p, &items[i], origin);
        bool is_in = transfer_has(p->sink, str_from(origin, sizeof origin));
        bool is_large = items[i].size > p->from->conf->limits.message_size;
        p->known += is_in;
        out[i] = is_in || is_large ? FETCH_LEAVE : FETCH_TAKE;
        if (is_in || !is_large)
            continue;
        char label[LINE_LENGTH];
        int len =
            snprintf(label, sizeof label, "%.*s %u", STR_ARG(p->folder_name), items[i].number);
        TRY(transfer_tell(p->sink, str_from(label, (size_t)len), true,
                          STR("it is larger than messages may be here")));
    }
    return RC_OK;
}

static enum rc begin(struct fetch_owner *o, const struct fetch_item *item)
{
    struct pouring *p = pouring_of(o);
    unsigned char origin[TRANSFER_ORIGIN];
    char label[LINE_LENGTH];
    struct buf uidl = {.cap = 1024};
    int len = snprintf(label, sizeof label, "%.*s %s%u", STR_ARG(p->folder_name),
                       p->from->is_imap ? "UID " : "", item->number);
    origin_of(p, item, origin);
    struct transfer_message m = {
        .label = str_from(label, (size_t)len),
        .origin = str_from(origin, sizeof origin),
        .received = item->date ? item->date : p->now,
        .size = item->size,
        .flags = item->flags &
                 (FETCH_SEEN | FETCH_ANSWERED | FETCH_FLAGGED | FETCH_DELETED | FETCH_DRAFT),
        .uidl = item->uidl,
        .uid = p->from->is_imap ? item->number : 0};
    bool has_form = p->from->uidl.n && str_eq(p->folder_name, STR("INBOX"));
    if (p->from->is_imap && has_form &&
        transfer_uidl(p->from->uidl, item->number, p->uidvalidity, &uidl) == RC_OK)
        m.uidl = buf_str(&uidl);
    enum rc rc = transfer_begin(p->sink, p->folder, &m);
    buf_fini(&uidl);
    return rc;
}

static enum rc bytes(struct fetch_owner *o, struct str piece)
{
    return transfer_bytes(pouring_of(o)->sink, piece);
}

static enum rc end(struct fetch_owner *o, const struct fetch_item *item)
{
    return transfer_end(pouring_of(o)->sink);
}

/* The sink is freed with what it has begun. */
static void drop(struct fetch_owner *o)
{
}

static enum rc flush(struct fetch_owner *o)
{
    return RC_OK;
}

static bool may_delete(struct fetch_owner *o, const struct fetch_item *item)
{
    return false;
}

static enum rc deleted(struct fetch_owner *o)
{
    return RC_OK;
}

static void over(struct fetch_owner *o, const struct fetch_end *how)
{
    struct pouring *p = pouring_of(o);
    pthread_mutex_lock(&p->mutex);
    p->end = *how;
    p->is_over = true;
    pthread_cond_signal(&p->cond);
    pthread_mutex_unlock(&p->mutex);
}

/* --- the process ------------------------------------------------------------------------------ */

struct plant {
    struct ctx ctx;
    struct counters counters;
    struct task_lane *short_lane, *heavy_lane;
    struct net *net;
    struct net_tls_client *tls;
    struct dns *dns;
};

static enum rc open_plant(struct plant *w, const struct conf *conf, char why[256])
{
    struct str resolvers[CONF_LIST_MAX];
    struct arena arena = {0};
    struct dns_conf dns;
    struct buf authorities = {.cap = 16 << 20};
    const char *anchor = conf->dns.trust_anchor[0] ? conf->dns.trust_anchor : NULL;
    w->ctx = (struct ctx){NULL, &w->counters, &clock_system};
    w->short_lane = task_lane_new("short", WORKERS, QUEUE);
    w->heavy_lane = task_lane_new("heavy", 1, QUEUE);
    const struct net_conf net = {
        .loops = 1, .short_lane = w->short_lane, .heavy_lane = w->heavy_lane};
    w->net = net_new(&w->ctx, &net);
    ctl_read_file(conf->tls.ca_file[0] ? conf->tls.ca_file : CONF_AUTHORITIES, &authorities);
    enum rc rc = net_tls_client_new(buf_str(&authorities), &w->tls, why);
    buf_fini(&authorities);
    for (size_t i = 0; i < conf->dns.resolver.n; i++)
        resolvers[i] = str_of(conf->dns.resolver.item[i]);
    if (rc == RC_OK)
        rc = dns_conf_read(resolvers, conf->dns.resolver.n, anchor, &arena, &dns, why);
    if (rc == RC_OK)
        rc = dns_new(&w->ctx, &dns, &w->dns, why);
    arena_fini(&arena);
    net_start(w->net);
    return rc;
}

static void close_plant(struct plant *w)
{
    net_stop(w->net);
    if (w->dns)
        dns_free(&w->dns);
    task_lane_free(&w->heavy_lane);
    task_lane_free(&w->short_lane);
    net_free(&w->net);
    if (w->tls)
        net_tls_client_free(&w->tls);
}

static enum rc run_session(struct pouring *p, struct plant *w, char why[FETCH_TEXT + 1])
{
    const struct ctl_elsewhere *from = p->from;
    struct net_addr addresses[FETCH_ADDRESSES];
    struct fetch_session *session;
    size_t n;
    const struct fetch_house house = {&w->ctx, w->net, w->tls};
    const struct fetch_limits limits = {.message_bytes = from->conf->limits.message_size,
                                        .messages = 10000000,
                                        .folders = TRANSFER_FOLDERS};
    TRY(fetch_resolve(w->dns, from->place.host, from->place.port, NULL, 0, addresses, &n, why));
    TRY(fetch_open(&house, &from->place, addresses, n, &limits, &p->owner, &session));
    pthread_mutex_lock(&p->mutex);
    while (!p->is_over)
        pthread_cond_wait(&p->cond, &p->mutex);
    pthread_mutex_unlock(&p->mutex);
    snprintf(why, FETCH_TEXT + 1, "%s", p->end.text);
    return p->end.rc;
}

enum rc ctl_pour_elsewhere(const struct ctl_elsewhere *from, struct transfer_sink *sink,
                           uint64_t *out_known, char why[CTL_ELSEWHERE_WHY])
{
    struct plant w = {0};
    struct pouring p = {.owner = {.folders = folders,
                                  .folder = folder,
                                  .want = want,
                                  .begin = begin,
                                  .bytes = bytes,
                                  .end = end,
                                  .drop = drop,
                                  .flush = flush,
                                  .may_delete = may_delete,
                                  .deleted = deleted,
                                  .over = over},
                        .from = from,
                        .sink = sink,
                        .folder_name = STR("INBOX"),
                        .now = clock_wall(&clock_system),
                        .mutex = PTHREAD_MUTEX_INITIALIZER,
                        .cond = PTHREAD_COND_INITIALIZER};
    const struct transfer_folder inbox = {.name = STR("INBOX"), .role = STORE_INBOX};
    why[0] = '\0';
    enum rc rc = open_plant(&w, from->conf, why);
    if (rc == RC_OK && !from->is_imap)
        rc = transfer_folder(sink, &inbox, &p.folder);
    if (rc == RC_OK)
        rc = run_session(&p, &w, why);
    close_plant(&w);
    arena_fini(&p.arena);
    *out_known = p.known;
    return rc;
}
