/* Mail from users and scripts of this machine, by a Unix socket: cron, at, mail(1), web
 * applications. `penfold sendmail` speaks to it, but anybody may.
 *
 * Who the peer is the kernel says (its uid), never the peer. Root, the server's own user and those
 * that the configuration trusts may name any sender; everybody else's is NAME@HOSTNAME, whatever
 * MAIL says, or the null path. The author in From is not changed, since scripts write what they
 * like; but what is not from the host itself is not signed with a domain's key unless its user is
 * trusted. Who is not trusted is limited in what he sends (limits.c). */
#include "smtpd/smtpd_int.h"

#include "mime/mime.h"

#include <stdio.h>
#include <unistd.h>

void smtpd_local_open(struct session *s)
{
    const struct smtpd_conf *conf = &s->smtpd->conf;
    if (!net_peer_uid(s->conn, &s->uid))
        s->uid = UINT32_MAX;
    for (size_t i = 0; i < conf->n_users && !s->user; i++)
        if (conf->users[i].uid == s->uid)
            s->user = &conf->users[i];
}

bool smtpd_local_is_trusted(const struct session *s)
{
    return s->uid == 0 || s->uid == (uint32_t)geteuid() || (s->user && s->user->is_trusted);
}

struct str smtpd_local_address(struct session *s)
{
    char name[64];
    struct buf text;
    snprintf(name, sizeof name, "uid%u", s->uid); /* made since the server was started */
    buf_init(&text, AUTH_ADDRESS_MAX + sizeof name);
    buf_putf(&text, "%s@%.*s", s->user ? s->user->name : name, STR_ARG(s->smtpd->conf.hostname));
    struct str address = arena_dup(&s->transaction->arena, buf_str(&text));
    buf_fini(&text);
    return address;
}

enum flow smtpd_local_sender(struct session *s)
{
    struct envelope *e = &s->transaction->envelope;
    if (e->sender.n > 0 && !smtpd_local_is_trusted(s))
        e->sender = smtpd_local_address(s);
    return smtpd_submission_limited(s);
}

/* Whether all of From and Sender is of this host. RC_SYNTAX: not one From field with an address. */
static enum rc look_at_authors(struct session *s, struct str header, bool *out_is_hosts)
{
    struct str rest = header;
    struct mime_field field;
    struct buf address;
    size_t n_from = 0;
    *out_is_hosts = true;
    buf_init(&address, 2 * AUTH_ADDRESS_MAX);
    while (mime_header_next(&rest, &field)) {
        bool is_from = str_ieq(field.name, STR("From"));
        n_from += is_from;
        if (!is_from && !str_ieq(field.name, STR("Sender")))
            continue;
        enum rc rc;
        while ((rc = mime_address_next(&field.value, &address)) == RC_OK) {
            struct str domain = str_domain(buf_str(&address));
            *out_is_hosts &= str_ieq(domain, s->smtpd->conf.hostname);
        }
        *out_is_hosts &= rc == RC_EOF;
    }
    buf_fini(&address);
    /* One that is missing has been added. */
    return n_from <= 1 ? RC_OK : RC_SYNTAX;
}

enum rc smtpd_local_check(struct session *s, struct str header, struct header_facts *facts)
{
    bool is_hosts;
    TRY(look_at_authors(s, header, &is_hosts));
    s->transaction->is_vouched = is_hosts || smtpd_local_is_trusted(s);
    return RC_OK;
}

/* --- who gets it ------------------------------------------------------------------------------ */

static enum rc resolve_in(struct session *s, struct str local, struct str domain, unsigned flags,
                          struct auth_targets *out)
{
    struct buf address;
    buf_init(&address, 2 * SMTP_PATH_MAX);
    buf_putf(&address, "%.*s@%.*s", STR_ARG(local), STR_ARG(domain));
    enum rc rc =
        auth_resolve(s->smtpd->conf.auth, buf_str(&address), flags, &s->transaction->arena, out);
    buf_fini(&address);
    return rc;
}

enum rc smtpd_local_resolve(struct session *s, struct str address, unsigned flags,
                            struct auth_targets *out)
{
    struct str domain = str_domain(address);
    struct str local = str_head(address, address.n - domain.n - 1);
    enum rc rc = RC_DENIED;
    if (!str_ieq(domain, s->smtpd->conf.hostname))
        return RC_DENIED;
    while (rc == RC_DENIED) {
        ptrdiff_t dot = str_find_byte(domain, '.');
        domain = str_skip(domain, dot < 0 ? domain.n : (size_t)dot + 1);
        if (str_find_byte(domain, '.') < 0)
            return RC_DENIED;
        rc = resolve_in(s, local, domain, flags, out);
        if (rc == RC_NOTFOUND || rc == RC_SYNTAX) /* root, www-data, an old user */
            rc = resolve_in(s, STR("postmaster"), domain, flags, out);
    }
    return rc;
}
