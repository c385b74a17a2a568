/* What imapload prints: one line of name=value, then one for each command. */
#include "imapload.h"
#include <inttypes.h>
#include <stdio.h>

static void print_hist(const char *name, const struct hist *h, double seconds)
{
    printf("  %-14s n=%-8" PRIu64 " ops/s=%-9.1f p50_us=%-9.0f p99_us=%-9.0f max_us=%.0f\n", name,
           h->n, (double)h->n / seconds, hist_pct_us(h, 50), hist_pct_us(h, 99),
           (double)h->max / 1e3);
}

void load_report(struct load *l)
{
    double seconds = (double)((is_idle(l) ? now_ns() : l->last_at) - l->started_at) / 1e9;
    double cpu = (double)(cpu_ns(&l->cpu) - l->cpu_at) / 1e3;
    double own = (double)(self_cpu_ns() - l->own_cpu_at) / 1e3;
    double n = l->ops_done ? (double)l->ops_done : 1;
    if (seconds <= 0)
        seconds = 1e-9;
    if (l->only == OP_APPEND)
        n *= l->multi;
    printf("imapload mode=%s conns=%d users=%d ops=%" PRIu64 " secs=%.3f ops/s=%.1f errors=%" PRIu64
           " races=%" PRIu64 " "
           "nochange=%" PRIu64 " srv_cpu_us/op=%.1f cli_cpu_us/op=%.1f",
           l->mode, l->n_sessions, l->n_users, l->ops_done, seconds, n / seconds, l->errors,
           l->races, l->no_change, cpu / n, own / n);
    if (l->body_bytes)
        printf(" body_MB/s=%.1f body_MB=%.1f", (double)l->body_bytes / 1e6 / seconds,
               (double)l->body_bytes / 1e6);
    if (l->is_compressed)
        printf(" wire_MB=%.1f", (double)(l->target.received - l->received_at) / 1e6);
    if (l->rows)
        printf(" rows/s=%.0f srv_cpu_us/row=%.2f", (double)l->rows / seconds,
               cpu / (double)l->rows);
    if (l->found)
        printf(" hits=%" PRIu64 "", l->found);
    if (is_idle(l))
        printf(" held_max=%d", l->most_held);
    if (l->then)
        printf(" told=%d told_p50_ms=%.0f told_last_ms=%.0f", l->told,
               hist_pct_us(&l->told_hist, 50) / 1e3, (double)l->told_hist.max / 1e6);
    printf("\n");
    for (int i = 0; i < OP_COUNT; i++)
        if (l->hist[i].n)
            print_hist(verbs[i].name, &l->hist[i], seconds);
}
