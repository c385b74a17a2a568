/* Tokens for auth, which does not know where they are from: its questions, asked of token.h; and
 * what of the configuration that goes by. */
#include "daemon/bearer.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

struct question {
    struct token_query q;
    struct auth_bearer_query *asked;
};

static void on_answer(struct token_query *q)
{
    struct question *question = CONTAINER(q, struct question, q);
    struct auth_bearer_query *asked = question->asked;
    asked->rc = q->rc;
    asked->cause = q->cause;
    asked->expires = q->expires * NS_PER_SEC;
    asked->address_n = q->address_n;
    memcpy(asked->address, q->address, q->address_n);
    free(question);
    asked->done(asked);
}

static enum rc check(struct auth_bearer *b, struct auth_bearer_query *asked)
{
    struct token *token = CONTAINER(b, struct bearer, auth)->token;
    struct question *question = mem_zero(sizeof *question);
    question->asked = asked;
    question->q = (struct token_query){.done = on_answer, .text = asked->token};
    enum rc rc = token_check(token, &question->q);
    if (rc != RC_OK)
        free(question);
    return rc;
}

static bool is_on(struct auth_bearer *b)
{
    return token_is_on(CONTAINER(b, struct bearer, auth)->token);
}

static bool ends_sessions(struct auth_bearer *b)
{
    return atomic_load(&CONTAINER(b, struct bearer, auth)->ends_sessions);
}

static void discovery(struct auth_bearer *b, struct buf *out)
{
    token_discovery(CONTAINER(b, struct bearer, auth)->token, out);
}

/* The lists are in `audiences`, of CONF_LIST_MAX. */
static struct token_conf conf_of(const struct conf *c, const struct login_files *files,
                                 struct str *audiences)
{
    struct token_conf conf = {.issuer = str_of(c->oauth.issuer),
                              .keys_url = str_of(c->oauth.keys_url),
                              .keys = files->keys,
                              .audiences = audiences,
                              .n_audiences = c->oauth.audience.n,
                              .claim = str_of(c->oauth.address_claim),
                              .leeway_s = (uint32_t)c->oauth.leeway,
                              .fetch_ms = c->oauth.fetch_time * 1000,
                              .ca_pem = files->authorities};
    for (size_t i = 0; i < c->oauth.audience.n; i++)
        audiences[i] = str_of(c->oauth.audience.item[i]);
    for (size_t i = 0; i < c->oauth.algorithms.n; i++) {
        enum token_algorithm algorithm;
        if (token_algorithm_find(str_of(c->oauth.algorithms.item[i]), &algorithm))
            conf.algorithms |= 1U << algorithm;
    }
    return conf;
}

_Static_assert((int)TOKEN_AUDIENCES_MAX >= (int)CONF_LIST_MAX, "all audiences count");
_Static_assert((int)TOKEN_MAX >= (int)AUTH_TOKEN_MAX, "all tokens can be looked at");

static void note(struct bearer *b, const struct conf *c)
{
    atomic_store(&b->ends_sessions, strcmp(c->oauth.logout, "expiry") == 0);
}

enum rc bearer_open(struct bearer *b, const struct ctx *ctx, const struct conf *c,
                    const struct login_files *files, char why[256])
{
    struct str audiences[CONF_LIST_MAX];
    const struct token_conf conf = conf_of(c, files, audiences);
    b->auth = (struct auth_bearer){is_on, ends_sessions, check, discovery};
    note(b, c);
    return token_new(ctx, &conf, &b->token, why);
}

enum rc bearer_check(const struct ctx *ctx, const struct conf *c, const struct login_files *files,
                     char why[256])
{
    struct str audiences[CONF_LIST_MAX];
    const struct token_conf conf = conf_of(c, files, audiences);
    struct token *trial;
    enum rc rc = token_new(ctx, &conf, &trial, why);
    token_free(&trial);
    return rc;
}

void bearer_reload(struct bearer *b, const struct ctx *ctx, const struct conf *c,
                   const struct login_files *files)
{
    struct str audiences[CONF_LIST_MAX];
    char why[256] = "";
    const struct token_conf conf = conf_of(c, files, audiences);
    if (token_reload(b->token, &conf, why) == RC_OK)
        note(b, c);
    else
        log_event(ctx->log, LOG_ERROR, "issuer-not-reloaded", "cause", why, NULL);
}
