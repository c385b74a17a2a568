/* /metrics: the counters, distributions and gauges of this process as Prometheus reads them, text
 * format 0.0.4. Names are penfold_<noun>_<unit>; labels have values from tables alone. */
#include "web/web_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void put_head(struct buf *out, const char *name, const char *help, const char *type)
{
    buf_putf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void put_gauge(struct buf *out, const char *name, const char *help, uint64_t value)
{
    put_head(out, name, help, "gauge");
    buf_putf(out, "%s %llu\n", name, (unsigned long long)value);
}

static void put_counters(struct buf *out, struct counters *counters)
{
    for (int i = 0; i < COUNTER_COUNT; i++) {
        const struct counter_info *info = counter_info((enum counter)i);
        put_head(out, info->name, info->help, info->is_gauge ? "gauge" : "counter");
        buf_putf(out, "%s %llu\n", info->name,
                 (unsigned long long)counter_get(counters, (enum counter)i));
    }
}

/* Buckets are told as sums, as the format wants them. The count is that of the buckets, so that a
 * value that is being added meanwhile does not make the two differ. */
static void put_histogram(struct buf *out, struct counters *counters, enum histogram which)
{
    const struct histogram_info *info = histogram_info(which);
    uint64_t count = 0, sum = atomic_load(&counters->histogram[which].sum);
    put_head(out, info->name, info->help, "histogram");
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        count += atomic_load(&counters->histogram[which].bucket[i]);
        buf_putf(out, "%s_bucket{le=\"", info->name);
        if (i < HISTOGRAM_BUCKETS - 1)
            buf_putf(out, "%g", (double)(info->first << i) / (double)info->scale);
        else
            buf_put(out, STR("+Inf"));
        buf_putf(out, "\"} %llu\n", (unsigned long long)count);
    }
    buf_putf(out, "%s_sum %.9g\n%s_count %llu\n", info->name, (double)sum / (double)info->scale,
             info->name, (unsigned long long)count);
}

static void put_index(struct buf *out, struct index *index)
{
    struct index_figures f = {0};
    if (index)
        index_figures(index, &f);
    put_head(out, "penfold_index_messages_total", "messages put into search indexes", "counter");
    buf_putf(out, "penfold_index_messages_total %llu\n", (unsigned long long)f.messages);
    put_head(out, "penfold_index_bytes_total", "bytes written to search indexes", "counter");
    buf_putf(out, "penfold_index_bytes_total %llu\n", (unsigned long long)f.bytes);
    put_gauge(out, "penfold_index_waiting_messages",
              "messages that wait to be put into the search indexes of accounts in memory",
              f.waiting);
}

static void put_services(struct buf *out, struct net *net)
{
    static const char name[] = "penfold_service_connections";
    struct net_service services[NET_SERVICES];
    size_t n = net_services(net, services);
    put_head(out, name, "connections open now, by service", "gauge");
    for (size_t i = 0; i < n; i++)
        buf_putf(out, "%s{service=\"%s\"} %u\n", name, services[i].name, services[i].open);
}

enum { DESTINATIONS_SHOWN = 20 };

/* A domain as a label's value: names from DNS hold nothing that would need an escape, and what does
 * is not shown. */
static void put_destination(struct buf *out, const char *metric, const struct relay_destination *d,
                            uint64_t value)
{
    char tls[32] = "";
    if (d->tls[0])
        snprintf(tls, sizeof tls, ",tls=\"%s\"", d->tls);
    if (!d->name[strcspn(d->name, "\"\\\n")])
        buf_putf(out, "%s{destination=\"%s\"%s} %llu\n", metric, d->name, tls,
                 (unsigned long long)value);
}

/* Only of those that matter most, so that a sender cannot make names without end. */
static void put_destinations(struct buf *out, struct relay *relay)
{
    static const struct {
        const char *name, *help, *type;
        size_t offset;
    } rows[] = {
        {"penfold_relay_destination_sent_total", "recipients taken by the hosts of a domain",
         "counter", offsetof(struct relay_destination, sent)},
        {"penfold_relay_destination_deferred_total", "and put off", "counter",
         offsetof(struct relay_destination, deferred)},
        {"penfold_relay_destination_bounced_total", "and given up", "counter",
         offsetof(struct relay_destination, bounced)},
    };
    struct relay_destination all[DESTINATIONS_SHOWN];
    size_t n = relay_destinations(relay, all, DESTINATIONS_SHOWN);
    put_head(out, "penfold_relay_destination_waiting_recipients", "recipients that are due",
             "gauge");
    for (size_t i = 0; i < n; i++)
        put_destination(out, "penfold_relay_destination_waiting_recipients", &all[i],
                        all[i].waiting);
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        put_head(out, rows[r].name, rows[r].help, rows[r].type);
        for (size_t i = 0; i < n; i++) {
            uint64_t value;
            memcpy(&value, (const char *)&all[i] + rows[r].offset, sizeof value);
            put_destination(out, rows[r].name, &all[i], value);
        }
    }
}

static void put_relay(struct buf *out, struct relay *relay)
{
    struct relay_figures f;
    relay_figures(relay, &f);
    put_gauge(out, "penfold_relay_waiting_recipients",
              "recipients elsewhere that are due and in memory", f.waiting);
    put_gauge(out, "penfold_relay_connections", "connections to other hosts", f.connected);
    put_gauge(out, "penfold_relay_new_connections", "and those that are being made", f.connecting);
    put_gauge(out, "penfold_relay_destinations", "domains that are known", f.destinations);
    put_gauge(out, "penfold_relay_questions", "domains that DNS is being asked about", f.questions);
    put_destinations(out, relay);
}

/* The second number of statm: pages in memory. */
static uint64_t memory_of(int statm_fd)
{
    char text[128];
    ssize_t n = statm_fd >= 0 ? pread(statm_fd, text, sizeof text - 1, 0) : -1;
    if (n <= 0)
        return 0;
    text[n] = '\0';
    const char *second = strchr(text, ' ');
    return second ? strtoull(second + 1, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

static void put_gauges(struct buf *out, const struct web_conf *conf)
{
    struct kv_space space;
    uint64_t memory = memory_of(conf->statm_fd);
    kv_space(conf->admin->kv, &space);
    if (space.free != UINT64_MAX)
        put_gauge(out, "penfold_store_free_bytes", "room on the store's disk", space.free);
    put_gauge(out, "penfold_store_reserve_bytes", "room below which new mail is refused",
              space.reserve);
    if (memory)
        put_gauge(out, "penfold_memory_bytes", "memory of the server process", memory);
    put_gauge(out, "penfold_start_time_seconds", "when the server started, since 1970",
              conf->started / NS_PER_SEC);
    put_head(out, "penfold_build_info", "the version that runs", "gauge");
    buf_putf(out, "penfold_build_info{version=\"%s\"} 1\n", PENFOLD_VERSION);
}

void web_metrics(void *app, const struct http_request *request, struct http_response *response)
{
    const struct web *web = app;
    struct counters *counters = web->conf.admin->ctx.counters;
    response->type = "text/plain; version=0.0.4; charset=utf-8";
    put_counters(&response->body, counters);
    for (int i = 0; i < HISTOGRAM_COUNT; i++)
        put_histogram(&response->body, counters, (enum histogram)i);
    put_services(&response->body, web->conf.net);
    put_index(&response->body, web->conf.admin->index);
    put_gauges(&response->body, &web->conf);
    struct relay *relay = web->conf.relay ? atomic_load(web->conf.relay) : NULL;
    if (relay)
        put_relay(&response->body, relay);
}
