/* What the way to other hosts, and logins, read of the file system, in one place for the start,
 * when the server does it before the sandbox closes, and for a reload, when the supervisor does it
 * and sends the texts. */
#include "daemon/outside.h"

#include "base/mem.h"
#include "dns/dns.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RESOLVERS_TEXT = 4096 };

static struct str keep(struct str text)
{
    return str_is_null(text) ? text : str_from(mem_dup(text.p, text.n), text.n);
}

static enum rc read_dns(const struct conf *c, struct outside_files *out, char why[256])
{
    struct str texts[CONF_LIST_MAX];
    struct arena arena = {0};
    struct dns_conf dns;
    struct buf lines;
    for (size_t i = 0; i < c->dns.resolver.n; i++)
        texts[i] = str_of(c->dns.resolver.item[i]);
    const char *anchor = c->dns.trust_anchor[0] ? c->dns.trust_anchor : NULL;
    enum rc rc = dns_conf_read(texts, c->dns.resolver.n, anchor, &arena, &dns, why);
    buf_init(&lines, RESOLVERS_TEXT);
    for (size_t i = 0; rc == RC_OK && i < dns.n_resolvers; i++) {
        const struct sockaddr_in6 *sa = &dns.resolvers[i].sa;
        char ip[NET_IP_TEXT];
        net_ip_text(&sa->sin6_addr, ip);
        buf_putf(&lines, strchr(ip, ':') ? "[%s]:%u\n" : "%s:%u\n", ip, ntohs(sa->sin6_port));
    }
    if (rc == RC_OK) {
        out->resolvers = keep(buf_str(&lines));
        out->anchors = keep(dns.anchors);
    }
    buf_fini(&lines);
    arena_fini(&arena);
    return rc;
}

/* Without the system's own there is nothing to verify with, which is no error. */
static enum rc read_authorities(const struct conf *c, struct str *out, char why[256])
{
    bool is_named = c->tls.ca_file[0] != '\0';
    const char *path = is_named ? c->tls.ca_file : CONF_AUTHORITIES;
    enum rc rc = file_read(path, out);
    if (rc == RC_OK || !is_named)
        return RC_OK;
    snprintf(why, 256, "%s: %s", path, strerror(errno));
    return rc;
}

enum rc outside_files_read(const struct conf *c, struct outside_files *out, char why[256])
{
    *out = (struct outside_files){0};
    TRY(read_dns(c, out, why));
    return read_authorities(c, &out->authorities, why);
}

void outside_files_fini(struct outside_files *files)
{
    free((void *)(uintptr_t)files->authorities.p);
    free((void *)(uintptr_t)files->resolvers.p);
    free((void *)(uintptr_t)files->anchors.p);
    *files = (struct outside_files){0};
}

/* --- for logins ------------------------------------------------------------------------------- */

bool login_files_connect(const struct conf *c)
{
    return c->oauth.issuer[0] && !c->oauth.keys_file[0];
}

enum rc login_files_read(const struct conf *c, struct login_files *out, char why[256])
{
    const char *path = c->oauth.keys_file;
    *out = (struct login_files){{NULL, 0}, {NULL, 0}};
    if (login_files_connect(c))
        return read_authorities(c, &out->authorities, why);
    if (!path[0])
        return RC_OK;
    enum rc rc = file_read(path, &out->keys);
    if (rc != RC_OK)
        snprintf(why, 256, "%s: %s", path, strerror(errno));
    return rc;
}

void login_files_fini(struct login_files *files)
{
    free((void *)(uintptr_t)files->keys.p);
    free((void *)(uintptr_t)files->authorities.p);
    *files = (struct login_files){{NULL, 0}, {NULL, 0}};
}
