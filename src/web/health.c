/* /healthz: 200 when this server does all of its work, 503 and each cause on a line otherwise. */
#include "web/web_int.h"

void web_health(void *app, const struct http_request *request, struct http_response *response)
{
    const struct web *web = app;
    struct buf *out = &response->body;
    struct kv_space space;
    const char *why = NULL;
    if (kv_state(web->conf.admin->kv, &why) == KV_READONLY)
        buf_putf(out, "store-readonly: %s\n", why ? why : "");
    kv_space(web->conf.admin->kv, &space);
    if (space.free < space.reserve)
        buf_putf(out, "disk-full: %llu bytes are free, less than the reserve of %llu\n",
                 (unsigned long long)space.free, (unsigned long long)space.reserve);
    if (net_is_draining(web->conf.net))
        buf_put(out, STR("draining: the server is shutting down\n"));
    if (buf_len(out))
        response->status = 503;
    else
        buf_put(out, STR("ok\n"));
}
