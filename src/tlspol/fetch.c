/* Policies over HTTPS: libcurl's multi interface, met in this file alone.
 *
 * What is asked for has one form, https://mta-sts.DOMAIN/.well-known/mta-sts.txt; the addresses
 * come from our own DNS, so that libcurl never looks up a name nor opens a file. No redirects, no
 * proxy, no cookies, nothing but HTTPS with a certificate that holds [RFC8461 3.3]; bounded in
 * time, size and number. */
#include "tlspol/tlspol_int.h"

#include "base/mem.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ADDRESSES_MAX = 8, URL_MAX = DNS_NAME_MAX + 64, HTTPS = 443, CONNECT_MS = 10000 };

struct fetcher {
    struct tlspol *tlspol;
    CURLM *multi;
    struct list waiting; /* checks */
    struct list running; /* fetches */
    unsigned n_running;
};

struct fetch {
    struct check *check;
    CURL *easy;
    struct curl_slist *addresses;
    struct buf body;
    size_t header_n;
    char error[CURL_ERROR_SIZE];
    struct list link;
};

enum rc fetcher_new(struct tlspol *t, struct fetcher **out, char why[256])
{
    struct fetcher *f = mem_zero(sizeof *f);
    f->tlspol = t;
    list_init(&f->waiting);
    list_init(&f->running);
    if (curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK)
        f->multi = curl_multi_init();
    *out = f;
    if (f->multi)
        return RC_OK;
    snprintf(why, 256, "libcurl cannot start");
    fetcher_free(out);
    return RC_TEMP;
}

static void fetch_free(struct fetcher *f, struct fetch *fetch)
{
    if (fetch->easy) {
        curl_multi_remove_handle(f->multi, fetch->easy);
        curl_easy_cleanup(fetch->easy);
    }
    curl_slist_free_all(fetch->addresses);
    buf_fini(&fetch->body);
    list_remove(&fetch->link);
    f->n_running--;
    free(fetch);
}

void fetcher_free(struct fetcher **f)
{
    if (!*f)
        return;
    while (!list_is_empty(&(*f)->running)) {
        struct fetch *fetch = CONTAINER(list_first(&(*f)->running), struct fetch, link);
        check_drop(fetch->check);
        fetch_free(*f, fetch);
    }
    while (!list_is_empty(&(*f)->waiting))
        check_drop(CONTAINER(list_first(&(*f)->waiting), struct check, link));
    curl_multi_cleanup((*f)->multi);
    free(*f);
    *f = NULL;
}

static size_t on_body(char *p, size_t size, size_t n, void *arg)
{
    struct fetch *fetch = arg;
    return buf_add(&fetch->body, str_from(p, size * n)) == RC_OK ? size * n : 0;
}

/* Fields are looked at by libcurl alone, which may keep them: no more than of a policy. */
static size_t on_header(char *p, size_t size, size_t n, void *arg)
{
    struct fetch *fetch = arg;
    fetch->header_n += size * n;
    return fetch->header_n <= TLSPOL_TEXT_MAX ? size * n : 0;
}

/* "mta-sts.example.org:443:192.0.2.1,[2001:db8::1]" */
static struct curl_slist *addresses_of(const struct check *c, const char *host, unsigned port)
{
    struct buf text;
    size_t n = 0;
    buf_init(&text, 2048);
    buf_putf(&text, "%s:%u:", host, port);
    for (int k = 0; k < 2; k++) {
        const struct dns_query *q = &c->address[k].q;
        for (size_t i = 0; i < q->n_records && i < ADDRESSES_MAX; i++, n++) {
            char ip[NET_IP_TEXT];
            net_ip_text(&q->records[i].address, ip);
            buf_putf(&text, n ? ",%s" : "%s", ip);
        }
    }
    buf_put(&text, str_from("", 1));
    struct curl_slist *list = n ? curl_slist_append(NULL, buf_str(&text).p) : NULL;
    buf_fini(&text);
    return list;
}

static CURLcode set_up(const struct tlspol *t, struct fetch *fetch, const char *url)
{
    CURL *e = fetch->easy;
    struct curl_blob ca = {.data = (void *)(uintptr_t)t->conf.ca_pem.p,
                           .len = t->conf.ca_pem.n,
                           .flags = CURL_BLOB_COPY};
    CURLcode rc = curl_easy_setopt(e, CURLOPT_URL, url);
    const struct {
        CURLoption option;
        long value;
    } numbers[] = {{CURLOPT_NOSIGNAL, 1},
                   {CURLOPT_FOLLOWLOCATION, 0}, /* [RFC8461 3.3] */
                   {CURLOPT_SSL_VERIFYPEER, 1},
                   {CURLOPT_SSL_VERIFYHOST, 2},
                   {CURLOPT_SSLVERSION, CURL_SSLVERSION_TLSv1_2},
                   {CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1},
                   {CURLOPT_TIMEOUT_MS, (long)t->conf.fetch_ms},
                   {CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS},
                   {CURLOPT_MAXFILESIZE, TLSPOL_TEXT_MAX},
                   {CURLOPT_FRESH_CONNECT, 1},
                   {CURLOPT_FORBID_REUSE, 1},
                   {CURLOPT_BUFFERSIZE, 16384}};
    for (size_t i = 0; rc == CURLE_OK && i < sizeof numbers / sizeof *numbers; i++)
        rc = curl_easy_setopt(e, numbers[i].option, numbers[i].value);
    const struct {
        CURLoption option;
        const void *value;
    } pointers[] = {{CURLOPT_PROTOCOLS_STR, "https"},
                    {CURLOPT_PROXY, ""},
                    {CURLOPT_USERAGENT, "Penfold"},
                    {CURLOPT_CAINFO, NULL},
                    {CURLOPT_CAPATH, NULL},
                    {CURLOPT_CAINFO_BLOB, &ca},
                    {CURLOPT_RESOLVE, fetch->addresses},
                    {CURLOPT_ERRORBUFFER, fetch->error},
                    {CURLOPT_WRITEDATA, fetch},
                    {CURLOPT_HEADERDATA, fetch},
                    {CURLOPT_PRIVATE, fetch}};
    for (size_t i = 0; rc == CURLE_OK && i < sizeof pointers / sizeof *pointers; i++)
        rc = curl_easy_setopt(e, pointers[i].option, pointers[i].value);
    if (rc == CURLE_OK)
        rc = curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
    return rc == CURLE_OK ? curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body) : rc;
}

static void fail(struct fetcher *f, struct fetch *fetch, enum tlspol_result result, const char *why)
{
    struct check *c = fetch->check;
    char words[CURL_ERROR_SIZE];
    snprintf(words, sizeof words, "%s", why);
    fetch_free(f, fetch);
    check_fetched(c, result, (struct str){0}, words);
}

static void start(struct fetcher *f, struct check *c)
{
    const struct tlspol *t = f->tlspol;
    unsigned port = t->conf.https_port ? t->conf.https_port : HTTPS;
    char host[DNS_NAME_MAX + 16], url[URL_MAX + 16], suffix[8] = "";
    struct fetch *fetch = mem_zero(sizeof *fetch);
    fetch->check = c;
    buf_init(&fetch->body, TLSPOL_TEXT_MAX);
    list_add_tail(&f->running, &fetch->link);
    f->n_running++;
    snprintf(host, sizeof host, "mta-sts.%s", c->entry->name);
    if (port != HTTPS)
        snprintf(suffix, sizeof suffix, ":%u", port);
    snprintf(url, sizeof url, "https://%s%s/.well-known/mta-sts.txt", host, suffix);
    fetch->addresses = addresses_of(c, host, port);
    if (!fetch->addresses) {
        fail(f, fetch, TLSPOL_STS_POLICY_FETCH_ERROR, "the policy host has no address");
        return;
    }
    fetch->easy = t->conf.ca_pem.n ? curl_easy_init() : NULL;
    if (!fetch->easy || set_up(t, fetch, url) != CURLE_OK ||
        curl_multi_add_handle(f->multi, fetch->easy) != CURLM_OK)
        fail(f, fetch, TLSPOL_STS_POLICY_FETCH_ERROR, "HTTPS is not possible here");
}

void fetcher_add(struct fetcher *f, struct check *c)
{
    list_add_tail(&f->waiting, &c->link);
}

/* "text/plain", whatever its parameters [RFC8461 3.2]. */
static bool is_plain_text(CURL *easy)
{
    char *type = NULL;
    if (curl_easy_getinfo(easy, CURLINFO_CONTENT_TYPE, &type) != CURLE_OK || !type)
        return false;
    struct str rest = str_of(type), media;
    return str_cut(&rest, ';', &media) && str_ieq(str_trim(media), STR("text/plain"));
}

static void finish(struct fetcher *f, struct fetch *fetch, CURLcode code)
{
    long status = 0;
    char why[64];
    bool is_cert = code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE ||
                   code == CURLE_SSL_ISSUER_ERROR;
    if (code != CURLE_OK) {
        fail(f, fetch, is_cert ? TLSPOL_STS_WEBPKI_INVALID : TLSPOL_STS_POLICY_FETCH_ERROR,
             fetch->error[0] ? fetch->error : curl_easy_strerror(code));
        return;
    }
    curl_easy_getinfo(fetch->easy, CURLINFO_RESPONSE_CODE, &status);
    if (status != 200) { /* nor redirects [RFC8461 3.3] */
        snprintf(why, sizeof why, "the policy host answers %ld", status);
        fail(f, fetch, TLSPOL_STS_POLICY_FETCH_ERROR, why);
    } else if (!is_plain_text(fetch->easy)) {
        fail(f, fetch, TLSPOL_STS_POLICY_INVALID, "the policy is not text/plain");
    } else {
        struct check *c = fetch->check;
        struct buf body = fetch->body;
        fetch->body = (struct buf){0};
        fetch_free(f, fetch);
        check_fetched(c, TLSPOL_SUCCESS, buf_str(&body), "");
        buf_fini(&body);
    }
}

void fetcher_run(struct fetcher *f, int ms)
{
    int n;
    CURLMsg *m;
    unsigned most = f->tlspol->conf.fetches;
    while (f->n_running < most && !list_is_empty(&f->waiting)) {
        struct check *c = CONTAINER(list_first(&f->waiting), struct check, link);
        list_remove(&c->link);
        start(f, c);
    }
    curl_multi_perform(f->multi, &n);
    while ((m = curl_multi_info_read(f->multi, &n))) {
        struct fetch *fetch = NULL;
        CURLcode code = m->data.result;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&fetch);
        if (m->msg == CURLMSG_DONE && fetch) {
            finish(f, fetch, code);
            ms = 0; /* one that waits may begin */
        }
    }
    curl_multi_poll(f->multi, NULL, 0, ms, NULL);
}

void fetcher_wake(struct fetcher *f)
{
    curl_multi_wakeup(f->multi);
}
