/* Where the system says its resolvers and its anchor are. The only place in dns/ that opens files,
 * before the sandbox closes. */
#include "dns/dns_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { FILE_MAX = 256 * 1024, RESOLVERS_MAX = 16, PORT = 53 };

static const char resolv_conf[] = "/etc/resolv.conf";
static const char *const system_anchors[] = {"/usr/share/dns/root.key", "/usr/share/dns/root.ds",
                                             "/var/lib/unbound/root.key"};

static enum rc read_all(int fd, struct arena *arena, struct str *out)
{
    char *p = arena_alloc(arena, FILE_MAX);
    size_t n = 0;
    if (!p)
        return RC_LIMIT;
    while (n < FILE_MAX) {
        ssize_t got = read(fd, p + n, FILE_MAX - n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return rc_from_errno(errno);
        if (got == 0) {
            *out = str_from(p, n);
            return RC_OK;
        }
        n += (size_t)got;
    }
    return RC_LIMIT;
}

static enum rc read_file(const char *path, struct arena *arena, struct str *out, char why[256])
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    enum rc rc = fd < 0 ? rc_from_errno(errno) : read_all(fd, arena, out);
    if (rc != RC_OK)
        snprintf(why, 256, "%s: %s", path, rc == RC_LIMIT ? "too large" : strerror(errno));
    if (fd >= 0)
        close(fd);
    return rc;
}

/* An address with or without a port; IPv6 without one needs no brackets. */
static enum rc read_resolver(struct str text, struct net_addr *out)
{
    return net_ip_parse(text, PORT, out) == RC_OK ? RC_OK : net_addr_parse(text, out);
}

static void read_resolv_conf(struct str text, struct net_addr *out, size_t *n)
{
    struct str line, word;
    while (*n < RESOLVERS_MAX && str_cut(&text, '\n', &line)) {
        line = str_trim(line);
        if (!str_starts(line, STR("nameserver")) || line.n < 11)
            continue;
        word = str_trim(str_skip(line, 10));
        ptrdiff_t end = str_find_byte(word, ' ');
        word = end < 0 ? word : str_head(word, (size_t)end);
        if (read_resolver(word, &out[*n]) == RC_OK)
            ++*n;
    }
}

static enum rc read_resolvers(const struct str *texts, size_t n, struct arena *arena,
                              struct dns_conf *out, char why[256])
{
    struct net_addr *list = arena_zero(arena, RESOLVERS_MAX * sizeof *list);
    struct str text = {0};
    out->resolvers = list;
    if (!list || n > RESOLVERS_MAX) {
        snprintf(why, 256, "more than %d resolvers", RESOLVERS_MAX);
        return RC_LIMIT;
    }
    for (size_t i = 0; i < n; i++) {
        if (read_resolver(texts[i], &list[i]) != RC_OK) {
            snprintf(why, 256, "\"%.*s\" is not an address: write \"192.0.2.53\" or \"[::1]:53\"",
                     (int)(texts[i].n < 60 ? texts[i].n : 60), texts[i].p);
            return RC_SYNTAX;
        }
    }
    out->n_resolvers = n;
    if (n > 0)
        return RC_OK;
    enum rc rc = read_file(resolv_conf, arena, &text, why);
    if (rc != RC_OK && rc != RC_NOTFOUND)
        return rc;
    read_resolv_conf(text, list, &out->n_resolvers);
    if (out->n_resolvers > 0)
        return RC_OK;
    out->n_resolvers = 1; /* as resolv.conf(5) has it */
    return read_resolver(STR("127.0.0.1"), &list[0]);
}

static enum rc read_anchor(const char *path, struct arena *arena, struct dns_conf *out,
                           char why[256])
{
    if (path && strcmp(path, "none") == 0)
        return RC_OK;
    if (path) {
        out->must_validate = true;
        TRY(read_file(path, arena, &out->anchors, why));
        if (str_trim(out->anchors).n > 0)
            return RC_OK;
        snprintf(why, 256, "%s: empty", path);
        return RC_SYNTAX;
    }
    for (size_t i = 0; i < sizeof system_anchors / sizeof *system_anchors; i++)
        if (read_file(system_anchors[i], arena, &out->anchors, why) == RC_OK)
            break;
    return RC_OK; /* without any nothing is validated */
}

enum rc dns_conf_read(const struct str *resolvers, size_t n, const char *trust_anchor,
                      struct arena *arena, struct dns_conf *out, char why[256])
{
    *out = (struct dns_conf){0};
    TRY(read_resolvers(resolvers, n, arena, out, why));
    return read_anchor(trust_anchor, arena, out, why);
}
