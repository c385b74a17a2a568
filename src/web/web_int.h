/* web, inside. */
#ifndef WEB_WEB_INT_H
#define WEB_WEB_INT_H

#include "web/web.h"

struct web {
    struct web_conf conf;
    struct http_service admin;
};

void web_metrics(void *app, const struct http_request *request, struct http_response *response);
void web_health(void *app, const struct http_request *request, struct http_response *response);

#endif
