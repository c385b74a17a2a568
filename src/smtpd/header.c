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
    if (s->role->is_local) {
        buf_putf(out, "Received: from localhost (uid %u)", s->uid);
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
    if (t->n_recipients == 1 && t->recipients[0].targets.n_outside) /* against loops */
        put_parts(out, "Delivered-To: ", t->recipients[0].address, "\r\n");
    put_from(s, out);
    put_parts(out, "\r\n\tby ", s->smtpd->conf.hostname, " with ");
    put_protocol(s, out);
    put_parts(out, "\r\n\tid ", str_of(t->id), "");
    if (t->n_recipients == 1) /* several would tell each of the others [RFC5321 7.2] */
        put_parts(out, " for <", t->recipients[0].address, ">");
    put_parts(out, ";\r\n\t", str_of(date), "\r\n");
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
    struct str rest = header;
    struct mime_thread thread = {0};
    struct mime_field field;
    unsigned n_tls_required = 0;
    *out = (struct header_facts){0};
    while (mime_header_next(&rest, &field)) {
        if (mime_thread_take(&thread, &field))
            continue;
        if (str_ieq(field.name, STR("Received"))) {
            out->hops++;
            out->own_hops += is_own(field.value, hostname);
        } else if (str_ieq(field.name, STR("Delivered-To")) && out->n_delivered_to < 8) {
            out->delivered_to[out->n_delivered_to++] = str_trim(field.value);
        } else if (str_ieq(field.name, STR("TLS-Required"))) {
            n_tls_required++;
            out->is_tls_optional = str_ieq(str_trim(field.value), STR("No"));
        }
    }
    out->is_tls_optional = out->is_tls_optional && n_tls_required == 1; /* [RFC8689 3] */
    out->message_id = mime_thread_id(&thread, arena);
    out->references = arena_alloc(arena, MIME_THREAD_IDS * sizeof *out->references);
    out->n_references = mime_thread_references(&thread, arena, out->references);
}
