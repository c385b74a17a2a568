/* web: what Penfold shows over HTTP. Now the admin listener: /metrics for Prometheus and /healthz
 * for whoever asks whether this server should get work. Neither needs a login: the listener is on
 * loopback unless the configuration says otherwise, and no address, name or text of anybody's mail
 * is in what they say, but the names of a few domains that mail waits for.
 */
#ifndef WEB_WEB_H
#define WEB_WEB_H

#include "admin/admin.h"
#include "http/http.h"
#include "net/net.h"
#include "relay/relay.h"

struct web;

struct web_conf { /* all of it outlives the sessions */
    struct admin *admin;
    struct net *net;
    struct relay *_Atomic *relay; /* NULL, or *relay is NULL: nothing is sent to other hosts */
    int statm_fd;     /* /proc/self/statm, opened before the sandbox closed; -1: no figure */
    uint64_t started; /* when the server started: ns since 1970 */
};

struct web *web_new(const struct web_conf *conf);
void web_free(struct web **web);

/* The admin listener's service: net_listener.app with http_proto. */
const struct http_service *web_admin(struct web *web);

#endif
