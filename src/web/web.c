/* The services and their routes. */
#include "web/web_int.h"

#include "base/mem.h"

#include <stdlib.h>

/* Both look at the disk's free space, so they run where waiting is allowed. */
static const struct http_route admin_routes[] = {
    {"/metrics", HTTP_SHORT, web_metrics},
    {"/healthz", HTTP_SHORT, web_health},
};

struct web *web_new(const struct web_conf *conf)
{
    struct web *web = mem_zero(sizeof *web);
    web->conf = *conf;
    web->admin =
        (struct http_service){admin_routes, sizeof admin_routes / sizeof *admin_routes, web};
    return web;
}

void web_free(struct web **web)
{
    free(*web);
    *web = NULL;
}

const struct http_service *web_admin(struct web *web)
{
    return &web->admin;
}
