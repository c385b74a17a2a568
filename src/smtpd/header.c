/* The header of a message on its way in: the trace fields that are put in front [RFC5321 4.4], and
 * the few fields that are looked at. Return-Path comes first, since this is the final delivery;
 * then Received. */
#include "smtpd/smtpd_int.h"

#include "mime/mime.h"

#include <string.h>

static void put_parts(struct buf *out, const char *before, struct str text, const char *after)
{
    buf_put(out, str_of(before));
    buf_put(out, text);
    buf_put(out, str_of(after));
}

/* "[192.0.2.1]", "[IPv6:2001:db8::1]" [RFC5321 4.1.3]; "local" for a Unix socket. */
static void put_peer(struct session *s, struct buf *out)
{
    struct str peer = net_peer_text(s->conn);
    bool is_v6 = str_find_byte(peer, ':') >= 0;
    if (str_eq(peer, STR("local")))
        buf_put(out, peer);
    else
        put_parts(out, is_v6 ? "[IPv6:" : "[", peer, "]");
}

/* Of who has logged in neither name nor address is told to others. */
static void put_from(struct session *s, struct buf *out)
{
    if (s->login) {
        buf_put(out, STR("Received: from client.invalid (authenticated)"));
        return;
    }
    put_parts(out, "Received: from ", str_of(s->helo), " (");
    put_peer(s, out);
    buf_put(out, STR(")"));
}

/* "ESMTPSA (TLSv1.3 ...)" [RFC3848], "UTF8SMTPS" [RFC6531 4.3]; plain SMTP by HELO */
static void put_protocol(struct session *s, struct buf *out)
{
    const struct role *role = s->role;
    const char *name = s->transaction->envelope.is_utf8 ? role->utf8_protocol : role->protocol;
    buf_put(out, s->is_esmtp ? str_of(name) : STR("SMTP"));
    if (s->is_esmtp && net_is_secure(s->conn))
        buf_put(out, STR("S"));
    if (s->login)
        buf_put(out, STR("A"));
    if (net_is_secure(s->conn))
        put_parts(out, " (", net_tls_text(s->conn), ")");
}

void smtpd_header_write(struct session *s, struct buf *out)
{
    struct transaction *t = s->transaction;
    char date[CLOCK_TEXT];
    clock_rfc5322(date, clock_wall(s->smtpd->ctx->clock));
    put_parts(out, "Return-Path: <", t->envelope.sender, ">\r\n");
    put_from(s, out);
    put_parts(out, "\r\n\tby ", s->smtpd->conf.hostname, " with ");
    put_protocol(s, out);
    put_parts(out, "\r\n\tid ", str_of(t->id), "");
    if (t->n_recipients == 1) /* several would tell each of the others [RFC5321 7.2] */
        put_parts(out, " for <", t->recipients[0].address, ">");
    put_parts(out, ";\r\n\t", str_of(date), "\r\n");
}

/* The last STORE_REFERENCES ids that were seen, in their order. */
struct recent_ids {
    struct str ids[STORE_REFERENCES];
    size_t count; /* of all that were seen */
};

enum { ID_MAX = 998, WANTED_IDS = 1000 };

/* Adds the ids of a field; the arena keeps WANTED_IDS of them at most, over all fields. */
static void read_ids(struct str value, struct arena *arena, struct recent_ids *recent)
{
    struct buf id;
    buf_init(&id, ID_MAX);
    while (recent->count < WANTED_IDS && mime_msgid_next(&value, &id)) {
        struct str last =
            recent->count ? recent->ids[(recent->count - 1) % STORE_REFERENCES] : STR("");
        if (!str_eq(last,
                    buf_str(&id))) /* In-Reply-To repeats the last of References [RFC5322 3.6.4] */
            recent->ids[recent->count++ % STORE_REFERENCES] = arena_dup(arena, buf_str(&id));
    }
    buf_fini(&id);
}

static struct str first_id(struct str value, struct arena *arena)
{
    struct str first = {0};
    struct buf id;
    buf_init(&id, ID_MAX);
    if (mime_msgid_next(&value, &id))
        first = arena_dup(arena, buf_str(&id));
    buf_fini(&id);
    return first;
}

static void give_references(const struct recent_ids *recent, struct arena *arena,
                            struct header_facts *out)
{
    size_t n = recent->count < STORE_REFERENCES ? recent->count : STORE_REFERENCES;
    out->references = arena_alloc(arena, (n + 1) * sizeof *out->references);
    out->n_references = n;
    for (size_t i = 0; i < n; i++)
        out->references[i] = recent->ids[(recent->count - n + i) % STORE_REFERENCES];
}

/* Whether a Received field says that this host wrote it: "by HOSTNAME". */
static bool is_own(struct str received, struct str hostname)
{
    struct str rest = received;
    for (ptrdiff_t at; (at = str_find(rest, STR("by "))) >= 0;) {
        bool is_word = at > 0 && (rest.p[at - 1] == ' ' || rest.p[at - 1] == '\t');
        rest = str_skip(rest, (size_t)at + 3);
        struct str behind = str_skip(rest, hostname.n);
        bool is_end = behind.n == 0 || memchr(" \t\r;(", behind.p[0], 5);
        if (is_word && is_end && str_istarts(rest, hostname))
            return true;
    }
    return false;
}

void smtpd_header_read(struct str header, struct str hostname, struct arena *arena,
                       struct header_facts *out)
{
    struct str rest = header, in_reply_to = {0}, references = {0};
    struct recent_ids recent = {0};
    struct mime_field field;
    *out = (struct header_facts){0};
    while (mime_header_next(&rest, &field)) {
        if (str_ieq(field.name, STR("Received"))) {
            out->hops++;
            out->own_hops += is_own(field.value, hostname);
        } else if (str_ieq(field.name, STR("Message-ID")) && out->message_id.n == 0)
            out->message_id = first_id(field.value, arena);
        else if (str_ieq(field.name, STR("In-Reply-To")) && in_reply_to.n == 0)
            in_reply_to = field.value;
        else if (str_ieq(field.name, STR("References")) && references.n == 0)
            references = field.value;
    }
    read_ids(references, arena, &recent);
    read_ids(in_reply_to, arena, &recent);
    give_references(&recent, arena, out);
}
