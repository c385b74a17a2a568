/* What a host offers in its answer to EHLO [RFC5321 4.1.1.1]: a table of keywords, and the few that
 * have arguments. */
#include "smtp/smtp.h"

static void take_size(struct smtp_hello *h, struct str args)
{
    uint64_t size = 0;
    if (str_to_u64(args, &size) != RC_OK)
        size = 0; /* [RFC1870 4]: nothing, or what cannot be read, is no bound */
    h->size = size;
}

static void take_auth(struct smtp_hello *h, struct str args)
{
    struct str word;
    while (args.n > 0) {
        smtp_line_split(args, &word, &args);
        if (str_ieq(word, STR("PLAIN")))
            h->offers |= SMTP_HAS_AUTH_PLAIN;
        else if (str_ieq(word, STR("LOGIN")))
            h->offers |= SMTP_HAS_AUTH_LOGIN;
    }
}

/* [RFC9422 3]: of a name that is said twice the last value counts, one that is no number nothing.
 */
static void take_limits(struct smtp_hello *h, struct str args)
{
    const struct {
        struct str name;
        uint32_t *to;
    } rows[] = {{STR_INIT("MAILMAX"), &h->mailmax},
                {STR_INIT("RCPTMAX"), &h->rcptmax},
                {STR_INIT("RCPTDOMAINMAX"), &h->rcptdomainmax}};
    struct str word, name;
    uint64_t n;
    while (args.n > 0) {
        smtp_line_split(args, &word, &args);
        if (!str_cut(&word, '=', &name) || str_to_u64(word, &n) != RC_OK || n == 0)
            continue;
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
            if (str_ieq(name, rows[i].name))
                *rows[i].to = n < UINT32_MAX ? (uint32_t)n : UINT32_MAX;
    }
}

void smtp_hello_take(struct smtp_hello *h, struct str words)
{
    static const struct {
        struct str keyword;
        unsigned offer;
        void (*take)(struct smtp_hello *h, struct str args);
    } rows[] = {
        {STR_INIT("PIPELINING"), SMTP_HAS_PIPELINING, NULL},      /* [RFC2920 2] */
        {STR_INIT("SIZE"), SMTP_HAS_SIZE, take_size},             /* [RFC1870 3] */
        {STR_INIT("8BITMIME"), SMTP_HAS_8BITMIME, NULL},          /* [RFC6152 2] */
        {STR_INIT("CHUNKING"), SMTP_HAS_CHUNKING, NULL},          /* [RFC3030 2] */
        {STR_INIT("BINARYMIME"), SMTP_HAS_BINARYMIME, NULL},      /* [RFC3030 3] */
        {STR_INIT("SMTPUTF8"), SMTP_HAS_SMTPUTF8, NULL},          /* [RFC6531 3.1] */
        {STR_INIT("DSN"), SMTP_HAS_DSN, NULL},                    /* [RFC3461 4] */
        {STR_INIT("STARTTLS"), SMTP_HAS_STARTTLS, NULL},          /* [RFC3207 4] */
        {STR_INIT("REQUIRETLS"), SMTP_HAS_REQUIRETLS, NULL},      /* [RFC8689 2] */
        {STR_INIT("ENHANCEDSTATUSCODES"), SMTP_HAS_STATUS, NULL}, /* [RFC2034 3] */
        {STR_INIT("AUTH"), 0, take_auth},                         /* [RFC4954 3] */
        {STR_INIT("LIMITS"), 0, take_limits},                     /* [RFC9422 3] */
    };
    struct str keyword, args;
    smtp_line_split(str_trim(words), &keyword, &args);
    if (str_istarts(keyword, STR("AUTH="))) { /* an old form, beside the right one or alone */
        take_auth(h, str_skip(words, 5));
        return;
    }
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (!str_ieq(keyword, rows[i].keyword))
            continue;
        h->offers |= rows[i].offer;
        if (rows[i].take)
            rows[i].take(h, args);
    }
}
