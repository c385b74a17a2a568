/* libcurl's multi interface.
 *
 * Invariant: a request is in `waiting` without, or in `running` with a struct https_request, until
 * it is in neither and done() is called; done() may add, so nothing is remembered across it. */
#include "https/https.h"

#include "base/mem.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>

enum { CONNECT_MS = 10000, READ_BYTES = 16384 };

struct https {
    CURLM *multi;
    struct list waiting, running; /* of struct https_get */
    unsigned n_running;
};

struct https_request {
    CURL *easy;
    struct curl_slist *addresses;
    struct buf body;
    size_t header_n, header_max;
    char error[CURL_ERROR_SIZE];
};

enum rc https_new(struct https **out, char why[256])
{
    struct https *h = mem_zero(sizeof *h);
    list_init(&h->waiting);
    list_init(&h->running);
    if (curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK)
        h->multi = curl_multi_init();
    *out = h;
    if (h->multi)
        return RC_OK;
    snprintf(why, 256, "libcurl cannot start");
    https_free(out);
    return RC_TEMP;
}

static void request_free(struct https *h, struct https_request *r)
{
    if (r->easy) {
        curl_multi_remove_handle(h->multi, r->easy);
        curl_easy_cleanup(r->easy);
    }
    curl_slist_free_all(r->addresses);
    buf_fini(&r->body);
    free(r);
}

/* Gives the request back; what its result points into goes after done(). */
static void give_back(struct https *h, struct https_get *g, enum https_end end, const char *why)
{
    struct https_request *r = g->request;
    g->end = end;
    g->why = why;
    g->request = NULL;
    list_remove(&g->link);
    if (r)
        h->n_running--;
    g->done(g);
    if (r)
        request_free(h, r);
}

void https_free(struct https **https)
{
    struct https *h = *https;
    if (!h)
        return;
    while (!list_is_empty(&h->running))
        give_back(h, CONTAINER(list_first(&h->running), struct https_get, link), HTTPS_DROPPED,
                  "shutting down");
    while (!list_is_empty(&h->waiting))
        give_back(h, CONTAINER(list_first(&h->waiting), struct https_get, link), HTTPS_DROPPED,
                  "shutting down");
    curl_multi_cleanup(h->multi);
    free(h);
    *https = NULL;
}

/* --- one request ------------------------------------------------------------------------------ */

static size_t on_body(char *p, size_t size, size_t n, void *arg)
{
    struct https_request *r = arg;
    return buf_add(&r->body, str_from(p, size * n)) == RC_OK ? size * n : 0;
}

/* Fields are looked at by libcurl alone, which may keep them: no more than of a body. */
static size_t on_header(char *p, size_t size, size_t n, void *arg)
{
    struct https_request *r = arg;
    r->header_n += size * n;
    return r->header_n <= r->header_max ? size * n : 0;
}

static CURLcode set_numbers(CURL *easy, const struct https_get *g)
{
    const struct {
        CURLoption option;
        long value;
    } numbers[] = {{CURLOPT_NOSIGNAL, 1},
                   {CURLOPT_FOLLOWLOCATION, 0}, /* [RFC8461 3.3] */
                   {CURLOPT_SSL_VERIFYPEER, 1},
                   {CURLOPT_SSL_VERIFYHOST, 2},
                   {CURLOPT_SSLVERSION, CURL_SSLVERSION_TLSv1_2},
                   {CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1},
                   {CURLOPT_TIMEOUT_MS, (long)g->ms},
                   {CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS},
                   {CURLOPT_MAXFILESIZE, (long)g->max},
                   {CURLOPT_FRESH_CONNECT, 1},
                   {CURLOPT_FORBID_REUSE, 1},
                   {CURLOPT_BUFFERSIZE, READ_BYTES}};
    CURLcode rc = CURLE_OK;
    for (size_t i = 0; rc == CURLE_OK && i < sizeof numbers / sizeof *numbers; i++)
        rc = curl_easy_setopt(easy, numbers[i].option, numbers[i].value);
    return rc;
}

static CURLcode set_up(struct https_get *g)
{
    struct https_request *r = g->request;
    struct curl_blob ca = {
        .data = (void *)(uintptr_t)g->ca_pem->p, .len = g->ca_pem->n, .flags = CURL_BLOB_COPY};
    CURLcode rc = set_numbers(r->easy, g);
    const struct {
        CURLoption option;
        const void *value;
    } pointers[] = {{CURLOPT_URL, g->url},
                    {CURLOPT_PROTOCOLS_STR, g->may_be_plain ? "https,http" : "https"},
                    {CURLOPT_PROXY, ""},
                    {CURLOPT_USERAGENT, "Penfold"},
                    {CURLOPT_CAINFO, NULL},
                    {CURLOPT_CAPATH, NULL},
                    {CURLOPT_CAINFO_BLOB, ca.len ? &ca : NULL},
                    {CURLOPT_RESOLVE, r->addresses},
                    {CURLOPT_ERRORBUFFER, r->error},
                    {CURLOPT_WRITEDATA, r},
                    {CURLOPT_HEADERDATA, r},
                    {CURLOPT_PRIVATE, g}};
    for (size_t i = 0; rc == CURLE_OK && i < sizeof pointers / sizeof *pointers; i++)
        rc = curl_easy_setopt(r->easy, pointers[i].option, pointers[i].value);
    if (rc == CURLE_OK)
        rc = curl_easy_setopt(r->easy, CURLOPT_HEADERFUNCTION, on_header);
    return rc == CURLE_OK ? curl_easy_setopt(r->easy, CURLOPT_WRITEFUNCTION, on_body) : rc;
}

static void start(struct https *h, struct https_get *g)
{
    struct https_request *r = mem_zero(sizeof *r);
    bool can_verify = g->ca_pem->n || g->may_be_plain;
    buf_init(&r->body, g->max);
    r->header_max = g->max;
    r->easy = can_verify ? curl_easy_init() : NULL;
    if (g->addresses)
        r->addresses = curl_slist_append(NULL, g->addresses);
    g->request = r;
    list_add_tail(&h->running, &g->link);
    h->n_running++;
    if (!r->easy || set_up(g) != CURLE_OK || curl_multi_add_handle(h->multi, r->easy) != CURLM_OK)
        give_back(h, g, HTTPS_FAILED, "HTTPS is not possible here");
}

void https_add(struct https *h, struct https_get *g)
{
    list_add_tail(&h->waiting, &g->link);
}

static struct str media_type(CURL *easy)
{
    char *type = NULL;
    struct str rest, media;
    if (curl_easy_getinfo(easy, CURLINFO_CONTENT_TYPE, &type) != CURLE_OK || !type)
        return (struct str){0};
    rest = str_of(type);
    (void)str_cut(&rest, ';', &media);
    return str_trim(media);
}

static void finish(struct https *h, struct https_get *g, CURLcode code)
{
    struct https_request *r = g->request;
    bool is_untrusted = code == CURLE_PEER_FAILED_VERIFICATION ||
                        code == CURLE_SSL_CACERT_BADFILE || code == CURLE_SSL_ISSUER_ERROR;
    if (code != CURLE_OK) {
        give_back(h, g, is_untrusted ? HTTPS_UNTRUSTED : HTTPS_FAILED,
                  r->error[0] ? r->error : curl_easy_strerror(code));
        return;
    }
    curl_easy_getinfo(r->easy, CURLINFO_RESPONSE_CODE, &g->status);
    g->type = media_type(r->easy);
    g->body = buf_str(&r->body);
    give_back(h, g, HTTPS_ANSWERED, "");
}

/* --- the caller's loop ------------------------------------------------------------------------ */

void https_run(struct https *h, unsigned at_once, int ms)
{
    int n;
    CURLMsg *m;
    while (h->n_running < at_once && !list_is_empty(&h->waiting)) {
        struct https_get *g = CONTAINER(list_first(&h->waiting), struct https_get, link);
        list_remove(&g->link);
        start(h, g);
    }
    curl_multi_perform(h->multi, &n);
    while ((m = curl_multi_info_read(h->multi, &n))) {
        struct https_get *g = NULL;
        CURLcode code = m->data.result;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&g);
        if (m->msg == CURLMSG_DONE && g) {
            finish(h, g, code);
            ms = 0; /* the caller may have something to do, and one that waits may begin */
        }
    }
    curl_multi_poll(h->multi, NULL, 0, ms, NULL);
}

void https_wake(struct https *h)
{
    curl_multi_wakeup(h->multi);
}
