/* One look at a domain: its TXT record; when that names a policy we do not have, or ours is a day
 * old, the addresses of the policy host, and the policy [RFC8461 5.1].
 *
 * Whatever goes wrong on the way leaves what is known as it is [RFC8461 3.3]. */
#include "tlspol/tlspol_int.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check_free(struct check *c)
{
    c->entry->check = NULL;
    c->tlspol->n_checks--;
    dns_query_fini(&c->txt.q);
    dns_query_fini(&c->address[0].q);
    dns_query_fini(&c->address[1].q);
    free(c);
}

void check_drop(struct check *c)
{
    check_free(c);
}

static void over(struct check *c)
{
    struct tlspol *t = c->tlspol;
    struct entry *e = c->entry;
    check_free(c);
    entry_checked(t, e);
}

/* On dns's thread. */
static void on_answer(struct dns_query *q)
{
    struct lookup *l = CONTAINER(q, struct lookup, q);
    tlspol_post(l->check->tlspol, &l->job);
}

static void ask(struct check *c, struct lookup *l, const char *prefix, enum dns_type type,
                void (*run)(struct tlspol *t, struct job *job))
{
    int n = snprintf(l->name, sizeof l->name, "%s%s", prefix, c->entry->name);
    l->check = c;
    l->job.run = run;
    l->q = (struct dns_query){.done = on_answer, .type = type};
    l->q.name = str_from(l->name, (size_t)n);
    c->pending++;
    if ((size_t)n < sizeof l->name && dns_ask(c->tlspol->dns, &l->q) == RC_OK)
        return;
    l->q.result = DNS_TEMP;
    tlspol_post(c->tlspol, &l->job);
}

static void on_address(struct tlspol *t, struct job *job)
{
    struct check *c = CONTAINER(job, struct lookup, job)->check;
    if (--c->pending == 0)
        fetcher_add(t->fetcher, c);
}

/* The id of the one record that there must be [RFC8461 3.1]. */
static bool find_id(const struct dns_query *q, char out[TLSPOL_ID_MAX + 1])
{
    struct str id = {0}, found = {0};
    size_t n = 0;
    for (size_t i = 0; i < q->n_records; i++) {
        enum rc rc = tlspol_txt_parse(q->records[i].data, &id);
        if (rc == RC_NOTFOUND)
            continue;
        n++;
        found = rc == RC_OK ? id : (struct str){0};
    }
    if (n != 1 || str_is_null(found))
        return false;
    memcpy(out, found.p, found.n);
    out[found.n] = '\0';
    return true;
}

static bool wants_fetch(const struct tlspol *t, const struct entry *e, const char *id)
{
    uint64_t now = tlspol_now(t);
    if (strcmp(id, e->failed_id) == 0 && now < e->no_fetch_before)
        return false;
    return !e->text || strcmp(id, e->id) != 0 || now >= e->fetched + RENEW_S;
}

static void on_txt(struct tlspol *t, struct job *job)
{
    struct check *c = CONTAINER(job, struct lookup, job)->check;
    bool is_announced = c->txt.q.result == DNS_OK && find_id(&c->txt.q, c->id);
    c->pending--;
    if (c->txt.q.result >= DNS_TEMP)
        entry_gap(c->entry, TLSPOL_CANNOT_ASK, c->txt.q.why);
    else if (!is_announced || c->entry->gap == TLSPOL_CANNOT_ASK)
        entry_gap(c->entry, TLSPOL_NO_GAP, "");
    if (!is_announced || !wants_fetch(t, c->entry, c->id)) {
        over(c);
        return;
    }
    ask(c, &c->address[0], "mta-sts.", DNS_AAAA, on_address);
    ask(c, &c->address[1], "mta-sts.", DNS_A, on_address);
}

void check_start(struct tlspol *t, struct entry *e)
{
    struct check *c = mem_zero(sizeof *c);
    c->tlspol = t;
    c->entry = e;
    e->check = c;
    t->n_checks++;
    ask(c, &c->txt, "_mta-sts.", DNS_TXT, on_txt);
}

static void failed(struct check *c, enum tlspol_result result, const char *why)
{
    struct tlspol *t = c->tlspol;
    struct entry *e = c->entry;
    memcpy(e->failed_id, c->id, sizeof e->failed_id);
    e->no_fetch_before = tlspol_now(t) + FETCH_AGAIN_S;
    entry_gap(e, TLSPOL_CANNOT_FETCH, why);
    struct tlspol_event event = {
        .domain = str_from(e->name, e->name_n), .kind = TLSPOL_BY_STS, .result = result};
    tlspol_count(t, &event);
    log_event(t->ctx->log, e->text ? LOG_WARNING : LOG_INFO, "mta-sts-failed", "domain", e->name,
              "result", tlspol_result_name(result), "cause", why, NULL);
}

static uint64_t age_of(const struct tlspol *t, const struct tlspol_policy *policy)
{
    uint64_t most = t->conf.age_max_s;
    return most && policy->max_age > most ? most : policy->max_age;
}

void check_fetched(struct check *c, enum tlspol_result result, struct str text, const char *why)
{
    struct tlspol *t = c->tlspol;
    struct tlspol_policy policy;
    struct arena arena;
    arena_init(&arena, 0);
    if (result == TLSPOL_SUCCESS && tlspol_parse(text, &arena, &policy) != RC_OK) {
        result = TLSPOL_STS_POLICY_INVALID;
        why = "the policy is malformed";
    }
    if (result == TLSPOL_SUCCESS) {
        uint64_t now = tlspol_now(t);
        struct kept k = {.domain = str_from(c->entry->name, c->entry->name_n),
                         .id = str_of(c->id),
                         .text = text,
                         .fetched = now,
                         .expires = now + age_of(t, &policy)};
        entry_policy(t, c->entry, text, c->id, k.fetched, k.expires);
        entry_gap(c->entry, TLSPOL_NO_GAP, "");
        enum rc rc = keep_write(t->kv, &k);
        if (rc != RC_OK)
            log_event(t->ctx->log, LOG_ERROR, "mta-sts-not-kept", "domain", c->entry->name, "cause",
                      rc_name(rc), NULL);
    } else {
        failed(c, result, why);
    }
    arena_fini(&arena);
    over(c);
}
