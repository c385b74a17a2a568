/* tracebench: what traces cost, and how long a story takes to find.
 *
 *   tracebench DIR [MESSAGES]
 *
 * DIR is a data folder at rest, made when missing: also that of a server. Each message is accepted
 * from one of 1,000 senders for one of 200,000 addresses, and relayed. Prints the CPU time of the
 * whole process a message, with what the store does behind, and the time of a search by Message-ID,
 * by a recipient and by a sender. */
#include "shared.h"
#include "trace/trace.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

static uint64_t cpu_ns(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return ((uint64_t)u.ru_utime.tv_sec + (uint64_t)u.ru_stime.tv_sec) * NS_PER_SEC +
           ((uint64_t)u.ru_utime.tv_usec + (uint64_t)u.ru_stime.tv_usec) * 1000;
}

static void note(struct trace *trace, uint64_t i)
{
    char id[32], message_id[64], from[64], to[64];
    snprintf(id, sizeof id, "%016" PRIx64, i * UINT64_C(0x9e3779b97f4a7c15));
    snprintf(message_id, sizeof message_id, "%" PRIu64 ".%s@client.example.org", i, id);
    snprintf(from, sizeof from, "sender%" PRIu64 "@example.org", i % 1000);
    snprintf(to, sizeof to, "recipient%" PRIu64 "@destination%" PRIu64 ".example", i % 200000,
             i % 10000);
    const struct str sender = str_of(from), recipient = str_of(to);
    trace_event(trace, &(struct trace_event){
                           .what = TRACE_ACCEPTED,
                           .id = str_of(id),
                           .message_id = str_of(message_id),
                           .sender = &sender,
                           .to = &recipient,
                           .n_to = 1,
                           .peer = STR("client.example.org [192.0.2.17] by submission"),
                           .session = STR("0123456789abcdef"),
                           .login = sender,
                           .tls = STR("TLSv1.3 TLS_AES_256_GCM_SHA384"),
                           .checks = STR("sender=own author=own here=0 elsewhere=1 room=yes"),
                           .size = 4096});
    trace_event(trace, &(struct trace_event){.what = TRACE_RELAYED,
                                             .id = str_of(id),
                                             .to = &recipient,
                                             .n_to = 1,
                                             .host = STR("mx.destination.example[192.0.2.33]"),
                                             .reply = STR("250 2.0.0 Ok: queued as 4F2A81C0A3")});
}

static void search(struct trace *trace, const char *name, const char *what)
{
    const struct trace_query query = {.what = str_of(what), .max_messages = 50};
    struct trace_found found;
    struct arena arena = {0};
    uint64_t worst = 0, n = 0;
    for (int i = 0; i < 5; i++) {
        uint64_t begun = clock_mono(&clock_system);
        if (trace_find(trace, &query, &arena, &found) != RC_OK)
            exit(1);
        uint64_t took = clock_mono(&clock_system) - begun;
        worst = took > worst ? took : worst;
        n = found.n;
        arena_fini(&arena);
    }
    printf("search-%s: worst of 5 %.1f ms, %" PRIu64 " stories\n", name, (double)worst / 1e6, n);
}

int main(int argc, char **argv)
{
    struct counters counters = {0};
    const struct ctx ctx = {NULL, &counters, &clock_system};
    const struct kv_local_conf conf = {.path = argc > 1 ? load_folder(argv[1]) : NULL};
    const struct trace_conf trace_conf = {.disk_bytes = UINT64_C(4) << 30};
    uint64_t n = argc > 2 ? strtoull(argv[2], NULL, 10) : 1000000;
    struct trace *trace;
    struct kv *kv;
    char text[64];
    if (!conf.path || kv_local_open(&ctx, &conf, &kv) != RC_OK ||
        trace_open(&ctx, kv, &trace_conf, &trace) != RC_OK) {
        fprintf(stderr, "usage: tracebench DIR [MESSAGES]\n");
        return 2;
    }
    uint64_t before = cpu_ns(), begun = clock_mono(&clock_system);
    for (uint64_t i = 0; i < n; i++) {
        note(trace, i);
        if (i % 1000 == 999) /* about as fast as they can be received */
            usleep(20000);
    }
    if (trace_flush(trace) != RC_OK)
        return 1;
    uint64_t took = clock_mono(&clock_system) - begun;
    printf("messages: %" PRIu64 " in %.1f s, %.2f CPU-us each, %" PRIu64 " events lost\n", n,
           (double)took / 1e9, (double)(cpu_ns() - before) / 1e3 / (double)n,
           counter_get(&counters, COUNTER_TRACE_LOST));
    snprintf(text, sizeof text, "%" PRIu64 ".%016" PRIx64 "@client.example.org", n / 2,
             n / 2 * UINT64_C(0x9e3779b97f4a7c15));
    search(trace, "message-id", text);
    snprintf(text, sizeof text, "recipient%" PRIu64 "@destination%" PRIu64 ".example",
             n / 2 % 200000, n / 2 % 10000);
    search(trace, "recipient", text);
    search(trace, "sender", "sender17@example.org");
    trace_close(&trace);
    kv_close(&kv);
    return 0;
}
