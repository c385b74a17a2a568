/* What is forwarded: an alias here leads to an address elsewhere. The message goes on with a sender
 * in a domain of ours, so that the next host finds us entitled to send it, and a bounce comes here,
 * is checked, and goes to the first sender. Mail of our own domains keeps its sender. */
#include "deliver/deliver_int.h"

#include "deliver/srs.h"
#include "smtp/smtp.h"

static const uint64_t DAY_NS = 86400 * NS_PER_SEC;

enum rc forward_destination(struct str address, struct arena *arena, struct str *out)
{
    struct str domain = str_domain(address);
    struct buf ascii;
    buf_init(&ascii, 2 * SMTP_DOMAIN_MAX);
    enum rc rc = domain.n == 0                  ? RC_SYNTAX
                 : str_starts(domain, STR("[")) ? buf_add(&ascii, domain)
                                                : smtp_domain_ascii(domain, &ascii);
    char *p = rc == RC_OK ? arena_alloc(arena, buf_len(&ascii) + 1) : NULL;
    if (rc == RC_OK && !p)
        rc = RC_LIMIT;
    if (rc == RC_OK) {
        *out = str_from(p, buf_len(&ascii));
        for (size_t i = 0; i < out->n; i++)
            p[i] = ascii_lower(buf_str(&ascii).p[i]);
    }
    buf_fini(&ascii);
    return rc;
}

enum rc forward_is_ours(const struct deliver_conf *conf, struct str domain, unsigned flags)
{
    struct arena arena = {0};
    struct auth_targets targets;
    struct buf b;
    if (!conf->auth)
        return RC_DENIED;
    buf_init(&b, 2 * SMTP_DOMAIN_MAX);
    buf_put(&b, STR("postmaster@"));
    buf_put(&b, domain);
    enum rc rc =
        b.over ? RC_DENIED : auth_resolve(conf->auth, buf_str(&b), flags, &arena, &targets);
    buf_fini(&b);
    arena_fini(&arena);
    if (rc == RC_AGAIN || rc == RC_TEMP)
        return rc;
    return rc == RC_DENIED || rc == RC_SYNTAX ? RC_DENIED : RC_OK;
}

static enum rc rewrite(const struct ctx *ctx, const struct deliver_conf *conf,
                       const struct deliver_message *m, unsigned flags, struct buf *out)
{
    unsigned char secret[AUTH_SECRET];
    TRY(auth_secret(conf->auth, flags, secret));
    return srs_forward(secret, clock_wall(ctx->clock) / DAY_NS, m->sender, m->forward_domain, out);
}

enum rc forward_sender(const struct ctx *ctx, const struct deliver_conf *conf,
                       const struct deliver_message *m, unsigned flags, struct arena *arena,
                       struct str *out)
{
    struct str domain;
    struct buf b;
    *out = m->sender;
    if (m->sender.n == 0 || forward_destination(m->sender, arena, &domain) != RC_OK)
        return RC_OK;
    enum rc rc = forward_is_ours(conf, domain, flags);
    if (rc != RC_DENIED || !conf->auth)
        return rc == RC_DENIED ? RC_OK : rc;
    buf_init(&b, 2 * SRS_LOCAL_MAX);
    rc = rewrite(ctx, conf, m, flags, &b);
    if (rc == RC_OK)
        *out = arena_dup(arena, buf_str(&b));
    buf_fini(&b);
    /* One that fits into no other goes on as it is. */
    return rc == RC_SYNTAX || rc == RC_LIMIT ? RC_OK : rc;
}

/* RC_NOTFOUND: no such address. */
static enum rc reverse(const struct ctx *ctx, const struct deliver_conf *conf, struct str address,
                       unsigned flags, struct buf *out)
{
    unsigned char secret[AUTH_SECRET];
    ptrdiff_t at = str_rfind_byte(address, '@');
    struct str local = str_head(address, at < 0 ? 0 : (size_t)at);
    if (!conf->auth || !srs_is(local))
        return RC_NOTFOUND;
    enum rc rc = forward_is_ours(conf, str_domain(address), flags);
    if (rc != RC_OK)
        return rc == RC_DENIED ? RC_NOTFOUND : rc;
    TRY(auth_secret(conf->auth, flags, secret));
    return srs_reverse(secret, clock_wall(ctx->clock) / DAY_NS, local, out);
}

enum rc deliver_bounce(struct deliver *deliver, struct str address, unsigned flags,
                       struct arena *arena, struct deliver_bounce *out)
{
    struct buf b;
    buf_init(&b, 2 * SRS_LOCAL_MAX);
    enum rc rc = reverse(&deliver->ctx, &deliver->conf, address, flags, &b);
    if (rc == RC_OK) {
        out->address = arena_dup(arena, buf_str(&b));
        rc = forward_destination(out->address, arena, &out->domain);
    }
    buf_fini(&b);
    return rc == RC_SYNTAX ? RC_DENIED : rc;
}

enum rc forward_reader(const struct ctx *ctx, const struct deliver_conf *conf, struct str sender,
                       struct arena *arena, struct str *out)
{
    struct buf b;
    buf_init(&b, 2 * SRS_LOCAL_MAX);
    enum rc rc = reverse(ctx, conf, sender, 0, &b);
    *out = rc == RC_OK ? arena_dup(arena, buf_str(&b)) : sender;
    buf_fini(&b);
    return rc == RC_TEMP || rc == RC_FULL ? RC_TEMP : RC_OK;
}
