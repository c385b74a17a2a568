/* What the relay shows of itself: sums, and the destinations that matter most. */
#include "relay/shell_int.h"

#include <stdio.h>
#include <string.h>

void relay_figures(struct relay *relay, struct relay_figures *out)
{
    const struct schedule *s = &relay->schedule;
    *out = (struct relay_figures){0};
    relay_lock(relay);
    out->waiting = s->entries.count;
    out->under_way = s->n_under_way;
    out->destinations = s->destinations.count;
    out->connecting = s->n_new + s->n_slow;
    out->connected = s->n_open;
    out->questions = s->n_questions;
    relay_unlock(relay);
}

static uint64_t weight(const struct destination *d, bool *out_waits)
{
    *out_waits = d->n_entries + d->n_under_way > 0;
    return *out_waits ? d->n_entries + d->n_under_way : d->sent + d->deferred + d->bounced;
}

static bool is_heavier(const struct destination *a, const struct destination *b)
{
    bool a_waits, b_waits;
    uint64_t x = weight(a, &a_waits), y = weight(b, &b_waits);
    return a_waits != b_waits ? a_waits : x > y;
}

enum { FIGURES_MAX = 64 };

static const char *const tls_names[] = {[QUEUE_TLS_AS_USUAL] = "",
                                        [QUEUE_TLS_REQUIRED] = "required",
                                        [QUEUE_TLS_WANTED] = "wanted",
                                        [QUEUE_TLS_IF_POSSIBLE] = "optional"};

size_t relay_destinations(struct relay *relay, struct relay_destination *out, size_t n)
{
    const struct destination *best[FIGURES_MAX];
    size_t count = 0, slot = 0;
    n = n < FIGURES_MAX ? n : FIGURES_MAX;
    relay_lock(relay);
    uint64_t now = clock_wall(relay->ctx.clock);
    const struct map *all = &relay->schedule.destinations;
    for (struct map_node *node = NULL; (node = map_each(all, &slot, node)) != NULL;) {
        const struct destination *d = CONTAINER(node, struct destination, node);
        if (count == n && !is_heavier(d, best[n - 1]))
            continue;
        size_t at = count < n ? count++ : n - 1;
        for (; at > 0 && is_heavier(d, best[at - 1]); at--)
            best[at] = best[at - 1];
        best[at] = d;
    }
    for (size_t i = 0; i < count; i++) {
        const struct destination *d = best[i];
        snprintf(out[i].name, sizeof out[i].name, "%.*s", STR_ARG(d->name));
        out[i].tls = tls_names[d->tls];
        out[i].waiting = d->n_entries + d->n_under_way;
        out[i].sent = d->sent;
        out[i].deferred = d->deferred;
        out[i].bounced = d->bounced;
        out[i].is_left_alone = d->until > now;
    }
    relay_unlock(relay);
    return count;
}
